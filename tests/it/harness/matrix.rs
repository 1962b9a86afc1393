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
    check_shown(root, answer, what);
    let found = root.get(&format!("/api/v1/audit-events?cid={}", answer.cid())).expect(200).json;
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "{what} {found}");
    found["items"][0].clone()
}

/// S52: whomever an answer of whatever dialect shows, `subject=` of that person finds its event, with the view.
pub fn check_shown(root: &Client, answer: &Answer, what: &str) {
    let mut persons = BTreeSet::new();
    if answer.status < 300 {
        let documents = std::iter::once(answer.text.as_str()).filter_map(|text| serde_json::from_str(text).ok());
        let documents: Vec<Value> = documents.collect();
        let lines = answer.text.lines().filter(|_| documents.is_empty()).filter_map(|line| serde_json::from_str(line).ok());
        documents.iter().cloned().chain(lines).for_each(|document: Value| find_persons(&document, &mut persons));
    }
    let events = root.get(&format!("/api/v1/audit-events?cid={}", answer.cid())).expect(200).json["items"].clone();
    let events = events.as_array().unwrap();
    for person in &persons {
        let tells = |event: &&Value| {
            let is_shown = event["shown"].as_array().is_some_and(|shown| shown.iter().any(|id| id == person.as_str()));
            (is_shown || event["subject"] == person.as_str()) && event["view"].is_string()
        };
        assert!(events.iter().any(|event| tells(&event)), "nothing tells that {person} was shown: {what} {events:?}");
    }
    // The same by the person, for a few.
    for person in persons.iter().take(2) {
        let found = root.get(&format!("/api/v1/audit-events?subject={person}&cid={}", answer.cid())).expect(200).json;
        assert!(!found["items"].as_array().unwrap().is_empty(), "{person}: {what}");
    }
}

/// The ids of those whom a document shows, as it spells them: whose `user_id` it tells, who have a name and a `guid`, and of events those who
/// acted and were acted on. Ids in other attributes (who locked somebody, say) are something about whom they stand with.
fn find_persons(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            let is_event = members.contains_key("actor_type");
            for (name, value) in members {
                let is_person = match name.as_str() {
                    "user_id" => true,
                    "guid" => members.contains_key("username"),
                    "subject" => is_event,
                    "actor" => is_event && members.get("actor_type").is_some_and(|kind| kind == "user"),
                    _ => false,
                };
                found.extend(value.as_str().filter(|_| is_person).and_then(spelt_natively));
                // What changed once is no showing of who is named there.
                if name != "changes" {
                    find_persons(value, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| find_persons(item, found)),
        _ => {}
    }
}

/// An id of any dialect, as the native API spells it.
fn spelt_natively(id: &str) -> Option<String> {
    let of_zato = usher::domain::zato::read(id).map(|id| id.to_string());
    let digits: String = id.chars().filter(|c| *c != '-').collect::<String>().to_lowercase();
    let is_hex = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let native =
        is_hex.then(|| format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]));
    of_zato.or(native)
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
