//! What an answer has to say that its reader does not take yet.
//!
//! Some clients send a whole body before they read a byte of the answer. An answer that comes while the body is still being read must not
//! wait for them, or the two would wait for each other. It is kept here: a little in memory, the rest in a temporary file that has no name.

use actix_web::web::Bytes;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;

/// Bytes that are kept in memory.
const IN_MEMORY: usize = 256 * 1024;
/// Bytes read back at a time.
const CHUNK: usize = 64 * 1024;

#[derive(Default)]
struct State {
    queue: VecDeque<Bytes>,
    queued: usize,
    file: Option<Arc<File>>,
    /// Where the next bytes go in the file, and where the next ones come from.
    written: u64,
    read: u64,
    is_over: bool,
    is_deserted: bool,
}

#[derive(Default)]
struct Shared {
    state: RefCell<State>,
    changed: Notify,
}

/// The end that is written to.
pub(super) struct Writer(Rc<Shared>);

/// The end that is read from.
pub(super) struct Reader(Rc<Shared>);

/// A spool; `name` is one that no other file has.
pub(super) fn spool() -> (Writer, Reader) {
    let shared = Rc::new(Shared::default());
    (Writer(Rc::clone(&shared)), Reader(shared))
}

impl Writer {
    /// Adds bytes; tells whether anyone is there to read them.
    ///
    /// # Errors
    /// The temporary file cannot be written.
    pub(super) async fn push(&self, bytes: Bytes, name: &str) -> io::Result<bool> {
        let spilled = {
            let mut state = self.0.state.borrow_mut();
            if state.is_deserted {
                return Ok(false);
            }
            let is_behind = state.read < state.written || state.queued + bytes.len() > IN_MEMORY;
            if is_behind && !bytes.is_empty() {
                let file = match &state.file {
                    Some(file) => Arc::clone(file),
                    None => Arc::clone(state.file.insert(Arc::new(nameless(name)?))),
                };
                Some((file, state.written))
            } else {
                state.queued += bytes.len();
                state.queue.push_back(bytes.clone());
                None
            }
        };
        if let Some((file, at)) = spilled {
            let length = bytes.len() as u64;
            let write = tokio::task::spawn_blocking(move || file.write_all_at(&bytes, at));
            write.await.map_err(io::Error::other)??;
            self.0.state.borrow_mut().written = at + length;
        }
        self.0.changed.notify_one();
        Ok(true)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.state.borrow_mut().is_over = true;
        self.0.changed.notify_one();
    }
}

impl Reader {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub(super) async fn next(&self) -> io::Result<Option<Bytes>> {
        loop {
            let spilled = {
                let mut state = self.0.state.borrow_mut();
                if let Some(bytes) = state.queue.pop_front() {
                    state.queued -= bytes.len();
                    return Ok(Some(bytes));
                }
                match &state.file {
                    Some(file) if state.read < state.written => {
                        let length = CHUNK.min(usize::try_from(state.written - state.read).unwrap_or(CHUNK));
                        Some((Arc::clone(file), state.read, length))
                    }
                    Some(_) | None if state.is_over => return Ok(None),
                    Some(_) | None => None,
                }
            };
            let Some((file, at, length)) = spilled else {
                self.0.changed.notified().await;
                continue;
            };
            let read = move || {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, at).map(|()| bytes)
            };
            let bytes = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
            self.0.state.borrow_mut().read = at + length as u64;
            return Ok(Some(bytes.into()));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.state.borrow_mut().is_deserted = true;
    }
}

/// A temporary file that nobody else can open and that is gone once it is closed.
fn nameless(name: &str) -> io::Result<File> {
    let path = std::env::temp_dir().join(name);
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name() -> String {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        format!("usher-spool-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// What goes in comes out, in order, whoever is ahead.
        #[test]
        fn what_goes_in_comes_out(lengths in prop::collection::vec(0usize..150_000, 1..20), reads in prop::collection::vec(0usize..4, 20)) {
            let run = async {
                let (writer, reader) = spool();
                let (mut sent, mut received, name) = (Vec::new(), Vec::new(), name());
                for (number, (length, reads)) in lengths.iter().zip(reads).enumerate() {
                    let bytes = vec![u8::try_from(number).unwrap(); *length];
                    sent.extend_from_slice(&bytes);
                    assert!(writer.push(bytes.into(), &name).await.unwrap());
                    for _ in 0..reads {
                        if received.len() < sent.len() {
                            received.extend_from_slice(&reader.next().await.unwrap().unwrap());
                        }
                    }
                }
                drop(writer);
                while let Some(bytes) = reader.next().await.unwrap() {
                    received.extend_from_slice(&bytes);
                }
                assert!(sent == received);
            };
            actix_web::rt::System::new().block_on(run);
        }
    }

    #[test]
    fn a_deserted_spool_says_so() {
        let (writer, reader) = spool();
        drop(reader);
        assert!(!actix_web::rt::System::new().block_on(writer.push(Bytes::from_static(b"x"), "unused")).unwrap());
    }
}
