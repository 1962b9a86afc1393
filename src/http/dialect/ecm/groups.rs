//! Groups and who is in them.

use super::super::super::groups::group_patch;
use super::super::super::input::{Body, NameSegment, Query, Segment};
use super::super::super::reply::{Created, Done, Found};
use super::fields::{group, listed, own_group};
use super::guid::Guid;
use super::users::UserGuid;
use super::{Part, PartQuery, Said, collect, part_limit};
use crate::domain::attribute::Viewer;
use crate::domain::group::GroupPatch;
use crate::domain::ids::GroupId;
use crate::error::{Code, Error, Result};
use crate::service::{Again, Authenticated, SuperUser, Whom};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// A group's guid in the path.
type GroupGuid = Segment<2, Guid<GroupId>>;

/// A group to be made or changed. What is absent or null stays as it is.
#[derive(Deserialize, JsonSchema)]
pub(super) struct GroupBody {
    /// Its name.
    name: Option<String>,
    /// The profile of its members; -1 is none.
    profile_id: Option<i64>,
    /// What it is for; empty is nothing.
    description: Option<String>,
}

impl GroupBody {
    fn patch(self) -> Result<GroupPatch> {
        let description = self.description.map(|text| Some(text).filter(|t| !t.is_empty()));
        group_patch(self.name, None, description, self.profile_id.map(|id| Some(id).filter(|id| *id != -1)))
    }
}

pub(super) async fn list(caller: SuperUser, Query(query): Query<PartQuery>) -> Result<Part> {
    let limit = part_limit(query.limit)?;
    let page = |limit, cursor: Option<String>| {
        let caller = &caller;
        async move { caller.groups(limit, cursor.as_deref()).await }
    };
    let (groups, next) = collect(limit, query.cursor, page).await?;
    let next = next.map(|cursor| format!("/ecm/security/groups?limit={limit}&cursor={cursor}"));
    Ok(Part { items: groups.iter().map(group).collect(), next })
}

pub(super) async fn by_name(caller: SuperUser, NameSegment(name): NameSegment<2>) -> Result<Found<Said>> {
    Ok(Found(Said(group(&caller.group_by_name(&name).await?))))
}

pub(super) async fn create(caller: SuperUser, Body(body): Body<GroupBody>) -> Result<Created<Said>> {
    let patch = body.patch()?;
    let name = patch.name.clone().ok_or_else(|| Error::new(Code::Invalid).at("name", "is missing"))?;
    Ok(Created { body: Said(group(&caller.furnish_group(name, patch).await?)), cookie: None })
}

pub(super) async fn update(caller: SuperUser, (id, Body(body)): (GroupGuid, Body<GroupBody>)) -> Result<Found<Said>> {
    Ok(Found(Said(group(&caller.update_group(id.0.0, body.patch()?).await?))))
}

pub(super) async fn delete(caller: SuperUser, id: GroupGuid) -> Result<Done> {
    caller.delete_empty_group(id.0.0).await?;
    Ok(Done)
}

pub(super) async fn empty(caller: SuperUser, id: GroupGuid) -> Result<Done> {
    caller.empty_group(id.0.0).await?;
    Ok(Done)
}

/// The members of a group that there is not are none.
pub(super) async fn members(
    caller: SuperUser,
    (NameSegment(name), Query(query)): (NameSegment<2>, Query<PartQuery>),
) -> Result<Part> {
    let limit = part_limit(query.limit)?;
    let group_id = match caller.group_by_name(&name).await {
        Ok(group) => group.group_id,
        Err(error) if error.code() == Code::NotFound => return Ok(Part { items: Vec::new(), next: None }),
        Err(error) => return Err(error),
    };
    let page = |limit, cursor: Option<String>| {
        let caller = &caller;
        async move {
            let (members, next) = caller.members(group_id, limit, cursor.as_deref()).await?;
            let items = members.iter().map(|account| listed(account.view(Viewer::SuperUser), false));
            Ok((items.collect::<Result<Vec<Value>>>()?, next))
        }
    };
    let (items, next) = collect(limit, query.cursor, page).await?;
    let name = super::super::super::input::quoted(&name);
    let next = next.map(|cursor| format!("/ecm/security/group_members/{name}?limit={limit}&cursor={cursor}"));
    Ok(Part { items, next })
}

/// A super-user sees the groups as such; a regular user the groups of its own account.
pub(super) async fn of_user(caller: Authenticated, user: UserGuid) -> Result<Part> {
    let user_id = user.0.0;
    if caller.viewer_of(user_id) == Viewer::Owner {
        let seen = caller.see(Whom::Id(user_id)).await?;
        return Ok(Part { items: seen.account.groups.iter().map(own_group).collect(), next: None });
    }
    let groups = caller.rise()?.groups_of(user_id).await?;
    Ok(Part { items: groups.iter().map(group).collect(), next: None })
}

/// An id in the path that names no user names nothing, here as elsewhere in paths.
fn nothing(error: Error) -> Error {
    if error.reason() == "user_unknown" { Error::new(Code::NotFound).because("user_unknown") } else { error }
}

pub(super) async fn add(caller: SuperUser, (user, id): (UserGuid, GroupGuid)) -> Result<Done> {
    caller.add_member(id.0.0, user.0.0, Again::Fine).await.map_err(nothing)?;
    Ok(Done)
}

pub(super) async fn remove(caller: SuperUser, (user, id): (UserGuid, GroupGuid)) -> Result<Done> {
    caller.remove_member(id.0.0, user.0.0).await?;
    Ok(Done)
}

pub(super) async fn remove_from_all(caller: SuperUser, user: UserGuid) -> Result<Done> {
    caller.leave_groups(user.0.0).await?;
    Ok(Done)
}
