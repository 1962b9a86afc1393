//! Lanes: how notices are carried to hooks. Each hook has a lane of its own on every node, so a receiver that hangs holds up nobody else.
//!
//! A lane is a task that takes up what is due for its hook, a few messages at a time, signs and posts them, until nothing is due. It is
//! opened by a look into the outbox that finds something due; there are as many lanes as hooks at most.

use super::courier::opened;
use super::{Call, Context, Services};
use crate::domain::audit::{Action, Actor, ActorType};
use crate::domain::hook::{Hook, KeptSecret, signature};
use crate::domain::ids::HookId;
use crate::domain::outbox::Message;
use crate::domain::secret::HookSecret;
use crate::domain::time::Utc;
use crate::error::{Code, Error, Result};
use crate::outbound::Undelivered;
use crate::outbound::hook::Posting;
use crate::store::Tx;
use futures_util::future::join_all;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Messages carried to one hook at once, by one node.
const AT_ONCE: i64 = 4;

/// The hooks that a lane of this node is open to.
#[derive(Clone, Default)]
pub(super) struct Lanes(Arc<Mutex<HashSet<HookId>>>);

impl Lanes {
    fn lock(&self) -> MutexGuard<'_, HashSet<HookId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane to this hook, if there is none yet. It is closed when dropped.
    fn open(&self, hook_id: HookId) -> Option<OpenLane> {
        self.lock().insert(hook_id).then(|| OpenLane { lanes: self.clone(), hook_id })
    }
}

struct OpenLane {
    lanes: Lanes,
    hook_id: HookId,
}

impl Drop for OpenLane {
    fn drop(&mut self) {
        self.lanes.lock().remove(&self.hook_id);
    }
}

/// What was taken up for a hook.
struct Claimed {
    hook: Hook,
    secrets: Vec<HookSecret>,
    messages: Vec<(Message, std::result::Result<Vec<u8>, String>)>,
}

impl Services {
    /// Opens a lane to each hook that something is due for and that has none.
    pub(super) async fn open_lanes(&self) -> Result<()> {
        let (now, limit) = (self.inner.clock.now(), self.inner.max_waiting.into());
        for lane in self.inner.store.read(move |snapshot| Ok(snapshot.lanes(now, limit)?)).await? {
            self.make_up(lane).await?;
            if lane.is_due
                && let Some(open) = self.inner.lanes.open(lane.hook_id)
            {
                tokio::spawn(self.clone().serve(open));
            }
        }
        Ok(())
    }

    async fn serve(self, lane: OpenLane) {
        loop {
            match self.carry_to(lane.hook_id).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(hook_id = %lane.hook_id, cause = error.logged_cause(), "a hook's messages cannot be carried");
                    return;
                }
            }
        }
    }

    /// Carries a few messages to a hook; returns how many were taken up.
    async fn carry_to(&self, hook_id: HookId) -> Result<usize> {
        let now = self.inner.clock.now();
        let vault = self.inner.vault.clone();
        let claim = move |tx: &mut Tx<'_>| {
            let claimed = tx.claim_for_hook(hook_id, now, AT_ONCE)?;
            let Some(hook) = tx.read().hook(hook_id)?.filter(|_| !claimed.is_empty()) else { return Ok(None) };
            let messages = claimed.into_iter().map(|message| opened(&vault, tx, message)).collect();
            let mut secrets = Vec::new();
            for KeptSecret { hook_secret_id, sealed, .. } in tx.read().hook_secrets(hook_id, now)? {
                let bytes = vault.open(&mut tx.read(), KeptSecret::seat(hook_id, hook_secret_id), &sealed)?;
                secrets.extend(HookSecret::from_bytes(&bytes));
            }
            Ok(Some(Claimed { hook, secrets, messages }))
        };
        let Some(Claimed { hook, secrets, messages }) = self.inner.store.keep_count(claim).await? else { return Ok(0) };
        let count = messages.len();
        let carried = messages.into_iter().map(|(message, content)| {
            let (hook, secrets) = (&hook, &secrets);
            async move {
                let outcome = match content {
                    Ok(_) if !hook.is_active => Err(Undelivered::Ever("the hook is switched off".to_owned())),
                    Ok(body) => {
                        let posting = posting(hook, secrets, &message, body, self.inner.clock.now());
                        self.inner.carriers.hook.post(posting).await
                    }
                    Err(cause) => Err(Undelivered::Yet(cause)),
                };
                self.settle(message, outcome).await
            }
        });
        join_all(carried).await.into_iter().collect::<Result<Vec<()>>>()?;
        Ok(count)
    }

    /// A receiver said that it is there no longer: its hook is switched off, by usher itself.
    pub(super) async fn switch_off(&self, hook_id: HookId) -> Result<()> {
        let now = self.inner.clock.now();
        let cid = format!("hook-{:032x}", u128::from_be_bytes(self.inner.entropy.bytes()));
        let context = Context::new(self.clone(), Call::internal(now, cid, Action::HookUpdate));
        context.trail.set_actor(Actor { kind: ActorType::System, id: None, session: None });
        let switch = move |tx: &mut Tx<'_>| {
            let on = tx.hold_hook(hook_id)?.filter(|hook| hook.is_active);
            let before = on.ok_or_else(|| Error::new(Code::NotFound).because("hook_unknown"))?;
            super::hooks::save(tx, &before, Hook { is_active: false, ..before.clone() })
        };
        match context.change(switch).await {
            Ok(_) => Ok(()),
            // Removed or switched off meanwhile, which is as good.
            Err(error) if error.code() == Code::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What is posted: the body, and the headers of the Standard Webhooks specification, with a signature for each secret in use.
fn posting(hook: &Hook, secrets: &[HookSecret], message: &Message, body: Vec<u8>, now: Utc) -> Posting {
    let (id, seconds) = (message.message_id.to_string(), now.micros().div_euclid(1_000_000));
    let signatures: Vec<String> = secrets.iter().map(|secret| signature(secret, &id, seconds, &body)).collect();
    Posting { url: hook.url.clone(), id, seconds, signatures: signatures.join(" "), body }
}
