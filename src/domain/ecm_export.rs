//! An export of the ECM's users and groups: what it says, as rows of an import.
//!
//! An export is read as a whole before anything is taken of it: without a guid for each user an import could not be repeated.

use super::ecm::{ARGUMENTS, Kind};
use super::group::{GroupPatch, MovedGroup};
use super::text::{Line, Name};
use super::time::Utc;
use serde_json::{Map, Value};
use std::time::Duration;

/// How far the ECM's own clock, by which its times of validity are told, was ahead of UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offset {
    is_behind: bool,
    span: Duration,
}

impl std::str::FromStr for Offset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "is no offset from UTC such as +01:00".to_owned();
        if text == "Z" {
            return Ok(Self::default());
        }
        let (hours, minutes) = text.get(1..).and_then(|rest| rest.split_once(':')).ok_or_else(bad)?;
        let number = |digits: &str, most: u64| {
            let is_plain = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse().ok().filter(|n: &u64| is_plain && *n <= most).ok_or_else(bad)
        };
        let span = Duration::from_secs(number(hours, 14)? * 3600 + number(minutes, 59)? * 60);
        match text.get(..1) {
            Some("+") => Ok(Self { is_behind: false, span }),
            Some("-") => Ok(Self { is_behind: true, span }),
            _ => Err(bad()),
        }
    }
}

impl Offset {
    fn to_utc(self, local: Utc) -> Utc {
        if self.is_behind { local + self.span } else { local - self.span }
    }
}

super::words::words! {
    /// What `never_expire` says in an export: the ECM's clients do not agree.
    NeverExpire {
        /// That the password does not expire, as since version 1.0.2 of its client.
        Password = "password",
        /// That the account does not expire, whatever `valid_to` says, as before.
        Account = "account",
    }
}

/// How an export is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// The zone of its times.
    pub offset: Offset,
    /// What `never_expire` says.
    pub never_expire: NeverExpire,
}

/// An export of the ECM's users and groups: objects with the fields of its own Python client.
#[derive(Clone, Debug, Default)]
pub struct Export {
    users: Vec<Map<String, Value>>,
    groups: Vec<MovedGroup>,
}

impl Export {
    /// Reads an export: an object with `users` and perhaps `groups`, a list of users, or users one in each line.
    ///
    /// # Errors
    /// One line that names the place of what is wrong. Nothing is taken of an export that is wrong anywhere: every user has a guid and a
    /// username, no two have the same guid.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let documents: Result<Vec<Value>, _> = serde_json::Deserializer::from_slice(bytes).into_iter().collect();
        let mut documents = documents.map_err(|e| format!("line {}, column {}: this is no JSON", e.line(), e.column()))?;
        let (users, groups) = match (documents.len(), documents.pop()) {
            (_, None) => return Err("it is empty".to_owned()),
            (1, Some(Value::Array(users))) => (users, Vec::new()),
            (1, Some(Value::Object(mut export))) if export.contains_key("users") => {
                (list(export.remove("users"), "users")?, list(export.remove("groups"), "groups")?)
            }
            (_, Some(last)) => {
                documents.push(last);
                (documents, Vec::new())
            }
        };
        let mut export = Self::default();
        let mut guids = std::collections::HashSet::new();
        for (at, user) in users.into_iter().enumerate() {
            let place = |what: &str| format!("users[{at}]{what}");
            let Value::Object(user) = user else { return Err(place(" is no object")) };
            let guid = guid(user.get("guid")).ok_or_else(|| place(".guid is no guid of 32 hex digits"))?;
            if !guids.insert(guid) {
                return Err(place(".guid is that of another user"));
            }
            if user.get("username").and_then(Value::as_str).is_none_or(str::is_empty) {
                return Err(place(".username is missing"));
            }
            export.users.push(user);
        }
        for (at, group) in groups.iter().enumerate() {
            let text = |name: &str| group.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
            let name = text("name").ok_or_else(|| format!("groups[{at}].name is missing"))?;
            let name = Name::try_from(name).map_err(|unfit| format!("groups[{at}].name {unfit}"))?;
            let description = text("description").map(Line::try_from).transpose();
            let description = description.map_err(|unfit| format!("groups[{at}].description {unfit}"))?;
            let profile_id = group.get("profile_user_id").and_then(Value::as_i64).filter(|id| *id != -1);
            let patch = GroupPatch { description: Some(description), profile_id: Some(profile_id), ..GroupPatch::default() };
            export.groups.push(MovedGroup { name, patch });
        }
        Ok(export)
    }

    /// The users, in their order, and the groups.
    pub fn into_parts(self) -> (Vec<Map<String, Value>>, Vec<MovedGroup>) {
        (self.users, self.groups)
    }
}

fn list(value: Option<Value>, name: &str) -> Result<Vec<Value>, String> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(format!("{name} is no list")),
    }
}

/// 32 upper-case hex digits, whichever way they are written.
fn guid(value: Option<&Value>) -> Option<String> {
    let text: String = value?.as_str()?.chars().filter(|c| !"-{}".contains(*c)).map(|c| c.to_ascii_uppercase()).collect();
    (text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())).then_some(text)
}

/// A user as a row of an import. A value that does not fit is passed on as it is, for the import to name.
pub fn row(user: &Map<String, Value>, reading: Reading) -> Map<String, Value> {
    let mut row = Map::new();
    row.extend(guid(user.get("guid")).map(|guid| ("external_id".to_owned(), guid.into())));
    for (name, native, kind) in ARGUMENTS {
        let Some(value) = user.get(*name).filter(|value| !value.is_null()) else { continue };
        // A name that is empty is made up as if there were none.
        if matches!(kind, Kind::Name) && value == "" {
            continue;
        }
        let native = match (*name, reading.never_expire) {
            ("never_expire", NeverExpire::Password) => "password_never_expires",
            _ => native,
        };
        let mut value = kind.read(value.clone()).unwrap_or_else(|_| value.clone());
        if let (Kind::Time, Some(local)) = (kind, value.as_str().and_then(Utc::parse)) {
            value = reading.offset.to_utc(local).to_string().into();
        }
        row.insert(native.to_owned(), value);
    }
    if let Some(flag) = user.get("change_pwd").filter(|value| !value.is_null()) {
        row.insert("password_must_change".to_owned(), flag.clone());
    }
    if let Some(groups) = user.get("groups").filter(|value| !value.is_null()) {
        row.insert("groups".to_owned(), groups.clone());
    }
    let is_locked = is_locked(user.get("locked"));
    row.insert("is_locked".to_owned(), is_locked.into());
    if is_locked {
        let reason = match user.get("locked_cause").and_then(Value::as_i64) {
            Some(2) => "locked in the ECM after failed sign-ins",
            _ => "locked in the ECM",
        };
        row.insert("lock_reason".to_owned(), reason.into());
    }
    row
}

/// Any value but these counts as locked: also one that is not known.
fn is_locked(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Number(number)) => number.as_i64() != Some(0),
        Some(Value::String(text)) => !["", "0"].contains(&text.as_str()),
        Some(Value::Bool(true) | Value::Array(_) | Value::Object(_)) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const PLAIN: Reading =
        Reading { offset: Offset { is_behind: false, span: Duration::ZERO }, never_expire: NeverExpire::Password };

    #[test]
    fn offsets() {
        let hour = Duration::from_secs(3600);
        for (text, read) in [
            ("Z", Some((false, Duration::ZERO))),
            ("+01:00", Some((false, hour))),
            ("-01:30", Some((true, hour * 3 / 2))),
            ("+1:00", None),
            ("01:00", None),
            ("+15:00", None),
            ("+01:60", None),
            ("", None),
            ("é1:00", None),
        ] {
            let parsed: Option<Offset> = text.parse().ok();
            assert_eq!(parsed, read.map(|(is_behind, span)| Offset { is_behind, span }), "{text}");
        }
    }

    #[test]
    fn a_user_as_a_row() {
        let user = json!({
            "id": 7, "username": "JOHN", "login_name": "john", "display_name": "", "email": "", "guid": "{0123abcd-0123-0123-0123-0123456789ab}",
            "profile_id": -1, "locked": 1, "locked_cause": 2, "remark": "x", "valid_from": null, "valid_to": "2031/05/04 03:02:01",
            "groups": ["Staff"], "never_expire": true, "change_pwd": false, "supervisor_id": -1, "login_count": 3, "lang_id": 0,
        });
        let (users, _) = Export::parse(json!([user]).to_string().as_bytes()).unwrap().into_parts();
        let rows = |reading| users.iter().map(|user| Value::Object(row(user, reading))).collect::<Vec<_>>();
        let expected = json!({
            "external_id": "0123ABCD0123012301230123456789AB", "username": "JOHN", "login_name": "john", "email": null, "remark": "x",
            "profile_id": null, "lang_id": null, "valid_to": "2031-05-04T03:02:01Z", "password_never_expires": true,
            "password_must_change": false, "groups": ["Staff"], "is_locked": true,
            "lock_reason": "locked in the ECM after failed sign-ins",
        });
        assert_eq!(rows(PLAIN), std::slice::from_ref(&expected));
        let mut other = expected;
        let members = other.as_object_mut().unwrap();
        members.remove("password_never_expires");
        members.insert("never_expire".to_owned(), true.into());
        members.insert("valid_to".to_owned(), "2031-05-04T02:02:01Z".into());
        let reading = Reading { offset: "+01:00".parse().unwrap(), never_expire: NeverExpire::Account };
        assert_eq!(rows(reading), [other]);
    }

    #[test]
    fn forms_of_an_export() {
        let ann = json!({"username": "ANN", "guid": "0123ABCD0123012301230123456789AB"});
        let bob = json!({"username": "BOB", "guid": "1123ABCD0123012301230123456789AB"});
        let names = |text: &str| -> Vec<String> {
            let (users, _) = Export::parse(text.as_bytes()).unwrap().into_parts();
            users.iter().map(|user| row(user, PLAIN)["username"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&json!([ann, bob]).to_string()), ["ANN", "BOB"]);
        assert_eq!(names(&format!("{ann}\n{bob}\n")), ["ANN", "BOB"]);
        assert_eq!(names(&ann.to_string()), ["ANN"]);
        let whole =
            json!({"users": [bob], "groups": [{"name": "Staff", "description": "x", "profile_user_id": 4}, {"name": "None"}]});
        let (_, groups) = Export::parse(whole.to_string().as_bytes()).unwrap().into_parts();
        let said = |group: &MovedGroup| {
            let GroupPatch { name: _, external_id, description, profile_id } = group.patch.clone();
            assert_eq!(external_id, None);
            (group.name.to_string(), description.unwrap().map(String::from), profile_id.unwrap())
        };
        let said: Vec<_> = groups.iter().map(said).collect();
        assert_eq!(said, [("Staff".to_owned(), Some("x".to_owned()), Some(4)), ("None".to_owned(), None, None)]);
        for (bad, place) in [
            (String::new(), "empty"),
            ("{".to_owned(), "line 1"),
            ("5".to_owned(), "users[0] is no object"),
            (json!([ann, ann]).to_string(), "users[1].guid"),
            (json!([{"username": "ANN", "guid": "nonsense"}]).to_string(), "users[0].guid"),
            (json!([{"guid": ann["guid"]}]).to_string(), "users[0].username"),
            (json!({"users": 5}).to_string(), "users is no list"),
            (json!({"users": [], "groups": [{}]}).to_string(), "groups[0].name"),
            (json!({"users": [], "groups": [{"name": "a\nb"}]}).to_string(), "groups[0].name"),
        ] {
            let cause = Export::parse(bad.as_bytes()).unwrap_err();
            assert!(cause.contains(place), "{bad}: {cause}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_export_or_refused(text in "([\\[{}\\],:\"a-z0-9 \n]{0,60}|.{0,60})") {
            let _ = Export::parse(text.as_bytes());
        }

        /// What counts as locked in the ECM is locked here: no value makes a locked account an open one.
        #[test]
        fn whatever_is_not_plainly_open_is_locked(value in prop_oneof![any::<i64>().prop_map(Value::from), "[0-9a-z]{0,3}".prop_map(Value::from)]) {
            let is_open = value == json!(0) || value == "" || value == "0";
            prop_assert_eq!(is_locked(Some(&value)), !is_open);
        }
    }
}
