//! Data keys: what secrets in the database are encrypted under.
//!
//! There is a ring of them in the database, each wrapped by a key that derives from the key file, one of them active. A secret is
//! encrypted with XChaCha20-Poly1305, bound to its [`Seat`] and to the key's id (S11), so a cipher text that is moved to another row or
//! another user does not open. Rotating makes another key active, encrypts everything anew, and drops the old one when nothing is
//! encrypted under it any more.

use super::keys::{Keys, decrypt, encrypt};
use crate::domain::chance::Entropy;
use crate::domain::ids::DataKeyId;
use crate::domain::secret::{Sealed, Seat};
use crate::domain::time::Utc;
use std::fmt;
use zeroize::Zeroizing;

/// A data key in the clear.
#[derive(Clone)]
pub struct DataKey {
    id: DataKeyId,
    key: Zeroizing<[u8; 32]>,
}

impl DataKey {
    /// A fresh one.
    pub fn mint(now: Utc, entropy: &Entropy) -> Self {
        Self { id: DataKeyId::mint(now, entropy), key: Zeroizing::new(entropy.bytes()) }
    }

    /// Its id.
    pub fn id(&self) -> DataKeyId {
        self.id
    }

    /// As the database holds it.
    pub fn wrap(&self, keys: &Keys, entropy: &Entropy) -> String {
        keys.wrap.seal(&wrapping(self.id), self.key.as_slice(), entropy)
    }

    /// From what the database holds; `None` if it was not wrapped under this key file for this id.
    pub fn unwrap(id: DataKeyId, wrapped: &str, keys: &Keys) -> Option<Self> {
        let key = Zeroizing::new(keys.wrap.open(&wrapping(id), wrapped)?);
        Some(Self { id, key: Zeroizing::new(key.as_slice().try_into().ok()?) })
    }

    /// Encrypts `message`, which is kept in `seat`.
    pub fn seal(&self, seat: Seat, message: &[u8], entropy: &Entropy) -> Sealed {
        Sealed::new(self.id, &encrypt(&self.key, &seat.context(self.id), message, entropy))
    }

    /// Decrypts what was encrypted for `seat` under this key; `None` for anything else.
    pub fn open(&self, seat: Seat, sealed: &Sealed) -> Option<Zeroizing<Vec<u8>>> {
        let (id, cipher_text) = sealed.parts()?;
        (id == self.id).then_some(())?;
        decrypt(&self.key, &seat.context(id), cipher_text).map(Zeroizing::new)
    }
}

fn wrapping(id: DataKeyId) -> String {
    format!("data key {id}")
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// S11: what is sealed opens in its own seat under its own key alone, and not after any change.
        #[test]
        fn a_sealed_secret_opens_where_it_belongs(
            message in any::<Vec<u8>>(), owner in any::<[u8; 16]>(), row in any::<[u8; 16]>(), at in any::<prop::sample::Index>(), flip in 1u8..,
        ) {
            let entropy = Entropy::system();
            let (key, other) = (DataKey::mint(Utc::from_micros(0), &entropy), DataKey::mint(Utc::from_micros(0), &entropy));
            let seat = Seat { table: "totp_credentials", owner, row };
            let sealed = key.seal(seat, &message, &entropy);
            prop_assert_eq!(key.open(seat, &sealed).map(|m| m.to_vec()), Some(message));
            prop_assert!(other.open(seat, &sealed).is_none());
            let other_table = Seat { table: "hooks", ..seat };
            prop_assert!(key.open(other_table, &sealed).is_none());
            let mut elsewhere = seat;
            elsewhere.owner[0] ^= 1;
            prop_assert!(key.open(elsewhere, &sealed).is_none());
            elsewhere = seat;
            elsewhere.row[15] ^= 1;
            prop_assert!(key.open(elsewhere, &sealed).is_none());
            let mut bytes = sealed.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(key.open(seat, &Sealed::from_bytes(bytes)).is_none());
        }

        #[test]
        fn any_bytes_are_opened_or_refused(bytes in any::<Vec<u8>>()) {
            let key = DataKey::mint(Utc::from_micros(0), &Entropy::system());
            let seat = Seat { table: "hooks", owner: [0; 16], row: [0; 16] };
            prop_assert!(key.open(seat, &Sealed::from_bytes(bytes)).is_none());
        }
    }

    #[test]
    fn a_key_unwraps_under_its_own_id_and_key_file_alone() {
        let (entropy, keys) = (Entropy::system(), Keys::from_root(&[3; 32]));
        let key = DataKey::mint(Utc::from_micros(0), &entropy);
        let wrapped = key.wrap(&keys, &entropy);
        assert!(DataKey::unwrap(key.id(), &wrapped, &keys).is_some_and(|k| k.key == key.key));
        assert!(DataKey::unwrap(DataKey::mint(Utc::from_micros(0), &entropy).id(), &wrapped, &keys).is_none());
        assert!(DataKey::unwrap(key.id(), &wrapped, &Keys::from_root(&[4; 32])).is_none());
    }
}
