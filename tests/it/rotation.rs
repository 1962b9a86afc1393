//! Rotating data keys while the service is at work (S11).

use crate::both;
use crate::harness::process::usher;
use crate::harness::{PASSWORD, Town};
use crate::second_factor::{enrol, text};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Sealed bytes begin with the id of their data key; of how many keys there are secrets, and how many secrets are under another key than
/// their row says.
fn keys_in_use(town: &Town) -> (i64, i64) {
    let begins = match town.site.engine {
        crate::harness::Engine::Sqlite => "substr(sealed, 1, 16) <> data_key_id",
        crate::harness::Engine::Postgres => {
            "encode(substring(sealed from 1 for 16), 'hex') <> replace(data_key_id::text, '-', '')"
        }
    };
    (
        town.count("SELECT count(DISTINCT data_key_id) AS count FROM totp_credentials"),
        town.count(&format!("SELECT count(*) AS count FROM totp_credentials WHERE {begins}")),
    )
}

/// Tells the others that it is over, also where a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

both! {
    /// S11: keys are rotated several times while people sign in with one-time codes and enrol them: no call fails, and in the end no secret
    /// is left under an old key, and no old key is left.
    fn rotating_under_load(engine) {
        let town = Town::new(engine);
        let other = town.another_node();
        let people: Vec<_> = (0..4).map(|number| enrol(&town, town.user(&format!("user-{number}")))).collect();
        // More than are encrypted anew in one transaction.
        let crowd = 110;
        for number in 0..crowd {
            let name = format!("crowd-{number}");
            town.usher(&["user", "create", &name, "--totp-key", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"]).expect(0);
        }
        let first = town.count("SELECT count(*) AS count FROM data_keys");
        assert_eq!((first, keys_in_use(&town)), (1, (1, 0)));
        let (is_over, sign_ins) = (AtomicBool::new(false), AtomicUsize::new(0));
        let rotated = std::thread::scope(|scope| {
            for (number, person) in people.iter().enumerate() {
                let node = if number % 2 == 0 { &town } else { &other };
                let (is_over, sign_ins, key) = (&is_over, &sign_ins, &person.key);
                scope.spawn(move || {
                    let name = format!("user-{number}");
                    let mut codes = person.codes.iter();
                    while !is_over.load(Ordering::SeqCst) {
                        // The clock stands still between steps: a code is good once, and is known to be used or not.
                        let answer = node.anon().try_sign_in_with(&name, PASSWORD, &node.code(key));
                        let code = answer.json["code"].as_str().unwrap_or_default();
                        assert!(answer.status == 201 || [(401, "totp_invalid"), (429, "too_many_attempts")].contains(&(answer.status, code)), "{}", answer.text);
                        if answer.status == 201 {
                            sign_ins.fetch_add(1, Ordering::SeqCst);
                        }
                        if let Some(code) = codes.next() {
                            let answer = node.anon().try_sign_in_with(&name, PASSWORD, code);
                            assert!([201, 429].contains(&answer.status), "{}", answer.text);
                        }
                        node.advance(Duration::from_secs(30));
                    }
                });
            }
            // And someone enrols over and over again.
            scope.spawn(|| {
                let newcomer = town.create("newcomer");
                while !is_over.load(Ordering::SeqCst) {
                    let client = town.anon().sign_in("newcomer", PASSWORD);
                    let answer = client.post("/api/v1/users/me/totp", &json!({}));
                    // The clock runs: the session may be too old by now.
                    assert!([201, 401, 403].contains(&answer.status), "{}", answer.text);
                    if answer.status == 201 {
                        let seen = client.get("/api/v1/users/me");
                        assert!([200, 401].contains(&seen.status), "{} {newcomer}", seen.text);
                    }
                }
            });
            let _over = Over(&is_over);
            // However slow the machine is, some sign in meanwhile.
            let goes_on = |round: &usize| *round < 5 || sign_ins.load(Ordering::SeqCst) < 5;
            let rounds = (0..50).take_while(goes_on);
            rounds.map(|_| usher(&town.site, &["secrets", "rotate", "--json"], "").expect(0).json()).collect::<Vec<_>>()
        });
        assert!(sign_ins.load(Ordering::SeqCst) >= 5, "hardly anybody signed in");
        assert!(rotated.iter().all(|r| r["resealed"].as_u64().unwrap() >= crowd + 4), "{rotated:?}");
        let last = usher(&town.site, &["secrets", "rotate", "--json"], "").expect(0).json();
        assert_eq!(keys_in_use(&town), (1, 0));
        assert_eq!(town.count("SELECT count(*) AS count FROM data_keys"), 1);
        assert_eq!(town.count("SELECT count(*) AS count FROM data_keys WHERE is_active"), 1);
        let id = text(&last["data_key_id"]).replace('-', "");
        let is_last = match engine {
            crate::harness::Engine::Sqlite => format!("data_key_id = x'{id}'"),
            crate::harness::Engine::Postgres => format!("replace(data_key_id::text, '-', '') = '{id}'"),
        };
        assert_eq!(town.count(&format!("SELECT count(*) AS count FROM totp_credentials WHERE NOT {is_last}")), 0);
        // And every key still opens.
        town.advance(Duration::from_secs(3600));
        for (number, person) in people.iter().enumerate() {
            town.anon().try_sign_in_with(&format!("user-{number}"), PASSWORD, &town.code(&person.key)).expect(201);
        }
        town.usher(&["audit", "verify"]).expect(0);
    }
}
