//! The OpenAPI 3.1 document, made of the route table, the types that handlers read and answer, the attribute table and the error table.

use super::dialect::Dialect;
use super::gate::GateKind;
use super::route::Route;
use crate::error::Code;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The document of these routes.
pub fn document(routes: &[Route]) -> Value {
    let mut schemas = SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into()).into_generator();
    let mut paths: Map<String, Value> = Map::new();
    // Dialects are described where their own systems describe them.
    for route in routes.iter().filter(|route| route.dialect == Dialect::Native) {
        let mut operation = (route.describe_input)(&mut schemas);
        let (status, body) = (route.describe_answer)(&mut schemas);
        let answer = match body {
            Some(schema) => json!({"description": "Done.", "content": {route.media_type: {"schema": schema}}}),
            None => json!({"description": "Done."}),
        };
        if let Some(operation) = operation.as_object_mut() {
            operation.insert("summary".to_owned(), route.summary.into());
            operation.insert("operationId".to_owned(), operation_id(route.method.as_str(), route.path).into());
            operation.insert("tags".to_owned(), json!([tag(route.path)]));
            operation.insert("security".to_owned(), security(route.gate));
            operation.insert("x-gate".to_owned(), gate_name(route.gate).into());
            if let Some(action) = route.action {
                operation.insert("x-audit-action".to_owned(), action.as_str().into());
            }
            let problem = json!({"$ref": "#/components/responses/Problem"});
            operation.insert("responses".to_owned(), json!({status.to_string(): answer, "default": problem}));
            let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
            if let (Some(list), true) = (parameters.as_array_mut(), route.gate != GateKind::Probe) {
                for name in ["CorrelationId", "CurrentApp", "ApplicationKey"] {
                    list.push(json!({"$ref": format!("#/components/parameters/{name}")}));
                }
            }
        }
        let path = paths.entry(route.path.to_owned()).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.as_str().to_lowercase(), operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "usher",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "SSO identity service: session tokens and privilege-scoped views.",
            "license": {"name": "Apache-2.0 OR MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": {
                "ust": {"type": "http", "scheme": "bearer", "description": "A session token (UST), as POST /api/v1/sessions answers it."},
                "key": {"type": "http", "scheme": "key", "description": "An API key. One of scope `read` makes GET calls only."},
                "application": {"type": "apiKey", "in": "header", "name": "X-Application-Key", "description": "The key of the application in X-Current-App."},
            },
            "parameters": {
                "CorrelationId": header("X-Correlation-ID", "Up to 64 of A-Z a-z 0-9 . _ : -; comes back with the answer and finds the audit event."),
                "CurrentApp": header("X-Current-App", "The application that the call comes through; `default` if absent."),
                "ApplicationKey": header("X-Application-Key", "That application's key, where it demands one."),
            },
            "responses": {"Problem": {
                "description": "Refused or failed; RFC 9457.",
                "content": {"application/problem+json": {"schema": problem_schema()}},
            }},
        },
    })
}

fn header(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "header", "description": description, "schema": {"type": "string"}})
}

fn problem_schema() -> Value {
    let codes: Vec<Value> =
        Code::ALL.iter().map(|c| json!({"const": c.as_str(), "title": format!("{} {}", c.status(), c.title())})).collect();
    json!({
        "type": "object",
        "required": ["type", "title", "status", "code", "detail", "cid", "errors"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "code": {"oneOf": codes},
            "detail": {"type": "string"},
            "cid": {"type": "string"},
            "errors": {"type": "array", "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {"pointer": {"type": "string"}, "code": {"type": "string"}, "detail": {"type": "string"}},
            }},
            "enrolment": {
                "type": "object",
                "description": "With second_factor_enrolment_required: the second factor to be enrolled by sending ticket and a code again.",
                "required": ["ticket", "totp_key", "otpauth_uri", "qr_svg", "expires_time"],
                "properties": {
                    "ticket": {"type": "string"},
                    "totp_key": {"type": "string"},
                    "otpauth_uri": {"type": "string", "format": "uri"},
                    "qr_svg": {"type": "string"},
                    "expires_time": {"type": "string", "format": "date-time"},
                },
            },
        },
    })
}

fn operation_id(method: &str, path: &str) -> String {
    let words: Vec<&str> = path.split(['/', '{', '}', '-', '.']).filter(|w| !w.is_empty() && *w != "api" && *w != "v1").collect();
    format!("{}_{}", method.to_lowercase(), words.join("_"))
}

fn tag(path: &str) -> &str {
    match path.strip_prefix("/api/v1/") {
        Some(rest) if rest.contains("sessions") => "sessions",
        Some(rest) => rest.split('/').next().unwrap_or(rest),
        None => "service",
    }
}

fn security(gate: GateKind) -> Value {
    match gate {
        GateKind::Probe | GateKind::Anyone => json!([]),
        GateKind::Bearer | GateKind::SignedIn => json!([{"ust": []}]),
        GateKind::Authenticated | GateKind::SuperUser => json!([{"ust": []}, {"key": []}]),
        GateKind::TrustedApplication => json!([{"application": []}, {"ust": []}, {"key": []}]),
    }
}

fn gate_name(gate: GateKind) -> &'static str {
    match gate {
        GateKind::Probe => "probe",
        GateKind::Anyone => "anyone",
        GateKind::Bearer => "bearer",
        GateKind::Authenticated => "authenticated",
        GateKind::SignedIn => "signed_in",
        GateKind::SuperUser => "super_user",
        GateKind::TrustedApplication => "trusted_application",
    }
}
