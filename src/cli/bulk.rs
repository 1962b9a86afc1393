//! `usher user import` and `usher user export`: many users at once, as lines of JSON.

use super::moving::{self, Moving};
use super::users::find;
use super::{Common, Exit, Outcome, act, begin, operator, output};
use crate::domain::audit::Action;
use crate::domain::bulk::{RowOutcome, RowResult, Summary};
use crate::domain::group::MovedGroup;
use crate::domain::ndjson::Line;
use crate::error::{Code, Error};
use crate::service::{Intake, NewIds, Services, Source, SuperUser};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

#[derive(Args)]
pub(super) struct Import {
    /// The file, one JSON object in each line; - is standard input.
    #[arg(required_unless_present = "from")]
    file: Option<PathBuf>,
    #[command(flatten)]
    moving: Moving,
    /// Say what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Tell owners of changed names and addresses by letter.
    #[arg(long)]
    notify: bool,
}

#[derive(Args)]
pub(super) struct Export {
    /// Only this user, by username, login name or user_id, with everything that is kept of the person, as one JSON document.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
}

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

pub(super) async fn import(common: &Common, Import { file, moving, dry_run, notify }: Import) -> Outcome {
    let input = match (moving.open(file.as_deref())?, file) {
        (Some(source), _) => Input::of(Feed::Source(Box::new(source)), None),
        (None, Some(file)) => Input::open(&file)?,
        // Clap has seen to it.
        (None, None) => return Err(Exit::Refused("there is nothing to import".to_owned())),
    };
    let services = common.services()?;
    let groups = input.groups();
    let imported = match run(common, &services, input, dry_run, notify).await {
        // Groups and what users have besides come last, when the users are there.
        Ok(Run { summary, failure: None, source, refused }) => match moving::settle(&services, &groups, dry_run).await {
            Ok(settled) => moving::bring(common, &services, source, &refused, dry_run).await.map(|b| (summary, settled, b, None)),
            Err(failure) => Err(failure),
        },
        Ok(Run { summary, failure, .. }) => Ok((summary, 0, moving::Tally::default(), failure)),
        Err(failure) => Err(failure),
    };
    services.close();
    let (summary, settled, brought, failure) = imported?;
    if common.json {
        output::json(&match brought {
            moving::Tally { set: 0, refused: 0 } => json!({ "summary": summary }),
            moving::Tally { set, refused } => {
                json!({ "summary": summary, "attributes": { "set": set, "refused": refused } })
            }
        })?;
    }
    let mut counts = counts(&summary);
    if brought.set + brought.refused > 0 {
        counts.push_str(&format!("; {} attributes set, {} refused", brought.set, brought.refused));
    }
    if settled > 0 {
        counts.push_str(&format!("; {} settled", subject(settled, dry_run)));
    }
    match failure {
        Some(failure) => {
            output::complain(&counts);
            Err(failure)
        }
        None if summary.refused + brought.refused > 0 => Err(Exit::Refused(counts)),
        None => {
            if !common.json {
                output::complain(&counts);
            }
            Ok(())
        }
    }
}

/// So many groups, as the subject of what became of them.
fn subject(count: u64, dry_run: bool) -> String {
    let groups = if count == 1 { "group" } else { "groups" };
    let verb = match (dry_run, count) {
        (true, _) => "would be",
        (false, 1) => "was",
        (false, _) => "were",
    };
    format!("{count} {groups} {verb}")
}

fn counts(summary: &Summary) -> String {
    let Summary { rows, created, updated, unchanged, refused, groups_created, dry_run, .. } = summary;
    let groups = if *groups_created > 0 { format!("; {} made", subject(*groups_created, *dry_run)) } else { String::new() };
    let dry = if *dry_run { "; nothing was changed (dry run)" } else { "" };
    format!("{rows} rows: {created} created, {updated} updated, {unchanged} unchanged, {refused} refused{groups}{dry}")
}

/// How an import went.
struct Run {
    summary: Summary,
    failure: Option<Exit>,
    /// The older system, if there is one.
    source: Option<Source>,
    /// The external ids of the rows that were refused, of an older system.
    refused: HashSet<String>,
}

/// Runs the import to its end; a failure on the way still has its counts.
async fn run(common: &Common, services: &Services, input: Input, dry_run: bool, notify: bool) -> Result<Run, Exit> {
    let root = SuperUser::at_the_command_line(begin(services, Action::UserImport), operator::current());
    let import = root.import_users(dry_run, notify, input.new_ids()).await?;
    let bar = input.progress_bar();
    let is_moving = matches!(input.feed, Feed::Source(_));
    let mut input = Some(input);
    let next = async |rows: usize| {
        // Standard input may keep one waiting.
        let read = input.take().map(|mut input| tokio::task::spawn_blocking(move || (input.next(rows), input)));
        let broken = || Error::new(Code::Internal).cause("the input is gone");
        let (lines, back) = read.ok_or_else(broken)?.await.map_err(|_| broken())?;
        bar.set_position(back.position);
        input = Some(back);
        lines
    };
    let mut without = HashSet::new();
    let (mut told, mut refused) = (0u64, 0u64);
    let tell = async |results: Vec<RowResult>| {
        bar.suspend(|| tell_rows(common, &results));
        told += results.len() as u64;
        refused += results.iter().filter(|r| r.outcome == RowOutcome::Refused).count() as u64;
        if is_moving {
            let ids = results.into_iter().filter(|r| r.outcome == RowOutcome::Refused).filter_map(|r| r.external_id);
            without.extend(ids.map(String::from));
        }
        bar.set_message(if refused > 0 { format!("{told} rows, {refused} refused") } else { format!("{told} rows") });
        // Whether anyone reads along makes no difference to the import.
        true
    };
    let (summary, error) = import.run(next, tell).await;
    bar.finish_and_clear();
    let source = match input.map(|input| input.feed) {
        Some(Feed::Source(source)) => Some(*source),
        Some(Feed::Bytes(_)) | None => None,
    };
    Ok(Run { summary, failure: error.map(Exit::from), source, refused: without })
}

/// A refused row is told on standard error; with `--json` every row on standard output.
fn tell_rows(common: &Common, results: &[RowResult]) {
    if common.json {
        let mut lines = Vec::new();
        for result in results {
            if serde_json::to_writer(&mut lines, result).is_ok() {
                lines.push(b'\n');
            }
        }
        let _ = output::piece(&lines);
        return;
    }
    for result in results.iter().filter(|result| result.outcome == RowOutcome::Refused) {
        for error in &result.errors {
            let member = error.pointer.trim_start_matches('/');
            let member = if member.is_empty() { String::new() } else { format!("{member}: ") };
            output::complain(&format!("line {}: {member}{}", result.line, error.detail));
        }
    }
}

/// Where rows come from.
enum Feed {
    /// Bytes, with a row in each line.
    Bytes(Box<dyn Read + Send>),
    /// An older system. Its rows count as lines.
    Source(Box<Source>),
}

/// What is imported from.
struct Input {
    feed: Feed,
    intake: Intake,
    has_ended: bool,
    /// Bytes read so far, and in all, if that is known.
    position: u64,
    length: Option<u64>,
}

impl Input {
    fn open(path: &Path) -> Result<Self, Exit> {
        let (reader, length): (Box<dyn Read + Send>, _) = if path == Path::new("-") {
            (Box::new(io::stdin()), None)
        } else {
            let broken = |e: io::Error| Exit::Refused(format!("cannot read {}: {e}", path.display()));
            let file = File::open(path).map_err(broken)?;
            let about = file.metadata().map_err(broken)?;
            if about.is_dir() {
                return Err(Exit::Refused(format!("cannot read {}: it is a folder", path.display())));
            }
            (Box::new(file), about.is_file().then_some(about.len()))
        };
        Ok(Self::of(Feed::Bytes(reader), length))
    }

    fn of(feed: Feed, length: Option<u64>) -> Self {
        Self { feed, intake: Intake::default(), has_ended: false, position: 0, length }
    }

    fn new_ids(&self) -> NewIds {
        match &self.feed {
            Feed::Bytes(_) => NewIds::Minted,
            Feed::Source(source) => source.new_ids(),
        }
    }

    /// What is known of groups besides who is in them.
    fn groups(&self) -> Vec<MovedGroup> {
        match &self.feed {
            Feed::Bytes(_) => Vec::new(),
            Feed::Source(source) => source.groups().to_vec(),
        }
    }

    /// The next batch: so many rows, or fewer if there are no more yet. A pipe that was not full is read faster than it is written to, and
    /// whoever writes may wait to be told what became of the rows so far.
    fn next(&mut self, rows: usize) -> Result<Option<Vec<Line>>, Error> {
        while !self.has_ended && !self.intake.is_full(rows) {
            let bytes = match &mut self.feed {
                Feed::Bytes(reader) => read(reader)?,
                Feed::Source(source) => line(source)?,
            };
            match bytes {
                Some(bytes) => {
                    self.position += bytes.len() as u64;
                    self.intake.feed(&bytes);
                    let is_pipe = self.length.is_none() && matches!(self.feed, Feed::Bytes(_));
                    if is_pipe && bytes.len() < CHUNK && self.intake.has_lines() {
                        break;
                    }
                }
                None => {
                    self.has_ended = true;
                    self.intake.finish();
                }
            }
        }
        Ok(self.intake.take(rows))
    }

    /// On a terminal alone.
    fn progress_bar(&self) -> ProgressBar {
        if !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let (bar, template) = match self.length {
            Some(length) => (ProgressBar::new(length), "{wide_bar} {percent:>3} %  {msg}  {eta} left"),
            None => (ProgressBar::no_length(), "{spinner} {msg}  {elapsed}"),
        };
        match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }
}

/// The next bytes; `None` at the end.
fn read(reader: &mut impl Read) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    let mut chunk = Zeroizing::new(vec![0; CHUNK]);
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(None),
            Ok(count) => {
                chunk.truncate(count);
                return Ok(Some(chunk));
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::new(Code::BadRequest).detail(format!("The input cannot be read: {e}."))),
        }
    }
}

/// The next row of an older system as a line; `None` at the end.
fn line(source: &mut Source) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    let Some(row) = source.next_row()? else { return Ok(None) };
    let mut line = Zeroizing::new(Vec::new());
    serde_json::to_writer(&mut *line, &row).map_err(|e| Error::new(Code::Internal).cause(e.to_string()))?;
    line.push(b'\n');
    Ok(Some(line))
}

pub(super) async fn export(common: &Common, Export { user }: Export) -> Outcome {
    let services = common.services()?;
    let action = if user.is_some() { Action::UserData } else { Action::UserExport };
    let exported = act(&services, action, |root| async move {
        let failed = |e: io::Error| Error::new(Code::Internal).detail(format!("Standard output cannot be written: {e}."));
        match user {
            Some(user) => {
                let user_id = find(&root, &user).await?.user.user_id;
                let mut data = root.data_of(user_id).await?;
                while let Some(piece) = data.next().await? {
                    if !output::piece(&piece).map_err(failed)? {
                        break;
                    }
                }
            }
            None => {
                let mut export = root.export_users().await?;
                while let Some(piece) = export.next().await? {
                    if !output::piece(&piece).map_err(failed)? {
                        break;
                    }
                }
            }
        }
        Ok(())
    });
    let exported = exported.await;
    services.close();
    Ok(exported?)
}
