//! Stored password hashes in every form that is verified: argon2, scrypt and PBKDF2 as PHC strings, and bcrypt.
//!
//! usher makes argon2id hashes alone ([`super::hashing`]); the others come with users who are imported, and each is replaced at its
//! user's next sign-in. What a hash would cost to verify is bounded (S2): a text beyond the bounds is not a [`StoredHash`], and this type
//! is the only way to a verification, so the bounds hold at import and at every sign-in alike.

use crate::domain::secret::{Password, PasswordHash};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::alphabet::{BCRYPT, STANDARD};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha2::{Sha256, Sha512};
use std::fmt;
use std::ops::RangeInclusive;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// The most that a hash may ask for (S2): memory in KiB, passes and lanes of argon2.
const ARGON2_CAPS: (u32, u32, u32) = (256 * 1024, 10, 16);
/// scrypt: the binary logarithm of N, r, p, and N·r·p, which is the work.
const SCRYPT_CAPS: (u32, u32, u32, u64) = (17, 8, 16, 1 << 20);
/// PBKDF2: iterations.
const PBKDF2_CAP: u32 = 2_000_000;
/// bcrypt: the binary logarithm of its rounds.
const BCRYPT_COSTS: RangeInclusive<u32> = 4..=14;
/// Bytes of a salt and of a tag.
const SALTS: RangeInclusive<usize> = 8..=64;
const TAGS: RangeInclusive<usize> = 16..=64;
/// Characters of a hash: more than the longest of the above has.
const LONGEST: usize = 512;
/// Bytes of a password that bcrypt takes into account.
const BCRYPT_LONGEST: usize = 72;

/// Bytes of the salt and of the tag that usher makes (S1).
pub(super) const SALT: usize = 16;
pub(super) const TAG: usize = 32;

/// Base64 without padding.
const UNPADDED: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::RequireNone);
const PHC_BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, UNPADDED);
/// bcrypt's encoders differ in the last bits, which stand for nothing.
const BCRYPT_BASE64: GeneralPurpose = GeneralPurpose::new(&BCRYPT, UNPADDED.with_decode_allow_trailing_bits(true));

/// Why a text is no hash that is verified; completes "the value …". It repeats nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable(&'static str);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Unreadable {}

/// A hash that can be verified, at a cost within the bounds.
#[derive(PartialEq, Eq)]
pub struct StoredHash {
    scheme: Scheme,
    salt: Vec<u8>,
    tag: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
enum Scheme {
    Argon2 { algorithm: Algorithm, version: Version, memory_kib: u32, passes: u32, lanes: u32 },
    Scrypt { log_n: u8, r: u32, p: u32 },
    Pbkdf2Sha256 { iterations: u32 },
    Pbkdf2Sha512 { iterations: u32 },
    Bcrypt { cost: u32 },
}

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredHash({:?})", self.scheme)
    }
}

impl StoredHash {
    /// Reads a hash. The forms are listed in `docs/BULK.md`.
    ///
    /// # Errors
    /// It is of no known form, or would cost more to verify than it may.
    pub fn read(hash: &PasswordHash) -> Result<Self, Unreadable> {
        const FORM: Unreadable =
            Unreadable("is no hash of a known form: argon2, scrypt, pbkdf2-sha256 or pbkdf2-sha512 as a PHC string, or bcrypt");
        let text = hash.expose();
        if text.len() > LONGEST {
            return Err(Unreadable("is longer than any hash of a known form"));
        }
        let fields: Vec<&str> = text.strip_prefix('$').ok_or(FORM)?.split('$').collect();
        match fields.as_slice() {
            ["argon2id", rest @ ..] => argon2(Algorithm::Argon2id, rest),
            ["argon2i", rest @ ..] => argon2(Algorithm::Argon2i, rest),
            ["argon2d", rest @ ..] => argon2(Algorithm::Argon2d, rest),
            ["scrypt", parameters, salt, tag] => scrypt(parameters, salt, tag),
            ["pbkdf2-sha256", parameters, salt, tag] => {
                pbkdf2(parameters, salt, tag, |iterations| Scheme::Pbkdf2Sha256 { iterations })
            }
            ["pbkdf2-sha512", parameters, salt, tag] => {
                pbkdf2(parameters, salt, tag, |iterations| Scheme::Pbkdf2Sha512 { iterations })
            }
            ["2a" | "2b" | "2y", cost, rest] => bcrypt(cost, rest),
            ["2x", ..] => Err(Unreadable("is of bcrypt's variant 2x, which came of a fault and is not verified")),
            _ => Err(FORM),
        }
    }

    /// Whether `password` is the one. argon2's memory is kept in `memory` for the next one: fresh pages cost more than the hash.
    pub(super) fn matches(&self, password: &Password, memory: &mut Vec<Block>) -> bool {
        let bytes = password.expose().as_bytes();
        let mut tag = vec![0; self.tag.len()];
        let computed = match self.scheme {
            Scheme::Argon2 { algorithm, version, memory_kib, passes, lanes } => {
                let params = Params::new(memory_kib, passes, lanes, Some(tag.len()));
                params.ok().and_then(|params| compute_argon2(algorithm, version, &params, bytes, &self.salt, &mut tag, memory))
            }
            Scheme::Scrypt { log_n, r, p } => {
                let params = ::scrypt::Params::new(log_n, r, p);
                params.ok().and_then(|params| ::scrypt::scrypt(bytes, &self.salt, &params, &mut tag).ok())
            }
            Scheme::Pbkdf2Sha256 { iterations } => {
                ::pbkdf2::pbkdf2_hmac::<Sha256>(bytes, &self.salt, iterations, &mut tag);
                Some(())
            }
            Scheme::Pbkdf2Sha512 { iterations } => {
                ::pbkdf2::pbkdf2_hmac::<Sha512>(bytes, &self.salt, iterations, &mut tag);
                Some(())
            }
            Scheme::Bcrypt { cost } => compute_bcrypt(cost, &self.salt, bytes, &mut tag),
        };
        computed.is_some() && tag.ct_eq(&self.tag).into()
    }

    /// Whether usher would make it at least as strong today.
    pub(super) fn is_as_strong_as(&self, settings: &Params) -> bool {
        match self.scheme {
            Scheme::Argon2 { algorithm: Algorithm::Argon2id, version: Version::V0x13, memory_kib, passes, lanes: _ } => {
                let is_costly = memory_kib >= settings.m_cost() && passes >= settings.t_cost();
                is_costly && self.tag.len() >= TAG && self.salt.len() >= SALT
            }
            Scheme::Argon2 { .. }
            | Scheme::Scrypt { .. }
            | Scheme::Pbkdf2Sha256 { .. }
            | Scheme::Pbkdf2Sha512 { .. }
            | Scheme::Bcrypt { .. } => false,
        }
    }
}

/// Computes an argon2 tag in memory that is kept, unless it takes more than the hashes that usher itself makes: what a foreign hash asked
/// for once is not held on to.
pub(super) fn compute_argon2(
    algorithm: Algorithm,
    version: Version,
    params: &Params,
    password: &[u8],
    salt: &[u8],
    tag: &mut [u8],
    memory: &mut Vec<Block>,
) -> Option<()> {
    let mut own = Vec::new();
    let memory = if memory.len() < params.block_count() {
        own.resize(params.block_count(), Block::default());
        &mut own
    } else {
        memory
    };
    let blocks = memory.get_mut(..params.block_count())?;
    Argon2::new(algorithm, version, params.clone()).hash_password_into_with_memory(password, salt, tag, blocks).ok()
}

/// bcrypt ends a password with a NUL and repeats it, and does not look beyond 72 bytes. A password that it would take for another one (a
/// longer one, or one with a NUL in it) is wrong, after the same work.
fn compute_bcrypt(cost: u32, salt: &[u8], password: &[u8], tag: &mut [u8]) -> Option<()> {
    let is_ambiguous = password.len() > BCRYPT_LONGEST || password.contains(&0);
    let mut ended = Zeroizing::new(Vec::with_capacity(BCRYPT_LONGEST));
    ended.extend(password.iter().copied().chain([0]).take(BCRYPT_LONGEST));
    let computed = ::bcrypt::bcrypt(cost, salt.try_into().ok()?, &ended);
    // The last byte of the cipher text is not kept.
    tag.iter_mut().zip(computed).for_each(|(to, byte)| *to = byte);
    (!is_ambiguous).then_some(())
}

/// A decimal number as PHC strings have it.
fn number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

/// The values of these parameters, in whichever order; each at most once, and no others.
fn parameters<const N: usize>(text: &str, names: [&str; N]) -> Result<[Option<u32>; N], Unreadable> {
    const BAD: Unreadable = Unreadable("has parameters that cannot be read");
    let mut values = [None; N];
    for parameter in text.split(',') {
        let (name, value) = parameter.split_once('=').ok_or(BAD)?;
        let at = names.iter().position(|known| *known == name).ok_or(BAD)?;
        let place: &mut Option<u32> = values.get_mut(at).ok_or(BAD)?;
        if place.replace(number(value).ok_or(BAD)?).is_some() {
            return Err(BAD);
        }
    }
    Ok(values)
}

/// Salt and tag in base64; passlib writes a dot for the plus sign.
fn decoded(salt: &str, tag: &str) -> Result<(Vec<u8>, Vec<u8>), Unreadable> {
    let decode =
        |text: &str| PHC_BASE64.decode(text.replace('.', "+")).map_err(|_| Unreadable("has a salt or tag that is no base64"));
    let (salt, tag) = (decode(salt)?, decode(tag)?);
    if !SALTS.contains(&salt.len()) {
        return Err(Unreadable("has a salt that is not 8 to 64 bytes long"));
    }
    if !TAGS.contains(&tag.len()) {
        return Err(Unreadable("has a tag that is not 16 to 64 bytes long"));
    }
    Ok((salt, tag))
}

const MISSING: Unreadable = Unreadable("lacks a parameter");

fn argon2(algorithm: Algorithm, fields: &[&str]) -> Result<StoredHash, Unreadable> {
    let (version, rest) = match fields {
        ["v=19", rest @ ..] => (Version::V0x13, rest),
        ["v=16", rest @ ..] => (Version::V0x10, rest),
        [other, ..] if other.starts_with("v=") => return Err(Unreadable("is of an unknown version of argon2")),
        // Before there were versions it was this one.
        rest => (Version::V0x10, rest),
    };
    let [costs, salt, tag] = rest else { return Err(Unreadable("has not the fields of an argon2 hash")) };
    let [Some(memory_kib), Some(passes), Some(lanes)] = parameters(costs, ["m", "t", "p"])? else { return Err(MISSING) };
    let (most_memory, most_passes, most_lanes) = ARGON2_CAPS;
    if memory_kib > most_memory || passes > most_passes || lanes > most_lanes {
        return Err(Unreadable("costs too much to verify: argon2 up to m=262144, t=10, p=16"));
    }
    let (salt, tag) = decoded(salt, tag)?;
    if Params::new(memory_kib, passes, lanes, Some(tag.len())).is_err() {
        return Err(Unreadable("has parameters that argon2 does not have"));
    }
    Ok(StoredHash { scheme: Scheme::Argon2 { algorithm, version, memory_kib, passes, lanes }, salt, tag })
}

fn scrypt(costs: &str, salt: &str, tag: &str) -> Result<StoredHash, Unreadable> {
    let [Some(log_n), Some(r), Some(p)] = parameters(costs, ["ln", "r", "p"])? else { return Err(MISSING) };
    let (most_log_n, most_r, most_p, most_work) = SCRYPT_CAPS;
    if log_n > most_log_n || r > most_r || p > most_p || (u64::from(r) * u64::from(p)) << log_n > most_work {
        return Err(Unreadable("costs too much to verify: scrypt up to ln=17, r=8, p=16, and N*r*p up to 2^20"));
    }
    let log_n = u8::try_from(log_n).unwrap_or(u8::MAX);
    if log_n == 0 || ::scrypt::Params::new(log_n, r, p).is_err() {
        return Err(Unreadable("has parameters that scrypt does not have"));
    }
    let (salt, tag) = decoded(salt, tag)?;
    Ok(StoredHash { scheme: Scheme::Scrypt { log_n, r, p }, salt, tag })
}

fn pbkdf2(costs: &str, salt: &str, tag: &str, scheme: fn(u32) -> Scheme) -> Result<StoredHash, Unreadable> {
    // passlib writes the number of iterations alone.
    let (iterations, length) = match number(costs) {
        Some(iterations) => (iterations, None),
        None => match parameters(costs, ["i", "l"])? {
            [Some(iterations), length] => (iterations, length),
            [None, _] => return Err(MISSING),
        },
    };
    if !(1..=PBKDF2_CAP).contains(&iterations) {
        return Err(Unreadable("costs too much, or nothing, to verify: pbkdf2 from 1 to 2000000 iterations"));
    }
    let (salt, tag) = decoded(salt, tag)?;
    if length.is_some_and(|length| length as usize != tag.len()) {
        return Err(Unreadable("has a tag of another length than it says"));
    }
    Ok(StoredHash { scheme: scheme(iterations), salt, tag })
}

fn bcrypt(cost: &str, rest: &str) -> Result<StoredHash, Unreadable> {
    const FORM: Unreadable = Unreadable("is no bcrypt hash: two digits of cost, then 53 characters of salt and tag");
    if cost.len() != 2 || !cost.bytes().all(|b| b.is_ascii_digit()) {
        return Err(FORM);
    }
    let cost: u32 = cost.parse().map_err(|_| FORM)?;
    if !BCRYPT_COSTS.contains(&cost) {
        return Err(Unreadable("costs too much, or nothing, to verify: bcrypt from 4 to 14"));
    }
    let (salt, tag) = rest.split_at_checked(22).filter(|(_, tag)| tag.len() == 31).ok_or(FORM)?;
    let decode = |text: &str| BCRYPT_BASE64.decode(text).map_err(|_| FORM);
    Ok(StoredHash { scheme: Scheme::Bcrypt { cost }, salt: decode(salt)?, tag: decode(tag)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// From the reference implementations of argon2, from CPython's hashlib, in passlib's spelling, and from the C library's crypt.
    const OTHERS: &[(&str, &str)] = &[
        ("password", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"),
        ("password", "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA"),
        ("password", "$argon2i$m=65536,t=2,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ"),
        (PHRASE, "$scrypt$ln=10,r=8,p=2$AAECAwQFBgcICQoLDA0ODw$wk79EttC618m617oirShLZuxJkXcX6rXHrrS9rQQ/44"),
        (PHRASE, "$pbkdf2-sha256$i=1000,l=32$AAECAwQFBgcICQoLDA0ODw$ppsXnjrdPB4KryJ6DrOqKqhkWrhv7PbKAMF1Eml8cZ4"),
        (PHRASE, "$pbkdf2-sha256$1000$AAECAwQFBgcICQoLDA0ODw$ppsXnjrdPB4KryJ6DrOqKqhkWrhv7PbKAMF1Eml8cZ4"),
        (
            PHRASE,
            "$pbkdf2-sha512$1000$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0.Pw$B37WQDXDUnacC0t3YcQb7.4oWwiUmOnabyBS5ujq/p8I9iQvEt78yvclpJyr3SpnufyeqzjChJuYftj8jNDkHw",
        ),
        (PHRASE, "$2b$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS"),
        (PHRASE, "$2y$04$abcdefghijklmnopqrstuu7EJV7kdjBBQxyb0HjTh9KS7.Lah/6CG"),
        (PHRASE, "$2a$04$ABCDEFGHIJKLMNOPQRSTUuHzrfeaHESIafIgIn5rRlQxo3XhcNIeq"),
    ];
    const PHRASE: &str = "correct horse battery staple";

    fn read(text: &str) -> Result<StoredHash, Unreadable> {
        StoredHash::read(&PasswordHash::new(text.to_owned()))
    }

    fn b64(bytes: &[u8]) -> String {
        PHC_BASE64.encode(bytes)
    }

    fn is_right(hash: &str, password: &str) -> bool {
        read(hash).unwrap().matches(&Password::new(password.to_owned()), &mut Vec::new())
    }

    /// Hashes that other programs made: each form is verified as they do.
    #[test]
    fn hashes_of_other_programs() {
        for (password, hash) in OTHERS {
            assert!(is_right(hash, password), "{hash}");
            assert!(!is_right(hash, &format!("{password}!")), "{hash}");
        }
    }

    /// bcrypt takes no longer password for a shorter one, and none with a NUL for one without.
    #[test]
    fn bcrypt_does_not_cut_passwords() {
        let hash = |password: &[u8]| {
            let ended: Vec<u8> = password.iter().copied().chain([0]).take(72).collect();
            let tag = ::bcrypt::bcrypt(4, [7; 16], &ended);
            format!("$2b$04${}{}", BCRYPT_BASE64.encode([7; 16]), BCRYPT_BASE64.encode(&tag[..23]))
        };
        let full = "x".repeat(72);
        assert!(is_right(&hash(full.as_bytes()), &full));
        assert!(!is_right(&hash(full.as_bytes()), &format!("{full}y")));
        assert!(!is_right(&hash(full.as_bytes()), &"x".repeat(71)));
        assert!(is_right(&hash(b"pw"), "pw"));
        assert!(!is_right(&hash(b"pw"), "pw\0pw"));
    }

    /// S2: at the bounds it is read, beyond them it is not.
    #[test]
    fn costs_are_bounded() {
        let (salt, tag) = (b64(&[1; 16]), b64(&[2; 32]));
        let argon2 = |m: u32, t: u32, p: u32| read(&format!("$argon2id$v=19$m={m},t={t},p={p}${salt}${tag}"));
        assert!(argon2(262_144, 10, 16).is_ok());
        for (m, t, p) in [(262_145, 1, 1), (1024, 11, 1), (1024, 1, 17), (7, 1, 1), (1024, 0, 1), (1024, 1, 0), (u32::MAX, 1, 1)]
        {
            assert!(argon2(m, t, p).is_err(), "{m} {t} {p}");
        }
        let scrypt = |n: u32, r: u32, p: u32| read(&format!("$scrypt$ln={n},r={r},p={p}${salt}${tag}"));
        assert!(scrypt(17, 8, 1).is_ok() && scrypt(14, 8, 5).is_ok() && scrypt(13, 8, 16).is_ok());
        for (n, r, p) in [(18, 8, 1), (17, 9, 1), (17, 8, 2), (10, 8, 17), (0, 8, 1), (10, 0, 1), (10, 8, 0), (99, 8, 1)] {
            assert!(scrypt(n, r, p).is_err(), "{n} {r} {p}");
        }
        let pbkdf2 = |i: u32| read(&format!("$pbkdf2-sha512$i={i},l=32${salt}${tag}"));
        assert!(pbkdf2(1).is_ok() && pbkdf2(2_000_000).is_ok() && pbkdf2(0).is_err() && pbkdf2(2_000_001).is_err());
        assert!(read(&format!("$pbkdf2-sha256$2000001${salt}${tag}")).is_err());
        let rest = "N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
        let bcrypt = |cost: u32| read(&format!("$2b${cost:02}${rest}"));
        assert!(bcrypt(4).is_ok() && bcrypt(14).is_ok() && bcrypt(3).is_err() && bcrypt(15).is_err() && bcrypt(31).is_err());
        for length in [7, 65] {
            assert!(read(&format!("$scrypt$ln=10,r=8,p=1${}${tag}", b64(&vec![1; length]))).is_err());
        }
        for length in [15, 65] {
            assert!(read(&format!("$scrypt$ln=10,r=8,p=1${salt}${}", b64(&vec![1; length]))).is_err());
        }
    }

    #[test]
    fn what_is_no_hash_is_refused_with_a_reason() {
        let (salt, tag) = (b64(&[1; 16]), b64(&[2; 32]));
        for bad in [
            String::new(),
            "secret".to_owned(),
            "$".to_owned(),
            "$1$salt$hash".to_owned(),
            "$6$rounds=5000$salt$hash".to_owned(),
            "{SSHA}AAAA".to_owned(),
            "pbkdf2_sha256$600000$salt$hash".to_owned(),
            format!("$argon2$m=1024,t=1,p=1${salt}${tag}"),
            format!("$argon2id$v=18$m=1024,t=1,p=1${salt}${tag}"),
            format!("$argon2id$v=19$m=1024,t=1${salt}${tag}"),
            format!("$argon2id$v=19$m=1024,t=1,p=1,p=1${salt}${tag}"),
            format!("$argon2id$v=19$m=1024,t=1,p=1,keyid=AAAA${salt}${tag}"),
            format!("$argon2id$v=19$m=01024,t=1,p=1${salt}${tag}"),
            format!("$argon2id$v=19$m=+1024,t=1,p=1${salt}${tag}"),
            format!("$argon2id$v=19$m=1024,t=1,p=1${salt}"),
            format!("$argon2id$v=19$m=1024,t=1,p=1${salt}${tag}$"),
            format!("$argon2id$v=19$m=1024,t=1,p=1${salt}=${tag}"),
            format!("$pbkdf2-sha256$i=1000,l=64${salt}${tag}"),
            format!("$pbkdf2$i=1000,l=32${salt}${tag}"),
            "$2x$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy".to_owned(),
            "$2c$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy".to_owned(),
            "$2b$1$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy".to_owned(),
            "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhW".to_owned(),
            "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWé".to_owned(),
            format!("$scrypt$ln=10,r=8,p=1${salt}${}", "A".repeat(600)),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(.{0,60}|\\$(argon2id|argon2i|scrypt|pbkdf2-sha256|2b)\\$[mtplnri=,0-9v$A-Za-z./+]{0,120})") {
            let _ = read(&text);
        }

        /// What is within the bounds is read as it was written.
        #[test]
        fn a_hash_is_read_as_it_was_written(
            salt in prop::collection::vec(any::<u8>(), 8..=64), tag in prop::collection::vec(any::<u8>(), 16..=64),
            m in 128u32..=262_144, t in 1u32..=10, p in 1u32..=16, iterations in 1u32..=2_000_000,
        ) {
            let (s, h) = (b64(&salt), b64(&tag));
            let scheme = Scheme::Argon2 { algorithm: Algorithm::Argon2d, version: Version::V0x10, memory_kib: m, passes: t, lanes: p };
            let expected = StoredHash { scheme, salt: salt.clone(), tag: tag.clone() };
            prop_assert_eq!(read(&format!("$argon2d$m={m},t={t},p={p}${s}${h}")), Ok(expected));
            let of_pbkdf2 = || StoredHash { scheme: Scheme::Pbkdf2Sha256 { iterations }, salt: salt.clone(), tag: tag.clone() };
            prop_assert_eq!(read(&format!("$pbkdf2-sha256$i={iterations},l={}${s}${h}", tag.len())), Ok(of_pbkdf2()));
            prop_assert_eq!(read(&format!("$pbkdf2-sha256${iterations}${}${}", s.replace('+', "."), h.replace('+', "."))), Ok(of_pbkdf2()));
        }
    }
}
