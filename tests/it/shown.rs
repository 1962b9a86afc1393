//! Whom answers show, and by which view (S52): by person, over many, in pieces, and held by the chain. That every route tells is held by the
//! matrices.

use crate::both;
use crate::harness::{Client, Engine, Town, wait_until};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

fn events(root: &Client, query: &str) -> Vec<Value> {
    root.get(&format!("/api/v1/audit-events?{query}")).expect(200).json["items"].as_array().unwrap().clone()
}

/// The event of a call, by its correlation id.
fn event(root: &Client, cid: &str) -> Value {
    let found = events(root, &format!("cid={cid}"));
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

fn rows(town: &Town) -> i64 {
    town.count("SELECT count(*) AS count FROM audit_shown")
}

/// Until every event is in the index.
fn indexed(town: &Town) {
    let behind =
        "SELECT CAST(sum(c.seq - i.seq) AS bigint) AS count FROM audit_chains c JOIN audit_indexed i ON i.chain = c.chain";
    wait_until("the index", || town.count(behind) == 0);
}

both! {
    /// S52: a list names whom it showed, a count nobody, a refusal nobody; who looks at one person leaves no row, for the event says so.
    fn lists_counts_and_looks(engine) {
        let town = Town::new(engine);
        let (ann, bob, root) = (town.user("ann"), town.create("bob"), town.root());
        let all: BTreeSet<String> = [ann.id().to_owned(), bob.clone(), town.root_id.clone()].into_iter().collect();
        let call = |client: &Client, cid: &str, path: &str| client.with("x-correlation-id", cid).get(path);
        let before = rows(&town);
        call(&ann, "me", "/api/v1/users/me").expect(200);
        call(&root, "by-id", &format!("/api/v1/users/{bob}")).expect(200);
        call(&root, "count", "/api/v1/users/count").expect(200);
        call(&ann, "refused", "/api/v1/users").expect(403);
        assert_eq!(rows(&town), before);
        call(&root, "list", "/api/v1/users").expect(200);
        assert_eq!(rows(&town), before + 1);
        let told = |cid: &str| { let event = event(&root, cid); (event["view"].clone(), event["shown"].clone(), event["shown_digest"].is_null()) };
        assert_eq!(told("me"), (json!("owner"), Value::Null, true));
        assert_eq!(told("by-id"), (json!("super_user"), Value::Null, true));
        assert_eq!(told("count"), (json!("super_user"), Value::Null, true));
        assert_eq!(told("refused"), (Value::Null, Value::Null, true));
        let list = event(&root, "list");
        let shown: BTreeSet<String> = list["shown"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
        assert_eq!((shown, &list["view"], &list["subject"]), (all.clone(), &json!("super_user"), &Value::Null));
        // The digest is of the ids' bytes, sorted.
        let bytes: Vec<u8> = all.iter().flat_map(|id| (0..16).map(|at| { let digits = id.replace('-', ""); u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).unwrap() })).collect();
        let digest: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(list["shown_digest"], digest.as_str());
        // Who saw Ann: at once, and once the index has it.
        let saw_ann = || -> BTreeSet<String> { events(&root, &format!("subject={}&limit=500", ann.id())).iter().map(|e| e["cid"].as_str().unwrap().to_owned()).collect() };
        for _ in 0..2 {
            let found = saw_ann();
            assert!(found.contains("list") && found.contains("me") && !found.contains("count") && !found.contains("by-id"), "{found:?}");
            assert!(events(&root, &format!("subject={bob}&actor={}", town.root_id)).iter().any(|e| e["cid"] == "by-id"));
            indexed(&town);
        }
        let found = town.usher(&["audit", "show", "--subject", ann.id(), "--json"]).expect(0).json();
        assert!(found["items"].as_array().unwrap().iter().any(|e| e["cid"] == "list"));
        // Ann's own data says that she was looked at, when and by which view; not by whom.
        let own = ann.get("/api/v1/users/me/data").expect(200).json;
        let looked = own["audit_events"].as_array().unwrap().iter().find(|e| e["action"] == "user.list" && e["is_own"] == false).cloned().unwrap();
        assert_eq!((&looked["view"], &looked["cid"], &looked["remote_addr"], &looked["is_own"]), (&json!("super_user"), &Value::Null, &Value::Null, &json!(false)));
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// S52: the trail's own answers show who acted and on whom, an export tells whom before it goes out, an import whom it found unchanged.
    fn the_trail_exports_and_imports(engine) {
        let town = Town::new(engine);
        let (ann, root) = (town.user("ann"), town.root());
        let row = json!({"username": "carl", "external_id": "c-1"}).to_string();
        let import = root.with("content-type", "application/x-ndjson");
        import.call("POST", "/api/v1/users/import", Some(row.clone())).expect(200);
        let carl = root.get("/api/v1/users?username=carl").expect(200).json["items"][0]["user_id"].as_str().unwrap().to_owned();
        import.with("x-correlation-id", "again").call("POST", "/api/v1/users/import", Some(row)).expect(200);
        root.with("x-correlation-id", "export").get("/api/v1/users/export").expect(200);
        root.with("x-correlation-id", "trail").get(&format!("/api/v1/audit-events?actor={}", ann.id())).expect(200);
        let of = |person: &str, cid: &str| events(&root, &format!("subject={person}&cid={cid}"));
        for person in [ann.id(), carl.as_str()] {
            assert_eq!(of(person, "export").len(), 1);
        }
        let again = of(&carl, "again");
        assert_eq!((again.len(), &again[0]["action"], &again[0]["view"]), (1, &json!("user.import"), &json!("super_user")));
        assert!(of(ann.id(), "again").is_empty());
        assert_eq!((of(ann.id(), "trail").len(), of(&carl, "trail").len()), (1, 0));
        // So do commands, for people who read what they print and for programs.
        for arguments in [&["user", "list"][..], &["user", "list", "--json"], &["user", "export"], &["audit", "export"], &["session", "list"]] {
            let before = events(&root, &format!("subject={}&limit=500", ann.id())).len();
            town.usher(arguments).expect(0);
            let after = events(&root, &format!("subject={}&limit=500", ann.id()));
            // The questions of this test are of that person as well.
            assert!(after.iter().filter(|e| e["actor_type"] == "operator" && e["view"] == "super_user").count() > 0, "{arguments:?}");
            assert!(after.len() > before, "{arguments:?}");
        }
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// S46, S52: what is done to whom answers showed is found, and the place is named.
    fn tampering_with_whom_was_shown_is_found(engine) {
        let town = Town::new(engine);
        let root = town.root();
        town.create("ann");
        for _ in 0..2 {
            root.get("/api/v1/users").expect(200);
        }
        indexed(&town);
        town.usher(&["audit", "verify"]).expect(0);
        let flip = match engine {
            Engine::Sqlite => "UPDATE audit_shown SET shown = CAST(substr(shown, 1, 15) || x'00' || substr(shown, 17) AS BLOB)",
            Engine::Postgres => "UPDATE audit_shown SET shown = set_byte(shown, 15, (get_byte(shown, 15) + 1) % 256)",
        };
        let first = "(SELECT min(seq) FROM audit_shown s WHERE s.chain = audit_shown.chain)";
        for (statement, flaw) in [
            (flip.to_owned(), "does not match its digest"),
            (format!("DELETE FROM audit_shown WHERE seq = {first}"), "is missing"),
            ("INSERT INTO audit_shown SELECT month, chain, seq + 1000, shown FROM audit_shown".to_owned(), "persons shown that no event has"),
            ("UPDATE audit_shown SET seq = seq + 1000".to_owned(), "is missing"),
            ("UPDATE audit_shown SET chain = chain + 100".to_owned(), "is missing"),
            (format!("UPDATE audit_shown SET shown = {}", if engine == Engine::Sqlite { "CAST(shown || shown AS BLOB)" } else { "shown || shown" }), "does not match its digest"),
        ] {
            town.sql("CREATE TABLE kept AS SELECT * FROM audit_shown");
            town.sql(&statement);
            let found = town.usher(&["audit", "verify"]).expect(1);
            assert!(found.err.contains(flaw) && found.err.contains("at event"), "{statement}: {found:?}");
            town.sql("DELETE FROM audit_shown; INSERT INTO audit_shown SELECT * FROM kept; DROP TABLE kept");
            town.usher(&["audit", "verify"]).expect(0);
        }
    }
}

/// An export of more than 10,000 leaves an event for each so many, and each of them all is found.
#[test]
fn a_long_export_leaves_events() {
    let town = Town::new(Engine::Sqlite);
    let root = town.root();
    let rows: String =
        (0..10_050).map(|number| format!("{{\"username\":\"u{number}\",\"external_id\":\"x{number}\"}}\n")).collect();
    root.with("content-type", "application/x-ndjson").call("POST", "/api/v1/users/import", Some(rows)).expect(200);
    let export = root.with("x-correlation-id", "long").get("/api/v1/users/export").expect(200);
    assert_eq!(export.text.lines().count(), 10_051);
    let told = events(&root, "cid=long");
    let counts: Vec<usize> = told.iter().map(|event| event["shown"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [10_000, 51]);
    let of_last = told[1]["shown"][50].as_str().unwrap().to_owned();
    assert_eq!(events(&root, &format!("subject={of_last}&cid=long")).len(), 1);
    assert!(export.text.contains(&of_last));
}
