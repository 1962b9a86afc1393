//! Endpoints of signed tokens.

use super::gate::Probe;
use super::input::Body;
use super::reply::{self, Created, Document};
use crate::domain::signed_token::Scope;
use crate::domain::signing_key::{Jwk, KEPT_BY_VERIFIERS};
use crate::domain::time::Utc;
use crate::error::{Code, Error, Result};
use crate::service::SignedIn;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What a token is to be for.
#[derive(Deserialize, JsonSchema)]
pub(super) struct TokenBody {
    /// The name of the application that it is for.
    audience: String,
    /// What of the user it tells; nothing if absent.
    #[serde(default)]
    #[schemars(with = "Vec<Scope>")]
    scopes: Vec<String>,
}

/// A token just issued.
#[derive(Serialize, JsonSchema)]
pub(super) struct NewTokenBody {
    /// The token, a JWT.
    token: String,
    /// `Bearer` (RFC 6750).
    token_type: &'static str,
    /// The name of the application that it is for.
    audience: String,
    /// What of the user it tells: words with spaces between.
    scope: String,
    /// It is good until then.
    expires_time: Utc,
    /// False: the end of the session, however it comes, reaches the token only at `expires_time`.
    revocable: bool,
}

impl reply::Body for NewTokenBody {}

pub(super) async fn issue(caller: SignedIn, Body(body): Body<TokenBody>) -> Result<Created<NewTokenBody>> {
    let unfit = |flaw: String| Error::new(Code::Invalid).at("scopes", format!("has a word that {flaw}"));
    let scopes = body.scopes.iter().map(|word| word.parse().map_err(unfit)).collect::<Result<Vec<Scope>>>()?;
    let issued = caller.issue_token(&body.audience, scopes).await?;
    let body = NewTokenBody {
        token: issued.token.to_string(),
        token_type: "Bearer",
        audience: issued.audience,
        scope: issued.scope,
        expires_time: issued.expires_time,
        revocable: false,
    };
    Ok(Created { body, cookie: None })
}

/// The JSON Web Key Set (RFC 7517, section 5).
pub(super) async fn published(Probe(context): Probe, (): ()) -> Result<Document> {
    Ok(key_set(&context.services().published_keys().await?))
}

/// The set of the keys that sign heads of the audit trail.
pub(super) async fn published_of_audit(Probe(context): Probe, (): ()) -> Result<Document> {
    Ok(key_set(&context.services().published_audit_keys().await?))
}

/// While there is no key yet, nobody is to remember that.
fn key_set(keys: &[Jwk]) -> Document {
    let kept = if keys.is_empty() { "no-store".to_owned() } else { format!("public, max-age={}", KEPT_BY_VERIFIERS.as_secs()) };
    let body = json!({ "keys": keys }).to_string().into_bytes();
    Document { status: 200, content_type: "application/jwk-set+json", body, headers: vec![("cache-control", kept)] }
}
