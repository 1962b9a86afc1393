//! Migrations: embedded in the binary, the same names for both databases, applied in order of their names.

use super::connection::{AnyConnection, Location, Purpose};
use super::error::StoreError;
use diesel::connection::SimpleConnection as _;
use diesel::migration::{Migration, MigrationSource};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Keeps two nodes from migrating one database at once.
const LOCK: &str = "SELECT pg_advisory_lock(8461300257123104)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(8461300257123104)";

/// Applies what is pending, each migration in a transaction; returns their names. Makes an SQLite file if there is none.
///
/// # Errors
/// The database cannot be reached, or a migration fails.
pub fn migrate(location: &Location) -> Result<Vec<String>, StoreError> {
    let mut connection = AnyConnection::open(location, Purpose::Writing)?;
    let broken =
        |e: Box<dyn std::error::Error + Send + Sync>| StoreError::Unavailable(format!("cannot migrate: {}", one_line(&e)));
    let applied = match &mut connection {
        AnyConnection::Sqlite(c) => names(c.run_pending_migrations(SQLITE).map_err(broken)?),
        AnyConnection::Postgres(c) => {
            c.batch_execute(LOCK)?;
            let applied = c.run_pending_migrations(POSTGRES).map(names).map_err(broken);
            c.batch_execute(UNLOCK)?;
            applied?
        }
    };
    Ok(applied)
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

/// Whether no migration was ever applied.
///
/// # Errors
/// The database cannot be reached.
pub fn is_empty(location: &Location) -> Result<bool, StoreError> {
    Ok(pending(location)?.len() == all()?.len())
}

pub(super) fn pending_on(connection: &mut AnyConnection) -> Result<Vec<String>, StoreError> {
    let broken = |e: Box<dyn std::error::Error + Send + Sync>| {
        StoreError::Unavailable(format!("cannot read migrations: {}", one_line(&e)))
    };
    match connection {
        AnyConnection::Sqlite(c) => c.pending_migrations(SQLITE).map(|m| titles(&m)).map_err(broken),
        AnyConnection::Postgres(c) => c.pending_migrations(POSTGRES).map(|m| titles(&m)).map_err(broken),
    }
}

fn all() -> Result<Vec<String>, StoreError> {
    let all: Vec<Box<dyn Migration<diesel::sqlite::Sqlite>>> =
        SQLITE.migrations().map_err(|e| StoreError::Broken(one_line(&e)))?;
    Ok(titles(&all))
}

fn titles<DB: diesel::backend::Backend>(migrations: &[Box<dyn Migration<DB>>]) -> Vec<String> {
    migrations.iter().map(|m| m.name().to_string()).collect()
}

fn names(versions: Vec<diesel::migration::MigrationVersion<'_>>) -> Vec<String> {
    versions.into_iter().map(|v| v.to_string()).collect()
}

fn one_line(error: &impl ToString) -> String {
    error.to_string().replace('\n', "; ")
}
