//! Second factors: the keys of one-time codes, and the hashes of recovery codes.
//!
//! What may be used once is used up by one statement that tells whether it did: whoever comes second, on whichever node, finds it used.

use super::data_keys::data_keys;
use super::error::StoreError;
use super::rows::{bound, checked, held};
use super::{Snapshot, Tx};
use crate::domain::credential::{RecoveryCode, TotpCredential, recovery_codes, totp_credentials};
use crate::domain::ids::{SessionId, TotpId, UserId};
use crate::domain::row_mac::RowMac;
use crate::domain::secret::TokenHash;
use diesel::prelude::*;

diesel::joinable!(totp_credentials -> data_keys (data_key_id));
diesel::allow_tables_to_appear_in_same_query!(totp_credentials, data_keys);

impl Snapshot<'_> {
    /// The key of a user's one-time codes, with the wrapped data key that it is encrypted under: read at one instant, so that no rotation
    /// comes in between.
    ///
    /// # Errors
    /// The database fails.
    pub fn totp_credential(&mut self, user_id: UserId) -> Result<Option<(TotpCredential, String)>, StoreError> {
        let found: Option<(TotpCredential, String)> = totp_credentials::table
            .inner_join(data_keys::table)
            .filter(totp_credentials::user_id.eq(user_id))
            .select((totp_credentials::all_columns, data_keys::wrapped))
            .get_result(self.0)
            .optional()?;
        found.map(|(credential, wrapped)| Ok((checked(credential, self.1)?, wrapped))).transpose()
    }

    /// Whether a user has a recovery code of this hash.
    ///
    /// # Errors
    /// The database fails.
    pub fn has_recovery_code(&mut self, user_id: UserId, hash: &TokenHash) -> Result<bool, StoreError> {
        let found: Option<RecoveryCode> = recovery_codes::table.find((user_id, hash)).get_result(self.0).optional()?;
        Ok(held(found, self.1)?.is_some())
    }

    /// How many recovery codes a user has left.
    ///
    /// # Errors
    /// The database fails.
    pub fn count_recovery_codes(&mut self, user_id: UserId) -> Result<i64, StoreError> {
        Ok(recovery_codes::table.filter(recovery_codes::user_id.eq(user_id)).count().get_result(self.0)?)
    }
}

impl Tx<'_> {
    /// Gives a user a key, in place of any other. Hold the user, and the session if there is one.
    ///
    /// # Errors
    /// The database fails.
    pub fn replace_totp_credential(&mut self, credential: &TotpCredential) -> Result<(), StoreError> {
        self.remove_totp_credential(credential.user_id)?;
        diesel::insert_into(totp_credentials::table).values(bound(credential, self.1)).execute(self.0)?;
        Ok(())
    }

    /// Makes the enrolment of a session the user's key, and uses up the step of the code that confirmed it; tells whether it was there.
    ///
    /// # Errors
    /// The database fails.
    pub fn confirm_totp(&mut self, credential_id: TotpId, session_id: SessionId, step: i64) -> Result<bool, StoreError> {
        let found: Option<TotpCredential> = totp_credentials::table.find(credential_id).get_result(self.0).optional()?;
        let Some(found) = held(found, self.1)? else { return Ok(false) };
        let enrolment = totp_credentials::table.find(credential_id).filter(totp_credentials::session_id.eq(session_id));
        let TotpCredential { session_id, last_step, mac, .. } =
            bound(&TotpCredential { session_id: None, last_step: Some(step), ..found }, self.1);
        let confirmed = (
            totp_credentials::session_id.eq(session_id),
            totp_credentials::last_step.eq(last_step),
            totp_credentials::mac.eq(mac),
        );
        Ok(diesel::update(enrolment).set(confirmed).execute(self.0)? == 1)
    }

    /// Uses up a step, and with it all before it; tells whether this was the first to do so (S12).
    ///
    /// # Errors
    /// The database fails.
    pub fn use_totp_step(&mut self, credential_id: TotpId, step: i64) -> Result<bool, StoreError> {
        let last = totp_credentials::last_step;
        let unused = totp_credentials::table
            .find(credential_id)
            .filter(totp_credentials::session_id.is_null().and(last.is_null().or(last.lt(step))));
        Ok(diesel::update(unused).set(last.eq(Some(step))).execute(self.0)? == 1)
    }

    /// Uses up a recovery code; tells whether this was the first to do so.
    ///
    /// # Errors
    /// The database fails.
    pub fn use_recovery_code(&mut self, user_id: UserId, hash: &TokenHash) -> Result<bool, StoreError> {
        Ok(self.read().has_recovery_code(user_id, hash)?
            && diesel::delete(recovery_codes::table.find((user_id, hash))).execute(self.0)? == 1)
    }

    /// Gives a user these recovery codes; those before end.
    ///
    /// # Errors
    /// The database fails.
    pub fn replace_recovery_codes(&mut self, user_id: UserId, hashes: &[TokenHash]) -> Result<(), StoreError> {
        diesel::delete(recovery_codes::table.filter(recovery_codes::user_id.eq(user_id))).execute(self.0)?;
        for hash in hashes {
            let code = RecoveryCode { user_id, code_hash: hash.clone(), mac: RowMac::default() };
            diesel::insert_into(recovery_codes::table).values(bound(&code, self.1)).execute(self.0)?;
        }
        Ok(())
    }

    /// Takes a user's key and recovery codes away; tells whether there was a key.
    ///
    /// # Errors
    /// The database fails.
    pub fn remove_second_factor(&mut self, user_id: UserId) -> Result<bool, StoreError> {
        self.replace_recovery_codes(user_id, &[])?;
        self.remove_totp_credential(user_id)
    }

    fn remove_totp_credential(&mut self, user_id: UserId) -> Result<bool, StoreError> {
        Ok(diesel::delete(totp_credentials::table.filter(totp_credentials::user_id.eq(user_id))).execute(self.0)? > 0)
    }
}
