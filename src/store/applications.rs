//! Applications.

use super::error::StoreError;
use super::{Snapshot, Tx, is_unstorable};
use crate::domain::application::{Application, applications};
use crate::domain::ids::ApplicationId;
use diesel::prelude::*;

impl Snapshot<'_> {
    /// The application whose name has this key.
    ///
    /// # Errors
    /// The database fails.
    pub fn application_by_name(&mut self, name_key: &str) -> Result<Option<Application>, StoreError> {
        if is_unstorable(name_key) {
            return Ok(None);
        }
        Ok(applications::table.filter(applications::name_key.eq(name_key)).get_result(self.0).optional()?)
    }

    /// All applications, by name.
    ///
    /// # Errors
    /// The database fails.
    pub fn applications(&mut self) -> Result<Vec<Application>, StoreError> {
        Ok(applications::table.order(applications::name_key.asc()).load(self.0)?)
    }
}

impl Tx<'_> {
    /// Registers an application.
    ///
    /// # Errors
    /// Its name is taken, or the database fails.
    pub fn insert_application(&mut self, application: &Application) -> Result<(), StoreError> {
        diesel::insert_into(applications::table).values(application).execute(self.0)?;
        Ok(())
    }

    /// Removes an application with the sessions that were opened through it; tells its name, if there was one.
    ///
    /// # Errors
    /// The database fails.
    pub fn delete_application(&mut self, application_id: ApplicationId) -> Result<Option<Application>, StoreError> {
        let found = applications::table.find(application_id).get_result(self.0).optional()?;
        diesel::delete(applications::table.find(application_id)).execute(self.0)?;
        Ok(found)
    }
}
