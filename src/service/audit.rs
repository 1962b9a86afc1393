//! The audit trail: searching, exporting, verifying, and how long it is kept.

use super::Services;
use super::caller::SuperUser;
use super::context::{Call, Context};
use super::did::Did;
use super::paging::Pages;
use crate::domain::attribute::Viewer;
use crate::domain::audit::{Action, Actor, ActorType, Changes, EventView, Link};
use crate::domain::chance::Entropy;
use crate::domain::ids::UserId;
use crate::domain::time::Utc;
use crate::error::{Code, Error, Result};
use crate::store::{Aged, Older, Position, Tx};
pub use crate::store::{Finding, Search};
use serde_json::{Value, json};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A search of the audit trail, page by page.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// What to look for.
    pub search: Search,
    /// Events on a page, 1 to 500.
    pub limit: i64,
    /// Where the page before this one ended.
    pub cursor: Option<String>,
}

/// A page of events.
#[derive(Clone, Debug)]
pub struct AuditPage {
    /// The events, in order.
    pub items: Vec<EventView>,
    /// Where the next page begins; `None` if this is the last one.
    pub next_cursor: Option<String>,
}

impl AuditQuery {
    /// What a cursor is bound to: everything about the query but the place in it.
    fn context(&self) -> String {
        let search = Search { after: None, ..self.search.clone() };
        format!("audit events {search:?}")
    }
}

impl Position {
    pub(super) fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        let fields = [self.time.micros(), self.chain, self.seq];
        bytes.chunks_exact_mut(8).zip(fields).for_each(|(to, field)| to.copy_from_slice(&field.to_be_bytes()));
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut fields = bytes.chunks_exact(8).map(|field| field.try_into().map(i64::from_be_bytes).ok());
        let position = Self { time: Utc::from_micros(fields.next()??), chain: fields.next()??, seq: fields.next()?? };
        // A time beyond what can be written would be another one once it is read: a place has one spelling.
        (bytes == position.to_bytes() && position.chain > 0 && position.seq > 0).then_some(position)
    }
}

impl SuperUser {
    /// A page of the events that match.
    ///
    /// # Errors
    /// [`BadQuery`](crate::error::Code::BadQuery) for a cursor that was not given out for this very query.
    pub async fn audit_events(&self, mut query: AuditQuery) -> Result<AuditPage> {
        let pages = Pages::new(&self.context, query.context(), query.limit);
        query.search.after = pages.open(query.cursor.as_deref(), Position::from_bytes)?;
        let (search, fetch) = (query.search, pages.fetch());
        let links = self.context.services.inner.store.search(move |snapshot| snapshot.audit_events(&search, fetch)).await?;
        let place = |link: &Link| Position { time: link.event.time, chain: link.chain, seq: link.seq }.to_bytes().to_vec();
        let (links, next_cursor) = pages.cut(links, place);
        links.iter().flat_map(persons_of).for_each(|person| self.context.trail.shows(person, Viewer::SuperUser));
        self.context.trail.counts_for(Viewer::SuperUser);
        Ok(AuditPage { items: links.into_iter().map(EventView::from).collect(), next_cursor })
    }

    /// What was read and is about to be told piece by piece: whom it shows stands in the trail when this comes back.
    ///
    /// # Errors
    /// [`Unavailable`](crate::error::Code::Unavailable).
    pub async fn tell_shown(&self) -> Result<()> {
        self.context.tell_shown(Viewer::SuperUser).await
    }

    /// Walks every chain from its first event to its head.
    ///
    /// # Errors
    /// The database fails. A broken chain is a finding, not an error.
    pub async fn verify_audit(&self) -> Result<Finding> {
        self.context.services.inner.store.verify_audit(self.context.now()).await
    }
}

/// Whom an event shows to whoever reads it: who acted, and on whom it was done. Of a subject that is no user there is an id as well; whether it is
/// one is not looked up.
pub(super) fn persons_of(link: &Link) -> impl Iterator<Item = UserId> {
    let event = &link.event;
    let actor = event.actor.id.as_ref().filter(|_| event.actor.kind == ActorType::User);
    actor.into_iter().chain(&event.subject).filter_map(|id| id.parse().ok()).collect::<Vec<_>>().into_iter()
}

/// A correlation id for a call that brings none: 32 hex digits, of which the first twelve are the milliseconds since 1970 and the rest is
/// random. In order of time, so that the trail's index grows at one end.
pub fn fresh_cid(now: Utc, entropy: &Entropy) -> String {
    let millis = u128::try_from(now.micros().div_euclid(1000)).unwrap_or_default() & 0xffff_ffff_ffff;
    let random = u128::from_be_bytes(entropy.bytes()) >> 48;
    format!("{:032x}", millis << 80 | random)
}

impl Services {
    /// Drops what is older than the trail is to be kept. The event that tells so is in the transaction from which on it is no part of the
    /// trail any more; to remove it takes longer, and goes on the next time if it is interrupted.
    ///
    /// # Errors
    /// The database fails.
    pub async fn expire_audit(&self) -> Result<()> {
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        if self.inner.audit.keep_months == 0 {
            return Ok(());
        }
        let month = now.month_before(self.inner.audit.keep_months);
        if !store.read(move |snapshot| Ok(snapshot.has_audit_before(month)?)).await? || self.inner.distrust.is_recent() {
            return Ok(());
        }
        let older = match store.walk_audit_before(month).await? {
            Aged::Sound(older) => older,
            Aged::Overtaken => return Ok(()),
            Aged::Broken(cause) => return self.refuse_to_expire(&cause),
        };
        self.inner.distrust.clear();
        let cid = format!("expire-{:032x}", u128::from_be_bytes(self.inner.entropy.bytes()));
        let context = Context::new(self.clone(), Call::internal(now, cid, Action::AuditExpire));
        context.trail.set_actor(Actor { kind: ActorType::System, id: None, session: None });
        let key = store.audit_key();
        let begin = move |tx: &mut Tx<'_>| {
            // Somebody else may have written or dropped something since: then it is walked again.
            if !tx.begin_audit_with(month, &older, &key)? || older.iter().all(|of| of.events == 0) {
                return Err(Error::new(Code::NotFound));
            }
            let dropped = Changes::between(&Value::Null, &told(&older));
            Ok(((), Did::to(format!("{:04}-{:02}", month / 100, month % 100)).changing(dropped)))
        };
        match context.change(begin).await {
            Err(error) if error.code() == Code::Internal => {
                return self.refuse_to_expire(error.logged_cause().unwrap_or_default());
            }
            Err(error) if error.code() != Code::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        store.remove_audit_before(month).await
    }

    /// Drops nothing and signs nothing; says so.
    fn refuse_to_expire(&self, cause: &str) -> Result<()> {
        tracing::error!(target: "usher::audit", cause, "the audit trail does not hold: nothing of it is dropped, nothing is signed");
        self.inner.distrust.set(cause);
        Ok(())
    }
}

/// What is dropped of each chain, as the event of it tells: how many events, the time of the first one and of the last one, and the number
/// and hash of the last one in its chain, by which a copy that was kept is known again.
fn told(older: &[Older]) -> Value {
    let told = older.iter().filter(|of| of.events > 0).map(|of| {
        let (first, last) = of.times.unzip();
        let what = json!({
            "events": of.events, "first_time": first, "last_time": last, "last_event": of.last().seq, "hash": of.last().hash_in_hex(),
        });
        (format!("chain_{}", of.last().chain), what)
    });
    Value::Object(told.collect())
}

/// What was found wrong with the trail when it was last walked of the service's own accord, if anything: nothing is dropped meanwhile, and
/// the service is not ready.
#[derive(Default)]
pub(super) struct Distrust(Mutex<Option<(Instant, String)>>);

impl Distrust {
    /// So long a finding stands: to walk the whole trail is no work for each minute.
    const STANDS: Duration = Duration::from_secs(60 * 60);

    fn lock(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, cause: &str) {
        *self.lock() = Some((Instant::now(), cause.to_owned()));
    }

    fn clear(&self) {
        *self.lock() = None;
    }

    fn is_recent(&self) -> bool {
        self.lock().as_ref().is_some_and(|(since, _)| since.elapsed() < Self::STANDS)
    }

    /// What was found.
    pub(super) fn cause(&self) -> Option<String> {
        self.lock().as_ref().map(|(_, cause)| cause.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// S40, R26: what a cursor holds is read as data: it is a place in the trail, or refused.
        #[test]
        fn any_bytes_are_a_place_or_refused(bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 24)]) {
            if let Some(position) = Position::from_bytes(&bytes) {
                prop_assert!(position.chain > 0 && position.seq > 0);
                prop_assert_eq!(position.to_bytes().to_vec(), bytes);
            }
        }

        #[test]
        fn a_place_is_read_back(micros in 0i64..4_000_000_000_000_000, chain in 1i64.., seq in 1i64..) {
            let position = Position { time: Utc::from_micros(micros), chain, seq };
            prop_assert_eq!(Position::from_bytes(&position.to_bytes()), Some(position));
        }
    }
}
