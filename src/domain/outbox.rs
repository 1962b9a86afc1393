//! What waits to be sent to the world outside: mail and webhooks.
//!
//! A message is written in the transaction of the change that it tells of, so there is none without the change and none is lost with
//! it. A courier takes it from there, as often as it takes: delivery is *at least once*, and the message's id tells receivers a second
//! copy from a second message. After [`delay`] has no more to give, a message is given up and kept for a while to be looked at.

use super::ids::{DataKeyId, HookId, MessageId, UserId};
use super::secret::{Sealed, Seat};
use super::time::Utc;
use std::time::Duration;

mod schema {
    #![expect(missing_docs, reason = "the columns are documented where they become fields")]

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        outbox (message_id) {
            message_id -> sql::Uuid,
            kind -> Text,
            user_id -> Nullable<sql::Uuid>,
            sealed -> Binary,
            data_key_id -> sql::Uuid,
            attempts -> BigInt,
            next_time -> Nullable<sql::Instant>,
            last_error -> Nullable<Text>,
            created_time -> sql::Instant,
            hook_id -> Nullable<sql::Uuid>,
        }
    }
}
pub use schema::outbox;

super::words::words! {
    /// By which way a message goes.
    MessageKind {
        /// By SMTP, or into a folder.
        Mail = "mail",
        /// Likewise, of kinds that the release before does not know and is not to take up.
        Letter = "letter",
        /// By HTTPS, to a receiver of account events.
        Hook = "hook",
        /// Not at all: it is a request that is decided on out of its caller's sight.
        Errand = "errand",
    }

    /// How a message in the outbox stands.
    DeliveryState {
        /// It is tried, or tried again, in time.
        Waiting = "waiting",
        /// It is tried no more by itself.
        GivenUp = "given_up",
    }
}

/// A message as the database holds it. Its content is encrypted: mail has links that are as good as a password for a while.
#[derive(Clone, Debug, diesel::Queryable, diesel::Insertable)]
#[diesel(table_name = outbox, treat_none_as_default_value = false)]
pub struct Message {
    /// Its id, which receivers may know.
    pub message_id: MessageId,
    /// By which way it goes.
    pub kind: MessageKind,
    /// The user it goes with: deleted, their messages go too.
    pub user_id: Option<UserId>,
    /// Its content, as its way has it.
    pub sealed: Sealed,
    /// The data key that the content is encrypted under.
    pub data_key_id: DataKeyId,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is tried next; `None` once it is given up.
    pub next_time: Option<Utc>,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// When it was written.
    pub created_time: Utc,
    /// The receiver of account events that it is for: removed, its messages go too.
    pub hook_id: Option<HookId>,
}

impl Message {
    /// The place that a message's content is bound to.
    pub fn seat(message_id: MessageId) -> Seat {
        Seat { table: "outbox", owner: *message_id.as_bytes(), row: *message_id.as_bytes() }
    }

    /// How it stands.
    pub fn state(&self) -> DeliveryState {
        if self.next_time.is_some() { DeliveryState::Waiting } else { DeliveryState::GivenUp }
    }
}

/// While a message is under way nobody else takes it up, unless its courier has gone missing for so long.
pub const LEASE: Duration = Duration::from_secs(60);

/// How long a message that was given up is kept to be looked at.
pub const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long to wait after so many tries; `None`: no more. Some two days in all.
pub fn delay(attempts: i64) -> Option<Duration> {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const SECONDS: [u64; 10] = [5, 30, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 4 * HOUR, 8 * HOUR, 16 * HOUR, 20 * HOUR];
    let at = usize::try_from(attempts.checked_sub(1)?).ok()?;
    SECONDS.get(at).copied().map(Duration::from_secs)
}
