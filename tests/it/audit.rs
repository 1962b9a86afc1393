//! The audit trail: what it records, how it is searched, and that it notices what is done to it (S46).

use crate::both;
use crate::harness::{Client, Engine, PASSWORD, Site, Town, at_once, postgres, wait_until};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// A call (method, path, application, body) and what is to come of it (status, action, reason).
type OddCall<'a> = (&'a str, &'a str, &'a str, Option<&'a str>, u16, &'a str, &'a str);

fn events(root: &Client, query: &str) -> Vec<Value> {
    root.get(&format!("/api/v1/audit-events?{query}")).expect(200).json["items"].as_array().unwrap().clone()
}

both! {
    /// Attributes that changed are recorded with the values before and after, secrets never.
    fn changes_are_recorded(engine) {
        let town = Town::new(engine);
        let root = town.root().with("x-correlation-id", "the-call");
        let body = json!({"username": "ann", "password": PASSWORD, "email": "ann@example.com"});
        let ann = root.with("x-correlation-id", "creation").post("/api/v1/users", &body).expect(201).json;
        let id = ann["user_id"].as_str().unwrap();
        let created = &events(&root, "cid=creation")[0];
        assert_eq!(created["changes"]["email"], json!({"before": null, "after": "ann@example.com"}));
        assert_eq!(created["changes"]["password_is_set"], json!({"before": null, "after": true}));
        let lock = root.with("x-correlation-id", "lock").post(&format!("/api/v1/users/{id}/lock"), &json!({"reason": "left"}));
        lock.expect(200);
        let locked = &events(&root, "cid=lock")[0];
        let changed: BTreeSet<&str> = locked["changes"].as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["account_status", "is_locked", "lock_cause", "lock_reason", "locked_by", "locked_time"];
        assert_eq!(changed, expected.into_iter().collect());
        assert_eq!(locked["changes"]["lock_reason"], json!({"before": null, "after": "left"}));
        let all = town.usher(&["audit", "export"]).expect(0).out;
        assert!(!all.contains(PASSWORD) && !all.contains("argon2"));
    }

    /// A call that matches no route, breaks a rule of HTTP or is not understood leaves its event too.
    fn every_call_leaves_one_event(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let long = "x".repeat(70_000);
        let calls: [OddCall<'_>; 8] = [
            ("GET", "/api/v1/nowhere", "default", None, 404, "unrouted", "no_route"),
            ("GET", "/", "default", None, 404, "unrouted", "no_route"),
            ("PUT", "/api/v1/users", "default", Some("{}"), 405, "unrouted", "method_not_allowed"),
            ("POST", "/api/v1/users", "default", Some("{"), 400, "user.create", "not_json"),
            ("POST", "/api/v1/users", "default", Some(&long), 413, "user.create", "too_large"),
            ("POST", "/api/v1/users", "default", Some("{\"username\": \"a\", \"is_super_user\": true}"), 403, "user.create", "member_forbidden"),
            ("GET", "/api/v1/audit-events?limit=0", "default", None, 400, "audit.read", "bad_query"),
            ("GET", "/api/v1/users/me", "unheard-of", None, 401, "user.read_current", "application_unknown"),
        ];
        for (number, (method, path, application, body, status, action, reason)) in calls.into_iter().enumerate() {
            let cid = format!("odd-{number}");
            let caller = root.with("x-correlation-id", &cid).with("x-current-app", application);
            let answer = caller.call(method, path, body.map(str::to_owned));
            assert_eq!((answer.status, answer.cid()), (status, cid.as_str()), "{}", answer.text);
            let found = events(&root, &format!("cid={cid}"));
            assert_eq!(found.len(), 1, "{method} {path}");
            assert_eq!((&found[0]["action"], &found[0]["reason"], &found[0]["outcome"]), (&json!(action), &json!(reason), &json!("refused")));
        }
    }

    /// The program of the documentation verifies an export, values that no double holds included, and finds what was altered in one.
    fn an_export_is_verified_elsewhere(engine) {
        let python = Command::new("python3").arg("--version").output();
        if !python.is_ok_and(|ran| ran.status.success()) {
            println!("skipped: there is no python3");
            return;
        }
        let manual = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/AUDIT.md")).unwrap();
        let program = manual.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
        let town = Town::new(engine);
        let (ann, bob) = (town.user("ann"), town.create("bob"));
        for (name, value) in [("a", "1.0"), ("b", "123456789012345678901234567890"), ("c", "{\"é\":\"\\u00e9\\/\",\"n\":[1E2,-0]}"), ("d", "\",\\\"changes\\\":1\"")] {
            let body = format!("{{\"value\":{value}}}");
            ann.call("PUT", &format!("/api/v1/users/me/attributes/{name}"), Some(body)).expect(201);
        }
        town.root().delete(&format!("/api/v1/users/{bob}")).expect(204);
        let export = town.usher(&["audit", "export"]).expect(0).out;
        let verify = |export: &str| {
            let mut command = Command::new("python3");
            command.args(["-c", program]);
            crate::harness::process::run(command, export)
        };
        // With signed heads and the published keys, a third party needs no secret.
        let (heads, keys) = (town.site.folder.path().join("heads.json"), town.site.folder.path().join("keys.json"));
        let export_signed = || town.usher(&["audit", "export", "--heads", heads.to_str().unwrap()]).expect(0).out;
        let keep_keys = || fs::write(&keys, town.anon().get("/.well-known/usher-audit-keys.json").expect(200).text).unwrap();
        let verify_signed = |export: &str| {
            let mut command = Command::new("python3");
            command.args(["-c", program]).args([&heads, &keys]);
            crate::harness::process::run(command, export)
        };
        let signed = export_signed();
        keep_keys();
        let chains = town.count("SELECT count(*) AS count FROM audit_chains");
        assert!(verify_signed(&signed).expect(0).out.contains(&format!("{chains} signed heads")));
        // The end cut off; a head of somebody else's; a key of somebody else's.
        let last_of = |export: &str| export.lines().filter(|line| !line.contains("audit.export")).count();
        let cut: String = signed.lines().take(last_of(&signed) / 2).map(|line| format!("{line}\n")).collect();
        assert!(verify_signed(&cut).expect(1).err.contains("is missing"));
        let told = fs::read_to_string(&heads).unwrap();
        let seq = json!({"seq": serde_json::from_str::<Value>(&told).unwrap()["heads"][0]["seq"]}).to_string();
        fs::write(&heads, told.replacen(seq.trim_matches(['{', '}']), "\"seq\":1", 1)).unwrap();
        assert!(verify_signed(&signed).expect(1).err.contains("is not signed by a key that is known"));
        // Whoever has the database alone puts in no key that is published, nor one that signs.
        town.usher(&["secrets", "rotate-audit-key"]).expect(0);
        let again = export_signed();
        assert!(verify_signed(&again).expect(1).err.contains("is not signed by a key that is known"));
        keep_keys();
        verify_signed(&again).expect(0);
        assert_eq!(town.anon().get("/.well-known/usher-audit-keys.json").json["keys"].as_array().unwrap().len(), 2);
        let sound = verify(&export).expect(0).out;
        let heads = town.usher(&["audit", "verify", "--json"]).expect(0).json();
        assert!(sound.contains("1 events with erased values"), "{sound}");
        // The export's own event came after it.
        assert_eq!(sound.lines().count() - 1, heads["heads"].as_array().unwrap().iter().filter(|h| h["seq"] != 0).count());
        for (what, with, flaw) in [
            ("\"value\":1.0,", "\"value\":1.00,", "do not match their digest"),
            ("\"value\":123456789012345678901234567890,", "\"value\":123456789012345678901234567891,", "do not match their digest"),
            ("\"outcome\":\"success\"", "\"outcome\":\"refused\"", "does not match its hash"),
        ] {
            assert!(export.contains(what), "{export}");
            let found = verify(&export.replacen(what, with, 1)).expect(1);
            assert!(found.err.contains(flaw), "{found:?}");
        }
    }

    /// Every filter, alone and together; a page has at least one event (R29).
    fn searching(engine) {
        let town = Town::new(engine);
        let (ann, root) = (town.user("ann"), town.root());
        let began = town.now();
        town.advance(Duration::from_secs(10));
        ann.get("/api/v1/users/me").expect(200);
        ann.get(&format!("/api/v1/users/{}", town.root_id)).expect(403);
        let middle = town.now();
        town.advance(Duration::from_secs(10));
        root.get(&format!("/api/v1/users/{}", ann.id())).expect(200);
        let actions = |query: &str| -> Vec<String> {
            // Looking into the trail shows those whom its events are about, and is found by them.
            let found = events(&root, query).into_iter().filter(|e| e["action"] != "audit.read" || !query.contains("subject="));
            found.map(|e| e["action"].as_str().unwrap().to_owned()).collect()
        };
        let of_ann = format!("actor={}", ann.id());
        assert_eq!(actions(&of_ann), ["session.sign_in", "user.read_current", "user.read"]);
        assert_eq!(actions(&format!("{of_ann}&outcome=refused")), ["user.read"]);
        assert_eq!(actions(&format!("{of_ann}&sort=-time")).last().unwrap(), "session.sign_in");
        assert_eq!(actions(&format!("subject={}&from={}", ann.id(), town.now())), ["user.read"]);
        assert_eq!(actions(&format!("subject={}&from={began}&to={}", ann.id(), town.now())).len(), 3);
        assert_eq!(actions(&format!("{of_ann}&from={middle}&application=default&action=user.read")), ["user.read"]);
        assert_eq!(actions("application=unheard-of"), [""; 0]);
        assert_eq!(actions("action=user"), [""; 0], "any text may be an action of a later version");
        for bad in ["limit=0", "limit=501", "limit=x", "from=yesterday", "outcome=maybe", "colour=red", "cursor=x", "sort=name"] {
            root.get(&format!("/api/v1/audit-events?{bad}")).refused(400, "bad_query");
        }
    }

    /// S40: pages follow each other without gap or repetition; a cursor is good for its own query alone.
    fn paging(engine) {
        let town = Town::new(engine);
        let (ann, root) = (town.user("ann"), town.root());
        for _ in 0..25 {
            ann.get("/api/v1/users/me").expect(200);
        }
        for sort in ["time", "-time"] {
            let query = format!("actor={}&limit=10&sort={sort}", ann.id());
            let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
            loop {
                let page = root.get(&format!("/api/v1/audit-events?{query}{cursor}")).expect(200).json;
                seen.extend(page["items"].as_array().unwrap().iter().map(|e| e["event_id"].as_str().unwrap().to_owned()));
                pages += 1;
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!((seen.len(), pages), (26, 3));
            assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 26);
        }
        let first = root.get(&format!("/api/v1/audit-events?actor={}&limit=10", ann.id())).json;
        let cursor = first["next_cursor"].as_str().unwrap();
        let foreign = format!("/api/v1/audit-events?actor={}&limit=10&cursor={cursor}", town.root_id);
        root.get(&foreign).refused(400, "bad_query");
        for at in 0..cursor.len() {
            let mut mutated = cursor.to_owned();
            let other = if &cursor[at..=at] == "A" { "B" } else { "A" };
            mutated.replace_range(at..=at, other);
            let answer = root.get(&format!("/api/v1/audit-events?actor={}&limit=10&cursor={mutated}", ann.id()));
            answer.refused(400, "bad_query");
        }
        root.get(&format!("/api/v1/audit-events?actor={}&limit=10&cursor={}", ann.id(), &cursor[..cursor.len() / 2])).refused(400, "bad_query");
    }

    /// Under parallel load every call still has its one event, and the chains hold.
    fn parallel_calls_all_leave_their_event(engine) {
        let town = Town::new(engine);
        let (ann, root) = (town.user("ann"), town.root());
        at_once(16, |thread| for number in 0..20 {
            ann.with("x-correlation-id", &format!("load-{thread}-{number}")).get("/api/v1/users/me").expect(200);
        });
        for thread in 0..16 {
            for number in 0..20 {
                assert_eq!(events(&root, &format!("cid=load-{thread}-{number}")).len(), 1);
            }
        }
        let verified = town.usher(&["audit", "verify", "--json"]).expect(0).json();
        assert_eq!(verified["sound"], true);
        assert!(verified["events"].as_i64().unwrap() >= 640, "{verified}");
    }

    /// An event altered, removed or moved; a chain cut short, its head put back, a chain removed, a stranger put in: all are found, and
    /// the place is named.
    fn tampering_is_found(engine) {
        // Each call here is a batch of its own.
        let of = |number: u32| format!("events LIKE '%\"mark-{number}\"%'");
        let alter = |number, from: &str, to: &str| format!("UPDATE audit_batches SET events = replace(events, '{from}', '{to}') WHERE {}", of(number));
        let swap = |one, other| format!(
            "CREATE TABLE one AS SELECT events, hashes FROM audit_batches WHERE {one}; CREATE TABLE other AS SELECT events, hashes FROM audit_batches WHERE {other}; \
             UPDATE audit_batches SET events = (SELECT events FROM other), hashes = (SELECT hashes FROM other) WHERE {one}; \
             UPDATE audit_batches SET events = (SELECT events FROM one), hashes = (SELECT hashes FROM one) \
             WHERE {other} AND (chain, last) <> (SELECT chain, last FROM audit_batches WHERE {other} ORDER BY chain, last LIMIT 1); DROP TABLE one; DROP TABLE other",
            one = of(one), other = of(other),
        );
        let tampers = [
            (alter(3, "\"success\"", "\"refused\""), "does not match its hash"),
            (alter(3, "\"user\"", "\"system\""), "does not match its hash"),
            ("UPDATE audit_changes SET changes = replace(changes, 'ann@', 'eve@')".to_owned(), "do not match their digest"),
            ("INSERT INTO audit_changes SELECT month, chain, seq + 1000, subject, salt, changes FROM audit_changes".to_owned(), "that no event has"),
            (format!("DELETE FROM audit_batches WHERE {}", of(3)), "is missing"),
            ("DELETE FROM audit_batches WHERE (chain, last) = (SELECT chain, max(last) FROM audit_batches GROUP BY chain ORDER BY max(last) DESC LIMIT 1)".to_owned(), "before its head"),
            ("UPDATE audit_chains SET seq = seq - 1, hash = (SELECT hashes FROM audit_batches b WHERE b.chain = audit_chains.chain AND b.last = audit_chains.seq - 1) WHERE seq > 1".to_owned(), "its head does not match its MAC"),
            ("DELETE FROM audit_chains".to_owned(), "is missing"),
            ("UPDATE audit_chains SET seq = old.seq, hash = old.hash, mac = old.mac FROM old WHERE old.chain = audit_chains.chain".to_owned(), "beyond the chain's head"),
            ("DELETE FROM audit_chains; DELETE FROM audit_batches".to_owned(), "is missing"),
            (format!("INSERT INTO audit_batches SELECT month, chain + 100, last, events, hashes FROM audit_batches WHERE {}", of(3)), "belongs to no chain"),
            (alter(3, "user.read_current", "no.such.action"), "does not match its hash"),
            (alter(3, "[[", "["), "cannot be read"),
            (format!("UPDATE audit_batches SET hashes = substr(hashes, 1, 0) WHERE {}", of(3)), "cannot be read"),
            // The MAC of an end is none of a beginning.
            ("INSERT INTO audit_beginnings (chain, seq, hash, mac, month) SELECT chain, seq, hash, mac, month FROM audit_chains".to_owned(), "beginning does not match its MAC"),
            (swap(2, 3), "does not match its hash"),
        ];
        for (statement, flaw) in tampers {
            let statement = statement.as_str();
            let town = Town::new(engine);
            let root = town.root();
            town.sql("CREATE TABLE old AS SELECT * FROM audit_chains");
            let body = json!({"username": "ann", "email": "ann@example.com"});
            root.with("x-correlation-id", "mark-0").post("/api/v1/users", &body).expect(201);
            for number in 1..6 {
                root.with("x-correlation-id", &format!("mark-{number}")).get("/api/v1/users/me").expect(200);
            }
            town.usher(&["audit", "verify"]).expect(0);
            town.sql(statement);
            let found = town.usher(&["audit", "verify"]).expect(1);
            assert!(found.err.contains(flaw) && found.err.contains("chain"), "{statement}: {found:?}");
            assert!(found.err.contains("at event"), "{statement}: {found:?}");
            assert_eq!(found.err.lines().count(), 1, "{found:?}");
        }
    }
}

both! {
    /// Whoever reads the trail with SQL finds a row for each event, with what HTTP tells of it.
    fn the_trail_can_be_read_with_sql(engine) {
        let town = Town::new(engine);
        let root = town.root();
        root.with("x-correlation-id", "mark-1").post("/api/v1/users", &json!({"username": "ann", "email": "ann@example.com"})).expect(201);
        root.with("x-correlation-id", "mark-2").get("/api/v1/users/me").expect(200);
        let columns = ["cid", "action", "outcome", "reason", "actor_type", "actor", "actor_session", "subject", "application", "remote_addr",
            "traceparent", "changes", "changes_salt", "changes_digest", "view", "shown_digest", "basis", "hash"];
        for cid in ["mark-1", "mark-2"] {
            let event = events(&root, &format!("cid={cid}")).remove(0);
            let whole = columns.iter().map(|column| format!("coalesce({column}, '-')")).collect::<Vec<_>>().join(" || ' ' || ");
            let lines = town.lines(&format!("SELECT chain || '.' || seq || ' ' || {whole} AS line FROM audit_events WHERE cid = '{cid}'"));
            let told = columns.iter().map(|column| match &event[*column] {
                Value::Null => "-".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            let told = std::iter::once(event["event_id"].as_str().unwrap().to_owned()).chain(told).collect::<Vec<_>>().join(" ");
            assert_eq!(lines, [told]);
        }
    }

    /// Where the settings say so, looking at oneself is answered before its event is durable; the event comes all the same, also where the
    /// service is stopped at once. What does not succeed waits for its event as ever.
    fn own_reads_may_be_answered_a_moment_before(engine) {
        let town = Town::on(Site::new(engine).with("audit.own_reads", "\"buffered\""));
        let (ann, anon) = (town.user("ann"), town.anon());
        for number in 0..200 {
            ann.with("x-correlation-id", &format!("read-{number}")).get("/api/v1/users/me").expect(200);
        }
        anon.with("x-correlation-id", "refused").get("/api/v1/users/me").expect(401);
        assert_eq!(town.count("SELECT count(*) AS count FROM audit_events WHERE cid = 'refused'"), 1);
        let town = town.restart();
        assert_eq!(town.count("SELECT count(*) AS count FROM audit_events WHERE cid LIKE 'read-%'"), 200);
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// The trail is kept as long as the settings say: what is older is dropped by whole months, the event that tells so says up to where,
    /// and what is left verifies by itself. Another beginning than the signed one does not.
    fn what_is_older_than_the_trail_is_kept_is_dropped(engine) {
        let town = Town::on(Site::new(engine).with("audit.keep_months", "2"));
        let root = town.root();
        let left = |town: &Town, table: &str| {
            let gone = town.count("SELECT count(*) AS count FROM audit_beginnings");
            let kept = format!("SELECT count(*) AS count FROM {table} x LEFT JOIN audit_beginnings b ON b.chain = x.chain WHERE b.chain IS NULL OR x.seq <= b.seq");
            if gone == 0 { 1 } else { town.count(&kept) }
        };
        let look = |cid: &str| { town.root().with("x-correlation-id", cid).get("/api/v1/users/me").expect(200); };
        root.with("x-correlation-id", "old-0").post("/api/v1/users", &json!({"username": "ann", "email": "ann@example.com"})).expect(201);
        for number in 1..20 {
            look(&format!("old-{number}"));
        }
        let cids = |query: &str| events(&town.root(), query).len();
        let month = Duration::from_secs(31 * 24 * 3600);
        town.advance(month);
        look("later");
        town.usher(&["audit", "verify"]).expect(0);
        assert_eq!(cids("cid=old-7"), 1);
        town.advance(2 * month);
        look("now");
        // Rounds are gone each minute, the first one at the start.
        let town = town.restart();
        let cids = |query: &str| events(&town.root(), query).len();
        wait_until("what is older is dropped", || left(&town, "audit_events") == 0 && cids("action=audit.expire") == 1);
        assert_eq!((cids("cid=old-0"), cids("cid=old-7"), cids("cid=later"), cids("cid=now")), (0, 0, 1, 1));
        let told = events(&town.root(), "action=audit.expire");
        assert_eq!((told.len(), &told[0]["actor_type"], &told[0]["outcome"]), (1, &json!("system"), &json!("success")), "{told:?}");
        assert_eq!((left(&town, "audit_changes"), left(&town, "audit_index")), (0, 0));
        assert_eq!(town.usher(&["audit", "verify", "--json"]).expect(0).json()["sound"], true);
        town.usher(&["audit", "export"]).expect(0);
        town.sql("UPDATE audit_beginnings SET seq = seq + 1");
        assert!(town.usher(&["audit", "verify"]).expect(1).err.contains("beginning does not match its MAC"));
        town.sql("DELETE FROM audit_beginnings");
        assert!(town.usher(&["audit", "verify"]).expect(1).err.contains("is missing"));
    }
}

/// What the trail's index has of a correlation id: the beginning of a hash.
fn key_of(cid: &str) -> [u8; 8] {
    *Sha256::new().chain_update(b"cid\0").chain_update(cid).finalize().first_chunk().unwrap()
}

/// Waits until every event so far is in the index.
fn wait_for_the_index(town: &Town) {
    while town
        .count("SELECT CAST(sum(c.seq - i.seq) AS bigint) AS count FROM audit_chains c JOIN audit_indexed i ON i.chain = c.chain")
        > 0
    {}
}

both! {
    /// An event is found from the moment on at which its call is answered, in the index or not yet in it, and once.
    fn the_index_is_a_moment_behind_and_nobody_notices(engine) {
        let town = Town::new(engine);
        let (ann, root) = (town.user("ann"), town.root());
        for number in 0..40 {
            let cid = format!("seen-{number}");
            ann.with("x-correlation-id", &cid).get("/api/v1/users/me").expect(200);
            assert_eq!(events(&root, &format!("cid={cid}")).len(), 1);
            assert_eq!(events(&root, &format!("actor={}&limit=500", ann.id())).len(), number + 2);
        }
        wait_for_the_index(&town);
        for number in 0..40 {
            assert_eq!(events(&root, &format!("cid=seen-{number}")).len(), 1);
        }
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// Entries that are there already do not stop those that are not.
    fn an_index_that_was_set_back_catches_up(engine) {
        let town = Town::new(engine);
        let look = |cid: &str| { town.root().with("x-correlation-id", cid).get("/api/v1/users/me").expect(200); };
        look("before");
        wait_for_the_index(&town);
        town.sql("UPDATE audit_indexed SET seq = 0");
        look("after");
        wait_for_the_index(&town);
        town.usher(&["audit", "verify"]).expect(0);
        assert_eq!(["before", "after"].map(|cid| events(&town.root(), &format!("cid={cid}")).len()), [1, 1]);
    }

    /// S46: an index that hides an event, or has one that there is not, is found as well, and the place is named.
    fn the_index_is_held_against_the_events(engine) {
        let key = i64::from_be_bytes(key_of("hide-me"));
        let tampers = [
            (format!("DELETE FROM audit_index WHERE key = {key}"), "does not lead to the event"),
            (format!("UPDATE audit_index SET key = key + 1 WHERE key = {key}"), "does not lead to the event"),
            (format!("UPDATE audit_index SET micros = micros + 1 WHERE key = {key}"), "does not lead to the event"),
            (format!("INSERT INTO audit_index SELECT key + 1, micros, chain, seq, month FROM audit_index WHERE key = {key}"), "that no event has"),
            ("UPDATE audit_indexed SET seq = seq - 1 WHERE seq > 0".to_owned(), "that is not in it yet"),
            ("UPDATE audit_indexed SET seq = seq + 1 WHERE seq > 0".to_owned(), "does not lead to the event"),
            ("UPDATE audit_indexed SET seq = seq + 9".to_owned(), "beyond the chain's head"),
            ("DELETE FROM audit_indexed".to_owned(), "is not known any more"),
        ];
        for (statement, flaw) in tampers {
            let town = Town::new(engine);
            let root = town.root();
            for number in 0..4 {
                root.with("x-correlation-id", &format!("mark-{number}")).get("/api/v1/users/me").expect(200);
            }
            root.with("x-correlation-id", "hide-me").get("/api/v1/users/me").expect(200);
            wait_for_the_index(&town);
            // Nothing may take the trail into its index once it has been altered.
            let town = town.halt();
            let verify = || crate::harness::process::usher(&town, &["audit", "verify"], "");
            verify().expect(0);
            town.sql(&statement);
            let found = verify().expect(1);
            assert!(found.err.contains(flaw) && found.err.contains("at event"), "{statement}: {found:?}");
        }
    }
}

/// S46: an end of a chain that somebody holds and does not let go of, as a node does that hangs, keeps nobody waiting: there are others.
#[test]
fn a_chain_that_is_held_is_passed_over() {
    use diesel::connection::SimpleConnection as _;
    use diesel::{Connection as _, PgConnection};
    if !postgres::is_there() {
        return;
    }
    let town = Town::new(Engine::Postgres);
    let (ann, root) = (town.user("ann"), town.root());
    let mut other = PgConnection::establish(&town.site.url).unwrap();
    for (chains, name) in [("chain = 1", "one"), ("chain < 4", "three")] {
        other.batch_execute(&format!("BEGIN; SELECT 1 FROM audit_chains WHERE {chains} ORDER BY chain FOR UPDATE")).unwrap();
        for round in 0..5 {
            // Whoever waited for it would be given up after 0.9 s and told so.
            ann.get("/api/v1/users/me").expect(200);
            root.post("/api/v1/users", &json!({"username": format!("{name}-{round}")})).expect(201);
        }
        other.batch_execute("COMMIT").unwrap();
    }
    town.usher(&["audit", "verify"]).expect(0);
}

/// One byte flipped anywhere in the file where the trail lies is found: in an event, and in what the index says of it.
#[test]
fn a_flipped_byte_in_the_file_is_found() {
    let site = Site::new(Engine::Sqlite);
    let town = Town::on(site);
    let root = town.root();
    for number in 0..5 {
        root.with("x-correlation-id", &format!("flip-me-{number}")).get("/api/v1/users/me").expect(200);
    }
    wait_for_the_index(&town);
    town.usher(&["audit", "verify"]).expect(0);
    // Nothing may be left in the write-ahead log, which belongs to the file as much.
    town.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    let Town { site: Site { folder, .. }, .. } = &town;
    let sound = fs::read(folder.path().join("usher.db")).unwrap();
    let keys = fs::read(folder.path().join("usher.keys")).unwrap();
    let places = |needle: &[u8]| -> Vec<usize> {
        (0..sound.len() - needle.len()).filter(|at| sound[*at..].starts_with(needle)).map(|at| at + needle.len() - 1).collect()
    };
    let (in_events, in_index) = (places(b"flip-me-3"), places(&key_of("flip-me-3")));
    assert!(!in_events.is_empty() && !in_index.is_empty(), "the event and its index entry");
    for at in in_events.into_iter().chain(in_index) {
        let copy = Site::new(Engine::Sqlite);
        let mut flipped = sound.clone();
        flipped[at] ^= 1;
        fs::write(copy.file(), flipped).unwrap();
        fs::write(copy.keys(), &keys).unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(copy.keys(), fs::Permissions::from_mode(0o600)).unwrap();
        let found = crate::harness::process::usher(&copy, &["audit", "verify"], "").expect(1);
        assert!(found.err.contains("chain 1 at event"), "{found:?}");
    }
}
