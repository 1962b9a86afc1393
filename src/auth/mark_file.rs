//! The mark file: what a node remembers of the audit trail, outside the database, from one start to the next.
//!
//! It is no secret and needs no copy. It is written beside and renamed, so that whoever reads it finds the whole of it.

use crate::domain::audit::Mark;
use crate::domain::secret::MacKey;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Where the mark is kept.
#[derive(Debug)]
pub struct MarkFile {
    path: PathBuf,
    /// Whether the settings name it.
    is_given: bool,
    key: MacKey,
    written: Mutex<Option<Mark>>,
}

impl MarkFile {
    /// The one that the settings name, or else the one beside the key file.
    pub fn new(given: &Path, key_file: &Path, key: MacKey) -> Self {
        let is_given = !given.as_os_str().is_empty();
        let mut beside = key_file.as_os_str().to_owned();
        beside.push(".mark");
        let path = if is_given { given.to_owned() } else { PathBuf::from(beside) };
        Self { path, is_given, key, written: Mutex::default() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a node must not be without it.
    pub fn is_demanded(&self) -> bool {
        self.is_given
    }

    /// What is remembered; nothing if there is no file.
    ///
    /// # Errors
    /// One line: it cannot be read, or is not this key file's.
    pub fn read(&self) -> Result<Option<Mark>, String> {
        let fail = |cause: String| {
            format!("the mark of the audit trail {}: it {cause}; where you know why, remove it", self.path.display())
        };
        match fs::read_to_string(&self.path) {
            Ok(text) => Mark::from_text(&text, &self.key).map(Some).map_err(fail),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(fail(format!("cannot be read ({e})"))),
        }
    }

    /// Writes it, if it is another one than was written last.
    ///
    /// # Errors
    /// One line: it cannot be written.
    pub fn write(&self, mark: Mark) -> Result<(), String> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.as_ref() == Some(&mark) {
            return Ok(());
        }
        let fail = |e: io::Error| format!("the mark of the audit trail {} cannot be written: {e}", self.path.display());
        // Nodes on one machine may share it.
        let mut beside = self.path.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        let beside = PathBuf::from(beside);
        let renamed = self.put(&beside, &mark).and_then(|()| fs::rename(&beside, &self.path));
        if let Err(error) = renamed {
            let _ = fs::remove_file(&beside);
            return Err(fail(error));
        }
        *written = Some(mark);
        Ok(())
    }

    fn put(&self, path: &Path, mark: &Mark) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o640);
        }
        let mut file = options.open(path)?;
        file.write_all(mark.to_text(&self.key).as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_data()
    }
}
