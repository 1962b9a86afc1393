//! An event as it is shown.

use super::{Action, ActorType, Changes, Link, Outcome, Recorded, hex};
use crate::domain::ids::{CredentialId, UserId};
use crate::domain::time::Utc;
use crate::domain::words::Stored;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// An event as answers and exports show it: with all that it takes to verify the chain.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct EventView {
    /// Its place in the trail: chain and number.
    pub event_id: String,
    /// When the call began.
    pub time: Utc,
    /// The call's correlation id.
    pub cid: String,
    /// What the call set out to do.
    #[schemars(transform = Stored::<Action>::tell_words)]
    pub action: Stored<Action>,
    /// How it ended.
    #[schemars(transform = Stored::<Outcome>::tell_words)]
    pub outcome: Stored<Outcome>,
    /// Why it did not succeed.
    pub reason: Option<String>,
    /// What kind of thing acted.
    #[schemars(transform = Stored::<ActorType>::tell_words)]
    pub actor_type: Stored<ActorType>,
    /// Who acted: a user's id, an application's name, an operator's `user@host`.
    pub actor: Option<String>,
    /// The session or API key through which it acted.
    pub actor_session: Option<CredentialId>,
    /// On whom or what: an id.
    pub subject: Option<String>,
    /// Through which application.
    pub application: Option<String>,
    /// From which address.
    pub remote_addr: Option<String>,
    /// The trace context that came with the call.
    pub traceparent: Option<String>,
    /// The attributes that changed: `{"name": {"before": …, "after": …}}`, as the text of which the digest is.
    #[schemars(with = "Option<Value>")]
    pub changes: Option<Box<RawValue>>,
    /// The salt of the digest of the changed values, in hex; gone once they are erased.
    pub changes_salt: Option<String>,
    /// The salted digest of the changed values, in hex: what the chain holds of them.
    pub changes_digest: Option<String>,
    /// By which view persons were shown.
    pub view: Option<String>,
    /// Whom the answer showed, by id; null where that was nobody, or the subject alone.
    pub shown: Option<Vec<UserId>>,
    /// The digest of the ids of the persons shown, in hex.
    pub shown_digest: Option<String>,
    /// By what right the call acted, where it is not the actor's own.
    pub basis: Option<String>,
    /// Fields that this version has no name for, from the 19th field of the chain's form on; null as a rule.
    pub more: Option<Vec<Option<String>>>,
    /// The chain's hash up to and including this event, in hex.
    pub hash: String,
}

/// The changes' text. Only if somebody altered it is it not JSON any more; it must not break the line that it stands in either.
fn exactly(changes: &Changes) -> serde_json::Result<Box<RawValue>> {
    match changes.as_text() {
        text if text.contains(['\n', '\r']) => serde_json::value::to_raw_value(text),
        text => serde_json::from_str(text),
    }
}

impl From<Link> for EventView {
    fn from(link: Link) -> Self {
        let Recorded {
            time,
            cid,
            action,
            outcome,
            reason,
            actor,
            subject,
            application,
            remote_addr,
            traceparent,
            changes,
            shown,
            more,
        } = link.event;
        let text = |field: Option<&str>| field.map(str::to_owned);
        Self {
            event_id: format!("{}.{}", link.chain, link.seq),
            time,
            cid,
            action,
            outcome,
            reason,
            actor_type: actor.kind,
            actor: actor.id,
            actor_session: actor.session,
            subject,
            application,
            remote_addr,
            traceparent,
            changes: changes.and_then(|c| exactly(&c).or_else(|_| serde_json::value::to_raw_value(c.as_text())).ok()),
            changes_salt: link.changes_salt.as_deref().map(hex),
            changes_digest: link.changes_digest.as_deref().map(hex),
            view: text(more.view()),
            shown: shown.map(|persons| persons.ids().collect()),
            shown_digest: text(more.shown_digest()),
            basis: text(more.basis()),
            more: Some(more.unknown().to_vec()).filter(|fields| !fields.is_empty()),
            hash: hex(&link.hash),
        }
    }
}
