//! Zato SSO's dialect, below `/zato/sso`.
//!
//! A call's credential, its application and its input all stand in the body, so the body is read before the gate is opened
//! ([`call`]); what the gate then demands is what it demands of everyone. An account of HTTP Basic that is linked to a user
//! may stand in for a session token. `docs/dialects/zato.md` is its description.

mod accounts;
mod answer;
mod attributes;
mod errors;
mod linked;
mod resets;
mod sent;
mod sessions;
mod users;

pub(super) use errors::refusal;

use super::super::gate::Gate;
use super::super::input::Parts;
use super::super::meter::Meter;
use super::super::reply::Reply;
use super::super::route::{Handler, Route};
use super::Dialect;
use crate::domain::audit::Action as A;
use crate::domain::secret::Password;
use crate::error::{Code, Error, Result};
use crate::service::{Claims, Context};
use actix_web::HttpRequest;
use actix_web::http::{Method, header};
use answer::Told;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::LocalBoxFuture;
use sent::Sent;
use serde_json::json;
use zeroize::Zeroizing;

/// The application of a call that is made through a linked account and names none.
const APPLICATION: &str = "x-zato-sso-current-app";
/// In which the session token of a linked account is told.
const TOKEN: &str = "x-zato-sso-ust";
/// The members by which a call proves who makes it.
const CREDENTIALS: &[&str] = &["ust", "current_ust"];

/// Its routes.
pub(super) fn table() -> Vec<Route> {
    let (get, post, put) = (|| Method::GET, || Method::POST, || Method::PUT);
    let (patch, delete) = (|| Method::PATCH, || Method::DELETE);
    let own: &[&str] = &["ust", "current_app"];
    let app: &[&str] = &["current_app"];
    #[rustfmt::skip]
    let mut table = vec![
        call(post(),   "/zato/sso/user/signup",         A::SignUp,               "Signs up.",                                       &[], accounts::sign_up),
        call(patch(),  "/zato/sso/user/signup",         A::SignUpConfirm,        "Confirms a sign-up.",                             &["confirm_token", "current_app"], accounts::confirm),
        call(get(),    "/zato/sso/user",                A::CurrentUserRead,      "Oneself; a super-user: anyone.",                  own, users::read),
        call(post(),   "/zato/sso/user",                A::UserCreate,           "Creates a user.",                                 own, users::create),
        call(patch(),  "/zato/sso/user",                A::CurrentUserUpdate,    "Changes oneself; a super-user: anyone.",          own, users::update),
        call(delete(), "/zato/sso/user",                A::UserDelete,           "Deletes a user.",                                 own, users::delete),
        call(patch(),  "/zato/sso/user/password",       A::PasswordChange,       "Changes one's own password or sets another's.",   &["ust", "current_app", "new_password"], accounts::password),
        call(post(),   "/zato/sso/user/approve",        A::UserApprove,          "Approves a user.",                                &["ust", "current_app", "user_id"], users::approve),
        call(post(),   "/zato/sso/user/reject",         A::UserReject,           "Rejects a user.",                                 &["ust", "current_app", "user_id"], users::reject),
        call(post(),   "/zato/sso/user/lock",           A::UserLock,             "Locks a user.",                                   &["ust", "current_app", "user_id"], users::lock),
        call(delete(), "/zato/sso/user/lock",           A::UserUnlock,           "Unlocks a user.",                                 &["ust", "current_app", "user_id"], users::unlock),
        call(patch(),  "/zato/sso/user/totp",           A::TotpReplace,          "Takes a key for one-time codes.",                 &["ust", "current_app", "totp_key", "totp_label"], accounts::totp),
        call(get(),    "/zato/sso/user/session",        A::SessionRead,          "A session.",                                      app, sessions::details),
        call(post(),   "/zato/sso/user/session",        A::SessionIntrospect,    "Whether a session is good.",                      app, sessions::verify),
        call(patch(),  "/zato/sso/user/session",        A::SessionRenew,         "Renews one's own session.",                       own, sessions::renew),
        call(get(),    "/zato/sso/user/session/list",   A::SessionList,          "The live sessions of a user.",                    app, sessions::list),
        call(get(),    "/zato/sso/user/linked",         A::LinkedAccountList,    "The linked accounts of a user.",                  own, linked::list),
        call(post(),   "/zato/sso/user/linked",         A::LinkedAccountLink,    "Links an account to a user.",                     &["ust", "current_app", "user_id", "auth_type", "auth_username"], linked::link),
        call(delete(), "/zato/sso/user/linked",         A::LinkedAccountUnlink,  "Takes a link away.",                              &["ust", "current_app", "user_id", "auth_type", "auth_username"], linked::unlink),
        call(post(),   "/zato/sso/password/reset",      A::ResetRequest,         "Asks for a link that resets a password.",         app, resets::request),
        call(patch(),  "/zato/sso/password/reset",      A::ResetOpen,            "Exchanges its token for a key.",                  &["current_app", "token"], resets::open),
        call(delete(), "/zato/sso/password/reset",      A::ResetFinish,          "Sets a password with such a key.",                &["current_app", "token", "reset_key", "password"], resets::finish),
        call(post(),   "/zato/sso/user/attr",           A::UserAttributesSet,    "Creates attributes of a user.",                   app, attributes::create_of_user),
        call(patch(),  "/zato/sso/user/attr",           A::UserAttributesSet,    "Changes attributes of a user.",                   app, attributes::update_of_user),
        call(put(),    "/zato/sso/user/attr",           A::UserAttributesSet,    "Creates or changes attributes of a user.",        app, attributes::put_of_user),
        call(delete(), "/zato/sso/user/attr",           A::UserAttributesDelete, "Removes attributes of a user.",                   app, attributes::delete_of_user),
        call(get(),    "/zato/sso/user/attr",           A::UserAttributeRead,    "Attributes of a user.",                           app, attributes::get_of_user),
        call(get(),    "/zato/sso/user/attr/exists",    A::UserAttributeRead,    "Whether a user has attributes.",                  app, attributes::exist_of_user),
        call(get(),    "/zato/sso/user/attr/names",     A::UserAttributeList,    "The names of a user's attributes.",               app, attributes::names_of_user),
        call(post(),   "/zato/sso/session/attr",        A::SessionAttributesSet, "Creates attributes of a session.",                app, attributes::create_of_session),
        call(patch(),  "/zato/sso/session/attr",        A::SessionAttributesSet, "Changes attributes of a session.",                app, attributes::update_of_session),
        call(put(),    "/zato/sso/session/attr",        A::SessionAttributesSet, "Creates or changes attributes of a session.",     app, attributes::put_of_session),
        call(delete(), "/zato/sso/session/attr",        A::SessionAttributesDelete, "Removes attributes of a session.",             app, attributes::delete_of_session),
        call(get(),    "/zato/sso/session/attr",        A::SessionAttributeRead, "Attributes of a session.",                        app, attributes::get_of_session),
        call(get(),    "/zato/sso/session/attr/exists", A::SessionAttributeRead, "Whether a session has attributes.",               app, attributes::exist_of_session),
        call(get(),    "/zato/sso/session/attr/names",  A::SessionAttributeList, "The names of a session's attributes.",            app, attributes::names_of_session),
    ];
    // These three answer whatever method they are called by.
    for method in [get, post, put, patch, delete] {
        let sign_in = &["username", "password", "current_app"];
        table.push(call(method(), "/zato/sso/user/login", A::SignIn, "Signs in.", sign_in, accounts::sign_in));
        table.push(call(method(), "/zato/sso/user/logout", A::SignOut, "Signs out.", own, accounts::sign_out));
        table.push(call(method(), "/zato/sso/user/search", A::UserList, "Finds users.", own, users::search));
    }
    table
}

/// Makes a row: of the members that must be there, and of a handler whose first argument is its gate.
fn call<G, F, Work>(
    method: Method,
    path: &'static str,
    action: A,
    summary: &'static str,
    needs: &'static [&'static str],
    handler: F,
) -> Route
where
    G: Gate + 'static,
    F: Fn(G, Sent) -> Work + Clone + Send + Sync + 'static,
    Work: Future<Output = Result<Told>> + 'static,
{
    let handle = move |context: Context, mut parts: Parts| -> LocalBoxFuture<'static, Result<Reply>> {
        let handler = handler.clone();
        Box::pin(async move {
            let sent = Sent::read(&mut parts).await?;
            let basic = basic_credentials(&parts.request);
            // Who comes by an account needs no session token, and may name the application in a header.
            let is_said = |name: &&&str| basic.is_some() && (CREDENTIALS.contains(*name) || **name == "current_app");
            let needs: Vec<&str> = needs.iter().filter(|name| !is_said(name)).copied().collect();
            sent.require(&needs)?;
            let mut claims = claims(&sent, &parts.request, basic.is_some(), action)?;
            let mut headers = Vec::new();
            if let Some((name, password)) = basic {
                let as_claimed =
                    context.clone().claiming(Claims { application: claims.application.clone(), ..Claims::default() });
                let ust = as_claimed.through_linked_account(&name, password).await?;
                headers.push((TOKEN, ust.expose().to_owned()));
                claims.token.get_or_insert_with(|| ust.expose().to_owned());
            }
            let context = context.claiming(claims);
            let cid = context.call().cid.clone();
            let body = handler(G::open(context).await?, sent).await?.into_body(&cid);
            Ok(Reply { status: 200, content_type: "application/json", body: body.into(), headers })
        })
    };
    let handler: Handler = Box::new(handle);
    let (describe_input, describe_answer): (fn(&mut _) -> _, fn(&mut _) -> _) = (|_| json!({}), |_| (200, None));
    Route {
        method,
        path,
        dialect: Dialect::Zato,
        gate: G::KIND,
        action: Some(action),
        summary,
        handler,
        meter: Meter::default(),
        media_type: "application/json",
        describe_input,
        describe_answer,
    }
}

/// What a call claims of itself. An application that is named by no text is none that there is.
fn claims(sent: &Sent, request: &HttpRequest, is_basic: bool, action: A) -> Result<Claims> {
    let of_header = || {
        let named = request.headers().get(APPLICATION).and_then(|name| name.to_str().ok());
        named.map(str::to_owned).filter(|_| is_basic)
    };
    let named = sent.text("current_app")?;
    let is_left_open = is_basic && sent.value("current_app").is_none();
    let application = if is_left_open { of_header() } else { Some(named.unwrap_or_default()) };
    let mut token = None;
    for name in CREDENTIALS {
        token = token.or(sent.filled(name)?);
    }
    // At a sign-in an application may tell of its user, if it is one that is believed.
    let told = |name: &str| if action == A::SignIn { sent.filled(name) } else { Ok(None) };
    Ok(Claims { application, token, claimed_addr: told("remote_addr")?, user_agent: told("user_agent")? })
}

/// The name and the password of HTTP Basic (RFC 7617, section 2), if the call has them.
fn basic_credentials(request: &HttpRequest) -> Option<(String, Password)> {
    let sent = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = sent.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    // What cannot be read is an account that there is not, and refused as one.
    let clear = STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).map(Zeroizing::new);
    let (name, password) = clear.as_deref().and_then(|clear| clear.split_once(':')).unwrap_or_default();
    Some((name.to_owned(), Password::new(password.to_owned())))
}

/// A member that must not be null.
fn null(name: &'static str) -> Error {
    Error::new(Code::Invalid).at(name, "is null")
}
