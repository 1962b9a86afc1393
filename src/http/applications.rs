//! Endpoints of applications.

use super::input::{ApplicationSegment, Body};
use super::reply::{self, Created, Done, Found, Items};
use crate::domain::application::{ApplicationView, SessionScope};
use crate::domain::text::Name;
use crate::error::{Code, Error, Result};
use crate::service::SuperUser;
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
    /// Whether it is believed, with its key, when it tells from which address its users come (`X-User-Address`).
    #[serde(default)]
    may_set_remote_addr: bool,
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
    let ApplicationBody { name, session_scope, is_key_required, may_set_remote_addr } = body;
    let name = Name::try_from(name).map_err(|e| Error::new(Code::Invalid).at("name", e.to_string()))?;
    let scope = session_scope.unwrap_or(SessionScope::Shared);
    let (application, key) = caller.create_application(name, scope, is_key_required, may_set_remote_addr).await?;
    Ok(Created { body: NewApplicationBody { application, key: key.expose().to_owned() }, cookie: None })
}

pub(super) async fn delete(caller: SuperUser, application: ApplicationSegment) -> Result<Done> {
    caller.delete_application(application.0).await?;
    Ok(Done)
}
