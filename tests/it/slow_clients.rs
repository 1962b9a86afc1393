//! Slow clients (S39): connections on which a header or a body trickles, or whose answers nobody takes off. They are cut off within their
//! limits, and others do not feel them.

use crate::faults::{furnished, newcomer, root};
use crate::harness::process::Process;
use crate::harness::{Engine, Over, Site};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ME: &str = "/api/v1/users/me";
/// A header must be there by then, and a body.
const HEADER: Duration = Duration::from_secs(5);
const BODY: Duration = Duration::from_secs(10);
/// Between two rounds of whoever looks for what is overdue, what an unread body is waited for, and a busy machine's share.
const SLACK: Duration = Duration::from_secs(4);
/// Between two bytes of a client.
const BEAT: Duration = Duration::from_millis(200);

/// A client that takes its time.
struct Slow {
    kind: &'static str,
    stream: TcpStream,
    limit: Duration,
    ended: Option<Duration>,
}

fn connect(service: &Process) -> TcpStream {
    TcpStream::connect(service.base.strip_prefix("http://").unwrap()).unwrap()
}

impl Slow {
    fn new(service: &Process, kind: &'static str, keep_alive: Duration) -> Self {
        let mut stream = connect(service);
        let limit = match kind {
            "silent" | "header" => HEADER,
            "body" => BODY,
            _ => keep_alive + HEADER,
        };
        let beginning: &[u8] = match kind {
            "silent" => b"",
            "header" => b"GET /healthz HTTP/1.1\r\nx-slow: ",
            "body" => {
                b"POST /api/v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n{"
            }
            _ => b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        };
        stream.write_all(beginning).unwrap();
        if kind == "later header" {
            let mut answer = [0; 2048];
            let read = stream.read(&mut answer).unwrap();
            assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
            stream.write_all(b"GET /healthz HTTP/1.1\r\nx-slow: ").unwrap();
        }
        stream.set_nonblocking(true).unwrap();
        Self { kind, stream, limit, ended: None }
    }

    /// Sends a byte more, and looks whether the other side has ended.
    fn beat(&mut self, began: Instant) {
        let mut buffer = [0; 4096];
        let is_sent = self.kind == "silent" || self.stream.write_all(b"x").is_ok();
        let is_open = match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        if !is_sent || !is_open {
            self.ended = Some(began.elapsed());
        }
    }
}

fn are_cut_off(count: usize, keep_alive: Duration) {
    let site = Site::new(Engine::Sqlite).with("server.keep_alive_seconds", &keep_alive.as_secs().to_string());
    let site = furnished(site);
    let service = Process::serve(&site);
    let ann = newcomer(&service, &root(&service), "ann");
    let is_over = AtomicBool::new(false);
    let (mut slow, mut waits) = std::thread::scope(|scope| {
        let (is_over, ann) = (&is_over, &ann);
        let others = scope.spawn(move || {
            let mut waits = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                ann.get(ME).expect(200);
                waits.push(asked.elapsed());
            }
            waits
        });
        let over = Over(is_over);
        let kinds = ["silent", "header", "body", "later header"];
        let began = Instant::now();
        let mut slow: Vec<Slow> = (0..count).map(|number| Slow::new(&service, kinds[number % kinds.len()], keep_alive)).collect();
        while slow.iter().any(|s| s.ended.is_none() && began.elapsed() < s.limit + SLACK) {
            let beat = Instant::now();
            slow.iter_mut().filter(|s| s.ended.is_none()).for_each(|s| s.beat(began));
            std::thread::park_timeout(BEAT.saturating_sub(beat.elapsed()));
        }
        drop(over);
        (slow, others.join().unwrap())
    });
    waits.sort_unstable();
    println!("{} calls of others: median {:?}, longest {:?}", waits.len(), waits[waits.len() / 2], waits[waits.len() - 1]);
    for kind in ["silent", "header", "body", "later header"] {
        let of_kind: Vec<&mut Slow> = slow.iter_mut().filter(|s| s.kind == kind).collect();
        let ended: Vec<Duration> = of_kind.iter().filter_map(|s| s.ended).collect();
        println!(
            "{kind}: {} of {} cut off, between {:?} and {:?}",
            ended.len(),
            of_kind.len(),
            ended.iter().min(),
            ended.iter().max()
        );
        assert_eq!(ended.len(), of_kind.len(), "{kind}");
        let limit = of_kind[0].limit + SLACK;
        assert!(ended.iter().all(|e| *e <= limit), "{kind}: {ended:?}");
    }
    assert!(waits.len() > 20 && waits[waits.len() - 1] < Duration::from_secs(2), "{waits:?}");
}

/// S39: two hundred clients of four kinds, side by side.
#[test]
fn slow_clients_are_cut_off() {
    are_cut_off(200, Duration::from_secs(2));
}

/// The same with eight hundred, and with the settings as they come.
#[test]
#[ignore = "a soak of some minutes"]
fn many_slow_clients_are_cut_off() {
    are_cut_off(800, Duration::from_secs(60));
}

/// S39: answers that nobody takes off are waited for no longer than a request.
#[test]
fn an_answer_that_is_not_taken_off_is_given_up() {
    let site = furnished(Site::new(Engine::Sqlite).with("server.keep_alive_seconds", "1"));
    let service = Process::serve(&site);
    let mut stream = connect(&service);
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let began = Instant::now();
    let error = loop {
        // The answers are a hundred times as long as the requests: soon neither goes on.
        match stream.write_all(&b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100)) {
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break error,
            _ => assert!(began.elapsed() < Duration::from_secs(60), "it is still waited for"),
        }
    };
    assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    assert!(began.elapsed() < Duration::from_secs(1) + HEADER + SLACK, "{:?}", began.elapsed());
}

/// A call that takes its time is none of these: an import whose rows come slowly, but come, is read to its end.
#[test]
fn a_slow_import_is_read_to_its_end() {
    let site = furnished(Site::new(Engine::Sqlite).with("server.keep_alive_seconds", "1"));
    let service = Process::serve(&site);
    let ust = root(&service).ust.unwrap();
    let mut stream = connect(&service);
    let head = format!(
        "POST /api/v1/users/import HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {ust}\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let began = Instant::now();
    let mut number = 0;
    while began.elapsed() < Duration::from_secs(9) {
        // Above the slowest rate, 1 KiB/s.
        let row = format!("{{\"external_id\":\"{number}\",\"username\":\"row-{number}\",\"remark\":\"{}\"}}\n", "x".repeat(900));
        stream.write_all(format!("{:x}\r\n{row}\r\n", row.len()).as_bytes()).unwrap();
        number += 1;
        std::thread::park_timeout(Duration::from_millis(250));
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(&format!("\"created\":{number}")), "{answer}");
}
