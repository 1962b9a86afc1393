//! Endpoints of groups.

use super::input::{Body, GroupSegment, Query, UserSegment, page_limit};
use super::reply::{self, Created, Done, Found, Paged, UserAnswer};
use crate::domain::attribute::Viewer;
use crate::domain::group::GroupView;
use crate::domain::ids::UserId;
use crate::domain::text::{Line, Name};
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
pub(super) struct NewGroupBody {
    /// The name; unique without regard to case.
    name: String,
    /// By what the identity provider knows it; unique.
    external_id: Option<String>,
}

/// A group's name.
#[derive(Deserialize, JsonSchema)]
pub(super) struct GroupBody {
    /// The name; unique without regard to case.
    name: String,
}

fn read_name(name: String) -> Result<Name> {
    Name::try_from(name).map_err(|e| Error::new(Code::Invalid).at("name", e.to_string()))
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

pub(super) async fn create(caller: SuperUser, Body(body): Body<NewGroupBody>) -> Result<Created<GroupView>> {
    let unfit = |e: crate::domain::text::Unfit| Error::new(Code::Invalid).at("external_id", e.to_string());
    let external_id = body.external_id.map(Line::try_from).transpose().map_err(unfit)?;
    Ok(Created { body: caller.create_group(read_name(body.name)?, external_id).await?, cookie: None })
}

pub(super) async fn by_id(caller: SuperUser, group: GroupSegment) -> Result<Found<GroupView>> {
    Ok(Found(caller.group(group.0).await?))
}

pub(super) async fn rename(caller: SuperUser, (group, Body(body)): (GroupSegment, Body<GroupBody>)) -> Result<Found<GroupView>> {
    Ok(Found(caller.rename_group(group.0, read_name(body.name)?).await?))
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
