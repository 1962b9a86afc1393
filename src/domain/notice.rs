//! What a person is told on signing in, while there is still time to do something about it.

use super::time::Utc;
use super::user::User;
use serde::Serialize;
use std::time::Duration;

super::words::words! {
    /// What a notice is about.
    NoticeCode {
        /// The password expires at the time given.
        PasswordExpires = "password_expires",
        /// The account's validity ends at the time given.
        AccountExpires = "account_expires",
    }
}

/// Something that will soon keep a person from signing in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Notice {
    /// What it is about.
    pub code: NoticeCode,
    /// When.
    pub time: Utc,
}

impl Notice {
    /// The notices for a user who may act at `now`: of what ends within `span`.
    pub fn of(user: &User, now: Utc, span: Duration) -> Vec<Self> {
        let password = user.password_expiry.filter(|_| !user.password_never_expires);
        let account = user.valid_to.filter(|_| !user.never_expire);
        [(NoticeCode::PasswordExpires, password), (NoticeCode::AccountExpires, account)]
            .into_iter()
            .filter_map(|(code, time)| Some(Self { code, time: time.filter(|time| *time < now + span)? }))
            .collect()
    }
}
