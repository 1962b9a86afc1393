//! What an API key is: a credential by which a program acts as its user without signing in, until it expires or is revoked.
//!
//! A key is told once and known to the database by its SHA-256. It opens no session: at every use it is judged like one, with the account,
//! the application and the address as they are then. Its scope says whether it may change anything.

#![deny(clippy::wildcard_enum_match_arm, reason = "a new variant must be decided on, not fall through")]

use super::application::Application;
use super::ids::{ApiKeyId, UserId};
use super::row_mac::RowMac;
use super::secret::TokenHash;
use super::text::Name;
use super::time::Utc;
use super::words;
use serde::Serialize;

mod schema {
    #![expect(missing_docs, reason = "the columns are documented where they become fields")]

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        api_keys (key_id) {
            key_id -> sql::Uuid,
            token_hash -> Binary,
            user_id -> sql::Uuid,
            name -> Text,
            scope -> Text,
            created_time -> sql::Instant,
            expiry -> Nullable<sql::Instant>,
            last_used_time -> Nullable<sql::Instant>,
            made_by -> Nullable<Text>,
            mac -> Binary,
        }
    }
}
pub use schema::api_keys;

words::kept_words! {
    /// What an API key may do.
    KeyScope {
        /// Look at what its user may look at.
        Read = "read",
        /// Also change what its user may change.
        Manage = "manage",
    }
}

/// Keys that a user may have at once, expired ones included.
pub const MOST_KEYS: i64 = 100;

/// An API key as the database holds it.
#[derive(Clone, Debug, diesel::Queryable, diesel::Insertable)]
#[diesel(table_name = api_keys, treat_none_as_default_value = false)]
pub struct ApiKey {
    /// Its public key.
    pub key_id: ApiKeyId,
    /// The SHA-256 of its token.
    pub token_hash: TokenHash,
    /// As whom it acts.
    pub user_id: UserId,
    /// What it is for, in its maker's words.
    pub name: Name,
    /// What it may do.
    pub scope: KeyScope,
    /// When it was made.
    pub created_time: Utc,
    /// It is good for nothing from this time on.
    pub expiry: Option<Utc>,
    /// When it was last used, to the minute.
    pub last_used_time: Option<Utc>,
    /// Who made it: a user's id, or an operator's `user@host`. Of keys from before it is not known.
    pub made_by: Option<String>,
    /// What binds it to the key file.
    pub mac: RowMac,
}

impl ApiKey {
    /// Whether its time is over.
    pub fn is_expired(&self, now: Utc) -> bool {
        self.expiry.is_some_and(|expiry| expiry <= now)
    }

    /// Whether it may make a call that changes nothing, or one that may change something.
    pub fn permits(&self, changes_nothing: bool) -> bool {
        match self.scope {
            KeyScope::Read => changes_nothing,
            KeyScope::Manage => true,
            KeyScope::Foreign(_) => false,
        }
    }

    /// Whether a caller that comes through `application` may use it. One with sessions of its own demands that one signs in through it.
    pub fn is_accepted_by(application: &Application) -> bool {
        application.is_shared()
    }

    /// Its public part.
    pub fn view(&self) -> ApiKeyView {
        ApiKeyView {
            key_id: self.key_id,
            user_id: self.user_id,
            name: self.name.clone(),
            scope: self.scope,
            created_time: self.created_time,
            expiry: self.expiry,
            last_used_time: self.last_used_time,
        }
    }
}

/// An API key as its owner and super-users see it: never with its token.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct ApiKeyView {
    /// Its id.
    pub key_id: ApiKeyId,
    /// As whom it acts.
    pub user_id: UserId,
    /// What it is for.
    pub name: Name,
    /// What it may do.
    pub scope: KeyScope,
    /// When it was made.
    pub created_time: Utc,
    /// It is good for nothing from this time on; null is never.
    pub expiry: Option<Utc>,
    /// When it was last used, to the minute.
    pub last_used_time: Option<Utc>,
}
