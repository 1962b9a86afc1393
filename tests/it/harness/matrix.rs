//! What the tests of routes by callers have in common, whichever dialect's routes they are.

use super::{Answer, Client};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use usher::http::Dialect;

static STAGES: AtomicUsize = AtomicUsize::new(0);

/// A number that no other stage has, for names.
pub fn stage_number() -> usize {
    STAGES.fetch_add(1, Ordering::SeqCst)
}

/// Methods and paths of a dialect's routes.
pub fn routes_of(dialect: Dialect) -> BTreeSet<(String, String)> {
    let routes = usher::http::table().into_iter().filter(|route| route.dialect == dialect);
    routes.map(|route| (route.method.to_string(), route.path.to_owned())).collect()
}

/// The one event that a call has left.
#[track_caller]
pub fn event_of(root: &Client, answer: &Answer, what: &str) -> Value {
    let found = root.get(&format!("/api/v1/audit-events?cid={}", answer.cid())).expect(200).json;
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "{what} {found}");
    found["items"][0].clone()
}

/// What a document says a dialect shows although the native view hides it: viewer and key.
pub fn documented_exceptions(document: &str) -> BTreeSet<(String, String)> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dialects").join(document);
    let text = std::fs::read_to_string(path).unwrap();
    let section =
        text.split("\n## Shown beyond the native view\n").nth(1).expect("the section is missing").split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>());
    cells.map(|cells| (cells[1].clone(), cells[2].clone())).collect()
}
