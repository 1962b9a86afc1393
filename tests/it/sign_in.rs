//! Signing in: passwords, lock-out, standing, applications.

use crate::both;
use crate::harness::{Client, PASSWORD, ROOT, Site, Town, at_once};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// What an answer tells, less what must differ between two answers.
pub fn told(answer: &crate::harness::Answer) -> (u16, Value, BTreeMap<String, String>, usize) {
    let mut body = answer.json.clone();
    body["cid"] = Value::Null;
    let mut headers = answer.headers.clone();
    headers.remove("x-correlation-id");
    headers.remove("date");
    (answer.status, body, headers, answer.text.len())
}

both! {
    /// S5, R12: status, body, length and headers are the same whatever is wrong. The trail knows better.
    fn a_failed_sign_in_tells_nothing(engine) {
        let town = Town::new(engine);
        let root = town.root();
        for name in ["known", "locked", "inactive", "unapproved", "unset"] {
            let password = if name == "unset" { Value::Null } else { PASSWORD.into() };
            root.post("/api/v1/users", &json!({"username": name, "password": password, "is_active": name != "inactive"})).expect(201);
        }
        town.usher(&["user", "lock", "locked"]).expect(0);
        town.sql("UPDATE users SET approval_status = 'before_decision', is_approval_needed = true WHERE username_key = 'unapproved'");
        let mut seen = Vec::new();
        for name in ["known", "locked", "inactive", "unapproved", "unset", "nobody-of-that-name"] {
            let answer = town.anon().try_sign_in(name, "a wrong password, but long").refused(401, "credentials_invalid");
            let event = root.get(&format!("/api/v1/audit-events?cid={}", answer.cid())).json["items"][0].clone();
            let reason = match name {
                "unset" => "password_unset",
                "nobody-of-that-name" => "user_unknown",
                _ => "password_wrong",
            };
            assert_eq!(event["reason"], reason);
            assert_eq!(event["subject"].is_null(), name == "nobody-of-that-name");
            seen.push(told(&answer));
        }
        assert!(seen.iter().all(|s| *s == seen[0]), "{seen:#?}");
    }

    /// Only whoever knows the password is told what else stands in the way.
    fn a_right_password_is_told_what_stands_in_the_way(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let cases = [
            ("locked", "is_locked = true", "account_locked"),
            ("inactive", "is_active = false", "account_inactive"),
            ("unconfirmed", "sign_up_status = 'before_confirmation'", "sign_up_unconfirmed"),
            ("pending", "is_approval_needed = true, approval_status = 'before_decision'", "approval_pending"),
            ("rejected", "approval_status = 'rejected'", "approval_pending"),
            ("mustchange", "password_must_change = true", "password_must_change"),
        ];
        for (name, change, code) in cases {
            root.post("/api/v1/users", &json!({"username": name, "password": PASSWORD})).expect(201);
            town.sql(&format!("UPDATE users SET {change} WHERE username_key = '{name}'"));
            town.anon().try_sign_in(name, PASSWORD).refused(401, code);
            town.anon().try_sign_in(name, "a wrong password, but long").refused(401, "credentials_invalid");
        }
        let window = |from: &str, to: &str| json!({"username": format!("w{}{}", from.len(), to.len()), "password": PASSWORD,
            "valid_from": if from.is_empty() { Value::Null } else { from.into() }, "valid_to": if to.is_empty() { Value::Null } else { to.into() }});
        for (from, to) in [("2040-01-01T00:00:00Z", ""), ("", "2020-01-01T00:00:00Z")] {
            let body = window(from, to);
            root.post("/api/v1/users", &body).expect(201);
            town.anon().try_sign_in(body["username"].as_str().unwrap(), PASSWORD).refused(401, "outside_validity");
        }
        let expired = json!({"username": "expired", "password": PASSWORD, "password_expiry": "2020-01-01T00:00:00Z"});
        root.post("/api/v1/users", &expired).expect(201);
        town.anon().try_sign_in("expired", PASSWORD).refused(401, "password_expired");
    }

    /// A demanded new password is taken in the same call, and only then.
    fn a_demanded_new_password_is_set_while_signing_in(engine) {
        let town = Town::new(engine);
        let body = json!({"username": "ann", "password": PASSWORD, "password_must_change": true});
        let ann = town.root().post("/api/v1/users", &body).expect(201).json["user_id"].as_str().unwrap().to_owned();
        let sign_in = |old: &str, new: Value| {
            let body = json!({"username": "ann", "password": old, "new_password": new});
            town.anon().post("/api/v1/sessions", &body)
        };
        sign_in(PASSWORD, Value::Null).refused(401, "password_must_change");
        sign_in(PASSWORD, "short".into()).refused(422, "password_unfit");
        sign_in(PASSWORD, PASSWORD.into()).refused(422, "password_unfit");
        let new = "violet harbour lantern 9";
        sign_in(PASSWORD, new.into()).expect(201);
        sign_in(PASSWORD, Value::Null).refused(401, "credentials_invalid");
        sign_in(new, "unasked for, but a good one".into()).refused(422, "invalid");
        sign_in(new, Value::Null).expect(201);
        let seen = town.root().get(&format!("/api/v1/users/{ann}")).json;
        assert_eq!((&seen["password_must_change"], &seen["login_count"]), (&json!(false), &json!(2)));
    }

    /// S8: two hundred parallel wrong passwords count as two hundred.
    fn parallel_guesses_all_count(engine) {
        let town = Town::new(engine);
        let ann = town.create("ann");
        let answers = at_once(200, |_| town.anon().try_sign_in("ann", "a wrong password, but long").status);
        assert!(answers.iter().all(|s| [401, 429].contains(s)), "{answers:?}");
        let verified = answers.iter().filter(|s| **s == 401).count();
        assert!(verified <= 5, "{verified} guesses were verified before the delay set in");
        let seen = town.root().get(&format!("/api/v1/users/{ann}")).json;
        assert_eq!(seen["failed_login_count"], 200);
        assert_eq!(seen["is_locked"], false);
    }

    /// S7, S10, R25: delays double from the fifth failure on, however the name is written, and a right password does not help meanwhile.
    fn failures_delay_the_next_attempt(engine) {
        let town = Town::new(engine);
        town.create("Ann");
        let anon = town.anon();
        for name in ["Ann", "ann", "ANN ", " aNn", "ann"] {
            anon.try_sign_in(name, "a wrong password, but long").refused(401, "credentials_invalid");
        }
        for delay in [1, 2, 4, 8] {
            let blocked = anon.try_sign_in("Ann", PASSWORD).refused(429, "too_many_attempts");
            assert_eq!(blocked.headers["retry-after"], delay.to_string());
            town.advance(Duration::from_secs(delay));
            anon.try_sign_in("ann", "a wrong password, but long").refused(401, "credentials_invalid");
        }
        town.advance(Duration::from_secs(16));
        anon.sign_in("ann", PASSWORD);
        // Success forgets them all.
        anon.try_sign_in("ann", "a wrong password, but long").refused(401, "credentials_invalid");
        anon.sign_in("ann", PASSWORD);
    }

    /// A name that nobody bears is slowed down like one that somebody bears (S5).
    fn an_unknown_name_is_delayed_like_a_known_one(engine) {
        let town = Town::new(engine);
        town.create("ann");
        let mut seen = Vec::new();
        for name in ["ann", "nobody"] {
            for _ in 0..5 {
                town.anon().try_sign_in(name, "a wrong password, but long").refused(401, "credentials_invalid");
            }
            seen.push(told(&town.anon().try_sign_in(name, "a wrong password, but long").refused(429, "too_many_attempts")));
        }
        assert_eq!(seen[0], seen[1]);
    }

    /// S7: a hundred verified failures lock the account, though never the last super-user's.
    fn too_many_failures_lock_the_account(engine) {
        let town = Town::on(Site::new(engine).with("lockout.lock_after", "6"));
        let ann = town.user("ann");
        let fail = |name: &str, times: u32| for _ in 0..times {
            town.advance(Duration::from_secs(900));
            town.anon().try_sign_in(name, "a wrong password, but long").refused(401, "credentials_invalid");
        };
        let root = town.root();
        fail("ann", 5);
        town.advance(Duration::from_secs(900));
        ann.sign_in("ann", PASSWORD);
        fail("ann", 6);
        town.advance(Duration::from_secs(900));
        town.anon().try_sign_in("ann", PASSWORD).refused(401, "account_locked");
        let root = root.sign_in(ROOT, PASSWORD);
        let seen = root.get(&format!("/api/v1/users/{}", ann.id())).json;
        assert_eq!((&seen["is_locked"], &seen["lock_cause"]), (&json!(true), &json!("failed_logins")));
        ann.get("/api/v1/users/me").refused(401, "session_invalid");
        root.post(&format!("/api/v1/users/{}/unlock", ann.id()), &json!({})).expect(200);
        town.anon().sign_in("ann", PASSWORD);
        fail(ROOT, 8);
        town.advance(Duration::from_secs(900));
        town.anon().sign_in(ROOT, PASSWORD);
    }

    /// S7, R21: a device that has signed in before has a count of its own, so that strangers cannot keep the owner out; a forged or malformed
    /// cookie is no device.
    fn a_known_device_is_not_locked_out_by_strangers(engine) {
        let town = Town::new(engine);
        town.create("ann");
        town.create("bob");
        let cookie = |name: &str| {
            let answer = town.anon().try_sign_in(name, PASSWORD).expect(201);
            let cookie = answer.headers["set-cookie"].clone();
            assert!(cookie.ends_with("; Path=/; Max-Age=31536000; Secure; HttpOnly; SameSite=Strict"), "{cookie}");
            cookie.split(';').next().unwrap().to_owned()
        };
        let (of_ann, of_bob) = (cookie("ann"), cookie("bob"));
        for _ in 0..6 {
            town.anon().try_sign_in("ann", "a wrong password, but long");
        }
        town.anon().try_sign_in("ann", PASSWORD).refused(429, "too_many_attempts");
        town.anon().with("cookie", &of_bob).try_sign_in("ann", PASSWORD).refused(429, "too_many_attempts");
        for malformed in ["forged", "", "%", "\"", "=;=", "a b", &of_ann["__Host-usher_device=".len()..of_ann.len() - 1]] {
            let cookie = format!("__Host-usher_device={malformed}");
            town.anon().with("cookie", &cookie).try_sign_in("ann", PASSWORD).refused(429, "too_many_attempts");
        }
        town.anon().with("cookie", &of_ann).try_sign_in("ann", PASSWORD).expect(201);
    }

    /// S7: one address is slowed down whatever the account.
    fn an_address_is_delayed_too(engine) {
        let town = Town::on(Site::new(engine).with("lockout.address_free", "10"));
        town.create("ann");
        for number in 0..10 {
            town.anon().try_sign_in(&format!("nobody-{number}"), "a wrong password, but long").refused(401, "credentials_invalid");
        }
        town.anon().try_sign_in("ann", PASSWORD).refused(429, "too_many_attempts");
        town.advance(Duration::from_secs(1));
        town.anon().sign_in("ann", PASSWORD);
    }

    /// A right password is no failure, whatever else stands in the way; a success or an unlock forgets the failures from every device.
    fn what_was_no_failure_is_not_counted(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let body = json!({"username": "ann", "password": PASSWORD, "password_must_change": true});
        let ann = root.post("/api/v1/users", &body).expect(201).json["user_id"].as_str().unwrap().to_owned();
        for _ in 0..7 {
            town.anon().try_sign_in("ann", PASSWORD).refused(401, "password_must_change");
        }
        assert_eq!(root.get(&format!("/api/v1/users/{ann}")).json["failed_login_count"], 0);
        root.patch(&format!("/api/v1/users/{ann}"), &json!({"password_must_change": false})).expect(200);
        let cookie = town.anon().try_sign_in("ann", PASSWORD).expect(201).headers["set-cookie"].clone();
        let device = town.anon().with("cookie", cookie.split(';').next().unwrap());
        for client in [&device, &town.anon()] {
            for _ in 0..5 {
                client.try_sign_in("ann", "a wrong password, but long").refused(401, "credentials_invalid");
            }
            client.try_sign_in("ann", PASSWORD).refused(429, "too_many_attempts");
        }
        root.post(&format!("/api/v1/users/{ann}/unlock"), &json!({})).expect(200);
        device.try_sign_in("ann", PASSWORD).expect(201);
        town.anon().try_sign_in("ann", PASSWORD).expect(201);
    }

    /// Many right sign-ins of one account at once are no guesses.
    fn a_crowd_of_right_sign_ins_is_let_in(engine) {
        let town = Town::new(engine);
        let ann = town.create("ann");
        let answers = at_once(24, |_| town.anon().try_sign_in("ann", PASSWORD).status);
        assert!(answers.iter().all(|s| [201, 503].contains(s)), "{answers:?}");
        let let_in = answers.iter().filter(|s| **s == 201).count();
        assert!(let_in >= 4, "{answers:?}");
        let seen = town.root().get(&format!("/api/v1/users/{ann}")).json;
        assert_eq!((&seen["login_count"], &seen["failed_login_count"]), (&json!(let_in), &json!(0)));
    }

    /// Both names sign in, without regard to case.
    fn username_and_login_name_both_sign_in(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let body = json!({"username": "Jürgen", "login_name": "J.Straße@work", "password": PASSWORD});
        root.post("/api/v1/users", &body).expect(201);
        for name in ["jürgen", "JÜRGEN", "Ju\u{308}rgen", "j.strasse@WORK"] {
            town.anon().sign_in(name, PASSWORD);
        }
        for taken in ["JÜRGEN", "j.strasse@work"] {
            root.post("/api/v1/users", &json!({"username": taken})).refused(409, "value_taken");
            root.post("/api/v1/users", &json!({"username": "other", "login_name": taken})).refused(409, "value_taken");
        }
        root.post("/api/v1/users", &json!({"username": "other"})).expect(201);
    }

    /// S1: a stored hash below the settings is renewed at the next sign-in.
    fn a_weak_hash_is_renewed(engine) {
        let town = Town::new(engine);
        town.create("ann");
        // argon2id of PASSWORD with m=8192, t=1, p=1.
        let weak = weak_hash();
        town.sql_with_key(&format!("UPDATE users SET password_hash = '{weak}' WHERE username_key = 'ann'"));
        let count = |hash: &str| town.count(&format!(
            "SELECT count(*) AS count FROM users WHERE username_key = 'ann' AND password_hash LIKE '$argon2id$v=19$m={hash},p=1$%'"));
        assert_eq!((count("8192,t=1"), count("19456,t=2")), (1, 0));
        town.anon().sign_in("ann", PASSWORD);
        assert_eq!((count("8192,t=1"), count("19456,t=2")), (0, 1));
        let hash_of = town.usher(&["user", "list", "--json"]).expect(0).out;
        assert!(!hash_of.contains("argon2"));
        town.anon().sign_in("ann", PASSWORD);
    }

    /// The application decides whose sessions it accepts, and whether it must prove itself.
    fn applications(engine) {
        let town = Town::new(engine);
        let key_of = |arguments: &[&str]| {
            let arguments = [&["app", "create"], arguments, &["--json"]].concat();
            town.usher(&arguments).expect(0).json()["key"].as_str().unwrap().to_owned()
        };
        key_of(&["crm"]);
        let desk_key = key_of(&["desk", "--require-key"]);
        key_of(&["vault", "--own-sessions"]);
        town.create("ann");
        let through = |client: &Client, name: &str| client.with("x-current-app", name);
        let me = "/api/v1/users/me";

        let shared = town.anon().sign_in("ann", PASSWORD);
        shared.get(me).expect(200);
        through(&shared, "CRM").get(me).expect(200);
        through(&shared, "vault").get(me).refused(401, "session_invalid");
        through(&shared, "unheard of").get(me).refused(401, "application_invalid");
        through(&shared, "desk").get(me).refused(401, "application_invalid");
        through(&shared, "desk").with("x-application-key", "uak_wrong").get(me).refused(401, "application_invalid");
        let desk = through(&shared, "desk").with("x-application-key", &desk_key);
        desk.get(me).expect(200);
        through(&shared, "crm").with("x-application-key", &desk_key).get(me).refused(401, "application_invalid");

        let own = through(&town.anon(), "vault").sign_in("ann", PASSWORD);
        own.get(me).expect(200);
        through(&own, "default").get(me).refused(401, "session_invalid");
        let named = town.anon().post("/api/v1/sessions", &json!({"username": "ann", "password": PASSWORD, "current_app": "vault"})).expect(201);
        assert_eq!(named.json["session"]["application"], "vault");

        // Introspection: each application hears of the tokens that it accepts, and sees what their owners see.
        let ask = |client: &Client, of: &Client| client.post("/api/v1/sessions/introspect", &json!({"ust": of.ust})).expect(200).json;
        let keyed = through(&town.anon(), "desk").with("x-application-key", &desk_key);
        assert_eq!(ask(&keyed, &shared)["active"], true);
        assert_eq!(ask(&keyed, &own), json!({"active": false}));
        assert_eq!(keyed.post("/api/v1/sessions/introspect", &json!({"ust": "nonsense"})).json, json!({"active": false}));
        town.usher(&["user", "lock", "ann"]).expect(0);
        assert_eq!(ask(&keyed, &shared), json!({"active": false}));
    }

    /// S3, S4: the policy holds wherever a password is set.
    fn the_password_policy(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let codes = |password: &str| -> Vec<String> {
            let answer = root.post("/api/v1/users", &json!({"username": "margarethe", "password": password}));
            let answer = answer.refused(422, "password_unfit");
            assert!(!answer.text.contains(password), "a password came back");
            let errors = answer.json["errors"].as_array().unwrap().clone();
            errors.iter().map(|e| {
                assert_eq!(e["pointer"], "/password");
                e["code"].as_str().unwrap().to_owned()
            }).collect()
        };
        assert_eq!(codes("14 characters!"), ["too_short"]);
        assert_eq!(codes(&"long ".repeat(52)), ["too_long"]);
        assert!(codes("1q2w3e4r5t6y7u8i9o0p").contains(&"breached".to_owned()));
        assert_eq!(codes("Margarethe-margarethe"), ["contains_context"]);
        root.post("/api/v1/users", &json!({"username": "margarethe", "password": "  ünïcode and spaces  "})).expect(201);
        town.anon().sign_in("margarethe", "  ünïcode and spaces  ");
        // Beyond the cap nothing is hashed, and nothing is said either.
        town.anon().try_sign_in("margarethe", &"x".repeat(2000)).refused(401, "credentials_invalid");
        let ann = town.user("ann");
        let change = |new: &str| ann.put("/api/v1/users/me/password", &json!({"old_password": PASSWORD, "new_password": new}));
        change("short").refused(422, "password_unfit");
        change(PASSWORD).refused(422, "password_unfit");
        crate::harness::process::usher(&town.site, &["user", "set-password", "ann", "--password-stdin"], "short\n").expect(1);
    }
}

/// argon2id of [`PASSWORD`] below the floor, in PHC form.
fn weak_hash() -> String {
    use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
    let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8192, 1, 1, None).unwrap());
    weak.hash_password_with_salt(PASSWORD.as_bytes(), b"sixteen bytes ok").unwrap().to_string()
}
