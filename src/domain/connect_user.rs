//! Users as they come from Posit Connect: from the objects of its API to rows of an import.
//!
//! A row's `external_id` is the user's `guid` over there: by it a row finds its user when the import is run again, and programs that have
//! kept guids find whom they meant. What Connect does not tell, a password above all, does not come along.

use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// The names of the groups that users are in, by the users' guids.
#[derive(Debug, Default)]
pub struct Memberships(HashMap<String, Vec<String>>);

/// A text that is there and not empty.
fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The text that identifies something.
///
/// # Errors
/// A sentence: there is none.
pub fn identifier<'a>(object: &'a Value, key: &str) -> Result<&'a str, String> {
    text(object, key).ok_or_else(|| format!("an item has no {key}"))
}

impl Memberships {
    /// A user is in a group.
    ///
    /// # Errors
    /// The user has no guid.
    pub fn add(&mut self, member: &Value, group: &str) -> Result<(), String> {
        self.0.entry(identifier(member, "guid")?.to_owned()).or_default().push(group.to_owned());
        Ok(())
    }

    /// The row of a user.
    ///
    /// # Errors
    /// It lacks what identifies it.
    pub fn row(&self, user: &Value) -> Result<Map<String, Value>, String> {
        let guid = identifier(user, "guid")?;
        let mut row = Map::new();
        row.insert("external_id".to_owned(), guid.into());
        row.insert("username".to_owned(), identifier(user, "username")?.into());
        for key in ["email", "first_name", "last_name"] {
            row.insert(key.to_owned(), text(user, key).into());
        }
        for key in ["user_role", "created_time"] {
            if let Some(text) = text(user, key) {
                row.insert(key.to_owned(), text.into());
            }
        }
        let is_locked = user.get("locked").cloned().unwrap_or(false.into());
        if is_locked == true {
            row.insert("lock_reason".to_owned(), "locked in Posit Connect".into());
        }
        row.insert("is_locked".to_owned(), is_locked);
        row.insert("groups".to_owned(), json!(self.0.get(guid).map(Vec::as_slice).unwrap_or_default()));
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_user_becomes_a_row() {
        let user = json!({
            "email": "ann@example.com", "username": "ann", "first_name": "Ann", "last_name": "", "user_role": "publisher", "created_time": "2024-01-02T03:04:05Z",
            "updated_time": "2024-01-02T03:04:05Z", "active_time": null, "confirmed": false, "locked": true, "guid": "g-1", "more": 1,
        });
        let mut memberships = Memberships::default();
        memberships.add(&user, "Staff").unwrap();
        memberships.add(&json!({"guid": "g-2"}), "Staff").unwrap();
        memberships.add(&user, "Guests").unwrap();
        assert_eq!(
            Value::Object(memberships.row(&user).unwrap()),
            json!({
                "external_id": "g-1", "username": "ann", "email": "ann@example.com", "first_name": "Ann", "last_name": null,
                "user_role": "publisher", "created_time": "2024-01-02T03:04:05Z", "lock_reason": "locked in Posit Connect",
                "is_locked": true, "groups": ["Staff", "Guests"],
            })
        );
        let plain = memberships.row(&json!({"guid": "g-3", "username": "bob", "email": null, "locked": false})).unwrap();
        assert_eq!(
            Value::Object(plain),
            json!({
                "external_id": "g-3", "username": "bob", "email": null, "first_name": null, "last_name": null, "is_locked": false, "groups": [],
            })
        );
        assert!(memberships.row(&json!({"guid": "g-3", "username": ""})).is_err());
        assert!(memberships.row(&json!([])).is_err() && memberships.add(&json!({"guid": 7}), "Staff").is_err());
    }

    proptest! {
        /// A row has no member that an import does not take, whatever stands in the answer.
        #[test]
        fn any_object_is_a_row_or_refused(keys in prop::collection::vec("guid|username|email|locked|user_role|password|unique_id|[a-z_]{1,8}", 0..8), values in prop::collection::vec("\\PC{0,12}", 8)) {
            let user: Map<String, Value> = keys.into_iter().zip(values.into_iter().map(Value::from)).collect();
            let known = ["external_id", "username", "email", "first_name", "last_name", "user_role", "created_time", "is_locked", "lock_reason", "groups"];
            if let Ok(row) = Memberships::default().row(&Value::Object(user)) {
                prop_assert!(row.keys().all(|key| known.contains(&key.as_str())));
            }
        }
    }
}
