//! Events as they are kept: those that became durable together are one text, a JSON array with an array for each event.
//!
//! Every call leaves an event, so what an event costs to write bounds what the service can answer; one row for a batch costs a fraction of
//! a row for each event. JSON, so that the trail can be read with nothing but SQL (the view `audit_events` does). An event is
//!
//! ```json
//! [time, cid, action, outcome, reason, actor_type, actor, actor_session, subject, application, remote_addr, traceparent, changes_digest]
//! ```
//!
//! with the time in microseconds since 1970 UTC and the digest in hex. Behind these may stand `view, shown_digest, basis` and whatever later
//! builds add: null or text, as many as there are up to the last one that is not null. Values that changed are not in it: they can be erased, and what the
//! chain holds cannot.

use super::{Actor, Link, More, Recorded, hex};
use crate::domain::ids::CredentialId;
use crate::domain::time::Utc;
use crate::domain::words::Stored;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Bytes of a link's hash.
const HASH: usize = 32;

/// How many elements an event has at least.
const ELEMENTS: usize = 13;

/// An event's array.
#[derive(Default)]
struct Row<'a> {
    micros: i64,
    cid: Cow<'a, str>,
    action: Cow<'a, str>,
    outcome: Cow<'a, str>,
    reason: Option<Cow<'a, str>>,
    actor_type: Cow<'a, str>,
    actor: Option<Cow<'a, str>>,
    actor_session: Option<CredentialId>,
    subject: Option<Cow<'a, str>>,
    application: Option<Cow<'a, str>>,
    remote_addr: Option<Cow<'a, str>>,
    traceparent: Option<Cow<'a, str>>,
    changes_digest: Option<Cow<'a, str>>,
    /// As many as there are.
    more: Vec<Option<Cow<'a, str>>>,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut array = serializer.serialize_seq(Some(ELEMENTS + self.more.len()))?;
        array.serialize_element(&self.micros)?;
        array.serialize_element(&self.cid)?;
        array.serialize_element(&self.action)?;
        array.serialize_element(&self.outcome)?;
        array.serialize_element(&self.reason)?;
        array.serialize_element(&self.actor_type)?;
        array.serialize_element(&self.actor)?;
        array.serialize_element(&self.actor_session)?;
        array.serialize_element(&self.subject)?;
        array.serialize_element(&self.application)?;
        array.serialize_element(&self.remote_addr)?;
        array.serialize_element(&self.traceparent)?;
        array.serialize_element(&self.changes_digest)?;
        self.more.iter().try_for_each(|field| array.serialize_element(field))?;
        array.end()
    }
}

impl<'de> Deserialize<'de> for Row<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfArray;
        impl<'de> Visitor<'de> for OfArray {
            type Value = Row<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of {ELEMENTS} elements or more")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Row<'de>, A::Error> {
                fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(array: &mut A) -> Result<T, A::Error> {
                    array.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &"more elements"))
                }
                let a = &mut array;
                let mut row = Row {
                    micros: next(a)?,
                    cid: next(a)?,
                    action: next(a)?,
                    outcome: next(a)?,
                    reason: next(a)?,
                    actor_type: next(a)?,
                    actor: next(a)?,
                    actor_session: next(a)?,
                    subject: next(a)?,
                    application: next(a)?,
                    remote_addr: next(a)?,
                    traceparent: next(a)?,
                    changes_digest: next(a)?,
                    more: Vec::new(),
                };
                while let Some(field) = array.next_element()? {
                    row.more.push(field);
                }
                Ok(row)
            }
        }
        deserializer.deserialize_seq(OfArray)
    }
}

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
    let Recorded {
        time,
        cid,
        action,
        outcome,
        reason,
        actor,
        subject,
        application,
        remote_addr,
        traceparent,
        changes: _,
        shown: _,
        more,
    } = &link.event;
    Row {
        micros: time.micros(),
        cid: cid.into(),
        action: action.as_str().into(),
        outcome: outcome.as_str().into(),
        reason: borrowed(reason),
        actor_type: actor.kind.as_str().into(),
        actor: borrowed(&actor.id),
        actor_session: actor.session,
        subject: borrowed(subject),
        application: borrowed(application),
        remote_addr: borrowed(remote_addr),
        traceparent: borrowed(traceparent),
        changes_digest: link.changes_digest.as_deref().map(|digest| Cow::Owned(hex(digest))),
        more: more.fields().iter().map(borrowed).collect(),
    }
}

fn link(chain: i64, seq: i64, row: Row<'_>, hash: &[u8]) -> Result<Link, String> {
    let owned = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
    let changes_digest = match row.changes_digest {
        Some(digest) => Some(unhex(&digest).ok_or_else(|| format!("the digest of event {seq} is not in hex"))?),
        None => None,
    };
    let event = Recorded {
        time: Utc::from_micros(row.micros),
        cid: row.cid.into_owned(),
        action: Stored::of(row.action),
        outcome: Stored::of(row.outcome),
        reason: owned(row.reason),
        actor: Actor { kind: Stored::of(row.actor_type), id: owned(row.actor), session: row.actor_session },
        subject: owned(row.subject),
        application: owned(row.application),
        remote_addr: owned(row.remote_addr),
        traceparent: owned(row.traceparent),
        changes: None,
        shown: None,
        more: More::of(row.more.into_iter().map(owned)),
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
    use super::super::{Action, ActorType, Changes, Head, Outcome};
    use super::*;
    use crate::domain::words::Closed;
    use proptest::option::of;
    use proptest::prelude::*;

    fn any_event() -> impl Strategy<Value = Recorded> {
        let texts = (".{0,20}", of(".{0,20}"), of(".{0,9}"), of(".{0,9}"), of(".{0,9}"), of(".{0,9}"), of(".{0,9}"));
        fn word<W: Closed + std::fmt::Debug>() -> impl Strategy<Value = Stored<W>> {
            prop_oneof![prop::sample::select(W::ALL).prop_map(Stored::from), ".{0,12}".prop_map(|text| Stored::of(text.into()))]
        }
        let words = (word::<Action>(), word::<Outcome>(), word::<ActorType>());
        let more = prop::collection::vec(of(".{0,9}"), 0..6).prop_map(More::of);
        (any::<i32>(), texts, words, of(any::<[u8; 16]>()), any::<bool>(), more).prop_map(
            |(time, texts, words, session, changed, more)| {
                let (cid, reason, id, subject, application, remote_addr, traceparent) = texts;
                let (action, outcome, kind) = words;
                let session = session.map(CredentialId::from_bytes);
                let changes = changed.then(|| Changes::from_text("{}".to_owned()));
                let (time, actor) = (Utc::from_micros(i64::from(time)), Actor { kind, id, session });
                Recorded {
                    time,
                    cid,
                    action,
                    outcome,
                    reason,
                    actor,
                    subject,
                    application,
                    remote_addr,
                    traceparent,
                    changes,
                    shown: None,
                    more,
                }
            },
        )
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

        /// S53: further elements are fields of the chain's hash, each of its own; nothing behind the last one is one.
        #[test]
        fn further_elements_are_hashed(event in any_event(), at in any::<prop::sample::Index>(), other in of(".{0,9}")) {
            let head = Head::of_empty(1);
            let hash = |more: Vec<Option<String>>| Link::forge(&head, Recorded { more: More::of(more), ..event.clone() }, [7; 16]).hash;
            let mut fields = event.more.fields().to_vec();
            let whole = hash(fields.clone());
            fields.push(None);
            prop_assert_eq!(&hash(fields.clone()), &whole);
            let at = at.index(fields.len());
            let is_same = fields[at] == other;
            fields[at] = other;
            prop_assert_eq!(hash(fields) == whole, is_same);
        }

        #[test]
        fn any_text_is_events_or_refused(events in ".{0,80}", hashes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Packed { events, hashes }.links(1, 1);
        }
    }
}
