//! Zato SSO's dialect, below `/zato/sso`.

use super::super::reply::Reply;
use super::super::route::Route;
use crate::error::Error;
use serde_json::json;

/// Its routes.
pub(super) fn table() -> Vec<Route> {
    Vec::new()
}

/// Its refusals: a business error has a status and sub-statuses, everything else a result.
pub(super) fn refusal(error: &Error, cid: &str) -> Reply {
    let status = error.code().status();
    if status == 404 && error.reason() == "no_route" {
        let body = format!("URL not found (CID:{cid})").into_bytes();
        return Reply { status, content_type: "text/plain; charset=utf-8", body: body.into(), headers: Vec::new() };
    }
    let body = json!({"result": "Error", "cid": cid, "details": error.code().title()}).to_string().into_bytes();
    let headers = error.retry_after_seconds().map(|seconds| ("retry-after", seconds.to_string())).into_iter().collect();
    Reply { status, content_type: "application/json", body: body.into(), headers }
}
