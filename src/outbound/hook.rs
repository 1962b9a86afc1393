//! Hooks: posting notices to their receivers, without being led astray (S44).
//!
//! A name is resolved **once**, by the resolver in here; each of the addresses found must be one that [`Destinations`] admits, and the
//! connection goes to one of exactly these: there is no second look-up that could answer something else. Redirects are not followed, no
//! proxy is taken from the environment, connections are not kept, and of the answer the status alone is looked at. Everything together
//! has five seconds.
//!
//! Posting blocks, so it is done on a thread for blocking work.

use super::Undelivered;
use super::destination::Destinations;
use crate::domain::hook::HookUrl;
use crate::settings;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// From the look-up of the name to the status: no longer.
const TIME: Duration = Duration::from_secs(5);
/// Bytes of an answer's header at most. The body is not read.
const LARGEST_HEADER: usize = 16 * 1024;
/// What an address that is not connected to is reported as.
const BARRED: &str = "an address that usher does not connect to (see hooks.allowed_networks)";

/// A notice ready to be posted.
#[derive(Clone, Debug)]
pub struct Posting {
    /// Where to.
    pub url: HookUrl,
    /// `webhook-id`: the same at every try.
    pub id: String,
    /// `webhook-timestamp`: of this try, in seconds after the Unix epoch.
    pub seconds: i64,
    /// `webhook-signature`.
    pub signatures: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Posts notices. Clones share it.
#[derive(Clone)]
pub struct Poster {
    agent: ureq::Agent,
    destinations: Destinations,
    allow_http: bool,
}

impl Poster {
    /// By the settings, with the names that the system knows.
    ///
    /// # Errors
    /// One line: the file of certificates cannot be used.
    pub fn new(settings: &settings::Hooks) -> Result<Self, String> {
        Self::with_resolver(settings, DefaultResolver::default())
    }

    /// Likewise, with names from elsewhere. What is resolved is judged all the same.
    ///
    /// # Errors
    /// Those of [`Poster::new`].
    pub fn with_resolver(settings: &settings::Hooks, names: impl Resolver) -> Result<Self, String> {
        let destinations = Destinations::new(settings.allowed_networks.clone());
        let roots = match &settings.ca_file {
            file if file.as_os_str().is_empty() => RootCerts::PlatformVerifier,
            file => RootCerts::Specific(Arc::new(read_certificates(file)?)),
        };
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(roots).build();
        let config = Config::builder()
            .http_status_as_error(false)
            .https_only(!settings.allow_http)
            .tls_config(tls)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(0)
            .max_idle_connections_per_host(0)
            .max_response_header_size(LARGEST_HEADER)
            .timeout_global(Some(TIME))
            .user_agent(concat!("usher/", env!("CARGO_PKG_VERSION")))
            .build();
        let resolver = Judged { names, destinations: destinations.clone() };
        let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), resolver);
        Ok(Self { agent, destinations, allow_http: settings.allow_http })
    }

    /// Whether there is any sense in posting to `url`, as far as it tells by itself: what a name leads to is judged at every try.
    ///
    /// # Errors
    /// A text that completes "the value …".
    pub fn check(&self, url: &HookUrl) -> Result<(), &'static str> {
        if !url.is_fit() {
            return Err("is none that this version posts to");
        }
        if !self.allow_http && !url.is_https() {
            return Err("is not https (see hooks.allow_http)");
        }
        if url.address().is_some_and(|address| !self.destinations.admit(address)) {
            return Err("names an address that usher does not connect to (see hooks.allowed_networks)");
        }
        Ok(())
    }

    /// Posts a notice.
    pub fn post(&self, posting: Posting) -> BoxFuture<'static, Result<(), Undelivered>> {
        let poster = self.clone();
        let posted = tokio::task::spawn_blocking(move || poster.try_post(posting));
        async move { posted.await.unwrap_or_else(|_| Err(Undelivered::Yet("posting broke off".to_owned()))) }.boxed()
    }

    fn try_post(&self, posting: Posting) -> Result<(), Undelivered> {
        let Posting { url, id, seconds, signatures, body } = posting;
        self.check(&url).map_err(|flaw| Undelivered::Yet(format!("the URL {flaw}")))?;
        let request = self
            .agent
            .post(url.as_str())
            .content_type("application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", signatures);
        let answer = request.send(body.as_slice()).map_err(|e| Undelivered::Yet(cause_of(&e)))?;
        match answer.status().as_u16() {
            200..=299 => Ok(()),
            410 => Err(Undelivered::Gone("answered 410: the receiver wants nothing any more".to_owned())),
            status => Err(Undelivered::Yet(format!("answered {status}"))),
        }
    }
}

impl fmt::Debug for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Poster")
    }
}

/// The certificates of a file.
fn read_certificates(file: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let fail = |cause: String| format!("setting hooks.ca_file: {}: {cause}", file.display());
    let pem = std::fs::read(file).map_err(|e| fail(e.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|e| fail(e.to_string()))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() { Err(fail("has no certificate in PEM".to_owned())) } else { Ok(certificates) }
}

/// Resolves names, and judges what they lead to.
#[derive(Debug)]
struct Judged<R> {
    names: R,
    destinations: Destinations,
}

impl<R: Resolver> Resolver for Judged<R> {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.names.resolve(uri, config, timeout)?;
        // One bad address is enough: a name that also leads inside is not to be trusted outside.
        if found.iter().all(|address| self.destinations.admit(address.ip())) {
            Ok(found)
        } else {
            Err(ureq::Error::Io(io::Error::new(ErrorKind::PermissionDenied, BARRED)))
        }
    }
}

/// A failure in one line: nothing of what the receiver sent.
fn cause_of(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "did not answer within 5 s".to_owned(),
        ureq::Error::HostNotFound => "its name leads nowhere".to_owned(),
        ureq::Error::Io(e) if e.kind() == ErrorKind::PermissionDenied && e.to_string() == BARRED => format!("it is at {BARRED}"),
        ureq::Error::Io(e) => format!("cannot be reached: {}", e.kind()),
        ureq::Error::Protocol(_) => "did not answer in HTTP".to_owned(),
        ureq::Error::LargeResponseHeader(..) => "answered with a header of more than 16 KiB".to_owned(),
        ureq::Error::NativeTls(e) => format!("cannot be reached: {e}"),
        // What is left may repeat the URL.
        _ => "cannot be reached".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Answers each look-up with the next of its answers, and counts them.
    #[derive(Debug, Clone)]
    struct Script(Arc<(Mutex<Vec<Vec<SocketAddr>>>, AtomicUsize)>);

    impl Script {
        fn of(answers: &[&[SocketAddr]]) -> Self {
            Self(Arc::new((Mutex::new(answers.iter().map(|a| a.to_vec()).collect()), AtomicUsize::new(0))))
        }

        fn asked(&self) -> usize {
            self.0.1.load(Ordering::SeqCst)
        }
    }

    impl Resolver for Script {
        fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
            self.0.1.fetch_add(1, Ordering::SeqCst);
            let mut found = self.empty();
            self.0.0.lock().unwrap().remove(0).into_iter().for_each(|address| found.push(address));
            Ok(found)
        }
    }

    fn settings(allowed: &[&str]) -> settings::Hooks {
        let allowed_networks = allowed.iter().map(|n| n.parse().unwrap()).collect();
        settings::Hooks { allow_http: true, allowed_networks, ca_file: Default::default(), max_waiting: 1 }
    }

    fn posting(url: &str) -> Posting {
        let url = HookUrl::parse(url.to_owned()).unwrap();
        Posting { url, id: "m".into(), seconds: 1, signatures: "v1,x".into(), body: b"{}".to_vec() }
    }

    /// A server that answers 204 to everyone and tells how many came.
    fn server(address: &str) -> (SocketAddr, Arc<AtomicUsize>) {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind(address).unwrap();
        let (bound, came) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&came);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n");
            }
        });
        (bound, came)
    }

    /// S44, R19: DNS rebinding. The name first leads to where it may, and to the machine itself ever after: one look-up for each post, and
    /// the connection goes to the address that was judged.
    #[test]
    fn a_name_that_changes_its_mind() {
        let (good, came) = server("127.0.0.2:0");
        let inside = SocketAddr::new("127.0.0.1".parse().unwrap(), good.port());
        let (_, came_inside) = server(&inside.to_string());
        let names = Script::of(&[&[good], &[inside], &[good, inside], &[inside, good]]);
        let poster = Poster::with_resolver(&settings(&["127.0.0.2/32"]), names.clone()).unwrap();
        let url = format!("http://rebind.example:{}/x", good.port());
        assert_eq!(poster.try_post(posting(&url)), Ok(()));
        assert_eq!((names.asked(), came.load(Ordering::SeqCst)), (1, 1));
        for asked in 2..=4 {
            let refused = poster.try_post(posting(&url)).unwrap_err();
            assert_eq!(refused, Undelivered::Yet(format!("it is at {BARRED}")));
            assert_eq!(names.asked(), asked);
        }
        assert_eq!((came.load(Ordering::SeqCst), came_inside.load(Ordering::SeqCst)), (1, 0));
    }

    /// S44, R19: every spelling of an address that a resolver understands is judged as the address that it is.
    #[test]
    fn spellings_of_the_machine_itself() {
        let (bound, came) = server("127.0.0.1:0");
        let poster = Poster::new(&settings(&[])).unwrap();
        for host in [
            "127.0.0.1",
            "localhost",
            "127.1",
            "0x7f.1",
            "2130706433",
            "0177.0.0.1",
            "0.0.0.0",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::]",
        ] {
            let refused = poster.try_post(posting(&format!("http://{host}:{}/", bound.port())));
            assert!(matches!(refused, Err(Undelivered::Yet(_))), "{host}: {refused:?}");
        }
        assert_eq!(came.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn http_takes_a_setting() {
        let poster = Poster::new(&settings::Hooks { allow_http: false, ..settings(&["127.0.0.0/8"]) }).unwrap();
        let refused = poster.try_post(posting("http://127.0.0.1:1024/")).unwrap_err();
        assert_eq!(refused, Undelivered::Yet("the URL is not https (see hooks.allow_http)".to_owned()));
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let with = |path: &Path| settings::Hooks { ca_file: path.to_path_buf(), ..settings(&[]) };
        for path in [file.path(), Path::new("/nowhere/ca.pem")] {
            assert!(Poster::new(&with(path)).unwrap_err().starts_with("setting hooks.ca_file: "));
        }
    }
}
