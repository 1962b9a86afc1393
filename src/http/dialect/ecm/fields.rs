//! What the ECM's fields are drawn from: one row for each, translated from the native view of the same caller.
//!
//! A row names the field, the native attribute and how its value is spelt. A field whose attribute the view has not is left out; clients
//! of the ECM have a default for every absent field. The order of the rows is that of the answer: first the fields of the published
//! pages, then facts that newer versions of the ECM, or usher, know beside them.

use super::guid;
use crate::domain::group::GroupView;
use crate::domain::user::GroupRef;
use crate::error::{Code, Error, Result};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// A field of a user.
struct Field {
    name: &'static str,
    from: &'static str,
    spell: fn(Value) -> Value,
}

const fn field(name: &'static str, from: &'static str, spell: fn(Value) -> Value) -> Field {
    Field { name, from, spell }
}

/// `ECMUserAttributes`, as `user()` answers.
const DETAIL: &[Field] = &[
    field("id", "number", same),
    field("username", "username", same),
    field("login_name", "login_name", same),
    field("display_name", "display_name", same),
    field("email", "email", text),
    field("guid", "user_id", guid_of),
    field("profile_id", "profile_id", or_minus_one),
    field("locked", "is_locked", same),
    field("remark", "remark", text),
    field("account_type", "account_type", same),
    field("flags", "flags", same),
    field("lang_id", "lang_id", or_zero),
    field("login_count", "login_count", same),
    field("login_station", "login_station", text),
    field("login_time", "login_time", same),
    field("last_modified", "updated_time", same),
    field("mfa_flag", "is_totp_enabled", bit),
    field("never_expire", "never_expire", same),
    field("change_pwd", "password_must_change", same),
    field("pwd_changed", "password_last_set", same),
    field("server_id", "server_id", or_zero),
    field("station", "station", text),
    field("supervisor_id", "supervisor_id", or_minus_one),
    field("valid_from", "valid_from", naive),
    field("valid_to", "valid_to", naive),
    field("locked_cause", "lock_cause", cause),
    field("password_never_expires", "password_never_expires", same),
    field("failed_login_count", "failed_login_count", same),
];

/// `ECMUser`, as lists have it.
const LISTED: &[Field] = &[
    field("id", "number", same),
    field("username", "username", same),
    field("login_name", "login_name", same),
    field("display_name", "display_name", same),
    field("email", "email", text),
    field("guid", "user_id", guid_of),
    field("profile_id", "profile_id", or_minus_one),
    field("locked", "is_locked", same),
    field("remark", "remark", text),
    field("valid_from", "valid_from", naive),
    field("valid_to", "valid_to", naive),
    field("groups", "groups", names),
    field("locked_cause", "lock_cause", cause),
];

/// Fields of a list that have their value only where it was asked for, and their value otherwise.
fn without_extension(name: &str) -> Option<Value> {
    match name {
        "remark" => Some("".into()),
        "valid_from" | "valid_to" => Some(Value::Null),
        "groups" => Some(json!([])),
        _ => None,
    }
}

fn members_of(view: impl Serialize) -> Result<Map<String, Value>> {
    match serde_json::to_value(view) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(Error::new(Code::Internal).cause("a view is no object")),
        Err(e) => Err(Error::new(Code::Internal).cause(e.to_string())),
    }
}

fn translate(fields: &[Field], mut view: Map<String, Value>) -> Map<String, Value> {
    let drawn = |f: &Field| view.remove(f.from).map(|value| (f.name.to_owned(), (f.spell)(value)));
    fields.iter().filter_map(drawn).collect()
}

/// A user in detail, from the native view. The supervisor is told by its number, which is `supervisor`.
pub(super) fn detail(view: impl Serialize, supervisor: Option<i64>) -> Result<Value> {
    let mut view = members_of(view)?;
    if let Some(id) = view.get_mut("supervisor_id") {
        *id = json!(supervisor);
    }
    Ok(translate(DETAIL, view).into())
}

/// A user in a list, from the native view.
pub(super) fn listed(view: impl Serialize, is_extended: bool) -> Result<Value> {
    let mut fields = translate(LISTED, members_of(view)?);
    if !is_extended {
        for (name, value) in &mut fields {
            if let Some(nothing) = without_extension(name) {
                *value = nothing;
            }
        }
    }
    Ok(fields.into())
}

/// A group, from the native view.
pub(super) fn group(view: &GroupView) -> Value {
    json!({
        "id": view.number,
        "name": view.name,
        "guid": guid::spell(&view.group_id.to_string()),
        "profile_user_id": view.profile_id.unwrap_or(-1),
        "description": view.description.as_ref().map_or("", |d| d.as_str()),
    })
}

/// A group, as its members see it.
pub(super) fn own_group(group: &GroupRef) -> Value {
    json!({"name": group.name, "guid": guid::spell(&group.group_id.to_string())})
}

fn same(value: Value) -> Value {
    value
}

fn text(value: Value) -> Value {
    if value.is_null() { "".into() } else { value }
}

fn or_minus_one(value: Value) -> Value {
    if value.is_null() { json!(-1) } else { value }
}

fn or_zero(value: Value) -> Value {
    if value.is_null() { json!(0) } else { value }
}

fn bit(value: Value) -> Value {
    json!(i32::from(value == Value::Bool(true)))
}

fn guid_of(value: Value) -> Value {
    value.as_str().map(guid::spell).into()
}

/// A time without its zone, which is UTC.
fn naive(value: Value) -> Value {
    value.as_str().map(|time| time.trim_end_matches('Z').to_owned()).into()
}

fn cause(value: Value) -> Value {
    json!(match value.as_str() {
        Some("administrator") => 1,
        Some("failed_logins") => 2,
        _ => 0,
    })
}

fn names(value: Value) -> Value {
    let groups = value.as_array().into_iter().flatten();
    groups.filter_map(|group| group.get("name").cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::user::ATTRIBUTES;

    /// Every field is drawn from an attribute that there is, and the lists have no field twice.
    #[test]
    fn fields_are_drawn_from_attributes() {
        for fields in [DETAIL, LISTED] {
            for (at, field) in fields.iter().enumerate() {
                assert!(ATTRIBUTES.iter().any(|a| a.name == field.from), "{}", field.from);
                assert!(fields.iter().skip(at + 1).all(|other| other.name != field.name), "{}", field.name);
            }
        }
    }
}
