//! `usher serve`

use super::log::Log;
use super::{Common, Exit, Outcome, output};
use crate::app::{self, Migrate};
use crate::domain::chance::Entropy;
use crate::domain::ids::UserId;
use crate::domain::secret::Password;
use crate::domain::time::Clock;
use crate::service::Services;
use crate::settings::Settings;
use actix_web::rt::signal::unix::{SignalKind, signal};
use serde_json::json;
use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

pub(super) async fn serve(common: &Common) -> Outcome {
    let settings = &common.settings()?;
    // Kept to the end, whatever that is: what it has gathered is written then.
    let log = Log::start(&settings.log).map_err(Exit::Refused)?;
    let services = app::open(settings, Migrate::Always, Clock::system(), Entropy::system())?;
    let first = first_start(settings, &services).await?;
    let running = match app::start(settings, &services) {
        Ok(running) => running,
        Err(refused) => {
            // The account is made all the same, and its password is told this once.
            match &first {
                Some(first) if common.json => output::json(&greeting(Some(first), None))?,
                Some(first) => introduce(first)?,
                None => {}
            }
            return Err(refused.into());
        }
    };
    // Whoever reads that it listens finds in the log what was said before.
    log.flush();
    if common.json {
        output::json(&greeting(first.as_ref(), Some(running.address)))?;
    } else {
        output::line(&format!("usher {} listens on http://{}", env!("CARGO_PKG_VERSION"), running.address))?;
        if let Some(first) = first {
            welcome(&first, running.address)?;
        }
    }
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let handle = running.handle.clone();
    actix_web::rt::spawn(async move {
        if let (Ok(terminate), Ok(interrupt)) = (&mut terminate, &mut interrupt) {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!("stopping");
            handle.stop(true).await;
        }
    });
    running.server.await.map_err(|e| Exit::Refused(format!("the server failed: {e}")))?;
    services.close();
    tracing::info!("stopped");
    Ok(())
}

fn bootstrap_password(settings: &Settings) -> Result<Option<Password>, Exit> {
    let path = &settings.bootstrap.password_file;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = fs::read_to_string(path)
        .map_err(|e| Exit::Refused(format!("setting bootstrap.password_file: cannot read {}: {e}", path.display())))?;
    Ok(Some(Password::new(text.trim_end_matches(['\r', '\n']).to_owned())))
}

/// The super-user that a first start made.
struct First {
    username: String,
    user_id: UserId,
    told: Told,
}

/// How its password is told, once.
enum Told {
    /// It was given.
    NotAtAll,
    /// On the terminal.
    Here(Password),
    /// In a file, where standard output is no terminal.
    InFile(PathBuf),
}

/// Makes the first super-user on an empty database. Its password is in its file before there is an account that it opens.
async fn first_start(settings: &Settings, services: &Services) -> Result<Option<First>, Exit> {
    let given = bootstrap_password(settings)?;
    if !services.is_first_start().await? {
        return Ok(None);
    }
    let (password, told) = match given {
        Some(password) => (password, Told::NotAtAll),
        None => {
            let password = services.generate_password();
            let told = if io::stdout().is_terminal() {
                Told::Here(password.clone())
            } else {
                Told::InFile(write_password(settings, &password)?)
            };
            (password, told)
        }
    };
    let username = settings.bootstrap.username.clone();
    let made = services.first_start(&username, password).await;
    if let (Ok(None) | Err(_), Told::InFile(path)) = (&made, &told) {
        // It opens nothing.
        let _ = fs::remove_file(path);
    }
    Ok(made?.map(|user_id| First { username, user_id, told }))
}

/// What a start tells, for programs; without an address if it came to nothing in the end.
fn greeting(first: Option<&First>, address: Option<SocketAddr>) -> serde_json::Value {
    let super_user = first.map(|First { username, user_id, told }| {
        let (password, file) = match told {
            Told::NotAtAll => (None, None),
            Told::Here(password) => (Some(password.expose()), None),
            Told::InFile(path) => (None, Some(path)),
        };
        json!({"username": username, "user_id": user_id, "password": password, "password_file": file})
    });
    json!({"version": env!("CARGO_PKG_VERSION"), "url": address.map(|at| format!("http://{at}")), "first_super_user": super_user})
}

/// Tells of the first super-user.
fn introduce(First { username, told, .. }: &First) -> Outcome {
    output::line(&match told {
        Told::NotAtAll => format!("The super-user {username} was made with the password of bootstrap.password_file."),
        Told::Here(password) => {
            format!("\nThe super-user {username} was made. Its password is told this once:\n\n    {}\n", password.expose())
        }
        Told::InFile(path) => format!("\nThe super-user {username} was made. Its password is in {}\n", path.display()),
    })
}

/// Tells of the first super-user, with three lines to paste where its password is not the operator's own.
fn welcome(first: &First, address: SocketAddr) -> Outcome {
    introduce(first)?;
    let name = &first.username;
    let sent = match &first.told {
        Told::NotAtAll => return Ok(()),
        Told::Here(password) => password.expose().to_owned(),
        Told::InFile(path) => format!("'\"$(cat {})\"'", path.display()),
    };
    let base = format!("http://{address}/api/v1");
    output::line("Sign in, see who you are, look a user up:\n")?;
    output::line(&format!(
        "UST=$(curl -s {base}/sessions -H 'Content-Type: application/json' -d '{{\"username\":\"{name}\",\"password\":\"{sent}\"}}' | sed 's/.*\"ust\":\"\\([^\"]*\\)\".*/\\1/')"
    ))?;
    output::line(&format!("curl -s {base}/users/me -H \"Authorization: Bearer $UST\""))?;
    output::line(&format!("curl -s {base}/users/{} -H \"Authorization: Bearer $UST\"", first.user_id))?;
    output::line("")
}

/// Writes the password into a new file beside the database, readable by its owner alone.
fn write_password(settings: &Settings, password: &Password) -> Result<PathBuf, Exit> {
    let location = app::location(settings)?;
    let folder = location.file().and_then(Path::parent).unwrap_or(Path::new(""));
    let mut number = 1;
    loop {
        let name = if number == 1 { "usher-first-password".to_owned() } else { format!("usher-first-password-{number}") };
        let path = folder.join(name);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                let written = file.write_all(password.expose().as_bytes()).and_then(|()| file.sync_all());
                written.map_err(|e| Exit::Refused(format!("cannot write {}: {e}", path.display())))?;
                return Ok(std::path::absolute(&path).unwrap_or(path));
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(e) => return Err(Exit::Refused(format!("cannot make {}: {e}", path.display()))),
        }
    }
}
