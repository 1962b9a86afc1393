//! Errands: what somebody asked for who is not to learn what comes of it.
//!
//! Whether a name or an address is known must be told neither by the answer nor by its time (S5). So such a call only writes down what is
//! asked for, encrypted, in the outbox; that is the same work whatever there is. A courier takes it from there and decides. What it
//! does and the end of the errand are one transaction, so it is done once, with an audit event of its own: by `system`, under the
//! correlation id of the call that asked.

use super::context::{Call, Context};
use super::courier::send;
use super::did::Did;
use super::{Services, resets, sign_up};
use crate::domain::audit::{Action, Actor, ActorType};
use crate::domain::ids::MessageId;
use crate::domain::outbox::MessageKind;
use crate::domain::throttle::Bucket;
use crate::error::{Code, Error, Result};
use crate::outbound::Undelivered;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use zeroize::Zeroizing;

/// What is asked for.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Errand {
    /// An account.
    SignUp(Box<sign_up::Form>),
    /// A link that resets a password.
    Reset(resets::Addressee),
}

/// An errand as the outbox keeps it, with what is known of the call.
#[derive(Serialize, Deserialize)]
struct Noted {
    errand: Errand,
    cid: String,
    remote_addr: Option<IpAddr>,
    application: Option<String>,
    traceparent: Option<String>,
}

/// An attempt that loses a race for a name finds it taken the next time.
const TRIES: usize = 3;

impl Context {
    /// Counts what is asked for from one address, before any work is done for it.
    pub(super) async fn count_asking(&self) -> Result<()> {
        if self.services.inner.refusals.is_disk_nearly_full() {
            return Err(Error::new(Code::Unavailable).because("disk_nearly_full").cause("the disk is nearly full"));
        }
        let Some(address) = self.remote_addr() else { return Ok(()) };
        let (lockout, now) = (self.services.inner.lockout.clone(), self.now());
        let count = move |tx: &mut crate::store::Tx<'_>| Ok(lockout.ask(tx, &Bucket::of_asking(address), now)?);
        let counted = self.services.inner.store.keep_count(count).await?;
        counted.map_err(|until| Error::new(Code::TooManyAttempts).because("throttled").retry_after(until.since(now)))
    }

    /// Writes an errand down.
    pub(super) async fn send_on_errand(&self, errand: Errand) -> Result<()> {
        let noted = Noted {
            errand,
            cid: self.call.cid.clone(),
            remote_addr: self.remote_addr(),
            application: self.trail.application(),
            traceparent: self.call.traceparent.clone(),
        };
        let broken = |e: serde_json::Error| Error::new(Code::Internal).cause(e.to_string());
        let content = Zeroizing::new(serde_json::to_vec(&noted).map_err(broken)?);
        let (services, now) = (self.services.clone(), self.now());
        let note = move |tx: &mut crate::store::Tx<'_>| {
            send(&services, tx, MessageKind::Errand, None, &content, now)?;
            Ok(((), Did::noted()))
        };
        self.change(note).await
    }
}

impl Services {
    /// Runs an errand; with it the message is gone.
    pub(super) async fn run_errand(&self, message_id: MessageId, content: &[u8]) -> Result<(), Undelivered> {
        let unreadable = |e: serde_json::Error| {
            let cause = format!("an errand cannot be read: {e}");
            // JSON of another form is another build's.
            if e.is_data() { Undelivered::Foreign(cause) } else { Undelivered::Ever(cause) }
        };
        let Noted { errand, cid, remote_addr, application, traceparent } = serde_json::from_slice(content).map_err(unreadable)?;
        let action = match &errand {
            Errand::SignUp(_) => Action::UserCreate,
            Errand::Reset(_) => Action::ResetSend,
        };
        let now = self.inner.clock.now();
        let call = Call { remote_addr, traceparent, ..Call::internal(now, cid, action) };
        let context = Context::new(self.clone(), call);
        context.trail.set_actor(Actor { kind: ActorType::System, id: None, session: None });
        if let Some(name) = &application {
            context.trail.set_application(name);
        }
        let errand = Arc::new(errand);
        let mut tries = 0;
        loop {
            tries += 1;
            let (services, call, application, errand) =
                (self.clone(), Arc::clone(&context.call), application.clone(), Arc::clone(&errand));
            let run = move |tx: &mut crate::store::Tx<'_>| {
                if !tx.hold_message(message_id)? {
                    return Err(Error::new(Code::NotFound));
                }
                let did = match errand.as_ref() {
                    Errand::SignUp(form) => sign_up::decide(&services, tx, form, &call, application)?,
                    Errand::Reset(whom) => resets::decide(&services, tx, whom, now)?,
                };
                tx.remove_message(message_id)?;
                Ok(((), did))
            };
            match context.change(run).await {
                // Another node was faster: it is done.
                Ok(()) => return Ok(()),
                Err(error) if error.code() == Code::NotFound => return Ok(()),
                Err(error) if error.code() == Code::ValueTaken && tries < TRIES => {}
                Err(error) => return Err(Undelivered::Yet(error.logged_cause().unwrap_or(error.reason()).to_owned())),
            }
        }
    }
}
