//! Starting: the first super-user, and the settings.

use crate::both;
use crate::harness::process::{self, Ended, Process, Ran, program, refused_start, run, usher};
use crate::harness::{PASSWORD, ROOT, Site};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const ME: &str = "/api/v1/users/me";

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string"))
}

pub fn items(ran: &Ran) -> Vec<Value> {
    ran.json()["items"].as_array().unwrap_or_else(|| panic!("{ran:?}")).clone()
}

pub fn create_root(site: &Site) -> String {
    let made = usher(site, &["user", "create", ROOT, "--super-user", "--password-stdin"], PASSWORD).expect(0);
    made.out.trim().to_owned()
}

/// `usher serve`, to be changed before it is started.
fn serve(site: &Site) -> Command {
    let mut command = program(site.folder.path());
    command.arg("serve").arg("--config").arg(site.settings());
    command
}

// ---------------------------------------------------------------------------------------------------------------------------------
// First starts

/// What a first start told, after the line with its address.
struct Greeting {
    account: String,
    password_file: PathBuf,
    /// Ready to be pasted into a shell.
    curls: Vec<String>,
}

fn greeting(service: &Process) -> Greeting {
    let mut lines = Vec::new();
    while lines.iter().filter(|line: &&String| line.starts_with("curl ")).count() < 2 {
        lines.push(service.next_line().unwrap_or_else(|| panic!("it said no more than {lines:#?}")));
    }
    let account = lines.iter().find(|line| line.contains("super-user")).unwrap().clone();
    let password_file = account.split_once("Its password is in ").unwrap_or_else(|| panic!("{account}")).1.into();
    let curls = lines.into_iter().filter(|line| line.starts_with("UST=") || line.starts_with("curl ")).collect();
    Greeting { account, password_file, curls }
}

/// Names of the files in a site's folder, apart from those that SQLite keeps beside its own while it is open, or was cut off.
fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm")).collect();
    names.sort();
    names
}

both! {
    /// A super-user made before the first start is the first super-user: the service makes none of its own and tells no password.
    fn a_super_user_can_be_made_before_the_first_start(engine) {
        let site = Site::new(engine);
        let user_id = create_root(&site);
        let service = Process::serve(&site);
        let root = service.anon().sign_in(ROOT, PASSWORD);
        assert_eq!(root.id(), user_id);
        assert_eq!(root.get(ME).expect(200).json["user_role"], "administrator");
        assert_eq!(items(&usher(&site, &["user", "list", "--json"], "").expect(0)).len(), 1);
        assert_eq!(service.greeting.len(), 1, "{:?}", service.greeting);
        let Ended { code, lines, .. } = service.terminate();
        assert_eq!((code, lines), (Some(0), Vec::new()));
        assert!(files(site.folder.path()).iter().all(|name| !name.contains("password")), "{:?}", files(site.folder.path()));
    }

    /// S30: a first start without a terminal puts the password into a file that its owner alone can read, and tells the file, not the
    /// password; what it offers to be pasted works; and a second start tells nothing.
    fn a_first_start_without_a_terminal(engine) {
        let site = Site::new(engine).with("log.filter", "\"trace\"");
        let service = Process::serve(&site);
        let Greeting { account, password_file, curls } = greeting(&service);
        assert!(account.contains("admin"), "{account}");
        assert!(password_file.is_absolute() && password_file.parent() == Some(&fs::canonicalize(site.folder.path()).unwrap()));
        let metadata = fs::metadata(&password_file).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        let password = fs::read_to_string(&password_file).unwrap();
        assert!(password.trim_end().len() >= 20, "a password as short as {}", password.len());
        let admin = service.anon().sign_in("admin", password.trim_end_matches('\n'));
        assert_eq!(admin.get(ME).expect(200).json["user_role"], "administrator");

        assert!(Command::new("curl").arg("--version").output().is_ok(), "this test needs curl");
        assert_eq!(curls.len(), 3, "{curls:#?}");
        assert!(curls[0].starts_with("UST=") && !curls.concat().contains(&password), "{curls:#?}");
        let mut shell = process::bare("sh", site.folder.path());
        shell.env("NO_PROXY", "*");
        let pasted = run(shell, &(curls.join("\n") + "\n")).expect(0);
        let answers: Vec<Value> =
            serde_json::Deserializer::from_str(&pasted.out).into_iter().map(|a| a.unwrap_or_else(|e| panic!("{e}: {pasted:?}"))).collect();
        let [me, found] = answers.as_slice() else { panic!("{pasted:?}") };
        assert_eq!((&me["username"], &me["user_id"]), (&json!("admin"), &json!(admin.id())));
        assert_eq!((&found["user_id"], &found["is_super_user"]), (&json!(admin.id()), &json!(true)));

        let Ended { code, lines, log } = service.terminate();
        assert_eq!(code, Some(0));
        assert!(!lines.concat().contains(&password) && !log.contains(&password), "the password was told");
        assert!(log.contains("\"TRACE\""), "nothing was logged");

        let before = files(site.folder.path());
        let service = Process::serve(&site);
        service.anon().sign_in("admin", &password);
        assert_eq!(service.greeting.len(), 1);
        assert_eq!(service.terminate().lines, [""; 0]);
        assert_eq!(files(site.folder.path()), before);
    }

    /// A first start that finds its port taken has made the super-user all the same: where the password is is told before what is wrong.
    fn a_first_start_whose_port_is_taken(engine) {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for is_json in [false, true] {
            let site = Site::new(engine);
            let mut command = serve(&site);
            command.env("USHER__SERVER__LISTEN", taken.local_addr().unwrap().to_string());
            command.args(is_json.then_some("--json"));
            let refused = run(command, "").expect(1);
            assert!(refused.err.lines().last().unwrap().contains("server.listen"), "{refused:?}");
            let file = if is_json {
                let told = refused.json();
                assert_eq!(told["url"], Value::Null);
                text(&told["first_super_user"]["password_file"]).to_owned()
            } else {
                refused.out.split_once("Its password is in ").unwrap().1.trim().to_owned()
            };
            let service = Process::serve(&site);
            assert_eq!(service.greeting.len(), 1);
            service.anon().sign_in("admin", fs::read_to_string(file).unwrap().trim_end());
        }
    }

    /// An unattended first start takes name and password from the settings, and says so without the password.
    fn an_unattended_first_start(engine) {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, format!("{PASSWORD}\n")).unwrap();
        let named = format!("{:?}", file.display().to_string());
        let site = Site::new(engine).with("bootstrap.username", "\"boss\"").with("bootstrap.password_file", &named);
        let service = Process::serve(&site);
        let boss = service.anon().sign_in("boss", PASSWORD);
        assert_eq!(boss.get(ME).expect(200).json["user_role"], "administrator");
        let Ended { lines, log, .. } = service.terminate();
        assert!(lines.concat().contains("boss") && lines.concat().contains("bootstrap.password_file"), "{lines:?}");
        assert!(!(lines.concat() + &log).contains(PASSWORD));
        let listed = items(&usher(&site, &["user", "list", "--json"], "").expect(0));
        assert_eq!(listed.iter().map(|u| text(&u["username"])).collect::<Vec<_>>(), ["boss"]);
        assert!(files(site.folder.path()).iter().all(|name| !name.contains("password")));
    }

    /// S3, S40: an unattended first start without a fit password does not start, and makes no account.
    fn an_unattended_first_start_with_an_unfit_password(engine) {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("secret");
        let named = format!("{:?}", file.display().to_string());
        let site = Site::new(engine).with("bootstrap.username", "\"boss\"").with("bootstrap.password_file", &named);
        let missing = refused_start(serve(&site)).expect(1);
        assert!(missing.err.lines().last().is_some_and(|l| l.starts_with("usher: ") && l.contains("bootstrap.password_file")), "{missing:?}");
        fs::write(&file, "too short\n").unwrap();
        let short = refused_start(serve(&site)).expect(1);
        let said = short.err.lines().filter(|line| line.starts_with("usher: ")).collect::<Vec<_>>();
        assert_eq!(said.len(), 1, "{short:?}");
        assert!(said[0].contains("bootstrap.password_file") && !short.err.contains("too short\n") && !short.err.contains("panicked"), "{short:?}");
        assert!(items(&usher(&site, &["user", "list", "--json"], "").expect(0)).is_empty());
    }
}

// ---------------------------------------------------------------------------------------------------------------------------------
// Settings

both! {
    /// The environment wins over the file, and `USHER_CONFIG` names the file where `--config` does not.
    fn settings_come_from_file_and_environment(engine) {
        let site = Site::new(engine);
        create_root(&site);
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = serve(&site);
        command.env("USHER__SERVER__LISTEN", free.to_string());
        let service = Process::start(command);
        assert_eq!(service.base, format!("http://{free}"));
        service.anon().sign_in(ROOT, PASSWORD);

        let other = Site::new(engine);
        let with = |arguments: &[&str], variables: &[(&str, &str)]| {
            let mut command = program(site.folder.path());
            // Two databases have one key file here; what is remembered of their trails is apart.
            command.args(arguments).env("USHER__AUDIT__MARK_FILE", "marks-of-commands").envs(variables.iter().copied());
            run(command, "")
        };
        let (settings, others) = (site.settings().display().to_string(), other.settings().display().to_string());
        let names = |ran: Ran| items(&ran.expect(0)).iter().map(|u| text(&u["username"]).to_owned()).collect::<Vec<_>>();
        let list = ["user", "list", "--json"];
        let at_other = ("USHER__DATABASE__URL", other.url.as_str());
        let own_keys = site.keys().display().to_string();
        let keys = ("USHER__SECRETS__FILE", own_keys.as_str());
        with(&["user", "create", "ann"], &[("USHER_CONFIG", &settings), at_other, keys]).expect(0);
        assert_eq!(names(with(&list, &[("USHER_CONFIG", &settings), at_other, keys])), ["ann"]);
        assert_eq!(names(with(&list, &[("USHER_CONFIG", &settings)])), [ROOT]);
        assert_eq!(names(with(&["user", "list", "--json", "--config", &others], &[("USHER_CONFIG", &settings), keys])), ["ann"]);
        assert_eq!(names(with(&["--config", &others, "--json", "user", "list"], &[("USHER_CONFIG", "nowhere"), keys])), ["ann"]);
    }
}

/// A site whose settings file has these lines and no others.
fn with_settings(lines: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("own.toml");
    fs::write(&path, lines).unwrap();
    (folder, path)
}

/// S40: a setting that is misspelt, of a wrong type or out of range stops every start, with a line that names it and where it came from.
#[test]
fn wrong_settings_are_refused_by_name_and_source() {
    for (line, key) in [
        ("server.listne = \"127.0.0.1:0\"", "server.listne"),
        ("servre.listen = \"127.0.0.1:0\"", "servre"),
        ("sessions.idle_seconds = \"soon\"", "sessions.idle_seconds"),
        ("sessions.idle_seconds = -1", "sessions.idle_seconds"),
        ("sessions.idle_seconds = 0", "sessions.idle_seconds"),
        ("server.trusted_proxies = [\"10.0.0.0/8\", \"nonsense\"]", "server.trusted_proxies"),
        ("server.listen = \"8080\"", "server.listen"),
        ("database = \"sqlite:usher.db\"", "database"),
        ("passwords.hash_memory_kib = 8", "passwords.hash_memory_kib"),
        ("log.format = \"xml\"", "log.format"),
        ("metrics.listen = \"9464\"", "metrics.listen"),
    ] {
        let (folder, path) = with_settings(line);
        for words in [&["serve"][..], &["user", "list"], &["config", "show"], &["migrate"], &["secrets", "init"]] {
            let mut command = program(folder.path());
            command.args(words).arg("--config").arg(&path);
            let ran = refused_start(command).expect(1);
            let said = ran.complaint();
            assert!(said.contains(key) && said.contains(&path.display().to_string()), "{line}: {said}");
        }
        assert_eq!(files(folder.path()), ["own.toml"], "{line}");
    }
    for (variable, value, key) in [
        ("USHER__SERVER__LISTNE", "127.0.0.1:0", "server.listne"),
        ("USHER__SERVRE__LISTEN", "127.0.0.1:0", "servre"),
        ("USHER__SESSIONS__IDLE_SECONDS", "soon", "sessions.idle_seconds"),
        ("USHER__SESSIONS__IDLE_SECONDS", "0", "sessions.idle_seconds"),
        ("USHER__SERVER__LISTEN", "8080", "server.listen"),
        ("USHER__PASSWORDS__MIN_LENGTH", "7", "passwords.min_length"),
    ] {
        let folder = TempDir::new().unwrap();
        for words in [&["serve"][..], &["user", "list"], &["config", "show"]] {
            let mut command = program(folder.path());
            command.args(words).env(variable, value);
            let ran = refused_start(command).expect(1);
            let said = ran.complaint();
            assert!(said.contains(key) && said.contains("environment"), "{variable}: {said}");
        }
        assert_eq!(files(folder.path()), [""; 0], "{variable}");
    }
    let (folder, path) = with_settings("this is no TOML");
    for config in [folder.path().join("nowhere.toml"), folder.path().to_owned(), path] {
        let mut command = program(folder.path());
        command.arg("serve").arg("--config").arg(&config);
        assert!(refused_start(command).expect(1).complaint().contains(&config.display().to_string()));
    }
}

/// `config show` tells every setting with its source, and no password, wherever in a URL it stands (S30).
#[test]
fn config_show_names_sources_and_blanks_passwords() {
    let (folder, path) = with_settings("server.listen = \"127.0.0.1:1234\"\ndatabase.readers = 3\n");
    let show = |url: &str, arguments: &[&str]| {
        let mut command = program(folder.path());
        command.args(["config", "show", "--config"]).arg(&path).args(arguments);
        command.env("USHER__DATABASE__READERS", "5").env("USHER__DATABASE__URL", url);
        run(command, "").expect(0)
    };
    let shown = show("sqlite:other.db", &["--json"]);
    let lines = items(&shown);
    let of = |key: &str| {
        let line = lines.iter().find(|line| line["key"] == key).unwrap_or_else(|| panic!("no {key} in {shown:?}"));
        (line["value"].clone(), text(&line["source"]).to_owned())
    };
    assert_eq!(of("server.listen"), (json!("127.0.0.1:1234"), path.display().to_string()));
    assert_eq!(of("database.readers"), (json!(5), "environment".to_owned()));
    assert_eq!(of("database.url"), (json!("sqlite:other.db"), "environment".to_owned()));
    assert_eq!(of("passwords.min_length"), (json!(15), "default".to_owned()));
    let mut keys: Vec<_> = lines.iter().map(|line| text(&line["key"]).to_owned()).collect();
    keys.sort();
    let mut documented = usher::settings::documented_keys();
    documented.sort();
    assert_eq!(keys, documented);

    let plain = show("sqlite:other.db", &[]).out;
    assert_eq!(plain.lines().count(), documented.len());
    assert!(plain.contains(&format!("server.listen = \"127.0.0.1:1234\"  # {}", path.display())), "{plain}");
    assert!(
        plain.contains("database.readers = 5  # environment") && plain.contains("passwords.min_length = 15  # default"),
        "{plain}"
    );

    for url in [
        "postgres://usher:hunter2@db.example/usher",
        "postgres://usher:hunter2@db.example:5432/usher?sslmode=require",
        "postgres://usher:hun@ter:hunter2@db.example/usher",
        "postgres://usher:hunter2@db.example",
        "postgres://db.example/usher?password=hunter2",
        "postgres://db.example/usher?user=usher&password=hunter2&sslmode=require",
        "postgres://usher:other@db.example/usher?password=hunter2",
        "postgres://db.example/usher?sslpassword=other&password=hunter2",
        "postgres://db.example/usher?password=other&sslpassword=hunter2",
    ] {
        for arguments in [&[][..], &["--json"]] {
            let shown = show(url, arguments);
            assert!(shown.out.contains("db.example") && !shown.out.contains("hunter2"), "{url} is shown as {}", shown.out);
        }
    }
    assert_eq!(files(folder.path()), ["own.toml"], "looking made something");
}
