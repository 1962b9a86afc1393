//! usher: SSO identity service.
//!
//! One crate, one direction of imports:
//!
//! ```text
//! main → cli → app → http → service → { auth, store, outbound } → domain
//! ```
//!
//! A module may use what stands to its right, never what stands to its left; `auth`, `store` and `outbound` do not know each other; `cli` calls
//! `service` as `http` does. [`error`] and [`settings`] are leaves that anyone may use. `tests/it/house.rs` holds this.

pub mod app;
pub mod auth;
pub mod cli;
pub mod domain;
pub mod error;
pub mod http;
pub mod outbound;
pub mod service;
pub mod settings;
pub mod store;
