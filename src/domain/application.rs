//! What an application is: a program that signs its users in through usher. Sessions are bound to the application they were
//! opened through; *shared* applications accept each other's sessions (that is the single sign-on), one with *own sessions*
//! accepts only its own.

use super::ids::ApplicationId;
use super::secret::TokenHash;
use super::text::Name;
use super::time::Utc;
use super::words;
use serde::Serialize;

mod schema {
    #![expect(missing_docs, reason = "the columns are documented where they become fields")]

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        applications (application_id) {
            application_id -> sql::Uuid,
            name -> Text,
            name_key -> Text,
            session_scope -> Text,
            is_key_required -> Bool,
            key_hash -> Nullable<Binary>,
            created_time -> sql::Instant,
            may_set_remote_addr -> Bool,
        }
    }
}
pub use schema::applications;

words::words! {
    /// Whose sessions an application accepts.
    SessionScope {
        /// Those of every shared application.
        Shared = "shared",
        /// Its own only.
        OwnSessions = "own-sessions",
    }
}

/// The application assumed when a call names none. It always exists.
pub const DEFAULT: &str = "default";

/// An application as the database holds it.
#[derive(Clone, Debug, diesel::Queryable, diesel::Insertable)]
#[diesel(table_name = applications, treat_none_as_default_value = false)]
pub struct Application {
    /// Its id.
    pub application_id: ApplicationId,
    /// Its name; unique without regard to case.
    pub name: Name,
    /// The name's key.
    pub name_key: String,
    /// Whose sessions it accepts.
    pub session_scope: SessionScope,
    /// Whether every call through it must bear its key.
    pub is_key_required: bool,
    /// The SHA-256 of its key.
    pub key_hash: Option<TokenHash>,
    /// When it was registered.
    pub created_time: Utc,
    /// Whether it is believed, with its key, when it tells from which address its users come.
    pub may_set_remote_addr: bool,
}

impl Application {
    /// Whether it takes part in single sign-on.
    pub fn is_shared(&self) -> bool {
        match self.session_scope {
            SessionScope::Shared => true,
            SessionScope::OwnSessions => false,
        }
    }

    /// Its public part.
    pub fn view(&self) -> ApplicationView {
        ApplicationView {
            application_id: self.application_id,
            name: self.name.clone(),
            session_scope: self.session_scope,
            is_key_required: self.is_key_required,
            may_set_remote_addr: self.may_set_remote_addr,
            created_time: self.created_time,
        }
    }
}

/// An application as super-users see it.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct ApplicationView {
    /// Its id.
    pub application_id: ApplicationId,
    /// Its name.
    pub name: Name,
    /// Whose sessions it accepts.
    pub session_scope: SessionScope,
    /// Whether every call through it must bear its key.
    pub is_key_required: bool,
    /// Whether it is believed, with its key, when it tells from which address its users come.
    pub may_set_remote_addr: bool,
    /// When it was registered.
    pub created_time: Utc,
}
