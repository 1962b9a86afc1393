//! Requests that are cheap to send must be cheap to answer (S50): the largest of everything that a client may send, on every route, and what
//! others feel of it; connections that do nothing; passwords that were chosen for what they cost to judge.

use crate::both;
use crate::faults::{furnished, newcomer, root};
use crate::harness::process::{PROGRAM, Process, bare};
use crate::harness::{Client, Engine, Over, PASSWORD, Site, Town, at_once};
use serde_json::{Map, Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const ME: &str = "/api/v1/users/me";
/// Who send at once.
const CROWD: usize = 16;
/// How much slower others' calls may become.
const FACTOR: u32 = 10;
/// What zxcvbn takes longest for: each character stands for several.
const LEET: &str = "4@8({[<369&!|1$70+%2x5z";

/// One request, for everyone who sends it.
struct Sent {
    method: String,
    path: String,
    header: Option<(&'static str, String)>,
    body: Option<String>,
}

/// Text of so many bytes that looks like nothing in particular.
fn filler(length: usize) -> String {
    LEET.chars().cycle().take(length).collect()
}

/// The largest value that a schema allows, or a quarter of what a body may be.
fn largest(document: &Value, schema: &Value, name: &str, depth: usize) -> Value {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => &document["components"]["schemas"][reference.rsplit('/').next().unwrap()],
        None => schema,
    };
    if name.contains("password") {
        return json!(filler(64));
    }
    if let Some(first) = schema["enum"].get(0).or_else(|| schema["oneOf"].get(0).and_then(|one| one.get("const"))) {
        return first.clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"].get(0).and_then(Value::as_str)).unwrap_or("string");
    match kind {
        "object" if depth > 0 => {
            let members = schema["properties"].as_object().cloned().unwrap_or_default();
            let read_only = |member: &Value| member["readOnly"] == true;
            let given = members.iter().filter(|(_, member)| !read_only(member));
            given.map(|(name, member)| (name.clone(), largest(document, member, name, depth - 1))).collect::<Map<_, _>>().into()
        }
        "array" => json!(vec![filler(8); 1500]),
        "boolean" => json!(false),
        "integer" | "number" => json!(1),
        _ => json!(filler(schema["maxLength"].as_u64().map_or(15_000, |most| usize::try_from(most).unwrap().min(60_000)))),
    }
}

/// The largest requests of every route: headers, query strings and bodies.
fn largest_requests(victim: &str) -> Vec<Sent> {
    let document = usher::http::document();
    let ids = "0195f000-0000-7000-8000-000000000000";
    let mut sent = Vec::new();
    for route in usher::http::table() {
        // It would end the sessions of those who are listened to.
        if route.method.as_str() == "DELETE" && route.path == "/api/v1/sessions" {
            continue;
        }
        let mut path = route.path.replace("{user_id}", victim).replace("{name}", &"n".repeat(64));
        while let (Some(from), Some(to)) = (path.find('{'), path.find('}')) {
            path.replace_range(from..=to, ids);
        }
        let method = route.method.to_string();
        let request = |header, query: String, body| Sent { method: method.clone(), path: format!("{path}{query}"), header, body };
        for (name, value) in [
            ("if-match", ",".repeat(15_000)),
            ("if-none-match", "\"a\",".repeat(3_500)),
            ("cookie", format!("__Host-usher_device={}", "A".repeat(15_000))),
            ("x-correlation-id", filler(15_000)),
            ("user-agent", filler(15_000)),
        ] {
            let has_body = ["PATCH", "PUT", "POST"].contains(&method.as_str());
            sent.push(request(Some((name, value)), String::new(), has_body.then(|| json!({"first_name": "M"}).to_string())));
        }
        match method.as_str() {
            "GET" => {
                for query in [
                    format!("?q={}", "a+".repeat(3_900)),
                    format!("?prefix={}", "%C3%9F".repeat(1_300)),
                    format!("?cursor={}", "A".repeat(7_900)),
                    format!("?user_role={}", "administrator,".repeat(550)),
                    format!("?{}", "action=user.read&".repeat(480)),
                ] {
                    sent.push(request(None, query, None));
                }
            }
            _ => {
                let schema = &document["paths"][route.path][method.to_lowercase()]["requestBody"]["content"];
                let schema = schema.as_object().and_then(|kinds| kinds.values().next()).map(|kind| &kind["schema"]);
                let mut bodies = vec![
                    json!((0..5_000).map(|n| (format!("m{n}"), json!(1))).collect::<Map<_, _>>()).to_string(),
                    format!("{{\"a\":[{}1]}}", "[[[[[[[[1]]]]]]]],".repeat(3_000)),
                    format!("{{\"username\":\"{}\",\"password\":\"{}\"}}", filler(60_000), filler(200)),
                ];
                if let Some(schema) = schema {
                    bodies.push(largest(&document, schema, "", 4).to_string());
                }
                if path.contains("/attributes") {
                    let values = (0..60).map(|n| (format!("name-{n}"), json!({"value": filler(900), "encrypted": true})));
                    bodies.push(json!({"attributes": values.collect::<Map<_, _>>()}).to_string());
                }
                bodies.retain(|body| body.len() <= 64 * 1024);
                sent.extend(bodies.into_iter().map(|body| request(None, String::new(), Some(body))));
            }
        }
    }
    sent
}

/// How long others' calls take while a crowd sends; in ascending order.
fn others(service: &Process, ann: &Client, span: Duration, send: impl Fn(&Client, usize) + Sync) -> Vec<Duration> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = Over(&is_over);
        for number in 0..CROWD {
            let (is_over, send, client) = (&is_over, &send, service.anon());
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    send(&client, number);
                }
            });
        }
        let began = Instant::now();
        let mut waits = Vec::new();
        while began.elapsed() < span {
            let asked = Instant::now();
            ann.get(ME).expect(200);
            waits.push(asked.elapsed());
        }
        drop(over);
        waits.sort_unstable();
        waits
    })
}

fn quantile(waits: &[Duration], share: usize) -> Duration {
    waits[(waits.len() - 1) * share / 100]
}

/// The largest requests by sixteen connections, against small ones by as many.
fn are_not_felt(engine: Engine, span: Duration, share: usize) {
    let site = furnished(Site::new(engine).with("lockout.address_free", "1000000000").with("links.asking_free", "1000000000"));
    let service = Process::serve(&site);
    let by = root(&service);
    let ann = newcomer(&service, &by, "ann");
    let victim = newcomer(&service, &by, "victim");
    by.post("/api/v1/users", &json!({"username": "eve", "password": PASSWORD, "user_role": "administrator"})).expect(201);
    let (eve, mallory) = (service.anon().sign_in("eve", PASSWORD), newcomer(&service, &by, "mallory"));
    let requests = largest_requests(victim.id());
    let senders = [eve.ust.unwrap(), mallory.ust.unwrap(), String::new()];
    let next = AtomicUsize::new(0);
    let flood = |client: &Client, number: usize| {
        let sent = &requests[next.fetch_add(1, Ordering::Relaxed) % requests.len()];
        let token = &senders[number % senders.len()];
        let client = if token.is_empty() { client.clone() } else { client.bearing(token) };
        let client = match &sent.header {
            Some((name, value)) => client.with(name, value),
            None => client,
        };
        // Whether it is taken does not matter here; that it is answered does.
        if let Ok(answer) = client.try_call(&sent.method, &sent.path, sent.body.clone()) {
            assert!(answer.status < 500 || answer.status == 503, "{} {}: {}", sent.method, sent.path, answer.text);
        }
    };
    let small = |client: &Client, _: usize| drop(client.try_call("GET", ME, None));
    let small = others(&service, &ann, span, small);
    let large = others(&service, &ann, span, flood);
    let [small_wait, large_wait] = [&small, &large].map(|waits| quantile(waits, share));
    println!(
        "{engine:?}: {} requests; others' GET {ME} at {share} %: {small_wait:?} ({} calls) beside small ones, {large_wait:?} ({}) beside the largest",
        next.load(Ordering::Relaxed),
        small.len(),
        large.len()
    );
    assert!(large_wait < small_wait * FACTOR, "{small_wait:?}, {large_wait:?}");
}

both! {
    /// S50: the largest of every header, query and body on every route, by sixteen connections: others feel no more of it than of as many
    /// small requests, within a factor.
    fn the_largest_requests_are_not_felt(engine) {
        are_not_felt(engine, Duration::from_secs(6), 50);
    }

    /// The same for longer, and by the slowest call of a hundred.
    #[ignore = "a soak of some minutes"]
    fn the_largest_requests_are_not_felt_for_long(engine) {
        are_not_felt(engine, Duration::from_secs(60), 99);
    }

    /// S50: a list of entity tags has an end, for users and for attributes alike; what is within it holds as it did.
    fn a_list_of_entity_tags_has_an_end(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let attribute = format!("{ME}/attributes/colour");
        let tag = ann.get(ME).headers["etag"].clone();
        let list = |count: usize| vec!["\"other\""; count].join(", ");
        for (path, body) in [(ME.to_owned(), json!({"first_name": "Ann"})), (attribute, json!({"value": "red"}))] {
            let method = if path == ME { "PATCH" } else { "PUT" };
            let send = |name: &str, value: &str| ann.with(name, value).call(method, &path, Some(body.to_string()));
            send("if-match", &list(33)).refused(400, "bad_request");
            send("if-match", &",".repeat(15_500)).refused(400, "bad_request");
            send("if-match", &list(32)).refused(412, "precondition_failed");
        }
        ann.with("if-none-match", &list(33)).put(&format!("{ME}/attributes/size"), &json!({"value": 1})).refused(400, "bad_request");
        ann.with("if-match", &format!("{}, {tag}", list(31))).patch(ME, &json!({"first_name": "Ann"})).expect(200);
        // A refusal by its length says which header it was.
        let refused = ann.with("if-match", &list(40)).patch(ME, &json!({"first_name": "Bo"}));
        assert!(refused.json["detail"].as_str().unwrap().contains("if-match has more than 32"), "{}", refused.text);
    }

    /// S50: a refused new password counts as an asking, wherever it is judged: beyond some of them nothing is judged for a while, while
    /// one that fits is taken.
    fn refused_passwords_are_slowed_down(engine) {
        let town = Town::on(Site::new(engine).with("links.asking_free", "3"));
        let (root, ann) = (town.root(), town.user("ann"));
        let unfit = filler(14);
        let change = |new: &str| ann.put(&format!("{ME}/password"), &json!({"old_password": PASSWORD, "new_password": new}));
        let set = |new: &str| root.put(&format!("/api/v1/users/{}/password", ann.id()), &json!({"new_password": new}));
        let create = |new: &str| root.post("/api/v1/users", &json!({"username": "bob", "password": new}));
        change(&unfit).refused(422, "password_unfit");
        set(&unfit).refused(422, "password_unfit");
        create(&unfit).refused(422, "password_unfit");
        for ask in [&change as &dyn Fn(&str) -> _, &set, &create] {
            let refused = ask(&unfit).refused(429, "too_many_attempts");
            assert!(refused.headers.contains_key("retry-after"));
        }
        create("a long and winding road").expect(201);
        town.advance(Duration::from_secs(3601));
        root.post("/api/v1/users", &json!({"username": "cem", "password": unfit})).refused(401, "session_invalid");
        town.root().post("/api/v1/users", &json!({"username": "cem", "password": unfit})).refused(422, "password_unfit");
        // The command line is not slowed down.
        for _ in 0..5 {
            let ran = crate::harness::process::usher(&town.site, &["user", "create", "dan", "--password-stdin"], &unfit);
            assert!(ran.expect(1).err.contains("policy"));
        }
    }
}

/// A connection from this address of the machine.
fn connect_from(from: &str, to: &str) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connect = async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(from.parse().unwrap()).unwrap();
        socket.connect(to.parse().unwrap()).await.unwrap()
    };
    let stream = runtime.block_on(connect).into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// S50: two thousand idle connections of one address, under the usual limit of 1,024 descriptors: others are answered, the database is
/// opened, and whoever is too much is shut out.
#[test]
fn idle_connections_of_one_address_harm_nobody() {
    const IDLE: usize = 2_000;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let site = furnished(Site::new(Engine::Sqlite));
    let mut command = bare("sh", site.folder.path());
    command.arg("-c").arg(format!("ulimit -n 1024 && exec {PROGRAM} serve --config {}", site.settings().display()));
    let service = Process::start(command);
    assert!(service.log().contains("the limit of open files carries fewer connections"), "{}", service.log());
    let by = root(&service);
    let ann = newcomer(&service, &by, "ann");
    let address = service.base.strip_prefix("http://").unwrap().to_owned();
    let idle: Vec<Vec<TcpStream>> =
        at_once(8, |_| (0..IDLE / 8).filter_map(|_| TcpStream::connect(&address).ok()).collect::<Vec<_>>());
    let idle: Vec<TcpStream> = idle.into_iter().flatten().collect();
    assert!(idle.len() > IDLE / 2, "{}", idle.len());
    // From another address of this machine; the idle ones are still there.
    let ask = |path: &str, token: Option<&str>| {
        let mut stream = connect_from("127.0.0.9:0", &address);
        let token = token.map(|t| format!("authorization: Bearer {t}\r\n")).unwrap_or_default();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{token}\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    for _ in 0..20 {
        let answer = ask(ME, ann.ust.as_deref());
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let answer = ask("/readyz", None);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(idle);
}

/// Wrong secrets, by every way on which one is verified. Each is told the client, the user's name and the number of the try.
type Way = (&'static str, fn(&Town, &Client, &str) -> u16);

const WAYS: &[Way] = &[
    ("sign-in", |town, _, name| town.anon().try_sign_in(name, "wrong wrong wrong").status),
    ("sign-in with a code", |town, _, name| town.anon().try_sign_in_with(name, PASSWORD, "000000").status),
    ("sign-in with a recovery code", |town, _, name| {
        town.anon().try_sign_in_with(name, PASSWORD, "aaaaa-aaaaa-aaaaa-aaaaa-aaaa").status
    }),
    ("password change", |_, client, _| {
        client.put(&format!("{ME}/password"), &json!({"old_password": "wrong wrong wrong", "new_password": PASSWORD})).status
    }),
    ("codes switched off", |_, client, _| {
        client.call("DELETE", &format!("{ME}/totp"), Some(json!({"code": "000000"}).to_string())).status
    }),
];

both! {
    /// S9, S7: every way on which a secret of an account is verified shares one count: five wrong ones by any of them slow the next sign-in
    /// down, and five by all of them in turn as well.
    fn every_way_to_guess_shares_one_count(engine) {
        let town = Town::new(engine);
        for (at, (way, _)) in WAYS.iter().enumerate().chain([(WAYS.len(), &("all of them", WAYS[0].1))]) {
            let name = format!("user-{at}");
            let client = town.user(&name);
            let key = client.post(&format!("{ME}/totp"), &json!({})).expect(201).json["totp_key"].as_str().unwrap().to_owned();
            let code = json!({"code": town.code(&key)});
            client.post(&format!("{ME}/totp/confirm"), &code).expect(200);
            for number in 0..5 {
                let guess = WAYS[if at < WAYS.len() { at } else { number % WAYS.len() }].1;
                let status = guess(&town, &client, &name);
                assert!([401, 403, 422].contains(&status), "{way}: {status}");
            }
            town.anon().try_sign_in(&name, PASSWORD).refused(429, "too_many_attempts");
            town.advance(Duration::from_secs(31));
        }
    }

    /// S7: strangers from one network are slowed down steeply, and an owner who comes from somewhere new hardly: by ten seconds at most, from
    /// the twentieth failure on. From where the owner has signed in lately strangers elsewhere are not felt at all.
    fn strangers_do_not_keep_the_owner_out(engine) {
        let town = Town::on(Site::new(engine).with("server.trusted_proxies", "[\"127.0.0.1/32\"]"));
        let from = |address: &str| town.anon().with("x-forwarded-for", address);
        town.create("ann");
        from("192.0.2.7").sign_in("ann", PASSWORD);
        let wrong = |address: &str| from(address).try_sign_in("ann", "wrong wrong wrong");
        for number in 0..5 {
            wrong(&format!("198.51.100.{number}")).refused(401, "credentials_invalid");
        }
        // The network is slowed down, whatever address of it comes.
        wrong("198.51.100.77").refused(429, "too_many_attempts");
        from("198.51.100.78").try_sign_in("ann", PASSWORD).refused(429, "too_many_attempts");
        // Another one is not, nor is where the owner was.
        from("203.0.113.1").try_sign_in("nobody", PASSWORD).refused(401, "credentials_invalid");
        for number in 0..15 {
            wrong(&format!("10.0.{number}.1")).refused(401, "credentials_invalid");
        }
        // Twenty by now: a second for everyone who is nowhere known.
        let refused = from("203.0.113.1").try_sign_in("ann", PASSWORD).refused(429, "too_many_attempts");
        assert!(["1", "2"].contains(&refused.headers["retry-after"].as_str()), "{refused:?}");
        for number in 0..10 {
            town.advance(Duration::from_secs(10));
            wrong(&format!("10.1.{number}.1")).refused(401, "credentials_invalid");
        }
        let refused = from("203.0.113.1").try_sign_in("ann", PASSWORD).refused(429, "too_many_attempts");
        assert!(["10", "11"].contains(&refused.headers["retry-after"].as_str()), "{refused:?}");
        from("192.0.2.7").sign_in("ann", PASSWORD);
        // An address is known for thirty days; afterwards it is anyone's.
        for number in 0..20 {
            wrong(&format!("10.2.{number}.1"));
        }
        from("192.0.2.7").sign_in("ann", PASSWORD);
        // One of hers, and one of whoever made the account.
        assert_eq!(town.count("SELECT count(*) AS count FROM known_addresses"), 2);
        town.advance(Duration::from_secs(31 * 24 * 60 * 60));
        for number in 0..20 {
            wrong(&format!("10.3.{number}.1"));
        }
        from("192.0.2.7").try_sign_in("ann", PASSWORD).refused(429, "too_many_attempts");
    }

    /// S7, S5: a name that nobody bears is slowed down like one that somebody does.
    fn unknown_names_are_slowed_down_alike(engine) {
        let town = Town::on(Site::new(engine).with("server.trusted_proxies", "[\"127.0.0.1/32\"]"));
        let from = |address: &str| town.anon().with("x-forwarded-for", address);
        town.create("ann");
        let tries = |name: &str| {
            let mut seen = Vec::new();
            for number in 0..8 {
                seen.push(from(&format!("198.51.100.{number}")).try_sign_in(name, "wrong wrong wrong"));
            }
            for number in 0..18 {
                seen.push(from(&format!("10.0.{number}.1")).try_sign_in(name, "wrong wrong wrong"));
            }
            let told = |answer: crate::harness::Answer| (answer.status, answer.headers.get("retry-after").cloned());
            seen.into_iter().map(told).collect::<Vec<_>>()
        };
        let of_ann = tries("ann");
        assert!(of_ann.iter().any(|(status, _)| *status == 429) && of_ann == tries("nobody"), "{of_ann:?}");
    }

    /// S9: a linked account has a cap of its own. At the hundredth wrong password it is switched off, its user's sign-in is not slowed down;
    /// one that is made anew opens again.
    fn a_linked_account_locks_itself_alone(engine) {
        let town = Town::on(Site::new(engine).with("lockout.lock_after", "7"));
        let ann = town.user("ann");
        let root = town.root();
        let create = || {
            let create = ["linked", "create", "robot", "--user", "ann", "--password-stdin"];
            crate::harness::process::usher(&town.site, &create, PASSWORD).expect(0);
            town.hear();
        };
        create();
        let basic = |password: &str| {
            use base64::Engine as _;
            let credential = base64::engine::general_purpose::STANDARD.encode(format!("robot:{password}"));
            let body = json!({"current_app": "default"}).to_string();
            let client = town.anon().with("authorization", &format!("Basic {credential}"));
            client.call("GET", "/zato/sso/user", Some(body)).headers.get("x-zato-sso-ust").cloned()
        };
        assert!(basic(PASSWORD).is_some());
        for _ in 0..7 {
            assert_eq!(basic("wrong wrong wrong"), None);
            town.advance(Duration::from_secs(100));
        }
        assert_eq!(basic(PASSWORD), None);
        assert_eq!(town.count("SELECT count(*) AS count FROM linked_accounts WHERE NOT is_active"), 1);
        assert_eq!(town.count("SELECT count(*) AS count FROM linked_accounts WHERE session_id IS NOT NULL"), 0);
        town.anon().sign_in("ann", PASSWORD).get(ME).expect(200);
        let user = root.get(&format!("/api/v1/users/{}", ann.id())).json;
        assert_eq!((user["is_locked"].as_bool(), user["failed_login_count"].as_i64()), (Some(false), Some(0)));
        // A new one of its name begins anew.
        town.usher(&["linked", "delete", "robot"]).expect(0);
        create();
        assert!(basic(PASSWORD).is_some());
    }
}
