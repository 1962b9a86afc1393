//! What this process has seen of the trail, which never gets shorter.
//!
//! A head that was copied together with its MAC looks genuine when it is put back, with the events after it cut off or with the whole
//! database. So the farthest end of each chain is remembered: what is behind it was put back, and nothing is read or written any more
//! until an operator has accepted that. What is remembered outlives the process as a [`Mark`] beside the key file.
//!
//! That it was accepted is a row of `audit_rollbacks`: a number that only rises, and the ends at that moment, with a MAC. The number is
//! remembered, so that an acceptance counts once: put back once more, the database has an acceptance that is known already.

use super::super::connection::AnyConnection;
use super::super::error::StoreError;
use super::super::{Snapshot, Store, Tx};
use super::chains::{HEADS, HeadRow, Tails};
use super::walk::Flaw;
use crate::domain::audit::{Head, Mark, audit_batches};
use crate::domain::row_mac::RowKeys;
use crate::domain::secret::MacKey;
use crate::domain::time::Utc;
use crate::error::{Code, Error, Result};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Text};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of a hash.
const HASH: i64 = 32;

/// What was seen, and what became of it.
#[derive(Default)]
pub(super) struct Seen(Mutex<State>);

#[derive(Default)]
struct State {
    mark: Mark,
    /// Where the database is behind, if it is.
    behind: Option<Flaw>,
}

/// What a look at the database came to.
enum Looked {
    /// It goes on from what was seen.
    Sound(Mark),
    /// It was put back.
    Behind(Flaw),
}

#[derive(QueryableByName)]
struct Acceptance {
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = Text)]
    heads: String,
    #[diesel(sql_type = Binary)]
    mac: Vec<u8>,
}

impl Acceptance {
    fn confirmed(&self, key: &MacKey) -> Result<Mark, StoreError> {
        let mark = Mark::from_heads(self.number, &self.heads).filter(|mark| mark.is_accepted(key, &self.mac));
        let broken = || StoreError::Broken(format!("the acceptance {} in audit_rollbacks does not match its MAC", self.number));
        mark.ok_or_else(broken)
    }
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers an end that is durable.
    pub(super) fn raise(&self, head: &Head) {
        self.lock().mark.raise(head);
    }

    /// Whether a chain may end here. If not, nothing goes on.
    pub(super) fn judge(&self, head: &Head) -> Result<(), StoreError> {
        let mut state = self.lock();
        if let Some(flaw) = state.mark.flaw_of(head) {
            let behind = put_back(head, &flaw);
            state.behind = Some(behind.clone());
            return Err(StoreError::Unavailable(StoreError::from(behind).to_string()));
        }
        Ok(())
    }

    /// Takes over what a look has found; tells where the database is behind, if it is.
    fn settle(&self, looked: Looked) -> Option<Flaw> {
        let mut state = self.lock();
        match looked {
            Looked::Sound(mark) if mark.accepted == state.mark.accepted => {
                mark.heads.values().for_each(|head| state.mark.raise(head));
                state.behind = None;
            }
            Looked::Sound(mark) => *state = State { mark, behind: None },
            Looked::Behind(cause) => state.behind = Some(cause),
        }
        state.behind.clone()
    }
}

fn put_back(head: &Head, flaw: &str) -> Flaw {
    let text = format!("{flaw}; the database was put back. Where that was meant: `usher audit accept-rollback`");
    Flaw::new(head.chain, head.seq, text)
}

/// Looks whether the database goes on from what was seen.
fn look(snapshot: &mut Snapshot<'_>, seen: &Mark, key: &MacKey) -> Result<Looked, StoreError> {
    // An acceptance first: what it accepts is there by then.
    let accepted = last_acceptance(snapshot.0)?.map(|last| last.confirmed(key)).transpose()?.unwrap_or_default();
    let heads: Vec<HeadRow> = diesel::sql_query(HEADS).load(snapshot.0)?;
    let ends = heads.into_iter().map(|row| row.confirmed(key)).collect::<Result<Vec<_>, _>>()?;
    if accepted.accepted < seen.accepted {
        let end = ends.first().map_or_else(|| Head::of_empty(1), |end| end.head.clone());
        return Ok(Looked::Behind(put_back(&end, "an earlier acceptance was seen that the database does not know of")));
    }
    let number = accepted.accepted;
    let known = if number > seen.accepted { &accepted } else { seen };
    for end in &ends {
        let flaw = match known.flaw_of(&end.head) {
            None => known.heads.get(&end.head.chain).map_or(Ok(None), |head| other_event_at(snapshot, head, &end.head, key))?,
            flaw => flaw,
        };
        if let Some(flaw) = flaw {
            return Ok(Looked::Behind(put_back(&end.head, &flaw)));
        }
    }
    Ok(Looked::Sound(Mark::of(number, ends)))
}

/// A chain that goes beyond a head that was seen has to go through it.
fn other_event_at(snapshot: &mut Snapshot<'_>, seen: &Head, end: &Head, key: &MacKey) -> Result<Option<String>, StoreError> {
    if seen.seq == end.seq || seen.seq == 0 {
        return Ok(None);
    }
    let other = || Some(format!("another event than the one that was seen is at {}", seen.seq));
    // What was dropped is vouched for by where the chain begins.
    if let Some(Ok(beginning)) = snapshot.beginning_of(seen.chain, key)? {
        let is_other = beginning.head.seq == seen.seq && beginning.head.hash != seen.hash;
        if beginning.head.seq >= seen.seq {
            return Ok(other().filter(|_| is_other));
        }
    }
    let with_it = audit_batches::table.filter(audit_batches::chain.eq(seen.chain).and(audit_batches::last.ge(seen.seq)));
    let batch = with_it.order(audit_batches::last.asc()).limit(1).select((audit_batches::last, audit_batches::hashes));
    let batch: Option<(i64, Vec<u8>)> = batch.get_result(snapshot.0).optional()?;
    let hash = batch.and_then(|(last, hashes)| {
        let from_its_end = usize::try_from((last - seen.seq + 1) * HASH).ok()?;
        let from = hashes.len().checked_sub(from_its_end)?;
        Some(hashes.get(from..)?.first_chunk::<32>()?.to_vec())
    });
    Ok(if hash.as_ref() == Some(&seen.hash) { None } else { other() })
}

fn last_acceptance(connection: &mut AnyConnection) -> Result<Option<Acceptance>, StoreError> {
    let last = "SELECT number, heads, mac FROM audit_rollbacks ORDER BY number DESC LIMIT 1";
    Ok(diesel::sql_query(last).get_result(connection).optional()?)
}

/// Looks at a database that is being opened, with what is remembered from outside.
pub(in super::super) fn compare(
    connection: &mut AnyConnection,
    remembered: Option<Mark>,
    key: &MacKey,
    tails: &Tails,
) -> Result<(), StoreError> {
    let mark = remembered.unwrap_or_default();
    let looked = look(&mut Snapshot(connection, &RowKeys::none()), &mark, key)?;
    tails.seen.lock().mark = mark;
    tails.seen.settle(looked);
    Ok(())
}

impl Tx<'_> {
    /// Accepts that the database was put back: from now on it goes on from where it is. Tells the ends as they are, and the number of the
    /// acceptance.
    ///
    /// # Errors
    /// The database fails, or an end does not match its MAC.
    pub fn accept_rollback(&mut self, remembered: i64, now: Utc, key: &MacKey) -> Result<Mark, StoreError> {
        let hold = if self.0.is_postgres() { " FOR UPDATE" } else { "" };
        let heads: Vec<HeadRow> = diesel::sql_query(format!("{HEADS}{hold}")).load(self.0)?;
        let ends = heads.into_iter().map(|row| row.confirmed(key)).collect::<Result<Vec<_>, _>>()?;
        let last = last_acceptance(self.0)?.map_or(0, |last| last.number);
        // Beyond whatever other nodes remember, of acceptances that the database does not know any more.
        let mark = Mark::of((last.max(remembered) + 1).max(now.micros()), ends);
        diesel::sql_query("INSERT INTO audit_rollbacks (number, heads, mac) VALUES ($1, $2, $3)")
            .bind::<BigInt, _>(mark.accepted)
            .bind::<Text, _>(mark.heads_as_text())
            .bind::<Binary, _>(mark.acceptance(key))
            .execute(self.0)?;
        Ok(mark)
    }
}

impl Snapshot<'_> {
    /// What of the acceptances does not hold: all of them match their MACs, and the last one that the trail tells of is there.
    pub(super) fn flaw_of_acceptances(&mut self, told: i64, key: &MacKey) -> Result<Option<String>, StoreError> {
        let all: Vec<Acceptance> =
            diesel::sql_query("SELECT number, heads, mac FROM audit_rollbacks ORDER BY number").load(self.0)?;
        if let Some(Err(StoreError::Broken(flaw))) = all.iter().map(|one| one.confirmed(key)).find(Result::is_err) {
            return Ok(Some(flaw));
        }
        let last = all.last().map_or(0, |last| last.number);
        Ok((last < told).then(|| format!("the trail tells of the acceptance {told}, and audit_rollbacks ends at {last}")))
    }
}

impl Store {
    /// Looks whether the database is behind what was seen, and says where. While it is, nothing is read or written.
    ///
    /// # Errors
    /// The database fails.
    pub async fn look_at_trail(&self) -> Result<Option<String>> {
        let (key, seen) = (self.inner.key.clone(), self.mark());
        let looked = self.read_anyway(self.inner.location.patience(), move |snapshot| Ok(look(snapshot, &seen, &key)?)).await?;
        Ok(self.inner.tails.seen.settle(looked).map(|flaw| StoreError::from(flaw).to_string()))
    }

    /// Where the database is behind what was seen, if it is.
    pub fn is_behind(&self) -> Option<String> {
        self.behind().map(|flaw| StoreError::from(flaw).to_string())
    }

    pub(super) fn behind(&self) -> Option<Flaw> {
        self.inner.tails.seen.lock().behind.clone()
    }

    /// What is remembered of the trail.
    pub fn mark(&self) -> Mark {
        self.inner.tails.seen.lock().mark.clone()
    }

    /// Forgets what was seen, in this process: what comes next accepts that the database was put back.
    pub fn forget_what_was_seen(&self) {
        *self.inner.tails.seen.lock() = State::default();
    }

    pub(in super::super) fn is_not_behind(&self) -> Result<()> {
        match self.is_behind() {
            Some(cause) => Err(Error::new(Code::Unavailable).cause(cause)),
            None => Ok(()),
        }
    }
}
