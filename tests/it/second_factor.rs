//! Second factors: one-time codes and recovery codes, from their enrolment to their end.

use crate::both;
use crate::harness::process::usher;
use crate::harness::{Client, PASSWORD, Town, tools};
use crate::sign_in::told;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const ME: &str = "/api/v1/users/me";
const TOTP: &str = "/api/v1/users/me/totp";
const CONFIRM: &str = "/api/v1/users/me/totp/confirm";
const CODES: &str = "/api/v1/users/me/recovery-codes";
const SHORT: &str = "kq7 wz2v";

/// A user with one-time codes: the session that enrolled them, the key, and the recovery codes.
pub struct Enrolled {
    pub client: Client,
    pub key: String,
    pub codes: Vec<String>,
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string")).to_owned()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(text).collect()
}

/// Enrols one-time codes for a session; its time step is left unused for sign-in by moving the clock on.
pub fn enrol(town: &Town, client: Client) -> Enrolled {
    let key = text(&client.post(TOTP, &json!({})).expect(201).json["totp_key"]);
    let codes = strings(&client.post(CONFIRM, &json!({"code": town.code(&key)})).expect(200).json["recovery_codes"]);
    town.advance(Duration::from_secs(30));
    Enrolled { client, key, codes }
}

fn enrolled(town: &Town, name: &str) -> Enrolled {
    enrol(town, town.user(name))
}

fn call(client: &Client, method: &str, path: &str, code: &str) -> crate::harness::Answer {
    client.call(method, path, Some(json!({"code": code}).to_string()))
}

/// Another code than this one.
fn wrong(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000)
}

fn path(id: &str) -> String {
    format!("/api/v1/users/{id}")
}

both! {
    /// S11, S21: an enrolment, its confirmation, and what is seen of the key meanwhile and ever after.
    fn enrolling_and_confirming(engine) {
        let town = Town::new(engine);
        let (root, here) = (town.root(), town.user("ann"));
        let there = here.sign_in("ann", PASSWORD);
        let enrolment = here.post(TOTP, &json!({})).expect(201);
        assert_eq!(enrolment.keys(), ["totp_key", "otpauth_uri", "qr_svg", "expiry"]);
        let key = text(&enrolment.json["totp_key"]);
        // 160 bits are 32 characters of base32.
        assert!(key.len() == 32 && key.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b)), "{key}");
        assert_eq!(enrolment.json["otpauth_uri"], format!("otpauth://totp/usher:ann?secret={key}&issuer=usher"));
        assert_eq!(enrolment.json["expiry"], (town.now() + Duration::from_secs(600)).to_string());

        // Its owner sees it through the session that enrols it. Nobody else does, and nothing is asked for yet.
        assert_eq!(here.get(ME).json["totp_key"], key);
        assert_eq!(here.patch(ME, &json!({"lang_id": 1})).expect(200).json["totp_key"], key);
        for (client, path) in [(&there, ME.to_owned()), (&root, path(here.id()))] {
            let seen = client.get(&path).expect(200).json;
            assert_eq!((seen.get("totp_key"), &seen["is_totp_enabled"]), (None, &json!(false)));
        }
        town.anon().sign_in("ann", PASSWORD);

        for code in [wrong(&town.code(&key)), String::new(), "nonsense".to_owned()] {
            call(&here, "POST", CONFIRM, &code).refused(401, "totp_invalid");
        }
        there.get(ME).expect(200);
        let confirmed = call(&here, "POST", CONFIRM, &town.code(&key)).expect(200);
        let codes: BTreeSet<String> = strings(&confirmed.json["recovery_codes"]).into_iter().collect();
        assert_eq!((confirmed.keys(), codes.len()), (vec!["recovery_codes"], 10));
        // The session that did it goes on; all others end.
        let seen = here.get(ME).expect(200).json;
        assert_eq!((seen.get("totp_key"), &seen["is_totp_enabled"]), (None, &json!(true)));
        there.get(ME).refused(401, "session_invalid");
        assert_eq!(root.get(&path(here.id())).json["is_totp_enabled"], true);
        let event = root.get(&format!("/api/v1/audit-events?cid={}", confirmed.cid())).json["items"][0].clone();
        assert_eq!(event["changes"], json!({
            "is_totp_enabled": {"before": false, "after": true},
            "recovery_codes": {"before": 0, "after": 10},
        }));

        town.advance(Duration::from_secs(30));
        town.anon().try_sign_in("ann", PASSWORD).refused(401, "totp_required");
        town.anon().try_sign_in_with("ann", PASSWORD, "").refused(401, "totp_required");
        town.anon().try_sign_in_with("ann", PASSWORD, &wrong(&town.code(&key))).refused(401, "totp_invalid");
        let signed_in = town.anon().try_sign_in_with("ann", PASSWORD, &town.code(&key)).expect(201);
        assert_eq!(signed_in.keys(), ["ust", "session", "user"]);
        assert!(signed_in.json["user"].get("totp_key").is_none());
        here.post(TOTP, &json!({})).refused(409, "totp_enabled");
        call(&here, "POST", CONFIRM, &town.code(&key)).refused(409, "totp_enabled");
    }

    /// An enrolment that is not confirmed can be begun anew, belongs to its session, and ends with it or after ten minutes.
    fn an_enrolment_is_bounded(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        call(&ann, "POST", CONFIRM, "123456").refused(409, "totp_not_enabled");
        let begin = |client: &Client| text(&client.post(TOTP, &json!({})).expect(201).json["totp_key"]);
        let kept = || town.count("SELECT count(*) AS count FROM totp_credentials");
        let (first, second) = (begin(&ann), begin(&ann));
        assert_eq!((kept(), &ann.get(ME).json["totp_key"]), (1, &json!(second)));
        call(&ann, "POST", CONFIRM, &town.code(&first)).refused(401, "totp_invalid");
        let other = ann.sign_in("ann", PASSWORD);
        call(&other, "POST", CONFIRM, &town.code(&second)).refused(409, "totp_not_enabled");
        town.advance(Duration::from_secs(600));
        assert!(ann.get(ME).json.get("totp_key").is_none());
        call(&ann, "POST", CONFIRM, &town.code(&second)).refused(409, "totp_not_enabled");

        let other = ann.sign_in("ann", PASSWORD);
        let third = begin(&other);
        assert!(ann.get(ME).json.get("totp_key").is_none());
        other.delete("/api/v1/sessions/current").expect(204);
        assert_eq!(kept(), 0);
        call(&ann, "POST", CONFIRM, &town.code(&third)).refused(409, "totp_not_enabled");
        let fourth = begin(&ann.sign_in("ann", PASSWORD));
        assert_ne!(third, fourth);
        town.anon().sign_in("ann", PASSWORD);
    }

    /// S26: a factor is changed soon after signing in only.
    fn changing_a_factor_needs_a_fresh_sign_in(engine) {
        let town = Town::new(engine);
        let (root, ann, bob) = (town.root(), town.user("ann"), enrolled(&town, "bob"));
        town.advance(Duration::from_secs(301));
        ann.post(TOTP, &json!({})).refused(403, "fresh_sign_in_required");
        call(&bob.client, "DELETE", TOTP, &town.code(&bob.key)).refused(403, "fresh_sign_in_required");
        bob.client.post(CODES, &json!({"code": town.code(&bob.key)})).refused(403, "fresh_sign_in_required");
        root.delete(&format!("{}/totp", path(ann.id()))).refused(403, "fresh_sign_in_required");
        // None of it has used the code up, or counted as a guess.
        town.anon().try_sign_in_with("bob", PASSWORD, &town.code(&bob.key)).expect(201);
    }

    /// S12: a code is good once, and none of an earlier step is good after it; the one that confirmed the enrolment is used, too.
    fn a_code_is_good_once(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let key = text(&ann.post(TOTP, &json!({})).expect(201).json["totp_key"]);
        let confirming = town.code(&key);
        call(&ann, "POST", CONFIRM, &confirming).expect(200);
        let sign_in = |code: &str| town.anon().try_sign_in_with("ann", PASSWORD, code);
        sign_in(&confirming).refused(401, "totp_invalid");
        town.advance(Duration::from_secs(30));
        sign_in(&confirming).refused(401, "totp_invalid");
        let earlier = town.code(&key);
        town.advance(Duration::from_secs(30));
        let later = town.code(&key);
        sign_in(&later).expect(201);
        sign_in(&later).refused(401, "totp_invalid");
        sign_in(&earlier).refused(401, "totp_invalid");
        // Switching off takes a code that is not used, likewise.
        let here = town.anon().bearing(ann.ust.as_deref().unwrap());
        call(&here, "DELETE", TOTP, &later).refused(401, "totp_invalid");
        town.advance(Duration::from_secs(30));
        call(&here, "DELETE", TOTP, &town.code(&key)).expect(204);
    }

    /// S13: one step to either side by the server's clock, and no further.
    fn the_window_is_one_step_to_either_side(engine) {
        let town = Town::new(engine);
        let ann = enrolled(&town, "ann");
        town.advance(Duration::from_secs(300));
        let code_in = |steps: i64| tools::code(&ann.key, usher::domain::time::Utc::from_micros(town.now().micros() + steps * 30_000_000));
        let sign_in = |code: &str| town.anon().try_sign_in_with("ann", PASSWORD, code);
        sign_in(&code_in(-2)).refused(401, "totp_invalid");
        sign_in(&code_in(2)).refused(401, "totp_invalid");
        sign_in(&code_in(-1)).expect(201);
        sign_in(&code_in(0)).expect(201);
        sign_in(&code_in(1)).expect(201);
        // However it is typed.
        town.advance(Duration::from_secs(60));
        let code = town.code(&ann.key);
        sign_in(&format!(" {} {}\n", &code[..3], &code[3..])).expect(201);
    }

    /// S8, S9, S13: wrong codes share the count with wrong passwords, and from the fifth failure on there is a delay. A right password
    /// without a code is no failure, and forgets none.
    fn wrong_codes_are_counted(engine) {
        let town = Town::new(engine);
        let ann = enrolled(&town, "ann");
        let code = || town.code(&ann.key);
        let count = || town.root().get(&path(ann.client.id())).json["failed_login_count"].clone();
        for _ in 0..7 {
            town.anon().try_sign_in("ann", PASSWORD).refused(401, "totp_required");
        }
        assert_eq!(count(), 0);
        for _ in 0..2 {
            town.anon().try_sign_in("ann", "a wrong password, but long").refused(401, "credentials_invalid");
            town.anon().try_sign_in_with("ann", PASSWORD, &wrong(&code())).refused(401, "totp_invalid");
            town.anon().try_sign_in("ann", PASSWORD).refused(401, "totp_required");
        }
        town.anon().try_sign_in_with("ann", PASSWORD, "0000-0000-0000-0000-0000-0000").refused(401, "totp_invalid");
        assert_eq!(count(), 5);
        town.anon().try_sign_in_with("ann", PASSWORD, &code()).refused(429, "too_many_attempts");
        call(&ann.client, "DELETE", TOTP, &code()).refused(429, "too_many_attempts");
        town.advance(Duration::from_secs(30));
        town.anon().try_sign_in_with("ann", PASSWORD, &code()).expect(201);
        assert_eq!(count(), 0);
    }

    /// S8, S9, R8: the same where a factor is confirmed or switched off; enough of them lock the account.
    fn guesses_at_every_step_are_counted(engine) {
        let town = Town::on(crate::harness::Site::new(engine).with("lockout.lock_after", "7"));
        let ann = town.user("ann");
        let key = text(&ann.post(TOTP, &json!({})).expect(201).json["totp_key"]);
        for _ in 0..5 {
            call(&ann, "POST", CONFIRM, &wrong(&town.code(&key))).refused(401, "totp_invalid");
        }
        call(&ann, "POST", CONFIRM, &town.code(&key)).refused(429, "too_many_attempts");
        town.anon().try_sign_in("ann", PASSWORD).refused(429, "too_many_attempts");
        town.advance(Duration::from_secs(1));
        call(&ann, "POST", CONFIRM, &town.code(&key)).expect(200);
        // That took its own attempt back, and no other.
        assert_eq!(town.root().get(&path(ann.id())).json["failed_login_count"], 7);
        town.advance(Duration::from_secs(30));
        let wrong = wrong(&town.code(&key));
        call(&ann, "DELETE", TOTP, &wrong).refused(401, "totp_invalid");
        town.advance(Duration::from_secs(30));
        call(&ann, "DELETE", TOTP, "0000-0000-0000-0000-0000-0000").refused(401, "totp_invalid");
        let seen = town.root().get(&path(ann.id())).json;
        assert_eq!((&seen["is_locked"], &seen["lock_cause"]), (&json!(true), &json!("failed_logins")));
        ann.get(ME).refused(401, "session_invalid");
    }

    /// S14: used, wrong, malformed, of a recovery code that never was: one answer. The trail knows better.
    fn used_and_wrong_are_one_answer(engine) {
        let town = Town::on(crate::harness::Site::new(engine).with("lockout.account_free", "100"));
        let (root, ann) = (town.root(), enrolled(&town, "ann"));
        let used = town.code(&ann.key);
        town.anon().try_sign_in_with("ann", PASSWORD, &used).expect(201);
        town.anon().try_sign_in_with("ann", PASSWORD, &ann.codes[0]).expect(201);
        let cases = [
            (used.clone(), "totp_used"),
            (wrong(&used), "totp_wrong"),
            ("12345".to_owned(), "totp_wrong"),
            ("x".repeat(5000), "totp_wrong"),
            (ann.codes[0].clone(), "recovery_code_wrong"),
            ("0000-0000-0000-0000-0000-0000".to_owned(), "recovery_code_wrong"),
        ];
        let mut seen = Vec::new();
        for (code, reason) in cases {
            // With a new password that nobody asked for, or that does not fit: what is wrong with it is not told before.
            for new_password in [Value::Null, "short".into()] {
                let body = json!({"username": "ann", "password": PASSWORD, "totp_code": code, "new_password": new_password});
                let answer = town.anon().post("/api/v1/sessions", &body).refused(401, "totp_invalid");
                let event = root.get(&format!("/api/v1/audit-events?cid={}", answer.cid())).json["items"][0].clone();
                assert_eq!((&event["reason"], &event["subject"]), (&json!(reason), &json!(ann.client.id())));
                seen.push(told(&answer));
            }
        }
        assert!(seen.iter().all(|s| *s == seen[0]), "{seen:#?}");
    }

    /// S15: ten codes of 120 bits, each good once, however they are typed; new ones end the old; the database has their hashes alone.
    fn recovery_codes(engine) {
        let town = Town::new(engine);
        let ann = enrolled(&town, "ann");
        let sign_in = |code: &str| town.anon().try_sign_in_with("ann", PASSWORD, code);
        for code in &ann.codes {
            assert!(code.len() == 29 && code.split('-').all(|group| group.len() == 4), "{code}");
        }
        assert_eq!(town.count("SELECT count(*) AS count FROM recovery_codes"), 10);
        assert_eq!(town.count("SELECT count(*) AS count FROM recovery_codes WHERE length(code_hash) = 32"), 10);
        let used = sign_in(&ann.codes[0]).expect(201);
        let event = town.root().get(&format!("/api/v1/audit-events?cid={}", used.cid())).json["items"][0].clone();
        let told = json!({"recovery_codes": {"before": 10, "after": 9}, "auth_methods": {"before": null, "after": ["pwd", "rec"]}});
        assert_eq!(event["changes"], told);
        sign_in(&ann.codes[0]).refused(401, "totp_invalid");
        sign_in(&ann.codes[1].to_lowercase()).expect(201);
        sign_in(&ann.codes[2].replace('-', "")).expect(201);
        sign_in(&format!("  {}\n", ann.codes[3].replace('-', " "))).expect(201);
        for used in &ann.codes[..4] {
            sign_in(used).refused(401, "totp_invalid");
        }
        assert_eq!(town.count("SELECT count(*) AS count FROM recovery_codes"), 6);
        town.advance(Duration::from_secs(60));

        let there = town.anon().bearing(&text(&sign_in(&ann.codes[4]).expect(201).json["ust"]));
        // S49: a session that was stolen makes none, however fresh it is.
        ann.client.post(CODES, &json!({})).refused(400, "bad_type");
        ann.client.post(CODES, &json!({"code": &ann.codes[4]})).refused(401, "totp_invalid");
        let renewed = ann.client.post(CODES, &json!({"code": &ann.codes[6]})).expect(201);
        assert_eq!(renewed.keys(), ["recovery_codes"]);
        let fresh = strings(&renewed.json["recovery_codes"]);
        assert_eq!(fresh.iter().chain(&ann.codes).collect::<BTreeSet<_>>().len(), 20);
        there.get(ME).refused(401, "session_invalid");
        ann.client.get(ME).expect(200);
        sign_in(&ann.codes[5]).refused(401, "totp_invalid");
        sign_in(&fresh[9]).expect(201);
        town.user("bob").post(CODES, &json!({"code": "123456"})).refused(409, "totp_not_enabled");
        // Another's are good for nothing.
        enrolled(&town, "eve");
        town.anon().try_sign_in_with("eve", PASSWORD, &fresh[8]).refused(401, "totp_invalid");
    }

    /// S21: switching off, by a code or by a recovery code where the authenticator is lost; nothing is left of the factor.
    fn switching_off(engine) {
        let town = Town::new(engine);
        for name in ["ann", "bob"] {
            let user = enrolled(&town, name);
            let there = town.anon().bearing(&text(&town.anon().try_sign_in_with(name, PASSWORD, &user.codes[0]).expect(201).json["ust"]));
            let code = if name == "ann" { town.code(&user.key) } else { user.codes[1].clone() };
            call(&user.client, "DELETE", TOTP, &wrong(&town.code(&user.key))).refused(401, "totp_invalid");
            there.get(ME).expect(200);
            let off = call(&user.client, "DELETE", TOTP, &code).expect(204);
            there.get(ME).refused(401, "session_invalid");
            assert_eq!(user.client.get(ME).expect(200).json["is_totp_enabled"], false);
            for table in ["totp_credentials", "recovery_codes"] {
                assert_eq!(town.count(&format!("SELECT count(*) AS count FROM {table}")), 0);
            }
            let event = town.root().get(&format!("/api/v1/audit-events?cid={}", off.cid())).json["items"][0].clone();
            assert_eq!(event["changes"], json!({
                "is_totp_enabled": {"before": true, "after": false},
                "recovery_codes": {"before": 9, "after": 0},
            }));
            town.anon().sign_in(name, PASSWORD);
            call(&user.client, "DELETE", TOTP, &code).refused(409, "totp_not_enabled");
            enrol(&town, town.anon().sign_in(name, PASSWORD));
            town.sql("DELETE FROM totp_credentials");
            town.sql("DELETE FROM recovery_codes");
        }
    }

    /// A super-user and an operator take a lost factor away; the user's sessions end. One's own is not taken away so.
    fn resetting_a_lost_factor(engine) {
        let town = Town::new(engine);
        let (ann, bob) = (enrolled(&town, "ann"), enrolled(&town, "bob"));
        let root = town.root();
        let reset = |id: &str| root.delete(&format!("{}/totp", path(id)));
        reset(&town.root_id).refused(403, "forbidden");
        reset("018f0000-0000-7000-8000-000000000000").refused(404, "not_found");
        reset(ann.client.id()).expect(204);
        ann.client.get(ME).refused(401, "session_invalid");
        let ann = town.anon().sign_in("ann", PASSWORD);
        // Once more is no error, and ends nothing; an enrolment is taken away as well.
        ann.post(TOTP, &json!({})).expect(201);
        reset(ann.id()).expect(204);
        assert!(ann.get(ME).expect(200).json.get("totp_key").is_none());

        let shown = town.usher(&["user", "reset-totp", "bob", "--json"]).expect(0).json();
        assert_eq!(shown["is_totp_enabled"], false);
        bob.client.get(ME).refused(401, "session_invalid");
        town.anon().sign_in("bob", PASSWORD);
        assert_eq!(town.usher(&["user", "reset-totp", "bob"]).expect(0).out, "bob has no second factor now\n");
        town.usher(&["user", "reset-totp", "nobody"]).expect(1);
        for table in ["totp_credentials", "recovery_codes"] {
            assert_eq!(town.count(&format!("SELECT count(*) AS count FROM {table}")), 0);
        }
        // What hangs on a user goes with it.
        let eve = enrolled(&town, "eve");
        town.root().delete(&path(eve.client.id())).expect(204);
        for table in ["totp_credentials", "recovery_codes"] {
            assert_eq!(town.count(&format!("SELECT count(*) AS count FROM {table}")), 0);
        }
        // The last super-user's may be taken away: what it loses is a burden.
        let root = enrol(&town, root);
        town.usher(&["user", "reset-totp", "root"]).expect(0);
        root.client.get(ME).refused(401, "session_invalid");
        town.root();
    }

    /// The operator brings a key along: it is good at once, and is shown nowhere.
    fn a_key_that_is_brought_along(engine) {
        let town = Town::new(engine);
        let key = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
        let made = usher(&town.site, &["user", "create", "ann", "--password-stdin", "--totp-key", key, "--json"], SHORT).expect(0);
        assert_eq!(made.json()["is_totp_enabled"], true);
        assert!(!format!("{made:?}").contains(key));
        town.anon().try_sign_in("ann", SHORT).refused(401, "totp_required");
        let ann = town.anon().try_sign_in_with("ann", SHORT, &town.code(key)).expect(201);
        assert!(ann.json["user"].get("totp_key").is_none());
        assert!(!town.usher(&["user", "show", "ann"]).expect(0).out.contains(key));
        // Its owner makes the recovery codes.
        town.advance(Duration::from_secs(30));
        assert_eq!(town.anon().bearing(&text(&ann.json["ust"])).post(CODES, &json!({"code": town.code(key)})).expect(201).json["recovery_codes"].as_array().unwrap().len(), 10);
        // Also as others spell it, and of the length that was customary once.
        town.usher(&["user", "create", "bob", "--totp-key", "jbsw y3dp ehpk 3pxp"]).expect(0);
        for unfit in ["", "JBSWY3DP", "0189 0189 0189 0189"] {
            let refused = town.usher(&["user", "create", "eve", "--totp-key", unfit]).expect(1);
            assert!(refused.complaint().contains("--totp-key") && (unfit.is_empty() || !refused.err.contains(unfit)), "{refused:?}");
        }
        town.usher(&["user", "show", "eve"]).expect(1);
        // Without a key the password must be longer.
        usher(&town.site, &["user", "create", "eve", "--password-stdin"], SHORT).expect(1);
        town.root().post("/api/v1/users", &json!({"username": "eve", "totp_key": key})).refused(403, "member_forbidden");
    }

    /// S3: beside a one-time code a password may be shorter; without one it may not stay so.
    fn a_short_password_needs_its_factor(engine) {
        let town = Town::new(engine);
        let (ann, bob) = (enrolled(&town, "ann"), enrolled(&town, "bob"));
        let change = |client: &Client, old: &str, new: &str| {
            let answer = client.put("/api/v1/users/me/password", &json!({"old_password": old, "new_password": new}));
            if answer.status == 200 { town.anon().bearing(&text(&answer.json["ust"])) } else { panic!("{}", answer.text) }
        };
        let without = town.user("eve");
        without.put("/api/v1/users/me/password", &json!({"old_password": PASSWORD, "new_password": SHORT})).refused(422, "password_unfit");
        let client = change(&ann.client, PASSWORD, SHORT);
        call(&client, "DELETE", TOTP, &town.code(&ann.key)).refused(409, "password_needs_totp");
        let client = change(&client, SHORT, "marble cloud engine 77");
        // The refusal has not used the code up.
        call(&client, "DELETE", TOTP, &town.code(&ann.key)).expect(204);
        client.put("/api/v1/users/me/password", &json!({"old_password": "marble cloud engine 77", "new_password": SHORT})).refused(422, "password_unfit");

        // Where the factor is lost, the next sign-in must set a longer one.
        change(&bob.client, PASSWORD, SHORT);
        town.root().delete(&format!("{}/totp", path(bob.client.id()))).expect(204);
        town.anon().try_sign_in("bob", SHORT).refused(401, "password_must_change");
        let set = |new: &str| town.anon().post("/api/v1/sessions", &json!({"username": "bob", "password": SHORT, "new_password": new}));
        set("wz2v kq7").refused(422, "password_unfit");
        set("marble cloud engine 77").expect(201);
        town.anon().sign_in("bob", "marble cloud engine 77");
    }

    /// What stands in the way comes in a fixed order: what cannot be mended, the second factor, the new password; one call can bring all.
    fn a_new_password_and_a_code_in_one_call(engine) {
        let town = Town::new(engine);
        let ann = enrolled(&town, "ann");
        town.root().patch(&path(ann.client.id()), &json!({"password_must_change": true})).expect(200);
        let sign_in = |code: Value, new: Value| {
            let body = json!({"username": "ann", "password": PASSWORD, "totp_code": code, "new_password": new});
            town.anon().post("/api/v1/sessions", &body)
        };
        let code = town.code(&ann.key);
        sign_in(Value::Null, Value::Null).refused(401, "totp_required");
        sign_in(Value::Null, "marble cloud engine 77".into()).refused(401, "totp_required");
        sign_in(wrong(&code).into(), "short".into()).refused(401, "totp_invalid");
        sign_in(code.clone().into(), Value::Null).refused(401, "password_must_change");
        sign_in(code.clone().into(), "short".into()).refused(422, "password_unfit");
        // None of these has used it up.
        sign_in(code.into(), SHORT.into()).expect(201);
        town.advance(Duration::from_secs(30));
        town.anon().try_sign_in_with("ann", SHORT, &town.code(&ann.key)).expect(201);
        town.usher(&["user", "lock", "ann"]).expect(0);
        town.anon().try_sign_in("ann", SHORT).refused(401, "account_locked");
    }

    /// S11: a key that is moved to another user does not open, and an account that is marked to have a key and has none stays shut.
    fn a_key_belongs_to_its_user(engine) {
        let town = Town::new(engine);
        let (ann, eve) = (enrolled(&town, "ann"), enrolled(&town, "eve"));
        let hex = |id: &str| if engine == crate::harness::Engine::Sqlite { format!("x'{}'", id.replace('-', "")) } else { format!("'{id}'") };
        let (ann_id, eve_id) = (hex(ann.client.id()), hex(eve.client.id()));
        town.sql(&format!("UPDATE totp_credentials SET sealed = (SELECT sealed FROM totp_credentials WHERE user_id = {eve_id}) WHERE user_id = {ann_id}"));
        let answer = town.anon().try_sign_in_with("ann", PASSWORD, &town.code(&eve.key)).refused(500, "internal");
        assert!(!answer.text.contains("seal"));
        town.anon().try_sign_in_with("eve", PASSWORD, &town.code(&eve.key)).expect(201);
        town.sql(&format!("DELETE FROM totp_credentials WHERE user_id = {ann_id}"));
        town.anon().try_sign_in_with("ann", PASSWORD, &town.code(&ann.key)).refused(401, "totp_invalid");
        town.anon().try_sign_in("ann", PASSWORD).refused(401, "totp_required");
        town.anon().try_sign_in_with("ann", PASSWORD, &ann.codes[0]).expect(201);
    }

    /// The codes are those that others compute, and the picture is one that others read, whatever the label.
    fn others_agree(engine) {
        if !tools::are_there(&["oathtool", "rsvg-convert", "zbarimg"]) {
            return;
        }
        let town = Town::on(crate::harness::Site::new(engine).with("totp.issuer", "\"Acme & Söhne\""));
        let ann = town.user("ann");
        for label in ["", "ann@example.com", "Jürgen: Büro 1", "部署 42 🦀", &"🦀".repeat(256)] {
            ann.patch(ME, &json!({"totp_label": label})).expect(200);
            let enrolment = ann.post(TOTP, &json!({})).expect(201).json;
            let uri = text(&enrolment["otpauth_uri"]);
            assert_eq!(tools::read_picture(&text(&enrolment["qr_svg"])), uri);
            assert!(uri.contains(&format!("?secret={}&issuer=Acme%20%26%20S%C3%B6hne", text(&enrolment["totp_key"]))), "{uri}");
            assert!(uri.starts_with(if label.is_empty() { "otpauth://totp/Acme%20%26%20S%C3%B6hne:ann?" } else { "otpauth://totp/Acme%20%26%20S%C3%B6hne:" }), "{uri}");
        }
        let key = text(&ann.get(ME).json["totp_key"]);
        let code = || tools::oathtool(&key, town.now());
        call(&ann, "POST", CONFIRM, &code()).expect(200);
        for _ in 0..20 {
            town.advance(Duration::from_secs(86_431));
            assert_eq!(code(), town.code(&key));
            town.anon().try_sign_in_with("ann", PASSWORD, &code()).expect(201);
        }
    }
}
