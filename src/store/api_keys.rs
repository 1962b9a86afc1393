//! API keys. Of a key's token the database has only the hash, and finds a key by it.

use super::error::StoreError;
use super::rows::{bound, checked};
use super::{Snapshot, Tx};
use crate::domain::api_key::{ApiKey, api_keys};
use crate::domain::ids::{ApiKeyId, UserId};
use crate::domain::row_mac::RowKeys;
use crate::domain::secret::TokenHash;
use crate::domain::time::Utc;
use crate::domain::user::{User, users};
use diesel::prelude::*;

diesel::joinable!(api_keys -> users (user_id));
diesel::allow_tables_to_appear_in_same_query!(api_keys, users);

/// A key and its user, if both are as they were written.
fn both_held(found: Option<(ApiKey, User)>, keys: &RowKeys) -> Result<Option<(ApiKey, User)>, StoreError> {
    found.map(|(key, user)| Ok((checked(key, keys)?, checked(user, keys)?))).transpose()
}

impl Snapshot<'_> {
    /// The key of a token with its user, expired or not.
    ///
    /// # Errors
    /// The database fails.
    pub fn key_by_token(&mut self, hash: &TokenHash) -> Result<Option<(ApiKey, User)>, StoreError> {
        let found = api_keys::table.inner_join(users::table).filter(api_keys::token_hash.eq(hash)).get_result(self.0);
        both_held(found.optional()?, self.1)
    }

    /// The key of this id with its user, expired or not.
    ///
    /// # Errors
    /// The database fails.
    pub fn key_with_user(&mut self, key_id: ApiKeyId) -> Result<Option<(ApiKey, User)>, StoreError> {
        let found = api_keys::table.inner_join(users::table).filter(api_keys::key_id.eq(key_id)).get_result(self.0);
        both_held(found.optional()?, self.1)
    }

    /// The key of this id.
    ///
    /// # Errors
    /// The database fails.
    pub fn api_key(&mut self, key_id: ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
        Ok(api_keys::table.find(key_id).get_result(self.0).optional()?)
    }

    /// Up to `limit` keys, of one user or of anyone, in order of creation, after `after`.
    ///
    /// # Errors
    /// The database fails.
    pub fn api_keys(&mut self, of: Option<UserId>, after: Option<ApiKeyId>, limit: i64) -> Result<Vec<ApiKey>, StoreError> {
        let mut query = api_keys::table.into_boxed();
        if let Some(user_id) = of {
            query = query.filter(api_keys::user_id.eq(user_id));
        }
        if let Some(after) = after {
            query = query.filter(api_keys::key_id.gt(after));
        }
        Ok(query.order(api_keys::key_id.asc()).limit(limit).load(self.0)?)
    }

    /// How many keys a user has, expired ones included.
    ///
    /// # Errors
    /// The database fails.
    pub fn count_api_keys(&mut self, user_id: UserId) -> Result<i64, StoreError> {
        Ok(api_keys::table.filter(api_keys::user_id.eq(user_id)).count().get_result(self.0)?)
    }
}

impl Tx<'_> {
    /// Adds a key. Hold its user first.
    ///
    /// # Errors
    /// The database fails.
    pub fn insert_api_key(&mut self, key: &ApiKey) -> Result<(), StoreError> {
        diesel::insert_into(api_keys::table).values(bound(key, self.1)).execute(self.0)?;
        Ok(())
    }

    /// Removes a key; tells whether it was still there.
    ///
    /// # Errors
    /// The database fails.
    pub fn delete_api_key(&mut self, key_id: ApiKeyId) -> Result<bool, StoreError> {
        Ok(diesel::delete(api_keys::table.find(key_id)).execute(self.0)? > 0)
    }

    /// Removes all keys of a user; tells how many there were.
    ///
    /// # Errors
    /// The database fails.
    pub fn delete_api_keys(&mut self, user_id: UserId) -> Result<usize, StoreError> {
        Ok(diesel::delete(api_keys::table.filter(api_keys::user_id.eq(user_id))).execute(self.0)?)
    }

    /// Notes that a key was used.
    ///
    /// # Errors
    /// The database fails.
    pub fn touch_api_key(&mut self, key_id: ApiKeyId, now: Utc) -> Result<(), StoreError> {
        let stale = api_keys::last_used_time.is_null().or(api_keys::last_used_time.lt(now));
        diesel::update(api_keys::table.find(key_id).filter(stale)).set(api_keys::last_used_time.eq(now)).execute(self.0)?;
        Ok(())
    }
}
