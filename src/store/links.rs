//! Links: of a token the database has only the hash, and finds the link by it.
//!
//! Whoever uses a link holds its user first, then removes it: whichever of many gets to remove it has used it.

use super::error::StoreError;
use super::rows::{bound, held};
use super::{Snapshot, Tx};
use crate::domain::ids::UserId;
use crate::domain::link::{Link, LinkPurpose, links};
use crate::domain::secret::TokenHash;
use crate::domain::sql;
use crate::domain::time::Utc;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

impl Snapshot<'_> {
    /// The link whose token has this hash.
    ///
    /// # Errors
    /// The database fails.
    pub fn link(&mut self, token_hash: &TokenHash) -> Result<Option<Link>, StoreError> {
        held(links::table.find(token_hash).get_result(self.0).optional()?, self.1)
    }
}

impl Tx<'_> {
    /// Adds a link.
    ///
    /// # Errors
    /// The database fails.
    pub fn insert_link(&mut self, link: &Link) -> Result<(), StoreError> {
        diesel::insert_into(links::table).values(bound(link, self.1)).execute(self.0)?;
        Ok(())
    }

    /// Uses a link up; tells whether it was still there.
    ///
    /// # Errors
    /// The database fails.
    pub fn use_link(&mut self, token_hash: &TokenHash) -> Result<bool, StoreError> {
        Ok(diesel::delete(links::table.find(token_hash)).execute(self.0)? == 1)
    }

    /// Ends every link of a user.
    ///
    /// # Errors
    /// The database fails.
    pub fn end_links(&mut self, user_id: UserId) -> Result<(), StoreError> {
        diesel::delete(links::table.filter(links::user_id.eq(user_id))).execute(self.0)?;
        Ok(())
    }

    /// Ends the links of a user that are for this purpose.
    ///
    /// # Errors
    /// The database fails.
    pub fn end_links_for(&mut self, user_id: UserId, purpose: LinkPurpose) -> Result<(), StoreError> {
        diesel::delete(links::table.filter(links::user_id.eq(user_id).and(links::purpose.eq(purpose)))).execute(self.0)?;
        Ok(())
    }

    /// Ends the links by which others could confirm a sign-up with this e-mail address: whose mailbox it is has chosen.
    ///
    /// # Errors
    /// The database fails.
    pub fn end_rival_links(&mut self, user_id: UserId, email_key: &str) -> Result<(), StoreError> {
        let rivals = "DELETE FROM links WHERE purpose = 'confirm_sign_up' AND user_id <> $1 \
                      AND user_id IN (SELECT user_id FROM users WHERE email_key = $2)";
        diesel::sql_query(rivals).bind::<sql::Uuid, _>(user_id).bind::<diesel::sql_types::Text, _>(email_key).execute(self.0)?;
        Ok(())
    }

    /// Removes up to `limit` links that have expired; tells how many. What another node holds is left to it.
    ///
    /// # Errors
    /// The database fails.
    pub fn sweep_links(&mut self, now: Utc, limit: i64) -> Result<usize, StoreError> {
        let skip = if self.0.is_postgres() { " FOR UPDATE SKIP LOCKED" } else { "" };
        let stale = format!("SELECT token_hash FROM links WHERE expiry <= $1 ORDER BY token_hash LIMIT $2{skip}");
        Ok(diesel::sql_query(format!("DELETE FROM links WHERE token_hash IN ({stale})"))
            .bind::<sql::Instant, _>(now)
            .bind::<BigInt, _>(limit)
            .execute(self.0)?)
    }
}
