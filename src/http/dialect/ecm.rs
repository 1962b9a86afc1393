//! The ECM's dialect, below `/ecm/security`.

use super::super::reply::Reply;
use super::super::route::Route;
use crate::error::Error;
use serde_json::json;

/// Its routes.
pub(super) fn table() -> Vec<Route> {
    Vec::new()
}

/// Its refusals: one of five kinds, and a sentence.
pub(super) fn refusal(error: &Error, cid: &str) -> Reply {
    let status = error.code().status();
    let kind = match status {
        401 | 403 => "access_denied",
        404 => "not_found",
        409 | 412 => "wrong_state",
        400 | 422 => "missing_argument",
        _ => "general",
    };
    let body = json!({"error": kind, "message": error.code().title(), "cid": cid}).to_string().into_bytes();
    let headers = error.retry_after_seconds().map(|seconds| ("retry-after", seconds.to_string())).into_iter().collect();
    Reply { status, content_type: "application/json", body: body.into(), headers }
}
