//! Endpoints of the networks that a user may come from.

use super::input::{Body, UserSegment};
use super::reply::{self, Found};
use crate::domain::network::Networks;
use crate::error::{Code, Error, Result};
use crate::service::SuperUser;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Networks to come from, such as `10.0.0.0/8` or `2001:db8::/32`; none is anywhere.
#[derive(Deserialize, JsonSchema)]
pub(super) struct NetworksBody {
    /// The networks.
    networks: Vec<String>,
}

/// The networks that a user may come from.
#[derive(Serialize, JsonSchema)]
pub(super) struct NetworksAnswer {
    /// The networks; empty is anywhere.
    networks: Networks,
}

impl reply::Body for NetworksAnswer {}

/// Reads the networks of a member.
pub(super) fn read(member: &'static str, texts: &[String]) -> Result<Networks> {
    Networks::parse(texts).map_err(|flaw| Error::new(Code::Invalid).at(member, flaw))
}

pub(super) async fn of_user(caller: SuperUser, user: UserSegment) -> Result<Found<NetworksAnswer>> {
    Ok(Found(NetworksAnswer { networks: caller.networks_of(user.0).await? }))
}

pub(super) async fn set(
    caller: SuperUser,
    (user, Body(body)): (UserSegment, Body<NetworksBody>),
) -> Result<Found<NetworksAnswer>> {
    let networks = read("networks", &body.networks)?;
    Ok(Found(NetworksAnswer { networks: caller.set_networks(user.0, networks).await? }))
}
