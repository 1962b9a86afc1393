//! Names that do not resolve: of a receiver of notices, of the mail server, of the database server while the service runs. Whatever needs
//! them waits, nothing is lost, and calls that do not need them are answered as ever.

use crate::both;
use crate::faults::{create, furnished, newcomer, root, until_answered};
use crate::hangs::is_given_up;
use crate::harness::postgres::{self, Server};
use crate::harness::process::{Process, program, usher};
use crate::harness::receiver::Receiver;
use crate::harness::{Engine, PASSWORD, Site, Town, wait_until};
use crate::hooks::{HOOKS, hook, site_for};
use serde_json::json;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ME: &str = "/api/v1/users/me";
const USERS: &str = "/api/v1/users";
const SESSIONS: &str = "/api/v1/sessions";
/// A name that never resolves (RFC 6761, section 6.4).
const NOWHERE: &str = "nowhere.invalid";
/// What a call may take while others look in vain for a name.
const SOON: Duration = Duration::from_millis(1500);

both! {
    /// Hooks whose names are gone are tried again, and hold up neither other hooks nor calls.
    fn names_of_receivers(engine) {
        let receiver = Receiver::new();
        let town = Town::on(site_for(engine, &receiver));
        let root = town.root();
        let lost: Vec<String> =
            (0..20).map(|n| hook(&root, &format!("lost-{n}"), &format!("https://{NOWHERE}/{n}"), json!(["user.created"])).0).collect();
        hook(&root, "good", &receiver.url("/"), json!(["user.created"]));
        for number in 0..3 {
            let began = Instant::now();
            create(&root, &format!("user-{number}")).expect(201);
            root.get(ME).expect(200);
            assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
            receiver.next();
        }
        for id in &lost {
            let delivery = || root.get(&format!("{HOOKS}/{id}/deliveries")).expect(200).json["items"].clone();
            wait_until("a failed try", || delivery()[0]["last_error"].is_string());
            let waiting = delivery();
            assert_eq!(waiting.as_array().unwrap().len(), 3, "{waiting}");
            assert!(waiting.as_array().unwrap().iter().all(|d| d["state"] == "waiting"), "{waiting}");
        }
    }

    /// Mail waits for the name of its server, and goes out once it is there.
    fn the_name_of_the_mail_server(engine) {
        let site = Site::new(engine)
            .with("mail.transport", "\"smtp\"")
            .with("mail.host", &format!("{NOWHERE:?}"))
            .with("mail.tls", "\"none\"")
            .with("mail.timeout_seconds", "2")
            .with("mail.from", "\"Accounts <accounts@example.org>\"")
            .with("links.base_url", "\"https://id.example.org\"");
        let town = Town::on(site);
        let root = town.root();
        root.post(USERS, &json!({"username": "ann", "email": "ann@example.org", "password": PASSWORD})).expect(201);
        let began = Instant::now();
        town.anon().post("/api/v1/password-resets", &json!({"username": "ann"})).expect(202);
        root.get(ME).expect(200);
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        let failed = "SELECT count(*) AS count FROM outbox WHERE kind = 'mail' AND attempts = 1 AND last_error IS NOT NULL";
        wait_until("a failed try", || town.count(failed) == 1);
        let folder = town.site.folder.path().join("mail");
        let town = town.restart_with("mail.folder", &format!("{folder:?}")).restart_with("mail.transport", "\"folder\"");
        town.advance(Duration::from_secs(60));
        wait_until("an empty outbox", || town.count("SELECT count(*) AS count FROM outbox") == 0);
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
    }
}

/// The name of the database server is gone while the service runs: nobody notices as long as the connections hold. Once they are lost, calls
/// are told to come back, soon; and it goes on by itself when the name is there again.
#[test]
fn the_name_of_the_database_server() {
    if !postgres::is_there() {
        return;
    }
    let mut server = Server::own();
    let url = server.create_database();
    let site = furnished(Site::at(TempDir::new().unwrap(), Engine::Postgres, url.clone()));
    let (address, database) = url.rsplit_once('@').unwrap().1.split_once('/').unwrap();
    let (host, port) = address.split_once(':').unwrap();
    // libpq reads this file anew for each connection.
    let services = site.folder.path().join("services");
    let lead_to = |host: &str| {
        let text = format!("[usher]\nhost={host}\nport={port}\nuser=usher\ndbname={database}\n");
        std::fs::write(&services, text).unwrap();
    };
    lead_to(host);
    let named = Site::at(TempDir::new().unwrap(), Engine::Postgres, "postgres:///?service=usher".to_owned());
    std::fs::copy(site.keys(), named.keys()).unwrap();
    let mut command = program(named.folder.path());
    command.arg("serve").arg("--config").arg(named.settings()).env("PGSERVICEFILE", &services);
    let mut service = Process::start(command);
    let (anon, by) = (service.anon(), root(&service));
    let ann = newcomer(&service, &by, "ann");

    lead_to(NOWHERE);
    ann.get(ME).expect(200);
    create(&by, "early").expect(201);
    server.crash();
    server.resume();
    for _ in 0..3 {
        // How soon it is said that there is no such name is the resolver's affair.
        is_given_up(&ann, "GET", ME, None);
        is_given_up(&anon, "POST", SESSIONS, Some(json!({"username": "ann", "password": PASSWORD})));
        is_given_up(&by, "POST", USERS, Some(json!({"username": "late"})));
        is_given_up(&anon, "GET", "/readyz", None);
        anon.get("/healthz").expect(200);
    }
    lead_to(host);
    until_answered(&anon, "/readyz", 200);
    ann.get(ME).expect(200);
    create(&by, "early").refused(409, "value_taken");
    create(&by, "late").expect(201);
    usher(&site, &["audit", "verify"], "").expect(0);
    assert!(service.is_alive() && !service.log().contains("panicked"), "{}", service.log());
}
