//! Closed sets of words: one spelling each for JSON, SQL, query strings and the command line.
//!
//! Closed they are for what comes in and for what this program writes. What is *stored* may be of another build, which has words that this
//! one does not: where it is read only to be shown, searched or hashed it is a [`Stored`]; where a row has it in a column that decides
//! something, it is the variant `Foreign` of its enum ([`kept_words`]).

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// A closed set of words.
pub trait Closed: Copy + FromStr + PartialEq + 'static {
    /// Every word.
    const ALL: &'static [Self];

    /// The word.
    fn word(self) -> &'static str;
}

/// One of this program's words, or the text that stands where one should: a word of another build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored<W> {
    /// A word that this program knows.
    Known(W),
    /// A text that it does not.
    Unknown(Box<str>),
}

impl<W: Closed> Stored<W> {
    /// What stands there.
    pub fn of(text: Cow<'_, str>) -> Self {
        match text.parse() {
            Ok(word) => Self::Known(word),
            Err(_) => Self::Unknown(text.into()),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(word) => word.word(),
            Self::Unknown(text) => text,
        }
    }

    /// The word, if this program knows it.
    pub fn known(&self) -> Option<W> {
        match self {
            Self::Known(word) => Some(*word),
            Self::Unknown(_) => None,
        }
    }

    /// Adds to the description of a schema which words this program knows. The set is open in answers: a client must take any text.
    pub fn tell_words(schema: &mut Schema) {
        let words: Vec<&str> = W::ALL.iter().map(|word| word.word()).collect();
        let told = schema.get("description").and_then(|told| told.as_str()).map(|told| format!("{told} ")).unwrap_or_default();
        let told = format!("{told}Known words, to which later versions may add: {}.", words.join(", "));
        schema.insert("description".to_owned(), told.into());
    }
}

impl<W> From<W> for Stored<W> {
    fn from(word: W) -> Self {
        Self::Known(word)
    }
}

impl<W: Closed> PartialEq<W> for Stored<W> {
    fn eq(&self, word: &W) -> bool {
        self.known() == Some(*word)
    }
}

impl<W: Closed> fmt::Display for Stored<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<W: Closed> Serialize for Stored<W> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<W> JsonSchema for Stored<W> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({"type": "string"})
    }
}

/// A word that stands in a column and that this program does not know: of another build. It is shown as it is, and no decision takes it for
/// one of the known ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Foreign(&'static str);

/// Foreign words that are told apart at most, and how long they may be in bytes: each is kept for as long as the program runs.
const MOST_FOREIGN: usize = 256;
const LONGEST_FOREIGN: usize = 64;

impl Foreign {
    /// This one.
    pub fn of(text: &str) -> Self {
        static HEARD: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
        let mut heard = HEARD.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = heard.get(text) {
            return Self(known);
        }
        if heard.len() >= MOST_FOREIGN || text.len() > LONGEST_FOREIGN {
            return Self("unknown");
        }
        let kept: &'static str = Box::leak(text.into());
        heard.insert(kept);
        Self(kept)
    }

    /// The word.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

/// Declares enums of words that stand in columns of the database. They are closed for what comes in; what is read from a column may be a
/// word of another build, and a decision by it has to say what it makes of one, for there is a variant for it.
macro_rules! kept_words {
    ($($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $word:literal),* $(,)? })*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Deserialize, schemars::JsonSchema)]
        #[derive(diesel::deserialize::FromSqlRow, diesel::expression::AsExpression)]
        #[diesel(sql_type = diesel::sql_types::Text)]
        #[schemars(inline)]
        pub enum $name {
            $($(#[doc = $vdoc])* #[serde(rename = $word)] $variant,)*
            /// A word of another build, as the database has it.
            #[serde(skip)]
            Foreign($crate::domain::words::Foreign),
        }

        impl $name {
            /// Every word, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Foreign(word) => word.as_str(),
                }
            }

            /// What is stored: it was judged when it was written, by whichever build.
            pub fn stored(text: &str) -> Self {
                text.parse().unwrap_or_else(|_: String| Self::Foreign($crate::domain::words::Foreign::of(text)))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("is none of {}", [$($word),*].join(", "))),
                }
            }
        }
    )*};
}
pub(crate) use kept_words;

/// Declares enums whose variants are words.
macro_rules! words {
    ($($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $word:literal),* $(,)? })*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[derive(diesel::deserialize::FromSqlRow, diesel::expression::AsExpression)]
        #[diesel(sql_type = diesel::sql_types::Text)]
        #[schemars(inline)]
        pub enum $name {
            $($(#[doc = $vdoc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// Every word, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl $crate::domain::words::Closed for $name {
            const ALL: &'static [Self] = Self::ALL;

            fn word(self) -> &'static str {
                self.as_str()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("is none of {}", [$($word),*].join(", "))),
                }
            }
        }
    )*};
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::Stored;
    use crate::domain::audit::Action;
    use crate::domain::user::UserRole;
    use proptest::prelude::*;

    proptest! {
        /// S53: any text is kept as it is.
        #[test]
        fn what_is_stored_is_read_as_it_is(text in ".{0,40}", word in prop::sample::select(Action::ALL)) {
            let stored = Stored::<Action>::of(text.as_str().into());
            prop_assert_eq!(stored.as_str(), &text);
            prop_assert_eq!(stored.known().map(Action::as_str), Action::ALL.iter().map(|w| w.as_str()).find(|w| *w == text));
            prop_assert_eq!(serde_json::to_string(&stored).unwrap(), serde_json::to_string(&text).unwrap());
            prop_assert!(Stored::<Action>::of(word.as_str().into()) == word);
        }

        /// A column's word is kept; what comes in is none but the known ones.
        #[test]
        fn a_word_of_a_column_is_read_as_it_is(text in "[a-d]{1,3}") {
            prop_assert_eq!(UserRole::stored(&text).as_str(), &text);
            prop_assert_eq!(UserRole::stored(&text), UserRole::stored(&text));
            prop_assert!(text.parse::<UserRole>().is_err());
            prop_assert!(serde_json::from_value::<UserRole>(text.clone().into()).is_err());
            prop_assert_eq!(serde_json::to_value(UserRole::stored(&text)).unwrap(), text);
        }
    }
}
