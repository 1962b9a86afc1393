//! `usher secrets …`

use super::{Common, Outcome, output};
use crate::app;
use crate::auth::keys::Keys;
use crate::domain::chance::Entropy;
use clap::Subcommand;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Write a new key file where the settings say; never over an existing one.
    Init,
}

pub(super) fn execute(common: &Common, command: &Command) -> Outcome {
    match command {
        Command::Init => {
            let path = app::key_file(&common.settings()?)?;
            Keys::init(&path, &Entropy::system())?;
            if common.json {
                return output::json(&serde_json::json!({ "file": path }));
            }
            output::line(&path.display().to_string())
        }
    }
}
