//! Sessions know when and by what their user was proved (S49), and confirming one is the way to a recent proof.

use crate::both;
use crate::harness::{Client, Engine, PASSWORD, Town, at_once, soon};
use serde_json::{Value, json};
use std::time::Duration;

const ME: &str = "/api/v1/users/me";
const CURRENT: &str = "/api/v1/sessions/current";
const CONFIRM: &str = "/api/v1/sessions/current/confirm";
const TOTP: &str = "/api/v1/users/me/totp";
const KEYS: &str = "/api/v1/users/me/api-keys";
const CODES: &str = "/api/v1/users/me/recovery-codes";
const NEW: &str = "another good long password";

/// Enables one-time codes; returns the key and the recovery codes.
fn enrol(town: &Town, client: &Client) -> (String, Vec<String>) {
    let key = client.post(TOTP, &json!({})).expect(201).json["totp_key"].as_str().unwrap().to_owned();
    let confirmed = client.post("/api/v1/users/me/totp/confirm", &json!({"code": town.code(&key)})).expect(200).json;
    let codes = confirmed["recovery_codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect();
    (key, codes)
}

fn proof(client: &Client) -> (Value, Value) {
    let session = client.get(CURRENT).expect(200).json;
    (session["auth_time"].clone(), session["auth_methods"].clone())
}

fn again(town: &Town, new: &Value) -> Client {
    town.anon().bearing(new["ust"].as_str().unwrap())
}

both! {
    /// The same session and attributes, a new time, a new token; the old one is dead at once, on every node.
    fn confirming(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let other = (engine == Engine::Postgres).then(|| town.another_node());
        ann.call("PUT", "/api/v1/sessions/current/attributes/cart", Some(json!({"value": [1, 2]}).to_string())).expect(201);
        let before = ann.get(CURRENT).expect(200).json;
        assert_eq!((&before["auth_time"], &before["auth_methods"]), (&before["created_time"], &json!(["pwd"])));
        town.advance(Duration::from_secs(301));
        ann.post(KEYS, &json!({"name": "robot"})).refused(403, "fresh_sign_in_required");
        let there = other.as_ref().map(|node| node.anon().bearing(ann.ust.as_deref().unwrap()));
        if let Some(there) = &there {
            there.get(ME).expect(200);
        }

        let confirmed = ann.post(CONFIRM, &json!({"password": PASSWORD})).expect(200);
        assert_eq!(confirmed.keys(), ["ust", "session", "user"]);
        let here = again(&town, &confirmed.json);
        ann.get(ME).refused(401, "session_invalid");
        if let Some(there) = &there {
            soon(401, || there.get(ME));
        }
        let after = here.get(CURRENT).expect(200).json;
        assert_ne!(after["auth_time"], before["auth_time"]);
        for member in ["session_id", "created_time", "absolute_expiry", "idle_expiry", "auth_methods", "application"] {
            assert_eq!(after[member], before[member], "{member}");
        }
        assert_eq!(here.get("/api/v1/sessions/current/attributes/cart").expect(200).json["value"], json!([1, 2]));
        here.post(KEYS, &json!({"name": "robot"})).expect(201);
        let event = town.root().get(&format!("/api/v1/audit-events?cid={}", confirmed.cid())).json["items"][0].clone();
        assert_eq!((&event["action"], &event["outcome"], &event["subject"]), (&json!("session.confirm"), &json!("success"), &json!(ann.id())));
    }

    /// S9: a wrong password counts as it does at a sign-in, and neither proves anything nor ends the session.
    fn a_wrong_password(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        town.advance(Duration::from_secs(301));
        ann.post(CONFIRM, &json!({"password": "wrong by far, this one"})).refused(401, "credentials_invalid");
        ann.post(CONFIRM, &json!({"password": ""})).refused(401, "credentials_invalid");
        ann.post(CONFIRM, &json!({"password": "x".repeat(5000)})).refused(401, "credentials_invalid");
        ann.post(CONFIRM, &json!({})).refused(400, "bad_type");
        assert_eq!(town.count("SELECT failed_login_count AS count FROM users WHERE username_key = 'ann'"), 2);
        ann.get(ME).expect(200);
        ann.post(KEYS, &json!({"name": "robot"})).refused(403, "fresh_sign_in_required");
        for _ in 0..3 {
            ann.post(CONFIRM, &json!({"password": "wrong by far, this one"})).refused(401, "credentials_invalid");
        }
        ann.post(CONFIRM, &json!({"password": PASSWORD})).refused(429, "too_many_attempts");
        town.anon().try_sign_in("ann", PASSWORD).refused(429, "too_many_attempts");
        town.advance(Duration::from_secs(60));
        ann.post(CONFIRM, &json!({"password": PASSWORD})).expect(200);
        assert_eq!(town.count("SELECT failed_login_count AS count FROM users WHERE username_key = 'ann'"), 0);
    }

    /// S12, S49: an account with a second factor confirms with it; one code confirms once, and of many parallel calls one is answered.
    fn with_a_second_factor(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let (key, codes) = enrol(&town, &ann);
        assert_eq!(proof(&ann).1, json!(["pwd", "otp"]));
        town.advance(Duration::from_secs(301));
        ann.post(CONFIRM, &json!({"password": PASSWORD})).refused(401, "totp_required");
        ann.post(CONFIRM, &json!({"password": PASSWORD, "totp_code": "000000000"})).refused(401, "totp_invalid");
        let by_code = json!({"password": PASSWORD, "totp_code": town.code(&key)});
        let answers = at_once(8, |_| ann.call("POST", CONFIRM, Some(by_code.to_string())));
        let done: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(done.len(), 1, "{answers:?}");
        let ann = again(&town, &done[0].json);
        town.advance(Duration::from_secs(600));
        let ann = again(&town, &ann.post(CONFIRM, &json!({"password": PASSWORD, "totp_code": codes[0]})).expect(200).json);
        assert_eq!(proof(&ann).1, json!(["pwd", "rec"]));
        town.advance(Duration::from_secs(301));
        ann.post(CONFIRM, &json!({"password": PASSWORD, "totp_code": codes[0]})).refused(401, "totp_invalid");
    }

    /// S49: a new password proves the old one alone: a session stays as old as it was, and with it nothing is made that outlives it.
    fn a_new_password_makes_nothing_fresh(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let (key, _) = enrol(&town, &ann);
        let before = proof(&ann);
        town.advance(Duration::from_secs(301));
        let changed = ann.call("PUT", "/api/v1/users/me/password", Some(json!({"old_password": PASSWORD, "new_password": NEW}).to_string()));
        let ann = again(&town, &changed.expect(200).json);
        assert_eq!(proof(&ann), before);
        ann.post(CODES, &json!({"code": town.code(&key)})).refused(403, "fresh_sign_in_required");
        ann.call("DELETE", TOTP, Some(json!({"code": town.code(&key)}).to_string())).refused(403, "fresh_sign_in_required");
        ann.post(KEYS, &json!({"name": "robot", "totp_code": town.code(&key)})).refused(403, "fresh_sign_in_required");
        ann.post(CONFIRM, &json!({"password": NEW, "totp_code": town.code(&key)})).expect(200);
    }

    /// S49: however recent the sign-in, keys and recovery codes take a factor in the very call, where there is one.
    fn what_makes_a_credential_takes_a_factor(engine) {
        let town = Town::new(engine);
        let (ann, bob) = (town.user("ann"), town.create("bob"));
        ann.post(KEYS, &json!({"name": "robot"})).expect(201);
        let (_, codes) = enrol(&town, &ann);
        ann.post(KEYS, &json!({"name": "another"})).refused(401, "totp_required");
        ann.post(KEYS, &json!({"name": "another", "totp_code": "123456789"})).refused(401, "totp_invalid");
        ann.post(KEYS, &json!({"name": "another", "totp_code": codes[0]})).expect(201);
        ann.post(CODES, &json!({"code": codes[0]})).refused(401, "totp_invalid");
        let root = town.root();
        let (_, codes) = enrol(&town, &root);
        root.post("/api/v1/api-keys", &json!({"user_id": bob, "name": "robot"})).refused(401, "totp_required");
        root.post("/api/v1/api-keys", &json!({"user_id": bob, "name": "robot", "totp_code": codes[0]})).expect(201);
    }

    /// S49: a session that was opened before its account had a factor, or without it, is not fresh for it.
    fn a_weaker_session_is_not_fresh(engine) {
        let town = Town::new(engine);
        let root = town.root();
        town.create("ann");
        let ann = town.anon().sign_in("ann", PASSWORD);
        town.sql_with_key("UPDATE users SET is_totp_enabled = true WHERE username_key = 'ann'");
        ann.post(KEYS, &json!({"name": "robot"})).refused(403, "fresh_sign_in_required");
        root.get(ME).expect(200);
    }
}
