//! Password hashes of other systems: whatever text comes, it is read or refused, and nothing costs more to verify than it may.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::auth::stored_hash::StoredHash;
use usher::domain::secret::PasswordHash;

fuzz_target!(|text: &str| {
    let hash = PasswordHash::new(text.to_owned());
    let first = StoredHash::read(&hash);
    assert_eq!(first.is_ok(), StoredHash::read(&hash).is_ok());
});
