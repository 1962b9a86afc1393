//! A row of an import: what one line says of one user.

use super::super::users::read_patch;
use crate::auth::stored_hash::StoredHash;
use crate::auth::totp::Key;
use crate::domain::attribute::{Viewer, Why};
use crate::domain::bulk::{Facts, RowError};
use crate::domain::ndjson::{self, LONGEST_LINE};
use crate::domain::raw::{NoMembers, UniqueMembers};
use crate::domain::secret::{Password, PasswordHash};
use crate::domain::text::{Line, Name};
use crate::domain::user::Patch;
use crate::error::{Code, Error, Fault};
use serde_json::{Map, Value};
use std::collections::HashSet;
use zeroize::Zeroizing;

/// A row that can be read.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// The attributes that a super-user may edit.
    pub(super) patch: Patch,
    /// The password in the clear.
    pub(super) password: Option<Password>,
    /// The password's hash, one that is verified.
    pub(super) hash: Option<PasswordHash>,
    /// The key of the one-time codes, which are enabled with it.
    pub(super) totp_key: Option<Key>,
    /// The names of all groups that the user is to be in.
    pub(super) groups: Option<Vec<Name>>,
    /// What else a migration brings along.
    pub(super) facts: Facts,
}

/// A line that was read as a row, or refused.
#[derive(Debug)]
pub(super) struct Read {
    /// Its `external_id`, as far as it can be told.
    pub(super) external_id: Option<Line>,
    pub(super) row: Result<Row, Error>,
}

/// A user has no more groups than this in a row; far more than a line has room for would take.
const MOST_GROUPS: usize = 1000;

impl Row {
    /// What a user who exists is to become. What says how a password is to be used goes with that password, and is left alone as it is.
    pub(super) fn patch_of_known(&self) -> Patch {
        let mut patch = self.patch.clone();
        if self.password.is_some() || self.hash.is_some() {
            (patch.password_must_change, patch.password_expiry) = (None, None);
        }
        patch
    }
}

impl Read {
    /// Reads a line. Every member at fault is named.
    pub(super) fn line(line: &ndjson::Line) -> Self {
        let refused = |error| Self { external_id: None, row: Err(error) };
        let Some(bytes) = &line.bytes else {
            return refused(Error::new(Code::TooLarge).detail(format!("The line has more than {LONGEST_LINE} bytes.")));
        };
        match UniqueMembers::read(bytes) {
            Ok(members) => Self::members(members),
            Err(NoMembers::NoObject) => refused(Error::new(Code::BadType).detail("The line is no JSON object.")),
            Err(NoMembers::Twice) => refused(Error::new(Code::BadType).detail("The line has two members of one name.")),
            Err(NoMembers::NoJson(e)) => {
                refused(Error::new(Code::NotJson).detail(format!("The line is no JSON: column {}.", e.column())))
            }
        }
    }

    fn members(mut members: Map<String, Value>) -> Self {
        let external_id = members.get("external_id").and_then(Value::as_str).and_then(|id| Line::try_from(id.to_owned()).ok());
        let (mut row, mut faults) = (Row::default(), Vec::new());
        let mut unfit = |member: &str, detail: String| {
            faults.push(Fault { member: member.to_owned(), code: "unfit", detail });
        };
        match members.remove("password") {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => row.password = Some(Password::new(text)),
            Some(_) => unfit("password", "is no string".to_owned()),
        }
        match members.remove("password_hash") {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => {
                let hash = PasswordHash::new(text);
                match StoredHash::read(&hash) {
                    Ok(_) if row.password.is_some() => unfit("password_hash", "comes beside a password in the clear".to_owned()),
                    Ok(_) => row.hash = Some(hash),
                    Err(unreadable) => unfit("password_hash", unreadable.to_string()),
                }
            }
            Some(_) => unfit("password_hash", "is no string".to_owned()),
        }
        match members.remove("totp_key") {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => match Key::from_base32(&Zeroizing::new(text)) {
                Ok(key) => row.totp_key = Some(key),
                Err(flaw) => unfit("totp_key", flaw),
            },
            Some(_) => unfit("totp_key", "is no string".to_owned()),
        }
        if let Some(value) = members.remove("groups") {
            match names(value) {
                Ok(names) => row.groups = Some(names),
                Err(cause) => unfit("groups", cause),
            }
        }
        members.retain(|member, value| match row.facts.take(member, value) {
            None => true,
            Some(Ok(())) => false,
            Some(Err(why)) => {
                let cause = match why {
                    Why::Unfit(cause) => cause,
                    Why::Unknown | Why::Forbidden => "does not fit".to_owned(),
                };
                unfit(member, cause);
                false
            }
        });
        if row.facts.lock_reason.is_some() && row.facts.is_locked != Some(true) {
            unfit("lock_reason", "is only for a user that is_locked says is locked".to_owned());
        }
        let row = match read_patch(Viewer::SuperUser, &members) {
            Ok(patch) if faults.is_empty() => Ok(Row { patch, ..row }),
            Ok(_) => Err(Error::new(Code::Invalid)),
            Err(error) => Err(error),
        };
        Self { external_id, row: row.map_err(|error| faults.into_iter().fold(error, Error::fault)) }
    }
}

/// Names of groups, each once whichever way it is spelt.
fn names(value: Value) -> Result<Vec<Name>, String> {
    let Value::Array(items) = value else { return Err("is no list of names".to_owned()) };
    if items.len() > MOST_GROUPS {
        return Err(format!("has more than {MOST_GROUPS} names"));
    }
    let (mut names, mut keys) = (Vec::new(), HashSet::new());
    for item in items {
        let Value::String(text) = item else { return Err("is no list of names".to_owned()) };
        let name = Name::try_from(text).map_err(|unfit| format!("has a name that {unfit}"))?;
        if keys.insert(name.key()) {
            names.push(name);
        }
    }
    Ok(names)
}

/// What is told of a refusal: the members at fault as JSON pointers (RFC 6901), or the row as a whole.
pub(super) fn errors_of(error: &Error) -> Vec<RowError> {
    let code = error.code();
    if error.faults().is_empty() {
        let detail = error.sentence().unwrap_or(code.title()).to_owned();
        return vec![RowError { pointer: String::new(), code: code.as_str().to_owned(), detail }];
    }
    let of = |fault: &Fault| RowError {
        pointer: format!("/{}", fault.member.replace('~', "~0").replace('/', "~1")),
        code: fault.code.to_owned(),
        detail: format!("The value {}.", fault.detail),
    };
    error.faults().iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::user::ATTRIBUTES;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(text: &str) -> Read {
        Read::line(&ndjson::Line { number: 1, bytes: Some(text.as_bytes().to_vec()) })
    }

    fn pointers(text: &str) -> Vec<String> {
        errors_of(&read(text).row.unwrap_err()).into_iter().map(|e| e.pointer).collect()
    }

    #[test]
    fn every_member_at_fault_is_named() {
        let row = json!({
            "external_id": "x-1", "username": "", "email": 7, "nonsense": 1, "a/b~c": 1, "number": 3, "password": 5, "password_hash": "md5", "totp_key": "0189",
            "groups": "staff", "created_time": "yesterday", "is_locked": "no", "lock_reason": "left",
        });
        let read = read(&row.to_string());
        assert_eq!(read.external_id.map(String::from).as_deref(), Some("x-1"));
        let mut named: Vec<String> = errors_of(&read.row.unwrap_err()).into_iter().map(|e| e.pointer).collect();
        named.sort();
        let mut expected: Vec<String> =
            row.as_object().unwrap().keys().filter(|k| *k != "external_id").map(|k| format!("/{k}")).collect();
        expected.retain(|k| k != "/a/b~c");
        expected.push("/a~1b~0c".to_owned());
        expected.sort();
        assert_eq!(named, expected);
    }

    #[test]
    fn a_row_that_is_no_object_is_refused_as_a_whole() {
        for text in [
            "",
            "{",
            "[]",
            "7",
            "\"a\"",
            "null",
            "{\"username\": \"a\"} {}",
            "{\"username\": \"a\", \"username\": \"b\"}",
            "\u{feff}{}",
        ] {
            assert_eq!(pointers(text), [""], "{text}");
        }
        assert_eq!(
            pointers(r#"{"password": "a", "password_hash": "$2b$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS"}"#),
            ["/password_hash"]
        );
        assert_eq!(pointers(&format!("{{\"groups\": [{}\"a\"]}}", "[".repeat(200))), [""]);
    }

    #[test]
    fn facts_are_attributes_that_nobody_may_edit() {
        for name in Facts::NAMES {
            let attribute = ATTRIBUTES.iter().find(|a| a.name == *name).unwrap();
            assert!(attribute.edit.is_empty(), "{name}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            prop::collection::vec("[a-z ]{0,5}", 0..3).prop_map(Value::from),
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let read = Read::line(&ndjson::Line { number: 1, bytes: Some(bytes) });
            prop_assert!(read.row.is_err());
        }

        /// S29: whatever a row has in it, what was read has only members that the table or the list of facts allows, or the row is refused.
        #[test]
        fn only_known_members_are_taken(
            names in prop::collection::vec(prop::sample::select(&[
                "username", "external_id", "email", "password", "password_hash", "totp_key", "groups", "is_locked", "number", "user_id", "is_super_user",
                "creation_ctx", "totp_secret", "login_count", "created_time", "user_role", "password_last_set", "nonsense",
            ][..]), 0..6),
            values in prop::collection::vec(any_value(), 6),
        ) {
            let row: Map<String, Value> = names.iter().map(|n| (*n).to_owned()).zip(values).collect();
            let forbidden = ["number", "user_id", "is_super_user", "creation_ctx", "totp_secret", "login_count", "password_last_set", "nonsense"];
            let read = read(&Value::Object(row.clone()).to_string());
            if row.keys().any(|name| forbidden.contains(&name.as_str())) {
                prop_assert!(read.row.is_err());
            }
        }
    }
}
