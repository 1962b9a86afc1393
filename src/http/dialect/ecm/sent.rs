//! What a client of the ECM sends of a user, as a native patch.
//!
//! One row for each argument of `create_user` and `update_user`: its name there, the native attribute, and how its value is spelt. An
//! argument that is null was not given, as in the ECM's own client; what empties an attribute is its sentinel: an empty text, -1 or 0.
//! Every argument that is unknown or of the wrong type is named; whether its value fits is the native patch's business.

use crate::domain::secret::Password;
use crate::domain::time::Utc;
use crate::error::{Code, Error, Fault, Result};
use serde_json::{Map, Value};

/// How a value is spelt.
#[derive(Clone, Copy)]
enum Kind {
    /// A text that is always there.
    Name,
    /// A text; an empty one is none.
    Text,
    /// A number; one of these is none.
    Number(&'static [i64]),
    /// True or false.
    Flag,
    /// A time without zone, which is UTC; an empty text, or one of the year 1, is none.
    Time,
}

const ARGUMENTS: &[(&str, &str, Kind)] = &[
    ("username", "username", Kind::Name),
    ("login_name", "login_name", Kind::Name),
    ("display_name", "display_name", Kind::Name),
    ("email", "email", Kind::Text),
    ("remark", "remark", Kind::Text),
    ("profile_id", "profile_id", Kind::Number(&[-1])),
    ("account_type", "account_type", Kind::Number(&[])),
    ("flags", "flags", Kind::Number(&[])),
    ("lang_id", "lang_id", Kind::Number(&[0])),
    ("server_id", "server_id", Kind::Number(&[0])),
    ("station", "station", Kind::Text),
    ("valid_from", "valid_from", Kind::Time),
    ("valid_to", "valid_to", Kind::Time),
    ("never_expire", "never_expire", Kind::Flag),
    ("password_never_expires", "password_never_expires", Kind::Flag),
];

/// What was sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// The native patch, but for the supervisor.
    pub(super) members: Map<String, Value>,
    /// The supervisor's number; `Some(None)` is none.
    pub(super) supervisor: Option<Option<i64>>,
    /// The password.
    pub(super) password: Option<Password>,
    /// Whether the next sign-in must set another one.
    pub(super) change_pwd: Option<bool>,
    /// Whether the account is to be locked.
    pub(super) locked: Option<bool>,
}

impl Sent {
    /// Reads the members of a body.
    ///
    /// # Errors
    /// [`Code::Invalid`], naming every member at fault.
    pub(super) fn read(members: Map<String, Value>) -> Result<Self> {
        let mut sent = Self::default();
        let mut faults = Vec::new();
        for (member, value) in members {
            if let Err((code, detail)) = sent.take(&member, value) {
                faults.push(Fault { member, code, detail: detail.to_owned() });
            }
        }
        if faults.is_empty() { Ok(sent) } else { Err(faults.into_iter().fold(Error::new(Code::Invalid), Error::fault)) }
    }

    fn take(&mut self, member: &str, value: Value) -> Result<(), (&'static str, &'static str)> {
        let unfit = |detail| ("unfit", detail);
        let known = ARGUMENTS.iter().find(|(name, ..)| *name == member);
        if known.is_none() && !["supervisor_id", "password", "change_pwd", "locked"].contains(&member) {
            return Err(("unknown_member", "is not known"));
        }
        if value.is_null() {
            return Ok(());
        }
        match (known, member, value) {
            (Some((_, native, kind)), _, value) => {
                self.members.insert((*native).to_owned(), kind.read(value).map_err(unfit)?);
            }
            (None, "supervisor_id", value) => {
                let number = value.as_i64().ok_or(unfit("is no whole number"))?;
                self.supervisor = Some((number > 0).then_some(number));
            }
            (None, "password", Value::String(text)) => self.password = Some(Password::new(text)),
            (None, "change_pwd", Value::Bool(flag)) => self.change_pwd = Some(flag),
            (None, "locked", Value::Bool(flag)) => self.locked = Some(flag),
            (None, "password", _) => return Err(unfit("is no text")),
            (None, ..) => return Err(unfit("is neither true nor false")),
        }
        Ok(())
    }
}

impl Kind {
    fn read(self, value: Value) -> Result<Value, &'static str> {
        match (self, value) {
            (Self::Name, value @ Value::String(_)) | (Self::Flag, value @ Value::Bool(_)) => Ok(value),
            (Self::Text, Value::String(text)) => Ok(if text.is_empty() { Value::Null } else { text.into() }),
            (Self::Number(none), Value::Number(number)) => {
                let number = number.as_i64().ok_or("is no whole number")?;
                Ok(if none.contains(&number) { Value::Null } else { number.into() })
            }
            (Self::Time, Value::String(text)) => {
                time(&text).ok_or("is no time such as 2031-05-04T03:02:01").map(|t| t.map(|t| t.to_string()).into())
            }
            (Self::Name | Self::Text, _) => Err("is no text"),
            (Self::Flag, _) => Err("is neither true nor false"),
            (Self::Number(_), _) => Err("is no whole number"),
            (Self::Time, _) => Err("is no time such as 2031-05-04T03:02:01"),
        }
    }
}

/// A time as the ECM's clients write it: ISO 8601 with or without a zone, or `YYYY/MM/DD HH:MM:SS`. Without one it is UTC. Empty, or of the
/// year 1, whose beginning those clients send to take a limit away: none.
pub(super) fn time(text: &str) -> Option<Option<Utc>> {
    let text = text.trim();
    if text.is_empty() || text.trim_start_matches('0').starts_with("1/01/01") || text.starts_with("0001-01-01") {
        return Some(None);
    }
    let iso = text.replacen('/', "-", 2).replacen(' ', "T", 1);
    Utc::parse(&iso).or_else(|| Utc::parse(&format!("{iso}Z"))).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn micros(text: &str) -> Option<Option<i64>> {
        time(text).map(|t| t.map(Utc::micros))
    }

    #[test]
    fn times() {
        let second = Some(Some(1_000_000));
        for text in [
            "1970-01-01T00:00:01",
            "1970-01-01 00:00:01",
            "1970/01/01 00:00:01",
            "1970-01-01T00:00:01Z",
            "1970-01-01T01:00:01+01:00",
        ] {
            assert_eq!(micros(text), second, "{text}");
        }
        assert_eq!(micros("1970-01-01T00:00:01.5"), Some(Some(1_500_000)));
        for none in ["", " ", "1/01/01 00:00:00", "0001/01/01 00:00:00", "0001-01-01T00:00:00"] {
            assert_eq!(micros(none), Some(None), "{none}");
        }
        for bad in ["tomorrow", "1970-01-01", "1970-13-01T00:00:00", "12", "1970-01-01T00:00:01ZZ"] {
            assert_eq!(micros(bad), None, "{bad}");
        }
    }

    #[test]
    fn sentinels_are_none_and_null_is_not_given() {
        let body = json!({
            "email": "", "remark": null, "profile_id": -1, "lang_id": 0, "server_id": 0, "valid_to": "", "supervisor_id": -1,
            "account_type": 0, "locked": false, "password": null,
        });
        let sent = Sent::read(body.as_object().unwrap().clone()).unwrap();
        let native = json!({
            "email": null, "profile_id": null, "lang_id": null, "server_id": null, "valid_to": null, "account_type": 0,
        });
        assert_eq!(Value::Object(sent.members), native);
        assert_eq!((sent.supervisor, sent.locked), (Some(None), Some(false)));
        assert!(sent.password.is_none() && sent.change_pwd.is_none());
    }

    /// S29: every member that is unknown or of the wrong type is named, whatever its value.
    #[test]
    fn what_is_wrong_is_named() {
        let body = json!({
            "guid": "x", "is_super_user": true, "username": 1, "locked": "yes", "profile_id": 1.5, "valid_from": 12, "email": [],
            "password": 5, "supervisor_id": true, "change_pwd": 1, "login_name": "fine",
        });
        let error = Sent::read(body.as_object().unwrap().clone()).unwrap_err();
        let named: Vec<&str> = error.faults().iter().map(|f| f.member.as_str()).collect();
        assert_eq!(
            named,
            [
                "guid",
                "is_super_user",
                "username",
                "locked",
                "profile_id",
                "valid_from",
                "email",
                "password",
                "supervisor_id",
                "change_pwd",
            ]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_not(text in "([0-9/: TZ.-]{0,30}|.{0,30})") {
            if let Some(Some(time)) = time(&text) {
                prop_assert_eq!(Utc::parse(&time.to_string()), Some(time));
            }
        }
    }
}
