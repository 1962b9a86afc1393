//! JSON objects read with care: passed on as the text that they came as, so that a number in them is not read and written anew; or refused
//! where two readers could read them differently.

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::fmt;

/// A JSON object with its members as text, in their order, repeated ones included.
#[derive(Debug)]
pub struct RawObject(pub Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = RawObject;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<RawObject, A::Error> {
                let mut read = Vec::new();
                while let Some(member) = members.next_entry()? {
                    read.push(member);
                }
                Ok(RawObject(read))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// The members of a JSON object, none of which has the name of another: of two, one reader takes the first and another the last (RFC 8259,
/// section 4).
#[derive(Debug)]
pub struct UniqueMembers(Map<String, Value>);

/// What is wrong with bytes that are no such object.
#[derive(Debug)]
pub enum NoMembers {
    /// Two members have one name.
    Twice,
    /// They are JSON, and no object.
    NoObject,
    /// They are no JSON.
    NoJson(serde_json::Error),
}

const TWICE: &str = "has two members of one name";

impl UniqueMembers {
    /// Reads them.
    ///
    /// # Errors
    /// [`NoMembers`].
    pub fn read(bytes: &[u8]) -> Result<Map<String, Value>, NoMembers> {
        match serde_json::from_slice(bytes) {
            Ok(Self(members)) => Ok(members),
            Err(error) if error.is_data() && error.to_string().starts_with(TWICE) => Err(NoMembers::Twice),
            Err(_) => match serde_json::from_slice::<Value>(bytes) {
                Ok(_) => Err(NoMembers::NoObject),
                Err(error) => Err(NoMembers::NoJson(error)),
            },
        }
    }
}

impl<'de> Deserialize<'de> for UniqueMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = UniqueMembers;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<UniqueMembers, A::Error> {
                let mut read = Map::new();
                while let Some((name, value)) = members.next_entry::<String, Value>()? {
                    if read.insert(name, value).is_some() {
                        return Err(de::Error::custom(TWICE));
                    }
                }
                Ok(UniqueMembers(read))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_object_has_each_name_once() {
        assert_eq!(UniqueMembers::read(br#"{"a": 1, "b": {"c": 1}}"#).unwrap().len(), 2);
        assert!(matches!(UniqueMembers::read(br#"{"a": 1, "\u0061": 2}"#), Err(NoMembers::Twice)));
        for other in ["[]", "null", "7", "\"a\""] {
            assert!(matches!(UniqueMembers::read(other.as_bytes()), Err(NoMembers::NoObject)), "{other}");
        }
        for broken in ["", "{", "{} {}", "[1", "{\"a\": \"\\ud800\"}", "{\"a\": 1e400}"] {
            assert!(matches!(UniqueMembers::read(broken.as_bytes()), Err(NoMembers::NoJson(_))), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_members_or_refused(bytes in "(\\{(\"[ab]\": ?[0-9],?){0,4}\\}|.{0,40})") {
            if let Ok(members) = UniqueMembers::read(bytes.as_bytes()) {
                let read: Value = serde_json::from_str(&bytes).unwrap();
                prop_assert_eq!(Value::Object(members), read);
            }
        }
    }
}
