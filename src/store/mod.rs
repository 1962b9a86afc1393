//! The store: all SQL, for both databases.
//!
//! Reading happens on a [`Snapshot`], changing in a [`Tx`]; the operations on them are in one file per noun. A change returns its
//! audit event, and the two become durable together (see `writer`); forgetting the event is a type error.

mod api_keys;
mod applications;
mod audit;
mod backup;
mod bulk;
mod checkpoints;
pub mod connection;
mod contract;
mod conversion;
mod custom_attributes;
mod data_keys;
pub mod error;
mod feed;
mod groups;
mod hooks;
mod letters;
mod linked_accounts;
mod links;
mod listing;
pub mod memory;
mod migrations;
mod names;
mod outbox;
mod prepared;
mod rehearsal;
mod rows;
mod scratch;
mod search;
mod second_factor;
mod server;
mod sessions;
mod signing_keys;
mod throttles;
mod token_keys;
mod users;
mod writer;
mod zato;

use crate::domain::audit::{Event, Mark as TrailMark};
use crate::domain::chance::Entropy;
use crate::domain::ids::SessionId;
use crate::domain::row_mac::RowKeys;
use crate::domain::secret::MacKey;
use crate::error::{Code, Error, Result};
use connection::{AnyConnection, Location, Purpose};
use diesel::connection::SimpleConnection as _;
use diesel::r2d2::{ManageConnection, Pool, PooledConnection};
use error::StoreError;
use feed::{Feed, Listener};
use memory::{Memory, Reading};
use server::{Proof, Trust};
use std::fmt::Display;
use std::hash::Hash;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use writer::{Kind, Means, Writer};

pub use audit::{Aged, Finding, Older, Position, Search, Verified};
pub use bulk::NewUserRow;
pub use contract::CONTRACTS;
pub use conversion::Macs;
pub use data_keys::PLACES;
pub use hooks::Lane;
pub use listing::Slice;
pub use migrations::{Entrance, Looked, is_empty, look, migrate, pending};
pub use names::{ByNames, Names};
pub use rows::Mend;
pub use scratch::Scratch;
pub use search::{Filter, Mark, Order, Page, Terms, plan_of_prefix_search, plan_of_search};
pub use sessions::Opened;
pub use writer::Writing;
pub use zato::ZatoUsers;

/// A connection that may read.
pub struct Snapshot<'a>(&'a mut AnyConnection, &'a RowKeys);

/// A transaction that may change; see [`Store::change`].
pub struct Tx<'a>(&'a mut AnyConnection, &'a RowKeys);

impl Tx<'_> {
    /// Reads within the transaction.
    pub fn read(&mut self) -> Snapshot<'_> {
        Snapshot(self.0, self.1)
    }
}

/// Whether a text holds what PostgreSQL's `text` cannot (the NUL character): nothing stored can be equal to it, and asking would fail.
fn is_unstorable(text: &str) -> bool {
    text.contains('\0')
}

/// How long a new connection may take.
const OPENING: Duration = Duration::from_millis(900);
/// How long a call waits for a connection while others use them all.
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// How long a call that has failed for the database's sake waits for its event to be written.
const BRIEFLY: Duration = Duration::from_millis(100);
/// How long a search may take.
const SEARCH_TIME: Duration = Duration::from_secs(20);
/// After so long it is asked whether connections fail to be opened.
const GLANCE: Duration = Duration::from_millis(100);

/// The database. Clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    location: Location,
    readers: Pool<Readers>,
    /// As many as there are reading connections at most: who has none yet waits in his task, and not in a thread.
    turns: Arc<Semaphore>,
    trust: Arc<Trust>,
    /// Connections that could not be opened.
    failures: Arc<AtomicU64>,
    /// Reads that were given up and have not come back.
    stuck: AtomicU64,
    writer: Writer,
    feed: Feed,
    /// On PostgreSQL.
    listener: Mutex<Option<Listener>>,
    key: MacKey,
    rows: Arc<RowKeys>,
    tails: Arc<audit::Tails>,
    entropy: Entropy,
    /// The number of this program's last migration.
    schema: i64,
    /// The oldest that the database was last seen to demand.
    oldest: AtomicI64,
}

impl Store {
    /// Opens the database, which must be migrated, with `readers` reading connections at most, and with what is remembered of its trail.
    ///
    /// # Errors
    /// It cannot be reached, lacks migrations, or demands a newer program.
    pub fn open(
        location: &Location,
        readers: u32,
        macs: Macs,
        remembered: Option<TrailMark>,
        entropy: Entropy,
    ) -> Result<Self, StoreError> {
        match look(location)? {
            Looked::Migrated(entrance) => Self::open_by(*entrance, location, readers, macs, remembered, entropy),
            Looked::Pending(lacking) => {
                let names = lacking.join(", ");
                Err(StoreError::Unavailable(format!("the database lacks the migrations {names}: run `usher migrate`")))
            }
        }
    }

    /// The same by way of the connections of a [`look`] at it, of which one becomes a writer's and one the listener's: to open others takes
    /// its time.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn open_by(
        entrance: Entrance,
        location: &Location,
        readers: u32,
        macs: Macs,
        remembered: Option<TrailMark>,
        entropy: Entropy,
    ) -> Result<Self, StoreError> {
        let Entrance { mut first, second } = entrance;
        let (schema, oldest) = (migrations::schema()?, contract::oldest(&mut first)?);
        contract::check(schema, oldest)?;
        conversion::prepare(&mut first, &macs, remembered.is_some(), &entropy)?;
        let (key, rows) = (macs.audit, Arc::new(macs.rows));
        let tails = Arc::new(audit::Tails::default());
        audit::compare(&mut first, remembered, &key, &tails)?;
        // Whoever cannot write cannot record a call either: better told at the start.
        first.begin_write()?;
        first.batch_execute("UPDATE counters SET value = value WHERE name = 'super_users'; ROLLBACK")?;
        let (trust, failures) = (Arc::new(Trust::default()), Arc::new(AtomicU64::new(0)));
        let manager = Readers { location: location.clone(), trust: Arc::clone(&trust) };
        let most = readers.max(1);
        let readers = Pool::builder()
            .max_size(most)
            .min_idle(Some(1))
            .connection_timeout(OPENING)
            .error_handler(Box::new(Failures(Arc::clone(&failures))))
            .build_unchecked(manager);
        let feed = Feed::new();
        let listener = match location {
            Location::Sqlite(_) => None,
            Location::Postgres(_) => Some(Listener::start(location, feed.clone(), &trust, schema, &entropy, second)?),
        };
        let means = Means {
            location: location.clone(),
            trust: Arc::clone(&trust),
            key: key.clone(),
            rows: Arc::clone(&rows),
            entropy: entropy.clone(),
            feed: feed.clone(),
            tails: Arc::clone(&tails),
        };
        let writer = Writer::start(&means, first)?;
        Ok(Self {
            inner: Arc::new(Inner {
                location: location.clone(),
                readers,
                turns: Arc::new(Semaphore::new(most as usize)),
                trust,
                failures,
                stuck: AtomicU64::new(0),
                writer,
                feed,
                listener: Mutex::new(listener),
                key,
                rows,
                tails,
                entropy,
                schema,
                oldest: AtomicI64::new(oldest),
            }),
        })
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.inner.location
    }

    /// Up to when every change is heard of, whoever made it; `None` if changes are not heard of now, and every call reads the database.
    pub fn heard(&self) -> Option<std::time::Instant> {
        self.inner.feed.coherence().heard()
    }

    /// Looks at what the database demands; if that is a newer program, the reason why nothing is read or written any more.
    ///
    /// # Errors
    /// The database fails.
    pub async fn look_at_contract(&self) -> Result<Option<String>> {
        let oldest = self.read_anyway(self.inner.location.patience(), |snapshot| Ok(contract::oldest(snapshot.0)?)).await?;
        self.inner.oldest.store(oldest, Ordering::Release);
        Ok(contract::check(self.inner.schema, oldest).err().map(|outgrown| outgrown.to_string()))
    }

    /// Whether this program may work on the database as it is now.
    fn is_fit(&self) -> Result<()> {
        contract::check(self.inner.schema, self.inner.oldest.load(Ordering::Acquire))?;
        self.is_not_behind()
    }

    /// How the writer fares.
    pub fn writing(&self) -> Writing {
        self.inner.writer.usage()
    }

    /// A memory for readings of one kind, which forgets what changes.
    pub fn memory<K: Clone + Eq + Hash + Send + Sync + 'static, V: Reading + 'static>(&self) -> Memory<K, V> {
        let memory = Memory::new(Arc::clone(self.inner.feed.coherence()));
        self.inner.feed.add(memory.as_forgetful());
        memory
    }

    /// Runs a quick query or two on a reading connection, off the caller's thread.
    ///
    /// # Errors
    /// Those of `work`; [`Code::Unavailable`] if there is no connection, or no result, in time.
    pub async fn read<T: Send + 'static>(&self, work: impl FnOnce(&mut Snapshot<'_>) -> Result<T> + Send + 'static) -> Result<T> {
        self.read_within(self.inner.location.patience(), work).await
    }

    /// Like [`Store::read`], for what may take seconds: a search that no index serves.
    ///
    /// # Errors
    /// Those of [`Store::read`].
    pub async fn search<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Snapshot<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.read_within(SEARCH_TIME, work).await
    }

    async fn read_within<T: Send + 'static>(
        &self,
        span: Duration,
        work: impl FnOnce(&mut Snapshot<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.is_fit()?;
        self.read_anyway(span, work).await
    }

    async fn read_anyway<T: Send + 'static>(
        &self,
        span: Duration,
        work: impl FnOnce(&mut Snapshot<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        let turn = inner.turn().await?;
        let (began, has_begun) = oneshot::channel();
        let is_given_up = Arc::new(AtomicBool::new(false));
        let was_given_up = Arc::clone(&is_given_up);
        let reading = tokio::task::spawn_blocking(move || {
            let outcome = inner.read(|| _ = began.send(()), work);
            // The second of the two to come here has seen the first.
            if was_given_up.swap(true, Ordering::AcqRel) {
                inner.stuck.fetch_sub(1, Ordering::AcqRel);
            }
            drop(turn);
            outcome
        });
        // Waiting for a connection is bounded by the pool, and is not the query's time. If none was to be had, the outcome says so.
        let _ = has_begun.await;
        match tokio::time::timeout(span, reading).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Error::new(Code::Internal).cause("a read panicked")),
            Err(_) => {
                if !is_given_up.swap(true, Ordering::AcqRel) {
                    self.inner.stuck.fetch_add(1, Ordering::AcqRel);
                }
                self.inner.trust.suspect_readers();
                Err(Error::new(Code::Unavailable).cause("the database did not answer in time"))
            }
        }
    }

    /// Runs `work` in a transaction with the event it returns. Nothing remains of a change that is refused or whose event cannot
    /// be written. A change without an event does not compile:
    ///
    /// ```compile_fail,E0308
    /// async fn forget(store: usher::store::Store) {
    ///     let _ = store.change(|_| Ok(())).await;
    /// }
    /// ```
    ///
    /// # Errors
    /// Those of `work`; [`Code::Unavailable`] if it cannot be made durable.
    pub async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<(T, Event)> + Send + 'static,
    ) -> Result<T> {
        self.write(Kind::Change, |tx| work(tx).map(|(value, event)| (value, vec![event]))).await
    }

    /// Like [`Store::change`], for work that locks the session of this id and what hangs on it, and nothing else: it shares its transaction
    /// with that of other sessions, on PostgreSQL too.
    ///
    /// # Errors
    /// Those of [`Store::change`].
    pub async fn change_session<T: Send + 'static>(
        &self,
        session_id: SessionId,
        work: impl FnOnce(&mut Tx<'_>) -> Result<(T, Event)> + Send + 'static,
    ) -> Result<T> {
        self.write(Kind::OfSession(session_id), |tx| work(tx).map(|(value, event)| (value, vec![event]))).await
    }

    /// Like [`Store::change`], for work on many things: with an event for each of those that it changed.
    ///
    /// # Errors
    /// Those of [`Store::change`].
    pub async fn change_many<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<(T, Vec<Event>)> + Send + 'static,
    ) -> Result<T> {
        self.write(Kind::Change, work).await
    }

    /// Runs `work` as a change would be run, and keeps nothing of it but what it returns.
    ///
    /// # Errors
    /// Those of [`Store::change`].
    pub async fn rehearse<T: Send + 'static>(&self, work: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static) -> Result<T> {
        self.write(Kind::Rehearsal, |tx| work(tx).map(|value| (value, Vec::new()))).await
    }

    /// Makes an event durable that has no change of its own: a read, or a refusal. After an outage nobody is kept waiting long for it.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if it cannot be written.
    pub async fn record(&self, event: Event, is_outage: bool) -> Result<()> {
        let writing = self.write(Kind::Event, |_| Ok(((), vec![event])));
        if !is_outage {
            return writing.await;
        }
        match tokio::time::timeout(BRIEFLY, writing).await {
            Ok(written) => written,
            Err(_) => Err(Error::new(Code::Unavailable).cause("the audit event could not be written in time")),
        }
    }

    /// Makes an event durable a moment later, without waiting for it.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if too many wait already.
    pub fn record_soon(&self, event: Event) -> Result<()> {
        self.is_fit()?;
        self.inner.writer.submit_soon(event)
    }

    /// Changes what is no one's data and therefore has no event: counts of attempts, times of last use.
    ///
    /// # Errors
    /// Those of `work`; [`Code::Unavailable`] if it cannot be made durable.
    pub async fn keep_count<T: Send + 'static>(&self, work: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static) -> Result<T> {
        self.write(Kind::Change, |tx| work(tx).map(|value| (value, Vec::new()))).await
    }

    async fn write<T: Send + 'static>(
        &self,
        kind: Kind,
        work: impl FnOnce(&mut Tx<'_>) -> Result<(T, Vec<Event>)> + Send + 'static,
    ) -> Result<T> {
        self.is_fit()?;
        self.inner.writer.submit(kind, work).await
    }

    /// Whether writes are waiting for their turn.
    pub fn has_waiting(&self) -> bool {
        self.inner.writer.has_waiting()
    }

    /// Copies an SQLite database, as it is at one moment, into an empty file, and looks whether the copy is sound.
    ///
    /// # Errors
    /// It is no SQLite database, or it or the file fails; the file is of no use then.
    pub async fn back_up(&self, copy: PathBuf) -> Result<()> {
        let location = self.inner.location.clone();
        let copied = tokio::task::spawn_blocking(move || backup::back_up(&location, &copy)).await;
        Ok(copied.map_err(|_| Error::new(Code::Internal).cause("a backup panicked"))??)
    }

    /// Finishes accepted writes and stops.
    pub fn close(&self) {
        self.inner.writer.close();
        self.inner.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Inner {
    /// Reads; `begins` is told when there is a connection.
    fn read<T>(&self, begins: impl FnOnce(), work: impl FnOnce(&mut Snapshot<'_>) -> Result<T>) -> Result<T> {
        let mut pooled = self.reader()?;
        begins();
        if pooled.proof.is_due() && !self.is_sound(&mut pooled) {
            // Nothing was asked of it yet, so that another one can be. It may have been cut off while nobody called.
            drop(pooled);
            pooled = self.reader()?;
        }
        let outcome = work(&mut Snapshot(&mut pooled.connection, &self.rows));
        if outcome.as_ref().is_err_and(|error| error.code() == Code::Unavailable) {
            self.is_sound(&mut pooled);
        }
        outcome
    }

    /// Whether a connection still leads to a primary. If not, those opened before now are not trusted either.
    fn is_sound(&self, reader: &mut Reader) -> bool {
        match reader.connection.ask(Purpose::Reading) {
            Ok(()) => {
                reader.proof = Proof::now();
                true
            }
            Err(error) => {
                tracing::warn!(cause = %error, "a reading connection is not to be relied on: all are opened anew");
                self.trust.suspect_all();
                false
            }
        }
    }

    /// A turn at reading. It is waited for while others read, but not while none of them comes back.
    async fn turn(&self) -> Result<OwnedSemaphorePermit> {
        let failures = self.failures.load(Ordering::Acquire);
        let mut waited = Duration::ZERO;
        let mut turn = pin!(Arc::clone(&self.turns).acquire_owned());
        loop {
            match tokio::time::timeout(GLANCE, &mut turn).await {
                Ok(Ok(turn)) => return Ok(turn),
                Ok(Err(closed)) => return Err(no_connection(&closed)),
                Err(elapsed) => {
                    waited += GLANCE;
                    if self.is_hopeless(failures, waited) {
                        return Err(no_connection(&elapsed));
                    }
                }
            }
        }
    }

    /// A reading connection, which is opened if need be.
    fn reader(&self) -> Result<PooledConnection<Readers>> {
        let failures = self.failures.load(Ordering::Acquire);
        let mut waited = Duration::ZERO;
        loop {
            match self.readers.get_timeout(GLANCE) {
                Ok(pooled) => return Ok(pooled),
                Err(error) => {
                    waited += GLANCE;
                    if self.is_hopeless(failures, waited) {
                        return Err(no_connection(&error));
                    }
                }
            }
        }
    }

    /// Whether someone who has waited for so long for a connection, since there were so many failures, had better come back later.
    fn is_hopeless(&self, failures: u64, waited: Duration) -> bool {
        let is_failing = self.failures.load(Ordering::Acquire) != failures || self.stuck.load(Ordering::Acquire) > 0;
        waited >= LONGEST_WAIT || is_failing && waited >= GLANCE * 3
    }
}

fn no_connection(cause: &impl Display) -> Error {
    Error::new(Code::Unavailable).cause(format!("no connection for reading: {}", cause.to_string().replace('\n', "; ")))
}

/// Opens reading connections for the pool. A connection is as good as its epoch and its proof: a query is spent on asking it only where that is
/// of a moment ago.
struct Readers {
    location: Location,
    trust: Arc<Trust>,
}

struct Reader {
    connection: AnyConnection,
    epoch: u64,
    proof: Proof,
}

impl ManageConnection for Readers {
    type Connection = Reader;
    type Error = StoreError;

    fn connect(&self) -> Result<Reader, StoreError> {
        let epoch = self.trust.epoch(Purpose::Reading);
        let mut connection = AnyConnection::open(&self.location, Purpose::Reading)?;
        self.trust.check(&mut connection)?;
        Ok(Reader { connection, epoch, proof: Proof::now() })
    }

    fn is_valid(&self, reader: &mut Reader) -> Result<(), StoreError> {
        if self.has_broken(reader) { Err(StoreError::Unavailable("an outdated connection".to_owned())) } else { Ok(()) }
    }

    fn has_broken(&self, reader: &mut Reader) -> bool {
        reader.epoch != self.trust.epoch(Purpose::Reading)
    }
}

/// The pool's own complaints are counted; they are told by the calls that they fail.
#[derive(Debug)]
struct Failures(Arc<AtomicU64>);

impl diesel::r2d2::HandleError<StoreError> for Failures {
    fn handle_error(&self, error: StoreError) {
        self.0.fetch_add(1, Ordering::AcqRel);
        tracing::debug!(cause = %error, "a reading connection could not be opened");
    }
}
