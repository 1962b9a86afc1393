//! What a hook is: a receiver of account events, known by the URL that notices are posted to.
//!
//! Receivers verify what they get as the *Standard Webhooks* specification (1.0) has it: `webhook-id`, `webhook-timestamp` and the body,
//! joined by dots, bear an HMAC-SHA256 under a secret that only the two know. After a secret was renewed, notices bear two signatures
//! for a while, so that a receiver can take up the new one without a gap.

use super::account_event::EventType;
use super::ids::{HookId, HookSecretId};
use super::secret::{HookSecret, Sealed, Seat};
use super::text::Name;
use super::time::Utc;
use super::words::Stored;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use serde::{Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

mod schema {
    #![expect(missing_docs, reason = "the columns are documented where they become fields")]

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        hooks (hook_id) {
            hook_id -> sql::Uuid,
            name -> Text,
            name_key -> Text,
            url -> Text,
            event_types -> Nullable<Text>,
            is_active -> Bool,
            missed_since -> Nullable<sql::Instant>,
            created_time -> sql::Instant,
        }
    }

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        hook_secrets (hook_secret_id) {
            hook_secret_id -> sql::Uuid,
            hook_id -> sql::Uuid,
            sealed -> Binary,
            data_key_id -> sql::Uuid,
            created_time -> sql::Instant,
            valid_to -> Nullable<sql::Instant>,
        }
    }
}
pub use schema::{hook_secrets, hooks};

/// Hooks at most: each change is written once for every hook that listens.
pub const MOST_HOOKS: usize = 32;

/// How long notices also bear the signature of the secret before the present one.
pub const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);

/// A hook as the database holds it.
#[derive(Clone, Debug, diesel::Queryable, diesel::Insertable)]
#[diesel(table_name = hooks, treat_none_as_default_value = false)]
pub struct Hook {
    /// Its id.
    pub hook_id: HookId,
    /// Its name; unique without regard to case.
    pub name: Name,
    /// The name's key.
    pub name_key: String,
    /// Where notices go.
    pub url: HookUrl,
    /// What it is told of; `None` is everything.
    pub event_types: Option<EventTypes>,
    /// Whether it is told anything.
    pub is_active: bool,
    /// Since when events are left out, because too many wait.
    pub missed_since: Option<Utc>,
    /// When it was made.
    pub created_time: Utc,
}

impl Hook {
    /// Whether it is told of this.
    pub fn listens_to(&self, kind: EventType) -> bool {
        self.event_types.as_ref().is_none_or(|types| types.iter().any(|t| t == kind))
    }

    /// As super-users see it: never with its secret.
    pub fn view(&self) -> HookView {
        HookView {
            hook_id: self.hook_id,
            name: self.name.clone(),
            url: self.url.clone(),
            event_types: self.event_types.as_ref().map(|types| types.words().collect()),
            is_active: self.is_active,
            missed_since: self.missed_since,
            created_time: self.created_time,
        }
    }
}

/// A hook as super-users see it.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct HookView {
    /// Its id.
    pub hook_id: HookId,
    /// Its name.
    pub name: Name,
    /// Where notices go.
    pub url: HookUrl,
    /// What it is told of; null is everything, also what comes to be told later.
    #[schemars(transform = Stored::<EventType>::tell_words)]
    pub event_types: Option<Vec<Stored<EventType>>>,
    /// Whether it is told anything.
    pub is_active: bool,
    /// Since when events are left out, because too many wait; null: none are.
    pub missed_since: Option<Utc>,
    /// When it was made.
    pub created_time: Utc,
}

/// A secret of a hook as the database holds it.
#[derive(Clone, Debug, diesel::Queryable, diesel::Insertable)]
#[diesel(table_name = hook_secrets, treat_none_as_default_value = false)]
pub struct KeptSecret {
    /// Its id.
    pub hook_secret_id: HookSecretId,
    /// Whose it is.
    pub hook_id: HookId,
    /// The secret, encrypted.
    pub sealed: Sealed,
    /// The data key that it is encrypted under.
    pub data_key_id: super::ids::DataKeyId,
    /// When it was made.
    pub created_time: Utc,
    /// Until when notices bear its signature; `None` for the present one.
    pub valid_to: Option<Utc>,
}

impl KeptSecret {
    /// The place that a secret is bound to.
    pub fn seat(hook_id: HookId, hook_secret_id: HookSecretId) -> Seat {
        Seat { table: "hook_secrets", owner: *hook_id.as_bytes(), row: *hook_secret_id.as_bytes() }
    }
}

/// A list of what a hook is told of: the words with spaces between, in the order of their declaration, each once. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, FromSqlRow, AsExpression)]
#[diesel(sql_type = diesel::sql_types::Text)]
pub struct EventTypes(String);

impl EventTypes {
    /// A list of these; `None` if there are none.
    pub fn of(types: &[EventType]) -> Option<Self> {
        let words: Vec<&str> = EventType::ALL.iter().filter(|t| types.contains(t)).map(|t| t.as_str()).collect();
        (!words.is_empty()).then(|| Self(words.join(" ")))
    }

    /// From the database's text. A word that is not known stands for nothing, and is shown.
    pub fn from_text(text: String) -> Self {
        Self(text)
    }

    /// As the database keeps it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands in it.
    pub fn words(&self) -> impl Iterator<Item = Stored<EventType>> {
        self.0.split(' ').map(|word| Stored::of(word.into()))
    }

    /// What it lists that this program knows.
    pub fn iter(&self) -> impl Iterator<Item = EventType> {
        self.0.split(' ').filter_map(|word| word.parse().ok())
    }
}

/// The longest URL of a hook, in bytes.
const LONGEST: usize = 2048;

/// A URL that notices may be posted to. What is accepted is a small part of RFC 3986 (`http` or `https`, a host, perhaps a port, a path
/// and a query), so that no two readers of it can disagree on the host: no user information, no fragment, nothing that would have to be
/// escaped.
#[derive(Clone, PartialEq, Eq, FromSqlRow, AsExpression)]
#[diesel(sql_type = diesel::sql_types::Text)]
pub struct HookUrl(String);

impl HookUrl {
    /// What is stored: it was judged when it was written, perhaps by other rules. [`HookUrl::is_fit`] is asked before it is used.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// Whether it is one that this program posts to.
    pub fn is_fit(&self) -> bool {
        Self::parse(self.0.clone()).is_ok()
    }

    /// Reads a URL.
    ///
    /// # Errors
    /// A text that completes "the value …".
    pub fn parse(text: String) -> Result<Self, &'static str> {
        if text.len() > LONGEST {
            return Err("is longer than 2048 bytes");
        }
        let (_, rest) = split_scheme(&text).ok_or("begins with neither https:// nor http://")?;
        if rest.contains('#') {
            return Err("has a fragment");
        }
        if !rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/?[]".contains(&b)) {
            return Err("has characters that do not belong into a URL");
        }
        let mut escapes = rest.split('%').skip(1);
        if !escapes.all(|escape| escape.get(..2).is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))) {
            return Err("has a percent sign without two hex digits");
        }
        let (authority, tail) = split_authority(rest);
        if tail.contains(['[', ']']) {
            return Err("has characters that do not belong into a URL");
        }
        if authority.contains('@') {
            return Err("has user information, which would be sent along");
        }
        let (host, port) = split_port(authority).ok_or("has no host, or one that cannot be one")?;
        if !is_host(host) {
            return Err("has no host, or one that cannot be one");
        }
        if !port.is_none_or(is_port) {
            return Err("has a port other than 80, 443 and 1024 to 65535");
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is reached through TLS.
    pub fn is_https(&self) -> bool {
        self.0.starts_with(HTTPS)
    }

    /// The address that the URL names in place of a host's name, if it does.
    pub fn address(&self) -> Option<IpAddr> {
        let (_, rest) = split_scheme(&self.0)?;
        let (host, _) = split_port(split_authority(rest).0)?;
        host.trim_matches(['[', ']']).parse().ok()
    }
}

const HTTPS: &str = "https://";

fn split_scheme(text: &str) -> Option<(&str, &str)> {
    [HTTPS, "http://"].into_iter().find_map(|scheme| text.strip_prefix(scheme).map(|rest| (scheme, rest)))
}

/// The authority, and what stands behind it.
fn split_authority(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()))
}

/// Host and port, the host of an IPv6 address in its brackets; `None` if the brackets are not right.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if authority.starts_with('[') {
        let (host, port) = authority.split_at(authority.find(']')? + 1);
        return match port {
            "" => Some((host, None)),
            _ => port.strip_prefix(':').map(|port| (host, Some(port))),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

/// A name of letters, digits, hyphens and underscores in parts between dots, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let is_part =
        |part: &str| (1..=63).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    host.len() <= 253 && host.split('.').all(is_part)
}

/// Below 1024 are services that a request could be smuggled into; one number has one spelling.
fn is_port(port: &str) -> bool {
    let is_number = !port.starts_with('0') && port.bytes().all(|b| b.is_ascii_digit());
    is_number && port.parse::<u16>().is_ok_and(|p| p == 80 || p == 443 || p >= 1024)
}

impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for HookUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl schemars::JsonSchema for HookUrl {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HookUrl".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": "uri", "maxLength": LONGEST})
    }
}

/// The signature of a notice, sent at `seconds` after the Unix epoch, by one secret.
pub fn signature(secret: &HookSecret, id: &str, seconds: i64, body: &[u8]) -> String {
    let signed = [format!("{id}.{seconds}.").as_bytes(), body].concat();
    format!("v1,{}", STANDARD.encode(secret.key().mac(&signed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<HookUrl, &'static str> {
        HookUrl::parse(text.to_owned())
    }

    #[test]
    fn urls_that_are_accepted() {
        for text in [
            "https://example.com",
            "https://example.com/",
            "https://example.com:8443/a/b?c=d&e=%20",
            "https://example.com?x",
            "http://a_b.example:80/",
            "https://192.0.2.1/",
            "https://[2001:db8::1]:1024/x",
            "https://user/@b",
        ] {
            assert_eq!(parse(text).map(|url| url.to_string()), Ok(text.to_owned()));
        }
        assert!(parse("https://example.com").unwrap().is_https() && !parse("http://example.com").unwrap().is_https());
        assert_eq!(parse("https://[::1]:8080/").unwrap().address(), Some("::1".parse().unwrap()));
        assert_eq!(parse("https://10.0.0.1").unwrap().address(), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(parse("https://example.com").unwrap().address(), None);
    }

    /// S44: no user information, no other scheme, no port of another service, nothing that readers could read differently.
    #[test]
    fn urls_that_are_refused() {
        for text in [
            "",
            "example.com",
            "ftp://example.com",
            "HTTPS://example.com",
            "https:/example.com",
            "https:///x",
            "https://",
            "https://?x",
            "https://user@example.com/",
            "https://user:pw@example.com/",
            "https://example.com:pw@10.0.0.1/",
            "https://example.com#x",
            "https://example.com/#x",
            "https://example.com\\@10.0.0.1/",
            "https://exa mple.com",
            "https://example.com/a b",
            "https://example.com/\u{e4}",
            "https://ex\u{e4}mple.com/",
            "https://example.com/\r\nx: y",
            "https://example.com:0/",
            "https://example.com:22/",
            "https://example.com:0443/",
            "https://example.com:65536/",
            "https://example.com:/",
            "https://example.com:+443/",
            "https://example.com:443:443/",
            "https://example..com/",
            "https://.example.com/",
            "https://example.com./",
            "https://exa%6dple.com/",
            "https://[::1/",
            "https://[::1]x/",
            "https://[fe80::1%25eth0]/",
            "https://[example.com]/",
            "https://example.com/%zz",
            "https://example.com/%4",
            "https://example.com/[x]",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(HookUrl::parse(format!("https://example.com/{}", "x".repeat(2048))).is_err());
    }

    /// Texts that are URLs, or nearly so: each part right or wrong by itself.
    fn nearly_a_url() -> impl Strategy<Value = String> {
        let scheme = prop_oneof![4 => Just("https://"), 2 => Just("http://"), 1 => Just("https:/"), 1 => Just("HTTPS://")];
        let user = prop_oneof![8 => Just(""), 1 => Just("user@"), 1 => Just("user:pw@")];
        let host = prop_oneof![6 => "[a-z0-9_-]{1,8}(\\.[a-z0-9-]{1,8}){0,2}", 2 => "\\[[0-9a-f:]{2,12}\\]", 2 => "[0-9]{1,3}(\\.[0-9]{1,3}){3}", 1 => ".{0,6}"];
        let port =
            prop_oneof![4 => Just(String::new()), 3 => (1u32..70_000).prop_map(|p| format!(":{p}")), 1 => ":[0-9a-z+]{0,3}"];
        let tail = prop_oneof![2 => Just(String::new()), 4 => "[/?]([a-zA-Z0-9._~!$&'()*+,;=:@/?-]|%[0-9a-f]{2}){0,20}", 1 => "[/?#\\\\][ -~]{0,10}"];
        (scheme, user, host, port, tail).prop_map(|(scheme, user, host, port, tail)| format!("{scheme}{user}{host}{port}{tail}"))
    }

    proptest! {
        /// S44: another reader of a URL that is accepted finds the same scheme, host and port in it.
        #[test]
        fn another_reader_agrees(text in nearly_a_url()) {
            if let Ok(url) = parse(&text) {
                let read: ureq::http::Uri = text.parse().unwrap();
                let (host, port) = split_port(split_authority(split_scheme(&text).unwrap().1).0).unwrap();
                prop_assert_eq!(read.host(), Some(host));
                prop_assert_eq!(read.port_u16().map(|p| p.to_string()), port.map(str::to_owned));
                prop_assert_eq!(read.scheme_str(), Some(if url.is_https() { "https" } else { "http" }));
                prop_assert!(!text.contains(['@', '\\', '#', ' ']) || read.path_and_query().unwrap().as_str().contains('@'));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            if let Ok(url) = parse(&text) {
                prop_assert_eq!(url.as_str(), text);
            }
        }

        #[test]
        fn lists_hold_what_they_were_made_of(types in prop::collection::vec(prop::sample::select(EventType::ALL), 0..8)) {
            let listed: Vec<EventType> = EventTypes::of(&types).iter().flat_map(EventTypes::iter).collect();
            prop_assert!(types.iter().all(|t| listed.contains(t)) && listed.iter().all(|t| types.contains(t)));
        }

        /// A signature holds for exactly its id, time, body and secret.
        #[test]
        fn signatures_bind(id in "[a-z0-9-]{1,36}", seconds in 0i64..1 << 40, body in any::<Vec<u8>>(), at in any::<prop::sample::Index>()) {
            let (secret, other) = (HookSecret::from_bytes(&[1; 32]).unwrap(), HookSecret::from_bytes(&[2; 32]).unwrap());
            let signed = signature(&secret, &id, seconds, &body);
            prop_assert_ne!(&signature(&other, &id, seconds, &body), &signed);
            prop_assert_ne!(&signature(&secret, &id, seconds + 1, &body), &signed);
            prop_assert_ne!(&signature(&secret, &format!("{id}x"), seconds, &body), &signed);
            if !body.is_empty() {
                let mut altered = body.clone();
                altered[at.index(body.len())] ^= 1;
                prop_assert_ne!(&signature(&secret, &id, seconds, &altered), &signed);
            }
        }
    }

    /// The example of the Standard Webhooks specification. Its secret is shorter; HMAC fills keys up with zeros (RFC 2104, section 2).
    #[test]
    fn the_example_of_the_specification() {
        let mut key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        key.resize(32, 0);
        let secret = HookSecret::from_bytes(&key).unwrap();
        let signed = signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
