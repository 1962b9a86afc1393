//! Endpoints of sign-ups.

use super::input::{Body, SignUpMembers};
use super::reply::{self, Accepted, Found};
use crate::domain::text::Name;
use crate::error::Result;
use crate::service::{Anyone, SignUp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) async fn create(caller: Anyone, SignUpMembers(members): SignUpMembers) -> Result<Accepted> {
    caller.sign_up(SignUp::read(members)?).await?;
    Ok(Accepted)
}

/// The token of a link.
#[derive(Deserialize, JsonSchema)]
pub(super) struct TokenBody {
    /// What stands in the link after `#token=`.
    pub(super) token: String,
}

/// A confirmed sign-up.
#[derive(Serialize, JsonSchema)]
pub(super) struct ConfirmedBody {
    /// The name to sign in with.
    username: Name,
    /// Whether a super-user has to approve the account before it can be used.
    is_approval_pending: bool,
}

impl reply::Body for ConfirmedBody {}

pub(super) async fn confirm(caller: Anyone, Body(body): Body<TokenBody>) -> Result<Found<ConfirmedBody>> {
    let confirmed = caller.confirm_sign_up(&body.token).await?;
    Ok(Found(ConfirmedBody { username: confirmed.username, is_approval_pending: confirmed.is_approval_pending }))
}
