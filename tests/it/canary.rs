//! Canaries: secrets that were used are looked for wherever something comes out (S30).

use crate::both;
use crate::faults::{furnished, newcomer, root, text};
use crate::harness::postgres::Postgres;
use crate::harness::process::{Process, usher};
use crate::harness::{Answer, Client, Engine, PASSWORD, Site};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::{self};

const USERS: &str = "/api/v1/users";
const CORRELATION_ID: &str = "x-correlation-id";

const OTHER_PASSWORD: &str = "marble cloud engine 77";

/// Secrets that were in use: every spelling of each, with what it is, by its first bytes.
#[derive(Default)]
struct Canaries(HashMap<[u8; BEGINNING], Vec<(&'static str, Vec<u8>)>>);

const BEGINNING: usize = 8;

impl Canaries {
    fn add(&mut self, what: &'static str, secret: &str) {
        let mut raw = vec![secret.as_bytes().to_vec()];
        if let Some((_, token)) = secret.split_once('_') {
            // The random part alone is as good as the token.
            raw.push(token.as_bytes()[..43].to_vec());
            raw.push(URL_SAFE_NO_PAD.decode(&token[..43]).unwrap());
        }
        for raw in raw {
            let hex = |upper: bool| raw.iter().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") }).collect();
            let spelt: [String; 5] =
                [hex(false), hex(true), STANDARD_NO_PAD.encode(&raw), URL_SAFE_NO_PAD.encode(&raw), format!("{raw:?}")];
            for spelt in spelt.into_iter().map(String::into_bytes).chain([raw.clone()]) {
                let beginning = *spelt.first_chunk().unwrap();
                self.0.entry(beginning).or_default().push((what, spelt));
            }
        }
    }

    /// None of them can be seen in `place`, in clear or spelt otherwise.
    #[track_caller]
    fn are_not_in(&self, place: &str, bytes: &[u8]) {
        for (at, window) in bytes.windows(BEGINNING).enumerate() {
            for (what, spelt) in self.0.get(window).into_iter().flatten() {
                let rest = &bytes[at..];
                assert!(
                    !rest.starts_with(spelt),
                    "{what} is in {place}: {}",
                    String::from_utf8_lossy(&rest[..rest.len().min(300)])
                );
            }
        }
    }
}

/// Names of members that sound like a secret.
fn suspicious_members<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    const HARMLESS: &[&str] = &[
        "password_is_set",
        "password_must_change",
        "password_last_set",
        "password_expiry",
        "password_never_expires",
        "is_key_required",
        // Of an audit event: its place in the chain.
        "hash",
    ];
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let sounds = ["password", "hash", "secret", "token", "key"].iter().any(|word| name.to_lowercase().contains(word));
                if sounds && !HARMLESS.contains(&name.as_str()) {
                    found.push(name);
                }
                suspicious_members(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| suspicious_members(item, found)),
        _ => {}
    }
}

/// An answer tells no secret but the token of a session that it opened, in the member for it.
#[track_caller]
fn is_clean(answer: &Answer, canaries: &Canaries, what: &str) {
    let mut json = answer.json.clone();
    let opened = json.as_object_mut().and_then(|members| members.remove("ust"));
    assert!(opened.is_none() || what.contains("/sessions ") || what.contains("/password "), "{what} told a token");
    let place = format!("the answer of {what}");
    let body = if opened.is_some() { json.to_string() } else { answer.text.clone() };
    canaries.are_not_in(&place, body.as_bytes());
    canaries.are_not_in(&place, format!("{:?}", answer.headers).as_bytes());
    assert!(!body.contains("$argon2"), "{place} has a hash: {body}");
    if what.contains(" /api/") {
        let mut found = Vec::new();
        suspicious_members(&json, &mut found);
        assert_eq!(found, [""; 0], "{place}");
    }
}

/// The raw bytes of everything that the database keeps.
fn dump(site: &Site) -> Vec<u8> {
    match site.engine {
        Engine::Postgres => Postgres::dump(&site.url).into_bytes(),
        Engine::Sqlite => {
            ["usher.db", "usher.db-wal"].iter().flat_map(|n| fs::read(site.folder.path().join(n)).unwrap()).collect()
        }
    }
}

both! {
    /// S18, S30: a password, tokens and an application's key that were sent through every route, with right and with wrong bodies, by
    /// every kind of caller, are in no answer, in no log line even where everything is logged, and not in the database.
    fn no_secret_comes_out(engine) {
        let site = furnished(Site::new(engine).with("log.filter", "\"trace\""));
        let service = Process::serve(&site);
        let mut canaries = Canaries::default();
        canaries.add("the password", PASSWORD);
        canaries.add("the new password", OTHER_PASSWORD);
        canaries.add("a wrong password", "violet harbour sixteen");
        let key = text(&usher(&site, &["app", "create", "desk", "--json"], "").expect(0).json()["key"]);
        canaries.add("the application's key", &key);
        let mut by = root(&service);
        let ann = newcomer(&service, &by, "ann");
        let application = service.anon().with("x-current-app", "desk").with("x-application-key", &key);
        application.post("/api/v1/sessions/introspect", &json!({"ust": ann.ust})).expect(200);
        [&by, &ann].iter().for_each(|client| canaries.add("a token", client.ust.as_deref().unwrap()));

        let document = service.anon().get("/openapi.json").expect(200).json;
        let mut calls = 0;
        for (path, operations) in document["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys() {
                // Whoever is acted on is a peer, so that the callers' own sessions last; on oneself one acts with another session.
                let name = format!("peer-{calls}");
                let peer = newcomer(&service, &by, &name);
                let administrator = newcomer_of_role(&service, &by, &format!("chief-{calls}"), "administrator");
                canaries.add("a peer's token", peer.ust.as_deref().unwrap());
                canaries.add("an administrator's token", administrator.ust.as_deref().unwrap());
                let filled = path.replace("{user_id}", peer.id()).replace("{session_id}", peer.session_id.as_deref().unwrap()).replace("{file}", "index.css").replace("{name}", "note");
                let bodies = [
                    None,
                    Some(json!({})),
                    Some(json!({"username": name, "password": "violet harbour sixteen"})),
                    Some(json!({"username": format!("made-{calls}"), "password": PASSWORD})),
                    Some(json!({"username": name, "password": PASSWORD, "new_password": OTHER_PASSWORD, "totp_code": PASSWORD})),
                    Some(json!({"username": PASSWORD, "password": PASSWORD, "nonsense": PASSWORD, "email": PASSWORD, "user_role": PASSWORD})),
                    Some(json!({"username": {"password": PASSWORD}, "password": [PASSWORD]})),
                    Some(json!({"ust": peer.ust})),
                    Some(json!({"ust": key})),
                    Some(json!({"old_password": "violet harbour sixteen", "new_password": OTHER_PASSWORD})),
                    Some(json!({"old_password": PASSWORD, "new_password": PASSWORD})),
                    Some(json!({"old_password": PASSWORD, "new_password": OTHER_PASSWORD})),
                    Some(json!([PASSWORD])),
                    Some(json!(PASSWORD)),
                ];
                let clients = [
                    ("nobody", service.anon()),
                    ("an impostor", service.anon().with("authorization", &format!("Bearer {PASSWORD}")).with("x-application-key", PASSWORD)),
                    ("one of bad manners", service.anon().with("authorization", &format!("Basic {}", STANDARD.encode(PASSWORD))).with(CORRELATION_ID, PASSWORD).with("x-current-app", PASSWORD)),
                    ("an application", application.clone()),
                    ("its owner", peer.clone()),
                    ("an administrator", administrator),
                ];
                for (who, client) in &clients {
                    for body in &bodies {
                        let answer = client.call(&method.to_uppercase(), &filled, body.as_ref().map(ToString::to_string));
                        let what = format!("{method} {path} by {who}");
                        is_clean(&answer, &canaries, &what);
                        if let Some(ust) = answer.json["ust"].as_str() {
                            canaries.add("a token from an answer", ust);
                        }
                    }
                }
                if (method.as_str(), path.as_str()) == ("delete", "/api/v1/sessions") {
                    // That was everyone's.
                    by = root(&service);
                    canaries.add("a token", by.ust.as_deref().unwrap());
                }
                calls += 1;
            }
        }
        assert!(calls > 15, "{calls} routes were called");
        // Secrets where they have no place, and then the whole trail.
        for place in ["/api/v1/audit-events?cid=", "/api/v1/audit-events?nonsense=", "/api/v1/users/"] {
            let answer = by.get(&format!("{place}{}", by.ust.as_deref().unwrap()));
            is_clean(&answer, &canaries, &format!("get {place}"));
        }
        let mut cursor = String::new();
        loop {
            let page = by.get(&format!("/api/v1/audit-events?limit=500{cursor}")).expect(200);
            is_clean(&page, &canaries, "get /api/v1/audit-events by root");
            let Some(next) = page.json["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let exported = usher(&site, &["audit", "export"], "").expect(0).out;
        canaries.are_not_in("the exported trail", exported.as_bytes());
        for arguments in [&["user", "list"][..], &["user", "list", "--json"], &["user", "show", "ann"], &["app", "list", "--json"], &["session", "list", "--json"], &["config", "show"]] {
            let shown = usher(&site, arguments, "").expect(0);
            canaries.are_not_in(&format!("{arguments:?}"), (shown.out + &shown.err).as_bytes());
        }

        canaries.are_not_in("the database", &dump(&site));
        let log = service.terminate().log;
        assert!(log.contains("\"TRACE\"") && log.contains("usher::request"), "nothing was logged");
        canaries.are_not_in("the log", log.as_bytes());
        assert!(!log.contains("$argon2"), "a hash is in the log");
        assert!(!log.contains("panicked"), "{log}");
    }

    /// S30: the value of an encrypted attribute is told to whoever reads that attribute, and is nowhere else: not in another answer, a
    /// refusal, the trail, an export, the log where everything is logged, nor in the database, before and after its key was rotated.
    fn an_encrypted_attribute_is_told_to_its_reader_alone(engine) {
        const SECRET: &str = "wheelbarrow-4711-nightingale";
        let site = furnished(Site::new(engine).with("log.filter", "\"trace\""));
        let service = Process::serve(&site);
        let mut canaries = Canaries::default();
        canaries.add("an encrypted attribute", SECRET);
        let by = root(&service);
        let ann = newcomer(&service, &by, "ann");
        let (own, of_session, of_ann) = ("/api/v1/users/me/attributes", "/api/v1/sessions/current/attributes", format!("{USERS}/{}/attributes", ann.id()));
        let sealed = |value: Value| json!({"value": value, "encrypted": true});
        let tells = |answer: Answer| assert!(answer.status < 300 && answer.text.contains(SECRET), "{answer:?}");
        for (client, shelf) in [(&ann, own), (&ann, of_session), (&by, of_ann.as_str())] {
            tells(client.put(&format!("{shelf}/first"), &sealed(json!(SECRET))));
            tells(client.put(&format!("{shelf}/first"), &sealed(json!({"deep": [SECRET]}))));
            tells(client.put(shelf, &json!({"attributes": {"second": sealed(json!([SECRET])), "third": {"value": 1}}})));
            tells(client.get(&format!("{shelf}/first")));
            tells(client.get(shelf));
            for body in [
                json!({"value": SECRET, "encrypted": SECRET}), json!({"value": SECRET, "encrypted": true, "expires_in": SECRET}), json!({"value": SECRET, "x": SECRET}),
                json!({"attributes": SECRET}), json!({"attributes": {"a": SECRET}}), json!({"attributes": {"a": {"value": SECRET, "expires_in": 0}}}), json!(SECRET),
            ] {
                for path in [shelf.to_owned(), format!("{shelf}/first")] {
                    is_clean(&client.put(&path, &body), &canaries, &format!("put {path} {body}"));
                }
            }
            is_clean(&client.with("if-match", "\"x\"").put(&format!("{shelf}/first"), &sealed(json!(SECRET))), &canaries, "a failed precondition");
            is_clean(&client.delete(&format!("{shelf}/second")), &canaries, "a removal");
        }
        usher(&site, &["user", "attr", "set", "ann", "fourth", "--value-stdin", "--encrypted"], &format!("\"{SECRET}\"")).expect(0);
        let wrong = usher(&site, &["user", "attr", "set", "ann", "fourth", "--value-stdin", "--encrypted"], &format!("{SECRET}\n")).expect(1);
        canaries.are_not_in("a complaint", wrong.err.as_bytes());
        for round in ["before", "after"] {
            for path in service.anon().get("/openapi.json").json["paths"].as_object().unwrap().keys().filter(|path| !path.contains("/attributes")) {
                let path = path.replace("{user_id}", ann.id()).replace("{session_id}", ann.session_id.as_deref().unwrap());
                for client in [&by, &ann] {
                    is_clean(&client.get(&path), &canaries, &format!("get {path} "));
                }
            }
            is_clean(&by.get("/api/v1/audit-events?limit=500&sort=-time").expect(200), &canaries, "the trail");
            canaries.are_not_in("the exported trail", usher(&site, &["audit", "export"], "").expect(0).out.as_bytes());
            canaries.are_not_in("the database", &dump(&site));
            if round == "before" {
                let rotated = usher(&site, &["secrets", "rotate", "--json"], "").expect(0).json();
                assert_eq!(rotated["resealed"], 3, "{rotated}");
            }
        }
        let log = service.terminate().log;
        assert!(log.contains("\"TRACE\""), "nothing was logged");
        canaries.are_not_in("the log", log.as_bytes());
    }
}

fn newcomer_of_role(service: &Process, by: &Client, name: &str, role: &str) -> Client {
    by.post(USERS, &json!({"username": name, "password": PASSWORD, "user_role": role})).expect(201);
    service.anon().sign_in(name, PASSWORD)
}
