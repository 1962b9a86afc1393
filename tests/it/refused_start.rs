//! An installation that is not as it must be: neither the service nor a command gets to work, and both say why in one line.

use crate::both;
use crate::faults::furnished;
use crate::harness::postgres::Postgres;
use crate::harness::process::{self, Ran, usher};
use crate::harness::{Engine, Site};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

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
            assert!(ran.complaint().contains("usher secrets init"), "{ran:?}");
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
