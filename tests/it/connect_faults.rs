//! Posit Connect's dialect when something is wrong on this side, or when it is switched off.

use crate::both;
use crate::harness::{Site, Town};

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

    /// What is switched off does not exist.
    fn switched_off(engine) {
        let town = Town::on(Site::new(engine).with("dialects.connect", "false"));
        for path in ["/__api__/v1/user", "/x/__api__/v1/users", "/__api__/server_settings"] {
            town.admin().get(path).refused(404, "not_found");
        }
    }
}
