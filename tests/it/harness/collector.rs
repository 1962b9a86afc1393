//! A collector of traces: takes OTLP over HTTP, and reads what it is sent.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A span as it was sent.
#[derive(Clone, Debug)]
pub struct Span {
    pub name: String,
    pub trace_id: String,
    pub span_id: String,
    pub parent_id: String,
    pub micros: u64,
    pub began: u64,
    pub is_error: bool,
    pub attributes: BTreeMap<String, String>,
}

/// What came in one message.
#[derive(Default)]
struct Taken {
    spans: Vec<Span>,
    resources: Vec<BTreeMap<String, String>>,
    paths: Vec<String>,
    bytes: Vec<u8>,
}

/// A collector. It ends with the test.
pub struct Collector {
    pub url: String,
    taken: Arc<Mutex<Taken>>,
}

impl Collector {
    /// One that takes everything.
    pub fn new() -> Self {
        Self::start(true)
    }

    /// One that takes connections, and never says a word.
    pub fn silent() -> Self {
        Self::start(false)
    }

    fn start(answers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let taken: Arc<Mutex<Taken>> = Arc::default();
        let takes = Arc::clone(&taken);
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                if answers {
                    take(&stream, &takes);
                } else {
                    held.push(stream);
                }
            }
        });
        Self { url, taken }
    }

    pub fn spans(&self) -> Vec<Span> {
        self.taken.lock().unwrap().spans.clone()
    }

    pub fn resources(&self) -> Vec<BTreeMap<String, String>> {
        self.taken.lock().unwrap().resources.clone()
    }

    pub fn paths(&self) -> Vec<String> {
        self.taken.lock().unwrap().paths.clone()
    }

    /// Whether these characters were among what came, wherever.
    pub fn has_seen(&self, text: &str) -> bool {
        self.taken.lock().unwrap().bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

fn take(mut stream: &TcpStream, taken: &Mutex<Taken>) {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(text) = line.strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
        assert!(!line.starts_with("content-type:") || line.ends_with("application/x-protobuf"), "{line}");
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let message = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
    let mut taken = taken.lock().unwrap();
    taken.paths.push(first.split(' ').nth(1).unwrap().to_owned());
    for of_resource in message.resource_spans {
        taken.resources.extend(of_resource.resource.map(|resource| named(resource.attributes)));
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            taken.spans.push(Span {
                name: span.name,
                trace_id: hex(&span.trace_id),
                span_id: hex(&span.span_id),
                parent_id: hex(&span.parent_span_id),
                micros: (span.end_time_unix_nano - span.start_time_unix_nano) / 1000,
                began: span.start_time_unix_nano / 1000,
                is_error: span.status.is_some_and(|status| status.code == 2),
                attributes: named(span.attributes),
            });
        }
    }
    taken.bytes.extend(body);
    drop(taken);
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
}

fn named(attributes: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.into_iter().map(|pair| (pair.key, pair.value.and_then(|v| v.value).map(text).unwrap_or_default())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
