//! The roster: users and groups as everyone who is signed in may list and look them up, page by number.
//!
//! How far someone's look reaches is decided here, once: a super-user's to everyone; that of others to themselves, or to everyone where
//! the setting `connect.open_user_list` opens the list. What they see there is what the attribute table gives their viewer, the
//! [`Viewer::Colleague`]; what they may filter by follows from the same table. The groups of others are nobody's but super-users': everyone
//! else finds the groups that their own view shows, and in them nobody but themselves.

#![deny(clippy::wildcard_enum_match_arm, reason = "a new variant must be decided on, not fall through")]

use super::caller::{Authenticated, SuperUser};
use super::find::check;
use super::groups;
use crate::domain::attribute::Viewer;
use crate::domain::group::Group;
use crate::domain::ids::{GroupId, UserId};
use crate::domain::text::fold;
use crate::domain::user::{Account, GroupRef, UserRole};
use crate::error::{Code, Error, Result};
use crate::settings::DefaultRole;
use crate::store::{ByNames, Filter, Snapshot};
pub use crate::store::{Names, Slice};
use serde_json::{Map, Value};

/// A page by its number.
#[derive(Clone, Copy, Debug)]
pub struct Numbered {
    /// From 1 on.
    pub number: i64,
    /// How many items a page has, the last one apart.
    pub size: i64,
}

impl Numbered {
    fn slice(self) -> Slice {
        Slice { offset: (self.number - 1).saturating_mul(self.size), limit: self.size }
    }
}

/// A page of something, with the number of all that match.
#[derive(Debug)]
pub struct Listed<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// How many there are on all pages.
    pub total: i64,
}

/// How far someone's look reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// To everyone, as a super-user.
    Everyone,
    /// To everyone, as a colleague.
    Colleagues,
    /// To oneself.
    Oneself,
}

fn forbidden() -> Error {
    Error::new(Code::Forbidden).because("not_super_user")
}

impl Authenticated {
    fn is_list_open(&self) -> bool {
        self.context.services.inner.connect.open_user_list
    }

    fn reach(&self) -> Reach {
        match (self.known.user().is_super_user(), self.is_list_open()) {
            (true, true | false) => Reach::Everyone,
            (false, true) => Reach::Colleagues,
            (false, false) => Reach::Oneself,
        }
    }

    /// The viewer that the caller is in the roster.
    fn viewer_in_roster(&self, subject: UserId) -> Viewer {
        self.viewer_of(subject).in_list(self.is_list_open())
    }

    /// Some of the users who match and whom the caller may see, each as the caller sees them.
    ///
    /// # Errors
    /// [`Code::Forbidden`] for a filter by an attribute that the caller may not see.
    pub async fn list_users(&self, mut filter: Filter, descending: bool, page: Numbered) -> Result<Listed<(Account, Viewer)>> {
        let own_id = self.user_id();
        match self.reach() {
            Reach::Everyone => check(Viewer::SuperUser, &filter)?,
            Reach::Colleagues => check(Viewer::Colleague, &filter)?,
            Reach::Oneself => {
                check(Viewer::Owner, &filter)?;
                filter.only = Some(own_id);
            }
        }
        let now = self.context.now();
        let list = move |snapshot: &mut Snapshot<'_>| Ok(snapshot.users_by_page(&filter, descending, page.slice(), now)?);
        let (found, total) = self.context.services.inner.store.search(list).await?;
        let seen = |account: Account| {
            let viewer = self.viewer_in_roster(account.user.user_id);
            (account, viewer)
        };
        let items: Vec<(Account, Viewer)> = found.into_iter().map(seen).collect();
        items.iter().for_each(|(account, viewer)| self.context.trail.shows(account.user.user_id, *viewer));
        Ok(Listed { items, total })
    }

    /// A user, as the caller sees them.
    ///
    /// # Errors
    /// [`Code::Forbidden`] if the caller may not see them, whether or not there is such a user; [`Code::NotFound`].
    pub async fn look_up(&self, user_id: UserId) -> Result<(Account, Viewer)> {
        self.context.trail.set_subject(user_id);
        let viewer = self.viewer_in_roster(user_id);
        match viewer {
            Viewer::Nobody | Viewer::Peer => return Err(forbidden()),
            Viewer::Colleague | Viewer::Owner | Viewer::SuperUser => {}
        }
        let now = self.context.now();
        let look_up = move |snapshot: &mut Snapshot<'_>| {
            let user = snapshot.user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
            Ok(snapshot.account(user, now)?)
        };
        Ok((self.context.services.inner.store.read(look_up).await?, viewer))
    }

    /// Changes a user as whoever the caller is towards them, and returns as whom the caller sees them.
    ///
    /// # Errors
    /// [`Code::Forbidden`] for someone else, unless the caller is a super-user; those of [`SuperUser::update`].
    pub async fn update_user(self, user_id: UserId, members: &Map<String, Value>) -> Result<(Account, Viewer)> {
        self.context.trail.set_subject(user_id);
        match self.viewer_in_roster(user_id) {
            Viewer::SuperUser => Ok((self.rise()?.update(user_id, members, None).await?, Viewer::SuperUser)),
            Viewer::Owner => self.update_current(members, None).await,
            Viewer::Nobody | Viewer::Peer | Viewer::Colleague => Err(forbidden()),
        }
    }

    /// The caller's own groups, as its view shows them.
    fn own_groups(&self) -> Vec<GroupRef> {
        self.known.account.groups.clone()
    }

    /// Some of the groups whose names begin with each of these and which the caller may see, by name.
    ///
    /// # Errors
    /// The database fails.
    pub async fn list_groups(&self, prefixes: &[&str], page: Numbered) -> Result<Listed<GroupRef>> {
        let slice = page.slice();
        let keys: Vec<String> = prefixes.iter().map(|prefix| fold(prefix)).collect();
        match self.reach() {
            Reach::Everyone => {
                let list = move |snapshot: &mut Snapshot<'_>| Ok(snapshot.groups_by_page(&keys, slice)?);
                let (found, total) = self.context.services.inner.store.read(list).await?;
                Ok(Listed { items: found.into_iter().map(Group::into_ref).collect(), total })
            }
            Reach::Colleagues | Reach::Oneself => {
                let mut own = self.own_groups();
                own.retain(|group| keys.iter().all(|key| group.name.key().starts_with(key.as_str())));
                let total = i64::try_from(own.len()).unwrap_or(i64::MAX);
                let (offset, limit) = (usize::try_from(slice.offset), usize::try_from(slice.limit));
                let items = own.into_iter().skip(offset.unwrap_or(usize::MAX)).take(limit.unwrap_or(0)).collect();
                Ok(Listed { items, total })
            }
        }
    }

    /// A group, as the caller sees it.
    ///
    /// # Errors
    /// [`Code::NotFound`]; to others than super-users [`Code::Forbidden`] for a group that they are not in, whether or not it exists.
    pub async fn look_up_group(&self, group_id: GroupId) -> Result<GroupRef> {
        self.context.trail.set_subject(group_id);
        match self.reach() {
            Reach::Everyone => {
                let found = self.context.services.inner.store.read(move |snapshot| Ok(snapshot.group(group_id)?)).await?;
                found.map(Group::into_ref).ok_or_else(groups::unknown)
            }
            Reach::Colleagues | Reach::Oneself => {
                self.own_groups().into_iter().find(|group| group.group_id == group_id).ok_or_else(forbidden)
            }
        }
    }

    /// Some of a group's members whom the caller may see there, in the order in which they were added.
    ///
    /// # Errors
    /// Those of [`Authenticated::look_up_group`].
    pub async fn list_members(&self, group_id: GroupId, page: Numbered) -> Result<Listed<(Account, Viewer)>> {
        self.look_up_group(group_id).await?;
        let (now, slice) = (self.context.now(), page.slice());
        let store = &self.context.services.inner.store;
        match self.reach() {
            Reach::Everyone => {
                let list = move |snapshot: &mut Snapshot<'_>| Ok(snapshot.members_by_page(group_id, slice, now)?);
                let (found, total) = store.search(list).await?;
                Ok(Listed { items: found.into_iter().map(|account| (account, Viewer::SuperUser)).collect(), total })
            }
            Reach::Colleagues | Reach::Oneself => {
                let own = self.known.account.clone();
                let is_first = slice.offset == 0;
                Ok(Listed { items: Some((own, Viewer::Owner)).into_iter().filter(|_| is_first).collect(), total: 1 })
            }
        }
    }

    /// The version of Connect that the service gives itself.
    pub fn connect_version(&self) -> &str {
        &self.context.services.inner.connect.version
    }
}

impl SuperUser {
    /// Some of the users who match, by their names.
    ///
    /// # Errors
    /// [`Code::Invalid`] for a page too deep among those whose names match; the database fails.
    pub async fn search_names(&self, filter: Filter, names: Names, page: Numbered) -> Result<Listed<Account>> {
        check(Viewer::SuperUser, &filter)?;
        let now = self.context.now();
        let list = move |snapshot: &mut Snapshot<'_>| Ok(snapshot.users_by_names(&filter, &names, page.slice(), now)?);
        match self.context.services.inner.store.search(list).await? {
            ByNames::Found(items, total) => {
                items.iter().for_each(|account| self.context.trail.shows(account.user.user_id, Viewer::SuperUser));
                Ok(Listed { items, total })
            }
            ByNames::TooDeep => Err(Error::new(Code::Invalid).at("cur_page", "lies too deep: look for more of the name")),
        }
    }

    /// The role of an account that Connect's clients create without one.
    pub fn default_role(&self) -> UserRole {
        match self.context.services.inner.connect.default_user_role {
            DefaultRole::Viewer => UserRole::Viewer,
            DefaultRole::Publisher => UserRole::Publisher,
        }
    }
}
