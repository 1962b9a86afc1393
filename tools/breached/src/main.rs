//! Builds the filter of breached passwords: `breached OUT LIST...`, each list one password a line.
//!
//! What is written, and how a password becomes a key, is described in `src/auth/breached.rs` of the service, which
//! reads it. The same lists give the same bytes, in whatever order they are named.

use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, env, error::Error, fs};
use unicode_normalization::UnicodeNormalization;
use xorf::{BinaryFuse16, DmaSerializable, Filter};

/// Shorter passwords fail the service's length rule before the filter is asked.
const MIN_CHARS: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args_os().skip(1);
    let out = args.next().ok_or("usage: breached OUT LIST...")?;

    let mut keys = BTreeSet::new();
    for list in args {
        for line in fs::read(list)?.split(|&byte| byte == b'\n') {
            // A line in some other encoding can't be what anyone types here.
            let Ok(password) = str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)) else {
                continue;
            };
            let folded = fold(password);
            if folded.chars().count() >= MIN_CHARS {
                keys.insert(key(&folded));
            }
        }
    }

    let keys: Vec<u64> = keys.into_iter().collect();
    let filter = BinaryFuse16::try_from(&keys)?;
    if !keys.iter().all(|key| filter.contains(key)) {
        return Err("the filter misses a key it was built from".into());
    }

    let mut bytes = vec![0; BinaryFuse16::DESCRIPTOR_LEN];
    filter.dma_copy_descriptor_to(&mut bytes);
    bytes.extend(
        filter
            .fingerprints
            .iter()
            .flat_map(|print| print.to_le_bytes()),
    );
    fs::write(&out, &bytes)?;

    println!("{} entries, {} bytes", keys.len(), bytes.len());
    Ok(())
}

/// The form in which passwords are compared: NFC, then lower case.
fn fold(password: &str) -> String {
    password.nfc().collect::<String>().to_lowercase()
}

fn key(folded: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = Sha256::digest(folded).into();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
