//! Dialects: the wire formats of the systems that usher replaces, spoken so that their own clients work unchanged.
//!
//! A dialect is a translation and nothing else. Its routes stand in the one route table, behind the same gates; its handlers call the same
//! use cases, and what they answer is drawn from the same views. It has no rule of its own: what differs is spelling, also that of a refusal
//! ([`Dialect::refusal`]), which is what a client of that system meets on every unknown path and every broken body as well.

pub(super) mod connect;
pub(super) mod ecm;
pub(super) mod zato;

use super::reply::{Reply, problem};
use super::route::Route;
use crate::domain::audit::Action;
use crate::error::Error;
use crate::service::Context;
use crate::settings;

/// Whose wire format a route speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// usher's own, below `/api/v1`.
    Native,
    /// Zato SSO's, below `/zato/sso`.
    Zato,
    /// Posit Connect's, below `/__api__`, itself below any prefix.
    Connect,
    /// The ECM's, below `/ecm/security`.
    Ecm,
}

impl Dialect {
    /// The dialect that a path is in, whether or not anything answers there.
    pub fn of_path(path: &str, enabled: &settings::Dialects) -> Self {
        let below = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let dialect = if below("/zato/sso") {
            Self::Zato
        } else if below("/ecm/security") {
            Self::Ecm
        } else if path.split('/').any(|segment| segment == "__api__") {
            Self::Connect
        } else {
            Self::Native
        };
        if dialect.is_enabled(enabled) { dialect } else { Self::Native }
    }

    /// Whether the settings have it spoken.
    pub fn is_enabled(self, enabled: &settings::Dialects) -> bool {
        match self {
            Self::Native => true,
            Self::Zato => enabled.zato,
            Self::Connect => enabled.connect,
            Self::Ecm => enabled.ecm,
        }
    }

    /// A refusal or failure as a client of this dialect expects it. Of a failure on this side only the code is told, here as there.
    pub fn refusal(self, error: &Error, action: Action, cid: &str) -> Reply {
        match self {
            Self::Native => problem(error, cid),
            Self::Zato => zato::refusal(error, action, cid),
            Self::Connect => connect::refusal(error, action),
            Self::Ecm => ecm::refusal(error, cid),
        }
    }

    /// A call that speaks it, with what its clients are allowed. Zato's are told apart by what stands in their bodies.
    pub fn spoken(self, context: Context) -> Context {
        match self {
            Self::Native | Self::Zato => context,
            Self::Connect => context.in_connect(),
            Self::Ecm => context.in_ecm(),
        }
    }

    /// The pattern of paths under which a route is mounted.
    pub fn pattern(self, path: &str) -> String {
        match self {
            Self::Native | Self::Zato | Self::Ecm => path.to_owned(),
            // A client may have been given any URL that this service answers, whatever stands in its path.
            Self::Connect => format!("/{{mount:(?:.*/)?}}{}", path.trim_start_matches('/')),
        }
    }

    /// Whether a client's own correlation id is taken. Zato's clients are used to ids of one form.
    pub fn takes_cid(self, cid: &str) -> bool {
        match self {
            Self::Zato => cid.len() == self.cid_digits() && cid.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
            Self::Native | Self::Connect | Self::Ecm => true,
        }
    }

    /// The length of a fresh correlation id, in hex digits.
    pub fn cid_digits(self) -> usize {
        match self {
            Self::Zato => 24,
            Self::Native | Self::Connect | Self::Ecm => 32,
        }
    }
}

/// The routes of every dialect.
pub(super) fn tables() -> Vec<Route> {
    let speak = |dialect: Dialect, table: Vec<Route>| table.into_iter().map(move |route| Route { dialect, ..route });
    let tables = [(Dialect::Zato, zato::table()), (Dialect::Connect, connect::table()), (Dialect::Ecm, ecm::table())];
    tables.into_iter().flat_map(|(dialect, table)| speak(dialect, table)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_in_one_dialect() {
        let all = settings::Dialects { zato: true, connect: true, ecm: true };
        let none = settings::Dialects { zato: false, connect: false, ecm: false };
        for (path, dialect) in [
            ("/api/v1/users", Dialect::Native),
            ("/", Dialect::Native),
            ("/zato/sso", Dialect::Zato),
            ("/zato/sso/user/login", Dialect::Zato),
            ("/zato/ssonst", Dialect::Native),
            ("/__api__/v1/user", Dialect::Connect),
            ("/rsc/__api__/v1/user", Dialect::Connect),
            ("/x__api__/v1", Dialect::Native),
            ("/ecm/security/users", Dialect::Ecm),
            ("/ecm", Dialect::Native),
        ] {
            assert_eq!(Dialect::of_path(path, &all), dialect, "{path}");
            assert_eq!(Dialect::of_path(path, &none), Dialect::Native, "{path}");
        }
    }
}
