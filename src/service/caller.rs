//! Callers: who may do what, as types.
//!
//! Everyone begins as [`Anyone`], through an application. A UST makes a [`SignedIn`], the role of its user a [`SuperUser`], an application's
//! key a [`TrustedApplication`]. Each step can be refused, and there is no other way from one to the next. Someone at the command line
//! is an [`Operator`]: whoever can read the key file and write the database needs no further proof, and is a super-user.
//!
//! A regular user has no look-up of others, so this does not compile:
//!
//! ```compile_fail,E0599
//! async fn look_up(caller: usher::service::SignedIn, id: usher::domain::ids::UserId) {
//!     let _ = caller.user(id).await;
//! }
//! ```
//!
//! nor does making a caller out of nothing:
//!
//! ```compile_fail,E0451
//! fn rise(context: usher::service::Context, operator: usher::service::Operator) -> usher::service::SuperUser {
//!     usher::service::SuperUser { context, authority: operator.into() }
//! }
//! ```

#![deny(clippy::wildcard_enum_match_arm, reason = "a new variant must be decided on, not fall through")]

use super::Context;
use super::context::Bond;
use crate::domain::application::{self, Application};
use crate::domain::attribute::Viewer;
use crate::domain::audit::{Actor, ActorType};
use crate::domain::ids::{SessionId, UserId};
use crate::domain::secret::{ApplicationKey, TokenHash, Ust};
use crate::domain::session::Session;
use crate::domain::standing::may_act;
use crate::domain::text::fold;
use crate::domain::time::Utc;
use crate::domain::user::{User, viewer_of};
use crate::error::{Code, Error, Result};
use crate::store::Opened;
use std::time::Duration;

/// `active_time` is kept to this.
const ACTIVE_GRAIN: Duration = Duration::from_secs(60);

/// A caller of whom nothing is known but the application.
pub struct Anyone {
    pub(super) context: Context,
    pub(super) application: Application,
    pub(super) is_keyed: bool,
}

/// A caller that bears a session token, which need not be good any more.
pub struct Bearer {
    pub(super) context: Context,
    pub(super) token: TokenHash,
}

/// A caller with a live session, whose account may act now.
pub struct SignedIn {
    pub(super) context: Context,
    pub(super) application: Application,
    pub(super) opened: Opened,
}

/// A caller who may look after users: a signed-in administrator, or an operator.
pub struct SuperUser {
    pub(super) context: Context,
    pub(super) authority: Authority,
}

/// What makes a super-user one.
pub(super) enum Authority {
    /// The role.
    Role(Box<SignedIn>),
    /// The command line.
    Operator(Operator),
}

/// Someone at the command line.
#[derive(Clone, Debug)]
pub struct Operator(pub String);

/// A caller that may ask about other people's tokens: an application with its key, or a super-user.
pub struct TrustedApplication {
    pub(super) context: Context,
    pub(super) application: Application,
    pub(super) super_user: Option<Box<SignedIn>>,
}

impl Anyone {
    /// A call arrives through the application that it names.
    ///
    /// # Errors
    /// [`Code::ApplicationInvalid`]: the application is unknown, or its key is wrong or missing where it is demanded. Those of an
    /// address that is claimed for its user and not to be believed.
    pub async fn arrive(context: Context) -> Result<Self> {
        let name = context.call.application.clone().unwrap_or_else(|| application::DEFAULT.to_owned());
        let (application, is_keyed) = find_application(&context, &name).await?;
        context.trail.set_application(application.name.as_str());
        context.believe_address(is_keyed && application.may_set_remote_addr)?;
        Ok(Self { context, application, is_keyed })
    }

    /// The same call through another application.
    ///
    /// # Errors
    /// Those of [`Anyone::arrive`].
    pub(super) async fn through(mut self, name: &str) -> Result<Self> {
        if fold(name) != self.application.name_key {
            (self.application, self.is_keyed) = find_application(&self.context, name).await?;
            self.context.trail.set_application(self.application.name.as_str());
            self.context.believe_address(self.is_keyed && self.application.may_set_remote_addr)?;
        }
        Ok(self)
    }

    fn token(&self) -> Result<TokenHash> {
        let refuse = |reason| Error::new(Code::SessionInvalid).because(reason);
        let token = self.context.call.token.as_deref().ok_or_else(|| refuse("token_missing"))?;
        Ok(Ust::parse(token).ok_or_else(|| refuse("token_malformed"))?.hash())
    }

    /// The caller shows a token, which is not looked at any further.
    ///
    /// # Errors
    /// [`Code::SessionInvalid`] if there is none, or it cannot be one.
    pub fn show_token(self) -> Result<Bearer> {
        Ok(Bearer { token: self.token()?, context: self.context })
    }

    /// The caller proves by its UST who it is. Everything is checked at every use: that the session lives, that this application
    /// accepts it, and that the account may act now.
    ///
    /// # Errors
    /// [`Code::SessionInvalid`], whatever the cause; the audit trail knows it.
    pub async fn sign_on(self) -> Result<SignedIn> {
        let refuse = |reason| Error::new(Code::SessionInvalid).because(reason);
        let token = self.token()?;
        let opened = self.context.services.inner.store.read(move |snapshot| Ok(snapshot.session_by_token(&token)?)).await?;
        let opened = opened.ok_or_else(|| refuse("session_unknown"))?;
        let Opened { session, user, application } = &opened;
        self.context.trail.set_actor(user_actor(user, session.session_id));
        if session.is_expired(self.context.now()) {
            return Err(refuse("session_expired"));
        }
        if !Session::is_accepted_by(application, &self.application) {
            return Err(refuse("application_mismatch"));
        }
        may_act(user, self.context.now()).map_err(|barred| refuse(barred.as_str()))?;
        let bond = Some(Bond { session_id: opened.session.session_id, needs_role: false });
        let signed_in = SignedIn { context: Context { bond, ..self.context }, application: self.application, opened };
        signed_in.note_activity();
        Ok(signed_in)
    }

    /// The caller proves that it may ask about tokens: by the application's key, or as a super-user.
    ///
    /// # Errors
    /// [`Code::SessionInvalid`] without either, [`Code::Forbidden`] for a user who is no super-user.
    pub async fn vouch(self) -> Result<TrustedApplication> {
        if self.is_keyed {
            let id = Some(self.application.name.to_string());
            self.context.trail.set_actor(Actor { kind: ActorType::Application, id, session: None });
            return Ok(TrustedApplication { context: self.context, application: self.application, super_user: None });
        }
        let super_user = self.sign_on().await?;
        super_user.require_role()?;
        let (context, application) = (super_user.context.clone(), super_user.application.clone());
        Ok(TrustedApplication { context, application, super_user: Some(Box::new(super_user)) })
    }
}

async fn find_application(context: &Context, name: &str) -> Result<(Application, bool)> {
    let refuse = |reason| Error::new(Code::ApplicationInvalid).because(reason);
    let key = fold(name);
    let found = context.services.inner.store.read(move |snapshot| Ok(snapshot.application_by_name(&key)?)).await?;
    let application = found.ok_or_else(|| refuse("application_unknown"))?;
    let is_keyed = match (&context.call.application_key, &application.key_hash) {
        (Some(sent), Some(known)) => {
            let sent = ApplicationKey::parse(sent).ok_or_else(|| refuse("application_key_wrong"))?;
            if !sent.hash().matches(known) {
                return Err(refuse("application_key_wrong"));
            }
            true
        }
        (Some(_), None) => return Err(refuse("application_key_wrong")),
        (None, _) if application.is_key_required => return Err(refuse("application_key_missing")),
        (None, _) => false,
    };
    Ok((application, is_keyed))
}

pub(super) fn user_actor(user: &User, session: SessionId) -> Actor {
    Actor { kind: ActorType::User, id: Some(user.user_id.to_string()), session: Some(session) }
}

impl SignedIn {
    /// The caller's role makes a super-user.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub fn rise(self) -> Result<SuperUser> {
        self.require_role()?;
        let bond = Some(Bond { session_id: self.opened.session.session_id, needs_role: true });
        Ok(SuperUser { context: Context { bond, ..self.context.clone() }, authority: Authority::Role(Box::new(self)) })
    }

    fn require_role(&self) -> Result<()> {
        if self.opened.user.is_super_user() { Ok(()) } else { Err(Error::new(Code::Forbidden).because("not_super_user")) }
    }

    /// The signed-in user's id.
    pub fn user_id(&self) -> UserId {
        self.opened.user.user_id
    }

    /// The viewer that the caller is towards a user.
    pub fn viewer_of(&self, subject: UserId) -> Viewer {
        viewer_of(Some(&self.opened.user), subject)
    }

    /// Notes the time of use, at most once a minute, without keeping the call waiting.
    fn note_activity(&self) {
        let (user_id, now) = (self.user_id(), self.context.now());
        if self.opened.user.active_time.is_none_or(|t| t + ACTIVE_GRAIN <= now) {
            let store = self.context.services.inner.store.clone();
            tokio::spawn(async move {
                let noted = store.keep_count(move |tx| Ok(tx.touch_user(user_id, now)?)).await;
                if let Err(error) = noted {
                    tracing::warn!(cause = error.logged_cause(), "a time of use was not noted");
                }
            });
        }
    }
}

impl SuperUser {
    /// Someone at the command line acts.
    pub fn at_the_command_line(context: Context, operator: Operator) -> Self {
        context.trail.set_actor(Actor { kind: ActorType::Operator, id: Some(operator.0.clone()), session: None });
        Self { context, authority: Authority::Operator(operator) }
    }

    /// The super-user's own id, if it is a user.
    pub(super) fn own_id(&self) -> Option<UserId> {
        match &self.authority {
            Authority::Role(signed_in) => Some(signed_in.user_id()),
            Authority::Operator(_) => None,
        }
    }

    /// Who this is, for records of who did something.
    pub(super) fn name(&self) -> String {
        match &self.authority {
            Authority::Role(signed_in) => signed_in.user_id().to_string(),
            Authority::Operator(Operator(name)) => name.clone(),
        }
    }

    /// When the session in use was opened, if there is one.
    pub(super) fn signed_in_since(&self) -> Option<Utc> {
        match &self.authority {
            Authority::Role(signed_in) => Some(signed_in.opened.session.created_time),
            Authority::Operator(_) => None,
        }
    }

    /// The session in use, if there is one.
    pub(super) fn session_id(&self) -> Option<SessionId> {
        match &self.authority {
            Authority::Role(signed_in) => Some(signed_in.opened.session.session_id),
            Authority::Operator(_) => None,
        }
    }
}
