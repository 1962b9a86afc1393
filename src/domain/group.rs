//! What a group is: a named set of users.

use super::ids::GroupId;
use super::text::{Line, Name};
use super::user::GroupRef;
use serde::Serialize;

mod schema {
    #![expect(missing_docs, reason = "the columns are documented where they become fields")]

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        groups (group_id) {
            group_id -> sql::Uuid,
            name -> Text,
            name_key -> Text,
            external_id -> Nullable<Text>,
        }
    }

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        group_members (group_id, user_id) {
            group_id -> sql::Uuid,
            user_id -> sql::Uuid,
            position -> BigInt,
        }
    }
}
pub use schema::{group_members, groups};

diesel::joinable!(group_members -> groups (group_id));
diesel::allow_tables_to_appear_in_same_query!(groups, group_members);

/// A group as the database holds it.
#[derive(Clone, Debug, diesel::Queryable, diesel::Insertable)]
#[diesel(table_name = groups, treat_none_as_default_value = false)]
pub struct Group {
    /// Its id.
    pub group_id: GroupId,
    /// Its name; unique without regard to case.
    pub name: Name,
    /// The name's key.
    pub name_key: String,
    /// By what the identity provider knows it; unique.
    pub external_id: Option<Line>,
}

/// A group as super-users see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct GroupView {
    /// Its id.
    pub group_id: GroupId,
    /// Its name.
    pub name: Name,
    /// By what the identity provider knows it.
    pub external_id: Option<Line>,
}

impl Group {
    /// What is left of it where it is only named.
    pub fn into_ref(self) -> GroupRef {
        GroupRef { group_id: self.group_id, name: self.name }
    }

    /// Its public part.
    pub fn view(&self) -> GroupView {
        GroupView { group_id: self.group_id, name: self.name.clone(), external_id: self.external_id.clone() }
    }
}
