//! S26, S49: every route that changes something, natively and in the dialects, as a super-user whose proof is fresh, stale, stale after a
//! new password, that of a linked account, or an API key; and every command, as an operator. The column `proof` of the matrix and the tables
//! below are written by hand and apart from the code.

use crate::both;
use crate::harness::{Answer, Client, PASSWORD, Site, Town};
use crate::matrix::{Proof, Row, Scene, TABLE};
use base64::Engine as _;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use usher::domain::attribute::Viewer;
use usher::domain::demand::{ByKey, Demand, EditProof, Recent};
use usher::domain::user::ATTRIBUTES;
use usher::http::Dialect;

const NEW: &str = "another good long password";
const LINKED: &str = "copper window paper 31";
const APP: &str = "CRM";

/// Each attribute that a super-user edits, with another value, and whether an edit asks for a fresh proof.
#[rustfmt::skip]
fn edits() -> Vec<(&'static str, Value, bool)> {
    vec![
        ("username", json!("renamed"), true),
        ("login_name", json!("other-login"), true),
        ("external_id", json!("moved"), true),
        ("email", json!("moved@example.org"), true),
        ("display_name", json!("Somebody"), false),
        ("first_name", json!("Some"), false),
        ("middle_name", json!("B."), false),
        ("last_name", json!("Body"), false),
        ("totp_label", json!("label"), false),
        ("user_role", json!("publisher"), true),
        ("lang_id", json!(2), false),
        ("is_active", json!(false), true),
        ("password_must_change", json!(true), true),
        ("password_expiry", json!("2041-05-04T03:02:01Z"), true),
        ("password_never_expires", json!(true), true),
        ("valid_from", json!("2030-05-04T03:02:01Z"), true),
        ("valid_to", json!("2041-05-04T03:02:01Z"), true),
        ("never_expire", json!(true), true),
        ("profile_id", json!(7), false),
        ("supervisor_id", Value::Null, false),
        ("server_id", json!(7), false),
        ("account_type", json!(7), false),
        ("flags", json!(7), false),
        ("station", json!("desk"), false),
        ("remark", json!("seen"), false),
    ]
}

/// Makes a user; its id.
fn make(root: &Client, name: &str, role: &str) -> String {
    let body = json!({"username": name, "email": format!("{name}@example.org"), "password": PASSWORD, "user_role": role});
    root.post("/api/v1/users", &body).expect(201).json["user_id"].as_str().unwrap().to_owned()
}

/// A super-user with a key of the scope `manage`; its sign-in and a client that bears the key.
fn chief(town: &Town, name: &str) -> (Client, Client) {
    make(&town.root(), name, "administrator");
    let session = town.anon().sign_in(name, PASSWORD);
    let made = session.post("/api/v1/users/me/api-keys", &json!({"name": "robot", "scope": "manage"})).expect(201).json;
    let key = town.anon().with("authorization", &format!("Key {}", made["key"].as_str().unwrap()));
    (session, key)
}

fn aged(town: &Town) {
    town.advance(Duration::from_secs(301));
}

/// The session after a new password: the same person, another token, no fresher.
fn repassworded(town: &Town, session: &Client, old: &str, new: &str) -> Client {
    let body = json!({"old_password": old, "new_password": new});
    let changed = session.put("/api/v1/users/me/password", &body).expect(200).json;
    town.anon().bearing(changed["ust"].as_str().unwrap())
}

both! {
    /// What the table says of each row holds for a stale session, and for one whose password was changed since.
    fn every_route_with_a_stale_proof(engine) {
        let scene = Scene::new(engine);
        for row in TABLE.iter().filter(|row| row.status_of_super_user() < 300 && !row.is_read()) {
            for is_repassworded in [false, true] {
                let call = scene.prepared(row);
                aged(&scene.town);
                scene.sign_in_again();
                let client = call.client.clone();
                let client = if is_repassworded { repassworded(&scene.town, &client, PASSWORD, NEW) } else { client };
                let answer = call.make_as(&client);
                let what = format!("{} repassworded: {is_repassworded} {}", call.what, answer.text);
                let is_refused = (answer.status, answer.json["code"].as_str()) == (403, Some("fresh_sign_in_required"));
                assert_eq!(is_refused, row.proof != Proof::Any, "{what}");
                if is_refused {
                    let events = scene.root().get(&format!("/api/v1/audit-events?cid={}", answer.cid())).expect(200).json;
                    let event = &events["items"][0];
                    assert_eq!((&event["outcome"], &event["reason"]), (&json!("refused"), &json!("fresh_sign_in_required")), "{what}");
                }
            }
        }
    }

    /// The session of a linked account is accepted by no native route.
    fn every_route_with_a_linked_session(engine) {
        let town = Town::on(Site::new(engine));
        town.root().post("/api/v1/applications", &json!({"name": APP})).expect(201);
        chief(&town, "ann");
        let linked = linked(&town, "ann");
        // Signing out asks for nothing but the token that it ends.
        let is_sign_out = |row: &Row| (row.method_name().as_str(), row.path()) == ("DELETE", "/api/v1/sessions/current");
        for row in TABLE.iter().filter(|row| row.status_of_nobody() == 401 && !is_sign_out(row)) {
            let answer = town.anon().bearing(&linked).call(&row.method_name(), row.path(), Some("{}".to_owned()));
            assert_eq!((answer.status, answer.json["code"].as_str()), (401, Some("session_invalid")), "{} {}", row.path(), answer.text);
        }
        for (method, path, ..) in DIALECTS.iter().filter(|row| !row.1.starts_with("/zato")) {
            let answer = town.anon().bearing(&linked).call(method, &path.replace("{user}", "x").replace("{group}", "x"), Some("{}".to_owned()));
            assert_eq!(answer.status, 401, "{path} {}", answer.text);
        }
    }

    /// Each attribute asks what the table says, of super-users and of others, by a session and by a key.
    fn every_attribute_with_a_stale_proof(engine) {
        let town = Town::new(engine);
        let (session, key) = chief(&town, "ann");
        let editable: BTreeSet<&str> = ATTRIBUTES.iter().filter(|a| a.edit.contains(&Viewer::SuperUser)).map(|a| a.name).collect();
        assert_eq!(editable, edits().iter().map(|(name, ..)| *name).collect(), "the attributes and the table of this test differ");
        for attribute in ATTRIBUTES.iter().filter(|a| !a.edit.is_empty()) {
            let asks = edits().iter().find(|(name, ..)| *name == attribute.name).unwrap().2;
            assert_eq!(attribute.edit_proof == EditProof::Fresh, asks, "{}", attribute.name);
        }
        aged(&town);
        let root = town.root();
        for (number, (name, value, asks)) in edits().into_iter().enumerate() {
            for role in ["viewer", "administrator"] {
                let user = format!("/api/v1/users/{}", make(&root, &format!("{role}-{number}"), role));
                let value = if name == "supervisor_id" { json!(session.id()) } else { value.clone() };
                let edit = json!({ name: value });
                let by_session = session.patch(&user, &edit);
                if asks {
                    by_session.refused(403, "fresh_sign_in_required");
                } else {
                    by_session.expect(200);
                }
                let by_key = key.patch(&user, &edit);
                if asks && role == "administrator" {
                    by_key.refused(403, "session_required");
                } else {
                    by_key.expect(200);
                }
            }
            if asks && name != "user_role" {
                key.patch("/api/v1/users/me", &json!({ name: value.clone() })).refused(403, "session_required");
                let own = key.patch(&format!("/api/v1/users/{}", session.id()), &json!({ name: value }));
                own.refused(403, "session_required");
            }
        }
        // A key makes no super-user, natively; of an ordinary user it makes another one.
        let (maid, user) = (make(&root, "maid", "viewer"), json!({"username": "chief-2", "user_role": "administrator", "password": PASSWORD}));
        key.patch(&format!("/api/v1/users/{maid}"), &json!({"user_role": "administrator"})).refused(403, "session_required");
        key.post("/api/v1/users", &user).refused(403, "session_required");
        session.post("/api/v1/users", &user).refused(403, "fresh_sign_in_required");
        key.patch(&format!("/api/v1/users/{maid}"), &json!({"user_role": "publisher"})).expect(200);
    }

    /// What a key stands for a proof for where an ordinary user is concerned, it does not where a super-user is.
    fn a_key_and_super_users(engine) {
        let town = Town::new(engine);
        let (_, key) = chief(&town, "ann");
        let root = town.root();
        let group = root.post("/api/v1/groups", &json!({"name": "crew"})).expect(201).json["group_id"].as_str().unwrap().to_owned();
        let (bob, eve) = (make(&root, "bob", "viewer"), make(&root, "eve", "administrator"));
        for (user, is_ordinary) in [(&bob, true), (&eve, false)] {
            let calls: [(&str, String, Option<Value>); 6] = [
                ("POST", format!("/api/v1/users/{user}/unlock"), None),
                ("POST", format!("/api/v1/users/{user}/approve"), None),
                ("POST", format!("/api/v1/groups/{group}/members"), Some(json!({"user_id": user}))),
                ("DELETE", format!("/api/v1/groups/{group}/members/{user}"), None),
                ("POST", format!("/__api__/v1/users/{user}/lock"), Some(json!({"locked": false}))),
                ("DELETE", format!("/api/v1/users/{user}"), None),
            ];
            for (method, path, body) in calls {
                if method == "DELETE" && path.contains("/members/") && !is_ordinary {
                    root.post(&format!("/api/v1/groups/{group}/members"), &json!({"user_id": user})).expect(200);
                }
                let answer = key.call(method, &path, body.map(|body| body.to_string()));
                assert_eq!(answer.status < 300, is_ordinary, "{method} {path} {}", answer.text);
                if !is_ordinary {
                    assert_eq!(answer.status, 403, "{method} {path} {}", answer.text);
                }
            }
        }
    }

    /// The dialects' routes, by the code that each refuses with.
    fn every_dialect_with_a_stale_proof(engine) {
        let town = Town::on(Site::new(engine));
        let root = town.root();
        root.post("/api/v1/applications", &json!({"name": APP})).expect(201);
        crate::harness::process::usher(&town.site, &["linked", "create", "spare", "--password-stdin"], LINKED).expect(0);
        town.hear();
        let (ann, key) = chief(&town, "ann");
        chief(&town, "lea");
        let linked = linked(&town, "lea");
        let bob = make(&root, "bob", "viewer");
        let eve = make(&root, "eve", "viewer");
        crate::harness::process::usher(&town.site, &["linked", "create", "eves", "--user", "eve", "--password-stdin"], LINKED).expect(0);
        town.hear();
        aged(&town);
        let root = town.root();
        let ann = repassworded(&town, &ann, PASSWORD, NEW);
        let mut asked = BTreeSet::new();
        for (number, &(method, path, body, proof)) in DIALECTS.iter().enumerate() {
            let group = root.post("/api/v1/groups", &json!({"name": format!("crew-{number}")})).expect(201).json;
            let group = group["group_id"].as_str().unwrap().to_owned();
            if method == "DELETE" && (path.contains("/members/") || path.contains("user_groups")) {
                root.post(&format!("/api/v1/groups/{group}/members"), &json!({"user_id": bob})).expect(200);
            }
            asked.insert((method.to_owned(), path.to_owned()));
            let user = if path.contains("linked") && method == "DELETE" { &eve } else { &bob };
            let person = Person { id: user, group: &group };
            for (who, client, token) in [("stale", &ann, ann.ust.clone()), ("linked", &town.anon().bearing(&linked), Some(linked.clone())), ("key", &key, None)] {
                let is_zato = path.starts_with("/zato");
                if (is_zato && token.is_none()) || (!is_zato && who == "linked") {
                    continue;
                }
                let answer = call_dialect(client, token.as_deref(), method, path, body, &person);
                let is_done = answer.status < 300 && answer.json["status"] != "error";
                let is_due = match (who, proof) {
                    (_, Proof::Any) => true,
                    ("key", Proof::Recent) => true,
                    (_, Proof::Recent | Proof::Session) => false,
                };
                if !is_due {
                    assert!(!is_done, "{who} {method} {path}: {}", answer.text);
                    let events = root.get(&format!("/api/v1/audit-events?cid={}", answer.cid())).expect(200).json;
                    let reason = events["items"][0]["reason"].as_str().unwrap_or_default().to_owned();
                    let due = if who == "key" { "session_required" } else { "fresh_sign_in_required" };
                    assert_eq!(reason, due, "{who} {method} {path}: {}", answer.text);
                } else {
                    assert!(!answer.text.contains("fresh"), "{who} {method} {path}: {}", answer.text);
                    let events = root.get(&format!("/api/v1/audit-events?cid={}", answer.cid())).expect(200).json;
                    let reason = events["items"][0]["reason"].as_str().unwrap_or_default().to_owned();
                    assert!(!["fresh_sign_in_required", "session_required"].contains(&reason.as_str()), "{who} {method} {path} {reason}");
                }
            }
        }
        // A route of a dialect whose action asks for something has a row.
        for route in usher::http::table().into_iter().filter(|route| route.dialect != Dialect::Native) {
            let demand = route.action.map_or(Demand::ANY, usher::domain::audit::Action::demand);
            let edits = route.action.is_some_and(|action| action.as_str().contains("update"));
            let asks = demand.recent == Recent::Always || demand.by_key == ByKey::Refused || edits;
            let path = route.path.replace("{user_id}", "{user}").replace("{group_id}", "{group}");
            assert!(!asks || asked.contains(&(route.method.to_string(), path.clone())), "no row: {} {path}", route.method);
        }
    }

    /// What a key does in Connect's dialect, a stale session does not: it is no more recent there than natively.
    fn a_stale_session_makes_no_super_user_in_connect(engine) {
        let town = Town::new(engine);
        let (session, key) = chief(&town, "ann");
        let bob = make(&town.root(), "bob", "viewer");
        aged(&town);
        let users = "/__api__/v1/users";
        let new = |name: &str| json!({"username": name, "password": PASSWORD, "user_role": "administrator"});
        let raise = json!({"user_role": "administrator"});
        assert_eq!(session.post(users, &new("eve")).status, 403);
        assert_eq!(session.put(&format!("{users}/{bob}"), &raise).status, 403);
        assert_eq!(town.count("SELECT count(*) AS count FROM users WHERE user_role = 'administrator'"), 2);
        key.post(users, &new("eve")).expect(200);
        key.put(&format!("{users}/{bob}"), &raise).expect(200);
        assert_eq!(town.count("SELECT count(*) AS count FROM users WHERE user_role = 'administrator'"), 4);
    }

    /// Clients of the ECM with long sessions do all they did, where the settings say so; natively nothing changes by it.
    fn sessions_stay_fresh_for_the_ecm_alone(engine) {
        for is_on in [false, true] {
            let town = Town::on(Site::new(engine).with("ecm_parity.sessions_stay_fresh", &is_on.to_string()));
            let (ann, _) = chief(&town, "ann");
            let bob = make(&town.root(), "bob", "viewer");
            aged(&town);
            let moved = ann.patch(&format!("/ecm/security/user/{bob}"), &json!({"email": "moved@example.org"}));
            assert_eq!(moved.status, if is_on { 200 } else { 403 }, "{}", moved.text);
            ann.patch(&format!("/api/v1/users/{bob}"), &json!({"email": "again@example.org"})).refused(403, "fresh_sign_in_required");
        }
    }
}

/// The token of a session of a linked account, which is made for a user.
fn linked(town: &Town, name: &str) -> String {
    let account = format!("feed-{name}");
    crate::harness::process::usher(&town.site, &["linked", "create", &account, "--user", name, "--password-stdin"], LINKED)
        .expect(0);
    town.hear();
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{account}:{LINKED}"));
    let client = town.anon().with("authorization", &format!("Basic {basic}")).with("x-zato-sso-current-app", APP);
    client.get("/zato/sso/user").expect(200).headers["x-zato-sso-ust"].clone()
}

struct Person<'a> {
    id: &'a str,
    group: &'a str,
}

fn call_dialect(client: &Client, token: Option<&str>, method: &str, path: &str, body: &str, person: &Person<'_>) -> Answer {
    let zato_id = usher::domain::zato::spelt(person.id.parse().unwrap());
    let path = path.replace("{user}", person.id).replace("{group}", person.group);
    let body = body.replace("{user}", person.id).replace("{zato}", &zato_id);
    let mut body: Value = serde_json::from_str(&body).unwrap();
    if let (true, Some(token)) = (path.starts_with("/zato"), token) {
        body["current_app"] = APP.into();
        body["ust"] = token.into();
    }
    client.call(method, &path, Some(body.to_string()))
}

/// Method, path, body, and what it asks of the proof where an ordinary user is concerned. Routes that ask for nothing need no row.
#[rustfmt::skip]
const DIALECTS: &[(&str, &str, &str, Proof)] = &[
    ("PATCH",  "/zato/sso/user",          r#"{"user_id": "{zato}", "first_name": "Ann"}"#, Proof::Any),
    ("PATCH",  "/zato/sso/user",          r#"{"user_id": "{zato}", "email": "moved@example.org"}"#, Proof::Recent),
    ("PATCH",  "/zato/sso/user",          r#"{"email": "moved@example.org"}"#, Proof::Recent),
    ("PATCH",  "/zato/sso/user",          r#"{"user_id": "{zato}", "username": "renamed"}"#, Proof::Recent),
    ("PATCH",  "/zato/sso/user",          r#"{"user_id": "{zato}", "is_locked": false}"#, Proof::Recent),
    ("PATCH",  "/zato/sso/user",          r#"{"user_id": "{zato}", "approval_status": "approved"}"#, Proof::Recent),
    ("PATCH",  "/zato/sso/user/password", r#"{"user_id": "{zato}", "new_password": "marble cloud engine 77"}"#, Proof::Session),
    ("POST",   "/zato/sso/user/approve",  r#"{"user_id": "{zato}"}"#, Proof::Recent),
    ("DELETE", "/zato/sso/user/lock",     r#"{"user_id": "{zato}"}"#, Proof::Recent),
    ("PATCH",  "/zato/sso/user/totp",     r#"{"totp_key": "", "totp_label": ""}"#, Proof::Session),
    ("POST",   "/zato/sso/user/linked",   r#"{"user_id": "{zato}", "auth_type": "basic_auth", "auth_username": "spare", "is_active": true}"#, Proof::Session),
    ("DELETE", "/zato/sso/user/linked",   r#"{"user_id": "{zato}", "auth_type": "basic_auth", "auth_username": "eves"}"#, Proof::Session),
    ("PUT",    "/__api__/v1/users/{user}", r#"{"first_name": "Ann"}"#, Proof::Any),
    ("PUT",    "/__api__/v1/users/{user}", r#"{"email": "moved-1@example.org"}"#, Proof::Recent),
    ("PUT",    "/__api__/v1/users/{user}", r#"{"username": "renamed-1"}"#, Proof::Recent),
    ("POST",   "/__api__/v1/users/{user}/lock", r#"{"locked": false}"#, Proof::Recent),
    ("POST",   "/__api__/v1/groups/{group}/members", r#"{"user_guid": "{user}"}"#, Proof::Recent),
    ("DELETE", "/__api__/v1/groups/{group}/members/{user}", "{}", Proof::Recent),
    ("PATCH",  "/ecm/security/user/{user}", r#"{"remark": "seen"}"#, Proof::Any),
    ("PATCH",  "/ecm/security/user/{user}", r#"{"email": "moved-2@example.org"}"#, Proof::Recent),
    ("PUT",    "/ecm/security/user/{user}", r#"{"email": "moved-3@example.org"}"#, Proof::Recent),
    ("PATCH",  "/ecm/security/user/{user}", r#"{"locked": false}"#, Proof::Recent),
    ("PATCH",  "/ecm/security/user/{user}", r#"{"password": "violet harbour lantern 9"}"#, Proof::Session),
    ("PUT",    "/ecm/security/user_groups/{user}/{group}", "{}", Proof::Recent),
    ("DELETE", "/ecm/security/user_groups/{user}/{group}", "{}", Proof::Recent),
    ("DELETE", "/ecm/security/user_groups/{user}", "{}", Proof::Recent),
    ("POST",   "/ecm/security/group/{group}/empty", "{}", Proof::Recent),
    ("PATCH",  "/ecm/security/group/{group}", r#"{"description": "x"}"#, Proof::Recent),
    ("PUT",    "/ecm/security/group/{group}", r#"{"description": "y"}"#, Proof::Recent),
    ("DELETE", "/ecm/security/group/{group}", "{}", Proof::Recent),
    ("DELETE", "/__api__/v1/groups/{group}", "{}", Proof::Recent),
];
