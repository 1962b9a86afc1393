//! What an application is: a program that signs its users in through usher. Sessions are bound to the application they were
//! opened through; *shared* applications accept each other's sessions (that is the single sign-on), one with *own sessions*
//! accepts only its own.
//!
//! An application is open to everyone, or to those whom it lists: by role, or by group. And it may list the networks that calls through
//! it come from. What the lists decide is in [`super::standing`].

use super::ids::{ApplicationId, GroupId};
use super::network::Networks;
use super::row_mac::RowMac;
use super::secret::TokenHash;
use super::text::Name;
use super::time::Utc;
use super::user::UserRole;
use super::words;
use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use serde::{Deserialize, Serialize};

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
            access -> Text,
            allowed_roles -> Text,
            allowed_networks -> Text,
            is_sign_up_open -> Bool,
            is_sign_up_approval_needed -> Bool,
            may_set_remote_addr -> Bool,
            second_factor -> Text,
            mac -> Binary,
        }
    }

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        application_groups (application_id, group_id) {
            application_id -> sql::Uuid,
            group_id -> sql::Uuid,
        }
    }
}
pub use schema::{application_groups, applications};

words::kept_words! {
    /// Whose sessions an application accepts.
    SessionScope {
        /// Those of every shared application.
        Shared = "shared",
        /// Its own only.
        OwnSessions = "own-sessions",
    }

    /// Who may use an application.
    Access {
        /// Every user.
        Everyone = "everyone",
        /// Users of the listed roles and members of the listed groups; nobody, if the lists are empty.
        Listed = "listed",
    }

    /// Of whom an application demands a second factor.
    SecondFactorRule {
        /// Of those of whom the settings demand it.
        AsSet = "as_set",
        /// Of everyone.
        Required = "required",
    }
}

/// The application assumed when a call names none. It always exists.
pub const DEFAULT: &str = "default";

/// Groups that an application may list.
pub const MOST_GROUPS: usize = 64;

/// A list of roles, each once and in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, FromSqlRow, AsExpression)]
#[diesel(sql_type = diesel::sql_types::Text)]
#[serde(from = "Vec<UserRole>")]
#[schemars(inline)]
pub struct Roles(Vec<UserRole>);

impl From<Vec<UserRole>> for Roles {
    fn from(mut roles: Vec<UserRole>) -> Self {
        roles.sort_unstable();
        roles.dedup();
        Self(roles)
    }
}

impl Roles {
    /// Reads roles with commas between; an empty text is an empty list.
    ///
    /// # Errors
    /// A text that completes "the value …".
    pub fn parse_text(text: &str) -> Result<Self, String> {
        let words = text.split(',').map(str::trim).filter(|_| !text.is_empty());
        words.map(str::parse).collect::<Result<Vec<UserRole>, String>>().map(Self::from)
    }

    /// From the database's text: a role that this program does not know is one that nobody of its roles has.
    pub fn stored(text: &str) -> Self {
        let words = text.split(',').map(str::trim).filter(|_| !text.is_empty());
        Self::from(words.map(UserRole::stored).collect::<Vec<_>>())
    }

    /// The roles with commas between.
    pub fn to_text(&self) -> String {
        self.0.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Whether `role` is in the list.
    pub fn contain(&self, role: UserRole) -> bool {
        self.0.contains(&role)
    }
}

/// An application as the database holds it. The groups that it lists have a table of their own.
#[derive(Clone, Debug, diesel::Queryable, diesel::Insertable, diesel::AsChangeset)]
#[diesel(table_name = applications, primary_key(application_id), treat_none_as_null = true, treat_none_as_default_value = false)]
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
    /// Who may use it.
    pub access: Access,
    /// The roles that it lists.
    pub allowed_roles: Roles,
    /// The networks that calls through it may come from.
    pub allowed_networks: Networks,
    /// Whether people may sign up through it.
    pub is_sign_up_open: bool,
    /// Whether who signed up through it waits for a super-user's approval.
    pub is_sign_up_approval_needed: bool,
    /// Whether it is believed, with its key, when it tells from which address its users come.
    pub may_set_remote_addr: bool,
    /// Of whom it demands a second factor.
    pub second_factor: SecondFactorRule,
    /// What binds it to the key file.
    pub mac: RowMac,
}

/// A change of an application; `None` leaves a member as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplicationPatch {
    /// Its name.
    pub name: Option<Name>,
    /// Whose sessions it accepts.
    pub session_scope: Option<SessionScope>,
    /// Whether every call through it must bear its key.
    pub is_key_required: Option<bool>,
    /// Who may use it.
    pub access: Option<Access>,
    /// The roles that it lists.
    pub allowed_roles: Option<Roles>,
    /// The groups that it lists.
    pub allowed_groups: Option<Vec<GroupId>>,
    /// The networks that calls through it may come from.
    pub allowed_networks: Option<Networks>,
    /// Whether people may sign up through it.
    pub is_sign_up_open: Option<bool>,
    /// Whether who signed up through it waits for a super-user's approval.
    pub is_sign_up_approval_needed: Option<bool>,
    /// Whether it is believed when it tells from which address its users come.
    pub may_set_remote_addr: Option<bool>,
    /// Of whom it demands a second factor.
    pub second_factor: Option<SecondFactorRule>,
}

impl ApplicationPatch {
    /// Whether nothing would change hands.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Puts the change into `application`; what remains are the groups, which are no part of it.
    pub fn apply(self, application: &mut Application) -> Option<Vec<GroupId>> {
        let Self {
            name,
            session_scope,
            is_key_required,
            access,
            allowed_roles,
            allowed_groups,
            allowed_networks,
            is_sign_up_open,
            is_sign_up_approval_needed,
            may_set_remote_addr,
            second_factor,
        } = self;
        if let Some(name) = name {
            application.name_key = name.key();
            application.name = name;
        }
        application.session_scope = session_scope.unwrap_or(application.session_scope);
        application.is_key_required = is_key_required.unwrap_or(application.is_key_required);
        application.may_set_remote_addr = may_set_remote_addr.unwrap_or(application.may_set_remote_addr);
        application.is_sign_up_open = is_sign_up_open.unwrap_or(application.is_sign_up_open);
        application.is_sign_up_approval_needed = is_sign_up_approval_needed.unwrap_or(application.is_sign_up_approval_needed);
        application.second_factor = second_factor.unwrap_or(application.second_factor);
        application.access = access.unwrap_or(application.access);
        if let Some(roles) = allowed_roles {
            application.allowed_roles = roles;
        }
        if let Some(networks) = allowed_networks {
            application.allowed_networks = networks;
        }
        allowed_groups
    }
}

impl Application {
    /// A fresh application: shared, open to everyone from anywhere, with a key that it may use and need not.
    pub fn fresh(application_id: ApplicationId, name: Name, key_hash: TokenHash, now: Utc) -> Self {
        Self {
            application_id,
            name_key: name.key(),
            name,
            session_scope: SessionScope::Shared,
            is_key_required: false,
            key_hash: Some(key_hash),
            created_time: now,
            access: Access::Everyone,
            allowed_roles: Roles::default(),
            allowed_networks: Networks::default(),
            is_sign_up_open: false,
            is_sign_up_approval_needed: false,
            may_set_remote_addr: false,
            second_factor: SecondFactorRule::AsSet,
            mac: RowMac::default(),
        }
    }

    /// Whether it takes part in single sign-on.
    pub fn is_shared(&self) -> bool {
        match self.session_scope {
            SessionScope::Shared => true,
            SessionScope::OwnSessions | SessionScope::Foreign(_) => false,
        }
    }

    /// Whether it is the one assumed when a call names none.
    pub fn is_default(&self) -> bool {
        self.name_key == DEFAULT
    }

    /// Its public part, with the groups that it lists.
    pub fn view(&self, allowed_groups: Vec<GroupId>) -> ApplicationView {
        ApplicationView {
            application_id: self.application_id,
            name: self.name.clone(),
            session_scope: self.session_scope,
            is_key_required: self.is_key_required,
            may_set_remote_addr: self.may_set_remote_addr,
            second_factor: self.second_factor,
            access: self.access,
            allowed_roles: self.allowed_roles.clone(),
            allowed_groups,
            allowed_networks: self.allowed_networks.clone(),
            is_sign_up_open: self.is_sign_up_open,
            is_sign_up_approval_needed: self.is_sign_up_approval_needed,
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
    /// Of whom it demands a second factor: as the settings do, or of everyone.
    pub second_factor: SecondFactorRule,
    /// Who may use it.
    pub access: Access,
    /// The roles that may use it, where it is `listed`.
    pub allowed_roles: Roles,
    /// The groups whose members may use it, where it is `listed`.
    pub allowed_groups: Vec<GroupId>,
    /// The networks that calls through it may come from; empty is anywhere.
    pub allowed_networks: Networks,
    /// Whether people may sign up through it.
    pub is_sign_up_open: bool,
    /// Whether who signed up through it waits for a super-user's approval.
    pub is_sign_up_approval_needed: bool,
    /// When it was registered.
    pub created_time: Utc,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn roles_are_read_back_each_once(picked in prop::collection::vec(0usize..UserRole::ALL.len(), 0..8)) {
            let picked: Vec<UserRole> = picked.into_iter().map(|at| UserRole::ALL[at]).collect();
            let roles = Roles::from(picked.clone());
            prop_assert_eq!(Roles::parse_text(&roles.to_text()), Ok(roles.clone()));
            prop_assert_eq!(Roles::stored(&roles.to_text()), roles.clone());
            for role in UserRole::ALL {
                prop_assert_eq!(roles.contain(*role), picked.contains(role));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "([a-z, ]{0,40}|.{0,20})") {
            if let Ok(roles) = Roles::parse_text(&text) {
                prop_assert_eq!(Roles::parse_text(&roles.to_text()), Ok(roles));
            }
        }
    }
}
