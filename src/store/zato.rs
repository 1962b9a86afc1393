//! The users of a Zato SSO database and what it keeps with them, read to move them here.
//!
//! The database is somebody else's: it is read on a connection that cannot write, in one state to the end. Its columns have other types on
//! each kind of database, so each is cast to what both have.

use super::connection::{AnyConnection, Location, Purpose};
use super::error::StoreError;
use crate::domain::zato_attribute::{ZatoAttribute, ZatoLink};
use crate::domain::zato_user::ZatoUser;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

/// Users read at a time.
const PAGE: i64 = 500;

const SELECT: &str = "\
    SELECT CAST(id AS BIGINT) AS id, CAST(user_id AS TEXT) AS user_id, CAST(username AS TEXT) AS username, \
    CAST(password AS TEXT) AS password, CASE WHEN password_is_set THEN 1 ELSE 0 END AS password_is_set, \
    CASE WHEN password_must_change THEN 1 ELSE 0 END AS password_must_change, CAST(password_expiry AS TEXT) AS password_expiry, \
    CAST(email AS TEXT) AS email, CAST(display_name AS TEXT) AS display_name, CAST(first_name AS TEXT) AS first_name, \
    CAST(middle_name AS TEXT) AS middle_name, CAST(last_name AS TEXT) AS last_name, \
    CASE WHEN is_super_user THEN 1 ELSE 0 END AS is_super_user, CASE WHEN is_locked THEN 1 ELSE 0 END AS is_locked, \
    CAST(approval_status AS TEXT) AS approval_status, CAST(sign_up_status AS TEXT) AS sign_up_status, \
    CAST(sign_up_time AS TEXT) AS sign_up_time, CASE WHEN is_totp_enabled THEN 1 ELSE 0 END AS is_totp_enabled, \
    CAST(totp_key AS TEXT) AS totp_key, CAST(totp_label AS TEXT) AS totp_label \
    FROM zato_sso_user WHERE id > $1 ORDER BY id LIMIT $2";

const ATTRIBUTES: &str = "\
    SELECT CAST(u.id AS BIGINT) AS owner, CAST(a.name AS TEXT) AS name, CAST(a.value AS TEXT) AS value, \
    CAST(a.serial_method AS TEXT) AS serial_method, CASE WHEN a.is_encrypted THEN 1 ELSE 0 END AS is_encrypted, \
    CAST(a.expiration_time AS TEXT) AS expiration_time \
    FROM zato_sso_attr a JOIN zato_sso_user u ON u.user_id = a.user_id \
    WHERE NOT a.is_session_attr AND u.id BETWEEN $1 AND $2 ORDER BY u.id, a.name";

// One schema refers to a user's public id there, another to its place.
const LINKS: &str = "\
    SELECT CAST(u.id AS BIGINT) AS owner, CAST(l.auth_id AS BIGINT) AS auth_id \
    FROM zato_sso_linked_auth l JOIN zato_sso_user u ON CAST(l.user_id AS TEXT) IN (u.user_id, CAST(u.id AS TEXT)) \
    WHERE u.id BETWEEN $1 AND $2 ORDER BY u.id, l.auth_id";

/// Users of Zato SSO, page by page in the order in which they were made.
pub struct ZatoUsers {
    connection: AnyConnection,
    last: i64,
}

impl ZatoUsers {
    /// Opens the database.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn open(location: &Location) -> Result<Self, StoreError> {
        let mut connection = AnyConnection::open(location, Purpose::Foreign)?;
        connection.begin_snapshot()?;
        Ok(Self { connection, last: i64::MIN })
    }

    /// The next page; empty at the end.
    ///
    /// # Errors
    /// The database fails, or has no users of Zato SSO.
    pub fn next_page(&mut self) -> Result<Vec<ZatoUser>, StoreError> {
        let query = diesel::sql_query(SELECT).bind::<BigInt, _>(self.last).bind::<BigInt, _>(PAGE);
        let page: Vec<ZatoUser> = query.load(&mut self.connection)?;
        self.last = page.last().map_or(self.last, |user| user.id);
        Ok(page)
    }

    /// The attributes of the users in these places, but those of their sessions.
    ///
    /// # Errors
    /// The database fails, or has no attributes of Zato SSO.
    pub fn attributes(&mut self, first: i64, last: i64) -> Result<Vec<ZatoAttribute>, StoreError> {
        Ok(diesel::sql_query(ATTRIBUTES).bind::<BigInt, _>(first).bind::<BigInt, _>(last).load(&mut self.connection)?)
    }

    /// The linked accounts of the users in these places.
    ///
    /// # Errors
    /// The database fails, or has no linked accounts of Zato SSO.
    pub fn links(&mut self, first: i64, last: i64) -> Result<Vec<ZatoLink>, StoreError> {
        Ok(diesel::sql_query(LINKS).bind::<BigInt, _>(first).bind::<BigInt, _>(last).load(&mut self.connection)?)
    }

    /// Begins again, in the same state.
    pub fn rewind(&mut self) {
        self.last = i64::MIN;
    }
}
