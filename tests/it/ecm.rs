//! The ECM's dialect: fields, sentinels, changes, checks, refusals; see `docs/dialects/ecm.md`.

use crate::both;
use crate::harness::{Answer, Client, PASSWORD, Site, Town};
use serde_json::{Value, json};
use std::time::Duration;

const AT: &str = "/ecm/security";
const OTHER: &str = "violet harbour lantern 9";

/// The fields of the published page of `user()`, in its order, and those that newer versions or usher have beside them.
pub const DETAIL: &[&str] = &[
    "id",
    "username",
    "login_name",
    "display_name",
    "email",
    "guid",
    "profile_id",
    "locked",
    "remark",
    "account_type",
    "flags",
    "lang_id",
    "login_count",
    "login_station",
    "login_time",
    "last_modified",
    "mfa_flag",
    "never_expire",
    "change_pwd",
    "pwd_changed",
    "server_id",
    "station",
    "supervisor_id",
    "valid_from",
    "valid_to",
    "locked_cause",
    "password_never_expires",
    "failed_login_count",
];
/// The fields of the published page of `users()`, and the cause of a lock.
pub const LISTED: &[&str] = &[
    "id",
    "username",
    "login_name",
    "display_name",
    "email",
    "guid",
    "profile_id",
    "locked",
    "remark",
    "valid_from",
    "valid_to",
    "groups",
    "locked_cause",
];
pub const GROUP: &[&str] = &["id", "name", "guid", "profile_user_id", "description"];

/// A refusal of this dialect: one of five kinds, with the native code.
#[track_caller]
pub fn refused(answer: &Answer, status: u16, kind: &str, code: &str) {
    let told = (answer.status, answer.json["error"].as_str(), answer.json["code"].as_str());
    assert_eq!(told, (status, Some(kind), Some(code)), "{}", answer.text);
    assert_eq!(answer.keys(), ["error", "message", "code", "cid", "errors"]);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.json["cid"], answer.cid());
}

pub fn guid(id: &str) -> String {
    id.replace('-', "").to_uppercase()
}

fn at(path: &str) -> String {
    format!("{AT}/{path}")
}

/// The event of a call.
fn event(root: &Client, cid: &str) -> Value {
    let found = root.get(&format!("/api/v1/audit-events?cid={cid}")).expect(200).json;
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");
    found["items"][0].clone()
}

both! {
    /// The fields of the published page, in its order, with its types and its sentinels.
    fn a_user_in_detail(engine) {
        let town = Town::new(engine);
        let (root, ann) = (town.root(), town.user("ann"));
        let plain = root.get(&at("user/ann")).expect(200);
        assert_eq!(plain.keys(), DETAIL);
        let native = root.get(&format!("/api/v1/users/{}", ann.id())).expect(200).json;
        let now = town.now().to_string();
        let expected = json!({
            "id": native["number"], "username": "ann", "login_name": "ann", "display_name": "ann", "email": "", "guid": guid(ann.id()),
            "profile_id": -1, "locked": false, "remark": "", "account_type": 0, "flags": 0, "lang_id": 0, "login_count": 1,
            "login_station": "127.0.0.1", "login_time": now, "last_modified": now, "mfa_flag": 0, "never_expire": false,
            "change_pwd": false, "pwd_changed": now, "server_id": 0, "station": "", "supervisor_id": -1, "valid_from": null,
            "valid_to": null, "locked_cause": 0, "password_never_expires": false, "failed_login_count": 0,
        });
        assert_eq!(plain.json, expected);
        // By the username in any case; a login name or a guid is none.
        root.get(&at("user/ANN")).expect(200);
        root.patch(&at(&format!("user/{}", guid(ann.id()))), &json!({"login_name": "a.smith"})).expect(200);
        for other in ["a.smith", "nobody", &guid(ann.id()), ann.id()] {
            refused(&root.get(&at(&format!("user/{other}"))), 404, "not_found", "not_found");
        }
        let full = json!({
            "username": "Bob/Ö 1%", "login_name": "bob", "display_name": "Bob Miller", "email": "bob@example.com", "remark": "two\nlines",
            "password": PASSWORD, "profile_id": 7, "supervisor_id": native["number"], "account_type": 1, "flags": 5, "lang_id": 9,
            "server_id": 3, "station": "PC-1", "valid_from": "2031-05-04T00:00:00", "valid_to": "2032/01/02 03:04:05", "change_pwd": true,
            "never_expire": true, "locked": true,
        });
        let made = root.post(&at("users"), &full).expect(201);
        assert_eq!(made.keys(), DETAIL);
        let expected = json!({
            "id": made.json["id"], "username": "Bob/Ö 1%", "login_name": "bob", "display_name": "Bob Miller", "email": "bob@example.com",
            "guid": made.json["guid"], "profile_id": 7, "locked": true, "remark": "two\nlines", "account_type": 1, "flags": 5, "lang_id": 9,
            "login_count": 0, "login_station": "", "login_time": null, "last_modified": now, "mfa_flag": 0, "never_expire": true,
            "change_pwd": true, "pwd_changed": now, "server_id": 3, "station": "PC-1", "supervisor_id": native["number"],
            "valid_from": "2031-05-04T00:00:00", "valid_to": "2032-01-02T03:04:05", "locked_cause": 1, "password_never_expires": false,
            "failed_login_count": 0,
        });
        assert_eq!(made.json, expected);
        assert_eq!(root.get(&at("user/bob%2F%C3%B6%201%25")).expect(200).json, expected);
        assert_eq!(event(&root, made.cid())["action"], "user.create");
        assert_eq!(event(&root, made.cid())["changes"]["is_locked"]["after"], true);
    }

    /// The fields of the published page of lists; the last four only where they are asked for.
    fn users_in_a_list(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let (ann, zoe) = (town.create("ann"), town.create("zoe"));
        let group = root.post(&at("groups"), &json!({"name": "Staff"})).expect(201).json["guid"].clone();
        root.put(&at(&format!("user_groups/{}/{}", guid(&ann), group.as_str().unwrap())), &Value::Null).expect(204);
        let body = json!({"remark": "a remark", "valid_to": "2040-01-02T03:04:05", "locked": true});
        root.patch(&at(&format!("user/{}", guid(&ann))), &body).expect(200);
        let brief = root.get(&at("users")).expect(200).json;
        let users = brief.as_array().unwrap();
        assert_eq!(users.iter().map(|u| u["username"].as_str().unwrap()).collect::<Vec<_>>(), ["root", "ann", "zoe"]);
        for user in users {
            assert_eq!(user.as_object().unwrap().keys().collect::<Vec<_>>(), LISTED);
            let rest = (&user["remark"], &user["valid_from"], &user["valid_to"], &user["groups"]);
            assert_eq!(rest, (&json!(""), &Value::Null, &Value::Null, &json!([])));
        }
        assert_eq!((&users[1]["locked"], &users[1]["locked_cause"], &users[2]["locked"]), (&json!(true), &json!(1), &json!(false)));
        assert_eq!((&users[2]["guid"], &users[2]["profile_id"]), (&json!(guid(&zoe)), &json!(-1)));
        for yes in ["true", "1", "True"] {
            let full = root.get(&at(&format!("users?extended_info={yes}"))).expect(200).json;
            let rest = (&full[1]["remark"], &full[1]["valid_from"], &full[1]["valid_to"], &full[1]["groups"]);
            assert_eq!(rest, (&json!("a remark"), &Value::Null, &json!("2040-01-02T03:04:05"), &json!(["Staff"])));
        }
        assert_eq!(root.get(&at("users?extended_info=False")).expect(200).json, brief);
        for bad in ["extended_info=perhaps", "limit=0", "limit=10001", "cursor=x", "nonsense=1"] {
            refused(&root.get(&at(&format!("users?{bad}"))), 400, "missing_argument", "bad_query");
        }
        // A list too long for one answer comes in several, each with a link to the next.
        let (mut next, mut seen) = (Some(at("users?extended_info=true&limit=1")), Vec::new());
        while let Some(path) = next {
            let part = root.get(&path).expect(200);
            seen.extend(part.json.as_array().unwrap().iter().map(|u| u["groups"].clone()));
            let link = part.headers.get("link").map(|l| l.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned());
            next = link;
        }
        assert_eq!(seen, [json!([]), json!(["Staff"]), json!([])]);
    }

    /// More users than a native page has come in one answer.
    fn a_long_list_is_whole(engine) {
        let town = Town::new(engine);
        let lines: Vec<String> = (0..1203).map(|n| format!("u{n:05}")).collect();
        let group = town.root().post(&at("groups"), &json!({"name": "All of us"})).expect(201).json["guid"].as_str().unwrap().to_owned();
        let copy = |name: &str, number: usize| {
            let id = match town.engine {
                crate::harness::Engine::Sqlite => format!("x'018f000000007000800000000000{number:04x}'"),
                crate::harness::Engine::Postgres => format!("'018f0000-0000-7000-8000-00000000{number:04x}'"),
            };
            let mut columns = town.columns("users");
            let mut values = columns.clone();
            for (column, value) in [("user_id", id.clone()), ("number", format!("{}", number + 10))].into_iter().chain(
                ["username", "username_key", "login_name", "login_name_key"].map(|column| (column, format!("'{name}'"))),
            ) {
                let place = columns.iter().position(|c| c == column).unwrap();
                values[place] = value;
            }
            columns.iter_mut().for_each(|c| *c = format!("\"{c}\""));
            let group = match town.engine {
                crate::harness::Engine::Sqlite => format!("x'{group}'"),
                crate::harness::Engine::Postgres => format!("'{group}'"),
            };
            format!(
                "INSERT INTO users ({}) SELECT {} FROM users WHERE username = 'root'; INSERT INTO group_members (group_id, user_id) VALUES ({group}, {id});",
                columns.join(", "), values.join(", ")
            )
        };
        let text: String = lines.iter().enumerate().map(|(number, name)| copy(name, number)).collect();
        town.sql_with_key(&text);
        let root = town.root();
        let all = root.get(&at("users")).expect(200);
        assert_eq!(all.json.as_array().unwrap().len(), 1204);
        assert!(!all.headers.contains_key("link"));
        let members = root.get(&at("group_members/All%20of%20us")).expect(200).json;
        assert_eq!(members.as_array().unwrap().len(), 1203);
        let part = root.get(&at("group_members/all%20of%20us?limit=700")).expect(200);
        assert_eq!(part.json.as_array().unwrap().len(), 700);
        let next = part.headers["link"].trim_start_matches('<').split('>').next().unwrap().to_owned();
        assert_eq!(root.get(&next).expect(200).json.as_array().unwrap().len(), 503);
        root.post(&at(&format!("group/{group}/empty")), &json!({})).expect(204);
        assert_eq!(root.get(&at("group_members/All%20of%20us")).expect(200).json, json!([]));
    }

    /// A regular user sees of itself what the native view shows, absent fields being absent, and of others nothing, existing or not.
    fn a_regular_user_sees_itself(engine) {
        let town = Town::new(engine);
        let (root, ann, bob) = (town.root(), town.user("ann"), town.create("bob"));
        let group = root.post(&at("groups"), &json!({"name": "Staff", "description": "everyone", "profile_id": 4})).expect(201).json;
        for id in [ann.id(), &bob] {
            root.put(&at(&format!("user_groups/{id}/{}", group["guid"].as_str().unwrap())), &Value::Null).expect(204);
        }
        let own = ann.get(&at("user/Ann")).expect(200);
        let visible = ["username", "login_name", "display_name", "email", "guid", "lang_id", "login_station", "login_time", "mfa_flag"];
        assert_eq!(own.keys(), visible);
        assert_eq!(ann.get(&at(&format!("user_groups/{}", guid(ann.id())))).expect(200).json, json!([{"name": "Staff", "guid": group["guid"]}]));
        assert_eq!(ann.get(&at("roles")).expect(200).json, json!([]));
        assert_eq!(ann.get(&at(&format!("roles/{}", ann.id()))).expect(200).json, json!([]));
        let body = |path: &str| {
            let answer = ann.get(&at(path));
            refused(&answer, 403, "access_denied", "forbidden");
            let mut json = answer.json;
            json["cid"] = Value::Null;
            json
        };
        let unknown = "018F0000000070008000000000000000";
        for path in ["user/", "user_groups/", "roles/"] {
            let (other, nobody) = if path == "user/" { ("bob", "nobody") } else { (bob.as_str(), unknown) };
            assert_eq!(body(&format!("{path}{other}")), body(&format!("{path}{nobody}")));
        }
        for path in ["users", "groups", "group/Staff", "group/nothing", "group_members/Staff", "group_members/nothing"] {
            body(path);
        }
        let roles = json!([{"id": 4, "name": "configure security"}, {"id": 72, "name": "switch job context"}]);
        assert_eq!(root.get(&at("roles")).expect(200).json, roles);
        assert_eq!(root.get(&at(&format!("roles/{}", guid(&town.root_id)))).expect(200).json, roles);
        assert_eq!(root.get(&at(&format!("roles/{bob}"))).expect(200).json, json!([]));
        assert_eq!(root.get(&at(&format!("user_groups/{bob}"))).expect(200).json, json!([group]));
    }

    /// An id is taken in every spelling.
    fn spellings_of_a_guid(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let ann = town.create("ann");
        let mut number = u128::from_str_radix(&ann.replace('-', ""), 16).unwrap();
        let mut zato = String::new();
        while number > 0 {
            zato.insert(0, char::from(b"0123456789abcdefghjkmnpqrstvwxyz"[usize::try_from(number % 32).unwrap()]));
            number /= 32;
        }
        let spellings = [guid(&ann), guid(&ann).to_lowercase(), ann.clone(), ann.to_uppercase(), format!("%7B{ann}%7D"), format!("zusr{zato}")];
        for (place, spelling) in spellings.iter().enumerate() {
            let said = root.patch(&at(&format!("user/{spelling}")), &json!({"remark": format!("{place}")})).expect(200).json;
            assert_eq!((&said["guid"], &said["remark"]), (&json!(guid(&ann)), &json!(format!("{place}"))));
        }
        for bad in ["nonsense", "0", "zusr", "zusr!", &format!("{}0", guid(&ann)), "-1"] {
            refused(&root.patch(&at(&format!("user/{bad}")), &json!({"remark": "x"})), 404, "not_found", "not_found");
            refused(&root.delete(&at(&format!("user/{bad}"))), 404, "not_found", "not_found");
            refused(&root.get(&at(&format!("user_groups/{bad}"))), 404, "not_found", "not_found");
        }
    }

    /// Updates: what is given changes, null is not given, sentinels empty; each kind of change leaves the event of its name.
    fn updates(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let ann = town.user("ann");
        let path = at(&format!("user/{}", guid(ann.id())));
        let change = |body: Value| root.patch(&path, &body);
        let said = change(json!({"email": "a@example.com", "profile_id": 3, "supervisor_id": 1, "lang_id": 7, "station": "PC", "remark": null})).expect(200);
        assert_eq!(said.keys(), DETAIL);
        assert_eq!((&said.json["email"], &said.json["supervisor_id"], &said.json["profile_id"]), (&json!("a@example.com"), &json!(1), &json!(3)));
        assert_eq!(event(&root, said.cid())["action"], "user.update");
        let said = root.put(&path, &json!({"email": "", "profile_id": -1, "supervisor_id": -1, "lang_id": 0, "station": "", "valid_to": ""})).expect(200).json;
        assert_eq!((&said["email"], &said["supervisor_id"], &said["profile_id"], &said["lang_id"]), (&json!(""), &json!(-1), &json!(-1), &json!(0)));
        // Locking and unlocking, with the guards of the native calls.
        let locked = change(json!({"locked": true})).expect(200);
        assert_eq!((&locked.json["locked"], &locked.json["locked_cause"]), (&json!(true), &json!(1)));
        let told = event(&root, locked.cid());
        assert_eq!((&told["action"], &told["subject"]), (&json!("user.lock"), &json!(ann.id())));
        ann.get("/api/v1/users/me").refused(401, "session_invalid");
        let unlocked = change(json!({"locked": false})).expect(200);
        assert_eq!(unlocked.json["locked"], false);
        assert_eq!(event(&root, unlocked.cid())["action"], "user.unlock");
        let own = at(&format!("user/{}", town.root_id));
        refused(&root.patch(&own, &json!({"locked": true})), 409, "wrong_state", "last_super_user");
        let second = json!({"username": "second", "password": PASSWORD, "user_role": "administrator"});
        root.post("/api/v1/users", &second).expect(201);
        let refusal = root.patch(&own, &json!({"locked": true}));
        refused(&refusal, 409, "wrong_state", "self_lock");
        let told = event(&root, refusal.cid());
        assert_eq!((&told["action"], &told["outcome"], &told["reason"]), (&json!("user.lock"), &json!("refused"), &json!("self_lock")));
        // A password: not one's own, only soon after signing in, by the policy.
        let set = change(json!({"password": OTHER, "change_pwd": true})).expect(200);
        assert_eq!(set.json["change_pwd"], true);
        assert_eq!(event(&root, set.cid())["action"], "user.set_password");
        town.anon().try_sign_in("ann", OTHER).refused(401, "password_must_change");
        let weak = change(json!({"password": "short"}));
        refused(&weak, 422, "missing_argument", "password_unfit");
        assert_eq!(weak.json["errors"][0]["member"], "password");
        refused(&root.patch(&own, &json!({"password": OTHER})), 403, "access_denied", "forbidden");
        // Several at once are one change: all of it or nothing.
        let both = change(json!({"locked": true, "remark": "left", "password": PASSWORD, "change_pwd": false, "username": "ann.gone"})).expect(200);
        let told = event(&root, both.cid());
        assert_eq!(told["action"], "user.update");
        let changed: Vec<&String> = told["changes"].as_object().unwrap().keys().collect();
        for name in ["username", "is_locked", "remark", "password_must_change"] {
            assert!(changed.contains(&&name.to_owned()), "{changed:?}");
        }
        refused(&root.patch(&own, &json!({"locked": true, "remark": "half"})), 409, "wrong_state", "self_lock");
        assert_eq!(root.get(&at("user/root")).json["remark"], "");
        refused(&change(json!({"locked": false, "username": "root"})), 409, "wrong_state", "value_taken");
        assert_eq!(root.get(&at("user/ann.gone")).json["locked"], true);
        // What is wrong is named, and an update of nothing is none.
        for (body, member) in [
            (json!({"is_super_user": true}), "is_super_user"),
            (json!({"user_role": "administrator"}), "user_role"),
            (json!({"guid": guid(ann.id())}), "guid"),
            (json!({"external_id": "x"}), "external_id"),
            (json!({"email": "no address"}), "email"),
            (json!({"locked": "yes"}), "locked"),
            (json!({"profile_id": "one"}), "profile_id"),
            (json!({"supervisor_id": 4711}), "supervisor_id"),
            (json!({"supervisor_id": true}), "supervisor_id"),
            (json!({"valid_from": "tomorrow"}), "valid_from"),
            (json!({"username": ""}), "username"),
        ] {
            let answer = change(body.clone());
            refused(&answer, 422, "missing_argument", "invalid");
            assert_eq!(answer.json["errors"][0]["member"], member, "{body}");
        }
        refused(&change(json!({})), 422, "missing_argument", "invalid");
        refused(&change(json!({"remark": null})), 422, "missing_argument", "invalid");
        refused(&change(json!([])), 400, "missing_argument", "bad_type");
        town.advance(Duration::from_secs(301));
        refused(&change(json!({"password": OTHER})), 403, "access_denied", "fresh_sign_in_required");
    }

    /// Creating: what is missing, taken or unfit; deleting: never oneself, and there is nothing to forward.
    fn creating_and_deleting(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let create = |body: Value| root.post(&at("users"), &body);
        let made = create(json!({"username": "ANN", "login_name": "", "display_name": "", "email": null, "supervisor_id": -1})).expect(201).json;
        assert_eq!((&made["login_name"], &made["display_name"], &made["pwd_changed"]), (&json!("ANN"), &json!("ANN"), &Value::Null));
        refused(&create(json!({"username": "ann"})), 409, "wrong_state", "value_taken");
        for (body, status, code, member) in [
            (json!({"password": PASSWORD}), 422, "invalid", "username"),
            (json!({"username": "bob", "password": "short"}), 422, "password_unfit", "password"),
            (json!({"username": "bob", "user_role": "administrator"}), 422, "invalid", "user_role"),
            (json!({"username": "bob", "id": 5}), 422, "invalid", "id"),
        ] {
            let answer = create(body);
            refused(&answer, status, "missing_argument", code);
            assert_eq!(answer.json["errors"][0]["member"], member);
        }
        let path = at(&format!("user/{}", made["guid"].as_str().unwrap()));
        refused(&root.delete(&format!("{path}?forward_mails=true")), 400, "missing_argument", "bad_query");
        refused(&root.delete(&format!("{path}?target_user_guid=nonsense")), 400, "missing_argument", "bad_query");
        refused(&root.delete(&at(&format!("user/{}", town.root_id))), 409, "wrong_state", "last_super_user");
        root.delete(&format!("{path}?target_user_guid={}&forward_mails=false", guid(&town.root_id))).expect(204);
        refused(&root.delete(&path), 404, "not_found", "not_found");
    }

    /// A group's whole life.
    fn groups(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let (ann, bob) = (town.create("ann"), town.create("bob"));
        assert_eq!(root.get(&at("groups")).expect(200).json, json!([]));
        let made = root.post(&at("groups"), &json!({"name": "Büro/1", "profile_id": 5, "description": "an office"})).expect(201);
        assert_eq!(made.keys(), GROUP);
        assert_eq!((&made.json["id"], &made.json["profile_user_id"], &made.json["description"]), (&json!(1), &json!(5), &json!("an office")));
        let second = root.post(&at("groups"), &json!({"name": "Archive"})).expect(201).json;
        assert_eq!(second, json!({"id": 2, "name": "Archive", "guid": second["guid"], "profile_user_id": -1, "description": ""}));
        assert_eq!(root.get(&at("groups")).expect(200).json, json!([second, made.json]));
        assert_eq!(root.get(&at("group/b%C3%BCRO%2F1")).expect(200).json, made.json);
        refused(&root.get(&at("group/nothing")), 404, "not_found", "not_found");
        refused(&root.post(&at("groups"), &json!({"name": "ARCHIVE"})), 409, "wrong_state", "value_taken");
        refused(&root.post(&at("groups"), &json!({"description": "no name"})), 422, "missing_argument", "invalid");
        refused(&root.post(&at("groups"), &json!({"name": 5})), 400, "missing_argument", "bad_type");
        refused(&root.post(&at("groups"), &json!({"name": "x", "owner": "y"})), 422, "missing_argument", "invalid");
        let path = at(&format!("group/{}", made.json["guid"].as_str().unwrap()));
        let changed = root.patch(&path, &json!({"name": "Office", "description": "", "profile_id": -1})).expect(200).json;
        assert_eq!(changed, json!({"id": 1, "name": "Office", "guid": made.json["guid"], "profile_user_id": -1, "description": ""}));
        assert_eq!(root.put(&path, &json!({"description": "x"})).expect(200).json["name"], "Office");
        refused(&root.patch(&path, &json!({})), 422, "missing_argument", "invalid");
        // Members.
        let of = |user: &str, group: &Value| at(&format!("user_groups/{}/{}", guid(user), group["guid"].as_str().unwrap()));
        for (user, group) in [(&ann, &second), (&ann, &made.json), (&bob, &made.json), (&bob, &made.json)] {
            let added = root.put(&of(user, group), &Value::Null).expect(204);
            let told = event(&root, added.cid());
            assert_eq!((&told["action"], &told["subject"]), (&json!("group.add_member"), &json!(user)));
        }
        let names = |path: &str| {
            let users = root.get(&at(path)).expect(200).json.as_array().unwrap().clone();
            // Two that were made in the same millisecond are in no order.
            let mut names: Vec<String> = users.iter().map(|u| u["username"].as_str().unwrap().to_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names("group_members/OFFICE"), ["ann", "bob"]);
        assert_eq!(names("group_members/nothing"), [""; 0]);
        let of_ann: Vec<Value> = root.get(&at(&format!("user_groups/{}", guid(&ann)))).expect(200).json.as_array().unwrap().clone();
        assert_eq!(of_ann.iter().map(|g| g["name"].clone()).collect::<Vec<_>>(), ["Archive", "Office"]);
        refused(&root.put(&of("018f0000-0000-7000-8000-000000000000", &second), &Value::Null), 404, "not_found", "not_found");
        refused(&root.put(&of(&ann, &json!({"guid": guid(&bob)})), &Value::Null), 404, "not_found", "not_found");
        root.delete(&of(&bob, &made.json)).expect(204);
        refused(&root.delete(&of(&bob, &made.json)), 404, "not_found", "not_found");
        // A group with members stays.
        refused(&root.delete(&path), 409, "wrong_state", "group_not_empty");
        let emptied = root.post(&format!("{path}/empty"), &json!({})).expect(204);
        let told = event(&root, emptied.cid());
        assert_eq!((&told["action"], &told["changes"]["members"]["before"]), (&json!("group.empty"), &json!([ann])));
        root.delete(&path).expect(204);
        refused(&root.delete(&path), 404, "not_found", "not_found");
        let left = root.delete(&at(&format!("user_groups/{}", guid(&ann)))).expect(204);
        let told = event(&root, left.cid());
        assert_eq!((&told["subject"], &told["changes"]["groups"]["after"]), (&json!(ann), &json!([])));
        assert_eq!(names("group_members/Archive"), [""; 0]);
        // Natively there is more to a group now as well.
        let native = root.get(&format!("/api/v1/groups/{}", second["guid"].as_str().unwrap())).expect(200).json;
        assert_eq!((&native["number"], &native["description"], &native["profile_id"]), (&json!(2), &Value::Null, &Value::Null));
        let path = format!("/api/v1/groups/{}", native["group_id"].as_str().unwrap());
        assert_eq!(root.patch(&path, &json!({"description": "old things", "profile_id": 3})).expect(200).json["name"], "Archive");
        assert_eq!(root.patch(&path, &json!({"description": null})).expect(200).json["profile_id"], 3);
        root.patch(&path, &json!({})).refused(422, "invalid");
        root.patch(&path, &json!({"name": null, "profile_id": null})).expect(200);
    }

    /// A name and a password checked on behalf of a super-user, who may know: every status, each counted as a failure where it is one (S9).
    fn checking_an_account_as_a_super_user(engine) {
        let town = Town::on(Site::new(engine).with("lockout.lock_after", "3"));
        let root = town.root();
        town.create("ann");
        let check = |username: &str, password: &str| root.post(&at("check_user_account"), &json!({"username": username, "password": password}));
        let status = |username: &str, password: &str| check(username, password).expect(200).json["status"].clone();
        let good = check("Ann", PASSWORD).expect(200);
        assert_eq!(good.json, json!({"status": 0, "login_method": "password", "password_expires_in_days": -1, "reason": null}));
        let told = event(&root, good.cid());
        assert_eq!((&told["action"], &told["outcome"], &told["actor"]), (&json!("user.check_account"), &json!("success"), &json!(town.root_id)));
        assert_eq!(status("nobody", PASSWORD), 2);
        let wrong = check("ann", OTHER).expect(200);
        assert_eq!(wrong.json, json!({"status": 4, "login_method": null, "password_expires_in_days": -1, "reason": null}));
        let told = event(&root, wrong.cid());
        assert_eq!((&told["outcome"], &told["reason"]), (&json!("refused"), &json!("password_wrong")));
        assert_eq!(status("ann", PASSWORD), 0);
        assert_eq!(root.get(&at("user/ann")).json["failed_login_count"], 1);
        assert_eq!(status("ann", OTHER), 4);
        assert_eq!(status("ann", OTHER), 3);
        assert_eq!(root.get(&at("user/ann")).json["locked_cause"], 2);
        assert_eq!((status("ann", OTHER), status("ann", PASSWORD)), (json!(5), json!(5)));
        let made = root.post(&at("users"), &json!({"username": "bob", "password": PASSWORD})).expect(201).json;
        let path = at(&format!("user/{}", made["guid"].as_str().unwrap()));
        let native = format!("/api/v1/users/{}", made["guid"].as_str().unwrap());
        let days = |expiry: &str| {
            root.patch(&native, &json!({"password_expiry": expiry})).expect(200);
            check("bob", PASSWORD).expect(200).json["password_expires_in_days"].clone()
        };
        assert_eq!((days("2031-06-04T00:00:00Z"), days("2031-05-10T03:02:01Z"), days("2031-05-04T00:00:00Z")), (json!(-1), json!(6), json!(0)));
        root.patch(&path, &json!({"password_never_expires": true})).expect(200);
        assert_eq!(check("bob", PASSWORD).json["password_expires_in_days"], -1);
        root.patch(&path, &json!({"change_pwd": true})).expect(200);
        assert_eq!(check("bob", PASSWORD).json["password_expires_in_days"], 0);
        root.patch(&path, &json!({"valid_to": "2031-05-01T00:00:00"})).expect(200);
        let barred = check("bob", PASSWORD).expect(200);
        assert_eq!((&barred.json["status"], &barred.json["reason"]), (&json!(5), &json!("outside_validity")));
        assert_eq!(event(&root, barred.cid())["reason"], "outside_validity");
        refused(&check("bob", &"x".repeat(300)), 422, "missing_argument", "invalid");
        refused(&root.post(&at("check_user_account"), &json!({"username": "bob"})), 400, "missing_argument", "bad_type");
    }

    /// An application learns of an account what a sign-in through it would tell: without the right password, nothing.
    fn checking_an_account_as_an_application(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let key = town.usher(&["app", "create", "desk", "--json"]).expect(0).json()["key"].as_str().unwrap().to_owned();
        let desk = town.anon().with("x-current-app", "desk").with("x-application-key", &key);
        let ann = town.create("ann");
        let check = |username: &str, password: &str| desk.post(&at("check_user_account"), &json!({"username": username, "password": password}));
        let good = check("ann", PASSWORD).expect(200);
        assert_eq!(good.json["status"], 0);
        let told = event(&root, good.cid());
        assert_eq!((&told["actor_type"], &told["actor"], &told["subject"]), (&json!("application"), &json!("desk"), &json!(ann)));
        let wrong = check("ann", OTHER).expect(200);
        assert_eq!(wrong.json["status"], 4);
        assert_eq!(check("nobody", OTHER).expect(200).text, wrong.text);
        root.patch(&format!("/api/v1/users/{ann}"), &json!({"password_expiry": "2031-05-10T00:00:00Z"})).expect(200);
        assert_eq!(check("ann", PASSWORD).json["password_expires_in_days"], -1);
        root.patch(&at(&format!("user/{}", guid(&ann))), &json!({"locked": true})).expect(200);
        assert_eq!(check("ann", OTHER).expect(200).text, wrong.text);
        assert_eq!(check("ann", PASSWORD).expect(200).json["status"], 5);
        // S9: failures here slow down the sign-in, and the reverse.
        town.create("carl");
        for _ in 0..4 {
            assert_eq!(check("carl", OTHER).json["status"], 4);
        }
        town.anon().try_sign_in("carl", OTHER).refused(401, "credentials_invalid");
        refused(&check("carl", PASSWORD), 429, "general", "too_many_attempts");
        assert!(check("carl", PASSWORD).headers.contains_key("retry-after"));
        // Nobody else may ask.
        for client in [town.anon(), town.anon().with("x-current-app", "desk")] {
            let answer = client.post(&at("check_user_account"), &json!({"username": "ann", "password": PASSWORD}));
            refused(&answer, 401, "access_denied", "session_invalid");
        }
        let bob = town.user("bob");
        refused(&bob.post(&at("check_user_account"), &json!({"username": "bob", "password": PASSWORD})), 403, "access_denied", "forbidden");
    }

    /// A password judged by the policy, for the caller's own account.
    fn judging_a_password(engine) {
        let town = Town::new(engine);
        let ann = town.user("annabella");
        let judge = |password: &str| ann.post(&at("check_password_complexity"), &json!({"password": password})).expect(200).json;
        assert_eq!(judge(OTHER), json!({"is_complex": true, "causes": []}));
        assert_eq!(judge("short"), json!({"is_complex": false, "causes": ["too_short"]}));
        assert_eq!(judge("annabella-annabella"), json!({"is_complex": false, "causes": ["contains_context"]}));
        assert_eq!(judge(&"x".repeat(257)), json!({"is_complex": false, "causes": ["too_long"]}));
        refused(&ann.post(&at("check_password_complexity"), &json!({"password": 5})), 400, "missing_argument", "bad_type");
        refused(&town.anon().post(&at("check_password_complexity"), &json!({"password": OTHER})), 401, "access_denied", "session_invalid");
    }

    /// An API key calls like a session: as its user, and only to look where it may only read.
    fn by_an_api_key(engine) {
        let town = Town::new(engine);
        let (root, ann) = (town.root(), town.user("ann"));
        let key = |owner: &Client, scope: &str| {
            let made = owner.post("/api/v1/users/me/api-keys", &json!({"name": scope, "scope": scope})).expect(201).json;
            town.anon().with("authorization", &format!("Key {}", made["key"].as_str().unwrap()))
        };
        let (reading, managing, own) = (key(&root, "read"), key(&root, "manage"), key(&ann, "read"));
        assert_eq!(reading.get(&at("user/ann")).expect(200).keys(), DETAIL);
        refused(&reading.post(&at("users"), &json!({"username": "bob"})), 403, "access_denied", "key_read_only");
        managing.post(&at("users"), &json!({"username": "bob"})).expect(201);
        assert_eq!(own.get(&at("user/ann")).expect(200).json["guid"], guid(ann.id()));
        refused(&own.get(&at("user/bob")), 403, "access_denied", "forbidden");
    }

    /// Whatever is wrong, the answer has the one shape: unknown paths, other methods, broken bodies.
    fn refusals_have_one_shape(engine) {
        let town = Town::new(engine);
        let root = town.root();
        for client in [&root, &town.anon()] {
            for path in ["", "nonsense", "user", "user/", "users/1", "group/a/b/c", "export_security_system"] {
                refused(&client.get(&format!("{AT}{}{path}", if path.is_empty() { "" } else { "/" })), 404, "not_found", "not_found");
            }
            for (method, path) in [("DELETE", "users"), ("POST", "user/ann"), ("HEAD", "groups"), ("PROPFIND", "roles"), ("GET", "check_user_account")] {
                let answer = client.call(method, &at(path), None);
                assert_eq!((answer.status, answer.headers.contains_key("allow")), (405, true), "{method}");
                if method != "HEAD" {
                    refused(&answer, 405, "general", "method_not_allowed");
                }
            }
        }
        let raw = |body: &str| root.call("POST", &at("users"), Some(body.to_owned()));
        refused(&raw("{"), 400, "missing_argument", "not_json");
        refused(&raw(&"[".repeat(100)), 400, "missing_argument", "not_json");
        refused(&raw("[]"), 400, "missing_argument", "bad_type");
        refused(&raw("null"), 400, "missing_argument", "bad_type");
        refused(&raw(""), 400, "missing_argument", "not_json");
        refused(&raw(&format!("{{\"username\":\"{}\"}}", "x".repeat(70_000))), 413, "general", "too_large");
        refused(&root.with("content-type", "text/plain").call("POST", &at("users"), Some("{}".to_owned())), 415, "general", "unsupported_media_type");
        refused(&root.with("x-current-app", "nothing").get(&at("users")), 401, "access_denied", "application_invalid");
        refused(&root.get(&format!("{AT}/users?{}", "x".repeat(9000))), 414, "general", "url_too_long");
    }

    /// What is switched off does not exist, natively told.
    fn switched_off(engine) {
        let town = Town::on(Site::new(engine).with("dialects.ecm", "false"));
        town.root().get(&at("users")).refused(404, "not_found");
    }
}
