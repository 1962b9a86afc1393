//! The counts of failed attempts.

use super::Tx;
use super::error::StoreError;
use crate::domain::sql;
use crate::domain::throttle::{Tally, throttles};
use crate::domain::time::Utc;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable};

impl Tx<'_> {
    /// The tally of a bucket, held so that nobody else changes it until the transaction ends.
    ///
    /// # Errors
    /// The database fails.
    pub fn hold_tally(&mut self, bucket: &[u8]) -> Result<Option<Tally>, StoreError> {
        if self.0.is_postgres() {
            diesel::sql_query("SELECT 1 FROM throttles WHERE bucket = $1 FOR UPDATE")
                .bind::<Binary, _>(bucket)
                .execute(self.0)?;
        }
        let row: Option<(i64, Utc, Option<Utc>)> = throttles::table
            .find(bucket)
            .select((throttles::failures, throttles::last_time, throttles::blocked_until))
            .get_result(self.0)
            .optional()?;
        Ok(row.map(|(failures, last_time, blocked_until)| Tally { failures, last_time, blocked_until }))
    }

    /// Makes sure that a bucket has a row that [`Tx::hold_tally`] can hold.
    ///
    /// # Errors
    /// The database fails.
    pub fn found_tally(&mut self, bucket: &[u8], now: Utc) -> Result<(), StoreError> {
        diesel::sql_query(
            "INSERT INTO throttles (bucket, failures, last_time, blocked_until) VALUES ($1, 0, $2, NULL) ON CONFLICT (bucket) DO NOTHING",
        )
        .bind::<Binary, _>(bucket)
        .bind::<sql::Instant, _>(now)
        .execute(self.0)?;
        Ok(())
    }

    /// Writes a bucket's tally.
    ///
    /// # Errors
    /// The database fails.
    pub fn save_tally(&mut self, bucket: &[u8], tally: Tally) -> Result<(), StoreError> {
        diesel::sql_query("UPDATE throttles SET failures = $1, last_time = $2, blocked_until = $3 WHERE bucket = $4")
            .bind::<BigInt, _>(tally.failures)
            .bind::<sql::Instant, _>(tally.last_time)
            .bind::<Nullable<sql::Instant>, _>(tally.blocked_until)
            .bind::<Binary, _>(bucket)
            .execute(self.0)?;
        Ok(())
    }

    /// Forgets a bucket.
    ///
    /// # Errors
    /// The database fails.
    pub fn forget_tally(&mut self, bucket: &[u8]) -> Result<(), StoreError> {
        diesel::delete(throttles::table.find(bucket)).execute(self.0)?;
        Ok(())
    }

    /// Removes up to `limit` buckets without an attempt since `before`; tells how many.
    ///
    /// # Errors
    /// The database fails.
    pub fn sweep_tallies(&mut self, before: Utc, limit: i64) -> Result<usize, StoreError> {
        let stale: Vec<Vec<u8>> =
            throttles::table.filter(throttles::last_time.lt(before)).select(throttles::bucket).limit(limit).load(self.0)?;
        Ok(diesel::delete(throttles::table.filter(throttles::bucket.eq_any(stale))).execute(self.0)?)
    }
}
