//! Groups and their members.

use super::error::StoreError;
use super::listing::Slice;
use super::users::next_number;
use super::{Snapshot, Tx, is_unstorable};
use crate::domain::group::{Group, group_members, groups};
use crate::domain::ids::{GroupId, UserId};
use crate::domain::sql;
use crate::domain::time::Utc;
use crate::domain::user::Account;
use diesel::prelude::*;

impl Snapshot<'_> {
    /// The group of this id.
    ///
    /// # Errors
    /// The database fails.
    pub fn group(&mut self, group_id: GroupId) -> Result<Option<Group>, StoreError> {
        Ok(groups::table.find(group_id).get_result(self.0).optional()?)
    }

    /// The group whose name has this key.
    ///
    /// # Errors
    /// The database fails.
    pub fn group_by_name(&mut self, name_key: &str) -> Result<Option<Group>, StoreError> {
        if is_unstorable(name_key) {
            return Ok(None);
        }
        Ok(groups::table.filter(groups::name_key.eq(name_key)).get_result(self.0).optional()?)
    }

    /// The groups that a user is in, by name.
    ///
    /// # Errors
    /// The database fails.
    pub fn groups_with(&mut self, user_id: UserId) -> Result<Vec<Group>, StoreError> {
        let found = group_members::table.inner_join(groups::table).filter(group_members::user_id.eq(user_id));
        Ok(found.order(groups::name_key.asc()).select(groups::all_columns).load(self.0)?)
    }

    /// Up to `limit` groups by name, after the name of this key.
    ///
    /// # Errors
    /// The database fails.
    pub fn groups(&mut self, after: Option<&str>, limit: i64) -> Result<Vec<Group>, StoreError> {
        let mut query = groups::table.into_boxed();
        if let Some(after) = after {
            query = query.filter(groups::name_key.gt(after));
        }
        Ok(query.order(groups::name_key.asc()).limit(limit).load(self.0)?)
    }

    /// Some groups the keys of whose names begin with each of these, by name; and how many there are.
    ///
    /// # Errors
    /// The database fails.
    pub fn groups_by_page(&mut self, prefixes: &[String], slice: Slice) -> Result<(Vec<Group>, i64), StoreError> {
        if prefixes.iter().any(|prefix| is_unstorable(prefix)) {
            return Ok((Vec::new(), 0));
        }
        let named = || {
            let any = groups::table.into_boxed();
            prefixes.iter().fold(any, |some, prefix| {
                some.filter(groups::name_key.ge(prefix)).filter(groups::name_key.lt(format!("{prefix}\u{10ffff}")))
            })
        };
        let found = named().order(groups::name_key.asc()).limit(slice.limit).offset(slice.offset).load(self.0)?;
        Ok((found, named().count().get_result(self.0)?))
    }

    /// Some members of a group in the order in which they were added; and how many there are.
    ///
    /// # Errors
    /// The database fails.
    pub fn members_by_page(&mut self, group_id: GroupId, slice: Slice, now: Utc) -> Result<(Vec<Account>, i64), StoreError> {
        let members = || group_members::table.filter(group_members::group_id.eq(group_id));
        let ids: Vec<UserId> = members()
            .select(group_members::user_id)
            .order((group_members::position.asc(), group_members::user_id.asc()))
            .limit(slice.limit)
            .offset(slice.offset)
            .load(self.0)?;
        Ok((self.accounts_in_order(&ids, now)?, members().count().get_result(self.0)?))
    }

    /// Up to `limit` members of a group in order of their ids, which is that of creation, after `after`.
    ///
    /// # Errors
    /// The database fails.
    pub fn members(
        &mut self,
        group_id: GroupId,
        after: Option<UserId>,
        limit: i64,
        now: Utc,
    ) -> Result<Vec<Account>, StoreError> {
        let mut query = group_members::table.filter(group_members::group_id.eq(group_id)).into_boxed();
        if let Some(after) = after {
            query = query.filter(group_members::user_id.gt(after));
        }
        let ids: Vec<UserId> =
            query.select(group_members::user_id).order(group_members::user_id.asc()).limit(limit).load(self.0)?;
        let mut members = self.accounts_of(&ids, now)?;
        members.sort_unstable_by_key(|account| account.user.user_id);
        Ok(members)
    }
}

impl Tx<'_> {
    /// Makes a group and gives it its number.
    ///
    /// # Errors
    /// Its name is taken, or the database fails.
    pub fn insert_group(&mut self, group: &Group) -> Result<Group, StoreError> {
        let group = Group { number: next_number(self.0, "group_number")?, ..group.clone() };
        diesel::insert_into(groups::table).values(&group).execute(self.0)?;
        Ok(group)
    }

    /// The group of this id, held so that nobody else changes it until the transaction ends.
    ///
    /// # Errors
    /// The database fails.
    pub fn hold_group(&mut self, group_id: GroupId) -> Result<Option<Group>, StoreError> {
        if self.0.is_postgres() {
            diesel::sql_query("SELECT 1 FROM groups WHERE group_id = $1 FOR UPDATE")
                .bind::<sql::Uuid, _>(group_id)
                .execute(self.0)?;
        }
        self.read().group(group_id)
    }

    /// Writes a group back that was held.
    ///
    /// # Errors
    /// The name is taken, or the database fails.
    pub fn save_group(&mut self, group: &Group) -> Result<(), StoreError> {
        diesel::update(groups::table.find(group.group_id)).set(group).execute(self.0)?;
        Ok(())
    }

    /// Removes a group; its members stay as users.
    ///
    /// # Errors
    /// The database fails.
    pub fn delete_group(&mut self, group_id: GroupId) -> Result<(), StoreError> {
        diesel::delete(groups::table.find(group_id)).execute(self.0)?;
        Ok(())
    }

    /// Adds a member behind the others, if it is none yet; tells whether it was none. Hold the group first.
    ///
    /// # Errors
    /// The database fails.
    pub fn add_member(&mut self, group_id: GroupId, user_id: UserId) -> Result<bool, StoreError> {
        let added = diesel::sql_query(
            "INSERT INTO group_members (group_id, user_id, position) \
            SELECT $1, $2, coalesce(max(position), 0) + 1 FROM group_members WHERE group_id = $3 \
            ON CONFLICT (group_id, user_id) DO NOTHING",
        )
        .bind::<sql::Uuid, _>(group_id)
        .bind::<sql::Uuid, _>(user_id)
        .bind::<sql::Uuid, _>(group_id)
        .execute(self.0)?;
        Ok(added > 0)
    }

    /// Takes a member out; tells whether it was one.
    ///
    /// # Errors
    /// The database fails.
    pub fn remove_member(&mut self, group_id: GroupId, user_id: UserId) -> Result<bool, StoreError> {
        Ok(diesel::delete(group_members::table.find((group_id, user_id))).execute(self.0)? > 0)
    }

    /// Takes a user out of every group.
    ///
    /// # Errors
    /// The database fails.
    pub fn leave_groups(&mut self, user_id: UserId) -> Result<(), StoreError> {
        diesel::delete(group_members::table.filter(group_members::user_id.eq(user_id))).execute(self.0)?;
        Ok(())
    }

    /// Takes everyone out of a group; tells whom, in order of creation.
    ///
    /// # Errors
    /// The database fails.
    pub fn empty_group(&mut self, group_id: GroupId) -> Result<Vec<UserId>, StoreError> {
        let of_group = || group_members::table.filter(group_members::group_id.eq(group_id));
        let members = of_group().select(group_members::user_id).order(group_members::user_id.asc()).load(self.0)?;
        diesel::delete(of_group()).execute(self.0)?;
        Ok(members)
    }
}
