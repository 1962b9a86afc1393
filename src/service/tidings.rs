//! Tidings: the letters that tell an owner of each change of a credential, a name or an address (S54), in its transaction.
//!
//! They are never dropped. Of one kind, to one mailbox about one account, there is one an hour: the next is written for the end of the hour,
//! and further ones until then are joined with it.

use super::Services;
use super::courier::send_at;
use crate::domain::audit::Event;
use crate::domain::ids::UserId;
use crate::domain::letter::{Letter, LetterKind};
use crate::domain::text::Email;
use crate::domain::tiding::{Whom, tidings};
use crate::domain::time::Utc;
use crate::domain::user::{SignUpStatus, User};
use crate::error::{Code, Error, Result};
use crate::store::Tx;

/// Super-users who are told of one that a key made.
const MOST_SUPER_USERS: usize = 100;

/// Tells the owner of an account what an event changed of it.
pub(super) fn tell(services: &Services, tx: &mut Tx<'_>, event: &Event, now: Utc) -> Result<()> {
    if !services.post().is_on() {
        return Ok(());
    }
    let letters = tidings(event);
    if letters.is_empty() {
        return Ok(());
    }
    let Some(user_id) = event.subject.as_deref().and_then(|id| id.parse::<UserId>().ok()) else { return Ok(()) };
    // Whoever signed up and has not confirmed it may have named somebody else's mailbox.
    let Some(user) = tx.read().user(user_id)?.filter(|user| user.sign_up_status == SignUpStatus::Final) else { return Ok(()) };
    for (kind, whom) in letters {
        match whom {
            Whom::Owner => services.tell_owner(tx, &user, kind, now)?,
            Whom::Former(old) => services.tell_at(tx, &user, &user, &old, kind, now)?,
        }
    }
    Ok(())
}

/// The address at which an owner is told. One that was never confirmed will count as none of the owner's once that is known.
fn told_at(user: &User) -> Option<&Email> {
    user.email.as_ref()
}

impl Services {
    /// Tells an owner of a change of the own account.
    pub(super) fn tell_owner(&self, tx: &mut Tx<'_>, user: &User, kind: LetterKind, now: Utc) -> Result<()> {
        match told_at(user) {
            Some(to) => self.tell_at(tx, user, user, to, kind, now),
            None => Ok(()),
        }
    }

    /// Tells every super-user that an API key made somebody one.
    pub(super) fn tell_super_users(&self, tx: &mut Tx<'_>, made: &User, now: Utc) -> Result<()> {
        if !self.post().is_on() {
            return Ok(());
        }
        for super_user in tx.read().administrators()?.into_iter().take(MOST_SUPER_USERS) {
            if super_user.user_id != made.user_id
                && let Some(to) = told_at(&super_user)
            {
                self.tell_at(tx, &super_user, made, to, LetterKind::SuperUserMade, now)?;
            }
        }
        Ok(())
    }

    /// Writes a letter about the account `about` to a mailbox of `user`.
    fn tell_at(&self, tx: &mut Tx<'_>, user: &User, about: &User, to: &Email, kind: LetterKind, now: Utc) -> Result<()> {
        if !self.post().is_on() || !to.is_address() {
            return Ok(());
        }
        let Some(due) = tx.take_letter(about.user_id, kind, &to.key(), now)? else { return Ok(()) };
        let letter = Letter {
            kind,
            language: self.post().language(user.lang_id),
            to: to.clone(),
            username: Some(about.username.clone()),
            link: None,
            expiry: None,
            time: now,
        };
        let broken = || Error::new(Code::Internal).cause("a letter cannot be written down");
        let content = letter.to_content().ok_or_else(broken)?;
        send_at(self, tx, kind.way(), user.user_id, &content, now, due)
    }
}
