//! Looking after users: changing, approving and rejecting, deleting.

use crate::both;
use crate::bulk::{HASH, import};
use crate::harness::{Client, PASSWORD, Town};
use crate::matrix::{OWNER, SUPER_USER};
use serde_json::{Value, json};
use std::time::Duration;

const ME: &str = "/api/v1/users/me";

fn path(id: &str) -> String {
    format!("/api/v1/users/{id}")
}

/// A value that fits each attribute that someone may change.
fn fitting(name: &str) -> Value {
    match name {
        "username" | "login_name" => format!("new-{name}").into(),
        "email" => "new@example.com".into(),
        "user_role" => "publisher".into(),
        "is_active" | "password_must_change" | "password_never_expires" | "never_expire" => true.into(),
        "valid_from" => "2001-01-01T00:00:00Z".into(),
        "valid_to" | "password_expiry" => "2091-01-01T00:00:00Z".into(),
        "lang_id" | "profile_id" | "server_id" | "account_type" | "flags" => 7.into(),
        "supervisor_id" => Value::Null,
        _ => format!("new {name}").into(),
    }
}

/// What a row of an import may say besides what a super-user may change; all of it attributes that no patch changes.
const IMPORT_ONLY: &[&str] =
    &["created_time", "sign_up_status", "is_approval_needed", "approval_status", "is_locked", "lock_reason"];

/// A value that fits each member of a row.
fn imported(name: &str) -> Value {
    match name {
        "password" => PASSWORD.into(),
        "password_hash" => HASH.into(),
        "totp_key" => "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP".into(),
        "created_time" => "2001-01-01T00:00:00Z".into(),
        "sign_up_status" => "before_confirmation".into(),
        "approval_status" => "rejected".into(),
        "is_approval_needed" | "is_locked" => true.into(),
        // No two users have these in common.
        "username" | "login_name" | "external_id" => format!("{name} of a row").into(),
        _ => fitting(name),
    }
}

both! {
    /// Of two members of one name one reader would take the first and another the last: every way in refuses both.
    fn two_members_of_one_name_are_refused(engine) {
        let town = crate::zato::town_on(crate::harness::Site::new(engine));
        let root = town.root();
        let ust = root.ust.clone().unwrap();
        for (path, members) in [
            ("/api/v1/users", String::new()),
            ("/__api__/v1/users", "\"user_must_set_password\":true,".to_owned()),
            ("/ecm/security/users", format!("\"password\":\"{PASSWORD}\",")),
            ("/zato/sso/user", format!("\"current_app\":\"CRM\",\"ust\":\"{ust}\",")),
        ] {
            let body = |more: &str| Some(format!("{{{members}\"username\":\"n{}\"{more}}}", path.len()));
            let refused = root.call("POST", path, body(",\"user\\u006eame\":\"other\""));
            assert_eq!(refused.status, 400, "{path}: {}", refused.text);
            let made = root.call("POST", path, body(""));
            assert!(made.status < 300, "{path}: {}", made.text);
        }
        let told = crate::bulk::post(&root, crate::bulk::IMPORT, "{\"username\":\"x\",\"username\":\"y\"}\n{\"username\":\"z\"}\n").expect(200);
        assert!(told.text.contains("The line has two members of one name.") && told.text.contains("\"created\":1"), "{}", told.text);
        assert_eq!(root.get("/api/v1/users/count").json["total"], 6);
    }

    /// S27, S29, R1, R2: each attribute, by each viewer, through each way of writing (patch, creation, import): the table decides.
    fn the_table_decides_what_may_be_written(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let editable = |client: &Client| -> Vec<String> {
            let views = client.get("/api/v1/views").json["attributes"].as_array().unwrap().clone();
            views.iter().filter(|a| a["editable"] == true).map(|a| a["name"].as_str().unwrap().to_owned()).collect()
        };
        let ann = town.user("ann");
        let (by_owner, by_root) = (editable(&ann), editable(&root));
        for name in SUPER_USER.iter().chain(&["totp_key", "password", "password_hash", "username_key", "nonsense"]) {
            let body = json!({*name: fitting(name)});
            let is_known = SUPER_USER.contains(name) || *name == "totp_key";
            let refusal = if is_known { (403, "member_forbidden") } else { (422, "invalid") };
            let check = |answer: crate::harness::Answer, may: bool| match may {
                true => assert_eq!(answer.expect(200).json[*name], fitting(name), "{name}"),
                false => drop(answer.refused(refusal.0, refusal.1)),
            };
            check(ann.patch(ME, &body), by_owner.contains(&(*name).to_owned()));
            let victim = town.create(&format!("victim-of-{name}"));
            let may = by_root.contains(&(*name).to_owned());
            check(root.patch(&path(&victim), &body), may);
            // Creating takes the same, and a password; an import also its hash, the key of one-time codes, groups, and what a migration
            // brings along.
            let mut row = json!({"username": format!("made-with-{name}"), "external_id": format!("x-{name}")});
            row[*name] = match *name {
                "groups" => json!(["staff"]),
                "password" => PASSWORD.into(),
                "username" | "login_name" | "external_id" => format!("{name} of a creation").into(),
                _ => fitting(name),
            };
            let is_password = *name == "password";
            let created = root.post("/api/v1/users", &row);
            match may || is_password {
                true => drop(created.expect(201)),
                false => drop(created.refused(refusal.0, refusal.1)),
            }
            row["username"] = format!("imported-with-{name}").into();
            row["external_id"] = format!("y-{name}").into();
            row[*name] = if *name == "groups" { json!(["staff"]) } else { imported(name) };
            if *name == "lock_reason" {
                row["is_locked"] = true.into();
            }
            let told = import(&root, std::slice::from_ref(&row));
            let is_taken = may || is_password || ["password_hash", "totp_key", "groups"].contains(name) || IMPORT_ONLY.contains(name);
            assert_eq!(told.outcomes(), [if is_taken { "created" } else { "refused" }], "{name}: {told:?}");
            if !is_taken {
                let code = if is_known { "member_forbidden" } else { "unknown_member" };
                assert_eq!((&told.rows[0]["errors"][0]["pointer"], &told.rows[0]["errors"][0]["code"]), (&json!(format!("/{name}")), &json!(code)));
            } else if SUPER_USER.contains(name) && *name != "groups" {
                let user_id = told.rows[0]["user_id"].as_str().unwrap();
                assert_eq!(root.get(&path(user_id)).json[*name], imported(name), "{name}");
            }
            // With one member that is not allowed nothing is changed.
            let mixed = json!({"first_name": "mixed", "is_locked": true});
            root.patch(&path(&victim), &mixed).refused(403, "member_forbidden");
            assert!(root.get(&path(&victim)).json["first_name"] != "mixed");
        }
        // Whoever holds no session or another's id writes nothing at all.
        for name in OWNER {
            let body = json!({*name: fitting(name)});
            town.anon().patch(ME, &body).refused(401, "session_invalid");
            ann.patch(&path(ann.id()), &body).refused(403, "forbidden");
            ann.patch(&path(&town.root_id), &body).refused(403, "forbidden");
        }
    }

    /// A merge patch changes what it names, null takes away, and an empty one is refused.
    fn merge_patch(engine) {
        let town = Town::new(engine);
        let (root, ann) = (town.root(), town.user("ann"));
        town.advance(Duration::from_secs(60));
        let changed = ann.patch(ME, &json!({"first_name": "Ann", "last_name": "Doe", "lang_id": 3})).expect(200).json;
        assert_eq!((&changed["first_name"], &changed["last_name"], &changed["display_name"]), (&json!("Ann"), &json!("Doe"), &json!("ann")));
        let changed = ann.with("content-type", "application/merge-patch+json").patch(ME, &json!({"first_name": null})).expect(200).json;
        assert_eq!((&changed["first_name"], &changed["last_name"]), (&Value::Null, &json!("Doe")));
        let seen = root.get(&path(ann.id())).json;
        assert_eq!(seen["updated_time"], town.now().to_string());
        ann.patch(ME, &json!({})).refused(422, "invalid");
        ann.patch(ME, &json!({"display_name": null})).refused(422, "invalid");
        ann.patch(ME, &json!({"email": "nobody"})).refused(422, "invalid");
        root.patch(&path(ann.id()), &json!({"username": "ROOT"})).refused(409, "value_taken");
        root.patch(&path(ann.id()), &json!({"supervisor_id": "018f0000-0000-7000-8000-000000000000"})).refused(422, "invalid");
        root.patch(&path("018f0000-0000-7000-8000-000000000000"), &json!({"remark": "x"})).refused(404, "not_found");
        // A new name signs in, the old one no longer does.
        root.patch(&path(ann.id()), &json!({"username": "Anna", "login_name": "anna@work"})).expect(200);
        town.anon().sign_in("ANNA", PASSWORD);
        town.anon().sign_in("anna@work", PASSWORD);
        town.anon().try_sign_in("ann", PASSWORD).refused(401, "credentials_invalid");
    }

    /// The entity tag changes with an edit and with nothing else; an outdated one is refused.
    fn entity_tags(engine) {
        let town = Town::new(engine);
        let (root, ann) = (town.root(), town.user("ann"));
        let tag = |client: &Client, path: &str| client.get(path).headers["etag"].clone();
        let (by_owner, by_root) = (tag(&ann, ME), tag(&root, &path(ann.id())));
        town.advance(Duration::from_secs(120));
        ann.sign_in("ann", PASSWORD);
        assert_eq!(tag(&ann, ME), by_owner);
        root.patch(&path(ann.id()), &json!({"remark": "an owner does not see this"})).expect(200);
        assert_eq!(tag(&ann, ME), by_owner);
        assert_ne!(tag(&root, &path(ann.id())), by_root);
        root.with("if-match", &by_root).patch(&path(ann.id()), &json!({"remark": "late"})).refused(412, "precondition_failed");
        assert_eq!(root.get(&path(ann.id())).json["remark"], "an owner does not see this");
        let changed = ann.with("if-match", &by_owner).patch(ME, &json!({"first_name": "Ann"})).expect(200);
        assert_eq!(changed.headers["etag"], tag(&ann, ME));
        ann.with("if-match", &by_owner).patch(ME, &json!({"first_name": "Late"})).refused(412, "precondition_failed");
        ann.with("if-match", "*").patch(ME, &json!({"first_name": "Anne"})).expect(200);
    }

    /// S26: an e-mail address and a role are changed soon after signing in only.
    fn some_changes_need_a_fresh_sign_in(engine) {
        let town = Town::new(engine);
        let (root, ann) = (town.root(), town.user("ann"));
        ann.patch(ME, &json!({"email": "ann@example.com"})).expect(200);
        town.advance(Duration::from_secs(301));
        ann.patch(ME, &json!({"email": "eve@example.com"})).refused(403, "fresh_sign_in_required");
        ann.patch(ME, &json!({"email": "ann@example.com", "first_name": "Ann"})).expect(200);
        root.patch(&path(ann.id()), &json!({"user_role": "publisher"})).refused(403, "fresh_sign_in_required");
        root.patch(&path(ann.id()), &json!({"email": "other@example.com"})).refused(403, "fresh_sign_in_required");
        root.patch(&path(ann.id()), &json!({"remark": "an old session will do"})).expect(200);
        root.post("/api/v1/users", &json!({"username": "second", "user_role": "administrator"})).refused(403, "fresh_sign_in_required");
        root.post("/api/v1/users", &json!({"username": "third", "user_role": "publisher"})).expect(201);
        town.root().patch(&path(ann.id()), &json!({"user_role": "publisher"})).expect(200);
    }

    /// Roles: nobody raises their own, a changed one ends the sessions (S19, S21), and one super-user always remains.
    fn roles(engine) {
        let town = Town::new(engine);
        let (root, ann) = (town.root(), town.user("ann"));
        let promote = |role: &str| root.patch(&path(ann.id()), &json!({"user_role": role})).expect(200);
        promote("administrator");
        ann.get(ME).refused(401, "session_invalid");
        let ann = ann.sign_in("ann", PASSWORD);
        ann.get(&path(&town.root_id)).expect(200);
        ann.patch(&path(ann.id()), &json!({"user_role": "publisher"})).expect(200);
        ann.get(ME).refused(401, "session_invalid");
        let ann = ann.sign_in("ann", PASSWORD);
        ann.patch(ME, &json!({"user_role": "administrator"})).refused(403, "member_forbidden");
        for last in [
            json!({"user_role": "viewer"}),
            json!({"is_active": false}),
            json!({"valid_to": "2020-01-01T00:00:00Z"}),
            json!({"valid_to": "2091-01-01T00:00:00Z"}),
            json!({"valid_from": "2091-01-01T00:00:00Z"}),
        ] {
            root.patch(&path(&town.root_id), &last).refused(409, "last_super_user");
        }
        root.delete(&path(&town.root_id)).refused(409, "last_super_user");
        root.call("POST", &format!("{}/reject", path(&town.root_id)), None).refused(409, "last_super_user");
        town.usher(&["user", "delete", "root"]).expect(1);
        town.usher(&["user", "set-role", "root", "viewer"]).expect(1);
        root.patch(&path(&town.root_id), &json!({"valid_to": "2091-01-01T00:00:00Z", "never_expire": true})).expect(200);
    }

    /// Deactivating and the validity window end sessions at once.
    fn what_bars_an_account_ends_its_sessions(engine) {
        let town = Town::new(engine);
        let root = town.root();
        for (number, change) in [json!({"is_active": false}), json!({"valid_to": "2030-01-01T00:00:00Z"})].iter().enumerate() {
            let user = town.user(&format!("user-{number}"));
            root.patch(&path(user.id()), change).expect(200);
            user.get(ME).refused(401, "session_invalid");
            // And they stay ended when the bar is lifted.
            root.patch(&path(user.id()), &json!({"is_active": true, "valid_to": null})).expect(200);
            user.get(ME).refused(401, "session_invalid");
        }
    }

    /// Approval and rejection, with who and when.
    fn approval(engine) {
        let town = Town::new(engine);
        let (root, ann) = (town.root(), town.user("ann"));
        town.advance(Duration::from_secs(5));
        let decide = |what: &str| root.call("POST", &format!("{}/{what}", path(ann.id())), None).expect(200).json;
        let rejected = decide("reject");
        assert_eq!(
            (&rejected["approval_status"], &rejected["approv_rej_by"], &rejected["approv_rej_time"]),
            (&json!("rejected"), &json!(town.root_id), &json!(town.now().to_string()))
        );
        ann.get(ME).refused(401, "session_invalid");
        town.anon().try_sign_in("ann", PASSWORD).refused(401, "approval_pending");
        assert_eq!(decide("approve")["approval_status"], "approved");
        ann.get(ME).refused(401, "session_invalid");
        town.anon().sign_in("ann", PASSWORD);
        let story = root.get(&format!("/api/v1/audit-events?subject={}&from={}", ann.id(), town.now())).json;
        let actions: Vec<&str> = story["items"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["user.reject", "session.sign_in", "user.approve", "session.sign_in"]);
    }

    /// Nothing of a deleted person is left but the ids in the audit trail, and the chains still hold.
    fn deleting(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let body = json!({"username": "ann", "password": PASSWORD, "email": "ann.secret@example.com", "last_name": "Inimitable"});
        root.post("/api/v1/users", &body).expect(201);
        let ann = town.anon().sign_in("ann", PASSWORD);
        ann.patch(ME, &json!({"last_name": "Unmistakable"})).expect(200);
        let dependant = root.post("/api/v1/users", &json!({"username": "bob", "supervisor_id": ann.id()})).expect(201).json;
        root.delete(&path(ann.id())).expect(204);
        root.delete(&path(ann.id())).refused(404, "not_found");
        root.get(&path(ann.id())).refused(404, "not_found");
        ann.get(ME).refused(401, "session_invalid");
        town.anon().try_sign_in("ann", PASSWORD).refused(401, "credentials_invalid");
        assert!(root.get(&path(dependant["user_id"].as_str().unwrap())).json["supervisor_id"].is_null());
        let trail = town.usher(&["audit", "export"]).expect(0).out;
        assert!(trail.contains(ann.id()));
        for trace in ["ann.secret@example.com", "Inimitable", "Unmistakable"] {
            assert!(!trail.contains(trace), "{trace} is left");
        }
        let verified = town.usher(&["audit", "verify", "--json"]).expect(0).json();
        assert_eq!((&verified["sound"], &verified["erased"]), (&json!(true), &json!(3)));
        // The name is free again.
        root.post("/api/v1/users", &json!({"username": "ann"})).expect(201);
        let second = json!({"username": "second", "password": PASSWORD, "user_role": "administrator"});
        let second = root.post("/api/v1/users", &second).expect(201).json["user_id"].as_str().unwrap().to_owned();
        town.anon().sign_in("second", PASSWORD).delete(&path(&second)).refused(409, "self_delete");
    }

    /// A super-user sets a password; the user's sessions end.
    fn setting_a_password(engine) {
        let town = Town::new(engine);
        let (root, ann) = (town.root(), town.user("ann"));
        let set = |body: Value| root.put(&format!("{}/password", path(ann.id())), &body);
        set(json!({"new_password": "short"})).refused(422, "password_unfit");
        let new = "marble cloud engine 77";
        let seen = set(json!({"new_password": new, "must_change": true, "expiry": "2091-01-01T00:00:00Z"})).expect(200).json;
        assert_eq!((&seen["password_must_change"], &seen["password_expiry"]), (&json!(true), &json!("2091-01-01T00:00:00Z")));
        ann.get(ME).refused(401, "session_invalid");
        town.anon().try_sign_in("ann", new).refused(401, "password_must_change");
        set(json!({"new_password": new})).expect(200);
        town.anon().sign_in("ann", new);
    }

    /// The same by the command line.
    fn by_the_command_line(engine) {
        let town = Town::new(engine);
        town.create("ann");
        let run = |arguments: &[&str]| town.usher(&[&["user"], arguments, &["--json"]].concat()).expect(0);
        assert_eq!(run(&["reject", "ann"]).json()["approval_status"], "rejected");
        assert_eq!(run(&["approve", "ann"]).json()["approval_status"], "approved");
        assert_eq!(run(&["set-role", "ann", "publisher"]).json()["user_role"], "publisher");
        run(&["delete", "ann"]);
        town.usher(&["user", "show", "ann"]).expect(1);
    }
}
