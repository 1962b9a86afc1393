//! Linked accounts: making them, linking them to users, and acting through them.
//!
//! Whoever proves one by its password gets the session that is open through it, or a fresh one, as its user; no one-time code is asked
//! for. Attempts are counted by the one lock-out, in a bucket of the account's name, whether or not there is such an account.

use super::caller::{Anyone, Authenticated, SuperUser, user_actor};
use super::context::Context;
use super::did::Did;
use super::difference::with_methods;
use super::lockout::Attempt;
use super::proof::{Places, standing};
use super::sign_in::error_of;
use crate::auth::hashing::Verdict;
use crate::auth::policy::is_oversized;
use crate::domain::attribute::Viewer;
use crate::domain::audit::{Action, Changes};
use crate::domain::ids::{LinkedAccountId, SessionId, UserId};
use crate::domain::linked_account::{LinkedAccount, LinkedAccountView};
use crate::domain::row_mac::RowMac;
use crate::domain::secret::{MacKey, Password, Ust};
use crate::domain::session::AuthMethods;
use crate::domain::standing::{Barred, Factor};
use crate::domain::text::{Name, fold};
use crate::domain::throttle::Bucket;
use crate::domain::user::{CreationContext, User};
use crate::error::{Code, Error, Result};
use crate::store::error::{ROW_ALTERED, unless_altered};
use crate::store::{Snapshot, Tx};
use serde_json::Value;

/// The longest name that is looked up.
const LONGEST_NAME: usize = 512;

fn unknown() -> Error {
    Error::new(Code::NotFound).because("account_unknown")
}

fn record(account: &LinkedAccount) -> Result<Value> {
    serde_json::to_value(account.view()).map_err(|e| Error::new(Code::Internal).cause(e.to_string()))
}

fn difference(before: &LinkedAccount, after: &LinkedAccount) -> Result<Option<Changes>> {
    Ok(Changes::between(&record(before)?, &record(after)?))
}

/// The token of the session that is open through an account: always the same, and known to nobody who has only the database.
fn token_of(key: &MacKey, account_id: LinkedAccountId, session_id: SessionId) -> Ust {
    Ust::derive(key, &[account_id.as_bytes().as_slice(), session_id.as_bytes()].concat())
}

impl Context {
    /// What the bearer of a linked account may go on with, besides what the call is about: it leaves an event of its own.
    ///
    /// # Errors
    /// Those of a sign-in.
    pub async fn through_linked_account(&self, name: &str, password: Password) -> Result<Ust> {
        let aside = self.aside(Action::SignIn);
        let open = async { Anyone::arrive(aside.clone()).await?.open_linked(name, password).await };
        let opened = open.await;
        aside.conclude(opened.as_ref().map(|_| ())).await?;
        opened
    }
}

impl Context {
    /// A wrong password of a linked account: the count stands, and too many switch the account off. Its user's own ways in are another
    /// secret's: they stay open.
    async fn remember_linked_failure(
        &self,
        attempt: Attempt,
        account: Option<LinkedAccount>,
        reason: &'static str,
    ) -> Result<()> {
        let is_exhausted = self.services.inner.lockout.is_exhausted(&attempt);
        let remember = move |tx: &mut Tx<'_>| {
            let did = Did::refused(reason, None);
            let Some(account) = account.filter(|_| is_exhausted) else { return Ok(((), did)) };
            if let Some(user_id) = account.user_id {
                tx.hold_user(user_id)?;
            }
            let before = tx.hold_linked_account(account.account_id)?;
            let Some(before) = before.filter(|held| held.is_active && held.user_id == account.user_id) else {
                return Ok(((), did));
            };
            tx.end_linked_session(&before)?;
            let after = LinkedAccount { is_active: false, session_id: None, ..before.clone() };
            tx.save_linked_account(&after)?;
            Ok(((), did.changing(difference(&before, &after)?)))
        };
        self.change(remember).await
    }
}

/// The bucket of attempts on a linked account.
fn bucket_of(name_key: &str) -> Bucket {
    Bucket::Unknown(format!("linked account\0{name_key}"))
}

impl Anyone {
    async fn open_linked(self, name: &str, password: Password) -> Result<Ust> {
        let Self { context, application, .. } = self;
        let refuse = |reason| Error::new(Code::CredentialsInvalid).because(reason);
        if is_oversized(&password) || name.len() > LONGEST_NAME {
            return Err(refuse("credentials_oversized"));
        }
        let name_key = fold(name);
        let target = bucket_of(&name_key);
        let found = context.services.inner.store.read(move |snapshot| {
            let find = |snapshot: &mut Snapshot<'_>| {
                let Some(account) = snapshot.linked_account_by_name(&name_key)? else { return Ok(None) };
                let user = account.user_id.map(|user_id| snapshot.user(user_id)).transpose()?.flatten();
                Ok(Some((account, user)))
            };
            Ok(unless_altered(find(snapshot))?)
        });
        let (found, is_altered) = found.await?;
        // An account that opens nothing is verified like any other: what it is is told by nothing.
        let stored = found.as_ref().map(|(account, _)| account.password_hash.clone());
        let (verdict, attempt) = context.try_hash(&target, stored, password).await?;
        if verdict == Verdict::Wrong {
            let reason = match &found {
                _ if is_altered => ROW_ALTERED,
                Some(_) => "password_wrong",
                None => "account_unknown",
            };
            context.remember_linked_failure(attempt, found.map(|(account, _)| account), reason).await?;
            return Err(refuse(reason));
        }
        let lockout = context.services.inner.lockout.clone();
        context.services.inner.store.keep_count(move |tx| Ok(lockout.clear(tx, &attempt)?)).await?;
        let Some((account, Some(user))) = found else { return Err(refuse("account_unlinked")) };
        context.trail.set_subject(user.user_id);
        if !account.is_active {
            return Err(refuse("linked_account_inactive"));
        }
        let (keeper, places, now) = (context.clone(), Places::of(&context), context.now());
        let open = move |tx: &mut Tx<'_>| {
            let gone = || Error::new(Code::CredentialsInvalid).because("account_unknown");
            let user = tx.hold_user(user.user_id)?.ok_or_else(gone)?;
            let held = tx.hold_linked_account(account.account_id)?.ok_or_else(gone)?;
            if (&held.user_id, &held.password_hash, held.is_active) != (&account.user_id, &account.password_hash, true) {
                return Err(gone());
            }
            // It has no second factor to show: where one is demanded of its user it opens nothing (S6).
            let standing = standing(&mut tx.read(), &user, &application, places, Factor::Missing, now)?;
            standing.map_err(|barred| match barred {
                Barred::SecondFactorMissing => Error::new(Code::CredentialsInvalid).because(barred.as_str()),
                other => error_of(other),
            })?;
            let inner = &keeper.services.inner;
            let live = held.session_id.map(|id| tx.read().session_with_user(id)).transpose()?.flatten();
            let live = live.filter(|opened| {
                let is_known = token_of(&inner.keys.linked, held.account_id, opened.session.session_id).hash();
                let is_ours = opened.application.application_id == application.application_id;
                is_ours && !opened.session.is_expired(now) && is_known.matches(&opened.session.token_hash)
            });
            let (session_id, changes) = match live {
                Some(opened) => {
                    if let Some(moved) = opened.session.renewal(now, inner.idle) {
                        tx.renew_session(opened.session.session_id, moved, now)?;
                    }
                    (opened.session.session_id, None)
                }
                None => {
                    tx.end_linked_session(&held)?;
                    let (_, mut session) = keeper.new_session(user.user_id, &application, AuthMethods::LINKED);
                    session.token_hash = token_of(&inner.keys.linked, held.account_id, session.session_id).hash();
                    tx.insert_session(&session)?;
                    tx.save_linked_account(&LinkedAccount { session_id: Some(session.session_id), ..held })?;
                    (session.session_id, with_methods(None, &session.auth_methods)?)
                }
            };
            let did = Did::to(user.user_id).by(user_actor(&user, session_id)).changing(changes);
            Ok((token_of(&inner.keys.linked, account.account_id, session_id), did))
        };
        context.change(open).await
    }
}

impl Authenticated {
    /// The accounts that act as the caller or, for a super-user who names a user, as that one.
    ///
    /// # Errors
    /// [`Code::Forbidden`] for a name, unless the caller is a super-user; [`Code::NotFound`].
    pub async fn linked_accounts_of(self, named: Option<UserId>) -> Result<Vec<LinkedAccountView>> {
        let user_id = named.unwrap_or(self.user_id());
        self.context.trail.set_subject(user_id);
        let context = self.context.clone();
        context.trail.shows(user_id, self.viewer_of(user_id));
        if named.is_some() {
            self.rise()?.user(user_id).await?;
        }
        let list = move |snapshot: &mut Snapshot<'_>| Ok(snapshot.linked_accounts(Some(user_id))?);
        Ok(context.services.inner.store.read(list).await?.iter().map(LinkedAccount::view).collect())
    }
}

impl SuperUser {
    /// Makes an account, linked to a user or to nobody yet.
    ///
    /// # Errors
    /// [`Code::Invalid`] for a name with a colon, [`Code::ValueTaken`], [`Code::PasswordUnfit`], [`Code::NotFound`].
    pub async fn create_linked_account(
        self,
        name: Name,
        password: Password,
        user_id: Option<UserId>,
    ) -> Result<LinkedAccountView> {
        if name.as_str().contains(':') {
            return Err(Error::new(Code::Invalid).at("name", "has a colon, which HTTP Basic cannot carry"));
        }
        self.expect_proof(user_id)?;
        let context = self.context.clone();
        let now = context.now();
        let nobody = CreationContext { via: String::new(), by: None, application: None, remote_addr: None, cid: None };
        let mut judged = match user_id {
            Some(user_id) => self.user(user_id).await?.user,
            None => User::fresh(UserId::from_bytes([0; 16]), name.clone(), now, nobody),
        };
        // It is the only factor, whatever its user has.
        judged.is_totp_enabled = false;
        let password = context.fit_password(password, &judged, Some(name.as_str()), "password").await?;
        let account = LinkedAccount {
            account_id: LinkedAccountId::mint(now, &context.services.inner.entropy),
            name_key: name.key(),
            name,
            password_hash: password.hash,
            is_active: true,
            user_id,
            linked_time: user_id.map(|_| now),
            session_id: None,
            created_time: now,
            mac: RowMac::default(),
        };
        let lockout = context.services.inner.lockout.clone();
        let create = move |tx: &mut Tx<'_>| {
            if let Some(user_id) = user_id {
                tx.hold_user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
            }
            tx.insert_linked_account(&account)?;
            // What was guessed when another one had this name does not switch it off.
            lockout.reset(tx, &bucket_of(&account.name_key))?;
            let did = Did::to(account.account_id).changing(Changes::between(&Value::Null, &record(&account)?));
            let did = match user_id {
                Some(user_id) => did.showing(user_id, Viewer::SuperUser),
                None => did,
            };
            Ok((account.view(), did))
        };
        context.change(create).await
    }

    /// All accounts by name.
    ///
    /// # Errors
    /// The database fails.
    pub async fn linked_accounts(&self) -> Result<Vec<LinkedAccountView>> {
        let list = |snapshot: &mut Snapshot<'_>| Ok(snapshot.linked_accounts(None)?);
        let found = self.context.services.inner.store.read(list).await?;
        let users = found.iter().filter_map(|account| account.user_id);
        users.for_each(|user_id| self.context.trail.shows(user_id, Viewer::SuperUser));
        Ok(found.iter().map(LinkedAccount::view).collect())
    }

    async fn linked_account(&self, name: &str) -> Result<LinkedAccount> {
        let key = fold(name);
        let find = move |snapshot: &mut Snapshot<'_>| Ok(snapshot.linked_account_by_name(&key)?);
        self.context.services.inner.store.read(find).await?.ok_or_else(unknown)
    }

    /// Has an account act as a user from now on.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::FreshSignInRequired`]; [`Code::ValueTaken`] if it acts as someone already.
    pub async fn link_account(self, user_id: UserId, name: &str, is_active: bool) -> Result<LinkedAccountView> {
        self.context.trail.set_subject(user_id);
        self.expect_proof(Some(user_id))?;
        let account_id = self.linked_account(name).await?.account_id;
        let (now, lockout) = (self.context.now(), self.context.services.inner.lockout.clone());
        let link = move |tx: &mut Tx<'_>| {
            tx.hold_user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
            let before = tx.hold_linked_account(account_id)?.ok_or_else(unknown)?;
            if before.user_id.is_some() {
                return Err(Error::new(Code::ValueTaken).because("account_linked").at("auth_username", "is linked to a user"));
            }
            let after = LinkedAccount { user_id: Some(user_id), linked_time: Some(now), is_active, ..before.clone() };
            tx.save_linked_account(&after)?;
            // What was guessed before does not switch it off again.
            lockout.reset(tx, &bucket_of(&after.name_key))?;
            let did = Did::to(user_id).changing(difference(&before, &after)?).showing(user_id, Viewer::SuperUser);
            Ok((after.view(), did))
        };
        self.context.change(link).await
    }

    /// Has an account act as this user no more; the session that is open through it ends.
    ///
    /// # Errors
    /// [`Code::NotFound`] if it does not.
    pub async fn unlink_account(self, user_id: UserId, name: &str) -> Result<()> {
        self.context.trail.set_subject(user_id);
        let account_id = self.linked_account(name).await?.account_id;
        let unlink = move |tx: &mut Tx<'_>| {
            tx.hold_user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
            let before = tx.hold_linked_account(account_id)?.filter(|a| a.user_id == Some(user_id)).ok_or_else(unknown)?;
            tx.end_linked_session(&before)?;
            let after = LinkedAccount { user_id: None, linked_time: None, session_id: None, ..before.clone() };
            tx.save_linked_account(&after)?;
            Ok(((), Did::to(user_id).changing(difference(&before, &after)?)))
        };
        self.context.change(unlink).await
    }

    /// Removes an account; the session that is open through it ends.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn delete_linked_account(self, name: &str) -> Result<()> {
        let found = self.linked_account(name).await?;
        let delete = move |tx: &mut Tx<'_>| {
            if let Some(user_id) = found.user_id {
                tx.hold_user(user_id)?;
            }
            let account = tx.hold_linked_account(found.account_id)?.ok_or_else(unknown)?;
            tx.end_linked_session(&account)?;
            tx.delete_linked_account(account.account_id)?;
            Ok(((), Did::to(account.account_id).changing(Changes::between(&record(&account)?, &Value::Null))))
        };
        self.context.change(delete).await
    }
}
