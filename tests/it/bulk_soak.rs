//! Imports that are killed and run again, and what a large number of users costs.

use crate::both;
use crate::bulk::{HASH, PHRASE, Told};
use crate::faults::{furnished, root};
use crate::harness::postgres;
use crate::harness::process::{Process, program, run, usher};
use crate::harness::{Engine, Site};
use diesel::RunQueryDsl as _;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufWriter, Write};
use std::process::{Child, ChildStdin, Stdio};
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

fn write_rows(out: impl Write, numbers: std::ops::Range<usize>) {
    let mut out = BufWriter::new(out);
    numbers.for_each(|number| writeln!(out, "{}", row(number)).unwrap());
    out.flush().unwrap();
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
    input: Option<ChildStdin>,
}

impl Importing {
    fn begin(site: &Site) -> Self {
        let mut command = program(site.folder.path());
        command.args(["user", "import", "-", "--config"]).arg(site.settings()).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        Self { child, input }
    }

    fn send(&mut self, numbers: std::ops::Range<usize>) {
        write_rows(self.input.as_mut().unwrap(), numbers);
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
    }

    fn finish(mut self) {
        drop(self.input.take());
        let output = self.child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
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
    write_rows(fs::File::create(site.folder.path().join("users.ndjson")).unwrap(), 0..rows);
    for kill in 1..=kills {
        let mut importing = Importing::begin(&site);
        importing.send(0..rows * kill / (kills + 1));
        // It has not come to its end, for its input has not; but it has written something new.
        let enough = i64::try_from(rows * kill / (kills + 2)).unwrap();
        while users(&site) < enough {
            std::thread::yield_now();
        }
        importing.kill();
        let so_far = users(&site);
        assert!((enough..i64::try_from(rows).unwrap()).contains(&so_far), "{so_far}");
        usher(&site, &["audit", "verify"], "").expect(0);
    }
    let before = users(&site);
    let told = import(&site, "users.ndjson");
    let rows = u64::try_from(rows).unwrap();
    let known = u64::try_from(before).unwrap();
    assert_eq!((told.counts(), users(&site)), ([rows - known, 0, known, 0], i64::try_from(rows).unwrap()));
    let events = || count(&site, "SELECT count(*) AS count FROM audit_events WHERE action IN ('user.create', 'user.update', 'group.create')");
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
        let mut importing = Importing::begin(&site);
        std::thread::scope(|scope| {
            let feeding = scope.spawn(|| importing.send(0..4000));
            let mut calls = 0;
            while !feeding.is_finished() || users(&site) < 4000 {
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
            let mut importing = Importing::begin(&site);
            let began = Instant::now();
            importing.send(0..rows);
            while users(&site) < i64::try_from(rows).unwrap() {
                std::thread::sleep(Duration::from_millis(20));
            }
            let took = began.elapsed();
            peaks.push(importing.peak());
            importing.finish();
            println!("{engine:?}: {rows} rows in {took:.2?}: {:.0} users/s, peak {} KiB", rows as f64 / took.as_secs_f64(), peaks[peaks.len() - 1]);
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
}
