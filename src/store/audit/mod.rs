//! The audit trail in the database: appending to chains, searching, verifying. What an event and a chain are is told in
//! [`crate::domain::audit`].
//!
//! Events are kept in [`batches`], at the ends of [`chains`]; what finds them is told in [`index`], how long they are kept in [`retention`].

mod batches;
mod chains;
mod convert;
pub(super) mod index;
mod objects;
mod retention;
mod search;
mod seen;
mod verify;
mod walk;

pub(super) use chains::{Found, Tails, append, append_alone, has_heads, is_converted, prepare};
pub(super) use convert::sign_anew;
pub use retention::{Aged, Older};
pub use search::{Position, Search};
pub(super) use seen::compare;
pub use verify::{Finding, Verified};
