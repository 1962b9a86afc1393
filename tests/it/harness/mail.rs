//! Mail in tests: the folder that messages are written to, and a server in Python that can be told to misbehave.

use super::{Engine, Site, Town};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Where the service says it is to be found from outside.
pub const BASE_URL: &str = "https://id.example.org/sso";

/// How long something that happens by itself is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A message, taken apart.
#[derive(Clone, Debug)]
pub struct Mail {
    pub raw: String,
    pub to: String,
    pub subject: String,
    pub text: String,
    pub html: String,
}

impl Mail {
    /// The first word of the text that begins with the base URL.
    #[track_caller]
    pub fn link(&self) -> String {
        let found = self.text.split_whitespace().find(|word| word.starts_with(BASE_URL));
        found.unwrap_or_else(|| panic!("no link in {}", self.text)).to_owned()
    }

    /// The token in the fragment of that link.
    #[track_caller]
    pub fn token(&self) -> String {
        self.link().split_once("#token=").unwrap().1.to_owned()
    }

    fn parse(raw: &str) -> Self {
        let raw = raw.replace("\r\n", "\n");
        let (head, body) = raw.split_once("\n\n").unwrap();
        let head = head.replace("\n ", " ").replace("\n\t", " ");
        let header = |name: &str| {
            let line = head.lines().find_map(|l| l.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)));
            line.map(|(_, value)| words(value)).unwrap_or_default()
        };
        let boundary = header("content-type");
        let boundary = boundary.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap();
        let parts: Vec<(String, String)> = body
            .split(&format!("--{boundary}"))
            .filter_map(|part| part.trim_start_matches('\n').split_once("\n\n"))
            .map(|(head, body)| {
                let body = body.trim_end_matches('\n');
                let body = match head.to_lowercase() {
                    h if h.contains("quoted-printable") => quoted(body),
                    h if h.contains("base64") => text(STANDARD.decode(body.replace('\n', "")).unwrap()),
                    _ => body.to_owned(),
                };
                (head.to_lowercase(), body)
            })
            .collect();
        let part = |kind: &str| parts.iter().find(|(head, _)| head.contains(kind)).map(|(_, body)| body.clone()).unwrap();
        Self { to: header("to"), subject: header("subject"), text: part("text/plain"), html: part("text/html"), raw }
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Quoted-printable (RFC 2045, section 6.7).
fn quoted(body: &str) -> String {
    let body = body.replace("=\n", "");
    let (mut bytes, mut rest) = (Vec::new(), body.as_bytes());
    while let Some((first, more)) = rest.split_first() {
        if *first == b'=' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&more[..2]).unwrap(), 16).unwrap());
            rest = &more[2..];
        } else {
            bytes.push(*first);
            rest = more;
        }
    }
    text(bytes)
}

/// Encoded words in base64 (RFC 2047), as the service writes them.
fn words(value: &str) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, encoded)) = rest.split_once("=?utf-8?b?") {
        // White space between two encoded words is not theirs.
        if !before.trim().is_empty() || out.is_empty() {
            out.push_str(before);
        }
        let (word, after) = encoded.split_once("?=").unwrap();
        out.push_str(&text(STANDARD.decode(word).unwrap()));
        rest = after;
    }
    out + rest
}

impl Site {
    /// With mail into a folder, and links.
    pub fn with_mail(engine: Engine) -> Self {
        let site = Self::new(engine);
        let folder = site.folder.path().join("mail");
        site.with("mail.transport", "\"folder\"")
            .with("mail.folder", &format!("{folder:?}"))
            .with("mail.from", "\"Accounts <accounts@example.org>\"")
            .with("links.base_url", &format!("{BASE_URL:?}"))
    }
}

impl Town {
    /// A town with mail, whose default application takes sign-ups.
    pub fn with_mail(engine: Engine) -> Self {
        let town = Self::on(Site::with_mail(engine));
        town.open_sign_up(false);
        town
    }

    /// People may sign up through every application that there is.
    pub fn open_sign_up(&self, is_approval_needed: bool) {
        self.sql(&format!("UPDATE applications SET is_sign_up_open = true, is_sign_up_approval_needed = {is_approval_needed}"));
    }

    /// Waits until everything that was to be decided and sent by now has been.
    #[track_caller]
    pub fn settle(&self) {
        let began = Instant::now();
        let waiting =
            format!("SELECT count(*) AS count FROM outbox WHERE kind <> 'hook' AND next_time <= {}", self.in_a_minute());
        while self.count(&waiting) > 0 {
            let causes = "SELECT kind || ' ' || attempts || ' ' || coalesce(last_error, 'untried') AS line FROM outbox";
            assert!(began.elapsed() < PATIENCE, "something is still waiting to be sent: {:?}", self.lines(causes));
            std::thread::yield_now();
        }
    }

    /// A minute from now, as the database spells it: what is under way is due by then.
    pub fn in_a_minute(&self) -> String {
        let micros = self.now().micros() + 60_000_000;
        match self.site.engine {
            Engine::Sqlite => micros.to_string(),
            Engine::Postgres => format!("to_timestamp({}.{:06})", micros / 1_000_000, micros % 1_000_000),
        }
    }

    /// Every message so far to this address, in the order in which they were written.
    #[track_caller]
    pub fn mails_to(&self, address: &str) -> Vec<Mail> {
        self.settle();
        all_mails(&self.site).into_iter().filter(|mail| mail.to == address).collect()
    }

    /// The only message to this address that has not been taken before.
    #[track_caller]
    pub fn mail_to(&self, address: &str) -> Mail {
        let mut mails = self.mails_to(address);
        assert_eq!(mails.len(), 1, "{mails:#?}");
        let mail = mails.remove(0);
        self.forget_mail();
        mail
    }

    /// Empties the folder.
    pub fn forget_mail(&self) {
        self.settle();
        for file in mail_files(&self.site) {
            std::fs::remove_file(file).unwrap();
        }
    }
}

fn mail_files(site: &Site) -> Vec<PathBuf> {
    let Ok(folder) = std::fs::read_dir(site.folder.path().join("mail")) else { return Vec::new() };
    // Ids are in order of creation.
    let mut files: Vec<PathBuf> =
        folder.map(|e| e.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "eml")).collect();
    files.sort();
    files
}

/// Every message in the folder of a site.
pub fn all_mails(site: &Site) -> Vec<Mail> {
    mail_files(site).iter().map(|file| Mail::parse(&std::fs::read_to_string(file).unwrap())).collect()
}

/// A mail server.
pub struct Server {
    process: Child,
    lines: Receiver<Value>,
    behaviour: PathBuf,
    pub port: u16,
}

impl Server {
    /// Starts one that behaves well, with more arguments; see `tests/tools/smtp_server.py`.
    pub fn start(python: &Path, folder: &Path, arguments: &[&str]) -> Self {
        let behaviour = folder.join("behaviour");
        std::fs::write(&behaviour, "ok").unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/smtp_server.py");
        let mut command = Command::new(python);
        command.arg(script).arg(&behaviour).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (send, lines) = channel();
        let out = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if send.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        let mut server = Self { process, lines, behaviour, port: 0 };
        server.port = server.next()["port"].as_u64().unwrap().try_into().unwrap();
        server
    }

    /// What it does from now on.
    pub fn behave(&self, how: &str) {
        std::fs::write(&self.behaviour, how).unwrap();
    }

    /// What it tells next.
    #[track_caller]
    pub fn next(&self) -> Value {
        self.lines.recv_timeout(PATIENCE).expect("the mail server tells nothing")
    }

    /// The next message that it takes.
    #[track_caller]
    pub fn message(&self) -> Value {
        loop {
            let told = self.next();
            if told["event"] == "message" {
                return told;
            }
        }
    }

    /// Whether it has told nothing more.
    pub fn is_silent(&self) -> bool {
        self.lines.try_recv().is_err()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
