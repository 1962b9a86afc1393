//! `usher session …`

use super::users::find;
use super::{Common, Outcome, output};
use crate::domain::audit::Action;
use crate::domain::ids::SessionId;
use crate::domain::session::SessionView;
use crate::service::SuperUser;
use clap::Subcommand;
use serde_json::json;

#[derive(Subcommand)]
pub(super) enum Command {
    /// List live sessions.
    List {
        /// Only those of this user: username, login name or user_id.
        #[arg(long)]
        user: Option<String>,
    },
    /// End one session of a user, or all of them.
    Revoke {
        /// The username, login name or user_id.
        #[arg(long)]
        user: String,
        /// The session; all if none is given.
        session: Option<SessionId>,
    },
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
        Command::Revoke { user, session } => {
            let action = if session.is_some() { Action::SessionRevoke } else { Action::SessionRevokeAll };
            let revoke = |root: SuperUser| async move {
                let user_id = find(&root, &user).await?.user.user_id;
                match session {
                    Some(session) => root.end_session(user_id, session).await,
                    None => root.end_sessions(user_id).await,
                }
            };
            common.act(action, revoke).await
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
