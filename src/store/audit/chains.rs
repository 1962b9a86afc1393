//! The chains: where they end, and how they grow.
//!
//! There is a fixed number of chains, so that writers need not wait for each other: one on SQLite, which has one writer anyway,
//! eight on PostgreSQL. A transaction takes whichever chain is free and holds it until it commits; a chain belongs to nobody and
//! nothing is left behind by a writer that dies.
//!
//! A node remembers the ends of the chains that it wrote to ([`Tails`]) and goes on from there without looking: the statement that moves an end
//! does so only if it is still there. Each node begins with another chain, so that they seldom meet; where they do, the one that comes
//! second looks again. What a node writes one after the other goes to one chain, and keeps its order there.

use super::super::Snapshot;
use super::super::connection::AnyConnection;
use super::super::error::StoreError;
use super::super::prepared::{Statement as _, prepared};
use super::batches::{self, on};
use crate::domain::audit::{Action, Event, Head, Link, Outcome, audit_batches};
use crate::domain::chance::Entropy;
use crate::domain::secret::MacKey;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Text};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

const SQLITE_CHAINS: i64 = 1;
const POSTGRES_CHAINS: i64 = 8;

pub(super) fn chains(connection: &AnyConnection) -> i64 {
    if connection.is_postgres() { POSTGRES_CHAINS } else { SQLITE_CHAINS }
}

#[derive(diesel::QueryableByName)]
pub(super) struct HeadRow {
    #[diesel(sql_type = BigInt)]
    chain: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Binary)]
    hash: Vec<u8>,
    #[diesel(sql_type = Binary)]
    mac: Vec<u8>,
}

impl HeadRow {
    /// The head, if its MAC holds. Going on from one that does not would sign what someone else wrote.
    pub(super) fn confirmed(self, key: &MacKey) -> Result<Head, StoreError> {
        let head = Head { chain: self.chain, seq: self.seq, hash: self.hash };
        if key.confirms(&head.canonical(), &self.mac) {
            return Ok(head);
        }
        Err(StoreError::Broken(format!(
            "audit chain {} at event {}: its head does not match its MAC; either the key file is not this database's or the trail was altered",
            head.chain, head.seq
        )))
    }
}

/// Makes the chains of an empty database; of any other, checks that their heads are this key's. Chains are made at no other time: a
/// head that is missing was removed, and a new one would sign the gap.
pub(in super::super) fn prepare(connection: &mut AnyConnection, key: &MacKey) -> Result<(), StoreError> {
    let heads = diesel::sql_query(HEADS).load::<HeadRow>(connection)?;
    if heads.is_empty() && is_unused(connection)? {
        for chain in 1..=chains(connection) {
            let head = Head::of_empty(chain);
            // Another node may do the same at the same time.
            diesel::sql_query(
                "INSERT INTO audit_chains (chain, seq, hash, mac) VALUES ($1, $2, $3, $4) ON CONFLICT (chain) DO NOTHING",
            )
            .bind::<BigInt, _>(chain)
            .bind::<BigInt, _>(head.seq)
            .bind::<Binary, _>(&head.hash)
            .bind::<Binary, _>(key.mac(&head.canonical()))
            .execute(connection)?;
            diesel::sql_query("INSERT INTO audit_indexed (chain, seq) VALUES ($1, 0) ON CONFLICT (chain) DO NOTHING")
                .bind::<BigInt, _>(chain)
                .execute(connection)?;
        }
        return Ok(());
    }
    for chain in 1..=chains(connection) {
        if !heads.iter().any(|row| row.chain == chain) {
            return Err(StoreError::Broken(format!(
                "audit chain {chain} at event 0: its head is missing; the trail was altered"
            )));
        }
    }
    heads.into_iter().try_for_each(|row| row.confirmed(key).map(drop))
}

/// Whether nothing has happened yet in this database.
fn is_unused(connection: &mut AnyConnection) -> Result<bool, StoreError> {
    let event: Option<i64> = audit_batches::table.select(audit_batches::last).limit(1).get_result(connection).optional()?;
    Ok(event.is_none() && Snapshot(connection).has_no_users()?)
}

pub(super) const HEADS: &str = "SELECT chain, seq, hash, mac FROM audit_chains";

/// Where a chain ended when it was last seen.
pub(in super::super) struct Tail {
    head: Head,
    mac: Vec<u8>,
    /// The month of its last batch.
    month: i64,
}

/// After so many ends in a row that had moved, a node goes elsewhere.
const MISSES: u32 = 8;

/// The ends that a node remembers, and that nobody is at work on.
#[derive(Default)]
pub(in super::super) struct Tails(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    /// Chains are taken in their order from here on.
    first: i64,
    free: BTreeMap<i64, Tail>,
    misses: u32,
}

impl Tails {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn first(&self) -> i64 {
        self.lock().first
    }

    fn take(&self) -> Option<Tail> {
        self.lock().free.pop_first().map(|(_, tail)| tail)
    }

    /// An end had moved.
    fn miss(&self, entropy: &Entropy) {
        let mut remembered = self.lock();
        remembered.misses += 1;
        if remembered.misses >= MISSES {
            let [byte] = entropy.bytes();
            *remembered = Remembered { first: i64::from(byte) % POSTGRES_CHAINS, ..Remembered::default() };
        }
    }

    /// Remembers where a chain ends, once that is committed.
    pub(in super::super) fn put(&self, Appended { tail, was_known }: Appended) {
        let mut remembered = self.lock();
        if was_known {
            remembered.misses = 0;
        }
        let place = (tail.head.chain - 1 - remembered.first).rem_euclid(POSTGRES_CHAINS);
        remembered.free.insert(place, tail);
    }
}

/// Where a chain ends after events were appended.
#[must_use]
pub(in super::super) struct Appended {
    tail: Tail,
    /// Whether its end was where it had been remembered.
    was_known: bool,
}

#[derive(diesel::QueryableByName)]
struct TailRow {
    #[diesel(embed)]
    head: HeadRow,
    #[diesel(sql_type = BigInt)]
    month: i64,
}

/// Takes the first free chain and holds it until the transaction ends.
fn take_chain(connection: &mut AnyConnection, key: &MacKey, first: i64) -> Result<Tail, StoreError> {
    let free = if connection.is_postgres() {
        "SELECT chain, seq, hash, mac, month FROM audit_chains ORDER BY (chain + 7 - ?) % 8 LIMIT 1 FOR UPDATE SKIP LOCKED"
    } else {
        "SELECT chain, seq, hash, mac, month FROM audit_chains ORDER BY chain - ? LIMIT 1"
    };
    let mut row: Option<TailRow> = prepared(free).bind::<BigInt, _>(first).get_result(connection).optional()?;
    if row.is_none() && connection.is_postgres() {
        // All are busy: wait for one.
        row = prepared("SELECT chain, seq, hash, mac, month FROM audit_chains WHERE chain = ? FOR UPDATE")
            .bind::<BigInt, _>(1 + first)
            .get_result(connection)
            .optional()?;
    }
    let TailRow { head, month } = row.ok_or_else(|| StoreError::Broken("the trail has no chain".to_owned()))?;
    let mac = head.mac.clone();
    Ok(Tail { head: head.confirmed(key)?, mac, month })
}

/// A statement that begins by moving the end of a chain, if it is still there, from one place to another.
macro_rules! moving {
    ($begin:literal, $end:literal, $from:expr, $to:expr) => {
        prepared(concat!(
            $begin,
            "UPDATE audit_chains SET seq = ?, hash = ?, mac = ?, month = ? \
             WHERE chain = ? AND seq = ? AND hash = ? AND mac = ? AND month = ?",
            $end
        ))
        .bind::<BigInt, _>($to.head.seq)
        .bind::<Binary, _>(&$to.head.hash)
        .bind::<Binary, _>(&$to.mac)
        .bind::<BigInt, _>($to.month)
        .bind::<BigInt, _>($from.head.chain)
        .bind::<BigInt, _>($from.head.seq)
        .bind::<Binary, _>(&$from.head.hash)
        .bind::<Binary, _>(&$from.mac)
        .bind::<BigInt, _>($from.month)
    };
}

/// What a chain grows by.
struct Growth {
    from: Tail,
    to: Tail,
    links: Vec<Link>,
    /// Of whom nothing may be left but ids.
    deleted: Vec<String>,
}

impl Growth {
    fn of(from: Tail, events: Vec<Event>, key: &MacKey, entropy: &Entropy) -> Self {
        let mut head = from.head.clone();
        // Along a chain months only grow, whatever a clock does: what is dropped one day is then the beginning of each chain.
        let month = events.iter().map(|event| event.time.month()).max().unwrap_or_default().max(from.month);
        let (mut deleted, mut links) = (Vec::new(), Vec::with_capacity(events.len()));
        for event in events {
            if event.action == Action::UserDelete && event.outcome == Outcome::Success {
                deleted.extend(event.subject.clone());
            }
            let salt = if event.changes.is_some() { entropy.bytes() } else { [0; 16] };
            let link = Link::forge(&head, event, salt);
            head = link.as_head();
            links.push(link);
        }
        let mac = key.mac(&head.canonical());
        Self { from, to: Tail { head, mac, month }, links, deleted }
    }

    /// The events, to be appended elsewhere.
    fn into_events(self) -> Vec<Event> {
        self.links.into_iter().map(|link| link.event).collect()
    }

    /// Writes it within a transaction. Nothing is done, and the answer is no, if the chain does not end any more where it was last seen.
    fn write(&self, connection: &mut AnyConnection) -> Result<bool, StoreError> {
        let Self { from, to, links, deleted } = self;
        if to.month != from.month {
            batches::prepare_month(connection, to.month)?;
        }
        if on!(&mut *connection, c => moving!("", "", from, to).execute(c)?) == 0 {
            return Ok(false);
        }
        batches::insert(connection, to.month, links)?;
        deleted.iter().try_for_each(|subject| batches::erase_changes(connection, subject))?;
        Ok(true)
    }

    /// Writes it to PostgreSQL by one statement, which is a transaction of its own: one wait for the server instead of five. Tells whether the
    /// chain ended where it was last seen; `None` if it takes more than one statement.
    fn write_at_once(&self, connection: &mut PgConnection) -> Result<Option<bool>, StoreError> {
        let Self { from, to, links, deleted } = self;
        let has_more = links.len() > batches::EVENTS || links.iter().any(|link| link.event.changes.is_some());
        if to.month != from.month || has_more || !deleted.is_empty() {
            return Ok(None);
        }
        let batch = batches::pack(links)?;
        let grow = moving!(
            "WITH grown AS (",
            " RETURNING month, chain, seq) \
             INSERT INTO audit_batches (month, chain, last, events, hashes) SELECT month, chain, seq, ?, ? FROM grown",
            from,
            to
        );
        Ok(Some(grow.bind::<Text, _>(batch.events).bind::<Binary, _>(batch.hashes).execute(connection)? > 0))
    }
}

/// Appends events to a chain, within the transaction that `connection` is in; tells where it ends then, to be remembered once it is
/// committed. The event of a deletion erases the values that the trail has of the deleted user's attributes: those of the events that were
/// appended with it too.
pub(in super::super) fn append(
    connection: &mut AnyConnection,
    mut events: Vec<Event>,
    key: &MacKey,
    entropy: &Entropy,
    tails: &Tails,
) -> Result<Appended, StoreError> {
    if let Some(known) = tails.take() {
        let growth = Growth::of(known, events, key, entropy);
        // A new month is made by who holds a chain already: everybody waits for the one and the other in this order.
        if growth.from.month == growth.to.month {
            if growth.write(connection)? {
                return Ok(Appended { tail: growth.to, was_known: true });
            }
            tails.miss(entropy);
        }
        events = growth.into_events();
    }
    let growth = Growth::of(take_chain(connection, key, tails.first())?, events, key, entropy);
    if growth.write(connection)? {
        return Ok(Appended { tail: growth.to, was_known: false });
    }
    Err(StoreError::Broken(format!("audit chain {} moved while it was held", growth.from.head.chain)))
}

/// Appends events outside of a transaction: in one of their own, which is committed.
pub(in super::super) fn append_alone(
    connection: &mut AnyConnection,
    mut events: Vec<Event>,
    key: &MacKey,
    entropy: &Entropy,
    tails: &Tails,
) -> Result<(), StoreError> {
    if let AnyConnection::Postgres(c) = connection
        && let Some(known) = tails.take()
    {
        let growth = Growth::of(known, events, key, entropy);
        match growth.write_at_once(c)? {
            Some(true) => {
                tails.put(Appended { tail: growth.to, was_known: true });
                return Ok(());
            }
            Some(false) => tails.miss(entropy),
            None => {}
        }
        events = growth.into_events();
    }
    connection.begin_write()?;
    let appended = append(connection, events, key, entropy, tails)?;
    connection.batch_execute("COMMIT")?;
    tails.put(appended);
    Ok(())
}
