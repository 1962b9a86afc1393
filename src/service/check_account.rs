//! Checking a name and a password without signing in, and a password against the policy.
//!
//! A check is a verification like any other: it takes the same steps as a sign-in, is counted by the same lock-out before anything is
//! compared (S9), and takes as long for a name that nobody bears. What is told of the outcome depends on who asks. A super-user may know
//! who exists and who is locked, and is told. An application with its key learns what a sign-in through it would tell: without the right
//! password nothing but that it is not right.

use super::caller::{Authenticated, TrustedApplication};
use super::did::Did;
use super::sign_in::take_back;
use crate::auth::hashing::Verdict;
use crate::auth::policy::is_oversized;
use crate::domain::secret::Password;
use crate::domain::standing::{Barred, stands};
use crate::domain::text::fold;
use crate::domain::throttle::Bucket;
use crate::domain::time::Utc;
use crate::domain::user::User;
use crate::error::{Code, Error, Result};
use crate::store::Tx;

/// The longest name that is looked up.
const LONGEST_NAME: usize = 512;

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The password is right, and nothing stands in the way of signing in, but perhaps a new password.
    Good {
        /// Whether the sign-in asks for a one-time code as well.
        needs_code: bool,
        /// Whether it demands a new password.
        must_change: bool,
        /// When the password expires; told to super-users.
        expiry: Option<Utc>,
    },
    /// The password is right, but the account may not act.
    Barred(Barred),
    /// It is locked; told to super-users whatever the password.
    Locked,
    /// This very attempt was the one too many.
    JustLocked,
    /// There is no such user; told to super-users.
    Unknown,
    /// Name and password do not belong together.
    Wrong,
}

impl TrustedApplication {
    /// When the call began.
    pub fn now(&self) -> Utc {
        self.context.now()
    }

    /// Checks a name and a password.
    ///
    /// # Errors
    /// [`Code::TooManyAttempts`]: the account or the address is being slowed down, and nothing was verified.
    pub async fn check_account(self, username: &str, password: Password) -> Result<Checked> {
        let may_know = self.super_user.is_some();
        let (context, application) = (self.context, self.application);
        let name_key = fold(username.trim());
        for (member, is_oversized) in [("password", is_oversized(&password)), ("username", username.len() > LONGEST_NAME)] {
            if is_oversized {
                return Err(Error::new(Code::Invalid).because("credentials_oversized").at(member, "is too long"));
            }
        }
        let store = &context.services.inner.store;
        let user = store.read({
            let name_key = name_key.clone();
            move |snapshot| Ok(snapshot.user_by_name(&name_key)?)
        });
        let user = user.await?;
        if let Some(user) = &user {
            context.trail.set_subject(user.user_id);
        }
        let target = Bucket::of_attempts(user.as_ref().map(|u| u.user_id), None, &name_key);
        let (verdict, attempt) = context.try_password(&target, user.as_ref(), password).await?;
        let (right, user) = match (verdict, user) {
            (Verdict::Right { .. }, Some(user)) => (true, user),
            (Verdict::Wrong, Some(user)) => (false, user),
            // A decoy is never right.
            (Verdict::Right { .. } | Verdict::Wrong, None) => {
                context.remember_failure(attempt, None, "user_unknown").await?;
                return Ok(if may_know { Checked::Unknown } else { Checked::Wrong });
            }
        };
        if !right {
            let reason = if user.password_hash.is_some() { "password_wrong" } else { "password_unset" };
            let (user_id, was_locked) = (user.user_id, user.is_locked);
            context.remember_failure(attempt, Some(user_id), reason).await?;
            if !may_know {
                return Ok(Checked::Wrong);
            }
            let now_locked = store.read(move |snapshot| Ok(snapshot.user(user_id)?.is_some_and(|u| u.is_locked))).await?;
            return Ok(match (was_locked, now_locked) {
                (true, _) => Checked::Locked,
                (false, true) => Checked::JustLocked,
                (false, false) => Checked::Wrong,
            });
        }
        // The attempt was no guess. It opens nothing either, so what others have guessed stays counted.
        let (lockout, user_id, now) = (context.services.inner.lockout.clone(), user.user_id, context.now());
        // Where the user is, a super-user who asks does not say: what is asked is whether the account could act at all.
        let standing = if may_know { stands(&user, now) } else { context.standing_of(&user, &application).await? };
        let found = judge(&user, may_know, standing, context.lacks_factor(&user, (!may_know).then_some(&*application)));
        let settle = move |tx: &mut Tx<'_>| {
            take_back(tx, &lockout, user_id, &attempt)?;
            Ok(((), did_of(found, &user)))
        };
        context.change(settle).await?;
        Ok(found)
    }
}

/// What stands in the way of a user whose password was right.
fn judge(user: &User, may_know: bool, standing: Result<(), Barred>, lacks_factor: bool) -> Checked {
    match standing {
        Err(Barred::Locked) => Checked::Locked,
        Err(barred) if !barred.is_mendable() => Checked::Barred(barred),
        // A check cannot enrol one.
        Err(_) | Ok(()) if lacks_factor => Checked::Barred(Barred::SecondFactorMissing),
        Err(_) | Ok(()) => Checked::Good {
            needs_code: user.is_totp_enabled,
            must_change: standing.is_err(),
            expiry: user.password_expiry.filter(|_| may_know && !user.password_never_expires),
        },
    }
}

/// The event of a check whose password was right.
fn did_of(found: Checked, user: &User) -> Did {
    let reason = match found {
        Checked::Locked => Barred::Locked.as_str(),
        Checked::Barred(barred) => barred.as_str(),
        Checked::Good { .. } | Checked::JustLocked | Checked::Unknown | Checked::Wrong => return Did::to(user.user_id),
    };
    Did::refused(reason, Some(user.user_id))
}

impl Authenticated {
    /// Why a password would not be accepted for the caller's own account: the codes of the causes, none if it would. Nothing is hashed or
    /// compared: it is no check of a credential. One that would not counts as an asking, as where it is to be set.
    ///
    /// # Errors
    /// [`Code::TooManyAttempts`].
    pub async fn judge_password(&self, password: &Password) -> Result<Vec<&'static str>> {
        self.context.trail.set_subject(self.user_id());
        let policy = &self.context.services.inner.policy;
        let causes = policy.judge(password, self.known.user(), Some(self.application.name.as_str()));
        if !causes.is_empty() {
            self.context.count_asking().await?;
        }
        Ok(causes)
    }
}
