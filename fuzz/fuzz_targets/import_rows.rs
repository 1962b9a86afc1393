//! Imports and exports of the ECM: how bytes are cut into lines does not depend on how they come, and each line is a row or is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::domain::connect_user::Memberships;
use usher::domain::ecm_export::{self, Export, NeverExpire, Offset, Reading};
use usher::domain::ndjson::{Cutter, Line};
use usher::service::outside;

fn cut(pieces: &[&[u8]]) -> Vec<Line> {
    let (mut cutter, mut lines) = (Cutter::default(), Vec::new());
    pieces.iter().for_each(|piece| cutter.feed(piece, &mut lines));
    lines.extend(cutter.finish());
    lines
}

fuzz_target!(|bytes: &[u8]| {
    let lines = cut(&[bytes]);
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    assert_eq!(cut(&[head, tail]), lines);
    for line in &lines {
        let _ = outside::import_row(line);
    }
    if let Ok(user) = serde_json::from_slice(bytes) {
        let _ = Memberships::default().row(&user);
    }
    if let Ok(export) = Export::parse(bytes) {
        let reading = Reading { offset: Offset::default(), never_expire: NeverExpire::Account };
        let (users, _) = export.into_parts();
        users.iter().for_each(|user| assert!(ecm_export::row(user, reading).contains_key("external_id")));
    }
});
