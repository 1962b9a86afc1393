//! The house rules: who imports whom, that the two databases are one schema, that what was named once is not named again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What each room may use; the leaves `error` and `settings` anyone may.
const RULE: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["app", "http", "service", "auth", "store", "outbound", "domain"]),
    ("app", &["http", "service", "auth", "store", "outbound", "domain"]),
    ("http", &["service", "domain"]),
    ("service", &["auth", "store", "outbound", "domain"]),
    ("auth", &["domain"]),
    ("store", &["domain"]),
    ("outbound", &["domain"]),
    ("domain", &[]),
    ("error", &[]),
    ("settings", &[]),
];
const LEAVES: &[&str] = &["error", "settings"];

/// S52: few places draw a view of a user that no trail hears of, and each for a reason: what changed, for the trail itself; what is written down
/// once and shown with a witness later; claims of a token, and exports, which tell the trail in their own way.
#[test]
fn views_have_witnesses() {
    const WITHOUT: &[&str] = &[
        "domain/attribute.rs",
        "domain/signed_token.rs",
        "domain/user.rs",
        "service/difference.rs",
        "service/export.rs",
        "service/first_start.rs",
        "service/groups.rs",
        "service/immediate_sign_up.rs",
        "service/import/mod.rs",
        "service/known.rs",
        "service/sign_up.rs",
    ];
    let src = root().join("src");
    let has =
        |file: &PathBuf| fs::read_to_string(file).unwrap().contains(".unwitnessed()") || file.ends_with("domain/attribute.rs");
    let found: BTreeSet<String> = sources(&src)
        .iter()
        .filter(|file| has(file))
        .map(|file| file.strip_prefix(&src).unwrap().display().to_string())
        .collect();
    assert_eq!(found, WITHOUT.iter().map(|file| (*file).to_owned()).collect());
}

#[test]
fn imports_go_one_way() {
    let src = root().join("src");
    let mut breaches = Vec::new();
    for file in sources(&src) {
        let path = file.strip_prefix(&src).unwrap();
        let room = path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if room == "lib" {
            continue;
        }
        let allowed = RULE.iter().find(|(name, _)| *name == room).unwrap_or_else(|| panic!("src/{room} is in no rule")).1;
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for prefix in ["crate::", "usher::"] {
                for (at, _) in line.match_indices(prefix) {
                    let used: String =
                        line[at + prefix.len()..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                    let is_room = RULE.iter().any(|(name, _)| *name == used);
                    if is_room && used != room && !LEAVES.contains(&used.as_str()) && !allowed.contains(&used.as_str()) {
                        breaches.push(format!("{}:{}: {room} uses {used}", path.display(), number + 1));
                    }
                }
            }
        }
    }
    assert_eq!(breaches, [""; 0], "against the import rule of src/lib.rs");
}

/// Queries are the store's business: nothing else runs one.
#[test]
fn sql_is_in_the_store() {
    let src = root().join("src");
    for file in sources(&src) {
        let path = file.strip_prefix(&src).unwrap().to_owned();
        if path.starts_with("store") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for word in ["sql_query", "diesel::insert_into", "diesel::update", "diesel::delete", "RunQueryDsl", "diesel::prelude"] {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
    }
}

/// Whoever acts without a session acts at the command line: nothing else may make such a super-user.
#[test]
fn only_the_command_line_makes_an_operator() {
    let src = root().join("src");
    for file in sources(&src) {
        let path = file.strip_prefix(&src).unwrap().to_owned();
        if path.starts_with("cli") || path.ends_with("service/caller.rs") {
            continue;
        }
        assert!(!fs::read_to_string(&file).unwrap().contains("at_the_command_line"), "{}", path.display());
    }
}

/// Tables with their columns, and indexes, as a migration folder makes them.
fn schema(folder: &Path) -> (BTreeMap<String, Vec<String>>, BTreeSet<String>) {
    let (mut tables, mut indexes) = (BTreeMap::new(), BTreeSet::new());
    let mut migrations: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    migrations.sort();
    for migration in migrations {
        let text = fs::read_to_string(migration.join("up.sql")).unwrap();
        let text: String = text.lines().filter(|l| !l.trim_start().starts_with("--")).collect::<Vec<_>>().join("\n");
        let types = [
            ("uuid", "BLOB"),
            ("bytea", "BLOB"),
            ("bigint", "INTEGER"),
            ("boolean", "INTEGER"),
            ("timestamptz", "INTEGER"),
            ("text", "TEXT"),
        ];
        let column = |line: &str| {
            let mut line = line.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches(',').to_owned();
            line = line
                .replace(" COLLATE \"C\"", "")
                .replace(" DEFAULT false", " DEFAULT 0")
                .replace(" DEFAULT true", " DEFAULT 1")
                .replace(" DEFAULT x''", " DEFAULT ''")
                .replace(" DEFAULT 'epoch'", " DEFAULT 0");
            for (postgres, sqlite) in types {
                line = line.replacen(&format!(" {postgres}"), &format!(" {sqlite}"), 1);
            }
            line
        };
        for statement in text.split(';').map(str::trim) {
            // How PostgreSQL lays a table out is its own affair.
            let statement = statement.split(" PARTITION BY ").next().unwrap_or(statement);
            let words: Vec<&str> = statement.split_whitespace().collect();
            match words.as_slice() {
                ["CREATE", "TABLE", name, ..] => {
                    let body = statement.split_once('(').unwrap().1.rsplit_once(')').unwrap().0;
                    tables.insert((*name).to_owned(), body.lines().map(column).filter(|l| !l.is_empty()).collect());
                }
                ["ALTER", "TABLE", name, "ADD", "COLUMN", ..] => {
                    let columns: &mut Vec<String> = tables.get_mut(*name).unwrap();
                    columns.push(column(statement.split_once("COLUMN").unwrap().1));
                }
                ["CREATE", "INDEX", ..] | ["CREATE", "UNIQUE", "INDEX", ..] => {
                    indexes.insert(words.join(" ").replace(" CONCURRENTLY", ""));
                }
                _ => {}
            }
        }
    }
    (tables, indexes)
}

#[test]
fn the_two_folders_of_migrations_make_one_schema() {
    let names = |database: &str| -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(root().join("migrations").join(database))
            .unwrap()
            .map(|e| {
                let path = e.unwrap().path();
                assert!(path.join("up.sql").exists() && path.join("down.sql").exists(), "{}", path.display());
                path.file_name().unwrap().to_string_lossy().into_owned()
            })
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("sqlite"), names("postgres"));
    let (sqlite, postgres) = (schema(&root().join("migrations/sqlite")), schema(&root().join("migrations/postgres")));
    assert!(sqlite.0.len() >= 10, "the schema was not read");
    assert_eq!(sqlite, postgres);
}

/// The statements of a migration, without comments; a function's body stays whole.
fn statements(text: &str) -> Vec<String> {
    let text: String = text.lines().map(|line| line.split("--").next().unwrap()).collect::<Vec<_>>().join(" ");
    let mut statements = vec![String::new()];
    for (number, part) in text.split("$$").enumerate() {
        if number % 2 == 1 {
            statements.last_mut().unwrap().push_str("$$");
            continue;
        }
        for (number, piece) in part.split(';').enumerate() {
            if number > 0 {
                statements.push(String::new());
            }
            statements.last_mut().unwrap().push_str(piece);
        }
    }
    let words = |statement: &String| statement.split_whitespace().collect::<Vec<_>>().join(" ");
    statements.iter().map(words).filter(|statement| !statement.is_empty()).collect()
}

/// Why nodes that do not know a statement could not go on beside it; `None`: they can (docs/UPGRADING.md). `made` are the tables that
/// its migration makes.
fn takes_away(statement: &str, made: &BTreeSet<String>) -> Option<&'static str> {
    let words: Vec<&str> = statement.split(' ').collect();
    match words.as_slice() {
        ["CREATE", "TABLE" | "FUNCTION" | "TRIGGER", ..] | ["CREATE", "OR", "REPLACE", "FUNCTION", ..] => None,
        ["SELECT", "1"] | ["INSERT", "INTO", ..] | ["DROP", "INDEX", ..] | ["CREATE", "INDEX", ..] => None,
        ["ALTER", "TABLE", _, "ADD", "COLUMN", column @ ..] => {
            let column = column.join(" ");
            let demands = column.contains("NOT NULL") && !column.contains("DEFAULT");
            let is_plain = !["UNIQUE", "CHECK", "PRIMARY", "ADD COLUMN"].iter().any(|word| column.contains(word));
            if demands { Some("a column that must be written") } else { (!is_plain).then_some("a column with a condition") }
        }
        ["CREATE", "UNIQUE", "INDEX", _, "ON", table, ..] if made.contains(*table) => None,
        ["CREATE", "UNIQUE", ..] => Some("a condition on a table that is there"),
        _ => Some("it is none of what only adds"),
    }
}

/// The migrations of before the rule on indexes.
const LAST_WITHOUT_RULE: &str = "0014_linked_accounts";

/// A migration only adds, or is listed as a contract with the oldest schema whose nodes may go on beside it. An index on a table that is
/// there is made beside running transactions, by a migration of its own.
#[test]
fn migrations_expand_or_are_listed_as_contracts() {
    let contracts: BTreeMap<&str, i64> = usher::store::CONTRACTS.iter().copied().collect();
    let mut breaches = Vec::new();
    for database in ["postgres", "sqlite"] {
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(root().join("migrations").join(database)).unwrap() {
            let folder = entry.unwrap().path();
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            let statements = statements(&fs::read_to_string(folder.join("up.sql")).unwrap());
            let table = |statement: &String| Some(statement.strip_prefix("CREATE TABLE ")?.split([' ', '(']).next()?.to_owned());
            let made: BTreeSet<String> = statements.iter().filter_map(table).collect();
            for statement in &statements {
                if let Some(why) = takes_away(statement, &made).filter(|_| !contracts.contains_key(name.as_str())) {
                    breaches.push(format!("{database}/{name}: {statement}: {why}"));
                }
                let on = statement.split_once(" ON ").map(|(_, on)| on.split([' ', '(']).next().unwrap().to_owned());
                let is_index = statement.starts_with("CREATE INDEX") || statement.starts_with("CREATE UNIQUE INDEX");
                // Beside a contract of its own schema no node of before goes on: nobody writes meanwhile.
                let is_unseen = contracts.get(name.as_str()).is_some_and(|oldest| name.starts_with(&format!("{oldest:04}_")));
                if database == "postgres"
                    && !is_unseen
                    && name.as_str() > LAST_WITHOUT_RULE
                    && is_index
                    && !made.contains(&on.unwrap())
                {
                    let metadata = fs::read_to_string(folder.join("metadata.toml")).unwrap_or_default();
                    let is_alone = statements.len() == 1 && metadata.contains("run_in_transaction = false");
                    if !statement.contains("INDEX CONCURRENTLY ") || !is_alone {
                        breaches.push(format!("{database}/{name}: {statement}: it keeps writers waiting"));
                    }
                }
            }
            names.insert(name);
        }
        assert!(names.len() >= 10 && contracts.keys().all(|name| names.contains(*name)), "{contracts:?} of {names:?}");
    }
    assert_eq!(breaches, [""; 0], "see docs/UPGRADING.md");
}

/// What takes away is told from what adds.
#[test]
fn what_takes_away_is_recognised() {
    let made = BTreeSet::from(["fresh".to_owned()]);
    let text = "CREATE TABLE fresh (id uuid); -- with a comment; or two\nALTER TABLE users ADD COLUMN a text;
        ALTER TABLE users ADD COLUMN b bigint NOT NULL DEFAULT 0; CREATE UNIQUE INDEX f ON fresh (id); DROP INDEX old;
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM users; RETURN NEW; END $$;
        INSERT INTO counters (name, value) VALUES ('x', 1);";
    let adds = statements(text);
    assert_eq!(adds.len(), 7, "{adds:#?}");
    for statement in adds {
        assert_eq!(takes_away(&statement, &made), None, "{statement}");
    }
    for statement in [
        "DROP TABLE users",
        "ALTER TABLE users DROP COLUMN a",
        "ALTER TABLE users RENAME COLUMN a TO b",
        "ALTER TABLE users RENAME TO people",
        "ALTER TABLE users ADD COLUMN a text NOT NULL",
        "ALTER TABLE users ADD COLUMN a text UNIQUE",
        "ALTER TABLE users ADD COLUMN a text, ADD COLUMN b text NOT NULL",
        "ALTER TABLE users ADD CONSTRAINT c CHECK (a > 0)",
        "ALTER TABLE users ALTER COLUMN a SET NOT NULL",
        "ALTER TABLE users ALTER COLUMN a TYPE bigint",
        "CREATE UNIQUE INDEX u ON users (a)",
        "UPDATE users SET a = 1",
        "DELETE FROM users",
        "DROP TRIGGER t ON users",
        "TRUNCATE users",
    ] {
        assert!(takes_away(statement, &made).is_some(), "{statement}");
    }
}

/// The settings table of the README is the default file's.
#[test]
fn the_readme_names_every_setting() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for key in usher::settings::documented_keys() {
        assert!(readme.contains(&format!("`{key}`")), "README.md says nothing of {key}");
    }
}

/// The documentation names every path, error code and audit action that the code has.
#[test]
fn the_documents_name_what_the_code_has() {
    let read = |name: &str| fs::read_to_string(root().join("docs").join(name)).unwrap();
    let errors = read("ERRORS.md");
    for code in usher::error::Code::ALL {
        let row = format!("| {} | `{}` |", code.status(), code.as_str());
        assert!(errors.contains(&row), "docs/ERRORS.md lacks the row {row}");
    }
    let http = read("HTTP.md");
    for route in usher::http::table().iter().filter(|route| route.dialect == usher::http::Dialect::Native) {
        assert!(http.contains(route.path), "docs/HTTP.md says nothing of {}", route.path);
    }
    let audit = read("AUDIT.md");
    for action in usher::domain::audit::Action::ALL {
        assert!(audit.contains(&format!("`{action}`")), "docs/AUDIT.md says nothing of {action}");
    }
}

/// What the composition names is there: mounted files, settings, nodes, secrets; and the proxy's address is the one that nodes believe.
#[test]
fn the_composition_names_what_is_there() {
    let compose = fs::read_to_string(root().join("docker-compose.yml")).unwrap();
    let proxy = fs::read_to_string(root().join("packaging/haproxy.cfg")).unwrap();
    let (head, services) = compose.split_once("\nservices:\n").unwrap();
    let (services, tail) = services.split_once("\nsecrets:\n").unwrap();
    let values =
        |key: &str| services.lines().filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": ")).collect::<Vec<_>>();

    let mounts: Vec<&str> = services.lines().filter_map(|line| line.trim().strip_prefix("- ./")?.split(':').next()).collect();
    assert!(mounts.len() >= 4, "{mounts:?}");
    for mount in mounts {
        assert!(root().join(mount).is_file(), "{mount} is mounted and is not there");
    }
    let known: BTreeSet<String> = usher::settings::documented_keys().into_iter().collect();
    let settings = compose.lines().filter_map(|line| line.trim().strip_prefix("USHER__")?.split_once(": ").map(|(key, _)| key));
    let settings: Vec<String> = settings.map(|key| key.to_lowercase().replacen("__", ".", 1)).collect();
    assert!(settings.len() >= 5 && settings.iter().all(|key| known.contains(key)), "{settings:?}");
    for node in ["NODE_1", "NODE_2", "NODE_3"] {
        let [address] = values(node)[..] else { panic!("{node}") };
        let service = address.strip_suffix(":8080").unwrap();
        assert!(services.contains(&format!("\n  {service}:")) || services.starts_with(&format!("  {service}:")), "{service}");
    }
    for variable in proxy.split("${").skip(1).map(|text| text.split('}').next().unwrap()) {
        assert_eq!(values(variable).len(), 1, "haproxy.cfg reads {variable}");
    }
    let [address] = values("ipv4_address")[..] else { panic!("the proxy has no address") };
    assert!(head.contains(&format!("USHER__SERVER__TRUSTED_PROXIES: '[\"{address}/32\"]'")), "nodes do not believe {address}");
    let secrets: BTreeSet<&str> = compose
        .split("/run/secrets/")
        .skip(1)
        .map(|text| text.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap())
        .collect();
    assert!(secrets.len() >= 6, "{secrets:?}");
    for secret in secrets {
        assert!(tail.contains(&format!("  {secret}:\n    file: ./secrets/{secret}\n")), "{secret} is no secret");
        assert!(compose.lines().any(|line| line.trim() == format!("- {secret}")), "{secret} is given to nobody");
    }
}

/// Every line of the security bar that is named in the documentation as tested is named in a test.
#[test]
fn the_security_bar_is_held_by_name() {
    let security = fs::read_to_string(root().join("docs/SECURITY.md")).unwrap();
    let mut text = String::new();
    for folder in ["tests", "src"] {
        for file in sources(&root().join(folder)) {
            text.push_str(&fs::read_to_string(file).unwrap());
        }
    }
    let names: BTreeSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let expected: Vec<String> = (1..=55).map(|n| format!("S{n}")).chain((1..=30).map(|n| format!("R{n}"))).collect();
    let rows: Vec<Vec<&str>> =
        security.lines().filter(|l| l.starts_with("| S") || l.starts_with("| R")).map(|l| l.split(" | ").collect()).collect();
    let found: Vec<&str> = rows.iter().map(|row| row[0].trim_start_matches("| ")).collect();
    assert_eq!(found, expected, "the rows of docs/SECURITY.md");
    for row in rows {
        let (name, status) = (row[0].trim_start_matches("| "), row[1]);
        let is_named = names.contains(name);
        match status {
            "held" => assert!(is_named, "{name} is said to be held, but no test names it"),
            "partly" | "not yet" | "not applicable" => {
                assert!(row.len() > 2 && row[2].len() > "no |".len(), "{name} has no reason")
            }
            other => panic!("{name} is said to be {other}"),
        }
    }
}

/// Every parser of what comes from outside has a property test and a fuzz target, and no fuzz target is left out of the table.
#[test]
fn every_parser_is_fuzzed() {
    let manual = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let (_, table) = manual.split_once("| parser | property test | fuzz target |").expect("the table of parsers");
    let quoted = |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let rows: Vec<Vec<Vec<String>>> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split(" | ").map(quoted).collect())
        .collect();
    assert!(rows.len() > 10, "the table was not read");
    let tests: String = sources(&root().join("src")).iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let mut in_table = BTreeSet::new();
    for row in rows {
        let [parsers, properties, targets] = row.as_slice() else { panic!("{row:?}") };
        assert!(!properties.is_empty() && targets.len() == 1, "{row:?}");
        for place in parsers.iter().filter(|place| place.ends_with(".rs") && !place.contains('{')) {
            assert!(root().join("src").join(place).exists(), "{place}");
        }
        for property in properties {
            assert!(tests.contains(&format!("fn {property}(")), "there is no property test {property}");
        }
        in_table.extend(targets.clone());
    }
    let folder = root().join("fuzz/fuzz_targets");
    let targets: BTreeSet<String> =
        sources(&folder).iter().map(|file| file.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(targets, in_table, "fuzz/fuzz_targets and the table of CONTRIBUTING.md differ");
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    let (_, bins) = manifest.split_once("[[bin]]").unwrap();
    let built: BTreeSet<String> =
        bins.lines().filter_map(|line| line.strip_prefix("name = ")).map(|name| name.trim_matches('"').to_owned()).collect();
    assert_eq!(built, targets, "fuzz/Cargo.toml and fuzz/fuzz_targets differ");
    for target in targets {
        let seeds = root().join("fuzz/seeds").join(&target);
        assert!(seeds.is_dir() && fs::read_dir(&seeds).unwrap().next().is_some(), "{target} has no seed");
    }
}
