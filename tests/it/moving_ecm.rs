//! Moving from the ECM: `usher user import --from ecm`, as `docs/migrate/ecm.md` describes it.

use crate::both;
use crate::harness::process::{Ran, usher};
use crate::harness::{PASSWORD, Town};
use serde_json::{Value, json};

const ANN: &str = "0123ABCD0123012301230123456789AB";
const BOB: &str = "1123ABCD0123012301230123456789AB";
const SERVER: &str = "2123ABCD0123012301230123456789AB";

/// An export as the ECM's own Python client gives it.
fn export() -> Value {
    json!({
        "users": [
            {
                "username": "ANN", "login_name": "ann", "display_name": "Ann Smith", "email": "ann@example.com", "guid": ANN, "profile_id": 3,
                "locked": false, "locked_cause": 0, "remark": "a remark", "valid_from": null, "valid_to": "2040-01-02 03:04:05",
                "groups": ["Staff", "Archive"], "account_type": 0, "flags": 1, "lang_id": 7, "server_id": 0, "station": "PC-1",
                "change_pwd": true, "never_expire": true,
            },
            {
                "username": "BOB", "login_name": "", "display_name": "", "email": "", "guid": BOB.to_lowercase(), "profile_id": -1,
                "locked": true, "locked_cause": 2, "remark": "", "valid_from": "2020/01/02 03:04:05", "valid_to": "", "groups": [],
            },
            {"username": "SERVER", "guid": SERVER, "account_type": 1, "locked": 5, "groups": ["Archive"]},
        ],
        "groups": [
            {"name": "Staff", "description": "everyone", "profile_user_id": 4},
            {"name": "Archive", "description": "", "profile_user_id": -1},
            {"name": "Empty", "description": "nobody", "profile_user_id": -1},
        ],
    })
}

fn import(town: &Town, export: &Value, options: &[&str]) -> Ran {
    let arguments = [&["user", "import", "--from", "ecm", "-"], options].concat();
    let ran = usher(&town.site, &arguments, &export.to_string());
    town.hear();
    ran
}

both! {
    /// Accounts, groups, memberships, locks and validity come over; again, nothing changes; and what changed there is brought up to date.
    fn an_export_comes_over(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let seen = |name: &str| root.get(&format!("/ecm/security/user/{name}")).expect(200).json;
        let dry = import(&town, &export(), &["--dry-run"]).expect(0);
        assert!(dry.err.contains("3 created") && dry.err.contains("dry run"), "{dry:?}");
        assert_eq!(root.get("/api/v1/users/count").json["total"], 1);
        assert_eq!(root.get("/ecm/security/groups").json, json!([]));

        let done = import(&town, &export(), &[]).expect(0);
        assert!(done.err.contains("3 rows: 3 created, 0 updated, 0 unchanged, 0 refused"), "{done:?}");
        let ann = seen("ann");
        for (field, value) in [
            ("username", json!("ANN")), ("login_name", json!("ann")), ("display_name", json!("Ann Smith")), ("email", json!("ann@example.com")),
            ("profile_id", json!(3)), ("locked", json!(false)), ("remark", json!("a remark")), ("valid_to", json!("2040-01-02T03:04:05")),
            ("valid_from", Value::Null), ("flags", json!(1)), ("lang_id", json!(7)), ("station", json!("PC-1")), ("change_pwd", json!(true)),
            ("never_expire", json!(false)), ("password_never_expires", json!(true)), ("pwd_changed", Value::Null),
        ] {
            assert_eq!(ann[field], value, "{field}");
        }
        let bob = seen("bob");
        assert_eq!((&bob["locked"], &bob["login_name"], &bob["valid_from"]), (&json!(true), &json!("BOB"), &json!("2020-01-02T03:04:05")));
        let server = seen("server");
        assert_eq!((&server["locked"], &server["account_type"]), (&json!(true), &json!(1)));
        let native = |name: &str| root.get(&format!("/api/v1/users?username={name}")).expect(200).json["items"][0].clone();
        assert_eq!((&native("ann")["external_id"], &native("bob")["external_id"]), (&json!(ANN), &json!(BOB)));
        assert_eq!(native("bob")["lock_reason"], "locked in the ECM after failed sign-ins");
        assert_eq!((&native("ann")["user_role"], &native("ann")["creation_ctx"]["via"]), (&json!("viewer"), &json!("import")));
        let group = |name: &str| root.get(&format!("/ecm/security/group/{name}")).expect(200).json;
        assert_eq!((&group("Staff")["description"], &group("Staff")["profile_user_id"]), (&json!("everyone"), &json!(4)));
        assert_eq!((&group("Archive")["description"], &group("Empty")["description"]), (&json!(""), &json!("nobody")));
        let members = |name: &str| -> Vec<String> {
            let users = root.get(&format!("/ecm/security/group_members/{name}")).expect(200).json;
            let mut names: Vec<String> = users.as_array().unwrap().iter().map(|u| u["username"].as_str().unwrap().to_owned()).collect();
            names.sort();
            names
        };
        assert_eq!((members("Staff"), members("Archive")), (vec!["ANN".to_owned()], vec!["ANN".to_owned(), "SERVER".to_owned()]));
        // Nobody can sign in before a password was set.
        town.anon().try_sign_in("ann", PASSWORD).refused(401, "credentials_invalid");

        let before = root.get("/api/v1/users?sort=number").json["items"].clone();
        let again = import(&town, &export(), &[]).expect(0);
        assert!(again.err.contains("0 created, 0 updated, 3 unchanged, 0 refused") && !again.err.contains("groups"), "{again:?}");
        let after = root.get("/api/v1/users?sort=number").json["items"].clone();
        assert_eq!(after.as_array().unwrap()[1..], before.as_array().unwrap()[1..]);

        let mut newer = export();
        newer["users"][0]["username"] = json!("ANN.MILLER");
        newer["users"][0]["groups"] = json!(["Archive"]);
        newer["users"][1]["locked"] = json!(false);
        newer["groups"][0]["description"] = json!("everyone else");
        let updated = import(&town, &newer, &[]).expect(0);
        assert!(updated.err.contains("0 created, 2 updated, 1 unchanged") && updated.err.contains("1 group was settled"), "{updated:?}");
        assert_eq!((&seen("ann.miller")["guid"], &seen("bob")["locked"]), (&ann["guid"], &json!(false)));
        assert_eq!((members("Staff").len(), &group("Staff")["description"]), (0, &json!("everyone else")));
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// The zone of its times, and what never_expire says, are told.
    fn readings(engine) {
        let town = Town::new(engine);
        import(&town, &export(), &["--utc-offset", "-05:30", "--never-expire", "account"]).expect(0);
        let ann = town.root().get("/ecm/security/user/ann").expect(200).json;
        assert_eq!(ann["valid_to"], "2040-01-02T08:34:05");
        assert_eq!((&ann["never_expire"], &ann["password_never_expires"]), (&json!(true), &json!(false)));
        for bad in [&["--utc-offset", "one"][..], &["--never-expire", "both"]] {
            import(&town, &export(), bad).expect(2);
        }
    }

    /// What is no export is refused whole, with its place; a value that does not fit is named, and the rest is done.
    fn what_is_wrong_is_named(engine) {
        let town = Town::new(engine);
        let mut twice = export();
        twice["users"][1]["guid"] = json!(ANN);
        for (bad, place) in [(json!(5), "users[0]"), (twice, "users[1].guid"), (json!({"users": [{"guid": ANN}]}), "users[0].username")] {
            assert!(import(&town, &bad, &[]).expect(1).complaint().contains(place));
        }
        assert_eq!(town.root().get("/api/v1/users/count").json["total"], 1);
        let mut unfit = export();
        unfit["users"][0]["email"] = json!("no address");
        unfit["users"][0]["valid_to"] = json!("tomorrow");
        unfit["users"][2]["flags"] = json!("five");
        let done = import(&town, &unfit, &[]).expect(1);
        for part in ["line 1: email", "line 1: valid_to", "line 3: flags", "3 rows: 1 created, 0 updated, 0 unchanged, 2 refused"] {
            assert!(done.err.contains(part), "{part}: {done:?}");
        }
        assert_eq!(town.root().get("/api/v1/users/count").json["total"], 2);
    }
}
