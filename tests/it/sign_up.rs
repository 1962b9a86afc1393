//! Signing up: uniform answers, confirmation by mail, approval, what is swept.

use crate::both;
use crate::harness::mail::BASE_URL;
use crate::harness::{Answer, Client, Engine, PASSWORD, Site, Town, at_once};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const SIGN_UPS: &str = "/api/v1/signups";
const CONFIRM: &str = "/api/v1/signups/confirm";
const ANN: &str = "ann@example.org";

pub fn form(name: &str, email: &str) -> Value {
    json!({"username": name, "email": email, "password": PASSWORD})
}

fn confirm(town: &Town, token: &str) -> Answer {
    town.anon().post(CONFIRM, &json!({"token": token}))
}

/// What an answer tells, less what must differ between two answers.
pub fn told(answer: &Answer) -> (u16, String, BTreeMap<String, String>) {
    let mut headers = answer.headers.clone();
    headers.remove("x-correlation-id");
    headers.remove("date");
    (answer.status, answer.text.clone(), headers)
}

/// What came of a call that is decided on out of its caller's sight.
pub fn outcome(town: &Town, root: &Client, answer: &Answer) -> Value {
    town.settle();
    let found = root.get(&format!("/api/v1/audit-events?cid={}", answer.cid())).json;
    let events = found["items"].as_array().unwrap();
    let mut by_system = events.iter().filter(|e| e["actor_type"] == "system");
    let event = by_system.next().unwrap_or_else(|| panic!("{found}")).clone();
    assert!(by_system.next().is_none(), "{found}");
    event
}

fn find(root: &Client, name: &str) -> Value {
    root.get(&format!("/api/v1/users?username={name}")).expect(200).json["items"][0].clone()
}

both! {
    /// From the form to the first sign-in.
    fn signing_up(engine) {
        let town = Town::with_mail(engine);
        let (root, anon) = (town.root(), town.anon());
        let body = json!({"username": "Ann", "email": ANN, "password": PASSWORD, "first_name": "Ann", "last_name": "Doe", "lang_id": 1});
        let answer = anon.post(SIGN_UPS, &body).expect(202);
        assert_eq!(answer.text, "");
        let event = outcome(&town, &root, &answer);
        assert_eq!((&event["action"], &event["outcome"], &event["application"]), (&json!("user.create"), &json!("success"), &json!("default")));
        let seen = find(&root, "ann");
        assert_eq!(event["subject"], seen["user_id"]);
        let expected = [
            ("sign_up_status", json!("before_confirmation")), ("confirmed", json!(false)), ("display_name", json!("Ann Doe")), ("email", json!(ANN)),
            ("user_role", json!("viewer")), ("approval_status", json!("approved")), ("is_approval_needed", json!(false)), ("lang_id", json!(1)),
            ("approv_rej_by", Value::Null),
        ];
        for (name, value) in expected {
            assert_eq!(seen[name], value, "{name}");
        }
        assert_eq!(seen["creation_ctx"], json!({"via": "sign_up", "by": null, "application": "default", "remote_addr": "127.0.0.1", "cid": answer.cid()}));
        anon.try_sign_in("ann", PASSWORD).refused(401, "sign_up_unconfirmed");

        let mail = town.mail_to(ANN);
        assert_eq!(mail.subject, "Confirm your sign-up at id.example.org");
        assert!(mail.link().starts_with(&format!("{BASE_URL}/account/confirm#token=usu_")));
        let confirmed = confirm(&town, &mail.token()).expect(200);
        assert_eq!(confirmed.json, json!({"username": "Ann", "is_approval_pending": false}));
        let event = root.get(&format!("/api/v1/audit-events?cid={}", confirmed.cid())).json["items"][0].clone();
        assert_eq!((&event["action"], &event["subject"]), (&json!("user.confirm_sign_up"), &seen["user_id"]));
        assert_eq!(event["changes"]["sign_up_status"], json!({"before": "before_confirmation", "after": "final"}));
        assert_eq!(town.mail_to(ANN).subject, "Your account at id.example.org is ready");
        anon.sign_in("ann", PASSWORD);
        assert_eq!(find(&root, "ann")["confirmed"], true);
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// S5: whatever exists, the answer is the same, and only the mailbox learns what came of it.
    fn a_sign_up_tells_nothing(engine) {
        let town = Town::with_mail(engine);
        let root = town.root();
        root.post("/api/v1/users", &json!({"username": "known", "email": "known@example.org", "password": PASSWORD})).expect(201);
        let before = root.get("/api/v1/users/count").json["total"].clone();
        let cases = [
            ("fresh", "fresh@example.org", None, "Confirm your sign-up at id.example.org"),
            ("Known", "other@example.org", Some("username_taken"), "Your sign-up at id.example.org: please choose another name"),
            ("another", "KNOWN@example.org", Some("email_taken"), "You have an account at id.example.org already"),
            ("known", "known@example.org", Some("email_taken"), "You have an account at id.example.org already"),
        ];
        let mut seen = Vec::new();
        for (name, email, reason, subject) in cases {
            let answer = town.anon().post(SIGN_UPS, &form(name, email)).expect(202);
            let event = outcome(&town, &root, &answer);
            assert_eq!(event["reason"], json!(reason), "{name}");
            // The call's own event tells nobody, and is the same for all.
            let own = root.get(&format!("/api/v1/audit-events?cid={}&action=user.sign_up", answer.cid())).json["items"][0].clone();
            assert_eq!((&own["outcome"], &own["subject"], &own["changes"]), (&json!("success"), &Value::Null, &Value::Null));
            let mail = town.mail_to(email);
            assert_eq!(mail.subject, subject);
            // No word that the stranger chose.
            assert!(!mail.text.to_lowercase().contains(&name.to_lowercase()) && !mail.html.to_lowercase().contains(&name.to_lowercase()), "{}", mail.text);
            seen.push(told(&answer));
        }
        assert!(seen.iter().all(|s| *s == seen[0]), "{seen:#?}");
        let after = root.get("/api/v1/users/count").json["total"].clone();
        assert_eq!(after.as_i64().unwrap(), before.as_i64().unwrap() + 1);
        town.anon().sign_in("known", PASSWORD);
    }

    /// Off by default, and refused where there is nothing to confirm by.
    fn where_signing_up_is_not_possible(engine) {
        let town = Town::on(Site::with_mail(engine));
        let anon = town.anon();
        anon.post(SIGN_UPS, &form("ann", ANN)).refused(403, "sign_up_closed");
        let key = town.usher(&["app", "create", "shop", "--sign-up-open", "--json"]).expect(0);
        assert!(key.out.contains("uak_"));
        anon.with("x-current-app", "shop").post(SIGN_UPS, &form("ann", ANN)).expect(202);
        let mut body = form("bob", "bob@example.org");
        body["current_app"] = json!("shop");
        anon.post(SIGN_UPS, &body).expect(202);
        body["current_app"] = json!("nowhere");
        anon.post(SIGN_UPS, &body).refused(401, "application_invalid");
        let shop = town.root().get("/api/v1/applications").json["items"].as_array().unwrap().iter().find(|a| a["name"] == "shop").unwrap().clone();
        assert_eq!((&shop["is_sign_up_open"], &shop["is_sign_up_approval_needed"]), (&json!(true), &json!(false)));
        for site in [Site::new(engine), Site::with_mail(engine).with("links.base_url", "\"\""), Site::new(engine).with("links.base_url", "\"https://h\"")] {
            let town = Town::on(site);
            town.open_sign_up(false);
            town.anon().post(SIGN_UPS, &form("ann", ANN)).refused(409, "links_unavailable");
            town.anon().post("/api/v1/password-resets", &json!({"username": "root"})).refused(409, "links_unavailable");
        }
    }

    /// S29, R15: what is not on the form cannot be set by it, nor a sign-up be made final otherwise than by the link.
    fn mass_assignment(engine) {
        let town = Town::with_mail(engine);
        let (root, anon) = (town.root(), town.anon());
        for name in crate::matrix::SUPER_USER.iter().filter(|n| !usher::service::SIGN_UP.contains(n)) {
            let mut body = form("eve", "eve@example.org");
            body[*name] = json!(true);
            anon.post(SIGN_UPS, &body).refused(403, "member_forbidden");
        }
        for name in ["password_hash", "username_key", "email_key", "is_admin", "totp_secret"] {
            let mut body = form("eve", "eve@example.org");
            body[name] = json!("x");
            anon.post(SIGN_UPS, &body).refused(422, "invalid");
        }
        let faulty = |change: Value, member: &str| {
            let mut body = form("eve", "eve@example.org");
            body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let answer = anon.post(SIGN_UPS, &body);
            let code = if member == "/password" && change["password"].is_string() { "password_unfit" } else { "invalid" };
            assert_eq!(answer.refused(422, code).json["errors"][0]["pointer"], member);
        };
        faulty(json!({"username": null}), "/username");
        faulty(json!({"username": "e\u{202e}ve"}), "/username");
        faulty(json!({"username": "bob@example.org"}), "/username");
        faulty(json!({"email": null}), "/email");
        faulty(json!({"email": "nobody"}), "/email");
        faulty(json!({"email": "a..b@example.org"}), "/email");
        faulty(json!({"password": null}), "/password");
        faulty(json!({"password": 7}), "/password");
        faulty(json!({"password": "short"}), "/password");
        faulty(json!({"lang_id": "en"}), "/lang_id");
        town.settle();
        assert_eq!(find(&root, "eve"), Value::Null);
        // One's own address is a name that one may have.
        anon.post(SIGN_UPS, &form("Eve@example.org", "eve@example.org")).expect(202);
        let token = town.mail_to("eve@example.org").token();
        let eve = find(&root, "eve@example.org");
        let path = format!("/api/v1/users/{}", eve["user_id"].as_str().unwrap());
        for change in [json!({"sign_up_status": "final"}), json!({"confirmed": true})] {
            root.patch(&path, &change).refused(403, "member_forbidden");
            root.post("/api/v1/users", &json!({"username": "x", "sign_up_status": "before_confirmation"})).refused(403, "member_forbidden");
        }
        anon.try_sign_in("eve@example.org", PASSWORD).refused(401, "sign_up_unconfirmed");
        confirm(&town, &token).expect(200);
        anon.sign_in("eve@example.org", PASSWORD);
    }

    /// R16: a link works once, in a race of fifty as well, and not once it is outdated, mutated or of another kind.
    fn a_confirmation_is_used_once(engine) {
        let town = Town::with_mail(engine);
        town.anon().post(SIGN_UPS, &form("ann", ANN)).expect(202);
        let token = town.mail_to(ANN).token();
        for wrong in mutations(&token) {
            confirm(&town, &wrong).refused(410, "link_invalid");
        }
        // A link for another purpose is none for this one.
        town.anon().post("/api/v1/password-resets/open", &json!({"token": token})).refused(410, "link_invalid");
        let answers = at_once(50, |_| confirm(&town, &token).status);
        assert_eq!(answers.iter().filter(|s| **s == 200).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|s| [200, 410].contains(s)), "{answers:?}");
        confirm(&town, &token).refused(410, "link_invalid");
        town.forget_mail();

        town.anon().post(SIGN_UPS, &form("bob", "bob@example.org")).expect(202);
        let late = town.mail_to("bob@example.org").token();
        town.advance(Duration::from_secs(86_400));
        confirm(&town, &late).refused(410, "link_invalid");
        town.anon().try_sign_in("bob", PASSWORD).refused(401, "sign_up_unconfirmed");
    }

    /// Where approval is needed, confirming does not let anyone in; a super-user does.
    fn approval_stays_pending(engine) {
        let town = Town::with_mail(engine);
        town.open_sign_up(true);
        let (root, anon) = (town.root(), town.anon());
        anon.post(SIGN_UPS, &form("ann", ANN)).expect(202);
        let token = town.mail_to(ANN).token();
        let seen = find(&root, "ann");
        assert_eq!((&seen["is_approval_needed"], &seen["approval_status"], &seen["approv_rej_time"]), (&json!(true), &json!("before_decision"), &Value::Null));
        assert_eq!(confirm(&town, &token).expect(200).json["is_approval_pending"], true);
        anon.try_sign_in("ann", PASSWORD).refused(401, "approval_pending");
        assert!(town.mails_to(ANN).is_empty());
        town.advance(Duration::from_secs(5));
        let approve = format!("/api/v1/users/{}/approve", seen["user_id"].as_str().unwrap());
        let approved = root.call("POST", &approve, None).expect(200).json;
        assert_eq!((&approved["approv_rej_by"], &approved["approv_rej_time"]), (&json!(town.root_id), &json!(town.now().to_string())));
        assert_eq!(town.mail_to(ANN).subject, "Your account at id.example.org is ready");
        anon.sign_in("ann", PASSWORD);
        // Approved once more, nobody is told again.
        root.call("POST", &approve, None).expect(200);
        assert!(town.mails_to(ANN).is_empty());
        // The other way round: approved first, then confirmed.
        anon.post(SIGN_UPS, &form("bob", "bob@example.org")).expect(202);
        let token = town.mail_to("bob@example.org").token();
        root.call("POST", &format!("/api/v1/users/{}/approve", find(&root, "bob")["user_id"].as_str().unwrap()), None).expect(200);
        assert!(town.mails_to("bob@example.org").is_empty());
        anon.try_sign_in("bob", PASSWORD).refused(401, "sign_up_unconfirmed");
        assert_eq!(confirm(&town, &token).expect(200).json["is_approval_pending"], false);
        assert_eq!(town.mail_to("bob@example.org").subject, "Your account at id.example.org is ready");
        anon.sign_in("bob", PASSWORD);
    }

    /// Someone who signs up again before confirming gets another link, and the last form counts; whose mailbox it is chooses.
    fn signing_up_again(engine) {
        let town = Town::with_mail(engine);
        let (root, anon) = (town.root(), town.anon());
        let other = "marble cloud engine 77";
        // Somebody signs up with Ann's address and a password of their own.
        anon.post(SIGN_UPS, &json!({"username": "ann", "email": ANN, "password": other})).expect(202);
        let first = town.mail_to(ANN).token();
        let id = find(&root, "ann")["user_id"].clone();
        // Then Ann does.
        anon.post(SIGN_UPS, &form("Ann", "Ann@example.org")).expect(202);
        let second = town.mail_to("Ann@example.org").token();
        assert_eq!(find(&root, "ann")["user_id"], id);
        confirm(&town, &first).refused(410, "link_invalid");
        // A sign-up with the same address and another name has a link of its own, until one of the two is confirmed.
        anon.post(SIGN_UPS, &json!({"username": "squatter", "email": ANN, "password": other})).expect(202);
        let rival = town.mail_to(ANN).token();
        confirm(&town, &second).expect(200);
        confirm(&town, &rival).refused(410, "link_invalid");
        anon.try_sign_in("ann", other).refused(401, "credentials_invalid");
        anon.sign_in("ann", PASSWORD);
        anon.try_sign_in("squatter", other).refused(401, "sign_up_unconfirmed");
        // A name that someone else is about to get is taken.
        town.forget_mail();
        anon.post(SIGN_UPS, &form("carl", "carl@example.org")).expect(202);
        let answer = anon.post(SIGN_UPS, &form("carl", "dora@example.org")).expect(202);
        assert_eq!(outcome(&town, &root, &answer)["reason"], "username_taken");
    }

    /// An address that a super-user changes meanwhile was not confirmed.
    fn a_confirmation_is_for_its_mailbox(engine) {
        let town = Town::with_mail(engine);
        let root = town.root();
        town.anon().post(SIGN_UPS, &form("ann", ANN)).expect(202);
        let token = town.mail_to(ANN).token();
        let path = format!("/api/v1/users/{}", find(&root, "ann")["user_id"].as_str().unwrap());
        root.patch(&path, &json!({"email": "other@example.org"})).expect(200);
        confirm(&town, &token).refused(410, "link_invalid");
    }

    /// Parallel sign-ups with one name make one account, and everyone gets a mail.
    fn parallel_sign_ups(engine) {
        let town = Town::on(Site::with_mail(engine).with("links.asking_free", "1000"));
        town.open_sign_up(false);
        let statuses = at_once(8, |n| town.anon().post(SIGN_UPS, &form("ann", &format!("ann{n}@example.org"))).status);
        assert!(statuses.iter().all(|s| *s == 202), "{statuses:?}");
        town.settle();
        let subjects: Vec<String> = (0..8).map(|n| town.mails_to(&format!("ann{n}@example.org")).remove(0).subject).collect();
        assert_eq!(subjects.iter().filter(|s| s.starts_with("Confirm")).count(), 1, "{subjects:?}");
        assert_eq!(town.root().get("/api/v1/users?prefix=ann").json["items"].as_array().unwrap().len(), 1);
    }

    /// Accounts that nobody confirmed are removed, with an event; all others stay.
    fn what_is_not_confirmed_is_swept(engine) {
        let town = Town::with_mail(engine);
        let root = town.root();
        town.create("regular");
        for name in ["ann", "bob", "carl"] {
            town.anon().post(SIGN_UPS, &form(name, &format!("{name}@example.org"))).expect(202);
        }
        confirm(&town, &town.mails_to("bob@example.org")[0].token()).expect(200);
        let ann = find(&root, "ann")["user_id"].clone();
        town.advance(Duration::from_secs(80_000));
        // Carl signs up again, and has a day from now on.
        town.anon().post(SIGN_UPS, &form("carl", "carl@example.org")).expect(202);
        town.settle();
        town.advance(Duration::from_secs(10_000));
        let town = town.restart();
        let root = town.root();
        // The first round of house-keeping is at the start.
        let began = std::time::Instant::now();
        while find(&root, "ann") != Value::Null {
            assert!(began.elapsed() < Duration::from_secs(30), "ann is still there");
        }
        for name in ["bob", "carl", "regular", "root"] {
            assert!(find(&root, name).is_object(), "{name} is gone");
        }
        let story = root.get(&format!("/api/v1/audit-events?subject={}&sort=-time", ann.as_str().unwrap())).json;
        assert_eq!((&story["items"][0]["action"], &story["items"][0]["actor_type"]), (&json!("user.delete"), &json!("system")));
        // The name is free again.
        town.anon().post(SIGN_UPS, &form("ann", "ann2@example.org")).expect(202);
        assert!(town.mail_to("ann2@example.org").subject.starts_with("Confirm"));
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// One address cannot have the service hash and write without end, nor can one mailbox be flooded; sign-ins are counted apart.
    fn sign_ups_are_bounded(engine) {
        let town = Town::on(Site::with_mail(engine).with("links.asking_free", "6").with("links.mailbox_free", "3"));
        town.open_sign_up(false);
        let (root, anon) = (town.root(), town.anon());
        let answers: Vec<Answer> = (0..6).map(|n| anon.post(SIGN_UPS, &form(&format!("ann{n}"), ANN)).expect(202)).collect();
        let reasons: Vec<Value> = answers.iter().map(|a| outcome(&town, &root, a)["reason"].clone()).collect();
        assert_eq!(reasons, [Value::Null, Value::Null, Value::Null, json!("throttled"), json!("throttled"), json!("throttled")]);
        assert_eq!(town.mails_to(ANN).len(), 3);
        let blocked = anon.post(SIGN_UPS, &form("bob", "bob@example.org")).refused(429, "too_many_attempts");
        assert_eq!(blocked.headers["retry-after"], "1");
        anon.post("/api/v1/password-resets", &json!({"username": "root"})).refused(429, "too_many_attempts");
        anon.sign_in("root", PASSWORD);
        town.advance(Duration::from_secs(1));
        anon.post(SIGN_UPS, &form("bob", "bob@example.org")).expect(202);
        anon.post(SIGN_UPS, &form("carl", "carl@example.org")).refused(429, "too_many_attempts");
        town.advance(Duration::from_secs(3600));
        let answer = anon.post(SIGN_UPS, &form("dora", ANN)).expect(202);
        assert_eq!(outcome(&town, &town.root(), &answer)["reason"], Value::Null);
    }
}

/// Tokens that are almost this one.
pub fn mutations(token: &str) -> Vec<String> {
    let swapped: String = token.chars().rev().collect();
    let other = |at: usize| {
        let mut text = token.to_owned();
        let with = if &text[at..=at] == "A" { "B" } else { "A" };
        text.replace_range(at..=at, with);
        text
    };
    // One whose check sum is right, but which nobody was given.
    let foreign = usher::domain::secret::SignUpToken::mint(&usher::domain::chance::Entropy::system()).expose().to_owned();
    let unknown = usher::domain::secret::ResetToken::mint(&usher::domain::chance::Entropy::system()).expose().to_owned();
    vec![
        String::new(),
        token[..token.len() - 1].to_owned(),
        format!("{token}A"),
        format!(" {token}"),
        token.to_uppercase(),
        token.replacen("u", "v", 1),
        other(10),
        other(token.len() - 1),
        swapped,
        foreign,
        unknown,
        "%00".to_owned(),
        "\u{0}".to_owned(),
        "x".repeat(5000),
    ]
}

/// Where the engine does not matter: an engine for it.
#[test]
fn the_sign_up_form_is_described() {
    let town = Town::new(Engine::Sqlite);
    let document = town.anon().get("/openapi.json").expect(200).json;
    let schema = &document["paths"]["/api/v1/signups"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let members: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        members,
        ["username", "email", "display_name", "first_name", "middle_name", "last_name", "lang_id", "password", "current_app"]
    );
    assert_eq!(document["paths"]["/api/v1/signups"]["post"]["responses"]["202"]["description"], "Done.");
}
