//! Importing users from lines of JSON; `docs/BULK.md` describes the rows.
//!
//! Lines come in batches. While one batch is being written, the next one is read, parsed and made ready (names folded, hashes parsed or
//! computed), so the writer has little to do but write. A batch is one transaction, with an event for each user that it changes, and others
//! write between two batches. A row whose `external_id` a user has is compared with that user; so an import that was cut short is simply
//! run again, and finds what it did before as it is.

mod batch;
mod pace;
mod row;

use super::caller::SuperUser;
use super::context::Context;
use super::users::Maker;
use crate::auth::totp::Key;
use crate::domain::attribute::Viewer;
use crate::domain::audit::Changes;
use crate::domain::bulk::{RowError, RowOutcome, RowResult, Summary};
use crate::domain::ids::UserId;
use crate::domain::ndjson::{Cutter, Line};
use crate::domain::shown::Shown;
use crate::domain::text;
use crate::domain::time::Utc;
use crate::domain::user::{Account, ApprovalStatus, CreationContext, FitPassword, LockCause, User};
use crate::domain::zato;
use crate::error::{Code, Error, Result};
use crate::store::{Scratch, Snapshot, Terms, Tx};
use futures_util::future::{Either, select};
use futures_util::{StreamExt as _, TryStreamExt as _};
use pace::Pace;
use row::{Read, Row, errors_of};
use std::collections::VecDeque;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Whether a line is a row, as far as the line alone tells.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_line(line: &Line) -> Result<()> {
    Read::line(line).row.map(drop)
}

/// Bytes of rows in one transaction.
const BATCH_BYTES: usize = 1024 * 1024;
/// Passwords in the clear that are hashed at once for one import; sign-ins need the hashing threads too.
const HASHED_AT_ONCE: usize = 2;

/// Where the ids of the users that an import makes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewIds {
    /// They are minted here.
    Minted,
    /// A user that comes from Zato SSO keeps its id: the `external_id` is that id as Zato spells it.
    OfZato,
}

impl NewIds {
    /// The id that a row brings along.
    fn kept(self, row: &Row) -> Option<UserId> {
        match self {
            Self::Minted => None,
            Self::OfZato => row.patch.external_id.as_ref()?.as_ref().and_then(|id| zato::read(id.as_str())),
        }
    }
}

/// Lines on their way into an import.
#[derive(Debug, Default)]
pub struct Intake {
    cutter: Cutter,
    lines: VecDeque<Line>,
    bytes: usize,
}

impl Intake {
    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut lines = Vec::new();
        self.cutter.feed(bytes, &mut lines);
        lines.into_iter().for_each(|line| self.push(line));
    }

    /// The input is over.
    pub fn finish(&mut self) {
        if let Some(line) = self.cutter.finish() {
            self.push(line);
        }
    }

    /// Whether there is a line.
    pub fn has_lines(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Whether there is a whole batch of so many rows.
    pub fn is_full(&self, rows: usize) -> bool {
        self.lines.len() >= rows || self.bytes >= BATCH_BYTES
    }

    /// The next batch: what there is, up to so many rows.
    pub fn take(&mut self, rows: usize) -> Option<Vec<Line>> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < rows && bytes < BATCH_BYTES {
            let Some(line) = self.lines.pop_front() else { break };
            bytes += size(&line);
            batch.push(line);
        }
        self.bytes -= bytes;
        (!batch.is_empty()).then_some(batch)
    }

    fn push(&mut self, line: Line) {
        self.bytes += size(&line);
        self.lines.push_back(line);
    }
}

fn size(line: &Line) -> usize {
    line.bytes.as_ref().map_or(0, Vec::len)
}

/// An import under way. Its own event is written: what it does from here on has events of its own.
pub struct Import {
    importer: Arc<Importer>,
    summary: Summary,
    /// What the rows so far would have taken, in a dry run.
    scratch: Option<Scratch>,
    pace: Pace,
}

/// Who imports, and how.
struct Importer {
    context: Context,
    maker: Maker,
    creation_ctx: CreationContext,
    is_rehearsal: bool,
    /// Whether owners get the letters that single changes bring about.
    tells_owners: bool,
    new_ids: NewIds,
}

/// When a batch is made ready, by the clock.
struct Moment {
    now: Utc,
    /// What a user shows who is made then and of whom a row says nothing.
    blank: Shown,
}

/// A row that was made ready.
struct Entry {
    line: u64,
    external_id: Option<text::Line>,
    row: Result<Row, Error>,
    /// The keys of the username and login name that it gives.
    names: Vec<String>,
    /// The user that it makes if there is none yet; absent where there was one when the row was read.
    candidate: Option<Result<Candidate, Error>>,
}

/// A user that a row is about to make.
struct Candidate {
    user: User,
    terms: Terms,
    /// What its event tells of it, but for what is not known yet.
    changes: Changes,
    /// The key of its one-time codes.
    totp_key: Option<Key>,
}

type Batch = Arc<Vec<Entry>>;

/// An import by a session or a key ends after so long: what let it in is not to be drawn out without end.
const LONGEST: Duration = Duration::from_secs(60 * 60);
const RUN_OUT: &str = "An import ends after an hour: import the remaining rows by another one.";

impl Importer {
    /// Whether it has taken as long as it may. Nobody's proof is drawn out at the command line.
    fn has_run_out(&self) -> bool {
        self.maker.own_id.is_some() && self.context.services.inner.clock.now() > self.maker.now + LONGEST
    }
}

impl SuperUser {
    /// Begins an import, or a dry run of one, which tells what would happen and changes nothing. `tells_owners`: each
    /// change is told to its owner by letter, as a single one is.
    ///
    /// # Errors
    /// Its event cannot be written.
    pub async fn import_users(self, dry_run: bool, tells_owners: bool, new_ids: NewIds) -> Result<Import> {
        let scratch = if dry_run { Some(Scratch::open()?) } else { None };
        let maker = self.maker();
        let creation_ctx = self.creation_ctx("import");
        let importer = Importer { maker, creation_ctx, context: self.context, is_rehearsal: dry_run, tells_owners, new_ids };
        let summary = Summary { dry_run, ..Summary::default() };
        importer.context.conclude(Ok(())).await?;
        Ok(Import { importer: Arc::new(importer), summary, scratch, pace: Pace::new() })
    }
}

impl Import {
    /// A name for a temporary file, one that no other import has.
    pub fn temporary_name(&self) -> String {
        format!("usher-import-{:032x}", u128::from_be_bytes(self.importer.context.services.inner.entropy.bytes()))
    }

    /// Takes batches of lines from `next`, which is told how many rows there may be in one, until there are none, and hands what became of
    /// each row to `tell`, in order. It stops early where `next` or the database fails, where what let the caller in no longer holds, and
    /// where `tell` answers that nobody listens.
    pub async fn run(
        mut self,
        mut next: impl AsyncFnMut(usize) -> Result<Option<Vec<Line>>>,
        mut tell: impl AsyncFnMut(Vec<RowResult>) -> bool,
    ) -> (Summary, Option<Error>) {
        let importer = Arc::clone(&self.importer);
        let mut upcoming = fetch(&importer, &mut next, self.pace.rows()).await;
        let outcome = loop {
            if importer.has_run_out() {
                break Err(Error::new(Code::RequestTimeout).because("import_too_long").detail(RUN_OUT));
            }
            let batch = match upcoming {
                Ok(Some(batch)) => batch,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let following = pin!(fetch(&importer, &mut next, self.pace.rows()));
            let written = pin!(self.write(&batch));
            // Whichever comes first: results are not kept back while the next lines are waited for.
            let (results, written, following) = match select(written, following).await {
                Either::Left(((results, written), following)) => (results, written, Either::Left(following)),
                Either::Right((upcoming, written)) => {
                    let (results, written) = written.await;
                    (results, written, Either::Right(upcoming))
                }
            };
            // Whom a row made or changed has an event that tells so. Of the others the answer tells who they are.
            let is_told = |result: &&RowResult| !importer.is_rehearsal && result.outcome != RowOutcome::Unchanged;
            let shown: Vec<UserId> = results.iter().filter(|r| !is_told(r)).filter_map(|r| r.user_id).collect();
            if let Err(error) = importer.context.record_shown(Viewer::SuperUser, shown).await {
                break Err(error);
            }
            let is_heard = tell(results).await;
            if let Err(error) = written {
                break Err(error);
            }
            if !is_heard {
                break Err(Error::new(Code::BadRequest).because("client_gone"));
            }
            upcoming = match following {
                Either::Left(following) => following.await,
                Either::Right(upcoming) => upcoming,
            };
        };
        let error = outcome.err();
        self.summary.complete = error.is_none();
        self.summary.error = error.as_ref().map(|error| {
            let code = error.code();
            // Of a failure on this side only the code is told.
            let detail = error.sentence().filter(|_| code.status() < 500).unwrap_or(code.title()).to_owned();
            RowError { pointer: String::new(), code: code.as_str().to_owned(), detail }
        });
        self.log(error.as_ref());
        (self.summary, error)
    }

    fn log(&self, error: Option<&Error>) {
        let Summary { rows, created, updated, unchanged, refused, groups_created, dry_run, complete, .. } = self.summary;
        let (reason, cause) = (error.map(Error::reason), error.and_then(Error::logged_cause));
        let cid = &self.importer.context.call.cid;
        tracing::info!(
            target: "usher::import",
            cid, rows, created, updated, unchanged, refused, groups_created, dry_run, complete, reason, cause,
            "import"
        );
    }

    /// Writes a batch; tells what became of each row, as far as it came.
    async fn write(&mut self, batch: &Batch) -> (Vec<RowResult>, Result<()>) {
        let mut results = Vec::with_capacity(batch.len());
        let whole: std::ops::Range<usize> = 0..batch.len();
        let mut ranges = Vec::from([whole]);
        while let Some(range) = ranges.pop() {
            match self.write_range(batch, range.clone()).await {
                Ok(told) => {
                    told.iter().for_each(|result| self.summary.count(result.outcome));
                    results.extend(told);
                }
                // Someone else took a value between the look and the leap: look again, at halves, down to the row that it hits.
                Err(error) if matches!(error.code(), Code::ValueTaken | Code::Invalid) => match range.len() {
                    0 | 1 => {
                        let told = batch.get(range).unwrap_or_default().iter().map(|entry| entry.refused(&error));
                        let told: Vec<RowResult> = told.collect();
                        told.iter().for_each(|result| self.summary.count(result.outcome));
                        results.extend(told);
                    }
                    length => {
                        let middle = range.start + length / 2;
                        ranges.extend([middle..range.end, range.start..middle]);
                    }
                },
                Err(error) => return (results, Err(error)),
            }
        }
        (results, Ok(()))
    }

    async fn write_range(&mut self, batch: &Batch, range: Range<usize>) -> Result<Vec<RowResult>> {
        let (importer, batch) = (Arc::clone(&self.importer), Arc::clone(batch));
        // By the clock: a proof that has lapsed since the import began counts no longer, and events tell when they were.
        let now = importer.context.services.inner.clock.now();
        let maker = Maker { now, ..importer.maker };
        let work = {
            let (importer, batch) = (Arc::clone(&importer), Arc::clone(&batch));
            let range = range.clone();
            move |tx: &mut Tx<'_>| batch::write(tx, &importer, maker, batch.get(range).unwrap_or_default())
        };
        let began = Instant::now();
        let mut written = importer.context.begun(now).change_many(importer.is_rehearsal, importer.tells_owners, work).await?;
        self.pace.rest(began, written.version, importer.context.services.inner.store.has_waiting()).await;
        if let Some(mut scratch) = self.scratch.take() {
            let claim = move || {
                let entries = batch.get(range).unwrap_or_default();
                let claimed = batch::claim(&mut scratch, entries, &mut written);
                (claimed.map(|()| written), scratch)
            };
            let (claimed, scratch) = tokio::task::spawn_blocking(claim).await.map_err(|_| panicked())?;
            self.scratch = Some(scratch);
            written = claimed?;
        }
        self.summary.groups_created += written.groups_made.len() as u64;
        Ok(written.results)
    }
}

impl Entry {
    /// Reads a line as a row.
    fn read(line: &Line) -> Self {
        let Read { external_id, row } = Read::line(line);
        let patch = row.as_ref().ok().map(|row| &row.patch);
        let username = patch.and_then(|patch| patch.username.as_ref());
        let login_name = patch.and_then(|patch| patch.login_name.as_ref());
        let names = [username, login_name].into_iter().flatten().map(text::Name::key).collect();
        Self { line: line.number, external_id, row, names, candidate: None }
    }

    /// What is told of it if it is refused.
    fn refused(&self, error: &Error) -> RowResult {
        self.told(RowOutcome::Refused, None, errors_of(error))
    }

    fn told(&self, outcome: RowOutcome, user_id: Option<UserId>, errors: Vec<RowError>) -> RowResult {
        RowResult { line: self.line, outcome, user_id, external_id: self.external_id.clone(), errors }
    }
}

impl Importer {
    /// The user that a row makes.
    fn compose(&self, row: &Row, moment: &Moment) -> Result<Candidate> {
        let (maker, inner, now) = (&self.maker, &self.context.services.inner, moment.now);
        let missing = || Error::new(Code::Invalid).at("username", "is missing, and no user has this external_id");
        let username = row.patch.username.clone().ok_or_else(missing)?;
        // In the order of creation, which is not that of the call's one time.
        let user_id = self.new_ids.kept(row).unwrap_or_else(|| UserId::mint(inner.clock.now(), &inner.entropy));
        let mut user = User::fresh(user_id, username, now, self.creation_ctx.clone());
        user.approval_status_mod_by = maker.own_id;
        user.furnish(row.patch.clone());
        let facts = &row.facts;
        if let Some(created_time) = facts.created_time {
            if created_time > now {
                return Err(Error::new(Code::Invalid).at("created_time", "is in the future"));
            }
            user.created_time = created_time;
        }
        user.sign_up_status = facts.sign_up_status.unwrap_or(user.sign_up_status);
        user.is_approval_needed = facts.is_approval_needed.unwrap_or(user.is_approval_needed);
        match facts.approval_status {
            None | Some(ApprovalStatus::Approved) => {}
            Some(ApprovalStatus::Rejected) => user.decide(ApprovalStatus::Rejected, maker.own_id, now),
            // Nobody has decided yet, at no time.
            Some(ApprovalStatus::BeforeDecision | ApprovalStatus::Foreign(_)) => {
                user.approval_status = ApprovalStatus::BeforeDecision;
                (user.approval_status_mod_by, user.approval_status_mod_time) = (None, None);
            }
        }
        if facts.is_locked == Some(true) {
            user.lock(LockCause::Administrator, maker.own_id, facts.lock_reason.clone().flatten(), now);
        }
        // A password may be shorter where a one-time code is asked for as well.
        if row.totp_key.is_some() {
            user.enable_totp();
        }
        if let Some(password) = &row.password {
            inner.policy.check(password, &user, self.creation_ctx.application.as_deref(), "password")?;
        }
        // How long the password behind a hash is, nobody knows: its source has let it be the only factor.
        let password = row.hash.clone().map(|hash| FitPassword { hash, needs_totp: false, life: inner.policy.life });
        Self::candidate(user, password, row.totp_key.clone(), moment)
    }

    /// A user that is complete, with this password.
    fn candidate(mut user: User, password: Option<FitPassword>, totp_key: Option<Key>, moment: &Moment) -> Result<Candidate> {
        if let Some(password) = password {
            let (must_change, expiry) = (user.password_must_change, user.password_expiry);
            user.set_password(password, must_change, expiry, moment.now);
        }
        let terms = Terms::of(&user);
        let account = Account { user, groups: Vec::new(), enrolment: None, as_of: moment.now };
        let broken = |e: serde_json::Error| Error::new(Code::Internal).cause(e.to_string());
        let changes = Changes::of_new(&account.view(Viewer::SuperUser).unwitnessed(), &moment.blank).map_err(broken)?;
        Ok(Candidate { user: account.user, terms, changes, totp_key })
    }
}

/// What the events of new users need not repeat: how an account is that is made at this time, and what every event of the import says.
fn blank(maker: &Maker, now: Utc, creation_ctx: CreationContext) -> Result<Shown> {
    let broken = |cause: String| Error::new(Code::Internal).cause(cause);
    let name = text::Name::try_from("blank".to_owned()).map_err(|e| broken(e.to_string()))?;
    let mut user = User::fresh(UserId::from_bytes([0; 16]), name, now, creation_ctx);
    user.approval_status_mod_by = maker.own_id;
    let account = Account { user, groups: Vec::new(), enrolment: None, as_of: now };
    let shown = Shown::of(&account.view(Viewer::SuperUser).unwitnessed()).map_err(|e| broken(e.to_string()))?;
    Ok(shown.without(&["username", "login_name", "display_name"]))
}

fn panicked() -> Error {
    Error::new(Code::Internal).cause("an import panicked")
}

/// The next batch, made ready.
async fn fetch(
    importer: &Arc<Importer>,
    next: &mut impl AsyncFnMut(usize) -> Result<Option<Vec<Line>>>,
    rows: usize,
) -> Result<Option<Batch>> {
    let Some(lines) = next(rows).await? else { return Ok(None) };
    let read = move || lines.iter().map(Entry::read).collect::<Vec<_>>();
    let mut entries = tokio::task::spawn_blocking(read).await.map_err(|_| panicked())?;
    let ids: Vec<String> = entries.iter().filter_map(|e| e.external_id.clone().map(String::from)).collect();
    let inner = &importer.context.services.inner;
    let look_up =
        move |snapshot: &mut Snapshot<'_>| Ok(snapshot.known_external_ids(&ids.iter().map(String::as_str).collect::<Vec<_>>())?);
    let known = inner.store.search(look_up).await?;
    let by = Arc::clone(importer);
    let now = inner.clock.now();
    let moment = Arc::new(Moment { now, blank: blank(&importer.maker, now, importer.creation_ctx.clone())? });
    let at = Arc::clone(&moment);
    let compose = move || {
        for entry in entries.iter_mut().filter(|e| e.external_id.as_ref().is_none_or(|id| !known.contains(id.as_str()))) {
            entry.candidate = entry.row.as_ref().ok().map(|row| by.compose(row, &at));
        }
        entries
    };
    let entries = tokio::task::spawn_blocking(compose).await.map_err(|_| panicked())?;
    let hashed =
        futures_util::stream::iter(entries).map(|entry| hash_password(importer, entry, &moment)).buffered(HASHED_AT_ONCE);
    Ok(Some(Arc::new(hashed.try_collect().await?)))
}

/// Hashes a password in the clear, if the row makes a user. A dry run has no use for the hash.
async fn hash_password(importer: &Importer, mut entry: Entry, moment: &Moment) -> Result<Entry> {
    let password = entry.row.as_ref().ok().and_then(|row| row.password.clone()).filter(|_| !importer.is_rehearsal);
    if let (Some(password), Some(Ok(candidate))) = (password, &mut entry.candidate) {
        let inner = &importer.context.services.inner;
        let needs_totp = !inner.policy.is_enough_alone(&password);
        let hash = inner.hasher.turn_in_time().await?.hash(password).await?;
        let password = FitPassword { hash, needs_totp, life: inner.policy.life };
        *candidate = Importer::candidate(candidate.user.clone(), Some(password), candidate.totp_key.take(), moment)?;
    }
    Ok(entry)
}
