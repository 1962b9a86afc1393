//! A PostgreSQL server for the tests: the one that `USHER_TEST_POSTGRES_URL` names, or one of their own in a temporary folder, started as an
//! unprivileged user. Where none can be found, the tests on it are skipped with a line that says so, unless
//! `USHER_TEST_POSTGRES=required`.

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection, RunQueryDsl as _};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The user that PostgreSQL runs as when the tests run as root, which it refuses.
const NOBODY: u32 = 65534;

/// A running server.
pub struct Postgres {
    /// Without a database's name.
    base: String,
    _server: Option<Server>,
}

static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
static DATABASES: AtomicUsize = AtomicUsize::new(0);

fn shared() -> Option<&'static Postgres> {
    let found = SHARED.get_or_init(|| {
        if let Ok(base) = std::env::var("USHER_TEST_POSTGRES_URL") {
            return Some(Postgres { base, _server: None });
        }
        let server = Server::start(binaries()?);
        Some(Postgres { base: server.base(), _server: Some(server) })
    });
    found.as_ref()
}

/// Whether there is one; if not, says so, or fails where it must be there.
pub fn is_there() -> bool {
    let is_there = shared().is_some();
    let is_required = std::env::var("USHER_TEST_POSTGRES").is_ok_and(|v| v == "required");
    assert!(is_there || !is_required, "PostgreSQL is required, but neither a URL was given nor were its programs found");
    if !is_there {
        println!("SKIPPED: there is no PostgreSQL; install its server programs or set USHER_TEST_POSTGRES_URL");
    }
    is_there
}

/// Where `initdb` and `postgres` are.
fn binaries() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    folders.sort();
    folders.reverse();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path));
    folders.into_iter().find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

impl Postgres {
    pub fn shared() -> &'static Self {
        shared().expect("ask is_there() first")
    }

    /// A fresh database; its URL.
    pub fn create_database(&self) -> String {
        let name = format!("t{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::SeqCst));
        Self::run(&format!("{}/postgres", self.base), &format!("CREATE DATABASE {name}"));
        format!("{}/{name}", self.base)
    }

    /// Every row of every table, as text.
    pub fn dump(url: &str) -> String {
        let tables = Self::lines(url, "SELECT tablename::text AS line FROM pg_tables WHERE schemaname = 'public'");
        assert!(tables.len() > 5, "{tables:?}");
        let rows = tables.iter().flat_map(|table| Self::lines(url, &format!("SELECT t::text AS line FROM \"{table}\" t")));
        rows.collect::<Vec<_>>().join("\n")
    }

    /// What a query finds in its only column, which is named `line`.
    pub fn lines(url: &str, query: &str) -> Vec<String> {
        let mut connection = PgConnection::establish(url).unwrap();
        let found: Vec<Line> = diesel::sql_query(query).load(&mut connection).unwrap();
        found.into_iter().map(|l| l.line).collect()
    }

    /// Runs statements.
    pub fn run(url: &str, statement: &str) {
        PgConnection::establish(url).unwrap().batch_execute(statement).unwrap();
    }
}

#[derive(diesel::QueryableByName)]
struct Line {
    #[diesel(sql_type = diesel::sql_types::Text)]
    line: String,
}

/// A server that a test starts, stops and starts again.
pub struct Server {
    binaries: PathBuf,
    folder: TempDir,
    port: u16,
    keeper: Option<Child>,
    /// Of its messages.
    language: &'static str,
}

impl Server {
    /// One whose messages are German; `None`, with a line that says so, if it has not learnt any.
    pub fn german() -> Option<Self> {
        let mut server = Self::own();
        server.language = "de";
        server.stop();
        server.resume();
        let mut connection = PgConnection::establish(&server.maintenance()).unwrap();
        let complaint = connection.batch_execute("SELECT nothing").unwrap_err().to_string();
        let has_learnt = complaint.contains("existiert nicht");
        if !has_learnt {
            println!("SKIPPED: the server's messages are not to be had in German");
        }
        has_learnt.then_some(server)
    }

    /// A server of one's own.
    pub fn own() -> Self {
        Self::start(binaries().expect("ask is_there() first"))
    }

    /// One whose files are small when it begins, so that a limit on their size binds soon.
    pub fn with_small_files() -> Self {
        Self::start_with(binaries().expect("ask is_there() first"), &["--wal-segsize=1"])
    }

    /// A primary and a synchronous standby of it.
    pub fn pair() -> (Self, Self) {
        // Whose pages bear checksums, a server can be taken back to where it parted from another.
        let primary = Self::start_with(binaries().expect("ask is_there() first"), &["--data-checksums"]);
        let standby = Self::standby_of(&primary);
        (primary, standby)
    }

    fn start(binaries: PathBuf) -> Self {
        Self::start_with(binaries, &[])
    }

    fn start_with(binaries: PathBuf, arguments: &[&str]) -> Self {
        let folder = folder_of_nobody();
        let data = folder.path().join("data");
        let made = as_nobody(Command::new(binaries.join("initdb")))
            .args(["--username=usher", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "-D"])
            .arg(&data)
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut server = Self { binaries, folder, port: free_port(), keeper: None, language: "" };
        server.resume();
        server
    }

    /// A copy of a primary, which streams from it and answers what only reads. What the primary acknowledges is here as well, from now on.
    pub fn standby_of(primary: &Self) -> Self {
        // Whoever is taken back to where two parted has to find that in its log.
        primary.run("ALTER SYSTEM SET wal_keep_size = '1GB'");
        primary.run("SELECT pg_reload_conf()");
        let folder = folder_of_nobody();
        let mut standby = Self { binaries: primary.binaries.clone(), folder, port: free_port(), keeper: None, language: "" };
        let (how, from) = (["--checkpoint=fast", "--no-sync", "-D"], primary.conninfo());
        standby.has_done("pg_basebackup", |command| command.args(how).arg(standby.data()).args(["-d", &from]));
        standby.follow(primary);
        standby
    }

    /// Begins, or begins again, as a standby of another server, which waits for it with everything that it acknowledges.
    pub fn follow(&mut self, primary: &Self) {
        let settings = self.data().join("postgresql.auto.conf");
        let kept: String =
            read(&settings).lines().filter(|line| !line.starts_with("synchronous")).map(|l| format!("{l}\n")).collect();
        std::fs::write(&settings, format!("{kept}primary_conninfo = '{}'\n", primary.conninfo())).unwrap();
        std::fs::write(self.data().join("standby.signal"), "").unwrap();
        self.resume();
        primary.run("ALTER SYSTEM SET synchronous_standby_names = '*'");
        primary.run("SELECT pg_reload_conf()");
        let states = "SELECT count(*)::text AS line FROM pg_stat_replication WHERE sync_state = 'sync'";
        super::wait_until("a synchronous standby", || Postgres::lines(&primary.maintenance(), states) == ["1"]);
    }

    /// Takes back what it has and another server, which was promoted meanwhile, has not.
    pub fn rewind(&self, primary: &Self) {
        // Until then the other one's files do not tell that it was promoted.
        primary.run("CHECKPOINT");
        let (how, from) = (["--no-sync", "--target-pgdata"], primary.conninfo());
        self.has_done("pg_rewind", |command| command.args(how).arg(self.data()).args(["--source-server", &from]));
    }

    /// Has a primary wait for no standby, and cuts off the standby that it has: what is acknowledged from now on is not there.
    pub fn part_from(&self, standby: &Self) {
        self.run("ALTER SYSTEM RESET synchronous_standby_names");
        self.run("SELECT pg_reload_conf()");
        standby.run("ALTER SYSTEM SET primary_conninfo = ''");
        standby.run("SELECT pg_reload_conf()");
        let senders = "SELECT count(*)::text AS line FROM pg_stat_replication";
        super::wait_until("a parting", || Postgres::lines(&self.maintenance(), senders) == ["0"]);
    }

    /// Has a standby become a primary.
    pub fn promote(&self) {
        // It waits for nobody.
        self.run("ALTER SYSTEM RESET synchronous_standby_names");
        self.run("SELECT pg_promote()");
    }

    /// Runs a statement on the server, in no database of usher's.
    pub fn run(&self, statement: &str) {
        Postgres::run(&self.maintenance(), statement);
    }

    /// How many connections of usher's lead to it.
    pub fn guests(&self) -> u64 {
        let guests = "SELECT count(*)::text AS line FROM pg_stat_activity WHERE application_name = 'usher'";
        Postgres::lines(&self.maintenance(), guests)[0].parse().unwrap()
    }

    /// Cuts off every connection of usher's through which nothing has come for a while.
    pub fn cut_off_idle(&self) {
        self.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE application_name = 'usher' AND state_change < clock_timestamp() - interval '550 ms'",
        );
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn maintenance(&self) -> String {
        format!("{}/postgres", self.base())
    }

    fn conninfo(&self) -> String {
        format!("host=127.0.0.1 port={} user=usher dbname=postgres", self.port)
    }

    fn has_done(&self, program: &str, with: impl Fn(&mut Command) -> &mut Command) {
        let mut command = as_nobody(Command::new(self.binaries.join(program)));
        let done = with(&mut command).current_dir(self.folder.path()).output().unwrap();
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    }

    pub fn base(&self) -> String {
        format!("postgres://usher@127.0.0.1:{}", self.port)
    }

    /// Starts the server, behind a shell that ends it when this process ends, however it ends.
    pub fn resume(&mut self) {
        let script = r#""$0" -D "$1" -p "$2" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off \
            -c max_connections=400 -c log_min_messages=fatal >"$1/log" 2>&1 & server=$!; read -r how; kill -"${how:-QUIT}" $server; wait $server; [ -n "$how" ] || rm -rf "$1"/..?* "$1"/* "$1"; exit 0"#;
        let mut shell = Command::new("sh");
        shell
            .args(["-c", script])
            .arg(self.binaries.join("postgres"))
            .arg(self.folder.path().join("data"))
            .arg(self.port.to_string());
        shell.stdin(Stdio::piped()).current_dir(self.folder.path()).env("LANGUAGE", self.language);
        self.keeper = Some(as_nobody(shell).spawn().unwrap());
        let began = Instant::now();
        while PgConnection::establish(&format!("{}/postgres", self.base())).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "PostgreSQL did not start: {}",
                read(&self.folder.path().join("data/log"))
            );
            std::thread::yield_now();
        }
    }

    /// Stops the server at once, as a crash would.
    pub fn crash(&mut self) {
        self.end(b"QUIT\n");
    }

    /// Stops the server in order: its standby has everything then.
    pub fn stop(&mut self) {
        self.end(b"INT\n");
    }

    fn end(&mut self, how: &[u8]) {
        if let Some(mut keeper) = self.keeper.take() {
            keeper.stdin.take().unwrap().write_all(how).unwrap();
            keeper.wait().unwrap();
        }
    }

    /// The ids of its processes, the first one first.
    fn processes(&self) -> Vec<String> {
        let Some(first) = read(&self.folder.path().join("data/postmaster.pid")).lines().next().map(str::to_owned) else {
            return Vec::new();
        };
        let parent = |pid: &str| {
            let stat = read(Path::new(&format!("/proc/{pid}/stat")));
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1).map(str::to_owned))
        };
        let all = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let children: Vec<String> = all.filter(|pid| parent(pid).is_some_and(|parent| parent == first)).collect();
        [first].into_iter().chain(children).collect()
    }

    /// Has a command done to each of its processes; one that has ended meanwhile needs nothing.
    fn to_each(&self, command: impl Fn(&str) -> Command) {
        for (at, pid) in self.processes().iter().enumerate() {
            let done = as_nobody(command(pid)).output().unwrap();
            assert!(done.status.success() || at > 0, "{done:?}");
        }
    }

    /// Limits the size of the files that its processes write, those to come included, as a full disk would; `None` lifts that.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        // Twice, for a child that came to be before the first one was at it.
        for _ in 0..2 {
            self.to_each(|pid| {
                let mut command = Command::new("prlimit");
                command.args(["--pid", pid, &format!("--fsize={limit}:")]);
                command
            });
        }
    }

    /// Has it hang: connections are accepted and stay open, and nothing is answered on them.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Has it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        self.to_each(|pid| {
            let mut command = Command::new("kill");
            command.args([signal, pid]);
            command
        });
    }

    pub fn create_database(&self) -> String {
        Postgres { base: self.base(), _server: None }.create_database()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that hangs does not hear that it is to stop.
        if self.keeper.is_some() {
            self.thaw();
        }
        self.crash();
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A folder that the servers' user owns.
pub fn folder_of_nobody() -> TempDir {
    let folder = TempDir::new().unwrap();
    if is_root() {
        chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    folder
}

pub fn as_nobody(mut command: Command) -> Command {
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}
