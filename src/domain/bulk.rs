//! Bulk imports: what a row of the file may say besides the attributes that a super-user may edit, and what is told of each row.

use super::attribute::{Why, read_member};
use super::ids::UserId;
use super::text::Line;
use super::time::Utc;
use super::user::{ApprovalStatus, SignUpStatus};
use schemars::JsonSchema;
use serde::Serialize;

/// Declares the facts, their reader and their names.
macro_rules! facts {
    ($($(#[doc = $doc:literal])+ $name:ident: $ty:ty;)*) => {
        /// Attributes that no patch changes, but that a migration has to bring along. A row is the only place where one can be set as such;
        /// each stands for what an operation of its own would have done where the user comes from.
        #[derive(Clone, Debug, Default)]
        pub struct Facts { $($(#[doc = $doc])+ pub $name: Option<$ty>,)* }

        impl Facts {
            /// The names of the facts, all of them attributes of the table.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Takes one member of a row, if it is a fact.
            pub fn take(&mut self, member: &str, value: &serde_json::Value) -> Option<Result<(), Why>> {
                match member {
                    $(stringify!($name) => Some(read_member(value).map(|value| self.$name = Some(value))),)*
                    _ => None,
                }
            }
        }
    };
}

facts! {
    /// When the account was created where it comes from.
    created_time: Utc;
    /// Whether the sign-up is confirmed.
    sign_up_status: SignUpStatus;
    /// Whether the account is of no use before a super-user approves it.
    is_approval_needed: bool;
    /// What was decided on the account.
    approval_status: ApprovalStatus;
    /// Whether it is locked.
    is_locked: bool;
    /// Why it is locked.
    lock_reason: Option<Line>;
}

super::words::words! {
    /// What became of a row.
    RowOutcome {
        /// It made a user.
        Created = "created",
        /// The user of its `external_id` was changed.
        Updated = "updated",
        /// The user of its `external_id` is as the row says already.
        Unchanged = "unchanged",
        /// Nothing was done, for the causes in `errors`.
        Refused = "refused",
    }
}

/// What became of one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RowResult {
    /// The number of its line, from 1.
    pub line: u64,
    /// What became of it.
    pub outcome: RowOutcome,
    /// The user; absent if the row was refused, or would have made one in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The row's `external_id`, if it has one that can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<Line>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<RowError>,
}

/// One thing that is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RowError {
    /// The member at fault as a JSON pointer (RFC 6901); empty for the row as a whole.
    pub pointer: String,
    /// A stable code.
    pub code: String,
    /// A sentence for people.
    pub detail: String,
}

/// How an import ended: the last line of its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Summary {
    /// Rows that were looked at.
    pub rows: u64,
    /// Of these, those that made a user.
    pub created: u64,
    /// Those that changed one.
    pub updated: u64,
    /// Those whose user was as the row says already.
    pub unchanged: u64,
    /// Those that were refused.
    pub refused: u64,
    /// Groups that were made for them.
    pub groups_created: u64,
    /// Whether nothing was really done.
    pub dry_run: bool,
    /// Whether every row was looked at. If not, the import can be run again: what was done is found as it is.
    pub complete: bool,
    /// Why it was cut short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<RowError>,
}

impl Summary {
    /// Counts a row.
    pub fn count(&mut self, outcome: RowOutcome) {
        self.rows += 1;
        match outcome {
            RowOutcome::Created => self.created += 1,
            RowOutcome::Updated => self.updated += 1,
            RowOutcome::Unchanged => self.unchanged += 1,
            RowOutcome::Refused => self.refused += 1,
        }
    }
}
