//! Resetting a password.

use super::answer::Told;
use super::sent::Sent;
use crate::domain::secret::{Password, SentCode};
use crate::error::Result;
use crate::service::{Addressee, Anyone, Finish};

pub(super) async fn request(caller: Anyone, sent: Sent) -> Result<Told> {
    if let Some(credential) = sent.filled("credential")? {
        caller.request_reset(Addressee::Username(credential)).await?;
    }
    Ok(Told::done())
}

pub(super) async fn open(caller: Anyone, sent: Sent) -> Result<Told> {
    let opened = caller.open_reset(&sent.text("token")?.unwrap_or_default()).await?;
    Ok(Told::done().with("reset_key", opened.reset_key.expose()))
}

pub(super) async fn finish(caller: Anyone, sent: Sent) -> Result<Told> {
    let given = Finish {
        reset_key: sent.text("reset_key")?.unwrap_or_default(),
        token: Some(sent.text("token")?.unwrap_or_default()),
        new_password: sent.secret("password")?.unwrap_or_else(|| Password::new(String::new())),
        totp_code: sent.filled("totp_code")?.map(SentCode::new),
        keep_api_keys: false,
    };
    caller.finish_reset(given).await?;
    Ok(Told::done())
}
