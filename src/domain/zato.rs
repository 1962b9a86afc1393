//! Zato SSO's spelling of users' ids: `zusr`, then the id as a number in Crockford's base32, lower case and without leading zeros.
//!
//! It is reversible and one to one: an id has one spelling, and whatever else begins so is none. Ids that a Zato server gave out are numbers
//! of 128 bits too, so an account that comes from one can keep its own.

use super::ids::UserId;

const PREFIX: &str = "zusr";
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The id of a user as clients of Zato know it.
pub fn spelt(user_id: UserId) -> String {
    let mut number = u128::from_be_bytes(*user_id.as_bytes());
    let mut digits = Vec::with_capacity(26);
    loop {
        let digit = usize::try_from(number % 32).unwrap_or_default();
        digits.push(char::from(DIGITS.get(digit).copied().unwrap_or_default()));
        number /= 32;
        if number == 0 {
            break;
        }
    }
    digits.iter().rev().fold(PREFIX.to_owned(), |text, digit| text + &digit.to_string())
}

/// The id that is spelt so; `None` if it is none.
pub fn read(text: &str) -> Option<UserId> {
    let digits = text.strip_prefix(PREFIX)?;
    let is_canonical = !digits.is_empty() && (digits == "0" || !digits.starts_with('0'));
    if !is_canonical || digits.len() > 26 {
        return None;
    }
    let number = digits.bytes().try_fold(0u128, |number, byte| {
        let digit = DIGITS.iter().position(|known| *known == byte)?;
        number.checked_mul(32)?.checked_add(u128::try_from(digit).ok()?)
    })?;
    Some(UserId::from_bytes(number.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_is_spelt_as_zato_spells_it() {
        assert_eq!(spelt(UserId::from_bytes([0; 16])), "zusr0");
        assert_eq!(spelt(UserId::from_bytes([255; 16])), format!("zusr7{}", "z".repeat(25)));
        for none in ["", "zusr", "zusr00", "zusri", "zusrU", "ZUSR1", "zusr8zzzzzzzzzzzzzzzzzzzzzzzzz", "zusr 1"] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn spelling_is_one_to_one(bytes in any::<[u8; 16]>()) {
            let id = UserId::from_bytes(bytes);
            prop_assert_eq!(read(&spelt(id)), Some(id));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(zusr[0-9a-zA-Z]{0,30}|.{0,40})") {
            if let Some(id) = read(&text) {
                prop_assert_eq!(spelt(id), text);
            }
        }
    }
}
