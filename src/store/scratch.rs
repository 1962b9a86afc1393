//! What the rows of a dry run would have taken, in a private, temporary database.
//!
//! A dry run keeps nothing in the real database, so that a name taken by a row is not there when the next batch is looked at. It is kept
//! here instead: SQLite holds what fits into its cache and puts the rest into a file that nobody else can open and that goes with the
//! connection. So a dry run takes no more memory for a long file than for a short one.

use super::error::StoreError;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;

diesel::table! {
    names (name_key) {
        name_key -> Text,
    }
}

diesel::table! {
    groups (name_key) {
        name_key -> Text,
    }
}

diesel::table! {
    rows (external_id) {
        external_id -> Text,
        digest -> Binary,
    }
}

/// The names and external ids that a dry run would have taken so far, and the groups that it would have made.
pub struct Scratch(SqliteConnection);

impl Scratch {
    /// With nothing in it.
    ///
    /// # Errors
    /// There is no room for temporary files.
    pub fn open() -> Result<Self, StoreError> {
        let unavailable = |cause: String| StoreError::Unavailable(format!("cannot open a temporary database: {cause}"));
        // The name of a temporary database is empty.
        let mut connection = SqliteConnection::establish("").map_err(|e| unavailable(e.to_string()))?;
        connection
            .batch_execute(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; \
                 CREATE TABLE names (name_key TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID; \
                 CREATE TABLE groups (name_key TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID; \
                 CREATE TABLE rows (external_id TEXT NOT NULL PRIMARY KEY, digest BLOB NOT NULL) STRICT, WITHOUT ROWID;",
            )
            .map_err(|e| unavailable(e.to_string()))?;
        Ok(Self(connection))
    }

    /// Whether an earlier row would bear this name.
    ///
    /// # Errors
    /// The database fails.
    pub fn is_name_taken(&mut self, name_key: &str) -> Result<bool, StoreError> {
        let found: Option<String> = names::table.find(name_key).select(names::name_key).get_result(&mut self.0).optional()?;
        Ok(found.is_some())
    }

    /// The digest of the earlier row that would have made the user of this external id.
    ///
    /// # Errors
    /// The database fails.
    pub fn row_of(&mut self, external_id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(rows::table.find(external_id).select(rows::digest).get_result(&mut self.0).optional()?)
    }

    /// A row would make a group; tells whether no earlier one would have.
    ///
    /// # Errors
    /// The database fails.
    pub fn take_group(&mut self, name_key: &str) -> Result<bool, StoreError> {
        let taken = diesel::insert_or_ignore_into(groups::table).values(groups::name_key.eq(name_key)).execute(&mut self.0)?;
        Ok(taken > 0)
    }

    /// A row would make a user with these names.
    ///
    /// # Errors
    /// The database fails.
    pub fn take(&mut self, names: [&str; 2], external_id: Option<&str>, digest: &[u8]) -> Result<(), StoreError> {
        for name in names {
            diesel::insert_or_ignore_into(names::table).values(names::name_key.eq(name)).execute(&mut self.0)?;
        }
        if let Some(id) = external_id {
            diesel::insert_into(rows::table).values((rows::external_id.eq(id), rows::digest.eq(digest))).execute(&mut self.0)?;
        }
        Ok(())
    }
}
