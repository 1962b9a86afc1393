//! How long the trail is kept: by months, from the beginning of each chain.
//!
//! Along a chain months only grow, so what is older than a month is the beginning of each chain. Before anything is dropped every chain is
//! walked, from its beginning to its head, in strides and outside of any transaction: nobody else's hashes are signed. Then the new
//! beginnings are set: for each chain the number and hash of the last event that goes, with a MAC, so that nobody else can cut a chain
//! short. From then on what comes before is no part of the trail, and it is removed: on PostgreSQL by dropping the months' partitions, which
//! keeps no writer waiting; on SQLite in strides. Who is interrupted in between goes on the next time.

use super::super::connection::{AnyConnection, Location, Purpose};
use super::super::error::StoreError;
use super::super::{Snapshot, Store, Tx};
use super::batches::{BY_MONTH, partition, prepare_month};
use super::chains::{HEADS, HeadRow};
use super::index::Entry;
use super::walk::{Flaw, Walk, flaw_of_months};
use crate::domain::audit::{
    End, Head, Link, Side, audit_batches, audit_beginnings, audit_chains, audit_changes, audit_index, audit_indexed, audit_shown,
};
use crate::domain::secret::MacKey;
use crate::domain::time::Utc;
use crate::error::{Code, Error, Result};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};

/// Batches walked at a time.
const BATCHES: i64 = 16;
/// The tables that have a row for some events and a partition for each month: what is dropped there must be of events that are dropped.
const OF_EVENTS: [&str; 2] = ["audit_changes", "audit_shown"];
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
    pub(super) fn beginning_of(&mut self, chain: i64, key: &MacKey) -> Result<Option<Result<End, String>>, StoreError> {
        type Row = (i64, i64, Vec<u8>, Vec<u8>, i64);
        let row: Option<Row> = audit_beginnings::table.find(chain).get_result(self.0).optional()?;
        Ok(row.map(|(chain, seq, hash, mac, month)| {
            let end = End { head: Head { chain, seq, hash }, month };
            let is_confirmed = end.is_confirmed(Side::Beginning, key, &mac);
            if is_confirmed { Ok(end) } else { Err("the chain's beginning does not match its MAC".to_owned()) }
        }))
    }

    /// The ends of every chain, from its beginning to its head.
    fn ends(&mut self, key: &MacKey) -> Result<Vec<(End, End)>, StoreError> {
        let heads = diesel::sql_query(HEADS).load::<HeadRow>(self.0)?;
        let mut ends = Vec::new();
        for head in heads {
            let head = head.confirmed(key)?;
            let chain = head.head.chain;
            let beginning = match self.beginning_of(chain, key)? {
                Some(Ok(beginning)) => beginning,
                Some(Err(flaw)) => return Err(Flaw::new(chain, 0, flaw).into()),
                None => End::of_empty(chain),
            };
            ends.push((beginning, head));
        }
        Ok(ends)
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

/// What of a chain is older than a month.
#[derive(Clone, Debug)]
pub struct Older {
    /// The last event that is not part of the trail any more.
    from: Head,
    /// The last event that is older, with the month of its batch.
    to: End,
    /// How many there are.
    pub events: i64,
    /// The time of the first one of them, and of the last one.
    pub times: Option<(Utc, Utc)>,
}

impl Older {
    fn than(beginning: &End) -> Self {
        Self { from: beginning.head.clone(), to: beginning.clone(), events: 0, times: None }
    }

    fn add(&mut self, month: i64, link: &Link) {
        let time = link.event.time;
        self.to = End { head: link.as_head(), month };
        self.events += 1;
        self.times = Some(self.times.map_or((time, time), |(first, last)| (first.min(time), last.max(time))));
    }

    /// The last one of them.
    pub fn last(&self) -> &Head {
        &self.to.head
    }
}

/// What a walk of the whole trail came to.
#[derive(Clone, Debug)]
pub enum Aged {
    /// Everything holds: what of each chain is older.
    Sound(Vec<Older>),
    /// Something does not hold: nothing may be dropped or signed.
    Broken(String),
    /// Somebody else has dropped something meanwhile.
    Overtaken,
}

/// Sets where a chain begins.
pub(super) fn set_beginning(connection: &mut AnyConnection, beginning: &End, key: &MacKey) -> Result<(), StoreError> {
    let row = (
        audit_beginnings::chain.eq(beginning.head.chain),
        audit_beginnings::seq.eq(beginning.head.seq),
        audit_beginnings::hash.eq(&beginning.head.hash),
        audit_beginnings::mac.eq(beginning.mac(Side::Beginning, key)),
        audit_beginnings::month.eq(beginning.month),
    );
    diesel::delete(audit_beginnings::table.find(beginning.head.chain)).execute(connection)?;
    diesel::insert_into(audit_beginnings::table).values(row).execute(connection)?;
    Ok(())
}

impl Tx<'_> {
    /// Has the chains begin with a month, if what is older is still what was walked; tells whether it is.
    ///
    /// # Errors
    /// The database fails, or something that is newer would be dropped.
    pub fn begin_audit_with(&mut self, month: i64, older: &[Older], key: &MacKey) -> Result<bool, StoreError> {
        let hold = if self.0.is_postgres() { " FOR UPDATE" } else { "" };
        let heads: Vec<HeadRow> = diesel::sql_query(format!("{HEADS}{hold}")).load(self.0)?;
        for (row, Older { from, to, events, .. }) in heads.into_iter().zip(older) {
            let mut end = row.confirmed(key)?;
            let chain = end.head.chain;
            let begins = match Snapshot(&mut *self.0, self.1).beginning_of(chain, key)? {
                Some(Ok(beginning)) => beginning.head,
                Some(Err(flaw)) => return Err(Flaw::new(chain, 0, flaw).into()),
                None => Head::of_empty(chain),
            };
            let of_before = audit_batches::table.filter(audit_batches::chain.eq(chain).and(audit_batches::month.lt(month)));
            let newest = of_before.order(audit_batches::last.desc()).limit(1).select(audit_batches::last);
            let newest: Option<i64> = newest.get_result(self.0).optional()?;
            let is_raised = end.month < month;
            let has_moved = begins != *from || newest.unwrap_or_default().max(from.seq) != to.head.seq;
            if has_moved || is_raised && end.head != to.head {
                return Ok(false);
            }
            self.refuse_to_drop_newer(chain, to.head.seq, month)?;
            if *events == 0 && !is_raised {
                continue;
            }
            let mut beginning = to.clone();
            if is_raised {
                // Nothing may follow in a month that is dropped, wherever a clock goes.
                prepare_month(self.0, month)?;
                (end.month, beginning.month) = (month, month);
                let raised = (audit_chains::month.eq(month), audit_chains::mac.eq(end.mac(Side::Head, key)));
                diesel::update(audit_chains::table.find(chain)).set(raised).execute(self.0)?;
            }
            set_beginning(self.0, &beginning, key)?;
            let behind = audit_indexed::table.find(chain).filter(audit_indexed::seq.lt(to.head.seq));
            diesel::update(behind).set(audit_indexed::seq.eq(to.head.seq)).execute(self.0)?;
        }
        Ok(true)
    }

    /// What goes with a month must be of events that go.
    fn refuse_to_drop_newer(&mut self, chain: i64, last: i64, month: i64) -> Result<(), StoreError> {
        for table in OF_EVENTS {
            let newer = format!(
                "SELECT EXISTS (SELECT 1 FROM {table} WHERE month < {month} AND chain = {chain} AND seq > {last}) AS is_so"
            );
            if diesel::sql_query(newer).get_result::<Is>(self.0)?.is_so {
                let flaw = format!("what {table} has of a later event stands in a month that is to be dropped");
                return Err(Flaw::new(chain, last, flaw).into());
            }
        }
        Ok(())
    }

    /// Removes a stride of what comes before the chains' beginnings; tells how many events.
    fn remove_audit(&mut self) -> Result<usize, StoreError> {
        let beginnings: Vec<(i64, i64)> =
            audit_beginnings::table.select((audit_beginnings::chain, audit_beginnings::seq)).load(self.0)?;
        for (chain, beginning) in beginnings {
            let mut links = Vec::new();
            let mut last = 0;
            while links.len() < STRIDE && last < beginning {
                let batch = Snapshot(&mut *self.0, self.1).links_after(chain, last, 1)?;
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
            let shown = audit_shown::chain.eq(chain).and(audit_shown::seq.le(last));
            diesel::delete(audit_shown::table.filter(shown)).execute(self.0)?;
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

    /// Walks every chain to its head, a stride at a time, for what is older than a month.
    ///
    /// # Errors
    /// The database fails.
    pub async fn walk_audit_before(&self, month: i64) -> Result<Aged> {
        let key = self.inner.key.clone();
        let read = key.clone();
        let ends = match self.search(move |snapshot| Ok(snapshot.ends(&read))).await? {
            Err(StoreError::Broken(cause)) => return Ok(Aged::Broken(cause)),
            ends => ends?,
        };
        let (mut walks, mut older) = (Vec::new(), Vec::new());
        let mut flaw = None;
        for (beginning, end) in &ends {
            let (mut walk, mut found) = (Walk::from(beginning.clone()), Older::than(beginning));
            while walk.at.head.seq < end.head.seq && flaw.is_none() {
                let last = end.head.seq;
                let stride = move |snapshot: &mut Snapshot<'_>| {
                    let see = |of: i64, link: &Link| {
                        if of < month {
                            found.add(of, link)
                        }
                    };
                    let strode = walk.stride(snapshot, last, BATCHES, see)?;
                    Ok((walk, found, strode.err()))
                };
                (walk, found, flaw) = self.search(stride).await?;
            }
            flaw = flaw.or_else(|| walk.flaw_at(end));
            walks.push(walk);
            older.push(found);
            if flaw.is_some() {
                break;
            }
        }
        let Some(flaw) = flaw.or_else(|| flaw_of_months(walks.iter())) else { return Ok(Aged::Sound(older)) };
        // What another node has dropped meanwhile is not missing.
        let now = self.search(move |snapshot| Ok(snapshot.ends(&key))).await?;
        let has_moved =
            now.is_ok_and(|now| now.iter().map(|(beginning, _)| beginning).ne(ends.iter().map(|(beginning, _)| beginning)));
        Ok(if has_moved { Aged::Overtaken } else { Aged::Broken(StoreError::from(flaw).to_string()) })
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
