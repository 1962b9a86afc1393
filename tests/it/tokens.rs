//! Signed tokens: what they say, to whom they are good, and how the keys behind them come and go. They are judged by a verifier that
//! knows nothing of usher.

use crate::both;
use crate::faults::{furnished, root};
use crate::harness::process::{Process, usher};
use crate::harness::tools::python;
use crate::harness::{Answer, Client, Engine, PASSWORD, Site, Town};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value, json};
use sha2::Sha256;
use std::collections::BTreeSet;
use std::time::Duration;

const TOKENS: &str = "/api/v1/sessions/current/tokens";
const KEYS: &str = "/.well-known/jwks.json";
const ISSUER: &str = "https://sso.example/realm";
const LEAD: u64 = 60 * 60;
const GRACE: u64 = 10 * 60;
const DAY: u64 = 24 * 60 * 60;

fn site(engine: Engine) -> Site {
    Site::new(engine).with("tokens.issuer", &format!("{ISSUER:?}"))
}

fn town(engine: Engine) -> Town {
    let town = Town::on(site(engine));
    for arguments in [&["app", "create", "desk"][..], &["app", "create", "crm"], &["app", "create", "vault", "--own-sessions"]] {
        town.usher(arguments).expect(0);
    }
    town
}

fn ask(by: &Client, audience: &str, scopes: &[&str]) -> Answer {
    by.post(TOKENS, &json!({"audience": audience, "scopes": scopes}))
}

#[track_caller]
fn issue(by: &Client, audience: &str, scopes: &[&str]) -> String {
    ask(by, audience, scopes).expect(201).json["token"].as_str().unwrap().to_owned()
}

fn part(token: &str, at: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap()).unwrap()
}

fn claims(token: &str) -> Map<String, Value> {
    part(token, 1).as_object().unwrap().clone()
}

fn kid(token: &str) -> String {
    part(token, 0)["kid"].as_str().unwrap().to_owned()
}

fn published(town: &Town) -> Value {
    town.anon().get(KEYS).expect(200).json
}

fn published_kids(town: &Town) -> Vec<String> {
    published(town)["keys"].as_array().unwrap().iter().map(|k| k["kid"].as_str().unwrap().to_owned()).collect()
}

fn seconds(town: &Town) -> i64 {
    town.now().micros() / 1_000_000
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// What the verifier says of each of these: its claims, or why it refuses it. `None` where there is no verifier.
fn verdicts(cases: &[Value]) -> Option<Vec<Value>> {
    let ran = python("verify_token.py", &json!(cases).to_string())?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let verdicts = ran.json().as_array().unwrap().clone();
    assert_eq!(verdicts.len(), cases.len());
    Some(verdicts)
}

both! {
    /// S35: a verifier that knows the published keys accepts a token for the audience it was issued for, while it is good, and refuses
    /// everything that an attacker could make of it.
    fn an_independent_verifier(engine) {
        let town = town(engine);
        let ann = town.user("ann");
        let token = issue(&ann, "desk", &["profile"]);
        let jwks = published(&town);
        let now = seconds(&town);
        let case = |token: &str, jwks: &Value, audience: &str, now: i64| json!({"token": token, "jwks": jwks, "issuer": ISSUER, "audience": audience, "now": now});
        let [head, body, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
        let header = part(&token, 0);
        let with_header = |name: &str, value: &Value| {
            let mut header = header.clone();
            header[name] = value.clone();
            encode(&header)
        };
        let mut raised = part(&token, 1);
        raised["user_role"] = "administrator".into();
        // The public key taken for a secret that both know.
        let public = URL_SAFE_NO_PAD.decode(jwks["keys"][0]["x"].as_str().unwrap()).unwrap();
        let hs256 = with_header("alg", &json!("HS256"));
        let mut mac = Hmac::<Sha256>::new_from_slice(&public).unwrap();
        mac.update(format!("{hs256}.{body}").as_bytes());
        let confused = format!("{hs256}.{body}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        let id_token = with_header("typ", &json!("JWT"));
        let mut other_issuer = case(&token, &jwks, "desk", now);
        other_issuer["issuer"] = "https://other.example".into();
        let cases = [
            ("accepted", case(&token, &jwks, "desk", now)),
            ("accepted", case(&token, &jwks, "desk", now + 119)),
            ("after its expiry", case(&token, &jwks, "desk", now + 121)),
            ("before it is good", case(&token, &jwks, "desk", now - 1)),
            ("for another audience", case(&token, &jwks, "crm", now)),
            ("of another issuer", other_issuer),
            ("without an algorithm", case(&format!("{}.{body}.", with_header("alg", &json!("none"))), &jwks, "desk", now)),
            ("with its signature, without an algorithm", case(&format!("{}.{body}.{signature}", with_header("alg", &json!("none"))), &jwks, "desk", now)),
            ("by the public key as a secret", case(&confused, &jwks, "desk", now)),
            ("under another key's id", case(&format!("{}.{body}.{signature}", with_header("kid", &json!("018f0000-0000-7000-8000-000000000000"))), &jwks, "desk", now)),
            ("with an altered payload", case(&format!("{head}.{}.{signature}", encode(&raised)), &jwks, "desk", now)),
            ("of another type", case(&format!("{id_token}.{body}.{signature}"), &jwks, "desk", now)),
            ("with another's signature", case(&format!("{head}.{body}.{}", issue(&ann, "crm", &[]).split('.').nth(2).unwrap()), &jwks, "desk", now)),
            ("with a key of its own", {
                let own = with_header("jwk", &json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}));
                case(&format!("{own}.{body}.{signature}"), &jwks, "desk", now)
            }),
        ];
        let Some(verdicts) = verdicts(&cases.iter().map(|(_, case)| case.clone()).collect::<Vec<_>>()) else { return };
        for ((what, _), verdict) in cases.iter().zip(&verdicts) {
            match *what {
                "accepted" => assert_eq!(verdict["claims"]["sub"], ann.id(), "{verdict}"),
                what => assert!(verdict["refused"].is_string(), "a token {what} was accepted: {verdict}"),
            }
        }
    }

    /// S35: what a token is made of, and what its answer says of it.
    fn what_a_token_says(engine) {
        let town = town(engine);
        let ann = town.user("ann");
        let answer = ask(&ann, "DESK", &["groups", "email", "groups"]).expect(201);
        assert_eq!(answer.keys(), ["token", "token_type", "audience", "scope", "expires_time", "revocable"]);
        let token = answer.json["token"].as_str().unwrap();
        assert_eq!(part(token, 0), json!({"typ": "at+jwt", "alg": "EdDSA", "kid": kid(token)}));
        let claims = claims(token);
        let now = seconds(&town);
        let jti = claims["jti"].as_str().unwrap();
        assert_eq!(jti.len(), 32);
        let expected = json!({"iss": ISSUER, "sub": ann.id(), "aud": "desk", "client_id": "default", "iat": now, "nbf": now, "exp": now + 120,
            "jti": jti, "auth_time": claims["iat"], "amr": ["pwd"], "sid": ann.session_id, "scope": "email groups", "groups": []});
        assert_eq!(Value::Object(claims.clone()), expected);
        let expires = usher::domain::time::Utc::from_micros((now + 120) * 1_000_000).to_string();
        for (name, value) in [("token_type", json!("Bearer")), ("audience", json!("desk")), ("scope", json!("email groups")), ("expires_time", json!(expires)), ("revocable", json!(false))] {
            assert_eq!(answer.json[name], value, "{name}");
        }
        let bare = issue(&ann, "desk", &[]);
        assert!(!self::claims(&bare).contains_key("scope") && self::claims(&bare)["jti"] != jti);
        // Through another application, which is who asks then.
        let through = ann.with("x-current-app", "crm");
        assert_eq!(self::claims(&issue(&through, "desk", &[]))["client_id"], "crm");

        // A token is no session.
        for taken in [token, &bare] {
            town.anon().with("authorization", &format!("Bearer {taken}")).get("/api/v1/users/me").refused(401, "session_invalid");
        }
        assert_eq!(town.root().post("/api/v1/sessions/introspect", &json!({"ust": token})).expect(200).json, json!({"active": false}));
        let jwks = town.anon().get(KEYS).expect(200);
        assert_eq!(jwks.headers["content-type"], "application/jwk-set+json");
        assert_eq!(jwks.headers["cache-control"], "public, max-age=300");
        let key = &jwks.json["keys"][0];
        assert_eq!(key.as_object().unwrap().keys().collect::<Vec<_>>(), ["kty", "crv", "alg", "use", "kid", "x"]);
        assert_eq!((&key["kty"], &key["crv"], &key["alg"], &key["use"]), (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA"), &json!("sig")));
    }

    /// S27: for each set of scopes, of a regular user and of a super-user, the claims are what the owner's view shows of the attributes behind
    /// the scopes, and nothing else is there.
    fn claims_are_what_the_owner_sees(engine) {
        let town = town(engine);
        let root = town.root();
        let group = root.post("/api/v1/groups", &json!({"name": "staff"})).expect(201).json["group_id"].as_str().unwrap().to_owned();
        let mut people = Vec::new();
        for (name, role) in [("ann", "viewer"), ("bob", "administrator")] {
            let body = json!({"username": name, "password": PASSWORD, "user_role": role, "email": format!("{name}@example.com"), "first_name": "A",
                "last_name": "B", "remark": "hidden-remark", "external_id": format!("hidden-{name}"), "station": "hidden-station"});
            let id = root.post("/api/v1/users", &body).expect(201).json["user_id"].as_str().unwrap().to_owned();
            root.post(&format!("/api/v1/groups/{group}/members"), &json!({"user_id": id})).expect(200);
            people.push(town.anon().sign_in(name, PASSWORD));
        }
        let of_scope: [(&str, &[(&str, &str)]); 3] = [
            ("profile", &[("preferred_username", "username"), ("name", "display_name"), ("given_name", "first_name"), ("middle_name", "middle_name"), ("family_name", "last_name"), ("user_role", "user_role")]),
            ("email", &[("email", "email")]),
            ("groups", &[("groups", "groups")]),
        ];
        for person in &people {
            let shown = person.get("/api/v1/users/me").expect(200).json;
            for mask in 0..8 {
                let chosen: Vec<_> = of_scope.iter().enumerate().filter(|(at, _)| mask & (1 << at) != 0).map(|(_, scope)| scope).collect();
                let scopes: Vec<&str> = chosen.iter().map(|(scope, _)| *scope).collect();
                let mut claims = claims(&issue(person, "desk", &scopes));
                let mut known: BTreeSet<&str> = ["iss", "sub", "aud", "client_id", "iat", "nbf", "exp", "jti", "auth_time", "amr", "sid"].into();
                if !scopes.is_empty() {
                    assert_eq!(claims["scope"], scopes.join(" "));
                    known.insert("scope");
                }
                known.iter().for_each(|name| assert!(claims.remove(*name).is_some(), "{name}"));
                for (claim, attribute) in chosen.iter().flat_map(|(_, claims)| claims.iter()) {
                    assert!(crate::matrix::OWNER.contains(attribute), "{attribute} is none that the owner sees");
                    assert_eq!(claims.remove(*claim).unwrap_or_default(), shown[attribute], "{claim}");
                }
                assert!(claims.is_empty(), "{claims:?}");
            }
            let all = issue(person, "desk", &["profile", "email", "groups"]);
            assert!(!part(&all, 1).to_string().contains("hidden"));
        }
    }

    /// To whom a token is refused, with one text for an application that there is not and one that does not accept the session.
    fn refused_audiences(engine) {
        let town = town(engine);
        let ann = town.user("ann");
        let mut texts = BTreeSet::new();
        for audience in ["nowhere", "vault", "", "desk ", "\u{0}"] {
            let answer = ask(&ann, audience, &[]).refused(422, "invalid");
            assert_eq!(answer.json["errors"][0]["pointer"], "/audience", "{audience}");
            texts.insert(answer.json["errors"].to_string());
        }
        assert_eq!(texts.len(), 1);
        // An application with sessions of its own gets tokens out of these alone, and they give none for others.
        let at_vault = town.anon().with("x-current-app", "vault").sign_in("ann", PASSWORD);
        assert_eq!(claims(&issue(&at_vault, "vault", &[]))["aud"], "vault");
        ask(&at_vault, "desk", &[]).refused(422, "invalid");
        let answer = ask(&ann, "desk", &["profile", "phone"]).refused(422, "invalid");
        assert_eq!(answer.json["errors"][0]["pointer"], "/scopes");
        ann.post(TOKENS, &json!({})).refused(400, "bad_type");
        ann.post(TOKENS, &json!({"audience": "desk", "scopes": "profile"})).refused(400, "bad_type");
        ann.post(TOKENS, &json!({"audience": "desk", "lifetime": 9999})).refused(422, "invalid");
        town.anon().post(TOKENS, &json!({"audience": "desk"})).refused(401, "session_invalid");
        let reasons = town.root().get(&format!("/api/v1/audit-events?action=token.issue&outcome=refused&subject={}", ann.id())).expect(200).json;
        let reasons: BTreeSet<&str> = reasons["items"].as_array().unwrap().iter().map(|e| e["reason"].as_str().unwrap()).collect();
        assert!(reasons.contains("application_unknown") && reasons.contains("application_mismatch"), "{reasons:?}");
    }

    /// No token for an application that does not list the user, or lets nobody come from there; an API key gets none for any.
    fn an_application_decides_whom_it_takes(engine) {
        let town = town(engine);
        let root = town.root();
        let ann = town.user("ann");
        let registered = root.get("/api/v1/applications").expect(200).json;
        let crm = registered["items"].as_array().unwrap().iter().find(|a| a["name"] == "crm").unwrap()["application_id"].as_str().unwrap().to_owned();
        let lists = |body: Value| root.patch(&format!("/api/v1/applications/{crm}"), &body).expect(200);
        issue(&ann, "crm", &[]);
        lists(json!({"access": "listed", "allowed_roles": ["publisher"]}));
        ask(&ann, "crm", &[]).refused(422, "invalid");
        issue(&ann, "desk", &[]);
        lists(json!({"allowed_roles": ["viewer"]}));
        issue(&ann, "crm", &[]);
        lists(json!({"allowed_networks": ["192.0.2.0/24"]}));
        ask(&ann, "crm", &[]).refused(422, "invalid");
        let reasons = root.get("/api/v1/audit-events?action=token.issue&outcome=refused").expect(200).json;
        let reasons: Vec<&str> = reasons["items"].as_array().unwrap().iter().map(|e| e["reason"].as_str().unwrap()).collect();
        assert_eq!(reasons, ["application_not_allowed", "address_not_allowed"]);
        let key = root.post("/api/v1/api-keys", &json!({"user_id": ann.id(), "name": "robot", "scope": "manage"})).expect(201).json;
        let robot = town.anon().with("authorization", &format!("Key {}", key["key"].as_str().unwrap()));
        ask(&robot, "desk", &[]).refused(403, "session_required");
    }

    /// A session that has ended gives no tokens (S21, R9); one that is about to end gives none that outlive it.
    fn a_token_does_not_outlive_its_session(engine) {
        let town = town(engine);
        let (ann, bob) = (town.user("ann"), town.user("bob"));
        let root = town.root();
        root.post(&format!("/api/v1/users/{}/lock", ann.id()), &json!({})).expect(200);
        ask(&ann, "desk", &[]).refused(401, "session_invalid");
        bob.delete("/api/v1/sessions/current").expect(204);
        ask(&bob, "desk", &[]).refused(401, "session_invalid");
        let cid = town.user("cid");
        town.advance(Duration::from_secs(1800 - 30));
        let claims = claims(&issue(&cid, "desk", &[]));
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 30);
    }

    /// S31: without an issuer there are no tokens, by no way, and no keys.
    fn without_an_issuer(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let answer = ask(&ann, "default", &[]).refused(409, "not_enabled");
        assert!(answer.json["detail"].as_str().unwrap().contains("tokens.issuer"));
        town.anon().get(KEYS).refused(404, "not_found");
        let refused = town.usher(&["secrets", "rotate-signing"]).expect(1);
        assert!(refused.complaint().contains("tokens.issuer"), "{refused:?}");
        assert_eq!(town.count("SELECT COUNT(*) AS count FROM signing_keys"), 0);
    }

    /// A fresh key is published before it signs, and an old one after it has signed for the last time; in the end it is gone, and with it
    /// whatever it signed.
    fn keys_come_and_go_by_age(engine) {
        let town = Town::on(site(engine).with("tokens.key_days", "30"));
        town.anon().get(KEYS).expect(200);
        let issue = |town: &Town| issue(&town.root(), "default", &[]);
        let first = issue(&town);
        assert_eq!(published_kids(&town), [kid(&first)]);
        town.advance(Duration::from_secs(30 * DAY - LEAD - 1));
        assert_eq!(kid(&issue(&town)), kid(&first));
        assert_eq!(published_kids(&town).len(), 1);
        town.advance(Duration::from_secs(1));
        assert_eq!(kid(&issue(&town)), kid(&first));
        let both = published_kids(&town);
        assert_eq!((both.len(), &both[0]), (2, &kid(&first)));
        town.advance(Duration::from_secs(LEAD - 1));
        let last = issue(&town);
        assert_eq!(kid(&last), kid(&first));
        let signed_at = seconds(&town);
        town.advance(Duration::from_secs(1));
        let second = issue(&town);
        assert_eq!((kid(&second), published_kids(&town)), (both[1].clone(), both.clone()));
        town.advance(Duration::from_secs(GRACE - 1));
        let within = published(&town);
        assert_eq!(published_kids(&town), both);
        town.advance(Duration::from_secs(1));
        let after = published(&town);
        assert_eq!(published_kids(&town), [both[1].clone()]);
        issue(&town);
        assert_eq!(town.count("SELECT COUNT(*) AS count FROM signing_keys"), 1, "a private key was kept");
        // The last token of the old key, judged as of when it was good, by the keys of then and of now.
        let case = |jwks: &Value| json!({"token": last, "jwks": jwks, "issuer": ISSUER, "audience": "default", "now": signed_at});
        let Some(verdicts) = verdicts(&[case(&within), case(&after)]) else { return };
        assert!(verdicts[0]["claims"].is_object(), "{verdicts:?}");
        assert!(verdicts[1]["refused"].is_string(), "{verdicts:?}");
    }

    /// By hand: a fresh key is on its way, once however often one asks; or it signs at once and all others are gone, where one has leaked.
    fn keys_are_rotated_by_hand(engine) {
        let site = furnished(site(engine));
        let service = Process::serve(&site);
        let rotate = |arguments: &[&str]| usher(&site, &[&["secrets", "rotate-signing", "--json"], arguments].concat(), "").expect(0).json();
        let kids = || -> BTreeSet<String> {
            let keys = service.anon().get(KEYS).expect(200).json;
            keys["keys"].as_array().unwrap().iter().map(|k| k["kid"].as_str().unwrap().to_owned()).collect()
        };
        let issue = || kid(&issue(&root(&service), "default", &[]));
        let first = issue();
        let fresh = rotate(&[]);
        assert_eq!(fresh.as_object().unwrap().keys().collect::<Vec<_>>(), ["signing_key_id", "signs_from", "removed"]);
        let id = |rotated: &Value| rotated["signing_key_id"].as_str().unwrap().to_owned();
        assert_eq!((kids(), issue()), (BTreeSet::from([first.clone(), id(&fresh)]), first.clone()));
        assert_eq!(rotate(&[]), fresh);
        let now = rotate(&["--now"]);
        assert_eq!(now["removed"], 2);
        assert_eq!((kids(), issue()), (BTreeSet::from([id(&now)]), id(&now)));
        let plain = usher(&site, &["secrets", "rotate-signing"], "").expect(0).out;
        assert!(plain.contains(" signs from ") && plain.ends_with("; 0 keys removed\n"), "{plain}");
        let events = root(&service).get("/api/v1/audit-events?action=secrets.rotate_signing").expect(200).json;
        let subjects: Vec<String> = events["items"].as_array().unwrap().iter().map(|e| e["subject"].as_str().unwrap().to_owned()).collect();
        assert_eq!((&subjects[..3], subjects.len()), (&[id(&fresh), id(&fresh), id(&now)][..], 4));
    }

    /// Nodes that share a database sign under one key and publish the same ones; also when both come to the first token at once.
    fn two_nodes(engine) {
        let first = Town::on(site(engine));
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::copy(first.keys(), folder.path().join("usher.keys")).unwrap();
        let second = Town::on(Site::at(folder, engine, first.url.clone()).with("tokens.issuer", &format!("{ISSUER:?}")));
        let bases = [first.base.clone(), second.base.clone()];
        let by = first.root();
        let ust = by.ust.clone().unwrap();
        let kids: BTreeSet<String> = crate::harness::at_once(8, |number| {
            let client = Client::new(&bases[number % 2]).bearing(&ust);
            kid(&issue(&client, "default", &[]))
        }).into_iter().collect();
        assert_eq!(kids.len(), 1);
        assert_eq!(published_kids(&first), kids.into_iter().collect::<Vec<_>>());
    }

    /// What is no issuer, or a life too long, stops the start by the name of its setting.
    fn settings(engine) {
        for (key, value) in [
            ("tokens.issuer", "\"http://sso.example\""),
            ("tokens.issuer", "\"https://\""),
            ("tokens.issuer", "\"https://user@sso.example\""),
            ("tokens.issuer", "\"https://sso.example/?a\""),
            ("tokens.issuer", "\"https://sso.example/#a\""),
            ("tokens.seconds", "301"),
            ("tokens.seconds", "0"),
            ("tokens.key_days", "0"),
        ] {
            let site = Site::new(engine).with(key, value);
            let ran = crate::harness::process::usher(&site, &["user", "list"], "").expect(1);
            assert!(ran.complaint().contains(key), "{ran:?}");
        }
    }
}

/// What the documents tell applications to do is what the verifier of these tests does.
#[test]
fn the_documents_show_the_verifier() {
    let read = |path: &str| std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let document = read("docs/TOKENS.md");
    let shown = document.split_once("def verify(").unwrap().1.split_once("```").unwrap().0.trim_end();
    assert!(shown.lines().count() > 10 && read("tests/tools/verify_token.py").contains(shown));
}
