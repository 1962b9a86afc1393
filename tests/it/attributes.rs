//! Custom attributes of users and sessions: who may use them, that values are kept as they are, that they end when they should, and that
//! an encrypted one is in clear nowhere but in the answer to whoever may read it.

use crate::both;
use crate::harness::{Answer, Client, PASSWORD, Town, at_once};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const ME: &str = "/api/v1/users/me";
const OWN: &str = "/api/v1/users/me/attributes";
const OF_SESSION: &str = "/api/v1/sessions/current/attributes";
const UNKNOWN: &str = "018f0000-0000-7000-8000-000000000000";
/// Nothing else in these tests has it.
const SECRET: &str = "wheelbarrow-4711-nightingale";

fn of_user(id: &str) -> String {
    format!("/api/v1/users/{id}/attributes")
}

fn put(client: &Client, shelf: &str, name: &str, body: &Value) -> Answer {
    client.put(&format!("{shelf}/{name}"), body)
}

fn get(client: &Client, shelf: &str, name: &str) -> Answer {
    client.get(&format!("{shelf}/{name}"))
}

fn names(client: &Client, shelf: &str) -> Vec<String> {
    let listed = client.get(shelf).expect(200).json;
    listed["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

fn event(root: &Client, cid: &str) -> Value {
    let found = root.get(&format!("/api/v1/audit-events?cid={cid}")).expect(200).json;
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");
    found["items"][0].clone()
}

fn etag(answer: &Answer) -> String {
    answer.headers["etag"].clone()
}

both! {
    /// Set, read, replaced, listed by name, removed: by the owner and by a super-user alike, and neither the user's ETag nor its
    /// `updated_time` changes.
    fn setting_and_reading(engine) {
        let town = Town::new(engine);
        let (ann, root) = (town.user("ann"), town.root());
        let of_ann = of_user(ann.id());
        let before = ann.get(ME).expect(200);
        let seen = root.get(&format!("/api/v1/users/{}", ann.id())).json["updated_time"].clone();
        let made = put(&ann, OWN, "theme", &json!({"value": {"dark": true, "accents": ["red", null]}})).expect(201);
        assert_eq!(made.keys(), ["name", "value", "expiry", "is_encrypted", "created_time", "updated_time"]);
        assert_eq!(made.json["value"], json!({"dark": true, "accents": ["red", null]}));
        assert_eq!((&made.json["expiry"], &made.json["is_encrypted"]), (&Value::Null, &json!(false)));
        assert_eq!(get(&root, &of_ann, "theme").expect(200).json, made.json);
        let began = town.now().to_string();
        town.advance(Duration::from_secs(5));
        let again = put(&root, &of_ann, "theme", &json!({"value": 7, "expires_in": 60, "encrypted": true})).expect(200).json;
        assert_eq!((again["created_time"].as_str(), again["updated_time"].as_str()), (Some(began.as_str()), Some(town.now().to_string().as_str())));
        assert_eq!((&again["value"], &again["is_encrypted"]), (&json!(7), &json!(true)));
        assert_eq!(again["expiry"], (town.now() + Duration::from_secs(60)).to_string());
        assert_eq!(get(&ann, OWN, "theme").expect(200).json, again);
        for name in ["b", "a.b-c:d_e", "B", "_x", "0"] {
            put(&ann, OWN, name, &json!({"value": null})).expect(201);
        }
        // By bytes, the same on both databases.
        assert_eq!(names(&ann, OWN), ["0", "B", "_x", "a.b-c:d_e", "b", "theme"]);
        assert_eq!(names(&root, &of_ann), names(&ann, OWN));
        assert_eq!(names(&root, OWN), [""; 0]);
        assert_eq!(get(&ann, OWN, "b").expect(200).json["value"], Value::Null);
        ann.delete(&format!("{OWN}/b")).expect(204);
        ann.delete(&format!("{OWN}/b")).refused(404, "not_found");
        get(&ann, OWN, "b").refused(404, "not_found");
        root.delete(&format!("{of_ann}/B")).expect(204);
        assert_eq!(etag(&ann.get(ME).expect(200)), etag(&before));
        assert_eq!(root.get(&format!("/api/v1/users/{}", ann.id())).json["updated_time"], seen);
        ann.delete(OWN).expect(204);
        assert_eq!(names(&ann, OWN), [""; 0]);
        ann.delete(OWN).expect(204);
        for (method, path) in [("GET", ""), ("DELETE", ""), ("GET", "/x"), ("DELETE", "/x")] {
            root.call(method, &format!("{}{path}", of_user(UNKNOWN)), None).refused(404, "not_found");
        }
        put(&root, &of_user(UNKNOWN), "x", &json!({"value": 1})).refused(404, "not_found");
        root.put(&of_user(UNKNOWN), &json!({"attributes": {"x": null}})).refused(404, "not_found");
    }

    /// S28, R3, R18, R22: nobody reads or sets another's attribute, whether or not there is such a user or attribute.
    fn nobody_reaches_for_anothers(engine) {
        let town = Town::new(engine);
        let (ann, bob, root) = (town.user("ann"), town.user("bob"), town.root());
        put(&ann, OWN, "diary", &json!({"value": SECRET})).expect(201);
        let told = |id: &str, name: &str| {
            let calls = [
                bob.get(&of_user(id)), get(&bob, &of_user(id), name), put(&bob, &of_user(id), name, &json!({"value": 1})),
                bob.put(&of_user(id), &json!({"attributes": {name: null}})), bob.delete(&of_user(id)), bob.delete(&format!("{}/{name}", of_user(id))),
            ];
            calls.map(|answer| {
                let mut json = answer.refused(403, "forbidden").json;
                json["cid"] = Value::Null;
                json
            })
        };
        let first = told(ann.id(), "diary");
        for (id, name) in [(ann.id(), "nothing"), (UNKNOWN, "diary"), (bob.id(), "diary"), ("nonsense", "diary"), (&town.root_id, "..")] {
            assert_eq!(told(id, name), first);
        }
        assert_eq!(names(&bob, OWN), [""; 0]);
        get(&bob, OWN, "diary").refused(404, "not_found");
        get(&ann, OF_SESSION, "diary").refused(404, "not_found");
        assert_eq!(get(&root, &of_user(ann.id()), "diary").expect(200).json["value"], SECRET);
    }

    /// What was sent is what is answered, byte for byte but for white space between tokens: no number is read and written anew, not even
    /// for the audit trail.
    fn values_are_kept_as_they_are(engine) {
        let town = Town::new(engine);
        let (ann, root) = (town.user("ann"), town.root());
        let values = [
            "1", "1.0", "-0", "1e2", "1.10", "123456789012345678901234567890", "0.1000000000000000055511151231257827", "9007199254740993",
            "\"\\u0041\\/\u{e9}\"", "\"\"", "null", "[]", "{}", "{\"b\":1,\"a\":[1.50,-1E+2]}", "\"\u{2028}\\u0000\"",
        ];
        for (number, value) in values.into_iter().enumerate() {
            for encrypted in [false, true] {
                let (cid, name) = (format!("kept-{number}-{encrypted}"), format!("n{number}"));
                let spaced = value.replace(',', " ,\r\n ").replace(':', "\t: ");
                let body = format!("{{ \"encrypted\" : {encrypted}, \"value\" : \n{spaced} \t }}");
                let set = ann.with("x-correlation-id", &cid).call("PUT", &format!("{OWN}/{name}"), Some(body));
                assert!([200, 201].contains(&set.status), "{value}: {}", set.text);
                let exact = format!("\"value\":{value},");
                assert!(set.text.contains(&exact), "{value}: {}", set.text);
                assert!(get(&ann, OWN, &name).text.contains(&exact), "{value}");
                assert!(ann.get(OWN).text.contains(&exact), "{value}");
                let several = format!("{{\"attributes\":{{\"{name}\":{{\"value\":{value},\"encrypted\":{encrypted}}}}}}}");
                assert!(ann.call("PUT", OWN, Some(several)).expect(200).text.contains(&exact), "{value}");
                let told = root.get(&format!("/api/v1/audit-events?cid={cid}")).expect(200).text;
                assert_eq!(told.contains(&format!("\"after\":{{{exact}")), !encrypted, "{told}");
            }
        }
        assert!(town.usher(&["audit", "export"]).expect(0).out.contains("{\"value\":123456789012345678901234567890,"));
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// Several in one call: set, replaced and removed together, others left alone, all or none.
    fn several_at_once(engine) {
        let town = Town::new(engine);
        let (ann, root) = (town.user("ann"), town.root());
        put(&ann, OWN, "stays", &json!({"value": 1})).expect(201);
        put(&ann, OWN, "goes", &json!({"value": 2})).expect(201);
        let body = json!({"attributes": {"fresh": {"value": 3, "encrypted": true}, "goes": null, "never-was": null, "stays": {"value": null}}});
        let set = root.with("x-correlation-id", "several").put(&of_user(ann.id()), &body).expect(200).json;
        assert_eq!(set, ann.get(OWN).json);
        assert_eq!(names(&ann, OWN), ["fresh", "stays"]);
        // A null value is a value; it is a null in place of the attribute that removes it.
        assert_eq!(get(&ann, OWN, "stays").expect(200).json["value"], Value::Null);
        let told = event(&root, "several");
        assert_eq!((&told["action"], &told["subject"]), (&json!("user.set_attributes"), &json!(ann.id())));
        let clear = |value: Value| json!({"value": value, "expiry": null, "is_encrypted": false});
        assert_eq!(told["changes"], json!({
            "fresh": {"before": null, "after": {"expiry": null, "is_encrypted": true}},
            "goes": {"before": clear(json!(2)), "after": null},
            "stays": {"before": clear(json!(1)), "after": clear(Value::Null)},
        }));
        let before = ann.get(OWN).text;
        for (body, status, code, pointer) in [
            (json!({}), 400, "bad_type", "/attributes"),
            (json!({"attributes": 1}), 400, "bad_type", "/attributes"),
            (json!({"attributes": {"a": 1}}), 400, "bad_type", "/attributes/a"),
            (json!({"attributes": {"a": {}}}), 400, "bad_type", "/attributes/a/value"),
            (json!({"attributes": {"a": {"value": 1, "encrypted": 1}}}), 400, "bad_type", "/attributes/a/encrypted"),
            (json!({"attributes": {"stays": null, "a": {"value": 1, "expires_in": 0}}}), 422, "invalid", "/attributes/a/expires_in"),
            (json!({"attributes": {"a": {"value": 1, "colour": 0}}}), 422, "invalid", "/attributes/a/colour"),
            (json!({"attributes": {"fresh": null, "a/b~c": {"value": 1}}}), 422, "invalid", "/attributes/a~1b~0c"),
            (json!({"attributes": {"a": null}, "more": 1}), 422, "invalid", "/more"),
        ] {
            let refused = ann.put(OWN, &body).refused(status, code);
            assert_eq!(refused.json["errors"][0]["pointer"], pointer, "{body} {}", refused.text);
        }
        ann.put(OWN, &json!({"attributes": {}})).refused(422, "invalid");
        for twice in ["{\"attributes\":{\"a\":null,\"a\":{\"value\":1}}}", "{\"attributes\":{\"a\":null},\"attributes\":{\"b\":null}}"] {
            ann.call("PUT", OWN, Some(twice.to_owned())).refused(422, "invalid");
        }
        assert_eq!(ann.get(OWN).text, before);
    }

    /// R23: an attribute is gone at its own time, not when somebody sweeps; its name is free then.
    fn expiry_is_judged_when_it_is_read(engine) {
        let town = Town::new(engine);
        let (ann, root) = (town.user("ann"), town.root());
        put(&ann, OWN, "code", &json!({"value": 1, "expires_in": 60})).expect(201);
        put(&ann, OWN, "other", &json!({"value": 1})).expect(201);
        town.advance(Duration::from_micros(59_999_999));
        get(&ann, OWN, "code").expect(200);
        town.advance(Duration::from_micros(1));
        get(&ann, OWN, "code").refused(404, "not_found");
        get(&root, &of_user(ann.id()), "code").refused(404, "not_found");
        assert_eq!(names(&ann, OWN), ["other"]);
        ann.delete(&format!("{OWN}/code")).refused(404, "not_found");
        assert_eq!(town.count("SELECT count(*) AS count FROM custom_attributes WHERE name = 'code'"), 1);
        ann.with("if-match", "*").put(&format!("{OWN}/code"), &json!({"value": 2})).refused(412, "precondition_failed");
        let again = ann.with("if-none-match", "*").put(&format!("{OWN}/code"), &json!({"value": 2})).expect(201).json;
        assert_eq!((&again["expiry"], &again["created_time"]), (&Value::Null, &json!(town.now().to_string())));
        // Setting it anew without an expiry takes the expiry away.
        let sealed = json!({"value": 1, "expires_in": 60, "encrypted": true});
        put(&ann, OF_SESSION, "code", &sealed).expect(201);
        put(&ann, OWN, "swept", &sealed).expect(201);
        put(&ann, OWN, "code", &json!({"value": 3, "expires_in": 1})).expect(200);
        put(&ann, OWN, "code", &json!({"value": 4})).expect(200);
        town.advance(Duration::from_secs(2));
        assert_eq!(get(&ann, OWN, "code").expect(200).json["value"], 4);
        // What has expired is swept away in the end.
        town.advance(Duration::from_secs(60));
        let town = town.restart();
        let left = || town.count("SELECT count(*) AS count FROM custom_attributes WHERE expiry IS NOT NULL");
        assert!((0..2000).any(|_| {
            town.anon().get("/readyz").expect(200);
            left() == 0
        }));
        assert_eq!(town.count("SELECT count(*) AS count FROM custom_attributes"), 2);
    }

    /// Attributes of a session are the bearer's alone, are there for every application that accepts the session, and end with it.
    fn those_of_a_session_end_with_it(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let other = town.anon().sign_in("ann", PASSWORD);
        put(&ann, OF_SESSION, "cart", &json!({"value": ["tea"], "encrypted": true})).expect(201);
        put(&ann, OF_SESSION, "step", &json!({"value": 2, "expires_in": 30})).expect(201);
        assert_eq!(names(&ann, OF_SESSION), ["cart", "step"]);
        assert_eq!(names(&other, OF_SESSION), [""; 0]);
        assert_eq!(names(&ann, OWN), [""; 0]);
        get(&other, OF_SESSION, "cart").refused(404, "not_found");
        town.advance(Duration::from_secs(30));
        assert_eq!(names(&ann, OF_SESSION), ["cart"]);
        let body = json!({"attributes": {"cart": null, "step": {"value": 3}}});
        assert_eq!(ann.put(OF_SESSION, &body).expect(200).json["items"][0]["value"], 3);
        ann.delete("/api/v1/sessions/current").expect(204);
        ann.get(OF_SESSION).refused(401, "session_invalid");
        put(&ann, OF_SESSION, "step", &json!({"value": 1})).refused(401, "session_invalid");
        assert_eq!(town.count("SELECT count(*) AS count FROM custom_attributes"), 0);
        // A password change opens a session of its own, and ends all others with what they have.
        put(&other, OF_SESSION, "cart", &json!({"value": 1})).expect(201);
        let body = json!({"old_password": PASSWORD, "new_password": "marble cloud engine 77"});
        let ust = other.put("/api/v1/users/me/password", &body).expect(200).json["ust"].as_str().unwrap().to_owned();
        assert_eq!(names(&town.anon().bearing(&ust), OF_SESSION), [""; 0]);
    }

    /// Bounds on names, values, their number and their size.
    fn bounds(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        for name in ["a%2Fb", "%2E%2E", ".a", "-a", ":a", "a%20b", "%C3%A9", "a%00", "a,b", &"x".repeat(65)] {
            let refused = put(&ann, OWN, name, &json!({"value": 1}));
            assert!([404, 422].contains(&refused.status), "{name}: {}", refused.text);
            assert!(get(&ann, OWN, name).status == 404, "{name}");
        }
        put(&ann, OWN, &"x".repeat(64), &json!({"value": 1})).expect(201);
        ann.delete(OWN).expect(204);
        let nested = |depth: usize| format!("{{\"value\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let path = format!("{OWN}/deep");
        ann.call("PUT", &path, Some(nested(16))).expect(201);
        let refused = ann.call("PUT", &path, Some(nested(17))).refused(422, "invalid");
        assert_eq!(refused.json["errors"][0]["pointer"], "/value");
        ann.call("PUT", &path, Some(nested(40))).refused(400, "not_json");
        ann.call("PUT", &path, Some("{\"value\":{\"a\":1,\"a\":2}}".to_owned())).refused(422, "invalid");
        ann.call("PUT", &path, Some("{\"value\":1e999}".to_owned())).refused(422, "invalid");
        ann.call("PUT", &path, Some("{\"value\":\"\\ud800\"}".to_owned())).refused(422, "invalid");
        ann.call("PUT", &path, Some("{\"value\":nul}".to_owned())).refused(400, "not_json");
        ann.call("PUT", &path, Some("[1]".to_owned())).refused(400, "bad_type");
        ann.call("PUT", &path, None).refused(400, "not_json");
        ann.with("content-type", "text/plain").call("PUT", &path, Some("{}".to_owned())).refused(415, "unsupported_media_type");
        let long = |bytes: usize| json!({"value": "x".repeat(bytes - 2)});
        put(&ann, OWN, "long", &long(16_384)).expect(201);
        put(&ann, OWN, "long", &long(16_385)).refused(422, "invalid");
        ann.delete(OWN).expect(204);
        for number in 0..64 {
            put(&ann, OWN, &format!("n{number}"), &json!({"value": number})).expect(201);
        }
        put(&ann, OWN, "one-more", &json!({"value": 1})).refused(409, "attributes_full");
        put(&ann, OWN, "n63", &json!({"value": 1})).expect(200);
        ann.put(OWN, &json!({"attributes": {"one-more": {"value": 1}}})).refused(409, "attributes_full");
        ann.put(OWN, &json!({"attributes": {"one-more": {"value": 1}, "n0": null}})).expect(200);
        assert_eq!(names(&ann, OWN).len(), 64);
        ann.delete(OWN).expect(204);
        for name in ["a", "b", "c", "d"] {
            put(&ann, OWN, name, &long(16_000)).expect(201);
        }
        put(&ann, OWN, "e", &long(16_000)).refused(409, "attributes_full");
        put(&ann, OWN, "e", &json!({"value": "x".repeat(1400), "encrypted": true})).expect(201);
        put(&ann, OWN, "f", &json!({"value": "x".repeat(200), "encrypted": true})).refused(409, "attributes_full");
        // Those of a session are counted by themselves.
        put(&ann, OF_SESSION, "e", &long(16_000)).expect(201);
    }

    /// Compare and set: by the entity tag of one attribute (RFC 9110, section 13.1).
    fn compare_and_set(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let path = format!("{OWN}/counter");
        let value = |n: i64| json!({"value": n});
        ann.with("if-match", "*").put(&path, &value(0)).refused(412, "precondition_failed");
        ann.with("if-match", "*").delete(&path).refused(412, "precondition_failed");
        let first = etag(&ann.with("if-none-match", "*").put(&path, &value(0)).expect(201));
        ann.with("if-none-match", "*").put(&path, &value(9)).refused(412, "precondition_failed");
        assert_eq!(etag(&ann.get(&path)), first);
        let second = etag(&ann.with("if-match", &first).put(&path, &value(0)).expect(200));
        assert_ne!(first, second);
        ann.with("if-match", &first).put(&path, &value(9)).refused(412, "precondition_failed");
        ann.with("if-match", &first).delete(&path).refused(412, "precondition_failed");
        assert_eq!(ann.get(&path).json["value"], 0);
        // Of many who count up from what they read, each counts.
        at_once(8, |_| for _ in 0..5 {
            loop {
                let read = ann.get(&path).expect(200);
                let more = value(read.json["value"].as_i64().unwrap() + 1);
                match ann.with("if-match", &etag(&read)).put(&path, &more).status {
                    200 => break,
                    status => assert_eq!(status, 412),
                }
            }
        });
        assert_eq!(ann.get(&path).json["value"], 40);
        let last = etag(&ann.get(&path));
        ann.with("if-match", &format!("\"x\", {last}")).delete(&path).expect(204);
        // Made anew it is another one, though it was set as often.
        let anew = etag(&ann.put(&path, &value(0)).expect(201));
        assert_ne!(anew, first);
    }

    /// Parallel settings of one name: each is done, one of them is what there is in the end, and nothing is there twice.
    fn parallel_settings_of_one_name(engine) {
        let town = Town::new(engine);
        let (ann, root) = (town.user("ann"), town.root());
        let of_ann = of_user(ann.id());
        for shelf in [OWN, OF_SESSION] {
            let statuses = at_once(12, |number| {
                let (by, shelf) = if shelf == OWN && number % 2 == 0 { (&root, of_ann.as_str()) } else { (&ann, shelf) };
                let body = json!({"value": number, "encrypted": number % 3 == 0});
                (0..5).map(|_| put(by, shelf, "one", &body).status).collect::<Vec<_>>()
            });
            let all: Vec<u16> = statuses.concat();
            assert!(all.iter().all(|s| [200, 201].contains(s)), "{all:?}");
            assert_eq!(all.iter().filter(|s| **s == 201).count(), 1, "{all:?}");
            assert!(get(&ann, shelf, "one").expect(200).json["value"].as_i64().unwrap() < 12);
        }
        // The bound on their number holds as well.
        let statuses = at_once(8, |thread| (0..12).map(|number| put(&ann, OWN, &format!("t{thread}-{number}"), &json!({"value": 1})).status).collect::<Vec<_>>());
        let all = statuses.concat();
        assert!(all.iter().all(|s| [201, 409].contains(s)), "{all:?}");
        assert_eq!(names(&ann, OWN).len(), 64);
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// The trail tells who set what, of encrypted ones the names alone; deleting the user takes the rows and the values.
    fn the_trail(engine) {
        let town = Town::new(engine);
        let (ann, root) = (town.user("ann"), town.root());
        put(&ann.with("x-correlation-id", "set"), OWN, "colour", &json!({"value": "green", "expires_in": 60})).expect(201);
        put(&root.with("x-correlation-id", "seal"), &of_user(ann.id()), "colour", &json!({"value": SECRET, "encrypted": true})).expect(200);
        ann.with("x-correlation-id", "drop").delete(&format!("{OWN}/colour")).expect(204);
        put(&ann.with("x-correlation-id", "cart"), OF_SESSION, "cart", &json!({"value": "tea"})).expect(201);
        ann.with("x-correlation-id", "clear").delete(OF_SESSION).expect(204);
        let expiry = (town.now() + Duration::from_secs(60)).to_string();
        let green = json!({"value": "green", "expiry": expiry, "is_encrypted": false});
        let sealed = json!({"expiry": null, "is_encrypted": true});
        let tea = json!({"value": "tea", "expiry": null, "is_encrypted": false});
        for (cid, action, actor, changes) in [
            ("set", "user.set_attribute", ann.id(), json!({"colour": {"before": null, "after": green}})),
            ("seal", "user.set_attribute", town.root_id.as_str(), json!({"colour": {"before": green, "after": sealed}})),
            ("drop", "user.delete_attribute", ann.id(), json!({"colour": {"before": sealed, "after": null}})),
            ("cart", "session.set_attribute", ann.id(), json!({"cart": {"before": null, "after": tea}})),
            ("clear", "session.delete_attributes", ann.id(), json!({"cart": {"before": tea, "after": null}})),
        ] {
            let told = event(&root, cid);
            assert_eq!((told["action"].as_str(), told["actor"].as_str(), told["subject"].as_str()), (Some(action), Some(actor), Some(ann.id())));
            assert_eq!(told["changes"], changes);
        }
        for (cid, path) in [("none", "nothing"), ("odd", "%2E%2E")] {
            get(&ann.with("x-correlation-id", cid), OWN, path).refused(404, "not_found");
            assert_eq!(event(&root, cid)["reason"], "attribute_unknown");
        }
        get(&root.with("x-correlation-id", "nobody"), &of_user(UNKNOWN), "x").refused(404, "not_found");
        assert_eq!(event(&root, "nobody")["reason"], "user_unknown");
        put(&ann, OWN, "last", &json!({"value": "crimson", "encrypted": true})).expect(201);
        put(&ann, OF_SESSION, "last", &json!({"value": "crimson"})).expect(201);
        root.delete(&format!("/api/v1/users/{}", ann.id())).expect(204);
        assert_eq!(town.count("SELECT count(*) AS count FROM custom_attributes"), 0);
        let all = town.usher(&["audit", "export"]).expect(0).out;
        for gone in ["green", "crimson", "\"tea\"", SECRET] {
            assert!(!all.contains(gone), "{gone} is still in the trail");
        }
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// S11, S30: rotating the data keys encrypts every attribute anew under the fresh key, drops the old one, and alters no value, while
    /// attributes are being set and read.
    fn rotating_the_data_keys(engine) {
        let town = Town::new(engine);
        let (ann, root) = (town.user("ann"), town.root());
        for number in 0..40 {
            put(&ann, OWN, &format!("n{number}"), &json!({"value": format!("{SECRET} {number}"), "encrypted": true})).expect(201);
            put(&ann, OF_SESSION, &format!("s{number}"), &json!({"value": number, "encrypted": number % 2 == 0})).expect(201);
        }
        let keys = || town.count("SELECT count(*) AS count FROM data_keys");
        let outdated = "SELECT count(*) AS count FROM custom_attributes a JOIN data_keys k ON k.data_key_id = a.data_key_id WHERE NOT k.is_active";
        assert_eq!(keys(), 1);
        let rotated = town.usher(&["secrets", "rotate", "--json"]).expect(0).json();
        // With the key that signs heads of the trail.
        assert_eq!((&rotated["resealed"], &rotated["dropped"]), (&json!(61), &json!(1)));
        assert_eq!((keys(), town.count(outdated)), (1, 0));
        let before: Vec<(String, String)> = [OWN, OF_SESSION].map(|shelf| (shelf.to_owned(), ann.get(shelf).expect(200).text)).into();
        let path = format!("{}/racing", of_user(&town.root_id));
        at_once(4, |thread| match thread {
            0 => for _ in 0..4 {
                town.usher(&["secrets", "rotate"]).expect(0);
            },
            1 => for number in 0..60 {
                assert!([200, 201].contains(&root.put(&path, &json!({"value": number, "encrypted": true})).status));
            },
            _ => for _ in 0..60 {
                for (shelf, text) in &before {
                    assert_eq!(&ann.get(shelf).expect(200).text, text);
                }
            },
        });
        town.usher(&["secrets", "rotate"]).expect(0);
        assert_eq!((keys(), town.count(outdated)), (1, 0));
        assert_eq!(root.get(&path).expect(200).json["value"], 59);
        // Moved to another's row it does not open, and nothing but that is told.
        town.sql("UPDATE custom_attributes SET sealed = (SELECT sealed FROM custom_attributes WHERE name = 'n1') WHERE name = 'n2'");
        assert_eq!(get(&ann, OWN, "n1").expect(200).json["value"], format!("{SECRET} 1"));
        let refused = get(&ann, OWN, "n2").refused(500, "internal");
        assert!(!refused.text.contains("custom_attributes") && !refused.text.contains(SECRET));
    }

    /// Rotating while users with secrets are deleted: neither waits for the other without end, and nothing of them is left.
    fn rotating_while_users_are_deleted(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let several = |number: usize| -> Value {
            let each = (0..30).map(|at| (format!("n{}", (at * 7 + number) % 30), json!({"value": at, "encrypted": true})));
            json!({"attributes": serde_json::Map::from_iter(each)})
        };
        let ids: Vec<String> = (0..12).map(|number| {
            let id = root.post("/api/v1/users", &json!({"username": format!("user-{number}")})).expect(201).json["user_id"].as_str().unwrap().to_owned();
            root.put(&of_user(&id), &several(number)).expect(200);
            id
        }).collect();
        at_once(3, |thread| match thread {
            0 => for _ in 0..4 {
                town.usher(&["secrets", "rotate"]).expect(0);
            },
            _ => for id in ids.iter().skip(thread - 1).step_by(2) {
                root.delete(&format!("/api/v1/users/{id}")).expect(204);
            },
        });
        assert_eq!(town.count("SELECT count(*) AS count FROM custom_attributes"), 0);
        town.usher(&["secrets", "rotate"]).expect(0);
        assert_eq!(town.count("SELECT count(*) AS count FROM data_keys"), 1);
    }

    /// The command line does the same, by name or id, and takes a value from standard input where others must not see it.
    fn at_the_command_line(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let attr = |arguments: &[&str]| town.usher(&[&["user", "attr"], arguments].concat());
        let set = attr(&["set", "ann", "theme", "--value", "{\"n\": 1.50}", "--expires-in", "3153600000", "--json"]).expect(0);
        assert!(set.out.contains("\"value\":{\"n\":1.50},\"expiry\":\""), "{set:?}");
        assert_eq!(attr(&["set", ann.id(), "plain", "--value", "\"green\""]).expect(0).out, "plain is set\n");
        let sealed = crate::harness::process::usher(&town.site, &["user", "attr", "set", "ann", "key", "--value-stdin", "--encrypted"], &format!("\"{SECRET}\"\n"));
        sealed.expect(0);
        assert_eq!(attr(&["get", "ann", "key"]).expect(0).out, format!("\"{SECRET}\"\n"));
        assert_eq!(attr(&["get", "ann", "key", "--json"]).expect(0).json()["is_encrypted"], true);
        assert!(get(&ann, OWN, "theme").expect(200).text.contains("\"value\":{\"n\":1.50},"));
        let listed = attr(&["list", "ann", "--json"]).expect(0).json();
        assert_eq!(listed["items"].as_array().unwrap().len(), 3);
        let lines = attr(&["list", "ann"]).expect(0).out;
        assert!(lines.lines().count() == 3 && lines.contains("theme") && lines.contains("{\"n\":1.50}"), "{lines}");
        assert_eq!(attr(&["delete", "ann", "plain"]).expect(0).out, "plain is removed\n");
        assert_eq!(attr(&["delete", "ann", "plain"]).expect(1).complaint(), "usher: The user has no attribute plain.");
        attr(&["get", "ann", "plain"]).expect(1).complaint();
        attr(&["list", "nobody"]).expect(1).complaint();
        assert_eq!(attr(&["delete", "ann", "--all", "--json"]).expect(0).json()["user_id"], ann.id());
        assert_eq!(attr(&["list", "ann"]).expect(0).out, "");
        for wrong in [
            &["set", "ann", "x"][..], &["set", "ann", "x", "--value", "nul"], &["set", "ann", "..", "--value", "1"], &["delete", "ann"],
            &["set", "ann", "x", "--value", "1", "--value-stdin"], &["set", "ann", "x", "--value", "1", "--expires-in", "0"], &["delete", "ann", "x", "--all"],
        ] {
            attr(wrong).expect(2);
        }
        // A control character in a value does nothing to a terminal.
        put(&ann, OWN, "tricky", &json!({"value": "\u{9b}31m\u{202e}"})).expect(201);
        assert_eq!(attr(&["get", "ann", "tricky"]).expect(0).out, "\"\\u009b31m\\u202e\"\n");
        assert!(!attr(&["list", "ann"]).expect(0).out.contains(['\u{9b}', '\u{202e}']));
        let exported = town.usher(&["audit", "export"]).expect(0).out;
        let actions: BTreeSet<String> = exported.lines().map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|e| e["actor_type"] == "operator").map(|e| e["action"].as_str().unwrap().to_owned()).collect();
        for action in ["user.set_attribute", "user.read_attribute", "user.list_attributes", "user.delete_attribute", "user.delete_attributes"] {
            assert!(actions.contains(action), "{actions:?}");
        }
        assert!(!exported.contains(SECRET));
    }
}
