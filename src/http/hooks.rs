//! Endpoints of hooks.

use super::groups::PageQuery;
use super::input::{Body, DeliverySegment, HookSegment, Query, page_limit};
use super::reply::{self, Created, Done, Found, Items, Paged};
use crate::domain::account_event::EventType;
use crate::domain::hook::{EventTypes, HookUrl, HookView};
use crate::domain::secret::HookSecret;
use crate::domain::text::Name;
use crate::error::{Code, Error, Result};
use crate::service::{Delivery, HookPatch, NewHook, SuperUser};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// A hook to be made.
#[derive(Deserialize, JsonSchema)]
pub(super) struct HookBody {
    /// Its name; unique without regard to case.
    name: String,
    /// Where notices go.
    url: String,
    /// What it is told of; everything if absent or null.
    #[schemars(with = "Option<Vec<EventType>>")]
    event_types: Option<Vec<String>>,
    /// Whether it is told anything; true if absent.
    #[serde(default = "yes")]
    is_active: bool,
}

fn yes() -> bool {
    true
}

/// A change of a hook; what is absent stays as it is.
#[derive(Deserialize, JsonSchema)]
pub(super) struct HookPatchBody {
    /// Its name; unique without regard to case.
    name: Option<String>,
    /// Where notices go.
    url: Option<String>,
    /// What it is told of; null is everything.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<Vec<EventType>>")]
    event_types: Option<Option<Vec<String>>>,
    /// Whether it is told anything. What waits for a hook that is switched off is given up.
    is_active: Option<bool>,
}

/// Tells a member that is null from one that is absent.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Vec<String>>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A hook with its secret.
#[derive(Serialize, JsonSchema)]
pub(super) struct HookWithSecret {
    /// The hook.
    #[serde(flatten)]
    hook: HookView,
    /// The secret that notices are signed with. It is told this once.
    secret: String,
}

impl HookWithSecret {
    fn new((hook, secret): (HookView, HookSecret)) -> Self {
        Self { hook, secret: secret.expose().to_string() }
    }
}

impl reply::Body for HookView {}
impl reply::Body for HookWithSecret {}
impl reply::Body for Delivery {}

fn name(text: String) -> Result<Name> {
    Name::try_from(text).map_err(|e| Error::new(Code::Invalid).at("name", e.to_string()))
}

fn url(text: String) -> Result<HookUrl> {
    HookUrl::parse(text).map_err(|flaw| Error::new(Code::Invalid).at("url", flaw))
}

fn event_types(words: Option<Vec<String>>) -> Result<Option<EventTypes>> {
    let Some(words) = words else { return Ok(None) };
    let unfit = |flaw: String| Error::new(Code::Invalid).at("event_types", flaw);
    let read = |word: &String| word.parse::<EventType>().map_err(|flaw| unfit(format!("has a word that {flaw}")));
    let types = words.iter().map(read).collect::<Result<Vec<EventType>>>()?;
    EventTypes::of(&types).map(Some).ok_or_else(|| unfit("is empty; null is everything".to_owned()))
}

pub(super) async fn list(caller: SuperUser, (): ()) -> Result<Found<Items<HookView>>> {
    Ok(Found(Items { items: caller.hooks().await? }))
}

pub(super) async fn create(caller: SuperUser, Body(body): Body<HookBody>) -> Result<Created<HookWithSecret>> {
    let new = NewHook {
        name: name(body.name)?,
        url: url(body.url)?,
        event_types: event_types(body.event_types)?,
        is_active: body.is_active,
    };
    Ok(Created { body: HookWithSecret::new(caller.create_hook(new).await?), cookie: None })
}

pub(super) async fn by_id(caller: SuperUser, hook: HookSegment) -> Result<Found<HookView>> {
    Ok(Found(caller.hook(hook.0).await?))
}

pub(super) async fn update(caller: SuperUser, (hook, Body(body)): (HookSegment, Body<HookPatchBody>)) -> Result<Found<HookView>> {
    let patch = HookPatch {
        name: body.name.map(name).transpose()?,
        url: body.url.map(url).transpose()?,
        event_types: body.event_types.map(event_types).transpose()?,
        is_active: body.is_active,
    };
    Ok(Found(caller.update_hook(hook.0, patch).await?))
}

pub(super) async fn delete(caller: SuperUser, hook: HookSegment) -> Result<Done> {
    caller.delete_hook(hook.0).await?;
    Ok(Done)
}

pub(super) async fn renew_secret(caller: SuperUser, hook: HookSegment) -> Result<Found<HookWithSecret>> {
    Ok(Found(HookWithSecret::new(caller.renew_hook_secret(hook.0).await?)))
}

pub(super) async fn deliveries(
    caller: SuperUser,
    (hook, Query(query)): (HookSegment, Query<PageQuery>),
) -> Result<Found<Paged<Delivery>>> {
    let (limit, cursor) = query.parts();
    let (items, next_cursor) = caller.deliveries(hook.0, page_limit(limit)?, cursor.as_deref()).await?;
    Ok(Found(Paged { items, next_cursor }))
}

pub(super) async fn retry(caller: SuperUser, (hook, delivery): (HookSegment, DeliverySegment)) -> Result<Found<Delivery>> {
    Ok(Found(caller.retry_delivery(hook.0, delivery.0).await?))
}
