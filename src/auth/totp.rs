//! One-time codes by time (TOTP, RFC 6238): SHA-1, six digits, a step of 30 s, one step to either side, by this server's clock alone (S13).
//!
//! Pure: a [`Key`] judges a [`Code`] at an instant, given the step of the last code that was accepted. That no code is accepted twice is
//! the store's to hold, by comparing and setting that step in the transaction that the code opens something in (S12).

use super::recovery_code::RecoveryCode;
use crate::domain::chance::Entropy;
use crate::domain::secret::{SentCode, TotpKey};
use crate::domain::time::Utc;
use crate::settings::LONGEST_ISSUER;
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};
use std::fmt;
use totp_rs::{Algorithm, Builder, Secret, Totp};
use zeroize::Zeroizing;

/// Seconds of a step.
const STEP: u64 = 30;
/// Digits of a code.
const DIGITS: u8 = 6;
/// Steps before and after the present one whose codes are accepted too: clocks differ, and people take time to type.
const SKEW: i64 = 1;
/// Bytes of a key that is made here: 160 bits (RFC 4226, section 4, R6; S11).
pub const MINTED: usize = 20;
/// Bytes of a key that is brought along. RFC 4226 wants 16 at least, but for years the customary key had 10.
const BROUGHT: std::ops::RangeInclusive<usize> = 10..=64;
/// Characters of a label: what fits into a picture beside the issuer, however it is written.
const LONGEST_LABEL: usize = 64;

/// A key in the clear.
#[derive(Clone)]
pub struct Key(Zeroizing<Vec<u8>>);

/// A one-time code as it was sent: six digits.
#[derive(Clone)]
pub struct Code(Zeroizing<String>);

/// What was sent as the second factor.
#[derive(Clone, Debug)]
pub enum Factor {
    /// A one-time code.
    Code(Code),
    /// A recovery code.
    Recovery(RecoveryCode),
}

/// What a code turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the one of this step, which is later than the last accepted one.
    Right(i64),
    /// It would be right, but its step is not later than the last accepted one.
    Used,
    /// It is none of the codes that could be right now.
    Wrong,
}

impl Factor {
    /// Reads what a person typed: white space, hyphens and case do not matter. `None` if it can be neither.
    pub fn parse(sent: &SentCode) -> Option<Self> {
        Code::parse(sent.expose()).map(Self::Code).or_else(|| RecoveryCode::parse(sent.expose()).map(Self::Recovery))
    }
}

impl Code {
    /// Reads six digits; white space and hyphens between them, as authenticators show them, do not matter.
    pub fn parse(text: &str) -> Option<Self> {
        let code = Zeroizing::new(without_separators(text)?);
        (code.len() == usize::from(DIGITS) && code.bytes().all(|b| b.is_ascii_digit())).then_some(Self(code))
    }
}

/// Longer than anything that is to be read.
const LONGEST_TYPED: usize = 128;

/// A text without white space and hyphens; `None` if it is too long to be looked at.
pub(super) fn without_separators(text: &str) -> Option<String> {
    (text.len() <= LONGEST_TYPED).then(|| text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect())
}

impl Key {
    /// A fresh one.
    pub fn mint(entropy: &Entropy) -> Self {
        Self(Zeroizing::new(entropy.bytes::<MINTED>().to_vec()))
    }

    /// From its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// Reads a key in base32, as other systems export it: case, white space, hyphens and padding do not matter.
    ///
    /// # Errors
    /// A text that completes "the key …".
    pub fn from_base32(text: &str) -> Result<Self, String> {
        let text = without_separators(text).ok_or("is too long")?;
        let text = Zeroizing::new(text.trim_end_matches('=').to_ascii_uppercase());
        let is_base32 = text.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b));
        let secret = Some(&text).filter(|_| is_base32).and_then(|text| Secret::try_from_base32(text.as_str()).ok());
        let secret = secret.ok_or("is not in base32: A to Z and 2 to 7")?;
        let (least, most) = (BROUGHT.start(), BROUGHT.end());
        if !BROUGHT.contains(&secret.as_bytes().len()) {
            return Err(format!("has not between {} and {} bits", least * 8, most * 8));
        }
        Ok(Self::from_bytes(secret.as_bytes()))
    }

    /// Its bytes, to be encrypted.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// As an authenticator takes it.
    pub fn in_base32(&self) -> TotpKey {
        TotpKey::new(Secret::from(self.0.as_slice()).to_base32())
    }

    /// What `code` is at `now`, if the last code that was accepted was that of `last_step`.
    pub fn judge(&self, code: &Code, now: Utc, last_step: Option<i64>) -> Verdict {
        let totp = self.generator("", "");
        let present = now.micros().div_euclid(1_000_000).div_euclid(STEP as i64);
        let mut verdict = Verdict::Wrong;
        // All of them are compared, whichever it is.
        for step in present - SKEW..=present + SKEW {
            let seconds = u64::try_from(step).ok().map(|step| step * STEP);
            let is_right = seconds.is_some_and(|seconds| totp.check(&code.0, seconds).is_some());
            match verdict {
                Verdict::Wrong | Verdict::Used if is_right && last_step.is_none_or(|last| last < step) => {
                    verdict = Verdict::Right(step);
                }
                Verdict::Wrong if is_right => verdict = Verdict::Used,
                Verdict::Wrong | Verdict::Used | Verdict::Right(_) => {}
            }
        }
        verdict
    }

    /// The URI that authenticators read (`otpauth://totp/…`). Colons separate issuer and label in it, so that they cannot have one, and what
    /// is too long is cut. `None` without a label.
    pub fn uri(&self, issuer: &str, label: &str) -> Option<Zeroizing<String>> {
        let fit = |text: &str, most: usize| text.replace(':', ".").chars().take(most).collect::<String>();
        self.generator(&fit(issuer, LONGEST_ISSUER), &fit(label, LONGEST_LABEL)).to_url().ok().map(Zeroizing::new)
    }

    fn generator(&self, issuer: &str, label: &str) -> Totp {
        let builder = Builder::new().with_algorithm(Algorithm::SHA1).with_digits(DIGITS).with_skew(0).with_step_duration(STEP);
        // Keys that were brought along may be shorter than what the checks of `build` demand; all else is right by being constant.
        builder.with_secret(self.0.as_slice()).with_issuer(Some(issuer)).with_account_name(label).build_noncompliant()
    }
}

/// A picture of `uri` (QR code, ISO/IEC 18004) as SVG; `None` if it is too long for one.
pub fn picture(uri: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(uri, EcLevel::M).ok()?;
    Some(code.render::<svg::Color<'_>>().min_dimensions(240, 240).build())
}

macro_rules! blind {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}
blind!(Key, Code);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    /// RFC 6238, appendix B: the key of its SHA-1 vectors, and of each code the last six digits.
    const RFC_KEY: &[u8] = b"12345678901234567890";
    const RFC_VECTORS: [(i64, &str); 6] = [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000, "353130"),
    ];

    fn at(seconds: i64) -> Utc {
        Utc::from_micros(seconds * 1_000_000)
    }

    fn code(text: &str) -> Code {
        Code::parse(text).unwrap()
    }

    /// S13: the codes of RFC 6238, at their step and one step to either side, and no further.
    #[test]
    fn the_vectors_of_rfc_6238() {
        let key = Key::from_bytes(RFC_KEY);
        for (seconds, text) in RFC_VECTORS {
            let step = seconds / 30;
            for (shift, expected) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
                let verdict = key.judge(&code(text), at((step + shift) * 30), None);
                assert_eq!(verdict == Verdict::Right(step), expected, "{seconds} {shift}");
                assert_eq!(verdict == Verdict::Wrong, !expected, "{seconds} {shift}");
            }
            assert_eq!(key.judge(&code(text), at(step * 30 + 59), None), Verdict::Right(step));
            assert_eq!(key.judge(&code(text), at(step * 30 - 31), None), Verdict::Wrong);
        }
    }

    /// S12: nothing of a step that was accepted, nor of one before it.
    #[test]
    fn a_step_counts_once() {
        let key = Key::from_bytes(RFC_KEY);
        let step = 1_111_111_109 / 30;
        assert_eq!(key.judge(&code("081804"), at(1_111_111_109), Some(step)), Verdict::Used);
        assert_eq!(key.judge(&code("081804"), at(1_111_111_109), Some(step + 1)), Verdict::Used);
        assert_eq!(key.judge(&code("081804"), at(1_111_111_109), Some(step - 1)), Verdict::Right(step));
        assert_eq!(key.judge(&code("000000"), at(1_111_111_109), Some(step)), Verdict::Wrong);
    }

    #[test]
    fn codes_as_people_type_them() {
        for text in ["287082", " 287 082\n", "287-082", "2 8 7 0 8 2"] {
            assert!(matches!(Factor::parse(&SentCode::new(text.to_owned())), Some(Factor::Code(_))), "{text}");
        }
        for text in ["", "28708", "2870822", "28708a", "+28708", "２８７０８２", "287.082"] {
            assert!(Code::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn keys_as_other_systems_export_them() {
        let key = Key::from_base32("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ").unwrap();
        assert_eq!(key.expose(), RFC_KEY);
        assert_eq!(Key::from_base32("gezd gnbv gy3t qojq-gezd gnbv gy3t qojq").unwrap().expose(), RFC_KEY);
        assert_eq!(Key::from_base32("JBSWY3DPEHPK3PXPJA======").unwrap().expose().len(), 11);
        for unfit in ["", "GEZDGNBV", "GEZDGNBVGY3TQOJ1", "GEZDGNBVGY3TQOJQÄ", &"A".repeat(110), &"A".repeat(1000)] {
            assert!(Key::from_base32(unfit).is_err(), "{unfit}");
        }
    }

    #[test]
    fn nothing_of_a_key_is_shown() {
        assert_eq!(format!("{:?} {:?}", Key::from_bytes(RFC_KEY), code("287082")), "Key Code");
    }

    proptest! {
        /// Any text is a code, a recovery code or neither; never a panic, and nothing that is not six digits is a code.
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9 -]{0,14}|.{0,80}") {
            let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
            let is_code = digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit());
            let read = Factor::parse(&SentCode::new(text.clone()));
            prop_assert_eq!(matches!(read, Some(Factor::Code(_))), is_code);
            prop_assert_eq!(Code::parse(&text).is_some(), is_code);
        }

        /// S11: a minted key has 160 bits and comes back from base32; any text is read as a key or refused.
        #[test]
        fn keys(seed in any::<[u8; 20]>(), text in "[A-Za-z2-7= -]{0,60}|.{0,40}") {
            let key = Key::mint(&Entropy::new(move |buffer| buffer.copy_from_slice(&seed)));
            prop_assert_eq!(key.expose(), seed);
            let base32 = key.in_base32();
            prop_assert_eq!(base32.expose().len(), 32);
            prop_assert_eq!(Key::from_base32(base32.expose()).map(|key| key.expose().to_vec()), Ok(seed.to_vec()));
            if let Ok(key) = Key::from_base32(&text) {
                prop_assert!(BROUGHT.contains(&key.expose().len()));
            }
        }

        /// A code is right at most once, whatever else is tried in whatever order and however the clock moves.
        #[test]
        fn no_code_is_right_twice(seed in any::<[u8; 20]>(), moves in prop::collection::vec((-90i64..90, -2i64..=2), 1..40)) {
            let key = Key::from_bytes(&seed);
            let mut now = 1_900_000_000i64;
            let (mut last, mut accepted) = (None, Vec::new());
            for (span, shift) in moves {
                now += span;
                let sent = key.generator("", "").generate(u64::try_from((now / 30 + shift) * 30).unwrap()).to_string();
                if let Verdict::Right(step) = key.judge(&code(&sent), at(now), last) {
                    prop_assert!((now / 30 - 1..=now / 30 + 1).contains(&step));
                    prop_assert!(!accepted.contains(&step), "{} twice", step);
                    accepted.push(step);
                    last = Some(step);
                }
            }
        }

        /// Whatever the label, there is a URI and a picture of it, and the label cannot speak for the issuer.
        #[test]
        fn any_label_has_a_picture(issuer in "\\PC{1,40}", label in "\\PC{1,300}") {
            let key = Key::from_bytes(RFC_KEY);
            let uri = key.uri(&issuer, &label).unwrap();
            prop_assert!(uri.starts_with("otpauth://totp/"));
            prop_assert_eq!(uri.matches(':').count(), 2);
            prop_assert!(picture(&uri).unwrap().contains("<svg"));
        }
    }

    /// The clock before 1970, or at the end of time.
    #[test]
    fn any_time_has_a_verdict() {
        let key = Key::from_bytes(RFC_KEY);
        for now in [Utc::from_micros(i64::MIN), at(-1), at(0), Utc::from_micros(i64::MAX)] {
            let _ = key.judge(&code("000000"), now, None);
            let _ = key.judge(&code("000000"), now + Duration::from_secs(1), Some(0));
        }
    }
}
