//! The pages that links in mail lead to: static, from the binary, in the reader's language.
//!
//! They are clients of the API like any other and have no way to the services. The token of a link stands in the URL's fragment, which
//! the browser keeps to itself; a script of the page's own host reads it and calls the API. Nothing happens before the person presses
//! a button: mail programs and filters open links, too.

use super::gate::Probe;
use super::input::{Input, Parts};
use super::reply::Document;
use crate::domain::letter::Language;
use crate::error::{Code, Error, Result};
use actix_web::http::header::ACCEPT_LANGUAGE;
use schemars::SchemaGenerator;
use serde_json::{Value, json};

/// Scripts, styles and calls of the own host alone; nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; \
                      base-uri 'none'; form-action 'none'";

/// The language that a browser asks for.
pub(super) struct Reader(Language);

impl Input for Reader {
    async fn read(parts: &mut Parts) -> Result<Self> {
        let wishes = parts.request.headers().get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Ok(Self(preferred(wishes.unwrap_or_default())))
    }

    fn describe(_: &mut SchemaGenerator) -> Value {
        json!({"parameters": [{"name": "Accept-Language", "in": "header", "schema": {"type": "string"},
            "description": "The page comes in English or German, whichever is preferred."}]})
    }
}

/// Of the languages there are the one with the highest weight in an `Accept-Language` (RFC 9110, section 12.5.4), the first of equals;
/// without any, English.
fn preferred(wishes: &str) -> Language {
    let mut best = (Language::English, 0.0);
    for wish in wishes.split(',') {
        let mut parts = wish.split(';').map(str::trim);
        let range = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight: f32 = parts.find_map(|p| p.strip_prefix("q=")).map_or(1.0, |q| q.trim().parse().unwrap_or(0.0));
        let primary = range.split('-').next().unwrap_or_default();
        if let Some(language) = Language::ALL.iter().find(|l| l.as_str() == primary)
            && weight > best.1
        {
            best = (*language, weight);
        }
    }
    best.0
}

fn page(Reader(language): Reader, english: &'static str, german: &'static str) -> Document {
    let body = match language {
        Language::English => english,
        Language::German => german,
    };
    document(
        "text/html; charset=utf-8",
        body,
        vec![("vary", "accept-language".to_owned()), ("content-language", language.to_string())],
    )
}

fn document(content_type: &'static str, body: &'static str, mut headers: Vec<(&'static str, String)>) -> Document {
    headers.push(("content-security-policy", POLICY.to_owned()));
    Document { status: 200, content_type, body: body.as_bytes().to_vec(), headers }
}

pub(super) async fn confirm(_: Probe, reader: Reader) -> Result<Document> {
    Ok(page(reader, include_str!("pages/confirm.en.html"), include_str!("pages/confirm.de.html")))
}

pub(super) async fn set_password(_: Probe, reader: Reader) -> Result<Document> {
    Ok(page(reader, include_str!("pages/set-password.en.html"), include_str!("pages/set-password.de.html")))
}

pub(super) async fn forgot_password(_: Probe, reader: Reader) -> Result<Document> {
    Ok(page(reader, include_str!("pages/forgot-password.en.html"), include_str!("pages/forgot-password.de.html")))
}

/// `{file}` in the path.
pub(super) struct File(String);

impl Input for File {
    async fn read(parts: &mut Parts) -> Result<Self> {
        Ok(Self(parts.request.match_info().get("file").unwrap_or_default().to_owned()))
    }

    fn describe(_: &mut SchemaGenerator) -> Value {
        json!({"parameters": [{"name": "file", "in": "path", "required": true, "schema": {"type": "string"}}]})
    }
}

pub(super) async fn file(_: Probe, File(name): File) -> Result<Document> {
    let (content_type, body) = match name.as_str() {
        "account.css" => ("text/css; charset=utf-8", include_str!("pages/account.css")),
        "account.js" => ("text/javascript; charset=utf-8", include_str!("pages/account.js")),
        _ => return Err(Error::new(Code::NotFound)),
    };
    Ok(document(content_type, body, vec![("cache-control", "public, max-age=300".to_owned())]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_preferred_language() {
        let told = |wishes: &str| preferred(wishes).as_str();
        for (wishes, expected) in [
            ("", "en"),
            ("de", "de"),
            ("de-AT,de;q=0.9,en;q=0.8", "de"),
            ("en;q=0.5, DE;q=0.7", "de"),
            ("fr, en;q=0.1, de;q=0.1", "en"),
            ("fr", "en"),
            ("de;q=0", "en"),
            ("deutsch", "en"),
            ("de;q=nonsense,en", "en"),
        ] {
            assert_eq!(told(wishes), expected, "{wishes}");
        }
    }

    proptest! {
        #[test]
        fn any_header_has_a_language(wishes in ".{0,60}") {
            let _ = preferred(&wishes);
        }
    }
}
