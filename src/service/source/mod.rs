//! Older systems whose users move here.
//!
//! A source reads what an old system has and makes rows of an import of it, nothing else: dry run, results, idempotence by `external_id`
//! and the audit trail are the import's ([`super::import`]). What it cannot make sense of it passes on, so that the import names it. There
//! is one module for each system, and one variant. Reading blocks.

mod connect;
mod ecm;
mod zato;

pub use connect::Connect;
pub use ecm::Ecm;
pub use zato::Zato;

use super::import::NewIds;
use crate::domain::group::MovedGroup;
use crate::error::Result;
use serde_json::{Map, Value};

/// A row of an import.
type Row = Map<String, Value>;

/// An older system, open and known to be readable.
pub enum Source {
    /// Zato SSO's database.
    Zato(Zato),
    /// Posit Connect, by its API or by what was saved of it.
    Connect(Connect),
    /// An export of the ECM.
    Ecm(Ecm),
}

impl Source {
    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// The old system cannot be read any more.
    pub fn next_row(&mut self) -> Result<Option<Row>> {
        match self {
            Self::Zato(zato) => zato.next_row(),
            Self::Connect(connect) => connect.next_row(),
            Self::Ecm(ecm) => Ok(ecm.next_row()),
        }
    }

    /// Where new users' ids come from.
    pub fn new_ids(&self) -> NewIds {
        match self {
            Self::Zato(_) => NewIds::OfZato,
            Self::Connect(_) | Self::Ecm(_) => NewIds::Minted,
        }
    }

    /// The groups that there are, where more is known of them than that users are in them.
    pub fn groups(&self) -> &[MovedGroup] {
        match self {
            Self::Zato(_) => &[],
            Self::Connect(connect) => connect.groups(),
            Self::Ecm(ecm) => ecm.groups(),
        }
    }
}
