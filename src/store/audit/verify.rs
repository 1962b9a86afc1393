//! Verifying the trail: walking every chain from its first event to its head, and holding the index against what was walked.

use super::super::error::StoreError;
use super::super::{Snapshot, Store};
use super::chains::{HEADS, HeadRow, chains};
use super::index::Entry;
use super::objects::flaw_of_objects;
use super::walk::{Flaw, Walk, flaw_of_months};
use crate::domain::audit::{Action, End, Link, Outcome, Side, audit_changes, audit_index, audit_shown};
use crate::domain::secret::MacKey;
use crate::domain::time::Utc;
use crate::error::Result;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use std::collections::HashMap;

/// Batches read at a time while walking a chain.
const BATCHES: i64 = 64;
/// Entries read at a time while walking the index.
const STRIDE: i64 = 1000;

/// What a walk along the chains found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Every chain holds.
    Sound(Verified),
    /// The first break: where, and what is wrong.
    Broken {
        /// The chain.
        chain: i64,
        /// The number of the event, or where one should be.
        seq: i64,
        /// What is wrong.
        flaw: String,
    },
}

/// The extent of a sound trail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Events walked.
    pub events: i64,
    /// Events whose changed values have been erased.
    pub erased: i64,
    /// The heads. Kept elsewhere, they prove later that nothing up to here was put back.
    pub heads: Vec<End>,
    /// Chains that have come to a month that is not there yet: a clock is, or was, ahead.
    pub ahead: Vec<i64>,
}

impl From<Flaw> for Finding {
    fn from(Flaw { chain, seq, text: flaw }: Flaw) -> Self {
        Self::Broken { chain, seq, flaw }
    }
}

impl Store {
    /// The heads as they are now.
    ///
    /// # Errors
    /// The database fails, or a head does not match its MAC.
    pub async fn audit_heads(&self) -> Result<Vec<End>> {
        let key = self.inner.key.clone();
        let heads = move |snapshot: &mut Snapshot<'_>| {
            let rows = diesel::sql_query(HEADS).load::<HeadRow>(snapshot.0).map_err(StoreError::from)?;
            Ok(rows.into_iter().map(|row| row.confirmed(&key)).collect::<Result<Vec<_>, _>>()?)
        };
        self.read(heads).await
    }

    /// Walks every chain from its first event to its head.
    ///
    /// # Errors
    /// The database fails.
    pub async fn verify_audit(&self, now: Utc) -> Result<Finding> {
        let key = self.inner.key.clone();
        let inner = std::sync::Arc::clone(&self.inner);
        let behind = self.behind();
        let walk = tokio::task::spawn_blocking(move || {
            if let Some(flaw) = flaw_of_objects(&inner.location)? {
                return Ok(Finding::Broken { chain: 1, seq: 0, flaw });
            }
            inner.read(
                || (),
                |snapshot| {
                    snapshot.0.begin_snapshot().map_err(StoreError::from)?;
                    let found = verify(snapshot, &key, now);
                    snapshot.0.batch_execute("ROLLBACK").map_err(StoreError::from)?;
                    found
                },
            )
        });
        let found = walk.await.unwrap_or_else(|_| Err(StoreError::Broken("the verification panicked".to_owned()).into()))?;
        // What does not hold in itself is told first.
        Ok(match (found, behind) {
            (Finding::Sound(_), Some(flaw)) => flaw.into(),
            (found, _) => found,
        })
    }
}

fn verify(snapshot: &mut Snapshot<'_>, key: &MacKey, now: Utc) -> Result<Finding> {
    if !snapshot.0.is_postgres()
        && let Some(flaw) = sqlite_damage(snapshot)?
    {
        return Ok(Finding::Broken { chain: 1, seq: 0, flaw });
    }
    let mut verified = Verified::default();
    let (markers, mut expected) = (snapshot.indexed_up_to()?, Sum::default());
    let mut beginnings = HashMap::new();
    let (mut walks, mut told) = (Vec::new(), 0);
    for chain in 1..=chains(snapshot.0) {
        let stored = head_of(snapshot, chain)?;
        let Some((end, mac)) = stored else {
            return Ok(Finding::Broken { chain, seq: 0, flaw: "the chain's head is missing".to_owned() });
        };
        let broken = |seq, flaw: &str| Finding::Broken { chain, seq, flaw: flaw.to_owned() };
        if !end.is_confirmed(Side::Head, key, &mac) {
            return Ok(broken(end.head.seq, "the chain's head does not match its MAC"));
        }
        let mut walk = Walk::from(match snapshot.beginning_of(chain, key)? {
            Some(Ok(beginning)) => beginning,
            Some(Err(flaw)) => return Ok(broken(0, &flaw)),
            None => End::of_empty(chain),
        });
        beginnings.insert(chain, walk.at.head.seq);
        let (mut changes, mut shown) = (0, 0);
        while walk.at.head.seq < end.head.seq {
            let strode = walk.stride(snapshot, end.head.seq, BATCHES, |month, link| {
                if markers.get(&chain).is_some_and(|indexed| link.seq <= *indexed) {
                    Entry::of_link(link, month).into_iter().for_each(|entry| expected.add(entry));
                }
                verified.events += 1;
                told = told.max(accepted_by(link).unwrap_or_default());
                changes += i64::from(link.event.changes.is_some());
                shown += i64::from(link.event.shown.is_some());
                verified.erased += i64::from(link.is_erased());
            })?;
            if let Err(flaw) = strode {
                return Ok(flaw.into());
            }
        }
        if let Some((_, beyond)) = snapshot.links_after(chain, end.head.seq, 1)?.first() {
            return Ok(broken(beyond.seq, "the event stands beyond the chain's head"));
        }
        if snapshot.changes_after(chain, beginnings.get(&chain).copied().unwrap_or_default())? != changes {
            return Ok(broken(end.head.seq, "there are changed values that no event has"));
        }
        if snapshot.shown_after(chain, beginnings.get(&chain).copied().unwrap_or_default())? != shown {
            return Ok(broken(end.head.seq, "there are persons shown that no event has"));
        }
        if let Some(flaw) = walk.flaw_at(&end) {
            return Ok(flaw.into());
        }
        if end.month > now.month() {
            verified.ahead.push(chain);
        }
        verified.heads.push(end);
        walks.push(walk);
    }
    if let Some(flaw) = flaw_of_months(walks.iter()) {
        return Ok(flaw.into());
    }
    if let Some(flaw) = snapshot.flaw_of_acceptances(told, key)? {
        return Ok(Finding::Broken { chain: 1, seq: 0, flaw });
    }
    for End { head: end, .. } in &verified.heads {
        match markers.get(&end.chain) {
            Some(indexed) if *indexed <= end.seq => {}
            Some(indexed) => {
                let flaw = "the index claims events beyond the chain's head".to_owned();
                return Ok(Finding::Broken { chain: end.chain, seq: *indexed, flaw });
            }
            None => {
                let flaw = "how much of the chain is in the index is not known any more".to_owned();
                return Ok(Finding::Broken { chain: end.chain, seq: end.seq, flaw });
            }
        }
    }
    if let Some((chain, seq, flaw)) = stray(snapshot)? {
        return Ok(Finding::Broken { chain, seq, flaw: flaw.to_owned() });
    }
    match index_flaw(snapshot, &beginnings, &markers, expected)? {
        Some(broken) => Ok(broken),
        None => Ok(Finding::Sound(verified)),
    }
}

/// The acceptance of a rollback that an event tells of.
fn accepted_by(link: &Link) -> Option<i64> {
    let is_it = link.event.action == Action::AuditAcceptRollback && link.event.outcome == Outcome::Success;
    link.event.subject.as_deref().filter(|_| is_it)?.parse().ok()
}

/// Entries counted and summed: two indexes with the same sum have the same entries.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    count: u64,
    weight: u128,
}

impl Sum {
    fn add(&mut self, entry: Entry) {
        self.count += 1;
        self.weight = self.weight.wrapping_add(entry.weight());
    }
}

/// What in the index is not what the events say; `None` if nothing is. An event that the index does not lead to would not be found by a
/// search, though the chain still had it.
fn index_flaw(
    snapshot: &mut Snapshot<'_>,
    beginnings: &HashMap<i64, i64>,
    markers: &HashMap<i64, i64>,
    expected: Sum,
) -> Result<Option<Finding>, StoreError> {
    // What comes before a chain's beginning is being removed, here as well.
    let is_dropped = |entry: &Entry| beginnings.get(&entry.chain).is_some_and(|beginning| entry.seq <= *beginning);
    let mut sum = Sum::default();
    let mut stranger = None;
    let mut walk = Entries::default();
    while let Some(entries) = walk.next(snapshot)? {
        for entry in entries.into_iter().filter(|entry| !is_dropped(entry)) {
            sum.add(entry);
            let is_within = markers.get(&entry.chain).is_some_and(|indexed| entry.seq <= *indexed);
            if !is_within && stranger.is_none() {
                stranger = Some(entry);
            }
        }
    }
    let broken = |entry: Entry, flaw: &str| Finding::Broken { chain: entry.chain, seq: entry.seq, flaw: flaw.to_owned() };
    if let Some(entry) = stranger {
        return Ok(Some(broken(entry, "the index has an entry for an event that is not in it yet")));
    }
    if sum == expected {
        return Ok(None);
    }
    // Something differs: now it is worth the time to find out what.
    for (chain, indexed) in markers {
        let mut seq = beginnings.get(chain).copied().unwrap_or_default();
        while seq < *indexed {
            let links = snapshot.links_after(*chain, seq, BATCHES)?;
            let Some((_, last)) = links.last() else { break };
            seq = last.seq;
            let entries = |(month, link): &(i64, Link)| Entry::of_link(link, *month);
            for entry in links.iter().filter(|(_, link)| link.seq <= *indexed).flat_map(entries) {
                let place = (entry.key, entry.micros, entry.chain, entry.seq, entry.month);
                let kept: Option<i64> =
                    audit_index::table.find(place).select(audit_index::seq).get_result(snapshot.0).optional()?;
                if kept.is_none() {
                    return Ok(Some(broken(entry, "the index does not lead to the event")));
                }
            }
        }
    }
    let mut walk = Entries::default();
    while let Some(entries) = walk.next(snapshot)? {
        for entry in entries.into_iter().filter(|entry| !is_dropped(entry)) {
            let event = snapshot.links_after(entry.chain, entry.seq - 1, 1)?.into_iter().next();
            if !event.is_some_and(|(month, link)| link.seq == entry.seq && Entry::of_link(&link, month).contains(&entry)) {
                return Ok(Some(broken(entry, "the index has an entry that no event has")));
            }
        }
    }
    Ok(Some(Finding::Broken { chain: 1, seq: 0, flaw: "the index does not match the events".to_owned() }))
}

#[derive(diesel::QueryableByName)]
struct EntryRow {
    #[diesel(sql_type = BigInt)]
    key: i64,
    #[diesel(sql_type = BigInt)]
    micros: i64,
    #[diesel(sql_type = BigInt)]
    chain: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = BigInt)]
    month: i64,
}

/// A walk through the whole index.
#[derive(Default)]
struct Entries {
    after: Option<Entry>,
}

impl Entries {
    fn next(&mut self, snapshot: &mut Snapshot<'_>) -> Result<Option<Vec<Entry>>, StoreError> {
        // A row's place in the key's own order, so that every stride enters the index where the last one ended.
        let after = self.after.map_or_else(String::new, |Entry { key, micros, chain, seq, month }| {
            format!(" WHERE (key, micros, chain, seq, month) > ({key}, {micros}, {chain}, {seq}, {month})")
        });
        let rows: Vec<EntryRow> = diesel::sql_query(format!(
            "SELECT key, micros, chain, seq, month FROM audit_index{after} ORDER BY key, micros, chain, seq, month LIMIT {STRIDE}"
        ))
        .load(snapshot.0)?;
        let entry = |EntryRow { key, micros, chain, seq, month }| Entry { key, micros, chain, seq, month };
        let entries: Vec<Entry> = rows.into_iter().map(entry).collect();
        self.after = entries.last().copied();
        Ok(self.after.map(|_| entries))
    }
}

fn head_of(snapshot: &mut Snapshot<'_>, chain: i64) -> Result<Option<(End, Vec<u8>)>, StoreError> {
    let query = "SELECT chain, seq, hash, mac, month FROM audit_chains WHERE chain = $1";
    let row: Option<HeadRow> = diesel::sql_query(query).bind::<BigInt, _>(chain).get_result(snapshot.0).optional()?;
    Ok(row.map(HeadRow::into_parts))
}

/// The tables whose rows are of a chain, the column with the event's number, and what is said of a row that is of none.
const OF_CHAINS: [(&str, &str, &str); 6] = [
    ("audit_batches", "last", "the event belongs to no chain"),
    ("audit_changes", "seq", "the changed values belong to no chain"),
    ("audit_shown", "seq", "the persons shown belong to no chain"),
    ("audit_chains", "seq", "the head belongs to no chain"),
    ("audit_beginnings", "seq", "the beginning belongs to no chain"),
    ("audit_indexed", "seq", "the mark of the index belongs to no chain"),
];

#[derive(diesel::QueryableByName)]
struct Place {
    #[diesel(sql_type = BigInt)]
    chain: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

/// A row outside the chains that there are. Their keys begin with the chain, so this takes looks at two ends of an index each.
fn stray(snapshot: &mut Snapshot<'_>) -> Result<Option<(i64, i64, &'static str)>, StoreError> {
    let chains = chains(snapshot.0);
    for (table, number, flaw) in OF_CHAINS {
        // An end, a beginning and a mark may be of no event yet; an event has a number.
        let least = if matches!(table, "audit_batches" | "audit_changes" | "audit_shown") { 1 } else { 0 };
        let query = format!(
            "SELECT chain, {number} AS seq FROM {table} WHERE chain < 1 OR chain > $1 OR {number} < {least} ORDER BY chain, {number} LIMIT 1"
        );
        let found: Option<Place> = diesel::sql_query(query).bind::<BigInt, _>(chains).get_result(snapshot.0).optional()?;
        if let Some(Place { chain, seq }) = found {
            return Ok(Some((chain, seq, flaw)));
        }
    }
    Ok(None)
}

impl Snapshot<'_> {
    /// How many events of a chain after a number have values that changed.
    fn changes_after(&mut self, chain: i64, seq: i64) -> Result<i64, StoreError> {
        let beyond = audit_changes::table.filter(audit_changes::chain.eq(chain).and(audit_changes::seq.gt(seq)));
        Ok(beyond.count().get_result(self.0)?)
    }

    /// How many events of a chain after a number have persons whom the answer showed.
    fn shown_after(&mut self, chain: i64, seq: i64) -> Result<i64, StoreError> {
        let beyond = audit_shown::table.filter(audit_shown::chain.eq(chain).and(audit_shown::seq.gt(seq)));
        Ok(beyond.count().get_result(self.0)?)
    }
}

#[derive(diesel::QueryableByName)]
struct Integrity {
    #[diesel(sql_type = diesel::sql_types::Text)]
    integrity_check: String,
}

/// What SQLite itself finds wrong with the pages of the trail: an index that disagrees with its table, for one.
fn sqlite_damage(snapshot: &mut Snapshot<'_>) -> Result<Option<String>, StoreError> {
    for table in ["audit_batches", "audit_changes", "audit_shown", "audit_index"] {
        let rows: Vec<Integrity> = match diesel::sql_query(format!("PRAGMA integrity_check({table})")).load(snapshot.0) {
            Ok(rows) => rows,
            Err(error) => return Ok(Some(format!("the database file is damaged: {error}"))),
        };
        if let Some(line) = rows.into_iter().map(|r| r.integrity_check).find(|line| line != "ok") {
            return Ok(Some(format!("the database file is damaged: {line}")));
        }
    }
    Ok(None)
}
