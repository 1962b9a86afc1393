//! The keys that sign tokens for applications.

use super::error::StoreError;
use super::{Snapshot, Tx};
use crate::domain::ids::SigningKeyId;
use crate::domain::signing_key::{SigningKey, signing_keys};
use diesel::prelude::*;

impl Snapshot<'_> {
    /// All of them.
    ///
    /// # Errors
    /// The database fails.
    pub fn signing_keys(&mut self) -> Result<Vec<SigningKey>, StoreError> {
        Ok(signing_keys::table.load(self.0)?)
    }
}

impl Tx<'_> {
    /// Until the transaction ends, nobody else adds a key or removes one.
    ///
    /// # Errors
    /// The database fails.
    pub fn hold_signing_keys(&mut self) -> Result<(), StoreError> {
        diesel::sql_query("UPDATE counters SET value = value + 1 WHERE name = 'signing_keys'").execute(self.0)?;
        Ok(())
    }

    /// Adds a key.
    ///
    /// # Errors
    /// The database fails.
    pub fn insert_signing_key(&mut self, key: &SigningKey) -> Result<(), StoreError> {
        diesel::insert_into(signing_keys::table).values(key).execute(self.0)?;
        Ok(())
    }

    /// Removes keys.
    ///
    /// # Errors
    /// The database fails.
    pub fn delete_signing_keys(&mut self, ids: &[SigningKeyId]) -> Result<usize, StoreError> {
        Ok(diesel::delete(signing_keys::table.filter(signing_keys::signing_key_id.eq_any(ids))).execute(self.0)?)
    }
}
