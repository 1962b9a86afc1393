//! Traces (docs/TRACES.md): a span for each request, in its caller's trace, with nothing of anyone in it; and that nobody ever waits for a collector.

use crate::both;
use crate::faults::furnished;
use crate::harness::collector::{Collector, Span};
use crate::harness::process::{self, Process, refused_start, usher};
use crate::harness::{Engine, PASSWORD, ROOT, Site, Town, wait_until};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::{Duration, Instant};

const ME: &str = "/api/v1/users/me";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn traced(engine: Engine, url: &str) -> Site {
    Site::new(engine).with("traces.otlp_endpoint", &format!("{url:?}"))
}

#[track_caller]
fn of_cid(spans: &[Span], cid: &str) -> Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.attributes["usher.cid"] == cid).collect();
    assert_eq!(found.len(), 1, "{cid}: {spans:#?}");
    found[0].clone()
}

both! {
    /// Each request leaves one span with its route, status and correlation id, a child of its caller's span where it names one.
    fn each_request_is_a_span(engine) {
        let collector = Collector::new();
        let town = Town::on(traced(engine, &collector.url));
        let ann = town.user("ann-with-a-name");
        let began = town.now();
        let traceparent = format!("00-{TRACE}-{PARENT}-01");
        let asks = |cid: &str| ann.with("x-correlation-id", cid);
        asks("read").with("traceparent", &traceparent).get(ME).expect(200);
        asks("alone").get(&format!("/api/v1/users/{}", ann.id())).expect(403);
        asks("odd").with("traceparent", "00-zz-01").get(ME).expect(200);
        asks("not-sampled").with("traceparent", &format!("00-{TRACE}-{PARENT}-00")).get(ME).expect(200);
        asks("nowhere").get("/api/v1/hidden-place?secret=hidden-query").expect(404);
        asks("other-method").call("BREW", ME, None).expect(405);
        town.anon().get("/readyz").expect(200);
        let ust = ann.ust.clone().unwrap();
        let site = town.halt();

        let spans = collector.spans();
        let read = of_cid(&spans, "read");
        assert_eq!((read.name.as_str(), read.trace_id.as_str(), read.parent_id.as_str()), ("GET /api/v1/users/me", TRACE, PARENT));
        let names: Vec<&str> = read.attributes.keys().map(String::as_str).collect();
        assert_eq!(names, ["http.request.method", "http.response.status_code", "http.route", "usher.cid"]);
        assert_eq!((read.attributes["http.request.method"].as_str(), read.attributes["http.response.status_code"].as_str()), ("GET", "200"));
        assert!(!read.is_error);
        // The clock of a town stands still.
        assert_eq!((read.began, read.micros), (u64::try_from(began.micros()).unwrap(), 0));
        let alone = of_cid(&spans, "alone");
        assert_eq!((alone.name.as_str(), alone.parent_id.as_str()), ("GET /api/v1/users/{user_id}", ""));
        assert_eq!(alone.attributes["http.response.status_code"], "403");
        assert_eq!(of_cid(&spans, "odd").parent_id, "");
        assert!(spans.iter().all(|span| span.attributes["usher.cid"] != "not-sampled"));
        assert_eq!(of_cid(&spans, "nowhere").name, "GET no route");
        assert_eq!(of_cid(&spans, "other-method").name, "_OTHER other method");
        assert!(spans.iter().all(|span| !span.name.contains("readyz")));
        let ids: BTreeSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
        assert_eq!(ids.len(), spans.len());
        assert!(spans.iter().any(|span| span.name == "POST /api/v1/sessions"));
        assert!(collector.paths().iter().all(|path| path == "/v1/traces"));
        assert!(collector.resources().iter().all(|resource| resource["service.name"] == "usher"));
        // S30: nothing of anyone is in it, and no secret.
        for told in [PASSWORD, ROOT, "ann-with-a-name", ust.as_str(), ann.id(), "hidden", "127.0.0.1", "BREW"] {
            assert!(!collector.has_seen(told), "{told} was told");
        }
        drop(site);
    }
}

/// Where nobody is named nothing is sent; the standard variable names a collector, and usher's own settings win over it.
#[test]
fn the_standard_variable_names_a_collector() {
    let (standard, own) = (Collector::new(), Collector::new());
    let site = furnished(Site::new(Engine::Sqlite));
    let serve = |variables: &[(&str, &str)]| {
        let mut command = process::program(site.folder.path());
        command.env_remove("OTEL_EXPORTER_OTLP_ENDPOINT").envs(variables.iter().copied());
        command.arg("serve").arg("--config").arg(site.settings());
        let service = Process::start(command);
        service.anon().get(ME).expect(401);
        service.terminate();
    };
    serve(&[]);
    assert!(standard.spans().is_empty());
    serve(&[("OTEL_EXPORTER_OTLP_ENDPOINT", standard.url.as_str())]);
    assert_eq!(standard.spans().len(), 1);
    let both = [("OTEL_EXPORTER_OTLP_ENDPOINT", standard.url.as_str()), ("USHER__TRACES__OTLP_ENDPOINT", own.url.as_str())];
    serve(&both);
    assert_eq!((standard.spans().len(), own.spans().len()), (1, 1));
    let mut show = process::program(site.folder.path());
    show.env(both[0].0, both[0].1).args(["config", "show"]);
    let shown = process::run(show, "").expect(0).out;
    assert!(shown.lines().any(|line| line.contains("traces.otlp_endpoint") && line.contains(&standard.url)), "{shown}");
}

/// A collector that is gone, or that never answers, delays and fails no call, nor the end of the service; the log tells of it once.
#[test]
fn nobody_waits_for_a_collector() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = Collector::silent();
    for url in [format!("http://{gone}"), silent.url.clone()] {
        let site = furnished(traced(Engine::Sqlite, &url));
        let service = Process::serve(&site);
        let root = service.anon().sign_in(ROOT, PASSWORD);
        let mut longest = Duration::ZERO;
        let mut calls = 0;
        while calls < 100 || !service.log().contains("spans are not taken") {
            let began = Instant::now();
            root.get(ME).expect(200);
            root.patch(ME, &json!({"lang_id": 1})).expect(200);
            longest = longest.max(began.elapsed());
            calls += 2;
            assert!(calls < 100_000, "the log tells nothing");
        }
        // A call that waited for the collector would take five seconds. Less than that may be the disk's share.
        assert!(longest < Duration::from_millis(4500), "{longest:?}");
        let began = Instant::now();
        let ended = service.terminate();
        assert!(began.elapsed() < Duration::from_secs(4), "it took {:?} to end", began.elapsed());
        assert_eq!(ended.code, Some(0));
        assert_eq!(ended.log.matches("spans are not taken").count(), 1, "{}", ended.log);
        assert!(!ended.log.contains("panicked"));
    }
}

/// Spans come while the service runs, not at its end alone.
#[test]
fn spans_come_by_themselves() {
    let collector = Collector::new();
    let town = Town::on(traced(Engine::Sqlite, &collector.url));
    town.anon().get(ME).expect(401);
    wait_until("a span", || !collector.spans().is_empty());
}

/// What is no URL of a collector stops the start, and commands that send nothing go on.
#[test]
fn a_wrong_collector_is_refused() {
    for url in
        ["localhost:4318", "ftp://localhost", "http://", "http://user:word@localhost:4318", "http://localhost:4318/?key=word"]
    {
        let site = furnished(traced(Engine::Sqlite, url));
        let mut command = process::program(site.folder.path());
        command.arg("serve").arg("--config").arg(site.settings());
        let said = refused_start(command).expect(1);
        assert!(said.complaint().contains("traces.otlp_endpoint") && !said.err.contains("word"), "{url}: {said:?}");
        usher(&site, &["user", "list"], "").expect(0);
    }
}
