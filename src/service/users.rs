//! Users: looking at oneself, looking others up, creating, locking and unlocking.

use super::Services;
use super::caller::{Authenticated, SuperUser};
use super::did::Did;
use super::difference::{changes, shown};
use super::known::{WrittenView, show};
use super::leniency::Leniency;
use super::lockout::Lockout;
use super::proven::Proven;
use crate::auth::totp::Key;
use crate::domain::attribute::{Refused, Viewer, Why};
use crate::domain::audit::{Action, Changes};
use crate::domain::demand::{Demand, Whom};
use crate::domain::ids::UserId;
use crate::domain::letter::LetterKind;
use crate::domain::precondition::Tags;
use crate::domain::secret;
use crate::domain::standing::{is_active_super_user, stands};
use crate::domain::text::{Line, Name, fold};
use crate::domain::time::Utc;
use crate::domain::user::{Account, ApprovalStatus, CreationContext, LockCause, Patch, SignUpStatus, User};
use crate::error::{Code, Error, Fault, Result};
use crate::store::Tx;
use serde_json::{Map, Value};
use std::sync::Arc;

/// A user to be created.
#[derive(Debug, Default)]
pub struct NewUser {
    /// Its attributes.
    pub patch: Patch,
    /// Its password.
    pub password: Option<Password>,
    /// Whether a link is mailed by which the person sets it.
    pub must_set_password: bool,
    /// The key of its one-time codes, which are enabled with it.
    pub totp_key: Option<Key>,
    /// Whether it is of no use before a super-user approves it.
    pub awaits_approval: bool,
    /// Whether its sign-up is confirmed; final if nothing is said.
    pub sign_up_status: Option<SignUpStatus>,
}

/// A password in the clear.
pub type Password = secret::Password;

impl NewUser {
    /// Reads the members of a JSON object: attributes that `viewer` may change, and either `password` or `must_set_password`.
    ///
    /// # Errors
    /// [`Code::Invalid`] or [`Code::MemberForbidden`], naming every member at fault.
    pub fn read(viewer: Viewer, members: Map<String, Value>) -> Result<Self> {
        Self::read_with(viewer, members, Leniency::NONE)
    }

    /// The same with what a dialect's calls are allowed.
    ///
    /// # Errors
    /// Those of [`NewUser::read`].
    pub fn read_with(viewer: Viewer, mut members: Map<String, Value>, leniency: Leniency) -> Result<Self> {
        let password = match members.remove("password") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(Password::new(text)),
            Some(_) => return Err(Error::new(Code::Invalid).at("password", "is no string")),
        };
        let must_set_password = match members.remove("must_set_password") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(must)) => must,
            Some(_) => return Err(Error::new(Code::Invalid).at("must_set_password", "is no boolean")),
        };
        if must_set_password && password.is_some() {
            return Err(Error::new(Code::Invalid).at("must_set_password", "does not go together with a password"));
        }
        Ok(Self { patch: leniency.read_patch(viewer, members)?, password, must_set_password, ..Self::default() })
    }
}

/// Reads a patch and turns what was refused into an error.
pub(super) fn read_patch(viewer: Viewer, members: &Map<String, Value>) -> Result<Patch> {
    Patch::read(viewer, members).map_err(refusals)
}

/// What was refused, as an error.
pub(super) fn refusals(refused: Vec<Refused>) -> Error {
    // An unknown or unfit member makes the body wrong; only if all are known and fit is it a question of right.
    let is_forbidden = refused.iter().all(|r| r.why == Why::Forbidden);
    let error = Error::new(if is_forbidden { Code::MemberForbidden } else { Code::Invalid });
    refused.into_iter().fold(error, |error, Refused { member, why }| {
        let (code, detail) = match why {
            Why::Unknown => ("unknown_member", "is not known: there is no such attribute".to_owned()),
            Why::Forbidden => ("member_forbidden", "may not be changed by this caller".to_owned()),
            Why::Unfit(detail) => ("unfit", detail),
        };
        error.fault(Fault { member, code, detail })
    })
}

/// Whether nobody could look after users if `user` could no longer, by the doing of `by`, if a user does it. Hold the super-users first.
pub(super) fn is_last_super_user(tx: &mut Tx<'_>, user: &User, by: Option<UserId>, now: Utc) -> Result<bool> {
    if !is_active_super_user(user, now) {
        return Ok(false);
    }
    let others = tx.read().administrators()?;
    // Whoever's time runs out is no one to rely on; nor, for someone who leaves, is whoever may come from some networks only.
    let leaves = by == Some(user.user_id);
    let is_endless = |other: &User| other.never_expire || other.valid_to.is_none();
    let remains =
        |other: &User| is_active_super_user(other, now) && is_endless(other) && (!leaves || other.networks.is_anywhere());
    Ok(!others.iter().any(|other| other.user_id != user.user_id && remains(other)))
}

/// Whether an active super-user is one after an edit as before, and for as long.
pub(super) fn stays_super_user(before: &User, after: &User, now: Utc) -> bool {
    let window = |user: &User| (user.never_expire, user.valid_to);
    let is_endless = after.never_expire || after.valid_to.is_none();
    is_active_super_user(after, now) && (is_endless || window(before) == window(after))
}

/// Locks an account on behalf of `own_id` and ends its sessions; tells the user before and after.
pub(super) fn lock_in(
    tx: &mut Tx<'_>,
    user_id: UserId,
    own_id: Option<UserId>,
    reason: Option<Line>,
    force: bool,
    now: Utc,
) -> Result<(User, User)> {
    tx.hold_super_users()?;
    let before = tx.hold_user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
    if is_last_super_user(tx, &before, own_id, now)? {
        return Err(Error::new(Code::LastSuperUser));
    }
    if own_id == Some(user_id) && !force {
        return Err(Error::new(Code::SelfLock));
    }
    let mut after = before.clone();
    after.lock(LockCause::Administrator, own_id, reason, now);
    tx.save_user(&before, &after)?;
    tx.end_sessions(user_id)?;
    Ok((before, after))
}

/// Unlocks an account and forgets its failures; tells the user before and after.
pub(super) fn unlock_in(tx: &mut Tx<'_>, user_id: UserId, lockout: &Lockout) -> Result<(User, User)> {
    let before = tx.hold_user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
    let mut after = before.clone();
    after.unlock();
    tx.save_user(&before, &after)?;
    lockout.forgive(tx, user_id)?;
    Ok((before, after))
}

impl Authenticated {
    /// get_current_user or, for whoever names a user, get_user_by_id, in one call as older systems have it.
    ///
    /// # Errors
    /// [`Code::Forbidden`] for a name, unless the caller is a super-user; [`Code::NotFound`].
    pub async fn account_of(self, named: Option<UserId>) -> Result<(Account, Viewer)> {
        match named {
            None => self.own_account().await,
            Some(user_id) => {
                self.context.trail.set_action(Action::UserRead);
                self.context.trail.set_subject(user_id);
                Ok((self.rise()?.user(user_id).await?, Viewer::SuperUser))
            }
        }
    }

    /// get_current_user.
    ///
    /// # Errors
    /// The database fails.
    pub async fn current_user(&self) -> Result<Arc<WrittenView>> {
        // An enrolment is shown to the session that began it, and only as long as it can be confirmed.
        if self.known.user().totp_enrolment_end.is_some_and(|end| self.context.now() < end) {
            let (account, viewer) = self.own_account().await?;
            return Ok(Arc::new(show(&account, viewer)?));
        }
        self.context.trail.set_subject(self.user_id());
        self.known.written_for(self.viewer_of(self.user_id()))
    }

    /// The same, for a dialect that spells it in its own way.
    ///
    /// # Errors
    /// The database fails.
    pub async fn own_account(&self) -> Result<(Account, Viewer)> {
        let viewer = self.viewer_of(self.user_id());
        self.context.trail.set_subject(self.user_id());
        let account = self.context.with_enrolment(self.known.account.clone(), viewer, self.session_id()).await?;
        Ok((account, viewer))
    }
}

impl SuperUser {
    /// How and from where an account comes that is made by this caller.
    pub(super) fn creation_ctx(&self, via: &str) -> CreationContext {
        CreationContext {
            via: via.to_owned(),
            by: Some(self.name()),
            application: self.context.trail.application(),
            remote_addr: self.context.remote_addr().map(|a| a.to_string()),
            cid: Some(self.context.call.cid.clone()),
        }
    }

    /// get_user_by_id.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn user(&self, user_id: UserId) -> Result<Account> {
        self.context.trail.set_subject(user_id);
        self.context.trail.shows(user_id, Viewer::SuperUser);
        let now = self.context.now();
        let look_up = move |snapshot: &mut crate::store::Snapshot<'_>| {
            let user = snapshot.user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
            Ok(snapshot.account(user, now)?)
        };
        self.context.services.inner.store.read(look_up).await
    }

    /// The user who signs in with this name.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn user_by_name(&self, name: &str) -> Result<Account> {
        let (key, now) = (fold(name), self.context.now());
        let look_up = move |snapshot: &mut crate::store::Snapshot<'_>| {
            let user = snapshot.user_by_name(&key)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
            Ok(snapshot.account(user, now)?)
        };
        let account = self.context.services.inner.store.read(look_up).await?;
        self.context.trail.set_subject(account.user.user_id);
        self.context.trail.shows(account.user.user_id, Viewer::SuperUser);
        Ok(account)
    }

    /// Creates an approved, final account.
    ///
    /// # Errors
    /// [`Code::Invalid`] without a username, [`Code::ValueTaken`], [`Code::PasswordUnfit`]; [`Code::FreshSignInRequired`] for a super-user;
    /// [`Code::LinksUnavailable`] and [`Code::EmailMissing`] where the person is to set the password.
    pub async fn create_user(self, new: NewUser, via: &str) -> Result<Account> {
        self.create_user_as(new, via, false).await
    }

    /// The same, locked from the start if `is_locked`.
    ///
    /// # Errors
    /// Those of [`SuperUser::create_user`].
    pub async fn create_user_as(self, new: NewUser, via: &str, is_locked: bool) -> Result<Account> {
        let context = self.context.clone();
        let NewUser { patch, password, totp_key, must_set_password, awaits_approval, sign_up_status } = new;
        // Whoever knows another's key can be that other: over HTTP nobody is to.
        if totp_key.is_some() && self.own_id().is_some() && !context.leniency.is_totp_changed_without_code() {
            return Err(Error::new(Code::MemberForbidden).at("totp_key", "may not be set by this caller"));
        }
        let username: Name = patch.username.clone().ok_or_else(|| Error::new(Code::Invalid).at("username", "is missing"))?;
        let inner = &context.services.inner;
        let now = context.now();
        let mut user = User::fresh(UserId::mint(now, &inner.entropy), username, now, self.creation_ctx(via));
        user.approval_status_mod_by = self.own_id();
        if awaits_approval {
            user.is_approval_needed = true;
            user.approval_status = ApprovalStatus::BeforeDecision;
        }
        user.sign_up_status = sign_up_status.unwrap_or(SignUpStatus::Final);
        user.furnish(patch);
        self.maker().may(Action::UserCreate, &user)?;
        // A password may be shorter where a one-time code is asked for as well.
        if totp_key.is_some() {
            user.enable_totp();
        }
        if let Some(password) = password {
            let password = context.fit_password(password, &user, context.trail.application().as_deref(), "password").await?;
            let (must_change, expiry) = (user.password_must_change, user.password_expiry);
            user.set_password(password, must_change, expiry, now);
        }
        if is_locked {
            user.lock(LockCause::Administrator, self.own_id(), None, now);
        }
        context.trail.set_subject(user.user_id);
        let (keeper, services) = (context.clone(), context.services.clone());
        let is_by_key = matches!(self.proven(), Proven::ByKey);
        let create = move |tx: &mut Tx<'_>| {
            tx.insert_user(&mut user)?;
            if is_by_key && user.is_super_user() {
                services.tell_super_users(tx, &user, now)?;
            }
            if let Some(key) = &totp_key {
                keeper.keep_totp_key(tx, user.user_id, key, None)?;
            }
            if must_set_password {
                services.mail_set_password(tx, &user, now)?;
            }
            let account = tx.read().account(user, now)?;
            let user_id = account.user.user_id;
            let changes = Changes::between(&Value::Null, &shown(&account)?);
            let did = Did::to(user_id).changing(changes).showing(user_id, Viewer::SuperUser);
            Ok((account, did))
        };
        context.change(create).await
    }

    /// Locks an account and ends its sessions.
    ///
    /// # Errors
    /// [`Code::NotFound`]; [`Code::SelfLock`] for oneself without `force`; [`Code::LastSuperUser`] whatever `force` says.
    pub async fn lock(self, user_id: UserId, reason: Option<Line>, force: bool) -> Result<Account> {
        let (own_id, now) = (self.own_id(), self.context.now());
        self.context.trail.set_action(Action::UserLock);
        self.context.trail.set_subject(user_id);
        let lock = move |tx: &mut Tx<'_>| {
            let (before, after) = lock_in(tx, user_id, own_id, reason, force, now)?;
            let changes = changes(tx, &before, &after, now)?;
            let did = Did::to(user_id).changing(changes).showing(user_id, Viewer::SuperUser);
            Ok((tx.read().account(after, now)?, did))
        };
        self.context.change(lock).await
    }

    /// Unlocks an account and forgets its failures.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn unlock(self, user_id: UserId) -> Result<Account> {
        let now = self.context.now();
        let lockout = self.context.services.inner.lockout.clone();
        self.context.trail.set_action(Action::UserUnlock);
        self.context.trail.set_subject(user_id);
        let unlock = move |tx: &mut Tx<'_>| {
            let (before, after) = unlock_in(tx, user_id, &lockout)?;
            let changes = changes(tx, &before, &after, now)?;
            let did = Did::to(user_id).changing(changes).showing(user_id, Viewer::SuperUser);
            Ok((tx.read().account(after, now)?, did))
        };
        self.context.change(unlock).await
    }
}

/// A change of a user's attributes.
#[derive(Debug)]
pub struct Edit {
    patch: Patch,
    if_match: Option<Tags>,
}

impl Edit {
    /// Reads a JSON merge patch (RFC 7396) on behalf of `viewer`, to be made only if the user still is as `if_match` says (RFC 9110,
    /// section 13.1.1).
    ///
    /// # Errors
    /// [`Code::Invalid`] or [`Code::MemberForbidden`], naming every member at fault; a patch without members is refused.
    pub fn read(viewer: Viewer, members: &Map<String, Value>, if_match: Option<Tags>) -> Result<Self> {
        let patch = read_patch(viewer, members)?;
        if patch.is_empty() {
            return Err(Error::new(Code::Invalid).detail("There is nothing to change."));
        }
        Ok(Self { patch, if_match })
    }

    /// Of a patch that was read already.
    pub(super) fn of(patch: Patch) -> Self {
        Self { patch, if_match: None }
    }

    /// A login name that is the username is to stay so: where clients know of one name alone, the one so far names nobody any more.
    pub(super) fn keep_one_name(&mut self, before: &User) {
        if before.login_name_key == before.username_key && self.patch.login_name.is_none() {
            self.patch.login_name.clone_from(&self.patch.username);
        }
    }

    /// Makes the change within a transaction.
    pub(super) fn make(self, services: &Services, tx: &mut Tx<'_>, user_id: UserId, maker: &Maker) -> Result<(Account, Did)> {
        let now = maker.now;
        tx.hold_super_users()?;
        let before = tx.hold_user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
        let account = tx.read().account(before.clone(), now)?;
        if let Some(expected) = self.if_match
            && !expected.match_strongly(Some(&account.etag(maker.viewer)))
        {
            return Err(Error::new(Code::PreconditionFailed));
        }
        let mut after = before.clone();
        self.patch.apply(&mut after);
        after.settle_keys();
        after.note_address(&before, maker.own_id, now);
        if !stays_super_user(&before, &after, now) && is_last_super_user(tx, &before, maker.own_id, now)? {
            return Err(Error::new(Code::LastSuperUser));
        }
        maker.may_make(&before, &after)?;
        let changes = changes(tx, &before, &after, now)?;
        if changes.is_some() {
            after.updated_time = now;
            tx.save_user(&before, &after)?;
        }
        services.follow_edit(tx, &before, &after, maker)?;
        let did = Did::to(user_id).changing(changes).showing(user_id, maker.viewer);
        Ok((tx.read().account(after, now)?, did))
    }
}

impl Services {
    /// What follows from an edit, whichever way it came.
    pub(super) fn follow_edit(&self, tx: &mut Tx<'_>, before: &User, after: &User, maker: &Maker) -> Result<()> {
        let (user_id, now) = (after.user_id, maker.now);
        if matches!(maker.proven, Proven::ByKey) && after.is_super_user() && !before.is_super_user() {
            self.tell_super_users(tx, after, now)?;
        }
        if before.user_role != after.user_role || stands(after, now).is_err() {
            tx.end_sessions(user_id)?;
        }
        // A key that was made for one role must not become one for another (S19).
        if before.user_role != after.user_role {
            tx.delete_api_keys(user_id)?;
        }
        Ok(())
    }

    /// What follows from a decision on an account: who is let in by it is told so.
    pub(super) fn follow_decision(&self, tx: &mut Tx<'_>, before: &User, after: &User, now: Utc) -> Result<()> {
        let is_let_in = before.is_approval_needed
            && before.approval_status != after.approval_status
            && after.approval_status == ApprovalStatus::Approved;
        if is_let_in && after.sign_up_status == SignUpStatus::Final {
            self.notify(tx, after, LetterKind::Welcome, now)?;
        }
        Ok(())
    }
}

/// Who makes an edit.
#[derive(Clone, Copy)]
pub(super) struct Maker {
    pub(super) now: Utc,
    pub(super) own_id: Option<UserId>,
    pub(super) proven: Proven,
    pub(super) viewer: Viewer,
    /// What the way by which the edit comes is allowed beyond others.
    pub(super) leniency: Leniency,
}

impl Maker {
    /// The maker's own id, if it is a user.
    pub(super) fn own_id(&self) -> Option<UserId> {
        self.own_id
    }

    /// Nobody raises their own role. What the attribute table marks so is changed soon after a proof only, whosever account it is (S49); by an
    /// API key not at all where a super-user is meant.
    pub(super) fn may_make(&self, before: &User, after: &User) -> Result<()> {
        let is_own = self.own_id == Some(before.user_id);
        if is_own && after.user_role > before.user_role {
            return Err(Error::new(Code::Forbidden).because("own_role"));
        }
        if !before.is_edit_of_recovery(after) {
            return Ok(());
        }
        let is_made_super_user = after.is_super_user() && !self.leniency.do_keys_make_super_users;
        let whom = Whom { is_own, is_super_user: before.is_super_user() || is_made_super_user };
        self.proven.meets(Demand::RECOVERY, whom, self.now)
    }

    /// Whether the maker's proof is enough for an action that is about this user.
    pub(super) fn may(&self, action: Action, user: &User) -> Result<()> {
        let whom = Whom { is_own: self.own_id == Some(user.user_id), is_super_user: user.is_super_user() };
        self.proven.meets(self.leniency.demand(action), whom, self.now)
    }
}

impl Authenticated {
    /// Changes oneself; returns the account and as whom one sees it.
    ///
    /// # Errors
    /// Those of a patch that is read; [`Code::PreconditionFailed`], [`Code::FreshSignInRequired`], [`Code::LastSuperUser`],
    /// [`Code::ValueTaken`].
    pub async fn update_current(self, members: &Map<String, Value>, if_match: Option<Tags>) -> Result<(Account, Viewer)> {
        let user_id = self.user_id();
        let viewer = self.viewer_of(user_id);
        self.context.trail.set_subject(user_id);
        let edit = Edit::read(viewer, members, if_match)?;
        let maker = self.maker(user_id);
        let services = self.context.services.clone();
        let account = self.context.change(move |tx| edit.make(&services, tx, user_id, &maker)).await?;
        let account = self.context.with_enrolment(account, viewer, self.session_id()).await?;
        Ok((account, viewer))
    }
}

impl Authenticated {
    /// As which maker of edits of a user the caller acts.
    pub(super) fn maker(&self, subject: UserId) -> Maker {
        let (now, own_id, proven) = (self.context.now(), Some(self.user_id()), self.proven());
        Maker { now, own_id, proven, viewer: self.viewer_of(subject), leniency: self.context.leniency }
    }
}

impl SuperUser {
    /// Changes a user.
    ///
    /// # Errors
    /// [`Code::NotFound`], and those of [`Authenticated::update_current`].
    pub async fn update(self, user_id: UserId, members: &Map<String, Value>, if_match: Option<Tags>) -> Result<Account> {
        self.context.trail.set_subject(user_id);
        let edit = Edit::read(Viewer::SuperUser, members, if_match)?;
        let (maker, services) = (self.maker(), self.context.services.clone());
        self.context.change(move |tx| edit.make(&services, tx, user_id, &maker)).await
    }

    /// As which maker of edits the super-user acts.
    pub(super) fn maker(&self) -> Maker {
        let (now, own_id, proven) = (self.context.now(), self.own_id(), self.proven());
        Maker { now, own_id, proven, viewer: Viewer::SuperUser, leniency: self.context.leniency }
    }

    /// Deletes a user with all that hangs on it; the audit trail keeps the id.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::SelfDelete`], [`Code::LastSuperUser`].
    pub async fn delete(self, user_id: UserId) -> Result<()> {
        self.context.trail.set_subject(user_id);
        let (own_id, now, lockout) = (self.own_id(), self.context.now(), self.context.services.inner.lockout.clone());
        let delete = move |tx: &mut Tx<'_>| {
            tx.hold_super_users()?;
            let user = tx.hold_user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
            if is_last_super_user(tx, &user, own_id, now)? {
                return Err(Error::new(Code::LastSuperUser));
            }
            if own_id == Some(user_id) {
                return Err(Error::new(Code::SelfDelete));
            }
            tx.delete_user(user_id)?;
            lockout.forgive(tx, user_id)?;
            Ok(((), Did::to(user_id)))
        };
        self.context.change(delete).await
    }

    /// Approves or rejects an account; rejecting ends its sessions.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::LastSuperUser`].
    pub async fn decide(self, user_id: UserId, status: ApprovalStatus) -> Result<Account> {
        self.context.trail.set_subject(user_id);
        let (own_id, now, services) = (self.own_id(), self.context.now(), self.context.services.clone());
        let decide = move |tx: &mut Tx<'_>| {
            tx.hold_super_users()?;
            let before = tx.hold_user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
            let mut after = before.clone();
            after.decide(status, own_id, now);
            services.follow_decision(tx, &before, &after, now)?;
            if stands(&after, now).is_err() {
                if is_last_super_user(tx, &before, own_id, now)? {
                    return Err(Error::new(Code::LastSuperUser));
                }
                tx.end_sessions(user_id)?;
            }
            tx.save_user(&before, &after)?;
            let changes = changes(tx, &before, &after, now)?;
            let did = Did::to(user_id).changing(changes).showing(user_id, Viewer::SuperUser);
            Ok((tx.read().account(after, now)?, did))
        };
        self.context.change(decide).await
    }
}
