//! Posit Connect: groups and their members are read first, as a whole, then users page by page.

use super::Row;
use crate::domain::connect_user::{Memberships, identifier};
use crate::domain::group::{GroupPatch, MovedGroup};
use crate::domain::text::{Line, Name};
use crate::error::{Code, Error, Result};
use crate::outbound::connect::{List, Origin, Place};
use serde_json::Value;
use std::vec;

/// A server, or what was saved of it.
pub struct Connect {
    origin: Origin,
    users: Place<'static>,
    page: vec::IntoIter<Value>,
    memberships: Memberships,
    groups: Vec<MovedGroup>,
}

fn refused(cause: String) -> Error {
    Error::new(Code::BadRequest).detail(format!("Posit Connect: {cause}."))
}

impl Connect {
    /// Reads the groups, their members and the first users.
    ///
    /// # Errors
    /// The server, or what was saved of it, cannot be read.
    pub fn open(origin: Origin) -> Result<Self> {
        let (memberships, groups) = groups_of(&origin).map_err(refused)?;
        let mut users = Place::first(List::Users);
        let page = origin.next_page(&mut users).map_err(refused)?.into_iter();
        Ok(Self { origin, users, page, memberships, groups })
    }

    pub(super) fn next_row(&mut self) -> Result<Option<Row>> {
        if self.page.as_slice().is_empty() {
            self.page = self.origin.next_page(&mut self.users).map_err(refused)?.into_iter();
        }
        self.page.next().map(|user| self.memberships.row(&user).map_err(refused)).transpose()
    }

    pub(super) fn groups(&self) -> &[MovedGroup] {
        &self.groups
    }
}

fn groups_of(origin: &Origin) -> std::result::Result<(Memberships, Vec<MovedGroup>), String> {
    let (mut memberships, mut groups) = (Memberships::default(), Vec::new());
    for group in origin.all(List::Groups)? {
        let (guid, name) = (identifier(&group, "guid")?, identifier(&group, "name")?);
        // It becomes part of a path, and of the name of a file.
        if !guid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(format!("the guid of the group {name:?} is none"));
        }
        for member in origin.all(List::Members(guid))? {
            memberships.add(&member, name)?;
        }
        let unfit = |flaw: &dyn std::fmt::Display| format!("the group {name:?}: the value {flaw}");
        let external_id = Line::try_from(guid.to_owned()).map_err(|flaw| unfit(&flaw))?;
        let name = Name::try_from(name.to_owned()).map_err(|flaw| unfit(&flaw))?;
        let patch = GroupPatch { external_id: Some(Some(external_id)), ..GroupPatch::default() };
        groups.push(MovedGroup { name, patch });
    }
    Ok((memberships, groups))
}
