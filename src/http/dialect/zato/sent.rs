//! What the dialect reads: a JSON object in the body of every method, with the query string merged in.
//!
//! A member of the query string wins over one of the body. Members that are not known are ignored. Values are typed as Zato's clients send
//! them: a text may come as a number, a flag as a word. What cannot be read as what it is declared to be is refused like a missing member,
//! and nothing says which it was.

use super::super::super::input::{Parts, read_undeclared_object};
use crate::domain::ids::UserId;
use crate::domain::secret::{Password, TotpKey};
use crate::domain::text::Line;
use crate::domain::time::Utc;
use crate::domain::zato;
use crate::error::{Code, Error, Result};
use actix_web::web::Query as ActixQuery;
use serde_json::{Map, Value};

/// What was sent.
#[derive(Debug)]
pub(super) struct Sent {
    members: Map<String, Value>,
    /// The names that stand in the body.
    in_body: Vec<String>,
}

fn unfit(name: &str) -> Error {
    Error::new(Code::BadType).at(name, "is of the wrong type")
}

impl Sent {
    /// Reads the request.
    pub(super) async fn read(parts: &mut Parts) -> Result<Self> {
        let members = read_undeclared_object(parts).await?.unwrap_or_default();
        let in_body = members.keys().cloned().collect();
        let mut sent = Self { members, in_body };
        let query = ActixQuery::<Vec<(String, String)>>::from_query(parts.request.query_string());
        for (name, value) in query.map_err(|_| Error::new(Code::BadQuery))?.into_inner() {
            sent.members.insert(name, value.into());
        }
        Ok(sent)
    }

    /// Each of these members is there, be it null.
    pub(super) fn require(&self, names: &[&str]) -> Result<()> {
        match names.iter().find(|name| !self.members.contains_key(**name)) {
            None => Ok(()),
            Some(name) => Err(Error::new(Code::BadType).because("member_missing").at(*name, "is missing")),
        }
    }

    /// Whether a member stands in the body.
    pub(super) fn has(&self, name: &str) -> bool {
        self.in_body.iter().any(|known| known == name)
    }

    /// A text; none if it is null or missing.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Bool(is_true)) => Ok(Some(if *is_true { "True" } else { "False" }.to_owned())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::Array(_) | Value::Object(_)) => Err(unfit(name)),
        }
    }

    /// The same, none if it is empty.
    pub(super) fn filled(&self, name: &str) -> Result<Option<String>> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()))
    }

    /// A secret: a text and nothing else; none if it is null, empty or missing.
    pub(super) fn secret(&self, name: &str) -> Result<Option<Password>> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(Password::new(text.clone()))),
            Some(_) => Err(unfit(name)),
        }
    }

    /// A key of one-time codes; none if it is null, empty or missing.
    pub(super) fn totp_key(&self) -> Result<Option<TotpKey>> {
        Ok(self.secret("totp_key")?.map(|key| TotpKey::new(key.expose().to_owned())))
    }

    /// Whether something holds; it does not if it is null, empty or missing.
    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(is_true)) => Ok(*is_true),
            Some(Value::Number(number)) => Ok(number.as_f64() != Some(0.0)),
            Some(Value::String(text)) => match text.to_lowercase().as_str() {
                "true" | "yes" | "on" | "y" | "t" | "1" => Ok(true),
                "false" | "no" | "off" | "n" | "f" | "0" | "" => Ok(false),
                _ => Err(unfit(name)),
            },
            Some(Value::Array(_) | Value::Object(_)) => Err(unfit(name)),
        }
    }

    /// The same, which may be left open.
    pub(super) fn flag_in_body(&self, name: &str) -> Result<Option<bool>> {
        self.has(name).then(|| self.flag(name)).transpose()
    }

    /// A whole number; none if it is null, empty or missing.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>> {
        self.members.get(name).map_or(Ok(None), |value| number_of(value).ok_or_else(|| unfit(name)))
    }

    /// A user by its id as Zato spells it; none if it is null, empty or missing. Whatever else names nobody.
    pub(super) fn user(&self) -> Result<Option<UserId>> {
        let unknown = || Error::new(Code::NotFound).because("id_malformed");
        self.filled("user_id")?.map(|text| zato::read(&text).ok_or_else(unknown)).transpose()
    }

    /// The same, which must be there.
    pub(super) fn one_user(&self) -> Result<UserId> {
        self.user()?.ok_or_else(|| Error::new(Code::NotFound).because("id_missing"))
    }

    /// A line of text; none if it is null, empty or missing.
    pub(super) fn line(&self, name: &'static str) -> Result<Option<Line>> {
        let line = self.filled(name)?.map(Line::try_from).transpose();
        line.map_err(|flaw| Error::new(Code::Invalid).at(name, flaw.to_string()))
    }

    /// A member as it is.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }
}

/// A number as it is sent; `Some(None)` is none, `None` is no number.
pub(super) fn number_of(value: &Value) -> Option<Option<i64>> {
    match value {
        Value::Null => Some(None),
        Value::String(text) if text.trim().is_empty() => Some(None),
        Value::String(text) => text.trim().parse().ok().map(Some),
        Value::Bool(is_true) => Some(Some(i64::from(*is_true))),
        Value::Number(number) => {
            let whole = || number.as_f64().filter(|n| n.abs() < 9e15).map(|n| n.trunc().to_string().parse().ok());
            Some(Some(number.as_i64().or_else(|| whole().flatten())?))
        }
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// A time as clients of Zato write it: in UTC, most often without saying so.
pub(super) fn time_of(text: &str) -> Option<Utc> {
    let text = text.trim();
    if text.len() > 64 || !text.is_ascii() {
        return None;
    }
    let text = if text.len() == 10 { format!("{text}T00:00:00") } else { text.replacen(' ', "T", 1) };
    Utc::parse(&text).or_else(|| Utc::parse(&format!("{text}Z")))
}

/// A time as they read it: no zone, and microseconds only where there are any.
pub(super) fn naive(time: Utc) -> String {
    let whole = time.whole_second();
    let micros = time.micros() - whole.micros();
    let text = whole.to_string().trim_end_matches('Z').to_owned();
    if micros == 0 { text } else { format!("{text}.{micros:06}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn sent(value: Value) -> Sent {
        Sent { members: Map::from_iter([("x".to_owned(), value)]), in_body: vec!["x".to_owned()] }
    }

    #[test]
    fn values_are_typed_by_what_they_are_to_be() {
        for (value, expected) in
            [(json!("YES"), true), (json!(1), true), (json!("off"), false), (json!(""), false), (json!(null), false)]
        {
            assert_eq!(sent(value).flag("x").ok(), Some(expected));
        }
        assert!(sent(json!("perhaps")).flag("x").is_err() && sent(json!([])).flag("x").is_err());
        for (value, expected) in
            [(json!(7), Some(7)), (json!("7"), Some(7)), (json!(7.9), Some(7)), (json!(null), None), (json!(""), None)]
        {
            assert_eq!(sent(value).number("x").ok(), Some(expected));
        }
        assert!(sent(json!("seven")).number("x").is_err() && sent(json!({})).number("x").is_err());
        assert_eq!(sent(json!(5)).text("x").unwrap().as_deref(), Some("5"));
        assert_eq!(sent(json!(true)).text("x").unwrap().as_deref(), Some("True"));
        assert!(sent(json!([1])).text("x").is_err() && sent(json!(5)).secret("x").is_err());
    }

    #[test]
    fn times_go_there_and_back() {
        for text in ["2345-12-27T11:22:33", "2031-05-04T03:02:01.000007"] {
            assert_eq!(naive(time_of(text).unwrap()), text);
        }
        assert_eq!(time_of("2031-05-04"), time_of("2031-05-04 00:00:00"));
        assert_eq!(time_of("2031-05-04T02:00:00+02:00"), time_of("2031-05-04T00:00:00Z"));
        assert_eq!((time_of("tomorrow"), time_of("2031-13-04"), time_of("")), (None, None, None));
    }

    proptest! {
        #[test]
        fn any_instant_is_read_as_it_is_written(micros in 0i64..253_402_300_799_999_999) {
            let time = Utc::from_micros(micros);
            prop_assert_eq!(time_of(&naive(time)), Some(time));
        }

        #[test]
        fn any_text_is_a_time_or_none(text in "([0-9T:. Z+-]{0,30}|.{0,20})") {
            let _ = time_of(&text);
        }
    }
}
