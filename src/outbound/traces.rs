//! Traces, sent to a collector by OTLP over HTTP: a span for each request.
//!
//! To tell of a request costs putting a span into a bounded queue; where it is full the span is dropped. A thread of its own sends what is there,
//! many to a message, so a collector that is slow or gone neither delays nor fails a call. The log tells once that spans are not taken,
//! and once that they are again.
//!
//! A caller's `traceparent` is taken over: its trace goes on here, and whether it is recorded is the caller's decision. `tracestate` and
//! `baggage` are left alone, for nobody knows what is in them.

use crate::domain::chance::Entropy;
use crate::domain::span::{RequestSpan, Spans};
use crate::domain::time::Utc;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, IdGenerator, Sampler, SdkTracer, SdkTracerProvider};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

/// How long the collector may take over one message.
const TIME: Duration = Duration::from_secs(5);
/// How often what is there is sent.
const ROUND: Duration = Duration::from_secs(2);
/// Spans that wait at most, and those of one message.
const QUEUE: usize = 4096;
const BATCH: usize = 512;
/// How long the last spans may take when the service stops.
const FAREWELL: Duration = Duration::from_secs(1);
/// Bytes of an answer that are looked at: it says nothing that matters.
const LARGEST_ANSWER: u64 = 64 * 1024;
/// Methods that are told as they are (RFC 9110, section 9; RFC 5789); another one is whatever a caller likes to write.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];

/// What sends spans.
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// Sends to a collector: an http or https URL, to which `/v1/traces` is added. What it demands to be told in headers is in the variable
    /// `OTEL_EXPORTER_OTLP_HEADERS`.
    ///
    /// # Errors
    /// The URL is none.
    pub fn open(endpoint: &str, entropy: Entropy) -> Result<Self, String> {
        let flaw = "is no http or https URL without user and query".to_owned();
        let url: ureq::http::Uri = endpoint.parse().map_err(|_| flaw.clone())?;
        let has_user = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() || has_user || url.query().is_some() {
            return Err(flaw);
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(TIME)
            .with_http_client(Sender::new())
            .build()
            .map_err(|e| e.to_string())?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(ROUND)
            .build();
        let resource = Resource::builder()
            .with_attributes([
                KeyValue::new("service.name", "usher"),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .with_id_generator(Ids(entropy))
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("usher");
        Ok(Self { provider, tracer })
    }

    /// Sends what is left, for a second at most. Blocks.
    pub fn close(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FAREWELL) {
            tracing::warn!(cause = %error, "the last spans were not sent");
        }
    }
}

impl Spans for Traces {
    fn tell(&self, told: &RequestSpan<'_>) {
        let method = METHODS.iter().find(|known| **known == told.method).copied().unwrap_or("_OTHER");
        let mut context = Context::new();
        if let Some(parent) = told.parent.and_then(parent) {
            context = context.with_remote_span_context(parent);
        }
        let builder = SpanBuilder::from_name(format!("{method} {}", told.route))
            .with_kind(SpanKind::Server)
            .with_start_time(moment(told.began))
            .with_attributes([
                KeyValue::new("http.request.method", method),
                KeyValue::new("http.route", told.route.to_owned()),
                KeyValue::new("http.response.status_code", i64::from(told.status)),
                KeyValue::new("usher.cid", told.cid.to_owned()),
            ]);
        let mut span = self.tracer.build_with_context(builder, &context);
        if told.status >= 500 {
            span.set_status(Status::error(""));
        }
        span.end_with_timestamp(moment(told.ended));
    }
}

/// The caller's place in its trace.
fn parent(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-').skip(1);
    let (trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?);
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    // Of the flags only the first has a meaning here.
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    Some(SpanContext::new(trace, span, flags, true, TraceState::default())).filter(SpanContext::is_valid)
}

fn moment(time: Utc) -> SystemTime {
    let micros = u64::try_from(time.micros()).unwrap_or(0);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(micros)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Ids come from the same source as all that is drawn.
#[derive(Debug)]
struct Ids(Entropy);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        TraceId::from_bytes(self.0.bytes())
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from_bytes(self.0.bytes())
    }
}

/// Sends messages, on the thread that has nothing else to do.
#[derive(Debug)]
struct Sender {
    agent: ureq::Agent,
    has_failed: AtomicBool,
}

impl Sender {
    fn new() -> Self {
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(RootCerts::PlatformVerifier).build();
        let config = ureq::config::Config::builder()
            .http_status_as_error(false)
            .tls_config(tls)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(TIME))
            .user_agent(concat!("usher/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.into(), has_failed: AtomicBool::new(false) }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (parts, mut body) = self.agent.run(request.map(|body| body.to_vec()))?.into_parts();
        let answer = body.with_config().limit(LARGEST_ANSWER).read_to_vec()?;
        Ok(Response::from_parts(parts, answer.into()))
    }

    /// Tells, once each time, that spans are not taken, and that they are again.
    fn note(&self, failure: Option<String>) {
        match failure {
            Some(cause) if !self.has_failed.swap(true, Ordering::Relaxed) => tracing::warn!(cause, "spans are not taken"),
            None if self.has_failed.swap(false, Ordering::Relaxed) => tracing::info!("spans are taken again"),
            Some(_) | None => {}
        }
    }
}

impl HttpClient for Sender {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let sent = self.send(request);
        self.note(match &sent {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("the collector answered {}", answer.status().as_u16())),
            Err(error) => Some(error.to_string().replace('\n', "; ")),
        });
        Box::pin(std::future::ready(sent.map_err(HttpError::from)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_callers_place_is_read() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let place = parent(text).unwrap();
        assert_eq!(place.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(place.span_id().to_string(), "b7ad6b7169203331");
        assert!(place.is_sampled() && place.is_remote());
        assert!(!parent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02").unwrap().is_sampled());
        for invalid in [
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c",
        ] {
            assert_eq!(parent(invalid), None, "{invalid}");
        }
    }

    proptest! {
        /// Whatever is sent is a place in a trace or none.
        #[test]
        fn any_text_is_a_place_or_none(text in ".{0,80}", hex in "[0-9a-f-]{0,60}") {
            for text in [text, hex] {
                if let Some(place) = parent(&text) {
                    prop_assert!(place.is_valid());
                }
            }
        }
    }
}
