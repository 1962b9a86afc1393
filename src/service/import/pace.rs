//! The pace of an import on SQLite, whose file other processes may want to write as well.
//!
//! SQLite does not queue writers. One that finds the file locked looks again, at last every tenth of a second, and gives up after nine of
//! them. An import that goes on from batch to batch would leave it no more than luck. So within that time the file is left alone once for
//! longer than there is between two looks; and while others are seen to write, for as long as each batch took.

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// After so much work a rest is due: with a batch on top, less than a writer's patience.
const WORK: Duration = Duration::from_millis(650);
/// Longer than the longest pause between two looks.
const REST: Duration = Duration::from_millis(105);
/// For so long after others wrote they are expected to go on.
const COMPANY: Duration = Duration::from_secs(2);

/// When to rest.
#[derive(Debug)]
pub(super) struct Pace {
    rested: Instant,
    /// What SQLite called the state of the file after the last batch; another number tells that others have written.
    version: Option<i64>,
    company: Option<Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { rested: Instant::now(), version: None, company: None }
    }

    /// After a batch that began at `began`, and found the file in this state.
    pub(super) async fn rest(&mut self, began: Instant, version: i64) {
        let now = Instant::now();
        if self.version.replace(version).is_some_and(|before| before != version) {
            self.company = Some(now);
        }
        if now - self.rested >= WORK {
            sleep(REST).await;
            self.rested = Instant::now();
        } else if self.company.is_some_and(|since| now - since < COMPANY) {
            sleep(now - began).await;
        }
    }
}
