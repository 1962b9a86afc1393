//! The OpenAPI document and a browser for it, both served from the binary.

use super::desk::Desk;
use super::gate::Probe;
use super::input::{Input, Parts};
use super::reply::Document;
use crate::error::{Code, Error, Result};
use actix_web::web::Data;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};
use utoipa_swagger_ui::Config;

/// The browser runs scripts and styles of its own host only; it sets styles on elements as it goes.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

static BROWSER: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| Arc::new(Config::from("/openapi.json").validator_url("none")));

/// The OpenAPI document of the routes that are served.
pub(super) struct Published(String);

impl Input for Published {
    async fn read(parts: &mut Parts) -> Result<Self> {
        let desk = parts.request.app_data::<Data<Desk>>();
        desk.map(|desk| Self(desk.document().to_owned())).ok_or_else(|| Error::new(Code::Internal))
    }

    fn describe(_: &mut schemars::SchemaGenerator) -> Value {
        json!({})
    }
}

pub(super) async fn openapi(_: Probe, Published(document): Published) -> Result<Document> {
    Ok(Document { status: 200, content_type: "application/json", body: document.into_bytes(), headers: Vec::new() })
}

/// The page refers to its files relatively: it lives below `/docs/`.
pub(super) async fn index(_: Probe, (): ()) -> Result<Document> {
    Ok(Document { status: 307, content_type: "", body: Vec::new(), headers: vec![("location", "/docs/index.html".to_owned())] })
}

/// `{file}` in the path.
pub(super) struct File(String);

impl Input for File {
    async fn read(parts: &mut Parts) -> Result<Self> {
        Ok(Self(parts.request.match_info().get("file").unwrap_or_default().to_owned()))
    }

    fn describe(_: &mut schemars::SchemaGenerator) -> Value {
        json!({"parameters": [{"name": "file", "in": "path", "required": true, "schema": {"type": "string"}}]})
    }
}

pub(super) async fn file(_: Probe, File(name): File) -> Result<Document> {
    let broken = |e: Box<dyn std::error::Error>| Error::new(Code::Internal).cause(e.to_string());
    let found = utoipa_swagger_ui::serve(&name, Arc::clone(&BROWSER)).map_err(broken)?;
    let file = found.ok_or_else(|| Error::new(Code::NotFound))?;
    let content_type = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    };
    let headers = vec![("content-security-policy", POLICY.to_owned()), ("cache-control", "public, max-age=3600".to_owned())];
    Ok(Document { status: 200, content_type, body: file.bytes.into_owned(), headers })
}
