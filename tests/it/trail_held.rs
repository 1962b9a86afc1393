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
pub fn lines(site: &Site, query: &str) -> Vec<String> {
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
pub fn set_back_to_format_1(site: &Site) {
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

    /// S53: the trail's objects are those that the migrations made: a view that shows something else, a trigger or rule that erases, a rule
    /// for rows, an index or a column that is gone or added.
    fn objects_are_held(engine) {
        let same: &[(&str, &str)] = &[
            ("DROP VIEW audit_events; CREATE VIEW audit_events AS SELECT * FROM audit_chains WHERE chain < 0", "altered or missing"),
            ("DROP VIEW audit_events", "altered or missing"),
            ("DROP INDEX audit_changes_by_subject", "altered or missing"),
            ("ALTER TABLE audit_indexed RENAME TO audit_taken; CREATE TABLE audit_indexed AS SELECT * FROM audit_taken", "altered or missing"),
        ];
        let own: &[(&str, &str)] = match engine {
            Engine::Sqlite => &[
                ("CREATE TRIGGER quiet AFTER INSERT ON audit_batches BEGIN DELETE FROM audit_changes; END", "not theirs"),
                ("CREATE TRIGGER quiet AFTER UPDATE ON users BEGIN DELETE FROM audit_changes; END", "not theirs"),
            ],
            Engine::Postgres => &[
                ("CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER quiet AFTER INSERT ON audit_batches FOR EACH ROW EXECUTE FUNCTION quiet()", "not theirs"),
                ("CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM audit_changes; RETURN NEW; END'; CREATE TRIGGER quiet AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION quiet()", "not theirs"),
                ("CREATE RULE quiet AS ON DELETE TO audit_rollbacks DO INSTEAD NOTHING", "not theirs"),
                ("CREATE POLICY quiet ON audit_changes USING (true)", "not theirs"),
                ("ALTER TABLE audit_changes ENABLE ROW LEVEL SECURITY", "altered or missing"),
                ("ALTER TABLE audit_chains ALTER COLUMN month DROP DEFAULT", "altered or missing"),
                ("CREATE TABLE audit_changes_300001 PARTITION OF audit_changes FOR VALUES FROM (300002) TO (300003)", "not theirs"),
            ],
        };
        for (statement, flaw) in same.iter().chain(own) {
            let town = Town::new(engine);
            look(&town, "one");
            let site = town.halt();
            usher(&site, &["audit", "verify"], "").expect(0);
            site.sql(statement);
            let found = usher(&site, &["audit", "verify"], "").expect(1);
            assert!(found.err.contains(flaw) && found.err.contains("as the migrations make them"), "{statement}: {found:?}");
        }
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
        // Programs before it left no mark: where there is one, this database was put back, and what it lacks is not filled in once more.
        assert!(usher(&site, &["audit", "verify"], "").expect(1).err.contains("there is a mark of its audit trail"));
        std::fs::remove_file(mark_of(&site)).unwrap();
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
            std::fs::remove_file(mark_of(&site)).unwrap();
            site.sql("UPDATE audit_chains SET mac = kept.mac FROM kept WHERE kept.chain = audit_chains.chain AND kept.chain > 1");
            assert!(usher(&site, &["audit", "verify"], "").expect(1).err.contains("head does not match its MAC"));
        }
    }
}

/// What of the trail a copy of the database has.
const TRAIL: [&str; 6] = ["audit_batches", "audit_changes", "audit_index", "audit_indexed", "audit_chains", "audit_rollbacks"];

/// Copies the trail within its database.
fn copy(site: &Site) {
    for table in TRAIL {
        site.sql(&format!("DROP TABLE IF EXISTS copy_of_{table}; CREATE TABLE copy_of_{table} AS SELECT * FROM {table}"));
    }
}

/// Puts the copy back.
fn put_back(site: &Site) {
    for table in TRAIL {
        site.sql(&format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM copy_of_{table}"));
    }
}

pub fn mark_of(site: &Site) -> std::path::PathBuf {
    site.folder.path().join("usher.keys.mark")
}

/// The last event that a mark tells of, over all chains.
fn marked(site: &Site) -> i64 {
    let text = std::fs::read_to_string(mark_of(site)).unwrap_or_else(|_| "{\"heads\":[]}".to_owned());
    let mark: Value = serde_json::from_str(&text).unwrap();
    mark["heads"].as_array().unwrap().iter().map(|head| head["seq"].as_i64().unwrap()).sum()
}

both! {
    /// S53: a chain never gets shorter than a process remembers. Its end put back together with its MAC, on a sound trail: nothing is answered
    /// any more, until an operator has accepted it; the event of that has both ends. What was accepted once is not accepted again.
    fn a_trail_that_is_put_back_stops_the_service(engine) {
        let town = Town::new(engine);
        look(&town, "kept");
        copy(&town);
        for number in 0..20 {
            look(&town, &format!("lost-{number}"));
        }
        let heads = |town: &Town| town.lines("SELECT chain || ' ' || seq AS line FROM audit_chains ORDER BY chain");
        let ask = |town: &Town| town.anon().get("/api/v1/users/me").status;
        for round in 0..2 {
            let before = heads(&town);
            put_back(&town);
            wait_until("nothing is answered", || ask(&town) == 503);
            // A node that has noticed writes down what it remembers, for whoever accepts it.
            let end: i64 = before.iter().map(|end| end.split(' ').nth(1).unwrap().parse::<i64>().unwrap()).sum();
            wait_until("the mark is of today", || marked(&town.site) == end);
            town.anon().get("/readyz").refused(503, "trail_broken");
            let found = town.usher(&["audit", "verify"]).expect(1);
            assert!(found.err.contains("was put back") && found.err.contains("at event"), "{found:?}");
            assert!(town.usher(&["user", "list"]).expect(69).err.contains("was put back"));
            assert_eq!(town.count("SELECT count(*) AS count FROM audit_events WHERE cid LIKE 'lost-%'"), 0);
            if round == 1 {
                break;
            }
            town.usher(&["audit", "accept-rollback", "--reason", " "]).expect(2);
            town.usher(&["audit", "accept-rollback", "--reason", "restored from the copy of Monday"]).expect(0);
            wait_until("calls are answered again", || ask(&town) == 401);
            town.anon().get("/readyz").expect(200);
            let event = town.root().get("/api/v1/audit-events?action=audit.accept_rollback").expect(200).json["items"][0].clone();
            assert_eq!((&event["actor_type"], &event["outcome"]), (&json!("operator"), &json!("success")));
            let changes = event["changes"].as_object().unwrap();
            assert_eq!(changes["reason"]["after"], "restored from the copy of Monday");
            let told = |which: &str| -> Vec<String> {
                let ends = changes.iter().filter(|(name, _)| name.starts_with("chain_"));
                ends.map(|(name, end)| format!("{} {}", name.trim_start_matches("chain_"), end[which]["event"])).collect()
            };
            assert!(!told("before").is_empty() && told("before").iter().zip(told("after")).all(|(b, a)| *b != a), "{event}");
            assert!(told("before").iter().all(|end| before.contains(end)), "{event} {before:?}");
            town.usher(&["audit", "verify"]).expect(0);
            // A copy of after the acceptance, put back in its turn, has one that is known already.
            copy(&town);
            for number in 0..20 {
                look(&town, &format!("lost-{number}"));
            }
        }
    }

    /// The mark outlives the process: a database that was put back while nothing ran is told at the start, by whatever opens it.
    fn a_database_that_is_put_back_is_told_at_the_start(engine) {
        let town = Town::new(engine);
        look(&town, "kept");
        copy(&town);
        look(&town, "lost");
        let end = town.count("SELECT CAST(sum(seq) AS bigint) AS count FROM audit_chains");
        let site = town.halt();
        assert_eq!(marked(&site), end, "the mark is of the stop");
        let kept = std::fs::read_to_string(mark_of(&site)).unwrap();
        put_back(&site);
        let mut process = Process::serve(&site);
        assert!(process.log().contains("the database was put back"), "{}", process.log());
        process.anon().get("/readyz").refused(503, "trail_broken");
        process.anon().get("/api/v1/users/me").expect(503);
        assert!(usher(&site, &["audit", "verify"], "").expect(1).err.contains("was put back"));
        process.kill();
        assert_eq!(std::fs::read_to_string(mark_of(&site)).unwrap(), kept, "what is remembered is kept until it is accepted");
        usher(&site, &["audit", "accept-rollback", "--reason", "a rehearsal"], "").expect(0);
        let process = Process::serve(&site);
        process.anon().get("/readyz").expect(200);
        process.anon().get("/api/v1/users/me").expect(401);
        process.terminate();
        usher(&site, &["audit", "verify"], "").expect(0);
        // An end of before is behind, an end of another line of events as well.
        put_back(&site);
        std::fs::rename(mark_of(&site), site.folder.path().join("aside")).unwrap();
        let process = Process::serve(&site);
        for _ in 0..60 {
            process.anon().get("/api/v1/users/me").expect(401);
        }
        process.terminate();
        std::fs::rename(site.folder.path().join("aside"), mark_of(&site)).unwrap();
        let found = usher(&site, &["audit", "verify"], "").expect(1);
        assert!(found.err.contains("was put back"), "{found:?}");
    }

    /// A mark is good for its key file alone, and is not altered unnoticed. Where there is none to be written, that is said.
    fn marks_are_signed(engine) {
        let town = Town::new(engine);
        look(&town, "one");
        let site = town.halt();
        let text = std::fs::read_to_string(mark_of(&site)).unwrap();
        std::fs::write(mark_of(&site), text.replacen("\"seq\":", "\"seq\":1", 1)).unwrap();
        let refused = usher(&site, &["audit", "verify"], "").expect(1);
        assert!(refused.complaint().contains("does not match its MAC"), "{refused:?}");
        std::fs::remove_file(mark_of(&site)).unwrap();
        usher(&site, &["audit", "verify"], "").expect(0);
        let elsewhere = site.with("audit.mark_file", "\"no/such/folder/mark\"");
        let mut command = crate::harness::process::program(elsewhere.folder.path());
        command.arg("serve").arg("--config").arg(elsewhere.settings());
        let refused = crate::harness::process::refused_start(command);
        assert!(refused.code == Some(1) && refused.err.contains("audit.mark_file"), "{refused:?}");
    }
}

/// The file of the database, put back or away: an older copy, and an empty one.
#[test]
fn a_file_that_is_put_back_is_told() {
    let town = Town::new(Engine::Sqlite);
    look(&town, "kept");
    let site = town.halt();
    let old = std::fs::read(site.file()).unwrap();
    let process = Process::serve(&site);
    process.anon().get("/api/v1/users/me").expect(401);
    process.terminate();
    let leave = |bytes: Option<&[u8]>| {
        for companion in ["usher.db", "usher.db-wal", "usher.db-shm"] {
            let _ = std::fs::remove_file(site.folder.path().join(companion));
        }
        if let Some(bytes) = bytes {
            std::fs::write(site.file(), bytes).unwrap();
        }
    };
    for bytes in [Some(old.as_slice()), None] {
        leave(bytes);
        let process = Process::serve(&site);
        process.anon().get("/readyz").refused(503, "trail_broken");
        process.terminate();
        let found = usher(&site, &["audit", "verify"], "").expect(1);
        assert!(found.err.contains("was put back"), "{found:?}");
    }
}
