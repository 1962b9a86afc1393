//! Lists by page number, as older systems have them: in the order of first name, last name and username, with the number of all that match.
//!
//! The order is a table of its own, `user_order`, kept up with every edit of a name. Where nothing is filtered a page is read from its
//! index alone, so that a page deep in the list costs little more than the first one; where something is, the database has to look at
//! what matches. For walking a list to its end keyset pages are better: see [`super::search`].

use super::Snapshot;
use super::error::StoreError;
use super::search::{Filter, Order, Statement, Value};
use crate::domain::ids::UserId;
use crate::domain::sql;
use crate::domain::text::fold;
use crate::domain::time::Utc;
use crate::domain::user::Account;
use diesel::RunQueryDsl as _;
use std::collections::HashMap;

/// A piece of a list.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// So many are left out at the beginning.
    pub offset: i64,
    /// So many follow at most.
    pub limit: i64,
}

#[derive(diesel::QueryableByName)]
struct Hit {
    #[diesel(sql_type = sql::Uuid)]
    user_id: UserId,
}

impl Filter {
    fn slice(&self, descending: bool, slice: Slice, now: Utc) -> Statement {
        let mut s = Statement::default();
        let direction = if descending { "DESC" } else { "ASC" };
        if self.is_empty() {
            s.push("SELECT o.user_id FROM user_order o ORDER BY ");
        } else {
            s.push("SELECT u.user_id FROM users u JOIN user_order o ON o.user_id = u.user_id");
            self.write(&mut s, Order::Number, now);
            s.push(" ORDER BY ");
            // Closeness: whose name is what was looked for stands before those whose names only begin so.
            for prefix in &self.person_prefixes {
                s.push("CASE WHEN EXISTS (SELECT 1 FROM user_search e WHERE e.user_id = u.user_id AND e.is_person AND ");
                s.text("e.term = ", &fold(prefix), &format!(") THEN 0 ELSE 1 END {direction}, "));
            }
        }
        s.push(&format!("o.sort_key {direction}, o.user_id {direction} LIMIT "));
        s.value(Value::Int(slice.limit)).push(" OFFSET ");
        s.value(Value::Int(slice.offset));
        s
    }
}

impl Snapshot<'_> {
    /// Some of the accounts that match, and how many match.
    ///
    /// # Errors
    /// The database fails.
    pub fn users_by_page(
        &mut self,
        filter: &Filter,
        descending: bool,
        slice: Slice,
        now: Utc,
    ) -> Result<(Vec<Account>, i64), StoreError> {
        if filter.is_hopeless() {
            return Ok((Vec::new(), 0));
        }
        let hits: Vec<Hit> = filter.slice(descending, slice, now).bound().load(self.0)?;
        let ids: Vec<UserId> = hits.into_iter().map(|hit| hit.user_id).collect();
        Ok((self.accounts_in_order(&ids, now)?, self.count_users(filter, now)?))
    }

    /// The accounts of these ids, in their order.
    pub(super) fn accounts_in_order(&mut self, ids: &[UserId], now: Utc) -> Result<Vec<Account>, StoreError> {
        let mut found: HashMap<UserId, Account> =
            self.accounts_of(ids, now)?.into_iter().map(|account| (account.user.user_id, account)).collect();
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }
}
