//! PgBouncer between usher and a server. Where it is not installed, the tests on it are skipped with a line that says so, unless
//! `USHER_TEST_TOOLS=required`.

use super::postgres::{Server, as_nobody, folder_of_nobody, free_port};
use super::wait_until;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Where the program is. Debian keeps it where only root looks.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join("pgbouncer")).find(|program| program.exists())
}

/// Whether it is there; if not, says so, or fails where it must be there.
pub fn is_there() -> bool {
    let is_there = program().is_some();
    let is_required = std::env::var("USHER_TEST_TOOLS").is_ok_and(|v| v == "required");
    assert!(is_there || !is_required, "PgBouncer is required, but not installed");
    if !is_there {
        println!("SKIPPED: PgBouncer is not installed");
    }
    is_there
}

/// A pooler that runs. It ends with this process, however that ends.
pub struct Pooler {
    _folder: TempDir,
    port: u16,
    keeper: Child,
}

impl Pooler {
    /// One before a server, in a mode and with further settings, one a line.
    pub fn before(server: &Server, mode: &str, settings: &str) -> Self {
        let (folder, port) = (folder_of_nobody(), free_port());
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=usher\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\nmax_client_conn = 500\ndefault_pool_size = 100\n\
             server_login_retry = 1\n{settings}\n",
            server.port()
        );
        std::fs::write(folder.path().join("pooler.ini"), text).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", r#""$0" -q pooler.ini >log 2>&1 & pooler=$!; read -r how; kill -TERM $pooler; wait $pooler"#]);
        shell.arg(program().expect("ask is_there() first")).stdin(Stdio::piped()).current_dir(folder.path());
        let keeper = as_nobody(shell).spawn().unwrap();
        wait_until("a pooler", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { _folder: folder, port, keeper }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database, through the pooler.
    pub fn url(&self, url: &str) -> String {
        let (_, name) = url.rsplit_once('/').unwrap();
        format!("postgres://usher@127.0.0.1:{}/{name}", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.keeper.stdin.take().map(|mut stdin| stdin.write_all(b"end\n"));
        let _ = self.keeper.wait();
    }
}
