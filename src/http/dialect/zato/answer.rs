//! What the dialect answers: members beside a status, and users as the caller sees them.
//!
//! A user is drawn from the native view of the same caller, so nothing is shown here that the native API hides; what a view has not is no
//! key either. Values that clients index without asking stand in for those that are absent.

use super::sent::naive;
use crate::domain::attribute::Viewer;
use crate::domain::ids::UserId;
use crate::domain::time::Utc;
use crate::domain::user::Account;
use crate::domain::zato;
use crate::error::{Code, Error, Result};
use serde_json::{Map, Value, json};

/// The members of an answer, and a warning where there is one.
#[derive(Default)]
pub(super) struct Told {
    pub(super) members: Map<String, Value>,
    pub(super) warning: Option<&'static str>,
}

impl Told {
    /// It was done, and there is no more to say.
    pub(super) fn done() -> Self {
        Self::default()
    }

    /// With a member.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// With these members.
    pub(super) fn of(members: Map<String, Value>) -> Self {
        Self { members, warning: None }
    }

    /// The body.
    pub(super) fn into_body(self, cid: &str) -> Vec<u8> {
        let Self { mut members, warning } = self;
        let (status, sub_status) = match warning {
            None => ("ok", json!([])),
            Some(code) => ("warning", json!([code])),
        };
        members.insert("status".to_owned(), status.into());
        members.insert("sub_status".to_owned(), sub_status);
        members.insert("cid".to_owned(), cid.into());
        Value::Object(members).to_string().into_bytes()
    }
}

/// What everyone sees of themselves.
const OWN: &[&str] =
    &["username", "email", "display_name", "first_name", "middle_name", "last_name", "is_totp_enabled", "totp_label"];

/// What super-users see besides.
const OF_SUPER_USERS: &[&str] = &[
    "user_id",
    "is_active",
    "is_internal",
    "is_super_user",
    "is_locked",
    "is_approval_needed",
    "approval_status",
    "approval_status_mod_by",
    "approval_status_mod_time",
    "locked_by",
    "locked_time",
    "creation_ctx",
    "password_expiry",
    "password_is_set",
    "password_must_change",
    "password_last_set",
    "sign_up_status",
    "sign_up_time",
];

/// What a user who was just created is answered with, but for the e-mail address.
const CREATED: &[&str] = &[
    "username",
    "display_name",
    "first_name",
    "middle_name",
    "last_name",
    "user_id",
    "is_active",
    "is_internal",
    "is_super_user",
    "is_locked",
    "is_approval_needed",
    "approval_status",
    "approval_status_mod_by",
    "approval_status_mod_time",
    "password_is_set",
    "password_last_set",
    "password_must_change",
    "password_expiry",
    "sign_up_status",
    "sign_up_time",
    "is_totp_enabled",
    "totp_label",
];

/// What an item of a search has besides, always the same: a user has no such thing here.
const OF_ITEMS: &[&str] =
    &["is_rate_limit_active", "rate_limit_def", "rate_limit_type", "rate_limit_check_parent_def", "totp_key", "status"];

/// When what never expires does so, for clients that read a time there.
const NEVER: &str = "9999-12-31T00:00:00";

fn view_of(account: &Account, viewer: Viewer) -> Result<Value> {
    serde_json::to_value(account.view(viewer)).map_err(|e| Error::new(Code::Internal).cause(e.to_string()))
}

/// A user's attribute as clients of Zato know it.
fn spelt(view: &Value, key: &str) -> Value {
    let seen = view.get(key).cloned().unwrap_or_default();
    let time = || seen.as_str().and_then(Utc::parse).map(naive);
    let user = || seen.as_str().and_then(|id| id.parse::<UserId>().ok()).map(zato::spelt);
    match key {
        "user_id" | "locked_by" => user().into(),
        // Who was approved by nobody was so by the rules.
        "approval_status_mod_by" => user().unwrap_or_else(|| "auto".to_owned()).into(),
        "approval_status_mod_time" | "locked_time" | "password_last_set" | "sign_up_time" => time().into(),
        "password_expiry" => time().unwrap_or_else(|| NEVER.to_owned()).into(),
        "totp_label" => seen.as_str().unwrap_or_default().into(),
        "creation_ctx" => seen.to_string().into(),
        "display_name" => display_name(view, seen),
        // Whoever is shown is past it: what was decided is in approval_status.
        "is_approval_needed" => false.into(),
        _ => seen,
    }
}

/// A name to show that nobody gave is the username natively, and empty here.
fn display_name(view: &Value, seen: Value) -> Value {
    let has_names = ["first_name", "middle_name", "last_name"].iter().any(|name| view.get(*name).is_some_and(Value::is_string));
    if !has_names && view.get("username") == Some(&seen) { "".into() } else { seen }
}

/// A user as the caller sees it: exactly the keys that the caller's kind of view has.
pub(super) fn user(account: &Account, viewer: Viewer) -> Result<Map<String, Value>> {
    let view = view_of(account, viewer)?;
    let more = if viewer == Viewer::SuperUser { OF_SUPER_USERS } else { &[] };
    Ok(OWN.iter().chain(more).map(|key| ((*key).to_owned(), spelt(&view, key))).collect())
}

/// A user who was just created.
pub(super) fn created(account: &Account, has_email: bool) -> Result<Map<String, Value>> {
    let view = view_of(account, Viewer::SuperUser)?;
    let email = if has_email { &["email"][..] } else { &[] };
    let mut told: Map<String, Value> = email.iter().chain(CREATED).map(|key| ((*key).to_owned(), spelt(&view, key))).collect();
    let is_approved = view.get("approval_status").is_some_and(|status| status == "approved");
    told.insert("is_approval_needed".to_owned(), (!is_approved).into());
    Ok(told)
}

/// A user that a search found.
pub(super) fn item(account: &Account) -> Result<Value> {
    let mut told = user(account, Viewer::SuperUser)?;
    told.extend(OF_ITEMS.iter().map(|key| ((*key).to_owned(), Value::Null)));
    told.insert("is_approval_needed".to_owned(), Value::Null);
    told.insert("is_current_super_user".to_owned(), false.into());
    Ok(Value::Object(told))
}
