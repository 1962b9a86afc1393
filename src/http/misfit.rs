//! What is told of a body or a query string that serde refuses: the member at fault, and what is expected of it. A value that was sent is
//! never repeated out of a body: it may be a secret.

use crate::error::{Code, Error, WITHIN};
use serde_path_to_error::{Path, Segment};

/// How a member fails.
#[derive(Debug, PartialEq, Eq)]
enum Flaw {
    /// It is not there, or not of the type.
    Type(String),
    /// It is of the type, and does not fit all the same.
    Value(String),
}

/// The refusal of a body's members.
pub(super) fn of_body(refused: &serde_path_to_error::Error<serde_json::Error>) -> Error {
    match read(refused.path(), &refused.inner().to_string()) {
        (member, Flaw::Type(flaw)) if member.is_empty() => Error::new(Code::BadType).detail(format!("A member {flaw}.")),
        (member, Flaw::Type(flaw)) => {
            Error::new(Code::BadType).detail(format!("The member {} {flaw}.", member.replace(WITHIN, "."))).at(member, flaw)
        }
        (member, Flaw::Value(flaw)) => Error::new(Code::Invalid).at(member, flaw),
    }
}

/// The refusal of a query string.
pub(super) fn of_query(refused: &serde_path_to_error::Error<serde::de::value::Error>) -> Error {
    let text = refused.inner().to_string();
    let (member, flaw) = read(refused.path(), &text);
    let flaw = match flaw {
        Flaw::Type(flaw) => flaw,
        // A parser's own words; a query is in the caller's sight anyway.
        Flaw::Value(flaw) if flaw == UNFIT => text,
        Flaw::Value(flaw) => flaw,
    };
    let refusal = Error::new(Code::BadQuery);
    if member.is_empty() { refusal.detail(flaw) } else { refusal.at(member, flaw) }
}

const UNFIT: &str = "does not fit";

/// Which member serde's message is about, and what is told of it. What was sent stands before the last `expected`, so it is cut there.
fn read(path: &Path, text: &str) -> (String, Flaw) {
    let at = place(path);
    let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}{WITHIN}{name}") };
    if let Some(name) = text.strip_prefix("missing field `") {
        return (below(name.trim_end_matches('`')), Flaw::Type("is missing".to_owned()));
    }
    if let Some(rest) = text.strip_prefix("unknown field `") {
        let name = rest.split("`, ").next().unwrap_or_default();
        return (name.to_owned(), Flaw::Type("is not known".to_owned()));
    }
    let expected = text.rsplit_once(", expected ").map(|(_, expected)| expected);
    let flaw = match expected {
        Some(expected) if text.starts_with("invalid type: ") => {
            let found = text.trim_start_matches("invalid type: ").split([' ', '`', ',']).next().unwrap_or_default();
            Flaw::Type(format!("is of the wrong type: {found} where {expected} is expected"))
        }
        Some(expected) if text.starts_with("unknown variant ") => Flaw::Value(format!("is not {expected}")),
        Some(_) if text.starts_with("invalid value: ") => Flaw::Value("is out of range".to_owned()),
        _ => Flaw::Value(UNFIT.to_owned()),
    };
    (at, flaw)
}

/// A path as the members of errors are told.
fn place(path: &Path) -> String {
    let parts = path.iter().filter_map(|segment| match segment {
        Segment::Map { key } => Some(key.clone()),
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    parts.collect::<Vec<_>>().join(&WITHIN.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::{Value, json};

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        Red,
        Green,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "it is read, and not looked at")]
    struct Sent {
        name: String,
        #[serde(default)]
        words: Vec<Word>,
        seconds: Option<u64>,
    }

    fn refused(body: Value) -> Error {
        of_body(&serde_path_to_error::deserialize::<_, Sent>(body).unwrap_err())
    }

    /// S38: the member is named, and what was sent is not repeated.
    #[test]
    fn members_are_named_and_values_are_not() {
        let nested = format!("words{WITHIN}1");
        let cases = [
            (json!({}), Code::BadType, "name", "is missing"),
            (json!({"name": 5}), Code::BadType, "name", "is of the wrong type: integer where a string is expected"),
            (json!({"name": {}}), Code::BadType, "name", "is of the wrong type: map where a string is expected"),
            (
                json!({"name": "", "words": "hush, expected"}),
                Code::BadType,
                "words",
                "is of the wrong type: string where a sequence is expected",
            ),
            (json!({"name": "", "words": ["red", "hush, expected `a`"]}), Code::Invalid, &nested, "is not `red` or `green`"),
            (json!({"name": "", "seconds": -1}), Code::Invalid, "seconds", "is out of range"),
        ];
        for (body, code, member, flaw) in cases {
            let error = refused(body.clone());
            let fault = &error.faults()[0];
            assert_eq!((error.code(), fault.member.as_str(), fault.detail.as_str()), (code, member, flaw), "{body}");
        }
    }

    #[test]
    fn parameters_are_named() {
        let cases = [("name=a&seconds=x", "seconds", "invalid digit found in string"), ("seconds=1", "name", "is missing")];
        for (text, member, flaw) in cases {
            let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
            let error = of_query(&serde_path_to_error::deserialize::<_, Sent>(pairs).unwrap_err());
            let fault = &error.faults()[0];
            assert_eq!((error.code(), fault.member.as_str(), fault.detail.as_str()), (Code::BadQuery, member, flaw), "{text}");
        }
    }
}
