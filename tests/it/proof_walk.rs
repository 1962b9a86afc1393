//! S49: walks of 200 calls, drawn at random, by somebody who holds a stale session, an API key or a linked account of a super-user, and
//! nothing else of the account. None ends with a recent proof, another super-user's session, fewer factors, a moved way of recovery, or a
//! new credential of any super-user.

use crate::both;
use crate::harness::{Answer, Client, Engine, PASSWORD, Site, Town};
use base64::Engine as _;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::time::Duration;

const EVIL: &str = "somebody else's long password 7";
/// Ann's password, which nobody else has.
const HERS: &str = "amber lantern harbour 52";
const LINKED: &str = "copper window paper 31";
const STEPS: usize = 200;

/// What the walk begins with.
#[derive(Clone, Copy, Debug)]
enum Hold {
    /// The token of a session whose proof is older than five minutes.
    Stale,
    /// The same, and the password, but not the second factor.
    StaleAndPassword,
    /// An API key of the scope `manage`.
    Key,
    /// A linked account's name and password.
    Linked,
}

/// By which header a call shows who makes it.
#[derive(Clone, Debug)]
enum Credential {
    Session(String),
    Key(String),
}

/// One call: which, on whom, with which value, and by which of the credentials so far.
type Step = (usize, usize, usize, usize);

struct Walk<'a> {
    town: &'a Town,
    /// Ann, whose credential it is, another super-user, the first one, and somebody who is none.
    people: Vec<(String, String)>,
    group: String,
    application: String,
    credentials: Vec<Credential>,
    passwords: Vec<&'static str>,
    hold: Hold,
    /// How many letters to the attacker were looked at.
    read: usize,
    /// Whether anything was ever answered: a walk on which all is refused says little.
    done: usize,
}

/// The attacker's mailbox.
const MAILBOX: &str = "evil@evil.example";

impl Walk<'_> {
    fn client(&self, which: usize) -> Client {
        let anon = self.town.anon();
        match self.credentials.get(which % (self.credentials.len() + 1)) {
            None => anon,
            Some(Credential::Session(token)) => anon.bearing(token),
            Some(Credential::Key(key)) => anon.with("authorization", &format!("Key {key}")),
        }
    }

    fn token(&self, which: usize) -> String {
        let sessions: Vec<&String> =
            self.credentials.iter().filter_map(|c| if let Credential::Session(token) = c { Some(token) } else { None }).collect();
        if sessions.is_empty() { String::new() } else { sessions[which % sessions.len()].clone() }
    }

    /// Keeps what an answer gives away.
    fn keep(&mut self, answer: &Answer) {
        let is_zato_refusal = answer.json["status"] == "error";
        if answer.status < 300 && !is_zato_refusal {
            self.done += 1;
        }
        let mut kept = Vec::new();
        if let Some(token) = answer.json["ust"].as_str().or(answer.headers.get("x-zato-sso-ust").map(String::as_str)) {
            kept.push(Credential::Session(token.to_owned()));
        }
        // Those of applications begin otherwise.
        if let Some(key) = answer.json["key"].as_str().filter(|_| answer.json.get("key_id").is_some()) {
            kept.push(Credential::Key(key.to_owned()));
        }
        for new in kept {
            if self.credentials.len() < 24 {
                self.credentials.push(new);
            }
        }
    }

    #[expect(clippy::too_many_lines, reason = "a table of calls")]
    fn step(&mut self, (call, whom, value, by): Step) {
        let client = self.client(by);
        let (name, id) = self.people[whom % self.people.len()].clone();
        let own_name = self.people[0].0.clone();
        let user = format!("/api/v1/users/{id}");
        let me = "/api/v1/users/me";
        let password = self.passwords[value % self.passwords.len()];
        let edits = [
            json!({"email": MAILBOX}),
            json!({"username": format!("{name}-{value}")}),
            json!({"login_name": format!("{name}.{value}")}),
            json!({"external_id": format!("moved-{value}")}),
            json!({"user_role": "administrator"}),
            json!({"user_role": "viewer"}),
            json!({"is_active": false}),
            json!({"valid_to": "2031-05-04T03:02:02Z"}),
            json!({"never_expire": true}),
            json!({"password_must_change": true}),
            json!({"password_expiry": null}),
            json!({"display_name": "Somebody", "remark": "seen"}),
        ];
        let edit = &edits[value % edits.len()];
        let zato = |members: Value| {
            let mut body = json!({"current_app": "CRM", "ust": self.token(by)});
            body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            body.to_string()
        };
        let zato_id = usher::domain::zato::spelt(id.parse().unwrap());
        let plain = self.town.anon().with("content-type", "");
        let name_of = |what: &str| format!("{what}-{value}-{}", self.credentials.len());
        let answer = match call {
            0 | 1 => client.patch(&user, edit),
            2 => client.patch(me, edit),
            3 => client.put(&format!("{user}/password"), &json!({"new_password": EVIL})),
            4 => client.put(&format!("{user}/password"), &json!({})),
            5 => client.delete(&format!("{user}/totp")),
            6 => client.call("POST", &format!("{user}/unlock"), None),
            7 => client.call("POST", &format!("{user}/approve"), None),
            8 => client.put(&format!("{user}/networks"), &json!({"networks": ["127.0.0.0/8"]})),
            9 => client.post("/api/v1/api-keys", &json!({"user_id": id, "name": name_of("key"), "scope": "manage"})),
            10 => client.post(&format!("{me}/api-keys"), &json!({"name": name_of("own"), "scope": "manage"})),
            11 => client.post(&format!("{me}/totp"), &json!({})),
            12 => client.call("DELETE", &format!("{me}/totp"), Some(json!({"code": "123456"}).to_string())),
            13 => client.post(&format!("{me}/recovery-codes"), &json!({"code": "123456"})),
            14 => client.put(&format!("{me}/password"), &json!({"old_password": password, "new_password": EVIL})),
            15 => client.post("/api/v1/sessions/current/confirm", &json!({"password": password})),
            16 => client.call("POST", "/api/v1/sessions/current/renew", None),
            17 => client.post("/api/v1/applications", &json!({"name": name_of("app"), "may_set_remote_addr": true})),
            18 => client.patch(&format!("/api/v1/applications/{}", self.application), &json!({"access": "everyone"})),
            19 => client.call("POST", &format!("/api/v1/applications/{}/key", self.application), None),
            20 => client.post("/api/v1/hooks", &json!({"name": name_of("hook"), "url": "https://hook.example/"})),
            21 => client.post(&format!("/api/v1/groups/{}/members", self.group), &json!({"user_id": id})),
            22 => client.delete(&format!("/api/v1/groups/{}/members/{id}", self.group)),
            23 => {
                let role = ["administrator", "viewer"][value % 2];
                client.post("/api/v1/users", &json!({"username": name_of("new"), "password": EVIL, "user_role": role}))
            }
            24 => {
                let row = json!({"external_id": format!("row-{name}"), "email": MAILBOX, "user_role": "administrator", "username": name});
                client.with("content-type", "application/x-ndjson").call("POST", "/api/v1/users/import", Some(row.to_string()))
            }
            25 => client.post("/api/v1/password-resets", &json!({"username": name})),
            26 => client.post("/api/v1/password-resets", &json!({"email": MAILBOX})),
            27 => client.try_sign_in(&name, password),
            28 => client.delete(&user),
            29 => plain.call("POST", "/zato/sso/user/login", Some(zato(json!({"username": name, "password": password})))),
            30 => plain.call("PATCH", "/zato/sso/user", Some(zato(json!({"user_id": zato_id, "email": MAILBOX})))),
            31 => plain.call("PATCH", "/zato/sso/user/password", Some(zato(json!({"user_id": zato_id, "new_password": EVIL})))),
            32 => plain.call(
                "PATCH",
                "/zato/sso/user/password",
                Some(zato(json!({"old_password": password, "new_password": EVIL}))),
            ),
            33 => plain.call(
                "PATCH",
                "/zato/sso/user/totp",
                Some(zato(json!({"totp_key": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", "totp_label": "mine"}))),
            ),
            34 => plain.call(
                "POST",
                "/zato/sso/user/linked",
                Some(zato(json!({"user_id": zato_id, "auth_type": "basic_auth", "auth_username": "spare", "is_active": true}))),
            ),
            35 => plain.call("DELETE", "/zato/sso/user/lock", Some(zato(json!({"user_id": zato_id})))),
            36 => plain.call(
                "POST",
                "/zato/sso/user",
                Some(zato(json!({"username": name_of("zato"), "password": EVIL, "auto_approve": true}))),
            ),
            37 => plain.call("PATCH", "/zato/sso/user/session", Some(zato(json!({})))),
            38 => {
                let basic = base64::engine::general_purpose::STANDARD.encode(format!("feed:{LINKED}"));
                let is_known = matches!(self.hold, Hold::Linked);
                let secret =
                    if is_known { basic } else { base64::engine::general_purpose::STANDARD.encode(format!("feed:{EVIL}")) };
                let linked = plain.with("authorization", &format!("Basic {secret}")).with("x-zato-sso-current-app", "CRM");
                linked.get("/zato/sso/user")
            }
            39 => {
                client.put(&format!("/__api__/v1/users/{id}"), &json!({"email": MAILBOX, "username": format!("{name}-{value}")}))
            }
            40 => client.post(&format!("/__api__/v1/users/{id}/lock"), &json!({"locked": false})),
            41 => client.put(&format!("/__api__/v1/users/{id}"), &json!({"user_role": "viewer"})),
            42 => {
                // Connect's clients make administrators by a key on purpose, which the others are told by letter. Nothing else does.
                let role = if matches!(self.hold, Hold::Key) { "publisher" } else { "administrator" };
                let name = name_of("posit");
                client
                    .post("/__api__/v1/users", &json!({"username": name, "email": MAILBOX, "password": EVIL, "user_role": role}))
            }
            43 => client.patch(&format!("/ecm/security/user/{}", id.to_uppercase()), &json!({"password": EVIL})),
            44 => client.patch(&format!("/ecm/security/user/{}", id.to_uppercase()), &json!({"email": MAILBOX, "locked": false})),
            45 => {
                client.put(&format!("/ecm/security/user_groups/{}/{}", id.to_uppercase(), self.group.to_uppercase()), &json!({}))
            }
            46 => client.delete(&format!("{me}/sessions")),
            47 => client.delete(&format!("{user}/sessions")),
            _ => client.try_sign_in(&own_name, password),
        };
        self.keep(&answer);
    }

    /// Follows every link that came to the attacker's mailbox.
    fn read_mail(&mut self) {
        let letters = self.town.mails_to(MAILBOX);
        for letter in letters.iter().skip(self.read) {
            let Some(token) = letter.text.split("#token=").nth(1) else { continue };
            let token: String = token.split_whitespace().next().unwrap_or_default().to_owned();
            let opened = self.town.anon().post("/api/v1/password-resets/open", &json!({"token": token}));
            if let Some(key) = opened.json["reset_key"].as_str() {
                let finish = json!({"token": token, "reset_key": key, "new_password": EVIL});
                self.town.anon().post("/api/v1/password-resets/finish", &finish);
            }
        }
        self.read = letters.len();
    }
}

const CALLS: usize = 50;

/// All that must stay: of every super-user of the beginning, and of what opens doors.
fn fingerprint(town: &Town, ids: &[String], knows_password: bool) -> Vec<String> {
    let is = |id: &String| match town.site.engine {
        Engine::Sqlite => format!("hex(user_id) = '{}'", id.replace('-', "").to_uppercase()),
        Engine::Postgres => format!("user_id = '{id}'"),
    };
    let mut lines = Vec::new();
    for (at, id) in ids.iter().enumerate() {
        let of = is(id);
        // Whoever knows the old password may set a new one; nothing else comes of it.
        let password = if at == 0 && knows_password { "''" } else { "password_hash" };
        lines.extend(town.lines(&format!(
            "SELECT username_key || ' ' || login_name_key || ' ' || COALESCE(external_id, '-') || ' ' || COALESCE(email, '-') || ' ' || {password} \
             || ' ' || user_role || ' ' || CAST(is_totp_enabled AS TEXT) || ' ' || CAST(is_active AS TEXT) || ' ' || networks || ' ' || \
             COALESCE(CAST(valid_to AS TEXT), '-') || CAST(never_expire AS TEXT) AS line FROM users WHERE {of}"
        )));
        for table in ["api_keys", "totp_credentials", "recovery_codes", "linked_accounts"] {
            lines.push(format!("{table} {}", town.count(&format!("SELECT count(*) AS count FROM {table} WHERE {of}"))));
        }
    }
    for table in ["applications", "hooks"] {
        lines.push(format!("{table} {}", town.count(&format!("SELECT count(*) AS count FROM {table}"))));
    }
    lines.push(format!("{}", town.count("SELECT count(*) AS count FROM users WHERE user_role = 'administrator'")));
    lines
}

/// Sessions of super-users that were proved since the walk began.
fn fresh_sessions(town: &Town) -> i64 {
    let since = town.now().micros() - 1_000_000;
    let time = match town.site.engine {
        Engine::Sqlite => "s.auth_time",
        Engine::Postgres => "CAST(extract(epoch FROM s.auth_time) * 1000000 AS BIGINT)",
    };
    town.count(&format!(
        "SELECT count(*) AS count FROM sessions s JOIN users u ON u.user_id = s.user_id WHERE u.user_role = 'administrator' AND \
         s.auth_methods <> 'linked' AND {time} > {since}"
    ))
}

fn walk(engine: Engine, hold: Hold, steps: Vec<Step>) -> Result<usize, TestCaseError> {
    let site = Site::with_mail(engine)
        .with("links.asking_free", "1000000")
        .with("lockout.account_free", "1000")
        .with("lockout.address_free", "1000000");
    let town = Town::on(site);
    let root = town.root();
    root.post("/api/v1/applications", &json!({"name": "CRM"})).expect(201);
    let application = root.post("/api/v1/applications", &json!({"name": "closed", "access": "listed"})).expect(201).json;
    let group = root.post("/api/v1/groups", &json!({"name": "desk"})).expect(201).json["group_id"].as_str().unwrap().to_owned();
    let mut people = Vec::new();
    for (name, role) in [("ann", "administrator"), ("bob", "administrator"), ("carl", "viewer")] {
        let body = json!({"username": name, "email": format!("{name}@example.org"), "password": if name == "ann" { HERS } else { PASSWORD }, "user_role": role});
        let made = root.post("/api/v1/users", &body).expect(201).json;
        people.push((name.to_owned(), made["user_id"].as_str().unwrap().to_owned()));
    }
    people.insert(2, ("root".to_owned(), town.root_id.clone()));
    let ann = town.anon().sign_in("ann", HERS);
    let key = ann.post("/api/v1/users/me/totp", &json!({})).expect(201).json["totp_key"].as_str().unwrap().to_owned();
    let confirmed = ann.post("/api/v1/users/me/totp/confirm", &json!({"code": town.code(&key)})).expect(200).json;
    let mut passwords = vec![EVIL];
    let credentials = match hold {
        Hold::Stale => vec![Credential::Session(ann.ust.clone().unwrap())],
        Hold::StaleAndPassword => {
            passwords.push(HERS);
            vec![Credential::Session(ann.ust.clone().unwrap())]
        }
        Hold::Key => {
            let body = json!({"name": "robot", "scope": "manage", "totp_code": confirmed["recovery_codes"][0]});
            let made = ann.post("/api/v1/users/me/api-keys", &body).expect(201).json;
            vec![Credential::Key(made["key"].as_str().unwrap().to_owned())]
        }
        Hold::Linked => Vec::new(),
    };
    crate::harness::process::usher(&town.site, &["linked", "create", "feed", "--user", "ann", "--password-stdin"], LINKED)
        .expect(0);
    crate::harness::process::usher(&town.site, &["linked", "create", "spare", "--password-stdin"], LINKED).expect(0);
    town.hear();
    town.advance(Duration::from_secs(301));
    let supers: Vec<String> = people.iter().take(3).map(|(_, id)| id.clone()).collect();
    let knows = matches!(hold, Hold::StaleAndPassword);
    let before = fingerprint(&town, &supers, knows);
    let application = application["application_id"].as_str().unwrap().to_owned();
    let mut walk = Walk { town: &town, people, group, application, credentials, passwords, hold, read: 0, done: 0 };
    for (number, step) in steps.into_iter().enumerate() {
        walk.step(step);
        if number % 5 == 4 {
            walk.read_mail();
        }
        if number % 20 == 19 {
            prop_assert_eq!(&fingerprint(&town, &supers, knows), &before, "after {} calls", number + 1);
            prop_assert_eq!(fresh_sessions(&town), 0, "after {} calls", number + 1);
        }
    }
    prop_assert_eq!(fingerprint(&town, &supers, knows), before);
    prop_assert_eq!(fresh_sessions(&town), 0);
    Ok(walk.done)
}

both! {
    fn no_walk_begins_stale_and_ends_fresh(engine) {
        let config = Config { cases: 2, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
        let steps = || prop::collection::vec((0..CALLS, 0..4_usize, 0..1000_usize, 0..1000_usize), STEPS);
        for hold in [Hold::Stale, Hold::StaleAndPassword, Hold::Key, Hold::Linked] {
            let mut runner = TestRunner::new(config.clone());
            let cell = std::cell::Cell::new(0);
            runner
                .run(&steps(), |steps| {
                    cell.set(cell.get() + walk(engine, hold, steps)?);
                    Ok(())
                })
                .unwrap_or_else(|error| panic!("{hold:?}: {error}"));
            // A walk on which everything is refused would prove nothing.
            assert!(cell.get() > 0, "{hold:?}: nothing was ever done");
        }
    }
}
