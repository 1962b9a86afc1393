//! A batch of rows in its transaction.
//!
//! Everything that the rows may collide with is looked up at once and held; then the rows are judged one after the other, each as if those
//! before it had been written. What they make and change is written together at the end, or when a row needs to see it.

use super::{Candidate, Entry, Importer};
use crate::domain::attribute::Viewer;
use crate::domain::audit::{Action, Changes};
use crate::domain::bulk::{Facts, RowOutcome, RowResult};
use crate::domain::group::Group;
use crate::domain::ids::{GroupId, UserId};
use crate::domain::text::{Line, Name};
use crate::domain::user::{Account, ApprovalStatus, GroupRef, LockCause, User};
use crate::error::{Code, Error, Result};
use crate::service::did::Did;
use crate::service::difference::changes_between;
use crate::service::import::row::{Row, errors_of};
use crate::service::users::{Maker, is_last_super_user, stays_super_user};
use crate::store::error::StoreError;
use crate::store::{NewUserRow, Scratch, Tx};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};

/// What became of a batch.
pub(super) struct Written {
    pub(super) results: Vec<RowResult>,
    /// The keys of the names of the groups that were made.
    pub(super) groups_made: Vec<String>,
    /// What SQLite calls the state that the file was in.
    pub(super) version: Option<i64>,
}

/// Why a row goes no further.
enum Halt {
    /// It is refused, and the next one is looked at.
    Refused(Error),
    /// Something failed, and the batch with it.
    Failed(Error),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

fn refuse(code: Code, member: &str, detail: &str) -> Halt {
    Halt::Refused(Error::new(code).at(member, detail))
}

/// A change of a user.
struct Edited {
    before: Account,
    after: Account,
    joins: Vec<GroupId>,
    leaves: Vec<GroupId>,
    forgives: bool,
}

/// Judges and writes the rows of a batch.
struct Clerk<'t, 'c> {
    tx: &'t mut Tx<'c>,
    importer: &'t Importer,
    /// Who imports, at the time of this batch.
    maker: Maker,
    /// Users by external id, as they are after the rows so far.
    accounts: HashMap<String, Account>,
    /// External ids of users that are made but not written.
    unwritten: HashSet<String>,
    /// Who signs in with the names that the rows give, after the rows so far.
    bearers: HashMap<String, UserId>,
    /// Groups by the keys of their names.
    groups: HashMap<String, Group>,
    supervisors: HashSet<UserId>,
    /// What is to be written, each with its row's place in the batch.
    new: Vec<(usize, &'t Candidate, NewUserRow)>,
    edits: Vec<(usize, Edited)>,
    dids: Vec<(usize, Did)>,
    groups_made: Vec<String>,
}

/// Judges and writes the rows of a batch; returns an event for each user that was made or changed, and each group that was made.
pub(super) fn write(tx: &mut Tx<'_>, importer: &Importer, maker: Maker, entries: &[Entry]) -> Result<(Written, Vec<Did>)> {
    let version = tx.version_of_file()?;
    let mut clerk = Clerk::look_up(tx, importer, maker, entries)?;
    let mut results = Vec::with_capacity(entries.len());
    for (at, entry) in entries.iter().enumerate() {
        let judged = match &entry.row {
            Ok(row) => clerk.row(at, entry, row),
            Err(error) => Err(Halt::Refused(error.clone())),
        };
        results.push(match judged {
            Ok((outcome, user_id)) => entry.told(outcome, user_id, Vec::new()),
            Err(Halt::Refused(error)) => entry.refused(&error),
            Err(Halt::Failed(error)) => return Err(error),
        });
    }
    clerk.write()?;
    let Clerk { mut dids, groups_made, .. } = clerk;
    dids.sort_by_key(|(at, _)| *at);
    Ok((Written { results, groups_made, version }, dids.into_iter().map(|(_, did)| did).collect()))
}

impl<'t, 'c> Clerk<'t, 'c> {
    /// Looks up what the rows may collide with. Locks are taken in the order that everyone takes them in: the super-users, groups, users.
    fn look_up(tx: &'t mut Tx<'c>, importer: &'t Importer, maker: Maker, entries: &[Entry]) -> Result<Self> {
        let rows = || entries.iter().filter_map(|entry| entry.row.as_ref().ok());
        let readable = || entries.iter().filter(|entry| entry.row.is_ok());
        let ids: Vec<&str> = readable().filter_map(|entry| entry.external_id.as_ref()).map(Line::as_str).collect();
        let known = tx.read().known_external_ids(&ids)?;
        if !known.is_empty() {
            tx.hold_super_users()?;
        }
        let group_keys: HashSet<String> = rows().flat_map(|row| row.groups.iter().flatten()).map(Name::key).collect();
        let groups = match group_keys.is_empty() {
            true => Vec::new(),
            false => tx.hold_groups_by_name(&group_keys.iter().map(String::as_str).collect::<Vec<_>>())?,
        };
        let accounts = match known.is_empty() {
            true => Vec::new(),
            false => tx.hold_users_by_external_id(&known.iter().map(String::as_str).collect::<Vec<_>>(), maker.now)?,
        };
        let names: Vec<&str> = readable().flat_map(|entry| &entry.names).map(String::as_str).collect();
        let bearers = tx.read().bearers_of_names(&names)?;
        let supervisors: Vec<UserId> = rows().filter_map(|row| row.patch.supervisor_id.flatten()).collect();
        let supervisors = if supervisors.is_empty() { HashSet::new() } else { tx.read().known_users(&supervisors)? };
        let id_of = |account: Account| Some((account.user.external_id.clone()?.into(), account));
        Ok(Self {
            tx,
            importer,
            maker,
            accounts: accounts.into_iter().filter_map(id_of).collect(),
            unwritten: HashSet::new(),
            bearers,
            groups: groups.into_iter().map(|group| (group.name_key.clone(), group)).collect(),
            supervisors,
            new: Vec::new(),
            edits: Vec::new(),
            dids: Vec::new(),
            groups_made: Vec::new(),
        })
    }

    /// Judges one row, as if those before it had been written.
    fn row(&mut self, at: usize, entry: &'t Entry, row: &Row) -> Result<(RowOutcome, Option<UserId>), Halt> {
        let id = entry.external_id.as_ref().map(Line::as_str);
        if id.is_some_and(|id| self.unwritten.contains(id)) {
            self.write().map_err(Halt::Failed)?;
        }
        match id.and_then(|id| self.accounts.get(id)).cloned() {
            Some(account) => self.edit(at, row, account),
            None => self.create(at, entry, row),
        }
    }

    fn create(&mut self, at: usize, entry: &'t Entry, row: &Row) -> Result<(RowOutcome, Option<UserId>), Halt> {
        let gone = || {
            Halt::Refused(Error::new(Code::PreconditionFailed).detail("The user was deleted meanwhile: import the row again."))
        };
        let candidate = entry.candidate.as_ref().ok_or_else(gone)?.as_ref().map_err(|error| Halt::Refused(error.clone()))?;
        let user = &candidate.user;
        self.maker.may(Action::UserCreate, user).map_err(Halt::Refused)?;
        if row.groups.as_ref().is_some_and(|groups| !groups.is_empty()) {
            self.maker.may(Action::MemberAdd, user).map_err(Halt::Refused)?;
        }
        self.check_supervisor(row)?;
        self.claim_names(None, user)?;
        let groups = self.groups_of_row(at, row.groups.as_deref().unwrap_or_default())?;
        let user_id = user.user_id;
        self.new.push((at, candidate, NewUserRow { user: user.clone(), terms: candidate.terms.clone(), groups }));
        self.unwritten.extend(entry.external_id.clone().map(String::from));
        Ok((RowOutcome::Created, (!self.importer.is_rehearsal).then_some(user_id)))
    }

    fn edit(&mut self, at: usize, row: &Row, before: Account) -> Result<(RowOutcome, Option<UserId>), Halt> {
        let (maker, user_id) = (self.maker, before.user.user_id);
        let mut user = before.user.clone();
        row.patch_of_known().apply(&mut user);
        user.settle_keys();
        if user != before.user {
            user.updated_time = maker.now;
        }
        let forgives = self.apply_facts(&row.facts, &mut user)?;
        let wanted = row.groups.as_deref();
        let keys: Option<HashSet<String>> = wanted.map(|names| names.iter().map(Name::key).collect());
        let is_moved = keys.is_some_and(|keys| keys != before.groups.iter().map(|group| group.name.key()).collect());
        if user == before.user && !is_moved {
            return Ok((RowOutcome::Unchanged, Some(user_id)));
        }
        maker.may_make(&before.user, &user).map_err(Halt::Refused)?;
        if is_moved {
            maker.may(Action::MemberAdd, &before.user).map_err(Halt::Refused)?;
        }
        self.check_supervisor(row)?;
        if !stays_super_user(&before.user, &user, maker.now) {
            // Who is left counts after the rows so far.
            self.write().map_err(Halt::Failed)?;
            if is_last_super_user(self.tx, &before.user, maker.own_id, maker.now).map_err(Halt::Failed)? {
                return Err(Halt::Refused(Error::new(Code::LastSuperUser)));
            }
        }
        self.claim_names(Some(&before.user), &user)?;
        let had: Vec<GroupId> = before.groups.iter().map(|group| group.group_id).collect();
        let (mut joins, mut leaves, mut groups) = (Vec::new(), Vec::new(), before.groups.clone());
        if let (Some(wanted), true) = (wanted, is_moved) {
            let has = self.groups_of_row(at, wanted)?;
            joins.extend(has.iter().filter(|id| !had.contains(id)));
            leaves.extend(had.iter().filter(|id| !has.contains(id)));
            groups = self.shown(&has);
        }
        let after = Account { user, groups, ..before.clone() };
        if let Some(id) = &after.user.external_id {
            self.accounts.insert(id.as_str().to_owned(), after.clone());
        }
        self.edits.push((at, Edited { before, after, joins, leaves, forgives }));
        Ok((RowOutcome::Updated, Some(user_id)))
    }

    /// What the facts of a row change about a user who exists: what an operation of its own could change as well. Tells whether the user's
    /// failures are forgiven.
    fn apply_facts(&self, facts: &Facts, user: &mut User) -> Result<bool, Halt> {
        let Facts { created_time, sign_up_status, is_approval_needed, approval_status, is_locked, lock_reason } = facts;
        let maker = &self.maker;
        let is_fixed =
            |member| refuse(Code::Invalid, member, "is another than the user's, and is taken only when the user is made");
        if created_time.is_some_and(|time| time != user.created_time) {
            return Err(is_fixed("created_time"));
        }
        if sign_up_status.is_some_and(|status| status != user.sign_up_status) {
            return Err(is_fixed("sign_up_status"));
        }
        if is_approval_needed.is_some_and(|needed| needed != user.is_approval_needed) {
            return Err(is_fixed("is_approval_needed"));
        }
        match approval_status {
            Some(status) if *status != user.approval_status => match status {
                ApprovalStatus::BeforeDecision | ApprovalStatus::Foreign(_) => return Err(is_fixed("approval_status")),
                ApprovalStatus::Approved | ApprovalStatus::Rejected => {
                    let is_let_in = *status == ApprovalStatus::Approved;
                    let action = if is_let_in { Action::UserApprove } else { Action::UserReject };
                    maker.may(action, user).map_err(Halt::Refused)?;
                    user.decide(*status, maker.own_id, maker.now);
                }
            },
            Some(_) | None => {}
        }
        match (is_locked, user.is_locked) {
            (Some(true), false) if maker.own_id == Some(user.user_id) => Err(Halt::Refused(Error::new(Code::SelfLock))),
            (Some(true), false) => {
                user.lock(LockCause::Administrator, maker.own_id, lock_reason.clone().flatten(), maker.now);
                Ok(false)
            }
            (Some(false), true) => {
                maker.may(Action::UserUnlock, user).map_err(Halt::Refused)?;
                user.unlock();
                Ok(true)
            }
            (Some(true), true) => {
                if let Some(reason) = lock_reason {
                    user.lock_reason.clone_from(reason);
                }
                Ok(false)
            }
            (Some(false) | None, _) => Ok(false),
        }
    }

    fn check_supervisor(&self, row: &Row) -> Result<(), Halt> {
        match row.patch.supervisor_id.flatten() {
            Some(id) if !self.supervisors.contains(&id) => Err(refuse(Code::Invalid, "supervisor_id", "refers to nothing")),
            Some(_) | None => Ok(()),
        }
    }

    /// The names of a user, which must be no one else's; the old ones are free from here on.
    fn claim_names(&mut self, before: Option<&User>, user: &User) -> Result<(), Halt> {
        for (member, key) in [("username", &user.username_key), ("login_name", &user.login_name_key)] {
            if self.bearers.get(key).is_some_and(|bearer| *bearer != user.user_id) {
                return Err(refuse(Code::ValueTaken, member, "is taken"));
            }
        }
        for key in before.iter().flat_map(|before| [&before.username_key, &before.login_name_key]) {
            self.bearers.remove(key);
        }
        for key in [&user.username_key, &user.login_name_key] {
            self.bearers.insert(key.clone(), user.user_id);
        }
        Ok(())
    }

    /// The groups of these names. Those that are missing are made.
    fn groups_of_row(&mut self, at: usize, names: &[Name]) -> Result<Vec<GroupId>, Halt> {
        let mut ids = Vec::with_capacity(names.len());
        for name in names {
            let key = name.key();
            let group_id = match self.groups.get(&key) {
                Some(group) => group.group_id,
                None => self.make_group(at, name.clone(), key)?,
            };
            ids.push(group_id);
        }
        Ok(ids)
    }

    fn make_group(&mut self, at: usize, name: Name, name_key: String) -> Result<GroupId, Halt> {
        let group_id = GroupId::mint(self.maker.now, &self.importer.context.services.inner.entropy);
        let group = self.tx.insert_group(&Group::fresh(group_id, name))?;
        let broken = |e: serde_json::Error| Halt::Failed(Error::new(Code::Internal).cause(e.to_string()));
        let shown = serde_json::to_value(group.view()).map_err(broken)?;
        let did = Did::to(group_id).by_action(Action::GroupCreate).changing(Changes::between(&Value::Null, &shown));
        self.dids.push((at, did));
        self.groups.insert(name_key.clone(), group);
        self.groups_made.push(name_key);
        Ok(group_id)
    }

    /// Groups as their members' accounts show them.
    fn shown(&self, ids: &[GroupId]) -> Vec<GroupRef> {
        let mut groups: Vec<&Group> = self.groups.values().filter(|group| ids.contains(&group.group_id)).collect();
        groups.sort_unstable_by(|a, b| a.name_key.cmp(&b.name_key));
        groups.into_iter().map(|group| GroupRef { group_id: group.group_id, name: group.name.clone() }).collect()
    }

    /// Writes what the rows so far make and change. Changes come first: they may free names that new users bear.
    fn write(&mut self) -> Result<()> {
        let now = self.maker.now;
        for (at, Edited { before, mut after, joins, leaves, forgives }) in std::mem::take(&mut self.edits) {
            let user_id = after.user.user_id;
            let services = &self.importer.context.services;
            after.user.note_address(&before.user, self.maker.own_id, now);
            if before.user != after.user {
                self.tx.save_user(&before.user, &after.user)?;
                services.follow_decision(self.tx, &before.user, &after.user, now)?;
                services.follow_edit(self.tx, &before.user, &after.user, &self.maker)?;
            }
            for group_id in leaves {
                self.tx.remove_member(group_id, user_id)?;
            }
            for group_id in joins {
                self.tx.add_member(group_id, user_id)?;
            }
            if forgives {
                services.inner.lockout.forgive(self.tx, user_id)?;
            }
            let did = Did::to(user_id)
                .by_action(Action::UserUpdate)
                .changing(changes_between(&before, &after)?)
                .showing(user_id, Viewer::SuperUser);
            self.dids.push((at, did));
        }
        let (places, mut rows): (Vec<(usize, &Candidate)>, Vec<NewUserRow>) =
            std::mem::take(&mut self.new).into_iter().map(|(at, candidate, row)| ((at, candidate), row)).unzip();
        self.tx.insert_users(&mut rows)?;
        for ((at, candidate), NewUserRow { user, groups, .. }) in places.into_iter().zip(rows) {
            if let Some(key) = candidate.totp_key.as_ref().filter(|_| !self.importer.is_rehearsal) {
                self.importer.context.keep_totp_key(self.tx, user.user_id, key, None)?;
            }
            let account = Account { groups: self.shown(&groups), user, enrolment: None, as_of: now };
            let broken = |e: serde_json::Error| Error::new(Code::Internal).cause(e.to_string());
            // What is told of the user was put together beforehand; its number and groups are known from here on.
            let mut changes = candidate.changes.with_new("number", &account.user.number).map_err(broken)?;
            if !account.groups.is_empty() {
                changes = changes.with_new("groups", &account.groups).map_err(broken)?;
            }
            let user_id = account.user.user_id;
            let did = Did::to(user_id).by_action(Action::UserCreate).changing(Some(changes)).showing(user_id, Viewer::SuperUser);
            self.dids.push((at, did));
            if let Some(id) = account.user.external_id.clone() {
                self.accounts.insert(id.into(), account);
            }
        }
        self.unwritten.clear();
        Ok(())
    }
}

/// In a dry run nothing is there of what earlier batches would have written: they are asked for what they would have taken, and this
/// one's rows are told accordingly.
pub(super) fn claim(scratch: &mut Scratch, entries: &[Entry], written: &mut Written) -> Result<()> {
    let mut groups_made = Vec::new();
    for key in std::mem::take(&mut written.groups_made) {
        if scratch.take_group(&key)? {
            groups_made.push(key);
        }
    }
    written.groups_made = groups_made;
    for (entry, result) in entries.iter().zip(&mut written.results) {
        if result.outcome != RowOutcome::Created {
            continue;
        }
        let Ok(row) = &entry.row else { continue };
        let (Some(Ok(candidate)), id) = (&entry.candidate, entry.external_id.as_ref().map(Line::as_str)) else { continue };
        // Of an earlier row for the same user only the digest is known.
        let digest = Sha256::digest(format!("{row:?}")).to_vec();
        match id.map(|id| scratch.row_of(id)).transpose()?.flatten() {
            Some(earlier) => {
                result.outcome = if earlier == digest { RowOutcome::Unchanged } else { RowOutcome::Updated };
            }
            None => {
                let user = &candidate.user;
                let names = [("username", &user.username_key), ("login_name", &user.login_name_key)];
                let mut taken = None;
                for (member, key) in names {
                    if taken.is_none() && scratch.is_name_taken(key)? {
                        taken = Some(member);
                    }
                }
                match taken {
                    Some(member) => {
                        result.outcome = RowOutcome::Refused;
                        result.errors = errors_of(&Error::new(Code::ValueTaken).at(member, "is taken by an earlier row"));
                    }
                    None => scratch.take(names.map(|(_, key)| key.as_str()), id, &digest)?,
                }
            }
        }
    }
    Ok(())
}
