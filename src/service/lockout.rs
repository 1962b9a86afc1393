//! Lock-out: one place where guesses are counted, whatever secret is guessed and whichever way in is used (S9).
//!
//! [`Lockout::begin`] counts an attempt before anything is verified, [`Lockout::succeed`] takes it back. What lies between happens for
//! at most [`AT_ONCE`] attempts on one account at a time on this node: without that, a crowd of right sign-ins of one account would
//! count as a crowd of guesses until they are settled.

use crate::domain::ids::UserId;
use crate::domain::throttle::{Bucket, Rule, Tally};
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

/// How long a bucket is kept after its last attempt: longer than any delay.
pub const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The rules in force, and the attempts under way.
#[derive(Clone)]
pub struct Lockout {
    account: Rule,
    lenient: Rule,
    address: Rule,
    asking: Rule,
    mailbox: Rule,
    lock_after: i64,
    under_way: Arc<Mutex<HashMap<Vec<u8>, Arc<Semaphore>>>>,
}

/// The tallies that an attempt leaves, of the account and of the address; or until when it is blocked.
type Judged = Result<(Tally, Option<Tally>), Utc>;

/// An attempt that was counted.
#[derive(Debug)]
pub struct Attempt {
    account: Vec<u8>,
    address: Option<Vec<u8>>,
    /// Its place among those under way; given up when the attempt is settled.
    _place: OwnedSemaphorePermit,
    /// Consecutive failures of the account, this one included.
    pub failures: i64,
}

impl Lockout {
    /// With these settings.
    pub fn new(settings: &settings::Lockout, links: &settings::Links) -> Self {
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
        let asking =
            Rule { free: links.asking_free.into(), forgotten_after: Some(seconds(links.asking_window_seconds)), ..account };
        let mailbox = Rule {
            free: links.mailbox_free.into(),
            first_delay: Duration::from_secs(15 * 60),
            longest_delay: Duration::from_secs(60 * 60),
            forgotten_after: Some(Duration::from_secs(24 * 60 * 60)),
        };
        Self { account, lenient, address, asking, mailbox, lock_after: settings.lock_after.into(), under_way: Arc::default() }
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
        let rule = if is_lenient { &self.lenient } else { &self.account };
        let account = target.key();
        let address = address.map(|a| Bucket::of_address(a).key());
        // First a look, so that an attempt that is blocked anyway writes nothing; then in earnest, with the rows held.
        if let Err(until) = self.judge(tx, rule, &account, address.as_deref(), now)? {
            return Ok(Err(until));
        }
        // In the order of their keys, so that two nodes never wait for each other crosswise.
        let mut buckets: Vec<&[u8]> = address.iter().map(Vec::as_slice).chain([account.as_slice()]).collect();
        buckets.sort_unstable();
        for bucket in buckets {
            let user_id = target.user_id().filter(|_| bucket == account.as_slice());
            tx.found_tally(bucket, user_id, now)?;
            tx.hold_tally(bucket)?;
        }
        let (of_account, of_address) = match self.judge(tx, rule, &account, address.as_deref(), now)? {
            Ok(counted) => counted,
            Err(until) => return Ok(Err(until)),
        };
        tx.save_tally(&account, of_account)?;
        if let (Some(key), Some(tally)) = (&address, of_address) {
            tx.save_tally(key, tally)?;
        }
        Ok(Ok(Attempt { account, address, _place: place, failures: of_account.failures }))
    }

    /// Counts something that is asked for without any proof: from an address, or for a mailbox. It is no guess, and is never taken back.
    ///
    /// # Errors
    /// `Ok(Err(until))`: too much of it, until then. `Err`: the database fails.
    pub fn ask(&self, tx: &mut Tx<'_>, bucket: &Bucket, now: Utc) -> Result<Result<(), Utc>, StoreError> {
        let rule = match bucket {
            Bucket::Mailbox(_) => &self.mailbox,
            Bucket::Asking(_) | Bucket::Address(_) | Bucket::Account(_) | Bucket::Device(..) | Bucket::Unknown(_) => &self.asking,
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

    /// The tallies of account and address with one more attempt, or until when either is blocked.
    fn judge(
        &self,
        tx: &mut Tx<'_>,
        rule: &Rule,
        account: &[u8],
        address: Option<&[u8]>,
        now: Utc,
    ) -> Result<Judged, StoreError> {
        let of_account = rule.attempt(tx.read().tally(account)?, now);
        let of_address = match address {
            Some(key) => self.address.attempt(tx.read().tally(key)?, now).map(Some),
            None => Ok(None),
        };
        Ok(match (of_account, of_address) {
            (Ok(of_account), Ok(of_address)) => Ok((of_account, of_address)),
            (Err(one), Err(other)) => Err(one.max(other)),
            (Err(until), Ok(_)) | (Ok(_), Err(until)) => Err(until),
        })
    }

    /// The attempt was no guess: the account's count starts anew, the address's loses this one.
    ///
    /// # Errors
    /// The database fails.
    pub fn succeed(&self, tx: &mut Tx<'_>, user: UserId, attempt: &Attempt) -> Result<(), StoreError> {
        tx.forget_tallies(user)?;
        self.take_back(tx, attempt.address.as_deref(), &self.address)
    }

    /// The attempt was neither right nor wrong (no turn to verify it): it does not count.
    ///
    /// # Errors
    /// The database fails.
    pub fn withdraw(&self, tx: &mut Tx<'_>, attempt: &Attempt) -> Result<(), StoreError> {
        self.take_back(tx, Some(&attempt.account), &self.account)?;
        self.take_back(tx, attempt.address.as_deref(), &self.address)
    }

    /// The attempt was right, and what it was on is no user's account: its count starts anew, the address's loses this one.
    ///
    /// # Errors
    /// The database fails.
    pub fn clear(&self, tx: &mut Tx<'_>, attempt: &Attempt) -> Result<(), StoreError> {
        if let Some(tally) = tx.hold_tally(&attempt.account)? {
            tx.save_tally(&attempt.account, Tally { failures: 0, blocked_until: None, ..tally })?;
        }
        self.take_back(tx, attempt.address.as_deref(), &self.address)
    }

    /// Forgets the failures of an account: after an unlock.
    ///
    /// # Errors
    /// The database fails.
    pub fn forgive(&self, tx: &mut Tx<'_>, user: UserId) -> Result<(), StoreError> {
        tx.forget_tallies(user)
    }

    /// Whether an account is to be locked after so many consecutive failures.
    pub fn is_exhausted(&self, attempt: &Attempt) -> bool {
        attempt.failures >= self.lock_after
    }

    fn take_back(&self, tx: &mut Tx<'_>, bucket: Option<&[u8]>, rule: &Rule) -> Result<(), StoreError> {
        let Some(bucket) = bucket else { return Ok(()) };
        let Some(tally): Option<Tally> = tx.hold_tally(bucket)? else { return Ok(()) };
        tx.save_tally(bucket, rule.take_back(tally))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    /// S2: however many try one account at once, only so many wait; others do not feel it.
    #[test]
    fn a_line_has_an_end() {
        let settings = settings::parse("").unwrap();
        let lockout = Lockout::new(&settings.lockout, &settings.links);
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
