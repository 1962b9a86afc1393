//! The trail's index: what finds an event by correlation id, person or time.
//!
//! Every call writes to the trail, so the table of events has no index but its key; a secondary one would halve what it can take. What
//! is looked for is kept in a table of its own that is filled in batches, a moment behind. A search reads that table **and** the
//! *tail*, the events that are not in it yet: an event is found from the moment on at which it is durable.
//!
//! An entry is a few numbers: a key, the event's time, and its place. The key is 0 for every event (they are in order of time there), or
//! the beginning of the SHA-256 of what is looked for (a person is whoever acted, was acted on, or was shown by the answer); two texts may share one, so what an entry leads to is compared once more. With it goes the month of
//! the event's batch, for it goes when that goes.

use super::super::connection::AnyConnection;
use super::super::error::StoreError;
use super::super::prepared::{Statement as _, prepared};
use super::super::{Snapshot, Tx};
use super::batches::Place;
use crate::domain::audit::{Link, Persons, audit_chains, audit_index, audit_indexed};
use crate::domain::time::Utc;
use diesel::backend::Backend;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, HasSqlType, Untyped};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

/// Events taken into the index in one transaction, about: a few milliseconds of a writer's time.
const STRIDE: usize = 500;
/// Batches looked at in one query.
const BATCHES: i64 = 16;
/// Entries in one statement.
const ROWS: usize = 100;

/// The key of all events.
pub(super) const BY_TIME: i64 = 0;

/// The key of a correlation id. Those that usher makes begin with the time, and so do their keys: they come in at the end of the index, where
/// the last ones were, and not each on a page of its own. The rest of the key is of a hash all the same, for a client can choose as many
/// ids with one beginning as it likes.
pub(super) fn by_cid(cid: &str) -> i64 {
    let hash = key(b"cid", cid);
    let is_ours = matches!(cid.len(), 24 | 32) && cid.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match cid.get(..12).filter(|_| is_ours).and_then(|time| i64::from_str_radix(time, 16).ok()) {
        Some(time) => time << 16 | hash & 0xffff | 1,
        None => hash,
    }
}

/// The key of someone who acted or was acted on. One key for both: whoever looks at oneself takes one entry.
pub(super) fn by_person(id: &str) -> i64 {
    key(b"person", id)
}

fn key(kind: &[u8], text: &str) -> i64 {
    let hash = Sha256::new().chain_update(kind).chain_update([0]).chain_update(text).finalize();
    let (head, _) = hash.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    match i64::from_be_bytes(*head) {
        BY_TIME => 1,
        key => key,
    }
}

/// What the index says of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Insertable)]
#[diesel(table_name = audit_index, treat_none_as_default_value = false)]
pub(super) struct Entry {
    pub(super) key: i64,
    pub(super) micros: i64,
    pub(super) chain: i64,
    pub(super) seq: i64,
    pub(super) month: i64,
}

impl Entry {
    /// The entries of an event.
    pub(super) fn of(
        place: Place,
        time: Utc,
        cid: &str,
        actor: Option<&str>,
        subject: Option<&str>,
        shown: Option<&Persons>,
    ) -> Vec<Self> {
        let Place { chain, seq, month } = place;
        let entry = |key| Self { key, micros: time.micros(), chain, seq, month };
        let mut entries = vec![entry(BY_TIME), entry(by_cid(cid))];
        entries.extend(actor.map(|id| entry(by_person(id))));
        entries.extend(subject.filter(|id| Some(*id) != actor).map(|id| entry(by_person(id))));
        // One whom the answer showed is found like a subject; nobody has two entries for one event.
        let shown = shown.into_iter().flat_map(Persons::ids).map(|id| id.to_string());
        let others = shown.filter(|id| Some(id.as_str()) != actor && Some(id.as_str()) != subject);
        entries.extend(others.map(|id| entry(by_person(&id))));
        entries
    }

    /// The entries of an event in its place, in a batch of this month.
    pub(super) fn of_link(link: &Link, month: i64) -> Vec<Self> {
        let (event, place) = (&link.event, Place { chain: link.chain, seq: link.seq, month });
        Self::of(place, event.time, &event.cid, event.actor.id.as_deref(), event.subject.as_deref(), event.shown.as_ref())
    }

    /// What stands for the entry in a sum over a whole index, in which order does not matter.
    pub(super) fn weight(self) -> u128 {
        let fields = [self.key, self.micros, self.chain, self.seq, self.month];
        let hash = fields.iter().fold(Sha256::new(), |hash, field| hash.chain_update(field.to_be_bytes())).finalize();
        let (head, _) = hash.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        u128::from_be_bytes(*head)
    }
}

#[derive(diesel::QueryableByName)]
struct Marker {
    #[diesel(sql_type = BigInt)]
    chain: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

impl Snapshot<'_> {
    /// Whether an event is not in the index yet.
    ///
    /// # Errors
    /// The database fails.
    pub fn has_audit_tail(&mut self) -> Result<bool, StoreError> {
        Ok(self.audit_backlog()? > 0)
    }

    /// How many events are not in the index yet.
    ///
    /// # Errors
    /// The database fails.
    pub fn audit_backlog(&mut self) -> Result<i64, StoreError> {
        let ends: Vec<(i64, i64)> = audit_chains::table.select((audit_chains::chain, audit_chains::seq)).load(self.0)?;
        let indexed = self.indexed_up_to()?;
        Ok(ends.iter().filter_map(|(chain, seq)| Some((seq - indexed.get(chain)?).max(0))).sum())
    }

    /// Up to where each chain is in the index.
    pub(super) fn indexed_up_to(&mut self) -> Result<HashMap<i64, i64>, StoreError> {
        let rows: Vec<(i64, i64)> = audit_indexed::table.load(self.0)?;
        Ok(rows.into_iter().collect())
    }
}

impl Tx<'_> {
    /// Takes up to `STRIDE` events of one chain into the index; tells how many. A chain that another node is at is left to it.
    ///
    /// # Errors
    /// The database fails.
    pub fn index_audit(&mut self) -> Result<usize, StoreError> {
        let skip = if self.0.is_postgres() { " FOR UPDATE OF i SKIP LOCKED" } else { "" };
        let behind = format!(
            "SELECT i.chain, i.seq FROM audit_indexed i JOIN audit_chains c ON c.chain = i.chain WHERE c.seq > i.seq \
             ORDER BY c.seq - i.seq DESC LIMIT 1{skip}"
        );
        let Some(Marker { chain, seq }) = diesel::sql_query(behind).get_result(self.0).optional()? else { return Ok(0) };
        let mut links = Vec::new();
        let mut last = seq;
        while links.len() < STRIDE {
            let more = Snapshot(&mut *self.0, self.1).links_after(chain, last, BATCHES)?;
            let Some((_, link)) = more.last() else { break };
            last = link.seq;
            links.extend(more);
        }
        if links.is_empty() {
            return Ok(0);
        }
        let mut entries: Vec<Entry> = links.iter().flat_map(|(month, link)| Entry::of_link(link, *month)).collect();
        // In the order of the table, so that neighbours are written together.
        entries.sort_unstable();
        entries.dedup();
        insert(self.0, &entries)?;
        prepared("UPDATE audit_indexed SET seq = ? WHERE chain = ?")
            .bind::<BigInt, _>(last)
            .bind::<BigInt, _>(chain)
            .execute(self.0)?;
        Ok(links.len())
    }
}

/// Adds entries. As a rule none of them is there yet, for a chain is taken in only once; one that is there all the same must not stop the rest.
fn insert(connection: &mut AnyConnection, entries: &[Entry]) -> Result<(), StoreError> {
    if let AnyConnection::Postgres(c) = &mut *connection {
        c.batch_execute("SAVEPOINT entries")?;
        if diesel::copy_from(audit_index::table).from_insertable(entries).execute(c).is_ok() {
            return Ok(());
        }
        c.batch_execute("ROLLBACK TO SAVEPOINT entries")?;
    }
    for rows in entries.chunks(ROWS).map(Rows) {
        match &mut *connection {
            AnyConnection::Sqlite(c) => rows.execute(c)?,
            AnyConnection::Postgres(c) => rows.execute(c)?,
        };
    }
    Ok(())
}

/// An `INSERT` of entries. Of as many as there may be it has one text, and stays prepared.
struct Rows<'a>(&'a [Entry]);

impl<DB: Backend + HasSqlType<BigInt>> QueryFragment<DB> for Rows<'_>
where
    i64: ToSql<BigInt, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        if self.0.len() < ROWS {
            out.unsafe_to_cache_prepared();
        }
        out.push_sql("INSERT INTO audit_index (key, micros, chain, seq, month) VALUES ");
        for (at, Entry { key, micros, chain, seq, month }) in self.0.iter().enumerate() {
            let mut before = if at == 0 { "(" } else { "),(" };
            for number in [key, micros, chain, seq, month] {
                out.push_sql(before);
                out.push_bind_param::<BigInt, i64>(number)?;
                before = ",";
            }
        }
        out.push_sql(") ON CONFLICT (key, micros, chain, seq, month) DO NOTHING");
        Ok(())
    }
}

/// A connection finds it among those that it has prepared by its text.
impl QueryId for Rows<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Rows<'_> {
    type SqlType = Untyped;
}

impl<C> RunQueryDsl<C> for Rows<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::UserId;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_event_has_an_entry_for_each_way_to_look_for_it(
            cid in ".{0,20}", actor in proptest::option::of("[a-c]{0,2}"), subject in proptest::option::of("[a-c]{0,2}"),
            shown in prop::collection::vec(0u8..4, 0..4),
        ) {
            let shown = Persons::of(shown.into_iter().map(|byte| UserId::from_bytes([byte; 16])));
            let entries = Entry::of(Place { chain: 1, seq: 2, month: 197001 }, Utc::from_micros(3), &cid, actor.as_deref(), subject.as_deref(), shown.as_ref());
            let keys: Vec<i64> = entries.iter().map(|e| e.key).collect();
            let distinct: std::collections::BTreeSet<i64> = keys.iter().copied().collect();
            prop_assert_eq!(distinct.len(), keys.len());
            prop_assert!(keys.contains(&BY_TIME) && keys.contains(&by_cid(&cid)));
            let shown = shown.iter().flat_map(Persons::ids).map(|id| id.to_string());
            for person in [actor, subject].into_iter().flatten().chain(shown) {
                prop_assert!(keys.contains(&by_person(&person)));
            }
        }
    }
}
