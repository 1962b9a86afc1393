//! What a node remembers, and how soon it learns that it has changed (S21, design of revocation): at once where it changed it itself,
//! within a bound where another did, and by no means later.

use crate::both;
use crate::harness::postgres::{self, Postgres};
use crate::harness::wire::{Listening, Wire};
use crate::harness::{Client, Engine, PASSWORD, Site, Town, soon};
use serde_json::json;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ME: &str = "/api/v1/users/me";
/// The bound of docs/ARCHITECTURE.md.
const BOUND: Duration = Duration::from_secs(1);

/// Asks until it is refused. No call that began later than the bound after the change may have been let in.
#[track_caller]
fn is_refused_within_the_bound(changed: Instant, client: &Client) {
    loop {
        let asked = changed.elapsed();
        if client.get(ME).status == 401 {
            // What is known to be over stays so.
            for _ in 0..20 {
                client.get(ME).refused(401, "session_invalid");
            }
            return;
        }
        assert!(asked <= BOUND, "let in {asked:?} after the change");
    }
}

/// A node and another one of the same service.
fn two_nodes() -> Option<(Town, Town)> {
    postgres::is_there().then(|| {
        let town = Town::new(Engine::Postgres);
        let other = town.another_node();
        (town, other)
    })
}

both! {
    /// Many calls, one change: on the node that makes it the very next call knows. Every kind of thing that a call is judged by.
    fn ones_own_changes_are_known_at_once(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let group = root.post("/api/v1/groups", &json!({"name": "crew"})).expect(201).json["group_id"].as_str().unwrap().to_owned();
        let desk = json!({"name": "desk", "access": "listed", "allowed_groups": [group]});
        let desk = root.post("/api/v1/applications", &desk).expect(201).json["application_id"].as_str().unwrap().to_owned();
        let ann = town.user("ann");
        let at_desk = ann.with("x-current-app", "desk");
        let (members, member) = (format!("/api/v1/groups/{group}/members"), format!("/api/v1/groups/{group}/members/{}", ann.id()));
        let (desk, user) = (format!("/api/v1/applications/{desk}"), format!("/api/v1/users/{}", ann.id()));
        for round in 0..5 {
            at_desk.get(ME).refused(401, "session_invalid");
            root.post(&members, &json!({"user_id": ann.id()})).expect(200);
            assert_eq!(at_desk.get(ME).expect(200).json["groups"][0]["name"], "crew");
            root.patch(&format!("/api/v1/groups/{group}"), &json!({"name": "staff"})).expect(200);
            assert_eq!(at_desk.get(ME).expect(200).json["groups"][0]["name"], "staff");
            root.patch(&format!("/api/v1/groups/{group}"), &json!({"name": "crew"})).expect(200);
            root.delete(&member).expect(204);
            at_desk.get(ME).refused(401, "session_invalid");
            root.patch(&desk, &json!({"access": "everyone"})).expect(200);
            at_desk.get(ME).expect(200);
            root.patch(&desk, &json!({"access": "listed"})).expect(200);
            at_desk.get(ME).refused(401, "session_invalid");
            let name = format!("Ann {round}");
            root.patch(&user, &json!({"first_name": name})).expect(200);
            assert_eq!(ann.get(ME).expect(200).json["first_name"], name);
            let lang = ann.patch(ME, &json!({"lang_id": round})).expect(200);
            let seen = ann.get(ME).expect(200);
            assert_eq!((&seen.json, seen.headers.get("etag")), (&lang.json, lang.headers.get("etag")));
        }
        root.post(&format!("{user}/lock"), &json!({})).expect(200);
        ann.get(ME).refused(401, "session_invalid");
        root.post(&format!("{user}/unlock"), &json!({})).expect(200);
        let ann = ann.sign_in("ann", PASSWORD);
        ann.get(ME).expect(200);
        ann.delete("/api/v1/sessions/current").expect(204);
        ann.get(ME).refused(401, "session_invalid");
    }

    /// What depends on the time is judged at every use, however often it was good.
    fn time_is_not_remembered(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let end = town.now() + Duration::from_secs(60);
        town.root().patch(&format!("/api/v1/users/{}", ann.id()), &json!({"valid_to": end.to_string()})).expect(200);
        for _ in 0..5 {
            ann.get(ME).expect(200);
        }
        town.advance(Duration::from_secs(59));
        ann.get(ME).expect(200);
        town.advance(Duration::from_secs(1));
        ann.get(ME).refused(401, "session_invalid");
        let bob = town.user("bob");
        town.advance(Duration::from_secs(1799));
        bob.get(ME).expect(200);
        town.advance(Duration::from_secs(1));
        bob.get(ME).refused(401, "session_invalid");
    }

    /// Another process, the command line, ends sessions and changes what calls are judged by.
    fn another_process_is_heard(engine) {
        let town = Town::new(engine);
        for round in 0..5 {
            let name = format!("ann-{round}");
            let ann = town.user(&name);
            ann.get(ME).expect(200);
            crate::harness::process::usher(&town.site, &["user", "lock", &name], "").expect(0);
            is_refused_within_the_bound(Instant::now(), &ann);
        }
    }

    /// Someone changes the database by hand.
    fn a_change_by_hand_is_heard(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        ann.get(ME).expect(200);
        let statement = "UPDATE users SET is_active = false WHERE username_key = 'ann'";
        match engine {
            Engine::Sqlite => crate::harness::sqlite(&town.site.file(), statement),
            Engine::Postgres => Postgres::run(&town.site.url, statement),
        }
        is_refused_within_the_bound(Instant::now(), &ann);
    }
}

/// A session that ended on one node is refused by the other.
#[test]
fn another_node_hears() {
    let Some((here, there)) = two_nodes() else { return };
    for round in 0..20 {
        let ann = here.user(&format!("ann-{round}"));
        let abroad = ann.at(&there.base);
        abroad.get(ME).expect(200);
        ann.delete("/api/v1/sessions/current").expect(204);
        is_refused_within_the_bound(Instant::now(), &abroad);
    }
}

/// The connection by which a node hears of changes is closed, or swallows everything: the bound holds all the same, and the node comes back.
#[test]
fn the_bound_holds_without_the_feed() {
    if !postgres::is_there() {
        return;
    }
    let here = Town::new(Engine::Postgres);
    let wire = Wire::to(&here.site.url);
    let there = here.another_node_at(&wire.url(&here.site.url));
    for cut in [Listening::Refused, Listening::Swallowed] {
        for round in 0..3 {
            let ann = here.user(&format!("ann-{}-{round}", cut as u8));
            let abroad = ann.at(&there.base);
            abroad.get(ME).expect(200);
            wire.set(cut);
            ann.delete("/api/v1/sessions/current").expect(204);
            is_refused_within_the_bound(Instant::now(), &abroad);
            // What follows is heard of without the feed, too.
            let bob = here.user(&format!("bob-{}-{round}", cut as u8));
            let abroad = bob.at(&there.base);
            abroad.get(ME).expect(200);
            here.root().post(&format!("/api/v1/users/{}/lock", bob.id()), &json!({})).expect(200);
            is_refused_within_the_bound(Instant::now(), &abroad);
            wire.set(Listening::Works);
            there.hear();
        }
    }
}

/// Without its database a node answers nothing from memory once the bound has passed, and recovers by itself.
#[test]
fn without_the_database_nothing_is_answered_from_memory() {
    if !postgres::is_there() {
        return;
    }
    let mut server = postgres::Server::own();
    let town = Town::on(Site::at(TempDir::new().unwrap(), Engine::Postgres, server.create_database()));
    let ann = town.user("ann");
    ann.get(ME).expect(200);
    server.crash();
    for _ in 0..20 {
        ann.get(ME).refused(503, "unavailable");
    }
    server.resume();
    soon(200, || ann.get(ME));
}
