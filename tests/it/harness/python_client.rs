//! The Python client of `clients/python`, installed as anyone would, and programs that use it.

use super::process::{self, Ran};
use super::tools;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of the Python client, installed with pip into a folder of its own, once for each run of the tests.
fn installed_client(python: &Path) -> Result<PathBuf, String> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let install = || {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let target = folder.join(format!("python-client-{}", std::process::id()));
        // pip builds in the folder of the sources: a copy of it, then.
        let sources = folder.join(format!("python-client-sources-{}", std::process::id()));
        let _ = fs::remove_dir_all(&sources);
        tools::succeed(
            Command::new("cp").arg("-r").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python")).arg(&sources),
        )?;
        let pip =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--target"];
        tools::succeed(Command::new(python).args(pip).arg(&target).arg(&sources))?;
        Ok(target)
    };
    INSTALLED.get_or_init(install).clone()
}

/// Runs a program of `tests/tools` that uses the Python client, on this input; `None` if there are no tools here.
pub fn client(program: &str, input: &str) -> Option<Ran> {
    let python = tools::interpreter()?;
    let client = installed_client(python).unwrap_or_else(|cause| panic!("the Python client cannot be installed: {cause}"));
    let mut command = process::bare(&python.to_string_lossy(), Path::new(env!("CARGO_TARGET_TMPDIR")));
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools").join(program))
        .env("PYTHONPATH", client)
        .env("NO_PROXY", "127.0.0.1");
    Some(process::run(command, input))
}

/// Checks the types of the Python client, and of the programs that use it; `None` if there are no tools here.
pub fn check_types() -> Option<Ran> {
    let python = tools::interpreter()?;
    let mut command = process::bare(&python.to_string_lossy(), Path::new(env!("CARGO_MANIFEST_DIR")));
    command.args(["-m", "mypy", "--strict", "--python-version", "3.10", "--cache-dir"]);
    command
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("mypy"))
        .args(["clients/python/src", "tests/tools/client_examples.py"]);
    Some(process::run(command, ""))
}
