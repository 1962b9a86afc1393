//! Its refusals: a status and codes of Zato's own, or a result where a request cannot be understood.
//!
//! What is refused and why was decided before; here it is only spelt. Where the code of a refusal depends on what was asked for, the call's
//! action tells it.

use super::super::super::reply::Reply;
use crate::domain::audit::Action;
use crate::error::{Code, Error};
use serde_json::{Value, json};

/// What a client of Zato is answered for an error.
pub(in super::super) fn refusal(error: &Error, action: Action, cid: &str) -> Reply {
    let (code, status) = (error.code(), error.code().status());
    if code == Code::NotFound && error.reason() == "no_route" {
        let body = format!("URL not found (CID:{cid})").into_bytes();
        return Reply { status, content_type: "text/plain; charset=utf-8", body: body.into(), headers: Vec::new() };
    }
    let (status, body) = match spelling(error, action) {
        Spelling::Done => (200, json!({"status": "ok", "sub_status": [], "cid": cid})),
        Spelling::UnknownApplication => (200, business("E004001", cid)),
        Spelling::Business(code) => (403, business(code, cid)),
        Spelling::BadRequest => (400, json!({"result": "Error", "cid": cid, "details": "Bad request"})),
        Spelling::Result(details) => (status, json!({"result": "Error", "cid": cid, "details": details})),
    };
    let headers = error.retry_after_seconds().map(|seconds| ("retry-after", seconds.to_string())).into_iter().collect();
    Reply { status, content_type: "application/json", body: body.to_string().into_bytes().into(), headers }
}

fn business(code: &str, cid: &str) -> Value {
    json!({"status": "error", "sub_status": [code], "cid": cid})
}

/// How a refusal is spelt.
enum Spelling {
    /// As if it was done: it is not told what came of it.
    Done,
    /// The application is unknown.
    UnknownApplication,
    /// A code of Zato's.
    Business(&'static str),
    /// What was sent cannot be read, or lacks something.
    BadRequest,
    /// A sentence, with the status that the error has.
    Result(&'static str),
}

/// Not allowed, for whatever cause.
const NOT_ALLOWED: &str = "E005001";
const NO_SESSION: &str = "E007001";
const INVALID_OPERATION: &str = "E008001";
const INVALID_INPUT: &str = "E008002";

fn spelling(error: &Error, action: Action) -> Spelling {
    use Spelling::{BadRequest, Business, Done, Result, UnknownApplication};
    let is_of_reset = matches!(action, Action::ResetOpen | Action::ResetFinish);
    match error.code() {
        Code::NotJson | Code::BadQuery | Code::BadType | Code::BadRequest | Code::NotJsonType => BadRequest,
        Code::MethodNotAllowed => Result("Unsupported HTTP method"),
        Code::TooManyAttempts => Result("Error 429 Too Many Requests"),
        // Whoever asks for a link learns nothing, whoever signs out is out.
        Code::LinksUnavailable | Code::Invalid if action == Action::ResetRequest => Done,
        Code::SessionInvalid if action == Action::SignOut => Done,
        Code::ApplicationInvalid => UnknownApplication,
        Code::ApplicationNotAllowed => Business("E004001"),
        Code::SignUpClosed => Business("E004002"),
        Code::TotpRequired | Code::SecondFactorEnrolmentRequired => Business("E005008"),
        Code::PasswordMustChange => Business("E003007"),
        Code::PasswordExpired => Business("E003004"),
        Code::AccountLocked => Business("E005002"),
        Code::SignUpUnconfirmed => Business("E005003"),
        // A search says no more than that it is not allowed, whatever is wrong with the session.
        Code::SessionInvalid if action == Action::UserList => Business(NOT_ALLOWED),
        Code::SessionInvalid => Business(NO_SESSION),
        Code::Forbidden if error.reason() == "user_address_forbidden" => Business("E006001"),
        Code::Forbidden => Business(forbidden(action)),
        Code::MemberForbidden => Business(INVALID_INPUT),
        Code::LinkInvalid => Business(if is_of_reset { "E010001" } else { "E005006" }),
        Code::PasswordUnfit => Business(unfit_password(error, action)),
        Code::ValueTaken => taken(error, action),
        Code::NotFound => not_found(error, action),
        Code::Invalid => Business(invalid(error, action)),
        Code::AttributesFull => Business(INVALID_INPUT),
        Code::CredentialsInvalid
        | Code::TotpInvalid
        | Code::AccountInactive
        | Code::ApprovalPending
        | Code::OutsideValidity
        | Code::AddressNotAllowed
        | Code::FreshSignInRequired
        | Code::OldPasswordWrong
        | Code::KeyReadOnly
        | Code::SessionRequired => Business(NOT_ALLOWED),
        _ if error.code().status() >= 500 || matches!(error.code().status(), 408 | 413 | 414 | 431) => {
            Result(error.code().title())
        }
        _ => Business(INVALID_OPERATION),
    }
}

/// Of what only super-users do.
fn forbidden(action: Action) -> &'static str {
    match action {
        Action::UserApprove
        | Action::UserReject
        | Action::UserUpdate
        | Action::CurrentUserUpdate
        | Action::PasswordChange
        | Action::PasswordSet
        | Action::TotpReplace
        | Action::TotpReset => INVALID_INPUT,
        _ => NOT_ALLOWED,
    }
}

fn not_found(error: &Error, action: Action) -> Spelling {
    match (error.reason(), action) {
        // Of a link to an account, and of an account to link.
        (_, Action::LinkedAccountLink | Action::LinkedAccountUnlink) => Spelling::BadRequest,
        (_, Action::UserDelete) => Spelling::Business(INVALID_OPERATION),
        (
            _,
            Action::UserApprove
            | Action::UserReject
            | Action::UserLock
            | Action::UserUnlock
            | Action::PasswordChange
            | Action::PasswordSet,
        ) => Spelling::Business(INVALID_INPUT),
        ("session_unknown", _) => Spelling::Business(NO_SESSION),
        _ => Spelling::Business(NOT_ALLOWED),
    }
}

fn taken(error: &Error, action: Action) -> Spelling {
    let names = |member: &str| error.faults().iter().any(|fault| fault.member == member);
    match action {
        // Whether a name is borne is not told to whoever is not signed in.
        Action::SignUp => Spelling::Business(NOT_ALLOWED),
        Action::LinkedAccountLink => Spelling::BadRequest,
        _ if names("username") || names("login_name") => Spelling::Business("E001002"),
        _ if error.reason() == "attribute_taken" => Spelling::Business("E009001"),
        _ => Spelling::Business(INVALID_INPUT),
    }
}

fn unfit_password(error: &Error, action: Action) -> &'static str {
    // One's own new password is refused without a cause.
    if action == Action::PasswordChange {
        return NOT_ALLOWED;
    }
    match error.faults().first().map(|fault| fault.code) {
        Some("too_short") => "E003002",
        Some("too_long") => "E003003",
        _ => "E003001",
    }
}

fn invalid(error: &Error, action: Action) -> &'static str {
    if error.reason() == "nothing_to_change" {
        return "E008003";
    }
    let of = |member: &str| error.faults().iter().find(|fault| fault.member == member).map(|fault| fault.detail.as_str());
    let kind = |detail: &str, [other, long, blank]: [&'static str; 3]| match detail {
        detail if detail.contains("longer than") => long,
        detail if detail.contains("white space") => blank,
        _ => other,
    };
    match (action, of("username"), of("email")) {
        (Action::SignUp, Some(detail), _) => kind(detail, ["E001001", "E001003", "E001004"]),
        (Action::SignUp, None, Some("is missing")) => "E002005",
        (Action::SignUp, None, Some(detail)) => kind(detail, ["E002001", "E002003", "E002004"]),
        (Action::UserCreate, Some(_), _) => "E001001",
        (Action::UserCreate, None, Some(_)) => "E002001",
        _ => INVALID_INPUT,
    }
}
