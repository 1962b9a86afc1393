//! Keys that sign, of any algorithm, each for one use.
//!
//! The private part is random and kept sealed. It does not derive from the key file, so signatures outlive whatever becomes of that. Who
//! can write the database cannot add a key: the public part that is told is always that of the private part.

use super::ids::{DataKeyId, SigningKeyId};
use super::secret::{Sealed, Seat};
use super::signing_key::{Jwk, PublicKey};
use super::time::Utc;

mod schema {
    #![expect(missing_docs, reason = "the columns are documented where they become fields")]

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        token_keys (key_id) {
            key_id -> sql::Uuid,
            #[sql_name = "use"]
            use_ -> Text,
            alg -> Text,
            public_jwk -> Text,
            sealed -> Binary,
            data_key_id -> sql::Uuid,
            created_time -> sql::Instant,
            signs_from -> sql::Instant,
        }
    }
}
pub use schema::token_keys;

/// The use of the keys that sign the heads of the audit chains.
pub const AUDIT: &str = "audit";
/// Ed25519, as JSON Web Keys name it.
pub const EDDSA: &str = "EdDSA";

/// A key as the database holds it.
#[derive(Clone, Debug, diesel::Queryable, diesel::Insertable)]
#[diesel(table_name = token_keys, treat_none_as_default_value = false)]
pub struct KeyRow {
    /// Its id, the `kid` of what it signs.
    pub key_id: SigningKeyId,
    /// What for.
    pub use_: String,
    /// The algorithm.
    pub alg: String,
    /// The public part as it is published, for whoever reads the database.
    pub public_jwk: String,
    /// The private part, encrypted.
    pub sealed: Sealed,
    /// The data key that it is encrypted under.
    pub data_key_id: DataKeyId,
    /// When it was made.
    pub created_time: Utc,
    /// From when on it signs, until the next one does.
    pub signs_from: Utc,
}

impl KeyRow {
    /// The place that a private part is bound to.
    pub fn seat(key_id: SigningKeyId) -> Seat {
        Seat { table: "token_keys", owner: *key_id.as_bytes(), row: *key_id.as_bytes() }
    }

    /// An Ed25519 key that signs heads from now on.
    pub fn of_audit(key_id: SigningKeyId, public: &PublicKey, sealed: Sealed, data_key_id: DataKeyId, now: Utc) -> Self {
        let public_jwk = Jwk::ed25519(key_id, public).to_text();
        let (use_, alg) = (AUDIT.to_owned(), EDDSA.to_owned());
        Self { key_id, use_, alg, public_jwk, sealed, data_key_id, created_time: now, signs_from: now }
    }
}
