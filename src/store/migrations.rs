//! Migrations: embedded in the binary, the same names for both databases, applied in order of their names.
//! Nodes of the release before may be at work meanwhile: [`contract`] says when, and a migration does not keep them waiting.

use super::connection::{AnyConnection, Location, Purpose};
use super::contract;
use super::error::StoreError;
use super::search;
use super::server;
use diesel::connection::SimpleConnection as _;
use diesel::migration::{Migration, MigrationSource};
use diesel::sql_types::{BigInt, Bool};
use diesel::{Connection as _, RunQueryDsl as _};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use std::time::{Duration, Instant};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Keeps two nodes from migrating one database at once. Asked for again and again rather than waited for: whoever waits inside a statement
/// holds up an index that another one makes beside running transactions.
const LOCK: &str = "SELECT pg_try_advisory_lock(8461300257123104) AS is_held";
const UNLOCK: &str = "SELECT pg_advisory_unlock(8461300257123104)";
/// Between two tries, and how often the lock of a table in use is tried for. A migration that waits for a table keeps every call waiting
/// that comes after it, so it gives way before they give up.
const PAUSE: Duration = Duration::from_millis(250);
const GIVES_WAY: &str = "SET statement_timeout = 0; SET lock_timeout = '300ms'";
const WAITED: Duration = Duration::from_millis(300);
const WAITS: &str = "SET statement_timeout = 0; SET lock_timeout = 0";
const TRIED: Duration = Duration::from_secs(40);
/// How it is called among the pending migrations that what finds users is of an older version.
const SEARCH: &str = "search_index";

#[derive(diesel::QueryableByName)]
struct Lock {
    #[diesel(sql_type = Bool)]
    is_held: bool,
}

/// The schema of this program: the number of its last migration.
pub(super) fn schema() -> Result<i64, StoreError> {
    Ok(all()?.last().map_or(0, |name| contract::schema_of(name)))
}

/// Applies what is pending, each migration in a transaction; returns their names. Makes an SQLite file if there is none.
///
/// # Errors
/// The database cannot be reached, demands a newer program, is at work for one that a migration would leave behind, or a migration fails.
pub fn migrate(location: &Location) -> Result<Vec<String>, StoreError> {
    let Entrance { first: mut connection, .. } = Entrance::open(location)?;
    if !connection.is_postgres() {
        return run(&mut connection);
    }
    while !diesel::sql_query(LOCK).get_result::<Lock>(&mut connection)?.is_held {
        std::thread::park_timeout(PAUSE);
    }
    let applied = run(&mut connection);
    connection.batch_execute(UNLOCK)?;
    applied
}

fn run(connection: &mut AnyConnection) -> Result<Vec<String>, StoreError> {
    let migrations = pending_on(connection)?;
    for name in migrations.iter().filter(|name| *name != SEARCH) {
        // Before the first migration there is nothing that could be demanded.
        if !is_first(name)? {
            contract::check(schema()?, contract::oldest(connection)?)?;
            contract::prepare(connection, name)?;
        }
        apply_next(connection)?;
    }
    if search::is_outdated(connection)? {
        search::renew(connection)?;
    }
    Ok(migrations)
}

fn is_first(name: &str) -> Result<bool, StoreError> {
    Ok(all()?.first().is_some_and(|first| first == name))
}

/// Applies the next migration. On PostgreSQL it gives way to what is at work, and tries again, unless it is one that does not stand in
/// anybody's way (`run_in_transaction = false` in its `metadata.toml`).
fn apply_next(connection: &mut AnyConnection) -> Result<(), StoreError> {
    let broken =
        |e: Box<dyn std::error::Error + Send + Sync>| StoreError::Unavailable(format!("cannot migrate: {}", one_line(&e)));
    let connection = match connection {
        AnyConnection::Sqlite(c) => return c.run_next_migration(SQLITE).map(drop).map_err(broken),
        AnyConnection::Postgres(c) => c,
    };
    let next = connection.pending_migrations(POSTGRES).map_err(broken)?;
    let Some(next) = next.first() else { return Ok(()) };
    let gives_way = next.metadata().run_in_transaction();
    connection.batch_execute(if gives_way { GIVES_WAY } else { WAITS })?;
    let began = Instant::now();
    loop {
        let tried = Instant::now();
        // Neither diesel nor its migrations tell the code of an error, and its text is in the server's language. The time tells: who has waited for a
        // lock in vain has waited for so long. Another failure after that is only found once more; one that comes at once is not tried again.
        match connection.run_migration(next) {
            Ok(_) => return Ok(()),
            Err(_) if gives_way && tried.elapsed() >= WAITED && began.elapsed() < TRIED => std::thread::park_timeout(PAUSE),
            Err(error) => return Err(broken(error)),
        }
    }
}

/// An empty SQLite database in memory, with every migration applied.
pub(super) fn in_memory() -> Result<AnyConnection, StoreError> {
    let broken = |e: &dyn std::fmt::Display| StoreError::Broken(format!("cannot migrate a database in memory: {e}"));
    let mut connection = diesel::SqliteConnection::establish(":memory:").map_err(|e| broken(&e))?;
    connection.run_pending_migrations(SQLITE).map_err(|e| broken(&e))?;
    Ok(AnyConnection::Sqlite(connection))
}

/// The names of the migrations that are not applied yet.
///
/// # Errors
/// The database cannot be reached.
pub fn pending(location: &Location) -> Result<Vec<String>, StoreError> {
    match look(location)? {
        Looked::Migrated(_) => Ok(Vec::new()),
        Looked::Pending(names) => Ok(names),
    }
}

/// The way into a database: connections of which each is a session of its own.
pub struct Entrance {
    pub(super) first: AnyConnection,
    /// On PostgreSQL: what the first was compared with.
    pub(super) second: Option<AnyConnection>,
}

impl Entrance {
    /// Opens it. Before anything else is asked of the server: behind a pooler that hands out transactions the first question may fail for
    /// reasons that name no cause.
    fn open(location: &Location) -> Result<Self, StoreError> {
        let mut first = AnyConnection::open(location, Purpose::Writing)?;
        let AnyConnection::Postgres(one) = &mut first else { return Ok(Self { first, second: None }) };
        let mut second = AnyConnection::open(location, Purpose::Writing)?;
        if let AnyConnection::Postgres(other) = &mut second {
            server::check_sessions(one, other)?;
        }
        Ok(Self { first, second: Some(second) })
    }
}

/// What a look at a database has shown.
pub enum Looked {
    /// It lacks nothing, and can be opened by way of the connections of the look.
    Migrated(Box<Entrance>),
    /// The names of the migrations that are not applied yet.
    Pending(Vec<String>),
}

/// Looks at a database.
///
/// # Errors
/// It cannot be reached.
pub fn look(location: &Location) -> Result<Looked, StoreError> {
    // Asking must not make the file.
    if location.file().is_some_and(|path| !path.exists()) {
        return Ok(Looked::Pending(all()?));
    }
    let mut entrance = Entrance::open(location)?;
    let pending = pending_on(&mut entrance.first)?;
    Ok(if pending.is_empty() { Looked::Migrated(Box::new(entrance)) } else { Looked::Pending(pending) })
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

fn pending_on(connection: &mut AnyConnection) -> Result<Vec<String>, StoreError> {
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
