//! `GET /metrics`: what the service counts, in the text format of Prometheus (version 0.0.4), on a listener of its own.
//!
//! Whatever is counted is counted elsewhere, in plain atomics where it happens; here it is read and written down when somebody asks. Labels
//! are words of this program: routes of the table, methods, statuses, kinds. Nothing of a request, of a user, an application or a token is
//! among them (S41, R30), so a scrape tells no one's names and has a bounded size.

use super::answer::{NO_ROUTE, OTHER_METHOD};
use super::desk::Desk;
use super::meter::Meter;
use super::server::Mounted;
use crate::domain::meter::Counted;
use crate::service::{Vitals, Waiting};
use actix_web::dev::ServerHandle;
use actix_web::http::KeepAlive;
use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;
use std::io;
use std::net::TcpListener;
use std::time::Duration;

/// Connections at once: whoever watches needs one.
const CONNECTIONS: usize = 32;
/// A request's header must have arrived by then.
const HEADER_TIME: Duration = Duration::from_secs(5);

/// Serves metrics, on a thread of its own.
pub(super) fn start(listener: TcpListener, desk: Data<Desk>, mounted: Data<Mounted>) -> io::Result<ServerHandle> {
    let server = HttpServer::new(move || {
        App::new().app_data(desk.clone()).app_data(mounted.clone()).route("/metrics", web::get().to(scrape))
    })
    .workers(1)
    .max_connections(CONNECTIONS)
    .client_request_timeout(HEADER_TIME)
    // The header of a later request has no deadline.
    .keep_alive(KeepAlive::Disabled)
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Ok(handle)
}

async fn scrape(desk: Data<Desk>, mounted: Data<Mounted>) -> HttpResponse {
    let routes = mounted.routes().flat_map(|route| calls(route.path, route.method.as_str(), &route.meter));
    let strays = calls(OTHER_METHOD, OTHER, &desk.other_method).chain(calls(NO_ROUTE, OTHER, &desk.no_route));
    let scraped = Scraped { calls: routes.chain(strays).collect(), vitals: desk.services.vitals().await };
    let mut registry = Registry::with_prefix("usher");
    registry.register_collector(Box::new(scraped));
    let mut text = String::new();
    match prometheus_text::encode(&mut text, &registry) {
        Ok(()) => HttpResponse::Ok()
            .content_type(prometheus_text::CONTENT_TYPE)
            .insert_header(("cache-control", "no-store"))
            .insert_header(("x-content-type-options", "nosniff"))
            .body(text),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

/// Stands for what is not of the table.
const OTHER: &str = "other";

type Labels = Vec<(&'static str, String)>;

fn calls(route: &'static str, method: &str, meter: &Meter) -> impl Iterator<Item = (Labels, Counted)> {
    let labels = move |status: Option<u16>, method: &str| {
        let status = status.map_or(OTHER.to_owned(), |status| status.to_string());
        vec![("route", route.to_owned()), ("method", method.to_owned()), ("status", status)]
    };
    meter.counted().map(|(status, counted)| (labels(status, method), counted)).collect::<Vec<_>>().into_iter()
}

/// All that is told at once.
#[derive(Debug)]
struct Scraped {
    calls: Vec<(Labels, Counted)>,
    vitals: Vitals,
}

/// Writes one metric after the other.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, values: &[(Labels, u64)]) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            if labels.is_empty() {
                metric.encode_counter::<Labels, _, u64>(value, None)?;
            } else {
                metric.encode_family(labels)?.encode_counter::<Labels, _, u64>(value, None)?;
            }
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, values: &[(Labels, f64)]) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            if labels.is_empty() {
                metric.encode_gauge(value)?;
            } else {
                metric.encode_family(labels)?.encode_gauge(value)?;
            }
        }
        Ok(())
    }

    /// What was counted in units of which `per` make one of those that are told.
    fn histogram(&mut self, name: &str, help: &str, per: f64, values: &[(Labels, Counted)]) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, Counted { within, count, sum }) in values {
            let buckets: Vec<(f64, u64)> = within.iter().map(|(bound, count)| (float(*bound) / per, *count)).collect();
            let sum = float(*sum) / per;
            if labels.is_empty() {
                metric.encode_histogram::<Labels>(sum, *count, &buckets, None)?;
            } else {
                metric.encode_family(labels)?.encode_histogram::<Labels>(sum, *count, &buckets, None)?;
            }
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 a count may be one off")]
fn float(count: u64) -> f64 {
    count as f64
}

fn size(count: usize) -> f64 {
    float(u64::try_from(count).unwrap_or(u64::MAX))
}

fn alone<T>(value: T) -> [(Labels, T); 1] {
    [(Vec::new(), value)]
}

impl Collector for Scraped {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        let Vitals { hashing, sessions, applications, writing, feed_lag, waiting } = &self.vitals;

        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        page.gauge("build_info", "The version that runs.", &[(version, 1.0)])?;
        let help = "Calls, from their headers to their answer.";
        page.histogram("http_request_duration_seconds", help, 1_000_000.0, &self.calls)?;

        page.gauge("hashing_running", "Passwords that are being hashed.", &alone(size(hashing.running)))?;
        page.gauge("hashing_waiting", "Passwords that wait to be hashed.", &alone(size(hashing.waiting)))?;
        page.counter("hashing_refused", "Calls that found all places of the hashing pool taken.", &alone(hashing.refused))?;

        let memory = |name: &str| vec![("memory", name.to_owned())];
        let memories = [("sessions", sessions), ("applications", applications)];
        let hits = memories.map(|(name, usage)| (memory(name), usage.hits));
        page.counter("memory_hits", "Look-ups that were answered from memory.", &hits)?;
        let misses = memories.map(|(name, usage)| (memory(name), usage.misses));
        page.counter("memory_misses", "Look-ups that went to the database.", &misses)?;
        let entries = memories.map(|(name, usage)| (memory(name), size(usage.entries)));
        page.gauge("memory_entries", "What is remembered.", &entries)?;

        page.gauge("write_queue_jobs", "Writes that wait.", &alone(size(writing.waiting)))?;
        page.histogram("write_batch_jobs", "Writes made durable by one commit.", 1.0, &alone(writing.batches.clone()))?;
        page.counter("write_batches_lost", "Batches of writes that the database failed.", &alone(writing.lost))?;

        page.gauge("feed_up", "Whether changes by others are heard of.", &alone(f64::from(u8::from(feed_lag.is_some()))))?;
        if let Some(lag) = feed_lag {
            page.gauge("feed_lag_seconds", "How old what was heard last is.", &alone(lag.as_secs_f64()))?;
        }

        page.gauge("database_up", "Whether the database answers.", &alone(f64::from(u8::from(waiting.is_some()))))?;
        if let Some(Waiting { audit_events, messages }) = waiting {
            let count = |count: i64| float(u64::try_from(count).unwrap_or(0));
            page.gauge("audit_backlog_events", "Audit events that are not in their index yet.", &alone(count(*audit_events)))?;
            let messages: Vec<_> =
                messages.iter().map(|(kind, waiting)| (vec![("kind", kind.to_string())], count(*waiting))).collect();
            page.gauge("outbox_waiting_messages", "Messages that wait to be sent.", &messages)?;
        }
        Ok(())
    }
}
