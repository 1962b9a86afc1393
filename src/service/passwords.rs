//! Passwords: changing one's own, setting another's.

use super::Services;
use super::caller::{Authority, SignedIn, SuperUser, user_actor};
use super::context::Context;
use super::did::Did;
use super::leniency::Leniency;
use super::sign_in::NewSession;
use crate::auth::hashing::Verdict;
use crate::auth::policy::{advise, is_oversized};
use crate::domain::attribute::Viewer;
use crate::domain::audit::Action;
use crate::domain::ids::UserId;
use crate::domain::letter::LetterKind;
use crate::domain::link::{LinkPurpose, LinkUrl};
use crate::domain::secret::{Password, ResetToken};
use crate::domain::session::SessionView;
use crate::domain::text::Email;
use crate::domain::throttle::Bucket;
use crate::domain::time::Utc;
use crate::domain::user::{Account, FitPassword, User, viewer_of};
use crate::error::{Code, Error, Result};
use crate::store::Tx;

impl Context {
    /// Judges a new password of `user`, who is called from `application`, and hashes it. `member` is where it was sent. One that is refused
    /// counts as an asking from its address: a password can be chosen for what it costs to judge.
    pub(super) async fn fit_password(
        &self,
        new: Password,
        user: &User,
        application: Option<&str>,
        member: &'static str,
    ) -> Result<FitPassword> {
        if let Err(unfit) = self.services.inner.policy.check(&new, user, application, member) {
            self.count_asking().await?;
            return Err(self.advised(unfit, new, user).await);
        }
        let policy = &self.services.inner.policy;
        let needs_totp = !policy.is_enough_alone(&new);
        Ok(FitPassword { hash: self.hash(new).await?, needs_totp, life: policy.life })
    }
}

impl Context {
    /// What a new password is refused with, with advice on a better one where that helps and there is a turn for it.
    pub(super) async fn advised(&self, unfit: Error, new: Password, user: &User) -> Error {
        // Of one that is too long only its length is at fault.
        if is_oversized(&new) {
            return unfit;
        }
        let Ok(turn) = self.services.inner.hasher.turn() else { return unfit };
        let username = user.username.as_str().to_owned();
        match turn.weigh(move || advise(&new, &username)).await {
            Ok(Some(advice)) => unfit.detail(advice),
            Ok(None) | Err(_) => unfit,
        }
    }
}

impl SignedIn {
    /// Changes one's own password. The session of this call goes on under a new token; all others end.
    ///
    /// # Errors
    /// [`Code::OldPasswordWrong`], [`Code::TooManyAttempts`], [`Code::PasswordUnfit`].
    pub async fn change_password(self, old: Password, new: Password) -> Result<NewSession> {
        let password = self.fit_after_old(old, new).await?;
        let Self { context, opened, .. } = self;
        let user = opened.user;
        let now = context.now();
        let (ust, mut session) = context.new_session(user.user_id, &opened.application, opened.session.auth_methods.clone());
        // It is the same sign-in under a new token: its absolute end stays where it was, and so does the time of its proof.
        session.auth_time = opened.session.auth_time;
        session.absolute_expiry = opened.session.absolute_expiry;
        session.idle_expiry = session.idle_expiry.min(session.absolute_expiry);
        let old_session = opened.session.session_id;
        let services = context.services.clone();
        let change = move |tx: &mut Tx<'_>| {
            let gone = || Error::new(Code::SessionInvalid).because("session_unknown");
            let before = tx.hold_user(user.user_id)?.ok_or_else(gone)?;
            if before.password_hash != user.password_hash || tx.hold_session(old_session)?.is_none() {
                return Err(gone());
            }
            let mut after = before.clone();
            after.set_password(password, false, None, now);
            tx.save_user(&before, &after)?;
            tx.end_sessions(after.user_id)?;
            tx.insert_session(&session)?;
            services.notify(tx, &after, LetterKind::PasswordChanged, now)?;
            let did = Did::to(after.user_id)
                .by(user_actor(&after, old_session))
                .changing(super::difference::changes(tx, &before, &after, now)?)
                .showing(after.user_id, viewer_of(Some(&after), after.user_id));
            Ok(((tx.read().account(after, now)?, session), did))
        };
        let (account, session) = context.change(change).await?;
        let viewer = viewer_of(Some(&account.user), account.user.user_id);
        let view = SessionView::of(&session, opened.application.name.as_str(), Some(session.session_id));
        Ok(NewSession { ust, session: view, account, viewer, notices: Vec::new(), device: None, recovery_codes: Vec::new() })
    }

    /// Changes one's own password by a call that cannot be told a new token. Where sessions survive it all of them go on, this one too;
    /// otherwise it is [`SignedIn::change_password`], and the new token is there to be told.
    ///
    /// # Errors
    /// Those of [`SignedIn::change_password`].
    pub async fn change_password_in_place(self, old: Password, new: Password) -> Result<Option<NewSession>> {
        if !self.context.leniency.do_sessions_survive_password() {
            return self.change_password(old, new).await.map(Some);
        }
        let password = self.fit_after_old(old, new).await?;
        let Self { context, opened, .. } = self;
        let (user, session_id) = (opened.user, opened.session.session_id);
        let (services, now) = (context.services.clone(), context.now());
        let change = move |tx: &mut Tx<'_>| {
            let gone = || Error::new(Code::SessionInvalid).because("session_unknown");
            let before = tx.hold_user(user.user_id)?.ok_or_else(gone)?;
            if before.password_hash != user.password_hash {
                return Err(gone());
            }
            let mut after = before.clone();
            after.set_password(password, false, None, now);
            tx.save_user(&before, &after)?;
            services.notify(tx, &after, LetterKind::PasswordChanged, now)?;
            let did = Did::to(after.user_id)
                .by(user_actor(&after, session_id))
                .changing(super::difference::changes(tx, &before, &after, now)?);
            Ok(((), did))
        };
        context.change(change).await.map(|()| None)
    }

    /// A new password that fits, once the old one was proven.
    async fn fit_after_old(&self, old: Password, new: Password) -> Result<FitPassword> {
        let Self { context, application, opened } = self;
        let user = &opened.user;
        context.trail.set_subject(user.user_id);
        let inner = &context.services.inner;
        let target = Bucket::of_attempts(Some(user.user_id), context.known_device(user.user_id), "");
        let (verdict, attempt) = context.try_password(&target, Some(user), old.clone()).await?;
        if verdict == Verdict::Wrong {
            context.remember_failure(attempt, Some(user.user_id), "password_wrong").await?;
            return Err(Error::new(Code::OldPasswordWrong).because("password_wrong"));
        }
        let lockout = inner.lockout.clone();
        let user_id = user.user_id;
        let settle = move |tx: &mut Tx<'_>| {
            tx.forgive_failures(user_id)?;
            Ok(lockout.succeed(tx, user_id, &attempt)?)
        };
        inner.store.keep_count(settle).await?;
        if new.expose() == old.expose() {
            return Err(Error::new(Code::PasswordUnfit).at("new_password", "is the old one"));
        }
        context.fit_password(new, user, Some(application.name.as_str()), "new_password").await
    }
}

impl SuperUser {
    /// Sets a user's password and ends the user's sessions.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::PasswordUnfit`], [`Code::FreshSignInRequired`]; [`Code::Forbidden`] for one's own.
    pub async fn set_password(self, user_id: UserId, new: Password, must_change: bool, expiry: Option<Utc>) -> Result<Account> {
        self.context.trail.set_action(Action::PasswordSet);
        let user = self.user(user_id).await?.user;
        let password = self.password_for(&user, new, "new_password").await?;
        let context = self.context;
        let (now, services, leniency) = (context.now(), context.services.clone(), context.leniency);
        let set = move |tx: &mut Tx<'_>| {
            let (before, after) = set_in(&services, tx, user_id, password, must_change, expiry, leniency, now)?;
            let changes = super::difference::changes(tx, &before, &after, now)?;
            let did = Did::to(user_id).changing(changes).showing(user_id, Viewer::SuperUser);
            Ok((tx.read().account(after, now)?, did))
        };
        context.change(set).await
    }

    /// Mails a user a link by which the user sets a password; until then everything stays as it is (S6).
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::LinksUnavailable`], [`Code::EmailMissing`], [`Code::FreshSignInRequired`]; [`Code::Forbidden`] for
    /// oneself.
    pub async fn send_password_link(self, user_id: UserId) -> Result<Account> {
        self.user(user_id).await?;
        self.require_others_password(user_id)?;
        let (services, now) = (self.context.services.clone(), self.context.now());
        let is_operator = self.own_id().is_none();
        let send = move |tx: &mut Tx<'_>| {
            let user = tx.hold_user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
            // The address of a super-user that somebody moved gets no link by another super-user either.
            if !is_operator && user.is_super_user() && user.is_address_held(now) {
                return Err(Error::new(Code::Forbidden).because("email_changed_lately"));
            }
            services.mail_set_password(tx, &user, now)?;
            Ok((tx.read().account(user, now)?, Did::to(user_id).showing(user_id, Viewer::SuperUser)))
        };
        self.context.change(send).await
    }

    /// Makes such a link and tells it, once: to someone at the command line, who could write the password's hash as well. Over HTTP a
    /// super-user must not come to know a way into another's account.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::LinksUnavailable`]; [`Code::Forbidden`] for anyone but an operator.
    pub async fn tell_password_link(self, user_id: UserId) -> Result<(Account, LinkUrl)> {
        match self.authority {
            Authority::Operator(_) => {}
            Authority::Role(_) => return Err(Error::new(Code::Forbidden).because("not_operator")),
        }
        self.user(user_id).await?;
        let (services, now) = (self.context.services.clone(), self.context.now());
        let issue = move |tx: &mut Tx<'_>| {
            let user = tx.hold_user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
            let (link, _) = services.issue_set_password(tx, user_id, now)?;
            Ok(((tx.read().account(user, now)?, link), Did::to(user_id).showing(user_id, Viewer::SuperUser)))
        };
        self.context.change(issue).await
    }

    /// Makes the token of a link that resets a password and tells it, once, to someone at the command line: tokens that were mailed are
    /// known to the database by their hashes alone, so none of those can be looked up. It needs neither mail nor a base URL.
    ///
    /// # Errors
    /// [`Code::NotFound`]; [`Code::Forbidden`] for anyone but an operator.
    pub async fn tell_reset_token(self, user_id: UserId) -> Result<(ResetToken, Utc)> {
        match self.authority {
            Authority::Operator(_) => {}
            Authority::Role(_) => return Err(Error::new(Code::Forbidden).because("not_operator")),
        }
        self.user(user_id).await?;
        let (services, now) = (self.context.services.clone(), self.context.now());
        let issue = move |tx: &mut Tx<'_>| {
            tx.hold_user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
            let span = services.post().reset;
            Ok((services.issue(tx, LinkPurpose::ResetPassword, user_id, span, now)?, Did::to(user_id)))
        };
        self.context.change(issue).await
    }

    /// Whether a link can be mailed to this account, or has to be told.
    pub fn can_mail_link_to(&self, account: &Account) -> bool {
        self.context.services.post().require_mailed_links().is_ok() && account.user.email.as_ref().is_some_and(Email::is_address)
    }

    /// One's own password is changed by proving the old one: a stolen session must not become the account. Another's takes a sign-in of
    /// the last minutes.
    fn require_others_password(&self, user_id: UserId) -> Result<()> {
        if self.own_id() == Some(user_id) {
            return Err(Error::new(Code::Forbidden)
                .because("own_password")
                .detail("One's own password is changed with the old one."));
        }
        self.expect_proof_for(Action::PasswordSet, Some(user_id))
    }

    /// A password that this super-user may set for `user`, found at fault as `member`.
    ///
    /// # Errors
    /// Those of [`SuperUser::set_password`].
    pub(super) async fn password_for(&self, user: &User, new: Password, member: &'static str) -> Result<FitPassword> {
        self.require_others_password(user.user_id)?;
        let application = self.context.trail.application();
        self.context.fit_password(new, user, application.as_deref(), member).await
    }
}

/// Sets a user's password and ends the user's sessions; the person is told by mail. Returns the user before and after.
#[expect(clippy::too_many_arguments, reason = "each says one thing about the password")]
pub(super) fn set_in(
    services: &Services,
    tx: &mut Tx<'_>,
    user_id: UserId,
    password: FitPassword,
    must_change: bool,
    expiry: Option<Utc>,
    leniency: Leniency,
    now: Utc,
) -> Result<(User, User)> {
    let before = tx.hold_user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
    let mut after = before.clone();
    after.set_password(password, must_change, expiry, now);
    tx.save_user(&before, &after)?;
    if !leniency.do_sessions_survive_password() {
        tx.end_sessions(user_id)?;
    }
    services.inner.lockout.forgive(tx, user_id)?;
    services.notify(tx, &after, LetterKind::PasswordChanged, now)?;
    Ok((before, after))
}
