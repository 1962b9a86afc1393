//! Sessions: looking at them, renewing them, ending them, asking about a token.

use super::caller::{Authenticated, Bearer, SignedIn, SuperUser, TrustedApplication, user_actor};
use super::context::Context;
use super::did::Did;
use super::known::WrittenView;
use super::proof::{Places, Proof, Shown};
use crate::domain::attribute::Viewer;
use crate::domain::audit::Action;
use crate::domain::ids::{ApplicationId, LinkedAccountId, SessionId, UserId};
use crate::domain::secret::Ust;
use crate::domain::session::{Session, SessionView};
use crate::domain::text::Name;
use crate::domain::time::Utc;
use crate::domain::user::viewer_of;
use crate::error::{Code, Error, Result};
use crate::store::{Opened, Snapshot, Tx};
use std::sync::Arc;

/// What is said of a token.
#[derive(Debug)]
pub enum Introspection {
    /// It is good for nothing, for whatever cause.
    Inactive,
    /// It is good.
    Active {
        /// Its session.
        session: SessionView,
        /// Its user, as the asker sees it.
        user: Arc<WrittenView>,
    },
}

impl Bearer {
    /// Signs out. It is no error if the session has ended already.
    ///
    /// # Errors
    /// The database fails.
    pub async fn sign_out(self) -> Result<()> {
        let Self { context, token } = self;
        let found = context.services.inner.store.read(move |snapshot| Ok(snapshot.session_by_token(&token)?)).await?;
        let Some(Opened { session, user, .. }) = found else { return Ok(()) };
        context.trail.set_actor(user_actor(&user, session.session_id));
        let session_id = session.session_id;
        let end = move |tx: &mut Tx<'_>| {
            tx.end_session(user.user_id, session_id)?;
            Ok(((), Did::to(user.user_id)))
        };
        context.change_session(session_id, end).await
    }
}

impl Context {
    async fn end_one(&self, user_id: UserId, session_id: SessionId) -> Result<()> {
        let end = move |tx: &mut Tx<'_>| {
            if !tx.end_session(user_id, session_id)? {
                return Err(Error::new(Code::NotFound).because("session_unknown"));
            }
            Ok(((), Did::to(user_id)))
        };
        self.change_session(session_id, end).await
    }

    async fn end_all(&self, user_id: UserId) -> Result<usize> {
        let end = move |tx: &mut Tx<'_>| Ok((tx.end_sessions(user_id)?, Did::to(user_id)));
        self.change(end).await
    }

    async fn list_of(&self, user_id: UserId, viewer: Viewer, current: Option<SessionId>) -> Result<Vec<SessionView>> {
        self.trail.shows(user_id, viewer);
        let now: Utc = self.now();
        let listed = self.services.inner.store.read(move |snapshot| Ok(snapshot.sessions_of(user_id, now)?)).await?;
        Ok(listed.iter().map(|(session, application)| SessionView::of(session, application.as_str(), current)).collect())
    }
}

impl SignedIn {
    /// The session of this call.
    pub fn session(&self) -> SessionView {
        let Opened { session, application, .. } = &self.opened;
        self.context.trail.set_subject(session.user_id);
        self.context.trail.shows(session.user_id, viewer_of(Some(&self.opened.user), session.user_id));
        SessionView::of(session, application.name.as_str(), Some(session.session_id))
    }

    /// Moves the idle expiry of the session of this call.
    ///
    /// # Errors
    /// [`Code::SessionInvalid`] if it has just ended.
    pub async fn renew(self) -> Result<SessionView> {
        let (session_id, now) = (self.opened.session.session_id, self.context.now());
        let idle = self.context.services.inner.idle;
        let viewer = viewer_of(Some(&self.opened.user), self.opened.user.user_id);
        let renew = move |tx: &mut Tx<'_>| {
            let ended = || Error::new(Code::SessionInvalid).because("session_unknown");
            let mut session = tx.hold_session(session_id)?.ok_or_else(ended)?;
            if let Some(moved) = session.renewal(now, idle) {
                tx.renew_session(session_id, moved, now)?;
                session.idle_expiry = moved;
            }
            let user_id = session.user_id;
            Ok((session, Did::to(user_id).showing(user_id, viewer)))
        };
        let session = self.context.change_session(session_id, renew).await?;
        Ok(SessionView::of(&session, self.opened.application.name.as_str(), Some(session_id)))
    }
}

impl Authenticated {
    /// One's own live sessions.
    ///
    /// # Errors
    /// The database fails.
    pub async fn own_sessions(&self) -> Result<Vec<SessionView>> {
        self.context.trail.set_subject(self.user_id());
        self.context.list_of(self.user_id(), self.viewer_of(self.user_id()), self.session_id()).await
    }

    /// Ends one of one's own sessions: the one in use at any time, another one soon after signing in only, so that whoever stole a session
    /// does not throw its owner out (S22).
    ///
    /// # Errors
    /// [`Code::NotFound`] if there is none of this id; [`Code::FreshSignInRequired`]; [`Code::SessionRequired`] for an API key.
    pub async fn end_own_session(self, session_id: SessionId) -> Result<()> {
        self.context.trail.set_subject(self.user_id());
        if self.session_id() != Some(session_id) {
            // Ending others than the one in use is what ending all of them is.
            self.expect_proof_for(Action::SessionRevokeAll, Some(self.user_id()))?;
        }
        self.context.end_one(self.user_id(), session_id).await
    }

    /// Ends all of one's own sessions, that of this call included; tells how many.
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`]; [`Code::SessionRequired`] for an API key.
    pub async fn end_own_sessions(self) -> Result<usize> {
        self.context.trail.set_subject(self.user_id());
        self.expect_proof(Some(self.user_id()))?;
        self.context.end_all(self.user_id()).await
    }
}

impl SuperUser {
    /// The live sessions of a user.
    ///
    /// # Errors
    /// [`Code::NotFound`] if there is no such user.
    pub async fn sessions_of(&self, user_id: UserId) -> Result<Vec<SessionView>> {
        self.user(user_id).await?;
        self.context.list_of(user_id, Viewer::SuperUser, self.session_id()).await
    }

    /// Ends one session of a user.
    ///
    /// # Errors
    /// [`Code::NotFound`] if the user has no such session.
    pub async fn end_session(self, user_id: UserId, session_id: SessionId) -> Result<()> {
        self.context.trail.set_subject(user_id);
        self.context.end_one(user_id, session_id).await
    }

    /// Ends all sessions of a user; tells how many.
    ///
    /// # Errors
    /// [`Code::NotFound`] if there is no such user.
    pub async fn end_sessions(self, user_id: UserId) -> Result<usize> {
        self.user(user_id).await?;
        self.context.end_all(user_id).await
    }

    /// Ends all sessions that were opened through an application, but for the session in use; tells how many (S22).
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`]; [`Code::NotFound`] if there is no such application.
    pub async fn end_sessions_of_application(self, application_id: ApplicationId) -> Result<usize> {
        self.context.trail.set_subject(application_id);
        self.expect_proof(None)?;
        let own = self.session_id();
        let end = move |tx: &mut Tx<'_>| {
            let unknown = || Error::new(Code::NotFound).because("application_unknown");
            tx.read().application(application_id)?.ok_or_else(unknown)?;
            Ok((tx.end_sessions_but(own, Some(application_id))?, Did::to(application_id)))
        };
        self.context.change(end).await
    }

    /// Ends everyone's sessions, but for the session in use; tells how many (S22).
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`].
    pub async fn end_everyones_sessions(self) -> Result<usize> {
        self.expect_proof(None)?;
        let own = self.session_id();
        let end = move |tx: &mut Tx<'_>| Ok((tx.end_sessions_but(own, None)?, Did::noted()));
        self.context.change(end).await
    }

    /// Live sessions of anyone, in order of creation, after `after`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn live_sessions(&self, after: Option<SessionId>, limit: i64) -> Result<Vec<SessionView>> {
        let now = self.context.now();
        let found =
            self.context.services.inner.store.read(move |snapshot| Ok(snapshot.live_sessions(after, limit, now)?)).await?;
        found.iter().for_each(|(session, _)| self.context.trail.shows(session.user_id, Viewer::SuperUser));
        self.context.settle_shown(Viewer::SuperUser).await?;
        Ok(found.iter().map(|(session, application)| SessionView::of(session, application.as_str(), None)).collect())
    }
}

/// A session with the name of its user, and the account it was opened through if it is a linked one's.
#[derive(Debug)]
pub struct SessionEntry {
    /// The session.
    pub session: SessionView,
    /// Its user's name.
    pub username: Name,
    /// The linked account.
    pub account_id: Option<LinkedAccountId>,
}

impl Context {
    /// The live sessions of a user, each with what it was opened through.
    async fn entries_of(&self, user_id: UserId, viewer: Viewer, current: Option<SessionId>) -> Result<Vec<SessionEntry>> {
        self.trail.shows(user_id, viewer);
        let now = self.now();
        let list = move |snapshot: &mut Snapshot<'_>| {
            let user = snapshot.user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
            Ok((user.username, snapshot.sessions_of(user_id, now)?, snapshot.linked_accounts(Some(user_id))?))
        };
        let (username, sessions, accounts) = self.services.inner.store.read(list).await?;
        let entry = |(session, application): &(Session, Name)| {
            let through = accounts.iter().find(|account| account.session_id == Some(session.session_id));
            SessionEntry {
                session: SessionView::of(session, application.as_str(), current),
                username: username.clone(),
                account_id: through.map(|account| account.account_id),
            }
        };
        Ok(sessions.iter().map(entry).collect())
    }
}

impl Authenticated {
    /// One's own live sessions, each with what it was opened through.
    ///
    /// # Errors
    /// The database fails.
    pub async fn own_session_entries(&self) -> Result<Vec<SessionEntry>> {
        self.context.trail.set_subject(self.user_id());
        self.context.entries_of(self.user_id(), self.viewer_of(self.user_id()), self.session_id()).await
    }
}

impl SuperUser {
    /// The live sessions of a user, each with what it was opened through.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn session_entries_of(&self, user_id: UserId) -> Result<Vec<SessionEntry>> {
        self.context.trail.set_subject(user_id);
        self.context.entries_of(user_id, Viewer::SuperUser, self.session_id()).await
    }

    /// A session that is good, by its token or its id; `None` if it is not, for whatever cause. Where its bearer is is not known: the user's
    /// networks are judged by where it was opened.
    ///
    /// # Errors
    /// The database fails.
    pub async fn good_session(&self, named: &str) -> Result<Option<SessionView>> {
        let token = Ust::parse(named).map(|token| token.hash());
        let session_id = named.parse::<SessionId>().ok();
        let (now, context) = (self.context.now(), self.context.clone());
        let look_up = move |snapshot: &mut Snapshot<'_>| {
            let found = match (&token, session_id) {
                (Some(token), _) => snapshot.session_by_token(token)?,
                (None, Some(session_id)) => snapshot.session_with_user(session_id)?,
                (None, None) => None,
            };
            let Some(opened) = found else { return Ok(None) };
            let Opened { session, user, application } = opened;
            let opened_from = session.remote_addr.as_deref().and_then(|address| address.parse().ok());
            let places = Places::at(&context, opened_from, opened_from);
            let proof = Proof::Session(Box::new(session.clone()), Box::new(application.clone()));
            let is_good = proof.judge(snapshot, &user, &application, places, now)?.is_ok();
            Ok(is_good.then_some((session, application)))
        };
        let found = self.context.services.inner.store.read(look_up).await?;
        Ok(found.map(|(session, application)| {
            self.context.trail.set_subject(session.user_id);
            self.context.trail.shows(session.user_id, Viewer::SuperUser);
            SessionView::of(&session, application.name.as_str(), self.session_id())
        }))
    }
}

impl TrustedApplication {
    /// Whether a session token is good for the asking application, and whose it is. Every cause for which it is not gives the same
    /// answer. Where the token's bearer is now, the application may tell; otherwise the user's networks are judged by where the session
    /// was opened.
    ///
    /// # Errors
    /// The database fails.
    pub async fn introspect(&self, token: &str) -> Result<Introspection> {
        let Some(token) = Ust::parse(token).map(|t| t.hash()) else { return Ok(Introspection::Inactive) };
        let known = self.context.known(Shown::Session(token), &self.application).await?;
        let Some(known) = known else {
            return Ok(Introspection::Inactive);
        };
        let (session, opened) = match &known.proof {
            Proof::Session(session, opened) => (session, opened),
            Proof::Key(_) => return Ok(Introspection::Inactive),
        };
        let user_at =
            self.context.told_addr().or_else(|| session.remote_addr.as_deref().and_then(|address| address.parse().ok()));
        let places = Places::at(&self.context, self.context.call.remote_addr, user_at);
        if known.stands(&self.application, places, self.context.now()).is_err() {
            return Ok(Introspection::Inactive);
        }
        let user_id = known.user().user_id;
        self.context.trail.set_subject(user_id);
        // The token's bearer let the application see what the bearer itself sees; a super-user sees more.
        let viewer = match &self.super_user {
            Some(super_user) => super_user.viewer_of(user_id),
            None => Viewer::Owner,
        };
        let session = SessionView::of(session, opened.name.as_str(), None);
        Ok(Introspection::Active { session, user: known.written_for(viewer)? })
    }
}
