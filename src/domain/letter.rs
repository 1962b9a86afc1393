//! What usher writes to people: letters, each of a kind, in a language, to one mailbox.
//!
//! A letter is what there is to say; how it is worded is the business of templates, where it is sent. Letters that a stranger
//! can bring about, by naming someone else's mailbox at a sign-up, have no word that the stranger chose: no name, no text. They would
//! be a way to send anyone anything.

use super::link::LinkUrl;
use super::outbox::MessageKind;
use super::text::{Email, Name};
use super::time::Utc;
use super::words;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use zeroize::Zeroizing;

mod schema {
    #![expect(missing_docs, reason = "when a letter of a kind was last written, or is due, to a mailbox about an account")]

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        letters_written (user_id, kind, mailbox) {
            user_id -> sql::Uuid,
            kind -> Text,
            mailbox -> Text,
            time -> sql::Instant,
        }
    }
}
pub use schema::letters_written;

words::words! {
    /// What a letter is about. The words are the names of its templates.
    LetterKind {
        /// To whoever signed up: the link that confirms it.
        ConfirmSignUp = "confirm_sign_up",
        /// To whoever signed up although there is an account with this address.
        AccountExists = "account_exists",
        /// To whoever signed up with a name that someone else bears.
        NameTaken = "name_taken",
        /// The account can be used from now on.
        Welcome = "welcome",
        /// A link to set a password, which a super-user asked for.
        SetPassword = "set_password",
        /// A link to set a new password, which somebody asked for who knows the name or address.
        ResetPassword = "reset_password",
        /// The password was changed.
        PasswordChanged = "password_changed",
        /// The e-mail address was changed; to the one before.
        EmailChanged = "email_changed",
        /// The e-mail address was changed; to the new one.
        EmailMoved = "email_moved",
        /// The username or login name was changed.
        NameChanged = "name_changed",
        /// An API key was made.
        ApiKeyMade = "api_key_made",
        /// An API key was revoked.
        ApiKeyRevoked = "api_key_revoked",
        /// One-time codes were switched on.
        TotpOn = "totp_on",
        /// One-time codes were switched off.
        TotpOff = "totp_off",
        /// New recovery codes took the place of those before.
        RecoveryCodesMade = "recovery_codes_made",
        /// The second factor was taken away or replaced without a proof.
        FactorsReset = "factors_reset",
        /// An API key made somebody a super-user; to every super-user.
        SuperUserMade = "super_user_made",
    }

    /// A language that letters are written in; the words are those of RFC 5646.
    Language {
        /// English.
        English = "en",
        /// German.
        German = "de",
    }
}

impl LetterKind {
    /// By which way it goes. Kinds that the release before does not know have a way of their own, which it does not take: it would give
    /// them up.
    pub fn way(self) -> MessageKind {
        match self {
            Self::ConfirmSignUp
            | Self::AccountExists
            | Self::NameTaken
            | Self::Welcome
            | Self::SetPassword
            | Self::ResetPassword
            | Self::PasswordChanged
            | Self::EmailChanged => MessageKind::Mail,
            Self::EmailMoved
            | Self::NameChanged
            | Self::ApiKeyMade
            | Self::ApiKeyRevoked
            | Self::TotpOn
            | Self::TotpOff
            | Self::RecoveryCodesMade
            | Self::FactorsReset
            | Self::SuperUserMade => MessageKind::Letter,
        }
    }
}

impl Language {
    /// The language of a user: 1 is English, 2 is German; without one, and for any other, the server's default.
    pub fn of(lang_id: Option<i64>, default: Self) -> Self {
        match lang_id {
            Some(1) => Self::English,
            Some(2) => Self::German,
            Some(_) | None => default,
        }
    }
}

/// A letter.
pub struct Letter {
    /// What it is about.
    pub kind: LetterKind,
    /// Its language.
    pub language: Language,
    /// Whom it goes to.
    pub to: Email,
    /// The username of the account that it is about, if its receiver is known to have it.
    pub username: Option<Name>,
    /// The link in it.
    pub link: Option<LinkUrl>,
    /// When the link expires.
    pub expiry: Option<Utc>,
    /// When it was written.
    pub time: Utc,
}

/// Why a letter of the outbox cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is of a kind, or in a language, of another build.
    Foreign(String),
    /// It is none.
    Broken,
}

/// A letter as the outbox keeps it, encrypted. What is stored is read as it is: names and addresses were judged when they were given.
#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    kind: Cow<'a, str>,
    language: Cow<'a, str>,
    to: Cow<'a, str>,
    username: Option<Cow<'a, str>>,
    link: Option<Cow<'a, str>>,
    expiry: Option<Utc>,
    time: Utc,
}

impl Letter {
    /// As the outbox keeps it.
    pub fn to_content(&self) -> Option<Zeroizing<Vec<u8>>> {
        let wire = Wire {
            kind: self.kind.as_str().into(),
            language: self.language.as_str().into(),
            to: self.to.as_str().into(),
            username: self.username.as_ref().map(|name| name.as_str().into()),
            link: self.link.as_ref().map(|link| link.expose().into()),
            expiry: self.expiry,
            time: self.time,
        };
        serde_json::to_vec(&wire).ok().map(Zeroizing::new)
    }

    /// From the outbox.
    ///
    /// # Errors
    /// It is no letter, or none of this program's.
    pub fn from_content(content: &[u8]) -> Result<Self, Unread> {
        let Wire { kind, language, to, username, link, expiry, time } =
            serde_json::from_slice(content).map_err(|_| Unread::Broken)?;
        Ok(Self {
            kind: kind.parse().map_err(|_| Unread::Foreign(kind.into_owned()))?,
            language: language.parse().map_err(|_| Unread::Foreign(language.into_owned()))?,
            to: Email::stored(to.into_owned()),
            username: username.map(|name| Name::stored(name.into_owned())),
            link: link.map(|l| LinkUrl::new(l.into_owned())),
            expiry,
            time,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_letter_is_read_back(kind in 0..LetterKind::ALL.len(), link in proptest::option::of("https://[a-z]{1,9}/x#token=[a-z_]{1,60}"), micros in 0i64..4_000_000_000_000_000) {
            let letter = Letter {
                kind: LetterKind::ALL[kind],
                language: Language::German,
                to: Email::try_from("ann@example.org".to_owned()).unwrap(),
                username: Name::try_from("Ann".to_owned()).ok(),
                link: link.clone().map(LinkUrl::new),
                expiry: None,
                time: Utc::from_micros(micros),
            };
            let back = Letter::from_content(&letter.to_content().unwrap()).unwrap();
            prop_assert_eq!(back.kind, letter.kind);
            prop_assert_eq!(back.link.as_ref().map(LinkUrl::expose), link.as_deref());
            prop_assert_eq!((back.to, back.username, back.time), (letter.to, letter.username, letter.time));
        }

        #[test]
        fn any_bytes_are_read_or_refused(content in any::<Vec<u8>>()) {
            let _ = Letter::from_content(&content);
        }
    }

    /// S53: a letter of another build is told from one that is none.
    #[test]
    fn a_letter_of_another_build_is_not_broken() {
        let letter = |kind: &str, language: &str| {
            let time = Utc::from_micros(0);
            let wire = serde_json::json!({"kind": kind, "language": language, "to": "ann@example.org", "username": null, "link": null, "expiry": null, "time": time});
            Letter::from_content(wire.to_string().as_bytes()).map(|letter| letter.kind)
        };
        assert_eq!(letter("welcome", "en"), Ok(LetterKind::Welcome));
        assert_eq!(letter("farewell", "en"), Err(Unread::Foreign("farewell".to_owned())));
        assert_eq!(letter("welcome", "eo"), Err(Unread::Foreign("eo".to_owned())));
        assert_eq!(Letter::from_content(b"{}").map(|_| ()), Err(Unread::Broken));
    }

    #[test]
    fn languages() {
        assert_eq!(
            [None, Some(0), Some(1), Some(2), Some(-7)].map(|id| Language::of(id, Language::German).as_str()),
            ["de", "de", "en", "de", "de"]
        );
    }
}
