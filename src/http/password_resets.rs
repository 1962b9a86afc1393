//! Endpoints that set a password by a link.

use super::input::Body;
use super::reply::{self, Accepted, Done, Found};
use super::sign_ups::TokenBody;
use crate::domain::secret::{Password, SentCode};
use crate::domain::time::Utc;
use crate::error::{Code, Error, Result};
use crate::service::{Addressee, Anyone, Finish};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose password is to be reset: one of the two.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RequestBody {
    /// The username or login name.
    username: Option<String>,
    /// The e-mail address.
    email: Option<String>,
}

pub(super) async fn request(caller: Anyone, Body(body): Body<RequestBody>) -> Result<Accepted> {
    let whom = match (body.username, body.email) {
        (Some(username), None) => Addressee::Username(username),
        (None, Some(email)) => Addressee::Email(email),
        (Some(_), Some(_)) => return Err(Error::new(Code::Invalid).at("email", "does not go together with username")),
        (None, None) => return Err(Error::new(Code::Invalid).at("username", "is missing, and so is email")),
    };
    caller.request_reset(whom).await?;
    Ok(Accepted)
}

/// An opened link.
#[derive(Serialize, JsonSchema)]
pub(super) struct OpenedBody {
    /// The key that sets a password. It is told this once.
    reset_key: String,
    /// When it expires.
    expires_time: Utc,
    /// Whether a one-time code is demanded as well.
    is_totp_required: bool,
}

impl reply::Body for OpenedBody {}

pub(super) async fn open(caller: Anyone, Body(body): Body<TokenBody>) -> Result<Found<OpenedBody>> {
    let opened = caller.open_reset(&body.token).await?;
    Ok(Found(OpenedBody {
        reset_key: opened.reset_key.expose().to_owned(),
        expires_time: opened.expires_time,
        is_totp_required: opened.is_totp_required,
    }))
}

/// A new password.
#[derive(Deserialize, JsonSchema)]
pub(super) struct FinishBody {
    /// The key of the opened link.
    reset_key: String,
    /// The password from now on.
    new_password: Password,
    /// The one-time code, where one is demanded.
    totp_code: Option<SentCode>,
    /// Whether API keys stay good; without it they are revoked.
    #[serde(default)]
    keep_api_keys: bool,
}

pub(super) async fn finish(caller: Anyone, Body(body): Body<FinishBody>) -> Result<Done> {
    let FinishBody { reset_key, new_password, totp_code, keep_api_keys } = body;
    caller.finish_reset(Finish { reset_key, token: None, new_password, totp_code, keep_api_keys }).await?;
    Ok(Done)
}
