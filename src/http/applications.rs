//! Endpoints of applications.

use super::input::{ApplicationSegment, Body};
use super::reply::{self, Created, Done, Found, Items};
use crate::domain::application::{ApplicationView, SessionScope};
use crate::domain::text::Name;
use crate::error::{Code, Error, Result};
use crate::service::{SignUps, SuperUser};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An application to be registered.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ApplicationBody {
    /// Its name; unique without regard to case.
    name: String,
    /// Whose sessions it accepts: `shared` (the default) or `own-sessions`.
    session_scope: Option<SessionScope>,
    /// Whether every call through it must bear its key.
    #[serde(default)]
    is_key_required: bool,
    /// Whether people may sign up through it.
    #[serde(default)]
    is_sign_up_open: bool,
    /// Whether who signed up through it waits for a super-user's approval.
    #[serde(default)]
    is_sign_up_approval_needed: bool,
}

/// An application just registered.
#[derive(Serialize, JsonSchema)]
pub(super) struct NewApplicationBody {
    /// The application.
    #[serde(flatten)]
    application: ApplicationView,
    /// Its key. It is told this once.
    key: String,
}
impl reply::Body for NewApplicationBody {}

pub(super) async fn list(caller: SuperUser, (): ()) -> Result<Found<Items<ApplicationView>>> {
    Ok(Found(Items { items: caller.applications().await? }))
}

pub(super) async fn create(caller: SuperUser, Body(body): Body<ApplicationBody>) -> Result<Created<NewApplicationBody>> {
    let name = Name::try_from(body.name).map_err(|e| Error::new(Code::Invalid).at("name", e.to_string()))?;
    let scope = body.session_scope.unwrap_or(SessionScope::Shared);
    let sign_ups = SignUps { is_open: body.is_sign_up_open, is_approval_needed: body.is_sign_up_approval_needed };
    let (application, key) = caller.create_application(name, scope, body.is_key_required, sign_ups).await?;
    Ok(Created { body: NewApplicationBody { application, key: key.expose().to_owned() }, cookie: None })
}

pub(super) async fn delete(caller: SuperUser, application: ApplicationSegment) -> Result<Done> {
    caller.delete_application(application.0).await?;
    Ok(Done)
}
