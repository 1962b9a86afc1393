//! What every request finds at hand.

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
}
