//! The feed of changes: how the [memories](super::memory) of this process learn of what changes in the database, whoever changes it.
//!
//! What this process changes itself is told by the transaction that changes it, and forgotten before the change is answered: there is no
//! moment at which a node answers that a session has ended and still accepts it. What others change is heard of:
//!
//! - **SQLite**: other processes, such as the command line, raise `PRAGMA data_version` of the writer's connection. The writer looks at it
//!   with every batch and, when it has nothing to do, every [`LOOK`]; then everything is forgotten.
//! - **PostgreSQL**: triggers announce every change on a channel, also one made by hand. A thread listens on a connection of its own, and
//!   sends a heartbeat through the same channel: announcements come in the order of commits, so one's own heartbeat is the proof of having
//!   heard of everything committed before it was sent. Without one for [`memory::BOUND`](super::memory::BOUND) nothing is answered from
//!   memory.

use super::connection::{AnyConnection, Location, Purpose};
use super::contract;
use super::error::StoreError;
use super::memory::{Coherence, Forgetful};
use super::prepared::prepared;
use super::server::{self, Trust};
use crate::domain::chance::Entropy;
use crate::domain::ids::{CredentialId, UserId};
use crate::domain::sql;
use diesel::connection::SimpleConnection as _;
use diesel::pg::PgNotification;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often other processes' changes are looked for on SQLite.
pub(super) const LOOK: Duration = Duration::from_millis(25);
/// How often announcements are fetched on PostgreSQL.
const FETCH: Duration = Duration::from_millis(10);
/// How often the heartbeat is sent.
const BEAT: Duration = Duration::from_millis(200);
/// Between two tries to connect.
const RETRY: Duration = Duration::from_millis(250);
/// Without a heartbeat for so long, a connection is given up.
const STUCK: Duration = Duration::from_secs(3);
/// Connections that were given up and may still be open; with more of them nobody tries another.
const MOST_STUCK: usize = 8;

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched {
    /// A user, or the groups of one.
    User(UserId),
    /// A session or an API key.
    Credential(CredentialId),
    /// What everyone depends on; or something, and nobody knows what.
    Everything,
}

impl Touched {
    /// Reads what a trigger wrote. What cannot be read may be anything.
    fn parse(text: &str) -> Self {
        let id = |text: &str| text.parse::<UserId>().ok();
        match text.split_once(':') {
            Some(("u", text)) => id(text).map_or(Self::Everything, Self::User),
            Some(("c", text)) => {
                id(text).map_or(Self::Everything, |id| Self::Credential(CredentialId::from_bytes(*id.as_bytes())))
            }
            _ => Self::Everything,
        }
    }
}

/// The memories, and how they stand towards the feed. Clones share it.
#[derive(Clone)]
pub(super) struct Feed {
    coherence: Arc<Coherence>,
    memories: Arc<Mutex<Vec<Arc<dyn Forgetful>>>>,
}

impl Feed {
    pub(super) fn new() -> Self {
        Self { coherence: Arc::new(Coherence::new()), memories: Arc::default() }
    }

    pub(super) fn coherence(&self) -> &Arc<Coherence> {
        &self.coherence
    }

    fn memories(&self) -> MutexGuard<'_, Vec<Arc<dyn Forgetful>>> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, memory: Arc<dyn Forgetful>) {
        self.memories().push(memory);
    }

    pub(super) fn touch(&self, touched: &[Touched]) {
        self.coherence.forget(&self.memories(), touched);
    }
}

#[derive(diesel::QueryableByName)]
struct DataVersion {
    #[diesel(sql_type = BigInt)]
    data_version: i64,
}

#[derive(diesel::QueryableByName)]
struct Noted {
    #[diesel(sql_type = BigInt)]
    kind: i64,
    #[diesel(sql_type = Nullable<sql::Uuid>)]
    id: Option<UserId>,
}

#[derive(diesel::QueryableByName)]
struct Setting {
    #[diesel(sql_type = Nullable<Text>)]
    touched: Option<String>,
}

/// Triggers of the writer's connection alone: the kind and id of what a statement touched.
const TRIGGERS: &[(&str, &str, &str)] = &[
    ("UPDATE ON users", "1", "old.user_id"),
    ("DELETE ON users", "1", "old.user_id"),
    ("INSERT ON group_members", "1", "new.user_id"),
    ("DELETE ON group_members", "1", "old.user_id"),
    ("UPDATE ON sessions", "2", "old.session_id"),
    ("DELETE ON sessions", "2", "old.session_id"),
    ("UPDATE ON api_keys", "2", "old.key_id"),
    ("DELETE ON api_keys", "2", "old.key_id"),
    ("UPDATE ON applications", "0", "NULL"),
    ("DELETE ON applications", "0", "NULL"),
    ("INSERT ON application_groups", "0", "NULL"),
    ("DELETE ON application_groups", "0", "NULL"),
    ("UPDATE ON groups", "0", "NULL"),
    ("DELETE ON groups", "0", "NULL"),
];

/// What a writer's connection has touched and seen of others.
pub(super) struct Witness {
    feed: Feed,
    data_version: i64,
}

impl Witness {
    /// Prepares a writer's connection. What happened before it was opened is not known.
    pub(super) fn new(connection: &mut AnyConnection, feed: Feed) -> Result<Self, StoreError> {
        let mut data_version = 0;
        if !connection.is_postgres() {
            connection.batch_execute("PRAGMA temp_store = MEMORY; CREATE TEMP TABLE touched (kind INTEGER NOT NULL, id BLOB)")?;
            for (number, (event, kind, id)) in TRIGGERS.iter().enumerate() {
                connection.batch_execute(&format!(
                    "CREATE TEMP TRIGGER touch_{number} AFTER {event} BEGIN INSERT INTO touched VALUES ({kind}, {id}); END"
                ))?;
            }
            data_version = look(connection)?;
        }
        feed.touch(&[Touched::Everything]);
        Ok(Self { feed, data_version })
    }

    /// On SQLite: whether another process has changed something since the last look. To be asked outside of a transaction, or at its
    /// beginning.
    pub(super) fn look_around(&mut self, connection: &mut AnyConnection) -> Result<(), StoreError> {
        if connection.is_postgres() {
            return Ok(());
        }
        let began = Instant::now();
        let seen = look(connection)?;
        if seen != self.data_version {
            self.data_version = seen;
            self.feed.touch(&[Touched::Everything]);
        }
        self.feed.coherence().hears(began);
        Ok(())
    }

    /// What the transaction that is about to be committed has touched.
    pub(super) fn touched(&self, connection: &mut AnyConnection) -> Result<Vec<Touched>, StoreError> {
        if connection.is_postgres() {
            let setting: Setting = prepared("SELECT current_setting('usher.touched', true) AS touched").get_result(connection)?;
            return Ok(setting.touched.unwrap_or_default().split_whitespace().map(Touched::parse).collect());
        }
        let noted: Vec<Noted> = prepared("DELETE FROM touched RETURNING kind, id").load(connection)?;
        let touched = |noted: Noted| match (noted.kind, noted.id) {
            (1, Some(id)) => Touched::User(id),
            (2, Some(id)) => Touched::Credential(CredentialId::from_bytes(*id.as_bytes())),
            _ => Touched::Everything,
        };
        Ok(noted.into_iter().map(touched).collect())
    }

    /// It is committed: what it touched is forgotten, before anyone is answered.
    pub(super) fn committed(&self, touched: &[Touched]) {
        self.feed.touch(touched);
    }
}

impl Drop for Witness {
    /// Nobody looks any more: what was remembered is not to be relied on.
    fn drop(&mut self) {
        self.feed.touch(&[Touched::Everything]);
    }
}

fn look(connection: &mut AnyConnection) -> Result<i64, StoreError> {
    Ok(diesel::sql_query("PRAGMA data_version").get_result::<DataVersion>(connection)?.data_version)
}

/// The thread that listens on PostgreSQL.
pub(super) struct Listener {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Starts listening, on a connection that is open already if there is one; nothing is answered from memory before it hears.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub(super) fn start(
        location: &Location,
        feed: Feed,
        trust: &Arc<Trust>,
        schema: i64,
        entropy: &Entropy,
        first: Option<AnyConnection>,
    ) -> Result<Self, StoreError> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let node: String = entropy.bytes::<8>().iter().map(|b| format!("{b:02x}")).collect();
        let (location, trust) = (location.clone(), Arc::clone(trust));
        let keeper = Keeper { location, feed, trust, schema, node, stop: Arc::clone(&stop), first };
        let thread = std::thread::Builder::new().name("listener".to_owned()).spawn(move || keeper.keep());
        let thread = thread.map_err(|e| StoreError::Broken(format!("cannot start the listener: {e}")))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops listening.
    pub(super) fn close(&mut self) {
        let (stop, bell) = &*self.stop;
        *stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        bell.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

/// Sees to it that someone listens. The one who does may be stuck in a connection through which nothing comes any more; nothing can
/// wake it, so it is left to itself, and another one listens on another connection.
struct Keeper {
    location: Location,
    feed: Feed,
    trust: Arc<Trust>,
    schema: i64,
    node: String,
    stop: Arc<(Mutex<bool>, Condvar)>,
    first: Option<AnyConnection>,
}

impl Keeper {
    fn keep(mut self) {
        // As many as there are clones of it are listening, or are stuck.
        let ears = Arc::new(());
        while !has_stopped(&self.stop, Duration::ZERO) {
            if Arc::strong_count(&ears) <= MOST_STUCK {
                self.listen(&ears);
            }
            self.feed.coherence().is_deaf();
            self.feed.touch(&[Touched::Everything]);
            has_stopped(&self.stop, RETRY);
        }
    }

    /// Has someone listen, until that fails, is stuck, or is to stop.
    fn listen(&mut self, ears: &Arc<()>) {
        let (feed, trust, node, stop) = (self.feed.clone(), Arc::clone(&self.trust), self.node.clone(), Arc::clone(&self.stop));
        let (location, schema, first) = (self.location.clone(), self.schema, self.first.take());
        let (is_current, ear) = (Arc::new(AtomicBool::new(true)), Arc::clone(ears));
        let still = Arc::clone(&is_current);
        let hear = move || {
            let opened = first.map_or_else(|| AnyConnection::open(&location, Purpose::Writing), Ok);
            let goes_on = || still.load(Ordering::Acquire) && !has_stopped(&stop, FETCH);
            let heard = opened.and_then(|connection| hear(connection, &feed, &trust, schema, &node, goes_on));
            drop(ear);
            heard
        };
        let ear = match std::thread::Builder::new().name("ear".to_owned()).spawn(hear) {
            Ok(ear) => ear,
            Err(error) => return tracing::warn!(cause = %error, "cannot start a thread that listens for changes"),
        };
        let began = Instant::now();
        while !ear.is_finished() {
            if has_stopped(&self.stop, BEAT) {
                return;
            }
            let last = self.feed.coherence().heard().map_or(began, |heard| heard.max(began));
            if last.elapsed() > STUCK {
                is_current.store(false, Ordering::Release);
                self.is_lost(began);
                tracing::warn!("the feed of changes is stuck: every call reads the database until it is back");
                return;
            }
        }
        if let Ok(Err(error)) = ear.join() {
            self.is_lost(began);
            tracing::warn!(cause = %error, "the feed of changes is gone: every call reads the database until it is back");
        }
    }

    /// Nobody listens any more. If somebody did since then, the server has gone, or is not the primary any more: whoever has a connection of before opens
    /// another one. It is told once, however often it fails to be opened anew.
    fn is_lost(&self, began: Instant) {
        self.trust.listens(None);
        if self.feed.coherence().heard().is_some_and(|heard| heard >= began) {
            self.trust.suspect_all();
        }
    }
}

/// Waits for so long, or until it is to stop; tells whether it is.
fn has_stopped(stop: &(Mutex<bool>, Condvar), span: Duration) -> bool {
    let (stop, bell) = stop;
    let stop = stop.lock().unwrap_or_else(PoisonError::into_inner);
    if *stop || span.is_zero() {
        return *stop;
    }
    *bell.wait_timeout(stop, span).unwrap_or_else(PoisonError::into_inner).0
}

#[derive(diesel::QueryableByName)]
struct Beat {
    #[diesel(sql_type = Integer)]
    pid: i32,
    #[diesel(sql_type = Bool)]
    is_read_only: bool,
}

/// Listens until the connection fails or it is not to go on; `goes_on` takes its time.
fn hear(
    connection: AnyConnection,
    feed: &Feed,
    trust: &Trust,
    schema: i64,
    node: &str,
    goes_on: impl Fn() -> bool,
) -> Result<(), StoreError> {
    let AnyConnection::Postgres(mut connection) = connection else { return Ok(()) };
    let own = server::backend(&mut connection)?;
    connection.batch_execute("LISTEN usher")?;
    trust.listens(Some(own));
    contract::announce(&mut connection, schema)?;
    // What was announced before is not known.
    feed.touch(&[Touched::Everything]);
    let (mut number, mut sent) = (0u64, None::<Instant>);
    loop {
        if sent.is_none_or(|sent| sent.elapsed() >= BEAT) {
            number += 1;
            let beat = format!("b:{node}:{number}");
            sent = Some(Instant::now());
            let sending = "SELECT pg_backend_pid() AS pid, current_setting('transaction_read_only') = 'on' AS is_read_only, pg_notify('usher', $1)";
            let Beat { pid, is_read_only } = diesel::sql_query(sending).bind::<Text, _>(beat).get_result(&mut connection)?;
            // It must be the process that listens which announces: what another one announces may be heard by chance.
            if pid != own {
                return Err(server::is_pooled());
            }
            if is_read_only {
                return Err(StoreError::Unavailable("the server takes no changes any more".to_owned()));
            }
        }
        let mut touched = Vec::new();
        let mut is_proved = false;
        for notification in connection.notifications_iter() {
            let PgNotification { process_id, payload, .. } = notification?;
            match payload.strip_prefix("b:") {
                Some(beat) => is_proved |= process_id == own && beat.split_once(':') == Some((node, &number.to_string())),
                None => touched.push(Touched::parse(&payload)),
            }
        }
        feed.touch(&touched);
        if let (true, Some(sent)) = (is_proved, sent) {
            feed.coherence().hears(sent);
        }
        if !goes_on() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// What a trigger writes is read back; anything else touches everything.
        #[test]
        fn announcements(bytes: [u8; 16], text in ".{0,50}") {
            let (user, credential) = (UserId::from_bytes(bytes), CredentialId::from_bytes(bytes));
            prop_assert_eq!(Touched::parse(&format!("u:{user}")), Touched::User(user));
            prop_assert_eq!(Touched::parse(&format!("c:{credential}")), Touched::Credential(credential));
            if !text.starts_with("u:") && !text.starts_with("c:") {
                prop_assert_eq!(Touched::parse(&text), Touched::Everything);
            }
        }
    }
}
