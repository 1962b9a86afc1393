//! Backups.

use super::caller::SuperUser;
use crate::error::Result;
use std::path::PathBuf;

impl SuperUser {
    /// Copies the database, as it is at one moment, into an empty file; calls are served meanwhile. What was answered before this began is
    /// in the copy. SQLite alone: PostgreSQL has its own means.
    ///
    /// # Errors
    /// The database or the file fails, or the copy is not sound; the file is of no use then.
    pub async fn back_up(&self, copy: PathBuf) -> Result<()> {
        self.context.services.inner.store.back_up(copy).await
    }
}
