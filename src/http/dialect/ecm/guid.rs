//! Ids as the ECM spells them: 32 upper-case hex digits without dashes; and every other spelling of the same id, which is accepted.

use std::str::FromStr;

/// An id read in any spelling: UUIDs with and without dashes, in braces, as URN, in either case; and that of Zato SSO, `zusr` and the
/// UUID as a number in Crockford's base 32.
pub(super) struct Guid<T>(pub(super) T);

impl<T: FromStr> FromStr for Guid<T> {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parsed = match text.split_at_checked(4) {
            Some((prefix, number)) if prefix.eq_ignore_ascii_case("zusr") => {
                format!("{:032x}", crockford(number).ok_or(())?).parse()
            }
            _ => bare(text).parse(),
        };
        parsed.map(Self).map_err(drop)
    }
}

/// An id without its wrapping; what is wrapped may lack dashes here, which `uuid` does not take.
fn bare(text: &str) -> &str {
    let unbraced = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    match text.split_at_checked("urn:uuid:".len()) {
        Some((prefix, id)) if prefix.eq_ignore_ascii_case("urn:uuid:") => id,
        _ => unbraced.unwrap_or(text),
    }
}

/// An id in the ECM's spelling, from the native one.
pub(super) fn spell(native: &str) -> String {
    native.chars().filter(|c| *c != '-').map(|c| c.to_ascii_uppercase()).collect()
}

/// A number in Crockford's base 32, at most 128 bits of it.
fn crockford(text: &str) -> Option<u128> {
    if text.is_empty() || text.len() > 26 {
        return None;
    }
    text.bytes().try_fold(0u128, |number, c| {
        let digit = match c.to_ascii_lowercase() {
            b'o' => 0,
            b'i' | b'l' => 1,
            c => b"0123456789abcdefghjkmnpqrstvwxyz".iter().position(|known| *known == c)?,
        };
        number.checked_mul(32)?.checked_add(digit as u128)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::UserId;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<UserId> {
        text.parse::<Guid<UserId>>().ok().map(|guid| guid.0)
    }

    fn zato(id: UserId) -> String {
        let mut number = u128::from_be_bytes(*id.as_bytes());
        let mut digits = Vec::new();
        while number > 0 {
            digits.push(b"0123456789abcdefghjkmnpqrstvwxyz"[(number % 32) as usize]);
            number /= 32;
        }
        digits.reverse();
        format!("zusr{}", String::from_utf8(digits).unwrap())
    }

    #[test]
    fn the_example_of_the_page_is_read() {
        let id = read("zusrx2efj1q1h98n9q00tgx8scefv").unwrap();
        assert_eq!(zato(id), "zusrx2efj1q1h98n9q00tgx8scefv");
    }

    proptest! {
        #[test]
        fn every_spelling_names_the_same(bytes in any::<[u8; 16]>()) {
            let id = UserId::from_bytes(bytes);
            let ecm = spell(&id.to_string());
            prop_assert!(ecm.len() == 32 && ecm.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)));
            let plain = [ecm.clone(), ecm.to_lowercase(), id.to_string(), id.to_string().to_uppercase()];
            let wrapped = plain.clone().map(|id| [format!("{{{id}}}"), format!("urn:uuid:{id}"), format!("URN:UUID:{id}")]);
            for spelling in plain.into_iter().chain(wrapped.into_iter().flatten()) {
                prop_assert_eq!(read(&spelling), Some(id));
            }
            if bytes != [0; 16] {
                prop_assert_eq!(read(&zato(id)), Some(id));
                prop_assert_eq!(read(&zato(id).to_uppercase()), Some(id));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(zusr[0-9a-zA-Z]{0,40}|.{0,40})") {
            let _ = read(&text);
        }
    }
}
