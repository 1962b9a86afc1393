//! Hooks: making, changing and removing receivers of account events, and looking after what could not be delivered to them.

use super::Context;
use super::caller::SuperUser;
use super::did::Did;
use super::paging::Pages;
use crate::domain::account_event::EventType;
use crate::domain::audit::Changes;
use crate::domain::hook::{EventTypes, Hook, HookUrl, HookView, KeptSecret, MOST_HOOKS, OVERLAP};
use crate::domain::ids::{HookId, HookSecretId, MessageId};
use crate::domain::outbox::{DeliveryState, Message};
use crate::domain::secret::HookSecret;
use crate::domain::text::Name;
use crate::domain::time::Utc;
use crate::error::{Code, Error, Result};
use crate::store::{Snapshot, Tx};
use serde::Serialize;
use serde_json::Value;

/// A hook to be made.
#[derive(Debug)]
pub struct NewHook {
    /// Its name.
    pub name: Name,
    /// Where notices go.
    pub url: HookUrl,
    /// What it is told of; `None` is everything.
    pub event_types: Option<EventTypes>,
    /// Whether it is told anything.
    pub is_active: bool,
}

/// A change of a hook; `None` leaves a member as it is.
#[derive(Debug, Default)]
pub struct HookPatch {
    /// Its name.
    pub name: Option<Name>,
    /// Where notices go.
    pub url: Option<HookUrl>,
    /// What it is told of; `Some(None)` is everything.
    pub event_types: Option<Option<EventTypes>>,
    /// Whether it is told anything.
    pub is_active: Option<bool>,
}

/// A message for a hook, as super-users see it: without its content.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Delivery {
    /// Its id, which the receiver knows as `webhook-id`.
    pub delivery_id: MessageId,
    /// What it tells of.
    pub event_type: Option<EventType>,
    /// Whether it waits or was given up.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is tried next; null once it is given up.
    pub next_time: Option<Utc>,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// When it was written.
    pub created_time: Utc,
}

fn unknown() -> Error {
    Error::new(Code::NotFound).because("hook_unknown")
}

fn shown(hook: &Hook) -> Result<Value> {
    serde_json::to_value(hook.view()).map_err(|e| Error::new(Code::Internal).cause(e.to_string()))
}

/// Writes a hook back that was held. What waits for one that is switched off is given up: it would be news no longer.
pub(super) fn save(tx: &mut Tx<'_>, before: &Hook, after: Hook) -> Result<(HookView, Did)> {
    tx.save_hook(&after)?;
    if before.is_active && !after.is_active {
        tx.give_up_for_hook(after.hook_id, "the hook was switched off")?;
    }
    let did = Did::to(after.hook_id).changing(Changes::between(&shown(before)?, &shown(&after)?));
    Ok((after.view(), did))
}

impl SuperUser {
    /// Makes a hook and its secret, which is told this once.
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`], [`Code::Invalid`], [`Code::ValueTaken`], [`Code::TooManyHooks`].
    pub async fn create_hook(self, new: NewHook) -> Result<(HookView, HookSecret)> {
        self.expect_proof(None)?;
        self.check_url(&new.url)?;
        let context = self.context;
        let (now, entropy) = (context.now(), &context.services.inner.entropy);
        let NewHook { name, url, event_types, is_active } = new;
        let hook_id = HookId::mint(now, entropy);
        let hook =
            Hook { hook_id, name_key: name.key(), name, url, event_types, is_active, missed_since: None, created_time: now };
        let secret = HookSecret::mint(entropy);
        let (inner, kept) = (context.clone(), secret.clone());
        context.trail.set_subject(hook_id);
        let create = move |tx: &mut Tx<'_>| {
            if tx.read().hooks()?.len() >= MOST_HOOKS {
                return Err(Error::new(Code::TooManyHooks));
            }
            tx.insert_hook(&hook)?;
            keep(&inner, tx, hook_id, &kept)?;
            let did = Did::to(hook_id).changing(Changes::between(&Value::Null, &shown(&hook)?));
            Ok((hook.view(), did))
        };
        Ok((context.change(create).await?, secret))
    }

    /// All hooks, by name.
    ///
    /// # Errors
    /// The database fails.
    pub async fn hooks(&self) -> Result<Vec<HookView>> {
        let found = self.context.services.inner.store.read(|snapshot| Ok(snapshot.hooks()?)).await?;
        Ok(found.iter().map(Hook::view).collect())
    }

    /// A hook.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn hook(&self, hook_id: HookId) -> Result<HookView> {
        self.context.trail.set_subject(hook_id);
        let found = self.context.services.inner.store.read(move |snapshot| Ok(snapshot.hook(hook_id)?)).await?;
        found.map(|hook| hook.view()).ok_or_else(unknown)
    }

    /// Changes a hook. What waits for one that is switched off is given up.
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`], [`Code::NotFound`], [`Code::Invalid`], [`Code::ValueTaken`].
    pub async fn update_hook(self, hook_id: HookId, patch: HookPatch) -> Result<HookView> {
        self.context.trail.set_subject(hook_id);
        self.expect_proof(None)?;
        if let Some(url) = &patch.url {
            self.check_url(url)?;
        }
        let HookPatch { name, url, event_types, is_active } = patch;
        if name.is_none() && url.is_none() && event_types.is_none() && is_active.is_none() {
            return Err(Error::new(Code::Invalid).detail("There is nothing to change."));
        }
        let update = move |tx: &mut Tx<'_>| {
            let before = tx.hold_hook(hook_id)?.ok_or_else(unknown)?;
            let mut after = before.clone();
            if let Some(name) = name {
                after.name_key = name.key();
                after.name = name;
            }
            after.url = url.unwrap_or(after.url);
            after.event_types = event_types.unwrap_or(after.event_types);
            after.is_active = is_active.unwrap_or(after.is_active);
            save(tx, &before, after)
        };
        self.context.change(update).await
    }

    /// Removes a hook with what waits for it.
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`], [`Code::NotFound`].
    pub async fn delete_hook(self, hook_id: HookId) -> Result<()> {
        self.context.trail.set_subject(hook_id);
        self.expect_proof(None)?;
        let delete = move |tx: &mut Tx<'_>| {
            let hook = tx.hold_hook(hook_id)?.ok_or_else(unknown)?;
            tx.delete_hook(hook_id)?;
            Ok(((), Did::to(hook_id).changing(Changes::between(&shown(&hook)?, &Value::Null))))
        };
        self.context.change(delete).await
    }

    /// Gives a hook a fresh secret, which is told this once. The one before signs as well for [`OVERLAP`].
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`], [`Code::NotFound`].
    pub async fn renew_hook_secret(self, hook_id: HookId) -> Result<(HookView, HookSecret)> {
        self.context.trail.set_subject(hook_id);
        self.expect_proof(None)?;
        let context = self.context;
        let secret = HookSecret::mint(&context.services.inner.entropy);
        let (inner, kept) = (context.clone(), secret.clone());
        let renew = move |tx: &mut Tx<'_>| {
            let hook = tx.hold_hook(hook_id)?.ok_or_else(unknown)?;
            tx.retire_hook_secrets(hook_id, inner.now() + OVERLAP)?;
            keep(&inner, tx, hook_id, &kept)?;
            Ok((hook.view(), Did::to(hook_id)))
        };
        Ok((context.change(renew).await?, secret))
    }

    /// A page of what waits for a hook and of what was given up, oldest first, and where the next one begins.
    ///
    /// # Errors
    /// [`Code::NotFound`]; [`Code::BadQuery`] for a cursor that was not given out here.
    pub async fn deliveries(&self, hook_id: HookId, limit: i64, cursor: Option<&str>) -> Result<(Vec<Delivery>, Option<String>)> {
        self.hook(hook_id).await?;
        let pages = Pages::new(&self.context, format!("deliveries {hook_id}"), limit);
        let after = pages.open(cursor, |bytes| bytes.try_into().ok().map(MessageId::from_bytes))?;
        let (context, fetch) = (self.context.clone(), pages.fetch());
        let read = move |snapshot: &mut Snapshot<'_>| {
            let found = snapshot.deliveries(hook_id, after, fetch)?;
            Ok(found.into_iter().map(|message| without_content(&context, snapshot, message)).collect())
        };
        let found = self.context.services.inner.store.read(read).await?;
        Ok(pages.cut(found, |delivery: &Delivery| delivery.delivery_id.as_bytes().to_vec()))
    }

    /// Tries a delivery again, now and then as often as a fresh one, whether it waits or was given up.
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`], [`Code::NotFound`]; [`Code::HookInactive`] for a hook that is switched off.
    pub async fn retry_delivery(self, hook_id: HookId, message_id: MessageId) -> Result<Delivery> {
        self.context.trail.set_subject(hook_id);
        self.expect_proof(None)?;
        let context = self.context.clone();
        let retry = move |tx: &mut Tx<'_>| {
            let hook = tx.hold_hook(hook_id)?.ok_or_else(unknown)?;
            if !hook.is_active {
                return Err(Error::new(Code::HookInactive));
            }
            let unknown = || Error::new(Code::NotFound).because("delivery_unknown");
            tx.read().delivery(hook_id, message_id)?.ok_or_else(unknown)?;
            tx.retry_message(message_id, context.now())?;
            let message = tx.read().delivery(hook_id, message_id)?.ok_or_else(unknown)?;
            Ok((without_content(&context, &mut tx.read(), message), Did::to(hook_id)))
        };
        self.context.change(retry).await
    }

    /// Tries everything that was given up for a hook again; tells how much that is.
    ///
    /// # Errors
    /// Those of [`SuperUser::retry_delivery`].
    pub async fn retry_given_up(self, hook_id: HookId) -> Result<usize> {
        self.context.trail.set_subject(hook_id);
        self.expect_proof(None)?;
        let now = self.context.now();
        let retry = move |tx: &mut Tx<'_>| {
            let hook = tx.hold_hook(hook_id)?.ok_or_else(unknown)?;
            if !hook.is_active {
                return Err(Error::new(Code::HookInactive));
            }
            Ok((tx.retry_given_up(hook_id, now)?, Did::to(hook_id)))
        };
        self.context.change(retry).await
    }

    /// Whether usher would post there at all, as far as the URL itself tells.
    fn check_url(&self, url: &HookUrl) -> Result<()> {
        let fits = self.context.services.inner.carriers.hook.check(url);
        fits.map_err(|flaw| Error::new(Code::Invalid).at("url", flaw))
    }
}

/// Keeps a hook's secret, encrypted.
fn keep(context: &Context, tx: &mut Tx<'_>, hook_id: HookId, secret: &HookSecret) -> Result<()> {
    let (inner, now) = (&context.services.inner, context.now());
    let hook_secret_id = HookSecretId::mint(now, &inner.entropy);
    let seat = KeptSecret::seat(hook_id, hook_secret_id);
    let (sealed, data_key_id) = inner.vault.seal(tx, seat, secret.as_bytes(), now)?;
    tx.insert_hook_secret(&KeptSecret { hook_secret_id, hook_id, sealed, data_key_id, created_time: now, valid_to: None })?;
    Ok(())
}

/// A message without its content, but for what it tells of.
fn without_content(context: &Context, snapshot: &mut Snapshot<'_>, message: Message) -> Delivery {
    let opened = context.services.inner.vault.open(snapshot, Message::seat(message.message_id), &message.sealed).ok();
    let content: Value = opened.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    Delivery {
        delivery_id: message.message_id,
        event_type: content.get("type").and_then(Value::as_str).and_then(|word| word.parse().ok()),
        state: message.state(),
        attempts: message.attempts,
        next_time: message.next_time,
        last_error: message.last_error,
        created_time: message.created_time,
    }
}
