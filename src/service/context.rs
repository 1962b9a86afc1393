//! One call: what is known of it before anyone is asked who they are, and the trail it leaves.
//!
//! A call leaves **one** audit event. A change brings its event along and writes it in its own transaction ([`Context::change`]).
//! Whatever else happens (a read, a refusal, an unknown path) is written at the end by [`Context::conclude`], before the answer. The
//! [`Trail`] remembers what has become known on the way, and whether the event is written.

use super::Services;
use super::did::Did;
use super::leniency::Leniency;
use super::notices::notify;
use super::proof::{Credential, Places, Proof};
use super::proven::Principal;
use super::quota;
use super::showing::Showing;
use super::tidings::tell;
use crate::domain::application::Application;
use crate::domain::audit::{Action, Actor, ActorType, Event, Outcome};
use crate::domain::demand::Whom;
use crate::domain::ids::{ApplicationId, SessionId, UserId};
use crate::domain::time::Utc;
use crate::error::{Code, Error, Result};
use crate::settings::OwnReads;
use crate::store::{Snapshot, Tx};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is kept of a user agent, in characters.
pub const LONGEST_AGENT: usize = 256;

/// What is known of a call from the outside.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it began.
    pub now: Utc,
    /// Its correlation id.
    pub cid: String,
    /// What it sets out to do.
    pub action: Action,
    /// From which address.
    pub remote_addr: Option<IpAddr>,
    /// From which address its user comes, as it claims; believed of few applications only.
    pub claimed_addr: Option<String>,
    /// With which user agent its user comes, as it claims; believed of the same ones.
    pub claimed_agent: Option<String>,
    /// With which user agent.
    pub user_agent: Option<String>,
    /// The W3C trace context.
    pub traceparent: Option<String>,
    /// The application it names.
    pub application: Option<String>,
    /// The key of that application.
    pub application_key: Option<String>,
    /// The session token it bears.
    pub token: Option<String>,
    /// The API key it bears.
    pub api_key: Option<String>,
    /// Whether its method is a safe one (RFC 9110, section 9.2.1): it asks for no change.
    pub is_safe: bool,
    /// The device cookie it bears.
    pub device: Option<String>,
}

impl Call {
    /// A call that does not come from outside: from the command line, or from usher itself.
    pub fn internal(now: Utc, cid: String, action: Action) -> Self {
        Self {
            now,
            cid,
            action,
            remote_addr: None,
            claimed_addr: None,
            claimed_agent: None,
            user_agent: None,
            traceparent: None,
            application: None,
            application_key: None,
            token: None,
            api_key: None,
            is_safe: false,
            device: None,
        }
    }
}

/// What a call claims in its body, in a dialect that has it there.
#[derive(Debug, Default)]
pub struct Claims {
    /// The application it names.
    pub application: Option<String>,
    /// The session token it bears.
    pub token: Option<String>,
    /// From which address its user comes; believed as the header is.
    pub claimed_addr: Option<String>,
    /// With which user agent the user comes; believed together with the address.
    pub user_agent: Option<String>,
}

/// What has become known of a call for its audit event. Clones share it.
#[derive(Clone, Debug)]
pub struct Trail(Arc<Mutex<Draft>>);

#[derive(Debug)]
struct Draft {
    actor: Actor,
    subject: Option<String>,
    application: Option<String>,
    action: Option<Action>,
    /// By what right the actor acts, where it is not the own.
    basis: Option<String>,
    /// The address of the user, told by an application that is believed.
    told_addr: Option<IpAddr>,
    /// The user agent of the user, likewise.
    told_agent: Option<String>,
    /// Whom the answer shows, and by which views.
    showing: Showing,
    /// Whether its event is written, or may be.
    is_written: bool,
}

impl Default for Trail {
    fn default() -> Self {
        let (subject, application, action, basis, told_addr, told_agent) = (None, None, None, None, None, None);
        let (showing, is_written) = (Showing::default(), false);
        let draft =
            Draft { actor: Actor::ANONYMOUS, subject, application, action, basis, told_addr, told_agent, showing, is_written };
        Self(Arc::new(Mutex::new(draft)))
    }
}

impl Trail {
    fn draft(&self) -> MutexGuard<'_, Draft> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_actor(&self, actor: Actor) {
        self.draft().actor = actor;
    }

    /// The actor acts by a key that this one made: a user's id, or an operator.
    pub(super) fn set_key_maker(&self, maker: &str) {
        self.draft().basis = Some(format!("key:{maker}"));
    }

    /// Who acts, as far as is known.
    pub(super) fn actor_id(&self) -> Option<String> {
        self.draft().actor.id.clone()
    }

    /// On whom or what the call is, or is meant to be.
    pub fn set_subject(&self, subject: impl ToString) {
        self.draft().subject = Some(subject.to_string());
    }

    /// What the call turned out to set out to do, where its route has several uses.
    pub(super) fn set_action(&self, action: Action) {
        self.draft().action = Some(action);
    }

    pub(super) fn set_application(&self, name: &str) {
        self.draft().application = Some(name.to_owned());
    }

    pub(super) fn application(&self) -> Option<String> {
        self.draft().application.clone()
    }

    /// Whom the answer shows so far, and whether the call's event is written.
    pub(super) fn look_at_showing<T>(&self, look: impl FnOnce(&mut Showing, bool) -> T) -> T {
        let draft = &mut *self.draft();
        look(&mut draft.showing, draft.is_written)
    }

    /// Who turned out to be calling; for the log.
    pub fn actor(&self) -> Actor {
        self.draft().actor.clone()
    }
}

/// A call in progress, with the services at hand.
#[derive(Clone)]
pub struct Context {
    pub(super) services: Services,
    pub(super) call: Arc<Call>,
    pub(super) trail: Trail,
    /// What must still hold when a change is made.
    pub(super) bond: Option<Bond>,
    /// What the call is allowed beyond what others are.
    pub(super) leniency: Leniency,
}

/// The session or API key that a caller acts through, and the application. They were good when the caller was let in; a change asks
/// again, within its transaction, for meanwhile a body was read and perhaps a password hashed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bond {
    pub(super) credential: Credential,
    pub(super) application_id: ApplicationId,
    /// Whether it takes a super-user.
    pub(super) needs_role: bool,
}

impl Bond {
    /// `is_change`: whether something is about to be changed, which a key that may only read must not.
    fn check(self, snapshot: &mut Snapshot<'_>, context: &Context, is_change: bool, now: Utc) -> Result<Principal> {
        let refuse = |reason| Error::new(Code::SessionInvalid).because(reason);
        let (proof, user) = self.credential.find(snapshot)?.ok_or_else(|| refuse(self.credential.unknown()))?;
        let through = match &proof {
            Proof::Session(_, opened) if opened.application_id == self.application_id => opened.as_ref().clone(),
            Proof::Session(..) | Proof::Key(_) => {
                snapshot.application(self.application_id)?.ok_or_else(|| refuse("application_unknown"))?
            }
        };
        proof.judge(snapshot, &user, &through, Places::of(context), now)?.map_err(refuse)?;
        if is_change && proof.may_only_read() {
            return Err(Error::new(Code::KeyReadOnly));
        }
        if self.needs_role && !user.is_super_user() {
            return Err(Error::new(Code::Forbidden).because("not_super_user"));
        }
        Ok(Principal { user_id: user.user_id, proven: context.proven(&proof, &user) })
    }
}

impl Context {
    /// A call begins.
    pub fn new(services: Services, call: Call) -> Self {
        Self { services, call: Arc::new(call), trail: Trail::default(), bond: None, leniency: Leniency::NONE }
    }

    /// The same call as Zato's dialect has it: what it claims stands in its body, not in its headers; and it gets that dialect's leniency.
    #[must_use]
    pub fn claiming(self, claims: Claims) -> Self {
        let Claims { application, token, claimed_addr, user_agent } = claims;
        let call = Call::clone(&self.call);
        let call = Call {
            application,
            token,
            api_key: None,
            device: None,
            claimed_addr: claimed_addr.or(call.claimed_addr),
            claimed_agent: user_agent,
            ..call
        };
        let leniency = Leniency::of_zato(self.services.inner.zato_parity);
        Self { call: Arc::new(call), leniency, ..self }
    }

    /// The same call in Posit Connect's dialect.
    #[must_use]
    pub fn in_connect(self) -> Self {
        Self { leniency: Leniency::of_connect(), ..self }
    }

    /// The same call in the ECM's dialect.
    #[must_use]
    pub fn in_ecm(self) -> Self {
        Self { leniency: Leniency::of_ecm(self.services.inner.ecm_parity), ..self }
    }

    /// What is done besides what the call is about: by the same claims, with an event of its own under the same correlation id.
    pub(super) fn aside(&self, action: Action) -> Self {
        let call = Call { action, ..Call::clone(&self.call) };
        Self { call: Arc::new(call), trail: Trail::default(), ..self.clone() }
    }

    /// The same call as if it had begun at this time: what takes long is done by the clock, one part after the other.
    #[must_use]
    pub(super) fn begun(&self, now: Utc) -> Self {
        Self { call: Arc::new(Call { now, ..Call::clone(&self.call) }), ..self.clone() }
    }

    /// When the call began.
    pub fn now(&self) -> Utc {
        self.call.now
    }

    /// From which address whoever is served comes: the call's own, unless an application that may do so has told its user's. This is what
    /// lock-out counts by and records keep.
    pub fn remote_addr(&self) -> Option<IpAddr> {
        self.trail.draft().told_addr.or(self.call.remote_addr)
    }

    /// With which user agent whoever is served comes, likewise.
    pub(super) fn user_agent(&self) -> Option<String> {
        self.trail.draft().told_agent.clone().or_else(|| self.call.user_agent.clone())
    }

    /// The address that an application has told of its user.
    pub(super) fn told_addr(&self) -> Option<IpAddr> {
        self.trail.draft().told_addr
    }

    /// Takes the address that the call claims for its user, if the application may tell it: one that bears its key and has the right, and
    /// calls from where it may.
    ///
    /// # Errors
    /// [`Code::Forbidden`] from anyone else, [`Code::BadRequest`] if it is no address: a claim is never passed over.
    pub(super) fn believe_address(&self, application: &Application, is_keyed: bool) -> Result<()> {
        if self.call.claimed_addr.is_none() && self.call.claimed_agent.is_none() {
            return Ok(());
        }
        let is_there = application.allowed_networks.admit(self.call.remote_addr);
        if !(is_keyed && application.may_set_remote_addr && is_there) {
            let detail = "X-User-Address is taken only from an application that bears its key and may set it.";
            return Err(Error::new(Code::Forbidden).because("user_address_forbidden").detail(detail));
        }
        if let Some(agent) = &self.call.claimed_agent {
            self.trail.draft().told_agent = Some(agent.chars().filter(|c| !c.is_control()).take(LONGEST_AGENT).collect());
        }
        let Some(claimed) = &self.call.claimed_addr else { return Ok(()) };
        let bad = || Error::new(Code::BadRequest).because("user_address_malformed").detail("X-User-Address is no IP address.");
        let address: IpAddr = claimed.trim().parse().map_err(|_| bad())?;
        self.trail.draft().told_addr = Some(address.to_canonical());
        Ok(())
    }

    /// The call itself.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// The services, for probes: what needs a caller is not among its own methods.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// What it sets out to do, as far as is known.
    pub fn action(&self) -> Action {
        self.trail.draft().action.unwrap_or(self.call.action)
    }

    /// The trail it leaves.
    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    /// What let the caller in still holds. Returns who makes the change, where somebody had to be let in.
    fn check_bond(&self, tx: &mut Tx<'_>) -> Result<Option<Principal>> {
        let now = self.services.inner.clock.now();
        self.bond.map(|bond| bond.check(&mut tx.read(), self, true, now)).transpose()
    }

    /// The user whom the call is about, as far as is known.
    fn subject(&self) -> Option<UserId> {
        self.trail.draft().subject.as_ref()?.parse().ok()
    }

    /// Whether the user whom the call is about, as far as is known before it, is a super-user. Not asked where it would not matter.
    fn is_about_super_user(&self, tx: &mut Tx<'_>, principal: Option<Principal>) -> Result<bool> {
        let demand = self.leniency.demand(self.action());
        let asks = principal.is_some_and(|principal| principal.depends_on_whom(demand, self.call.now));
        let Some(user_id) = self.subject().filter(|_| asks) else { return Ok(false) };
        Ok(tx.read().user(user_id)?.is_some_and(|user| user.is_super_user()))
    }

    /// Whoever changes the own custom attributes has some of what they may add to the trail left. Returns whose they are.
    fn check_quota(&self, principal: Option<Principal>) -> Result<Option<UserId>> {
        let subject = self.subject();
        let own = principal.map(|principal| principal.user_id).filter(|own| quota::binds(self.action()) && subject == Some(*own));
        own.map(|own| self.services.inner.quota.check(own, self.now())).transpose()?;
        Ok(own)
    }

    /// What was done asks no more of the proof than there is. Asked when it is known what was done: nothing of it stays otherwise.
    fn check_demands(&self, tx: &mut Tx<'_>, principal: Option<Principal>, did: &Did, was_super_user: bool) -> Result<()> {
        let Some(principal) = principal.filter(|_| did.outcome == Outcome::Success) else { return Ok(()) };
        let told = did.subject.as_ref().map_or_else(|| self.subject(), |subject| subject.parse().ok());
        let subjects: Vec<UserId> = told.into_iter().chain(did.members.iter().copied()).collect();
        for action in std::iter::once(did.action.unwrap_or(self.action())).chain(did.parts.iter().copied()) {
            principal.may_have_done(tx, self.leniency.demand(action), &subjects, was_super_user, self.call.now)?;
        }
        Ok(())
    }

    /// Whether the proof meets what an action demands, as far as is known before anything is done: so that nobody waits for a
    /// password to be hashed, or learns of what there is, for a change that is refused in the end.
    pub(super) fn expect_proof(&self, principal: Principal, action: Action, whom: Option<UserId>) -> Result<()> {
        let whom = Whom { is_own: whom == Some(principal.user_id), is_super_user: false };
        principal.proven.meets(self.leniency.demand(action), whom, self.call.now)
    }

    /// Whether what let the caller in still holds: for calls that go on reading for a while.
    pub(super) fn check_reader(&self, snapshot: &mut Snapshot<'_>) -> Result<()> {
        match self.bond {
            Some(bond) => bond.check(snapshot, self, false, self.services.inner.clock.now()).map(drop),
            None => Ok(()),
        }
    }

    /// Whether the caller would still be let in after what the transaction has changed so far.
    ///
    /// # Errors
    /// [`Code::SelfShutOut`].
    pub(super) fn require_remaining(&self, tx: &mut Tx<'_>) -> Result<()> {
        self.check_bond(tx).map(drop).map_err(|error| match error.code() {
            Code::SessionInvalid | Code::Forbidden => Error::new(Code::SelfShutOut),
            _ => error,
        })
    }

    /// Runs a change with its event in one transaction. Where its outcome is lost (the database went away at that moment, or took too long)
    /// the event may be there, and no other is written: a call leaves one at most.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<(T, Did)> + Send + 'static,
    ) -> Result<T> {
        self.change_of(None, work).await
    }

    /// The same for work that locks one session and what hangs on it, and nothing else; many of these share a transaction.
    pub(super) async fn change_session<T: Send + 'static>(
        &self,
        session_id: SessionId,
        work: impl FnOnce(&mut Tx<'_>) -> Result<(T, Did)> + Send + 'static,
    ) -> Result<T> {
        self.change_of(Some(session_id), work).await
    }

    async fn change_of<T: Send + 'static>(
        &self,
        session_id: Option<SessionId>,
        work: impl FnOnce(&mut Tx<'_>) -> Result<(T, Did)> + Send + 'static,
    ) -> Result<T> {
        let context = self.clone();
        let is_decided = Arc::new(AtomicBool::new(false));
        let was_decided = Arc::clone(&is_decided);
        let decided = move |tx: &mut Tx<'_>| {
            let principal = context.check_bond(tx)?;
            // A role that the change takes away, or a user that it removes, counts as well.
            let was_super_user = context.is_about_super_user(tx, principal)?;
            let quota = context.check_quota(principal)?;
            let (value, did) = work(tx)?;
            context.check_demands(tx, principal, &did, was_super_user)?;
            if let Some(user_id) = quota {
                let bytes = did.changes.as_ref().map_or(0, |changes| changes.as_text().len());
                context.services.inner.quota.add(user_id, bytes, context.now());
            }
            let event = context.event(did);
            // Here, so that no use case can forget it.
            notify(&context.services, tx, std::slice::from_ref(&event), context.now())?;
            tell(&context.services, tx, &event, context.now())?;
            // The second of the two to come here has seen the first.
            if was_decided.swap(true, Ordering::AcqRel) {
                return Err(Error::new(Code::Internal).cause("the change was given up before it was made"));
            }
            Ok((value, event))
        };
        let store = &self.services.inner.store;
        let done = match session_id {
            Some(session_id) => store.change_session(session_id, decided).await,
            None => store.change(decided).await,
        };
        let value = match done {
            Ok(value) => value,
            Err(error) => {
                if error.code() == Code::Unavailable && is_decided.swap(true, Ordering::AcqRel) {
                    self.trail.draft().is_written = true;
                }
                return Err(error);
            }
        };
        self.trail.draft().is_written = true;
        self.services.inner.bells.ring();
        Ok(value)
    }

    /// Runs a change of many things in one transaction, with an event for each; or only tries it out. `tells_owners`: with the
    /// letters that single changes bring about. The call's own event is apart from
    /// these ([`Context::conclude`]).
    pub(super) async fn change_many<T: Send + 'static>(
        &self,
        is_rehearsal: bool,
        tells_owners: bool,
        work: impl FnOnce(&mut Tx<'_>) -> Result<(T, Vec<Did>)> + Send + 'static,
    ) -> Result<T> {
        let context = self.clone();
        let bound = move |tx: &mut Tx<'_>| {
            // What each row asks of the proof is asked row by row, so that one is refused and the others are not.
            context.check_bond(tx)?;
            let (value, dids) = work(tx)?;
            let events: Vec<Event> = dids.into_iter().map(|did| context.event_of_one(did)).collect();
            notify(&context.services, tx, &events, context.now())?;
            for event in events.iter().filter(|_| tells_owners) {
                tell(&context.services, tx, event, context.now())?;
            }
            Ok((value, events))
        };
        let store = &self.services.inner.store;
        if is_rehearsal {
            return store.rehearse(move |tx| bound(tx).map(|(value, _)| value)).await;
        }
        let value = store.change_many(bound).await?;
        self.services.inner.bells.ring();
        Ok(value)
    }

    /// The call is over: writes its event if no change did. If it cannot be written, the answer must not be given.
    ///
    /// # Errors
    /// [`Code::Unavailable`].
    pub async fn conclude(&self, outcome: Result<(), &Error>) -> Result<()> {
        if self.trail.draft().is_written {
            return Ok(());
        }
        let did = match outcome {
            Ok(()) => Did::bare(Outcome::Success),
            Err(error) => {
                let outcome = if error.code().status() >= 500 { Outcome::Failed } else { Outcome::Refused };
                Did { reason: Some(error.reason()), ..Did::bare(outcome) }
            }
        };
        let inner = &self.services.inner;
        if did.outcome == Outcome::Refused
            && self.trail.draft().actor.kind == ActorType::Anonymous
            && inner.refusals.join(self.action(), self.call.remote_addr, &self.call.cid, self.call.now)
        {
            self.trail.draft().is_written = true;
            return Ok(());
        }
        let is_outage = outcome.is_err_and(|error| error.code() == Code::Unavailable);
        let event = self.event(did);
        let is_own_read = event.action == Action::CurrentUserRead && event.outcome == Outcome::Success;
        let is_buffered = inner.audit.own_reads == OwnReads::Buffered;
        // A queue that is half full takes nothing that nobody waits for: then it is waited for.
        if !(is_own_read && is_buffered && inner.store.record_soon(event.clone()).is_ok()) {
            inner.store.record(event, is_outage).await?;
        }
        self.trail.draft().is_written = true;
        Ok(())
    }

    /// The call's event.
    fn event(&self, did: Did) -> Event {
        if let Some((shown, viewer)) = did.showing {
            self.trail.shows(shown, viewer);
        }
        let is_success = did.outcome == Outcome::Success;
        let event = self.event_of_one(did);
        let draft = self.trail.draft();
        let shown = draft.showing.persons(event.subject.as_deref()).filter(|_| is_success);
        Event { view: draft.showing.view(), shown, ..event }
    }

    /// The event of one of the things that a call does.
    pub(super) fn event_of_one(&self, did: Did) -> Event {
        let draft = self.trail.draft();
        Event {
            time: self.call.now,
            cid: self.call.cid.clone(),
            action: did.action.or(draft.action).unwrap_or(self.call.action),
            outcome: did.outcome,
            reason: did.reason.map(str::to_owned),
            actor: did.actor.unwrap_or_else(|| draft.actor.clone()),
            subject: did.subject.or_else(|| draft.subject.clone()),
            application: draft.application.clone(),
            remote_addr: draft.told_addr.or(self.call.remote_addr).map(|a| a.to_string()),
            traceparent: self.call.traceparent.clone(),
            changes: did.changes,
            view: did.showing.map(|(_, viewer)| viewer.as_str().to_owned()),
            shown: None,
            basis: draft.basis.clone(),
        }
    }
}
