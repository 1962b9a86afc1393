//! The networks that a user may come from.

use super::caller::SuperUser;
use super::did::Did;
use crate::domain::attribute::Viewer;
use crate::domain::audit::Changes;
use crate::domain::ids::UserId;
use crate::domain::network::Networks;
use crate::error::{Code, Error, Result};
use crate::store::Tx;
use serde_json::json;

impl SuperUser {
    /// The networks that a user may come from.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn networks_of(&self, user_id: UserId) -> Result<Networks> {
        Ok(self.user(user_id).await?.user.networks)
    }

    /// Replaces the networks that a user may come from. Sessions and keys in use from elsewhere are refused from the next call on.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::FreshSignInRequired`]; [`Code::SelfShutOut`] for a list of one's own without the address of this call.
    pub async fn set_networks(self, user_id: UserId, networks: Networks) -> Result<Networks> {
        self.context.trail.set_subject(user_id);
        self.expect_proof(Some(user_id))?;
        let context = self.context.clone();
        let set = move |tx: &mut Tx<'_>| {
            tx.hold_super_users()?;
            let before = tx.hold_user(user_id)?.ok_or_else(|| Error::new(Code::NotFound).because("user_unknown"))?;
            let mut after = before.clone();
            after.networks = networks;
            tx.save_user(&before, &after)?;
            context.require_remaining(tx)?;
            let changes = Changes::between(&json!({"networks": before.networks}), &json!({"networks": after.networks}));
            Ok((after.networks, Did::to(user_id).changing(changes).showing(user_id, Viewer::SuperUser)))
        };
        self.context.change(set).await
    }
}
