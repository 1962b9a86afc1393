//! Applications: registering and listing.

use super::caller::SuperUser;
use super::context::Did;
use crate::domain::application::{Application, ApplicationView, DEFAULT, SessionScope};
use crate::domain::audit::Changes;
use crate::domain::ids::ApplicationId;
use crate::domain::secret::ApplicationKey;
use crate::domain::text::Name;
use crate::error::{Code, Error, Result};
use crate::store::Tx;
use serde_json::Value;

impl SuperUser {
    /// Registers an application and makes its key, which is told this once.
    ///
    /// # Errors
    /// [`Code::ValueTaken`]; [`Code::Invalid`] for a name that a header cannot carry.
    pub async fn create_application(
        self,
        name: Name,
        session_scope: SessionScope,
        is_key_required: bool,
        may_set_remote_addr: bool,
    ) -> Result<(ApplicationView, ApplicationKey)> {
        // It is named in a header.
        if !name.as_str().bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            return Err(
                Error::new(Code::Invalid).at("name", "has characters other than printable ASCII, which a header cannot carry")
            );
        }
        let context = self.context;
        let entropy = &context.services.inner.entropy;
        let key = ApplicationKey::mint(entropy);
        let application = Application {
            application_id: ApplicationId::mint(context.now(), entropy),
            name_key: name.key(),
            name,
            session_scope,
            is_key_required,
            key_hash: Some(key.hash()),
            created_time: context.now(),
            may_set_remote_addr,
        };
        let create = move |tx: &mut Tx<'_>| {
            tx.insert_application(&application)?;
            let view = application.view();
            let shown = serde_json::to_value(&view).map_err(|e| Error::new(Code::Internal).cause(e.to_string()))?;
            let did = Did::to(view.application_id).changing(Changes::between(&Value::Null, &shown));
            Ok((view, did))
        };
        Ok((context.change(create).await?, key))
    }

    /// Removes an application; the sessions that were opened through it end.
    ///
    /// # Errors
    /// [`Code::NotFound`]; [`Code::DefaultApplication`].
    pub async fn delete_application(self, application_id: ApplicationId) -> Result<()> {
        self.context.trail.set_subject(application_id);
        let delete = move |tx: &mut Tx<'_>| {
            let gone = tx.delete_application(application_id)?;
            let gone = gone.ok_or_else(|| Error::new(Code::NotFound).because("application_unknown"))?;
            if gone.name_key == DEFAULT {
                return Err(Error::new(Code::DefaultApplication));
            }
            let shown = serde_json::to_value(gone.view()).map_err(|e| Error::new(Code::Internal).cause(e.to_string()))?;
            Ok(((), Did::to(application_id).changing(Changes::between(&shown, &Value::Null))))
        };
        self.context.change(delete).await
    }

    /// All applications, by name.
    ///
    /// # Errors
    /// The database fails.
    pub async fn applications(&self) -> Result<Vec<ApplicationView>> {
        let found = self.context.services.inner.store.read(|snapshot| Ok(snapshot.applications()?)).await?;
        Ok(found.iter().map(Application::view).collect())
    }
}
