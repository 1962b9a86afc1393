//! The users of a Zato SSO database, read to move them here.
//!
//! The database is somebody else's: it is read on a connection that cannot write, in one state to the end. Its columns have other types on
//! each kind of database, so each is cast to what both have.

use super::connection::{AnyConnection, Location, Purpose};
use super::error::StoreError;
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
        let mut connection = AnyConnection::open(location, Purpose::Reading)?;
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

    /// Begins again, in the same state.
    pub fn rewind(&mut self) {
        self.last = i64::MIN;
    }
}
