//! The server: sockets, limits, and the mounting of the route table.

use super::answer::{Target, answer};
use super::crowd::Crowd;
use super::desk::Desk;
use super::dialect::Dialect;
use super::openapi::document;
use super::route::Route;
use super::routes::table;
use crate::domain::audit::Action;
use crate::error::{Code, Error};
use crate::service::Services;
use crate::settings;
use actix_web::dev::{Server, ServerHandle};
use actix_web::http::Method;
use actix_web::web::{self, Data, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// A request's header must have arrived by then (S39).
const HEADER_TIME: Duration = Duration::from_secs(5);
/// An idle connection is kept open so long (S39).
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// A server that runs.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// To be awaited until it has stopped.
    pub server: Server,
    /// To stop it.
    pub handle: ServerHandle,
}

/// Binds and starts.
///
/// # Errors
/// The address cannot be bound.
pub fn start(settings: &settings::Server, dialects: &settings::Dialects, services: Services) -> io::Result<Running> {
    let listener = TcpListener::bind(settings.listen)?;
    let address = listener.local_addr()?;
    let table: Vec<Route> = table().into_iter().filter(|route| route.dialect.is_enabled(dialects)).collect();
    let document = document(&table).to_string();
    let desk =
        Data::new(Desk { services, trusted_proxies: settings.trusted_proxies.clone(), dialects: dialects.clone(), document });
    let routes: Data<Mounted> = Data::new(Mounted::new(table));
    let crowd = Crowd::new(settings.max_connections_per_address);
    let workers = match settings.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        given => given,
    };
    let server =
        HttpServer::new(move || App::new().app_data(desk.clone()).app_data(routes.clone()).configure(|app| mount(app, &routes)))
            .workers(workers)
            .max_connections(settings.max_connections.div_ceil(workers).max(1))
            .client_request_timeout(HEADER_TIME)
            .keep_alive(KEEP_ALIVE)
            .shutdown_timeout(settings.shutdown_seconds)
            .disable_signals()
            .on_connect(move |io, data| crowd.enter(io, data))
            .listen(listener)?
            .run();
    let handle = server.handle();
    Ok(Running { address, server, handle })
}

/// The table, by path.
struct Mounted {
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
    HttpResponse::InternalServerError().content_type(reply.content_type).body(reply.body)
}

/// The single mounting function: every path of the table, in its order, and one answer for everything else.
fn mount(app: &mut web::ServiceConfig, mounted: &Data<Mounted>) {
    for (at, path) in mounted.paths.iter().enumerate() {
        let dialect = path.dialect;
        let serve = move |request: HttpRequest, payload: Payload, desk: Data<Desk>, mounted: Data<Mounted>| async move {
            // In a task of its own: a client that goes away takes neither the work nor its audit event with it.
            let work = actix_web::rt::spawn(async move {
                let method = request.method().clone();
                answer(&desk, request, payload, mounted.target(at, &method)).await
            });
            work.await.unwrap_or_else(|error| broken_off(dialect, &error))
        };
        app.service(web::resource(dialect.pattern(path.path)).default_service(web::to(serve)));
    }
    let nowhere = |request: HttpRequest, payload: Payload, desk: Data<Desk>| async move {
        let work = actix_web::rt::spawn(async move { answer(&desk, request, payload, Target::Nowhere).await });
        work.await.unwrap_or_else(|error| broken_off(Dialect::Native, &error))
    };
    app.default_service(web::to(nowhere));
}
