//! Hooks as a way to make usher call what it should not (S44, R19): whoever may name a URL is taken for an attacker here.

use crate::both;
use crate::faults::{furnished, root};
use crate::harness::process::{Process, program};
use crate::harness::receiver::{Reaction, Receiver, Trap};
use crate::harness::{Client, Engine, Site, Town};
use crate::hooks::{HOOKS, hook, site_for, town_for};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Waits until the one delivery of a hook has failed, and tells why.
#[track_caller]
fn cause(by: &Client, hook_id: &str) -> String {
    let began = Instant::now();
    loop {
        let found = by.get(&format!("{HOOKS}/{hook_id}/deliveries")).expect(200).json;
        if let Some(cause) = found["items"][0]["last_error"].as_str() {
            return cause.to_owned();
        }
        assert!(began.elapsed() < Duration::from_secs(30), "nothing failed: {found}");
    }
}

fn created(by: &Client, name: &str) {
    by.post("/api/v1/users", &json!({"username": name})).expect(201);
}

both! {
    /// S44, R19: addresses that are not the Internet's are refused where they are named, and not connected to where a name leads to them.
    fn private_addresses(engine) {
        let trap = Trap::new();
        let town = Town::on(Site::new(engine).with("hooks.allow_http", "true"));
        let root = town.root();
        for host in ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "[::1]", "[fd00::1]", "[fe80::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"] {
            let answer = root.post(HOOKS, &json!({"name": host, "url": format!("http://{host}:{}/", trap.port)})).refused(422, "invalid");
            assert_eq!(answer.json["errors"][0]["pointer"], "/url", "{host}");
        }
        // A name can only be judged when it is resolved, and a number that a resolver understands is a name.
        for (name, host) in [("a", "localhost"), ("b", "127.1"), ("c", "2130706433"), ("d", "0x7f.1")] {
            let (hook_id, _) = hook(&root, name, &format!("http://{host}:{}/", trap.port), json!(["user.created"]));
            created(&root, &format!("user-{name}"));
            let cause = cause(&root, &hook_id);
            assert!(cause.contains("does not connect to"), "{host}: {cause}");
            assert!(!cause.contains("127.0.0.1"), "{cause} tells what names lead to");
            root.delete(&format!("{HOOKS}/{hook_id}")).expect(204);
        }
        assert_eq!(trap.came(), 0);
    }

    /// S44, R19: a redirect leads nowhere, not even to where a hook might go by itself.
    fn redirects(engine) {
        let (receiver, elsewhere) = (Receiver::new(), Trap::new());
        let town = town_for(engine, &receiver);
        let root = town.root();
        for status in [301, 302, 303, 307, 308] {
            let location = format!("https://127.0.0.1:{}/", elsewhere.port);
            receiver.react(&[Reaction::Redirect(status, location)]);
            let (hook_id, _) = hook(&root, &format!("to {status}"), &receiver.url("/"), json!(["user.created"]));
            created(&root, &format!("user-{status}"));
            receiver.next();
            assert_eq!(cause(&root, &hook_id), format!("answered {status}"));
            root.delete(&format!("{HOOKS}/{hook_id}")).expect(204);
        }
        assert_eq!((elsewhere.came(), receiver.rest().len()), (0, 0));
    }

    /// S44: five seconds for everything, however the other side wastes them; and of its answer no more than the header.
    fn time_and_size(engine) {
        let receiver = Receiver::new();
        let town = town_for(engine, &receiver);
        let root = town.root();
        for (name, reaction, told) in [
            ("hangs", Reaction::Hang, "did not answer within 5 s"),
            ("trickles", Reaction::Trickle, "did not answer within 5 s"),
            ("babbles", Reaction::EndlessHeader, "answered with a header of more than 16 KiB"),
        ] {
            receiver.react(&[reaction]);
            let (hook_id, _) = hook(&root, name, &receiver.url("/"), json!(["user.created"]));
            created(&root, &format!("user-{name}"));
            receiver.next();
            let began = Instant::now();
            assert_eq!(cause(&root, &hook_id), told, "{name}");
            assert!(began.elapsed() < Duration::from_secs(15), "{name}: {:?}", began.elapsed());
            root.delete(&format!("{HOOKS}/{hook_id}")).expect(204);
        }
        // A body is not read, so one without an end keeps nobody.
        receiver.react(&[Reaction::Endless]);
        let (hook_id, _) = hook(&root, "endless", &receiver.url("/"), json!(["user.created"]));
        let began = Instant::now();
        created(&root, "user-endless");
        receiver.next();
        while root.get(&format!("{HOOKS}/{hook_id}/deliveries")).json["items"] != json!([]) {
            assert!(began.elapsed() < Duration::from_secs(15));
        }
    }

    /// S44: only https, unless a setting says otherwise; and a certificate that goes back to the authorities of the settings.
    fn tls(engine) {
        let (trusted, stranger) = (Receiver::new(), Receiver::new());
        let town = town_for(engine, &trusted);
        let root = town.root();
        root.post(HOOKS, &json!({"name": "clear", "url": "http://example.com/"})).refused(422, "invalid");
        let (hook_id, _) = hook(&root, "stranger", &stranger.url("/"), json!(["user.created"]));
        created(&root, "ann");
        let cause = cause(&root, &hook_id);
        assert!(cause.starts_with("cannot be reached") && cause.contains("certificate"), "{cause}");
        assert_eq!(stranger.rest().len(), 0);
    }

    /// S44: a proxy in the environment has no effect, and the log tells nothing that a hook was given.
    fn the_environment(engine) {
        let (receiver, proxy) = (Receiver::new(), Trap::new());
        let site = furnished(site_for(engine, &receiver).with("log.filter", "\"trace\""));
        let mut command = program(site.folder.path());
        command.arg("serve").arg("--config").arg(site.settings());
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"] {
            command.env(name, format!("http://127.0.0.1:{}", proxy.port));
        }
        let service = Process::start(command);
        let by = root(&service);
        let (_, secret) = hook(&by, "crm", &receiver.url("/path-of-the-hook"), Value::Null);
        created(&by, "ann");
        let got = receiver.next_of("user.created");
        assert_eq!(proxy.came(), 0);
        let log = service.terminate().log;
        for told in [secret.trim_start_matches("whsec_"), "path-of-the-hook", got.headers["webhook-signature"].as_str(), got.body.as_str()] {
            assert!(!log.contains(told), "{told} is in the log");
        }
    }

    /// What cannot be used stops the start, by the name of its setting.
    fn settings(engine) {
        for (key, value) in [("hooks.ca_file", "\"/nowhere/ca.pem\""), ("hooks.max_waiting", "0"), ("hooks.allowed_networks", "[\"10.0.0.0\"]")] {
            let site = Site::new(engine).with(key, value);
            let ran = crate::harness::process::usher(&site, &["hook", "list"], "").expect(1);
            assert!(ran.complaint().contains(key), "{ran:?}");
        }
    }
}

/// S44: each message is carried by one node of two, once.
#[test]
fn two_nodes_carry_each_message_once() {
    if !crate::harness::postgres::is_there() {
        return;
    }
    let receiver = Receiver::new();
    let site = furnished(site_for(Engine::Postgres, &receiver));
    let (here, _there) = (Process::serve(&site), Process::serve(&site));
    let by = root(&here);
    let (hook_id, _) = hook(&by, "crm", &receiver.url("/"), json!(["user.created"]));
    for number in 0..40 {
        created(&by, &format!("user-{number}"));
    }
    let mut ids: Vec<String> = (0..40).map(|_| receiver.next().json["id"].as_str().unwrap().to_owned()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 40);
    let began = Instant::now();
    while by.get(&format!("{HOOKS}/{hook_id}/deliveries")).json["items"] != json!([]) {
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    assert_eq!(receiver.rest().len(), 0);
}
