//! Identifiers: one type per noun, so that a session's id cannot be handed in where a user's is wanted.
//!
//! All are UUIDv7 (RFC 9562, section 5.7): unique without coordination, and in order of creation.

use super::chance::Entropy;
use super::time::Utc;
use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[doc = $doc:literal])* $name:ident;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, FromSqlRow, AsExpression)]
        #[derive(schemars::JsonSchema)]
        #[diesel(sql_type = super::sql::Uuid)]
        #[serde(transparent)]
        #[schemars(inline)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh id, created at `now`.
            pub fn mint(now: Utc, entropy: &Entropy) -> Self {
                let millis = u64::try_from(now.micros().div_euclid(1000)).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &entropy.bytes()).into_uuid())
            }

            /// From its 16 bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// Its 16 bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}

ids! {
    /// A user.
    UserId;
    /// A session; public, unlike its token.
    SessionId;
    /// A registered application.
    ApplicationId;
    /// A group of users.
    GroupId;
    /// A data key.
    DataKeyId;
    /// A message to the world outside.
    MessageId;
    /// A custom attribute.
    AttributeId;
    /// A receiver of account events.
    HookId;
    /// A secret of such a receiver.
    HookSecretId;
    /// A key that signs tokens for applications.
    SigningKeyId;
    /// An API key; public, unlike its token.
    ApiKeyId;
    /// What a user acts through, a session or an API key, where it does not matter which.
    CredentialId;
    /// The key of someone's one-time codes.
    TotpId;
    /// A linked account.
    LinkedAccountId;
}

impl From<SessionId> for CredentialId {
    fn from(id: SessionId) -> Self {
        Self(id.0)
    }
}

impl From<ApiKeyId> for CredentialId {
    fn from(id: ApiKeyId) -> Self {
        Self(id.0)
    }
}
