//! The first start: an empty database gets its first super-user.

use super::Services;
use super::context::{Call, Context};
use super::did::Did;
use crate::domain::attribute::Viewer;
use crate::domain::audit::{Action, Actor, ActorType, Changes};
use crate::domain::ids::UserId;
use crate::domain::secret::Password;
use crate::domain::text::Name;
use crate::domain::user::{CreationContext, User, UserRole};
use crate::error::{Code, Error, Result};
use crate::store::Tx;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

impl Services {
    /// Whether there are no users yet.
    ///
    /// # Errors
    /// The database fails.
    pub async fn is_first_start(&self) -> Result<bool> {
        // What was put back is not a first start, also where nothing is left.
        if self.is_behind().is_some() {
            return Ok(false);
        }
        self.inner.store.read(|snapshot| Ok(snapshot.has_no_users()?)).await
    }

    /// A password for the first super-user.
    pub fn generate_password(&self) -> Password {
        Password::new(URL_SAFE_NO_PAD.encode(self.inner.entropy.bytes::<18>()))
    }

    /// Makes the first super-user and tells its id; does nothing if there are users, by another node as it may be.
    ///
    /// # Errors
    /// The username or the password does not fit, or the database fails.
    pub async fn first_start(&self, username: &str, password: Password) -> Result<Option<UserId>> {
        let inner = &self.inner;
        if !self.is_first_start().await? {
            return Ok(None);
        }
        let now = inner.clock.now();
        let cid = format!("start-{}", UserId::mint(now, &inner.entropy));
        let call = Call::internal(now, cid.clone(), Action::UserCreate);
        let context = Context::new(self.clone(), call);
        context.trail.set_actor(Actor { kind: ActorType::System, id: None, session: None });
        let unfit = |e: crate::domain::text::Unfit| Error::new(Code::Invalid).at("bootstrap.username", e.to_string());
        let username = Name::try_from(username.to_owned()).map_err(unfit)?;
        let ctx =
            CreationContext { via: "first_start".to_owned(), by: None, application: None, remote_addr: None, cid: Some(cid) };
        let mut user = User::fresh(UserId::mint(now, &inner.entropy), username, now, ctx);
        user.user_role = UserRole::Administrator;
        let password = context.fit_password(password, &user, None, "bootstrap.password_file").await?;
        user.set_password(password, false, None, now);
        let user_id = user.user_id;
        let create = move |tx: &mut Tx<'_>| {
            // Another node may have been first; it holds this row until its user is there.
            tx.hold_super_users()?;
            if !tx.read().has_no_users()? {
                return Err(Error::new(Code::ValueTaken));
            }
            tx.insert_user(&mut user)?;
            let account = tx.read().account(user, now)?;
            let broken = |e: serde_json::Error| Error::new(Code::Internal).cause(e.to_string());
            let view = serde_json::to_value(account.view(Viewer::SuperUser).unwitnessed()).map_err(broken)?;
            Ok(((), Did::to(account.user.user_id).changing(Changes::between(&Value::Null, &view))))
        };
        match context.change(create).await {
            Ok(()) => Ok(Some(user_id)),
            Err(error) if error.code() == Code::ValueTaken => Ok(None),
            Err(error) => Err(error),
        }
    }
}
