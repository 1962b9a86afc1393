//! Setting a password by a link: for those who forgot it, and for those whom a super-user asks to.

use crate::both;
use crate::harness::mail::BASE_URL;
use crate::harness::{Answer, Client, PASSWORD, Site, Town, at_once};
use crate::sign_up::{mutations, outcome, told};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

const RESETS: &str = "/api/v1/password-resets";
const OPEN: &str = "/api/v1/password-resets/open";
const FINISH: &str = "/api/v1/password-resets/finish";
const ME: &str = "/api/v1/users/me";
const ANN: &str = "ann@example.org";
const NEW: &str = "violet harbour lantern 9";

fn ann(town: &Town) -> Client {
    town.root().post("/api/v1/users", &json!({"username": "Ann", "email": ANN, "password": PASSWORD})).expect(201);
    town.anon().sign_in("ann", PASSWORD)
}

fn ask(town: &Town, body: Value) -> Answer {
    town.anon().post(RESETS, &body)
}

fn open(town: &Town, token: &str) -> Answer {
    town.anon().post(OPEN, &json!({"token": token}))
}

fn finish(town: &Town, key: &str, password: &str) -> Answer {
    town.anon().post(FINISH, &json!({"reset_key": key, "new_password": password}))
}

/// A key for Ann's account.
fn key(town: &Town) -> String {
    ask(town, json!({"username": "ann"})).expect(202);
    let opened = open(town, &town.mail_to(ANN).token()).expect(200);
    opened.json["reset_key"].as_str().unwrap().to_owned()
}

both! {
    /// The whole way: asking, opening, setting; all sessions end, nobody is signed in by it, and the person is told.
    fn resetting_a_password(engine) {
        let town = Town::with_mail(engine);
        let (root, ann) = (town.root(), ann(&town));
        town.sql("UPDATE users SET password_must_change = true, failed_login_count = 3 WHERE username_key = 'ann'");
        let asked = ask(&town, json!({"email": "ANN@Example.org"})).expect(202);
        let event = outcome(&town, &root, &asked);
        assert_eq!((&event["action"], &event["outcome"], &event["subject"]), (&json!("password_reset.send"), &json!("success"), &json!(ann.id())));
        let mail = town.mail_to(ANN);
        assert_eq!(mail.subject, "Set a new password at id.example.org");
        assert!(mail.link().starts_with(&format!("{BASE_URL}/account/set-password#token=urp_")) && mail.text.contains("Hello Ann,"));
        // Asking changes nothing yet.
        let opened = open(&town, &mail.token()).expect(200);
        assert_eq!(opened.keys(), ["reset_key", "expires_time", "is_totp_required"]);
        assert_eq!((&opened.json["expires_time"], &opened.json["is_totp_required"]), (&json!((town.now() + Duration::from_secs(600)).to_string()), &json!(false)));
        open(&town, &mail.token()).refused(410, "link_invalid");
        let key = opened.json["reset_key"].as_str().unwrap();
        // What does not fit can be tried again.
        finish(&town, key, "short").refused(422, "password_unfit");
        finish(&town, key, "Password123").refused(422, "password_unfit");
        town.anon().post(FINISH, &json!({"reset_key": key, "new_password": NEW, "totp_code": "123456"})).refused(422, "invalid");
        let done = finish(&town, key, NEW).expect(204);
        assert!(!done.headers.contains_key("set-cookie") && done.text.is_empty());
        finish(&town, key, "another good long password").refused(410, "link_invalid");
        ann.get(ME).refused(401, "session_invalid");
        town.anon().try_sign_in("ann", PASSWORD).refused(401, "credentials_invalid");
        town.anon().sign_in("ann", NEW);
        let seen = root.get(&format!("/api/v1/users/{}", ann.id())).json;
        assert_eq!((&seen["password_must_change"], &seen["password_last_set"]), (&json!(false), &json!(town.now().to_string())));
        assert_eq!(town.mail_to(ANN).subject, "Your password at id.example.org was changed");
        let events = root.get(&format!("/api/v1/audit-events?subject={}&from={}", ann.id(), town.now())).json;
        let actions: Vec<&str> = events["items"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
        for action in ["password_reset.send", "password_reset.open", "password_reset.finish"] {
            assert!(actions.contains(&action), "{actions:?}");
        }
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// S5: known, unknown, ambiguous, locked, without an address: one answer. The trail knows better.
    fn asking_tells_nothing(engine) {
        let town = Town::on(Site::with_mail(engine).with("links.asking_free", "1000"));
        town.open_sign_up(false);
        let root = town.root();
        for (name, email) in [("known", Some("known@example.org")), ("locked", Some("locked@example.org")), ("inactive", Some("inactive@example.org")),
            ("rejected", Some("rejected@example.org")), ("none", None), ("twin", Some("twin@example.org")), ("other-twin", Some("Twin@example.org"))]
        {
            root.post("/api/v1/users", &json!({"username": name, "email": email, "password": PASSWORD, "is_active": name != "inactive"})).expect(201);
        }
        town.usher(&["user", "lock", "locked"]).expect(0);
        town.usher(&["user", "reject", "rejected"]).expect(0);
        town.anon().post("/api/v1/signups", &crate::sign_up::form("fresh", "fresh@example.org")).expect(202);
        town.forget_mail();
        let cases = [
            (json!({"username": "known"}), Value::Null),
            (json!({"email": "known@example.org"}), Value::Null),
            (json!({"username": "nobody"}), json!("user_unknown")),
            (json!({"email": "nobody@example.org"}), json!("user_unknown")),
            (json!({"email": "no address at all"}), json!("user_unknown")),
            (json!({"username": "nul \u{0}"}), json!("user_unknown")),
            (json!({"username": "locked"}), json!("account_locked")),
            (json!({"email": "inactive@example.org"}), json!("account_inactive")),
            (json!({"username": "rejected"}), json!("account_rejected")),
            (json!({"username": "none"}), json!("email_missing")),
            (json!({"email": "twin@example.org"}), json!("email_ambiguous")),
            (json!({"username": "twin"}), Value::Null),
            (json!({"username": "fresh"}), json!("sign_up_unconfirmed")),
            (json!({"email": "fresh@example.org"}), json!("user_unknown")),
        ];
        let mut seen = Vec::new();
        for (body, reason) in cases {
            let answer = ask(&town, body.clone()).expect(202);
            assert_eq!(outcome(&town, &root, &answer)["reason"], reason, "{body}");
            let own = root.get(&format!("/api/v1/audit-events?cid={}&action=password_reset.request", answer.cid())).json["items"][0].clone();
            assert_eq!((&own["outcome"], &own["subject"]), (&json!("success"), &Value::Null));
            seen.push(told(&answer));
        }
        assert!(seen.iter().all(|s| *s == seen[0]), "{seen:#?}");
        assert_eq!((town.mails_to("known@example.org").len(), town.mails_to("twin@example.org").len()), (2, 1));
        for nobody in ["locked", "inactive", "rejected", "nobody", "fresh"] {
            assert!(town.mails_to(&format!("{nobody}@example.org")).is_empty(), "{nobody}");
        }
        // What is wrong with the request itself is told.
        ask(&town, json!({})).refused(422, "invalid");
        ask(&town, json!({"username": "a", "email": "b"})).refused(422, "invalid");
        ask(&town, json!({"username": "a", "user_id": "b"})).refused(422, "invalid");
        ask(&town, json!({"username": "x".repeat(600)})).refused(422, "invalid");
    }

    /// R16: links and keys work once, fifty at once as well; mutated, truncated, foreign and expired ones get one answer.
    fn links_and_keys_are_used_once(engine) {
        let town = Town::with_mail(engine);
        ann(&town);
        ask(&town, json!({"username": "ann"})).expect(202);
        let token = town.mail_to(ANN).token();
        let mut seen = Vec::new();
        for wrong in mutations(&token) {
            let answers = [open(&town, &wrong).refused(410, "link_invalid"), finish(&town, &wrong, NEW).refused(410, "link_invalid")];
            for mut answer in answers {
                answer.json["cid"] = Value::Null;
                seen.push(answer.json);
            }
        }
        // One's own token where another one belongs.
        finish(&town, &token, NEW).refused(410, "link_invalid");
        town.anon().post("/api/v1/signups/confirm", &json!({"token": token})).refused(410, "link_invalid");
        let answers = at_once(50, |_| open(&town, &token));
        let won: Vec<&Answer> = answers.iter().filter(|a| a.status == 200).collect();
        assert_eq!(won.len(), 1);
        for lost in answers.iter().filter(|a| a.status != 200) {
            let mut answer = lost.clone().refused(410, "link_invalid").json;
            answer["cid"] = Value::Null;
            seen.push(answer);
        }
        assert!(seen.iter().all(|s| *s == seen[0]), "{seen:#?}");
        let key = won[0].json["reset_key"].as_str().unwrap().to_owned();
        open(&town, &key).refused(410, "link_invalid");
        let passwords: Vec<String> = (0..50).map(|n| format!("a quite different password {n}")).collect();
        let answers = at_once(50, |n| finish(&town, &key, &passwords[n]).status);
        assert_eq!(answers.iter().filter(|s| **s == 204).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|s| [204, 410, 503].contains(s)), "{answers:?}");
        let winner = answers.iter().position(|s| *s == 204).unwrap();
        town.anon().sign_in("ann", &passwords[winner]);

        // Expired: the link after an hour, the key after ten minutes.
        town.forget_mail();
        ask(&town, json!({"username": "ann"})).expect(202);
        let late = town.mail_to(ANN).token();
        town.advance(Duration::from_secs(3599));
        let key = open(&town, &late).expect(200).json["reset_key"].as_str().unwrap().to_owned();
        ask(&town, json!({"username": "ann"})).expect(202);
        let later = town.mail_to(ANN).token();
        town.advance(Duration::from_secs(600));
        finish(&town, &key, NEW).refused(410, "link_invalid");
        town.advance(Duration::from_secs(3000));
        open(&town, &later).refused(410, "link_invalid");
    }

    /// A link is for the password and the mailbox that there were.
    fn links_end_with_what_they_were_for(engine) {
        let town = Town::with_mail(engine);
        let (root, ann) = (town.root(), ann(&town));
        let path = format!("/api/v1/users/{}", ann.id());
        let several = || {
            ask(&town, json!({"username": "ann"})).expect(202);
            let token = town.mail_to(ANN).token();
            (token, key(&town))
        };
        let are_dead = |(token, key): (String, String), why: &str| {
            assert_eq!((open(&town, &token).status, finish(&town, &key, "yet another password 1").status), (410, 410), "{why}");
            town.forget_mail();
        };
        let links = several();
        ann.put("/api/v1/users/me/password", &json!({"old_password": PASSWORD, "new_password": NEW})).expect(200);
        are_dead(links, "the password was changed");
        town.advance(Duration::from_secs(86_400));
        let links = several();
        let root = root.sign_in("root", PASSWORD);
        root.put(&format!("{path}/password"), &json!({"new_password": PASSWORD})).expect(200);
        are_dead(links, "a super-user set the password");
        town.advance(Duration::from_secs(86_400));
        let links = several();
        town.usher(&["user", "lock", "ann"]).expect(0);
        are_dead(links, "the account is locked");
        town.usher(&["user", "unlock", "ann"]).expect(0);
        town.advance(Duration::from_secs(86_400));
        let links = several();
        root.sign_in("root", PASSWORD).patch(&path, &json!({"email": "other@example.org"})).expect(200);
        are_dead(links, "the address was changed");
    }

    /// No mail bombing: one mailbox gets so many links, whoever asks for them and by which name.
    fn asking_is_bounded(engine) {
        let town = Town::on(Site::with_mail(engine).with("links.asking_free", "1000").with("links.mailbox_free", "3").with("server.trusted_proxies", "[\"127.0.0.0/8\"]"));
        let root = town.root();
        ann(&town);
        let ask = |n: usize, body: Value| {
            let answer = town.anon().with("x-forwarded-for", &format!("192.0.2.{n}")).post(RESETS, &body).expect(202);
            outcome(&town, &root, &answer)["reason"].clone()
        };
        let bodies = [json!({"username": "ann"}), json!({"username": "ANN"}), json!({"email": ANN}), json!({"email": "Ann@example.org"}), json!({"username": "ann"})];
        let reasons: Vec<Value> = bodies.into_iter().enumerate().map(|(n, body)| ask(n, body)).collect();
        assert_eq!(reasons, [Value::Null, Value::Null, Value::Null, json!("throttled"), json!("throttled")]);
        assert_eq!(town.mails_to(ANN).len(), 3);
        // The links that were sent are good all the same.
        open(&town, &town.mails_to(ANN)[0].token()).expect(200);
        town.advance(Duration::from_secs(900));
        assert_eq!(ask(9, json!({"username": "ann"})), Value::Null);
        assert_eq!(ask(10, json!({"username": "ann"})), "throttled");
    }

    /// S30: what a link bears, and what it is exchanged for, is in the mail and in the answer alone: not in the database, where letters
    /// wait encrypted, and not in the trail.
    fn the_database_has_hashes_alone(engine) {
        let town = Town::with_mail(engine);
        ann(&town);
        ask(&town, json!({"username": "ann"})).expect(202);
        let token = town.mail_to(ANN).token();
        let key = open(&town, &token).expect(200).json["reset_key"].as_str().unwrap().to_owned();
        let (dump, trail) = (crate::canary::dump(&town), town.usher(&["audit", "export"]).expect(0).out);
        assert!(trail.contains("password_reset.open"));
        for secret in [&token, &key] {
            let random = &secret[4..47];
            assert!(!dump.windows(random.len()).any(|window| window == random.as_bytes()), "the database has {}", &secret[..4]);
            assert!(!trail.contains(random));
        }
    }

    /// S6: a super-user starts a password, and never comes to know it or a way to it.
    fn a_super_user_sends_a_link(engine) {
        let town = Town::with_mail(engine);
        let (root, ann) = (town.root(), ann(&town));
        let path = format!("/api/v1/users/{}/password", ann.id());
        for body in [json!({"must_change": true}), json!({"expiry": "2091-01-01T00:00:00Z"})] {
            root.put(&path, &body).refused(422, "invalid");
        }
        let sent = root.put(&path, &json!({})).expect(200);
        assert_eq!(sent.keys(), crate::matrix::SUPER_USER);
        let first = town.mail_to(ANN);
        assert_eq!(first.subject, "Set your password at id.example.org");
        assert!(first.token().starts_with("usp_") && !sent.text.contains(&first.token()));
        // Until the link is used, all stays as it is.
        ann.get(ME).expect(200);
        root.call("PUT", &path, None).expect(200);
        let second = town.mail_to(ANN).token();
        open(&town, &first.token()).refused(410, "link_invalid");
        town.advance(Duration::from_secs(86_399));
        let key = open(&town, &second).expect(200).json["reset_key"].as_str().unwrap().to_owned();
        finish(&town, &key, NEW).expect(204);
        town.anon().sign_in("ann", NEW);
        // S26: not by an old session; not for oneself; not without an address.
        root.put(&path, &json!({})).refused(401, "session_invalid");
        let root = town.root();
        root.put(&format!("/api/v1/users/{}/password", town.root_id), &json!({})).refused(403, "forbidden");
        let bob = root.post("/api/v1/users", &json!({"username": "bob"})).expect(201).json["user_id"].as_str().unwrap().to_owned();
        root.put(&format!("/api/v1/users/{bob}/password"), &json!({})).refused(409, "email_missing");
        root.put("/api/v1/users/018f0000-0000-7000-8000-000000000000/password", &json!({})).refused(404, "not_found");
        town.advance(Duration::from_secs(301));
        root.put(&path, &json!({})).refused(403, "fresh_sign_in_required");
    }

    /// Whoever is created without a password gets no mail unless it is asked for.
    fn creating_a_user_who_sets_the_password(engine) {
        let town = Town::with_mail(engine);
        let root = town.root();
        let create = |body: Value| root.post("/api/v1/users", &body);
        create(json!({"username": "quiet", "email": "quiet@example.org"})).expect(201);
        assert!(town.mails_to("quiet@example.org").is_empty());
        create(json!({"username": "bob", "must_set_password": true})).refused(409, "email_missing");
        create(json!({"username": "bob", "email": "bob@example.org", "must_set_password": true, "password": PASSWORD})).refused(422, "invalid");
        create(json!({"username": "bob", "email": "bob@example.org", "must_set_password": "yes"})).refused(422, "invalid");
        assert!(root.get("/api/v1/users?username=bob").json["items"][0].is_null());
        let made = create(json!({"username": "bob", "email": "bob@example.org", "must_set_password": true, "lang_id": 2})).expect(201);
        assert_eq!((made.keys(), &made.json["password_is_set"]), (crate::matrix::SUPER_USER.to_vec(), &json!(false)));
        let mail = town.mail_to("bob@example.org");
        assert_eq!(mail.subject, "Setzen Sie Ihr Passwort bei id.example.org");
        let key = open(&town, &mail.token()).expect(200).json["reset_key"].as_str().unwrap().to_owned();
        finish(&town, &key, NEW).expect(204);
        town.anon().sign_in("bob", NEW);
        // Without mail there is nothing that could be sent.
        let silent = Town::new(town.site.engine);
        silent.root().post("/api/v1/users", &json!({"username": "bob", "email": "bob@example.org", "must_set_password": true})).refused(409, "links_unavailable");
    }

    /// The command line: by mail, or printed once.
    fn by_the_command_line(engine) {
        // The command line has the system's clock: the service is a minute ahead of it, so that what it writes is due.
        let ahead = usher::domain::time::Clock::system().now() + Duration::from_secs(60);
        let town = Town::at(Site::with_mail(engine), Arc::new(AtomicI64::new(ahead.micros())));
        ann(&town);
        let sent = town.usher(&["user", "set-password", "ann", "--link"]).expect(0);
        assert_eq!(sent.out, "Ann gets a link by mail\n");
        let token = town.mail_to(ANN).token();
        let printed = town.usher(&["user", "set-password", "ann", "--link", "--print"]).expect(0).out;
        let told = printed.trim().strip_prefix(&format!("{BASE_URL}/account/set-password#token=")).unwrap_or_else(|| panic!("{printed}")).to_owned();
        assert!(town.mails_to(ANN).is_empty());
        open(&town, &token).refused(410, "link_invalid");
        let key = open(&town, &told).expect(200).json["reset_key"].as_str().unwrap().to_owned();
        finish(&town, &key, NEW).expect(204);
        town.anon().sign_in("ann", NEW);

        let made = town.usher(&["user", "create", "bob", "--email", "bob@example.org", "--must-set-password", "--link", "--json"]).expect(0).json();
        assert_eq!((&made["username"], &made["link"]), (&json!("bob"), &Value::Null));
        assert!(town.mail_to("bob@example.org").token().starts_with("usp_"));
        let made = town.usher(&["user", "create", "carl", "--must-set-password", "--link"]).expect(0).out;
        let lines: Vec<&str> = made.lines().collect();
        assert!(lines.len() == 2 && lines[0].len() == 36 && lines[1].contains("#token=usp_"), "{made}");
        let made = town.usher(&["user", "create", "dora", "--must-set-password", "--link", "--print", "--json"]).expect(0).json();
        assert!(made["link"].as_str().unwrap().contains("#token=usp_"));
        town.usher(&["user", "create", "eve", "--link"]).expect(1);
        town.usher(&["user", "set-password", "ann", "--print"]).expect(2);
        town.usher(&["user", "set-password", "ann"]).expect(2);
        // Without an address for links there are none, printed or not.
        let bare = Town::new(engine);
        bare.create("ann");
        assert!(bare.usher(&["user", "set-password", "ann", "--link"]).expect(1).complaint().contains("links.base_url"));
        let linked = Town::on(Site::new(engine).with("links.base_url", "\"https://id.example.org\""));
        linked.create("ann");
        assert!(linked.usher(&["user", "set-password", "ann", "--link"]).expect(0).out.starts_with("https://id.example.org/account/set-password#token=usp_"));
    }

    /// A reset never goes round the second factor.
    fn an_account_with_a_second_factor_stays_shut(engine) {
        let town = Town::with_mail(engine);
        ann(&town);
        town.sql_with_key("UPDATE users SET is_totp_enabled = true WHERE username_key = 'ann'");
        ask(&town, json!({"username": "ann"})).expect(202);
        let opened = open(&town, &town.mail_to(ANN).token()).expect(200);
        assert_eq!(opened.json["is_totp_required"], true);
        let key = opened.json["reset_key"].as_str().unwrap();
        finish(&town, key, NEW).refused(401, "totp_required");
        town.anon().post(FINISH, &json!({"reset_key": key, "new_password": NEW, "totp_code": "123456"})).refused(401, "totp_invalid");
        town.sql_with_key("UPDATE users SET is_totp_enabled = false WHERE username_key = 'ann'");
        town.anon().sign_in("ann", PASSWORD);
    }

    /// The person is told of changes that someone else could have made.
    fn notices(engine) {
        let town = Town::with_mail(engine);
        let (root, ann) = (town.root(), ann(&town));
        let ann = ann.put("/api/v1/users/me/password", &json!({"old_password": PASSWORD, "new_password": NEW})).expect(200);
        let ann = town.anon().bearing(ann.json["ust"].as_str().unwrap());
        assert_eq!(town.mail_to(ANN).subject, "Your password at id.example.org was changed");
        ann.patch(ME, &json!({"email": "new@example.org", "lang_id": 2})).expect(200);
        let moved = town.mails_to("new@example.org").remove(0);
        assert_eq!(moved.subject, "Dies ist jetzt die E-Mail-Adresse Ihres Kontos bei id.example.org");
        assert_eq!(town.mail_to(ANN).subject, "Ihre E-Mail-Adresse bei id.example.org wurde geändert");
        ann.patch(ME, &json!({"email": "new@example.org", "first_name": "Ann"})).expect(200);
        assert!(town.mails_to("new@example.org").is_empty());
        let id = root.get("/api/v1/users?username=ann").json["items"][0]["user_id"].as_str().unwrap().to_owned();
        root.put(&format!("/api/v1/users/{id}/password"), &json!({"new_password": PASSWORD, "must_change": true})).expect(200);
        assert_eq!(town.mail_to("new@example.org").subject, "Ihr Passwort bei id.example.org wurde geändert");
        town.anon().post("/api/v1/sessions", &json!({"username": "ann", "password": PASSWORD, "new_password": NEW})).expect(201);
        assert_eq!(town.mail_to("new@example.org").subject, "Ihr Passwort bei id.example.org wurde geändert");
        // Where there is no mail, nothing waits to be sent for ever.
        let silent = Town::new(engine);
        let bob = silent.user("bob");
        bob.put("/api/v1/users/me/password", &json!({"old_password": PASSWORD, "new_password": NEW})).expect(200);
        assert_eq!(silent.count("SELECT count(*) AS count FROM outbox"), 0);
    }

    /// S42, R14: links begin with the setting, on every letter, whatever a request says about its host.
    fn hosts_in_requests_have_no_effect(engine) {
        let town = Town::with_mail(engine);
        ann(&town);
        let evil = |client: Client| {
            let names = ["x-forwarded-host", "x-forwarded-server", "x-original-host", "x-host", "origin", "referer", "x-forwarded-prefix", "x-original-url", "host"];
            let client = names.iter().fold(client, |client, name| client.with(name, "evil.example"));
            client.with("forwarded", "host=evil.example;proto=http").with("x-forwarded-proto", "http").with("x-forwarded-port", "666")
        };
        let anon = evil(town.anon());
        let root = evil(town.root());
        anon.post("/api/v1/signups", &crate::sign_up::form("bob", "bob@example.org")).expect(202);
        anon.post("/api/v1/signups", &crate::sign_up::form("carl", ANN)).expect(202);
        anon.post("/api/v1/signups", &crate::sign_up::form("ann", "carl@example.org")).expect(202);
        anon.post(RESETS, &json!({"username": "ann"})).expect(202);
        let id = root.get("/api/v1/users?username=ann").json["items"][0]["user_id"].as_str().unwrap().to_owned();
        root.put(&format!("/api/v1/users/{id}/password"), &json!({})).expect(200);
        town.settle();
        let confirmation = town.mails_to("bob@example.org").remove(0);
        anon.post("/api/v1/signups/confirm", &json!({"token": confirmation.token()})).expect(200);
        let bob = evil(town.anon().sign_in("bob", PASSWORD));
        bob.put("/api/v1/users/me/password", &json!({"old_password": PASSWORD, "new_password": NEW})).expect(200);
        evil(town.anon().sign_in("bob", NEW)).patch(ME, &json!({"email": "bob2@example.org"})).expect(200);
        town.settle();
        let mails = crate::harness::mail::all_mails(&town.site);
        let mut subjects: Vec<&str> = mails.iter().map(|m| m.subject.as_str()).collect();
        subjects.sort_unstable();
        // Every kind of letter that has a link, and more.
        assert_eq!(subjects.len(), 9, "{subjects:?}");
        subjects.dedup();
        assert_eq!(subjects.len(), 9, "{subjects:?}");
        for mail in &mails {
            assert!(!mail.raw.contains("evil") && !mail.text.contains("evil") && !mail.html.contains("evil"), "{}", mail.raw);
            for url in mail.text.split_whitespace().filter(|word| word.contains("://")) {
                assert!(url.starts_with(&format!("{BASE_URL}/account/")), "{url}");
            }
            let links = mail.html.matches("href=").count();
            assert_eq!(links, usize::from(mail.text.contains("://")), "{}", mail.html);
        }
    }
}
