//! What the audit trail records: one [`Event`] for every call, reads and refusals included.
//!
//! Events form *chains*. The hash of an event is the SHA-256 of the hash before it and of the event's canonical form
//! (`Event::canonical`), so no event can be altered, removed or moved without breaking every hash after it. A chain's *head*, the
//! number and hash of its last event, bears a MAC under the audit key, so that neither the end of a chain can be cut off nor a
//! whole chain be written anew by someone who holds the database alone. An older head that was copied together with its MAC can be put
//! back with it: heads kept elsewhere (the log tells them as they grow) show that.
//!
//! The values that a change replaced are personal data, which a person may have erased. The chain therefore holds only their
//! salted digest: values can be removed while the chain still verifies, but not altered.
//!
//! What this program writes is an [`Event`] of closed words. What it reads is a [`Recorded`] one, which may be of another build: words that
//! this program does not know are text, and so are fields beyond those that it knows. The chain is over bytes, not over words.

use super::ids::CredentialId;
use super::time::Utc;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

mod schema {
    #![expect(missing_docs, reason = "the columns are documented where they become fields")]

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        audit_batches (chain, last, month) {
            month -> BigInt,
            chain -> BigInt,
            last -> BigInt,
            events -> Text,
            hashes -> Binary,
        }
    }

    diesel::table! {
        use diesel::sql_types::*;

        audit_changes (chain, seq, month) {
            month -> BigInt,
            chain -> BigInt,
            seq -> BigInt,
            subject -> Nullable<Text>,
            salt -> Binary,
            changes -> Text,
        }
    }

    diesel::table! {
        audit_shown (chain, seq, month) {
            month -> BigInt,
            chain -> BigInt,
            seq -> BigInt,
            shown -> Binary,
        }
    }

    diesel::table! {
        audit_index (key, micros, chain, seq, month) {
            key -> BigInt,
            micros -> BigInt,
            chain -> BigInt,
            seq -> BigInt,
            month -> BigInt,
        }
    }

    diesel::table! {
        audit_indexed (chain) {
            chain -> BigInt,
            seq -> BigInt,
        }
    }

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        audit_chains (chain) {
            chain -> BigInt,
            seq -> BigInt,
            hash -> Binary,
            mac -> Binary,
            month -> BigInt,
        }
    }

    diesel::table! {
        use diesel::sql_types::*;

        audit_beginnings (chain) {
            chain -> BigInt,
            seq -> BigInt,
            hash -> Binary,
            mac -> Binary,
            month -> BigInt,
        }
    }
}
mod end;
mod mark;
mod packed;
mod persons;
mod recorded;
mod view;

pub use end::{End, Side, is_of_format_1};
pub use mark::Mark;
pub use packed::Packed;
use packed::unhex;
pub use persons::Persons;
pub use recorded::{More, Recorded};
pub use schema::{audit_batches, audit_beginnings, audit_chains, audit_changes, audit_index, audit_indexed, audit_shown};
pub use view::EventView;

super::words::words! {
    /// What a call set out to do.
    Action {
        /// Sign in.
        SignIn = "session.sign_in",
        /// Sign out.
        SignOut = "session.sign_out",
        /// Look at the current session.
        SessionRead = "session.read",
        /// Renew the current session.
        SessionRenew = "session.renew",
        /// Prove anew who one is, in the current session.
        SessionConfirm = "session.confirm",
        /// Ask whether a token is good.
        SessionIntrospect = "session.introspect",
        /// List sessions.
        SessionList = "session.list",
        /// End one session.
        SessionRevoke = "session.revoke",
        /// End all sessions of a user.
        SessionRevokeAll = "session.revoke_all",
        /// End all sessions that were opened through an application.
        SessionRevokeOfApplication = "session.revoke_of_application",
        /// End everyone's sessions.
        SessionRevokeOfEveryone = "session.revoke_of_everyone",
        /// get_current_user.
        CurrentUserRead = "user.read_current",
        /// get_user_by_id, or a look-up by name.
        UserRead = "user.read",
        /// List users.
        UserList = "user.list",
        /// Count users.
        UserCount = "user.count",
        /// Create a user.
        UserCreate = "user.create",
        /// Change oneself.
        CurrentUserUpdate = "user.update_current",
        /// Change a user.
        UserUpdate = "user.update",
        /// Import users.
        UserImport = "user.import",
        /// Export all users.
        UserExport = "user.export",
        /// Export all that is kept of a user.
        UserData = "user.read_data",
        /// Export all that is kept of oneself.
        CurrentUserData = "user.read_current_data",
        /// Delete a user.
        UserDelete = "user.delete",
        /// Approve a user.
        UserApprove = "user.approve",
        /// Reject a user.
        UserReject = "user.reject",
        /// Lock a user.
        UserLock = "user.lock",
        /// Unlock a user.
        UserUnlock = "user.unlock",
        /// Change one's own password.
        PasswordChange = "user.change_password",
        /// Set another's password.
        PasswordSet = "user.set_password",
        /// Sign up.
        SignUp = "user.sign_up",
        /// Confirm a sign-up.
        SignUpConfirm = "user.confirm_sign_up",
        /// Ask for a link that resets a password.
        ResetRequest = "password_reset.request",
        /// Send that link, or not: decided out of the caller's sight.
        ResetSend = "password_reset.send",
        /// Open a link that sets a password.
        ResetOpen = "password_reset.open",
        /// Set a password by an opened link.
        ResetFinish = "password_reset.finish",
        /// Make a token that resets a password, and tell it to an operator.
        ResetIssue = "password_reset.issue",
        /// Check a name and a password without signing in.
        AccountCheck = "user.check_account",
        /// Ask whether a password would be accepted.
        PasswordJudge = "user.judge_password",
        /// Begin to enrol one's own one-time codes.
        TotpEnrol = "user.enrol_totp",
        /// Confirm the enrolment.
        TotpConfirm = "user.confirm_totp",
        /// Switch one's own one-time codes off.
        TotpDisable = "user.disable_totp",
        /// Take another's second factor away.
        TotpReset = "user.reset_totp",
        /// Give an account another key for one-time codes without a proof.
        TotpReplace = "user.replace_totp",
        /// Make new recovery codes for oneself.
        RecoveryCodesRenew = "user.renew_recovery_codes",
        /// Read the attribute table.
        ViewsRead = "views.read",
        /// Search the audit trail.
        AuditRead = "audit.read",
        /// Export the audit trail.
        AuditExport = "audit.export",
        /// Verify the audit trail.
        AuditVerify = "audit.verify",
        /// What stands for further refusals of calls by nobody.
        AuditRefusals = "audit.refusals",
        /// Drop what is older than the trail is kept.
        AuditExpire = "audit.expire",
        /// Go on with a trail that was put back.
        AuditAcceptRollback = "audit.accept_rollback",
        /// Make another data key the active one and encrypt every secret anew.
        SecretsRotate = "secrets.rotate",
        /// Register an application.
        ApplicationCreate = "application.create",
        /// Look at an application.
        ApplicationRead = "application.read",
        /// Change an application.
        ApplicationUpdate = "application.update",
        /// Give an application a new key.
        ApplicationRenewKey = "application.renew_key",
        /// Remove an application.
        ApplicationDelete = "application.delete",
        /// Look at the networks that a user may come from.
        NetworksRead = "user.read_networks",
        /// Change the networks that a user may come from.
        NetworksSet = "user.set_networks",
        /// List API keys.
        ApiKeyList = "api_key.list",
        /// Make an API key.
        ApiKeyCreate = "api_key.create",
        /// Revoke an API key.
        ApiKeyRevoke = "api_key.revoke",
        /// Make a group.
        GroupCreate = "group.create",
        /// Look at a group.
        GroupRead = "group.read",
        /// List groups.
        GroupList = "group.list",
        /// Rename a group.
        GroupUpdate = "group.update",
        /// Remove a group.
        GroupDelete = "group.delete",
        /// List a group's members.
        MemberList = "group.list_members",
        /// Add a user to a group.
        MemberAdd = "group.add_member",
        /// Take a user out of a group.
        MemberRemove = "group.remove_member",
        /// List a user's custom attributes.
        UserAttributeList = "user.list_attributes",
        /// Read one of a user's custom attributes.
        UserAttributeRead = "user.read_attribute",
        /// Set one of a user's custom attributes.
        UserAttributeSet = "user.set_attribute",
        /// Set and remove several of a user's custom attributes.
        UserAttributesSet = "user.set_attributes",
        /// Remove one of a user's custom attributes.
        UserAttributeDelete = "user.delete_attribute",
        /// Remove all of a user's custom attributes.
        UserAttributesDelete = "user.delete_attributes",
        /// List the current session's custom attributes.
        SessionAttributeList = "session.list_attributes",
        /// Read one of the current session's custom attributes.
        SessionAttributeRead = "session.read_attribute",
        /// Set one of the current session's custom attributes.
        SessionAttributeSet = "session.set_attribute",
        /// Set and remove several of the current session's custom attributes.
        SessionAttributesSet = "session.set_attributes",
        /// Remove one of the current session's custom attributes.
        SessionAttributeDelete = "session.delete_attribute",
        /// Remove all of the current session's custom attributes.
        SessionAttributesDelete = "session.delete_attributes",
        /// Take every user out of a group.
        GroupEmpty = "group.empty",
        /// List applications.
        ApplicationList = "application.list",
        /// Make a hook.
        HookCreate = "hook.create",
        /// Look at a hook.
        HookRead = "hook.read",
        /// List hooks.
        HookList = "hook.list",
        /// Change a hook.
        HookUpdate = "hook.update",
        /// Remove a hook.
        HookDelete = "hook.delete",
        /// Give a hook a new secret.
        HookRenewSecret = "hook.renew_secret",
        /// List what waits for a hook, and what was given up.
        DeliveryList = "hook.list_deliveries",
        /// Try a delivery again.
        DeliveryRetry = "hook.retry_delivery",
        /// Issue a signed token for an application.
        TokenIssue = "token.issue",
        /// Make another key that signs tokens.
        SigningKeysRotate = "secrets.rotate_signing",
        /// Make another key that signs heads of the audit trail.
        AuditKeyRotate = "secrets.rotate_audit_key",
        /// The database is copied into a file.
        DatabaseBackup = "database.backup",
        /// Ask which version the service gives itself.
        SettingsRead = "settings.read",
        /// List content, of which there is none here.
        ContentList = "content.list",
        /// Make a linked account.
        LinkedAccountCreate = "linked_account.create",
        /// List linked accounts.
        LinkedAccountList = "linked_account.list",
        /// Have a linked account act as a user.
        LinkedAccountLink = "linked_account.link",
        /// Have it act as that user no more.
        LinkedAccountUnlink = "linked_account.unlink",
        /// Remove a linked account.
        LinkedAccountDelete = "linked_account.delete",
        /// A call that no route answers.
        Unrouted = "unrouted",
    }

    /// How a call ended.
    Outcome {
        /// Done as asked.
        Success = "success",
        /// Refused: not allowed, not possible, or not understood.
        Refused = "refused",
        /// Failed for a cause on this side.
        Failed = "failed",
    }

    /// What kind of thing acted.
    ActorType {
        /// Nobody known.
        Anonymous = "anonymous",
        /// A user; `actor` is the user's id.
        User = "user",
        /// An application by its key; `actor` is its name.
        Application = "application",
        /// Someone at the command line; `actor` is `user@host`.
        Operator = "operator",
        /// usher itself.
        System = "system",
    }
}

/// Who acted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor<Kind = ActorType> {
    /// What kind of thing.
    pub kind: Kind,
    /// Which one.
    pub id: Option<String>,
    /// Through which session or API key.
    pub session: Option<CredentialId>,
}

impl Actor {
    /// Nobody known.
    pub const ANONYMOUS: Self = Self { kind: ActorType::Anonymous, id: None, session: None };
}

/// One call, as the audit trail keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When the call began.
    pub time: Utc,
    /// The call's correlation id.
    pub cid: String,
    /// What it set out to do.
    pub action: Action,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it did not succeed: a stable code, often more exact than the caller was told.
    pub reason: Option<String>,
    /// Who acted.
    pub actor: Actor,
    /// On whom or what: an id.
    pub subject: Option<String>,
    /// Through which application: its name.
    pub application: Option<String>,
    /// From which address.
    pub remote_addr: Option<String>,
    /// The W3C trace context that came with the call.
    pub traceparent: Option<String>,
    /// The attributes that changed, with the values before and after.
    pub changes: Option<Changes>,
    /// By which views the answer shows persons, with spaces between; a count or a refusal shows nobody.
    pub view: Option<String>,
    /// Whom the answer shows; none where that is the subject alone.
    pub shown: Option<Persons>,
    /// By what right, where it is not the actor's own: grants, a proposal, `key:` and who made the API key.
    pub basis: Option<String>,
}

/// By what a user signed in or confirmed a session, among the changes of the event of that.
pub const AUTH_METHODS: &str = "auth_methods";

/// Attributes with their values before and after a change, as JSON text; never a secret, as views have none. The digest is of this text, as
/// it is: two texts that mean the same to one reader may mean something else to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes(String);

impl Changes {
    /// What differs between two views of the same thing; `None` if nothing does. `Value::Null` stands for "there was nothing".
    pub fn between(before: &Value, after: &Value) -> Option<Self> {
        let empty = Map::new();
        let (before, after) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
        let mut changes = Map::new();
        for name in before.keys().chain(after.keys().filter(|n| !before.contains_key(*n))) {
            let (old, new) = (before.get(name).unwrap_or(&Value::Null), after.get(name).unwrap_or(&Value::Null));
            if old != new {
                changes.insert(name.clone(), serde_json::json!({"before": old, "after": new}));
            }
        }
        (!changes.is_empty()).then(|| Self(Value::Object(changes).to_string()))
    }

    /// These members, whose values before and after are given as JSON text, `None` where there was nothing; `None` if there are no members.
    pub fn of(members: impl IntoIterator<Item = (String, Option<String>, Option<String>)>) -> Option<Self> {
        let text = |json: Option<String>| json.unwrap_or_else(|| "null".to_owned());
        let member = |(name, before, after): (String, Option<String>, Option<String>)| {
            format!("{}:{{\"before\":{},\"after\":{}}}", Value::from(name), text(before), text(after))
        };
        let members: Vec<String> = members.into_iter().map(member).collect();
        (!members.is_empty()).then(|| Self(format!("{{{}}}", members.join(","))))
    }

    /// The names of what changed, in order.
    pub fn names(&self) -> Vec<String> {
        let changes: Map<String, Value> = serde_json::from_str(&self.0).unwrap_or_default();
        changes.into_iter().map(|(name, _)| name).collect()
    }

    /// What one of them was before; `None` if it is none of those that changed.
    pub fn before(&self, name: &str) -> Option<Value> {
        let mut changes: Map<String, Value> = serde_json::from_str(&self.0).unwrap_or_default();
        changes.get_mut(name)?.get_mut("before").map(Value::take)
    }

    /// What one of them is from now on; `None` if it is none of those that changed.
    pub fn after(&self, name: &str) -> Option<Value> {
        let mut changes: Map<String, Value> = serde_json::from_str(&self.0).unwrap_or_default();
        changes.get_mut(name)?.get_mut("after").map(Value::take)
    }

    /// As the database keeps them.
    pub fn as_text(&self) -> &str {
        &self.0
    }

    /// From the database's text.
    pub fn from_text(text: String) -> Self {
        Self(text)
    }
}

/// The salted digest by which the chain holds the changed values.
pub fn digest_of_changes(salt: &[u8], changes: &str) -> Vec<u8> {
    Sha256::new().chain_update(salt).chain_update(changes).finalize().to_vec()
}

/// An event in its place in a chain, as the database holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Which chain.
    pub chain: i64,
    /// Which place in it, from 1.
    pub seq: i64,
    /// What happened.
    pub event: Recorded,
    /// The digest of the changed values, if there were any.
    pub changes_digest: Option<Vec<u8>>,
    /// The salt of that digest; gone once the values are erased.
    pub changes_salt: Option<Vec<u8>>,
    /// The chain's hash up to and including this event.
    pub hash: Vec<u8>,
}

impl Link {
    /// The event that follows `head`. `salt` is for the digest of its changes.
    pub fn forge(head: &Head, event: Recorded, salt: [u8; 16]) -> Self {
        let seq = head.seq + 1;
        let (changes_salt, changes_digest) = match &event.changes {
            Some(changes) => (Some(salt.to_vec()), Some(digest_of_changes(&salt, changes.as_text()))),
            None => (None, None),
        };
        let hash = hash_after(&head.hash, &event.canonical(head.chain, seq, changes_digest.as_deref()));
        Self { chain: head.chain, seq, event, changes_digest, changes_salt, hash }
    }

    /// What is wrong with this link if it is to follow `head`; `None` if nothing is.
    pub fn flaw_after(&self, head: &Head) -> Option<&'static str> {
        if self.seq != head.seq + 1 {
            return Some("an event is missing before this one");
        }
        let canonical = self.event.canonical(self.chain, self.seq, self.changes_digest.as_deref());
        if hash_after(&head.hash, &canonical) != self.hash {
            return Some("the event does not match its hash");
        }
        match (&self.event.shown, self.event.more.shown_digest()) {
            (Some(shown), Some(digest)) if shown.digest_in_hex() == digest => {}
            (None, None) => {}
            (None, Some(_)) => return Some("whom the answer showed is missing"),
            (Some(_), Some(_) | None) => return Some("whom the answer showed does not match its digest"),
        }
        match (&self.event.changes, &self.changes_salt, &self.changes_digest) {
            (Some(changes), Some(salt), Some(digest)) if digest_of_changes(salt, changes.as_text()) == *digest => None,
            (None, None, _) => None,
            _ => Some("the changed values do not match their digest"),
        }
    }

    /// Whether its changed values have been erased.
    pub fn is_erased(&self) -> bool {
        self.changes_digest.is_some() && self.event.changes.is_none()
    }

    /// The head of a chain that ends with this link.
    pub fn as_head(&self) -> Head {
        Head { chain: self.chain, seq: self.seq, hash: self.hash.clone() }
    }
}

fn hash_after(previous: &[u8], canonical: &[u8]) -> Vec<u8> {
    Sha256::new().chain_update(previous).chain_update(canonical).finalize().to_vec()
}

/// Where a chain ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which chain.
    pub chain: i64,
    /// The place of its last event; 0 if it has none.
    pub seq: i64,
    /// The chain's hash up to there.
    pub hash: Vec<u8>,
}

impl Head {
    /// The head of a chain without events.
    pub fn of_empty(chain: i64) -> Self {
        Self { chain, seq: 0, hash: vec![0; 32] }
    }

    /// The hash, in hex.
    pub fn hash_in_hex(&self) -> String {
        hex(&self.hash)
    }

    /// Chain, number and hash, as MACs and signatures cover them.
    fn bytes(&self) -> Vec<u8> {
        [&self.chain.to_be_bytes(), &self.seq.to_be_bytes(), self.hash.as_slice()].concat()
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
