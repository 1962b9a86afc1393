//! What every request finds at hand.

use super::meter::Meter;
use crate::domain::span::Spans;
use crate::service::Services;
use crate::settings;
use ipnet::IpNet;
use std::sync::Arc;

/// What every request needs.
pub struct Desk {
    pub(super) services: Services,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) dialects: settings::Dialects,
    /// Who is told of requests, if anyone is.
    pub(super) spans: Option<Arc<dyn Spans>>,
    /// The OpenAPI document.
    pub(super) document: String,
    /// Of calls to a path that has no endpoint for their method.
    pub(super) other_method: Meter,
    /// Of calls to no path of the table.
    pub(super) no_route: Meter,
}
