//! Users as Zato SSO keeps them, and what they become as rows of an import.
//!
//! Zato has encrypted some of the texts with Fernet, and takes whatever does not look so for clear text; so does this. A value that cannot
//! be decrypted, or does not fit, is passed on as it is, for the import to refuse it by name.

use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// A row of Zato's table of users: what of it comes along.
#[derive(diesel::QueryableByName)]
pub struct ZatoUser {
    /// Its place in the table.
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    /// Its public id.
    #[diesel(sql_type = Text)]
    pub user_id: String,
    /// Its name.
    #[diesel(sql_type = Text)]
    pub username: String,
    /// The hash of its password, encrypted as a rule.
    #[diesel(sql_type = Nullable<Text>)]
    pub password: Option<String>,
    /// Whether that is one that somebody knows.
    #[diesel(sql_type = Integer)]
    pub password_is_set: i32,
    /// Whether a new one is demanded.
    #[diesel(sql_type = Integer)]
    pub password_must_change: i32,
    /// When it expires, in UTC without saying so.
    #[diesel(sql_type = Nullable<Text>)]
    pub password_expiry: Option<String>,
    /// Its e-mail address, encrypted as a rule.
    #[diesel(sql_type = Nullable<Text>)]
    pub email: Option<String>,
    /// Its whole name.
    #[diesel(sql_type = Nullable<Text>)]
    pub display_name: Option<String>,
    /// Its first name.
    #[diesel(sql_type = Nullable<Text>)]
    pub first_name: Option<String>,
    /// Its middle name.
    #[diesel(sql_type = Nullable<Text>)]
    pub middle_name: Option<String>,
    /// Its last name.
    #[diesel(sql_type = Nullable<Text>)]
    pub last_name: Option<String>,
    /// Whether it looks after others.
    #[diesel(sql_type = Integer)]
    pub is_super_user: i32,
    /// Whether it is locked.
    #[diesel(sql_type = Integer)]
    pub is_locked: i32,
    /// What was decided on it.
    #[diesel(sql_type = Nullable<Text>)]
    pub approval_status: Option<String>,
    /// Whether its sign-up is confirmed.
    #[diesel(sql_type = Nullable<Text>)]
    pub sign_up_status: Option<String>,
    /// When it was made, in UTC without saying so.
    #[diesel(sql_type = Nullable<Text>)]
    pub sign_up_time: Option<String>,
    /// Whether sign-in asks for a one-time code.
    #[diesel(sql_type = Integer)]
    pub is_totp_enabled: i32,
    /// The key of those, encrypted.
    #[diesel(sql_type = Nullable<Text>)]
    pub totp_key: Option<String>,
    /// How that key is called, encrypted.
    #[diesel(sql_type = Nullable<Text>)]
    pub totp_label: Option<String>,
}

/// Stands for a label that nobody chose.
const DEFAULT_LABEL: &str = "<default-label>";

/// Whether a text looks encrypted.
pub fn is_encrypted(text: &str) -> bool {
    text.starts_with("gAAA")
}

fn filled(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// A time in UTC that does not say so, as RFC 3339 has it.
pub(super) fn utc(time: &str) -> Value {
    format!("{}Z", time.replacen(' ', "T", 1)).into()
}

impl ZatoUser {
    /// The texts that may be encrypted and matter to the row.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        [&self.password, &self.totp_key, &self.email].into_iter().flatten().map(String::as_str)
    }

    /// It as a row of an import. `open` decrypts.
    pub fn row(&self, open: impl Fn(&str) -> Option<Zeroizing<String>>) -> Map<String, Value> {
        let clear =
            |text: &str| is_encrypted(text).then(|| open(text)).flatten().map_or_else(|| text.into(), |t| t.as_str().into());
        let mut row = Map::new();
        let mut put = |name: &str, value: Value| row.insert(name.to_owned(), value);
        put("external_id", self.user_id.as_str().into());
        put("username", self.username.as_str().into());
        put("email", filled(self.email.as_ref()).map_or(Value::Null, clear));
        if let Some(name) = filled(self.display_name.as_ref()) {
            put("display_name", name.into());
        }
        for (name, value) in
            [("first_name", &self.first_name), ("middle_name", &self.middle_name), ("last_name", &self.last_name)]
        {
            put(name, filled(value.as_ref()).into());
        }
        put("user_role", if self.is_super_user != 0 { "administrator" } else { "viewer" }.into());
        put("is_locked", (self.is_locked != 0).into());
        if self.is_locked != 0 {
            put("lock_reason", "locked in Zato SSO".into());
        }
        // There nobody signs in who is not approved, however the account came to be.
        put("is_approval_needed", true.into());
        put("approval_status", filled(self.approval_status.as_ref()).into());
        put("sign_up_status", filled(self.sign_up_status.as_ref()).into());
        if let Some(time) = filled(self.sign_up_time.as_ref()) {
            put("created_time", utc(time));
        }
        if let Some(hash) = filled(self.password.as_ref()).filter(|_| self.password_is_set != 0) {
            put("password_hash", clear(hash));
            put("password_must_change", (self.password_must_change != 0).into());
            put("password_expiry", filled(self.password_expiry.as_ref()).map_or(Value::Null, utc));
        }
        // Each user has a key there; one that is not asked for a code does not know it.
        if let Some(key) = filled(self.totp_key.as_ref()).filter(|_| self.is_totp_enabled != 0) {
            put("totp_key", clear(key));
            let label = filled(self.totp_label.as_ref()).map_or(Value::Null, clear);
            // It matters to nobody's sign-in, so one that does not open refuses nobody.
            let is_chosen = label.as_str().is_some_and(|text| text != DEFAULT_LABEL && !is_encrypted(text));
            put("totp_label", if is_chosen { label } else { Value::Null });
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn user() -> ZatoUser {
        let text = |text: &str| Some(text.to_owned());
        ZatoUser {
            id: 1,
            user_id: "zusr1".to_owned(),
            username: "ann".to_owned(),
            password: text("gAAAhash"),
            password_is_set: 1,
            password_must_change: 0,
            password_expiry: text("2033-01-02 03:04:05.000006"),
            email: text("gAAAmail"),
            display_name: text(""),
            first_name: text("Ann"),
            middle_name: None,
            last_name: text(""),
            is_super_user: 1,
            is_locked: 0,
            approval_status: text("approved"),
            sign_up_status: text("final"),
            sign_up_time: text("2024-01-02 03:04:05"),
            is_totp_enabled: 0,
            totp_key: text("gAAAkey"),
            totp_label: text("gAAAlabel"),
        }
    }

    fn opened(text: &str) -> Option<Zeroizing<String>> {
        let clear = match text {
            "gAAAhash" => "$pbkdf2-sha512$120000$salt$tag",
            "gAAAmail" => "ann@example.com",
            "gAAAkey" => "JBSWY3DPEHPK3PXP",
            "gAAAlabel" => DEFAULT_LABEL,
            _ => return None,
        };
        Some(Zeroizing::new(clear.to_owned()))
    }

    #[test]
    fn a_user_becomes_a_row() {
        let mut expected = json!({
            "external_id": "zusr1", "username": "ann", "email": "ann@example.com", "first_name": "Ann", "middle_name": null,
            "last_name": null, "user_role": "administrator", "is_locked": false, "is_approval_needed": true,
            "approval_status": "approved", "sign_up_status": "final", "created_time": "2024-01-02T03:04:05Z",
            "password_hash": "$pbkdf2-sha512$120000$salt$tag", "password_must_change": false,
            "password_expiry": "2033-01-02T03:04:05.000006Z",
        });
        assert_eq!(Value::Object(user().row(opened)), expected);
        let mut other = ZatoUser { is_locked: 1, is_super_user: 0, is_totp_enabled: 1, password_is_set: 0, ..user() };
        other.email = Some("gAAAother".to_owned());
        for (name, value) in [
            ("user_role", json!("viewer")),
            ("is_locked", json!(true)),
            ("lock_reason", json!("locked in Zato SSO")),
            ("totp_key", json!("JBSWY3DPEHPK3PXP")),
            ("totp_label", Value::Null),
            ("email", json!("gAAAother")),
        ] {
            expected[name] = value;
        }
        for gone in ["password_hash", "password_must_change", "password_expiry"] {
            expected.as_object_mut().unwrap().remove(gone);
        }
        assert_eq!(Value::Object(other.row(opened)), expected);
    }

    proptest! {
        /// What does not open is passed on as it is, and clear text is not taken for anything else.
        #[test]
        fn what_does_not_open_stays(password in "(gAAA)?.{1,40}", email in "(gAAA)?.{1,40}") {
            let row = ZatoUser { password: Some(password.clone()), email: Some(email.clone()), ..user() }.row(|_| None);
            prop_assert_eq!((&row["password_hash"], &row["email"]), (&json!(password), &json!(email)));
        }
    }
}
