//! What goes wrong: a process that is killed, a database that goes away or is full, an installation that is not as it must be; and that
//! even then nothing answered is lost, nothing ended comes back, and no secret comes out.

use crate::both;
use crate::harness::postgres::{self, Postgres, Server};
use crate::harness::process::{self, Process, Ran, usher};
use crate::harness::{Answer, Client, Engine, PASSWORD, ROOT, Site, at_once};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ME: &str = "/api/v1/users/me";
const USERS: &str = "/api/v1/users";
const SESSIONS: &str = "/api/v1/sessions";
const RENEW: &str = "/api/v1/sessions/current/renew";
const CORRELATION_ID: &str = "x-correlation-id";

/// A site with its first super-user.
fn furnished(site: Site) -> Site {
    usher(&site, &["user", "create", ROOT, "--super-user", "--password-stdin"], PASSWORD).expect(0);
    site
}

fn root(service: &Process) -> Client {
    service.anon().sign_in(ROOT, PASSWORD)
}

/// Creates a user without a password.
fn create(by: &Client, name: &str) -> Answer {
    by.post(USERS, &json!({"username": name}))
}

/// Creates a user with the password of these tests, and signs it in.
fn newcomer(service: &Process, root: &Client, name: &str) -> Client {
    root.post(USERS, &json!({"username": name, "password": PASSWORD})).expect(201);
    service.anon().sign_in(name, PASSWORD)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string")).to_owned()
}

// ---------------------------------------------------------------------------------------------------------------------------------
// kill -9

/// A call that was answered.
struct Answered {
    cid: String,
    answer: Answer,
}

/// Has six clients sign in and create users, each call with a correlation id of its own, kills the process once so many calls are
/// answered, and returns every call that was.
fn killed_under_load(service: &mut Process, round: usize, enough: usize) -> Vec<Answered> {
    let by = root(service);
    let names: Vec<String> = (0..6).map(|number| format!("client-{round}-{number}")).collect();
    for name in &names {
        by.post(USERS, &json!({"username": name, "password": PASSWORD})).expect(201);
    }
    let anon = service.anon();
    let (send, receive) = channel();
    std::thread::scope(|scope| {
        for name in &names {
            let (send, by, anon) = (send.clone(), &by, &anon);
            scope.spawn(move || {
                for number in 0.. {
                    let cid = format!("{name}-{number}");
                    let fresh = format!("fresh-{name}-{number}");
                    let called = match number % 3 {
                        0 => {
                            let body = json!({"username": name, "password": PASSWORD});
                            anon.with(CORRELATION_ID, &cid).try_call("POST", SESSIONS, Some(body.to_string()))
                        }
                        1 => {
                            let body = json!({"username": fresh});
                            by.with(CORRELATION_ID, &cid).try_call("POST", USERS, Some(body.to_string()))
                        }
                        _ => {
                            let body = json!({"username": fresh, "password": PASSWORD});
                            by.with(CORRELATION_ID, &cid).try_call("POST", USERS, Some(body.to_string()))
                        }
                    };
                    // No answer: the process is gone.
                    let Ok(answer) = called else { return };
                    send.send(Answered { cid, answer }).unwrap();
                }
            });
        }
        drop(send);
        let mut answered: Vec<Answered> = receive.iter().take(enough).collect();
        service.kill();
        answered.extend(receive.iter());
        answered
    })
}

/// Every event of the trail.
fn trail(site: &Site) -> Vec<Value> {
    let exported = usher(site, &["audit", "export"], "").expect(0).out;
    exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The ids of all users.
fn user_ids(site: &Site) -> BTreeSet<String> {
    let listed = usher(site, &["user", "list", "--json"], "").expect(0).json();
    listed["items"].as_array().unwrap().iter().map(|user| text(&user["user_id"])).collect()
}

fn survives_kills(engine: Engine, rounds: usize) {
    let site = furnished(Site::new(engine));
    let mut service = Process::serve(&site);
    for round in 0..rounds {
        let answered = killed_under_load(&mut service, round, 30 + 7 * round);
        assert!(answered.len() >= 30, "only {} calls were answered", answered.len());
        usher(&site, &["audit", "verify"], "").expect(0);
        let events = trail(&site);
        let mut of_cid: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
        events.iter().for_each(|event| of_cid.entry(text(&event["cid"])).or_default().push(event));
        // Of calls that were not answered there is an event or none, but never two.
        assert!(of_cid.values().all(|events| events.len() == 1), "a call left two events");
        // A user is there if and only if its creation is in the trail, answered or not.
        let created = events.iter().filter(|e| e["action"] == "user.create" && e["outcome"] == "success");
        assert_eq!(created.map(|e| text(&e["subject"])).collect::<BTreeSet<_>>(), user_ids(&site));

        service = Process::serve(&site);
        let again = root(&service);
        for Answered { cid, answer } in &answered {
            assert_eq!(answer.status, 201, "{}", answer.text);
            let found = again.get(&format!("/api/v1/audit-events?cid={cid}")).expect(200).json;
            assert_eq!(found["items"].as_array().unwrap().len(), 1, "{cid} {found}");
            assert_eq!(found["items"][0]["outcome"], "success");
            match answer.json["ust"].as_str() {
                Some(ust) => {
                    let me = service.anon().bearing(ust).get(ME).expect(200).json;
                    assert_eq!(me["user_id"], answer.json["user"]["user_id"]);
                }
                None => {
                    let path = format!("{USERS}/{}", text(&answer.json["user_id"]));
                    assert_eq!(again.get(&path).expect(200).json["username"], answer.json["username"]);
                }
            }
        }
        usher(&site, &["audit", "verify"], "").expect(0);
    }
}

both! {
    /// S46: after `kill -9` under load, whatever was answered is there, with its one audit event, and the trail is sound.
    fn what_was_answered_outlives_kill_9(engine) {
        survives_kills(engine, 3);
    }

    /// The same for longer.
    #[ignore = "a soak of some minutes"]
    fn what_was_answered_outlives_kill_9_twenty_times(engine) {
        survives_kills(engine, 20);
    }

    /// S21, R11: an end is durable when it is answered: a revoked session, a signed-out one and a locked account stay refused after
    /// `kill -9` and a restart.
    fn an_end_outlives_kill_9(engine) {
        let site = furnished(Site::new(engine));
        let mut service = Process::serve(&site);
        let by = root(&service);
        let [revoked, one_of_two, left, locked, spared] =
            ["revoked", "twice", "left", "locked", "spared"].map(|name| newcomer(&service, &by, name));
        let other = service.anon().sign_in("twice", PASSWORD);
        for client in [&revoked, &one_of_two, &other, &left, &locked, &spared] {
            client.get(ME).expect(200);
        }
        by.delete(&format!("{USERS}/{}/sessions", revoked.id())).expect(204);
        let session = one_of_two.session_id.as_deref().unwrap();
        by.delete(&format!("{USERS}/{}/sessions/{session}", one_of_two.id())).expect(204);
        left.delete("/api/v1/sessions/current").expect(204);
        by.post(&format!("{USERS}/{}/lock", locked.id()), &json!({"reason": "left the house"})).expect(200);
        service.kill();

        let service = Process::serve(&site);
        let back = |client: &Client| service.anon().bearing(client.ust.as_deref().unwrap()).get(ME);
        for ended in [&revoked, &one_of_two, &left, &locked] {
            back(ended).refused(401, "session_invalid");
        }
        for alive in [&other, &spared, &by] {
            back(alive).expect(200);
        }
        service.anon().try_sign_in("locked", PASSWORD).refused(401, "account_locked");
        usher(&site, &["audit", "verify"], "").expect(0);
    }
}

// ---------------------------------------------------------------------------------------------------------------------------------
// A database server that crashes

/// A call on a database that is gone is answered within a second. Half a second more is left to the scheduler: the tests share a few
/// cores with each other.
const SOON: Duration = Duration::from_millis(1500);

/// This call is answered soon, and by "come back later".
#[track_caller]
fn is_unavailable(client: &Client, method: &str, path: &str, body: Option<Value>) {
    let began = Instant::now();
    let answer = client.call(method, path, body.map(|b| b.to_string()));
    let took = began.elapsed();
    let answer = answer.refused(503, "unavailable");
    assert!(answer.headers["retry-after"].parse::<u32>().is_ok_and(|seconds| seconds > 0), "{:?}", answer.headers);
    assert!(took < SOON, "{method} {path} took {took:?}");
}

/// Asks again until it is answered so, for half a minute at most.
fn until_answered(client: &Client, path: &str, status: u16) -> Answer {
    let began = Instant::now();
    loop {
        let answer = client.get(path);
        if answer.status == status {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{path} is still answered {}: {}", answer.status, answer.text);
        std::thread::yield_now();
    }
}

/// While the PostgreSQL server is gone every call is answered 503, soon and with a time to come back; when it is there again, so is the
/// service, without a restart, and with everything that it had answered.
#[test]
fn a_crashed_database_is_waited_for() {
    if !postgres::is_there() {
        return;
    }
    let mut server = Server::own();
    let site = furnished(Site::at(TempDir::new().unwrap(), Engine::Postgres, server.create_database()));
    let mut service = Process::serve(&site);
    let (anon, by) = (service.anon(), root(&service));
    let ann = newcomer(&service, &by, "ann");

    // Crash in the middle of changes.
    let (send, receive) = channel();
    let created = std::thread::scope(|scope| {
        for number in 0..4 {
            let (send, by) = (send.clone(), &by);
            scope.spawn(move || {
                for round in 0.. {
                    let answer = create(by, &format!("early-{number}-{round}"));
                    if answer.status != 201 {
                        answer.refused(503, "unavailable");
                        return;
                    }
                    send.send(text(&answer.json["user_id"])).unwrap();
                }
            });
        }
        drop(send);
        let mut created: Vec<String> = receive.iter().take(40).collect();
        server.crash();
        created.extend(receive.iter());
        created
    });

    for _ in 0..3 {
        is_unavailable(&ann, "GET", ME, None);
        is_unavailable(&anon, "POST", SESSIONS, Some(json!({"username": "ann", "password": PASSWORD})));
        is_unavailable(&ann, "POST", RENEW, None);
        is_unavailable(&by, "POST", USERS, Some(json!({"username": "late"})));
        anon.get("/healthz").expect(200);
        let began = Instant::now();
        anon.get("/readyz").expect(503);
        assert!(began.elapsed() < SOON, "/readyz took {:?}", began.elapsed());
    }
    // Many who wait do not wait for each other.
    at_once(20, |number| match number % 3 {
        0 => is_unavailable(&ann, "GET", ME, None),
        1 => is_unavailable(&anon, "POST", SESSIONS, Some(json!({"username": "ann", "password": PASSWORD}))),
        _ => is_unavailable(&ann, "POST", RENEW, None),
    });
    let down = usher(&site, &["user", "list"], "").expect(69);
    assert!(down.complaint().contains("PostgreSQL"), "{down:?}");

    server.resume();
    until_answered(&anon, "/readyz", 200);
    until_answered(&ann, ME, 200);
    assert!(service.is_alive());
    assert!(created.len() >= 40);
    for user_id in &created {
        by.get(&format!("{USERS}/{user_id}")).expect(200);
    }
    create(&by, "late").expect(201);
    anon.sign_in("ann", PASSWORD).call("POST", RENEW, None).expect(200);
    usher(&site, &["audit", "verify"], "").expect(0);
    assert!(!service.log().contains("panicked"), "{}", service.log());
}

// ---------------------------------------------------------------------------------------------------------------------------------
// An installation that is not as it must be

fn serve(site: &Site) -> Command {
    let mut command = process::program(site.folder.path());
    command.arg("serve").arg("--config").arg(site.settings());
    command
}

/// Neither the service nor a command gets to work: both end with this code and one line that says all of this.
#[track_caller]
fn neither_starts(site: &Site, code: i32, words: &[&str]) {
    let service = process::refused_start(serve(site));
    let command = usher(site, &["user", "list"], "");
    for ran in [&service, &command] {
        assert_eq!(ran.code, Some(code), "{ran:?}");
        let line = ran.complaint();
        for word in words {
            assert!(line.contains(word), "{line} says nothing of {word}");
        }
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A database URL that leads nowhere is told from one that makes no sense, and neither is made into an SQLite file of that name.
#[test]
fn a_wrong_database_url_is_refused() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing/usher.db");
    let at = |url: &str| {
        let site = Site::at(TempDir::new().unwrap(), Engine::Sqlite, url.to_owned());
        let keys = format!("{:?}", site.keys());
        site.with("secrets.file", &keys)
    };
    for url in [
        "mysql://usher:hunter2@localhost/usher",
        "usher.db",
        "postgres:hunter2",
        "postgres:/usher:hunter2@localhost/usher",
        "sqlite:",
        "sqlite::memory:",
        "",
    ] {
        let site = at(url);
        neither_starts(&site, 1, &["database.url"]);
        let said = usher(&site, &["migrate"], "").expect(1);
        assert!(!said.complaint().contains("hunter2"), "{said:?}");
        let left: Vec<_> = fs::read_dir(site.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["usher.toml"], "{url}");
    }
    // Nobody listens there, and the password is not told.
    for url in ["postgres://usher:hunter2@127.0.0.1:1/usher", "postgresql://usher@127.0.0.1:1/usher?password=hunter2"] {
        let site = at(url);
        neither_starts(&site, 69, &["127.0.0.1", "PostgreSQL"]);
        for arguments in [&["migrate"][..], &["migrate", "--check"], &["audit", "verify"]] {
            assert!(!usher(&site, arguments, "").expect(69).complaint().contains("hunter2"));
        }
    }
    let site = at(&format!("sqlite:{}", missing.display()));
    usher(&site, &["secrets", "init"], "").expect(0);
    neither_starts(&site, 69, &[&missing.display().to_string()]);
    usher(&site, &["migrate"], "").expect(69).complaint();
    assert!(!missing.parent().unwrap().exists());
}

/// An SQLite path in a folder that does not exist is told as such, and not as trouble with the key file that would stand beside it.
#[test]
fn a_missing_folder_is_named() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing/usher.db");
    let site = Site::at(TempDir::new().unwrap(), Engine::Sqlite, format!("sqlite:{}", missing.display()));
    neither_starts(&site, 69, &[&missing.display().to_string()]);
    assert!(!missing.parent().unwrap().exists());
}

fn run_sql(site: &Site, statement: &str) {
    match site.engine {
        Engine::Sqlite => crate::harness::sqlite(&site.file(), statement),
        Engine::Postgres => Postgres::run(&site.url, statement),
    }
}

both! {
    /// A database that lacks a migration is not worked on: commands name the migration and exit 3.
    fn a_missing_migration_is_named(engine) {
        let site = furnished(Site::new(engine));
        usher(&site, &["migrate"], "").expect(0);
        usher(&site, &["migrate", "--check"], "").expect(0);
        run_sql(&site, "DELETE FROM __diesel_schema_migrations WHERE version = (SELECT max(version) FROM __diesel_schema_migrations)");
        let checked = usher(&site, &["migrate", "--check"], "").expect(3);
        let lacking = checked.out.trim().to_owned();
        assert!(!lacking.is_empty() && !lacking.contains('\n'), "{checked:?}");
        checked.complaint();
        let listed = usher(&site, &["user", "list"], "").expect(3);
        assert!(listed.complaint().contains(&lacking) && listed.out.is_empty(), "{listed:?}");
        assert!(usher(&site, &["user", "create", "ann"], "").expect(3).complaint().contains(&lacking));
    }

    /// A database whose migrations are not known is no empty one: no key file is made for it.
    fn a_database_without_its_table_of_migrations_is_not_empty(engine) {
        let site = furnished(Site::new(engine));
        run_sql(&site, "DELETE FROM __diesel_schema_migrations");
        fs::remove_file(site.keys()).unwrap();
        let mut command = process::program(site.folder.path());
        // Without a second call of Site::settings(), which would make a key file on PostgreSQL.
        command.args(["user", "list", "--config"]).arg(site.folder.path().join("usher.toml"));
        let ran = process::run(command, "");
        assert!(!site.keys().exists(), "a key file was made for a database with data: {ran:?}");
        assert!(matches!(ran.code, Some(1 | 3)), "{ran:?}");
        ran.complaint();
    }

    /// S40: there is no key but the installation's own: not another's, not a fresh one, none that everyone can read.
    fn a_wrong_key_file_is_refused(engine) {
        let site = furnished(Site::new(engine));
        let (keys, own) = (site.keys(), site.folder.path().join("own"));
        site.settings();
        fs::copy(&keys, &own).unwrap();
        let name = keys.display().to_string();

        mode(&keys, 0o644);
        neither_starts(&site, 1, &[&name, "644"]);
        mode(&keys, 0o600);
        usher(&site, &["user", "list"], "").expect(0);

        fs::write(&keys, "version = 1\nroot = \"c2hvcnQ=\"\n").unwrap();
        neither_starts(&site, 1, &[&name]);
        fs::write(&keys, "no key file\n").unwrap();
        neither_starts(&site, 1, &[&name]);

        fs::remove_file(&keys).unwrap();
        usher(&site, &["secrets", "init"], "");
        assert!(keys.exists());
        neither_starts(&site, 1, &["key file"]);

        fs::copy(&own, &keys).unwrap();
        mode(&keys, 0o600);
        usher(&site, &["audit", "verify"], "").expect(0);
    }

    /// S40: a lost key file is not replaced by a fresh one, which would disown the audit trail.
    fn a_missing_key_file_is_refused(engine) {
        let site = furnished(Site::new(engine));
        let settings = site.settings();
        fs::remove_file(site.keys()).unwrap();
        for words in [&["serve"][..], &["user", "list"], &["audit", "verify"]] {
            let mut command = process::program(site.folder.path());
            command.args(words).arg("--config").arg(&settings);
            let ran = process::refused_start(command).expect(1);
            assert!(ran.complaint().contains(&site.keys().display().to_string()), "{ran:?}");
            assert!(!site.keys().exists());
        }
    }
}

/// The user that the program runs as where file modes have to bind: they do not bind root.
const NOBODY: u32 = 65534;

/// Makes a command that file modes bind.
fn bound(mut command: Command) -> Command {
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

fn give(path: &Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// An SQLite file that cannot be written, or whose folder cannot, is found at the start and not at the first call.
#[test]
fn a_read_only_database_is_refused() {
    let words: [&[&str]; 4] = [&["serve"], &["user", "list"], &["user", "create", "ann"], &["audit", "verify"]];
    let attempt = |site: &Site, words: &[&str]| -> Ran {
        let mut command = bound(process::program(site.folder.path()));
        command.args(words).arg("--config").arg(site.folder.path().join("usher.toml"));
        process::refused_start(command)
    };
    let mut accepted = Vec::new();
    for (of_file, of_folder) in [(0o444, 0o755), (0o644, 0o555), (0o444, 0o555)] {
        let site = furnished(Site::new(Engine::Sqlite));
        let (file, folder) = (site.file(), site.folder.path());
        give(&site.keys());
        mode(folder, 0o755);
        if of_file == 0o644 {
            give(&file);
        }
        if of_folder == 0o755 {
            give(folder);
        }
        mode(&file, of_file);
        mode(folder, of_folder);
        for words in words {
            let ran = attempt(&site, words);
            if ran.code == Some(69) {
                ran.complaint();
            } else {
                accepted.push(format!("file {of_file:o}, folder {of_folder:o}, {words:?}: {ran:?}"));
            }
        }
        // SQLite gives its side files the mode of the database.
        mode(folder, 0o755);
        give(folder);
        for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if entry.display().to_string().contains("usher.db") {
                mode(&entry, 0o644);
                give(&entry);
            }
        }
        attempt(&site, &["audit", "verify"]).expect(0);
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
}

// ---------------------------------------------------------------------------------------------------------------------------------
// A full disk

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    count: i64,
}

fn count_users(file: &Path) -> i64 {
    use diesel::{Connection as _, RunQueryDsl as _};
    let mut connection = diesel::SqliteConnection::establish(&file.to_string_lossy()).unwrap();
    let counted: Count = diesel::sql_query("SELECT count(*) AS count FROM users").get_result(&mut connection).unwrap();
    counted.count
}

/// S46: where nothing can be written nothing is done, not even a read, for its event could not be kept: calls are answered 503 and leave
/// nothing; the process lives, and goes on by itself once there is room.
///
/// The disk's end is played by a limit on the size of files, which makes writes fail as a full disk does.
#[test]
fn a_full_disk_stops_calls_but_not_the_service() {
    let site = furnished(Site::new(Engine::Sqlite).with("log.filter", "\"error\""));
    let mut command = process::bare("sh", site.folder.path());
    // 512 KiB: more than the database itself, less than its journal would grow to. Ignored, the signal becomes an error of the write.
    command
        .args(["-c", r#"trap '' XFSZ; ulimit -S -f 1024; exec "$0" serve --config "$1""#, process::PROGRAM])
        .arg(site.settings());
    let mut service = Process::start(command);
    let (anon, by) = (service.anon(), root(&service));
    let ann = newcomer(&service, &by, "ann");
    let mut created = Vec::new();
    let full = loop {
        let answer = create(&by, &format!("user-{}", created.len()));
        if answer.status != 201 {
            break answer;
        }
        created.push(text(&answer.json["user_id"]));
        assert!(created.len() < 2000, "the limit does not bind");
    };
    full.refused(503, "unavailable");
    let before = count_users(&site.file());
    assert_eq!(before, 2 + i64::try_from(created.len()).unwrap());
    for round in 0..5 {
        is_unavailable(&by, "POST", USERS, Some(json!({"username": format!("late-{round}")})));
        is_unavailable(&anon, "POST", SESSIONS, Some(json!({"username": "ann", "password": PASSWORD})));
        is_unavailable(&by, "POST", &format!("{USERS}/{}/lock", ann.id()), Some(json!({})));
        is_unavailable(&by, "DELETE", &format!("{USERS}/{}/sessions", ann.id()), None);
        is_unavailable(&ann, "GET", ME, None);
        anon.get("/healthz").expect(200);
    }
    at_once(20, |number| is_unavailable(&by, "POST", USERS, Some(json!({"username": format!("crowd-{number}")}))));
    assert_eq!(count_users(&site.file()), before);
    assert!(service.is_alive());

    let lifted = Command::new("prlimit").args(["--pid", &service.id().to_string(), "--fsize=unlimited:"]).status();
    assert!(lifted.expect("prlimit of util-linux is needed").success());
    until_answered(&ann, ME, 200);
    create(&by, "late-0").expect(201);
    assert_eq!(count_users(&site.file()), before + 1);
    for user_id in &created {
        by.get(&format!("{USERS}/{user_id}")).expect(200);
    }
    usher(&site, &["audit", "verify"], "").expect(0);
    assert!(service.is_alive() && !service.log().contains("panicked"), "{}", service.log());
}

// ---------------------------------------------------------------------------------------------------------------------------------
// Two services on one database

/// S21: two services on one PostgreSQL database are one service: a session opened on one is good on the other and, once ended, refused
/// there at the very next call; users that both create at once get numbers of their own, and the audit trail is one.
#[test]
fn two_services_on_one_database() {
    if !postgres::is_there() {
        return;
    }
    let site = furnished(Site::new(Engine::Postgres));
    let (here, there) = (Process::serve(&site), Process::serve(&site));
    let on = |service: &Process, client: &Client| service.anon().bearing(client.ust.as_deref().unwrap());
    let by = root(&here);
    let by_there = on(&there, &by);
    by_there.get(ME).expect(200);

    for round in 0..5 {
        let ann = newcomer(&here, &by, &format!("ann-{round}"));
        let ann_there = on(&there, &ann);
        ann_there.get(ME).expect(200);
        by.delete(&format!("{USERS}/{}/sessions", ann.id())).expect(204);
        ann_there.get(ME).refused(401, "session_invalid");

        let again = there.anon().sign_in(&format!("ann-{round}"), PASSWORD);
        on(&here, &again).get(ME).expect(200);
        by_there.post(&format!("{USERS}/{}/lock", again.id()), &json!({})).expect(200);
        on(&here, &again).get(ME).refused(401, "session_invalid");
        here.anon().try_sign_in(&format!("ann-{round}"), PASSWORD).refused(401, "account_locked");
    }

    let numbers = Mutex::new(Vec::new());
    at_once(40, |number| {
        let client = if number % 2 == 0 { &by } else { &by_there };
        for round in 0..5 {
            let made = create(client, &format!("crowd-{number}-{round}")).expect(201).json;
            numbers.lock().unwrap().push(made["number"].as_i64().unwrap());
        }
    });
    let mut numbers = numbers.into_inner().unwrap();
    numbers.sort_unstable();
    let first = numbers[0];
    assert_eq!(numbers, (first..first + 200).collect::<Vec<_>>(), "a number was given twice or lost");
    // One name, wanted on both at once, is given once.
    let statuses = at_once(20, |number| create(if number % 2 == 0 { &by } else { &by_there }, "wanted").status);
    assert_eq!(statuses.iter().filter(|s| **s == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|s| matches!(s, 201 | 409)), "{statuses:?}");
    usher(&site, &["audit", "verify"], "").expect(0);
}

// ---------------------------------------------------------------------------------------------------------------------------------
// Secrets

const OTHER_PASSWORD: &str = "marble cloud engine 77";

/// Secrets that were in use: every spelling of each, with what it is, by its first bytes.
#[derive(Default)]
struct Canaries(HashMap<[u8; BEGINNING], Vec<(&'static str, Vec<u8>)>>);

const BEGINNING: usize = 8;

impl Canaries {
    fn add(&mut self, what: &'static str, secret: &str) {
        let mut raw = vec![secret.as_bytes().to_vec()];
        if let Some((_, token)) = secret.split_once('_') {
            // The random part alone is as good as the token.
            raw.push(token.as_bytes()[..43].to_vec());
            raw.push(URL_SAFE_NO_PAD.decode(&token[..43]).unwrap());
        }
        for raw in raw {
            let hex = |upper: bool| raw.iter().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") }).collect();
            let spelt: [String; 5] =
                [hex(false), hex(true), STANDARD_NO_PAD.encode(&raw), URL_SAFE_NO_PAD.encode(&raw), format!("{raw:?}")];
            for spelt in spelt.into_iter().map(String::into_bytes).chain([raw.clone()]) {
                let beginning = *spelt.first_chunk().unwrap();
                self.0.entry(beginning).or_default().push((what, spelt));
            }
        }
    }

    /// None of them can be seen in `place`, in clear or spelt otherwise.
    #[track_caller]
    fn are_not_in(&self, place: &str, bytes: &[u8]) {
        for (at, window) in bytes.windows(BEGINNING).enumerate() {
            for (what, spelt) in self.0.get(window).into_iter().flatten() {
                let rest = &bytes[at..];
                assert!(
                    !rest.starts_with(spelt),
                    "{what} is in {place}: {}",
                    String::from_utf8_lossy(&rest[..rest.len().min(300)])
                );
            }
        }
    }
}

/// Names of members that sound like a secret.
fn suspicious_members<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    const HARMLESS: &[&str] = &[
        "password_is_set",
        "password_must_change",
        "password_last_set",
        "password_expiry",
        "password_never_expires",
        "is_key_required",
        // Of an audit event: its place in the chain.
        "hash",
    ];
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let sounds = ["password", "hash", "secret", "token", "key"].iter().any(|word| name.to_lowercase().contains(word));
                if sounds && !HARMLESS.contains(&name.as_str()) {
                    found.push(name);
                }
                suspicious_members(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| suspicious_members(item, found)),
        _ => {}
    }
}

/// An answer tells no secret but the token of a session that it opened, in the member for it.
#[track_caller]
fn is_clean(answer: &Answer, canaries: &Canaries, what: &str) {
    let mut json = answer.json.clone();
    let opened = json.as_object_mut().and_then(|members| members.remove("ust"));
    assert!(opened.is_none() || what.contains("/sessions ") || what.contains("/password "), "{what} told a token");
    let place = format!("the answer of {what}");
    let body = if opened.is_some() { json.to_string() } else { answer.text.clone() };
    canaries.are_not_in(&place, body.as_bytes());
    canaries.are_not_in(&place, format!("{:?}", answer.headers).as_bytes());
    assert!(!body.contains("$argon2"), "{place} has a hash: {body}");
    if what.contains(" /api/") {
        let mut found = Vec::new();
        suspicious_members(&json, &mut found);
        assert_eq!(found, [""; 0], "{place}");
    }
}

/// The raw bytes of everything that the database keeps.
fn dump(site: &Site) -> Vec<u8> {
    match site.engine {
        Engine::Postgres => Postgres::dump(&site.url).into_bytes(),
        Engine::Sqlite => {
            ["usher.db", "usher.db-wal"].iter().flat_map(|n| fs::read(site.folder.path().join(n)).unwrap()).collect()
        }
    }
}

both! {
    /// S18, S30: a password, tokens and an application's key that were sent through every route, with right and with wrong bodies, by
    /// every kind of caller, are in no answer, in no log line even where everything is logged, and not in the database.
    fn no_secret_comes_out(engine) {
        let site = furnished(Site::new(engine).with("log.filter", "\"trace\""));
        let service = Process::serve(&site);
        let mut canaries = Canaries::default();
        canaries.add("the password", PASSWORD);
        canaries.add("the new password", OTHER_PASSWORD);
        canaries.add("a wrong password", "violet harbour sixteen");
        let key = text(&usher(&site, &["app", "create", "desk", "--json"], "").expect(0).json()["key"]);
        canaries.add("the application's key", &key);
        let by = root(&service);
        let ann = newcomer(&service, &by, "ann");
        let application = service.anon().with("x-current-app", "desk").with("x-application-key", &key);
        application.post("/api/v1/sessions/introspect", &json!({"ust": ann.ust})).expect(200);
        [&by, &ann].iter().for_each(|client| canaries.add("a token", client.ust.as_deref().unwrap()));

        let document = service.anon().get("/openapi.json").expect(200).json;
        let mut calls = 0;
        for (path, operations) in document["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys() {
                // Whoever is acted on is a peer, so that the callers' own sessions last; on oneself one acts with another session.
                let name = format!("peer-{calls}");
                let peer = newcomer(&service, &by, &name);
                let administrator = newcomer_of_role(&service, &by, &format!("chief-{calls}"), "administrator");
                canaries.add("a peer's token", peer.ust.as_deref().unwrap());
                canaries.add("an administrator's token", administrator.ust.as_deref().unwrap());
                let filled = path.replace("{user_id}", peer.id()).replace("{session_id}", peer.session_id.as_deref().unwrap()).replace("{file}", "index.css");
                let bodies = [
                    None,
                    Some(json!({})),
                    Some(json!({"username": name, "password": "violet harbour sixteen"})),
                    Some(json!({"username": format!("made-{calls}"), "password": PASSWORD})),
                    Some(json!({"username": name, "password": PASSWORD, "new_password": OTHER_PASSWORD, "totp_code": PASSWORD})),
                    Some(json!({"username": PASSWORD, "password": PASSWORD, "nonsense": PASSWORD, "email": PASSWORD, "user_role": PASSWORD})),
                    Some(json!({"username": {"password": PASSWORD}, "password": [PASSWORD]})),
                    Some(json!({"ust": peer.ust})),
                    Some(json!({"ust": key})),
                    Some(json!({"old_password": "violet harbour sixteen", "new_password": OTHER_PASSWORD})),
                    Some(json!({"old_password": PASSWORD, "new_password": PASSWORD})),
                    Some(json!({"old_password": PASSWORD, "new_password": OTHER_PASSWORD})),
                    Some(json!([PASSWORD])),
                    Some(json!(PASSWORD)),
                ];
                let clients = [
                    ("nobody", service.anon()),
                    ("an impostor", service.anon().with("authorization", &format!("Bearer {PASSWORD}")).with("x-application-key", PASSWORD)),
                    ("one of bad manners", service.anon().with("authorization", &format!("Basic {}", STANDARD.encode(PASSWORD))).with(CORRELATION_ID, PASSWORD).with("x-current-app", PASSWORD)),
                    ("an application", application.clone()),
                    ("its owner", peer.clone()),
                    ("an administrator", administrator),
                ];
                for (who, client) in &clients {
                    for body in &bodies {
                        let answer = client.call(&method.to_uppercase(), &filled, body.as_ref().map(ToString::to_string));
                        let what = format!("{method} {path} by {who}");
                        is_clean(&answer, &canaries, &what);
                        if let Some(ust) = answer.json["ust"].as_str() {
                            canaries.add("a token from an answer", ust);
                        }
                    }
                }
                calls += 1;
            }
        }
        assert!(calls > 15, "{calls} routes were called");
        // Secrets where they have no place, and then the whole trail.
        for place in ["/api/v1/audit-events?cid=", "/api/v1/audit-events?nonsense=", "/api/v1/users/"] {
            let answer = by.get(&format!("{place}{}", by.ust.as_deref().unwrap()));
            is_clean(&answer, &canaries, &format!("get {place}"));
        }
        let mut cursor = String::new();
        loop {
            let page = by.get(&format!("/api/v1/audit-events?limit=500{cursor}")).expect(200);
            is_clean(&page, &canaries, "get /api/v1/audit-events by root");
            let Some(next) = page.json["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let exported = usher(&site, &["audit", "export"], "").expect(0).out;
        canaries.are_not_in("the exported trail", exported.as_bytes());
        for arguments in [&["user", "list"][..], &["user", "list", "--json"], &["user", "show", "ann"], &["app", "list", "--json"], &["session", "list", "--json"], &["config", "show"]] {
            let shown = usher(&site, arguments, "").expect(0);
            canaries.are_not_in(&format!("{arguments:?}"), (shown.out + &shown.err).as_bytes());
        }

        canaries.are_not_in("the database", &dump(&site));
        let log = service.terminate().log;
        assert!(log.contains("\"TRACE\"") && log.contains("usher::request"), "nothing was logged");
        canaries.are_not_in("the log", log.as_bytes());
        assert!(!log.contains("$argon2"), "a hash is in the log");
        assert!(!log.contains("panicked"), "{log}");
    }
}

fn newcomer_of_role(service: &Process, by: &Client, name: &str, role: &str) -> Client {
    by.post(USERS, &json!({"username": name, "password": PASSWORD, "user_role": role})).expect(201);
    service.anon().sign_in(name, PASSWORD)
}
