//! Finding users.

use super::caller::SuperUser;
use super::paging::Pages;
use crate::domain::attribute::{Act, Viewer, allows};
use crate::domain::ids::UserId;
use crate::domain::user::{ATTRIBUTES, Account};
use crate::error::{Code, Error, Result};
pub use crate::store::{Filter, Order};
use crate::store::{Mark, Page};

/// A search for users, page by page.
#[derive(Clone, Debug)]
pub struct Find {
    /// Which users.
    pub filter: Filter,
    /// In which order; if none is given, by the name that matched a prefix, or by username.
    pub order: Option<Order>,
    /// Backwards.
    pub descending: bool,
    /// Users on a page, 1 to 500.
    pub limit: i64,
    /// Where the page before this one ended.
    pub cursor: Option<String>,
    /// Whether to count all that match.
    pub with_total: bool,
}

/// A page of users.
#[derive(Debug)]
pub struct Found {
    /// The users, in order.
    pub items: Vec<Account>,
    /// Where the next page begins; `None` if this is the last one.
    pub next_cursor: Option<String>,
    /// How many match, if that was asked for.
    pub total: Option<i64>,
}

/// The attributes that a filter tells something of.
fn attributes_of(filter: &Filter) -> Vec<&'static str> {
    let names = ["username", "login_name", "first_name", "last_name", "display_name"];
    let mut used = Vec::new();
    let mut uses = |is_used: bool, attributes: &[&'static str]| {
        if is_used {
            used.extend_from_slice(attributes);
        }
    };
    uses(filter.prefix.is_some(), &names);
    uses(filter.words.is_some(), &names);
    uses(filter.words.is_some(), &["middle_name", "email"]);
    uses(filter.username.is_some(), &["username"]);
    uses(filter.email.is_some(), &["email"]);
    uses(!filter.roles.is_empty(), &["user_role"]);
    uses(!filter.account_statuses.is_empty(), &["account_status"]);
    uses(filter.approval_status.is_some(), &["approval_status"]);
    uses(filter.sign_up_status.is_some(), &["sign_up_status"]);
    uses(filter.group.is_some(), &["groups"]);
    uses(!filter.person_prefixes.is_empty(), &["username", "first_name", "last_name"]);
    used
}

/// Whether `viewer` may see everything that the filter would tell: a filter on a hidden attribute is an oracle (S28).
pub(super) fn check(viewer: Viewer, filter: &Filter) -> Result<()> {
    let is_seen = |name: &&str| ATTRIBUTES.iter().any(|a| a.name == *name && allows(viewer, Act::See, a));
    match attributes_of(filter).iter().find(|name| !is_seen(name)) {
        None => Ok(()),
        Some(_) => Err(Error::new(Code::Forbidden).because("filter_hidden")),
    }
}

impl Mark {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Name(name, user_id) => [b"n", user_id.as_bytes().as_slice(), name.as_bytes()].concat(),
            Self::Number(number) => [b"#".as_slice(), &number.to_be_bytes()].concat(),
        }
    }

    /// Reads what [`Mark::to_bytes`] wrote, if it is of the kind that the order has.
    pub(super) fn from_bytes(bytes: &[u8], order: Order) -> Option<Self> {
        match (bytes.split_first()?, order) {
            ((b'n', rest), Order::Username | Order::Match) => {
                let (user_id, name) = rest.split_first_chunk::<16>()?;
                Some(Self::Name(std::str::from_utf8(name).ok()?.to_owned(), UserId::from_bytes(*user_id)))
            }
            ((b'#', rest), Order::Number) => rest.try_into().ok().map(i64::from_be_bytes).map(Self::Number),
            _ => None,
        }
    }
}

impl SuperUser {
    /// A page of the users that match.
    ///
    /// # Errors
    /// [`Code::BadQuery`] for a cursor that was not given out for this very search, or an order that it has not.
    pub async fn find_users(&self, find: Find) -> Result<Found> {
        check(Viewer::SuperUser, &find.filter)?;
        let by_match = find.filter.prefix.is_some();
        let order = find.order.unwrap_or(if by_match { Order::Match } else { Order::Username });
        let pages = Pages::new(&self.context, format!("users {:?} {order:?} {}", find.filter, find.descending), find.limit);
        let after = pages.open(find.cursor.as_deref(), |bytes| Mark::from_bytes(bytes, order))?;
        let page = Page { order, descending: find.descending, after, limit: pages.fetch() };
        let (now, filter, with_total) = (self.context.now(), find.filter, find.with_total);
        let search = move |snapshot: &mut crate::store::Snapshot<'_>| {
            let total = if with_total { Some(snapshot.count_users(&filter, now)?) } else { None };
            Ok((snapshot.find_users(&filter, &page, now)?, total))
        };
        let (found, total) = self.context.services.inner.store.search(search).await?;
        let (found, next_cursor) = pages.cut(found, |(_, mark)| mark.to_bytes());
        let items: Vec<Account> = found.into_iter().map(|(account, _)| account).collect();
        items.iter().for_each(|account| self.context.trail.shows(account.user.user_id, Viewer::SuperUser));
        self.context.trail.counts_for(Viewer::SuperUser);
        self.context.settle_shown(Viewer::SuperUser).await?;
        Ok(Found { items, next_cursor, total })
    }

    /// How many users match.
    ///
    /// # Errors
    /// The database fails.
    pub async fn count_users(&self, filter: Filter) -> Result<i64> {
        check(Viewer::SuperUser, &filter)?;
        self.context.trail.counts_for(Viewer::SuperUser);
        let now = self.context.now();
        self.context.services.inner.store.search(move |snapshot| Ok(snapshot.count_users(&filter, now)?)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// S40, R26: what a cursor holds is read as data: it is a place in the order that was asked for, or refused.
        #[test]
        fn any_bytes_are_a_place_or_refused(bytes in "([n#].{0,30}|.{0,30})") {
            let bytes = bytes.as_bytes();
            for order in [Order::Username, Order::Match, Order::Number] {
                if let Some(mark) = Mark::from_bytes(bytes, order) {
                    prop_assert_eq!(mark.to_bytes(), bytes);
                    prop_assert_eq!(matches!(mark, Mark::Number(_)), order == Order::Number);
                }
            }
        }
    }
}
