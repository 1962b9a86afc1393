//! Backups of a database in use, and what is restored from them.

use crate::harness::process::{Process, program, run, usher};
use crate::harness::{Engine, PASSWORD, ROOT, Site};
use crate::starting::create_root;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

const USERS: &str = "/api/v1/users";

/// Puts a backup where the database of a new site is to be, with the key file that was kept apart.
fn restore(from: &Site, backup: &Path) -> Site {
    let site = Site::new(Engine::Sqlite);
    fs::copy(backup, site.file()).unwrap();
    fs::copy(from.keys(), site.keys()).unwrap();
    site
}

fn files(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// S46: a backup that is made while others write has every change that was answered before it began; its trail is sound, and goes on
/// where it is restored.
#[test]
fn a_backup_under_load_has_all_that_was_answered() {
    let site = Site::new(Engine::Sqlite);
    create_root(&site);
    let service = Process::serve(&site);
    let root = service.anon().sign_in(ROOT, PASSWORD);
    let (answered, is_over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let backups = fs::canonicalize(site.folder.path()).unwrap().join("backups");
    fs::create_dir(&backups).unwrap();
    let rounds: Vec<_> = std::thread::scope(|scope| {
        for writer in 0..4 {
            let (root, answered, is_over) = (&root, &answered, &is_over);
            scope.spawn(move || {
                let mut number = 0;
                while !is_over.load(Ordering::Acquire) {
                    let name = format!("user-{writer}-{number}");
                    root.post(USERS, &json!({"username": name})).expect(201);
                    answered.lock().unwrap().push(name);
                    number += 1;
                }
            });
        }
        let rounds = (0..3).map(|round| {
            crate::harness::wait_until("some changes", || answered.lock().unwrap().len() > 20 * (round + 1));
            let before = answered.lock().unwrap().clone();
            let file = backups.join(format!("usher-{round}.db"));
            let made = usher(&site, &["backup", file.to_str().unwrap(), "--json"], "");
            let after = answered.lock().unwrap().len();
            (file, before, made, after)
        });
        let rounds = rounds.collect();
        is_over.store(true, Ordering::Release);
        rounds
    });
    for (file, before, made, after) in rounds {
        let made = made.expect(0).json();
        let metadata = fs::metadata(&file).unwrap();
        assert_eq!(made, json!({"file": file, "bytes": metadata.len()}));
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert!(after > before.len(), "nothing was written while the backup was made");
        let restored = restore(&site, &file);
        let verified = usher(&restored, &["audit", "verify", "--json"], "").expect(0).json();
        assert_eq!(verified["sound"], true, "{verified}");
        let again = Process::serve(&restored);
        let by = again.anon().sign_in(ROOT, PASSWORD);
        for name in before {
            assert_eq!(by.get(&format!("{USERS}?username={name}")).expect(200).json["items"][0]["username"], name.as_str());
        }
        // Whoever was signed in then is signed in there.
        by.bearing(root.ust.as_deref().unwrap()).get("/api/v1/users/me").expect(200);
        again.terminate();
        usher(&restored, &["audit", "verify"], "").expect(0);
    }
    // Nothing but the backups is left, and each was recorded as the operator's act.
    let mut left = files(&backups);
    left.sort();
    assert_eq!(left, ["usher-0.db", "usher-1.db", "usher-2.db"]);
    let trail = usher(&site, &["audit", "export"], "").expect(0).out;
    let events: Vec<&str> = trail.lines().filter(|line| line.contains("\"database.backup\"")).collect();
    assert_eq!(events.len(), 3);
    assert!(events.iter().all(|line| line.contains("\"operator\"") && line.contains("\"success\"")), "{events:?}");
}

/// A backup is never written over something, not even over an empty file or to where a link leads; what is in the way stays as it is, and
/// nothing half made is left.
#[test]
fn a_backup_overwrites_nothing() {
    let site = Site::new(Engine::Sqlite);
    create_root(&site);
    let folder = site.folder.path();
    fs::write(folder.join("there"), "something").unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    std::os::unix::fs::symlink(folder.join("nowhere"), folder.join("link")).unwrap();
    fs::write(folder.join("other.partial"), "of another backup").unwrap();
    let before = files(folder).len();
    for name in ["there", "empty", "link", "usher.db", "usher.keys", "other", "no/such/folder"] {
        let refused = usher(&site, &["backup", name], "").expect(1);
        assert!(refused.complaint().contains(name) && refused.out.is_empty(), "{refused:?}");
    }
    assert_eq!(fs::read_to_string(folder.join("there")).unwrap(), "something");
    assert_eq!(fs::read_to_string(folder.join("other.partial")).unwrap(), "of another backup");
    assert_eq!(files(folder).len(), before, "{:?}", files(folder));
    // A name that could be taken for a URI is a name.
    let made = usher(&site, &["backup", "file:backup.db?mode=memory"], "").expect(0);
    assert!(
        made.out.trim().ends_with("/file:backup.db?mode=memory") && folder.join("file:backup.db?mode=memory").is_file(),
        "{made:?}"
    );
}

/// On PostgreSQL the command says whose business it is, also where no database answers.
#[test]
fn postgresql_is_backed_up_by_its_own_means() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut command = program(folder.path());
    command.args(["backup", "copy.db"]).env("USHER__DATABASE__URL", "postgres://nobody@127.0.0.1:1/usher");
    let refused = run(command, "").expect(1);
    assert!(refused.complaint().contains("pg_dump"), "{refused:?}");
    assert!(files(folder.path()).is_empty());
}
