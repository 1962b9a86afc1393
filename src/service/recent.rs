//! Passwords of linked accounts that were right a moment ago, so that a program that calls many times a second does not have argon2id
//! computed for each call.
//!
//! What is kept is a MAC over the stored hash and the password, under a key that this process has drawn and keeps to itself: not the
//! password, and nothing that is of use once the process has ended. The stored hash is read anew for each call and has a salt, so a changed
//! password, another account and a removed one are not remembered. An attempt is counted and judged by the lock-out before this is
//! asked, like one that is verified: whoever guesses gains nothing.

use crate::domain::chance::Entropy;
use crate::domain::secret::{MacKey, Password, PasswordHash};
use crate::domain::time::Utc;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a password is remembered after it was verified.
const KEPT: Duration = Duration::from_secs(60);
/// Passwords that are remembered at once.
const MOST: usize = 1024;

/// What is remembered.
pub(super) struct Recent {
    key: MacKey,
    /// Until when each is good.
    right: Mutex<HashMap<Vec<u8>, Utc>>,
}

impl Recent {
    pub(super) fn new(entropy: &Entropy) -> Self {
        Self { key: MacKey::new(entropy.bytes()), right: Mutex::default() }
    }

    /// Whether this password was right for this hash within the last minute.
    pub(super) fn knows(&self, stored: &PasswordHash, password: &Password, now: Utc) -> bool {
        self.lock().get(&self.mac(stored, password)).is_some_and(|until| now < *until)
    }

    /// It has just been verified.
    pub(super) fn remember(&self, stored: &PasswordHash, password: &Password, now: Utc) {
        let mac = self.mac(stored, password);
        let mut right = self.lock();
        if right.len() >= MOST {
            right.retain(|_, until| now < *until);
        }
        if right.len() < MOST {
            right.insert(mac, now + KEPT);
        }
    }

    /// A hash has no NUL in it, so no two pairs give one message.
    fn mac(&self, stored: &PasswordHash, password: &Password) -> Vec<u8> {
        let message = [stored.expose().as_bytes(), b"\0", password.expose().as_bytes()].concat();
        self.key.mac(&zeroize::Zeroizing::new(message))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Utc>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_password_is_known_for_a_minute() {
        let recent = Recent::new(&Entropy::new(|buffer| buffer.fill(7)));
        let (hash, other) = (PasswordHash::new("$a".to_owned()), PasswordHash::new("$b".to_owned()));
        let (right, wrong) = (Password::new("right".to_owned()), Password::new("wrong".to_owned()));
        let now = Utc::from_micros(0);
        assert!(!recent.knows(&hash, &right, now));
        recent.remember(&hash, &right, now);
        assert!(recent.knows(&hash, &right, now + Duration::from_secs(59)));
        assert!(!recent.knows(&hash, &right, now + KEPT));
        assert!(!recent.knows(&hash, &wrong, now) && !recent.knows(&other, &right, now));
        // Nothing of it is the password.
        assert!(recent.lock().keys().all(|mac| !mac.windows(5).any(|part| part == b"right")));
    }

    #[test]
    fn no_more_than_so_many_are_known() {
        let recent = Recent::new(&Entropy::new(|buffer| buffer.fill(7)));
        let (password, now) = (Password::new("right".to_owned()), Utc::from_micros(0));
        let hash = |n: usize| PasswordHash::new(format!("${n}"));
        (0..=MOST).for_each(|n| recent.remember(&hash(n), &password, now));
        assert_eq!(recent.lock().len(), MOST);
        assert!(!recent.knows(&hash(MOST), &password, now));
        // Those whose time is over make room.
        recent.remember(&hash(MOST), &password, now + KEPT);
        assert!(recent.knows(&hash(MOST), &password, now + KEPT) && recent.lock().len() == 1);
    }
}
