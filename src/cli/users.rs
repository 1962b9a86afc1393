//! `usher user …`

use super::{Common, Exit, Outcome, act, attributes, bulk, output};
use crate::auth::totp::Key;
use crate::domain::attribute::Viewer;
use crate::domain::audit::Action;
use crate::domain::ids::UserId;
use crate::domain::link::LinkUrl;
use crate::domain::network::Networks;
use crate::domain::text::{Email, Line, Name};
use crate::domain::user::{Account, ApprovalStatus, Patch, UserRole};
use crate::error::{Code, Error};
use crate::service::{Filter, Find, NewUser, Order, SuperUser};
use crate::store::Mend;
use clap::{Args, Subcommand};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

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
    /// Change attributes, all of them or none.
    Set {
        /// The username, login name or user_id.
        user: String,
        /// An attribute and its new value: JSON where it is JSON (true, null, "1"), otherwise text.
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = member)]
        members: Vec<(String, Value)>,
    },
    /// Change a user's role and end the user's sessions.
    SetRole {
        /// The username, login name or user_id.
        user: String,
        /// viewer, publisher or administrator.
        role: UserRole,
    },
    /// Show or replace the networks that a user may come from.
    Networks {
        /// The username, login name or user_id.
        user: String,
        /// The networks, such as 10.0.0.0/8, with commas between.
        #[arg(long, value_name = "CIDR,...", value_parser = Networks::parse_text)]
        set: Option<Networks>,
        /// From anywhere.
        #[arg(long, conflicts_with = "set")]
        clear: bool,
    },
    /// Make and change users as the lines of a file say, one JSON object each. Run again, it goes on where it was cut short.
    Import(bulk::Import),
    /// Print every user as a line of JSON, in order of creation.
    Export(bulk::Export),
    /// Delete a user with all that hangs on it; the audit trail keeps the user_id.
    Delete {
        /// The username, login name or user_id.
        user: String,
    },
    /// Look after a user's custom attributes.
    #[command(subcommand)]
    Attr(attributes::Command),
    /// Set a password, read from standard input, and end the user's sessions; or have the user set one by a link.
    SetPassword {
        /// The username, login name or user_id.
        user: String,
        /// Read the password from standard input.
        #[arg(long, required_unless_present = "link", conflicts_with = "link")]
        password_stdin: bool,
        /// The next sign-in must set a new one.
        #[arg(long, conflicts_with = "link")]
        must_change: bool,
        #[command(flatten)]
        link: Link,
    },
    /// Make a token that resets a user's password and print it, once. What was mailed cannot be looked up: the database has only its hash.
    ResetToken {
        /// The username, login name or user_id.
        user: String,
    },
    /// Take a user's second factor away, be it lost: one-time codes and recovery codes. The user's sessions end.
    ResetTotp {
        /// The username, login name or user_id.
        user: String,
    },
}

/// A link by which a user sets a password.
#[derive(Args, Clone, Copy)]
pub(super) struct Link {
    /// Mail the user a link by which the user sets a password; where that is not possible, print it.
    #[arg(long)]
    link: bool,
    /// Print the link, once, rather than mail it.
    #[arg(long, requires = "link")]
    print: bool,
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
    /// Make the account without a password: the user is to set it.
    #[arg(long)]
    must_set_password: bool,
    #[command(flatten)]
    link: Link,
    /// The key of one-time codes in base32, as another system exported it: sign-in asks for a code at once.
    #[arg(long, value_name = "KEY")]
    totp_key: Option<String>,
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
        Command::Import(import) => bulk::import(common, import).await,
        Command::Export(export) => bulk::export(common, export).await,
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
        Command::Set { user, members } => {
            let mut patch = Map::new();
            for (name, value) in members {
                if patch.insert(name.clone(), value).is_some() {
                    return Err(Exit::Refused(format!("{name} is given twice")));
                }
            }
            let account = update(common, &user, &patch).await?;
            changed(common, &account, "is changed")
        }
        Command::SetRole { user, role } => {
            let patch = Map::from_iter([("user_role".to_owned(), role.as_str().into())]);
            let set = |root: SuperUser| async move {
                mended(&root, &user, Mend::Role).await?;
                let user_id = find(&root, &user).await?.user.user_id;
                root.update(user_id, &patch, None).await
            };
            let account = common.act(Action::UserUpdate, set).await?;
            changed(common, &account, &format!("is {role} now"))
        }
        Command::Networks { user, set, clear } => networks(common, &user, set.or(clear.then(Networks::default))).await,
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
        Command::SetPassword { user, link, .. } if link.link => {
            let (account, told) = common.act(Action::PasswordSet, |root| hand_out(root, user, link)).await?;
            match told {
                Some(told) if common.json => output::json(&with_link(&account, told)?),
                Some(told) => output::line(told.expose()),
                None => changed(common, &account, "gets a link by mail"),
            }
        }
        Command::SetPassword { user, must_change, .. } => {
            let password = output::password_from_stdin()?;
            let set = |root: SuperUser| async move {
                mended(&root, &user, Mend::Password).await?;
                let user_id = find(&root, &user).await?.user.user_id;
                root.set_password(user_id, password, must_change, None).await
            };
            let account = common.act(Action::PasswordSet, set).await?;
            changed(common, &account, "has a new password")
        }
        Command::ResetToken { user } => {
            let issue = |root: SuperUser| async move {
                let user_id = find(&root, &user).await?.user.user_id;
                root.tell_reset_token(user_id).await
            };
            let (token, expiry) = common.act(Action::ResetIssue, issue).await?;
            if common.json {
                return output::json(&serde_json::json!({ "token": token.expose(), "expiry": expiry }));
            }
            output::line(token.expose())
        }
        Command::ResetTotp { user } => {
            let reset = |root: SuperUser| async move {
                let user_id = find(&root, &user).await?.user.user_id;
                root.reset_totp(user_id).await
            };
            let account = common.act(Action::TotpReset, reset).await?;
            changed(common, &account, "has no second factor now")
        }
    }
}

/// Reads `NAME=VALUE`.
fn member(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("is not of the form NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

async fn update(common: &Common, user: &str, patch: &Map<String, Value>) -> Result<Account, Exit> {
    let update = |root: SuperUser| async move {
        let user_id = find(&root, user).await?.user.user_id;
        root.update(user_id, patch, None).await
    };
    common.act(Action::UserUpdate, update).await
}

/// Brings a user back whose row somebody altered, and says what is to be looked at.
async fn mended(root: &SuperUser, user: &str, mend: Mend) -> Result<(), Error> {
    let Some(user) = root.mend(user, mend).await? else { return Ok(()) };
    let gone = match mend {
        Mend::Password => "its role is viewer now",
        Mend::Role => "it has no password now",
    };
    let email = user.email.as_ref().map_or("none", |email| email.as_str());
    let codes = if user.is_totp_enabled { "on" } else { "off" };
    output::complain(&format!(
        "the row of {} was altered outside of usher: {gone}, and its sessions, API keys and links are gone. Look at what else it says: \
         login name {}, e-mail {email}, external id {}, one-time codes {codes}",
        user.username,
        user.login_name,
        user.external_id.as_ref().map_or("none", |id| id.as_str()),
    ));
    Ok(())
}

/// Mails a link, or makes one that is to be printed.
async fn hand_out(root: SuperUser, user: String, link: Link) -> Result<(Account, Option<LinkUrl>), Error> {
    let account = find(&root, &user).await?;
    let user_id = account.user.user_id;
    if !link.print && root.can_mail_link_to(&account) {
        return Ok((root.send_password_link(user_id).await?, None));
    }
    root.tell_password_link(user_id).await.map(|(account, link)| (account, Some(link)))
}

/// The user as a super-user sees it, and the link.
fn with_link(account: &Account, link: LinkUrl) -> Result<Value, Exit> {
    let mut view = serde_json::to_value(account.view(Viewer::SuperUser)).map_err(|e| Exit::Refused(e.to_string()))?;
    if let Some(members) = view.as_object_mut() {
        members.insert("link".to_owned(), link.expose().into());
    }
    Ok(view)
}

async fn common_create(common: &Common, create: Create) -> Outcome {
    let link = create.link;
    if link.link && !create.must_set_password {
        return Err(Exit::Refused("--link goes together with --must-set-password".to_owned()));
    }
    // Not read by the parser of arguments, whose complaint would repeat the key.
    let totp_key = create.totp_key.map(Zeroizing::new).map(|text| Key::from_base32(&text)).transpose();
    let totp_key = totp_key.map_err(|flaw| Exit::Refused(format!("--totp-key: the key {flaw}")))?;
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
    let new = NewUser { patch, password, totp_key, ..NewUser::default() };
    let account = common.act(Action::UserCreate, |root| root.create_user(new, "cli")).await?;
    if link.link {
        // The account is there; what becomes of the link is told apart from it.
        let user = account.user.user_id.to_string();
        let (account, told) = common.act(Action::PasswordSet, |root| hand_out(root, user, link)).await?;
        return match told {
            Some(told) if common.json => output::json(&with_link(&account, told)?),
            None if common.json => output::json(&account.view(Viewer::SuperUser)),
            Some(told) => output::lines(&[account.user.user_id.to_string(), told.expose().to_owned()]),
            None => output::line(&account.user.user_id.to_string()),
        };
    }
    if common.json { output::json(&account.view(Viewer::SuperUser)) } else { output::line(&account.user.user_id.to_string()) }
}

/// Shows the networks that a user may come from, or those that it may from now on.
async fn networks(common: &Common, user: &str, set: Option<Networks>) -> Outcome {
    let action = if set.is_some() { Action::NetworksSet } else { Action::NetworksRead };
    let work = |root: SuperUser| async move {
        let user_id = find(&root, user).await?.user.user_id;
        match set {
            Some(networks) => root.set_networks(user_id, networks).await,
            None => root.networks_of(user_id).await,
        }
    };
    let networks = common.act(action, work).await?;
    if common.json {
        return output::json(&serde_json::json!({ "networks": networks }));
    }
    output::line(if networks.is_anywhere() { "anywhere".to_owned() } else { networks.to_text() }.as_str())
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
