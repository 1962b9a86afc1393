//! Signed tokens: what an application is told of a user that it can check by itself, for a few minutes.
//!
//! The claims about the user come out of the *owner's view* and out of nothing else: [`CLAIMS`] names for each claim the attribute whose
//! value it is, and [`claims_of`] reads it from the view as it is serialised. What the attribute table hides from the owner cannot
//! become a claim.

use super::attribute::Viewer;
use super::ids::{SessionId, UserId};
use super::user::Account;
use serde::Serialize;
use serde_json::{Map, Value};

super::words::words! {
    /// What of the user a token tells.
    Scope {
        /// Names and role.
        Profile = "profile",
        /// The e-mail address.
        Email = "email",
        /// The groups.
        Groups = "groups",
    }
}

/// Which claim is which attribute of the owner's view. The names of claims are those registered for JWTs, where there is one.
pub const CLAIMS: &[(Scope, &str, &str)] = &[
    (Scope::Profile, "preferred_username", "username"),
    (Scope::Profile, "name", "display_name"),
    (Scope::Profile, "given_name", "first_name"),
    (Scope::Profile, "middle_name", "middle_name"),
    (Scope::Profile, "family_name", "last_name"),
    (Scope::Profile, "user_role", "user_role"),
    (Scope::Email, "email", "email"),
    (Scope::Groups, "groups", "groups"),
];

/// The claims about an account by these scopes; one that has no value is absent.
///
/// # Errors
/// The view cannot be serialised.
pub fn claims_of(account: &Account, scopes: &[Scope]) -> serde_json::Result<Map<String, Value>> {
    // Also of a super-user: a token tells what the user may show of itself, not what the role lets it see.
    let view = serde_json::to_value(account.view(Viewer::Owner).unwitnessed())?;
    let claim = |(scope, claim, attribute): &(Scope, &str, &str)| {
        let value = view.get(attribute).filter(|value| scopes.contains(scope) && !value.is_null())?;
        Some(((*claim).to_owned(), value.clone()))
    };
    Ok(CLAIMS.iter().filter_map(claim).collect())
}

/// The scopes with spaces between (RFC 6749, section 3.3), each once.
pub fn spelt(scopes: &[Scope]) -> String {
    Scope::ALL.iter().filter(|s| scopes.contains(s)).map(|s| s.as_str()).collect::<Vec<_>>().join(" ")
}

/// What a token says (RFC 7519, section 4.1; RFC 9068, section 2.2). Times are whole seconds after the Unix epoch.
#[derive(Clone, Debug, Serialize)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// The user.
    pub sub: UserId,
    /// The application that it is for.
    pub aud: String,
    /// The application that asked for it.
    pub client_id: String,
    /// When it was issued.
    pub iat: i64,
    /// It is good from then on.
    pub nbf: i64,
    /// It is good until then.
    pub exp: i64,
    /// Its own id.
    pub jti: String,
    /// When the user was last proved in that session (OpenID Connect Core 1.0, section 2).
    pub auth_time: i64,
    /// By what (RFC 8176).
    pub amr: Vec<&'static str>,
    /// The session that it was issued in.
    pub sid: SessionId,
    /// What of the user it tells.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// That.
    #[serde(flatten)]
    pub about: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attribute::{Act, allows};
    use crate::domain::ids::GroupId;
    use crate::domain::secret::TotpKey;
    use crate::domain::text::{Line, Name};
    use crate::domain::time::Utc;
    use crate::domain::user::{ATTRIBUTES, CreationContext, GroupRef, User, UserRole};
    use proptest::prelude::*;

    #[test]
    fn every_claim_is_an_attribute_that_the_owner_sees() {
        for (_, claim, attribute) in CLAIMS {
            let row = ATTRIBUTES.iter().find(|a| a.name == *attribute).unwrap_or_else(|| panic!("{claim}"));
            assert!(allows(Viewer::Owner, Act::See, row), "{claim}");
        }
    }

    proptest! {
        /// Whatever the account and the scopes: each claim has the value of the owner's view, and none is there that was not asked for.
        #[test]
        fn claims_are_the_owners_view(
            names in prop::collection::vec(prop::option::of("[a-zA-Z ]{1,12}"), 4), role in prop::sample::select(UserRole::ALL),
            email in prop::option::of("[a-z]{1,8}@[a-z]{1,8}\\.example"), groups in prop::collection::vec("[a-z]{1,8}", 0..4),
            scopes in prop::sample::subsequence(Scope::ALL.to_vec(), 0..=3), remark in "hidden-[a-z]{12}",
        ) {
            let ctx = CreationContext { via: "cli".into(), by: None, application: None, remote_addr: None, cid: None };
            let mut user = User::fresh(UserId::from_bytes([1; 16]), Name::try_from("ann".to_owned()).unwrap(), Utc::from_micros(0), ctx);
            let line = |text: &Option<String>| text.clone().and_then(|t| Line::try_from(t).ok());
            (user.first_name, user.middle_name, user.last_name) = (line(&names[0]), line(&names[1]), line(&names[2]));
            user.email = email.map(|e| e.try_into().unwrap());
            user.user_role = role;
            user.remark = Some(remark.clone().try_into().unwrap());
            user.external_id = line(&Some(remark));
            let groups = groups.into_iter().map(|name| GroupRef { group_id: GroupId::from_bytes([2; 16]), name: name.try_into().unwrap() });
            let account = Account { user, groups: groups.collect(), enrolment: Some(TotpKey::new("hidden".into())), as_of: Utc::from_micros(0) };
            let view = serde_json::to_value(account.view(Viewer::Owner).unwitnessed()).unwrap();
            let claims = claims_of(&account, &scopes).unwrap();
            for (scope, claim, attribute) in CLAIMS {
                let expected = Some(&view[attribute]).filter(|v| scopes.contains(scope) && !v.is_null());
                prop_assert_eq!(claims.get(*claim), expected);
            }
            prop_assert!(claims.keys().all(|name| CLAIMS.iter().any(|(_, claim, _)| claim == name)));
            prop_assert!(!serde_json::to_string(&claims).unwrap().contains("hidden"));
        }
    }
}
