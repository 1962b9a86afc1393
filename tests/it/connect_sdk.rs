//! Posit Connect's own client, unmodified, against a service: what programs that use it will do.

use crate::both;
use crate::harness::{PASSWORD, Town, tools};
use serde_json::json;

both! {
    fn the_client_works_unchanged(engine) {
        let town = Town::new(engine);
        let vera = json!({"username": "vera", "email": "vera@example.com", "password": PASSWORD});
        let vera = town.root().post("/api/v1/users", &vera).expect(201).json["user_id"].as_str().unwrap().to_owned();
        let key = |user_id: &str| {
            let body = json!({"user_id": user_id, "name": "client", "scope": "manage"});
            town.root().post("/api/v1/api-keys", &body).expect(201).json["key"].clone()
        };
        let input = json!({"url": town.base, "admin_key": key(&town.root_id), "viewer_key": key(&vera), "password": PASSWORD});
        if let Some(ran) = tools::python("connect_sdk.py", &input.to_string()) {
            let out = ran.expect(0).out;
            assert!(out.starts_with("all ") && out.ends_with(" steps were taken\n"), "{out}");
        }
    }
}
