//! Actors as clients.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Someone who calls the service.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    headers: BTreeMap<String, String>,
    pub ust: Option<String>,
    pub user_id: Option<String>,
    pub session_id: Option<String>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub text: String,
    pub json: Value,
}

impl Answer {
    /// This answer, which must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// This answer, which must be this error.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.json["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.json["cid"], self.headers["x-correlation-id"].as_str());
        self
    }

    /// The keys of the body, in its order.
    pub fn keys(&self) -> Vec<&str> {
        self.json.as_object().map(|o| o.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    pub fn cid(&self) -> &str {
        &self.headers["x-correlation-id"]
    }
}

impl Client {
    pub fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60)));
        let agent = ureq::Agent::new_with_config(config.allow_non_standard_methods(true).build());
        Self { agent, base: base.to_owned(), headers: BTreeMap::new(), ust: None, user_id: None, session_id: None }
    }

    /// The same client with a header.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.insert(name.to_owned(), value.to_owned());
        client
    }

    /// The same client at another address.
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// What the client sends in a header.
    pub fn header(&self, name: &str) -> &str {
        &self.headers[name]
    }

    /// The same client with another token.
    pub fn bearing(&self, ust: &str) -> Self {
        Self { ust: Some(ust.to_owned()), ..self.with("authorization", &format!("Bearer {ust}")) }
    }

    /// The same client, signed in.
    #[track_caller]
    pub fn sign_in(&self, username: &str, password: &str) -> Self {
        let answer = self.try_sign_in(username, password).expect(201);
        let mut client = self.bearing(answer.json["ust"].as_str().unwrap());
        client.user_id = answer.json["user"]["user_id"].as_str().map(str::to_owned);
        client.session_id = answer.json["session"]["session_id"].as_str().map(str::to_owned);
        client
    }

    pub fn try_sign_in(&self, username: &str, password: &str) -> Answer {
        self.post("/api/v1/sessions", &json!({"username": username, "password": password}))
    }

    /// A sign-in with a second factor.
    pub fn try_sign_in_with(&self, username: &str, password: &str, code: &str) -> Answer {
        self.post("/api/v1/sessions", &json!({"username": username, "password": password, "totp_code": code}))
    }

    pub fn id(&self) -> &str {
        self.user_id.as_deref().unwrap()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None)
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, Some(body.to_string()))
    }

    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call("PATCH", path, Some(body.to_string()))
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.call("PUT", path, Some(body.to_string()))
    }

    pub fn call(&self, method: &str, path: &str, body: Option<String>) -> Answer {
        self.try_call(method, path, body).unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    /// A call that may find nobody.
    pub fn try_call(&self, method: &str, path: &str, body: Option<String>) -> Result<Answer, ureq::Error> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut response = match body {
            Some(body) => {
                if !self.headers.contains_key("content-type") {
                    request = request.header("content-type", "application/json");
                }
                self.agent.run(request.body(body).unwrap())?
            }
            None => self.agent.run(request.body(()).unwrap())?,
        };
        let headers = response.headers().iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap_or_default().to_owned()));
        let headers = headers.collect();
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string()?;
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, headers, text, json })
    }
}
