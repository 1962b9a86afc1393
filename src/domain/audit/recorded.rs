//! An event as the trail has it, whichever build wrote it.

use super::super::words::Stored;
use super::{Action, Actor, ActorType, Changes, Event, Outcome, Persons};
use crate::domain::time::Utc;

/// An event that is read from the trail, or is about to be written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// When the call began.
    pub time: Utc,
    /// The call's correlation id.
    pub cid: String,
    /// What it set out to do.
    pub action: Stored<Action>,
    /// How it ended.
    pub outcome: Stored<Outcome>,
    /// Why it did not succeed.
    pub reason: Option<String>,
    /// Who acted.
    pub actor: Actor<Stored<ActorType>>,
    /// On whom or what.
    pub subject: Option<String>,
    /// Through which application.
    pub application: Option<String>,
    /// From which address.
    pub remote_addr: Option<String>,
    /// The W3C trace context that came with the call.
    pub traceparent: Option<String>,
    /// The attributes that changed; none once they are erased, or before they are looked up.
    pub changes: Option<Changes>,
    /// Whom the answer showed; none before they are looked up.
    pub shown: Option<Persons>,
    /// The fields from the 16th on.
    pub more: More,
}

impl From<Event> for Recorded {
    fn from(event: Event) -> Self {
        let Event {
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
            view,
            shown,
            basis,
        } = event;
        let actor = Actor { kind: actor.kind.into(), id: actor.id, session: actor.session };
        let (action, outcome, more) =
            (action.into(), outcome.into(), More::of([view, shown.as_ref().map(Persons::digest_in_hex), basis]));
        Self { time, cid, action, outcome, reason, actor, subject, application, remote_addr, traceparent, changes, shown, more }
    }
}

/// The fields of an event from the 16th on, up to the last one that is there. The first ones have names; those beyond are of later builds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct More(Vec<Option<String>>);

/// How many of them this program knows.
const KNOWN: usize = 3;

impl More {
    /// These fields, in order.
    pub fn of(fields: impl IntoIterator<Item = Option<String>>) -> Self {
        let mut fields: Vec<Option<String>> = fields.into_iter().collect();
        let is_there = |field: &Option<String>| field.is_some();
        fields.truncate(fields.iter().rposition(is_there).map_or(0, |last| last + 1));
        Self(fields)
    }

    /// By which view persons were shown.
    pub fn view(&self) -> Option<&str> {
        self.field(0)
    }

    /// The digest of whom the answer showed, in hex.
    pub fn shown_digest(&self) -> Option<&str> {
        self.field(1)
    }

    /// By what right the call acted.
    pub fn basis(&self) -> Option<&str> {
        self.field(2)
    }

    fn field(&self, at: usize) -> Option<&str> {
        self.0.get(at).and_then(|field| field.as_deref())
    }

    /// Those that this program has no name for.
    pub fn unknown(&self) -> &[Option<String>] {
        self.0.get(KNOWN..).unwrap_or_default()
    }

    /// All of them.
    pub fn fields(&self) -> &[Option<String>] {
        &self.0
    }
}

impl Recorded {
    /// The bytes that the chain's hash covers: every field in a fixed order, each preceded by its length in bytes as 8 bytes big
    /// endian, an absent field by eight bytes of ones. An event without further fields has 15, as every event once had.
    pub(super) fn canonical(&self, chain: i64, seq: i64, changes_digest: Option<&[u8]>) -> Vec<u8> {
        let session = self.actor.session.map(|s| *s.as_bytes());
        let fields: [Option<&[u8]>; 15] = [
            Some(&chain.to_be_bytes()),
            Some(&seq.to_be_bytes()),
            Some(&self.time.micros().to_be_bytes()),
            Some(self.cid.as_bytes()),
            Some(self.action.as_str().as_bytes()),
            Some(self.outcome.as_str().as_bytes()),
            self.reason.as_deref().map(str::as_bytes),
            Some(self.actor.kind.as_str().as_bytes()),
            self.actor.id.as_deref().map(str::as_bytes),
            session.as_ref().map(<[u8; 16]>::as_slice),
            self.subject.as_deref().map(str::as_bytes),
            self.application.as_deref().map(str::as_bytes),
            self.remote_addr.as_deref().map(str::as_bytes),
            self.traceparent.as_deref().map(str::as_bytes),
            changes_digest,
        ];
        let more = self.more.0.iter().map(|field| field.as_deref().map(str::as_bytes));
        let mut bytes = Vec::with_capacity(512);
        for field in fields.into_iter().chain(more) {
            match field {
                Some(field) => {
                    bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
                    bytes.extend_from_slice(field);
                }
                None => bytes.extend_from_slice(&u64::MAX.to_be_bytes()),
            }
        }
        bytes
    }
}
