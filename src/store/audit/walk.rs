//! A walk along a chain: every event, its hash, its place and the month of its batch are looked at, from an end that is trusted to the head.
//!
//! Months are held as strictly as hashes, for by months the trail is dropped. The month of a batch is the greatest of that before it and of
//! those of its events' times. The one exception is a month that an `audit.expire` names: programs before schema 16 had chains go on with
//! it that had been dropped to their ends.

use super::super::Snapshot;
use super::super::error::StoreError;
use super::batches;
use crate::domain::audit::{Action, ActorType, End, Link, Outcome};

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Flaw {
    pub(in super::super) chain: i64,
    pub(in super::super) seq: i64,
    pub(in super::super) text: String,
}

impl Flaw {
    pub(super) fn new(chain: i64, seq: i64, text: impl Into<String>) -> Self {
        Self { chain, seq, text: text.into() }
    }
}

impl From<Flaw> for StoreError {
    fn from(Flaw { chain, seq, text }: Flaw) -> Self {
        Self::Broken(format!("the audit trail is broken in chain {chain} at event {seq}: {text}"))
    }
}

/// What became of a stride.
pub(super) type Strode = Result<(), Flaw>;

/// A walk along one chain.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    /// How far it has come.
    pub(super) at: End,
    /// Batches whose month nothing in this chain accounts for: the number of the first event, and the month.
    raised: Vec<(i64, i64)>,
    /// Months that an `audit.expire` names: the number of the event, and the month.
    named: Vec<(i64, i64)>,
}

impl Walk {
    /// From where a chain begins.
    pub(super) fn from(beginning: End) -> Self {
        Self { at: beginning, raised: Vec::new(), named: Vec::new() }
    }

    /// Goes on by so many batches, not beyond `end`; hands over each link that holds, with the month of its batch.
    pub(super) fn stride(
        &mut self,
        snapshot: &mut Snapshot<'_>,
        end: i64,
        limit: i64,
        mut see: impl FnMut(i64, &Link),
    ) -> Result<Strode, StoreError> {
        let (chain, next) = (self.at.head.chain, self.at.head.seq + 1);
        let read = snapshot.links_by_batch(chain, self.at.head.seq, limit).and_then(|mut batches| {
            for (month, links) in &mut batches {
                snapshot.fill_changes_of(chain, Some(*month), links.iter_mut())?;
            }
            Ok(batches)
        });
        let batches = match read {
            Ok(batches) => batches,
            Err(StoreError::Broken(cause)) => {
                return Ok(Err(Flaw::new(chain, next, format!("an event from here on cannot be read: {cause}"))));
            }
            Err(error) => return Err(error),
        };
        if batches.is_empty() {
            return Ok(Err(Flaw::new(chain, next, "the chain ends before its head")));
        }
        for (month, links) in batches.into_iter().filter(|(_, links)| !links.is_empty()) {
            if self.at.head.seq >= end {
                break;
            }
            if let Err(flaw) = self.step(month, &links, end, &mut see) {
                return Ok(Err(flaw));
            }
        }
        Ok(Ok(()))
    }

    fn step(&mut self, month: i64, links: &[Link], end: i64, see: &mut impl FnMut(i64, &Link)) -> Strode {
        let chain = self.at.head.chain;
        let before = self.at.head.seq;
        for link in links {
            if link.seq > end {
                return Err(Flaw::new(chain, link.seq, "the event stands beyond the chain's head"));
            }
            if let Some(flaw) = link.flaw_after(&self.at.head) {
                return Err(Flaw::new(chain, link.seq, flaw));
            }
            if let Some(month) = named_by(link) {
                self.named.push((link.seq, month));
            }
            see(month, link);
            self.at.head = link.as_head();
        }
        let due = batches::month_of(self.at.month, links);
        if month < due {
            return Err(Flaw::new(
                chain,
                before + 1,
                "the month of the batch is before those of its events' times, or before the month before",
            ));
        }
        if month > due {
            self.raised.push((before + 1, month));
        }
        self.at.month = month;
        Ok(())
    }

    /// What is wrong with where the walk has ended, if the chain's head is this one.
    pub(super) fn flaw_at(&self, end: &End) -> Option<Flaw> {
        let End { head, month } = &self.at;
        if *head != end.head {
            return Some(Flaw::new(head.chain, end.head.seq, "the chain's last event does not match its head"));
        }
        (*month != end.month)
            .then(|| Flaw::new(head.chain, end.head.seq, "the month of the chain's head is not that of its last event"))
    }

    /// The same for a head of format 1, whose month may be beyond the last event's where an `audit.expire` names it.
    pub(super) fn raise_to(&mut self, month: i64) {
        if month > self.at.month {
            self.raised.push((self.at.head.seq + 1, month));
            self.at.month = month;
        }
    }
}

/// What is wrong with the months of chains that were walked to their heads.
pub(super) fn flaw_of_months<'a>(walks: impl Iterator<Item = &'a Walk> + Clone) -> Option<Flaw> {
    let is_named = |of: &Walk, at: i64, month: i64| {
        walks.clone().any(|walk| {
            // Between chains there is no order. Within one there is.
            let is_before = |seq: i64| walk.at.head.chain != of.at.head.chain || seq < at;
            walk.named.iter().any(|(seq, named)| *named == month && is_before(*seq))
        })
    };
    walks.clone().find_map(|walk| {
        let stranger = walk.raised.iter().find(|(seq, month)| !is_named(walk, *seq, *month));
        stranger.map(|(seq, _)| Flaw::new(walk.at.head.chain, *seq, "the month of the batch is none that anything accounts for"))
    })
}

/// The month that an event of a drop names, from which on the trail is kept.
fn named_by(link: &Link) -> Option<i64> {
    let event = &link.event;
    let is_drop =
        event.action == Action::AuditExpire && event.outcome == Outcome::Success && event.actor.kind == ActorType::System;
    let (year, month) = event.subject.as_deref().filter(|_| is_drop)?.split_once('-')?;
    Some(year.parse::<i64>().ok()? * 100 + month.parse::<i64>().ok()?)
}
