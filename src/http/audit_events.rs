//! Endpoints of the audit trail.

use super::input::{Query, page_limit};
use super::reply::{Found, Paged};
use crate::domain::audit::{EventView, Outcome};
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
    /// What the call set out to do: any text, for the trail may have actions that this version does not know.
    action: Option<String>,
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

impl SearchQuery {
    pub(super) fn search(self) -> Search {
        Search {
            cid: self.cid,
            actor: self.actor,
            subject: self.subject,
            about: None,
            action: self.action,
            outcome: self.outcome,
            application: self.application,
            from: self.from,
            to: self.to,
            after: None,
            newest_first: matches!(self.sort, Some(Sort::NewestFirst)),
        }
    }
}

pub(super) async fn search(caller: SuperUser, Query(query): Query<SearchQuery>) -> Result<Found<Paged<EventView>>> {
    let (limit, cursor) = (page_limit(query.limit)?, query.cursor.clone());
    let page = caller.audit_events(AuditQuery { search: query.search(), limit, cursor }).await?;
    Ok(Found(Paged { items: page.items, next_cursor: page.next_cursor }))
}

#[cfg(test)]
mod tests {
    use super::super::input::read_query;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_query_is_a_search_or_refused(name in "(cid|actor|subject|from|to|sort|action|[a-z]{1,8})", value in "([ -~]{0,30}|2031-05-04T0[0-9]:0[0-9]:00Z)") {
            let encoded: String = value.bytes().map(|b| format!("%{b:02x}")).collect();
            let search = read_query::<SearchQuery>(&format!("{name}={encoded}")).map(SearchQuery::search);
            match (name.as_str(), search) {
                ("cid", search) => prop_assert_eq!(search.ok().and_then(|s| s.cid), Some(value)),
                ("actor", search) => prop_assert_eq!(search.ok().and_then(|s| s.actor), Some(value)),
                ("subject", search) => prop_assert_eq!(search.ok().and_then(|s| s.subject), Some(value)),
                ("from", search) => prop_assert_eq!(search.ok().and_then(|s| s.from), Utc::parse(&value)),
                (_, Ok(_)) | (_, Err(_)) => {}
            }
        }
    }
}
