//! Connections by address, and how long one may keep the service waiting (S39).
//!
//! One too many from an address is let in, told to come back, and closed; a few at a time are, the rest is closed unheard, for each that
//! waits for its first request has descriptors that others need. And a connection on which nothing is being answered has a
//! deadline for a whole request: what is kept open between requests, plus what a header may take. The server's own timers close a
//! connection that is silent for the one, and the first request of another after the other; but a byte stops the first of them for good,
//! and later requests have no second. So a watchman goes round and shuts what is overdue: headers that trickle, and answers that nobody
//! takes off. For that each connection is held by a second descriptor.

use actix_web::dev::Extensions;
use actix_web::web::Bytes;
use futures_util::{StreamExt as _, stream};
use std::any::Any;
use std::collections::HashMap;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two rounds of the watchman.
const ROUND: Duration = Duration::from_secs(1);

/// How many connections beyond what an address may have are told so, at a time.
const TOLD: usize = 16;

/// Who is there.
#[derive(Clone)]
pub struct Crowd {
    most: usize,
    /// How long a connection may be without a call.
    patience: Duration,
    members: Arc<Mutex<Members>>,
}

#[derive(Default)]
struct Members {
    counts: HashMap<IpAddr, usize>,
    lines: HashMap<u64, Line>,
    next: u64,
}

/// A connection, as the watchman sees it.
struct Line {
    /// `None` if there was no descriptor to be had: then it is not watched.
    socket: Option<TcpStream>,
    stir: Stir,
}

/// What is under way on a connection. Clones share it.
#[derive(Clone)]
pub(super) struct Stir(Arc<Mutex<State>>);

#[derive(Clone, Copy)]
struct State {
    /// Calls that are being answered, and pieces of answers that are being made.
    busy: usize,
    /// Since when there are none.
    since: Instant,
}

/// Something is under way; over when dropped.
pub(super) struct Busy(Stir);

impl Stir {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State { busy: 0, since: Instant::now() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something begins.
    pub(super) fn begin(&self) -> Busy {
        self.state().busy += 1;
        Busy(self.clone())
    }

    /// The same stream, under way while a piece of it is being made, but not while the other side lets it wait.
    pub(super) fn follow<E: 'static>(
        self,
        pieces: stream::LocalBoxStream<'static, Result<Bytes, E>>,
    ) -> stream::LocalBoxStream<'static, Result<Bytes, E>> {
        stream::unfold((pieces, self), |(mut pieces, stir)| async move {
            let busy = stir.begin();
            let piece = pieces.next().await;
            drop(busy);
            piece.map(|piece| (piece, (pieces, stir)))
        })
        .boxed_local()
    }

    fn is_overdue(&self, patience: Duration) -> bool {
        let state = self.state();
        state.busy == 0 && state.since.elapsed() > patience
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.busy = state.busy.saturating_sub(1);
        state.since = Instant::now();
    }
}

/// A connection's place in the crowd; leaves it when dropped.
pub struct Place {
    address: IpAddr,
    number: u64,
    is_crowded: bool,
    stir: Stir,
    crowd: Crowd,
}

impl Place {
    /// Whether the address had too many connections when this one was made.
    pub fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// What is under way on it.
    pub(super) fn stir(&self) -> &Stir {
        &self.stir
    }
}

impl Crowd {
    /// At most so many connections from one address, each for so long without a call.
    pub fn new(most: usize, patience: Duration) -> Self {
        Self { most, patience, members: Arc::default() }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection is made.
    pub fn enter(&self, io: &dyn Any, data: &mut Extensions) {
        let Some(io) = io.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
        let Some(address) = io.peer_addr().ok().map(|peer| peer.ip().to_canonical()) else { return };
        let socket = io.as_fd().try_clone_to_owned().ok().map(TcpStream::from);
        let stir = Stir::new();
        let mut members = self.members();
        let number = members.next;
        members.next += 1;
        let count = members.counts.entry(address).or_insert(0);
        *count += 1;
        let is_crowded = *count > self.most;
        if *count > self.most + TOLD {
            // The server takes that for its other side's end, and closes it.
            let _ = socket.as_ref().map(|socket| socket.shutdown(Shutdown::Both));
        }
        members.lines.insert(number, Line { socket, stir: stir.clone() });
        data.insert(Place { address, number, is_crowded, stir, crowd: self.clone() });
    }

    /// Goes round without end, and shuts what is overdue. The server takes that for its other side's end.
    pub async fn watch(self) {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            for line in self.members().lines.values().filter(|line| line.stir.is_overdue(self.patience)) {
                // It may have gone by itself.
                let _ = line.socket.as_ref().map(|socket| socket.shutdown(Shutdown::Both));
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut members = self.crowd.members();
        members.lines.remove(&self.number);
        if let Some(count) = members.counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                members.counts.remove(&self.address);
            }
        }
    }
}
