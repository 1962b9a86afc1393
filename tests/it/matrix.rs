//! Every route as every caller (S27, S28, R1, R2): status, keys and audit event are compared with the table below, which is written by
//! hand and apart from the code. A route or attribute without a row here fails.

use crate::both;
use crate::harness::matrix::check_shown;
use crate::harness::{Answer, Client, Engine, PASSWORD, Site, Town, tools};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use usher::domain::time::Utc;

/// What an owner sees of itself, in the order of the answer. `totp_key` joins them only while its enrolment is unconfirmed.
pub const OWNER: &[&str] = &[
    "user_id",
    "username",
    "login_name",
    "email",
    "display_name",
    "first_name",
    "middle_name",
    "last_name",
    "is_totp_enabled",
    "totp_label",
    "user_role",
    "groups",
    "lang_id",
    "login_time",
    "login_station",
];

/// What a super-user sees of anyone.
pub const SUPER_USER: &[&str] = &[
    "user_id",
    "number",
    "username",
    "login_name",
    "external_id",
    "email",
    "display_name",
    "first_name",
    "middle_name",
    "last_name",
    "is_totp_enabled",
    "totp_label",
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

const SESSION: &[&str] = &[
    "session_id",
    "user_id",
    "application",
    "created_time",
    "auth_time",
    "auth_methods",
    "idle_expiry",
    "absolute_expiry",
    "remote_addr",
    "user_agent",
    "is_current",
];

const ATTRIBUTE: &[&str] = &["name", "value", "expiry", "is_encrypted", "created_time", "updated_time"];

const APPLICATION: &[&str] = &[
    "application_id",
    "name",
    "session_scope",
    "is_key_required",
    "may_set_remote_addr",
    "second_factor",
    "access",
    "allowed_roles",
    "allowed_groups",
    "allowed_networks",
    "is_sign_up_open",
    "is_sign_up_approval_needed",
    "created_time",
];

const API_KEY: &[&str] = &["key_id", "user_id", "name", "scope", "created_time", "expiry", "last_used_time"];

const GROUP: &[&str] = &["group_id", "name", "external_id", "number", "description", "profile_id"];
const HOOK: &[&str] = &["hook_id", "name", "url", "event_types", "is_active", "missed_since", "created_time"];
const HOOK_WITH_SECRET: &[&str] =
    &["hook_id", "name", "url", "event_types", "is_active", "missed_since", "created_time", "secret"];

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Nobody,
    Owner,
    SuperUser,
    Application,
    /// A super-user's API key that may only read.
    ReadKey,
    /// A super-user's API key that may change as well.
    ManageKey,
}
use Caller::{Application, ManageKey, Nobody, Owner, ReadKey, SuperUser};
const CALLERS: [Caller; 6] = [Nobody, Owner, SuperUser, Application, ReadKey, ManageKey];

/// What an API key is not enough for, whatever its scope and its user.
const SESSION_ONLY: &[(&str, &str)] = &[
    ("get", "/api/v1/sessions/current"),
    ("delete", "/api/v1/sessions/current"),
    ("get", "/api/v1/sessions/current/attributes"),
    ("put", "/api/v1/sessions/current/attributes"),
    ("delete", "/api/v1/sessions/current/attributes"),
    ("get", "/api/v1/sessions/current/attributes/{name}"),
    ("put", "/api/v1/sessions/current/attributes/{name}"),
    ("delete", "/api/v1/sessions/current/attributes/{name}"),
    ("delete", "/api/v1/users/me/sessions"),
    ("delete", "/api/v1/users/me/sessions/{session_id}"),
    ("post", "/api/v1/sessions/current/renew"),
    ("post", "/api/v1/sessions/current/confirm"),
    ("post", "/api/v1/sessions/current/tokens"),
    ("put", "/api/v1/users/me/password"),
    ("post", "/api/v1/users/me/totp"),
    ("delete", "/api/v1/users/me/totp"),
    ("post", "/api/v1/users/me/totp/confirm"),
    ("post", "/api/v1/users/me/recovery-codes"),
    ("post", "/api/v1/users/me/api-keys"),
    ("delete", "/api/v1/users/me/api-keys/{key_id}"),
    ("post", "/api/v1/users/me/totp"),
    ("delete", "/api/v1/users/me/totp"),
    ("post", "/api/v1/users/me/totp/confirm"),
    ("post", "/api/v1/users/me/recovery-codes"),
    ("post", "/api/v1/api-keys"),
];

/// The status that a call is answered with, and the code if that is for the sake of a key.
fn expected(row: &Row, caller: Caller) -> (u16, Option<&'static str>) {
    let [of_nobody, of_owner, of_super_user, of_application] = row.status;
    match caller {
        Nobody => (of_nobody, None),
        Owner => (of_owner, None),
        SuperUser => (of_super_user, None),
        Application => (of_application, None),
        // What is open to anyone asks for nothing, so it does not look at a key.
        ReadKey | ManageKey if of_nobody < 300 => (of_nobody, None),
        ReadKey if row.method != "get" => (403, Some("key_read_only")),
        ManageKey if row.proof == Proof::Session => (403, Some("session_required")),
        ReadKey | ManageKey if SESSION_ONLY.contains(&(row.method, row.path)) => (403, Some("session_required")),
        ReadKey | ManageKey => (of_super_user, None),
    }
}

/// What an answer has in it.
#[derive(Clone, Copy)]
enum Shape {
    Keys(&'static [&'static str]),
    /// `{"items": […]}`, each with these keys.
    Items(&'static [&'static str]),
    /// A page of users, as the caller sees them.
    Users,
    /// A user, as the caller sees it.
    User,
    /// `ust`, `session`, `user`.
    NewSession,
    /// Lines of JSON: users as the caller sees them, or what became of the rows of an import.
    Lines,
    /// Everything that is kept of a user.
    Data,
    Empty,
}

/// On whom a call is, for its audit event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Caller,
    Peer,
    /// The group in the path.
    Group,
    /// The application in the path.
    Application,
    /// The hook in the path.
    Hook,
    /// What the answer shows.
    Shown,
    /// The user whom the answer names.
    Named,
    None,
}

/// What a row asks of the proof of a super-user who is let in (S49).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing more.
    Any,
    /// A sign-in of the last five minutes; an API key stands for one.
    Recent,
    /// A sign-in of the last five minutes, and no key.
    Session,
}

pub struct Row {
    method: &'static str,
    path: &'static str,
    body: fn(&Stage<'_>) -> Option<Value>,
    /// The status for nobody, an owner, a super-user, an application. What a key is answered follows: see [`expected`].
    status: [u16; 4],
    shape: Shape,
    pub proof: Proof,
    action: &'static str,
    subject: Subject,
}

impl Row {
    pub fn status_of_super_user(&self) -> u16 {
        self.status[2]
    }

    pub fn status_of_nobody(&self) -> u16 {
        self.status[0]
    }

    pub fn is_read(&self) -> bool {
        self.method == "get"
    }

    pub fn method_name(&self) -> String {
        self.method.to_uppercase()
    }

    pub fn path(&self) -> &'static str {
        self.path
    }
}

/// A call that is ready to be made.
pub struct Call {
    pub client: Client,
    method: String,
    path: String,
    body: Option<String>,
    content_type: &'static str,
    pub what: String,
}

impl Call {
    pub fn make_as(&self, client: &Client) -> Answer {
        client.with("content-type", self.content_type).call(&self.method, &self.path, self.body.clone())
    }
}

const NO_BODY: fn(&Stage<'_>) -> Option<Value> = |_| None;

#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    Row { method: "post",   path: "/api/v1/sessions",                              body: |s| Some(json!({"username": s.peer_name, "password": PASSWORD})), status: [201, 201, 201, 201], shape: Shape::NewSession, proof: Proof::Any, action: "session.sign_in", subject: Subject::Shown },
    Row { method: "delete", path: "/api/v1/sessions",                              body: NO_BODY, status: [401, 403, 204, 401], shape: Shape::Empty, proof: Proof::Recent, action: "session.revoke_of_everyone", subject: Subject::None },
    Row { method: "get",    path: "/api/v1/sessions/current",                      body: NO_BODY, status: [401, 200, 200, 401], shape: Shape::Keys(SESSION), proof: Proof::Any, action: "session.read", subject: Subject::Caller },
    Row { method: "delete", path: "/api/v1/sessions/current",                      body: NO_BODY, status: [401, 204, 204, 401], shape: Shape::Empty, proof: Proof::Any, action: "session.sign_out", subject: Subject::Caller },
    Row { method: "post",   path: "/api/v1/sessions/current/renew",                body: NO_BODY, status: [401, 200, 200, 401], shape: Shape::Keys(SESSION), proof: Proof::Any, action: "session.renew", subject: Subject::Caller },
    Row { method: "post",   path: "/api/v1/sessions/current/confirm",              body: |_| Some(json!({"password": PASSWORD})), status: [401, 200, 200, 401], shape: Shape::NewSession, proof: Proof::Any, action: "session.confirm", subject: Subject::Caller },
    Row { method: "get",    path: "/api/v1/sessions/current/attributes",            body: NO_BODY, status: [401, 200, 200, 401], shape: Shape::Items(ATTRIBUTE), proof: Proof::Any, action: "session.list_attributes", subject: Subject::Caller },
    Row { method: "put",    path: "/api/v1/sessions/current/attributes",            body: |_| Some(json!({"attributes": {"size": {"value": [1.5], "encrypted": true}, "gone": null}})), status: [401, 200, 200, 401], shape: Shape::Items(ATTRIBUTE), proof: Proof::Any, action: "session.set_attributes", subject: Subject::Caller },
    Row { method: "delete", path: "/api/v1/sessions/current/attributes",            body: NO_BODY, status: [401, 204, 204, 401], shape: Shape::Empty, proof: Proof::Any, action: "session.delete_attributes", subject: Subject::Caller },
    Row { method: "get",    path: "/api/v1/sessions/current/attributes/{name}",     body: NO_BODY, status: [401, 200, 200, 401], shape: Shape::Keys(ATTRIBUTE), proof: Proof::Any, action: "session.read_attribute", subject: Subject::Caller },
    Row { method: "put",    path: "/api/v1/sessions/current/attributes/{name}",     body: |_| Some(json!({"value": "red", "expires_in": 60})), status: [401, 200, 200, 401], shape: Shape::Keys(ATTRIBUTE), proof: Proof::Any, action: "session.set_attribute", subject: Subject::Caller },
    Row { method: "delete", path: "/api/v1/sessions/current/attributes/{name}",     body: NO_BODY, status: [401, 204, 204, 401], shape: Shape::Empty, proof: Proof::Any, action: "session.delete_attribute", subject: Subject::Caller },
    Row { method: "post",   path: "/api/v1/sessions/current/tokens",               body: |_| Some(json!({"audience": "default", "scopes": ["profile"]})), status: [401, 201, 201, 401], shape: Shape::Keys(&["token", "token_type", "audience", "scope", "expires_time", "revocable"]), proof: Proof::Any, action: "token.issue", subject: Subject::Caller },
    Row { method: "post",   path: "/api/v1/sessions/introspect",                   body: |s| Some(json!({"ust": s.peer.ust})), status: [401, 403, 200, 200], shape: Shape::Keys(&["active", "user", "session"]), proof: Proof::Any, action: "session.introspect", subject: Subject::Peer },
    Row { method: "post",   path: "/api/v1/signups",                               body: |s| Some(json!({"username": s.fresh_name, "email": format!("{}@example.org", s.fresh_name), "password": PASSWORD})), status: [202, 202, 202, 202], shape: Shape::Empty, proof: Proof::Any, action: "user.sign_up", subject: Subject::None },
    Row { method: "post",   path: "/api/v1/signups/confirm",                       body: |s| Some(json!({"token": s.confirmation()})), status: [200, 200, 200, 200], shape: Shape::Keys(&["username", "is_approval_pending"]), proof: Proof::Any, action: "user.confirm_sign_up", subject: Subject::Named },
    Row { method: "post",   path: "/api/v1/password-resets",                       body: |s| Some(json!({"username": s.peer_name})), status: [202, 202, 202, 202], shape: Shape::Empty, proof: Proof::Any, action: "password_reset.request", subject: Subject::None },
    Row { method: "post",   path: "/api/v1/password-resets/open",                  body: |s| Some(json!({"token": s.reset_link()})), status: [200, 200, 200, 200], shape: Shape::Keys(&["reset_key", "expires_time", "is_totp_required"]), proof: Proof::Any, action: "password_reset.open", subject: Subject::Peer },
    Row { method: "post",   path: "/api/v1/password-resets/finish",                body: |s| Some(json!({"reset_key": s.reset_key(), "new_password": "another good long password"})), status: [204, 204, 204, 204], shape: Shape::Empty, proof: Proof::Any, action: "password_reset.finish", subject: Subject::Peer },
    Row { method: "get",    path: "/api/v1/users/me",                              body: NO_BODY, status: [401, 200, 200, 401], shape: Shape::User, proof: Proof::Any, action: "user.read_current", subject: Subject::Caller },
    Row { method: "patch",  path: "/api/v1/users/me",                              body: |_| Some(json!({"first_name": "Ann"})), status: [401, 200, 200, 401], shape: Shape::User, proof: Proof::Any, action: "user.update_current", subject: Subject::Caller },
    Row { method: "put",    path: "/api/v1/users/me/password",                     body: |_| Some(json!({"old_password": PASSWORD, "new_password": "another good long password"})), status: [401, 200, 200, 401], shape: Shape::NewSession, proof: Proof::Any, action: "user.change_password", subject: Subject::Caller },
    Row { method: "post",   path: "/api/v1/users/me/totp",                         body: NO_BODY, status: [401, 201, 201, 401], shape: Shape::Keys(&["totp_key", "otpauth_uri", "qr_svg", "expiry"]), proof: Proof::Session, action: "user.enrol_totp", subject: Subject::Caller },
    Row { method: "delete", path: "/api/v1/users/me/totp",                         body: |s| s.enrolled(2), status: [401, 204, 204, 401], shape: Shape::Empty, proof: Proof::Session, action: "user.disable_totp", subject: Subject::Caller },
    Row { method: "post",   path: "/api/v1/users/me/totp/confirm",                 body: |s| s.enrolled(1), status: [401, 200, 200, 401], shape: Shape::Keys(&["recovery_codes"]), proof: Proof::Any, action: "user.confirm_totp", subject: Subject::Caller },
    Row { method: "post",   path: "/api/v1/users/me/recovery-codes",               body: |s| s.enrolled(2), status: [401, 201, 201, 401], shape: Shape::Keys(&["recovery_codes"]), proof: Proof::Session, action: "user.renew_recovery_codes", subject: Subject::Caller },
    Row { method: "get",    path: "/api/v1/users/me/sessions",                     body: NO_BODY, status: [401, 200, 200, 401], shape: Shape::Items(SESSION), proof: Proof::Any, action: "session.list", subject: Subject::Caller },
    Row { method: "delete", path: "/api/v1/users/me/sessions",                     body: NO_BODY, status: [401, 204, 204, 401], shape: Shape::Empty, proof: Proof::Session, action: "session.revoke_all", subject: Subject::Caller },
    Row { method: "delete", path: "/api/v1/users/me/sessions/{session_id}",        body: NO_BODY, status: [401, 204, 204, 401], shape: Shape::Empty, proof: Proof::Session, action: "session.revoke", subject: Subject::Caller },
    Row { method: "get",    path: "/api/v1/users/me/attributes",                    body: NO_BODY, status: [401, 200, 200, 401], shape: Shape::Items(ATTRIBUTE), proof: Proof::Any, action: "user.list_attributes", subject: Subject::Caller },
    Row { method: "put",    path: "/api/v1/users/me/attributes",                    body: |_| Some(json!({"attributes": {"size": {"value": [1.5], "encrypted": true}, "gone": null}})), status: [401, 200, 200, 401], shape: Shape::Items(ATTRIBUTE), proof: Proof::Any, action: "user.set_attributes", subject: Subject::Caller },
    Row { method: "delete", path: "/api/v1/users/me/attributes",                    body: NO_BODY, status: [401, 204, 204, 401], shape: Shape::Empty, proof: Proof::Any, action: "user.delete_attributes", subject: Subject::Caller },
    Row { method: "get",    path: "/api/v1/users/me/attributes/{name}",             body: NO_BODY, status: [401, 200, 200, 401], shape: Shape::Keys(ATTRIBUTE), proof: Proof::Any, action: "user.read_attribute", subject: Subject::Caller },
    Row { method: "put",    path: "/api/v1/users/me/attributes/{name}",             body: |_| Some(json!({"value": "red", "expires_in": 60})), status: [401, 200, 200, 401], shape: Shape::Keys(ATTRIBUTE), proof: Proof::Any, action: "user.set_attribute", subject: Subject::Caller },
    Row { method: "delete", path: "/api/v1/users/me/attributes/{name}",             body: NO_BODY, status: [401, 204, 204, 401], shape: Shape::Empty, proof: Proof::Any, action: "user.delete_attribute", subject: Subject::Caller },
    Row { method: "get",    path: "/api/v1/users/me/api-keys",                     body: NO_BODY, status: [401, 200, 200, 401], shape: Shape::Items(API_KEY), proof: Proof::Any, action: "api_key.list", subject: Subject::Caller },
    Row { method: "post",   path: "/api/v1/users/me/api-keys",                     body: |_| Some(json!({"name": "robot", "scope": "manage"})), status: [401, 201, 201, 401], shape: Shape::Keys(&["key_id", "user_id", "name", "scope", "created_time", "expiry", "last_used_time", "key"]), proof: Proof::Session, action: "api_key.create", subject: Subject::Caller },
    Row { method: "delete", path: "/api/v1/users/me/api-keys/{key_id}",            body: NO_BODY, status: [401, 204, 204, 401], shape: Shape::Empty, proof: Proof::Session, action: "api_key.revoke", subject: Subject::Caller },
    Row { method: "get",    path: "/api/v1/users",                                 body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Users, proof: Proof::Any, action: "user.list", subject: Subject::None },
    Row { method: "get",    path: "/api/v1/users/count",                           body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Keys(&["total"]), proof: Proof::Any, action: "user.count", subject: Subject::None },
    Row { method: "post",   path: "/api/v1/users",                                 body: |s| Some(json!({"username": s.fresh_name, "password": PASSWORD})), status: [401, 403, 201, 401], shape: Shape::User, proof: Proof::Any, action: "user.create", subject: Subject::Shown },
    Row { method: "post",   path: "/api/v1/users/import",                          body: |s| Some(json!({"username": s.fresh_name})), status: [401, 403, 200, 401], shape: Shape::Lines, proof: Proof::Any, action: "user.import", subject: Subject::None },
    Row { method: "get",    path: "/api/v1/users/export",                          body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Lines, proof: Proof::Any, action: "user.export", subject: Subject::None },
    Row { method: "get",    path: "/api/v1/users/me/data",                         body: NO_BODY, status: [401, 200, 200, 401], shape: Shape::Data, proof: Proof::Any, action: "user.read_current_data", subject: Subject::Caller },
    Row { method: "get",    path: "/api/v1/users/{user_id}/data",                  body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Data, proof: Proof::Any, action: "user.read_data", subject: Subject::Peer },
    Row { method: "get",    path: "/api/v1/users/{user_id}",                       body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::User, proof: Proof::Any, action: "user.read", subject: Subject::Peer },
    Row { method: "patch",  path: "/api/v1/users/{user_id}",                       body: |_| Some(json!({"remark": "new here"})), status: [401, 403, 200, 401], shape: Shape::User, proof: Proof::Any, action: "user.update", subject: Subject::Peer },
    Row { method: "delete", path: "/api/v1/users/{user_id}",                       body: NO_BODY, status: [401, 403, 204, 401], shape: Shape::Empty, proof: Proof::Any, action: "user.delete", subject: Subject::Peer },
    Row { method: "post",   path: "/api/v1/users/{user_id}/approve",               body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::User, proof: Proof::Recent, action: "user.approve", subject: Subject::Peer },
    Row { method: "post",   path: "/api/v1/users/{user_id}/reject",                body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::User, proof: Proof::Any, action: "user.reject", subject: Subject::Peer },
    Row { method: "put",    path: "/api/v1/users/{user_id}/password",              body: |_| Some(json!({"new_password": "another good long password"})), status: [401, 403, 200, 401], shape: Shape::User, proof: Proof::Session, action: "user.set_password", subject: Subject::Peer },
    Row { method: "delete", path: "/api/v1/users/{user_id}/totp",                  body: NO_BODY, status: [401, 403, 204, 401], shape: Shape::Empty, proof: Proof::Session, action: "user.reset_totp", subject: Subject::Peer },
    Row { method: "post",   path: "/api/v1/users/{user_id}/lock",                  body: |_| Some(json!({"reason": "left"})), status: [401, 403, 200, 401], shape: Shape::User, proof: Proof::Any, action: "user.lock", subject: Subject::Peer },
    Row { method: "post",   path: "/api/v1/users/{user_id}/unlock",                body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::User, proof: Proof::Recent, action: "user.unlock", subject: Subject::Peer },
    Row { method: "get",    path: "/api/v1/users/{user_id}/sessions",              body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Items(SESSION), proof: Proof::Any, action: "session.list", subject: Subject::Peer },
    Row { method: "delete", path: "/api/v1/users/{user_id}/sessions",              body: NO_BODY, status: [401, 403, 204, 401], shape: Shape::Empty, proof: Proof::Any, action: "session.revoke_all", subject: Subject::Peer },
    Row { method: "delete", path: "/api/v1/users/{user_id}/sessions/{session_id}", body: NO_BODY, status: [401, 403, 204, 401], shape: Shape::Empty, proof: Proof::Any, action: "session.revoke", subject: Subject::Peer },
    Row { method: "get",    path: "/api/v1/users/{user_id}/attributes",             body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Items(ATTRIBUTE), proof: Proof::Any, action: "user.list_attributes", subject: Subject::Peer },
    Row { method: "put",    path: "/api/v1/users/{user_id}/attributes",             body: |_| Some(json!({"attributes": {"size": {"value": [1.5], "encrypted": true}, "gone": null}})), status: [401, 403, 200, 401], shape: Shape::Items(ATTRIBUTE), proof: Proof::Any, action: "user.set_attributes", subject: Subject::Peer },
    Row { method: "delete", path: "/api/v1/users/{user_id}/attributes",             body: NO_BODY, status: [401, 403, 204, 401], shape: Shape::Empty, proof: Proof::Any, action: "user.delete_attributes", subject: Subject::Peer },
    Row { method: "get",    path: "/api/v1/users/{user_id}/attributes/{name}",      body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Keys(ATTRIBUTE), proof: Proof::Any, action: "user.read_attribute", subject: Subject::Peer },
    Row { method: "put",    path: "/api/v1/users/{user_id}/attributes/{name}",      body: |_| Some(json!({"value": "red", "expires_in": 60})), status: [401, 403, 200, 401], shape: Shape::Keys(ATTRIBUTE), proof: Proof::Any, action: "user.set_attribute", subject: Subject::Peer },
    Row { method: "delete", path: "/api/v1/users/{user_id}/attributes/{name}",      body: NO_BODY, status: [401, 403, 204, 401], shape: Shape::Empty, proof: Proof::Any, action: "user.delete_attribute", subject: Subject::Peer },
    Row { method: "get",    path: "/api/v1/users/{user_id}/networks",              body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Keys(&["networks"]), proof: Proof::Any, action: "user.read_networks", subject: Subject::Peer },
    Row { method: "put",    path: "/api/v1/users/{user_id}/networks",              body: |_| Some(json!({"networks": ["10.0.0.0/8"]})), status: [401, 403, 200, 401], shape: Shape::Keys(&["networks"]), proof: Proof::Session, action: "user.set_networks", subject: Subject::Peer },
    Row { method: "get",    path: "/api/v1/groups",                                body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Keys(&["items", "next_cursor"]), proof: Proof::Any, action: "group.list", subject: Subject::None },
    Row { method: "post",   path: "/api/v1/groups",                                body: |s| Some(json!({"name": s.fresh_name})), status: [401, 403, 201, 401], shape: Shape::Keys(GROUP), proof: Proof::Any, action: "group.create", subject: Subject::Shown },
    Row { method: "get",    path: "/api/v1/groups/{group_id}",                     body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Keys(GROUP), proof: Proof::Any, action: "group.read", subject: Subject::Group },
    Row { method: "patch",  path: "/api/v1/groups/{group_id}",                     body: |s| Some(json!({"name": s.fresh_name})), status: [401, 403, 200, 401], shape: Shape::Keys(GROUP), proof: Proof::Recent, action: "group.update", subject: Subject::Group },
    Row { method: "delete", path: "/api/v1/groups/{group_id}",                     body: NO_BODY, status: [401, 403, 204, 401], shape: Shape::Empty, proof: Proof::Recent, action: "group.delete", subject: Subject::Group },
    Row { method: "get",    path: "/api/v1/groups/{group_id}/members",             body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Users, proof: Proof::Any, action: "group.list_members", subject: Subject::Group },
    Row { method: "post",   path: "/api/v1/groups/{group_id}/members",             body: |s| Some(json!({"user_id": s.peer.id()})), status: [401, 403, 200, 401], shape: Shape::User, proof: Proof::Recent, action: "group.add_member", subject: Subject::Peer },
    Row { method: "delete", path: "/api/v1/groups/{group_id}/members/{user_id}",   body: NO_BODY, status: [401, 403, 204, 401], shape: Shape::Empty, proof: Proof::Recent, action: "group.remove_member", subject: Subject::Peer },
    Row { method: "get",    path: "/api/v1/applications",                          body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Items(APPLICATION), proof: Proof::Any, action: "application.list", subject: Subject::None },
    Row { method: "post",   path: "/api/v1/applications",                          body: |s| Some(json!({"name": s.fresh_name})), status: [401, 403, 201, 401], shape: Shape::Keys(&["application_id", "name", "session_scope", "is_key_required", "may_set_remote_addr", "second_factor", "access", "allowed_roles", "allowed_groups", "allowed_networks", "is_sign_up_open", "is_sign_up_approval_needed", "created_time", "key"]), proof: Proof::Session, action: "application.create", subject: Subject::Shown },
    Row { method: "get",    path: "/api/v1/applications/{application_id}",         body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Keys(APPLICATION), proof: Proof::Any, action: "application.read", subject: Subject::Application },
    Row { method: "patch",  path: "/api/v1/applications/{application_id}",         body: |_| Some(json!({"access": "listed"})), status: [401, 403, 200, 401], shape: Shape::Keys(APPLICATION), proof: Proof::Session, action: "application.update", subject: Subject::Application },
    Row { method: "post",   path: "/api/v1/applications/{application_id}/key",     body: NO_BODY, status: [401, 403, 201, 401], shape: Shape::Keys(&["application_id", "name", "session_scope", "is_key_required", "may_set_remote_addr", "second_factor", "access", "allowed_roles", "allowed_groups", "allowed_networks", "is_sign_up_open", "is_sign_up_approval_needed", "created_time", "key"]), proof: Proof::Session, action: "application.renew_key", subject: Subject::Application },
    Row { method: "delete", path: "/api/v1/applications/{application_id}",         body: NO_BODY, status: [401, 403, 204, 401], shape: Shape::Empty, proof: Proof::Session, action: "application.delete", subject: Subject::Application },
    Row { method: "delete", path: "/api/v1/applications/{application_id}/sessions", body: NO_BODY, status: [401, 403, 204, 401], shape: Shape::Empty, proof: Proof::Recent, action: "session.revoke_of_application", subject: Subject::Application },
    Row { method: "get",    path: "/api/v1/api-keys",                              body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Keys(&["items", "next_cursor"]), proof: Proof::Any, action: "api_key.list", subject: Subject::None },
    Row { method: "post",   path: "/api/v1/api-keys",                              body: |s| Some(json!({"user_id": s.peer.id(), "name": "robot"})), status: [401, 403, 201, 401], shape: Shape::Keys(&["key_id", "user_id", "name", "scope", "created_time", "expiry", "last_used_time", "key"]), proof: Proof::Session, action: "api_key.create", subject: Subject::Peer },
    Row { method: "delete", path: "/api/v1/api-keys/{key_id}",                     body: NO_BODY, status: [401, 403, 204, 401], shape: Shape::Empty, proof: Proof::Session, action: "api_key.revoke", subject: Subject::Peer },
    Row { method: "get",    path: "/api/v1/hooks",                                 body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Items(HOOK), proof: Proof::Any, action: "hook.list", subject: Subject::None },
    Row { method: "post",   path: "/api/v1/hooks",                                 body: |s| Some(json!({"name": s.fresh_name, "url": "https://hook.example/", "is_active": false})), status: [401, 403, 201, 401], shape: Shape::Keys(HOOK_WITH_SECRET), proof: Proof::Session, action: "hook.create", subject: Subject::Shown },
    Row { method: "get",    path: "/api/v1/hooks/{hook_id}",                       body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Keys(HOOK), proof: Proof::Any, action: "hook.read", subject: Subject::Hook },
    Row { method: "patch",  path: "/api/v1/hooks/{hook_id}",                       body: |_| Some(json!({"event_types": ["user.locked"]})), status: [401, 403, 200, 401], shape: Shape::Keys(HOOK), proof: Proof::Session, action: "hook.update", subject: Subject::Hook },
    Row { method: "delete", path: "/api/v1/hooks/{hook_id}",                       body: NO_BODY, status: [401, 403, 204, 401], shape: Shape::Empty, proof: Proof::Session, action: "hook.delete", subject: Subject::Hook },
    Row { method: "post",   path: "/api/v1/hooks/{hook_id}/secret",                body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Keys(HOOK_WITH_SECRET), proof: Proof::Session, action: "hook.renew_secret", subject: Subject::Hook },
    Row { method: "get",    path: "/api/v1/hooks/{hook_id}/deliveries",            body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Keys(&["items", "next_cursor"]), proof: Proof::Any, action: "hook.list_deliveries", subject: Subject::Hook },
    Row { method: "post",   path: "/api/v1/hooks/{hook_id}/deliveries/{delivery_id}/retry", body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Keys(&["delivery_id", "event_type", "state", "attempts", "next_time", "last_error", "created_time"]), proof: Proof::Session, action: "hook.retry_delivery", subject: Subject::Hook },
    Row { method: "get",    path: "/api/v1/audit-events",                          body: NO_BODY, status: [401, 403, 200, 401], shape: Shape::Keys(&["items", "next_cursor"]), proof: Proof::Any, action: "audit.read", subject: Subject::None },
    Row { method: "get",    path: "/api/v1/views",                                 body: NO_BODY, status: [401, 200, 200, 401], shape: Shape::Keys(&["viewer", "attributes"]), proof: Proof::Any, action: "views.read", subject: Subject::None },
];

/// Open to everyone, without anything about anyone, and without an audit event.
const PROBES: &[&str] = &[
    "/healthz",
    "/readyz",
    "/.well-known/jwks.json",
    "/.well-known/usher-audit-keys.json",
    "/openapi.json",
    "/docs",
    "/docs/{file}",
    "/account/confirm",
    "/account/set-password",
    "/account/forgot-password",
    "/account/{file}",
];

/// A caller with fresh sessions, and a peer to act on.
struct Stage<'a> {
    scene: &'a Scene,
    client: Client,
    own_other_session: String,
    own_api_key: Option<String>,
    peer: Client,
    peer_name: String,
    fresh_name: String,
    /// A group that the peer is in.
    group: String,
    application: String,
    /// A hook with a delivery that cannot be made; empty where the route is about something else.
    hook: String,
    delivery: String,
    /// The id of an API key of the peer's.
    api_key: String,
    now: Utc,
}

impl Stage<'_> {
    /// Takes the first steps of a caller's enrolment of one-time codes, if it may: `2` is all of them. The body for the step after.
    fn enrolled(&self, steps: u32) -> Option<Value> {
        let begun = self.client.call("POST", "/api/v1/users/me/totp", None);
        if begun.status != 201 {
            return Some(json!({"code": "123456"}));
        }
        let code = tools::code(begun.json["totp_key"].as_str().unwrap(), self.now);
        if steps == 1 {
            return Some(json!({"code": code}));
        }
        let confirmed = self.client.post("/api/v1/users/me/totp/confirm", &json!({"code": code})).expect(200);
        Some(json!({"code": confirmed.json["recovery_codes"][0]}))
    }
}

impl Stage<'_> {
    /// Where mail to the peer goes.
    fn mailbox(&self) -> String {
        format!("{}@example.org", self.peer_name)
    }

    /// The token of the link that the peer was mailed after asking for one.
    fn reset_link(&self) -> String {
        // Of the peer's key there was a letter.
        self.scene.town.forget_mail();
        self.scene.town.anon().post("/api/v1/password-resets", &json!({"username": self.peer_name})).expect(202);
        self.scene.town.mail_to(&self.mailbox()).token()
    }

    /// The key that such a link is exchanged for.
    fn reset_key(&self) -> Value {
        let body = json!({"token": self.reset_link()});
        self.scene.town.anon().post("/api/v1/password-resets/open", &body).expect(200).json["reset_key"].clone()
    }

    /// The token of the link that someone was mailed who has signed up.
    fn confirmation(&self) -> String {
        let email = format!("{}@example.org", self.fresh_name);
        let body = json!({"username": self.fresh_name, "email": email, "password": PASSWORD});
        self.scene.town.anon().post("/api/v1/signups", &body).expect(202);
        self.scene.town.mail_to(&email).token()
    }
}

static STAGES: AtomicUsize = AtomicUsize::new(0);

/// A town with an application that has a key.
pub struct Scene {
    pub town: Town,
    root: RefCell<Client>,
    key: String,
}

impl Scene {
    pub fn new(engine: Engine) -> Self {
        let town = Town::on(
            Site::with_mail(engine).with("links.asking_free", "1000000").with("tokens.issuer", "\"https://sso.example\""),
        );
        let created = town.usher(&["app", "create", "desk", "--json"]).expect(0).json();
        town.open_sign_up(false);
        let key = created["key"].as_str().unwrap().to_owned();
        Self { root: RefCell::new(town.root()), town, key }
    }

    pub fn root(&self) -> Client {
        self.root.borrow().clone()
    }

    fn stage(&self, caller: Caller, path: &str) -> Stage<'_> {
        let number = STAGES.fetch_add(1, Ordering::SeqCst);
        let (name, peer_name) = (format!("caller-{number}"), format!("peer-{number}"));
        let role = if [SuperUser, ReadKey, ManageKey].contains(&caller) { "administrator" } else { "viewer" };
        for (name, role) in [(&name, role), (&peer_name, "viewer")] {
            let body = json!({"username": name, "email": format!("{name}@example.org"), "password": PASSWORD, "user_role": role});
            self.root().post("/api/v1/users", &body).expect(201);
        }
        let anon = self.town.anon();
        let key = |user: &Client, scope: &str| {
            user.post("/api/v1/users/me/api-keys", &json!({"name": "robot", "scope": scope})).expect(201).json
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let colour = json!({"value": "green"});
        let signed_in = || {
            let (client, other) = (anon.sign_in(&name, PASSWORD), anon.sign_in(&name, PASSWORD));
            for of in ["users/me", "sessions/current"] {
                client.put(&format!("/api/v1/{of}/attributes/colour"), &colour).expect(201);
            }
            let own_api_key = Some(text(&key(&client, "read")["key_id"]));
            (client, other.session_id.unwrap_or_default(), own_api_key)
        };
        let (client, other, own_api_key) = match caller {
            Nobody => (anon.clone(), String::new(), None),
            Application => (anon.with("x-current-app", "desk").with("x-application-key", &self.key), String::new(), None),
            Owner | SuperUser => signed_in(),
            ReadKey | ManageKey => {
                let (client, other, own_api_key) = signed_in();
                let key = key(&client, if caller == ReadKey { "read" } else { "manage" });
                let mut client = client.with("authorization", &format!("Key {}", text(&key["key"])));
                // What the trail names as that through which it acts.
                client.session_id = Some(text(&key["key_id"]));
                (client, other, own_api_key)
            }
        };
        let peer = anon.sign_in(&peer_name, PASSWORD);
        // Everybody has an attribute of the name that is put into paths, in whichever way it is come by.
        self.root().put(&format!("/api/v1/users/{}/attributes/colour", peer.id()), &colour).expect(201);
        let api_key = text(&key(&peer, "read")["key_id"]);
        let made = |path: &str, id: &str, name: String| {
            self.root().post(path, &json!({"name": name})).expect(201).json[id].as_str().unwrap().to_owned()
        };
        let (hook, delivery) = if path.contains("/hooks") { self.hook(number) } else { Default::default() };
        let group = made("/api/v1/groups", "group_id", format!("group-{number}"));
        self.root().post(&format!("/api/v1/groups/{group}/members"), &json!({"user_id": peer.id()})).expect(200);
        let application = made("/api/v1/applications", "application_id", format!("application-{number}"));
        let now = self.town.now();
        Stage {
            scene: self,
            api_key,
            own_api_key,
            hook,
            delivery,
            group,
            application,
            now,
            client,
            own_other_session: other,
            peer,
            peer_name,
            fresh_name: format!("fresh-{number}"),
        }
    }

    /// The one hook that there is, and what waits for it: a name that leads to this machine is not connected to.
    fn hook(&self, number: usize) -> (String, String) {
        let hooks = "/api/v1/hooks";
        for old in self.root().get(hooks).expect(200).json["items"].as_array().unwrap() {
            self.root().delete(&format!("{hooks}/{}", old["hook_id"].as_str().unwrap())).expect(204);
        }
        let body = json!({"name": format!("hook-{number}"), "url": "https://localhost:1024/", "event_types": ["group.created"]});
        let hook = self.root().post(hooks, &body).expect(201).json["hook_id"].as_str().unwrap().to_owned();
        self.root().post("/api/v1/groups", &json!({"name": format!("told-{number}")})).expect(201);
        let waiting = self.root().get(&format!("{hooks}/{hook}/deliveries")).expect(200).json;
        let delivery = waiting["items"][0]["delivery_id"].as_str().unwrap().to_owned();
        (hook, delivery)
    }

    /// After the clock has moved: who makes what the rows are about is to be fresh.
    pub fn sign_in_again(&self) {
        self.root.replace(self.town.root());
    }

    /// A row's call, with all that it takes, as a super-user who signed in just now.
    pub fn prepared(&self, row: &Row) -> Call {
        let stage = self.stage(SuperUser, row.path);
        let (path, body) = self.filled(row, &stage);
        let content_type = if path.ends_with("/import") { "application/x-ndjson" } else { "application/json" };
        let what = format!("{} {}", row.method, row.path);
        Call { client: stage.client.clone(), method: row.method.to_uppercase(), path, body, content_type, what }
    }

    /// The path and the body of a row's call.
    fn filled(&self, row: &Row, stage: &Stage<'_>) -> (String, Option<String>) {
        let session = if row.path.contains("/me/") { &stage.own_other_session } else { stage.peer.session_id.as_ref().unwrap() };
        let session = if session.is_empty() { stage.peer.session_id.as_ref().unwrap() } else { session };
        let path = row.path.replace("{user_id}", stage.peer.id()).replace("{session_id}", session);
        let path = path.replace("{group_id}", &stage.group).replace("{application_id}", &stage.application);
        let path = path.replace("{name}", "colour");
        let path = path.replace("{hook_id}", &stage.hook).replace("{delivery_id}", &stage.delivery);
        let own_api_key = stage.own_api_key.as_ref().filter(|_| row.path.contains("/me/"));
        let path = path.replace("{key_id}", own_api_key.unwrap_or(&stage.api_key));
        (path, (row.body)(stage).map(|b| b.to_string()))
    }

    /// Makes one call of the table and compares everything about it.
    fn check(&self, row: &Row, caller: Caller) {
        let stage = self.stage(caller, row.path);
        let (path, body) = self.filled(row, &stage);
        // The one body that is no JSON document.
        let client = if path.ends_with("/import") {
            stage.client.with("content-type", "application/x-ndjson")
        } else {
            stage.client.clone()
        };
        let answer = client.call(&row.method.to_uppercase(), &path, body);
        if (row.action, answer.status) == ("session.revoke_of_everyone", 204) {
            self.root.replace(self.town.root());
        }
        let what = format!("{} {} as {caller:?}: {}", row.method, row.path, answer.text);
        let (status, code) = expected(row, caller);
        assert_eq!(answer.status, status, "{what}");
        if answer.status < 300 {
            compare_shape(row, caller, &answer, &what);
        } else {
            assert_eq!(answer.keys(), ["type", "title", "status", "code", "detail", "cid", "errors"], "{what}");
            assert!(code.is_none_or(|code| answer.json["code"] == code), "{what}");
        }
        self.check_event(row, caller, &stage, &answer, &what);
    }

    /// The call left exactly one event, which its correlation id finds.
    fn check_event(&self, row: &Row, caller: Caller, stage: &Stage<'_>, answer: &Answer, what: &str) {
        check_shown(&self.root(), answer, what);
        let found = self.root().get(&format!("/api/v1/audit-events?cid={}", answer.cid())).expect(200).json;
        // What comes of a call that is decided on later has an event of its own, by the service.
        let mut events: Vec<&Value> = found["items"].as_array().unwrap().iter().filter(|e| e["actor_type"] != "system").collect();
        if row.action == "user.import" && answer.status < 300 {
            // What an import does to each user has an event of its own, beside that of the call.
            let made = events.pop().unwrap();
            assert_eq!((&made["action"], &made["actor"]), (&json!("user.create"), &json!(stage.client.id())), "{what}");
        }
        assert_eq!(events.len(), 1, "{what} {found}");
        let event = events[0];
        assert_eq!(event["action"], row.action, "{what}");
        assert_eq!(event["outcome"], if answer.status < 300 { "success" } else { "refused" }, "{what}");
        assert_eq!(event["reason"].is_null(), answer.status < 300, "{what} {event}");
        assert_eq!(event["remote_addr"], "127.0.0.1", "{what}");
        assert_eq!(event["application"], if caller == Application { "desk" } else { "default" }, "{what}");
        let signs_in = row.action == "session.sign_in";
        let is_of_nobody = row.path.starts_with("/api/v1/signups") || row.path.starts_with("/api/v1/password-resets");
        let (kind, actor) = match caller {
            _ if is_of_nobody => ("anonymous", Value::Null),
            _ if signs_in => ("user", stage.peer.id().into()),
            Nobody => ("anonymous", Value::Null),
            Application if answer.status < 300 => ("application", "desk".into()),
            Application => ("anonymous", Value::Null),
            Owner | SuperUser | ReadKey | ManageKey => ("user", stage.client.id().into()),
        };
        assert_eq!((event["actor_type"].as_str(), &event["actor"]), (Some(kind), &actor), "{what}");
        if kind == "user" && !signs_in {
            assert_eq!(event["actor_session"], stage.client.session_id.as_deref().unwrap(), "{what}");
        }
        if answer.status >= 300 && row.path.contains("{user_id}") {
            assert_eq!(event["subject"], stage.peer.id(), "{what}");
        }
        if answer.status < 300 {
            let subject = match row.subject {
                Subject::Caller => stage.client.id().into(),
                Subject::Peer => stage.peer.id().into(),
                Subject::Group => stage.group.clone().into(),
                Subject::Application => stage.application.clone().into(),
                Subject::Hook => stage.hook.clone().into(),
                Subject::Shown => {
                    let shown = answer.json.get("user").unwrap_or(&answer.json);
                    let id = ["user_id", "group_id", "application_id", "hook_id"].iter().find_map(|name| shown.get(*name));
                    id.cloned().unwrap_or_default()
                }
                Subject::Named => {
                    let name = answer.json["username"].as_str().unwrap_or_default();
                    self.root().get(&format!("/api/v1/users?username={name}")).expect(200).json["items"][0]["user_id"].clone()
                }
                Subject::None => Value::Null,
            };
            assert_eq!(event["subject"], subject, "{what}");
        }
    }
}

fn user_keys(caller: Caller, of_peer: bool) -> &'static [&'static str] {
    match caller {
        SuperUser | ReadKey | ManageKey => SUPER_USER,
        Owner | Application => OWNER,
        Nobody if of_peer => OWNER,
        Nobody => &[],
    }
}

fn compare_shape(row: &Row, caller: Caller, answer: &Answer, what: &str) {
    let keys = |value: &Value| value.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    match row.shape {
        Shape::Keys(expected) => {
            assert_eq!(answer.keys(), expected, "{what}");
            if let Some(user) = answer.json.get("user") {
                assert_eq!(keys(user), user_keys(caller, true), "{what}");
                assert_eq!(keys(&answer.json["session"]), SESSION, "{what}");
            }
        }
        Shape::Items(expected) => {
            assert_eq!(answer.keys(), ["items"], "{what}");
            let items = answer.json["items"].as_array().unwrap();
            assert!(!items.is_empty(), "{what}");
            items.iter().for_each(|item| assert_eq!(keys(item), expected, "{what}"));
        }
        Shape::Users => {
            assert_eq!(answer.keys(), ["items", "next_cursor"], "{what}");
            let items = answer.json["items"].as_array().unwrap();
            assert!(!items.is_empty(), "{what}");
            items.iter().for_each(|item| assert_eq!(keys(item), user_keys(caller, false), "{what}"));
        }
        Shape::User => assert_eq!(answer.keys(), user_keys(caller, false), "{what}"),
        Shape::NewSession => {
            assert_eq!(answer.keys(), ["ust", "session", "user"], "{what}");
            assert_eq!(keys(&answer.json["session"]), SESSION, "{what}");
            // Whoever signs in sees itself: at POST /sessions that is the peer, a regular user.
            let viewer = if row.action == "session.sign_in" { Owner } else { caller };
            assert_eq!(keys(&answer.json["user"]), user_keys(viewer, false), "{what}");
        }
        Shape::Lines => {
            let lines: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if row.action == "user.import" {
                let [row, end] = lines.as_slice() else { panic!("{what}") };
                assert_eq!(
                    (keys(row).as_slice(), keys(end).as_slice()),
                    (["line", "outcome", "user_id"].map(str::to_owned).as_slice(), ["summary".to_owned()].as_slice()),
                    "{what}"
                );
            } else {
                assert!(lines.len() > 1 && lines.iter().all(|line| keys(line) == user_keys(caller, false)), "{what}");
            }
        }
        Shape::Data => {
            assert_eq!(
                answer.keys(),
                ["user", "groups", "sessions", "api_keys", "linked_accounts", "attributes", "audit_events"],
                "{what}"
            );
            assert_eq!(keys(&answer.json["user"]), user_keys(caller, false), "{what}");
            assert_eq!(keys(&answer.json["sessions"][0]), SESSION, "{what}");
            let sees_all = answer.json["audit_events"][0].get("hash").is_some();
            assert_eq!(sees_all, matches!(caller, SuperUser | ReadKey | ManageKey), "{what}");
        }
        Shape::Empty => assert!(answer.text.is_empty(), "{what}"),
    }
}

both! {
    fn every_route_as_every_caller(engine) {
        let scene = Scene::new(engine);
        let document = scene.town.anon().get("/openapi.json").expect(200).json;
        let mut documented = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys().filter(|_| !PROBES.contains(&path.as_str())) {
                documented.insert((method.clone(), path.clone()));
            }
        }
        let rows: BTreeSet<_> = TABLE.iter().map(|r| (r.method.to_owned(), r.path.to_owned())).collect();
        assert_eq!(documented, rows, "the routes and the table of this test differ");
        for row in TABLE {
            for caller in CALLERS {
                scene.check(row, caller);
            }
        }
        scene.town.usher(&["audit", "verify"]).expect(0);
        // Every change there is has left rows that are bound as they are.
        assert_eq!(scene.town.site.altered(), Vec::<&str>::new());
    }

    fn every_attribute_has_a_row(engine) {
        let town = Town::new(engine);
        let user = town.user("ann");
        let names = |client: &Client| {
            let views = client.get("/api/v1/views").expect(200).json;
            let attributes = views["attributes"].as_array().unwrap().clone();
            let named = |kind: &str| -> Vec<String> {
                attributes.iter().filter(|a| a[kind] == true).map(|a| a["name"].as_str().unwrap().to_owned()).collect()
            };
            (named("readable"), named("editable"))
        };
        let (owner_sees, owner_edits) = names(&user);
        assert_eq!(owner_sees.iter().filter(|n| *n != "totp_key").collect::<Vec<_>>(), OWNER);
        assert_eq!(owner_edits, ["email", "display_name", "first_name", "middle_name", "last_name", "totp_label", "lang_id"]);
        let (root_sees, root_edits) = names(&town.root());
        assert_eq!(root_sees, SUPER_USER);
        assert_eq!(root_edits, [
            "username", "login_name", "external_id", "email", "display_name", "first_name", "middle_name", "last_name", "totp_label",
            "user_role", "lang_id", "is_active", "password_must_change", "password_expiry", "password_never_expires", "valid_from",
            "valid_to", "never_expire", "profile_id", "supervisor_id", "server_id", "account_type", "flags", "station", "remark",
        ]);
    }

    /// One call does not change what another is answered.
    fn any_sequence_of_calls_is_answered_as_on_a_fresh_server(engine) {
        let scene = Scene::new(engine);
        let mut state: u64 = 0x5eed;
        for _ in 0..60 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = usize::try_from(state >> 33).unwrap();
            scene.check(&TABLE[number % TABLE.len()], CALLERS[(number / TABLE.len()) % CALLERS.len()]);
        }
    }

    /// The same 403, whether the id is one's own, another's, unknown or none at all (R18, R28).
    fn looking_others_up_tells_a_regular_user_nothing(engine) {
        let town = Town::new(engine);
        let (ann, bob) = (town.user("ann"), town.create("bob"));
        let unknown = "018f0000-0000-7000-8000-000000000000";
        let body = |id: &str| {
            let mut answer = ann.get(&format!("/api/v1/users/{id}")).refused(403, "forbidden").json;
            answer["cid"] = Value::Null;
            answer
        };
        let own = body(ann.id());
        for id in [bob.as_str(), unknown, "nonsense", &town.root_id] {
            assert_eq!(body(id), own);
        }
        town.root().get(&format!("/api/v1/users/{unknown}")).refused(404, "not_found");
        town.root().get("/api/v1/users/nonsense").refused(404, "not_found");
    }
}
