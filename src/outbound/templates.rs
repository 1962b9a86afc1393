//! How letters are worded: templates, built in and replaceable.
//!
//! A letter has two: `LANGUAGE/KIND.txt`, whose first line is `Subject: …`, and `LANGUAGE/KIND.html`, in which every value is escaped.
//! An operator's folder may hold either of any kind and language; what it lacks is taken from the built-in ones. All are tried at the
//! start, so that a broken one is found by whoever put it there and not by a person who waits for a mail.

use crate::domain::letter::{Language, Letter, LetterKind};
use crate::domain::link::LinkUrl;
use crate::domain::text::{Email, Name};
use crate::domain::time::Utc;
use minijinja::{Environment, UndefinedBehavior};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What stands before the subject in the first line of a text.
const SUBJECT: &str = "Subject: ";
/// The longest subject, in characters.
const LONGEST_SUBJECT: usize = 200;
/// The largest template of an operator, in bytes.
const LARGEST: u64 = 256 * 1024;

macro_rules! built_in {
    ($($kind:ident: $name:literal),* $(,)?) => {
        /// The built-in template of a letter: its text and its HTML.
        const fn built_in(language: Language, kind: LetterKind) -> (&'static str, &'static str) {
            match (language, kind) {$(
                (Language::English, LetterKind::$kind) => (
                    include_str!(concat!("templates/en/", $name, ".txt")),
                    include_str!(concat!("templates/en/", $name, ".html")),
                ),
                (Language::German, LetterKind::$kind) => (
                    include_str!(concat!("templates/de/", $name, ".txt")),
                    include_str!(concat!("templates/de/", $name, ".html")),
                ),
            )*}
        }
    };
}
built_in! {
    ConfirmSignUp: "confirm_sign_up",
    AccountExists: "account_exists",
    NameTaken: "name_taken",
    Welcome: "welcome",
    SetPassword: "set_password",
    ResetPassword: "reset_password",
    PasswordChanged: "password_changed",
    EmailChanged: "email_changed",
    EmailMoved: "email_moved",
    NameChanged: "name_changed",
    ApiKeyMade: "api_key_made",
    ApiKeyRevoked: "api_key_revoked",
    TotpOn: "totp_on",
    TotpOff: "totp_off",
    RecoveryCodesMade: "recovery_codes_made",
    FactorsReset: "factors_reset",
    SuperUserMade: "super_user_made",
}

/// A letter in words.
#[derive(Debug)]
pub struct Worded {
    /// One line, without any control character.
    pub subject: String,
    /// The text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
}

/// The templates in force.
pub struct Templates {
    environment: Environment<'static>,
    site: String,
}

impl Templates {
    /// Reads an operator's folder, if there is one, and tries every template. `site` is what people know the service by.
    ///
    /// # Errors
    /// One line on the first template that is broken, or on a file of the folder that is no template's.
    pub fn load(folder: Option<&Path>, site: String) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let mut own = match folder {
            Some(folder) => read_folder(folder)?,
            None => BTreeMap::new(),
        };
        for language in Language::ALL {
            for kind in LetterKind::ALL {
                let (text, html) = built_in(*language, *kind);
                let name = |ending: &str| format!("{language}/{kind}.{ending}");
                let text = own.remove(&name("txt")).unwrap_or_else(|| text.to_owned());
                let html = own.remove(&name("html")).unwrap_or_else(|| html.to_owned());
                let (first, body) = text.split_once('\n').unwrap_or((&text, ""));
                let subject = first.trim_end_matches('\r').strip_prefix(SUBJECT);
                let subject =
                    subject.ok_or_else(|| format!("{}: the first line does not begin with {SUBJECT:?}", name("txt")))?;
                let sources = [("subject", subject.trim().to_owned()), ("txt", body.trim_start().to_owned()), ("html", html)];
                for (ending, source) in sources {
                    environment.add_template_owned(name(ending), source).map_err(|e| explain(&e))?;
                }
            }
        }
        if let Some(stray) = own.keys().next() {
            return Err(format!("{stray}: there is no letter or language of this name"));
        }
        let templates = Self { environment, site };
        for language in Language::ALL {
            for kind in LetterKind::ALL {
                templates.word(&sample(*language, *kind))?;
            }
        }
        Ok(templates)
    }

    /// Puts a letter into words.
    ///
    /// # Errors
    /// One line on what is wrong with its template.
    pub fn word(&self, letter: &Letter) -> Result<Worded, String> {
        let Letter { kind, language, username, link, expiry, time, .. } = letter;
        let mut values = BTreeMap::from([("site", self.site.clone()), ("time", spell(*time, *language))]);
        values.extend(username.as_ref().map(|name| ("username", name.to_string())));
        values.extend(link.as_ref().map(|link| ("link", link.expose().to_owned())));
        values.extend(expiry.map(|expiry| ("expiry", spell(expiry, *language))));
        let render = |ending: &str, values: &BTreeMap<&str, String>| {
            let name = format!("{language}/{kind}.{ending}");
            self.environment.get_template(&name).and_then(|t| t.render(values)).map_err(|e| explain(&e))
        };
        let subject = one_line(&render("subject", &values)?);
        if subject.is_empty() {
            return Err(format!("{language}/{kind}.txt: the subject is empty"));
        }
        let text = render("txt", &values)?;
        values.insert("subject", subject.clone());
        Ok(Worded { subject, text, html: render("html", &values)? })
    }
}

/// A header must stay a line, whatever a name or a template has in it.
fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() || c == '\u{2028}' || c == '\u{2029}' { ' ' } else { c }).collect();
    text.trim().chars().take(LONGEST_SUBJECT).collect()
}

/// A time for people, to the minute.
fn spell(time: Utc, language: Language) -> String {
    let text = time.to_string();
    let (date, clock) = text.split_once('T').unwrap_or((&text, ""));
    let clock = clock.get(..5).unwrap_or(clock);
    match language {
        Language::English => format!("{date} {clock} UTC"),
        Language::German => {
            let date: Vec<&str> = date.split('-').rev().collect();
            format!("{}, {clock} Uhr (UTC)", date.join("."))
        }
    }
}

/// A letter of this kind as there could be one, to try its templates with.
fn sample(language: Language, kind: LetterKind) -> Letter {
    let now = Utc::from_micros(1_900_000_000_000_000);
    let name = || Name::try_from("Ann & <Bob>".to_owned()).ok();
    let link = || Some(LinkUrl::new("https://id.example.org/account/confirm#token=sample".to_owned()));
    let (username, link, expiry) = match kind {
        LetterKind::ConfirmSignUp => (None, link(), Some(now)),
        LetterKind::AccountExists => (None, link(), None),
        LetterKind::NameTaken => (None, None, None),
        LetterKind::SetPassword | LetterKind::ResetPassword => (name(), link(), Some(now)),
        LetterKind::Welcome
        | LetterKind::PasswordChanged
        | LetterKind::EmailChanged
        | LetterKind::EmailMoved
        | LetterKind::NameChanged
        | LetterKind::ApiKeyMade
        | LetterKind::ApiKeyRevoked
        | LetterKind::TotpOn
        | LetterKind::TotpOff
        | LetterKind::RecoveryCodesMade
        | LetterKind::FactorsReset
        | LetterKind::SuperUserMade => (name(), None, None),
    };
    Letter { kind, language, to: Email::example(), username, link, expiry, time: now }
}

fn explain(error: &minijinja::Error) -> String {
    let place = match (error.name(), error.line()) {
        (Some(name), Some(line)) => format!("{name}, line {line}: "),
        (Some(name), None) => format!("{name}: "),
        (None, _) => String::new(),
    };
    let what = error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    format!("{place}{what}").replace('\n', " ")
}

/// The templates of a folder: by `LANGUAGE/FILE`.
fn read_folder(folder: &Path) -> Result<BTreeMap<String, String>, String> {
    let unread = |path: &Path, e: std::io::Error| format!("cannot read {}: {e}", path.display());
    let mut found = BTreeMap::new();
    for language in fs::read_dir(folder).map_err(|e| unread(folder, e))? {
        let language = language.map_err(|e| unread(folder, e))?.path();
        let name = language.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Hidden files are the editor's or the system's business.
        if name.starts_with('.') {
            continue;
        }
        if !language.is_dir() {
            return Err(format!("{name}: it is no folder of a language"));
        }
        for file in fs::read_dir(&language).map_err(|e| unread(&language, e))? {
            let path = file.map_err(|e| unread(&language, e))?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if file.starts_with('.') {
                continue;
            }
            if fs::metadata(&path).map_err(|e| unread(&path, e))?.len() > LARGEST {
                return Err(format!("{name}/{file}: it is larger than {LARGEST} bytes"));
            }
            found.insert(format!("{name}/{file}"), fs::read_to_string(&path).map_err(|e| unread(&path, e))?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn templates() -> Templates {
        Templates::load(None, "id.example.org".to_owned()).unwrap()
    }

    /// Every kind in every language: a text and HTML that both have the link, in the letter's language.
    #[test]
    fn the_built_in_templates_are_whole() {
        let templates = templates();
        for language in Language::ALL {
            for kind in LetterKind::ALL {
                let letter = sample(*language, *kind);
                let worded = templates.word(&letter).unwrap();
                assert!(worded.html.contains(&format!("<html lang=\"{language}\">")), "{language}/{kind}");
                assert!(worded.subject.contains("id.example.org"), "{}", worded.subject);
                assert_eq!(worded.text.contains("#token=sample"), letter.link.is_some(), "{language}/{kind}");
                assert_eq!(worded.html.contains("#token=sample"), letter.link.is_some(), "{language}/{kind}");
                assert!(!worded.html.contains("<Bob>") && !worded.text.contains("{{"), "{language}/{kind}");
                // A stranger who names someone's mailbox has no say in what is written there.
                let by_strangers = [LetterKind::ConfirmSignUp, LetterKind::AccountExists, LetterKind::NameTaken];
                assert_eq!(worded.text.contains("Ann & <Bob>"), !by_strangers.contains(kind), "{language}/{kind}");
            }
        }
    }

    proptest! {
        /// Whatever is in a name or a site: the subject is a line, and the HTML has no tag that the template has not.
        #[test]
        fn nothing_is_injected(site in ".{0,40}", evil in "[<>&\"'\r\n\u{2028}a-z:]{0,20}", kind in 0..LetterKind::ALL.len()) {
            let templates = Templates { site: format!("x{site}{evil}"), ..templates() };
            let letter = sample(Language::English, LetterKind::ALL[kind]);
            let worded = templates.word(&letter).unwrap();
            let ends_a_line = |c: char| c.is_control() || c == '\u{2028}';
            prop_assert!(!worded.subject.chars().any(ends_a_line));
            let (before, plain) = (worded.html.matches('<').count(), Templates { site: "x".to_owned(), ..templates });
            prop_assert_eq!(before, plain.word(&letter).unwrap().html.matches('<').count());
        }
    }

    #[test]
    fn times_are_for_people() {
        let time = Utc::parse("2031-05-04T03:02:01Z").unwrap();
        assert_eq!(spell(time, Language::English), "2031-05-04 03:02 UTC");
        assert_eq!(spell(time, Language::German), "04.05.2031, 03:02 Uhr (UTC)");
    }

    #[test]
    fn a_broken_folder_is_told_in_a_line() {
        let broken = |name: &str, text: &str| {
            let folder = tempfile::TempDir::new().unwrap();
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            Templates::load(Some(folder.path()), "x".to_owned()).map(|_| ()).unwrap_err()
        };
        for (name, text, expected) in [
            ("en/welcome.txt", "Hello", "en/welcome.txt: the first line does not begin with \"Subject: \""),
            ("en/welcome.txt", "Subject: {{ site", "en/welcome.subject"),
            ("en/welcome.html", "{{ nonsense }}", "en/welcome.html, line 1: "),
            ("en/name_taken.txt", "Subject: x\n\n{{ username }}", "en/name_taken.txt"),
            ("en/welcom.txt", "Subject: x", "en/welcom.txt: there is no letter"),
            ("fr/welcome.txt", "Subject: x", "fr/welcome.txt: there is no letter"),
            ("en/welcome.txt", "Subject: \n\nx", "en/welcome.txt: the subject is empty"),
            ("stray.txt", "x", "stray.txt: it is no folder"),
        ] {
            let told = broken(name, text);
            assert!(told.starts_with(expected) && !told.contains('\n'), "{told}");
        }
        assert!(Templates::load(Some(Path::new("/nowhere")), "x".to_owned()).is_err());
    }
}
