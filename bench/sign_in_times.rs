//! Whether the time of a refused sign-in tells why it was refused (S5).
//!
//! Five kinds of user (unknown, wrong password, locked, unapproved, without a password) are tried in turn, one attempt at a time, on both
//! databases if PostgreSQL is given by `USHER_BENCH_POSTGRES_URL`. Printed are the medians as ratios to their mean, the largest
//! difference, and for each kind the p of a Mann-Whitney test against the wrong password. Exit 1 if medians differ by 5 % or more.
//!
//! `cargo bench --bench sign_in_times`

#![expect(clippy::print_stdout, clippy::expect_used, clippy::indexing_slicing, reason = "a measuring harness")]

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;
use usher::app::{self, Migrate};
use usher::domain::chance::Entropy;
use usher::domain::secret::Password;
use usher::domain::time::Clock;
use usher::settings;

const KINDS: [&str; 5] = ["unknown", "wrong", "locked", "unapproved", "unset"];
const PASSWORD: &str = "fern tablet ocean quartz";

fn main() -> ExitCode {
    let rounds: usize = std::env::var("ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(500);
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let mut urls = vec![format!("sqlite:{}", folder.path().join("usher.db").display())];
    urls.extend(std::env::var("USHER_BENCH_POSTGRES_URL"));
    let keys = folder.path().join("bench.keys");
    usher::auth::keys::Keys::init(&keys, &Entropy::system()).expect("a key file");
    let mut is_uniform = true;
    for url in urls {
        is_uniform &= measure(&url, &keys, folder.path(), rounds);
    }
    if is_uniform { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(url: &str, keys: &std::path::Path, folder: &std::path::Path, rounds: usize) -> bool {
    let file = folder.join("bench.toml");
    let mut text = std::fs::File::create(&file).expect("a settings file");
    // Nothing is to be slowed down on purpose; all else is the default.
    writeln!(
        text,
        "server.listen = \"127.0.0.1:0\"\ndatabase.url = {url:?}\nsecrets.file = {keys:?}\n\
         lockout.account_free = 1000000000\nlockout.lock_after = 1000000000\nlockout.address_free = 1000000000"
    )
    .expect("a settings file");
    let settings = settings::load(Some(&file)).expect("settings");
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let services = app::open(&settings, Migrate::Always, Clock::system(), Entropy::system()).expect("a store");
            services.first_start("root", Password::new(PASSWORD.to_owned())).await.expect("a super-user");
            let running = app::start(&settings, &services).expect("a server");
            send.send(running.address).expect("a listener");
            running.server.await.expect("a server");
        });
    });
    let base = format!("http://{}/api/v1", receive.recv().expect("the address"));
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let post = |path: &str, token: &str, body: serde_json::Value| -> serde_json::Value {
        let sent = agent.post(format!("{base}{path}")).header("authorization", format!("Bearer {token}")).send_json(body);
        sent.expect("an answer").body_mut().read_json().unwrap_or_default()
    };
    let root = post("/sessions", "", serde_json::json!({"username": "root", "password": PASSWORD}));
    let token = root["ust"].as_str().expect("a token").to_owned();
    for kind in &KINDS[1..] {
        let password = if *kind == "unset" { serde_json::Value::Null } else { PASSWORD.into() };
        let user = post("/users", &token, serde_json::json!({"username": kind, "password": password}));
        let verb = match *kind {
            "locked" => "lock",
            "unapproved" => "reject",
            _ => continue,
        };
        post(&format!("/users/{}/{verb}", user["user_id"].as_str().expect("an id")), &token, serde_json::json!({}));
    }
    let mut times: [Vec<f64>; 5] = Default::default();
    for round in 0..rounds + 20 {
        for (kind, times) in KINDS.iter().zip(&mut times) {
            let body = serde_json::json!({"username": kind, "password": "a wrong password, but long"});
            let began = Instant::now();
            post("/sessions", "", body);
            let took = began.elapsed().as_secs_f64();
            // The first rounds warm up.
            if round >= 20 {
                times.push(took);
            }
        }
    }
    report(url.split(':').next().unwrap_or_default(), &times, rounds)
}

fn report(database: &str, times: &[Vec<f64>; 5], rounds: usize) -> bool {
    let medians: Vec<f64> = times.iter().map(|t| median(t)).collect();
    let mean = medians.iter().sum::<f64>() / medians.len() as f64;
    println!("{database}: {rounds} attempts of each kind; the mean median is {:.2} ms", mean * 1000.0);
    for (number, kind) in KINDS.iter().enumerate() {
        println!("  {kind:<11} {:.3}  p {:.3}", medians[number] / mean, mann_whitney(&times[1], &times[number]));
    }
    let (least, most) = (medians.iter().copied().fold(f64::MAX, f64::min), medians.iter().copied().fold(0.0, f64::max));
    let difference = (most - least) / least;
    println!("  largest difference of medians: {:.2} %", difference * 100.0);
    difference < 0.05
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The two-sided p that both samples come from one distribution (normal approximation, good for hundreds of values).
fn mann_whitney(a: &[f64], b: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> = a.iter().map(|t| (*t, true)).chain(b.iter().map(|t| (*t, false))).collect();
    all.sort_by(|x, y| x.0.total_cmp(&y.0));
    let ranks: f64 = all.iter().enumerate().filter(|(_, (_, of_a))| *of_a).map(|(rank, _)| rank as f64 + 1.0).sum();
    let (n, m) = (a.len() as f64, b.len() as f64);
    let u = ranks - n * (n + 1.0) / 2.0;
    let z = (u - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt();
    // Abramowitz and Stegun, 7.1.26, of |z| / sqrt 2.
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let poly = t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    poly * (-x * x).exp()
}
