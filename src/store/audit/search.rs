//! Searching the trail.
//!
//! A search goes by the most telling of what is given: correlation id, subject, actor, else time. It reads the tail first and then the
//! index ([`super::index`]): what is taken into the index in between is found twice, and counted once; in the other order it could be
//! missed.

use super::super::error::StoreError;
use super::super::{Snapshot, is_unstorable};
use super::LinkRow;
use super::index::{BY_TIME, by_cid, by_person};
use crate::domain::audit::{Action, Link, Outcome, audit_events, audit_index};
use crate::domain::time::Utc;
use crate::error::Result;
use diesel::prelude::*;

/// An event's place in the order of answers: by time, then by chain and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// When the call began.
    pub time: Utc,
    /// The chain.
    pub chain: i64,
    /// The number in it.
    pub seq: i64,
}

/// What to look for; everything given must hold.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The correlation id.
    pub cid: Option<String>,
    /// Who acted.
    pub actor: Option<String>,
    /// On whom or what.
    pub subject: Option<String>,
    /// Who acted, or on whom or what.
    pub about: Option<String>,
    /// What the call set out to do.
    pub action: Option<Action>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Through which application.
    pub application: Option<String>,
    /// Not before.
    pub from: Option<Utc>,
    /// Before.
    pub to: Option<Utc>,
    /// After this place.
    pub after: Option<Position>,
    /// Newest first.
    pub newest_first: bool,
}

/// Puts what is asked of the events themselves, and their order, on a query that has them.
macro_rules! matching {
    ($query:expr, $search:expr) => {{
        use audit_events::dsl;
        let mut query = $query;
        let search: &Search = $search;
        if let Some(cid) = &search.cid {
            query = query.filter(dsl::cid.eq(cid));
        }
        if let Some(actor) = &search.actor {
            query = query.filter(dsl::actor.eq(actor));
        }
        if let Some(subject) = &search.subject {
            query = query.filter(dsl::subject.eq(subject));
        }
        if let Some(about) = &search.about {
            query = query.filter(dsl::actor.eq(about).or(dsl::subject.eq(about)));
        }
        if let Some(action) = search.action {
            query = query.filter(dsl::action.eq(action));
        }
        if let Some(outcome) = search.outcome {
            query = query.filter(dsl::outcome.eq(outcome));
        }
        if let Some(application) = &search.application {
            query = query.filter(dsl::application.eq(application));
        }
        query
    }};
}

/// Puts bounds of time, the place to go on after, and the order on a query whose columns of time, chain and number are these.
macro_rules! in_order {
    ($query:expr, $search:expr, $limit:expr, $time:expr, $chain:expr, $seq:expr, $of:expr) => {{
        let mut query = $query;
        let search: &Search = $search;
        let of: fn(Utc) -> _ = $of;
        if let Some(from) = search.from {
            query = query.filter($time.ge(of(from)));
        }
        if let Some(to) = search.to {
            query = query.filter($time.lt(of(to)));
        }
        if let Some(Position { time, chain, seq }) = search.after {
            let time = of(time);
            // The first comparison alone says nothing new; it lets the index be entered at the right place.
            let later_in_chain = $chain.eq(chain).and($seq.gt(seq));
            let earlier_in_chain = $chain.eq(chain).and($seq.lt(seq));
            query = if search.newest_first {
                query.filter($time.le(time)).filter($time.lt(time).or($chain.lt(chain)).or(earlier_in_chain))
            } else {
                query.filter($time.ge(time)).filter($time.gt(time).or($chain.gt(chain)).or(later_in_chain))
            };
        }
        query = if search.newest_first {
            query.order(($time.desc(), $chain.desc(), $seq.desc()))
        } else {
            query.order(($time.asc(), $chain.asc(), $seq.asc()))
        };
        query.limit($limit)
    }};
}

impl Search {
    /// The key of the index to go by.
    fn key(&self) -> i64 {
        let person = self.subject.as_ref().or(self.about.as_ref()).or(self.actor.as_ref());
        match (&self.cid, person) {
            (Some(cid), _) => by_cid(cid),
            (None, Some(person)) => by_person(person),
            (None, None) => BY_TIME,
        }
    }
}

impl Snapshot<'_> {
    /// The first `limit` events that match, in order.
    ///
    /// # Errors
    /// The database fails.
    pub fn audit_events(&mut self, search: &Search, limit: i64) -> Result<Vec<Link>> {
        let texts = [&search.cid, &search.actor, &search.subject, &search.about, &search.application];
        if texts.into_iter().flatten().any(|text| is_unstorable(text)) {
            return Ok(Vec::new());
        }
        let tail = self.tail(search, limit)?;
        let mut rows = self.indexed(search, limit)?;
        rows.extend(tail);
        let place = |row: &LinkRow| (row.time, row.chain, row.seq);
        rows.sort_unstable_by_key(place);
        rows.dedup_by_key(|row| place(row));
        if search.newest_first {
            rows.reverse();
        }
        rows.truncate(usize::try_from(limit).unwrap_or_default());
        Ok(rows.into_iter().map(LinkRow::into_link).collect())
    }

    fn tail(&mut self, search: &Search, limit: i64) -> Result<Vec<LinkRow>, StoreError> {
        let mut rows = Vec::new();
        // Chain by chain: so each tail is entered by the key, whatever a planner thinks of it.
        for (chain, indexed) in self.indexed_up_to()? {
            let beyond = audit_events::table.filter(audit_events::chain.eq(chain).and(audit_events::seq.gt(indexed)));
            let query = matching!(beyond.into_boxed(), search);
            let (time, chain, seq) = (audit_events::time, audit_events::chain, audit_events::seq);
            let query = in_order!(query, search, limit, time, chain, seq, |time| time);
            rows.extend(query.load::<LinkRow>(self.0)?);
        }
        Ok(rows)
    }

    fn indexed(&mut self, search: &Search, limit: i64) -> Result<Vec<LinkRow>, StoreError> {
        let place = audit_events::chain.eq(audit_index::chain).and(audit_events::seq.eq(audit_index::seq));
        let found = audit_index::table.inner_join(audit_events::table.on(place)).filter(audit_index::key.eq(search.key()));
        let query = matching!(found.select(audit_events::all_columns).into_boxed(), search);
        let (time, chain, seq) = (audit_index::micros, audit_index::chain, audit_index::seq);
        Ok(in_order!(query, search, limit, time, chain, seq, Utc::micros).load(self.0)?)
    }
}
