//! Metrics: what is counted, and that nobody is named.

use crate::both;
use crate::harness::process::{Process, program, refused_start};
use crate::harness::receiver::Receiver;
use crate::harness::{Client, Engine, PASSWORD, Site, Town, at_once, wait_until};
use crate::hooks::{hook, site_for};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::TcpListener;

const ME: &str = "/api/v1/users/me";
const ANY_PORT: &str = "\"127.0.0.1:0\"";

fn town(engine: Engine) -> Town {
    Town::on(Site::new(engine).with("metrics.listen", ANY_PORT))
}

/// What a scrape says: each series, as it is written, with its value.
struct Scrape(Vec<(String, f64)>);

impl Scrape {
    fn of(town: &Town) -> Self {
        let answer = Client::new(&format!("http://{}", town.metrics.unwrap())).get("/metrics").expect(200);
        assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        Self::read(&answer.text)
    }

    fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series =
            lines.map(|line| line.rsplit_once(' ').unwrap()).map(|(name, value)| (name.to_owned(), value.parse().unwrap()));
        Self(series.collect())
    }

    #[track_caller]
    fn value(&self, series: &str) -> f64 {
        self.find(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.0))
    }

    fn find(&self, series: &str) -> Option<f64> {
        self.0.iter().find(|(name, _)| name == series).map(|(_, value)| *value)
    }

    fn calls(&self, route: &str, method: &str, status: &str) -> f64 {
        let labels = format!("{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}}");
        self.find(&format!("usher_http_request_duration_seconds_count{labels}")).unwrap_or(0.0)
    }

    /// The values of a label.
    fn labels(&self, name: &str) -> BTreeSet<&str> {
        let begin = format!("{name}=\"");
        self.0.iter().filter_map(|(series, _)| series.split_once(&begin)?.1.split('"').next()).collect()
    }
}

both! {
    /// Calls are counted by the route's pattern, its method and the status, each once.
    fn calls_are_counted(engine) {
        let town = town(engine);
        let ann = town.user("ann");
        let before = Scrape::of(&town);
        for _ in 0..3 {
            ann.get(ME).expect(200);
        }
        town.anon().get(ME).expect(401);
        ann.get(&format!("/api/v1/users/{}", town.root_id)).expect(403);
        town.anon().call("DELETE", "/healthz", None).expect(405);
        town.anon().get("/no/such/path").expect(404);
        let after = Scrape::of(&town);
        for (route, method, status, count) in [
            (ME, "GET", "200", 3.0), (ME, "GET", "401", 1.0), ("/api/v1/users/{user_id}", "GET", "403", 1.0),
            ("other method", "other", "405", 1.0), ("no route", "other", "404", 1.0), ("/api/v1/sessions", "POST", "201", 0.0),
        ] {
            assert_eq!(after.calls(route, method, status) - before.calls(route, method, status), count, "{route} {method} {status}");
        }
        // The clock of this service stands still: no call took any time.
        let labels = format!("route=\"{ME}\",method=\"GET\",status=\"200\",le=\"0.0005\"");
        let quick = after.value(&format!("usher_http_request_duration_seconds_bucket{{{labels}}}"));
        assert_eq!(quick, after.calls(ME, "GET", "200"));
    }

    /// S41, R30: whatever requests hold, labels are words of the program: routes of the table, methods and statuses that it has. A scrape
    /// names no user, no application, no id and no token.
    fn no_label_is_made_of_requests(engine) {
        let town = town(engine);
        let (root, ann) = (town.root(), town.user("ann-the-canary"));
        let known: BTreeSet<String> = Scrape::of(&town).0.into_iter().map(|(name, _)| name).collect();
        for number in 0..20 {
            let client = ann.with("x-correlation-id", &format!("cid-canary-{number}")).with("x-current-app", &format!("app-canary-{number}"));
            client.get(&format!("/path-canary-{number}")).expect(404);
            client.get(&format!("/api/v1/users/{number}-canary?q=query-canary-{number}"));
            client.call(&format!("CANARY{number}"), ME, None).expect(405);
            client.call(&format!("CANARY{number}"), "/nowhere", None).expect(404);
            town.anon().try_sign_in(&format!("name-canary-{number}"), PASSWORD);
        }
        root.post("/api/v1/applications", &json!({"name": "desk-canary"})).expect(201);
        let scrape = Scrape::of(&town);
        let text = format!("{:?}", scrape.0).to_lowercase();
        for secret in ["canary", ann.id(), root.id(), "ust_", ann.ust.as_deref().unwrap()] {
            assert!(!text.contains(&secret.to_lowercase()), "{secret} is in {text}");
        }
        let table = usher::http::table();
        let routes: BTreeSet<&str> = table.iter().map(|route| route.path).chain(["no route", "other method"]).collect();
        let methods: BTreeSet<&str> = table.iter().map(|route| route.method.as_str()).chain(["other"]).collect();
        assert!(scrape.labels("route").is_subset(&routes), "{:?}", scrape.labels("route"));
        assert!(scrape.labels("method").is_subset(&methods), "{:?}", scrape.labels("method"));
        // What is new are series of the routes that were called, and no more of them however often they were called.
        let fresh = scrape.0.iter().filter(|(name, _)| name.contains("_count{") && !known.contains(name)).count();
        assert!(fresh <= 8, "{fresh} new series");
    }

    /// The hashing pool tells how often it was full; that is how many calls were told to come back.
    fn a_full_hashing_pool_is_counted(engine) {
        let town = Town::on(Site::new(engine).with("metrics.listen", ANY_PORT).with("passwords.hash_threads", "1"));
        for number in 0..16 {
            town.create(&format!("user-{number}"));
        }
        let refused = at_once(16, |number| town.anon().try_sign_in(&format!("user-{number}"), PASSWORD).status);
        let refused = refused.iter().filter(|status| **status == 503).count();
        assert!(refused > 0, "the pool was never full");
        let scrape = Scrape::of(&town);
        assert_eq!(scrape.value("usher_hashing_refused_total"), refused as f64);
        assert_eq!((scrape.value("usher_hashing_running"), scrape.value("usher_hashing_waiting")), (0.0, 0.0));
        assert_eq!(scrape.calls("/api/v1/sessions", "POST", "503"), refused as f64);
    }

    /// Memory, writer and feed tell how they fare.
    fn memory_writer_and_feed_are_told(engine) {
        let town = town(engine);
        let ann = town.user("ann");
        ann.get(ME).expect(200);
        town.hear();
        let before = Scrape::of(&town);
        for _ in 0..5 {
            ann.get(ME).expect(200);
        }
        let after = Scrape::of(&town);
        let grown = |series: &str| after.value(series) - before.value(series);
        let lookups = grown("usher_memory_hits_total{memory=\"sessions\"}") + grown("usher_memory_misses_total{memory=\"sessions\"}");
        assert!(lookups >= 5.0 && grown("usher_memory_hits_total{memory=\"sessions\"}") >= 1.0, "{:#?}", after.0);
        assert!(after.value("usher_memory_entries{memory=\"sessions\"}") >= 1.0);
        assert!(grown("usher_write_batch_jobs_sum") >= 5.0 && grown("usher_write_batch_jobs_count") >= 1.0);
        assert_eq!(after.value("usher_write_queue_jobs"), 0.0);
        assert_eq!(after.value("usher_write_batches_lost_total"), 0.0);
        assert_eq!((after.value("usher_feed_up"), after.value("usher_database_up")), (1.0, 1.0));
        assert!((0.0..30.0).contains(&after.value("usher_feed_lag_seconds")));
        wait_until("an index that has caught up", || Scrape::of(&town).value("usher_audit_backlog_events") == 0.0);
        let version = format!("usher_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
        assert_eq!(after.value(&version), 1.0);
        // Every metric is documented.
        let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md")).unwrap();
        for (series, _) in &after.0 {
            let name = series.split('{').next().unwrap();
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
            assert!(manual.contains(&format!("| `{name}` |")), "docs/METRICS.md says nothing of {name}");
        }
    }

    /// What waits in the outbox is counted by its kind, until it is delivered.
    fn the_outbox_is_counted(engine) {
        let receiver = Receiver::new();
        let town = Town::on(site_for(engine, &receiver).with("metrics.listen", ANY_PORT));
        let waiting = || Scrape::of(&town).value("usher_outbox_waiting_messages{kind=\"hook\"}");
        assert_eq!(waiting(), 0.0);
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        hook(&town.root(), "crm", &format!("https://{closed}/"), json!(["user.created"]));
        town.create("ann");
        town.create("bob");
        // Nobody is there to take them: they wait for another try.
        assert_eq!(waiting(), 2.0);
        assert_eq!(Scrape::of(&town).value("usher_outbox_waiting_messages{kind=\"mail\"}"), 0.0);
    }

    /// Metrics are on their own listener alone, which has nothing else; without a setting for it there is none.
    fn metrics_have_a_listener_of_their_own(engine) {
        let town = town(engine);
        town.anon().get("/metrics").expect(404);
        let monitor = Client::new(&format!("http://{}", town.metrics.unwrap()));
        for path in ["/", "/healthz", "/openapi.json", "/api/v1/users/me", "/metrics/x"] {
            assert_eq!(monitor.get(path).status, 404, "{path}");
        }
        assert!(monitor.post("/metrics", &json!({})).status >= 400);
        assert_eq!(Town::new(engine).metrics, None);
    }

    /// A port that is taken stops the start, by the setting's name.
    fn a_taken_port_is_told(engine) {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let site = Site::new(engine).with("metrics.listen", &format!("\"{}\"", taken.local_addr().unwrap()));
        let mut command = program(site.folder.path());
        command.arg("serve").arg("--config").arg(site.settings());
        let refused = refused_start(command).expect(1);
        assert!(refused.err.lines().last().is_some_and(|line| line.contains("metrics.listen")), "{refused:?}");
    }
}

/// Where a service in a process of its own serves its metrics, as its log tells.
pub fn metrics_of(service: &Process) -> Client {
    let log = service.log();
    let line = log.lines().find(|line| line.contains("\"message\":\"metrics\"")).unwrap_or_else(|| panic!("{log}"));
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    Client::new(&format!("http://{}", line["address"].as_str().unwrap()))
}
