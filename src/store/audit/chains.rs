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
use super::batches;
use super::seen::Seen;
use crate::domain::audit::{Action, End, Event, Head, Link, Outcome, Recorded, Side, audit_batches, is_of_format_1};
use crate::domain::chance::Entropy;
use crate::domain::row_mac::RowKeys;
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
    #[diesel(sql_type = BigInt)]
    month: i64,
}

impl HeadRow {
    /// The head with its MAC, of whatever format, right or wrong.
    pub(super) fn into_parts(self) -> (End, Vec<u8>) {
        (End { head: Head { chain: self.chain, seq: self.seq, hash: self.hash }, month: self.month }, self.mac)
    }

    /// The head, if its MAC holds. Going on from one that does not would sign what someone else wrote.
    pub(super) fn confirmed(self, key: &MacKey) -> Result<End, StoreError> {
        let (end, mac) = self.into_parts();
        if end.is_confirmed(Side::Head, key, &mac) { Ok(end) } else { Err(unconfirmed(&end.head)) }
    }
}

fn unconfirmed(head: &Head) -> StoreError {
    StoreError::Broken(format!(
        "audit chain {} at event {}: its head does not match its MAC; either the key file is not this database's or the trail was altered",
        head.chain, head.seq
    ))
}

/// What the heads of a database say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Found {
    /// There is nothing in it yet: it has just been given its chains.
    Empty,
    /// Its heads are of format 1.
    Unconverted,
    /// Its heads are as they must be.
    Converted,
}

/// Whether there are heads, and not all of them are of format 1.
pub(in super::super) fn is_converted(connection: &mut AnyConnection) -> Result<bool, StoreError> {
    Ok(diesel::sql_query(HEADS).load::<HeadRow>(connection)?.iter().any(|row| !is_of_format_1(&row.mac)))
}

/// Whether there are heads.
pub(in super::super) fn has_heads(connection: &mut AnyConnection) -> Result<bool, StoreError> {
    Ok(!diesel::sql_query(HEADS).load::<HeadRow>(connection)?.is_empty())
}

/// Makes the chains of an empty database, within a transaction; of any other, checks that their heads are this key's. Chains are made at no
/// other time: a head that is missing was removed, and a new one would sign the gap.
pub(in super::super) fn prepare(connection: &mut AnyConnection, key: &MacKey) -> Result<Found, StoreError> {
    let heads = diesel::sql_query(HEADS).load::<HeadRow>(connection)?;
    if heads.is_empty() && is_unused(connection)? {
        for chain in 1..=chains(connection) {
            let end = End::of_empty(chain);
            // Another node may do the same at the same time.
            diesel::sql_query(
                "INSERT INTO audit_chains (chain, seq, hash, mac, month) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (chain) DO NOTHING",
            )
            .bind::<BigInt, _>(chain)
            .bind::<BigInt, _>(end.head.seq)
            .bind::<Binary, _>(&end.head.hash)
            .bind::<Binary, _>(end.mac(Side::Head, key))
            .bind::<BigInt, _>(end.month)
            .execute(connection)?;
            diesel::sql_query("INSERT INTO audit_indexed (chain, seq) VALUES ($1, 0) ON CONFLICT (chain) DO NOTHING")
                .bind::<BigInt, _>(chain)
                .execute(connection)?;
        }
        return Ok(Found::Empty);
    }
    for chain in 1..=chains(connection) {
        if !heads.iter().any(|row| row.chain == chain) {
            return Err(StoreError::Broken(format!(
                "audit chain {chain} at event 0: its head is missing; the trail was altered"
            )));
        }
    }
    // Where one was signed anew, all were, in the same transaction: an old one among them was put back.
    if heads.iter().all(|row| is_of_format_1(&row.mac)) {
        for (end, mac) in heads.into_iter().map(HeadRow::into_parts) {
            if !end.is_confirmed_in_format_1(Side::Head, key, &mac) {
                return Err(unconfirmed(&end.head));
            }
        }
        return Ok(Found::Unconverted);
    }
    heads.into_iter().try_for_each(|row| row.confirmed(key).map(drop))?;
    Ok(Found::Converted)
}

/// Whether nothing has happened yet in this database.
fn is_unused(connection: &mut AnyConnection) -> Result<bool, StoreError> {
    let event: Option<i64> = audit_batches::table.select(audit_batches::last).limit(1).get_result(connection).optional()?;
    Ok(event.is_none() && Snapshot(connection, &RowKeys::none()).has_no_users()?)
}

pub(super) const HEADS: &str = "SELECT chain, seq, hash, mac, month FROM audit_chains ORDER BY chain";

/// Where a chain ended when it was last seen.
pub(in super::super) struct Tail {
    end: End,
    mac: Vec<u8>,
}

/// What an end that had moved counts, where one that had not takes one off; and how many let a node begin elsewhere.
const MISS: u32 = 2;
const MISSES: u32 = 16;

/// The ends that a node remembers, and that nobody is at work on.
#[derive(Default)]
pub(in super::super) struct Tails {
    remembered: Mutex<Remembered>,
    pub(super) seen: Seen,
}

#[derive(Default)]
struct Remembered {
    /// Chains are taken in their order from here on; 0 stands for the first.
    first: i64,
    /// By their places in that order.
    free: BTreeMap<i64, Tail>,
    misses: u32,
    /// An end did not match its MAC.
    is_doubted: bool,
}

impl Tails {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn first(&self) -> i64 {
        self.lock().first
    }

    fn take(&self) -> Option<Tail> {
        let mut remembered = self.lock();
        // Others may have brought back theirs since.
        if remembered.is_doubted {
            remembered.free.clear();
        }
        remembered.free.pop_first().map(|(_, tail)| tail)
    }

    /// An end had moved, or somebody held it.
    fn miss(&self, entropy: &Entropy) {
        let mut remembered = self.lock();
        remembered.misses += MISS;
        if remembered.misses >= MISSES {
            let [byte] = entropy.bytes();
            let is_doubted = remembered.is_doubted;
            *remembered = Remembered { first: i64::from(byte) % POSTGRES_CHAINS, is_doubted, ..Remembered::default() };
        }
    }

    /// Remembers where a chain ends, once that is committed.
    pub(in super::super) fn put(&self, Appended { tail, was_known }: Appended) {
        self.seen.raise(&tail.end.head);
        let mut remembered = self.lock();
        if was_known {
            remembered.misses = remembered.misses.saturating_sub(1);
        }
        let place = (tail.end.head.chain - 1 - remembered.first).rem_euclid(POSTGRES_CHAINS);
        // Somebody else may have gone on meanwhile, and have been here first.
        if remembered.free.get(&place).is_none_or(|there| there.end.head.seq < tail.end.head.seq) {
            remembered.free.insert(place, tail);
        }
    }

    /// Looks at all ends, if one did not match its MAC.
    fn check(&self, connection: &mut AnyConnection, key: &MacKey) -> Result<(), StoreError> {
        if self.lock().is_doubted {
            let heads = diesel::sql_query(HEADS).load::<HeadRow>(connection)?;
            heads.into_iter().try_for_each(|row| row.confirmed(key).map(drop))?;
            self.lock().is_doubted = false;
        }
        Ok(())
    }

    /// Trusts nothing any more.
    fn doubt(&self) {
        *self.lock() = Remembered { is_doubted: true, ..Remembered::default() };
    }
}

/// Where a chain ends after events were appended.
#[must_use]
pub(in super::super) struct Appended {
    tail: Tail,
    /// Whether its end was where it had been remembered.
    was_known: bool,
}

/// Takes the first free chain and holds it until the transaction ends.
fn take_chain(connection: &mut AnyConnection, key: &MacKey, tails: &Tails) -> Result<Tail, StoreError> {
    tails.check(connection, key)?;
    let first = tails.first();
    let free = if connection.is_postgres() {
        "SELECT chain, seq, hash, mac, month FROM audit_chains ORDER BY (chain + 7 - ?) % 8 LIMIT 1 FOR UPDATE SKIP LOCKED"
    } else {
        // There is only one.
        "SELECT chain, seq, hash, mac, month FROM audit_chains ORDER BY chain - ? LIMIT 1"
    };
    let mut row: Option<HeadRow> = prepared(free).bind::<BigInt, _>(first).get_result(connection).optional()?;
    if row.is_none() && connection.is_postgres() {
        // All are busy: wait for one.
        row = prepared("SELECT chain, seq, hash, mac, month FROM audit_chains WHERE chain = ? FOR UPDATE")
            .bind::<BigInt, _>(1 + first)
            .get_result(connection)
            .optional()?;
    }
    let row = row.ok_or_else(|| StoreError::Broken("the trail has no chain".to_owned()))?;
    let mac = row.mac.clone();
    let end = row.confirmed(key).inspect_err(|_| tails.doubt())?;
    tails.seen.judge(&end.head)?;
    Ok(Tail { end, mac })
}

/// A statement that moves the end of a chain from one place to another, if it is still there; on PostgreSQL, if nobody holds it either.
macro_rules! moving {
    ($text:expr, $from:expr, $to:expr) => {
        prepared($text)
            .bind::<BigInt, _>($from.end.head.chain)
            .bind::<BigInt, _>($from.end.head.seq)
            .bind::<Binary, _>(&$from.end.head.hash)
            .bind::<Binary, _>(&$from.mac)
            .bind::<BigInt, _>($from.end.month)
            .bind::<BigInt, _>($to.end.head.seq)
            .bind::<Binary, _>(&$to.end.head.hash)
            .bind::<Binary, _>(&$to.mac)
            .bind::<BigInt, _>($to.end.month)
    };
}

macro_rules! held {
    () => {
        "WITH held AS (SELECT chain FROM audit_chains WHERE chain = ? AND seq = ? AND hash = ? AND mac = ? AND month = ?"
    };
}
macro_rules! moved {
    () => {
        "UPDATE audit_chains SET seq = ?, hash = ?, mac = ?, month = ? WHERE chain IN (SELECT chain FROM held)"
    };
}
const MOVE: &str = concat!(held!(), ") ", moved!());
const MOVE_POSTGRES: &str = concat!(held!(), " FOR UPDATE SKIP LOCKED) ", moved!());
const MOVE_AND_INSERT: &str = concat!(
    held!(),
    " FOR UPDATE SKIP LOCKED), grown AS (",
    moved!(),
    " RETURNING month, chain, seq) \
     INSERT INTO audit_batches (month, chain, last, events, hashes) SELECT month, chain, seq, ?, ? FROM grown"
);

/// What a chain grows by.
struct Growth {
    from: Tail,
    to: Tail,
    links: Vec<Link>,
    /// Of whom nothing may be left but ids.
    deleted: Vec<String>,
}

impl Growth {
    fn of(from: Tail, events: Vec<Recorded>, key: &MacKey, entropy: &Entropy) -> Self {
        let mut head = from.end.head.clone();
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
        // Along a chain months only grow, whatever a clock does: what is dropped one day is then the beginning of each chain.
        let month = batches::month_of(from.end.month, &links);
        let end = End { head, month };
        let mac = end.mac(Side::Head, key);
        Self { from, to: Tail { end, mac }, links, deleted }
    }

    /// Where it was to begin, and the events, to be appended elsewhere.
    fn undone(self) -> (Tail, Vec<Recorded>) {
        (self.from, self.links.into_iter().map(|link| link.event).collect())
    }

    /// Writes it within a transaction. Nothing is done, and the answer is no, if the chain does not end any more where it was last seen.
    fn write(&self, connection: &mut AnyConnection) -> Result<bool, StoreError> {
        let Self { from, to, links, deleted } = self;
        for month in batches::months(from.end.month, links).filter(|month| *month != from.end.month) {
            batches::prepare_month(connection, month)?;
        }
        let moved = match &mut *connection {
            AnyConnection::Sqlite(c) => moving!(MOVE, from, to).execute(c)?,
            AnyConnection::Postgres(c) => moving!(MOVE_POSTGRES, from, to).execute(c)?,
        };
        if moved == 0 {
            return Ok(false);
        }
        batches::insert(connection, from.end.month, links)?;
        deleted.iter().try_for_each(|subject| batches::erase_changes(connection, subject))?;
        Ok(true)
    }

    /// Writes it to PostgreSQL by one statement, which is a transaction of its own: one wait for the server instead of five. Tells whether the
    /// chain ended where it was last seen; `None` if it takes more than one statement.
    fn write_at_once(&self, connection: &mut PgConnection) -> Result<Option<bool>, StoreError> {
        let Self { from, to, links, deleted } = self;
        let has_more =
            links.len() > batches::EVENTS || links.iter().any(|link| link.event.changes.is_some() || link.event.shown.is_some());
        if to.end.month != from.end.month || has_more || !deleted.is_empty() {
            return Ok(None);
        }
        let batch = batches::pack(links)?;
        let grow = moving!(MOVE_AND_INSERT, from, to);
        Ok(Some(grow.bind::<Text, _>(batch.events).bind::<Binary, _>(batch.hashes).execute(connection)? > 0))
    }
}

/// Appends events to a chain, within the transaction that `connection` is in; tells where it ends then, to be remembered once it is
/// committed. The event of a deletion erases the values that the trail has of the deleted user's attributes: those of the events that were
/// appended with it too.
pub(in super::super) fn append(
    connection: &mut AnyConnection,
    events: Vec<Event>,
    key: &MacKey,
    entropy: &Entropy,
    tails: &Tails,
) -> Result<Appended, StoreError> {
    append_to(tails.take(), connection, events.into_iter().map(Recorded::from).collect(), key, entropy, tails)
}

/// The same, to the chain that ended there, if there is one and it still does.
fn append_to(
    known: Option<Tail>,
    connection: &mut AnyConnection,
    mut events: Vec<Recorded>,
    key: &MacKey,
    entropy: &Entropy,
    tails: &Tails,
) -> Result<Appended, StoreError> {
    if let Some(known) = known {
        let growth = Growth::of(known, events, key, entropy);
        // A new month is made by who holds a chain already: everybody waits for the one and the other in this order.
        if growth.from.end.month == growth.to.end.month {
            if growth.write(connection)? {
                return Ok(Appended { tail: growth.to, was_known: true });
            }
            tails.miss(entropy);
        }
        (_, events) = growth.undone();
    }
    let growth = Growth::of(take_chain(connection, key, tails)?, events, key, entropy);
    if growth.write(connection)? {
        return Ok(Appended { tail: growth.to, was_known: false });
    }
    Err(StoreError::Broken(format!("audit chain {} moved while it was held", growth.from.end.head.chain)))
}

/// Appends events outside of a transaction: in one of their own, which is committed.
pub(in super::super) fn append_alone(
    connection: &mut AnyConnection,
    events: Vec<Event>,
    key: &MacKey,
    entropy: &Entropy,
    tails: &Tails,
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let mut events: Vec<Recorded> = events.into_iter().map(Recorded::from).collect();
    let mut known = tails.take();
    if let AnyConnection::Postgres(c) = &mut *connection
        && let Some(tail) = known.take()
    {
        let growth = Growth::of(tail, events, key, entropy);
        let has_moved = match growth.write_at_once(c)? {
            Some(true) => {
                tails.put(Appended { tail: growth.to, was_known: true });
                return Ok(());
            }
            Some(false) => true,
            None => false,
        };
        let (tail, undone) = growth.undone();
        events = undone;
        if has_moved {
            tails.miss(entropy);
        } else {
            known = Some(tail);
        }
    }
    connection.begin_write()?;
    let appended = append_to(known, connection, events, key, entropy, tails)?;
    connection.batch_execute("COMMIT")?;
    tails.put(appended);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(chain: i64, seq: i64) -> Appended {
        let head = Head { seq, ..Head::of_empty(chain) };
        Appended { tail: Tail { end: End { head, month: 0 }, mac: Vec::new() }, was_known: true }
    }

    fn taken(tails: &Tails) -> Option<(i64, i64)> {
        tails.take().map(|tail| (tail.end.head.chain, tail.end.head.seq))
    }

    #[test]
    fn the_first_chain_is_gone_on_with() {
        let tails = Tails::default();
        assert_eq!(taken(&tails), None);
        for (chain, seq) in [(3, 7), (1, 5), (2, 6)] {
            tails.put(ends(chain, seq));
        }
        // Of two that come back out of turn the later end counts.
        tails.put(ends(1, 4));
        assert_eq!(
            [taken(&tails), taken(&tails), taken(&tails), taken(&tails)],
            [Some((1, 5)), Some((2, 6)), Some((3, 7)), None]
        );
    }

    #[test]
    fn nothing_is_gone_on_with_in_doubt() {
        let tails = Tails::default();
        tails.put(ends(1, 5));
        tails.doubt();
        tails.put(ends(2, 6));
        assert_eq!(taken(&tails), None);
        // Nor after it was decided to begin elsewhere.
        (0..MISSES).for_each(|_| tails.miss(&Entropy::system()));
        tails.put(ends(2, 7));
        assert_eq!(taken(&tails), None);
    }

    #[test]
    fn whoever_misses_again_and_again_begins_elsewhere() {
        let entropy = Entropy::system();
        let (busy, meeting) = (Tails::default(), Tails::default());
        for round in 0..1000 {
            busy.put(ends(1, round));
            meeting.put(ends(1, round));
            meeting.miss(&entropy);
            if round % 4 == 0 {
                busy.miss(&entropy);
            }
        }
        assert_eq!(busy.first(), 0, "one miss in four is no reason to go");
        let firsts: std::collections::BTreeSet<i64> = (0..200)
            .map(|_| {
                (0..MISSES / MISS).for_each(|_| meeting.miss(&entropy));
                meeting.first()
            })
            .collect();
        assert_eq!(firsts, (0..POSTGRES_CHAINS).collect());
        // Where it begins is the first place of its order, wherever that is.
        let first = meeting.first();
        meeting.put(ends(1 + (first + 7) % 8, 1));
        meeting.put(ends(1 + first, 1));
        assert_eq!(taken(&meeting), Some((1 + first, 1)));
    }
}
