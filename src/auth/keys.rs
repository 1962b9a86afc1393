//! The key file: the one secret that usher keeps outside the database.
//!
//! The file holds a root key. Keys for each use are derived from it (HKDF-SHA-256, RFC 5869), so that no two uses share one. Without
//! the file the audit trail cannot be verified or continued; it belongs into the backup, apart from the database's.

use crate::domain::chance::Entropy;
use crate::domain::row_mac::RowKeys;
use crate::domain::secret::MacKey;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use serde::Deserialize;
use sha2::Sha256;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use zeroize::Zeroizing;

/// The number of the one root key that a file of version 1 holds: it stands in what is bound under it.
const ROOT: u8 = 1;

/// The keys of one installation.
#[derive(Clone)]
pub struct Keys {
    /// For the heads of the audit chains.
    pub audit: MacKey,
    /// For the rows of users, sessions and whatever else opens something.
    pub rows: RowKeys,
    /// For what clients carry without being able to read or alter it: cursors, device cookies.
    pub seal: Sealer,
    /// For the data keys that the database holds.
    pub wrap: Sealer,
    /// For the tokens of sessions that are open through linked accounts.
    pub linked: MacKey,
    /// For the keys that links for passwords are exchanged for.
    pub resets: MacKey,
    /// For the addresses from which accounts are signed in to.
    pub addresses: MacKey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    root: Zeroizing<String>,
}

impl Keys {
    /// Reads a key file.
    ///
    /// # Errors
    /// One line: it is missing, readable by others, or not a key file.
    pub fn load(path: &Path) -> Result<Self, String> {
        let fail = |cause: String| format!("the key file {}: {cause}", path.display());
        let unread = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => {
                fail(format!("{e}; `usher secrets init` makes one for a new database, and one that is in use has its own"))
            }
            _ => fail(e.to_string()),
        };
        let text = Zeroizing::new(fs::read_to_string(path).map_err(unread)?);
        check_mode(path).map_err(fail)?;
        Self::parse(&text).map_err(fail)
    }

    /// Reads what stands in a key file.
    ///
    /// # Errors
    /// One line, in which nothing of the root key stands.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| format!("is not a key file ({})", e.message()))?;
        if file.version != 1 {
            return Err(format!("is of version {}, known is 1", file.version));
        }
        let root = STANDARD.decode(file.root.as_bytes()).map(Zeroizing::new);
        let root = root.map_err(|_| "the root key is not base64".to_owned())?;
        let root: &[u8; 32] = root.as_slice().try_into().map_err(|_| "the root key has not 32 bytes".to_owned())?;
        Ok(Self::from_root(root))
    }

    /// The keys that derive from a root key.
    pub fn from_root(root: &[u8; 32]) -> Self {
        Self {
            audit: MacKey::new(derive(root, b"usher audit heads")),
            rows: RowKeys::new(ROOT, MacKey::new(derive(root, b"usher rows"))),
            seal: Sealer(Zeroizing::new(derive(root, b"usher seals"))),
            wrap: Sealer(Zeroizing::new(derive(root, b"usher data keys"))),
            linked: MacKey::new(derive(root, b"usher linked sessions")),
            resets: MacKey::new(derive(root, b"usher reset keys")),
            addresses: MacKey::new(derive(root, b"usher known addresses")),
        }
    }

    /// Writes a new key file, readable by its owner alone.
    ///
    /// # Errors
    /// One line: there is one already, or it cannot be written.
    pub fn init(path: &Path, entropy: &Entropy) -> Result<(), String> {
        let fail = |e: std::io::Error| format!("cannot make the key file {}: {e}", path.display());
        let root = Zeroizing::new(STANDARD.encode(*Zeroizing::new(entropy.bytes::<32>())));
        let text = Zeroizing::new(format!(
            "# The keys of one usher installation, for every node the same. Keep a copy apart from the database's backup.\n\
             version = 1\nroot = \"{}\"\n",
            *root
        ));
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let mut file = options.open(path).map_err(fail)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)
    }
}

#[cfg(unix)]
fn check_mode(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path).map_err(|e| e.to_string())?.permissions().mode() & 0o777;
    if mode & 0o007 != 0 { Err(format!("is open to everyone (mode {mode:o}): chmod 600 it")) } else { Ok(()) }
}

#[cfg(not(unix))]
fn check_mode(_: &Path) -> Result<(), String> {
    Ok(())
}

fn derive(root: &[u8; 32], purpose: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    // HKDF-SHA-256 gives up to 8160 bytes; 32 cannot fail. Were it to, the all-zero key would be caught by no one: stop.
    if Hkdf::<Sha256>::new(None, root).expand(purpose, &mut key).is_err() {
        std::process::abort();
    }
    key
}

/// Seals what clients carry: XChaCha20-Poly1305, bound to a context, in base64url.
#[derive(Clone)]
pub struct Sealer(Zeroizing<[u8; 32]>);

impl Sealer {
    /// Seals `message` for `context`.
    pub fn seal(&self, context: &str, message: &[u8], entropy: &Entropy) -> String {
        URL_SAFE_NO_PAD.encode(encrypt(&self.0, context.as_bytes(), message, entropy))
    }

    /// Opens what was sealed for `context`; `None` for anything else.
    pub fn open(&self, context: &str, sealed: &str) -> Option<Vec<u8>> {
        decrypt(&self.0, context.as_bytes(), &URL_SAFE_NO_PAD.decode(sealed).ok()?)
    }
}

/// Encrypts with XChaCha20-Poly1305 under a fresh nonce, which comes first.
pub(super) fn encrypt(key: &[u8; 32], context: &[u8], message: &[u8], entropy: &Entropy) -> Vec<u8> {
    let nonce: [u8; 24] = entropy.bytes();
    let payload = Payload { msg: message, aad: context };
    // Encryption fails only beyond 256 GiB.
    let sealed = XChaCha20Poly1305::new(&(*key).into()).encrypt(&XNonce::from(nonce), payload).unwrap_or_default();
    [nonce.as_slice(), &sealed].concat()
}

/// Decrypts what [`encrypt`] made under the same key and context; `None` for anything else.
pub(super) fn decrypt(key: &[u8; 32], context: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = bytes.split_first_chunk::<24>()?;
    XChaCha20Poly1305::new(&(*key).into()).decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: context }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// S40: what is sealed is opened in its context alone, and not after any change.
        #[test]
        fn seals(message in any::<Vec<u8>>(), at in any::<prop::sample::Index>(), other in "[A-Za-z0-9_-]") {
            let keys = Keys::from_root(&[3; 32]);
            let sealed = keys.seal.seal("a", &message, &Entropy::system());
            prop_assert_eq!(keys.seal.open("a", &sealed), Some(message.clone()));
            prop_assert_eq!(keys.seal.open("b", &sealed), None);
            prop_assert_eq!(Keys::from_root(&[4; 32]).seal.open("a", &sealed), None);
            let mut mutated = sealed.clone();
            let at = at.index(sealed.len());
            mutated.replace_range(at..=at, &other);
            if mutated != sealed {
                prop_assert_eq!(keys.seal.open("a", &mutated), None);
            }
        }

        /// Whatever stands in a key file, the complaint tells nothing of a key in it.
        #[test]
        fn any_text_is_a_key_file_or_refused(key in "[A-Za-z0-9+/]{43}=", line in "(version = [0-9]{1,3}|root = 7|.{0,20})", cut in 0usize..60) {
            let sound = format!("version = 1\nroot = \"{key}\"\n");
            let is_key = STANDARD.decode(&key).is_ok();
            prop_assert_eq!(Keys::parse(&sound).is_ok(), is_key);
            let broken = format!("{line}\n{}", sound.get(..cut).unwrap_or(&sound));
            if let Err(cause) = Keys::parse(&broken) {
                prop_assert!(!cause.contains(&key[..12]), "{}", cause);
            }
        }

        #[test]
        fn any_text_is_opened_or_refused(text in ".{0,120}") {
            prop_assert_eq!(Keys::from_root(&[3; 32]).seal.open("a", &text), None);
        }
    }
}
