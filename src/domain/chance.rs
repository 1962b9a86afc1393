//! Randomness as an argument: identifiers and secrets are drawn from an [`Entropy`] that is handed in, so that a test can
//! repeat itself and the one place that asks the operating system is known.

use std::cell::RefCell;
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
            // The last of a thread's secrets may be made while the thread ends.
            if RESERVE.try_with(|reserve| reserve.borrow_mut().hand_out(buffer)).is_err() {
                ask_system(buffer);
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

fn ask_system(buffer: &mut [u8]) {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the operating system for randomness")]
    let filled = getrandom::fill(buffer);
    // Linux cannot fail here once booted. Were it to, going on with predictable secrets would be worse than stopping.
    if filled.is_err() {
        std::process::abort();
    }
}

/// Bytes of the operating system that a thread has in reserve: every call draws a few, and asking for them costs more than they do. What is
/// handed out is left nowhere else.
struct Reserve {
    bytes: [u8; RESERVED],
    left: usize,
}

const RESERVED: usize = 512;

thread_local! {
    static RESERVE: RefCell<Reserve> = const { RefCell::new(Reserve { bytes: [0; RESERVED], left: 0 }) };
}

impl Reserve {
    fn hand_out(&mut self, buffer: &mut [u8]) {
        if buffer.len() > RESERVED {
            return ask_system(buffer);
        }
        if buffer.len() > self.left {
            ask_system(&mut self.bytes);
            self.left = RESERVED;
        }
        let begin = self.left - buffer.len();
        if let Some(taken) = self.bytes.get_mut(begin..self.left) {
            buffer.copy_from_slice(taken);
            taken.fill(0);
        }
        self.left = begin;
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        /// Whatever is asked for in whatever portions, no eight bytes come twice, and none that were handed out are kept.
        #[test]
        fn nothing_is_handed_out_twice(portions in prop::collection::vec(8usize..700, 1..60)) {
            let mut reserve = Reserve { bytes: [0; RESERVED], left: 0 };
            let mut seen = HashSet::new();
            for portion in portions {
                let mut buffer = vec![0; portion];
                reserve.hand_out(&mut buffer);
                for eight in buffer.chunks_exact(8) {
                    prop_assert!(seen.insert(eight.to_vec()), "twice, or not filled");
                }
                prop_assert!(reserve.bytes.iter().skip(reserve.left).all(|byte| *byte == 0));
            }
        }
    }
}
