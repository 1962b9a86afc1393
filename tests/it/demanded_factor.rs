//! Second factors that are demanded, by the settings or by an application: of whom, by which way in, and how one is enrolled while signing in.

use crate::both;
use crate::canary::{Canaries, dump};
use crate::harness::process::{Process, usher};
use crate::harness::{Answer, Client, Engine, PASSWORD, ROOT, Site, Town, at_once, tools};
use crate::second_factor::{enrol, text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::Duration;

const ME: &str = "/api/v1/users/me";
const SESSIONS: &str = "/api/v1/sessions";
const CHECK: &str = "/ecm/security/check_user_account";
const OTHER: &str = "marble cloud engine 77";
const LINKED: &str = "velvet anchor sixteen birds";
const CODE: &str = "second_factor_enrolment_required";

fn everyone(engine: Engine) -> Site {
    Site::new(engine).with("sign_in.second_factor", "\"everyone\"")
}

fn sign_in(client: &Client, name: &str, password: &str, more: Value) -> Answer {
    let mut body = json!({"username": name, "password": password});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.post(SESSIONS, &body)
}

/// What is offered to whoever has the right password and no second factor.
#[track_caller]
fn offered(client: &Client, name: &str, password: &str) -> Value {
    client.try_sign_in(name, password).refused(401, CODE).json["enrolment"].clone()
}

fn acceptance(town: &Town, offer: &Value) -> Value {
    json!({"enrolment": {"ticket": offer["ticket"], "code": town.code(offer["totp_key"].as_str().unwrap())}})
}

/// Signs in, enrolling the second factor that is demanded; its key.
#[track_caller]
fn enter(town: &Town, client: &Client, name: &str) -> (Client, String) {
    let offer = offered(client, name, PASSWORD);
    let entered = sign_in(client, name, PASSWORD, acceptance(town, &offer)).expect(201);
    (client.bearing(entered.json["ust"].as_str().unwrap()), text(&offer["totp_key"]))
}

/// A user made at the command line: where everyone needs a factor, so does the super-user.
fn make(town: &Town, name: &str) {
    usher(&town.site, &["user", "create", name, "--password-stdin"], PASSWORD).expect(0);
    town.hear();
}

/// The events of a call, as a super-user's key sees them.
fn event(root: &Client, answer: &Answer) -> Value {
    root.get(&format!("/api/v1/audit-events?cid={}", answer.cid())).expect(200).json["items"][0].clone()
}

fn credentials(town: &Town) -> i64 {
    town.count("SELECT count(*) AS count FROM totp_credentials")
}

both! {
    /// S6, S11, S12: the right password is offered a factor, of which nothing is stored before a code of it comes back; then there is a session.
    fn enrolling_while_signing_in(engine) {
        let town = Town::on(everyone(engine));
        let (root, _) = enter(&town, &town.anon(), ROOT);
        make(&town, "ann");
        let kept = credentials(&town);
        let refused = town.anon().try_sign_in("ann", PASSWORD).refused(401, CODE);
        assert_eq!(refused.headers["cache-control"], "no-store");
        assert_eq!(refused.headers["content-type"], "application/problem+json");
        let offer = refused.json["enrolment"].clone();
        let members: Vec<&String> = offer.as_object().unwrap().keys().collect();
        assert_eq!(members, ["ticket", "totp_key", "otpauth_uri", "qr_svg", "expires_time"]);
        let key = text(&offer["totp_key"]);
        assert!(key.len() == 32 && key.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b)), "{key}");
        assert_eq!(offer["otpauth_uri"], format!("otpauth://totp/usher:ann?secret={key}&issuer=usher"));
        assert_eq!(offer["expires_time"], (town.now() + Duration::from_secs(600)).to_string());
        assert!(offer["qr_svg"].as_str().unwrap().contains("<svg"));
        let told = event(&root, &refused);
        assert_eq!((&told["action"], &told["outcome"], &told["reason"]), (&json!("session.sign_in"), &json!("refused"), &json!(CODE)));
        assert_eq!(credentials(&town), kept);

        // A wrong code is a guess, the right password by itself is none (S8, S9).
        let failures = || town.count("SELECT failed_login_count AS count FROM users WHERE username_key = 'ann'");
        assert_eq!(failures(), 0);
        let answer = |code: &str| sign_in(&town.anon(), "ann", PASSWORD, json!({"enrolment": {"ticket": offer["ticket"], "code": code}}));
        let right = town.code(&key);
        for wrong in [format!("{:06}", (right.parse::<u32>().unwrap() + 1) % 1_000_000), String::new(), "nonsense".to_owned()] {
            assert!(answer(&wrong).refused(401, "totp_invalid").json.get("enrolment").is_none());
        }
        assert_eq!((failures(), credentials(&town)), (3, kept));
        let entered = answer(&right).expect(201);
        assert_eq!(entered.keys(), ["ust", "session", "user", "recovery_codes"]);
        assert_eq!(entered.json["user"]["is_totp_enabled"], true);
        let codes = entered.json["recovery_codes"].as_array().unwrap().clone();
        assert_eq!((codes.len(), failures(), credentials(&town)), (10, 0, kept + 1));
        let told = event(&root, &entered);
        assert_eq!((&told["action"], &told["outcome"]), (&json!("session.sign_in"), &json!("success")));
        assert_eq!(told["changes"]["is_totp_enabled"], json!({"before": false, "after": true}));
        assert_eq!(told["changes"]["recovery_codes"], json!({"before": 0, "after": 10}));
        let ann = town.anon().bearing(entered.json["ust"].as_str().unwrap());
        assert!(ann.get(ME).expect(200).json.get("totp_key").is_none());

        // From now on it is asked for; the code that enrolled it is used up (S12), and so is the ticket.
        town.anon().try_sign_in("ann", PASSWORD).refused(401, "totp_required");
        town.anon().try_sign_in_with("ann", PASSWORD, &right).refused(401, "totp_invalid");
        answer(&right).refused(401, "totp_required");
        town.anon().try_sign_in_with("ann", PASSWORD, codes[0].as_str().unwrap()).expect(201);
        town.advance(Duration::from_secs(30));
        town.anon().try_sign_in_with("ann", PASSWORD, &town.code(&key)).expect(201);
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// R16: a ticket is of one user and one password, is over after ten minutes, and once a factor is there; a bad one is answered a new one.
    fn tickets(engine) {
        let town = Town::on(everyone(engine));
        let (root, _) = enter(&town, &town.anon(), ROOT);
        make(&town, "ann");
        make(&town, "bob");
        let (of_ann, of_bob) = (offered(&town.anon(), "ann", PASSWORD), offered(&town.anon(), "bob", PASSWORD));
        assert_ne!(of_ann["totp_key"], offered(&town.anon(), "ann", PASSWORD)["totp_key"]);
        let with = |name: &str, password: &str, offer: &Value| sign_in(&town.anon(), name, password, acceptance(&town, offer));
        let is_anew = |answer: Answer, offer: &Value, reason: &str| {
            let answer = answer.refused(401, CODE);
            assert_ne!(answer.json["enrolment"]["ticket"], offer["ticket"]);
            assert_eq!(event(&root, &answer)["reason"], reason);
        };
        is_anew(with("ann", PASSWORD, &of_bob), &of_bob, "enrolment_unknown");
        let mut mistyped = of_ann.clone();
        let ticket = text(&of_ann["ticket"]);
        for broken in [String::new(), "nonsense".to_owned(), ticket[1..].to_owned(), format!("{ticket}A"), "A".repeat(4000)] {
            mistyped["ticket"] = broken.into();
            is_anew(with("ann", PASSWORD, &mistyped), &mistyped, "enrolment_unknown");
        }
        // Without the password a ticket is nothing, and says nothing.
        let without = town.anon().try_sign_in("ann", "a wrong password, but long").refused(401, "credentials_invalid");
        let with_ticket = with("ann", "a wrong password, but long", &of_ann).refused(401, "credentials_invalid");
        let blank = |answer: &Answer| answer.text.replace(answer.cid(), "");
        assert_eq!(blank(&without), blank(&with_ticket));
        // Another password.
        usher(&town.site, &["user", "set-password", "ann", "--password-stdin"], OTHER).expect(0);
        is_anew(with("ann", OTHER, &of_ann), &of_ann, "enrolment_unknown");
        with("ann", PASSWORD, &of_ann).refused(401, "credentials_invalid");
        // Time.
        town.advance(Duration::from_secs(599));
        let late = offered(&town.anon(), "bob", PASSWORD);
        town.advance(Duration::from_secs(1));
        let root = root.bearing(root.ust.as_deref().unwrap());
        let expired = with("bob", PASSWORD, &of_bob).refused(401, CODE);
        assert_eq!(event(&root, &expired)["reason"], "enrolment_expired");
        with("bob", PASSWORD, &late).expect(201);
        with("bob", PASSWORD, &late).refused(401, "totp_required");
        // Where none is demanded, or there is one, none is enrolled here.
        let body = json!({"totp_code": "123456", "enrolment": {"ticket": "x", "code": "123456"}});
        sign_in(&town.anon(), "bob", PASSWORD, body).refused(401, "totp_invalid");
        sign_in(&town.anon(), "bob", PASSWORD, json!({"enrolment": {"ticket": "x"}})).refused(400, "bad_type");
        let town = town.restart_with("sign_in.second_factor", "\"optional\"");
        make(&town, "carl");
        let body = json!({"enrolment": {"ticket": "x", "code": "123456"}});
        let refused = sign_in(&town.anon(), "carl", PASSWORD, body).refused(422, "invalid");
        assert_eq!(refused.json["errors"][0]["pointer"], "/enrolment");
        town.anon().sign_in("carl", PASSWORD);
    }

    /// S30: what an offer tells, it tells in its member of that one answer: the key, the ticket and the recovery codes are in no dialect's
    /// answer, no log line even where everything is logged, no event, and not in the database.
    fn an_offer_comes_out_nowhere_else(engine) {
        let site = everyone(engine).with("log.filter", "\"trace\"");
        usher(&site, &["user", "create", "ann", "--password-stdin"], PASSWORD).expect(0);
        let service = Process::serve(&site);
        let mut canaries = Canaries::default();
        let mut offers = Vec::new();
        for name in ["ann", "ANN"] {
            let refused = service.anon().try_sign_in(name, PASSWORD).refused(401, CODE);
            let offer = refused.json["enrolment"].clone();
            canaries.add("a key of one-time codes", offer["totp_key"].as_str().unwrap());
            canaries.add("a ticket", offer["ticket"].as_str().unwrap());
            let mut rest = refused.json.clone();
            rest.as_object_mut().unwrap().remove("enrolment");
            canaries.are_not_in("the rest of the refusal", rest.to_string().as_bytes());
            canaries.are_not_in("its headers", format!("{:?}", refused.headers).as_bytes());
            offers.push(offer);
        }
        let [offer, _] = offers.as_slice() else { panic!("{offers:?}") };
        // In wrong places, with wrong passwords, in dialects.
        let ticket = &offer["ticket"];
        for body in [
            json!({"username": ticket, "password": ticket}),
            json!({"username": "ann", "password": ticket, "enrolment": {"ticket": ticket, "code": ticket}}),
            json!({"username": "ann", "password": PASSWORD, "enrolment": {"ticket": ticket, "code": offer["totp_key"]}}),
            json!({"username": "ann", "password": PASSWORD, "enrolment": {"ticket": [ticket], "code": ticket}}),
            json!({"username": "ann", "password": PASSWORD, "totp_code": ticket, "new_password": ticket, "current_app": "default"}),
        ] {
            for path in [SESSIONS, "/zato/sso/user/login", CHECK, "/api/v1/password-resets/open", "/__api__/v1/users"] {
                let mut answer = service.anon().post(path, &body).json;
                // A new offer is another one.
                answer.as_object_mut().map(|members| members.remove("enrolment"));
                canaries.are_not_in(path, answer.to_string().as_bytes());
            }
        }
        // The service has the clock of this machine: the code may change while it is sent.
        let now = || usher::domain::time::Clock::system().now();
        let key = offer["totp_key"].as_str().unwrap();
        let take = |steps: u64| {
            let code = tools::code(key, now() + Duration::from_secs(30 * steps));
            sign_in(&service.anon(), "ann", PASSWORD, json!({"enrolment": {"ticket": ticket, "code": code}}))
        };
        let entered = (0..2).map(take).find(|answer| answer.status == 201).unwrap();
        for code in entered.json["recovery_codes"].as_array().unwrap() {
            canaries.add("a recovery code", code.as_str().unwrap());
        }
        let ann = service.anon().bearing(entered.json["ust"].as_str().unwrap());
        for path in [ME, "/api/v1/users/me/data", "/api/v1/sessions/current"] {
            canaries.are_not_in(path, ann.get(path).expect(200).text.as_bytes());
        }
        canaries.are_not_in("the exported trail", usher(&site, &["audit", "export"], "").expect(0).out.as_bytes());
        canaries.are_not_in("the database", &dump(&site));
        let log = service.terminate().log;
        assert!(log.contains("\"TRACE\"") && log.contains("usher::request"), "nothing was logged");
        canaries.are_not_in("the log", log.as_bytes());
    }

    /// The rule of an application: read, changed by a super-user and at the command line, with its change in the trail.
    fn an_applications_rule(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let made = root.post("/api/v1/applications", &json!({"name": "desk"})).expect(201).json;
        assert_eq!(made["second_factor"], "as_set");
        let path = format!("/api/v1/applications/{}", text(&made["application_id"]));
        let changed = root.patch(&path, &json!({"second_factor": "required"})).expect(200);
        assert_eq!((&changed.json["second_factor"], &root.get(&path).json["second_factor"]), (&json!("required"), &json!("required")));
        assert_eq!(event(&root, &changed)["changes"], json!({"second_factor": {"before": "as_set", "after": "required"}}));
        for (body, status, code) in [(json!({"second_factor": null}), 400, "bad_type"), (json!({"second_factor": true}), 400, "bad_type"), (json!({"second_factor": "never"}), 422, "invalid")] {
            root.patch(&path, &body).refused(status, code);
        }
        let set = |rule: &str| town.usher(&["app", "set", "desk", "--second-factor", rule, "--json"]);
        assert_eq!(set("as_set").expect(0).json()["second_factor"], "as_set");
        assert_eq!(set("never").expect(2).out, "");
        let made = town.usher(&["app", "create", "vault", "--second-factor", "required", "--json"]).expect(0);
        assert!(made.out.contains("key_") || made.out.contains("uak_"));
        assert!(town.usher(&["app", "show", "vault"]).expect(0).out.contains("required"));
        town.anon().with("x-current-app", "vault").try_sign_in(ROOT, PASSWORD).refused(401, CODE);
        town.anon().with("x-current-app", "desk").sign_in(ROOT, PASSWORD);
        // A rule that only a later build knows is the strict one.
        town.sql("UPDATE applications SET second_factor = 'hardware' WHERE name_key = 'desk'");
        town.anon().with("x-current-app", "desk").try_sign_in(ROOT, PASSWORD).refused(401, CODE);
        assert_eq!(root.get(&path).json["second_factor"], "hardware");
    }

    /// S12: of twenty sign-ins with one ticket, on two nodes, one is let in, and its factor is the one that stays.
    fn one_ticket_opens_one_session(engine) {
        let patient = everyone(engine).with("lockout.account_free", "1000").with("lockout.lock_after", "1000");
        let town = Town::on(patient);
        let other = town.another_node();
        make(&town, "ann");
        let offer = offered(&town.anon(), "ann", PASSWORD);
        let answers = at_once(20, |number| {
            let node = if number % 2 == 0 { &town } else { &other };
            let answer = sign_in(&node.anon(), "ann", PASSWORD, acceptance(&town, &offer));
            (answer.status, text(if answer.status == 201 { &answer.json["ust"] } else { &answer.json["code"] }))
        });
        let won: Vec<&String> = answers.iter().filter(|(status, _)| *status == 201).map(|(_, ust)| ust).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        let told = |(status, code): &(u16, String)| *status == 201 || *status == 503 || (*status, code.as_str()) == (401, "totp_required");
        assert!(answers.iter().all(told), "{answers:?}");
        assert_eq!(credentials(&town), 1);
        town.anon().bearing(won[0]).get(ME).expect(200);
        town.advance(Duration::from_secs(30));
        town.anon().try_sign_in_with("ann", PASSWORD, &town.code(offer["totp_key"].as_str().unwrap())).expect(201);
    }

    /// A password that must be changed or has expired is changed in the same call, and may be one for an account with two factors.
    fn a_new_password_in_the_same_call(engine) {
        let town = Town::on(everyone(engine));
        for (name, demand, change) in [("ann", "password_must_change", "UPDATE users SET password_must_change = TRUE"), ("bob", "password_expired", "UPDATE users SET password_expiry = created_time")] {
            make(&town, name);
            town.sql(&format!("{change} WHERE username_key = '{name}'"));
            let offer = offered(&town.anon(), name, PASSWORD);
            let with = |new: Value| {
                let mut more = acceptance(&town, &offer);
                more["new_password"] = new;
                sign_in(&town.anon(), name, PASSWORD, more)
            };
            with(Value::Null).refused(401, demand);
            with(PASSWORD.into()).refused(422, "password_unfit");
            with("short".into()).refused(422, "password_unfit");
            assert_eq!(town.count(&format!("SELECT count(*) AS count FROM users WHERE username_key = '{name}' AND is_totp_enabled")), 0);
            let entered = with("kq7 wz2v".into()).expect(201);
            assert_eq!(entered.json["recovery_codes"].as_array().unwrap().len(), 10);
            town.anon().try_sign_in(name, "kq7 wz2v").refused(401, "totp_required");
        }
    }

    /// S6: a password that was reset by link opens nothing by itself either, and a super-user who takes the factor away does not take the demand away.
    fn nothing_skips_the_demand(engine) {
        // The command line has the system's clock.
        let town = Town::of_today(everyone(engine).with("links.base_url", "\"https://id.example\""));
        make(&town, "ann");
        let printed = town.usher(&["user", "set-password", "ann", "--link", "--print"]).expect(0).out;
        let token = printed.trim().split_once("#token=").unwrap().1.to_owned();
        let key = town.anon().post("/api/v1/password-resets/open", &json!({"token": token})).expect(200).json["reset_key"].clone();
        let body = json!({"reset_key": key, "new_password": OTHER});
        town.anon().post("/api/v1/password-resets/finish", &body).expect(204);
        let offer = offered(&town.anon(), "ann", OTHER);
        sign_in(&town.anon(), "ann", OTHER, acceptance(&town, &offer)).expect(201);
        town.usher(&["user", "reset-totp", "ann"]).expect(0);
        offered(&town.anon(), "ann", OTHER);
    }
}

both! {
    /// S6, S49: a session knows by what it was proved, and each use is judged by what is demanded then: by the role, by the application that it
    /// comes through and by the one that it was opened through. Where nothing is demanded any more it is good again.
    fn each_use_is_judged(engine) {
        let town = Town::on(Site::new(engine).with("sign_in.second_factor", "\"administrators\"").with("tokens.issuer", "\"https://sso.example\""));
        let (root, root_key) = enter(&town, &town.anon(), ROOT);
        let made = usher(&town.site, &["user", "create", "ann", "--password-stdin", "--json"], PASSWORD).expect(0).json();
        let ann_id = text(&made["user_id"]);
        town.hear();
        let made = root.post("/api/v1/applications", &json!({"name": "desk"})).expect(201).json;
        let desk = format!("/api/v1/applications/{}", text(&made["application_id"]));
        let rule = |rule: &str| root.patch(&desk, &json!({"second_factor": rule})).expect(200);
        let (here, there) = (town.anon().sign_in("ann", PASSWORD), town.anon().with("x-current-app", "desk").sign_in("ann", PASSWORD));
        let is_missing = |client: &Client| {
            let refused = client.get(ME).refused(401, "session_invalid");
            let told = event(&root, &refused);
            assert_eq!((&told["outcome"], &told["reason"], &told["actor"]), (&json!("refused"), &json!("second_factor_missing"), &json!(ann_id)));
        };
        let ways = || [here.clone(), there.clone(), here.with("x-current-app", "desk")];
        ways().iter().for_each(|client| drop(client.get(ME).expect(200)));
        // The application: whichever way it is come by.
        rule("required");
        is_missing(&there);
        is_missing(&here.with("x-current-app", "desk"));
        let opened_there = town.anon().bearing(there.ust.as_deref().unwrap());
        is_missing(&opened_there);
        here.get(ME).expect(200);
        let refused = here.post("/api/v1/sessions/current/tokens", &json!({"audience": "desk"})).refused(422, "invalid");
        assert_eq!(event(&root, &refused)["reason"], "second_factor_missing");
        rule("as_set");
        ways().iter().for_each(|client| drop(client.get(ME).expect(200)));
        here.post("/api/v1/sessions/current/tokens", &json!({"audience": "desk"})).expect(201);
        // What acts only is asked as well, and nothing is enrolled or changed through what may not act.
        rule("required");
        let shut = here.with("x-current-app", "desk");
        shut.post("/api/v1/users/me/totp", &json!({})).refused(401, "session_invalid");
        shut.put("/api/v1/users/me/password", &json!({"old_password": PASSWORD, "new_password": OTHER})).refused(401, "session_invalid");
        // The role: whoever is made a super-user begins anew, with a factor.
        let role = |role: &str| root.patch(&format!("/api/v1/users/{ann_id}"), &json!({"user_role": role})).expect(200);
        role("administrator");
        ways().iter().for_each(is_missing_from);
        offered(&town.anon(), "ann", PASSWORD);
        role("viewer");
        let here = town.anon().sign_in("ann", PASSWORD);
        // A session that has shown a code is as good as one that was opened with it, also under its next token.
        let ann = enrol(&town, here.clone());
        ann.client.with("x-current-app", "desk").get(ME).expect(200);
        let by_code = town.anon().try_sign_in_with("ann", PASSWORD, &town.code(&ann.key)).expect(201);
        let by_recovery = town.anon().try_sign_in_with("ann", PASSWORD, &ann.codes[0]).expect(201);
        for opened in [&by_code, &by_recovery] {
            town.anon().with("x-current-app", "desk").bearing(opened.json["ust"].as_str().unwrap()).get(ME).expect(200);
        }
        let stored = town.lines("SELECT auth_methods AS line FROM sessions ORDER BY session_id");
        assert!(stored.iter().any(|methods| methods == "pwd,rec") && stored.iter().filter(|methods| *methods == "pwd,otp").count() >= 3, "{stored:?}");
        // A session that the database gives no factor has none.
        town.sql_with_key("UPDATE sessions SET auth_methods = 'pwd' WHERE auth_methods = 'pwd,otp'");
        is_missing_from(&ann.client.with("x-current-app", "desk"));
        // Nobody's own call shuts them out: whoever has no factor makes no application demand one that they come through.
        let town = town.restart_with("sign_in.second_factor", "\"optional\"");
        town.advance(Duration::from_secs(30));
        let root = town.anon().try_sign_in_with(ROOT, PASSWORD, &town.code(&root_key)).expect(201);
        let root = town.anon().bearing(root.json["ust"].as_str().unwrap());
        let default = root.get("/api/v1/applications").expect(200).json["items"].as_array().unwrap().iter().find(|a| a["name"] == "default").unwrap()["application_id"].clone();
        let default = format!("/api/v1/applications/{}", text(&default));
        usher(&town.site, &["user", "create", "chief", "--super-user", "--password-stdin"], PASSWORD).expect(0);
        town.hear();
        let chief = town.anon().sign_in("chief", PASSWORD);
        chief.patch(&default, &json!({"second_factor": "required"})).refused(409, "self_shut_out");
        root.patch(&default, &json!({"second_factor": "required"})).expect(200);
        is_missing_from(&chief);
    }
}

#[track_caller]
fn is_missing_from(client: &Client) {
    client.get(ME).refused(401, "session_invalid");
}

/// Someone of a role, with a second factor or without, and with what else stands for it.
struct Person {
    name: String,
    is_administrator: bool,
    has_factor: bool,
    key: String,
    session: Client,
}

/// What a right password alone is answered.
fn expected_at_sign_in(person: &Person, is_demanded: bool) -> (u16, &'static str) {
    match (person.has_factor, is_demanded) {
        (true, _) => (401, "totp_required"),
        (false, true) => (401, CODE),
        (false, false) => (201, ""),
    }
}

both! {
    /// S6, S49: every cell of setting, role, application and factor, by every way in that takes a credential: the native sign-in, Zato's,
    /// the ECM's check, a linked account, an API key in each dialect.
    fn every_way_in(engine) {
        // The command line has the system's clock.
        let mut town = Town::of_today(Site::new(engine).with("lockout.account_free", "1000"));
        let (root, mut people) = (town.root(), Vec::new());
        let apps = [("plain", json!({})), ("desk", json!({"second_factor": "required"}))].map(|(name, rule)| {
            let mut body = json!({"name": name});
            body.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
            let made = root.post("/api/v1/applications", &body).expect(201).json;
            assert_eq!(made["second_factor"], rule.get("second_factor").cloned().unwrap_or(json!("as_set")));
            (name, text(&made["key"]))
        });
        for (role, has_factor) in [("viewer", false), ("viewer", true), ("administrator", false), ("administrator", true)] {
            let name = format!("{role}-{}", u8::from(has_factor));
            usher(&town.site, &["user", "create", &name, "--role", role, "--password-stdin"], PASSWORD).expect(0);
            usher(&town.site, &["linked", "create", &format!("feed-{name}"), "--user", &name, "--password-stdin"], LINKED).expect(0);
            let key = town.usher(&["key", "create", "robot", "--user", &name, "--json"]).expect(0).json();
            let session = town.anon().sign_in(&name, PASSWORD);
            let session = if has_factor { enrol(&town, session).client } else { session };
            people.push(Person { name, is_administrator: role == "administrator", has_factor, key: text(&key["key"]), session });
        }
        for setting in ["optional", "administrators", "everyone"] {
            town = town.restart_with("sign_in.second_factor", &format!("{setting:?}"));
            for (person, (app, app_key)) in people.iter().flat_map(|person| apps.iter().map(move |app| (person, app))) {
                let by_setting = setting == "everyone" || (setting == "administrators" && person.is_administrator);
                let is_demanded = by_setting || *app == "desk";
                let cell = format!("{setting}, {}, {app}", person.name);
                let (status, code) = expected_at_sign_in(person, is_demanded);
                let through = town.anon().with("x-current-app", app);
                let native = through.try_sign_in(&person.name, PASSWORD);
                assert_eq!((native.status, native.json["code"].as_str().unwrap_or_default()), (status, code), "{cell}");
                assert_eq!(native.json.get("enrolment").is_some(), code == CODE, "{cell}");

                let body = json!({"username": person.name, "password": PASSWORD, "current_app": app});
                let zato = town.stranger().bare("POST", "user/login", &body);
                let expected = if status == 201 { json!([]) } else { json!(["E005008"]) };
                assert_eq!(zato.json["sub_status"], expected, "{cell}: {}", zato.text);
                assert!(zato.json.get("enrolment").is_none() && zato.json.get("ust").is_some() == (status == 201), "{cell}");

                let asker = through.with("x-application-key", app_key);
                let checked = asker.post(CHECK, &json!({"username": person.name, "password": PASSWORD})).expect(200).json;
                let expected = match (code, person.has_factor) {
                    (CODE, _) => (json!(5), Value::Null, json!("second_factor_missing")),
                    (_, has_factor) => (json!(0), json!(if has_factor { "password_totp" } else { "password" }), Value::Null),
                };
                assert_eq!((checked["status"].clone(), checked["login_method"].clone(), checked["reason"].clone()), expected, "{cell}");
                let wrong = asker.post(CHECK, &json!({"username": person.name, "password": OTHER})).expect(200).json;
                assert_eq!((&wrong["status"], &wrong["reason"]), (&json!(4), &Value::Null), "{cell}");

                let basic = STANDARD.encode(format!("feed-{}:{LINKED}", person.name));
                let linked = town.anon().with("authorization", &format!("Basic {basic}")).with("x-zato-sso-current-app", app);
                let answer = linked.get("/zato/sso/user");
                assert_eq!((answer.status, answer.headers.contains_key("x-zato-sso-ust")), if is_demanded { (403, false) } else { (200, true) }, "{cell}");
                if is_demanded {
                    assert_eq!(answer.json["sub_status"], json!(["E005001"]), "{cell}");
                }

                // A session that was opened before anything was demanded.
                let is_good = !is_demanded || person.has_factor;
                let ust = person.session.ust.as_deref().unwrap();
                let bearer = through.bearing(ust);
                for path in [ME, "/api/v1/sessions/current", "/__api__/v1/user", "/ecm/security/roles"] {
                    let answer = bearer.get(path);
                    assert_eq!(answer.status, if is_good { 200 } else { 401 }, "{cell}, {path}: {}", answer.text);
                }
                let body = json!({"current_app": app, "ust": ust});
                let answer = town.stranger().bare("GET", "user", &body);
                assert_eq!(answer.json["sub_status"], if is_good { json!([]) } else { json!(["E007001"]) }, "{cell}: {}", answer.text);
                let introspected = asker.post("/api/v1/sessions/introspect", &json!({"ust": ust})).expect(200);
                assert_eq!(introspected.json["active"], is_good, "{cell}");

                let robot = through.with("authorization", &format!("Key {}", person.key));
                for path in [ME, "/__api__/v1/user", "/ecm/security/roles"] {
                    robot.get(path).expect(200);
                }
            }
        }
    }
}
