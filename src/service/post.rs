//! Post: writing letters, and the links in them.
//!
//! A letter is put into the outbox within the transaction of what it tells of. Where there is no mail, a notice is not written, and what
//! cannot do without a link is refused ([`Code::LinksUnavailable`]). Links begin with the base URL of the settings.

use super::Services;
use super::courier::send;
use crate::domain::ids::UserId;
use crate::domain::letter::{Language, Letter, LetterKind};
use crate::domain::link::{BaseUrl, Link, LinkPurpose, LinkUrl, PagePath};
use crate::domain::row_mac::RowMac;
use crate::domain::secret::{Purpose, SettingToken, Token};
use crate::domain::text::Email;
use crate::domain::time::Utc;
use crate::domain::user::User;
use crate::error::{Code, Error, Result};
use crate::settings::{MailTransport, Settings};
use crate::store::Tx;
use std::time::Duration;

/// What the settings say of letters and links.
#[derive(Clone, Debug)]
pub struct Post {
    is_on: bool,
    language: Language,
    base: Option<BaseUrl>,
    confirm: PagePath,
    password: PagePath,
    forgot: PagePath,
    pub(super) sign_up: Duration,
    pub(super) set_password: Duration,
    pub(super) reset: Duration,
    pub(super) reset_key: Duration,
}

/// A page that a link leads to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Page {
    Confirm,
    Password,
}

impl Post {
    /// Reads the settings.
    ///
    /// # Errors
    /// One line that names the setting at fault.
    pub fn read(settings: &Settings) -> Result<Self, String> {
        let (mail, links) = (&settings.mail, &settings.links);
        let flaw = |key: &str, flaw: &str| format!("setting {key}: it {flaw}");
        let path = |key: &str, text: &str| PagePath::parse(text).map_err(|f| flaw(key, f));
        let base = match links.base_url.as_str() {
            "" => None,
            text => Some(BaseUrl::parse(text).map_err(|f| flaw("links.base_url", f))?),
        };
        let seconds = |s: u32| Duration::from_secs(s.into());
        Ok(Self {
            is_on: mail.transport != MailTransport::Off,
            language: mail.language.parse().map_err(|f: String| flaw("mail.language", &f))?,
            base,
            confirm: path("links.confirm_path", &links.confirm_path)?,
            password: path("links.password_path", &links.password_path)?,
            forgot: path("links.forgot_path", &links.forgot_path)?,
            sign_up: seconds(links.sign_up_seconds),
            set_password: seconds(links.set_password_seconds),
            reset: seconds(links.reset_seconds),
            reset_key: seconds(links.reset_key_seconds),
        })
    }

    /// What people know the service by: the host of the base URL.
    pub fn site(&self) -> Option<&str> {
        self.base.as_ref().map(BaseUrl::host)
    }

    /// Whether there is mail.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether links can be mailed.
    ///
    /// # Errors
    /// [`Code::LinksUnavailable`].
    pub(super) fn require_mailed_links(&self) -> Result<()> {
        if self.is_on && self.base.is_some() { Ok(()) } else { Err(unavailable()) }
    }

    fn base(&self) -> Result<&BaseUrl> {
        self.base.as_ref().ok_or_else(unavailable)
    }

    /// The link to a page that bears a token.
    pub(super) fn link<P: Purpose>(&self, page: Page, token: &Token<P>) -> Result<LinkUrl> {
        let path = match page {
            Page::Confirm => &self.confirm,
            Page::Password => &self.password,
        };
        Ok(LinkUrl::new(format!("{}#token={}", self.base()?.at(path), token.expose())))
    }

    /// The link to the page where one asks for a new password.
    pub(super) fn forgot_link(&self) -> Result<LinkUrl> {
        Ok(LinkUrl::new(self.base()?.at(&self.forgot)))
    }

    /// The language of whoever has chosen this one.
    pub(super) fn language(&self, lang_id: Option<i64>) -> Language {
        Language::of(lang_id, self.language)
    }
}

fn unavailable() -> Error {
    Error::new(Code::LinksUnavailable)
}

impl Services {
    pub(super) fn post(&self) -> &Post {
        &self.inner.post
    }

    /// Puts a letter into the outbox, where there is mail. `user_id`: whose deletion takes it away.
    pub(super) fn write(&self, tx: &mut Tx<'_>, letter: &Letter, user_id: Option<UserId>) -> Result<()> {
        if !self.post().is_on || !letter.to.is_address() {
            return Ok(());
        }
        let broken = || Error::new(Code::Internal).cause("a letter cannot be written down");
        let content = letter.to_content().ok_or_else(broken)?;
        send(self, tx, letter.kind.way(), user_id, &content, letter.time).map(drop)
    }

    /// Tells a user something at their address, if there is one.
    pub(super) fn notify(&self, tx: &mut Tx<'_>, user: &User, kind: LetterKind, now: Utc) -> Result<()> {
        let Some(to) = user.email.clone() else { return Ok(()) };
        let language = self.post().language(user.lang_id);
        let letter = Letter { kind, language, to, username: Some(user.username.clone()), link: None, expiry: None, time: now };
        self.write(tx, &letter, Some(user.user_id))
    }

    /// Makes a link's token, of which the database gets the hash. Returns it with its expiry.
    pub(super) fn issue<P: Purpose>(
        &self,
        tx: &mut Tx<'_>,
        purpose: LinkPurpose,
        user_id: UserId,
        span: Duration,
        now: Utc,
    ) -> Result<(Token<P>, Utc)> {
        let token = Token::mint(&self.inner.entropy);
        let expiry = now + span;
        tx.insert_link(&Link { token_hash: token.hash(), purpose, user_id, created_time: now, expiry, mac: RowMac::default() })?;
        Ok((token, expiry))
    }

    /// Makes the link by which a user sets a password because a super-user wants so; the one before ends.
    pub(super) fn issue_set_password(&self, tx: &mut Tx<'_>, user_id: UserId, now: Utc) -> Result<(LinkUrl, Utc)> {
        tx.end_links_for(user_id, LinkPurpose::SetPassword)?;
        let span = self.post().set_password;
        let (token, expiry): (SettingToken, Utc) = self.issue(tx, LinkPurpose::SetPassword, user_id, span, now)?;
        Ok((self.post().link(Page::Password, &token)?, expiry))
    }

    /// Mails that link.
    pub(super) fn mail_set_password(&self, tx: &mut Tx<'_>, user: &User, now: Utc) -> Result<()> {
        self.post().require_mailed_links()?;
        let to = user.email.clone().filter(Email::is_address).ok_or_else(|| Error::new(Code::EmailMissing))?;
        let (link, expiry) = self.issue_set_password(tx, user.user_id, now)?;
        let letter = Letter {
            kind: LetterKind::SetPassword,
            language: self.post().language(user.lang_id),
            to,
            username: Some(user.username.clone()),
            link: Some(link),
            expiry: Some(expiry),
            time: now,
        };
        self.write(tx, &letter, Some(user.user_id))
    }
}
