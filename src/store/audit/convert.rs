//! Heads and beginnings of format 1, of programs before schema 16, are signed anew: once, and nothing that was not walked.

use super::super::Snapshot;
use super::super::connection::AnyConnection;
use super::super::error::StoreError;
use super::chains::{HEADS, HeadRow};
use super::retention::set_beginning;
use super::walk::{Flaw, Walk, flaw_of_months};
use crate::domain::audit::{End, Head, Side, audit_beginnings, audit_chains};
use crate::domain::row_mac::RowKeys;
use crate::domain::secret::MacKey;
use diesel::prelude::*;

/// Batches read at a time.
const BATCHES: i64 = 64;

/// Walks every chain and signs its ends in the format of today, within a transaction that holds the heads. Nothing is signed if anything
/// does not hold.
pub(in super::super) fn sign_anew(connection: &mut AnyConnection, key: &MacKey) -> Result<(), StoreError> {
    let heads = diesel::sql_query(HEADS).load::<HeadRow>(connection)?;
    let (mut walks, mut begun) = (Vec::new(), Vec::new());
    for (end, mac) in heads.into_iter().map(HeadRow::into_parts) {
        let Head { chain, seq, .. } = end.head;
        if !end.is_confirmed_in_format_1(Side::Head, key, &mac) {
            return Err(Flaw::new(chain, seq, "the chain's head does not match its MAC").into());
        }
        let beginning = old_beginning(connection, chain, key)?;
        let mut walk = Walk::from(beginning.clone().unwrap_or_else(|| End::of_empty(chain)));
        let first = walk.at.head.clone();
        let mut snapshot = Snapshot(&mut *connection, &RowKeys::none());
        while walk.at.head.seq < seq {
            walk.stride(&mut snapshot, seq, BATCHES, |_, _| {})??;
        }
        if let Some((_, beyond)) = snapshot.links_after(chain, seq, 1)?.first() {
            return Err(Flaw::new(chain, beyond.seq, "the event stands beyond the chain's head").into());
        }
        walk.raise_to(end.month);
        if let Some(flaw) = walk.flaw_at(&end) {
            return Err(flaw.into());
        }
        // The one place where a chain's month may be beyond that of its last event is where everything before it was dropped.
        let is_dropped = first == end.head && end.month > 0;
        if is_dropped || beginning.is_some() {
            begun.push(End { head: first, month: if is_dropped { end.month } else { 0 } });
        }
        walks.push((walk, end));
    }
    if let Some(flaw) = flaw_of_months(walks.iter().map(|(walk, _)| walk)) {
        return Err(flaw.into());
    }
    for (_, end) in walks {
        let row = audit_chains::table.find(end.head.chain);
        diesel::update(row).set(audit_chains::mac.eq(end.mac(Side::Head, key))).execute(connection)?;
    }
    for beginning in begun {
        set_beginning(connection, &beginning, key)?;
    }
    Ok(())
}

fn old_beginning(connection: &mut AnyConnection, chain: i64, key: &MacKey) -> Result<Option<End>, StoreError> {
    let columns = (audit_beginnings::seq, audit_beginnings::hash, audit_beginnings::mac);
    let row: Option<(i64, Vec<u8>, Vec<u8>)> =
        audit_beginnings::table.find(chain).select(columns).get_result(connection).optional()?;
    let Some((seq, hash, mac)) = row else { return Ok(None) };
    let end = End { head: Head { chain, seq, hash }, month: 0 };
    if !end.is_confirmed_in_format_1(Side::Beginning, key, &mac) {
        return Err(Flaw::new(chain, 0, "the chain's beginning does not match its MAC").into());
    }
    Ok(Some(end))
}
