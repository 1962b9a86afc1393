//! Migrations: embedded in the binary, the same names for both databases, applied in order of their names.

use super::connection::{AnyConnection, Location, Purpose};
use super::error::StoreError;
use super::search;
use diesel::RunQueryDsl as _;
use diesel::connection::SimpleConnection as _;
use diesel::migration::{Migration, MigrationSource};
use diesel::sql_types::BigInt;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Keeps two nodes from migrating one database at once.
const LOCK: &str = "SELECT pg_advisory_lock(8461300257123104)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(8461300257123104)";
/// How it is called among the pending migrations that what finds users is of an older version.
const SEARCH: &str = "search_index";

/// Applies what is pending, each migration in a transaction; returns their names. Makes an SQLite file if there is none.
///
/// # Errors
/// The database cannot be reached, or a migration fails.
pub fn migrate(location: &Location) -> Result<Vec<String>, StoreError> {
    let mut connection = AnyConnection::open(location, Purpose::Writing)?;
    if !connection.is_postgres() {
        return run(&mut connection);
    }
    connection.batch_execute(LOCK)?;
    let applied = run(&mut connection);
    connection.batch_execute(UNLOCK)?;
    applied
}

fn run(connection: &mut AnyConnection) -> Result<Vec<String>, StoreError> {
    let broken =
        |e: Box<dyn std::error::Error + Send + Sync>| StoreError::Unavailable(format!("cannot migrate: {}", one_line(&e)));
    let pending = pending_on(connection)?;
    match connection {
        AnyConnection::Sqlite(c) => c.run_pending_migrations(SQLITE).map(drop).map_err(broken)?,
        AnyConnection::Postgres(c) => c.run_pending_migrations(POSTGRES).map(drop).map_err(broken)?,
    }
    if search::is_outdated(connection)? {
        search::renew(connection)?;
    }
    Ok(pending)
}

/// The names of the migrations that are not applied yet.
///
/// # Errors
/// The database cannot be reached.
pub fn pending(location: &Location) -> Result<Vec<String>, StoreError> {
    match location {
        // Asking must not make the file.
        Location::Sqlite(path) if !path.exists() => all(),
        _ => pending_on(&mut AnyConnection::open(location, Purpose::Writing)?),
    }
}

#[derive(diesel::QueryableByName)]
struct Tables {
    #[diesel(sql_type = BigInt)]
    tables: i64,
}

/// Whether the database holds no table, apart from diesel's list of migrations.
///
/// # Errors
/// The database cannot be reached.
pub fn is_empty(location: &Location) -> Result<bool, StoreError> {
    if location.file().is_some_and(|path| !path.exists()) {
        return Ok(true);
    }
    let mut connection = AnyConnection::open(location, Purpose::Writing)?;
    let count = if connection.is_postgres() {
        "SELECT count(*) AS tables FROM pg_tables WHERE schemaname = current_schema() AND tablename <> '__diesel_schema_migrations'"
    } else {
        "SELECT count(*) AS tables FROM sqlite_master WHERE type = 'table' AND name <> '__diesel_schema_migrations'"
    };
    let Tables { tables } = diesel::sql_query(count).get_result(&mut connection)?;
    Ok(tables == 0)
}

pub(super) fn pending_on(connection: &mut AnyConnection) -> Result<Vec<String>, StoreError> {
    let broken = |e: Box<dyn std::error::Error + Send + Sync>| {
        StoreError::Unavailable(format!("cannot read migrations: {}", one_line(&e)))
    };
    let pending = match connection {
        AnyConnection::Sqlite(c) => c.pending_migrations(SQLITE).map(|m| titles(&m)).map_err(broken)?,
        AnyConnection::Postgres(c) => c.pending_migrations(POSTGRES).map(|m| titles(&m)).map_err(broken)?,
    };
    // It goes with the migrations: what finds users is made anew once they are applied.
    if pending.is_empty() && search::is_outdated(connection)? {
        return Ok(vec![SEARCH.to_owned()]);
    }
    Ok(pending)
}

fn all() -> Result<Vec<String>, StoreError> {
    let all: Vec<Box<dyn Migration<diesel::sqlite::Sqlite>>> =
        SQLITE.migrations().map_err(|e| StoreError::Broken(one_line(&e)))?;
    Ok(titles(&all))
}

fn titles<DB: diesel::backend::Backend>(migrations: &[Box<dyn Migration<DB>>]) -> Vec<String> {
    migrations.iter().map(|m| m.name().to_string()).collect()
}

fn one_line(error: &impl ToString) -> String {
    error.to_string().replace('\n', "; ")
}
