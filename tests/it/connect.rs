//! Posit Connect's dialect: its rules and its refusals, call by call. What the real client makes of it is in `connect_sdk.rs`.

use crate::both;
use crate::harness::{Answer, Client, PASSWORD, ROOT, Site, Town};
use serde_json::{Value, json};
use std::time::Duration;

const ME: &str = "/__api__/v1/user";
const USERS: &str = "/__api__/v1/users";
const GROUPS: &str = "/__api__/v1/groups";
const UNKNOWN: &str = "018f0000-0000-7000-8000-000000000000";

/// The keys of a user, every one of which is always there.
const KEYS: &[&str] = &[
    "email",
    "username",
    "first_name",
    "last_name",
    "user_role",
    "created_time",
    "updated_time",
    "active_time",
    "confirmed",
    "locked",
    "guid",
];

impl Town {
    /// A client that acts as a user by an API key.
    pub fn key(&self, user_id: &str, scope: &str) -> Client {
        let body = json!({"user_id": user_id, "name": "robot", "scope": scope});
        let made = self.root().post("/api/v1/api-keys", &body);
        // For another super-user an operator makes it.
        let made = match made.status {
            403 => self.usher(&["key", "create", "robot", "--user", user_id, "--scope", scope, "--json"]).expect(0).json(),
            _ => made.expect(201).json,
        };
        let key = made["key"].as_str().unwrap().to_owned();
        self.anon().with("authorization", &format!("Key {key}"))
    }

    /// The first super-user, by a key that may do everything.
    pub fn admin(&self) -> Client {
        self.key(&self.root_id, "manage")
    }
}

impl Answer {
    /// This answer, which must be this refusal, spelt as clients of Connect read it.
    #[track_caller]
    pub fn told(self, status: u16, number: u64) -> Self {
        assert_eq!((self.status, self.json["code"].as_u64()), (status, Some(number)), "{}", self.text);
        assert_eq!(self.keys(), ["code", "error", "payload"]);
        assert_eq!(self.headers["content-type"], "application/json");
        assert!(self.json["payload"].is_null() && !self.json["error"].as_str().unwrap().is_empty(), "{}", self.text);
        self
    }
}

fn create(client: &Client, body: &Value) -> Value {
    let made = client.post(USERS, body).expect(200);
    assert_eq!(made.keys(), KEYS);
    made.json
}

fn guid(user: &Value) -> &str {
    user["guid"].as_str().unwrap()
}

/// A user with a password, by its username.
fn simple(client: &Client, username: &str) -> Value {
    create(client, &json!({"username": username, "password": PASSWORD}))
}

#[track_caller]
fn page(client: &Client, path: &str) -> Value {
    let answer = client.get(path).expect(200);
    assert_eq!(answer.keys(), ["results", "current_page", "total"]);
    answer.json
}

/// The usernames on a page.
#[track_caller]
fn names(client: &Client, query: &str) -> Vec<String> {
    let found = page(client, &format!("{USERS}?{query}"));
    let names: Vec<String> =
        found["results"].as_array().unwrap().iter().map(|u| u["username"].as_str().unwrap().to_owned()).collect();
    if !query.contains("page") {
        assert_eq!(found["total"], names.len(), "{query}");
    }
    names
}

both! {
    /// Whoever creates, gets, finds or lists a member is told the same object, to the last key; a lock moves nothing but `locked`.
    fn one_user_is_one_object(engine) {
        let town = Town::new(engine);
        let admin = town.admin();
        let body = json!({"username": "ann", "email": "ann@example.com", "first_name": "Ann", "last_name": "Lee", "password": PASSWORD, "user_role": "publisher", "zzz": 1, "unique_id": null});
        let ann = create(&admin, &body);
        let now = "2031-05-04T03:02:01Z";
        assert_eq!(ann, json!({
            "email": "ann@example.com", "username": "ann", "first_name": "Ann", "last_name": "Lee", "user_role": "publisher", "created_time": now,
            "updated_time": now, "active_time": null, "confirmed": true, "locked": false, "guid": guid(&ann),
        }));
        let path = format!("{USERS}/{}", guid(&ann));
        let group = admin.post(GROUPS, &json!({"name": "Staff"})).expect(200).json;
        let members = format!("{GROUPS}/{}/members", guid(&group));
        admin.post(&members, &json!({"user_guid": guid(&ann)})).expect(204);
        let everywhere = |expected: &Value| {
            assert_eq!(&admin.get(&path).expect(200).json, expected);
            for list in [&format!("{USERS}?prefix=ann"), &format!("{USERS}?prefix=ann&page_number=1&page_size=500"), &members] {
                assert_eq!(page(&admin, list)["results"], json!([expected]), "{list}");
            }
            assert_eq!(&admin.put(&path, &json!({})).expect(200).json, expected);
        };
        everywhere(&ann);
        town.advance(Duration::from_millis(1500));
        admin.post(&format!("{path}/lock"), &json!({"locked": true})).expect(204);
        let mut locked = ann.clone();
        locked["locked"] = true.into();
        everywhere(&locked);
        admin.post(&format!("{path}/lock"), &json!({"locked": false})).expect(204);
        everywhere(&ann);
        let changed = admin.put(&path, &json!({"first_name": "Anna"})).expect(200).json;
        assert_eq!((&changed["first_name"], &changed["updated_time"], &changed["created_time"]), (&json!("Anna"), &json!("2031-05-04T03:02:02Z"), &json!(now)));
        everywhere(&changed);
        // One sees oneself alike everywhere too, from the first call on.
        let first = town.key(&town.root_id, "read");
        town.advance(Duration::from_secs(120));
        let me = first.get(ME).expect(200).json;
        assert_eq!(me["active_time"], "2031-05-04T03:04:02Z");
        assert_eq!(first.get(&format!("{USERS}/{}", town.root_id)).expect(200).json, me);
        assert_eq!(page(&first, &format!("{USERS}?prefix=root"))["results"], json!([me]));
    }

    /// Bodies are read leniently: null is not given, an unknown member is ignored. What is known must fit.
    fn creating(engine) {
        let town = Town::new(engine);
        let admin = town.admin();
        let plain = create(&admin, &json!({"username": "plain", "password": PASSWORD, "email": null, "first_name": "", "user_must_set_password": false}));
        assert_eq!((&plain["email"], &plain["first_name"], &plain["user_role"]), (&json!(""), &json!(""), &json!("viewer")));
        town.anon().try_sign_in("plain", PASSWORD).expect(201);
        // Without a password: there is none to sign in with until one is set.
        let later = create(&admin, &json!({"username": "later", "user_must_set_password": true, "password": null, "unique_id": "idp|7"}));
        let native = town.root().get(&format!("/api/v1/users/{}", guid(&later))).expect(200).json;
        assert_eq!((&native["password_is_set"], &native["password_must_change"], &native["external_id"]), (&json!(false), &json!(true), &json!("idp|7")));
        assert_eq!(native["creation_ctx"]["via"], "connect");
        town.anon().try_sign_in("later", PASSWORD).refused(401, "credentials_invalid");
        for (body, status, number) in [
            (json!({"password": PASSWORD}), 400, 12),
            (json!({"username": null, "password": PASSWORD}), 400, 12),
            (json!({"username": "x"}), 400, 12),
            (json!({"username": "x", "user_must_set_password": false}), 400, 12),
            (json!({"username": "x", "password": PASSWORD, "user_must_set_password": true}), 400, 25),
            (json!({"username": "x", "password": PASSWORD, "user_must_set_password": "yes"}), 400, 25),
            (json!({"username": 7, "password": PASSWORD}), 400, 25),
            (json!({"username": "x", "password": 7}), 400, 25),
            (json!({"username": "x\u{200b}", "password": PASSWORD}), 400, 7),
            (json!({"username": "x", "password": "short"}), 400, 6),
            (json!({"username": "x", "password": "password1password1"}), 400, 6),
            (json!({"username": "PLAIN", "password": PASSWORD}), 409, 8),
            (json!({"username": "x", "password": PASSWORD, "unique_id": "idp|7"}), 400, 76),
            (json!({"username": "x", "password": PASSWORD, "unique_id": ""}), 400, 129),
            (json!({"username": "x", "password": PASSWORD, "email": ""}), 400, 128),
            (json!({"username": "x", "password": PASSWORD, "email": "nobody"}), 400, 25),
            (json!({"username": "x", "password": PASSWORD, "user_role": "boss"}), 400, 112),
            (json!({"username": "x", "password": PASSWORD, "first_name": "a\u{7}"}), 400, 25),
        ] {
            let refused = admin.post(USERS, &body).told(status, number);
            assert!(!refused.text.contains(PASSWORD) && !refused.text.contains("short\""), "{}", refused.text);
        }
        assert_eq!(names(&admin, "prefix=x"), [""; 0]);
        for body in ["", "{", "[]", "\"x\"", "null"] {
            let answer = admin.call("POST", USERS, Some(body.to_owned()));
            assert_eq!(answer.status, 400, "{body}");
            let number = match body { "" => 87, "{" => 121, _ => 25 };
            answer.told(400, number);
        }
        admin.call("POST", USERS, None).told(400, 87);
        admin.with("content-type", "text/plain").call("POST", USERS, Some("{}".to_owned())).told(415, 87);
        admin.call("POST", USERS, Some(format!("{{\"a\": \"{}\"}}", "x".repeat(70_000)))).told(413, 87);
        admin.call("POST", USERS, Some("[".repeat(40))).told(400, 121);
    }

    /// The default role is a setting.
    fn the_default_role(engine) {
        let town = Town::on(Site::new(engine).with("connect.default_user_role", "\"publisher\""));
        let admin = town.admin();
        assert_eq!(simple(&admin, "ann")["user_role"], "publisher");
        assert_eq!(create(&admin, &json!({"username": "bob", "password": PASSWORD, "user_role": "viewer"}))["user_role"], "viewer");
    }

    /// Filters narrow each other; `|` is or; a repeated parameter is and; what is unknown is ignored.
    fn finding(engine) {
        let town = Town::new(engine);
        let admin = town.admin();
        for (username, first, last, role) in [
            ("joanna", "Joanna", "Smith", "viewer"), ("bjones", "Bob", "Jones", "publisher"), ("zoe", "Zoë", "Ångström", "viewer"),
            ("strasse", "", "", "viewer"), ("jo", "", "", "administrator"),
        ] {
            create(&admin, &json!({"username": username, "first_name": first, "last_name": last, "user_role": role, "password": PASSWORD}));
        }
        // Neither the login name nor the name to show is looked at.
        town.root().post("/api/v1/users", &json!({"username": "carl", "login_name": "joker", "display_name": "Jolly"})).expect(201);
        // Whose name it is comes before those whose name begins so.
        assert_eq!(names(&admin, "prefix=JO"), ["jo", "bjones", "joanna"]);
        assert_eq!(names(&admin, "prefix=jo&asc_order=false"), ["joanna", "bjones", "jo"]);
        assert_eq!(names(&admin, "prefix=%C3%85ngstr%C3%B6"), ["zoe"]);
        assert_eq!(names(&admin, "prefix=A%CC%8Angs"), ["zoe"]);
        assert_eq!(names(&admin, "prefix=smith&prefix=jo"), ["joanna"]);
        assert_eq!(names(&admin, "prefix=jo&prefix=z"), [""; 0]);
        assert_eq!(names(&admin, "prefix=&user_role=publisher"), ["bjones"]);
        for harmless in ["prefix=%25", "prefix=_", "prefix=jo%00", "prefix=%F4%8F%BF%BF"] {
            assert_eq!(names(&admin, harmless), [""; 0], "{harmless}");
        }
        assert_eq!(names(&admin, "user_role=publisher%7Cadministrator"), ["jo", "root", "bjones"]);
        assert_eq!(names(&admin, "user_role=publisher|administrator&foo=bar+baz%26%3D%C3%A9"), ["jo", "root", "bjones"]);
        assert_eq!(names(&admin, "user_role=viewer&user_role=publisher"), [""; 0]);
        assert_eq!(names(&admin, "user_role=viewer|publisher&user_role=publisher"), ["bjones"]);
        assert_eq!(names(&admin, "prefix=jo&user_role=viewer&account_status=inactive"), ["joanna"]);
        // First name, last name, username, without regard to case; nobody without a name comes last.
        assert_eq!(names(&admin, ""), ["carl", "jo", "root", "strasse", "bjones", "joanna", "zoe"]);
        assert_eq!(names(&admin, "asc_order=false"), ["zoe", "joanna", "bjones", "strasse", "root", "jo", "carl"]);
        for (bad, number) in [
            ("user_role=boss", 112), ("user_role=", 112), ("user_role=viewer|", 112), ("account_status=gone", 115), ("page_number=0", 13),
            ("page_number=x", 13), ("page_size=0", 13), ("page_size=501", 13), ("page_size=-3", 13), ("asc_order=perhaps", 25),
        ] {
            admin.get(&format!("{USERS}?{bad}")).told(400, number);
        }
    }

    /// `locked`, `licensed` and `inactive` part the users; nobody is in two of them, and nobody in none.
    fn account_status_parts_the_users(engine) {
        let town = Town::new(engine);
        let (ann, bob) = (town.user("ann"), town.create("bob"));
        town.create("cleo");
        town.root().post(&format!("/api/v1/users/{bob}/lock"), &json!({})).expect(200);
        let statuses = |admin: &Client| ["locked", "licensed", "inactive"].map(|status| names(admin, &format!("account_status={status}")));
        assert_eq!(statuses(&town.admin()), [vec!["bob"], vec!["ann", "root"], vec!["cleo"]]);
        assert_eq!(names(&town.admin(), "account_status=locked%7Cinactive"), ["bob", "cleo"]);
        assert_eq!(names(&town.admin(), "account_status=locked&account_status=inactive"), [""; 0]);
        assert_eq!(names(&town.admin(), "account_status=locked%7Clicensed%7Cinactive").len(), 4);
        town.advance(Duration::from_secs(365 * 24 * 60 * 60));
        assert_eq!(statuses(&town.admin()), [vec!["bob"], vec!["root"], vec!["ann", "cleo"]]);
        drop(ann);
    }

    /// Pages part the list: each user is on one of them, in a total order, and every page tells how many match in all.
    fn pages_part_the_list(engine) {
        let town = Town::new(engine);
        let admin = town.admin();
        let root = town.root();
        for number in 0..23 {
            // Few names, so that much is left to what makes the order total.
            let first = ["Ann", "ann", "Bob"][number % 3];
            let body = json!({"username": format!("user-{:02}", (number * 7) % 23), "first_name": first, "last_name": "Lee"});
            root.post("/api/v1/users", &body).expect(201);
        }
        for query in ["", "prefix=user&", "prefix=lee&asc_order=false&", "user_role=viewer&"] {
            let total = if query.is_empty() { 24 } else { 23 };
            for size in [1, 5, 24, 500] {
                let (mut seen, mut number) = (Vec::new(), 1);
                loop {
                    let found = page(&admin, &format!("{USERS}?{query}page_number={number}&page_size={size}"));
                    assert_eq!((&found["total"], &found["current_page"]), (&json!(total), &json!(number)));
                    let results = found["results"].as_array().unwrap();
                    assert!(results.len() <= size);
                    if results.is_empty() {
                        break;
                    }
                    seen.extend(results.iter().map(|u| u["username"].as_str().unwrap().to_owned()));
                    number += 1;
                }
                assert_eq!(seen, names(&admin, &format!("{query}page_size=500")), "{query} {size}");
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen.len(), total);
            }
        }
        // What is counted is all; one row is read for it.
        let counted = page(&admin, &format!("{USERS}?page_size=1"));
        assert_eq!((&counted["total"], counted["results"].as_array().unwrap().len()), (&json!(24), 1));
        assert_eq!(page(&admin, USERS)["results"].as_array().unwrap().len(), 20);
        assert_eq!(page(&admin, &format!("{USERS}?page_number=2147483647&page_size=500"))["results"], json!([]));
    }

    /// The order follows a changed name, and those who are gone are gone.
    fn the_order_follows_edits(engine) {
        let town = Town::new(engine);
        let admin = town.admin();
        let (ann, bob) = (simple(&admin, "ann"), simple(&admin, "bob"));
        assert_eq!(names(&admin, ""), ["ann", "bob", "root"]);
        admin.put(&format!("{USERS}/{}", guid(&ann)), &json!({"last_name": "Zed"})).expect(200);
        assert_eq!(names(&admin, ""), ["bob", "root", "ann"]);
        assert_eq!(names(&admin, "prefix=zed"), ["ann"]);
        admin.put(&format!("{USERS}/{}", guid(&ann)), &json!({"last_name": "", "username": "yves"})).expect(200);
        assert_eq!(names(&admin, ""), ["bob", "root", "yves"]);
        assert_eq!((names(&admin, "prefix=zed"), names(&admin, "prefix=ann")), (vec![], vec![]));
        town.root().delete(&format!("/api/v1/users/{}", guid(&bob))).expect(204);
        assert_eq!(names(&admin, ""), ["root", "yves"]);
    }

    /// What is not given stays; null and unknown members change nothing; others than super-users change themselves alone.
    fn changing(engine) {
        let town = Town::new(engine);
        let admin = town.admin();
        let ann = create(&admin, &json!({"username": "ann", "email": "ann@example.com", "first_name": "Ann", "password": PASSWORD}));
        let path = format!("{USERS}/{}", guid(&ann));
        town.advance(Duration::from_secs(10));
        for same in [json!({}), json!({"email": null, "zzz": 1}), json!({"username": "ann", "first_name": "Ann", "last_name": "", "user_role": "viewer"}), ann.clone()] {
            assert_eq!(admin.put(&path, &same).expect(200).json, ann, "{same}");
        }
        let promoted = admin.put(&path, &json!({"user_role": "publisher", "last_name": "Lee"})).expect(200);
        assert_eq!(promoted.keys(), KEYS);
        assert_eq!((&promoted.json["user_role"], &promoted.json["first_name"], &promoted.json["last_name"]), (&json!("publisher"), &json!("Ann"), &json!("Lee")));
        for (body, status, number) in [
            (json!({"user_role": "boss"}), 400, 112), (json!({"username": "root"}), 409, 8), (json!({"username": ""}), 400, 7),
            (json!({"email": ""}), 400, 128), (json!({"email": 3}), 400, 25), (json!({"user_role": 3}), 400, 112),
        ] {
            admin.put(&path, &body).told(status, number);
        }
        admin.put(&format!("{USERS}/{UNKNOWN}"), &json!({"first_name": "X"})).told(404, 4);
        admin.put(&format!("{USERS}/nonsense"), &json!({"first_name": "X"})).told(400, 3);
        // The owner.
        let own = town.key(guid(&ann), "manage");
        assert_eq!(own.put(&path, &json!({"first_name": "Anna"})).expect(200).json["first_name"], "Anna");
        own.put(&path, &json!({"username": "queen"})).told(403, 21);
        own.put(&path, &json!({"user_role": "administrator"})).told(403, 23);
        own.put(&path, &json!({"user_role": "publisher"})).expect(200);
        // An e-mail address gets a password back: a key, which proves nothing of who holds it, does not change one's own.
        own.put(&path, &json!({"email": "thief@example.com"})).told(403, 22);
        own.put(&format!("{USERS}/{}", town.root_id), &json!({"first_name": "X"})).told(403, 21);
        own.put(&format!("{USERS}/{UNKNOWN}"), &json!({"first_name": "X"})).told(403, 21);
    }

    /// At least one super-user remains, and nobody locks oneself, whatever the client says of `force`.
    fn super_users_remain(engine) {
        let town = Town::new(engine);
        let admin = town.admin();
        let own = format!("{USERS}/{}", town.root_id);
        admin.put(&own, &json!({"user_role": "publisher"})).told(400, 61);
        admin.post(&format!("{own}/lock"), &json!({"locked": true})).told(403, 49);
        let second = create(&admin, &json!({"username": "second", "password": PASSWORD, "user_role": "administrator"}));
        admin.post(&format!("{own}/lock"), &json!({"locked": true, "force": true})).told(403, 49);
        assert_eq!(admin.get(ME).expect(200).json["locked"], false);
        let other = town.key(guid(&second), "manage");
        other.post(&format!("{own}/lock"), &json!({"locked": true})).expect(204);
        admin.get(ME).told(401, 30);
        other.put(&format!("{USERS}/{}", guid(&second)), &json!({"user_role": "viewer"})).told(400, 61);
        // A key stands for no recent sign-in where a super-user is concerned.
        other.post(&format!("{own}/lock"), &json!({"locked": false})).told(403, 22);
        town.usher(&["user", "unlock", ROOT]).expect(0);
        admin.get(ME).expect(200);
    }

    /// A lock ends what its user can do, by session and by key; it is lifted as it was set, and each is recorded as what it is.
    fn locking(engine) {
        let town = Town::new(engine);
        let admin = town.admin();
        let ann = town.user("ann");
        let key = town.key(ann.id(), "read");
        let lock = format!("{USERS}/{}/lock", ann.id());
        key.get(ME).expect(200);
        let locked = admin.post(&lock, &json!({"locked": true})).expect(204);
        assert!(locked.text.is_empty());
        key.get(ME).told(401, 30);
        ann.get("/api/v1/users/me").refused(401, "session_invalid");
        let unlocked = admin.post(&lock, &json!({"locked": false})).expect(204);
        key.get(ME).expect(200);
        let action = |cid: &str| town.root().get(&format!("/api/v1/audit-events?cid={cid}")).expect(200).json["items"][0]["action"].clone();
        assert_eq!((action(locked.cid()), action(unlocked.cid())), (json!("user.lock"), json!("user.unlock")));
        for (body, number) in [(json!({}), 12), (json!({"locked": null}), 12), (json!({"locked": "yes"}), 25)] {
            admin.post(&lock, &body).told(400, number);
        }
        admin.post(&format!("{USERS}/{UNKNOWN}/lock"), &json!({"locked": true})).told(404, 4);
        // Only super-users lock; the same is said of oneself, of others and of nobody.
        let own = town.key(ann.id(), "manage");
        for id in [ann.id(), &town.root_id, UNKNOWN, "nonsense"] {
            own.post(&format!("{USERS}/{id}/lock"), &json!({"locked": true})).told(403, 49);
        }
    }

    /// Groups and their members.
    fn groups(engine) {
        let town = Town::new(engine);
        let admin = town.admin();
        let staff = admin.post(GROUPS, &json!({"name": "Staff", "unique_id": null, "zzz": 1})).expect(200);
        assert_eq!(staff.keys(), ["guid", "name", "owner_guid"]);
        let staff = staff.json;
        assert_eq!((&staff["name"], &staff["owner_guid"]), (&json!("Staff"), &Value::Null));
        admin.post(GROUPS, &json!({"name": "Starters", "unique_id": "cn=starters"})).expect(200);
        admin.post(GROUPS, &json!({"name": "Öffentlich"})).expect(200);
        let found = |query: &str| -> Vec<String> {
            let found = page(&admin, &format!("{GROUPS}?{query}"));
            let names = found["results"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap().to_owned());
            names.collect()
        };
        assert_eq!(found(""), ["Staff", "Starters", "Öffentlich"]);
        assert_eq!(found("prefix=STA&page_number=1&page_size=500"), ["Staff", "Starters"]);
        assert_eq!(found("prefix=st&prefix=staf"), ["Staff"]);
        assert_eq!(found("prefix=%C3%B6"), ["Öffentlich"]);
        assert_eq!((found("prefix=st%00"), found("prefix=%25")), (vec![], vec![]));
        assert_eq!(found("page_size=1&page_number=2"), ["Starters"]);
        assert_eq!(page(&admin, &format!("{GROUPS}?page_size=1"))["total"], 3);
        for (body, status, number) in [
            (json!({}), 400, 12), (json!({"name": ""}), 400, 14), (json!({"name": "x".repeat(129)}), 400, 14), (json!({"name": 3}), 400, 25),
            (json!({"name": "STAFF"}), 409, 15), (json!({"name": "other", "unique_id": "cn=starters"}), 400, 131),
            (json!({"name": "other", "unique_id": ""}), 400, 129),
        ] {
            admin.post(GROUPS, &body).told(status, number);
        }
        admin.get(&format!("{GROUPS}?page_size=501")).told(400, 13);

        let path = format!("{GROUPS}/{}", guid(&staff));
        let members = format!("{path}/members");
        assert_eq!(admin.get(&path).expect(200).json, staff);
        let (ann, bob) = (simple(&admin, "ann"), simple(&admin, "bob"));
        // In the order in which they were added.
        for user in [&bob, &ann] {
            town.advance(Duration::from_secs(1));
            let added = admin.post(&members, &json!({"user_guid": guid(user)})).expect(204);
            assert!(added.text.is_empty());
        }
        assert_eq!(page(&admin, &members), json!({"results": [bob, ann], "current_page": 1, "total": 2}));
        assert_eq!(page(&admin, &format!("{members}?page_size=1&page_number=2")), json!({"results": [ann], "current_page": 2, "total": 2}));
        admin.post(&members, &json!({"user_guid": guid(&ann)})).told(409, 16);
        admin.post(&members, &json!({"user_guid": UNKNOWN})).told(404, 9);
        admin.post(&members, &json!({"user_guid": "nonsense"})).told(400, 3);
        admin.post(&members, &json!({"user_guid": null})).told(400, 12);
        admin.delete(&format!("{members}/{}", guid(&ann))).expect(204);
        admin.delete(&format!("{members}/{}", guid(&ann))).told(404, 17);
        admin.delete(&format!("{members}/{UNKNOWN}")).told(404, 17);
        assert_eq!(page(&admin, &members)["total"], 1);
        admin.delete(&path).expect(204);
        for unknown in [&path, &members, &format!("{GROUPS}/{UNKNOWN}")] {
            admin.get(unknown).told(404, 153);
        }
        admin.delete(&path).told(404, 153);
        admin.post(&members, &json!({"user_guid": guid(&ann)})).told(404, 153);
        admin.get(&format!("{GROUPS}/nonsense")).told(400, 3);
        // What a group is known by elsewhere is a super-user's to see, natively.
        let native = town.root().get("/api/v1/groups").expect(200).json;
        assert_eq!(native["items"][0]["external_id"], "cn=starters");
    }

    /// S28: a viewer or publisher finds nobody but itself, whatever is asked for, and sees of itself what the native API shows.
    fn others_find_themselves(engine) {
        let town = Town::new(engine);
        let admin = town.admin();
        let ann = create(&admin, &json!({"username": "ann", "email": "ann@example.com", "first_name": "Ann", "password": PASSWORD, "user_role": "publisher"}));
        let bob = simple(&admin, "bob");
        let client = town.key(guid(&ann), "read");
        let me = client.get(ME).expect(200);
        assert_eq!(me.keys(), KEYS);
        // What its own view hides is empty or null.
        assert_eq!(me.json, json!({
            "email": "ann@example.com", "username": "ann", "first_name": "Ann", "last_name": "", "user_role": "publisher", "created_time": "",
            "updated_time": "", "active_time": null, "confirmed": true, "locked": false, "guid": guid(&ann),
        }));
        for query in ["", "?page_number=1&page_size=500", "?prefix=ann", "?user_role=viewer|publisher"] {
            assert_eq!(page(&client, &format!("{USERS}{query}")), json!({"results": [me.json], "current_page": 1, "total": 1}), "{query}");
        }
        assert_eq!(client.get(&format!("{USERS}/{}", guid(&ann))).expect(200).json, me.json);
        for query in ["?prefix=bob", "?user_role=viewer", "?user_role=publisher&user_role=viewer"] {
            assert_eq!(page(&client, &format!("{USERS}{query}"))["total"], 0, "{query}");
        }
        // Whether an account is locked or idle is nobody's business but a super-user's.
        client.get(&format!("{USERS}?account_status=locked")).told(403, 22);
        let refused = |id: &str| client.get(&format!("{USERS}/{id}")).told(403, 19).text;
        assert_eq!(refused(guid(&bob)), refused(UNKNOWN));
        assert_eq!(refused(&town.root_id), refused(UNKNOWN));
        client.post(USERS, &json!({"username": "x", "password": PASSWORD})).told(403, 22);
        // Its own groups are in its own view; who else is in them is not.
        let group = |name: &str| admin.post(GROUPS, &json!({"name": name, "unique_id": name})).expect(200).json;
        let (staff, others) = (group("Staff"), group("Others"));
        for user in [&ann, &bob] {
            admin.post(&format!("{GROUPS}/{}/members", guid(&staff)), &json!({"user_guid": guid(user)})).expect(204);
        }
        assert_eq!(page(&client, GROUPS), json!({"results": [staff], "current_page": 1, "total": 1}));
        assert_eq!(page(&client, &format!("{GROUPS}?prefix=sta"))["total"], 1);
        assert_eq!(page(&client, &format!("{GROUPS}?prefix=oth"))["total"], 0);
        assert_eq!(page(&client, &format!("{GROUPS}?page_number=2"))["results"], json!([]));
        assert_eq!(client.get(&format!("{GROUPS}/{}", guid(&staff))).expect(200).json, staff);
        let members = page(&client, &format!("{GROUPS}/{}/members", guid(&staff)));
        assert_eq!(members, json!({"results": [me.json], "current_page": 1, "total": 1}));
        assert_eq!(page(&client, &format!("{GROUPS}/{}/members?page_number=2", guid(&staff)))["results"], json!([]));
        let shut = |id: &str, rest: &str| client.get(&format!("{GROUPS}/{id}{rest}")).told(403, 19).text;
        for rest in ["", "/members"] {
            assert_eq!(shut(guid(&others), rest), shut(UNKNOWN, rest));
        }
    }

    /// Where the list is open, everyone sees what the table gives a colleague: names and roles.
    fn an_open_list(engine) {
        let town = Town::on(Site::new(engine).with("connect.open_user_list", "true"));
        let admin = town.admin();
        let ann = create(&admin, &json!({"username": "ann", "email": "ann@example.com", "first_name": "Ann", "password": PASSWORD}));
        let bob = create(&admin, &json!({"username": "bob", "email": "bob@example.com", "first_name": "Bob", "last_name": "Ray", "password": PASSWORD, "unique_id": "idp|bob"}));
        admin.post(&format!("{USERS}/{}/lock", guid(&bob)), &json!({"locked": true})).expect(204);
        let client = town.key(guid(&ann), "manage");
        let me = client.get(ME).expect(200).json;
        assert_eq!(me["email"], "ann@example.com");
        let seen = json!({
            "email": "", "username": "bob", "first_name": "Bob", "last_name": "Ray", "user_role": "viewer", "created_time": "", "updated_time": "",
            "active_time": null, "confirmed": null, "locked": null, "guid": guid(&bob),
        });
        assert_eq!(client.get(&format!("{USERS}/{}", guid(&bob))).expect(200).json, seen);
        let all = page(&client, USERS);
        assert_eq!((&all["total"], &all["results"][1], &all["results"][2]), (&json!(3), &me, &seen));
        assert_eq!(names(&client, "prefix=bo"), ["bob"]);
        assert_eq!(names(&client, "user_role=administrator"), ["root"]);
        client.get(&format!("{USERS}/{UNKNOWN}")).told(404, 4);
        // Nothing that it does not see can be asked for, and nothing but itself can be changed.
        for hidden in ["account_status=locked", "account_status=inactive&prefix=bob"] {
            client.get(&format!("{USERS}?{hidden}")).told(403, 22);
        }
        assert_eq!(names(&client, "prefix=bob@"), [""; 0]);
        client.put(&format!("{USERS}/{}", guid(&bob)), &json!({"first_name": "X"})).told(403, 21);
        client.post(&format!("{USERS}/{}/lock", guid(&bob)), &json!({"locked": false})).told(403, 49);
        assert_eq!(page(&client, GROUPS)["total"], 0);
        // The native API stays shut.
        town.anon().sign_in("ann", PASSWORD).get(&format!("/api/v1/users/{}", guid(&bob))).refused(403, "forbidden");
    }

    /// Whatever goes wrong is a number and a sentence in JSON, with a status that clients know; nothing redirects.
    fn everything_is_json(engine) {
        let town = Town::new(engine);
        let admin = town.admin();
        let anon = town.anon();
        for client in [&anon, &admin] {
            for path in ["/__api__", "/__api__/", "/__api__/v1/users/", "/__api__/v1/nonsense", "/__api__/v2/users", "/x/__api__/v1/none", "/__api__/v1/users/a/b?x=1"] {
                client.get(path).told(404, 2);
            }
            for (method, path) in [("DELETE", USERS), ("PATCH", USERS), ("PUT", ME), ("POST", "/__api__/server_settings"), ("GET", "/__api__/v1/users/x/lock")] {
                let refused = client.call(method, path, None).told(405, 2);
                assert!(refused.headers.contains_key("allow"));
            }
        }
        for path in [ME, USERS, GROUPS, "/__api__/server_settings", "/__api__/v1/content", &format!("{USERS}/{UNKNOWN}")] {
            let refused = anon.get(path).told(401, 24);
            assert_eq!(refused.headers["www-authenticate"], "Key realm=\"usher\"");
            for wrong in ["Key wrong", "Key key_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "key"] {
                let number = if wrong == "key" { 24 } else { 30 };
                anon.with("authorization", wrong).get(path).told(401, number);
            }
        }
        // The scheme's case does not matter.
        let key = town.root().post("/api/v1/api-keys", &json!({"user_id": town.root_id, "name": "robot"})).expect(201).json["key"].clone();
        for scheme in ["key", "KEY"] {
            anon.with("authorization", &format!("{scheme} {}", key.as_str().unwrap())).get(ME).expect(200);
        }
        admin.get(&format!("{USERS}?prefix={}", "x".repeat(9000))).told(414, 25);
        admin.with("x-padding", &"x".repeat(17_000)).get(ME).told(431, 25);
        assert_eq!(admin.get("/__api__/v1/content?owner_guid=x").expect(200).json, json!([]));
        assert_eq!(admin.get("/__api__/server_settings").expect(200).json, json!({"version": "2023.01.0"}));
        // A key that may only read changes nothing.
        let reader = town.key(&town.root_id, "read");
        reader.get(USERS).expect(200);
        reader.post(USERS, &json!({"username": "x", "password": PASSWORD})).told(403, 22);
        reader.post(&format!("{USERS}/{}/lock", town.create("ann")), &json!({"locked": true})).told(403, 22);
    }

    /// The dialect answers below any path that a client was given, with the same handlers.
    fn below_any_prefix(engine) {
        let town = Town::new(engine);
        let admin = town.admin();
        let me = admin.get(ME).expect(200).json;
        for prefix in ["/x", "/mounted/here", "/rsc/__api__/y", "/%C3%B6"] {
            assert_eq!(admin.get(&format!("{prefix}{ME}")).expect(200).json, me, "{prefix}");
            let ann = admin.post(&format!("{prefix}{USERS}"), &json!({"username": format!("ann{}", prefix.len()), "password": PASSWORD})).expect(200).json;
            admin.post(&format!("{prefix}{USERS}/{}/lock", guid(&ann)), &json!({"locked": true})).expect(204);
            admin.get(&format!("{prefix}{USERS}/{UNKNOWN}")).told(404, 4);
            town.anon().get(&format!("{prefix}{ME}")).told(401, 24);
        }
        for elsewhere in ["/x__api__/v1/user", "/__api__x/v1/user"] {
            town.anon().get(elsewhere).refused(404, "not_found");
        }
    }

    /// A database from before the order of names was kept: it is made when the database is migrated, for every name there is.
    fn an_older_database_is_brought_up_to_date(engine) {
        let town = Town::new(engine);
        let admin = town.admin();
        for (username, first) in [("one", "Örjan"), ("two", "örjan"), ("three", "Åke")] {
            create(&admin, &json!({"username": username, "first_name": first, "password": PASSWORD}));
        }
        let expected = names(&admin, "");
        assert_eq!(names(&admin, "prefix=%C3%96RJ"), ["one", "two"]);
        town.sql("DELETE FROM user_order; DELETE FROM user_search; UPDATE counters SET value = 1 WHERE name = 'search_version'");
        assert_eq!(names(&admin, "prefix=%C3%96RJ"), [""; 0]);
        assert_eq!(town.usher(&["migrate", "--check"]).expect(3).out, "search_index\n");
        let town = town.restart();
        assert_eq!((names(&admin.at(&town.base), ""), names(&admin.at(&town.base), "prefix=%C3%96RJ")), (expected, vec!["one".to_owned(), "two".to_owned()]));
        town.usher(&["migrate", "--check"]).expect(0);
    }
}
