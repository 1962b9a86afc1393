//! Fills the audit trail of a database with events of made-up reads, spread over the months before now: what a service would have after
//! years, in minutes. They go the way of every event, so the trail verifies afterwards.
//!
//! `fill_trail <database url> <key file> <events> <months>`

#![expect(clippy::print_stdout, clippy::expect_used, reason = "a measuring harness")]

use std::time::Instant;
use usher::auth::keys::Keys;
use usher::domain::audit::{Action, Actor, ActorType, Event, Outcome};
use usher::domain::chance::Entropy;
use usher::domain::ids::{CredentialId, UserId};
use usher::domain::time::{Clock, Utc};
use usher::service::fresh_cid;
use usher::store::connection::Location;
use usher::store::{Macs, Store};

/// Events in one transaction.
const BATCH: i64 = 512;
/// Whose reads they are.
const PEOPLE: usize = 100_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, keys, events, months] = arguments.as_slice() else {
        println!("fill_trail <database url> <key file> <events> <months>");
        return;
    };
    let (events, months): (i64, i64) = (events.parse().expect("a number of events"), months.parse().expect("a number of months"));
    let keys = Keys::load(keys.as_ref()).expect("the key file");
    let (entropy, now) = (Entropy::system(), Clock::system().now());
    let location = Location::parse(url).expect("a database URL");
    let store = Store::open(&location, 1, Macs { audit: keys.audit.clone(), rows: keys.rows.clone() }, None, entropy.clone())
        .expect("the database");
    let span = months * 30 * 24 * 3600 * 1_000_000;
    let time_of = |number: i64| Utc::from_micros(now.micros() - span + span / events * number);
    let people: Vec<String> = (0..PEOPLE).map(|_| UserId::mint(now, &entropy).to_string()).collect();
    let session = CredentialId::from_bytes(entropy.bytes());
    let event = |number: i64| {
        let time = time_of(number);
        let person = people.get(usize::try_from(number).unwrap_or_default().wrapping_mul(7919) % PEOPLE).cloned();
        Event {
            time,
            cid: fresh_cid(time, &entropy),
            action: Action::CurrentUserRead,
            outcome: Outcome::Success,
            reason: None,
            actor: Actor { kind: ActorType::User, id: person.clone(), session: Some(session) },
            subject: person,
            application: Some("default".to_owned()),
            remote_addr: Some("192.0.2.7".to_owned()),
            traceparent: None,
            changes: None,
            view: None,
            shown: None,
            basis: None,
        }
    };
    let began = Instant::now();
    let runtime = actix_web::rt::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        for first in (0..events).step_by(BATCH as usize) {
            let batch: Vec<Event> = (first..events.min(first + BATCH)).map(event).collect();
            store.change_many(move |_| Ok(((), batch))).await.expect("a durable batch");
        }
        println!("{events} events in {:.0?}", began.elapsed());
        let began = Instant::now();
        while store.keep_count(|tx| Ok(tx.index_audit()?)).await.expect("the index") > 0 {}
        println!("their index in {:.0?}", began.elapsed());
    });
    store.close();
}
