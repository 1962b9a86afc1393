//! Every route of the ECM's dialect as every caller (S27, S28, R2): status, keys and audit event are compared with the table below, which
//! is written by hand and apart from the code; and nothing that an answer shows is hidden by the native view from the same caller.

use crate::both;
use crate::ecm::{DETAIL, GROUP, LISTED, guid};
use crate::harness::{Answer, Client, Engine, PASSWORD, Town, matrix};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use usher::http::Dialect;

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Nobody,
    Owner,
    SuperUser,
    Application,
}
use Caller::{Application, Nobody, Owner, SuperUser};
const CALLERS: [Caller; 4] = [Nobody, Owner, SuperUser, Application];

/// What an owner sees of itself, in the order of the answer.
const OWN: &[&str] =
    &["username", "login_name", "display_name", "email", "guid", "lang_id", "login_station", "login_time", "mfa_flag"];
const CHECKED: &[&str] = &["status", "login_method", "password_expires_in_days", "reason"];

/// What an answer has in it.
#[derive(Clone, Copy)]
enum Shape {
    Keys(&'static [&'static str]),
    /// A list, each item with these keys.
    List(&'static [&'static str]),
    Empty,
}
use Shape::{Empty, Keys, List};

/// On whom a call is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    Caller,
    Peer,
    Group,
    /// The answer's guid.
    Shown,
    None,
}

struct Row {
    method: &'static str,
    path: &'static str,
    body: fn(&Stage) -> Option<Value>,
    /// The status for nobody, an owner, a super-user, an application.
    status: [u16; 4],
    shape: Shape,
    action: &'static str,
    subject: Subject,
}

const NO_BODY: fn(&Stage) -> Option<Value> = |_| None;
const OF_SUPER_USERS: fn(u16) -> [u16; 4] = |status| [401, 403, status, 401];

/// The segments in braces are names at `user/`, `group/` and `group_members/` of a GET, else guids. `{own…}` is the caller's.
#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let row = |method, path, body, status, shape, action, subject| Row { method, path, body, status, shape, action, subject };
    vec![
        row("get",    "users",                           NO_BODY, OF_SUPER_USERS(200), List(LISTED), "user.list", Subject::None),
        row("get",    "users?extended_info=true",        NO_BODY, OF_SUPER_USERS(200), List(LISTED), "user.list", Subject::None),
        row("post",   "users",                           |s| Some(json!({"username": s.fresh_name, "password": PASSWORD})), OF_SUPER_USERS(201), Keys(DETAIL), "user.create", Subject::Shown),
        row("get",    "user/{peer_name}",                NO_BODY, OF_SUPER_USERS(200), Keys(DETAIL), "user.read", Subject::Peer),
        row("get",    "user/{own_name}",                 NO_BODY, [401, 200, 200, 401], Keys(OWN),   "user.read", Subject::Caller),
        row("patch",  "user/{peer}",                     |_| Some(json!({"remark": "x"})), OF_SUPER_USERS(200), Keys(DETAIL), "user.update", Subject::Peer),
        row("put",    "user/{peer}",                     |_| Some(json!({"remark": "x"})), OF_SUPER_USERS(200), Keys(DETAIL), "user.update", Subject::Peer),
        row("patch",  "user/{peer}",                     |_| Some(json!({"locked": true})), OF_SUPER_USERS(200), Keys(DETAIL), "user.lock", Subject::Peer),
        row("patch",  "user/{peer}",                     |_| Some(json!({"locked": false})), OF_SUPER_USERS(200), Keys(DETAIL), "user.unlock", Subject::Peer),
        row("patch",  "user/{peer}",                     |_| Some(json!({"password": "violet harbour lantern 9"})), OF_SUPER_USERS(200), Keys(DETAIL), "user.set_password", Subject::Peer),
        row("delete", "user/{peer}",                     NO_BODY, OF_SUPER_USERS(204), Empty, "user.delete", Subject::Peer),
        row("get",    "user_groups/{peer}",              NO_BODY, OF_SUPER_USERS(200), List(GROUP), "user.read", Subject::Peer),
        row("get",    "user_groups/{own}",               NO_BODY, [401, 200, 200, 401], List(&["name", "guid"]), "user.read", Subject::Caller),
        row("delete", "user_groups/{peer}",              NO_BODY, OF_SUPER_USERS(204), Empty, "group.remove_member", Subject::Peer),
        row("put",    "user_groups/{peer}/{group}",      NO_BODY, OF_SUPER_USERS(204), Empty, "group.add_member", Subject::Peer),
        row("delete", "user_groups/{peer}/{group}",      NO_BODY, OF_SUPER_USERS(204), Empty, "group.remove_member", Subject::Peer),
        row("get",    "groups",                          NO_BODY, OF_SUPER_USERS(200), List(GROUP), "group.list", Subject::None),
        row("post",   "groups",                          |s| Some(json!({"name": s.fresh_name})), OF_SUPER_USERS(201), Keys(GROUP), "group.create", Subject::Shown),
        row("get",    "group/{group_name}",              NO_BODY, OF_SUPER_USERS(200), Keys(GROUP), "group.read", Subject::Group),
        row("patch",  "group/{group}",                   |_| Some(json!({"description": "x"})), OF_SUPER_USERS(200), Keys(GROUP), "group.update", Subject::Group),
        row("put",    "group/{group}",                   |_| Some(json!({"description": "x"})), OF_SUPER_USERS(200), Keys(GROUP), "group.update", Subject::Group),
        row("delete", "group/{empty_group}",             NO_BODY, OF_SUPER_USERS(204), Empty, "group.delete", Subject::None),
        row("post",   "group/{group}/empty",             NO_BODY, OF_SUPER_USERS(204), Empty, "group.empty", Subject::Group),
        row("get",    "group_members/{group_name}",      NO_BODY, OF_SUPER_USERS(200), List(LISTED), "group.list_members", Subject::Group),
        row("get",    "roles",                           NO_BODY, [401, 200, 200, 401], List(&["id", "name"]), "user.read_current", Subject::Caller),
        row("get",    "roles/{own}",                     NO_BODY, [401, 200, 200, 401], List(&["id", "name"]), "user.read", Subject::Caller),
        row("get",    "roles/{peer}",                    NO_BODY, OF_SUPER_USERS(200), List(&["id", "name"]), "user.read", Subject::Peer),
        row("post",   "check_user_account",              |s| Some(json!({"username": s.peer_name, "password": PASSWORD})), [401, 403, 200, 200], Keys(CHECKED), "user.check_account", Subject::Peer),
        row("post",   "check_password_complexity",       |_| Some(json!({"password": PASSWORD})), [401, 200, 200, 401], Keys(&["is_complex", "causes"]), "user.judge_password", Subject::Caller),
    ]
}

/// A caller, and a peer to act on. Every attribute that a regular user does not see of itself has a value that can be recognised.
struct Stage {
    client: Client,
    name: String,
    peer: String,
    peer_name: String,
    fresh_name: String,
    group: String,
    group_name: String,
    empty_group: String,
}

struct Scene {
    town: Town,
    root: Client,
    key: String,
}

impl Scene {
    fn new(engine: Engine) -> Self {
        let town = Town::new(engine);
        let created = town.usher(&["app", "create", "desk", "--json"]).expect(0).json();
        let key = created["key"].as_str().unwrap().to_owned();
        Self { root: town.root(), town, key }
    }

    fn stage(&self, caller: Caller) -> Stage {
        let number = matrix::stage_number();
        let (name, peer_name, group_name) = (format!("caller-{number}"), format!("peer-{number}"), format!("group-{number}"));
        let role = if caller == SuperUser { "administrator" } else { "viewer" };
        let made =
            |path: &str, id: &str, body: &Value| self.root.post(path, body).expect(201).json[id].as_str().unwrap().to_owned();
        let user = |name: &str, role: &str| {
            let body = json!({
                "username": name, "password": PASSWORD, "user_role": role, "external_id": format!("hidden-external-{name}"),
                "remark": "hidden-remark", "station": "hidden-station", "profile_id": 424_201, "server_id": 424_202, "flags": 424_203,
                "account_type": 424_204, "supervisor_id": self.town.root_id, "valid_to": "2042-02-03T00:00:00Z",
            });
            made("/api/v1/users", "user_id", &body)
        };
        let (id, peer) = (user(&name, role), user(&peer_name, "viewer"));
        let body = json!({"name": group_name, "description": "hidden-description", "profile_id": 424_205});
        let group = made("/api/v1/groups", "group_id", &body);
        for member in [&id, &peer] {
            self.root.post(&format!("/api/v1/groups/{group}/members"), &json!({"user_id": member})).expect(200);
        }
        let empty_group = made("/api/v1/groups", "group_id", &json!({"name": format!("empty-{number}")}));
        let anon = self.town.anon();
        let client = match caller {
            Nobody => anon,
            Application => anon.with("x-current-app", "desk").with("x-application-key", &self.key),
            Owner | SuperUser => anon.sign_in(&name, PASSWORD),
        };
        Stage { client, name, peer, peer_name, fresh_name: format!("fresh-{number}"), group, group_name, empty_group }
    }

    /// Makes one call of the table and compares everything about it.
    fn check(&self, row: &Row, caller: Caller) {
        let stage = self.stage(caller);
        let path = row.path.replace("{peer_name}", &stage.peer_name).replace("{own_name}", &stage.name);
        let path = path.replace("{group_name}", &stage.group_name).replace("{empty_group}", &guid(&stage.empty_group));
        let own = stage.client.user_id.as_deref().unwrap_or(&stage.peer);
        let path =
            path.replace("{peer}", &guid(&stage.peer)).replace("{group}", &guid(&stage.group)).replace("{own}", &guid(own));
        let body = (row.body)(&stage).map(|b| b.to_string());
        let answer = stage.client.call(&row.method.to_uppercase(), &format!("/ecm/security/{path}"), body);
        let what = format!("{} {} as {caller:?}: {}", row.method, row.path, answer.text);
        let place = CALLERS.iter().position(|c| *c == caller).unwrap();
        assert_eq!(answer.status, row.status[place], "{what}");
        if answer.status < 300 {
            self.check_shape(row, caller, &stage, &answer, &what);
        } else {
            assert_eq!(answer.keys(), ["error", "message", "code", "cid", "errors"], "{what}");
            let kind = if answer.status == 404 { "not_found" } else { "access_denied" };
            assert_eq!(answer.json["error"], kind, "{what}");
        }
        self.check_event(row, caller, &stage, &answer, &what);
    }

    fn check_shape(&self, row: &Row, caller: Caller, stage: &Stage, answer: &Answer, what: &str) {
        // Of itself a super-user sees as much as of others.
        let expected = |keys: &'static [&'static str]| match (caller, keys) {
            (SuperUser, keys) if keys == OWN => DETAIL,
            (SuperUser, ["name", "guid"]) => GROUP,
            (_, keys) => keys,
        };
        match row.shape {
            Keys(keys) => assert_eq!(answer.keys(), expected(keys), "{what}"),
            List(keys) => {
                let items = answer.json.as_array().unwrap();
                let may_be_none = row.path.starts_with("roles");
                assert!(may_be_none || !items.is_empty(), "{what}");
                for item in items {
                    assert_eq!(item.as_object().unwrap().keys().collect::<Vec<_>>(), expected(keys), "{what}");
                }
            }
            Empty => assert!(answer.text.is_empty(), "{what}"),
        }
        if caller == SuperUser {
            self.compare_with_native(stage, answer, what);
        } else {
            let hidden = ["hidden-", "42420", "2042-02-03", &self.town.root_id, &guid(&self.town.root_id)];
            hidden.iter().for_each(|text| assert!(!answer.text.contains(text), "{text} is told: {what}"));
            if caller == Owner {
                self.compare_with_native(stage, answer, what);
            }
        }
    }

    /// Every field that shows a user is drawn from an attribute that the same caller reads natively, and says the same.
    fn compare_with_native(&self, stage: &Stage, answer: &Answer, what: &str) {
        let views = stage.client.get("/api/v1/views").expect(200).json;
        let readable: Vec<&str> = views["attributes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|a| a["readable"] == true)
            .map(|a| a["name"].as_str().unwrap())
            .collect();
        let users = match &answer.json {
            Value::Array(items) => items.clone(),
            item => vec![item.clone()],
        };
        for user in users.iter().filter(|user| user.get("username").is_some()) {
            let id = user["guid"].as_str().unwrap();
            let is_own = stage.client.user_id.as_deref().is_some_and(|own| guid(own) == id);
            let path = if is_own { "/api/v1/users/me".to_owned() } else { format!("/api/v1/users/{id}") };
            let native = stage.client.get(&path).expect(200).json;
            let number = |id: &Value| {
                id.as_str().map_or(json!(-1), |id| self.root.get(&format!("/api/v1/users/{id}")).json["number"].clone())
            };
            let is_brief = what.contains("get users as") || what.contains("group_members");
            for (field, value) in user.as_object().unwrap() {
                let (attribute, of_native): (&str, fn(&Value) -> Value) = source(field);
                assert!(readable.contains(&attribute), "{attribute} is hidden natively: {what}");
                let expected = match field.as_str() {
                    "supervisor_id" => number(&native[attribute]),
                    "remark" if is_brief => json!(""),
                    "valid_from" | "valid_to" if is_brief => Value::Null,
                    "groups" if is_brief => json!([]),
                    _ => of_native(&native[attribute]),
                };
                assert_eq!(*value, expected, "{field}: {what}");
            }
        }
    }

    /// The call left exactly one event, with the native action.
    fn check_event(&self, row: &Row, caller: Caller, stage: &Stage, answer: &Answer, what: &str) {
        let event = &matrix::event_of(&self.root, answer, what);
        // What an update turns out to be is known once it was read.
        let is_update = ["user.lock", "user.unlock", "user.set_password"].contains(&row.action) && answer.status >= 300;
        assert_eq!(event["action"], if is_update { "user.update" } else { row.action }, "{what}");
        assert_eq!(event["outcome"], if answer.status < 300 { "success" } else { "refused" }, "{what}");
        let (kind, actor) = match caller {
            Nobody => ("anonymous", Value::Null),
            Application if answer.status < 300 => ("application", "desk".into()),
            Application => ("anonymous", Value::Null),
            Owner | SuperUser => ("user", stage.client.id().into()),
        };
        assert_eq!((event["actor_type"].as_str(), &event["actor"]), (Some(kind), &actor), "{what}");
        if answer.status < 300 {
            let subject = match row.subject {
                Subject::Caller => stage.client.id().to_owned(),
                Subject::Peer => stage.peer.clone(),
                Subject::Group => stage.group.clone(),
                Subject::Shown => {
                    assert_eq!(guid(event["subject"].as_str().unwrap()), answer.json["guid"], "{what}");
                    return;
                }
                Subject::None => return,
            };
            assert_eq!(event["subject"], subject, "{what}");
        } else if row.path.contains("{peer}") {
            assert_eq!(event["subject"], stage.peer, "{what}");
        }
    }
}

/// From which attribute a field is drawn, and how; by hand, after the table of `docs/dialects/ecm.md`.
fn source(field: &str) -> (&'static str, fn(&Value) -> Value) {
    fn same(value: &Value) -> Value {
        value.clone()
    }
    fn text(value: &Value) -> Value {
        value.as_str().unwrap_or_default().into()
    }
    fn naive(value: &Value) -> Value {
        value.as_str().map(|time| time.replace('Z', "")).into()
    }
    fn or_none(value: &Value) -> Value {
        value.as_i64().unwrap_or(-1).into()
    }
    fn or_zero(value: &Value) -> Value {
        value.as_i64().unwrap_or(0).into()
    }
    match field {
        "id" => ("number", same),
        "guid" => ("user_id", |id| guid(id.as_str().unwrap()).into()),
        "username" => ("username", same),
        "login_name" => ("login_name", same),
        "display_name" => ("display_name", same),
        "email" => ("email", text),
        "profile_id" => ("profile_id", or_none),
        "locked" => ("is_locked", same),
        "locked_cause" => ("lock_cause", |cause| match cause.as_str() {
            None => json!(0),
            Some("administrator") => json!(1),
            Some(_) => json!(2),
        }),
        "remark" => ("remark", text),
        "account_type" => ("account_type", same),
        "flags" => ("flags", same),
        "lang_id" => ("lang_id", or_zero),
        "login_count" => ("login_count", same),
        "login_station" => ("login_station", text),
        "login_time" => ("login_time", same),
        "last_modified" => ("updated_time", same),
        "mfa_flag" => ("is_totp_enabled", |is_on| json!(i32::from(is_on == true))),
        "never_expire" => ("never_expire", same),
        "change_pwd" => ("password_must_change", same),
        "pwd_changed" => ("password_last_set", same),
        "server_id" => ("server_id", or_zero),
        "station" => ("station", text),
        "supervisor_id" => ("supervisor_id", same),
        "valid_from" => ("valid_from", naive),
        "valid_to" => ("valid_to", naive),
        "groups" => ("groups", |groups| groups.as_array().unwrap().iter().map(|g| g["name"].clone()).collect()),
        "password_never_expires" => ("password_never_expires", same),
        "failed_login_count" => ("failed_login_count", same),
        other => panic!("{other} is in no row"),
    }
}

both! {
    fn every_ecm_route_as_every_caller(engine) {
        let scene = Scene::new(engine);
        let below = |path: String| path.strip_prefix("/ecm/security/").unwrap().to_owned();
        let routes = matrix::routes_of(Dialect::Ecm).into_iter().map(|(method, path)| (method.to_lowercase(), below(path)));
        let routes: BTreeSet<(String, String)> = routes.collect();
        let native = |path: &str| {
            let path = path.split('?').next().unwrap();
            let users = ["{peer_name}", "{own_name}", "{peer}", "{own}"].iter().fold(path.to_owned(), |p, n| p.replace(n, "{user_id}"));
            ["{group_name}", "{group}", "{empty_group}"].iter().fold(users, |p, n| p.replace(n, "{group_id}"))
        };
        let rows = rows();
        let covered: BTreeSet<_> = rows.iter().map(|r| (r.method.to_owned(), native(r.path))).collect();
        assert_eq!(routes, covered, "the routes and the table of this test differ");
        for row in &rows {
            for caller in CALLERS {
                scene.check(row, caller);
            }
        }
        scene.town.usher(&["audit", "verify"]).expect(0);
    }
}
