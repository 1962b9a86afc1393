//! Signing keys: which of them signs tokens now, and which are published.
//!
//! Both follow from one time of each key, `signs_from`, so that every node comes to the same answer without asking another:
//!
//! - the key that signs is the one that began last;
//! - a key is published from the moment it is made, which is [`LEAD`] before it signs: verifiers that keep the published set for a
//!   while have it when the first token comes;
//! - it stays published for [`GRACE`] after the next one took over: longer than any token that it signed is good for.
//!
//! The first key of all signs at once, as nobody can know an older set.

use super::ids::SigningKeyId;
use super::secret::{Sealed, Seat};
use super::time::Utc;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use serde::Serialize;
use std::time::Duration;

mod schema {
    #![expect(missing_docs, reason = "the columns are documented where they become fields")]

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        signing_keys (signing_key_id) {
            signing_key_id -> sql::Uuid,
            public_key -> Binary,
            sealed -> Binary,
            data_key_id -> sql::Uuid,
            created_time -> sql::Instant,
            signs_from -> sql::Instant,
        }
    }
}
pub use schema::signing_keys;

/// How long verifiers are told to keep the published set.
pub const KEPT_BY_VERIFIERS: Duration = Duration::from_secs(5 * 60);
/// How long a key is published before it signs.
pub const LEAD: Duration = Duration::from_secs(60 * 60);
/// How long a key is published after it has signed for the last time: the longest life of a token (300 s) and as much again for clocks
/// that differ.
pub const GRACE: Duration = Duration::from_secs(10 * 60);

/// The public part of an Ed25519 key (RFC 8032, section 5.1.5).
#[derive(Clone, Debug, PartialEq, Eq, FromSqlRow, AsExpression)]
#[diesel(sql_type = diesel::sql_types::Binary)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// From its bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A signing key as the database holds it.
#[derive(Clone, Debug, diesel::Queryable, diesel::Insertable)]
#[diesel(table_name = signing_keys, treat_none_as_default_value = false)]
pub struct SigningKey {
    /// Its id, which is the `kid` of tokens.
    pub signing_key_id: SigningKeyId,
    /// The public part.
    pub public_key: PublicKey,
    /// The private part, encrypted.
    pub sealed: Sealed,
    /// The data key that it is encrypted under.
    pub data_key_id: super::ids::DataKeyId,
    /// When it was made.
    pub created_time: Utc,
    /// From when on it signs, until the next one does.
    pub signs_from: Utc,
}

impl SigningKey {
    /// The place that a private part is bound to.
    pub fn seat(signing_key_id: SigningKeyId) -> Seat {
        Seat { table: "signing_keys", owner: *signing_key_id.as_bytes(), row: *signing_key_id.as_bytes() }
    }

    /// As it is published (RFC 7517; RFC 8037, section 2).
    pub fn jwk(&self) -> Jwk {
        Jwk::ed25519(self.signing_key_id, &self.public_key)
    }
}

/// A public key in the set that verifiers read.
#[derive(Clone, Debug, Serialize)]
pub struct Jwk {
    kty: &'static str,
    crv: &'static str,
    alg: &'static str,
    #[serde(rename = "use")]
    use_: &'static str,
    kid: SigningKeyId,
    x: String,
}

impl Jwk {
    /// Of an Ed25519 key.
    pub fn ed25519(kid: SigningKeyId, public: &PublicKey) -> Self {
        Self { kty: "OKP", crv: "Ed25519", alg: "EdDSA", use_: "sig", kid, x: URL_SAFE_NO_PAD.encode(public.as_bytes()) }
    }

    /// As one line of JSON.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// All keys, in the order in which they come to sign.
#[derive(Clone, Debug)]
pub struct Ring(Vec<SigningKey>);

impl Ring {
    /// Of these keys, in any order.
    pub fn of(mut keys: Vec<SigningKey>) -> Self {
        keys.sort_by_key(|key| (key.signs_from, key.signing_key_id));
        Self(keys)
    }

    /// The ids of all.
    pub fn ids(&self) -> impl Iterator<Item = SigningKeyId> {
        self.0.iter().map(|key| key.signing_key_id)
    }

    /// The key that signs at `now`. On a node whose clock is behind the first key's beginning, that one all the same.
    pub fn signing(&self, now: Utc) -> Option<&SigningKey> {
        self.0.iter().rfind(|key| key.signs_from <= now).or_else(|| self.0.first())
    }

    /// The key that is published and does not sign yet.
    pub fn pending(&self, now: Utc) -> Option<&SigningKey> {
        self.0.last().filter(|key| key.signs_from > now)
    }

    /// The keys that are published at `now`.
    pub fn published(&self, now: Utc) -> impl Iterator<Item = &SigningKey> {
        let (next, now) = (self.0.iter().skip(1).map(Some).chain([None]), now);
        let stays = move |next: Option<&SigningKey>| next.is_none_or(|next| now < next.signs_from + GRACE);
        self.0.iter().zip(next).filter(move |(_, next)| stays(*next)).map(|(key, _)| key)
    }

    /// The keys that are published no longer.
    pub fn retired(&self, now: Utc) -> Vec<SigningKeyId> {
        let published: Vec<SigningKeyId> = self.published(now).map(|key| key.signing_key_id).collect();
        self.ids().filter(|id| !published.contains(id)).collect()
    }

    /// From when on a fresh key is to sign, if it is time for one; keys sign for `age`.
    pub fn due(&self, now: Utc, age: Duration) -> Option<Utc> {
        match self.0.last() {
            None => Some(now),
            Some(last) => (last.signs_from + age <= now + LEAD).then(|| now + LEAD),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::DataKeyId;
    use proptest::prelude::*;

    fn key(number: u8, made: Utc, signs_from: Utc) -> SigningKey {
        SigningKey {
            signing_key_id: SigningKeyId::from_bytes([number; 16]),
            public_key: PublicKey::from_bytes(vec![number; 32]),
            sealed: Sealed::from_bytes(Vec::new()),
            data_key_id: DataKeyId::from_bytes([0; 16]),
            created_time: made,
            signs_from,
        }
    }

    fn seconds(seconds: u64) -> Utc {
        Utc::from_micros(0) + Duration::from_secs(seconds)
    }

    proptest! {
        /// Whenever keys are made, by age or by hand: whichever signs has been published for the lead, unless it was the first; whichever
        /// has signed within the grace is published still; and in the end only few are.
        #[test]
        fn verifiers_know_every_key_in_time(steps in prop::collection::vec((1u64..40_000, any::<bool>()), 1..40), age in 7_200u64..100_000) {
            let (mut keys, mut now): (Vec<SigningKey>, u64) = (Vec::new(), 0);
            // What a verifier that came at each second of interest was told, and which key signed then.
            let mut told: Vec<(u64, Vec<SigningKeyId>)> = Vec::new();
            let mut signed: Vec<(u64, SigningKeyId)> = Vec::new();
            for (number, (step, by_hand)) in steps.into_iter().enumerate() {
                let ring = Ring::of(keys.clone());
                let due = ring.due(seconds(now), Duration::from_secs(age));
                let made = due.or_else(|| (by_hand && ring.pending(seconds(now)).is_none()).then(|| seconds(now) + LEAD));
                if let Some(signs_from) = made {
                    keys.push(key(u8::try_from(number).unwrap() + 1, seconds(now), signs_from));
                }
                let gone = Ring::of(keys.clone()).retired(seconds(now));
                keys.retain(|key| !gone.contains(&key.signing_key_id));
                let ring = Ring::of(keys.clone());
                for at in [now, now + step / 2, now + step - 1] {
                    told.push((at, ring.published(seconds(at)).map(|k| k.signing_key_id).collect()));
                    signed.push((at, ring.signing(seconds(at)).unwrap().signing_key_id));
                }
                now += step;
            }
            let first = signed[0].1;
            for (at, id) in &signed {
                for (asked, known) in &told {
                    // A set no older than verifiers keep one, nor older than the lead; or one read while a token of then is good.
                    let is_recent = *asked <= *at && at - asked < LEAD.as_secs() && *id != first;
                    let is_soon = *asked >= *at && asked - at < GRACE.as_secs();
                    if is_soon || is_recent {
                        prop_assert!(known.contains(id), "signed at {} and unknown at {}", at, asked);
                    }
                }
            }
            prop_assert!(told.iter().all(|(_, known)| known.len() <= 3));
        }
    }

    #[test]
    fn the_first_key_signs_at_once_and_the_next_ones_after_the_lead() {
        let age = Duration::from_secs(90 * 24 * 60 * 60);
        let now = seconds(1_000_000);
        assert_eq!(Ring::of(Vec::new()).due(now, age), Some(now));
        let first = key(1, now, now);
        let ring = Ring::of(vec![first.clone()]);
        assert_eq!(ring.due(now + age - LEAD - Duration::from_secs(1), age), None);
        let due = now + age - LEAD;
        assert_eq!(ring.due(due, age), Some(due + LEAD));
        let ring = Ring::of(vec![key(2, due, due + LEAD), first]);
        let id = |at: Utc| ring.signing(at).map(|k| k.signing_key_id.as_bytes()[0]);
        let published = |at: Utc| ring.published(at).map(|k| k.signing_key_id.as_bytes()[0]).collect::<Vec<_>>();
        assert_eq!((id(due), published(due)), (Some(1), vec![1, 2]));
        let taken_over = due + LEAD;
        assert_eq!((id(taken_over), published(taken_over)), (Some(2), vec![1, 2]));
        assert_eq!(published(taken_over + GRACE - Duration::from_micros(1)), [1, 2]);
        assert_eq!(published(taken_over + GRACE), [2]);
        // A clock that is behind.
        assert_eq!(id(seconds(0)), Some(1));
    }
}
