//! What goes wrong: a process that is killed, a database that goes away or is full, an installation that is not as it must be; and that
//! even then nothing answered is lost, nothing ended comes back, and no secret comes out.

use crate::both;
use crate::harness::postgres::{self, Server};
use crate::harness::process::{self, Process, usher};
use crate::harness::{Answer, Client, Engine, PASSWORD, ROOT, Site, at_once, soon};
use crate::metrics::metrics_of;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ME: &str = "/api/v1/users/me";
const USERS: &str = "/api/v1/users";
const SESSIONS: &str = "/api/v1/sessions";
const RENEW: &str = "/api/v1/sessions/current/renew";

/// A site with its first super-user.
pub fn furnished(site: Site) -> Site {
    usher(&site, &["user", "create", ROOT, "--super-user", "--password-stdin"], PASSWORD).expect(0);
    site
}

pub fn root(service: &Process) -> Client {
    service.anon().sign_in(ROOT, PASSWORD)
}

/// Creates a user without a password.
pub fn create(by: &Client, name: &str) -> Answer {
    by.post(USERS, &json!({"username": name}))
}

/// Creates a user with the password of these tests, and signs it in.
pub fn newcomer(service: &Process, root: &Client, name: &str) -> Client {
    root.post(USERS, &json!({"username": name, "password": PASSWORD})).expect(201);
    service.anon().sign_in(name, PASSWORD)
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string")).to_owned()
}

// ---------------------------------------------------------------------------------------------------------------------------------
// kill -9

/// Every event of the trail.
pub fn trail(site: &Site) -> Vec<Value> {
    let exported = usher(site, &["audit", "export"], "").expect(0).out;
    exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The ids of all users.
pub fn user_ids(site: &Site) -> BTreeSet<String> {
    let listed = usher(site, &["user", "list", "--json"], "").expect(0).json();
    listed["items"].as_array().unwrap().iter().map(|user| text(&user["user_id"])).collect()
}

both! {
    /// S21, R11: an end is durable when it is answered: a revoked session, a signed-out one and a locked account stay refused after
    /// `kill -9` and a restart.
    fn an_end_outlives_kill_9(engine) {
        let site = furnished(Site::new(engine));
        let mut service = Process::serve(&site);
        let by = root(&service);
        let [revoked, one_of_two, left, locked, spared] =
            ["revoked", "twice", "left", "locked", "spared"].map(|name| newcomer(&service, &by, name));
        let other = service.anon().sign_in("twice", PASSWORD);
        for client in [&revoked, &one_of_two, &other, &left, &locked, &spared] {
            client.get(ME).expect(200);
        }
        by.delete(&format!("{USERS}/{}/sessions", revoked.id())).expect(204);
        let session = one_of_two.session_id.as_deref().unwrap();
        by.delete(&format!("{USERS}/{}/sessions/{session}", one_of_two.id())).expect(204);
        left.delete("/api/v1/sessions/current").expect(204);
        by.post(&format!("{USERS}/{}/lock", locked.id()), &json!({"reason": "left the house"})).expect(200);
        service.kill();

        let service = Process::serve(&site);
        let back = |client: &Client| service.anon().bearing(client.ust.as_deref().unwrap()).get(ME);
        for ended in [&revoked, &one_of_two, &left, &locked] {
            back(ended).refused(401, "session_invalid");
        }
        for alive in [&other, &spared, &by] {
            back(alive).expect(200);
        }
        service.anon().try_sign_in("locked", PASSWORD).refused(401, "account_locked");
        usher(&site, &["audit", "verify"], "").expect(0);
    }
}

// ---------------------------------------------------------------------------------------------------------------------------------
// A database server that crashes

/// A call on a database that is gone is answered within a second. Half a second more is left to the scheduler: the tests share a few
/// cores with each other.
pub const SOON: Duration = Duration::from_millis(1500);

/// This call is answered soon, and by "come back later".
#[track_caller]
pub fn is_unavailable(client: &Client, method: &str, path: &str, body: Option<Value>) {
    let began = Instant::now();
    let answer = client.call(method, path, body.map(|b| b.to_string()));
    let took = began.elapsed();
    let answer = answer.refused(503, "unavailable");
    assert!(answer.headers["retry-after"].parse::<u32>().is_ok_and(|seconds| seconds > 0), "{:?}", answer.headers);
    assert!(took < SOON, "{method} {path} took {took:?}");
}

/// Asks again until it is answered so, for half a minute at most.
pub fn until_answered(client: &Client, path: &str, status: u16) -> Answer {
    let began = Instant::now();
    loop {
        let answer = client.get(path);
        if answer.status == status {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{path} is still answered {}: {}", answer.status, answer.text);
        std::thread::yield_now();
    }
}

/// While the PostgreSQL server is gone every call is answered 503, soon and with a time to come back; when it is there again, so is the
/// service, without a restart, and with everything that it had answered.
#[test]
fn a_crashed_database_is_waited_for() {
    if !postgres::is_there() {
        return;
    }
    let mut server = Server::own();
    let site = furnished(Site::at(TempDir::new().unwrap(), Engine::Postgres, server.create_database()));
    let site = site.with("metrics.listen", "\"127.0.0.1:0\"");
    let mut service = Process::serve(&site);
    let (anon, by, monitor) = (service.anon(), root(&service), metrics_of(&service));
    let ann = newcomer(&service, &by, "ann");

    // Crash in the middle of changes.
    let (send, receive) = channel();
    let created = std::thread::scope(|scope| {
        for number in 0..4 {
            let (send, by) = (send.clone(), &by);
            scope.spawn(move || {
                for round in 0.. {
                    let answer = create(by, &format!("early-{number}-{round}"));
                    if answer.status != 201 {
                        answer.refused(503, "unavailable");
                        return;
                    }
                    send.send(text(&answer.json["user_id"])).unwrap();
                }
            });
        }
        drop(send);
        let mut created: Vec<String> = receive.iter().take(40).collect();
        server.crash();
        created.extend(receive.iter());
        created
    });

    for _ in 0..3 {
        is_unavailable(&ann, "GET", ME, None);
        is_unavailable(&anon, "POST", SESSIONS, Some(json!({"username": "ann", "password": PASSWORD})));
        is_unavailable(&ann, "POST", RENEW, None);
        is_unavailable(&by, "POST", USERS, Some(json!({"username": "late"})));
        anon.get("/healthz").expect(200);
        let began = Instant::now();
        anon.get("/readyz").expect(503);
        assert!(began.elapsed() < SOON, "/readyz took {:?}", began.elapsed());
    }
    // Whoever watches is told.
    let scrape = monitor.get("/metrics").expect(200).text;
    assert!(scrape.contains("usher_database_up 0.0\n") && !scrape.contains("usher_outbox"), "{scrape}");
    // Many who wait do not wait for each other.
    at_once(20, |number| match number % 3 {
        0 => is_unavailable(&ann, "GET", ME, None),
        1 => is_unavailable(&anon, "POST", SESSIONS, Some(json!({"username": "ann", "password": PASSWORD}))),
        _ => is_unavailable(&ann, "POST", RENEW, None),
    });
    let down = usher(&site, &["user", "list"], "").expect(69);
    assert!(down.complaint().contains("PostgreSQL"), "{down:?}");

    server.resume();
    until_answered(&anon, "/readyz", 200);
    until_answered(&ann, ME, 200);
    assert!(monitor.get("/metrics").expect(200).text.contains("usher_database_up 1.0\n"));
    assert!(service.is_alive());
    assert!(created.len() >= 40);
    for user_id in &created {
        by.get(&format!("{USERS}/{user_id}")).expect(200);
    }
    create(&by, "late").expect(201);
    anon.sign_in("ann", PASSWORD).call("POST", RENEW, None).expect(200);
    usher(&site, &["audit", "verify"], "").expect(0);
    assert!(!service.log().contains("panicked"), "{}", service.log());
}

// ---------------------------------------------------------------------------------------------------------------------------------
// A full disk

/// Calls until the room that is left is too small for the smallest event, wherever a writer looks for it. Of a rehearsal, which is larger, it
/// was too small already.
pub fn until_nothing_fits(client: &Client) {
    let (mut calls, mut in_a_row) = (0, 0);
    while in_a_row < 40 {
        in_a_row = if client.get(ME).status == 200 { 0 } else { in_a_row + 1 };
        calls += 1;
        assert!(calls < 5000, "the limit does not bind");
    }
}

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    count: i64,
}

fn count_users(file: &Path) -> i64 {
    use diesel::{Connection as _, RunQueryDsl as _};
    let mut connection = diesel::SqliteConnection::establish(&file.to_string_lossy()).unwrap();
    let counted: Count = diesel::sql_query("SELECT count(*) AS count FROM users").get_result(&mut connection).unwrap();
    counted.count
}

/// S46: where nothing can be written nothing is done, not even a read, for its event could not be kept: calls are answered 503 and leave
/// nothing; the process lives, and goes on by itself once there is room.
///
/// The disk's end is played by a limit on the size of files, which makes writes fail as a full disk does.
#[test]
fn a_full_disk_stops_calls_but_not_the_service() {
    let site = furnished(Site::new(Engine::Sqlite).with("log.filter", "\"error\""));
    let mut command = process::bare("sh", site.folder.path());
    // 512 KiB: more than the database itself, less than it and its journal would grow to. Ignored, the signal becomes an error of the write.
    command
        .args(["-c", r#"trap '' XFSZ; ulimit -S -f 1024; exec "$0" serve --config "$1""#, process::PROGRAM])
        .arg(site.settings());
    let mut service = Process::start(command);
    let (anon, by) = (service.anon(), root(&service));
    let ann = newcomer(&service, &by, "ann");
    anon.get("/readyz").expect(200);
    let mut created = Vec::new();
    // A full journal is not the end: what it has goes to the database file, and there is room again, until that is full as well.
    let mut full: Option<Instant> = None;
    while full.is_none_or(|since| since.elapsed() < Duration::from_secs(2)) {
        let answer = create(&by, &format!("user-{}", created.len()));
        if answer.status == 201 {
            created.push(text(&answer.json["user_id"]));
            full = None;
        } else {
            answer.refused(503, "unavailable");
            full = full.or_else(|| Some(Instant::now()));
        }
        assert!(created.len() < 2000, "the limit does not bind");
    }
    // What a user takes may be more than what a probe does.
    until_nothing_fits(&ann);
    until_answered(&anon, "/readyz", 503);
    let before = count_users(&site.file());
    assert_eq!(before, 2 + i64::try_from(created.len()).unwrap());
    for round in 0..5 {
        is_unavailable(&by, "POST", USERS, Some(json!({"username": format!("late-{round}")})));
        is_unavailable(&anon, "POST", SESSIONS, Some(json!({"username": "ann", "password": PASSWORD})));
        is_unavailable(&by, "POST", &format!("{USERS}/{}/lock", ann.id()), Some(json!({})));
        is_unavailable(&by, "DELETE", &format!("{USERS}/{}/sessions", ann.id()), None);
        is_unavailable(&ann, "GET", ME, None);
        anon.get("/healthz").expect(200);
        is_unavailable(&anon, "GET", "/readyz", None);
    }
    at_once(20, |number| is_unavailable(&by, "POST", USERS, Some(json!({"username": format!("crowd-{number}")}))));
    assert_eq!(count_users(&site.file()), before);
    assert!(service.is_alive());

    let lifted = Command::new("prlimit").args(["--pid", &service.id().to_string(), "--fsize=unlimited:"]).status();
    assert!(lifted.expect("prlimit of util-linux is needed").success());
    until_answered(&anon, "/readyz", 200);
    ann.get(ME).expect(200);
    create(&by, "late-0").expect(201);
    assert_eq!(count_users(&site.file()), before + 1);
    for user_id in &created {
        by.get(&format!("{USERS}/{user_id}")).expect(200);
    }
    usher(&site, &["audit", "verify"], "").expect(0);
    assert!(service.is_alive() && !service.log().contains("panicked"), "{}", service.log());
}

/// The server has gone and come back while nobody looked. The first to find out tells all: once the service says that it is ready, no call
/// fails for a connection that has been dead for long.
#[test]
fn a_dead_connection_fails_nobody_twice() {
    if !postgres::is_there() {
        return;
    }
    let mut server = Server::own();
    let site = furnished(Site::at(TempDir::new().unwrap(), Engine::Postgres, server.create_database()));
    let service = Process::serve(&site);
    let (anon, by) = (service.anon(), root(&service));
    // All connections that there can be have been used.
    at_once(16, |number| create(&by, &format!("early-{number}")).expect(201));
    server.crash();
    server.resume();
    let asked = Instant::now();
    crate::harness::wait_until("to have found out", || {
        anon.get("/readyz").status == 503 || asked.elapsed() > Duration::from_secs(3)
    });
    until_answered(&anon, "/readyz", 200);
    at_once(16, |number| create(&by, &format!("late-{number}")).expect(201));
}

// ---------------------------------------------------------------------------------------------------------------------------------
// A slow disk

/// S46: a write that stands still for two seconds, here behind another process's lock as elsewhere behind a disk that stalls, is waited for: no
/// other node could answer instead, and whoever asks again would only wait again.
#[test]
fn a_file_that_stands_still_is_waited_for() {
    use diesel::connection::SimpleConnection as _;
    let site = furnished(Site::new(Engine::Sqlite));
    let service = Process::serve(&site);
    let by = root(&service);
    let (anon, ann) = (service.anon(), newcomer(&service, &by, "ann"));
    let mut other = crate::harness::open_sqlite(&site.file());
    other.batch_execute("BEGIN IMMEDIATE; UPDATE counters SET value = value").unwrap();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let calls =
            [scope.spawn(|| ann.get(ME)), scope.spawn(|| create(&by, "late")), scope.spawn(|| anon.try_sign_in("ann", PASSWORD))];
        crate::harness::wait_until("two seconds", || began.elapsed() > Duration::from_secs(2));
        assert!(calls.iter().all(|call| !call.is_finished()), "a call was answered though its event could not be written");
        other.batch_execute("COMMIT").unwrap();
        let statuses = calls.map(|call| call.join().unwrap().status);
        assert_eq!(statuses, [200, 201, 201]);
    });
}

// ---------------------------------------------------------------------------------------------------------------------------------
// Two services on one database

/// S21: two services on one PostgreSQL database are one service: a session opened on one is good on the other and, once ended, soon refused
/// there; users that both create at once get numbers of their own, and the audit trail is one.
#[test]
fn two_services_on_one_database() {
    if !postgres::is_there() {
        return;
    }
    let site = furnished(Site::new(Engine::Postgres));
    let (here, there) = (Process::serve(&site), Process::serve(&site));
    let on = |service: &Process, client: &Client| service.anon().bearing(client.ust.as_deref().unwrap());
    let by = root(&here);
    let by_there = on(&there, &by);
    by_there.get(ME).expect(200);

    for round in 0..5 {
        let ann = newcomer(&here, &by, &format!("ann-{round}"));
        let ann_there = on(&there, &ann);
        ann_there.get(ME).expect(200);
        by.delete(&format!("{USERS}/{}/sessions", ann.id())).expect(204);
        soon(401, || ann_there.get(ME)).refused(401, "session_invalid");

        let again = there.anon().sign_in(&format!("ann-{round}"), PASSWORD);
        on(&here, &again).get(ME).expect(200);
        by_there.post(&format!("{USERS}/{}/lock", again.id()), &json!({})).expect(200);
        soon(401, || on(&here, &again).get(ME)).refused(401, "session_invalid");
        here.anon().try_sign_in(&format!("ann-{round}"), PASSWORD).refused(401, "account_locked");
    }

    let numbers = Mutex::new(Vec::new());
    at_once(40, |number| {
        let client = if number % 2 == 0 { &by } else { &by_there };
        for round in 0..5 {
            let made = create(client, &format!("crowd-{number}-{round}")).expect(201).json;
            numbers.lock().unwrap().push(made["number"].as_i64().unwrap());
        }
    });
    let mut numbers = numbers.into_inner().unwrap();
    numbers.sort_unstable();
    let first = numbers[0];
    assert_eq!(numbers, (first..first + 200).collect::<Vec<_>>(), "a number was given twice or lost");
    // One name, wanted on both at once, is given once.
    let statuses = at_once(20, |number| create(if number % 2 == 0 { &by } else { &by_there }, "wanted").status);
    assert_eq!(statuses.iter().filter(|s| **s == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|s| matches!(s, 201 | 409)), "{statuses:?}");
    usher(&site, &["audit", "verify"], "").expect(0);
}
