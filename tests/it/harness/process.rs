//! The program itself, as a user would start it.

use super::{Client, Site};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::NamedTempFile;

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

    /// The one line of its complaint. More than that, or a panic, is not a complaint.
    #[track_caller]
    pub fn complaint(&self) -> &str {
        let lines: Vec<&str> = self.err.lines().collect();
        assert!(lines.len() == 1 && lines[0].starts_with("usher: ") && !self.err.contains("panicked"), "{self:?}");
        lines[0]
    }
}

/// Where the program is.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_usher");

/// The program, without any variable that would change its settings.
pub fn program(folder: &Path) -> Command {
    bare(PROGRAM, folder)
}

/// Any program, without any variable that would change usher's settings.
pub fn bare(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
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

/// Runs a service that must not come to listen, to its end. If it does come to listen it is killed and has no exit code.
pub fn refused_start(mut command: Command) -> Ran {
    let log = NamedTempFile::new().unwrap();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.reopen().unwrap()).spawn().unwrap();
    let mut out = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        if line.contains(" listens on ") {
            child.kill().unwrap();
        }
        out.push_str(&line);
        out.push('\n');
    }
    let code = child.wait().unwrap().code();
    Ran { code, out, err: read(&log) }
}

fn read(log: &NamedTempFile) -> String {
    String::from_utf8_lossy(&std::fs::read(log.path()).unwrap_or_default()).into_owned()
}

/// What a service left behind that was told to stop.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    /// What it printed and nobody had asked for yet.
    pub lines: Vec<String>,
    pub log: String,
}

/// A service in a process of its own.
pub struct Process {
    child: Child,
    pub base: String,
    /// What it printed, up to and including the line with its address.
    pub greeting: Vec<String>,
    lines: Receiver<String>,
    log: NamedTempFile,
}

impl Process {
    /// Starts `usher serve` on a site and waits until it listens.
    pub fn serve(site: &Site) -> Self {
        let mut command = program(site.folder.path());
        command.arg("serve").arg("--config").arg(site.settings());
        Self::start(command)
    }

    pub fn start(mut command: Command) -> Self {
        let log = NamedTempFile::new().unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.reopen().unwrap()).spawn().unwrap();
        let (send, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let mut process = Self { child, base: String::new(), greeting: Vec::new(), lines, log };
        while process.base.is_empty() {
            let line = process.lines.recv_timeout(Duration::from_secs(60));
            let line = line.unwrap_or_else(|_| panic!("the service did not start: {}", process.log()));
            if let Some((_, base)) = line.split_once(" listens on ") {
                base.clone_into(&mut process.base);
            }
            process.greeting.push(line);
        }
        process
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

    /// Where its log is.
    pub fn log_file(&self) -> std::path::PathBuf {
        self.log.path().to_owned()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        read(&self.log)
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Tells it to stop, and waits until it has.
    pub fn terminate(self) -> Ended {
        let told = Command::new("kill").args(["-TERM", &self.id().to_string()]).status().unwrap();
        assert!(told.success());
        self.wait()
    }

    /// Waits until it has stopped.
    pub fn wait(mut self) -> Ended {
        // Its standard output ends with it.
        let lines = self.lines.iter().collect();
        let code = self.child.wait().unwrap().code();
        Ended { code, lines, log: self.log() }
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
