//! The life of an account in one piece, from the sign-up to the last trace; once with an administrator who works over HTTP, and once with
//! one at the command line. The person has a browser, a mailbox and an authenticator either way, and the audit trail tells the story.

use crate::both;
use crate::harness::mail::{BASE_URL, Mail};
use crate::harness::process::usher;
use crate::harness::{Answer, Client, Engine, PASSWORD, Site, Town, tools};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;
use usher::domain::time::{Clock, Utc};

const ANN: &str = "ann@example.org";
const ME: &str = "/api/v1/users/me";
const OTHER: &str = "violet harbour lantern 9";
const HOUR: Duration = Duration::from_secs(3600);

/// How the administrator works.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Desk {
    Http,
    CommandLine,
}

struct Stage {
    town: Town,
    desk: Desk,
}

fn real_time() -> Utc {
    Clock::system().now()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string")).to_owned()
}

impl Stage {
    fn new(engine: Engine, desk: Desk) -> Self {
        let site = Site::with_mail(engine);
        let town = match desk {
            Desk::Http => Town::on(site),
            // Commands have the machine's clock.
            Desk::CommandLine => Town::at(site, Arc::new(AtomicI64::new(real_time().micros()))),
        };
        Self { town, desk }
    }

    /// Nobody in particular, at a time that is not before what was done at the desk.
    fn anon(&self) -> Client {
        if self.desk == Desk::CommandLine {
            let behind = real_time().micros() - self.town.now().micros();
            self.town.advance(Duration::from_micros(u64::try_from(behind).unwrap_or(0)));
        }
        self.town.anon()
    }

    fn mail(&self) -> Mail {
        self.anon();
        self.town.mail_to(ANN)
    }

    fn command(&self, arguments: &[&str]) -> Value {
        let words: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        self.town.usher(&words).expect(0).json()
    }

    fn path(&self, of: &str) -> String {
        format!("/api/v1/users/{}{of}", self.look()["user_id"].as_str().unwrap())
    }

    /// Ann, as the administrator sees her.
    fn look(&self) -> Value {
        match self.desk {
            Desk::Http => self.town.root().get("/api/v1/users?username=ann").expect(200).json["items"][0].clone(),
            Desk::CommandLine => self.command(&["user", "show", "ann"]),
        }
    }

    fn open_sign_up(&self) {
        match self.desk {
            Desk::Http => {
                let root = self.town.root();
                let all = root.get("/api/v1/applications").expect(200).json;
                let default = all["items"].as_array().unwrap().iter().find(|a| a["name"] == "default").unwrap();
                let path = format!("/api/v1/applications/{}", default["application_id"].as_str().unwrap());
                root.patch(&path, &json!({"is_sign_up_open": true, "is_sign_up_approval_needed": true})).expect(200);
            }
            Desk::CommandLine => {
                self.command(&["app", "set", "default", "--sign-up-open", "--sign-up-approval"]);
            }
        }
    }

    fn approve(&self) {
        match self.desk {
            Desk::Http => drop(self.town.root().post(&self.path("/approve"), &json!({})).expect(200)),
            Desk::CommandLine => drop(self.command(&["user", "approve", "ann"])),
        }
    }

    fn lock(&self, reason: &str) {
        match self.desk {
            Desk::Http => drop(self.town.root().post(&self.path("/lock"), &json!({"reason": reason})).expect(200)),
            Desk::CommandLine => drop(self.command(&["user", "lock", "ann", "--reason", reason])),
        }
    }

    fn unlock(&self) {
        match self.desk {
            Desk::Http => drop(self.town.root().post(&self.path("/unlock"), &json!({})).expect(200)),
            Desk::CommandLine => drop(self.command(&["user", "unlock", "ann"])),
        }
    }

    /// The account's validity ends, and the time comes.
    fn let_validity_pass(&self) {
        match self.desk {
            Desk::Http => {
                let end = (self.town.now() + HOUR).to_string();
                self.town.root().patch(&self.path(""), &json!({"valid_to": end})).expect(200);
                self.town.advance(HOUR);
            }
            Desk::CommandLine => drop(self.command(&["user", "set", "ann", &format!("valid_to={}", real_time())])),
        }
    }

    fn delete(&self) {
        match self.desk {
            Desk::Http => drop(self.town.root().delete(&self.path("")).expect(204)),
            Desk::CommandLine => drop(self.command(&["user", "delete", "ann"])),
        }
    }

    /// What the trail tells of this id, oldest first.
    fn trail(&self, id: &str) -> Vec<Value> {
        let told = match self.desk {
            Desk::Http => self.town.root().get(&format!("/api/v1/audit-events?subject={id}&limit=500")).expect(200).json,
            Desk::CommandLine => self.command(&["audit", "show", "--subject", id]),
        };
        told["items"].as_array().unwrap().clone()
    }

    fn sign_in(&self, password: &str, code: Option<&str>) -> Answer {
        let anon = self.anon();
        match code {
            Some(code) => anon.try_sign_in_with("ann", password, code),
            None => anon.try_sign_in("ann", password),
        }
    }
}

fn story(engine: Engine, desk: Desk) {
    if !tools::are_there(&["oathtool", "rsvg-convert", "zbarimg"]) {
        return;
    }
    let stage = Stage::new(engine, desk);
    stage.open_sign_up();

    // She signs up, and is let in once her address is confirmed and she is approved.
    stage
        .anon()
        .post("/api/v1/signups", &json!({"username": "ann", "email": ANN, "password": PASSWORD, "first_name": "Ann"}))
        .expect(202);
    let mail = stage.mail();
    assert!(mail.link().starts_with(BASE_URL));
    stage.sign_in(PASSWORD, None).refused(401, "sign_up_unconfirmed");
    stage.anon().post("/api/v1/signups/confirm", &json!({"token": mail.token()})).expect(200);
    stage.sign_in(PASSWORD, None).refused(401, "approval_pending");
    stage.approve();
    assert_eq!(stage.mail().subject, "Your account at id.example.org is ready");
    let ann = stage.anon().bearing(&text(&stage.sign_in(PASSWORD, None).expect(201).json["ust"]));
    let id = text(&stage.look()["user_id"]);
    assert_eq!(ann.get(ME).expect(200).json["first_name"], "Ann");

    // Her second factor: the picture is read and the codes are computed by programs of others.
    let enrolment = ann.post("/api/v1/users/me/totp", &json!({})).expect(201).json;
    let uri = tools::read_picture(&text(&enrolment["qr_svg"]));
    let key = uri.split("secret=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let first = tools::oathtool(&key, stage.town.now());
    let codes = ann.post("/api/v1/users/me/totp/confirm", &json!({"code": first})).expect(200).json;
    stage.sign_in(PASSWORD, None).refused(401, "totp_required");
    stage.sign_in(PASSWORD, Some(&first)).refused(401, "totp_invalid");
    let next = tools::oathtool(&key, stage.town.now() + Duration::from_secs(30));
    stage.sign_in(PASSWORD, Some(&next)).expect(201);
    stage.sign_in(PASSWORD, Some(&next)).refused(401, "totp_invalid");
    let recovery = text(&codes["recovery_codes"][0]);
    stage.sign_in(PASSWORD, Some(&recovery)).expect(201);
    stage.sign_in(PASSWORD, Some(&recovery)).refused(401, "totp_invalid");

    // A reset ends every session and does not go round the second factor.
    stage.town.forget_mail();
    stage.anon().post("/api/v1/password-resets", &json!({"email": ANN})).expect(202);
    let opened = stage.anon().post("/api/v1/password-resets/open", &json!({"token": stage.mail().token()})).expect(200).json;
    assert_eq!(opened["is_totp_required"], true);
    let finish = |code: Option<&String>| {
        let body = json!({"reset_key": opened["reset_key"], "new_password": OTHER, "totp_code": code});
        stage.anon().post("/api/v1/password-resets/finish", &body)
    };
    finish(None).refused(401, "totp_required");
    finish(Some(&text(&codes["recovery_codes"][1]))).expect(204);
    ann.get(ME).refused(401, "session_invalid");

    // Locked: every session dies. Unlocked: she may sign in again.
    let recover = |number: usize| {
        let answer = stage.sign_in(OTHER, Some(&text(&codes["recovery_codes"][number]))).expect(201);
        stage.anon().bearing(&text(&answer.json["ust"]))
    };
    let (here, there) = (recover(2), recover(3));
    stage.lock("lost her telephone");
    assert_eq!(stage.look()["lock_reason"], "lost her telephone");
    for session in [&here, &there] {
        session.get(ME).refused(401, "session_invalid");
    }
    stage.sign_in(OTHER, Some(&text(&codes["recovery_codes"][4]))).refused(401, "account_locked");
    stage.unlock();
    let again = recover(4);
    again.get(ME).expect(200);
    here.get(ME).refused(401, "session_invalid");

    // Her time is over.
    stage.let_validity_pass();
    stage.anon();
    again.get(ME).refused(401, "session_invalid");
    stage.sign_in(OTHER, Some(&text(&codes["recovery_codes"][5]))).refused(401, "outside_validity");
    stage.delete();
    stage.sign_in(OTHER, None).refused(401, "credentials_invalid");

    // The trail has it in order, by her id, and holds.
    let looks = ["user.read", "user.list"].map(Value::from);
    let told = stage.trail(&id).into_iter().filter(|event| !looks.contains(&event["action"]));
    let story: Vec<String> = told
        .map(|event| match event["reason"].as_str() {
            None => text(&event["action"]),
            Some(reason) => format!("{} refused: {reason}", text(&event["action"])),
        })
        .collect();
    assert_eq!(story, STORY);
    usher(&stage.town.site, &["audit", "verify"], "").expect(0);

    // Nothing of the person is left, in no table, but the id.
    let left = everything(&stage.town);
    for trace in [ANN, "lost her telephone", "\"Ann\"", "ann\""] {
        assert!(!left.iter().any(|line| line.contains(trace)), "{trace} is left: {:?}", left.iter().find(|l| l.contains(trace)));
    }
    assert!(left.iter().any(|line| line.contains(&id)));
}

/// Every row of every table, as the database writes it.
fn everything(town: &Town) -> Vec<String> {
    let tables = town.lines(match town.site.engine {
        Engine::Sqlite => "SELECT name AS line FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        Engine::Postgres => "SELECT table_name::text AS line FROM information_schema.tables WHERE table_schema = 'public'",
    });
    let mut rows = Vec::new();
    for table in tables {
        let columns = town.columns(&table);
        let row = match town.site.engine {
            Engine::Sqlite => {
                let quoted: Vec<String> = columns.iter().map(|c| format!("quote({c})")).collect();
                quoted.join(" || ' ' || ")
            }
            Engine::Postgres => format!("({table}.*)::text"),
        };
        rows.extend(town.lines(&format!("SELECT {row} AS line FROM {table}")));
    }
    rows
}

/// What was done by or to her, a super-user's looks apart.
const STORY: &[&str] = &[
    "user.create",
    "session.sign_in refused: sign_up_unconfirmed",
    "user.confirm_sign_up",
    "session.sign_in refused: approval_pending",
    "user.approve",
    "session.sign_in",
    "user.read_current",
    "user.enrol_totp",
    "user.confirm_totp",
    "session.sign_in refused: totp_required",
    "session.sign_in refused: totp_used",
    "session.sign_in",
    "session.sign_in refused: totp_used",
    "session.sign_in",
    "session.sign_in refused: recovery_code_wrong",
    "password_reset.send",
    "password_reset.open",
    "password_reset.finish refused: totp_required",
    "password_reset.finish",
    "session.sign_in",
    "session.sign_in",
    "user.lock",
    "session.sign_in refused: account_locked",
    "user.unlock",
    "session.sign_in",
    "user.read_current",
    "user.update",
    "session.sign_in refused: outside_validity",
    "user.delete",
];

both! {
    fn a_life_administered_over_http(engine) {
        story(engine, Desk::Http);
    }

    fn a_life_administered_at_the_command_line(engine) {
        story(engine, Desk::CommandLine);
    }
}
