//! Events as they are kept: those that became durable together are one text, a JSON array with an array for each event.
//!
//! Every call leaves an event, so what an event costs to write bounds what the service can answer; one row for a batch costs a fraction of
//! a row for each event. JSON, so that the trail can be read with nothing but SQL (the view `audit_events` does). An event is
//!
//! ```json
//! [time, cid, action, outcome, reason, actor_type, actor, actor_session, subject, application, remote_addr, traceparent, changes_digest]
//! ```
//!
//! with the time in microseconds since 1970 UTC and the digest in hex. Values that changed are not in it: they can be erased, and what the
//! chain holds cannot.

use super::{Action, Actor, ActorType, Event, Link, Outcome, hex};
use crate::domain::ids::CredentialId;
use crate::domain::time::Utc;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Bytes of a link's hash.
const HASH: usize = 32;

#[derive(Serialize, Deserialize)]
struct Row<'a>(
    i64,
    Cow<'a, str>,
    Action,
    Outcome,
    Option<Cow<'a, str>>,
    ActorType,
    Option<Cow<'a, str>>,
    Option<CredentialId>,
    Option<Cow<'a, str>>,
    Option<Cow<'a, str>>,
    Option<Cow<'a, str>>,
    Option<Cow<'a, str>>,
    Option<Cow<'a, str>>,
);

/// A run of a chain's links without the values that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The events.
    pub events: String,
    /// Their links' hashes, one after the other.
    pub hashes: Vec<u8>,
}

impl Packed {
    /// Packs links that follow each other.
    ///
    /// # Errors
    /// None that is known: nothing in a link cannot be written as JSON.
    pub fn of(links: &[Link]) -> serde_json::Result<Self> {
        let rows: Vec<Row<'_>> = links.iter().map(row).collect();
        let hashes = links.iter().flat_map(|link| link.hash.iter().copied()).collect();
        Ok(Self { events: serde_json::to_string(&rows)?, hashes })
    }

    /// The links, of which the last has this place in this chain. Values that changed are to be filled in.
    ///
    /// # Errors
    /// Somebody altered it, and it is no such text any more.
    pub fn links(&self, chain: i64, last: i64) -> Result<Vec<Link>, String> {
        let rows: Vec<Row<'_>> = serde_json::from_str(&self.events).map_err(|e| e.to_string())?;
        let hashes = self.hashes.chunks(HASH);
        if hashes.len() != rows.len() {
            return Err(format!("there are {} events and {} hashes", rows.len(), hashes.len()));
        }
        let first = last - rows.len() as i64 + 1;
        let link = |(seq, (row, hash))| link(chain, seq, row, hash);
        (first..).zip(rows.into_iter().zip(hashes)).map(link).collect()
    }
}

fn row(link: &Link) -> Row<'_> {
    fn borrowed(text: &Option<String>) -> Option<Cow<'_, str>> {
        text.as_deref().map(Cow::Borrowed)
    }
    let Event { time, cid, action, outcome, reason, actor, subject, application, remote_addr, traceparent, changes: _ } =
        &link.event;
    Row(
        time.micros(),
        Cow::Borrowed(cid),
        *action,
        *outcome,
        borrowed(reason),
        actor.kind,
        borrowed(&actor.id),
        actor.session,
        borrowed(subject),
        borrowed(application),
        borrowed(remote_addr),
        borrowed(traceparent),
        link.changes_digest.as_deref().map(|digest| Cow::Owned(hex(digest))),
    )
}

fn link(chain: i64, seq: i64, row: Row<'_>, hash: &[u8]) -> Result<Link, String> {
    let owned = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
    let Row(micros, cid, action, outcome, reason, kind, id, session, subject, application, remote_addr, traceparent, digest) =
        row;
    let changes_digest = match digest {
        Some(digest) => Some(unhex(&digest).ok_or_else(|| format!("the digest of event {seq} is not in hex"))?),
        None => None,
    };
    let event = Event {
        time: Utc::from_micros(micros),
        cid: cid.into_owned(),
        action,
        outcome,
        reason: owned(reason),
        actor: Actor { kind, id: owned(id), session },
        subject: owned(subject),
        application: owned(application),
        remote_addr: owned(remote_addr),
        traceparent: owned(traceparent),
        changes: None,
    };
    Ok(Link { chain, seq, event, changes_digest, changes_salt: None, hash: hash.to_vec() })
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    // A sign is no digit, though the parser of numbers takes one.
    (digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit)).then_some(())?;
    digits.chunks_exact(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Changes, Head};
    use super::*;
    use proptest::option::of;
    use proptest::prelude::*;

    fn any_event() -> impl Strategy<Value = Event> {
        let texts = (".{0,20}", of(".{0,20}"), of(".{0,9}"), of(".{0,9}"), of(".{0,9}"), of(".{0,9}"), of(".{0,9}"));
        let words = (prop::sample::select(Action::ALL), prop::sample::select(Outcome::ALL), prop::sample::select(ActorType::ALL));
        (any::<i32>(), texts, words, of(any::<[u8; 16]>()), any::<bool>()).prop_map(|(time, texts, words, session, changed)| {
            let (cid, reason, id, subject, application, remote_addr, traceparent) = texts;
            let (action, outcome, kind) = words;
            let session = session.map(CredentialId::from_bytes);
            let changes = changed.then(|| Changes::from_text("{}".to_owned()));
            let (time, actor) = (Utc::from_micros(i64::from(time)), Actor { kind, id, session });
            Event { time, cid, action, outcome, reason, actor, subject, application, remote_addr, traceparent, changes }
        })
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(events in prop::collection::vec(any_event(), 1..5)) {
            let mut head = Head::of_empty(3);
            let mut links = Vec::new();
            for event in events {
                let link = Link::forge(&head, event, [7; 16]);
                head = link.as_head();
                links.push(link);
            }
            let packed = Packed::of(&links).unwrap();
            for link in &mut links {
                link.event.changes = None;
                link.changes_salt = None;
            }
            prop_assert_eq!(packed.links(3, head.seq).unwrap(), links);
        }

        #[test]
        fn any_text_is_events_or_refused(events in ".{0,80}", hashes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Packed { events, hashes }.links(1, 1);
        }
    }
}
