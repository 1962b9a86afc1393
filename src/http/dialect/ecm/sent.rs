//! What a client of the ECM sends of a user, as a native patch.
//!
//! One row for each argument of `create_user` and `update_user`: its name there, the native attribute, and how its value is spelt. An
//! argument that is null was not given, as in the ECM's own client; what empties an attribute is its sentinel: an empty text, -1 or 0.
//! Every argument that is unknown or of the wrong type is named; whether its value fits is the native patch's business.

use crate::domain::ecm::ARGUMENTS;
use crate::domain::secret::Password;
use crate::error::{Code, Error, Fault, Result};
use serde_json::{Map, Value};

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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
}
