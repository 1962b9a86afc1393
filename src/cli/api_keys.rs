//! `usher key …`

use super::users::find;
use super::{Common, Outcome, output};
use crate::domain::api_key::{ApiKeyView, KeyScope};
use crate::domain::audit::Action;
use crate::domain::ids::ApiKeyId;
use crate::domain::text::Name;
use crate::error::Result;
use crate::service::{LARGEST_PAGE, Lifetime, NewApiKey, SuperUser};
use clap::Subcommand;
use serde_json::json;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make an API key for a user and print it, which is told this once.
    Create {
        /// What it is for.
        name: Name,
        /// As whom it acts: username, login name or user_id.
        #[arg(long)]
        user: String,
        /// What it may do: read or manage.
        #[arg(long, default_value = "read")]
        scope: KeyScope,
        /// Seconds after which it expires; without it, never.
        #[arg(long, value_name = "SECONDS")]
        expires_in: Option<u64>,
    },
    /// List API keys in order of creation.
    List {
        /// Only those of this user: username, login name or user_id.
        #[arg(long)]
        user: Option<String>,
    },
    /// Revoke an API key.
    Revoke {
        /// Its id.
        key_id: ApiKeyId,
    },
}

pub(super) async fn execute(common: &Common, command: Command) -> Outcome {
    match command {
        Command::Create { name, user, scope, expires_in } => {
            let create = |root: SuperUser| async move {
                let user_id = find(&root, &user).await?.user.user_id;
                let lifetime = Lifetime::read(expires_in, None)?;
                root.create_api_key(user_id, NewApiKey { name, scope, lifetime }, None).await
            };
            let (view, token) = common.act(Action::ApiKeyCreate, create).await?;
            if common.json {
                return output::json(&json!({"key_id": view.key_id, "name": view.name, "key": token.expose()}));
            }
            output::line(token.expose())
        }
        Command::List { user } => {
            let keys = common.act(Action::ApiKeyList, |root| list(root, user)).await?;
            if common.json {
                return output::json(&json!({ "items": keys }));
            }
            keys.iter().try_for_each(|key| {
                let until = key.expiry.map_or_else(|| "never expires".to_owned(), |expiry| format!("until {expiry}"));
                output::line(&format!("{}  {}  {:<6}  {until}  {}", key.key_id, key.user_id, key.scope, key.name))
            })
        }
        Command::Revoke { key_id } => {
            common.act(Action::ApiKeyRevoke, |root| root.revoke_api_key(key_id)).await?;
            if common.json {
                return output::json(&json!({ "key_id": key_id }));
            }
            output::line(&format!("{key_id} is revoked"))
        }
    }
}

async fn list(root: SuperUser, user: Option<String>) -> Result<Vec<ApiKeyView>> {
    let of = match user {
        Some(user) => Some(find(&root, &user).await?.user.user_id),
        None => None,
    };
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let (page, next) = root.api_keys(of, LARGEST_PAGE, cursor.as_deref()).await?;
        all.extend(page);
        if next.is_none() {
            return Ok(all);
        }
        cursor = next;
    }
}
