//! Posit Connect's dialect when something is wrong on this side.

use crate::both;
use crate::harness::Town;

both! {
    /// A fault is told as one, spelt as the dialect spells it, and no more (S47).
    fn a_fault_on_this_side(engine) {
        let town = Town::new(engine);
        let admin = town.admin();
        town.sql("ALTER TABLE groups RENAME TO lost");
        let told = admin.get("/__api__/v1/groups");
        assert!([500, 503].contains(&told.status), "{}", told.text);
        let status = told.status;
        assert!(!told.told(status, 1).text.contains("lost"));
    }
}
