//! Who may use an application, and from where: lists of roles, of groups and of networks.

use crate::both;
use crate::harness::{Client, Engine, PASSWORD, Site, Town};
use serde_json::{Value, json};
use std::time::Duration;

const ME: &str = "/api/v1/users/me";
const APPLICATIONS: &str = "/api/v1/applications";
const INTROSPECT: &str = "/api/v1/sessions/introspect";

fn id(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Registers an application; its path, and a client with its key.
fn register(town: &Town, body: &Value) -> (String, Client) {
    let made = town.root().post(APPLICATIONS, body).expect(201).json;
    let client = town.anon().with("x-current-app", id(&made["name"])).with("x-application-key", id(&made["key"]));
    (format!("{APPLICATIONS}/{}", id(&made["application_id"])), client)
}

fn group(root: &Client, name: &str) -> String {
    id(&root.post("/api/v1/groups", &json!({"name": name})).expect(201).json["group_id"]).to_owned()
}

fn join(root: &Client, group: &str, user_id: &str) {
    root.post(&format!("/api/v1/groups/{group}/members"), &json!({"user_id": user_id})).expect(200);
}

/// The reason that the trail has of an answer.
fn reason(town: &Town, answer: &crate::harness::Answer) -> String {
    let found = town.root().get(&format!("/api/v1/audit-events?cid={}", answer.cid())).json;
    id(&found["items"][0]["reason"]).to_owned()
}

/// A town behind a proxy that says where calls come from.
fn behind_a_proxy(engine: Engine) -> Town {
    Town::on(Site::new(engine).with("server.trusted_proxies", "[\"127.0.0.0/8\"]"))
}

fn from(client: &Client, address: &str) -> Client {
    client.with("x-forwarded-for", address)
}

both! {
    /// A list opens an application by role and by group, and to nobody else; only who knows the password is told so.
    fn lists_open_an_application(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let staff = group(&root, "Staff");
        let body = json!({"name": "desk", "access": "listed", "allowed_roles": ["publisher"], "allowed_groups": [staff]});
        register(&town, &body);
        for (name, role) in [("viewer", "viewer"), ("publisher", "publisher"), ("chief", "administrator"), ("member", "viewer")] {
            root.post("/api/v1/users", &json!({"username": name, "password": PASSWORD, "user_role": role})).expect(201);
        }
        let member = town.anon().sign_in("member", PASSWORD);
        join(&root, &staff, member.id());
        let desk = town.anon().with("x-current-app", "desk");
        for (name, is_open) in [("viewer", false), ("publisher", true), ("chief", false), ("member", true)] {
            desk.try_sign_in(name, "a wrong password, but long").refused(401, "credentials_invalid");
            let named = json!({"username": name, "password": PASSWORD, "current_app": "DESK"});
            for answer in [desk.try_sign_in(name, PASSWORD), town.anon().post("/api/v1/sessions", &named)] {
                if is_open {
                    answer.expect(201);
                } else {
                    let refused = answer.refused(401, "application_not_allowed");
                    assert_eq!(reason(&town, &refused), "application_not_allowed");
                }
            }
            // Single sign-on makes no way round: neither does a session from elsewhere.
            let elsewhere = town.anon().sign_in(name, PASSWORD);
            elsewhere.get(ME).expect(200);
            let used = elsewhere.with("x-current-app", "desk").get(ME);
            if is_open { drop(used.expect(200)) } else { drop(used.refused(401, "session_invalid")) }
        }
        // That the password was right is no guess to be counted.
        let viewer = root.get("/api/v1/users?username=viewer").json["items"][0].clone();
        assert_eq!(viewer["failed_login_count"], 0);
    }

    /// S21: whoever is taken out of the group, or off the list, is refused at the next use of the session, and in introspection; and a list
    /// that has become empty lets nobody in.
    fn what_closes_an_application_closes_its_sessions(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let staff = group(&root, "Staff");
        let (path, desk) = register(&town, &json!({"name": "desk", "access": "listed", "allowed_groups": [staff]}));
        let ann = town.create("ann");
        join(&root, &staff, &ann);
        let session = town.anon().with("x-current-app", "desk").sign_in("ann", PASSWORD);
        let is_active = || desk.post(INTROSPECT, &json!({"ust": session.ust})).expect(200).json["active"] == true;
        let is_open = |is_open: bool| {
            // A session stands on the application that it was opened through, wherever it is used.
            for used in [session.get(ME), session.with("x-current-app", "default").get(ME)] {
                if is_open {
                    used.expect(200);
                } else {
                    let refused = used.refused(401, "session_invalid");
                    assert_eq!(reason(&town, &refused), "application_not_allowed");
                }
            }
            assert_eq!(is_active(), is_open);
            assert_eq!(town.anon().with("x-current-app", "desk").try_sign_in("ann", PASSWORD).status, if is_open { 201 } else { 401 });
        };
        is_open(true);
        root.delete(&format!("/api/v1/groups/{staff}/members/{ann}")).expect(204);
        is_open(false);
        join(&root, &staff, &ann);
        is_open(true);
        root.patch(&path, &json!({"allowed_groups": []})).expect(200);
        is_open(false);
        root.patch(&path, &json!({"allowed_roles": ["viewer"]})).expect(200);
        is_open(true);
        root.patch(&path, &json!({"allowed_roles": [], "allowed_groups": [staff]})).expect(200);
        is_open(true);
        root.delete(&format!("/api/v1/groups/{staff}")).expect(204);
        is_open(false);
        let left = root.get(&path).expect(200).json;
        assert_eq!((&left["access"], &left["allowed_groups"]), (&json!("listed"), &json!([])));
        root.patch(&path, &json!({"access": "everyone"})).expect(200);
        is_open(true);
    }

    /// However narrow its list is, whoever looks after users comes in by the default application; others do not.
    fn the_default_application_lets_super_users_in(engine) {
        let town = Town::new(engine);
        let (root, ann) = (town.root(), town.user("ann"));
        let listed = root.get(APPLICATIONS).json;
        let default = format!("{APPLICATIONS}/{}", id(&listed["items"][0]["application_id"]));
        root.patch(&default, &json!({"access": "listed"})).expect(200);
        ann.get(ME).refused(401, "session_invalid");
        town.anon().try_sign_in("ann", PASSWORD).refused(401, "application_not_allowed");
        town.root().get(ME).expect(200);
        root.patch(&default, &json!({"access": "everyone"})).expect(200);
        ann.get(ME).expect(200);
        for change in [json!({"name": "other"}), json!({"session_scope": "own-sessions"}), json!({"is_key_required": true})] {
            root.patch(&default, &change).refused(409, "default_application");
        }
        root.post(&format!("{default}/key"), &json!({})).refused(409, "default_application");
        root.patch(&default, &json!({"name": "default", "session_scope": "shared"})).expect(200);
    }

    /// Changing an application: what fits is taken and shown, what does not is named, and nothing is taken by half.
    fn changing_an_application(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let staff = group(&root, "Staff");
        let (path, _) = register(&town, &json!({"name": "desk"}));
        register(&town, &json!({"name": "shelf"}));
        let fresh = root.get(&path).expect(200).json;
        assert_eq!(
            (&fresh["access"], &fresh["allowed_roles"], &fresh["allowed_groups"], &fresh["allowed_networks"]),
            (&json!("everyone"), &json!([]), &json!([]), &json!([]))
        );
        let unknown = "018f0000-0000-7000-8000-000000000000";
        for (change, status, code) in [
            (json!({}), 422, "invalid"),
            (json!({"access": "nobody"}), 422, "invalid"),
            (json!({"access": null}), 400, "bad_type"),
            (json!({"allowed_networks": null}), 400, "bad_type"),
            (json!({"allowed_roles": ["emperor"]}), 422, "invalid"),
            (json!({"allowed_groups": [unknown]}), 422, "invalid"),
            (json!({"allowed_groups": ["nonsense"]}), 422, "invalid"),
            (json!({"allowed_groups": vec![staff.as_str(); 65]}), 200, ""),
            (json!({"allowed_networks": ["10.0.0.1/8"]}), 422, "invalid"),
            (json!({"allowed_networks": ["nowhere"]}), 422, "invalid"),
            (json!({"allowed_networks": (0..65).map(|n| format!("10.0.{n}.0/24")).collect::<Vec<_>>()}), 422, "invalid"),
            (json!({"name": "Büro"}), 422, "invalid"),
            (json!({"name": "SHELF"}), 409, "value_taken"),
            (json!({"key_hash": "x"}), 422, "invalid"),
            (json!({"application_id": unknown}), 422, "invalid"),
        ] {
            let answer = root.patch(&path, &change);
            if status == 200 { drop(answer.expect(200)) } else { drop(answer.refused(status, code)) }
        }
        let half = json!({"access": "listed", "allowed_groups": [staff, unknown]});
        assert_eq!(root.patch(&path, &half).refused(422, "invalid").json["errors"][0]["pointer"], "/allowed_groups");
        assert_eq!(root.get(&path).json["access"], "everyone");
        let networks = json!(["10.0.0.0/8", "::ffff:192.0.2.0/120", "10.0.0.0/8", "2001:db8::/32"]);
        let change = json!({"name": "Desk 2", "session_scope": "own-sessions", "is_key_required": true, "access": "listed",
            "allowed_roles": ["publisher", "viewer", "publisher"], "allowed_groups": [staff, staff], "allowed_networks": networks});
        let answer = root.patch(&path, &change).expect(200);
        let changed = answer.json.clone();
        assert_eq!(changed["allowed_roles"], json!(["viewer", "publisher"]));
        assert_eq!(changed["allowed_groups"], json!([staff]));
        assert_eq!(changed["allowed_networks"], json!(["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]));
        assert_eq!(root.get(&path).json, changed);
        let event = root.get(&format!("/api/v1/audit-events?cid={}", answer.cid())).json["items"][0].clone();
        assert_eq!(event["changes"]["access"], json!({"before": "everyone", "after": "listed"}));
        assert_eq!(event["changes"]["allowed_networks"]["before"], json!([]));
        root.patch(&format!("{APPLICATIONS}/{unknown}"), &json!({"access": "listed"})).refused(404, "not_found");
        root.get(&format!("{APPLICATIONS}/nonsense")).refused(404, "not_found");
        let body = json!({"name": "crm", "access": "listed", "allowed_groups": [unknown]});
        root.post(APPLICATIONS, &body).refused(422, "invalid");
        assert!(!root.get(APPLICATIONS).text.contains("crm"));
    }

    /// A key made anew is told once, and the old one is refused at once.
    fn renewing_an_applications_key(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let (path, desk) = register(&town, &json!({"name": "desk", "is_key_required": true}));
        let ann = town.user("ann");
        let ask = |client: &Client| client.post(INTROSPECT, &json!({"ust": ann.ust}));
        assert_eq!(ask(&desk).expect(200).json["active"], true);
        let renewed = root.post(&format!("{path}/key"), &json!({})).expect(201).json;
        ask(&desk).refused(401, "application_invalid");
        desk.try_sign_in("ann", PASSWORD).refused(401, "application_invalid");
        let renewed = desk.with("x-application-key", id(&renewed["key"]));
        assert_eq!(ask(&renewed).expect(200).json["active"], true);
        assert!(!root.get(&path).text.contains("uak_"));
        root.post(&format!("{APPLICATIONS}/018f0000-0000-7000-8000-000000000000/key"), &json!({})).refused(404, "not_found");
        town.advance(Duration::from_secs(301));
        root.post(&format!("{path}/key"), &json!({})).refused(403, "fresh_sign_in_required");
        assert_eq!(ask(&renewed).expect(200).json["active"], true);
    }

    /// S43: an application's networks are judged at sign-in and at every use, by the address that a trusted proxy tells.
    fn networks_of_an_application(engine) {
        let town = behind_a_proxy(engine);
        let root = town.root();
        let networks = json!(["10.0.0.0/8", "2001:db8::/32"]);
        let (path, keyed) = register(&town, &json!({"name": "desk", "allowed_networks": networks}));
        town.create("ann");
        let desk = town.anon().with("x-current-app", "desk");
        for outside in ["192.0.2.1", "11.0.0.1", "2001:db9::1", "::ffff:192.0.2.1"] {
            from(&desk, outside).try_sign_in("ann", "a wrong password, but long").refused(401, "credentials_invalid");
            let refused = from(&desk, outside).try_sign_in("ann", PASSWORD).refused(401, "address_not_allowed");
            assert_eq!(reason(&town, &refused), "address_not_allowed");
            from(&desk, "10.0.0.1").sign_in("ann", PASSWORD);
        }
        // What a client writes itself stands left of what the proxy writes.
        from(&desk, "10.0.0.1, 192.0.2.1").try_sign_in("ann", PASSWORD).refused(401, "address_not_allowed");
        desk.try_sign_in("ann", PASSWORD).refused(401, "address_not_allowed");
        let session = from(&desk, "::ffff:10.1.2.3").sign_in("ann", PASSWORD);
        for inside in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7"] {
            from(&session, inside).get(ME).expect(200);
        }
        let refused = from(&session, "192.0.2.1").get(ME).refused(401, "session_invalid");
        assert_eq!(reason(&town, &refused), "address_not_allowed");
        // Another application is another matter.
        from(&session, "192.0.2.1").with("x-current-app", "default").get(ME).expect(200);
        // The key is good from the listed networks alone.
        let ask = |address: &str| from(&keyed, address).post(INTROSPECT, &json!({"ust": session.ust}));
        assert_eq!(ask("10.9.9.9").expect(200).json["active"], true);
        ask("192.0.2.1").refused(401, "application_invalid");
        root.patch(&path, &json!({"allowed_networks": ["192.0.2.0/24"]})).expect(200);
        from(&session, "10.1.2.3").get(ME).refused(401, "session_invalid");
        from(&session, "192.0.2.1").get(ME).expect(200);
        root.patch(&path, &json!({"allowed_networks": []})).expect(200);
        session.get(ME).expect(200);
    }

    /// A user's networks likewise; where someone else asks about the token, by where its session was opened.
    fn networks_of_a_user(engine) {
        let town = behind_a_proxy(engine);
        let root = town.root();
        let (_, desk) = register(&town, &json!({"name": "desk"}));
        let ann = town.create("ann");
        let path = format!("/api/v1/users/{ann}/networks");
        assert_eq!(root.get(&path).expect(200).json, json!({"networks": []}));
        let (office, home) = (from(&town.anon(), "10.0.0.7").sign_in("ann", PASSWORD), from(&town.anon(), "192.0.2.7").sign_in("ann", PASSWORD));
        let answer = root.put(&path, &json!({"networks": ["10.0.0.0/8"]})).expect(200);
        assert_eq!(answer.json, json!({"networks": ["10.0.0.0/8"]}));
        let event = root.get(&format!("/api/v1/audit-events?cid={}", answer.cid())).json["items"][0].clone();
        assert_eq!((&event["subject"], &event["changes"]["networks"]), (&json!(ann), &json!({"before": [], "after": ["10.0.0.0/8"]})));
        let refused = home.get(ME).refused(401, "session_invalid");
        assert_eq!(reason(&town, &refused), "address_not_allowed");
        office.get(ME).expect(200);
        from(&office, "192.0.2.7").get(ME).refused(401, "session_invalid");
        from(&home, "10.0.0.7").get(ME).expect(200);
        from(&town.anon(), "192.0.2.7").try_sign_in("ann", PASSWORD).refused(401, "address_not_allowed");
        town.anon().try_sign_in("ann", PASSWORD).refused(401, "address_not_allowed");
        let is_active = |session: &Client| from(&desk, "198.51.100.1").post(INTROSPECT, &json!({"ust": session.ust})).expect(200).json["active"].clone();
        assert_eq!((is_active(&office), is_active(&home)), (json!(true), json!(false)));
        // A session whose origin nobody knows comes from nowhere that is listed.
        town.sql("UPDATE sessions SET remote_addr = NULL");
        assert_eq!(is_active(&office), json!(false));
        // It is no attribute: neither shown nor patched as one.
        let user = format!("/api/v1/users/{ann}");
        assert!(!root.get(&user).text.contains("networks"));
        root.patch(&user, &json!({"networks": []})).refused(422, "invalid");
        for (body, status, code) in [
            (json!({"networks": ["10.0.0.0"]}), 422, "invalid"),
            (json!({"networks": "10.0.0.0/8"}), 400, "bad_type"),
            (json!({"networks": null}), 400, "bad_type"),
            (json!({}), 400, "bad_type"),
            (json!({"networks": [], "force": true}), 422, "invalid"),
            (json!({"networks": (0..65).map(|n| format!("10.0.{n}.0/24")).collect::<Vec<_>>()}), 422, "invalid"),
        ] {
            root.put(&path, &body).refused(status, code);
        }
        assert_eq!(root.get(&path).json, json!({"networks": ["10.0.0.0/8"]}));
        town.advance(Duration::from_secs(301));
        root.put(&path, &json!({"networks": []})).refused(403, "fresh_sign_in_required");
        // What the command line does, it does from nowhere.
        assert_eq!(town.usher(&["user", "networks", "ann"]).expect(0).out, "10.0.0.0/8\n");
        assert_eq!(town.usher(&["user", "networks", "ann", "--clear"]).expect(0).out, "anywhere\n");
        home.get(ME).expect(200);
    }

    /// Nobody shuts themselves out: not by their own networks, nor by the lists of the application that they come through.
    fn shutting_oneself_out(engine) {
        let town = behind_a_proxy(engine);
        let root = from(&town.root(), "10.0.0.7");
        let own = format!("/api/v1/users/{}/networks", town.root_id);
        root.put(&own, &json!({"networks": ["192.0.2.0/24"]})).refused(409, "self_shut_out");
        root.get(ME).expect(200);
        root.put(&own, &json!({"networks": ["192.0.2.0/24", "10.0.0.0/24"]})).expect(200);
        from(&root, "192.0.2.1").get(ME).expect(200);
        from(&root, "198.51.100.1").get(ME).refused(401, "session_invalid");
        root.put(&own, &json!({"networks": []})).expect(200);
        let listed = root.get(APPLICATIONS).json;
        let default = format!("{APPLICATIONS}/{}", id(&listed["items"][0]["application_id"]));
        root.patch(&default, &json!({"allowed_networks": ["192.0.2.0/24"]})).refused(409, "self_shut_out");
        let (path, _) = register(&town, &json!({"name": "desk"}));
        let through = root.with("x-current-app", "desk");
        for change in [json!({"access": "listed"}), json!({"allowed_networks": ["192.0.2.0/24"]}), json!({"session_scope": "own-sessions"})] {
            through.patch(&path, &change).refused(409, "self_shut_out");
        }
        through.patch(&path, &json!({"access": "listed", "allowed_roles": ["administrator"]})).expect(200);
        // From elsewhere it is one's own business, and the command line may do it all.
        root.patch(&path, &json!({"allowed_roles": []})).expect(200);
        town.usher(&["user", "networks", "root", "--set", "192.0.2.0/24"]).expect(0);
        root.get(ME).refused(401, "session_invalid");
        town.usher(&["user", "networks", "root", "--clear"]).expect(0);
        root.get(ME).expect(200);
    }

    /// Who leaves must leave someone behind who can come from anywhere.
    fn leaving_to_someone_who_is_shut_out(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let second = json!({"username": "second", "password": PASSWORD, "user_role": "administrator"});
        let second = id(&root.post("/api/v1/users", &second).expect(201).json["user_id"]).to_owned();
        let networks = format!("/api/v1/users/{second}/networks");
        root.put(&networks, &json!({"networks": ["192.0.2.0/24"]})).expect(200);
        let own = format!("/api/v1/users/{}", town.root_id);
        root.patch(&own, &json!({"user_role": "viewer"})).refused(409, "last_super_user");
        root.patch(&own, &json!({"is_active": false})).refused(409, "last_super_user");
        root.post(&format!("{own}/lock"), &json!({"force": true})).refused(409, "last_super_user");
        root.put(&networks, &json!({"networks": []})).expect(200);
        root.patch(&own, &json!({"user_role": "viewer"})).expect(200);
    }
}
