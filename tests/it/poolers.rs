//! PgBouncer between nodes and their database. Where it gives each connection a session of its own, all is as without it. Where it gives one
//! session to many, nothing starts, and the sentence says what to do.

use crate::harness::pooler::{self, Pooler};
use crate::harness::postgres::{self, Postgres, Server};
use crate::harness::process::{self, Process, usher};
use crate::harness::{Site, at_once};
use crate::switch_over::{Load, furnished, node_of};
use std::sync::atomic::{AtomicBool, Ordering};

fn are_there() -> bool {
    postgres::is_there() && pooler::is_there()
}

/// S51: a pooler that gives one session to many is told at the start, by every command, in whichever order it hands its sessions out, and while others
/// use it; nothing is done before.
#[test]
fn a_pooler_that_hands_out_transactions_is_refused() {
    if !are_there() {
        return;
    }
    let server = Server::own();
    let direct = furnished(server.create_database());
    let empty = server.create_database();
    for (mode, settings) in [
        ("transaction", ""),
        ("transaction", "server_round_robin = 1\nmin_pool_size = 5"),
        ("transaction", "default_pool_size = 1"),
        ("statement", ""),
    ] {
        let pooler = Pooler::before(&server, mode, settings);
        let (is_over, url) = (AtomicBool::new(false), pooler.url(&direct.url));
        std::thread::scope(|scope| {
            let _over = crate::harness::Over(&is_over);
            for _ in 0..3 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        Postgres::lines(&url, "SELECT 'busy' AS line");
                    }
                });
            }
            let site = node_of(&direct, &url);
            let is_told = |ran: process::Ran| {
                let ran = ran.expect(1);
                assert!(ran.complaint().contains("pool_mode = session"), "{mode} {settings}: {ran:?}");
            };
            for _ in 0..3 {
                let mut serve = process::program(site.folder.path());
                serve.arg("serve").arg("--config").arg(site.settings());
                is_told(process::refused_start(serve));
                is_told(usher(&site, &["user", "list"], ""));
                is_told(usher(&site, &["audit", "verify"], ""));
            }
            let fresh = node_of(&direct, &pooler.url(&empty));
            is_told(usher(&fresh, &["migrate"], ""));
        });
    }
    let tables = "SELECT count(*)::text AS line FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(Postgres::lines(&empty, tables), ["0"]);
}

fn behind_a_pooler(enough: u64) {
    let mut server = Server::own();
    let database = server.create_database();
    // Whether a session is cleaned before somebody else has it makes no difference.
    let poolers = ["", "server_reset_query ="].map(|settings| Pooler::before(&server, "session", settings));
    let first = furnished(poolers[0].url(&database));
    let second = node_of(&first, &poolers[1].url(&database));
    let nodes = [Process::serve(&first), Process::serve(&second)];
    Load::on(&nodes).during(|load| {
        load.until_seen(enough);
        load.is(1);
        server.crash();
        let root = nodes[0].anon();
        at_once(4, |_| root.get("/readyz").expect(503));
        server.resume();
        load.until_served();
        load.is(0);
        load.until_seen(enough);
    });
    for words in [&["user", "list"][..], &["migrate", "--check"], &["audit", "verify"]] {
        usher(&second, words, "").expect(0);
    }
    let site =
        Site::at(tempfile::TempDir::new().unwrap(), crate::harness::Engine::Postgres, poolers[0].url(&server.create_database()));
    usher(&site, &["migrate"], "").expect(0);
}

/// S51, S21: two nodes behind a pooler in session mode, under a load, before and after the server was gone for a while.
#[test]
fn a_pooler_that_hands_out_sessions_is_as_none() {
    if are_there() {
        behind_a_pooler(5);
    }
}

/// The same for longer.
#[test]
#[ignore = "a soak of some minutes"]
fn a_pooler_that_hands_out_sessions_is_as_none_for_minutes() {
    if are_there() {
        behind_a_pooler(300);
    }
}
