//! The error table: every way in which a call can be refused or fail, with its stable code, HTTP status and title.
//!
//! An [`Error`] is what crosses from the services to HTTP and the command line. It keeps apart what the caller is told (code,
//! detail, the members at fault) and what only the log and the audit trail learn (`cause`, `reason`).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $status:literal, $title:literal;)*) => {
        /// A kind of error. The table in the source is the table in the documentation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[doc = $doc])* $name,)* }

        impl Code {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The stable code that clients may rely on.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// One sentence for people.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// The body is not JSON, or nested too deeply.
    NotJson = "not_json", 400, "The body is not acceptable JSON.";
    /// A query parameter is unknown or of the wrong form.
    BadQuery = "bad_query", 400, "The query string is not acceptable.";
    /// A member of the body is of the wrong type or missing.
    BadType = "bad_type", 400, "A member of the body is missing or of the wrong type.";
    /// The request cannot be read.
    BadRequest = "bad_request", 400, "The request cannot be read.";
    /// Sign-in failed; always the same, whatever the cause.
    CredentialsInvalid = "credentials_invalid", 401, "The user name or the password is wrong.";
    /// No, unknown, expired or revoked UST or API key; always the same.
    SessionInvalid = "session_invalid", 401, "There is no valid session or API key.";
    /// The application is unknown, or its key is missing or wrong.
    ApplicationInvalid = "application_invalid", 401, "The application is unknown, or its key is missing or wrong.";
    /// The password was right; a one-time code is needed as well.
    TotpRequired = "totp_required", 401, "A one-time code is required.";
    /// The password was right; the one-time code was not, or was used before.
    TotpInvalid = "totp_invalid", 401, "The one-time code is wrong.";
    /// The password was right; a second factor is demanded, and the account has none yet.
    SecondFactorEnrolmentRequired = "second_factor_enrolment_required", 401, "A second factor is demanded: enrol one and send enrolment along.";
    /// The password was right; a new one must be set.
    PasswordMustChange = "password_must_change", 401, "A new password must be set: send new_password along.";
    /// The password was right; it has expired.
    PasswordExpired = "password_expired", 401, "The password has expired: send new_password along.";
    /// The password was right; the account is locked.
    AccountLocked = "account_locked", 401, "The account is locked.";
    /// The password was right; the account may not act.
    AccountInactive = "account_inactive", 401, "The account is not active.";
    /// The password was right; no super-user has approved the account yet.
    ApprovalPending = "approval_pending", 401, "The account awaits approval.";
    /// The password was right; the sign-up is not confirmed.
    SignUpUnconfirmed = "sign_up_unconfirmed", 401, "The sign-up is not confirmed.";
    /// The password was right; the account is outside its validity window.
    OutsideValidity = "outside_validity", 401, "The account is outside its period of validity.";
    /// The password was right; the application is not open to the user.
    ApplicationNotAllowed = "application_not_allowed", 401, "This application is not open to the account.";
    /// The password was right; the application or the user may not be used from this address.
    AddressNotAllowed = "address_not_allowed", 401, "The account may not be used from this address.";
    /// Signed in, but not allowed; the same whether or not the target exists.
    Forbidden = "forbidden", 403, "This is not allowed.";
    /// A member of the body may not be changed by this caller.
    MemberForbidden = "member_forbidden", 403, "A member of the body may not be changed by this caller.";
    /// A change of this kind needs a sign-in of the last five minutes.
    FreshSignInRequired = "fresh_sign_in_required", 403, "This needs a recent sign-in: sign in again.";
    /// The application takes no sign-ups.
    SignUpClosed = "sign_up_closed", 403, "This application takes no sign-ups.";
    /// An API key that may only read.
    KeyReadOnly = "key_read_only", 403, "This API key may only read.";
    /// What an API key does not do.
    SessionRequired = "session_required", 403, "This needs a session: an API key is not enough.";
    /// The old password is wrong.
    OldPasswordWrong = "old_password_wrong", 403, "The old password is wrong.";
    /// Told only to callers who may know.
    NotFound = "not_found", 404, "There is no such thing.";
    /// The path is known, the method is not.
    MethodNotAllowed = "method_not_allowed", 405, "This path does not answer this method.";
    /// The body did not come in time.
    RequestTimeout = "request_timeout", 408, "The request did not arrive in time.";
    /// A unique value is taken.
    ValueTaken = "value_taken", 409, "The value is taken.";
    /// One-time codes are enabled already.
    TotpEnabled = "totp_enabled", 409, "One-time codes are enabled already: switch them off first.";
    /// One-time codes are not enabled, or none are being enrolled.
    TotpNotEnabled = "totp_not_enabled", 409, "One-time codes are not enabled.";
    /// Without one-time codes the password would be too short.
    PasswordNeedsTotp = "password_needs_totp", 409, "The password is too short to be the only factor: change it first.";
    /// At least one active super-user must remain.
    LastSuperUser = "last_super_user", 409, "At least one active super-user must remain.";
    /// The default application always exists.
    DefaultApplication = "default_application", 409, "The default application stays.";
    /// The user is in the group already.
    AlreadyMember = "already_member", 409, "The user is in the group already.";
    /// There is no mail, or no address that links could lead to.
    LinksUnavailable = "links_unavailable", 409, "This service sends no links: mail or links.base_url is not set up.";
    /// Whom a link is for has no e-mail address.
    EmailMissing = "email_missing", 409, "The user has no e-mail address.";
    /// Nobody deletes oneself.
    SelfDelete = "self_delete", 409, "Nobody deletes their own account.";
    /// Locking oneself must be meant.
    SelfLock = "self_lock", 409, "Locking oneself needs force.";
    /// There is no room for more custom attributes.
    AttributesFull = "attributes_full", 409, "There is no room for more attributes.";
    /// Each change is written once for every hook, so there is an end to their number.
    TooManyHooks = "too_many_hooks", 409, "There are as many hooks as there may be.";
    /// Nothing is delivered to a hook that is switched off.
    HookInactive = "hook_inactive", 409, "The hook is switched off.";
    /// The feature needs a setting that is not set.
    NotEnabled = "not_enabled", 409, "This is not enabled here.";
    /// A token of a link, or what it was exchanged for, is none, or no longer one; always the same.
    LinkInvalid = "link_invalid", 410, "The link is not valid: it is incomplete, has been used or has expired.";
    /// A group that is to be removed only when empty has members.
    GroupNotEmpty = "group_not_empty", 409, "The group has members.";
    /// Nobody shuts oneself out.
    SelfShutOut = "self_shut_out", 409, "This would shut out whoever asks for it.";
    /// A user has as many API keys as there may be.
    TooManyKeys = "too_many_keys", 409, "The user has too many API keys: revoke one.";
    /// The resource is not, or no longer, what If-Match says.
    PreconditionFailed = "precondition_failed", 412, "The resource has changed: read it again.";
    /// The body is too large.
    TooLarge = "too_large", 413, "The body is too large.";
    /// The URL is too long.
    UrlTooLong = "url_too_long", 414, "The URL is too long.";
    /// The body is not declared as JSON.
    NotJsonType = "unsupported_media_type", 415, "The body is not of the media type that is asked for.";
    /// A member of the body is unknown or its value does not fit.
    Invalid = "invalid", 422, "A member of the body is unknown or does not fit.";
    /// The new password does not meet the policy.
    PasswordUnfit = "password_unfit", 422, "The password does not meet the policy.";
    /// Too many failed attempts; try again after the time given.
    TooManyAttempts = "too_many_attempts", 429, "Too many failed attempts.";
    /// The headers are too large.
    HeadersTooLarge = "headers_too_large", 431, "The headers are too large.";
    /// A fault on this side.
    Internal = "internal", 500, "Something went wrong on this side.";
    /// Temporarily not able to answer.
    Unavailable = "unavailable", 503, "The service cannot answer now.";
    /// The audit trail does not hold, or ends before where it was seen to end.
    TrailBroken = "trail_broken", 503, "The audit trail does not hold: an operator has to look at the log.";
}

/// Stands between the names of members that lie within each other, in [`Fault::member`].
pub const WITHIN: char = '\u{1f}';

/// One member at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The member's name, without the slash of a JSON pointer; of a nested one all names from the outside in, with [`WITHIN`] between.
    pub member: String,
    /// A stable code.
    pub code: &'static str,
    /// A text that completes "the value …".
    pub detail: String,
}

/// A second factor that is offered to whoever showed the right password and has none: secrets, told to that caller and to nobody else. No
/// log, no trail and no `Debug` has any of it.
#[derive(Clone)]
pub struct Offer {
    /// What the offer is taken up with.
    pub ticket: Zeroizing<String>,
    /// The key in base32.
    pub totp_key: Zeroizing<String>,
    /// The same as a URI.
    pub otpauth_uri: Zeroizing<String>,
    /// The same as a picture.
    pub qr_svg: Zeroizing<String>,
    /// Until when it can be taken up.
    pub expires_time: String,
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Offer")
    }
}

/// A call that was refused or failed.
#[derive(Clone, Debug)]
pub struct Error {
    code: Code,
    reason: Option<&'static str>,
    detail: Option<Cow<'static, str>>,
    faults: Vec<Fault>,
    retry_after: Option<Duration>,
    cause: Option<String>,
    offer: Option<Arc<Offer>>,
}

impl Error {
    /// An error of this kind.
    pub const fn new(code: Code) -> Self {
        Self { code, reason: None, detail: None, faults: Vec::new(), retry_after: None, cause: None, offer: None }
    }

    /// With a sentence that the caller is shown.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With the exact reason for the audit trail, where the caller is told less.
    #[must_use]
    pub const fn because(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// With a member at fault.
    #[must_use]
    pub fn at(self, member: impl Into<String>, detail: impl Into<String>) -> Self {
        let code = self.code.as_str();
        self.fault(Fault { member: member.into(), code, detail: detail.into() })
    }

    /// With a member at fault that has a code of its own.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// With the time after which another try makes sense.
    #[must_use]
    pub const fn retry_after(mut self, span: Duration) -> Self {
        self.retry_after = Some(span);
        self
    }

    /// With the cause, for the log only.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// With a second factor to be enrolled.
    #[must_use]
    pub fn offering(mut self, offer: Offer) -> Self {
        self.offer = Some(Arc::new(offer));
        self
    }

    /// The second factor that is offered.
    pub fn offer(&self) -> Option<&Offer> {
        self.offer.as_deref()
    }

    /// The kind.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The reason code for the audit trail.
    pub fn reason(&self) -> &'static str {
        self.reason.unwrap_or(self.code.as_str())
    }

    /// The sentence for the caller.
    pub fn sentence(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// The members at fault.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Whole seconds after which another try makes sense; 503 always has some.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let seconds = |span: Duration| span.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX);
        match self.code {
            Code::Unavailable | Code::TrailBroken => Some(self.retry_after.map_or(1, seconds)),
            _ => self.retry_after.map(seconds),
        }
    }

    /// The cause, for the log.
    pub fn logged_cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail.as_deref().unwrap_or(self.code.title()))?;
        for fault in &self.faults {
            write!(f, " {}: the value {}.", fault.member.replace(WITHIN, "."), fault.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// What services answer.
pub type Result<T, E = Error> = std::result::Result<T, E>;
