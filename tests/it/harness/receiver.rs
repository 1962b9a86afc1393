//! Receivers of notices: small servers of the tests' own, over TLS with a certificate made for the occasion, that answer by a script and
//! tell what they got.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver as Channel, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::NamedTempFile;

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Reaction {
    /// With this status.
    Status(u16),
    /// With this status, and a place to go to instead.
    Redirect(u16, String),
    /// With 200 and a body without an end.
    Endless,
    /// With a header without an end.
    EndlessHeader,
    /// A byte now and then, as long as the other side listens.
    Trickle,
    /// Not at all, as long as the other side waits.
    Hang,
}

/// What a receiver got.
#[derive(Clone, Debug)]
pub struct Got {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    pub json: Value,
}

impl Got {
    /// What it tells of.
    pub fn kind(&self) -> &str {
        self.json["type"].as_str().unwrap()
    }
}

/// A receiver. It ends with the test.
pub struct Receiver {
    pub port: u16,
    /// The certificate that it shows, as a file.
    pub ca: NamedTempFile,
    got: Channel<Got>,
    script: Arc<Mutex<VecDeque<Reaction>>>,
    otherwise: Arc<Mutex<Reaction>>,
}

impl Receiver {
    /// Over TLS; answers 204.
    pub fn new() -> Self {
        Self::start(true)
    }

    /// In clear; answers 204.
    pub fn in_clear() -> Self {
        Self::start(false)
    }

    fn start(with_tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (acceptor, pem) = acceptor();
        let mut ca = NamedTempFile::new().unwrap();
        ca.write_all(&pem).unwrap();
        let (send, got) = channel();
        let (script, otherwise) = (Arc::new(Mutex::new(VecDeque::new())), Arc::new(Mutex::new(Reaction::Status(204))));
        let (scripted, fallback) = (Arc::clone(&script), Arc::clone(&otherwise));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (acceptor, send) = (acceptor.clone(), send.clone());
                let (scripted, fallback) = (Arc::clone(&scripted), Arc::clone(&fallback));
                std::thread::spawn(move || {
                    let react = || scripted.lock().unwrap().pop_front().unwrap_or_else(|| fallback.lock().unwrap().clone());
                    if with_tls {
                        // Whoever does not trust the certificate breaks off here.
                        let Ok(stream) = acceptor.accept(stream) else { return };
                        serve(stream, &send, react);
                    } else {
                        serve(stream, &send, react);
                    }
                });
            }
        });
        Self { port, ca, got, script, otherwise }
    }

    /// Its URL with this path.
    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    /// The next requests are answered so, one after the other.
    pub fn react(&self, reactions: &[Reaction]) {
        self.script.lock().unwrap().extend(reactions.iter().cloned());
    }

    /// All requests without a script of their own are answered so.
    pub fn always(&self, reaction: Reaction) {
        *self.otherwise.lock().unwrap() = reaction;
    }

    /// The next request, which must come soon.
    #[track_caller]
    pub fn next(&self) -> Got {
        self.got.recv_timeout(Duration::from_secs(20)).expect("nothing was received")
    }

    /// The next request that tells of this; those before it are passed over.
    #[track_caller]
    pub fn next_of(&self, kind: &str) -> Got {
        loop {
            let got = self.next();
            if got.kind() == kind {
                return got;
            }
        }
    }

    /// What has come so far and nobody has asked for.
    pub fn rest(&self) -> Vec<Got> {
        self.got.try_iter().collect()
    }
}

/// Something that speaks TLS with a fresh certificate, and that certificate.
fn acceptor() -> (Arc<SslAcceptor>, Vec<u8>) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "a receiver of usher's tests").unwrap();
    let name = name.build();
    let mut serial = BigNum::new().unwrap();
    serial.rand(128, MsbOption::MAYBE_ZERO, false).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    let names =
        SubjectAlternativeName::new().ip("127.0.0.1").dns("localhost").build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate = builder.build();
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_certificate(&certificate).unwrap();
    (Arc::new(acceptor.build()), certificate.to_pem().unwrap())
}

fn serve(mut stream: impl Read + Write, send: &Sender<Got>, react: impl FnOnce() -> Reaction) {
    let Some(got) = read(&mut stream) else { return };
    let reaction = react();
    // A test that has ended asks for nothing more.
    let _ = send.send(got);
    let mut write = |text: &str| stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_ok();
    match reaction {
        Reaction::Status(status) => {
            write(&format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n"));
        }
        Reaction::Redirect(status, location) => {
            write(&format!("HTTP/1.1 {status} X\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"));
        }
        Reaction::Endless => {
            let mut goes_on = write("HTTP/1.1 200 X\r\ncontent-length: 99999999999\r\n\r\n");
            while goes_on {
                goes_on = write(&"x".repeat(1 << 16));
            }
        }
        Reaction::EndlessHeader => {
            let mut goes_on = write("HTTP/1.1 204 X\r\n");
            while goes_on {
                goes_on = write(&format!("x: {}\r\n", "x".repeat(1000)));
            }
        }
        Reaction::Trickle => {
            let mut goes_on = write("HTTP/1.1 204 X\r\nx: ");
            // Nobody ever sends: each wait is a pause.
            let (_never, pause) = channel::<()>();
            while goes_on {
                let _ = pause.recv_timeout(Duration::from_millis(300));
                goes_on = write("x");
            }
        }
        Reaction::Hang => {
            let _ = stream.read(&mut [0; 1]);
        }
    }
}

/// Reads one request; `None` if there is none.
fn read(stream: &mut impl Read) -> Option<Got> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let mut more = |bytes: &mut Vec<u8>| match stream.read(&mut buffer) {
        Ok(0) | Err(_) => None,
        Ok(count) => {
            bytes.extend_from_slice(&buffer[..count]);
            Some(())
        }
    };
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        more(&mut bytes)?;
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let first = lines.next()?;
    assert!(first.starts_with("POST ") && first.ends_with(" HTTP/1.1"), "{first}");
    let path = first.split(' ').nth(1)?.to_owned();
    let headers: BTreeMap<String, String> =
        lines.filter_map(|l| l.split_once(": ")).map(|(n, v)| (n.to_lowercase(), v.to_owned())).collect();
    let length: usize = headers.get("content-length")?.parse().ok()?;
    while bytes.len() < end + 4 + length {
        more(&mut bytes)?;
    }
    let body = String::from_utf8(bytes[end + 4..].to_vec()).ok()?;
    let json = serde_json::from_str(&body).unwrap_or_default();
    Some(Got { path, headers, body, json })
}

/// A port that counts who connects, and says nothing.
pub struct Trap {
    pub port: u16,
    came: Arc<Mutex<Vec<TcpStream>>>,
}

impl Trap {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, came) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&came);
        std::thread::spawn(move || {
            listener.incoming().map_while(Result::ok).for_each(|stream| kept.lock().unwrap().push(stream))
        });
        Self { port, came }
    }

    /// How many have connected.
    pub fn came(&self) -> usize {
        self.came.lock().unwrap().len()
    }
}
