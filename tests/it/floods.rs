//! A flood of sign-ins: many more than the cores can hash. Who is signed in is served all the same, memory is bounded, and whoever is too
//! much is told to come back.

use crate::both;
use crate::faults::{furnished, newcomer, root};
use crate::harness::process::Process;
use crate::harness::{Client, Engine, Over, PASSWORD, Site};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ME: &str = "/api/v1/users/me";
/// Threads that hash; each has four places in the queue beside its own.
const HASHERS: usize = 2;
/// Who sign in at once: ten times as many as there are places.
const CROWD: usize = HASHERS * 5 * 10;
/// Memory at most: what two hashes take, and room for the rest.
const CEILING_MIB: u64 = 256;

/// A value of `/proc/PID/status`, in MiB.
fn memory(service: &Process, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn is_flooded(engine: Engine, span: Duration) {
    let site = Site::new(engine).with("passwords.hash_threads", &HASHERS.to_string()).with("lockout.address_free", "1000000000");
    let site = furnished(site);
    let service = Process::serve(&site);
    let by = root(&service);
    let ann = newcomer(&service, &by, "ann");
    for number in 0..10 {
        by.post("/api/v1/users", &json!({"username": format!("known-{number}"), "password": PASSWORD})).expect(201);
    }
    let is_over = AtomicBool::new(false);
    let began = Instant::now();
    let (answers, mut waits, half_way) = std::thread::scope(|scope| {
        let crowd: Vec<_> = (0..CROWD)
            .map(|number| {
                let (base, is_over) = (&service.base, &is_over);
                scope.spawn(move || {
                    let client = Client::new(base);
                    let mut answers: BTreeMap<(u16, bool), u64> = BTreeMap::new();
                    for round in 0.. {
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                        let name = if number < 10 { format!("known-{number}") } else { format!("nobody-{number}-{round}") };
                        let answer = client.try_sign_in(&name, PASSWORD);
                        *answers.entry((answer.status, answer.headers.contains_key("retry-after"))).or_default() += 1;
                    }
                    answers
                })
            })
            .collect();
        let over = Over(&is_over);
        let (mut waits, mut half_way) = (Vec::new(), 0);
        while began.elapsed() < span {
            let asked = Instant::now();
            ann.get(ME).expect(200);
            waits.push(asked.elapsed());
            if began.elapsed() > span / 2 && half_way == 0 {
                half_way = memory(&service, "VmRSS:");
            }
        }
        drop(over);
        let mut answers: BTreeMap<(u16, bool), u64> = BTreeMap::new();
        for one in crowd {
            for (answer, count) in one.join().unwrap() {
                *answers.entry(answer).or_default() += count;
            }
        }
        (answers, waits, half_way)
    });
    let (peak, rest) = (memory(&service, "VmHWM:"), memory(&service, "VmRSS:"));
    waits.sort_unstable();
    let at = |share: usize| waits[(waits.len() - 1) * share / 100];
    let count = |answer: (u16, bool)| answers.get(&answer).copied().unwrap_or_default();
    let (signed_in, wrong, told) = (count((201, false)), count((401, false)), count((503, true)));
    println!(
        "{engine:?}: {CROWD} clients for {span:?}: {signed_in} signed in, {wrong} refused, {told} told to come back; GET {ME} {} times, median {:?}, p99 {:?}, longest {:?}; {half_way} MiB half way, {rest} MiB at the end, {peak} MiB at most",
        waits.len(),
        at(50),
        at(99),
        at(100),
    );
    // Nothing else was answered, 500 least of all.
    assert_eq!(answers.values().sum::<u64>(), signed_in + wrong + told, "{answers:?}");
    assert!(signed_in + wrong > 0 && told > 0, "{answers:?}");
    assert!(waits.len() >= 10 && at(100) < Duration::from_secs(5), "{} calls, the longest of {:?}", waits.len(), at(100));
    assert!(peak < CEILING_MIB && rest <= half_way + 32, "{half_way} MiB, {rest} MiB, {peak} MiB");
    // It is over with the flood.
    service.anon().sign_in("ann", PASSWORD).get(ME).expect(200);
}

both! {
    /// S2: a flood of sign-ins, ten times as many at once as there is room for.
    fn a_flood_of_sign_ins(engine) {
        is_flooded(engine, Duration::from_secs(4));
    }

    /// The same for longer.
    #[ignore = "a soak of some minutes"]
    fn a_long_flood_of_sign_ins(engine) {
        is_flooded(engine, Duration::from_secs(90));
    }
}
