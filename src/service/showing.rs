//! Whom an answer shows: taken down on the way, and told in the call's event, or in further ones where an answer is long.

use super::context::{Context, Trail};
use super::did::Did;
use crate::domain::attribute::Viewer;
use crate::domain::audit::{Event, Outcome, Persons};
use crate::domain::ids::UserId;
use crate::domain::witness::Witness;
use crate::error::Result;
use std::collections::HashSet;

/// Persons whom one event tells of: an answer that shows more leaves further events.
pub(super) const MOST_SHOWN: usize = 10_000;

impl Trail {
    /// The answer shows this user to `viewer`, in another way than by a view that is serialised; or is about to. A caller that is refused
    /// after all was shown nobody.
    pub(super) fn shows(&self, shown: UserId, viewer: Viewer) {
        self.look_at_showing(|showing, _| showing.note(shown, viewer));
    }

    /// The answer tells something of users as `viewer` sees them, and shows none.
    pub(super) fn counts_for(&self, viewer: Viewer) {
        self.look_at_showing(|showing, _| showing.see(viewer));
    }

    /// Those who were noted and stand in no event yet; from now on they do.
    fn settle(&self) -> Vec<UserId> {
        self.look_at_showing(|showing, _| {
            let mut fresh = std::mem::take(&mut showing.persons);
            fresh.retain(|id| showing.settled.insert(*id));
            fresh
        })
    }

    /// How many were noted that stand in no event yet.
    pub(super) fn unsettled(&self) -> usize {
        self.look_at_showing(|showing, _| showing.persons.len())
    }
}

impl Witness for Trail {
    fn note(&self, shown: UserId, viewer: Viewer) -> bool {
        self.look_at_showing(|showing, is_written| {
            if is_written {
                return showing.has(shown, viewer);
            }
            showing.note(shown, viewer);
            true
        })
    }
}

/// Whom an answer shows, and by which views.
#[derive(Debug, Default)]
pub(super) struct Showing {
    views: Vec<Viewer>,
    persons: Vec<UserId>,
    /// Those of whom an event tells already, where there are several.
    settled: HashSet<UserId>,
}

impl Showing {
    fn see(&mut self, viewer: Viewer) {
        if !self.views.contains(&viewer) {
            self.views.push(viewer);
            self.views.sort_unstable();
        }
    }

    fn note(&mut self, shown: UserId, viewer: Viewer) {
        self.see(viewer);
        // As a rule the one noted last, twice.
        if self.persons.last() != Some(&shown) {
            self.persons.push(shown);
        }
    }

    fn has(&self, shown: UserId, viewer: Viewer) -> bool {
        self.views.contains(&viewer) && (self.settled.contains(&shown) || self.persons.contains(&shown))
    }

    /// The views as an event has them.
    pub(super) fn view(&self) -> Option<String> {
        let words: Vec<&str> = self.views.iter().map(|viewer| viewer.as_str()).collect();
        (!words.is_empty()).then(|| words.join(" "))
    }

    /// The persons as an event with this subject has them: that alone is told already.
    pub(super) fn persons(&self, subject: Option<&str>) -> Option<Persons> {
        let is_subject = |id: &UserId| subject.is_some_and(|subject| id.to_string() == subject);
        match self.persons.as_slice() {
            [] => None,
            [only] if is_subject(only) => None,
            several => Persons::of(several.iter().copied()).filter(|persons| persons.ids().ne(subject_of(subject))),
        }
    }
}

fn subject_of(subject: Option<&str>) -> Option<UserId> {
    subject.and_then(|text| text.parse().ok())
}

impl Context {
    /// As whom the caller sees what hangs on a user (keys, custom attributes) and is nobody's but that user's and super-users'.
    pub(super) fn viewer_of_belongings(&self, user_id: UserId) -> Viewer {
        let is_own = self.trail.actor().id.is_some_and(|actor| actor == user_id.to_string());
        if is_own { Viewer::Owner } else { Viewer::SuperUser }
    }

    /// Writes a further event of this call: that its answer goes on, and shows these as well. It is durable when this comes back.
    ///
    /// # Errors
    /// [`Unavailable`](crate::error::Code::Unavailable).
    pub(super) async fn record_shown(&self, viewer: Viewer, persons: impl IntoIterator<Item = UserId>) -> Result<()> {
        let Some(persons) = Persons::of(persons) else { return Ok(()) };
        let (view, shown) = (Some(viewer.as_str().to_owned()), Some(persons));
        let event = Event { view, shown, ..self.event_of_one(Did::bare(Outcome::Success)) };
        self.services.inner.store.record(event, false).await
    }

    /// Where an answer has come to show as many as one event tells of, writes a further event and begins anew.
    ///
    /// # Errors
    /// [`Unavailable`](crate::error::Code::Unavailable).
    pub(super) async fn settle_shown(&self, viewer: Viewer) -> Result<()> {
        if self.trail.unsettled() < MOST_SHOWN {
            return Ok(());
        }
        self.record_shown(viewer, self.trail.settle()).await
    }

    /// What the answer is about to tell stands in the trail when this comes back: for answers that go out piece by piece. The first time it is
    /// the call's own event that tells of it, from then on further ones.
    ///
    /// # Errors
    /// [`Unavailable`](crate::error::Code::Unavailable).
    pub(super) async fn tell_shown(&self, viewer: Viewer) -> Result<()> {
        if !self.trail.look_at_showing(|_, is_written| is_written) {
            self.conclude(Ok(())).await?;
            self.trail.settle();
            return Ok(());
        }
        self.record_shown(viewer, self.trail.settle()).await
    }
}
