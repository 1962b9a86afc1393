//! Endpoints of users.

use super::input::{Body, Changes, IfMatch, Members, OptionalBody, UserSegment};
use super::reply::{Created, Done, Found, UserAnswer};
use super::sessions::NewSessionBody;
use crate::domain::attribute::Viewer;
use crate::domain::secret::Password;
use crate::domain::text::Line;
use crate::domain::time::Utc;
use crate::domain::user::ApprovalStatus;
use crate::error::{Code, Error, Result};
use crate::service::{Authenticated, NewUser, SignedIn, SuperUser};
use schemars::JsonSchema;
use serde::Deserialize;

pub(super) async fn current(caller: Authenticated, (): ()) -> Result<Found<UserAnswer>> {
    Ok(Found(UserAnswer::Written(caller.current_user().await?)))
}

pub(super) async fn by_id(caller: SuperUser, user: UserSegment) -> Result<Found<UserAnswer>> {
    Ok(Found(UserAnswer::new(caller.user(user.0).await?, Viewer::SuperUser)))
}

pub(super) async fn create(caller: SuperUser, Members(members): Members) -> Result<Created<UserAnswer>> {
    let new = NewUser::read(Viewer::SuperUser, members)?;
    let account = caller.create_user(new, "api").await?;
    Ok(Created { body: UserAnswer::new(account, Viewer::SuperUser), cookie: None })
}

pub(super) async fn update_current(
    caller: Authenticated,
    (IfMatch(tag), Changes(members)): (IfMatch, Changes),
) -> Result<Found<UserAnswer>> {
    let (account, viewer) = caller.update_current(&members, tag).await?;
    Ok(Found(UserAnswer::new(account, viewer)))
}

pub(super) async fn update(
    caller: SuperUser,
    (user, (IfMatch(tag), Changes(members))): (UserSegment, (IfMatch, Changes)),
) -> Result<Found<UserAnswer>> {
    Ok(Found(UserAnswer::new(caller.update(user.0, &members, tag).await?, Viewer::SuperUser)))
}

pub(super) async fn delete(caller: SuperUser, user: UserSegment) -> Result<Done> {
    caller.delete(user.0).await?;
    Ok(Done)
}

pub(super) async fn approve(caller: SuperUser, user: UserSegment) -> Result<Found<UserAnswer>> {
    Ok(Found(UserAnswer::new(caller.decide(user.0, ApprovalStatus::Approved).await?, Viewer::SuperUser)))
}

pub(super) async fn reject(caller: SuperUser, user: UserSegment) -> Result<Found<UserAnswer>> {
    Ok(Found(UserAnswer::new(caller.decide(user.0, ApprovalStatus::Rejected).await?, Viewer::SuperUser)))
}

/// Another's new password, or nothing: then a link is mailed by which the user sets one.
#[derive(Default, Deserialize, JsonSchema)]
pub(super) struct SetPasswordBody {
    /// The password.
    new_password: Option<Password>,
    /// The next sign-in must set another one.
    #[serde(default)]
    must_change: bool,
    /// When it expires.
    expiry: Option<Utc>,
}

pub(super) async fn set_password(
    caller: SuperUser,
    (user, OptionalBody(body)): (UserSegment, OptionalBody<SetPasswordBody>),
) -> Result<Found<UserAnswer>> {
    let SetPasswordBody { new_password, must_change, expiry } = body;
    let account = match new_password {
        Some(new) => caller.set_password(user.0, new, must_change, expiry).await?,
        // Both are about a password that somebody else chose.
        None if must_change => return Err(Error::new(Code::Invalid).at("must_change", "goes together with new_password only")),
        None if expiry.is_some() => return Err(Error::new(Code::Invalid).at("expiry", "goes together with new_password only")),
        None => caller.send_password_link(user.0).await?,
    };
    Ok(Found(UserAnswer::new(account, Viewer::SuperUser)))
}

/// Why an account is locked.
#[derive(Default, Deserialize, JsonSchema)]
pub(super) struct LockBody {
    /// The reason, one line.
    reason: Option<String>,
    /// Needed to lock oneself.
    #[serde(default)]
    force: bool,
}

pub(super) async fn lock(
    caller: SuperUser,
    (user, OptionalBody(body)): (UserSegment, OptionalBody<LockBody>),
) -> Result<Found<UserAnswer>> {
    let unfit = |e: crate::domain::text::Unfit| Error::new(Code::Invalid).at("reason", e.to_string());
    let reason = body.reason.map(Line::try_from).transpose().map_err(unfit)?;
    let account = caller.lock(user.0, reason, body.force).await?;
    Ok(Found(UserAnswer::new(account, Viewer::SuperUser)))
}

pub(super) async fn unlock(caller: SuperUser, user: UserSegment) -> Result<Found<UserAnswer>> {
    Ok(Found(UserAnswer::new(caller.unlock(user.0).await?, Viewer::SuperUser)))
}

/// A change of one's own password.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ChangePasswordBody {
    /// The password so far.
    old_password: Password,
    /// The password from now on.
    new_password: Password,
}

pub(super) async fn change_password(caller: SignedIn, Body(body): Body<ChangePasswordBody>) -> Result<Found<NewSessionBody>> {
    Ok(Found(caller.change_password(body.old_password, body.new_password).await?.into()))
}
