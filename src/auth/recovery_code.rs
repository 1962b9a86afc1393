//! Recovery codes: what signs in once where the authenticator is lost.
//!
//! A code has 120 random bits, so that its SHA-256 alone can be kept (S15), spelt in Crockford's base32: no letter that is taken for a
//! digit, and what is taken for one all the same (I, L, O) is read as that digit.

use super::totp::without_separators;
use crate::domain::chance::Entropy;
use crate::domain::secret::TokenHash;
use sha2::{Digest as _, Sha256};
use std::fmt;
use zeroize::Zeroizing;

/// How many a user is given.
pub const COUNT: usize = 10;

/// Random bytes of a code.
const BYTES: usize = 15;
/// Characters of a code, without the hyphens.
const LENGTH: usize = BYTES * 8 / 5;
/// Characters between two hyphens.
const GROUP: usize = 4;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A recovery code in the clear: 24 characters of the alphabet.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryCode(Zeroizing<String>);

impl RecoveryCode {
    /// A fresh one.
    pub fn mint(entropy: &Entropy) -> Self {
        let random = Zeroizing::new(entropy.bytes::<BYTES>());
        let spell = |group: &[u8]| {
            let bits = group.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            (0..8).rev().map(move |at| ALPHABET.get((bits >> (5 * at)) as usize % 32).copied().map_or('0', char::from))
        };
        // Five bytes are eight characters.
        Self(Zeroizing::new(random.chunks(5).flat_map(spell).collect()))
    }

    /// Ten fresh ones.
    pub fn mint_all(entropy: &Entropy) -> Vec<Self> {
        (0..COUNT).map(|_| Self::mint(entropy)).collect()
    }

    /// Reads what a person typed: white space, hyphens and case do not matter. `None` if it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = Zeroizing::new(without_separators(text)?);
        let read = |letter: char| match letter.to_ascii_uppercase() {
            'I' | 'L' => Some('1'),
            'O' => Some('0'),
            letter => u8::try_from(letter).is_ok_and(|byte| ALPHABET.contains(&byte)).then_some(letter),
        };
        let code = Zeroizing::new(text.chars().map(read).collect::<Option<String>>()?);
        (code.len() == LENGTH).then_some(Self(code))
    }

    /// As it is told, in groups of four.
    pub fn expose(&self) -> Zeroizing<String> {
        let mut spelt = String::with_capacity(LENGTH + LENGTH / GROUP);
        for (at, letter) in self.0.chars().enumerate() {
            if at > 0 && at % GROUP == 0 {
                spelt.push('-');
            }
            spelt.push(letter);
        }
        Zeroizing::new(spelt)
    }

    /// What the database knows it by.
    pub fn hash(&self) -> TokenHash {
        TokenHash::from_bytes(Sha256::digest(self.0.as_bytes()).to_vec())
    }
}

impl fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryCode")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn codes_as_they_are_told() {
        let code = RecoveryCode::mint(&Entropy::new(|buffer| buffer.iter_mut().zip(0u8..).for_each(|(b, n)| *b = n * 17)));
        assert_eq!(code.expose().as_str(), "008J-4CT4-ANK7-F24S-NAXW-SQFE");
        assert_eq!(format!("{code:?}"), "RecoveryCode");
    }

    proptest! {
        /// S15: 120 bits, all of which count, read back however they are typed.
        #[test]
        fn a_code_is_read_back(seed in any::<[u8; 15]>(), other in any::<[u8; 15]>()) {
            let mint = |seed: [u8; 15]| RecoveryCode::mint(&Entropy::new(move |buffer| buffer.copy_from_slice(&seed)));
            let code = mint(seed);
            let told = code.expose();
            prop_assert_eq!(told.len(), 29);
            let typed = [
                told.to_string(),
                told.to_lowercase(),
                told.replace('-', " "),
                format!("  {}\n", told.replace('-', "")),
                told.replace('0', "o").replace('1', "l"),
                told.replace('0', "O").replace('1', "I"),
            ];
            for typed in typed {
                prop_assert_eq!(RecoveryCode::parse(&typed).map(|c| c.hash()), Some(code.hash()), "{}", typed);
            }
            prop_assert_eq!(mint(other).hash() == code.hash(), other == seed);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9A-Za-z -]{0,40}|.{0,200}") {
            if let Some(code) = RecoveryCode::parse(&text) {
                prop_assert_eq!(RecoveryCode::parse(&code.expose()), Some(code));
            }
        }
    }
}
