//! A Posit Connect server whose users and groups are read, to move them here: by its own API, or from the answers of its API that someone
//! has saved.
//!
//! Only an operator's command reads, from where the operator says; nothing in a running service does. Redirects are not followed, so that
//! the key goes to the server that it was given for. Reading blocks.

use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use zeroize::Zeroizing;

/// An answer takes no longer.
const TIME: Duration = Duration::from_secs(60);
/// Bytes of an answer at most: a page of users has some 200 kB.
const LARGEST_ANSWER: u64 = 32 * 1024 * 1024;
/// Items asked for at a time: the most that Connect gives.
const PAGE: u32 = 500;

/// Where users and groups are read.
pub enum Origin {
    /// A server.
    Server {
        /// What asks it.
        agent: ureq::Agent,
        /// The URL of its API, without a slash at the end.
        api: String,
        /// The value of the header that proves who asks.
        authorization: Zeroizing<String>,
    },
    /// A folder with saved answers.
    Saved(PathBuf),
}

/// A list that Connect gives in pages.
#[derive(Clone, Copy, Debug)]
pub enum List<'a> {
    /// All users.
    Users,
    /// All groups.
    Groups,
    /// The members of the group of this guid.
    Members(&'a str),
}

#[derive(Deserialize)]
struct Page {
    results: Vec<Value>,
    total: u64,
}

/// How far a list was read.
#[derive(Debug)]
pub struct Place<'a> {
    list: List<'a>,
    number: u32,
    seen: u64,
    last: Option<Value>,
    has_ended: bool,
}

impl<'a> Place<'a> {
    /// At its beginning.
    pub fn first(list: List<'a>) -> Self {
        Self { list, number: 1, seen: 0, last: None, has_ended: false }
    }
}

impl List<'_> {
    /// The path below the API's URL.
    fn path(self) -> String {
        match self {
            Self::Users => "v1/users".to_owned(),
            Self::Groups => "v1/groups".to_owned(),
            Self::Members(guid) => format!("v1/groups/{guid}/members"),
        }
    }

    /// What the names of saved answers begin with.
    fn stem(self) -> String {
        match self {
            Self::Users => "users".to_owned(),
            Self::Groups => "groups".to_owned(),
            Self::Members(guid) => format!("members-{guid}"),
        }
    }
}

impl Origin {
    /// A server at this URL, which may name its API, asked with this API key.
    pub fn server(url: &str, key: &str) -> Self {
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(RootCerts::PlatformVerifier).build();
        let config = ureq::config::Config::builder()
            .http_status_as_error(false)
            .tls_config(tls)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(TIME))
            .user_agent(concat!("usher/", env!("CARGO_PKG_VERSION")))
            .build();
        let url = url.trim_end_matches('/');
        let api = if url.contains("__api__") { url.to_owned() } else { format!("{url}/__api__") };
        Self::Server { agent: config.into(), api, authorization: Zeroizing::new(format!("Key {key}")) }
    }

    /// The next page of a list; empty at its end.
    ///
    /// # Errors
    /// One line: an answer cannot be had, or is not what Connect answers.
    pub fn next_page(&self, place: &mut Place<'_>) -> Result<Vec<Value>, String> {
        if place.has_ended {
            return Ok(Vec::new());
        }
        let Page { mut results, total } = self.page(place.list, place.number)?;
        // Whoever answers the same page for ever would keep us for ever.
        if place.last.as_ref() == results.last() {
            results.clear();
        }
        place.number += 1;
        place.seen += results.len() as u64;
        place.last = results.last().cloned();
        place.has_ended = results.is_empty() || place.seen >= total;
        Ok(results)
    }

    /// A list to its end.
    ///
    /// # Errors
    /// As of each page.
    pub fn all(&self, list: List<'_>) -> Result<Vec<Value>, String> {
        let (mut place, mut items) = (Place::first(list), Vec::new());
        loop {
            let page = self.next_page(&mut place)?;
            if page.is_empty() {
                return Ok(items);
            }
            items.extend(page);
        }
    }

    fn page(&self, list: List<'_>, number: u32) -> Result<Page, String> {
        let (text, whence) = match self {
            Self::Saved(folder) => {
                let file = folder.join(format!("{}-{number}.json", list.stem()));
                let whence = file.display().to_string();
                match std::fs::read(&file) {
                    Ok(text) => (text, whence),
                    // The last page was full.
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound && number > 1 => {
                        return Ok(Page { results: Vec::new(), total: 0 });
                    }
                    Err(e) => return Err(format!("{whence}: {e}")),
                }
            }
            Self::Server { agent, api, authorization } => {
                let url = format!("{api}/{}?page_number={number}&page_size={PAGE}", list.path());
                let answer = agent.get(&url).header("authorization", authorization.as_str()).call();
                let mut answer = answer.map_err(|e| format!("{url}: {e}"))?;
                let text = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec();
                let text = text.map_err(|e| format!("{url}: {e}"))?;
                let status = answer.status().as_u16();
                if status != 200 {
                    return Err(format!("{url}: answered {status}{}", said(&text)));
                }
                (text, url)
            }
        };
        serde_json::from_slice(&text).map_err(|e| format!("{whence}: is no page of Connect's ({e})"))
    }
}

/// What a refusal of Connect says, if it says anything.
fn said(text: &[u8]) -> String {
    let refusal: Option<Value> = serde_json::from_slice(text).ok();
    let sentence = refusal.as_ref().and_then(|r| r.get("error")).and_then(Value::as_str);
    // It comes from outside and goes to a terminal.
    sentence
        .map(|s| s.chars().filter(|c| !c.is_control()).take(200).collect::<String>())
        .map_or_else(String::new, |s| format!(": {s}"))
}
