//! API keys: their life, what they may do, and that whatever ends them ends them at once.

use crate::both;
use crate::harness::{Answer, Client, PASSWORD, Site, Town};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

const ME: &str = "/api/v1/users/me";
const OWN: &str = "/api/v1/users/me/api-keys";
const KEYS: &str = "/api/v1/api-keys";

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A caller by this key.
fn by(town: &Town, key: &str) -> Client {
    town.anon().with("authorization", &format!("Key {key}"))
}

/// A caller by the key that an answer tells.
fn robot(town: &Town, made: &Answer) -> Client {
    by(town, text(&made.json["key"]))
}

fn make(client: &Client, scope: &str) -> Answer {
    client.post(OWN, &json!({"name": "robot", "scope": scope})).expect(201)
}

fn event(town: &Town, answer: &Answer) -> Value {
    town.root().get(&format!("/api/v1/audit-events?cid={}", answer.cid())).json["items"][0].clone()
}

/// Sends all but the end of a call; once it is let in, does something, and sends the rest. What it is answered.
fn slowly(town: &Town, key: &str, path: &str, body: &str, is_let_in: impl Fn() -> bool, meanwhile: impl FnOnce()) -> String {
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nhost: x\r\nauthorization: Key {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(town.base.trim_start_matches("http://")).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body.as_bytes()[..5]).unwrap();
    assert!((0..2000).any(|_| is_let_in()), "the call has not arrived");
    meanwhile();
    stream.write_all(&body.as_bytes()[5..]).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

both! {
    /// S18: a key's life: told once, stored as a hash, listed without itself, used, revoked. The trail tells which key acted.
    fn the_life_of_a_key(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let made = ann.post(OWN, &json!({"name": "nightly build", "scope": "manage"})).expect(201);
        let (key, key_id) = (text(&made.json["key"]).to_owned(), made.json["key_id"].clone());
        assert!(key.starts_with("key_") && key.len() == 53, "{key}");
        let created = event(&town, &made);
        assert_eq!((&created["subject"], &created["actor_session"]), (&json!(ann.id()), &json!(ann.session_id)));
        assert_eq!((&created["changes"]["api_key"]["before"], &created["changes"]["api_key"]["after"]["key_id"]), (&json!(null), &key_id));
        let listed = ann.get(OWN).expect(200);
        assert!(!listed.text.contains(&key[..20]));
        let item = &listed.json["items"][0];
        assert_eq!((&item["name"], &item["scope"], &item["expiry"], &item["last_used_time"]), (&json!("nightly build"), &json!("manage"), &json!((town.now() + Duration::from_secs(365 * 86_400)).to_string()), &json!(null)));
        let robot = by(&town, &key);
        assert_eq!(robot.get(ME).expect(200).json["username"], "ann");
        for spelt in ["key", "KEY"] {
            town.anon().with("authorization", &format!("{spelt}  {key}")).get(ME).expect(200);
        }
        let changed = robot.patch(ME, &json!({"first_name": "Ann"})).expect(200);
        let acted = event(&town, &changed);
        // Who made the key stands beside as whom it acts.
        assert_eq!(acted["basis"], format!("key:{}", ann.id()));
        assert_eq!((&acted["actor_type"], &acted["actor"], &acted["actor_session"]), (&json!("user"), &json!(ann.id()), &key_id));
        assert_eq!(ann.get(ME).json["first_name"], "Ann");
        // Noted to the minute, and in its own time.
        let last_used = || ann.get(OWN).json["items"][0]["last_used_time"].clone();
        let first = town.now().to_string();
        assert!((0..2000).any(|_| last_used() == first.as_str()));
        town.advance(Duration::from_secs(59));
        robot.get(ME).expect(200);
        assert_eq!(last_used(), first.as_str());
        town.advance(Duration::from_secs(1));
        robot.get(ME).expect(200);
        assert!((0..2000).any(|_| last_used() == town.now().to_string()));

        let own = format!("{OWN}/{}", text(&key_id));
        town.user("bob").delete(&own).refused(404, "not_found");
        robot.get(ME).expect(200);
        let revoked = ann.delete(&own).expect(204);
        assert_eq!(event(&town, &revoked)["changes"]["api_key"]["after"], json!(null));
        let refused = robot.get(ME).refused(401, "session_invalid");
        assert_eq!(event(&town, &refused)["reason"], "key_unknown");
        ann.delete(&own).refused(404, "not_found");
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// What is no key, is nobody's, or is something else opens nothing, and is always answered the same.
    fn what_is_no_key(engine) {
        let (town, other) = (Town::new(engine), Town::new(engine));
        let (root, ann) = (town.root(), town.user("ann"));
        let key = text(&make(&ann, "manage").json["key"]).to_owned();
        let application = root.post("/api/v1/applications", &json!({"name": "desk"})).expect(201).json;
        let foreign = make(&other.user("ann"), "manage").json["key"].clone();
        let mut mutated: Vec<String> = (0..key.len()).step_by(7).map(|at| {
            let other = if &key[at..=at] == "A" { "B" } else { "A" };
            format!("{}{other}{}", &key[..at], &key[at + 1..])
        }).collect();
        mutated.extend([key[..52].to_owned(), key[1..].to_owned(), format!("{key}A"), format!("{key} {key}"), key.to_uppercase(), String::new()]);
        mutated.extend([text(&foreign).to_owned(), text(&application["key"]).to_owned(), ann.ust.clone().unwrap(), PASSWORD.to_owned()]);
        let told = |answer: Answer| {
            let mut answer = answer.refused(401, "session_invalid");
            answer.json["cid"] = Value::Null;
            (answer.json, answer.headers["www-authenticate"].clone())
        };
        let nothing = told(town.anon().get(ME));
        for nonsense in &mutated {
            assert_eq!(told(by(&town, nonsense).get(ME)), nothing, "{nonsense}");
        }
        // Nor is a key a session token, or a token a key; nor is either one an application's.
        town.anon().bearing(&key).get(ME).refused(401, "session_invalid");
        assert_eq!(town.anon().with("x-current-app", "desk").with("x-application-key", &key).get(ME).status, 401);
        assert_eq!(root.post("/api/v1/sessions/introspect", &json!({"ust": key})).expect(200).json, json!({"active": false}));
        town.anon().get(&format!("{ME}?key={key}")).refused(401, "session_invalid");
        by(&town, &key).get(ME).expect(200);
    }

    /// S36: a key that has expired is refused at its use, though it is still there.
    fn an_expired_key_is_refused_at_use(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let until = json!({"name": "b", "expiry": (town.now() + Duration::from_secs(60)).to_string()});
        let keys = [ann.post(OWN, &json!({"name": "a", "expires_in": 60})).expect(201), ann.post(OWN, &until).expect(201)];
        assert_eq!(keys[0].json["expiry"], keys[1].json["expiry"]);
        town.advance(Duration::from_micros(59_999_999));
        keys.iter().for_each(|key| drop(robot(&town, key).get(ME).expect(200)));
        town.advance(Duration::from_micros(1));
        for key in &keys {
            let refused = robot(&town, key).get(ME).refused(401, "session_invalid");
            assert_eq!(event(&town, &refused)["reason"], "key_expired");
        }
        assert_eq!(ann.get(OWN).json["items"].as_array().unwrap().len(), 2);
        for (body, status, code) in [
            (json!({"name": "c", "expires_in": 0}), 422, "invalid"),
            (json!({"name": "c", "expiry": town.now().to_string()}), 422, "invalid"),
            (json!({"name": "c", "expiry": "2020-01-01T00:00:00Z"}), 422, "invalid"),
            (json!({"name": "c", "expires_in": 60, "expiry": "2040-01-01T00:00:00Z"}), 422, "invalid"),
            (json!({"name": "c", "expires_in": -1}), 422, "invalid"),
            (json!({"name": "c", "expiry": "tomorrow"}), 422, "invalid"),
            (json!({"name": "c", "scope": "all"}), 422, "invalid"),
            (json!({"name": ""}), 422, "invalid"),
            (json!({"name": "a\u{202e}b"}), 422, "invalid"),
            (json!({"scope": "read"}), 400, "bad_type"),
            (json!({"name": "c", "user_id": town.root_id}), 422, "invalid"),
            (json!({"name": "c", "key": "key_x"}), 422, "invalid"),
        ] {
            ann.post(OWN, &body).refused(status, code);
        }
        // Without end and without a scope: as long as the settings say, as little as may be.
        let plain = ann.post(OWN, &json!({"name": "d"})).expect(201).json;
        assert_eq!((&plain["expiry"], &plain["scope"]), (&json!((town.now() + Duration::from_secs(365 * 86_400)).to_string()), &json!("read")));
        ann.post(OWN, &json!({"name": "e", "expires_in": 730 * 86_400})).expect(201);
        ann.post(OWN, &json!({"name": "f", "expires_in": 730 * 86_400 + 1})).refused(422, "invalid");
    }

    /// S21, R9: whatever takes the right away ends the key's use at the very next call, and a restart does not bring it back.
    fn what_ends_a_keys_use_ends_it_at_once(engine) {
        let town = Town::on(Site::new(engine).with("server.trusted_proxies", "[\"127.0.0.0/8\"]"));
        let root = town.root();
        let listed = root.get("/api/v1/applications").json["items"][0]["application_id"].clone();
        let default = format!("/api/v1/applications/{}", text(&listed));
        let causes = ["revoked", "locked", "rejected", "inactive", "outside", "role", "networks", "deleted", "closed"];
        let mut robots = Vec::new();
        for cause in causes {
            let user_id = town.create(cause);
            let made = root.post(KEYS, &json!({"user_id": user_id, "name": cause, "scope": "manage"})).expect(201);
            let robot = robot(&town, &made);
            robot.get(ME).expect(200);
            let user = format!("/api/v1/users/{user_id}");
            let cause_it = match cause {
                "revoked" => root.delete(&format!("{KEYS}/{}", text(&made.json["key_id"]))),
                "locked" => root.post(&format!("{user}/lock"), &json!({})),
                "rejected" => root.call("POST", &format!("{user}/reject"), None),
                "inactive" => root.patch(&user, &json!({"is_active": false})),
                "outside" => root.patch(&user, &json!({"valid_to": "2020-01-01T00:00:00Z"})),
                "role" => root.patch(&user, &json!({"user_role": "publisher"})),
                "networks" => root.put(&format!("{user}/networks"), &json!({"networks": ["192.0.2.0/24"]})),
                "deleted" => root.delete(&user),
                _ => root.patch(&default, &json!({"access": "listed", "allowed_roles": ["administrator"]})),
            };
            assert!(cause_it.status < 300, "{cause}: {}", cause_it.text);
            robot.get(ME).refused(401, "session_invalid");
            robot.patch(ME, &json!({"first_name": "Ann"})).refused(401, "session_invalid");
            robots.push(robot);
        }
        let town = town.restart();
        for robot in &robots {
            by(&town, robot.header("authorization").trim_start_matches("Key ")).get(ME).refused(401, "session_invalid");
        }
    }

    /// What only suspends an account suspends its keys; a change of role ends them, for a key must not grow with its user.
    fn keys_do_not_grow(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let ann = town.user("ann");
        let made = make(&ann, "manage");
        let robot = robot(&town, &made);
        let user = format!("/api/v1/users/{}", ann.id());
        root.post(&format!("{user}/lock"), &json!({})).expect(200);
        robot.get(ME).refused(401, "session_invalid");
        root.call("POST", &format!("{user}/unlock"), None).expect(200);
        robot.get(ME).expect(200);
        robot.get("/api/v1/users").refused(403, "forbidden");
        root.patch(&user, &json!({"user_role": "administrator"})).expect(200);
        robot.get(ME).refused(401, "session_invalid");
        let chief = town.anon().sign_in("ann", PASSWORD);
        assert_eq!(chief.get(OWN).json["items"], json!([]));
        let robot = by(&town, text(&make(&chief, "manage").json["key"]));
        robot.get("/api/v1/users").expect(200);
        root.patch(&user, &json!({"user_role": "viewer"})).expect(200);
        robot.get("/api/v1/users").refused(401, "session_invalid");
    }

    /// S26: a key stands for a recent sign-in where others are concerned, and never where its own user's account is.
    fn what_needs_a_fresh_sign_in(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let (ann, bob) = (town.user("ann"), town.create("bob"));
        let manage = make(&root, "manage");
        let robot = robot(&town, &manage);
        let (peers, spare) = (make(&ann, "read").json["key_id"].clone(), make(&root, "read").json["key_id"].clone());
        let application = root.post("/api/v1/applications", &json!({"name": "desk"})).expect(201).json["application_id"].clone();
        town.advance(Duration::from_secs(3600 * 24));
        // A session of that age is not fresh, nor even alive.
        ann.get(ME).refused(401, "session_invalid");
        let user = format!("/api/v1/users/{bob}");
        robot.patch(&user, &json!({"user_role": "publisher", "email": "bob@example.com"})).expect(200);
        robot.post(&format!("{user}/unlock"), &json!({})).expect(200);
        // What is a credential, or opens a way in, takes a session, whosever it is.
        robot.put(&format!("{user}/password"), &json!({"new_password": "marble cloud engine 77"})).refused(403, "session_required");
        robot.put(&format!("{user}/networks"), &json!({"networks": ["10.0.0.0/8"]})).refused(403, "session_required");
        robot.post("/api/v1/users", &json!({"username": "chief", "user_role": "administrator"})).refused(403, "session_required");
        robot.post(&format!("/api/v1/applications/{}/key", text(&application)), &json!({})).refused(403, "session_required");
        robot.delete(&format!("{KEYS}/{}", text(&peers))).refused(403, "session_required");

        let own = format!("/api/v1/users/{}", town.root_id);
        robot.patch(ME, &json!({"email": "thief@example.com"})).refused(403, "session_required");
        robot.patch(&own, &json!({"email": "thief@example.com"})).refused(403, "session_required");
        // Without another super-user nobody could, by a session or a key; with one, a key still may not.
        robot.patch(&own, &json!({"user_role": "viewer"})).refused(409, "last_super_user");
        let deputy = json!({"username": "deputy", "password": PASSWORD, "user_role": "administrator"});
        town.root().post("/api/v1/users", &deputy).expect(201);
        robot.patch(&own, &json!({"user_role": "viewer"})).refused(403, "session_required");
        robot.put(&format!("{own}/networks"), &json!({"networks": []})).refused(403, "session_required");
        robot.put(&format!("{own}/password"), &json!({"new_password": "marble cloud engine 77"})).refused(403, "forbidden");
        robot.put(&format!("{ME}/password"), &json!({"old_password": PASSWORD, "new_password": "marble cloud engine 77"})).refused(403, "session_required");
        for key in [&spare, &manage.json["key_id"]] {
            robot.delete(&format!("{KEYS}/{}", text(key))).refused(403, "session_required");
            robot.delete(&format!("{OWN}/{}", text(key))).refused(403, "session_required");
        }
        robot.post(OWN, &json!({"name": "offspring"})).refused(403, "session_required");
        for user_id in [&town.root_id, &bob] {
            robot.post(KEYS, &json!({"user_id": user_id, "name": "offspring"})).refused(403, "session_required");
        }
        robot.patch(ME, &json!({"first_name": "Root"})).expect(200);

        // A session makes and revokes keys in its first five minutes only.
        let (root, ann) = (town.root(), town.anon().sign_in("ann", PASSWORD));
        let key = make(&ann, "read").json["key_id"].clone();
        town.advance(Duration::from_secs(301));
        ann.post(OWN, &json!({"name": "late"})).refused(403, "fresh_sign_in_required");
        ann.delete(&format!("{OWN}/{}", text(&key))).refused(403, "fresh_sign_in_required");
        root.post(KEYS, &json!({"user_id": ann.id(), "name": "late"})).refused(403, "fresh_sign_in_required");
        root.delete(&format!("{KEYS}/{}", text(&key))).refused(403, "fresh_sign_in_required");
        assert_eq!(ann.get(OWN).json["items"].as_array().unwrap().len(), 2);
    }

    /// Keys and sessions are two things: ending the one leaves the other, whichever it is.
    fn keys_and_sessions_end_apart(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let made = make(&ann, "manage");
        let robot = robot(&town, &made);
        // A key ends no session of its user's, and goes on when they are ended.
        robot.delete("/api/v1/users/me/sessions").refused(403, "session_required");
        ann.delete("/api/v1/users/me/sessions").expect(204);
        ann.get(ME).refused(401, "session_invalid");
        robot.get(ME).expect(200);
        let ann = ann.sign_in("ann", PASSWORD);
        assert_eq!(robot.get("/api/v1/users/me/sessions").json["items"][0]["is_current"], false);
        for (method, path) in [("GET", "/api/v1/sessions/current"), ("DELETE", "/api/v1/sessions/current"), ("POST", "/api/v1/sessions/current/renew")] {
            robot.call(method, path, None).refused(403, "session_required");
        }
        ann.delete("/api/v1/sessions/current").expect(204);
        robot.get(ME).expect(200);
        let ann = ann.sign_in("ann", PASSWORD);
        ann.delete(&format!("{OWN}/{}", text(&made.json["key_id"]))).expect(204);
        robot.get(ME).refused(401, "session_invalid");
        ann.get(ME).expect(200);
        // To sign out by what is no key is nothing but that.
        by(&town, "key_nonsense").delete("/api/v1/sessions/current").refused(401, "session_invalid");
    }

    /// A key comes through applications like a session: those that list its user, from where they may be come from, and no application
    /// that demands sessions of its own.
    fn keys_and_applications(engine) {
        let town = Town::on(Site::new(engine).with("server.trusted_proxies", "[\"127.0.0.0/8\"]"));
        let (root, ann) = (town.root(), town.user("ann"));
        let robot = robot(&town, &make(&ann, "read"));
        let make = |body: Value| root.post("/api/v1/applications", &body).expect(201).json;
        make(json!({"name": "shut", "access": "listed", "allowed_roles": ["publisher"]}));
        make(json!({"name": "open", "access": "listed", "allowed_roles": ["viewer"]}));
        make(json!({"name": "own", "session_scope": "own-sessions"}));
        make(json!({"name": "near", "allowed_networks": ["10.0.0.0/8"]}));
        let through = |application: &str| robot.with("x-current-app", application);
        for (application, reason) in [("shut", "application_not_allowed"), ("own", "application_mismatch"), ("near", "address_not_allowed")] {
            let refused = through(application).get(ME).refused(401, "session_invalid");
            assert_eq!(event(&town, &refused)["reason"], reason);
        }
        through("open").get(ME).expect(200);
        through("near").with("x-forwarded-for", "10.0.0.1").get(ME).expect(200);
        through("nowhere").get(ME).refused(401, "application_invalid");
        let keyed = make(json!({"name": "keyed", "is_key_required": true}));
        through("keyed").get(ME).refused(401, "application_invalid");
        through("keyed").with("x-application-key", text(&keyed["key"])).get(ME).expect(200);
    }

    /// S21: a key that was good when the call was let in does nothing once it is not, however slowly the body comes.
    fn a_slow_body_does_not_outlive_the_key(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let body = json!({"first_name": "Slow"}).to_string();
        for cause in ["revoked", "expired", "closed"] {
            town.advance(Duration::from_secs(61));
            let root = town.root();
            let made = root.post(KEYS, &json!({"user_id": ann.id(), "name": cause, "scope": "manage", "expires_in": 60})).expect(201).json;
            let own = || root.get(&format!("{KEYS}?user_id={}", ann.id())).json["items"].as_array().unwrap().iter().find(|k| k["key_id"] == made["key_id"]).unwrap().clone();
            let is_let_in = || own()["last_used_time"] == town.now().to_string();
            let default = root.get("/api/v1/applications").json["items"][0]["application_id"].clone();
            let meanwhile = || match cause {
                "revoked" => drop(root.delete(&format!("{KEYS}/{}", text(&made["key_id"]))).expect(204)),
                "expired" => town.advance(Duration::from_secs(60)),
                _ => drop(root.patch(&format!("/api/v1/applications/{}", text(&default)), &json!({"access": "listed"})).expect(200)),
            };
            assert_eq!(slowly(&town, text(&made["key"]), ME, &body, is_let_in, meanwhile), "HTTP/1.1 401", "{cause}");
        }
        assert_ne!(town.root().get(&format!("/api/v1/users/{}", ann.id())).json["first_name"], "Slow");
    }

    /// A technical account without a password holds keys all the same; a super-user looks after everyone's, page by page.
    fn looking_after_keys(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let bot = text(&root.post("/api/v1/users", &json!({"username": "bot"})).expect(201).json["user_id"]).to_owned();
        let unknown = "018f0000-0000-7000-8000-000000000000";
        for user_id in [unknown, "nonsense"] {
            root.post(KEYS, &json!({"user_id": user_id, "name": "x"})).refused(422, "invalid");
        }
        root.delete(&format!("{KEYS}/{unknown}")).refused(404, "not_found");
        root.delete(&format!("{KEYS}/nonsense")).refused(404, "not_found");
        let made: Vec<Answer> = (0..100).map(|n| {
            // Ids of one millisecond are in no order.
            town.advance(Duration::from_millis(1));
            root.post(KEYS, &json!({"user_id": bot, "name": format!("key {n}")})).expect(201)
        }).collect();
        assert_eq!(robot(&town, &made[99]).get(ME).expect(200).json["username"], "bot");
        // There is an end to it, for each user.
        root.post(KEYS, &json!({"user_id": bot, "name": "one more"})).refused(409, "too_many_keys");
        make(&root, "read");
        let page = |query: &str| root.get(&format!("{KEYS}?{query}")).expect(200).json;
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = page(&format!("user_id={bot}&limit=40{cursor}"));
            seen.extend(page["items"].as_array().unwrap().iter().map(|k| k["key_id"].clone()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, made.iter().map(|m| m.json["key_id"].clone()).collect::<Vec<_>>());
        assert_eq!(page("limit=500")["items"].as_array().unwrap().len(), 101);
        assert_eq!(page(&format!("user_id={unknown}"))["items"], json!([]));
        for query in ["user_id=nonsense", "limit=0", "cursor=x", "name=x", cursor.trim_start_matches('&')] {
            root.get(&format!("{KEYS}?{query}")).refused(400, "bad_query");
        }
        root.delete(&format!("{KEYS}/{}", text(&made[99].json["key_id"]))).expect(204);
        robot(&town, &made[99]).get(ME).refused(401, "session_invalid");
        robot(&town, &made[98]).get(ME).expect(200);
        // With the user its keys go, and what the trail holds of their names.
        root.delete(&format!("/api/v1/users/{bot}")).expect(204);
        robot(&town, &made[98]).get(ME).refused(401, "session_invalid");
        assert_eq!(town.count("SELECT COUNT(*) AS count FROM api_keys"), 1);
        assert!(!town.usher(&["audit", "export"]).expect(0).out.contains("key 98"));
        town.usher(&["audit", "verify"]).expect(0);
    }
}
