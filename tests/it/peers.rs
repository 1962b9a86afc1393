//! What went wrong elsewhere, as cases for this code: those of the security bar's R lines, and statements that no other file is about.

use crate::both;
use crate::faults::furnished;
use crate::harness::process::Process;
use crate::harness::{Client, Engine, PASSWORD, ROOT, Site, Town, at_once};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const ME: &str = "/api/v1/users/me";
const SESSIONS: &str = "/api/v1/sessions";

both! {
    /// R3: every path with a user's id in it is a super-user's; there is no preview, evaluation or helper that takes one from anyone else.
    fn every_path_with_a_users_id_is_a_super_users(engine) {
        let town = Town::new(engine);
        let (ann, bob) = (town.user("ann"), town.user("bob"));
        let document = town.anon().get("/openapi.json").expect(200).json;
        let mut paths = 0;
        for (path, operations) in document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.contains("{user_id}")) {
            for (method, operation) in operations.as_object().unwrap() {
                assert_eq!(operation["x-gate"], "super_user", "{method} {path}");
                // Of whatever kind the other segments are, they are not come to.
                let segments = path.split('/').map(|segment| match segment {
                    "{user_id}" => ann.id(),
                    segment if segment.starts_with('{') => "018f0000-0000-7000-8000-000000000000",
                    segment => segment,
                });
                let filled = segments.collect::<Vec<_>>().join("/");
                let answer = bob.call(&method.to_uppercase(), &filled, Some("{}".to_owned()));
                answer.refused(403, "forbidden");
                paths += 1;
            }
        }
        assert!(paths > 10, "{paths}");
    }

    /// R5: groups give no rights, whatever they are called and whoever is in them, and only super-users administer them.
    fn groups_give_no_rights(engine) {
        let town = Town::new(engine);
        let (ann, root) = (town.user("ann"), town.root());
        let group = |name: &str| root.post("/api/v1/groups", &json!({"name": name})).expect(201).json["group_id"].as_str().unwrap().to_owned();
        for name in ["administrators", "administrator", "super-users"] {
            let id = group(name);
            root.post(&format!("/api/v1/groups/{id}/members"), &json!({"user_id": ann.id()})).expect(200);
            for (method, path, body) in [
                ("PATCH", format!("/api/v1/groups/{id}"), Some(json!({"name": "mine"}))),
                ("DELETE", format!("/api/v1/groups/{id}"), None),
                ("POST", format!("/api/v1/groups/{id}/members"), Some(json!({"user_id": ann.id()}))),
                ("DELETE", format!("/api/v1/groups/{id}/members/{}", town.root_id), None),
                ("PATCH", format!("/api/v1/users/{}", town.root_id), Some(json!({"remark": "x"}))),
            ] {
                ann.call(method, &path, body.map(|b| b.to_string())).refused(403, "forbidden");
            }
        }
        assert_eq!(ann.get(ME).expect(200).json["user_role"], "viewer");
        ann.patch(ME, &json!({"groups": []})).refused(403, "member_forbidden");
    }

    /// S25, R7: what a browser holds already decides nothing about a sign-in. A token or cookie of somebody else, set beforehand, is neither
    /// taken over nor given away, and a second sign-in is a session of its own.
    fn a_session_cannot_be_fixed_beforehand(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        town.create("bob");
        let cookie = town.anon().try_sign_in("ann", PASSWORD).expect(201).headers["set-cookie"].split(';').next().unwrap().to_owned();
        let with_all = ann.with("cookie", &format!("{cookie}; ust={}; session={}", ann.ust.as_deref().unwrap(), ann.session_id.as_deref().unwrap()));
        let bob = with_all.sign_in("bob", PASSWORD);
        assert_ne!((bob.ust.as_deref(), bob.session_id.as_deref()), (ann.ust.as_deref(), ann.session_id.as_deref()));
        assert_eq!(bob.get(ME).expect(200).json["username"], "bob");
        assert_eq!(ann.get(ME).expect(200).json["username"], "ann");
        let again = with_all.sign_in("ann", PASSWORD);
        assert_ne!(again.ust, ann.ust);
        again.delete("/api/v1/sessions/current").expect(204);
        ann.get(ME).expect(200);
        // A token or a session's id that was chosen by whoever signs in is no member of a sign-in.
        for member in ["ust", "session_id", "session"] {
            let body = json!({"username": "bob", "password": PASSWORD, member: ann.ust});
            town.anon().post(SESSIONS, &body).refused(422, "invalid");
        }
        // A failed sign-in leaves the session of the caller alone.
        with_all.try_sign_in("bob", "a wrong password, but long").refused(401, "credentials_invalid");
        assert_eq!(with_all.get(ME).expect(200).json["username"], "ann");
    }

    /// R22: a key is told once, to whoever made it; nothing that is read with its id, or with anybody's, tells it or its hash.
    fn no_key_is_read_by_its_id(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let made = root.post("/api/v1/applications", &json!({"name": "desk", "is_key_required": true})).expect(201).json;
        let (id, key) = (made["application_id"].as_str().unwrap(), made["key"].as_str().unwrap());
        root.get("/api/v1/applications").expect(200);
        for path in ["/api/v1/applications".to_owned(), format!("/api/v1/applications/{id}"), format!("/api/v1/applications/{id}/key"), format!("/api/v1/audit-events?subject={id}")] {
            for client in [&root, &town.anon(), &root.with("x-current-app", "desk").with("x-application-key", key)] {
                let answer = client.get(&path);
                assert!(!answer.text.contains(&key[4..20]) && !answer.text.contains("key_hash"), "{path}: {}", answer.text);
            }
        }
    }

    /// S47: an error has the caller's own members and correlation id, however many go wrong at once; a fault on this side tells its code alone.
    fn errors_are_the_callers_own(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        at_once(12, |thread| for number in 0..15 {
            let own = format!("own-{thread}-{number}");
            let client = ann.with("x-correlation-id", &own);
            let wrong = match number % 3 {
                0 => client.patch(ME, &json!({&own: 1})).refused(422, "invalid"),
                1 => client.post(SESSIONS, &json!({&own: 1, "username": "ann", "password": "x"})).refused(422, "invalid"),
                _ => client.put(&format!("{ME}/attributes"), &json!({"attributes": {&own: {"value": 1, "expires_in": 0}}})).refused(422, "invalid"),
            };
            let pointer = wrong.json["errors"][0]["pointer"].as_str().unwrap();
            assert!(pointer == format!("/{own}") || pointer == format!("/attributes/{own}/expires_in"), "{}", wrong.text);
            assert_eq!(wrong.json["errors"].as_array().unwrap().len(), 1, "{}", wrong.text);
            assert_eq!(wrong.text.matches("own-").count(), wrong.text.matches(&own).count(), "{}", wrong.text);
        });
        ann.put(&format!("{ME}/attributes/broken"), &json!({"value": 1, "encrypted": true})).expect(201);
        town.sql("UPDATE custom_attributes SET sealed = (SELECT token_hash FROM sessions LIMIT 1)");
        let failed = ann.with("x-correlation-id", "failed").get(&format!("{ME}/attributes/broken")).refused(500, "internal");
        let told = "Something went wrong on this side.";
        assert_eq!(failed.json, json!({
            "type": "urn:usher:error:internal", "title": told, "status": 500, "code": "internal", "detail": told, "cid": "failed", "errors": [],
        }));
    }

    /// R30: what a request brings along becomes no name in the log: the route of a line is one of the table's, however odd the path.
    fn routes_in_the_log_are_those_of_the_table(engine) {
        let site = furnished(Site::new(engine));
        let service = Process::serve(&site);
        let by = service.anon().sign_in(ROOT, PASSWORD);
        let mut known: BTreeSet<String> = service.anon().get("/openapi.json").expect(200).json["paths"].as_object().unwrap().keys().cloned().collect();
        known.extend(["no route", "other method"].map(str::to_owned));
        for number in 0..20 {
            for path in [format!("/api/v1/odd-{number}"), format!("/api/v1/users/odd-{number}"), format!("/odd-{number}?x=odd"), format!("/api/v1/users/me/attributes/odd-{number}")] {
                by.get(&path);
                by.call("BREW", &path, None);
            }
        }
        let log = service.terminate().log;
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).filter(|line: &Value| line["target"] == "usher::request").collect();
        assert!(lines.len() >= 160, "{}", lines.len());
        for line in &lines {
            assert!(known.contains(line["route"].as_str().unwrap()), "{line}");
            let names: Vec<&String> = line.as_object().unwrap().keys().collect();
            assert!(names.iter().all(|name| !name.contains("odd")), "{line}");
        }
    }
}

/// S2: a thousand sign-ins, 250 at once, take no more memory than those that are being hashed and what a connection costs; who finds the
/// queue full is told to come back. Were each of those at once hashed, it would take 4.6 GiB.
#[test]
fn memory_is_bounded_while_sign_ins_pour_in() {
    const CEILING_KIB: u64 = 512 * 1024;
    let site = Site::new(Engine::Sqlite).with("passwords.hash_threads", "2").with("lockout.address_free", "100000");
    let site = furnished(site);
    let service = Process::serve(&site);
    let answers = at_once(250, |number| {
        // Each with a connection of its own.
        let client = Client::new(&service.base);
        let answers: Vec<_> = (0..4).map(|round| client.try_sign_in(&format!("nobody-{number}-{round}"), PASSWORD)).collect();
        answers.into_iter().map(|answer| (answer.status, answer.headers.contains_key("retry-after"))).collect::<Vec<_>>()
    });
    let answers = answers.concat();
    let count = |wanted: (u16, bool)| answers.iter().filter(|answer| **answer == wanted).count();
    assert_eq!(count((401, false)) + count((503, true)), 1000, "{answers:?}");
    assert!(count((401, false)) >= 10 && count((503, true)) > 0, "{answers:?}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.id())).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let peak: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(peak < CEILING_KIB, "{peak} KiB");
}
