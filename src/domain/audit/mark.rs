//! What is remembered of the trail outside the database: how far each chain had come. A database that is behind it was put back.

use super::{End, Head, hex, unhex};
use crate::domain::secret::MacKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far each chain had come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The number of the last time that an operator had accepted that the database was put back.
    pub accepted: i64,
    /// The ends of the chains since then.
    pub heads: BTreeMap<i64, Head>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    accepted: i64,
    heads: Vec<Place>,
    mac: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    chain: i64,
    seq: i64,
    hash: String,
}

impl Mark {
    /// With these ends.
    pub fn of(accepted: i64, ends: impl IntoIterator<Item = End>) -> Self {
        Self { accepted, heads: ends.into_iter().map(|end| (end.head.chain, end.head)).collect() }
    }

    /// Remembers an end, unless a farther one is remembered.
    pub fn raise(&mut self, head: &Head) {
        if self.heads.get(&head.chain).is_none_or(|known| known.seq < head.seq) {
            self.heads.insert(head.chain, head.clone());
        }
    }

    /// What is wrong with a chain that ends here; `None` if it may, for it goes beyond what is remembered or is the same.
    pub fn flaw_of(&self, head: &Head) -> Option<String> {
        let known = self.heads.get(&head.chain)?;
        if head.seq < known.seq {
            return Some(format!("it ends here, and was seen to end at event {}", known.seq));
        }
        (head.seq == known.seq && head.hash != known.hash).then(|| "another event was seen here".to_owned())
    }

    /// The text of a file, with a MAC.
    pub fn to_text(&self, key: &MacKey) -> String {
        let place = |head: &Head| Place { chain: head.chain, seq: head.seq, hash: head.hash_in_hex() };
        let mac = hex(&key.mac(&self.bytes(b"usher audit mark 1")));
        let file = File { version: 1, accepted: self.accepted, heads: self.heads.values().map(place).collect(), mac };
        serde_json::to_string(&file).unwrap_or_default()
    }

    /// Reads it back.
    ///
    /// # Errors
    /// What it is not: it was altered, or written under another key.
    pub fn from_text(text: &str, key: &MacKey) -> Result<Self, String> {
        let file: File = serde_json::from_str(text.trim()).map_err(|e| format!("is no mark of the audit trail ({e})"))?;
        if file.version != 1 {
            return Err(format!("is of version {}, known is 1", file.version));
        }
        let head = |Place { chain, seq, hash }| Some((chain, Head { chain, seq, hash: unhex(&hash)? }));
        let heads = file.heads.into_iter().map(head).collect::<Option<_>>().ok_or("has a hash that is not in hex")?;
        let mark = Self { accepted: file.accepted, heads };
        let is_ours = unhex(&file.mac).is_some_and(|mac| key.confirms(&mark.bytes(b"usher audit mark 1"), &mac));
        if is_ours { Ok(mark) } else { Err("does not match its MAC: it was altered, or belongs to another key file".to_owned()) }
    }

    /// The MAC by which the database keeps that these ends were accepted.
    pub fn acceptance(&self, key: &MacKey) -> Vec<u8> {
        key.mac(&self.bytes(b"usher audit rollback accepted 1"))
    }

    /// Whether this is that MAC.
    pub fn is_accepted(&self, key: &MacKey, mac: &[u8]) -> bool {
        key.confirms(&self.bytes(b"usher audit rollback accepted 1"), mac)
    }

    /// The heads as the database keeps them: chain, number and hash, with dots between and blanks around.
    pub fn heads_as_text(&self) -> String {
        let texts: Vec<String> = self.heads.values().map(|h| format!("{}.{}.{}", h.chain, h.seq, h.hash_in_hex())).collect();
        texts.join(" ")
    }

    /// Reads that back; `None` if it is no such text.
    pub fn from_heads(accepted: i64, text: &str) -> Option<Self> {
        let head = |text: &str| {
            let mut parts = text.split('.');
            let (chain, seq) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Some((chain, Head { chain, seq, hash: unhex(parts.next()?)? }))
        };
        Some(Self { accepted, heads: text.split_whitespace().map(head).collect::<Option<_>>()? })
    }

    fn bytes(&self, purpose: &[u8]) -> Vec<u8> {
        let mut bytes = [purpose, &self.accepted.to_be_bytes()].concat();
        self.heads.values().for_each(|head| bytes.extend(head.bytes()));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(chain: i64, seq: i64, byte: u8) -> Head {
        Head { chain, seq, hash: vec![byte; 32] }
    }

    proptest! {
        /// Whatever stands in the file, it is read as it was written under the same key, or refused.
        #[test]
        fn any_text_is_a_mark_or_refused(text in ".{0,200}", accepted in 0i64..9, heads in prop::collection::vec((1i64..9, 0i64..1000, any::<u8>()), 0..9), at in any::<prop::sample::Index>(), other in "[0-9a-f]") {
            let key = MacKey::new([7; 32]);
            prop_assert!(Mark::from_text(&text, &key).is_err());
            let mark = Mark { accepted, heads: heads.into_iter().map(|(chain, seq, byte)| (chain, head(chain, seq, byte))).collect() };
            let written = mark.to_text(&key);
            prop_assert_eq!(Mark::from_text(&written, &key), Ok(mark.clone()));
            prop_assert!(Mark::from_text(&written, &MacKey::new([8; 32])).is_err());
            let mut altered = written.clone();
            let at = at.index(altered.len());
            altered.replace_range(at..=at, &other);
            if altered != written {
                prop_assert!(Mark::from_text(&altered, &key).is_err(), "{}", altered);
            }
            prop_assert_eq!(Mark::from_heads(accepted, &mark.heads_as_text()), Some(mark));
        }
    }

    #[test]
    fn what_is_behind_is_told() {
        let mut mark = Mark::default();
        for seq in [3, 7, 5] {
            mark.raise(&head(1, seq, 1));
        }
        assert_eq!([head(1, 6, 1), head(1, 7, 2)].map(|head| mark.flaw_of(&head).is_some()), [true, true]);
        assert_eq!([head(1, 7, 1), head(1, 8, 2), head(2, 0, 0)].map(|head| mark.flaw_of(&head)), [None, None, None]);
    }
}
