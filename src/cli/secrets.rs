//! `usher secrets …`

use super::{Common, Outcome, output};
use crate::app;
use crate::auth::keys::Keys;
use crate::domain::audit::Action;
use crate::domain::chance::Entropy;
use crate::service::{Rotated, RotatedKeys, SuperUser};
use clap::Subcommand;
use serde_json::json;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Write a new key file where the settings say; never over an existing one.
    Init,
    /// Make a fresh data key, encrypt every secret in the database anew under it, and remove keys that are no longer needed. The
    /// service may run meanwhile.
    Rotate,
    /// Make a fresh key that signs tokens. It signs an hour from now, so that verifiers come to know it first.
    RotateSigning {
        /// It signs at once, and all other keys are gone at once: for when one has leaked. Tokens that they signed are good no longer.
        #[arg(long)]
        now: bool,
    },
    /// Make a fresh key that signs the heads of the audit trail, at once. Those of before stay published.
    RotateAuditKey,
}

pub(super) async fn execute(common: &Common, command: &Command) -> Outcome {
    match command {
        Command::Init => {
            let path = app::key_file(&common.settings()?)?;
            Keys::init(&path, &Entropy::system())?;
            if common.json {
                return output::json(&json!({ "file": path }));
            }
            output::line(&path.display().to_string())
        }
        Command::Rotate => {
            let rotate = |root: SuperUser| async move { root.rotate_data_keys().await };
            let Rotated { data_key_id, resealed, dropped } = common.act(Action::SecretsRotate, rotate).await?;
            if common.json {
                return output::json(&json!({ "data_key_id": data_key_id, "resealed": resealed, "dropped": dropped }));
            }
            output::line(&format!("{data_key_id} is active; {resealed} secrets encrypted anew, {dropped} keys removed"))
        }
        Command::RotateAuditKey => {
            let rotate = |root: SuperUser| async move { root.rotate_audit_key().await };
            let kid = common.act(Action::AuditKeyRotate, rotate).await?;
            if common.json {
                return output::json(&json!({ "kid": kid }));
            }
            output::line(&format!("{kid} signs the heads of the audit trail"))
        }
        Command::RotateSigning { now } => {
            let at_once = *now;
            let rotate = |root: SuperUser| async move { root.rotate_signing_keys(at_once).await };
            let RotatedKeys { signing_key_id, signs_from, removed } = common.act(Action::SigningKeysRotate, rotate).await?;
            if common.json {
                return output::json(&json!({ "signing_key_id": signing_key_id, "signs_from": signs_from, "removed": removed }));
            }
            output::line(&format!("{signing_key_id} signs from {signs_from}; {removed} keys removed"))
        }
    }
}
