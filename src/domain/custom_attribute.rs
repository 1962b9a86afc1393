//! Custom attributes: what applications keep with a user, or with a session for as long as it lasts.
//!
//! A value is any JSON, within bounds, and is kept as it was written: numbers and strings token by token, without the white space between
//! them. So 1 stays 1, 1.0 stays 1.0 and an integer of thirty digits keeps them all. Refused is what two readers could read differently: a
//! number beyond what a double holds, half of a surrogate pair, two members of one name. An attribute may have an expiry, which is judged
//! when it is read; and it may be encrypted, in which case neither the database nor the audit trail has its value in clear.

use super::ids::{AttributeId, DataKeyId, SessionId, UserId};
use super::secret::{Sealed, Seat};
use super::time::Utc;
use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use schemars::JsonSchema;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;
use zeroize::Zeroizing;

mod schema {
    #![expect(missing_docs, reason = "the columns are documented where they become fields")]

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        custom_attributes (attribute_id) {
            attribute_id -> sql::Uuid,
            user_id -> Nullable<sql::Uuid>,
            session_id -> Nullable<sql::Uuid>,
            name -> Text,
            value -> Nullable<Text>,
            sealed -> Nullable<Binary>,
            data_key_id -> Nullable<sql::Uuid>,
            expiry -> Nullable<sql::Instant>,
            revision -> BigInt,
            created_time -> sql::Instant,
            updated_time -> sql::Instant,
        }
    }
}
pub use schema::custom_attributes;

/// The longest name, in characters.
pub const LONGEST_NAME: usize = 64;
/// The largest value, in bytes of its JSON text.
pub const LARGEST_VALUE: usize = 16 * 1024;
/// The deepest nesting of a value.
pub const DEEPEST_VALUE: usize = 16;
/// The most attributes that one user or one session has.
pub const MOST: usize = 64;
/// The bytes that the values of one user or one session have in all.
pub const LARGEST_SUM: usize = 64 * 1024;
/// The longest time until an expiry: a hundred years.
pub const LONGEST_LIFE: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The name of a custom attribute, unique for its holder: a letter, digit or underscore, then up to 63 more of these, dots, colons and
/// hyphens. It stands in a path, so nothing in it may mean anything there; the case of letters matters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, FromSqlRow, AsExpression, JsonSchema)]
#[diesel(sql_type = diesel::sql_types::Text)]
#[serde(transparent)]
#[schemars(inline)]
pub struct AttributeName(#[schemars(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}$"))] String);

impl AttributeName {
    /// What is stored: it was judged when it was written, perhaps by other rules.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AttributeName {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
        let goes_on = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b));
        if begins && goes_on && text.len() <= LONGEST_NAME {
            Ok(Self(text))
        } else {
            Err("is no name of 1 to 64 of A-Z a-z 0-9 _ . : - that begins with a letter, a digit or _")
        }
    }
}

impl std::str::FromStr for AttributeName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl fmt::Display for AttributeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for AttributeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A value as JSON text. It may be meant to be a secret: `Debug` shows nothing, and it serialises only as part of an [`AttributeView`].
#[derive(Clone, PartialEq, Eq, FromSqlRow, AsExpression)]
#[diesel(sql_type = diesel::sql_types::Text)]
pub struct AttributeValue(Zeroizing<String>);

impl AttributeValue {
    /// Reads a JSON text.
    ///
    /// # Errors
    /// What is wrong with it; the text completes "the value …".
    pub fn parse(json: &str) -> Result<Self, &'static str> {
        const TWICE: &str = "has two members of one name";
        let Depth(depth) = serde_json::from_str(json).map_err(|error| {
            let cause = error.to_string();
            if cause.starts_with(TWICE) {
                TWICE
            } else if cause.starts_with("number out of range") {
                "has a number beyond what a double holds"
            } else if cause.contains("surrogate") || cause.contains("end of hex escape") {
                "has half of a surrogate pair"
            } else if cause.starts_with("recursion limit") {
                "is nested deeper than 16"
            } else {
                "is no JSON"
            }
        })?;
        if depth > DEEPEST_VALUE {
            return Err("is nested deeper than 16");
        }
        let text = compact(json);
        if text.len() > LARGEST_VALUE {
            return Err("has more than 16384 bytes of JSON");
        }
        Ok(Self(text))
    }

    /// `null`.
    pub fn null() -> Self {
        Self(Zeroizing::new("null".to_owned()))
    }

    /// A text that was parsed before it was stored.
    pub fn stored(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttributeValue")
    }
}

/// JSON text without the white space between its tokens (RFC 8259, section 2).
fn compact(json: &str) -> Zeroizing<String> {
    let (mut in_string, mut is_escaped) = (false, false);
    let kept = json.chars().filter(|c| {
        if in_string {
            in_string = is_escaped || *c != '"';
            is_escaped = !is_escaped && *c == '\\';
            return true;
        }
        in_string = *c == '"';
        !matches!(c, ' ' | '\t' | '\n' | '\r')
    });
    // One allocation: what a growing one leaves behind would not be wiped.
    let mut text = Zeroizing::new(String::with_capacity(json.len()));
    text.extend(kept);
    text
}

/// How deep a JSON text nests. Reading it finds what two readers could read differently.
struct Depth(usize);

impl<'de> Deserialize<'de> for Depth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Depth;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Depth, E> {
                Ok(Depth(0))
            }
            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Depth, E> {
                Ok(Depth(0))
            }
            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Depth, E> {
                Ok(Depth(0))
            }
            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Depth, E> {
                Ok(Depth(0))
            }
            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Depth, E> {
                Ok(Depth(0))
            }
            fn visit_str<E: de::Error>(self, _: &str) -> Result<Depth, E> {
                Ok(Depth(0))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Depth, A::Error> {
                let mut inner = 0;
                while let Some(Depth(depth)) = items.next_element()? {
                    inner = inner.max(depth);
                }
                Ok(Depth(1 + inner))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Depth, A::Error> {
                let (mut inner, mut names) = (0, HashSet::new());
                while let Some((name, Depth(depth))) = members.next_entry::<String, Depth>()? {
                    inner = inner.max(depth);
                    if !names.insert(name) {
                        return Err(de::Error::custom("has two members of one name"));
                    }
                }
                Ok(Depth(1 + inner))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Whose an attribute is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A user's.
    User(UserId),
    /// A session's; it ends with it.
    Session(SessionId),
}

/// What an attribute is to be.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its value.
    pub value: AttributeValue,
    /// After so long it is gone; never, if none is given.
    pub expires_in: Option<Duration>,
    /// Whether it is kept encrypted.
    pub is_encrypted: bool,
}

/// An attribute as the database holds it.
#[derive(Clone, Debug, diesel::Queryable, diesel::Insertable, diesel::AsChangeset)]
#[diesel(table_name = custom_attributes, primary_key(attribute_id), treat_none_as_null = true, treat_none_as_default_value = false)]
pub struct CustomAttribute {
    /// Its id, which nobody is told.
    pub attribute_id: AttributeId,
    /// The user whose it is, if it is one's.
    pub user_id: Option<UserId>,
    /// The session whose it is, if it is one's.
    pub session_id: Option<SessionId>,
    /// Its name.
    pub name: AttributeName,
    /// Its value, if it is not encrypted.
    pub value: Option<AttributeValue>,
    /// Its value, if it is encrypted.
    pub sealed: Option<Sealed>,
    /// The data key that it is encrypted under.
    pub data_key_id: Option<DataKeyId>,
    /// When it ceases to be there.
    pub expiry: Option<Utc>,
    /// How often it has been set.
    pub revision: i64,
    /// When it was first set.
    pub created_time: Utc,
    /// When it was last set.
    pub updated_time: Utc,
}

impl CustomAttribute {
    /// The place that an encrypted value is bound to.
    pub fn seat(holder: Holder, attribute_id: AttributeId) -> Seat {
        let owner = match holder {
            Holder::User(id) => *id.as_bytes(),
            Holder::Session(id) => *id.as_bytes(),
        };
        Seat { table: "custom_attributes", owner, row: *attribute_id.as_bytes() }
    }

    /// Whether it has ceased to be there.
    pub fn is_expired(&self, now: Utc) -> bool {
        self.expiry.is_some_and(|expiry| expiry <= now)
    }

    /// Its entity tag (RFC 9110, section 8.8.3): another one each time it is set.
    pub fn etag(&self) -> String {
        let id: String = self.attribute_id.as_bytes().iter().map(|b| format!("{b:02x}")).collect();
        format!("\"{id}.{}\"", self.revision)
    }

    /// The bytes that its value takes up, encrypted or not.
    pub fn size(&self) -> usize {
        let clear = self.value.as_ref().map_or(0, |value| value.as_json().len());
        clear + self.sealed.as_ref().map_or(0, |sealed| sealed.as_bytes().len())
    }

    /// It with its value in clear, for whoever may read it.
    pub fn view(&self, value: &AttributeValue) -> AttributeView {
        AttributeView {
            name: self.name.clone(),
            value: value.clone(),
            expiry: self.expiry,
            is_encrypted: self.sealed.is_some(),
            created_time: self.created_time,
            updated_time: self.updated_time,
            etag: self.etag(),
        }
    }

    /// What the audit trail keeps of it, as JSON text: of an encrypted one no value.
    pub fn record(&self) -> String {
        let value = self.value.as_ref().map(|value| format!("\"value\":{},", value.as_json())).unwrap_or_default();
        let expiry = self.expiry.map_or_else(|| "null".to_owned(), |expiry| format!("\"{expiry}\""));
        format!("{{{value}\"expiry\":{expiry},\"is_encrypted\":{}}}", self.sealed.is_some())
    }
}

/// A custom attribute as its holder and super-users see it.
#[derive(Clone, Serialize, JsonSchema)]
#[schemars(rename = "CustomAttribute")]
pub struct AttributeView {
    /// Its name.
    pub name: AttributeName,
    /// Its value: any JSON.
    #[serde(serialize_with = "as_it_is")]
    #[schemars(with = "serde_json::Value")]
    pub value: AttributeValue,
    /// When it ceases to be there.
    pub expiry: Option<Utc>,
    /// Whether it is kept encrypted.
    pub is_encrypted: bool,
    /// When it was first set.
    pub created_time: Utc,
    /// When it was last set.
    pub updated_time: Utc,
    /// Its entity tag.
    #[serde(skip)]
    pub etag: String,
}

fn as_it_is<S: Serializer>(value: &AttributeValue, serializer: S) -> Result<S::Ok, S::Error> {
    <&RawValue>::deserialize(&mut serde_json::Deserializer::from_str(value.as_json()))
        .map_err(serde::ser::Error::custom)?
        .serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(".{0,4}", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_is_kept_whatever_white_space_came_with_it(value in any_json()) {
            let compact = value.to_string();
            let kept = |json: &str| AttributeValue::parse(json).map(|kept| kept.as_json().to_owned());
            prop_assert_eq!(kept(&compact), Ok(compact.clone()));
            let pretty = format!(" \r\n\t{} ", serde_json::to_string_pretty(&value).unwrap());
            prop_assert_eq!(kept(&pretty), Ok(compact));
        }

        /// A number is kept to its last digit, in the form in which it was written.
        #[test]
        fn numbers_are_kept_as_they_are_written(number in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?") {
            let kept = AttributeValue::parse(&number).unwrap();
            prop_assert_eq!(kept.as_json(), number.as_str());
        }

        #[test]
        fn any_text_is_a_value_or_refused(text in "([\\[\\]{}\",:0-9eE.\\\\u d8tfn+-]{0,40}|.{0,40})") {
            if let Ok(value) = AttributeValue::parse(&text) {
                prop_assert!(serde_json::from_str::<Value>(value.as_json()).is_ok());
                prop_assert_eq!(AttributeValue::parse(value.as_json()), Ok(value.clone()));
                prop_assert!(!value.as_json().contains(['\n', '\r']));
            }
        }

        #[test]
        fn any_text_is_a_name_or_refused(text in "([A-Za-z0-9_.:/ -]{0,70}|.{0,70})") {
            if let Ok(name) = AttributeName::try_from(text.clone()) {
                prop_assert_eq!(name.as_str(), text.as_str());
                prop_assert!(text.is_ascii() && text.len() <= LONGEST_NAME && !text.starts_with('.') && !text.contains(['/', '%', '?']));
            }
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let refused = |json: &str| AttributeValue::parse(json).err();
        assert_eq!(refused("{\"a\":1,\"a\":2}"), Some("has two members of one name"));
        assert_eq!(refused("[{\"a\":{\"b\":1,\"\\u0062\":2}}]"), Some("has two members of one name"));
        assert_eq!(refused("1e999"), Some("has a number beyond what a double holds"));
        assert_eq!(refused("\"\\ud800\""), Some("has half of a surrogate pair"));
        assert_eq!(refused("\"\\ud800x\""), Some("has half of a surrogate pair"));
        for broken in ["", " ", "nul", "01", "1.", "'a'", "[1,]", "{\"a\"}", "1 2", "NaN", "\"\n\""] {
            assert_eq!(refused(broken), Some("is no JSON"), "{broken}");
        }
    }

    #[test]
    fn values_have_bounds() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(AttributeValue::parse(&nested(DEEPEST_VALUE)).is_ok());
        for depth in [DEEPEST_VALUE + 1, 126, 127, 128, 100_000] {
            assert_eq!(AttributeValue::parse(&nested(depth)), Err("is nested deeper than 16"), "{depth}");
        }
        let long = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
        assert!(AttributeValue::parse(&long(LARGEST_VALUE)).is_ok());
        assert_eq!(AttributeValue::parse(&long(LARGEST_VALUE + 1)), Err("has more than 16384 bytes of JSON"));
    }

    /// S30: nothing of a value is shown by `Debug`.
    #[test]
    fn debug_is_blind() {
        let value = AttributeValue::parse("\"secret\"").unwrap();
        assert_eq!(format!("{:?}", Setting { value, expires_in: None, is_encrypted: false }).matches("secret").count(), 0);
    }
}
