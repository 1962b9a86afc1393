//! Checkpoints of an SQLite file: what the write-ahead log has goes to the file itself.
//!
//! SQLite does that by itself at the end of a commit, once the log is long enough, and everybody waits for it; where the pages lie all over
//! the file, a tenth of a second and longer. So a thread with a connection of its own copies beside the writer, again and again
//! while that is busy, and leaves to the commit what has come since, and the flush of the file. These are the commit's, for only where
//! nobody writes the log can begin anew. Where the writer is faster than the disk takes it, the log grows meanwhile: then the
//! thread stands back, and the writer has to wait for its own checkpoints until they have caught up.

use super::connection::{AnyConnection, Location, Purpose};
use super::error::StoreError;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks at the writer.
const LOOK: Duration = Duration::from_millis(100);
/// Microseconds for which the writer must have been busy since the last checkpoint: as a measure of what it wrote.
const BUSY: u64 = 50_000;
/// Pages in a log that is too long, and for how many looks it is left to the writer: four times as many as the writer lets come together.
const LONG: i64 = 32_000;
const STAND_BACK: u32 = 20;

/// For how long the writer has been busy, in microseconds.
#[derive(Clone, Default)]
pub(super) struct Toil(Arc<AtomicU64>);

impl Toil {
    pub(super) fn add(&self, span: Duration) {
        self.0.fetch_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The thread, which ends with it.
pub(super) struct Checkpoints {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// Starts it.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub(super) fn start(location: &Location, toil: Toil) -> Result<Self, StoreError> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (stopped, location) = (Arc::clone(&stop), location.clone());
        let thread = std::thread::Builder::new().name("checkpoints".to_owned()).spawn(move || {
            let (mut connection, mut seen, mut back) = (None, 0, 0);
            while !waits(&stopped) {
                if back > 0 {
                    back -= 1;
                } else if toil.total().wrapping_sub(seen) >= BUSY {
                    seen = toil.total();
                    match checkpoint(&mut connection, &location) {
                        // A log of which a reader still needs the old pages cannot begin anew anyway: it is copied as it comes.
                        Ok(Done { log, checkpointed }) if log > LONG && checkpointed >= log => back = STAND_BACK,
                        Ok(_) => {}
                        Err(error) => {
                            // Whoever writes is told by the write itself.
                            tracing::debug!(cause = %error, "no checkpoint beside the writer");
                            connection = None;
                        }
                    }
                }
            }
        });
        let thread = thread.map_err(|e| StoreError::Broken(format!("cannot start checkpoints: {e}")))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        let (stop, bell) = &*self.stop;
        *stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        bell.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits until the next look; tells whether it was the last.
fn waits((stop, bell): &(Mutex<bool>, Condvar)) -> bool {
    let stop = stop.lock().unwrap_or_else(PoisonError::into_inner);
    *stop || *bell.wait_timeout(stop, LOOK).unwrap_or_else(PoisonError::into_inner).0
}

#[derive(diesel::QueryableByName)]
struct Done {
    #[diesel(sql_type = BigInt)]
    log: i64,
    #[diesel(sql_type = BigInt)]
    checkpointed: i64,
}

/// A checkpoint; tells how many pages the log has, and how many of them have been copied.
fn checkpoint(kept: &mut Option<AnyConnection>, location: &Location) -> Result<Done, StoreError> {
    let connection = match kept {
        Some(connection) => connection,
        none => none.insert(AnyConnection::open(location, Purpose::Writing)?),
    };
    // Passive: as far as it goes without anybody waiting.
    Ok(diesel::sql_query("PRAGMA wal_checkpoint(PASSIVE)").get_result(connection)?)
}
