//! Second factors: enrolling one-time codes, switching them off, recovery codes; and the one place where a second factor is verified,
//! whichever way in asks for it.
//!
//! A way in counts an attempt first (S8, S9), then has [`Context::examine_second_factor`] look at what was sent, and in the transaction in
//! which something comes of it calls [`Proof::redeem`], which uses it up: that is what makes a code good for one of many parallel calls,
//! on whichever nodes (S12). Where no password is verified in the same call, [`Context::prove_second_factor`] does the counting as well.
//!
//! "Used" and "wrong" are one answer, [`Code::TotpInvalid`] (S14); the trail knows better.

use super::caller::{SignedIn, SuperUser};
use super::context::Context;
use super::did::Did;
use super::difference::{CodesLeft, changes_with_codes};
use super::lockout::{Attempt, Lockout};
use super::sign_in::take_back;
use crate::auth::totp::{self, Factor, Key, Verdict};
use crate::domain::attribute::Viewer;
use crate::domain::audit::Action;
use crate::domain::credential::{ENROLMENT, TotpCredential};
use crate::domain::ids::{SessionId, TotpId, UserId};
use crate::domain::letter::LetterKind;
use crate::domain::row_mac::RowMac;
use crate::domain::secret::{SentCode, TokenHash, TotpKey};
use crate::domain::text::Line;
use crate::domain::throttle::Bucket;
use crate::domain::time::Utc;
use crate::domain::user::{Account, User};
use crate::error::{Code, Error, Result};
use crate::store::Tx;
use crate::store::error::{ROW_ALTERED, StoreError};
use zeroize::Zeroizing;

pub use crate::auth::recovery_code::RecoveryCode;

/// A second factor that was found right, and is to be redeemed.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    /// The account asks for none.
    NotAsked,
    /// A one-time code.
    Totp { credential_id: TotpId, step: i64, may_be_used: bool },
    /// A recovery code.
    Recovery(TokenHash),
}

impl Proof {
    /// Uses it up, for `user` as it is held in this transaction; tells what it leaves of recovery codes.
    pub(super) fn redeem(&self, tx: &mut Tx<'_>, user: &User) -> Result<CodesLeft> {
        match self {
            // What was read before may have been enabled meanwhile.
            Self::NotAsked if user.is_totp_enabled => Err(Error::new(Code::TotpRequired)),
            Self::NotAsked => Ok(CodesLeft::default()),
            Self::Totp { credential_id, step, may_be_used } => {
                let is_first = tx.use_totp_step(*credential_id, *step)?;
                if is_first || *may_be_used { Ok(CodesLeft::default()) } else { Err(wrong_code("totp_used")) }
            }
            Self::Recovery(hash) => {
                let before = tx.read().count_recovery_codes(user.user_id)?;
                let is_first = tx.use_recovery_code(user.user_id, hash).map_err(or_wrong)?;
                if is_first { Ok(CodesLeft { before, after: before - 1 }) } else { Err(wrong_code("recovery_code_wrong")) }
            }
        }
    }
}

/// A second factor that was found right in an attempt of its own.
pub(super) struct Proven {
    proof: Proof,
    attempt: Option<Attempt>,
}

impl Proven {
    /// Uses the factor up, and takes the attempt back, which was no guess.
    pub(super) fn redeem(&self, tx: &mut Tx<'_>, lockout: &Lockout, user: &User) -> Result<CodesLeft> {
        let codes = self.proof.redeem(tx, user)?;
        if let Some(attempt) = &self.attempt {
            take_back(tx, lockout, user.user_id, attempt)?;
        }
        Ok(codes)
    }
}

/// A factor whose row somebody altered is a wrong one.
fn or_wrong(error: StoreError) -> Error {
    match error {
        StoreError::Altered(_) => wrong_code(ROW_ALTERED),
        other => other.into(),
    }
}

pub(super) fn wrong_code(reason: &'static str) -> Error {
    Error::new(Code::TotpInvalid).because(reason)
}

impl Context {
    /// Looks at what was sent as the second factor of `user`, within an attempt that the caller has counted and settles.
    ///
    /// # Errors
    /// [`Code::TotpRequired`] if nothing was sent; [`Code::TotpInvalid`], which was a guess.
    pub(super) async fn examine_second_factor(&self, user: &User, sent: Option<&SentCode>) -> Result<Proof> {
        if !user.is_totp_enabled {
            return Ok(Proof::NotAsked);
        }
        let sent = sent.filter(|sent| !sent.expose().trim().is_empty()).ok_or_else(|| Error::new(Code::TotpRequired))?;
        match Factor::parse(sent) {
            Some(Factor::Code(code)) => {
                let found = self.totp_credential(user.user_id).await?.filter(|(credential, _)| credential.session_id.is_none());
                // An account that is marked to have a key and has none stays shut.
                let (credential, key) = found.ok_or_else(|| wrong_code("totp_wrong"))?;
                let may_be_used = self.leniency.switches.totp_code_reuse;
                let step = judged(&key, &code, self.now(), credential.last_step.filter(|_| !may_be_used))?;
                Ok(Proof::Totp { credential_id: credential.credential_id, step, may_be_used })
            }
            Some(Factor::Recovery(code)) => {
                let (user_id, hash) = (user.user_id, code.hash());
                let known = hash.clone();
                let is_known =
                    self.services.inner.store.read(move |snapshot| snapshot.has_recovery_code(user_id, &known).map_err(or_wrong));
                if is_known.await? { Ok(Proof::Recovery(hash)) } else { Err(wrong_code("recovery_code_wrong")) }
            }
            None => Err(wrong_code("totp_wrong")),
        }
    }

    /// Counts an attempt on the account of `user`, and looks at what was sent as its second factor. An account without one is asked for
    /// none, and nothing is counted.
    ///
    /// # Errors
    /// [`Code::TooManyAttempts`], and those of [`Context::examine_second_factor`].
    pub(super) async fn prove_second_factor(&self, user: &User, sent: Option<&SentCode>) -> Result<Proven> {
        if !user.is_totp_enabled {
            return Ok(Proven { proof: Proof::NotAsked, attempt: None });
        }
        let (proof, attempt) = self.guess(user.user_id, self.examine_second_factor(user, sent)).await?;
        Ok(Proven { proof, attempt: Some(attempt) })
    }

    /// Asks for the second factor of `user`, where there is one, for what needs it in the very call however recent the sign-in is: whoever
    /// stole a session must not make a credential of it (S49). It is used up, whatever comes of the call.
    ///
    /// # Errors
    /// Those of [`Context::prove_second_factor`].
    pub(super) async fn demand_second_factor(&self, user: &User, sent: Option<&SentCode>) -> Result<()> {
        if !user.is_totp_enabled {
            return Ok(());
        }
        let proven = self.prove_second_factor(user, sent).await?;
        let (user_id, lockout) = (user.user_id, self.services.inner.lockout.clone());
        let redeem = move |tx: &mut Tx<'_>| {
            let user = tx.hold_user(user_id)?.ok_or_else(|| Error::new(Code::SessionInvalid).because("session_unknown"))?;
            proven.redeem(tx, &lockout, &user).map(drop)
        };
        self.services.inner.store.keep_count(redeem).await
    }

    /// Counts an attempt on an account, then has `examine` say whether it was right.
    async fn guess<T>(&self, user_id: UserId, examine: impl Future<Output = Result<T>>) -> Result<(T, Attempt)> {
        let target = Bucket::of_attempts(Some(user_id), self.known_device(user_id), "");
        let place = self.services.inner.lockout.line_up(&target).await?;
        let attempt = self.count_attempt(&target, place, Some(user_id)).await?;
        match examine.await {
            Ok(found) => Ok((found, attempt)),
            Err(error) => {
                self.settle(attempt, user_id, &error).await?;
                Err(error)
            }
        }
    }

    /// The key of a user's one-time codes, confirmed or not.
    async fn totp_credential(&self, user_id: UserId) -> Result<Option<(TotpCredential, Key)>> {
        let vault = self.services.inner.vault.clone();
        let read = move |snapshot: &mut crate::store::Snapshot<'_>| {
            let found = snapshot.totp_credential(user_id).map_err(or_wrong)?;
            let Some((credential, wrapped)) = found else { return Ok(None) };
            let seat = TotpCredential::seat(user_id, credential.credential_id);
            let key = vault.open_with(&wrapped, seat, &credential.sealed)?;
            Ok(Some((credential, Key::from_bytes(&key))))
        };
        self.services.inner.store.read(read).await
    }

    /// The account as its owner sees it through a session: with the key of the enrolment that this session has begun. Through an API key
    /// none is seen.
    pub(super) async fn with_enrolment(
        &self,
        mut account: Account,
        viewer: Viewer,
        session_id: Option<SessionId>,
    ) -> Result<Account> {
        if let (Viewer::Owner, Some(session_id)) = (viewer, session_id) {
            account.enrolment = self.enrolment_of(&account.user, session_id).await?.map(|(_, key)| key.in_base32());
        }
        Ok(account)
    }

    /// The enrolment that this session has begun for `user` and can still confirm.
    async fn enrolment_of(&self, user: &User, session_id: SessionId) -> Result<Option<(TotpCredential, Key)>> {
        let is_open = !user.is_totp_enabled && user.totp_enrolment_end.is_some_and(|end| self.now() < end);
        if !is_open {
            return Ok(None);
        }
        let found = self.totp_credential(user.user_id).await?;
        Ok(found.filter(|(credential, _)| credential.session_id == Some(session_id)))
    }

    /// Encrypts a key and gives it to a user, within the user's transaction. Without a session it is confirmed.
    pub(super) fn keep_totp_key(
        &self,
        tx: &mut Tx<'_>,
        user_id: UserId,
        key: &Key,
        session_id: Option<SessionId>,
    ) -> Result<TotpId> {
        let (inner, now) = (&self.services.inner, self.now());
        let credential_id = TotpId::mint(now, &inner.entropy);
        let (sealed, data_key_id) = inner.vault.seal(tx, TotpCredential::seat(user_id, credential_id), key.expose(), now)?;
        let credential =
            TotpCredential { credential_id, user_id, session_id, sealed, data_key_id, last_step: None, mac: RowMac::default() };
        tx.replace_totp_credential(&credential)?;
        Ok(credential_id)
    }
}

pub(super) fn judged(key: &Key, code: &totp::Code, now: Utc, last_step: Option<i64>) -> Result<i64> {
    match key.judge(code, now, last_step) {
        Verdict::Right(step) => Ok(step),
        Verdict::Used => Err(wrong_code("totp_used")),
        Verdict::Wrong => Err(wrong_code("totp_wrong")),
    }
}

/// What is told of an enrolment: the one time that its key leaves the service, but for the owner's view until it is confirmed.
#[derive(Debug)]
pub struct Enrolment {
    /// The key, to be typed.
    pub key: TotpKey,
    /// The same as a URI, with its label and issuer.
    pub uri: Zeroizing<String>,
    /// The same as a picture, in SVG.
    pub picture: Zeroizing<String>,
    /// Until when it can be confirmed.
    pub end: Utc,
}

impl Enrolment {
    /// What is told of a key that is offered to a user.
    pub(super) fn of(key: &Key, user: &User, label: Option<&Line>, issuer: &str, end: Utc) -> Result<Self> {
        let label = label.map(|label| label.as_str()).filter(|label| !label.trim().is_empty());
        let too_long = || Error::new(Code::Internal).cause("a key has no picture");
        let uri = key.uri(issuer, label.unwrap_or(user.username.as_str())).ok_or_else(too_long)?;
        let picture = totp::picture(&uri).map(Zeroizing::new).ok_or_else(too_long)?;
        Ok(Self { key: key.in_base32(), uri, picture, end })
    }
}

impl SignedIn {
    /// Begins to enrol one-time codes, in place of an enrolment that was not confirmed.
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`]; [`Code::TotpEnabled`] if they are enabled.
    pub async fn enrol_totp(self) -> Result<Enrolment> {
        self.enrol_totp_with(None, None).await
    }

    /// The same with a key that is brought along, or under another label. It opens nothing before a code of it confirms it.
    ///
    /// # Errors
    /// Those of [`SignedIn::enrol_totp`].
    pub async fn enrol_totp_with(self, key: Option<Key>, label: Option<Line>) -> Result<Enrolment> {
        let (user_id, session_id) = (self.user_id(), self.opened.session.session_id);
        let context = self.context.clone();
        context.trail.set_subject(user_id);
        self.expect_proof()?;
        let (inner, end) = (&context.services.inner, context.now() + ENROLMENT);
        let user = &self.opened.user;
        let set_label = label.or_else(|| user.totp_label.clone());
        let key = key.unwrap_or_else(|| Key::mint(&inner.entropy));
        let enrolment = Enrolment::of(&key, user, set_label.as_ref(), &inner.issuer, end)?;
        let keeper = context.clone();
        let enrol = move |tx: &mut Tx<'_>| {
            let before = hold(tx, user_id, session_id)?;
            if before.is_totp_enabled {
                return Err(Error::new(Code::TotpEnabled));
            }
            keeper.keep_totp_key(tx, user_id, &key, Some(session_id))?;
            let mut after = before.clone();
            after.totp_enrolment_end = Some(end);
            after.totp_label = set_label;
            tx.save_user(&before, &after)?;
            Ok(((), Did::to(user_id)))
        };
        context.change(enrol).await?;
        Ok(enrolment)
    }

    /// Confirms by a code of the new key that the authenticator has it: from now on sign-in asks for one. All other sessions end. Returns
    /// the first recovery codes.
    ///
    /// # Errors
    /// [`Code::TotpInvalid`], [`Code::TooManyAttempts`]; [`Code::TotpEnabled`], or [`Code::TotpNotEnabled`] if this session has begun no
    /// enrolment or it has expired.
    pub async fn confirm_totp(self, sent: &SentCode) -> Result<Vec<RecoveryCode>> {
        let (user_id, session_id) = (self.user_id(), self.opened.session.session_id);
        let methods = self.opened.session.auth_methods.with_code();
        let (context, user) = (self.context, self.opened.user);
        context.trail.set_subject(user_id);
        context.trail.set_action(Action::TotpConfirm);
        if user.is_totp_enabled {
            return Err(Error::new(Code::TotpEnabled));
        }
        let gone = || {
            let detail = "There is no enrolment to confirm, or it has expired: begin one.";
            Error::new(Code::TotpNotEnabled).because("enrolment_unknown").detail(detail)
        };
        let (credential, key) = context.enrolment_of(&user, session_id).await?.ok_or_else(gone)?;
        let code = totp::Code::parse(sent.expose());
        let judge = async {
            let code = code.as_ref().ok_or_else(|| wrong_code("totp_wrong"))?;
            judged(&key, code, context.now(), credential.last_step)
        };
        let (step, attempt) = context.guess(user_id, judge).await?;
        let codes = RecoveryCode::mint_all(&context.services.inner.entropy);
        let (hashes, now) = (hashes(&codes), context.now());
        let lockout = context.services.inner.lockout.clone();
        let confirm = move |tx: &mut Tx<'_>| {
            let before = hold(tx, user_id, session_id)?;
            if before.is_totp_enabled || !tx.confirm_totp(credential.credential_id, session_id, step)? {
                return Err(gone());
            }
            let mut after = before.clone();
            after.enable_totp();
            tx.save_user(&before, &after)?;
            tx.replace_recovery_codes(user_id, &hashes)?;
            tx.end_other_sessions(user_id, session_id)?;
            // It has shown a code: what asks for one is open to it.
            tx.set_auth_methods(session_id, &methods)?;
            take_back(tx, &lockout, user_id, &attempt)?;
            let codes = CodesLeft { before: 0, after: tx.read().count_recovery_codes(user_id)? };
            let changes = changes_with_codes(tx, &before, &after, now, codes)?;
            Ok(((), Did::to(user_id).changing(changes)))
        };
        context.change(confirm).await?;
        Ok(codes)
    }

    /// Switches one-time codes off, by a code or a recovery code. All other sessions end.
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`], [`Code::TotpInvalid`], [`Code::TooManyAttempts`], [`Code::TotpNotEnabled`];
    /// [`Code::PasswordNeedsTotp`] if the password is too short to be the only factor.
    pub async fn disable_totp(self, sent: &SentCode) -> Result<()> {
        self.context.trail.set_action(Action::TotpDisable);
        let (user_id, session_id) = (self.user_id(), self.opened.session.session_id);
        self.context.trail.set_subject(user_id);
        self.expect_proof()?;
        let (context, user) = (self.context, self.opened.user);
        may_disable(&user)?;
        let proven = context.prove_second_factor(&user, Some(sent)).await?;
        let (now, lockout) = (context.now(), context.services.inner.lockout.clone());
        let disable = move |tx: &mut Tx<'_>| {
            let before = hold(tx, user_id, session_id)?;
            may_disable(&before)?;
            let codes = CodesLeft { before: tx.read().count_recovery_codes(user_id)?, after: 0 };
            proven.redeem(tx, &lockout, &before)?;
            let after = disabled(tx, &before)?;
            tx.end_other_sessions(user_id, session_id)?;
            let changes = changes_with_codes(tx, &before, &after, now, codes)?;
            Ok(((), Did::to(user_id).changing(changes)))
        };
        context.change(disable).await
    }

    /// Makes ten new recovery codes, by a code or a recovery code; those before end, and so do all other sessions.
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`], [`Code::TotpInvalid`], [`Code::TooManyAttempts`], [`Code::TotpNotEnabled`].
    pub async fn renew_recovery_codes(self, sent: &SentCode) -> Result<Vec<RecoveryCode>> {
        let (user_id, session_id) = (self.user_id(), self.opened.session.session_id);
        self.context.trail.set_subject(user_id);
        self.expect_proof()?;
        if !self.opened.user.is_totp_enabled {
            return Err(Error::new(Code::TotpNotEnabled));
        }
        let proven = self.context.prove_second_factor(&self.opened.user, Some(sent)).await?;
        let codes = RecoveryCode::mint_all(&self.context.services.inner.entropy);
        let (hashes, now) = (hashes(&codes), self.context.now());
        let lockout = self.context.services.inner.lockout.clone();
        let renew = move |tx: &mut Tx<'_>| {
            let user = hold(tx, user_id, session_id)?;
            if !user.is_totp_enabled {
                return Err(Error::new(Code::TotpNotEnabled));
            }
            let before = tx.read().count_recovery_codes(user_id)?;
            proven.redeem(tx, &lockout, &user)?;
            tx.replace_recovery_codes(user_id, &hashes)?;
            tx.end_other_sessions(user_id, session_id)?;
            let codes = CodesLeft { before, after: tx.read().count_recovery_codes(user_id)? };
            let changes = changes_with_codes(tx, &user, &user, now, codes)?;
            Ok(((), Did::to(user_id).changing(changes)))
        };
        self.context.change(renew).await?;
        Ok(codes)
    }
}

/// A key that was brought along.
fn key_of(text: &TotpKey) -> Result<Key> {
    Key::from_base32(text.expose()).map_err(|flaw| Error::new(Code::Invalid).at("totp_key", flaw))
}

impl SuperUser {
    /// A key for an account to be created: the one that was brought along, or a fresh one.
    ///
    /// # Errors
    /// [`Code::Invalid`] at `totp_key`.
    pub fn key_for_new_user(&self, brought: Option<&TotpKey>) -> Result<Key> {
        brought.map_or_else(|| Ok(Key::mint(&self.context.services.inner.entropy)), key_of)
    }
}

impl Context {
    /// Replaces the key of someone's one-time codes without any proof; whether codes are asked for stays as it is.
    async fn replace_key(&self, user_id: UserId, key: Option<Key>, label: Option<Line>) -> Result<TotpKey> {
        self.trail.set_subject(user_id);
        let now = self.now();
        let key = key.unwrap_or_else(|| Key::mint(&self.services.inner.entropy));
        let told = key.in_base32();
        let keeper = self.clone();
        let replace = move |tx: &mut Tx<'_>| {
            let before = tx.hold_user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
            let codes = CodesLeft { before: tx.read().count_recovery_codes(user_id)?, after: 0 };
            give_key(&keeper, tx, user_id, &key)?;
            let mut after = before.clone();
            after.totp_label = label;
            after.totp_enrolment_end = None;
            tx.save_user(&before, &after)?;
            keeper.services.tell_owner(tx, &after, LetterKind::FactorsReset, now)?;
            Ok(((), Did::to(user_id).changing(changes_with_codes(tx, &before, &after, now, codes)?)))
        };
        self.change(replace).await?;
        Ok(told)
    }
}

impl SignedIn {
    /// Takes a key for one's own one-time codes, brought along or made here, by one call without a proof, as older systems have it: where
    /// the call's leniency says so it takes the place of the one so far; otherwise it is an enrolment, which a code has to confirm.
    ///
    /// # Errors
    /// Those of [`SignedIn::enrol_totp`], for an enrolment.
    pub async fn take_totp_key(self, key: Option<TotpKey>, label: Option<Line>) -> Result<TotpKey> {
        self.context.trail.set_action(Action::TotpReplace);
        let key = key.map(|key| key_of(&key)).transpose()?;
        if self.context.leniency.is_totp_changed_without_code() {
            return self.context.replace_key(self.user_id(), key, label).await;
        }
        Ok(self.enrol_totp_with(key, label).await?.key)
    }
}

impl SuperUser {
    /// Gives someone a key for one-time codes, where the call's leniency says so: natively nobody comes to know another's.
    ///
    /// # Errors
    /// [`Code::Forbidden`] without that leniency; [`Code::NotFound`].
    pub async fn give_totp_key(self, user_id: UserId, key: Option<TotpKey>, label: Option<Line>) -> Result<TotpKey> {
        let key = key.map(|key| key_of(&key)).transpose()?;
        self.context.trail.set_subject(user_id);
        if !self.context.leniency.is_totp_changed_without_code() {
            return Err(Error::new(Code::Forbidden).because("others_factor"));
        }
        self.context.replace_key(user_id, key, label).await
    }
}

impl SuperUser {
    /// Takes a user's second factor away, be it lost: the key, an enrolment, and the recovery codes. The user's sessions end, and a
    /// password that is too short to be the only factor must be changed.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::FreshSignInRequired`]; [`Code::Forbidden`] for one's own.
    pub async fn reset_totp(self, user_id: UserId) -> Result<Account> {
        self.context.trail.set_action(Action::TotpReset);
        self.context.trail.set_subject(user_id);
        // One's own is switched off by proving it: a stolen session must not become the account.
        if self.own_id() == Some(user_id) {
            let detail = "One's own is switched off with a code.";
            return Err(Error::new(Code::Forbidden).because("own_factor").detail(detail));
        }
        self.expect_proof(Some(user_id))?;
        let now = self.context.now();
        let reset = move |tx: &mut Tx<'_>| {
            let before = tx.hold_user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
            let codes = CodesLeft { before: tx.read().count_recovery_codes(user_id)?, after: 0 };
            let after = disabled(tx, &before)?;
            if before.is_totp_enabled {
                tx.end_sessions(user_id)?;
            }
            let changes = changes_with_codes(tx, &before, &after, now, codes)?;
            Ok((tx.read().account(after, now)?, Did::to(user_id).changing(changes)))
        };
        self.context.change(reset).await
    }
}

/// Gives a user who is held a confirmed key, in place of any other.
pub(super) fn give_key(keeper: &Context, tx: &mut Tx<'_>, user_id: UserId, key: &Key) -> Result<()> {
    // The step of the last code goes with the old key; recovery codes were for it as well.
    tx.remove_second_factor(user_id)?;
    keeper.keep_totp_key(tx, user_id, key, None).map(drop)
}

/// Enables the one-time codes of a user who is held: with the key that the user has, else with this one.
pub(super) fn switch_on(keeper: &Context, tx: &mut Tx<'_>, user_id: UserId, key: &Key) -> Result<()> {
    let before = tx.read().user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
    let has_key = tx.read().totp_credential(user_id)?.is_some_and(|(credential, _)| credential.session_id.is_none());
    if !has_key {
        give_key(keeper, tx, user_id, key)?;
    }
    let mut after = before.clone();
    after.enable_totp();
    Ok(tx.save_user(&before, &after)?)
}

/// Disables the one-time codes of a user who is held; the key stays, to be enabled again.
pub(super) fn switch_off(tx: &mut Tx<'_>, user_id: UserId) -> Result<()> {
    let before = tx.read().user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
    let mut after = before.clone();
    after.disable_totp();
    Ok(tx.save_user(&before, &after)?)
}

/// Holds the user of a session, and the session: in the order in which whatever ends sessions takes them.
fn hold(tx: &mut Tx<'_>, user_id: UserId, session_id: SessionId) -> Result<User> {
    let gone = || Error::new(Code::SessionInvalid).because("session_unknown");
    let user = tx.hold_user(user_id)?.ok_or_else(gone)?;
    tx.hold_session(session_id)?.ok_or_else(gone)?;
    Ok(user)
}

/// Whether a user can do without one-time codes.
fn may_disable(user: &User) -> Result<()> {
    if !user.is_totp_enabled {
        return Err(Error::new(Code::TotpNotEnabled));
    }
    if user.password_needs_totp { Err(Error::new(Code::PasswordNeedsTotp)) } else { Ok(()) }
}

/// Takes the second factor of a user away that is held.
fn disabled(tx: &mut Tx<'_>, before: &User) -> Result<User> {
    tx.remove_second_factor(before.user_id)?;
    let mut after = before.clone();
    after.disable_totp();
    tx.save_user(before, &after)?;
    Ok(after)
}

pub(super) fn hashes(codes: &[RecoveryCode]) -> Vec<TokenHash> {
    codes.iter().map(RecoveryCode::hash).collect()
}
