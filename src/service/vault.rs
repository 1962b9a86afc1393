//! The vault: encrypting what the database keeps as a secret, and rotating the keys for it.
//!
//! Encrypting happens within the transaction that writes, under the key that is active there and cannot cease to be until it ends; so
//! once a rotation has made another key active, nothing is encrypted under the old one any more, on no node. Decrypting takes
//! whichever key the secret names. Keys once unwrapped are kept in memory.

use super::Context;
use super::caller::SuperUser;
use super::did::Did;
use crate::auth::data_key::DataKey;
use crate::auth::keys::Keys;
use crate::domain::chance::Entropy;
use crate::domain::ids::DataKeyId;
use crate::domain::secret::{Sealed, Seat};
use crate::domain::time::Utc;
use crate::error::{Code, Error, Result};
use crate::store::{PLACES, Snapshot, Tx};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

/// The data keys that are known so far, and how to come to know others. Clones share it.
#[derive(Clone)]
pub(super) struct Vault {
    keys: Keys,
    entropy: Entropy,
    known: Arc<Mutex<HashMap<DataKeyId, DataKey>>>,
}

/// What a rotation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The key that is active now.
    pub data_key_id: DataKeyId,
    /// Secrets that were encrypted anew.
    pub resealed: u64,
    /// Keys that were removed.
    pub dropped: usize,
}

impl Vault {
    pub(super) fn new(keys: Keys, entropy: Entropy) -> Self {
        Self { keys, entropy, known: Arc::default() }
    }

    /// Encrypts `message`, which is kept in `seat`, under the active key.
    pub(super) fn seal(&self, tx: &mut Tx<'_>, seat: Seat, message: &[u8], now: Utc) -> Result<(Sealed, DataKeyId)> {
        let key = self.active(tx, now)?;
        Ok((key.seal(seat, message, &self.entropy), key.id()))
    }

    /// Decrypts what is kept in `seat`.
    pub(super) fn open(&self, snapshot: &mut Snapshot<'_>, seat: Seat, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>> {
        let broken = |cause: &str| Error::new(Code::Internal).cause(format!("a secret in {}: {cause}", seat.table));
        let (id, _) = sealed.parts().ok_or_else(|| broken("is none"))?;
        let known = self.lock().get(&id).cloned();
        let key = match known {
            Some(key) => key,
            None => {
                let wrapped = snapshot.data_key(id)?.ok_or_else(|| broken("its data key is gone"))?;
                self.learn(id, &wrapped)?
            }
        };
        key.open(seat, sealed).ok_or_else(|| broken("was altered, or belongs elsewhere"))
    }

    /// Decrypts what is kept in `seat` with the data key that was read together with it. Two reads of their own, outside a transaction,
    /// would leave a rotation the time to encrypt it anew and to remove the key.
    pub(super) fn open_with(&self, wrapped: &str, seat: Seat, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>> {
        let broken = |cause: &str| Error::new(Code::Internal).cause(format!("a secret in {}: {cause}", seat.table));
        let (id, _) = sealed.parts().ok_or_else(|| broken("is none"))?;
        self.learn(id, wrapped)?.open(seat, sealed).ok_or_else(|| broken("was altered, or belongs elsewhere"))
    }

    fn active(&self, tx: &mut Tx<'_>, now: Utc) -> Result<DataKey> {
        if let Some((id, wrapped)) = tx.hold_active_data_key()? {
            return self.learn(id, &wrapped);
        }
        let first = DataKey::mint(now, &self.entropy);
        tx.found_data_key(first.id(), &first.wrap(&self.keys, &self.entropy), now)?;
        let none = || Error::new(Code::Internal).cause("there is no active data key");
        let (id, wrapped) = tx.hold_active_data_key()?.ok_or_else(none)?;
        self.learn(id, &wrapped)
    }

    fn learn(&self, id: DataKeyId, wrapped: &str) -> Result<DataKey> {
        if let Some(key) = self.lock().get(&id) {
            return Ok(key.clone());
        }
        let foreign = || Error::new(Code::Internal).cause(format!("the data key {id} was not wrapped under this key file"));
        let key = DataKey::unwrap(id, wrapped, &self.keys).ok_or_else(foreign)?;
        self.lock().insert(id, key.clone());
        Ok(key)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<DataKeyId, DataKey>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SuperUser {
    /// Makes a fresh data key the active one, encrypts every secret anew under it, a few at a time so that nobody has to wait, and
    /// removes the keys that nothing is encrypted under any more. Cut short, it is taken up by the next one.
    ///
    /// # Errors
    /// The database fails, or a secret does not open: then its key stays.
    pub async fn rotate_data_keys(self) -> Result<Rotated> {
        /// Secrets in one transaction.
        const STRIDE: i64 = 100;
        let Context { services, call, .. } = &self.context;
        let (vault, now) = (services.inner.vault.clone(), call.now);
        let fresh = DataKey::mint(now, &vault.entropy);
        let (id, wrapped) = (fresh.id(), fresh.wrap(&vault.keys, &vault.entropy));
        let activate = move |tx: &mut Tx<'_>| {
            tx.replace_data_key(id, &wrapped, now)?;
            Ok(((), Did::to(id)))
        };
        self.context.change(activate).await?;
        let mut resealed = 0;
        // First many at a time, then one by one those that somebody else held just then.
        for (place, stride) in PLACES.iter().flat_map(|place| [(place, STRIDE), (place, 1)]) {
            loop {
                let vault = vault.clone();
                let reseal = move |tx: &mut Tx<'_>| {
                    let outdated = tx.hold_outdated(*place, stride)?;
                    for (seat, sealed) in &outdated {
                        let message = vault.open(&mut tx.read(), *seat, sealed)?;
                        // Another rotation may have come in between: it is the key that is active now that counts.
                        let (sealed, data_key_id) = vault.seal(tx, *seat, &message, now)?;
                        tx.reseal(*place, *seat, &sealed, data_key_id)?;
                    }
                    Ok(outdated.len())
                };
                let count = services.inner.store.keep_count(reseal).await?;
                resealed += count as u64;
                // Fewer than a stride need not be the rest: what was removed while it was waited for leaves a gap.
                if count == 0 {
                    break;
                }
            }
        }
        let dropped = services.inner.store.keep_count(|tx| Ok(tx.drop_unused_data_keys()?)).await?;
        Ok(Rotated { data_key_id: id, resealed, dropped })
    }
}
