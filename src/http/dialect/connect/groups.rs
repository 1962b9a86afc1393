//! Groups and their members.

use super::super::super::input::{GroupSegment, UserSegment};
use super::super::super::reply::Done;
use super::answer::{self, Told, page};
use super::input::{Given, Parameters, missing};
use crate::domain::ids::UserId;
use crate::domain::text::{Line, Name, Unfit};
use crate::error::{Code, Error, Result};
use crate::service::{Again, Authenticated, SuperUser};

pub(super) async fn find(caller: Authenticated, parameters: Parameters) -> Result<Told> {
    let numbered = parameters.page()?;
    let prefixes: Vec<&str> = parameters.prefixes().collect();
    let listed = caller.list_groups(&prefixes, numbered).await?;
    page(&listed, numbered, |group| Ok(answer::group(group.group_id, &group.name)))
}

pub(super) async fn create(caller: SuperUser, mut given: Given) -> Result<Told> {
    let unfit = |member: &'static str| move |e: Unfit| Error::new(Code::Invalid).at(member, e.to_string());
    let name = given.text("name")?.ok_or_else(|| missing("name"))?;
    let name = Name::try_from(name).map_err(unfit("name"))?;
    let unique_id = given.text("unique_id")?.map(Line::try_from).transpose().map_err(unfit("external_id"))?;
    if unique_id.as_ref().is_some_and(|id| id.as_str().is_empty()) {
        return Err(Error::new(Code::Invalid).because("unique_id_blank").at("external_id", "is empty"));
    }
    let group = caller.create_group(name, unique_id).await?;
    Ok(Told(answer::group(group.group_id, &group.name)))
}

pub(super) async fn by_id(caller: Authenticated, group: GroupSegment) -> Result<Told> {
    let group = caller.look_up_group(group.0).await?;
    Ok(Told(answer::group(group.group_id, &group.name)))
}

pub(super) async fn delete(caller: SuperUser, group: GroupSegment) -> Result<Done> {
    caller.delete_group(group.0).await?;
    Ok(Done)
}

pub(super) async fn members(caller: Authenticated, (group, parameters): (GroupSegment, Parameters)) -> Result<Told> {
    let numbered = parameters.page()?;
    let listed = caller.list_members(group.0, numbered).await?;
    page(&listed, numbered, |(account, viewer)| answer::user(account, *viewer))
}

pub(super) async fn add_member(caller: SuperUser, (group, mut given): (GroupSegment, Given)) -> Result<Done> {
    let user = given.text("user_guid")?.ok_or_else(|| missing("user_guid"))?;
    let malformed = |_| Error::new(Code::Invalid).because("id_malformed").at("user_id", "is no UUID");
    let user: UserId = user.parse().map_err(malformed)?;
    caller.add_member(group.0, user, Again::Refused).await?;
    Ok(Done)
}

pub(super) async fn remove_member(caller: SuperUser, (group, user): (GroupSegment, UserSegment)) -> Result<Done> {
    caller.remove_member(group.0, user.0).await?;
    Ok(Done)
}
