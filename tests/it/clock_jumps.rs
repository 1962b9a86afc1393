//! A clock that jumps: five minutes ahead, and five minutes back. What that means for sessions, codes, delays, the order of the trail and
//! what waits to be sent; in no case is anything lost, and nothing that was over comes back.

use crate::both;
use crate::harness::receiver::{Reaction, Receiver};
use crate::harness::{PASSWORD, Site, Town, wait_until};
use crate::hooks::{hook, site_for};
use serde_json::json;
use std::time::Duration;

const ME: &str = "/api/v1/users/me";
const RENEW: &str = "/api/v1/sessions/current/renew";
const JUMP: Duration = Duration::from_secs(300);
const WRONG: &str = "a wrong password, but long";

/// The moments of a session, as text of one form: they sort as they are.
fn expiry(answer: &crate::harness::Answer) -> (String, String) {
    let at = |name: &str| answer.json[name].as_str().unwrap().to_owned();
    (at("idle_expiry"), at("absolute_expiry"))
}

both! {
    /// Back: sessions that seem to have been opened in the future are good, and renewals never shorten them; whatever was ended stays so.
    fn sessions_when_the_clock_is_set_back(engine) {
        let town = Town::new(engine);
        let (ann, gone) = (town.user("ann"), town.user("gone"));
        let before = expiry(&ann.get("/api/v1/sessions/current").expect(200));
        gone.delete("/api/v1/sessions/current").expect(204);
        town.set_back(JUMP);
        ann.get(ME).expect(200);
        gone.get(ME).refused(401, "session_invalid");
        let renewed = expiry(&ann.call("POST", RENEW, None).expect(200));
        assert_eq!(renewed, before, "a renewal shortened the session, or went beyond its end");
        // A session that is opened now is a whole one.
        let bob = town.user("bob");
        town.advance(Duration::from_secs(1799));
        bob.get(ME).expect(200);
        town.advance(JUMP + Duration::from_secs(1));
        ann.get(ME).refused(401, "session_invalid");
        bob.get(ME).refused(401, "session_invalid");
    }

    /// Ahead: sessions lose five minutes and no more; what needs a fresh sign-in needs a new one.
    fn sessions_when_the_clock_is_set_ahead(engine) {
        let town = Town::new(engine);
        let (root, ann) = (town.root(), town.user("ann"));
        town.advance(JUMP + Duration::from_secs(1));
        ann.get(ME).expect(200);
        let path = format!("/api/v1/users/{}/password", ann.id());
        root.put(&path, &json!({"new_password": "another password, long"})).refused(403, "fresh_sign_in_required");
        let (idle, _) = expiry(&ann.call("POST", RENEW, None).expect(200));
        assert_eq!(idle, (town.now() + Duration::from_secs(1800)).to_string());
        // And back again: what was renewed meanwhile is good, to the same end.
        town.set_back(JUMP);
        ann.get(ME).expect(200);
        town.advance(JUMP + Duration::from_secs(1799));
        ann.get(ME).expect(200);
        town.advance(Duration::from_secs(1));
        ann.get(ME).refused(401, "session_invalid");
    }

    /// S7: a delay that began before the clock was set back lasts the jump longer, and no attempt is lost or gained; one that began before
    /// it was set ahead is over sooner, but the next failure goes on where the count stood. An account that was locked stays locked.
    fn delays(engine) {
        let town = Town::on(Site::new(engine).with("lockout.lock_after", "7"));
        let root = town.root();
        let ann = town.create("ann");
        let anon = town.anon();
        let failures = || root.get(&format!("/api/v1/users/{ann}")).expect(200).json["failed_login_count"].as_i64().unwrap();
        for _ in 0..5 {
            anon.try_sign_in("ann", WRONG).refused(401, "credentials_invalid");
        }
        town.set_back(JUMP);
        let told = anon.try_sign_in("ann", PASSWORD).refused(429, "too_many_attempts").headers["retry-after"].parse::<u64>().unwrap();
        assert_eq!(told, JUMP.as_secs() + 1);
        town.advance(JUMP);
        anon.try_sign_in("ann", PASSWORD).refused(429, "too_many_attempts");
        town.advance(Duration::from_secs(1));
        assert!(failures() >= 5);
        anon.try_sign_in("ann", WRONG).refused(401, "credentials_invalid");
        // The sixth: two seconds, which a jump ahead takes away, but not the count. The seventh locks the account.
        town.advance(JUMP);
        anon.try_sign_in("ann", WRONG).refused(401, "credentials_invalid");
        anon.try_sign_in("ann", PASSWORD).refused(429, "too_many_attempts");
        town.advance(JUMP);
        anon.try_sign_in("ann", PASSWORD).refused(401, "account_locked");
        town.set_back(JUMP * 2);
        assert_ne!(anon.try_sign_in("ann", PASSWORD).status, 201);
        town.advance(JUMP * 3);
        anon.try_sign_in("ann", PASSWORD).refused(401, "account_locked");
    }

    /// S12: a one-time code that was used is not good again when the clock is set back to its time or to any before; those after it are.
    fn one_time_codes(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let begun = ann.call("POST", &format!("{ME}/totp"), None).expect(201);
        let key = begun.json["totp_key"].as_str().unwrap().to_owned();
        ann.post(&format!("{ME}/totp/confirm"), &json!({"code": town.code(&key)})).expect(200);
        town.advance(Duration::from_secs(60));
        let used = town.code(&key);
        town.anon().try_sign_in_with("ann", PASSWORD, &used).expect(201);
        town.set_back(JUMP);
        for _ in 0..2 {
            town.anon().try_sign_in_with("ann", PASSWORD, &town.code(&key)).refused(401, "totp_invalid");
        }
        town.advance(JUMP);
        town.anon().try_sign_in_with("ann", PASSWORD, &used).refused(401, "totp_invalid");
        town.advance(Duration::from_secs(30));
        town.anon().try_sign_in_with("ann", PASSWORD, &town.code(&key)).expect(201);
    }

    /// S46: the trail keeps the order in which things happened, whatever their times say; each event is found, once, and it verifies.
    fn the_trail(engine) {
        let town = Town::new(engine);
        let (root, ann) = (town.root(), town.user("ann"));
        let call = |cid: &str| { ann.with("x-correlation-id", cid).get(ME).expect(200); };
        call("first");
        town.set_back(JUMP);
        call("second");
        town.advance(JUMP * 2);
        call("third");
        town.set_back(JUMP);
        call("fourth");
        let exported = town.usher(&["audit", "export"]).expect(0).out;
        for cid in ["first", "second", "third", "fourth"] {
            let found = root.get(&format!("/api/v1/audit-events?cid={cid}")).expect(200).json;
            assert_eq!(found["items"].as_array().unwrap().len(), 1, "{cid}");
            assert_eq!(exported.matches(&format!("\"cid\":\"{cid}\"")).count(), 1, "{cid}");
        }
        // Page by page, by time: each once.
        let (mut times, mut cids) = (Vec::new(), Vec::new());
        let first = format!("/api/v1/audit-events?actor={}&limit=1", ann.id());
        let mut path = first.clone();
        loop {
            let page = root.get(&path).expect(200).json;
            for event in page["items"].as_array().unwrap() {
                cids.push(event["cid"].as_str().unwrap().to_owned());
                times.push(event["time"].as_str().unwrap().to_owned());
            }
            match page["next_cursor"].as_str() {
                Some(cursor) => path = format!("{first}&cursor={cursor}"),
                None => break,
            }
        }
        assert!(times.is_sorted() || times.iter().rev().is_sorted(), "{times:?}");
        for cid in ["first", "second", "third", "fourth"] {
            assert_eq!(cids.iter().filter(|c| *c == cid).count(), 1, "{cid} in {cids:?}");
        }
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// What waits to be sent is sent when its time comes: later by the jump at most, never twice for it, and never lost.
    fn the_outbox(engine) {
        let receiver = Receiver::new();
        let town = Town::on(site_for(engine, &receiver));
        let root = town.root();
        hook(&root, "crm", &receiver.url("/"), json!(["user.created"]));
        let create = |name: &str| { root.post("/api/v1/users", &json!({"username": name})).expect(201); };
        receiver.react(&[Reaction::Status(500)]);
        create("ann");
        let first = receiver.next();
        let tried = || town.count("SELECT count(*) AS count FROM outbox WHERE attempts = 1 AND last_error IS NOT NULL");
        wait_until("a failure", || tried() == 1);
        town.set_back(JUMP);
        // What is written now is not held up by what waits.
        create("bob");
        assert_ne!(receiver.next().headers["webhook-id"], first.headers["webhook-id"]);
        assert!(receiver.rest().is_empty());
        town.advance(JUMP + Duration::from_secs(60));
        assert_eq!(receiver.next().headers["webhook-id"], first.headers["webhook-id"]);
        create("cid");
        receiver.next();
        wait_until("an empty outbox", || town.count("SELECT count(*) AS count FROM outbox") == 0);
        assert!(receiver.rest().is_empty());
    }
}
