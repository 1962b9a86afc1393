//! Custom attributes: reading, setting and removing them.
//!
//! The same six operations on three shelves: one's own, those of the session in use, and for super-users those of any user. A caller gives
//! out the shelf ([`Attributes`]); there is no other way to one. Several are set and removed in one transaction, all or none.

use super::caller::{Authenticated, SignedIn, SuperUser};
use super::context::Context;
use super::did::Did;
use super::vault::Vault;
use crate::domain::audit::Changes;
use crate::domain::chance::Entropy;
use crate::domain::custom_attribute::{
    AttributeName, AttributeValue, AttributeView, CustomAttribute, Holder, LARGEST_SUM, MOST, Setting,
};
use crate::domain::ids::{AttributeId, UserId};
use crate::domain::precondition::Precondition;
use crate::domain::time::Utc;
use crate::error::{Code, Error, Result};
use crate::store::{Snapshot, Tx};
use std::collections::BTreeMap;

/// The custom attributes of one holder, in the hands of a caller who may use them.
pub struct Attributes {
    pub(super) context: Context,
    pub(super) holder: Holder,
    /// On whom each call is, for its event: the user, or whose session it is.
    pub(super) user_id: UserId,
}

impl Authenticated {
    /// One's own attributes.
    pub fn own_attributes(self) -> Attributes {
        let user_id = self.user_id();
        Attributes::new(self.context, Holder::User(user_id), user_id)
    }
}

impl SignedIn {
    /// The attributes of the session in use; they end with it.
    pub fn session_attributes(self) -> Attributes {
        let user_id = self.user_id();
        let session_id = self.opened.session.session_id;
        Attributes::new(self.context, Holder::Session(session_id), user_id)
    }
}

impl SuperUser {
    /// The attributes of a user.
    pub fn attributes_of(self, user_id: UserId) -> Attributes {
        Attributes::new(self.context, Holder::User(user_id), user_id)
    }
}

fn unknown() -> Error {
    Error::new(Code::NotFound).because("attribute_unknown")
}

/// There is no such holder (any more).
fn gone(holder: Holder) -> Error {
    match holder {
        Holder::User(_) => Error::new(Code::NotFound).because("user_unknown"),
        Holder::Session(_) => Error::new(Code::SessionInvalid).because("session_unknown"),
    }
}

impl Attributes {
    pub(super) fn new(context: Context, holder: Holder, user_id: UserId) -> Self {
        context.trail.set_subject(user_id);
        context.trail.shows(user_id, context.viewer_of_belongings(user_id));
        Self { context, holder, user_id }
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// [`Code::NotFound`] if there is no such user.
    pub async fn list(&self) -> Result<Vec<AttributeView>> {
        let (holder, now) = (self.holder, self.context.now());
        let found = self.read(move |snapshot, vault| {
            let rows = snapshot.attributes_of(holder, now)?;
            rows.iter().map(|row| Ok(row.view(&value_of(vault, snapshot, holder, row)?))).collect::<Result<Vec<_>>>()
        });
        let found = found.await?;
        if found.is_empty() {
            self.check_user().await?;
        }
        Ok(found)
    }

    /// The one of this name.
    ///
    /// # Errors
    /// [`Code::NotFound`] if there is none, or no such user.
    pub async fn get(&self, name: AttributeName) -> Result<AttributeView> {
        let (holder, now) = (self.holder, self.context.now());
        let found = self.read(move |snapshot, vault| {
            let Some(row) = snapshot.attribute(holder, &name, now)? else { return Ok(None) };
            Ok(Some(row.view(&value_of(vault, snapshot, holder, &row)?)))
        });
        match found.await? {
            Some(found) => Ok(found),
            None => {
                self.check_user().await?;
                Err(unknown())
            }
        }
    }

    /// Sets the one of this name; returns it, and whether there was none before.
    ///
    /// # Errors
    /// [`Code::PreconditionFailed`], [`Code::AttributesFull`]; [`Code::NotFound`] if there is no such user.
    pub async fn set(self, name: AttributeName, setting: Setting, precondition: Precondition) -> Result<(AttributeView, bool)> {
        self.change(move |shelf| {
            let before = shelf.rows.get(&name);
            let is_new = before.is_none();
            require(&precondition, before)?;
            let row = shelf.set(name, &setting)?;
            shelf.check_room()?;
            Ok((row.view(&setting.value), is_new))
        })
        .await
    }

    /// Sets some and removes others, all or none; to remove one that is not there is no error. Returns all that there are afterwards.
    ///
    /// # Errors
    /// [`Code::AttributesFull`]; [`Code::NotFound`] if there is no such user.
    pub async fn set_several(self, wanted: Vec<(AttributeName, Option<Setting>)>) -> Result<Vec<AttributeView>> {
        self.change(move |shelf| {
            for (name, setting) in wanted {
                match setting {
                    Some(setting) => drop(shelf.set(name, &setting)?),
                    None => drop(shelf.remove(&name)?),
                }
            }
            shelf.check_room()?;
            shelf.views()
        })
        .await
    }

    /// Removes the one of this name.
    ///
    /// # Errors
    /// [`Code::PreconditionFailed`]; [`Code::NotFound`] if there is none, or no such user.
    pub async fn delete(self, name: AttributeName, precondition: Precondition) -> Result<()> {
        self.change(move |shelf| {
            require(&precondition, shelf.rows.get(&name))?;
            if shelf.remove(&name)? { Ok(()) } else { Err(unknown()) }
        })
        .await
    }

    /// Removes all of them.
    ///
    /// # Errors
    /// [`Code::NotFound`] if there is no such user.
    pub async fn delete_all(self) -> Result<()> {
        self.change(|shelf| {
            let names: Vec<AttributeName> = shelf.rows.keys().cloned().collect();
            names.iter().try_for_each(|name| shelf.remove(name).map(drop))
        })
        .await
    }

    async fn read<T: Send + 'static>(&self, work: impl Fn(&mut Snapshot<'_>, &Vault) -> Result<T> + Send + 'static) -> Result<T> {
        let inner = &self.context.services.inner;
        let vault = inner.vault.clone();
        let read = move |snapshot: &mut Snapshot<'_>| match work(snapshot, &vault) {
            // Between reading a secret and reading its data key a rotation can have come to its end; the secret is another one then.
            Err(error) if error.code() == Code::Internal => work(snapshot, &vault),
            done => done,
        };
        inner.store.read(read).await
    }

    /// Where nothing was found: whether that is because there is no such user. A session was found by its token.
    async fn check_user(&self) -> Result<()> {
        let Holder::User(user_id) = self.holder else { return Ok(()) };
        let found = self.context.services.inner.store.read(move |snapshot| Ok(snapshot.user(user_id)?)).await?;
        if found.is_some() { Ok(()) } else { Err(gone(self.holder)) }
    }

    async fn change<T: Send + 'static>(self, work: impl FnOnce(&mut Shelf<'_, '_>) -> Result<T> + Send + 'static) -> Result<T> {
        let Self { context, holder, user_id } = self;
        let inner = &context.services.inner;
        let (vault, entropy, now) = (inner.vault.clone(), inner.entropy.clone(), context.now());
        let change = move |tx: &mut Tx<'_>| {
            let mut shelf = Shelf::open(tx, holder, &vault, &entropy, now)?;
            let value = work(&mut shelf)?;
            let changes = shelf.changes();
            Ok((value, Did::to(user_id).changing(changes)))
        };
        context.change(change).await
    }
}

fn require(precondition: &Precondition, current: Option<&CustomAttribute>) -> Result<()> {
    let etag = current.map(CustomAttribute::etag);
    if precondition.holds(etag.as_deref()) { Ok(()) } else { Err(Error::new(Code::PreconditionFailed)) }
}

pub(super) fn value_of(
    vault: &Vault,
    snapshot: &mut Snapshot<'_>,
    holder: Holder,
    row: &CustomAttribute,
) -> Result<AttributeValue> {
    let broken = || Error::new(Code::Internal).cause("a custom attribute has no value");
    match (&row.value, &row.sealed) {
        (Some(value), _) => Ok(value.clone()),
        (None, Some(sealed)) => {
            let clear = vault.open(snapshot, CustomAttribute::seat(holder, row.attribute_id), sealed)?;
            Ok(AttributeValue::stored(std::str::from_utf8(&clear).map_err(|_| broken())?.to_owned()))
        }
        (None, None) => Err(broken()),
    }
}

/// The attributes of a holder while they are being changed.
pub(super) struct Shelf<'a, 'tx> {
    pub(super) tx: &'a mut Tx<'tx>,
    pub(super) holder: Holder,
    pub(super) vault: &'a Vault,
    entropy: &'a Entropy,
    pub(super) now: Utc,
    /// Those that have not expired.
    pub(super) rows: BTreeMap<AttributeName, CustomAttribute>,
    /// For the audit trail: what each that was touched was before.
    before: Vec<(AttributeName, Option<String>)>,
}

impl<'a, 'tx> Shelf<'a, 'tx> {
    pub(super) fn open(tx: &'a mut Tx<'tx>, holder: Holder, vault: &'a Vault, entropy: &'a Entropy, now: Utc) -> Result<Self> {
        let mut rows = BTreeMap::new();
        for row in tx.hold_attributes(holder)?.ok_or_else(|| gone(holder))? {
            if row.is_expired(now) {
                // It has long been gone for everyone: its name is free.
                tx.delete_attribute(row.attribute_id)?;
            } else {
                rows.insert(row.name.clone(), row);
            }
        }
        Ok(Self { tx, holder, vault, entropy, now, rows, before: Vec::new() })
    }

    fn note(&mut self, name: &AttributeName) {
        if !self.before.iter().any(|(noted, _)| noted == name) {
            self.before.push((name.clone(), self.rows.get(name).map(CustomAttribute::record)));
        }
    }

    pub(super) fn set(&mut self, name: AttributeName, setting: &Setting) -> Result<CustomAttribute> {
        self.note(&name);
        let now = self.now;
        let known = self.rows.get(&name);
        let attribute_id = known.map_or_else(|| AttributeId::mint(now, self.entropy), |row| row.attribute_id);
        let (sealed, data_key_id) = if setting.is_encrypted {
            let seat = CustomAttribute::seat(self.holder, attribute_id);
            let (sealed, id) = self.vault.seal(self.tx, seat, setting.value.as_json().as_bytes(), now)?;
            (Some(sealed), Some(id))
        } else {
            (None, None)
        };
        let (user_id, session_id) = match self.holder {
            Holder::User(id) => (Some(id), None),
            Holder::Session(id) => (None, Some(id)),
        };
        let row = CustomAttribute {
            attribute_id,
            user_id,
            session_id,
            name: name.clone(),
            value: sealed.is_none().then(|| setting.value.clone()),
            sealed,
            data_key_id,
            expiry: setting.expires_in.map(|span| now + span),
            revision: known.map_or(1, |row| row.revision + 1),
            created_time: known.map_or(now, |row| row.created_time),
            updated_time: now,
        };
        if known.is_some() {
            self.tx.save_attribute(&row)?
        } else {
            self.tx.insert_attribute(&row)?
        }
        self.rows.insert(name, row.clone());
        Ok(row)
    }

    /// Tells whether there was one of this name.
    fn remove(&mut self, name: &AttributeName) -> Result<bool> {
        let Some(row) = self.rows.get(name) else { return Ok(false) };
        let attribute_id = row.attribute_id;
        self.note(name);
        self.tx.delete_attribute(attribute_id)?;
        self.rows.remove(name);
        Ok(true)
    }

    pub(super) fn check_room(&self) -> Result<()> {
        let sum: usize = self.rows.values().map(CustomAttribute::size).sum();
        if self.rows.len() > MOST || sum > LARGEST_SUM {
            return Err(Error::new(Code::AttributesFull)
                .detail(format!("There are at most {MOST} attributes, with {LARGEST_SUM} bytes of values in all.")));
        }
        Ok(())
    }

    fn views(&mut self) -> Result<Vec<AttributeView>> {
        let mut views = Vec::with_capacity(self.rows.len());
        for row in self.rows.values() {
            let value = value_of(self.vault, &mut self.tx.read(), self.holder, row)?;
            views.push(row.view(&value));
        }
        Ok(views)
    }

    /// Each that was touched, also one that was set to what it was before: its name, and what it was and is.
    pub(super) fn differences(self) -> Vec<(String, Option<String>, Option<String>)> {
        let Self { rows, before, .. } = self;
        let difference = |(name, before): (AttributeName, Option<String>)| {
            let after = rows.get(&name).map(CustomAttribute::record);
            (name.as_str().to_owned(), before, after)
        };
        before.into_iter().map(difference).collect()
    }

    fn changes(self) -> Option<Changes> {
        Changes::of(self.differences())
    }
}
