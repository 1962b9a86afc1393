//! Putting usher together: settings → keys → store → services → server. Used by the command line and by the tests alike.

use crate::auth::hashing::Hasher;
use crate::auth::keys::Keys;
use crate::auth::mark_file::MarkFile;
use crate::domain::chance::Entropy;
use crate::domain::outbox::MessageKind;
use crate::domain::span::Spans;
use crate::domain::time::Clock;
use crate::error::Error;
use crate::http;
use crate::outbound::Carrier;
use crate::outbound::mail::Mail;
use crate::outbound::traces::Traces;
use crate::service::{Outside, Post, Services};
use crate::settings::Settings;
use crate::store::connection::Location;
use crate::store::error::StoreError;
use crate::store::{self, Looked, Macs, Store};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Between two rounds of removing what has ended by itself and of telling the heads of the audit chains.
const ROUND: Duration = Duration::from_secs(60);
/// Between two looks at whether this program may work on its database.
const WATCH: Duration = Duration::from_secs(1);
/// Between two looks into the outbox, and for what the audit trail has gained.
const LOOK: Duration = Duration::from_millis(500);
/// Between two looks at the refusals that one event stands for.
const REFUSALS: Duration = Duration::from_millis(200);

/// Why usher does not start, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// Settings, keys or the database are not as they must be.
    Refused(String),
    /// Migrations are pending; their names.
    Pending(Vec<String>),
    /// The database cannot be reached.
    Unreachable(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(cause) | Self::Unreachable(cause) => f.write_str(cause),
            Self::Pending(names) => write!(f, "the database lacks the migrations {}: run `usher migrate`", names.join(", ")),
        }
    }
}

impl std::error::Error for StartError {}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause) => Self::Unreachable(cause),
            StoreError::Taken(_)
            | StoreError::Dangling(_)
            | StoreError::Altered(_)
            | StoreError::Outgrown(_)
            | StoreError::Broken(_) => Self::Refused(error.to_string()),
        }
    }
}

/// Where the database is.
///
/// # Errors
/// The URL is of no known scheme.
pub fn location(settings: &Settings) -> Result<Location, StartError> {
    Location::parse(&settings.database.url).map_err(|flaw| StartError::Refused(format!("setting database.url: it {flaw}")))
}

/// Where the key file is: given, or beside the SQLite file.
///
/// # Errors
/// On PostgreSQL it must be given.
pub fn key_file(settings: &Settings) -> Result<PathBuf, StartError> {
    let given = &settings.secrets.file;
    if !given.as_os_str().is_empty() {
        return Ok(given.clone());
    }
    match location(settings)? {
        Location::Sqlite(path) => Ok(path.with_file_name("usher.keys")),
        Location::Postgres(_) => Err(StartError::Refused(
            "setting secrets.file: on PostgreSQL the key file must be given; `usher secrets init` makes one".to_owned(),
        )),
    }
}

/// An SQLite file cannot be made where there is no folder: said before anything else is tried there.
fn check_folder(location: &Location) -> Result<(), StartError> {
    let Some(file) = location.file() else { return Ok(()) };
    match file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) if !folder.is_dir() => {
            Err(StartError::Unreachable(format!("cannot open the SQLite file {}: its folder does not exist", file.display())))
        }
        _ => Ok(()),
    }
}

/// Whether pending migrations are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrate {
    /// All of them.
    Always,
    /// Only on a database that has none of them.
    WhenEmpty,
}

/// Opens everything but the server.
///
/// # Errors
/// One line on the cause.
pub fn open(settings: &Settings, migrate: Migrate, clock: Clock, entropy: Entropy) -> Result<Services, StartError> {
    let location = location(settings)?;
    let key_file = key_file(settings)?;
    check_folder(&location)?;
    let post = Post::read(settings).map_err(StartError::Refused)?;
    let mail = Mail::open(&settings.mail, post.site()).map_err(StartError::Refused)?;
    let looked = store::look(&location)?;
    let is_empty = match &looked {
        Looked::Migrated(_) => false,
        Looked::Pending(_) => store::is_empty(&location)?,
    };
    if let Looked::Pending(names) = &looked
        && migrate == Migrate::WhenEmpty
        && !is_empty
    {
        return Err(StartError::Pending(names.clone()));
    }
    // A key file is made only where nothing can have been signed with another one.
    if is_empty && settings.secrets.file.as_os_str().is_empty() && !key_file.exists() {
        Keys::init(&key_file, &entropy).map_err(StartError::Refused)?;
    }
    let keys = Keys::load(&key_file).map_err(StartError::Refused)?;
    let mark_file = MarkFile::new(&settings.audit.mark_file, &key_file, keys.audit.clone());
    let remembered = mark_file.read().map_err(StartError::Refused)?;
    let outside = Outside { post, mail: mail.map(|mail| Arc::new(mail) as Arc<dyn Carrier>), mark_file };
    let (readers, macs) = (settings.database.readers, Macs { audit: keys.audit.clone(), rows: keys.rows.clone() });
    let store = match looked {
        Looked::Migrated(entrance) => Store::open_by(*entrance, &location, readers, macs, remembered, entropy.clone())?,
        Looked::Pending(_) => {
            for name in store::migrate(&location)? {
                tracing::info!(migration = name, "migrated");
            }
            Store::open(&location, readers, macs, remembered, entropy.clone())?
        }
    };
    let passwords = &settings.passwords;
    let hasher = Hasher::start(passwords.hash_memory_kib, passwords.hash_passes, passwords.hash_threads, entropy.clone());
    let hasher = hasher.map_err(StartError::Refused)?;
    Services::new(settings, store, hasher, keys, outside, clock, entropy).map_err(StartError::Refused)
}

/// Starts the server, and the task that goes its rounds. To be called within an actix system.
///
/// # Errors
/// The address cannot be bound.
pub fn start(settings: &Settings, services: &Services) -> Result<http::Running, StartError> {
    if let Some(cause) = services.is_behind() {
        tracing::error!(target: "usher::audit", cause, "the database was put back: nothing is answered");
    }
    services.begin_to_mark().map_err(StartError::Refused)?;
    for switch in settings.zato_parity.deviations().into_iter().chain(settings.ecm_parity.deviations()) {
        tracing::warn!(setting = switch, "a switch is off its safe value");
    }
    let metrics = settings.metrics.address().map_err(|flaw| StartError::Refused(format!("setting metrics.listen: {flaw}")))?;
    let traces = traces(settings, services)?;
    let spans = traces.clone().map(|traces| traces as Arc<dyn Spans>);
    let server = http::fit_descriptors(&settings.server, settings.database.readers).map_err(StartError::Refused)?;
    let mut running = http::start(&server, &settings.dialects, metrics, spans, services.clone())
        .map_err(|e| StartError::Refused(e.to_string()))?;
    let (server, refusals) = (running.server, services.clone());
    running.server = Box::pin(async move {
        let served = server.await;
        if let Err(error) = refusals.write_refusals(true).await {
            tracing::error!(cause = error.logged_cause(), "refusals were counted and could not be recorded");
        }
        served
    });
    if let Some(traces) = traces {
        let server = running.server;
        running.server = Box::pin(async move {
            let served = server.await;
            // What is left is sent off the server's thread.
            let _ = tokio::task::spawn_blocking(move || traces.close()).await;
            served
        });
    }
    if let Some(address) = running.metrics {
        tracing::info!(%address, "metrics");
    }
    start_couriers(services);
    start_refusals(services);
    start_indexer(services);
    start_watch(services);
    let services = services.clone();
    actix_web::rt::spawn(async move {
        let mut rounds = tokio::time::interval(ROUND);
        let mut told = Vec::new();
        loop {
            rounds.tick().await;
            if let Err(error) = services.sweep().await {
                tracing::warn!(cause = error.logged_cause(), "what has ended was not removed");
            }
            if let Err(error) = services.expire_audit().await {
                tracing::warn!(cause = error.logged_cause(), "what is older than the trail is kept was not dropped");
            }
            if let Err(error) = services.tend_signing_keys().await {
                tracing::warn!(cause = error.logged_cause(), "the keys that sign tokens were not looked after");
            }
            if let Err(error) = services.tell_heads(&mut told).await {
                tracing::error!(cause = error.logged_cause(), "the heads of the audit chains cannot be told");
            }
        }
    });
    Ok(running)
}

/// What sends traces, if there is a collector.
fn traces(settings: &Settings, services: &Services) -> Result<Option<Arc<Traces>>, StartError> {
    let endpoint = &settings.traces.otlp_endpoint;
    if endpoint.is_empty() {
        return Ok(None);
    }
    let traces = Traces::open(endpoint, services.entropy().clone());
    traces
        .map(|traces| Some(Arc::new(traces)))
        .map_err(|flaw| StartError::Refused(format!("setting traces.otlp_endpoint: it {flaw}")))
}

/// Looks whether the database has gone beyond this program, and whether it was put back; leaves the mark of its trail.
fn start_watch(services: &Services) {
    let services = services.clone();
    actix_web::rt::spawn(async move {
        let mut looks = tokio::time::interval(WATCH);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut was_fit, mut was_behind, mut is_marked) = (true, services.is_behind().is_some(), true);
        loop {
            looks.tick().await;
            if let Ok(behind) = services.look_at_trail().await {
                match &behind {
                    Some(cause) if !was_behind => {
                        tracing::error!(target: "usher::audit", cause, "the database was put back: nothing is answered any more");
                    }
                    None if was_behind => tracing::info!(target: "usher::audit", "calls are answered again"),
                    Some(_) | None => {}
                }
                was_behind = behind.is_some();
            }
            if services.keeps_mark() {
                let writing = services.clone();
                let kept = tokio::task::spawn_blocking(move || writing.keep_mark()).await.unwrap_or(Ok(()));
                if let Err(cause) = &kept
                    && is_marked
                {
                    tracing::warn!(target: "usher::audit", cause, "the mark of the audit trail is not of today");
                }
                is_marked = kept.is_ok();
            }
            // A database that does not answer has refused the calls by itself.
            let Ok(unfit) = services.is_outgrown().await else { continue };
            match &unfit {
                Some(cause) if was_fit => tracing::error!(cause, "nothing is answered any more"),
                None if !was_fit => tracing::info!("calls are answered again"),
                Some(_) | None => {}
            }
            was_fit = unfit.is_none();
        }
    });
}

/// Does something again and again, `span` apart. `failure`: what the log says of a time that it fails.
fn repeat(span: Duration, failure: &'static str, work: impl AsyncFn() -> Result<(), Error> + 'static) {
    actix_web::rt::spawn(async move {
        let mut looks = tokio::time::interval(span);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if let Err(error) = work().await {
                tracing::warn!(cause = error.logged_cause(), "{failure}");
            }
        }
    });
}

/// Writes the events that stand for many refusals.
fn start_refusals(services: &Services) {
    let services = services.clone();
    repeat(REFUSALS, "refusals were counted and could not be recorded yet", async move || services.write_refusals(false).await);
}

/// Takes the audit trail into its index, a moment behind.
fn start_indexer(services: &Services) {
    let services = services.clone();
    repeat(LOOK, "the audit trail was not taken into its index", async move || services.index_audit().await);
}

/// Carries what waits in the outbox, each kind on its own: a mail server that hangs does not hold up the rest.
fn start_couriers(services: &Services) {
    for kind in MessageKind::ALL {
        let services = services.clone();
        actix_web::rt::spawn(async move {
            let mut looks = tokio::time::interval(LOOK);
            looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! { _ = looks.tick() => {}, () = services.rung(*kind) => {} }
                // As long as there is something, the next look is at once.
                loop {
                    match services.deliver(*kind).await {
                        Ok(0) => break,
                        Ok(_) => {}
                        Err(error) => {
                            tracing::warn!(%kind, cause = error.logged_cause(), "the outbox cannot be read");
                            break;
                        }
                    }
                }
            }
        });
    }
}
