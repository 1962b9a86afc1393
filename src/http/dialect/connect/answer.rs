//! What the dialect answers: users, groups, and pages of exactly three keys.
//!
//! A user is drawn from the view that the caller has of it, so nothing is shown here that the native API hides. All eleven keys are
//! always there, for clients index them: of what the view hides a text is empty and everything else null.

use super::super::super::reply::{Answer, Reply};
use crate::domain::attribute::Viewer;
use crate::domain::ids::GroupId;
use crate::domain::text::Name;
use crate::domain::time::Utc;
use crate::domain::user::Account;
use crate::error::{Code, Error, Result};
use crate::service::{Listed, Numbered};
use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

/// A JSON body, with 200.
pub(super) struct Told(pub(super) Value);

impl Answer for Told {
    fn into_reply(self) -> Result<Reply> {
        let body = self.0.to_string().into_bytes();
        Ok(Reply { status: 200, content_type: "application/json", body, headers: Vec::new() })
    }

    fn describe(_: &mut SchemaGenerator) -> (u16, Option<Value>) {
        (200, None)
    }
}

/// What a key is called natively, and what stands in place of a value that is hidden or absent.
enum Kind {
    /// A text; empty otherwise.
    Text,
    /// A time in whole seconds; an empty text otherwise.
    Time,
    /// A time in whole seconds; null otherwise.
    OptionalTime,
    /// Whether something holds; null otherwise.
    Flag,
}

/// The keys of a user, in their order.
const USER: &[(&str, &str, Kind)] = &[
    ("email", "email", Kind::Text),
    ("username", "username", Kind::Text),
    ("first_name", "first_name", Kind::Text),
    ("last_name", "last_name", Kind::Text),
    ("user_role", "user_role", Kind::Text),
    ("created_time", "created_time", Kind::Time),
    ("updated_time", "updated_time", Kind::Time),
    ("active_time", "active_time", Kind::OptionalTime),
    ("confirmed", "confirmed", Kind::Flag),
    ("locked", "is_locked", Kind::Flag),
    ("guid", "user_id", Kind::Text),
];

/// What an owner's view hides and the call itself tells: who was let in is confirmed and not locked.
const OF_THE_LET_IN: &[(&str, bool)] = &[("confirmed", true), ("locked", false)];

/// A user as the caller sees it.
pub(super) fn user(account: &Account, viewer: Viewer) -> Result<Value> {
    let broken = |e: serde_json::Error| Error::new(Code::Internal).cause(e.to_string());
    let view = serde_json::to_value(account.view(viewer)).map_err(broken)?;
    let mut told = Map::new();
    for (key, attribute, kind) in USER {
        let seen = view.get(attribute).filter(|value| !value.is_null()).cloned();
        let time = || seen.as_ref().and_then(Value::as_str).and_then(Utc::parse).map(|t| json!(t.whole_second()));
        let value = match kind {
            Kind::Text => seen.unwrap_or_else(|| "".into()),
            Kind::Time => time().unwrap_or_else(|| "".into()),
            Kind::OptionalTime => time().unwrap_or(Value::Null),
            Kind::Flag => seen.unwrap_or(Value::Null),
        };
        told.insert((*key).to_owned(), value);
    }
    if viewer == Viewer::Owner {
        told.extend(OF_THE_LET_IN.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())));
    }
    Ok(Value::Object(told))
}

/// A group. It has no owner here.
pub(super) fn group(group_id: GroupId, name: &Name) -> Value {
    json!({"guid": group_id, "name": name, "owner_guid": null})
}

/// A page: exactly these keys, for clients take no others.
pub(super) fn page<T>(listed: &Listed<T>, page: Numbered, tell: impl Fn(&T) -> Result<Value>) -> Result<Told> {
    let results = listed.items.iter().map(tell).collect::<Result<Vec<Value>>>()?;
    Ok(Told(json!({"results": results, "current_page": page.number, "total": listed.total})))
}
