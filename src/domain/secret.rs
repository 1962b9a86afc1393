//! Secrets as types.
//!
//! A type in here has no `Serialize`, no `Display` and a `Debug` that shows nothing, so a secret gets into an answer, a log
//! line or an audit event only through an `expose()` that a reader of the code can see. Tokens come in two types: [`Token`],
//! the clear text that its bearer holds, and [`TokenHash`], the SHA-256 that the database holds; the second is made from the
//! first and there is no way back.

use super::chance::Entropy;
use super::ids::DataKeyId;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::fmt;
use std::marker::PhantomData;
use zeroize::Zeroizing;

/// A password in the clear, as it was sent. Wiped from memory when dropped.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes `text` as it is: policy is checked where a password is set, not where one is tried.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The clear text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl schemars::JsonSchema for Password {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Password".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": "password", "maxLength": 256, "writeOnly": true})
    }
}

/// What was sent as the second factor: a one-time code or a recovery code, as it was typed. Wiped from memory when dropped.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct SentCode(Zeroizing<String>);

impl SentCode {
    /// Takes `text` as it is.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The clear text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SentCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SentCode")
    }
}

impl schemars::JsonSchema for SentCode {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SentCode".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "writeOnly": true})
    }
}

/// The ticket of an offer to enrol a second factor, as it was sent back. Wiped from memory when dropped.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct EnrolmentTicket(Zeroizing<String>);

impl EnrolmentTicket {
    /// Takes `text` as it is.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The clear text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EnrolmentTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolmentTicket")
    }
}

impl schemars::JsonSchema for EnrolmentTicket {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EnrolmentTicket".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "writeOnly": true})
    }
}

/// The key of someone's one-time codes in base32 (RFC 4648, section 6), as an authenticator takes it.
#[derive(Clone)]
pub struct TotpKey(Zeroizing<String>);

impl TotpKey {
    /// Wraps a key in base32.
    pub fn new(base32: String) -> Self {
        Self(Zeroizing::new(base32))
    }

    /// The key in base32, to be told while it is being enrolled.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TotpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpKey")
    }
}

/// A password's hash in PHC string format.
#[derive(Clone, PartialEq, Eq, FromSqlRow, AsExpression)]
#[diesel(sql_type = diesel::sql_types::Text)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Wraps a PHC string.
    pub fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

/// Bytes encrypted under a data key: the key's id (16 bytes), then nonce and cipher text. A row that holds one also has the key's id in
/// a column of its own, a foreign key: a data key cannot go while something needs it.
#[derive(Clone, PartialEq, Eq, FromSqlRow, AsExpression)]
#[diesel(sql_type = diesel::sql_types::Binary)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// What a data key made of something.
    pub fn new(data_key_id: DataKeyId, cipher_text: &[u8]) -> Self {
        Self([data_key_id.as_bytes().as_slice(), cipher_text].concat())
    }

    /// From the database's bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Key id, nonce and cipher text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The data key that opens it, and what that key opens; `None` if this is too short to be anything.
    pub fn parts(&self) -> Option<(DataKeyId, &[u8])> {
        let (id, cipher_text) = self.0.split_first_chunk::<16>()?;
        Some((DataKeyId::from_bytes(*id), cipher_text))
    }
}

/// Where a sealed secret is kept. Encryption is bound to it: moved to another row, to another owner or into another table, it does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The table.
    pub table: &'static str,
    /// Whose it is: a user's id, or the row's own if it is nobody's.
    pub owner: [u8; 16],
    /// The row's id.
    pub row: [u8; 16],
}

impl Seat {
    /// The context that the encryption is bound to, besides the key.
    pub fn context(&self, data_key_id: DataKeyId) -> Vec<u8> {
        [self.table.as_bytes(), &[0], &self.owner, &self.row, data_key_id.as_bytes()].concat()
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed")
    }
}

/// A key for message authentication (HMAC-SHA-256, RFC 2104).
#[derive(Clone)]
pub struct MacKey(Zeroizing<[u8; 32]>);

impl MacKey {
    /// Wraps a key.
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// The MAC of `message`.
    pub fn mac(&self, message: &[u8]) -> Vec<u8> {
        self.keyed(message).finalize().into_bytes().to_vec()
    }

    /// Whether `mac` is the MAC of `message`; in a time that does not depend on where they differ.
    pub fn confirms(&self, message: &[u8], mac: &[u8]) -> bool {
        self.keyed(message).verify_slice(mac).is_ok()
    }

    fn keyed(&self, message: &[u8]) -> Hmac<Sha256> {
        // HMAC takes a key of any length; a block's length needs no decision that could fail.
        let mut block = Zeroizing::new([0; 64]);
        block.iter_mut().zip(self.0.iter()).for_each(|(to, from)| *to = *from);
        let mut hmac = Hmac::<Sha256>::new(&(*block).into());
        hmac.update(message);
        hmac
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey")
    }
}

/// The secret of a hook: the key by which its receiver verifies what it gets. Spelt as the Standard Webhooks specification has it.
#[derive(Clone)]
pub struct HookSecret(Zeroizing<[u8; 32]>);

impl HookSecret {
    /// A fresh one.
    pub fn mint(entropy: &Entropy) -> Self {
        Self(Zeroizing::new(entropy.bytes()))
    }

    /// From its 32 bytes; `None` if there are more or fewer.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// Its bytes, to be encrypted.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The clear text, to be handed to whoever sets up the receiver, once.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("whsec_{}", STANDARD.encode(self.as_bytes())))
    }

    /// As a key for signing.
    pub fn key(&self) -> MacKey {
        MacKey::new(*self.0)
    }
}

impl fmt::Debug for HookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookSecret")
    }
}

/// What a token is for; its prefix tells people and secret scanners.
pub trait Purpose {
    /// The characters before the random part, without the underscore.
    const PREFIX: &'static str;
}

/// A user's session token (UST).
#[derive(Clone, Copy)]
pub struct OfSession;
impl Purpose for OfSession {
    const PREFIX: &'static str = "ust";
}

/// An application's key.
#[derive(Clone, Copy)]
pub struct OfApplication;
impl Purpose for OfApplication {
    const PREFIX: &'static str = "uak";
}

/// A link that confirms a sign-up.
#[derive(Clone, Copy)]
pub struct OfSignUp;
impl Purpose for OfSignUp {
    const PREFIX: &'static str = "usu";
}

/// A link by which someone who forgot the password gets on.
#[derive(Clone, Copy)]
pub struct OfReset;
impl Purpose for OfReset {
    const PREFIX: &'static str = "urp";
}

/// A link by which someone sets a first password, or another one that a super-user asked for.
#[derive(Clone, Copy)]
pub struct OfSetting;
impl Purpose for OfSetting {
    const PREFIX: &'static str = "usp";
}

/// What an opened link is exchanged for, and sets one password.
#[derive(Clone, Copy)]
pub struct OfResetKey;
impl Purpose for OfResetKey {
    const PREFIX: &'static str = "urk";
}

/// A user's API key.
#[derive(Clone, Copy)]
pub struct OfApiKey;
impl Purpose for OfApiKey {
    const PREFIX: &'static str = "key";
}

/// A user's session token.
pub type Ust = Token<OfSession>;
/// An application's key.
pub type ApplicationKey = Token<OfApplication>;
/// The token of a link that confirms a sign-up.
pub type SignUpToken = Token<OfSignUp>;
/// The token of a link that resets a password.
pub type ResetToken = Token<OfReset>;
/// The token of a link that sets a password.
pub type SettingToken = Token<OfSetting>;
/// The key that sets one password.
pub type ResetKey = Token<OfResetKey>;
/// A user's API key.
pub type ApiKeyToken = Token<OfApiKey>;

/// Characters of the random part: 256 bits in base64url.
const RANDOM: usize = 43;
/// Characters of the check sum: the 32 bits of a CRC in base64url.
const CHECK: usize = 6;

/// A bearer token in the clear: prefix, underscore, 256 random bits, CRC-32 of all that stands before it (both base64url
/// without padding, RFC 4648, section 5). The check sum costs an attacker nothing; it lets a mistyped token be refused without
/// a look-up and a secret scanner be sure of what it found.
pub struct Token<P> {
    text: Zeroizing<String>,
    purpose: PhantomData<P>,
}

impl<P: Purpose> Token<P> {
    /// A fresh token.
    pub fn mint(entropy: &Entropy) -> Self {
        Self::of(Zeroizing::new(entropy.bytes::<32>()))
    }

    /// The token that derives from `message` under a key: always the same, and known to nobody who has only the message.
    pub fn derive(key: &MacKey, message: &[u8]) -> Self {
        let mut random = Zeroizing::new([0; 32]);
        random.iter_mut().zip(key.mac(message)).for_each(|(to, from)| *to = from);
        Self::of(random)
    }

    fn of(random: Zeroizing<[u8; 32]>) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(P::PREFIX.len() + 1 + RANDOM + CHECK));
        text.push_str(P::PREFIX);
        text.push('_');
        URL_SAFE_NO_PAD.encode_string(*random, &mut text);
        let check = check_sum(&text);
        text.push_str(&check);
        Self { text, purpose: PhantomData }
    }

    /// Reads a token; `None` if it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let random = text.strip_prefix(P::PREFIX)?.strip_prefix('_')?;
        let urlsafe = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if random.len() != RANDOM + CHECK || !random.bytes().all(urlsafe) {
            return None;
        }
        let (body, check) = text.split_at_checked(text.len().checked_sub(CHECK)?)?;
        (check_sum(body) == check).then(|| Self { text: Zeroizing::new(text.to_owned()), purpose: PhantomData })
    }

    /// The clear text, to be handed to its bearer once.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What the database knows it by.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.text.as_bytes()).to_vec())
    }
}

impl<P: Purpose> fmt::Debug for Token<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", P::PREFIX)
    }
}

fn check_sum(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(crc32fast::hash(text.as_bytes()).to_be_bytes())
}

/// The SHA-256 of a token. A token has 256 random bits, so a plain hash cannot be searched for its origin.
#[derive(Clone, PartialEq, Eq, Hash, FromSqlRow, AsExpression)]
#[diesel(sql_type = diesel::sql_types::Binary)]
pub struct TokenHash(Vec<u8>);

impl TokenHash {
    /// From the database's bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The hash's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Equality in a time that does not depend on where the two differ.
    pub fn matches(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq as _;
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// S18: 256 random bits, a prefix and a check sum; every change of one character is noticed.
        #[test]
        fn a_token_is_read_back_and_a_mistyped_one_is_not(seed in any::<[u8; 32]>(), at in 0usize..53, other in "[A-Za-z0-9_-]") {
            let entropy = Entropy::new(move |buffer| buffer.copy_from_slice(&seed));
            let token = Ust::mint(&entropy);
            prop_assert_eq!(token.expose().len(), 53);
            prop_assert_eq!(Ust::parse(token.expose()).map(|t| t.hash()), Some(token.hash()));
            prop_assert!(ApplicationKey::parse(token.expose()).is_none() && ApiKeyToken::parse(token.expose()).is_none());
            let mut mistyped = token.expose().to_owned();
            mistyped.replace_range(at..=at, &other);
            prop_assert_eq!(Ust::parse(&mistyped).is_some(), mistyped == token.expose());
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            let _ = Ust::parse(&text);
            let _ = (SignUpToken::parse(&text), ResetToken::parse(&text), SettingToken::parse(&text), ResetKey::parse(&text));
        }

        /// R16: a token is good for its own purpose alone.
        #[test]
        fn a_token_of_one_purpose_is_none_of_another(seed in any::<[u8; 32]>(), cut in 0usize..53) {
            let entropy = Entropy::new(move |buffer| buffer.copy_from_slice(&seed));
            let texts = [
                Ust::mint(&entropy).expose().to_owned(),
                SignUpToken::mint(&entropy).expose().to_owned(),
                ResetToken::mint(&entropy).expose().to_owned(),
                SettingToken::mint(&entropy).expose().to_owned(),
                ResetKey::mint(&entropy).expose().to_owned(),
            ];
            for (number, text) in texts.iter().enumerate() {
                let read = [
                    Ust::parse(text).is_some(),
                    SignUpToken::parse(text).is_some(),
                    ResetToken::parse(text).is_some(),
                    SettingToken::parse(text).is_some(),
                    ResetKey::parse(text).is_some(),
                ];
                for (other, is_read) in read.into_iter().enumerate() {
                    prop_assert_eq!(is_read, other == number);
                }
                // Truncated, it is none at all.
                prop_assert!(SignUpToken::parse(&text[..cut]).is_none() && ResetKey::parse(&text[..cut]).is_none());
            }
        }
    }

    /// S30: nothing of a secret is shown by `Debug`.
    #[test]
    fn debug_is_blind() {
        let entropy = Entropy::new(|buffer| buffer.fill(7));
        let token = Ust::mint(&entropy);
        let shown = format!("{token:?} {:?} {:?} {:?}", token.hash(), Password::new("pw".into()), PasswordHash::new("$a".into()));
        assert_eq!(shown, "Token(ust) TokenHash Password PasswordHash");
        assert_eq!(format!("{:?}", HookSecret::mint(&entropy)), "HookSecret");
        let shown = format!("{:?} {:?}", TotpKey::new("MFRGG".into()), SentCode::new("123456".into()));
        assert_eq!(shown, "TotpKey SentCode");
        assert_eq!(format!("{:?}", EnrolmentTicket::new("abc".into())), "EnrolmentTicket");
    }
}
