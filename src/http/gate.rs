//! Gates: which caller a route demands. The type of a handler's first argument is its gate.

use crate::error::Result;
use crate::service::{Anyone, Authenticated, Bearer, Context, SignedIn, SuperUser, TrustedApplication};

/// The kinds of gate, for the documentation and the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateKind {
    /// Nothing is asked, and nothing about anyone is told; such calls leave no audit event.
    Probe,
    /// Anyone who comes through a known application.
    Anyone,
    /// A session token, good or not.
    Bearer,
    /// A live session, or an API key.
    Authenticated,
    /// A live session; an API key is not enough.
    SignedIn,
    /// A live session or an API key of a super-user.
    SuperUser,
    /// An application's key, or a live session or an API key of a super-user.
    TrustedApplication,
}

/// What can be made out of a call, or refused.
pub trait Gate: Sized {
    /// Its kind.
    const KIND: GateKind;

    /// Lets the caller in.
    ///
    /// # Errors
    /// The call does not prove what the gate demands.
    fn open(context: Context) -> impl Future<Output = Result<Self>>;
}

/// A caller that is told how the service fares, and nothing else.
pub struct Probe(pub(super) Context);

impl Gate for Probe {
    const KIND: GateKind = GateKind::Probe;
    async fn open(context: Context) -> Result<Self> {
        Ok(Self(context))
    }
}

impl Gate for Anyone {
    const KIND: GateKind = GateKind::Anyone;
    async fn open(context: Context) -> Result<Self> {
        Self::arrive(context).await
    }
}

impl Gate for Bearer {
    const KIND: GateKind = GateKind::Bearer;
    async fn open(context: Context) -> Result<Self> {
        Anyone::arrive(context).await?.show_token().await
    }
}

impl Gate for Authenticated {
    const KIND: GateKind = GateKind::Authenticated;
    async fn open(context: Context) -> Result<Self> {
        Anyone::arrive(context).await?.authenticate().await
    }
}

impl Gate for SignedIn {
    const KIND: GateKind = GateKind::SignedIn;
    async fn open(context: Context) -> Result<Self> {
        Anyone::arrive(context).await?.sign_on().await
    }
}

impl Gate for SuperUser {
    const KIND: GateKind = GateKind::SuperUser;
    async fn open(context: Context) -> Result<Self> {
        Anyone::arrive(context).await?.authenticate().await?.rise()
    }
}

impl Gate for TrustedApplication {
    const KIND: GateKind = GateKind::TrustedApplication;
    async fn open(context: Context) -> Result<Self> {
        Anyone::arrive(context).await?.vouch().await
    }
}
