//! PostgreSQL servers: which of them is opened, and what is asked of it first.
//!
//! A URL may name several hosts, as libpq takes them (`postgres://USER@HOST-1,HOST-2/NAME`, or lists in `host=`, `hostaddr=` and `port=`), of
//! which one is the primary. They are tried in turn, the one that was the primary last before the others, and each is asked whether
//! it is one: a standby answers every query, and what it answers may have been overtaken long ago. libpq can ask as well
//! (`target_session_attrs`), but believes what a connection was greeted with, and a pooler greets with what it keeps of a server of before.
//!
//! Every connection is to be a session of the server, to its end: announcements, advisory locks and prepared statements hang on it. A pooler
//! that hands out transactions gives one session to many, and looks just the same until something is lost. [`check_sessions`] tells.

use super::connection::{AnyConnection, Purpose};
use super::error::StoreError;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Integer};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// For so long a connection's word holds that it leads to a primary, and that it is alive.
const PROOF: Duration = Duration::from_millis(500);

/// Rounds in which two connections are compared. One nearly always tells; others may be busy behind the same pooler.
const ROUNDS: usize = 8;

/// Libpq's own settings, unless the operator has set them. Whoever is silent for two seconds has gone away.
const TUNED: [(&str, &str); 6] = [
    ("connect_timeout", "2"),
    ("tcp_user_timeout", "2000"),
    ("keepalives_idle", "5"),
    ("keepalives_interval", "2"),
    ("keepalives_count", "3"),
    ("application_name", "usher"),
];

/// All that a session has of its own: nothing is left to what the server, the database, or a pooler's client of before has set. What they set would
/// be found out by the first query that it fails: a transaction that sees one state to its end fails beside another, and a session that may not
/// idle is gone at the next call.
const SESSION: &str = "DEALLOCATE ALL; RESET default_transaction_read_only; SET statement_timeout = '30s'; SET lock_timeout = '5s'; \
    SET client_min_messages = warning; SET default_transaction_isolation = 'read committed'; SET default_transaction_deferrable = off; \
    SELECT CASE WHEN current_setting('server_version_num')::int >= 140000 THEN set_config('idle_session_timeout', '0', false) END";

/// What a pooler's client of before may have left besides.
const CLEAN: &str = "UNLISTEN *; SELECT pg_advisory_unlock_all()";

const READING: &str = "SET default_transaction_read_only = on";

const UNREADABLE: &str = "the URL cannot be read; in a password, / is written %2F, @ %40, : %3A and % %25";

const POOLED: &str = "the database is reached through a pooler that gives one session to many connections (PgBouncer's transaction or \
    statement mode), where changes are not heard of and locks are lost: set pool_mode = session for it, or name the server itself in database.url";

/// The servers that a URL names.
#[derive(Clone, Debug)]
pub struct Servers {
    /// A URL for each.
    urls: Vec<String>,
    /// Which of them was the primary last.
    primary: Arc<AtomicUsize>,
}

impl PartialEq for Servers {
    fn eq(&self, other: &Self) -> bool {
        self.urls == other.urls
    }
}

impl Eq for Servers {}

#[derive(diesel::QueryableByName)]
struct State {
    #[diesel(sql_type = Bool)]
    is_standby: bool,
    #[diesel(sql_type = Bool)]
    is_fenced: bool,
}

#[derive(diesel::QueryableByName)]
struct Backend {
    #[diesel(sql_type = Integer)]
    pid: i32,
}

impl Servers {
    /// Reads a URL, which begins with its scheme.
    ///
    /// # Errors
    /// Hosts, addresses and ports are not of one number. Nothing of the URL is repeated.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let parts = Parts::of(url);
        let [hosts, addresses, ports] = parts.lists(|variable| std::env::var(variable).ok());
        let count = hosts.len().max(addresses.len()).max(1);
        let fits = |list: &[String], may_be_one: bool| list.is_empty() || list.len() == count || may_be_one && list.len() == 1;
        if !fits(&hosts, false) || !fits(&addresses, false) || !fits(&ports, true) {
            let (hosts, addresses, ports) = (hosts.len(), addresses.len(), ports.len());
            return Err(format!(
                "names {hosts} hosts, {addresses} addresses (hostaddr) and {ports} ports, which do not go together"
            ));
        }
        let mut common = url.to_owned();
        let add = |url: &mut String, name: &str, value: &str| {
            match &parts.query {
                None if url.len() == parts.length => url.push('?'),
                Some("") if url.len() == parts.length => {}
                _ => url.push('&'),
            }
            url.push_str(name);
            url.push('=');
            url.push_str(value);
        };
        for (name, value) in TUNED {
            if parts.parameter(name).is_none() {
                add(&mut common, name, value);
            }
        }
        let urls = (0..count).map(|number| {
            let mut url = common.clone();
            // Of what is given twice, libpq takes the last.
            for (name, list) in [("host", &hosts), ("hostaddr", &addresses), ("port", &ports)] {
                if let Some(value) = list.get(number).or(list.first()).filter(|_| count > 1) {
                    add(&mut url, name, value);
                }
            }
            url
        });
        Ok(Self { urls: urls.collect(), primary: Arc::default() })
    }

    /// Opens a connection to the primary; to whichever answers, if the database is somebody else's.
    pub(super) fn open(&self, purpose: Purpose) -> Result<PgConnection, StoreError> {
        let first = self.primary.load(Ordering::Acquire);
        let mut causes: Vec<String> = Vec::new();
        for number in (0..self.urls.len()).map(|number| (first + number) % self.urls.len()) {
            let Some(url) = self.urls.get(number) else { continue };
            match open(url, purpose) {
                Ok(connection) => {
                    self.primary.store(number, Ordering::Release);
                    return Ok(connection);
                }
                Err(cause) => causes.push(cause),
            }
        }
        Err(StoreError::Unavailable(format!("cannot connect to PostgreSQL: {}", causes.join("; "))))
    }
}

fn open(url: &str, purpose: Purpose) -> Result<PgConnection, String> {
    // Of a server, libpq tells host, port, user and database; of a URL that it cannot read, a piece, which may be the password's.
    const OF_SERVER: [&str; 4] = ["connection to server", "could not translate host", "FATAL", "server closed"];
    let told = |cause: String| {
        let is_of_server = OF_SERVER.iter().any(|words| cause.contains(words));
        if is_of_server { cause.trim().replace('\n', "; ") } else { UNREADABLE.to_owned() }
    };
    let mut connection = PgConnection::establish(url).map_err(|e| told(e.to_string()))?;
    let asked = |error: diesel::result::Error| error.to_string().replace('\n', "; ");
    connection.batch_execute(SESSION).map_err(asked)?;
    if purpose != Purpose::Foreign {
        ask(&mut connection, Purpose::Writing).map_err(|error| error.to_string())?;
        connection.batch_execute(CLEAN).map_err(asked)?;
    }
    if purpose != Purpose::Writing {
        connection.batch_execute(READING).map_err(asked)?;
    }
    Ok(connection)
}

/// Asks a connection whether it leads to a primary that takes changes.
///
/// # Errors
/// It leads nowhere, or to another server.
pub(super) fn ask(connection: &mut PgConnection, purpose: Purpose) -> Result<(), StoreError> {
    let state = "SELECT pg_is_in_recovery() AS is_standby, current_setting('default_transaction_read_only') = 'on' AS is_fenced";
    let State { is_standby, is_fenced } = diesel::sql_query(state).get_result(connection)?;
    if is_standby {
        return Err(StoreError::Unavailable("the server is a standby, and what it knows may be overtaken".to_owned()));
    }
    // A reading connection has set it for itself.
    if is_fenced && purpose == Purpose::Writing {
        return Err(StoreError::Unavailable("the server takes no changes (default_transaction_read_only is on)".to_owned()));
    }
    Ok(())
}

/// The process of the server that a connection leads to.
pub(super) fn backend(connection: &mut PgConnection) -> Result<i32, StoreError> {
    Ok(diesel::sql_query("SELECT pg_backend_pid() AS pid").get_result::<Backend>(connection)?.pid)
}

/// Sees to it that connections are sessions: while one has a transaction open, the other must still have a process of its own,
/// and the one that it had before.
///
/// # Errors
/// [`StoreError::Outgrown`]: they share sessions.
pub(super) fn check_sessions(one: &mut PgConnection, other: &mut PgConnection) -> Result<(), StoreError> {
    let own = backend(one)?;
    for _ in 0..ROUNDS {
        if backend(other)? == own {
            return Err(is_pooled());
        }
        if let Err(error) = other.batch_execute("BEGIN") {
            // Where each statement is handed out there are no transactions. If the server has gone, it has for the first as well.
            return Err(if backend(one).is_ok() { is_pooled() } else { error.into() });
        }
        // Where they are the same, asking the first would wait for the transaction.
        let is_shared = backend(other)? == own || backend(one)? != own;
        other.batch_execute("ROLLBACK")?;
        if is_shared {
            return Err(is_pooled());
        }
    }
    Ok(())
}

pub(super) fn is_pooled() -> StoreError {
    StoreError::Outgrown(POOLED.to_owned())
}

/// What those who hold connections know of each other's. Whoever finds out that the server has gone, or is not the primary any more, tells the
/// others by raising a number: connections of before are not trusted.
#[derive(Debug, Default)]
pub(super) struct Trust {
    reading: AtomicU64,
    writing: AtomicU64,
    /// The process that announces changes to this node; 0 if none does.
    listener: AtomicI32,
}

impl Trust {
    /// The number of what a connection for this purpose is opened with.
    pub(super) fn epoch(&self, purpose: Purpose) -> u64 {
        match purpose {
            Purpose::Writing => &self.writing,
            Purpose::Reading | Purpose::Foreign => &self.reading,
        }
        .load(Ordering::Acquire)
    }

    /// Reads that were given up may have been stuck in their connections.
    pub(super) fn suspect_readers(&self) {
        self.reading.fetch_add(1, Ordering::AcqRel);
    }

    /// The server has gone, or is another one.
    pub(super) fn suspect_all(&self) {
        self.suspect_readers();
        self.writing.fetch_add(1, Ordering::AcqRel);
    }

    /// A process announces changes; `None`: none does any more.
    pub(super) fn listens(&self, pid: Option<i32>) {
        self.listener.store(pid.unwrap_or_default(), Ordering::Release);
    }

    /// A connection that was opened must not lead to the process that listens: that is the listener's alone.
    ///
    /// # Errors
    /// [`StoreError::Outgrown`]: it does; or it leads nowhere.
    pub(super) fn check(&self, connection: &mut AnyConnection) -> Result<(), StoreError> {
        match connection.backend()? {
            Some(pid) if pid == self.listener.load(Ordering::Acquire) => Err(is_pooled()),
            Some(_) | None => Ok(()),
        }
    }
}

/// When a connection last proved that it leads to a primary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proof(Instant);

impl Proof {
    /// It was opened, which proves it.
    pub(super) fn now() -> Self {
        Self(Instant::now())
    }

    /// Whether it has to be asked again before it is used.
    pub(super) fn is_due(self) -> bool {
        self.0.elapsed() > PROOF
    }
}

/// A URL, taken apart as libpq does.
struct Parts<'a> {
    length: usize,
    /// `HOST:PORT,…`
    hosts: &'a str,
    /// What stands behind the question mark, if there is one.
    query: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Self {
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        // Of user and password, up to the first @, if that comes before any slash.
        let rest = match rest.find(['@', '/']) {
            Some(at) if rest.as_bytes().get(at) == Some(&b'@') => rest.get(at + 1..).unwrap_or_default(),
            _ => rest,
        };
        let (before, query) = rest.split_once('?').map_or((rest, None), |(before, query)| (before, Some(query)));
        let hosts = before.split_once('/').map_or(before, |(hosts, _)| hosts);
        Self { length: url.len(), hosts, query }
    }

    /// The last value of a parameter, as it is spelt.
    fn parameter(&self, name: &str) -> Option<&'a str> {
        let named = |parameter: &'a str| parameter.split_once('=').filter(|(known, _)| *known == name).map(|(_, value)| value);
        self.query?.split('&').filter_map(named).next_back()
    }

    /// Hosts, addresses and ports, each as it is spelt in a URL.
    fn lists(&self, variable: impl Fn(&str) -> Option<String>) -> [Vec<String>; 3] {
        let split = |list: &str| list.replace("%2C", ",").replace("%2c", ",").split(',').map(str::to_owned).collect::<Vec<_>>();
        let spelt = |text: String| text.replace('%', "%25").replace('&', "%26");
        let listed = |name: &str, in_front: Option<Vec<String>>, of: &str| {
            let given = self.parameter(name).map(split).or(in_front);
            given.or_else(|| variable(of).map(|text| split(&spelt(text)))).unwrap_or_default()
        };
        let (mut hosts, mut ports) = (None, None);
        if !self.hosts.is_empty() {
            let (names, numbers): (Vec<_>, Vec<_>) = self.hosts.split(',').map(host_and_port).unzip();
            ports = numbers.iter().any(|number| !number.is_empty()).then_some(numbers);
            hosts = Some(names);
        }
        [listed("host", hosts, "PGHOST"), listed("hostaddr", None, "PGHOSTADDR"), listed("port", ports, "PGPORT")]
    }
}

/// `HOST`, `HOST:PORT`, or the same with an address in brackets.
fn host_and_port(text: &str) -> (String, String) {
    let (host, rest) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => (address, rest),
        None => text.split_once(':').map_or((text, ""), |(host, _)| (host, text.get(host.len()..).unwrap_or_default())),
    };
    (host.to_owned(), rest.trim_start_matches(':').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(url: &str) -> [String; 3] {
        Parts::of(url).lists(|_| None).map(|list| list.join(" "))
    }

    #[test]
    fn hosts_are_read_as_libpq_reads_them() {
        for (url, hosts, addresses, ports) in [
            ("postgres://h/d", "h", "", ""),
            ("postgres:///d", "", "", ""),
            ("postgres://u:p@h1:1,h2:2/d?x=1", "h1 h2", "", "1 2"),
            ("postgres://u@h1,h2:2/d", "h1 h2", "", " 2"),
            ("postgres://u:p?w@h1,[::1]:2/d", "h1 ::1", "", " 2"),
            ("postgres://[fd00::1],[fd00::2]/d", "fd00::1 fd00::2", "", ""),
            ("postgres:///d?host=/run/a,/run/b&port=1,2", "/run/a /run/b", "", "1 2"),
            ("postgres:///d?host=x&host=h1%2Ch2&port=5", "h1 h2", "", "5"),
            ("postgres://h1,h2?hostaddr=10.0.0.1,10.0.0.2", "h1 h2", "10.0.0.1 10.0.0.2", ""),
            ("postgres://%2Frun%2Fa/d", "%2Frun%2Fa", "", ""),
        ] {
            assert_eq!(lists(url), [hosts, addresses, ports], "{url}");
        }
        let of_environment = Parts::of("postgres:///d").lists(|name| (name == "PGHOST").then(|| "h1,h2".to_owned()));
        assert_eq!(of_environment[0], ["h1", "h2"]);
    }

    #[test]
    fn each_host_gets_a_url() {
        let urls = |url: &str| -> Vec<String> {
            let tuned = TUNED.map(|(name, value)| format!("{name}={value}")).join("&");
            let urls = Servers::parse(url).unwrap().urls.into_iter();
            urls.map(|url| url.replace(&tuned, "T")).collect()
        };
        assert_eq!(urls("postgres://u:p@h/d"), ["postgres://u:p@h/d?T"]);
        assert_eq!(urls("postgres://h/d?"), ["postgres://h/d?T"]);
        // What looks like a parameter in a password is none.
        assert_eq!(urls("postgres://u:connect_timeout=?@h/d"), ["postgres://u:connect_timeout=?@h/d?T"]);
        assert_eq!(
            urls("postgres://h1:1,h2:2/d?sslmode=require"),
            ["h1&port=1", "h2&port=2"].map(|end| format!("postgres://h1:1,h2:2/d?sslmode=require&T&host={end}"))
        );
        assert_eq!(
            urls("postgres:///d?host=a,b&port=5"),
            ["a", "b"].map(|host| format!("postgres:///d?host=a,b&port=5&T&host={host}&port=5"))
        );
        let [url] = &Servers::parse("postgres://h/d?connect_timeout=9").unwrap().urls[..] else { panic!() };
        assert_eq!(url.matches("connect_timeout").count(), 1);
    }

    #[test]
    fn lists_that_do_not_go_together_are_refused() {
        for url in ["postgres:///d?host=a,b&port=1,2,3", "postgres://a,b/d?hostaddr=10.0.0.1", "postgres://a/d?port=1,2"] {
            let flaw = Servers::parse(url).unwrap_err();
            assert!(flaw.starts_with("names ") && !flaw.contains("10.0"), "{flaw}");
        }
    }
}
