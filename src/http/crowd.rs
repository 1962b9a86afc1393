//! Connections by address (S39). One too many is let in, told to come back, and closed.

use actix_web::dev::Extensions;
use std::any::Any;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Who is there.
#[derive(Clone)]
pub struct Crowd {
    most: usize,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection's place in the crowd; leaves it when dropped.
pub struct Place {
    address: IpAddr,
    is_crowded: bool,
    crowd: Crowd,
}

impl Place {
    /// Whether the address had too many connections when this one was made.
    pub fn is_crowded(&self) -> bool {
        self.is_crowded
    }
}

impl Crowd {
    /// At most so many connections from one address.
    pub fn new(most: usize) -> Self {
        Self { most, counts: Arc::default() }
    }

    /// A connection is made.
    pub fn enter(&self, io: &dyn Any, data: &mut Extensions) {
        let peer = io.downcast_ref::<actix_web::rt::net::TcpStream>().and_then(|s| s.peer_addr().ok());
        let Some(address) = peer.map(|p| p.ip().to_canonical()) else { return };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_insert(0);
        *count += 1;
        let is_crowded = *count > self.most;
        data.insert(Place { address, is_crowded, crowd: self.clone() });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.crowd.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}
