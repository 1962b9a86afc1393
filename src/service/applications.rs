//! Applications: registering, looking at, changing, giving them new keys, removing.

use super::caller::SuperUser;
use super::did::Did;
use crate::domain::application::{Application, ApplicationPatch, ApplicationView, MOST_GROUPS};
use crate::domain::audit::Changes;
use crate::domain::ids::{ApplicationId, GroupId};
use crate::domain::secret::ApplicationKey;
use crate::domain::text::Name;
use crate::error::{Code, Error, Result};
use crate::store::Tx;
use serde_json::Value;

fn unknown() -> Error {
    Error::new(Code::NotFound).because("application_unknown")
}

fn shown(view: &ApplicationView) -> Result<Value> {
    serde_json::to_value(view).map_err(|e| Error::new(Code::Internal).cause(e.to_string()))
}

/// It is named in a header.
fn check_name(name: &Name) -> Result<()> {
    if name.as_str().bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return Ok(());
    }
    Err(Error::new(Code::Invalid).at("name", "has characters other than printable ASCII, which a header cannot carry"))
}

/// Writes the list of groups, each once; every one must exist.
fn list_groups(tx: &mut Tx<'_>, application_id: ApplicationId, mut group_ids: Vec<GroupId>) -> Result<()> {
    let unfit = |detail: String| Error::new(Code::Invalid).at("allowed_groups", detail);
    // In the order of their ids, so that two nodes never wait for each other crosswise.
    group_ids.sort_unstable();
    group_ids.dedup();
    if group_ids.len() > MOST_GROUPS {
        return Err(unfit(format!("has more than {MOST_GROUPS} groups")));
    }
    for group_id in &group_ids {
        tx.hold_group(*group_id)?
            .ok_or_else(|| unfit("names a group that does not exist".to_owned()).because("group_unknown"))?;
    }
    Ok(tx.list_groups(application_id, &group_ids)?)
}

/// What calls rely on that name no application stays as it is.
fn check_default(before: &Application, after: &Application) -> Result<()> {
    let fixed = |a: &Application| (a.name_key.clone(), a.session_scope, a.is_key_required);
    if before.is_default() && fixed(before) != fixed(after) {
        let detail = "The default application keeps its name, is shared and needs no key.";
        return Err(Error::new(Code::DefaultApplication).detail(detail));
    }
    Ok(())
}

impl SuperUser {
    /// Registers an application and makes its key, which is told this once.
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`], [`Code::SessionRequired`], [`Code::ValueTaken`]; [`Code::Invalid`] for a name that a header cannot carry, or a list that does not fit.
    pub async fn create_application(self, new: ApplicationPatch) -> Result<(ApplicationView, ApplicationKey)> {
        self.expect_proof(None)?;
        let name = new.name.clone().ok_or_else(|| Error::new(Code::Invalid).at("name", "is missing"))?;
        check_name(&name)?;
        let context = self.context;
        let entropy = &context.services.inner.entropy;
        let key = ApplicationKey::mint(entropy);
        let application_id = ApplicationId::mint(context.now(), entropy);
        let mut application = Application::fresh(application_id, name, key.hash(), context.now());
        let groups = new.apply(&mut application);
        let create = move |tx: &mut Tx<'_>| {
            tx.insert_application(&application)?;
            list_groups(tx, application_id, groups.unwrap_or_default())?;
            let view = application.view(tx.read().listed_groups(application_id)?);
            let did = Did::to(application_id).changing(Changes::between(&Value::Null, &shown(&view)?));
            Ok((view, did))
        };
        Ok((context.change(create).await?, key))
    }

    /// An application.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn application(&self, application_id: ApplicationId) -> Result<ApplicationView> {
        self.context.trail.set_subject(application_id);
        let look_up = move |snapshot: &mut crate::store::Snapshot<'_>| {
            let application = snapshot.application(application_id)?.ok_or_else(unknown)?;
            Ok(application.view(snapshot.listed_groups(application_id)?))
        };
        self.context.services.inner.store.read(look_up).await
    }

    /// Changes an application. Whom its lists leave out is refused from the next call on; a list that would leave out the caller, in
    /// this very call, is refused itself.
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`], [`Code::SessionRequired`], [`Code::NotFound`], [`Code::ValueTaken`], [`Code::DefaultApplication`],
    /// [`Code::SelfShutOut`]; [`Code::Invalid`] for a change without members, and as in [`SuperUser::create_application`].
    pub async fn update_application(self, application_id: ApplicationId, patch: ApplicationPatch) -> Result<ApplicationView> {
        self.context.trail.set_subject(application_id);
        self.expect_proof(None)?;
        if patch.is_empty() {
            return Err(Error::new(Code::Invalid).detail("There is nothing to change."));
        }
        patch.name.as_ref().map_or(Ok(()), check_name)?;
        let context = self.context.clone();
        let update = move |tx: &mut Tx<'_>| {
            let before = tx.hold_application(application_id)?.ok_or_else(unknown)?;
            let old = before.view(tx.read().listed_groups(application_id)?);
            let mut after = before.clone();
            let groups = patch.apply(&mut after);
            check_default(&before, &after)?;
            tx.save_application(&after)?;
            if let Some(groups) = groups {
                list_groups(tx, application_id, groups)?;
            }
            context.require_remaining(tx)?;
            let view = after.view(tx.read().listed_groups(application_id)?);
            let did = Did::to(application_id).changing(Changes::between(&shown(&old)?, &shown(&view)?));
            Ok((view, did))
        };
        self.context.change(update).await
    }

    /// Gives an application another key, which is told this once; the one so far is good for nothing any more.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::FreshSignInRequired`]; [`Code::DefaultApplication`], which has none.
    pub async fn renew_application_key(self, application_id: ApplicationId) -> Result<(ApplicationView, ApplicationKey)> {
        self.context.trail.set_subject(application_id);
        self.expect_proof(None)?;
        let key = ApplicationKey::mint(&self.context.services.inner.entropy);
        let key_hash = key.hash();
        let renew = move |tx: &mut Tx<'_>| {
            let application = tx.hold_application(application_id)?.ok_or_else(unknown)?;
            if application.is_default() {
                return Err(Error::new(Code::DefaultApplication).detail("The default application has no key."));
            }
            tx.set_application_key(application.clone(), &key_hash)?;
            let view = application.view(tx.read().listed_groups(application_id)?);
            Ok((view, Did::to(application_id)))
        };
        Ok((self.context.change(renew).await?, key))
    }

    /// Removes an application; the sessions that were opened through it end.
    ///
    /// # Errors
    /// [`Code::FreshSignInRequired`], [`Code::SessionRequired`], [`Code::NotFound`]; [`Code::DefaultApplication`].
    pub async fn delete_application(self, application_id: ApplicationId) -> Result<()> {
        self.context.trail.set_subject(application_id);
        self.expect_proof(None)?;
        let delete = move |tx: &mut Tx<'_>| {
            let application = tx.hold_application(application_id)?.ok_or_else(unknown)?;
            if application.is_default() {
                return Err(Error::new(Code::DefaultApplication));
            }
            let gone = application.view(tx.read().listed_groups(application_id)?);
            tx.delete_application(application_id)?;
            Ok(((), Did::to(application_id).changing(Changes::between(&shown(&gone)?, &Value::Null))))
        };
        self.context.change(delete).await
    }

    /// All applications, by name.
    ///
    /// # Errors
    /// The database fails.
    pub async fn applications(&self) -> Result<Vec<ApplicationView>> {
        let found = self.context.services.inner.store.read(|snapshot| Ok(snapshot.applications()?)).await?;
        Ok(found.into_iter().map(|(application, groups)| application.view(groups)).collect())
    }
}
