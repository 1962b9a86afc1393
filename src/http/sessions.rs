//! Endpoints of sessions.

use super::answer::DEVICE_COOKIE;
use super::input::{ApplicationSegment, Body, SessionSegment, UserSegment};
use super::reply::{Created, Done, Found, Items, UserAnswer};
use crate::domain::notice::Notice;
use crate::domain::secret::{EnrolmentTicket, Password, SentCode};
use crate::domain::session::SessionView;
use crate::error::Result;
use crate::service::{
    Acceptance, Anyone, Authenticated, Bearer, Introspection, NewSession, SignIn, SignedIn, SuperUser, TrustedApplication,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long a device stays known, in seconds: a year.
const DEVICE_AGE: u32 = 365 * 24 * 60 * 60;

/// What one signs in with.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SignInBody {
    /// The username or login name.
    username: String,
    /// The password.
    password: Password,
    /// The one-time code, where one is asked for; a recovery code in its place is good once.
    totp_code: Option<SentCode>,
    /// The second factor that was offered (`second_factor_enrolment_required`), to be enrolled by this very sign-in.
    enrolment: Option<AcceptanceBody>,
    /// A new password, where one is demanded.
    new_password: Option<Password>,
    /// The application, instead of the one in `X-Current-App`.
    current_app: Option<String>,
}

/// What takes up the offer of a second factor.
#[derive(Deserialize, JsonSchema)]
pub(super) struct AcceptanceBody {
    /// The ticket of the offer.
    ticket: EnrolmentTicket,
    /// A one-time code of the key that was offered.
    code: SentCode,
}

/// A session just opened.
#[derive(Serialize, JsonSchema)]
pub(super) struct NewSessionBody {
    /// The session token. It is told this once.
    ust: String,
    /// The session.
    session: SessionView,
    /// The user.
    user: UserAnswer,
    /// What will soon keep the user from signing in; absent if there is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notices: Vec<Notice>,
    /// Ten recovery codes, where a second factor was enrolled; absent otherwise. They are told this once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recovery_codes: Vec<String>,
}

impl super::reply::Body for NewSessionBody {}

impl From<NewSession> for NewSessionBody {
    fn from(new: NewSession) -> Self {
        let user = UserAnswer::new(new.account, new.viewer);
        let recovery_codes = new.recovery_codes.iter().map(|code| code.expose().to_string()).collect();
        Self { ust: new.ust.expose().to_owned(), session: new.session, user, notices: new.notices, recovery_codes }
    }
}

pub(super) async fn sign_in(caller: Anyone, Body(body): Body<SignInBody>) -> Result<Created<NewSessionBody>> {
    let SignInBody { username, password, totp_code, enrolment, new_password, current_app } = body;
    let enrolment = enrolment.map(|AcceptanceBody { ticket, code }| Acceptance { ticket, code });
    let mut new = caller.sign_in(SignIn { username, password, totp_code, enrolment, new_password, current_app }).await?;
    let cookie = new
        .device
        .take()
        .map(|device| format!("{DEVICE_COOKIE}={device}; Path=/; Max-Age={DEVICE_AGE}; Secure; HttpOnly; SameSite=Strict"));
    Ok(Created { body: new.into(), cookie })
}

pub(super) async fn current(caller: SignedIn, (): ()) -> Result<Found<SessionView>> {
    Ok(Found(caller.session()))
}

pub(super) async fn sign_out(caller: Bearer, (): ()) -> Result<Done> {
    caller.sign_out().await?;
    Ok(Done)
}

pub(super) async fn renew(caller: SignedIn, (): ()) -> Result<Found<SessionView>> {
    Ok(Found(caller.renew().await?))
}

/// What one proves anew by.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ConfirmBody {
    /// The password.
    password: Password,
    /// The one-time code, where the account has one; a recovery code in its place is good once.
    totp_code: Option<SentCode>,
}

pub(super) async fn confirm(caller: SignedIn, Body(body): Body<ConfirmBody>) -> Result<Found<NewSessionBody>> {
    Ok(Found(caller.confirm_session(body.password, body.totp_code.as_ref()).await?.into()))
}

/// A token to be asked about.
#[derive(Deserialize, JsonSchema)]
pub(super) struct IntrospectBody {
    /// The token.
    ust: String,
}

/// What is said of a token.
#[derive(Serialize, JsonSchema)]
pub(super) struct IntrospectionBody {
    /// Whether it is good. If not, nothing else is told.
    active: bool,
    /// Its user, as the asker sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserAnswer>,
    /// Its session.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionView>,
}

impl super::reply::Body for IntrospectionBody {}

pub(super) async fn introspect(caller: TrustedApplication, Body(body): Body<IntrospectBody>) -> Result<Found<IntrospectionBody>> {
    Ok(Found(match caller.introspect(&body.ust).await? {
        Introspection::Inactive => IntrospectionBody { active: false, user: None, session: None },
        Introspection::Active { session, user } => {
            IntrospectionBody { active: true, user: Some(UserAnswer::Written(user)), session: Some(session) }
        }
    }))
}

pub(super) async fn own(caller: Authenticated, (): ()) -> Result<Found<Items<SessionView>>> {
    Ok(Found(Items { items: caller.own_sessions().await? }))
}

pub(super) async fn end_own(caller: Authenticated, session: SessionSegment) -> Result<Done> {
    caller.end_own_session(session.0).await?;
    Ok(Done)
}

pub(super) async fn end_own_all(caller: Authenticated, (): ()) -> Result<Done> {
    caller.end_own_sessions().await?;
    Ok(Done)
}

pub(super) async fn of_user(caller: SuperUser, user: UserSegment) -> Result<Found<Items<SessionView>>> {
    Ok(Found(Items { items: caller.sessions_of(user.0).await? }))
}

pub(super) async fn end_one(caller: SuperUser, (user, session): (UserSegment, SessionSegment)) -> Result<Done> {
    caller.end_session(user.0, session.0).await?;
    Ok(Done)
}

pub(super) async fn end_all(caller: SuperUser, user: UserSegment) -> Result<Done> {
    caller.end_sessions(user.0).await?;
    Ok(Done)
}

pub(super) async fn end_of_application(caller: SuperUser, application: ApplicationSegment) -> Result<Done> {
    caller.end_sessions_of_application(application.0).await?;
    Ok(Done)
}

pub(super) async fn end_everyones(caller: SuperUser, (): ()) -> Result<Done> {
    caller.end_everyones_sessions().await?;
    Ok(Done)
}
