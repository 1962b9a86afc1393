//! Signed tokens for applications: issuing them, publishing the keys they are verified with, and rotating these.
//!
//! Whoever holds such a token needs usher no more until it expires: ending the session does not reach it. That is what they are for, and
//! why they are good for minutes at most and never longer than the session. Without `tokens.issuer` there are none, and no keys either.

use super::Services;
use super::caller::{SignedIn, SuperUser};
use super::did::Did;
use super::proof::{Places, Proof};
use crate::auth::signing::TokenKey;
use crate::domain::attribute::Viewer;
use crate::domain::ids::SigningKeyId;
use crate::domain::signed_token::{Claims, Scope, claims_of, spelt};
use crate::domain::signing_key::{Jwk, LEAD, Ring, SigningKey};
use crate::domain::text::fold;
use crate::domain::time::Utc;
use crate::error::{Code, Error, Result};
use crate::settings;
use crate::store::Tx;
use std::time::Duration;
use zeroize::Zeroizing;

/// A token that was issued.
pub struct Issued {
    /// The token.
    pub token: Zeroizing<String>,
    /// The name of the application that it is for.
    pub audience: String,
    /// Its scopes, with spaces between.
    pub scope: String,
    /// It is good until then, whatever becomes of the session.
    pub expires_time: Utc,
}

/// What a rotation of signing keys did.
#[derive(Clone, Copy, Debug)]
pub struct RotatedKeys {
    /// The key that signs next.
    pub signing_key_id: SigningKeyId,
    /// From when on.
    pub signs_from: Utc,
    /// Keys that were removed.
    pub removed: usize,
}

impl settings::Tokens {
    fn issuer(&self) -> Result<&str> {
        let off = || Error::new(Code::NotEnabled).detail("No tokens are signed here: the setting tokens.issuer is not set.");
        Some(self.issuer.as_str()).filter(|issuer| !issuer.is_empty()).ok_or_else(off)
    }

    /// How long a key signs.
    fn key_age(&self) -> Duration {
        Duration::from_secs(u64::from(self.key_days) * 24 * 60 * 60)
    }
}

impl SignedIn {
    /// Issues a token for an application that accepts the session of this call.
    ///
    /// # Errors
    /// [`Code::NotEnabled`]; [`Code::Invalid`] for an application that there is not, or through which this session could not be used: it is
    /// not accepted there, or the user is not listed, or comes from elsewhere.
    pub async fn issue_token(self, audience: &str, scopes: Vec<Scope>) -> Result<Issued> {
        let Self { context, opened, application } = self;
        let services = context.services.clone();
        let issuer = services.inner.tokens.issuer()?.to_owned();
        let now = context.now();
        let (session, user_id) = (opened.session, opened.user.user_id);
        let (proof, places) = (Proof::Session(Box::new(session.clone()), Box::new(opened.application)), Places::of(&context));
        context.trail.set_subject(user_id);
        let (audience, client_id) = (fold(audience), application.name.to_string());
        let issue = move |tx: &mut Tx<'_>| {
            // One text for both: whoever may not go there need not learn whether it is there.
            let refuse = |reason| {
                Error::new(Code::Invalid).because(reason).at("audience", "names no application that accepts this session")
            };
            let found = tx.read().application_by_name(&audience)?.ok_or_else(|| refuse("application_unknown"))?;
            let gone = || Error::new(Code::SessionInvalid).because("session_unknown");
            let user = tx.read().user(user_id)?.ok_or_else(gone)?;
            // What the user could not use there, it gets no token for.
            proof.judge(&mut tx.read(), &user, &found, places, now)?.map_err(refuse)?;
            let account = tx.read().account(user, now)?;
            let span = Duration::from_secs(services.inner.tokens.seconds.into());
            let (issued, expires) = (whole_seconds(now), whole_seconds((now + span).min(session.expiry())));
            let broken = |cause: String| Error::new(Code::Internal).cause(cause);
            let scope = spelt(&scopes);
            let claims = Claims {
                iss: issuer,
                sub: user_id,
                aud: found.name.to_string(),
                client_id,
                iat: issued,
                nbf: issued,
                exp: expires,
                jti: format!("{:032x}", u128::from_be_bytes(services.inner.entropy.bytes())),
                auth_time: whole_seconds(session.auth_time),
                amr: session.auth_methods.amr(),
                sid: session.session_id,
                scope: scope.clone(),
                about: claims_of(&account, &scopes).map_err(|e| broken(e.to_string()))?,
            };
            let ring = services.tended_ring(tx, now)?;
            let key = ring.signing(now).ok_or_else(|| broken("there is no signing key".to_owned()))?;
            let der = services.inner.vault.open(&mut tx.read(), SigningKey::seat(key.signing_key_id), &key.sealed)?;
            let signer = TokenKey::from_der(&der).ok_or_else(|| broken("a signing key is none".to_owned()))?;
            let token = signer.token(key.signing_key_id, &claims).map_err(broken)?;
            let expires_time = Utc::from_micros(expires.saturating_mul(1_000_000));
            Ok((Issued { token, audience: claims.aud, scope, expires_time }, Did::to(user_id).showing(user_id, Viewer::Owner)))
        };
        context.change(issue).await
    }
}

fn whole_seconds(time: Utc) -> i64 {
    time.micros().div_euclid(1_000_000)
}

impl Services {
    /// The public keys that verifiers are to know now; [`Code::NotFound`] where no tokens are issued.
    ///
    /// # Errors
    /// The database fails.
    pub async fn published_keys(&self) -> Result<Vec<Jwk>> {
        self.inner.tokens.issuer().map_err(|_| Error::new(Code::NotFound))?;
        let now = self.inner.clock.now();
        let ring = self.inner.store.read(|snapshot| Ok(Ring::of(snapshot.signing_keys()?))).await?;
        Ok(ring.published(now).map(SigningKey::jwk).collect())
    }

    /// Makes a fresh key when it is time for one, and removes those that are published no longer.
    ///
    /// # Errors
    /// The database fails.
    pub async fn tend_signing_keys(&self) -> Result<()> {
        let tokens = &self.inner.tokens;
        if tokens.issuer().is_err() {
            return Ok(());
        }
        let (now, age) = (self.inner.clock.now(), tokens.key_age());
        let ring = self.inner.store.read(|snapshot| Ok(Ring::of(snapshot.signing_keys()?))).await?;
        if ring.due(now, age).is_none() && ring.retired(now).is_empty() {
            return Ok(());
        }
        let services = self.clone();
        self.inner.store.keep_count(move |tx| services.tended_ring(tx, now).map(drop)).await
    }

    /// The keys, a fresh one among them if it was time for one.
    fn tended_ring(&self, tx: &mut Tx<'_>, now: Utc) -> Result<Ring> {
        let age = self.inner.tokens.key_age();
        let ring = Ring::of(tx.read().signing_keys()?);
        if ring.due(now, age).is_none() && ring.retired(now).is_empty() {
            return Ok(ring);
        }
        // Another node may have come to the same.
        tx.hold_signing_keys()?;
        let ring = Ring::of(tx.read().signing_keys()?);
        if let Some(signs_from) = ring.due(now, age) {
            self.add_signing_key(tx, now, signs_from)?;
        }
        tx.delete_signing_keys(&ring.retired(now))?;
        Ok(Ring::of(tx.read().signing_keys()?))
    }

    fn add_signing_key(&self, tx: &mut Tx<'_>, now: Utc, signs_from: Utc) -> Result<SigningKeyId> {
        let Services { inner } = self;
        let key = TokenKey::mint(&inner.entropy);
        let signing_key_id = SigningKeyId::mint(now, &inner.entropy);
        let der = key.to_der().ok_or_else(|| Error::new(Code::Internal).cause("a signing key cannot be encoded"))?;
        let (sealed, data_key_id) = inner.vault.seal(tx, SigningKey::seat(signing_key_id), &der, now)?;
        let public_key = key.public_key();
        tx.insert_signing_key(&SigningKey { signing_key_id, public_key, sealed, data_key_id, created_time: now, signs_from })?;
        Ok(signing_key_id)
    }
}

impl SuperUser {
    /// Makes a fresh key that signs once verifiers know it; if one is on its way already, it is that one. `at_once`: it signs now, and all
    /// others are removed, with which no token that they signed is good any more.
    ///
    /// # Errors
    /// [`Code::NotEnabled`], [`Code::FreshSignInRequired`].
    pub async fn rotate_signing_keys(self, at_once: bool) -> Result<RotatedKeys> {
        self.expect_proof(None)?;
        let context = self.context;
        let services = context.services.clone();
        services.inner.tokens.issuer()?;
        let now = context.now();
        let rotate = move |tx: &mut Tx<'_>| {
            tx.hold_signing_keys()?;
            let ring = Ring::of(tx.read().signing_keys()?);
            let mut removed = ring.retired(now);
            let (signing_key_id, signs_from) = match ring.pending(now).filter(|_| !at_once) {
                Some(pending) => (pending.signing_key_id, pending.signs_from),
                None => {
                    // Where there is none yet, nobody has to be waited for.
                    let signs_from = if at_once || ring.signing(now).is_none() { now } else { now + LEAD };
                    (services.add_signing_key(tx, now, signs_from)?, signs_from)
                }
            };
            if at_once {
                let all = Ring::of(tx.read().signing_keys()?);
                removed = all.ids().filter(|id| *id != signing_key_id).collect();
            }
            let removed = tx.delete_signing_keys(&removed)?;
            Ok((RotatedKeys { signing_key_id, signs_from, removed }, Did::to(signing_key_id)))
        };
        context.change(rotate).await
    }
}
