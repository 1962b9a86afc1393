//! `usher user …`

use super::{Common, Outcome, act, attributes, output};
use crate::domain::attribute::Viewer;
use crate::domain::audit::Action;
use crate::domain::ids::UserId;
use crate::domain::text::{Email, Line, Name};
use crate::domain::user::{Account, ApprovalStatus, Patch, UserRole};
use crate::error::{Code, Error};
use crate::service::{Filter, Find, NewUser, Order, SuperUser};
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Create an approved, final account and print its user_id.
    Create(Box<Create>),
    /// Show a user.
    Show {
        /// The username, login name or user_id.
        user: String,
    },
    /// List users in order of creation.
    List,
    /// Lock an account and end its sessions.
    Lock {
        /// The username, login name or user_id.
        user: String,
        /// The reason, one line.
        #[arg(long)]
        reason: Option<Line>,
    },
    /// Unlock an account and forget its failed sign-ins.
    Unlock {
        /// The username, login name or user_id.
        user: String,
    },
    /// Approve an account.
    Approve {
        /// The username, login name or user_id.
        user: String,
    },
    /// Reject an account and end its sessions.
    Reject {
        /// The username, login name or user_id.
        user: String,
    },
    /// Change a user's role and end the user's sessions.
    SetRole {
        /// The username, login name or user_id.
        user: String,
        /// viewer, publisher or administrator.
        role: UserRole,
    },
    /// Delete a user with all that hangs on it; the audit trail keeps the user_id.
    Delete {
        /// The username, login name or user_id.
        user: String,
    },
    /// Look after a user's custom attributes.
    #[command(subcommand)]
    Attr(attributes::Command),
    /// Set a password, read from standard input, and end the user's sessions.
    SetPassword {
        /// The username, login name or user_id.
        user: String,
        /// Read the password from standard input.
        #[arg(long, required = true)]
        password_stdin: bool,
        /// The next sign-in must set a new one.
        #[arg(long)]
        must_change: bool,
    },
}

#[derive(Args)]
pub(super) struct Create {
    /// The username.
    name: Name,
    /// The name to sign in with besides the username.
    #[arg(long)]
    login_name: Option<Name>,
    /// The e-mail address.
    #[arg(long)]
    email: Option<Email>,
    /// viewer, publisher or administrator.
    #[arg(long, default_value = "viewer")]
    role: UserRole,
    /// The same as --role administrator.
    #[arg(long, conflicts_with = "role")]
    super_user: bool,
    /// Read the password from standard input.
    #[arg(long, conflicts_with = "must_set_password")]
    password_stdin: bool,
    /// Make the account without a password.
    #[arg(long)]
    must_set_password: bool,
    /// The name to show.
    #[arg(long)]
    display_name: Option<Line>,
    /// First name.
    #[arg(long)]
    first_name: Option<Line>,
    /// Middle name.
    #[arg(long)]
    middle_name: Option<Line>,
    /// Last name.
    #[arg(long)]
    last_name: Option<Line>,
    /// The identity provider's subject.
    #[arg(long)]
    external_id: Option<Line>,
}

macro_rules! from_str {
    ($($text:ty),*) => {$(
        impl std::str::FromStr for $text {
            type Err = crate::domain::text::Unfit;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_from(text.to_owned())
            }
        }
    )*};
}
from_str!(Name, Line, Email);

/// Users read at a time.
const PAGE: i64 = 500;

pub(super) async fn execute(common: &Common, command: Command) -> Outcome {
    match command {
        Command::Create(create) => common_create(common, *create).await,
        Command::Show { user } => {
            let account = common.act(Action::UserRead, |root| async move { find(&root, &user).await }).await?;
            show(common, &account)
        }
        Command::List => list(common).await,
        Command::Lock { user, reason } => {
            let lock = |root: SuperUser| async move {
                let user_id = find(&root, &user).await?.user.user_id;
                root.lock(user_id, reason, false).await
            };
            let account = common.act(Action::UserLock, lock).await?;
            changed(common, &account, "locked")
        }
        Command::Unlock { user } => {
            let unlock = |root: SuperUser| async move {
                let user_id = find(&root, &user).await?.user.user_id;
                root.unlock(user_id).await
            };
            let account = common.act(Action::UserUnlock, unlock).await?;
            changed(common, &account, "unlocked")
        }
        Command::Approve { user } => decide(common, &user, Action::UserApprove, ApprovalStatus::Approved).await,
        Command::Reject { user } => decide(common, &user, Action::UserReject, ApprovalStatus::Rejected).await,
        Command::SetRole { user, role } => {
            let members = Map::from_iter([("user_role".to_owned(), role.as_str().into())]);
            let set = |root: SuperUser| async move {
                let user_id = find(&root, &user).await?.user.user_id;
                root.update(user_id, &members, None).await
            };
            let account = common.act(Action::UserUpdate, set).await?;
            changed(common, &account, &format!("is {role} now"))
        }
        Command::Delete { user } => {
            let name = user.clone();
            let delete = |root: SuperUser| async move {
                let user_id = find(&root, &user).await?.user.user_id;
                root.delete(user_id).await.map(|()| user_id)
            };
            let user_id = common.act(Action::UserDelete, delete).await?;
            if common.json {
                return output::json(&serde_json::json!({ "user_id": user_id }));
            }
            output::line(&format!("{name} is deleted"))
        }
        Command::Attr(command) => attributes::execute(common, command).await,
        Command::SetPassword { user, must_change, .. } => {
            let password = output::password_from_stdin()?;
            let set = |root: SuperUser| async move {
                let user_id = find(&root, &user).await?.user.user_id;
                root.set_password(user_id, password, must_change, None).await
            };
            let account = common.act(Action::PasswordSet, set).await?;
            changed(common, &account, "has a new password")
        }
    }
}

async fn common_create(common: &Common, create: Create) -> Outcome {
    let password = if create.password_stdin { Some(output::password_from_stdin()?) } else { None };
    let patch = Patch {
        username: Some(create.name),
        login_name: create.login_name,
        email: create.email.map(Some),
        user_role: Some(if create.super_user { UserRole::Administrator } else { create.role }),
        display_name: create.display_name,
        first_name: create.first_name.map(Some),
        middle_name: create.middle_name.map(Some),
        last_name: create.last_name.map(Some),
        external_id: create.external_id.map(Some),
        password_must_change: create.must_set_password.then_some(true),
        ..Patch::default()
    };
    let new = NewUser { patch, password };
    let account = common.act(Action::UserCreate, |root| root.create_user(new, "cli")).await?;
    if common.json { output::json(&account.view(Viewer::SuperUser)) } else { output::line(&account.user.user_id.to_string()) }
}

/// By id if it is one, else by name.
pub(super) async fn find(root: &SuperUser, user: &str) -> Result<Account, Error> {
    match user.parse::<UserId>() {
        Ok(user_id) => match root.user(user_id).await {
            Err(error) if error.code() == Code::NotFound => root.user_by_name(user).await,
            found => found,
        },
        Err(_) => root.user_by_name(user).await,
    }
    .map_err(|error| if error.code() == Code::NotFound { error.detail(format!("There is no user {user}.")) } else { error })
}

async fn decide(common: &Common, user: &str, action: Action, status: ApprovalStatus) -> Outcome {
    let decide = |root: SuperUser| async move {
        let user_id = find(&root, user).await?.user.user_id;
        root.decide(user_id, status).await
    };
    let account = common.act(action, decide).await?;
    changed(common, &account, &format!("is {status}"))
}

fn show(common: &Common, account: &Account) -> Outcome {
    let view = account.view(Viewer::SuperUser);
    if common.json {
        return output::json(&view);
    }
    output::members(&view)
}

fn changed(common: &Common, account: &Account, what: &str) -> Outcome {
    if common.json {
        return output::json(&account.view(Viewer::SuperUser));
    }
    output::line(&format!("{} {what}", account.user.username))
}

async fn list(common: &Common) -> Outcome {
    let services = common.services()?;
    let mut items: Vec<Value> = Vec::new();
    let collected = act(&services, Action::UserList, |root| async move {
        let mut find = Find {
            filter: Filter::default(),
            order: Some(Order::Number),
            descending: false,
            limit: PAGE,
            cursor: None,
            with_total: false,
        };
        let mut views = Vec::new();
        loop {
            let page = root.find_users(find.clone()).await?;
            let broken = |e: serde_json::Error| Error::new(Code::Internal).cause(e.to_string());
            for account in &page.items {
                views.push(serde_json::to_value(account.view(Viewer::SuperUser)).map_err(broken)?);
            }
            match page.next_cursor {
                Some(cursor) => find.cursor = Some(cursor),
                None => return Ok(views),
            }
        }
    });
    items.extend(collected.await?);
    services.close();
    if common.json {
        return output::json(&serde_json::json!({ "items": items }));
    }
    let field = |item: &Value, name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    items.iter().try_for_each(|item| {
        let (id, role) = (field(item, "user_id"), field(item, "user_role"));
        output::line(&format!("{id}  {role:<13}  {:<8}  {}", field(item, "account_status"), field(item, "username")))
    })
}
