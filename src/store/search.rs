//! Finding users: filters, order and pages.
//!
//! A search is put together as one SQL text for both databases, every value a parameter, every column and order from a closed set. Pages are
//! keyset pages: each begins after the key of the last row of the one before, so a page deep in the list costs what the first one
//! costs. A search by the beginning of a name walks the index of names and comes in its order; a user with several matching names
//! comes at the first of them.

use super::bulk::insert_terms;
use super::connection::{AnyConnection, Db, Location, Purpose};
use super::error::StoreError;
use super::{Snapshot, Tx, is_unstorable};
use crate::domain::ids::{GroupId, UserId};
use crate::domain::sql;
use crate::domain::text::fold;
use crate::domain::time::Utc;
use crate::domain::user::{Account, AccountStatus, ApprovalStatus, LICENSED_FOR, SignUpStatus, User, UserRole};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::query_builder::BoxedSqlQuery;
use diesel::sql_types::{BigInt, Nullable, Text};
use std::collections::{BTreeMap, HashMap};

diesel::table! {
    use crate::domain::sql;
    use diesel::sql_types::*;

    /// What finds users by the beginning of a name.
    user_search (term, user_id) {
        /// A folded name, or a word of one.
        term -> Text,
        /// Whom it finds.
        user_id -> sql::Uuid,
        /// Whether it is a whole name, of those that a prefix is looked for in.
        is_field -> Bool,
        /// Whether it is the username, the first or the last name.
        is_person -> Bool,
    }
}

diesel::table! {
    use crate::domain::sql;
    use diesel::sql_types::*;

    /// What a list in the order of people's names goes by.
    user_order (user_id) {
        /// Whom it places.
        user_id -> sql::Uuid,
        /// The key of the order.
        sort_key -> Text,
    }
}

/// Which users are looked for; everything given must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// A name begins so, without regard to case.
    pub prefix: Option<String>,
    /// Each word begins a word of a name or of the e-mail address.
    pub words: Option<String>,
    /// The username, without regard to case.
    pub username: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
    /// One of these roles.
    pub roles: Vec<UserRole>,
    /// One of these account statuses.
    pub account_statuses: Vec<AccountStatus>,
    /// This approval status.
    pub approval_status: Option<ApprovalStatus>,
    /// This sign-up status.
    pub sign_up_status: Option<SignUpStatus>,
    /// A member of the group of this id or name.
    pub group: Option<String>,
    /// The username, the first or the last name begins so, with each of these.
    pub person_prefixes: Vec<String>,
    /// This user and no other.
    pub only: Option<UserId>,
    /// What is looked for contradicts itself: there is no such user.
    pub is_contradiction: bool,
}

/// The order of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By username.
    Username,
    /// By the name that matched the prefix.
    Match,
    /// In order of creation.
    Number,
}

/// The place of a user in an order: the key by which it is ordered, and what makes it unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A folded name.
    Name(String, UserId),
    /// A number.
    Number(i64),
}

/// A page to be read.
#[derive(Clone, Debug)]
pub struct Page {
    /// The order.
    pub order: Order,
    /// Backwards.
    pub descending: bool,
    /// After this place.
    pub after: Option<Mark>,
    /// Users at most.
    pub limit: i64,
}

#[derive(diesel::QueryableByName)]
struct Hit {
    #[diesel(sql_type = sql::Uuid)]
    user_id: UserId,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(diesel::QueryableByName)]
struct Total {
    #[diesel(sql_type = BigInt)]
    total: i64,
}

pub(super) enum Value {
    Text(String),
    Id(UserId),
    Group(GroupId),
    Time(Utc),
    Int(i64),
}

/// A statement and its parameters.
#[derive(Default)]
pub(super) struct Statement {
    text: String,
    values: Vec<Value>,
}

impl Statement {
    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// A parameter in place.
    pub(super) fn value(&mut self, value: Value) -> &mut Self {
        self.values.push(value);
        self.text.push_str(&format!("${}", self.values.len()));
        self
    }

    pub(super) fn text(&mut self, before: &str, value: &str, after: &str) {
        self.push(before);
        self.value(Value::Text(value.to_owned()));
        self.push(after);
    }

    /// `column` begins with `prefix`: everything from it up to it with the last of all characters behind, which no name has.
    fn begins(&mut self, column: &str, prefix: &str) {
        self.text(&format!("{column} >= "), prefix, "");
        self.text(&format!(" AND {column} < "), &end_of(prefix), "");
    }

    pub(super) fn bound(self) -> BoxedSqlQuery<'static, Db, diesel::query_builder::SqlQuery> {
        let mut query = diesel::sql_query(self.text).into_boxed::<Db>();
        for value in self.values {
            query = match value {
                Value::Text(v) => query.bind::<Text, _>(v),
                Value::Id(v) => query.bind::<sql::Uuid, _>(v),
                Value::Group(v) => query.bind::<sql::Uuid, _>(v),
                Value::Time(v) => query.bind::<sql::Instant, _>(v),
                Value::Int(v) => query.bind::<BigInt, _>(v),
            };
        }
        query
    }
}

/// A condition that one of several things holds; of none of them it is no condition.
fn any_of<T>(s: &mut Statement, things: &[T], mut write: impl FnMut(&mut Statement, &T)) {
    for (at, thing) in things.iter().enumerate() {
        s.push(match (at, things.len()) {
            (0, 1) => " AND ",
            (0, _) => " AND (",
            (_, _) => " OR ",
        });
        write(s, thing);
    }
    if things.len() > 1 {
        s.push(")");
    }
}

/// What everything that begins with `prefix` comes before.
fn end_of(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}")
}

impl Filter {
    /// Whether nothing can match: a text that no stored one can be equal to, or signs alone where words are looked for.
    pub(super) fn is_hopeless(&self) -> bool {
        let texts = [&self.prefix, &self.words, &self.username, &self.email, &self.group];
        let has_no_word = self.words.as_ref().is_some_and(|words| !words.trim().is_empty() && words_of(words).is_empty());
        self.is_contradiction
            || has_no_word
            || texts.into_iter().flatten().chain(&self.person_prefixes).any(|text| is_unstorable(text))
    }

    /// Whether every user matches.
    pub(super) fn is_empty(&self) -> bool {
        let Self { prefix, words, username, email, roles, account_statuses, approval_status, sign_up_status, group, .. } = self;
        let texts = [prefix, words, username, email, group];
        let is_plain = texts.iter().all(|text| text.is_none()) && roles.is_empty() && account_statuses.is_empty();
        let is_undecided = approval_status.is_none() && sign_up_status.is_none();
        is_plain && is_undecided && self.person_prefixes.is_empty() && self.only.is_none() && !self.is_contradiction
    }

    /// The conditions on `u`, apart from the prefix where the order already walks the matching names.
    pub(super) fn write(&self, s: &mut Statement, order: Order, now: Utc) {
        s.push(" WHERE 1 = 1");
        for prefix in &self.person_prefixes {
            s.push(" AND u.user_id IN (SELECT user_id FROM user_search WHERE is_person AND ");
            s.begins("term", &fold(prefix));
            s.push(")");
        }
        if let Some(user_id) = self.only {
            s.push(" AND u.user_id = ");
            s.value(Value::Id(user_id));
        }
        if let Some(prefix) = self.prefix.as_deref().filter(|_| order != Order::Match) {
            s.push(" AND u.user_id IN (SELECT user_id FROM user_search WHERE is_field AND ");
            s.begins("term", &fold(prefix));
            s.push(")");
        }
        for word in self.words.iter().flat_map(|w| words_of(w)) {
            s.push(" AND u.user_id IN (SELECT user_id FROM user_search WHERE ");
            s.begins("term", &word);
            s.push(")");
        }
        if let Some(username) = &self.username {
            s.text(" AND u.username_key = ", &fold(username), "");
        }
        if let Some(email) = &self.email {
            s.text(" AND u.email = ", email, "");
        }
        // Words of closed sets are literals, and one condition each where there is one: an index of those who have it is seen to fit.
        if let Some(status) = self.approval_status {
            s.push(&format!(" AND u.approval_status = '{}'", status.as_str()));
        }
        if let Some(status) = self.sign_up_status {
            s.push(&format!(" AND u.sign_up_status = '{}'", status.as_str()));
        }
        any_of(s, &self.roles, |s, role| s.push(&format!("u.user_role = '{}'", role.as_str())));
        let since = now - LICENSED_FOR;
        any_of(s, &self.account_statuses, |s, status| match status {
            AccountStatus::Locked => s.push("u.is_locked"),
            AccountStatus::Licensed => {
                s.push("(NOT u.is_locked AND u.active_time > ");
                s.value(Value::Time(since)).push(")");
            }
            AccountStatus::Inactive => {
                s.push("(NOT u.is_locked AND (u.active_time IS NULL OR u.active_time <= ");
                s.value(Value::Time(since)).push("))");
            }
        });
        if let Some(group) = &self.group {
            s.push(" AND u.user_id IN (SELECT m.user_id FROM group_members m JOIN groups g ON g.group_id = m.group_id WHERE ");
            match group.parse::<GroupId>() {
                Ok(id) => {
                    s.push("g.group_id = ");
                    s.value(Value::Group(id));
                }
                Err(_) => s.text("g.name_key = ", &fold(group), ""),
            }
            s.push(")");
        }
    }

    fn page(&self, page: &Page, now: Utc, is_postgres: bool) -> Statement {
        let mut s = Statement::default();
        let prefix = fold(self.prefix.as_deref().unwrap_or_default());
        match page.order {
            Order::Match => {
                s.push("SELECT u.user_id, s.term AS name, u.number FROM user_search s JOIN users u ON u.user_id = s.user_id");
                self.write(&mut s, page.order, now);
                s.push(" AND s.is_field");
                // A later page has its own beginning below. With two on the same column SQLite would go by the first, that of the
                // prefix, and over all pages before; PostgreSQL goes by both, and takes the wrong plan without the first.
                let (begins, ends) = match (&page.after, page.descending) {
                    (Some(_), false) if !is_postgres => (false, true),
                    (Some(_), true) if !is_postgres => (true, false),
                    (Some(_) | None, _) => (true, true),
                };
                if begins {
                    s.text(" AND s.term >= ", &prefix, "");
                }
                if ends {
                    s.text(" AND s.term < ", &end_of(&prefix), "");
                }
                s.push(" AND NOT EXISTS (SELECT 1 FROM user_search t WHERE t.user_id = s.user_id AND t.is_field AND t.term < s.term AND ");
                s.text("t.term >= ", &prefix, ")");
            }
            Order::Username | Order::Number => {
                s.push("SELECT u.user_id, u.username_key AS name, u.number FROM users u");
                self.write(&mut s, page.order, now);
            }
        }
        let (than, direction) = if page.descending { ("<", "DESC") } else { (">", "ASC") };
        match &page.after {
            Some(Mark::Name(name, user_id)) => {
                let key = if page.order == Order::Match { "s.term" } else { "u.username_key" };
                let id = if page.order == Order::Match { "s.user_id" } else { "u.user_id" };
                s.text(&format!(" AND ({key}, {id}) {than} ("), name, ", ");
                s.value(Value::Id(*user_id)).push(")");
            }
            Some(Mark::Number(number)) => {
                s.push(&format!(" AND u.number {than} "));
                s.value(Value::Int(*number));
            }
            None => {}
        }
        s.push(&match page.order {
            Order::Match => format!(" ORDER BY s.term {direction}, s.user_id {direction}"),
            Order::Username => format!(" ORDER BY u.username_key {direction}, u.user_id {direction}"),
            Order::Number => format!(" ORDER BY u.number {direction}"),
        });
        s.push(" LIMIT ");
        s.value(Value::Int(page.limit));
        s
    }
}

impl Snapshot<'_> {
    /// A page of the accounts that match, each with its place in the order.
    ///
    /// # Errors
    /// The database fails.
    pub fn find_users(&mut self, filter: &Filter, page: &Page, now: Utc) -> Result<Vec<(Account, Mark)>, StoreError> {
        if filter.is_hopeless() {
            return Ok(Vec::new());
        }
        let hits: Vec<Hit> = filter.page(page, now, self.0.is_postgres()).bound().load(self.0)?;
        let ids: Vec<UserId> = hits.iter().map(|h| h.user_id).collect();
        let mut found: HashMap<UserId, Account> =
            self.accounts_of(&ids, now)?.into_iter().map(|account| (account.user.user_id, account)).collect();
        let with_mark = |hit: Hit| {
            let mark = match page.order {
                Order::Number => Mark::Number(hit.number),
                Order::Username | Order::Match => Mark::Name(hit.name, hit.user_id),
            };
            found.remove(&hit.user_id).map(|account| (account, mark))
        };
        Ok(hits.into_iter().filter_map(with_mark).collect())
    }

    /// How many accounts match.
    ///
    /// # Errors
    /// The database fails.
    pub fn count_users(&mut self, filter: &Filter, now: Utc) -> Result<i64, StoreError> {
        if filter.is_hopeless() {
            return Ok(0);
        }
        let mut s = Statement::default();
        s.push("SELECT count(*) AS total FROM users u");
        filter.write(&mut s, Order::Number, now);
        let total: Total = s.bound().get_result(self.0)?;
        Ok(total.total)
    }
}

/// How the database would walk a page of a search by prefix, the first one or the one after the name `after`; for the test that holds
/// that no page is a scan.
///
/// # Errors
/// The database fails.
pub fn plan_of_prefix_search(location: &Location, prefix: &str, after: Option<&str>) -> Result<String, StoreError> {
    let after = after.map(|name| Mark::Name(name.to_owned(), UserId::from_bytes([0; 16])));
    let filter = Filter { prefix: Some(prefix.to_owned()), ..Filter::default() };
    let page = Page { order: Order::Match, descending: false, after, limit: 50 };
    plan_of_search(location, &filter, &page)
}

/// How the database would walk a page of any search, likewise.
///
/// # Errors
/// The database fails.
pub fn plan_of_search(location: &Location, filter: &Filter, page: &Page) -> Result<String, StoreError> {
    let mut connection = AnyConnection::open(location, Purpose::Reading)?;
    let mut statement = filter.page(page, Utc::from_micros(0), connection.is_postgres());
    let explain = if connection.is_postgres() { "EXPLAIN " } else { "EXPLAIN QUERY PLAN " };
    statement.text.insert_str(0, explain);
    let lines: Vec<PlanLine> = statement.bound().load(&mut connection)?;
    Ok(lines.into_iter().map(|l| l.0).collect::<Vec<_>>().join("\n"))
}

/// A line of a plan, whichever column it is in.
struct PlanLine(String);

impl diesel::deserialize::QueryableByName<Db> for PlanLine {
    fn build<'a>(row: &impl diesel::row::NamedRow<'a, Db>) -> diesel::deserialize::Result<Self> {
        let line = diesel::row::NamedRow::get::<Text, String>(row, "QUERY PLAN");
        line.or_else(|_| diesel::row::NamedRow::get::<Text, String>(row, "detail")).map(Self)
    }
}

/// The words of a text, folded.
fn words_of(text: &str) -> Vec<String> {
    fold(text).split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

/// The names of a user from which it is found.
#[derive(diesel::QueryableByName)]
pub(super) struct Names {
    #[diesel(sql_type = sql::Uuid)]
    pub(super) user_id: UserId,
    #[diesel(sql_type = Text)]
    pub(super) username: String,
    #[diesel(sql_type = Text)]
    pub(super) login_name: String,
    #[diesel(sql_type = Text)]
    pub(super) display_name: String,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) first_name: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) middle_name: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) last_name: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) email: Option<String>,
}

impl From<&User> for Names {
    fn from(user: &User) -> Self {
        let line = |line: &Option<crate::domain::text::Line>| line.as_ref().map(|l| l.as_str().to_owned());
        Self {
            user_id: user.user_id,
            username: user.username.as_str().to_owned(),
            login_name: user.login_name.as_str().to_owned(),
            display_name: user.display_name.as_str().to_owned(),
            first_name: line(&user.first_name),
            middle_name: line(&user.middle_name),
            last_name: line(&user.last_name),
            email: user.email.as_ref().map(|e| e.as_str().to_owned()),
        }
    }
}

/// Of which names a term is one.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kind {
    /// A whole name, of those that a prefix is looked for in.
    pub(super) is_field: bool,
    /// The username, the first or the last name.
    pub(super) is_person: bool,
}

/// What is between the names of a sort key: less than every character that a name can have.
const BETWEEN: char = '\u{1}';

/// What finds a user.
#[derive(Clone, PartialEq, Eq)]
pub struct Terms {
    pub(super) terms: BTreeMap<String, Kind>,
    pub(super) sort_key: String,
}

impl Terms {
    /// What finds this user.
    pub fn of(user: &User) -> Self {
        Names::from(user).into()
    }
}

impl From<Names> for Terms {
    fn from(names: Names) -> Self {
        Self { terms: names.terms(), sort_key: names.sort_key() }
    }
}

impl Names {
    /// What finds the user.
    pub(super) fn terms(&self) -> BTreeMap<String, Kind> {
        let fields = [Some(&self.username), Some(&self.login_name), Some(&self.display_name)];
        let names = [self.first_name.as_ref(), self.last_name.as_ref()];
        let mut terms: BTreeMap<String, Kind> = BTreeMap::new();
        let words = fields.into_iter().chain(names).chain([self.middle_name.as_ref(), self.email.as_ref()]).flatten();
        for word in words.flat_map(|text| words_of(text)) {
            terms.entry(word).or_default();
        }
        // The middle name is not among those that a prefix is looked for in.
        for name in fields.into_iter().chain(names).flatten().map(|n| fold(n)).filter(|n| !n.is_empty()) {
            terms.entry(name).or_default().is_field = true;
        }
        for name in [Some(&self.username)].into_iter().chain(names).flatten().map(|n| fold(n)).filter(|n| !n.is_empty()) {
            terms.entry(name).or_default().is_person = true;
        }
        terms
    }

    /// What a list in the order of first name, last name and username goes by. The username makes it unique.
    pub(super) fn sort_key(&self) -> String {
        let [first, last] = [&self.first_name, &self.last_name].map(|n| fold(n.as_deref().unwrap_or_default()));
        format!("{first}{BETWEEN}{last}{BETWEEN}{}", fold(&self.username))
    }
}

impl Tx<'_> {
    /// Makes a user found by its names as they are now.
    pub(super) fn index_user(&mut self, before: &User, after: &User) -> Result<(), StoreError> {
        let terms = Terms::of(after);
        if Terms::of(before) == terms {
            return Ok(());
        }
        for table in ["user_search", "user_order"] {
            diesel::sql_query(format!("DELETE FROM {table} WHERE user_id = $1"))
                .bind::<sql::Uuid, _>(after.user_id)
                .execute(self.0)?;
        }
        insert_terms(self.0, &[(after.user_id, &terms)])
    }
}

/// Of which version what finds users is. It is derived from the names by folding them, which SQL cannot do: whoever changes what is
/// derived counts this up, and every database makes it anew.
const VERSION: i64 = 2;
/// Users whose names are read at a time.
const STRIDE: i64 = 1000;

#[derive(diesel::QueryableByName)]
struct Made {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

/// Whether what finds users is of an older version.
///
/// # Errors
/// The database fails.
pub(super) fn is_outdated(connection: &mut AnyConnection) -> Result<bool, StoreError> {
    let made: Made = diesel::sql_query("SELECT value FROM counters WHERE name = 'search_version'").get_result(connection)?;
    Ok(made.value < VERSION)
}

/// Makes anew what finds users, in one transaction.
///
/// # Errors
/// The database fails; nothing has changed then.
pub(super) fn renew(connection: &mut AnyConnection) -> Result<(), StoreError> {
    connection.begin_write()?;
    let renewed = renew_within(connection);
    connection.batch_execute(if renewed.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    renewed
}

fn renew_within(connection: &mut AnyConnection) -> Result<(), StoreError> {
    connection.batch_execute("DELETE FROM user_search; DELETE FROM user_order")?;
    let next = "SELECT user_id, username, login_name, display_name, first_name, middle_name, last_name, email FROM users \
        WHERE number > $1 AND number <= $2";
    let last: Made = diesel::sql_query("SELECT value FROM counters WHERE name = 'user_number'").get_result(connection)?;
    let mut from = 0;
    while from < last.value {
        let names: Vec<Names> =
            diesel::sql_query(next).bind::<BigInt, _>(from).bind::<BigInt, _>(from + STRIDE).load(connection)?;
        let terms: Vec<(UserId, Terms)> = names.into_iter().map(|names| (names.user_id, names.into())).collect();
        insert_terms(connection, &terms.iter().map(|(user_id, terms)| (*user_id, terms)).collect::<Vec<_>>())?;
        from += STRIDE;
    }
    diesel::sql_query("UPDATE counters SET value = $1 WHERE name = 'search_version'")
        .bind::<BigInt, _>(VERSION)
        .execute(connection)?;
    Ok(())
}
