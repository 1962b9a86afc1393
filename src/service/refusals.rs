//! Refusals of calls by nobody: beyond some a minute and address, one event stands for all further ones (S50).
//!
//! It is one of two exceptions to one event a call; docs/AUDIT.md names them. What is joined is counted here, in memory, and written every
//! ten seconds and when the service stops. Sign-ins, sign-ups and resets are never joined, unless the disk is nearly full.

use super::Services;
use super::context::{Call, Context};
use super::did::Did;
use crate::domain::audit::{Action, Actor, ActorType, Changes};
use crate::domain::throttle::network_of;
use crate::domain::time::Utc;
use crate::error::Result;
use crate::settings::Settings;
use crate::store::connection::Location;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The span in which refusals of an address are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// After this much time what was joined is written.
const WRITTEN_AFTER: Duration = Duration::from_secs(10);
/// Addresses that are counted apart at most; further ones share a count.
const MOST: usize = 10_000;
/// For so long a look at the disk is good.
const LOOK_STANDS: Duration = Duration::from_secs(1);

/// Calls that somebody may make to become somebody: each leaves an event of its own, refused or not.
const APART: &[Action] = &[
    Action::SignIn,
    Action::SignUp,
    Action::SignUpConfirm,
    Action::ResetRequest,
    Action::ResetSend,
    Action::ResetOpen,
    Action::ResetFinish,
    Action::AccountCheck,
];

/// What stands for further refusals of one address.
#[derive(Clone)]
struct Joined {
    count: u64,
    first: Utc,
    last: Utc,
    /// Over their correlation ids in the order in which they were refused, each with a line feed behind it.
    cids: Sha256,
}

/// What is counted of one address.
struct Tally {
    began: Utc,
    refused: u32,
    joined: Option<Joined>,
}

#[derive(Default)]
struct Tallies {
    /// By address, an IPv6 customer's /64; `None` is what does not fit any more.
    of: HashMap<Option<IpAddr>, Tally>,
    /// What could not be written, to be tried again.
    unwritten: Vec<(Option<IpAddr>, Joined)>,
}

/// The count of refusals, in the process.
pub(super) struct Refusals {
    /// Refusals of an address within a minute that have events of their own; 0: all.
    free: u32,
    disk: Option<Disk>,
    tallies: Mutex<Tallies>,
}

/// How much room the database's file system has.
struct Disk {
    folder: PathBuf,
    /// Free bytes below which nobody writes.
    least: u64,
    last: Mutex<Option<(Instant, bool)>>,
}

impl Disk {
    /// Whether there is little room left. Where that cannot be told there is enough.
    fn is_nearly_full(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((looked, is_nearly_full)) = *last
            && looked.elapsed() < LOOK_STANDS
        {
            return is_nearly_full;
        }
        let free = rustix::fs::statvfs(&self.folder).map(|of| of.f_bavail.saturating_mul(of.f_frsize));
        let is_nearly_full = free.is_ok_and(|free| free < self.least);
        if is_nearly_full && last.is_none_or(|(_, was)| !was) {
            tracing::warn!(folder = %self.folder.display(), "the disk is nearly full: sign-ups and resets are not taken");
        }
        *last = Some((Instant::now(), is_nearly_full));
        is_nearly_full
    }
}

impl Refusals {
    /// As the settings say.
    pub(super) fn of(settings: &Settings) -> Self {
        let location = Location::parse(&settings.database.url).ok();
        let folder = location.as_ref().and_then(Location::file).and_then(Path::parent);
        let folder = folder.map(|folder| if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() });
        Self::new(settings.audit.refusals_free, folder, settings.database.least_free_mib.saturating_mul(1024 * 1024))
    }

    /// `free`: refusals of an address within a minute that have events of their own; 0: all. `folder`: where the database's file is, if
    /// it is one; below `least` free bytes there nobody's calls write.
    fn new(free: u32, folder: Option<PathBuf>, least: u64) -> Self {
        let disk = folder.filter(|_| least > 0).map(|folder| Disk { folder, least, last: Mutex::default() });
        Self { free, disk, tallies: Mutex::default() }
    }

    /// Whether the disk has so little room that nobody is to write.
    pub(super) fn is_disk_nearly_full(&self) -> bool {
        self.disk.as_ref().is_some_and(Disk::is_nearly_full)
    }

    fn tallies(&self) -> MutexGuard<'_, Tallies> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a refusal of nobody's call; whether it is joined with others, so that it needs no event of its own.
    pub(super) fn join(&self, action: Action, address: Option<IpAddr>, cid: &str, now: Utc) -> bool {
        let is_tight = self.is_disk_nearly_full();
        let Some(address) = address.filter(|_| is_tight || (self.free > 0 && !APART.contains(&action))) else { return false };
        let tallies = &mut *self.tallies();
        let mut place = Some(network_of(address));
        if !tallies.of.contains_key(&place) && tallies.of.len() >= MOST {
            tallies.of.retain(|_, tally| tally.joined.is_some() || !tally.has_passed(now));
            if tallies.of.len() >= MOST {
                place = None;
            }
        }
        let tally = tallies.of.entry(place).or_insert(Tally { began: now, refused: 0, joined: None });
        if tally.has_passed(now) {
            (tally.began, tally.refused) = (now, 0);
        }
        tally.refused = tally.refused.saturating_add(1);
        if tally.refused <= self.free && !is_tight {
            return false;
        }
        let joined = tally.joined.get_or_insert_with(|| Joined { count: 0, first: now, last: now, cids: Sha256::new() });
        joined.count += 1;
        joined.last = joined.last.max(now);
        joined.cids.update(cid);
        joined.cids.update("\n");
        true
    }

    /// Takes what is to be written by now.
    fn due(&self, now: Utc, all: bool) -> Vec<(Option<IpAddr>, Joined)> {
        let tallies = &mut *self.tallies();
        let mut due = std::mem::take(&mut tallies.unwritten);
        for (address, tally) in &mut tallies.of {
            let is_due = |joined: &mut Joined| all || now >= joined.first + WRITTEN_AFTER || now < joined.first;
            due.extend(tally.joined.take_if(is_due).map(|joined| (*address, joined)));
        }
        tallies.of.retain(|_, tally| tally.joined.is_some() || !tally.has_passed(now));
        due
    }

    fn put_back(&self, address: Option<IpAddr>, joined: Joined) {
        let tallies = &mut *self.tallies();
        if tallies.unwritten.len() < MOST {
            tallies.unwritten.push((address, joined));
        } else {
            tracing::error!(target: "usher::audit", count = joined.count, "refusals were counted and could not be recorded");
        }
    }
}

impl Tally {
    /// Whether the minute is over, or the clock went back before it.
    fn has_passed(&self, now: Utc) -> bool {
        now >= self.began + WINDOW || now < self.began
    }
}

impl Services {
    /// Writes the events that stand for refusals, those that are due or all.
    ///
    /// # Errors
    /// The database fails; what was not written is kept for the next time.
    pub async fn write_refusals(&self, all: bool) -> Result<()> {
        let (now, refusals) = (self.inner.clock.now(), &self.inner.refusals);
        let mut outcome = Ok(());
        for (address, joined) in refusals.due(now, all) {
            let cid = format!("refusals-{:032x}", u128::from_be_bytes(self.inner.entropy.bytes()));
            let call = Call { remote_addr: address, ..Call::internal(now, cid, Action::AuditRefusals) };
            let context = Context::new(self.clone(), call);
            context.trail.set_actor(Actor { kind: ActorType::System, id: None, session: None });
            let digest: String = joined.cids.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            let told = json!({
                "count": joined.count, "first_time": joined.first, "last_time": joined.last, "cids_sha256": digest,
            });
            let did = Did::noted().changing(Changes::between(&Value::Null, &told));
            if let Err(error) = self.inner.store.record(context.event_of_one(did), false).await {
                refusals.put_back(address, joined);
                outcome = Err(error);
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Utc {
        Utc::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn beyond_the_free_ones_of_a_minute_they_are_joined() {
        let refusals = Refusals::new(2, None, 0);
        let address = Some("192.0.2.7".parse().unwrap());
        let join = |seconds, cid: &str| refusals.join(Action::Unrouted, address, cid, at(seconds));
        assert_eq!([join(0, "a"), join(1, "b"), join(2, "c"), join(3, "d")], [false, false, true, true]);
        assert!(!refusals.join(Action::SignIn, address, "e", at(4)));
        assert!(!refusals.join(Action::Unrouted, Some("192.0.2.8".parse().unwrap()), "f", at(4)));
        assert!(refusals.due(at(11), false).is_empty());
        let due = refusals.due(at(12), false);
        assert_eq!(due.len(), 1);
        assert_eq!((due[0].0, due[0].1.count, due[0].1.first, due[0].1.last), (address, 2, at(2), at(3)));
        assert_eq!(due[0].1.cids.clone().finalize(), Sha256::digest("c\nd\n"));
        assert!(!join(61, "g"));
    }

    /// S50: whoever has many addresses does not fill the memory.
    #[test]
    fn there_is_an_end_to_what_is_counted() {
        let refusals = Refusals::new(1, None, 0);
        for number in 0..2 * u32::try_from(MOST).unwrap() {
            refusals.join(Action::Unrouted, Some(IpAddr::V4(number.into())), "a", at(0));
        }
        assert!(refusals.tallies().of.len() <= MOST + 1);
        assert!(refusals.due(at(0), true).iter().any(|(address, joined)| address.is_none() && joined.count > 9000));
    }

    #[test]
    fn an_ipv6_customer_is_one_address() {
        let refusals = Refusals::new(1, None, 0);
        let join = |address: &str| refusals.join(Action::Unrouted, Some(address.parse().unwrap()), "a", at(0));
        assert_eq!([join("2001:db8::1"), join("2001:db8::2"), join("2001:db8:0:1::1")], [false, true, false]);
    }
}
