//! `usher audit …`

use super::users::find;
use super::{Common, Exit, Outcome, output};
use crate::domain::audit::{Action, EventView, Head};
use crate::domain::ids::UserId;
use crate::domain::time::Utc;
use crate::error::{Code, Error};
use crate::service::{AcceptedRollback, AuditQuery, Finding, Search, SuperUser};
use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;
use std::cell::RefCell;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Show events, oldest first: those of a call, or what was done by or to someone.
    Show(Show),
    /// Print every event as a line of JSON, oldest first.
    Export {
        /// Write the signed heads of the chains into this file: what they are the ends of is in the export.
        #[arg(long, value_name = "FILE")]
        heads: Option<PathBuf>,
    },
    /// Walk the hash chains; exit 1 at the first break, naming it.
    Verify,
    /// Go on with a database that was put back: after a restore, or the loss of a primary. Until then nothing is answered.
    AcceptRollback {
        /// Why; it is kept in the trail.
        #[arg(long, value_parser = reason)]
        reason: String,
    },
}

/// Everything given must hold.
#[derive(Args)]
#[command(group(ArgGroup::new("search").required(true).multiple(true).args(["cid", "user", "actor", "subject", "from", "to"])))]
pub(super) struct Show {
    /// The call's correlation id.
    #[arg(long)]
    cid: Option<String>,
    /// What this user did and what was done to it: username, login name or user_id; of a deleted user the user_id.
    #[arg(long)]
    user: Option<String>,
    /// Who acted, as the trail has it: a user_id, an application's name, an operator's user@host.
    #[arg(long)]
    actor: Option<String>,
    /// On whom or what, as the trail has it: an id.
    #[arg(long)]
    subject: Option<String>,
    /// Not before this time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Utc>,
    /// Before this time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Utc>,
}

fn time(text: &str) -> Result<Utc, &'static str> {
    Utc::parse(text).ok_or("is not an RFC 3339 time, such as 2031-05-04T03:02:01Z")
}

pub(super) async fn execute(common: &Common, command: Command) -> Outcome {
    match command {
        Command::Show(search) => show(common, search).await,
        Command::Export { heads } => export(common, heads).await,
        Command::Verify => verify(common).await,
        Command::AcceptRollback { reason } => accept_rollback(common, reason).await,
    }
}

/// Characters of a reason at most.
const LONGEST_REASON: usize = 500;

/// Events of a page.
const PAGE: i64 = 500;
/// Events printed at once: whom they show stands in the trail before.
const AT_ONCE: usize = 10_000;

/// Hands every event that matches to `print`, page by page, until whoever reads standard output has had enough.
async fn each(root: &SuperUser, search: Search, mut print: impl FnMut(&EventView) -> Outcome) -> Result<(), Error> {
    let mut query = AuditQuery { search, limit: PAGE, cursor: None };
    loop {
        let mut items = Vec::new();
        let next = loop {
            let page = root.audit_events(query.clone()).await?;
            items.extend(page.items);
            match page.next_cursor {
                Some(cursor) if items.len() < AT_ONCE => query.cursor = Some(cursor),
                next => break next,
            }
        };
        root.tell_shown().await?;
        match (items.iter().try_for_each(&mut print), next) {
            (Ok(()), Some(cursor)) => query.cursor = Some(cursor),
            (Ok(()), None) | (Err(Exit::EnoughRead), _) => return Ok(()),
            (Err(_), _) => return Err(Error::new(Code::Internal).cause("standard output cannot be written")),
        }
    }
}

async fn show(common: &Common, Show { cid, user, actor, subject, from, to }: Show) -> Outcome {
    let (json, mut count) = (common.json, 0_usize);
    let print = |event: &EventView| {
        count += 1;
        if json {
            let text = serde_json::to_string(event).map_err(|e| Exit::Refused(e.to_string()))?;
            let before = if count == 1 { "{\"items\":[" } else { "," };
            return output::bytes(format!("{before}{text}").as_bytes());
        }
        output::members(event)?;
        output::line("")
    };
    let search = |root: SuperUser| async move {
        let about = match user {
            Some(user) => Some(id_of(&root, &user).await?.to_string()),
            None => None,
        };
        each(&root, Search { cid, actor, subject, about, from, to, ..Search::default() }, print).await
    };
    common.act(Action::AuditRead, search).await?;
    match (json, count) {
        (true, 0) => output::line("{\"items\":[]}"),
        (true, _) => output::line("]}"),
        (false, 0) => Err(Exit::Refused("there is no such event".to_owned())),
        (false, _) => Ok(()),
    }
}

/// Of a deleted user the id is all that there is.
async fn id_of(root: &SuperUser, user: &str) -> Result<UserId, Error> {
    match (find(root, user).await, user.parse()) {
        (Ok(account), _) => Ok(account.user.user_id),
        (Err(error), Ok(user_id)) if error.code() == Code::NotFound => Ok(user_id),
        (Err(error), _) => Err(error),
    }
}

async fn export(common: &Common, file: Option<PathBuf>) -> Outcome {
    let export = |root: SuperUser| async move {
        if let Some(file) = file {
            // Before the first event is read: whatever is signed is in the export.
            let heads = root.signed_heads().await?;
            let text = json!({ "heads": heads }).to_string();
            let fail = |e: std::io::Error| Error::new(Code::Internal).cause(format!("cannot write {}: {e}", file.display()));
            std::fs::write(&file, text + "\n").map_err(fail)?;
        }
        each(&root, Search::default(), output::json).await
    };
    common.act(Action::AuditExport, export).await
}

fn reason(text: &str) -> Result<String, &'static str> {
    let is_one = !text.trim().is_empty() && text.chars().count() <= LONGEST_REASON && !text.chars().any(char::is_control);
    if is_one { Ok(text.trim().to_owned()) } else { Err("is empty, longer than 500 characters, or has a control character") }
}

async fn accept_rollback(common: &Common, reason: String) -> Outcome {
    let accept = |root: SuperUser| async move { root.accept_rollback(reason).await };
    let AcceptedRollback { remembered, found } = common.act(Action::AuditAcceptRollback, accept).await?;
    let end = |head: &Head| json!({"chain": head.chain, "seq": head.seq, "hash": head.hash_in_hex()});
    if common.json {
        let [remembered, found] = [remembered, found].map(|heads| heads.iter().map(end).collect::<Vec<_>>());
        return output::json(&json!({"remembered": remembered, "found": found}));
    }
    for head in found {
        let before = remembered.iter().find(|known| known.chain == head.chain).map_or(0, |known| known.seq);
        output::line(&format!("chain {}: event {}, remembered was {before}", head.chain, head.seq))?;
    }
    Ok(())
}

async fn verify(common: &Common) -> Outcome {
    // On a trail that is broken the command's own event may not find its place; what was found is told all the same.
    let found = RefCell::new(None);
    let walk = |root: SuperUser| async {
        let root = root;
        let finding = root.verify_audit().await?;
        // What does not hold is not signed.
        let signed = root.sign_verified(&finding).await?;
        found.replace(Some((finding, signed)));
        Ok(())
    };
    let acted = common.act(Action::AuditVerify, walk).await;
    let Some((finding, heads)) = found.into_inner() else { return acted };
    match finding {
        Finding::Sound(_) if acted.is_err() => acted,
        Finding::Sound(verified) => {
            let notices = verified.ahead.iter().map(|chain| json!({"notice": "clock_ahead", "chain": chain}));
            if common.json {
                let notices: Vec<_> = notices.collect();
                return output::json(
                    &json!({"sound": true, "events": verified.events, "erased": verified.erased, "heads": heads, "notices": notices}),
                );
            }
            for chain in &verified.ahead {
                output::line(&format!("notice: clock_ahead: chain {chain} has come to a month that is not there yet"))?;
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
