//! Settings files: what is taken is within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::settings;

fuzz_target!(|text: &str| {
    match settings::parse(text) {
        Ok(settings) => {
            assert!(settings.passwords.hash_memory_kib >= 19_456 && settings.passwords.hash_passes >= 2);
            assert!((8..=64).contains(&settings.passwords.min_length) && settings.sessions.absolute_seconds >= 1);
        }
        Err(cause) => assert!(!cause.is_empty()),
    }
});
