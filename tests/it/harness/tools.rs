//! Programs of others that tests ask: Python with the packages of `tests/tools/requirements.txt`, in an environment of its own below
//! the target folder, made when it is first needed.
//!
//! Where there is no Python, or its packages cannot be had, tests that need it say so and pass, unless `USHER_TEST_TOOLS=required`.

use super::process::{self, Ran};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&making))?;
        let install =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--requirement"];
        run(Command::new(making.join("bin/python")).args(install).arg(tools().join("requirements.txt")))?;
        // Another run of the tests may have been first, with the same outcome.
        let _ = fs::rename(&making, &environment);
    }
    Ok(environment.join("bin/python"))
}

fn run(command: &mut Command) -> Result<(), String> {
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
