//! Callers: who may do what, as types.
//!
//! Everyone begins as [`Anyone`], through an application. A UST or an API key makes an [`Authenticated`], the role of its user a
//! [`SuperUser`], an application's key a [`TrustedApplication`]. An [`Authenticated`] with a UST is a [`SignedIn`]: what makes sense with
//! a session alone asks for one. Each step can be refused, and there is no other way from one to the next. Someone at the command line
//! is an [`Operator`]: whoever can read the key file and write the database needs no further proof, and is a super-user.
//!
//! A regular user has no look-up of others, but for what the roster (`roster.rs`) shows of them where the list of users is open. So
//! this does not compile:
//!
//! ```compile_fail,E0599
//! async fn look_up(caller: usher::service::Authenticated, id: usher::domain::ids::UserId) {
//!     let _ = caller.user(id).await;
//! }
//! ```
//!
//! nor does changing a password by an API key, which proves nothing of who holds it:
//!
//! ```compile_fail,E0599
//! async fn seize(caller: usher::service::Authenticated, password: usher::domain::secret::Password) {
//!     let _ = caller.change_password(password.clone(), password).await;
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
use super::known::Known;
use super::proof::{Places, Proof, Shown};
use super::proven::{Principal, Proven};
use crate::domain::application::{self, Application};
use crate::domain::attribute::Viewer;
use crate::domain::audit::{Action, Actor, ActorType};
use crate::domain::ids::{CredentialId, SessionId, UserId};
use crate::domain::secret::{ApiKeyToken, ApplicationKey, TokenHash, Ust};
use crate::domain::session::Session;
use crate::domain::text::fold;
use crate::domain::time::Utc;
use crate::domain::user::{User, viewer_of};
use crate::error::{Code, Error, Result};
use crate::store::{Opened, Tx};
use std::sync::Arc;
use std::time::Duration;

/// How long a call waits for its time of use to be noted.
const BRIEFLY: Duration = Duration::from_millis(250);
/// `active_time` is kept to this.
const ACTIVE_GRAIN: Duration = Duration::from_secs(60);

/// A caller of whom nothing is known but the application.
pub struct Anyone {
    pub(super) context: Context,
    pub(super) application: Arc<Application>,
    pub(super) is_keyed: bool,
}

/// A caller that bears a session token, which need not be good any more.
pub struct Bearer {
    pub(super) context: Context,
    pub(super) token: TokenHash,
}

/// A caller that proved by a live session or an API key to be a user whose account may act now.
pub struct Authenticated {
    pub(super) context: Context,
    pub(super) application: Arc<Application>,
    pub(super) known: Arc<Known>,
}

/// The same by a live session.
pub struct SignedIn {
    pub(super) context: Context,
    pub(super) application: Arc<Application>,
    pub(super) opened: Opened,
}

/// A caller who may look after users: an administrator, or an operator.
pub struct SuperUser {
    pub(super) context: Context,
    pub(super) authority: Authority,
}

/// What makes a super-user one.
pub(super) enum Authority {
    /// The role.
    Role(Box<Authenticated>),
    /// The command line.
    Operator(Operator),
}

/// Someone at the command line.
#[derive(Clone, Debug)]
pub struct Operator(pub String);

/// A caller that may ask about other people's tokens: an application with its key, or a super-user.
pub struct TrustedApplication {
    pub(super) context: Context,
    pub(super) application: Arc<Application>,
    pub(super) super_user: Option<Box<Authenticated>>,
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
        context.believe_address(&application, is_keyed)?;
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
            self.context.believe_address(&self.application, self.is_keyed)?;
        }
        Ok(self)
    }

    fn shown(&self) -> Result<Shown> {
        let refuse = |reason| Error::new(Code::SessionInvalid).because(reason);
        if let Some(key) = &self.context.call.api_key {
            return Ok(Shown::Key(ApiKeyToken::parse(key).ok_or_else(|| refuse("key_malformed"))?.hash()));
        }
        let token = self.context.call.token.as_deref().ok_or_else(|| refuse("token_missing"))?;
        Ok(Shown::Session(Ust::parse(token).ok_or_else(|| refuse("token_malformed"))?.hash()))
    }

    /// The caller shows a session token, which is not looked at any further.
    ///
    /// # Errors
    /// [`Code::SessionInvalid`] if there is none, or it cannot be one; [`Code::SessionRequired`] for an API key.
    pub async fn show_token(self) -> Result<Bearer> {
        match self.shown()? {
            Shown::Session(token) => Ok(Bearer { token, context: self.context }),
            Shown::Key(_) => self.authenticate().await.and(Err(Error::new(Code::SessionRequired))),
        }
    }

    /// The caller proves by its UST or its API key who it is. Everything is checked at every use: that the session or key is good, that
    /// this application accepts it, and that the account may act now and by this way. A key that may only read makes no other call.
    ///
    /// # Errors
    /// [`Code::SessionInvalid`], whatever the cause; the audit trail knows it. [`Code::KeyReadOnly`].
    pub async fn authenticate(self) -> Result<Authenticated> {
        let refuse = |reason| Error::new(Code::SessionInvalid).because(reason);
        let (places, now) = (Places::of(&self.context), self.context.now());
        let shown = self.shown()?;
        let unknown = shown.unknown();
        let known = self.context.known(shown, &self.application).await?.ok_or_else(|| refuse(unknown))?;
        self.context.trail.set_actor(user_actor(known.user(), known.proof.id()));
        known.stands(&self.application, places, now).map_err(refuse)?;
        if let Proof::Key(key) = &known.proof
            && let Some(maker) = &key.made_by
        {
            self.context.trail.set_key_maker(maker);
        }
        match &known.proof {
            Proof::Key(key) if !key.permits(self.context.call.is_safe) => return Err(Error::new(Code::KeyReadOnly)),
            Proof::Key(_) | Proof::Session(..) => {}
        }
        let bond = Some(Bond {
            credential: known.proof.credential(),
            application_id: self.application.application_id,
            needs_role: false,
        });
        let context = Context { bond, ..self.context };
        let mut authenticated = Authenticated { context, application: self.application, known };
        authenticated.note_activity().await;
        Ok(authenticated)
    }

    /// The caller proves by its UST who it is; an API key is not enough.
    ///
    /// # Errors
    /// Those of [`Anyone::authenticate`]; [`Code::SessionRequired`].
    pub async fn sign_on(self) -> Result<SignedIn> {
        self.authenticate().await?.by_session()
    }

    /// The caller proves that it may ask about tokens: by the application's key, or as a super-user.
    ///
    /// # Errors
    /// [`Code::SessionInvalid`] without either, [`Code::Forbidden`] for a user who is no super-user; [`Code::ApplicationInvalid`] for a
    /// key that is used from elsewhere than the application's networks.
    pub async fn vouch(self) -> Result<TrustedApplication> {
        if self.is_keyed {
            if !self.application.allowed_networks.admit(self.context.call.remote_addr) {
                return Err(Error::new(Code::ApplicationInvalid).because("address_not_allowed"));
            }
            let id = Some(self.application.name.to_string());
            self.context.trail.set_actor(Actor { kind: ActorType::Application, id, session: None });
            return Ok(TrustedApplication { context: self.context, application: self.application, super_user: None });
        }
        let super_user = self.authenticate().await?;
        super_user.require_role()?;
        let (context, application) = (super_user.context.clone(), super_user.application.clone());
        Ok(TrustedApplication { context, application, super_user: Some(Box::new(super_user)) })
    }
}

async fn find_application(context: &Context, name: &str) -> Result<(Arc<Application>, bool)> {
    let refuse = |reason| Error::new(Code::ApplicationInvalid).because(reason);
    let application = context.application_by_name(fold(name)).await?.ok_or_else(|| refuse("application_unknown"))?;
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

/// A user who acts through a session or an API key.
pub(super) fn user_actor(user: &User, through: impl Into<CredentialId>) -> Actor {
    Actor { kind: ActorType::User, id: Some(user.user_id.to_string()), session: Some(through.into()) }
}

impl Context {
    /// When a user proved who it is, by what it shows.
    pub(super) fn proven(&self, proof: &Proof, user: &User) -> Proven {
        match proof {
            Proof::Session(session, _) => self.proven_by(session, user),
            Proof::Key(_) => Proven::ByKey,
        }
    }

    /// The proof that a session of this user is.
    fn proven_by(&self, session: &Session, user: &User) -> Proven {
        match session.proved_time(user.is_totp_enabled) {
            Some(_) if self.leniency.do_sessions_stay_fresh => Proven::AtSignIn(self.now()),
            Some(time) => Proven::AtSignIn(time),
            None => Proven::TooWeakly,
        }
    }
}

impl SignedIn {
    /// The signed-in user's id.
    pub fn user_id(&self) -> UserId {
        self.opened.user.user_id
    }

    /// The proof meets what the call's action demands for one's own account.
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`].
    pub(super) fn expect_proof(&self) -> Result<()> {
        let proven = self.context.proven_by(&self.opened.session, &self.opened.user);
        let action = self.context.action();
        self.context.expect_proof(Principal { user_id: self.user_id(), proven }, action, Some(self.user_id()))
    }
}

impl Authenticated {
    /// What makes sense with a session alone.
    ///
    /// # Errors
    /// [`Code::SessionRequired`] for an API key.
    pub fn by_session(self) -> Result<SignedIn> {
        match &self.known.proof {
            Proof::Session(session, application) => {
                let user = self.known.user().clone();
                let opened = Opened { session: (**session).clone(), user, application: (**application).clone() };
                Ok(SignedIn { context: self.context, application: self.application, opened })
            }
            Proof::Key(_) => Err(Error::new(Code::SessionRequired)),
        }
    }

    /// The caller's role makes a super-user.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub fn rise(self) -> Result<SuperUser> {
        self.require_role()?;
        let context = self.context.clone();
        let bond = context.bond.map(|bond| Bond { needs_role: true, ..bond });
        Ok(SuperUser { context: Context { bond, ..context }, authority: Authority::Role(Box::new(self)) })
    }

    fn require_role(&self) -> Result<()> {
        if self.known.user().is_super_user() { Ok(()) } else { Err(Error::new(Code::Forbidden).because("not_super_user")) }
    }

    /// The caller's id as a user.
    pub fn user_id(&self) -> UserId {
        self.known.user().user_id
    }

    /// The viewer that the caller is towards a user.
    pub fn viewer_of(&self, subject: UserId) -> Viewer {
        viewer_of(Some(self.known.user()), subject)
    }

    /// The session in use, if it is one.
    pub(super) fn session_id(&self) -> Option<SessionId> {
        match &self.known.proof {
            Proof::Session(session, _) => Some(session.session_id),
            Proof::Key(_) => None,
        }
    }

    /// When the caller last proved who it is.
    pub(super) fn proven(&self) -> Proven {
        self.context.proven(&self.known.proof, self.known.user())
    }

    /// The proof meets what the call's action demands for a change that is about `whom`.
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`], [`Code::SessionRequired`].
    pub(super) fn expect_proof(&self, whom: Option<UserId>) -> Result<()> {
        self.expect_proof_for(self.context.action(), whom)
    }

    /// The same for another action.
    ///
    /// # Errors
    /// Those of [`Authenticated::expect_proof`].
    pub(super) fn expect_proof_for(&self, action: Action, whom: Option<UserId>) -> Result<()> {
        self.context.expect_proof(Principal { user_id: self.user_id(), proven: self.proven() }, action, whom)
    }

    /// Notes the time of use, at most once a minute.
    async fn note_activity(&mut self) {
        let (user_id, now) = (self.user_id(), self.context.now());
        let is_stale = |last: Option<Utc>| last.is_none_or(|t| t + ACTIVE_GRAIN <= now);
        let key_id = match &self.known.proof {
            Proof::Key(key) => Some(key.key_id).filter(|_| is_stale(key.last_used_time)),
            Proof::Session(..) => None,
        };
        if is_stale(self.known.user().active_time) || key_id.is_some() {
            // What this call tells of its user is what the next one will tell.
            self.known = Arc::new(self.known.active_at(now));
            let store = self.context.services.inner.store.clone();
            let mut noting = Box::pin(async move {
                let note = move |tx: &mut Tx<'_>| {
                    tx.touch_user(user_id, now)?;
                    if let Some(key_id) = key_id {
                        tx.touch_api_key(key_id, now)?;
                    }
                    Ok(())
                };
                let noted = store.keep_count(note).await;
                if let Err(error) = noted {
                    tracing::warn!(cause = error.logged_cause(), "a time of use was not noted");
                }
            });
            // Waited for, so that what follows on this call finds it; but no call fails for it, or waits long.
            if tokio::time::timeout(BRIEFLY, &mut noting).await.is_err() {
                tokio::spawn(noting);
            }
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
            Authority::Role(administrator) => Some(administrator.user_id()),
            Authority::Operator(_) => None,
        }
    }

    /// The super-user's own account, if it is a user.
    pub(super) fn own_account(&self) -> Option<&User> {
        match &self.authority {
            Authority::Role(administrator) => Some(administrator.known.user()),
            Authority::Operator(_) => None,
        }
    }

    /// Who this is, for records of who did something.
    pub(super) fn name(&self) -> String {
        match &self.authority {
            Authority::Role(administrator) => administrator.user_id().to_string(),
            Authority::Operator(Operator(name)) => name.clone(),
        }
    }

    /// When this super-user last proved who it is.
    pub(super) fn proven(&self) -> Proven {
        match &self.authority {
            Authority::Role(administrator) => administrator.proven(),
            Authority::Operator(_) => Proven::AtTheCommandLine,
        }
    }

    /// The proof meets what the call's action demands for a change that is about `whom`; of an operator nothing is asked.
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`], [`Code::SessionRequired`].
    pub(super) fn expect_proof(&self, whom: Option<UserId>) -> Result<()> {
        self.expect_proof_for(self.context.action(), whom)
    }

    /// The same for another action.
    ///
    /// # Errors
    /// Those of [`SuperUser::expect_proof`].
    pub(super) fn expect_proof_for(&self, action: Action, whom: Option<UserId>) -> Result<()> {
        match &self.authority {
            Authority::Role(administrator) => administrator.expect_proof_for(action, whom),
            Authority::Operator(_) => Ok(()),
        }
    }

    /// The session in use, if there is one.
    pub(super) fn session_id(&self) -> Option<SessionId> {
        match &self.authority {
            Authority::Role(administrator) => administrator.session_id(),
            Authority::Operator(_) => None,
        }
    }
}
