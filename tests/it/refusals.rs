//! S50: what costs its caller nothing does not fill the trail: beyond some refusals of nobody one event stands for many, a user's own
//! attributes have a quota of the trail, and a disk that is nearly full takes nothing from nobody.

use crate::both;
use crate::harness::process::usher;
use crate::harness::{Engine, PASSWORD, Site, Town, wait_until};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::time::Duration;

const ME: &str = "/api/v1/users/me";

/// The events of an action, oldest first.
fn events(town: &Town, action: &str) -> Vec<Value> {
    town.root().get(&format!("/api/v1/audit-events?action={action}&limit=500")).expect(200).json["items"]
        .as_array()
        .unwrap()
        .clone()
}

both! {
    /// Each of the first ones has an event; all others are answered the same, and one event tells how many, when, and of which ids.
    fn one_event_stands_for_many(engine) {
        let town = Town::on(Site::new(engine).with("audit.refusals_free", "5"));
        let refuse = || town.anon().get(ME).refused(401, "session_invalid").cid().to_owned();
        let own: Vec<String> = (0..5).map(|_| refuse()).collect();
        let first = town.now();
        let mut joined: Vec<String> = (0..30).map(|_| refuse()).collect();
        town.advance(Duration::from_secs(3));
        joined.push(town.anon().get("/api/v1/nowhere").refused(404, "not_found").cid().to_owned());
        let last = town.now();
        for (cids, count) in [(&own, 1), (&joined, 0)] {
            for cid in cids {
                let found = town.root().get(&format!("/api/v1/audit-events?cid={cid}")).expect(200).json;
                assert_eq!(found["items"].as_array().unwrap().len(), count);
            }
        }
        // Whoever tries to be somebody leaves an event each time.
        let attempt = town.anon().try_sign_in("nobody", "wrong by far, this one");
        let found = town.root().get(&format!("/api/v1/audit-events?cid={}", attempt.cid())).expect(200).json;
        assert_eq!(found["items"][0]["action"], "session.sign_in");
        assert_eq!(events(&town, "audit.refusals").len(), 0);
        town.advance(Duration::from_secs(8));
        wait_until("the event that stands for them", || !events(&town, "audit.refusals").is_empty());
        let event = events(&town, "audit.refusals").remove(0);
        let digest = Sha256::digest(joined.iter().map(|cid| format!("{cid}\n")).collect::<String>());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let after = |name: &str| event["changes"][name]["after"].clone();
        assert_eq!((after("count"), after("cids_sha256")), (json!(31), json!(digest)), "{event}");
        assert_eq!((after("first_time"), after("last_time")), (json!(first.to_string()), json!(last.to_string())), "{event}");
        assert_eq!((&event["actor_type"], &event["remote_addr"], &event["outcome"]), (&json!("system"), &json!("127.0.0.1"), &json!("success")));
        // The next minute has its own free ones.
        town.advance(Duration::from_secs(60));
        let cid = refuse();
        let found = town.root().get(&format!("/api/v1/audit-events?cid={cid}")).expect(200).json;
        assert_eq!(found["items"].as_array().unwrap().len(), 1);
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// What is counted when the service stops is written first.
    fn stopping_writes_what_was_counted(engine) {
        let town = Town::on(Site::new(engine).with("audit.refusals_free", "1"));
        for _ in 0..7 {
            town.anon().get(ME).refused(401, "session_invalid");
        }
        let site = town.halt();
        let exported = usher(&site, &["audit", "export"], "").expect(0).out;
        let told: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).filter(|e: &Value| e["action"] == "audit.refusals").collect();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0]["changes"]["count"]["after"], 6);
    }

    /// Calls of somebody are never joined, refused or not.
    fn calls_of_somebody_have_their_events(engine) {
        let town = Town::on(Site::new(engine).with("audit.refusals_free", "1"));
        let ann = town.user("ann");
        for _ in 0..5 {
            let cid = ann.get("/api/v1/users").refused(403, "forbidden").cid().to_owned();
            let found = town.root().get(&format!("/api/v1/audit-events?cid={cid}")).expect(200).json;
            assert_eq!(found["items"].as_array().unwrap().len(), 1);
        }
    }

    /// The own attributes may add so much in an hour; a super-user's of others are not bound.
    fn own_attributes_have_a_quota(engine) {
        let town = Town::on(Site::new(engine).with("audit.user_bytes_per_hour", "20000"));
        let ann = town.user("ann");
        let big = |letter: &str| json!({"value": letter.repeat(6000)});
        let colour = format!("{ME}/attributes/colour");
        ann.put(&colour, &big("a")).expect(201);
        ann.put(&colour, &big("b")).expect(200);
        // The old value and the new one are kept.
        ann.put(&colour, &big("c")).expect(200);
        let refused = ann.put(&colour, &big("d")).refused(429, "too_many_attempts");
        assert_eq!(refused.headers["retry-after"], "3600");
        ann.delete(&colour).refused(429, "too_many_attempts");
        ann.put("/api/v1/sessions/current/attributes/colour", &big("e")).refused(429, "too_many_attempts");
        ann.get(&colour).expect(200);
        ann.patch(ME, &json!({"first_name": "Ann"})).expect(200);
        town.root().put(&format!("/api/v1/users/{}/attributes/colour", ann.id()), &big("f")).expect(200);
        town.user("bob").put(&colour, &big("g")).expect(201);
        town.advance(Duration::from_secs(3600));
        town.anon().sign_in("ann", PASSWORD).put(&colour, &big("h")).expect(200);
    }

    /// A disk that is nearly full takes nothing from nobody, and everything from everybody else.
    fn a_disk_that_is_nearly_full(engine) {
        let site = Site::with_mail(engine).with("database.least_free_mib", "1000000000000");
        let town = Town::on(site);
        town.open_sign_up(false);
        let form = json!({"username": "eve", "email": "eve@example.org", "password": PASSWORD});
        let sign_up = town.anon().post("/api/v1/signups", &form);
        let reset = town.anon().post("/api/v1/password-resets", &json!({"username": "root"}));
        let (refused, attempt) = (town.anon().get(ME), town.anon().try_sign_in("nobody", "wrong by far, this one"));
        assert_eq!((refused.status, attempt.status), (401, 401));
        let is_kept = |cid: &str| town.root().get(&format!("/api/v1/audit-events?cid={cid}")).expect(200).json["items"] != json!([]);
        if engine == Engine::Sqlite {
            sign_up.refused(503, "unavailable");
            reset.refused(503, "unavailable");
            // A guess at somebody's password is counted, and told, whatever room there is.
            assert!(!is_kept(refused.cid()) && is_kept(attempt.cid()));
        } else {
            // How much room the server has is not known here.
            assert_eq!((sign_up.status, reset.status), (202, 202));
            assert!(is_kept(refused.cid()) && is_kept(attempt.cid()));
        }
        town.user("ann").patch(ME, &json!({"first_name": "Ann"})).expect(200);
    }
}
