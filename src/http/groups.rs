//! Endpoints of groups.

use super::input::{Body, GroupSegment, Query, UserSegment, given, page_limit};
use super::reply::{self, Created, Done, Found, Paged, UserAnswer};
use crate::domain::attribute::Viewer;
use crate::domain::group::{GroupPatch, GroupView};
use crate::domain::ids::UserId;
use crate::domain::text::{Line, Name, Unfit};
use crate::error::{Code, Error, Result};
use crate::service::{Again, SuperUser};
use schemars::JsonSchema;
use serde::Deserialize;

/// A page of a list.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    /// Items on a page, 1 to 500; 50 by default.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<i64>,
    /// Where the page before this one ended.
    cursor: Option<String>,
}

impl PageQuery {
    /// Limit and cursor.
    pub(super) fn parts(self) -> (Option<i64>, Option<String>) {
        (self.limit, self.cursor)
    }
}

/// A group to be made.
#[derive(Deserialize, JsonSchema)]
pub(super) struct GroupBody {
    /// The name; unique without regard to case.
    name: String,
    /// By what the identity provider knows it; unique.
    external_id: Option<String>,
    /// What it is for, one line; null is nothing.
    description: Option<String>,
    /// The profile of its members; null is none.
    profile_id: Option<i64>,
}

/// A change of a group (RFC 7396).
#[derive(Deserialize, JsonSchema)]
pub(super) struct GroupPatchBody {
    /// The name; unique without regard to case.
    name: Option<String>,
    /// By what the identity provider knows it; unique. Null is nothing.
    #[serde(default, deserialize_with = "given")]
    external_id: Option<Option<String>>,
    /// What it is for, one line; null is nothing.
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
    /// The profile of its members; null is none.
    #[serde(default, deserialize_with = "given")]
    profile_id: Option<Option<i64>>,
}

fn unfit(member: &'static str) -> impl FnOnce(Unfit) -> Error {
    move |e| Error::new(Code::Invalid).at(member, e.to_string())
}

/// Reads a line of a group's patch.
fn line(member: &'static str, text: Option<Option<String>>) -> Result<Option<Option<Line>>> {
    let read = |text: Option<String>| text.map(Line::try_from).transpose().map_err(unfit(member));
    text.map(read).transpose()
}

/// Reads the members of a group, each found at fault by its name.
pub(super) fn group_patch(
    name: Option<String>,
    external_id: Option<Option<String>>,
    description: Option<Option<String>>,
    profile_id: Option<Option<i64>>,
) -> Result<GroupPatch> {
    Ok(GroupPatch {
        name: name.map(Name::try_from).transpose().map_err(unfit("name"))?,
        external_id: line("external_id", external_id)?,
        description: line("description", description)?,
        profile_id,
    })
}

/// A user to be added.
#[derive(Deserialize, JsonSchema)]
pub(super) struct MemberBody {
    /// The user's id.
    user_id: String,
}

impl reply::Body for GroupView {}

pub(super) async fn list(caller: SuperUser, Query(query): Query<PageQuery>) -> Result<Found<Paged<GroupView>>> {
    let (items, next_cursor) = caller.groups(page_limit(query.limit)?, query.cursor.as_deref()).await?;
    Ok(Found(Paged { items, next_cursor }))
}

pub(super) async fn create(caller: SuperUser, Body(body): Body<GroupBody>) -> Result<Created<GroupView>> {
    let name = Name::try_from(body.name).map_err(unfit("name"))?;
    let patch = group_patch(None, Some(body.external_id), Some(body.description), Some(body.profile_id))?;
    Ok(Created { body: caller.furnish_group(name, patch).await?, cookie: None })
}

pub(super) async fn by_id(caller: SuperUser, group: GroupSegment) -> Result<Found<GroupView>> {
    Ok(Found(caller.group(group.0).await?))
}

pub(super) async fn update(
    caller: SuperUser,
    (group, Body(body)): (GroupSegment, Body<GroupPatchBody>),
) -> Result<Found<GroupView>> {
    let patch = group_patch(body.name, body.external_id, body.description, body.profile_id)?;
    Ok(Found(caller.update_group(group.0, patch).await?))
}

pub(super) async fn delete(caller: SuperUser, group: GroupSegment) -> Result<Done> {
    caller.delete_group(group.0).await?;
    Ok(Done)
}

pub(super) async fn members(
    caller: SuperUser,
    (group, Query(query)): (GroupSegment, Query<PageQuery>),
) -> Result<Found<Paged<UserAnswer>>> {
    let (items, next_cursor) = caller.members(group.0, page_limit(query.limit)?, query.cursor.as_deref()).await?;
    let items = items.into_iter().map(|account| UserAnswer::new(account, Viewer::SuperUser)).collect();
    Ok(Found(Paged { items, next_cursor }))
}

pub(super) async fn add_member(
    caller: SuperUser,
    (group, Body(body)): (GroupSegment, Body<MemberBody>),
) -> Result<Found<UserAnswer>> {
    let unfit = |_| Error::new(Code::Invalid).because("user_unknown").at("user_id", "names no user");
    let user_id: UserId = body.user_id.parse().map_err(unfit)?;
    Ok(Found(UserAnswer::new(caller.add_member(group.0, user_id, Again::Fine).await?, Viewer::SuperUser)))
}

pub(super) async fn remove_member(caller: SuperUser, (group, user): (GroupSegment, UserSegment)) -> Result<Done> {
    caller.remove_member(group.0, user.0).await?;
    Ok(Done)
}
