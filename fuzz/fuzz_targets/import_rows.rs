//! Imports: how bytes are cut into lines does not depend on how they come, and each line is a row or is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
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
});
