//! The command line: the same use cases as HTTP, on the same code path, by an operator.
//!
//! Exit codes: 0 done; 1 refused, the reason on standard error; 2 wrong usage; 3 something is pending; 69 the database is unreachable.

mod api_keys;
mod applications;
mod attributes;
mod audit;
mod backup;
mod bulk;
mod config;
mod groups;
mod help;
mod hooks;
mod linked;
mod log;
mod moving;
mod operator;
mod output;
mod secrets;
mod serve;
mod sessions;
mod users;

use crate::app::{self, Migrate, StartError};
use crate::domain::attribute::Viewer;
use crate::domain::audit::Action;
use crate::domain::chance::Entropy;
use crate::domain::ids::UserId;
use crate::domain::time::Clock;
use crate::domain::witness::{Witness, watch};
use crate::error::{Code, Error};
use crate::service::{Call, Context, Services, SuperUser, Trail};
use crate::settings::{self, Settings};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

/// SSO identity service: session tokens, privilege-scoped views, and an audit trail that proves itself.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Clone)]
struct Common {
    /// A settings file; see config/default.toml for every setting. Given several times, each wins over those before it.
    #[arg(long, global = true, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Migrate the database and start the service.
    Serve,
    /// Apply pending migrations.
    Migrate {
        /// Only say which are pending; exit 3 if there are any.
        #[arg(long)]
        check: bool,
    },
    /// Look after users.
    #[command(subcommand)]
    User(users::Command),
    /// Look after applications.
    #[command(subcommand)]
    App(applications::Command),
    /// Look after groups of users.
    #[command(subcommand)]
    Group(groups::Command),
    /// Look after API keys.
    #[command(subcommand)]
    Key(api_keys::Command),
    /// Look after sessions.
    #[command(subcommand)]
    Session(sessions::Command),
    /// Look after linked accounts: names and passwords of HTTP Basic that act as users in Zato's dialect.
    #[command(subcommand)]
    Linked(linked::Command),
    /// Look after hooks: receivers of account events.
    #[command(subcommand)]
    Hook(hooks::Command),
    /// Read the audit trail.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Look after the key file, the data keys and the keys that sign tokens.
    #[command(subcommand)]
    Secrets(secrets::Command),
    /// Copy the database, which may be in use, into a new file; SQLite only. The key file is not in it: keep that apart.
    Backup {
        /// The new file; never over an existing one.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Look at the settings.
    #[command(subcommand)]
    Config(config::Command),
    /// Print the OpenAPI document.
    Openapi,
    /// Print a script that completes commands in a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page of usher, or write one for each command.
    Man {
        /// A folder for the pages; made if it is not there.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// How a command ends other than well.
enum Exit {
    Refused(String),
    Pending(String),
    Unreachable(String),
    /// Whoever reads standard output has closed it: no failure of ours.
    EnoughRead,
}

impl From<StartError> for Exit {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Refused(cause) => Self::Refused(cause),
            StartError::Pending(_) => Self::Pending(error.to_string()),
            StartError::Unreachable(cause) => Self::Unreachable(cause),
        }
    }
}

impl From<Error> for Exit {
    fn from(error: Error) -> Self {
        let cause = error.logged_cause().map(|cause| format!(" ({cause})")).unwrap_or_default();
        match error.code() {
            Code::Unavailable => Self::Unreachable(format!("{error}{cause}")),
            _ => Self::Refused(format!("{error}{cause}")),
        }
    }
}

impl From<String> for Exit {
    fn from(cause: String) -> Self {
        Self::Refused(cause)
    }
}

type Outcome = Result<(), Exit>;

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    let (code, cause) = match actix_web::rt::System::new().block_on(watch(Arc::new(Calls), execute(&common, command))) {
        Ok(()) | Err(Exit::EnoughRead) => return ExitCode::SUCCESS,
        Err(Exit::Refused(cause)) => (1, cause),
        Err(Exit::Pending(cause)) => (3, cause),
        Err(Exit::Unreachable(cause)) => (69, cause),
    };
    output::complain(&cause);
    ExitCode::from(code)
}

async fn execute(common: &Common, command: Command) -> Outcome {
    match command {
        Command::Serve => serve::serve(common).await,
        Command::Migrate { check } => migrate(common, check),
        Command::User(command) => users::execute(common, command).await,
        Command::App(command) => applications::execute(common, command).await,
        Command::Group(command) => groups::execute(common, command).await,
        Command::Key(command) => api_keys::execute(common, command).await,
        Command::Session(command) => sessions::execute(common, command).await,
        Command::Linked(command) => linked::execute(common, command).await,
        Command::Hook(command) => hooks::execute(common, command).await,
        Command::Audit(command) => audit::execute(common, command).await,
        Command::Secrets(command) => secrets::execute(common, &command).await,
        Command::Backup { file } => backup::execute(common, &file).await,
        Command::Config(command) => config::execute(common, &command),
        Command::Openapi => output::json(&crate::http::document()),
        Command::Completions { shell } => help::completions(shell),
        Command::Man { out } => help::man(common, out.as_deref()),
    }
}

fn migrate(common: &Common, check: bool) -> Outcome {
    let location = app::location(&common.settings()?)?;
    let names = if check { crate::store::pending(&location) } else { crate::store::migrate(&location) };
    let names = names.map_err(StartError::from)?;
    if common.json {
        output::json(&serde_json::json!({ "items": names }))?;
    } else {
        output::lines(&names)?;
    }
    if check && !names.is_empty() { Err(Exit::Pending(format!("{} pending", names.len()))) } else { Ok(()) }
}

impl Common {
    fn settings(&self) -> Result<Settings, Exit> {
        Ok(settings::load(&self.config)?)
    }

    /// Opens the database for a command.
    fn services(&self) -> Result<Services, Exit> {
        Ok(app::open(&self.settings()?, Migrate::WhenEmpty, Clock::system(), Entropy::system())?)
    }

    /// Has an operator do `work`, and leaves its audit event.
    async fn act<T, W: Future<Output = Result<T, Error>>>(
        &self,
        action: Action,
        work: impl FnOnce(SuperUser) -> W,
    ) -> Result<T, Exit> {
        let services = self.services()?;
        let done = act(&services, action, work).await;
        services.close();
        Ok(done?)
    }
}

/// A call from the command line begins.
fn begin(services: &Services, action: Action) -> Context {
    let cid = format!("cli-{:032x}", u128::from_be_bytes(services.entropy().bytes()));
    let context = Context::new(services.clone(), Call::internal(services.clock().now(), cid, action));
    TRAILS.lock().unwrap_or_else(PoisonError::into_inner).push(context.trail().clone());
    context
}

/// The trails of this command's calls.
static TRAILS: Mutex<Vec<Trail>> = Mutex::new(Vec::new());

/// A command prints what its calls have told it, often after they are over: the trail of one of them must know whom that shows.
struct Calls;

impl Witness for Calls {
    fn note(&self, shown: UserId, viewer: Viewer) -> bool {
        let trails = TRAILS.lock().unwrap_or_else(PoisonError::into_inner);
        trails.iter().rev().any(|trail| trail.note(shown, viewer))
    }
}

async fn act<T, W: Future<Output = Result<T, Error>>>(
    services: &Services,
    action: Action,
    work: impl FnOnce(SuperUser) -> W,
) -> Result<T, Error> {
    let context = begin(services, action);
    let outcome = work(SuperUser::at_the_command_line(context.clone(), operator::current())).await;
    context.conclude(outcome.as_ref().map(|_| ())).await?;
    outcome
}
