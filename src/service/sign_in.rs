//! Signing in: from a name and a password to a session.
//!
//! Whatever is wrong with either, the answer is the same and takes the same time: every attempt is counted, hashed and recorded in the same
//! steps, with a decoy where there is nothing to compare with. What else stands in the way is told only once the password was right.

use super::caller::{Anyone, user_actor};
use super::context::Context;
use super::did::Did;
use super::difference::with_methods;
use super::enrolment::{Acceptance, SecondFactor};
use super::lockout::{Attempt, Lockout};
use super::proof::{Places, standing};
use super::second_factor::RecoveryCode;
use crate::auth::hashing::Verdict;
use crate::auth::policy::is_oversized;
use crate::domain::application::Application;
use crate::domain::attribute::Viewer;
use crate::domain::ids::{SessionId, UserId};
use crate::domain::letter::LetterKind;
use crate::domain::notice::Notice;
use crate::domain::row_mac::RowMac;
use crate::domain::secret::{Password, PasswordHash, SentCode, Ust};
use crate::domain::session::{AuthMethods, Session, SessionView};
use crate::domain::standing::{Barred, Factor};
use crate::domain::text::fold;
use crate::domain::throttle::Bucket;
use crate::domain::user::{Account, FitPassword, LockCause, User, viewer_of};
use crate::error::{Code, Error, Result};
use crate::store::error::{ROW_ALTERED, unless_altered};
use crate::store::{Snapshot, Tx};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// What one signs in with.
#[derive(Debug)]
pub struct SignIn {
    /// The username or login name.
    pub username: String,
    /// The password.
    pub password: Password,
    /// The one-time code or a recovery code, where one is asked for.
    pub totp_code: Option<SentCode>,
    /// The second factor that is enrolled, where one is demanded.
    pub enrolment: Option<Acceptance>,
    /// A new password, where one is demanded.
    pub new_password: Option<Password>,
    /// The application, instead of the one that the call names.
    pub current_app: Option<String>,
}

/// A session just opened: the only time its token is told.
#[derive(Debug)]
pub struct NewSession {
    /// The token.
    pub ust: Ust,
    /// The session.
    pub session: SessionView,
    /// Whose it is.
    pub account: Account,
    /// As whom the user sees itself.
    pub viewer: Viewer,
    /// What will soon keep the user from signing in.
    pub notices: Vec<Notice>,
    /// What makes the user's device a known one from now on.
    pub device: Option<String>,
    /// Recovery codes, where a second factor was enrolled; told this once.
    pub recovery_codes: Vec<RecoveryCode>,
}

/// The context that device cookies are sealed for.
const DEVICE: &str = "device";
/// The longest name that is looked up.
const LONGEST_NAME: usize = 512;

impl Anyone {
    /// Signs in.
    ///
    /// Whatever is wrong with the name or the password, the answer is the same and takes the same time. Only to those who know the
    /// password is told what else stands in the way.
    ///
    /// # Errors
    /// [`Code::CredentialsInvalid`], [`Code::TooManyAttempts`]; once the password was right, those of
    /// [`Barred`] and the second factor; [`Code::PasswordUnfit`] for the new password.
    pub async fn sign_in(self, given: SignIn) -> Result<NewSession> {
        let Self { context, application, .. } = match &given.current_app {
            Some(name) => self.through(&name.clone()).await?,
            None => self,
        };
        let refuse = |reason| Error::new(Code::CredentialsInvalid).because(reason);
        if is_oversized(&given.password) || given.username.len() > LONGEST_NAME {
            return Err(refuse("credentials_oversized"));
        }
        let inner = &context.services.inner;
        let name_key = fold(given.username.trim());
        let user = inner.store.read({
            let name_key = name_key.clone();
            move |snapshot| Ok(unless_altered(snapshot.user_by_name(&name_key))?)
        });
        let (user, is_altered) = user.await?;
        let device = user.as_ref().and_then(|user| context.known_device(user.user_id));
        let target = Bucket::of_attempts(user.as_ref().map(|u| u.user_id), device, &name_key);
        if let Some(user) = &user {
            context.trail.set_subject(user.user_id);
        }

        let (verdict, attempt) = context.try_password(&target, user.as_ref(), given.password.clone()).await?;
        let Verdict::Right { is_weak } = verdict else {
            let reason = match &user {
                None if is_altered => ROW_ALTERED,
                None => "user_unknown",
                Some(user) if user.password_hash.is_none() => "password_unset",
                Some(_) => "password_wrong",
            };
            context.remember_failure(attempt, user.map(|u| u.user_id), reason).await?;
            return Err(refuse(reason));
        };
        // A decoy is never right, so there is a user; were it otherwise, nobody gets in.
        let Some(user) = user else { return Err(refuse("user_unknown")) };
        let (second, renewal) = match context.prepare(&user, given, &application, is_weak).await {
            Ok(prepared) => prepared,
            Err(error) => {
                context.settle(attempt, user.user_id, &error).await?;
                return Err(error);
            }
        };
        context.open_after_sign_in(user, application, attempt, second, renewal, device).await
    }
}

/// Why a hash is written at sign-in.
enum Renewal {
    /// There is none.
    Nothing,
    /// The stored hash is below the settings.
    Rehash(PasswordHash),
    /// A new password was demanded.
    NewPassword(FitPassword),
}

/// Takes an attempt on an account back that was no guess.
pub(super) fn take_back(tx: &mut Tx<'_>, lockout: &Lockout, user_id: UserId, attempt: &Attempt) -> Result<()> {
    tx.uncount_failure(user_id)?;
    Ok(lockout.withdraw(tx, attempt)?)
}

impl Context {
    /// The device that the call's cookie proves to have signed in to this account before.
    pub(super) fn known_device(&self, user: UserId) -> Option<[u8; 16]> {
        let message = self.services.inner.keys.seal.open(DEVICE, self.call.device.as_deref()?)?;
        let device = message.strip_prefix(user.as_bytes())?;
        device.try_into().ok()
    }

    fn device_cookie(&self, user: UserId, device: Option<[u8; 16]>) -> String {
        let entropy = &self.services.inner.entropy;
        let device = device.unwrap_or_else(|| entropy.bytes());
        self.services.inner.keys.seal.seal(DEVICE, &[user.as_bytes().as_slice(), &device].concat(), entropy)
    }

    /// Counts an attempt, then compares the password. What is not yet settled is the attempt.
    pub(super) async fn try_password(
        &self,
        target: &Bucket,
        user: Option<&User>,
        password: Password,
    ) -> Result<(Verdict, Attempt)> {
        let inner = &self.services.inner;
        let place = inner.lockout.line_up(target).await?;
        let turn = inner.hasher.turn()?;
        let attempt = self.count_attempt(target, place, user.map(|u| u.user_id)).await?;
        let verdict = turn.verify(password, user.and_then(|u| u.password_hash.clone())).await?;
        Ok((verdict, attempt))
    }

    /// The same against the hash of what is no user's: the failure counts in its bucket alone, and what was right a moment ago is not
    /// computed again.
    pub(super) async fn try_hash(
        &self,
        target: &Bucket,
        stored: Option<PasswordHash>,
        password: Password,
    ) -> Result<(Verdict, Attempt)> {
        let inner = &self.services.inner;
        let place = inner.lockout.line_up(target).await?;
        let turn = inner.hasher.turn()?;
        let attempt = self.count_attempt(target, place, None).await?;
        let now = self.now();
        if stored.as_ref().is_some_and(|stored| inner.recent.knows(stored, &password, now)) {
            return Ok((Verdict::Right { is_weak: false }, attempt));
        }
        let verdict = turn.verify(password.clone(), stored.clone()).await?;
        if let (Verdict::Right { .. }, Some(stored)) = (verdict, &stored) {
            inner.recent.remember(stored, &password, now);
        }
        Ok((verdict, attempt))
    }

    /// Counts an attempt as a failure, before anything is verified; whoever has a `place` for it stands in line no more.
    ///
    /// # Errors
    /// [`Code::TooManyAttempts`]: nothing may be verified.
    pub(super) async fn count_attempt(
        &self,
        target: &Bucket,
        place: OwnedSemaphorePermit,
        user_id: Option<UserId>,
    ) -> Result<Attempt> {
        let inner = &self.services.inner;
        let (lockout, address, now) = (inner.lockout.clone(), self.remote_addr(), self.now());
        let is_lenient = self.leniency.switches.lenient_lockout;
        let target = target.clone();
        let begun = inner.store.keep_count(move |tx| {
            // A name that nobody bears costs a write as well: whether it is borne must not be told by the time.
            match user_id {
                Some(user_id) => tx.count_failure(user_id)?,
                None => tx.count_stranger()?,
            }
            Ok(lockout.begin(tx, &target, place, address, is_lenient, now)?)
        });
        begun.await?.map_err(|until| Error::new(Code::TooManyAttempts).because("throttled").retry_after(until.since(now)))
    }

    /// An attempt that came to `error` once the password was right: a wrong second factor was a guess, all else was none.
    pub(super) async fn settle(&self, attempt: Attempt, user_id: UserId, error: &Error) -> Result<()> {
        if error.code() == Code::TotpInvalid {
            return self.remember_failure(attempt, Some(user_id), error.reason()).await;
        }
        let lockout = self.services.inner.lockout.clone();
        self.services.inner.store.keep_count(move |tx| take_back(tx, &lockout, user_id, &attempt)).await
    }

    /// A wrong secret: the count stands; too many lock the account, unless nobody could look after it any more.
    pub(super) async fn remember_failure(&self, attempt: Attempt, user: Option<UserId>, reason: &'static str) -> Result<()> {
        let (now, is_exhausted) = (self.now(), self.services.inner.lockout.is_exhausted(&attempt));
        let remember = move |tx: &mut Tx<'_>| {
            let did = Did::refused(reason, user);
            let Some(user_id) = user.filter(|_| is_exhausted) else { return Ok(((), did)) };
            tx.hold_super_users()?;
            let Some(before) = tx.hold_user(user_id)? else { return Ok(((), did)) };
            if before.is_locked || super::users::is_last_super_user(tx, &before, None, now)? {
                return Ok(((), did));
            }
            let mut after = before.clone();
            after.lock(LockCause::FailedLogins, None, None, now);
            tx.save_user(&before, &after)?;
            tx.end_sessions(user_id)?;
            let changes = super::difference::changes(tx, &before, &after, now)?;
            Ok(((), did.changing(changes)))
        };
        self.change(remember).await
    }

    pub(super) async fn hash(&self, password: Password) -> Result<PasswordHash> {
        self.services.inner.hasher.turn()?.hash(password).await
    }

    /// Whether a user may act through an application, from where the call comes.
    pub(super) async fn standing_of(&self, user: &User, application: &Application) -> Result<Result<(), Barred>> {
        let (user, application, places, now) = (user.clone(), application.clone(), Places::of(self), self.now());
        let ask = move |snapshot: &mut Snapshot<'_>| Ok(standing(snapshot, &user, &application, places, Factor::NotAsked, now)?);
        self.services.inner.store.read(ask).await
    }

    /// What stands in the way of a user whose password was right, in this order: what the user cannot mend, the second factor, a new
    /// password that is demanded. If nothing does, the factor to redeem and the hash to write.
    async fn prepare(
        &self,
        user: &User,
        given: SignIn,
        application: &Application,
        is_weak: bool,
    ) -> Result<(SecondFactor, Renewal)> {
        let standing = self.standing_of(user, application).await?;
        if let Err(barred) = standing
            && !barred.is_mendable()
        {
            return Err(error_of(barred));
        }
        let (code, accepted) = (given.totp_code.as_ref(), given.enrolment.as_ref());
        let second = self.second_factor_of(user, application, code, accepted).await?;
        let is_ignored = standing.is_ok() && self.leniency.is_unneeded_password_ignored;
        let renewal = match (standing, given.new_password.filter(|_| !is_ignored)) {
            // There is a next sign-in: a busy pool is no reason to refuse this one.
            (Ok(()), None) if is_weak => self.hash(given.password).await.map_or(Renewal::Nothing, Renewal::Rehash),
            (Ok(()), None) => Renewal::Nothing,
            (Ok(()), Some(_)) => {
                return Err(Error::new(Code::Invalid).at("new_password", "is only taken when a new password is demanded"));
            }
            (Err(barred), None) => return Err(error_of(barred)),
            (Err(_), Some(new)) if new.expose() == given.password.expose() => {
                return Err(Error::new(Code::PasswordUnfit).at("new_password", "is the old one"));
            }
            (Err(_), Some(new)) => {
                let name = Some(application.name.as_str());
                Renewal::NewPassword(self.fit_password(new, &second.given_to(user), name, "new_password").await?)
            }
        };
        Ok((second, renewal))
    }

    async fn open_after_sign_in(
        &self,
        verified: User,
        application: Arc<Application>,
        attempt: Attempt,
        second: SecondFactor,
        renewal: Renewal,
        device: Option<[u8; 16]>,
    ) -> Result<NewSession> {
        let (context, now) = (self.clone(), self.now());
        let (ust, session) = self.new_session(verified.user_id, &application, second.methods());
        let actor = user_actor(&verified, session.session_id);
        let recovery_codes = second.new_codes();
        let open = move |tx: &mut Tx<'_>| {
            let refuse = |reason| Error::new(Code::CredentialsInvalid).because(reason);
            let before = tx.hold_user(verified.user_id)?.ok_or_else(|| refuse("user_unknown"))?;
            // The decision was made on what was read before the hash was computed; what changed meanwhile counts.
            if before.password_hash != verified.password_hash {
                return Err(refuse("password_changed_meanwhile"));
            }
            let mut after = before.clone();
            let codes = second.redeem(&context, tx, &before, &mut after)?;
            let is_renewed = matches!(renewal, Renewal::NewPassword(_));
            match renewal {
                Renewal::Nothing => {}
                Renewal::Rehash(hash) => after.password_hash = Some(hash),
                Renewal::NewPassword(password) => {
                    after.set_password(password, false, None, now);
                    tx.end_sessions(after.user_id)?;
                    context.services.notify(tx, &after, LetterKind::PasswordChanged, now)?;
                }
            }
            let gone = || Error::new(Code::ApplicationInvalid).because("application_unknown");
            let application = tx.read().application(session.application_id)?.ok_or_else(gone)?;
            standing(&mut tx.read(), &after, &application, Places::of(&context), second.shown(), now)?.map_err(error_of)?;
            let changes = if is_renewed || codes.has_changed() {
                super::difference::changes_with_codes(tx, &before, &after, now, codes)?
            } else {
                None
            };
            context.services.inner.lockout.succeed(tx, after.user_id, &attempt)?;
            context.services.inner.lockout.know_address(tx, after.user_id, context.remote_addr(), now)?;
            let is_as_before = after == before;
            after.login_count += 1;
            after.failed_login_count = 0;
            after.login_time = Some(now);
            after.login_station = context.remote_addr().map(|a| a.to_string());
            after.active_time = Some(now);
            if is_as_before {
                tx.save_sign_in(&after)?;
            } else {
                tx.save_user(&before, &after)?;
            }
            tx.insert_session(&session)?;
            let account = tx.read().account(after, now)?;
            let viewer = viewer_of(Some(&account.user), account.user.user_id);
            let changes = with_methods(changes, &session.auth_methods)?;
            let did = Did::to(session.user_id).by(actor).changing(changes).showing(session.user_id, viewer);
            Ok(((account, session), did))
        };
        let (account, session) = self.change(open).await?;
        self.trail.set_actor(user_actor(&account.user, session.session_id));
        let viewer = viewer_of(Some(&account.user), account.user.user_id);
        Ok(NewSession {
            ust,
            session: SessionView::of(&session, application.name.as_str(), Some(session.session_id)),
            device: Some(self.device_cookie(account.user.user_id, device)),
            notices: Notice::of(&account.user, now, self.services.inner.notice),
            account,
            viewer,
            recovery_codes,
        })
    }

    /// A session that is not yet in the database, with its token.
    pub(super) fn new_session(&self, user_id: UserId, application: &Application, auth_methods: AuthMethods) -> (Ust, Session) {
        let inner = &self.services.inner;
        let (now, ust) = (self.now(), Ust::mint(&inner.entropy));
        let absolute_expiry = now + inner.absolute;
        let session = Session {
            session_id: SessionId::mint(now, &inner.entropy),
            token_hash: ust.hash(),
            user_id,
            application_id: application.application_id,
            created_time: now,
            renewed_time: None,
            idle_expiry: (now + inner.idle).min(absolute_expiry),
            absolute_expiry,
            remote_addr: self.remote_addr().map(|a| a.to_string()),
            user_agent: self.user_agent(),
            auth_methods,
            auth_time: now,
            mac: RowMac::default(),
        };
        (ust, session)
    }
}

/// What is told to someone whose password was right.
pub(super) fn error_of(barred: Barred) -> Error {
    let code = match barred {
        Barred::Inactive => Code::AccountInactive,
        Barred::Locked => Code::AccountLocked,
        Barred::SignUpUnconfirmed => Code::SignUpUnconfirmed,
        Barred::ApprovalPending | Barred::Rejected => Code::ApprovalPending,
        Barred::OutsideValidity => Code::OutsideValidity,
        Barred::ApplicationNotAllowed => Code::ApplicationNotAllowed,
        Barred::AddressNotAllowed => Code::AddressNotAllowed,
        Barred::SecondFactorMissing => Code::SecondFactorEnrolmentRequired,
        Barred::PasswordExpired => Code::PasswordExpired,
        Barred::PasswordMustChange => Code::PasswordMustChange,
    };
    Error::new(code).because(barred.as_str())
}
