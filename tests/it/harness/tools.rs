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
fn interpreter() -> Result<PathBuf, String> {
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

/// The interpreter that has the packages; `None` if there are no tools here.
fn environment() -> Option<PathBuf> {
    static INTERPRETER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match INTERPRETER.get_or_init(interpreter) {
        Ok(python) => Some(python.clone()),
        Err(cause) => {
            assert!(
                std::env::var("USHER_TEST_TOOLS").as_deref() != Ok("required"),
                "the tools of the tests are not to be had: {cause}"
            );
            println!("SKIPPED: the tools of the tests are not to be had ({cause})");
            None
        }
    }
}

/// The folder of the Python client, installed with pip into a folder of its own, once for each run of the tests.
fn installed_client(python: &Path) -> Result<PathBuf, String> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let install = || {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let target = folder.join(format!("python-client-{}", std::process::id()));
        // pip builds in the folder of the sources: a copy of it, then.
        let sources = folder.join(format!("python-client-sources-{}", std::process::id()));
        let _ = fs::remove_dir_all(&sources);
        run(Command::new("cp").arg("-r").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python")).arg(&sources))?;
        let pip =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--target"];
        run(Command::new(python).args(pip).arg(&target).arg(&sources))?;
        Ok(target)
    };
    INSTALLED.get_or_init(install).clone()
}

/// Runs a program of `tests/tools` that uses the Python client, on this input; `None` if there are no tools here.
pub fn client(program: &str, input: &str) -> Option<Ran> {
    let python = environment()?;
    let client = installed_client(&python).unwrap_or_else(|cause| panic!("the Python client cannot be installed: {cause}"));
    let mut command = process::bare(&python.to_string_lossy(), Path::new(env!("CARGO_TARGET_TMPDIR")));
    command.arg(tools().join(program)).env("PYTHONPATH", client).env("NO_PROXY", "127.0.0.1");
    Some(process::run(command, input))
}

/// Checks the types of the Python client, and of the programs that use it; `None` if there are no tools here.
pub fn check_types() -> Option<Ran> {
    let python = environment()?;
    let mut command = process::bare(&python.to_string_lossy(), Path::new(env!("CARGO_MANIFEST_DIR")));
    command.args(["-m", "mypy", "--strict", "--python-version", "3.10", "--cache-dir"]);
    command
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("mypy"))
        .args(["clients/python/src", "tests/tools/client_examples.py"]);
    Some(process::run(command, ""))
}
