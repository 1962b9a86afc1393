//! The log of `usher serve`: lines for standard error.
//!
//! A busy service writes tens of thousands of lines a second, and to write each by a call of its own costs more than to make it. So lines
//! are gathered for a millisecond and written together, by a thread that does nothing else. A line that tells of a fault is written at
//! once, with all before it; and when the log is dropped, what is left is written. Where standard error takes nothing, whoever
//! has something to say waits, as it would without this.

use crate::settings::{self, LogFormat};
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// For so long lines are gathered.
const GATHER: Duration = Duration::from_millis(1);
/// Bytes that are gathered at most.
const MOST: usize = 64 * 1024;

#[derive(Default)]
struct Gathered {
    lines: Vec<u8>,
    is_closed: bool,
}

impl Gathered {
    /// Writes them. Where that fails there is nobody to tell: what is left is kept for the next time, unless it is too much.
    fn write(&mut self) {
        let mut left = self.lines.as_slice();
        while !left.is_empty() {
            match io::stderr().write(left) {
                Ok(count @ 1..) => left = left.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => break,
            }
        }
        let written = if left.len() < MOST { self.lines.len() - left.len() } else { self.lines.len() };
        self.lines.drain(..written);
    }
}

#[derive(Default)]
struct Shared {
    gathered: Mutex<Gathered>,
    bell: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is gathered until the log is closed.
    fn serve(&self) {
        let mut gathered = self.lock();
        while !gathered.is_closed {
            if gathered.lines.is_empty() {
                gathered = self.bell.wait(gathered).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            // While lines are gathered nothing rings but the end, and a line after one that was written at once.
            gathered = self.bell.wait_timeout(gathered, GATHER).unwrap_or_else(PoisonError::into_inner).0;
            gathered.write();
        }
    }
}

/// The log, while it is kept.
pub(super) struct Log {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Log {
    /// Begins to keep it.
    ///
    /// # Errors
    /// The filter cannot be read, or the operating system refuses a thread; in one line.
    pub(super) fn start(settings: &settings::Log) -> Result<Self, String> {
        let filter = EnvFilter::try_new(&settings.filter).map_err(|e| format!("setting log.filter: {e}"))?;
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || serving.serve());
        let thread = Some(thread.map_err(|e| format!("cannot start the log: {e}"))?);
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Lines(Arc::clone(&shared)));
        match settings.format {
            LogFormat::Json => subscriber.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
            LogFormat::Text => subscriber.with_ansi(false).init(),
        }
        Ok(Self { shared, thread })
    }

    /// Writes what is gathered.
    pub(super) fn flush(&self) {
        self.shared.lock().write();
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.bell.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // Whoever still has something to say writes it itself.
        self.flush();
    }
}

/// Where lines go.
struct Lines(Arc<Shared>);

/// Where a line goes.
struct Line<'a> {
    shared: &'a Shared,
    is_urgent: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { shared: &self.0, is_urgent: true }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line<'a> {
        Line { shared: &self.0, is_urgent: *meta.level() <= Level::WARN }
    }
}

impl Write for Line<'_> {
    /// A line comes in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut gathered = self.shared.lock();
        let is_first = gathered.lines.is_empty();
        gathered.lines.extend_from_slice(line);
        if self.is_urgent || gathered.is_closed || gathered.lines.len() >= MOST {
            gathered.write();
        } else if is_first {
            drop(gathered);
            self.shared.bell.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
