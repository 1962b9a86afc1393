//! The writer: how changes and audit events become durable.
//!
//! Writes are jobs in one bounded queue. A writer thread takes what is waiting, runs it inside **one** transaction, each change in a
//! savepoint of its own, appends the audit events of all of them to a chain, commits once, and only then answers everyone: group
//! commit. A job that is refused leaves nothing but its place in the batch; if the commit fails, every job of the batch failed and
//! nothing of it happened.
//!
//! SQLite has one writer thread, which takes whatever waits. PostgreSQL has several, each with a connection of its own. Some write
//! changes, one in a batch, or changes of one session each in the order of their ids: locks are taken in one order everywhere, so that
//! two nodes can only ever wait for each other, not deadlock. The others write mere events, and never wait for a lock on anybody's data.
//! They are few: with more of them each batch is smaller, and costs the server much the same.

use super::checkpoints::{Checkpoints, Toil};
use super::connection::{AnyConnection, Location, Purpose};
use super::error::StoreError;
use super::feed::{self, Feed, Witness};
use super::server::{Proof, Trust};
use super::{Tx, audit};
use crate::domain::audit::Event;
use crate::domain::chance::Entropy;
use crate::domain::ids::SessionId;
use crate::domain::meter::{Counted, Histogram};
use crate::domain::row_mac::RowKeys;
use crate::domain::secret::MacKey;
use crate::error::{Code, Error, Result};
use diesel::connection::SimpleConnection as _;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Jobs that may wait; beyond it callers are told to come back.
const QUEUE: usize = 8192;
/// Jobs in one transaction at most.
const BATCH: usize = 512;
/// What the threads on PostgreSQL take.
const DUTIES: &[Duty] = &[Duty::Events, Duty::Events, Duty::Changes, Duty::Changes, Duty::Changes, Duty::Changes];
/// Bounds of batches in the meter: jobs.
static SIZES: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, BATCH as u64];
/// How long a caller waits at most for its job to be taken up while batches do come to an end: the database is merely slow. While none does,
/// the database has gone away after [`Location::patience`]; it is looked at so often, too.
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// How long a caller waits for a job that has been taken up: longer, for it may yet happen.
const OUTCOME: Duration = Duration::from_secs(10);

/// What a job leaves behind when it was run.
enum Ran {
    /// It did its work, with these audit events.
    Done(Vec<Event>),
    /// It was refused, or only tried out: its work is to be undone.
    Undone,
    /// The database failed it: the whole batch has to go.
    Lost(StoreError),
}

/// A write in the queue.
trait Job: Send {
    /// What kind of a write it is.
    fn kind(&self) -> Kind;
    /// Takes it up, unless its caller has given up.
    fn claim(&self) -> bool;
    /// Does the work.
    fn run(&mut self, tx: &mut Tx<'_>) -> Ran;
    /// Tells the caller, once the batch is committed or lost.
    fn answer(self: Box<Self>, committed: std::result::Result<(), StoreError>);
}

const WAITING: u8 = 0;
const CLAIMED: u8 = 1;
const ABANDONED: u8 = 2;

/// What kind of a write it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An event alone; its work asks nothing of the database.
    Event,
    /// A change.
    Change,
    /// A change that locks one session and what hangs on it, and nothing else.
    OfSession(SessionId),
    /// A change that is tried out: it is run, and nothing of it is kept.
    Rehearsal,
}

impl Kind {
    fn is_change(self) -> bool {
        self != Self::Event
    }

    /// Whether it may be in one transaction with others of which `first` is the first, where no lock must be waited for in another order
    /// than elsewhere.
    fn goes_with(self, first: Option<Self>) -> bool {
        matches!((first, self), (None, _) | (Some(Self::OfSession(_)), Self::OfSession(_)))
    }

    /// Sessions are locked by their ids, here as elsewhere.
    fn order(self) -> Option<SessionId> {
        match self {
            Self::OfSession(session_id) => Some(session_id),
            Self::Event | Self::Change | Self::Rehearsal => None,
        }
    }
}

/// What a thread takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    /// Whatever waits, for nobody else writes meanwhile.
    All,
    /// Mere events.
    Events,
    /// Changes that cannot deadlock with the batches of others.
    Changes,
}

type Work<T> = Box<dyn FnOnce(&mut Tx<'_>) -> Result<(T, Vec<Event>)> + Send>;

struct Change<T> {
    work: Option<Work<T>>,
    outcome: Option<Result<T>>,
    state: Arc<AtomicU8>,
    reply: oneshot::Sender<Result<T>>,
    kind: Kind,
}

impl<T: Send> Job for Change<T> {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn claim(&self) -> bool {
        self.state.compare_exchange(WAITING, CLAIMED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> Ran {
        let Some(work) = self.work.take() else { return Ran::Undone };
        let ran = catch_unwind(AssertUnwindSafe(|| work(tx)))
            .unwrap_or_else(|_| Err(Error::new(Code::Internal).cause("a write panicked")));
        match ran {
            Ok((value, events)) => {
                self.outcome = Some(Ok(value));
                if self.kind == Kind::Rehearsal { Ran::Undone } else { Ran::Done(events) }
            }
            Err(error) if error.code() == Code::Unavailable => {
                Ran::Lost(StoreError::Unavailable(error.logged_cause().unwrap_or_default().to_owned()))
            }
            Err(error) => {
                self.outcome = Some(Err(error));
                Ran::Undone
            }
        }
    }

    fn answer(self: Box<Self>, committed: std::result::Result<(), StoreError>) {
        let outcome = match (committed, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            // What was refused before the batch was lost is refused all the same.
            (Err(_), Some(Err(refused))) => Err(refused),
            (Err(lost), _) => Err(lost.into()),
            (Ok(()), None) => Err(Error::new(Code::Internal).cause("a write was not run")),
        };
        // The caller may have gone away; its job is done all the same.
        let _ = self.reply.send(outcome);
    }
}

/// A write that was queued.
struct Queued<T> {
    state: Arc<AtomicU8>,
    answer: oneshot::Receiver<Result<T>>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Box<dyn Job>>,
    /// Mere events, where some threads take nothing else; otherwise they wait among the jobs, and everything keeps its order.
    events: VecDeque<Box<dyn Job>>,
    closed: bool,
}

impl Queue {
    fn len(&self) -> usize {
        self.jobs.len() + self.events.len()
    }

    /// What waits for a thread.
    fn of(&mut self, duty: Duty) -> &mut VecDeque<Box<dyn Job>> {
        match duty {
            Duty::All | Duty::Changes => &mut self.jobs,
            Duty::Events => &mut self.events,
        }
    }

    /// Takes a batch.
    fn take(&mut self, duty: Duty) -> Vec<Box<dyn Job>> {
        let waiting = self.of(duty);
        if duty != Duty::Changes {
            let count = waiting.len().min(BATCH);
            return waiting.drain(..count).collect();
        }
        let mut jobs: Vec<Box<dyn Job>> = Vec::new();
        let mut first = None;
        while let Some(kind) = waiting.front().map(|job| job.kind()).filter(|kind| jobs.len() < BATCH && kind.goes_with(first)) {
            first = first.or(Some(kind));
            jobs.extend(waiting.pop_front());
        }
        jobs.sort_by_key(|job| job.kind().order());
        jobs
    }
}

struct Shared {
    duties: &'static [Duty],
    queue: Mutex<Queue>,
    /// A job waits; and an event, where these wait apart.
    filled: Condvar,
    noted: Condvar,
    /// Batches that have come to an end.
    batches: AtomicU64,
    /// Their sizes, those that were lost included.
    sizes: Histogram<10>,
    /// Batches that were lost.
    lost: AtomicU64,
}

/// How the writer fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writing {
    /// Jobs that wait.
    pub waiting: usize,
    /// Batches by the number of their jobs, since the start.
    pub batches: Counted,
    /// Batches that were lost, since the start.
    pub lost: u64,
}

impl Shared {
    fn new(duties: &'static [Duty]) -> Self {
        Self {
            duties,
            queue: Mutex::default(),
            filled: Condvar::new(),
            noted: Condvar::new(),
            batches: AtomicU64::new(0),
            sizes: Histogram::new(&SIZES),
            lost: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What wakes a thread that waits.
    fn bell(&self, duty: Duty) -> &Condvar {
        match duty {
            Duty::All | Duty::Changes => &self.filled,
            Duty::Events => &self.noted,
        }
    }

    /// Who takes a job of this kind.
    fn duty_of(&self, kind: Kind) -> Duty {
        let of = |duty| self.duties.contains(&duty);
        match kind {
            Kind::Event if of(Duty::Events) => Duty::Events,
            _ if of(Duty::All) => Duty::All,
            _ => Duty::Changes,
        }
    }

    /// Waits for jobs and takes a batch; an empty one if there are none for `patience`. `None` once closed and drained.
    fn take(&self, duty: Duty, patience: Duration) -> Option<Vec<Box<dyn Job>>> {
        let mut queue = self.lock();
        if queue.of(duty).is_empty() && !queue.closed {
            queue = self.bell(duty).wait_timeout(queue, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        if queue.of(duty).is_empty() && queue.closed {
            return None;
        }
        let batch = queue.take(duty);
        if !queue.of(duty).is_empty() {
            self.bell(duty).notify_one();
        }
        Some(batch)
    }
}

/// The queue's entrance, and the threads behind it.
pub(super) struct Writer {
    shared: Arc<Shared>,
    patience: Duration,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// On SQLite.
    checkpoints: Mutex<Option<Checkpoints>>,
}

/// What a writer thread needs.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) location: Location,
    pub(super) trust: Arc<Trust>,
    pub(super) key: MacKey,
    pub(super) rows: Arc<RowKeys>,
    pub(super) entropy: Entropy,
    pub(super) feed: Feed,
    /// Where the chains of the trail end.
    pub(super) tails: Arc<audit::Tails>,
}

impl Writer {
    /// Starts the threads, the first of them with a connection that is open already.
    ///
    /// # Errors
    /// The operating system refuses a thread, or the connection fails.
    pub(super) fn start(means: &Means, first: AnyConnection) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared::new(match means.location {
            Location::Sqlite(_) => &[Duty::All],
            Location::Postgres(_) => DUTIES,
        }));
        let toil = Toil::default();
        let checkpoints = match means.location {
            Location::Sqlite(_) => Some(Checkpoints::start(&means.location, toil.clone())?),
            Location::Postgres(_) => None,
        };
        let mut threads = Vec::new();
        let mut line = Some(Line::on(first, means, means.trust.epoch(Purpose::Writing))?);
        for (number, duty) in shared.duties.iter().copied().enumerate() {
            let thread = Thread { means: means.clone(), shared: Arc::clone(&shared), line: line.take(), toil: toil.clone() };
            let thread = std::thread::Builder::new().name(format!("writer-{number}")).spawn(move || thread.serve(duty));
            threads.push(thread.map_err(|e| StoreError::Broken(format!("cannot start a writer: {e}")))?);
        }
        let (threads, checkpoints) = (Mutex::new(threads), Mutex::new(checkpoints));
        Ok(Self { shared, patience: means.location.patience(), threads, checkpoints })
    }

    /// Queues a write.
    fn enqueue<T: Send + 'static>(
        &self,
        kind: Kind,
        room: usize,
        work: impl FnOnce(&mut Tx<'_>) -> Result<(T, Vec<Event>)> + Send + 'static,
    ) -> Result<Queued<T>> {
        let state = Arc::new(AtomicU8::new(WAITING));
        let (reply, answer) = oneshot::channel();
        let job = Change { work: Some(Box::new(work)), outcome: None, state: Arc::clone(&state), reply, kind };
        let mut queue = self.shared.lock();
        if queue.closed || queue.len() >= room {
            return Err(Error::new(Code::Unavailable).cause("the write queue is full or closed"));
        }
        let duty = self.shared.duty_of(kind);
        queue.of(duty).push_back(Box::new(job));
        drop(queue);
        self.shared.bell(duty).notify_one();
        Ok(Queued { state, answer })
    }

    /// Queues an event and does not wait until it is durable. A queue that is half full takes none.
    pub(super) fn submit_soon(&self, event: Event) -> Result<()> {
        self.enqueue(Kind::Event, QUEUE / 2, |_| Ok(((), vec![event]))).map(drop)
    }

    /// Queues a write and waits until it is durable.
    pub(super) async fn submit<T: Send + 'static>(
        &self,
        kind: Kind,
        work: impl FnOnce(&mut Tx<'_>) -> Result<(T, Vec<Event>)> + Send + 'static,
    ) -> Result<T> {
        let Queued { state, mut answer } = self.enqueue(kind, QUEUE, work)?;
        let lost = || Error::new(Code::Unavailable).cause("the writer did not answer");
        let mut waited = Duration::ZERO;
        loop {
            let batches = self.shared.batches.load(Ordering::Acquire);
            if let Ok(answered) = tokio::time::timeout(self.patience, &mut answer).await {
                return answered.unwrap_or_else(|_| Err(lost()));
            }
            waited += self.patience;
            let is_moving = self.shared.batches.load(Ordering::Acquire) != batches;
            if is_moving && waited < LONGEST_WAIT {
                continue;
            }
            if state.compare_exchange(WAITING, ABANDONED, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Err(Error::new(Code::Unavailable).cause("the database has not taken the write up in time"));
            }
            // An event alone can be given up: its call is not answered then. A change may yet happen, so it is waited for.
            let outcome = if kind == Kind::Event { Duration::ZERO } else { OUTCOME };
            return match tokio::time::timeout(outcome, answer).await {
                Ok(answered) => answered.unwrap_or_else(|_| Err(lost())),
                Err(_) => Err(lost()),
            };
        }
    }

    /// Whether jobs are waiting.
    pub(super) fn has_waiting(&self) -> bool {
        self.shared.lock().len() > 0
    }

    /// How it fares.
    pub(super) fn usage(&self) -> Writing {
        let Shared { sizes, lost, .. } = &*self.shared;
        Writing { waiting: self.shared.lock().len(), batches: sizes.counted(), lost: lost.load(Ordering::Relaxed) }
    }

    /// Finishes what was accepted and stops.
    pub(super) fn close(&self) {
        self.shared.lock().closed = true;
        for duty in self.shared.duties {
            self.shared.bell(*duty).notify_all();
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

struct Thread {
    means: Means,
    shared: Arc<Shared>,
    line: Option<Line>,
    toil: Toil,
}

/// A connection that writes, and what goes with it.
struct Line {
    connection: AnyConnection,
    witness: Witness,
    epoch: u64,
    proof: Proof,
}

impl Line {
    fn on(mut connection: AnyConnection, means: &Means, epoch: u64) -> Result<Self, StoreError> {
        means.trust.check(&mut connection)?;
        let witness = Witness::new(&mut connection, means.feed.clone())?;
        Ok(Self { connection, witness, epoch, proof: Proof::now() })
    }
}

impl Thread {
    fn serve(mut self, duty: Duty) {
        while let Some(mut jobs) = self.shared.take(duty, feed::LOOK) {
            if jobs.is_empty() {
                self.look_around();
                continue;
            }
            jobs.retain(|job| job.claim());
            self.shared.sizes.count(jobs.len() as u64);
            let began = Instant::now();
            let committed = self.write(&mut jobs);
            self.toil.add(began.elapsed());
            if let Err(error) = &committed {
                tracing::error!(cause = %error, jobs = jobs.len(), "a batch of writes was lost");
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
                self.hang_up();
            }
            for job in jobs {
                job.answer(committed.clone());
            }
            self.shared.batches.fetch_add(1, Ordering::Release);
        }
    }

    /// Whatever state the connection is in, a new one starts clean. If it is dead, or its server takes no changes any more, so it is with
    /// those of the others, presumably: none of them is to lose a batch to find out, and no reader to read what may be overtaken.
    fn hang_up(&mut self) {
        let Some(Line { mut connection, .. }) = self.line.take() else { return };
        if connection.is_postgres()
            && (connection.batch_execute("ROLLBACK").is_err() || connection.ask(Purpose::Writing).is_err())
        {
            self.means.trust.suspect_all();
        }
    }

    /// The connection, opened if there is none that can be trusted.
    fn line(&mut self) -> Result<&mut Line, StoreError> {
        let Self { means, line, .. } = self;
        let epoch = means.trust.epoch(Purpose::Writing);
        if line.as_ref().is_some_and(|line| line.epoch != epoch) {
            *line = None;
        }
        match line {
            Some(line) => Ok(line),
            none => {
                let connection = AnyConnection::open(&means.location, Purpose::Writing)?;
                Ok(none.insert(Line::on(connection, means, epoch)?))
            }
        }
    }

    /// The same, asked whether it still leads to a primary, if it has not been for a while: it may have been cut off while nobody wrote, and
    /// nothing has been sent by it yet.
    fn sound_line(&mut self) -> Result<&mut Line, StoreError> {
        let line = self.line()?;
        if line.proof.is_due() {
            match line.connection.ask(Purpose::Writing) {
                Ok(()) => line.proof = Proof::now(),
                Err(error) => {
                    tracing::warn!(cause = %error, "a writing connection is not to be relied on: all are opened anew");
                    self.means.trust.suspect_all();
                }
            }
        }
        self.line()
    }

    /// Nothing is to be written: a moment to see what others have written.
    fn look_around(&mut self) {
        let looked = self.line().and_then(|line| line.witness.look_around(&mut line.connection));
        if looked.is_err() {
            self.line = None;
        }
    }

    fn write(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let means = self.means.clone();
        let Line { connection, witness, .. } = self.sound_line()?;
        let has_changes = batch.iter().any(|job| job.kind().is_change());
        let mut events = Vec::with_capacity(batch.len());
        if !has_changes && connection.is_postgres() {
            for job in batch {
                match job.run(&mut Tx(connection, &means.rows)) {
                    Ran::Done(done) => events.extend(done),
                    Ran::Undone => {}
                    Ran::Lost(error) => return Err(error),
                }
            }
            return audit::append_alone(connection, events, &means.key, &means.entropy, &means.tails);
        }
        connection.begin_write()?;
        witness.look_around(connection)?;
        // A job that is alone needs no savepoint: what undoes it undoes the transaction. A savepoint copies every page that is touched.
        let is_alone = batch.len() == 1;
        let mut is_open = false;
        for job in batch {
            let is_change = job.kind().is_change() && !is_alone;
            if is_change {
                // In one round trip.
                connection.batch_execute(if is_open { "RELEASE SAVEPOINT job; SAVEPOINT job" } else { "SAVEPOINT job" })?;
                is_open = true;
            }
            match job.run(&mut Tx(connection, &means.rows)) {
                Ran::Done(done) => events.extend(done),
                Ran::Undone if is_change => connection.batch_execute("ROLLBACK TO SAVEPOINT job")?,
                Ran::Undone if is_alone => return Ok(connection.batch_execute("ROLLBACK")?),
                Ran::Undone => {}
                Ran::Lost(error) => return Err(error),
            }
        }
        if is_open {
            connection.batch_execute("RELEASE SAVEPOINT job")?;
        }
        let appended = if events.is_empty() {
            None
        } else {
            Some(audit::append(connection, events, &means.key, &means.entropy, &means.tails)?)
        };
        let touched = if has_changes { witness.touched(connection)? } else { Vec::new() };
        connection.batch_execute("COMMIT")?;
        witness.committed(&touched);
        appended.into_iter().for_each(|appended| means.tails.put(appended));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_share_a_batch_and_other_changes_do_not() {
        let of_session = |byte| Kind::OfSession(SessionId::from_bytes([byte; 16]));
        assert!(of_session(1).goes_with(Some(of_session(2))) && of_session(1).goes_with(None));
        for change in [Kind::Change, Kind::Rehearsal] {
            assert!(change.goes_with(None) && !change.goes_with(Some(Kind::Change)));
            assert!(!change.goes_with(Some(of_session(1))) && !of_session(1).goes_with(Some(change)));
        }
        assert!(of_session(1).order() < of_session(2).order());
    }
}
