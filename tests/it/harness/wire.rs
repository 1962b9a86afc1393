//! A wire between usher and PostgreSQL that a test can cut: a proxy on this machine.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

/// What becomes of the connections on which someone listens for notifications.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Listening {
    /// They work.
    Works,
    /// They are closed, new ones as well.
    Refused,
    /// They stay open, and nothing comes through any more.
    Swallowed,
}

/// The proxy.
pub struct Wire {
    address: SocketAddr,
    state: Arc<AtomicU8>,
    listeners: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    /// Between a caller and the server of this URL.
    pub fn to(url: &str) -> Self {
        let server: SocketAddr = url.split('@').nth(1).unwrap().split('/').next().unwrap().parse().unwrap();
        let gate = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire = Self { address: gate.local_addr().unwrap(), state: Arc::default(), listeners: Arc::default() };
        let (state, listeners) = (Arc::clone(&wire.state), Arc::clone(&wire.listeners));
        std::thread::spawn(move || {
            for client in gate.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let listens = Arc::new(AtomicU8::new(0));
                carry(&client, &server, &state, &listens, Some(&listeners));
                carry(&server, &client, &state, &listens, None);
            }
        });
        wire
    }

    /// The URL of the same database, through the wire.
    pub fn url(&self, url: &str) -> String {
        let (head, tail) = url.split_once('@').unwrap();
        format!("{head}@{}/{}", self.address, tail.split_once('/').unwrap().1)
    }

    pub fn set(&self, listening: Listening) {
        self.state.store(listening as u8, Ordering::SeqCst);
        if listening == Listening::Refused {
            for stream in self.listeners.lock().unwrap().drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

/// Carries what comes from one side to the other. `listens` is set once a client has said that it listens.
fn carry(
    from: &TcpStream,
    to: &TcpStream,
    state: &Arc<AtomicU8>,
    listens: &Arc<AtomicU8>,
    listeners: Option<&Arc<Mutex<Vec<TcpStream>>>>,
) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let (state, listens, listeners) = (Arc::clone(state), Arc::clone(listens), listeners.cloned());
    std::thread::spawn(move || {
        let mut buffer = [0; 16384];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let sent = &buffer[..read];
            if let Some(listeners) = &listeners
                && sent.windows(12).any(|word| word == b"LISTEN usher")
            {
                listens.store(1, Ordering::SeqCst);
                listeners.lock().unwrap().push(from.try_clone().unwrap());
            }
            if listens.load(Ordering::SeqCst) == 1 {
                let state = state.load(Ordering::SeqCst);
                if state == Listening::Refused as u8 {
                    break;
                }
                if state == Listening::Swallowed as u8 {
                    continue;
                }
            }
            if to.write_all(sent).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}
