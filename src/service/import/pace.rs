//! The pace of an import: fast while it is alone, considerate as soon as it is not.
//!
//! The more rows a transaction has, the fewer times the pages of the indexes are written; and the longer others wait who want to write as
//! well. So transactions are long while nobody does, and short from the first time that somebody did.
//!
//! On SQLite other processes may want to write the file, and SQLite does not queue writers: one that finds the file locked looks again, and
//! those of usher do so a millisecond later. An import that went on from one transaction to the next would leave them no more than luck.
//! So the file is left alone now and then for longer than there is between two looks; and while others are seen to write, after each
//! transaction, for as long as it took, but no longer than it takes to write down what a busy service has gathered meanwhile.

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Rows in a transaction beside others, and alone.
const IN_COMPANY: usize = 250;
const ALONE: usize = 1500;
/// After so much work on a file a rest is due: with a transaction on top, much less than a writer's patience.
const WORK: Duration = Duration::from_millis(600);
/// Many times the pause between two looks, and a commit or two of all that has gathered.
const REST: Duration = Duration::from_millis(20);
/// For so long after others wrote they are expected to go on.
const COMPANY: Duration = Duration::from_secs(2);

/// How many rows to write at once, and when to rest.
#[derive(Debug)]
pub(super) struct Pace {
    rested: Instant,
    /// What SQLite called the state of the file in the last transaction; another number tells that others have written.
    version: Option<i64>,
    company: Option<Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { rested: Instant::now(), version: None, company: None }
    }

    /// Rows in the next transaction.
    pub(super) fn rows(&self) -> usize {
        if self.has_company(Instant::now()) { IN_COMPANY } else { ALONE }
    }

    fn has_company(&self, now: Instant) -> bool {
        self.company.is_some_and(|since| now - since < COMPANY)
    }

    /// After a transaction that began at `began` and found the file, if it is one, in the state `version`; others on this node wait or not.
    pub(super) async fn rest(&mut self, began: Instant, version: Option<i64>, has_waiting: bool) {
        let now = Instant::now();
        let before = std::mem::replace(&mut self.version, version);
        let is_written_by_others = before.is_some() && before != version;
        if is_written_by_others || has_waiting {
            self.company = Some(now);
        }
        if version.is_none() {
            return;
        }
        if now - self.rested >= WORK {
            sleep(REST).await;
            self.rested = Instant::now();
        } else if is_written_by_others {
            sleep((now - began).min(REST)).await;
        }
    }
}
