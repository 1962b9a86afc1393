//! Vitals: how the service fares, in numbers, for whoever watches over it. There are no names among them.

use super::Services;
use crate::auth::hashing::Load;
use crate::domain::outbox::MessageKind;
use crate::error::Result;
use crate::store::Writing;
use crate::store::memory::Use;
use std::time::Duration;

/// How the service fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// The pool that hashes passwords.
    pub hashing: Load,
    /// What is remembered of sessions and API keys.
    pub sessions: Use,
    /// What is remembered of applications.
    pub applications: Use,
    /// The writer.
    pub writing: Writing,
    /// How long ago every change was heard of that there was by then; `None`: changes are not heard of now.
    pub feed_lag: Option<Duration>,
    /// What waits in the database; `None` if it does not answer.
    pub waiting: Option<Waiting>,
}

/// What waits in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Audit events that are not in their index yet.
    pub audit_events: i64,
    /// Messages in the outbox that will be tried, of every kind.
    pub messages: Vec<(MessageKind, i64)>,
}

impl Services {
    /// How the service fares now.
    pub async fn vitals(&self) -> Vitals {
        let inner = &self.inner;
        // A database that is down is a finding like others.
        let waiting = self.waiting().await.ok();
        Vitals {
            hashing: inner.hasher.load(),
            sessions: inner.memories.uses.usage(),
            applications: inner.memories.applications.usage(),
            writing: inner.store.writing(),
            feed_lag: self.heard_of_changes().map(|heard| heard.elapsed()),
            waiting,
        }
    }

    async fn waiting(&self) -> Result<Waiting> {
        let read = self.inner.store.read(|snapshot| Ok((snapshot.audit_backlog()?, snapshot.waiting_messages()?)));
        let (audit_events, found) = read.await?;
        let count = |kind| found.iter().find(|(of, _)| *of == kind).map_or(0, |(_, count)| *count);
        Ok(Waiting { audit_events, messages: MessageKind::ALL.iter().map(|kind| (*kind, count(*kind))).collect() })
    }
}
