//! Settings as the default file, files and the environment give them.

use super::*;

/// The default file is complete and acceptable, and documents every key with a comment of its own.
#[test]
fn the_default_file_is_every_setting() {
    let settings: Settings = Figment::from(Toml::string(DEFAULT)).extract().unwrap();
    settings.check().unwrap();
    let tree = serde_json::to_value(&settings).unwrap();
    let mut in_code: Vec<String> = tree
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(section, keys)| keys.as_object().unwrap().keys().map(move |key| format!("{section}.{key}")))
        .collect();
    in_code.sort();
    let mut documented = documented_keys();
    documented.sort();
    assert_eq!(documented, in_code);
}

proptest::proptest! {
    /// Whatever stands in a settings file, what comes out of it is within its bounds, and what is refused names a key or the file.
    #[test]
    fn any_text_is_settings_or_refused(
        section in "(server|database|sessions|passwords|lockout|log|[a-z]{1,8})",
        key in "(idle_seconds|hash_passes|min_length|url|filter|listen|[a-z_]{1,10})",
        value in "(-?[0-9]{1,12}|\"[^\"\\\\]{0,12}\"|true|\\[\\]|.{0,12})",
    ) {
        match parse(&format!("[{section}]\n{key} = {value}\n")) {
            Ok(settings) => proptest::prop_assert!(settings.check().is_ok()),
            Err(cause) => proptest::prop_assert!(cause.starts_with("setting ") || cause.starts_with("the settings file "), "{}", cause),
        }
    }
}

#[test]
fn passwords_in_urls_are_blanked() {
    let blank = |url: &str| blank_password(&url.into()).as_str().unwrap().to_owned();
    assert_eq!(blank("postgres://u:p@h/d?x=1"), "postgres://u:***@h/d?x=1");
    assert_eq!(blank("postgres://u:p@h1:1,[::1]:2,h3/d?x=1"), "postgres://u:***@h1:1,[::1]:2,h3/d?x=1");
    assert_eq!(
        blank("postgres:///d?host=a,b&pass%77ord=p&scram_client_key=k"),
        "postgres:///d?host=a,b&pass%77ord=***&scram_client_key=***"
    );
    assert_eq!(blank("postgres://u:p@ss@h/d"), "postgres://u:***@h/d");
    assert_eq!(blank("postgres://h/d?password=p&x=1"), "postgres://h/d?password=***&x=1");
    assert_eq!(blank("postgres://u:p/s:s@h/d"), "postgres://u:***@h/d");
    assert_eq!(blank("postgres//u:p@h/d"), "postgres//u:***@h/d");
    assert_eq!(blank("postgres://h/d?sslpassword=a&password=b&c=d"), "postgres://h/d?sslpassword=***&password=***&c=d");
    assert_eq!(blank("sqlite:usher.db"), "sqlite:usher.db");
}
