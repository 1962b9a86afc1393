//! Guessing slowed down: the arithmetic of lock-out.
//!
//! A *bucket* counts the failures of one account, of one account from one network, from one device or address that it is known to be used
//! from, of a name that nobody bears, or of one network address. Failures are counted **before** the secret is verified and taken back if it was right, so parallel guesses cannot
//! overtake the count. From a bucket's `free`th failure on, the bucket is blocked for a time that doubles with each failure up to
//! a limit; while it is blocked nothing is verified, so a right password does not help either.

use super::ids::UserId;
use super::time::Utc;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::time::Duration;

mod schema {
    #![expect(missing_docs, reason = "the columns are documented where they become fields")]

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        throttles (bucket) {
            bucket -> Binary,
            user_id -> Nullable<sql::Uuid>,
            failures -> BigInt,
            last_time -> sql::Instant,
            blocked_until -> Nullable<sql::Instant>,
        }
    }
}
pub use schema::throttles;

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// An account, by its id: however its name was typed.
    Account(UserId),
    /// A device that has signed in to an account before: its own count, so that strangers cannot lock the owner out.
    Device(UserId, [u8; 16]),
    /// An account, from one network that it is not known to be used from: an IPv4 /24, an IPv6 /64.
    From(UserId, Option<IpAddr>),
    /// An account, from an address from which it was signed in to lately: its own count, like a device's.
    Known(UserId, IpAddr),
    /// A name that nobody bears: it must behave like an account.
    Unknown(String),
    /// The same from one network.
    UnknownFrom(String, Option<IpAddr>),
    /// An IPv4 address, or the /64 of an IPv6 address.
    Address(IpAddr),
    /// What is asked for from an address without signing in: sign-ups and links. Counted apart from guesses.
    Asking(IpAddr),
    /// The mail that strangers bring upon one mailbox, by the key of its address.
    Mailbox(String),
}

impl Bucket {
    /// The bucket of attempts on the account of `user`, from a device that has or has not signed in to it before, or by the name of
    /// nobody.
    pub fn of_attempts(user: Option<UserId>, device: Option<[u8; 16]>, name_key: &str) -> Self {
        match (user, device) {
            (Some(user), Some(device)) => Self::Device(user, device),
            (Some(user), None) => Self::Account(user),
            (None, _) => Self::Unknown(name_key.to_owned()),
        }
    }

    /// The same attempts from the network of `address` alone; `None` where they have a count of their own already.
    pub fn from_network(&self, address: Option<IpAddr>) -> Option<Self> {
        let network = address.map(wide_network_of);
        match self {
            Self::Account(user) => Some(Self::From(*user, network)),
            Self::Unknown(name) => Some(Self::UnknownFrom(name.clone(), network)),
            Self::Device(..) | Self::From(..) | Self::Known(..) | Self::UnknownFrom(..) => None,
            Self::Address(_) | Self::Asking(_) | Self::Mailbox(_) => None,
        }
    }

    /// The bucket of an account at an address from which it was signed in to lately.
    pub fn at_known(user: UserId, address: IpAddr) -> Self {
        Self::Known(user, network_of(address))
    }

    /// The bucket of an address.
    pub fn of_address(address: IpAddr) -> Self {
        Self::Address(network_of(address))
    }

    /// The bucket of what is asked for from an address.
    pub fn of_asking(address: IpAddr) -> Self {
        Self::Asking(network_of(address))
    }

    /// The user whose account it counts for.
    pub fn user_id(&self) -> Option<UserId> {
        match self {
            Self::Account(user) | Self::Device(user, _) | Self::From(user, _) | Self::Known(user, _) => Some(*user),
            Self::Unknown(_) | Self::UnknownFrom(..) | Self::Address(_) | Self::Asking(_) | Self::Mailbox(_) => None,
        }
    }

    /// The key under which the database counts: a hash, so that it holds no names and no addresses.
    pub fn key(&self) -> Vec<u8> {
        let hash = match self {
            Self::Account(user) => Sha256::new().chain_update(b"account").chain_update(user.as_bytes()),
            Self::Device(user, device) => {
                Sha256::new().chain_update(b"device").chain_update(user.as_bytes()).chain_update(device)
            }
            Self::From(user, network) => {
                Sha256::new().chain_update(b"account from").chain_update(user.as_bytes()).chain_update(text_of(*network))
            }
            Self::Known(user, address) => {
                Sha256::new().chain_update(b"account at").chain_update(user.as_bytes()).chain_update(address.to_string())
            }
            Self::UnknownFrom(name, network) => {
                let network = text_of(*network);
                Sha256::new().chain_update(b"unknown from").chain_update(network).chain_update([0]).chain_update(name)
            }
            Self::Unknown(name) => Sha256::new().chain_update(b"unknown").chain_update(name),
            Self::Address(address) => Sha256::new().chain_update(b"address").chain_update(address.to_string()),
            Self::Asking(address) => Sha256::new().chain_update(b"asking").chain_update(address.to_string()),
            Self::Mailbox(key) => Sha256::new().chain_update(b"mailbox").chain_update(key),
        };
        hash.finalize().to_vec()
    }
}

/// The text that stands for a network, or for none.
fn text_of(network: Option<IpAddr>) -> String {
    network.map(|network| network.to_string()).unwrap_or_default()
}

/// The network that is steeply slowed down on one account: an IPv4 /24, or the /64 of an IPv6 customer.
fn wide_network_of(address: IpAddr) -> IpAddr {
    match network_of(address) {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) & 0xffff_ff00).into()),
        v6 @ IpAddr::V6(_) => v6,
    }
}

/// What is counted of an address: itself, or the /64 that an IPv6 customer has.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => IpAddr::V6((u128::from(v6) & (u128::MAX << 64)).into()),
        },
    }
}

/// How a kind of bucket is slowed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// From this failure on there is a delay.
    pub free: i64,
    /// The delay after that failure; each further failure doubles it.
    pub first_delay: Duration,
    /// The longest delay.
    pub longest_delay: Duration,
    /// Failures are forgotten after this much time without one; `None`: only a success forgets them.
    pub forgotten_after: Option<Duration>,
}

/// A bucket's count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Failures, attempts in flight included.
    pub failures: i64,
    /// When the last attempt was counted.
    pub last_time: Utc,
    /// Until when nothing is verified.
    pub blocked_until: Option<Utc>,
}

impl Rule {
    /// Counts an attempt at `now`. `Err` tells until when the bucket is blocked; such an attempt is not counted.
    pub fn attempt(&self, tally: Option<Tally>, now: Utc) -> Result<Tally, Utc> {
        let mut tally = tally.unwrap_or(Tally { failures: 0, last_time: now, blocked_until: None });
        if let Some(until) = tally.blocked_until.filter(|until| now < *until) {
            return Err(until);
        }
        if self.forgotten_after.is_some_and(|span| tally.last_time + span <= now) {
            tally.failures = 0;
        }
        tally.failures += 1;
        tally.last_time = now;
        tally.blocked_until = self.delay(tally.failures).map(|delay| now + delay);
        Ok(tally)
    }

    /// Takes one attempt back that turned out to be no failure.
    pub fn take_back(&self, mut tally: Tally) -> Tally {
        tally.failures = (tally.failures - 1).max(0);
        if tally.failures < self.free {
            tally.blocked_until = None;
        }
        tally
    }

    fn delay(&self, failures: i64) -> Option<Duration> {
        let beyond = u32::try_from(failures.checked_sub(self.free)?).ok()?;
        let delay = self.first_delay.saturating_mul(2u32.saturating_pow(beyond));
        Some(delay.min(self.longest_delay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule =
        Rule { free: 5, first_delay: Duration::from_secs(1), longest_delay: Duration::from_secs(900), forgotten_after: None };

    /// S7: an exponential delay from the fifth failure on.
    #[test]
    fn delays_double_from_the_fifth_failure() {
        let mut now = Utc::from_micros(0);
        let mut tally = None;
        let mut delays = Vec::new();
        for _ in 0..18 {
            let counted = RULE.attempt(tally, now).unwrap();
            delays.push(counted.blocked_until.map_or(0, |until| until.since(now).as_secs()));
            if let Some(until) = counted.blocked_until {
                assert_eq!(RULE.attempt(Some(counted), until - Duration::from_micros(1)), Err(until));
                now = until;
            }
            tally = Some(counted);
        }
        assert_eq!(delays, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900]);
    }

    /// S7: an IPv6 customer has a /64, not an address.
    #[test]
    fn addresses_of_one_network_share_a_bucket() {
        let key = |text: &str| Bucket::of_address(text.parse().unwrap()).key();
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:0:0:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        let from = |text: &str| Bucket::Unknown("a".to_owned()).from_network(text.parse().ok()).unwrap().key();
        assert_eq!(from("192.0.2.1"), from("192.0.2.255"));
        assert_ne!(from("192.0.2.1"), from("192.0.3.1"));
        assert_ne!(from("2001:db8::1"), from("2001:db8:0:1::1"));
    }
}
