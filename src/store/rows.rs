//! Rows that are bound to the key file ([`crate::domain::row_mac`]): they are bound where they are written, and looked at where they are read.

use super::Tx;
use super::connection::AnyConnection;
use super::conversion::Macs;
use super::error::StoreError;
use super::prepared::{Statement as _, prepared};
use crate::domain::api_key::{ApiKey, api_keys};
use crate::domain::application::{Application, applications};
use crate::domain::chance::Entropy;
use crate::domain::credential::{RecoveryCode, TotpCredential, recovery_codes, totp_credentials};
use crate::domain::ids::UserId;
use crate::domain::link::{Link, links};
use crate::domain::linked_account::{LinkedAccount, linked_accounts};
use crate::domain::row_mac::{BoundRow, RowKeys};
use crate::domain::secret::{PasswordHash, TokenHash};
use crate::domain::session::{Session, sessions};
use crate::domain::sql;
use crate::domain::user::{User, UserRole, users};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{Array, Binary};

/// A row as it is to be written.
pub(super) fn bound<R: BoundRow + Clone>(row: &R, keys: &RowKeys) -> R {
    let mut row = row.clone();
    keys.bind(&mut row);
    row
}

/// A row that was read, if it is as it was written.
pub(super) fn checked<R: BoundRow>(row: R, keys: &RowKeys) -> Result<R, StoreError> {
    if keys.confirm(&row) { Ok(row) } else { Err(StoreError::Altered(R::TABLE)) }
}

/// The same of a row that may not be there.
pub(super) fn held<R: BoundRow>(row: Option<R>, keys: &RowKeys) -> Result<Option<R>, StoreError> {
    row.map(|row| checked(row, keys)).transpose()
}

/// What an operator vouches for when a user's row that somebody altered is bound anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// The password, which is set next. The role falls to the least one: nobody says that it is the right one.
    Password,
    /// The role, which is set next. The password goes.
    Role,
}

impl Tx<'_> {
    /// Binds a user's row anew that is not as it was written, without what nobody vouches for; tells the user before and after, if there was
    /// anything to mend. Its sessions, keys and links end.
    ///
    /// # Errors
    /// The database fails.
    pub fn mend_user(&mut self, user_id: UserId, mend: Mend) -> Result<Option<(User, User)>, StoreError> {
        if self.0.is_postgres() {
            prepared("SELECT 1 FROM users WHERE user_id = ? FOR UPDATE").bind::<sql::Uuid, _>(user_id).execute(self.0)?;
        }
        let found: Option<User> = users::table.find(user_id).get_result(self.0).optional()?;
        let Some(before) = found.filter(|found| !self.1.confirm(found)) else { return Ok(None) };
        let mut after = before.clone();
        match mend {
            Mend::Password => after.user_role = UserRole::Viewer,
            Mend::Role => after.password_hash = None::<PasswordHash>,
        }
        self.end_sessions(user_id)?;
        self.delete_api_keys(user_id)?;
        self.end_links(user_id)?;
        diesel::update(users::table.find(user_id)).set(bound(&after, self.1)).execute(self.0)?;
        Ok(Some((before, after)))
    }

    /// The id of a user as the database names it, altered or not: by a name's key.
    ///
    /// # Errors
    /// The database fails.
    pub fn id_by_name(&mut self, name_key: &str) -> Result<Option<UserId>, StoreError> {
        let found: Vec<(String, UserId)> = self.read().bearers_of_names(&[name_key])?.into_iter().collect();
        Ok(found.into_iter().next().map(|(_, user_id)| user_id))
    }
}

/// Rows of a table that are read and bound at once when a database is converted.
const STRIDE: i64 = 5_000;

/// Binds rows of a table by their key, in strides.
macro_rules! bind_table {
    ($tx:expr, $row:ty, $table:ident, $key:ident: $ty:ty as $sql:ty, $mac:ident) => {{
        let mut last: Option<$ty> = None;
        loop {
            let mut query = $table::table.order($table::$key.asc()).limit(STRIDE).into_boxed();
            if let Some(last) = last.take() {
                query = query.filter($table::$key.gt(last));
            }
            let mut rows: Vec<$row> = query.load($tx.0)?;
            rows.iter_mut().for_each(|row| $tx.1.bind(row));
            let (keys, macs): (Vec<$ty>, Vec<Vec<u8>>) =
                rows.iter().map(|row| (row.$key.clone(), row.$mac.as_bytes().to_vec())).unzip();
            match &mut *$tx.0 {
                AnyConnection::Postgres(c) => {
                    diesel::sql_query(concat!(
                        "UPDATE ",
                        stringify!($table),
                        " t SET ",
                        stringify!($mac),
                        " = v.mac FROM unnest($1, $2) AS v (id, mac) WHERE t.",
                        stringify!($key),
                        " = v.id"
                    ))
                    .bind::<Array<$sql>, _>(&keys)
                    .bind::<Array<Binary>, _>(&macs)
                    .execute(c)?;
                }
                AnyConnection::Sqlite(c) => {
                    for (key, mac) in keys.iter().zip(&macs) {
                        prepared(concat!(
                            "UPDATE ",
                            stringify!($table),
                            " SET ",
                            stringify!($mac),
                            " = ? WHERE ",
                            stringify!($key),
                            " = ?"
                        ))
                        .bind::<Binary, _>(mac)
                        .bind::<$sql, _>(key)
                        .execute(c)?;
                    }
                }
            }
            match keys.last() {
                Some(key) => last = Some(key.clone()),
                None => break,
            }
        }
    }};
}

/// What announces changes of rows to other nodes, of which there are none while a database is converted.
const ANNOUNCED: &[&str] = &["users", "sessions", "api_keys", "applications"];

/// Binds the rows of a database of before, and those that migrations put into a new one, as they are.
pub(super) fn bind_all(tx: &mut Tx<'_>, _: &Macs, _: &Entropy) -> Result<(), StoreError> {
    let switch = |tx: &mut Tx<'_>, how: &str| {
        let switches: Vec<String> =
            ANNOUNCED.iter().map(|table| format!("ALTER TABLE {table} {how} TRIGGER usher_touch")).collect();
        if tx.0.is_postgres() { tx.0.batch_execute(&switches.join("; ")) } else { Ok(()) }
    };
    switch(tx, "DISABLE")?;
    bind_table!(tx, Session, sessions, session_id: crate::domain::ids::SessionId as sql::Uuid, mac);
    bind_table!(tx, ApiKey, api_keys, key_id: crate::domain::ids::ApiKeyId as sql::Uuid, mac);
    bind_table!(tx, Link, links, token_hash: TokenHash as Binary, mac);
    bind_table!(tx, Application, applications, application_id: crate::domain::ids::ApplicationId as sql::Uuid, mac);
    bind_table!(tx, LinkedAccount, linked_accounts, account_id: crate::domain::ids::LinkedAccountId as sql::Uuid, mac);
    bind_table!(tx, TotpCredential, totp_credentials, credential_id: crate::domain::ids::TotpId as sql::Uuid, mac);
    bind_table!(tx, User, users, user_id: UserId as sql::Uuid, credential_mac);
    // Of a code the database has no key of its own; codes are random, and no two are alike.
    bind_table!(tx, RecoveryCode, recovery_codes, code_hash: TokenHash as Binary, mac);
    Ok(switch(tx, "ENABLE")?)
}
