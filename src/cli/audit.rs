//! `usher audit …`

use super::{Common, Exit, Outcome, act, output};
use crate::domain::audit::Action;
use crate::error::{Code, Error};
use crate::service::{AuditQuery, Finding, Search, SuperUser};
use clap::Subcommand;
use serde_json::json;
use std::cell::RefCell;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Show the events of a call.
    Show {
        /// The call's correlation id.
        #[arg(long)]
        cid: String,
    },
    /// Print every event as a line of JSON, oldest first.
    Export,
    /// Walk the hash chains; exit 1 at the first break, naming it.
    Verify,
}

pub(super) async fn execute(common: &Common, command: Command) -> Outcome {
    match command {
        Command::Show { cid } => show(common, cid).await,
        Command::Export => export(common).await,
        Command::Verify => verify(common).await,
    }
}

async fn show(common: &Common, cid: String) -> Outcome {
    let search = Search { cid: Some(cid), ..Search::default() };
    let query = AuditQuery { search, limit: 500, cursor: None };
    let page = common.act(Action::AuditRead, |root: SuperUser| async move { root.audit_events(query).await }).await?;
    if common.json {
        return output::items(&page.items);
    }
    if page.items.is_empty() {
        return Err(Exit::Refused("there is no event of this correlation id".to_owned()));
    }
    page.items.iter().try_for_each(|event| {
        output::members(event)?;
        output::line("")
    })
}

async fn export(common: &Common) -> Outcome {
    let services = common.services()?;
    let exported = act(&services, Action::AuditExport, |root| async move {
        let mut query = AuditQuery { search: Search::default(), limit: 500, cursor: None };
        loop {
            let page = root.audit_events(query.clone()).await?;
            match (page.items.iter().try_for_each(output::json), page.next_cursor) {
                (Ok(()), Some(cursor)) => query.cursor = Some(cursor),
                (Ok(()), None) | (Err(Exit::EnoughRead), _) => return Ok(()),
                (Err(_), _) => return Err(Error::new(Code::Internal).cause("standard output cannot be written")),
            }
        }
    });
    exported.await?;
    services.close();
    Ok(())
}

async fn verify(common: &Common) -> Outcome {
    // On a trail that is broken the command's own event may not find its place; what was found is told all the same.
    let found = RefCell::new(None);
    let walk = |root: SuperUser| async {
        let root = root;
        found.replace(Some(root.verify_audit().await?));
        Ok(())
    };
    let acted = common.act(Action::AuditVerify, walk).await;
    let Some(finding) = found.into_inner() else { return acted };
    match finding {
        Finding::Sound(_) if acted.is_err() => acted,
        Finding::Sound(verified) => {
            let heads = verified.heads.iter().map(|h| json!({"chain": h.chain, "seq": h.seq, "hash": h.hash_in_hex()}));
            if common.json {
                let heads: Vec<_> = heads.collect();
                return output::json(
                    &json!({"sound": true, "events": verified.events, "erased": verified.erased, "heads": heads}),
                );
            }
            output::line(&format!(
                "sound: {} events in {} chains, {} with erased values",
                verified.events,
                verified.heads.len(),
                verified.erased
            ))
        }
        Finding::Broken { chain, seq, flaw } => {
            if common.json {
                output::json(&json!({"sound": false, "chain": chain, "seq": seq, "flaw": flaw}))?;
            }
            Err(Exit::Refused(format!("the audit trail is broken in chain {chain} at event {seq}: {flaw}")))
        }
    }
}
