//! Fernet tokens, read: AES-128 in CBC mode with PKCS #7 padding, then HMAC-SHA-256 over all of it, one key for both.
//!
//! usher makes none. Zato SSO keeps hashes, keys of one-time codes and e-mail addresses so, and whoever moves from there brings the key
//! along. The MAC is confirmed before anything is decrypted; the time in a token says when it was made, and is not judged.

use crate::domain::secret::MacKey;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::fmt;
use zeroize::Zeroizing;

const BASE64: GeneralPurpose =
    GeneralPurpose::new(&URL_SAFE, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));
const VERSION: u8 = 0x80;
/// Bytes of a key's halves and of a block.
const HALF: usize = 16;
/// Bytes before the initialisation vector: version and time.
const HEAD: usize = 9;
/// Bytes of the MAC at the end.
const MAC: usize = 32;

/// A key: one half signs, the other encrypts.
pub struct Key {
    signing: MacKey,
    encryption: Zeroizing<[u8; HALF]>,
}

impl Key {
    /// Reads a key: 32 bytes in base64 for URLs.
    ///
    /// # Errors
    /// It is none; the text completes "the key …".
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "is no Fernet key: 32 bytes in URL-safe base64, 44 characters";
        let bytes = Zeroizing::new(BASE64.decode(text.trim()).map_err(|_| FORM)?);
        let (signing, encryption) = bytes.split_at_checked(HALF).ok_or(FORM)?;
        let encryption = Zeroizing::new(<[u8; HALF]>::try_from(encryption).map_err(|_| FORM)?);
        // HMAC fills a key that is shorter than a block with zeros, so these change nothing.
        let mut padded = [0; 2 * HALF];
        padded.iter_mut().zip(signing).for_each(|(to, from)| *to = *from);
        Ok(Self { signing: MacKey::new(padded), encryption })
    }

    /// What a token holds; `None` if it is none, or was made with another key.
    pub fn open(&self, token: &str) -> Option<Zeroizing<Vec<u8>>> {
        let bytes = BASE64.decode(token.trim()).ok()?;
        let (signed, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC)?)?;
        (signed.first() == Some(&VERSION) && self.signing.confirms(signed, mac)).then_some(())?;
        let (iv, cipher_text) = signed.get(HEAD..)?.split_at_checked(HALF)?;
        let cipher = cbc::Decryptor::<aes::Aes128>::new_from_slices(self.encryption.as_slice(), iv).ok()?;
        let mut text = Zeroizing::new(cipher_text.to_vec());
        let length = cipher.decrypt_padded::<Pkcs7>(&mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes::cipher::BlockModeEncrypt as _;
    use proptest::prelude::*;

    /// From the specification of Fernet.
    const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const HELLO: &str = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";

    /// A token of this text, whatever it is.
    fn sealed(key: &Key, version: u8, text: &[u8]) -> Vec<u8> {
        let iv = [7; HALF];
        let mut block = text.to_vec();
        block.resize(text.len() + HALF, 0);
        let cipher = cbc::Encryptor::<aes::Aes128>::new_from_slices(key.encryption.as_slice(), &iv).unwrap();
        let cipher_text = cipher.encrypt_padded::<Pkcs7>(&mut block, text.len()).unwrap().to_vec();
        let mut token = [&[version][..], &[0; 8], &iv, &cipher_text].concat();
        token.extend(key.signing.mac(&token));
        token
    }

    #[test]
    fn a_token_of_the_specification_opens() {
        let key = Key::parse(KEY).unwrap();
        assert_eq!(key.open(HELLO).unwrap().as_slice(), b"hello");
        let other = Key::parse("dw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=").unwrap();
        assert!(other.open(HELLO).is_none());
        assert!(key.open(&BASE64.encode(sealed(&key, 0x81, b"hello"))).is_none());
        for bad in ["", "cw_0x689", &KEY[..40], &format!("{KEY}{KEY}"), "cw_0x689RpI+jtRR7oE8h/eQsKImvJapLeSbXpwF4e4="] {
            assert!(Key::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        /// What was sealed opens, and not after any change.
        #[test]
        fn a_token_opens_as_it_was_made(text in any::<Vec<u8>>(), at in any::<prop::sample::Index>(), flip in 1u8..) {
            let key = Key::parse(KEY).unwrap();
            let mut token = sealed(&key, VERSION, &text);
            prop_assert_eq!(key.open(&BASE64.encode(&token)).map(|t| t.to_vec()), Some(text));
            let at = at.index(token.len());
            token[at] ^= flip;
            prop_assert!(key.open(&BASE64.encode(&token)).is_none());
        }

        #[test]
        fn any_text_is_opened_or_refused(text in "(gAAAAA[A-Za-z0-9_=-]{0,120}|.{0,60})") {
            prop_assert!(Key::parse(KEY).unwrap().open(&text).is_none());
            let _ = Key::parse(&text);
        }
    }
}
