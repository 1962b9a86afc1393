//! Custom attributes: names and values, and the bodies that set one or several.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::domain::custom_attribute::{AttributeName, AttributeValue, LARGEST_VALUE};
use usher::http::outside;

fn check(value: &AttributeValue) {
    let text = value.as_json();
    assert!(text.len() <= LARGEST_VALUE && !text.contains(['\n', '\r']));
    assert!(serde_json::from_str::<serde_json::Value>(text).is_ok());
    assert!(AttributeValue::parse(text).is_ok_and(|again| again == *value));
}

fuzz_target!(|text: &str| {
    if let Ok(name) = AttributeName::try_from(text.to_owned()) {
        assert!(name.as_str() == text && !text.contains(['/', '%', '?', '#', ' ']) && text != "." && text != "..");
    }
    if let Ok(value) = AttributeValue::parse(text) {
        check(&value);
    }
    if let Ok(setting) = outside::attribute(text) {
        check(&setting.value);
    }
    for (_, setting) in outside::attributes(text).into_iter().flatten() {
        setting.iter().for_each(|setting| check(&setting.value));
    }
});
