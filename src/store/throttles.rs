//! The counts of failed attempts, and the addresses from which accounts are known to be used.

use super::error::StoreError;
use super::prepared::{Statement as _, prepared};
use super::{Snapshot, Tx};
use crate::domain::ids::UserId;
use crate::domain::sql;
use crate::domain::throttle::{Tally, throttles};
use crate::domain::time::Utc;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable};

impl Snapshot<'_> {
    /// The tally of a bucket.
    ///
    /// # Errors
    /// The database fails.
    pub fn tally(&mut self, bucket: &[u8]) -> Result<Option<Tally>, StoreError> {
        let row: Option<(i64, Utc, Option<Utc>)> = throttles::table
            .find(bucket)
            .select((throttles::failures, throttles::last_time, throttles::blocked_until))
            .get_result(self.0)
            .optional()?;
        Ok(row.map(|(failures, last_time, blocked_until)| Tally { failures, last_time, blocked_until }))
    }
}

impl Tx<'_> {
    /// The tally of a bucket, held so that nobody else changes it until the transaction ends.
    ///
    /// # Errors
    /// The database fails.
    pub fn hold_tally(&mut self, bucket: &[u8]) -> Result<Option<Tally>, StoreError> {
        if self.0.is_postgres() {
            prepared("SELECT 1 FROM throttles WHERE bucket = ? FOR UPDATE").bind::<Binary, _>(bucket).execute(self.0)?;
        }
        self.read().tally(bucket)
    }

    /// Makes sure that a bucket has a row that [`Tx::hold_tally`] can hold.
    ///
    /// # Errors
    /// The database fails.
    pub fn found_tally(&mut self, bucket: &[u8], user_id: Option<UserId>, now: Utc) -> Result<(), StoreError> {
        prepared(
            "INSERT INTO throttles (bucket, user_id, failures, last_time, blocked_until) VALUES (?, ?, 0, ?, NULL) \
             ON CONFLICT (bucket) DO NOTHING",
        )
        .bind::<Binary, _>(bucket)
        .bind::<Nullable<sql::Uuid>, _>(user_id)
        .bind::<sql::Instant, _>(now)
        .execute(self.0)?;
        Ok(())
    }

    /// Writes a bucket's tally.
    ///
    /// # Errors
    /// The database fails.
    pub fn save_tally(&mut self, bucket: &[u8], tally: Tally) -> Result<(), StoreError> {
        prepared("UPDATE throttles SET failures = ?, last_time = ?, blocked_until = ? WHERE bucket = ?")
            .bind::<BigInt, _>(tally.failures)
            .bind::<sql::Instant, _>(tally.last_time)
            .bind::<Nullable<sql::Instant>, _>(tally.blocked_until)
            .bind::<Binary, _>(bucket)
            .execute(self.0)?;
        Ok(())
    }

    /// Forgets the failures of an account, from whichever device.
    ///
    /// # Errors
    /// The database fails.
    pub fn forget_tallies(&mut self, user_id: UserId) -> Result<(), StoreError> {
        diesel::delete(throttles::table.filter(throttles::user_id.eq(user_id))).execute(self.0)?;
        Ok(())
    }

    /// Removes up to `limit` buckets without an attempt since `before`; tells how many. What another node holds is left to it.
    ///
    /// # Errors
    /// The database fails.
    pub fn sweep_tallies(&mut self, before: Utc, limit: i64) -> Result<usize, StoreError> {
        let skip = if self.0.is_postgres() { " FOR UPDATE SKIP LOCKED" } else { "" };
        let stale = format!("SELECT bucket FROM throttles WHERE last_time < $1 ORDER BY bucket LIMIT $2{skip}");
        Ok(diesel::sql_query(format!("DELETE FROM throttles WHERE bucket IN ({stale})"))
            .bind::<sql::Instant, _>(before)
            .bind::<BigInt, _>(limit)
            .execute(self.0)?)
    }
}

diesel::table! {
    use crate::domain::sql;
    use diesel::sql_types::*;

    /// Addresses from which accounts were signed in to lately.
    known_addresses (user_id, mac) {
        /// Whose account.
        user_id -> sql::Uuid,
        /// The MAC of the address.
        mac -> Binary,
        /// When it was last signed in to from there, about.
        last_time -> sql::Instant,
    }
}

impl Snapshot<'_> {
    /// When an account was last signed in to from the address of this MAC, about.
    ///
    /// # Errors
    /// The database fails.
    pub fn known_address(&mut self, user_id: UserId, mac: &[u8]) -> Result<Option<Utc>, StoreError> {
        let found = known_addresses::table.find((user_id, mac)).select(known_addresses::last_time);
        Ok(found.get_result(self.0).optional()?)
    }
}

impl Tx<'_> {
    /// Keeps an address of an account, and of all only the `most` that were used last. Whoever calls holds the user.
    ///
    /// # Errors
    /// The database fails.
    pub fn save_known_address(&mut self, user_id: UserId, mac: &[u8], now: Utc, most: i64) -> Result<(), StoreError> {
        prepared(
            "INSERT INTO known_addresses (user_id, mac, last_time) VALUES (?, ?, ?) \
             ON CONFLICT (user_id, mac) DO UPDATE SET last_time = excluded.last_time",
        )
        .bind::<sql::Uuid, _>(user_id)
        .bind::<Binary, _>(mac)
        .bind::<sql::Instant, _>(now)
        .execute(self.0)?;
        prepared(
            "DELETE FROM known_addresses WHERE user_id = ? AND mac NOT IN \
             (SELECT mac FROM known_addresses WHERE user_id = ? ORDER BY last_time DESC, mac LIMIT ?)",
        )
        .bind::<sql::Uuid, _>(user_id)
        .bind::<sql::Uuid, _>(user_id)
        .bind::<BigInt, _>(most)
        .execute(self.0)?;
        Ok(())
    }

    /// Removes up to `limit` addresses from which nobody has signed in since `before`; tells how many.
    ///
    /// # Errors
    /// The database fails.
    pub fn sweep_known_addresses(&mut self, before: Utc, limit: i64) -> Result<usize, StoreError> {
        let skip = if self.0.is_postgres() { " FOR UPDATE SKIP LOCKED" } else { "" };
        let stale = format!("SELECT user_id, mac FROM known_addresses WHERE last_time < $1 LIMIT $2{skip}");
        Ok(diesel::sql_query(format!("DELETE FROM known_addresses WHERE (user_id, mac) IN ({stale})"))
            .bind::<sql::Instant, _>(before)
            .bind::<BigInt, _>(limit)
            .execute(self.0)?)
    }
}
