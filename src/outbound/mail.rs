//! Mail: letters as messages, by SMTP (RFC 5321) or into a folder.
//!
//! A message is put into words when it is sent, with the templates of that moment. It has a text and an HTML alternative, and the id of
//! the outbox in its `Message-ID`, so that a second copy of one is known for what it is. What a server says is not kept: it may repeat
//! addresses, or a link that its filter took exception to; the codes of its replies are.

use super::templates::{Templates, Worded};
use super::{Carrier, Undelivered};
use crate::domain::ids::MessageId;
use crate::domain::letter::{Letter, Unread};
use crate::domain::text::Email;
use crate::settings::{Mail as MailSettings, MailTls, MailTransport};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use lettre::address::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The way by which mail goes.
pub struct Mail {
    way: Way,
    from: Mailbox,
    templates: Arc<Templates>,
    timeout: Duration,
}

#[derive(Clone)]
enum Way {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Folder(PathBuf),
}

impl Mail {
    /// The way that the settings tell; `None` if there is to be no mail. `site` is what people know the service by.
    ///
    /// # Errors
    /// One line that names the setting at fault.
    pub fn open(settings: &MailSettings, site: Option<&str>) -> Result<Option<Self>, String> {
        if settings.transport == MailTransport::Off {
            return Ok(None);
        }
        let from: Mailbox =
            settings.from.parse().map_err(|_| "setting mail.from: it is no e-mail address, nor \"NAME <ADDRESS>\"")?;
        let own = Some(settings.templates.as_path()).filter(|folder| !folder.as_os_str().is_empty());
        let site = site.unwrap_or_else(|| from.email.domain()).to_owned();
        let templates = Templates::load(own, site).map_err(|flaw| format!("setting mail.templates: {flaw}"))?;
        let way = match settings.transport {
            MailTransport::Folder => Way::Folder(folder(&settings.folder)?),
            MailTransport::Smtp | MailTransport::Off => Way::Smtp(smtp(settings, from.email.domain())?),
        };
        let timeout = Duration::from_secs(settings.timeout_seconds.into());
        Ok(Some(Self { way, from, templates: Arc::new(templates), timeout }))
    }

    fn message(&self, message_id: MessageId, content: &[u8]) -> Result<Message, Undelivered> {
        let letter = Letter::from_content(content).map_err(|unread| match unread {
            Unread::Foreign(what) => Undelivered::Foreign(format!("it is of a kind that this program does not know: {what}")),
            Unread::Broken => Undelivered::Ever("the message cannot be read".to_owned()),
        })?;
        let Worded { subject, text, html } = self.templates.word(&letter).map_err(Undelivered::Yet)?;
        // What can be written as an attribute need not be what mail can be sent to.
        let unfit = |_| Undelivered::Ever("the receiver's address is none that mail can be sent to".to_owned());
        let to: Address = letter.to.as_str().parse().map_err(unfit)?;
        let date = std::time::UNIX_EPOCH + Duration::from_micros(u64::try_from(letter.time.micros()).unwrap_or(0));
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .date(date)
            .message_id(Some(format!("<{message_id}@{}>", self.from.email.domain())))
            .raw_header(HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned()))
            .raw_header(HeaderValue::new(CONTENT_LANGUAGE, letter.language.as_str().to_owned()))
            .subject(subject)
            .multipart(MultiPart::alternative_plain_html(text, html))
            .map_err(|e| Undelivered::Ever(format!("the message cannot be put together: {e}")))
    }
}

/// Whether mail can be sent to an address; not every text that can be stored as one is one.
pub fn can_be_mailed(address: &Email) -> bool {
    address.as_str().parse::<Address>().is_ok()
}

/// No machine is to answer (RFC 3834, section 5).
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");
const CONTENT_LANGUAGE: HeaderName = HeaderName::new_from_ascii_str("Content-Language");

impl Carrier for Mail {
    fn carry(&self, message_id: MessageId, content: Vec<u8>) -> BoxFuture<'static, Result<(), Undelivered>> {
        let message = self.message(message_id, &content);
        let (way, timeout) = (self.way.clone(), self.timeout);
        async move {
            let message = message?;
            match way {
                Way::Folder(folder) => {
                    let writing = tokio::task::spawn_blocking(move || write(&folder, message_id, &message.formatted()));
                    match writing.await {
                        Ok(written) => written.map_err(|e| Undelivered::Yet(format!("the mail folder: {e}"))),
                        Err(_) => Err(Undelivered::Yet("the mail folder: writing broke off".to_owned())),
                    }
                }
                // The time is for all of it: a server that says a word now and then must not hold a message beyond its lease.
                Way::Smtp(server) => match tokio::time::timeout(timeout, server.send(message)).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(judge(&error)),
                    Err(_) => Err(Undelivered::Yet(format!("the mail server did not finish within {} s", timeout.as_secs()))),
                },
            }
        }
        .boxed()
    }
}

/// Whether another try can succeed. A server that will not talk to us, or does not know who we are, is no fault of the message: someone
/// will mend that. Only what it says of this very message or receiver is final.
fn judge(error: &lettre::transport::smtp::Error) -> Undelivered {
    let Some(code) = error.status() else {
        let what = match error {
            e if e.is_timeout() => "the mail server did not answer in time",
            e if e.is_response() => "the mail server's reply cannot be understood",
            e if e.is_client() => "the mail server does not offer what is needed",
            _ => "no connection to the mail server, or none that can be trusted",
        };
        // Without a reply, the causes are the system's and the library's words.
        let mut deepest = std::error::Error::source(error).filter(|_| !error.is_response());
        while let Some(cause) = deepest.and_then(std::error::Error::source) {
            deepest = Some(cause);
        }
        let cause = deepest.map(|cause| format!(": {cause}")).unwrap_or_default();
        return Undelivered::Yet(format!("{what}{cause}"));
    };
    let cause = format!("the mail server said {code}");
    if error.is_permanent() && is_about_message(u16::from(code)) { Undelivered::Ever(cause) } else { Undelivered::Yet(cause) }
}

/// Of the permanent codes (RFC 5321, section 4.2.3; RFC 4954, section 6) those that are about receiver or content.
fn is_about_message(code: u16) -> bool {
    matches!(code, 550..=556)
}

fn smtp(settings: &MailSettings, own_domain: &str) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(settings.host.clone())
        .port(settings.port)
        .hello_name(ClientId::Domain(own_domain.to_owned()))
        .timeout(Some(Duration::from_secs(settings.timeout_seconds.into())))
        .tls(match settings.tls {
            MailTls::None => Tls::None,
            MailTls::Starttls => Tls::Required(tls(settings)?),
            MailTls::Tls => Tls::Wrapper(tls(settings)?),
        });
    if !settings.username.is_empty() {
        let path = &settings.password_file;
        let password =
            fs::read_to_string(path).map_err(|e| format!("setting mail.password_file: cannot read {}: {e}", path.display()))?;
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        builder = builder.credentials(Credentials::new(settings.username.clone(), password));
    }
    Ok(builder.build())
}

fn tls(settings: &MailSettings) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    let path = &settings.ca_file;
    if !path.as_os_str().is_empty() {
        let flaw = |e: &dyn std::fmt::Display| format!("setting mail.ca_file: cannot read {}: {e}", path.display());
        let pem = fs::read_to_string(path).map_err(|e| flaw(&e))?;
        const END: &str = "-----END CERTIFICATE-----";
        let mut count = 0;
        for certificate in pem.split_inclusive(END).filter(|part| part.contains(END)) {
            let certificate = Certificate::from_pem(certificate.trim().as_bytes()).map_err(|e| flaw(&e))?;
            builder = builder.add_root_certificate(certificate);
            count += 1;
        }
        if count == 0 {
            return Err(flaw(&"it has no certificate in PEM form"));
        }
        // Who names an authority means that one, not also those of the system.
        builder = builder.certificate_store(CertificateStore::None);
    }
    builder.build().map_err(|e| format!("setting mail.tls: {e}"))
}

fn folder(path: &Path) -> Result<PathBuf, String> {
    fs::create_dir_all(path).map_err(|e| format!("setting mail.folder: cannot make {}: {e}", path.display()))?;
    Ok(path.to_owned())
}

/// Writes a message in one step, readable by its owner alone. One that was written before is written anew: it is the same.
fn write(folder: &Path, message_id: MessageId, message: &[u8]) -> std::io::Result<()> {
    let (part, whole) = (folder.join(format!(".{message_id}.part")), folder.join(format!("{message_id}.eml")));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(message)?;
    file.sync_all()?;
    fs::rename(part, whole)
}
