//! What every test uses.

pub mod client;
pub mod collector;
pub mod mail;
pub mod matrix;
pub mod pooler;
pub mod postgres;
pub mod process;
pub mod python_client;
pub mod receiver;
pub mod rows;
pub mod tools;
pub mod wire;

pub use client::{Answer, Client};

use postgres::Postgres;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use usher::app::{self, Migrate};
use usher::domain::chance::Entropy;
use usher::domain::secret::Password;
use usher::domain::time::{Clock, Utc};
use usher::settings;

/// How long something that must happen soon may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until something holds.
#[track_caller]
pub fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Asks until the answer has this status: what another process has changed is heard of within a bound, not at once.
#[track_caller]
pub fn soon(status: u16, ask: impl Fn() -> Answer) -> Answer {
    let answer = std::cell::OnceCell::new();
    let is_it = || {
        let answered = ask();
        answered.status == status && answer.set(answered).is_ok()
    };
    wait_until(&format!("a status of {status}"), is_it);
    answer.into_inner().unwrap()
}

/// Makes one test for each database.
#[macro_export]
macro_rules! both {
    ($($(#[$meta:meta])* fn $name:ident($engine:ident) $body:block)*) => {$(
        mod $name {
            #[expect(clippy::allow_attributes, reason = "whether a test needs its module varies")]
            #[allow(unused_imports, reason = "a test may need nothing of its module")]
            use super::*;
            fn body($engine: $crate::harness::Engine) $body
            $(#[$meta])* #[test] fn sqlite() { body($crate::harness::Engine::Sqlite) }
            $(#[$meta])* #[test] fn postgres() { if $crate::harness::postgres::is_there() { body($crate::harness::Engine::Postgres) } }
        }
    )*};
}

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// The password of every user in these tests.
pub const PASSWORD: &str = "fern tablet ocean quartz";
/// The first super-user.
pub const ROOT: &str = "root";

/// A database of one's own, with a settings file for it.
pub struct Site {
    pub folder: TempDir,
    pub engine: Engine,
    pub url: String,
    extra: Vec<(String, String)>,
}

impl Site {
    pub fn new(engine: Engine) -> Self {
        let folder = TempDir::new().unwrap();
        let url = match engine {
            Engine::Sqlite => format!("sqlite:{}", folder.path().join("usher.db").display()),
            Engine::Postgres => Postgres::shared().create_database(),
        };
        Self::at(folder, engine, url)
    }

    /// With a database that is somewhere else.
    pub fn at(folder: TempDir, engine: Engine, url: String) -> Self {
        Self { folder, engine, url, extra: Vec::new() }
    }

    /// With another setting: `section.key` and its TOML text.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.extra.retain(|(known, _)| known != key);
        self.extra.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Whether a setting was given.
    pub fn extra_has(&self, key: &str) -> bool {
        self.extra.iter().any(|(known, _)| known == key)
    }

    pub fn keys(&self) -> PathBuf {
        self.folder.path().join("usher.keys")
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("usher.db")
    }

    /// Runs a statement on the database, behind the service's back.
    pub fn sql(&self, statement: &str) {
        match self.engine {
            Engine::Sqlite => sqlite(&self.file(), statement),
            Engine::Postgres => Postgres::run(&self.url, statement),
        }
    }

    /// Writes the settings file and, on PostgreSQL, the key file.
    pub fn settings(&self) -> PathBuf {
        if self.engine == Engine::Postgres && !self.keys().exists() {
            usher::auth::keys::Keys::init(&self.keys(), &Entropy::system()).unwrap();
        }
        let mut lines = vec![
            ("server.listen", "\"127.0.0.1:0\"".to_owned()),
            ("server.shutdown_seconds", "1".to_owned()),
            // Services run side by side: none takes a port that is not asked for.
            ("metrics.listen", "\"\"".to_owned()),
            ("database.url", format!("{:?}", self.url)),
            ("passwords.hash_memory_kib", "19456".to_owned()),
            // Where clocks stand still everything is within one minute.
            ("audit.refusals_free", "1000000".to_owned()),
        ];
        if self.engine == Engine::Postgres {
            lines.push(("secrets.file", format!("{:?}", self.keys())));
        }
        lines.retain(|(key, _)| self.extra.iter().all(|(other, _)| other != key));
        let extra = self.extra.iter().map(|(k, v)| (k.as_str(), v.clone()));
        let text: String = lines.into_iter().chain(extra).map(|(key, value)| format!("{key} = {value}\n")).collect();
        let path = self.folder.path().join("usher.toml");
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// A service in this process, with its own database and a clock that stands still until it is moved.
pub struct Town {
    pub site: Site,
    pub base: String,
    /// Where its metrics are, if it serves any.
    pub metrics: Option<std::net::SocketAddr>,
    pub root_id: String,
    clock: Arc<AtomicI64>,
    services: usher::service::Services,
    handle: Option<actix_web::dev::ServerHandle>,
    thread: Option<JoinHandle<()>>,
}

impl Town {
    pub fn new(engine: Engine) -> Self {
        Self::on(Site::new(engine))
    }

    /// A town on a given site. Its clock starts in 2031.
    pub fn on(site: Site) -> Self {
        let micros = Utc::parse("2031-05-04T03:02:01Z").unwrap().micros();
        Self::at(site, Arc::new(AtomicI64::new(micros)))
    }

    /// A town whose clock begins now, for what is made at the command line and used over HTTP.
    pub fn of_today(site: Site) -> Self {
        Self::at(site, Arc::new(AtomicI64::new(Clock::system().now().micros())))
    }

    pub fn at(site: Site, clock: Arc<AtomicI64>) -> Self {
        let settings = settings::load(Some(&site.settings())).unwrap();
        let (send, receive) = channel();
        let time = Arc::clone(&clock);
        let thread = std::thread::spawn(move || {
            let run = async move {
                let clock = Clock::new(move || Utc::from_micros(time.load(Ordering::SeqCst)));
                let services = app::open(&settings, Migrate::Always, clock, Entropy::system()).unwrap();
                let first = services.first_start(ROOT, Password::new(PASSWORD.to_owned())).await.unwrap();
                let running = app::start(&settings, &services).unwrap();
                send.send((
                    running.address,
                    running.metrics,
                    running.handle.clone(),
                    first.map(|id| id.to_string()),
                    services.clone(),
                ))
                .unwrap();
                running.server.await.unwrap();
                services.close();
            };
            actix_web::rt::System::new().block_on(run);
        });
        let (address, metrics, handle, root_id, services) =
            receive.recv_timeout(Duration::from_secs(60)).expect("the service did not start");
        let (handle, thread) = (Some(handle), Some(thread));
        Self {
            site,
            base: format!("http://{address}"),
            metrics,
            root_id: root_id.unwrap_or_default(),
            clock,
            services,
            handle,
            thread,
        }
    }

    /// Stops the service and starts it again on the same database.
    pub fn restart(mut self) -> Self {
        self.stop();
        let folder = std::mem::replace(&mut self.site.folder, TempDir::new().unwrap());
        let site = Site { folder, engine: self.site.engine, url: self.site.url.clone(), extra: self.site.extra.clone() };
        let mut again = Self::at(site, Arc::clone(&self.clock));
        again.root_id = self.root_id.clone();
        again
    }

    /// Stops the service; the site stays.
    pub fn halt(mut self) -> Site {
        self.stop();
        let folder = std::mem::replace(&mut self.site.folder, TempDir::new().unwrap());
        Site { folder, engine: self.site.engine, url: self.site.url.clone(), extra: self.site.extra.clone() }
    }

    /// Stops the service and starts it again with another setting.
    pub fn restart_with(mut self, key: &str, value: &str) -> Self {
        self.site.extra.retain(|(known, _)| known != key);
        self.site.extra.push((key.to_owned(), value.to_owned()));
        self.restart()
    }

    /// Another node of this service: on the same database, with the same keys and the same clock.
    pub fn another_node(&self) -> Self {
        self.another_node_at(&self.site.url)
    }

    /// The same, by another URL of the database.
    pub fn another_node_at(&self, url: &str) -> Self {
        let site = Site {
            folder: TempDir::new().unwrap(),
            engine: self.site.engine,
            url: url.to_owned(),
            extra: self.site.extra.clone(),
        };
        if self.site.keys().exists() {
            std::fs::copy(self.site.keys(), site.keys()).unwrap();
        }
        let mut node = Self::at(site, Arc::clone(&self.clock));
        node.root_id = self.root_id.clone();
        node
    }

    /// The one-time code of a key in base32 now.
    pub fn code(&self, key: &str) -> String {
        tools::code(key, self.now())
    }

    pub fn now(&self) -> Utc {
        Utc::from_micros(self.clock.load(Ordering::SeqCst))
    }

    /// Moves the clock.
    pub fn advance(&self, span: Duration) {
        self.clock.fetch_add(i64::try_from(span.as_micros()).unwrap(), Ordering::SeqCst);
    }

    /// Moves the clock the other way.
    pub fn set_back(&self, span: Duration) {
        self.clock.fetch_sub(i64::try_from(span.as_micros()).unwrap(), Ordering::SeqCst);
    }

    /// How many writes the service has begun, those that it took back included.
    pub fn writes(&self) -> u64 {
        let services = self.services.clone();
        actix_web::rt::System::new().block_on(async move { services.vitals().await.writing.batches.sum })
    }

    pub fn anon(&self) -> Client {
        Client::new(&self.base)
    }

    /// The first super-user, signed in.
    pub fn root(&self) -> Client {
        self.anon().sign_in(ROOT, PASSWORD)
    }

    /// A fresh regular user, signed in.
    pub fn user(&self, name: &str) -> Client {
        self.create(name);
        self.anon().sign_in(name, PASSWORD)
    }

    /// A fresh regular user's id.
    pub fn create(&self, name: &str) -> String {
        let body = serde_json::json!({"username": name, "password": PASSWORD});
        self.root().post("/api/v1/users", &body).expect(201).json["user_id"].as_str().unwrap().to_owned()
    }

    /// Runs a statement on the database, behind the service's back.
    pub fn sql(&self, statement: &str) {
        match self.site.engine {
            Engine::Sqlite => sqlite(&self.site.file(), statement),
            Engine::Postgres => Postgres::run(&self.site.url, statement),
        }
        self.hear();
    }

    /// The `count` that a query of the database answers, behind the service's back.
    pub fn count(&self, query: &str) -> i64 {
        use diesel::RunQueryDsl as _;
        use usher::store::connection::{AnyConnection, Purpose};
        let mut connection = AnyConnection::open(&self.location(), Purpose::Reading).unwrap();
        diesel::sql_query(query).get_result::<Count>(&mut connection).unwrap().count
    }

    /// The texts in the column `line` that a query of the database answers, behind the service's back.
    pub fn lines(&self, query: &str) -> Vec<String> {
        use diesel::RunQueryDsl as _;
        use usher::store::connection::{AnyConnection, Purpose};
        let mut connection = AnyConnection::open(&self.location(), Purpose::Reading).unwrap();
        diesel::sql_query(query).load::<Line>(&mut connection).unwrap().into_iter().map(|l| l.line).collect()
    }

    /// The columns of a table, in its order.
    pub fn columns(&self, table: &str) -> Vec<String> {
        self.lines(&match self.site.engine {
            Engine::Sqlite => format!("SELECT name AS line FROM pragma_table_info('{table}')"),
            Engine::Postgres => format!(
                "SELECT column_name::text AS line FROM information_schema.columns WHERE table_name = '{table}' ORDER BY ordinal_position"
            ),
        })
    }

    /// Where the database is.
    pub fn location(&self) -> usher::store::connection::Location {
        usher::store::connection::Location::parse(&self.site.url).unwrap()
    }

    /// The command line on this town's site.
    pub fn usher(&self, arguments: &[&str]) -> process::Ran {
        let ran = process::usher(&self.site, arguments, "");
        self.hear();
        ran
    }

    /// Waits until the service has heard of what others have changed by now.
    pub fn hear(&self) {
        let now = Instant::now();
        wait_until("hearing of changes", || self.services.heard_of_changes().is_some_and(|heard| heard >= now));
    }

    fn stop(&mut self) {
        if let Some(handle) = self.handle.take() {
            drop(handle.stop(true));
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl std::ops::Drop for Town {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::ops::Deref for Town {
    type Target = Site;
    fn deref(&self) -> &Site {
        &self.site
    }
}

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    count: i64,
}

#[derive(diesel::QueryableByName)]
struct Line {
    #[diesel(sql_type = diesel::sql_types::Text)]
    line: String,
}

/// A connection to an SQLite file, which waits for others.
pub fn open_sqlite(file: &Path) -> diesel::SqliteConnection {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection as _;
    let mut connection = diesel::SqliteConnection::establish(&file.to_string_lossy()).unwrap();
    connection.batch_execute("PRAGMA busy_timeout = 10000").unwrap();
    connection
}

/// Runs a statement on an SQLite file.
pub fn sqlite(file: &Path, statement: &str) {
    use diesel::connection::SimpleConnection as _;
    open_sqlite(file).batch_execute(statement).unwrap();
}

/// Tells threads that it is over when it is dropped, also by a panic.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` on `count` threads at once and returns what they return.
pub fn at_once<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = std::sync::Barrier::new(count);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| {
                let (work, barrier) = (&work, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    work(number)
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}
