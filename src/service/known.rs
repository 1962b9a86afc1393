//! What a call by a session or an API key is judged by, and what it shows of its own user.
//!
//! All of it is read in one snapshot and remembered ([`crate::store::memory`]) as long as nothing that it depends on changes. What
//! depends on the moment is not part of it but judged at every use, see [`Proof::stands`]: expiry, validity, addresses. How the user looks
//! to oneself is written down once and used again.

use super::Context;
use super::proof::{Lists, Places, Proof, Shown};
use crate::domain::application::Application;
use crate::domain::attribute::Viewer;
use crate::domain::ids::{ApplicationId, UserId};
use crate::domain::time::Utc;
use crate::domain::user::{Account, User};
use crate::domain::witness;
use crate::error::{Code, Error, Result};
use crate::store::Snapshot;
use crate::store::memory::{Dependencies, Memory, Reading};
use std::sync::{Arc, OnceLock};

/// What is shown at an application.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Use {
    shown: Shown,
    through: ApplicationId,
}

/// What is known of a session or an API key.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) proof: Proof,
    pub(super) account: Account,
    lists: Lists,
    by_owner: OnceLock<Arc<WrittenView>>,
    by_super_user: OnceLock<Arc<WrittenView>>,
}

/// A user as one viewer sees it, written down.
#[derive(Debug)]
pub struct WrittenView {
    json: String,
    /// Its entity tag.
    pub etag: String,
    user_id: UserId,
    viewer: Viewer,
}

impl WrittenView {
    /// The view, as JSON, to be shown now; `None` where the trail does not know that it is.
    pub fn json(&self) -> Option<&str> {
        witness::note(self.user_id, self.viewer).then_some(self.json.as_str())
    }
}

impl Reading for Known {
    fn dependencies(&self) -> Option<Dependencies> {
        Some(Dependencies { user_id: self.account.user.user_id, credential_id: self.proof.id() })
    }
}

/// Every call through an application depends on it; a change of any makes everything be read again.
impl Reading for Application {
    fn dependencies(&self) -> Option<Dependencies> {
        None
    }
}

/// What is remembered.
pub(super) struct Memories {
    pub(super) uses: Memory<Use, Known>,
    pub(super) applications: Memory<String, Application>,
}

impl Known {
    fn of(proof: Proof, account: Account, lists: Lists) -> Self {
        Self { proof, account, lists, by_owner: OnceLock::new(), by_super_user: OnceLock::new() }
    }

    /// The same, its user having been active at this time.
    pub(super) fn active_at(&self, time: Utc) -> Self {
        let mut account = self.account.clone();
        account.user.active_time = Some(time);
        Self::of(self.proof.clone(), account, self.lists)
    }

    pub(super) fn user(&self) -> &User {
        &self.account.user
    }

    /// Whether it is good now, for a call from there; if not, the reason for the trail.
    pub(super) fn stands(&self, through: &Application, places: Places, now: Utc) -> Result<(), &'static str> {
        self.proof.stands(self.user(), through, self.lists, places, now)
    }

    /// The user as `viewer` sees it.
    pub(super) fn written_for(&self, viewer: Viewer) -> Result<Arc<WrittenView>> {
        let once = match viewer {
            Viewer::Owner => &self.by_owner,
            Viewer::SuperUser => &self.by_super_user,
            Viewer::Nobody | Viewer::Peer | Viewer::Colleague => return Ok(Arc::new(show(&self.account, viewer)?)),
        };
        if let Some(shown) = once.get() {
            return Ok(Arc::clone(shown));
        }
        let shown = Arc::new(show(&self.account, viewer)?);
        Ok(Arc::clone(once.get_or_init(|| shown)))
    }
}

/// A user as one viewer sees it, written down.
pub(super) fn show(account: &Account, viewer: Viewer) -> Result<WrittenView> {
    let json = serde_json::to_string(&account.view(viewer).unwitnessed())
        .map_err(|e| Error::new(Code::Internal).cause(e.to_string()))?;
    Ok(WrittenView { json, etag: account.etag(viewer), user_id: account.user.user_id, viewer })
}

fn read(snapshot: &mut Snapshot<'_>, shown: &Shown, through: &Application, now: Utc) -> Result<Option<Known>> {
    let Some((proof, user)) = shown.find(snapshot)? else { return Ok(None) };
    let lists = proof.lists(snapshot, user.user_id, through)?;
    let account = snapshot.account(user, now)?;
    Ok(Some(Known::of(proof, account, lists)))
}

impl Context {
    /// What is known of a session or API key that is shown at an application; `None` if there is none such. What is unknown is looked up
    /// every time: that there is no such thing is not remembered.
    pub(super) async fn known(&self, shown: Shown, through: &Arc<Application>) -> Result<Option<Arc<Known>>> {
        let memory = &self.services.inner.memories.uses;
        let key = Use { shown, through: through.application_id };
        if let Some(known) = memory.get(&key) {
            return Ok(Some(known));
        }
        let version = memory.version();
        let (now, through, shown) = (self.now(), Arc::clone(through), key.shown.clone());
        let read = self.services.inner.store.read(move |snapshot| read(snapshot, &shown, &through, now));
        let Some(known) = read.await? else { return Ok(None) };
        let known = Arc::new(known);
        memory.put(key, Arc::clone(&known), version);
        Ok(Some(known))
    }

    /// The application whose name has this key.
    pub(super) async fn application_by_name(&self, name_key: String) -> Result<Option<Arc<Application>>> {
        let memory = &self.services.inner.memories.applications;
        if let Some(application) = memory.get(&name_key) {
            return Ok(Some(application));
        }
        let version = memory.version();
        let key = name_key.clone();
        let read = self.services.inner.store.read(move |snapshot| Ok(snapshot.application_by_name(&key)?));
        let Some(application) = read.await? else { return Ok(None) };
        let application = Arc::new(application);
        memory.put(name_key, Arc::clone(&application), version);
        Ok(Some(application))
    }
}
