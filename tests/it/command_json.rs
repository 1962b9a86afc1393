//! `--json` on every command that prints data: the list of commands is that of the manual pages, so that a new one needs a row here.

use crate::both;
use crate::harness::process::{Process, program, usher};
use crate::harness::{PASSWORD, Site};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

/// What a command prints with `--json`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prints {
    /// A JSON document.
    Document,
    /// A JSON document on each line.
    Lines,
    /// Something that is no data: a script, a page of a manual.
    NoData,
}
use Prints::{Document, Lines, NoData};

/// A command, its arguments, its standard input, and what it prints; in an order in which each finds what it needs. `{key_id}` stands for
/// the last such member that was printed.
const TABLE: &[(&str, &str, &str, Prints)] = &[
    ("config show", "", "", Document),
    ("openapi", "", "", Document),
    ("completions", "bash", "", NoData),
    ("man", "", "", NoData),
    ("user create", "ann --password-stdin", PASSWORD, Document),
    ("migrate", "", "", Document),
    ("user show", "ann", "", Document),
    ("user list", "", "", Document),
    ("user lock", "ann", "", Document),
    ("user unlock", "ann", "", Document),
    ("user reject", "ann", "", Document),
    ("user approve", "ann", "", Document),
    ("user import", "-", "{\"username\":\"bob\"}\n{\"username\":\"eve\"}", Lines),
    ("user export", "", "", Lines),
    ("user set", "ann first_name=Ann is_active=true", "", Document),
    ("user set-role", "ann publisher", "", Document),
    ("user set-password", "ann --password-stdin", "marble cloud engine 77", Document),
    ("user attr set", "ann colour --value 1 --encrypted", "", Document),
    ("user attr get", "ann colour", "", Document),
    ("user attr list", "ann", "", Document),
    ("user attr delete", "ann colour", "", Document),
    ("user networks", "ann --set 192.0.2.0/24", "", Document),
    ("user reset-token", "ann", "", Document),
    ("user reset-totp", "ann", "", Document),
    ("linked create", "feed --user ann --password-stdin", "copper window paper 31", Document),
    ("linked list", "", "", Document),
    ("linked delete", "feed", "", Document),
    ("secrets rotate", "", "", Document),
    ("secrets rotate-signing", "", "", Document),
    ("key create", "robot --user ann", "", Document),
    ("key list", "", "", Document),
    ("key revoke", "{key_id}", "", Document),
    ("group create", "crew", "", Document),
    ("group add", "crew ann", "", Document),
    ("group members", "crew", "", Document),
    ("group list", "", "", Document),
    ("group remove", "crew ann", "", Document),
    ("group rename", "crew staff", "", Document),
    ("group delete", "staff", "", Document),
    ("hook create", "bell https://hooks.example/usher", "", Document),
    ("hook list", "", "", Document),
    ("hook show", "bell", "", Document),
    ("hook deliveries", "bell", "", Document),
    ("hook retry", "bell", "", Document),
    ("hook delete", "bell", "", Document),
    ("app create", "desk", "", Document),
    ("app list", "", "", Document),
    ("app show", "desk", "", Document),
    ("app set", "desk --access everyone", "", Document),
    ("app renew-key", "desk", "", Document),
    ("session list", "", "", Document),
    ("session revoke", "--app desk", "", Document),
    ("app delete", "desk", "", Document),
    ("user delete", "ann", "", Document),
    ("audit show", "--from 2020-01-01T00:00:00Z", "", Document),
    ("audit export", "", "", Lines),
    ("audit verify", "", "", Document),
    ("secrets rotate-audit-key", "", "", Document),
    ("audit accept-rollback", "--reason tried", "", Document),
];

both! {
    fn every_command_prints_json(engine) {
        let site = Site::new(engine).with("tokens.issuer", "\"https://sso.example\"");
        let pages = site.folder.path().join("pages");
        usher(&site, &["man", "--out", pages.to_str().unwrap()], "").expect(0);
        let named: BTreeSet<String> =
            std::fs::read_dir(&pages).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().trim_end_matches(".1").to_owned()).collect();
        let is_group = |name: &str| std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap().contains(".SH SUBCOMMANDS");
        let commands: BTreeSet<String> = named.iter().filter(|name| !is_group(name)).cloned().collect();
        // Those are tested below and elsewhere: one does not end, one needs that there is nothing yet, one is for SQLite alone.
        let mut in_table: BTreeSet<String> = ["usher-serve", "usher-secrets-init", "usher-backup"].map(str::to_owned).into();
        in_table.extend(TABLE.iter().map(|(command, ..)| format!("usher-{}", command.replace(' ', "-"))));
        assert_eq!(commands, in_table, "the commands and the table of this test differ");
        let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CLI.md")).unwrap();
        let mut key_id = String::new();
        for (command, arguments, input, prints) in TABLE {
            assert!(manual.contains(&format!("usher {command}")), "docs/CLI.md says nothing of {command}");
            let arguments = arguments.replace("{key_id}", &key_id);
            let words: Vec<&str> = command.split(' ').chain(arguments.split_whitespace()).chain(["--json"]).collect();
            let ran = usher(&site, &words, input).expect(0);
            assert!(ran.err.is_empty() && !ran.out.is_empty(), "{command}: {ran:?}");
            match prints {
                Document => {
                    let value = ran.json();
                    assert!(value.is_object() && ran.out.lines().count() == 1, "{command}: {ran:?}");
                    key_id = value["key_id"].as_str().map_or(key_id, str::to_owned);
                }
                Lines => ran.out.lines().for_each(|line| assert!(serde_json::from_str::<Value>(line).unwrap().is_object(), "{command}: {line}")),
                NoData => {}
            }
        }
    }

    /// `usher serve --json` tells where it listens, and of the first super-user, on one line.
    fn a_start_tells_programs_too(engine) {
        let site = Site::new(engine);
        let mut command = program(site.folder.path());
        command.args(["serve", "--json", "--config"]).arg(site.settings());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let first = &told["first_super_user"];
        let password = std::fs::read_to_string(first["password_file"].as_str().unwrap()).unwrap();
        assert!(first["password"].is_null() && !line.contains(password.trim()));
        let client = crate::harness::Client::new(told["url"].as_str().unwrap()).sign_in(first["username"].as_str().unwrap(), &password);
        assert_eq!(client.id(), first["user_id"]);
        child.kill().unwrap();
        child.wait().unwrap();
        // A later start has nothing to tell of anyone.
        let again = Process::serve(&site);
        assert_eq!(again.greeting.len(), 1);
    }
}
