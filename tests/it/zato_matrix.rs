//! Every route of Zato's dialect as every caller (S27, S28), under the safe defaults and under the profile of its clients: what it answers,
//! its event, and that nothing is told that the caller's native view hides, but for what the documentation lists with its reason.

use crate::both;
use crate::harness::process::usher;
use crate::harness::{Answer, Client, Engine, PASSWORD, Site, Town, matrix};
use crate::zato::{ALWAYS, APP, OF_SUPER_USERS, OWN, Speaker, parity, sorted, town_of_today};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use usher::http::Dialect;

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    /// Without a session.
    Nobody,
    /// A super-user by an API key that may do everything, in the header and in place of a token: the dialect knows no keys.
    Key,
    Regular,
    SuperUser,
}
use Caller::{Key, Nobody, Regular, SuperUser};

/// On whom a call is, for its event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    Caller,
    Peer,
    Unsaid,
}

struct Row {
    method: &'static str,
    path: &'static str,
    action: &'static str,
    body: fn(&Stage) -> Value,
    /// The answer to nobody, a regular user and a super-user: `ok` or a code.
    told: [&'static str; 3],
    /// The same under the profile, where it is another.
    lenient: Option<[&'static str; 3]>,
    subject: Subject,
}

const SIGNED_OUT: &str = "E007001";

fn row(
    method: &'static str,
    path: &'static str,
    action: &'static str,
    body: fn(&Stage) -> Value,
    told: [&'static str; 3],
    subject: Subject,
) -> Row {
    Row { method, path, action, body, told, lenient: None, subject }
}

fn peer(stage: &Stage) -> Value {
    json!({"user_id": stage.peer})
}

fn target(stage: &Stage) -> Value {
    json!({"target_ust": stage.peer_ust, "current_ust": stage.speaker.ust, "ust": null, "name": "a"})
}

fn attribute(stage: &Stage) -> Value {
    json!({"user_id": stage.peer, "name": "a", "value": "1"})
}

fn session_attribute(stage: &Stage) -> Value {
    json!({"target_ust": stage.peer_ust, "current_ust": stage.speaker.ust, "ust": null, "name": "a", "value": "1"})
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    use Subject::{Caller, Peer, Unsaid};
    const OF_SUPER_USERS: [&str; 3] = [SIGNED_OUT, "E005001", "ok"];
    const OF_THE_SIGNED_IN: [&str; 3] = [SIGNED_OUT, "ok", "ok"];
    let refused_as_input = [SIGNED_OUT, "E008002", "ok"];
    let account = |s: &Stage| json!({"user_id": s.peer, "auth_type": "basic_auth", "auth_username": s.free});
    let linked = |s: &Stage| json!({"user_id": s.peer, "auth_type": "basic_auth", "auth_username": s.linked});
    let mut rows = vec![
        row("GET",    "user",                "user.read_current",         |_| json!({}), OF_THE_SIGNED_IN, Caller),
        row("GET",    "user",                "user.read",                 peer, OF_SUPER_USERS, Peer),
        row("POST",   "user",                "user.create",               |s| json!({"username": s.fresh, "password": PASSWORD}), OF_SUPER_USERS, Unsaid),
        row("PATCH",  "user",                "user.update_current",       |_| json!({"first_name": "Ann"}), OF_THE_SIGNED_IN, Caller),
        row("PATCH",  "user",                "user.update",               |s| json!({"user_id": s.peer, "first_name": "Ann"}), refused_as_input, Peer),
        row("DELETE", "user",                "user.delete",               peer, OF_SUPER_USERS, Peer),
        row("PATCH",  "user/password",       "user.change_password",      |_| json!({"old_password": PASSWORD, "new_password": "marble cloud engine 77"}), OF_THE_SIGNED_IN, Caller),
        row("PATCH",  "user/password",       "user.set_password",         |s| json!({"user_id": s.peer, "new_password": "marble cloud engine 77"}), refused_as_input, Peer),
        row("POST",   "user/approve",        "user.approve",              peer, refused_as_input, Peer),
        row("POST",   "user/reject",         "user.reject",               peer, refused_as_input, Peer),
        row("POST",   "user/lock",           "user.lock",                 peer, OF_SUPER_USERS, Peer),
        row("DELETE", "user/lock",           "user.unlock",               peer, OF_SUPER_USERS, Peer),
        row("PATCH",  "user/totp",           "user.replace_totp",         |_| json!({"totp_key": "", "totp_label": ""}), OF_THE_SIGNED_IN, Caller),
        Row { lenient: Some(refused_as_input),
              ..row("PATCH", "user/totp",    "user.replace_totp",         |s| json!({"user_id": s.peer, "totp_key": "", "totp_label": ""}), [SIGNED_OUT, "E008002", "E008002"], Peer) },
        row("GET",    "user/session",        "session.read",              target, OF_SUPER_USERS, Peer),
        row("POST",   "user/session",        "session.introspect",        target, OF_SUPER_USERS, Peer),
        row("PATCH",  "user/session",        "session.renew",             |_| json!({}), OF_THE_SIGNED_IN, Caller),
        row("GET",    "user/session/list",   "session.list",              |_| json!({}), OF_THE_SIGNED_IN, Caller),
        row("GET",    "user/session/list",   "session.list",              target, OF_SUPER_USERS, Peer),
        row("GET",    "user/linked",         "linked_account.list",       |_| json!({}), OF_THE_SIGNED_IN, Caller),
        row("GET",    "user/linked",         "linked_account.list",       peer, OF_SUPER_USERS, Peer),
        row("POST",   "user/linked",         "linked_account.link",       account, OF_SUPER_USERS, Peer),
        row("DELETE", "user/linked",         "linked_account.unlink",     linked, OF_SUPER_USERS, Peer),
        Row { lenient: Some(["ok"; 3]),
              ..row("POST", "user/signup",   "user.sign_up",              |s| json!({"username": s.fresh, "password": PASSWORD}), ["E002005"; 3], Unsaid) },
        row("PATCH",  "user/signup",         "user.confirm_sign_up",      |_| json!({"confirm_token": "x"}), ["E005006"; 3], Unsaid),
        row("POST",   "password/reset",      "password_reset.request",    |_| json!({}), ["ok"; 3], Unsaid),
        row("PATCH",  "password/reset",      "password_reset.open",       |s| json!({"token": s.token}), ["ok"; 3], Peer),
        row("DELETE", "password/reset",      "password_reset.finish",     |_| json!({"token": "x", "reset_key": "x", "password": PASSWORD}), ["E010001"; 3], Unsaid),
        row("POST",   "user/attr",           "user.set_attributes",       attribute, OF_SUPER_USERS, Peer),
        row("PATCH",  "user/attr",           "user.set_attributes",       attribute, OF_SUPER_USERS, Peer),
        row("PUT",    "user/attr",           "user.set_attributes",       attribute, OF_SUPER_USERS, Peer),
        row("DELETE", "user/attr",           "user.delete_attributes",    attribute, OF_SUPER_USERS, Peer),
        row("GET",    "user/attr",           "user.read_attribute",       attribute, OF_SUPER_USERS, Peer),
        row("GET",    "user/attr/exists",    "user.read_attribute",       attribute, OF_SUPER_USERS, Peer),
        row("GET",    "user/attr/names",     "user.list_attributes",      attribute, OF_SUPER_USERS, Peer),
        row("POST",   "session/attr",        "session.set_attributes",    session_attribute, OF_SUPER_USERS, Peer),
        row("PATCH",  "session/attr",        "session.set_attributes",    session_attribute, OF_SUPER_USERS, Peer),
        row("PUT",    "session/attr",        "session.set_attributes",    session_attribute, OF_SUPER_USERS, Peer),
        row("DELETE", "session/attr",        "session.delete_attributes", session_attribute, OF_SUPER_USERS, Peer),
        row("GET",    "session/attr",        "session.read_attribute",    session_attribute, OF_SUPER_USERS, Peer),
        row("GET",    "session/attr/exists", "session.read_attribute",    session_attribute, OF_SUPER_USERS, Peer),
        row("GET",    "session/attr/names",  "session.list_attributes",   session_attribute, OF_SUPER_USERS, Peer),
    ];
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        rows.push(row(method, "user/login", "session.sign_in", |s| json!({"username": s.name, "password": PASSWORD}), ["ok"; 3], Caller));
        rows.push(row(method, "user/logout", "session.sign_out", |_| json!({}), ["ok"; 3], Unsaid));
        rows.push(row(method, "user/search", "user.list", |s| json!({"username": s.peer_name}), ["E005001", "E005001", "ok"], Unsaid));
    }
    rows
}

/// A caller, and a peer to act on. Every attribute that a regular user does not see of itself has a value that can be recognised.
struct Stage {
    speaker: Speaker,
    name: String,
    caller_id: String,
    native: Client,
    peer: String,
    peer_id: String,
    peer_name: String,
    peer_ust: String,
    fresh: String,
    free: String,
    linked: String,
    token: String,
}

struct Scene {
    town: Town,
    root: Client,
    is_lenient: bool,
}

impl Scene {
    fn new(engine: Engine, is_lenient: bool) -> Self {
        let town = town_of_today(if is_lenient { parity(engine) } else { Site::new(engine) });
        Self { root: town.root(), town, is_lenient }
    }

    fn stage(&self, row: &Row, caller: Caller) -> Stage {
        let number = matrix::stage_number();
        let (name, peer_name) = (format!("caller-{number}"), format!("peer-{number}"));
        let role = if caller == Regular || caller == Nobody { "viewer" } else { "administrator" };
        let make = |name: &str, role: &str| {
            let body = json!({
                "username": name, "password": PASSWORD, "user_role": role, "email": format!("{name}@example.com"), "remark": "hidden-remark",
                "external_id": format!("hidden-{name}"), "valid_to": "2042-02-03T00:00:00Z", "first_name": "Ann", "lang_id": 7,
            });
            self.root.post("/api/v1/users", &body).expect(201).json["user_id"].as_str().unwrap().to_owned()
        };
        let (caller_id, peer_id) = (make(&name, role), make(&peer_name, "viewer"));
        let nobody = self.town.stranger();
        let speaker = match caller {
            Nobody => Speaker { ust: Some("none".to_owned()), ..nobody.clone() },
            Key => {
                let client = self.town.key(&caller_id, "manage");
                let key = client.header("authorization").trim_start_matches("Key ").to_owned();
                Speaker { client, ust: Some(key) }
            }
            Regular | SuperUser => nobody.sign_in(&name, PASSWORD),
        };
        let peer_ust = nobody.sign_in(&peer_name, PASSWORD).ust.unwrap();
        let (free, linked) = (format!("free-{number}"), format!("linked-{number}"));
        if row.path == "user/linked" {
            usher(&self.town.site, &["linked", "create", &free, "--password-stdin"], PASSWORD).expect(0);
            usher(&self.town.site, &["linked", "create", &linked, "--user", &peer_name, "--password-stdin"], PASSWORD).expect(0);
        }
        let token = if row.action == "password_reset.open" {
            self.town.usher(&["user", "reset-token", &peer_name]).expect(0).out.trim().to_owned()
        } else {
            String::new()
        };
        let native = self.town.anon().sign_in(&name, PASSWORD);
        let peer = spelt(&peer_id);
        Stage {
            speaker,
            name,
            caller_id,
            native,
            peer,
            peer_id,
            peer_name,
            peer_ust,
            fresh: format!("fresh-{number}"),
            free,
            linked,
            token,
        }
    }

    fn check(&self, row: &Row, caller: Caller) {
        let stage = self.stage(row, caller);
        let told = row.lenient.filter(|_| self.is_lenient).unwrap_or(row.told);
        let expected = match caller {
            Nobody | Key => told[0],
            Regular => told[1],
            SuperUser => told[2],
        };
        let answer = stage.speaker.say(row.method, row.path, (row.body)(&stage));
        let what = format!("{} {} {} as {caller:?}: {}", row.method, row.path, row.action, answer.text);
        let is_done = expected == "ok";
        assert_eq!(answer.status, if is_done { 200 } else { 403 }, "{what}");
        if is_done {
            assert_eq!((&answer.json["status"], &answer.json["sub_status"]), (&json!("ok"), &json!([])), "{what}");
            self.compare(row, caller, &stage, &answer, &what);
        } else {
            assert_eq!((&answer.json["status"], &answer.json["sub_status"]), (&json!("error"), &json!([expected])), "{what}");
            assert_eq!(sorted(&answer.json), ALWAYS, "{what}");
        }
        self.check_event(row, caller, &stage, &answer, is_done, &what);
    }

    /// What the answer tells of users is in the caller's native view of them; of secrets it has what it is meant to tell.
    fn compare(&self, row: &Row, caller: Caller, stage: &Stage, answer: &Answer, what: &str) {
        for text in ["hidden-", "2042-02-03"] {
            assert!(!answer.text.contains(text), "{text} is told: {what}");
        }
        if caller != SuperUser {
            for other in [&stage.peer, &stage.peer_id, &stage.peer_ust] {
                assert!(!answer.text.contains(other.as_str()), "{other} is told: {what}");
            }
        }
        let listed = answer.json["result"].as_array().cloned().unwrap_or_default();
        let users = [answer.json.clone()].into_iter().chain(listed).filter(|told| told.get("is_totp_enabled").is_some());
        for user in users {
            let id = user.get("user_id").map_or(stage.caller_id.clone(), |id| self.id_of(id.as_str().unwrap(), stage));
            let path = if id == stage.caller_id { "/api/v1/users/me".to_owned() } else { format!("/api/v1/users/{id}") };
            let native = stage.native.get(&path).expect(200).json;
            for key in sorted(&user).into_iter().filter(|key| !ALWAYS.contains(key)) {
                let value = &user[key];
                if !OWN.contains(&key) && !OF_SUPER_USERS.contains(&key) {
                    // What an item of a search has besides is the same for everyone.
                    assert!(value.is_null() || value == false, "{key}: {what}");
                    continue;
                }
                let seen = native.get(key).unwrap_or_else(|| panic!("{key} is hidden natively: {what}"));
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let is_same = match key {
                    "user_id" | "locked_by" | "approval_status_mod_by" if seen.is_string() => text(value) == spelt(&text(seen)),
                    "approval_status_mod_by" => value == "auto",
                    "totp_label" => text(value) == text(seen),
                    "password_expiry" if seen.is_null() => value == "9999-12-31T00:00:00",
                    "creation_ctx" => text(value).parse::<Value>().unwrap() == *seen,
                    "is_approval_needed" => true,
                    // A name to show that nobody gave is the username natively, and empty here.
                    "display_name" => value == seen || (value == "" && seen == &native["username"]),
                    // Six digits after the second or none here; natively as many as it takes.
                    _ if seen.is_string() && text(seen).ends_with('Z') => {
                        let told = text(value);
                        let trimmed = if told.contains('.') { told.trim_end_matches('0') } else { &told };
                        trimmed == text(seen).trim_end_matches('Z')
                    }
                    _ => value == seen,
                };
                assert!(is_same, "{key}: {value} is not {seen}: {what}");
            }
        }
        // Secrets are told by the calls that are for it.
        let allowed: &[&str] = match row.action {
            "session.sign_in" | "user.change_password" => &["ust"],
            "session.list" => &["ust"],
            "user.replace_totp" => &["totp_key"],
            "user.list" => &["totp_key"],
            "user.sign_up" => &["confirm_token"],
            "password_reset.open" => &["reset_key"],
            _ => &[],
        };
        let mut secrets = BTreeSet::new();
        names(&answer.json, &mut secrets);
        for name in secrets
            .iter()
            .filter(|name| ["ust", "totp_key", "confirm_token", "reset_key", "token", "password"].contains(&name.as_str()))
        {
            assert!(allowed.contains(&name.as_str()), "{name} is told: {what}");
        }
    }

    fn id_of(&self, spelling: &str, stage: &Stage) -> String {
        let known = [&stage.caller_id, &stage.peer_id].into_iter().find(|id| spelt(id) == spelling);
        known.cloned().unwrap_or_else(|| {
            let read = usher::domain::zato::read(spelling).unwrap();
            read.to_string()
        })
    }

    fn check_event(&self, row: &Row, caller: Caller, stage: &Stage, answer: &Answer, is_done: bool, what: &str) {
        let event = matrix::event_of(&self.root, answer, what);
        // What a call of several uses set out to do is known once it was let in.
        let action = match (row.action, caller) {
            ("user.read", Nobody | Key) => "user.read_current",
            ("user.update", Nobody | Key) => "user.update_current",
            ("user.set_password", Nobody | Key | Regular) => "user.change_password",
            (action, _) => action,
        };
        assert_eq!(event["action"], action, "{what}");
        let is_silent = ["user/logout", "password/reset"].contains(&row.path) && !event["reason"].is_null();
        assert_eq!(event["outcome"], if is_done && !is_silent { "success" } else { "refused" }, "{what}");
        let is_open = ["user/login", "user/signup", "password/reset"].contains(&row.path);
        let actor = match caller {
            Regular | SuperUser if !is_open => json!(stage.caller_id),
            _ if row.path == "user/login" => json!(stage.caller_id),
            _ => Value::Null,
        };
        assert_eq!(event["actor"], actor, "{what}");
        let subject = match row.subject {
            Subject::Caller => &stage.caller_id,
            Subject::Peer => &stage.peer_id,
            Subject::Unsaid => return,
        };
        if is_done {
            assert_eq!(event["subject"], subject.as_str(), "{what}");
        }
    }
}

fn spelt(id: &str) -> String {
    usher::domain::zato::spelt(id.parse().unwrap())
}

/// The names of all members that have a value.
fn names(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
                found.insert(name.clone());
                names(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| names(item, found)),
        _ => {}
    }
}

both! {
    fn every_zato_route_as_every_caller(engine) {
        let routes = matrix::routes_of(Dialect::Zato);
        let rows = rows();
        let covered: BTreeSet<_> = rows.iter().map(|row| (row.method.to_owned(), format!("/zato/sso/{}", row.path))).collect();
        assert_eq!(routes, covered, "the routes and the table of this test differ");
        for is_lenient in [false, true] {
            let scene = Scene::new(engine, is_lenient);
            for row in &rows {
                for caller in [Nobody, Key, Regular, SuperUser] {
                    scene.check(row, caller);
                }
            }
            scene.town.usher(&["audit", "verify"]).expect(0);
        }
    }

    /// The exceptions are those that there are, no more, and each needs its switch.
    fn every_zato_exception_is_one(engine) {
        let expected = [("super_user", "totp_key"), ("anyone", "confirm_token")];
        let expected: BTreeSet<_> = expected.map(|(viewer, key)| (viewer.to_owned(), key.to_owned())).into_iter().collect();
        assert_eq!(matrix::documented_exceptions("zato.md"), expected);
        let give = |town: &Town| {
            let peer = town.chief().make("peer");
            town.chief().say("PATCH", "user/totp", json!({"user_id": peer, "totp_key": "", "totp_label": ""}))
        };
        let sign_up = |town: &Town| town.stranger().say("POST", "user/signup", json!({"username": "ann", "password": PASSWORD, "current_app": APP}));
        let [lenient, safe] = crate::zato::towns(engine);
        assert!(give(&lenient).done().json["totp_key"].is_string() && sign_up(&lenient).done().json["confirm_token"].is_string());
        give(&safe).no("E008002");
        sign_up(&safe).no("E002005");
    }
}
