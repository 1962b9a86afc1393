//! Lock-out: one place where guesses are counted, whatever secret is guessed and whichever way in is used (S9).
//!
//! [`Lockout::begin`] counts an attempt before anything is verified, [`Lockout::succeed`] takes it back. What lies between happens for
//! at most [`AT_ONCE`] attempts on one account at a time on this node: without that, a crowd of right sign-ins of one account would
//! count as a crowd of guesses until they are settled.

use crate::domain::ids::UserId;
use crate::domain::secret::MacKey;
use crate::domain::throttle::{Bucket, Rule, Tally, network_of};
use crate::domain::time::Utc;
use crate::error::{Code, Error, Result};
use crate::settings;
use crate::store::Tx;
use crate::store::error::StoreError;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Attempts on one account that may be under way at once on one node: on two nodes still fewer than what brings a delay.
const AT_ONCE: usize = 2;

/// How many more may stand in line for one account: whoever comes then is told to come back, as where the hashing threads have no place.
const LINE: usize = 256;

/// Consecutive failures of an account from which on there is a delay where clients are given more of them.
const LENIENT_FREE: i64 = 25;

/// Consecutive failures of an account from all networks that have no count of their own, from which on there is a delay whoever tries, and
/// how long it becomes at most: strangers bring an owner who is somewhere new no more than that.
const OVERALL_FREE: i64 = 20;
const OVERALL_LONGEST: Duration = Duration::from_secs(10);

/// How long an address is known after a sign-in from it, and how many addresses of one account are.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const MOST_KNOWN: i64 = 20;
/// A sign-in from an address that is known writes it down again after so much time.
const KNOWN_ANEW: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a bucket is kept after its last attempt: longer than any delay.
pub const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The rules in force, and the attempts under way.
#[derive(Clone)]
pub struct Lockout {
    account: Rule,
    lenient: Rule,
    overall: Rule,
    address: Rule,
    asking: Rule,
    mailbox: Rule,
    lock_after: i64,
    /// Under which addresses are known.
    addresses: MacKey,
    under_way: Arc<Mutex<HashMap<Vec<u8>, Arc<Semaphore>>>>,
}

/// A bucket that an attempt counts in.
#[derive(Clone, Debug)]
struct Counted {
    key: Vec<u8>,
    user_id: Option<UserId>,
    rule: Rule,
}

/// The tallies that an attempt leaves, one for each bucket; or until when it is blocked.
type Judged = Result<Vec<Tally>, Utc>;

/// An attempt that was counted.
#[derive(Debug)]
pub struct Attempt {
    account: Vec<Counted>,
    address: Option<Counted>,
    /// Its place among those under way; given up when the attempt is settled.
    _place: OwnedSemaphorePermit,
    /// Consecutive failures of the account, this one included.
    pub failures: i64,
}

impl Lockout {
    /// With these settings; `addresses` are known under this key.
    pub fn new(settings: &settings::Lockout, links: &settings::Links, addresses: MacKey) -> Self {
        let seconds = |s: u32| Duration::from_secs(s.into());
        let account = Rule {
            free: settings.account_free.into(),
            first_delay: seconds(settings.first_delay_seconds),
            longest_delay: seconds(settings.longest_delay_seconds),
            forgotten_after: None,
        };
        let address = Rule {
            free: settings.address_free.into(),
            forgotten_after: Some(seconds(settings.address_window_seconds)),
            ..account
        };
        let lenient = Rule { free: account.free.max(LENIENT_FREE), ..account };
        let overall = Rule {
            free: account.free.max(OVERALL_FREE),
            longest_delay: account.longest_delay.min(OVERALL_LONGEST),
            first_delay: account.first_delay.min(OVERALL_LONGEST),
            ..account
        };
        let asking =
            Rule { free: links.asking_free.into(), forgotten_after: Some(seconds(links.asking_window_seconds)), ..account };
        let mailbox = Rule {
            free: links.mailbox_free.into(),
            first_delay: Duration::from_secs(15 * 60),
            longest_delay: Duration::from_secs(60 * 60),
            forgotten_after: Some(Duration::from_secs(24 * 60 * 60)),
        };
        let (lock_after, under_way) = (settings.lock_after.into(), Arc::default());
        Self { account, lenient, overall, address, asking, mailbox, lock_after, addresses, under_way }
    }

    /// Waits until few enough attempts on this account are under way.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if too many wait already, or while stopping.
    pub async fn line_up(&self, target: &Bucket) -> Result<OwnedSemaphorePermit> {
        let line = {
            let mut lines = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            // A line that nobody stands in is only in the map.
            lines.retain(|_, line| Arc::strong_count(line) > 1);
            Arc::clone(lines.entry(target.key()).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))))
        };
        // Each of them holds it, as do the map and whoever asks.
        if Arc::strong_count(&line) >= AT_ONCE + LINE + 2 {
            return Err(Error::new(Code::Unavailable).because("attempts_in_line").cause("too many attempts on one account wait"));
        }
        line.acquire_owned().await.map_err(|_| Error::new(Code::Unavailable).cause("the service is stopping"))
    }

    /// Counts an attempt at `now` on `target` from `address`; `is_lenient`: more failures of the account are free.
    ///
    /// # Errors
    /// `Ok(Err(until))`: blocked until then; nothing may be verified. `Err`: the database fails.
    pub fn begin(
        &self,
        tx: &mut Tx<'_>,
        target: &Bucket,
        place: OwnedSemaphorePermit,
        address: Option<IpAddr>,
        is_lenient: bool,
        now: Utc,
    ) -> Result<Result<Attempt, Utc>, StoreError> {
        let account = self.buckets(tx, target, address, is_lenient, now)?;
        let address = address.map(|a| Counted { key: Bucket::of_address(a).key(), user_id: None, rule: self.address });
        let all: Vec<&Counted> = account.iter().chain(&address).collect();
        // First a look, so that an attempt that is blocked anyway writes nothing; then in earnest, with the rows held.
        if let Err(until) = judge(tx, &all, now)? {
            return Ok(Err(until));
        }
        // In the order of their keys, so that two nodes never wait for each other crosswise.
        let mut ordered = all.clone();
        ordered.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        for bucket in ordered {
            tx.found_tally(&bucket.key, bucket.user_id, now)?;
            tx.hold_tally(&bucket.key)?;
        }
        let tallies = match judge(tx, &all, now)? {
            Ok(tallies) => tallies,
            Err(until) => return Ok(Err(until)),
        };
        for (bucket, tally) in all.iter().zip(&tallies) {
            tx.save_tally(&bucket.key, *tally)?;
        }
        // The widest of the account's stands last, and has seen every attempt of those before it.
        let widest = account.len().checked_sub(1).and_then(|at| tallies.get(at));
        let failures = widest.map_or(0, |tally| tally.failures);
        Ok(Ok(Attempt { account, address, _place: place, failures }))
    }

    /// The buckets of an account in which an attempt on `target` from `address` counts. Steep by account and network together, flat by
    /// account alone; whoever comes from a device or an address from which the account was signed in to lately has one of their own.
    fn buckets(
        &self,
        tx: &mut Tx<'_>,
        target: &Bucket,
        address: Option<IpAddr>,
        is_lenient: bool,
        now: Utc,
    ) -> Result<Vec<Counted>, StoreError> {
        let steep = if is_lenient { self.lenient } else { self.account };
        let flat = if is_lenient { Rule { free: self.overall.free.max(LENIENT_FREE), ..self.overall } } else { self.overall };
        let counted = |bucket: &Bucket, rule| Counted { key: bucket.key(), user_id: bucket.user_id(), rule };
        let Some(narrow) = target.from_network(address) else { return Ok(vec![counted(target, steep)]) };
        // A name that nobody bears is looked up as well: whether it is borne must not be told by the time.
        let user_id = target.user_id().unwrap_or(UserId::from_bytes([0; 16]));
        if let Some(address) = address {
            let seen = tx.read().known_address(user_id, &self.mac_of(user_id, address))?;
            if seen.is_some_and(|seen| now < seen + KNOWN_FOR) {
                return Ok(vec![counted(&Bucket::at_known(user_id, address), steep)]);
            }
        }
        Ok(vec![counted(&narrow, steep), counted(target, flat)])
    }

    fn mac_of(&self, user_id: UserId, address: IpAddr) -> Vec<u8> {
        self.addresses.mac(&[user_id.as_bytes().as_slice(), network_of(address).to_string().as_bytes()].concat())
    }

    /// An account was signed in to from this address: from now on it has a count of its own there.
    ///
    /// # Errors
    /// The database fails.
    pub fn know_address(&self, tx: &mut Tx<'_>, user_id: UserId, address: Option<IpAddr>, now: Utc) -> Result<(), StoreError> {
        let Some(address) = address else { return Ok(()) };
        let mac = self.mac_of(user_id, address);
        if tx.read().known_address(user_id, &mac)?.is_some_and(|seen| now < seen + KNOWN_ANEW) {
            return Ok(());
        }
        tx.save_known_address(user_id, &mac, now, MOST_KNOWN)
    }

    /// Counts something that is asked for without any proof: from an address, or for a mailbox. It is no guess, and is never taken back.
    ///
    /// # Errors
    /// `Ok(Err(until))`: too much of it, until then. `Err`: the database fails.
    pub fn ask(&self, tx: &mut Tx<'_>, bucket: &Bucket, now: Utc) -> Result<Result<(), Utc>, StoreError> {
        let rule = match bucket {
            Bucket::Mailbox(_) => &self.mailbox,
            Bucket::Asking(_) | Bucket::Address(_) | Bucket::Account(_) | Bucket::Device(..) => &self.asking,
            Bucket::From(..) | Bucket::Known(..) | Bucket::Unknown(_) | Bucket::UnknownFrom(..) => &self.asking,
        };
        let key = bucket.key();
        // First a look, so that what is blocked anyway writes nothing.
        if let Err(until) = rule.attempt(tx.read().tally(&key)?, now) {
            return Ok(Err(until));
        }
        tx.found_tally(&key, None, now)?;
        let held = tx.hold_tally(&key)?;
        match rule.attempt(held, now) {
            Ok(tally) => tx.save_tally(&key, tally).map(Ok),
            Err(until) => Ok(Err(until)),
        }
    }

    /// The attempt was no guess: the account's count starts anew, the address's loses this one.
    ///
    /// # Errors
    /// The database fails.
    pub fn succeed(&self, tx: &mut Tx<'_>, user: UserId, attempt: &Attempt) -> Result<(), StoreError> {
        tx.forget_tallies(user)?;
        take_back(tx, attempt.address.as_ref())
    }

    /// The attempt was neither right nor wrong (no turn to verify it): it does not count.
    ///
    /// # Errors
    /// The database fails.
    pub fn withdraw(&self, tx: &mut Tx<'_>, attempt: &Attempt) -> Result<(), StoreError> {
        // In the order in which they were held.
        let mut all: Vec<&Counted> = attempt.account.iter().chain(&attempt.address).collect();
        all.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        all.into_iter().try_for_each(|bucket| take_back(tx, Some(bucket)))
    }

    /// The attempt was right, and what it was on is no user's account: its count starts anew, the address's loses this one.
    ///
    /// # Errors
    /// The database fails.
    pub fn clear(&self, tx: &mut Tx<'_>, attempt: &Attempt) -> Result<(), StoreError> {
        let mut all: Vec<(&Counted, bool)> = attempt.account.iter().map(|bucket| (bucket, true)).collect();
        all.extend(attempt.address.iter().map(|bucket| (bucket, false)));
        all.sort_unstable_by(|(one, _), (other, _)| one.key.cmp(&other.key));
        for (bucket, is_cleared) in all {
            match tx.hold_tally(&bucket.key)?.filter(|_| is_cleared) {
                Some(tally) => tx.save_tally(&bucket.key, Tally { failures: 0, blocked_until: None, ..tally })?,
                None => take_back(tx, Some(bucket).filter(|_| !is_cleared))?,
            }
        }
        Ok(())
    }

    /// Forgets the failures of an account: after an unlock.
    ///
    /// # Errors
    /// The database fails.
    pub fn forgive(&self, tx: &mut Tx<'_>, user: UserId) -> Result<(), StoreError> {
        tx.forget_tallies(user)
    }

    /// The count of what is no user's account starts anew.
    ///
    /// # Errors
    /// The database fails.
    pub fn reset(&self, tx: &mut Tx<'_>, target: &Bucket) -> Result<(), StoreError> {
        let key = target.key();
        match tx.hold_tally(&key)? {
            Some(tally) => tx.save_tally(&key, Tally { failures: 0, blocked_until: None, ..tally }),
            None => Ok(()),
        }
    }

    /// Whether an account is to be locked after so many consecutive failures.
    pub fn is_exhausted(&self, attempt: &Attempt) -> bool {
        attempt.failures >= self.lock_after
    }
}

/// The tallies of all buckets with one more attempt, or until when one of them is blocked.
fn judge(tx: &mut Tx<'_>, buckets: &[&Counted], now: Utc) -> Result<Judged, StoreError> {
    let mut judged: Judged = Ok(Vec::with_capacity(buckets.len()));
    for bucket in buckets {
        match (bucket.rule.attempt(tx.read().tally(&bucket.key)?, now), &mut judged) {
            (Ok(tally), Ok(tallies)) => tallies.push(tally),
            (Err(until), Ok(_)) => judged = Err(until),
            (Err(until), Err(latest)) => *latest = until.max(*latest),
            (Ok(_), Err(_)) => {}
        }
    }
    Ok(judged)
}

fn take_back(tx: &mut Tx<'_>, bucket: Option<&Counted>) -> Result<(), StoreError> {
    let Some(Counted { key, rule, .. }) = bucket else { return Ok(()) };
    let Some(tally): Option<Tally> = tx.hold_tally(key)? else { return Ok(()) };
    tx.save_tally(key, rule.take_back(tally))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    /// S2: however many try one account at once, only so many wait; others do not feel it.
    #[test]
    fn a_line_has_an_end() {
        let settings = settings::parse("").unwrap();
        let lockout = Lockout::new(&settings.lockout, &settings.links, MacKey::new([1; 32]));
        let wanted = Bucket::of_attempts(None, None, "wanted");
        let mut places: Vec<_> = (0..AT_ONCE).map(|_| lockout.line_up(&wanted).now_or_never().unwrap().unwrap()).collect();
        let mut waiting: Vec<_> = (0..LINE).map(|_| Box::pin(lockout.line_up(&wanted))).collect();
        assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()));
        let refused = lockout.line_up(&wanted).now_or_never().unwrap().unwrap_err();
        assert_eq!((refused.code(), refused.reason()), (Code::Unavailable, "attempts_in_line"));
        assert!(lockout.line_up(&Bucket::of_attempts(None, None, "other")).now_or_never().unwrap().is_ok());
        // Whoever goes makes room, the first in line as well as the last.
        drop((places.pop(), waiting.pop()));
        assert!(waiting.first_mut().unwrap().now_or_never().unwrap().is_ok());
        assert!(lockout.line_up(&wanted).now_or_never().is_none());
    }
}
