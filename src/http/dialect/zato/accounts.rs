//! Signing in and out, signing up, passwords and one-time codes.

use super::answer::Told;
use super::sent::Sent;
use crate::domain::notice::NoticeCode;
use crate::domain::secret::{Password, SentCode};
use crate::domain::text::Name;
use crate::error::{Code, Error, Result};
use crate::service::{Anyone, Authenticated, ImmediateSignUp, SignIn, SignUp};
use serde_json::{Map, Value};
use std::time::Duration;

/// A day, in seconds.
const DAY: u64 = 24 * 60 * 60;
/// The longest life of a password, in days: a hundred years.
const LONGEST_LIFE: i64 = 36_500;

fn empty() -> Password {
    Password::new(String::new())
}

pub(super) async fn sign_in(caller: Anyone, sent: Sent) -> Result<Told> {
    let given = SignIn {
        username: sent.text("username")?.unwrap_or_default(),
        password: sent.secret("password")?.unwrap_or_else(empty),
        totp_code: sent.filled("totp_code")?.map(SentCode::new),
        // It has no way to enrol a second factor: whoever lacks one that is demanded gets it natively.
        enrolment: None,
        new_password: sent.secret("new_password")?,
        current_app: None,
    };
    let new = caller.sign_in(given).await?;
    let expires = new.notices.iter().any(|notice| notice.code == NoticeCode::PasswordExpires);
    let told = Told::done().with("ust", new.ust.expose());
    Ok(Told { warning: expires.then_some("W003005"), ..told })
}

pub(super) async fn sign_out(caller: Anyone, _: Sent) -> Result<Told> {
    caller.show_token().await?.sign_out().await?;
    Ok(Told::done())
}

pub(super) async fn sign_up(caller: Anyone, sent: Sent) -> Result<Told> {
    if caller.leniency().is_sign_up_immediate() {
        let name = sent.text("username")?.unwrap_or_default();
        let username = Name::try_from(name).map_err(|flaw| Error::new(Code::Invalid).at("username", flaw.to_string()))?;
        let email = sent.filled("email")?.map(|email| caller.read_email(email)).transpose()?;
        let password = sent.secret("password")?.unwrap_or_else(empty);
        let token = caller.sign_up_at_once(ImmediateSignUp { username, email, password }).await?;
        return Ok(Told::done().with("confirm_token", token.expose()));
    }
    let mut form: Map<String, Value> = Map::new();
    for name in ["username", "email"] {
        form.extend(sent.filled(name)?.map(|text| (name.to_owned(), text.into())));
    }
    let password = sent.secret("password")?.unwrap_or_else(empty);
    form.insert("password".to_owned(), password.expose().into());
    caller.sign_up(SignUp::read(form)?).await?;
    // The token that confirms it is in the mailbox, and nowhere else.
    Ok(Told::done().with("confirm_token", Value::Null))
}

pub(super) async fn confirm(caller: Anyone, sent: Sent) -> Result<Told> {
    caller.confirm_sign_up(&sent.text("confirm_token")?.unwrap_or_default()).await?;
    Ok(Told::done())
}

pub(super) async fn password(caller: Authenticated, sent: Sent) -> Result<Told> {
    let user_id = sent.user()?;
    let new = sent.secret("new_password")?.unwrap_or_else(empty);
    let Some(other) = user_id.filter(|user_id| *user_id != caller.user_id()) else {
        let old =
            sent.secret("old_password")?.ok_or_else(|| Error::new(Code::OldPasswordWrong).because("old_password_missing"))?;
        let renewed = caller.by_session()?.change_password_in_place(old, new).await?;
        return Ok(renewed.map_or_else(Told::done, |renewed| Told::done().with("ust", renewed.ust.expose())));
    };
    let caller = caller.rise()?;
    let days = sent.number("password_expiry")?.filter(|days| *days > 0).map(|days| days.min(LONGEST_LIFE));
    let expiry = days.map(|days| caller.now() + Duration::from_secs(days.unsigned_abs() * DAY));
    let must_change = match sent.value("must_change") {
        Some(_) => sent.flag("must_change")?,
        // What is not said stays as it is.
        None => caller.user(other).await?.user.password_must_change,
    };
    caller.set_password(other, new, must_change, expiry).await?;
    Ok(Told::done())
}

pub(super) async fn totp(caller: Authenticated, sent: Sent) -> Result<Told> {
    let (key, label) = (sent.totp_key()?, sent.line("totp_label")?);
    let key = match sent.filled("user_id")? {
        None => caller.by_session()?.take_totp_key(key, label).await?,
        Some(_) => {
            let caller = caller.rise()?;
            caller.give_totp_key(sent.one_user()?, key, label).await?
        }
    };
    Ok(Told::done().with("totp_key", key.expose()))
}
