//! Signing: tokens for applications, as JSON Web Tokens (RFC 7519) with Ed25519 (RFC 8037).
//!
//! The library that writes the tokens takes its cryptography from a *provider*, one for the process. The one in here signs with Ed25519 and
//! knows nothing else: no other algorithm can be asked of it, by whatever a header says, and it verifies nothing, as usher takes no such
//! token from anyone (RFC 8725, sections 3.1 and 3.2).

use crate::domain::chance::Entropy;
use crate::domain::ids::SigningKeyId;
use crate::domain::signed_token::Claims;
use crate::domain::signing_key::PublicKey;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use ed25519_dalek::{Signer as _, SigningKey};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::signature;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use std::fmt;
use zeroize::Zeroizing;

/// A key that signs tokens.
pub struct TokenKey(SigningKey);

impl TokenKey {
    /// A fresh one.
    pub fn mint(entropy: &Entropy) -> Self {
        Self(SigningKey::from_bytes(&Zeroizing::new(entropy.bytes())))
    }

    /// From its PKCS #8 form (RFC 8410, section 7); `None` for anything else.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        SigningKey::from_pkcs8_der(der).ok().map(Self)
    }

    /// Its PKCS #8 form, to be encrypted.
    pub fn to_der(&self) -> Option<Zeroizing<Vec<u8>>> {
        self.0.to_pkcs8_der().ok().map(|der| Zeroizing::new(der.as_bytes().to_vec()))
    }

    /// The public part.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes(self.0.verifying_key().to_bytes().to_vec())
    }

    /// The signature of a message (RFC 8032): 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).to_bytes().to_vec()
    }

    /// A token that says `claims`, signed under this key, whose id is `kid`. Its type tells it from every other kind of JWT (RFC 8725,
    /// section 3.11; RFC 9068, section 2.1).
    ///
    /// # Errors
    /// One line.
    pub fn token(&self, kid: SigningKeyId, claims: &Claims) -> Result<Zeroizing<String>, String> {
        // The process has one provider. If it is there already, it is this one: nothing else in this program installs any.
        let _ = CryptoProvider::install_default(&PROVIDER);
        let header = Header { typ: Some("at+jwt".to_owned()), kid: Some(kid.to_string()), ..Header::new(Algorithm::EdDSA) };
        let der = self.to_der().ok_or("a signing key cannot be encoded")?;
        let token = jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(&der));
        token.map(Zeroizing::new).map_err(|e| e.to_string())
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey")
    }
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| match algorithm {
        Algorithm::EdDSA => {
            let key = TokenKey::from_der(key.as_bytes()).ok_or(ErrorKind::InvalidEddsaKey)?;
            Ok(Box::new(key))
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    verifier_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_| Err(ErrorKind::InvalidAlgorithm.into()),
        rsa_pub_components_from_public_key: |_| Err(ErrorKind::InvalidAlgorithm.into()),
        ec_pub_components_from_private_key: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
        ed_pub_components_from_private_key: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
        compute_digest: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    },
};

impl signature::Signer<Vec<u8>> for TokenKey {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.sign(message).to_bytes().to_vec())
    }
}

impl JwtSigner for TokenKey {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{SessionId, UserId};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ed25519_dalek::{Signature, VerifyingKey};
    use serde_json::{Map, Value, json};

    fn claims() -> Claims {
        Claims {
            iss: "https://sso.example".into(),
            sub: UserId::from_bytes([1; 16]),
            aud: "desk".into(),
            client_id: "default".into(),
            iat: 1,
            nbf: 1,
            exp: 2,
            jti: "j".into(),
            auth_time: 1,
            amr: vec!["pwd"],
            sid: SessionId::from_bytes([2; 16]),
            scope: String::new(),
            about: Map::new(),
        }
    }

    /// S35: the algorithm is fixed, the type is told, and nothing in the header refers to a key elsewhere.
    #[test]
    fn what_a_token_is_made_of() {
        let key = TokenKey::mint(&Entropy::system());
        let token = key.token(SigningKeyId::from_bytes([3; 16]), &claims()).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let json = |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
        assert_eq!(json(parts[0]), json!({"typ": "at+jwt", "alg": "EdDSA", "kid": "03030303-0303-0303-0303-030303030303"}));
        assert_eq!(json(parts[1])["aud"], "desk");
        assert!(json(parts[1]).get("scope").is_none());
        let public = VerifyingKey::from_bytes(key.public_key().as_bytes().try_into().unwrap()).unwrap();
        let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(parts[2]).unwrap()).unwrap();
        public.verify_strict(format!("{}.{}", parts[0], parts[1]).as_bytes(), &signature).unwrap();
    }

    #[test]
    fn a_key_is_read_back() {
        let key = TokenKey::mint(&Entropy::system());
        let again = TokenKey::from_der(&key.to_der().unwrap()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        assert!(TokenKey::from_der(b"nonsense").is_none());
        assert_eq!(format!("{key:?}"), "TokenKey");
    }

    /// S35: neither another algorithm nor a verification can be had from the provider.
    #[test]
    fn the_provider_signs_with_ed25519_alone() {
        let _ = CryptoProvider::install_default(&PROVIDER);
        let key = EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
        assert!(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &key).is_err());
        assert!(jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims(), &key).is_err());
        let verifying = jsonwebtoken::DecodingKey::from_secret(b"x");
        assert!(jsonwebtoken::crypto::verify("", b"", &verifying, Algorithm::HS256).is_err());
    }
}
