//! What commands print: answers on standard output, complaints on standard error.

use super::Exit;
use serde::Serialize;
use std::io::{self, BufRead as _, Read as _, Write as _};

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

/// Lines of text.
pub(super) fn lines(lines: &[String]) -> Result<(), Exit> {
    lines.iter().try_for_each(|l| line(l))
}

/// A line of text.
pub(super) fn line(text: &str) -> Result<(), Exit> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(failed)
}

/// Bytes as they are; tells whether anyone still reads.
pub(super) fn piece(bytes: &[u8]) -> io::Result<bool> {
    match io::stdout().lock().write_all(bytes).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}

/// A line on standard error.
pub(super) fn complain(text: &str) {
    // If standard error is gone, there is nowhere left to say so.
    let _ = writeln!(io::stderr().lock(), "usher: {text}");
}

/// A JSON object as `name: value` lines.
pub(super) fn members(value: &serde_json::Value) -> Result<(), Exit> {
    let members = value.as_object().into_iter().flatten();
    members.into_iter().try_for_each(|(name, value)| match value {
        serde_json::Value::String(text) => line(&format!("{name}: {text}")),
        other => line(&format!("{name}: {other}")),
    })
}

/// Standard input as a password: all of it, less one line ending.
pub(super) fn password_from_stdin() -> Result<crate::domain::secret::Password, Exit> {
    let mut text = String::new();
    let mut input = io::stdin().lock();
    let broken = |e: io::Error| Exit::Refused(format!("standard input: {e}"));
    // No password is longer than a few lines; what never ends is not read to its end.
    input.by_ref().take(64 * 1024).read_to_string(&mut text).map_err(broken)?;
    if !input.fill_buf().map_err(broken)?.is_empty() {
        return Err(Exit::Refused("standard input: too long for a password".to_owned()));
    }
    let text = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
    Ok(crate::domain::secret::Password::new(text.to_owned()))
}
