//! Cursors, device cookies, secrets of the database and Fernet tokens: what was not sealed here does not open, and what a cursor holds is a place or nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::auth::data_key::DataKey;
use usher::auth::fernet;
use usher::auth::keys::Keys;
use usher::domain::chance::Entropy;
use usher::domain::secret::{Sealed, Seat};
use usher::domain::time::Utc;
use usher::service::{Order, outside};

fuzz_target!(|bytes: &[u8]| {
    let keys = Keys::from_root(&[3; 32]);
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert_eq!(keys.seal.open("a", text), None);
        let _ = fernet::Key::parse(text);
        if let Ok(key) = fernet::Key::parse("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=") {
            let _ = key.open(text);
        }
    }
    let key = DataKey::mint(Utc::from_micros(0), &Entropy::new(|buffer| buffer.fill(5)));
    let seat = Seat { table: "outbox", owner: [0; 16], row: [0; 16] };
    assert!(key.open(seat, &Sealed::from_bytes(bytes.to_vec())).is_none());
    if let Some(again) = outside::position(bytes) {
        assert_eq!(again, bytes);
    }
    let _ = outside::is_ticket(bytes);
    for order in [Order::Username, Order::Match, Order::Number] {
        if let Some(again) = outside::mark(bytes, order) {
            assert_eq!(again, bytes);
        }
    }
});
