//! Parsers of what comes from outside, as functions of bytes and text, for the fuzz targets in `fuzz/`. Each is the very parser that a
//! request meets; nothing here is one of its own.

use super::address;
use super::answer::{credential_of, is_correlation_id, is_traceparent};
use super::audit_events::SearchQuery;
use super::custom_attributes::{setting, settings};
use super::find::FindQuery;
use super::input::{DEEPEST, is_deeper_than, parse_object, parse_raw_object, read_query, take_members};
use super::sessions::SignInBody;
use crate::domain::custom_attribute::{AttributeName, Setting};
use crate::error::{Code, Error, Result};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use serde_json::{Map, Value};
use std::net::IpAddr;

/// Whether a text may be a correlation id.
pub fn correlation_id(text: &str) -> bool {
    is_correlation_id(text)
}

/// Whether a text is a trace context.
pub fn traceparent(text: &str) -> bool {
    is_traceparent(text)
}

/// What follows a scheme in an `Authorization` header.
pub fn authorization<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    credential_of(text, scheme)
}

/// The members of a body.
///
/// # Errors
/// It is nested too deep, or no JSON object.
pub fn body(bytes: &[u8]) -> Result<Map<String, Value>> {
    if is_deeper_than(bytes, DEEPEST) {
        return Err(Error::new(Code::NotJson));
    }
    parse_object(bytes)
}

/// Whether the members of a body are a sign-in.
///
/// # Errors
/// What is wrong with them.
pub fn sign_in(members: Map<String, Value>) -> Result<()> {
    take_members::<SignInBody>(members).map(drop)
}

/// The body that sets one attribute.
///
/// # Errors
/// What is wrong with it.
pub fn attribute(json: &str) -> Result<Setting> {
    setting(parse_raw_object(json.as_bytes())?, "")
}

/// The body that sets several.
///
/// # Errors
/// What is wrong with it.
pub fn attributes(json: &str) -> Result<Vec<(AttributeName, Option<Setting>)>> {
    settings(parse_raw_object(json.as_bytes())?)
}

/// The query string that finds users.
///
/// # Errors
/// What is wrong with it.
pub fn find_query(text: &str) -> Result<crate::service::Filter> {
    read_query::<FindQuery>(text)?.filter()
}

/// The query string that searches the trail.
///
/// # Errors
/// What is wrong with it.
pub fn audit_query(text: &str) -> Result<crate::service::Search> {
    Ok(read_query::<SearchQuery>(text)?.search())
}

/// The client's address by the lines of `X-Forwarded-For`; `None` if one of them cannot be in a header.
pub fn forwarded_for(peer: IpAddr, lines: &[&[u8]], trusted: &[IpNet]) -> Option<Result<Option<IpAddr>>> {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(HeaderName::from_static("x-forwarded-for"), HeaderValue::from_bytes(line).ok()?);
    }
    Some(address::client(Some(peer), &headers, trusted))
}
