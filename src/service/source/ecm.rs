//! The ECM: users and groups are read from an export, as a whole, since without a guid for each user an import could not be repeated.

use super::Row;
use crate::domain::ecm_export::{Export, Reading, row};
use crate::domain::group::MovedGroup;
use std::io::Read;
use std::vec;

/// The largest export that is read, in bytes.
const LARGEST: u64 = 1 << 30;

/// An export of the ECM.
pub struct Ecm {
    users: vec::IntoIter<Row>,
    groups: Vec<MovedGroup>,
    reading: Reading,
}

impl Ecm {
    /// Reads an export.
    ///
    /// # Errors
    /// One line: it cannot be read, is too large, or is wrong anywhere; then nothing is taken of it.
    pub fn read(export: impl Read, reading: Reading) -> Result<Self, String> {
        let mut bytes = Vec::new();
        export.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        if bytes.len() as u64 > LARGEST {
            return Err(format!("it has more than {LARGEST} bytes"));
        }
        let (users, groups) = Export::parse(&bytes)?.into_parts();
        Ok(Self { users: users.into_iter(), groups, reading })
    }

    pub(super) fn next_row(&mut self) -> Option<Row> {
        self.users.next().map(|user| row(&user, self.reading))
    }

    pub(super) fn groups(&self) -> &[MovedGroup] {
        &self.groups
    }
}
