//! System roles, and checks of accounts and passwords.

use super::super::super::input::Body;
use super::super::super::reply::Found;
use super::users::UserGuid;
use super::{Part, Said};
use crate::domain::secret::Password;
use crate::domain::standing::Barred;
use crate::domain::time::Utc;
use crate::error::Result;
use crate::service::{Authenticated, Checked, TrustedApplication, Whom};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// The system roles that mean something here: what usher lets a super-user do, in the ECM's numbers.
const ADMINISTRATOR: &[(i64, &str)] = &[(4, "configure security"), (72, "switch job context")];

/// Within so many days the end of a password is told.
const PERIOD: u64 = 14;

/// The roles that follow from the role that the view shows.
fn roles_of(view: impl serde::Serialize) -> Vec<Value> {
    let view = serde_json::to_value(view).unwrap_or_default();
    let is_administrator = view.get("user_role").is_some_and(|role| role == "administrator");
    let roles = ADMINISTRATOR.iter().filter(|_| is_administrator);
    roles.map(|(id, name)| json!({"id": id, "name": name})).collect()
}

async fn roles_seen(caller: Authenticated, whom: Whom) -> Result<Part> {
    let seen = caller.see(whom).await?;
    Ok(Part { items: roles_of(seen.account.view(seen.viewer)), next: None })
}

pub(super) async fn own_roles(caller: Authenticated, (): ()) -> Result<Part> {
    roles_seen(caller, Whom::Oneself).await
}

pub(super) async fn roles(caller: Authenticated, user: UserGuid) -> Result<Part> {
    roles_seen(caller, Whom::Id(user.0.0)).await
}

/// A name and a password to be checked.
#[derive(Deserialize, JsonSchema)]
pub(super) struct CheckBody {
    /// The username or login name.
    username: String,
    /// The password.
    password: Password,
}

pub(super) async fn check(caller: TrustedApplication, Body(body): Body<CheckBody>) -> Result<Found<Said>> {
    let now = caller.now();
    let found = caller.check_account(&body.username, body.password).await?;
    let (status, method, days, reason) = match found {
        Checked::Good { needs_code, must_change, expiry } => {
            let days = if must_change { 0 } else { days_until(expiry, now) };
            (0, Some(if needs_code { "password_totp" } else { "password" }), days, None)
        }
        Checked::Unknown => (2, None, -1, None),
        Checked::JustLocked => (3, None, -1, Some(Barred::Locked)),
        Checked::Wrong => (4, None, -1, None),
        Checked::Locked => (5, None, -1, Some(Barred::Locked)),
        Checked::Barred(barred) => (5, None, -1, Some(barred)),
    };
    let reason = reason.map(Barred::as_str);
    Ok(Found(Said(json!({"status": status, "login_method": method, "password_expires_in_days": days, "reason": reason}))))
}

/// Whole days until a time within the period; -1 if it is farther away, or there is none.
fn days_until(expiry: Option<Utc>, now: Utc) -> i64 {
    const DAY: u64 = 24 * 60 * 60;
    match expiry {
        Some(expiry) if expiry <= now + Duration::from_secs(PERIOD * DAY) => {
            i64::try_from(expiry.since(now).as_secs().div_ceil(DAY)).unwrap_or(-1)
        }
        Some(_) | None => -1,
    }
}

/// A password to be judged.
#[derive(Deserialize, JsonSchema)]
pub(super) struct JudgeBody {
    /// The password.
    password: Password,
}

pub(super) async fn judge(caller: Authenticated, Body(body): Body<JudgeBody>) -> Result<Found<Said>> {
    let causes = caller.judge_password(&body.password).await?;
    Ok(Found(Said(json!({"is_complex": causes.is_empty(), "causes": causes}))))
}
