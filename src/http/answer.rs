//! The way of every request, from its first byte that matters to its log line.

use super::address;
use super::crowd::{Place, Stir};
use super::desk::Desk;
use super::dialect::Dialect;
use super::gate::GateKind;
use super::input::Parts;
use super::reply::{Content, Reply};
use super::route::Route;
use crate::domain::audit::Action;
use crate::domain::ids::UserId;
use crate::domain::span::RequestSpan;
use crate::domain::time::Utc;
use crate::domain::witness::watch;
use crate::error::{Code, Error, Result};
use crate::service::{Call, Context, LONGEST_AGENT};
use actix_web::HttpRequest;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::web::Payload;
use futures_util::{StreamExt as _, stream};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::LazyLock;

/// The correlation id, in both directions.
pub const CORRELATION_ID: &str = "x-correlation-id";
/// From which address a user comes, as an application tells.
pub const USER_ADDRESS: &str = "x-user-address";
/// The device cookie. The prefix makes browsers keep it to this host and to TLS (RFC 6265bis, section 4.1.3.2).
pub const DEVICE_COOKIE: &str = "__Host-usher_device";

/// What stands for the route where there is none, in log and metrics.
pub(super) const OTHER_METHOD: &str = "other method";
pub(super) const NO_ROUTE: &str = "no route";

/// The longest URL and the largest headers, in bytes (S38).
const LONGEST_URL: usize = 8 * 1024;
const LARGEST_HEADERS: usize = 16 * 1024;

/// Sent with every answer, errors included (S37).
static SECURITY_HEADERS: LazyLock<[(HeaderName, HeaderValue); 8]> = LazyLock::new(|| {
    [
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "accelerometer=(), camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
        ("cache-control", "no-store"),
    ]
    .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
});

/// What a request is routed to.
#[derive(Clone, Copy)]
pub enum Target<'a> {
    /// An endpoint.
    Route(&'a Route),
    /// A path that has endpoints, but not for this method; those it has.
    OtherMethod(&'a str),
    /// Nothing.
    Nowhere,
}

/// Answers a request.
pub async fn answer(desk: &Desk, request: HttpRequest, payload: Payload, target: Target<'_>) -> HttpResponse {
    let began = desk.services.clock().now();
    let stir = request.conn_data::<Place>().map(|place| place.stir().clone());
    let _busy = stir.as_ref().map(Stir::begin);
    let sent = request.clone();
    let headers = sent.headers();
    let dialect = match target {
        Target::Route(route) => route.dialect,
        Target::OtherMethod(_) | Target::Nowhere => Dialect::of_path(request.path(), &desk.dialects),
    };
    let (cid, replaced) = correlation_id(desk, headers, dialect, began);
    let (action, pattern, is_probe) = match target {
        Target::Route(route) => (route.action.unwrap_or(Action::Unrouted), route.path, route.gate == GateKind::Probe),
        Target::OtherMethod(_) => (Action::Unrouted, OTHER_METHOD, false),
        Target::Nowhere => (Action::Unrouted, NO_ROUTE, false),
    };
    let peer = request.peer_addr().map(|a| a.ip());
    let remote_addr = address::client(peer, headers, &desk.trusted_proxies);
    let call = Call {
        now: began,
        cid: cid.clone(),
        action,
        remote_addr: remote_addr.as_ref().ok().copied().flatten(),
        is_safe: request.method().is_safe(),
        device: request.cookie(DEVICE_COOKIE).map(|c| c.value().to_owned()),
        ..claims(headers)
    };
    let context = dialect.spoken(Context::new(desk.services.clone(), call));
    let meter = match target {
        Target::Route(route) => &route.meter,
        Target::OtherMethod(_) => &desk.other_method,
        Target::Nowhere => &desk.no_route,
    };
    let mut measured = meter.begin(desk.services.clock(), began);
    let method = request.method().clone();
    // What stands unread in a connection would be taken for the next request, or waited for without end.
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || text(headers, "content-length").is_some_and(|length| length.trim() != "0");
    let crowded = request.conn_data::<Place>().is_some_and(Place::is_crowded);
    let outcome = async {
        remote_addr?;
        check_size(&request, headers)?;
        if crowded {
            return Err(Error::new(Code::Unavailable)
                .because("too_many_connections")
                .cause("too many connections from one address"));
        }
        note_subject(&request, &context);
        match target {
            Target::Route(route) => {
                let work = (route.handler)(context.clone(), Parts { request, payload: Some(payload), has_waited: false });
                watch(Arc::new(context.trail().clone()), work).await
            }
            Target::OtherMethod(_) => Err(Error::new(Code::MethodNotAllowed)),
            Target::Nowhere => Err(Error::new(Code::NotFound).because("no_route")),
        }
    };
    let mut outcome = outcome.await;
    if !is_probe && let Err(unwritten) = context.conclude(outcome.as_ref().map(|_| ())).await {
        // Without its event there is no answer, whatever it would have been.
        outcome = Err(unwritten);
    }
    let (mut reply, refused) = match outcome {
        Ok(reply) => (reply, None),
        Err(error) => (dialect.refusal(&error, context.action(), &cid), Some(error)),
    };
    if let Target::OtherMethod(methods) = target {
        reply.headers.push(("allow", methods.to_owned()));
    }
    if let (Content::Stream(pieces), Some(stir)) = (&mut reply.body, stir.clone()) {
        let all = std::mem::replace(pieces, stream::empty().boxed_local());
        *pieces = stir.follow(all);
    }
    let span = measured.end(reply.status);
    let line = Line {
        cid: &cid,
        replaced: replaced.as_deref(),
        method: method.as_str(),
        route: pattern,
        status: reply.status,
        micros: span.as_micros(),
        reason: refused.as_ref().map(Error::reason),
        cause: refused.as_ref().and_then(Error::logged_cause),
        is_probe,
    };
    line.write(&context);
    if let Some(spans) = desk.spans.as_ref().filter(|_| !is_probe) {
        spans.tell(&RequestSpan {
            parent: text(headers, "traceparent").filter(|parent| is_traceparent(parent)),
            method: method.as_str(),
            route: pattern,
            status: line.status,
            cid: &cid,
            began,
            ended: began + span,
        });
    }
    let close = crowded || (has_body && refused.is_some());
    respond(reply, &cid, close)
}

/// What the headers claim of a call; nothing of it is believed yet.
fn claims(headers: &HeaderMap) -> Call {
    let owned = |name| text(headers, name).map(str::to_owned);
    Call {
        user_agent: text(headers, "user-agent").map(|t| t.chars().filter(|c| !c.is_control()).take(LONGEST_AGENT).collect()),
        traceparent: owned("traceparent").filter(|t| is_traceparent(t)),
        claimed_addr: owned(USER_ADDRESS),
        application: owned("x-current-app"),
        application_key: owned("x-application-key"),
        token: credential(headers, "bearer"),
        api_key: credential(headers, "key"),
        ..Call::internal(Utc::from_micros(0), String::new(), Action::Unrouted)
    }
}

/// On whom or what the call is meant to be, by its path: the trail tells it also of calls that are refused.
fn note_subject(request: &HttpRequest, context: &Context) {
    let named =
        ["user_id", "group_id", "application_id", "key_id", "hook_id"].iter().find_map(|name| request.match_info().get(name));
    if let Some(id) = named.and_then(|text| text.parse::<UserId>().ok()) {
        context.trail().set_subject(id);
    }
}

fn respond(reply: Reply, cid: &str, close: bool) -> HttpResponse {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    for (name, value) in &*SECURITY_HEADERS {
        response.insert_header((name.clone(), value.clone()));
    }
    response.insert_header((HeaderName::from_static(CORRELATION_ID), cid));
    for (name, value) in &reply.headers {
        response.insert_header((*name, value.as_str()));
    }
    if close {
        response.force_close();
    }
    if reply.content_type.is_empty() {
        return response.finish();
    }
    response.content_type(reply.content_type);
    reply.body.send(&mut response)
}

/// One line for each request; `docs/LOGGING.md` is its description.
struct Line<'a> {
    cid: &'a str,
    replaced: Option<&'a str>,
    method: &'a str,
    route: &'a str,
    status: u16,
    micros: u128,
    reason: Option<&'a str>,
    cause: Option<&'a str>,
    is_probe: bool,
}

impl Line<'_> {
    fn write(&self, context: &Context) {
        let actor = context.trail().actor();
        let (actor_type, actor) = (actor.kind.as_str(), actor.id);
        let remote_addr = context.call().remote_addr.map(tracing::field::display);
        let user_addr = context.remote_addr().filter(|a| Some(*a) != context.call().remote_addr).map(tracing::field::display);
        let Self { cid, replaced, method, route, status, micros, reason, cause, .. } = *self;
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        let action = context.action().as_str();
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "usher::request",
                    cid, cid_replaced = replaced, method, route, action, status, micros, actor_type, actor, remote_addr, user_addr, reason, cause,
                    "request"
                )
            };
        }
        match status {
            500.. => line!(error),
            _ if self.is_probe => line!(debug),
            _ => line!(info),
        }
    }
}

/// The caller's correlation id if it is one, else a fresh one with the beginning of the hash of what was sent instead (S41).
fn correlation_id(desk: &Desk, headers: &HeaderMap, dialect: Dialect, now: Utc) -> (String, Option<String>) {
    let sent = headers.get(CORRELATION_ID);
    if let Some(cid) = sent.and_then(|v| v.to_str().ok()).filter(|t| is_correlation_id(t) && dialect.takes_cid(t)) {
        return (cid.to_owned(), None);
    }
    let mut fresh = crate::service::fresh_cid(now, desk.services.entropy());
    fresh.truncate(dialect.cid_digits());
    let hash = |sent: &HeaderValue| Sha256::digest(sent.as_bytes()).iter().take(8).map(|b| format!("{b:02x}")).collect();
    (fresh, sent.map(hash))
}

/// `^[A-Za-z0-9._:-]{1,64}$`
pub(super) fn is_correlation_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
}

/// Version 00 of the W3C trace context's `traceparent`.
pub(super) fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let is_hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let lengths: Vec<usize> = parts.iter().map(|p| p.len()).collect();
    lengths == [2, 32, 16, 2] && parts.iter().all(|p| is_hex(p)) && parts.first() != Some(&"ff")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

/// What follows a scheme in `Authorization`: of `Bearer` the session token (RFC 6750, section 2.1), of `Key` the API key. The scheme's case
/// does not matter (RFC 9110, section 11.1).
fn credential(headers: &HeaderMap, scheme: &str) -> Option<String> {
    credential_of(text(headers, "authorization")?, scheme).map(str::to_owned)
}

pub(super) fn credential_of<'a>(value: &'a str, scheme: &str) -> Option<&'a str> {
    let (sent, credential) = value.split_once(' ')?;
    sent.eq_ignore_ascii_case(scheme).then(|| credential.trim_start())
}

fn check_size(request: &HttpRequest, headers: &HeaderMap) -> Result<()> {
    let url = request.uri();
    let length = url.path().len() + url.query().map_or(0, |q| q.len() + 1);
    if length > LONGEST_URL {
        return Err(Error::new(Code::UrlTooLong));
    }
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if size > LARGEST_HEADERS {
        return Err(Error::new(Code::HeadersTooLarge));
    }
    // Two values for what decides on who is calling could be read differently by a proxy.
    for single in [header::AUTHORIZATION.as_str(), "x-current-app", "x-application-key", USER_ADDRESS] {
        if headers.get_all(single).count() > 1 {
            return Err(Error::new(Code::BadRequest).because("header_repeated"));
        }
        // What cannot be read must not count as absent.
        if headers.get(single).is_some_and(|value| value.to_str().is_err()) {
            return Err(Error::new(Code::BadRequest).because("header_malformed"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// S41: nothing but the listed characters is ever echoed.
        #[test]
        fn correlation_ids(text in "(.{0,70}|[A-Za-z0-9._:-]{0,70})") {
            let is_listed = text.chars().all(|c| c.is_ascii_alphanumeric() || "._:-".contains(c));
            prop_assert_eq!(is_correlation_id(&text), is_listed && (1..=64).contains(&text.len()));
        }

        /// What stands in `Authorization` is a session token, an API key, or nothing; never two things.
        #[test]
        fn authorization_has_one_scheme(text in "((bearer|Bearer|key|KEY|Basic)[ ,:]{0,2}[A-Za-z0-9_ -]{0,20}|[ -~]{0,30})") {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            let (token, key) = (credential(&headers, "bearer"), credential(&headers, "key"));
            prop_assert!(token.is_none() || key.is_none());
            for (sent, scheme) in [(token, "bearer "), (key, "key ")] {
                let begins = text.get(..scheme.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(scheme));
                prop_assert_eq!(sent.is_some(), begins, "{}", text);
                prop_assert!(sent.is_none_or(|sent| text.ends_with(&sent)));
            }
        }

        #[test]
        fn traceparents(text in "([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}|.{0,60})") {
            if is_traceparent(&text) {
                prop_assert_eq!(text.len(), 55);
            }
        }
    }
}
