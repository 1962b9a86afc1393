//! `If-Match` and `If-None-Match`: no text holds of a tag that is not in it, and no list is endless.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::domain::precondition::{MOST_TAGS, Precondition, Tags};

fuzz_target!(|text: &str| {
    const TAG: &str = "\"0123456789abcdef.7\"";
    let Ok(tags) = Tags::read(text) else {
        assert!(text.split(',').count() > MOST_TAGS);
        return;
    };
    let matched = Precondition { if_match: Some(tags.clone()), if_none_match: None };
    assert!(!matched.holds(None));
    assert!(!matched.holds(Some(TAG)) || text.trim() == "*" || text.contains(TAG));
    let unmatched = Precondition { if_match: None, if_none_match: Some(tags) };
    assert!(unmatched.holds(None));
    assert!(unmatched.holds(Some(TAG)) || text.trim() == "*" || text.contains(TAG));
});
