//! What every request finds at hand.

use super::meter::Meter;
use super::{openapi, routes};
use crate::domain::span::Spans;
use crate::service::Services;
use crate::settings;
use ipnet::IpNet;
use std::sync::{Arc, OnceLock};

/// What every request needs.
pub struct Desk {
    pub(super) services: Services,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) dialects: settings::Dialects,
    /// Who is told of requests, if anyone is.
    pub(super) spans: Option<Arc<dyn Spans>>,
    /// The OpenAPI document, once somebody has asked for it: making it is a good part of a start.
    pub(super) document: OnceLock<String>,
    /// Of calls to a path that has no endpoint for their method.
    pub(super) other_method: Meter,
    /// Of calls to no path of the table.
    pub(super) no_route: Meter,
}

impl Desk {
    /// The OpenAPI document of the routes that are served.
    pub(super) fn document(&self) -> &str {
        self.document.get_or_init(|| openapi::document(&routes::served(&self.dialects)).to_string())
    }
}
