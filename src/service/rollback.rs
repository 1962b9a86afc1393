//! A database that was put back: noticed each second, told loudly, and gone on with once an operator has accepted it.

use super::Services;
use super::caller::SuperUser;
use super::did::Did;
use crate::domain::audit::{Changes, Head, Mark};
use crate::error::Result;
use crate::store::Tx;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

/// What was accepted.
#[derive(Clone, Debug)]
pub struct AcceptedRollback {
    /// The ends that were remembered beside the key file.
    pub remembered: Vec<Head>,
    /// The ends that the database had.
    pub found: Vec<Head>,
}

impl Services {
    /// Looks whether the database is behind what was seen of it; while it is, and it says where, nothing is answered.
    ///
    /// # Errors
    /// The database fails.
    pub async fn look_at_trail(&self) -> Result<Option<String>> {
        self.inner.store.look_at_trail().await
    }

    /// Where the database is behind what was seen of it, if it is.
    pub fn is_behind(&self) -> Option<String> {
        self.inner.store.is_behind()
    }

    /// Writes down what was seen of the trail, for the next start.
    ///
    /// # Errors
    /// One line: it cannot be written.
    pub fn keep_mark(&self) -> std::result::Result<(), String> {
        // Nothing in it is given up for what was put back.
        self.inner.mark_file.write(self.inner.store.mark())
    }

    /// From now on this process leaves the mark; it writes one at once. Nothing comes of it where the settings name no file and there is
    /// none to be written beside the key file: then that is said.
    ///
    /// # Errors
    /// One line: the file that the settings name cannot be written.
    pub fn begin_to_mark(&self) -> std::result::Result<(), String> {
        match self.keep_mark() {
            Ok(()) => {
                self.inner.keeps_mark.store(true, Ordering::Release);
                Ok(())
            }
            Err(cause) if self.inner.mark_file.is_demanded() => Err(format!("setting audit.mark_file: {cause}")),
            Err(cause) => {
                tracing::warn!(target: "usher::audit", cause, "no mark is kept of the audit trail: a database that is put back while \
                     this is stopped is not noticed");
                Ok(())
            }
        }
    }

    /// Whether this process leaves the mark.
    pub fn keeps_mark(&self) -> bool {
        self.inner.keeps_mark.load(Ordering::Acquire)
    }
}

impl SuperUser {
    /// Goes on with a database that was put back. The event has the ends of each chain, those that were remembered and those that were found.
    ///
    /// # Errors
    /// The database fails, or an end does not match its MAC.
    pub async fn accept_rollback(&self, reason: String) -> Result<AcceptedRollback> {
        let store = &self.context.services.inner.store;
        let (remembered, key, now) = (store.mark(), store.audit_key(), self.context.now());
        store.forget_what_was_seen();
        let accept = move |tx: &mut Tx<'_>| {
            let found = tx.accept_rollback(remembered.accepted, now, &key)?;
            let did = Did::to(found.accepted).changing(told(&remembered, &found, &reason));
            let heads = |mark: Mark| mark.heads.into_values().collect();
            Ok((AcceptedRollback { remembered: heads(remembered), found: heads(found) }, did))
        };
        self.context.change(accept).await
    }
}

/// The ends of each chain before and after, and why.
fn told(remembered: &Mark, found: &Mark, reason: &str) -> Option<Changes> {
    let ends = |mark: &Mark, more: Option<&str>| {
        let end = |head: &Head| (format!("chain_{}", head.chain), json!({"event": head.seq, "hash": head.hash_in_hex()}));
        let reason = more.map(|reason| ("reason".to_owned(), Value::from(reason)));
        Value::Object(mark.heads.values().map(end).chain(reason).collect())
    };
    Changes::between(&ends(remembered, None), &ends(found, Some(reason)))
}
