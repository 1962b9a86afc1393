//! Canaries: secrets that were used are looked for wherever something comes out (S30).

use crate::both;
use crate::bulk::{HASH, IMPORT, post};
use crate::faults::{furnished, newcomer, root, text};
use crate::harness::postgres::Postgres;
use crate::harness::process::{self, Process, usher};
use crate::harness::receiver::Receiver;
use crate::harness::{Answer, Client, Engine, PASSWORD, Site, tools};
use crate::hooks::{hook, site_for};
use crate::metrics::metrics_of;
use crate::moving_zato::{self, OLD, TOTP_KEY, fernet, passlib, url_safe};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self};
use std::time::Duration;
use usher::http::Dialect;

const USERS: &str = "/api/v1/users";
const CORRELATION_ID: &str = "x-correlation-id";

const OTHER_PASSWORD: &str = "marble cloud engine 77";

/// Secrets that were in use: every spelling of each, with what it is, by its first bytes.
#[derive(Default)]
pub struct Canaries(HashMap<[u8; BEGINNING], Vec<(&'static str, Vec<u8>)>>);

const BEGINNING: usize = 8;

impl Canaries {
    pub fn add(&mut self, what: &'static str, secret: &str) {
        let mut raw = vec![secret.as_bytes().to_vec()];
        // The random part alone is as good as the token.
        if let Some(token) =
            ["ust_", "uak_", "key_", "urp_", "usp_", "urk_"].iter().find_map(|prefix| secret.strip_prefix(prefix))
        {
            raw.push(token.as_bytes()[..43].to_vec());
            raw.push(URL_SAFE_NO_PAD.decode(&token[..43]).unwrap());
        }
        if let Some(key) = secret.strip_prefix("whsec_") {
            raw.push(key.as_bytes().to_vec());
            raw.push(STANDARD.decode(key).unwrap());
        }
        if what.contains("one-time codes") {
            raw.push(totp_rs::Secret::try_from_base32(secret).unwrap().as_bytes().to_vec());
        }
        if secret.contains('-') {
            raw.push(secret.replace('-', "").into_bytes());
        }
        self.add_bytes(what, raw);
    }

    fn add_bytes(&mut self, what: &'static str, raw: Vec<Vec<u8>>) {
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
    pub fn are_not_in(&self, place: &str, bytes: &[u8]) {
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
        "key_id",
        // Of an audit event: the public part of a key that was made or revoked.
        "api_key",
        // Of the document on a person: what is told of them, without the keys.
        "api_keys",
        // What kind of token it is.
        "token_type",
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

/// Members in which a secret is told, with the calls that tell it.
const TOLD: &[(&str, &[&str])] = &[
    ("ust", &["/sessions ", "/password ", "/confirm "]),
    ("key", &["/api-keys ", "/applications ", "/key "]),
    ("totp_key", &["post /api/v1/users/me/totp "]),
    ("otpauth_uri", &["post /api/v1/users/me/totp "]),
    ("qr_svg", &["post /api/v1/users/me/totp "]),
    ("recovery_codes", &["/totp/confirm ", "/recovery-codes "]),
    ("secret", &["post /api/v1/hooks"]),
    ("token", &["/tokens "]),
    ("reset_key", &["patch /zato/sso/password/reset "]),
];

/// An answer tells no secret but the one that it is there to tell, in the member for it.
#[track_caller]
fn is_clean(answer: &Answer, canaries: &Canaries, what: &str) {
    let mut json = answer.json.clone();
    let mut has_told = false;
    for (member, calls) in TOLD {
        let told = json.as_object_mut().and_then(|members| members.remove(*member));
        assert!(told.is_none() || calls.iter().any(|call| what.contains(call)), "{what} told {member}");
        has_told |= told.is_some();
    }
    let place = format!("the answer of {what}");
    let body = if has_told { json.to_string() } else { answer.text.clone() };
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
pub fn dump(site: &Site) -> Vec<u8> {
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
        let receiver = Receiver::new();
        let site = site_for(engine, &receiver).with("metrics.listen", "\"127.0.0.1:0\"").with("log.filter", "\"trace\"").with("tokens.issuer", "\"https://sso.example\"");
        let site = furnished(site);
        let service = Process::serve(&site);
        let mut canaries = Canaries::default();
        canaries.add("the password", PASSWORD);
        canaries.add("the new password", OTHER_PASSWORD);
        canaries.add("a wrong password", "violet harbour sixteen");
        let key = text(&usher(&site, &["app", "create", "desk", "--json"], "").expect(0).json()["key"]);
        canaries.add("the application's key", &key);
        // How the private part of any signing key begins.
        canaries.add_bytes("a private key", vec![vec![0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20]]);
        let by = root(&service);
        let told = hook(&by, "all", &receiver.url("/"), Value::Null).1;
        canaries.add("a hook's secret", &told);
        let ann = newcomer(&service, &by, "ann");
        let application = service.anon().with("x-current-app", "desk").with("x-application-key", &key);
        application.post("/api/v1/sessions/introspect", &json!({"ust": ann.ust})).expect(200);
        [&by, &ann].iter().for_each(|client| canaries.add("a token", client.ust.as_deref().unwrap()));

        let (totp_key, recovery_code) = second_factors(&service, &newcomer(&service, &by, "bob"), &mut canaries);
        let document = service.anon().get("/openapi.json").expect(200).json;
        let mut calls = 0;
        let mut routes: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            routes.entry(path.clone()).or_default().extend(operations.as_object().unwrap().keys().cloned());
        }
        // Dialects are not in the document.
        for route in usher::http::table().into_iter().filter(|route| route.dialect == Dialect::Connect) {
            routes.entry(route.path.to_owned()).or_default().push(route.method.as_str().to_lowercase());
        }
        for (path, operations) in &routes {
            for method in operations {
                // Whoever is acted on is a peer, so that the callers' own sessions last; on oneself one acts with another session.
                let name = format!("peer-{calls}");
                // A fresh sign-in, for some of what follows asks for one.
                let by = root(&service);
                canaries.add("a token", by.ust.as_deref().unwrap());
                let peer = newcomer(&service, &by, &name);
                let administrator = newcomer_of_role(&service, &by, &format!("chief-{calls}"), "administrator");
                canaries.add("a peer's token", peer.ust.as_deref().unwrap());
                canaries.add("an administrator's token", administrator.ust.as_deref().unwrap());
                let key_of = |client: &Client, scope: &str| {
                    client.post("/api/v1/users/me/api-keys", &json!({"name": "robot", "scope": scope})).expect(201).json
                };
                let peers_key = key_of(&peer, "read");
                let api_key = text(&key_of(&administrator, "manage")["key"]);
                let shelf = by.post("/api/v1/applications", &json!({"name": format!("shelf-{calls}")})).expect(201).json;
                for made in [&peers_key["key"], &shelf["key"]] {
                    canaries.add("a key", &text(made));
                }
                canaries.add("an API key", &api_key);
                let robot = service.anon().with("authorization", &format!("Key {api_key}"));
                let path = &path.replace("{key_id}", &text(&peers_key["key_id"])).replace("{application_id}", &text(&shelf["application_id"]));
                let watched = match path.contains("{hook_id}") {
                    true => hook(&by, &format!("watched-{calls}"), &receiver.url("/"), json!(["group.created"])),
                    false => Default::default(),
                };
                if !watched.1.is_empty() {
                    canaries.add("a hook's secret", &watched.1);
                }
                let path = &path.replace("{hook_id}", &watched.0);
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
                    Some(json!({"ust": api_key})),
                    Some(json!({"name": format!("made-{calls}"), "user_id": peer.id(), "scope": "read", "expires_in": 60})),
                    Some(json!({"name": format!("made-{calls}")})),
                    Some(json!({"name": api_key, "scope": PASSWORD, "networks": [PASSWORD], "allowed_networks": [PASSWORD], "allowed_groups": [PASSWORD]})),
                    Some(json!({"networks": ["127.0.0.0/8"]})),
                    Some(json!({"code": totp_key})),
                    Some(json!({"code": recovery_code})),
                    Some(json!({"username": "bob", "password": PASSWORD, "totp_code": totp_key})),
                    Some(json!({"old_password": "violet harbour sixteen", "new_password": OTHER_PASSWORD})),
                    Some(json!({"old_password": PASSWORD, "new_password": PASSWORD})),
                    Some(json!({"old_password": PASSWORD, "new_password": OTHER_PASSWORD})),
                    Some(json!({"audience": "default", "scopes": ["profile", "email", "groups"]})),
                    Some(json!({"name": format!("hook-{calls}"), "url": receiver.url("/"), "secret": PASSWORD})),
                    Some(json!({"name": format!("hook-{calls}"), "url": receiver.url("/")})),
                    Some(json!([PASSWORD])),
                    Some(json!(PASSWORD)),
                ];
                let clients = [
                    ("nobody", service.anon()),
                    ("an impostor", service.anon().with("authorization", &format!("Bearer {PASSWORD}")).with("x-application-key", PASSWORD)),
                    ("one with a key in the wrong place", service.anon().with("authorization", &format!("Bearer {api_key}")).with("x-application-key", &api_key)),
                    ("one with a password for a key", service.anon().with("authorization", &format!("Key {PASSWORD}"))),
                    ("a robot", robot.clone()),
                    ("one of bad manners", service.anon().with("authorization", &format!("Basic {}", STANDARD.encode(PASSWORD))).with(CORRELATION_ID, PASSWORD).with("x-current-app", PASSWORD)),
                    ("an application", application.clone()),
                    ("its owner", peer.clone()),
                    ("an administrator", administrator),
                ];
                for (who, client) in &clients {
                    // Read leniently, a body with a key for a name asks for a group of that name: it is then no secret any more.
                    let is_published = |body: &&Option<Value>| {
                        path.starts_with("/__api__") && body.as_ref().is_some_and(|body| body["name"] == api_key.as_str())
                    };
                    for body in bodies.iter().filter(|body| !is_published(body)) {
                        let answer = client.call(&method.to_uppercase(), &filled, body.as_ref().map(ToString::to_string));
                        let what = format!("{method} {path} by {who}");
                        is_clean(&answer, &canaries, &what);
                        for member in ["ust", "key", "secret", "token"] {
                            if let Some(told) = answer.json[member].as_str() {
                                canaries.add("a secret from an answer", told);
                            }
                        }
                        if let Some(key) = answer.json["totp_key"].as_str() {
                            canaries.add("a key of one-time codes from an answer", key);
                        }
                    }
                }
                calls += 1;
            }
        }
        assert!(calls > 15, "{calls} routes were called");
        // One of the calls ended everyone's sessions.
        let by = root(&service);
        canaries.add("a token", by.ust.as_deref().unwrap());
        // The ECM's dialect takes passwords in places of its own.
        for route in usher::http::table().iter().filter(|route| route.dialect == usher::http::Dialect::Ecm) {
            let by = root(&service);
            canaries.add("a token", by.ust.as_deref().unwrap());
            let name = format!("ecm-{calls}");
            let peer = newcomer(&service, &by, &name);
            canaries.add("a peer's token", peer.ust.as_deref().unwrap());
            let path = route.path.replace("{user_id}", peer.id()).replace("{group_id}", PASSWORD.split(' ').next().unwrap());
            let bodies = [
                None,
                Some(json!({"username": name, "password": PASSWORD})),
                Some(json!({"username": name, "password": "violet harbour sixteen"})),
                Some(json!({"username": format!("made-{calls}"), "password": OTHER_PASSWORD})),
                Some(json!({"password": OTHER_PASSWORD})),
                Some(json!({"password": {"password": PASSWORD}, "email": PASSWORD, "valid_to": PASSWORD, "locked": PASSWORD, "profile_id": PASSWORD})),
                Some(json!({"username": by.ust, "name": by.ust, "description": [PASSWORD]})),
                Some(json!(PASSWORD)),
            ];
            for (who, client) in [("nobody", &service.anon()), ("an application", &application), ("its owner", &peer), ("root", &by)] {
                for body in &bodies {
                    let answer = client.call(route.method.as_str(), &path, body.as_ref().map(ToString::to_string));
                    is_clean(&answer, &canaries, &format!("{} {} by {who}", route.method, route.path));
                }
            }
            calls += 1;
        }
        // Rows of an import with secrets in the right places, and in wrong ones; a hash that came in is as secret as a password.
        let mut hashes = Canaries::default();
        hashes.add("an imported hash", HASH);
        let totp_key = "KRUGKIDROVUWG2ZAMJZG653OEBTG66BA";
        canaries.add("an imported key of one-time codes", totp_key);
        for row in [
            json!({"username": "imported-1", "password": PASSWORD}),
            json!({"username": "imported-2", "password_hash": HASH, "totp_key": totp_key}),
            json!({"username": totp_key.len(), "totp_key": [totp_key], "groups": [{"totp_key": totp_key}], "is_locked": totp_key}),
            json!({"username": "imported-3", "password": HASH, "password_hash": PASSWORD, "email": PASSWORD, "groups": [{"password": PASSWORD}], "nonsense": HASH}),
            json!({"username": "imported-4", "password": [PASSWORD], "password_hash": {"hash": HASH}, "is_locked": PASSWORD, "created_time": HASH}),
            json!([PASSWORD, HASH]),
        ] {
            for query in ["", "?dry_run=true"] {
                let answer = post(&by, &format!("{IMPORT}{query}"), &format!("{row}\n{row} {PASSWORD}\n")).expect(200);
                is_clean(&answer, &canaries, "post /api/v1/users/import");
                is_clean(&answer, &hashes, "post /api/v1/users/import");
            }
            let printed = process::usher(&site, &["user", "import", "-"], &format!("{row}\n{row} {PASSWORD}\n"));
            canaries.are_not_in("what an import prints", (printed.out.clone() + &printed.err).as_bytes());
            hashes.are_not_in("what an import prints", (printed.out + &printed.err).as_bytes());
        }
        let exported = by.get("/api/v1/users/export").expect(200);
        is_clean(&exported, &hashes, "get /api/v1/users/export");
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
        hashes.are_not_in("the exported trail", exported.as_bytes());
        for arguments in [&["user", "list"][..], &["user", "list", "--json"], &["user", "show", "ann"], &["user", "export"], &["user", "export", "--user", "ann"], &["app", "list", "--json"], &["key", "list"], &["key", "list", "--json"], &["session", "list", "--json"], &["hook", "list", "--json"], &["hook", "show", "all"], &["hook", "deliveries", "all", "--json"], &["config", "show"]] {
            let shown = usher(&site, arguments, "").expect(0);
            canaries.are_not_in(&format!("{arguments:?}"), (shown.out + &shown.err).as_bytes());
        }

        // What whoever watches the service is told of all this.
        let scrape = metrics_of(&service).get("/metrics").expect(200);
        assert!(scrape.text.contains("/api/v1/users/{user_id}"), "{}", scrape.text);
        canaries.are_not_in("the metrics", scrape.text.as_bytes());

        // What hooks were told of all this.
        for got in receiver.rest() {
            canaries.are_not_in("what a hook was told", got.body.as_bytes());
        }
        canaries.are_not_in("the database", &dump(&site));
        let log = service.terminate().log;
        assert!(log.contains("\"TRACE\"") && log.contains("usher::request"), "nothing was logged");
        canaries.are_not_in("the log", log.as_bytes());
        hashes.are_not_in("the log", log.as_bytes());
        assert!(!log.contains("$argon2"), "a hash is in the log");
        assert!(!log.contains("panicked"), "{log}");
    }

    /// S30: what only Zato's dialect and those who move from Zato have: passwords of linked accounts and the tokens of their sessions, tokens
    /// that an operator makes for a reset, the keys that they are exchanged for; the Fernet key of a database that is moved, what was
    /// encrypted with it, and the hashes in it. They were used in right and in wrong places, and come out nowhere.
    fn nothing_of_zato_comes_out(engine) {
        const LINKED: &str = "copper window paper 31";
        const ATTRIBUTE: &str = "wheelbarrow-4711-nightingale";
        let zato = moving_zato::zato(engine);
        zato.keep(1, "ann", "sealed", &fernet(&zato.key, &format!("\"{ATTRIBUTE}\"")), "9999-12-31 00:00:00", true);
        zato.keep(2, "ann", "no name", &fernet(&zato.key, &format!("\"{ATTRIBUTE}\"")), "9999-12-31 00:00:00", true);
        let site = furnished(Site::new(engine).with("log.filter", "\"trace\"").with("zato_parity.totp_without_code", "true"));
        let service = Process::serve(&site);
        usher(&site, &["app", "create", "CRM"], "").expect(0);
        let mut canaries = Canaries::default();
        canaries.add("the password", PASSWORD);
        canaries.add("the new password", OTHER_PASSWORD);
        canaries.add("a linked account's password", LINKED);
        canaries.add("an encrypted attribute", ATTRIBUTE);
        canaries.add("a moved password", OLD);
        canaries.add("a moved key of one-time codes", TOTP_KEY);
        canaries.add_bytes("the Fernet key", vec![url_safe(&zato.key).into_bytes(), zato.key.to_vec(), zato.key[..16].to_vec(), zato.key[16..].to_vec()]);
        // Told in one header to whoever has the account's password.
        let mut tokens = Canaries::default();
        // Only the database has them, until they are replaced.
        let mut hashes = Canaries::default();
        let hash = passlib(OLD);
        hashes.add("a moved hash", &hash);
        hashes.add("a moved hash's tag", hash.rsplit('$').next().unwrap());
        hashes.add("an encrypted hash", &fernet(&zato.key, &hash));

        // Moving, with the right key, a wrong one, and a key in the place of other things.
        let key_file = |name: &str| zato.site.folder.path().join(name).to_str().unwrap().to_owned();
        fs::write(key_file("wrong"), format!("{}{}", url_safe(&zato.key), url_safe(&zato.key))).unwrap();
        fs::write(key_file("other"), url_safe(&[7; 32])).unwrap();
        for (key, options) in [("wrong", &[][..]), ("other", &[]), ("key", &["--dry-run"]), ("key", &["--json"]), ("key", &[])] {
            let key = key_file(key);
            let ran = usher(&site, &[&["user", "import", "--from", "zato", "--database", &zato.site.url, "--fernet-key-file", &key], options].concat(), "");
            for canaries in [&canaries, &hashes] {
                canaries.are_not_in("what a move prints", (ran.out.clone() + &ran.err).as_bytes());
            }
        }
        let by = root(&service);
        canaries.add("a token", by.ust.as_deref().unwrap());
        assert_eq!(by.get("/api/v1/users/count").json["total"], 8);
        service.anon().try_sign_in("ann", "not the password").refused(401, "credentials_invalid");
        canaries.add("a token of ann", service.anon().sign_in("ann", OLD).ust.as_deref().unwrap());

        let made = usher(&site, &["linked", "create", "feed", "--user", "fay", "--password-stdin"], LINKED).expect(0);
        canaries.are_not_in("what making an account prints", (made.out + &made.err).as_bytes());
        let say = |client: &Client, method: &str, path: &str, body: &Value| {
            client.call(method, &format!("/zato/sso/{path}"), Some(body.to_string()))
        };
        let basic = |name: &str, password: &str| service.anon().with("authorization", &format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))));
        let feed = basic("feed", LINKED);
        for arguments in [&["user", "reset-token", "ben"][..], &["user", "reset-token", "gwe", "--json"]] {
            let told = usher(&site, arguments, "").expect(0);
            let token = if arguments.contains(&"--json") { text(&told.json()["token"]) } else { told.out.trim().to_owned() };
            canaries.add("a reset token", &token);
            if arguments.contains(&"gwe") { continue }
            let opened = say(&service.anon(), "PATCH", "password/reset", &json!({"current_app": "CRM", "token": token}));
            let key = text(&opened.json["reset_key"]);
            is_clean(&opened, &canaries, "patch /zato/sso/password/reset ");
            canaries.add("a reset key", &key);
            for (token, key, password) in [(&token, &token, OTHER_PASSWORD), (&key, &key, OTHER_PASSWORD), (&token, &key, "short"), (&token, &key, LINKED)] {
                let body = json!({"current_app": "CRM", "token": token, "reset_key": key, "password": password, "totp_code": TOTP_KEY});
                is_clean(&say(&service.anon(), "DELETE", "password/reset", &body), &canaries, "delete /zato/sso/password/reset ");
            }
        }

        // Every call of the dialect, by everyone, with secrets in their places and in others'.
        let secrets = json!({"current_app": "CRM", "username": LINKED, "password": LINKED, "new_password": LINKED, "old_password": LINKED, "auth_username": LINKED, "auth_type": LINKED, "user_id": LINKED,
            "token": LINKED, "reset_key": LINKED, "confirm_token": LINKED, "credential": LINKED, "email": LINKED, "totp_code": LINKED, "totp_key": LINKED, "totp_label": {"a": LINKED}, "name": "x", "value": [LINKED], "target_ust": LINKED, "is_active": LINKED});
        let mut calls = 0;
        for route in usher::http::table().iter().filter(|route| route.dialect == Dialect::Zato) {
            let by = root(&service);
            canaries.add("a token", by.ust.as_deref().unwrap());
            let clients = [("nobody", service.anon(), None), ("root", service.anon(), by.ust.as_deref()), ("an account", feed.clone(), None), ("a wrong account", basic(LINKED, "feed"), None), ("another", basic("spare", OLD), None)];
            for (who, client, ust) in &clients {
                for members in [json!({}), secrets.clone(), json!({"user_id": null, "auth_type": "basic_auth", "auth_username": LINKED, "name": "x", "value": 1, "username": "fay", "password": LINKED}), json!({"new_password": OTHER_PASSWORD, "old_password": LINKED, "ust": LINKED}), json!([LINKED])] {
                    let mut body = members;
                    if let Some(members) = body.as_object_mut() {
                        members.insert("current_app".to_owned(), "CRM".into());
                        if let Some(ust) = ust {
                            members.insert("ust".to_owned(), (*ust).into());
                            members.insert("current_ust".to_owned(), (*ust).into());
                        }
                    }
                    let mut answer = client.call(route.method.as_str(), route.path, Some(body.to_string()));
                    if let Some(token) = answer.headers.remove("x-zato-sso-ust") {
                        tokens.add("a linked account's token", &token);
                    }
                    // What was told is a secret from here on.
                    let told: Vec<String> = ["ust", "totp_key", "reset_key"].iter().filter_map(|member| answer.json[*member].as_str().map(str::to_owned)).collect();
                    if told.is_empty() {
                        is_clean(&answer, &canaries, &format!("{} {} by {who}", route.method, route.path));
                        is_clean(&answer, &hashes, &format!("{} {} by {who}", route.method, route.path));
                    }
                    told.iter().filter(|told| told.starts_with("ust_")).for_each(|told| tokens.add("a token from an answer", told));
                    calls += 1;
                }
            }
        }
        assert!(calls > 500 && !tokens.0.is_empty(), "{calls}");

        for arguments in [&["linked", "list"][..], &["linked", "list", "--json"], &["user", "list", "--json"], &["user", "export"], &["user", "show", "fay"], &["session", "list", "--json"], &["audit", "export"], &["config", "show"]] {
            let shown = usher(&site, arguments, "").expect(0);
            for canaries in [&canaries, &tokens, &hashes] {
                canaries.are_not_in(&format!("{arguments:?}"), (shown.out.clone() + &shown.err).as_bytes());
            }
        }
        let kept = dump(&site);
        canaries.are_not_in("the database", &kept);
        tokens.are_not_in("the database", &kept);
        let log = service.terminate().log;
        assert!(log.contains("\"TRACE\"") && log.contains("usher::request"), "nothing was logged");
        for canaries in [&canaries, &tokens, &hashes] {
            canaries.are_not_in("the log", log.as_bytes());
        }
        assert!(!log.contains("$pbkdf2") && !log.contains("$argon2") && !log.contains("panicked"), "a hash is in the log");
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
        // All that is kept of a person has them as well.
        tells(ann.get("/api/v1/users/me/data"));
        let tells_them = |path: &&String| path.contains("/attributes") || path.ends_with("/data");
        for round in ["before", "after"] {
            for path in service.anon().get("/openapi.json").json["paths"].as_object().unwrap().keys().filter(|path| !tells_them(path)) {
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
                // Three attributes, and the key that signs heads of the trail.
                assert_eq!(rotated["resealed"], 4, "{rotated}");
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

/// Has someone enrol one-time codes, use codes and recovery codes, right ones and wrong ones. Returns the key, and a code that was not used.
fn second_factors(service: &Process, bob: &Client, canaries: &mut Canaries) -> (String, String) {
    const TOTP: &str = "/api/v1/users/me/totp";
    let enrolment = bob.post(TOTP, &json!({})).expect(201);
    is_clean(&enrolment, canaries, &format!("post {TOTP} by bob"));
    let key = text(&enrolment.json["totp_key"]);
    // The owner's view tells it meanwhile.
    assert_eq!(bob.get("/api/v1/users/me").json["totp_key"], key);
    canaries.add("the key of one-time codes", &key);
    // The service is a process of its own, with the clock of this machine: the code may change while it is sent.
    let now = || usher::domain::time::Clock::system().now();
    let codes: Vec<String> = (0..2).map(|steps| tools::code(&key, now() + Duration::from_secs(30 * steps))).collect();
    let confirm = |code: &String| bob.post(&format!("{TOTP}/confirm"), &json!({"code": code}));
    let confirmed = codes.iter().map(confirm).find(|answer| answer.status == 200).unwrap();
    is_clean(&confirmed, canaries, &format!("post {TOTP}/confirm by bob"));
    let recovery: Vec<String> = confirmed.json["recovery_codes"].as_array().unwrap().iter().map(text).collect();
    recovery.iter().for_each(|code| canaries.add("a recovery code", code));
    // Six digits alone may be part of any number: as a member's value they are looked for.
    codes.iter().for_each(|code| canaries.add("a code", &format!("{code:?}")));
    for code in codes.iter().chain(&recovery[..2]).chain([&key]) {
        let signed_in = service.anon().try_sign_in_with("bob", PASSWORD, code);
        is_clean(&signed_in, canaries, "post /api/v1/sessions by bob");
        if let Some(ust) = signed_in.json["ust"].as_str() {
            canaries.add("a token of bob", ust);
        }
    }
    (key, recovery[9].clone())
}
