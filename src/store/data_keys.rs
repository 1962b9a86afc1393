//! The ring of data keys, and what is encrypted under them.
//!
//! Every table that holds something encrypted has the columns `sealed` and `data_key_id` and a row in [`PLACES`]: that is all it takes
//! for its secrets to be encrypted anew when keys are rotated.

use super::error::StoreError;
use super::{Snapshot, Tx};
use crate::domain::ids::{DataKeyId, MessageId};
use crate::domain::secret::{Sealed, Seat};
use crate::domain::sql;
use crate::domain::time::Utc;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Text};

diesel::table! {
    use crate::domain::sql;
    use diesel::sql_types::*;

    /// The data keys.
    data_keys (data_key_id) {
        /// Its id.
        data_key_id -> sql::Uuid,
        /// The key, wrapped.
        wrapped -> Text,
        /// Whether it is the one that encrypts.
        is_active -> Bool,
        /// When it was made.
        created_time -> sql::Instant,
    }
}

/// A table that holds something encrypted.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The table.
    table: &'static str,
    /// The column of the row's id.
    row: &'static str,
    /// The column of its owner's id, or an expression for it; the row's own where it is nobody's.
    owner: &'static str,
}

/// Every table that holds something encrypted.
pub const PLACES: &[Place] = &[
    Place { table: "outbox", row: "message_id", owner: "message_id" },
    Place { table: "custom_attributes", row: "attribute_id", owner: "COALESCE(user_id, session_id)" },
    Place { table: "totp_credentials", row: "credential_id", owner: "user_id" },
    Place { table: "hook_secrets", row: "hook_secret_id", owner: "hook_id" },
    Place { table: "signing_keys", row: "signing_key_id", owner: "signing_key_id" },
    Place { table: "token_keys", row: "key_id", owner: "key_id" },
];

/// A secret where it is kept. The ids are of whichever noun the table is about.
#[derive(diesel::QueryableByName)]
struct Kept {
    #[diesel(sql_type = sql::Uuid)]
    owner: MessageId,
    #[diesel(sql_type = sql::Uuid)]
    id: MessageId,
    #[diesel(sql_type = Binary)]
    sealed: Sealed,
}

impl Snapshot<'_> {
    /// A data key as it is wrapped.
    ///
    /// # Errors
    /// The database fails.
    pub fn data_key(&mut self, data_key_id: DataKeyId) -> Result<Option<String>, StoreError> {
        Ok(data_keys::table.find(data_key_id).select(data_keys::wrapped).get_result(self.0).optional()?)
    }
}

impl Tx<'_> {
    /// The active data key as it is wrapped. Until the transaction ends, no other becomes active.
    ///
    /// # Errors
    /// The database fails.
    pub fn hold_active_data_key(&mut self) -> Result<Option<(DataKeyId, String)>, StoreError> {
        if self.0.is_postgres() {
            diesel::sql_query("SELECT 1 FROM data_keys WHERE is_active FOR SHARE").execute(self.0)?;
        }
        let active = data_keys::table.filter(data_keys::is_active);
        Ok(active.select((data_keys::data_key_id, data_keys::wrapped)).get_result(self.0).optional()?)
    }

    /// Makes a data key the active one if there is none yet.
    ///
    /// # Errors
    /// The database fails.
    pub fn found_data_key(&mut self, data_key_id: DataKeyId, wrapped: &str, now: Utc) -> Result<(), StoreError> {
        let insert = "INSERT INTO data_keys (data_key_id, wrapped, is_active, created_time) VALUES ($1, $2, $3, $4) \
                      ON CONFLICT (is_active) WHERE is_active DO NOTHING";
        diesel::sql_query(insert)
            .bind::<sql::Uuid, _>(data_key_id)
            .bind::<Text, _>(wrapped)
            .bind::<diesel::sql_types::Bool, _>(true)
            .bind::<sql::Instant, _>(now)
            .execute(self.0)?;
        Ok(())
    }

    /// Makes another data key the active one. What is being encrypted under the one before is waited for.
    ///
    /// # Errors
    /// The database fails.
    pub fn replace_data_key(&mut self, data_key_id: DataKeyId, wrapped: &str, now: Utc) -> Result<(), StoreError> {
        diesel::update(data_keys::table.filter(data_keys::is_active)).set(data_keys::is_active.eq(false)).execute(self.0)?;
        self.found_data_key(data_key_id, wrapped, now)
    }

    /// Up to `limit` secrets of a place that are encrypted under a key that is not active, held until the transaction ends. Of several,
    /// those that others hold are left out: whoever removes rows takes them in an order of its own, and must not be waited for while some
    /// are held here. One alone is waited for.
    ///
    /// # Errors
    /// The database fails.
    pub fn hold_outdated(&mut self, place: Place, limit: i64) -> Result<Vec<(Seat, Sealed)>, StoreError> {
        let Place { table, row, owner } = place;
        let hold = match (self.0.is_postgres(), limit) {
            (false, _) => "",
            (true, 1) => " FOR UPDATE",
            (true, _) => " FOR UPDATE SKIP LOCKED",
        };
        let outdated = "data_key_id IN (SELECT data_key_id FROM data_keys WHERE NOT is_active)";
        let query =
            format!("SELECT {owner} AS owner, {row} AS id, sealed FROM {table} WHERE {outdated} ORDER BY {row} LIMIT $1{hold}");
        let kept: Vec<Kept> = diesel::sql_query(query).bind::<BigInt, _>(limit).load(self.0)?;
        let seat = |kept: &Kept| Seat { table, owner: *kept.owner.as_bytes(), row: *kept.id.as_bytes() };
        Ok(kept.into_iter().map(|kept| (seat(&kept), kept.sealed)).collect())
    }

    /// Writes a secret that was encrypted anew.
    ///
    /// # Errors
    /// The database fails.
    pub fn reseal(&mut self, place: Place, seat: Seat, sealed: &Sealed, data_key_id: DataKeyId) -> Result<(), StoreError> {
        let Place { table, row, .. } = place;
        diesel::sql_query(format!("UPDATE {table} SET sealed = $1, data_key_id = $2 WHERE {row} = $3"))
            .bind::<Binary, _>(sealed)
            .bind::<sql::Uuid, _>(data_key_id)
            .bind::<sql::Uuid, _>(MessageId::from_bytes(seat.row))
            .execute(self.0)?;
        Ok(())
    }

    /// Removes the data keys that are not active and that nothing is encrypted under; tells how many.
    ///
    /// # Errors
    /// The database fails.
    pub fn drop_unused_data_keys(&mut self) -> Result<usize, StoreError> {
        let mut delete = "DELETE FROM data_keys WHERE NOT is_active".to_owned();
        for Place { table, .. } in PLACES {
            delete.push_str(&format!(" AND NOT EXISTS (SELECT 1 FROM {table} t WHERE t.data_key_id = data_keys.data_key_id)"));
        }
        Ok(diesel::sql_query(delete).execute(self.0)?)
    }
}
