//! Searching the trail.
//!
//! A search goes by the most telling of what is given: correlation id, subject, actor, else time. It reads the tail first and then the
//! index ([`super::index`]): what is taken into the index in between is found twice, and counted once; in the other order it could be
//! missed.

use super::super::error::StoreError;
use super::super::{SEARCH_TIME, Snapshot, is_unstorable};
use super::batches::Place;
use super::index::{BY_TIME, by_cid, by_person};
use crate::domain::audit::{Link, Outcome, audit_index};
use crate::domain::ids::UserId;
use crate::domain::time::Utc;
use crate::error::Result;
use diesel::prelude::*;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::time::Instant;

/// Entries of the index looked at in one stride, at least and at most.
const LEAST: usize = 50;
const MOST: usize = 4000;
/// Batches of the tail looked at in one stride.
const TAIL: i64 = 64;

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
    /// On whom or what, or whom the answer showed.
    pub subject: Option<String>,
    /// Who acted, or on whom or what.
    pub about: Option<String>,
    /// What the call set out to do.
    pub action: Option<String>,
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

    /// Whether it looks for this one.
    fn wants(&self, link: &Link) -> bool {
        let event = &link.event;
        let is = |text: &Option<String>, wanted: &Option<String>| wanted.is_none() || text == wanted;
        let was_shown = |wanted: &String| {
            event.shown.as_ref().is_some_and(|persons| wanted.parse().is_ok_and(|id: UserId| persons.contain(id)))
        };
        let about = |wanted: &String| event.actor.id.as_ref() == Some(wanted) || event.subject.as_ref() == Some(wanted);
        self.cid.as_ref().is_none_or(|cid| event.cid == *cid)
            && is(&event.actor.id, &self.actor)
            && (is(&event.subject, &self.subject) || self.subject.as_ref().is_some_and(was_shown))
            && self.about.as_ref().is_none_or(about)
            && self.action.as_ref().is_none_or(|action| event.action.as_str() == action)
            && self.outcome.is_none_or(|outcome| event.outcome == outcome)
            && is(&event.application, &self.application)
            && self.from.is_none_or(|from| event.time >= from)
            && self.to.is_none_or(|to| event.time < to)
            && self.after.is_none_or(|after| self.order(after, Position::of(link)).is_lt())
    }

    /// Which of two places comes first.
    fn order(&self, one: Position, other: Position) -> Ordering {
        let order = (one.time, one.chain, one.seq).cmp(&(other.time, other.chain, other.seq));
        if self.newest_first { order.reverse() } else { order }
    }

    /// Keeps the first `limit`, in order, each once.
    fn trim(&self, links: &mut Vec<Link>, limit: usize) {
        links.sort_unstable_by(|one, other| self.order(Position::of(one), Position::of(other)));
        links.dedup_by_key(|link| (link.chain, link.seq));
        links.truncate(limit);
    }
}

impl Position {
    fn of(link: &Link) -> Self {
        Self { time: link.event.time, chain: link.chain, seq: link.seq }
    }
}

impl Snapshot<'_> {
    /// The first `limit` events that match, in order.
    ///
    /// # Errors
    /// The database fails, or the search takes too long.
    pub fn audit_events(&mut self, search: &Search, limit: i64) -> Result<Vec<Link>> {
        let limit = usize::try_from(limit).unwrap_or_default();
        let texts = [&search.cid, &search.actor, &search.subject, &search.about, &search.application];
        if limit == 0 || texts.into_iter().flatten().any(|text| is_unstorable(text)) {
            return Ok(Vec::new());
        }
        let mut links = self.tail(search, limit)?;
        links.extend(self.indexed(search, limit)?);
        search.trim(&mut links, limit);
        // The values that changed stand apart; chain by chain, and then in order again.
        let chains: BTreeSet<i64> = links.iter().map(|link| link.chain).collect();
        let mut filled = Vec::with_capacity(links.len());
        for chain in chains {
            let mut of_chain: Vec<Link> = links.extract_if(.., |link| link.chain == chain).collect();
            self.fill_changes(chain, of_chain.iter_mut())?;
            filled.extend(of_chain);
        }
        search.trim(&mut filled, limit);
        Ok(filled)
    }

    fn tail(&mut self, search: &Search, limit: usize) -> Result<Vec<Link>, StoreError> {
        let mut links = Vec::new();
        for (chain, mut seq) in self.indexed_up_to()? {
            loop {
                let beyond = self.links_after(chain, seq, TAIL)?;
                let Some((_, last)) = beyond.last() else { break };
                seq = last.seq;
                links.extend(beyond.into_iter().map(|(_, link)| link).filter(|link| search.wants(link)));
                search.trim(&mut links, limit);
            }
        }
        Ok(links)
    }

    /// Along the index, in strides that grow: most of what a rare filter is held against it lets go.
    fn indexed(&mut self, search: &Search, limit: usize) -> Result<Vec<Link>, StoreError> {
        let mut links = Vec::new();
        let mut stride = limit.clamp(LEAST, MOST);
        let mut after = search.after;
        let began = Instant::now();
        while links.len() < limit {
            let entries = self.entries(search, after, stride)?;
            let Some((time, last)) = entries.last() else { break };
            after = Some(Position { time: *time, chain: last.chain, seq: last.seq });
            let is_end = entries.len() < stride;
            let mut places: Vec<Place> = entries.into_iter().map(|(_, place)| place).collect();
            links.extend(self.links_at(&mut places, |link| search.wants(link))?);
            if is_end {
                break;
            }
            // Nobody waits for it any more.
            if began.elapsed() > SEARCH_TIME {
                return Err(StoreError::Unavailable("a search of the trail took too long".to_owned()));
            }
            stride = (stride * 2).min(MOST);
        }
        Ok(links)
    }

    /// The next places in the index.
    fn entries(&mut self, search: &Search, after: Option<Position>, limit: usize) -> Result<Vec<(Utc, Place)>, StoreError> {
        use audit_index::dsl;
        let mut query = dsl::audit_index.filter(dsl::key.eq(search.key())).into_boxed();
        if let Some(from) = search.from {
            query = query.filter(dsl::micros.ge(from.micros()));
        }
        if let Some(to) = search.to {
            query = query.filter(dsl::micros.lt(to.micros()));
        }
        if let Some(Position { time, chain, seq }) = after {
            let time = time.micros();
            // The first comparison alone says nothing new; it lets the index be entered at the right place.
            let later_in_chain = dsl::chain.eq(chain).and(dsl::seq.gt(seq));
            let earlier_in_chain = dsl::chain.eq(chain).and(dsl::seq.lt(seq));
            query = if search.newest_first {
                query.filter(dsl::micros.le(time)).filter(dsl::micros.lt(time).or(dsl::chain.lt(chain)).or(earlier_in_chain))
            } else {
                query.filter(dsl::micros.ge(time)).filter(dsl::micros.gt(time).or(dsl::chain.gt(chain)).or(later_in_chain))
            };
        }
        query = if search.newest_first {
            query.order((dsl::micros.desc(), dsl::chain.desc(), dsl::seq.desc()))
        } else {
            query.order((dsl::micros.asc(), dsl::chain.asc(), dsl::seq.asc()))
        };
        let rows: Vec<(i64, i64, i64, i64)> = query
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .select((dsl::micros, dsl::chain, dsl::seq, dsl::month))
            .load(self.0)?;
        Ok(rows.into_iter().map(|(micros, chain, seq, month)| (Utc::from_micros(micros), Place { chain, seq, month })).collect())
    }
}
