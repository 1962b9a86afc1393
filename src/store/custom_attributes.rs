//! Custom attributes of users and sessions. Whoever changes them holds their holder first: the attributes of one holder are changed one
//! after the other, so that the last one wins and the bounds on their number hold.

use super::connection::Db;
use super::error::StoreError;
use super::{Snapshot, Tx};
use crate::domain::custom_attribute::{AttributeName, CustomAttribute, Holder, custom_attributes};
use crate::domain::ids::AttributeId;
use crate::domain::sql;
use crate::domain::time::Utc;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

fn of_holder(holder: Holder) -> custom_attributes::BoxedQuery<'static, Db> {
    let all = custom_attributes::table.into_boxed();
    match holder {
        Holder::User(user_id) => all.filter(custom_attributes::user_id.eq(user_id)),
        Holder::Session(session_id) => all.filter(custom_attributes::session_id.eq(session_id)),
    }
}

impl Snapshot<'_> {
    /// The attributes of a holder that have not expired, by name.
    ///
    /// # Errors
    /// The database fails.
    pub fn attributes_of(&mut self, holder: Holder, now: Utc) -> Result<Vec<CustomAttribute>, StoreError> {
        let live = custom_attributes::expiry.is_null().or(custom_attributes::expiry.gt(now));
        Ok(of_holder(holder).filter(live).order(custom_attributes::name.asc()).load(self.0)?)
    }

    /// The attribute of this name, if it has not expired.
    ///
    /// # Errors
    /// The database fails.
    pub fn attribute(&mut self, holder: Holder, name: &AttributeName, now: Utc) -> Result<Option<CustomAttribute>, StoreError> {
        let live = custom_attributes::expiry.is_null().or(custom_attributes::expiry.gt(now));
        let named = of_holder(holder).filter(custom_attributes::name.eq(name.clone()));
        Ok(named.filter(live).get_result(self.0).optional()?)
    }
}

impl Tx<'_> {
    /// All attributes of a holder, expired or not. They and the holder are held until the transaction ends; `None` if there is no such
    /// holder.
    ///
    /// # Errors
    /// The database fails.
    pub fn hold_attributes(&mut self, holder: Holder) -> Result<Option<Vec<CustomAttribute>>, StoreError> {
        let (is_there, column, id) = match holder {
            Holder::User(id) => (self.hold_user(id)?.is_some(), "user_id", *id.as_bytes()),
            Holder::Session(id) => (self.hold_session(id)?.is_some(), "session_id", *id.as_bytes()),
        };
        if !is_there {
            return Ok(None);
        }
        if self.0.is_postgres() {
            // In the order in which a rotation of data keys takes them.
            let hold = format!("SELECT 1 FROM custom_attributes WHERE {column} = $1 ORDER BY attribute_id FOR UPDATE");
            diesel::sql_query(hold).bind::<sql::Uuid, _>(AttributeId::from_bytes(id)).execute(self.0)?;
        }
        Ok(Some(of_holder(holder).order(custom_attributes::name.asc()).load(self.0)?))
    }

    /// Adds an attribute.
    ///
    /// # Errors
    /// The database fails.
    pub fn insert_attribute(&mut self, attribute: &CustomAttribute) -> Result<(), StoreError> {
        diesel::insert_into(custom_attributes::table).values(attribute).execute(self.0)?;
        Ok(())
    }

    /// Writes an attribute back that was held.
    ///
    /// # Errors
    /// The database fails.
    pub fn save_attribute(&mut self, attribute: &CustomAttribute) -> Result<(), StoreError> {
        diesel::update(custom_attributes::table.find(attribute.attribute_id)).set(attribute).execute(self.0)?;
        Ok(())
    }

    /// Removes an attribute.
    ///
    /// # Errors
    /// The database fails.
    pub fn delete_attribute(&mut self, attribute_id: AttributeId) -> Result<(), StoreError> {
        diesel::delete(custom_attributes::table.find(attribute_id)).execute(self.0)?;
        Ok(())
    }

    /// Removes up to `limit` attributes that have expired; tells how many. What another node holds is left to it.
    ///
    /// # Errors
    /// The database fails.
    pub fn sweep_attributes(&mut self, now: Utc, limit: i64) -> Result<usize, StoreError> {
        let skip = if self.0.is_postgres() { " FOR UPDATE SKIP LOCKED" } else { "" };
        let expired =
            format!("SELECT attribute_id FROM custom_attributes WHERE expiry <= $1 ORDER BY attribute_id LIMIT $2{skip}");
        Ok(diesel::sql_query(format!("DELETE FROM custom_attributes WHERE attribute_id IN ({expired})"))
            .bind::<sql::Instant, _>(now)
            .bind::<BigInt, _>(limit)
            .execute(self.0)?)
    }
}
