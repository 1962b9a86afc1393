//! What things are: users, sessions, applications, audit events, and the rules about them that need neither the web nor SQL.
//!
//! Types in here may derive how they are read from and written to a row; nothing in here runs a query.

pub mod account_event;
pub mod api_key;
pub mod application;
pub mod attribute;
pub mod audit;
pub mod bulk;
pub mod chance;
pub mod connect_user;
pub mod credential;
pub mod custom_attribute;
pub mod ecm;
pub mod ecm_export;
pub mod group;
pub mod hook;
pub mod ids;
pub mod letter;
pub mod link;
pub mod linked_account;
pub mod meter;
pub mod ndjson;
pub mod network;
pub mod notice;
pub mod outbox;
pub mod own_event;
pub mod precondition;
pub mod raw;
pub mod row_mac;
pub mod secret;
pub mod session;
pub mod shown;
pub mod signed_token;
pub mod signing_key;
pub mod span;
pub mod sql;
pub mod standing;
pub mod text;
pub mod throttle;
pub mod time;
pub mod token_key;
pub mod user;
pub(crate) mod words;
pub mod zato;
pub mod zato_attribute;
pub mod zato_user;
