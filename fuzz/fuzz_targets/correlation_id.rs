//! Correlation ids: nothing is taken that could do anything to a log line or a header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::http::outside;

fuzz_target!(|text: &str| {
    let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
    assert_eq!(outside::correlation_id(text), is_plain && !text.is_empty() && text.len() <= 64);
});
