//! `users`, `user`, `create_user`, `update_user`, `delete_user`.

use super::super::super::input::{Members, NameSegment, Query, Segment};
use super::super::super::reply::{Created, Done, Found};
use super::fields::{detail, listed};
use super::guid::Guid;
use super::sent::Sent;
use super::{Part, Said, collect, part_limit};
use crate::domain::attribute::Viewer;
use crate::domain::ids::UserId;
use crate::error::{Code, Error, Result};
use crate::service::{Amendment, Authenticated, Filter, Find, NewUser, Order, SuperUser, Whom};
use schemars::JsonSchema;
use serde::Deserialize;

/// A user's guid in the path.
pub(super) type UserGuid = Segment<0, Guid<UserId>>;

/// How much of which users.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Also the remark, the validity and the groups of each.
    #[serde(default)]
    extended_info: Option<String>,
    /// Items in one answer, 1 to 10,000, which is the default.
    limit: Option<i64>,
    /// Where the part before this one ended.
    cursor: Option<String>,
}

fn is_true(text: Option<&str>) -> Result<bool> {
    match text.unwrap_or("false").to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::new(Code::BadQuery).at("extended_info", "is neither true nor false")),
    }
}

pub(super) async fn list(caller: SuperUser, Query(query): Query<ListQuery>) -> Result<Part> {
    let (limit, is_extended) = (part_limit(query.limit)?, is_true(query.extended_info.as_deref())?);
    let page = |limit, cursor| {
        let (order, filter) = (Some(Order::Number), Filter::default());
        let find = Find { filter, order, descending: false, limit, cursor, with_total: false };
        let caller = &caller;
        async move {
            let found = caller.find_users(find).await?;
            // Spelt page by page: the accounts themselves take more room.
            let items = found.items.iter().map(|account| listed(account.view(Viewer::SuperUser), is_extended));
            Ok((items.collect::<Result<Vec<_>>>()?, found.next_cursor))
        }
    };
    let (items, next) = collect(limit, query.cursor, page).await?;
    let next = next.map(|cursor| format!("/ecm/security/users?extended_info={is_extended}&limit={limit}&cursor={cursor}"));
    Ok(Part { items, next })
}

pub(super) async fn by_name(caller: Authenticated, NameSegment(name): NameSegment<0>) -> Result<Found<Said>> {
    let seen = caller.see(Whom::Username(name)).await?;
    Ok(Found(Said(detail(seen.account.view(seen.viewer), seen.supervisor)?)))
}

/// Puts the supervisor that a number names into a patch.
async fn settle_supervisor(caller: &SuperUser, sent: &mut Sent) -> Result<()> {
    let supervisor = match sent.supervisor {
        None => return Ok(()),
        Some(None) => None,
        Some(Some(number)) => Some(caller.user_of_number(number, "supervisor_id").await?.to_string()),
    };
    sent.members.insert("supervisor_id".to_owned(), supervisor.into());
    Ok(())
}

pub(super) async fn create(caller: SuperUser, Members(members): Members) -> Result<Created<Said>> {
    let mut sent = Sent::read(members)?;
    settle_supervisor(&caller, &mut sent).await?;
    let Sent { mut members, supervisor, password, change_pwd, locked } = sent;
    // A name that was left empty is made up as if it had not been given.
    for name in ["login_name", "display_name"] {
        if members.get(name).and_then(|text| text.as_str()) == Some("") {
            members.remove(name);
        }
    }
    members.extend(change_pwd.map(|flag| ("password_must_change".to_owned(), flag.into())));
    let mut new = NewUser::read(Viewer::SuperUser, members)?;
    new.password = password;
    let account = caller.create_user_as(new, "ecm", locked == Some(true)).await?;
    let said = Said(detail(account.view(Viewer::SuperUser), supervisor.flatten())?);
    Ok(Created { body: said, cookie: None })
}

pub(super) async fn update(caller: SuperUser, (user, Members(members)): (UserGuid, Members)) -> Result<Found<Said>> {
    let user_id = user.0.0;
    let mut sent = Sent::read(members)?;
    settle_supervisor(&caller, &mut sent).await?;
    let Sent { mut members, password, change_pwd, locked, .. } = sent;
    if password.is_none() {
        members.extend(change_pwd.map(|flag| ("password_must_change".to_owned(), flag.into())));
    }
    let password = password.map(|new| (new, change_pwd == Some(true)));
    let (account, supervisor) = caller.amend(user_id, Amendment { members, password, lock: locked }).await?;
    Ok(Found(Said(detail(account.view(Viewer::SuperUser), supervisor)?)))
}

/// What is to become of what a user leaves: usher keeps no portfolios and no mails.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteQuery {
    /// The heir.
    target_user_guid: Option<String>,
    /// Whether the heir gets the portfolios.
    forward_portfolios: Option<bool>,
    /// Whether the heir gets the mails.
    forward_mails: Option<bool>,
}

pub(super) async fn delete(caller: SuperUser, (user, Query(query)): (UserGuid, Query<DeleteQuery>)) -> Result<Done> {
    let user_id = user.0.0;
    for (name, given) in [("forward_portfolios", query.forward_portfolios), ("forward_mails", query.forward_mails)] {
        if given == Some(true) {
            return Err(Error::new(Code::BadQuery).at(name, "asks for what is not kept here: there is nothing to forward"));
        }
    }
    if let Some(heir) = query.target_user_guid.filter(|text| !text.is_empty()) {
        let bad = || Error::new(Code::BadQuery).at("target_user_guid", "is no guid");
        heir.parse::<Guid<UserId>>().map_err(|()| bad())?;
    }
    caller.delete(user_id).await?;
    Ok(Done)
}
