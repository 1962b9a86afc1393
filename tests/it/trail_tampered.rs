//! S53: tampers made from the schema: each column of each table of the trail flipped and taken from another row; each row removed, added
//! elsewhere and put back as it once was; and the whole trail put back. `verify` finds it, or the table below and docs/AUDIT.md name it as
//! beyond what can be held. A new column or table of the trail is tampered with by itself.

use crate::both;
use crate::harness::process::usher;
use crate::harness::{Engine, Site, Town, wait_until};
use crate::trail_held::mark_of;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;
use usher::domain::time::Clock;

/// The tables of the trail, and the columns that tell their rows apart.
#[rustfmt::skip]
const TABLES: &[(&str, &str)] = &[
    ("audit_batches",    "chain, last"),
    ("audit_changes",    "chain, seq"),
    ("audit_shown",      "chain, seq"),
    ("audit_chains",     "chain"),
    ("audit_beginnings", "chain"),
    ("audit_index",      "key, micros, chain, seq"),
    ("audit_indexed",    "chain"),
    ("audit_rollbacks",  "number"),
    ("token_keys",       "key_id"),
];

/// What is not found, and why: each stands in docs/AUDIT.md under what `verify` cannot find.
#[rustfmt::skip]
const NOT_HELD: &[(&str, &str, &str)] = &[
    ("audit_changes", "delete",  "that is how a person's values are erased: they are counted, and their digest stays"),
    ("audit_changes", "all deleted", "the same"),
    ("token_keys", "use", "a key that is gone: the next one signs, and whoever checks knows which ones there were"),
    ("token_keys", "alg", "it is told beside the key, which tells its own"),
    ("token_keys", "created_time", "no signature depends on it"),
    ("token_keys", "signs_from", "no signature depends on it"),
    ("token_keys", "delete", "a key that is gone"),
    ("token_keys", "all deleted", "a key that is gone"),
];

fn lines(site: &Site, query: &str) -> Vec<String> {
    crate::trail_held::lines(site, query)
}

fn columns(site: &Site, table: &str) -> Vec<(String, String)> {
    let query = match site.engine {
        Engine::Sqlite => format!("SELECT name || ' ' || lower(type) AS line FROM pragma_table_info('{table}')"),
        Engine::Postgres => format!(
            "SELECT column_name || ' ' || data_type AS line FROM information_schema.columns WHERE table_name = '{table}' ORDER BY ordinal_position"
        ),
    };
    let of = |line: String| line.split_once(' ').map(|(name, kind)| (name.to_owned(), kind.to_owned())).unwrap();
    lines(site, &query).into_iter().map(of).collect()
}

/// Another value of a column.
fn flipped(engine: Engine, name: &str, kind: &str) -> String {
    match (engine, kind) {
        // A month that PostgreSQL has a partition for.
        (_, "integer" | "bigint") if name == "month" => "203001".to_owned(),
        (_, "integer" | "bigint") => format!("{name} + 1"),
        (_, "text") => format!("coalesce({name}, '') || 'x'"),
        (Engine::Sqlite, "blob") => format!(
            "CAST(substr({name}, 1, length({name}) - 1) || CASE WHEN substr({name}, -1) = x'5a' THEN x'5b' ELSE x'5a' END AS BLOB)"
        ),
        (_, "bytea") => format!("set_byte({name}, length({name}) - 1, get_byte({name}, length({name}) - 1) # 1)"),
        (_, "uuid") => format!(
            "(CASE WHEN {name}::text LIKE '%0' THEN left({name}::text, 35) || '1' ELSE left({name}::text, 35) || '0' END)::uuid"
        ),
        (_, kind) if kind.starts_with("timestamp") => format!("{name} + interval '1 second'"),
        (_, kind) => panic!("{name} is of a type that this test does not know: {kind}"),
    }
}

/// The statements that tamper with a table, each with what it is called in [`NOT_HELD`].
fn tampers(site: &Site, table: &str, keys: &str) -> Vec<(String, String)> {
    let columns = columns(site, table);
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let one = format!("({keys}) = (SELECT {keys} FROM {table} ORDER BY {keys} LIMIT 1)");
    let other = format!("(SELECT {keys} FROM {table} ORDER BY {keys} LIMIT 1 OFFSET 1)");
    let count: i64 = lines(site, &format!("SELECT CAST(count(*) AS text) AS line FROM {table}"))[0].parse().unwrap();
    assert!(count > 0, "{table} has no rows to tamper with");
    let mut made = Vec::new();
    // What refers to another table the database itself does not let go astray.
    for (name, kind) in columns.iter().filter(|(name, _)| name != "data_key_id") {
        let is_key = keys.split(", ").any(|key| key == name);
        let is_number = matches!(kind.as_str(), "integer" | "bigint");
        let new = if is_key && is_number { format!("{name} + 100000") } else { flipped(site.engine, name, kind) };
        made.push((name.clone(), format!("UPDATE {table} SET {name} = {new} WHERE {one}")));
        let differs =
            format!("SELECT CAST(count(DISTINCT {name}) AS text) AS line FROM {table} WHERE {one} OR ({keys}) = {other}");
        if !is_key && count > 1 && lines(site, &differs)[0] != "1" {
            let from = format!("(SELECT {name} FROM {table} WHERE ({keys}) = {other})");
            made.push((format!("{name} moved"), format!("UPDATE {table} SET {name} = {from} WHERE {one}")));
        }
    }
    made.push(("delete".to_owned(), format!("DELETE FROM {table} WHERE {one}")));
    made.push(("all deleted".to_owned(), format!("DELETE FROM {table}")));
    // The same row once more, where there is none: under another number, and in a chain that does not exist.
    for (what, key) in [("added", keys.split(", ").last().unwrap()), ("added elsewhere", "chain")] {
        let Some((_, kind)) = columns.iter().find(|(name, _)| name == key) else { continue };
        let new = match kind.as_str() {
            "integer" | "bigint" => format!("{key} + 100000"),
            kind => flipped(site.engine, key, kind),
        };
        let select: Vec<&str> = names.iter().map(|name| if *name == key { new.as_str() } else { name }).collect();
        let row = format!("INSERT INTO {table} SELECT {} FROM {table} WHERE {one}", select.join(", "));
        made.push((what.to_owned(), row));
    }
    // As it once was, where a row of that place has changed since.
    let was = format!(
        "SELECT CAST(count(*) AS text) AS line FROM (SELECT * FROM {table} EXCEPT SELECT * FROM once_{table}) n WHERE ({keys}) IN (SELECT {keys} FROM once_{table})"
    );
    if lines(site, &was)[0] != "0" {
        let put_back = format!(
            "DELETE FROM {table} WHERE ({keys}) IN (SELECT {keys} FROM once_{table}); INSERT INTO {table} SELECT * FROM once_{table}"
        );
        made.push(("replay".to_owned(), put_back));
    }
    made
}

fn copy(site: &Site, name: &str) {
    for (table, _) in TABLES {
        site.sql(&format!("CREATE TABLE {name}_{table} AS SELECT * FROM {table}"));
    }
}

fn put_back(site: &Site, name: &str, mark: &[u8]) {
    for (table, _) in TABLES {
        site.sql(&format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM {name}_{table}"));
    }
    std::fs::write(mark_of(site), mark).unwrap();
}

/// A trail with rows in each of its tables: months that were dropped, values, persons shown, an accepted rollback.
fn furnished(engine: Engine) -> Site {
    let now = Clock::system().now();
    let months = Duration::from_secs(4 * 31 * 24 * 3600);
    let began = now.micros() - i64::try_from(months.as_micros()).unwrap();
    let clock = Arc::new(AtomicI64::new(began));
    let town = Town::at(Site::new(engine).with("audit.keep_months", "1"), clock);
    let fill = |town: &Town, name: &str| {
        let root = town.root();
        for number in 0..4 {
            root.post("/api/v1/users", &json!({"username": format!("{name}-{number}"), "email": "ann@example.com"})).expect(201);
            root.get("/api/v1/users").expect(200);
            town.anon().get("/api/v1/users/me").expect(401);
        }
    };
    fill(&town, "old");
    town.advance(months);
    let town = town.restart();
    wait_until("what is older is dropped", || town.count("SELECT count(*) AS count FROM audit_beginnings") > 0);
    town.usher(&["audit", "accept-rollback", "--reason", "tried"]).expect(0);
    fill(&town, "early");
    let caught_up = "SELECT CAST(count(*) AS bigint) AS count FROM audit_chains c JOIN audit_indexed i ON i.chain = c.chain WHERE i.seq < c.seq";
    wait_until("the index has caught up", || town.count(caught_up) == 0);
    copy(&town.site, "once");
    fill(&town, "late");
    wait_until("the index has caught up", || town.count(caught_up) == 0);
    town.halt()
}

both! {
    fn every_column_and_row_of_the_trail(engine) {
        let site = furnished(engine);
        let trail = match engine {
            Engine::Sqlite => "SELECT name AS line FROM sqlite_master WHERE type = 'table' AND name LIKE 'audit%'",
            Engine::Postgres => "SELECT relname::text AS line FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition AND relname LIKE 'audit%' AND relnamespace = 'public'::regnamespace",
        };
        let known: BTreeSet<String> = TABLES.iter().map(|(table, _)| (*table).to_owned()).filter(|t| t.starts_with("audit")).collect();
        assert_eq!(lines(&site, trail).into_iter().collect::<BTreeSet<_>>(), known, "the trail's tables and those of this test differ");
        usher(&site, &["audit", "verify"], "").expect(0);
        if engine == Engine::Postgres {
            for table in ["audit_batches", "audit_changes", "audit_shown", "audit_index"] {
                site.sql(&format!("CREATE TABLE {table}_203001 PARTITION OF {table} FOR VALUES FROM (203001) TO (203002)"));
            }
        }
        copy(&site, "sound");
        let mark = std::fs::read(mark_of(&site)).unwrap();
        let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/AUDIT.md")).unwrap();
        let (mut missed, mut excused) = (Vec::new(), BTreeSet::new());
        for (table, keys) in TABLES {
            for (what, statement) in tampers(&site, table, keys) {
                put_back(&site, "sound", &mark);
                site.sql(&statement);
                let ran = usher(&site, &["audit", "verify"], "");
                let is_found = ran.code != Some(0);
                let excuse = NOT_HELD.iter().find(|(of, name, _)| of == table && *name == what);
                match excuse {
                    Some((.., why)) => {
                        assert!(document.contains(&format!("`{table}`")), "docs/AUDIT.md does not name {table}: {why}");
                        assert!(!is_found, "{statement} is found: it needs no excuse");
                        excused.insert((*table, what));
                    }
                    None if is_found => assert!(!ran.err.contains("panicked"), "{statement}: {ran:?}"),
                    None => missed.push(format!("{table}, {what}: {statement}")),
                }
            }
        }
        assert_eq!(excused.len(), NOT_HELD.len(), "an excuse was not needed: {excused:?}");
        assert!(missed.is_empty(), "not found:\n{}", missed.join("\n"));
        // All of it at once, as it was: the mark tells.
        put_back(&site, "sound", &mark);
        usher(&site, &["audit", "verify"], "").expect(0);
        for (table, _) in TABLES {
            site.sql(&format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM once_{table}"));
        }
        assert!(usher(&site, &["audit", "verify"], "").expect(1).err.contains("was put back"));
    }
}
