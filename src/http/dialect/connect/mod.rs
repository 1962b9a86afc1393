//! Posit Connect's dialect, below `/__api__`, itself below any prefix: users and groups as the `posit-sdk` client knows them.
//!
//! Bodies are read leniently ([`input`]), users always have the same eleven keys ([`answer`]), and every refusal is a number and a sentence
//! ([`errors`]). Who sees whom is decided by the roster of the services. `docs/dialects/connect.md` has the tables.

mod answer;
mod errors;
mod groups;
mod input;
mod service;
mod users;

pub(super) use errors::refusal;

use super::super::route::{Route, route};
use crate::domain::audit::Action;
use actix_web::http::Method;

/// Its routes.
pub(super) fn table() -> Vec<Route> {
    use Action as A;
    let get = || Method::GET;
    let post = || Method::POST;
    let put = || Method::PUT;
    let delete = || Method::DELETE;
    #[rustfmt::skip]
    let table: Vec<Route> = vec![
        route(get(),    "/__api__/server_settings",                         Some(A::SettingsRead),    "The version of Connect that the service gives itself.", service::settings),
        route(get(),    "/__api__/v1/content",                              Some(A::ContentList),     "An empty list: there is no content here.",             service::content),
        route(get(),    "/__api__/v1/user",                                 Some(A::CurrentUserRead), "Oneself.",                                             users::current),
        route(get(),    "/__api__/v1/users",                                Some(A::UserList),        "Finds users, page by number.",                         users::find),
        route(post(),   "/__api__/v1/users",                                Some(A::UserCreate),      "Creates a user.",                                      users::create),
        route(get(),    "/__api__/v1/users/{user_id}",                      Some(A::UserRead),        "A user.",                                              users::by_id),
        route(put(),    "/__api__/v1/users/{user_id}",                      Some(A::UserUpdate),      "Changes a user.",                                      users::update),
        route(post(),   "/__api__/v1/users/{user_id}/lock",                 Some(A::UserLock),        "Locks or unlocks an account.",                         users::lock),
        route(get(),    "/__api__/v1/groups",                               Some(A::GroupList),       "Finds groups, page by number.",                        groups::find),
        route(post(),   "/__api__/v1/groups",                               Some(A::GroupCreate),     "Makes a group.",                                       groups::create),
        route(get(),    "/__api__/v1/groups/{group_id}",                    Some(A::GroupRead),       "A group.",                                             groups::by_id),
        route(delete(), "/__api__/v1/groups/{group_id}",                    Some(A::GroupDelete),     "Removes a group.",                                     groups::delete),
        route(get(),    "/__api__/v1/groups/{group_id}/members",            Some(A::MemberList),      "A group's members, page by number.",                   groups::members),
        route(post(),   "/__api__/v1/groups/{group_id}/members",            Some(A::MemberAdd),       "Adds a user to a group.",                              groups::add_member),
        route(delete(), "/__api__/v1/groups/{group_id}/members/{user_id}",  Some(A::MemberRemove),    "Takes a user out of a group.",                         groups::remove_member),
    ];
    table
}
