//! Persons whom an answer showed.

use super::hex;
use crate::domain::ids::UserId;
use sha2::{Digest as _, Sha256};

/// Bytes of an id.
const ID: usize = 16;

/// Whom an answer showed: their ids, sorted, each once, as the bytes of which the chain has the SHA-256. They are never erased: like a subject they
/// are ids, and no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persons(Vec<u8>);

impl Persons {
    /// These; `None` if there are none.
    pub fn of(ids: impl IntoIterator<Item = UserId>) -> Option<Self> {
        let mut ids: Vec<[u8; ID]> = ids.into_iter().map(|id| *id.as_bytes()).collect();
        ids.sort_unstable();
        ids.dedup();
        (!ids.is_empty()).then(|| Self(ids.concat()))
    }

    /// From the database's bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// As the database keeps them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The digest by which the chain holds them, in hex.
    pub fn digest_in_hex(&self) -> String {
        hex(&Sha256::digest(&self.0))
    }

    /// Their ids.
    pub fn ids(&self) -> impl Iterator<Item = UserId> {
        self.0.chunks_exact(ID).filter_map(|id| id.try_into().ok()).map(UserId::from_bytes)
    }

    /// Whether this is one of them.
    pub fn contain(&self, id: UserId) -> bool {
        self.0.chunks_exact(ID).any(|shown| shown == id.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn persons_are_those_named_each_once(ids in prop::collection::vec(any::<[u8; 16]>(), 0..6), other in any::<[u8; 16]>()) {
            let persons = Persons::of(ids.iter().chain(&ids).copied().map(UserId::from_bytes));
            let expected: BTreeSet<[u8; 16]> = ids.iter().copied().collect();
            let listed: Vec<[u8; 16]> = persons.iter().flat_map(Persons::ids).map(|id| *id.as_bytes()).collect();
            prop_assert_eq!(&listed, &expected.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(persons.is_some_and(|persons| persons.contain(UserId::from_bytes(other))), expected.contains(&other));
        }
    }
}
