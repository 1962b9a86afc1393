//! Several changes of one account in one transaction: attributes, password and lock together, as older systems send them.
//!
//! Each part is the use case of its own name with its own guards; what is refused for one undoes all. The event is that of the one part,
//! where there is only one, else that of an update.

use super::caller::SuperUser;
use super::did::Did;
use super::difference::changes;
use super::leniency::Leniency;
use super::passwords::set_in;
use super::users::{Edit, lock_in, unlock_in};
use crate::domain::attribute::Viewer;
use crate::domain::audit::Action;
use crate::domain::ids::UserId;
use crate::domain::secret::Password;
use crate::domain::user::Account;
use crate::error::{Code, Error, Result};
use crate::store::Tx;
use serde_json::{Map, Value};

/// What is to be changed of an account.
#[derive(Debug, Default)]
pub struct Amendment {
    /// A merge patch of its attributes.
    pub members: Map<String, Value>,
    /// Its password, and whether the next sign-in must set another one.
    pub password: Option<(Password, bool)>,
    /// Lock or unlock it.
    pub lock: Option<bool>,
}

impl Amendment {
    /// What is done to the account, each with its own demand on the proof; what its attributes ask stands beside.
    fn parts(&self) -> Vec<Action> {
        let password = self.password.as_ref().map(|_| Action::PasswordSet);
        let lock = self.lock.map(|lock| if lock { Action::UserLock } else { Action::UserUnlock });
        password.into_iter().chain(lock).collect()
    }

    /// What is changed, in one word.
    fn action(&self) -> Action {
        match (self.members.is_empty(), self.password.is_some(), self.lock) {
            (true, false, Some(true)) => Action::UserLock,
            (true, false, Some(false)) => Action::UserUnlock,
            (true, true, None) => Action::PasswordSet,
            (true, false, None) | (true, true, Some(_)) | (false, _, _) => Action::UserUpdate,
        }
    }
}

impl SuperUser {
    /// Changes a user; tells the account, and the number of its supervisor.
    ///
    /// # Errors
    /// Those of [`SuperUser::update`], [`SuperUser::set_password`], [`SuperUser::lock`] (without force) and [`SuperUser::unlock`].
    pub async fn amend(self, user_id: UserId, amendment: Amendment) -> Result<(Account, Option<i64>)> {
        self.context.trail.set_subject(user_id);
        self.context.trail.set_action(amendment.action());
        let parts = amendment.parts();
        let Amendment { members, password, lock } = amendment;
        let is_bare = members.is_empty() && (password.is_some() || lock.is_some());
        let edit = if is_bare { None } else { Some(Edit::read(Viewer::SuperUser, &members, None)?) };
        let password = match password {
            None => None,
            Some((new, must_change)) => {
                let user = self.user(user_id).await?.user;
                Some((self.password_for(&user, new, "password").await?, must_change))
            }
        };
        let (maker, own_id, now) = (self.maker(), self.own_id(), self.context.now());
        let services = self.context.services.clone();
        let change = move |tx: &mut Tx<'_>| {
            let unknown = || Error::new(Code::NotFound).because("user_unknown");
            tx.hold_super_users()?;
            let before = tx.hold_user(user_id)?.ok_or_else(unknown)?;
            if lock == Some(false) {
                unlock_in(tx, user_id, &services.inner.lockout)?;
            }
            if let Some(edit) = edit {
                edit.make(&services, tx, user_id, &maker)?;
            }
            if let Some((password, must_change)) = password {
                set_in(&services, tx, user_id, password, must_change, None, Leniency::NONE, now)?;
            }
            if lock == Some(true) {
                lock_in(tx, user_id, own_id, None, false, now)?;
            }
            let after = tx.read().user(user_id)?.ok_or_else(unknown)?;
            let changes = changes(tx, &before, &after, now)?;
            let did = Did::to(user_id).with_parts(parts).changing(changes).showing(user_id, Viewer::SuperUser);
            let supervisor = after.supervisor_id.map(|id| tx.read().number_of_user(id)).transpose()?.flatten();
            Ok(((tx.read().account(after, now)?, supervisor), did))
        };
        self.context.change(change).await
    }
}
