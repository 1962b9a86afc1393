//! Patches of a user: what is taken is what this viewer may edit, and what may not is named.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::domain::attribute::{Act, Viewer, allows};
use usher::domain::user::{ATTRIBUTES, Patch};
use usher::http::outside;

fuzz_target!(|bytes: &[u8]| {
    let Ok(members) = outside::body(bytes) else { return };
    for viewer in [Viewer::Nobody, Viewer::Peer, Viewer::Owner, Viewer::SuperUser] {
        let editable = |name: &String| ATTRIBUTES.iter().any(|a| a.name == name && allows(viewer, Act::Edit, a));
        match Patch::read(viewer, &members) {
            Ok(patch) => assert!(members.keys().all(editable) && patch.is_empty() == members.is_empty()),
            Err(refused) => assert!(!refused.is_empty()),
        }
    }
});
