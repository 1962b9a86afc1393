//! Statements that run again and again and are kept prepared.
//!
//! Diesel takes the text of an `UPDATE`, and of SQL written by hand, for another one every time. It is parsed anew, and on PostgreSQL that is
//! a message of its own: two waits for the server instead of one. What every call runs is therefore written as a text that never
//! changes, with a question mark for each parameter. It names its columns: a release to come may add some while the statement is kept.
//!
//! ```text
//! prepared("UPDATE counters SET value = ? WHERE name = ?").bind::<BigInt, _>(1).bind::<Text, _>("ants").execute(connection)?;
//! ```

use diesel::backend::Backend;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{HasSqlType, Untyped};
use std::marker::PhantomData;

/// A statement of this text, which has question marks for parameters and nowhere else.
pub(super) const fn prepared(text: &'static str) -> Prepared {
    Prepared(text)
}

/// A statement, as far as its parameters are given.
pub(super) trait Statement: Sized {
    /// How many are given.
    const GIVEN: usize;

    fn text(&self) -> &'static str;

    /// The text from the last parameter given to the next one.
    fn piece(&self) -> &'static str {
        self.text().split('?').nth(Self::GIVEN).unwrap_or_default()
    }

    /// Gives the next one.
    fn bind<Kind, Value>(self, value: Value) -> Bound<Self, Kind, Value> {
        Bound { statement: self, value, kind: PhantomData }
    }
}

pub(super) struct Prepared(&'static str);

pub(super) struct Bound<S, Kind, Value> {
    statement: S,
    value: Value,
    kind: PhantomData<Kind>,
}

impl Statement for Prepared {
    const GIVEN: usize = 0;

    fn text(&self) -> &'static str {
        self.0
    }
}

impl<S: Statement, Kind, Value> Statement for Bound<S, Kind, Value> {
    const GIVEN: usize = S::GIVEN + 1;

    fn text(&self) -> &'static str {
        self.statement.text()
    }
}

impl<DB: Backend> QueryFragment<DB> for Prepared {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(self.piece());
        Ok(())
    }
}

impl<DB, S, Kind, Value> QueryFragment<DB> for Bound<S, Kind, Value>
where
    DB: Backend + HasSqlType<Kind>,
    S: Statement + QueryFragment<DB>,
    Value: ToSql<Kind, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.statement.walk_ast(out.reborrow())?;
        out.push_bind_param::<Kind, Value>(&self.value)?;
        out.push_sql(self.piece());
        Ok(())
    }
}

/// A connection finds it among those that it has prepared by its text.
impl QueryId for Prepared {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<S, Kind, Value> QueryId for Bound<S, Kind, Value> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Prepared {
    type SqlType = Untyped;
}

impl<S, Kind, Value> Query for Bound<S, Kind, Value> {
    type SqlType = Untyped;
}

impl<C> RunQueryDsl<C> for Prepared {}
impl<C, S, Kind, Value> RunQueryDsl<C> for Bound<S, Kind, Value> {}
