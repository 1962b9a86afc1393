//! Zato SSO's dialect: users, call by call. Signing in is in `zato_sign_in.rs`, the rest of its calls in `zato_calls.rs`, who may make
//! which in `zato_matrix.rs`.

use crate::both;
use crate::harness::{Answer, Client, Engine, PASSWORD, ROOT, Site, Town};
use serde_json::{Value, json};

pub const USER: &str = "user";
pub const APP: &str = "CRM";

/// What a regular user sees of itself, and a super-user of anyone.
pub const OWN: &[&str] =
    &["display_name", "email", "first_name", "is_totp_enabled", "last_name", "middle_name", "totp_label", "username"];
pub const OF_SUPER_USERS: &[&str] = &[
    "approval_status",
    "approval_status_mod_by",
    "approval_status_mod_time",
    "creation_ctx",
    "is_active",
    "is_approval_needed",
    "is_internal",
    "is_locked",
    "is_super_user",
    "locked_by",
    "locked_time",
    "password_expiry",
    "password_is_set",
    "password_last_set",
    "password_must_change",
    "sign_up_status",
    "sign_up_time",
    "user_id",
];
pub const ALWAYS: &[&str] = &["cid", "status", "sub_status"];

/// The switches of the profile that ships.
pub fn switches() -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/zato-parity.toml")).unwrap();
    text.lines().filter_map(|line| line.strip_suffix(" = true")).map(str::to_owned).collect()
}

/// A site under the profile that ships.
pub fn parity(engine: Engine) -> Site {
    switches().iter().fold(Site::new(engine), |site, switch| site.with(&format!("zato_parity.{switch}"), "true"))
}

/// A town with the application of Zato's clients.
pub fn town_on(site: Site) -> Town {
    with_app(Town::on(site))
}

/// The same with a clock that begins now.
pub fn town_of_today(site: Site) -> Town {
    with_app(Town::of_today(site))
}

fn with_app(town: Town) -> Town {
    town.root().post("/api/v1/applications", &json!({"name": APP})).expect(201);
    town
}

/// Towns under the profile and under the safe defaults.
pub fn towns(engine: Engine) -> [Town; 2] {
    [town_on(parity(engine)), town_on(Site::new(engine))]
}

impl Answer {
    /// This answer, which must say that it was done.
    #[track_caller]
    pub fn done(self) -> Self {
        assert_eq!(
            (self.status, &self.json["status"], &self.json["sub_status"]),
            (200, &json!("ok"), &json!([])),
            "{}",
            self.text
        );
        self.has_cid()
    }

    /// This answer, which must be this refusal and nothing more.
    #[track_caller]
    pub fn no(self, code: &str) -> Self {
        let status = if code == "E004001" && self.status == 200 { 200 } else { 403 };
        assert_eq!(
            (self.status, &self.json["status"], &self.json["sub_status"]),
            (status, &json!("error"), &json!([code])),
            "{}",
            self.text
        );
        assert_eq!(sorted(&self.json), ALWAYS, "{}", self.text);
        self.has_cid()
    }

    /// This answer, which must be a result without a status.
    #[track_caller]
    pub fn result(self, status: u16, details: &str) -> Self {
        assert_eq!(
            (self.status, &self.json["result"], &self.json["details"]),
            (status, &json!("Error"), &json!(details)),
            "{}",
            self.text
        );
        assert_eq!(sorted(&self.json), ["cid", "details", "result"]);
        self.has_cid()
    }

    #[track_caller]
    fn has_cid(self) -> Self {
        let cid = self.json["cid"].as_str().unwrap();
        assert!(cid.len() == 24 && cid.bytes().all(|b| b.is_ascii_hexdigit()), "{cid}");
        assert_eq!(cid, self.headers["x-correlation-id"]);
        assert_eq!(self.headers["content-type"], "application/json");
        self
    }
}

pub fn sorted(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// Someone who speaks the dialect, with a session or without.
#[derive(Clone)]
pub struct Speaker {
    pub client: Client,
    pub ust: Option<String>,
}

impl Speaker {
    /// A call with these members, the application and the session.
    #[track_caller]
    pub fn say(&self, method: &str, path: &str, members: Value) -> Answer {
        let mut body = json!({"current_app": APP});
        if let Some(ust) = &self.ust {
            body["ust"] = ust.as_str().into();
        }
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.bare(method, path, &body)
    }

    /// A call with this body and no content type, as Zato's clients make it.
    #[track_caller]
    pub fn bare(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.client.with("content-type", "").call(method, &format!("/zato/sso/{path}"), Some(body.to_string()))
    }

    #[track_caller]
    pub fn login(&self, username: &str, password: &str) -> Answer {
        self.say("POST", "user/login", json!({"username": username, "password": password}))
    }

    #[track_caller]
    pub fn sign_in(&self, username: &str, password: &str) -> Self {
        let answer = self.login(username, password).expect(200);
        Self { ust: Some(answer.json["ust"].as_str().unwrap().to_owned()), ..self.clone() }
    }

    /// Creates an approved user; its id in the dialect.
    #[track_caller]
    pub fn make(&self, username: &str) -> String {
        let made = self.say("POST", USER, json!({"username": username, "password": PASSWORD, "auto_approve": true})).done();
        made.json["user_id"].as_str().unwrap().to_owned()
    }

    /// What someone is told of a user, or of oneself.
    #[track_caller]
    pub fn see(&self, user_id: Option<&str>) -> Value {
        self.say("GET", USER, user_id.map_or_else(|| json!({}), |id| json!({"user_id": id}))).done().json
    }
}

impl Town {
    /// Nobody who speaks Zato's dialect.
    pub fn stranger(&self) -> Speaker {
        Speaker { client: self.anon(), ust: None }
    }

    /// The first super-user.
    pub fn chief(&self) -> Speaker {
        self.stranger().sign_in(ROOT, PASSWORD)
    }

    /// A regular user, and its id.
    pub fn regular(&self, name: &str) -> (Speaker, String) {
        let id = self.chief().make(name);
        (self.stranger().sign_in(name, PASSWORD), id)
    }
}

both! {
    /// S27, S28: the two shapes, to the key: of itself a regular user sees not even its id.
    fn users_are_seen_in_two_shapes(engine) {
        for town in towns(engine) {
            let (ann, id) = town.regular("ann");
            let root = town.chief();
            let keys = |more: &[&'static str]| {
                let mut keys: Vec<&str> = [OWN, ALWAYS, more].concat();
                keys.sort_unstable();
                keys
            };
            let own = ann.see(None);
            assert_eq!(sorted(&own), keys(&[]));
            assert_eq!(own["totp_label"], "");
            assert_eq!((&own["display_name"], &own["email"], &own["is_totp_enabled"]), (&json!(""), &Value::Null, &json!(false)));
            for seen in [root.see(None), root.see(Some(&id))] {
                assert_eq!(sorted(&seen), keys(OF_SUPER_USERS));
                assert!(seen["user_id"].as_str().unwrap().starts_with("zusr"));
                assert!(seen["creation_ctx"].is_string() && seen["is_approval_needed"] == false);
                assert!(!seen["password_last_set"].as_str().unwrap().contains(['Z', '+']));
            }
            assert_eq!(root.see(None)["approval_status_mod_by"], "auto");
            assert_eq!(root.see(Some(&id))["approval_status_mod_by"], root.see(None)["user_id"]);
            assert_eq!(root.see(Some(&id))["user_id"], id.as_str());
            // With an id the caller must be a super-user, even with its own.
            ann.say("GET", USER, json!({"user_id": id})).no("E005001");
            ann.say("GET", USER, json!({"user_id": "zusr1"})).no("E005001");
            root.say("GET", USER, json!({"user_id": "zusr1"})).no("E005001");
            root.say("GET", USER, json!({"user_id": "nobody"})).no("E005001");
            town.usher(&["audit", "verify"]).expect(0);
        }
    }

    fn creating_users(engine) {
        for town in towns(engine) {
            let root = town.chief();
            let body = json!({
                "username": "jane", "password": PASSWORD, "email": "jane@example.com", "first_name": " Jane ", "last_name": "Roe", "middle_name": "",
                "password_must_change": "no", "is_locked": "0", "user_id": "zusr1", "is_super_user": true, "approval_status": "approved", "zzz": [1],
            });
            let made = root.say("POST", USER, body).done().json;
            let mut keys: Vec<&str> = [OWN, OF_SUPER_USERS, ALWAYS].concat().into_iter().filter(|k| !["locked_by", "locked_time", "creation_ctx"].contains(k)).collect();
            keys.sort_unstable();
            assert_eq!(sorted(&made), keys);
            assert_eq!((&made["display_name"], &made["first_name"], &made["middle_name"]), (&json!("Jane Roe"), &json!("Jane"), &Value::Null));
            assert_eq!((&made["approval_status"], &made["is_approval_needed"], &made["is_super_user"]), (&json!("before_decision"), &json!(true), &json!(false)));
            assert_eq!((&made["sign_up_status"], &made["totp_label"], &made["password_is_set"]), (&json!("final"), &json!(""), &json!(true)));
            // Not told that it is the approval which is lacking.
            town.stranger().login("jane", PASSWORD).no("E005001");
            let id = json!({"user_id": made["user_id"]});
            root.say("POST", "user/approve", id.clone()).done();
            let jane = town.stranger().sign_in("jane", PASSWORD);
            assert_eq!(jane.see(None)["email"], "jane@example.com");
            // A rejected user's session is of no use at once.
            root.say("POST", "user/reject", id).done();
            jane.say("GET", USER, json!({})).no("E007001");
            // Without a password one is made that nobody is told; without an e-mail address none is answered.
            let made = root.say("POST", USER, json!({"username": "nn", "password": null, "sign_up_status": "before_confirmation", "auto_approve": "yes"})).done().json;
            assert!(made.get("email").is_none() && made["display_name"] == "" && made["password_is_set"] == true);
            assert_eq!((&made["sign_up_status"], &made["approval_status"]), (&json!("before_confirmation"), &json!("approved")));
            for (body, code) in [
                (json!({"username": "jane", "password": PASSWORD}), "E001002"),
                (json!({"username": "JANE", "password": PASSWORD}), "E001002"),
                (json!({"password": PASSWORD}), "E001001"),
                (json!({"username": "kim", "password": "short"}), "E003002"),
                (json!({"username": "kim", "password": "x".repeat(257)}), "E003003"),
                (json!({"username": "kim", "password": "passwordpassword"}), "E003001"),
                (json!({"username": "kim", "sign_up_status": "perhaps"}), "E008002"),
            ] {
                root.say("POST", USER, body).no(code);
            }
            let (ann, _) = town.regular("ann");
            ann.say("POST", USER, json!({"username": "kim"})).no("E005001");
        }
    }

    /// Names, addresses, labels and passwords of the forms that Zato's clients use.
    fn values_of_any_form(engine) {
        let odd = "a1b2:c3d4+e5f6.a1b2:c3d4+e5f6.a1b2:c3d4+e5f6";
        let name = format!("test.{odd}:{odd}");
        let secret = "q7z9:x2v4+w8k1.q7z9:x2v4+w8k1.q7z9:x2v4+w8k1";
        let body = json!({"username": name, "password": secret, "email": odd, "display_name": odd, "first_name": odd, "middle_name": odd, "last_name": odd, "totp_label": odd, "auto_approve": true});
        let town = town_on(parity(engine));
        let root = town.chief();
        root.say("POST", USER, body.clone()).done();
        let user = town.stranger().sign_in(&name, secret);
        for key in ["email", "display_name", "first_name", "middle_name", "last_name", "totp_label"] {
            assert_eq!(user.see(None)[key], odd, "{key}");
        }
        user.say("PATCH", USER, json!({"email": "x:y"})).done();
        assert_eq!(user.see(None)["email"], "x:y");
        // Natively, too, it is seen and changed, but only into an address.
        let native = town.anon().sign_in(&name, secret);
        assert_eq!(native.get("/api/v1/users/me").expect(200).json["email"], "x:y");
        native.patch("/api/v1/users/me", &json!({"email": "z:y"})).refused(422, "invalid");
        let safe = town_on(Site::new(engine));
        safe.chief().say("POST", USER, body).no("E002001");
    }

    fn changing_users(engine) {
        for town in towns(engine) {
            let (ann, id) = town.regular("ann");
            let root = town.chief();
            ann.say("PATCH", USER, json!({"email": "ann@example.com", "first_name": "Ann", "middle_name": null, "last_name": "", "display_name": "Annie", "totp_label": "desk"})).done();
            let seen = ann.see(None);
            assert_eq!((&seen["email"], &seen["first_name"], &seen["last_name"], &seen["display_name"], &seen["totp_label"]), (&json!("ann@example.com"), &json!("Ann"), &Value::Null, &json!("Annie"), &json!("desk")));
            ann.say("PATCH", USER, json!({"user_id": id, "email": null, "display_name": null})).done();
            assert_eq!((&ann.see(None)["email"], &ann.see(None)["display_name"]), (&Value::Null, &json!("")));
            ann.say("PATCH", USER, json!({})).no("E008003");
            // What is not an input here is dropped, not refused.
            ann.say("PATCH", USER, json!({"totp_key": "x", "is_approved": true, "password": "x"})).no("E008003");
            // What is as it is said to be takes nothing else with it.
            ann.say("PATCH", USER, json!({"is_totp_enabled": false})).done();
            for (name, value) in [("is_locked", json!(true)), ("approval_status", json!("rejected")), ("sign_up_status", json!("final")), ("password_must_change", json!(false))] {
                ann.say("PATCH", USER, json!({"is_totp_enabled": false, name: value})).no("E008002");
            }
            ann.say("PATCH", USER, json!({"totp_key": 1, "is_approved": [], "first_name": "Anna"})).done();
            for member in ["is_locked", "password_expiry", "password_must_change", "sign_up_status", "approval_status"] {
                let value = match member {
                    "password_expiry" => "2345-12-27T11:22:33",
                    "sign_up_status" => "final",
                    "approval_status" => "approved",
                    _ => "true",
                };
                ann.say("PATCH", USER, json!({member: value})).no("E008002");
            }
            let other = root.make("ben");
            ann.say("PATCH", USER, json!({"user_id": other, "first_name": "x"})).no("E008002");
            // A member of the query string does not count as sent, but names whom the change is for.
            ann.bare("PATCH", "user?first_name=Query", &json!({"current_app": APP, "ust": ann.ust})).no("E008003");
            for (body, code) in [
                (json!({"username": null}), "E008002"), (json!({"username": ""}), "E008002"), (json!({"username": "BEN"}), "E001002"),
                (json!({"sign_up_status": "x"}), "E008002"), (json!({"approval_status": null}), "E008002"), (json!({"password_expiry": null}), "E008002"),
                (json!({"password_expiry": "soon"}), "E008002"), (json!({"email": "no\naddress"}), "E008002"),
            ] {
                let mut body = body;
                body["user_id"] = id.clone().into();
                root.say("PATCH", USER, body).no(code);
            }
            root.say("PATCH", USER, json!({"user_id": "zusr1", "first_name": "x"})).no("E005001");
            root.say("PATCH", USER, json!({
                "user_id": id, "username": "anna", "password_expiry": "2345-12-27T11:22:33", "password_must_change": "yes", "sign_up_status": "final", "approval_status": "approved", "is_locked": true,
            })).done();
            let seen = root.see(Some(&id));
            assert_eq!((&seen["username"], &seen["password_expiry"], &seen["password_must_change"], &seen["is_locked"]), (&json!("anna"), &json!("2345-12-27T11:22:33"), &json!(true), &json!(true)));
            assert_eq!(seen["locked_by"], root.see(None)["user_id"]);
            town.stranger().login("anna", PASSWORD).no("E005002");
            // The old name is nobody's now; null is false.
            root.say("PATCH", USER, json!({"user_id": id, "is_locked": null, "password_must_change": null})).done();
            root.make("ann");
            town.stranger().sign_in("anna", PASSWORD);
            root.say("PATCH", USER, json!({"user_id": id, "sign_up_status": "before_confirmation"})).done();
            town.stranger().login("anna", PASSWORD).no("E005003");
            root.say("PATCH", USER, json!({"user_id": id, "sign_up_status": "final", "approval_status": "before_decision"})).done();
            town.stranger().login("anna", PASSWORD).no("E005001");
            // The last super-user stays one.
            root.say("PATCH", USER, json!({"approval_status": "rejected"})).no("E008001");
            root.say("PATCH", USER, json!({"is_locked": true})).no("E008001");
        }
    }

    /// Whether users rename themselves is a switch.
    fn renaming_oneself(engine) {
        let [town, safe] = towns(engine);
        let (ann, _) = town.regular("ann");
        ann.say("PATCH", USER, json!({"username": "anna:1"})).done();
        town.stranger().sign_in("anna:1", PASSWORD);
        town.stranger().login("ann", PASSWORD).no("E005001");
        let (ann, _) = safe.regular("ann");
        ann.say("PATCH", USER, json!({"username": "anna"})).no("E008002");
    }

    fn deleting_locking_and_deciding(engine) {
        for town in towns(engine) {
            let (ann, id) = town.regular("ann");
            let root = town.chief();
            for (method, path, code) in [("DELETE", USER, "E005001"), ("POST", "user/lock", "E005001"), ("DELETE", "user/lock", "E005001"), ("POST", "user/approve", "E008002"), ("POST", "user/reject", "E008002")] {
                ann.say(method, path, json!({"user_id": id})).no(code);
            }
            root.say("POST", "user/lock", json!({"user_id": id})).done();
            root.say("POST", "user/lock", json!({"user_id": id})).done();
            town.stranger().login("ann", PASSWORD).no("E005002");
            ann.say("GET", USER, json!({})).no("E007001");
            root.say("DELETE", "user/lock", json!({"user_id": id})).done();
            town.stranger().sign_in("ann", PASSWORD);
            for (method, path, code) in [("DELETE", USER, "E008001"), ("POST", "user/lock", "E008002"), ("DELETE", "user/lock", "E008002"), ("POST", "user/approve", "E008002"), ("POST", "user/reject", "E008002")] {
                for unknown in ["zusr1", "018f0000-0000-7000-8000-000000000000", ""] {
                    root.say(method, path, json!({"user_id": unknown})).no(code);
                }
            }
            root.say("DELETE", USER, json!({})).no("E008001");
            let own = root.see(None)["user_id"].clone();
            root.say("DELETE", USER, json!({"user_id": own})).no("E008001");
            root.say("DELETE", USER, json!({"user_id": id})).done();
            root.say("GET", USER, json!({"user_id": id})).no("E005001");
        }
    }

    /// A search by parts of names looks at everyone and keeps a bounded number: a page too deep for that is refused, one past the end is
    /// empty.
    fn finding_many_users(engine) {
        let town = town_on(Site::new(engine));
        let rows: String = (0..10_050).map(|n| format!("{}\n", json!({"username": format!("many-{n:05}"), "first_name": "Many", "last_name": format!("{:05}", 10_049 - n)}))).collect();
        crate::harness::process::usher(&town.site, &["user", "import", "-"], &rows).expect(0);
        town.hear();
        let root = town.chief();
        let find = |members: Value| root.say("GET", "user/search", members);
        let of = |page: Value| -> Vec<String> { page["result"].as_array().unwrap().iter().map(|u| u["username"].as_str().unwrap().to_owned()).collect() };
        let page = |number: i64| find(json!({"first_name": "AN", "page_size": 100, "cur_page": number})).done().json;
        let first = page(1);
        assert_eq!((&first["total"], &first["num_pages"]), (&json!(10_050), &json!(101)));
        assert_eq!(of(first).first().unwrap(), "many-10049");
        assert_eq!(of(page(100)).last().unwrap(), "many-00050");
        find(json!({"first_name": "AN", "page_size": 100, "cur_page": 101})).no("E008002");
        assert_eq!(of(page(102)), [""; 0]);
        assert_eq!(of(find(json!({"first_name": "an", "last_name": "04049"})).done().json), ["many-06000"]);
    }

    fn finding_users(engine) {
        for town in towns(engine) {
            let root = town.chief();
            for (name, first, last) in [("u1", "Émile", "Zola"), ("u2", "Emilia", "Zappa"), ("u3", "Émile", "Durkheim")] {
                root.say("POST", USER, json!({"username": name, "password": PASSWORD, "first_name": first, "last_name": last, "email": format!("{name}@example.com"), "auto_approve": name != "u3"})).done();
            }
            let found = |members: Value| -> Vec<String> {
                let page = root.say("GET", "user/search", members).done().json;
                assert_eq!(page["total"], page["result"].as_array().unwrap().len());
                page["result"].as_array().unwrap().iter().map(|u| u["username"].as_str().unwrap().to_owned()).collect()
            };
            assert_eq!(found(json!({"first_name": "éMIL"})), ["u3", "u1"]);
            assert_eq!(found(json!({"first_name": "émil", "is_name_exact": true})), [""; 0]);
            assert_eq!(found(json!({"first_name": "émile", "is_name_exact": "y", "last_name": "ZOLA"})), ["u1"]);
            assert_eq!(found(json!({"first_name": "emilia", "last_name": "zola", "name_op": "or"})), ["u2", "u1"]);
            assert_eq!(found(json!({"display_name": "mile z"})), ["u1"]);
            assert_eq!(found(json!({"first_name": "", "last_name": null, "email": "u2@example.com"})), ["u2"]);
            assert_eq!(found(json!({"approval_status": "before_decision"})), ["u3"]);
            assert_eq!(found(json!({"approval_status": "nonsense"})), [""; 0]);
            assert_eq!(found(json!({"sign_up_status": "final", "last_name": "z"})), ["u2", "u1"]);
            assert_eq!(found(json!({"username": "U1", "first_name": "other"})), ["u1"]);
            assert_eq!(found(json!({"user_id": root.see(None)["user_id"], "username": "u1"})), [ROOT]);
            assert_eq!(found(json!({"user_id": "nobody"})), [""; 0]);
            assert_eq!(found(json!({"username": "nul\u{0}"})), [""; 0]);
            root.say("GET", "user/search", json!({"name_op": "xor"})).result(400, "Bad request");
            let page = |members: Value| root.say("POST", "user/search", members).done().json;
            let second = page(json!({"page_size": 3, "cur_page": "2"}));
            assert_eq!((&second["total"], &second["num_pages"], &second["page_size"], &second["cur_page"]), (&json!(4), &json!(2), &json!(3), &json!(2)));
            assert_eq!((&second["has_next_page"], &second["has_prev_page"], &second["next_page"], &second["prev_page"]), (&json!(false), &json!(true), &Value::Null, &json!(1)));
            assert_eq!(second["result"].as_array().unwrap().len(), 1);
            let beyond = page(json!({"cur_page": 9}));
            assert_eq!((&beyond["result"], &beyond["page_size"]), (&json!([]), &json!(50)));
            assert_eq!(page(json!({"page_size": 1000, "cur_page": -4, "paginate": false}))["page_size"], 100);
            let named = page(json!({"first_name": "e", "page_size": 1, "cur_page": 2}));
            assert_eq!((&named["total"], &named["num_pages"], &named["result"][0]["username"]), (&json!(3), &json!(3), &json!("u3")));
            assert_eq!(page(json!({"last_name": "a", "page_size": 2, "cur_page": 7}))["result"], json!([]));
            let first = page(json!({}));
            assert_eq!((&first["cur_page"], &first["prev_page"], &first["next_page"]), (&json!(1), &json!(0), &Value::Null));
            let mut keys: Vec<&str> = [OWN, OF_SUPER_USERS, &["is_rate_limit_active", "rate_limit_def", "rate_limit_type", "rate_limit_check_parent_def", "totp_key", "status", "is_current_super_user"]].concat();
            keys.sort_unstable();
            assert_eq!(sorted(&first["result"][0]), keys);
            assert!(first["result"][0]["is_approval_needed"].is_null() && first["result"][0]["is_current_super_user"] == false);
            // A search does not say what is wrong with a session.
            let (ann, _) = town.regular("ann");
            ann.say("GET", "user/search", json!({})).no("E005001");
            town.stranger().say("GET", "user/search", json!({"ust": "x"})).no("E005001");
            town.stranger().say("GET", USER, json!({"ust": "x"})).no("E007001");
        }
    }
}
