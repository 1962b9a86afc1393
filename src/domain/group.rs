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
            number -> BigInt,
            description -> Nullable<Text>,
            profile_id -> Nullable<BigInt>,
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
#[derive(Clone, Debug, diesel::Queryable, diesel::Insertable, diesel::AsChangeset)]
#[diesel(table_name = groups, primary_key(group_id), treat_none_as_null = true, treat_none_as_default_value = false)]
pub struct Group {
    /// Its id.
    pub group_id: GroupId,
    /// Its name; unique without regard to case.
    pub name: Name,
    /// The name's key.
    pub name_key: String,
    /// By what the identity provider knows it; unique.
    pub external_id: Option<Line>,
    /// A positive integer in order of creation.
    pub number: i64,
    /// What it is for.
    pub description: Option<Line>,
    /// The profile of its members; null is none.
    pub profile_id: Option<i64>,
}

/// A change of a group; `None` leaves a member as it is.
#[derive(Clone, Debug, Default)]
pub struct GroupPatch {
    /// Its name.
    pub name: Option<Name>,
    /// By what the identity provider knows it.
    pub external_id: Option<Option<Line>>,
    /// What it is for.
    pub description: Option<Option<Line>>,
    /// The profile of its members.
    pub profile_id: Option<Option<i64>>,
}

impl GroupPatch {
    /// Whether nothing would change hands.
    pub fn is_empty(&self) -> bool {
        let Self { name, external_id, description, profile_id } = self;
        name.is_none() && external_id.is_none() && description.is_none() && profile_id.is_none()
    }

    /// Puts the change into `group`.
    pub fn apply(self, group: &mut Group) {
        if let Some(name) = self.name {
            group.name_key = name.key();
            group.name = name;
        }
        if let Some(external_id) = self.external_id {
            group.external_id = external_id;
        }
        if let Some(description) = self.description {
            group.description = description;
        }
        if let Some(profile_id) = self.profile_id {
            group.profile_id = profile_id;
        }
    }
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
    /// A positive integer in order of creation.
    pub number: i64,
    /// What it is for.
    pub description: Option<Line>,
    /// The profile of its members; null is none.
    pub profile_id: Option<i64>,
}

/// A group that comes from an older system: its name, by which it is found again, and what is to be said of it.
#[derive(Clone, Debug)]
pub struct MovedGroup {
    /// Its name.
    pub name: Name,
    /// The rest.
    pub patch: GroupPatch,
}

impl MovedGroup {
    /// What differs in the group that is here. An `external_id` that it has here is somebody else's word for it, and is kept.
    pub fn difference(&self, here: &GroupView) -> GroupPatch {
        let GroupPatch { name: _, external_id, description, profile_id } = self.patch.clone();
        GroupPatch {
            name: None,
            external_id: external_id.filter(|_| here.external_id.is_none()).filter(|id| *id != here.external_id),
            description: description.filter(|text| *text != here.description),
            profile_id: profile_id.filter(|id| *id != here.profile_id),
        }
    }
}

impl Group {
    /// A fresh group of this name. Its number is given by the store.
    pub fn fresh(group_id: GroupId, name: Name) -> Self {
        let (name_key, external_id, description) = (name.key(), None, None);
        Self { group_id, name_key, name, external_id, number: 0, description, profile_id: None }
    }

    /// What is left of it where it is only named.
    pub fn into_ref(self) -> GroupRef {
        GroupRef { group_id: self.group_id, name: self.name }
    }

    /// Its public part.
    pub fn view(&self) -> GroupView {
        GroupView {
            group_id: self.group_id,
            name: self.name.clone(),
            external_id: self.external_id.clone(),
            number: self.number,
            description: self.description.clone(),
            profile_id: self.profile_id,
        }
    }
}
