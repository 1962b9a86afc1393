//! When letters were last written about an account, to join those that follow soon.

use super::Tx;
use super::error::StoreError;
use super::prepared::{Statement as _, prepared};
use crate::domain::ids::UserId;
use crate::domain::letter::{LetterKind, letters_written};
use crate::domain::sql;
use crate::domain::time::Utc;
use diesel::prelude::*;
use diesel::sql_types::Text;
use std::time::Duration;

/// There is one letter of a kind, to a mailbox about an account, in so long.
const HOUR: Duration = Duration::from_secs(60 * 60);

impl Tx<'_> {
    /// When a letter of this kind is due that is written now; `None` if one is due already that tells it as well.
    ///
    /// # Errors
    /// The database fails.
    pub fn take_letter(&mut self, user_id: UserId, kind: LetterKind, mailbox: &str, now: Utc) -> Result<Option<Utc>, StoreError> {
        let key = (user_id, kind.as_str(), mailbox);
        let last: Option<Utc> = letters_written::table.find(key).select(letters_written::time).get_result(self.0).optional()?;
        let due = match last {
            Some(time) if time > now => return Ok(None),
            Some(time) if now < time + HOUR => time + HOUR,
            Some(_) | None => now,
        };
        // What is older than its hour says nothing any more, and has addresses that the account had.
        let of_user = letters_written::table.filter(letters_written::user_id.eq(user_id));
        let stale: Vec<(String, String, Utc)> =
            of_user.select((letters_written::kind, letters_written::mailbox, letters_written::time)).load(self.0)?;
        for (kind, mailbox, _) in stale.iter().filter(|(.., time)| *time + HOUR <= now) {
            diesel::delete(letters_written::table.find((user_id, kind, mailbox))).execute(self.0)?;
        }
        prepared(
            "INSERT INTO letters_written (user_id, kind, mailbox, time) VALUES (?, ?, ?, ?) \
             ON CONFLICT (user_id, kind, mailbox) DO UPDATE SET time = excluded.time",
        )
        .bind::<sql::Uuid, _>(user_id)
        .bind::<Text, _>(kind.as_str())
        .bind::<Text, _>(mailbox)
        .bind::<sql::Instant, _>(due)
        .execute(self.0)?;
        Ok(Some(due))
    }
}
