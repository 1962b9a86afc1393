//! Names, e-mail addresses, lines and remarks: what is taken is in its normal form, shows every character it has, and has a stable key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::domain::text::{Email, Line, Name, Note, deceives, fold};

fuzz_target!(|text: &str| {
    if let Ok(name) = Name::try_from(text.to_owned()) {
        assert!(!name.as_str().is_empty() && !name.as_str().chars().any(deceives) && name.as_str().chars().count() <= 128);
        assert_eq!(Name::try_from(name.as_str().to_owned()), Ok(name.clone()));
        assert_eq!(fold(&name.key()), name.key());
    }
    if let Ok(email) = Email::try_from(text.to_owned()) {
        assert!(email.as_str().matches('@').count() == 1 && !email.as_str().chars().any(|c| deceives(c) || c.is_whitespace()));
    }
    if let Ok(line) = Line::try_from(text.to_owned()) {
        assert!(!line.as_str().contains(['\n', '\r', '\0', '\u{2028}', '\u{2029}']) && line.as_str().chars().count() <= 256);
    }
    if let Ok(note) = Note::try_from(text.to_owned()) {
        assert!(!note.as_str().chars().any(|c| c != '\n' && c != '\t' && deceives(c)));
    }
});
