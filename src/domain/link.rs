//! Links that are mailed or handed over: each lets whoever has it do one thing, once, for a while.
//!
//! A link leads to a page and bears a token in its fragment (RFC 3986, section 3.5), which browsers send to no server: it stands in no
//! log and no `Referer`. Where it leads is told by [`BaseUrl`], which comes from the settings and from nowhere else: what a request says
//! about its host has no effect (S42). Of a token the database has the SHA-256; using it removes the row, so it works once.

use super::ids::UserId;
use super::row_mac::RowMac;
use super::secret::TokenHash;
use super::time::Utc;
use super::words;
use std::fmt;
use zeroize::Zeroizing;

mod schema {
    #![expect(missing_docs, reason = "the columns are documented where they become fields")]

    diesel::table! {
        use crate::domain::sql;
        use diesel::sql_types::*;

        links (token_hash) {
            token_hash -> Binary,
            purpose -> Text,
            user_id -> sql::Uuid,
            created_time -> sql::Instant,
            expiry -> sql::Instant,
            mac -> Binary,
        }
    }
}
pub use schema::links;

words::kept_words! {
    /// What a link lets its bearer do.
    LinkPurpose {
        /// Confirm a sign-up.
        ConfirmSignUp = "confirm_sign_up",
        /// Get a key that sets a password: the bearer asked for it.
        ResetPassword = "reset_password",
        /// Get a key that sets a password: a super-user asked for it.
        SetPassword = "set_password",
        /// Set a password: the key itself.
        ResetKey = "reset_key",
    }
}

/// A link as the database holds it.
#[derive(Clone, Debug, diesel::Queryable, diesel::Insertable)]
#[diesel(table_name = links, treat_none_as_default_value = false)]
pub struct Link {
    /// The SHA-256 of its token.
    pub token_hash: TokenHash,
    /// What it lets its bearer do.
    pub purpose: LinkPurpose,
    /// On whose account.
    pub user_id: UserId,
    /// When it was made.
    pub created_time: Utc,
    /// From when on it is good for nothing.
    pub expiry: Utc,
    /// What binds it to the key file.
    pub mac: RowMac,
}

impl Link {
    /// Whether it can still be used for `purpose`. Judged at use, never by a sweep.
    pub fn is_good(&self, purpose: LinkPurpose, now: Utc) -> bool {
        self.purpose == purpose && now < self.expiry
    }
}

/// A whole link with its token: as good as the token itself.
pub struct LinkUrl(Zeroizing<String>);

impl LinkUrl {
    /// From a message of the outbox.
    pub fn new(url: String) -> Self {
        Self(Zeroizing::new(url))
    }

    /// The clear text, for the one it is meant for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LinkUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkUrl")
    }
}

/// Where the service is to be found from outside: scheme, host, perhaps a port and a path; no slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// Reads `https://host[:port][/path]`, or the same with `http`.
    ///
    /// # Errors
    /// A text that completes "it …".
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let rest = rest.ok_or("begins with neither https:// nor http://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            // Within the brackets of an IPv6 address, colons separate nothing.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let is_name = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
        let is_ipv6 =
            host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).is_some_and(|h| h.parse::<std::net::Ipv6Addr>().is_ok());
        if !is_name && !is_ipv6 {
            return Err("names no host (write one of another script in its xn-- form)");
        }
        if port.is_some_and(|port| !port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().is_err()) {
            return Err("has no port number after the host's colon");
        }
        is_path(path)?;
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }

    /// The whole URL of a path below it.
    pub fn at(&self, path: &PagePath) -> String {
        format!("{}{}", self.0, path.0)
    }

    /// The host, with its port if there is one: what people know the service by.
    pub fn host(&self) -> &str {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().unwrap_or(rest)
    }
}

/// A page's path, below the base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagePath(String);

impl PagePath {
    /// Reads a path that begins with a slash.
    ///
    /// # Errors
    /// A text that completes "it …".
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if !text.starts_with('/') || text.starts_with("//") {
            return Err("does not begin with a single slash");
        }
        is_path(text)?;
        Ok(Self(text.to_owned()))
    }
}

/// Characters of a path (RFC 3986, section 3.3); neither a query nor a fragment, whose place is the token's.
fn is_path(text: &str) -> Result<(), &'static str> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&b);
    if text.bytes().all(fits) { Ok(()) } else { Err("has a query, a fragment or characters that a path cannot have") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base_urls() {
        let at = |text: &str| BaseUrl::parse(text).map(|base| base.at(&PagePath::parse("/account/confirm").unwrap()));
        assert_eq!(at("https://id.example.org"), Ok("https://id.example.org/account/confirm".to_owned()));
        assert_eq!(at("https://id.example.org/sso/"), Ok("https://id.example.org/sso/account/confirm".to_owned()));
        assert_eq!(at("http://[::1]:8080"), Ok("http://[::1]:8080/account/confirm".to_owned()));
        for wrong in [
            "",
            "id.example.org",
            "//id.example.org",
            "ftp://id.example.org",
            "https://",
            "https:///path",
            "https://a@b.example",
            "https://h:",
            "https://h:port",
            "https://h:99999",
            "https://h?x=1",
            "https://h/#x",
            "https://h/a b",
            "https://h\n",
            "https://h\\evil",
            "javascript:alert(1)",
            "https://[::1",
            "https://münchen.example",
        ] {
            assert!(BaseUrl::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            BaseUrl::parse("https://id.example.org:8443/sso").map(|b| b.host().to_owned()),
            Ok("id.example.org:8443".to_owned())
        );
    }

    proptest! {
        /// S42: whatever is accepted has one host, and nothing that would end the URL or begin its fragment.
        #[test]
        fn what_is_accepted_is_a_plain_url(text in "(https?://)?[a-z0-9./:@?#\\\\ \\[\\]%-]{0,30}", path in "/?[a-z/?#. %:@-]{0,20}") {
            if let (Ok(base), Ok(path)) = (BaseUrl::parse(&text), PagePath::parse(&path)) {
                let url = base.at(&path);
                prop_assert!(!url.contains(['?', '#', ' ', '\\']));
                prop_assert!(!base.host().is_empty() && !base.host().contains('@'));
                let after = url.split_once("://").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
                prop_assert!(after.starts_with(base.host()));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            let _ = (BaseUrl::parse(&text), PagePath::parse(&text));
        }
    }
}
