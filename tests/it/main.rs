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

mod access;
mod api_keys;
mod attributes;
mod audit;
mod backup;
mod bulk;
mod bulk_soak;
mod canary;
mod cheap;
mod clock_jumps;
mod coherence;
mod command_help;
mod command_json;
mod command_line;
mod confirm;
mod connect;
mod connect_faults;
mod connect_matrix;
mod connect_sdk;
mod deaths;
mod demanded_factor;
mod ecm;
mod ecm_matrix;
mod faults;
mod find;
mod floods;
mod full_disk;
mod groups;
mod hangs;
mod harness;
mod hook_commands;
mod hooks;
mod hooks_outside;
mod house;
mod mail;
mod matrix;
mod metrics;
mod moving_connect;
mod moving_ecm;
mod moving_zato;
mod names_gone;
mod nodes;
mod pages;
mod password_life;
mod password_reset;
mod peers;
mod person_data;
mod poolers;
mod proof_matrix;
mod proof_walk;
mod python_client;
mod refusals;
mod refused_start;
mod rotation;
mod row_macs;
mod second_factor;
mod second_factor_races;
mod session;
mod shown;
mod shutdown;
mod sign_in;
mod sign_up;
mod slow_clients;
mod starting;
mod story;
mod switch_over;
mod tidings;
mod tokens;
mod traces;
mod trail_foreign;
mod trail_held;
mod trail_tampered;
mod transport;
mod upgrading;
mod user_address;
mod users;
mod zato;
mod zato_calls;
mod zato_matrix;
mod zato_sign_in;
