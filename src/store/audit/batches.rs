//! The rows of the trail: batches of events that became durable together, and apart from them the values that changed.
//!
//! A batch is known by the number of its last event, so the one with a given event is the first that ends at it or later. On PostgreSQL the
//! tables are partitioned by month; a month's partitions are made by the transaction that first writes to it.

use super::super::Snapshot;
use super::super::connection::AnyConnection;
use super::super::error::StoreError;
use crate::domain::audit::{Changes, Link, Packed, Persons, audit_batches, audit_changes, audit_shown};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use std::collections::HashMap;
use std::fmt::Write as _;

/// Events in one row at most.
pub(super) const EVENTS: usize = 512;
/// The tables that have a partition for each month.
pub(super) const BY_MONTH: [&str; 4] = ["audit_batches", "audit_changes", "audit_shown", "audit_index"];

/// Where an event is: its chain, its number, and the month of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) chain: i64,
    pub(super) seq: i64,
    pub(super) month: i64,
}

/// A row of the trail.
#[derive(Queryable, Selectable)]
#[diesel(table_name = audit_batches)]
pub(super) struct Batch {
    pub(super) month: i64,
    chain: i64,
    last: i64,
    events: String,
    hashes: Vec<u8>,
}

impl Batch {
    /// Its links, without the values that changed.
    fn links(self) -> Result<Vec<Link>, StoreError> {
        let Self { chain, last, events, hashes, .. } = self;
        let packed = Packed { events, hashes };
        packed.links(chain, last).map_err(|e| StoreError::Broken(format!("the batch up to event {last} of chain {chain}: {e}")))
    }
}

/// Runs the same on either connection. What stands for both builds a statement's text anew every time; of its own kind a connection keeps
/// statements prepared, and what writes to the trail runs with every batch.
macro_rules! on {
    ($connection:expr, $c:ident => $work:expr) => {
        match $connection {
            AnyConnection::Sqlite($c) => $work,
            AnyConnection::Postgres($c) => $work,
        }
    };
}

/// What a row has of links that follow each other.
pub(super) fn pack(links: &[Link]) -> Result<Packed, StoreError> {
    Packed::of(links).map_err(|e| StoreError::Broken(format!("an event cannot be packed: {e}")))
}

/// The month of a batch that follows one of the month `before`: the greatest of that and the months of its events' times.
pub(super) fn month_of(before: i64, links: &[Link]) -> i64 {
    links.iter().map(|link| link.event.time.month()).max().unwrap_or_default().max(before)
}

/// The months of the rows that these links become.
pub(super) fn months(before: i64, links: &[Link]) -> impl Iterator<Item = i64> {
    let next = |month: &mut i64, links| {
        *month = month_of(*month, links);
        Some(*month)
    };
    links.chunks(EVENTS).scan(before, next)
}

/// Writes links that follow each other, the first of them what is of the month `before`.
pub(super) fn insert(connection: &mut AnyConnection, before: i64, links: &[Link]) -> Result<(), StoreError> {
    for (month, links) in months(before, links).zip(links.chunks(EVENTS)) {
        insert_batch(connection, month, links)?;
    }
    Ok(())
}

fn insert_batch(connection: &mut AnyConnection, month: i64, links: &[Link]) -> Result<(), StoreError> {
    let packed = pack(links)?;
    if let Some(Link { chain, seq, .. }) = links.last() {
        let batch = (
            audit_batches::month.eq(month),
            audit_batches::chain.eq(chain),
            audit_batches::last.eq(seq),
            audit_batches::events.eq(&packed.events),
            audit_batches::hashes.eq(&packed.hashes),
        );
        on!(connection, c => diesel::insert_into(audit_batches::table).values(batch).execute(c)?);
    }
    for link in links {
        if let Some(shown) = &link.event.shown {
            let row = (
                audit_shown::month.eq(month),
                audit_shown::chain.eq(link.chain),
                audit_shown::seq.eq(link.seq),
                audit_shown::shown.eq(shown.as_bytes()),
            );
            on!(connection, c => diesel::insert_into(audit_shown::table).values(row).execute(c)?);
        }
        if let (Some(changes), Some(salt)) = (&link.event.changes, &link.changes_salt) {
            let row = (
                audit_changes::month.eq(month),
                audit_changes::chain.eq(link.chain),
                audit_changes::seq.eq(link.seq),
                audit_changes::subject.eq(&link.event.subject),
                audit_changes::salt.eq(salt),
                audit_changes::changes.eq(changes.as_text()),
            );
            on!(connection, c => diesel::insert_into(audit_changes::table).values(row).execute(c)?);
        }
    }
    Ok(())
}

/// Removes the values of a user's changed attributes from the trail. The chains go on holding their digests.
pub(super) fn erase_changes(connection: &mut AnyConnection, subject: &str) -> Result<(), StoreError> {
    diesel::delete(audit_changes::table.filter(audit_changes::subject.eq(subject))).execute(connection)?;
    Ok(())
}

/// Makes the partitions of a month, within the transaction, if there are none. Nobody else who writes or reads is kept waiting.
pub(super) fn prepare_month(connection: &mut AnyConnection, month: i64) -> Result<(), StoreError> {
    #[derive(diesel::QueryableByName)]
    struct Is {
        #[diesel(sql_type = diesel::sql_types::Bool)]
        there: bool,
    }
    if !connection.is_postgres() {
        return Ok(());
    }
    // One at a time: who comes second finds them made.
    connection.batch_execute("SELECT pg_advisory_xact_lock(8461300257123105)")?;
    for parent in BY_MONTH {
        let name = partition(parent, month);
        let is = format!("SELECT to_regclass('{name}') IS NOT NULL AS there");
        let Is { there } = diesel::sql_query(is).get_result(connection)?;
        if !there {
            // To make it as a partition would lock out everyone; to attach it does not.
            connection.batch_execute(&format!(
                "CREATE TABLE {name} (LIKE {parent} INCLUDING ALL); \
                 ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ({month}) TO ({})",
                month + 1
            ))?;
        }
    }
    Ok(())
}

/// What a month's partition of a table is called.
pub(super) fn partition(parent: &str, month: i64) -> String {
    format!("{parent}_{month}")
}

#[derive(diesel::QueryableByName)]
struct ChangesRow {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Nullable<Text>)]
    subject: Option<String>,
    #[diesel(sql_type = Binary)]
    salt: Vec<u8>,
    #[diesel(sql_type = Text)]
    changes: String,
}

#[derive(diesel::QueryableByName)]
struct ShownRow {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Binary)]
    shown: Vec<u8>,
}

impl Snapshot<'_> {
    /// The links of a chain that come after a number: those of so many batches, each with the month of its batch, without the values that
    /// changed. None if there are no more.
    pub(super) fn links_after(&mut self, chain: i64, seq: i64, batches: i64) -> Result<Vec<(i64, Link)>, StoreError> {
        let batches = self.links_by_batch(chain, seq, batches)?;
        let links = |(month, links): (i64, Vec<Link>)| links.into_iter().map(move |link| (month, link));
        Ok(batches.into_iter().flat_map(links).collect())
    }

    /// The same, batch by batch.
    pub(super) fn links_by_batch(&mut self, chain: i64, seq: i64, batches: i64) -> Result<Vec<(i64, Vec<Link>)>, StoreError> {
        let batches = self.batches_after(chain, seq, batches)?.into_iter();
        let links = |batch: Batch| {
            let month = batch.month;
            let mut links: Vec<Link> = batch.links()?.into_iter().filter(|link| link.seq > seq).collect();
            self.fill_shown(chain, month, &mut links)?;
            Ok((month, links))
        };
        batches.map(links).collect()
    }

    /// Fills in whom answers showed. The links are of one batch.
    fn fill_shown(&mut self, chain: i64, month: i64, links: &mut [Link]) -> Result<(), StoreError> {
        let mut listed = String::new();
        for link in links.iter().filter(|link| link.event.more.shown_digest().is_some()) {
            let _ = write!(listed, "{}{}", if listed.is_empty() { "" } else { "," }, link.seq);
        }
        if listed.is_empty() {
            return Ok(());
        }
        let query = format!("SELECT seq, shown FROM audit_shown WHERE chain = {chain} AND seq IN ({listed}) AND month = {month}");
        let rows: Vec<ShownRow> = diesel::sql_query(query).load(self.0)?;
        let mut rows: HashMap<i64, Vec<u8>> = rows.into_iter().map(|row| (row.seq, row.shown)).collect();
        for link in links {
            link.event.shown = rows.remove(&link.seq).map(Persons::from_bytes);
        }
        Ok(())
    }

    fn batches_after(&mut self, chain: i64, seq: i64, limit: i64) -> Result<Vec<Batch>, StoreError> {
        let beyond = audit_batches::table.filter(audit_batches::chain.eq(chain).and(audit_batches::last.gt(seq)));
        let batches = beyond.order(audit_batches::last.asc()).limit(limit);
        Ok(on!(&mut *self.0, c => batches.select(Batch::as_select()).load(c)?))
    }

    /// The links at these places that `is_wanted` lets through, in no particular order. A place where nothing is has none: what is older
    /// than the trail is kept goes before its index does.
    pub(super) fn links_at(&mut self, places: &mut [Place], is_wanted: impl Fn(&Link) -> bool) -> Result<Vec<Link>, StoreError> {
        places.sort_unstable();
        let mut links: Vec<Link> = Vec::new();
        let mut places = places.iter().copied().peekable();
        while let Some(Place { chain, seq, month }) = places.next() {
            let with_it = audit_batches::chain.eq(chain).and(audit_batches::last.ge(seq)).and(audit_batches::month.eq(month));
            let batch = audit_batches::table.filter(with_it).order(audit_batches::last.asc()).limit(1);
            let batch: Option<Batch> = on!(&mut *self.0, c => batch.select(Batch::as_select()).get_result(c).optional()?);
            let Some(batch) = batch else { continue };
            let mut wanted = vec![seq];
            while let Some(next) = places.next_if(|next| next.chain == chain && next.seq <= batch.last) {
                wanted.push(next.seq);
            }
            let is_one = |link: &Link| wanted.binary_search(&link.seq).is_ok();
            let mut of_batch: Vec<Link> = batch.links()?.into_iter().filter(is_one).collect();
            self.fill_shown(chain, month, &mut of_batch)?;
            links.extend(of_batch.into_iter().filter(&is_wanted));
        }
        Ok(links)
    }

    /// Fills in the values that changed, where they have not been erased. The links are of one chain.
    pub(super) fn fill_changes<'a>(&mut self, chain: i64, links: impl Iterator<Item = &'a mut Link>) -> Result<(), StoreError> {
        self.fill_changes_of(chain, None, links)
    }

    /// The same with the month of the links' batch, if it is known: what stands in another goes when that goes, and is not theirs.
    pub(super) fn fill_changes_of<'a>(
        &mut self,
        chain: i64,
        month: Option<i64>,
        links: impl Iterator<Item = &'a mut Link>,
    ) -> Result<(), StoreError> {
        let mut links: Vec<&mut Link> = links.filter(|link| link.changes_digest.is_some()).collect();
        // Numbers: as text they are as safe as parameters, and many go in one statement.
        let mut listed = String::new();
        for link in &links {
            let _ = write!(listed, "{}{}", if listed.is_empty() { "" } else { "," }, link.seq);
        }
        if listed.is_empty() {
            return Ok(());
        }
        let of_month = month.map_or_else(String::new, |month| format!(" AND month = {month}"));
        let query = format!(
            "SELECT seq, subject, salt, changes FROM audit_changes WHERE chain = {chain} AND seq IN ({listed}){of_month}"
        );
        let rows: Vec<ChangesRow> = diesel::sql_query(query).load(self.0)?;
        let mut rows: HashMap<i64, ChangesRow> = rows.into_iter().map(|row| (row.seq, row)).collect();
        for link in &mut links {
            // Values that would be erased with another person's are not this event's.
            let row = rows.remove(&link.seq).filter(|row| row.subject == link.event.subject);
            if let Some(ChangesRow { salt, changes, .. }) = row {
                link.changes_salt = Some(salt);
                link.event.changes = Some(Changes::from_text(changes));
            }
        }
        Ok(())
    }
}
