//! One call that changes several things about an account at once, as older systems have it: attributes, lock, approval, confirmation and
//! one-time codes, in one transaction with one event.
//!
//! Each part has the guards of the use case of its own name. Who may change what is decided by the attribute table for the attributes; the
//! other parts are a super-user's. One-time codes are changed here only where the call's leniency says so: otherwise it takes a code, and
//! the use cases of `second_factor.rs`.

use super::caller::{Authenticated, SuperUser};
use super::context::Context;
use super::did::Did;
use super::difference::changes;
use super::second_factor::{switch_off, switch_on};
use super::users::{Edit, Maker, is_last_super_user, lock_in, unlock_in};
use crate::auth::totp::Key;
use crate::domain::attribute::Viewer;
use crate::domain::audit::Action;
use crate::domain::ids::UserId;
use crate::domain::standing::{is_active_super_user, stands};
use crate::domain::user::{ApprovalStatus, SignUpStatus, User};
use crate::error::{Code, Error, Result};
use crate::store::Tx;
use serde_json::{Map, Value};

/// What is to be changed of an account.
#[derive(Debug, Default)]
pub struct Revision {
    /// A merge patch of its attributes.
    pub members: Map<String, Value>,
    /// Lock or unlock it.
    pub lock: Option<bool>,
    /// Decide on it.
    pub approval_status: Option<ApprovalStatus>,
    /// Whether its sign-up is confirmed.
    pub sign_up_status: Option<SignUpStatus>,
    /// Whether one-time codes are enabled.
    pub is_totp_enabled: Option<bool>,
}

impl Revision {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        let Self { members, lock, approval_status, sign_up_status, is_totp_enabled } = self;
        let is_plain = members.is_empty() && lock.is_none() && is_totp_enabled.is_none();
        is_plain && approval_status.is_none() && sign_up_status.is_none()
    }

    /// What is done to the account, each with its own demand on the proof; what its attributes ask stands beside.
    fn parts(&self) -> Vec<Action> {
        let Self { members: _, lock, approval_status, sign_up_status, is_totp_enabled } = self;
        let lock = lock.map(|lock| if lock { Action::UserLock } else { Action::UserUnlock });
        let decision = match approval_status {
            Some(ApprovalStatus::Approved) => Some(Action::UserApprove),
            Some(ApprovalStatus::BeforeDecision | ApprovalStatus::Rejected | ApprovalStatus::Foreign(_)) => {
                Some(Action::UserReject)
            }
            None => None,
        };
        // Whoever takes a sign-up for confirmed lets its account in.
        let confirmation = sign_up_status.map(|_| Action::UserApprove);
        let factor = is_totp_enabled.map(|_| Action::TotpReplace);
        [lock, decision, confirmation, factor].into_iter().flatten().collect()
    }

    /// What only super-users change.
    fn of_super_users(&self) -> Option<&'static str> {
        let Self { lock, approval_status, sign_up_status, .. } = self;
        lock.map(|_| "is_locked").or(approval_status.map(|_| "approval_status")).or(sign_up_status.map(|_| "sign_up_status"))
    }
}

impl Authenticated {
    /// Whether one-time codes are enabled for the caller.
    pub fn has_totp(&self) -> bool {
        self.known.user().is_totp_enabled
    }

    /// Changes oneself or, as a super-user, anyone.
    ///
    /// # Errors
    /// [`Code::Forbidden`] for someone else, [`Code::MemberForbidden`] for what the caller may not change; [`Code::NotFound`],
    /// [`Code::ValueTaken`], [`Code::LastSuperUser`], [`Code::SelfLock`]; [`Code::TotpRequired`] for one-time codes, where the call's
    /// leniency does not reach to them; [`Code::Invalid`] if there is nothing to change.
    pub async fn revise(self, named: Option<UserId>, revision: Revision) -> Result<()> {
        let user_id = named.unwrap_or(self.user_id());
        let viewer = self.viewer_of(user_id);
        self.context.trail.set_subject(user_id);
        if user_id != self.user_id() {
            self.context.trail.set_action(Action::UserUpdate);
        }
        match viewer {
            Viewer::SuperUser | Viewer::Owner => {}
            Viewer::Nobody | Viewer::Peer | Viewer::Colleague => {
                return Err(Error::new(Code::Forbidden).because("not_super_user"));
            }
        }
        if revision.is_empty() {
            return Err(Error::new(Code::Invalid).because("nothing_to_change").detail("There is nothing to change."));
        }
        if let Some(member) = revision.of_super_users().filter(|_| viewer != Viewer::SuperUser) {
            return Err(Error::new(Code::MemberForbidden).at(member, "may not be changed by this caller"));
        }
        if revision.is_totp_enabled.is_some() && !self.context.leniency.is_totp_changed_without_code() {
            return Err(Error::new(Code::TotpRequired).because("totp_code_missing"));
        }
        let (maker, context) = (self.maker(user_id), self.context.clone());
        let context = match viewer {
            Viewer::SuperUser => self.rise()?.context,
            Viewer::Nobody | Viewer::Peer | Viewer::Colleague | Viewer::Owner => context,
        };
        context.revise(user_id, viewer, maker, revision).await
    }
}

impl SuperUser {
    /// When the call began.
    pub fn now(&self) -> crate::domain::time::Utc {
        self.context.now()
    }

    /// A password for an account whose maker names none; nobody is told it.
    pub fn password_for_nobody(&self) -> super::Password {
        self.context.services.generate_password()
    }
}

impl Context {
    async fn revise(&self, user_id: UserId, viewer: Viewer, maker: Maker, revision: Revision) -> Result<()> {
        let parts = revision.parts();
        let Revision { members, lock, approval_status, sign_up_status, is_totp_enabled } = revision;
        let patch = self.leniency.read_patch(viewer, members)?;
        let mut edit = (!patch.is_empty()).then(|| Edit::of(patch));
        let (keeper, services, now) = (self.clone(), self.services.clone(), self.now());
        let key = Key::mint(&services.inner.entropy);
        let own_id = maker.own_id();
        let change = move |tx: &mut Tx<'_>| {
            let unknown = || Error::new(Code::NotFound).because("user_unknown");
            tx.hold_super_users()?;
            let before = tx.hold_user(user_id)?.ok_or_else(unknown)?;
            if lock == Some(false) {
                unlock_in(tx, user_id, &services.inner.lockout)?;
            }
            if let Some(edit) = &mut edit {
                edit.keep_one_name(&before);
            }
            if let Some(edit) = edit {
                edit.make(&services, tx, user_id, &maker)?;
            }
            decide_in(tx, user_id, own_id, approval_status, sign_up_status, now)?;
            match is_totp_enabled {
                Some(true) => switch_on(&keeper, tx, user_id, &key)?,
                Some(false) => switch_off(tx, user_id)?,
                None => {}
            }
            if lock == Some(true) {
                lock_in(tx, user_id, own_id, None, true, now)?;
            }
            let after = tx.read().user(user_id)?.ok_or_else(unknown)?;
            Ok(((), Did::to(user_id).with_parts(parts).changing(changes(tx, &before, &after, now)?)))
        };
        self.change(change).await
    }
}

/// Decides on an account and its sign-up, within a transaction that holds it.
fn decide_in(
    tx: &mut Tx<'_>,
    user_id: UserId,
    own_id: Option<UserId>,
    approval_status: Option<ApprovalStatus>,
    sign_up_status: Option<SignUpStatus>,
    now: crate::domain::time::Utc,
) -> Result<()> {
    let unknown = || Error::new(Code::NotFound).because("user_unknown");
    let before = tx.read().user(user_id)?.ok_or_else(unknown)?;
    let mut after: User = before.clone();
    if let Some(status) = approval_status {
        // Whoever is put back before a decision waits for one.
        after.is_approval_needed |= status == ApprovalStatus::BeforeDecision;
        after.decide(status, own_id, now);
    }
    after.sign_up_status = sign_up_status.unwrap_or(after.sign_up_status);
    if approval_status.is_none() && sign_up_status.is_none() {
        return Ok(());
    }
    if !is_active_super_user(&after, now) && is_last_super_user(tx, &before, own_id, now)? {
        return Err(Error::new(Code::LastSuperUser));
    }
    tx.save_user(&before, &after)?;
    if stands(&after, now).is_err() {
        tx.end_sessions(user_id)?;
    }
    Ok(())
}
