//! Text as people write it, parsed once at the edge: names that identify, and lines that describe.
//!
//! Names are compared by their *key*: Unicode NFC, then full case folding (Unicode 16, section 5.18), then NFC again. Control
//! and format characters (general categories Cc, Cf, Co, Cs, Cn, Zl, Zp) are refused everywhere: they make two names look alike,
//! or a line of a log look like two.

use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use unicode_normalization::UnicodeNormalization as _;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

/// Why a text was refused; the message completes "the value …".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit(&'static str);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Unfit {}

/// The form in which names are compared and searched.
pub fn fold(text: &str) -> String {
    // Nothing composes there, and the case folding of these characters is their lower case.
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let composed: String = text.nfc().collect();
    caseless::default_case_fold_str(&composed).nfc().collect()
}

/// Whether a character shows nothing, or makes what stands around it look like something else.
pub fn deceives(c: char) -> bool {
    // Letters and marks that show nothing (the rest of Default_Ignorable_Code_Point is of the categories below).
    let is_invisible = matches!(
        c,
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}' | '\u{e0100}'..='\u{e01ef}'
    );
    is_invisible
        || matches!(
            c.general_category(),
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::PrivateUse
                | GeneralCategory::Surrogate
                | GeneralCategory::Unassigned
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
        )
}

macro_rules! texts {
    ($($(#[doc = $doc:literal])* $name:ident { max: $max:literal, fits: $fits:expr }),* $(,)?) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize, FromSqlRow, AsExpression, JsonSchema)]
        #[diesel(sql_type = diesel::sql_types::Text)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(inline)]
        pub struct $name(#[schemars(length(max = $max))] String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// What is stored: it was judged when it was written, perhaps by other rules.
            pub fn stored(text: String) -> Self {
                Self(text)
            }

            /// The form in which it is compared.
            pub fn key(&self) -> String {
                fold(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Unfit;
            fn try_from(text: String) -> Result<Self, Unfit> {
                let text: String = text.nfc().collect();
                if text.chars().count() > $max {
                    return Err(Unfit(concat!("is longer than ", stringify!($max), " characters")));
                }
                let fits: fn(&str) -> Result<(), Unfit> = $fits;
                fits(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )*};
}

texts! {
    /// A name that identifies: a user's `username` or `login_name`, an application's or a group's name.
    Name { max: 128, fits: name },
    /// An e-mail address, as far as it can be judged without sending to it (RFC 5321, section 4.5.3.1).
    Email { max: 254, fits: email },
    /// One line of free text.
    Line { max: 256, fits: line },
    /// Free text of several lines.
    Note { max: 4096, fits: note },
}

impl Email {
    /// Any line that is not empty, where clients are used to no judgement. What is no address is never mailed to: [`Email::is_address`].
    ///
    /// # Errors
    /// It is empty, too long, or has control or invisible characters.
    pub fn of_any_form(text: String) -> Result<Self, Unfit> {
        let text: String = text.nfc().collect();
        if text.is_empty() {
            return Err(Unfit("is empty"));
        }
        if text.chars().count() > 254 {
            return Err(Unfit("is longer than 254 characters"));
        }
        line(&text)?;
        Ok(Self(text))
    }

    /// Whether it is of the form of an address.
    pub fn is_address(&self) -> bool {
        email(&self.0).is_ok()
    }

    /// An address that belongs to nobody (RFC 2606), to try things with.
    pub fn example() -> Self {
        Self("ann@example.org".to_owned())
    }
}

impl From<Name> for Line {
    /// A name is a line already: of the same characters, and of at most half the length.
    fn from(name: Name) -> Self {
        Self(name.0)
    }
}

fn line(text: &str) -> Result<(), Unfit> {
    if text.chars().any(deceives) { Err(Unfit("contains a control or invisible character")) } else { Ok(()) }
}

fn note(text: &str) -> Result<(), Unfit> {
    let deceives = |c| c != '\n' && c != '\t' && deceives(c);
    if text.chars().any(deceives) { Err(Unfit("contains a control or invisible character")) } else { Ok(()) }
}

fn name(text: &str) -> Result<(), Unfit> {
    if text.is_empty() {
        return Err(Unfit("is empty"));
    }
    if text.trim() != text {
        return Err(Unfit("begins or ends with white space"));
    }
    line(text)
}

fn email(text: &str) -> Result<(), Unfit> {
    line(text)?;
    let (local, domain) = text.rsplit_once('@').ok_or(Unfit("has no @"))?;
    if text.chars().any(char::is_whitespace) {
        return Err(Unfit("contains white space"));
    }
    if local.is_empty() || local.len() > 64 || local.contains('@') {
        return Err(Unfit("has no mailbox of 1 to 64 bytes before a single @"));
    }
    let label = |l: &str| !l.is_empty() && l.len() <= 63 && !l.starts_with('-') && !l.ends_with('-');
    let host = |c: char| c.is_alphanumeric() || c == '-' || c == '.';
    if !domain.split('.').all(label) || !domain.chars().all(host) {
        return Err(Unfit("has no domain name after the @"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Result<Name, Unfit> {
        Name::try_from(text.to_owned())
    }

    #[test]
    fn names_that_look_alike_are_one_or_refused() {
        assert_eq!(name("Straße").map(|n| n.key()), name("STRASSE").map(|n| n.key()));
        assert_eq!(name("e\u{301}lan"), name("élan"));
        for invisible in [
            "ro\u{200b}ot",
            "ro\u{202e}ot",
            "root\u{0}",
            "ro\u{ad}ot",
            "\u{feff}root",
            "admin\u{fe0f}",
            "admin\u{34f}",
            "admin\u{3164}",
            "root\u{2028}",
            " root",
            "root\u{a0}",
            "",
        ] {
            assert!(name(invisible).is_err(), "{invisible:?}");
        }
        assert!(name(&"x".repeat(128)).is_ok());
        assert!(name(&"x".repeat(129)).is_err());
    }

    #[test]
    fn e_mail_addresses() {
        for good in ["a@b", "john.doe+tag@example.com", "jörg@bücher.example"] {
            assert!(Email::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "@", "a@", "@b", "a b@c", "a@b..c", "a@-b", "a@b@c", "a@b\r\nBcc: c@d", "a@b/c"] {
            assert!(Email::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_in_normal_form_and_its_key_is_stable(text in "\\PC{0,40}") {
            if let Ok(name) = name(&text) {
                prop_assert_eq!(Name::try_from(name.as_str().to_owned()), Ok(name.clone()));
                prop_assert_eq!(fold(&name.key()), name.key());
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = (Email::try_from(text.clone()), Line::try_from(text.clone()), Note::try_from(text.clone()), name(&text));
        }
    }
}
