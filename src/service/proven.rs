//! How recent and how strong a caller's proof is, and whether it is enough for a change (S26, S49).
//!
//! What is demanded is told by two tables, of actions and of attributes ([`crate::domain::demand`]). Here it is asked: within the transaction
//! of each change, when it is known what was done.

#![deny(clippy::wildcard_enum_match_arm, reason = "a new variant must be decided on, not fall through")]

use crate::domain::demand::{Demand, Lack, Strength, Whom};
use crate::domain::ids::UserId;
use crate::domain::time::Utc;
use crate::error::{Code, Error, Result};
use crate::store::Tx;
use std::time::Duration;

/// When a caller proved who it is, for what asks for a recent proof (S26).
#[derive(Clone, Copy, Debug)]
pub(super) enum Proven {
    /// By signing in or by confirming the session, at this time.
    AtSignIn(Utc),
    /// By less than the account asks for now, or by the password of a linked account: at no time lately.
    TooWeakly,
    /// Not lately: an API key was made under a recent sign-in, and stands for it where others are concerned.
    ByKey,
    /// By being there.
    AtTheCommandLine,
}

/// A proof by a session is recent for so long (S26).
const FRESH: Duration = Duration::from_secs(5 * 60);

impl Proven {
    /// How strong it is at a time; `None` for an operator, of whom nothing is asked.
    fn strength(self, now: Utc) -> Option<Strength> {
        match self {
            Self::AtSignIn(since) if now <= since + FRESH => Some(Strength::Recent),
            Self::AtSignIn(_) | Self::TooWeakly => Some(Strength::Stale),
            Self::ByKey => Some(Strength::Key),
            Self::AtTheCommandLine => None,
        }
    }

    /// Whether it meets a demand for a change that is about `whom`.
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`], [`Code::SessionRequired`].
    pub(super) fn meets(self, demand: Demand, whom: Whom, now: Utc) -> Result<()> {
        let Some(strength) = self.strength(now) else { return Ok(()) };
        demand.judge(strength, whom).map_err(|lack| match lack {
            Lack::RecentProof => Error::new(Code::FreshSignInRequired),
            Lack::Session => Error::new(Code::SessionRequired),
        })
    }
}

/// Who is about to make a change: the user, and how it was proved. Read in the transaction of the change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Principal {
    pub(super) user_id: UserId,
    pub(super) proven: Proven,
}

impl Principal {
    /// Whether it takes knowing whom a change is about to say if the proof is enough.
    pub(super) fn depends_on_whom(self, demand: Demand, now: Utc) -> bool {
        self.proven.strength(now).is_some_and(|strength| demand.depends_on_whom(strength))
    }

    /// Whether the proof is enough for what was done to `subjects`, which are users where they are anyone. `was_super_user`: one of them was
    /// a super-user before. Where nobody is known to be concerned, it is asked as if oneself and a super-user were.
    ///
    /// # Errors
    /// Those of [`Proven::meets`], or the database fails.
    pub(super) fn may_have_done(
        self,
        tx: &mut Tx<'_>,
        demand: Demand,
        subjects: &[UserId],
        was_super_user: bool,
        now: Utc,
    ) -> Result<()> {
        if !self.depends_on_whom(demand, now) || subjects.is_empty() {
            return self.proven.meets(demand, Whom { is_own: true, is_super_user: true }, now);
        }
        for &user_id in subjects {
            let is_super_user = was_super_user || tx.read().user(user_id)?.is_some_and(|user| user.is_super_user());
            self.proven.meets(demand, Whom { is_own: user_id == self.user_id, is_super_user }, now)?;
        }
        Ok(())
    }
}
