//! What a handler answers.

use crate::domain::attribute::Viewer;
use crate::domain::user::Account;
use crate::error::{Code, Error, Result, WITHIN};
use crate::service::WrittenView;
use actix_web::web::Bytes;
use actix_web::{HttpResponse, HttpResponseBuilder};
use futures_util::stream::LocalBoxStream;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;

/// The media type of lines of JSON.
pub(super) const LINES: &str = "application/x-ndjson";

/// An answer ready to be sent.
pub struct Reply {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: Content,
    pub(super) headers: Vec<(&'static str, String)>,
}

/// What an answer says.
pub(super) enum Content {
    /// All of it.
    Whole(Vec<u8>),
    /// What is made while it is sent. The work for it begins when it is first asked for something, which is after the call's event was
    /// written. An error breaks the connection off, for the status is gone.
    Stream(ByteStream),
}

impl Content {
    /// Puts it into a response.
    pub(super) fn send(self, response: &mut HttpResponseBuilder) -> HttpResponse {
        match self {
            Self::Whole(body) => response.body(body),
            Self::Stream(stream) => response.streaming(stream),
        }
    }
}

impl From<Vec<u8>> for Content {
    fn from(whole: Vec<u8>) -> Self {
        Self::Whole(whole)
    }
}

/// Bytes as they are made.
pub(super) type ByteStream = LocalBoxStream<'static, Result<Bytes>>;

/// Something that a handler may answer.
pub trait Answer {
    /// Serialises it.
    ///
    /// # Errors
    /// [`Code::Internal`].
    fn into_reply(self) -> Result<Reply>;

    /// The media type of its body.
    const MEDIA_TYPE: &'static str = "application/json";

    /// Its status and the schema of its body; of a line of it, where it is lines.
    fn describe(schemas: &mut SchemaGenerator) -> (u16, Option<Value>);
}

fn json_reply(status: u16, body: &impl Body) -> Result<Reply> {
    let json = match body.written() {
        Some(json) => json,
        None => serde_json::to_vec(body).map_err(|e| Error::new(Code::Internal).cause(e.to_string()))?,
    };
    let headers = body.etag().map(|tag| ("etag", tag)).into_iter().collect();
    Ok(Reply { status, content_type: "application/json", body: json.into(), headers })
}

/// The body of an answer.
pub trait Body: Serialize + JsonSchema {
    /// The entity tag of what it shows, if it can be edited.
    fn etag(&self) -> Option<String> {
        None
    }

    /// Its JSON, if that is written down already.
    fn written(&self) -> Option<Vec<u8>> {
        None
    }
}

/// 200 with a body.
pub struct Found<T>(pub T);

impl<T: Body> Answer for Found<T> {
    fn into_reply(self) -> Result<Reply> {
        json_reply(200, &self.0)
    }

    fn describe(schemas: &mut SchemaGenerator) -> (u16, Option<Value>) {
        (200, Some(schemas.subschema_for::<T>().to_value()))
    }
}

/// 201 with a body, and perhaps a cookie.
pub struct Created<T> {
    pub(super) body: T,
    pub(super) cookie: Option<String>,
}

impl<T: Body> Answer for Created<T> {
    fn into_reply(self) -> Result<Reply> {
        let mut reply = json_reply(201, &self.body)?;
        reply.headers.extend(self.cookie.map(|cookie| ("set-cookie", cookie)));
        Ok(reply)
    }

    fn describe(schemas: &mut SchemaGenerator) -> (u16, Option<Value>) {
        (201, Some(schemas.subschema_for::<T>().to_value()))
    }
}

/// 204.
pub struct Done;

impl Answer for Done {
    fn into_reply(self) -> Result<Reply> {
        Ok(Reply { status: 204, content_type: "", body: Vec::new().into(), headers: Vec::new() })
    }

    fn describe(_: &mut SchemaGenerator) -> (u16, Option<Value>) {
        (204, None)
    }
}

/// 202: it was taken down, and what comes of it is told elsewhere.
pub struct Accepted;

impl Answer for Accepted {
    fn into_reply(self) -> Result<Reply> {
        Ok(Reply { status: 202, content_type: "", body: Vec::new().into(), headers: Vec::new() })
    }

    fn describe(_: &mut SchemaGenerator) -> (u16, Option<Value>) {
        (202, None)
    }
}

/// A document that is not JSON of the API.
pub struct Document {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
    pub(super) headers: Vec<(&'static str, String)>,
}

impl Answer for Document {
    fn into_reply(self) -> Result<Reply> {
        Ok(Reply { status: self.status, content_type: self.content_type, body: self.body.into(), headers: self.headers })
    }

    fn describe(_: &mut SchemaGenerator) -> (u16, Option<Value>) {
        (200, None)
    }
}

/// 200 with lines of JSON, each a `T`, made while they are sent.
pub struct LineStream<T> {
    stream: ByteStream,
    shape: PhantomData<T>,
}

impl<T> LineStream<T> {
    /// These lines.
    pub(super) fn new(stream: ByteStream) -> Self {
        Self { stream, shape: PhantomData }
    }
}

impl<T: JsonSchema> Answer for LineStream<T> {
    const MEDIA_TYPE: &'static str = LINES;

    fn into_reply(self) -> Result<Reply> {
        Ok(Reply { status: 200, content_type: LINES, body: Content::Stream(self.stream), headers: Vec::new() })
    }

    fn describe(schemas: &mut SchemaGenerator) -> (u16, Option<Value>) {
        (200, Some(schemas.subschema_for::<T>().to_value()))
    }
}

/// 200 with a JSON document, a `T`, made while it is sent.
pub struct JsonStream<T> {
    stream: ByteStream,
    shape: PhantomData<T>,
}

impl<T> JsonStream<T> {
    /// This document.
    pub(super) fn new(stream: ByteStream) -> Self {
        Self { stream, shape: PhantomData }
    }
}

impl<T: JsonSchema> Answer for JsonStream<T> {
    fn into_reply(self) -> Result<Reply> {
        Ok(Reply { status: 200, content_type: Self::MEDIA_TYPE, body: Content::Stream(self.stream), headers: Vec::new() })
    }

    fn describe(schemas: &mut SchemaGenerator) -> (u16, Option<Value>) {
        (200, Some(schemas.subschema_for::<T>().to_value()))
    }
}

/// A user as the caller sees it.
pub enum UserAnswer {
    /// An account as this viewer sees it.
    Fresh(Box<Account>, Viewer),
    /// What was written down before.
    Written(Arc<WrittenView>),
}

impl UserAnswer {
    /// `account` as `viewer` sees it.
    pub fn new(account: Account, viewer: Viewer) -> Self {
        Self::Fresh(Box::new(account), viewer)
    }
}

impl Serialize for UserAnswer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fresh(account, viewer) => account.view(*viewer).serialize(serializer),
            Self::Written(view) => {
                let json =
                    view.json().ok_or_else(|| serde::ser::Error::custom("the trail does not know that this user is shown"))?;
                let raw: &RawValue = serde_json::from_str(json).map_err(serde::ser::Error::custom)?;
                raw.serialize(serializer)
            }
        }
    }
}

impl Body for UserAnswer {
    fn etag(&self) -> Option<String> {
        Some(match self {
            Self::Fresh(account, viewer) => account.etag(*viewer),
            Self::Written(view) => view.etag.clone(),
        })
    }

    fn written(&self) -> Option<Vec<u8>> {
        match self {
            Self::Fresh(..) => None,
            Self::Written(view) => view.json().map(|json| json.as_bytes().to_vec()),
        }
    }
}

impl JsonSchema for UserAnswer {
    fn schema_name() -> Cow<'static, str> {
        "User".into()
    }

    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        super::schema::user_schema(schemas)
    }
}

/// A list in one piece.
#[derive(Serialize, JsonSchema)]
pub struct Items<T> {
    /// The items.
    pub(super) items: Vec<T>,
}

/// A page of a list.
#[derive(Serialize, JsonSchema)]
pub struct Paged<T> {
    /// The items.
    pub(super) items: Vec<T>,
    /// Where the next page begins; null on the last one.
    pub(super) next_cursor: Option<String>,
}

impl<T: Serialize + JsonSchema> Body for Items<T> {}
impl<T: Serialize + JsonSchema> Body for Paged<T> {}
impl Body for crate::domain::session::SessionView {}

/// An error as `application/problem+json` (RFC 9457). Of a failure on this side only the code is told.
pub fn problem(error: &Error, cid: &str) -> Reply {
    let code = error.code();
    let status = code.status();
    let is_ours = status >= 500;
    let detail = error.sentence().filter(|_| !is_ours);
    let faults = error
        .faults()
        .iter()
        .map(|f| json!({"pointer": pointer(&f.member), "code": f.code, "detail": format!("The value {}.", f.detail)}));
    let mut body = json!({
        "type": format!("urn:usher:error:{}", code.as_str()),
        "title": code.title(),
        "status": status,
        "code": code.as_str(),
        "detail": detail.unwrap_or(code.title()),
        "cid": cid,
        "errors": faults.collect::<Vec<_>>(),
    });
    if let (Some(offer), Some(members)) = (error.offer(), body.as_object_mut()) {
        let enrolment = json!({
            "ticket": &*offer.ticket,
            "totp_key": &*offer.totp_key,
            "otpauth_uri": &*offer.otpauth_uri,
            "qr_svg": &*offer.qr_svg,
            "expires_time": offer.expires_time,
        });
        members.insert("enrolment".to_owned(), enrolment);
    }
    let mut headers = Vec::new();
    headers.extend(error.retry_after_seconds().map(|seconds| ("retry-after", seconds.to_string())));
    if status == 401 {
        // RFC 6750, section 3. Always the same: it tells nothing of the cause.
        headers.push(("www-authenticate", "Bearer realm=\"usher\"".to_owned()));
    }
    let body = body.to_string().into_bytes().into();
    Reply { status, content_type: "application/problem+json", body, headers }
}

/// A member as a JSON pointer (RFC 6901, section 3).
fn pointer(member: &str) -> String {
    format!("/{}", member.replace('~', "~0").replace('/', "~1").replace(WITHIN, "/"))
}
