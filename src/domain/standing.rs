//! The one decision whether an account may act now.
//!
//! It is asked at sign-in, after the credential was right, and at **every** use of a session, by every way in. There is no other
//! place that compares these attributes, so a new way in cannot forget one of them.

#![deny(clippy::wildcard_enum_match_arm, reason = "a new variant must be decided on, not fall through")]

use super::time::Utc;
use super::user::{ApprovalStatus, SignUpStatus, User};

super::words::words! {
    /// Why an account may not act now. The words appear as reason codes in the audit trail.
    Barred {
        /// `is_active` is false.
        Inactive = "account_inactive",
        /// Locked.
        Locked = "account_locked",
        /// The sign-up is not confirmed.
        SignUpUnconfirmed = "sign_up_unconfirmed",
        /// No super-user has approved it yet.
        ApprovalPending = "approval_pending",
        /// A super-user rejected it.
        Rejected = "account_rejected",
        /// Before `valid_from`, or after `valid_to`.
        OutsideValidity = "outside_validity",
        /// The password has expired.
        PasswordExpired = "password_expired",
        /// A new password is demanded.
        PasswordMustChange = "password_must_change",
    }
}

/// Whether `user` may act at `now`; if not, the first cause in a fixed order.
///
/// The last two causes can be mended by the user at sign-in, by sending a new password along; [`Barred::is_mendable`] tells.
pub fn may_act(user: &User, now: Utc) -> Result<(), Barred> {
    if !user.is_active {
        return Err(Barred::Inactive);
    }
    if user.is_locked {
        return Err(Barred::Locked);
    }
    match user.sign_up_status {
        SignUpStatus::Final => {}
        SignUpStatus::BeforeConfirmation => return Err(Barred::SignUpUnconfirmed),
    }
    match user.approval_status {
        ApprovalStatus::Approved => {}
        ApprovalStatus::Rejected => return Err(Barred::Rejected),
        ApprovalStatus::BeforeDecision if user.is_approval_needed => return Err(Barred::ApprovalPending),
        ApprovalStatus::BeforeDecision => {}
    }
    if user.valid_from.is_some_and(|from| now < from) {
        return Err(Barred::OutsideValidity);
    }
    if !user.never_expire && user.valid_to.is_some_and(|to| now >= to) {
        return Err(Barred::OutsideValidity);
    }
    if !user.password_never_expires && user.password_expiry.is_some_and(|expiry| now >= expiry) {
        return Err(Barred::PasswordExpired);
    }
    if user.password_must_change {
        return Err(Barred::PasswordMustChange);
    }
    Ok(())
}

impl Barred {
    /// Whether the user can lift the bar by setting a new password in the same sign-in.
    pub fn is_mendable(self) -> bool {
        match self {
            Self::PasswordExpired | Self::PasswordMustChange => true,
            Self::Inactive
            | Self::Locked
            | Self::SignUpUnconfirmed
            | Self::ApprovalPending
            | Self::Rejected
            | Self::OutsideValidity => false,
        }
    }
}

impl Barred {
    /// Whether the person may set a new password by a link all the same: it opens nothing that the bar would not keep shut, and whoever
    /// waits for approval, or for the first day, can be ready by then.
    pub fn allows_new_password(self) -> bool {
        match self {
            Self::PasswordExpired | Self::PasswordMustChange | Self::ApprovalPending | Self::OutsideValidity => true,
            Self::Inactive | Self::Locked | Self::SignUpUnconfirmed | Self::Rejected => false,
        }
    }
}

/// Whether `user` may set a new password by a link at `now`; if not, why.
pub fn may_set_password(user: &User, now: Utc) -> Result<(), Barred> {
    match may_act(user, now) {
        Ok(()) => Ok(()),
        Err(barred) if barred.allows_new_password() => Ok(()),
        Err(barred) => Err(barred),
    }
}

/// Whether `user` counts as an *active super-user*: one that can sign in and look after the others. At least one always remains.
pub fn is_active_super_user(user: &User, now: Utc) -> bool {
    user.is_super_user()
        && user.password_hash.is_some()
        && match may_act(user, now) {
            Ok(()) => true,
            Err(barred) => barred.is_mendable(),
        }
}
