//! A database server that hangs: its connections stay open, and nothing comes over them. Calls are told to come back within bounds, none
//! waits for the end of it, and the service goes on by itself.

use crate::faults::{create, furnished, is_unavailable, newcomer, root, text, until_answered};
use crate::harness::postgres::{self, Server};
use crate::harness::process::{Process, usher};
use crate::harness::{Client, Engine, PASSWORD, Site, at_once};
use serde_json::{Value, json};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ME: &str = "/api/v1/users/me";
const USERS: &str = "/api/v1/users";
const SESSIONS: &str = "/api/v1/sessions";
/// A read is given up after 0.9 s, a change that has been taken up after 10 s more, as it may yet happen; and a busy machine's share.
const LONGEST: Duration = Duration::from_secs(13);
/// Threads that may be added by it: those of reads that have not come back, one for each reading connection, and those that open new ones.
const THREADS: usize = 40;

fn threads(service: &Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", service.id())).unwrap().count()
}

/// How long it took until the call was told to come back.
#[track_caller]
pub fn is_given_up(client: &Client, method: &str, path: &str, body: Option<Value>) -> Duration {
    let began = Instant::now();
    let answer = client.call(method, path, body.map(|b| b.to_string())).refused(503, "unavailable");
    assert!(answer.headers.contains_key("retry-after"));
    assert!(began.elapsed() < LONGEST, "{method} {path} took {:?}", began.elapsed());
    began.elapsed()
}

fn survives_hanging(rounds: usize) {
    if !postgres::is_there() {
        return;
    }
    let mut server = Server::own();
    let site = furnished(Site::at(TempDir::new().unwrap(), Engine::Postgres, server.create_database()));
    let mut service = Process::serve(&site);
    let (anon, by) = (service.anon(), root(&service));
    let ann = newcomer(&service, &by, "ann");
    let before = threads(&service);
    for round in 0..rounds {
        let made = Mutex::new(Vec::new());
        server.freeze();
        let waits = at_once(40, |number| match number % 4 {
            0 => is_given_up(&ann, "GET", ME, None),
            1 => is_given_up(&anon, "POST", SESSIONS, Some(json!({"username": "ann", "password": PASSWORD}))),
            2 => is_given_up(&by, "POST", USERS, Some(json!({"username": format!("frozen-{round}-{number}")}))),
            _ => {
                anon.get("/healthz").expect(200);
                is_given_up(&by, "GET", "/api/v1/sessions/current", None)
            }
        });
        // Its last verdict has stood for long enough by now.
        is_unavailable(&anon, "GET", "/readyz", None);
        let most = threads(&service);
        server.thaw();
        let began = Instant::now();
        until_answered(&anon, "/readyz", 200);
        until_answered(&ann, ME, 200);
        println!(
            "waited {:?} at most, {before} threads before and {most} meanwhile, ready after {:?}",
            waits.iter().max(),
            began.elapsed()
        );
        assert!(most <= before + THREADS, "{before} threads before, {most} meanwhile");
        at_once(8, |number| {
            let answer = create(&by, &format!("thawed-{round}-{number}")).expect(201);
            made.lock().unwrap().push(text(&answer.json["user_id"]));
        });
        for user_id in made.into_inner().unwrap() {
            by.get(&format!("{USERS}/{user_id}")).expect(200);
        }
        // Of a change that was given up there is all or nothing.
        for number in (2..40).step_by(4) {
            let found = by.get(&format!("{USERS}?username=frozen-{round}-{number}")).expect(200).json;
            let count = found["items"].as_array().unwrap().len();
            assert!(count <= 1, "{found}");
            if count == 1 {
                let subject = text(&found["items"][0]["user_id"]);
                let events = by.get(&format!("/api/v1/audit-events?subject={subject}")).expect(200).json;
                assert_eq!(
                    events["items"].as_array().unwrap().iter().filter(|e| e["action"] == "user.create").count(),
                    1,
                    "{events}"
                );
            }
        }
        usher(&site, &["audit", "verify"], "").expect(0);
    }
    assert!(service.is_alive() && !service.log().contains("panicked"), "{}", service.log());
    server.crash();
}

/// S46, S21: a server that hangs is waited for within bounds, and no thread is left behind.
#[test]
fn a_hanging_database_is_given_up_and_come_back_to() {
    survives_hanging(1);
}

/// The same for longer.
#[test]
#[ignore = "a soak of some minutes"]
fn a_hanging_database_is_given_up_and_come_back_to_ten_times() {
    survives_hanging(10);
}
