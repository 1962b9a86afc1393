//! PostgreSQL as people run it: a primary with a standby that takes its place one day. Reads follow the primary as changes do; whoever has been
//! told that a session has ended does not see it accepted more than a second later, by no node, whatever has become of the servers; and
//! nobody has to help.

use crate::harness::pooler::{self, Pooler};
use crate::harness::postgres::{self, Postgres, Server};
use crate::harness::process::{Process, usher};
use crate::harness::{Client, Engine, Over, PASSWORD, ROOT, Site, Town, at_once, wait_until};
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ME: &str = "/api/v1/users/me";
const USERS: &str = "/api/v1/users";
const CURRENT: &str = "/api/v1/sessions/current";
/// The bound of docs/ARCHITECTURE.md.
const BOUND: Duration = Duration::from_secs(1);

/// All is well: nothing may be 503.
const WELL: u8 = 0;
/// The database is gone, or is another one since a moment ago.
const SWITCHING: u8 = 1;

/// A node of a service: keys of a first one, and its database by this URL.
pub fn node_of(site: &Site, url: &str) -> Site {
    let node = Site::at(TempDir::new().unwrap(), Engine::Postgres, url.to_owned());
    site.settings();
    std::fs::copy(site.keys(), node.keys()).unwrap();
    node
}

/// A site on this database, with a super-user.
pub fn furnished(url: String) -> Site {
    let site = Site::at(TempDir::new().unwrap(), Engine::Postgres, url);
    usher(&site, &["user", "create", ROOT, "--super-user", "--password-stdin"], PASSWORD).expect(0);
    site
}

/// Nodes under a load, and what has come of it.
pub struct Load {
    bases: Vec<String>,
    logs: Vec<PathBuf>,
    state: AtomicU8,
    is_over: AtomicBool,
    /// Ends of sessions that were followed to the end in the state that is now, and users that every node has shown.
    ended: AtomicU64,
    shown: AtomicU64,
}

impl Load {
    pub fn on(nodes: &[Process]) -> Self {
        let zero = AtomicU64::default;
        let bases = nodes.iter().map(|node| node.base.clone()).collect();
        let logs = nodes.iter().map(Process::log_file).collect();
        Self { bases, logs, state: AtomicU8::default(), is_over: AtomicBool::default(), ended: zero(), shown: zero() }
    }

    /// Has sessions end and users appear, while `happens` does.
    pub fn during(&self, happens: impl FnOnce(&Self)) {
        let root = Client::new(self.base(0)).sign_in(ROOT, PASSWORD);
        for name in ["dan", "eve"] {
            root.post(USERS, &json!({"username": name, "password": PASSWORD})).expect(201);
        }
        std::thread::scope(|scope| {
            let _over = Over(&self.is_over);
            for (number, name) in ["dan", "eve"].into_iter().enumerate() {
                scope.spawn(move || {
                    let _over = Over(&self.is_over);
                    self.leave(name, number);
                });
            }
            let root = &root;
            scope.spawn(move || {
                let _over = Over(&self.is_over);
                self.create(root);
            });
            happens(self);
        });
    }

    fn base(&self, node: usize) -> &str {
        &self.bases[node % self.bases.len()]
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    pub fn is(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
        self.ended.store(0, Ordering::SeqCst);
        self.shown.store(0, Ordering::SeqCst);
    }

    /// Waits until so much was seen in the state that is now.
    pub fn until_seen(&self, enough: u64) {
        wait_until("the load", || {
            assert!(!self.is_over(), "the load has failed");
            self.ended.load(Ordering::SeqCst) >= enough && self.shown.load(Ordering::SeqCst) >= enough
        });
    }

    /// Waits until every node answers reads and changes again, and goes on doing so.
    pub fn until_served(&self) {
        at_once(self.bases.len(), |node| {
            let began = Instant::now();
            let anon = Client::new(self.base(node));
            let serves = || {
                let opened = anon.try_sign_in(ROOT, PASSWORD);
                let root = anon.bearing(opened.json["ust"].as_str().unwrap_or_default());
                let asked = || root.get(ME).status == 200 && root.patch(ME, &json!({"lang_id": 1})).status == 200;
                opened.status == 201 && (0..20).all(|_| asked()) && anon.get("/readyz").status == 200
            };
            while !serves() {
                assert!(began.elapsed() < Duration::from_secs(30), "node {node} does not recover: {:#?}", self.complaints());
                std::thread::park_timeout(Duration::from_millis(100));
            }
        });
    }

    /// The answer, unless it is 503, which it may be while servers change places.
    fn ask(&self, ask: impl Fn() -> crate::harness::Answer) -> Option<crate::harness::Answer> {
        let before = self.state.load(Ordering::SeqCst);
        let answer = ask();
        if answer.status != 503 {
            return Some(answer);
        }
        let is_switching = before == SWITCHING || self.state.load(Ordering::SeqCst) == SWITCHING;
        assert!(is_switching, "although all is well: {} {:#?}", answer.text, self.complaints());
        None
    }

    /// What the nodes have complained of lately.
    fn complaints(&self) -> Vec<String> {
        let of = |log: &PathBuf| std::fs::read_to_string(log).unwrap_or_default();
        let all = self.logs.iter().map(of).collect::<String>();
        let complaints = all.lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
        let complaints: Vec<String> = complaints.map(str::to_owned).collect();
        complaints[complaints.len().saturating_sub(40)..].to_vec()
    }

    /// Signs in by one node, is known to all, ends the session by another, and asks all.
    fn leave(&self, name: &str, number: usize) {
        for round in number.. {
            if self.is_over() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(10));
            let before = self.state.load(Ordering::SeqCst);
            let Some(opened) = self.ask(|| Client::new(self.base(round)).try_sign_in(name, PASSWORD)) else { continue };
            let client = Client::new(self.base(round)).bearing(opened.expect(201).json["ust"].as_str().unwrap());
            let everyone = 0..self.bases.len();
            if !everyone
                .clone()
                .all(|node| self.ask(|| client.at(self.base(node)).get(ME)).map(|answer| answer.expect(200)).is_some())
            {
                continue;
            }
            let by = round + 1;
            if self.ask(|| client.at(self.base(by)).delete(CURRENT)).map(|answer| answer.expect(204)).is_none() {
                continue;
            }
            let ended = Instant::now();
            for node in everyone {
                // Until it is refused, and for a moment longer while servers change places.
                let mut refused = 0;
                while refused < 3 && !self.is_over() {
                    let asked = ended.elapsed();
                    match self.ask(|| client.at(self.base(node)).get(ME)) {
                        None => {}
                        Some(answer) if answer.status == 200 => {
                            assert!(asked <= BOUND, "node {node} lets it in {asked:?} after its end");
                            assert!(node != by % self.bases.len(), "the node that ended it lets it in");
                            assert_eq!(refused, 0, "node {node} has refused it before");
                        }
                        Some(answer) => {
                            answer.refused(401, "session_invalid");
                            refused += 1;
                        }
                    }
                }
            }
            if self.state.load(Ordering::SeqCst) == before {
                self.ended.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Creates users, who are there for every node at once: nobody reads what was overtaken.
    fn create(&self, root: &Client) {
        for round in 0.. {
            if self.is_over() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(10));
            let before = self.state.load(Ordering::SeqCst);
            let new = json!({"username": format!("user-{round}")});
            let Some(created) = self.ask(|| root.at(self.base(round)).post(USERS, &new)) else { continue };
            let path = format!("{USERS}/{}", created.expect(201).json["user_id"].as_str().unwrap());
            let seen = (0..self.bases.len()).filter(|node| {
                let answer = self.ask(|| root.at(self.base(*node)).get(&path));
                answer.map(|answer| answer.expect(200)).is_some()
            });
            if seen.count() == self.bases.len() && self.state.load(Ordering::SeqCst) == before {
                self.shown.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// The URL of a database of two servers.
fn url_of_both(one: &Server, other: &Server, database: &str) -> String {
    let (_, name) = database.rsplit_once('/').unwrap();
    format!("postgres://usher@127.0.0.1:{},127.0.0.1:{}/{name}", one.port(), other.port())
}

/// Has two servers change places so often, in order or by a crash, with so many sessions followed in between.
fn switched_over(times: usize, enough: u64, crashes: bool) {
    let (mut primary, mut standby) = Server::pair();
    let first = furnished(primary.create_database());
    let url = url_of_both(&primary, &standby, &first.url);
    let sites = [node_of(&first, &url), node_of(&first, &url)];
    let nodes: Vec<Process> = sites.iter().map(Process::serve).collect();
    Load::on(&nodes).during(|load| {
        load.until_seen(enough);
        for _ in 0..times {
            load.is(SWITCHING);
            if crashes {
                primary.crash()
            } else {
                primary.stop()
            }
            standby.promote();
            std::mem::swap(&mut primary, &mut standby);
            if crashes {
                standby.rewind(&primary);
            }
            standby.follow(&primary);
            load.until_served();
            load.is(WELL);
            load.until_seen(enough);
            // Nobody reads from what used to be the primary.
            assert_eq!(standby.guests(), 0);
        }
    });
    usher(&sites[0], &["audit", "verify"], "").expect(0);
    usher(&sites[0], &["migrate", "--check"], "").expect(0);
    for node in &nodes {
        assert!(!node.log().contains("panicked"), "{}", node.log());
    }
}

/// S51, S21: two nodes under a load, on a primary with a synchronous standby, which change places and change back: nothing that was
/// acknowledged is missing, no session outlives its end by more than the bound, and nobody helps.
#[test]
fn reads_follow_the_primary() {
    if postgres::is_there() {
        switched_over(2, 5, false);
    }
}

/// The same for longer, where the primary crashes.
#[test]
#[ignore = "a soak of some minutes"]
fn reads_follow_the_primary_through_crashes() {
    if postgres::is_there() {
        switched_over(10, 50, true);
    }
}

/// S51: where a node knows of no other server than one that has become a standby, it answers nothing, and neither does the command line; and goes on
/// by itself once it is a primary.
#[test]
fn a_standby_alone_serves_nobody() {
    if !postgres::is_there() {
        return;
    }
    let (mut primary, mut standby) = Server::pair();
    let site = furnished(primary.create_database());
    let node = Process::serve(&site);
    let root = node.anon().sign_in(ROOT, PASSWORD);
    root.get(ME).expect(200);
    primary.stop();
    standby.promote();
    primary.follow(&standby);
    let away = Instant::now();
    wait_until("what was remembered", || away.elapsed() > BOUND);
    for _ in 0..10 {
        root.get(ME).refused(503, "unavailable");
        root.patch(ME, &json!({"lang_id": 1})).refused(503, "unavailable");
        node.anon().try_sign_in(ROOT, PASSWORD).refused(503, "unavailable");
    }
    node.anon().get("/readyz").expect(503);
    let commands: [&[&str]; 5] =
        [&["user", "list"], &["user", "lock", ROOT], &["audit", "verify"], &["migrate"], &["migrate", "--check"]];
    for words in commands {
        let ran = usher(&site, words, "").expect(69);
        assert!(ran.complaint().contains("is a standby"), "{ran:?}");
    }
    assert!(node.log().contains("is a standby"), "{}", node.log());
    standby.stop();
    primary.promote();
    wait_until("recovery", || root.get(ME).status == 200 && root.patch(ME, &json!({"lang_id": 1})).status == 200);
    wait_until("readiness", || node.anon().get("/readyz").status == 200);
    usher(&site, &["audit", "verify"], "").expect(0);
}

/// S51, S53: what a standby had not received when its primary was lost is told: nothing is answered by any node, for sessions that have ended may be
/// open there, until an operator says that it is to go on without. Then the nodes do, by themselves.
#[test]
fn what_an_asynchronous_standby_lacks_is_told() {
    if !postgres::is_there() {
        return;
    }
    let (mut primary, standby) = Server::pair();
    let first = furnished(primary.create_database());
    let url = url_of_both(&primary, &standby, &first.url);
    let sites = [node_of(&first, &url), node_of(&first, &url)];
    let nodes: Vec<Process> = sites.iter().map(Process::serve).collect();
    let root = nodes[0].anon().sign_in(ROOT, PASSWORD);
    let stolen = nodes[0].anon().sign_in(ROOT, PASSWORD);
    primary.part_from(&standby);
    stolen.delete(CURRENT).expect(204);
    // Every node has seen the end of the trail.
    for node in &nodes {
        for _ in 0..20 {
            root.at(&node.base).get(ME).expect(200);
        }
    }
    primary.crash();
    standby.promote();
    for node in &nodes {
        wait_until("the loss is told", || node.log().contains("accept-rollback"));
        for _ in 0..20 {
            stolen.at(&node.base).get(ME).refused(503, "unavailable");
        }
        node.anon().get("/readyz").expect(503);
    }
    usher(&sites[0], &["user", "list"], "").expect(69);
    usher(&sites[0], &["audit", "accept-rollback", "--reason", "the primary is lost"], "").expect(0);
    for node in &nodes {
        wait_until("recovery", || root.at(&node.base).get(ME).status == 200 && node.anon().get("/readyz").status == 200);
    }
    usher(&sites[0], &["audit", "verify"], "").expect(0);
}

/// S51: a server that is told to take no changes any more, as before a switch-over, is none to read from, though every connection to it lives on.
#[test]
fn a_server_that_takes_no_changes_serves_nobody() {
    if !postgres::is_there() {
        return;
    }
    let server = Server::own();
    let site = furnished(server.create_database());
    let node = Process::serve(&site);
    let root = node.anon().sign_in(ROOT, PASSWORD);
    root.get(ME).expect(200);
    server.run("ALTER SYSTEM SET default_transaction_read_only = on");
    server.run("SELECT pg_reload_conf()");
    wait_until("the feed", || node.log().contains("takes no changes"));
    root.get(ME).refused(503, "unavailable");
    usher(&site, &["user", "list"], "").expect(69);
    server.run("ALTER SYSTEM RESET default_transaction_read_only");
    server.run("SELECT pg_reload_conf()");
    wait_until("recovery", || root.get(ME).status == 200 && root.patch(ME, &json!({"lang_id": 1})).status == 200);
}

/// Behind a pooler each, of which the greetings tell what the servers once were.
#[test]
fn reads_follow_the_primary_through_poolers() {
    if !postgres::is_there() || !pooler::is_there() {
        return;
    }
    let (mut primary, standby) = Server::pair();
    let first = furnished(primary.create_database());
    let poolers = [Pooler::before(&primary, "session", ""), Pooler::before(&standby, "session", "")];
    let (_, name) = first.url.rsplit_once('/').unwrap();
    let url = format!("postgres:///{name}?user=usher&host=127.0.0.1,127.0.0.1&port={},{}", poolers[0].port(), poolers[1].port());
    // What a pooler keeps for its greeting is of when the standby was one.
    Postgres::lines(&poolers[1].url(&first.url), "SELECT 'greeted' AS line");
    let sites = [node_of(&first, &url), node_of(&first, &url)];
    let nodes: Vec<Process> = sites.iter().map(Process::serve).collect();
    Load::on(&nodes).during(|load| {
        load.until_seen(3);
        load.is(SWITCHING);
        primary.stop();
        standby.promote();
        primary.follow(&standby);
        load.until_served();
        load.is(WELL);
        load.until_seen(3);
    });
    usher(&sites[1], &["audit", "verify"], "").expect(0);
}

/// What never reached the server is asked again by another connection: nobody pays for connections that were cut off while nothing was going on.
#[test]
fn a_call_after_an_idle_gap_is_answered() {
    if !postgres::is_there() {
        return;
    }
    let server = Server::own();
    let site = furnished(server.create_database());
    let (_, name) = site.url.rsplit_once('/').unwrap();
    server.run(&format!("ALTER DATABASE {name} SET idle_session_timeout = '100ms'"));
    let node = Process::serve(&site);
    let root = node.anon().sign_in(ROOT, PASSWORD);
    for round in 0..6 {
        let quiet = Instant::now();
        wait_until("an idle gap", || quiet.elapsed() > Duration::from_millis(700));
        if round % 2 == 1 {
            server.cut_off_idle();
        }
        match round / 2 {
            0 => drop(root.get(ME).expect(200)),
            1 => drop(root.patch(ME, &json!({"lang_id": 1})).expect(200)),
            _ => drop(node.anon().sign_in(ROOT, PASSWORD)),
        }
        node.anon().get("/readyz").expect(200);
    }
}

/// Changes see what the one before has left, whatever the database takes for the default.
#[test]
fn the_isolation_is_usher_s_own() {
    if !postgres::is_there() {
        return;
    }
    for level in ["repeatable read", "serializable"] {
        let site = Site::new(Engine::Postgres);
        let (_, name) = site.url.rsplit_once('/').unwrap();
        site.sql(&format!("ALTER DATABASE {name} SET default_transaction_isolation = '{level}'"));
        let town = Town::on(site);
        let ann = town.user("ann");
        let refused: Vec<Value> = at_once(8, |number| {
            let changed = |round| ann.patch(ME, &json!({"lang_id": 10 * number + round}));
            (0..10).map(changed).filter(|answer| answer.status != 200).map(|answer| answer.json).collect::<Vec<_>>()
        })
        .concat();
        assert!(refused.is_empty(), "{level}: {refused:?}");
    }
}

/// A migration steps back where a table is in use and tries again, in whatever language the server tells that it has waited in vain.
#[test]
fn a_migration_gives_way_in_any_language() {
    if !postgres::is_there() {
        return;
    }
    let Some(server) = Server::german() else { return };
    let site = Site::at(TempDir::new().unwrap(), Engine::Postgres, server.create_database());
    let mut holder = PgConnection::establish(&site.url).unwrap();
    holder.batch_execute("BEGIN; CREATE TABLE users (held int)").unwrap();
    std::thread::scope(|scope| {
        let migrated = scope.spawn(|| usher(&site, &["migrate"], ""));
        let waiting = "SELECT query_start::text AS line FROM pg_stat_activity WHERE application_name = 'usher' AND wait_event_type = 'Lock'";
        let tries = std::cell::RefCell::new(BTreeSet::new());
        wait_until("three tries", || {
            tries.borrow_mut().extend(Postgres::lines(&site.url, waiting));
            tries.borrow().len() >= 3 || migrated.is_finished()
        });
        holder.batch_execute("ROLLBACK").unwrap();
        migrated.join().unwrap().expect(0);
    });
    usher(&site, &["migrate", "--check"], "").expect(0);
}
