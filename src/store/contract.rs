//! Which programs may work on a database, so that nodes of two releases can share one while they are replaced one after the other.
//!
//! The *schema* of a program is the number of its last migration. A migration only adds (*expand*), and nodes of earlier schemas go on
//! beside it; or it takes away or demands something (*contract*) and stands in [`CONTRACTS`] with the oldest schema whose nodes may go
//! on. The database keeps the highest of these numbers, and three things hold older programs off:
//!
//! - **One that starts** looks at the number, and does not start.
//! - **One that runs** on PostgreSQL holds a shared advisory lock that names its schema, and a contract is not applied while there is one
//!   that is too old. The number is raised *before* the migration: whoever could be hurt by it stops first.
//! - **One that runs unseen** (its listener's connection was cut, or somebody changed the database by hand) looks at the number each
//!   second, and answers nothing any more where it is too old.
//!
//! docs/UPGRADING.md is the rule for those who write migrations; `tests/it/house.rs` holds it.

use super::connection::AnyConnection;
use super::error::StoreError;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Nullable};

/// The migrations that take away or demand something, each with the oldest schema whose nodes may go on.
pub const CONTRACTS: &[(&str, i64)] = &[
    // Earlier nodes would not write by what key an e-mail address is found.
    ("0005_links", 5),
    // The column of unencrypted keys of one-time codes goes.
    ("0006_totp", 6),
    // Earlier nodes would not keep the order of names.
    ("0010_connect", 10),
    // Earlier nodes would give no numbers to groups.
    ("0011_ecm", 11),
    // Earlier nodes would write the trail to a table that is a view now.
    ("0015_audit_batches", 15),
    // Earlier nodes would write rows without a MAC, and heads that do not cover their month.
    ("0016_proof", 16),
];

/// What the locks of all nodes have in common.
const NODES: i32 = 1_970_562_418;
/// The name among the counters.
const OLDEST: &str = "oldest_schema";

#[derive(diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = Nullable<BigInt>)]
    number: Option<i64>,
}

/// The schema that a migration's name makes: its number.
pub(super) fn schema_of(migration: &str) -> i64 {
    let digits: String = migration.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// The oldest schema whose programs may work on the database; 0 if any may. The database must have its first tables.
pub(super) fn oldest(connection: &mut AnyConnection) -> Result<i64, StoreError> {
    let query = format!("SELECT max(value) AS number FROM counters WHERE name = '{OLDEST}'");
    Ok(diesel::sql_query(query).get_result::<Number>(connection)?.number.unwrap_or(0))
}

/// Whether a program of this schema may work on a database that demands that one.
///
/// # Errors
/// [`StoreError::Outgrown`]: it may not.
pub(super) fn check(schema: i64, oldest: i64) -> Result<(), StoreError> {
    if schema >= oldest {
        return Ok(());
    }
    Err(StoreError::Outgrown(format!(
        "the database demands schema {oldest} or later, and this usher is of schema {schema}: run a newer one"
    )))
}

/// Tells others, for as long as the connection lasts, that a node of this schema works on the database. On PostgreSQL.
pub(super) fn announce(connection: &mut PgConnection, schema: i64) -> QueryResult<()> {
    let schema = i32::try_from(schema).unwrap_or(i32::MAX);
    let announce = diesel::sql_query("SELECT pg_advisory_lock_shared($1, $2)");
    announce.bind::<Integer, _>(NODES).bind::<Integer, _>(schema).execute(connection).map(drop)
}

/// Before a migration is applied: if it is a contract, sees to it that nobody works here who could not go on, and keeps them off.
///
/// # Errors
/// [`StoreError::Outgrown`]: a node works on the database that could not go on.
pub(super) fn prepare(connection: &mut AnyConnection, migration: &str) -> Result<(), StoreError> {
    let Some((_, oldest)) = CONTRACTS.iter().find(|(name, _)| *name == migration) else { return Ok(()) };
    if connection.is_postgres() {
        let query = "SELECT min(objid::bigint) AS number FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 \
            AND classid::bigint = $1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let found = diesel::sql_query(query).bind::<BigInt, _>(i64::from(NODES)).get_result::<Number>(connection)?;
        if let Some(running) = found.number.filter(|running| running < oldest) {
            return Err(StoreError::Outgrown(format!(
                "a node of schema {running} is at work, and the migration {migration} leaves schema {oldest} and later: replace it first"
            )));
        }
    }
    let raised = diesel::sql_query("UPDATE counters SET value = $1 WHERE name = $2 AND value < $1");
    let raised = raised.bind::<BigInt, _>(oldest).bind::<diesel::sql_types::Text, _>(OLDEST).execute(connection)?;
    if raised == 0 {
        let insert = "INSERT INTO counters (name, value) SELECT $1, $2 WHERE NOT EXISTS (SELECT 1 FROM counters WHERE name = $1)";
        diesel::sql_query(insert).bind::<diesel::sql_types::Text, _>(OLDEST).bind::<BigInt, _>(oldest).execute(connection)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_numbers_of_migrations() {
        assert_eq!(["0014_linked_accounts", "0100_x", "none"].map(schema_of), [14, 100, 0]);
    }

    /// The database's number is the last contract's, so a later one must not demand less.
    #[test]
    fn contracts_rise() {
        assert!(CONTRACTS.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
        assert!(CONTRACTS.iter().all(|(name, oldest)| *oldest <= schema_of(name)));
    }
}
