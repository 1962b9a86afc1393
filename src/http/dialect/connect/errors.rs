//! Its refusals: a number that clients know, a sentence, and a payload that is always null.
//!
//! The numbers are Connect's own. What is refused and why was decided before; here it is only spelt, and where the number of a refusal
//! depends on what was asked for, the call's action tells it.

use super::super::super::reply::Reply;
use crate::domain::audit::Action;
use crate::error::{Code, Error};
use serde_json::json;

/// What a client of Connect is answered for an error.
pub(in super::super) fn refusal(error: &Error, action: Action) -> Reply {
    let (status, number) = number(error, action);
    let body = json!({"code": number, "error": sentence(error), "payload": null}).to_string().into_bytes();
    let mut headers = Vec::new();
    headers.extend(error.retry_after_seconds().map(|seconds| ("retry-after", seconds.to_string())));
    if status == 401 {
        // RFC 9110, section 11.6.1. Always the same: it tells nothing of the cause.
        headers.push(("www-authenticate", "Key realm=\"usher\"".to_owned()));
    }
    Reply { status, content_type: "application/json", body, headers }
}

/// Members and parameters by the names that they have in the dialect.
const NAMES: &[(&str, &str)] =
    &[("external_id", "unique_id"), ("user_id", "user_guid"), ("password_must_change", "user_must_set_password")];

fn sentence(error: &Error) -> String {
    let title = error.code().title();
    if error.code().status() >= 500 {
        return title.to_owned();
    }
    let mut text = error.sentence().unwrap_or(title).to_owned();
    for fault in error.faults() {
        let name = NAMES.iter().find(|(native, _)| *native == fault.member).map_or(fault.member.as_str(), |(_, name)| name);
        text.push_str(&format!(" {name}: the value {}.", fault.detail));
    }
    text
}

/// The status and the number of an error.
fn number(error: &Error, action: Action) -> (u16, u16) {
    let status = error.code().status();
    let names = |member: &str| error.faults().iter().any(|fault| fault.member == member);
    let is_of_group = matches!(action, Action::GroupCreate | Action::GroupUpdate);
    match error.code() {
        Code::NotFound => match error.reason() {
            "no_route" => (404, 2),
            "id_malformed" => (400, 3),
            "group_unknown" => (404, 153),
            "member_unknown" => (404, 17),
            _ => (404, 4),
        },
        Code::MethodNotAllowed => (405, 2),
        Code::NotJson if error.reason() == "body_missing" => (400, 87),
        Code::NotJson => (400, 121),
        Code::NotJsonType | Code::TooLarge | Code::RequestTimeout => (status, 87),
        Code::BadType if error.reason() == "member_missing" => (400, 12),
        Code::BadQuery if names("page_number") || names("page_size") => (400, 13),
        Code::BadQuery | Code::Invalid | Code::BadType if names("user_role") => (400, 112),
        Code::BadQuery if names("account_status") => (400, 115),
        Code::Invalid if error.reason() == "user_unknown" => (404, 9),
        Code::Invalid if error.reason() == "id_malformed" => (400, 3),
        Code::Invalid if error.reason() == "email_blank" => (400, 128),
        Code::Invalid if error.reason() == "unique_id_blank" => (400, 129),
        Code::Invalid if names("username") => (400, 7),
        Code::Invalid if names("name") => (400, 14),
        Code::PasswordUnfit => (400, 6),
        Code::Invalid | Code::BadType | Code::BadQuery | Code::BadRequest => (400, 25),
        Code::ValueTaken if names("external_id") => (400, if is_of_group { 131 } else { 76 }),
        Code::ValueTaken if names("name") => (409, 15),
        Code::ValueTaken => (409, 8),
        Code::AlreadyMember => (409, 16),
        Code::SelfLock => (403, 49),
        Code::LastSuperUser if matches!(action, Action::UserLock) => (403, 49),
        Code::LastSuperUser => (400, 61),
        Code::SessionInvalid if error.reason() == "token_missing" => (401, 24),
        Code::MemberForbidden if names("user_role") => (403, 23),
        Code::Forbidden if error.reason() == "own_role" => (403, 23),
        Code::MemberForbidden => (403, 21),
        Code::Forbidden => (403, forbidden(action)),
        _ if status >= 500 => (status, 1),
        _ if status == 401 => (401, 30),
        _ if status == 403 => (403, 22),
        _ => (status, 25),
    }
}

/// The number of what may not be done.
fn forbidden(action: Action) -> u16 {
    match action {
        Action::UserLock | Action::UserUnlock => 49,
        Action::UserRead | Action::GroupRead | Action::MemberList => 19,
        Action::GroupDelete | Action::MemberRemove => 20,
        Action::UserUpdate | Action::MemberAdd => 21,
        _ => 22,
    }
}
