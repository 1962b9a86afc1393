//! Sessions: details, whether they are good, renewing, listing.

use super::answer::Told;
use super::sent::{Sent, naive};
use crate::domain::session::SessionView;
use crate::error::{Code, Error, Result};
use crate::service::{Authenticated, SessionEntry, SignedIn, SuperUser};
use serde_json::{Map, Value, json};

fn unknown() -> Error {
    Error::new(Code::SessionInvalid).because("session_unknown")
}

fn expiry(session: &SessionView) -> String {
    naive(session.idle_expiry.min(session.absolute_expiry))
}

/// The session that is asked about, if it is good.
pub(super) async fn target(caller: &SuperUser, sent: &Sent) -> Result<Option<SessionView>> {
    match sent.filled("target_ust")? {
        Some(target) => caller.good_session(&target).await,
        None => Ok(None),
    }
}

pub(super) async fn details(caller: SuperUser, sent: Sent) -> Result<Told> {
    let session = target(&caller, &sent).await?.ok_or_else(unknown)?;
    Ok(Told::of(times(&session)))
}

fn times(session: &SessionView) -> Map<String, Value> {
    let members = [
        ("creation_time", naive(session.created_time).into()),
        ("expiration_time", expiry(session).into()),
        ("remote_addr", session.remote_addr.clone().into()),
        ("user_agent", session.user_agent.clone().into()),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) async fn verify(caller: SuperUser, sent: Sent) -> Result<Told> {
    if sent.value("target_ust").is_none() {
        return Err(unknown());
    }
    let is_valid = target(&caller, &sent).await?.is_some();
    Ok(Told::done().with("is_valid", is_valid))
}

pub(super) async fn renew(caller: SignedIn, _: Sent) -> Result<Told> {
    let session = caller.renew().await?;
    Ok(Told::done().with("expiration_time", expiry(&session)))
}

pub(super) async fn list(caller: Authenticated, sent: Sent) -> Result<Told> {
    let is_own = sent.filled("ust")?.is_some();
    let is_of_other = sent.filled("current_ust")?.is_some() || sent.filled("target_ust")?.is_some();
    let entries = match (is_own, is_of_other) {
        (true, true) => return Err(Error::new(Code::Invalid).at("ust", "does not go together with current_ust")),
        (true | false, false) => caller.own_session_entries().await?,
        (false, true) => {
            let caller = caller.rise()?;
            let session = target(&caller, &sent).await?.ok_or_else(unknown)?;
            caller.session_entries_of(session.user_id).await?
        }
    };
    Ok(Told::done().with("result", entries.iter().map(entry).collect::<Vec<Value>>()))
}

/// A session of a list. Its token is known to nobody but its bearer: in its place stands the session's id, by which super-users may ask
/// about it.
fn entry(entry: &SessionEntry) -> Value {
    let SessionEntry { session, username, account_id } = entry;
    let opened = json!({
        "idx": 1,
        "ctx_source": "login",
        "timestamp_utc": naive(session.created_time),
        "remote_addr": session.remote_addr,
        "user_agent": session.user_agent,
    });
    let mut told = times(session);
    told.insert("ust".to_owned(), json!(session.session_id));
    told.insert("auth_type".to_owned(), if account_id.is_some() { "basic_auth" } else { "default" }.into());
    told.insert("auth_principal".to_owned(), json!(username));
    told.insert("ext_session_id".to_owned(), account_id.map(|id| format!("basic_auth.{id}")).unwrap_or_default().into());
    told.insert("session_state_change_list".to_owned(), json!([opened]));
    Value::Object(told)
}
