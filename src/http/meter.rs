//! The meter of a route: its calls by status, and how long they took.
//!
//! Each route has one, made with it, so that to count a call takes neither a look-up nor a lock nor memory: two additions to atomics. A
//! meter knows statuses from a list and nothing of the request, so no request can make it grow (S41, R30).

use crate::domain::meter::{Counted, Histogram};
use crate::domain::time::{Clock, Utc};
use std::time::Duration;

/// Every status that usher answers, in order.
const STATUSES: [u16; 25] =
    [200, 201, 202, 204, 304, 307, 400, 401, 403, 404, 405, 406, 408, 409, 410, 412, 413, 414, 415, 422, 428, 429, 431, 500, 503];
/// Bounds of durations, in microseconds.
static BOUNDS: [u64; 14] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000];

type Durations = Histogram<14>;

/// The calls of a route.
pub(super) struct Meter {
    by_status: Vec<(u16, Durations)>,
    /// Of a status that is not in the list.
    other: Durations,
}

impl Default for Meter {
    fn default() -> Self {
        let by_status = STATUSES.iter().map(|status| (*status, Histogram::new(&BOUNDS))).collect();
        Self { by_status, other: Histogram::new(&BOUNDS) }
    }
}

impl Meter {
    /// A call has begun.
    pub(super) fn begin<'a>(&'a self, clock: &'a Clock, began: Utc) -> Measured<'a> {
        Measured { meter: self, clock, began, is_counted: false }
    }

    fn count(&self, status: u16, span: Duration) {
        let found = self.by_status.binary_search_by_key(&status, |(status, _)| *status);
        let durations = found.ok().and_then(|at| self.by_status.get(at)).map_or(&self.other, |(_, durations)| durations);
        durations.count(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
    }

    /// What was counted: statuses that were answered, and durations in microseconds. `None` stands for a status that is in no list.
    pub(super) fn counted(&self) -> impl Iterator<Item = (Option<u16>, Counted)> {
        let listed = self.by_status.iter().map(|(status, durations)| (Some(*status), durations));
        let all = listed.chain([(None, &self.other)]);
        all.map(|(status, durations)| (status, durations.counted())).filter(|(_, counted)| counted.count > 0)
    }
}

/// A call that is under way. One that breaks off is counted as what it is answered with, 500.
pub(super) struct Measured<'a> {
    meter: &'a Meter,
    clock: &'a Clock,
    began: Utc,
    is_counted: bool,
}

impl Measured<'_> {
    /// It is answered with this status; tells how long it took.
    pub(super) fn end(&mut self, status: u16) -> Duration {
        let span = self.clock.now().since(self.began);
        self.meter.count(status, span);
        self.is_counted = true;
        span
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        if !self.is_counted {
            self.end(500);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn every_status_has_its_place() {
        assert!(STATUSES.is_sorted());
        for code in Code::ALL {
            assert!(STATUSES.contains(&code.status()), "{}", code.status());
        }
    }

    #[test]
    fn a_call_is_counted_once_also_if_it_breaks_off() {
        let (meter, clock) = (Meter::default(), Clock::new(|| Utc::from_micros(1_500)));
        meter.begin(&clock, Utc::from_micros(0)).end(204);
        drop(meter.begin(&clock, Utc::from_micros(0)));
        meter.begin(&clock, Utc::from_micros(0)).end(599);
        let counted: Vec<_> = meter.counted().map(|(status, counted)| (status, counted.count, counted.sum)).collect();
        assert_eq!(counted, [(Some(204), 1, 1_500), (Some(500), 1, 1_500), (None, 1, 1_500)]);
    }
}
