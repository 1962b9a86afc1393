//! Users, the names they sign in with, and their groups.

use super::bulk::NewUserRow;
use super::connection::AnyConnection;
use super::error::StoreError;
use super::prepared::{Statement as _, prepared};
use super::rows::{bound, held};
use super::search::Terms;
use super::sessions::Opener;
use super::{Snapshot, Tx, is_unstorable};
use crate::domain::group::{group_members, groups};
use crate::domain::ids::{GroupId, UserId};
use crate::domain::row_mac::BoundRow as _;
use crate::domain::sql;
use crate::domain::text::Name;
use crate::domain::time::Utc;
use crate::domain::user::{Account, GroupRef, SignUpStatus, User, UserRole, users};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use std::collections::HashMap;

diesel::table! {
    use crate::domain::sql;
    use diesel::sql_types::*;

    /// The names that sign in.
    sign_in_names (name_key) {
        /// The name's key.
        name_key -> Text,
        /// Whom it names.
        user_id -> sql::Uuid,
    }
}

diesel::joinable!(sign_in_names -> users (user_id));
diesel::allow_tables_to_appear_in_same_query!(sign_in_names, users);

impl Snapshot<'_> {
    /// The user of this id.
    ///
    /// # Errors
    /// The database fails.
    pub fn user(&mut self, user_id: UserId) -> Result<Option<User>, StoreError> {
        held(users::table.find(user_id).get_result(self.0).optional()?, self.1)
    }

    /// The user whose username or login name has this key.
    ///
    /// # Errors
    /// The database fails.
    pub fn user_by_name(&mut self, name_key: &str) -> Result<Option<User>, StoreError> {
        if is_unstorable(name_key) {
            return Ok(None);
        }
        let named = sign_in_names::table.inner_join(users::table).filter(sign_in_names::name_key.eq(name_key));
        held(named.select(users::all_columns).get_result(self.0).optional()?, self.1)
    }

    /// Up to `limit` confirmed users whose e-mail address has this key.
    ///
    /// # Errors
    /// The database fails.
    pub fn users_by_email(&mut self, email_key: &str, limit: i64) -> Result<Vec<User>, StoreError> {
        if is_unstorable(email_key) {
            return Ok(Vec::new());
        }
        let found = users::table.filter(users::email_key.eq(email_key).and(users::sign_up_status.eq(SignUpStatus::Final)));
        let found: Vec<User> = found.order(users::user_id.asc()).limit(limit).load(self.0)?;
        Ok(found.into_iter().filter(|user| self.1.confirm(user)).collect())
    }

    /// Up to `limit` users who signed up before `before` and did not confirm it, and have no link left to do so.
    ///
    /// # Errors
    /// The database fails.
    pub fn unconfirmed_users(&mut self, before: Utc, now: Utc, limit: i64) -> Result<Vec<UserId>, StoreError> {
        // The status is spelt out for the sake of the partial index.
        let stale = "SELECT user_id FROM users u WHERE u.sign_up_status = 'before_confirmation' AND u.created_time < $1 \
                     AND u.creation_ctx LIKE '%\"via\":\"sign_up\"%' \
                     AND NOT EXISTS (SELECT 1 FROM links l WHERE l.user_id = u.user_id AND l.expiry > $2) ORDER BY u.created_time LIMIT $3";
        let found: Vec<Named> = diesel::sql_query(stale)
            .bind::<sql::Instant, _>(before)
            .bind::<sql::Instant, _>(now)
            .bind::<BigInt, _>(limit)
            .load(self.0)?;
        Ok(found.into_iter().map(|named| named.user_id).collect())
    }

    /// The number of the user of this id.
    ///
    /// # Errors
    /// The database fails.
    pub fn number_of_user(&mut self, user_id: UserId) -> Result<Option<i64>, StoreError> {
        Ok(users::table.find(user_id).select(users::number).get_result(self.0).optional()?)
    }

    /// The numbers and ids of the first users after a number.
    ///
    /// # Errors
    /// The database fails.
    pub fn users_after(&mut self, number: i64, limit: i64) -> Result<Vec<(i64, UserId)>, StoreError> {
        let beyond = users::table.filter(users::number.gt(number)).order(users::number.asc()).limit(limit);
        Ok(beyond.select((users::number, users::user_id)).load(self.0)?)
    }

    /// The id of the user of this number.
    ///
    /// # Errors
    /// The database fails.
    pub fn user_of_number(&mut self, number: i64) -> Result<Option<UserId>, StoreError> {
        Ok(users::table.filter(users::number.eq(number)).select(users::user_id).get_result(self.0).optional()?)
    }

    /// `user` with what hangs on it.
    ///
    /// # Errors
    /// The database fails.
    pub fn account(&mut self, user: User, now: Utc) -> Result<Account, StoreError> {
        let groups: Vec<(GroupId, Name)> = group_members::table
            .inner_join(groups::table)
            .filter(group_members::user_id.eq(user.user_id))
            .order(groups::name_key.asc())
            .select((groups::group_id, groups::name))
            .load(self.0)?;
        let groups = groups.into_iter().map(|(group_id, name)| GroupRef { group_id, name }).collect();
        Ok(Account { user, groups, enrolment: None, as_of: now })
    }

    /// The accounts of these ids, in no order.
    ///
    /// # Errors
    /// The database fails.
    pub(super) fn accounts_of(&mut self, ids: &[UserId], now: Utc) -> Result<Vec<Account>, StoreError> {
        let found: Vec<User> = users::table.filter(users::user_id.eq_any(ids)).load(self.0)?;
        let mut groups = self.groups_of(ids)?;
        let account = |user: User| {
            let groups = groups.remove(&user.user_id).unwrap_or_default();
            Account { user, groups, enrolment: None, as_of: now }
        };
        Ok(found.into_iter().map(account).collect())
    }

    /// Whether there are no users at all.
    ///
    /// # Errors
    /// The database fails.
    pub fn has_no_users(&mut self) -> Result<bool, StoreError> {
        let any: Option<i64> = users::table.select(users::number).limit(1).get_result(self.0).optional()?;
        Ok(any.is_none())
    }

    /// All users who are administrators.
    ///
    /// # Errors
    /// The database fails.
    pub fn administrators(&mut self) -> Result<Vec<User>, StoreError> {
        let found: Vec<User> = users::table.filter(users::user_role.eq(UserRole::Administrator)).load(self.0)?;
        Ok(found.into_iter().filter(|user| self.1.confirm(user)).collect())
    }

    fn groups_of(&mut self, ids: &[UserId]) -> Result<HashMap<UserId, Vec<GroupRef>>, StoreError> {
        let rows: Vec<(UserId, GroupId, Name)> = group_members::table
            .inner_join(groups::table)
            .filter(group_members::user_id.eq_any(ids))
            .order(groups::name_key.asc())
            .select((group_members::user_id, groups::group_id, groups::name))
            .load(self.0)?;
        let mut of: HashMap<UserId, Vec<GroupRef>> = HashMap::new();
        for (user_id, group_id, name) in rows {
            of.entry(user_id).or_default().push(GroupRef { group_id, name });
        }
        Ok(of)
    }
}

#[derive(diesel::QueryableByName)]
struct Named {
    #[diesel(sql_type = sql::Uuid)]
    user_id: UserId,
}

#[derive(diesel::QueryableByName)]
pub(super) struct Counter {
    #[diesel(sql_type = BigInt)]
    pub(super) value: i64,
}

/// The next number of a counter.
pub(super) fn next_number(connection: &mut AnyConnection, counter: &str) -> Result<i64, StoreError> {
    let next = diesel::sql_query("UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value");
    Ok(next.bind::<Text, _>(counter).get_result::<Counter>(connection)?.value)
}

impl Tx<'_> {
    /// Adds a user and gives it its number.
    ///
    /// # Errors
    /// A unique value is taken, or the database fails.
    pub fn insert_user(&mut self, user: &mut User) -> Result<(), StoreError> {
        let mut row = [NewUserRow { terms: Terms::of(user), user: user.clone(), groups: Vec::new() }];
        self.insert_users(&mut row).map_err(|e| name_taken(user, e))?;
        let [row] = row;
        *user = row.user;
        Ok(())
    }

    /// The user of this id, held so that nobody else changes it until the transaction ends.
    ///
    /// # Errors
    /// The database fails.
    pub fn hold_user(&mut self, user_id: UserId) -> Result<Option<User>, StoreError> {
        // SQLite's write lock holds everything.
        if self.0.is_postgres() {
            prepared("SELECT 1 FROM users WHERE user_id = ? FOR UPDATE").bind::<sql::Uuid, _>(user_id).execute(self.0)?;
        }
        self.read().user(user_id)
    }

    /// Writes a user back that was held.
    ///
    /// # Errors
    /// A unique value is taken, or the database fails.
    pub fn save_user(&mut self, before: &User, after: &User) -> Result<(), StoreError> {
        // What somebody altered is not bound anew by a change of something else.
        if !self.1.confirm(before) {
            return Err(StoreError::Altered(User::TABLE));
        }
        let after = &bound(after, self.1);
        let saved = diesel::update(users::table.find(after.user_id)).set(after).execute(self.0);
        saved.map_err(|e| name_taken(after, e.into()))?;
        // A link that was mailed is for the mailbox and the password there were: whichever way either changes, it ends.
        if (&before.password_hash, &before.email) != (&after.password_hash, &after.email) {
            self.end_links(after.user_id)?;
        }
        if (&before.username_key, &before.login_name_key) != (&after.username_key, &after.login_name_key) {
            diesel::delete(sign_in_names::table.filter(sign_in_names::user_id.eq(after.user_id))).execute(self.0)?;
            self.insert_names(after)?;
        }
        self.index_user(before, after)
    }

    /// Removes a user with all that hangs on it. What remains are the ids in the audit trail: the values go with the deletion's event.
    ///
    /// # Errors
    /// The database fails.
    pub fn delete_user(&mut self, user_id: UserId) -> Result<(), StoreError> {
        self.hold_sessions(Opener::User(user_id))?;
        self.part_linked_accounts(user_id)?;
        diesel::delete(users::table.find(user_id)).execute(self.0)?;
        Ok(())
    }

    /// Until the transaction ends, nobody else decides on who is a super-user.
    ///
    /// # Errors
    /// The database fails.
    pub fn hold_super_users(&mut self) -> Result<(), StoreError> {
        prepared("UPDATE counters SET value = value + 1 WHERE name = 'super_users'").execute(self.0)?;
        Ok(())
    }

    /// Writes what a sign-in alone changes of a user that was held.
    ///
    /// # Errors
    /// The database fails.
    pub fn save_sign_in(&mut self, after: &User) -> Result<(), StoreError> {
        prepared(
            "UPDATE users SET login_count = ?, failed_login_count = ?, login_time = ?, login_station = ?, active_time = ? \
             WHERE user_id = ?",
        )
        .bind::<BigInt, _>(after.login_count)
        .bind::<BigInt, _>(after.failed_login_count)
        .bind::<Nullable<sql::Instant>, _>(after.login_time)
        .bind::<Nullable<Text>, _>(after.login_station.as_deref())
        .bind::<Nullable<sql::Instant>, _>(after.active_time)
        .bind::<sql::Uuid, _>(after.user_id)
        .execute(self.0)?;
        Ok(())
    }

    /// Counts a failed sign-in. A right one sets the count back.
    ///
    /// # Errors
    /// The database fails.
    pub fn count_failure(&mut self, user_id: UserId) -> Result<(), StoreError> {
        prepared("UPDATE users SET failed_login_count = failed_login_count + 1 WHERE user_id = ?")
            .bind::<sql::Uuid, _>(user_id)
            .execute(self.0)?;
        Ok(())
    }

    /// Counts a sign-in by a name that nobody bears.
    ///
    /// # Errors
    /// The database fails.
    pub fn count_stranger(&mut self) -> Result<(), StoreError> {
        prepared("UPDATE counters SET value = value + 1 WHERE name = 'strangers'").execute(self.0)?;
        Ok(())
    }

    /// Takes one failed sign-in back that turned out to be none.
    ///
    /// # Errors
    /// The database fails.
    pub fn uncount_failure(&mut self, user_id: UserId) -> Result<(), StoreError> {
        diesel::update(users::table.find(user_id).filter(users::failed_login_count.gt(0)))
            .set(users::failed_login_count.eq(users::failed_login_count - 1))
            .execute(self.0)?;
        Ok(())
    }

    /// Sets the count of failed sign-ins back.
    ///
    /// # Errors
    /// The database fails.
    pub fn forgive_failures(&mut self, user_id: UserId) -> Result<(), StoreError> {
        diesel::update(users::table.find(user_id)).set(users::failed_login_count.eq(0)).execute(self.0)?;
        Ok(())
    }

    /// Notes that a user acted, to the minute.
    ///
    /// # Errors
    /// The database fails.
    pub fn touch_user(&mut self, user_id: UserId, now: Utc) -> Result<(), StoreError> {
        let stale = users::active_time.is_null().or(users::active_time.lt(now));
        diesel::update(users::table.find(user_id).filter(stale)).set(users::active_time.eq(now)).execute(self.0)?;
        Ok(())
    }

    fn insert_names(&mut self, user: &User) -> Result<(), StoreError> {
        let mut keys = vec![&user.username_key];
        if user.login_name_key != user.username_key {
            keys.push(&user.login_name_key);
        }
        for key in keys {
            diesel::sql_query("INSERT INTO sign_in_names (name_key, user_id) VALUES ($1, $2)")
                .bind::<Text, _>(key)
                .bind::<sql::Uuid, _>(user.user_id)
                .execute(self.0)
                .map_err(|e| name_taken(user, e.into()))?;
        }
        Ok(())
    }
}

/// Where username and login name are one, it is the username that is taken, whichever key the database looked at first.
fn name_taken(user: &User, error: StoreError) -> StoreError {
    match error {
        StoreError::Taken("login_name") if user.username_key == user.login_name_key => StoreError::Taken("username"),
        error => error,
    }
}
