//! RFC 3339: what is read is written as the same instant.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::domain::time::Utc;

fuzz_target!(|text: &str| {
    if let Some(instant) = Utc::parse(text) {
        assert_eq!(Utc::parse(&instant.to_string()), Some(instant));
    }
});
