//! What a session is: the time between a sign-in and its end, known to its bearer by a UST and to everyone else by its id.
//!
//! A session has two ends, both checked whenever it is used: `idle_expiry`, which a renewal moves, and `absolute_expiry`, which
//! nothing moves. Renewals that come within [`RENEWAL_WINDOW`] of the last one answer what that one decided: parallel renewals
//! agree on one expiry.

use super::application::Application;
use super::ids::{ApplicationId, SessionId, UserId};
use super::row_mac::RowMac;
use super::secret::TokenHash;
use super::time::Utc;
use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use serde::Serialize;
use std::borrow::Cow;
use std::time::Duration;

mod schema {
    #![expect(missing_docs, reason = "the columns are documented where they become fields")]

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        sessions (session_id) {
            session_id -> sql::Uuid,
            token_hash -> Binary,
            user_id -> sql::Uuid,
            application_id -> sql::Uuid,
            created_time -> sql::Instant,
            renewed_time -> Nullable<sql::Instant>,
            idle_expiry -> sql::Instant,
            absolute_expiry -> sql::Instant,
            remote_addr -> Nullable<Text>,
            user_agent -> Nullable<Text>,
            auth_methods -> Text,
            auth_time -> sql::Instant,
            mac -> Binary,
        }
    }
}
pub use schema::sessions;

/// By what the user of a session was proved: words with commas between, in the order in which they were shown. What is stored is kept as it
/// is; a word of another build proves nothing here.
#[derive(Clone, Debug, PartialEq, Eq, FromSqlRow, AsExpression)]
#[diesel(sql_type = diesel::sql_types::Text)]
pub struct AuthMethods(Cow<'static, str>);

impl AuthMethods {
    /// A password.
    pub const PASSWORD: Self = Self(Cow::Borrowed("pwd"));
    /// A password and a one-time code.
    pub const PASSWORD_AND_CODE: Self = Self(Cow::Borrowed("pwd,otp"));
    /// A password and a recovery code.
    pub const PASSWORD_AND_RECOVERY_CODE: Self = Self(Cow::Borrowed("pwd,rec"));
    /// The password of a linked account.
    pub const LINKED: Self = Self(Cow::Borrowed("linked"));

    /// As it is stored.
    pub fn stored(text: String) -> Self {
        Self(Cow::Owned(text))
    }

    /// The words, with commas between.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The words.
    pub fn words(&self) -> Vec<String> {
        self.0.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    /// What a signed token tells of them (RFC 8176): `pwd`, `otp`, and `mfa` where a second factor was shown.
    pub fn amr(&self) -> Vec<&'static str> {
        let has = |word: &str| self.0.split(',').any(|own| own == word);
        let mut amr = Vec::new();
        if has("pwd") || self.is_linked() {
            amr.push("pwd");
        }
        if has("otp") {
            amr.push("otp");
        }
        if self.have_second_factor() {
            amr.push("mfa");
        }
        amr
    }

    /// Whether the password of a linked account is all that was shown.
    pub fn is_linked(&self) -> bool {
        self.0.split(',').any(|word| word == "linked")
    }

    /// Whether a second factor is among them.
    pub fn have_second_factor(&self) -> bool {
        self.0.split(',').any(|word| matches!(word, "otp" | "rec" | "passkey" | "passkey_uv"))
    }

    /// The same, a one-time code having been shown as well.
    #[must_use]
    pub fn with_code(&self) -> Self {
        if self.0.split(',').any(|word| word == "otp") { self.clone() } else { Self(Cow::Owned(format!("{},otp", self.0))) }
    }
}

/// Renewals closer together than this are one renewal.
pub const RENEWAL_WINDOW: Duration = Duration::from_secs(2);

/// A session as the database holds it.
#[derive(Clone, Debug, diesel::Queryable, diesel::QueryableByName, diesel::Insertable)]
#[diesel(table_name = sessions, treat_none_as_default_value = false)]
pub struct Session {
    /// Its public key.
    pub session_id: SessionId,
    /// The SHA-256 of its UST.
    pub token_hash: TokenHash,
    /// Whose it is.
    pub user_id: UserId,
    /// The application through which it was opened.
    pub application_id: ApplicationId,
    /// When it was opened.
    pub created_time: Utc,
    /// When it was last renewed.
    pub renewed_time: Option<Utc>,
    /// It ends at this time unless renewed.
    pub idle_expiry: Utc,
    /// It ends at this time at the latest.
    pub absolute_expiry: Utc,
    /// The address it was opened from.
    pub remote_addr: Option<String>,
    /// The user agent it was opened with.
    pub user_agent: Option<String>,
    /// By what its user was proved.
    pub auth_methods: AuthMethods,
    /// When its user was proved: at the sign-in, or at the last confirmation since.
    pub auth_time: Utc,
    /// What binds it to the key file.
    pub mac: RowMac,
}

impl Session {
    /// When the session ends if nobody renews it.
    pub fn expiry(&self) -> Utc {
        self.idle_expiry.min(self.absolute_expiry)
    }

    /// Whether it has ended by itself.
    pub fn is_expired(&self, now: Utc) -> bool {
        self.expiry() <= now
    }

    /// When its user was proved with the strength that the account has now: by a second factor, if there is one. `None` if never: the password
    /// of a linked account proves nobody (S49).
    pub fn proved_time(&self, has_second_factor: bool) -> Option<Utc> {
        let is_strong = !self.auth_methods.is_linked() && (!has_second_factor || self.auth_methods.have_second_factor());
        is_strong.then_some(self.auth_time)
    }

    /// The idle expiry that a renewal at `now` gives; `None` if the last renewal stands.
    pub fn renewal(&self, now: Utc, idle: Duration) -> Option<Utc> {
        let stands = self.renewed_time.is_some_and(|t| now < t + RENEWAL_WINDOW);
        let moved = (now + idle).min(self.absolute_expiry);
        (!stands && moved > self.idle_expiry).then_some(moved)
    }

    /// Whether a caller that comes through `current` may use this session, which was opened through `opened`.
    pub fn is_accepted_by(opened: &Application, current: &Application) -> bool {
        opened.application_id == current.application_id || (opened.is_shared() && current.is_shared())
    }
}

/// A session as its owner and super-users see it: never with its token.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct SessionView {
    /// Its id.
    pub session_id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// The name of the application through which it was opened.
    pub application: String,
    /// When it was opened.
    pub created_time: Utc,
    /// When its user was proved: at the sign-in, or at the last confirmation since.
    pub auth_time: Utc,
    /// By what: `pwd`, `otp` (a one-time code), `rec` (a recovery code), `linked` (the password of a linked account).
    pub auth_methods: Vec<String>,
    /// It ends at this time unless renewed.
    pub idle_expiry: Utc,
    /// It ends at this time at the latest.
    pub absolute_expiry: Utc,
    /// The address it was opened from.
    pub remote_addr: Option<String>,
    /// The user agent it was opened with.
    pub user_agent: Option<String>,
    /// Whether this is the session of the call.
    pub is_current: bool,
}

impl SessionView {
    /// The public part of `session`.
    pub fn of(session: &Session, application: &str, current: Option<SessionId>) -> Self {
        Self {
            session_id: session.session_id,
            user_id: session.user_id,
            application: application.to_owned(),
            created_time: session.created_time,
            auth_time: session.auth_time,
            auth_methods: session.auth_methods.words(),
            idle_expiry: session.idle_expiry,
            absolute_expiry: session.absolute_expiry,
            remote_addr: session.remote_addr.clone(),
            user_agent: session.user_agent.clone(),
            is_current: current == Some(session.session_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn session(absolute: i64) -> Session {
        Session {
            session_id: SessionId::from_bytes([0; 16]),
            token_hash: TokenHash::from_bytes(Vec::new()),
            user_id: UserId::from_bytes([0; 16]),
            application_id: ApplicationId::from_bytes([0; 16]),
            created_time: Utc::from_micros(0),
            renewed_time: None,
            idle_expiry: Utc::from_micros(1_000_000),
            absolute_expiry: Utc::from_micros(absolute),
            remote_addr: None,
            user_agent: None,
            auth_methods: AuthMethods::PASSWORD,
            auth_time: Utc::from_micros(0),
            mac: RowMac::default(),
        }
    }

    #[test]
    fn what_a_second_factor_is() {
        let have = |text: &str| AuthMethods::stored(text.to_owned()).have_second_factor();
        assert!(["pwd,otp", "pwd,rec", "otp", "passkey_uv", "pwd,passkey", "pwd,new,otp"].iter().all(|text| have(text)));
        assert!(!["", "pwd", "linked", "pwd,linked", "otp2", "pwd otp", "hardware", "pwd,OTP"].iter().any(|text| have(text)));
        let shown = AuthMethods::PASSWORD.with_code();
        assert_eq!((shown.as_str(), shown.with_code()), ("pwd,otp", AuthMethods::PASSWORD_AND_CODE));
    }

    #[test]
    fn what_was_proved_and_when() {
        let proved = |methods: &str, has_second_factor| {
            let session = Session { auth_methods: AuthMethods::stored(methods.to_owned()), ..session(1) };
            session.proved_time(has_second_factor).is_some()
        };
        assert_eq!([proved("pwd", false), proved("pwd,otp", false), proved("pwd,otp", true), proved("pwd,rec", true)], [true; 4]);
        assert_eq!(
            [proved("pwd", true), proved("linked", false), proved("linked", true), proved("linked,otp", true)],
            [false; 4]
        );
        let amr = |methods: &str| AuthMethods::stored(methods.to_owned()).amr().join(" ");
        assert_eq!(["pwd", "pwd,otp", "pwd,rec", "linked"].map(amr), ["pwd", "pwd otp mfa", "pwd mfa", "pwd"]);
    }

    proptest! {
        /// S20: no sequence of renewals passes the absolute expiry, and none shortens a session.
        #[test]
        fn renewals_never_pass_the_absolute_expiry(
            steps in prop::collection::vec(0i64..5_000_000, 0..200),
            idle in 0u64..10_000_000,
            absolute in 1_000_000i64..100_000_000,
        ) {
            let mut session = session(absolute);
            let mut now = 0;
            for step in steps {
                now += step;
                let before = session.idle_expiry;
                if let Some(moved) = session.renewal(Utc::from_micros(now), Duration::from_micros(idle)) {
                    session.idle_expiry = moved;
                    session.renewed_time = Some(Utc::from_micros(now));
                }
                prop_assert!(session.idle_expiry >= before);
                prop_assert!(session.expiry() <= session.absolute_expiry);
            }
        }
    }
}
