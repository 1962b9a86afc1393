//! Zato SSO: users are read from its database, and what it has encrypted there is decrypted with its Fernet key. What it keeps with them
//! follows in a second pass, when they are here.

use super::super::belongings::Belongings;
use super::Row;
use crate::auth::fernet::Key;
use crate::domain::time::Utc;
use crate::domain::zato_user::{ZatoUser, is_encrypted};
use crate::error::{Code, Error, Result};
use crate::store::ZatoUsers;
use crate::store::connection::Location;
use crate::store::error::StoreError;
use std::vec;
use zeroize::Zeroizing;

/// Users of Zato SSO.
pub struct Zato {
    users: ZatoUsers,
    key: Key,
    page: vec::IntoIter<ZatoUser>,
    /// The place of the user that was read last in the second pass.
    line: u64,
}

fn refused(detail: String) -> Error {
    Error::new(Code::BadRequest).detail(detail)
}

fn unreadable(error: StoreError) -> Error {
    refused(format!("Zato's database: {error}."))
}

impl Zato {
    /// Opens the database at this URL. The key is the one that the server encrypts with.
    ///
    /// # Errors
    /// The database cannot be read; the key is none, or none of what is encrypted opens with it.
    pub fn open(url: &str, key: &str) -> Result<Self> {
        let key = Key::parse(key).map_err(|flaw| refused(format!("The key {flaw}.")))?;
        let location = Location::parse(url).map_err(|flaw| refused(format!("The URL of Zato's database {flaw}.")))?;
        let mut users = ZatoUsers::open(&location).map_err(unreadable)?;
        check(&mut users, &key)?;
        // Whether the second pass can read is better known before anyone is moved.
        users.attributes(0, 0).and_then(|_| users.links(0, 0)).map_err(unreadable)?;
        Ok(Self { users, key, page: Vec::new().into_iter(), line: 0 })
    }

    pub(super) fn next_row(&mut self) -> Result<Option<Row>> {
        if self.page.as_slice().is_empty() {
            self.page = self.users.next_page().map_err(unreadable)?.into_iter();
        }
        Ok(self.page.next().map(|user| user.row(|text| opened(&self.key, text))))
    }
}

impl Zato {
    /// Begins the second pass.
    pub fn rewind(&mut self) {
        self.users.rewind();
        self.line = 0;
    }

    /// What the next users have besides; empty at the end. Times are judged at `now`.
    ///
    /// # Errors
    /// The database cannot be read any more.
    pub fn next_belongings(&mut self, now: Utc) -> Result<Vec<Belongings>> {
        let page = self.users.next_page().map_err(unreadable)?;
        let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(Vec::new()) };
        let mut attributes = self.users.attributes(first.id, last.id).map_err(unreadable)?.into_iter().peekable();
        let mut links = self.users.links(first.id, last.id).map_err(unreadable)?.into_iter().peekable();
        let mut all = Vec::with_capacity(page.len());
        for user in page {
            self.line += 1;
            let mut own = Belongings { line: self.line, external_id: user.user_id, ..Belongings::default() };
            while let Some(attribute) = attributes.next_if(|attribute| attribute.owner == user.id) {
                match attribute.setting(|text| opened(&self.key, text), now) {
                    Ok(setting) => own.settings.extend(setting),
                    Err(flaw) => own.flaws.push((attribute.name, flaw)),
                }
            }
            while let Some(link) = links.next_if(|link| link.owner == user.id) {
                own.accounts.push(link.auth_id);
            }
            all.push(own);
        }
        Ok(all)
    }
}

/// With the wrong key nothing opens at all: better told once than of each user. A single damaged value is its row's affair.
fn check(users: &mut ZatoUsers, key: &Key) -> Result<()> {
    let mut closed: Option<String> = None;
    loop {
        let page = users.next_page().map_err(unreadable)?;
        if page.is_empty() {
            break;
        }
        for user in page {
            for secret in user.secrets().filter(|secret| is_encrypted(secret)) {
                if key.open(secret).is_some() {
                    users.rewind();
                    return Ok(());
                }
                closed.get_or_insert_with(|| user.user_id.clone());
            }
        }
    }
    users.rewind();
    match closed {
        None => Ok(()),
        Some(user_id) => Err(refused(format!(
            "The key is not the one that Zato has encrypted with: nothing opens, beginning with the user {user_id}. Nothing was imported."
        ))),
    }
}

fn opened(key: &Key, text: &str) -> Option<Zeroizing<String>> {
    let bytes = key.open(text)?;
    std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
}
