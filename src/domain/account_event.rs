//! What hooks are told: that something happened to an account or a group, and to which one; never what it is now.
//!
//! [`types_of`] is the one place that makes notices out of audit events. It is asked within the transaction of every change, so there is
//! no use case that could forget to tell; a new action does not compile before it is decided here whether anyone is told of it.
//!
//! A notice has the *names* of the attributes that changed, and no values: who may see a value is decided by the view that a receiver
//! reads it through, with its own credentials and at its own time, and not by whoever registered the hook.

#![deny(clippy::wildcard_enum_match_arm, reason = "a new variant must be decided on, not fall through")]

use super::audit::{AUTH_METHODS, Action, ActorType, Changes, Event, Outcome};
use super::ids::MessageId;
use super::time::Utc;
use serde::Serialize;

super::words::words! {
    /// What a hook is told of.
    EventType {
        /// A user was created.
        UserCreated = "user.created",
        /// Attributes of a user were edited.
        UserUpdated = "user.updated",
        /// A user has another role.
        UserRoleChanged = "user.role_changed",
        /// A user was added to a group, or taken out of one.
        UserGroupsChanged = "user.groups_changed",
        /// A user has another password; other sessions have ended.
        UserPasswordChanged = "user.password_changed",
        /// One-time codes were switched on or off, or recovery codes were made anew or used.
        UserSecondFactorChanged = "user.second_factor_changed",
        /// A user has other networks to come from.
        UserNetworksChanged = "user.networks_changed",
        /// An API key was made for a user, or revoked.
        UserApiKeysChanged = "user.api_keys_changed",
        /// Custom attributes of a user were set or removed.
        UserAttributesChanged = "user.attributes_changed",
        /// An account was locked, by a super-user or by too many failures.
        UserLocked = "user.locked",
        /// An account was unlocked.
        UserUnlocked = "user.unlocked",
        /// An account was approved.
        UserApproved = "user.approved",
        /// An account was rejected.
        UserRejected = "user.rejected",
        /// A user signed out, or one or all of a user's sessions were ended.
        UserSessionsEnded = "user.sessions_ended",
        /// All sessions of an application, or everyone's, were ended at once.
        SessionsEnded = "sessions.ended",
        /// A user was deleted.
        UserDeleted = "user.deleted",
        /// A group was made.
        GroupCreated = "group.created",
        /// A group was renamed.
        GroupUpdated = "group.updated",
        /// A group was removed; its members are in it no longer.
        GroupDeleted = "group.deleted",
        /// So many events waited for this hook that further ones were left out. Every hook is told, whatever it listens to.
        EventsMissed = "events.missed",
    }
}

impl EventType {
    /// Whether it is about a user.
    pub fn is_of_user(self) -> bool {
        match self {
            Self::UserCreated
            | Self::UserUpdated
            | Self::UserRoleChanged
            | Self::UserGroupsChanged
            | Self::UserPasswordChanged
            | Self::UserSecondFactorChanged
            | Self::UserNetworksChanged
            | Self::UserApiKeysChanged
            | Self::UserAttributesChanged
            | Self::UserLocked
            | Self::UserUnlocked
            | Self::UserApproved
            | Self::UserRejected
            | Self::UserSessionsEnded
            | Self::UserDeleted => true,
            Self::SessionsEnded | Self::GroupCreated | Self::GroupUpdated | Self::GroupDeleted | Self::EventsMissed => false,
        }
    }
}

/// The names of the attributes that changed. By what a user signed in is told by the event, and is no attribute of the user.
fn attributes_of(event: &Event) -> Vec<String> {
    let names = event.changes.as_ref().map(Changes::names).unwrap_or_default();
    names.into_iter().filter(|name| name != AUTH_METHODS).collect()
}

/// What hooks are told of an audit event; most often nothing.
pub fn types_of(event: &Event) -> Vec<EventType> {
    use EventType as T;
    let names = attributes_of(event);
    let changed = |name: &str| names.iter().any(|n| n == name);
    match event.outcome {
        Outcome::Success => {}
        // The failure that locked an account.
        Outcome::Refused if changed("is_locked") => return vec![T::UserLocked],
        Outcome::Refused | Outcome::Failed => return Vec::new(),
    }
    // What left everything as it was is no news.
    let news = |kind| if names.is_empty() { Vec::new() } else { vec![kind] };
    match event.action {
        Action::UserCreate => vec![T::UserCreated],
        Action::SignUpConfirm => news(T::UserUpdated),
        Action::CurrentUserUpdate | Action::UserUpdate => {
            // An older system's update may have locked the account or set its password along with the rest.
            let lock = event.changes.as_ref().and_then(|changes| changes.after("is_locked"));
            let more = [
                changed("user_role").then_some(T::UserRoleChanged),
                changed("password_last_set").then_some(T::UserPasswordChanged),
                changed("is_totp_enabled").then_some(T::UserSecondFactorChanged),
                lock.map(|is_locked| if is_locked == false { T::UserUnlocked } else { T::UserLocked }),
            ];
            news(T::UserUpdated).into_iter().chain(more.into_iter().flatten()).collect()
        }
        Action::UserDelete => vec![T::UserDeleted],
        Action::UserApprove => news(T::UserApproved),
        Action::UserReject => news(T::UserRejected),
        Action::UserLock => news(T::UserLocked),
        Action::UserUnlock => news(T::UserUnlocked),
        Action::PasswordChange => vec![T::UserPasswordChanged],
        // A link that was sent has set nothing yet.
        Action::PasswordSet => news(T::UserPasswordChanged),
        // A new password may be demanded at a sign-in, and a recovery code be used up, as at a reset.
        Action::SignIn | Action::ResetFinish => {
            let password = names.iter().any(|n| n.starts_with("password_")).then_some(T::UserPasswordChanged);
            let code = changed("recovery_codes").then_some(T::UserSecondFactorChanged);
            password.into_iter().chain(code).collect()
        }
        Action::TotpConfirm | Action::TotpDisable | Action::TotpReplace | Action::TotpReset | Action::RecoveryCodesRenew => {
            news(T::UserSecondFactorChanged)
        }
        Action::NetworksSet => news(T::UserNetworksChanged),
        Action::ApiKeyCreate | Action::ApiKeyRevoke => vec![T::UserApiKeysChanged],
        Action::UserAttributeSet | Action::UserAttributesSet | Action::UserAttributeDelete | Action::UserAttributesDelete => {
            news(T::UserAttributesChanged)
        }
        Action::SessionRevokeOfApplication | Action::SessionRevokeOfEveryone => vec![T::SessionsEnded],
        Action::SignOut | Action::SessionRevoke | Action::SessionRevokeAll => vec![T::UserSessionsEnded],
        Action::MemberAdd | Action::MemberRemove => news(T::UserGroupsChanged),
        Action::GroupCreate => vec![T::GroupCreated],
        Action::GroupUpdate | Action::GroupEmpty => news(T::GroupUpdated),
        Action::GroupDelete => vec![T::GroupDeleted],
        // What comes of a sign-up is an event of its own: the user's creation.
        Action::SignUp
        | Action::ResetRequest
        | Action::ResetSend
        | Action::ResetOpen
        | Action::ResetIssue
        | Action::LinkedAccountCreate
        | Action::LinkedAccountList
        | Action::LinkedAccountLink
        | Action::LinkedAccountUnlink
        | Action::LinkedAccountDelete
        | Action::SessionRead
        | Action::SessionRenew
        | Action::SessionConfirm
        | Action::SessionIntrospect
        | Action::SessionList
        | Action::SessionAttributeList
        | Action::SessionAttributeRead
        | Action::SessionAttributeSet
        | Action::SessionAttributesSet
        | Action::SessionAttributeDelete
        | Action::SessionAttributesDelete
        | Action::UserAttributeList
        | Action::UserAttributeRead
        | Action::CurrentUserRead
        | Action::UserRead
        | Action::UserList
        | Action::UserCount
        | Action::UserImport
        | Action::UserExport
        | Action::UserData
        | Action::CurrentUserData
        | Action::TotpEnrol
        | Action::AccountCheck
        | Action::PasswordJudge
        | Action::NetworksRead
        | Action::ApiKeyList
        | Action::ViewsRead
        | Action::AuditRead
        | Action::AuditExport
        | Action::AuditExpire
        | Action::AuditAcceptRollback
        | Action::AuditRefusals
        | Action::AuditKeyRotate
        | Action::AuditVerify
        | Action::SecretsRotate
        | Action::SigningKeysRotate
        | Action::DatabaseBackup
        | Action::TokenIssue
        | Action::ApplicationCreate
        | Action::ApplicationRead
        | Action::ApplicationUpdate
        | Action::ApplicationRenewKey
        | Action::ApplicationDelete
        | Action::ApplicationList
        | Action::GroupRead
        | Action::GroupList
        | Action::MemberList
        | Action::HookCreate
        | Action::HookRead
        | Action::HookList
        | Action::HookUpdate
        | Action::HookDelete
        | Action::HookRenewSecret
        | Action::DeliveryList
        | Action::DeliveryRetry
        | Action::SettingsRead
        | Action::ContentList
        | Action::Unrouted => Vec::new(),
    }
}

/// A notice of an audit event: the body of what is sent.
#[derive(Debug, Serialize)]
pub struct AccountEvent<'a> {
    id: MessageId,
    #[serde(rename = "type")]
    kind: EventType,
    time: Utc,
    cid: &'a str,
    subject: Option<&'a str>,
    user_id: Option<&'a str>,
    actor_type: ActorType,
    actor: Option<&'a str>,
    application: Option<&'a str>,
    attributes: Vec<String>,
}

impl<'a> AccountEvent<'a> {
    /// The notice `id` that `event` is of this kind.
    pub fn of(id: MessageId, kind: EventType, event: &'a Event) -> Self {
        let subject = event.subject.as_deref();
        Self {
            id,
            kind,
            time: event.time,
            cid: &event.cid,
            subject,
            user_id: subject.filter(|_| kind.is_of_user()),
            actor_type: event.actor.kind,
            actor: event.actor.id.as_deref(),
            application: event.application.as_deref(),
            attributes: attributes_of(event),
        }
    }
}

/// A notice that events were left out.
#[derive(Debug, Serialize)]
pub struct Missed {
    /// The notice's id.
    pub id: MessageId,
    /// [`EventType::EventsMissed`].
    #[serde(rename = "type")]
    pub kind: EventType,
    /// When it was found that there is room again.
    pub time: Utc,
    /// Since when events were left out.
    pub from: Utc,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::Actor;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    fn event(action: Action, outcome: Outcome, changes: Option<Changes>) -> Event {
        Event {
            time: Utc::from_micros(0),
            cid: "c".into(),
            action,
            outcome,
            reason: None,
            actor: Actor::ANONYMOUS,
            subject: Some("s".into()),
            application: None,
            remote_addr: Some("192.0.2.1".into()),
            traceparent: None,
            changes,
            view: None,
            shown: None,
            basis: None,
        }
    }

    proptest! {
        /// No value that changed, nor the address it came from, is in what is told; the names are.
        #[test]
        fn a_notice_has_names_and_no_values(
            action in prop::sample::select(Action::ALL), members in prop::collection::btree_map("[a-z_]{1,8}", "#[a-z0-9]{8}", 1..6),
        ) {
            let after: Value = members.iter().map(|(n, v)| (n.clone(), json!(v))).collect::<Map<_, _>>().into();
            let event = event(action, Outcome::Success, Changes::between(&Value::Null, &after));
            for kind in types_of(&event) {
                let told = serde_json::to_string(&AccountEvent::of(MessageId::from_bytes([7; 16]), kind, &event)).unwrap();
                prop_assert!(members.values().all(|value| !told.contains(value.as_str())) && !told.contains("192.0.2.1"), "{}", told);
                let told: Value = serde_json::from_str(&told).unwrap();
                prop_assert_eq!(&told["attributes"], &json!(members.keys().collect::<Vec<_>>()));
                prop_assert_eq!(told["user_id"].is_string(), kind.as_str().starts_with("user."));
            }
        }
    }

    #[test]
    fn what_did_not_happen_is_not_told() {
        let locked = Changes::between(&json!({"is_locked": false}), &json!({"is_locked": true}));
        for action in Action::ALL {
            assert_eq!(types_of(&event(*action, Outcome::Failed, locked.clone())), []);
            assert_eq!(types_of(&event(*action, Outcome::Refused, None)), []);
            assert_eq!(types_of(&event(*action, Outcome::Refused, locked.clone())), [EventType::UserLocked]);
        }
        assert_eq!(types_of(&event(Action::UserUpdate, Outcome::Success, None)), []);
        assert_eq!(types_of(&event(Action::SignIn, Outcome::Success, None)), []);
    }

    /// Whoever resets a password by a recovery code has used up a code as well.
    #[test]
    fn a_reset_is_told_with_the_code_that_it_used() {
        use EventType as T;
        let told = |action, after: Value| types_of(&event(action, Outcome::Success, Changes::between(&json!({}), &after)));
        let reset = json!({"password_last_set": "x", "recovery_codes": 9});
        assert_eq!(told(Action::ResetFinish, reset), [T::UserPasswordChanged, T::UserSecondFactorChanged]);
        assert_eq!(told(Action::ResetFinish, json!({"password_last_set": "x"})), [T::UserPasswordChanged]);
        for nothing_yet in [Action::SignUp, Action::ResetRequest, Action::ResetOpen, Action::PasswordSet] {
            assert_eq!(told(nothing_yet, json!({})), []);
        }
    }

    #[test]
    fn an_update_of_several_things_is_told_as_each() {
        use EventType as T;
        let told = |before: Value, after: Value| {
            types_of(&event(Action::UserUpdate, Outcome::Success, Changes::between(&before, &after)))
        };
        let (open, locked) = (json!({"is_locked": false, "remark": "a"}), json!({"is_locked": true, "remark": "b"}));
        assert_eq!(told(open.clone(), locked.clone()), [T::UserUpdated, T::UserLocked]);
        assert_eq!(told(locked, open), [T::UserUpdated, T::UserUnlocked]);
        let set = json!({"password_last_set": "x", "user_role": "viewer"});
        assert_eq!(told(json!({}), set), [T::UserUpdated, T::UserRoleChanged, T::UserPasswordChanged]);
        assert_eq!(told(json!({}), json!({"password_expiry": "x"})), [T::UserUpdated]);
    }
}
