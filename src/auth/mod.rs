//! Proving who one is: one file for each thing that is proved or that protects the proof.

pub mod breached;
pub mod data_key;
pub mod fernet;
pub mod hashing;
pub mod keys;
pub mod mark_file;
pub mod policy;
pub mod recovery_code;
pub mod signing;
pub mod stored_hash;
pub mod totp;
