//! Programs that others have written, to hold our codes and pictures against: `oathtool`, and `rsvg-convert` with `zbarimg`. Where they are
//! not installed, the tests that need them are skipped with a line that says so, unless `USHER_TEST_TOOLS=required`.

use std::process::{Command, Stdio};
use tempfile::TempDir;
use usher::domain::time::Utc;

/// Whether these programs are there; if not, says so, or fails where they must be there.
pub fn are_there(programs: &[&str]) -> bool {
    let runs = |program: &str| {
        let started = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        started.is_ok_and(|status| status.success())
    };
    let missing: Vec<&str> = programs.iter().copied().filter(|program| !runs(program)).collect();
    let is_required = std::env::var("USHER_TEST_TOOLS").is_ok_and(|v| v == "required");
    assert!(missing.is_empty() || !is_required, "required, but not installed: {}", missing.join(", "));
    if !missing.is_empty() {
        println!("SKIPPED: not installed: {}", missing.join(", "));
    }
    missing.is_empty()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The code that `oathtool` has for a key at a time.
pub fn oathtool(key: &str, now: Utc) -> String {
    run(Command::new("oathtool")
        .args(["--totp", "--base32", key, "--now"])
        .arg(now.to_string().replace('T', " ").replace('Z', " UTC")))
}

/// What `zbarimg` reads in a picture that `rsvg-convert` has painted.
pub fn read_picture(svg: &str) -> String {
    let folder = TempDir::new().unwrap();
    let (drawn, painted) = (folder.path().join("code.svg"), folder.path().join("code.png"));
    std::fs::write(&drawn, svg).unwrap();
    run(Command::new("rsvg-convert").arg(&drawn).arg("--output").arg(&painted));
    run(Command::new("zbarimg").args(["--quiet", "--raw", "-Sdisable", "-Sqrcode.enable"]).arg(&painted))
}

/// The one-time code of a key in base32 at a time.
pub fn code(key: &str, now: Utc) -> String {
    let secret = totp_rs::Secret::try_from_base32(key).unwrap();
    let seconds = u64::try_from(now.micros() / 1_000_000).unwrap();
    totp_rs::Builder::new().with_secret(secret).build_noncompliant().generate(seconds).to_string()
}
