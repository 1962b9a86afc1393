//! Of what an owner is told by letter: whatever makes or changes a credential, a name or an address (S54), whoever did it and by which way in.
//!
//! What is told follows from the event of a change, by two tables: one of actions, which does not compile without a row for each, and one of
//! attributes, which a test holds against the attribute table. A use case cannot forget it.

#![deny(clippy::wildcard_enum_match_arm, reason = "a new variant must be decided on, not fall through")]

use super::audit::{Action, Event, Outcome};
use super::letter::LetterKind;
use super::text::Email;
use serde_json::Value;

/// Whom a letter goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// To the address that the account has now.
    Owner,
    /// To the one that it had before.
    Former(Email),
}

/// What the success of an action tells.
enum OfAction {
    /// Nothing: it is no change of an account that has an owner already.
    Nothing,
    /// What the attributes that it changed tell.
    Attributes,
    /// This.
    Letter(LetterKind),
    /// This, if it changed anything.
    IfChanged(LetterKind),
}

fn of_action(action: Action) -> OfAction {
    match action {
        Action::SignIn
        | Action::CurrentUserUpdate
        | Action::UserUpdate
        | Action::UserApprove
        | Action::UserReject
        | Action::UserLock
        | Action::UserUnlock
        | Action::PasswordChange
        | Action::PasswordSet
        | Action::ResetFinish
        | Action::SignUpConfirm
        | Action::TotpConfirm
        | Action::TotpDisable => OfAction::Attributes,
        Action::ApiKeyCreate => OfAction::Letter(LetterKind::ApiKeyMade),
        Action::ApiKeyRevoke => OfAction::Letter(LetterKind::ApiKeyRevoked),
        Action::RecoveryCodesRenew => OfAction::Letter(LetterKind::RecoveryCodesMade),
        Action::TotpReset => OfAction::IfChanged(LetterKind::FactorsReset),
        // Passwords are told by those who set them. A key that is replaced without a proof likewise: the action also begins enrolments.
        Action::SignOut
        | Action::SessionRead
        | Action::SessionRenew
        | Action::SessionConfirm
        | Action::SessionIntrospect
        | Action::SessionList
        | Action::SessionRevoke
        | Action::SessionRevokeAll
        | Action::SessionRevokeOfApplication
        | Action::SessionRevokeOfEveryone
        | Action::CurrentUserRead
        | Action::UserRead
        | Action::UserList
        | Action::UserCount
        | Action::UserCreate
        | Action::UserImport
        | Action::UserExport
        | Action::UserData
        | Action::CurrentUserData
        | Action::UserDelete
        | Action::SignUp
        | Action::ResetRequest
        | Action::ResetSend
        | Action::ResetOpen
        | Action::ResetIssue
        | Action::AccountCheck
        | Action::PasswordJudge
        | Action::TotpEnrol
        | Action::TotpReplace
        | Action::ViewsRead
        | Action::AuditRead
        | Action::AuditExport
        | Action::AuditVerify
        | Action::AuditExpire
        | Action::AuditAcceptRollback
        | Action::AuditRefusals
        | Action::SecretsRotate
        | Action::ApplicationCreate
        | Action::ApplicationRead
        | Action::ApplicationUpdate
        | Action::ApplicationRenewKey
        | Action::ApplicationDelete
        | Action::NetworksRead
        | Action::NetworksSet
        | Action::ApiKeyList
        | Action::GroupCreate
        | Action::GroupRead
        | Action::GroupList
        | Action::GroupUpdate
        | Action::GroupDelete
        | Action::MemberList
        | Action::MemberAdd
        | Action::MemberRemove
        | Action::UserAttributeList
        | Action::UserAttributeRead
        | Action::UserAttributeSet
        | Action::UserAttributesSet
        | Action::UserAttributeDelete
        | Action::UserAttributesDelete
        | Action::SessionAttributeList
        | Action::SessionAttributeRead
        | Action::SessionAttributeSet
        | Action::SessionAttributesSet
        | Action::SessionAttributeDelete
        | Action::SessionAttributesDelete
        | Action::GroupEmpty
        | Action::ApplicationList
        | Action::HookCreate
        | Action::HookRead
        | Action::HookList
        | Action::HookUpdate
        | Action::HookDelete
        | Action::HookRenewSecret
        | Action::DeliveryList
        | Action::DeliveryRetry
        | Action::TokenIssue
        | Action::SigningKeysRotate
        | Action::AuditKeyRotate
        | Action::DatabaseBackup
        | Action::SettingsRead
        | Action::ContentList
        | Action::LinkedAccountCreate
        | Action::LinkedAccountList
        | Action::LinkedAccountLink
        | Action::LinkedAccountUnlink
        | Action::LinkedAccountDelete
        | Action::Unrouted => OfAction::Nothing,
    }
}

/// What a change of an attribute tells.
#[derive(Clone, Copy, Debug)]
enum OfAttribute {
    /// Nothing.
    Nothing,
    /// The old and the new address that it was moved.
    Address,
    /// This.
    Letter(LetterKind),
    /// One of these.
    Switch { on: LetterKind, off: LetterKind },
}

fn of_attribute(name: &str) -> Option<OfAttribute> {
    let told = match name {
        "email" => OfAttribute::Address,
        "username" | "login_name" => OfAttribute::Letter(LetterKind::NameChanged),
        "is_totp_enabled" => OfAttribute::Switch { on: LetterKind::TotpOn, off: LetterKind::TotpOff },
        _ if UNTOLD.contains(&name) => OfAttribute::Nothing,
        _ => return None,
    };
    Some(told)
}

/// Attributes that are no credential, no name that signs in and no address.
const UNTOLD: &[&str] = &[
    "user_id",
    "number",
    "external_id",
    "display_name",
    "first_name",
    "middle_name",
    "last_name",
    "totp_label",
    "totp_key",
    "user_role",
    "groups",
    "lang_id",
    "login_time",
    "login_station",
    "is_super_user",
    "is_active",
    "is_internal",
    "is_locked",
    "lock_cause",
    "locked_time",
    "locked_by",
    "lock_reason",
    "is_approval_needed",
    "approval_status",
    "approval_status_mod_by",
    "approval_status_mod_time",
    "approv_rej_by",
    "approv_rej_time",
    "sign_up_status",
    "sign_up_time",
    "creation_ctx",
    "password_is_set",
    "password_must_change",
    "password_last_set",
    "password_expiry",
    "password_never_expires",
    "login_count",
    "failed_login_count",
    "valid_from",
    "valid_to",
    "never_expire",
    "profile_id",
    "supervisor_id",
    "server_id",
    "account_type",
    "flags",
    "station",
    "remark",
    "created_time",
    "updated_time",
    "active_time",
    "confirmed",
    "account_status",
];

/// The letters that an event brings about, and whom each goes to.
pub fn tidings(event: &Event) -> Vec<(LetterKind, Whom)> {
    if event.outcome != Outcome::Success {
        return Vec::new();
    }
    let (mut told, mut former) = (Vec::new(), None);
    match (of_action(event.action), &event.changes) {
        (OfAction::Nothing, _) | (OfAction::IfChanged(_) | OfAction::Attributes, None) => {}
        (OfAction::Letter(kind), _) | (OfAction::IfChanged(kind), Some(_)) => told.push((kind, Whom::Owner)),
        (OfAction::Attributes, Some(changes)) => {
            for name in changes.names() {
                match of_attribute(&name).unwrap_or(OfAttribute::Nothing) {
                    OfAttribute::Nothing => {}
                    OfAttribute::Address => {
                        if let Some(Value::String(old)) = changes.before(&name) {
                            let old = Email::stored(old);
                            told.push((LetterKind::EmailChanged, Whom::Former(old.clone())));
                            former = Some(old);
                        }
                        told.push((LetterKind::EmailMoved, Whom::Owner));
                    }
                    OfAttribute::Letter(kind) => told.push((kind, Whom::Owner)),
                    OfAttribute::Switch { on, off } => {
                        let is_on = changes.after(&name) == Some(Value::Bool(true));
                        told.push((if is_on { on } else { off }, Whom::Owner));
                    }
                }
            }
        }
    }
    // What changes together with the address is told at the old one as well.
    if let Some(old) = former {
        let also: Vec<_> = told
            .iter()
            .filter(|(kind, to)| *to == Whom::Owner && *kind != LetterKind::EmailMoved)
            .map(|(kind, _)| *kind)
            .collect();
        told.extend(also.into_iter().map(|kind| (kind, Whom::Former(old.clone()))));
    }
    let mut unique = Vec::new();
    for letter in told {
        if !unique.contains(&letter) {
            unique.push(letter);
        }
    }
    unique
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::user::ATTRIBUTES;

    /// S54: of each attribute it is said whether its owner is told of a change, and of none that there is not.
    #[test]
    fn every_attribute_is_decided_on() {
        for attribute in ATTRIBUTES {
            assert!(of_attribute(attribute.name).is_some(), "{}: whether its owner is told?", attribute.name);
        }
        for name in UNTOLD {
            assert!(ATTRIBUTES.iter().any(|a| a.name == *name), "{name}");
        }
    }
}
