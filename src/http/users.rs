//! Endpoints of users.

use super::input::{Body, Members, OptionalBody, UserSegment};
use super::reply::{Created, Found, UserAnswer};
use super::sessions::NewSessionBody;
use crate::domain::attribute::Viewer;
use crate::domain::secret::Password;
use crate::domain::text::Line;
use crate::error::{Code, Error, Result};
use crate::service::{NewUser, SignedIn, SuperUser};
use schemars::JsonSchema;
use serde::Deserialize;

pub(super) async fn current(caller: SignedIn, (): ()) -> Result<Found<UserAnswer>> {
    let (account, viewer) = caller.current_user().await?;
    Ok(Found(UserAnswer::new(account, viewer)))
}

pub(super) async fn by_id(caller: SuperUser, user: UserSegment) -> Result<Found<UserAnswer>> {
    Ok(Found(UserAnswer::new(caller.user(user.0).await?, Viewer::SuperUser)))
}

pub(super) async fn create(caller: SuperUser, Members(members): Members) -> Result<Created<UserAnswer>> {
    let new = NewUser::read(Viewer::SuperUser, members)?;
    let account = caller.create_user(new, "api").await?;
    Ok(Created { body: UserAnswer::new(account, Viewer::SuperUser), cookie: None })
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
