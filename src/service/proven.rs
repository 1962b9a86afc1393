//! How recent and how strong a caller's proof is, and whether it is enough for a change (S26, S49).
//!
//! What is demanded is told by two tables, of actions and of attributes ([`crate::domain::demand`]). Here it is asked: within the transaction
//! of each change, when it is known what was done.

#![deny(clippy::wildcard_enum_match_arm, reason = "a new variant must be decided on, not fall through")]

use crate::domain::audit::Action;
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
pub(super) struct Mover {
    pub(super) user_id: UserId,
    pub(super) proven: Proven,
}

impl Mover {
    /// Whether it is as recent and strong as anything asks for.
    pub(super) fn is_recent(self, now: Utc) -> bool {
        matches!(self.proven.strength(now), None | Some(Strength::Recent))
    }

    /// Whether the proof is enough for what was done to `subjects`, which are users where they are anyone. `was_super_user`: one of them was
    /// a super-user before. `makes_super_users`: whether a super-user that the change makes counts as an ordinary user.
    ///
    /// # Errors
    /// Those of [`Proven::meets`], or the database fails.
    pub(super) fn may_have_done(
        self,
        tx: &mut Tx<'_>,
        action: Action,
        subjects: impl Iterator<Item = UserId>,
        was_super_user: bool,
        makes_super_users: bool,
        now: Utc,
    ) -> Result<()> {
        let demand = action.demand();
        let Some(strength) = self.proven.strength(now) else { return Ok(()) };
        if !demand.depends_on_whom(strength) {
            return self.proven.meets(demand, Whom::default(), now);
        }
        let is_exempt = makes_super_users && action == Action::UserCreate;
        for user_id in subjects {
            let is_one_now = !is_exempt && tx.read().user(user_id)?.is_some_and(|user| user.is_super_user());
            let is_super_user = was_super_user || is_one_now;
            self.proven.meets(demand, Whom { is_own: user_id == self.user_id, is_super_user }, now)?;
        }
        Ok(())
    }
}
