//! A request as a trace tells it: where it came from, what it was routed to, when, and with what outcome. Nothing of what was asked or answered
//! is among it, and nobody's name.

use super::time::Utc;

/// A request that has been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestSpan<'a> {
    /// The caller's place in its trace, as `traceparent` has it (W3C Trace Context, section 3.2), if it sent one that can be read.
    pub parent: Option<&'a str>,
    /// The HTTP method, as it was sent.
    pub method: &'a str,
    /// The row of the route table, never the path itself.
    pub route: &'a str,
    /// The HTTP status.
    pub status: u16,
    /// The correlation id.
    pub cid: &'a str,
    /// When it began, and when its answer was there.
    pub began: Utc,
    /// See `began`.
    pub ended: Utc,
}

/// Someone who is told of requests. It must neither wait nor fail: the answer is not sent before it comes back.
pub trait Spans: Send + Sync {
    /// Tells of a request.
    fn tell(&self, span: &RequestSpan<'_>);
}
