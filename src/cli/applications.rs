//! `usher app …`

use super::groups::find as find_group;
use super::{Common, Exit, Outcome, output};
use crate::domain::application::{Access, ApplicationPatch, ApplicationView, Roles, SecondFactorRule, SessionScope};
use crate::domain::audit::Action;
use crate::domain::network::Networks;
use crate::domain::text::{Name, fold};
use crate::error::{Code, Error, Result};
use crate::service::SuperUser;
use clap::{Args, Subcommand};
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
        /// It is believed, with its key, when it tells from which address its users come.
        #[arg(long)]
        may_set_remote_addr: bool,
        #[command(flatten)]
        lists: Lists,
    },
    /// Show an application.
    Show {
        /// Its name.
        name: String,
    },
    /// Change an application.
    Set {
        /// Its name.
        name: String,
        /// The name from now on.
        #[arg(long, value_name = "NAME")]
        rename: Option<Name>,
        /// Whose sessions it accepts: shared or own-sessions.
        #[arg(long, value_name = "SCOPE")]
        session_scope: Option<SessionScope>,
        /// Whether every call through it must bear its key.
        #[arg(long, value_name = "BOOL")]
        require_key: Option<bool>,
        /// Whether it is believed, with its key, when it tells from which address its users come.
        #[arg(long, value_name = "BOOL")]
        may_set_remote_addr: Option<bool>,
        #[command(flatten)]
        lists: Lists,
    },
    /// Make an application's key anew and print it, which is told this once; the old one is refused from now on.
    RenewKey {
        /// Its name.
        name: String,
    },
    /// List applications by name.
    List,
    /// Remove an application; the sessions that were opened through it end.
    Delete {
        /// Its name.
        name: String,
    },
}

/// Who may use an application, and from where.
#[derive(Args)]
pub(super) struct Lists {
    /// Who may use it: everyone, or those of the lists (listed).
    #[arg(long)]
    access: Option<Access>,
    /// The roles that may use it where it is listed, with commas between; '' for none.
    #[arg(long, value_name = "ROLE,...", value_parser = Roles::parse_text)]
    allowed_roles: Option<Roles>,
    /// The groups whose members may use it where it is listed, names or ids with commas between; '' for none.
    #[arg(long, value_name = "GROUP,...")]
    allowed_groups: Option<String>,
    /// The networks that calls through it may come from, such as 10.0.0.0/8, with commas between; '' for anywhere.
    #[arg(long, value_name = "CIDR,...", value_parser = Networks::parse_text)]
    allowed_networks: Option<Networks>,
    /// Of whom it demands a second factor: as_set (as sign_in.second_factor does), or required (of everyone).
    #[arg(long, value_name = "RULE")]
    second_factor: Option<SecondFactorRule>,
    /// People may sign up through it; =false: they may not.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sign_up_open: Option<bool>,
    /// Who signed up through it waits for a super-user's approval; =false: does not.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sign_up_approval: Option<bool>,
}

impl Lists {
    async fn read(self, root: &SuperUser) -> Result<ApplicationPatch> {
        let Self {
            access,
            allowed_roles,
            allowed_groups: named,
            allowed_networks,
            second_factor,
            sign_up_open,
            sign_up_approval,
        } = self;
        let mut allowed_groups = None;
        if let Some(named) = named {
            let mut group_ids = Vec::new();
            for name in named.split(',').map(str::trim).filter(|_| !named.is_empty()) {
                group_ids.push(find_group(root, name).await?);
            }
            allowed_groups = Some(group_ids);
        }
        Ok(ApplicationPatch {
            access,
            allowed_roles,
            allowed_groups,
            allowed_networks,
            second_factor,
            is_sign_up_open: sign_up_open,
            is_sign_up_approval_needed: sign_up_approval,
            ..ApplicationPatch::default()
        })
    }
}

pub(super) async fn execute(common: &Common, command: Command) -> Outcome {
    match command {
        Command::Create { name, own_sessions, require_key, may_set_remote_addr, lists } => {
            let session_scope = own_sessions.then_some(SessionScope::OwnSessions);
            let create = |root: SuperUser| async move {
                let lists = lists.read(&root).await?;
                let new = ApplicationPatch {
                    name: Some(name),
                    session_scope,
                    is_key_required: Some(require_key),
                    may_set_remote_addr: Some(may_set_remote_addr),
                    ..lists
                };
                root.create_application(new).await
            };
            let (application, key) = common.act(Action::ApplicationCreate, create).await?;
            tell_key(common, &application, key.expose())
        }
        Command::Show { name } => {
            let read = |root: SuperUser| async move {
                let application_id = find(&root, &name).await?.application_id;
                root.application(application_id).await
            };
            let application = common.act(Action::ApplicationRead, read).await?;
            show(common, &application)
        }
        Command::Set { name, rename, session_scope, require_key, may_set_remote_addr, lists } => {
            let set = |root: SuperUser| async move {
                let application_id = find(&root, &name).await?.application_id;
                let lists = lists.read(&root).await?;
                let is_key_required = require_key;
                let patch = ApplicationPatch { name: rename, session_scope, is_key_required, may_set_remote_addr, ..lists };
                root.update_application(application_id, patch).await
            };
            let application = common.act(Action::ApplicationUpdate, set).await?;
            show(common, &application)
        }
        Command::RenewKey { name } => {
            let renew = |root: SuperUser| async move {
                let application_id = find(&root, &name).await?.application_id;
                root.renew_application_key(application_id).await
            };
            let (application, key) = common.act(Action::ApplicationRenewKey, renew).await?;
            tell_key(common, &application, key.expose())
        }
        Command::Delete { name } => {
            let delete = |root: SuperUser| async move {
                let application_id = find(&root, &name).await?.application_id;
                root.delete_application(application_id).await.map(|()| application_id)
            };
            let application_id = common.act(Action::ApplicationDelete, delete).await?;
            if common.json {
                return output::json(&json!({ "application_id": application_id }));
            }
            output::line(&format!("{application_id} is removed"))
        }
        Command::List => {
            let list = |root: SuperUser| async move { root.applications().await };
            let applications = common.act(Action::ApplicationList, list).await?;
            if common.json {
                return output::json(&json!({ "items": applications }));
            }
            applications.iter().try_for_each(|a| {
                let key = if a.is_key_required { "key required" } else { "key optional" };
                output::line(&format!("{}  {:<12}  {key}  {:<8}  {}", a.application_id, a.session_scope, a.access, a.name))
            })
        }
    }
}

pub(super) async fn find(root: &SuperUser, name: &str) -> Result<ApplicationView> {
    let unknown = || Error::new(Code::NotFound).because("application_unknown").detail(format!("There is no application {name}."));
    let key = fold(name);
    root.applications().await?.into_iter().find(|a| a.name.key() == key).ok_or_else(unknown)
}

fn tell_key(common: &Common, application: &ApplicationView, key: &str) -> Outcome {
    if common.json {
        return output::json(&json!({"application_id": application.application_id, "name": application.name, "key": key}));
    }
    output::line(key)
}

fn show(common: &Common, application: &ApplicationView) -> Outcome {
    if common.json {
        return output::json(application);
    }
    let value = serde_json::to_value(application).map_err(|e| Exit::Refused(e.to_string()))?;
    output::members(&value)
}
