//! JSON bodies: the depth is judged before anything is parsed, and a sign-in is read from what is left or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use usher::http::outside;

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(members) = outside::body(bytes) {
        assert!(members.values().map(depth).max().unwrap_or(0) < 32);
        let _ = outside::sign_in(members);
    }
});
