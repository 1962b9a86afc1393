//! Mail: how messages look, that they get to a real server or wait for it, and settings that stop the start.

use crate::both;
use crate::harness::mail::Server;
use crate::harness::process::{program, refused_start};
use crate::harness::tools::interpreter;
use crate::harness::{PASSWORD, Site, Town};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ANN: &str = "ann@example.org";
const RESETS: &str = "/api/v1/password-resets";

/// A certificate of its own authority for `localhost`, made anew: its file and its key's.
fn certificate(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}

/// A site whose mail goes to a server on this machine.
fn posting(site: Site, server: &Server) -> Site {
    site.with("mail.transport", "\"smtp\"")
        .with("mail.host", "\"localhost\"")
        .with("mail.port", &server.port.to_string())
        .with("mail.tls", "\"none\"")
        .with("mail.timeout_seconds", "2")
        .with("mail.from", "\"Accounts <accounts@example.org>\"")
        .with("links.base_url", "\"https://id.example.org\"")
        .with("links.asking_free", "1000")
        .with("links.mailbox_free", "1000")
}

fn ann(town: &Town) -> String {
    let body = json!({"username": "ann", "email": ANN, "password": PASSWORD});
    town.root().post("/api/v1/users", &body).expect(201).json["user_id"].as_str().unwrap().to_owned()
}

fn ask(town: &Town) {
    town.anon().post(RESETS, &json!({"username": "ann"})).expect(202);
}

/// Waits until a query of the database counts this.
#[track_caller]
fn until(town: &Town, query: &str, count: i64) {
    let began = Instant::now();
    while town.count(query) != count {
        assert!(began.elapsed() < Duration::from_secs(30), "{query} stays {}", town.count(query));
        std::thread::yield_now();
    }
}

const WAITING: &str = "SELECT count(*) AS count FROM outbox";

/// Waits until the message has been tried so often, and is to be tried again.
#[track_caller]
fn until_tried(town: &Town, times: i64) {
    // While it is under way it is leased for a minute.
    let lease = town.in_a_minute();
    until(
        town,
        &format!("SELECT count(*) AS count FROM outbox WHERE attempts = {times} AND next_time < {lease} AND kind = 'mail'"),
        1,
    );
}

both! {
    /// What a message is made of: two alternatives, in the reader's language, of which the folder keeps a file that is its owner's alone.
    fn a_message(engine) {
        let town = Town::with_mail(engine);
        town.root().post("/api/v1/users", &json!({"username": "Jörg & <Söhne>", "email": ANN, "password": PASSWORD, "lang_id": 2})).expect(201);
        town.anon().post(RESETS, &json!({"email": ANN})).expect(202);
        let mail = town.mails_to(ANN).remove(0);
        for header in ["From: Accounts <accounts@example.org>", "Auto-Submitted: auto-generated", "Content-Language: de", "MIME-Version: 1.0", "Content-Type: multipart/alternative", "@example.org>"] {
            assert!(mail.raw.contains(header), "{header}: {}", mail.raw);
        }
        assert!(mail.raw.lines().any(|l| l.starts_with("Message-ID: <") ) && mail.raw.contains("Date: Sun, 04 May 2031"), "{}", mail.raw);
        assert_eq!(mail.subject, "Setzen Sie ein neues Passwort bei id.example.org");
        assert!(mail.text.contains("Guten Tag Jörg & <Söhne>,") && mail.text.contains("04.05.2031, 04:02 Uhr (UTC)"), "{}", mail.text);
        assert!(mail.html.contains("Guten Tag Jörg &amp; &lt;Söhne&gt;,") && !mail.html.contains("<Söhne>"), "{}", mail.html);
        let file = std::fs::read_dir(town.site.folder.path().join("mail")).unwrap().next().unwrap().unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    /// An operator's templates take the place of the built-in ones, file by file.
    fn templates_of_ones_own(engine) {
        let site = Site::with_mail(engine);
        let folder = site.folder.path().join("templates/en");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("reset_password.txt"), "Subject: {{ username }}, it's us\n\nGo to {{ link }} by {{ expiry }}.\n").unwrap();
        let site = site.with("mail.templates", &format!("{:?}", folder.parent().unwrap()));
        let town = Town::on(site);
        ann(&town);
        ask(&town);
        let mail = town.mail_to(ANN);
        assert_eq!(mail.subject, "ann, it's us");
        assert!(mail.text.starts_with("Go to https://") && mail.text.contains(" by 2031-05-04 04:02 UTC."), "{}", mail.text);
        assert!(mail.html.contains("Set a new password"));
    }

    /// By SMTP with STARTTLS and a sign-in at the server, checked against an authority of one's own.
    fn over_starttls_with_a_password(engine) {
        let Some(python) = interpreter() else { return };
        let site = Site::new(engine);
        let folder = site.folder.path().to_owned();
        let (certificate, key) = certificate(&folder, "mail");
        std::fs::write(folder.join("password"), "a mail server's password\n").unwrap();
        let server = Server::start(python, &folder, &["--tls", certificate.to_str().unwrap(), key.to_str().unwrap(), "--auth", "usher", "a mail server's password"]);
        let site = posting(site, &server)
            .with("mail.tls", "\"starttls\"")
            .with("mail.ca_file", &format!("{certificate:?}"))
            .with("mail.username", "\"usher\"")
            .with("mail.password_file", &format!("{:?}", folder.join("password")));
        let town = Town::on(site);
        ann(&town);
        ask(&town);
        let message = server.message();
        assert_eq!((&message["sender"], &message["to"]), (&json!("accounts@example.org"), &json!([ANN])));
        assert_eq!((&message["tls"], &message["user"]), (&json!(true), &json!("usher")));
        assert_eq!(message["headers"]["subject"], "Set a new password at id.example.org");
        assert!(message["text"].as_str().unwrap().contains("https://id.example.org/account/set-password#token=urp_"));
        assert!(message["html"].as_str().unwrap().contains("<html lang=\"en\">"));
        until(&town, WAITING, 0);
    }

    /// A server that cannot prove who it is gets nothing, nor does one that offers no encryption; the message waits.
    fn a_server_that_is_not_trusted_gets_nothing(engine) {
        let Some(python) = interpreter() else { return };
        for (is_encrypted, cause) in [(true, "certificate verify failed"), (false, "does not offer what is needed")] {
            let site = Site::new(engine);
            let folder = site.folder.path().to_owned();
            let (certificate_file, key) = certificate(&folder, "mail");
            let other = certificate(&folder, "other").0;
            let tls = ["--tls", certificate_file.to_str().unwrap(), key.to_str().unwrap()];
            let server = Server::start(python, &folder, if is_encrypted { &tls } else { &[] });
            let town = Town::on(posting(site, &server).with("mail.tls", "\"starttls\"").with("mail.ca_file", &format!("{other:?}")));
            ann(&town);
            ask(&town);
            until_tried(&town, 1);
            assert!(server.is_silent());
            let told = town.lines("SELECT last_error AS line FROM outbox");
            assert!(told[0].contains(cause), "{told:?}");
        }
    }

    /// A server that is not there, hangs, drops the connection or says "later": nothing is lost, and no call waits for it.
    fn what_is_not_delivered_is_tried_again(engine) {
        let Some(python) = interpreter() else { return };
        for behaviour in ["later", "drop", "hang"] {
            let site = Site::new(engine);
            let server = Server::start(python, site.folder.path(), &[]);
            server.behave(behaviour);
            let town = Town::on(posting(site, &server));
            ann(&town);
            ask(&town);
            if behaviour == "hang" {
                let failed = town.count("SELECT count(*) AS count FROM outbox WHERE last_error IS NOT NULL");
                assert_eq!(failed, 0, "the call waited for the mail server");
            }
            until_tried(&town, 1);
            // What the server said about the receiver is not kept, but its code is.
            assert_eq!(town.count("SELECT count(*) AS count FROM outbox WHERE last_error LIKE '%example.org%'"), 0);
            if behaviour == "later" {
                assert_eq!(town.count("SELECT count(*) AS count FROM outbox WHERE last_error LIKE '%451%'"), 1);
            }
            town.advance(Duration::from_secs(5));
            until_tried(&town, 2);
            server.behave("ok");
            town.advance(Duration::from_secs(30));
            let message = server.message();
            assert_eq!(message["to"], json!([ANN]), "{behaviour}");
            until(&town, WAITING, 0);
        }
    }

    /// A server that is started late gets what was written before.
    fn a_server_that_is_not_there(engine) {
        let Some(python) = interpreter() else { return };
        let site = Site::new(engine);
        let folder = site.folder.path().to_owned();
        let server = Server::start(python, &folder, &[]);
        let site = posting(site, &server);
        drop(server);
        let town = Town::on(site);
        ann(&town);
        ask(&town);
        until_tried(&town, 1);
        // It survives a restart, here with another port for the server.
        let server = Server::start(python, &folder, &[]);
        let town = town.restart_with("mail.port", &server.port.to_string());
        // Due only now: the service of before would have tried the old port once more, and put it off again.
        town.advance(Duration::from_secs(5));
        assert_eq!(server.message()["to"], json!([ANN]));
        until(&town, WAITING, 0);
    }

    /// What a server refuses for good is given up at once, and kept to be looked at; a refusal of usher itself is not for good.
    fn what_is_refused_for_good_is_given_up(engine) {
        let Some(python) = interpreter() else { return };
        let site = Site::new(engine);
        let server = Server::start(python, site.folder.path(), &[]);
        server.behave("never");
        let town = Town::on(posting(site, &server));
        let id = ann(&town);
        ask(&town);
        until(&town, "SELECT count(*) AS count FROM outbox WHERE next_time IS NULL AND attempts = 1 AND last_error = 'the mail server said 550'", 1);
        server.behave("ok");
        ask(&town);
        assert_eq!(server.message()["to"], json!([ANN]));
        // With the person goes what was to be said to them.
        town.root().delete(&format!("/api/v1/users/{id}")).expect(204);
        until(&town, WAITING, 0);
    }

    /// A server that took a message and died before it said so gets it again, under the same id.
    fn a_second_copy_has_the_same_id(engine) {
        let Some(python) = interpreter() else { return };
        let site = Site::new(engine);
        let server = Server::start(python, site.folder.path(), &[]);
        server.behave("forget");
        let town = Town::on(posting(site, &server));
        ann(&town);
        ask(&town);
        let first = server.message();
        until_tried(&town, 1);
        server.behave("ok");
        town.advance(Duration::from_secs(5));
        let second = server.message();
        let id = |message: &Value| message["headers"]["message-id"].as_str().unwrap().to_owned();
        assert_eq!((id(&first), &first["text"]), (id(&second), &second["text"]));
        assert!(id(&first).ends_with("@example.org>"));
    }

    /// Settings of mail and links that make no sense stop the start with one line that names the key.
    fn wrong_settings(engine) {
        let folder = Site::new(engine);
        let file = folder.folder.path().join("file");
        std::fs::write(&file, "no certificate").unwrap();
        let broken = folder.folder.path().join("templates/en");
        std::fs::create_dir_all(&broken).unwrap();
        std::fs::write(broken.join("welcome.txt"), "Subject: Hello {{ nobody }}\n\nx").unwrap();
        let (file, broken) = (format!("{file:?}"), format!("{:?}", broken.parent().unwrap()));
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("links.base_url", &[("links.base_url", "\"id.example.org\"")]),
            ("links.base_url", &[("links.base_url", "\"https://user@id.example.org\"")]),
            ("links.base_url", &[("links.base_url", "\"https://id.example.org/?x=\"")]),
            ("links.confirm_path", &[("links.confirm_path", "\"//evil.example\"")]),
            ("links.password_path", &[("links.password_path", "\"page#x\"")]),
            ("links.reset_seconds", &[("links.reset_seconds", "90000")]),
            ("links.reset_key_seconds", &[("links.reset_key_seconds", "7")]),
            ("mail.transport", &[("mail.transport", "\"pigeon\"")]),
            ("mail.language", &[("mail.language", "\"fr\"")]),
            ("mail.folder", &[("mail.transport", "\"folder\""), ("mail.from", "\"a@b.example\"")]),
            ("mail.from", &[("mail.transport", "\"folder\""), ("mail.folder", "\"mail\"")]),
            ("mail.from", &[("mail.transport", "\"folder\""), ("mail.folder", "\"mail\""), ("mail.from", "\"nobody\"")]),
            ("mail.host", &[("mail.transport", "\"smtp\""), ("mail.from", "\"a@b.example\"")]),
            ("mail.password_file", &[("mail.transport", "\"smtp\""), ("mail.from", "\"a@b.example\""), ("mail.host", "\"h\""), ("mail.username", "\"u\"")]),
            ("mail.password_file", &[("mail.transport", "\"smtp\""), ("mail.from", "\"a@b.example\""), ("mail.host", "\"h\""), ("mail.username", "\"u\""), ("mail.password_file", "\"/nowhere\"")]),
            ("mail.tls", &[("mail.transport", "\"smtp\""), ("mail.from", "\"a@b.example\""), ("mail.host", "\"h\""), ("mail.username", "\"u\""), ("mail.password_file", "\"p\""), ("mail.tls", "\"none\"")]),
            ("mail.ca_file", &[("mail.transport", "\"smtp\""), ("mail.from", "\"a@b.example\""), ("mail.host", "\"h\""), ("mail.ca_file", &file)]),
            ("mail.timeout_seconds", &[("mail.timeout_seconds", "60")]),
            ("mail.templates", &[("mail.transport", "\"folder\""), ("mail.folder", "\"mail\""), ("mail.from", "\"a@b.example\""), ("mail.templates", &broken)]),
        ];
        for (key, settings) in cases {
            let site = settings.iter().fold(Site::new(engine), |site, (key, value)| site.with(key, value));
            let mut command = program(site.folder.path());
            command.args(["serve", "--config"]).arg(site.settings());
            let ran = refused_start(command).expect(1);
            assert!(ran.complaint().contains(&format!("setting {key}")), "{key}: {}", ran.complaint());
        }
    }
}
