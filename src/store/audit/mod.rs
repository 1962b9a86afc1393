//! The audit trail in the database: appending to chains, searching, verifying. What an event and a chain are is told in
//! [`crate::domain::audit`].
//!
//! There is a fixed number of chains, so that writers need not wait for each other: one on SQLite, which has one writer anyway,
//! eight on PostgreSQL. A transaction takes whichever chain is free and holds it until it commits; a chain belongs to nobody and
//! nothing is left behind by a writer that dies.
//!
//! The table of events has no index but its key; what finds events is told in [`index`].

pub(super) mod index;
mod search;
mod verify;

pub use search::{Position, Search};
pub use verify::{Finding, Verified};

use super::Snapshot;
use super::connection::AnyConnection;
use super::error::StoreError;
use crate::domain::audit::{Action, Actor, ActorType, Changes, Event, Head, Link, Outcome, audit_chains, audit_events};
use crate::domain::chance::Entropy;
use crate::domain::ids::CredentialId;
use crate::domain::secret::MacKey;
use crate::domain::time::Utc;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Text};

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

#[derive(Queryable)]
struct LinkRow {
    chain: i64,
    seq: i64,
    time: Utc,
    cid: String,
    action: Action,
    outcome: Outcome,
    reason: Option<String>,
    actor_type: ActorType,
    actor: Option<String>,
    actor_session: Option<CredentialId>,
    subject: Option<String>,
    application: Option<String>,
    remote_addr: Option<String>,
    traceparent: Option<String>,
    changes: Option<String>,
    changes_salt: Option<Vec<u8>>,
    changes_digest: Option<Vec<u8>>,
    hash: Vec<u8>,
}

/// A link as it is written. Of plain types, and put into each database by itself: what stands for both builds a statement's text anew
/// every time, and every call writes one of these.
#[derive(Insertable)]
#[diesel(table_name = audit_events, treat_none_as_default_value = false)]
struct Record<'a> {
    chain: i64,
    seq: i64,
    time: Utc,
    cid: &'a str,
    action: &'static str,
    outcome: &'static str,
    reason: Option<&'a str>,
    actor_type: &'static str,
    actor: Option<&'a str>,
    actor_session: Option<CredentialId>,
    subject: Option<&'a str>,
    application: Option<&'a str>,
    remote_addr: Option<&'a str>,
    traceparent: Option<&'a str>,
    changes: Option<&'a str>,
    changes_salt: Option<&'a [u8]>,
    changes_digest: Option<&'a [u8]>,
    hash: &'a [u8],
}

impl<'a> From<&'a Link> for Record<'a> {
    fn from(link: &'a Link) -> Self {
        let event = &link.event;
        Self {
            chain: link.chain,
            seq: link.seq,
            time: event.time,
            cid: &event.cid,
            action: event.action.as_str(),
            outcome: event.outcome.as_str(),
            reason: event.reason.as_deref(),
            actor_type: event.actor.kind.as_str(),
            actor: event.actor.id.as_deref(),
            actor_session: event.actor.session,
            subject: event.subject.as_deref(),
            application: event.application.as_deref(),
            remote_addr: event.remote_addr.as_deref(),
            traceparent: event.traceparent.as_deref(),
            changes: event.changes.as_ref().map(Changes::as_text),
            changes_salt: link.changes_salt.as_deref(),
            changes_digest: link.changes_digest.as_deref(),
            hash: &link.hash,
        }
    }
}

/// Rows in one statement on PostgreSQL: fewer than its parameters allow.
const ROWS: usize = 500;

fn insert(connection: &mut AnyConnection, links: &[Link]) -> Result<(), StoreError> {
    let records = links.iter().map(Record::from);
    match connection {
        AnyConnection::Sqlite(c) => {
            for record in records {
                diesel::insert_into(audit_events::table).values(record).execute(c)?;
            }
        }
        AnyConnection::Postgres(c) => {
            let records: Vec<Record<'_>> = records.collect();
            for rows in records.chunks(ROWS) {
                diesel::insert_into(audit_events::table).values(rows).execute(c)?;
            }
        }
    }
    Ok(())
}

impl LinkRow {
    fn into_link(self) -> Link {
        Link {
            chain: self.chain,
            seq: self.seq,
            event: Event {
                time: self.time,
                cid: self.cid,
                action: self.action,
                outcome: self.outcome,
                reason: self.reason,
                actor: Actor { kind: self.actor_type, id: self.actor, session: self.actor_session },
                subject: self.subject,
                application: self.application,
                remote_addr: self.remote_addr,
                traceparent: self.traceparent,
                changes: self.changes.map(Changes::from_text),
            },
            changes_digest: self.changes_digest,
            changes_salt: self.changes_salt,
            hash: self.hash,
        }
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
    let event: Option<i64> = audit_events::table.select(audit_events::seq).limit(1).get_result(connection).optional()?;
    Ok(event.is_none() && Snapshot(connection).has_no_users()?)
}

const HEADS: &str = "SELECT chain, seq, hash, mac FROM audit_chains";

/// Takes a free chain and holds it until the transaction ends.
fn take_chain(connection: &mut AnyConnection, key: &MacKey, entropy: &Entropy) -> Result<Head, StoreError> {
    if !connection.is_postgres() {
        return diesel::sql_query(HEADS).get_result::<HeadRow>(connection)?.confirmed(key);
    }
    let free = diesel::sql_query(format!("{HEADS} ORDER BY chain LIMIT 1 FOR UPDATE SKIP LOCKED"))
        .get_result::<HeadRow>(connection)
        .optional()?;
    if let Some(row) = free {
        return row.confirmed(key);
    }
    // All are busy: wait for any one.
    let [byte] = entropy.bytes();
    let row = diesel::sql_query(format!("{HEADS} WHERE chain = $1 FOR UPDATE"))
        .bind::<BigInt, _>(1 + i64::from(byte) % POSTGRES_CHAINS)
        .get_result::<HeadRow>(connection)?;
    row.confirmed(key)
}

/// Appends events to a chain, within the transaction that `connection` is in. The event of a deletion erases the values that the trail has
/// of the deleted user's attributes: those of the events that were appended with it too.
pub(super) fn append(
    connection: &mut AnyConnection,
    events: Vec<Event>,
    key: &MacKey,
    entropy: &Entropy,
) -> Result<(), StoreError> {
    let mut head = take_chain(connection, key, entropy)?;
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
    insert(connection, &links)?;
    diesel::update(audit_chains::table.find(head.chain))
        .set((
            audit_chains::seq.eq(head.seq),
            audit_chains::hash.eq(&head.hash),
            audit_chains::mac.eq(key.mac(&head.canonical())),
        ))
        .execute(connection)?;
    deleted.iter().try_for_each(|subject| erase_changes(connection, subject))
}

/// Removes the values of a user's changed attributes from the trail. The chains go on holding their digests.
fn erase_changes(connection: &mut AnyConnection, subject: &str) -> Result<(), StoreError> {
    const ERASE: &str =
        "UPDATE audit_events SET changes = NULL, changes_salt = NULL WHERE subject = $1 AND changes IS NOT NULL AND ";
    let indexed = "(chain, seq) IN (SELECT chain, seq FROM audit_index WHERE key = $2)";
    diesel::sql_query(format!("{ERASE}{indexed}"))
        .bind::<Text, _>(subject)
        .bind::<BigInt, _>(index::by_person(subject))
        .execute(connection)?;
    // Chain by chain, so that the tail is entered by the key.
    for chain in 1..=chains(connection) {
        let tail = "chain = $2 AND seq > (SELECT seq FROM audit_indexed WHERE chain = $2)";
        diesel::sql_query(format!("{ERASE}{tail}")).bind::<Text, _>(subject).bind::<BigInt, _>(chain).execute(connection)?;
    }
    Ok(())
}
