//! What holds for every request: limits, headers, correlation ids, addresses.

use crate::both;
use crate::harness::{Engine, PASSWORD, Site, Town};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Sends bytes as they are and reads what comes back until the connection closes or nothing more comes.
fn raw(town: &Town, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(town.base.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

both! {
    /// S37: the headers are there on every answer, refusals and probes included.
    fn security_headers(engine) {
        let town = Town::new(engine);
        let expected = [
            ("strict-transport-security", "max-age=31536000; includeSubDomains"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ];
        let anon = town.anon();
        let answers = [
            anon.get("/healthz").expect(200),
            anon.get("/nowhere").expect(404),
            anon.get("/api/v1/users/me").expect(401),
            anon.call("PUT", "/api/v1/users/me", None).expect(405),
            anon.try_sign_in("root", PASSWORD).expect(201),
            anon.get("/docs/index.html").expect(200),
        ];
        for answer in &answers {
            for (name, value) in expected {
                assert_eq!(answer.headers.get(name).map(String::as_str), Some(value), "{name} {answer:?}");
            }
            assert!(answer.headers["content-security-policy"].starts_with("default-src 'none'"));
            assert!(answer.headers["content-security-policy"].contains("frame-ancestors 'none'"));
            assert!(answer.headers.contains_key("permissions-policy"));
        }
        for answer in &answers[..5] {
            assert_eq!(answer.headers["cache-control"], "no-store");
        }
        assert_eq!(answers[2].headers["www-authenticate"], "Bearer realm=\"usher\"");
        assert_eq!(answers[3].headers["allow"], "GET, PATCH");
    }

    /// S41: a correlation id is taken as it is or replaced; nothing else of it is echoed or logged.
    fn correlation_ids(engine) {
        let town = Town::new(engine);
        for good in ["a", "Req:2031-05.04_x", &"z".repeat(64)] {
            assert_eq!(town.anon().with("x-correlation-id", good).get("/healthz").cid(), good);
        }
        for bad in ["", "with space", "semi;colon", "tab\tbed", "ümlaut", &"z".repeat(65)] {
            let answer = town.anon().with("x-correlation-id", bad).get("/healthz");
            assert_eq!(answer.cid().len(), 32, "{bad}: {}", answer.cid());
        }
        let injected = raw(&town, b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-correlation-id: a\x1b[31m\r\n\r\n");
        assert!(!injected.contains('\u{1b}'), "{injected}");
    }

    /// A trace context goes through to the audit event; a malformed one does not.
    fn trace_context(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for (sent, kept) in [(good, json!(good)), ("nonsense", Value::Null)] {
            let cid = root.with("traceparent", sent).get("/api/v1/users/me").expect(200).cid().to_owned();
            let found = root.get(&format!("/api/v1/audit-events?cid={cid}")).json;
            assert_eq!(found["items"][0]["traceparent"], kept);
        }
    }

    /// S38, R27: bounds on URL, headers, body and nesting.
    fn bounds(engine) {
        let town = Town::new(engine);
        let root = town.root();
        root.get(&format!("/api/v1/audit-events?cid={}", "x".repeat(9000))).refused(414, "url_too_long");
        root.with("x-padding", &"x".repeat(17_000)).get("/api/v1/users/me").refused(431, "headers_too_large");
        root.post("/api/v1/users", &json!({"username": "x".repeat(66_000)})).refused(413, "too_large");
        let nested = |depth: usize| format!("{{\"username\":\"deep\",\"remark\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        root.call("POST", "/api/v1/users", Some(nested(32))).refused(400, "not_json");
        root.call("POST", "/api/v1/users", Some(nested(31))).refused(422, "invalid");
        // A body whose length is not announced is bounded all the same.
        let chunk = format!("{:x}\r\n{}\r\n", 8192, "x".repeat(8192));
        let head = format!("POST /api/v1/sessions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(9));
        assert!(raw(&town, head.as_bytes()).starts_with("HTTP/1.1 413"), "chunked");
    }

    /// S24: only JSON declared as such, only objects, only known members, each of its type.
    fn bodies(engine) {
        let town = Town::new(engine);
        let (anon, root) = (town.anon(), town.root());
        let sign_in = |body: &str| anon.call("POST", "/api/v1/sessions", Some(body.to_owned()));
        for kind in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"] {
            let answer = anon.with("content-type", kind).call("POST", "/api/v1/sessions", Some("{\"username\":\"a\",\"password\":\"b\"}".to_owned()));
            answer.refused(415, "unsupported_media_type");
        }
        for (body, status, code) in [
            ("", 400, "not_json"),
            ("{", 400, "not_json"),
            ("{} trailing", 400, "not_json"),
            ("\u{feff}{}", 400, "not_json"),
            ("[]", 400, "bad_type"),
            ("null", 400, "bad_type"),
            ("\"text\"", 400, "bad_type"),
            ("{}", 400, "bad_type"),
            ("{\"username\":\"a\"}", 400, "bad_type"),
            ("{\"username\":\"a\",\"username\":\"b\"}", 400, "bad_type"),
            ("{\"username\":1,\"password\":\"b\"}", 400, "bad_type"),
            ("{\"username\":\"a\",\"password\":{\"$ne\":1}}", 400, "bad_type"),
            ("{\"username\":\"a\",\"password\":\"b\",\"role\":\"administrator\"}", 422, "invalid"),
        ] {
            sign_in(body).refused(status, code);
        }
        // A secret of the wrong type does not come back in the complaint.
        let secret = sign_in("{\"username\":\"a\",\"password\":987654321987}").refused(400, "bad_type");
        assert!(!secret.text.contains("987654321987"));
        // S29, R15: what is computed, kept by operations, or secret cannot be assigned; all of it is named at once.
        for member in ["is_super_user", "approval_status", "is_locked", "user_id", "number", "password_is_set", "login_count", "totp_key", "groups"] {
            let answer = root.post("/api/v1/users", &json!({"username": "mass", member: "x"}));
            assert_eq!(answer.refused(403, "member_forbidden").json["errors"][0]["pointer"], format!("/{member}"));
        }
        for member in ["password_hash", "username_key", "totp_enrolment_end", "login_name_key", "nonsense", "Username"] {
            let answer = root.post("/api/v1/users", &json!({"username": "mass", member: "x"}));
            assert_eq!(answer.refused(422, "invalid").json["errors"][0]["code"], "unknown_member");
        }
        root.post("/api/v1/users", &json!({})).refused(422, "invalid");
        for unfit in [json!({"username": ""}), json!({"username": "a", "email": "nobody"}), json!({"username": "a", "user_role": "root"}),
            json!({"username": "a", "valid_to": "tomorrow"}), json!({"username": "a", "flags": "x"}), json!({"username": "a\u{200b}b"}),
            json!({"username": null}), json!({"username": "a", "supervisor_id": "018f0000-0000-7000-8000-000000000000"})]
        {
            root.post("/api/v1/users", &unfit).refused(422, "invalid");
        }
        assert_eq!(town.usher(&["user", "list", "--json"]).expect(0).json()["items"].as_array().unwrap().len(), 1);
    }

    /// The NUL character, which PostgreSQL cannot store, is no fault of the service.
    fn nul_characters(engine) {
        let town = Town::new(engine);
        let root = town.root();
        town.anon().try_sign_in("ro\u{0}ot", PASSWORD).refused(401, "credentials_invalid");
        town.anon().try_sign_in("root", "fern\u{0}tablet ocean quartz").refused(401, "credentials_invalid");
        let body = json!({"username": "root", "password": PASSWORD, "current_app": "de\u{0}fault"});
        town.anon().post("/api/v1/sessions", &body).refused(401, "application_invalid");
        for query in ["cid=%00", "actor=a%00", "subject=%00", "application=%00"] {
            assert_eq!(root.get(&format!("/api/v1/audit-events?{query}")).expect(200).json["items"], json!([]));
        }
        root.post("/api/v1/users", &json!({"username": "a\u{0}b"})).refused(422, "invalid");
        root.post("/api/v1/users", &json!({"username": "ab", "remark": "a\u{0}b"})).refused(422, "invalid");
    }

    /// S43, R20: the address in events and limits is the client's, as trusted proxies tell it.
    fn addresses(engine) {
        let address = |town: &Town, forwarded: &str| {
            let root = town.root();
            let answer = root.with("x-forwarded-for", forwarded).with("forwarded", "for=1.2.3.4").with("x-real-ip", "1.2.3.4").get("/api/v1/users/me");
            let found = root.get(&format!("/api/v1/audit-events?cid={}", answer.cid())).json;
            (answer.status, found["items"][0]["remote_addr"].clone())
        };
        let trusting = Town::on(Site::new(engine).with("server.trusted_proxies", "[\"127.0.0.0/8\", \"10.0.0.0/8\"]"));
        assert_eq!(address(&trusting, "198.51.100.7"), (200, json!("198.51.100.7")));
        assert_eq!(address(&trusting, "6.6.6.6, 198.51.100.7, 10.1.2.3"), (200, json!("198.51.100.7")));
        assert_eq!(address(&trusting, "198.51.100.7, unknown"), (400, Value::Null));
        let plain = Town::new(engine);
        assert_eq!(address(&plain, "198.51.100.7"), (200, json!("127.0.0.1")));
    }

    /// What decides on who is calling is not sent twice.
    fn repeated_headers_are_refused(engine) {
        let town = Town::new(engine);
        let token = town.root().ust.unwrap();
        let twice = format!("GET /api/v1/users/me HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\nauthorization: Bearer x\r\n\r\n");
        assert!(raw(&town, twice.as_bytes()).starts_with("HTTP/1.1 400"));
        // S23: a token in the URL is no credential.
        town.anon().get(&format!("/api/v1/users/me?ust={token}&access_token={token}")).refused(401, "session_invalid");
    }

    /// S42: no header that names a host has any effect on an answer.
    fn host_headers_have_no_effect(engine) {
        let town = Town::new(engine);
        let anon = town.anon();
        let evil = anon.with("x-forwarded-host", "evil.example").with("forwarded", "host=evil.example").with("host", "evil.example");
        for path in ["/docs", "/openapi.json", "/api/v1/users/me", "/nowhere"] {
            let answer = evil.get(path);
            assert!(!answer.text.contains("evil.example") && !format!("{:?}", answer.headers).contains("evil.example"));
        }
    }
}

/// S39: a header that does not come to its end is not waited for.
#[test]
fn a_slow_header_is_cut_off() {
    let town = Town::new(Engine::Sqlite);
    let answer = raw(&town, b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ");
    assert!(answer.starts_with("HTTP/1.1 408") || answer.is_empty(), "{answer}");
}

/// S39: a connection whose body is not read is closed, not waited for.
#[test]
fn an_unread_body_closes_the_connection() {
    let town = Town::new(Engine::Sqlite);
    let head = b"POST /api/v1/users HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"use\r\n";
    let answer = raw(&town, head);
    assert!(answer.starts_with("HTTP/1.1 401") && answer.to_lowercase().contains("connection: close"), "{answer}");
}

/// A client that goes away takes its event with it as little as its call (S46).
#[test]
fn a_call_outlives_its_client() {
    let town = Town::new(Engine::Sqlite);
    let root = town.root();
    let body = json!({"username": "nobody", "password": "a wrong password, but long"}).to_string();
    for number in 0..5 {
        let head = format!(
            "POST /api/v1/sessions HTTP/1.1\r\nhost: x\r\nx-correlation-id: gone-{number}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let stream = TcpStream::connect(town.base.trim_start_matches("http://")).unwrap();
        (&stream).write_all(head.as_bytes()).unwrap();
        // Closing with an answer unread resets the connection.
        drop(stream);
    }
    let began = std::time::Instant::now();
    for number in 0..5 {
        let count = || root.get(&format!("/api/v1/audit-events?cid=gone-{number}")).json["items"].as_array().unwrap().len();
        while count() != 1 {
            assert!(began.elapsed() < Duration::from_secs(20), "call {number} left {} events", count());
        }
    }
}

/// S39: one address does not get all connections.
#[test]
fn one_address_does_not_get_all_connections() {
    let town = Town::on(Site::new(Engine::Sqlite).with("server.max_connections_per_address", "3"));
    let address = town.base.trim_start_matches("http://").to_owned();
    let held: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let last = raw(&town, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(last.starts_with("HTTP/1.1 503") && last.to_lowercase().contains("retry-after"), "{last}");
    drop(held);
}

/// The browser for the API comes from the binary and needs nothing from elsewhere.
#[test]
fn the_documents_are_served() {
    let town = Town::new(Engine::Sqlite);
    let anon = town.anon();
    let page = anon.get("/docs/index.html").expect(200);
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    for word in page.text.split(['"', '\'']).filter(|w| w.ends_with(".js") || w.ends_with(".css")) {
        assert!(!word.contains("//"), "{word} is fetched from elsewhere");
        anon.get(&format!("/docs/{}", word.trim_start_matches("./"))).expect(200);
    }
    anon.get("/docs/%2e%2e%2fmain.rs").expect(404);
    let document = anon.get("/openapi.json").expect(200).json;
    assert_eq!(document, town.usher(&["openapi"]).expect(0).json());
    assert_eq!(document["openapi"], "3.1.0");
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(reference).is_some(), "{reference} leads nowhere");
    }
}
