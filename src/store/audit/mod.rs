//! The audit trail in the database: appending to chains, searching, verifying. What an event and a chain are is told in
//! [`crate::domain::audit`].
//!
//! There is a fixed number of chains, so that writers need not wait for each other: one on SQLite, which has one writer anyway,
//! eight on PostgreSQL. A transaction takes whichever chain is free and holds it until it commits; a chain belongs to nobody and
//! nothing is left behind by a writer that dies.
//!
//! Events are kept in [`batches`]; what finds them is told in [`index`], how long they are kept in [`retention`].

mod batches;
pub(super) mod index;
mod retention;
mod search;
mod verify;

pub use search::{Position, Search};
pub use verify::{Finding, Verified};

use super::Snapshot;
use super::connection::AnyConnection;
use super::error::StoreError;
use crate::domain::audit::{Action, Event, Head, Link, Outcome, audit_batches, audit_chains};
use crate::domain::chance::Entropy;
use crate::domain::secret::MacKey;
use batches::on;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary};

const SQLITE_CHAINS: i64 = 1;
const POSTGRES_CHAINS: i64 = 8;

fn chains(connection: &AnyConnection) -> i64 {
    if connection.is_postgres() { POSTGRES_CHAINS } else { SQLITE_CHAINS }
}

#[derive(diesel::QueryableByName)]
struct HeadRow {
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
    fn confirmed(self, key: &MacKey) -> Result<Head, StoreError> {
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
pub(super) fn prepare(connection: &mut AnyConnection, key: &MacKey) -> Result<(), StoreError> {
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

const HEADS: &str = "SELECT chain, seq, hash, mac FROM audit_chains";

/// Takes a free chain and holds it until the transaction ends; with the month of its last batch.
fn take_chain(connection: &mut AnyConnection, key: &MacKey, entropy: &Entropy) -> Result<(Head, i64), StoreError> {
    let row: Option<TakenRow> = match connection {
        AnyConnection::Sqlite(c) => Some(audit_chains::table.get_result(c)?),
        AnyConnection::Postgres(c) => {
            audit_chains::table.order(audit_chains::chain).limit(1).for_update().skip_locked().get_result(c).optional()?
        }
    };
    let row = match (row, connection) {
        (Some(row), _) => row,
        (None, AnyConnection::Postgres(c)) => {
            // All are busy: wait for any one.
            let [byte] = entropy.bytes();
            audit_chains::table.find(1 + i64::from(byte) % POSTGRES_CHAINS).for_update().get_result(c)?
        }
        (None, AnyConnection::Sqlite(_)) => return Err(StoreError::Broken("the trail has no chain".to_owned())),
    };
    let (chain, seq, hash, mac, month) = row;
    Ok((HeadRow { chain, seq, hash, mac }.confirmed(key)?, month))
}

type TakenRow = (i64, i64, Vec<u8>, Vec<u8>, i64);

/// Appends events to a chain, within the transaction that `connection` is in. The event of a deletion erases the values that the trail has
/// of the deleted user's attributes: those of the events that were appended with it too.
pub(super) fn append(
    connection: &mut AnyConnection,
    events: Vec<Event>,
    key: &MacKey,
    entropy: &Entropy,
) -> Result<(), StoreError> {
    let (mut head, last_month) = take_chain(connection, key, entropy)?;
    // Along a chain months only grow, whatever a clock does: what is dropped one day is then the beginning of each chain.
    let month = events.iter().map(|event| event.time.month()).max().unwrap_or_default().max(last_month);
    if month != last_month {
        batches::prepare_month(connection, month)?;
    }
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
    batches::insert(connection, month, &links)?;
    let grown = (
        audit_chains::seq.eq(head.seq),
        audit_chains::hash.eq(&head.hash),
        audit_chains::mac.eq(key.mac(&head.canonical())),
        audit_chains::month.eq(month),
    );
    on!(&mut *connection, c => diesel::update(audit_chains::table.find(head.chain)).set(grown).execute(c)?);
    deleted.iter().try_for_each(|subject| batches::erase_changes(connection, subject))
}
