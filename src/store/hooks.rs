//! Hooks, their secrets, and what waits for them in the outbox.

use super::error::StoreError;
use super::{Snapshot, Tx};
use crate::domain::hook::{Hook, KeptSecret, hook_secrets, hooks};
use crate::domain::ids::{HookId, MessageId};
use crate::domain::outbox::{LEASE, Message, outbox};
use crate::domain::sql;
use crate::domain::time::Utc;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable};

/// How a hook's messages stand.
#[derive(Clone, Copy, Debug, diesel::QueryableByName)]
pub struct Lane {
    /// The hook.
    #[diesel(sql_type = sql::Uuid)]
    pub hook_id: HookId,
    /// Whether it is told anything.
    #[diesel(sql_type = Bool)]
    pub is_active: bool,
    /// Whether one is due.
    #[diesel(sql_type = Bool)]
    pub is_due: bool,
    /// How many wait, counted no further than was asked.
    #[diesel(sql_type = BigInt)]
    pub waiting: i64,
    /// Since when further ones are left out.
    #[diesel(sql_type = Nullable<sql::Instant>)]
    pub missed_since: Option<Utc>,
}

#[derive(diesel::QueryableByName)]
struct Claimed {
    #[diesel(sql_type = sql::Uuid)]
    message_id: MessageId,
}

#[derive(diesel::QueryableByName)]
struct Waiting {
    #[diesel(sql_type = BigInt)]
    waiting: i64,
}

impl Snapshot<'_> {
    /// All hooks, by name.
    ///
    /// # Errors
    /// The database fails.
    pub fn hooks(&mut self) -> Result<Vec<Hook>, StoreError> {
        Ok(hooks::table.order(hooks::name_key.asc()).load(self.0)?)
    }

    /// The hook of this id.
    ///
    /// # Errors
    /// The database fails.
    pub fn hook(&mut self, hook_id: HookId) -> Result<Option<Hook>, StoreError> {
        Ok(hooks::table.find(hook_id).get_result(self.0).optional()?)
    }

    /// A hook's secrets that are in use at `now`, the present one first.
    ///
    /// # Errors
    /// The database fails.
    pub fn hook_secrets(&mut self, hook_id: HookId, now: Utc) -> Result<Vec<KeptSecret>, StoreError> {
        let used = hook_secrets::valid_to.is_null().or(hook_secrets::valid_to.gt(now));
        let of_hook = hook_secrets::table.filter(hook_secrets::hook_id.eq(hook_id).and(used));
        Ok(of_hook.order(hook_secrets::hook_secret_id.desc()).load(self.0)?)
    }

    /// How the messages of each hook stand; those that wait are counted up to `limit`.
    ///
    /// # Errors
    /// The database fails.
    pub fn lanes(&mut self, now: Utc, limit: i64) -> Result<Vec<Lane>, StoreError> {
        let query = "SELECT h.hook_id, h.is_active, EXISTS (SELECT 1 FROM outbox o WHERE o.hook_id = h.hook_id AND o.next_time <= $1) AS is_due, \
                     (SELECT COUNT(*) FROM (SELECT 1 FROM outbox o WHERE o.hook_id = h.hook_id AND o.next_time IS NOT NULL LIMIT $2) w) \
                     AS waiting, h.missed_since FROM hooks h";
        Ok(diesel::sql_query(query).bind::<sql::Instant, _>(now).bind::<BigInt, _>(limit).load(self.0)?)
    }

    /// How many messages wait for a hook, counted up to `limit`.
    ///
    /// # Errors
    /// The database fails.
    pub fn waiting_for_hook(&mut self, hook_id: HookId, limit: i64) -> Result<i64, StoreError> {
        let query =
            "SELECT COUNT(*) AS waiting FROM (SELECT 1 FROM outbox WHERE hook_id = $1 AND next_time IS NOT NULL LIMIT $2) w";
        let counted: Waiting =
            diesel::sql_query(query).bind::<sql::Uuid, _>(hook_id).bind::<BigInt, _>(limit).get_result(self.0)?;
        Ok(counted.waiting)
    }

    /// Up to `limit` messages for a hook, waiting or given up, in order of creation, after `after`.
    ///
    /// # Errors
    /// The database fails.
    pub fn deliveries(&mut self, hook_id: HookId, after: Option<MessageId>, limit: i64) -> Result<Vec<Message>, StoreError> {
        let mut query = outbox::table.filter(outbox::hook_id.eq(hook_id)).into_boxed();
        if let Some(after) = after {
            query = query.filter(outbox::message_id.gt(after));
        }
        Ok(query.order(outbox::message_id.asc()).limit(limit).load(self.0)?)
    }

    /// A message for a hook.
    ///
    /// # Errors
    /// The database fails.
    pub fn delivery(&mut self, hook_id: HookId, message_id: MessageId) -> Result<Option<Message>, StoreError> {
        let of_hook = outbox::table.find(message_id).filter(outbox::hook_id.eq(hook_id));
        Ok(of_hook.get_result(self.0).optional()?)
    }
}

impl Tx<'_> {
    /// The hooks that are told of events now. None of them is removed before the transaction ends.
    ///
    /// # Errors
    /// The database fails.
    pub fn hold_listening_hooks(&mut self) -> Result<Vec<Hook>, StoreError> {
        let listening = hooks::table.filter(hooks::is_active.and(hooks::missed_since.is_null())).order(hooks::hook_id.asc());
        let found: Vec<Hook> = listening.load(self.0)?;
        if found.is_empty() || !self.0.is_postgres() {
            return Ok(found);
        }
        // One that was removed since is not found again.
        diesel::sql_query("SELECT 1 FROM hooks WHERE is_active ORDER BY hook_id FOR KEY SHARE").execute(self.0)?;
        Ok(listening.load(self.0)?)
    }

    /// The hook of this id, held so that nobody else changes it until the transaction ends.
    ///
    /// # Errors
    /// The database fails.
    pub fn hold_hook(&mut self, hook_id: HookId) -> Result<Option<Hook>, StoreError> {
        if self.0.is_postgres() {
            diesel::sql_query("SELECT 1 FROM hooks WHERE hook_id = $1 FOR UPDATE")
                .bind::<sql::Uuid, _>(hook_id)
                .execute(self.0)?;
        }
        self.read().hook(hook_id)
    }

    /// Makes a hook.
    ///
    /// # Errors
    /// Its name is taken, or the database fails.
    pub fn insert_hook(&mut self, hook: &Hook) -> Result<(), StoreError> {
        diesel::insert_into(hooks::table).values(hook).execute(self.0)?;
        Ok(())
    }

    /// Writes a hook back that was held.
    ///
    /// # Errors
    /// Its name is taken, or the database fails.
    pub fn save_hook(&mut self, hook: &Hook) -> Result<(), StoreError> {
        diesel::update(hooks::table.find(hook.hook_id))
            .set((
                hooks::name.eq(&hook.name),
                hooks::name_key.eq(&hook.name_key),
                hooks::url.eq(&hook.url),
                hooks::event_types.eq(&hook.event_types),
                hooks::is_active.eq(hook.is_active),
                hooks::missed_since.eq(hook.missed_since),
            ))
            .execute(self.0)?;
        Ok(())
    }

    /// Removes a hook with its secrets and with what waits for it.
    ///
    /// # Errors
    /// The database fails.
    pub fn delete_hook(&mut self, hook_id: HookId) -> Result<(), StoreError> {
        diesel::delete(hooks::table.find(hook_id)).execute(self.0)?;
        Ok(())
    }

    /// Adds a secret to a hook.
    ///
    /// # Errors
    /// The database fails.
    pub fn insert_hook_secret(&mut self, secret: &KeptSecret) -> Result<(), StoreError> {
        diesel::insert_into(hook_secrets::table).values(secret).execute(self.0)?;
        Ok(())
    }

    /// The present secret of a hook is to end at `valid_to`; those before it end now.
    ///
    /// # Errors
    /// The database fails.
    pub fn retire_hook_secrets(&mut self, hook_id: HookId, valid_to: Utc) -> Result<(), StoreError> {
        let of_hook = hook_secrets::table.filter(hook_secrets::hook_id.eq(hook_id));
        diesel::delete(of_hook.filter(hook_secrets::valid_to.is_not_null())).execute(self.0)?;
        diesel::update(of_hook).set(hook_secrets::valid_to.eq(valid_to)).execute(self.0)?;
        Ok(())
    }

    /// Removes secrets that have ended.
    ///
    /// # Errors
    /// The database fails.
    pub fn sweep_hook_secrets(&mut self, now: Utc) -> Result<usize, StoreError> {
        Ok(diesel::delete(hook_secrets::table.filter(hook_secrets::valid_to.le(now))).execute(self.0)?)
    }

    /// From now on events are left out for a hook; tells whether they were not before.
    ///
    /// # Errors
    /// The database fails.
    pub fn begin_to_miss(&mut self, hook_id: HookId, now: Utc) -> Result<bool, StoreError> {
        let told = hooks::table.find(hook_id).filter(hooks::missed_since.is_null());
        Ok(diesel::update(told).set(hooks::missed_since.eq(Some(now))).execute(self.0)? > 0)
    }

    /// Events are no longer left out for a hook; tells whether they were until now.
    ///
    /// # Errors
    /// The database fails.
    pub fn end_to_miss(&mut self, hook_id: HookId) -> Result<bool, StoreError> {
        let missing = hooks::table.find(hook_id).filter(hooks::missed_since.is_not_null());
        Ok(diesel::update(missing).set(hooks::missed_since.eq(None::<Utc>)).execute(self.0)? > 0)
    }

    /// Takes up to `limit` messages for a hook up that are due, oldest first: nobody else does until [`LEASE`] has passed.
    ///
    /// # Errors
    /// The database fails.
    pub fn claim_for_hook(&mut self, hook_id: HookId, now: Utc, limit: i64) -> Result<Vec<Message>, StoreError> {
        let skip = if self.0.is_postgres() { " FOR UPDATE SKIP LOCKED" } else { "" };
        let due = format!(
            "SELECT message_id FROM outbox WHERE hook_id = $2 AND next_time <= $3 ORDER BY next_time, message_id LIMIT $4{skip}"
        );
        // SQLite numbers parameters as they appear, whatever they are called.
        let update =
            format!("UPDATE outbox SET attempts = attempts + 1, next_time = $1 WHERE message_id IN ({due}) RETURNING message_id");
        let claimed: Vec<Claimed> = diesel::sql_query(update)
            .bind::<sql::Instant, _>(now + LEASE)
            .bind::<sql::Uuid, _>(hook_id)
            .bind::<sql::Instant, _>(now)
            .bind::<BigInt, _>(limit)
            .load(self.0)?;
        let ids: Vec<MessageId> = claimed.into_iter().map(|c| c.message_id).collect();
        Ok(outbox::table.filter(outbox::message_id.eq_any(ids)).order(outbox::message_id.asc()).load(self.0)?)
    }

    /// Gives up what waits for a hook.
    ///
    /// # Errors
    /// The database fails.
    pub fn give_up_for_hook(&mut self, hook_id: HookId, cause: &str) -> Result<(), StoreError> {
        let waiting = outbox::table.filter(outbox::hook_id.eq(hook_id).and(outbox::next_time.is_not_null()));
        diesel::update(waiting).set((outbox::next_time.eq(None::<Utc>), outbox::last_error.eq(Some(cause)))).execute(self.0)?;
        Ok(())
    }

    /// What was given up for a hook is tried again at `now`; tells how much that is.
    ///
    /// # Errors
    /// The database fails.
    pub fn retry_given_up(&mut self, hook_id: HookId, now: Utc) -> Result<usize, StoreError> {
        let given_up = outbox::table.filter(outbox::hook_id.eq(hook_id).and(outbox::next_time.is_null()));
        Ok(diesel::update(given_up).set((outbox::next_time.eq(Some(now)), outbox::attempts.eq(0))).execute(self.0)?)
    }

    /// A message is tried again at `now`, as if it never had been.
    ///
    /// # Errors
    /// The database fails.
    pub fn retry_message(&mut self, message_id: MessageId, now: Utc) -> Result<(), StoreError> {
        diesel::update(outbox::table.find(message_id))
            .set((outbox::next_time.eq(Some(now)), outbox::attempts.eq(0)))
            .execute(self.0)?;
        Ok(())
    }
}
