//! The courier: takes what is due from the outbox and hands it to its carrier.
//!
//! Every node has a courier for each way; a message is claimed before it is carried, so that two do not carry the same one at once. What
//! fails is tried again after [`outbox::delay`], and given up after its last one. What happened since a message was claimed cannot be
//! known when a node dies: it is carried again, under the same id.

use super::Services;
use super::vault::Vault;
use crate::domain::ids::{HookId, MessageId, UserId};
use crate::domain::outbox::{self, Message, MessageKind};
use crate::domain::time::Utc;
use crate::error::Result;
use crate::outbound::hook::Poster;
use crate::outbound::{Carrier, Undelivered};
use crate::store::Tx;
use futures_util::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Messages carried at once, of each kind, by one node.
const AT_ONCE: i64 = 8;
/// What is kept of a cause, in characters.
const CAUSE: usize = 300;

/// The ways that there are.
#[derive(Clone)]
pub(super) struct Carriers {
    pub(super) mail: Option<Arc<dyn Carrier>>,
    pub(super) hook: Poster,
}

/// What wakes couriers before their next look. A bell is pulled within a transaction and rings once one is over: at worst too early,
/// for a message of another that is not over yet, and then that one waits for the next look.
#[derive(Default)]
pub(super) struct Bells {
    mail: Bell,
    letter: Bell,
    hook: Bell,
    errand: Bell,
}

#[derive(Default)]
struct Bell {
    is_pulled: AtomicBool,
    sound: Notify,
}

impl Bells {
    fn of(&self, kind: MessageKind) -> &Bell {
        match kind {
            MessageKind::Mail => &self.mail,
            MessageKind::Letter => &self.letter,
            MessageKind::Hook => &self.hook,
            MessageKind::Errand => &self.errand,
        }
    }

    /// Rings those that were pulled.
    pub(super) fn ring(&self) {
        for bell in MessageKind::ALL.iter().map(|kind| self.of(*kind)) {
            if bell.is_pulled.swap(false, Ordering::AcqRel) {
                bell.sound.notify_one();
            }
        }
    }
}

/// Puts a message into the outbox, within the transaction of the change that it tells of. `user_id`: whose deletion takes it away.
pub(super) fn send(
    services: &Services,
    tx: &mut Tx<'_>,
    kind: MessageKind,
    user_id: Option<UserId>,
    content: &[u8],
    now: Utc,
) -> Result<MessageId> {
    let message_id = MessageId::mint(now, &services.inner.entropy);
    put(services, tx, message_id, kind, user_id, None, content, now, now)?;
    Ok(message_id)
}

/// Puts a letter into the outbox that is not sent before `due`.
pub(super) fn send_at(
    services: &Services,
    tx: &mut Tx<'_>,
    kind: MessageKind,
    user_id: UserId,
    content: &[u8],
    now: Utc,
    due: Utc,
) -> Result<()> {
    let message_id = MessageId::mint(now, &services.inner.entropy);
    put(services, tx, message_id, kind, Some(user_id), None, content, now, due)
}

/// Puts a message for a hook into the outbox, likewise. It bears its id in its content.
pub(super) fn send_to_hook(
    services: &Services,
    tx: &mut Tx<'_>,
    hook_id: HookId,
    content: impl FnOnce(MessageId) -> Result<Vec<u8>>,
    now: Utc,
) -> Result<()> {
    let message_id = MessageId::mint(now, &services.inner.entropy);
    put(services, tx, message_id, MessageKind::Hook, None, Some(hook_id), &content(message_id)?, now, now)
}

#[expect(clippy::too_many_arguments, reason = "what a message has, for the functions above alone")]
fn put(
    services: &Services,
    tx: &mut Tx<'_>,
    message_id: MessageId,
    kind: MessageKind,
    user_id: Option<UserId>,
    hook_id: Option<HookId>,
    content: &[u8],
    now: Utc,
    due: Utc,
) -> Result<()> {
    let (sealed, data_key_id) = services.inner.vault.seal(tx, Message::seat(message_id), content, now)?;
    let message = Message {
        message_id,
        kind,
        user_id,
        sealed,
        data_key_id,
        attempts: 0,
        next_time: Some(due),
        last_error: None,
        created_time: now,
        hook_id,
    };
    tx.insert_message(&message)?;
    services.inner.bells.of(kind).is_pulled.store(true, Ordering::Release);
    Ok(())
}

impl Services {
    /// Waits until there may be messages of a kind.
    pub async fn rung(&self, kind: MessageKind) {
        self.inner.bells.of(kind).sound.notified().await;
    }

    /// Carries the messages of a kind that are due; returns how many were taken up. Without a way for them they stay. Those for hooks
    /// are carried in lanes of their own, which are opened and not waited for.
    ///
    /// # Errors
    /// The database fails.
    pub async fn deliver(&self, kind: MessageKind) -> Result<usize> {
        let carrier = match kind {
            MessageKind::Mail | MessageKind::Letter => self.inner.carriers.mail.clone(),
            MessageKind::Hook => return self.open_lanes().await.map(|()| 0),
            MessageKind::Errand => None,
        };
        if carrier.is_none() && kind != MessageKind::Errand {
            return Ok(0);
        }
        let now = self.inner.clock.now();
        if !self.inner.store.read(move |snapshot| Ok(snapshot.has_due_message(kind, now)?)).await? {
            return Ok(0);
        }
        let vault = self.inner.vault.clone();
        let claim = move |tx: &mut Tx<'_>| {
            let claimed = tx.claim_messages(kind, now, AT_ONCE)?;
            Ok(claimed.into_iter().map(|message| opened(&vault, tx, message)).collect::<Vec<_>>())
        };
        let claimed = self.inner.store.keep_count(claim).await?;
        let count = claimed.len();
        let carried = claimed.into_iter().map(|(message, content)| {
            let carrier = carrier.clone();
            async move {
                let outcome = match (content, carrier) {
                    (Ok(content), Some(carrier)) => carrier.carry(message.message_id, content).await,
                    (Ok(content), None) => self.run_errand(message.message_id, &content).await,
                    (Err(cause), _) => Err(Undelivered::Yet(cause)),
                };
                self.settle(message, outcome).await
            }
        });
        join_all(carried).await.into_iter().collect::<Result<Vec<()>>>()?;
        Ok(count)
    }

    pub(super) async fn settle(&self, message: Message, outcome: std::result::Result<(), Undelivered>) -> Result<()> {
        let Message { message_id, kind, attempts, hook_id, .. } = message;
        let now = self.inner.clock.now();
        let (cause, next_time) = match outcome {
            Ok(()) => return self.inner.store.keep_count(move |tx| Ok(tx.remove_message(message_id)?)).await,
            Err(Undelivered::Yet(cause)) => (cause, outbox::delay(attempts).map(|delay| now + delay)),
            Err(Undelivered::Ever(cause)) => (cause, None),
            // Another node may be of that build, now or soon: it is due for everyone again, as if this one had not taken it up.
            Err(Undelivered::Foreign(cause)) => {
                tracing::warn!(%message_id, %kind, cause, "a message is left for a node of another version");
                let next_time = now + outbox::LEASE;
                return self.inner.store.keep_count(move |tx| Ok(tx.leave_message(message_id, attempts, next_time)?)).await;
            }
            Err(Undelivered::Gone(cause)) => {
                if let Some(hook_id) = hook_id {
                    self.switch_off(hook_id).await?;
                }
                (cause, None)
            }
        };
        let cause: String = cause.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CAUSE).collect();
        tracing::warn!(%message_id, %kind, attempts, cause, is_given_up = next_time.is_none(), "a message was not delivered");
        self.inner.store.keep_count(move |tx| Ok(tx.postpone_message(message_id, attempts, next_time, &cause)?)).await
    }
}

pub(super) fn opened(vault: &Vault, tx: &mut Tx<'_>, message: Message) -> (Message, std::result::Result<Vec<u8>, String>) {
    let content = vault.open(&mut tx.read(), Message::seat(message.message_id), &message.sealed);
    let content = content.map(|c| c.to_vec()).map_err(|e| e.logged_cause().unwrap_or_default().to_owned());
    (message, content)
}
