//! `usher user attr …`

use super::users::find;
use super::{Common, Exit, Outcome, output};
use crate::domain::audit::Action;
use crate::domain::custom_attribute::{AttributeName, AttributeValue, LONGEST_LIFE, Setting};
use crate::domain::ids::UserId;
use crate::domain::precondition::Precondition;
use crate::error::{Code, Error, Result};
use crate::service::SuperUser;
use clap::{Args, Subcommand};
use serde_json::json;
use std::time::Duration;

#[derive(Subcommand)]
pub(super) enum Command {
    /// List a user's attributes by name.
    List {
        /// The username, login name or user_id.
        user: String,
    },
    /// Print the value of an attribute as JSON.
    Get {
        /// The username, login name or user_id.
        user: String,
        /// The attribute's name.
        name: AttributeName,
    },
    /// Set an attribute.
    Set(Set),
    /// Remove an attribute, or all of them.
    Delete {
        /// The username, login name or user_id.
        user: String,
        /// The attribute's name.
        #[arg(required_unless_present = "all")]
        name: Option<AttributeName>,
        /// All of the user's attributes.
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
}

#[derive(Args)]
pub(super) struct Set {
    /// The username, login name or user_id.
    user: String,
    /// The attribute's name.
    name: AttributeName,
    /// Its value: any JSON. Other users of this machine can see what stands on a command line.
    #[arg(long, value_name = "JSON", value_parser = AttributeValue::parse, required_unless_present = "value_stdin")]
    value: Option<AttributeValue>,
    /// Read the value, any JSON, from standard input.
    #[arg(long, conflicts_with = "value")]
    value_stdin: bool,
    /// Seconds after which it is gone.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=LONGEST_LIFE.as_secs()))]
    expires_in: Option<u64>,
    /// Keep it encrypted in the database, and its value out of the audit trail.
    #[arg(long)]
    encrypted: bool,
}

pub(super) async fn execute(common: &Common, command: Command) -> Outcome {
    match command {
        Command::List { user } => {
            let list = |root: SuperUser| async move {
                let user_id = id_of(&root, &user).await?;
                root.attributes_of(user_id).list().await
            };
            let items = common.act(Action::UserAttributeList, list).await?;
            if common.json {
                return output::items(&items);
            }
            items.iter().try_for_each(|item| {
                let expiry = item.expiry.map_or_else(|| "-".to_owned(), |expiry| format!("until {expiry}"));
                let kept = if item.is_encrypted { "encrypted" } else { "clear" };
                output::line(&format!("{}  {kept}  {expiry}  {}", item.name, output::printable(item.value.as_json())))
            })
        }
        Command::Get { user, name } => {
            let get = |root: SuperUser| async move {
                let user_id = id_of(&root, &user).await?;
                root.attributes_of(user_id).get(name.clone()).await.map_err(|error| missing(error, &name))
            };
            let found = common.act(Action::UserAttributeRead, get).await?;
            if common.json { output::json(&found) } else { output::line(&output::printable(found.value.as_json())) }
        }
        Command::Set(Set { user, name, value, value_stdin: _, expires_in, encrypted }) => {
            let value = match value {
                Some(value) => value,
                None => {
                    let text = output::secret_from_stdin()?;
                    AttributeValue::parse(&text).map_err(|flaw| Exit::Refused(format!("standard input: the value {flaw}")))?
                }
            };
            let setting = Setting { value, expires_in: expires_in.map(Duration::from_secs), is_encrypted: encrypted };
            let set = |root: SuperUser| async move {
                let user_id = id_of(&root, &user).await?;
                root.attributes_of(user_id).set(name, setting, Precondition::default()).await
            };
            let (made, _) = common.act(Action::UserAttributeSet, set).await?;
            if common.json { output::json(&made) } else { output::line(&format!("{} is set", made.name)) }
        }
        Command::Delete { user, name, all: _ } => {
            let action = if name.is_some() { Action::UserAttributeDelete } else { Action::UserAttributesDelete };
            let gone = name.clone();
            let delete = |root: SuperUser| async move {
                let user_id = id_of(&root, &user).await?;
                let attributes = root.attributes_of(user_id);
                match name {
                    Some(name) => {
                        let deleted = attributes.delete(name.clone(), Precondition::default()).await;
                        deleted.map_err(|error| missing(error, &name))?;
                    }
                    None => attributes.delete_all().await?,
                }
                Ok(user_id)
            };
            let user_id = common.act(action, delete).await?;
            if common.json {
                return output::json(&json!({ "user_id": user_id, "name": gone }));
            }
            output::line(&gone.map_or_else(|| "all are removed".to_owned(), |name| format!("{name} is removed")))
        }
    }
}

async fn id_of(root: &SuperUser, user: &str) -> Result<UserId> {
    Ok(find(root, user).await?.user.user_id)
}

fn missing(error: Error, name: &AttributeName) -> Error {
    match error.code() {
        Code::NotFound => error.detail(format!("The user has no attribute {name}.")),
        _ => error,
    }
}
