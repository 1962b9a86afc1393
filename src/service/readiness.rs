//! Readiness: whether calls can be answered now. A call is answered once its audit event is kept, so this is the question whether an event
//! would be.
//!
//! What has just been written tells: where the trail has grown since the last look and no write was lost, nothing is tried out. Otherwise
//! an event is [rehearsed](crate::store::Store::rehearse_event). One look at a time, and its verdict stands for [`STANDS`]: a flood of
//! probes costs no more than one probe.
//!
//! A trail that was found not to hold is no trail to go on with: a service that has found so is not ready, and says why.

use super::Services;
use crate::domain::audit::{Action, Actor, End, Event, Outcome};
use crate::error::{Code, Error, Result};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// For so long a verdict is answered again.
const STANDS: Duration = Duration::from_secs(1);

/// The last look.
#[derive(Default)]
pub(super) struct Readiness(Mutex<Option<Look>>);

struct Look {
    ended: Instant,
    /// Why calls cannot be answered, if so.
    cause: Option<String>,
    heads: Vec<End>,
    lost: u64,
}

impl Services {
    /// Whether calls can be answered: the database can be read, and would keep an audit event.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if not; [`Code::TrailBroken`] if the trail was found not to hold.
    pub async fn is_ready(&self) -> Result<()> {
        if let Some(cause) = self.is_behind().or_else(|| self.inner.distrust.cause()) {
            return Err(Error::new(Code::TrailBroken).cause(cause));
        }
        let mut last = self.inner.readiness.0.lock().await;
        let look = match last.take() {
            Some(look) if look.ended.elapsed() < STANDS => look,
            before => self.look(before).await,
        };
        let outcome = look.cause.as_ref().map_or(Ok(()), |cause| Err(Error::new(Code::Unavailable).cause(cause.clone())));
        *last = Some(look);
        outcome
    }

    async fn look(&self, before: Option<Look>) -> Look {
        let store = &self.inner.store;
        let lost = store.writing().lost;
        let (heads, outcome) = match store.audit_heads().await {
            Ok(heads) => {
                let has_kept = before.is_some_and(|b| b.cause.is_none() && b.lost == lost && b.heads != heads);
                let outcome = if has_kept { Ok(()) } else { store.rehearse_event(self.rehearsed()).await };
                match outcome {
                    // Among many writers a rehearsal may not get its turn.
                    Err(_) if self.has_kept_since(&heads, lost).await => (heads, Ok(())),
                    outcome => (heads, outcome),
                }
            }
            Err(error) => (Vec::new(), Err(error)),
        };
        let cause = outcome.err().map(|error| error.logged_cause().unwrap_or("an audit event would not be kept").to_owned());
        Look { ended: Instant::now(), cause, heads, lost }
    }

    /// Whether events were kept since the chains had these heads, and no write was lost since so many were.
    async fn has_kept_since(&self, heads: &[End], lost: u64) -> bool {
        let store = &self.inner.store;
        store.audit_heads().await.is_ok_and(|now| now != heads) && store.writing().lost == lost
    }

    /// An event like that of a common call; nobody ever sees it.
    fn rehearsed(&self) -> Event {
        let id = "00000000-0000-7000-8000-000000000000";
        Event {
            time: self.inner.clock.now(),
            cid: "rehearsal".repeat(7),
            action: Action::CurrentUserRead,
            outcome: Outcome::Success,
            reason: None,
            actor: Actor { id: Some(id.to_owned()), ..Actor::ANONYMOUS },
            subject: Some(id.to_owned()),
            application: Some("default".to_owned()),
            remote_addr: Some("2001:db8::1".to_owned()),
            traceparent: None,
            changes: None,
            view: None,
            shown: None,
            basis: None,
        }
    }
}
