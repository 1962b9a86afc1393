//! How long the trail is kept: by months, from the beginning of each chain.
//!
//! Along a chain months only grow, so what is older than a month is the beginning of each chain. First the new beginnings are set: for each
//! chain the number and hash of the last event that goes, with a MAC, so that nobody else can cut a chain short. From then on what comes
//! before is no part of the trail, and it is removed: on PostgreSQL by dropping the months' partitions, which keeps no writer waiting; on
//! SQLite in strides. Who is interrupted in between goes on the next time.

use super::super::connection::{AnyConnection, Location, Purpose};
use super::super::error::StoreError;
use super::super::{Snapshot, Store, Tx};
use super::batches::{BY_MONTH, partition, prepare_month};
use super::index::Entry;
use crate::domain::audit::{Head, audit_batches, audit_beginnings, audit_chains, audit_changes, audit_index, audit_indexed};
use crate::domain::secret::MacKey;
use crate::error::{Code, Error, Result};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};

/// Events after which no batch more is removed in the same transaction on SQLite: their entries lie all over the index, so each may cost
/// a read of the disk, and everybody waits for it.
const STRIDE: usize = 128;
/// Keeps two nodes from removing the same at once.
const LOCK: &str = "SELECT pg_try_advisory_lock(8461300257123106) AS is_so";
const UNLOCK: &str = "SELECT pg_advisory_unlock(8461300257123106)";

#[derive(diesel::QueryableByName)]
struct Is {
    #[diesel(sql_type = Bool)]
    is_so: bool,
}

#[derive(diesel::QueryableByName)]
struct Partition {
    #[diesel(sql_type = BigInt)]
    month: i64,
    #[diesel(sql_type = Bool)]
    is_pending: bool,
}

impl Snapshot<'_> {
    /// Where a chain begins; `None` if it does with its first event. A beginning whose MAC does not hold is the error's text.
    pub(super) fn beginning_of(&mut self, chain: i64, key: &MacKey) -> Result<Option<Result<Head, String>>, StoreError> {
        let row: Option<(i64, i64, Vec<u8>, Vec<u8>)> = audit_beginnings::table.find(chain).get_result(self.0).optional()?;
        Ok(row.map(|(chain, seq, hash, mac)| {
            let head = Head { chain, seq, hash };
            let is_confirmed = key.confirms(&head.canonical_beginning(), &mac);
            if is_confirmed { Ok(head) } else { Err("the chain's beginning does not match its MAC".to_owned()) }
        }))
    }

    /// Whether there are events from before a month.
    ///
    /// # Errors
    /// The database fails.
    pub fn has_audit_before(&mut self, month: i64) -> Result<bool, StoreError> {
        let chains: Vec<i64> = audit_chains::table.select(audit_chains::chain).load(self.0)?;
        for chain in chains {
            let of_chain = audit_batches::table.filter(audit_batches::chain.eq(chain));
            let first = of_chain.order(audit_batches::last.asc()).limit(1).select(audit_batches::month);
            if first.get_result::<i64>(self.0).optional()?.is_some_and(|first| first < month) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Tx<'_> {
    /// Has the chains begin with a month; tells how many events are no part of the trail any more.
    ///
    /// # Errors
    /// The database fails.
    pub fn begin_audit_with(&mut self, month: i64, key: &MacKey) -> Result<i64, StoreError> {
        let chains = audit_chains::table.select((audit_chains::chain, audit_chains::month)).order(audit_chains::chain);
        let chains: Vec<(i64, i64)> = match &mut *self.0 {
            AnyConnection::Sqlite(c) => chains.load(c)?,
            AnyConnection::Postgres(c) => chains.for_update().load(c)?,
        };
        let mut gone = 0;
        for (chain, last_month) in chains {
            if last_month < month {
                // Nothing may follow in a month that is dropped, wherever a clock goes.
                prepare_month(self.0, month)?;
                diesel::update(audit_chains::table.find(chain)).set(audit_chains::month.eq(month)).execute(self.0)?;
            }
            let older = audit_batches::table.filter(audit_batches::chain.eq(chain).and(audit_batches::month.lt(month)));
            let newest = older.order(audit_batches::last.desc()).limit(1).select((audit_batches::last, audit_batches::hashes));
            let Some((seq, hashes)) = newest.get_result::<(i64, Vec<u8>)>(self.0).optional()? else { continue };
            let before = match Snapshot(&mut *self.0).beginning_of(chain, key)? {
                Some(Ok(head)) => head.seq,
                Some(Err(flaw)) => return Err(StoreError::Broken(format!("audit chain {chain}: {flaw}"))),
                None => 0,
            };
            if seq <= before {
                continue;
            }
            gone += seq - before;
            let hash = hashes.last_chunk::<32>().map(|hash| hash.to_vec()).unwrap_or_default();
            let head = Head { chain, seq, hash };
            let beginning = (
                audit_beginnings::chain.eq(chain),
                audit_beginnings::seq.eq(seq),
                audit_beginnings::hash.eq(&head.hash),
                audit_beginnings::mac.eq(key.mac(&head.canonical_beginning())),
            );
            diesel::delete(audit_beginnings::table.find(chain)).execute(self.0)?;
            diesel::insert_into(audit_beginnings::table).values(beginning).execute(self.0)?;
            let behind = audit_indexed::table.find(chain).filter(audit_indexed::seq.lt(seq));
            diesel::update(behind).set(audit_indexed::seq.eq(seq)).execute(self.0)?;
        }
        Ok(gone)
    }

    /// Removes a stride of what comes before the chains' beginnings; tells how many events.
    fn remove_audit(&mut self) -> Result<usize, StoreError> {
        let beginnings: Vec<(i64, i64)> =
            audit_beginnings::table.select((audit_beginnings::chain, audit_beginnings::seq)).load(self.0)?;
        for (chain, beginning) in beginnings {
            let mut links = Vec::new();
            let mut last = 0;
            while links.len() < STRIDE && last < beginning {
                let batch = Snapshot(&mut *self.0).links_after(chain, last, 1)?;
                let Some(end) = batch.last().map(|(_, link)| link.seq).filter(|end| *end <= beginning) else { break };
                last = end;
                links.extend(batch);
            }
            if links.is_empty() {
                continue;
            }
            let mut entries: Vec<Entry> = links.iter().flat_map(|(month, link)| Entry::of_link(link, *month)).collect();
            // In the order of the table, as neighbours share a page.
            entries.sort_unstable();
            for Entry { key, micros, chain, seq, month } in entries {
                diesel::delete(audit_index::table.find((key, micros, chain, seq, month))).execute(self.0)?;
            }
            let changes = audit_changes::chain.eq(chain).and(audit_changes::seq.le(last));
            diesel::delete(audit_changes::table.filter(changes)).execute(self.0)?;
            let batches = audit_batches::chain.eq(chain).and(audit_batches::last.le(last));
            diesel::delete(audit_batches::table.filter(batches)).execute(self.0)?;
            return Ok(links.len());
        }
        Ok(0)
    }
}

impl Store {
    /// The key that beginnings and heads are signed with.
    pub fn audit_key(&self) -> MacKey {
        self.inner.key.clone()
    }

    /// Removes what is older than a month and no part of the trail any more.
    ///
    /// # Errors
    /// The database fails.
    pub async fn remove_audit_before(&self, month: i64) -> Result<()> {
        match self.location().clone() {
            Location::Sqlite(_) => {
                while self.keep_count(|tx| Ok(tx.remove_audit()?)).await? > 0 {}
                Ok(())
            }
            location @ Location::Postgres(_) => {
                let dropped = tokio::task::spawn_blocking(move || drop_partitions(&location, month)).await;
                Ok(dropped.map_err(|_| Error::new(Code::Internal).cause("dropping partitions panicked"))??)
            }
        }
    }
}

/// Drops the partitions of the months before `month`, unless another node is at it.
fn drop_partitions(location: &Location, month: i64) -> Result<(), StoreError> {
    // A connection of its own: its end is the end of the lock, however it ends.
    let mut connection = AnyConnection::open(location, Purpose::Writing)?;
    let Is { is_so } = diesel::sql_query(LOCK).get_result(&mut connection)?;
    if !is_so {
        return Ok(());
    }
    // The batches last: as long as they are there, who was interrupted is found to have left something, changed values above all.
    for parent in BY_MONTH.into_iter().rev() {
        // Those detached whose table was left behind as well.
        let listed = format!(
            "SELECT substr(c.relname, {}) ::bigint AS month, coalesce(i.inhdetachpending, false) AS is_pending FROM pg_class c \
             LEFT JOIN pg_inherits i ON i.inhrelid = c.oid \
             WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND c.relname ~ '^{parent}_[0-9]+$' ORDER BY month",
            parent.len() + 2
        );
        let partitions: Vec<Partition> = diesel::sql_query(listed).load(&mut connection)?;
        for Partition { month: of, is_pending } in partitions.into_iter().filter(|partition| partition.month < month) {
            let name = partition(parent, of);
            let attached = format!(
                "SELECT EXISTS (SELECT 1 FROM pg_inherits WHERE inhrelid = to_regclass('{name}') AND inhparent = to_regclass('{parent}')) AS is_so"
            );
            let Is { is_so } = diesel::sql_query(attached).get_result(&mut connection)?;
            if is_so {
                let how = if is_pending { "FINALIZE" } else { "CONCURRENTLY" };
                connection.batch_execute(&format!("ALTER TABLE {parent} DETACH PARTITION {name} {how}"))?;
            }
            connection.batch_execute(&format!("DROP TABLE {name}"))?;
        }
    }
    connection.batch_execute(UNLOCK)?;
    Ok(())
}
