//! Key files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::auth::keys::Keys;

fuzz_target!(|text: &str| {
    if let Err(cause) = Keys::parse(text) {
        assert!(!cause.is_empty() && !cause.contains('\n'));
    }
});
