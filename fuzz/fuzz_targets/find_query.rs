//! The query string that finds users: a filter of fixed fields, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::http::outside;

fuzz_target!(|text: &str| {
    if let Ok(filter) = outside::find_query(text) {
        assert!(filter.roles.len() <= text.len() && filter.account_statuses.len() <= text.len());
    }
});
