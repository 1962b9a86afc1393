//! Hooks: who is told of what, when it is tried again, and how they are looked after.

use crate::both;
use crate::harness::receiver::{Got, Reaction, Receiver};
use crate::harness::{Client, Engine, PASSWORD, Site, Town};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::{Duration, Instant};

pub const HOOKS: &str = "/api/v1/hooks";
const OTHER_PASSWORD: &str = "marble cloud engine 77";

/// A town that may send notices to this machine, and trusts this receiver.
pub fn town_for(engine: Engine, receiver: &Receiver) -> Town {
    Town::on(site_for(engine, receiver))
}

pub fn site_for(engine: Engine, receiver: &Receiver) -> Site {
    let ca = format!("{:?}", receiver.ca.path().display().to_string());
    Site::new(engine).with("hooks.allowed_networks", "[\"127.0.0.1/32\"]").with("hooks.ca_file", &ca)
}

/// Makes a hook; returns its id and its secret.
#[track_caller]
pub fn hook(by: &Client, name: &str, url: &str, event_types: Value) -> (String, String) {
    let made = by.post(HOOKS, &json!({"name": name, "url": url, "event_types": event_types})).expect(201).json;
    (made["hook_id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

/// The signatures of what was received that this secret confirms, judged as a receiver would: by the text of the specification alone.
fn confirmed(got: &Got, secret: &str) -> usize {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{}.{}.{}", got.headers["webhook-id"], got.headers["webhook-timestamp"], got.body).as_bytes());
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    got.headers["webhook-signature"].split(' ').filter(|signature| *signature == expected).count()
}

fn attributes(got: &Got) -> Vec<&str> {
    got.json["attributes"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect()
}

fn deliveries(by: &Client, hook_id: &str) -> Vec<Value> {
    by.get(&format!("{HOOKS}/{hook_id}/deliveries")).expect(200).json["items"].as_array().unwrap().clone()
}

/// Looks again and again, while the couriers work, until it is so.
#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what} did not come about");
    }
}

both! {
    /// Every change of an account is told: its kind, whom it is about, who made it, and the names of what changed, without a value; signed
    /// as the Standard Webhooks specification has it.
    fn account_events_are_told(engine) {
        let receiver = Receiver::new();
        let town = Town::on(site_for(engine, &receiver).with("lockout.lock_after", "5").with("lockout.account_free", "100"));
        let root = town.root();
        let (_, secret) = hook(&root, "crm", &receiver.url("/in?x=1"), Value::Null);
        let users = "/api/v1/users";

        let made = root.with("x-correlation-id", "ticket-1").post(users, &json!({"username": "ann", "password": PASSWORD, "email": "ann@example.com"})).expect(201);
        let ann = made.json["user_id"].as_str().unwrap().to_owned();
        let got = receiver.next();
        assert_eq!(got.path, "/in?x=1");
        assert_eq!(got.headers["content-type"], "application/json");
        assert!(got.headers["user-agent"].starts_with("usher/"));
        assert_eq!(got.headers["webhook-id"], got.json["id"].as_str().unwrap());
        assert_eq!(got.headers["webhook-timestamp"], (town.now().micros() / 1_000_000).to_string());
        assert_eq!(confirmed(&got, &secret), 1);
        let keys: Vec<&String> = got.json.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["id", "type", "time", "cid", "subject", "user_id", "actor_type", "actor", "application", "attributes"]);
        let expected = json!({"type": "user.created", "cid": "ticket-1", "subject": ann, "user_id": ann, "actor_type": "user",
            "actor": town.root_id, "application": "default", "time": town.now().to_string()});
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&got.json[name], value, "{name}");
        }
        assert!(attributes(&got).contains(&"email") && !got.body.contains("ann@example.com") && !got.body.contains("\"ann\""));

        let told = |kind: &str, subject: &str| {
            let got = receiver.next();
            assert_eq!((got.kind(), got.json["subject"].as_str(), confirmed(&got, &secret)), (kind, Some(subject), 1), "{}", got.body);
            assert_eq!(got.json["user_id"].as_str(), Some(subject).filter(|_| kind.starts_with("user.")));
            got
        };
        let of = |rest: &str| format!("{users}/{ann}{rest}");
        root.patch(&of(""), &json!({"remark": "a secret remark", "first_name": "Ann"})).expect(200);
        let got = told("user.updated", &ann);
        assert_eq!(attributes(&got), ["first_name", "remark"]);
        assert!(!got.body.contains("a secret remark"));
        // What changes nothing is not told, nor what is refused, nor what is read.
        root.patch(&of(""), &json!({"first_name": "Ann"})).expect(200);
        root.patch(&of(""), &json!({"username": ""})).expect(422);
        root.get(&of("")).expect(200);
        root.patch(&of(""), &json!({"user_role": "publisher"})).expect(200);
        let (first, second) = (receiver.next(), receiver.next());
        let mut kinds = [first.kind(), second.kind()];
        kinds.sort_unstable();
        assert_eq!(kinds, ["user.role_changed", "user.updated"]);
        assert_eq!(attributes(&first), ["user_role"]);

        let group = root.post("/api/v1/groups", &json!({"name": "staff"})).expect(201).json["group_id"].as_str().unwrap().to_owned();
        told("group.created", &group);
        let members = format!("/api/v1/groups/{group}/members");
        root.post(&members, &json!({"user_id": ann})).expect(200);
        assert_eq!(attributes(&told("user.groups_changed", &ann)), ["groups"]);
        root.post(&members, &json!({"user_id": ann})).expect(200);
        root.delete(&format!("{members}/{ann}")).expect(204);
        told("user.groups_changed", &ann);
        root.patch(&format!("/api/v1/groups/{group}"), &json!({"name": "crew"})).expect(200);
        told("group.updated", &group);
        root.delete(&format!("/api/v1/groups/{group}")).expect(204);
        told("group.deleted", &group);

        root.post(&of("/lock"), &json!({"reason": "lost laptop"})).expect(200);
        let got = told("user.locked", &ann);
        assert!(attributes(&got).contains(&"lock_reason") && !got.body.contains("laptop"));
        root.post(&of("/unlock"), &json!({})).expect(200);
        told("user.unlocked", &ann);
        root.post(&of("/reject"), &json!({})).expect(200);
        told("user.rejected", &ann);
        root.post(&of("/approve"), &json!({})).expect(200);
        told("user.approved", &ann);
        town.advance(std::time::Duration::from_secs(1));
        root.put(&of("/password"), &json!({"new_password": OTHER_PASSWORD})).expect(200);
        assert!(!told("user.password_changed", &ann).body.contains(OTHER_PASSWORD));

        let session = town.anon().sign_in("ann", OTHER_PASSWORD);
        let changed = session.put("/api/v1/users/me/password", &json!({"old_password": OTHER_PASSWORD, "new_password": PASSWORD})).expect(200);
        let got = told("user.password_changed", &ann);
        assert_eq!(got.json["actor"], ann.as_str());
        let session = session.bearing(changed.json["ust"].as_str().unwrap());
        session.patch("/api/v1/users/me", &json!({"last_name": "Other"})).expect(200);
        told("user.updated", &ann);
        session.delete("/api/v1/sessions/current").expect(204);
        told("user.sessions_ended", &ann);
        session.delete("/api/v1/sessions/current").expect(204);
        let session = town.anon().sign_in("ann", PASSWORD);
        root.delete(&of(&format!("/sessions/{}", session.session_id.unwrap()))).expect(204);
        told("user.sessions_ended", &ann);
        root.delete(&of("/sessions")).expect(204);
        told("user.sessions_ended", &ann);
        // A password that is set in the course of a sign-in, and a lock that failures bring about.
        root.put(&of("/password"), &json!({"new_password": OTHER_PASSWORD, "must_change": true})).expect(200);
        told("user.password_changed", &ann);
        town.anon().post("/api/v1/sessions", &json!({"username": "ann", "password": OTHER_PASSWORD, "new_password": PASSWORD})).expect(201);
        told("user.password_changed", &ann);
        for _ in 0..5 {
            town.anon().try_sign_in("ann", "violet harbour sixteen").refused(401, "credentials_invalid");
        }
        assert_eq!(told("user.locked", &ann).json["actor_type"], "anonymous");
        // The command line takes the same way; the service carries what it wrote.
        town.usher(&["user", "unlock", "ann"]).expect(0);
        assert_eq!(told("user.unlocked", &ann).json["actor_type"], "operator");
        root.delete(&of("")).expect(204);
        let got = told("user.deleted", &ann);
        assert!(attributes(&got).is_empty() && got.json["id"] == got.headers["webhook-id"].as_str());
        until("an empty outbox", || town.count("SELECT COUNT(*) AS count FROM outbox") == 0);
        assert_eq!(receiver.rest().len(), 0);
    }

    /// Second factors, networks and API keys are told as what they are, and none of what they are made of.
    fn credentials_are_told(engine) {
        let receiver = Receiver::new();
        let town = town_for(engine, &receiver);
        let root = town.root();
        let ann = town.user("ann");
        hook(&root, "crm", &receiver.url("/"), Value::Null);
        let told = |kind: &str, names: &[&str], secrets: &[&str]| {
            let got = receiver.next();
            assert_eq!((got.kind(), got.json["user_id"].as_str(), attributes(&got)), (kind, Some(ann.id()), names.to_vec()), "{}", got.body);
            assert!(secrets.iter().all(|secret| !got.body.contains(secret)), "{}", got.body);
        };
        let key = ann.post("/api/v1/users/me/totp", &json!({})).expect(201).json["totp_key"].as_str().unwrap().to_owned();
        let confirmed = ann.post("/api/v1/users/me/totp/confirm", &json!({"code": town.code(&key)})).expect(200).json;
        let code = confirmed["recovery_codes"][0].as_str().unwrap();
        told("user.second_factor_changed", &["is_totp_enabled", "recovery_codes"], &[&key, code]);
        let signed_in = town.anon().post("/api/v1/sessions", &json!({"username": "ann", "password": PASSWORD, "totp_code": code})).expect(201).json;
        told("user.second_factor_changed", &["recovery_codes"], &[code]);
        let ann_again = town.anon().bearing(signed_in["ust"].as_str().unwrap());
        ann_again.post("/api/v1/users/me/recovery-codes", &json!({"code": confirmed["recovery_codes"][1]})).expect(201);
        told("user.second_factor_changed", &["recovery_codes"], &[]);
        root.delete(&format!("/api/v1/users/{}/totp", ann.id())).expect(204);
        told("user.second_factor_changed", &["is_totp_enabled", "recovery_codes"], &[]);
        let made = root.post("/api/v1/api-keys", &json!({"user_id": ann.id(), "name": "nightly robot"})).expect(201).json;
        told("user.api_keys_changed", &["api_key"], &[made["key"].as_str().unwrap(), "nightly robot"]);
        root.delete(&format!("/api/v1/api-keys/{}", made["key_id"].as_str().unwrap())).expect(204);
        told("user.api_keys_changed", &["api_key"], &[]);
        root.put(&format!("/api/v1/users/{}/networks", ann.id()), &json!({"networks": ["192.0.2.0/24"]})).expect(200);
        told("user.networks_changed", &["networks"], &["192.0.2"]);
        assert_eq!(receiver.rest().len(), 0);
    }

    /// A hook is told of what it listens to; where none listens, nothing is written.
    fn hooks_listen(engine) {
        let receiver = Receiver::new();
        let town = town_for(engine, &receiver);
        let root = town.root();
        // What would be carried waits where it can be counted.
        receiver.always(Reaction::Status(503));
        let rows = || town.count("SELECT COUNT(*) AS count FROM outbox");
        town.create("nobody-listens");
        assert_eq!(rows(), 0);
        let (locks, _) = hook(&root, "locks", &receiver.url("/locks"), json!(["user.locked", "user.unlocked"]));
        let (off, _) = hook(&root, "off", &receiver.url("/off"), Value::Null);
        root.patch(&format!("{HOOKS}/{off}"), &json!({"is_active": false})).expect(200);
        let ann = town.create("ann");
        assert_eq!(rows(), 0);
        root.post(&format!("/api/v1/users/{ann}/lock"), &json!({})).expect(200);
        assert_eq!(rows(), 1);
        assert_eq!(receiver.next().path, "/locks");
        root.patch(&format!("{HOOKS}/{locks}"), &json!({"event_types": null})).expect(200);
        root.patch(&format!("/api/v1/users/{ann}"), &json!({"remark": "x"})).expect(200);
        assert_eq!(rows(), 2);
        assert_eq!(receiver.next_of("user.updated").path, "/locks");
        root.delete(&format!("{HOOKS}/{locks}")).expect(204);
        assert_eq!(rows(), 0, "what waited for a hook outlives it");
    }

    /// What cannot be told is not done: the notice is part of the change.
    fn a_notice_and_its_change_are_one(engine) {
        let receiver = Receiver::new();
        let town = town_for(engine, &receiver);
        let root = town.root();
        hook(&root, "crm", &receiver.url("/"), Value::Null);
        let ann = town.create("ann");
        assert_eq!(receiver.next().kind(), "user.created");
        until("an empty outbox", || town.count("SELECT COUNT(*) AS count FROM outbox") == 0);
        town.sql("ALTER TABLE outbox RENAME TO outbox_away");
        let refused = root.post(&format!("/api/v1/users/{ann}/lock"), &json!({}));
        assert!(refused.status >= 500, "{refused:?}");
        town.sql("ALTER TABLE outbox_away RENAME TO outbox");
        assert_eq!(root.get(&format!("/api/v1/users/{ann}")).expect(200).json["is_locked"], false);
        root.post(&format!("/api/v1/users/{ann}/lock"), &json!({})).expect(200);
        assert_eq!(receiver.next_of("user.locked").json["subject"], ann.as_str());
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// What fails is tried again under the same id, later and later, and given up at last; it can be tried again by hand, and a restart loses
    /// nothing.
    fn failures_are_tried_again(engine) {
        let receiver = Receiver::new();
        let mut town = town_for(engine, &receiver);
        let (hook_id, secret) = hook(&town.root(), "crm", &receiver.url("/"), json!(["user.created"]));
        receiver.always(Reaction::Status(500));
        town.create("ann");
        let first = receiver.next();
        let state = |town: &Town| deliveries(&town.root(), &hook_id);
        let attempts = |town: &Town, count: i64| until("a failure", || state(town)[0]["attempts"] == count && state(town)[0]["last_error"] == "answered 500");
        attempts(&town, 1);
        let waiting = state(&town);
        let keys: Vec<&String> = waiting[0].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["delivery_id", "event_type", "state", "attempts", "next_time", "last_error", "created_time"]);
        assert_eq!((&waiting[0]["state"], &waiting[0]["event_type"], waiting.len()), (&json!("waiting"), &json!("user.created"), 1));
        assert_eq!(waiting[0]["delivery_id"], first.json["id"]);
        assert_eq!(waiting[0]["next_time"], (town.now() + Duration::from_secs(5)).to_string());
        town = town.restart();
        for (number, seconds) in [5, 30, 120, 600, 1800, 3600, 4 * 3600, 8 * 3600, 16 * 3600, 20 * 3600].into_iter().enumerate() {
            assert_eq!(receiver.rest().len(), 0, "it was tried before its time");
            town.advance(Duration::from_secs(seconds));
            let again = receiver.next();
            assert_eq!((&again.json, again.headers["webhook-id"].as_str()), (&first.json, first.json["id"].as_str().unwrap()));
            assert_eq!(again.headers["webhook-timestamp"], (town.now().micros() / 1_000_000).to_string());
            assert_eq!(confirmed(&again, &secret), 1);
            attempts(&town, i64::try_from(number).unwrap() + 2);
        }
        let given_up = state(&town);
        assert_eq!((&given_up[0]["state"], &given_up[0]["next_time"]), (&json!("given_up"), &Value::Null));
        town.advance(Duration::from_secs(24 * 3600));

        let root = town.root();
        let retry = |id: &str| format!("{HOOKS}/{hook_id}/deliveries/{id}/retry");
        let id = first.json["id"].as_str().unwrap();
        root.post(&retry("018f0000-0000-7000-8000-000000000000"), &json!({})).refused(404, "not_found");
        let waiting = root.post(&retry(id), &json!({})).expect(200).json;
        assert_eq!((&waiting["state"], &waiting["attempts"]), (&json!("waiting"), &json!(0)));
        receiver.next();
        attempts(&town, 1);
        town.sql("UPDATE outbox SET next_time = NULL");
        receiver.always(Reaction::Status(200));
        assert_eq!(town.usher(&["hook", "retry", "CRM", "--json"]).expect(0).json(), json!({"retried": 1}));
        assert_eq!(receiver.next().json, first.json);
        until("an empty outbox", || state(&town).is_empty());
    }

    /// A receiver that says that it is gone is told nothing more: its hook is switched off, by usher itself, and what waits is given up.
    fn a_receiver_that_is_gone(engine) {
        let receiver = Receiver::new();
        let town = town_for(engine, &receiver);
        let (hook_id, _) = hook(&town.root(), "crm", &receiver.url("/"), json!(["user.created"]));
        receiver.react(&[Reaction::Status(500), Reaction::Status(410)]);
        town.create("ann");
        receiver.next();
        until("a failure", || deliveries(&town.root(), &hook_id)[0]["last_error"] == "answered 500");
        town.create("bob");
        receiver.next();
        let shown = || town.root().get(&format!("{HOOKS}/{hook_id}")).expect(200).json;
        until("a hook that is off", || shown()["is_active"] == false);
        until("two given up", || deliveries(&town.root(), &hook_id).iter().filter(|d| d["state"] == "given_up").count() == 2);
        let events = town.root().get(&format!("/api/v1/audit-events?action=hook.update&subject={hook_id}")).expect(200).json;
        assert_eq!(events["items"].as_array().unwrap().len(), 1);
        assert_eq!((&events["items"][0]["actor_type"], &events["items"][0]["changes"]["is_active"]["after"]), (&json!("system"), &json!(false)));
        town.create("eve");
        assert_eq!(deliveries(&town.root(), &hook_id).len(), 2);
        town.advance(Duration::from_secs(60));
        let root = town.root();
        let id = deliveries(&root, &hook_id)[0]["delivery_id"].as_str().unwrap().to_owned();
        root.post(&format!("{HOOKS}/{hook_id}/deliveries/{id}/retry"), &json!({})).refused(409, "hook_inactive");
        root.patch(&format!("{HOOKS}/{hook_id}"), &json!({"is_active": true})).expect(200);
        root.post(&format!("{HOOKS}/{hook_id}/deliveries/{id}/retry"), &json!({})).expect(200);
        assert_eq!(receiver.next().json["id"], id.as_str());
    }

    /// What is given up while it is carried stays given up, whatever comes of it.
    fn switched_off_while_it_is_carried(engine) {
        let receiver = Receiver::new();
        receiver.react(&[Reaction::Hang]);
        let town = town_for(engine, &receiver);
        let root = town.root();
        let (hook_id, _) = hook(&root, "crm", &receiver.url("/"), json!(["user.created"]));
        let path = format!("{HOOKS}/{hook_id}");
        town.create("ann");
        let carried = receiver.next();
        for is_active in [false, true] {
            root.patch(&path, &json!({"is_active": is_active})).expect(200);
        }
        let bob = town.create("bob");
        // The lane goes on to the next message once it is done with the one before.
        assert_eq!(receiver.next().json["subject"], bob.as_str());
        until("bob's message is gone", || deliveries(&root, &hook_id).len() == 1);
        let left = &deliveries(&root, &hook_id)[0];
        assert_eq!((&left["delivery_id"], &left["state"]), (&carried.json["id"], &json!("given_up")), "{left}");
    }

    /// A receiver that hangs holds up nobody else, whatever waits for it.
    fn a_receiver_that_hangs(engine) {
        let (slow, quick) = (Receiver::new(), Receiver::in_clear());
        slow.always(Reaction::Hang);
        let town = Town::on(site_for(engine, &slow).with("hooks.allow_http", "true"));
        let root = town.root();
        hook(&root, "slow", &slow.url("/"), json!(["user.created"]));
        let quick_url = format!("http://127.0.0.1:{}/", quick.port);
        for number in 0..32 {
            root.post("/api/v1/users", &json!({"username": format!("waits-{number}")})).expect(201);
        }
        slow.next();
        hook(&root, "quick", &quick_url, json!(["user.created"]));
        let began = Instant::now();
        for number in 0..16 {
            root.post("/api/v1/users", &json!({"username": format!("passes-{number}")})).expect(201);
        }
        for _ in 0..16 {
            quick.next();
        }
        // Those that hang take five seconds each, four at once: forty seconds.
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    }

    /// Only so many messages wait for a hook. Beyond it events are left out, and the receiver is told so once it keeps up again.
    fn what_waits_is_bounded(engine) {
        let receiver = Receiver::new();
        receiver.always(Reaction::Status(500));
        let town = Town::on(site_for(engine, &receiver).with("hooks.max_waiting", "6"));
        let root = town.root();
        let (hook_id, secret) = hook(&root, "crm", &receiver.url("/"), json!(["user.created"]));
        let full = town.now();
        for number in 0..40 {
            root.post("/api/v1/users", &json!({"username": format!("user-{number}")})).expect(201);
        }
        assert_eq!(town.count("SELECT COUNT(*) AS count FROM outbox"), 6);
        assert_eq!(root.get(&format!("{HOOKS}/{hook_id}")).json["missed_since"], full.to_string());
        until("all were tried", || deliveries(&root, &hook_id).iter().all(|d| d["last_error"] == "answered 500"));
        receiver.rest();
        receiver.always(Reaction::Status(204));
        town.advance(Duration::from_secs(5));
        let missed = receiver.next_of("events.missed");
        assert_eq!((&missed.json["from"], &missed.json["time"]), (&json!(full.to_string()), &json!(town.now().to_string())));
        assert_eq!(missed.json["id"], missed.headers["webhook-id"].as_str());
        assert_eq!(confirmed(&missed, &secret), 1);
        until("an empty outbox", || deliveries(&root, &hook_id).is_empty());
        assert_eq!(root.get(&format!("{HOOKS}/{hook_id}")).json["missed_since"], Value::Null);
        receiver.rest();
        let late = town.create("late");
        assert_eq!(receiver.next().json["subject"], late.as_str());
    }

    /// A hook that missed events and is switched off is told of them once it is on again, and not before.
    fn missed_and_switched_off(engine) {
        let (receiver, witness) = (Receiver::new(), Receiver::in_clear());
        receiver.always(Reaction::Status(500));
        let site = site_for(engine, &receiver).with("hooks.max_waiting", "3").with("hooks.allow_http", "true");
        let town = Town::on(site);
        let root = town.root();
        let (hook_id, _) = hook(&root, "crm", &receiver.url("/"), json!(["user.created"]));
        let path = format!("{HOOKS}/{hook_id}");
        hook(&root, "witness", &format!("http://127.0.0.1:{}/", witness.port), json!(["group.created"]));
        for number in 0..9 {
            root.post("/api/v1/users", &json!({"username": format!("user-{number}")})).expect(201);
        }
        root.patch(&path, &json!({"is_active": false})).expect(200);
        assert_eq!(deliveries(&root, &hook_id).iter().filter(|d| d["state"] == "given_up").count(), 3);
        // What another hook is told afterwards shows that the outbox was looked into meanwhile, each time.
        for number in 0..2 {
            root.post("/api/v1/groups", &json!({"name": format!("group-{number}")})).expect(201);
            witness.next();
        }
        assert_eq!(root.get(&path).json["missed_since"], town.now().to_string());
        receiver.always(Reaction::Status(204));
        root.patch(&path, &json!({"is_active": true})).expect(200);
        receiver.next_of("events.missed");
        assert_eq!(root.get(&path).json["missed_since"], Value::Null);
    }

    /// A fresh secret signs at once; the one before it signs as well for a day, and then no longer.
    fn renewing_a_secret(engine) {
        let receiver = Receiver::new();
        let town = town_for(engine, &receiver);
        let (hook_id, first) = hook(&town.root(), "crm", &receiver.url("/"), json!(["user.created"]));
        let renew = |town: &Town| town.root().post(&format!("{HOOKS}/{hook_id}/secret"), &json!({})).expect(200).json;
        let renewed = renew(&town);
        let second = renewed["secret"].as_str().unwrap().to_owned();
        assert!(second.starts_with("whsec_") && second != first);
        assert_eq!(renewed["hook_id"], hook_id.as_str());
        let signed = |name: &str, secrets: &[&str]| {
            town.create(name);
            let got = receiver.next();
            assert_eq!(got.headers["webhook-signature"].split(' ').count(), secrets.len());
            assert!(secrets.iter().all(|secret| confirmed(&got, secret) == 1), "{name}");
        };
        signed("ann", &[&second, &first]);
        town.advance(Duration::from_secs(24 * 3600 - 1));
        signed("bob", &[&second, &first]);
        town.advance(Duration::from_secs(1));
        signed("cid", &[&second]);
        let third = renew(&town)["secret"].as_str().unwrap().to_owned();
        signed("dan", &[&third, &second]);
        let fourth = renew(&town)["secret"].as_str().unwrap().to_owned();
        signed("eve", &[&fourth, &third]);
        assert_eq!(town.count("SELECT COUNT(*) AS count FROM hook_secrets"), 2);
    }

    /// S11: data keys are rotated while hooks have secrets and messages wait; all of it opens afterwards, under the one key that is left.
    fn rotation_of_data_keys(engine) {
        let receiver = Receiver::new();
        let town = Town::on(site_for(engine, &receiver).with("tokens.issuer", "\"https://sso.example\""));
        let root = town.root();
        let (_, secret) = hook(&root, "crm", &receiver.url("/"), json!(["user.created"]));
        receiver.always(Reaction::Status(500));
        town.create("ann");
        receiver.next();
        let token = |by: &Client| by.post("/api/v1/sessions/current/tokens", &json!({"audience": "default"})).expect(201).json;
        token(&root);
        until("a failure", || town.count("SELECT COUNT(*) AS count FROM outbox WHERE last_error IS NOT NULL") == 1);
        let rotated = town.usher(&["secrets", "rotate", "--json"]).expect(0).json();
        assert_eq!((&rotated["resealed"], &rotated["dropped"]), (&json!(4), &json!(1)));
        assert_eq!(town.count("SELECT COUNT(*) AS count FROM data_keys"), 1);
        receiver.always(Reaction::Status(204));
        town.advance(Duration::from_secs(5));
        assert_eq!(confirmed(&receiver.next(), &secret), 1);
        token(&root);
    }

    /// A deleted user is gone from what waits, but for the id; and what waits is not gone with it.
    fn deleting_a_user_keeps_what_waits(engine) {
        let receiver = Receiver::new();
        let town = town_for(engine, &receiver);
        let root = town.root();
        hook(&root, "crm", &receiver.url("/"), Value::Null);
        receiver.always(Reaction::Status(500));
        let ann = town.create("ann-of-the-lighthouse");
        root.delete(&format!("/api/v1/users/{ann}")).expect(204);
        assert_eq!(town.count("SELECT COUNT(*) AS count FROM outbox"), 2);
        let kinds: Vec<Got> = (0..2).map(|_| receiver.next()).collect();
        assert!(kinds.iter().all(|got| got.json["user_id"] == ann.as_str() && !got.body.contains("lighthouse")));
    }

    /// Making, changing and removing, and what is refused, with the member at fault.
    fn looking_after_hooks(engine) {
        let receiver = Receiver::new();
        let town = town_for(engine, &receiver);
        let root = town.root();
        let url = receiver.url("/");
        let made = root.post(HOOKS, &json!({"name": "CRM", "url": url, "event_types": ["user.locked", "user.created", "user.locked"], "is_active": false})).expect(201);
        assert_eq!(made.keys(), ["hook_id", "name", "url", "event_types", "is_active", "missed_since", "created_time", "secret"]);
        assert_eq!((&made.json["event_types"], &made.json["is_active"]), (&json!(["user.created", "user.locked"]), &json!(false)));
        let hook_id = made.json["hook_id"].as_str().unwrap();
        let path = format!("{HOOKS}/{hook_id}");
        let secret = made.json["secret"].as_str().unwrap();
        assert_eq!(STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap().len(), 32);

        let at = |answer: crate::harness::Answer, status: u16, code: &str, pointer: &str| {
            let answer = answer.refused(status, code);
            assert_eq!(answer.json["errors"][0]["pointer"], pointer, "{}", answer.text);
        };
        let make = |body: Value| root.post(HOOKS, &body);
        at(make(json!({"name": "crm", "url": url})), 409, "value_taken", "/name");
        at(make(json!({"name": "", "url": url})), 422, "invalid", "/name");
        at(make(json!({"name": "x", "url": url, "nonsense": 1})), 422, "invalid", "/nonsense");
        at(make(json!({"name": "x", "url": url, "event_types": []})), 422, "invalid", "/event_types");
        at(make(json!({"name": "x", "url": url, "event_types": ["user.vanished"]})), 422, "invalid", "/event_types");
        make(json!({"name": "x"})).refused(400, "bad_type");
        make(json!({"name": "x", "url": url, "event_types": "user.locked"})).refused(400, "bad_type");
        for bad in ["", "ftp://example.com", "https://user@example.com", "https://example.com#x", "https://example.com:25", "http://example.com"] {
            at(make(json!({"name": "x", "url": bad})), 422, "invalid", "/url");
        }
        at(root.patch(&path, &json!({"url": "https://10.0.0.1/"})), 422, "invalid", "/url");
        at(root.patch(&path, &json!({"secret": "whsec_x"})), 422, "invalid", "/secret");
        root.patch(&path, &json!({})).refused(422, "invalid");

        let changed = root.patch(&path, &json!({"name": "crm two", "event_types": null, "is_active": true})).expect(200);
        assert_eq!((&changed.json["name"], &changed.json["event_types"], &changed.json["is_active"]), (&json!("crm two"), &Value::Null, &json!(true)));
        assert_eq!(root.get(&path).expect(200).json, changed.json);
        let listed = root.get(HOOKS).expect(200);
        assert_eq!(listed.json["items"], json!([changed.json]));
        assert!(!listed.text.contains("whsec_") && !listed.text.contains("secret"));

        for number in 1..32 {
            make(json!({"name": format!("hook {number}"), "url": url})).expect(201);
        }
        make(json!({"name": "one too many", "url": url})).refused(409, "too_many_hooks");
        root.delete(&path).expect(204);
        root.get(&path).refused(404, "not_found");
        root.delete(&path).refused(404, "not_found");
        root.get(&format!("{HOOKS}/nonsense")).refused(404, "not_found");
        root.get(&format!("{path}/deliveries")).refused(404, "not_found");
        make(json!({"name": "again", "url": url})).expect(201);
    }

    /// S26: whoever changes where events go has signed in lately.
    fn changes_need_a_fresh_sign_in(engine) {
        let receiver = Receiver::new();
        let town = town_for(engine, &receiver);
        let root = town.root();
        let (hook_id, _) = hook(&root, "crm", &receiver.url("/"), Value::Null);
        town.advance(Duration::from_secs(301));
        let path = format!("{HOOKS}/{hook_id}");
        root.post(HOOKS, &json!({"name": "x", "url": receiver.url("/")})).refused(403, "fresh_sign_in_required");
        root.patch(&path, &json!({"is_active": false})).refused(403, "fresh_sign_in_required");
        root.delete(&path).refused(403, "fresh_sign_in_required");
        root.post(&format!("{path}/secret"), &json!({})).refused(403, "fresh_sign_in_required");
        root.post(&format!("{path}/deliveries/018f0000-0000-7000-8000-000000000000/retry"), &json!({})).refused(403, "fresh_sign_in_required");
        root.get(&path).expect(200);
        root.get(&format!("{path}/deliveries")).expect(200);
    }

    /// Pages of deliveries.
    fn deliveries_come_in_pages(engine) {
        let receiver = Receiver::new();
        receiver.always(Reaction::Status(500));
        let town = town_for(engine, &receiver);
        let root = town.root();
        let (hook_id, _) = hook(&root, "crm", &receiver.url("/"), json!(["user.created"]));
        for number in 0..7 {
            root.post("/api/v1/users", &json!({"username": format!("user-{number}")})).expect(201);
        }
        let path = format!("{HOOKS}/{hook_id}/deliveries");
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = root.get(&format!("{path}?limit=3{cursor}")).expect(200).json;
            seen.extend(page["items"].as_array().unwrap().iter().map(|d| d["delivery_id"].as_str().unwrap().to_owned()));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let all: Vec<String> = deliveries(&root, &hook_id).iter().map(|d| d["delivery_id"].as_str().unwrap().to_owned()).collect();
        assert_eq!((seen.len(), &seen), (7, &all));
        root.get(&format!("{path}?limit=0")).refused(400, "bad_query");
        root.get(&format!("{path}?cursor=nonsense")).refused(400, "bad_query");
    }
}
