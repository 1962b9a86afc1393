//! Second factors in a race: one code, many calls, several nodes.

use crate::both;
use crate::harness::{PASSWORD, Site, Town, at_once};
use crate::second_factor::enrol;
use serde_json::json;
use std::time::Duration;

/// How many of these answers signed in; the others were told that the code is wrong.
fn winners(answers: &[(u16, String)]) -> usize {
    let told = |(status, code): &&(u16, String)| *status == 201 || (*status, code.as_str()) == (401, "totp_invalid");
    // A full queue for hashing is no answer on the code.
    let judged: Vec<_> = answers.iter().filter(|(status, _)| *status != 503).collect();
    assert!(judged.iter().all(told), "{answers:?}");
    assert!(judged.len() > answers.len() / 2, "{answers:?}");
    judged.iter().filter(|(status, _)| *status == 201).count()
}

both! {
    /// S12: of fifty parallel sign-ins with one code exactly one succeeds, also on two nodes; of a recovery code likewise.
    fn one_code_opens_one_session(engine) {
        let patient = |site: Site| site.with("lockout.account_free", "1000").with("lockout.lock_after", "1000").with("lockout.address_free", "100000");
        let town = Town::on(patient(Site::new(engine)));
        let other = town.another_node();
        let ann = enrol(&town, town.user("ann"));
        let mut codes = vec![ann.codes[0].clone()];
        for _ in 0..2 {
            town.advance(Duration::from_secs(90));
            codes.push(town.code(&ann.key));
            for code in codes.drain(..) {
                let answers = at_once(50, |number| {
                    let node = if number % 2 == 0 { &town } else { &other };
                    let answer = node.anon().try_sign_in_with("ann", PASSWORD, &code);
                    (answer.status, answer.json["code"].as_str().unwrap_or_default().to_owned())
                });
                assert_eq!(winners(&answers), 1, "{answers:?}");
            }
        }
        let seen = town.root().get(&format!("/api/v1/users/{}", ann.client.id())).json;
        assert_eq!(seen["login_count"], 4);
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// S12, S13: the same under the usual lock-out: one succeeds, and those that come too late bring no more than a delay.
    fn one_code_opens_one_session_under_lock_out(engine) {
        let town = Town::new(engine);
        let ann = enrol(&town, town.user("ann"));
        let code = town.code(&ann.key);
        let answers = at_once(50, |_| town.anon().try_sign_in_with("ann", PASSWORD, &code).status);
        assert_eq!(answers.iter().filter(|s| **s == 201).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|s| [201, 401, 429, 503].contains(s)), "{answers:?}");
        assert!(answers.iter().filter(|s| **s == 401).count() <= 6, "{answers:?}");
    }

    /// S8: two hundred parallel guesses at a code count as two hundred, and hardly any is verified.
    fn parallel_guesses_all_count(engine) {
        let town = Town::new(engine);
        let ann = enrol(&town, town.user("ann"));
        let wrong = format!("{:06}", (town.code(&ann.key).parse::<u32>().unwrap() + 1) % 1_000_000);
        let answers = at_once(200, |_| {
            ann.client.call("DELETE", "/api/v1/users/me/totp", Some(json!({"code": wrong}).to_string())).status
        });
        assert!(answers.iter().all(|s| [401, 429].contains(s)), "{answers:?}");
        assert!(answers.iter().filter(|s| **s == 401).count() <= 5, "{answers:?}");
        assert_eq!(town.root().get(&format!("/api/v1/users/{}", ann.client.id())).json["failed_login_count"], 200);
    }

    /// One enrolment is confirmed once; enrolling from many calls at once leaves one key, which is the one that is shown.
    fn enrolments_at_once(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let keys = at_once(12, |_| ann.post("/api/v1/users/me/totp", &json!({})).expect(201).json["totp_key"].clone());
        let shown = ann.get("/api/v1/users/me").json["totp_key"].clone();
        assert!(keys.contains(&shown));
        assert_eq!(town.count("SELECT count(*) AS count FROM totp_credentials"), 1);
        let code = town.code(shown.as_str().unwrap());
        let answers = at_once(12, |_| ann.post("/api/v1/users/me/totp/confirm", &json!({"code": code})).status);
        assert_eq!(answers.iter().filter(|s| **s == 200).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|s| [200, 401, 409, 429].contains(s)), "{answers:?}");
        assert_eq!(town.count("SELECT count(*) AS count FROM recovery_codes"), 10);
    }

    /// An enrolment that is begun anew while the one before is being confirmed: either the one or the other, never an account that asks
    /// for codes of a key that nobody has confirmed.
    fn an_enrolment_begun_anew_while_it_is_confirmed(engine) {
        let town = Town::new(engine);
        let mut replaced = 0;
        for round in 0..12 {
            let name = format!("user-{round}");
            let client = town.user(&name);
            let begin = || client.post("/api/v1/users/me/totp", &json!({}));
            let key = begin().expect(201).json["totp_key"].as_str().unwrap().to_owned();
            let answers = at_once(2, |number| match number {
                0 => client.post("/api/v1/users/me/totp/confirm", &json!({"code": town.code(&key)})).status,
                _ => begin().status,
            });
            let confirmed = town.count("SELECT count(*) AS count FROM totp_credentials WHERE session_id IS NULL");
            match answers.as_slice() {
                [200, 409] => assert_eq!(confirmed, round - replaced + 1),
                // The code is wrong for the new key, or the old one was gone when it was to be confirmed.
                [401 | 409, 201] => {
                    replaced += 1;
                    assert_eq!(confirmed, round + 1 - replaced);
                    town.anon().sign_in(&name, PASSWORD);
                }
                _ => panic!("{answers:?}"),
            }
        }
    }
}
