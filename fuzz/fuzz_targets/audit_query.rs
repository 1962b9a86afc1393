//! The query string that searches the trail.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::http::outside;

fuzz_target!(|text: &str| {
    if let Ok(search) = outside::audit_query(text) {
        assert!(search.after.is_none() && search.about.is_none());
    }
});
