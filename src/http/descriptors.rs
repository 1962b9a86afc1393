//! File descriptors: how many the process may have, and how many connections these carry.
//!
//! The usual limit of a process is 1,024, and what the system would allow is far more: it is raised to that at the start. What the limit
//! does not carry even so is taken from the connections, never from the database: a service that cannot open its database answers nobody.

use crate::settings::Server;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What one connection takes: its socket, and the hold that [`super::crowd`] has on it.
const OF_A_CONNECTION: u64 = 2;

/// What is left for everything that is no connection: standard streams, sockets that listen, polls and wakers of each thread, files of the
/// trail's and the log's, connections to mail servers and receivers of hooks.
const OF_THE_REST: u64 = 96;

/// What one reader of the database takes at most: on SQLite the file, its log and their index, or a file for what does not fit in memory.
const OF_A_READER: u64 = 4;

/// Fewer connections than these are no service.
const FEWEST: usize = 16;

/// Raises the limit to what the system allows, and tells what it is then; `None`: there is none.
fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(cause) => {
            tracing::warn!(%cause, limit = current, "the limit of open files is not raised");
            current
        }
    }
}

/// Sees to it that there are descriptors for what the settings allow, or lowers what they allow.
///
/// # Errors
/// One line: there are too few for any service.
pub fn fit(settings: &Server, readers: u32) -> Result<Server, String> {
    let Some(limit) = raise() else { return Ok(settings.clone()) };
    let fitted = within(settings, limit, readers)?;
    let Server { max_connections, max_connections_per_address, .. } = fitted;
    if (max_connections, max_connections_per_address) != (settings.max_connections, settings.max_connections_per_address) {
        tracing::warn!(
            limit,
            max_connections,
            max_connections_per_address,
            "the limit of open files carries fewer connections than the settings allow"
        );
    }
    Ok(fitted)
}

/// What of the settings a limit carries.
fn within(settings: &Server, limit: u64, readers: u32) -> Result<Server, String> {
    let reserve = OF_THE_REST + OF_A_READER * u64::from(readers);
    let carried = limit.saturating_sub(reserve) / OF_A_CONNECTION;
    let carried = usize::try_from(carried).unwrap_or(usize::MAX);
    if carried >= settings.max_connections {
        return Ok(settings.clone());
    }
    if carried < FEWEST {
        return Err(format!(
            "the limit of {limit} open files (ulimit -n) leaves none for connections: {reserve} are kept for the rest"
        ));
    }
    // One address alone must leave room for others.
    let max_connections_per_address = settings.max_connections_per_address.min(carried / 2);
    Ok(Server { max_connections: carried, max_connections_per_address, ..settings.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S50: what the limit does not carry is taken from the connections, and one address never has them all.
    #[test]
    fn connections_are_what_the_limit_carries() {
        let settings = crate::settings::parse("").unwrap().server;
        let fit = |limit| within(&settings, limit, 8).map(|s| (s.max_connections, s.max_connections_per_address));
        assert_eq!(fit(1 << 20), Ok((10_000, 1_000)));
        assert_eq!(fit(1_024), Ok((448, 224)));
        assert!(fit(128).unwrap_err().contains("128 open files"));
        let few = Server { max_connections: 100, max_connections_per_address: 100, ..settings.clone() };
        assert_eq!(within(&few, 1_024, 8).unwrap().max_connections_per_address, 100);
    }
}
