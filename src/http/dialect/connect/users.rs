//! Users.

use super::super::super::input::UserSegment;
use super::super::super::reply::Done;
use super::answer::{self, Told, page};
use super::input::{Given, Parameters, missing};
use crate::domain::attribute::Viewer;
use crate::error::{Code, Error, Result};
use crate::service::{Authenticated, NewUser, SuperUser};
use serde_json::{Map, Value};

pub(super) async fn current(caller: Authenticated, (): ()) -> Result<Told> {
    let (account, viewer) = caller.own_account().await?;
    answer::user(&account, viewer).map(Told)
}

pub(super) async fn by_id(caller: Authenticated, user: UserSegment) -> Result<Told> {
    let (account, viewer) = caller.look_up(user.0).await?;
    answer::user(&account, viewer).map(Told)
}

pub(super) async fn find(caller: Authenticated, parameters: Parameters) -> Result<Told> {
    let numbered = parameters.page()?;
    let listed = caller.list_users(parameters.filter()?, parameters.is_descending()?, numbered).await?;
    page(&listed, numbered, |(account, viewer)| answer::user(account, *viewer))
}

/// Takes the members that a profile has, each by its native name. An empty first or last name is none; an empty address is refused.
fn profile(given: &mut Given) -> Result<Map<String, Value>> {
    let mut members = Map::new();
    for name in ["username", "email", "first_name", "last_name", "user_role"] {
        let Some(text) = given.text(name)? else { continue };
        let value = match (name, text.is_empty()) {
            ("email", true) => return Err(Error::new(Code::Invalid).because("email_blank").at("email", "is empty")),
            ("first_name" | "last_name", true) => Value::Null,
            _ => text.into(),
        };
        members.insert(name.to_owned(), value);
    }
    Ok(members)
}

pub(super) async fn create(caller: SuperUser, mut given: Given) -> Result<Told> {
    let mut members = profile(&mut given)?;
    if !members.contains_key("username") {
        return Err(missing("username"));
    }
    members.entry("user_role").or_insert_with(|| caller.default_role().as_str().into());
    if let Some(unique_id) = given.text("unique_id")? {
        if unique_id.is_empty() {
            return Err(Error::new(Code::Invalid).because("unique_id_blank").at("external_id", "is empty"));
        }
        members.insert("external_id".to_owned(), unique_id.into());
    }
    let must_set = given.flag("user_must_set_password")?.unwrap_or(false);
    match (given.take("password"), must_set) {
        (Some(_), true) => {
            let either = "is not to be sent along with user_must_set_password";
            return Err(Error::new(Code::BadType).at("password", either));
        }
        (None, false) => return Err(missing("password")),
        (Some(password), false) => drop(members.insert("password".to_owned(), password)),
        (None, true) => drop(members.insert("password_must_change".to_owned(), true.into())),
    }
    let account = caller.create_user(NewUser::read(Viewer::SuperUser, members)?, "connect").await?;
    answer::user(&account, Viewer::SuperUser).map(Told)
}

pub(super) async fn update(caller: Authenticated, (user, mut given): (UserSegment, Given)) -> Result<Told> {
    let (account, viewer) = caller.look_up(user.0).await?;
    let told = answer::user(&account, viewer)?;
    let mut members = profile(&mut given)?;
    // A client may send back all that it read: what is as the caller sees it anyhow is no change.
    members.retain(|name, value| told.get(name).and_then(Value::as_str) != Some(value.as_str().unwrap_or_default()));
    if members.is_empty() {
        return Ok(Told(told));
    }
    let (account, viewer) = caller.update_user(user.0, &members).await?;
    answer::user(&account, viewer).map(Told)
}

pub(super) async fn lock(caller: SuperUser, (user, mut given): (UserSegment, Given)) -> Result<Done> {
    match given.flag("locked")?.ok_or_else(|| missing("locked"))? {
        // That oneself is meant cannot be said here: clients keep their `force` to themselves.
        true => caller.lock(user.0, None, false).await?,
        false => caller.unlock(user.0).await?,
    };
    Ok(Done)
}
