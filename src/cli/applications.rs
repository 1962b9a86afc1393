//! `usher app …`

use super::{Common, Outcome, output};
use crate::domain::application::SessionScope;
use crate::domain::audit::Action;
use crate::domain::ids::ApplicationId;
use crate::domain::text::{Name, fold};
use crate::error::{Code, Error, Result};
use crate::service::SuperUser;
use clap::Subcommand;
use serde_json::json;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Register an application and print its key, which is told this once.
    Create {
        /// Its name.
        name: Name,
        /// It accepts only sessions opened through itself, instead of those of every shared application.
        #[arg(long)]
        own_sessions: bool,
        /// Every call through it must bear its key.
        #[arg(long)]
        require_key: bool,
    },
    /// List applications by name.
    List,
    /// Remove an application; the sessions that were opened through it end.
    Delete {
        /// Its name.
        name: String,
    },
}

/// The id of the application of this name.
pub(super) async fn find(root: &SuperUser, name: &str) -> Result<ApplicationId> {
    let key = fold(name);
    let found = root.applications().await?.into_iter().find(|a| a.name.key() == key);
    let unknown = || Error::new(Code::NotFound).because("application_unknown").detail(format!("There is no application {name}."));
    Ok(found.ok_or_else(unknown)?.application_id)
}

pub(super) async fn execute(common: &Common, command: Command) -> Outcome {
    match command {
        Command::Create { name, own_sessions, require_key } => {
            let scope = if own_sessions { SessionScope::OwnSessions } else { SessionScope::Shared };
            let create = |root: crate::service::SuperUser| root.create_application(name, scope, require_key);
            let (application, key) = common.act(Action::ApplicationCreate, create).await?;
            if common.json {
                return output::json(
                    &json!({"application_id": application.application_id, "name": application.name, "key": key.expose()}),
                );
            }
            output::line(key.expose())
        }
        Command::Delete { name } => {
            let delete = |root: crate::service::SuperUser| async move {
                let application_id = find(&root, &name).await?;
                root.delete_application(application_id).await.map(|()| application_id)
            };
            let application_id = common.act(Action::ApplicationDelete, delete).await?;
            if common.json {
                return output::json(&json!({ "application_id": application_id }));
            }
            output::line(&format!("{application_id} is removed"))
        }
        Command::List => {
            let list = |root: crate::service::SuperUser| async move { root.applications().await };
            let applications = common.act(Action::ApplicationList, list).await?;
            if common.json {
                return output::json(&json!({ "items": applications }));
            }
            applications.iter().try_for_each(|a| {
                let key = if a.is_key_required { "key required" } else { "key optional" };
                output::line(&format!("{}  {:<12}  {key}  {}", a.application_id, a.session_scope, a.name))
            })
        }
    }
}
