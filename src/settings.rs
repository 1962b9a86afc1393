//! Settings: the compiled-in default file < files, in their order < the environment. `config/default.toml` documents each.
//!
//! Unknown keys, wrong types and values out of range stop the start with one line that names the key and where it came from.

use figment::Figment;
use figment::providers::{Env, Format as _, Toml};
use figment::value::{Dict, Value};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The default file.
const DEFAULT: &str = include_str!("../config/default.toml");
/// The variable that names settings files, with colons between.
const FILE_VARIABLE: &str = "USHER_CONFIG";
/// Characters of an issuer at most: what an authenticator can show, and a picture holds with a label beside it.
pub const LONGEST_ISSUER: usize = 32;
/// The variable by which programs are told where traces go; it counts for less than usher's own settings.
const COLLECTOR_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Variables that begin so are settings.
const PREFIX: &str = "USHER__";

/// Every setting.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each is documented in config/default.toml, the one place for it")]
pub struct Settings {
    pub server: Server,
    pub database: Database,
    pub secrets: Secrets,
    pub bootstrap: Bootstrap,
    pub sign_in: SignIn,
    pub sessions: Sessions,
    pub passwords: Passwords,
    pub totp: Totp,
    pub lockout: Lockout,
    pub api_keys: ApiKeys,
    pub hooks: Hooks,
    pub tokens: Tokens,
    pub mail: Mail,
    pub links: Links,
    pub dialects: Dialects,
    pub connect: Connect,
    pub zato_parity: ZatoParity,
    pub ecm_parity: EcmParity,
    pub audit: Audit,
    pub metrics: Metrics,
    pub traces: Traces,
    pub log: Log,
}

macro_rules! sections {
    ($($(#[doc = $doc:literal])* $name:ident { $($key:ident: $ty:ty),* $(,)? })*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Deserialize, Serialize)]
        #[serde(deny_unknown_fields)]
        #[expect(missing_docs, reason = "each is documented in config/default.toml, the one place for it")]
        pub struct $name { $(pub $key: $ty,)* }
    )*};
}

sections! {
    /// `[server]`
    Server {
        listen: SocketAddr,
        workers: usize,
        trusted_proxies: Vec<IpNet>,
        max_connections: usize,
        max_connections_per_address: usize,
        keep_alive_seconds: u32,
        shutdown_seconds: u64,
    }
    /// `[database]`
    Database { url: String, readers: u32, least_free_mib: u64 }
    /// `[secrets]`
    Secrets { file: PathBuf }
    /// `[bootstrap]`
    Bootstrap { username: String, password_file: PathBuf }
    /// `[sign_in]`
    SignIn { second_factor: SecondFactor }
    /// `[sessions]`
    Sessions { idle_seconds: u32, absolute_seconds: u32 }
    /// `[passwords]`
    Passwords {
        min_length: usize,
        min_length_with_totp: usize,
        expire_after_days: u32,
        notice_days: u32,
        hash_memory_kib: u32,
        hash_passes: u32,
        hash_threads: usize,
    }
    /// `[totp]`
    Totp { issuer: String }
    /// `[lockout]`
    Lockout {
        account_free: u32,
        first_delay_seconds: u32,
        longest_delay_seconds: u32,
        lock_after: u32,
        address_free: u32,
        address_window_seconds: u32,
    }
    /// `[api_keys]`
    ApiKeys { default_days: u32, longest_days: u32 }
    /// `[hooks]`
    Hooks { allow_http: bool, allowed_networks: Vec<IpNet>, ca_file: PathBuf, max_waiting: u32 }
    /// `[tokens]`
    Tokens { issuer: String, seconds: u32, key_days: u32 }
    /// `[mail]`
    Mail {
        transport: MailTransport,
        from: String,
        language: String,
        templates: PathBuf,
        folder: PathBuf,
        host: String,
        port: u16,
        tls: MailTls,
        ca_file: PathBuf,
        username: String,
        password_file: PathBuf,
        timeout_seconds: u32,
    }
    /// `[links]`
    Links {
        base_url: String,
        confirm_path: String,
        password_path: String,
        forgot_path: String,
        sign_up_seconds: u32,
        set_password_seconds: u32,
        reset_seconds: u32,
        reset_key_seconds: u32,
        asking_free: u32,
        asking_window_seconds: u32,
        mailbox_free: u32,
    }
    /// `[dialects]`
    Dialects { zato: bool, connect: bool, ecm: bool }
    /// `[connect]`
    Connect { open_user_list: bool, default_user_role: DefaultRole, version: String }
    /// `[audit]`
    Audit { keep_months: u32, own_reads: OwnReads, mark_file: PathBuf, refusals_free: u32, user_bytes_per_hour: u64 }
    /// `[traces]`
    Traces {
        otlp_endpoint: String,
    }
    /// `[metrics]`
    Metrics { listen: String }
    /// `[log]`
    Log { filter: String, format: LogFormat }
}

macro_rules! switches {
    ($(#[doc = $doc:literal])* $section:literal $name:ident { $($key:ident),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(deny_unknown_fields)]
        #[expect(missing_docs, reason = "each is documented in config/default.toml, the one place for it")]
        pub struct $name { $(pub $key: bool,)* }

        impl $name {
            /// The switches that are off their safe value, which is false, by their full names.
            pub fn deviations(&self) -> Vec<&'static str> {
                let switches = [$((self.$key, concat!($section, ".", stringify!($key)))),*];
                switches.into_iter().filter(|(is_on, _)| *is_on).map(|(_, name)| name).collect()
            }
        }
    };
}

switches! {
    /// `[zato_parity]`: what clients of Zato SSO may rely on and is less safe than what usher does of itself. Each holds in that dialect alone.
    "zato_parity" ZatoParity {
        totp_code_reuse,
        totp_without_code,
        sessions_survive_password,
        sessions_stay_fresh,
        any_email,
        users_rename_themselves,
        immediate_sign_up,
        sign_up_everywhere,
        lenient_lockout,
    }
}

switches! {
    /// `[ecm_parity]`: what clients of the ECM may rely on and is less safe than what usher does of itself. Each holds in that dialect alone.
    "ecm_parity" EcmParity {
        sessions_stay_fresh,
    }
}

/// The role of an account that is created without one. Nobody becomes an administrator for want of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultRole {
    /// A viewer.
    Viewer,
    /// A publisher.
    Publisher,
}

/// Of whom a second factor is demanded, whatever the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecondFactor {
    /// Of those who have one.
    Optional,
    /// Of super-users as well.
    Administrators,
    /// Of everyone.
    Everyone,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A JSON object for each line.
    Json,
    /// Words for people.
    Text,
}

/// When a call that only looks at its own caller is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnReads {
    /// Once its audit event is durable, as every other call.
    Durable,
    /// Once its audit event is queued: a crash may lose the events of the last moment.
    Buffered,
}

/// By which way mail goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTransport {
    /// None: nothing is sent, and what needs a link is refused.
    Off,
    /// To a server.
    Smtp,
    /// Into a folder, for development.
    Folder,
}

/// How the connection to the mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// Not at all.
    None,
    /// From `STARTTLS` on (RFC 3207); a server that does not offer it is not used.
    Starttls,
    /// From the beginning (RFC 8314).
    Tls,
}

impl Sessions {
    /// After this much time a session ends unless it is renewed.
    pub fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds.into())
    }

    /// After this much time a session ends whatever happens.
    pub fn absolute(&self) -> Duration {
        Duration::from_secs(self.absolute_seconds.into())
    }
}

impl Tokens {
    /// An issuer is an https URL without query and fragment (RFC 8414, section 2), as verifiers compare it: letter by letter.
    fn check_issuer(&self) -> Result<(), &'static str> {
        if self.issuer.is_empty() {
            return Ok(());
        }
        let rest = self.issuer.strip_prefix("https://").ok_or("does not begin with https://")?;
        let host = rest.split('/').next().unwrap_or_default();
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/[]".contains(&b);
        if host.is_empty() || self.issuer.len() > 255 || !rest.bytes().all(is_plain) {
            return Err("is no https URL of a host and perhaps a path, without query and fragment");
        }
        Ok(())
    }
}

impl Metrics {
    /// Where metrics are served; `None`: nowhere.
    ///
    /// # Errors
    /// It is no address with a port.
    pub fn address(&self) -> Result<Option<SocketAddr>, String> {
        if self.listen.is_empty() {
            return Ok(None);
        }
        let parsed = self.listen.parse().map_err(|_| format!("{:?} is neither empty nor an address and a port", self.listen));
        parsed.map(Some)
    }
}

impl Passwords {
    /// After this much time a password expires; `None`: never by itself.
    pub fn life(&self) -> Option<Duration> {
        (self.expire_after_days > 0).then(|| days(self.expire_after_days))
    }

    /// What ends within this much time is told at sign-in.
    pub fn notice(&self) -> Duration {
        days(self.notice_days)
    }
}

fn days(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * 24 * 60 * 60)
}

/// One setting in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// `section.key`.
    pub key: String,
    /// Its value, secrets blanked.
    pub value: serde_json::Value,
    /// `default`, a file's path, or `environment`.
    pub source: String,
}

/// The files that are given, or those that the variable names, with colons between as in `PATH`.
fn named_files<P: AsRef<Path>>(files: impl IntoIterator<Item = P>) -> Vec<PathBuf> {
    let given: Vec<PathBuf> = files.into_iter().map(|file| file.as_ref().to_path_buf()).collect();
    if !given.is_empty() {
        return given;
    }
    std::env::var_os(FILE_VARIABLE).map(|named| std::env::split_paths(&named).collect()).unwrap_or_default()
}

fn figment(files: &[PathBuf]) -> Result<Figment, String> {
    let collector = Env::raw().only(&[COLLECTOR_VARIABLE]).map(|_| "traces.otlp_endpoint".into());
    let mut figment = Figment::from(Toml::string(DEFAULT)).merge(collector);
    for file in files {
        if !file.is_file() {
            return Err(format!("the settings file {} cannot be read", file.display()));
        }
        figment = figment.merge(Toml::file_exact(file));
    }
    Ok(figment.merge(Env::prefixed(PREFIX).split("__")))
}

/// Reads the settings in force: of the files each wins over those before it.
///
/// # Errors
/// One line that names the key, the cause and the source.
pub fn load<P: AsRef<Path>>(files: impl IntoIterator<Item = P>) -> Result<Settings, String> {
    extract(&figment(&named_files(files))?)
}

/// The settings that the text of a settings file makes, by itself; for the fuzz targets in `fuzz/`.
#[doc(hidden)]
pub fn parse(text: &str) -> Result<Settings, String> {
    extract(&Figment::from(Toml::string(DEFAULT)).merge(Toml::string(text)))
}

fn extract(figment: &Figment) -> Result<Settings, String> {
    let settings: Settings = figment.extract_lossy().map_err(|e| e.into_iter().map(explain).collect::<Vec<_>>().join("; "))?;
    settings.check().map_err(|(key, flaw)| format!("setting {key} ({}): {flaw}", source(figment, key)))?;
    Ok(settings)
}

/// Every setting in force with its source, in the order of the default file.
///
/// # Errors
/// Those of [`load`].
pub fn lines<P: AsRef<Path>>(files: impl IntoIterator<Item = P>) -> Result<Vec<Line>, String> {
    let figment = figment(&named_files(files))?;
    let settings = extract(&figment)?;
    let mut lines = Vec::new();
    let tree = serde_json::to_value(&settings).map_err(|e| e.to_string())?;
    for (section, keys) in tree.as_object().into_iter().flatten() {
        for (name, value) in keys.as_object().into_iter().flatten() {
            let key = format!("{section}.{name}");
            let value = if key == "database.url" { blank_password(value) } else { value.clone() };
            lines.push(Line { source: source(&figment, &key), key, value });
        }
    }
    Ok(lines)
}

fn source(figment: &Figment, key: &str) -> String {
    match figment.find_metadata(key) {
        Some(metadata) if metadata.name.contains("environment") => "environment".to_owned(),
        Some(metadata) => match &metadata.source {
            Some(figment::Source::File(path)) => path.display().to_string(),
            _ => "default".to_owned(),
        },
        None => "default".to_owned(),
    }
}

fn explain(error: figment::Error) -> String {
    let mut key = error.path.join(".");
    let cause = match &error.kind {
        figment::error::Kind::UnknownField(field, known) => {
            key = if key.is_empty() {
                field.clone()
            } else if key.ends_with(field.as_str()) {
                key
            } else {
                format!("{key}.{field}")
            };
            format!("there is no such setting; known here are {}", known.join(", "))
        }
        kind => kind.to_string(),
    };
    let source = match &error.metadata {
        Some(metadata) if metadata.name.contains("environment") => "environment".to_owned(),
        Some(metadata) => match &metadata.source {
            Some(figment::Source::File(path)) => path.display().to_string(),
            _ => "default".to_owned(),
        },
        None => "default".to_owned(),
    };
    let cause = cause.split('\n').map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ");
    if key.is_empty() { format!("the settings file {source}: {cause}") } else { format!("setting {key} ({source}): {cause}") }
}

/// How those of libpq's parameters end that are secrets themselves.
const SECRETS: [&str; 4] = ["password", "secret", "client_key", "server_key"];

/// The URL with its password replaced.
fn blank_password(url: &serde_json::Value) -> serde_json::Value {
    // From the first colon of what stands before the last @, whatever characters the password has.
    let blank = |text: &str| -> Option<String> {
        let (before, host) = text.rsplit_once('@')?;
        let start = before.find("://").map_or(0, |at| at + 3);
        let colon = start + before.get(start..)?.find(':')?;
        Some(format!("{}:***@{host}", before.get(..colon)?))
    };
    let text = url.as_str().unwrap_or_default();
    let text = blank(text).unwrap_or_else(|| text.to_owned());
    // libpq takes passwords among the parameters as well.
    let Some((before, parameters)) = text.split_once('?') else { return text.into() };
    let blank = |parameter: &str| match parameter.split_once('=') {
        // The name itself may be written with percent signs.
        Some((name, _)) if name.contains('%') || SECRETS.iter().any(|end| name.to_lowercase().ends_with(end)) => {
            format!("{name}=***")
        }
        _ => parameter.to_owned(),
    };
    format!("{before}?{}", parameters.split('&').map(blank).collect::<Vec<_>>().join("&")).into()
}

impl Settings {
    fn check(&self) -> Result<(), (&'static str, String)> {
        let at_least = |key, value: u64, floor: u64| {
            if value < floor { Err((key, format!("{value} is less than {floor}"))) } else { Ok(()) }
        };
        let at_most = |key, value: u64, ceiling: u64| {
            if value > ceiling { Err((key, format!("{value} is more than {ceiling}"))) } else { Ok(()) }
        };
        at_least("server.keep_alive_seconds", self.server.keep_alive_seconds.into(), 1)?;
        at_least("passwords.hash_memory_kib", self.passwords.hash_memory_kib.into(), 19_456)?;
        at_least("passwords.hash_passes", self.passwords.hash_passes.into(), 2)?;
        at_least("passwords.min_length", self.passwords.min_length as u64, 8)?;
        at_least("passwords.min_length_with_totp", self.passwords.min_length_with_totp as u64, 8)?;
        at_least("sessions.idle_seconds", self.sessions.idle_seconds.into(), 1)?;
        at_least("sessions.absolute_seconds", self.sessions.absolute_seconds.into(), 1)?;
        at_least("lockout.account_free", self.lockout.account_free.into(), 1)?;
        at_least("lockout.lock_after", self.lockout.lock_after.into(), 1)?;
        at_least("lockout.address_free", self.lockout.address_free.into(), 1)?;
        at_least("database.readers", self.database.readers.into(), 1)?;
        at_least("api_keys.default_days", self.api_keys.default_days.into(), 1)?;
        at_most("api_keys.longest_days", self.api_keys.longest_days.into(), 36_500)?;
        at_least("api_keys.longest_days", self.api_keys.longest_days.into(), self.api_keys.default_days.into())?;
        at_least("hooks.max_waiting", self.hooks.max_waiting.into(), 1)?;
        at_least("tokens.seconds", self.tokens.seconds.into(), 1)?;
        at_least("tokens.key_days", self.tokens.key_days.into(), 1)?;
        if self.tokens.seconds > 300 {
            return Err((
                "tokens.seconds",
                format!("{} is more than 300: nothing ends a token before its time", self.tokens.seconds),
            ));
        }
        self.tokens.check_issuer().map_err(|flaw| ("tokens.issuer", flaw.to_owned()))?;
        at_least("links.sign_up_seconds", self.links.sign_up_seconds.into(), 60)?;
        at_least("links.set_password_seconds", self.links.set_password_seconds.into(), 60)?;
        at_least("links.reset_seconds", self.links.reset_seconds.into(), 60)?;
        at_least("links.reset_key_seconds", self.links.reset_key_seconds.into(), 60)?;
        at_least("links.asking_free", self.links.asking_free.into(), 1)?;
        at_least("links.mailbox_free", self.links.mailbox_free.into(), 1)?;
        at_most("links.sign_up_seconds", self.links.sign_up_seconds.into(), 7 * 24 * 60 * 60)?;
        at_most("links.set_password_seconds", self.links.set_password_seconds.into(), 7 * 24 * 60 * 60)?;
        at_most("links.reset_seconds", self.links.reset_seconds.into(), 24 * 60 * 60)?;
        at_most("links.reset_key_seconds", self.links.reset_key_seconds.into(), 60 * 60)?;
        self.mail.check()?;
        self.metrics.address().map_err(|flaw| ("metrics.listen", flaw))?;
        if self.passwords.hash_memory_kib > 1 << 20 {
            return Err(("passwords.hash_memory_kib", "is more than 1 GiB".to_owned()));
        }
        for (key, days) in [
            ("passwords.expire_after_days", self.passwords.expire_after_days),
            ("passwords.notice_days", self.passwords.notice_days),
        ] {
            if days > 36_500 {
                return Err((key, format!("{days} is more than 100 years")));
            }
        }
        let issuer = &self.totp.issuer;
        let is_line = !issuer.trim().is_empty() && !issuer.contains(|c: char| c == ':' || c.is_control());
        if !is_line || issuer.chars().count() > LONGEST_ISSUER {
            return Err(("totp.issuer", format!("{issuer:?} is not 1 to {LONGEST_ISSUER} characters without a colon")));
        }
        if self.passwords.min_length > 64 {
            return Err(("passwords.min_length", "is more than the 64 characters that must be accepted".to_owned()));
        }
        Ok(())
    }
}

impl Mail {
    fn check(&self) -> Result<(), (&'static str, String)> {
        let needed = |key, is_there: bool, what: &str| {
            if is_there { Ok(()) } else { Err((key, format!("is empty, but mail.transport is {what}"))) }
        };
        match self.transport {
            MailTransport::Off => {}
            MailTransport::Folder => {
                needed("mail.folder", !self.folder.as_os_str().is_empty(), "folder")?;
                needed("mail.from", !self.from.is_empty(), "folder")?;
            }
            MailTransport::Smtp => {
                needed("mail.host", !self.host.is_empty(), "smtp")?;
                needed("mail.from", !self.from.is_empty(), "smtp")?;
            }
        }
        let has_password = !self.password_file.as_os_str().is_empty();
        if self.username.is_empty() && has_password {
            return Err(("mail.username", "is empty, but mail.password_file is given".to_owned()));
        }
        if !self.username.is_empty() && !has_password {
            return Err(("mail.password_file", "is empty, but mail.username is given".to_owned()));
        }
        if !self.username.is_empty() && self.tls == MailTls::None {
            return Err(("mail.tls", "is none, which would send the password in clear".to_owned()));
        }
        // A message must be delivered or given back before its lease has run out: a minute.
        if !(1..=45).contains(&self.timeout_seconds) {
            return Err(("mail.timeout_seconds", format!("{} is not between 1 and 45", self.timeout_seconds)));
        }
        Ok(())
    }
}

/// The keys of the default file, for the documentation's test.
pub fn documented_keys() -> Vec<String> {
    let sections: Result<Dict, _> = Figment::from(Toml::string(DEFAULT)).extract();
    let mut keys = Vec::new();
    for (section, value) in sections.unwrap_or_default() {
        if let Value::Dict(_, dict) = value {
            keys.extend(dict.keys().map(|key| format!("{section}.{key}")));
        }
    }
    keys
}

#[cfg(test)]
mod tests;
