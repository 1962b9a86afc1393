//! `usher hook …`

use super::{Common, Exit, Outcome, output};
use crate::domain::account_event::EventType;
use crate::domain::audit::Action;
use crate::domain::hook::{EventTypes, HookUrl, HookView};
use crate::domain::ids::MessageId;
use crate::domain::text::{Name, fold};
use crate::error::{Code, Error};
use crate::service::{Delivery, NewHook, SuperUser};
use clap::Subcommand;
use serde_json::{Value, json};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a hook and print its secret, which is told this once.
    Create {
        /// Its name.
        name: Name,
        /// Where notices go.
        #[arg(value_parser = |text: &str| HookUrl::parse(text.to_owned()))]
        url: HookUrl,
        /// What it is told of, such as user.created; everything if none is given.
        #[arg(long = "event", value_name = "TYPE")]
        events: Vec<EventType>,
    },
    /// List hooks by name.
    List,
    /// Show a hook.
    Show {
        /// Its name or hook_id.
        hook: String,
    },
    /// Remove a hook with what waits for it.
    Delete {
        /// Its name or hook_id.
        hook: String,
    },
    /// List what waits for a hook, and what was given up.
    Deliveries {
        /// Its name or hook_id.
        hook: String,
    },
    /// Try a delivery again, or all that were given up.
    Retry {
        /// The hook's name or hook_id.
        hook: String,
        /// The delivery; all that were given up if none is given.
        delivery: Option<MessageId>,
    },
}

/// Deliveries read at a time.
const PAGE: i64 = 500;

pub(super) async fn execute(common: &Common, command: Command) -> Outcome {
    match command {
        Command::Create { name, url, events } => {
            let new = NewHook { name, url, event_types: EventTypes::of(&events), is_active: true };
            let (hook, secret) = common.act(Action::HookCreate, |root| root.create_hook(new)).await?;
            if common.json {
                return output::json(&json!({"hook_id": hook.hook_id, "name": hook.name, "secret": secret.expose().as_str()}));
            }
            output::line(&secret.expose())
        }
        Command::List => {
            let hooks = common.act(Action::HookList, |root: SuperUser| async move { root.hooks().await }).await?;
            if common.json {
                return output::json(&json!({ "items": hooks }));
            }
            hooks.iter().try_for_each(|h| {
                let state = if h.is_active { "active" } else { "off" };
                output::line(&format!("{}  {state:<6}  {}  {}", h.hook_id, h.name, h.url))
            })
        }
        Command::Show { hook } => {
            let show = |root: SuperUser| async move {
                let found = find(&root, &hook).await?;
                root.hook(found.hook_id).await
            };
            let hook = common.act(Action::HookRead, show).await?;
            if common.json {
                return output::json(&hook);
            }
            let members: Value = serde_json::to_value(&hook).map_err(|e| Exit::Refused(e.to_string()))?;
            output::members(&members)
        }
        Command::Delete { hook } => {
            let delete = |root: SuperUser| async move {
                let found = find(&root, &hook).await?;
                root.delete_hook(found.hook_id).await.map(|()| found.hook_id)
            };
            let hook_id = common.act(Action::HookDelete, delete).await?;
            if common.json {
                return output::json(&json!({ "hook_id": hook_id }));
            }
            output::line(&format!("{hook_id} is removed"))
        }
        Command::Deliveries { hook } => {
            let list = |root: SuperUser| async move {
                let found = find(&root, &hook).await?;
                deliveries(&root, &found).await
            };
            let deliveries = common.act(Action::DeliveryList, list).await?;
            if common.json {
                return output::json(&json!({ "items": deliveries }));
            }
            deliveries.iter().try_for_each(|d| {
                let event = d.event_type.map_or("-", EventType::as_str);
                let error = d.last_error.as_deref().unwrap_or("-");
                output::line(&format!("{}  {:<8}  {event}  {} tries  {error}", d.delivery_id, d.state, d.attempts))
            })
        }
        Command::Retry { hook, delivery } => {
            let retry = |root: SuperUser| async move {
                let found = find(&root, &hook).await?;
                match delivery {
                    Some(delivery) => root.retry_delivery(found.hook_id, delivery).await.map(|_| 1),
                    None => root.retry_given_up(found.hook_id).await,
                }
            };
            let retried = common.act(Action::DeliveryRetry, retry).await?;
            if common.json {
                return output::json(&json!({ "retried": retried }));
            }
            output::line(&format!("{retried} tried again"))
        }
    }
}

async fn find(root: &SuperUser, hook: &str) -> crate::error::Result<HookView> {
    let key = fold(hook);
    let unknown = || Error::new(Code::NotFound).because("hook_unknown").detail(format!("There is no hook {hook}."));
    let hooks = root.hooks().await?;
    hooks.into_iter().find(|h| h.name.key() == key || h.hook_id.to_string() == key).ok_or_else(unknown)
}

async fn deliveries(root: &SuperUser, hook: &HookView) -> crate::error::Result<Vec<Delivery>> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let (page, next) = root.deliveries(hook.hook_id, PAGE, cursor.as_deref()).await?;
        all.extend(page);
        match next {
            Some(next) => cursor = Some(next),
            None => return Ok(all),
        }
    }
}
