//! What every request finds at hand.

use super::meter::Meter;
use crate::service::Services;
use crate::settings;
use ipnet::IpNet;

/// What every request needs.
pub struct Desk {
    pub(super) services: Services,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) dialects: settings::Dialects,
    /// The OpenAPI document.
    pub(super) document: String,
    /// Of calls to a path that has no endpoint for their method.
    pub(super) other_method: Meter,
    /// Of calls to no path of the table.
    pub(super) no_route: Meter,
}
