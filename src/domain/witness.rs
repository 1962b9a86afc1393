//! Who takes down whom an answer shows, and by which view.
//!
//! A view of a user is serialised only where a [`Witness`] is told of it: the trail of the call whose answer it becomes part of. There is no
//! need to remember that: without a witness, or with one whose event was written before it heard of the person, the view is not
//! serialised, and the call fails.

use super::attribute::Viewer;
use super::ids::UserId;
use std::future::Future;
use std::sync::Arc;

/// Takes down who is shown.
pub trait Witness: Send + Sync {
    /// A user is about to be shown to `viewer`; the answer is whether that stands, or will stand, in the trail.
    fn note(&self, shown: UserId, viewer: Viewer) -> bool;
}

tokio::task_local! {
    static WITNESS: Arc<dyn Witness>;
}

/// Does work whose views this witness is told of.
pub async fn watch<F: Future>(witness: Arc<dyn Witness>, work: F) -> F::Output {
    WITNESS.scope(witness, work).await
}

/// Tells the witness of the work under way; no if there is none, or if it is too late.
pub fn note(shown: UserId, viewer: Viewer) -> bool {
    WITNESS.try_with(|witness| witness.note(shown, viewer)).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct Ears(Mutex<Vec<(UserId, Viewer)>>, bool);

    impl Witness for Ears {
        fn note(&self, shown: UserId, viewer: Viewer) -> bool {
            self.0.lock().unwrap().push((shown, viewer));
            self.1
        }
    }

    /// S52: what nobody takes down is not shown.
    #[test]
    fn nothing_is_shown_without_a_witness() {
        use crate::domain::text::Name;
        use crate::domain::time::Utc;
        use crate::domain::user::{Account, CreationContext, User};
        let ctx = CreationContext { via: "cli".into(), by: None, application: None, remote_addr: None, cid: None };
        let id = UserId::from_bytes([1; 16]);
        let user = User::fresh(id, Name::try_from("ann".to_owned()).unwrap(), Utc::from_micros(0), ctx);
        let account = Account { user, groups: Vec::new(), enrolment: None, as_of: Utc::from_micros(0) };
        let show = || serde_json::to_string(&account.view(Viewer::Owner));
        assert!(show().is_err());
        let (late, ears) = (Arc::new(Ears(Mutex::default(), false)), Arc::new(Ears(Mutex::default(), true)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(runtime.block_on(watch(late, async { show() })).is_err());
        assert!(runtime.block_on(watch(ears.clone(), async { show() })).is_ok());
        assert_eq!(*ears.0.lock().unwrap(), [(id, Viewer::Owner)]);
    }
}
