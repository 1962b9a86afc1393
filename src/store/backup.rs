//! Copies of an SQLite database that is in use.
//!
//! `VACUUM INTO` writes one state of the database: it holds a reading transaction, beside which the writer goes on in the log that is written
//! ahead. Whatever was committed before it began is in the copy; of what is committed meanwhile nothing is.

use super::connection::{AnyConnection, Location, Purpose};
use super::error::StoreError;
use diesel::prelude::*;
use diesel::sql_types::Text;
use std::path::Path;

#[derive(diesel::QueryableByName)]
struct Check {
    #[diesel(sql_type = Text)]
    quick_check: String,
}

/// Copies the database into an empty file, and looks whether the copy is sound.
pub(super) fn back_up(location: &Location, copy: &Path) -> Result<(), StoreError> {
    if location.file().is_none() {
        return Err(StoreError::Broken("only an SQLite database can be copied into a file".to_owned()));
    }
    let Some(name) = copy.to_str() else {
        return Err(StoreError::Broken("the name of the file is no UTF-8".to_owned()));
    };
    let mut connection = AnyConnection::open(location, Purpose::Writing)?;
    diesel::sql_query("VACUUM INTO ?").bind::<Text, _>(name).execute(&mut connection)?;
    let mut copied = AnyConnection::open(&Location::Sqlite(copy.to_owned()), Purpose::Reading)?;
    let found: Vec<Check> = diesel::sql_query("PRAGMA quick_check(1)").load(&mut copied)?;
    match found.as_slice() {
        [Check { quick_check }] if quick_check == "ok" => Ok(()),
        other => {
            let flaw = other.first().map_or("nothing could be checked", |check| check.quick_check.as_str());
            Err(StoreError::Broken(format!("the copy is not sound: {flaw}")))
        }
    }
}
