//! `usher group …`

use super::users::find as find_user;
use super::{Common, Exit, Outcome, output};
use crate::domain::attribute::Viewer;
use crate::domain::audit::Action;
use crate::domain::group::GroupView;
use crate::domain::ids::GroupId;
use crate::domain::text::{Name, fold};
use crate::domain::user::Account;
use crate::error::{Code, Error, Result};
use crate::service::{Again, LARGEST_PAGE, SuperUser};
use clap::Subcommand;
use serde_json::{Value, json};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a group and print its group_id.
    Create {
        /// Its name.
        name: Name,
    },
    /// List groups by name.
    List,
    /// Rename a group.
    Rename {
        /// Its name or group_id.
        group: String,
        /// The name from now on.
        name: Name,
    },
    /// Remove a group; its members stay as users.
    Delete {
        /// Its name or group_id.
        group: String,
    },
    /// List the members of a group in order of creation.
    Members {
        /// Its name or group_id.
        group: String,
    },
    /// Add a user to a group.
    Add {
        /// Its name or group_id.
        group: String,
        /// The username, login name or user_id.
        user: String,
    },
    /// Take a user out of a group.
    Remove {
        /// Its name or group_id.
        group: String,
        /// The username, login name or user_id.
        user: String,
    },
}

pub(super) async fn execute(common: &Common, command: Command) -> Outcome {
    match command {
        Command::Create { name } => {
            let group = common.act(Action::GroupCreate, |root| root.create_group(name, None)).await?;
            if common.json { output::json(&group) } else { output::line(&group.group_id.to_string()) }
        }
        Command::List => {
            let groups = common.act(Action::GroupList, |root| async move { list(&root).await }).await?;
            if common.json {
                return output::json(&json!({ "items": groups }));
            }
            groups.iter().try_for_each(|group| output::line(&format!("{}  {}", group.group_id, group.name)))
        }
        Command::Rename { group, name } => {
            let rename = |root: SuperUser| async move {
                let group_id = find(&root, &group).await?;
                root.rename_group(group_id, name).await
            };
            let group = common.act(Action::GroupUpdate, rename).await?;
            if common.json { output::json(&group) } else { output::line(&format!("{} is {} now", group.group_id, group.name)) }
        }
        Command::Delete { group } => {
            let delete = |root: SuperUser| async move {
                let group_id = find(&root, &group).await?;
                root.delete_group(group_id).await.map(|()| group_id)
            };
            let group_id = common.act(Action::GroupDelete, delete).await?;
            if common.json {
                output::json(&json!({ "group_id": group_id }))
            } else {
                output::line(&format!("{group_id} is removed"))
            }
        }
        Command::Members { group } => {
            let accounts = common.act(Action::MemberList, |root| members(root, group)).await?;
            if common.json {
                let views = accounts.iter().map(|account| serde_json::to_value(account.view(Viewer::SuperUser)));
                let items: Vec<Value> = views.collect::<std::result::Result<_, _>>().map_err(|e| Exit::Refused(e.to_string()))?;
                return output::json(&json!({ "items": items }));
            }
            accounts.iter().try_for_each(|a| output::line(&format!("{}  {}", a.user.user_id, a.user.username)))
        }
        Command::Add { group, user } => {
            let add = |root: SuperUser| async move {
                let (group_id, user_id) = (find(&root, &group).await?, find_user(&root, &user).await?.user.user_id);
                root.add_member(group_id, user_id, Again::Fine).await
            };
            changed(common, &common.act(Action::MemberAdd, add).await?, "is in the group")
        }
        Command::Remove { group, user } => {
            let remove = |root: SuperUser| async move {
                let (group_id, user_id) = (find(&root, &group).await?, find_user(&root, &user).await?.user.user_id);
                root.remove_member(group_id, user_id).await
            };
            changed(common, &common.act(Action::MemberRemove, remove).await?, "is out of the group")
        }
    }
}

fn changed(common: &Common, account: &Account, what: &str) -> Outcome {
    if common.json {
        return output::json(&account.view(Viewer::SuperUser));
    }
    output::line(&format!("{} {what}", account.user.username))
}

/// All groups, by name.
pub(super) async fn list(root: &SuperUser) -> Result<Vec<GroupView>> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let (page, next) = root.groups(LARGEST_PAGE, cursor.as_deref()).await?;
        all.extend(page);
        if next.is_none() {
            return Ok(all);
        }
        cursor = next;
    }
}

/// By name, else by id.
pub(super) async fn find(root: &SuperUser, group: &str) -> Result<GroupId> {
    let (key, id) = (fold(group), group.parse::<GroupId>().ok());
    let groups = list(root).await?;
    let found = groups.iter().find(|g| g.name.key() == key).or_else(|| groups.iter().find(|g| Some(g.group_id) == id));
    let unknown = || Error::new(Code::NotFound).because("group_unknown").detail(format!("There is no group {group}."));
    found.map(|g| g.group_id).ok_or_else(unknown)
}

async fn members(root: SuperUser, group: String) -> Result<Vec<Account>> {
    let group_id = find(&root, &group).await?;
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let (page, next) = root.members(group_id, LARGEST_PAGE, cursor.as_deref()).await?;
        all.extend(page);
        if next.is_none() {
            return Ok(all);
        }
        cursor = next;
    }
}
