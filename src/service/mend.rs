//! A user's row that somebody altered without the key file is not there for any call. An operator, who has the key file, brings it back.

use super::did::Did;
use super::difference::changes;
use super::proven::Proven;
use crate::domain::ids::UserId;
use crate::domain::text::fold;
use crate::domain::user::User;
use crate::error::{Code, Error, Result};
use crate::store::error::unless_altered;
use crate::store::{Mend, Snapshot, Tx};

use super::SuperUser;

impl SuperUser {
    /// Binds the row of a user anew if somebody altered it, for an operator who sets the password or the role next, and returns the user as
    /// it is then. What the operator does not vouch for goes: the role, if it is the password that is set, and the other way round; and all
    /// sessions, API keys and links. Addresses and names stay, and are to be looked at.
    ///
    /// # Errors
    /// [`Code::Forbidden`] for whoever is no operator.
    pub async fn mend(&self, user: &str, mend: Mend) -> Result<Option<User>> {
        let (id, name_key) = (user.parse::<UserId>().ok(), fold(user.trim()));
        let name = name_key.clone();
        let look = move |snapshot: &mut Snapshot<'_>| {
            let by_id = id.map(|id| unless_altered(snapshot.user(id))).transpose()?;
            let by_name = unless_altered(snapshot.user_by_name(&name))?;
            Ok((by_id.as_ref().is_some_and(|(_, is_altered)| *is_altered), by_name.1))
        };
        let inner = &self.context.services.inner;
        let (is_id, is_name) = inner.store.read(look).await?;
        if !is_id && !is_name {
            return Ok(None);
        }
        if !matches!(self.proven(), Proven::AtTheCommandLine) {
            return Err(Error::new(Code::Forbidden).because("not_operator"));
        }
        let now = self.context.now();
        let bind = move |tx: &mut Tx<'_>| {
            let found = if is_id { id } else { tx.id_by_name(&name_key)? };
            let gone = || Error::new(Code::NotFound).because("user_unknown");
            let user_id = found.ok_or_else(gone)?;
            let (before, after) = tx.mend_user(user_id, mend)?.ok_or_else(gone)?;
            let changes = changes(tx, &before, &after, now)?;
            Ok((Some(after), Did::to(user_id).changing(changes)))
        };
        self.context.change(bind).await
    }
}
