//! The commands of hooks, and of the keys that sign tokens, as an operator types them.

use crate::both;
use crate::command_line::Desk;
use crate::harness::{PASSWORD, Site};
use crate::starting::{create_root, items, text};
use serde_json::json;

both! {
    /// S46: each command leaves one event by its operator, and each refusal its reason: hooks, and the keys that sign tokens. What cannot be delivered can be listed and tried again.
    fn hooks_and_signing_keys(engine) {
        let mut desk = Desk { site: Site::new(engine).with("tokens.issuer", "\"https://sso.example\""), left: Vec::new() };
        create_root(&desk.site);
        desk.left.push(("user.create", "success", None));
        let url = "https://localhost:1024/in";
        let made = desk.done(&["hook", "create", "crm", url, "--event", "user.locked", "--event", "user.created", "--json"], "hook.create").json();
        assert_eq!(made.as_object().unwrap().keys().collect::<Vec<_>>(), ["hook_id", "name", "secret"]);
        let id = text(&made["hook_id"]);
        let secret = desk.done(&["hook", "create", "desk", url], "hook.create").out;
        assert!(secret.starts_with("whsec_") && secret.trim() != text(&made["secret"]));
        desk.refused(&["hook", "create", "CRM", url], "hook.create", "value_taken");
        let barred = desk.refused(&["hook", "create", "x", "http://example.com/"], "hook.create", "invalid");
        assert!(barred.err.contains("hooks.allow_http"), "{barred:?}");
        let listed = items(&desk.done(&["hook", "list", "--json"], "hook.list"));
        assert_eq!(listed.iter().map(|h| text(&h["name"])).collect::<Vec<_>>(), ["crm", "desk"]);
        assert_eq!((&listed[0]["event_types"], &listed[1]["event_types"]), (&json!(["user.created", "user.locked"]), &json!(null)));
        let plain = desk.done(&["hook", "list"], "hook.list").out;
        assert!(plain.lines().count() == 2 && plain.contains(id) && plain.contains(url) && !plain.contains("whsec_"), "{plain}");
        for name in ["CRM", id] {
            assert_eq!(desk.done(&["hook", "show", name, "--json"], "hook.read").json(), listed[0]);
        }
        let plain = desk.done(&["hook", "show", "crm"], "hook.read").out;
        assert!(plain.contains(&format!("hook_id: {id}\n")) && plain.contains("is_active: true\n"), "{plain}");
        for arguments in [["hook", "show", "nowhere"], ["hook", "delete", "nowhere"], ["hook", "deliveries", "nowhere"], ["hook", "retry", "nowhere"]] {
            let action = ["hook.read", "hook.delete", "hook.list_deliveries", "hook.retry_delivery"]
                [["show", "delete", "deliveries", "retry"].iter().position(|c| *c == arguments[1]).unwrap()];
            let unknown = desk.refused(&arguments, action, "hook_unknown");
            assert!(unknown.err.contains("nowhere"), "{unknown:?}");
        }

        desk.run(&["user", "create", "ann", "--password-stdin"], PASSWORD, 0, Some(("user.create", "success", None)));
        let waiting = items(&desk.done(&["hook", "deliveries", "crm", "--json"], "hook.list_deliveries"));
        assert_eq!((waiting.len(), &waiting[0]["event_type"], &waiting[0]["state"]), (1, &json!("user.created"), &json!("waiting")));
        let delivery = text(&waiting[0]["delivery_id"]);
        let plain = desk.done(&["hook", "deliveries", "crm"], "hook.list_deliveries").out;
        assert_eq!(plain, format!("{delivery}  waiting   user.created  0 tries  -\n"));
        assert_eq!(desk.done(&["hook", "retry", "crm"], "hook.retry_delivery").out, "0 tried again\n");
        assert_eq!(desk.done(&["hook", "retry", "crm", delivery, "--json"], "hook.retry_delivery").json(), json!({"retried": 1}));
        desk.refused(&["hook", "retry", "crm", id], "hook.retry_delivery", "delivery_unknown");
        assert_eq!(desk.done(&["hook", "delete", "crm", "--json"], "hook.delete").json(), json!({"hook_id": id}));
        assert!(desk.done(&["hook", "delete", "desk"], "hook.delete").out.ends_with(" is removed\n"));

        let key = desk.done(&["secrets", "rotate-signing", "--json"], "secrets.rotate_signing").json();
        let plain = desk.done(&["secrets", "rotate-signing", "--now"], "secrets.rotate_signing").out;
        assert!(plain.ends_with("; 1 keys removed\n") && !plain.contains(text(&key["signing_key_id"])), "{plain}");
        desk.settle();
    }
}
