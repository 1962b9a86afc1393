//! `usher user import --from …`: what tells where an older system is, and how to read it.
//!
//! Each system has options of its own. One that belongs to another system is refused: it was not meant so.

use super::{Common, Exit, act, begin, operator, output};
use crate::domain::audit::Action;
use crate::domain::ecm_export::{NeverExpire, Offset, Reading};
use crate::domain::group::MovedGroup;
use crate::error::{Code, Error};
use crate::outbound::connect::Origin;
use crate::service::{Belongings, Connect, Ecm, Services, Source, SuperUser, Zato};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::collections::HashSet;
use std::fs::File;
use std::io;
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
    /// connect: the server's URL.
    #[arg(long, requires = "from", requires = "key_file", conflicts_with = "saved")]
    url: Option<String>,
    /// connect: a file with an administrator's API key.
    #[arg(long, value_name = "FILE", requires = "url")]
    key_file: Option<PathBuf>,
    /// connect: instead of a server, a folder with answers of its API: users-1.json, groups-1.json, members-GUID-1.json and so on.
    #[arg(long, value_name = "FOLDER", requires = "from")]
    saved: Option<PathBuf>,
    /// ecm: how far the clock of its times of validity is ahead of UTC, such as +01:00.
    #[arg(long, value_name = "OFFSET", requires = "from", allow_hyphen_values = true)]
    utc_offset: Option<Offset>,
    /// ecm: what never_expire says, of the `password` (as if not given) or of the `account`.
    #[arg(long, value_name = "WHAT", requires = "from")]
    never_expire: Option<NeverExpire>,
}

/// An older system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum System {
    /// Zato SSO, by its database.
    Zato,
    /// Posit Connect, by its API or by answers of it that were saved.
    Connect,
    /// The ECM, by an export; FILE is the export.
    Ecm,
}

impl System {
    fn word(self) -> &'static str {
        match self {
            Self::Zato => "zato",
            Self::Connect => "connect",
            Self::Ecm => "ecm",
        }
    }
}

impl Moving {
    /// Opens the older system, if one is named. `file` is what stands beside.
    pub(super) fn open(&self, file: Option<&Path>) -> Result<Option<Source>, Exit> {
        let Some(system) = self.from else { return Ok(None) };
        self.check(system, file)?;
        let missing = || Exit::Refused(format!("--from {} lacks what says where it is", system.word()));
        Ok(Some(match system {
            System::Zato => {
                let (url, key) = self.database.as_ref().zip(self.fernet_key_file.as_ref()).ok_or_else(missing)?;
                Source::Zato(Zato::open(url, &secret(key)?)?)
            }
            System::Connect => {
                let origin = match (&self.saved, &self.url, &self.key_file) {
                    (Some(folder), ..) => Origin::Saved(folder.clone()),
                    (None, Some(url), Some(file)) => Origin::server(url, &api_key(file)?),
                    (None, ..) => return Err(missing()),
                };
                Source::Connect(Connect::open(origin)?)
            }
            System::Ecm => {
                let file = file.ok_or_else(missing)?;
                let unfit = |cause: String| Exit::Refused(format!("{}: {cause}", file.display()));
                let (offset, never_expire) = (self.utc_offset.unwrap_or_default(), self.never_expire);
                let reading = Reading { offset, never_expire: never_expire.unwrap_or(NeverExpire::Password) };
                let export: Box<dyn io::Read> = match file == Path::new("-") {
                    true => Box::new(io::stdin().lock()),
                    false => Box::new(File::open(file).map_err(|e| unfit(e.to_string()))?),
                };
                Source::Ecm(Ecm::read(export, reading).map_err(unfit)?)
            }
        }))
    }

    /// What is given must belong to the system.
    fn check(&self, system: System, file: Option<&Path>) -> Result<(), Exit> {
        let given = [
            ("FILE", file.is_some(), system == System::Ecm),
            ("--database", self.database.is_some(), system == System::Zato),
            ("--fernet-key-file", self.fernet_key_file.is_some(), system == System::Zato),
            ("--url", self.url.is_some(), system == System::Connect),
            ("--key-file", self.key_file.is_some(), system == System::Connect),
            ("--saved", self.saved.is_some(), system == System::Connect),
            ("--utc-offset", self.utc_offset.is_some(), system == System::Ecm),
            ("--never-expire", self.never_expire.is_some(), system == System::Ecm),
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

/// An API key, which goes into a header.
fn api_key(file: &Path) -> Result<Zeroizing<String>, Exit> {
    let text = secret(file)?;
    let key = text.trim();
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Exit::Refused(format!("the key file {} holds no API key", file.display())));
    }
    Ok(Zeroizing::new(key.to_owned()))
}

/// Makes the groups that are not here yet, and gives those that differ what the older system says of them; tells how many.
pub(super) async fn settle(services: &Services, groups: &[MovedGroup], dry_run: bool) -> Result<u64, Exit> {
    let mut settled = 0;
    for group in groups {
        let find = |root: SuperUser| async move {
            match root.group_by_name(group.name.as_str()).await {
                Ok(found) => Ok(Some(found)),
                Err(error) if error.code() == Code::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        };
        let found = act(services, Action::GroupRead, find).await?;
        let patch = found.as_ref().map_or_else(|| group.patch.clone(), |here| group.difference(here));
        if found.is_some() && patch.is_empty() {
            continue;
        }
        settled += 1;
        match found {
            _ if dry_run => {}
            Some(here) => drop(act(services, Action::GroupUpdate, |root| root.update_group(here.group_id, patch)).await?),
            None => drop(act(services, Action::GroupCreate, |root| root.furnish_group(group.name.clone(), patch)).await?),
        }
    }
    Ok(settled)
}

/// What became of the attributes of those who move.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Set, or what would be.
    pub(super) set: u64,
    /// Refused, each with a line that says why.
    pub(super) refused: u64,
}

/// Brings along what users have besides, but those whose rows were refused; what has to be done by hand is told.
pub(super) async fn bring(
    common: &Common,
    services: &Services,
    source: Option<Source>,
    refused: &HashSet<String>,
    dry_run: bool,
) -> Result<Tally, Exit> {
    let mut tally = Tally::default();
    let Some(Source::Zato(mut zato)) = source else { return Ok(tally) };
    let context = begin(services, Action::UserAttributesSet);
    let now = context.now();
    let root = SuperUser::at_the_command_line(context, operator::current());
    zato.rewind();
    loop {
        // Reading blocks, and nothing else goes on meanwhile.
        let (page, back) = tokio::task::spawn_blocking(move || (zato.next_belongings(now), zato))
            .await
            .map_err(|_| Error::new(Code::Internal).cause("reading panicked"))?;
        zato = back;
        let page = page?;
        if page.is_empty() {
            return Ok(tally);
        }
        for Belongings { line, external_id, settings, flaws, accounts } in page {
            if refused.contains(&external_id) || (settings.is_empty() && flaws.is_empty() && accounts.is_empty()) {
                continue;
            }
            let complain = |name: &str, detail: &str| {
                tell(common, line, &external_id, &format!("attributes/{name}"), detail);
            };
            for (name, flaw) in &flaws {
                complain(name, &format!("The attribute {flaw}."));
            }
            tally.refused += flaws.len() as u64;
            let wanted = settings.len();
            match root.bring(external_id.clone(), settings, dry_run).await {
                Ok(brought) => {
                    // Who is not here yet in a dry run is about to be.
                    tally.set += if brought.is_here { brought.set } else { wanted } as u64;
                    if brought.accounts < accounts.len() {
                        let numbers: Vec<String> = accounts.iter().map(i64::to_string).collect();
                        tell(
                            common,
                            line,
                            &external_id,
                            "linked",
                            &format!(
                                "Zato's accounts {} act as this user: make them with `usher linked create`.",
                                numbers.join(", ")
                            ),
                        );
                    }
                }
                Err(error) if error.code() == Code::AttributesFull => {
                    tally.refused += wanted as u64;
                    complain("", error.sentence().unwrap_or(error.code().title()));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Tells something of a user: as a line of JSON, or on standard error.
fn tell(common: &Common, line: u64, external_id: &str, pointer: &str, detail: &str) {
    let pointer = pointer.trim_end_matches('/');
    if common.json {
        let told =
            json!({"line": line, "external_id": external_id, "notes": [{"pointer": format!("/{pointer}"), "detail": detail}]});
        let _ = output::json(&told);
    } else {
        output::complain(&format!("line {line}: {}: {detail}", output::printable(pointer)));
    }
}
