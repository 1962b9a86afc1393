//! Heads of the audit chains, signed: so that a third party verifies an export without a secret of ours.
//!
//! The MAC of a head proves it to whoever has the key file, and to nobody else. The signature (Ed25519) is over the same, by a key that
//! the database holds sealed; the public parts of all keys that ever signed are published. A signature is made when a head is told: in the log,
//! by `verify --json`, beside an export.

use super::Services;
use super::caller::SuperUser;
use super::did::Did;
use crate::auth::signing::TokenKey;
use crate::domain::audit::{End, Head};
use crate::domain::ids::SigningKeyId;
use crate::domain::signing_key::Jwk;
use crate::domain::time::Utc;
use crate::domain::token_key::{AUDIT, KeyRow};
use crate::error::{Code, Error, Result};
use crate::store::{Finding, Snapshot, Tx};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use std::time::Duration;

/// A head with its signature.
#[derive(Clone, Debug, Serialize)]
pub struct SignedHead {
    /// The chain.
    pub chain: i64,
    /// The number of its last event.
    pub seq: i64,
    /// The chain's hash up to and including that event, in hex.
    pub hash: String,
    /// The month that the chain has come to.
    pub month: i64,
    /// The key that signed.
    pub kid: SigningKeyId,
    /// The signature of `"usher audit head 2" ‖ chain ‖ number ‖ hash ‖ month`, in base64url.
    pub signature: String,
}

/// A key and its id.
type Signer = (SigningKeyId, TokenKey);

impl Services {
    /// The public keys of all signatures of heads, those that sign no more included.
    ///
    /// # Errors
    /// The database fails.
    pub async fn published_audit_keys(&self) -> Result<Vec<Jwk>> {
        let services = self.clone();
        let keys = move |snapshot: &mut Snapshot<'_>| {
            let signers = services.audit_signers(snapshot)?;
            Ok(signers.iter().map(|(kid, key)| Jwk::ed25519(*kid, &key.public_key())).collect())
        };
        self.inner.store.read(keys).await
    }

    /// Signs heads; makes the key if there is none yet.
    pub(super) async fn sign_heads(&self, heads: &[End]) -> Result<Vec<SignedHead>> {
        let (kid, key) = self.audit_signer().await?;
        let sign = |end: &End| {
            let Head { chain, seq, .. } = end.head;
            let signature = URL_SAFE_NO_PAD.encode(key.sign(&end.signed_bytes()));
            SignedHead { chain, seq, hash: end.head.hash_in_hex(), month: end.month, kid, signature }
        };
        Ok(heads.iter().map(sign).collect())
    }

    async fn audit_signer(&self) -> Result<Signer> {
        let services = self.clone();
        let last = move |snapshot: &mut Snapshot<'_>| Ok(services.audit_signers(snapshot)?.pop());
        if let Some(signer) = self.inner.store.read(last).await? {
            return Ok(signer);
        }
        let (services, now) = (self.clone(), self.inner.clock.now());
        let make = move |tx: &mut Tx<'_>| {
            // Another node may have come to the same.
            tx.hold_signing_keys()?;
            if services.audit_signers(&mut tx.read())?.is_empty() {
                services.add_audit_key(tx, now)?;
            }
            services
                .audit_signers(&mut tx.read())?
                .pop()
                .ok_or_else(|| Error::new(Code::Internal).cause("there is no key that signs heads"))
        };
        self.inner.store.keep_count(make).await
    }

    /// All keys, the one that signs last. A private part that does not open, or of which another public part is told, is nobody's key: the
    /// database was altered.
    fn audit_signers(&self, snapshot: &mut Snapshot<'_>) -> Result<Vec<Signer>> {
        let mut signers = Vec::new();
        for row in snapshot.token_keys(AUDIT)? {
            let der = self.inner.vault.open(snapshot, KeyRow::seat(row.key_id), &row.sealed)?;
            let altered = || Error::new(Code::Internal).cause(format!("the key {} in token_keys was altered", row.key_id));
            let key = TokenKey::from_der(&der).ok_or_else(altered)?;
            if Jwk::ed25519(row.key_id, &key.public_key()).to_text() != row.public_jwk {
                return Err(altered());
            }
            signers.push((row.key_id, key));
        }
        Ok(signers)
    }

    fn add_audit_key(&self, tx: &mut Tx<'_>, now: Utc) -> Result<SigningKeyId> {
        let Self { inner } = self;
        let key = TokenKey::mint(&inner.entropy);
        let key_id = SigningKeyId::mint(now, &inner.entropy);
        let der = key.to_der().ok_or_else(|| Error::new(Code::Internal).cause("a signing key cannot be encoded"))?;
        let (sealed, data_key_id) = inner.vault.seal(tx, KeyRow::seat(key_id), &der, now)?;
        tx.insert_token_key(&KeyRow::of_audit(key_id, &key.public_key(), sealed, data_key_id, now))?;
        Ok(key_id)
    }
}

impl SuperUser {
    /// The heads of the audit chains as they are now, signed.
    ///
    /// # Errors
    /// The database fails, or a head does not match its MAC.
    pub async fn signed_heads(&self) -> Result<Vec<SignedHead>> {
        let services = &self.context.services;
        services.sign_heads(&services.inner.store.audit_heads().await?).await
    }

    /// The heads that a verification came to, signed; none of a trail that does not hold.
    ///
    /// # Errors
    /// The database fails, or a key that signs was altered.
    pub async fn sign_verified(&self, finding: &Finding) -> Result<Vec<SignedHead>> {
        match finding {
            Finding::Sound(verified) => self.context.services.sign_heads(&verified.heads).await,
            Finding::Broken { .. } => Ok(Vec::new()),
        }
    }

    /// Has another key sign heads from now on. Those before it stay published.
    ///
    /// # Errors
    /// The database fails.
    pub async fn rotate_audit_key(self) -> Result<SigningKeyId> {
        let context = self.context;
        let (services, now) = (context.services.clone(), context.now());
        let rotate = move |tx: &mut Tx<'_>| {
            tx.hold_signing_keys()?;
            // The last one signs, whatever the clock of this machine says.
            let last = tx.read().token_keys(AUDIT)?.pop().map(|row| row.signs_from + Duration::from_micros(1));
            let key_id = services.add_audit_key(tx, last.map_or(now, |after| after.max(now)))?;
            Ok((key_id, Did::to(key_id)))
        };
        context.change(rotate).await
    }
}
