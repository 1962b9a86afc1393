//! Memory: what was read from the database and may be used again, as long as nothing that it depends on has changed.
//!
//! A memory holds whole readings (a session with its user, say), each with the ids that it depends on. The feed of changes
//! makes it forget. Two things make it safe:
//!
//! - **Coherence.** A memory answers only while its feed has proved within the last [`BOUND`] that it hears of changes; otherwise every
//!   call reads the database, until the feed has begun anew with nothing remembered. So nothing older than the bound is ever used.
//! - **Versions.** A reading that was begun before a change and comes to be remembered after it would be remembered wrong. Every change
//!   raises the version, and a reading is remembered only if the version is still the one before it was begun.
//!
//! What depends on time is not remembered but judged at every use: expiry, validity.
//!
//! The size is bounded: there are two generations, and when the younger is full the older is dropped; what is used moves to the younger.

use super::feed::Touched;
use crate::domain::ids::{CredentialId, UserId};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The oldest that anything remembered can be.
pub const BOUND: Duration = Duration::from_secs(1);

/// Parts that are locked each on its own.
const SHARDS: usize = 16;
/// Readings in each generation of a part.
const GENERATION: usize = 512;

/// What a reading depends on, besides what everything depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependencies {
    /// The user, with groups.
    pub user_id: UserId,
    /// The session or API key.
    pub credential_id: CredentialId,
}

/// A reading that can be remembered.
pub trait Reading: Send + Sync {
    /// What it depends on; `None`: on what everything depends on alone.
    fn dependencies(&self) -> Option<Dependencies>;
}

/// How the memories of a store stand towards its feed of changes.
#[derive(Debug)]
pub(super) struct Coherence {
    began: Instant,
    /// When the feed last proved that it hears, in microseconds since `began`; 0: it does not.
    heard: AtomicU64,
    version: AtomicU64,
}

impl Coherence {
    pub(super) fn new() -> Self {
        let (heard, version) = (AtomicU64::new(0), AtomicU64::new(0));
        // A little before now, so that every moment that matters comes after it.
        let now = Instant::now();
        let began = now.checked_sub(BOUND * 2).unwrap_or(now);
        Self { began, heard, version }
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX).max(1)
    }

    /// The feed had heard of every change up to `at`.
    pub(super) fn hears(&self, at: Instant) {
        self.heard.store(self.micros(at), Ordering::Release);
    }

    /// The feed has gone: nothing is answered from memory until it hears again.
    pub(super) fn is_deaf(&self) {
        self.heard.store(0, Ordering::Release);
    }

    /// Up to when it has heard of every change; `None` if it does not hear now.
    pub(super) fn heard(&self) -> Option<Instant> {
        match self.heard.load(Ordering::Acquire) {
            0 => None,
            micros => self.began.checked_add(Duration::from_micros(micros)),
        }
    }

    fn holds(&self) -> bool {
        let heard = self.heard.load(Ordering::Acquire);
        let bound = u64::try_from(BOUND.as_micros()).unwrap_or(0);
        heard > 0 && self.micros(Instant::now()).saturating_sub(heard) <= bound
    }
}

/// Something that forgets when told to.
pub(super) trait Forgetful: Send + Sync {
    fn forget(&self, touched: &[Touched]);
}

/// The moment before a reading was begun.
#[derive(Clone, Copy, Debug)]
pub struct Version(u64);

type Generation<K, V> = HashMap<K, Arc<V>>;

struct Shard<K, V> {
    young: Generation<K, V>,
    old: Generation<K, V>,
    by_user: HashMap<UserId, Vec<K>>,
    by_credential: HashMap<CredentialId, Vec<K>>,
}

impl<K, V> Default for Shard<K, V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), by_user: HashMap::new(), by_credential: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash, V: Reading> Shard<K, V> {
    fn get(&mut self, key: &K) -> Option<Arc<V>> {
        if let Some(found) = self.young.get(key) {
            return Some(Arc::clone(found));
        }
        let found = self.old.remove(key)?;
        self.insert(key.clone(), Arc::clone(&found));
        Some(found)
    }

    fn insert(&mut self, key: K, reading: Arc<V>) {
        // What was known by this key may have depended on something else.
        self.remove(std::slice::from_ref(&key));
        if self.young.len() >= GENERATION {
            let dropped = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            for (key, reading) in dropped {
                self.unlink(&key, reading.dependencies());
            }
        }
        if let Some(Dependencies { user_id, credential_id }) = reading.dependencies() {
            let link = |keys: &mut Vec<K>| {
                if !keys.contains(&key) {
                    keys.push(key.clone());
                }
            };
            link(self.by_user.entry(user_id).or_default());
            link(self.by_credential.entry(credential_id).or_default());
        }
        self.young.insert(key, reading);
    }

    fn unlink(&mut self, key: &K, dependencies: Option<Dependencies>) {
        if self.young.contains_key(key) || self.old.contains_key(key) {
            return;
        }
        let Some(Dependencies { user_id, credential_id }) = dependencies else { return };
        unlink(&mut self.by_user, &user_id, key);
        unlink(&mut self.by_credential, &credential_id, key);
    }

    fn remove(&mut self, keys: &[K]) {
        for key in keys {
            let reading = [self.young.remove(key), self.old.remove(key)].into_iter().flatten().next();
            if let Some(reading) = reading {
                self.unlink(key, reading.dependencies());
            }
        }
    }

    fn forget(&mut self, touched: &Touched) {
        let keys = match touched {
            Touched::Everything => return *self = Self::default(),
            Touched::User(id) => self.by_user.get(id).cloned(),
            Touched::Credential(id) => self.by_credential.get(id).cloned(),
        };
        self.remove(&keys.unwrap_or_default());
    }
}

fn unlink<I: Eq + Hash, K: Eq>(links: &mut HashMap<I, Vec<K>>, id: &I, key: &K) {
    if let Some(keys) = links.get_mut(id) {
        keys.retain(|k| k != key);
        if keys.is_empty() {
            links.remove(id);
        }
    }
}

/// Readings by their keys. Clones share it.
pub struct Memory<K, V> {
    inner: Arc<Inner<K, V>>,
}

/// A shard, and how it fares.
struct Part<K, V> {
    shard: Mutex<Shard<K, V>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl<K, V> Default for Part<K, V> {
    fn default() -> Self {
        Self { shard: Mutex::default(), hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }
}

impl<K, V> Part<K, V> {
    fn lock(&self) -> MutexGuard<'_, Shard<K, V>> {
        self.shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a memory fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// How often it answered, since the start.
    pub hits: u64,
    /// How often it did not.
    pub misses: u64,
    /// Readings that it holds.
    pub entries: usize,
}

struct Inner<K, V> {
    parts: [Part<K, V>; SHARDS],
    hasher: RandomState,
    coherence: Arc<Coherence>,
}

impl<K, V> Clone for Memory<K, V> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static, V: Reading + 'static> Memory<K, V> {
    pub(super) fn new(coherence: Arc<Coherence>) -> Self {
        let parts = std::array::from_fn(|_| Part::default());
        Self { inner: Arc::new(Inner { parts, hasher: RandomState::new(), coherence }) }
    }

    pub(super) fn as_forgetful(&self) -> Arc<dyn Forgetful> {
        Arc::clone(&self.inner) as Arc<dyn Forgetful>
    }

    /// To be asked before a reading is begun that is to be remembered.
    pub fn version(&self) -> Version {
        Version(self.inner.coherence.version.load(Ordering::Acquire))
    }

    /// The reading of this key, if it is remembered and nothing that it depends on has changed since.
    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        let part = self.inner.part(key);
        let found = self.inner.coherence.holds().then(|| part.lock().get(key)).flatten();
        let counter = if found.is_some() { &part.hits } else { &part.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Remembers a reading that was begun at `version`, unless something has changed since.
    pub fn put(&self, key: K, reading: Arc<V>, version: Version) {
        let mut shard = self.inner.part(&key).lock();
        // Within the lock: a change that raises the version after this takes the lock after this, and forgets what is put here.
        if self.inner.coherence.version.load(Ordering::Acquire) == version.0 && self.inner.coherence.holds() {
            shard.insert(key, reading);
        }
    }

    /// How it fares.
    pub fn usage(&self) -> Use {
        self.inner.parts.iter().fold(Use::default(), |so_far, part| {
            let held = part.lock();
            Use {
                hits: so_far.hits + part.hits.load(Ordering::Relaxed),
                misses: so_far.misses + part.misses.load(Ordering::Relaxed),
                entries: so_far.entries + held.young.len() + held.old.len(),
            }
        })
    }
}

impl<K: Clone + Eq + Hash, V: Reading> Inner<K, V> {
    fn part(&self, key: &K) -> &Part<K, V> {
        let at = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        #[expect(clippy::indexing_slicing, reason = "a remainder of the number of shards is one of them")]
        let part = &self.parts[at];
        part
    }
}

impl<K: Clone + Eq + Hash + Send + Sync, V: Reading> Forgetful for Inner<K, V> {
    fn forget(&self, touched: &[Touched]) {
        for part in &self.parts {
            let mut shard = part.lock();
            touched.iter().for_each(|touched| shard.forget(touched));
        }
    }
}

impl Coherence {
    /// Raises the version, then has every memory forget: in this order, see [`Memory::put`].
    pub(super) fn forget(&self, memories: &[Arc<dyn Forgetful>], touched: &[Touched]) {
        if touched.is_empty() {
            return;
        }
        self.version.fetch_add(1, Ordering::AcqRel);
        memories.iter().for_each(|memory| memory.forget(touched));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq)]
    struct Read(u8, u8);

    fn user(n: u8) -> UserId {
        UserId::from_bytes([n; 16])
    }

    fn credential(n: u8) -> CredentialId {
        CredentialId::from_bytes([n; 16])
    }

    impl Reading for Read {
        fn dependencies(&self) -> Option<Dependencies> {
            Some(Dependencies { user_id: user(self.0), credential_id: credential(self.1) })
        }
    }

    fn memory() -> (Arc<Coherence>, Memory<u32, Read>) {
        let coherence = Arc::new(Coherence::new());
        coherence.hears(Instant::now());
        (Arc::clone(&coherence), Memory::new(coherence))
    }

    /// What was read before a change is not remembered after it.
    #[test]
    fn a_reading_that_a_change_overtook_is_not_remembered() {
        let (coherence, memory) = memory();
        let before = memory.version();
        coherence.forget(&[memory.as_forgetful()], &[Touched::User(user(9))]);
        memory.put(1, Arc::new(Read(1, 1)), before);
        assert!(memory.get(&1).is_none());
        memory.put(1, Arc::new(Read(1, 1)), memory.version());
        assert!(memory.get(&1).is_some());
        assert_eq!(memory.usage(), Use { hits: 1, misses: 1, entries: 1 });
    }

    /// Without a feed that hears, nothing is answered from memory.
    #[test]
    fn a_deaf_memory_answers_nothing() {
        let (coherence, memory) = memory();
        memory.put(1, Arc::new(Read(1, 1)), memory.version());
        coherence.is_deaf();
        assert!(memory.get(&1).is_none());
        coherence.hears(Instant::now());
        assert!(memory.get(&1).is_some());
        if let Some(long_ago) = Instant::now().checked_sub(BOUND + Duration::from_millis(1)) {
            coherence.hears(long_ago);
            assert!(memory.get(&1).is_none());
        }
    }

    #[test]
    fn the_size_is_bounded_and_what_is_used_stays() {
        let (_, memory) = memory();
        memory.put(0, Arc::new(Read(0, 0)), memory.version());
        for key in 1..100_000 {
            memory.put(key, Arc::new(Read((key % 250) as u8, (key % 251) as u8)), memory.version());
            if key % 100 == 0 {
                assert!(memory.get(&0).is_some(), "after {key}");
            }
        }
        assert!(memory.usage().entries <= 2 * SHARDS * (GENERATION + 1));
    }

    proptest! {
        /// Whatever is put, used and touched in whichever order, nothing is answered that was touched since, and the links are those
        /// of what is there.
        #[test]
        fn nothing_that_was_touched_is_answered(steps in prop::collection::vec((0u8..5, 0u32..12, 0u8..4, 0u8..4), 0..200)) {
            let (coherence, memory) = memory();
            let mut expected: HashMap<u32, Read> = HashMap::new();
            for (step, key, a, b) in steps {
                let forget = |touched| coherence.forget(&[memory.as_forgetful()], &[touched]);
                match step {
                    0 | 1 => {
                        memory.put(key, Arc::new(Read(a, b)), memory.version());
                        expected.insert(key, Read(a, b));
                    }
                    2 => {
                        forget(Touched::User(user(a)));
                        expected.retain(|_, read| read.0 != a);
                    }
                    3 => {
                        forget(Touched::Credential(credential(b)));
                        expected.retain(|_, read| read.1 != b);
                    }
                    _ if a == 0 => {
                        forget(Touched::Everything);
                        expected.clear();
                    }
                    _ => {}
                }
                for key in 0..12 {
                    let kept = memory.get(&key);
                    prop_assert_eq!(kept.as_deref(), expected.get(&key));
                }
            }
            for part in &memory.inner.parts {
                let shard = part.lock();
                let held: Vec<u32> = shard.young.keys().chain(shard.old.keys()).copied().collect();
                prop_assert!(shard.by_user.values().flatten().all(|key| held.contains(key)));
                prop_assert!(shard.by_credential.values().flatten().all(|key| held.contains(key)));
            }
        }
    }
}
