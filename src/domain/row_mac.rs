//! What binds a row of the database to the key file: a MAC over those of its columns that decide who may do what.
//!
//! Whoever writes to the database without the key file can alter a row, but not its MAC: a row whose MAC is not right is not there. Which
//! columns are covered is declared once for each table (`bound_rows!`); a column that is neither covered nor left out on purpose does not
//! compile. The MAC stands beside the SHA-256 of a token, which finds the row.
//!
//! The message is `usher row 1`, the table and each column in the order of the declaration. Each of them comes with its length before it
//! (8 bytes, big-endian); what is null has the length 2^64 - 1 and no bytes.

use super::api_key::ApiKey;
use super::application::Application;
use super::credential::{RecoveryCode, TotpCredential};
use super::ids::{ApiKeyId, ApplicationId, LinkedAccountId, SessionId, TotpId, UserId};
use super::link::Link;
use super::linked_account::LinkedAccount;
use super::secret::{MacKey, PasswordHash, TokenHash};
use super::session::{AuthMethods, Session};
use super::text::{Email, Line};
use super::time::Utc;
use super::user::User;
use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;

/// The form of the message and of the MAC, in its first byte.
const FORMAT: u8 = 1;
const PURPOSE: &[u8] = b"usher row 1";

/// A row's MAC: a byte for its format, one for the root key that it is made under, then HMAC-SHA-256. Without any, a row was not bound yet,
/// and cannot be written.
#[derive(Clone, Debug, Default, PartialEq, Eq, FromSqlRow, AsExpression)]
#[diesel(sql_type = diesel::sql_types::Binary)]
pub struct RowMac(Vec<u8>);

impl RowMac {
    /// From the database's bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the row was bound, rightly or not.
    pub fn is_there(&self) -> bool {
        !self.0.is_empty()
    }
}

/// The keys that rows are bound under: the first one binds, all of them confirm.
#[derive(Clone, Debug, Default)]
pub struct RowKeys(Vec<(u8, MacKey)>);

impl RowKeys {
    /// The key that derives from the root key of this number.
    pub fn new(root: u8, key: MacKey) -> Self {
        Self(vec![(root, key)])
    }

    /// No key: nothing is bound, and no row holds.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Binds a row as it is.
    pub fn bind<R: BoundRow>(&self, row: &mut R) {
        if let Some((root, key)) = self.0.first() {
            let mac = key.mac(&row.message());
            *row.mac_mut() = RowMac([[FORMAT, *root].as_slice(), &mac].concat());
        }
    }

    /// Whether a row is as it was bound.
    pub fn confirm<R: BoundRow>(&self, row: &R) -> bool {
        let [FORMAT, root, mac @ ..] = row.mac().as_bytes() else { return false };
        self.0.iter().any(|(known, key)| known == root && key.confirms(&row.message(), mac))
    }
}

/// A row that is bound.
pub trait BoundRow {
    /// Its table.
    const TABLE: &'static str;

    /// What its MAC is made over.
    fn message(&self) -> Vec<u8>;

    /// Its MAC.
    fn mac(&self) -> &RowMac;

    /// Its MAC, to be replaced.
    fn mac_mut(&mut self) -> &mut RowMac;
}

/// What a column adds to a message.
trait Column {
    fn put(&self, message: &mut Vec<u8>);
}

fn put(message: &mut Vec<u8>, bytes: &[u8]) {
    message.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    message.extend_from_slice(bytes);
}

impl<T: Column> Column for Option<T> {
    fn put(&self, message: &mut Vec<u8>) {
        match self {
            Some(value) => value.put(message),
            None => message.extend_from_slice(&u64::MAX.to_be_bytes()),
        }
    }
}

macro_rules! columns {
    ($($ty:ty: |$value:ident| $bytes:expr;)*) => {$(
        impl Column for $ty {
            fn put(&self, message: &mut Vec<u8>) {
                let $value = self;
                put(message, $bytes);
            }
        }
    )*};
}
columns! {
    UserId: |id| id.as_bytes();
    SessionId: |id| id.as_bytes();
    ApplicationId: |id| id.as_bytes();
    ApiKeyId: |id| id.as_bytes();
    LinkedAccountId: |id| id.as_bytes();
    TotpId: |id| id.as_bytes();
    TokenHash: |hash| hash.as_bytes();
    PasswordHash: |hash| hash.expose().as_bytes();
    Utc: |time| &time.micros().to_be_bytes();
    bool: |is| &[u8::from(*is)];
    String: |text| text.as_bytes();
    Line: |text| text.as_str().as_bytes();
    Email: |text| text.as_str().as_bytes();
    AuthMethods: |words| words.as_str().as_bytes();
    super::api_key::KeyScope: |word| word.as_str().as_bytes();
    super::link::LinkPurpose: |word| word.as_str().as_bytes();
    super::user::UserRole: |word| word.as_str().as_bytes();
}

/// Declares which columns of a table its rows' MACs cover, and which they do not. Every column is in one of the two lists.
macro_rules! bound_rows {
    ($($row:ident($table:literal, $mac:ident) covers [$($covered:ident)*], leaves [$($left:ident)*];)*) => {$(
        impl BoundRow for $row {
            const TABLE: &'static str = $table;

            fn message(&self) -> Vec<u8> {
                let Self { $($covered,)* $($left: _,)* $mac: _ } = self;
                let mut message = Vec::with_capacity(256);
                put(&mut message, PURPOSE);
                put(&mut message, $table.as_bytes());
                $($covered.put(&mut message);)*
                message
            }

            fn mac(&self) -> &RowMac {
                &self.$mac
            }

            fn mac_mut(&mut self) -> &mut RowMac {
                &mut self.$mac
            }
        }
    )*};
}

bound_rows! {
    Session("sessions", mac)
        covers [session_id user_id application_id token_hash created_time absolute_expiry auth_methods auth_time],
        leaves [renewed_time idle_expiry remote_addr user_agent];
    ApiKey("api_keys", mac)
        covers [key_id user_id token_hash scope expiry made_by],
        leaves [name created_time last_used_time];
    Link("links", mac)
        covers [token_hash purpose user_id created_time expiry],
        leaves [];
    Application("applications", mac)
        covers [application_id key_hash is_key_required may_set_remote_addr],
        leaves [name name_key session_scope created_time access allowed_roles allowed_networks is_sign_up_open
            is_sign_up_approval_needed second_factor];
    LinkedAccount("linked_accounts", mac)
        covers [account_id name_key password_hash user_id is_active],
        leaves [name linked_time session_id created_time];
    // The key itself is encrypted for this row and no other.
    TotpCredential("totp_credentials", mac)
        covers [credential_id user_id session_id],
        leaves [sealed data_key_id last_step];
    RecoveryCode("recovery_codes", mac)
        covers [user_id code_hash],
        leaves [];
    // The address as well as its key: a reset is mailed to it.
    User("users", credential_mac)
        covers [user_id username_key login_name_key external_id password_hash user_role is_totp_enabled email_key email],
        leaves [number username login_name display_name first_name middle_name last_name totp_label totp_enrolment_end lang_id
            login_time login_station is_active is_internal is_locked lock_cause locked_time locked_by lock_reason is_approval_needed
            approval_status approval_status_mod_by approval_status_mod_time sign_up_status creation_ctx password_needs_totp
            password_must_change password_last_set password_expiry password_never_expires login_count failed_login_count valid_from
            valid_to never_expire profile_id supervisor_id server_id account_type flags station remark created_time updated_time
            active_time email_mod_by email_mod_time networks];
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(seed: u8) -> RowKeys {
        RowKeys::new(1, MacKey::new([seed; 32]))
    }

    fn code(user: u8, hash: Vec<u8>) -> RecoveryCode {
        let code_hash = TokenHash::from_bytes(hash);
        RecoveryCode { user_id: UserId::from_bytes([user; 16]), code_hash, mac: RowMac::default() }
    }

    proptest! {
        /// A row is confirmed as it was bound, under the key it was bound under, and after no change of a byte.
        #[test]
        fn only_what_was_bound_is_confirmed(user in any::<u8>(), hash in prop::collection::vec(any::<u8>(), 1..40), at in any::<prop::sample::Index>()) {
            let mut row = code(user, hash.clone());
            prop_assert!(!keys(1).confirm(&row));
            keys(1).bind(&mut row);
            prop_assert!(keys(1).confirm(&row) && !keys(2).confirm(&row) && !RowKeys::none().confirm(&row));
            let mut other = hash.clone();
            other[at.index(hash.len())] ^= 1;
            let with = |row: RecoveryCode, mac: &RowMac| RecoveryCode { mac: mac.clone(), ..row };
            let altered = [with(code(user, other), &row.mac), with(code(user ^ 1, hash), &row.mac)];
            prop_assert!(altered.iter().all(|row| !keys(1).confirm(row)));
            let mut mac = row.mac.as_bytes().to_vec();
            mac[at.index(34)] ^= 1;
            let row = with(row, &RowMac::from_bytes(mac));
            prop_assert!(!keys(1).confirm(&row));
        }

        /// Columns do not run into each other.
        #[test]
        fn columns_are_kept_apart(a in ".{0,8}", b in ".{0,8}", c in ".{0,8}", d in ".{0,8}") {
            let message = |x: &Option<String>, y: &Option<String>| { let mut m = Vec::new(); x.put(&mut m); y.put(&mut m); m };
            let (a, b, c, d) = (Some(a), Some(b), Some(c), Some(d));
            prop_assert_eq!(message(&a, &b) == message(&c, &d), (&a, &b) == (&c, &d));
            prop_assert_ne!(message(&a, &None), message(&a, &b));
        }
    }
}
