//! `usher user import --from …`: what tells where an older system is, and how to read it.
//!
//! Each system has options of its own. One that belongs to another system is refused: it was not meant so.

use super::Exit;
use crate::service::{Source, Zato};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

#[derive(Args)]
pub(super) struct Moving {
    /// Move users over from an older system; docs/migrate has a guide for each.
    #[arg(long, value_enum, value_name = "SYSTEM")]
    from: Option<System>,
    /// zato: the URL of its database, `sqlite:PATH` or `postgres://…`. It is only read.
    #[arg(long, value_name = "URL", requires = "from", required_if_eq("from", "zato"))]
    database: Option<String>,
    /// zato: a file with the Fernet key that it encrypts with.
    #[arg(long, value_name = "FILE", requires = "from", required_if_eq("from", "zato"))]
    fernet_key_file: Option<PathBuf>,
}

/// An older system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum System {
    /// Zato SSO, by its database.
    Zato,
}

impl System {
    fn word(self) -> &'static str {
        match self {
            Self::Zato => "zato",
        }
    }
}

impl Moving {
    /// Opens the older system, if one is named. `file` is what stands beside.
    pub(super) fn open(&self, file: Option<&Path>) -> Result<Option<Source>, Exit> {
        let Some(system) = self.from else { return Ok(None) };
        self.check(system, file)?;
        let missing = || Exit::Refused(format!("--from {} lacks an option that says where it is", system.word()));
        Ok(Some(match system {
            System::Zato => {
                let (url, key) = self.database.as_ref().zip(self.fernet_key_file.as_ref()).ok_or_else(missing)?;
                Source::Zato(Zato::open(url, &secret(key)?)?)
            }
        }))
    }

    /// What is given must belong to the system.
    fn check(&self, system: System, file: Option<&Path>) -> Result<(), Exit> {
        let given = [
            ("FILE", file.is_some(), false),
            ("--database", self.database.is_some(), system == System::Zato),
            ("--fernet-key-file", self.fernet_key_file.is_some(), system == System::Zato),
        ];
        match given.iter().find(|(_, is_given, belongs)| *is_given && !belongs) {
            Some((option, ..)) => Err(Exit::Refused(format!("{option} does not go with --from {}", system.word()))),
            None => Ok(()),
        }
    }
}

/// A secret that stands in a file by itself.
fn secret(file: &Path) -> Result<Zeroizing<String>, Exit> {
    let text = std::fs::read_to_string(file).map(Zeroizing::new);
    text.map_err(|e| Exit::Refused(format!("cannot read the key file {}: {e}", file.display())))
}
