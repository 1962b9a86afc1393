//! What a handler reads from a request: typed, bounded, and refused with the member at fault.
//!
//! Bounds (S38): a body of 64 KiB, within ten seconds; JSON nested 32 deep. An unknown member is refused, never ignored.

use super::misfit;
use crate::domain::precondition::Tags;
use crate::domain::raw::{NoMembers, RawObject, UniqueMembers};
use crate::error::{Code, Error, Fault, Result};
use crate::service::LARGEST_PAGE;
use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName};
use actix_web::web::{Bytes, BytesMut, Payload};
use futures_util::{FutureExt as _, StreamExt as _};
use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use std::str::FromStr;
use std::time::Duration;

/// The largest body, in bytes.
pub const LARGEST_BODY: usize = 64 * 1024;
/// The deepest nesting of JSON.
pub const DEEPEST: usize = 32;
/// A body must have arrived by then.
const BODY_TIME: Duration = Duration::from_secs(10);

/// A request that is not read yet.
pub struct Parts {
    pub(super) request: HttpRequest,
    /// Its body; gone once something has taken it to read it later.
    pub(super) payload: Option<Payload>,
    /// Whether the body had to be waited for.
    pub(super) has_waited: bool,
}

/// Something that can be read from a request.
pub trait Input: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with the request.
    fn read(parts: &mut Parts) -> impl Future<Output = Result<Self>>;

    /// Its part of an OpenAPI operation object.
    fn describe(schemas: &mut SchemaGenerator) -> Value;
}

impl Input for () {
    async fn read(_: &mut Parts) -> Result<Self> {
        Ok(())
    }

    fn describe(_: &mut SchemaGenerator) -> Value {
        json!({})
    }
}

impl<A: Input, B: Input> Input for (A, B) {
    async fn read(parts: &mut Parts) -> Result<Self> {
        Ok((A::read(parts).await?, B::read(parts).await?))
    }

    fn describe(schemas: &mut SchemaGenerator) -> Value {
        let (mut both, other) = (A::describe(schemas), B::describe(schemas));
        if let (Some(both), Value::Object(other)) = (both.as_object_mut(), other) {
            for (name, value) in other {
                match (both.get_mut(&name), value) {
                    (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
                    (_, value) => drop(both.insert(name, value)),
                }
            }
        }
        both
    }
}

/// A variable segment of the path. What does not parse names nothing.
pub struct Segment<const AT: usize, T>(pub T);

/// The names of variable segments.
const SEGMENTS: [&str; 7] = ["user_id", "session_id", "group_id", "application_id", "key_id", "hook_id", "delivery_id"];

impl<const AT: usize, T: FromStr> Input for Segment<AT, T> {
    async fn read(parts: &mut Parts) -> Result<Self> {
        let text = SEGMENTS.get(AT).and_then(|name| parts.request.match_info().get(name));
        let unknown = || Error::new(Code::NotFound).because("id_malformed");
        text.and_then(|t| t.parse().ok()).map(Self).ok_or_else(unknown)
    }

    fn describe(_: &mut SchemaGenerator) -> Value {
        let name = SEGMENTS.get(AT);
        json!({"parameters": [{"name": name, "in": "path", "required": true, "schema": {"type": "string", "format": "uuid"}}]})
    }
}

/// `{user_id}` in the path.
pub type UserSegment = Segment<0, crate::domain::ids::UserId>;
/// `{session_id}` in the path.
pub type SessionSegment = Segment<1, crate::domain::ids::SessionId>;

/// `{group_id}` in the path.
pub type GroupSegment = Segment<2, crate::domain::ids::GroupId>;
/// `{application_id}` in the path.
pub type ApplicationSegment = Segment<3, crate::domain::ids::ApplicationId>;
/// `{key_id}` in the path.
pub type KeySegment = Segment<4, crate::domain::ids::ApiKeyId>;
/// `{hook_id}` in the path.
pub type HookSegment = Segment<5, crate::domain::ids::HookId>;
/// `{delivery_id}` in the path.
pub type DeliverySegment = Segment<6, crate::domain::ids::MessageId>;

/// A variable segment of the path that is a name.
pub struct NameSegment<const AT: usize>(pub String);

impl<const AT: usize> Input for NameSegment<AT> {
    async fn read(parts: &mut Parts) -> Result<Self> {
        let text = SEGMENTS.get(AT).and_then(|name| parts.request.match_info().get(name));
        text.and_then(unquoted).map(Self).ok_or_else(|| Error::new(Code::NotFound).because("id_malformed"))
    }

    fn describe(_: &mut SchemaGenerator) -> Value {
        json!({"parameters": [{"name": SEGMENTS.get(AT), "in": "path", "required": true, "schema": {"type": "string"}}]})
    }
}

/// Percent-encoded text (RFC 3986, section 2.1) as it is meant; `None` if it is no UTF-8. The server has undone it already where that
/// changes no path: what is left is the slash and the percent sign.
fn unquoted(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|digits| *first == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let escaped = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { after.get(2..)? } else { after };
    }
    String::from_utf8(bytes).ok()
}

/// Text as a segment of a path: whatever is not unreserved is percent-encoded (RFC 3986, section 2.3).
pub fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The query string.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + JsonSchema> Input for Query<T> {
    async fn read(parts: &mut Parts) -> Result<Self> {
        read_query(parts.request.query_string()).map(Self)
    }

    fn describe(schemas: &mut SchemaGenerator) -> Value {
        let schema = T::json_schema(schemas).to_value();
        let members = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        let parameter = |(name, mut schema): (String, Value)| {
            let doc = schema.as_object_mut().and_then(|s| s.remove("description"));
            json!({"name": name, "in": "query", "description": doc, "schema": schema})
        };
        json!({"parameters": members.into_iter().map(parameter).collect::<Vec<_>>()})
    }
}

/// Reads a query string.
pub(super) fn read_query<T: DeserializeOwned>(text: &str) -> Result<T> {
    if unquoted(text).is_none() {
        return Err(Error::new(Code::BadQuery).detail("It is no UTF-8."));
    }
    let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
    serde_path_to_error::deserialize(pairs).map_err(|refused| misfit::of_query(&refused))
}

/// The number of items on a page: 50 unless told otherwise (S38: 0 is refused).
///
/// # Errors
/// [`Code::BadQuery`] if it is not between 1 and [`LARGEST_PAGE`].
pub fn page_limit(limit: Option<i64>) -> Result<i64> {
    let limit = limit.unwrap_or(50);
    let bad = || Error::new(Code::BadQuery).at("limit", format!("is not between 1 and {LARGEST_PAGE}"));
    (1..=LARGEST_PAGE).contains(&limit).then_some(limit).ok_or_else(bad)
}

/// Reads a member of a merge patch that may be absent, but not null: to say nothing and to say "nothing" are two things.
///
/// # Errors
/// The value is no `T`.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A JSON object with exactly the members of `T`.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + JsonSchema> Input for Body<T> {
    async fn read(parts: &mut Parts) -> Result<Self> {
        let members = read_object(parts).await?.ok_or_else(|| Error::new(Code::NotJson).detail("There is no body."))?;
        take_members(members).map(Self)
    }

    fn describe(schemas: &mut SchemaGenerator) -> Value {
        let schema = schemas.subschema_for::<T>();
        json!({"requestBody": {"required": true, "content": {"application/json": {"schema": schema}}}})
    }
}

/// Like [`Body`], but there may be none.
pub struct OptionalBody<T>(pub T);

impl<T: DeserializeOwned + JsonSchema + Default> Input for OptionalBody<T> {
    async fn read(parts: &mut Parts) -> Result<Self> {
        match read_object(parts).await? {
            Some(members) => take_members(members).map(Self),
            None => Ok(Self(T::default())),
        }
    }

    fn describe(schemas: &mut SchemaGenerator) -> Value {
        let schema = schemas.subschema_for::<T>();
        json!({"requestBody": {"required": false, "content": {"application/json": {"schema": schema}}}})
    }
}

/// A JSON object whose members the use case itself reads by the attribute table.
pub struct Members(pub Map<String, Value>);

impl Input for Members {
    async fn read(parts: &mut Parts) -> Result<Self> {
        read_object(parts).await?.map(Self).ok_or_else(|| Error::new(Code::NotJson).detail("There is no body."))
    }

    fn describe(schemas: &mut SchemaGenerator) -> Value {
        let schema = super::schema::new_user_schema(schemas);
        json!({"requestBody": {"required": true, "content": {"application/json": {"schema": schema}}}})
    }
}

/// A filled sign-up form, which the use case itself reads by the attribute table.
pub struct SignUpMembers(pub Map<String, Value>);

impl Input for SignUpMembers {
    async fn read(parts: &mut Parts) -> Result<Self> {
        Members::read(parts).await.map(|members| Self(members.0))
    }

    fn describe(schemas: &mut SchemaGenerator) -> Value {
        let schema = super::schema::sign_up_schema(schemas);
        json!({"requestBody": {"required": true, "content": {"application/json": {"schema": schema}}}})
    }
}

/// A JSON merge patch of a user.
pub struct Changes(pub Map<String, Value>);

impl Input for Changes {
    async fn read(parts: &mut Parts) -> Result<Self> {
        Members::read(parts).await.map(|members| Self(members.0))
    }

    fn describe(schemas: &mut SchemaGenerator) -> Value {
        let schema = super::schema::patch_schema(schemas);
        json!({"requestBody": {"required": true, "content": {"application/merge-patch+json": {"schema": schema}}}})
    }
}

/// The entity tags of one of which the resource must still be.
pub struct IfMatch(pub Option<Tags>);

/// The entity tags in a header of this name; `None` without one.
///
/// # Errors
/// [`Code::BadRequest`]: a condition that cannot be read must not count as none, nor one that was sent in two lines (RFC 9110, section 5.3).
pub(super) fn read_tags(request: &HttpRequest, name: HeaderName) -> Result<Option<Tags>> {
    let bad = || Error::new(Code::BadRequest).because("if_match_malformed");
    let lines = request.headers().get_all(&name).map(|line| line.to_str().map_err(|_| bad())).collect::<Result<Vec<_>>>()?;
    if lines.is_empty() {
        return Ok(None);
    }
    Tags::read(&lines.join(",")).map(Some).map_err(|flaw| bad().detail(format!("{name} {flaw}.")))
}

impl Input for IfMatch {
    async fn read(parts: &mut Parts) -> Result<Self> {
        read_tags(&parts.request, header::IF_MATCH).map(Self)
    }

    fn describe(_: &mut SchemaGenerator) -> Value {
        json!({"parameters": [{"name": "If-Match", "in": "header", "schema": {"type": "string"},
            "description": "The ETag of the user as last read; 412 if it has changed since."}]})
    }
}

/// Makes a `T` of an object's members, after every unknown one has been named.
pub(super) fn take_members<T: DeserializeOwned + JsonSchema>(members: Map<String, Value>) -> Result<T> {
    let schema = T::json_schema(&mut SchemaGenerator::default());
    let known = schema.get("properties").and_then(Value::as_object);
    let unknown: Vec<&String> = members.keys().filter(|m| known.is_none_or(|known| !known.contains_key(*m))).collect();
    if !unknown.is_empty() {
        let fault = |member: &String| Fault { member: member.clone(), code: "unknown_member", detail: "is not known".to_owned() };
        return Err(unknown.into_iter().map(fault).fold(Error::new(Code::Invalid), Error::fault));
    }
    serde_path_to_error::deserialize(Value::Object(members)).map_err(|refused| misfit::of_body(&refused))
}

/// Reads the body as a JSON object whose members are kept as they are.
///
/// # Errors
/// Those of every body.
pub(super) async fn read_raw_object(parts: &mut Parts) -> Result<RawObject> {
    let bytes = read_json(parts).await?.ok_or_else(|| Error::new(Code::NotJson).detail("There is no body."))?;
    parse_raw_object(&bytes)
}

pub(super) fn parse_raw_object(bytes: &[u8]) -> Result<RawObject> {
    let not_json = |e: serde_json::Error| match e.classify() {
        serde_json::error::Category::Data => Error::new(Code::BadType).detail("The body is no JSON object."),
        _ => Error::new(Code::NotJson).detail(format!("Line {}, column {}.", e.line(), e.column())),
    };
    serde_json::from_slice(bytes).map_err(not_json)
}

/// Reads the body as a JSON object; `None` if it is empty.
pub(super) async fn read_object(parts: &mut Parts) -> Result<Option<Map<String, Value>>> {
    match read_json(parts).await? {
        None => Ok(None),
        Some(bytes) => parse_object(&bytes).map(Some),
    }
}

pub(super) fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>> {
    UniqueMembers::read(bytes).map_err(|cause| match cause {
        NoMembers::NoObject => Error::new(Code::BadType).detail("The body is no JSON object."),
        NoMembers::Twice => Error::new(Code::BadType).detail("The body has two members of one name."),
        NoMembers::NoJson(e) => Error::new(Code::NotJson).detail(format!("Line {}, column {}.", e.line(), e.column())),
    })
}

/// Reads the body as a JSON object whatever it is declared to be, for clients that declare nothing; `None` if it is empty.
pub(super) async fn read_undeclared_object(parts: &mut Parts) -> Result<Option<Map<String, Value>>> {
    match read_bounded(parts).await? {
        None => Ok(None),
        Some(bytes) => parse_object(&bytes).map(Some),
    }
}

/// Reads the body as what is declared to be JSON and is not nested too deep; `None` if it is empty.
async fn read_json(parts: &mut Parts) -> Result<Option<Bytes>> {
    let Some(bytes) = read_bounded(parts).await? else { return Ok(None) };
    let kind = parts.request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !["application/json", "application/merge-patch+json"].iter().any(|known| essence.eq_ignore_ascii_case(known)) {
        return Err(Error::new(Code::NotJsonType));
    }
    Ok(Some(bytes))
}

/// Reads the body, which is not nested too deep; `None` if it is empty.
async fn read_bounded(parts: &mut Parts) -> Result<Option<Bytes>> {
    let bytes = match tokio::time::timeout(BODY_TIME, read_bytes(parts)).await {
        Ok(bytes) => bytes?,
        Err(_) => return Err(Error::new(Code::RequestTimeout)),
    };
    if bytes.is_empty() {
        return Ok(None);
    }
    if is_deeper_than(&bytes, DEEPEST) {
        return Err(Error::new(Code::NotJson).detail(format!("The JSON is nested deeper than {DEEPEST}.")));
    }
    Ok(Some(bytes))
}

async fn read_bytes(parts: &mut Parts) -> Result<Bytes> {
    let too_large = || Error::new(Code::TooLarge).detail(format!("At most {LARGEST_BODY} bytes are taken."));
    let announced = parts.request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > LARGEST_BODY as u64) {
        return Err(too_large());
    }
    let mut bytes = BytesMut::new();
    let Some(payload) = &mut parts.payload else { return Ok(Bytes::new()) };
    loop {
        // What came along with the headers is there already.
        let next = match payload.next().now_or_never() {
            Some(next) => next,
            None => {
                parts.has_waited = true;
                payload.next().await
            }
        };
        let Some(chunk) = next else { break };
        let chunk = chunk.map_err(|e| Error::new(Code::BadRequest).cause(e.to_string()))?;
        if bytes.len() + chunk.len() > LARGEST_BODY {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// Whether JSON text nests deeper than `limit`, judged before it is parsed.
pub(super) fn is_deeper_than(json: &[u8], limit: usize) -> bool {
    let (mut depth, mut in_string, mut is_escaped) = (0usize, false, false);
    for byte in json {
        match (in_string, byte) {
            (true, _) if is_escaped => is_escaped = false,
            (true, b'\\') => is_escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limit {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), "[\\[\\]{}\"\\\\a]{0,6}".prop_map(Value::from)];
        leaf.prop_recursive(6, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[\\[{\"]{0,3}", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_quoted_name_is_read_back(name in any::<String>()) {
            prop_assert_eq!(unquoted(&quoted(&name)), Some(name));
        }

        #[test]
        fn any_segment_is_read_or_refused(text in "(%[0-9a-fA-F+]{0,2}|.){0,20}") {
            let _ = unquoted(&text);
        }

        /// S38: the depth is judged rightly, brackets within strings notwithstanding.
        #[test]
        fn the_depth_is_the_depth(value in any_json(), limit in 0usize..8) {
            prop_assert_eq!(is_deeper_than(value.to_string().as_bytes(), limit), depth(&value) > limit);
        }

        #[test]
        fn any_bytes_have_a_depth(bytes in any::<Vec<u8>>()) {
            let _ = is_deeper_than(&bytes, 3);
        }
    }
}
