//! A route: method, path, gate, audit action and handler in one row, from which it is mounted and documented.

use super::dialect::Dialect;
use super::gate::{Gate, GateKind};
use super::input::{Input, Parts};
use super::meter::Meter;
use super::reply::{Answer, Reply};
use crate::domain::audit::Action;
use crate::error::Result;
use crate::service::Context;
use actix_web::http::Method;
use futures_util::future::LocalBoxFuture;
use schemars::SchemaGenerator;
use serde_json::Value;

/// Lets the caller in, reads the input, does the work.
pub(super) type Handler = Box<dyn Fn(Context, Parts) -> LocalBoxFuture<'static, Result<Reply>> + Send + Sync>;

/// One endpoint.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with `{names}` for its variable segments.
    pub path: &'static str,
    /// Whose wire format it speaks.
    pub dialect: Dialect,
    /// Who may call it.
    pub gate: GateKind,
    /// What it is called in the audit trail; probes have no event.
    pub action: Option<Action>,
    /// One sentence on what it does.
    pub summary: &'static str,
    pub(super) handler: Handler,
    pub(super) meter: Meter,
    pub(super) describe_input: fn(&mut SchemaGenerator) -> Value,
    pub(super) describe_answer: fn(&mut SchemaGenerator) -> (u16, Option<Value>),
    /// The media type of its answer.
    pub(super) media_type: &'static str,
}

/// Makes a row out of a handler. The gate and the input are the types of its two arguments.
pub(super) fn route<G, I, A, F, Work>(
    method: Method,
    path: &'static str,
    action: Option<Action>,
    summary: &'static str,
    handler: F,
) -> Route
where
    G: Gate + 'static,
    I: Input + 'static,
    A: Answer,
    F: Fn(G, I) -> Work + Clone + Send + Sync + 'static,
    Work: Future<Output = Result<A>> + 'static,
{
    let handle = move |context: Context, mut parts: Parts| -> LocalBoxFuture<'static, Result<Reply>> {
        let handler = handler.clone();
        Box::pin(async move {
            // The gate comes first: whoever is not let in learns nothing about the input either.
            let caller = G::open(context.clone()).await?;
            let input = I::read(&mut parts).await?;
            // A body can take its time; what let the caller in must still hold when it is there.
            let caller = if parts.has_waited { G::open(context).await? } else { caller };
            handler(caller, input).await?.into_reply()
        })
    };
    Route {
        method,
        path,
        dialect: Dialect::Native,
        gate: G::KIND,
        action,
        summary,
        handler: Box::new(handle),
        meter: Meter::default(),
        describe_input: I::describe,
        describe_answer: A::describe,
        media_type: A::MEDIA_TYPE,
    }
}
