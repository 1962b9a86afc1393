//! What commands print: answers on standard output, complaints on standard error.

use super::Exit;
use crate::domain::raw::RawObject;
use crate::domain::text::deceives;
use serde::Serialize;
use std::io::{self, BufRead as _, Read as _, Write as _};
use zeroize::Zeroizing;

fn failed(error: io::Error) -> Exit {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Exit::EnoughRead;
    }
    Exit::Refused(format!("standard output: {error}"))
}

/// A JSON document on a line.
pub(super) fn json(value: &impl Serialize) -> Result<(), Exit> {
    let text = serde_json::to_string(value).map_err(|e| Exit::Refused(e.to_string()))?;
    line(&text)
}

/// A list as a JSON document on a line.
pub(super) fn items(items: &[impl Serialize]) -> Result<(), Exit> {
    #[derive(Serialize)]
    struct Items<'a, T> {
        items: &'a [T],
    }
    json(&Items { items })
}

/// Bytes as they are.
pub(super) fn bytes(bytes: &[u8]) -> Result<(), Exit> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(failed)
}

/// Lines of text.
pub(super) fn lines(lines: &[String]) -> Result<(), Exit> {
    lines.iter().try_for_each(|l| line(l))
}

/// A line of text.
pub(super) fn line(text: &str) -> Result<(), Exit> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(failed)
}

/// A line on standard error.
pub(super) fn complain(text: &str) {
    // If standard error is gone, there is nowhere left to say so.
    let _ = writeln!(io::stderr().lock(), "usher: {text}");
}

/// A JSON object as `name: value` lines. Values that are no strings are printed as the JSON text that they are.
pub(super) fn members(value: &impl Serialize) -> Result<(), Exit> {
    let broken = |e: serde_json::Error| Exit::Refused(e.to_string());
    let text = serde_json::to_string(value).map_err(broken)?;
    let members: RawObject = serde_json::from_str(&text).map_err(broken)?;
    members.0.iter().try_for_each(|(name, value)| match serde_json::from_str::<String>(value.get()) {
        Ok(text) => line(&format!("{name}: {text}")),
        Err(_) => line(&format!("{name}: {}", printable(value.get()))),
    })
}

/// JSON text in which no character does anything to a terminal: control and format characters are escaped, which means the same.
pub(super) fn printable(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if deceives(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| shown.push_str(&format!("\\u{unit:04x}")));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Standard input as a secret: all of it, less one line ending.
pub(super) fn secret_from_stdin() -> Result<Zeroizing<String>, Exit> {
    let mut text = Zeroizing::new(String::new());
    let mut input = io::stdin().lock();
    let broken = |e: io::Error| Exit::Refused(format!("standard input: {e}"));
    // No secret is longer than a few lines; what never ends is not read to its end.
    input.by_ref().take(64 * 1024).read_to_string(&mut text).map_err(broken)?;
    if !input.fill_buf().map_err(broken)?.is_empty() {
        return Err(Exit::Refused("standard input: too long for a secret".to_owned()));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// Standard input as a password.
pub(super) fn password_from_stdin() -> Result<crate::domain::secret::Password, Exit> {
    Ok(crate::domain::secret::Password::new(secret_from_stdin()?.to_string()))
}
