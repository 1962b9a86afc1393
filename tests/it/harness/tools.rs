//! Programs that others have written, to hold our codes, pictures and tokens against: `oathtool`, `rsvg-convert` with `zbarimg`, and Python
//! with the packages of `tests/tools/requirements.txt`, in an environment of its own below the target folder, made when it is first needed.
//! Where they are not to be had, the tests that need them are skipped with a line that says so, unless `USHER_TEST_TOOLS=required`.

use super::process::{self, Ran};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
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

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools")
}

/// The interpreter of the environment, made once for each state of the requirements; why not, if it cannot be.
fn made() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let requirements = fs::read(tools().join("requirements.txt")).map_err(|e| e.to_string())?;
    let state: String = Sha256::digest(&requirements).iter().take(8).map(|b| format!("{b:02x}")).collect();
    let environment = folder.join(format!("tools-{state}"));
    if !environment.exists() {
        let making = folder.join(format!("tools-{state}-{}", std::process::id()));
        succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&making))?;
        let install =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--requirement"];
        succeed(Command::new(making.join("bin/python")).args(install).arg(tools().join("requirements.txt")))?;
        // Another run of the tests may have been first, with the same outcome.
        let _ = fs::rename(&making, &environment);
    }
    Ok(environment.join("bin/python"))
}

/// Runs a command to its end; why it failed, if it did.
pub fn succeed(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
        Err(e) => Err(format!("{command:?}: {e}")),
    }
}

/// The interpreter; `None`, with a line that says so, if there are no tools here.
pub fn interpreter() -> Option<&'static Path> {
    static INTERPRETER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match INTERPRETER.get_or_init(made) {
        Ok(python) => Some(python),
        Err(cause) => {
            let is_required = std::env::var("USHER_TEST_TOOLS").is_ok_and(|v| v == "required");
            assert!(!is_required, "the tools of the tests are required, but not to be had: {cause}");
            println!("SKIPPED: the tools of the tests are not to be had ({cause})");
            None
        }
    }
}

/// Runs a program of `tests/tools` on this input to its end; `None` if there are no tools here.
pub fn python(program: &str, input: &str) -> Option<Ran> {
    let mut command = process::bare(&interpreter()?.to_string_lossy(), Path::new(env!("CARGO_TARGET_TMPDIR")));
    command.arg(tools().join(program));
    Some(process::run(command, input))
}
