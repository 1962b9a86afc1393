//! Looking users up by what older systems know them by, as the caller may see them.

use super::caller::{Authenticated, SuperUser};
use crate::domain::attribute::Viewer;
use crate::domain::ids::UserId;
use crate::domain::text::fold;
use crate::domain::user::{Account, User};
use crate::error::{Code, Error, Result};
use crate::store::Snapshot;

/// Who is looked up.
#[derive(Clone, Debug)]
pub enum Whom {
    /// The user of this username; a login name is not one.
    Username(String),
    /// The user of this id.
    Id(UserId),
    /// The caller.
    Oneself,
}

impl Whom {
    fn is(&self, user: &User) -> bool {
        match self {
            Self::Username(name) => fold(name) == user.username_key,
            Self::Id(user_id) => *user_id == user.user_id,
            Self::Oneself => true,
        }
    }
}

/// An account as the caller may see it.
#[derive(Debug)]
pub struct Seen {
    /// The account.
    pub account: Account,
    /// As whom the caller sees it.
    pub viewer: Viewer,
    /// The number of its supervisor.
    pub supervisor: Option<i64>,
}

impl Authenticated {
    /// Looks up oneself, or, as a super-user, anyone.
    ///
    /// # Errors
    /// [`Code::Forbidden`] for a regular user who asks for anyone else, whether or not there is such a user; [`Code::NotFound`].
    pub async fn see(self, whom: Whom) -> Result<Seen> {
        if whom.is(self.known.user()) {
            let (account, viewer) = self.own_account().await?;
            let root = if viewer == Viewer::SuperUser { Some(self.rise()?) } else { None };
            // Who the supervisor is, a regular user does not see.
            let supervisor = match root {
                Some(root) => root.supervisor_of(&account).await?,
                None => None,
            };
            return Ok(Seen { account, viewer, supervisor });
        }
        let root = self.rise()?;
        let account = match whom {
            Whom::Id(user_id) => root.user(user_id).await?,
            Whom::Username(name) => root.user_by_username(&name).await?,
            Whom::Oneself => return Err(Error::new(Code::Forbidden)),
        };
        let supervisor = root.supervisor_of(&account).await?;
        Ok(Seen { account, viewer: Viewer::SuperUser, supervisor })
    }
}

impl SuperUser {
    async fn user_by_username(&self, name: &str) -> Result<Account> {
        let (key, now) = (fold(name), self.context.now());
        let look_up = move |snapshot: &mut Snapshot<'_>| {
            let named = snapshot.user_by_name(&key)?.filter(|user| user.username_key == key);
            Ok(snapshot.account(named.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?, now)?)
        };
        let account = self.context.services.inner.store.read(look_up).await?;
        self.context.trail.set_subject(account.user.user_id);
        Ok(account)
    }

    async fn supervisor_of(&self, account: &Account) -> Result<Option<i64>> {
        match account.user.supervisor_id {
            None => Ok(None),
            Some(id) => self.context.services.inner.store.read(move |snapshot| Ok(snapshot.number_of_user(id)?)).await,
        }
    }

    /// The id of the user of this number.
    ///
    /// # Errors
    /// [`Code::Invalid`] at `member` if there is none.
    pub async fn user_of_number(&self, number: i64, member: &'static str) -> Result<UserId> {
        let found = self.context.services.inner.store.read(move |snapshot| Ok(snapshot.user_of_number(number)?)).await?;
        found.ok_or_else(|| Error::new(Code::Invalid).because("user_unknown").at(member, "names no user"))
    }
}
