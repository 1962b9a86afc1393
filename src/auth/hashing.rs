//! Password hashing: argon2id (RFC 9106) on a pool of its own.
//!
//! A hash takes tens of milliseconds and tens of MiB. The pool computes at most one for each of its threads, which give way to those that
//! answer calls; each thread reuses one block of memory. The pool lets four times as many wait; whoever comes then is told to come back
//! (S2). A sign-in asks for its [`Turn`] before anything is counted against it, so being told to come back leaves nothing behind. Hashes of other kinds, which came
//! with imported users, are verified as well ([`super::stored_hash`]), and called weak: their users' next sign-in replaces them.

use super::stored_hash::{SALT, StoredHash, TAG, compute_argon2};
use crate::domain::chance::Entropy;
use crate::domain::secret::{Password, PasswordHash};
use crate::error::{Code, Error, Result};
use argon2::password_hash::phc;
use argon2::{Algorithm, Block, Params, Version};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// What a password turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the one; `is_weak` tells that its hash is below the settings and should be renewed.
    Right {
        /// Whether the stored hash is below the settings.
        is_weak: bool,
    },
    /// It is not.
    Wrong,
}

type Task = Box<dyn FnOnce(&mut Vec<Block>) + Send>;

/// The pool.
#[derive(Clone)]
pub struct Hasher {
    tasks: Sender<Task>,
    places: usize,
    turns: Arc<Semaphore>,
    gauges: Arc<Gauges>,
    params: Params,
    /// Verified in place of a hash that does not exist, so that it takes as long.
    decoy: PasswordHash,
    entropy: Entropy,
}

#[derive(Debug, Default)]
struct Gauges {
    running: AtomicUsize,
    refused: AtomicU64,
}

/// How busy the pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Hashes that are being computed.
    pub running: usize,
    /// Places in the queue that are taken.
    pub waiting: usize,
    /// How often all places were taken, since the start.
    pub refused: u64,
}

/// The right to have one password hashed or verified.
pub struct Turn {
    hasher: Hasher,
    permit: OwnedSemaphorePermit,
}

impl Hasher {
    /// Starts `threads` threads (0: one for each core) that hash with `memory_kib` and `passes`.
    ///
    /// # Errors
    /// The parameters are outside RFC 9106, or the operating system refuses a thread.
    pub fn start(memory_kib: u32, passes: u32, threads: usize, entropy: Entropy) -> Result<Self, String> {
        let params = Params::new(memory_kib, passes, 1, Some(TAG)).map_err(|e| format!("the password hash settings: {e}"))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads == 0 { cores } else { threads };
        let (tasks, queue) = channel::<Task>();
        let queue = Arc::new(Mutex::new(queue));
        let gauges = Arc::new(Gauges::default());
        for number in 0..threads {
            let (queue, gauges) = (Arc::clone(&queue), Arc::clone(&gauges));
            std::thread::Builder::new()
                .name(format!("hasher-{number}"))
                .spawn(move || serve(&queue, &gauges))
                .map_err(|e| format!("cannot start a hashing thread: {e}"))?;
        }
        let places = threads * 5;
        let turns = Arc::new(Semaphore::new(places));
        // No password has a tag that was drawn; to find that out takes as long as with any other. Hashing one would be most of the start.
        let decoy = in_phc_form(&params, &entropy.bytes(), &entropy.bytes())
            .ok_or_else(|| "the password hash settings do not work".to_owned())?;
        Ok(Self { tasks, places, turns, gauges, params, decoy, entropy })
    }

    /// Takes a place in the queue as soon as there is one: for work that nobody sits and waits for.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if the pool has stopped.
    pub async fn turn_in_time(&self) -> Result<Turn> {
        let permit = Arc::clone(&self.turns).acquire_owned().await;
        let permit = permit.map_err(|_| Error::new(Code::Unavailable).cause("the hashing pool has stopped"))?;
        Ok(Turn { hasher: self.clone(), permit })
    }

    /// Takes a place in the queue.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if all places are taken.
    pub fn turn(&self) -> Result<Turn> {
        let permit = Arc::clone(&self.turns).try_acquire_owned();
        let permit = permit.map_err(|_| {
            self.gauges.refused.fetch_add(1, Ordering::Relaxed);
            Error::new(Code::Unavailable).because("hashing_queue_full").cause("the hashing queue is full")
        })?;
        Ok(Turn { hasher: self.clone(), permit })
    }

    /// How busy it is.
    pub fn load(&self) -> Load {
        let Gauges { running, refused } = &*self.gauges;
        let running = running.load(Ordering::Relaxed);
        let taken = self.places.saturating_sub(self.turns.available_permits());
        Load { running, waiting: taken.saturating_sub(running), refused: refused.load(Ordering::Relaxed) }
    }

    async fn run<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        task: impl FnOnce(&mut Vec<Block>) -> T + Send + 'static,
    ) -> Result<T> {
        let stopped = || Error::new(Code::Unavailable).cause("the hashing pool has stopped");
        let (reply, answer) = oneshot::channel();
        let task: Task = Box::new(move |memory| {
            // The place in the queue is given back when the work is done, not when whoever asked goes away.
            let _place = permit;
            if !reply.is_closed() {
                let _ = reply.send(task(memory));
            }
        });
        self.tasks.send(task).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())
    }
}

impl Turn {
    /// Compares `password` with a stored hash. Without one it takes as long and is wrong.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if the pool has stopped.
    pub async fn verify(self, password: Password, stored: Option<PasswordHash>) -> Result<Verdict> {
        let is_known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.hasher.decoy.clone());
        let params = self.hasher.params.clone();
        let verdict = self.hasher.run(self.permit, move |memory| verify(&params, &password, &stored, memory)).await?;
        Ok(if is_known { verdict } else { Verdict::Wrong })
    }

    /// Hashes a password with a fresh salt.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if the pool has stopped.
    pub async fn hash(self, password: Password) -> Result<PasswordHash> {
        let (params, salt) = (self.hasher.params.clone(), self.hasher.entropy.bytes());
        let hashed = self.hasher.run(self.permit, move |memory| hash(&params, &password, salt, memory)).await?;
        hashed.ok_or_else(|| Error::new(Code::Internal).cause("a password could not be hashed"))
    }
}

impl Turn {
    /// Does something else about a password whose cost whoever chose it has chosen, in place of a hash (S50). `None` if it fails.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if the pool has stopped.
    pub async fn weigh<T: Send + 'static>(self, work: impl FnOnce() -> Option<T> + Send + 'static) -> Result<Option<T>> {
        // Others' code, on whatever text: if it panics, a hashing thread must not go with it.
        let guarded = move |_: &mut Vec<Block>| std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok().flatten();
        self.hasher.run(self.permit, guarded).await
    }
}

/// How much hashing gives way to the threads that answer calls, where a core is wanted by both: some 25 % of it are left (nice 5).
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

fn serve(queue: &Mutex<Receiver<Task>>, gauges: &Gauges) {
    // On Linux alone is this about the thread, and not about the process.
    #[cfg(target_os = "linux")]
    if let Err(refused) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(cause = %refused, "hashing does not give way to calls");
    }
    let mut memory = Vec::new();
    loop {
        let task = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match task {
            Ok(task) => {
                gauges.running.fetch_add(1, Ordering::Relaxed);
                task(&mut memory);
                gauges.running.fetch_sub(1, Ordering::Relaxed);
            }
            Err(_) => return,
        }
    }
}

fn hash(params: &Params, password: &Password, salt: [u8; SALT], memory: &mut Vec<Block>) -> Option<PasswordHash> {
    let mut tag = [0; TAG];
    if memory.len() < params.block_count() {
        memory.resize(params.block_count(), Block::default());
    }
    compute_argon2(Algorithm::Argon2id, Version::V0x13, params, password.expose().as_bytes(), &salt, &mut tag, memory)?;
    in_phc_form(params, &salt, &tag)
}

fn in_phc_form(params: &Params, salt: &[u8; SALT], tag: &[u8; TAG]) -> Option<PasswordHash> {
    let hash = phc::PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: phc::ParamsString::try_from(params).ok()?,
        salt: Some(phc::Salt::new(salt).ok()?),
        hash: Some(phc::Output::new(tag).ok()?),
    };
    Some(PasswordHash::new(hash.to_string()))
}

fn verify(settings: &Params, password: &Password, stored: &PasswordHash, memory: &mut Vec<Block>) -> Verdict {
    // What usher itself hashes needs this much, and gets it from the memory that is kept.
    if memory.len() < settings.block_count() {
        memory.resize(settings.block_count(), Block::default());
    }
    match StoredHash::read(stored) {
        Ok(stored) if stored.matches(password, memory) => Verdict::Right { is_weak: !stored.is_as_strong_as(settings) },
        Ok(_) | Err(_) => Verdict::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S5: what is verified where there is no hash costs what any other costs: it is read as one, of the same parameters.
    #[test]
    fn the_decoy_is_a_hash_like_others() {
        let hasher = Hasher::start(64, 2, 1, Entropy::system()).unwrap();
        assert!(StoredHash::read(&hasher.decoy).is_ok_and(|decoy| decoy.is_as_strong_as(&hasher.params)));
        let parts = |hash: &PasswordHash| hash.expose().split('$').map(str::len).collect::<Vec<_>>();
        let real = hash(&hasher.params, &Password::new("a password".to_owned()), [1; SALT], &mut Vec::new()).unwrap();
        assert_eq!(parts(&hasher.decoy), parts(&real));
    }
}
