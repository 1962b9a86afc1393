//! What users have besides what they are, brought along from an older system once they are here: custom attributes.
//!
//! What the older system says wins; an attribute that is as it says already is left alone, and so is one that it has not. Each user is a
//! transaction of its own, with an event if anything changed. Linked accounts come with no password, so they can only be told of.

use super::caller::SuperUser;
use super::custom_attributes::{Shelf, value_of};
use super::did::Did;
use crate::domain::audit::{Action, Changes};
use crate::domain::custom_attribute::{AttributeName, Holder, Setting};
use crate::error::Result;
use crate::store::Tx;

/// What one user has besides.
#[derive(Default)]
pub struct Belongings {
    /// The user's line among those of the import.
    pub line: u64,
    /// The user's id over there.
    pub external_id: String,
    /// Attributes and what they are to be set to.
    pub settings: Vec<(AttributeName, Setting)>,
    /// Attributes that do not fit, by name, with what is wrong: it completes "the attribute …".
    pub flaws: Vec<(String, &'static str)>,
    /// Accounts that act as the user, by the numbers that they have over there.
    pub accounts: Vec<i64>,
}

/// What became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// Whether the user is here.
    pub is_here: bool,
    /// Attributes that were set.
    pub set: usize,
    /// Linked accounts that the user has here.
    pub accounts: usize,
}

impl SuperUser {
    /// Has the user of this external id have these attributes, all or none; a rehearsal changes nothing.
    ///
    /// # Errors
    /// [`crate::error::Code::AttributesFull`]; the database fails.
    pub async fn bring(
        &self,
        external_id: String,
        settings: Vec<(AttributeName, Setting)>,
        is_rehearsal: bool,
    ) -> Result<Brought> {
        let inner = &self.context.services.inner;
        let (vault, entropy, now) = (inner.vault.clone(), inner.entropy.clone(), self.context.now());
        let work = move |tx: &mut Tx<'_>| {
            let found = tx.hold_users_by_external_id(&[&external_id], now)?;
            let Some(user_id) = found.first().map(|account| account.user.user_id) else {
                return Ok((Brought::default(), Vec::new()));
            };
            let accounts = tx.read().linked_accounts(Some(user_id))?.len();
            if settings.is_empty() {
                return Ok((Brought { is_here: true, set: 0, accounts }, Vec::new()));
            }
            let mut shelf = Shelf::open(tx, Holder::User(user_id), &vault, &entropy, now)?;
            let mut set = 0;
            for (name, setting) in settings {
                if !is_so(&mut shelf, &name, &setting)? {
                    shelf.set(name, &setting)?;
                    set += 1;
                }
            }
            shelf.check_room()?;
            let did = || Did::to(user_id).by_action(Action::UserAttributesSet);
            let dids = if set == 0 { Vec::new() } else { vec![did().changing(Changes::of(shelf.differences()))] };
            Ok((Brought { is_here: true, set, accounts }, dids))
        };
        self.context.change_many(is_rehearsal, false, work).await
    }
}

/// Whether an attribute is there, and so.
fn is_so(shelf: &mut Shelf<'_, '_>, name: &AttributeName, setting: &Setting) -> Result<bool> {
    let Some(row) = shelf.rows.get(name) else { return Ok(false) };
    let expiry = setting.expires_in.map(|span| shelf.now + span);
    if row.sealed.is_some() != setting.is_encrypted || row.expiry != expiry {
        return Ok(false);
    }
    Ok(value_of(shelf.vault, &mut shelf.tx.read(), shelf.holder, row)? == setting.value)
}
