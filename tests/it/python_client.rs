//! The Python client of `clients/python`, installed as anyone would and run against the program itself: the examples of the four published
//! pages, what they leave out, and its types.

use crate::both;
use crate::faults::{furnished, newcomer, root};
use crate::harness::process::Process;
use crate::harness::{PASSWORD, Site, python_client};
use serde_json::json;

both! {
    /// Every example runs as written, synchronously and asynchronously; and every call does what it says.
    fn the_examples_of_the_pages_run(engine) {
        // The password of an example has 14 characters.
        let site = furnished(Site::new(engine).with("passwords.min_length", "14"));
        let service = Process::serve(&site);
        let by = root(&service);
        let ann = newcomer(&service, &by, "ann");
        let key = |name: &str, may_set: bool| {
            let body = json!({"name": name, "is_key_required": true, "may_set_remote_addr": may_set});
            by.post("/api/v1/applications", &body).expect(201).json["key"].clone()
        };
        let setting = json!({
            "base": service.base, "root": by.ust, "ann": ann.ust, "password": PASSWORD,
            "api_key": by.post("/api/v1/users/me/api-keys", &json!({"name": "robot", "scope": "manage"})).expect(201).json["key"],
            "keys": {"CRM": key("CRM", true), "Till": key("Till", false)},
        });
        let Some(ran) = python_client::client("client_examples.py", &setting.to_string()) else { return };
        assert_eq!(ran.expect(0).out, "40 examples ran\n");
        assert!(!service.terminate().log.contains("panicked"));
    }
}

/// The types hold, those of the examples against the client's included.
#[test]
fn its_types_are_strict() {
    let Some(ran) = python_client::check_types() else { return };
    assert!(ran.expect(0).out.contains("Success: no issues found"));
}
