//! Probes for supervisors and load balancers.

use super::gate::Probe;
use super::reply::Found;
use crate::error::Result;
use schemars::JsonSchema;
use serde::Serialize;

/// How the service fares.
#[derive(Serialize, JsonSchema)]
pub(super) struct HealthBody {
    /// `ok`.
    status: &'static str,
}

impl super::reply::Body for HealthBody {}

pub(super) async fn alive(_: Probe, (): ()) -> Result<Found<HealthBody>> {
    Ok(Found(HealthBody { status: "ok" }))
}

/// The keys and migrations were checked when the store was opened; what can go away since is the database, and the room for its growth.
pub(super) async fn ready(Probe(context): Probe, (): ()) -> Result<Found<HealthBody>> {
    context.services().is_ready().await?;
    Ok(Found(HealthBody { status: "ok" }))
}
