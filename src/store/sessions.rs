//! Sessions. Of a session's token the database has only the hash, and finds a session by it.

use super::error::StoreError;
use super::prepared::{Statement as _, prepared};
use super::rows::{bound, checked, held};
use super::{Snapshot, Tx};
use crate::domain::application::{Application, applications};
use crate::domain::ids::{ApplicationId, SessionId, UserId};
use crate::domain::row_mac::RowKeys;
use crate::domain::secret::TokenHash;
use crate::domain::session::{AuthMethods, Session, sessions};
use crate::domain::sql;
use crate::domain::text::Name;
use crate::domain::time::Utc;
use crate::domain::user::{User, users};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

diesel::joinable!(sessions -> users (user_id));
diesel::joinable!(sessions -> applications (application_id));
diesel::allow_tables_to_appear_in_same_query!(sessions, users, applications);

/// A session with those it belongs to.
#[derive(Clone, Debug, Queryable)]
pub struct Opened {
    /// The session.
    pub session: Session,
    /// Whose it is.
    pub user: User,
    /// The application it was opened through.
    pub application: Application,
}

impl Opened {
    /// If each of the three is as it was written.
    fn held(self, keys: &RowKeys) -> Result<Self, StoreError> {
        let Self { session, user, application } = self;
        Ok(Self { session: checked(session, keys)?, user: checked(user, keys)?, application: checked(application, keys)? })
    }
}

/// All of them, in one query.
#[diesel::dsl::auto_type(no_type_alias)]
fn opened() -> _ {
    sessions::table.inner_join(users::table).inner_join(applications::table)
}

impl Snapshot<'_> {
    /// The session of a token, ended or not.
    ///
    /// # Errors
    /// The database fails.
    pub fn session_by_token(&mut self, hash: &TokenHash) -> Result<Option<Opened>, StoreError> {
        let opened: Option<Opened> = opened().filter(sessions::token_hash.eq(hash)).get_result(self.0).optional()?;
        opened.map(|opened| opened.held(self.1)).transpose()
    }

    /// The session of this id with those it belongs to, ended or not.
    ///
    /// # Errors
    /// The database fails.
    pub fn session_with_user(&mut self, session_id: SessionId) -> Result<Option<Opened>, StoreError> {
        let opened: Option<Opened> = opened().filter(sessions::session_id.eq(session_id)).get_result(self.0).optional()?;
        opened.map(|opened| opened.held(self.1)).transpose()
    }

    /// The live sessions of a user with the names of their applications, oldest first.
    ///
    /// # Errors
    /// The database fails.
    pub fn sessions_of(&mut self, user_id: UserId, now: Utc) -> Result<Vec<(Session, Name)>, StoreError> {
        let live = sessions::idle_expiry.gt(now).and(sessions::absolute_expiry.gt(now));
        Ok(sessions::table
            .inner_join(applications::table)
            .filter(sessions::user_id.eq(user_id).and(live))
            .order(sessions::session_id.asc())
            .select((sessions::all_columns, applications::name))
            .load(self.0)?)
    }

    /// Up to `limit` live sessions of anyone, in order of creation, after `after`.
    ///
    /// # Errors
    /// The database fails.
    pub fn live_sessions(&mut self, after: Option<SessionId>, limit: i64, now: Utc) -> Result<Vec<(Session, Name)>, StoreError> {
        let live = sessions::idle_expiry.gt(now).and(sessions::absolute_expiry.gt(now));
        let mut query = sessions::table.inner_join(applications::table).filter(live).into_boxed();
        if let Some(after) = after {
            query = query.filter(sessions::session_id.gt(after));
        }
        Ok(query
            .order(sessions::session_id.asc())
            .limit(limit)
            .select((sessions::all_columns, applications::name))
            .load(self.0)?)
    }

    /// The session of this id.
    ///
    /// # Errors
    /// The database fails.
    pub fn session(&mut self, session_id: SessionId) -> Result<Option<Session>, StoreError> {
        held(sessions::table.find(session_id).get_result(self.0).optional()?, self.1)
    }
}

/// Whose sessions are meant.
pub(super) enum Opener {
    User(UserId),
    Application(ApplicationId),
}

impl Tx<'_> {
    /// Opens a session.
    ///
    /// # Errors
    /// The database fails.
    pub fn insert_session(&mut self, session: &Session) -> Result<(), StoreError> {
        diesel::insert_into(sessions::table).values(bound(session, self.1)).execute(self.0)?;
        Ok(())
    }

    /// The session of this id, held so that nobody else changes it until the transaction ends.
    ///
    /// # Errors
    /// The database fails.
    pub fn hold_session(&mut self, session_id: SessionId) -> Result<Option<Session>, StoreError> {
        if self.0.is_postgres() {
            // Columns are named: more may be added while the statement is kept.
            let statement = prepared(
                "SELECT session_id, token_hash, user_id, application_id, created_time, renewed_time, idle_expiry, absolute_expiry, \
                 remote_addr, user_agent, auth_methods, auth_time, mac FROM sessions WHERE session_id = ? FOR UPDATE",
            );
            return held(statement.bind::<sql::Uuid, _>(session_id).get_result(self.0).optional()?, self.1);
        }
        self.read().session(session_id)
    }

    /// Moves a session's idle expiry.
    ///
    /// # Errors
    /// The database fails.
    pub fn renew_session(&mut self, session_id: SessionId, idle_expiry: Utc, now: Utc) -> Result<(), StoreError> {
        prepared("UPDATE sessions SET idle_expiry = ?, renewed_time = ? WHERE session_id = ?")
            .bind::<sql::Instant, _>(idle_expiry)
            .bind::<sql::Instant, _>(now)
            .bind::<sql::Uuid, _>(session_id)
            .execute(self.0)?;
        Ok(())
    }

    /// Writes by what the user of a session has been proved by now.
    ///
    /// # Errors
    /// The database fails.
    pub fn set_auth_methods(&mut self, session_id: SessionId, methods: &AuthMethods) -> Result<(), StoreError> {
        let Some(held) = self.hold_session(session_id)? else { return Ok(()) };
        let Session { auth_methods, mac, .. } = bound(&Session { auth_methods: methods.clone(), ..held }, self.1);
        let proved = (sessions::auth_methods.eq(auth_methods), sessions::mac.eq(mac));
        diesel::update(sessions::table.find(session_id)).set(proved).execute(self.0)?;
        Ok(())
    }

    /// Gives a session that is held the token, the time and the methods of a new proof of its user; everything else stays.
    ///
    /// # Errors
    /// The database fails.
    pub fn confirm_session(&mut self, confirmed: &Session) -> Result<(), StoreError> {
        let Session { session_id, token_hash, auth_methods, auth_time, mac, .. } = bound(confirmed, self.1);
        let proved = (
            sessions::token_hash.eq(token_hash),
            sessions::auth_methods.eq(auth_methods),
            sessions::auth_time.eq(auth_time),
            sessions::mac.eq(mac),
        );
        diesel::update(sessions::table.find(session_id)).set(proved).execute(self.0)?;
        Ok(())
    }

    /// Ends one session of a user; tells whether there was such a one.
    ///
    /// # Errors
    /// The database fails.
    pub fn end_session(&mut self, user_id: UserId, session_id: SessionId) -> Result<bool, StoreError> {
        let one = sessions::table.filter(sessions::session_id.eq(session_id).and(sessions::user_id.eq(user_id)));
        Ok(diesel::delete(one).execute(self.0)? > 0)
    }

    /// Holds all sessions of a user or an application in the order of their ids, as everybody does who holds several: so nobody waits for
    /// one who waits in turn.
    ///
    /// # Errors
    /// The database fails.
    pub(super) fn hold_sessions(&mut self, of: Opener) -> Result<(), StoreError> {
        if self.0.is_postgres() {
            let hold =
                |column| diesel::sql_query(format!("SELECT 1 FROM sessions WHERE {column} = $1 ORDER BY session_id FOR UPDATE"));
            match of {
                Opener::User(user_id) => hold("user_id").bind::<sql::Uuid, _>(user_id).execute(self.0)?,
                Opener::Application(application_id) => {
                    hold("application_id").bind::<sql::Uuid, _>(application_id).execute(self.0)?
                }
            };
        }
        Ok(())
    }

    /// Ends all sessions of a user; tells how many there were.
    ///
    /// # Errors
    /// The database fails.
    pub fn end_sessions(&mut self, user_id: UserId) -> Result<usize, StoreError> {
        self.hold_sessions(Opener::User(user_id))?;
        Ok(diesel::delete(sessions::table.filter(sessions::user_id.eq(user_id))).execute(self.0)?)
    }

    /// Ends all sessions, or all that were opened through an application, but for one; tells how many there were.
    ///
    /// # Errors
    /// The database fails.
    pub fn end_sessions_but(
        &mut self,
        kept: Option<SessionId>,
        application_id: Option<ApplicationId>,
    ) -> Result<usize, StoreError> {
        let mut meant = "($1 IS NULL OR session_id <> $1) AND ($2 IS NULL OR application_id = $2)".to_owned();
        if self.0.is_postgres() {
            // In the common order.
            meant = format!("session_id IN (SELECT session_id FROM sessions WHERE {meant} ORDER BY session_id FOR UPDATE)");
        }
        let delete = format!("DELETE FROM sessions WHERE {meant}");
        Ok(diesel::sql_query(delete)
            .bind::<Nullable<sql::Uuid>, _>(kept)
            .bind::<Nullable<sql::Uuid>, _>(application_id)
            .execute(self.0)?)
    }

    /// Ends all sessions of a user but one.
    ///
    /// # Errors
    /// The database fails.
    pub fn end_other_sessions(&mut self, user_id: UserId, kept: SessionId) -> Result<(), StoreError> {
        self.hold_sessions(Opener::User(user_id))?;
        let others = sessions::table.filter(sessions::user_id.eq(user_id).and(sessions::session_id.ne(kept)));
        diesel::delete(others).execute(self.0)?;
        Ok(())
    }

    /// Removes up to `limit` sessions that have ended by themselves; tells how many. What another node holds is left to it.
    ///
    /// # Errors
    /// The database fails.
    pub fn sweep_sessions(&mut self, now: Utc, limit: i64) -> Result<usize, StoreError> {
        let skip = if self.0.is_postgres() { " FOR UPDATE SKIP LOCKED" } else { "" };
        let ended = format!("SELECT session_id FROM sessions WHERE idle_expiry <= $1 ORDER BY session_id LIMIT $2{skip}");
        Ok(diesel::sql_query(format!("DELETE FROM sessions WHERE session_id IN ({ended})"))
            .bind::<sql::Instant, _>(now)
            .bind::<BigInt, _>(limit)
            .execute(self.0)?)
    }
}
