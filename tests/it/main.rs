//! Tests from outside: through HTTP and the command line, on SQLite and on PostgreSQL alike.
//!
//! `both! { fn name(engine) { … } }` makes two tests of one. A [`Town`](harness::Town) is a service with a database and a clock of its own;
//! actors are clients: `town.anon()`, `town.user("ann")`, `town.root()`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that panics has said what is wrong"
)]

mod attributes;
mod audit;
mod canary;
mod command_help;
mod command_json;
mod command_line;
mod faults;
mod find;
mod groups;
mod harness;
mod house;
mod matrix;
mod peers;
mod refused_start;
mod session;
mod sign_in;
mod starting;
mod transport;
mod users;
