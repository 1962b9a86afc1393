//! Groups, their members, and applications over HTTP.

use crate::both;
use crate::harness::{PASSWORD, Town, at_once};
use serde_json::json;

both! {
    /// A group's whole life, and what its members show of it.
    fn the_life_of_a_group(engine) {
        let town = Town::new(engine);
        let (root, ann) = (town.root(), town.user("ann"));
        let made = root.post("/api/v1/groups", &json!({"name": "Staff"})).expect(201).json;
        let group = format!("/api/v1/groups/{}", made["group_id"].as_str().unwrap());
        root.post("/api/v1/groups", &json!({"name": "STAFF"})).refused(409, "value_taken");
        for unfit in [json!({"name": ""}), json!({"name": "a\u{202e}b"}), json!({"name": "a", "owner": "b"})] {
            root.post("/api/v1/groups", &unfit).refused(422, "invalid");
        }
        let add = |id: &str| root.post(&format!("{group}/members"), &json!({"user_id": id}));
        let added = add(ann.id()).expect(200).json;
        let shown = json!([{"group_id": made["group_id"], "name": made["name"]}]);
        assert_eq!(added["groups"], shown);
        add(ann.id()).expect(200);
        add("018f0000-0000-7000-8000-000000000000").refused(422, "invalid");
        add("nonsense").refused(422, "invalid");
        assert_eq!(ann.get("/api/v1/users/me").json["groups"], shown);
        root.patch(&group, &json!({"name": "Everyone"})).expect(200);
        assert_eq!(ann.get("/api/v1/users/me").json["groups"][0]["name"], "Everyone");
        let cid = root.delete(&format!("{group}/members/{}", ann.id())).expect(204).cid().to_owned();
        root.delete(&format!("{group}/members/{}", ann.id())).refused(404, "not_found");
        let event = root.get(&format!("/api/v1/audit-events?cid={cid}")).json["items"][0].clone();
        assert_eq!((&event["subject"], &event["changes"]["groups"]["after"]), (&json!(ann.id()), &json!([])));
        add(ann.id()).expect(200);
        root.delete(&group).expect(204);
        root.get(&group).refused(404, "not_found");
        root.get(&format!("{group}/members")).refused(404, "not_found");
        assert_eq!(ann.get("/api/v1/users/me").json["groups"], json!([]));
    }

    /// What the identity provider knows a group by is kept, shown to super-users alone, and unique.
    fn a_group_known_elsewhere(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let made = root.post("/api/v1/groups", &json!({"name": "Staff", "external_id": "cn=staff"})).expect(201).json;
        assert_eq!(made["external_id"], "cn=staff");
        let twice = root.post("/api/v1/groups", &json!({"name": "Other", "external_id": "cn=staff"})).refused(409, "value_taken");
        assert_eq!(twice.json["errors"][0]["pointer"], "/external_id");
        root.post("/api/v1/groups", &json!({"name": "Other", "external_id": "a\u{7}"})).refused(422, "invalid");
        let path = format!("/api/v1/groups/{}", made["group_id"].as_str().unwrap());
        let renamed = root.patch(&path, &json!({"name": "Everyone"})).expect(200).json;
        assert_eq!((&renamed["name"], &renamed["external_id"]), (&json!("Everyone"), &json!("cn=staff")));
    }

    /// Groups and members come in pages.
    fn pages(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let groups: Vec<String> = (0..7).map(|n| {
            root.post("/api/v1/groups", &json!({"name": format!("Group {n}")})).expect(201).json["group_id"].as_str().unwrap().to_owned()
        }).collect();
        for number in 0..7 {
            let id = root.post("/api/v1/users", &json!({"username": format!("user-{number}")})).expect(201).json["user_id"].clone();
            root.post(&format!("/api/v1/groups/{}/members", groups[0]), &json!({"user_id": id})).expect(200);
        }
        for path in ["/api/v1/groups".to_owned(), format!("/api/v1/groups/{}/members", groups[0])] {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = root.get(&format!("{path}?limit=3{cursor}")).expect(200).json;
                seen.extend(page["items"].as_array().unwrap().clone());
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(seen.len(), 7);
            root.get(&format!("{path}?limit=0")).refused(400, "bad_query");
            root.get(&format!("{path}?cursor=x")).refused(400, "bad_query");
        }
        let cursor = root.get(&format!("/api/v1/groups/{}/members?limit=3", groups[0])).json["next_cursor"].as_str().unwrap().to_owned();
        root.get(&format!("/api/v1/groups/{}/members?limit=3&cursor={cursor}", groups[1])).refused(400, "bad_query");
    }

    /// The same member added many times at once is one member.
    fn adding_a_member_is_idempotent(engine) {
        let town = Town::new(engine);
        let (root, ann) = (town.root(), town.create("ann"));
        let group = root.post("/api/v1/groups", &json!({"name": "Staff"})).expect(201).json["group_id"].as_str().unwrap().to_owned();
        at_once(8, |_| drop(root.post(&format!("/api/v1/groups/{group}/members"), &json!({"user_id": ann})).expect(200)));
        assert_eq!(root.get(&format!("/api/v1/groups/{group}/members")).json["items"].as_array().unwrap().len(), 1);
    }

    /// Applications are registered and removed over HTTP; with an application its sessions go.
    fn applications(engine) {
        let town = Town::new(engine);
        let root = town.root();
        town.create("ann");
        let body = json!({"name": "vault", "session_scope": "own-sessions", "is_key_required": true});
        let vault = root.post("/api/v1/applications", &body).expect(201).json;
        root.post("/api/v1/applications", &json!({"name": "VAULT"})).refused(409, "value_taken");
        root.post("/api/v1/applications", &json!({"name": "Büro"})).refused(422, "invalid");
        root.post("/api/v1/applications", &json!({"name": "x", "session_scope": "all"})).refused(422, "invalid");
        let through = town.anon().with("x-current-app", "vault");
        through.try_sign_in("ann", PASSWORD).refused(401, "application_invalid");
        let keyed = through.with("x-application-key", vault["key"].as_str().unwrap()).sign_in("ann", PASSWORD);
        keyed.get("/api/v1/users/me").expect(200);
        let listed = root.get("/api/v1/applications").expect(200);
        assert!(!listed.text.contains("uak_"));
        let path = |id: &serde_json::Value| format!("/api/v1/applications/{}", id.as_str().unwrap());
        let default = &listed.json["items"].as_array().unwrap().iter().find(|a| a["name"] == "default").unwrap()["application_id"];
        root.delete(&path(default)).refused(409, "default_application");
        root.get("/api/v1/users/me").expect(200);
        root.delete(&path(&vault["application_id"])).expect(204);
        root.delete(&path(&vault["application_id"])).refused(404, "not_found");
        keyed.get("/api/v1/users/me").refused(401, "application_invalid");
        town.anon().bearing(keyed.ust.as_deref().unwrap()).get("/api/v1/users/me").refused(401, "session_invalid");
        town.usher(&["app", "create", "desk"]).expect(0);
        town.usher(&["app", "delete", "DESK"]).expect(0);
        town.usher(&["app", "delete", "default"]).expect(1);
        town.usher(&["app", "delete", "nothing"]).expect(1);
    }
}
