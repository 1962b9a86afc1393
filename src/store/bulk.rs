//! Many rows at once: what an import looks up and inserts.
//!
//! The rows of a batch are looked up in a handful of queries and inserted table by table. On PostgreSQL that is a `COPY` for each table,
//! which costs one round trip whatever the number of rows. SQLite has no round trips: there it is one prepared statement for each
//! table, run for each row. Both need the connection itself instead of the type that stands for both.

use super::connection::AnyConnection;
use super::error::StoreError;
use super::search::{Terms, user_order, user_search};
use super::users::{Counter, sign_in_names};
use super::{Snapshot, Tx};
use crate::domain::group::{Group, group_members, groups};
use crate::domain::ids::{GroupId, UserId};
use crate::domain::time::Utc;
use crate::domain::user::{Account, User, users};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text};
use std::collections::{HashMap, HashSet};

/// Below so many rows a statement for each is as good as a `COPY`.
pub(super) const FEW: usize = 4;

/// Inserts rows into a table.
macro_rules! insert_rows {
    ($connection:expr, $table:expr, $rows:expr) => {{
        let rows = $rows;
        let inserted: diesel::QueryResult<()> = match $connection {
            AnyConnection::Postgres(c) if rows.len() > $crate::store::bulk::FEW => {
                diesel::copy_from($table).from_insertable(rows).execute(c).map(drop)
            }
            AnyConnection::Postgres(c) => {
                rows.into_iter().try_for_each(|row| diesel::insert_into($table).values(row).execute(c).map(drop))
            }
            AnyConnection::Sqlite(c) => {
                rows.into_iter().try_for_each(|row| diesel::insert_into($table).values(row).execute(c).map(drop))
            }
        };
        inserted.map_err($crate::store::error::StoreError::from)
    }};
}

/// A user to be added.
#[derive(Clone)]
pub struct NewUserRow {
    /// The user; its number is given when it is added.
    pub user: User,
    /// What finds it.
    pub terms: Terms,
    /// The groups that it is in.
    pub groups: Vec<GroupId>,
}

#[derive(Insertable)]
#[diesel(table_name = sign_in_names, treat_none_as_default_value = false)]
struct NameRow<'a> {
    name_key: &'a str,
    user_id: UserId,
}

#[derive(Insertable)]
#[diesel(table_name = group_members, treat_none_as_default_value = false)]
struct MemberRow {
    group_id: GroupId,
    user_id: UserId,
}

#[derive(Insertable)]
#[diesel(table_name = user_search, treat_none_as_default_value = false)]
struct TermRow<'a> {
    term: &'a str,
    user_id: UserId,
    is_field: bool,
    is_person: bool,
}

#[derive(Insertable)]
#[diesel(table_name = user_order, treat_none_as_default_value = false)]
struct OrderRow<'a> {
    user_id: UserId,
    sort_key: &'a str,
}

/// Adds what finds users, of which there must be nothing yet.
pub(super) fn insert_terms(connection: &mut AnyConnection, users: &[(UserId, &Terms)]) -> Result<(), StoreError> {
    let mut rows: Vec<TermRow<'_>> = Vec::new();
    for (user_id, terms) in users {
        rows.extend(terms.terms.iter().map(|(term, kind)| TermRow {
            term,
            user_id: *user_id,
            is_field: kind.is_field,
            is_person: kind.is_person,
        }));
    }
    // In the order of the index: what many users have in common comes to one place of it.
    rows.sort_unstable_by(|a, b| (a.term, a.user_id).cmp(&(b.term, b.user_id)));
    insert_rows!(&mut *connection, user_search::table, rows)?;
    let mut rows: Vec<OrderRow<'_>> =
        users.iter().map(|(user_id, terms)| OrderRow { user_id: *user_id, sort_key: &terms.sort_key }).collect();
    rows.sort_unstable_by_key(|row| row.user_id);
    insert_rows!(connection, user_order::table, rows)
}

impl Snapshot<'_> {
    /// Of these external ids, those that a user has.
    ///
    /// # Errors
    /// The database fails.
    pub fn known_external_ids(&mut self, ids: &[&str]) -> Result<HashSet<String>, StoreError> {
        let found: Vec<Option<String>> =
            users::table.filter(users::external_id.eq_any(ids)).select(users::external_id).load(self.0)?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Of these keys of names, those that sign someone in, with whom.
    ///
    /// # Errors
    /// The database fails.
    pub fn bearers_of_names(&mut self, keys: &[&str]) -> Result<HashMap<String, UserId>, StoreError> {
        let found: Vec<(String, UserId)> = sign_in_names::table.filter(sign_in_names::name_key.eq_any(keys)).load(self.0)?;
        Ok(found.into_iter().collect())
    }

    /// Of these ids, those of users.
    ///
    /// # Errors
    /// The database fails.
    pub fn known_users(&mut self, ids: &[UserId]) -> Result<HashSet<UserId>, StoreError> {
        let found: Vec<UserId> = users::table.filter(users::user_id.eq_any(ids)).select(users::user_id).load(self.0)?;
        Ok(found.into_iter().collect())
    }
}

#[derive(diesel::QueryableByName)]
struct Version {
    #[diesel(sql_type = BigInt)]
    data_version: i64,
}

impl Tx<'_> {
    /// What SQLite calls the state of the file: it is another one after another connection has written. PostgreSQL has none.
    ///
    /// # Errors
    /// The database fails.
    pub fn version_of_file(&mut self) -> Result<Option<i64>, StoreError> {
        if self.0.is_postgres() {
            return Ok(None);
        }
        Ok(Some(diesel::sql_query("PRAGMA data_version").get_result::<Version>(self.0)?.data_version))
    }

    /// The groups whose names have these keys, held so that nobody removes them until the transaction ends.
    ///
    /// # Errors
    /// The database fails.
    pub fn hold_groups_by_name(&mut self, keys: &[&str]) -> Result<Vec<Group>, StoreError> {
        if let AnyConnection::Postgres(c) = self.0 {
            // In one order, so that two who hold several never wait for each other crosswise.
            diesel::sql_query("SELECT 1 FROM groups WHERE name_key = ANY($1) ORDER BY group_id FOR KEY SHARE")
                .bind::<Array<Text>, _>(keys)
                .execute(c)?;
        }
        Ok(groups::table.filter(groups::name_key.eq_any(keys)).load(self.0)?)
    }

    /// The accounts of these external ids, held so that nobody else changes them until the transaction ends.
    ///
    /// # Errors
    /// The database fails.
    pub fn hold_users_by_external_id(&mut self, ids: &[&str], now: Utc) -> Result<Vec<Account>, StoreError> {
        if let AnyConnection::Postgres(c) = self.0 {
            diesel::sql_query("SELECT 1 FROM users WHERE external_id = ANY($1) ORDER BY user_id FOR UPDATE")
                .bind::<Array<Text>, _>(ids)
                .execute(c)?;
        }
        let found: Vec<UserId> = users::table.filter(users::external_id.eq_any(ids)).select(users::user_id).load(self.0)?;
        self.read().accounts_of(&found, now)
    }

    /// Adds users and gives them their numbers, in their order.
    ///
    /// # Errors
    /// A unique value is taken, or the database fails: then some may have been added, and the transaction must not be kept.
    pub fn insert_users(&mut self, rows: &mut [NewUserRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let last = diesel::sql_query("UPDATE counters SET value = value + $1 WHERE name = 'user_number' RETURNING value")
            .bind::<BigInt, _>(count)
            .get_result::<Counter>(self.0)?
            .value;
        rows.iter_mut().zip(last - count + 1..).for_each(|(row, number)| {
            row.user.number = number;
            self.1.bind(&mut row.user);
        });
        insert_rows!(self.0, users::table, rows.iter().map(|row| &row.user).collect::<Vec<_>>())?;
        let names = rows.iter().flat_map(|row| {
            let user = &row.user;
            let login_name = (user.login_name_key != user.username_key).then_some(&user.login_name_key);
            [Some(&user.username_key), login_name]
                .into_iter()
                .flatten()
                .map(|key| NameRow { name_key: key, user_id: user.user_id })
        });
        insert_rows!(self.0, sign_in_names::table, names.collect::<Vec<_>>())?;
        insert_terms(self.0, &rows.iter().map(|row| (row.user.user_id, &row.terms)).collect::<Vec<_>>())?;
        let members = rows.iter().flat_map(|row| {
            let user_id = row.user.user_id;
            row.groups.iter().map(move |group_id| MemberRow { group_id: *group_id, user_id })
        });
        insert_rows!(self.0, group_members::table, members.collect::<Vec<_>>())
    }
}
