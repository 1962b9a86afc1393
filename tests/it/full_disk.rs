//! A disk that is full: calls are told to come back, `/readyz` says the truth, nothing that was answered is lost, and the service goes on by
//! itself once there is room. For SQLite see [`crate::faults`].
//!
//! The disk's end is played by a limit on the size of files, which makes writes fail as a full disk does.

use crate::both;
use crate::faults::{create, furnished, is_unavailable, newcomer, root, text, until_answered, until_nothing_fits};
use crate::harness::postgres::{self, Server};
use crate::harness::process::{Process, usher};
use crate::harness::{Engine, Over, PASSWORD, Site, Town, at_once};
use serde_json::json;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

const ME: &str = "/api/v1/users/me";
const USERS: &str = "/api/v1/users";
const SESSIONS: &str = "/api/v1/sessions";

/// S46: the same of the server of a PostgreSQL database, whose tables cannot grow.
#[test]
fn a_full_disk_of_the_database_server_stops_calls_but_not_the_service() {
    if !postgres::is_there() {
        return;
    }
    let server = Server::with_small_files();
    let site = furnished(Site::at(TempDir::new().unwrap(), Engine::Postgres, server.create_database()));
    let site = site.with("log.filter", "\"error\"");
    server.limit_files(Some(1280 * 1024));
    let mut service = Process::serve(&site);
    let (anon, by) = (service.anon(), root(&service));
    let ann = newcomer(&service, &by, "ann");
    anon.get("/readyz").expect(200);
    let created = Mutex::new(Vec::new());
    at_once(8, |thread| {
        let remark = "x".repeat(2000);
        for number in 0.. {
            let answer = by.post(USERS, &json!({"username": format!("user-{thread}-{number}"), "remark": remark}));
            if answer.status != 201 {
                answer.refused(503, "unavailable");
                break;
            }
            created.lock().unwrap().push(text(&answer.json["user_id"]));
            assert!(number < 5000, "the limit does not bind");
        }
    });
    let created = created.into_inner().unwrap();
    // Events are smaller than what was just refused: until they do not fit either, reads are answered, and the service is ready.
    until_nothing_fits(&ann);
    until_answered(&anon, "/readyz", 503);
    for round in 0..5 {
        is_unavailable(&by, "POST", USERS, Some(json!({"username": format!("late-{round}")})));
        is_unavailable(&anon, "POST", SESSIONS, Some(json!({"username": "ann", "password": PASSWORD})));
        is_unavailable(&ann, "GET", ME, None);
        anon.get("/healthz").expect(200);
        is_unavailable(&anon, "GET", "/readyz", None);
    }
    at_once(20, |number| is_unavailable(&by, "POST", USERS, Some(json!({"username": format!("crowd-{number}")}))));
    server.limit_files(None);
    until_answered(&anon, "/readyz", 200);
    ann.get(ME).expect(200);
    create(&by, "late-0").expect(201);
    for user_id in &created {
        by.get(&format!("{USERS}/{user_id}")).expect(200);
    }
    usher(&site, &["audit", "verify"], "").expect(0);
    assert!(service.is_alive() && !service.log().contains("panicked"), "{}", service.log());
    println!("{} users created before the disk was full", created.len());
}

both! {
    /// A probe leaves nothing, and a flood of probes costs what one costs.
    fn probes_are_cheap_and_leave_nothing(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let anon = town.anon();
        let heads = || town.lines("SELECT chain || ' ' || seq AS line FROM audit_chains ORDER BY chain");
        root.get(ME).expect(200);
        let (before, began) = (heads(), std::time::Instant::now());
        at_once(10, |_| for _ in 0..50 { anon.get("/readyz").expect(200); });
        assert_eq!(heads(), before);
        // Each look is two writes that are taken back; the clock of looks is the real one.
        let written = town.writes();
        at_once(10, |_| for _ in 0..50 { anon.get("/readyz").expect(200); });
        let looks = began.elapsed().as_secs() + 2;
        assert!(town.writes() - written <= 2 * looks, "{} writes in {:?}", town.writes() - written, began.elapsed());
        assert_eq!(heads(), before);
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// Where many write at once a probe gets its answer all the same.
    fn a_busy_service_is_ready(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                let (root, is_over) = (root.clone(), &is_over);
                scope.spawn(move || while !is_over.load(Ordering::Relaxed) { root.get(ME).expect(200); });
            }
            let (began, _over) = (std::time::Instant::now(), Over(&is_over));
            while began.elapsed() < std::time::Duration::from_secs(4) {
                town.anon().get("/readyz").expect(200);
            }
        });
    }

    /// A trail that was altered keeps every call from being answered: then the service is not ready.
    fn without_a_sound_trail_it_is_not_ready(engine) {
        let town = Town::new(engine);
        let anon = town.anon();
        anon.get("/readyz").expect(200);
        town.sql("UPDATE audit_chains SET hash = mac");
        until_answered(&anon, "/readyz", 503);
        assert_ne!(anon.try_sign_in("root", PASSWORD).status, 201);
    }

    /// S46: nor with one of its chains altered: no call is answered by way of another one. Once it is as it was, all goes on.
    fn one_unsound_chain_is_enough(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        // Some calls at once, so that ends of several chains are remembered.
        at_once(16, |_| ann.get("/api/v1/users/me").expect(200));
        town.sql("CREATE TABLE kept AS SELECT chain, hash FROM audit_chains");
        town.sql("UPDATE audit_chains SET hash = mac WHERE chain = 1");
        for _ in 0..20 {
            ann.get("/api/v1/users/me").refused(500, "internal");
        }
        town.sql("UPDATE audit_chains SET hash = (SELECT hash FROM kept WHERE kept.chain = audit_chains.chain)");
        ann.get("/api/v1/users/me").expect(200);
        town.usher(&["audit", "verify"]).expect(0);
    }
}
