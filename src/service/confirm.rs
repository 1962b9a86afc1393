//! Confirming a session: its user proves anew who it is, with the strength that the account has. The session and what hangs on it stay; its
//! token is a new one, and the one before is dead. It is the way to a recent proof for whoever signed in some time ago (S26, S49), and the
//! secrets that it verifies are counted with all others (S9).

use super::caller::{SignedIn, user_actor};
use super::did::Did;
use super::difference::{changes_with_codes, with_methods};
use super::enrolment::SecondFactor;
use super::sign_in::NewSession;
use crate::auth::hashing::Verdict;
use crate::auth::policy::is_oversized;
use crate::domain::secret::{Password, SentCode, Ust};
use crate::domain::session::{Session, SessionView};
use crate::domain::throttle::Bucket;
use crate::domain::user::viewer_of;
use crate::error::{Code, Error, Result};
use crate::store::Tx;

impl SignedIn {
    /// Confirms the session of this call by the password and, where the account has a second factor, a one-time code or a recovery code.
    /// Returns the session with its new token.
    ///
    /// # Errors
    /// [`Code::CredentialsInvalid`], [`Code::TotpRequired`], [`Code::TotpInvalid`], [`Code::TooManyAttempts`].
    pub async fn confirm_session(self, password: Password, code: Option<&SentCode>) -> Result<NewSession> {
        let Self { context, opened, .. } = self;
        let (user, user_id, session_id) = (opened.user, opened.session.user_id, opened.session.session_id);
        context.trail.set_subject(user_id);
        let refuse = |reason| Error::new(Code::CredentialsInvalid).because(reason);
        if is_oversized(&password) {
            return Err(refuse("credentials_oversized"));
        }
        let target = Bucket::of_attempts(Some(user_id), context.known_device(user_id), "");
        let (verdict, attempt) = context.try_password(&target, Some(&user), password).await?;
        if verdict == Verdict::Wrong {
            let reason = if user.password_hash.is_some() { "password_wrong" } else { "password_unset" };
            context.remember_failure(attempt, Some(user_id), reason).await?;
            return Err(refuse(reason));
        }
        let factor = match context.examine_second_factor(&user, code).await {
            Ok(proof) => SecondFactor::Known(proof),
            Err(error) => {
                context.settle(attempt, user_id, &error).await?;
                return Err(error);
            }
        };
        let (ust, now) = (Ust::mint(&context.services.inner.entropy), context.now());
        let (keeper, token_hash, token_before) = (context.clone(), ust.hash(), opened.session.token_hash.clone());
        let confirm = move |tx: &mut Tx<'_>| {
            let gone = || Error::new(Code::SessionInvalid).because("session_unknown");
            let before = tx.hold_user(user_id)?.ok_or_else(gone)?;
            let session = tx.hold_session(session_id)?.ok_or_else(gone)?;
            // Of two that confirm at once the second comes with a token that is dead by now.
            if before.password_hash != user.password_hash || !token_before.matches(&session.token_hash) {
                return Err(gone());
            }
            let mut after = before.clone();
            let codes = factor.redeem(&keeper, tx, &before, &mut after)?;
            tx.forgive_failures(user_id)?;
            keeper.services.inner.lockout.succeed(tx, user_id, &attempt)?;
            let confirmed = Session { token_hash, auth_methods: factor.methods(), auth_time: now, ..session };
            tx.confirm_session(&confirmed)?;
            let changes = if codes.has_changed() { changes_with_codes(tx, &before, &after, now, codes)? } else { None };
            let changes = with_methods(changes, &confirmed.auth_methods)?;
            let viewer = viewer_of(Some(&after), user_id);
            let did = Did::to(user_id).by(user_actor(&after, session_id)).changing(changes).showing(user_id, viewer);
            Ok(((tx.read().account(after, now)?, confirmed), did))
        };
        let (account, session) = context.change(confirm).await?;
        let viewer = viewer_of(Some(&account.user), user_id);
        let session = SessionView::of(&session, opened.application.name.as_str(), Some(session_id));
        Ok(NewSession { ust, session, account, viewer, notices: Vec::new(), device: None, recovery_codes: Vec::new() })
    }
}
