//! What a group is: a named set of users.

mod schema {
    #![expect(missing_docs, reason = "the columns are documented where they become fields")]

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        groups (group_id) {
            group_id -> sql::Uuid,
            name -> Text,
            name_key -> Text,
        }
    }

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        group_members (group_id, user_id) {
            group_id -> sql::Uuid,
            user_id -> sql::Uuid,
        }
    }
}
pub use schema::{group_members, groups};

diesel::joinable!(group_members -> groups (group_id));
diesel::allow_tables_to_appear_in_same_query!(groups, group_members);
