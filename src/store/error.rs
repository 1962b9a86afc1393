//! What can go wrong in the store, and the one function that reads a database's error.

use crate::error::{Code, Error};
use diesel::result::{DatabaseErrorKind, Error as Diesel};
use std::fmt;

/// What the trail is told of a row that is not as it was written.
pub const ROW_ALTERED: &str = "row_altered";

/// A failure of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// A unique value is taken: the attribute's name.
    Taken(&'static str),
    /// Something that other rows refer to, or that a row refers to and does not exist: the attribute's name.
    Dangling(&'static str),
    /// A row is not as it was written: somebody altered it without the key file. Its table.
    Altered(&'static str),
    /// The database cannot be reached or cannot write; nothing was done. One line for the log.
    Unavailable(String),
    /// Program and database do not belong together: one is too old. One line on what to do.
    Outgrown(String),
    /// A fault on this side: a query or a row that does not make sense. One line for the log.
    Broken(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(what) => write!(f, "the {what} is taken"),
            Self::Dangling(what) => write!(f, "the {what} refers to nothing"),
            Self::Altered(table) => write!(f, "a row of {table} was altered outside of usher"),
            Self::Unavailable(cause) | Self::Outgrown(cause) | Self::Broken(cause) => f.write_str(cause),
        }
    }
}

impl std::error::Error for StoreError {}

/// What a row that somebody altered is as good as: none. Tells as well whether it was one.
///
/// # Errors
/// Any other failure.
pub fn unless_altered<T>(found: Result<Option<T>, StoreError>) -> Result<(Option<T>, bool), StoreError> {
    match found {
        Err(StoreError::Altered(table)) => {
            tracing::warn!(target: "usher::audit", table, "a row was altered outside of usher: it is not there");
            Ok((None, true))
        }
        found => Ok((found?, false)),
    }
}

/// The unique and foreign keys that a caller can run into: PostgreSQL names the constraint, SQLite the columns.
const KEYS: &[(&str, &str, &str)] = &[
    ("users_username_key_key", "users.username_key", "username"),
    ("users_login_name_key_key", "users.login_name_key", "login_name"),
    ("sign_in_names_pkey", "sign_in_names.name_key", "login_name"),
    ("users_external_id_key", "users.external_id", "external_id"),
    ("users_pkey", "users.user_id", "user_id"),
    ("users_supervisor_id_fkey", "FOREIGN KEY", "supervisor_id"),
    ("applications_name_key_key", "applications.name_key", "name"),
    ("groups_name_key_key", "groups.name_key", "name"),
    ("groups_by_external_id", "groups.external_id", "external_id"),
    ("hooks_name_key_key", "hooks.name_key", "name"),
    ("linked_accounts_name_key_key", "linked_accounts.name_key", "name"),
];

/// How PostgreSQL words what is wrong with a value (class 22), which says nothing of how the database fares.
const DATA: &[&str] = &["invalid byte sequence", "invalid input syntax", "value too long", "out of range", "not supported"];

impl From<Diesel> for StoreError {
    fn from(error: Diesel) -> Self {
        let line = error.to_string().replace('\n', "; ");
        match error {
            Diesel::DatabaseError(kind, info) => {
                let key = KEYS.iter().find(|(constraint, columns, _)| match info.constraint_name() {
                    Some(name) => name == *constraint,
                    None => info.message().contains(columns),
                });
                match (kind, key) {
                    (DatabaseErrorKind::UniqueViolation, Some((_, _, what))) => Self::Taken(what),
                    (DatabaseErrorKind::ForeignKeyViolation, Some((_, _, what))) => Self::Dangling(what),
                    (
                        DatabaseErrorKind::UniqueViolation
                        | DatabaseErrorKind::ForeignKeyViolation
                        | DatabaseErrorKind::NotNullViolation
                        | DatabaseErrorKind::CheckViolation,
                        _,
                    ) => Self::Broken(line),
                    // Data that the database cannot take.
                    (DatabaseErrorKind::Unknown, _) if DATA.iter().any(|text| info.message().contains(text)) => {
                        Self::Broken(line)
                    }
                    // Gone, full, read-only, locked, timed out: nothing that the next try could not find otherwise.
                    _ => Self::Unavailable(line),
                }
            }
            Diesel::BrokenTransactionManager => Self::Unavailable(line),
            _ => Self::Broken(line),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Taken(what) => Self::new(Code::ValueTaken).at(what, "is taken"),
            StoreError::Dangling(what) => Self::new(Code::Invalid).at(what, "refers to nothing"),
            StoreError::Altered(_) => Self::new(Code::SessionInvalid).because(ROW_ALTERED).cause(error.to_string()),
            StoreError::Unavailable(cause) | StoreError::Outgrown(cause) => Self::new(Code::Unavailable).cause(cause),
            StoreError::Broken(cause) => Self::new(Code::Internal).cause(cause),
        }
    }
}
