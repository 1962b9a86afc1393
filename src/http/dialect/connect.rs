//! Posit Connect's dialect, below `/__api__`, itself below any prefix.

use super::super::reply::Reply;
use super::super::route::Route;
use crate::error::{Code, Error};
use serde_json::json;

/// Its routes.
pub(super) fn table() -> Vec<Route> {
    Vec::new()
}

/// Its refusals: a number, a sentence, and a payload that is always null.
pub(super) fn refusal(error: &Error, _: &str) -> Reply {
    let status = error.code().status();
    let number = match error.code() {
        Code::NotFound if error.reason() == "no_route" => 2,
        Code::MethodNotAllowed => 2,
        Code::NotFound => 4,
        _ if status >= 500 => 1,
        _ if status == 401 => 30,
        _ if status == 403 => 22,
        _ => 25,
    };
    let body = json!({"code": number, "error": error.code().title(), "payload": null}).to_string().into_bytes();
    let headers = error.retry_after_seconds().map(|seconds| ("retry-after", seconds.to_string())).into_iter().collect();
    Reply { status, content_type: "application/json", body, headers }
}
