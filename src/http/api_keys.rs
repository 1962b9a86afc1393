//! Endpoints of API keys.

use super::input::{Body, KeySegment, Query, page_limit};
use super::reply::{self, Created, Done, Found, Items, Paged};
use crate::domain::api_key::{ApiKeyView, KeyScope};
use crate::domain::ids::UserId;
use crate::domain::secret::{ApiKeyToken, SentCode};
use crate::domain::text::Name;
use crate::domain::time::Utc;
use crate::error::{Code, Error, Result};
use crate::service::{Authenticated, Lifetime, NewApiKey, SignedIn, SuperUser};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An API key of one's own to be made.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OwnKeyBody {
    /// What it is for.
    name: String,
    /// What it may do: `read` (the default) or `manage`.
    scope: Option<KeyScope>,
    /// Seconds after which it expires.
    expires_in: Option<u64>,
    /// When it expires, instead; without either, when the settings say.
    expiry: Option<Utc>,
    /// The one-time code, where the caller's account has one; a recovery code in its place is good once.
    totp_code: Option<SentCode>,
}

/// An API key to be made for a user.
#[derive(Deserialize, JsonSchema)]
pub(super) struct KeyBody {
    /// As whom it acts.
    user_id: String,
    #[serde(flatten)]
    key: OwnKeyBody,
}

/// An API key just made.
#[derive(Serialize, JsonSchema)]
pub(super) struct NewKeyBody {
    /// The key's public part.
    #[serde(flatten)]
    view: ApiKeyView,
    /// The key. It is told this once.
    key: String,
}
impl reply::Body for NewKeyBody {}

impl From<(ApiKeyView, ApiKeyToken)> for NewKeyBody {
    fn from((view, token): (ApiKeyView, ApiKeyToken)) -> Self {
        Self { view, key: token.expose().to_owned() }
    }
}

/// Which keys are listed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysQuery {
    /// Only those of this user.
    user_id: Option<String>,
    /// Keys on a page, 1 to 500; 50 by default.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<i64>,
    /// Where the page before this one ended.
    cursor: Option<String>,
}

impl OwnKeyBody {
    fn read(self) -> Result<(NewApiKey, Option<SentCode>)> {
        let name = Name::try_from(self.name).map_err(|e| Error::new(Code::Invalid).at("name", e.to_string()))?;
        let lifetime = Lifetime::read(self.expires_in, self.expiry)?;
        Ok((NewApiKey { name, scope: self.scope.unwrap_or(KeyScope::Read), lifetime }, self.totp_code))
    }
}

pub(super) async fn own(caller: Authenticated, (): ()) -> Result<Found<Items<ApiKeyView>>> {
    Ok(Found(Items { items: caller.own_api_keys().await? }))
}

pub(super) async fn create_own(caller: SignedIn, Body(body): Body<OwnKeyBody>) -> Result<Created<NewKeyBody>> {
    let (new, code) = body.read()?;
    Ok(Created { body: caller.create_own_api_key(new, code.as_ref()).await?.into(), cookie: None })
}

pub(super) async fn revoke_own(caller: SignedIn, key: KeySegment) -> Result<Done> {
    caller.revoke_own_api_key(key.0).await?;
    Ok(Done)
}

pub(super) async fn list(caller: SuperUser, Query(query): Query<KeysQuery>) -> Result<Found<Paged<ApiKeyView>>> {
    let bad = |_| Error::new(Code::BadQuery).at("user_id", "is no UUID");
    let of: Option<UserId> = query.user_id.map(|id| id.parse()).transpose().map_err(bad)?;
    let (items, next_cursor) = caller.api_keys(of, page_limit(query.limit)?, query.cursor.as_deref()).await?;
    Ok(Found(Paged { items, next_cursor }))
}

pub(super) async fn create(caller: SuperUser, Body(body): Body<KeyBody>) -> Result<Created<NewKeyBody>> {
    let unfit = |_| Error::new(Code::Invalid).because("user_unknown").at("user_id", "names no user");
    let user_id: UserId = body.user_id.parse().map_err(unfit)?;
    let (new, code) = body.key.read()?;
    Ok(Created { body: caller.create_api_key(user_id, new, code.as_ref()).await?.into(), cookie: None })
}

pub(super) async fn revoke(caller: SuperUser, key: KeySegment) -> Result<Done> {
    caller.revoke_api_key(key.0).await?;
    Ok(Done)
}
