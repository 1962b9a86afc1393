//! The server: sockets, limits, and the mounting of the route table.

use super::answer::{Target, answer};
use super::crowd::Crowd;
use super::desk::Desk;
use super::dialect::Dialect;
use super::meter::Meter;
use super::metrics;
use super::route::Route;
use super::routes;
use crate::domain::audit::Action;
use crate::domain::span::Spans;
use crate::error::{Code, Error};
use crate::service::Services;
use crate::settings;
use actix_web::dev::ServerHandle;
use actix_web::http::Method;
use actix_web::web::{self, Data, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use futures_util::future::LocalBoxFuture;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A request's header must have arrived by then (S39).
const HEADER_TIME: Duration = Duration::from_secs(5);

/// A server that runs.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it serves metrics, if it does.
    pub metrics: Option<SocketAddr>,
    /// To be awaited until it has stopped.
    pub server: LocalBoxFuture<'static, io::Result<()>>,
    /// To stop it.
    pub handle: ServerHandle,
}

/// An address cannot be listened on.
#[derive(Debug)]
pub struct ListenError {
    setting: &'static str,
    address: SocketAddr,
    cause: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, address, cause } = self;
        write!(f, "setting {setting}: cannot listen on {address}: {cause}")
    }
}

fn bind(setting: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), ListenError> {
    let bound = TcpListener::bind(address).and_then(|listener| listener.local_addr().map(|address| (listener, address)));
    bound.map_err(|cause| ListenError { setting, address, cause })
}

/// Binds and starts; `spans` are told of every request. Metrics, if there is a place for them, are served until all calls are answered.
///
/// # Errors
/// An address cannot be listened on.
pub fn start(
    settings: &settings::Server,
    dialects: &settings::Dialects,
    metrics: Option<SocketAddr>,
    spans: Option<Arc<dyn Spans>>,
    services: Services,
) -> Result<Running, ListenError> {
    let (listener, address) = bind("server.listen", settings.listen)?;
    let metrics = metrics.map(|address| bind("metrics.listen", address)).transpose()?;
    let cannot = |cause| ListenError { setting: "server.listen", address, cause };
    let table = routes::served(dialects);
    let desk = Data::new(Desk {
        services,
        trusted_proxies: settings.trusted_proxies.clone(),
        dialects: dialects.clone(),
        spans,
        document: OnceLock::new(),
        other_method: Meter::default(),
        no_route: Meter::default(),
    });
    let routes: Data<Mounted> = Data::new(Mounted::new(table));
    let keep_alive = Duration::from_secs(settings.keep_alive_seconds.into());
    let crowd = Crowd::new(settings.max_connections_per_address, keep_alive + HEADER_TIME);
    let watch = crowd.clone().watch();
    let workers = match settings.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        given => given,
    };
    let (measured, counted) = (desk.clone(), routes.clone());
    let server =
        HttpServer::new(move || App::new().app_data(desk.clone()).app_data(routes.clone()).configure(|app| mount(app, &routes)))
            .workers(workers)
            .max_connections(settings.max_connections.div_ceil(workers).max(1))
            .client_request_timeout(HEADER_TIME)
            .keep_alive(keep_alive)
            .shutdown_timeout(settings.shutdown_seconds)
            .disable_signals()
            .on_connect(move |io, data| crowd.enter(io, data))
            .listen(listener)
            .map_err(cannot)?
            .run();
    actix_web::rt::spawn(watch);
    let handle = server.handle();
    let (metrics, monitor) = match metrics {
        Some((listener, address)) => (Some(address), Some(metrics::start(listener, measured, counted).map_err(cannot)?)),
        None => (None, None),
    };
    let server = Box::pin(async move {
        let served = server.await;
        if let Some(monitor) = monitor {
            monitor.stop(false).await;
        }
        served
    });
    Ok(Running { address, metrics, server, handle })
}

/// The table, by path.
pub(super) struct Mounted {
    paths: Vec<Path>,
}

struct Path {
    path: &'static str,
    dialect: Dialect,
    routes: BTreeMap<String, Route>,
    methods: String,
}

impl Mounted {
    fn new(table: Vec<Route>) -> Self {
        let mut paths: Vec<Path> = Vec::new();
        for route in table {
            let at = paths.iter().position(|p| p.path == route.path);
            let path = match at.and_then(|at| paths.get_mut(at)) {
                Some(path) => path,
                None => {
                    let (path, dialect) = (route.path, route.dialect);
                    paths.push(Path { path, dialect, routes: BTreeMap::new(), methods: String::new() });
                    match paths.last_mut() {
                        Some(path) => path,
                        None => continue,
                    }
                }
            };
            path.routes.insert(route.method.to_string(), route);
            path.methods = path.routes.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        }
        Self { paths }
    }

    /// Every route.
    pub(super) fn routes(&self) -> impl Iterator<Item = &Route> {
        self.paths.iter().flat_map(|path| path.routes.values())
    }

    fn target(&self, at: usize, method: &Method) -> Target<'_> {
        match self.paths.get(at) {
            Some(path) => path.routes.get(method.as_str()).map_or(Target::OtherMethod(&path.methods), Target::Route),
            None => Target::Nowhere,
        }
    }
}

/// A handler panicked, which is a fault of ours; nothing is told of it but to the log.
fn broken_off(dialect: Dialect, error: &dyn std::fmt::Display) -> HttpResponse {
    tracing::error!(target: "usher::request", cause = %error, "a call broke off");
    let reply = dialect.refusal(&Error::new(Code::Internal), Action::Unrouted, "");
    let mut response = HttpResponse::InternalServerError();
    response.content_type(reply.content_type);
    reply.body.send(&mut response)
}

/// The single mounting function: every path of the table, in its order, and one answer for everything else. Paths without parameters come
/// first: they are compared, the others are searched for by an expression each, on every request.
fn mount(app: &mut web::ServiceConfig, mounted: &Data<Mounted>) {
    let mut paths: Vec<(usize, String, Dialect)> =
        mounted.paths.iter().enumerate().map(|(at, path)| (at, path.dialect.pattern(path.path), path.dialect)).collect();
    paths.sort_by_key(|(_, pattern, _)| pattern.contains('{'));
    for (at, pattern, dialect) in paths {
        let serve = move |request: HttpRequest, payload: Payload, desk: Data<Desk>, mounted: Data<Mounted>| async move {
            // In a task of its own: a client that goes away takes neither the work nor its audit event with it.
            let work = actix_web::rt::spawn(async move {
                let method = request.method().clone();
                answer(&desk, request, payload, mounted.target(at, &method)).await
            });
            work.await.unwrap_or_else(|error| broken_off(dialect, &error))
        };
        app.service(web::resource(pattern).default_service(web::to(serve)));
    }
    let nowhere = |request: HttpRequest, payload: Payload, desk: Data<Desk>| async move {
        let work = actix_web::rt::spawn(async move { answer(&desk, request, payload, Target::Nowhere).await });
        work.await.unwrap_or_else(|error| broken_off(Dialect::Native, &error))
    };
    app.default_service(web::to(nowhere));
}
