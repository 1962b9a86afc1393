//! Session tokens and application keys: what is taken is 53 characters of the token's alphabet, and is told unaltered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::domain::secret::{ApplicationKey, Ust};

fuzz_target!(|text: &str| {
    if let Some(token) = Ust::parse(text) {
        assert!(token.expose() == text && text.len() == 53 && text.starts_with("ust_") && text.is_ascii());
        assert!(ApplicationKey::parse(text).is_none());
    }
    if let Some(key) = ApplicationKey::parse(text) {
        assert!(key.expose() == text && text.len() == 53 && text.starts_with("uak_") && text.is_ascii());
    }
});
