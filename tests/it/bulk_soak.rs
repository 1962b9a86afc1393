//! Imports that are killed and run again, and what a large number of users costs.

use crate::both;
use crate::bulk::{HASH, PHRASE, Told};
use crate::faults::{furnished, root};
use crate::find::is_served_by_an_index;
use crate::harness::postgres;
use crate::harness::process::{Process, program, usher};
use crate::harness::{Client, Engine, Site};
use diesel::RunQueryDsl as _;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use usher::store::connection::{AnyConnection, Location, Purpose};

/// A row of a file of some size, with all that people usually have.
fn row(number: usize) -> Value {
    let (first, last) = (syllables(number, 7), syllables(number / 7, 1009));
    json!({
        "external_id": format!("idp-{number:08}"), "username": format!("{first}{number}"), "email": format!("{first}.{last}{number}@example.com"),
        "first_name": first, "last_name": last, "password_hash": HASH, "groups": [format!("group-{}", number % 10)],
    })
}

/// A name out of so many, in no order.
fn syllables(number: usize, of: usize) -> String {
    const PARTS: [&str; 16] = ["ba", "che", "do", "fi", "gu", "ha", "je", "ko", "li", "mu", "na", "pe", "ro", "si", "tu", "we"];
    let mixed = (number % (of * 64)).wrapping_mul(0x9e37_79b9).rotate_left(7);
    (0..4).map(|at| PARTS[(mixed >> (4 * at)) & 15]).collect()
}

fn write_rows(out: impl Write, mut numbers: std::ops::Range<usize>) -> std::io::Result<()> {
    let mut out = BufWriter::new(out);
    numbers.try_for_each(|number| writeln!(out, "{}", row(number)))?;
    out.flush()
}

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    count: i64,
}

fn count(site: &Site, query: &str) -> i64 {
    let mut connection = AnyConnection::open(&Location::parse(&site.url).unwrap(), Purpose::Reading).unwrap();
    diesel::sql_query(query).get_result::<Count>(&mut connection).unwrap().count
}

fn users(site: &Site) -> i64 {
    count(site, "SELECT count(*) AS count FROM users WHERE external_id IS NOT NULL")
}

/// An import that reads from this process, so that it is under way for as long as wanted.
struct Importing {
    child: Child,
    /// What it has told.
    results: BufReader<ChildStdout>,
    told: usize,
    /// Dropped, it ends the import's input once all rows were sent.
    more: Option<Sender<()>>,
    feeder: Option<JoinHandle<()>>,
}

impl Importing {
    /// Begins an import of rows of these numbers.
    fn of(site: &Site, numbers: std::ops::Range<usize>) -> Self {
        let mut command = program(site.folder.path());
        command.args(["user", "import", "-", "--json", "--config"]).arg(site.settings());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let (more, is_over) = channel::<()>();
        let feeder = std::thread::spawn(move || {
            // A process that was killed reads no more.
            if write_rows(&mut input, numbers).is_ok() {
                let _ = is_over.recv();
            }
        });
        let results = BufReader::new(child.stdout.take().unwrap());
        Self { child, results, told: 0, more: Some(more), feeder: Some(feeder) }
    }

    /// Waits until it has told of so many rows.
    fn wait_for(&mut self, rows: usize) {
        let mut line = String::new();
        while self.told < rows {
            line.clear();
            assert!(self.results.read_line(&mut line).unwrap() > 0, "it has ended after {} rows", self.told);
            self.told += 1;
        }
    }

    /// The most memory that it has had so far, in KiB.
    fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        drop(self.more.take());
        self.feeder.take().unwrap().join().unwrap();
    }

    /// Ends its input, and waits until it has ended.
    fn finish(mut self) -> Told {
        drop(self.more.take());
        let mut rest = String::new();
        self.results.read_to_string(&mut rest).unwrap();
        self.feeder.take().unwrap().join().unwrap();
        let output = self.child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Told::read(&rest)
    }
}

/// Imports the file to its end; what is told.
fn import(site: &Site, file: &str) -> Told {
    let ran = usher(site, &["user", "import", file, "--json"], "").expect(0);
    Told::read(&ran.out)
}

/// Kills an import of so many rows `kills` times on its way, runs it to its end, and once more.
fn killed_and_resumed(engine: Engine, rows: usize, kills: usize) {
    let site = furnished(Site::new(engine));
    write_rows(fs::File::create(site.folder.path().join("users.ndjson")).unwrap(), 0..rows).unwrap();
    let mut is_cut_short = false;
    for kill in 1..=kills {
        // All of its input is there, and it waits for more: it has not come to its end when it is killed.
        let enough = rows * kill / (kills + 1);
        let mut importing = Importing::of(&site, 0..rows);
        importing.wait_for(enough);
        importing.kill();
        let so_far = usize::try_from(users(&site)).unwrap();
        assert!(so_far >= enough, "{so_far} of {enough}");
        is_cut_short |= so_far < rows;
        usher(&site, &["audit", "verify"], "").expect(0);
    }
    assert!(is_cut_short, "no import was killed on its way");
    let before = users(&site);
    let told = import(&site, "users.ndjson");
    let rows = u64::try_from(rows).unwrap();
    let known = u64::try_from(before).unwrap();
    assert_eq!((told.counts(), users(&site)), ([rows - known, 0, known, 0], i64::try_from(rows).unwrap()));
    let events = || {
        count(&site, "SELECT count(*) AS count FROM audit_events WHERE action IN ('user.create', 'user.update', 'group.create')")
    };
    let so_far = events();
    // Each user and group was made once, and so was the first super-user; no event is without its user, and no user without its event.
    assert_eq!(so_far, i64::try_from(rows).unwrap() + 11);
    assert_eq!(import(&site, "users.ndjson").counts(), [0, 0, rows, 0]);
    assert_eq!((events(), count(&site, "SELECT count(*) AS count FROM group_members")), (so_far, i64::try_from(rows).unwrap()));
    let service = Process::serve(&site);
    for number in [0, usize::try_from(rows).unwrap() / 2, usize::try_from(rows).unwrap() - 1] {
        service.anon().sign_in(row(number)["username"].as_str().unwrap(), PHRASE);
    }
    drop(service);
    usher(&site, &["audit", "verify"], "").expect(0);
}

both! {
    /// An import that is killed and run again ends with the same users, each once.
    fn an_import_is_resumed(engine) {
        killed_and_resumed(engine, 3000, 2);
    }

    /// The same with a service beside it on the same database, whose calls are all answered meanwhile.
    fn a_service_goes_on_beside_an_import(engine) {
        let site = furnished(Site::new(engine));
        let service = Process::serve(&site);
        let by = root(&service);
        let mut importing = Importing::of(&site, 0..4000);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| importing.wait_for(4000));
            let mut calls = 0;
            while !waiting.is_finished() {
                by.get("/api/v1/users/me").expect(200);
                by.post("/api/v1/users", &json!({"username": format!("by-call-{calls}")})).expect(201);
                calls += 1;
            }
            assert!(calls > 0);
        });
        importing.finish();
        assert_eq!(users(&site), 4000);
    }
}

/// So many rows, unless the environment asks for another number.
fn asked_for(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}

mod soak {
    use super::*;

    fn on_postgres(work: impl FnOnce(Engine)) {
        if postgres::is_there() {
            work(Engine::Postgres);
        }
    }

    #[test]
    #[ignore = "takes minutes"]
    fn a_hundred_thousand_killed_and_resumed_sqlite() {
        killed_and_resumed(Engine::Sqlite, 100_000, 3);
    }

    #[test]
    #[ignore = "takes minutes"]
    fn a_hundred_thousand_killed_and_resumed_postgres() {
        on_postgres(|engine| killed_and_resumed(engine, 100_000, 3));
    }

    /// The importing process takes no more memory for a long file than for one a fifth as long. Prints rows per second.
    fn memory_and_speed(engine: Engine, rows: usize) {
        let mut peaks = Vec::new();
        for rows in [rows / 5, rows] {
            let site = Site::new(engine);
            let began = Instant::now();
            let mut importing = Importing::of(&site, 0..rows);
            importing.wait_for(rows);
            let took = began.elapsed();
            peaks.push(importing.peak());
            importing.finish();
            let (rate, peak) = (rows as f64 / took.as_secs_f64(), peaks[peaks.len() - 1]);
            println!("{engine:?}: {rows} rows in {took:.2?}: {rate:.0} users/s, peak {peak} KiB");
        }
        assert!(peaks[1] < peaks[0] + peaks[0] / 5, "{peaks:?}");
    }

    #[test]
    #[ignore = "takes minutes"]
    fn memory_and_speed_of_an_import_sqlite() {
        memory_and_speed(Engine::Sqlite, asked_for("USHER_SOAK_ROWS", 100_000));
    }

    #[test]
    #[ignore = "takes minutes"]
    fn memory_and_speed_of_an_import_postgres() {
        on_postgres(|engine| memory_and_speed(engine, asked_for("USHER_SOAK_ROWS", 100_000)));
    }

    /// The median of some times.
    fn median(times: &mut [Duration]) -> Duration {
        times.sort_unstable();
        times[times.len() / 2]
    }

    /// Walks a list to its end; the times of its pages.
    fn walk(by: &Client, query: &str) -> Vec<Duration> {
        let (mut times, mut cursor, mut found) = (Vec::new(), String::new(), 0);
        loop {
            let began = Instant::now();
            let page = by.get(&format!("/api/v1/users?{query}&limit=500{cursor}")).expect(200);
            times.push(began.elapsed());
            found += page.json["items"].as_array().unwrap().len();
            match page.json["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        println!("  {query}: {found} users in {} pages", times.len());
        times
    }

    /// A page deep in a list costs what the first one costs, among as many users as are asked for (`USHER_SOAK_USERS`), and is no scan.
    fn pages_of_many_users(engine: Engine, users_in_all: usize) {
        let site = furnished(Site::new(engine).with("sessions.idle_seconds", "43200"));
        let began = Instant::now();
        let mut importing = Importing::of(&site, 0..users_in_all);
        importing.wait_for(users_in_all);
        importing.finish();
        println!("{engine:?}: {users_in_all} users imported in {:.0?}", began.elapsed());
        assert_eq!(users(&site), i64::try_from(users_in_all).unwrap());
        let service = Process::serve(&site);
        let by = root(&service);
        for query in ["sort=number", "sort=username", "prefix=b", "q=che", "group=group-3&sort=username"] {
            let mut times = walk(&by, query);
            // The first pages warm up what the later ones find warm.
            let at = times.len().min(3);
            times.drain(..at.min(times.len() - 1));
            let some = (times.len() / 10).clamp(1, 20);
            let (first, deep) = (median(&mut times[..some].to_vec()), median(&mut times[times.len() - some..].to_vec()));
            let ratio = deep.as_secs_f64() / first.as_secs_f64();
            println!("  {query}: first page {first:.1?}, deep page {deep:.1?}, ratio {ratio:.2}");
            assert!(ratio < 2.0, "{query}: {ratio}");
        }
        let location = Location::parse(&site.url).unwrap();
        is_served_by_an_index(engine, &location, "b", None);
        is_served_by_an_index(engine, &location, "b", Some("bewe"));
    }

    #[test]
    #[ignore = "takes many minutes"]
    fn pages_of_many_users_sqlite() {
        pages_of_many_users(Engine::Sqlite, asked_for("USHER_SOAK_USERS", 1_000_000));
    }

    #[test]
    #[ignore = "takes many minutes"]
    fn pages_of_many_users_postgres() {
        on_postgres(|engine| pages_of_many_users(engine, asked_for("USHER_SOAK_USERS", 200_000)));
    }
}
