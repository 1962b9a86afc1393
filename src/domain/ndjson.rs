//! Lines of JSON (NDJSON), cut out of bytes as they come.
//!
//! A line ends with a line feed, before which a carriage return is left out; the last one may end with the input. Lines count from 1,
//! empty ones are passed over. A line has a bound: one that is longer is told as such and read past, without being kept.

/// The longest line, in bytes.
pub const LONGEST_LINE: usize = 64 * 1024;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 1.
    pub number: u64,
    /// Its bytes; `None` if it is longer than [`LONGEST_LINE`].
    pub bytes: Option<Vec<u8>>,
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
pub struct Cutter {
    /// The beginning of the line that has not ended yet.
    begun: Vec<u8>,
    /// Whether that line is too long already.
    is_oversized: bool,
    /// Lines that have ended.
    ended: u64,
}

impl Cutter {
    /// Takes the next bytes and adds the lines that end in them to `lines`.
    pub fn feed(&mut self, bytes: &[u8], lines: &mut Vec<Line>) {
        let mut pieces = bytes.split(|b| *b == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            self.append(piece);
            if pieces.peek().is_some() {
                lines.extend(self.end());
            }
        }
    }

    /// The input is over: what has begun is the last line.
    pub fn finish(&mut self) -> Option<Line> {
        if self.begun.is_empty() && !self.is_oversized { None } else { self.end() }
    }

    fn append(&mut self, piece: &[u8]) {
        // One byte more than a line may have, for the carriage return.
        if self.is_oversized || self.begun.len() + piece.len() > LONGEST_LINE + 1 {
            self.is_oversized = true;
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(piece);
        }
    }

    fn end(&mut self) -> Option<Line> {
        self.ended += 1;
        let mut bytes = std::mem::take(&mut self.begun);
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        let is_oversized = std::mem::take(&mut self.is_oversized) || bytes.len() > LONGEST_LINE;
        if !is_oversized && bytes.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        Some(Line { number: self.ended, bytes: (!is_oversized).then_some(bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(pieces: &[&[u8]]) -> Vec<Line> {
        let (mut cutter, mut lines) = (Cutter::default(), Vec::new());
        pieces.iter().for_each(|piece| cutter.feed(piece, &mut lines));
        lines.extend(cutter.finish());
        lines
    }

    fn line(number: u64, text: &str) -> Line {
        Line { number, bytes: Some(text.as_bytes().to_vec()) }
    }

    #[test]
    fn lines_are_cut_and_counted() {
        assert_eq!(cut(&[b"a\r\n\n  \nb", b"c\nd"]), [line(1, "a"), line(4, "bc"), line(5, "d")]);
        assert_eq!(cut(&[b"", b"\n"]), []);
    }

    /// S38: a line beyond the bound is not kept, and the next one is read as if nothing had been.
    #[test]
    fn a_line_has_a_bound() {
        let long = |length: usize| vec![b'x'; length];
        let (fits, is_too_long) = (long(LONGEST_LINE), long(LONGEST_LINE + 1));
        let lines = cut(&[&fits, b"\r\n", &is_too_long, b"\n", &is_too_long, &is_too_long, b"\nb"]);
        let expected = [
            Line { number: 1, bytes: Some(fits) },
            Line { number: 2, bytes: None },
            Line { number: 3, bytes: None },
            line(4, "b"),
        ];
        assert_eq!(lines, expected);
    }

    proptest! {
        /// However the bytes come, the lines are the same.
        #[test]
        fn pieces_make_no_difference(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b' '), any::<u8>()], 0..200), at in any::<prop::sample::Index>()) {
            let (first, second) = bytes.split_at(at.index(bytes.len() + 1));
            let singly: Vec<&[u8]> = bytes.chunks(1).collect();
            let whole = cut(&[&bytes]);
            prop_assert_eq!(cut(&[first, second]), whole.clone());
            prop_assert_eq!(cut(&singly), whole.clone());
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let expected = text.split('\n').filter(|l| !l.bytes().all(|b| b.is_ascii_whitespace())).count();
            prop_assert_eq!(whole.len(), expected);
        }
    }
}
