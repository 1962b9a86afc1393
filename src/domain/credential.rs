//! What proves a person besides the password: the key of one-time codes (TOTP, RFC 6238).
//!
//! A user has at most one. It begins as an *enrolment*, which belongs to the session that began it: only that session sees its key and
//! confirms it, and it goes with the session. Once confirmed it belongs to the user alone, and nobody sees the key again.

use super::ids::{DataKeyId, SessionId, TotpId, UserId};
use super::row_mac::RowMac;
use super::secret::{Sealed, Seat, TokenHash};
use std::time::Duration;

mod schema {
    #![expect(missing_docs, reason = "the columns are documented where they become fields")]

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        totp_credentials (credential_id) {
            credential_id -> sql::Uuid,
            user_id -> sql::Uuid,
            session_id -> Nullable<sql::Uuid>,
            sealed -> Binary,
            data_key_id -> sql::Uuid,
            last_step -> Nullable<BigInt>,
            mac -> Binary,
        }
    }

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        recovery_codes (user_id, code_hash) {
            user_id -> sql::Uuid,
            code_hash -> Binary,
            mac -> Binary,
        }
    }
}
pub use schema::{recovery_codes, totp_credentials};

/// For how long an enrolment can be confirmed.
pub const ENROLMENT: Duration = Duration::from_secs(10 * 60);

/// The key of a user's one-time codes, as the database holds it.
#[derive(Clone, Debug, diesel::Queryable, diesel::Insertable)]
#[diesel(table_name = totp_credentials, treat_none_as_default_value = false)]
pub struct TotpCredential {
    /// Its id.
    pub credential_id: TotpId,
    /// Whose it is.
    pub user_id: UserId,
    /// The session that enrols it; `None` once it is confirmed.
    pub session_id: Option<SessionId>,
    /// The key, encrypted.
    pub sealed: Sealed,
    /// The data key that it is encrypted under.
    pub data_key_id: DataKeyId,
    /// The time step of the last code that was accepted: no code of this step or an earlier one is accepted any more.
    pub last_step: Option<i64>,
    /// What binds it to the key file.
    pub mac: RowMac,
}

/// A recovery code that is not used up yet, as the database holds it.
#[derive(Clone, Debug, diesel::Queryable, diesel::Insertable)]
#[diesel(table_name = recovery_codes, treat_none_as_default_value = false)]
pub struct RecoveryCode {
    /// Whose it is.
    pub user_id: UserId,
    /// The SHA-256 of the code.
    pub code_hash: TokenHash,
    /// What binds it to the key file.
    pub mac: RowMac,
}

impl TotpCredential {
    /// The place that the key's encryption is bound to (S11).
    pub fn seat(user_id: UserId, credential_id: TotpId) -> Seat {
        Seat { table: "totp_credentials", owner: *user_id.as_bytes(), row: *credential_id.as_bytes() }
    }
}
