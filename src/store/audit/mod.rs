//! The audit trail in the database: appending to chains, searching, verifying. What an event and a chain are is told in
//! [`crate::domain::audit`].
//!
//! Events are kept in [`batches`], at the ends of [`chains`]; what finds them is told in [`index`], how long they are kept in [`retention`].

mod batches;
mod chains;
pub(super) mod index;
mod retention;
mod search;
mod verify;

pub(super) use chains::{Tails, append, append_alone, prepare};
pub use search::{Position, Search};
pub use verify::{Finding, Verified};
