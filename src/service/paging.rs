//! Pages of lists: keyset pages whose cursors clients carry without being able to read or alter them (S40).
//!
//! A cursor is the place of the last item of a page, sealed for the very list and filters it was given out for. What comes back is opened,
//! and then read as data like any other input.

use super::Context;
use super::Services;
use crate::error::{Code, Error, Result};

/// The most items on one page.
pub const LARGEST_PAGE: i64 = 500;

/// The pages of one list.
pub(super) struct Pages {
    services: Services,
    context: String,
    limit: i64,
}

impl Pages {
    /// Pages of at most `limit` items of the list that `context` tells from every other: its name and its filters.
    pub(super) fn new(call: &Context, context: String, limit: i64) -> Self {
        Self { services: call.services.clone(), context, limit: limit.clamp(1, LARGEST_PAGE) }
    }

    /// How many items to fetch: one more than a page has tells whether there is a next one.
    pub(super) fn fetch(&self) -> i64 {
        self.limit + 1
    }

    /// The place that a cursor stands for.
    ///
    /// # Errors
    /// [`Code::BadQuery`] for one that was not given out for this list.
    pub(super) fn open<T>(&self, cursor: Option<&str>, read: impl FnOnce(&[u8]) -> Option<T>) -> Result<Option<T>> {
        let Some(cursor) = cursor else { return Ok(None) };
        let opened = self.services.inner.keys.seal.open(&self.context, cursor).and_then(|bytes| read(&bytes));
        let bad = || Error::new(Code::BadQuery).at("cursor", "was not given out for this list");
        opened.map(Some).ok_or_else(bad)
    }

    /// Cuts off what is beyond the page, and seals where the next one begins.
    pub(super) fn cut<T>(&self, mut found: Vec<T>, place: impl Fn(&T) -> Vec<u8>) -> (Vec<T>, Option<String>) {
        let inner = &self.services.inner;
        let has_more = found.len() as i64 > self.limit;
        found.truncate(usize::try_from(self.limit).unwrap_or_default());
        let last = found.last().filter(|_| has_more);
        let next = last.map(|last| inner.keys.seal.seal(&self.context, &place(last), &inner.entropy));
        (found, next)
    }
}
