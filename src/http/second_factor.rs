//! Endpoints of second factors.

use super::input::{Body, UserSegment};
use super::reply::{self, Created, Done, Found};
use crate::domain::secret::SentCode;
use crate::domain::time::Utc;
use crate::error::Result;
use crate::service::{Enrolment, RecoveryCode, SignedIn, SuperUser};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An enrolment that is to be confirmed. Its key is told now, and in the owner's view until then.
#[derive(Serialize, JsonSchema)]
pub(super) struct EnrolmentBody {
    /// The key in base32, to be typed into an authenticator.
    totp_key: String,
    /// The same with label and issuer, as authenticators read it.
    otpauth_uri: String,
    /// The same as a QR code, in SVG.
    qr_svg: String,
    /// Until when it can be confirmed.
    expiry: Utc,
}

impl reply::Body for EnrolmentBody {}

impl From<Enrolment> for EnrolmentBody {
    fn from(enrolment: Enrolment) -> Self {
        Self {
            totp_key: enrolment.key.expose().to_owned(),
            otpauth_uri: enrolment.uri.to_string(),
            qr_svg: enrolment.picture.to_string(),
            expiry: enrolment.end,
        }
    }
}

pub(super) async fn enrol(caller: SignedIn, (): ()) -> Result<Created<EnrolmentBody>> {
    Ok(Created { body: caller.enrol_totp().await?.into(), cookie: None })
}

/// A code.
#[derive(Deserialize, JsonSchema)]
pub(super) struct CodeBody {
    /// The one-time code.
    code: SentCode,
}

/// Recovery codes, each good for one sign-in in place of a one-time code. They are told this once.
#[derive(Serialize, JsonSchema)]
pub(super) struct RecoveryCodesBody {
    /// Ten codes.
    recovery_codes: Vec<String>,
}

impl reply::Body for RecoveryCodesBody {}

impl From<Vec<RecoveryCode>> for RecoveryCodesBody {
    fn from(codes: Vec<RecoveryCode>) -> Self {
        Self { recovery_codes: codes.iter().map(|code| code.expose().to_string()).collect() }
    }
}

pub(super) async fn confirm(caller: SignedIn, Body(body): Body<CodeBody>) -> Result<Found<RecoveryCodesBody>> {
    Ok(Found(caller.confirm_totp(&body.code).await?.into()))
}

pub(super) async fn disable(caller: SignedIn, Body(body): Body<CodeBody>) -> Result<Done> {
    caller.disable_totp(&body.code).await?;
    Ok(Done)
}

pub(super) async fn renew_recovery_codes(caller: SignedIn, Body(body): Body<CodeBody>) -> Result<Created<RecoveryCodesBody>> {
    Ok(Created { body: caller.renew_recovery_codes(&body.code).await?.into(), cookie: None })
}

pub(super) async fn reset(caller: SuperUser, user: UserSegment) -> Result<Done> {
    caller.reset_totp(user.0).await?;
    Ok(Done)
}
