//! What Zato SSO keeps with its users besides what they are: attributes, and links to accounts of HTTP Basic.
//!
//! A value is JSON there, or a Fernet token of it, bare or as a JSON text. Zato does not keep its note of which is which up to date, so a
//! value is taken for encrypted if it looks so, as Zato takes it.

use super::custom_attribute::{AttributeName, AttributeValue, LONGEST_LIFE, Setting};
use super::time::Utc;
use super::zato_user::{is_encrypted, utc};
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use zeroize::Zeroizing;

/// A row of Zato's table of attributes, of one that belongs to a user.
#[derive(diesel::QueryableByName)]
pub struct ZatoAttribute {
    /// Whose it is: the place in the table of users.
    #[diesel(sql_type = BigInt)]
    pub owner: i64,
    /// Its name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Its value.
    #[diesel(sql_type = Nullable<Text>)]
    pub value: Option<String>,
    /// How that was made a text.
    #[diesel(sql_type = Nullable<Text>)]
    pub serial_method: Option<String>,
    /// Whether it was encrypted when it was made.
    #[diesel(sql_type = Integer)]
    pub is_encrypted: i32,
    /// When it expires, in UTC without saying so; at the end of time if it never does.
    #[diesel(sql_type = Nullable<Text>)]
    pub expiration_time: Option<String>,
}

/// A row of Zato's table of linked accounts.
#[derive(diesel::QueryableByName)]
pub struct ZatoLink {
    /// As whom the account acts: the place in the table of users.
    #[diesel(sql_type = BigInt)]
    pub owner: i64,
    /// Which of the server's security definitions the account is.
    #[diesel(sql_type = BigInt)]
    pub auth_id: i64,
}

impl ZatoAttribute {
    /// Its name here, and what it is set to at `now`; `None` if it has expired. `open` decrypts.
    ///
    /// # Errors
    /// What does not fit; the text completes "the attribute …".
    pub fn setting(
        &self,
        open: impl Fn(&str) -> Option<Zeroizing<String>>,
        now: Utc,
    ) -> Result<Option<(AttributeName, Setting)>, &'static str> {
        let expires_in = match self.expiration_time.as_deref().filter(|time| !time.is_empty()) {
            None => None,
            Some(time) => {
                let time = utc(time).as_str().and_then(Utc::parse).ok_or("has an expiry that is no time")?;
                if time <= now {
                    return Ok(None);
                }
                // What is so far away was meant for ever.
                Some(time.since(now)).filter(|life| *life <= LONGEST_LIFE)
            }
        };
        let name = self.name.parse()?;
        if self.serial_method.as_deref().is_some_and(|method| method != "json") {
            return Err("has a value that is no JSON");
        }
        let (value, was_sealed) = self.clear(open)?;
        Ok(Some((name, Setting { value, expires_in, is_encrypted: was_sealed || self.is_encrypted != 0 })))
    }

    /// The value, and whether it was encrypted.
    fn clear(&self, open: impl Fn(&str) -> Option<Zeroizing<String>>) -> Result<(AttributeValue, bool), &'static str> {
        let closed = "has a value that does not open with the key";
        let Some(kept) = self.value.as_deref() else { return Ok((AttributeValue::null(), false)) };
        if is_encrypted(kept) {
            let clear = open(kept).ok_or(closed)?;
            return Ok((AttributeValue::parse(&clear).or_else(|_| text(&clear))?, true));
        }
        // A text that looks encrypted and says so nowhere may be just a text.
        let token = serde_json::from_str::<String>(kept).ok().filter(|token| is_encrypted(token));
        match token.map(|token| open(&token)) {
            Some(Some(clear)) => Ok((text(&clear)?, true)),
            Some(None) if self.is_encrypted != 0 => Err(closed),
            Some(None) | None => Ok((AttributeValue::parse(kept)?, false)),
        }
    }
}

fn text(clear: &str) -> Result<AttributeValue, &'static str> {
    let json = serde_json::to_string(clear).map(Zeroizing::new).map_err(|_| "has a value that is no text")?;
    AttributeValue::parse(&json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const NOW: Utc = Utc::from_micros(1_800_000_000_000_000);

    fn attribute(value: &str, is_encrypted: bool) -> ZatoAttribute {
        ZatoAttribute {
            owner: 1,
            name: "colour".to_owned(),
            value: Some(value.to_owned()),
            serial_method: Some("json".to_owned()),
            is_encrypted: i32::from(is_encrypted),
            expiration_time: Some("9999-12-31 00:00:00".to_owned()),
        }
    }

    fn open(token: &str) -> Option<Zeroizing<String>> {
        token.strip_prefix("gAAA-").map(|clear| Zeroizing::new(clear.to_owned()))
    }

    #[test]
    fn values_are_told_from_tokens_by_their_looks() {
        for (kept, is_flagged, json, is_encrypted) in [
            (r#"{"a": [1]}"#, false, r#"{"a":[1]}"#, false),
            (r#"5"#, true, "5", true),
            (r#"gAAA-{"a": 1}"#, true, r#"{"a":1}"#, true),
            ("gAAA-blue sky", false, r#""blue sky""#, true),
            (r#""gAAA-5""#, true, r#""5""#, true),
            (r#""gAAAnothing""#, false, r#""gAAAnothing""#, false),
        ] {
            let (_, setting) = attribute(kept, is_flagged).setting(open, NOW).unwrap().unwrap();
            assert_eq!((setting.value.as_json(), setting.is_encrypted), (json, is_encrypted), "{kept}");
            assert_eq!(setting.expires_in, None);
        }
        for (kept, is_flagged) in [("gAAAnothing", false), (r#""gAAAnothing""#, true), ("NaN", false), ("{", false)] {
            assert!(attribute(kept, is_flagged).setting(open, NOW).is_err(), "{kept}");
        }
    }

    #[test]
    fn what_has_expired_stays_behind() {
        let of =
            |time: &str| ZatoAttribute { expiration_time: Some(time.to_owned()), ..attribute("1", false) }.setting(open, NOW);
        assert!(of("2020-01-02 03:04:05").unwrap().is_none() && of("soon").is_err());
        assert_eq!(of("2027-01-15T08:01:00.000007").unwrap().unwrap().1.expires_in, Some(Duration::from_micros(60_000_007)));
        assert_eq!(
            ZatoAttribute { name: "a b".to_owned(), ..attribute("1", false) }.setting(open, NOW).err().map(|e| e.len() > 9),
            Some(true)
        );
        assert!(ZatoAttribute { serial_method: Some("dill".to_owned()), ..attribute("1", false) }.setting(open, NOW).is_err());
    }

    proptest! {
        #[test]
        fn any_row_is_read_or_refused(name in ".{0,70}", value in "(\"?gAAA-?)?.{0,40}", is_encrypted in any::<bool>(), time in ".{0,30}") {
            let row = ZatoAttribute { name, expiration_time: Some(time), ..attribute(&value, is_encrypted) };
            let _ = row.setting(open, NOW);
        }
    }
}
