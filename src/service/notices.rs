//! Notices: what every change may write into the outbox, within its own transaction.
//!
//! Nothing is written where no hook listens. For each hook only so many messages may wait (`hooks.max_waiting`): beyond it events are
//! left out, and once half of the messages are gone the receiver is told that it missed some, and since when. A burst of
//! changes therefore neither fills the database nor takes the receiver by surprise.

use super::Services;
use super::courier::send_to_hook;
use crate::domain::account_event::{AccountEvent, EventType, Missed, types_of};
use crate::domain::audit::Event;
use crate::domain::hook::Hook;
use crate::domain::ids::MessageId;
use crate::domain::time::Utc;
use crate::error::{Code, Error, Result};
use crate::store::{Lane, Tx};
use serde::Serialize;

/// Tells the hooks that listen of events, in the transaction of the change that they are about.
pub(super) fn notify(services: &Services, tx: &mut Tx<'_>, events: &[Event], now: Utc) -> Result<()> {
    let mut types = events.iter().map(|event| (event, types_of(event))).filter(|(_, types)| !types.is_empty()).peekable();
    if types.peek().is_none() {
        return Ok(());
    }
    let mut hooks = tx.hold_listening_hooks()?;
    for (event, types) in types {
        // One that begins to miss events misses the rest of these.
        let mut full = Vec::new();
        for hook in &hooks {
            for kind in types.iter().filter(|kind| hook.listens_to(**kind)) {
                if is_full(services, tx, hook)? {
                    tx.begin_to_miss(hook.hook_id, now)?;
                    full.push(hook.hook_id);
                    break;
                }
                let notice = |id| written(&AccountEvent::of(id, *kind, event));
                send_to_hook(services, tx, hook.hook_id, notice, now)?;
            }
        }
        hooks.retain(|hook| !full.contains(&hook.hook_id));
    }
    Ok(())
}

/// Whether no more may wait for a hook. It is counted at random, once in a hundredth of what may wait: counting costs as much as there is to
/// count, and no pattern of events must keep a hook from being counted.
fn is_full(services: &Services, tx: &mut Tx<'_>, hook: &Hook) -> Result<bool> {
    let limit = services.inner.max_waiting;
    let draw = u32::from_be_bytes(services.inner.entropy.bytes());
    if !draw.is_multiple_of((limit / 100).max(1)) {
        return Ok(false);
    }
    Ok(tx.read().waiting_for_hook(hook.hook_id, limit.into())? >= limit.into())
}

fn written(notice: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(notice).map_err(|e| Error::new(Code::Internal).cause(e.to_string()))
}

impl Services {
    /// Takes the telling of events up again for a hook that missed some, once there is room.
    pub(super) async fn make_up(&self, lane: Lane) -> Result<()> {
        // One that is switched off is told once it is switched on.
        let has_room = lane.is_active && lane.waiting <= i64::from(self.inner.max_waiting / 2);
        let Some(from) = lane.missed_since.filter(|_| has_room) else { return Ok(()) };
        let (services, now, hook_id) = (self.clone(), self.inner.clock.now(), lane.hook_id);
        let make_up = move |tx: &mut Tx<'_>| {
            // Another node may have been first.
            if tx.hold_hook(hook_id)?.is_some_and(|hook| hook.is_active) && tx.end_to_miss(hook_id)? {
                let missed = |id: MessageId| written(&Missed { id, kind: EventType::EventsMissed, time: now, from });
                send_to_hook(&services, tx, hook_id, missed, now)?;
            }
            Ok(())
        };
        self.inner.store.keep_count(make_up).await
    }
}
