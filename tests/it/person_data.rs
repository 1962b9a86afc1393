//! Everything that is kept of one person: what a super-user sees of it, what the person sees, and that it can be erased.

use crate::both;
use crate::bulk::{HASH, PHRASE, import};
use crate::harness::{Engine, PASSWORD, Town, process};
use crate::matrix::{OWNER, SUPER_USER};
use serde_json::{Value, json};
use std::time::Duration;

const ME: &str = "/api/v1/users/me";
const OWN: &str = "/api/v1/users/me/data";

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn actions(data: &Value) -> Vec<&str> {
    data["audit_events"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect()
}

/// Who was deleted is found nowhere in the file, not in what is free in it either.
#[test]
fn nothing_is_left_in_the_file() {
    let town = Town::new(Engine::Sqlite);
    let root = town.root();
    let ann = json!({"username": "quaggaxylo", "last_name": "Quaggaxylo", "remark": "quaggaxylo ".repeat(350), "email": "quaggaxylo@example.com"});
    let id = root.post("/api/v1/users", &ann).expect(201).json["user_id"].as_str().unwrap().to_owned();
    let attribute = format!("/api/v1/users/{id}/attributes/song");
    root.put(&attribute, &json!({"value": "quaggaxylo ".repeat(500)})).expect(201);
    root.patch(&format!("/api/v1/users/{id}"), &json!({"remark": "quaggaxylo, the second"})).expect(200);
    root.delete(&format!("/api/v1/users/{id}")).expect(204);
    let site = town.halt();
    // The last one to close the file takes the log of writes into it.
    process::usher(&site, &["audit", "verify"], "").expect(0);
    let bytes = std::fs::read(site.url.strip_prefix("sqlite:").unwrap()).unwrap();
    assert_eq!(bytes.windows(10).filter(|window| window.eq_ignore_ascii_case(b"quaggaxylo")).count(), 0);
}

both! {
    /// What acts as a person is kept of the person as well: API keys and linked accounts, without what opens them.
    fn what_acts_as_the_person(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let of_ann = ["--user", "ann"];
        let key = town.usher(&[&["key", "create", "nightly", "--json"], &of_ann[..]].concat()).expect(0).json();
        process::usher(&town.site, &[&["linked", "create", "script", "--password-stdin"], &of_ann[..]].concat(), PASSWORD).expect(0);
        for answer in [ann.get(OWN).expect(200), town.root().get(&format!("/api/v1/users/{}/data", ann.id())).expect(200)] {
            let data = &answer.json;
            assert_eq!((&data["api_keys"][0]["key_id"], &data["api_keys"][0]["name"]), (&key["key_id"], &json!("nightly")));
            assert_eq!((&data["linked_accounts"][0]["name"], &data["linked_accounts"][0]["user_id"]), (&json!("script"), &json!(ann.id())));
            assert!(!answer.text.contains("$argon2") && !answer.text.contains(key["key"].as_str().unwrap()), "{}", answer.text);
        }
    }

    /// Who looked at a person in vain is nobody's business but the trail's: when and what is told, not who and from where. Guesses at the
    /// password are the owner's business. The event keeps its subject for super-users.
    fn who_looked_in_vain_is_not_told(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let before = ann.get(OWN).expect(200).json["audit_events"].as_array().unwrap().len();
        let (of_ann, groups) = (format!("/api/v1/users/{}", ann.id()), format!("/api/v1/users/{}/sessions", ann.id()));
        let root = town.root();
        root.delete("/api/v1/sessions/current").expect(204);
        for (number, path) in [&of_ann, &groups].into_iter().enumerate() {
            root.with("x-correlation-id", &format!("in-vain-{number}")).get(path).expect(401);
        }
        root.with("x-correlation-id", "in-vain-2").patch(&of_ann, &json!({"remark": "x"})).expect(401);
        town.anon().post("/api/v1/sessions", &json!({"username": "ann", "password": "a wrong one"})).expect(401);
        town.anon().post("/api/v1/sessions", &json!({"username": "ann", "password": PASSWORD})).expect(201);
        let events = ann.get(OWN).expect(200).json["audit_events"].as_array().unwrap().clone();
        let mut in_vain = 0;
        for event in &events[before..] {
            let told = ["reason", "cid", "application", "remote_addr"].map(|name| !event[name].is_null());
            match (event["actor_type"].as_str().unwrap(), event["action"].as_str().unwrap()) {
                ("anonymous", "session.sign_in") => assert_eq!((told, &event["reason"]), ([true; 4], &json!("password_wrong")), "{event}"),
                ("anonymous", _) => {
                    in_vain += 1;
                    assert_eq!((told, &event["outcome"]), ([false; 4], &json!("refused")), "{event}");
                }
                _ => {}
            }
        }
        assert_eq!(in_vain, 3, "{events:?}");
        let found = town.root().get("/api/v1/audit-events?cid=in-vain-0").expect(200).json["items"][0].clone();
        assert_eq!((&found["subject"], &found["reason"]), (&json!(ann.id()), &json!("session_unknown")));
    }

    /// One document has it all: the view, groups, live sessions, and the events on and by the person, each once, oldest first.
    fn one_document(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let told = import(&root, &[json!({"external_id": "a", "username": "ann", "password_hash": HASH, "groups": ["staff"], "remark": "hidden remark"})]);
        let id = told.rows[0]["user_id"].as_str().unwrap();
        town.advance(Duration::from_secs(1));
        let ann = town.anon().sign_in("ann", PHRASE);
        town.anon().try_sign_in("ann", PASSWORD).refused(401, "credentials_invalid");
        town.advance(Duration::from_secs(1));
        ann.patch(ME, &json!({"first_name": "Ann"})).expect(200);
        root.patch(&format!("/api/v1/users/{id}"), &json!({"remark": "other remark", "last_name": "Lee"})).expect(200);
        ann.get(&format!("/api/v1/users/{}", town.root_id)).refused(403, "forbidden");
        ann.put("/api/v1/users/me/attributes", &json!({"attributes": {"colour": {"value": "red"}, "pin": {"value": [1], "encrypted": true}}})).expect(200);
        town.advance(Duration::from_secs(1));

        let answer = root.get(&format!("/api/v1/users/{id}/data")).expect(200);
        assert_eq!(answer.headers["content-type"], "application/json");
        let data = answer.json;
        assert_eq!(keys(&data), ["user", "groups", "sessions", "api_keys", "linked_accounts", "attributes", "audit_events"]);
        assert_eq!(keys(&data["user"]), SUPER_USER);
        assert_eq!((&data["groups"][0]["name"], &data["sessions"][0]["session_id"]), (&json!("staff"), &json!(ann.session_id)));
        let all = ["user.create", "session.sign_in", "session.sign_in", "user.update_current", "user.update", "user.read", "user.set_attributes", "user.read_data"];
        assert_eq!(actions(&data), all);
        let kept = |data: &Value| [0, 1].map(|at| (data["attributes"][at]["name"].clone(), data["attributes"][at]["value"].clone()));
        assert_eq!(kept(&data), [(json!("colour"), json!("red")), (json!("pin"), json!([1]))]);
        let events = data["audit_events"].as_array().unwrap();
        assert!(events.iter().all(|e| e["hash"].is_string() && (e["subject"] == id || e["actor"] == id)), "{data}");
        assert_eq!(events[4]["changes"]["remark"], json!({"before": "hidden remark", "after": "other remark"}));

        // S28, R2: the person sees of it what the person may see, and nothing that hidden values could be guessed by.
        let answer = ann.get(OWN).expect(200);
        let data = &answer.json;
        assert_eq!(keys(&data["user"]), OWNER);
        assert_eq!((&data["groups"][0]["name"], &data["sessions"][0]["is_current"]), (&json!("staff"), &json!(true)));
        assert_eq!(kept(data)[1], (json!("pin"), json!([1])));
        assert_eq!(actions(data), [&all[..], &["user.read_current_data"]].concat());
        for hidden in ["remark", town.root_id.as_str(), "hash", "salt", "digest", "external_id", "administrator"] {
            assert!(!answer.text.contains(hidden), "{hidden}: {}", answer.text);
        }
        let events = data["audit_events"].as_array().unwrap();
        let own = ["time", "action", "outcome", "actor_type", "is_own", "reason", "cid", "application", "remote_addr", "view", "changes"];
        assert!(events.iter().all(|e| keys(e) == own));
        assert_eq!((&events[2]["reason"], &events[2]["remote_addr"], &events[2]["is_own"]), (&json!("password_wrong"), &json!("127.0.0.1"), &json!(false)));
        assert_eq!(events[3]["changes"], json!({"first_name": {"before": null, "after": "Ann"}}));
        assert_eq!((&events[4]["changes"], &events[4]["remote_addr"], &events[4]["cid"]), (&json!({"last_name": {"before": null, "after": "Lee"}}), &Value::Null, &Value::Null));
        assert_eq!((&events[5]["outcome"], &events[5]["is_own"]), (&json!("refused"), &json!(true)));
        // By the command line it is the super-user's document; its clock is behind this town's, so it has the events of its own time.
        let printed = town.usher(&["user", "export", "--user", "ann"]).expect(0).json();
        assert_eq!((keys(&printed["user"]), actions(&printed)), (SUPER_USER.to_vec(), vec!["user.read_data"]));
        town.usher(&["user", "export", "--user", "nobody"]).expect(1).complaint();
        root.get("/api/v1/users/018f0000-0000-7000-8000-000000000000/data").refused(404, "not_found");
        assert_eq!(keys(&root.get(OWN).json["user"]), SUPER_USER);

        // Erased, nothing is left that was imported, either.
        root.delete(&format!("/api/v1/users/{id}")).expect(204);
        root.get(&format!("/api/v1/users/{id}/data")).refused(404, "not_found");
        let trail = town.usher(&["audit", "export"]).expect(0).out;
        assert!(trail.contains(id) && !trail.contains("remark") && !trail.contains("Lee"));
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// Many events come in pages, in one order and without repetition.
    fn many_events(engine) {
        let town = Town::new(engine);
        let (root, ann) = (town.root(), town.user("ann"));
        for round in 0..520 {
            if round % 3 == 0 {
                root.get(&format!("/api/v1/users/{}", ann.id())).expect(200);
            } else {
                ann.get("/api/v1/views").expect(200);
            }
            if round % 7 == 0 {
                town.advance(Duration::from_millis(1));
            }
        }
        let data = root.get(&format!("/api/v1/users/{}/data", ann.id())).expect(200).json;
        let events = data["audit_events"].as_array().unwrap();
        let ids: Vec<&str> = events.iter().map(|e| e["event_id"].as_str().unwrap()).collect();
        let distinct: std::collections::BTreeSet<&&str> = ids.iter().collect();
        assert_eq!((ids.len(), distinct.len()), (523, 523));
        let times: Vec<&str> = events.iter().map(|e| e["time"].as_str().unwrap()).collect();
        let parsed: Vec<_> = times.iter().map(|t| usher::domain::time::Utc::parse(t).unwrap()).collect();
        assert!(parsed.is_sorted());
    }
}
