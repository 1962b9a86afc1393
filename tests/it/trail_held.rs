//! The trail under its owner's hands (S53): what somebody does to it who has the database and not the key file.

use crate::both;
use crate::harness::process::{Process, usher};
use crate::harness::{Engine, Site, Town, wait_until};
use serde_json::{Value, json};
use std::time::Duration;
use usher::auth::keys::Keys;

/// The `count` that a query answers, where no service runs.
fn count(site: &Site, query: &str) -> i64 {
    lines(site, &format!("SELECT CAST(({query}) AS text) AS line"))[0].parse().unwrap()
}

/// The texts in the column `line`.
fn lines(site: &Site, query: &str) -> Vec<String> {
    use diesel::RunQueryDsl as _;
    use usher::store::connection::{AnyConnection, Location, Purpose};
    #[derive(diesel::QueryableByName)]
    struct Line {
        #[diesel(sql_type = diesel::sql_types::Text)]
        line: String,
    }
    let mut connection = AnyConnection::open(&Location::parse(&site.url).unwrap(), Purpose::Reading).unwrap();
    diesel::sql_query(query).load::<Line>(&mut connection).unwrap().into_iter().map(|l| l.line).collect()
}

/// Room for rows of a month: on PostgreSQL a month is a partition.
fn make_room(site: &Site, month: i64) {
    if site.engine == Engine::Postgres {
        for table in ["audit_batches", "audit_changes", "audit_index"] {
            site.sql(&format!("CREATE TABLE {table}_{month} PARTITION OF {table} FOR VALUES FROM ({month}) TO ({})", month + 1));
        }
    }
}

/// Bytes as each database writes them.
fn bytes(engine: Engine, bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    match engine {
        Engine::Sqlite => format!("x'{hex}'"),
        Engine::Postgres => format!("'\\x{hex}'::bytea"),
    }
}

/// Gives a database the heads, and a beginning if it has one, that a program before schema 16 would have left.
fn set_back_to_format_1(site: &Site) {
    let key = Keys::load(&site.keys()).unwrap().audit;
    for (table, purpose) in [("audit_chains", "usher audit chain head 1"), ("audit_beginnings", "usher audit chain beginning 1")]
    {
        let hash = match site.engine {
            Engine::Sqlite => "lower(hex(hash))",
            Engine::Postgres => "encode(hash, 'hex')",
        };
        for row in lines(site, &format!("SELECT chain || ' ' || seq || ' ' || {hash} AS line FROM {table}")) {
            let parts: Vec<&str> = row.split(' ').collect();
            let (chain, seq): (i64, i64) = (parts[0].parse().unwrap(), parts[1].parse().unwrap());
            let hash: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&parts[2][at * 2..at * 2 + 2], 16).unwrap()).collect();
            let text = [purpose.as_bytes(), &chain.to_be_bytes(), &seq.to_be_bytes(), &hash].concat();
            let mac = bytes(site.engine, &key.mac(&text));
            site.sql(&format!("UPDATE {table} SET mac = {mac} WHERE chain = {chain}"));
        }
    }
    site.sql("UPDATE audit_beginnings SET month = 0");
}

fn look(town: &Town, cid: &str) {
    town.root().with("x-correlation-id", cid).get("/api/v1/users/me").expect(200);
}

const MONTH: Duration = Duration::from_secs(31 * 24 * 3600);

both! {
    /// S53: months are held as hashes are: against the times of events, along the chain, and at both of its ends.
    fn months_are_held(engine) {
        let of = |mark: &str| format!("events LIKE '%\"{mark}\"%'");
        let tampers = [
            ("UPDATE audit_batches SET month = 203001".to_owned(), "is before"),
            (format!("UPDATE audit_batches SET month = month - 1 WHERE {}", of("later")), "is before"),
            (format!("UPDATE audit_batches SET month = month + 1 WHERE {}", of("ahead")), "none that anything accounts for"),
            (format!("UPDATE audit_batches SET month = 203301 WHERE {}", of("last")), "month"),
            ("UPDATE audit_chains SET month = month + 1".to_owned(), "head does not match its MAC"),
            ("UPDATE audit_chains SET month = 203001".to_owned(), "head does not match its MAC"),
            ("UPDATE audit_changes SET month = 203001".to_owned(), "changed values that no event has"),
        ];
        for (statement, flaw) in tampers {
            let town = Town::new(engine);
            let root = town.root();
            root.with("x-correlation-id", "early").post("/api/v1/users", &json!({"username": "ann", "email": "ann@example.com"})).expect(201);
            look(&town, "ahead");
            town.advance(MONTH);
            look(&town, "later");
            look(&town, "last");
            town.usher(&["audit", "verify"]).expect(0);
            // The command line's clock is the machine's.
            let site = town.halt();
            for month in [203_001, 203_301] {
                make_room(&site, month);
            }
            usher(&site, &["audit", "verify"], "").expect(0);
            site.sql(&statement);
            let found = usher(&site, &["audit", "verify"], "").expect(1);
            assert!(found.err.contains(flaw) && found.err.contains("at event"), "{statement}: {found:?}");
        }
    }

    /// S53: retention on a trail whose months were moved drops nothing and signs nothing; one loud line says so, and readyz.
    fn nothing_is_dropped_that_does_not_hold(engine) {
        let site = Site::new(engine).with("audit.keep_months", "1");
        let calls = |process: &Process| for _ in 0..5 {
            process.anon().get("/api/v1/users/me").expect(401);
        };
        let first = Process::serve(&site);
        calls(&first);
        first.terminate();
        make_room(&site, 202_001);
        for table in ["audit_batches", "audit_changes", "audit_index"] {
            site.sql(&format!("UPDATE {table} SET month = 202001"));
        }
        let rows = || ["audit_batches", "audit_changes", "audit_beginnings"].map(|t| count(&site, &format!("SELECT count(*) FROM {t}")));
        let before = rows();
        let process = Process::serve(&site);
        let loud = "nothing of it is dropped, nothing is signed";
        wait_until("the refusal is told", || process.log().contains(loud));
        process.anon().get("/readyz").refused(503, "trail_broken");
        let after = rows();
        assert!(after[0] >= before[0] && after[1..] == before[1..] && after[2] == 0, "{before:?} {after:?}");
        assert_eq!(count(&site, "SELECT count(*) FROM audit_events WHERE action = 'audit.expire'"), 0);
        assert_eq!(process.log().matches(loud).count(), 1);
    }

    /// What goes with a month must be of events that go: values of a later event that were moved into an old month stop the drop.
    fn values_in_an_old_month_are_not_dropped_with_it(engine) {
        let town = Town::on(Site::new(engine).with("audit.keep_months", "2"));
        look(&town, "old");
        town.advance(4 * MONTH);
        town.root().with("x-correlation-id", "new").post("/api/v1/users", &json!({"username": "ann", "email": "ann@example.com"})).expect(201);
        let new = town.count("SELECT max(month) AS count FROM audit_batches");
        town.sql(&format!("UPDATE audit_changes SET month = 203105 WHERE month = {new}"));
        let kept = town.count("SELECT count(*) AS count FROM audit_changes");
        let town = town.restart();
        wait_until("the refusal is told", || town.anon().get("/readyz").json["code"] == "trail_broken");
        assert_eq!(town.count("SELECT count(*) AS count FROM audit_changes"), kept);
        assert_eq!(town.count("SELECT count(*) AS count FROM audit_beginnings"), 0);
    }

    /// The event of a drop tells what went: how many events of each chain, from when to when, and the hash that a copy is known again by.
    fn a_drop_tells_what_it_dropped(engine) {
        let town = Town::on(Site::new(engine).with("audit.keep_months", "2"));
        let began = town.now().to_string();
        for number in 0..5 {
            look(&town, &format!("old-{number}"));
        }
        let hashes: Vec<String> = town.lines("SELECT hash AS line FROM audit_events");
        let old = i64::try_from(hashes.len()).unwrap();
        town.advance(4 * MONTH);
        let town = town.restart();
        let query = "/api/v1/audit-events?action=audit.expire";
        let told = || town.root().get(query).expect(200).json["items"].as_array().unwrap().clone();
        wait_until("what is older is dropped", || !told().is_empty());
        let event = &told()[0];
        let chains = event["changes"].as_object().unwrap();
        let of = |name: &str| -> Vec<Value> { chains.values().map(|chain| chain["after"][name].clone()).collect() };
        assert_eq!(of("events").iter().map(|n| n.as_i64().unwrap()).sum::<i64>(), old, "{event}");
        assert!(of("first_time").iter().chain(&of("last_time")).all(|time| time.as_str() == Some(&began)), "{event}");
        assert!(of("hash").iter().all(|hash| hashes.contains(&hash.as_str().unwrap().to_owned())), "{event}");
        assert_eq!(event["subject"], town.now().month_before(2).to_string().replacen("2031", "2031-", 1));
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// A clock that was set ahead and back again leaves a month that is not there yet. Its events bear it out: a notice, and no break.
    fn a_month_that_is_not_there_yet_is_a_notice(engine) {
        let town = Town::new(engine);
        look(&town, "now");
        town.advance(3 * MONTH);
        look(&town, "ahead");
        town.set_back(3 * MONTH);
        look(&town, "now again");
        // The command line's clock is the machine's, which is years behind this town's.
        let verified = town.usher(&["audit", "verify", "--json"]).expect(0).json();
        assert_eq!(verified["sound"], true);
        assert_eq!(verified["notices"][0]["notice"], "clock_ahead", "{verified}");
        assert!(town.usher(&["audit", "verify"]).expect(0).out.contains("notice: clock_ahead"));
    }

    /// A database of before schema 16 is walked and signed anew by whoever opens it first, its beginnings too; nothing is if anything does not
    /// hold, and one head of before among those of today is none.
    fn heads_of_before_are_converted(engine) {
        let town = Town::on(Site::new(engine).with("audit.keep_months", "2"));
        look(&town, "old");
        town.advance(4 * MONTH);
        let town = town.restart();
        wait_until("what is older is dropped", || town.count("SELECT count(*) AS count FROM audit_beginnings") > 0);
        // A clock that was set back: its events go on in the month that the drop names.
        town.set_back(3 * MONTH);
        look(&town, "back");
        let site = town.halt();
        let old = |site: &Site| ["audit_chains", "audit_beginnings"].map(|t| count(site, &format!("SELECT count(*) FROM {t} WHERE length(mac) = 32")));
        assert_eq!(old(&site), [0, 0]);
        let begun = count(&site, "SELECT count(*) FROM audit_beginnings");
        set_back_to_format_1(&site);
        assert!(old(&site)[0] > 0 && old(&site)[1] > 0);
        // What does not hold is not signed, and nothing is served.
        site.sql("UPDATE audit_batches SET events = replace(events, '\"back\"', '\"kcab\"')");
        let refused = usher(&site, &["audit", "verify"], "").expect(1);
        assert!(refused.err.contains("does not match its hash") && refused.err.contains("at event"), "{refused:?}");
        assert!(old(&site)[0] > 0);
        site.sql("UPDATE audit_batches SET events = replace(events, '\"kcab\"', '\"back\"')");
        usher(&site, &["audit", "verify"], "").expect(0);
        assert_eq!(old(&site), [0, 0]);
        assert!(count(&site, "SELECT count(*) FROM audit_beginnings") >= begun);
        let clock = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(usher::domain::time::Utc::parse("2031-10-04T03:02:01Z").unwrap().micros()));
        let town = Town::at(site, clock);
        look(&town, "goes on");
        town.usher(&["audit", "verify"]).expect(0);
        if engine == Engine::Postgres {
            let site = town.halt();
            site.sql("CREATE TABLE kept AS SELECT * FROM audit_chains");
            set_back_to_format_1(&site);
            site.sql("UPDATE audit_chains SET mac = kept.mac FROM kept WHERE kept.chain = audit_chains.chain AND kept.chain > 1");
            assert!(usher(&site, &["audit", "verify"], "").expect(1).err.contains("head does not match its MAC"));
        }
    }
}
