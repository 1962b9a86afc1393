//! Importing and exporting users in bulk, by the command line and over HTTP.

use crate::both;
use crate::harness::process::{self, Ran, usher};
use crate::harness::{Answer, Client, Engine, PASSWORD, Site, Town};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

pub const IMPORT: &str = "/api/v1/users/import";
const EXPORT: &str = "/api/v1/users/export";
const ME: &str = "/api/v1/users/me";

/// A hash of `PHRASE`, cheap to verify.
pub const HASH: &str = "$2y$04$abcdefghijklmnopqrstuu7EJV7kdjBBQxyb0HjTh9KS7.Lah/6CG";
pub const PHRASE: &str = "correct horse battery staple";

fn path(id: &str) -> String {
    format!("/api/v1/users/{id}")
}

/// Rows as lines.
pub fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

/// What an import answered: a result for each row, and the summary.
#[derive(Debug)]
pub struct Told {
    pub rows: Vec<Value>,
    pub summary: Value,
}

impl Told {
    pub fn read(text: &str) -> Self {
        let mut rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let summary = rows.pop().unwrap_or_else(|| panic!("nothing was told: {text}"))["summary"].clone();
        assert!(summary.is_object(), "there is no summary: {text}");
        Self { rows, summary }
    }

    /// Created, updated, unchanged, refused.
    pub fn counts(&self) -> [u64; 4] {
        ["created", "updated", "unchanged", "refused"].map(|name| self.summary[name].as_u64().unwrap())
    }

    pub fn outcomes(&self) -> Vec<&str> {
        self.rows.iter().map(|row| row["outcome"].as_str().unwrap()).collect()
    }

    /// Of each refused row its line, and its errors as pointer and code.
    fn refusals(&self) -> BTreeMap<u64, Vec<(&str, &str)>> {
        self.rows
            .iter()
            .filter(|row| row["outcome"] == "refused")
            .map(|row| {
                let errors = row["errors"].as_array().unwrap();
                let of = errors.iter().map(|e| (e["pointer"].as_str().unwrap(), e["code"].as_str().unwrap()));
                (row["line"].as_u64().unwrap(), of.collect())
            })
            .collect()
    }
}

/// Imports over HTTP.
pub fn import(client: &Client, rows: &[Value]) -> Told {
    Told::read(&post(client, IMPORT, &lines(rows)).expect(200).text)
}

pub fn post(client: &Client, path: &str, body: &str) -> Answer {
    client.with("content-type", "application/x-ndjson").call("POST", path, Some(body.to_owned()))
}

/// Imports by the command line.
fn import_file(site: &Site, body: &str, arguments: &[&str]) -> Ran {
    fs::write(site.folder.path().join("users.ndjson"), body).unwrap();
    usher(site, &[&["user", "import", "users.ndjson"], arguments].concat(), "")
}

both! {
    /// What is wrong with a row is told with its line, and the others are imported; by both ways alike.
    fn wrong_rows(engine) {
        let town = Town::new(engine);
        let root = town.root();
        root.post("/api/v1/users", &json!({"username": "ann", "login_name": "ann@work", "external_id": "ann"})).expect(201);
        let unknown = "018f0000-0000-7000-8000-000000000000";
        let b = |n: u32| format!("b-{n}");
        let rows: Vec<(String, &[(&str, &str)])> = vec![
            (json!({"username": "good-1", "external_id": "g1"}).to_string(), &[]),
            ("no json".to_owned(), &[("", "not_json")]),
            ("[1]".to_owned(), &[("", "bad_type")]),
            (json!({"username": b(1), "nonsense": 1, "shoe/size": 2}).to_string(), &[("/nonsense", "unknown_member"), ("/shoe~1size", "unknown_member")]),
            (json!({"username": b(2), "number": 7}).to_string(), &[("/number", "member_forbidden")]),
            (json!({"username": b(3), "email": "nobody", "lang_id": "de"}).to_string(), &[("/email", "unfit"), ("/lang_id", "unfit")]),
            (json!({"external_id": "x"}).to_string(), &[("/username", "invalid")]),
            (json!({"username": "ANN"}).to_string(), &[("/username", "value_taken")]),
            (json!({"username": "Ann@Work"}).to_string(), &[("/username", "value_taken")]),
            (json!({"username": b(4), "login_name": "ann"}).to_string(), &[("/login_name", "value_taken")]),
            (json!({"username": "GOOD-1", "external_id": "other"}).to_string(), &[("/username", "value_taken")]),
            (json!({"username": b(5), "password_hash": "5f4dcc3b5aa765d61d8327deb882cf99"}).to_string(), &[("/password_hash", "unfit")]),
            (json!({"username": b(6), "password_hash": HASH.replace("$04$", "$15$")}).to_string(), &[("/password_hash", "unfit")]),
            (json!({"username": b(7), "password_hash": HASH, "password": PASSWORD}).to_string(), &[("/password_hash", "unfit")]),
            (json!({"username": b(8), "password": "short"}).to_string(), &[("/password", "too_short")]),
            (json!({"username": b(9), "password": [PASSWORD]}).to_string(), &[("/password", "unfit")]),
            (json!({"username": b(10), "groups": "staff"}).to_string(), &[("/groups", "unfit")]),
            (json!({"username": b(11), "groups": [" staff"]}).to_string(), &[("/groups", "unfit")]),
            (json!({"username": b(12), "supervisor_id": unknown}).to_string(), &[("/supervisor_id", "invalid")]),
            (json!({"username": b(13), "created_time": "2091-01-01T00:00:00Z"}).to_string(), &[("/created_time", "invalid")]),
            (json!({"username": b(14), "lock_reason": "left"}).to_string(), &[("/lock_reason", "unfit")]),
            (json!({"username": b(15), "is_locked": "yes"}).to_string(), &[("/is_locked", "unfit")]),
            (json!({"username": b(16), "remark": "x".repeat(70_000)}).to_string(), &[("", "too_large")]),
            (json!({"external_id": "ann", "username": "good-1"}).to_string(), &[("/username", "value_taken")]),
            (json!({"external_id": "ann", "created_time": "2001-01-01T00:00:00Z"}).to_string(), &[("/created_time", "invalid")]),
            (json!({"external_id": "ann", "sign_up_status": "before_confirmation"}).to_string(), &[("/sign_up_status", "invalid")]),
            (json!({"username": "good-2"}).to_string(), &[]),
            (json!({"username": "good-2"}).to_string(), &[("/username", "value_taken")]),
        ];
        let expected: BTreeMap<u64, Vec<(&str, &str)>> =
            rows.iter().zip(1..).filter(|((_, errors), _)| !errors.is_empty()).map(|((_, errors), line)| (line, errors.to_vec())).collect();
        let body: String = rows.iter().map(|(row, _)| format!("{row}\n")).collect();
        // What would happen is told alike, and does not happen.
        let rehearsed = Told::read(&post(&root, &format!("{IMPORT}?dry_run=true"), &body).expect(200).text);
        assert_eq!(rehearsed.refusals(), expected);
        assert_eq!((rehearsed.counts(), &rehearsed.summary["dry_run"]), ([2, 0, 0, 26], &json!(true)));
        assert_eq!(town.count("SELECT count(*) AS count FROM users"), 2);
        let told = Told::read(&post(&root, IMPORT, &body).expect(200).text);
        assert_eq!(told.refusals(), expected);
        assert_eq!(told.counts(), [2, 0, 0, 26]);
        assert_eq!(told.summary["complete"], true);
        assert_eq!(told.rows[0]["external_id"], "g1");
        assert_eq!(root.get(&path(told.rows[0]["user_id"].as_str().unwrap())).json["username"], "good-1");
        assert_eq!(town.count("SELECT count(*) AS count FROM users"), 4);
        assert_eq!(root.get("/api/v1/groups").json["items"], json!([]));
        let ran = import_file(&town, &body, &["--json"]).expect(1);
        let again = Told::read(&ran.out);
        assert_eq!(again.counts(), [0, 0, 1, 27]);
        assert!(ran.err.contains("0 created, 0 updated, 1 unchanged, 27 refused"), "{ran:?}");
        let ran = import_file(&town, &body, &[]).expect(1);
        assert!(ran.out.is_empty() && ran.err.contains("line 2: The line is no JSON") && ran.err.contains("line 8: username: The value is taken."), "{ran:?}");
    }

    /// Everything that a row may say arrives, and a second run finds it all as it is: no change, no event, no time of change.
    fn a_second_run_changes_nothing(engine) {
        let town = Town::new(engine);
        let root = town.root();
        town.advance(Duration::from_secs(60));
        let boss = root.post("/api/v1/users", &json!({"username": "boss"})).expect(201).json["user_id"].clone();
        let rows = [
            json!({"external_id": "a", "username": "ann", "password_hash": HASH, "first_name": "Ann", "last_name": "Lee", "email": "ann@example.com",
                "groups": ["Staff", "staff", "Lab"], "supervisor_id": boss, "flags": 5, "created_time": "2011-02-03T04:05:06.5+01:00"}),
            json!({"external_id": "b", "username": "bob", "password": PASSWORD, "user_role": "publisher", "groups": []}),
            json!({"external_id": "c", "username": "cat", "is_locked": true, "lock_reason": "on leave", "password_hash": HASH}),
            json!({"external_id": "d", "username": "dan", "is_approval_needed": true, "approval_status": "before_decision", "password_hash": HASH}),
            json!({"external_id": "e", "username": "eve", "approval_status": "rejected", "sign_up_status": "before_confirmation"}),
        ];
        let told = import(&root, &rows);
        assert_eq!((told.counts(), &told.summary["groups_created"]), ([5, 0, 0, 0], &json!(2)));
        let id = |at: usize| told.rows[at]["user_id"].as_str().unwrap();
        let seen = |at: usize| root.get(&path(id(at))).expect(200).json;
        let ann = seen(0);
        assert_eq!(
            (&ann["created_time"], &ann["sign_up_time"], &ann["display_name"], &ann["supervisor_id"], &ann["flags"], &ann["updated_time"]),
            (&json!("2011-02-03T03:05:06.5Z"), &ann["created_time"], &json!("Ann Lee"), &boss, &json!(5), &json!(town.now().to_string()))
        );
        let groups: Vec<&str> = ann["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
        assert_eq!(groups, ["Lab", "Staff"]);
        assert_eq!((&ann["creation_ctx"]["via"], &ann["creation_ctx"]["by"]), (&json!("import"), &json!(town.root_id)));
        assert_eq!((&seen(2)["is_locked"], &seen(2)["lock_cause"], &seen(2)["lock_reason"]), (&json!(true), &json!("administrator"), &json!("on leave")));
        assert_eq!((&seen(3)["approval_status"], &seen(3)["approv_rej_time"]), (&json!("before_decision"), &Value::Null));
        assert_eq!((&seen(4)["approval_status"], &seen(4)["approv_rej_by"], &seen(4)["confirmed"]), (&json!("rejected"), &json!(town.root_id), &json!(false)));
        // They sign in, or not, as accounts do that came otherwise.
        let client = town.anon().sign_in("ann", PHRASE);
        town.anon().sign_in("bob", PASSWORD);
        town.anon().try_sign_in("cat", PHRASE).refused(401, "account_locked");
        town.anon().try_sign_in("dan", PHRASE).refused(401, "approval_pending");
        // The hash is another one by now, and the password as well.
        client.put(&format!("{ME}/password"), &json!({"old_password": PHRASE, "new_password": "marble cloud engine 77"})).expect(200);
        town.advance(Duration::from_secs(60));
        let before: Vec<Value> = (0..5).map(seen).collect();
        let root = town.root();
        let events = || town.count("SELECT count(*) AS count FROM audit_events WHERE action IN ('user.create', 'user.update', 'group.create')");
        let so_far = events();
        let again = import(&root, &rows);
        assert_eq!(again.counts(), [0, 0, 5, 0], "{again:?}");
        assert_eq!(again.rows[1]["user_id"], id(1));
        import_file(&town, &lines(&rows), &[]).expect(0);
        assert_eq!(events(), so_far);
        for (at, before) in before.iter().enumerate() {
            assert_eq!(&root.get(&path(id(at))).json, before);
        }
        town.anon().sign_in("ann", "marble cloud engine 77");
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// What differs is changed, with the consequences that the same change has elsewhere, and with an event of its own.
    fn a_changed_row_changes_its_user(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let told = import(&root, &[
            json!({"external_id": "a", "username": "ann", "password_hash": HASH, "groups": ["staff", "lab"]}),
            json!({"external_id": "b", "username": "bob", "password_hash": HASH}),
            json!({"external_id": "c", "username": "cat", "password_hash": HASH}),
            json!({"external_id": "d", "username": "dan", "password_hash": HASH, "is_locked": true}),
        ]);
        let id = |at: usize| told.rows[at]["user_id"].as_str().unwrap();
        let [ann, bob, cat] = ["ann", "bob", "cat"].map(|name| town.anon().sign_in(name, PHRASE));
        town.advance(Duration::from_secs(30));
        let changed = post(&root, IMPORT, &lines(&[
            json!({"external_id": "a", "email": "ann@example.com", "groups": ["Staff", "field"], "username": "Anna", "login_name": "anna@work"}),
            json!({"external_id": "b", "user_role": "publisher"}),
            json!({"external_id": "c", "is_locked": true}),
            json!({"external_id": "d", "is_locked": false}),
            // The name is free by now; and the row after it sees what this one did.
            json!({"external_id": "e", "username": "ann"}),
            json!({"external_id": "e", "first_name": "Second"}),
            json!({"external_id": "e", "first_name": "Second"}),
        ])).expect(200);
        let cid = changed.cid().to_owned();
        let changed = Told::read(&changed.text);
        assert_eq!(changed.outcomes(), ["updated", "updated", "updated", "updated", "created", "updated", "unchanged"], "{changed:?}");
        let seen = root.get(&path(id(0))).json;
        assert_eq!((&seen["username"], &seen["login_name"], &seen["email"]), (&json!("Anna"), &json!("anna@work"), &json!("ann@example.com")));
        let groups: Vec<&str> = seen["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
        assert_eq!((groups, &seen["updated_time"]), (vec!["field", "staff"], &json!(town.now().to_string())));
        // S19, S21: a changed role and a lock end sessions, an edit does not.
        ann.get(ME).expect(200);
        bob.get(ME).refused(401, "session_invalid");
        cat.get(ME).refused(401, "session_invalid");
        town.anon().sign_in("dan", PHRASE);
        let story = root.get(&format!("/api/v1/audit-events?cid={cid}&limit=100")).json;
        let story: Vec<(&str, &Value)> = story["items"].as_array().unwrap().iter().map(|e| (e["action"].as_str().unwrap(), &e["subject"])).collect();
        let actions: Vec<&str> = story.iter().map(|(action, _)| *action).collect();
        assert_eq!(actions, ["user.import", "group.create", "user.update", "user.update", "user.update", "user.update", "user.create", "user.update", "user.import"]);
        assert_eq!((story[0].1, story[2].1, story[3].1), (&Value::Null, &json!(id(0)), &json!(id(1))));
        let event = root.get(&format!("/api/v1/audit-events?cid={cid}&subject={}", id(0))).json["items"][0].clone();
        assert_eq!(event["changes"]["email"], json!({"before": null, "after": "ann@example.com"}));
        assert!(event["changes"]["groups"].is_object() && event["changes"]["username"]["after"] == "Anna", "{event}");
        let made = root.get(&format!("/api/v1/audit-events?cid={cid}&action=user.create")).json["items"][0].clone();
        assert_eq!(made["changes"]["username"], json!({"before": null, "after": "ann"}));
        assert!(made["changes"]["number"]["after"].is_number() && made["changes"].get("flags").is_none(), "{made}");
    }

    /// S26, R5: super-users are made and unmade by an import as elsewhere: soon after signing in, not oneself upwards, and one remains.
    fn super_users_by_import(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let chief = json!({"external_id": "chief", "username": "chief", "user_role": "administrator", "password_hash": HASH});
        let plain = json!({"external_id": "plain", "username": "plain", "password_hash": HASH});
        town.advance(Duration::from_secs(301));
        let told = import(&root, &[chief.clone(), plain.clone()]);
        assert_eq!(told.refusals(), BTreeMap::from([(1, vec![("", "fresh_sign_in_required")])]));
        let promote = json!({"external_id": "plain", "user_role": "administrator"});
        assert_eq!(import(&root, std::slice::from_ref(&promote)).refusals(), BTreeMap::from([(1, vec![("", "fresh_sign_in_required")])]));
        let root = town.root();
        // The first super-user, known to the file as well.
        root.patch(&path(&town.root_id), &json!({"external_id": "root"})).expect(200);
        let told = import(&root, &[
            json!({"external_id": "root", "user_role": "viewer"}),
            json!({"external_id": "root", "is_active": false}),
            json!({"external_id": "root", "is_locked": true}),
            json!({"external_id": "root", "approval_status": "rejected"}),
            json!({"external_id": "root", "valid_to": "2091-01-01T00:00:00Z"}),
        ]);
        assert_eq!(told.counts(), [0, 0, 0, 5]);
        let codes: Vec<&str> = told.refusals().values().map(|errors| errors[0].1).collect();
        assert_eq!(codes, ["last_super_user", "last_super_user", "self_lock", "last_super_user", "last_super_user"]);
        // Two at once: the second is the last one.
        assert_eq!(import(&root, &[chief, promote]).counts(), [1, 1, 0, 0]);
        let chief = town.anon().sign_in("chief", PHRASE);
        let told = import(&chief, &[
            json!({"external_id": "root", "is_active": false}),
            json!({"external_id": "plain", "user_role": "viewer"}),
            json!({"external_id": "chief", "user_role": "publisher"}),
        ]);
        assert_eq!(told.outcomes(), ["updated", "updated", "refused"]);
        root.get(ME).refused(401, "session_invalid");
        let told = import(&chief, &[json!({"external_id": "root", "is_active": true}), json!({"external_id": "chief", "user_role": "publisher"}), json!({"external_id": "late", "username": "late"})]);
        assert_eq!(told.outcomes(), ["updated", "updated", "created"]);
        // R5: no longer a super-user, no longer a way to become one.
        post(&chief, IMPORT, "{}").refused(401, "session_invalid");
        let chief = town.anon().sign_in("chief", PHRASE);
        post(&chief, IMPORT, "{}").refused(403, "forbidden");
    }

    /// Each form of a hash opens its account once as it is, and is one of usher's own from then on.
    fn imported_hashes(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let hashes = [
            ("password", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"),
            ("password", "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA"),
            (PHRASE, "$scrypt$ln=10,r=8,p=2$AAECAwQFBgcICQoLDA0ODw$wk79EttC618m617oirShLZuxJkXcX6rXHrrS9rQQ/44"),
            (PHRASE, "$pbkdf2-sha256$i=1000,l=32$AAECAwQFBgcICQoLDA0ODw$ppsXnjrdPB4KryJ6DrOqKqhkWrhv7PbKAMF1Eml8cZ4"),
            (PHRASE, "$pbkdf2-sha512$1000$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0.Pw$B37WQDXDUnacC0t3YcQb7.4oWwiUmOnabyBS5ujq/p8I9iQvEt78yvclpJyr3SpnufyeqzjChJuYftj8jNDkHw"),
            (PHRASE, "$2b$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS"),
            (PHRASE, "$2a$04$ABCDEFGHIJKLMNOPQRSTUuHzrfeaHESIafIgIn5rRlQxo3XhcNIeq"),
            (PHRASE, HASH),
        ];
        let rows: Vec<Value> = hashes.iter().enumerate().map(|(n, (_, hash))| json!({"username": format!("user-{n}"), "password_hash": hash})).collect();
        assert_eq!(import(&root, &rows).counts(), [8, 0, 0, 0]);
        let foreign = || town.count("SELECT count(*) AS count FROM users WHERE password_hash NOT LIKE '$argon2id$v=19$m=19456,t=2,p=1$%'");
        assert_eq!(foreign(), 8);
        for (number, (password, _)) in hashes.iter().enumerate() {
            let name = format!("user-{number}");
            town.anon().try_sign_in(&name, "wrong").refused(401, "credentials_invalid");
            town.anon().sign_in(&name, password);
            town.anon().sign_in(&name, password);
        }
        assert_eq!(foreign(), 0);
        // A hash that came in otherwise, at a cost beyond the bounds (S2), is not computed: no password is right.
        let costly = "$2b$31$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS";
        town.sql_with_key(&format!("UPDATE users SET password_hash = '{costly}' WHERE username = 'user-0'"));
        town.anon().try_sign_in("user-0", PHRASE).refused(401, "credentials_invalid");
    }

    /// One-time codes come along with their keys, which nobody is told (S11): sign-in asks for them at once, and beside them a password may
    /// be shorter.
    fn imported_one_time_codes(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let (key, short) = ("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", "kq7 wz2v");
        let rows = [
            json!({"external_id": "a", "username": "ann", "password_hash": HASH, "totp_key": "jbsw y3dp ehpk 3pxp jbsw y3dp ehpk 3pxp"}),
            json!({"username": "bob", "password": short, "totp_key": key}),
            json!({"username": "cat", "password": short}),
            json!({"username": "dan", "totp_key": "0189"}),
        ];
        let answer = post(&root, IMPORT, &lines(&rows)).expect(200);
        let told = Told::read(&answer.text);
        assert_eq!(told.outcomes(), ["created", "created", "refused", "refused"], "{told:?}");
        assert!(!answer.text.contains(key));
        town.anon().try_sign_in("ann", PHRASE).refused(401, "totp_required");
        town.anon().try_sign_in_with("ann", PHRASE, &town.code(key)).expect(201);
        town.anon().try_sign_in_with("bob", short, &town.code(key)).expect(201);
        // Again, with another key: the person may have one of its own by now.
        let mut again = rows[0].clone();
        again["totp_key"] = "MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43U".into();
        assert_eq!(import(&root, &[again]).outcomes(), ["unchanged"]);
        town.advance(Duration::from_secs(60));
        town.anon().try_sign_in_with("ann", PHRASE, &town.code(key)).expect(201);
        let event = root.get(&format!("/api/v1/audit-events?cid={}&action=user.create", answer.cid())).json["items"][0].clone();
        assert_eq!(event["changes"]["is_totp_enabled"]["after"], true);
        assert!(!event.to_string().contains(key));
    }

    /// The answer comes while the body goes: also to a client that sends everything before it reads anything.
    fn an_answer_does_not_wait_for_its_reader(engine) {
        let town = Town::new(engine);
        let root = town.root();
        // Each row is answered with many times its own length: more in all than sockets take.
        let members: Vec<String> = (0..40).map(|n| format!("\"a{n}\":1")).collect();
        let row = format!("{{{}}}\n", members.join(","));
        let told = Told::read(&post(&root, IMPORT, &row.repeat(6000)).expect(200).text);
        assert_eq!(told.counts(), [0, 0, 0, 6000]);
        assert_eq!(told.rows[5999]["errors"].as_array().unwrap().len(), 40);
    }

    /// S21: an import ends with the session that it came through, and says so in its last line.
    fn an_import_ends_with_its_session(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let mut stream = TcpStream::connect(town.base.trim_start_matches("http://")).unwrap();
        let ust = root.ust.as_deref().unwrap();
        write!(stream, "POST {IMPORT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ust}\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        let mut send = |rows: &str| write!(stream, "{:x}\r\n{rows}\r\n", rows.len()).unwrap();
        send("{\"username\": \"first\"}\n");
        // It goes ahead without waiting for a whole batch.
        let other = town.root();
        while other.get("/api/v1/users?username=first").json["items"] == json!([]) {}
        root.delete("/api/v1/sessions/current").expect(204);
        send("{\"username\": \"second\"}\n");
        send("");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let end: Value = answer.lines().rev().find_map(|line| serde_json::from_str(line).ok().filter(Value::is_object)).unwrap();
        let summary = &end["summary"];
        assert_eq!((&summary["complete"], &summary["created"], &summary["error"]["code"]), (&json!(false), &json!(1), &json!("session_invalid")), "{answer}");
        assert_eq!(other.get("/api/v1/users?username=second").json["items"], json!([]));
    }

    /// S26, S49: an import draws nobody's proof out. Batch by batch it is judged by the clock: what needs a recent proof is refused once it is
    /// not recent any more, the rest goes on, events tell when they were, and after an hour it ends.
    fn a_long_import(engine) {
        let town = Town::new(engine);
        let (root, other) = (town.root(), town.root());
        let mut stream = TcpStream::connect(town.base.trim_start_matches("http://")).unwrap();
        let ust = root.ust.as_deref().unwrap();
        write!(stream, "POST {IMPORT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ust}\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        let mut send = |row: Value| {
            let row = format!("{row}\n");
            write!(stream, "{:x}\r\n{row}\r\n", row.len()).unwrap();
        };
        let arrives = |name: &str| while other.get(&format!("/api/v1/users?username={name}")).json["items"] == json!([]) {};
        send(json!({"external_id": "chief", "username": "chief", "user_role": "administrator"}));
        arrives("chief");
        town.advance(Duration::from_secs(321));
        send(json!({"external_id": "late", "username": "late-chief", "user_role": "administrator"}));
        send(json!({"external_id": "chief", "email": "moved@example.org"}));
        send(json!({"external_id": "grouped", "username": "grouped", "groups": ["crew"]}));
        send(json!({"external_id": "plain", "username": "plain"}));
        arrives("plain");
        let user = other.get("/api/v1/users?username=plain").json["items"][0].clone();
        let made = format!("/api/v1/audit-events?action=user.create&subject={}", user["user_id"].as_str().unwrap());
        let event = other.get(&made).json["items"][0].clone();
        assert_eq!((&event["subject"], &event["time"]), (&user["user_id"], &json!(town.now().to_string())));
        assert_eq!(user["created_time"], event["time"]);
        town.advance(Duration::from_secs(3600));
        send(json!({"external_id": "never", "username": "never"}));
        write!(stream, "0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let rows: Vec<Value> = answer.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(Value::is_object).collect();
        let codes: Vec<&str> = rows.iter().filter_map(|row| row["errors"][0]["code"].as_str()).collect();
        assert_eq!(codes, ["fresh_sign_in_required"; 3], "{answer}");
        let summary = &rows.last().unwrap()["summary"];
        assert_eq!((&summary["complete"], &summary["created"], &summary["error"]["code"]), (&json!(false), &json!(2), &json!("request_timeout")), "{answer}");
        assert!(summary["error"]["detail"].as_str().unwrap().contains("after an hour"), "{answer}");
        assert_eq!(town.root().get("/api/v1/users?username=never").json["items"], json!([]));
    }

    /// Others go on while an import is under way.
    fn others_go_on_meanwhile(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let rows: Vec<Value> = (0..4000).map(|n| json!({"username": format!("user-{n}"), "email": format!("u{n}@example.com"), "password_hash": HASH})).collect();
        let body = lines(&rows);
        std::thread::scope(|scope| {
            let importing = scope.spawn(|| Told::read(&post(&root, IMPORT, &body).expect(200).text));
            let other = town.user("other");
            while !importing.is_finished() {
                other.get(ME).expect(200);
                other.patch(ME, &json!({"first_name": "Busy"})).expect(200);
            }
            assert_eq!(importing.join().unwrap().counts(), [4000, 0, 0, 0]);
        });
    }

    /// The body is declared, bounded line by line, and a dry run is asked for in so many words.
    fn what_an_import_takes(engine) {
        let town = Town::new(engine);
        let root = town.root();
        root.post(IMPORT, &json!({"username": "x"})).refused(415, "unsupported_media_type");
        for query in ["?dry_run=maybe", "?dry-run=true", "?nonsense=1"] {
            post(&root, &format!("{IMPORT}{query}"), "{}").refused(400, "bad_query");
        }
        let empty = Told::read(&post(&root, IMPORT, "\n\n").expect(200).text);
        assert_eq!((empty.rows.len(), &empty.summary["complete"]), (0, &json!(true)));
        root.get(IMPORT).refused(405, "method_not_allowed");
        let answer = post(&root, IMPORT, "{\"username\": \"x\"}");
        assert_eq!(answer.headers["content-type"], "application/x-ndjson");
        assert_eq!(answer.headers["cache-control"], "no-store");
        town.usher(&["user", "import", "nowhere.ndjson"]).expect(1).complaint();
        town.usher(&["user", "import", "."]).expect(1).complaint();
        let piped = process::usher(&town, &["user", "import", "-"], "{\"username\": \"y\"}\n{\"username\": \"z\"}").expect(0);
        assert!(piped.out.is_empty() && piped.err == "usher: 2 rows: 2 created, 0 updated, 0 unchanged, 0 refused\n", "{piped:?}");
    }

    /// A dry run over several batches knows what its earlier rows would have taken.
    fn a_dry_run_remembers(engine) {
        let town = Town::new(engine);
        let mut rows: Vec<Value> = (0..3200).map(|n| json!({"external_id": format!("x{n}"), "username": format!("user-{n}"), "groups": [format!("g{}", n % 3)]})).collect();
        rows.push(json!({"external_id": "new", "username": "user-3"}));
        rows.push(json!({"external_id": "x7", "username": "user-7", "email": "seven@example.com"}));
        rows.push(rows[8].clone());
        rows.push(json!({"external_id": "newer", "username": "fresh"}));
        let dry = import_file(&town, &lines(&rows), &["--dry-run", "--json"]).expect(1);
        let wet = import_file(&town, &lines(&rows), &["--json"]).expect(1);
        let (dry, wet) = (Told::read(&dry.out), Told::read(&wet.out));
        assert_eq!((dry.outcomes(), dry.counts()), (wet.outcomes(), [3201, 1, 1, 1]));
        assert_eq!((&dry.summary["groups_created"], &wet.summary["groups_created"]), (&json!(3), &json!(3)));
        assert_eq!(dry.rows[3200]["errors"][0]["pointer"], "/username");
        assert_eq!(town.count("SELECT count(*) AS count FROM users"), 3202);
    }

    /// An export has every user as GET shows it, over several pages, and never a hash.
    fn exporting(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let rows: Vec<Value> = (0..1100).map(|n| json!({"username": format!("user-{n}"), "password_hash": HASH})).collect();
        import(&root, &rows);
        let answer = root.get(EXPORT).expect(200);
        assert_eq!(answer.headers["content-type"], "application/x-ndjson");
        let users: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(users.len(), 1101);
        let numbers: Vec<i64> = users.iter().map(|u| u["number"].as_i64().unwrap()).collect();
        assert!(numbers.is_sorted() && numbers[0] == 1, "{numbers:?}");
        for at in [0, 500, 1100] {
            assert_eq!(users[at], root.get(&path(users[at]["user_id"].as_str().unwrap())).json);
        }
        assert!(!answer.text.contains("$2y$") && !answer.text.contains("$argon2"));
        let printed = town.usher(&["user", "export"]).expect(0);
        assert_eq!(printed.out.lines().count(), 1101);
        let found = root.get(&format!("/api/v1/audit-events?cid={}", answer.cid())).json;
        assert_eq!((found["items"].as_array().unwrap().len(), &found["items"][0]["action"]), (1, &json!("user.export")));
    }
}

/// S39: a body that comes too slowly is given up, and what had come is done.
#[test]
fn a_slow_body_is_cut_off() {
    let town = Town::new(Engine::Sqlite);
    let root = town.root();
    let mut stream = TcpStream::connect(town.base.trim_start_matches("http://")).unwrap();
    let ust = root.ust.as_deref().unwrap();
    let row = "{\"username\": \"first\"}\n{\"user";
    write!(stream, "POST {IMPORT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ust}\r\ncontent-type: application/x-ndjson\r\ncontent-length: 1000\r\n\r\n{row}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"outcome\":\"created\"") && answer.contains("\"code\":\"request_timeout\""), "{answer}");
}
