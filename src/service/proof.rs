//! Proof of who is calling: a live session or an API key, and how recent it is.
//!
//! Whatever the proof, it is judged in one place, [`Proof::judge`]: when the caller is let in, and once more within the transaction of a
//! change. What the decision takes is read in the same snapshot as the account.

#![deny(clippy::wildcard_enum_match_arm, reason = "a new variant must be decided on, not fall through")]

use super::context::Context;
use crate::domain::api_key::ApiKey;
use crate::domain::application::Application;
use crate::domain::ids::{ApiKeyId, CredentialId, SessionId, UserId};
use crate::domain::secret::TokenHash;
use crate::domain::session::Session;
use crate::domain::standing::{Barred, Door, Factor, Way, may_act};
use crate::domain::time::Utc;
use crate::domain::user::User;
use crate::settings::SecondFactor;
use crate::store::error::StoreError;
use crate::store::{Opened, Snapshot};
use std::net::IpAddr;

/// What a call shows: the hash of a session's token, or of an API key's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shown {
    Session(TokenHash),
    Key(TokenHash),
}

impl Shown {
    /// What it is, with its user; `None` if there is no such thing.
    pub(super) fn find(&self, snapshot: &mut Snapshot<'_>) -> Result<Option<(Proof, User)>, StoreError> {
        match self {
            Self::Session(token) => Ok(snapshot.session_by_token(token)?.map(Proof::of_session)),
            Self::Key(token) => Ok(snapshot.key_by_token(token)?.map(Proof::of_key)),
        }
    }

    /// What the trail is told if there is none.
    pub(super) fn unknown(&self) -> &'static str {
        match self {
            Self::Session(_) => "session_unknown",
            Self::Key(_) => "key_unknown",
        }
    }
}

/// Which session, or which API key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Credential {
    Session(SessionId),
    Key(ApiKeyId),
}

impl Credential {
    /// What it is now, with its user; `None` if it is gone.
    pub(super) fn find(self, snapshot: &mut Snapshot<'_>) -> Result<Option<(Proof, User)>, StoreError> {
        match self {
            Self::Session(session_id) => Ok(snapshot.session_with_user(session_id)?.map(Proof::of_session)),
            Self::Key(key_id) => Ok(snapshot.key_with_user(key_id)?.map(Proof::of_key)),
        }
    }

    /// What the trail is told if it is gone.
    pub(super) fn unknown(self) -> &'static str {
        match self {
            Self::Session(_) => "session_unknown",
            Self::Key(_) => "key_unknown",
        }
    }
}

/// By what a caller proves to be its user.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    /// A session, and the application that it was opened through.
    Session(Box<Session>, Box<Application>),
    /// An API key.
    Key(Box<ApiKey>),
}

/// From where a call comes, where the user is, and what the settings demand of whoever comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) call_from: Option<IpAddr>,
    pub(super) user_at: Option<IpAddr>,
    pub(super) demanded: SecondFactor,
    /// Whether the way in accepts sessions of linked accounts.
    pub(super) accepts_linked: bool,
}

impl Places {
    /// The user itself calls, or an application that tells from where its user comes.
    pub(super) fn of(context: &Context) -> Self {
        Self::at(context, context.call.remote_addr, context.remote_addr())
    }
}

impl Places {
    /// Others than those of the call itself.
    pub(super) fn at(context: &Context, call_from: Option<IpAddr>, user_at: Option<IpAddr>) -> Self {
        Self {
            call_from,
            user_at,
            demanded: context.services.inner.second_factor,
            accepts_linked: context.leniency.are_linked_sessions_accepted,
        }
    }
}

impl Proof {
    fn of_session(Opened { session, user, application }: Opened) -> (Self, User) {
        (Self::Session(Box::new(session), Box::new(application)), user)
    }

    fn of_key((key, user): (ApiKey, User)) -> (Self, User) {
        (Self::Key(Box::new(key)), user)
    }

    /// Which one it is.
    pub(super) fn credential(&self) -> Credential {
        match self {
            Self::Session(session, _) => Credential::Session(session.session_id),
            Self::Key(key) => Credential::Key(key.key_id),
        }
    }

    /// How the trail names it.
    pub(super) fn id(&self) -> CredentialId {
        match self {
            Self::Session(session, _) => session.session_id.into(),
            Self::Key(key) => key.key_id.into(),
        }
    }

    /// What it shows of a second factor. Keys are not asked for one: they were made under a session that was.
    fn factor(&self) -> Factor {
        match self {
            Self::Session(session, _) if session.auth_methods.have_second_factor() => Factor::Shown,
            Self::Session(..) => Factor::Missing,
            Self::Key(_) => Factor::NotAsked,
        }
    }

    /// Whether it is a key that changes nothing.
    pub(super) fn may_only_read(&self) -> bool {
        match self {
            Self::Session(..) => false,
            Self::Key(key) => !key.permits(false),
        }
    }

    /// Which lists of groups have the user, of the applications that the proof is used and was opened through.
    pub(super) fn lists(&self, snapshot: &mut Snapshot<'_>, user_id: UserId, through: &Application) -> Result<Lists, StoreError> {
        let opened = match self {
            Self::Session(_, opened) if opened.application_id != through.application_id => {
                snapshot.is_in_listed_group(opened, user_id)?
            }
            Self::Session(..) | Self::Key(_) => false,
        };
        Ok(Lists { through: snapshot.is_in_listed_group(through, user_id)?, opened })
    }

    /// Whether it is good now for a call of `user` through an application; if not, the reason for the trail.
    pub(super) fn judge(
        &self,
        snapshot: &mut Snapshot<'_>,
        user: &User,
        through: &Application,
        places: Places,
        now: Utc,
    ) -> Result<Result<(), &'static str>, StoreError> {
        let lists = self.lists(snapshot, user.user_id, through)?;
        Ok(self.stands(user, through, lists, places, now))
    }

    /// The same, having read what it takes.
    pub(super) fn stands(
        &self,
        user: &User,
        through: &Application,
        lists: Lists,
        places: Places,
        now: Utc,
    ) -> Result<(), &'static str> {
        let opened = match self {
            Self::Session(session, opened) => {
                if session.is_expired(now) {
                    return Err("session_expired");
                }
                // A password alone opened it, beside the second factor that its user may have: it is good where linked accounts are.
                if session.auth_methods.is_linked() && !places.accepts_linked {
                    return Err("linked_session");
                }
                if !Session::is_accepted_by(opened, through) {
                    return Err("application_mismatch");
                }
                Some(opened.as_ref()).filter(|opened| opened.application_id != through.application_id)
            }
            Self::Key(key) => {
                if key.is_expired(now) {
                    return Err("key_expired");
                }
                if !ApiKey::is_accepted_by(through) {
                    return Err("application_mismatch");
                }
                None
            }
        };
        let way = Way {
            through: Door { application: through, is_in_listed_group: lists.through },
            opened: opened.map(|application| Door { application, is_in_listed_group: lists.opened }),
            call_from: places.call_from,
            user_at: places.user_at,
            demanded: places.demanded,
            factor: self.factor(),
        };
        may_act(user, &way, now).map_err(Barred::as_str)
    }
}

/// Whether the user is in a group that an application lists: the one that the call comes through, and the one that the session was
/// opened through if that is another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lists {
    through: bool,
    opened: bool,
}

/// Asks the one decision on a user who is about to come in through an application.
pub(super) fn standing(
    snapshot: &mut Snapshot<'_>,
    user: &User,
    through: &Application,
    Places { call_from, user_at, demanded, accepts_linked: _ }: Places,
    factor: Factor,
    now: Utc,
) -> Result<Result<(), Barred>, StoreError> {
    let is_in_listed_group = snapshot.is_in_listed_group(through, user.user_id)?;
    let way =
        Way { through: Door { application: through, is_in_listed_group }, opened: None, call_from, user_at, demanded, factor };
    Ok(may_act(user, &way, now))
}
