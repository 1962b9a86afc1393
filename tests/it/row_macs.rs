//! Rows that decide who may do what are bound to the key file: what somebody alters or adds who has the database and not the key file is not
//! there (S18, S49).

use crate::both;
use crate::harness::postgres;
use crate::harness::process::usher;
use crate::harness::{Client, Engine, PASSWORD, Site, Town, soon};
use crate::second_factor::enrol;
use crate::trail_held::{mark_of, set_back_to_format_1};
use crate::zato::town_on;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use usher::domain::chance::Entropy;
use usher::domain::secret::{ApiKeyToken, Ust};

const ME: &str = "/api/v1/users/me";
const LINKED: &str = "copper window paper 31";

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// How often the trail tells of a row that was altered.
fn told(town: &Town) -> i64 {
    town.count("SELECT count(*) AS count FROM audit_batches WHERE events LIKE '%row_altered%'")
}

/// Bytes as each database writes them.
fn bytes(engine: Engine, bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    match engine {
        Engine::Sqlite => format!("x'{hex}'"),
        Engine::Postgres => format!("'\\x{hex}'::bytea"),
    }
}

/// A fresh id as each database writes it.
fn id(engine: Engine) -> String {
    let random: [u8; 16] = Entropy::system().bytes();
    let hex: String = random.iter().map(|b| format!("{b:02x}")).collect();
    match engine {
        Engine::Sqlite => format!("x'{hex}'"),
        Engine::Postgres => format!("'{hex}'::uuid"),
    }
}

fn of(name: &str) -> String {
    format!("(SELECT user_id FROM users WHERE username_key = '{name}')")
}

/// Somebody alters something; the call is refused from then on, and the trail says why. What was altered is put back.
fn alters(town: &Town, table: &str, set: &str, filter: &str, code: &str, call: impl Fn() -> crate::harness::Answer) {
    let column = set.split(" = ").next().unwrap();
    call().expect_success(set);
    let before = told(town);
    town.sql(&format!("CREATE TABLE kept AS SELECT {column} AS kept FROM {table} WHERE {filter}"));
    town.sql(&format!("UPDATE {table} SET {set} WHERE {filter}"));
    call().refused(401, code);
    assert!(told(town) > before, "the trail does not tell of {set}");
    assert!(town.site.altered().contains(&table), "{set}");
    town.sql(&format!("UPDATE {table} SET {column} = (SELECT kept FROM kept LIMIT 1) WHERE {filter}"));
    town.sql("DROP TABLE kept");
    assert_eq!(town.site.altered(), Vec::<&str>::new(), "{set}");
    call().expect_success(set);
}

impl crate::harness::Answer {
    fn expect_success(&self, what: &str) {
        assert!(self.status < 300, "{what}: {} {}", self.status, self.text);
    }
}

both! {
    /// Each covered column of sessions, keys, users and linked accounts, with a warm memory.
    fn what_is_altered_is_not_there(engine) {
        let town = Town::new(engine);
        let (ann, _bob) = (town.user("ann"), town.user("bob"));
        let session = format!("user_id = {}", of("ann"));
        for set in [
            format!("user_id = {}", of("root")), "absolute_expiry = created_time".to_owned(),
            "created_time = absolute_expiry".to_owned(),
            "auth_methods = 'pwd,otp'".to_owned(),
        ] {
            // Whose it is is part of the filter.
            let filter = if set.starts_with("user_id") { "token_hash = (SELECT token_hash FROM sessions s JOIN users u ON u.user_id = s.user_id WHERE u.username_key = 'ann')".to_owned() } else { session.clone() };
            let hash = town.lines(&match engine {
                Engine::Sqlite => format!("SELECT lower(hex(token_hash)) AS line FROM sessions WHERE {session}"),
                Engine::Postgres => format!("SELECT encode(token_hash, 'hex') AS line FROM sessions WHERE {session}"),
            })[0].clone();
            let hash: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&hash[at * 2..at * 2 + 2], 16).unwrap()).collect();
            let filter = if filter == session { session.clone() } else { format!("token_hash = {}", bytes(engine, &hash)) };
            alters(&town, "sessions", &set, &filter, "session_invalid", || ann.get(ME));
        }
        let key = text(&ann.post("/api/v1/users/me/api-keys", &json!({"name": "robot", "scope": "read"})).expect(201).json["key"]);
        let robot = town.anon().with("authorization", &format!("Key {key}"));
        for set in ["scope = 'manage'".to_owned(), format!("user_id = {}", of("root"))] {
            alters(&town, "api_keys", &set, "name = 'robot'", "session_invalid", || robot.get(ME));
        }
        let row = "username_key = 'ann'";
        for set in [
            "user_role = 'administrator'", "is_totp_enabled = true", "email_key = 'thief@example.org'", "email = 'thief@example.org'",
            "external_id = 'thief'", "password_hash = 'x'",
        ] {
            alters(&town, "users", set, row, "session_invalid", || ann.get(ME));
        }
        for set in ["user_role = 'administrator'", "password_hash = 'x'"] {
            alters(&town, "users", set, row, "credentials_invalid", || town.anon().try_sign_in("ann", PASSWORD));
        }
        usher(&town.site, &["linked", "create", "feed", "--user", "ann", "--password-stdin"], LINKED).expect(0);
        usher(&town.site, &["app", "create", "desk"], "").expect(0);
        alters(&town, "applications", "may_set_remote_addr = true", "name_key = 'desk'", "session_invalid", || {
            town.anon().with("x-current-app", "desk").try_sign_in("bob", PASSWORD)
        });
    }

    /// Links, second factors and linked accounts of one user do not become another's.
    fn what_is_given_to_somebody_else_is_not_there(engine) {
        let town = town_on(Site::with_mail(engine));
        let (ann, eve) = (enrol(&town, town.user("ann")), enrol(&town, town.user("eve")));
        let before = told(&town);
        town.sql(&format!("UPDATE recovery_codes SET user_id = {} WHERE user_id = {}", of("eve"), of("ann")));
        town.anon().try_sign_in_with("eve", PASSWORD, &ann.codes[0]).refused(401, "totp_invalid");
        assert_eq!(told(&town), before + 1);
        // Her own are right.
        town.anon().try_sign_in_with("eve", PASSWORD, &eve.codes[0]).expect(201);
        town.sql(&format!("DELETE FROM totp_credentials WHERE user_id = {}", of("ann")));
        town.sql(&format!("UPDATE totp_credentials SET user_id = {}", of("ann")));
        town.anon().try_sign_in_with("ann", PASSWORD, &town.code(&eve.key)).refused(401, "totp_invalid");
        assert_eq!(told(&town), before + 2);

        town.root().post("/api/v1/users", &json!({"username": "bob", "email": "bob@example.org", "password": PASSWORD})).expect(201);
        town.anon().post("/api/v1/password-resets", &json!({"username": "bob"})).expect(202);
        let token = town.mail_to("bob@example.org").token();
        town.sql(&format!("UPDATE links SET user_id = {}", of("root")));
        let open = || town.anon().post("/api/v1/password-resets/open", &json!({"token": token}));
        open().refused(401, "session_invalid");
        assert_eq!(told(&town), before + 3);
        town.sql(&format!("UPDATE links SET user_id = {}", of("bob")));
        open().expect(200);

        usher(&town.site, &["linked", "create", "feed", "--user", "bob", "--password-stdin"], LINKED).expect(0);
        let basic = STANDARD.encode(format!("feed:{LINKED}"));
        let linked = town.anon().with("authorization", &format!("Basic {basic}")).with("x-zato-sso-current-app", "CRM");
        linked.get("/zato/sso/user").expect(200);
        town.sql(&format!("UPDATE linked_accounts SET user_id = {}", of("root")));
        assert!(!linked.get("/zato/sso/user").headers.contains_key("x-zato-sso-ust"));
        assert!(told(&town) > before + 3);
        // Whoever removes a user parts the accounts that act as it, and they stay good for another one.
        town.sql(&format!("UPDATE linked_accounts SET user_id = {}", of("bob")));
        usher(&town.site, &["user", "delete", "bob"], "").expect(0);
        assert!(!town.site.altered().contains(&"linked_accounts"));
    }

    /// Rows of a database of before are bound when it is opened first: nobody is logged out. Never again after that.
    fn rows_of_before_are_bound_once(engine) {
        let town = Town::new(engine);
        let ann = town.user("ann");
        let key = text(&ann.post("/api/v1/users/me/api-keys", &json!({"name": "robot", "scope": "read"})).expect(201).json["key"]);
        let empty = bytes(engine, b"");
        let site = town.halt();
        for table in ["sessions", "api_keys", "links", "applications", "linked_accounts", "totp_credentials", "recovery_codes"] {
            site.sql(&format!("UPDATE {table} SET mac = {empty}"));
        }
        site.sql(&format!("UPDATE users SET credential_mac = {empty}"));
        set_back_to_format_1(&site);
        std::fs::remove_file(mark_of(&site)).unwrap();
        let town = Town::on(site);
        assert_eq!(town.site.altered(), Vec::<&str>::new());
        town.anon().bearing(ann.ust.as_deref().unwrap()).get(ME).expect(200);
        town.anon().with("authorization", &format!("Key {key}")).get(ME).expect(200);
        let site = town.halt();
        site.sql(&format!("UPDATE users SET credential_mac = {empty} WHERE username_key = 'ann'"));
        let town = Town::on(site);
        town.anon().bearing(ann.ust.as_deref().unwrap()).get(ME).refused(401, "session_invalid");
    }

    /// What is added bears no MAC, or that of another row.
    fn what_is_added_is_not_there(engine) {
        let town = Town::new(engine);
        let (ann, entropy) = (town.user("ann"), Entropy::system());
        let (ust, key) = (Ust::mint(&entropy), ApiKeyToken::mint(&entropy));
        ann.post("/api/v1/users/me/api-keys", &json!({"name": "robot", "scope": "read"})).expect(201);
        let columns = "user_id, application_id, created_time, idle_expiry, absolute_expiry, auth_methods, mac";
        town.sql(&format!(
            "INSERT INTO sessions (session_id, token_hash, {columns}) SELECT {}, {}, {columns} FROM sessions WHERE user_id = {} LIMIT 1",
            id(engine), bytes(engine, ust.hash().as_bytes()), of("root")
        ));
        town.sql(&format!(
            "INSERT INTO api_keys (key_id, token_hash, user_id, name, scope, created_time) SELECT {}, {}, {}, name, 'manage', created_time FROM api_keys",
            id(engine), bytes(engine, key.hash().as_bytes()), of("root")
        ));
        let before = told(&town);
        town.anon().bearing(ust.expose()).get(ME).refused(401, "session_invalid");
        town.anon().with("authorization", &format!("Key {}", key.expose())).get(ME).refused(401, "session_invalid");
        assert_eq!(told(&town), before + 2);
    }

    /// A change of something else does not bind what was altered; only an operator brings the user back, without what nobody vouches for.
    fn an_operator_mends_what_was_altered(engine) {
        let town = Town::new(engine);
        let (ann, root) = (town.user("ann"), town.root());
        let path = format!("/api/v1/users/{}", ann.id());
        town.sql("UPDATE users SET user_role = 'administrator' WHERE username_key = 'ann'");
        root.patch(&path, &json!({"first_name": "Ann"})).refused(401, "session_invalid");
        root.post(&format!("{path}/lock"), &json!({})).refused(401, "session_invalid");
        assert_eq!(town.site.altered(), ["users"]);
        // Lists show it: whoever looks after users is to see that it is there.
        root.get("/api/v1/users").expect(200);
        root.get(ME).expect(200);
        let ran = usher(&town.site, &["user", "set-password", "ann", "--password-stdin"], "marble cloud engine 77\n").expect(0);
        assert!(ran.err.contains("altered outside of usher") && ran.err.contains("viewer"), "{}", ran.err);
        town.hear();
        assert_eq!(town.site.altered(), Vec::<&str>::new());
        ann.get(ME).refused(401, "session_invalid");
        assert_eq!(town.anon().sign_in("ann", "marble cloud engine 77").get(ME).expect(200).json["user_role"], "viewer");

        town.sql("UPDATE users SET password_hash = (SELECT password_hash FROM users WHERE username_key = 'root') WHERE username_key = 'ann'");
        town.anon().try_sign_in("ann", PASSWORD).refused(401, "credentials_invalid");
        let ran = usher(&town.site, &["user", "set-role", "ann", "publisher"], "").expect(0);
        assert!(ran.err.contains("no password"), "{}", ran.err);
        town.hear();
        town.anon().try_sign_in("ann", PASSWORD).refused(401, "credentials_invalid");
        assert_eq!(root.get(&path).expect(200).json["password_is_set"], false);
        assert_eq!(town.site.altered(), Vec::<&str>::new());
        assert!(usher(&town.site, &["user", "set-role", "ann", "viewer"], "").expect(0).err.is_empty());
    }
}

/// On PostgreSQL a node that has a session in its memory hears that its row was altered, whoever did it.
#[test]
fn another_node_hears_of_it() {
    if !postgres::is_there() {
        return;
    }
    let town = Town::new(Engine::Postgres);
    let other = town.another_node();
    let ann: Client = other.user("ann");
    ann.get(ME).expect(200);
    town.sql(&format!("UPDATE sessions SET user_id = {} WHERE user_id = {}", of("root"), of("ann")));
    soon(401, || ann.get(ME));
}
