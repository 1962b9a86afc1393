//! What the dialect reads: lists of parameters in which each narrows the others, and lenient bodies.
//!
//! A parameter that is not known is ignored, and so is a member of a body; null counts as not given. What is known must fit.

use super::super::super::input::{Input, Parts, read_object};
use crate::domain::user::{AccountStatus, UserRole};
use crate::error::{Code, Error, Result};
use crate::service::{Filter, LARGEST_PAGE, Numbered};
use actix_web::web::Query as ActixQuery;
use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};
use std::str::FromStr;

/// Items on a page where no size is asked for.
const PAGE: i64 = 20;

/// The query string: names and values, in their order, names perhaps more than once.
pub(super) struct Parameters(Vec<(String, String)>);

impl Input for Parameters {
    async fn read(parts: &mut Parts) -> Result<Self> {
        let query = ActixQuery::<Vec<(String, String)>>::from_query(parts.request.query_string());
        query.map(|pairs| Self(pairs.into_inner())).map_err(|_| Error::new(Code::BadQuery))
    }

    fn describe(_: &mut SchemaGenerator) -> Value {
        json!({})
    }
}

impl Parameters {
    fn values(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &'static str, default: i64, most: i64) -> Result<i64> {
        let bad = || Error::new(Code::BadQuery).at(name, format!("is not between 1 and {most}"));
        let read = |text: &str| text.parse().ok().filter(|n| (1..=most).contains(n)).ok_or_else(bad);
        self.values(name).map(read).last().unwrap_or(Ok(default))
    }

    /// Which page.
    pub(super) fn page(&self) -> Result<Numbered> {
        let number = self.number("page_number", 1, i64::from(i32::MAX))?;
        Ok(Numbered { number, size: self.number("page_size", PAGE, LARGEST_PAGE)? })
    }

    /// Whether the order is backwards.
    pub(super) fn is_descending(&self) -> Result<bool> {
        let bad = || Error::new(Code::BadQuery).at("asc_order", "is neither true nor false");
        match self.values("asc_order").last() {
            None | Some("true") => Ok(false),
            Some("false") => Ok(true),
            Some(_) => Err(bad()),
        }
    }

    /// The beginnings that names are looked for by; an empty one is none.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = &str> {
        self.values("prefix").filter(|prefix| !prefix.is_empty())
    }

    /// What holds in each of the lists that a parameter gives, words with `|` between. Without the parameter there is none.
    fn in_all<T: FromStr<Err = String> + PartialEq + Copy>(&self, name: &'static str) -> Result<Option<Vec<T>>> {
        let bad = |flaw: String| Error::new(Code::BadQuery).at(name, flaw);
        let mut left: Option<Vec<T>> = None;
        for list in self.values(name) {
            let words = list.split('|').map(|word| word.parse().map_err(bad)).collect::<Result<Vec<T>>>()?;
            left = Some(match left {
                None => words,
                Some(left) => left.into_iter().filter(|word| words.contains(word)).collect(),
            });
        }
        Ok(left)
    }

    /// Which users.
    pub(super) fn filter(&self) -> Result<Filter> {
        let roles = self.in_all::<UserRole>("user_role")?;
        let statuses = self.in_all::<AccountStatus>("account_status")?;
        let is_contradiction = roles.as_ref().is_some_and(Vec::is_empty) || statuses.as_ref().is_some_and(Vec::is_empty);
        Ok(Filter {
            person_prefixes: self.prefixes().map(str::to_owned).collect(),
            roles: roles.unwrap_or_default(),
            account_statuses: statuses.unwrap_or_default(),
            is_contradiction,
            ..Filter::default()
        })
    }
}

/// The members of a body that were given.
pub(super) struct Given(Map<String, Value>);

impl Input for Given {
    async fn read(parts: &mut Parts) -> Result<Self> {
        let members = read_object(parts).await?.ok_or_else(|| Error::new(Code::NotJson).because("body_missing"))?;
        Ok(Self(members.into_iter().filter(|(_, value)| !value.is_null()).collect()))
    }

    fn describe(_: &mut SchemaGenerator) -> Value {
        json!({})
    }
}

/// A member that must be there is not.
pub(super) fn missing(name: &'static str) -> Error {
    Error::new(Code::BadType).because("member_missing").at(name, "is missing")
}

impl Given {
    /// Takes a member, if it was given.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// Takes a text, if one was given.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Error::new(Code::BadType).at(name, "is no string")),
        }
    }

    /// Takes a flag, if one was given.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(Error::new(Code::BadType).at(name, "is neither true nor false")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parameters(query: &str) -> Parameters {
        Parameters(ActixQuery::<Vec<(String, String)>>::from_query(query).unwrap().into_inner())
    }

    #[test]
    fn lists_are_or_and_repetitions_are_and() {
        use UserRole::{Administrator, Publisher, Viewer};
        for (query, roles, is_contradiction) in [
            ("", vec![], false),
            ("user_role=viewer%7Cpublisher", vec![Viewer, Publisher], false),
            ("user_role=viewer|publisher&user_role=publisher|administrator", vec![Publisher], false),
            ("user_role=viewer&user_role=administrator", vec![], true),
            ("user_role=administrator&account_status=locked&account_status=inactive", vec![Administrator], true),
        ] {
            let filter = parameters(query).filter().unwrap();
            assert_eq!((filter.roles, filter.is_contradiction), (roles, is_contradiction), "{query}");
        }
        for bad in ["user_role=boss", "user_role=", "user_role=viewer|", "account_status=Locked", "user_role=viewer&user_role=x"]
        {
            assert!(parameters(bad).filter().is_err(), "{bad}");
        }
    }

    #[test]
    fn pages_are_bounded() {
        let page = |query: &str| parameters(query).page().map(|p| (p.number, p.size)).ok();
        assert_eq!(page(""), Some((1, PAGE)));
        assert_eq!(page("page_number=7&page_size=500"), Some((7, 500)));
        for bad in [
            "page_number=0",
            "page_number=-1",
            "page_size=0",
            "page_size=501",
            "page_size=",
            "page_number=1e3",
            "page_number=9999999999",
        ] {
            assert_eq!(page(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(query in "([a-z_]{0,12}=[a-z0-9%|+&=]{0,12}&?){0,4}|\\PC{0,60}") {
            if let Ok(pairs) = ActixQuery::<Vec<(String, String)>>::from_query(&query) {
                let read = Parameters(pairs.into_inner());
                if let Ok(page) = read.page() {
                    prop_assert!(page.number >= 1 && (1..=LARGEST_PAGE).contains(&page.size));
                }
                if let Ok(filter) = read.filter() {
                    prop_assert!(filter.person_prefixes.iter().all(|prefix| !prefix.is_empty()));
                }
                let _ = read.is_descending();
            }
        }
    }
}
