//! Zato SSO's dialect: how it is spoken, signing in and out, signing up, one-time codes; what the switches do, and that nothing else does.

use crate::both;
use crate::harness::process::Process;
use crate::harness::{Answer, PASSWORD, ROOT, Site, Town, tools};
use crate::zato::{APP, USER, parity, switches, town_on, towns};
use serde_json::{Value, json};
use std::time::Duration;

const OTHER_PASSWORD: &str = "marble cloud engine 77";
const KEY: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";

impl Town {
    /// A user with one-time codes, made at the command line.
    fn coded(&self, name: &str, role: &str) {
        let arguments = ["user", "create", name, "--role", role, "--password-stdin", "--totp-key", KEY];
        crate::harness::process::usher(&self.site, &arguments, PASSWORD).expect(0);
    }

    fn login_with(&self, name: &str, code: &str) -> Answer {
        self.stranger().say("POST", "user/login", json!({"username": name, "password": PASSWORD, "totp_code": code}))
    }
}

both! {
    /// What cannot be understood is never a fault of the server's, and never HTML.
    fn the_wire(engine) {
        let town = town_on(Site::new(engine));
        let (anon, root) = (town.stranger(), town.chief());
        let unknown = town.anon().get("/zato/sso/nowhere").expect(404);
        assert_eq!(unknown.text, format!("URL not found (CID:{})", unknown.cid()));
        assert!(unknown.headers["content-type"].starts_with("text/plain") && unknown.cid().len() == 24);
        for (method, path) in [("DELETE", "user/session"), ("PUT", USER), ("PROPFIND", "user/login"), ("GET", "password/reset")] {
            let answer = town.anon().call(method, &format!("/zato/sso/{path}"), None).result(405, "Unsupported HTTP method");
            assert!(!answer.headers["allow"].is_empty());
        }
        for body in ["", "[]", "[1]", "{", "1", "null", "\"x\"", "<xml/>"] {
            town.anon().call("POST", "/zato/sso/user/login", Some(body.to_owned())).result(400, "Bad request");
        }
        let whole = json!({"username": ROOT, "password": PASSWORD, "current_app": APP});
        for missing in ["username", "password", "current_app"] {
            let mut body = whole.clone();
            body.as_object_mut().unwrap().remove(missing);
            anon.bare("POST", "user/login", &body).result(400, "Bad request");
        }
        for (member, value) in [("password", json!(5)), ("username", json!([])), ("new_password", json!({}))] {
            let mut body = whole.clone();
            body[member] = value;
            anon.bare("POST", "user/login", &body).result(400, "Bad request");
        }
        root.say("POST", USER, json!({"username": "x", "is_locked": "perhaps"})).result(400, "Bad request");
        root.say("PATCH", "user/password", json!({"new_password": "x", "user_id": "zusr1", "password_expiry": "soon"})).result(400, "Bad request");
        town.anon().call("POST", "/zato/sso/user/login", Some(format!("{}1{}", "[".repeat(40), "]".repeat(40)))).result(400, "Bad request");
        assert_eq!(town.anon().call("POST", "/zato/sso/user/login", Some(" ".repeat(70_000))).expect(413).json["result"], "Error");
        // Null and empty are there, and wrong.
        for (member, value) in [("username", json!(null)), ("password", json!("")), ("username", json!("")), ("password", json!(null)), ("username", json!(7))] {
            let mut body = whole.clone();
            body[member] = value;
            anon.bare("POST", "user/login", &body).no("E005001");
        }
        // Members of the query string win; they need no body.
        anon.bare("POST", &format!("user/login?current_app={APP}"), &json!({"username": ROOT, "password": PASSWORD, "current_app": "x"})).done();
        let query = format!("/zato/sso/user?current_app={APP}&ust={}", root.ust.clone().unwrap());
        assert_eq!(town.anon().get(&query).done().json["username"], ROOT);
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            anon.bare(method, "user/login", &whole).done();
            root.say(method, "user/search", json!({})).done();
        }
        // An unknown application is told with 200.
        for app in [json!("nowhere"), json!(null), json!(""), json!(7), json!("nul\u{0}")] {
            let answer = anon.bare("POST", "user/login", &json!({"username": ROOT, "password": PASSWORD, "current_app": app})).no("E004001");
            assert_eq!(answer.status, 200);
        }
        anon.bare("POST", "user/signup", &json!({"username": "x"})).expect(200).no("E004001");
        // Whatever a session token is not, it is no session.
        for ust in [json!(null), json!(""), json!("x"), json!("gAAAAABh"), json!(5), json!("ust_AAAA"), json!("\u{0}")] {
            anon.say("GET", USER, json!({"ust": ust})).no("E007001");
        }
        // A client's own correlation id is taken if it is of the form that there is.
        let own = "0123456789abcdef01234567";
        assert_eq!(root.client.with("x-correlation-id", own).call("GET", "/zato/sso/user", None).cid(), own);
        assert_ne!(root.client.with("x-correlation-id", "mine").call("GET", "/zato/sso/user", None).cid(), "mine");
    }

    fn signing_in_and_out(engine) {
        for town in towns(engine) {
            let (ann, id) = town.regular("ann");
            let root = town.chief();
            town.stranger().login("ann", "wrong").no("E005001");
            town.stranger().login("nobody", PASSWORD).no("E005001");
            ann.say("DELETE", "user/logout", json!({})).done();
            ann.say("GET", USER, json!({})).no("E007001");
            for ust in [json!(ann.ust), json!("x"), json!(null), json!("")] {
                town.stranger().say("POST", "user/logout", json!({"ust": ust})).done();
            }
            town.stranger().bare("POST", "user/logout", &json!({"current_app": APP})).result(400, "Bad request");
            town.stranger().bare("POST", "user/logout", &json!({"current_app": "x", "ust": ""})).no("E004001");
            // A new password that nothing demands is passed over.
            let with_new = |new: Value| town.stranger().say("POST", "user/login", json!({"username": "ann", "password": PASSWORD, "new_password": new}));
            with_new(json!(OTHER_PASSWORD)).done();
            town.stranger().sign_in("ann", PASSWORD);
            root.say("PATCH", USER, json!({"user_id": id, "password_must_change": true})).done();
            town.stranger().login("ann", PASSWORD).no("E003007");
            with_new(json!("short")).no("E003002");
            with_new(json!("y".repeat(300))).no("E003003");
            with_new(json!(OTHER_PASSWORD)).done();
            town.stranger().sign_in("ann", OTHER_PASSWORD);
            // About to expire: a warning. Expired: refused.
            let soon = town.now() + Duration::from_secs(3600);
            let soon = soon.to_string().replace('Z', "");
            root.say("PATCH", USER, json!({"user_id": id, "password_expiry": soon})).done();
            let warned = town.stranger().login("ann", OTHER_PASSWORD).expect(200).json;
            assert_eq!((&warned["status"], &warned["sub_status"]), (&json!("warning"), &json!(["W003005"])));
            assert!(warned["ust"].is_string());
            town.advance(Duration::from_secs(3601));
            town.stranger().login("ann", OTHER_PASSWORD).no("E003004");
            // Where its user comes from is told by nobody who may not.
            let told = |member: &str| town.stranger().say("POST", "user/login", json!({"username": ROOT, "password": PASSWORD, member: "192.0.2.7"}));
            told("remote_addr").no("E006001");
            told("user_agent").no("E006001");
        }
    }

    /// An application that may tells from where and with what its user comes.
    fn login_metadata(engine) {
        let town = town_on(Site::new(engine));
        let body = json!({"name": "portal", "may_set_remote_addr": true});
        let key = town.root().post("/api/v1/applications", &body).expect(201).json["key"].as_str().unwrap().to_owned();
        let portal = crate::zato::Speaker { client: town.anon().with("x-application-key", &key), ust: None };
        let body = json!({"username": ROOT, "password": PASSWORD, "current_app": "portal", "remote_addr": "192.0.2.7", "user_agent": "Pad 1\n"});
        let ust = portal.bare("POST", "user/login", &body).done().json["ust"].clone();
        let seen = town.chief().say("GET", "user/session", json!({"current_ust": town.chief().ust, "target_ust": ust})).done().json;
        assert_eq!((&seen["remote_addr"], &seen["user_agent"]), (&json!("192.0.2.7"), &json!("Pad 1")));
        let mut broken = body;
        broken["remote_addr"] = "not an address".into();
        portal.bare("POST", "user/login", &broken).result(400, "Bad request");
    }

    /// The application is judged as natively: who is not listed is told so only with the right password.
    fn applications_that_are_not_open(engine) {
        let town = town_on(Site::new(engine));
        town.root().post("/api/v1/applications", &json!({"name": "vault", "access": "listed"})).expect(201);
        town.create("ann");
        let login = |password: &str| town.stranger().bare("POST", "user/login", &json!({"username": "ann", "password": password, "current_app": "vault"}));
        assert_eq!(login(PASSWORD).no("E004001").status, 403);
        login("wrong").no("E005001");
    }

    /// S12 natively, and what the switch allows in the dialect: the same code in several sign-ins.
    fn codes_used_again(engine) {
        let [town, safe] = towns(engine);
        for (town, again) in [(&town, true), (&safe, false)] {
            town.coded("ann", "administrator");
            town.stranger().login("ann", PASSWORD).no("E005008");
            town.login_with("ann", "").no("E005008");
            town.login_with("ann", "000000").no("E005001");
            let code = tools::code(KEY, town.now());
            town.login_with("ann", &code).done();
            for _ in 0..3 {
                let answer = town.login_with("ann", &code);
                if again { answer.done() } else { answer.no("E005001") };
            }
            // The native API takes it once, whatever was on in the dialect.
            town.anon().try_sign_in_with("ann", PASSWORD, &code).refused(401, "totp_invalid");
            town.advance(Duration::from_secs(30));
            let code = tools::code(KEY, town.now());
            town.anon().try_sign_in_with("ann", PASSWORD, &code).expect(201);
            town.anon().try_sign_in_with("ann", PASSWORD, &code).refused(401, "totp_invalid");
            // A code of long ago is none, switch or not.
            town.advance(Duration::from_secs(120));
            town.login_with("ann", &code).no("E005001");
        }
    }

    /// Some sixty sign-ins from one address within a moment, and a handful of refused ones among them.
    fn many_sign_ins(engine) {
        for town in towns(engine) {
            for number in 0..60 {
                town.stranger().login(ROOT, PASSWORD).done();
                if number % 10 == 0 {
                    town.stranger().login(ROOT, "wrong").no("E005001");
                }
            }
        }
    }

    /// S8: guesses are slowed down; under the switch later, in the dialect alone.
    fn guessing(engine) {
        let [town, safe] = towns(engine);
        for (town, free) in [(&town, 25), (&safe, 5)] {
            town.create("ann");
            for _ in 0..free {
                town.stranger().login("ann", "wrong").no("E005001");
            }
            let blocked = town.stranger().login("ann", PASSWORD).result(429, "Error 429 Too Many Requests");
            assert!(blocked.headers.contains_key("retry-after"));
        }
        town.create("ben");
        for _ in 0..5 {
            town.anon().try_sign_in("ben", "wrong").refused(401, "credentials_invalid");
        }
        town.anon().try_sign_in("ben", PASSWORD).refused(429, "too_many_attempts");
    }

    /// One-time codes without the switch: a key is confirmed by a code, and taken away by one.
    fn codes_by_codes(engine) {
        let town = town_on(Site::new(engine));
        let (ann, id) = town.regular("ann");
        let root = town.chief();
        let told = ann.say("PATCH", "user/totp", json!({"totp_key": "", "totp_label": "desk"})).done().json;
        let key = told["totp_key"].as_str().unwrap().to_owned();
        assert_eq!((&ann.see(None)["is_totp_enabled"], &ann.see(None)["totp_label"]), (&json!(false), &json!("desk")));
        let switch = |on: bool, code: &str| ann.say("PATCH", USER, json!({"is_totp_enabled": on, "totp_code": code}));
        switch(false, "").done();
        switch(true, "").no("E005008");
        switch(true, "000000").no("E005001");
        ann.say("PATCH", USER, json!({"is_totp_enabled": true, "first_name": "x", "totp_code": town.code(&key)})).no("E005008");
        let codes = switch(true, &town.code(&key)).done().json;
        assert_eq!(codes["recovery_codes"].as_array().unwrap().len(), 10);
        assert_eq!(ann.see(None)["is_totp_enabled"], true);
        town.stranger().login("ann", PASSWORD).no("E005008");
        ann.say("PATCH", "user/totp", json!({"totp_key": KEY, "totp_label": ""})).no("E008001");
        town.advance(Duration::from_secs(30));
        switch(false, &town.code(&key)).done();
        // A key of one's own choice is confirmed likewise; what is none is refused.
        ann.say("PATCH", "user/totp", json!({"totp_key": "not base32!", "totp_label": ""})).no("E008002");
        assert_eq!(ann.say("PATCH", "user/totp", json!({"user_id": null, "totp_key": KEY, "totp_label": ""})).done().json["totp_key"], KEY);
        switch(true, &town.code(KEY)).done();
        // Another's is nobody's business, but for taking it away.
        root.say("PATCH", "user/totp", json!({"user_id": id, "totp_key": KEY, "totp_label": ""})).no("E008002");
        ann.say("PATCH", "user/totp", json!({"user_id": id, "totp_key": KEY, "totp_label": ""})).no("E008002");
        root.say("POST", USER, json!({"username": "kim", "password": PASSWORD, "is_totp_enabled": true, "totp_key": KEY})).no("E008002");
        root.say("PATCH", USER, json!({"user_id": id, "is_totp_enabled": false})).done();
        root.say("PATCH", USER, json!({"user_id": id, "is_totp_enabled": true})).no("E008002");
        town.stranger().login("ann", PASSWORD).done();
    }

    /// With the switch no code is asked for, and sessions go on.
    fn codes_without_codes(engine) {
        let town = town_on(parity(engine));
        let (ann, id) = town.regular("ann");
        let root = town.chief();
        ann.say("PATCH", USER, json!({"is_totp_enabled": true})).done();
        town.stranger().login("ann", PASSWORD).no("E005008");
        let key = ann.say("PATCH", "user/totp", json!({"totp_key": "", "totp_label": ""})).done().json["totp_key"].as_str().unwrap().to_owned();
        town.login_with("ann", &town.code(&key)).done();
        ann.say("PATCH", "user/totp", json!({"totp_key": KEY, "totp_label": "x"})).done();
        town.login_with("ann", &town.code(KEY)).done();
        ann.say("PATCH", USER, json!({"is_totp_enabled": false})).done();
        town.stranger().login("ann", PASSWORD).done();
        ann.say("PATCH", USER, json!({"is_totp_enabled": true, "first_name": "Ann"})).done();
        town.login_with("ann", &town.code(KEY)).done();
        let key = root.say("PATCH", "user/totp", json!({"user_id": id, "totp_key": "", "totp_label": ""})).done().json["totp_key"].as_str().unwrap().to_owned();
        town.login_with("ann", &town.code(&key)).done();
        ann.say("PATCH", "user/totp", json!({"user_id": id, "totp_key": "", "totp_label": ""})).no("E008002");
        root.say("PATCH", "user/totp", json!({"user_id": "zusr1", "totp_key": "", "totp_label": ""})).no("E005001");
        root.say("POST", USER, json!({"username": "kim", "password": PASSWORD, "is_totp_enabled": true, "totp_key": KEY, "auto_approve": true})).done();
        town.login_with("kim", &town.code(KEY)).done();
        ann.see(None);
    }

    fn signing_up(engine) {
        let [town, safe] = towns(engine);
        let sign_up = |town: &Town, members: Value| town.stranger().say("POST", "user/signup", members);
        let told = sign_up(&town, json!({"username": "ann", "password": PASSWORD, "app_list": [APP]})).done().json;
        let confirm = |town: &Town, token: &Value| town.stranger().say("PATCH", "user/signup", json!({"confirm_token": token}));
        town.stranger().login("ann", PASSWORD).no("E005003");
        confirm(&town, &json!("x")).no("E005006");
        confirm(&town, &told["confirm_token"]).done();
        confirm(&town, &told["confirm_token"]).no("E005006");
        town.stranger().login("ann", PASSWORD).no("E005001");
        let root = town.chief();
        let id = root.say("GET", "user/search", json!({"username": "ann"})).done().json["result"][0]["user_id"].clone();
        root.say("POST", "user/approve", json!({"user_id": id})).done();
        town.stranger().login("ann", PASSWORD).done();
        for (members, code) in [
            (json!({"username": "ann", "password": PASSWORD}), "E005001"),
            (json!({"password": PASSWORD}), "E001001"),
            (json!({"username": "x".repeat(200), "password": PASSWORD}), "E001003"),
            (json!({"username": " x", "password": PASSWORD}), "E001004"),
            (json!({"username": "kim", "password": "short"}), "E003002"),
            (json!({"username": "kim"}), "E003002"),
            (json!({"username": "kim", "password": PASSWORD, "email": "x".repeat(300)}), "E002003"),
        ] {
            sign_up(&town, members).no(code);
        }
        // Without the switches: closed, then without mail; and an address is needed.
        for (members, code) in [(json!({"username": "ann", "password": PASSWORD}), "E002005"), (json!({"username": "ann", "password": PASSWORD, "email": "x"}), "E002001"),
            (json!({"username": "ann", "password": PASSWORD, "email": "a b@example.com"}), "E002004"), (json!({"username": "ann", "password": PASSWORD, "email": "a@example.com"}), "E004002")] {
            sign_up(&safe, members).no(code);
        }
    }
}

/// No switch reaches the native API: the same calls are answered alike.
fn native_calls(town: &Town) -> Vec<(u16, Value)> {
    let root = town.root();
    let ann = town.user("ann");
    town.coded("cod", "viewer");
    let code = tools::code(KEY, town.now());
    let mut answers = vec![
        ann.patch("/api/v1/users/me", &json!({"email": "no-address"})),
        ann.patch("/api/v1/users/me", &json!({"username": "anna"})),
        ann.call("POST", "/api/v1/users/me/totp/confirm", Some(json!({"code": "000000"}).to_string())),
        town.anon().try_sign_in_with("cod", PASSWORD, &code),
        town.anon().try_sign_in_with("cod", PASSWORD, &code),
        town.anon().post("/api/v1/sessions", &json!({"username": "ann", "password": PASSWORD, "new_password": OTHER_PASSWORD})),
        town.anon().post("/api/v1/signups", &json!({"username": "kim", "password": PASSWORD})),
        town.anon().post("/api/v1/signups", &json!({"username": "kim", "password": PASSWORD, "email": "kim@example.com"})),
        root.post("/api/v1/users", &json!({"username": "odd", "password": PASSWORD, "email": "a:b"})),
        root.post("/api/v1/users", &json!({"username": "odd", "password": PASSWORD, "is_totp_enabled": true})),
    ];
    let (other, path) = (town.anon().sign_in("ann", PASSWORD), "/api/v1/users/me/password");
    answers.push(ann.put(path, &json!({"old_password": PASSWORD, "new_password": OTHER_PASSWORD})));
    answers.push(other.get("/api/v1/users/me"));
    answers.push(ann.get("/api/v1/users/me"));
    let ann = town.anon().sign_in("ann", OTHER_PASSWORD);
    answers.push(root.put(&format!("/api/v1/users/{}/password", ann.id()), &json!({"new_password": PASSWORD})));
    answers.push(ann.get("/api/v1/users/me"));
    for _ in 0..6 {
        answers.push(town.anon().try_sign_in("ann", "wrong"));
    }
    town.advance(Duration::from_secs(301));
    answers.push(root.post("/api/v1/users", &json!({"username": "boss", "password": PASSWORD, "user_role": "administrator"})));
    let code_of = |answer: &Answer| (answer.status, answer.json["code"].clone());
    answers.iter().map(code_of).collect()
}

both! {
    /// The named switches are all there are, and none of them changes what the native API answers.
    fn the_native_api_is_the_same_under_every_switch(engine) {
        let safe = native_calls(&Town::new(engine));
        assert!(safe.iter().any(|(status, _)| *status == 429) && safe.contains(&(403, json!("fresh_sign_in_required"))), "{safe:?}");
        assert_eq!(native_calls(&Town::on(parity(engine))), safe);
    }

    /// The start-up log names every switch that is off its safe value, and the profile may come beside a file of one's own.
    fn switches_are_told_at_the_start(engine) {
        let site = Site::new(engine);
        let profile = concat!(env!("CARGO_MANIFEST_DIR"), "/config/zato-parity.toml");
        let mut command = crate::harness::process::program(site.folder.path());
        command.arg("serve").arg("--config").arg(site.settings()).arg("--config").arg(profile);
        let process = Process::start(command);
        let log = process.log();
        assert_eq!(switches().len(), 9);
        for switch in switches() {
            assert!(log.contains(&format!("zato_parity.{switch}")), "{log}");
        }
        // What has answered listens to signals, too.
        process.anon().get("/readyz").expect(200);
        let ended = process.terminate();
        assert_eq!(ended.code, Some(0));
        let plain = Process::serve(&site);
        plain.anon().get("/readyz").expect(200);
        let plain = plain.terminate();
        assert!(!plain.log.contains("zato_parity"), "{}", plain.log);
        let shown = site.folder.path().join("two");
        std::fs::create_dir(&shown).unwrap();
        let mut command = crate::harness::process::program(&shown);
        let both = std::env::join_paths([site.settings(), profile.into()]).unwrap();
        command.args(["config", "show"]).env("USHER_CONFIG", both);
        let ran = crate::harness::process::run(command, "").expect(0);
        assert!(ran.out.contains("zato_parity.any_email = true") && ran.out.contains("usher.toml"), "{ran:?}");
    }
}
