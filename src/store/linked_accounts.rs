//! Linked accounts. A lock on one is taken after that on its user, like that on a session.

use super::error::StoreError;
use super::rows::{bound, held};
use super::{Snapshot, Tx, is_unstorable};
use crate::domain::ids::{LinkedAccountId, UserId};
use crate::domain::linked_account::{LinkedAccount, linked_accounts};
use crate::domain::sql;
use diesel::prelude::*;

impl Snapshot<'_> {
    /// The account whose name has this key.
    ///
    /// # Errors
    /// The database fails.
    pub fn linked_account_by_name(&mut self, name_key: &str) -> Result<Option<LinkedAccount>, StoreError> {
        if is_unstorable(name_key) {
            return Ok(None);
        }
        held(linked_accounts::table.filter(linked_accounts::name_key.eq(name_key)).get_result(self.0).optional()?, self.1)
    }

    /// The accounts that act as a user, or all of them, by name.
    ///
    /// # Errors
    /// The database fails.
    pub fn linked_accounts(&mut self, of: Option<UserId>) -> Result<Vec<LinkedAccount>, StoreError> {
        let mut query = linked_accounts::table.order(linked_accounts::name_key.asc()).into_boxed();
        if let Some(user_id) = of {
            query = query.filter(linked_accounts::user_id.eq(user_id));
        }
        Ok(query.load(self.0)?)
    }
}

impl Tx<'_> {
    /// Adds an account.
    ///
    /// # Errors
    /// The name is taken, or the database fails.
    pub fn insert_linked_account(&mut self, account: &LinkedAccount) -> Result<(), StoreError> {
        diesel::insert_into(linked_accounts::table).values(bound(account, self.1)).execute(self.0)?;
        Ok(())
    }

    /// The account of this id, held so that nobody else changes it until the transaction ends.
    ///
    /// # Errors
    /// The database fails.
    pub fn hold_linked_account(&mut self, account_id: LinkedAccountId) -> Result<Option<LinkedAccount>, StoreError> {
        if self.0.is_postgres() {
            diesel::sql_query("SELECT 1 FROM linked_accounts WHERE account_id = $1 FOR UPDATE")
                .bind::<sql::Uuid, _>(account_id)
                .execute(self.0)?;
        }
        held(linked_accounts::table.find(account_id).get_result(self.0).optional()?, self.1)
    }

    /// Writes an account back that was held.
    ///
    /// # Errors
    /// The database fails.
    pub fn save_linked_account(&mut self, account: &LinkedAccount) -> Result<(), StoreError> {
        diesel::update(linked_accounts::table.find(account.account_id)).set(bound(account, self.1)).execute(self.0)?;
        Ok(())
    }

    /// Removes an account.
    ///
    /// # Errors
    /// The database fails.
    pub fn delete_linked_account(&mut self, account_id: LinkedAccountId) -> Result<(), StoreError> {
        diesel::delete(linked_accounts::table.find(account_id)).execute(self.0)?;
        Ok(())
    }

    /// Parts all accounts from a user who is about to be removed.
    ///
    /// # Errors
    /// The database fails.
    pub(super) fn part_linked_accounts(&mut self, user_id: UserId) -> Result<(), StoreError> {
        for account in self.read().linked_accounts(Some(user_id))? {
            // One that somebody altered stays as it is, for the database to part: it opens nothing anyhow.
            if self.1.confirm(&account) {
                self.save_linked_account(&LinkedAccount { user_id: None, linked_time: None, session_id: None, ..account })?;
            }
        }
        Ok(())
    }

    /// Ends the session that was opened through an account, if there is one.
    ///
    /// # Errors
    /// The database fails.
    pub fn end_linked_session(&mut self, account: &LinkedAccount) -> Result<(), StoreError> {
        if let (Some(user_id), Some(session_id)) = (account.user_id, account.session_id) {
            self.end_session(user_id, session_id)?;
        }
        Ok(())
    }
}
