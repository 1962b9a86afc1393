//! The life of a password: when it expires, what is told before, and how a new one is set then.

use crate::both;
use crate::harness::process::usher;
use crate::harness::{PASSWORD, ROOT, Site, Town};
use serde_json::{Value, json};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const OTHER: &str = "marble cloud engine 77";
const THIRD: &str = "copper lantern sixteen";

both! {
    /// By default passwords do not expire (NIST SP 800-63B), and a sign-in tells nothing beside its three members.
    fn passwords_live_by_default(engine) {
        let town = Town::new(engine);
        town.create("ann");
        town.advance(DAY * 3650);
        let signed_in = town.anon().try_sign_in("ann", PASSWORD).expect(201);
        assert_eq!(signed_in.keys(), ["ust", "session", "user"]);
        assert!(town.root().get(&format!("/api/v1/users/{}", town.root_id)).json["password_expiry"].is_null());
    }

    /// Where they do, every way to set one counts: unless the account is exempt, or an expiry was given.
    fn a_password_expires_some_days_after_it_was_set(engine) {
        let town = Town::on(Site::new(engine).with("passwords.expire_after_days", "30").with("passwords.notice_days", "0"));
        let root = town.root();
        let after = |span: Duration| json!((town.now() + span).to_string());
        let expiry = |id: &str| root.get(&format!("/api/v1/users/{id}")).expect(200).json["password_expiry"].clone();
        assert_eq!(expiry(&town.root_id), after(30 * DAY));
        let create = |extra: Value| {
            let mut body = json!({"username": format!("user-{}", extra.to_string().len()), "password": PASSWORD});
            body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            root.post("/api/v1/users", &body).expect(201).json
        };
        assert_eq!(create(json!({}))["password_expiry"], after(30 * DAY));
        assert_eq!(create(json!({"password_never_expires": true}))["password_expiry"], Value::Null);
        assert_eq!(create(json!({"password_expiry": "2091-01-01T00:00:00Z"}))["password_expiry"], "2091-01-01T00:00:00Z");
        assert_eq!(root.post("/api/v1/users", &json!({"username": "unset"})).expect(201).json["password_expiry"], Value::Null);
        usher(&town.site, &["user", "create", "cli", "--password-stdin"], PASSWORD).expect(0);
        assert_eq!(town.count("SELECT count(*) AS count FROM users WHERE username_key = 'cli' AND password_expiry IS NOT NULL"), 1);

        let ann = town.user("ann");
        town.advance(DAY / 10);
        let root = root.sign_in(ROOT, PASSWORD);
        let seen = |id: &str| root.get(&format!("/api/v1/users/{id}")).expect(200).json["password_expiry"].clone();
        let ann = ann.sign_in("ann", PASSWORD);
        ann.put("/api/v1/users/me/password", &json!({"old_password": PASSWORD, "new_password": OTHER})).expect(200);
        assert_eq!(seen(ann.id()), after(30 * DAY));
        let set = |body: Value| root.put(&format!("/api/v1/users/{}/password", ann.id()), &body).expect(200).json["password_expiry"].clone();
        assert_eq!(set(json!({"new_password": PASSWORD, "expiry": "2091-01-01T00:00:00Z"})), "2091-01-01T00:00:00Z");
        assert_eq!(set(json!({"new_password": PASSWORD})), after(30 * DAY));
        root.patch(&format!("/api/v1/users/{}", ann.id()), &json!({"password_never_expires": true})).expect(200);
        assert_eq!(set(json!({"new_password": PASSWORD})), Value::Null);
    }

    /// An expired password still proves who one is, so that a new one can be set in the same call; that one expires in its turn.
    fn an_expired_password_is_replaced_while_signing_in(engine) {
        let town = Town::on(Site::new(engine).with("passwords.expire_after_days", "30").with("passwords.notice_days", "0"));
        let ann = town.user("ann");
        town.advance(30 * DAY - Duration::from_secs(1));
        let ann = ann.sign_in("ann", PASSWORD);
        town.advance(Duration::from_secs(1));
        ann.get("/api/v1/users/me").refused(401, "session_invalid");
        let sign_in = |old: &str, new: Value| {
            town.anon().post("/api/v1/sessions", &json!({"username": "ann", "password": old, "new_password": new}))
        };
        sign_in(PASSWORD, Value::Null).refused(401, "password_expired");
        sign_in("a wrong password, but long", OTHER.into()).refused(401, "credentials_invalid");
        sign_in(PASSWORD, "short".into()).refused(422, "password_unfit");
        sign_in(PASSWORD, PASSWORD.into()).refused(422, "password_unfit");
        let renewed = sign_in(PASSWORD, OTHER.into()).expect(201);
        assert_eq!(renewed.keys(), ["ust", "session", "user"]);
        sign_in(PASSWORD, Value::Null).refused(401, "credentials_invalid");
        town.advance(30 * DAY);
        sign_in(OTHER, Value::Null).refused(401, "password_expired");
        sign_in(OTHER, THIRD.into()).expect(201);
    }

    /// What ends within some days is told at sign-in, with its time; and what is exempt is not.
    fn notices(engine) {
        let town = Town::on(Site::new(engine).with("passwords.notice_days", "7"));
        let root = town.root();
        let at = |days: u32| json!((town.now() + DAY * days).to_string());
        let (soon, late) = (at(6), at(8));
        let cases = [
            (json!({}), json!(null)),
            (json!({"password_expiry": late, "valid_to": late}), json!(null)),
            (json!({"password_expiry": soon}), json!([{"code": "password_expires", "time": soon}])),
            (json!({"valid_to": soon}), json!([{"code": "account_expires", "time": soon}])),
            (json!({"valid_to": soon, "password_expiry": soon}), json!([{"code": "password_expires", "time": soon}, {"code": "account_expires", "time": soon}])),
            (json!({"valid_to": soon, "never_expire": true, "password_expiry": soon, "password_never_expires": true}), json!(null)),
        ];
        for (number, (extra, expected)) in cases.into_iter().enumerate() {
            let name = format!("user-{number}");
            let mut body = json!({"username": name, "password": PASSWORD});
            body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            root.post("/api/v1/users", &body).expect(201);
            let signed_in = town.anon().try_sign_in(&name, PASSWORD).expect(201);
            assert_eq!(signed_in.json["notices"], expected, "{extra}");
            let keys: &[&str] = if expected.is_null() { &["ust", "session", "user"] } else { &["ust", "session", "user", "notices"] };
            assert_eq!(signed_in.keys(), keys);
        }
        // Whoever may not sign in is told nothing of it.
        let refused = town.anon().try_sign_in("user-2", "a wrong password, but long").refused(401, "credentials_invalid");
        assert!(!refused.text.contains("notices"));
        town.advance(DAY * 2);
        let late = town.anon().try_sign_in("user-1", PASSWORD).expect(201);
        assert_eq!(late.json["notices"].as_array().unwrap().len(), 2);
    }
}
