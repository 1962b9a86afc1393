//! What makes a password fit to be set (S3, S4): long enough, not too long to hash, not known from a breach, not made of what an
//! attacker would try first for this very account. There are no rules on which characters it must contain, and it is taken as it
//! was sent: white space and every script are welcome, nothing is cut or converted.

use super::breached;
use crate::domain::secret::Password;
use crate::domain::text::fold;
use crate::domain::user::User;
use crate::error::{Code, Error, Fault};
use std::time::Duration;
use unicode_normalization::UnicodeNormalization as _;

/// The longest password that is hashed, in characters and in bytes.
pub const LONGEST: (usize, usize) = (256, 1024);

/// A context word shorter than this is too common to forbid.
const CONTEXT_WORD: usize = 4;

/// The rules in force.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Characters at least when the password is the only factor.
    pub min_length: usize,
    /// Characters at least when a one-time code is asked for as well.
    pub min_length_with_totp: usize,
    /// After how long a password expires; `None`: never by itself.
    pub life: Option<Duration>,
}

/// Whether a password is so long that it is not even looked at. Checked before hashing, also at sign-in.
pub fn is_oversized(password: &Password) -> bool {
    password.expose().len() > LONGEST.1 || password.expose().chars().count() > LONGEST.0
}

impl Policy {
    /// Whether `password` may be set for `user`, who is called from `application`.
    ///
    /// # Errors
    /// [`Code::PasswordUnfit`] at `member`, with every cause. [`advise`] has advice on a better one, which is dear.
    pub fn check(&self, password: &Password, user: &User, application: Option<&str>, member: &str) -> Result<(), Error> {
        let causes = self.causes(password, user, application);
        if causes.is_empty() {
            return Ok(());
        }
        let mut error = Error::new(Code::PasswordUnfit);
        for (code, detail) in causes {
            error = error.fault(Fault { member: member.to_owned(), code, detail });
        }
        Err(error)
    }

    /// Why `password` may not be set for `user`: the codes of the causes, in no words of advice. Empty if it may.
    pub fn judge(&self, password: &Password, user: &User, application: Option<&str>) -> Vec<&'static str> {
        self.causes(password, user, application).into_iter().map(|(code, _)| code).collect()
    }

    /// Whether a password is long enough to be the only factor.
    pub fn is_enough_alone(&self, password: &Password) -> bool {
        password.expose().chars().count() >= self.min_length
    }

    fn causes(&self, password: &Password, user: &User, application: Option<&str>) -> Vec<(&'static str, String)> {
        if is_oversized(password) {
            return vec![("too_long", format!("has more than {} characters or {} bytes", LONGEST.0, LONGEST.1))];
        }
        let mut causes = Vec::new();
        let least = if user.is_totp_enabled { self.min_length_with_totp } else { self.min_length };
        if password.expose().chars().count() < least {
            causes.push(("too_short", format!("has fewer than {least} characters")));
        }
        let composed: String = password.expose().nfc().collect();
        if breached::is_breached(&composed.to_lowercase()) {
            causes.push(("breached", "is known from breaches of other services".to_owned()));
        }
        let folded = fold(password.expose());
        let is_mostly = |word: &String| word.chars().count() >= CONTEXT_WORD && folded.contains(word.as_str());
        if context_words(user, application).iter().any(|word| is_mostly(word) && remainder(&folded, word) < least) {
            causes.push(("contains_context", "is little more than a name of the user or of the application".to_owned()));
        }
        causes
    }
}

/// Characters that are left when every occurrence of `word` is taken out: a long passphrase may well mention a name.
fn remainder(folded: &str, word: &str) -> usize {
    folded.replace(word, "").chars().count()
}

/// What an attacker would try first for this account.
fn context_words(user: &User, application: Option<&str>) -> Vec<String> {
    let email = user.email.as_ref().map(|e| e.as_str());
    let mailbox = email.and_then(|e| e.split('@').next());
    let names = [&user.first_name, &user.middle_name, &user.last_name].into_iter().flatten().map(|n| n.as_str());
    let words = [Some(user.username.as_str()), Some(user.login_name.as_str()), email, mailbox, application, Some("usher")];
    words.into_iter().flatten().chain(names).filter(|w| *w != "default").map(fold).collect()
}

/// Characters that advice is given on: the beginning tells enough, and the effort grows with the square of the length and more.
const ADVISED: usize = 24;

/// What zxcvbn says of a password for the user of this name, as advice only. It takes tens of milliseconds of a password that was chosen
/// for that, so it has its place among the hashes (S50).
pub fn advise(password: &Password, username: &str) -> Option<String> {
    let beginning: String = password.expose().chars().take(ADVISED).collect();
    let estimate = zxcvbn::zxcvbn(&beginning, &[username]);
    let feedback = estimate.feedback()?;
    let mut sentences: Vec<String> = feedback.warning().map(|w| w.to_string()).into_iter().collect();
    sentences.extend(feedback.suggestions().iter().map(ToString::to_string));
    (!sentences.is_empty()).then(|| sentences.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::UserId;
    use crate::domain::text::Name;
    use crate::domain::time::Utc;
    use crate::domain::user::CreationContext;
    use proptest::prelude::*;

    const POLICY: Policy = Policy { min_length: 15, min_length_with_totp: 8, life: None };

    fn user(name: &str) -> User {
        let ctx = CreationContext { via: "test".into(), by: None, application: None, remote_addr: None, cid: None };
        User::fresh(UserId::from_bytes([1; 16]), Name::try_from(name.to_owned()).unwrap(), Utc::from_micros(0), ctx)
    }

    fn codes(password: &str, user: &User) -> Vec<&'static str> {
        POLICY.causes(&Password::new(password.to_owned()), user, Some("Payroll")).into_iter().map(|(code, _)| code).collect()
    }

    /// S3: length by factor, caps, no composition rules, spaces and Unicode welcome.
    #[test]
    fn length() {
        let mut user = user("jdoe");
        assert_eq!(codes("correct horse", &user), ["too_short"]);
        assert_eq!(codes("correct horse battery", &user), [""; 0]);
        assert_eq!(codes("пятнадцать букв", &user), [""; 0]);
        assert_eq!(codes(&"ä ".repeat(128), &user), [""; 0]);
        assert_eq!(codes(&"ä".repeat(257), &user), ["too_long"]);
        assert_eq!(codes(&"🦀".repeat(256), &user), [""; 0]);
        user.is_totp_enabled = true;
        assert_eq!(codes("kq7 wz2v", &user), [""; 0]);
        assert_eq!(codes("kq7wz2v", &user), ["too_short"]);
    }

    /// S4: breached passwords in any case, and words of the context.
    #[test]
    fn breached_and_context() {
        let user = user("Maximilian");
        assert!(codes("QwertyUiop1234567890", &user).contains(&"breached") || !codes("qwertyuiop", &user).is_empty());
        assert!(codes("Password123", &user).contains(&"breached"));
        assert_eq!(codes("maximilianMAXIMILIAN1", &user), ["contains_context"]);
        assert_eq!(codes("payroll-payroll-1", &user), ["contains_context"]);
        assert_eq!(codes("the cat of maximilian sleeps all day", &user), [""; 0]);
    }

    proptest! {
        #[test]
        fn any_password_gets_an_answer(password in any::<String>()) {
            let password = Password::new(password);
            let _ = POLICY.check(&password, &user("jdoe"), None, "password");
            let _ = advise(&password, "jdoe");
        }
    }
}
