//! What a view shows, as it is written, and what is told of something new by it: for the many users of an import, whose events are put
//! together without a tree of values in between, and without what every fresh user has in common.

use super::audit::Changes;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::fmt;

/// What a view shows: the names of attributes, which need no escapes, with their values as they are written.
#[derive(Debug)]
pub struct Shown(Vec<(String, Box<RawValue>)>);

impl Shown {
    /// What this view shows.
    ///
    /// # Errors
    /// It cannot be serialised.
    pub fn of(view: &impl Serialize) -> serde_json::Result<Self> {
        serde_json::from_str(&serde_json::to_string(view)?)
    }

    /// The same but for these attributes.
    #[must_use]
    pub fn without(mut self, names: &[&str]) -> Self {
        self.0.retain(|(name, _)| !names.contains(&name.as_str()));
        self
    }
}

impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject;
        impl<'de> Visitor<'de> for OfObject {
            type Value = Shown;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shown, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Shown(members))
            }
        }
        deserializer.deserialize_map(OfObject)
    }
}

impl Changes {
    /// What `view` shows that `blank`, the view of something new that nobody said anything about, does not: for the many users of an
    /// import, without a tree of values in between.
    ///
    /// # Errors
    /// A view cannot be serialised.
    pub fn of_new(view: &impl Serialize, blank: &Shown) -> serde_json::Result<Self> {
        let Shown(shown) = Shown::of(view)?;
        let mut changes = String::with_capacity(1024);
        for (name, value) in &shown {
            if value.get() == "null" || blank.0.iter().any(|(known, usual)| known == name && usual.get() == value.get()) {
                continue;
            }
            changes.push_str(if changes.is_empty() { "{\"" } else { ",\"" });
            changes.push_str(name);
            changes.push_str("\":{\"before\":null,\"after\":");
            changes.push_str(value.get());
            changes.push('}');
        }
        changes.push_str(if changes.is_empty() { "{}" } else { "}" });
        Ok(Self::from_text(changes))
    }

    /// The same with one more attribute, which had no value before.
    ///
    /// # Errors
    /// The value cannot be serialised.
    pub fn with_new(&self, name: &str, value: &impl Serialize) -> serde_json::Result<Self> {
        let open = self.as_text().strip_suffix('}').unwrap_or(self.as_text());
        let comma = if open == "{" { "" } else { "," };
        let value = serde_json::to_string(value)?;
        Ok(Self::from_text(format!("{open}{comma}\"{name}\":{{\"before\":null,\"after\":{value}}}}}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    fn any_view() -> impl Strategy<Value = Map<String, Value>> {
        let value = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            prop::collection::vec(any::<u8>(), 0..3).prop_map(|list| serde_json::json!({ "list": list })),
        ];
        prop::collection::btree_map("[a-e]_[a-e]", value, 0..8).prop_map(|members| members.into_iter().collect())
    }

    proptest! {
        /// What is told of something new is what differs between nothing and it, but for what it has in common with the blank.
        #[test]
        fn changes_of_something_new(view in any_view(), blank in any_view(), number in any::<i64>()) {
            let told = Changes::of_new(&view, &Shown::of(&blank).unwrap()).unwrap();
            let rest: Map<String, Value> = view.iter().filter(|(name, value)| blank.get(*name) != Some(*value)).map(|(n, v)| (n.clone(), v.clone())).collect();
            let expected = Changes::between(&Value::Null, &Value::Object(rest.clone())).unwrap_or(Changes::from_text("{}".to_owned()));
            prop_assert_eq!(&told, &expected);
            let mut with_number = rest;
            with_number.insert("number".to_owned(), number.into());
            let expected = Changes::between(&Value::Null, &Value::Object(with_number));
            prop_assert_eq!(told.with_new("number", &number).ok(), expected);
        }
    }
}
