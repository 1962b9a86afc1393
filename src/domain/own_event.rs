//! What a person sees of the audit trail: the events on and by that person, cut to what an owner may know.
//!
//! Of what others did, an owner learns that, when and what, not who and from where: of nobody known, that too, where they tried to sign in as the
//! owner or to reset the password. Of changed values it sees those of attributes that it
//! sees anyway. The salt and the digest of the changes are left out: with them, hidden values could be guessed and the guess confirmed.

use super::attribute::{Act, Viewer, allows};
use super::audit::{Action, ActorType, Link, Outcome};
use super::ids::UserId;
use super::time::Utc;
use super::user::ATTRIBUTES;
use super::words::Stored;
use serde::Serialize;
use serde_json::{Map, Value};

/// An event as the person that it is about sees it.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct OwnEvent {
    /// When the call began.
    pub time: Utc,
    /// What the call set out to do.
    #[schemars(transform = Stored::<Action>::tell_words)]
    pub action: Stored<Action>,
    /// How it ended.
    #[schemars(transform = Stored::<Outcome>::tell_words)]
    pub outcome: Stored<Outcome>,
    /// What kind of thing acted.
    #[schemars(transform = Stored::<ActorType>::tell_words)]
    pub actor_type: Stored<ActorType>,
    /// Whether it was oneself.
    pub is_own: bool,
    /// Why it did not succeed; told of own calls, and of sign-ins and resets by nobody known.
    pub reason: Option<String>,
    /// The call's correlation id; told of the same.
    pub cid: Option<String>,
    /// Through which application; told of the same.
    pub application: Option<String>,
    /// From which address; told of the same.
    pub remote_addr: Option<String>,
    /// By which view oneself, or who else, was shown.
    pub view: Option<String>,
    /// The attributes of oneself that changed, as far as one sees them.
    pub changes: Option<Value>,
}

impl OwnEvent {
    /// `link` as `owner` sees it.
    pub fn of(link: Link, owner: UserId) -> Self {
        let event = link.event;
        let owner = owner.to_string();
        let is_own = event.actor.id.as_deref() == Some(&owner);
        let is_told = match event.actor.kind.known() {
            // A wrong password, for one: whoever tried to get in is nobody whose data this is. Whoever came in vain otherwise may be a
            // super-user whose session had ended.
            Some(ActorType::Anonymous) => event.action.known().is_some_and(|action| OF_NOBODY.contains(&action)),
            Some(ActorType::User | ActorType::Application | ActorType::Operator | ActorType::System) | None => is_own,
        };
        let told = |text: Option<String>| text.filter(|_| is_told);
        let is_on_oneself = event.subject.as_deref() == Some(&owner);
        let changes = event.changes.filter(|_| is_on_oneself).and_then(|changes| visible(changes.as_text()));
        Self {
            time: event.time,
            action: event.action,
            outcome: event.outcome,
            actor_type: event.actor.kind,
            is_own,
            reason: told(event.reason),
            cid: told(Some(event.cid)),
            application: told(event.application),
            remote_addr: told(event.remote_addr),
            view: event.more.view().map(str::to_owned),
            changes,
        }
    }
}

/// By these somebody tries to become the person that the event is about.
const OF_NOBODY: [Action; 4] = [Action::SignIn, Action::ResetRequest, Action::ResetOpen, Action::ResetFinish];

/// Those of changed attributes that an owner sees.
fn visible(changes: &str) -> Option<Value> {
    let changes: Map<String, Value> = serde_json::from_str(changes).ok()?;
    let is_seen = |name: &str| ATTRIBUTES.iter().any(|a| a.name == name && allows(Viewer::Owner, Act::See, a));
    let seen: Map<String, Value> = changes.into_iter().filter(|(name, _)| is_seen(name)).collect();
    (!seen.is_empty()).then_some(Value::Object(seen))
}
