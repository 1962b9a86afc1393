//! What clients ask of the service itself.

use super::answer::Told;
use crate::error::Result;
use crate::service::Authenticated;
use serde_json::json;

pub(super) async fn settings(caller: Authenticated, (): ()) -> Result<Told> {
    Ok(Told(json!({"version": caller.connect_version()})))
}

pub(super) async fn content(_: Authenticated, (): ()) -> Result<Told> {
    Ok(Told(json!([])))
}
