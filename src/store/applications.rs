//! Applications, and the groups that they list.

use super::error::StoreError;
use super::rows::{bound, held};
use super::sessions::Opener;
use super::{Snapshot, Tx, is_unstorable};
use crate::domain::application::{Access, Application, application_groups, applications};
use crate::domain::group::group_members;
use crate::domain::ids::{ApplicationId, GroupId, UserId};
use crate::domain::secret::TokenHash;
use crate::domain::sql;
use diesel::prelude::*;
use std::collections::HashMap;

diesel::allow_tables_to_appear_in_same_query!(application_groups, group_members);

impl Snapshot<'_> {
    /// The application whose name has this key.
    ///
    /// # Errors
    /// The database fails.
    pub fn application_by_name(&mut self, name_key: &str) -> Result<Option<Application>, StoreError> {
        if is_unstorable(name_key) {
            return Ok(None);
        }
        held(applications::table.filter(applications::name_key.eq(name_key)).get_result(self.0).optional()?, self.1)
    }

    /// The application of this id.
    ///
    /// # Errors
    /// The database fails.
    pub fn application(&mut self, application_id: ApplicationId) -> Result<Option<Application>, StoreError> {
        held(applications::table.find(application_id).get_result(self.0).optional()?, self.1)
    }

    /// All applications by name, each with the groups that it lists.
    ///
    /// # Errors
    /// The database fails.
    pub fn applications(&mut self) -> Result<Vec<(Application, Vec<GroupId>)>, StoreError> {
        let found: Vec<Application> = applications::table.order(applications::name_key.asc()).load(self.0)?;
        let rows: Vec<(ApplicationId, GroupId)> =
            application_groups::table.order(application_groups::group_id.asc()).load(self.0)?;
        let mut groups: HashMap<ApplicationId, Vec<GroupId>> = HashMap::new();
        for (application_id, group_id) in rows {
            groups.entry(application_id).or_default().push(group_id);
        }
        let with_groups = |application: Application| {
            let groups = groups.remove(&application.application_id).unwrap_or_default();
            (application, groups)
        };
        Ok(found.into_iter().map(with_groups).collect())
    }

    /// The groups that an application lists, in order of creation.
    ///
    /// # Errors
    /// The database fails.
    pub fn listed_groups(&mut self, application_id: ApplicationId) -> Result<Vec<GroupId>, StoreError> {
        Ok(application_groups::table
            .filter(application_groups::application_id.eq(application_id))
            .order(application_groups::group_id.asc())
            .select(application_groups::group_id)
            .load(self.0)?)
    }

    /// Whether a user is in a group that an application lists. Where the list is not asked, neither is the database.
    ///
    /// # Errors
    /// The database fails.
    pub fn is_in_listed_group(&mut self, application: &Application, user_id: UserId) -> Result<bool, StoreError> {
        match application.access {
            Access::Everyone => return Ok(false),
            Access::Listed | Access::Foreign(_) => {}
        }
        let shared: Option<GroupId> = application_groups::table
            .inner_join(group_members::table.on(group_members::group_id.eq(application_groups::group_id)))
            .filter(application_groups::application_id.eq(application.application_id))
            .filter(group_members::user_id.eq(user_id))
            .select(application_groups::group_id)
            .limit(1)
            .get_result(self.0)
            .optional()?;
        Ok(shared.is_some())
    }
}

impl Tx<'_> {
    /// Registers an application.
    ///
    /// # Errors
    /// Its name is taken, or the database fails.
    pub fn insert_application(&mut self, application: &Application) -> Result<(), StoreError> {
        diesel::insert_into(applications::table).values(bound(application, self.1)).execute(self.0)?;
        Ok(())
    }

    /// The application of this id, held so that nobody else changes it until the transaction ends.
    ///
    /// # Errors
    /// The database fails.
    pub fn hold_application(&mut self, application_id: ApplicationId) -> Result<Option<Application>, StoreError> {
        if self.0.is_postgres() {
            diesel::sql_query("SELECT 1 FROM applications WHERE application_id = $1 FOR UPDATE")
                .bind::<sql::Uuid, _>(application_id)
                .execute(self.0)?;
        }
        self.read().application(application_id)
    }

    /// Writes an application back that was held.
    ///
    /// # Errors
    /// Its name is taken, or the database fails.
    pub fn save_application(&mut self, application: &Application) -> Result<(), StoreError> {
        diesel::update(applications::table.find(application.application_id)).set(bound(application, self.1)).execute(self.0)?;
        Ok(())
    }

    /// Replaces the groups that an application lists. Hold the groups first.
    ///
    /// # Errors
    /// The database fails.
    pub fn list_groups(&mut self, application_id: ApplicationId, group_ids: &[GroupId]) -> Result<(), StoreError> {
        let listed = application_groups::table.filter(application_groups::application_id.eq(application_id));
        diesel::delete(listed).execute(self.0)?;
        for group_id in group_ids {
            diesel::insert_into(application_groups::table)
                .values((application_groups::application_id.eq(application_id), application_groups::group_id.eq(group_id)))
                .execute(self.0)?;
        }
        Ok(())
    }

    /// Gives an application that was held another key.
    ///
    /// # Errors
    /// The database fails.
    pub fn set_application_key(&mut self, held: Application, key_hash: &TokenHash) -> Result<(), StoreError> {
        self.save_application(&Application { key_hash: Some(key_hash.clone()), ..held })
    }

    /// Removes an application that was held, with the sessions that were opened through it.
    ///
    /// # Errors
    /// The database fails.
    pub fn delete_application(&mut self, application_id: ApplicationId) -> Result<(), StoreError> {
        self.hold_sessions(Opener::Application(application_id))?;
        diesel::delete(applications::table.find(application_id)).execute(self.0)?;
        Ok(())
    }
}
