//! Endpoints of applications.

use super::input::{ApplicationSegment, Body, given};
use super::networks;
use super::reply::{self, Created, Done, Found, Items};
use crate::domain::application::{Access, ApplicationPatch, ApplicationView, Roles, SecondFactorRule, SessionScope};
use crate::domain::ids::GroupId;
use crate::domain::secret::ApplicationKey;
use crate::domain::text::Name;
use crate::error::{Code, Error, Result};
use crate::service::SuperUser;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What of an application may be set.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SettingsBody {
    /// Whose sessions it accepts: `shared` (the default) or `own-sessions`.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "SessionScope")]
    session_scope: Option<SessionScope>,
    /// Whether every call through it must bear its key.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "bool")]
    is_key_required: Option<bool>,
    /// Whether it is believed, with its key, when it tells from which address its users come (`X-User-Address`).
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "bool")]
    may_set_remote_addr: Option<bool>,
    /// Of whom it demands a second factor: `as_set` (the default), as the settings do, or `required`, of everyone.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "SecondFactorRule")]
    second_factor: Option<SecondFactorRule>,
    /// Who may use it: `everyone` (the default), or `listed`: users of the roles and members of the groups that follow, else nobody.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Access")]
    access: Option<Access>,
    /// The roles that may use it, where it is `listed`.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Roles")]
    allowed_roles: Option<Roles>,
    /// The ids of the groups whose members may use it, where it is `listed`; 64 at most.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Vec<String>")]
    allowed_groups: Option<Vec<String>>,
    /// The networks that calls through it may come from, such as `10.0.0.0/8`; 64 at most. None is anywhere.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Vec<String>")]
    allowed_networks: Option<Vec<String>>,
    /// Whether people may sign up through it.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "bool")]
    is_sign_up_open: Option<bool>,
    /// Whether who signed up through it waits for a super-user's approval.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "bool")]
    is_sign_up_approval_needed: Option<bool>,
}

/// An application to be registered.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ApplicationBody {
    /// Its name; unique without regard to case.
    name: String,
    #[serde(flatten)]
    settings: SettingsBody,
}

/// A change of an application (RFC 7396).
#[derive(Deserialize, JsonSchema)]
pub(super) struct ApplicationChanges {
    /// Its name; unique without regard to case.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "String")]
    name: Option<String>,
    #[serde(flatten)]
    settings: SettingsBody,
}

/// An application with a key just made.
#[derive(Serialize, JsonSchema)]
pub(super) struct NewApplicationBody {
    /// The application.
    #[serde(flatten)]
    application: ApplicationView,
    /// Its key. It is told this once.
    key: String,
}
impl reply::Body for NewApplicationBody {}
impl reply::Body for ApplicationView {}

impl From<(ApplicationView, ApplicationKey)> for NewApplicationBody {
    fn from((application, key): (ApplicationView, ApplicationKey)) -> Self {
        Self { application, key: key.expose().to_owned() }
    }
}

fn read_name(name: String) -> Result<Name> {
    Name::try_from(name).map_err(|e| Error::new(Code::Invalid).at("name", e.to_string()))
}

impl SettingsBody {
    fn read(self) -> Result<ApplicationPatch> {
        let no_group =
            |_| Error::new(Code::Invalid).because("group_unknown").at("allowed_groups", "names a group that does not exist");
        let group_ids =
            |texts: Vec<String>| texts.iter().map(|text| text.parse()).collect::<std::result::Result<Vec<GroupId>, _>>();
        Ok(ApplicationPatch {
            name: None,
            session_scope: self.session_scope,
            is_key_required: self.is_key_required,
            may_set_remote_addr: self.may_set_remote_addr,
            second_factor: self.second_factor,
            access: self.access,
            allowed_roles: self.allowed_roles,
            allowed_groups: self.allowed_groups.map(group_ids).transpose().map_err(no_group)?,
            allowed_networks: self.allowed_networks.map(|texts| networks::read("allowed_networks", &texts)).transpose()?,
            is_sign_up_open: self.is_sign_up_open,
            is_sign_up_approval_needed: self.is_sign_up_approval_needed,
        })
    }
}

pub(super) async fn list(caller: SuperUser, (): ()) -> Result<Found<Items<ApplicationView>>> {
    Ok(Found(Items { items: caller.applications().await? }))
}

pub(super) async fn create(caller: SuperUser, Body(body): Body<ApplicationBody>) -> Result<Created<NewApplicationBody>> {
    let new = ApplicationPatch { name: Some(read_name(body.name)?), ..body.settings.read()? };
    Ok(Created { body: caller.create_application(new).await?.into(), cookie: None })
}

pub(super) async fn by_id(caller: SuperUser, application: ApplicationSegment) -> Result<Found<ApplicationView>> {
    Ok(Found(caller.application(application.0).await?))
}

pub(super) async fn update(
    caller: SuperUser,
    (application, Body(body)): (ApplicationSegment, Body<ApplicationChanges>),
) -> Result<Found<ApplicationView>> {
    let patch = ApplicationPatch { name: body.name.map(read_name).transpose()?, ..body.settings.read()? };
    Ok(Found(caller.update_application(application.0, patch).await?))
}

pub(super) async fn renew_key(caller: SuperUser, application: ApplicationSegment) -> Result<Created<NewApplicationBody>> {
    Ok(Created { body: caller.renew_application_key(application.0).await?.into(), cookie: None })
}

pub(super) async fn delete(caller: SuperUser, application: ApplicationSegment) -> Result<Done> {
    caller.delete_application(application.0).await?;
    Ok(Done)
}
