//! `usher config …`

use super::{Common, Outcome, output};
use crate::settings;
use clap::Subcommand;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Show the settings in force, secrets blanked, with where each came from.
    Show,
}

pub(super) fn execute(common: &Common, command: &Command) -> Outcome {
    match command {
        Command::Show => {
            let lines = settings::lines(&common.config)?;
            if common.json {
                return output::json(&serde_json::json!({ "items": lines }));
            }
            lines.iter().try_for_each(|l| output::line(&format!("{} = {}  # {}", l.key, l.value, l.source)))
        }
    }
}
