//! Every command, as an operator types it.

use crate::both;
use crate::harness::process::{self, Process, Ran, program, run, usher};
use crate::harness::{Client, Engine, PASSWORD, ROOT, Site, soon};
use crate::starting::{create_root, items, text};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const ME: &str = "/api/v1/users/me";
const OTHER_PASSWORD: &str = "marble cloud engine 77";

/// What the trail is to say of a command.
pub type Left = (&'static str, &'static str, Option<&'static str>);

/// A command line whose commands are noted with the events that they are to leave.
pub struct Desk {
    pub site: Site,
    pub left: Vec<Left>,
}

impl Desk {
    pub fn run(&mut self, arguments: &[&str], input: &str, code: i32, left: Option<Left>) -> Ran {
        let ran = usher(&self.site, arguments, input).expect(code);
        if code == 0 {
            assert!(ran.err.is_empty(), "{ran:?}");
        } else if code != 2 {
            ran.complaint();
        }
        self.left.extend(left);
        ran
    }

    pub fn done(&mut self, arguments: &[&str], action: &'static str) -> Ran {
        self.run(arguments, "", 0, Some((action, "success", None)))
    }

    pub fn refused(&mut self, arguments: &[&str], action: &'static str, reason: &'static str) -> Ran {
        self.run(arguments, "", 1, Some((action, "refused", Some(reason))))
    }

    /// The exported events of operators are those noted, in their order, each by whoever runs these tests.
    pub fn settle(&mut self) {
        let exported = usher(&self.site, &["audit", "export"], "").expect(0).out;
        let events: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let by_operator: Vec<&Value> = events.iter().filter(|e| e["actor_type"] == "operator").collect();
        let found: Vec<(&str, &str, Option<&str>)> =
            by_operator.iter().map(|e| (text(&e["action"]), text(&e["outcome"]), e["reason"].as_str())).collect();
        assert_eq!(found, self.left);
        let name = |program: &str, argument: &str| {
            String::from_utf8(Command::new(program).arg(argument).output().unwrap().stdout).unwrap().trim().to_owned()
        };
        let operator = format!("{}@{}", name("id", "-un"), name("uname", "-n"));
        for event in by_operator {
            assert_eq!(text(&event["actor"]), operator, "{event}");
            assert!(event["remote_addr"].is_null() && event["actor_session"].is_null(), "{event}");
        }
        self.left.push(("audit.export", "success", None));
    }
}

fn sign_in(service: &Process, name: &str, password: &str) -> Client {
    service.anon().sign_in(name, password)
}

both! {
    /// S46: users through the command line: every command with and without `--json`, every refusal with its reason, and for each that
    /// acts exactly one audit event, by its operator.
    fn users(engine) {
        let mut desk = Desk { site: Site::new(engine), left: Vec::new() };
        let create = Some(("user.create", "success", None));
        let plain = desk.run(&["user", "create", "root", "--super-user", "--password-stdin"], PASSWORD, 0, create);
        let root_id = plain.out.strip_suffix('\n').unwrap().to_owned();
        assert_eq!(root_id.len(), 36, "{plain:?}");
        let arguments = [
            "user", "create", "Ann", "--login-name", "ann.login", "--email", "ann@example.com", "--role", "publisher", "--display-name",
            "Ann O.", "--first-name", "Ann", "--middle-name", "M", "--last-name", "Other", "--external-id", "idp|1", "--password-stdin", "--json",
        ];
        let ann = desk.run(&arguments, PASSWORD, 0, create).json();
        let expected = json!({
            "username": "Ann", "login_name": "ann.login", "email": "ann@example.com", "user_role": "publisher", "display_name": "Ann O.",
            "first_name": "Ann", "middle_name": "M", "last_name": "Other", "external_id": "idp|1", "password_is_set": true,
            "password_must_change": false, "approval_status": "approved", "sign_up_status": "final", "is_active": true,
        });
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&ann[name], value, "{name}");
        }
        assert_eq!(ann["creation_ctx"]["via"], "cli");
        let bob = desk.run(&["user", "create", "bob", "--must-set-password", "--json"], "", 0, create).json();
        assert_eq!((&bob["password_is_set"], &bob["password_must_change"]), (&json!(false), &json!(true)));

        // Refusals. The names of one are taken for another, in any case and as either of the two names.
        for arguments in [["user", "create", "ANN"], ["user", "create", "ann.login"]] {
            let taken = desk.refused(&arguments, "user.create", "value_taken");
            assert!(taken.err.contains("taken") && taken.out.is_empty(), "{taken:?}");
        }
        desk.refused(&["user", "create", "eve", "--external-id", "idp|1"], "user.create", "value_taken");
        let unfit = Some(("user.create", "refused", Some("password_unfit")));
        let short = desk.run(&["user", "create", "eve", "--password-stdin"], "short\n", 1, unfit);
        assert!(short.err.contains("password") && !short.err.contains("short\n"), "{short:?}");
        for arguments in [&["user", "show", "nobody"][..], &["user", "show", "018f0000-0000-7000-8000-000000000000", "--json"]] {
            let unknown = desk.refused(arguments, "user.read", "user_unknown");
            assert!(unknown.err.contains(arguments[2]) && unknown.out.is_empty(), "{unknown:?}");
        }
        desk.refused(&["user", "lock", "nobody"], "user.lock", "user_unknown");
        desk.refused(&["user", "unlock", "nobody"], "user.unlock", "user_unknown");
        let unknown = Some(("user.set_password", "refused", Some("user_unknown")));
        desk.run(&["user", "set-password", "nobody", "--password-stdin"], OTHER_PASSWORD, 1, unknown);
        let last = desk.refused(&["user", "lock", "root"], "user.lock", "last_super_user");
        assert!(last.err.contains("super-user"), "{last:?}");

        // By name, by login name, by id.
        let id = text(&ann["user_id"]);
        for name in ["ann", "ANN.login", id] {
            assert_eq!(desk.done(&["user", "show", name, "--json"], "user.read").json()["user_id"], ann["user_id"]);
        }
        let shown = desk.done(&["user", "show", "ann"], "user.read").out;
        assert!(shown.contains(&format!("user_id: {id}\n")) && shown.contains("display_name: Ann O.\n"), "{shown}");
        let listed = items(&desk.done(&["user", "list", "--json"], "user.list"));
        assert_eq!(listed.iter().map(|u| text(&u["username"])).collect::<Vec<_>>(), ["root", "Ann", "bob"]);
        assert_eq!(listed[1]["user_id"], ann["user_id"]);
        let lines = desk.done(&["user", "list"], "user.list").out;
        let lines: Vec<&str> = lines.lines().collect();
        assert!(lines.len() == 3 && lines[0].contains(&root_id) && lines[1].contains(id) && lines[1].contains("publisher"), "{lines:?}");

        let service = Process::serve(&desk.site);
        let session = sign_in(&service, "ann.login", PASSWORD);
        let locked = desk.done(&["user", "lock", "ann", "--reason", "lost laptop", "--json"], "user.lock").json();
        assert_eq!((&locked["is_locked"], &locked["lock_reason"]), (&json!(true), &json!("lost laptop")));
        session.get(ME).refused(401, "session_invalid");
        service.anon().try_sign_in("ann", PASSWORD).refused(401, "account_locked");
        assert!(desk.done(&["user", "lock", "bob"], "user.lock").out.contains("bob"));
        assert_eq!(desk.done(&["user", "unlock", "ann", "--json"], "user.unlock").json()["is_locked"], false);
        assert!(desk.done(&["user", "unlock", "bob"], "user.unlock").out.contains("bob"));
        let session = sign_in(&service, "ann", PASSWORD);
        let set = Some(("user.set_password", "success", None));
        let changed = desk.run(&["user", "set-password", "ann", "--password-stdin", "--json"], OTHER_PASSWORD, 0, set).json();
        assert_eq!(changed["password_must_change"], false);
        session.get(ME).refused(401, "session_invalid");
        service.anon().try_sign_in("ann", PASSWORD).refused(401, "credentials_invalid");
        sign_in(&service, "ann", OTHER_PASSWORD);
        desk.run(&["user", "set-password", "ann", "--password-stdin", "--must-change"], PASSWORD, 0, set);
        service.anon().try_sign_in("ann", PASSWORD).refused(401, "password_must_change");
        desk.run(&["user", "set-password", "ann", "--password-stdin"], "short", 1, Some(("user.set_password", "refused", Some("password_unfit"))));

        let key = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
        let made = desk.run(&["user", "create", "eve", "--totp-key", key, "--password-stdin"], PASSWORD, 0, create);
        assert!(!made.out.contains(key));
        // What cannot be a key is refused before anything is done, and not repeated.
        let unfit = desk.run(&["user", "create", "mallory", "--totp-key", "JBSWY3DP1"], "", 1, None);
        assert!(!unfit.err.contains("JBSWY3DP1") && unfit.err.contains("--totp-key"), "{unfit:?}");
        service.anon().try_sign_in("eve", PASSWORD).refused(401, "totp_required");
        assert_eq!(desk.done(&["user", "reset-totp", "eve", "--json"], "user.reset_totp").json()["is_totp_enabled"], false);
        assert!(desk.done(&["user", "reset-totp", "eve"], "user.reset_totp").out.contains("eve"));
        sign_in(&service, "eve", PASSWORD);
        desk.refused(&["user", "reset-totp", "nobody"], "user.reset_totp", "user_unknown");
        desk.settle();
    }

    /// S46: applications and sessions, likewise.
    fn applications_and_sessions(engine) {
        let mut desk = Desk { site: Site::new(engine), left: Vec::new() };
        create_root(&desk.site);
        desk.left.push(("user.create", "success", None));
        let made = desk.done(&["app", "create", "desk", "--own-sessions", "--require-key", "--json"], "application.create").json();
        assert_eq!(made.as_object().unwrap().keys().collect::<Vec<_>>(), ["application_id", "name", "key"]);
        assert_eq!(made["name"], "desk");
        let key = desk.done(&["app", "create", "shelf"], "application.create").out;
        let taken = desk.refused(&["app", "create", "DESK"], "application.create", "value_taken");
        assert!(taken.err.contains("taken"), "{taken:?}");
        let listed = items(&desk.done(&["app", "list", "--json"], "application.list"));
        let of = |name: &str| listed.iter().find(|a| a["name"] == name).unwrap_or_else(|| panic!("{listed:?}"));
        assert_eq!((&of("desk")["session_scope"], &of("desk")["is_key_required"]), (&json!("own-sessions"), &json!(true)));
        assert_eq!((&of("shelf")["session_scope"], &of("shelf")["is_key_required"]), (&json!("shared"), &json!(false)));
        assert_eq!(of("desk")["application_id"], made["application_id"]);
        let plain = desk.done(&["app", "list"], "application.list").out;
        assert_eq!(plain.lines().count(), 3, "{plain}");
        assert!(!plain.contains(text(&made["key"])) && !plain.contains(key.trim()) && !json!(listed).to_string().contains(key.trim()));

        let service = Process::serve(&desk.site);
        let through = |key: &str| service.anon().with("x-current-app", "desk").with("x-application-key", key);
        let at_desk = through(text(&made["key"])).sign_in(ROOT, PASSWORD);
        through(key.trim()).try_sign_in(ROOT, PASSWORD).refused(401, "application_invalid");
        usher(&desk.site, &["user", "create", "ann", "--password-stdin"], PASSWORD).expect(0);
        desk.left.push(("user.create", "success", None));
        let (first, second) = (sign_in(&service, "ann", PASSWORD), sign_in(&service, "ann", PASSWORD));
        let session = |client: &Client| client.session_id.clone().unwrap();

        let listed = items(&desk.done(&["session", "list", "--json"], "session.list"));
        assert_eq!(listed.iter().map(|s| text(&s["session_id"])).collect::<Vec<_>>(), [session(&at_desk), session(&first), session(&second)]);
        assert_eq!(listed[0]["application"], "desk");
        assert!(!json!(listed).to_string().contains("ust_"));
        let plain = desk.done(&["session", "list", "--user", "ann"], "session.list").out;
        assert!(plain.lines().count() == 2 && plain.contains(&session(&first)) && !plain.contains(&session(&at_desk)), "{plain}");
        assert_eq!(items(&desk.done(&["session", "list", "--user", first.id(), "--json"], "session.list")).len(), 2);
        desk.refused(&["session", "list", "--user", "nobody"], "session.list", "user_unknown");

        desk.done(&["session", "revoke", "--user", "ann", &session(&first)], "session.revoke");
        soon(401, || first.get(ME)).refused(401, "session_invalid");
        second.get(ME).expect(200);
        desk.refused(&["session", "revoke", "--user", "ann", &session(&first)], "session.revoke", "session_unknown");
        desk.refused(&["session", "revoke", "--user", "ann", &session(&at_desk), "--json"], "session.revoke", "session_unknown");
        desk.done(&["session", "revoke", "--user", "ann", "--json"], "session.revoke_all");
        soon(401, || second.get(ME)).refused(401, "session_invalid");
        at_desk.get(ME).expect(200);
        desk.refused(&["session", "revoke", "--user", "nobody"], "session.revoke_all", "user_unknown");
        desk.settle();
    }

    /// S46: groups, and applications with their lists, likewise.
    fn groups_and_lists(engine) {
        let mut desk = Desk { site: Site::new(engine), left: Vec::new() };
        create_root(&desk.site);
        usher(&desk.site, &["user", "create", "ann", "--password-stdin"], PASSWORD).expect(0);
        desk.left.extend([("user.create", "success", None); 2]);
        let staff = desk.done(&["group", "create", "Staff", "--json"], "group.create").json();
        let others = desk.done(&["group", "create", "Others"], "group.create").out;
        desk.refused(&["group", "create", "STAFF"], "group.create", "value_taken");
        assert_eq!(items(&desk.done(&["group", "list", "--json"], "group.list")).iter().map(|g| text(&g["name"])).collect::<Vec<_>>(), ["Others", "Staff"]);
        assert_eq!(desk.done(&["group", "list"], "group.list").out, format!("{}  Others\n{}  Staff\n", others.trim(), text(&staff["group_id"])));
        assert_eq!(desk.done(&["group", "rename", "others", "Guests", "--json"], "group.update").json()["name"], "Guests");
        assert!(desk.done(&["group", "rename", others.trim(), "Visitors"], "group.update").out.contains("Visitors"));
        assert_eq!(desk.done(&["group", "add", "staff", "ann", "--json"], "group.add_member").json()["groups"], json!([{"group_id": staff["group_id"], "name": "Staff"}]));
        assert!(desk.done(&["group", "add", "Visitors", "ANN"], "group.add_member").out.contains("ann"));
        let members = items(&desk.done(&["group", "members", "staff", "--json"], "group.list_members"));
        assert_eq!((members.len(), &members[0]["username"]), (1, &json!("ann")));
        assert!(desk.done(&["group", "members", text(&staff["group_id"])], "group.list_members").out.ends_with("  ann\n"));
        desk.refused(&["group", "members", "nothing"], "group.list_members", "group_unknown");
        desk.refused(&["group", "add", "staff", "nobody"], "group.add_member", "user_unknown");
        assert!(desk.done(&["group", "remove", "Visitors", "ann"], "group.remove_member").out.contains("ann"));
        desk.refused(&["group", "remove", "Visitors", "ann"], "group.remove_member", "member_unknown");
        desk.done(&["group", "delete", "visitors", "--json"], "group.delete");
        desk.refused(&["group", "delete", "visitors"], "group.delete", "group_unknown");

        let create = ["app", "create", "desk", "--access", "listed", "--allowed-roles", "publisher,viewer", "--allowed-groups", "staff", "--allowed-networks", "10.0.0.0/8, 2001:db8::/32", "--json"];
        let made = desk.done(&create, "application.create").json();
        let shown = desk.done(&["app", "show", "DESK", "--json"], "application.read").json();
        let expected = json!({"name": "desk", "session_scope": "shared", "is_key_required": false, "access": "listed", "allowed_roles": ["viewer", "publisher"],
            "allowed_groups": [staff["group_id"]], "allowed_networks": ["10.0.0.0/8", "2001:db8::/32"]});
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&shown[name], value, "{name}");
        }
        desk.refused(&["app", "create", "crm", "--allowed-groups", "staff,nothing"], "application.create", "group_unknown");
        let set = ["app", "set", "desk", "--rename", "counter", "--session-scope", "own-sessions", "--require-key", "true", "--allowed-roles", "", "--allowed-networks", "", "--json"];
        let changed = desk.done(&set, "application.update").json();
        assert_eq!((&changed["name"], &changed["session_scope"], &changed["is_key_required"]), (&json!("counter"), &json!("own-sessions"), &json!(true)));
        assert_eq!((&changed["allowed_roles"], &changed["allowed_groups"], &changed["allowed_networks"]), (&json!([]), &json!([staff["group_id"]]), &json!([])));
        assert!(desk.done(&["app", "set", "counter", "--allowed-groups", ""], "application.update").out.contains("allowed_groups: []\n"));
        assert!(desk.done(&["app", "show", "counter"], "application.read").out.contains("access: listed\n"));
        desk.refused(&["app", "set", "counter"], "application.update", "invalid");
        desk.refused(&["app", "set", "default", "--rename", "other"], "application.update", "default_application");
        desk.refused(&["app", "set", "desk", "--access", "everyone"], "application.update", "application_unknown");
        desk.refused(&["app", "show", "desk"], "application.read", "application_unknown");
        desk.refused(&["app", "renew-key", "default"], "application.renew_key", "default_application");
        desk.refused(&["app", "delete", "default"], "application.delete", "default_application");

        let service = Process::serve(&desk.site);
        desk.done(&["app", "set", "counter", "--access", "everyone"], "application.update");
        let through = |key: &Value| service.anon().with("x-current-app", "counter").with("x-application-key", text(key)).try_sign_in("ann", PASSWORD);
        soon(201, || through(&made["key"]));
        let renewed = desk.done(&["app", "renew-key", "counter", "--json"], "application.renew_key").json();
        assert_eq!(renewed.as_object().unwrap().keys().collect::<Vec<_>>(), ["application_id", "name", "key"]);
        soon(401, || through(&made["key"])).refused(401, "application_invalid");
        through(&renewed["key"]).expect(201);
        let plain = desk.done(&["app", "renew-key", "counter"], "application.renew_key").out;
        soon(401, || through(&renewed["key"])).refused(401, "application_invalid");
        through(&json!(plain.trim())).expect(201);
        desk.settle();
    }

    /// S46: API keys and the networks of users, likewise.
    fn api_keys_and_networks(engine) {
        let mut desk = Desk { site: Site::new(engine), left: Vec::new() };
        create_root(&desk.site);
        usher(&desk.site, &["user", "create", "bot"], "").expect(0);
        desk.left.extend([("user.create", "success", None); 2]);
        let made = desk.done(&["key", "create", "nightly", "--user", "BOT", "--scope", "manage", "--expires-in", "3600", "--json"], "api_key.create").json();
        assert_eq!(made.as_object().unwrap().keys().collect::<Vec<_>>(), ["key_id", "name", "key"]);
        assert_eq!(made["name"], "nightly");
        let plain = desk.done(&["key", "create", "plain", "--user", "root"], "api_key.create").out;
        desk.refused(&["key", "create", "x", "--user", "nobody"], "api_key.create", "user_unknown");
        desk.refused(&["key", "create", "x", "--user", "bot", "--expires-in", "0"], "api_key.create", "invalid");
        let listed = items(&desk.done(&["key", "list", "--json"], "api_key.list"));
        let told: Vec<_> = listed.iter().map(|k| (text(&k["name"]), text(&k["scope"]), k["expiry"].is_null())).collect();
        assert_eq!(told, [("nightly", "manage", false), ("plain", "read", true)]);
        let lines = desk.done(&["key", "list", "--user", "bot"], "api_key.list").out;
        assert!(lines.lines().count() == 1 && lines.contains(text(&made["key_id"])) && lines.contains("manage"), "{lines}");
        desk.refused(&["key", "list", "--user", "nobody"], "api_key.list", "user_unknown");
        for key in [text(&made["key"]), plain.trim()] {
            assert!(key.starts_with("key_") && !lines.contains(key) && !json!(listed).to_string().contains(key));
        }

        let service = Process::serve(&desk.site);
        let by = |key: &str| service.anon().with("authorization", &format!("Key {key}"));
        let (bot, root) = (by(text(&made["key"])), by(plain.trim()));
        assert_eq!(bot.get(ME).expect(200).json["username"], "bot");
        root.get("/api/v1/users").expect(200);
        root.patch(ME, &json!({"first_name": "Root"})).refused(403, "key_read_only");
        assert_eq!(desk.done(&["user", "networks", "bot", "--json"], "user.read_networks").json(), json!({"networks": []}));
        let set = desk.done(&["user", "networks", "bot", "--set", "192.0.2.0/24,2001:db8::/32"], "user.set_networks");
        assert_eq!(set.out, "192.0.2.0/24,2001:db8::/32\n");
        soon(401, || bot.get(ME)).refused(401, "session_invalid");
        assert_eq!(desk.done(&["user", "networks", "bot", "--clear", "--json"], "user.set_networks").json(), json!({"networks": []}));
        soon(200, || bot.get(ME));
        desk.refused(&["user", "networks", "nobody"], "user.read_networks", "user_unknown");
        desk.refused(&["user", "networks", "nobody", "--clear"], "user.set_networks", "user_unknown");
        assert!(desk.done(&["key", "revoke", text(&made["key_id"])], "api_key.revoke").out.contains(text(&made["key_id"])));
        soon(401, || bot.get(ME)).refused(401, "session_invalid");
        desk.refused(&["key", "revoke", text(&made["key_id"]), "--json"], "api_key.revoke", "key_unknown");
        root.get(ME).expect(200);
        desk.settle();
    }

    /// S46: the audit trail, likewise; looking at it leaves an event too.
    fn the_audit_trail(engine) {
        let mut desk = Desk { site: Site::new(engine), left: Vec::new() };
        create_root(&desk.site);
        desk.left.push(("user.create", "success", None));
        desk.settle();
        let exported = desk.done(&["audit", "export", "--json"], "audit.export").out;
        let first: Value = serde_json::from_str(exported.lines().next().unwrap()).unwrap();
        let cid = text(&first["cid"]).to_owned();
        let shown = items(&desk.done(&["audit", "show", "--cid", &cid, "--json"], "audit.read"));
        assert_eq!(shown, [first]);
        let plain = desk.done(&["audit", "show", "--cid", &cid], "audit.read").out;
        assert!(plain.contains(&format!("cid: {cid}\n")) && plain.contains("action: user.create\n"), "{plain}");
        // The search is done, and finds nothing.
        let none = desk.run(&["audit", "show", "--cid", "nothing"], "", 1, Some(("audit.read", "success", None)));
        assert!(none.err.contains("no such event"), "{none:?}");
        assert_eq!(items(&desk.done(&["audit", "show", "--cid", "nothing", "--json"], "audit.read")), [json!(null); 0]);
        let sound = desk.done(&["audit", "verify", "--json"], "audit.verify").json();
        // It does not count the event that it is about to leave.
        assert_eq!((&sound["sound"], &sound["events"]), (&json!(true), &json!(desk.left.len() - 1)));
        assert!(desk.done(&["audit", "verify"], "audit.verify").out.starts_with("sound: "));
        desk.settle();
    }

    /// Wrong usage exits 2, helps, and leaves nothing.
    fn wrong_usage(engine) {
        let mut desk = Desk { site: Site::new(engine), left: Vec::new() };
        create_root(&desk.site);
        desk.left.push(("user.create", "success", None));
        for arguments in [
            &["user"][..],
            &["user", "create"],
            &["user", "create", ""],
            &["user", "create", "two\nlines"],
            &["user", "create", "ann", "--role", "emperor"],
            &["user", "create", "ann", "--super-user", "--role", "viewer"],
            &["user", "create", "ann", "--email", "nowhere"],
            &["user", "create", "ann", "--password-stdin", "--must-set-password"],
            &["user", "set-password", "root"],
            &["user", "vanish", "root"],
            &["user", "reset-totp"],
            &["user", "create", "ann", "--totp-key"],
            &["user", "list", "--nonsense"],
            &["app", "create"],
            &["app", "create", "desk", "--access", "nobody"],
            &["app", "create", "desk", "--allowed-roles", "emperor"],
            &["app", "create", "desk", "--allowed-networks", "10.0.0.1/8"],
            &["app", "set"],
            &["group", "add", "staff"],
            &["key", "create", "x"],
            &["key", "create", "x", "--user", "root", "--scope", "all"],
            &["key", "create", "x", "--user", "root", "--expires-in", "-1"],
            &["key", "revoke", "not-an-id"],
            &["user", "networks", "root", "--set", "nowhere"],
            &["user", "networks", "root", "--set", "10.0.0.0/8", "--clear"],
            &["session", "revoke"],
            &["session", "revoke", "--user", "root", "not-an-id"],
            &["session", "revoke", "--all", "--app", "default"],
            &["session", "revoke", "--all", "018f0000-0000-7000-8000-000000000000"],
            &["audit", "show"],
            &["audit", "show", "--from", "yesterday"],
            &["completions", "tcl"],
            &["hook", "create", "crm"],
            &["hook", "create", "crm", "ftp://example.com"],
            &["hook", "create", "crm", "https://user@example.com/"],
            &["hook", "create", "crm", "https://example.com/", "--event", "user.vanished"],
            &["hook", "retry", "crm", "not-an-id"],
            &["fly"],
            &[],
        ] {
            let ran = desk.run(arguments, PASSWORD, 2, None);
            assert!(ran.out.is_empty() && ran.err.contains("Usage") || ran.err.contains("--help"), "{arguments:?}: {ran:?}");
            assert!(!ran.err.contains("panicked"));
        }
        desk.settle();
    }

    /// Migrations: what is pending is told with exit code 3, applying tells what was applied, and once more is no error.
    fn migrations(engine) {
        for flag in [&[][..], &["--json"]] {
            let site = Site::new(engine);
            let migrate = |check: &[&str], code: i32| -> Vec<String> {
                let ran = usher(&site, &[&["migrate"], check, flag].concat(), "").expect(code);
                if code == 3 {
                    assert!(ran.complaint().contains("pending"), "{ran:?}");
                }
                match flag {
                    [] => ran.out.lines().map(str::to_owned).collect(),
                    _ => items(&ran).iter().map(|name| text(name).to_owned()).collect(),
                }
            };
            let mut known: Vec<String> =
                fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite")).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
            known.sort();
            assert_eq!(migrate(&["--check"], 3), known);
            assert!(!site.file().exists(), "asking made a database");
            assert_eq!(migrate(&["--check"], 3), known);
            assert_eq!(migrate(&[], 0), known);
            assert_eq!(migrate(&["--check"], 0), [""; 0]);
            assert_eq!(migrate(&[], 0), [""; 0]);
        }
    }

    /// S40: a key file is made once, readable by its owner alone, and never over another.
    fn secrets_init(engine) {
        for flag in [&[][..], &["--json"]] {
            let folder = TempDir::new().unwrap();
            let keys = folder.path().join("own.keys");
            let named = format!("{:?}", keys.display().to_string());
            let site = Site::new(engine).with("log.filter", "\"info\"");
            let mut command = program(site.folder.path());
            command.args(["secrets", "init", "--config"]).arg(site.settings()).args(flag).env("USHER__SECRETS__FILE", &keys);
            let made = run(command, "").expect(0);
            let told = if flag.is_empty() { made.out.trim().to_owned() } else { text(&made.json()["file"]).to_owned() };
            assert_eq!(format!("{told:?}"), named);
            assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o600);
            let first = fs::read(&keys).unwrap();
            let mut command = program(site.folder.path());
            command.args(["secrets", "init", "--config"]).arg(site.settings()).args(flag).env("USHER__SECRETS__FILE", &keys);
            let again = run(command, "").expect(1);
            assert!(again.complaint().contains(&told), "{again:?}");
            assert_eq!(fs::read(&keys).unwrap(), first);
            assert!(!String::from_utf8_lossy(&first).contains(made.out.trim()));
        }
    }

    /// Exit code 69 from every command that needs the database, and none from those that do not.
    fn an_unreachable_database(engine) {
        let site = Site::new(engine);
        let settings = site.settings();
        let away = |arguments: &[&str]| {
            let mut command = program(site.folder.path());
            command.args(arguments).arg("--config").arg(&settings);
            command.env("USHER__DATABASE__URL", "postgres://usher@127.0.0.1:1/usher").env("USHER__SECRETS__FILE", site.keys());
            run(command, PASSWORD)
        };
        for arguments in [
            &["user", "create", "ann"][..],
            &["user", "show", "ann"],
            &["user", "list", "--json"],
            &["user", "lock", "ann"],
            &["user", "unlock", "ann"],
            &["user", "set-password", "ann", "--password-stdin"],
            &["user", "reset-totp", "ann"],
            &["app", "create", "desk"],
            &["app", "list"],
            &["session", "list"],
            &["session", "revoke", "--user", "ann"],
            &["hook", "list"],
            &["hook", "create", "crm", "https://crm.example/"],
            &["secrets", "rotate"],
            &["secrets", "rotate-signing"],
            &["audit", "show", "--cid", "c"],
            &["audit", "export"],
            &["audit", "verify"],
            &["migrate"],
            &["migrate", "--check"],
            &["serve"],
        ] {
            let ran = away(arguments).expect(69);
            assert!(ran.complaint().contains("127.0.0.1") && ran.out.is_empty(), "{arguments:?}: {ran:?}");
        }
        away(&["openapi"]).expect(0);
        away(&["config", "show"]).expect(0);
    }

    /// What is read from standard input as a password loses exactly one line ending; all else is the password, spaces included.
    fn a_password_from_standard_input(engine) {
        let site = Site::new(engine);
        create_root(&site);
        let service = Process::serve(&site);
        for (number, (input, password, others)) in [
            ("two  words and  more", "two  words and  more", &["two words and more"][..]),
            ("  spaces at both ends  \n", "  spaces at both ends  ", &["spaces at both ends", "  spaces at both ends  \n"]),
            ("\ttabs at both ends, too\t\r\n", "\ttabs at both ends, too\t", &["tabs at both ends, too", "\ttabs at both ends, too\t\r"]),
            ("one line ending of two\n\n", "one line ending of two\n", &["one line ending of two"]),
            ("only a carriage return\r", "only a carriage return\r", &["only a carriage return"]),
            ("two lines of a password\nand the second\n", "two lines of a password\nand the second", &["two lines of a password"]),
            ("größer als fünfzehn 🦀\n", "größer als fünfzehn 🦀", &["grösser als fünfzehn 🦀"]),
        ]
        .into_iter()
        .enumerate()
        {
            let (made, set) = (format!("made-{number}"), format!("set-{number}"));
            usher(&site, &["user", "create", &made, "--password-stdin"], input).expect(0);
            usher(&site, &["user", "create", &set], "").expect(0);
            usher(&site, &["user", "set-password", &set, "--password-stdin"], input).expect(0);
            for name in [&made, &set] {
                for other in others {
                    service.anon().try_sign_in(name, other).refused(401, "credentials_invalid");
                }
                sign_in(&service, name, password);
            }
        }
        for input in ["", "\n", "\r\n"] {
            let empty = usher(&site, &["user", "create", "empty", "--password-stdin"], input).expect(1);
            assert!(empty.complaint().contains("password"), "{empty:?}");
        }
        let endless = "x".repeat(200_000);
        usher(&site, &["user", "create", "endless", "--password-stdin"], &endless).expect(1).complaint();
        assert!(items(&usher(&site, &["user", "list", "--json"], "").expect(0)).iter().all(|u| !text(&u["username"]).starts_with('e')));
    }
}

/// The printed OpenAPI document is the served one.
#[test]
fn openapi_is_printed_as_served() {
    let site = Site::new(Engine::Sqlite);
    create_root(&site);
    let service = Process::serve(&site);
    let served = service.anon().get("/openapi.json").expect(200).json;
    for arguments in [&["openapi"][..], &["openapi", "--json"]] {
        let printed = usher(&site, arguments, "").expect(0).json();
        assert!(text(&printed["openapi"]).starts_with("3.1"), "{}", printed["openapi"]);
        assert_eq!(printed, served);
    }
}

/// Where nobody reads what a command prints, it ends without a fuss.
#[test]
fn a_closed_standard_output_is_no_panic() {
    let site = Site::new(Engine::Sqlite);
    create_root(&site);
    for words in ["openapi", "user list --json", "audit export", "config show"] {
        let mut shell = process::bare("sh", site.folder.path());
        let script = format!("\"$0\" {words} --config \"$1\" >/dev/full");
        shell.args(["-c", &script, process::PROGRAM]).arg(site.settings());
        let ran = run(shell, "").expect(1);
        assert!(ran.complaint().contains("standard output"), "{ran:?}");
    }
}
