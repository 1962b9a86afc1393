//! Finding users by their names taken one by one, whole or in part: as older systems search, page by number.
//!
//! SQL cannot fold names, and no index knows the middle of one. So the names of all users that the rest of the filter leaves are read and
//! compared here, and super-users alone may ask. They are read some thousands at a time, and of those that match only what stands before
//! the end of the page is kept, so the memory that it takes does not grow with the users; a page too deep for that is refused. Without a
//! name the database orders and cuts by itself.

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
use std::collections::BTreeSet;

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

/// Users whose names are read at a time.
const AT_ONCE: i64 = 4000;
/// Users that are kept to be put in order: how deep a page may reach into those that match.
const DEEPEST: usize = 10_000;

/// What a search by names comes to.
pub enum ByNames {
    /// Some of the accounts that match, and how many match.
    Found(Vec<Account>, i64),
    /// The page lies deeper among those that match than is kept.
    TooDeep,
}

#[derive(diesel::QueryableByName)]
struct Hit {
    #[diesel(sql_type = sql::Uuid)]
    user_id: UserId,
}

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = sql::Uuid)]
    user_id: UserId,
    #[diesel(sql_type = Text)]
    username: String,
    #[diesel(sql_type = sql::Instant)]
    created_time: Utc,
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
    /// Some of the accounts that match, in the order of the name to show, the username, the time and the id; and how many match.
    ///
    /// # Errors
    /// The database fails.
    pub fn users_by_names(&mut self, filter: &Filter, names: &Names, slice: Slice, now: Utc) -> Result<ByNames, StoreError> {
        if filter.is_hopeless() {
            return Ok(ByNames::Found(Vec::new(), 0));
        }
        if names.is_empty() {
            return self.users_by_display_name(filter, slice, now);
        }
        let wanted = names.wanted();
        let (mut nearest, mut total, mut after) = (BTreeSet::new(), 0, None);
        let room = usize::try_from(slice.offset.saturating_add(slice.limit)).unwrap_or(usize::MAX).min(DEEPEST);
        loop {
            let rows = self.named(filter, after, now)?;
            let Some(last) = rows.last() else { break };
            after = Some(last.user_id);
            for row in rows {
                if names.match_row(&wanted, &row) {
                    total += 1;
                    nearest.insert((row.display_name, row.username, row.created_time, row.user_id));
                    if nearest.len() > room {
                        nearest.pop_last();
                    }
                }
            }
        }
        let offset = usize::try_from(slice.offset).unwrap_or(usize::MAX);
        let limit = usize::try_from(slice.limit).unwrap_or_default();
        if slice.offset < total && offset.saturating_add(limit) > DEEPEST {
            return Ok(ByNames::TooDeep);
        }
        let page: Vec<UserId> = nearest.into_iter().skip(offset).take(limit).map(|(.., user_id)| user_id).collect();
        Ok(ByNames::Found(self.accounts_in_order(&page, now)?, total))
    }

    /// The next users that the filter leaves, with their names.
    fn named(&mut self, filter: &Filter, after: Option<UserId>, now: Utc) -> Result<Vec<Row>, StoreError> {
        let mut s = Statement::default();
        s.push(
            "SELECT u.user_id, u.username, u.display_name, u.first_name, u.middle_name, u.last_name, u.created_time FROM users u",
        );
        filter.write(&mut s, Order::Number, now);
        if let Some(after) = after {
            s.push(" AND u.user_id > ");
            s.value(Value::Id(after));
        }
        s.push(" ORDER BY u.user_id LIMIT ");
        s.value(Value::Int(AT_ONCE));
        Ok(s.bound().load(self.0)?)
    }

    fn users_by_display_name(&mut self, filter: &Filter, slice: Slice, now: Utc) -> Result<ByNames, StoreError> {
        let bytewise = if self.0.is_postgres() { " COLLATE \"C\"" } else { "" };
        let mut s = Statement::default();
        s.push("SELECT u.user_id FROM users u");
        filter.write(&mut s, Order::Number, now);
        s.push(&format!(" ORDER BY u.display_name{bytewise}, u.username{bytewise}, u.created_time, u.user_id LIMIT "));
        s.value(Value::Int(slice.limit)).push(" OFFSET ");
        s.value(Value::Int(slice.offset));
        let hits: Vec<Hit> = s.bound().load(self.0)?;
        let ids: Vec<UserId> = hits.iter().map(|hit| hit.user_id).collect();
        Ok(ByNames::Found(self.accounts_in_order(&ids, now)?, self.count_users(filter, now)?))
    }
}
