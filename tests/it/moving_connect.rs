//! Moving here from Posit Connect: `usher user import --from connect`, as `docs/migrate/connect.md` describes it. Users are read from a server
//! that speaks Connect's API, or from answers that were saved.

use crate::both;
use crate::harness::process::{Ran, usher};
use crate::harness::{Engine, PASSWORD, Site, Town};
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

/// A server with some people in groups: usher's own dialect is the best there is without the original.
fn server(engine: Engine) -> (Town, Value) {
    let town = Town::of_today(Site::new(engine));
    let admin = town.admin();
    town.root().patch(&format!("/api/v1/users/{}", town.root_id), &json!({"username": "chief"})).expect(200);
    let create = |body: Value| admin.post("/__api__/v1/users", &body).expect(200).json;
    let ann = create(
        json!({"username": "ann", "email": "ann@example.com", "first_name": "Ann", "last_name": "Lee", "user_role": "publisher", "password": PASSWORD}),
    );
    let bob = create(json!({"username": "bob", "password": PASSWORD}));
    admin.post(&format!("/__api__/v1/users/{}/lock", bob["guid"].as_str().unwrap()), &json!({"locked": true})).expect(204);
    for (name, members) in [("Staff", vec![&ann, &bob]), ("Öffentlich und mehr", vec![&ann]), ("Nobody", vec![])] {
        let group = admin.post("/__api__/v1/groups", &json!({"name": name})).expect(200).json;
        for member in members {
            let path = format!("/__api__/v1/groups/{}/members", group["guid"].as_str().unwrap());
            admin.post(&path, &json!({"user_guid": member["guid"]})).expect(204);
        }
    }
    (town, json!([ann, bob]))
}

/// A folder with the key of the server's super-user.
fn with_key(server: &Town) -> (TempDir, String) {
    let (folder, key) = (TempDir::new().unwrap(), server.admin().header("authorization").trim_start_matches("Key ").to_owned());
    fs::write(folder.path().join("key"), format!("{key}\n")).unwrap();
    (folder, key)
}

fn import(town: &Town, options: &[&str]) -> Ran {
    let ran = usher(&town.site, &[&["user", "import", "--from", "connect"], options].concat(), "");
    town.hear();
    ran
}

fn seen(town: &Town, name: &str) -> Value {
    town.root().get(&format!("/api/v1/users?username={name}")).expect(200).json["items"][0].clone()
}

both! {
    /// Users come with roles, locks and groups; groups with their guids. Again nothing changes, and what changed there is brought along.
    fn people_move_from_a_server(engine) {
        let (connect, people) = server(engine);
        let town = Town::of_today(Site::new(engine));
        let (folder, key) = with_key(&connect);
        let key_file = folder.path().join("key");
        let of_server = ["--url", &format!("{}/below/a/path/", connect.base), "--key-file", key_file.to_str().unwrap()];
        let dry = import(&town, &[&of_server[..], &["--dry-run"]].concat()).expect(0);
        assert!(dry.err.contains("3 rows: 3 created") && dry.err.contains("dry run"), "{dry:?}");
        assert_eq!(town.root().get("/api/v1/users/count").json["total"], 1);
        let done = import(&town, &of_server).expect(0);
        assert!(done.err.contains("3 rows: 3 created, 0 updated, 0 unchanged, 0 refused; 2 groups were made"), "{done:?}");

        let names = |user: &Value| user["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        let ann = seen(&town, "ann");
        for (attribute, value) in [
            ("external_id", people[0]["guid"].clone()), ("email", json!("ann@example.com")), ("first_name", json!("Ann")), ("last_name", json!("Lee")),
            ("user_role", json!("publisher")), ("is_locked", json!(false)), ("password_is_set", json!(false)), ("approval_status", json!("approved")),
        ] {
            assert_eq!(ann[attribute], value, "{attribute}");
        }
        assert_eq!(names(&ann), ["Staff", "Öffentlich und mehr"]);
        let bob = seen(&town, "bob");
        assert_eq!((&bob["is_locked"], &bob["lock_reason"], names(&bob)), (&json!(true), &json!("locked in Posit Connect"), vec!["Staff".to_owned()]));
        assert_eq!(seen(&town, "chief")["user_role"], "administrator");
        // Programs that know a group by its guid of old find it, also one that nobody is in.
        let groups = |town: &Town, member: &str| -> Vec<(String, String)> {
            let groups = town.root().get("/api/v1/groups").expect(200).json["items"].clone();
            let text = |group: &Value, name: &str| group[name].as_str().unwrap_or_default().to_owned();
            groups.as_array().unwrap().iter().map(|group| (text(group, "name"), text(group, member))).collect()
        };
        assert_eq!(groups(&town, "external_id"), groups(&connect, "group_id"));
        assert_eq!(groups(&town, "name").len(), 3);

        let again = import(&town, &of_server).expect(0);
        assert!(again.err.contains("0 created, 0 updated, 3 unchanged, 0 refused") && !again.err.contains("groups"), "{again:?}");
        let bob_there = format!("/__api__/v1/users/{}/lock", people[1]["guid"].as_str().unwrap());
        connect.admin().post(&bob_there, &json!({"locked": false})).expect(204);
        let later = import(&town, &of_server).expect(0);
        assert!(later.err.contains("0 created, 1 updated, 2 unchanged"), "{later:?}");
        assert_eq!(seen(&town, "bob")["is_locked"], false);
        town.usher(&["audit", "verify"]).expect(0);

        // S30: the key is not told, whatever goes wrong; and then nothing is done.
        fs::write(&key_file, format!("{}x", &key[..key.len() - 1])).unwrap();
        let refused = import(&town, &of_server).expect(1);
        assert!(refused.complaint().contains("answered 401") && !refused.err.contains(&key[..20]), "{refused:?}");
        for (url, cause) in [("http://127.0.0.1:1", ""), (&*format!("{}/docs/__api__x", connect.base), "answered 404")] {
            let nowhere = import(&town, &["--url", url, "--key-file", key_file.to_str().unwrap()]).expect(1);
            assert!(nowhere.complaint().contains(cause) && !nowhere.err.contains(&key[..20]), "{nowhere:?}");
        }
    }

    /// Answers that were saved, page by page, are as good as the server. A file that is missing or is something else is named.
    fn people_move_from_saved_answers(engine) {
        let (connect, _) = server(engine);
        let town = Town::of_today(Site::new(engine));
        let (folder, key) = with_key(&connect);
        let admin = connect.admin();
        let save = |path: &str, stem: &str, size: usize| {
            let mut number = 1;
            loop {
                let page = admin.get(&format!("/__api__/{path}?page_number={number}&page_size={size}")).expect(200);
                if number > 1 && page.json["results"].as_array().unwrap().is_empty() {
                    return;
                }
                fs::write(folder.path().join(format!("{stem}-{number}.json")), &page.text).unwrap();
                number += 1;
            }
        };
        save("v1/users", "users", 2);
        save("v1/groups", "groups", 3);
        for group in admin.get("/__api__/v1/groups").expect(200).json["results"].as_array().unwrap() {
            let guid = group["guid"].as_str().unwrap();
            save(&format!("v1/groups/{guid}/members"), &format!("members-{guid}"), 1);
        }
        let saved = ["--saved", folder.path().to_str().unwrap()];
        assert!(import(&town, &saved).expect(0).err.contains("3 rows: 3 created"));
        let key_file = folder.path().join("key");
        let live = import(&town, &["--url", &connect.base, "--key-file", key_file.to_str().unwrap()]).expect(0);
        assert!(live.err.contains("3 unchanged"), "{live:?}");

        // The first page is done when the second turns out to be none.
        fs::write(folder.path().join("users-2.json"), "<html>").unwrap();
        let broken = import(&town, &saved).expect(1);
        assert!(broken.err.contains("users-2.json: is no page"), "{broken:?}");
        fs::remove_file(folder.path().join("users-1.json")).unwrap();
        assert!(import(&town, &saved).expect(1).err.contains("users-1.json"));
        fs::write(folder.path().join("groups-1.json"), json!({"results": [{"guid": "../key", "name": "x"}], "total": 1}).to_string()).unwrap();
        assert!(import(&town, &saved).expect(1).complaint().contains("is none"));
        fs::write(&key_file, " \n").unwrap();
        let empty = import(&town, &["--url", &connect.base, "--key-file", key_file.to_str().unwrap()]).expect(1);
        assert!(empty.complaint().contains("holds no API key") && !empty.err.contains(&key), "{empty:?}");
        import(&town, &[]).expect(1).complaint();
        for wrong in [&["--url", "http://localhost"][..], &["--key-file", "key"], &["--url", "http://x", "--key-file", "key", "--saved", "."]] {
            import(&town, wrong).expect(2);
        }
    }
}
