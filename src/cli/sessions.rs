//! `usher session …`

use super::applications::find as find_application;
use super::users::find;
use super::{Common, Outcome, output};
use crate::domain::audit::Action;
use crate::domain::ids::SessionId;
use crate::domain::session::SessionView;
use crate::service::SuperUser;
use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;

#[derive(Subcommand)]
pub(super) enum Command {
    /// List live sessions.
    List {
        /// Only those of this user: username, login name or user_id.
        #[arg(long)]
        user: Option<String>,
    },
    /// End sessions: one of a user, all of a user, all of an application, or all that there are.
    Revoke(Revoke),
}

#[derive(Args)]
#[command(group(ArgGroup::new("whose").required(true).args(["user", "app", "all"])))]
pub(super) struct Revoke {
    /// Those of this user: username, login name or user_id.
    #[arg(long)]
    user: Option<String>,
    /// Those that were opened through this application, by name.
    #[arg(long)]
    app: Option<String>,
    /// Everyone's.
    #[arg(long)]
    all: bool,
    /// The one session of the user; all of the user's if none is given.
    #[arg(requires = "user", conflicts_with_all = ["app", "all"])]
    session: Option<SessionId>,
}

/// Sessions read at a time.
const PAGE: i64 = 500;

pub(super) async fn execute(common: &Common, command: Command) -> Outcome {
    match command {
        Command::List { user } => {
            let sessions = common.act(Action::SessionList, |root| list(root, user)).await?;
            if common.json {
                return output::json(&json!({ "items": sessions }));
            }
            sessions.iter().try_for_each(|s| {
                let address = s.remote_addr.as_deref().unwrap_or("-");
                output::line(&format!("{}  {}  until {}  {}  {address}", s.session_id, s.user_id, s.idle_expiry, s.application))
            })
        }
        Command::Revoke(Revoke { user, app, all: _, session }) => {
            let ended = match (user, session, app) {
                (Some(user), Some(session), _) => {
                    let revoke = |root: SuperUser| async move {
                        let user_id = find(&root, &user).await?.user.user_id;
                        root.end_session(user_id, session).await
                    };
                    common.act(Action::SessionRevoke, revoke).await.map(|()| 1)
                }
                (Some(user), None, _) => {
                    let revoke = |root: SuperUser| async move {
                        let user_id = find(&root, &user).await?.user.user_id;
                        root.end_sessions(user_id).await
                    };
                    common.act(Action::SessionRevokeAll, revoke).await
                }
                (None, _, Some(app)) => {
                    let revoke = |root: SuperUser| async move {
                        let application_id = find_application(&root, &app).await?.application_id;
                        root.end_sessions_of_application(application_id).await
                    };
                    common.act(Action::SessionRevokeOfApplication, revoke).await
                }
                (None, _, None) => {
                    common.act(Action::SessionRevokeOfEveryone, |root: SuperUser| root.end_everyones_sessions()).await
                }
            }?;
            if common.json {
                return output::json(&json!({ "ended": ended }));
            }
            output::line(&format!("{ended} {} ended", if ended == 1 { "session" } else { "sessions" }))
        }
    }
}

async fn list(root: SuperUser, user: Option<String>) -> crate::error::Result<Vec<SessionView>> {
    if let Some(user) = user {
        let user_id = find(&root, &user).await?.user.user_id;
        return root.sessions_of(user_id).await;
    }
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = root.live_sessions(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(all) };
        after = Some(last.session_id);
        all.extend(page);
    }
}
