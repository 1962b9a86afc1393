//! The trail and the database as a later build leaves them (S53): words, fields and rows that this one does not know are read as they are.

use crate::both;
use crate::harness::{Client, Engine, Town, process, wait_until};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::process::Command;
use usher::auth::keys::Keys;
use usher::domain::audit::{End, Head, Side};

/// Appends an event to the first chain, as a program that knows more words would: its array, signed with the key file's key.
fn append(town: &Town, event: &[Value]) {
    let hex = |engine, column: &str| match engine {
        Engine::Sqlite => format!("lower(hex({column}))"),
        Engine::Postgres => format!("encode({column}, 'hex')"),
    };
    let engine = town.site.engine;
    let row = town.lines(&format!(
        "SELECT seq || ' ' || month || ' ' || {} AS line FROM audit_chains WHERE chain = 1",
        hex(engine, "hash")
    ));
    let parts: Vec<&str> = row[0].split(' ').collect();
    let (seq, month): (i64, i64) = (parts[0].parse::<i64>().unwrap() + 1, parts[1].parse().unwrap());
    let unhex = |text: &str| -> Vec<u8> {
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap()).collect()
    };
    // The chain's form, as docs/AUDIT.md tells it.
    let text = |value: &Value| value.as_str().map(|text| text.as_bytes().to_vec());
    let mut fields = vec![
        Some(1i64.to_be_bytes().to_vec()),
        Some(seq.to_be_bytes().to_vec()),
        Some(event[0].as_i64().unwrap().to_be_bytes().to_vec()),
    ];
    fields.extend(event[1..7].iter().map(text));
    fields.push(event[7].as_str().map(|id| unhex(&id.replace('-', ""))));
    fields.extend(event[8..12].iter().map(text));
    fields.push(event[12].as_str().map(unhex));
    let last = event.iter().rposition(|element| !element.is_null()).unwrap();
    fields.extend(event.get(13..=last).unwrap_or_default().iter().map(text));
    let mut canonical = Vec::new();
    for field in fields {
        match field {
            Some(field) => canonical.extend([(field.len() as u64).to_be_bytes().to_vec(), field].concat()),
            None => canonical.extend([0xff; 8]),
        }
    }
    let hash = Sha256::new().chain_update(unhex(parts[2])).chain_update(canonical).finalize().to_vec();
    let end = End { head: Head { chain: 1, seq, hash }, month };
    let key = Keys::load(&town.site.keys()).unwrap().audit;
    let bytes = |bytes: &[u8]| {
        let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        if engine == Engine::Sqlite { format!("x'{digits}'") } else { format!("'\\x{digits}'::bytea") }
    };
    let events = json!([event]).to_string().replace('\'', "''");
    let (hash, mac) = (bytes(&end.head.hash), bytes(&end.mac(Side::Head, &key)));
    town.sql(&format!(
        "UPDATE audit_chains SET seq = {seq}, hash = {hash}, mac = {mac} WHERE chain = 1; \
         INSERT INTO audit_batches (month, chain, last, events, hashes) VALUES ({month}, 1, {seq}, '{events}', {hash})"
    ));
}

fn one(root: &Client, query: &str) -> Value {
    let items = root.get(&format!("/api/v1/audit-events?{query}")).expect(200).json["items"].clone();
    assert_eq!(items.as_array().unwrap().len(), 1, "{query}: {items}");
    items[0].clone()
}

both! {
    /// S53: an event whose action, outcome, reason and kind of actor this program has no word for, and that has fields which it has no
    /// name for, is found by each filter, shown, exported, indexed and verified, and so is what comes after it.
    fn an_event_of_a_later_build_is_read_as_it_is(engine) {
        let town = Town::new(engine);
        let (ann, root) = (town.user("ann"), town.root());
        let micros = town.now().micros();
        let foreign = [
            json!(micros), json!("later-1"), json!("user.teleport"), json!("postponed"), json!("weather"), json!("robot"), json!("r2"),
            Value::Null, json!(ann.id()), json!("default"), json!("192.0.2.9"), Value::Null, Value::Null,
            json!("delegate"), Value::Null, json!("grant:7"), Value::Null, json!("what comes"), Value::Null,
        ];
        append(&town, &foreign);
        let mut bare = foreign[..13].to_vec();
        bare[1] = json!("later-2");
        append(&town, &bare);
        let check = |root: &Client| {
            for query in ["cid=later-1".to_owned(), format!("subject={}&action=user.teleport&from={}", ann.id(), town.now())] {
                let items = root.get(&format!("/api/v1/audit-events?{query}")).expect(200).json["items"].clone();
                let event = items.as_array().unwrap().iter().find(|event| event["cid"] == "later-1").unwrap().clone();
                let told = ["action", "outcome", "reason", "actor_type", "actor", "view", "shown_digest", "basis"].map(|name| event[name].clone());
                assert_eq!(json!(told), json!(["user.teleport", "postponed", "weather", "robot", "r2", "delegate", null, "grant:7"]));
                assert_eq!(event["more"], json!([null, "what comes"]));
            }
            assert_eq!(one(root, "cid=later-2")["more"], Value::Null);
        };
        check(&root);
        wait_until("the index", || town.count("SELECT CAST(sum(c.seq - i.seq) AS bigint) AS count FROM audit_chains c JOIN audit_indexed i ON i.chain = c.chain") == 0);
        check(&root);
        root.with("x-correlation-id", "after").get("/api/v1/users/me").expect(200);
        town.usher(&["audit", "verify"]).expect(0);
        assert!(town.usher(&["audit", "show", "--cid", "later-1"]).expect(0).out.contains("user.teleport"));
        // Oneself, too.
        let own = ann.get("/api/v1/users/me/data").expect(200).json;
        let teleports = own["audit_events"].as_array().unwrap().iter().filter(|event| event["action"] == "user.teleport");
        assert_eq!(teleports.count(), 2);
        // And the program of the documentation, where there is a Python for it.
        let export = town.usher(&["audit", "export"]).expect(0).out;
        assert!(export.contains("user.teleport"));
        if Command::new("python3").arg("--version").output().is_ok_and(|ran| ran.status.success()) {
            let manual = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/AUDIT.md")).unwrap();
            let program = manual.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
            let verify = |export: &str| {
                let mut command = Command::new("python3");
                command.args(["-c", program]);
                process::run(command, export)
            };
            verify(&export).expect(0);
            for (what, with) in [("\"grant:7\"", "\"grant:8\""), ("\"what comes\"", "\"what came\""), ("\"view\":\"delegate\"", "\"view\":null")] {
                assert!(export.contains(what), "{what}");
                assert!(verify(&export.replacen(what, with, 1)).expect(1).err.contains("does not match its hash"));
            }
        }
        // Fields are held by the chain like all others.
        town.sql("UPDATE audit_batches SET events = replace(events, 'what comes', 'what came')");
        assert!(town.usher(&["audit", "verify"]).expect(1).err.contains("does not match its hash"));
    }

    /// S53: what is stored is read as it is. Names by other rules and words of another build are shown, sign in where that is nothing new to
    /// them, and give no right; a list that has one of them is answered.
    fn rows_of_a_later_build_are_read_as_they_are(engine) {
        let town = Town::new(engine);
        let (ann, root) = (town.user("ann"), town.root());
        let path = format!("/api/v1/users/{}", ann.id());
        let id = ann.id().to_owned();
        let of_ann = |set: &str| match engine {
            Engine::Sqlite => format!("UPDATE users SET {set} WHERE user_id = x'{}'", id.replace('-', "")),
            Engine::Postgres => format!("UPDATE users SET {set} WHERE user_id = '{id}'"),
        };
        for (column, value) in [
            ("username", "ann\u{2800}\u{a0} x"), ("login_name", "an\u{202e}n"), ("first_name", "a\u{200b}b"), ("remark", "x\u{7}y"),
            ("email", "no address"), ("lock_cause", "weather"),
        ] {
            town.sql_with_key(&of_ann(&format!("{column} = '{value}'")));
            assert_eq!(root.get(&path).expect(200).json[column], value);
            root.get("/api/v1/users").expect(200);
        }
        ann.get("/api/v1/users/me").expect(200);
        // A role that is not known is none that an application lists, and none of super-users.
        town.sql_with_key(&of_ann("user_role = 'curator'"));
        let me = ann.get("/api/v1/users/me").expect(200).json;
        assert_eq!(me["user_role"], "curator");
        ann.get("/api/v1/users").expect(403);
        for (column, value) in [("sign_up_status", "halfway"), ("approval_status", "perhaps")] {
            town.sql_with_key(&of_ann(&format!("{column} = '{value}'")));
            ann.get("/api/v1/users/me").refused(401, "session_invalid");
            assert_eq!(root.get(&path).expect(200).json[column], value);
        }
        // What comes in is judged.
        root.patch(&path, &json!({"user_role": "curator"})).expect(422);
        root.patch(&path, &json!({"first_name": "a\u{200b}b"})).expect(422);
        // Applications, keys, hooks, messages.
        let application = json!({"name": "desk"});
        let desk = root.post("/api/v1/applications", &application).expect(201).json["application_id"].as_str().unwrap().to_owned();
        let hook = json!({"name": "hook", "url": "https://hooks.example/x", "event_types": ["user.created"]});
        root.post("/api/v1/hooks", &hook).expect(201);
        town.sql("UPDATE applications SET session_scope = 'some-sessions', access = 'by-lot', allowed_roles = 'curator,viewer', allowed_networks = 'elsewhere' WHERE name = 'desk'");
        town.sql("UPDATE hooks SET url = 'gopher://hooks.example/', event_types = 'user.created user.teleported'");
        let shown = root.get(&format!("/api/v1/applications/{desk}")).expect(200).json;
        let told = ["session_scope", "access", "allowed_roles", "allowed_networks"].map(|name| shown[name].clone());
        assert_eq!(json!(told), json!(["some-sessions", "by-lot", ["viewer", "curator"], ["elsewhere"]]));
        assert_eq!(root.get("/api/v1/hooks").expect(200).json["items"][0]["event_types"], json!(["user.created", "user.teleported"]));
        assert_eq!(town.anon().with("x-current-app", "desk").get("/api/v1/users/me").status, 401);
        town.anon().with("x-current-app", "desk").post("/api/v1/sessions", &json!({"username": "root", "password": crate::harness::PASSWORD})).refused(401, "application_not_allowed");
    }
}
