//! Zato SSO's dialect: passwords and their resets, sessions, attributes, linked accounts.

use crate::both;
use crate::faults::text;
use crate::harness::process::usher;
use crate::harness::{PASSWORD, ROOT, Site, Town};
use crate::zato::{APP, Speaker, USER, parity, sorted, town_of_today, town_on, towns};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::Duration;

const OTHER_PASSWORD: &str = "marble cloud engine 77";
const LINKED: &str = "copper window paper 31";

impl Speaker {
    /// A super-user's call about a session.
    #[track_caller]
    fn about(&self, method: &str, path: &str, target: &Value, members: Value) -> crate::harness::Answer {
        let mut body = json!({"current_app": APP, "current_ust": self.ust, "target_ust": target});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.bare(method, path, &body)
    }

    fn basic(&self, name: &str, password: &str) -> Self {
        let credentials = STANDARD.encode(format!("{name}:{password}"));
        Self { client: self.client.with("authorization", &format!("Basic {credentials}")), ust: None }
    }
}

both! {
    fn changing_passwords(engine) {
        let [town, safe] = towns(engine);
        for (town, survives) in [(&town, true), (&safe, false)] {
            let (ann, id) = town.regular("ann");
            let (elsewhere, root) = (town.stranger().sign_in("ann", PASSWORD), town.chief());
            let change = |who: &Speaker, members: Value| who.say("PATCH", "user/password", members);
            change(&ann, json!({"new_password": OTHER_PASSWORD})).no("E005001");
            change(&ann, json!({"new_password": OTHER_PASSWORD, "old_password": "wrong"})).no("E005001");
            change(&ann, json!({"new_password": "short", "old_password": PASSWORD})).no("E005001");
            change(&ann, json!({"old_password": PASSWORD})).result(400, "Bad request");
            // There and back; what is no input here is ignored.
            let body = json!({"new_password": OTHER_PASSWORD, "old_password": PASSWORD, "user_id": id, "password_must_change": true, "password_expiry": 1});
            let changed = change(&ann, body).done().json;
            let ann = match changed.get("ust") {
                None => ann,
                Some(ust) => Speaker { ust: Some(ust.as_str().unwrap().to_owned()), ..ann },
            };
            assert_eq!(changed.get("ust").is_some(), !survives);
            ann.see(None);
            let kept = elsewhere.say("GET", USER, json!({}));
            if survives { kept.done() } else { kept.no("E007001") };
            let back = change(&ann, json!({"new_password": PASSWORD, "old_password": OTHER_PASSWORD})).done().json;
            assert_eq!(back.get("ust").is_some(), !survives);
            let login = town.stranger().login("ann", PASSWORD).done().json;
            let ann = Speaker { ust: Some(login["ust"].as_str().unwrap().to_owned()), ..town.stranger() };
            // Another's: super-users only, with a true cause, an expiry in days and a demand to change it.
            change(&ann, json!({"new_password": OTHER_PASSWORD, "user_id": root.see(None)["user_id"]})).no("E008002");
            change(&root, json!({"new_password": "short", "user_id": id})).no("E003002");
            change(&root, json!({"new_password": OTHER_PASSWORD, "user_id": "zusr1"})).no("E008002");
            change(&root, json!({"new_password": OTHER_PASSWORD, "user_id": id, "password_expiry": "1", "password_must_change": true})).done();
            let kept = ann.say("GET", USER, json!({}));
            if survives { kept.done() } else { kept.no("E007001") };
            let warned = town.stranger().login("ann", OTHER_PASSWORD).expect(200).json;
            assert_eq!((&warned["status"], &warned["sub_status"]), (&json!("warning"), &json!(["W003005"])));
            change(&root, json!({"new_password": PASSWORD, "user_id": id, "must_change": "yes", "password_expiry": -1})).done();
            town.stranger().login("ann", PASSWORD).no("E003007");
            // What is not said stays: the next sign-in still demands another one.
            change(&root, json!({"new_password": OTHER_PASSWORD, "user_id": id})).done();
            town.stranger().login("ann", OTHER_PASSWORD).no("E003007");
            // A sign-in of the last five minutes, unless the switch says otherwise.
            town.advance(Duration::from_secs(301));
            let late = change(&root, json!({"new_password": PASSWORD, "user_id": id, "must_change": false}));
            if survives { late.done() } else { late.no("E005001") };
        }
    }

    fn resetting_passwords(engine) {
        let [town, safe] = [town_of_today(parity(engine)), town_of_today(Site::new(engine))];
        for (town, survives) in [(&town, true), (&safe, false)] {
            let (ann, _) = town.regular("ann");
            let anon = town.stranger();
            for credential in [json!("ann"), json!("nobody"), json!(null), json!("x".repeat(600))] {
                anon.say("POST", "password/reset", json!({"credential": credential})).done();
            }
            anon.say("POST", "password/reset", json!({})).done();
            // The operator makes a token: those that are under way are known by their hashes alone.
            let token = town.usher(&["user", "reset-token", "ann"]).expect(0).out.trim().to_owned();
            assert_eq!(town.count("SELECT count(*) AS count FROM links"), 1);
            anon.say("PATCH", "password/reset", json!({"token": "x"})).no("E010001");
            let key = anon.say("PATCH", "password/reset", json!({"token": token})).done().json["reset_key"].clone();
            anon.say("PATCH", "password/reset", json!({"token": token})).no("E010001");
            let finish = |key: &Value, token: &str, password: &str| anon.say("DELETE", "password/reset", json!({"token": token, "reset_key": key, "password": password}));
            finish(&key, &token, "short").no("E003002");
            finish(&json!("x"), &token, OTHER_PASSWORD).no("E010001");
            // The key goes with the token that it was told for, and with no other.
            town.regular("ben");
            let other = town.usher(&["user", "reset-token", "ben"]).expect(0).out.trim().to_owned();
            let others_key = anon.say("PATCH", "password/reset", json!({"token": other})).done().json["reset_key"].clone();
            for (key, token) in [(&key, ""), (&key, "x"), (&key, other.as_str()), (&others_key, token.as_str()), (&key, key.as_str().unwrap())] {
                finish(key, token, OTHER_PASSWORD).no("E010001");
            }
            town.stranger().sign_in("ben", PASSWORD);
            // From where the user does not come, neither is a link opened nor a password set; both are good where it does.
            let networks = |networks: Value| drop(town.root().put(&format!("/api/v1/users/{}/networks", text(&town.root().get("/api/v1/users?username=ann").json["items"][0]["user_id"])), &json!({"networks": networks})).expect(200));
            let fresh = town.usher(&["user", "reset-token", "ann"]).expect(0).out.trim().to_owned();
            networks(json!(["10.0.0.0/8"]));
            anon.say("PATCH", "password/reset", json!({"token": fresh})).no("E010001");
            finish(&key, &token, OTHER_PASSWORD).no("E010001");
            networks(json!([]));
            anon.say("PATCH", "password/reset", json!({"token": fresh})).done();
            finish(&key, &token, OTHER_PASSWORD).done();
            finish(&key, &token, OTHER_PASSWORD).no("E010001");
            town.stranger().sign_in("ann", OTHER_PASSWORD);
            let kept = ann.say("GET", USER, json!({}));
            if survives { kept.done() } else { kept.no("E007001") };
            let told = town.usher(&["user", "reset-token", "ann", "--json"]).expect(0).json();
            assert!(told["token"].is_string() && told["expiry"].is_string());
            town.advance(Duration::from_secs(7200));
            anon.say("PATCH", "password/reset", json!({"token": told["token"]})).no("E010001");
            town.usher(&["user", "reset-token", "nobody"]).expect(1);
            town.usher(&["audit", "verify"]).expect(0);
        }
    }

    fn sessions(engine) {
        for town in towns(engine) {
            let (ann, id) = town.regular("ann");
            let (second, root) = (town.stranger().sign_in("ann", PASSWORD), town.chief());
            let target = json!(ann.ust);
            let details = root.about("GET", "user/session", &target, json!({})).done().json;
            assert_eq!(sorted(&details), ["cid", "creation_time", "expiration_time", "remote_addr", "status", "sub_status", "user_agent"]);
            assert_eq!((&details["creation_time"], &details["remote_addr"]), (&json!("2031-05-04T03:02:01"), &json!("127.0.0.1")));
            assert_eq!(details["expiration_time"], "2031-05-04T03:32:01");
            assert_eq!(root.about("POST", "user/session", &target, json!({})).done().json["is_valid"], true);
            for (target, code) in [(json!("x"), "E007001"), (json!(null), "E007001"), (json!(""), "E007001"), (json!("018f0000-0000-7000-8000-000000000000"), "E007001")] {
                root.about("GET", "user/session", &target, json!({})).no(code);
                assert_eq!(root.about("POST", "user/session", &target, json!({})).done().json["is_valid"], false);
            }
            root.bare("POST", "user/session", &json!({"current_app": APP, "current_ust": root.ust})).no("E007001");
            for method in ["GET", "POST"] {
                ann.about(method, "user/session", &target, json!({})).no("E005001");
                ann.bare(method, "user/session", &json!({"current_app": APP, "target_ust": ann.ust})).no("E007001");
            }
            town.advance(Duration::from_secs(60));
            assert_eq!(ann.say("PATCH", "user/session", json!({})).done().json["expiration_time"], "2031-05-04T03:33:01");
            let listed = ann.say("GET", "user/session/list", json!({})).done().json["result"].clone();
            assert_eq!(listed.as_array().unwrap().len(), 2);
            assert_eq!(sorted(&listed[0]), ["auth_principal", "auth_type", "creation_time", "expiration_time", "ext_session_id", "remote_addr", "session_state_change_list", "user_agent", "ust"]);
            assert_eq!((&listed[0]["auth_type"], &listed[0]["auth_principal"], &listed[0]["ext_session_id"]), (&json!("default"), &json!("ann"), &json!("")));
            // S30: a list has no token; its ids are good for a super-user's questions and for nothing else.
            for session in listed.as_array().unwrap() {
                assert!(![&ann, &second].iter().any(|s| session.to_string().contains(s.ust.as_deref().unwrap())));
                ann.say("GET", USER, json!({"ust": session["ust"]})).no("E007001");
                root.about("GET", "user/session", &session["ust"], json!({})).done();
            }
            assert_eq!(root.about("GET", "user/session/list", &target, json!({"ust": null})).done().json["result"], listed);
            assert_eq!(root.about("GET", "user/session/list", &target, json!({})).done().json["result"], listed);
            root.about("GET", "user/session/list", &target, json!({"ust": ann.ust})).no("E008002");
            root.about("GET", "user/session/list", &json!("x"), json!({})).no("E007001");
            ann.about("GET", "user/session/list", &target, json!({})).no("E005001");
            root.bare("GET", "user/session/list", &json!({"current_app": APP})).no("E007001");
            root.say("POST", "user/lock", json!({"user_id": id})).done();
            assert_eq!(root.about("POST", "user/session", &target, json!({})).done().json["is_valid"], false);
        }
    }

    fn attributes_of_users_and_sessions(engine) {
        for town in towns(engine) {
            let (ann, id) = town.regular("ann");
            let (root, ben) = (town.chief(), town.chief().make("ben"));
            let of_user = |method: &str, path: &str, mut members: Value| {
                members["user_id"] = id.clone().into();
                root.say(method, &format!("user/attr{path}"), members)
            };
            let of_session = |method: &str, path: &str, members: Value| root.about(method, &format!("session/attr{path}"), &json!(ann.ust), members);
            for call in [&of_user as &dyn Fn(&str, &str, Value) -> crate::harness::Answer, &of_session] {
                call("POST", "", json!({"name": "a", "value": 5})).done();
                call("POST", "", json!({"name": "a", "value": 6})).no("E009001");
                let got = call("GET", "", json!({"name": "a"})).done().json;
                assert_eq!(sorted(&got), ["cid", "creation_time", "expiration_time", "found", "is_encrypted", "last_modified", "name", "status", "sub_status", "value"]);
                assert_eq!((&got["found"], &got["value"], &got["expiration_time"], &got["is_encrypted"]), (&json!(true), &json!("5"), &json!("9999-12-31T00:00:00"), &json!(false)));
                let none = call("GET", "", json!({"name": "zzz"})).done().json;
                assert_eq!((sorted(&none), &none["found"]), (vec!["cid", "found", "status", "sub_status"], &json!(false)));
                // Several, all or none; each keeps its kind.
                call("POST", "", json!({"data": [{"name": "b", "value": 1}, {"name": "a", "value": 2}]})).no("E009001");
                for wrong in [json!({"name": "d", "value": 1, "expiration": -5}), json!({"data": []}), json!({"data": [{"name": "d", "expiration": -1}]})] {
                    call("POST", "", wrong).no("E008002");
                }
                call("POST", "", json!({"expiration": 60, "data": [{"name": "b", "value": {"x": [1, null]}}, {"name": "c", "value": true, "expiration": "120", "encrypt": true}]})).done();
                let got = call("GET", "", json!({"data": ["b", "c", "d"]})).done().json["result"].clone();
                assert_eq!((&got["b"]["value"], &got["c"]["value"], &got["d"]), (&json!({"x": [1, null]}), &json!(true), &Value::Null));
                assert_eq!((&got["c"]["is_encrypted"], &got["b"]["is_encrypted"]), (&json!(true), &json!(false)));
                let twice = call("GET", "", json!({"data": ["b", "b"]})).done().json["result"].clone();
                assert_eq!((&twice["b"]["value"], &call("GET", "/exists", json!({"data": ["b", "b"]})).done().json["result"]["b"]), (&json!({"x": [1, null]}), &json!(true)));
                assert_eq!(call("GET", "", json!({"name": "c", "decrypt": false})).done().json["value"], Value::Null);
                assert_eq!(call("GET", "/names", json!({})).done().json["result"], json!(["a", "b", "c"]));
                assert_eq!(call("GET", "/exists", json!({"name": "a"})).done().json["result"], true);
                assert_eq!(call("GET", "/exists", json!({"data": ["a", "d"]})).done().json["result"], json!({"a": true, "d": false}));
                // An update passes over what is not there, and leaves what it does not say.
                call("PATCH", "", json!({"name": "zzz", "value": "x"})).done();
                call("PATCH", "", json!({"name": "b", "value": null})).done();
                let left = call("GET", "", json!({"name": "b"})).done().json;
                assert_eq!(left["value"], json!({"x": [1, null]}));
                assert_ne!(left["expiration_time"], "9999-12-31T00:00:00");
                call("PUT", "", json!({"data": [{"name": "a", "value": [2]}, {"name": "e", "value": null}]})).done();
                assert_eq!(call("GET", "", json!({"data": ["a"]})).done().json["result"]["a"]["value"], json!([2]));
                call("DELETE", "", json!({"name": "a"})).done();
                call("DELETE", "", json!({"data": ["a", "e"]})).done();
                assert_eq!(call("GET", "/names", json!({})).done().json["result"], json!(["b", "c"]));
                for broken in [json!({}), json!({"data": "x"}), json!({"data": [5]}), json!({"name": "no name"}), json!({"name": "big", "value": "x".repeat(20_000)})] {
                    call("POST", "", broken).no("E008002");
                }
            }
            town.advance(Duration::from_secs(61));
            assert_eq!(of_user("GET", "/names", json!({})).done().json["result"], json!(["c"]));
            of_user("POST", "", json!({"name": "b", "value": "free"})).done();
            // An item may name another user.
            of_user("POST", "", json!({"data": [{"name": "x", "value": 1}, {"name": "x", "value": 2, "user_id": ben}]})).done();
            assert_eq!(root.say("GET", "user/attr", json!({"user_id": ben, "name": "x"})).done().json["value"], 2);
            of_user("POST", "", json!({"data": [{"name": "y", "value": 1}, {"name": "x", "value": 2, "user_id": ben}]})).no("E009001");
            assert_eq!(of_user("GET", "/exists", json!({"name": "y"})).done().json["result"], false);
            // Super-users only, and of someone.
            ann.say("GET", "user/attr", json!({"user_id": id, "name": "x"})).no("E005001");
            ann.about("GET", "session/attr", &json!(ann.ust), json!({"name": "x"})).no("E005001");
            for method in ["GET", "POST", "PATCH", "PUT", "DELETE"] {
                root.say(method, "user/attr", json!({"name": "x", "value": 1})).no("E005001");
                root.say(method, "user/attr", json!({"name": "x", "value": 1, "user_id": "zusr1"})).no("E005001");
                root.about(method, "session/attr", &json!("x"), json!({"name": "x", "value": 1})).no("E007001");
            }
            // They end with the session.
            ann.say("POST", "user/logout", json!({})).done();
            of_session("GET", "/names", json!({})).no("E007001");
            assert_eq!(town.count("SELECT count(*) AS count FROM custom_attributes WHERE session_id IS NOT NULL"), 0);
            town.usher(&["audit", "verify"]).expect(0);
        }
    }

    fn linked_accounts(engine) {
        for town in towns(engine) {
            let (ann, id) = town.regular("ann");
            let root = town.chief();
            let create = |arguments: &[&str], password: &str| usher(&town.site, &[&["linked", "create"], arguments, &["--password-stdin"]].concat(), password);
            create(&["feed", "--user", "ann"], LINKED).expect(0);
            create(&["spare"], OTHER_PASSWORD).expect(0);
            for (arguments, password) in [(&["feed"][..], LINKED), (&["a:b"], LINKED), (&["weak"], "short"), (&["x", "--user", "nobody"], LINKED)] {
                create(arguments, password).expect(1);
            }
            let listed = town.usher(&["linked", "list", "--json"]).expect(0).json();
            assert_eq!(listed["items"].as_array().unwrap().iter().map(|a| a["name"].clone()).collect::<Vec<_>>(), ["feed", "spare"]);
            assert!(!listed.to_string().contains("argon2"));
            // The first call opens the one session, later ones go on with it.
            let feed = town.stranger().basic("feed", LINKED);
            let first = feed.bare("GET", USER, &json!({"current_app": APP})).done();
            assert_eq!((&first.json["username"], sorted(&first.json).len()), (&json!("ann"), 11));
            let ust = first.headers["x-zato-sso-ust"].clone();
            town.advance(Duration::from_secs(60));
            let again = feed.bare("GET", "user/session/list", &json!({"current_app": APP})).done();
            assert_eq!(again.headers["x-zato-sso-ust"], ust);
            let of_link = again.json["result"].as_array().unwrap().iter().find(|s| s["auth_type"] == "basic_auth").unwrap().clone();
            assert!(of_link["ext_session_id"].as_str().unwrap().starts_with("basic_auth."));
            assert_eq!(of_link["expiration_time"], "2031-05-04T03:33:01");
            let bearer = Speaker { ust: Some(ust.clone()), ..town.stranger() };
            assert_eq!(bearer.see(None)["username"], "ann");
            // One's own token goes before the account's.
            assert_eq!(feed.say("GET", USER, json!({"ust": root.ust})).done().json["username"], ROOT);
            // Two events: the account's sign-in, and the call's own.
            let events = town.root().get(&format!("/api/v1/audit-events?cid={}", again.cid())).expect(200).json;
            let actions: Vec<&str> = events["items"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
            assert_eq!(actions, ["session.sign_in", "session.list"]);
            // The application may stand in a header.
            feed.client.with("x-zato-sso-current-app", APP).get("/zato/sso/user").done();
            feed.client.with("x-zato-sso-current-app", "nowhere").get("/zato/sso/user").no("E004001");
            feed.client.get("/zato/sso/user").done();
            // An account that is linked to nobody opens nothing, nor does a wrong password.
            for refused in [town.stranger().basic("spare", OTHER_PASSWORD), town.stranger().basic("feed", "wrong"), town.stranger().basic("nobody", LINKED), town.stranger().basic("", "")] {
                refused.bare("GET", USER, &json!({"current_app": APP})).no("E005001");
            }
            for _ in 0..5 {
                town.stranger().basic("Feed", "wrong").bare("GET", USER, &json!({"current_app": APP}));
            }
            if town.site.extra_has("zato_parity.lenient_lockout") {
                feed.bare("GET", USER, &json!({"current_app": APP})).done();
            } else {
                feed.bare("GET", USER, &json!({"current_app": APP})).result(429, "Error 429 Too Many Requests");
            }
            town.advance(Duration::from_secs(60));
            feed.bare("GET", USER, &json!({"current_app": APP})).done();
            // The calls of the dialect.
            let link = |who: &Speaker, method: &str, name: &str| who.say(method, "user/linked", json!({"user_id": id, "auth_type": "basic_auth", "auth_username": name}));
            let root = town.chief();
            let of_ann = root.say("GET", "user/linked", json!({"user_id": id})).done().json["result"].clone();
            assert_eq!(of_ann, json!([{"is_active": true, "creation_time": of_ann[0]["creation_time"], "auth_type": "basic_auth", "auth_username": "feed"}]));
            assert_eq!(ann.say("GET", "user/linked", json!({})).done().json["result"], of_ann);
            ann.say("GET", "user/linked", json!({"user_id": id})).no("E005001");
            link(&ann, "POST", "spare").no("E005001");
            link(&ann, "DELETE", "feed").no("E005001");
            link(&root, "POST", "spare").done();
            for (method, name) in [("POST", "spare"), ("POST", "nobody"), ("DELETE", "nobody")] {
                link(&root, method, name).result(400, "Bad request");
            }
            root.say("POST", "user/linked", json!({"user_id": id, "auth_type": "jwt", "auth_username": "spare"})).result(400, "Bad request");
            town.stranger().basic("spare", OTHER_PASSWORD).bare("GET", USER, &json!({"current_app": APP})).done();
            link(&root, "DELETE", "feed").done();
            link(&root, "DELETE", "feed").result(400, "Bad request");
            bearer.say("GET", USER, json!({})).no("E007001");
            feed.bare("GET", USER, &json!({"current_app": APP})).no("E005001");
            // What bars the user bars the account; it outlives its user.
            root.say("POST", "user/lock", json!({"user_id": id})).done();
            town.stranger().basic("spare", OTHER_PASSWORD).bare("GET", USER, &json!({"current_app": APP})).no("E005002");
            root.say("DELETE", USER, json!({"user_id": id})).done();
            town.stranger().basic("spare", OTHER_PASSWORD).bare("GET", USER, &json!({"current_app": APP})).no("E005001");
            town.usher(&["linked", "delete", "spare"]).expect(0);
            town.usher(&["linked", "delete", "spare"]).expect(1);
            town.usher(&["audit", "verify"]).expect(0);
        }
    }

    /// A password that was right a moment ago is not computed again, and forgotten with what it was the password of; S9: it is counted
    /// and barred like any other.
    fn a_linked_accounts_password_is_remembered_for_a_moment(engine) {
        let town = town_on(Site::new(engine));
        town.regular("ann");
        let make = |password: &str| drop(usher(&town.site, &["linked", "create", "feed", "--user", "ann", "--password-stdin"], password).expect(0));
        let call = |password: &str| town.stranger().basic("feed", password).bare("GET", USER, &json!({"current_app": APP}));
        make(LINKED);
        (0..5).for_each(|_| drop(call(LINKED).done()));
        // Another password is wrong the while, and this one again once the minute is over.
        call(OTHER_PASSWORD).no("E005001");
        call(LINKED).done();
        town.advance(Duration::from_secs(61));
        call(LINKED).done();
        // A new account of the name has its own.
        town.usher(&["linked", "delete", "feed"]).expect(0);
        call(LINKED).no("E005001");
        make(OTHER_PASSWORD);
        call(LINKED).no("E005001");
        call(OTHER_PASSWORD).done();
        // Who guesses is slowed down, with the right password as well.
        for _ in 0..6 {
            call("violet harbour sixteen");
        }
        call(OTHER_PASSWORD).result(429, "Error 429 Too Many Requests");
        town.advance(Duration::from_secs(30));
        call(OTHER_PASSWORD).done();
    }

    /// S12's reason: at a linked account no code is asked for, and a sign-in by password of the same user still asks.
    fn linked_accounts_need_no_code(engine) {
        let town = town_on(Site::new(engine));
        let arguments = ["user", "create", "ann", "--password-stdin", "--totp-key", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"];
        usher(&town.site, &arguments, PASSWORD).expect(0);
        usher(&town.site, &["linked", "create", "feed", "--user", "ann", "--password-stdin"], LINKED).expect(0);
        town.stranger().login("ann", PASSWORD).no("E005008");
        town.stranger().basic("feed", LINKED).bare("GET", USER, &json!({"current_app": APP})).done();
    }

    /// A super-user can be made ready at the command line before anything runs.
    fn made_ready_at_the_command_line(engine) {
        let town: Town = town_on(parity(engine));
        let key = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
        usher(&town.site, &["user", "create", "admin1", "--super-user", "--password-stdin", "--totp-key", key], PASSWORD).expect(0);
        let body = json!({"username": "admin1", "password": PASSWORD, "totp_code": town.code(key)});
        let ust = town.stranger().say("POST", "user/login", body).done().json["ust"].as_str().unwrap().to_owned();
        let seen = Speaker { ust: Some(ust), ..town.stranger() }.see(None);
        assert_eq!((&seen["approval_status"], &seen["approval_status_mod_by"], &seen["sign_up_status"]), (&json!("approved"), &json!("auto"), &json!("final")));
        assert_eq!((&seen["is_super_user"], &seen["is_totp_enabled"], &seen["password_is_set"]), (&json!(true), &json!(true), &json!(true)));
    }
}
