//! Replacing nodes one after the other while the database moves on (docs/UPGRADING.md): a node of an earlier schema goes on beside a migration
//! that only adds, no call fails meanwhile, and no node works on a database that has gone beyond it.

use crate::both;
use crate::faults::furnished;
use crate::harness::postgres::{self, Postgres};
use crate::harness::process::{Process, program, refused_start, usher};
use crate::harness::{Engine, PASSWORD, ROOT, Site, soon, wait_until};
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const ME: &str = "/api/v1/users/me";
const USERS: &str = "/api/v1/users";

/// A migration of a release to come, which only adds: a table, columns of the tables that every call reads and writes, a trigger.
const EXPAND: &str = "
    ALTER TABLE users ADD COLUMN nickname text;
    ALTER TABLE users ADD COLUMN stars bigint NOT NULL DEFAULT 3;
    ALTER TABLE sessions ADD COLUMN device text NOT NULL DEFAULT 'unknown';
    ALTER TABLE audit_batches ADD COLUMN region text;
    CREATE TABLE nicknames (user_id uuid NOT NULL PRIMARY KEY REFERENCES users (user_id) ON DELETE CASCADE, nickname text NOT NULL);
    CREATE FUNCTION keep_nickname() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.nickname := lower(NEW.username); RETURN NEW; END $$;
    CREATE TRIGGER keep_nickname BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION keep_nickname();
    INSERT INTO __diesel_schema_migrations (version) VALUES ('9998');";

/// Raises the schema that the database demands, as a contract of a release to come does.
const DEMAND: &str =
    "DELETE FROM counters WHERE name = 'oldest_schema'; INSERT INTO counters (name, value) VALUES ('oldest_schema', 9999)";
/// Takes it back, as restoring a backup does.
const DEMAND_LESS: &str = "UPDATE counters SET value = 1 WHERE name = 'oldest_schema'";

/// While the database gets the tables and columns of the next release no call fails, reads and changes alike; and nodes of this release,
/// one that was there and one that starts, go on with it.
#[test]
fn nodes_go_on_beside_the_next_schema() {
    if !postgres::is_there() {
        return;
    }
    let site = furnished(Site::new(Engine::Postgres));
    let service = Process::serve(&site);
    let root = service.anon().sign_in(ROOT, PASSWORD);
    root.post(USERS, &json!({"username": "ann", "password": PASSWORD})).expect(201);
    let ann = service.anon().sign_in("ann", PASSWORD);
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let goes_on = |number: u64| {
        let from = answered.load(Ordering::SeqCst);
        wait_until("more answers", || stop.load(Ordering::SeqCst) || answered.load(Ordering::SeqCst) >= from + number);
    };
    std::thread::scope(|scope| {
        for caller in 0..4 {
            let (stop, answered, ann, root, anon) = (&stop, &answered, &ann, &root, service.anon());
            scope.spawn(move || {
                let call = |round: usize| match (caller + round) % 4 {
                    0 => drop(ann.get(ME).expect(200)),
                    1 => drop(ann.patch(ME, &json!({"lang_id": round})).expect(200)),
                    2 => drop(root.post(USERS, &json!({"username": format!("user-{caller}-{round}")})).expect(201)),
                    _ => drop(anon.sign_in("ann", PASSWORD).delete("/api/v1/sessions/current").expect(204)),
                };
                for round in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    // Whoever waits for answers waits in vain once a call has failed.
                    let alarm = Alarm(stop);
                    call(round);
                    std::mem::forget(alarm);
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        goes_on(40);
        // As a migration is applied: in one transaction, which gives way to what is at work.
        let mut operator = PgConnection::establish(&site.url).unwrap();
        operator.batch_execute("SET lock_timeout = '300ms'").unwrap();
        let mut tries = 0;
        while operator.batch_execute(&format!("BEGIN; {EXPAND} COMMIT")).is_err() {
            operator.batch_execute("ROLLBACK").unwrap();
            goes_on(4);
            tries += 1;
            assert!(tries < 100, "it never got its tables");
        }
        goes_on(40);
        // A node that is started again finds a later schema than its own.
        let again = Process::serve(&site);
        assert_eq!(again.anon().bearing(ann.ust.as_deref().unwrap()).get(ME).expect(200).json["username"], "ann");
        again.anon().sign_in("ann", PASSWORD).patch(ME, &json!({"first_name": "Ann"})).expect(200);
        goes_on(40);
        stop.store(true, Ordering::SeqCst);
    });
    usher(&site, &["migrate", "--check"], "").expect(0);
    usher(&site, &["user", "list"], "").expect(0);
    usher(&site, &["audit", "verify"], "").expect(0);
    assert!(!service.log().contains("\"ERROR\""), "{}", service.log());
}

/// Stops the others when a call has failed.
struct Alarm<'a>(&'a AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

both! {
    /// A database that demands a later schema is not worked on: who runs answers nothing any more, who starts is refused and told why; and
    /// once it demands that no longer, who runs goes on.
    fn nobody_works_on_a_schema_beyond_his_own(engine) {
        let site = furnished(Site::new(engine));
        let service = Process::serve(&site);
        let root = service.anon().sign_in(ROOT, PASSWORD);
        root.get(ME).expect(200);
        site.sql(DEMAND);
        soon(503, || root.get(ME)).refused(503, "unavailable");
        root.post(USERS, &json!({"username": "ann"})).refused(503, "unavailable");
        service.anon().try_sign_in(ROOT, PASSWORD).refused(503, "unavailable");
        // What a probe was told stands for a second.
        soon(503, || service.anon().get("/readyz"));
        service.anon().get("/healthz").expect(200);
        let mut command = program(site.folder.path());
        command.arg("serve").arg("--config").arg(site.settings());
        let started = refused_start(command).expect(1);
        assert!(started.complaint().contains("9999"), "{started:?}");
        for command in [&["user", "list"][..], &["audit", "verify"]] {
            assert!(usher(&site, command, "").expect(1).complaint().contains("run a newer one"));
        }
        site.sql(DEMAND_LESS);
        soon(200, || root.get(ME));
        soon(200, || service.anon().get("/readyz"));
        let log = service.log();
        assert!(log.contains("nothing is answered any more") && log.contains("calls are answered again"), "{log}");
    }

    /// The number that a database demands is that of its last contract, whether it was made at once or migrated.
    fn a_database_demands_what_its_contracts_say(engine) {
        let town = crate::harness::Town::new(engine);
        let oldest = usher::store::CONTRACTS.last().unwrap().1;
        assert_eq!(town.count("SELECT value AS count FROM counters WHERE name = 'oldest_schema'"), oldest);
    }
}

/// A contract is not applied while a node is at work that could not go on, and is once that node has stopped; what only adds is applied.
#[test]
fn a_contract_waits_for_nodes_that_could_not_go_on() {
    if !postgres::is_there() {
        return;
    }
    let site = Site::new(Engine::Postgres);
    let (contract, oldest) = usher::store::CONTRACTS[0];
    // What a node of the schema before holds.
    let mut old = PgConnection::establish(&site.url).unwrap();
    old.batch_execute(&format!("SELECT pg_advisory_lock_shared(1970562418, {})", oldest - 1)).unwrap();
    let refused = usher(&site, &["migrate"], "").expect(1);
    assert!(
        refused.complaint().contains(contract) && refused.complaint().contains(&format!("schema {}", oldest - 1)),
        "{refused:?}"
    );
    let left = usher(&site, &["migrate", "--check"], "").expect(3).out;
    assert_eq!(left.lines().next(), Some(contract), "what comes before it is applied");
    drop(old);
    wait_until("the end of the old node", || usher(&site, &["migrate"], "").code == Some(0));
    usher(&site, &["migrate", "--check"], "").expect(0);

    // The lock is that of nodes: one that runs holds it, for its own schema.
    usher(&site, &["user", "create", ROOT, "--super-user", "--password-stdin"], PASSWORD).expect(0);
    let mut service = Process::serve(&site);
    let last = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres")).unwrap();
    let last = last.map(|entry| entry.unwrap().file_name().to_string_lossy()[..4].parse::<i64>().unwrap()).max().unwrap();
    let held = || {
        let query = "SELECT objid::text AS line FROM pg_locks JOIN pg_database d ON d.oid = database \
            WHERE locktype = 'advisory' AND classid::bigint = 1970562418 AND datname = current_database()";
        Postgres::lines(&site.url, query)
    };
    wait_until("the node's lock", || held() == [last.to_string()]);
    service.kill();
    wait_until("the end of the node's lock", || held().is_empty());
}
