//! Who sits at the command line: `user@host`, by the process's user id, which cannot be set by a variable.

use crate::service::Operator;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// The operator of this process.
pub(super) fn current() -> Operator {
    let uid = fs::metadata("/proc/self").map(|m| m.uid()).ok();
    let user = uid.map_or_else(|| "unknown".to_owned(), |uid| user_of(uid).unwrap_or_else(|| uid.to_string()));
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    Operator(format!("{user}@{}", if host.is_empty() { "localhost" } else { host }))
}

fn user_of(uid: u32) -> Option<String> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let of = |line: &str| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id.parse() == Ok(uid)).then(|| name.to_owned())
    };
    passwd.lines().find_map(of)
}
