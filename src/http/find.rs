//! Endpoints that find users.

use super::input::{Query, page_limit};
use super::reply::{Body, Found, UserAnswer};
use crate::domain::attribute::Viewer;
use crate::domain::user::{AccountStatus, ApprovalStatus, SignUpStatus, UserRole};
use crate::error::{Code, Error, Result};
use crate::service::{Filter, Find, Order, SuperUser};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Which users are looked for; everything given must hold.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FindQuery {
    /// The username, login name, first, last or display name begins so, without regard to case.
    prefix: Option<String>,
    /// Each word begins a word of a name or of the e-mail address.
    q: Option<String>,
    /// The username, without regard to case.
    username: Option<String>,
    /// The e-mail address.
    email: Option<String>,
    /// One or several of viewer, publisher, administrator, with `|` between.
    user_role: Option<String>,
    /// One or several of locked, licensed, inactive, with `|` between.
    account_status: Option<String>,
    /// before_decision, approved or rejected.
    approval_status: Option<ApprovalStatus>,
    /// before_confirmation or final.
    sign_up_status: Option<SignUpStatus>,
    /// A group's id or name.
    group: Option<String>,
    /// The order: by matching name if `prefix` is given, else by `username`.
    sort: Option<Sort>,
    /// Users on a page, 1 to 500; 50 by default.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<i64>,
    /// Where the page before this one ended.
    cursor: Option<String>,
    /// Whether to count all that match as well.
    with_total: Option<bool>,
}

/// The order of users; a minus is backwards. `number` is the order of creation.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
enum Sort {
    #[serde(rename = "username")]
    Username,
    #[serde(rename = "-username")]
    UsernameDescending,
    #[serde(rename = "number")]
    Number,
    #[serde(rename = "-number")]
    NumberDescending,
}

/// A page of users.
#[derive(Serialize, JsonSchema)]
pub(super) struct UsersBody {
    /// The users.
    items: Vec<UserAnswer>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
    /// How many match, if `with_total` asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<i64>,
}
impl Body for UsersBody {}

/// A number of users.
#[derive(Serialize, JsonSchema)]
pub(super) struct CountBody {
    /// How many match.
    total: i64,
}
impl Body for CountBody {}

/// Words with `|` between.
fn words<T: FromStr<Err = String>>(name: &'static str, text: Option<String>) -> Result<Vec<T>> {
    let bad = |flaw: String| Error::new(Code::BadQuery).at(name, flaw);
    text.iter().flat_map(|t| t.split('|')).map(|word| word.parse().map_err(bad)).collect()
}

impl FindQuery {
    pub(super) fn filter(self) -> Result<Filter> {
        Ok(Filter {
            prefix: self.prefix,
            words: self.q,
            username: self.username,
            email: self.email,
            roles: words::<UserRole>("user_role", self.user_role)?,
            account_statuses: words::<AccountStatus>("account_status", self.account_status)?,
            approval_status: self.approval_status,
            sign_up_status: self.sign_up_status,
            group: self.group,
            ..Filter::default()
        })
    }
}

pub(super) async fn find(caller: SuperUser, Query(mut query): Query<FindQuery>) -> Result<Found<UsersBody>> {
    let limit = page_limit(query.limit)?;
    let (order, descending) = match query.sort {
        None => (None, false),
        Some(Sort::Username) => (Some(Order::Username), false),
        Some(Sort::UsernameDescending) => (Some(Order::Username), true),
        Some(Sort::Number) => (Some(Order::Number), false),
        Some(Sort::NumberDescending) => (Some(Order::Number), true),
    };
    let (cursor, with_total) = (query.cursor.take(), query.with_total.unwrap_or(false));
    let found = caller.find_users(Find { filter: query.filter()?, order, descending, limit, cursor, with_total }).await?;
    let items = found.items.into_iter().map(|account| UserAnswer::new(account, Viewer::SuperUser)).collect();
    Ok(Found(UsersBody { items, next_cursor: found.next_cursor, total: found.total }))
}

pub(super) async fn count(caller: SuperUser, Query(query): Query<FindQuery>) -> Result<Found<CountBody>> {
    let of_pages = [query.sort.is_some(), query.limit.is_some(), query.cursor.is_some(), query.with_total.is_some()];
    if of_pages.contains(&true) {
        return Err(Error::new(Code::BadQuery).detail("A count has no pages and no order."));
    }
    Ok(Found(CountBody { total: caller.count_users(query.filter()?).await? }))
}

#[cfg(test)]
mod tests {
    use super::super::input::read_query;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// R6, R27: a filter is one of the fixed fields, or refused; there is no syntax in it that could mean more.
        #[test]
        fn any_query_is_a_filter_or_refused(name in "(prefix|q|username|email|user_role|account_status|group|[a-z_]{1,10})", value in "([a-z|]{0,24}|[ -~]{0,24})") {
            let encoded: String = value.bytes().map(|b| format!("%{b:02x}")).collect();
            let filter = read_query::<FindQuery>(&format!("{name}={encoded}")).and_then(FindQuery::filter);
            match (name.as_str(), filter) {
                ("prefix", filter) => prop_assert_eq!(filter.ok().and_then(|f| f.prefix), Some(value)),
                ("q", filter) => prop_assert_eq!(filter.ok().and_then(|f| f.words), Some(value)),
                ("username", filter) => prop_assert_eq!(filter.ok().and_then(|f| f.username), Some(value)),
                ("email", filter) => prop_assert_eq!(filter.ok().and_then(|f| f.email), Some(value)),
                ("group", filter) => prop_assert_eq!(filter.ok().and_then(|f| f.group), Some(value)),
                ("user_role", Ok(filter)) => {
                    let roles: Vec<&str> = filter.roles.iter().map(|role| role.as_str()).collect();
                    prop_assert_eq!(roles.join("|"), value);
                }
                (_, Ok(_)) | (_, Err(_)) => {}
            }
        }
    }
}
