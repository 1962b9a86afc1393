//! The world outside: what usher sends of its own accord. One file for each way by which a message goes; what waits to be sent, and
//! when it is tried again, is the outbox's business ([`crate::domain::outbox`]).
//!
//! [`connect`] is no such way: it is asked by an operator's command, of a server that the operator names. Nor is [`traces`]: what it tells may
//! be lost.

pub mod connect;
pub mod destination;
pub mod hook;
pub mod mail;
mod templates;
pub mod traces;

use crate::domain::ids::MessageId;
use futures_util::future::BoxFuture;

/// Why a message was not delivered; one line for the log and for whoever looks at the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// The next try may succeed.
    Yet(String),
    /// No try will: the receiver said so, or what it takes is not there any more.
    Ever(String),
    /// Not by this program: it is of another build, which is to carry it.
    Foreign(String),
    /// Neither this nor any other: the receiver wants nothing any more.
    Gone(String),
}

/// A way by which messages go.
pub trait Carrier: Send + Sync {
    /// Carries a message, whose content is as this way has it, to its receiver. It must come back within
    /// [`LEASE`](crate::domain::outbox::LEASE).
    fn carry(&self, message_id: MessageId, content: Vec<u8>) -> BoxFuture<'static, Result<(), Undelivered>>;
}
