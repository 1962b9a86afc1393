//! The keys that sign, each for one use.

use super::error::StoreError;
use super::{Snapshot, Tx};
use crate::domain::token_key::{KeyRow, token_keys};
use diesel::prelude::*;

impl Snapshot<'_> {
    /// Those of a use, in the order in which they came to sign: the last one signs.
    ///
    /// # Errors
    /// The database fails.
    pub fn token_keys(&mut self, of: &str) -> Result<Vec<KeyRow>, StoreError> {
        let keys = token_keys::table.filter(token_keys::use_.eq(of));
        Ok(keys.order((token_keys::signs_from, token_keys::key_id)).load(self.0)?)
    }
}

impl Tx<'_> {
    /// Adds a key.
    ///
    /// # Errors
    /// The database fails.
    pub fn insert_token_key(&mut self, key: &KeyRow) -> Result<(), StoreError> {
        diesel::insert_into(token_keys::table).values(key).execute(self.0)?;
        Ok(())
    }
}
