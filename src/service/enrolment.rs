//! Enrolling a second factor in the sign-in that lacks one, where one is demanded.
//!
//! The right password alone opens nothing then. It is answered an *offer*: a fresh key, and a ticket in which the key is sealed for this
//! user and this password, good for ten minutes. Nothing of it is stored. The sign-in is sent again with the ticket and a code of the key;
//! the key becomes the user's in the transaction that opens the session, so of many that come with one ticket one is let in, on whichever
//! nodes (S12). An attempt is counted as every other is, and a wrong code is a wrong guess (S8, S9).

use super::context::Context;
use super::difference::CodesLeft;
use super::second_factor::{Enrolment, Proof, RecoveryCode, hashes, judged, wrong_code};
use crate::auth::totp::{self, Key};
use crate::domain::application::Application;
use crate::domain::credential::ENROLMENT;
use crate::domain::secret::{EnrolmentTicket, SentCode};
use crate::domain::session::AuthMethods;
use crate::domain::standing::{Factor, is_factor_demanded};
use crate::domain::time::Utc;
use crate::domain::user::User;
use crate::error::{Code, Error, Offer, Result};
use crate::store::Tx;
use zeroize::Zeroizing;

/// What is sent to take an offer up.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The ticket of the offer.
    pub ticket: EnrolmentTicket,
    /// A code of the key that was offered.
    pub code: SentCode,
}

/// The second factor of a sign-in.
#[derive(Clone, Debug)]
pub(super) enum SecondFactor {
    /// Of an account that has one, or of which none is asked.
    Known(Proof),
    /// One that is enrolled in this very sign-in.
    New(Box<Enrolling>),
}

/// A key that a code has confirmed, and the recovery codes that come with it.
#[derive(Clone, Debug)]
pub(super) struct Enrolling {
    key: Key,
    step: i64,
    codes: Vec<RecoveryCode>,
}

impl SecondFactor {
    /// Uses it up, for a user as it is held in this transaction; enables what is new in `after`. Tells what it leaves of recovery codes.
    pub(super) fn redeem(&self, keeper: &Context, tx: &mut Tx<'_>, before: &User, after: &mut User) -> Result<CodesLeft> {
        let enrolling = match self {
            Self::Known(proof) => return proof.redeem(tx, before),
            Self::New(enrolling) => enrolling,
        };
        // Whoever comes second with a ticket finds an account that has a factor.
        if before.is_totp_enabled {
            return Err(Error::new(Code::TotpRequired).because("enrolled_meanwhile"));
        }
        let user_id = before.user_id;
        let codes_before = tx.read().count_recovery_codes(user_id)?;
        let credential_id = keeper.keep_totp_key(tx, user_id, &enrolling.key, None)?;
        if !tx.use_totp_step(credential_id, enrolling.step)? {
            return Err(wrong_code("totp_used"));
        }
        tx.replace_recovery_codes(user_id, &hashes(&enrolling.codes))?;
        // As wherever a factor is switched on: what was opened without it ends.
        tx.end_sessions(user_id)?;
        after.enable_totp();
        Ok(CodesLeft { before: codes_before, after: tx.read().count_recovery_codes(user_id)? })
    }

    /// What the way in shows by it.
    pub(super) fn shown(&self) -> Factor {
        match self {
            Self::Known(Proof::NotAsked) => Factor::Missing,
            Self::Known(Proof::Totp { .. } | Proof::Recovery(_)) | Self::New(_) => Factor::Shown,
        }
    }

    /// By what a session that is opened with it was proved.
    pub(super) fn methods(&self) -> AuthMethods {
        match self {
            Self::Known(Proof::NotAsked) => AuthMethods::PASSWORD,
            Self::Known(Proof::Totp { .. }) | Self::New(_) => AuthMethods::PASSWORD_AND_CODE,
            Self::Known(Proof::Recovery(_)) => AuthMethods::PASSWORD_AND_RECOVERY_CODE,
        }
    }

    /// The user as it will be with this factor, for whatever depends on there being one.
    pub(super) fn given_to(&self, user: &User) -> User {
        let mut user = user.clone();
        match self {
            Self::Known(_) => {}
            Self::New(_) => user.enable_totp(),
        }
        user
    }

    /// The recovery codes to be told, once.
    pub(super) fn new_codes(&self) -> Vec<RecoveryCode> {
        match self {
            Self::Known(_) => Vec::new(),
            Self::New(enrolling) => enrolling.codes.clone(),
        }
    }
}

/// What a ticket is sealed for: whoever changes the password ends it.
fn seat(user: &User) -> String {
    format!("enrolment {} {}", user.user_id, user.password_hash.as_ref().map_or("", |hash| hash.expose()))
}

/// Reads what is in a ticket: until when it is good, and the key.
pub(super) fn read_ticket(bytes: &[u8]) -> Option<(Utc, Key)> {
    let (end, key) = bytes.split_first_chunk::<8>()?;
    (key.len() == totp::MINTED).then(|| (Utc::from_micros(i64::from_be_bytes(*end)), Key::from_bytes(key)))
}

impl Context {
    /// Whether a user has no second factor, where the settings or the application demand one.
    pub(super) fn lacks_factor(&self, user: &User, application: Option<&Application>) -> bool {
        !user.is_totp_enabled && is_factor_demanded(user.user_role, self.services.inner.second_factor, application)
    }

    /// The second factor of a sign-in whose password was right, within an attempt that the caller has counted and settles.
    ///
    /// # Errors
    /// Those of [`Context::examine_second_factor`]; [`Code::SecondFactorEnrolmentRequired`] with an offer; [`Code::Invalid`] where none
    /// can be taken up.
    pub(super) async fn second_factor_of(
        &self,
        user: &User,
        application: &Application,
        sent: Option<&SentCode>,
        accepted: Option<&Acceptance>,
    ) -> Result<SecondFactor> {
        if !self.lacks_factor(user, Some(application)) {
            let proof = self.examine_second_factor(user, sent).await?;
            if accepted.is_some() {
                let detail = "is only taken where a second factor is demanded and the account has none";
                return Err(Error::new(Code::Invalid).at("enrolment", detail));
            }
            return Ok(SecondFactor::Known(proof));
        }
        let Some(Acceptance { ticket, code }) = accepted else {
            return Err(self.offer(user, Code::SecondFactorEnrolmentRequired.as_str()));
        };
        let key = match self.open_ticket(user, ticket) {
            Ok(key) => key,
            Err(reason) => return Err(self.offer(user, reason)),
        };
        let code = totp::Code::parse(code.expose()).ok_or_else(|| wrong_code("totp_wrong"))?;
        let step = judged(&key, &code, self.now(), None)?;
        let codes = RecoveryCode::mint_all(&self.services.inner.entropy);
        Ok(SecondFactor::New(Box::new(Enrolling { key, step, codes })))
    }

    /// The key in a ticket; if it is none of this user and password, or no longer one, the reason for the trail.
    fn open_ticket(&self, user: &User, ticket: &EnrolmentTicket) -> Result<Key, &'static str> {
        let opened = self.services.inner.keys.seal.open(&seat(user), ticket.expose()).map(Zeroizing::new);
        let (end, key) = opened.and_then(|bytes| read_ticket(&bytes)).ok_or("enrolment_unknown")?;
        if self.now() < end { Ok(key) } else { Err("enrolment_expired") }
    }

    /// The refusal that offers a second factor to whoever has just shown the password.
    fn offer(&self, user: &User, reason: &'static str) -> Error {
        let (inner, end) = (&self.services.inner, self.now() + ENROLMENT);
        let key = Key::mint(&inner.entropy);
        let sealed = Zeroizing::new([end.micros().to_be_bytes().as_slice(), key.expose()].concat());
        let ticket = inner.keys.seal.seal(&seat(user), &sealed, &inner.entropy);
        let enrolment = match Enrolment::of(&key, user, user.totp_label.as_ref(), &inner.issuer, end) {
            Ok(enrolment) => enrolment,
            Err(error) => return error,
        };
        let offer = Offer {
            ticket: Zeroizing::new(ticket),
            totp_key: Zeroizing::new(enrolment.key.expose().to_owned()),
            otpauth_uri: enrolment.uri,
            qr_svg: enrolment.picture,
            expires_time: end.to_string(),
        };
        Error::new(Code::SecondFactorEnrolmentRequired).because(reason).offering(offer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// S40: what is in a ticket is data like any other.
        #[test]
        fn any_bytes_are_a_ticket_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let read = read_ticket(&bytes);
            prop_assert_eq!(read.is_some(), bytes.len() == 8 + totp::MINTED);
            if let Some((_, key)) = read {
                prop_assert!(bytes.ends_with(key.expose()));
            }
        }
    }
}
