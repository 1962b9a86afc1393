//! Users: looking at oneself, looking others up, creating, locking and unlocking.

use super::caller::{SignedIn, SuperUser};
use super::context::Did;
use crate::auth::policy::Policy;
use crate::domain::attribute::{Refused, Viewer, Why};
use crate::domain::audit::Changes;
use crate::domain::ids::UserId;
use crate::domain::secret;
use crate::domain::standing::is_active_super_user;
use crate::domain::text::{Line, Name, fold};
use crate::domain::time::Utc;
use crate::domain::user::{Account, CreationContext, LockCause, Patch, User};
use crate::error::{Code, Error, Fault, Result};
use crate::store::Tx;
use serde_json::{Map, Value};

/// A user to be created.
#[derive(Debug, Default)]
pub struct NewUser {
    /// Its attributes.
    pub patch: Patch,
    /// Its password.
    pub password: Option<Password>,
}

/// A password in the clear.
pub type Password = secret::Password;

impl NewUser {
    /// Reads the members of a JSON object: attributes that `viewer` may change, and `password`.
    ///
    /// # Errors
    /// [`Code::Invalid`] or [`Code::MemberForbidden`], naming every member at fault.
    pub fn read(viewer: Viewer, mut members: Map<String, Value>) -> Result<Self> {
        let password = match members.remove("password") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(Password::new(text)),
            Some(_) => return Err(Error::new(Code::Invalid).at("password", "is no string")),
        };
        Ok(Self { patch: read_patch(viewer, &members)?, password })
    }
}

/// Reads a patch and turns what was refused into an error.
fn read_patch(viewer: Viewer, members: &Map<String, Value>) -> Result<Patch> {
    Patch::read(viewer, members).map_err(|refused| {
        // An unknown or unfit member makes the body wrong; only if all are known and fit is it a question of right.
        let is_forbidden = refused.iter().all(|r| r.why == Why::Forbidden);
        let error = Error::new(if is_forbidden { Code::MemberForbidden } else { Code::Invalid });
        refused.into_iter().fold(error, |error, Refused { member, why }| {
            let (code, detail) = match why {
                Why::Unknown => ("unknown_member", "is not known: there is no such attribute".to_owned()),
                Why::Forbidden => ("member_forbidden", "may not be changed by this caller".to_owned()),
                Why::Unfit(detail) => ("unfit", format!("does not fit: {detail}")),
            };
            error.fault(Fault { member, code, detail })
        })
    })
}

/// What of a user's visible attributes differs; for the audit trail, which sees what a super-user sees.
pub(super) fn changes(tx: &mut Tx<'_>, before: &User, after: &User, now: Utc) -> Result<Option<Changes>> {
    let mut account = tx.read().account(before.clone(), now)?;
    let broken = |e: serde_json::Error| Error::new(Code::Internal).cause(e.to_string());
    let old = serde_json::to_value(account.view(Viewer::SuperUser)).map_err(broken)?;
    account.user = after.clone();
    let new = serde_json::to_value(account.view(Viewer::SuperUser)).map_err(broken)?;
    Ok(Changes::between(&old, &new))
}

/// Whether nobody could look after users if `user` could no longer. Hold the super-users first.
pub(super) fn is_last_super_user(tx: &mut Tx<'_>, user: &User, now: Utc) -> Result<bool> {
    if !is_active_super_user(user, now) {
        return Ok(false);
    }
    let others = tx.read().administrators()?;
    Ok(!others.iter().any(|other| other.user_id != user.user_id && is_active_super_user(other, now)))
}

impl SignedIn {
    /// get_current_user.
    ///
    /// # Errors
    /// The database fails.
    pub async fn current_user(&self) -> Result<(Account, Viewer)> {
        let (user, now) = (self.opened.user.clone(), self.context.now());
        self.context.trail.set_subject(user.user_id);
        let viewer = self.viewer_of(user.user_id);
        let account = self.context.services.inner.store.read(move |snapshot| Ok(snapshot.account(user, now)?)).await?;
        Ok((account, viewer))
    }
}

impl SuperUser {
    /// get_user_by_id.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn user(&self, user_id: UserId) -> Result<Account> {
        self.context.trail.set_subject(user_id);
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
        Ok(account)
    }

    /// Up to `limit` users in order of creation, after the one of the number `after`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn users(&self, after: i64, limit: i64) -> Result<Vec<Account>> {
        let now = self.context.now();
        self.context.services.inner.store.read(move |snapshot| Ok(snapshot.accounts(after, limit, now)?)).await
    }

    /// Creates an approved, final account.
    ///
    /// # Errors
    /// [`Code::Invalid`] without a username, [`Code::ValueTaken`], [`Code::PasswordUnfit`].
    pub async fn create_user(self, new: NewUser, via: &str) -> Result<Account> {
        let context = self.context.clone();
        let NewUser { patch, password } = new;
        let username: Name = patch.username.clone().ok_or_else(|| Error::new(Code::Invalid).at("username", "is missing"))?;
        let inner = &context.services.inner;
        let now = context.now();
        let creation_ctx = CreationContext {
            via: via.to_owned(),
            by: Some(self.name()),
            application: context.trail.application(),
            remote_addr: context.call.remote_addr.map(|a| a.to_string()),
            cid: Some(context.call.cid.clone()),
        };
        let mut user = User::fresh(UserId::mint(now, &inner.entropy), username, now, creation_ctx);
        user.approval_status_mod_by = self.own_id();
        let has_display_name = patch.display_name.is_some();
        patch.apply(&mut user);
        user.settle_keys();
        if !has_display_name {
            user.display_name = user.default_display_name();
        }
        if let Some(password) = password {
            check_password(&inner.policy, &password, &user, context.trail.application().as_deref())?;
            let hash = context.hash(password).await?;
            let (must_change, expiry) = (user.password_must_change, user.password_expiry);
            user.set_password(hash, must_change, expiry, now);
        }
        context.trail.set_subject(user.user_id);
        let create = move |tx: &mut Tx<'_>| {
            tx.insert_user(&mut user)?;
            let account = tx.read().account(user, now)?;
            let broken = |e: serde_json::Error| Error::new(Code::Internal).cause(e.to_string());
            let view = serde_json::to_value(account.view(Viewer::SuperUser)).map_err(broken)?;
            let did = Did::to(account.user.user_id).changing(Changes::between(&Value::Null, &view));
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
        self.context.trail.set_subject(user_id);
        let lock = move |tx: &mut Tx<'_>| {
            tx.hold_super_users()?;
            let before = tx.hold_user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
            if is_last_super_user(tx, &before, now)? {
                return Err(Error::new(Code::LastSuperUser));
            }
            if own_id == Some(user_id) && !force {
                return Err(Error::new(Code::SelfLock));
            }
            let mut after = before.clone();
            after.lock(LockCause::Administrator, own_id, reason, now);
            tx.save_user(&before, &after)?;
            tx.end_sessions(user_id)?;
            let did = Did::to(user_id).changing(changes(tx, &before, &after, now)?);
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
        self.context.trail.set_subject(user_id);
        let unlock = move |tx: &mut Tx<'_>| {
            let before = tx.hold_user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
            let mut after = before.clone();
            after.unlock();
            tx.save_user(&before, &after)?;
            lockout.forgive(tx, user_id)?;
            let did = Did::to(user_id).changing(changes(tx, &before, &after, now)?);
            Ok((tx.read().account(after, now)?, did))
        };
        self.context.change(unlock).await
    }
}

fn check_password(policy: &Policy, password: &Password, user: &User, application: Option<&str>) -> Result<()> {
    policy.check(password, user, application, "password")
}
