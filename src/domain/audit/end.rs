//! The end of a chain as it is signed: its head, and the month that the chain has come to.
//!
//! A MAC begins with the number of its format. Format 1, of programs before schema 16, was the bare MAC and did not cover the month; it is
//! read once, when a database is converted, and never written.

use super::Head;
use crate::domain::secret::MacKey;

/// The format that is written.
const FORMAT: u8 = 2;

/// Which end of a chain: the MAC of the one is none of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where it ends.
    Head,
    /// Where it begins: everything up to here has been dropped.
    Beginning,
}

/// An end of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The number and hash of the last event, or of the last one that was dropped.
    pub head: Head,
    /// The month of what comes next is this one or a later one.
    pub month: i64,
}

impl End {
    /// The end of a chain without events.
    pub fn of_empty(chain: i64) -> Self {
        Self { head: Head::of_empty(chain), month: 0 }
    }

    /// Its MAC, as the database keeps it.
    pub fn mac(&self, side: Side, key: &MacKey) -> Vec<u8> {
        let mut mac = vec![FORMAT];
        mac.extend(key.mac(&self.bytes(match side {
            Side::Head => b"usher audit chain head 2",
            Side::Beginning => b"usher audit chain beginning 2",
        })));
        mac
    }

    /// Whether the database's MAC is this end's.
    pub fn is_confirmed(&self, side: Side, key: &MacKey, mac: &[u8]) -> bool {
        let text = self.bytes(match side {
            Side::Head => b"usher audit chain head 2",
            Side::Beginning => b"usher audit chain beginning 2",
        });
        matches!(mac.split_first(), Some((&FORMAT, mac)) if key.confirms(&text, mac))
    }

    /// Whether it is one of format 1.
    pub fn is_confirmed_in_format_1(&self, side: Side, key: &MacKey, mac: &[u8]) -> bool {
        let mut text = match side {
            Side::Head => b"usher audit chain head 1".to_vec(),
            Side::Beginning => b"usher audit chain beginning 1".to_vec(),
        };
        text.extend(self.head.bytes());
        key.confirms(&text, mac)
    }

    /// What a signature of a head covers.
    pub fn signed_bytes(&self) -> Vec<u8> {
        self.bytes(b"usher audit head 2")
    }

    fn bytes(&self, purpose: &[u8]) -> Vec<u8> {
        [purpose, &self.head.bytes(), &self.month.to_be_bytes()].concat()
    }
}

/// Whether a MAC, right or wrong, is of format 1.
pub fn is_of_format_1(mac: &[u8]) -> bool {
    mac.len() == 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// S53: each field is covered, and so is which end it is.
        #[test]
        fn a_mac_is_that_of_one_end_alone(chain in 1i64..9, seq in 0i64..9, byte in any::<u8>(), month in 0i64..9, other in (1i64..9, 0i64..9, any::<u8>(), 0i64..9)) {
            let key = MacKey::new([7; 32]);
            let end = |(chain, seq, byte, month)| End { head: Head { chain, seq, hash: vec![byte; 32] }, month };
            let (one, two) = (end((chain, seq, byte, month)), end(other));
            let mac = one.mac(Side::Head, &key);
            prop_assert!(one.is_confirmed(Side::Head, &key, &mac) && !one.is_confirmed(Side::Beginning, &key, &mac));
            prop_assert_eq!(two.is_confirmed(Side::Head, &key, &mac), one == two);
            prop_assert!(!one.is_confirmed_in_format_1(Side::Head, &key, &mac[1..]) && !is_of_format_1(&mac));
        }
    }
}
