//! What a change did, for its audit event and for the proof that it asks of whoever made it.

use crate::domain::attribute::Viewer;
use crate::domain::audit::{Action, Actor, Changes, Outcome};
use crate::domain::ids::UserId;

/// What a change did, for its event.
#[derive(Debug)]
pub(super) struct Did {
    pub(super) outcome: Outcome,
    pub(super) reason: Option<&'static str>,
    pub(super) subject: Option<String>,
    pub(super) changes: Option<Changes>,
    pub(super) actor: Option<Actor>,
    pub(super) action: Option<Action>,
    /// Whom the answer shows, and as whom the caller sees that one.
    pub(super) showing: Option<(UserId, Viewer)>,
    /// What else was done by the way, each with its own demand on the proof.
    pub(super) parts: Vec<Action>,
    /// On whom it was done as well.
    pub(super) members: Vec<UserId>,
}

impl Did {
    pub(super) fn bare(outcome: Outcome) -> Self {
        let (reason, subject, changes, actor, action, showing) = (None, None, None, None, None, None);
        Self { outcome, reason, subject, changes, actor, action, showing, parts: Vec::new(), members: Vec::new() }
    }

    /// It was done as asked, to `subject`.
    pub(super) fn to(subject: impl ToString) -> Self {
        Self { subject: Some(subject.to_string()), ..Self::bare(Outcome::Success) }
    }

    /// It was done as asked, and on whom is not to be told, or not known yet.
    pub(super) fn noted() -> Self {
        Self::bare(Outcome::Success)
    }

    /// It was refused, but something has to be remembered all the same.
    pub(super) fn refused(reason: &'static str, subject: Option<UserId>) -> Self {
        let subject = subject.map(|id| id.to_string());
        Self { reason: Some(reason), subject, ..Self::bare(Outcome::Refused) }
    }

    /// These attributes changed.
    pub(super) fn changing(mut self, changes: Option<Changes>) -> Self {
        self.changes = changes;
        self
    }

    /// The answer shows this user to `viewer`. What is told of later than here cannot be shown any more.
    pub(super) fn showing(mut self, shown: UserId, viewer: Viewer) -> Self {
        self.showing = Some((shown, viewer));
        self
    }

    /// It is another thing than the call as a whole: one of the many that it does.
    pub(super) fn by_action(mut self, action: Action) -> Self {
        self.action = Some(action);
        self
    }

    /// These were done as well, under the name of the whole.
    pub(super) fn with_parts(mut self, parts: Vec<Action>) -> Self {
        self.parts = parts;
        self
    }

    /// These users were concerned as well.
    pub(super) fn with_members(mut self, members: Vec<UserId>) -> Self {
        self.members = members;
        self
    }

    /// It turned out who acted.
    pub(super) fn by(mut self, actor: Actor) -> Self {
        self.actor = Some(actor);
        self
    }
}
