//! Custom attributes as older systems write them: several at once, of several users as it may be, created or updated or either, all or none.
//!
//! An update leaves what it does not mention: an attribute that is not there stays so, and without a value or an expiry those that there
//! are stay. The holders are changed in one order, so that two batches never wait for each other crosswise.

use super::caller::SuperUser;
use super::custom_attributes::{Attributes, Shelf, value_of};
use super::did::Did;
use crate::domain::audit::Changes;
use crate::domain::custom_attribute::{AttributeName, AttributeValue, AttributeView, Holder, Setting};
use crate::domain::ids::{SessionId, UserId};
use crate::error::{Code, Error, Result};
use crate::store::Tx;
use std::collections::BTreeMap;
use std::time::Duration;

/// What becomes of a name that is there, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// It must not be there.
    Create,
    /// If it is not there nothing is done.
    Update,
    /// Either will do.
    CreateOrUpdate,
}

/// One attribute to be written.
#[derive(Clone, Debug)]
pub struct Write {
    /// The user, if it is not the one whose attributes are written.
    pub user_id: Option<UserId>,
    /// Its name.
    pub name: AttributeName,
    /// Its value; an update without one leaves that as it is.
    pub value: Option<AttributeValue>,
    /// After so long it is gone; an update without one leaves that as it is.
    pub expires_in: Option<Duration>,
    /// Whether it is kept encrypted.
    pub is_encrypted: bool,
}

impl SuperUser {
    /// The attributes of a session; they end with it.
    pub fn attributes_of_session(self, session_id: SessionId, user_id: UserId) -> Attributes {
        Attributes::new(self.context, Holder::Session(session_id), user_id)
    }
}

impl Attributes {
    /// Writes several, all or none.
    ///
    /// # Errors
    /// [`Code::ValueTaken`] for one that is to be created and is there; [`Code::AttributesFull`]; [`Code::NotFound`] for a user that is not.
    pub async fn write(self, writes: Vec<Write>, writing: Writing) -> Result<()> {
        let Self { context, holder, user_id } = self;
        let inner = &context.services.inner;
        let (vault, entropy, now) = (inner.vault.clone(), inner.entropy.clone(), context.now());
        let mut by_holder: BTreeMap<[u8; 16], (Holder, Vec<Write>)> = BTreeMap::new();
        for write in writes {
            let of = match (holder, write.user_id) {
                (Holder::User(_), Some(other)) => Holder::User(other),
                (Holder::User(_), None) | (Holder::Session(_), Some(_) | None) => holder,
            };
            let key = match of {
                Holder::User(id) => *id.as_bytes(),
                Holder::Session(id) => *id.as_bytes(),
            };
            by_holder.entry(key).or_insert_with(|| (of, Vec::new())).1.push(write);
        }
        let work = move |tx: &mut Tx<'_>| {
            let mut changes: Vec<(String, Option<String>, Option<String>)> = Vec::new();
            for (of, writes) in by_holder.into_values() {
                let mut shelf = Shelf::open(tx, of, &vault, &entropy, now)?;
                for write in writes {
                    shelf.write(write, writing)?;
                }
                shelf.check_room()?;
                match of {
                    // Of another than the call's subject the trail gets no values: they would not be erased with their user.
                    Holder::User(id) if id != user_id => {
                        changes.extend(shelf.differences().into_iter().map(|(name, old, new)| {
                            let there = |record: Option<String>| record.map(|_| "true".to_owned());
                            (format!("{id} {name}"), there(old), there(new))
                        }))
                    }
                    Holder::User(_) | Holder::Session(_) => changes.extend(shelf.differences()),
                }
            }
            Ok(((), Did::to(user_id).changing(Changes::of(changes))))
        };
        context.change(work).await
    }

    /// Removes several; one that is not there is no error.
    ///
    /// # Errors
    /// [`Code::NotFound`] if there is no such user.
    pub async fn remove(self, names: Vec<AttributeName>) -> Result<()> {
        self.set_several(names.into_iter().map(|name| (name, None)).collect()).await.map(drop)
    }

    /// Those of these names, each if it is there.
    ///
    /// # Errors
    /// [`Code::NotFound`] if there is no such user.
    pub async fn some(&self, names: &[AttributeName]) -> Result<Vec<Option<AttributeView>>> {
        let all = self.list().await?;
        Ok(names.iter().map(|name| all.iter().find(|view| view.name == *name).cloned()).collect())
    }
}

impl Shelf<'_, '_> {
    fn write(&mut self, write: Write, writing: Writing) -> Result<()> {
        let known = self.rows.get(&write.name).cloned();
        let taken = || Error::new(Code::ValueTaken).because("attribute_taken").at("name", "is taken");
        let left = match (writing, &known) {
            (Writing::Create, Some(_)) => return Err(taken()),
            (Writing::Update, None) => return Ok(()),
            (Writing::Update, Some(row)) => Some(row),
            (Writing::Create, None) | (Writing::CreateOrUpdate, Some(_) | None) => None,
        };
        let value = match (write.value, left) {
            (Some(value), _) => value,
            (None, Some(row)) => value_of(self.vault, &mut self.tx.read(), self.holder, row)?,
            (None, None) => AttributeValue::null(),
        };
        // What is left of an expiry is counted from now, as a new one is.
        let remaining = left.and_then(|row| row.expiry).map(|expiry| expiry.since(self.now));
        let setting = Setting { value, expires_in: write.expires_in.or(remaining), is_encrypted: write.is_encrypted };
        self.set(write.name, &setting).map(drop)
    }
}
