//! What helps with the command line: completions, manual pages; and a person's story as the trail tells it.

use crate::both;
use crate::harness::process::{self, run, usher};
use crate::harness::{Engine, PASSWORD, Site, Town};
use crate::starting::items;
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

/// Every shell has its script, and bash's completes.
#[test]
fn completions() {
    let site = Site::new(Engine::Sqlite);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = usher(&site, &["completions", shell], "").expect(0).out;
        for word in ["set-password", "completions", "revoke", "must-change", "json"] {
            assert!(script.contains(word), "{shell} knows nothing of {word}");
        }
    }
    assert!(!site.file().exists(), "a completion needs no database");
    let mut shell = process::bare("bash", site.folder.path());
    let script = "source <(\"$0\" completions bash); COMP_WORDS=(usher session re); COMP_CWORD=2; _usher usher re session; echo \"${COMPREPLY[@]}\"";
    shell.args(["-c", script, process::PROGRAM]);
    assert_eq!(run(shell, "").expect(0).out, "revoke\n");
}

/// One manual page for each command, under the names that `man` looks for.
#[test]
fn manual_pages() {
    let site = Site::new(Engine::Sqlite);
    let root = usher(&site, &["man"], "").expect(0).out;
    assert!(root.contains(".TH usher 1") && root.contains("SUBCOMMANDS"), "{root}");
    let folder = site.folder.path().join("some/man1");
    let listed = items(&usher(&site, &["man", "--json", "--out", folder.to_str().unwrap()], "").expect(0));
    let mut written: Vec<Value> = fs::read_dir(&folder).unwrap().map(|e| json!(e.unwrap().path())).collect();
    written.sort_by_key(Value::to_string);
    assert_eq!(written, listed);
    for (page, says) in
        [("usher.1", "audit trail"), ("usher-user-attr-set.1", "expires"), ("usher-session-revoke.1", "application")]
    {
        let text = fs::read_to_string(folder.join(page)).unwrap();
        let title = format!(".TH {} 1", page.trim_end_matches(".1"));
        assert!(text.contains(&title) && text.contains(says) && text.contains("config"), "{page}: {text}");
    }
    // Writing them again is no error; where no folder can be, it is.
    assert_eq!(usher(&site, &["man", "--out", folder.to_str().unwrap()], "").expect(0).out.lines().count(), listed.len());
    let file = folder.join("usher.1/below");
    usher(&site, &["man", "--out", file.to_str().unwrap()], "").expect(1).complaint();
}

both! {
    /// The trail tells a person's story in order: what they did and what was done to them, within a window of time, page after page.
    fn a_persons_story(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let ann = town.user("ann");
        let bob = town.user("bob");
        let began = town.now();
        for second in 0..3 {
            town.advance(Duration::from_secs(1));
            ann.get("/api/v1/users/me").expect(200);
            bob.get("/api/v1/users/me").expect(200);
            root.patch(&format!("/api/v1/users/{}", ann.id()), &json!({"remark": second.to_string()})).expect(200);
        }
        let story = |arguments: &[&str]| -> Vec<(String, String)> {
            let shown = items(&town.usher(&[&["audit", "show", "--json"], arguments].concat()).expect(0));
            let times: Vec<&str> = shown.iter().map(|e| e["time"].as_str().unwrap()).collect();
            assert!(times.is_sorted(), "{times:?}");
            // What the command line itself has left is of another time: its clock is the machine's.
            let of_town = shown.iter().filter(|e| e["actor_type"] != "operator");
            of_town.map(|e| (e["action"].as_str().unwrap().to_owned(), e["actor"].as_str().unwrap().to_owned())).collect()
        };
        let (read, update) = (("user.read_current".to_owned(), ann.id().to_owned()), ("user.update".to_owned(), town.root_id.clone()));
        let after = (began + Duration::from_micros(1)).to_string();
        let later = (began + Duration::from_secs(3)).to_string();
        let told = story(&["--user", "ann", "--from", &after]);
        assert_eq!(told.len(), 6);
        assert!(told.contains(&read) && told.contains(&update) && !told.iter().any(|(_, actor)| actor == bob.id()));
        assert_eq!(story(&["--user", ann.id(), "--from", &after, "--to", &later]).len(), 4);
        assert_eq!(story(&["--actor", ann.id(), "--from", &after]), [read.clone(), read.clone(), read.clone()]);
        assert_eq!(story(&["--subject", ann.id(), "--actor", &town.root_id, "--from", &after]), [update.clone(), update.clone(), update]);
        assert_eq!(story(&["--from", &after, "--to", &later]).len(), 6);
        let first = &story(&["--user", "ann"])[0];
        assert_eq!((first.0.as_str(), first.1.as_str()), ("user.create", town.root_id.as_str()));
        // More than a page has.
        for _ in 0..505 {
            bob.get("/api/v1/users/me").expect(200);
        }
        assert_eq!(story(&["--actor", bob.id(), "--from", &after]).len(), 508);
        let plain = town.usher(&["audit", "show", "--user", "bob", "--from", &after]).expect(0).out;
        assert_eq!(plain.matches("action: user.read_current\n").count(), 508);
        // Of a deleted user there is the id, and nothing to be found by name.
        root.delete(&format!("/api/v1/users/{}", ann.id())).expect(204);
        assert_eq!(story(&["--user", ann.id(), "--from", &after]).last().unwrap().0, "user.delete");
        assert_eq!(town.usher(&["audit", "show", "--user", "ann"]).expect(1).complaint(), "usher: There is no user ann.");
        assert_eq!(town.usher(&["audit", "show", "--actor", "nobody"]).expect(1).complaint(), "usher: there is no such event");
        assert_eq!(items(&town.usher(&["audit", "show", "--actor", "nobody\u{1}", "--json"]).expect(0)), [json!(null); 0]);
        assert!(!town.usher(&["audit", "export"]).expect(0).out.contains(PASSWORD));
    }
}
