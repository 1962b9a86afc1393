//! The ECM's spelling of a user: what its arguments and fields are called natively, and how their values are spelt. Used by its dialect.
//!
//! The ECM has no null: an empty text, -1, 0 or a time of the year 1 stand for "none", each where it says so. Its times of validity have no
//! zone.

use super::time::Utc;
use serde_json::Value;

/// How a value is spelt.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
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

/// Its name there, the native attribute, and how its value is spelt.
pub type Argument = (&'static str, &'static str, Kind);

/// What stands for one editable attribute each.
pub const ARGUMENTS: &[Argument] = &[
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

impl Kind {
    /// The native value.
    ///
    /// # Errors
    /// A text that completes "the value …".
    pub fn read(self, value: Value) -> Result<Value, &'static str> {
        const NO_TIME: &str = "is no time such as 2031-05-04T03:02:01";
        match (self, value) {
            (Self::Name, value @ Value::String(_)) | (Self::Flag, value @ Value::Bool(_)) => Ok(value),
            (Self::Text, Value::String(text)) => Ok(if text.is_empty() { Value::Null } else { text.into() }),
            (Self::Number(none), Value::Number(number)) => {
                let number = number.as_i64().ok_or("is no whole number")?;
                Ok(if none.contains(&number) { Value::Null } else { number.into() })
            }
            (Self::Time, Value::String(text)) => time(&text).ok_or(NO_TIME).map(|t| t.map(|t| t.to_string()).into()),
            (Self::Name | Self::Text, _) => Err("is no text"),
            (Self::Flag, _) => Err("is neither true nor false"),
            (Self::Number(_), _) => Err("is no whole number"),
            (Self::Time, _) => Err(NO_TIME),
        }
    }
}

/// A time as the ECM's clients write it: ISO 8601 with or without a zone, or `YYYY/MM/DD HH:MM:SS`. Without one it is UTC. Empty, or of the
/// year 1, whose beginning those clients send to take a limit away: none.
pub fn time(text: &str) -> Option<Option<Utc>> {
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

    proptest! {
        #[test]
        fn any_text_is_a_time_or_not(text in "([0-9/: TZ.-]{0,30}|.{0,30})") {
            if let Some(Some(time)) = time(&text) {
                prop_assert_eq!(Utc::parse(&time.to_string()), Some(time));
            }
        }
    }
}
