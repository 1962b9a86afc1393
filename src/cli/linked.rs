//! `usher linked …`

use super::users::find;
use super::{Common, Outcome, output};
use crate::domain::audit::Action;
use crate::domain::linked_account::LinkedAccountView;
use crate::domain::text::Name;
use crate::service::SuperUser;
use clap::Subcommand;
use serde_json::json;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make an account of HTTP Basic, its password read from standard input, and link it to a user.
    Create {
        /// Its name, without a colon.
        name: Name,
        /// The user as whom it acts; nobody yet if none is given.
        #[arg(long)]
        user: Option<String>,
        /// Read the password from standard input.
        #[arg(long, required = true)]
        password_stdin: bool,
    },
    /// List accounts by name, each with the user as whom it acts.
    List,
    /// Remove an account and end the session that is open through it.
    Delete {
        /// Its name.
        name: String,
    },
}

pub(super) async fn execute(common: &Common, command: Command) -> Outcome {
    match command {
        Command::Create { name, user, password_stdin: _ } => {
            let password = output::password_from_stdin()?;
            let create = |root: SuperUser| async move {
                let user_id = match &user {
                    Some(user) => Some(find(&root, user).await?.user.user_id),
                    None => None,
                };
                root.create_linked_account(name, password, user_id).await
            };
            let account = common.act(Action::LinkedAccountCreate, create).await?;
            if common.json { output::json(&account) } else { output::line(&account.account_id.to_string()) }
        }
        Command::List => {
            let accounts =
                common.act(Action::LinkedAccountList, |root: SuperUser| async move { root.linked_accounts().await }).await?;
            if common.json {
                return output::json(&json!({ "items": accounts }));
            }
            accounts.iter().try_for_each(|account| output::line(&row(account)))
        }
        Command::Delete { name } => {
            let named = name.clone();
            let delete = |root: SuperUser| async move { root.delete_linked_account(&named).await };
            common.act(Action::LinkedAccountDelete, delete).await?;
            if common.json { output::json(&json!({ "name": name })) } else { output::line(&format!("{name} is removed")) }
        }
    }
}

fn row(account: &LinkedAccountView) -> String {
    let state = if account.is_active { "active" } else { "off" };
    let user = account.user_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    format!("{}  {state:<6}  {user:<36}  {}", account.account_id, account.name)
}
