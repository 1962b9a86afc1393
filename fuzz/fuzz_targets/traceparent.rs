//! The W3C trace context, and the `Authorization` header: neither is taken in a form that it does not have.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::http::outside;

fuzz_target!(|text: &str| {
    if outside::traceparent(text) {
        assert!(text.len() == 55 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') && !text.starts_with("ff"));
    }
    let (token, key) = (outside::authorization(text, "Bearer"), outside::authorization(text, "Key"));
    assert!(token.is_none() || key.is_none());
    if let Some(token) = token {
        assert!(text.ends_with(token) && text.to_ascii_lowercase().starts_with("bearer "));
    }
});
