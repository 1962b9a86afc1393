//! Notices: what every change may write into the outbox, within its own transaction.
//!
//! Nothing is written where no hook listens. For each hook only so many messages may wait (`hooks.max_waiting`): beyond it events are
//! left out, and once half of the messages are gone the receiver is told that it missed some, and since when. An import of a million
//! users therefore neither fills the database nor takes the receiver by surprise.

use super::Services;
use super::courier::send_to_hook;
use crate::domain::audit::Event;
use crate::domain::hook::Hook;
use crate::domain::ids::MessageId;
use crate::domain::notice::{EventType, Missed, Notice, types_of};
use crate::domain::time::Utc;
use crate::error::{Code, Error, Result};
use crate::store::{Lane, Tx};
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many messages may wait for one hook.
pub(super) struct Allowance {
    limit: i64,
    /// Notices written by this process. What waits is counted now and then: counting costs as much as there is to count.
    written: AtomicU64,
}

impl Allowance {
    /// Of so many messages.
    pub(super) fn new(limit: u32) -> Self {
        Self { limit: limit.into(), written: AtomicU64::new(0) }
    }

    fn is_time_to_count(&self) -> bool {
        let stride = (self.limit.unsigned_abs() / 100).max(1);
        self.written.fetch_add(1, Ordering::Relaxed).is_multiple_of(stride)
    }
}

/// Tells the hooks that listen of an event, in the transaction of the change that it is about.
pub(super) fn notify(services: &Services, tx: &mut Tx<'_>, event: &Event, now: Utc) -> Result<()> {
    let types = types_of(event);
    if types.is_empty() {
        return Ok(());
    }
    for hook in tx.hold_listening_hooks()? {
        for kind in types.iter().filter(|kind| hook.listens_to(**kind)) {
            if is_full(services, tx, &hook)? {
                tx.begin_to_miss(hook.hook_id, now)?;
                break;
            }
            let notice = |id| written(&Notice::of(id, *kind, event));
            send_to_hook(services, tx, hook.hook_id, notice, now)?;
        }
    }
    Ok(())
}

fn is_full(services: &Services, tx: &mut Tx<'_>, hook: &Hook) -> Result<bool> {
    let allowance = &services.inner.allowance;
    Ok(allowance.is_time_to_count() && tx.read().waiting_for_hook(hook.hook_id, allowance.limit)? >= allowance.limit)
}

fn written(notice: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(notice).map_err(|e| Error::new(Code::Internal).cause(e.to_string()))
}

impl Services {
    /// How many of the messages for a hook are worth counting.
    pub(super) fn countable(&self) -> i64 {
        self.inner.allowance.limit
    }

    /// Takes the telling of events up again for a hook that missed some, once there is room.
    pub(super) async fn make_up(&self, lane: Lane) -> Result<()> {
        let Some(from) = lane.missed_since.filter(|_| lane.waiting <= self.inner.allowance.limit / 2) else { return Ok(()) };
        let (services, now, hook_id) = (self.clone(), self.inner.clock.now(), lane.hook_id);
        let make_up = move |tx: &mut Tx<'_>| {
            // Another node may have been first.
            if tx.hold_hook(hook_id)?.is_some() && tx.end_to_miss(hook_id)? {
                let missed = |id: MessageId| written(&Missed { id, kind: EventType::EventsMissed, time: now, from });
                send_to_hook(&services, tx, hook_id, missed, now)?;
            }
            Ok(())
        };
        self.inner.store.keep_count(make_up).await
    }
}
