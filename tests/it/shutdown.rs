//! Stopping: what was accepted is answered, and what was answered is kept.

use crate::both;
use crate::harness::process::{Process, usher};
use crate::harness::{PASSWORD, ROOT, Site, wait_until};
use crate::starting::create_root;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const USERS: &str = "/api/v1/users";

/// A connection that is kept for one call after the other.
struct Line {
    stream: BufReader<TcpStream>,
    ust: String,
}

/// What a call was answered on it.
struct Said {
    status: u16,
    json: Value,
}

impl Line {
    fn open(service: &Process, ust: &str) -> Self {
        let stream = TcpStream::connect(service.base.strip_prefix("http://").unwrap()).unwrap();
        Self { stream: BufReader::new(stream), ust: ust.to_owned() }
    }

    /// Any failure on the way is a call that was not answered.
    fn call(&mut self, method: &str, path: &str, body: &str) -> std::io::Result<Said> {
        let Self { stream, ust } = self;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: sso.example\r\nauthorization: Bearer {ust}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.get_mut().write_all(request.as_bytes())?;
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let lower = line.to_lowercase();
            length = lower.strip_prefix("content-length:").map_or(length, |text| text.trim().parse().unwrap());
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Ok(Said { status, json: serde_json::from_slice(&body).unwrap_or_default() })
    }
}

both! {
    /// SIGTERM under load: every call that the service has begun is answered, and whatever was answered is there after the next start. A call
    /// that met a closing connection did not happen. The service ends by itself, well before its time is over.
    fn what_was_accepted_is_answered_and_kept(engine) {
        const SECONDS: u64 = 30;
        let site = Site::new(engine).with("server.shutdown_seconds", &SECONDS.to_string());
        create_root(&site);
        let service = Process::serve(&site);
        let ust = service.anon().sign_in(ROOT, PASSWORD).ust.unwrap();
        // A connection on which nothing is under way does not hold it up.
        let mut idle = Line::open(&service, &ust);
        idle.call("GET", "/readyz", "").unwrap();
        let answered = AtomicUsize::new(0);
        let (id, began) = (service.id(), Instant::now());
        let ends: Vec<(Vec<String>, String)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|writer| {
                let (mut line, answered) = (Line::open(&service, &ust), &answered);
                scope.spawn(move || {
                    let mut made = Vec::new();
                    loop {
                        let name = format!("user-{writer}-{}", made.len());
                        match line.call("POST", USERS, &json!({"username": name}).to_string()) {
                            Ok(said) => assert_eq!((said.status, &said.json["username"]), (201, &json!(name))),
                            Err(_) => return (made, name),
                        }
                        made.push(name);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                })
            }).collect();
            wait_until("some load", || answered.load(Ordering::Relaxed) > 40);
            assert!(Command::new("kill").args(["-TERM", &id.to_string()]).status().unwrap().success());
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let ended = service.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert!(ended.log.contains("\"stopped\"") && began.elapsed().as_secs() < SECONDS, "{}", ended.log);
        assert!(idle.call("GET", "/readyz", "").is_err());

        // What it says that it has answered is what its callers have seen, no less and no more.
        let told = ended.log.lines().filter(|line| line.contains("\"POST\"") && line.contains(USERS) && line.contains("\"status\":201"));
        assert_eq!(told.count(), answered.load(Ordering::Relaxed));
        let again = Process::serve(&site);
        let by = again.anon().sign_in(ROOT, PASSWORD);
        let found = |name: &str| by.get(&format!("{USERS}?username={name}")).expect(200).json["items"].as_array().unwrap().len();
        for (made, unanswered) in ends {
            assert!(made.iter().all(|name| found(name) == 1), "lost: one of {made:?}");
            assert_eq!(found(&unanswered), 0, "{unanswered} was made, and its caller was not told");
        }
        usher(&site, &["audit", "verify"], "").expect(0);
    }
}
