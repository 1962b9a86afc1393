//! What a linked account is: a name and a password for HTTP Basic (RFC 7617) by which a program acts as a user without signing in itself.
//!
//! An account is made by an operator and linked to one user, or to nobody yet. Whoever bears it gets the one session that is open through
//! it. That session's token is not kept: it derives from the key file and the session ([`crate::domain::secret::MacKey`]), so that every
//! call of the account is told the same one.

use super::ids::{LinkedAccountId, SessionId, UserId};
use super::row_mac::RowMac;
use super::secret::PasswordHash;
use super::text::Name;
use super::time::Utc;
use serde::Serialize;

mod schema {
    #![expect(missing_docs, reason = "the columns are documented where they become fields")]

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        linked_accounts (account_id) {
            account_id -> sql::Uuid,
            name -> Text,
            name_key -> Text,
            password_hash -> Text,
            is_active -> Bool,
            user_id -> Nullable<sql::Uuid>,
            linked_time -> Nullable<sql::Instant>,
            session_id -> Nullable<sql::Uuid>,
            created_time -> sql::Instant,
            mac -> Binary,
        }
    }
}
pub use schema::linked_accounts;

/// An account as the database holds it.
#[derive(Clone, Debug, diesel::Queryable, diesel::Insertable, diesel::AsChangeset)]
#[diesel(table_name = linked_accounts, primary_key(account_id), treat_none_as_null = true, treat_none_as_default_value = false)]
pub struct LinkedAccount {
    /// Its id.
    pub account_id: LinkedAccountId,
    /// Its name; unique without regard to case. It has no colon (RFC 7617, section 2).
    pub name: Name,
    /// The name's key.
    pub name_key: String,
    /// The hash of its password.
    pub password_hash: PasswordHash,
    /// Whether it opens anything.
    pub is_active: bool,
    /// As whom it acts.
    pub user_id: Option<UserId>,
    /// Since when it acts as this user.
    pub linked_time: Option<Utc>,
    /// The session that is open through it.
    pub session_id: Option<SessionId>,
    /// When it was made.
    pub created_time: Utc,
    /// What binds it to the key file.
    pub mac: RowMac,
}

/// An account as super-users and its user see it: without its password.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct LinkedAccountView {
    /// Its id.
    pub account_id: LinkedAccountId,
    /// Its name.
    pub name: Name,
    /// Whether it opens anything.
    pub is_active: bool,
    /// As whom it acts.
    pub user_id: Option<UserId>,
    /// Since when.
    pub linked_time: Option<Utc>,
    /// When it was made.
    pub created_time: Utc,
}

impl LinkedAccount {
    /// It without its password.
    pub fn view(&self) -> LinkedAccountView {
        let Self { account_id, name, is_active, user_id, linked_time, created_time, .. } = self.clone();
        LinkedAccountView { account_id, name, is_active, user_id, linked_time, created_time }
    }
}
