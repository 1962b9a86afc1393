//! API keys: making, listing, revoking; one's own, and by super-users anyone's.
//!
//! Making and revoking ask for a recent sign-in (S26). A key makes no keys: else whoever got hold of one could outlive its end.

use super::caller::{Authenticated, SignedIn, SuperUser};
use super::context::Context;
use super::did::Did;
use super::paging::Pages;
use crate::domain::api_key::{ApiKey, ApiKeyView, KeyScope, MOST_KEYS};
use crate::domain::attribute::Viewer;
use crate::domain::audit::Changes;
use crate::domain::ids::{ApiKeyId, UserId};
use crate::domain::row_mac::RowMac;
use crate::domain::secret::{ApiKeyToken, SentCode};
use crate::domain::text::Name;
use crate::domain::time::Utc;
use crate::domain::user::User;
use crate::error::{Code, Error, Result};
use crate::settings;
use crate::store::Tx;
use serde_json::{Value, json};
use std::time::Duration;

/// An API key to be made.
#[derive(Debug)]
pub struct NewApiKey {
    /// What it is for.
    pub name: Name,
    /// What it may do.
    pub scope: KeyScope,
    /// When it expires.
    pub lifetime: Lifetime,
}

/// When an API key expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// After so long as the settings say; never for an operator, who says nothing.
    Default,
    /// After so long.
    For(Duration),
    /// At this time.
    Until(Utc),
}

impl Lifetime {
    /// From what a request says: seconds, or a time, or neither.
    ///
    /// # Errors
    /// [`Code::Invalid`] for both.
    pub fn read(expires_in: Option<u64>, expiry: Option<Utc>) -> Result<Self> {
        match (expires_in, expiry) {
            (None, None) => Ok(Self::Default),
            (Some(seconds), None) => Ok(Self::For(Duration::from_secs(seconds))),
            (None, Some(expiry)) => Ok(Self::Until(expiry)),
            (Some(_), Some(_)) => {
                Err(Error::new(Code::Invalid).at("expires_in", "is given beside expiry; one of them is enough"))
            }
        }
    }

    /// When a key expires that is made now. `limits` bind everybody but operators.
    fn expiry(self, now: Utc, limits: Option<Limits>) -> Result<Option<Utc>> {
        let (member, expiry) = match self {
            Self::Default => return Ok(limits.map(|limits| now + limits.default)),
            Self::For(span) => ("expires_in", now + span),
            Self::Until(expiry) => ("expiry", expiry),
        };
        if expiry <= now {
            return Err(Error::new(Code::Invalid).at(member, "is not in the future"));
        }
        if limits.is_some_and(|limits| now + limits.longest < expiry) {
            return Err(Error::new(Code::Invalid).at(member, "is later than keys may last here"));
        }
        Ok(Some(expiry))
    }
}

/// How long keys last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    default: Duration,
    longest: Duration,
}

impl Limits {
    /// What the settings say.
    pub(super) fn read(settings: &settings::ApiKeys) -> Self {
        let days = |days: u32| Duration::from_secs(u64::from(days) * 24 * 60 * 60);
        Self { default: days(settings.default_days), longest: days(settings.longest_days) }
    }
}

fn unknown() -> Error {
    Error::new(Code::NotFound).because("key_unknown")
}

/// A key that was made, or is gone, for the trail. The user is the subject; the values go when the user is deleted.
fn changes(before: Option<&ApiKey>, after: Option<&ApiKey>) -> Result<Option<Changes>> {
    let shown = |key: Option<&ApiKey>| {
        let view = serde_json::to_value(key.map(ApiKey::view)).map_err(|e| Error::new(Code::Internal).cause(e.to_string()));
        view.map(|view: Value| json!({ "api_key": view }))
    };
    Ok(Changes::between(&shown(before)?, &shown(after)?))
}

impl Context {
    async fn make_key(
        &self,
        user_id: UserId,
        new: NewApiKey,
        unknown_user: fn() -> Error,
        limits: Option<Limits>,
        may: impl Fn(&User) -> Result<()> + Send + 'static,
    ) -> Result<(ApiKeyView, ApiKeyToken)> {
        let entropy = &self.services.inner.entropy;
        let token = ApiKeyToken::mint(entropy);
        let (now, viewer) = (self.now(), self.viewer_of_belongings(user_id));
        let key = ApiKey {
            key_id: ApiKeyId::mint(now, entropy),
            token_hash: token.hash(),
            user_id,
            name: new.name,
            scope: new.scope,
            created_time: now,
            expiry: new.lifetime.expiry(now, limits)?,
            last_used_time: None,
            made_by: self.trail.actor_id(),
            mac: RowMac::default(),
        };
        let make = move |tx: &mut Tx<'_>| {
            may(&tx.hold_user(user_id)?.ok_or_else(unknown_user)?)?;
            if tx.read().count_api_keys(user_id)? >= MOST_KEYS {
                return Err(Error::new(Code::TooManyKeys));
            }
            tx.insert_api_key(&key)?;
            Ok((key.view(), Did::to(user_id).changing(changes(None, Some(&key))?).showing(user_id, viewer)))
        };
        Ok((self.change(make).await?, token))
    }

    /// Revokes a key, which must be that of `of` if a user is given.
    async fn revoke(&self, key_id: ApiKeyId, of: Option<UserId>) -> Result<()> {
        let revoke = move |tx: &mut Tx<'_>| {
            let key = tx.read().api_key(key_id)?.filter(|key| of.is_none_or(|user_id| key.user_id == user_id));
            let key = key.ok_or_else(unknown)?;
            if !tx.delete_api_key(key_id)? {
                return Err(unknown());
            }
            Ok(((), Did::to(key.user_id).changing(changes(Some(&key), None)?)))
        };
        self.change(revoke).await
    }
}

impl Authenticated {
    /// One's own API keys, oldest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn own_api_keys(&self) -> Result<Vec<ApiKeyView>> {
        let user_id = self.user_id();
        self.context.trail.set_subject(user_id);
        self.context.trail.shows(user_id, self.viewer_of(user_id));
        let store = &self.context.services.inner.store;
        let found = store.read(move |snapshot| Ok(snapshot.api_keys(Some(user_id), None, MOST_KEYS)?)).await?;
        Ok(found.iter().map(ApiKey::view).collect())
    }
}

impl SignedIn {
    /// Makes an API key of one's own; its token is told this once.
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`], [`Code::TooManyKeys`]; [`Code::TotpRequired`] and [`Code::TotpInvalid`] where the account has one-time
    /// codes; [`Code::Invalid`] for an expiry that has passed.
    pub async fn create_own_api_key(self, new: NewApiKey, code: Option<&SentCode>) -> Result<(ApiKeyView, ApiKeyToken)> {
        self.context.trail.set_subject(self.user_id());
        self.expect_proof()?;
        let limits = self.context.services.inner.api_keys;
        self.context.demand_second_factor(&self.opened.user, code).await?;
        let gone = || Error::new(Code::SessionInvalid).because("session_unknown");
        self.context.make_key(self.user_id(), new, gone, Some(limits), |_| Ok(())).await
    }

    /// Revokes one of one's own API keys.
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`]; [`Code::NotFound`] if one has none of this id.
    pub async fn revoke_own_api_key(self, key_id: ApiKeyId) -> Result<()> {
        self.context.trail.set_subject(self.user_id());
        self.expect_proof()?;
        self.context.revoke(key_id, Some(self.user_id())).await
    }
}

impl SuperUser {
    /// A page of API keys, of one user or of anyone, in order of creation, and where the next one begins.
    ///
    /// # Errors
    /// [`Code::BadQuery`] for a cursor that was not given out here.
    pub async fn api_keys(
        &self,
        of: Option<UserId>,
        limit: i64,
        cursor: Option<&str>,
    ) -> Result<(Vec<ApiKeyView>, Option<String>)> {
        if let Some(user_id) = of {
            self.context.trail.set_subject(user_id);
        }
        let pages = Pages::new(&self.context, format!("api keys {of:?}"), limit);
        let after = pages.open(cursor, |bytes| bytes.try_into().ok().map(ApiKeyId::from_bytes))?;
        let fetch = pages.fetch();
        let store = &self.context.services.inner.store;
        let found = store.read(move |snapshot| Ok(snapshot.api_keys(of, after, fetch)?)).await?;
        let (page, next) = pages.cut(found, |key| key.key_id.as_bytes().to_vec());
        page.iter().for_each(|key| self.context.trail.shows(key.user_id, Viewer::SuperUser));
        self.context.settle_shown(Viewer::SuperUser).await?;
        Ok((page.iter().map(ApiKey::view).collect(), next))
    }

    /// Makes an API key for a user; its token is told this once.
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`], [`Code::SessionRequired`] for a caller by API key, [`Code::TooManyKeys`]; [`Code::Forbidden`] for another
    /// super-user, unless an operator makes it; [`Code::Invalid`] for a
    /// user who does not exist or an expiry that has passed.
    pub async fn create_api_key(
        self,
        user_id: UserId,
        new: NewApiKey,
        code: Option<&SentCode>,
    ) -> Result<(ApiKeyView, ApiKeyToken)> {
        self.context.trail.set_subject(user_id);
        self.expect_proof(Some(user_id))?;
        if let Some(own) = self.own_account() {
            self.context.demand_second_factor(own, code).await?;
        }
        let unknown_user = || Error::new(Code::Invalid).because("user_unknown").at("user_id", "names no user");
        // It would act as them, and outlive what made it: an operator may.
        let is_open = self.own_id().is_none() || self.own_id() == Some(user_id);
        let limits = self.own_id().map(|_| self.context.services.inner.api_keys);
        let may = move |user: &User| {
            if is_open || !user.is_super_user() { Ok(()) } else { Err(Error::new(Code::Forbidden).because("others_key")) }
        };
        self.context.make_key(user_id, new, unknown_user, limits, may).await
    }

    /// Revokes an API key.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::FreshSignInRequired`]; [`Code::SessionRequired`] for a key of the caller's own by an API key.
    pub async fn revoke_api_key(self, key_id: ApiKeyId) -> Result<()> {
        self.context.trail.set_subject(key_id);
        let found = self.context.services.inner.store.read(move |snapshot| Ok(snapshot.api_key(key_id)?)).await?;
        let user_id = found.ok_or_else(unknown)?.user_id;
        self.expect_proof(Some(user_id))?;
        self.context.revoke(key_id, None).await
    }
}
