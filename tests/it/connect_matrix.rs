//! Every route of Connect's dialect as every caller (S27, S28): status, event, and that nothing is told that the caller's native view
//! hides, but for what the documentation lists with its reason. A route without a row here fails.

use crate::both;
use crate::harness::{Answer, Client, Engine, PASSWORD, Site, Town, matrix};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Nobody,
    /// A user who is no super-user, by a key that may only read, and by one that may change as well.
    Reader,
    Manager,
    /// A super-user, by the same.
    RootReader,
    RootManager,
}
use Caller::{Manager, Nobody, Reader, RootManager, RootReader};
const CALLERS: [Caller; 5] = [Nobody, Reader, Manager, RootReader, RootManager];

/// What an answer has in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    User,
    Users,
    Group,
    Groups,
    /// Nothing about anyone.
    Neutral,
}

/// On whom a call is, for its event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    Caller,
    Peer,
    Group,
    Shown,
    None,
}

struct Row {
    method: &'static str,
    path: &'static str,
    body: fn(&Stage) -> Option<Value>,
    /// The status for a user who is no super-user, and for a super-user, by a key that may do it.
    status: [u16; 2],
    shape: Shape,
    action: &'static str,
    subject: Subject,
}

const NO_BODY: fn(&Stage) -> Option<Value> = |_| None;

#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row { method: "GET",    path: "/__api__/server_settings",                        body: NO_BODY, status: [200, 200], shape: Shape::Neutral, action: "settings.read", subject: Subject::None },
    Row { method: "GET",    path: "/__api__/v1/content",                             body: NO_BODY, status: [200, 200], shape: Shape::Neutral, action: "content.list", subject: Subject::None },
    Row { method: "GET",    path: "/__api__/v1/user",                                body: NO_BODY, status: [200, 200], shape: Shape::User, action: "user.read_current", subject: Subject::Caller },
    Row { method: "GET",    path: "/__api__/v1/users",                               body: NO_BODY, status: [200, 200], shape: Shape::Users, action: "user.list", subject: Subject::None },
    Row { method: "POST",   path: "/__api__/v1/users",                               body: |s| Some(json!({"username": s.fresh_name, "password": PASSWORD})), status: [403, 200], shape: Shape::User, action: "user.create", subject: Subject::Shown },
    Row { method: "GET",    path: "/__api__/v1/users/{user_id}",                     body: NO_BODY, status: [403, 200], shape: Shape::User, action: "user.read", subject: Subject::Peer },
    Row { method: "PUT",    path: "/__api__/v1/users/{user_id}",                     body: |_| Some(json!({"first_name": "Ann"})), status: [403, 200], shape: Shape::User, action: "user.update", subject: Subject::Peer },
    Row { method: "POST",   path: "/__api__/v1/users/{user_id}/lock",                body: |_| Some(json!({"locked": true})), status: [403, 204], shape: Shape::Neutral, action: "user.lock", subject: Subject::Peer },
    Row { method: "GET",    path: "/__api__/v1/groups",                              body: NO_BODY, status: [200, 200], shape: Shape::Groups, action: "group.list", subject: Subject::None },
    Row { method: "POST",   path: "/__api__/v1/groups",                              body: |s| Some(json!({"name": s.fresh_name})), status: [403, 200], shape: Shape::Group, action: "group.create", subject: Subject::Shown },
    Row { method: "GET",    path: "/__api__/v1/groups/{group_id}",                   body: NO_BODY, status: [403, 200], shape: Shape::Group, action: "group.read", subject: Subject::Group },
    Row { method: "DELETE", path: "/__api__/v1/groups/{group_id}",                   body: NO_BODY, status: [403, 204], shape: Shape::Neutral, action: "group.delete", subject: Subject::Group },
    Row { method: "GET",    path: "/__api__/v1/groups/{group_id}/members",           body: NO_BODY, status: [403, 200], shape: Shape::Users, action: "group.list_members", subject: Subject::Group },
    Row { method: "POST",   path: "/__api__/v1/groups/{group_id}/members",           body: |s| Some(json!({"user_guid": s.fresh_id})), status: [403, 204], shape: Shape::Neutral, action: "group.add_member", subject: Subject::None },
    Row { method: "DELETE", path: "/__api__/v1/groups/{group_id}/members/{user_id}", body: NO_BODY, status: [403, 204], shape: Shape::Neutral, action: "group.remove_member", subject: Subject::Peer },
];

/// A caller, a peer to act on with a group that the peer is in, and the caller's native view of itself.
struct Stage {
    client: Client,
    caller_id: String,
    native: Client,
    peer: String,
    group: String,
    fresh_name: String,
    fresh_id: String,
}

struct Scene {
    town: Town,
    root: Client,
    is_list_open: bool,
}

/// The key of a user in the dialect, and the attribute that it shows.
const ATTRIBUTES: &[(&str, &str)] = &[
    ("email", "email"),
    ("username", "username"),
    ("first_name", "first_name"),
    ("last_name", "last_name"),
    ("user_role", "user_role"),
    ("created_time", "created_time"),
    ("updated_time", "updated_time"),
    ("active_time", "active_time"),
    ("confirmed", "confirmed"),
    ("locked", "is_locked"),
    ("guid", "user_id"),
];

/// What the documentation says is shown although the native view hides it: viewer and key.
fn documented_exceptions() -> BTreeSet<(String, String)> {
    matrix::documented_exceptions("connect.md")
}

impl Scene {
    fn new(engine: Engine, is_list_open: bool) -> Self {
        let town = Town::on(Site::new(engine).with("connect.open_user_list", &is_list_open.to_string()));
        Self { root: town.root(), town, is_list_open }
    }

    fn stage(&self, caller: Caller) -> Stage {
        let number = matrix::stage_number();
        let make = |name: &str, role: &str| {
            let body = json!({"username": name, "password": PASSWORD, "user_role": role, "email": format!("{name}@example.com"), "remark": "kept apart"});
            self.root.post("/api/v1/users", &body).expect(201).json["user_id"].as_str().unwrap().to_owned()
        };
        let (name, role) = match caller {
            Nobody | Reader | Manager => (format!("caller-{number}"), "publisher"),
            RootReader | RootManager => (format!("root-{number}"), "administrator"),
        };
        let (caller_id, peer, fresh_id) =
            (make(&name, role), make(&format!("peer-{number}"), "viewer"), make(&format!("extra-{number}"), "viewer"));
        let group =
            self.root.post("/api/v1/groups", &json!({"name": format!("group-{number}")})).expect(201).json["group_id"].clone();
        let group = group.as_str().unwrap().to_owned();
        self.root.post(&format!("/api/v1/groups/{group}/members"), &json!({"user_id": peer})).expect(200);
        let client = match caller {
            Nobody => self.town.anon(),
            Reader | RootReader => self.town.key(&caller_id, "read"),
            Manager | RootManager => self.town.key(&caller_id, "manage"),
        };
        let native = self.town.anon().sign_in(&name, PASSWORD);
        Stage { client, caller_id, native, peer, group, fresh_name: format!("fresh-{number}"), fresh_id }
    }

    fn expected(&self, row: &Row, caller: Caller) -> u16 {
        let [of_other, of_root] = row.status;
        // An open list shows others, and nothing else.
        let of_other = if self.is_list_open && row.action == "user.read" { 200 } else { of_other };
        match caller {
            Nobody => 401,
            Reader | RootReader if row.method != "GET" => 403,
            Reader | Manager => of_other,
            RootReader | RootManager => of_root,
        }
    }

    fn check(&self, row: &Row, caller: Caller) {
        let stage = self.stage(caller);
        let path = row.path.replace("{user_id}", &stage.peer).replace("{group_id}", &stage.group);
        let answer = stage.client.call(row.method, &path, (row.body)(&stage).map(|body| body.to_string()));
        let what = format!("{} {} as {caller:?}: {}", row.method, row.path, answer.text);
        assert_eq!(answer.status, self.expected(row, caller), "{what}");
        if answer.status >= 300 {
            assert_eq!(answer.keys(), ["code", "error", "payload"], "{what}");
        } else {
            self.compare(row, &stage, &answer, &what);
        }
        self.check_event(row, caller, &stage, &answer, &what);
    }

    /// What the answer tells of users is in the caller's native view of them, or among what the documentation lists.
    fn compare(&self, row: &Row, stage: &Stage, answer: &Answer, what: &str) {
        let users: Vec<&Value> = match row.shape {
            Shape::User => vec![&answer.json],
            Shape::Users => answer.json["results"].as_array().unwrap().iter().collect(),
            Shape::Group => {
                assert_eq!(answer.keys(), ["guid", "name", "owner_guid"], "{what}");
                return;
            }
            Shape::Groups => {
                for group in answer.json["results"].as_array().unwrap() {
                    assert_eq!(group.as_object().unwrap().keys().collect::<Vec<_>>(), ["guid", "name", "owner_guid"], "{what}");
                }
                return;
            }
            Shape::Neutral => return,
        };
        assert!(!users.is_empty(), "{what}");
        for user in users {
            assert_eq!(user.as_object().unwrap().len(), ATTRIBUTES.len(), "{what}");
            let guid = user["guid"].as_str().unwrap();
            let is_oneself = guid == stage.caller_id;
            let native = match stage.native.get(&format!("/api/v1/users/{guid}")) {
                seen if seen.status == 200 => seen.json,
                _ if is_oneself => stage.native.get("/api/v1/users/me").expect(200).json,
                _ => json!({}),
            };
            let viewer = if is_oneself { "owner" } else { "colleague" };
            for (key, attribute) in ATTRIBUTES {
                let told = &user[key];
                // A time is told to the second.
                let is_seen = match (told, &native[attribute]) {
                    (Value::String(told), Value::String(seen)) => seen.starts_with(told.trim_end_matches('Z')),
                    (told, seen) => told == seen,
                };
                let is_listed = documented_exceptions().contains(&(viewer.to_owned(), (*key).to_owned()));
                assert!(told.is_null() || told == "" || is_seen || is_listed, "{key} is told, but hidden natively: {what}");
            }
        }
    }

    /// The call left exactly one event.
    fn check_event(&self, row: &Row, caller: Caller, stage: &Stage, answer: &Answer, what: &str) {
        let event = &matrix::event_of(&self.root, answer, what);
        assert_eq!(event["action"], row.action, "{what}");
        assert_eq!(event["outcome"], if answer.status < 300 { "success" } else { "refused" }, "{what}");
        assert_eq!(event["reason"].is_null(), answer.status < 300, "{what}");
        let actor = if caller == Nobody { Value::Null } else { stage.caller_id.clone().into() };
        assert_eq!(event["actor"], actor, "{what}");
        let expected = match row.subject {
            Subject::Caller => stage.caller_id.clone().into(),
            Subject::Peer => stage.peer.clone().into(),
            Subject::Group => stage.group.clone().into(),
            Subject::Shown => answer.json["guid"].clone(),
            Subject::None => return,
        };
        if answer.status < 300 || row.path.contains("_id}") {
            assert_eq!(event["subject"], expected, "{what}");
        }
    }
}

both! {
    fn every_route_as_every_caller(engine) {
        let routes = matrix::routes_of(usher::http::Dialect::Connect);
        let rows: BTreeSet<_> = TABLE.iter().map(|row| (row.method.to_owned(), row.path.to_owned())).collect();
        assert_eq!(routes, rows, "the routes and the table of this test differ");
        for is_list_open in [false, true] {
            let scene = Scene::new(engine, is_list_open);
            for row in TABLE {
                CALLERS.into_iter().for_each(|caller| scene.check(row, caller));
            }
        }
    }

    /// The exceptions are those that there are, no more: each is shown to somebody.
    fn every_exception_is_one(engine) {
        let expected = [("owner", "confirmed"), ("owner", "locked")].into_iter().chain(
            ["guid", "username", "first_name", "last_name", "user_role"].map(|key| ("colleague", key)),
        );
        let expected: BTreeSet<_> = expected.map(|(viewer, key)| (viewer.to_owned(), key.to_owned())).collect();
        assert_eq!(documented_exceptions(), expected);
        // The table of attributes says the same of colleagues.
        let document = Town::new(engine).anon().get("/openapi.json").expect(200).json;
        let seen = document["components"]["schemas"]["User"]["properties"].as_object().unwrap().iter();
        let seen: BTreeSet<&str> = seen.filter(|(_, a)| a["x-see"].as_array().unwrap().contains(&json!("colleague"))).map(|(name, _)| name.as_str()).collect();
        assert_eq!(seen, BTreeSet::from(["user_id", "username", "first_name", "last_name", "user_role"]));
    }
}
