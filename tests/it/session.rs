//! Sessions: their life, their ends, and that an end is an end.

use crate::both;
use crate::harness::{Client, PASSWORD, ROOT, Site, Town, at_once};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

const ME: &str = "/api/v1/users/me";
const CURRENT: &str = "/api/v1/sessions/current";
const RENEW: &str = "/api/v1/sessions/current/renew";

both! {
    /// S20, R23: idle and absolute expiry, both judged when the session is used, not when it is swept away.
    fn sessions_end_by_themselves(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        town.advance(Duration::from_secs(1799));
        ann.get(ME).expect(200);
        town.advance(Duration::from_secs(1));
        ann.get(ME).refused(401, "session_invalid");
        ann.call("POST", RENEW, None).refused(401, "session_invalid");

        let ann = ann.sign_in("ann", PASSWORD);
        let absolute = ann.get(CURRENT).json["absolute_expiry"].clone();
        for _ in 0..42 {
            town.advance(Duration::from_secs(1000));
            let renewed = ann.call("POST", RENEW, None).expect(200).json;
            assert_eq!(renewed["absolute_expiry"], absolute);
            assert!(renewed["idle_expiry"].as_str().unwrap() <= absolute.as_str().unwrap());
        }
        town.advance(Duration::from_secs(1199));
        ann.get(ME).expect(200);
        town.advance(Duration::from_secs(1));
        ann.get(ME).refused(401, "session_invalid");
    }

    /// S20: ten thousand renewals do not pass the absolute expiry.
    fn renewing_for_ever_does_not_help(engine) {
        let town = Town::on(Site::new(engine).with("sessions.absolute_seconds", "10000").with("sessions.idle_seconds", "60"));
        let ann = town.user("ann");
        let absolute = ann.get(CURRENT).json["absolute_expiry"].clone();
        let mut last = String::new();
        for second in 0..10_000 {
            let answer = ann.call("POST", RENEW, None);
            if answer.status == 401 {
                assert_eq!(second, 10_000, "ended early");
            }
            let renewed = answer.expect(200).json["idle_expiry"].as_str().unwrap().to_owned();
            assert!(renewed >= last && renewed.as_str() <= absolute.as_str().unwrap());
            last = renewed;
            town.advance(Duration::from_secs(1));
        }
        assert_eq!(last, absolute.as_str().unwrap());
        ann.call("POST", RENEW, None).refused(401, "session_invalid");
    }

    /// R10: fifty parallel renewals make one session with one expiry and no error.
    fn parallel_renewals_agree(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        town.advance(Duration::from_secs(600));
        let answers = at_once(50, |_| ann.call("POST", RENEW, None).expect(200).json);
        assert!(answers.iter().all(|a| *a == answers[0]), "{answers:?}");
        assert_eq!(ann.get("/api/v1/users/me/sessions").json["items"].as_array().unwrap().len(), 1);
    }

    /// Signing out twice is no error; without a token it is.
    fn signing_out(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        ann.delete(CURRENT).expect(204);
        ann.get(ME).refused(401, "session_invalid");
        ann.delete(CURRENT).expect(204);
        town.anon().delete(CURRENT).refused(401, "session_invalid");
        town.anon().bearing("ust_nonsense").delete(CURRENT).refused(401, "session_invalid");
    }

    /// S22: one lists and ends one's own sessions, a super-user anyone's, and nobody those of others.
    fn listing_and_ending(engine) {
        let town = Town::new(engine);
        let (first, bob, root) = (town.user("ann"), town.user("bob"), town.root());
        town.advance(Duration::from_secs(1));
        let second = first.sign_in("ann", PASSWORD);
        let listed = first.get("/api/v1/users/me/sessions").json;
        let items = listed["items"].as_array().unwrap();
        assert_eq!(items.iter().map(|s| s["is_current"].as_bool().unwrap()).collect::<Vec<_>>(), [true, false]);
        assert!(!listed.to_string().contains("ust_"));
        bob.delete(&format!("/api/v1/users/me/sessions/{}", first.session_id.as_deref().unwrap())).refused(404, "not_found");
        root.delete(&format!("/api/v1/users/{}/sessions/{}", bob.id(), first.session_id.as_deref().unwrap())).refused(404, "not_found");
        first.get(ME).expect(200);
        first.delete(&format!("/api/v1/users/me/sessions/{}", second.session_id.as_deref().unwrap())).expect(204);
        second.get(ME).refused(401, "session_invalid");
        first.get(ME).expect(200);
        let third = first.sign_in("ann", PASSWORD);
        root.delete(&format!("/api/v1/users/{}/sessions/{}", first.id(), third.session_id.as_deref().unwrap())).expect(204);
        third.get(ME).refused(401, "session_invalid");
        root.delete(&format!("/api/v1/users/{}/sessions", first.id())).expect(204);
        first.get(ME).refused(401, "session_invalid");
        bob.delete("/api/v1/users/me/sessions").expect(204);
        bob.get(ME).refused(401, "session_invalid");
    }

    /// S22: others of one's own sessions are ended soon after signing in only, the one in use at any time.
    fn ending_ones_own_others_needs_a_fresh_sign_in(engine) {
        let town = Town::new(engine);
        let first = town.user("ann");
        let second = town.anon().sign_in("ann", PASSWORD);
        let one = |client: &Client| format!("/api/v1/users/me/sessions/{}", client.session_id.as_deref().unwrap());
        town.advance(Duration::from_secs(300));
        first.delete(&one(&second)).expect(204);
        town.advance(Duration::from_secs(1));
        let third = town.anon().sign_in("ann", PASSWORD);
        first.delete(&one(&third)).refused(403, "fresh_sign_in_required");
        first.delete("/api/v1/users/me/sessions").refused(403, "fresh_sign_in_required");
        third.get(ME).expect(200);
        first.delete(&one(&first)).expect(204);
        third.delete("/api/v1/users/me/sessions").expect(204);
        third.get(ME).refused(401, "session_invalid");
    }

    /// S22: a super-user ends all sessions of an application, or everyone's, but for the one in use; soon after signing in only.
    fn ending_many(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let desk = root.post("/api/v1/applications", &json!({"name": "desk"})).expect(201).json["application_id"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/applications/{desk}/sessions");
        town.create("ann");
        let at_desk = town.anon().with("x-current-app", "desk").sign_in("ann", PASSWORD);
        let elsewhere = town.anon().sign_in("ann", PASSWORD);
        let boss_at_desk = town.anon().with("x-current-app", "desk").sign_in(ROOT, PASSWORD);
        // Shared applications accept each other's sessions; whose they are is decided by where they were opened.
        at_desk.with("x-current-app", "default").get(ME).expect(200);
        boss_at_desk.with("x-correlation-id", "desk").delete(&path).expect(204);
        at_desk.get(ME).refused(401, "session_invalid");
        boss_at_desk.get(ME).expect(200);
        elsewhere.get(ME).expect(200);
        root.delete(&path).expect(204);
        boss_at_desk.get(ME).refused(401, "session_invalid");
        root.delete("/api/v1/applications/018f0000-0000-7000-8000-000000000000/sessions").refused(404, "not_found");

        town.advance(Duration::from_secs(301));
        root.delete(&path).refused(403, "fresh_sign_in_required");
        root.delete("/api/v1/sessions").refused(403, "fresh_sign_in_required");
        elsewhere.get(ME).expect(200);
        let fresh = town.root();
        fresh.with("x-correlation-id", "all").delete("/api/v1/sessions").expect(204);
        for ended in [&elsewhere, &root] {
            ended.get(ME).refused(401, "session_invalid");
        }
        fresh.get(ME).expect(200);
        assert_eq!(town.count("SELECT count(*) AS count FROM sessions"), 1);
        for (cid, action, subject) in [("desk", "session.revoke_of_application", json!(desk)), ("all", "session.revoke_of_everyone", json!(null))] {
            let told = fresh.get(&format!("/api/v1/audit-events?cid={cid}")).json["items"][0].clone();
            assert_eq!((&told["action"], &told["subject"], &told["actor"]), (&json!(action), &subject, &json!(town.root_id)));
        }
        // At the command line there is no session to be kept.
        let again = town.anon().with("x-current-app", "desk").sign_in("ann", PASSWORD);
        assert_eq!(town.usher(&["session", "revoke", "--app", "DESK", "--json"]).expect(0).json(), json!({"ended": 1}));
        again.get(ME).refused(401, "session_invalid");
        assert_eq!(town.usher(&["session", "revoke", "--app", "nowhere"]).expect(1).complaint(), "usher: There is no application nowhere.");
        assert_eq!(town.usher(&["session", "revoke", "--all"]).expect(0).out, "1 session ended\n");
        fresh.get(ME).refused(401, "session_invalid");
        assert_eq!(town.usher(&["session", "revoke", "--all"]).expect(0).out, "0 sessions ended\n");
    }

    /// Renewals, sign-outs, and endings of whole users' sessions, at once and on two nodes: none fails for another's sake, and what ended has
    /// ended.
    fn many_sessions_change_at_once(engine) {
        let town = Town::new(engine);
        let other = town.another_node();
        let nodes = [&town, &other];
        let roots = nodes.map(Town::root);
        let people: Vec<String> = (0..3).map(|number| town.create(&format!("user-{number}"))).collect();
        for _ in 0..2 {
            let clients: Vec<Client> =
                (0..24).map(|number| nodes[number % 2].anon().sign_in(&format!("user-{}", number % 3), PASSWORD)).collect();
            town.advance(Duration::from_secs(3));
            let answers = at_once(clients.len() + people.len(), |number| match clients.get(number) {
                Some(client) if number % 4 < 2 => (200, client.post("/api/v1/sessions/current/renew", &json!({}))),
                Some(client) => (204, client.delete("/api/v1/sessions/current")),
                None => {
                    let place = number - clients.len();
                    (204, roots[place % 2].delete(&format!("/api/v1/users/{}/sessions", people[place])))
                }
            });
            for (done, answer) in answers {
                assert!(answer.status == done || answer.json["code"] == "session_invalid", "{}", answer.text);
            }
            let left = "SELECT count(*) AS count FROM sessions s JOIN users u USING (user_id) WHERE u.username LIKE 'user-%'";
            assert_eq!(town.count(left), 0);
        }
    }

    /// S21, R9, R11: whatever takes the right away ends the session at the very next call, and a restart does not bring it back.
    fn what_ends_a_session_ends_it_at_once(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let causes = ["revoked", "locked", "rejected", "expired", "inactive", "outside", "pwset", "deleted"];
        let victims: Vec<_> = causes.iter().map(|name| town.user(name)).collect();
        for (cause, victim) in causes.iter().zip(&victims) {
            victim.get(ME).expect(200);
            let set = |change: &str| town.sql(&format!("UPDATE users SET {change} WHERE username_key = '{cause}'"));
            let past = if engine == crate::harness::Engine::Sqlite { "1000000" } else { "'2020-01-01'" };
            match *cause {
                "revoked" => drop(root.delete(&format!("/api/v1/users/{}/sessions", victim.id())).expect(204)),
                "locked" => drop(root.post(&format!("/api/v1/users/{}/lock", victim.id()), &json!({})).expect(200)),
                "rejected" => set("approval_status = 'rejected'"),
                "expired" => set(&format!("password_expiry = {past}")),
                "inactive" => set("is_active = false"),
                "outside" => set(&format!("valid_to = {past}")),
                "pwset" => {
                    let input = "marble cloud engine 77\n";
                    drop(crate::harness::process::usher(&town.site, &["user", "set-password", cause, "--password-stdin"], input).expect(0));
                    town.hear();
                }
                _ => town.sql(&format!("DELETE FROM users WHERE username_key = '{cause}'")),
            }
            victim.get(ME).refused(401, "session_invalid");
        }
        let survivor = town.user("survivor");
        let town = town.restart();
        for victim in &victims {
            town.anon().bearing(victim.ust.as_deref().unwrap()).get(ME).refused(401, "session_invalid");
        }
        town.anon().bearing(survivor.ust.as_deref().unwrap()).get(ME).expect(200);
    }

    /// S6, S19: a new token for whoever changed the password, and the end for all others.
    fn changing_the_password(engine) {
        let town = Town::new(engine);
        let here = town.user("ann");
        let there = here.sign_in("ann", PASSWORD);
        let absolute = here.get(CURRENT).json["absolute_expiry"].clone();
        town.advance(Duration::from_secs(300));
        let new = "marble cloud engine 77";
        let change = |old: &str| here.put("/api/v1/users/me/password", &json!({"old_password": old, "new_password": new}));
        change("not the old password").refused(403, "old_password_wrong");
        let changed = change(PASSWORD).expect(200).json;
        here.get(ME).refused(401, "session_invalid");
        there.get(ME).refused(401, "session_invalid");
        assert_eq!(changed["session"]["absolute_expiry"], absolute);
        town.anon().bearing(changed["ust"].as_str().unwrap()).get(ME).expect(200);
        town.anon().try_sign_in("ann", PASSWORD).refused(401, "credentials_invalid");
        town.anon().sign_in("ann", new);
    }

    /// Guesses of the old password count like guesses at sign-in, and do so by default (S9, R8, R17).
    fn guessing_the_old_password_is_slowed_down(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let change = |old: &str| ann.put("/api/v1/users/me/password", &json!({"old_password": old, "new_password": "marble cloud engine 77"}));
        for _ in 0..5 {
            change("not the old password").refused(403, "old_password_wrong");
        }
        change(PASSWORD).refused(429, "too_many_attempts");
        town.anon().try_sign_in("ann", PASSWORD).refused(429, "too_many_attempts");
    }

    /// Locking: with a reason, not oneself by accident, and never the last super-user.
    fn locking(engine) {
        let town = Town::new(engine);
        let (root, ann) = (town.root(), town.user("ann"));
        let lock = |by: &crate::harness::Client, id: &str, body: serde_json::Value| by.post(&format!("/api/v1/users/{id}/lock"), &body);
        let unlock = |by: &crate::harness::Client, id: &str| by.call("POST", &format!("/api/v1/users/{id}/unlock"), None);
        let locked = lock(&root, ann.id(), json!({"reason": "lost laptop"})).expect(200).json;
        assert_eq!(
            (&locked["is_locked"], &locked["lock_cause"], &locked["lock_reason"], &locked["locked_by"], &locked["account_status"]),
            (&json!(true), &json!("administrator"), &json!("lost laptop"), &json!(town.root_id), &json!("locked"))
        );
        assert_eq!(locked["locked_time"], town.now().to_string());
        let unlocked = unlock(&root, ann.id()).expect(200).json;
        for cleared in ["lock_cause", "lock_reason", "locked_by", "locked_time"] {
            assert!(unlocked[cleared].is_null());
        }
        ann.get(ME).refused(401, "session_invalid");
        lock(&root, &town.root_id, json!({})).refused(409, "last_super_user");
        lock(&root, &town.root_id, json!({"force": true})).refused(409, "last_super_user");
        let second = json!({"username": "second", "password": PASSWORD, "user_role": "administrator"});
        let second_id = root.post("/api/v1/users", &second).expect(201).json["user_id"].as_str().unwrap().to_owned();
        lock(&root, &town.root_id, json!({})).refused(409, "self_lock");
        lock(&root, &town.root_id, json!({"force": true})).expect(200);
        root.get(ME).refused(401, "session_invalid");
        let second = town.anon().sign_in("second", PASSWORD);
        lock(&second, &second_id, json!({"force": true})).refused(409, "last_super_user");
        town.usher(&["user", "lock", "second"]).expect(1);
        unlock(&second, &town.root_id).expect(200);
        town.anon().sign_in(ROOT, PASSWORD);
        lock(&second, "018f0000-0000-7000-8000-000000000000", json!({})).refused(404, "not_found");
        lock(&second, ann.id(), json!({"reason": "two\nlines"})).refused(422, "invalid");
        lock(&second, ann.id(), json!({"because": "x"})).refused(422, "invalid");
    }

    /// An account that nobody can sign in to, or whose time runs out, is no super-user to rely on.
    fn the_last_super_user_is_one_who_can_sign_in(engine) {
        let town = Town::new(engine);
        let root = town.root();
        for (name, password, valid_to) in [("ghost", json!(null), json!(null)), ("guest", json!(PASSWORD), json!("2031-06-01T00:00:00Z"))] {
            let body = json!({"username": name, "password": password, "user_role": "administrator", "valid_to": valid_to});
            root.post("/api/v1/users", &body).expect(201);
        }
        root.post(&format!("/api/v1/users/{}/lock", town.root_id), &json!({"force": true})).refused(409, "last_super_user");
        town.anon().sign_in("guest", PASSWORD).post(&format!("/api/v1/users/{}/lock", town.root_id), &json!({})).refused(409, "last_super_user");
        // Its own profile it may edit all the same.
        root.patch(&format!("/api/v1/users/{}", town.root_id), &json!({"remark": "the last one"})).expect(200);
    }

    /// S21: who was let in while the right held does nothing once it does not, however slowly the body comes.
    fn a_slow_body_does_not_outlive_the_session(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let body = json!({"username": "evil", "password": PASSWORD, "user_role": "administrator"});
        root.post("/api/v1/users", &body).expect(201);
        let evil = town.anon().sign_in("evil", PASSWORD);
        town.advance(Duration::from_secs(61));
        let create = json!({"username": "backdoor", "password": PASSWORD, "user_role": "administrator"}).to_string();
        let head = format!(
            "POST /api/v1/users HTTP/1.1\r\nhost: x\r\nx-correlation-id: slow\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            evil.ust.as_deref().unwrap(),
            create.len()
        );
        let mut stream = TcpStream::connect(town.base.trim_start_matches("http://")).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&create.as_bytes()[..5]).unwrap();
        // Once this use is noted it has been let in: the gate was opened.
        let noted = || root.get(&format!("/api/v1/users/{}", evil.id())).json["active_time"] == town.now().to_string();
        assert!((0..2000).any(|_| noted()), "the call has not arrived");
        root.post(&format!("/api/v1/users/{}/lock", evil.id()), &json!({})).expect(200);
        stream.write_all(&create.as_bytes()[5..]).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 401");
        assert_eq!(root.get("/api/v1/users/count?prefix=backdoor").json["total"], 0);
    }

    /// S6: a super-user's own password is changed with the old one only, another's soon after signing in only.
    fn a_stolen_session_does_not_become_the_account(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let set = |id: &str| root.put(&format!("/api/v1/users/{id}/password"), &json!({"new_password": "marble cloud engine 77"}));
        set(&town.root_id).refused(403, "forbidden");
        let ann = town.create("ann");
        set(&ann).expect(200);
        town.advance(Duration::from_secs(301));
        set(&ann).refused(403, "fresh_sign_in_required");
    }

    /// Two super-users who lock each other at once: one of them remains.
    fn the_last_super_user_survives_a_race(engine) {
        let town = Town::new(engine);
        let root = town.root();
        for round in 0..5 {
            let name = format!("rival-{round}");
            let body = json!({"username": name, "password": PASSWORD, "user_role": "administrator"});
            root.post("/api/v1/users", &body).expect(201);
            let rival = town.anon().sign_in(&name, PASSWORD);
            let statuses = at_once(2, |number| {
                let (by, id) = if number == 0 { (&root, rival.id()) } else { (&rival, town.root_id.as_str()) };
                by.post(&format!("/api/v1/users/{id}/lock"), &json!({})).status
            });
            assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 1, "{statuses:?}");
            town.sql("UPDATE users SET is_locked = false WHERE username_key = 'root'");
            town.sql(&format!("UPDATE users SET is_active = false WHERE username_key = '{name}'"));
            if statuses[0] != 200 {
                return;
            }
        }
    }
}
