//! The program itself, as a user would start it.

use super::{Client, Site};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// The program, without any variable that would change its settings.
pub fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("USHER") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder);
    command
}

/// Runs a command on a site.
pub fn usher(site: &Site, arguments: &[&str], input: &str) -> Ran {
    let mut command = program(site.folder.path());
    command.args(arguments).arg("--config").arg(site.settings());
    run(command, input)
}

/// Runs a command to its end.
pub fn run(mut command: Command, input: &str) -> Ran {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A service in a process of its own.
pub struct Process {
    child: Child,
    pub base: String,
    /// What it printed, up to and including the line with its address.
    pub greeting: Vec<String>,
    lines: Receiver<String>,
}

impl Process {
    /// Starts `usher serve` on a site and waits until it listens.
    pub fn serve(site: &Site) -> Self {
        let mut command = program(site.folder.path());
        command.arg("serve").arg("--config").arg(site.settings());
        Self::start(command)
    }

    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (send, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let mut greeting = Vec::new();
        loop {
            let line = lines.recv_timeout(Duration::from_secs(60)).expect("the service did not start");
            greeting.push(line.clone());
            if let Some((_, base)) = line.split_once(" listens on ") {
                return Self { child, base: base.to_owned(), greeting, lines };
            }
        }
    }

    /// The next line that it prints, if it does so soon.
    pub fn next_line(&self) -> Option<String> {
        self.lines.recv_timeout(Duration::from_secs(5)).ok()
    }

    pub fn anon(&self) -> Client {
        Client::new(&self.base)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
