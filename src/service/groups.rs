//! Groups: making, renaming, removing, and who is in them.

use super::caller::SuperUser;
use super::did::Did;
use super::paging::Pages;
use crate::domain::attribute::Viewer;
use crate::domain::audit::Changes;
use crate::domain::group::{Group, GroupPatch, GroupView};
use crate::domain::ids::{GroupId, UserId};
use crate::domain::text::{Line, Name, fold};
use crate::domain::user::Account;
use crate::error::{Code, Error, Result};
use crate::store::Tx;
use serde_json::Value;

/// What it is to add a member who is one already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// No error: what was wanted is so.
    Fine,
    /// An error.
    Refused,
}

pub(super) fn unknown() -> Error {
    Error::new(Code::NotFound).because("group_unknown")
}

fn shown(value: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|e| Error::new(Code::Internal).cause(e.to_string()))
}

impl SuperUser {
    /// Makes a group.
    ///
    /// # Errors
    /// [`Code::ValueTaken`].
    pub async fn create_group(self, name: Name, external_id: Option<Line>) -> Result<GroupView> {
        self.furnish_group(name, GroupPatch { external_id: Some(external_id), ..GroupPatch::default() }).await
    }

    /// Makes a group with more than a name; a name in `patch` wins.
    ///
    /// # Errors
    /// [`Code::ValueTaken`].
    pub async fn furnish_group(self, name: Name, patch: GroupPatch) -> Result<GroupView> {
        let group_id = GroupId::mint(self.context.now(), &self.context.services.inner.entropy);
        let mut group = Group::fresh(group_id, name);
        patch.apply(&mut group);
        let create = move |tx: &mut Tx<'_>| {
            let group = tx.insert_group(&group)?;
            let did = Did::to(group_id).changing(Changes::between(&Value::Null, &shown(&group.view())?));
            Ok((group.view(), did))
        };
        self.context.change(create).await
    }

    /// A group.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn group(&self, group_id: GroupId) -> Result<GroupView> {
        self.context.trail.set_subject(group_id);
        let found = self.context.services.inner.store.read(move |snapshot| Ok(snapshot.group(group_id)?)).await?;
        found.map(|group| group.view()).ok_or_else(unknown)
    }

    /// A page of groups by name, and where the next one begins.
    ///
    /// # Errors
    /// [`Code::BadQuery`] for a cursor that was not given out here.
    pub async fn groups(&self, limit: i64, cursor: Option<&str>) -> Result<(Vec<GroupView>, Option<String>)> {
        let pages = Pages::new(&self.context, "groups".to_owned(), limit);
        let after = pages.open(cursor, |bytes| String::from_utf8(bytes.to_vec()).ok())?;
        let fetch = pages.fetch();
        let read = move |snapshot: &mut crate::store::Snapshot<'_>| Ok(snapshot.groups(after.as_deref(), fetch)?);
        let found = self.context.services.inner.store.read(read).await?;
        let (page, next) = pages.cut(found, |group| group.name_key.as_bytes().to_vec());
        Ok((page.iter().map(Group::view).collect(), next))
    }

    /// Renames a group.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::ValueTaken`].
    pub async fn rename_group(self, group_id: GroupId, name: Name) -> Result<GroupView> {
        self.update_group(group_id, GroupPatch { name: Some(name), ..GroupPatch::default() }).await
    }

    /// Changes a group.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::ValueTaken`]; [`Code::Invalid`] if there is nothing to change.
    pub async fn update_group(self, group_id: GroupId, patch: GroupPatch) -> Result<GroupView> {
        self.context.trail.set_subject(group_id);
        if patch.is_empty() {
            return Err(Error::new(Code::Invalid).detail("There is nothing to change."));
        }
        let update = move |tx: &mut Tx<'_>| {
            let before = tx.hold_group(group_id)?.ok_or_else(unknown)?;
            let mut after = before.clone();
            patch.apply(&mut after);
            tx.save_group(&after)?;
            let did = Did::to(group_id).changing(Changes::between(&shown(&before.view())?, &shown(&after.view())?));
            Ok((after.view(), did))
        };
        self.context.change(update).await
    }

    /// Removes a group; its members stay as users.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn delete_group(self, group_id: GroupId) -> Result<()> {
        self.remove_group(group_id, false).await
    }

    /// Removes a group that has no members.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::GroupNotEmpty`].
    pub async fn delete_empty_group(self, group_id: GroupId) -> Result<()> {
        self.remove_group(group_id, true).await
    }

    async fn remove_group(self, group_id: GroupId, only_if_empty: bool) -> Result<()> {
        self.context.trail.set_subject(group_id);
        let now = self.context.now();
        let delete = move |tx: &mut Tx<'_>| {
            // Held, so that nobody is added meanwhile: adding a member holds the group as well.
            let group = tx.hold_group(group_id)?.ok_or_else(unknown)?;
            if only_if_empty && !tx.read().members(group_id, None, 1, now)?.is_empty() {
                return Err(Error::new(Code::GroupNotEmpty));
            }
            tx.delete_group(group_id)?;
            Ok(((), Did::to(group_id).changing(Changes::between(&shown(&group.view())?, &Value::Null))))
        };
        self.context.change(delete).await
    }

    /// The group of this name.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn group_by_name(&self, name: &str) -> Result<GroupView> {
        let key = fold(name);
        let found = self.context.services.inner.store.read(move |snapshot| Ok(snapshot.group_by_name(&key)?)).await?;
        let group = found.ok_or_else(unknown)?;
        self.context.trail.set_subject(group.group_id);
        Ok(group.view())
    }

    /// The groups that a user is in, by name.
    ///
    /// # Errors
    /// [`Code::NotFound`] for the user.
    pub async fn groups_of(&self, user_id: UserId) -> Result<Vec<GroupView>> {
        self.context.trail.set_subject(user_id);
        self.context.trail.shows(user_id, Viewer::SuperUser);
        let read = move |snapshot: &mut crate::store::Snapshot<'_>| {
            let known = snapshot.user(user_id)?;
            known.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
            Ok(snapshot.groups_with(user_id)?)
        };
        let found = self.context.services.inner.store.read(read).await?;
        Ok(found.iter().map(Group::view).collect())
    }

    /// Takes everyone out of a group. The group is the subject; the trail has the ids of those who were in it.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn empty_group(self, group_id: GroupId) -> Result<()> {
        self.context.trail.set_subject(group_id);
        let empty = move |tx: &mut Tx<'_>| {
            tx.hold_group(group_id)?.ok_or_else(unknown)?;
            let members = |ids: &[UserId]| serde_json::json!({ "members": ids });
            let gone = tx.empty_group(group_id)?;
            let did = Did::to(group_id).changing(Changes::between(&members(&gone), &members(&[])));
            Ok(((), did.with_members(gone)))
        };
        self.context.change(empty).await
    }

    /// Takes a user out of every group.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn leave_groups(self, user_id: UserId) -> Result<()> {
        self.context.trail.set_subject(user_id);
        let now = self.context.now();
        let leave = move |tx: &mut Tx<'_>| {
            let unknown = || Error::new(Code::NotFound).because("user_unknown");
            let user = tx.hold_user(user_id)?.ok_or_else(unknown)?;
            let before = shown(&tx.read().account(user.clone(), now)?.view(Viewer::SuperUser).unwitnessed())?;
            tx.leave_groups(user_id)?;
            let after = shown(&tx.read().account(user, now)?.view(Viewer::SuperUser).unwitnessed())?;
            Ok(((), Did::to(user_id).changing(Changes::between(&before, &after))))
        };
        self.context.change(leave).await
    }

    /// A page of a group's members in order of creation, and where the next one begins.
    ///
    /// # Errors
    /// [`Code::NotFound`]; [`Code::BadQuery`] for a cursor that was not given out here.
    pub async fn members(&self, group_id: GroupId, limit: i64, cursor: Option<&str>) -> Result<(Vec<Account>, Option<String>)> {
        self.group(group_id).await?;
        let pages = Pages::new(&self.context, format!("members {group_id}"), limit);
        let after = pages.open(cursor, |bytes| bytes.try_into().ok().map(UserId::from_bytes))?;
        let (now, fetch) = (self.context.now(), pages.fetch());
        let read = move |snapshot: &mut crate::store::Snapshot<'_>| Ok(snapshot.members(group_id, after, fetch, now)?);
        let found = self.context.services.inner.store.read(read).await?;
        let (members, next) = pages.cut(found, |account| account.user.user_id.as_bytes().to_vec());
        members.iter().for_each(|account| self.context.trail.shows(account.user.user_id, Viewer::SuperUser));
        self.context.settle_shown(Viewer::SuperUser).await?;
        Ok((members, next))
    }

    /// Adds a user to a group.
    ///
    /// # Errors
    /// [`Code::NotFound`] for the group; [`Code::Invalid`] for the user; [`Code::AlreadyMember`] where `again` says so.
    pub async fn add_member(self, group_id: GroupId, user_id: UserId, again: Again) -> Result<Account> {
        let unknown_user = || Error::new(Code::Invalid).because("user_unknown").at("user_id", "names no user");
        let add = move |tx: &mut Tx<'_>| match (tx.add_member(group_id, user_id)?, again) {
            (true, Again::Fine | Again::Refused) | (false, Again::Fine) => Ok(()),
            (false, Again::Refused) => Err(Error::new(Code::AlreadyMember)),
        };
        self.change_membership(group_id, user_id, unknown_user, add).await
    }

    /// Takes a user out of a group.
    ///
    /// # Errors
    /// [`Code::NotFound`] if the user is not in it.
    pub async fn remove_member(self, group_id: GroupId, user_id: UserId) -> Result<Account> {
        let no_member = || Error::new(Code::NotFound).because("member_unknown");
        let remove = move |tx: &mut Tx<'_>| if tx.remove_member(group_id, user_id)? { Ok(()) } else { Err(no_member()) };
        self.change_membership(group_id, user_id, no_member, remove).await
    }

    /// Membership is an attribute of the user: the user is the subject, and the trail shows the user's groups before and after.
    async fn change_membership(
        self,
        group_id: GroupId,
        user_id: UserId,
        unknown_user: impl FnOnce() -> Error + Send + 'static,
        work: impl FnOnce(&mut Tx<'_>) -> Result<()> + Send + 'static,
    ) -> Result<Account> {
        let now = self.context.now();
        let change = move |tx: &mut Tx<'_>| {
            tx.hold_group(group_id)?.ok_or_else(unknown)?;
            let user = tx.hold_user(user_id)?.ok_or_else(unknown_user)?;
            let before = shown(&tx.read().account(user.clone(), now)?.view(Viewer::SuperUser).unwitnessed())?;
            work(tx)?;
            let account = tx.read().account(user, now)?;
            let changes = Changes::between(&before, &shown(&account.view(Viewer::SuperUser).unwitnessed())?);
            Ok((account, Did::to(user_id).changing(changes).showing(user_id, Viewer::SuperUser)))
        };
        self.context.change(change).await
    }
}
