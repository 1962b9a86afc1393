//! `usher backup`

use super::{Common, Exit, Outcome, output};
use crate::app;
use crate::domain::audit::Action;
use crate::service::SuperUser;
use crate::store::connection::Location;
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Copies the database into a new file. It is made under another name beside it, and bears its own once it is whole and on the disk.
pub(super) async fn execute(common: &Common, file: &Path) -> Outcome {
    if let Location::Postgres(_) = app::location(&common.settings()?)? {
        return Err(Exit::Refused(
            "usher backs up SQLite alone: of a PostgreSQL database make a copy with pg_dump (and keep the key file)".to_owned(),
        ));
    }
    let file = std::path::absolute(file).map_err(|e| cannot("read the name", file, &e))?;
    if file.symlink_metadata().is_ok() {
        return Err(cannot("make", &file, &io::ErrorKind::AlreadyExists.into()));
    }
    let partial = Partial::make(&file)?;
    let copy = partial.0.clone();
    common.act(Action::DatabaseBackup, |root: SuperUser| async move { root.back_up(copy).await }).await?;
    let bytes = partial.finish(&file)?;
    if common.json {
        return output::json(&json!({ "file": file, "bytes": bytes }));
    }
    output::line(&file.display().to_string())
}

fn cannot(what: &str, path: &Path, cause: &io::Error) -> Exit {
    Exit::Refused(format!("cannot {what} {}: {cause}", path.display()))
}

/// Makes an empty file, where there is none, that its owner alone may read.
fn make_private(path: &Path) -> Result<File, Exit> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|e| cannot("make", path, &e))
}

/// A copy that is not whole yet; it goes unless it is finished.
struct Partial(PathBuf);

impl Partial {
    fn make(file: &Path) -> Result<Self, Exit> {
        let mut name = file.as_os_str().to_owned();
        name.push(".partial");
        let path = PathBuf::from(name);
        make_private(&path)?;
        Ok(Self(path))
    }

    /// Gives it its name, which nobody else may have taken meanwhile; tells its size in bytes.
    fn finish(self, file: &Path) -> Result<u64, Exit> {
        let copy = File::open(&self.0).map_err(|e| cannot("open", &self.0, &e))?;
        copy.sync_all().map_err(|e| cannot("write", &self.0, &e))?;
        let bytes = copy.metadata().map_err(|e| cannot("read", &self.0, &e))?.len();
        make_private(file)?;
        fs::rename(&self.0, file).map_err(|e| {
            // It is empty: nobody must take it for a backup.
            let _ = fs::remove_file(file);
            cannot("make", file, &e)
        })?;
        let folder = file.parent().unwrap_or(Path::new("/"));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| cannot("write", folder, &e))?;
        Ok(bytes)
    }
}

impl Drop for Partial {
    /// Once finished there is no file of this name any more.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
