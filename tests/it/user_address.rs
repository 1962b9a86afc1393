//! The address of a user, told by an application (S43): believed with the application's key and its right alone.

use crate::both;
use crate::harness::{Client, PASSWORD, Site, Town};
use serde_json::{Value, json};
use std::time::Duration;

const HEADER: &str = "x-user-address";
const ME: &str = "/api/v1/users/me";
const WRONG: &str = "violet harbour lantern 9";

/// An application with its key, and perhaps the right.
fn application(town: &Town, name: &str, may_set: bool) -> Client {
    let body = json!({"name": name, "may_set_remote_addr": may_set});
    let made = town.root().post("/api/v1/applications", &body).expect(201).json;
    assert_eq!(made["may_set_remote_addr"], may_set);
    town.anon().with("x-current-app", name).with("x-application-key", made["key"].as_str().unwrap())
}

fn event(town: &Town, cid: &str) -> Value {
    town.root().get(&format!("/api/v1/audit-events?cid={cid}")).expect(200).json["items"][0].clone()
}

both! {
    /// S43: what an application with the right tells is recorded, in the event, the session and the account.
    fn believed_from_an_application_that_may(engine) {
        let town = Town::new(engine);
        town.create("ann");
        let desk = application(&town, "desk", true).with(HEADER, "2001:db8::7");
        let ann = desk.sign_in("ann", PASSWORD);
        let me = ann.get(ME).expect(200);
        assert_eq!(me.json["login_station"], "2001:db8::7");
        assert_eq!(ann.get("/api/v1/sessions/current").json["remote_addr"], "2001:db8::7");
        assert_eq!(event(&town, me.cid())["remote_addr"], "2001:db8::7");
        // One that has the right and does not use it has its own address; IPv4 in IPv6 is IPv4.
        let me = ann.with(HEADER, "::ffff:198.51.100.7").get(ME).expect(200);
        assert_eq!(event(&town, me.cid())["remote_addr"], "198.51.100.7");
        let cli = town.usher(&["app", "create", "till", "--may-set-remote-addr", "--json"]).expect(0).json();
        let till = town.anon().with("x-current-app", "till").with("x-application-key", cli["key"].as_str().unwrap());
        let plain = till.post("/api/v1/sessions/introspect", &json!({"ust": ann.ust})).expect(200);
        assert_eq!(event(&town, plain.cid())["remote_addr"], "127.0.0.1");
        let told = till.with(HEADER, "192.0.2.1").post("/api/v1/sessions/introspect", &json!({"ust": ann.ust})).expect(200);
        assert_eq!(event(&town, told.cid())["remote_addr"], "192.0.2.1");
    }

    /// S43: from anyone else it is refused, never passed over; and what is no address is refused as well.
    fn refused_from_everyone_else(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let (may, may_not) = (application(&town, "desk", true), application(&town, "till", false));
        let keyless = town.anon().with("x-current-app", "desk");
        let bearer = |client: &Client| client.bearing(ann.ust.as_deref().unwrap());
        for client in [&town.anon(), &may_not, &keyless] {
            let refusal = client.with(HEADER, "192.0.2.1").try_sign_in("ann", PASSWORD).refused(403, "forbidden");
            let told = event(&town, refusal.cid());
            assert_eq!((&told["reason"], &told["remote_addr"]), (&json!("user_address_forbidden"), &json!("127.0.0.1")));
            bearer(client).with(HEADER, "192.0.2.1").get(ME).refused(403, "forbidden");
            // Whether it is an address makes no difference to them.
            bearer(client).with(HEADER, "nonsense").get(ME).refused(403, "forbidden");
            bearer(client).get(ME).expect(200);
        }
        // Nor does a super-user's session give the right.
        town.root().with(HEADER, "192.0.2.1").get(ME).refused(403, "forbidden");
        for nonsense in ["", "unknown", "192.0.2.1, 192.0.2.2", "192.0.2.1:80", "[2001:db8::7]", "192.0.2.0/24", "<script>", "1"] {
            let refusal = bearer(&may).with(HEADER, nonsense).get(ME).refused(400, "bad_request");
            assert_eq!(event(&town, refusal.cid())["reason"], "user_address_malformed", "{nonsense}");
        }
        bearer(&may).with(HEADER, " 192.0.2.1 ").get(ME).expect(200);
        // Naming the application in the body alone does not bring its right along.
        let body = json!({"username": "ann", "password": PASSWORD, "current_app": "desk"});
        town.anon().with(HEADER, "192.0.2.1").post("/api/v1/sessions", &body).refused(403, "forbidden");
        may_not.with(HEADER, "192.0.2.1").post("/api/v1/sessions", &body).refused(403, "forbidden");
        // In a dialect it is refused in its words.
        let refusal = ann.with(HEADER, "192.0.2.1").get("/ecm/security/roles");
        assert_eq!((refusal.status, &refusal.json["error"]), (403, &json!("access_denied")));
    }

    /// S43: a user's networks are judged by it; an application's by where the call itself comes from, without which nothing is believed.
    fn lists_of_networks(engine) {
        let town = Town::new(engine);
        let (root, id) = (town.root(), town.create("ann"));
        root.put(&format!("/api/v1/users/{id}/networks"), &json!({"networks": ["192.0.2.0/24"]})).expect(200);
        let desk = application(&town, "desk", true);
        desk.try_sign_in("ann", PASSWORD).refused(401, "address_not_allowed");
        desk.with(HEADER, "198.51.100.7").try_sign_in("ann", PASSWORD).refused(401, "address_not_allowed");
        let ann = desk.with(HEADER, "192.0.2.7").sign_in("ann", PASSWORD);
        ann.get(ME).expect(200);
        ann.with(HEADER, "198.51.100.7").get(ME).refused(401, "session_invalid");
        // The application asks about a token: where its bearer is, it may tell; otherwise it is where the session was opened.
        let ask = |client: &Client| client.post("/api/v1/sessions/introspect", &json!({"ust": ann.ust})).expect(200).json["active"].clone();
        assert_eq!((ask(&desk), ask(&desk.with(HEADER, "192.0.2.9")), ask(&desk.with(HEADER, "198.51.100.7"))), (json!(true), json!(true), json!(false)));
        // The right can be taken away, and the networks of the application are those of the call.
        let id = root.get("/api/v1/applications").json["items"].as_array().unwrap().iter().find(|a| a["name"] == "desk").unwrap()["application_id"].clone();
        let path = format!("/api/v1/applications/{}", id.as_str().unwrap());
        root.patch(&path, &json!({"allowed_networks": ["192.0.2.0/24"]})).expect(200);
        ann.get(ME).refused(403, "forbidden");
        root.patch(&path, &json!({"allowed_networks": ["127.0.0.0/8", "::1/128"]})).expect(200);
        ann.get(ME).expect(200);
        root.patch(&path, &json!({"may_set_remote_addr": false})).expect(200);
        ann.get(ME).refused(403, "forbidden");
        town.usher(&["app", "set", "desk", "--may-set-remote-addr", "true"]).expect(0);
        ann.get(ME).expect(200);
    }

    /// S7, S43: guesses that come through an application are counted by the address that it tells: the application is not shut out
    /// for one of its users, and that user is.
    fn guesses_are_counted_by_it(engine) {
        let town = Town::on(Site::new(engine).with("lockout.address_free", "3"));
        let desk = application(&town, "desk", true);
        town.create("ann");
        for _ in 0..3 {
            desk.with(HEADER, "192.0.2.1").try_sign_in("nobody", WRONG).refused(401, "credentials_invalid");
        }
        desk.with(HEADER, "192.0.2.1").try_sign_in("ann", PASSWORD).refused(429, "too_many_attempts");
        desk.with(HEADER, "192.0.2.2").try_sign_in("ann", PASSWORD).expect(201);
        desk.try_sign_in("ann", PASSWORD).expect(201);
        town.advance(Duration::from_secs(2));
        desk.with(HEADER, "192.0.2.1").try_sign_in("ann", PASSWORD).expect(201);
    }

    /// S7, S43: so is what is asked for by mail, and an errand is recorded with the address that it was asked for from.
    fn what_is_asked_for_is_counted_by_it(engine) {
        let town = Town::on(Site::with_mail(engine).with("links.asking_free", "2"));
        let desk = application(&town, "desk", true);
        let ask = |address: &str| desk.with(HEADER, address).post("/api/v1/password-resets", &json!({"username": "nobody"}));
        ask("192.0.2.1").expect(202);
        ask("192.0.2.1").expect(202);
        ask("192.0.2.1").refused(429, "too_many_attempts");
        let asked = ask("192.0.2.2").expect(202);
        assert_eq!(event(&town, asked.cid())["remote_addr"], "192.0.2.2");
    }
}
