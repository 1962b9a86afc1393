//! The route table: every endpoint in one row. The gate is the type of the handler's first argument; see [`super::route`].
//!
//! Paths that are more exact stand before those with variable segments that would match them too.

use super::custom_attributes::{self as attributes, OfSession, OfUser, Own};
use super::route::{Route, route};
use super::{
    api_keys, applications, audit_events, bulk, dialect, docs, find, groups, health, hooks, networks, pages, password_resets,
    second_factor, sessions, sign_ups, tokens, users, views,
};
use crate::domain::audit::Action;
use crate::settings;
use actix_web::http::Method;

/// The table.
pub fn table() -> Vec<Route> {
    use Action as A;
    let get = || Method::GET;
    let post = || Method::POST;
    let put = || Method::PUT;
    let delete = || Method::DELETE;
    let patch = || Method::PATCH;
    #[rustfmt::skip]
    let table: Vec<Route> = vec![
        route(get(),    "/healthz",                                      None,                           "Whether the process runs.",                               health::alive),
        route(get(),    "/readyz",                                       None,                           "Whether the service can answer calls.",                   health::ready),
        route(get(),    "/.well-known/jwks.json",                        None,                           "The public keys that signed tokens are verified with.",   tokens::published),
        route(get(),    "/.well-known/usher-audit-keys.json",            None,                           "The public keys that heads of the audit trail are verified with.", tokens::published_of_audit),
        route(get(),    "/openapi.json",                                 None,                           "This document.",                                          docs::openapi),
        route(get(),    "/docs",                                         None,                           "A browser for this document.",                            docs::index),
        route(get(),    "/docs/{file}",                                  None,                           "The browser's files.",                                    docs::file),
        route(get(),    "/account/confirm",                              None,                           "The page that confirms a sign-up.",                       pages::confirm),
        route(get(),    "/account/set-password",                         None,                           "The page that sets a password by a link.",                pages::set_password),
        route(get(),    "/account/forgot-password",                      None,                           "The page that asks for such a link.",                     pages::forgot_password),
        route(get(),    "/account/{file}",                               None,                           "The pages' files.",                                       pages::file),
        route(post(),   "/api/v1/sessions",                              Some(A::SignIn),                "Signs in.",                                               sessions::sign_in),
        route(delete(), "/api/v1/sessions",                              Some(A::SessionRevokeOfEveryone), "Ends everyone's sessions but that of this call.",       sessions::end_everyones),
        route(get(),    "/api/v1/sessions/current",                      Some(A::SessionRead),           "The session of this call.",                               sessions::current),
        route(delete(), "/api/v1/sessions/current",                      Some(A::SignOut),               "Signs out.",                                              sessions::sign_out),
        route(post(),   "/api/v1/sessions/current/renew",                Some(A::SessionRenew),          "Moves the idle expiry, never past the absolute one.",     sessions::renew),
        route(post(),   "/api/v1/sessions/current/confirm",              Some(A::SessionConfirm),        "Proves anew who one is; the session gets a new token.",   sessions::confirm),
        route(get(),    "/api/v1/sessions/current/attributes",           Some(A::SessionAttributeList),  "The custom attributes of the session of this call.",      attributes::list::<OfSession>),
        route(put(),    "/api/v1/sessions/current/attributes",           Some(A::SessionAttributesSet),  "Sets and removes several attributes of the session.",     attributes::set_several::<OfSession>),
        route(delete(), "/api/v1/sessions/current/attributes",           Some(A::SessionAttributesDelete), "Removes all attributes of the session.",                attributes::delete_all::<OfSession>),
        route(get(),    "/api/v1/sessions/current/attributes/{name}",    Some(A::SessionAttributeRead),  "One of the session's custom attributes.",                 attributes::get::<OfSession>),
        route(put(),    "/api/v1/sessions/current/attributes/{name}",    Some(A::SessionAttributeSet),   "Sets one of the session's attributes.",                   attributes::set::<OfSession>),
        route(delete(), "/api/v1/sessions/current/attributes/{name}",    Some(A::SessionAttributeDelete), "Removes one of the session's attributes.",               attributes::delete::<OfSession>),
        route(post(),   "/api/v1/sessions/current/tokens",               Some(A::TokenIssue),            "Issues a signed token for an application.",               tokens::issue),
        route(post(),   "/api/v1/sessions/introspect",                   Some(A::SessionIntrospect),     "Whether a token is good, and whose it is.",               sessions::introspect),
        route(post(),   "/api/v1/signups",                               Some(A::SignUp),                "Signs up; the answer tells nothing of who has an account.", sign_ups::create),
        route(post(),   "/api/v1/signups/confirm",                       Some(A::SignUpConfirm),         "Confirms a sign-up by the link that was mailed.",         sign_ups::confirm),
        route(post(),   "/api/v1/password-resets",                       Some(A::ResetRequest),          "Asks for a link that resets a password; always 202.",     password_resets::request),
        route(post(),   "/api/v1/password-resets/open",                  Some(A::ResetOpen),             "Exchanges a link's token for a key that sets a password.", password_resets::open),
        route(post(),   "/api/v1/password-resets/finish",                Some(A::ResetFinish),           "Sets a password with such a key; all sessions end.",      password_resets::finish),
        route(get(),    "/api/v1/users/me",                              Some(A::CurrentUserRead),       "get_current_user: oneself.",                              users::current),
        route(patch(),  "/api/v1/users/me",                              Some(A::CurrentUserUpdate),     "Changes oneself.",                                        users::update_current),
        route(put(),    "/api/v1/users/me/password",                     Some(A::PasswordChange),        "Changes one's own password; all other sessions end.",     users::change_password),
        route(post(),   "/api/v1/users/me/totp",                         Some(A::TotpEnrol),             "Begins to enrol one-time codes.",                         second_factor::enrol),
        route(delete(), "/api/v1/users/me/totp",                         Some(A::TotpDisable),           "Switches one's own one-time codes off.",                  second_factor::disable),
        route(post(),   "/api/v1/users/me/totp/confirm",                 Some(A::TotpConfirm),           "Confirms the enrolment; all other sessions end.",         second_factor::confirm),
        route(post(),   "/api/v1/users/me/recovery-codes",               Some(A::RecoveryCodesRenew),    "Makes ten new recovery codes; those before end.",         second_factor::renew_recovery_codes),
        route(get(),    "/api/v1/users/me/sessions",                     Some(A::SessionList),           "One's own live sessions.",                                sessions::own),
        route(delete(), "/api/v1/users/me/sessions",                     Some(A::SessionRevokeAll),      "Ends all of one's own sessions.",                         sessions::end_own_all),
        route(delete(), "/api/v1/users/me/sessions/{session_id}",        Some(A::SessionRevoke),         "Ends one of one's own sessions.",                         sessions::end_own),
        route(get(),    "/api/v1/users/me/attributes",                   Some(A::UserAttributeList),     "One's own custom attributes.",                            attributes::list::<Own>),
        route(put(),    "/api/v1/users/me/attributes",                   Some(A::UserAttributesSet),     "Sets and removes several of one's own attributes.",       attributes::set_several::<Own>),
        route(delete(), "/api/v1/users/me/attributes",                   Some(A::UserAttributesDelete),  "Removes all of one's own attributes.",                    attributes::delete_all::<Own>),
        route(get(),    "/api/v1/users/me/attributes/{name}",            Some(A::UserAttributeRead),     "One of one's own custom attributes.",                     attributes::get::<Own>),
        route(put(),    "/api/v1/users/me/attributes/{name}",            Some(A::UserAttributeSet),      "Sets one of one's own attributes.",                       attributes::set::<Own>),
        route(delete(), "/api/v1/users/me/attributes/{name}",            Some(A::UserAttributeDelete),   "Removes one of one's own attributes.",                    attributes::delete::<Own>),
        route(get(),    "/api/v1/users/me/api-keys",                     Some(A::ApiKeyList),            "One's own API keys.",                                     api_keys::own),
        route(post(),   "/api/v1/users/me/api-keys",                     Some(A::ApiKeyCreate),          "Makes an API key of one's own.",                          api_keys::create_own),
        route(delete(), "/api/v1/users/me/api-keys/{key_id}",            Some(A::ApiKeyRevoke),          "Revokes one of one's own API keys.",                      api_keys::revoke_own),
        route(get(),    "/api/v1/users",                                 Some(A::UserList),              "Finds users.",                                            find::find),
        route(get(),    "/api/v1/users/count",                           Some(A::UserCount),             "Counts users.",                                           find::count),
        route(post(),   "/api/v1/users",                                 Some(A::UserCreate),            "Creates a user.",                                         users::create),
        route(post(),   "/api/v1/users/import",                          Some(A::UserImport),            "Makes and changes users, a line of JSON for each.",       bulk::import),
        route(get(),    "/api/v1/users/export",                          Some(A::UserExport),            "Every user, as a line of JSON.",                          bulk::export),
        route(get(),    "/api/v1/users/me/data",                         Some(A::CurrentUserData),       "Everything that is kept of oneself.",                     bulk::own_data),
        route(get(),    "/api/v1/users/{user_id}/data",                  Some(A::UserData),              "Everything that is kept of a user.",                      bulk::data),
        route(get(),    "/api/v1/users/{user_id}",                       Some(A::UserRead),              "get_user_by_id.",                                         users::by_id),
        route(patch(),  "/api/v1/users/{user_id}",                       Some(A::UserUpdate),            "Changes a user.",                                         users::update),
        route(delete(), "/api/v1/users/{user_id}",                       Some(A::UserDelete),            "Deletes a user with all that hangs on it.",               users::delete),
        route(post(),   "/api/v1/users/{user_id}/approve",               Some(A::UserApprove),           "Approves an account.",                                    users::approve),
        route(post(),   "/api/v1/users/{user_id}/reject",                Some(A::UserReject),            "Rejects an account and ends its sessions.",               users::reject),
        route(put(),    "/api/v1/users/{user_id}/password",              Some(A::PasswordSet),           "Sets a user's password and ends the user's sessions.",    users::set_password),
        route(delete(), "/api/v1/users/{user_id}/totp",                  Some(A::TotpReset),             "Takes a user's second factor away.",                      second_factor::reset),
        route(post(),   "/api/v1/users/{user_id}/lock",                  Some(A::UserLock),              "Locks an account and ends its sessions.",                 users::lock),
        route(post(),   "/api/v1/users/{user_id}/unlock",                Some(A::UserUnlock),            "Unlocks an account.",                                     users::unlock),
        route(get(),    "/api/v1/users/{user_id}/sessions",              Some(A::SessionList),           "A user's live sessions.",                                 sessions::of_user),
        route(delete(), "/api/v1/users/{user_id}/sessions",              Some(A::SessionRevokeAll),      "Ends all sessions of a user.",                            sessions::end_all),
        route(delete(), "/api/v1/users/{user_id}/sessions/{session_id}", Some(A::SessionRevoke),         "Ends one session of a user.",                             sessions::end_one),
        route(get(),    "/api/v1/users/{user_id}/attributes",            Some(A::UserAttributeList),     "A user's custom attributes.",                             attributes::list::<OfUser>),
        route(put(),    "/api/v1/users/{user_id}/attributes",            Some(A::UserAttributesSet),     "Sets and removes several of a user's attributes.",        attributes::set_several::<OfUser>),
        route(delete(), "/api/v1/users/{user_id}/attributes",            Some(A::UserAttributesDelete),  "Removes all of a user's attributes.",                     attributes::delete_all::<OfUser>),
        route(get(),    "/api/v1/users/{user_id}/attributes/{name}",     Some(A::UserAttributeRead),     "One of a user's custom attributes.",                      attributes::get::<OfUser>),
        route(put(),    "/api/v1/users/{user_id}/attributes/{name}",     Some(A::UserAttributeSet),      "Sets one of a user's attributes.",                        attributes::set::<OfUser>),
        route(delete(), "/api/v1/users/{user_id}/attributes/{name}",     Some(A::UserAttributeDelete),   "Removes one of a user's attributes.",                     attributes::delete::<OfUser>),
        route(get(),    "/api/v1/users/{user_id}/networks",              Some(A::NetworksRead),          "The networks that a user may come from.",                 networks::of_user),
        route(put(),    "/api/v1/users/{user_id}/networks",              Some(A::NetworksSet),           "Replaces the networks that a user may come from.",        networks::set),
        route(get(),    "/api/v1/groups",                                Some(A::GroupList),             "Lists groups by name.",                                   groups::list),
        route(post(),   "/api/v1/groups",                                Some(A::GroupCreate),           "Makes a group.",                                          groups::create),
        route(get(),    "/api/v1/groups/{group_id}",                     Some(A::GroupRead),             "A group.",                                                groups::by_id),
        route(patch(),  "/api/v1/groups/{group_id}",                     Some(A::GroupUpdate),           "Changes a group.",                                        groups::update),
        route(delete(), "/api/v1/groups/{group_id}",                     Some(A::GroupDelete),           "Removes a group.",                                        groups::delete),
        route(get(),    "/api/v1/groups/{group_id}/members",             Some(A::MemberList),            "A group's members.",                                      groups::members),
        route(post(),   "/api/v1/groups/{group_id}/members",             Some(A::MemberAdd),             "Adds a user to a group.",                                 groups::add_member),
        route(delete(), "/api/v1/groups/{group_id}/members/{user_id}",   Some(A::MemberRemove),          "Takes a user out of a group.",                            groups::remove_member),
        route(get(),    "/api/v1/applications",                          Some(A::ApplicationList),       "Lists applications by name.",                             applications::list),
        route(post(),   "/api/v1/applications",                          Some(A::ApplicationCreate),     "Registers an application and makes its key.",             applications::create),
        route(get(),    "/api/v1/applications/{application_id}",         Some(A::ApplicationRead),       "An application.",                                         applications::by_id),
        route(patch(),  "/api/v1/applications/{application_id}",         Some(A::ApplicationUpdate),     "Changes an application.",                                 applications::update),
        route(post(),   "/api/v1/applications/{application_id}/key",     Some(A::ApplicationRenewKey),   "Makes an application's key anew; the old one is refused.", applications::renew_key),
        route(delete(), "/api/v1/applications/{application_id}",         Some(A::ApplicationDelete),     "Removes an application; its sessions end.",               applications::delete),
        route(delete(), "/api/v1/applications/{application_id}/sessions", Some(A::SessionRevokeOfApplication), "Ends all sessions opened through an application but that of this call.", sessions::end_of_application),
        route(get(),    "/api/v1/api-keys",                              Some(A::ApiKeyList),            "Lists API keys.",                                         api_keys::list),
        route(post(),   "/api/v1/api-keys",                              Some(A::ApiKeyCreate),          "Makes an API key for a user.",                            api_keys::create),
        route(delete(), "/api/v1/api-keys/{key_id}",                     Some(A::ApiKeyRevoke),          "Revokes an API key.",                                     api_keys::revoke),
        route(get(),    "/api/v1/hooks",                                 Some(A::HookList),              "Lists hooks by name.",                                    hooks::list),
        route(post(),   "/api/v1/hooks",                                 Some(A::HookCreate),            "Makes a hook and its secret.",                            hooks::create),
        route(get(),    "/api/v1/hooks/{hook_id}",                       Some(A::HookRead),              "A hook.",                                                 hooks::by_id),
        route(patch(),  "/api/v1/hooks/{hook_id}",                       Some(A::HookUpdate),            "Changes a hook.",                                         hooks::update),
        route(delete(), "/api/v1/hooks/{hook_id}",                       Some(A::HookDelete),            "Removes a hook with what waits for it.",                  hooks::delete),
        route(post(),   "/api/v1/hooks/{hook_id}/secret",                Some(A::HookRenewSecret),       "Gives a hook a fresh secret.",                            hooks::renew_secret),
        route(get(),    "/api/v1/hooks/{hook_id}/deliveries",            Some(A::DeliveryList),          "What waits for a hook, and what was given up.",           hooks::deliveries),
        route(post(),   "/api/v1/hooks/{hook_id}/deliveries/{delivery_id}/retry", Some(A::DeliveryRetry), "Tries a delivery again.",                               hooks::retry),
        route(get(),    "/api/v1/audit-events",                          Some(A::AuditRead),             "Searches the audit trail.",                               audit_events::search),
        route(get(),    "/api/v1/views",                                 Some(A::ViewsRead),             "Which attributes exist for the caller.",                  views::list),
    ];
    table.into_iter().chain(dialect::tables()).collect()
}

/// Those rows whose dialects are switched on.
pub(super) fn served(dialects: &settings::Dialects) -> Vec<Route> {
    table().into_iter().filter(|route| route.dialect.is_enabled(dialects)).collect()
}
