//! Finding users by their names taken one by one, whole or in part: as older systems search, page by number.
//!
//! SQL cannot fold names, and no index knows the middle of one. So the names of all users that the rest of the filter leaves are read and
//! compared here; it costs what it costs, and super-users alone may ask. Without a name the database orders and cuts by itself.

use super::Snapshot;
use super::error::StoreError;
use super::listing::Slice;
use super::search::{Filter, Order, Statement, Value};
use crate::domain::ids::UserId;
use crate::domain::sql;
use crate::domain::text::fold;
use crate::domain::time::Utc;
use crate::domain::user::Account;
use diesel::RunQueryDsl as _;
use diesel::sql_types::{Nullable, Text};

/// Which names are looked for, in any case of letters.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The name to show.
    pub display_name: Option<String>,
    /// The first name.
    pub first_name: Option<String>,
    /// The middle name.
    pub middle_name: Option<String>,
    /// The last name.
    pub last_name: Option<String>,
    /// One of them is enough, instead of all.
    pub is_any: bool,
    /// They are the whole names, instead of parts.
    pub is_whole: bool,
}

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = sql::Uuid)]
    user_id: UserId,
    #[diesel(sql_type = Text)]
    display_name: String,
    #[diesel(sql_type = Nullable<Text>)]
    first_name: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    middle_name: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    last_name: Option<String>,
}

impl Names {
    fn wanted(&self) -> [Option<String>; 4] {
        [&self.display_name, &self.first_name, &self.middle_name, &self.last_name].map(|name| name.as_deref().map(fold))
    }

    fn is_empty(&self) -> bool {
        self.wanted().iter().all(Option::is_none)
    }

    fn match_row(&self, wanted: &[Option<String>; 4], row: &Row) -> bool {
        let has =
            [Some(row.display_name.as_str()), row.first_name.as_deref(), row.middle_name.as_deref(), row.last_name.as_deref()];
        let mut judged = wanted.iter().zip(has).filter_map(|(wanted, has)| {
            let wanted = wanted.as_deref()?;
            let has = has.map(fold).unwrap_or_default();
            Some(if self.is_whole { has == wanted } else { has.contains(wanted) })
        });
        if self.is_any { judged.any(|is_match| is_match) } else { judged.all(|is_match| is_match) }
    }
}

impl Snapshot<'_> {
    /// Some of the accounts that match, by the name to show, the username, the time and the id; and how many match.
    ///
    /// # Errors
    /// The database fails.
    pub fn users_by_names(
        &mut self,
        filter: &Filter,
        names: &Names,
        slice: Slice,
        now: Utc,
    ) -> Result<(Vec<Account>, i64), StoreError> {
        if filter.is_hopeless() {
            return Ok((Vec::new(), 0));
        }
        let bytewise = if self.0.is_postgres() { " COLLATE \"C\"" } else { "" };
        let mut s = Statement::default();
        s.push("SELECT u.user_id, u.display_name, u.first_name, u.middle_name, u.last_name FROM users u");
        filter.write(&mut s, Order::Number, now);
        s.push(&format!(" ORDER BY u.display_name{bytewise}, u.username{bytewise}, u.created_time, u.user_id"));
        if names.is_empty() {
            s.push(" LIMIT ");
            s.value(Value::Int(slice.limit)).push(" OFFSET ");
            s.value(Value::Int(slice.offset));
            let rows: Vec<Row> = s.bound().load(self.0)?;
            let ids: Vec<UserId> = rows.iter().map(|row| row.user_id).collect();
            return Ok((self.accounts_in_order(&ids, now)?, self.count_users(filter, now)?));
        }
        let wanted = names.wanted();
        let rows: Vec<Row> = s.bound().load(self.0)?;
        let matching: Vec<UserId> = rows.iter().filter(|row| names.match_row(&wanted, row)).map(|row| row.user_id).collect();
        let total = i64::try_from(matching.len()).unwrap_or(i64::MAX);
        let (offset, limit) = (usize::try_from(slice.offset), usize::try_from(slice.limit));
        let page: Vec<UserId> = matching.into_iter().skip(offset.unwrap_or(usize::MAX)).take(limit.unwrap_or_default()).collect();
        Ok((self.accounts_in_order(&page, now)?, total))
    }
}
