//! Endpoints of the audit trail.

use super::input::{Query, page_limit};
use super::reply::{Found, Paged};
use crate::domain::audit::{Action, EventView, Outcome};
use crate::domain::time::Utc;
use crate::error::Result;
use crate::service::{AuditQuery, Search, SuperUser};
use schemars::JsonSchema;
use serde::Deserialize;

/// Which events are looked for; everything given must hold.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchQuery {
    /// The correlation id.
    cid: Option<String>,
    /// Who acted: a user's id, an application's name, an operator's `user@host`.
    actor: Option<String>,
    /// On whom or what: an id.
    subject: Option<String>,
    /// What the call set out to do.
    action: Option<Action>,
    /// How it ended.
    outcome: Option<Outcome>,
    /// Through which application.
    application: Option<String>,
    /// Not before this time.
    from: Option<Utc>,
    /// Before this time.
    to: Option<Utc>,
    /// `time` (oldest first, the default) or `-time`.
    sort: Option<Sort>,
    /// Events on a page, 1 to 500; 50 by default.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<i64>,
    /// Where the page before this one ended.
    cursor: Option<String>,
}

/// The order of events.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
enum Sort {
    #[serde(rename = "time")]
    OldestFirst,
    #[serde(rename = "-time")]
    NewestFirst,
}

pub(super) async fn search(caller: SuperUser, Query(query): Query<SearchQuery>) -> Result<Found<Paged<EventView>>> {
    let limit = page_limit(query.limit)?;
    let search = Search {
        cid: query.cid,
        actor: query.actor,
        subject: query.subject,
        about: None,
        action: query.action,
        outcome: query.outcome,
        application: query.application,
        from: query.from,
        to: query.to,
        after: None,
        newest_first: matches!(query.sort, Some(Sort::NewestFirst)),
    };
    let page = caller.audit_events(AuditQuery { search, limit, cursor: query.cursor }).await?;
    Ok(Found(Paged { items: page.items, next_cursor: page.next_cursor }))
}
