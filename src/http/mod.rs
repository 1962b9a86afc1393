//! HTTP: from requests to callers and use cases, and back.
//!
//! Every request takes one way, `answer::answer`: it is received (correlation id, address, limits), its route's *gate* makes the caller
//! out of it, its input is read, the handler calls a use case, the audit event is written, and only then the answer goes out. A handler
//! gets its caller from the gate and has no other way to the services, so an endpoint without a check cannot be written.
//!
//! [`routes::table`] is the one list of endpoints: routing, the OpenAPI document and the tests read it.

mod address;
mod answer;
mod api_keys;
mod applications;
mod audit_events;
mod bulk;
mod crowd;
mod custom_attributes;
mod descriptors;
mod desk;
mod dialect;
mod docs;
mod find;
mod gate;
mod groups;
mod health;
mod hooks;
mod input;
mod meter;
mod metrics;
mod misfit;
mod networks;
mod openapi;
#[doc(hidden)]
pub mod outside;
mod pages;
mod password_resets;
mod reply;
mod route;
mod routes;
mod schema;
mod second_factor;
mod server;
mod sessions;
mod sign_ups;
mod spool;
mod tokens;
mod users;
mod views;

pub use descriptors::fit as fit_descriptors;
pub use dialect::Dialect;
pub use gate::GateKind;
pub use route::Route;
pub use routes::table;
pub use server::{ListenError, Running, start};

/// The OpenAPI document.
pub fn document() -> serde_json::Value {
    openapi::document(&table())
}
