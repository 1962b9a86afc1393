//! Linked accounts of HTTP Basic.

use super::answer::Told;
use super::sent::{Sent, naive};
use crate::domain::linked_account::LinkedAccountView;
use crate::error::{Code, Error, Result};
use crate::service::{Authenticated, SuperUser};
use serde_json::{Value, json};

/// The one kind of account.
const KIND: &str = "basic_auth";

pub(super) async fn list(caller: Authenticated, sent: Sent) -> Result<Told> {
    let accounts = caller.linked_accounts_of(sent.user()?).await?;
    let tell = |account: &LinkedAccountView| {
        json!({
            "is_active": account.is_active,
            "creation_time": account.linked_time.map(naive),
            "auth_type": KIND,
            "auth_username": account.name,
        })
    };
    Ok(Told::done().with("result", accounts.iter().map(tell).collect::<Vec<Value>>()))
}

/// The account that is named, which must be of the kind that there is.
fn account(sent: &Sent) -> Result<String> {
    let bad = |name: &str| Error::new(Code::BadType).at(name, "is not known");
    if sent.text("auth_type")?.as_deref() != Some(KIND) {
        return Err(bad("auth_type"));
    }
    sent.filled("auth_username")?.ok_or_else(|| bad("auth_username"))
}

pub(super) async fn link(caller: SuperUser, sent: Sent) -> Result<Told> {
    let (user_id, name) = (sent.one_user()?, account(&sent)?);
    // An account that is linked is meant to be used, unless it is said that it is not.
    let is_active = sent.value("is_active").is_none() || sent.flag("is_active")?;
    caller.link_account(user_id, &name, is_active).await?;
    Ok(Told::done())
}

pub(super) async fn unlink(caller: SuperUser, sent: Sent) -> Result<Told> {
    let (user_id, name) = (sent.one_user()?, account(&sent)?);
    caller.unlink_account(user_id, &name).await?;
    Ok(Told::done())
}
