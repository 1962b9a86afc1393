//! The ECM's dialect, below `/ecm/security`: the functions of its `ecm.security`, each a path of its own.
//!
//! What is shown of a user is translated from the native view of the same caller ([`fields`]): a field whose attribute the view has not is
//! absent, so the dialect shows nothing that the native API hides. What is sent is translated into a native patch ([`sent`]) and judged
//! as one. `docs/dialects/ecm.md` is its description.

mod accounts;
mod fields;
mod groups;
mod guid;
mod sent;
mod users;

use super::super::reply::{Answer, Body, Reply};
use super::super::route::{Route, route};
use crate::domain::audit::Action as A;
use crate::error::{Code, Error, Result};
use actix_web::http::Method;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Value, json};

/// Its routes. Two methods of one path may read its last segment differently: a look-up by name, a change by guid.
pub(super) fn table() -> Vec<Route> {
    let (get, post, put) = (|| Method::GET, || Method::POST, || Method::PUT);
    let (patch, delete) = (|| Method::PATCH, || Method::DELETE);
    #[rustfmt::skip]
    let table = vec![
        route(get(),    "/ecm/security/users",                             Some(A::UserList),      "users()",                       users::list),
        route(post(),   "/ecm/security/users",                             Some(A::UserCreate),    "create_user()",                 users::create),
        route(get(),    "/ecm/security/user/{user_id}",                    Some(A::UserRead),      "user(), by username",           users::by_name),
        route(patch(),  "/ecm/security/user/{user_id}",                    Some(A::UserUpdate),    "update_user(), by guid",        users::update),
        route(put(),    "/ecm/security/user/{user_id}",                    Some(A::UserUpdate),    "update_user(), by guid",        users::update),
        route(delete(), "/ecm/security/user/{user_id}",                    Some(A::UserDelete),    "delete_user(), by guid",        users::delete),
        route(get(),    "/ecm/security/user_groups/{user_id}",             Some(A::UserRead),      "user_groups()",                 groups::of_user),
        route(delete(), "/ecm/security/user_groups/{user_id}",             Some(A::MemberRemove),  "remove_user_from_all_groups()", groups::remove_from_all),
        route(put(),    "/ecm/security/user_groups/{user_id}/{group_id}",  Some(A::MemberAdd),     "add_user_to_group()",           groups::add),
        route(delete(), "/ecm/security/user_groups/{user_id}/{group_id}",  Some(A::MemberRemove),  "remove_user_from_group()",      groups::remove),
        route(get(),    "/ecm/security/groups",                            Some(A::GroupList),     "groups()",                      groups::list),
        route(post(),   "/ecm/security/groups",                            Some(A::GroupCreate),   "create_group()",                groups::create),
        route(get(),    "/ecm/security/group/{group_id}",                  Some(A::GroupRead),     "group(), by name",              groups::by_name),
        route(patch(),  "/ecm/security/group/{group_id}",                  Some(A::GroupUpdate),   "update_group(), by guid",       groups::update),
        route(put(),    "/ecm/security/group/{group_id}",                  Some(A::GroupUpdate),   "update_group(), by guid",       groups::update),
        route(delete(), "/ecm/security/group/{group_id}",                  Some(A::GroupDelete),   "delete_group(), by guid",       groups::delete),
        route(post(),   "/ecm/security/group/{group_id}/empty",            Some(A::GroupEmpty),    "empty_group(), by guid",        groups::empty),
        route(get(),    "/ecm/security/group_members/{group_id}",          Some(A::MemberList),    "group_members(), by name",      groups::members),
        route(get(),    "/ecm/security/roles",                             Some(A::CurrentUserRead), "roles(), one's own",          accounts::own_roles),
        route(get(),    "/ecm/security/roles/{user_id}",                   Some(A::UserRead),      "roles()",                       accounts::roles),
        route(post(),   "/ecm/security/check_user_account",                Some(A::AccountCheck),  "check_user_account()",          accounts::check),
        route(post(),   "/ecm/security/check_password_complexity",         Some(A::PasswordJudge), "check_password_complexity()",   accounts::judge),
    ];
    table
}

/// Its refusals: one of five kinds and a sentence, with our own code and the members at fault beside them. Of a failure on this side only
/// the code is told.
pub(super) fn refusal(error: &Error, cid: &str) -> Reply {
    let code = error.code();
    let status = code.status();
    let kind = match status {
        401 | 403 => "access_denied",
        404 => "not_found",
        409 | 412 => "wrong_state",
        400 | 422 => "missing_argument",
        _ => "general",
    };
    let message = error.sentence().filter(|_| status < 500).unwrap_or(code.title());
    let fault =
        |f: &crate::error::Fault| json!({"member": f.member, "code": f.code, "detail": format!("The value {}.", f.detail)});
    let body = json!({
        "error": kind,
        "message": message,
        "code": code.as_str(),
        "cid": cid,
        "errors": error.faults().iter().map(fault).collect::<Vec<_>>(),
    });
    let headers = error.retry_after_seconds().map(|seconds| ("retry-after", seconds.to_string())).into_iter().collect();
    Reply { status, content_type: "application/json", body: body.to_string().into_bytes().into(), headers }
}

/// A body of this dialect.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
struct Said(Value);

impl Body for Said {}

/// A list, and where the next part of it begins (RFC 8288, `rel="next"`): a list too long for one answer comes in several.
struct Part {
    items: Vec<Value>,
    next: Option<String>,
}

impl Answer for Part {
    fn into_reply(self) -> Result<Reply> {
        let body = serde_json::to_vec(&self.items).map_err(|e| Error::new(Code::Internal).cause(e.to_string()))?;
        let link = self.next.map(|target| ("link", format!("<{target}>; rel=\"next\"")));
        Ok(Reply { status: 200, content_type: "application/json", body: body.into(), headers: link.into_iter().collect() })
    }

    fn describe(_: &mut SchemaGenerator) -> (u16, Option<Value>) {
        (200, Some(json!({"type": "array", "items": {"type": "object"}})))
    }
}

/// The most items of a list in one answer.
const LONGEST_PART: i64 = 10_000;

/// Which part of a list is asked for.
#[derive(Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PartQuery {
    /// Items in one answer, 1 to 10,000, which is the default.
    limit: Option<i64>,
    /// Where the part before this one ended.
    cursor: Option<String>,
}

fn part_limit(limit: Option<i64>) -> Result<i64> {
    let limit = limit.unwrap_or(LONGEST_PART);
    let bad = || Error::new(Code::BadQuery).at("limit", format!("is not between 1 and {LONGEST_PART}"));
    (1..=LONGEST_PART).contains(&limit).then_some(limit).ok_or_else(bad)
}

/// Reads pages of a list until `limit` items are there. `page` reads one of so many items after a cursor.
async fn collect<T, Page>(
    limit: i64,
    mut cursor: Option<String>,
    page: impl Fn(i64, Option<String>) -> Page,
) -> Result<(Vec<T>, Option<String>)>
where
    Page: Future<Output = Result<(Vec<T>, Option<String>)>>,
{
    let mut items = Vec::new();
    loop {
        let wanted = limit.saturating_sub(i64::try_from(items.len()).unwrap_or(i64::MAX));
        let (more, next) = page(wanted.min(crate::service::LARGEST_PAGE), cursor.take()).await?;
        items.extend(more);
        cursor = next;
        if cursor.is_none() || i64::try_from(items.len()).unwrap_or(i64::MAX) >= limit {
            return Ok((items, cursor));
        }
    }
}
