//! Setting a password by a link: for those who forgot theirs, and for those who are to choose a first one.
//!
//! Three steps. Whoever *asks* is answered the same whatever exists ([`super::errands`]). A mailed link is *opened* once, for a key that is
//! good for some minutes: the link in the mailbox is worth nothing from then on. With the key the password is set, once; where the
//! account has a second factor, that is demanded as at a sign-in. Setting a password signs nobody in.
//!
//! The key derives from the key file and the token, so it can be told to which token a key belongs without keeping either. Whoever has
//! the token alone cannot make the key, nor can whoever has the database.

use super::caller::Anyone;
use super::did::Did;
use super::errands::Errand;
use super::post::Page;
use super::{Password, Services};
use crate::auth::keys::Keys;
use crate::domain::letter::{Letter, LetterKind};
use crate::domain::link::{Link, LinkPurpose};
use crate::domain::row_mac::RowMac;
use crate::domain::secret::{ResetKey, ResetToken, SentCode, SettingToken, TokenHash};
use crate::domain::standing::{Barred, may_set_password};
use crate::domain::text::{Email, fold};
use crate::domain::throttle::Bucket;
use crate::domain::time::Utc;
use crate::domain::user::User;
use crate::error::{Code, Error, Result};
use crate::store::Tx;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The longest name or address that is looked up, in bytes.
const LONGEST: usize = 512;

/// Whose password is to be reset.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Addressee {
    /// Who signs in with this name.
    Username(String),
    /// Who has this e-mail address, if it is one alone.
    Email(String),
}

/// An opened link.
#[derive(Debug)]
pub struct Opened {
    /// The key that sets a password, told this once.
    pub reset_key: ResetKey,
    /// When the key expires.
    pub expires_time: Utc,
    /// Whether a one-time code is demanded as well.
    pub is_totp_required: bool,
}

/// What a password is set with.
#[derive(Debug)]
pub struct Finish {
    /// The key.
    pub reset_key: String,
    /// The token that it was told for, where callers have to show it as well.
    pub token: Option<String>,
    /// The password.
    pub new_password: Password,
    /// The one-time code, where one is demanded.
    pub totp_code: Option<SentCode>,
    /// Whether API keys stay good.
    pub keep_api_keys: bool,
}

fn invalid(reason: &'static str) -> Error {
    Error::new(Code::LinkInvalid).because(reason)
}

/// What the database knows the token of a mailed link by, and what the link is for.
fn read_token(token: &str) -> Result<(TokenHash, LinkPurpose)> {
    let reset = ResetToken::parse(token).map(|token| (token.hash(), LinkPurpose::ResetPassword));
    let set = || SettingToken::parse(token).map(|token| (token.hash(), LinkPurpose::SetPassword));
    reset.or_else(set).ok_or_else(|| invalid("link_malformed"))
}

/// The key that a token is exchanged for.
fn key_of(keys: &Keys, token_hash: &TokenHash) -> ResetKey {
    ResetKey::derive(&keys.resets, token_hash.as_bytes())
}

impl Anyone {
    /// Asks for a link that resets a password: what came of it is told by mail.
    ///
    /// # Errors
    /// [`Code::LinksUnavailable`], [`Code::TooManyAttempts`]: neither depends on who has an account.
    pub async fn request_reset(self, whom: Addressee) -> Result<()> {
        let context = self.context;
        context.services.post().require_mailed_links()?;
        let (Addressee::Username(text) | Addressee::Email(text)) = &whom;
        if text.len() > LONGEST {
            return Err(Error::new(Code::Invalid).detail("The name or address is too long."));
        }
        context.count_asking().await?;
        context.send_on_errand(Errand::Reset(whom)).await
    }

    /// Opens a link: its token is used up, and a key takes its place.
    ///
    /// # Errors
    /// [`Code::LinkInvalid`], whatever is wrong with the token or the account.
    pub async fn open_reset(self, token: &str) -> Result<Opened> {
        let context = self.context;
        let (hash, purpose) = read_token(token)?;
        let (services, now, from) = (context.services.clone(), context.now(), context.remote_addr());
        let open = move |tx: &mut Tx<'_>| {
            let user = held_user(tx, &hash, purpose, from, now)?;
            if !tx.use_link(&hash)? {
                return Err(invalid("link_unknown"));
            }
            let (reset_key, expires_time) = (key_of(&services.inner.keys, &hash), now + services.post().reset_key);
            let (token_hash, user_id) = (reset_key.hash(), user.user_id);
            tx.insert_link(&Link {
                token_hash,
                purpose: LinkPurpose::ResetKey,
                user_id,
                created_time: now,
                expiry: expires_time,
                mac: RowMac::default(),
            })?;
            let opened = Opened { reset_key, expires_time, is_totp_required: user.is_totp_enabled };
            Ok((opened, Did::to(user.user_id)))
        };
        context.change(open).await
    }

    /// Sets a password with the key of an opened link, and ends all sessions of the account. The key is used up only when that was done:
    /// a password that does not fit, or a wrong code, can be tried again.
    ///
    /// # Errors
    /// [`Code::LinkInvalid`], [`Code::PasswordUnfit`], [`Code::TotpRequired`], [`Code::TotpInvalid`], [`Code::TooManyAttempts`].
    pub async fn finish_reset(self, given: Finish) -> Result<()> {
        let Self { context, application, .. } = self;
        let inner = &context.services.inner;
        let now = context.now();
        let hash = ResetKey::parse(&given.reset_key).ok_or_else(|| invalid("link_malformed"))?.hash();
        if let Some(token) = given.token {
            let (token_hash, _) = read_token(&token)?;
            if !key_of(&inner.keys, &token_hash).hash().matches(&hash) {
                return Err(invalid("link_mismatch"));
            }
        }
        let look_up = {
            let hash = hash.clone();
            move |snapshot: &mut crate::store::Snapshot<'_>| {
                let Some(link) = snapshot.link(&hash)? else { return Ok(None) };
                Ok(snapshot.user(link.user_id)?.map(|user| (link, user)))
            }
        };
        let (link, user) = inner.store.read(look_up).await?.ok_or_else(|| invalid("link_unknown"))?;
        context.trail.set_subject(user.user_id);
        if !link.is_good(LinkPurpose::ResetKey, now) {
            return Err(invalid("link_expired"));
        }
        let from = context.remote_addr();
        judge(&user, from, now)?;
        if !user.is_totp_enabled && given.totp_code.is_some() {
            return Err(Error::new(Code::Invalid).at("totp_code", "is only taken where one is demanded"));
        }
        let password = context.fit_password(given.new_password, &user, Some(application.name.as_str()), "new_password").await?;
        // Whoever has the mailbox is not yet the person: codes are counted and used up as at a sign-in (S9).
        let proven = context.prove_second_factor(&user, given.totp_code.as_ref()).await?;
        let (services, lockout, leniency) = (context.services.clone(), inner.lockout.clone(), context.leniency);
        let finish = move |tx: &mut Tx<'_>| {
            let before = held_user(tx, &hash, LinkPurpose::ResetKey, from, now)?;
            if !tx.use_link(&hash)? {
                return Err(invalid("link_unknown"));
            }
            let codes = proven.redeem(tx, &lockout, &before)?;
            let mut after = before.clone();
            after.set_password(password, false, None, now);
            after.failed_login_count = 0;
            tx.save_user(&before, &after)?;
            if !leniency.do_sessions_survive_password() {
                tx.end_sessions(after.user_id)?;
            }
            // Whoever had the account before its owner has it back would go on by a key.
            if !given.keep_api_keys && tx.delete_api_keys(after.user_id)? > 0 {
                services.tell_owner(tx, &after, LetterKind::ApiKeyRevoked, now)?;
            }
            lockout.forgive(tx, after.user_id)?;
            services.notify(tx, &after, LetterKind::PasswordChanged, now)?;
            let did = Did::to(after.user_id).changing(super::difference::changes_with_codes(tx, &before, &after, now, codes)?);
            Ok(((), did))
        };
        context.change(finish).await
    }
}

/// The user that a link is good for, held until the transaction ends.
fn held_user(tx: &mut Tx<'_>, hash: &TokenHash, purpose: LinkPurpose, from: Option<IpAddr>, now: Utc) -> Result<User> {
    let link = tx.read().link(hash)?.ok_or_else(|| invalid("link_unknown"))?;
    if !link.is_good(purpose, now) {
        return Err(invalid("link_expired"));
    }
    let user = tx.hold_user(link.user_id)?.ok_or_else(|| invalid("link_unknown"))?;
    judge(&user, from, now)?;
    Ok(user)
}

/// Whether a user may set a password from there: by a link nobody comes from where they could not sign in.
fn judge(user: &User, from: Option<IpAddr>, now: Utc) -> Result<()> {
    may_set_password(user, now).map_err(|barred| invalid(barred.as_str()))?;
    if user.networks.admit(from) { Ok(()) } else { Err(invalid(Barred::AddressNotAllowed.as_str())) }
}

/// Decides whether a link is sent, and whereto.
pub(super) fn decide(services: &Services, tx: &mut Tx<'_>, whom: &Addressee, now: Utc) -> Result<Did> {
    let user = match whom {
        Addressee::Username(name) => tx.read().user_by_name(&fold(name.trim()))?,
        Addressee::Email(email) => {
            let mut found = tx.read().users_by_email(&fold(email.trim()), 2)?;
            if found.len() > 1 {
                return Ok(Did::refused("email_ambiguous", None));
            }
            found.pop()
        }
    };
    let Some(user) = user else { return Ok(Did::refused("user_unknown", None)) };
    let refused = |reason| Ok(Did::refused(reason, Some(user.user_id)));
    if let Err(barred) = may_set_password(&user, now) {
        return refused(barred.as_str());
    }
    // Whoever moved it there may not have meant its owner, and nobody but the owner is known to ask.
    if user.is_address_held(now) {
        return refused("email_changed_lately");
    }
    // Always to the address that the account has, never to the one that was typed.
    let Some(to) = user.email.clone().filter(Email::is_address) else { return refused("email_missing") };
    if services.inner.lockout.ask(tx, &Bucket::Mailbox(to.key()), now)?.is_err() {
        return refused("throttled");
    }
    // A link is for the mailbox and the password that there are; held, neither changes before the link is there to end with it.
    match tx.hold_user(user.user_id)? {
        Some(held) if held.email == user.email => {}
        Some(_) | None => return Err(Error::new(Code::ValueTaken)),
    }
    let span = services.post().reset;
    let (token, expiry): (ResetToken, Utc) = services.issue(tx, LinkPurpose::ResetPassword, user.user_id, span, now)?;
    let letter = Letter {
        kind: LetterKind::ResetPassword,
        language: services.post().language(user.lang_id),
        to,
        username: Some(user.username.clone()),
        link: Some(services.post().link(Page::Password, &token)?),
        expiry: Some(expiry),
        time: now,
    };
    services.write(tx, &letter, Some(user.user_id))?;
    Ok(Did::to(user.user_id))
}
