//! Randomness as an argument: identifiers and secrets are drawn from an [`Entropy`] that is handed in, so that a test can
//! repeat itself and the one place that asks the operating system is known.

use std::fmt;
use std::sync::Arc;

type Fill = dyn Fn(&mut [u8]) + Send + Sync;

/// A source of unpredictable bytes.
#[derive(Clone)]
pub struct Entropy(Arc<Fill>);

impl Entropy {
    /// A source that fills buffers by calling `fill`.
    pub fn new(fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(fill))
    }

    /// The operating system's generator.
    pub fn system() -> Self {
        Self::new(|buffer| {
            #[expect(clippy::disallowed_methods, reason = "the one place that asks the operating system for randomness")]
            let filled = getrandom::fill(buffer);
            // Linux cannot fail here once booted. Were it to, going on with predictable secrets would be worse than stopping.
            if filled.is_err() {
                std::process::abort();
            }
        })
    }

    /// `N` fresh bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut buffer = [0; N];
        (self.0)(&mut buffer);
        buffer
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}
