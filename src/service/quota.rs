//! How much a user's own custom attributes may add to the audit trail (S50): changes of them are kept with their values, so that whoever
//! may set attributes of some kilobytes could fill the disk by and by.
//!
//! Counted in the process, by the hour: with several nodes each counts for itself.

use crate::domain::audit::Action;
use crate::domain::ids::UserId;
use crate::domain::time::Utc;
use crate::error::{Code, Error, Result};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(60 * 60);
/// Users that are counted at most at a time.
const MOST: usize = 100_000;

/// What each user has added within the hour.
pub(super) struct Quota {
    /// Bytes of an hour; 0: any.
    bytes: u64,
    used: Mutex<HashMap<UserId, (Utc, u64)>>,
}

/// Whether the action changes custom attributes.
pub(super) fn binds(action: Action) -> bool {
    matches!(
        action,
        Action::UserAttributeSet
            | Action::UserAttributesSet
            | Action::UserAttributeDelete
            | Action::UserAttributesDelete
            | Action::SessionAttributeSet
            | Action::SessionAttributesSet
            | Action::SessionAttributeDelete
            | Action::SessionAttributesDelete
    )
}

impl Quota {
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes, used: Mutex::default() }
    }

    /// Whether a user may go on.
    ///
    /// # Errors
    /// [`Code::TooManyAttempts`], with the time until the hour is over.
    pub(super) fn check(&self, user_id: UserId, now: Utc) -> Result<()> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        match used.get(&user_id) {
            Some((began, bytes)) if self.bytes > 0 && *bytes >= self.bytes && now < *began + HOUR && now >= *began => {
                let detail = "What an hour's changes of attributes may take is used up.";
                Err(Error::new(Code::TooManyAttempts)
                    .because("quota_used")
                    .detail(detail)
                    .retry_after((*began + HOUR).since(now)))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Counts what a change has added.
    pub(super) fn add(&self, user_id: UserId, bytes: usize, now: Utc) {
        if self.bytes == 0 {
            return;
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        // This is within a transaction: what is full begins anew, for a look at all of them would hold up everybody.
        if used.len() >= MOST && !used.contains_key(&user_id) {
            used.clear();
        }
        let of = used.entry(user_id).or_insert((now, 0));
        if now >= of.0 + HOUR || now < of.0 {
            *of = (now, 0);
        }
        of.1 = of.1.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}
