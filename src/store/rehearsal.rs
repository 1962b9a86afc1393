//! A rehearsal: whether an audit event could be kept now.
//!
//! An event is appended as that of a call would be, in a transaction that is rolled back. PostgreSQL makes room for a row when it is
//! written, not when it is committed, so a disk without room shows. SQLite holds what a transaction writes in memory until it commits; a
//! connection of its own with next to no cache has it written into the journal (WAL) as it goes. A rollback leaves it there, beyond the
//! journal's end, where the next transaction writes over it.

use super::connection::{AnyConnection, Location, Purpose};
use super::error::StoreError;
use super::{Store, audit};
use crate::domain::audit::{Changes, Event};
use crate::domain::chance::Entropy;
use crate::domain::secret::MacKey;
use crate::error::{Code, Error, Result};
use diesel::connection::SimpleConnection as _;
use std::sync::Arc;

/// What the rehearsed event is larger by on SQLite, in bytes: so that more pages are written on the way than an event's commit takes.
const BALLAST: usize = 32 * 1024;

impl Store {
    /// Appends an event and takes it back, by the way that events take: through the queue, by a writer, into a chain.
    ///
    /// # Errors
    /// It could not be kept.
    pub async fn rehearse_event(&self, event: Event) -> Result<()> {
        let (key, entropy, rehearsed) = (self.inner.key.clone(), self.inner.entropy.clone(), event.clone());
        self.rehearse(move |tx| Ok(audit::append(tx.0, vec![rehearsed], &key, &entropy, &audit::Tails::default()).map(drop)?))
            .await?;
        if self.inner.location.file().is_none() {
            return Ok(());
        }
        let inner = Arc::clone(&self.inner);
        let spilled = tokio::task::spawn_blocking(move || spill(&inner.location, event, &inner.key, &inner.entropy)).await;
        Ok(spilled.map_err(|_| Error::new(Code::Internal).cause("a rehearsal panicked"))??)
    }
}

/// Writes a large event into the journal of an SQLite database, and takes it back.
fn spill(location: &Location, event: Event, key: &MacKey, entropy: &Entropy) -> Result<(), StoreError> {
    let mut connection = AnyConnection::open(location, Purpose::Writing)?;
    connection.batch_execute("PRAGMA cache_size = 1")?;
    connection.begin_write()?;
    let event = Event { changes: Some(Changes::from_text("x".repeat(BALLAST))), ..event };
    let _taken_back = audit::append(&mut connection, vec![event], key, entropy, &audit::Tails::default())?;
    Ok(connection.batch_execute("ROLLBACK")?)
}
