//! Messages to the world outside.

use super::error::StoreError;
use super::{Snapshot, Tx};
use crate::domain::ids::MessageId;
use crate::domain::outbox::{LEASE, Message, MessageKind, outbox};
use crate::domain::sql;
use crate::domain::time::Utc;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

#[derive(diesel::QueryableByName)]
struct Claimed {
    #[diesel(sql_type = sql::Uuid)]
    message_id: MessageId,
}

impl Snapshot<'_> {
    /// How many messages of each kind wait to be sent, be it for another try.
    ///
    /// # Errors
    /// The database fails.
    pub fn waiting_messages(&mut self) -> Result<Vec<(MessageKind, i64)>, StoreError> {
        // Those of other kinds are of another build, and its to tell.
        let known = outbox::kind.eq_any(MessageKind::ALL);
        let waiting = outbox::table.filter(outbox::next_time.is_not_null().and(known)).group_by(outbox::kind);
        Ok(waiting.select((outbox::kind, diesel::dsl::count_star())).load(self.0)?)
    }

    /// Whether a message of this kind is due.
    ///
    /// # Errors
    /// The database fails.
    pub fn has_due_message(&mut self, kind: MessageKind, now: Utc) -> Result<bool, StoreError> {
        let due = outbox::table.filter(outbox::next_time.le(now).and(outbox::kind.eq(kind)));
        let any: Option<MessageId> = due.select(outbox::message_id).limit(1).get_result(self.0).optional()?;
        Ok(any.is_some())
    }
}

impl Tx<'_> {
    /// Puts a message into the outbox.
    ///
    /// # Errors
    /// The database fails.
    pub fn insert_message(&mut self, message: &Message) -> Result<(), StoreError> {
        diesel::insert_into(outbox::table).values(message).execute(self.0)?;
        Ok(())
    }

    /// Takes up to `limit` messages up that are due, oldest first: nobody else does until [`LEASE`] has passed.
    ///
    /// # Errors
    /// The database fails.
    pub fn claim_messages(&mut self, kind: MessageKind, now: Utc, limit: i64) -> Result<Vec<Message>, StoreError> {
        let skip = if self.0.is_postgres() { " FOR UPDATE SKIP LOCKED" } else { "" };
        let due = format!(
            "SELECT message_id FROM outbox WHERE next_time <= $2 AND kind = $3 ORDER BY next_time, message_id LIMIT $4{skip}"
        );
        // SQLite numbers parameters as they appear, whatever they are called.
        let update =
            format!("UPDATE outbox SET attempts = attempts + 1, next_time = $1 WHERE message_id IN ({due}) RETURNING message_id");
        let claimed: Vec<Claimed> = diesel::sql_query(update)
            .bind::<sql::Instant, _>(now + LEASE)
            .bind::<sql::Instant, _>(now)
            .bind::<Text, _>(kind)
            .bind::<BigInt, _>(limit)
            .load(self.0)?;
        let ids: Vec<MessageId> = claimed.into_iter().map(|c| c.message_id).collect();
        Ok(outbox::table.filter(outbox::message_id.eq_any(ids)).order(outbox::message_id.asc()).load(self.0)?)
    }

    /// Holds a message until the transaction ends; tells whether it is still there.
    ///
    /// # Errors
    /// The database fails.
    pub fn hold_message(&mut self, message_id: MessageId) -> Result<bool, StoreError> {
        if self.0.is_postgres() {
            diesel::sql_query("SELECT 1 FROM outbox WHERE message_id = $1 FOR UPDATE")
                .bind::<sql::Uuid, _>(message_id)
                .execute(self.0)?;
        }
        let held = outbox::table.find(message_id).select(outbox::message_id);
        Ok(held.get_result::<MessageId>(self.0).optional()?.is_some())
    }

    /// A message was delivered.
    ///
    /// # Errors
    /// The database fails.
    pub fn remove_message(&mut self, message_id: MessageId) -> Result<(), StoreError> {
        diesel::delete(outbox::table.find(message_id)).execute(self.0)?;
        Ok(())
    }

    /// A message that was claimed for the `attempts`th time was not delivered: it is tried again at `next_time`, or given up. One that was
    /// given up or begun anew while it was carried stays so.
    ///
    /// # Errors
    /// The database fails.
    pub fn postpone_message(
        &mut self,
        message_id: MessageId,
        attempts: i64,
        next_time: Option<Utc>,
        cause: &str,
    ) -> Result<(), StoreError> {
        let claimed = outbox::table.find(message_id).filter(outbox::attempts.eq(attempts));
        let outcome = (outbox::next_time.eq(next_time), outbox::last_error.eq(Some(cause)));
        if next_time.is_some() {
            diesel::update(claimed.filter(outbox::next_time.is_not_null())).set(outcome).execute(self.0)?;
        } else {
            diesel::update(claimed).set(outcome).execute(self.0)?;
        }
        Ok(())
    }

    /// A message that was claimed for the `attempts`th time is none that this program can carry: it is due for others at `next_time`, and the
    /// try does not count.
    ///
    /// # Errors
    /// The database fails.
    pub fn leave_message(&mut self, message_id: MessageId, attempts: i64, next_time: Utc) -> Result<(), StoreError> {
        let claimed = outbox::table.find(message_id).filter(outbox::attempts.eq(attempts));
        let left = (outbox::next_time.eq(Some(next_time)), outbox::attempts.eq(attempts - 1));
        diesel::update(claimed.filter(outbox::next_time.is_not_null())).set(left).execute(self.0)?;
        Ok(())
    }

    /// Removes up to `limit` messages that were given up and written before `before`; tells how many.
    ///
    /// # Errors
    /// The database fails.
    pub fn sweep_messages(&mut self, before: Utc, limit: i64) -> Result<usize, StoreError> {
        let skip = if self.0.is_postgres() { " FOR UPDATE SKIP LOCKED" } else { "" };
        let stale = format!(
            "SELECT message_id FROM outbox WHERE next_time IS NULL AND created_time < $1 ORDER BY message_id LIMIT $2{skip}"
        );
        Ok(diesel::sql_query(format!("DELETE FROM outbox WHERE message_id IN ({stale})"))
            .bind::<sql::Instant, _>(before)
            .bind::<BigInt, _>(limit)
            .execute(self.0)?)
    }
}
