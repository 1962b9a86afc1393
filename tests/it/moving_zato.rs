//! Moving here from Zato SSO: `usher user import --from zato`, as `docs/migrate/zato.md` describes it.

use crate::both;
use crate::harness::process::{Ran, usher};
use crate::harness::{Engine, Site, Town};
use crate::zato::town_of_today;
use openssl::base64::encode_block;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::symm::{Cipher, encrypt};
use serde_json::{Value, json};
use std::fs;

pub const TOTP_KEY: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
/// Shorter than usher's own policy has it: what was good enough over there stays so.
pub const OLD: &str = "zato-pass-9";

/// The id that Zato gave to someone.
fn zusr(name: &str) -> String {
    format!("zusr5kq3v8h2m9x4d7w0c6tyb1{name}")
}

/// A Zato server's database, and the key that it encrypts with.
pub struct Zato {
    pub site: Site,
    pub key: [u8; 32],
}

/// Someone in it.
struct Person {
    name: &'static str,
    columns: Vec<(&'static str, String)>,
}

fn person(name: &'static str) -> Person {
    Person { name, columns: Vec::new() }
}

impl Person {
    fn with(mut self, column: &'static str, value: &str) -> Self {
        self.columns.push((column, value.to_owned()));
        self
    }
}

/// As passlib writes it: base64 with a dot for the plus sign, without padding.
pub fn passlib(password: &str) -> String {
    let (salt, mut tag) = ([0xfb; 64], [0; 64]);
    openssl::pkcs5::pbkdf2_hmac(password.as_bytes(), &salt, 120_000, MessageDigest::sha512(), &mut tag).unwrap();
    let adapted = |bytes: &[u8]| encode_block(bytes).replace('+', ".").trim_end_matches('=').to_owned();
    let hash = format!("$pbkdf2-sha512$120000${}${}", adapted(&salt), adapted(&tag));
    assert!(hash.contains('.'), "{hash}");
    hash
}

pub fn url_safe(bytes: &[u8]) -> String {
    encode_block(bytes).replace('+', "-").replace('/', "_")
}

pub fn fernet(key: &[u8; 32], text: &str) -> String {
    let iv = [9; 16];
    let cipher_text = encrypt(Cipher::aes_128_cbc(), &key[16..], Some(&iv), text.as_bytes()).unwrap();
    let mut token = [&[0x80][..], &1_700_000_000u64.to_be_bytes(), &iv, &cipher_text].concat();
    let signing = PKey::hmac(&key[..16]).unwrap();
    let mac = Signer::new(MessageDigest::sha256(), &signing).unwrap().sign_oneshot_to_vec(&token).unwrap();
    token.extend(mac);
    url_safe(&token)
}

impl Zato {
    fn new(engine: Engine) -> Self {
        let site = Site::new(engine);
        site.sql(
            "CREATE TABLE zato_sso_user (
                id INTEGER NOT NULL PRIMARY KEY, user_id VARCHAR(191) NOT NULL UNIQUE, is_active BOOLEAN NOT NULL,
                is_internal BOOLEAN NOT NULL, is_super_user BOOLEAN NOT NULL, is_locked BOOLEAN NOT NULL, locked_time TIMESTAMP,
                locked_by VARCHAR(191), creation_ctx TEXT NOT NULL, approval_status VARCHAR(191) NOT NULL,
                approval_status_mod_time TIMESTAMP NOT NULL, approval_status_mod_by VARCHAR(191) NOT NULL,
                username VARCHAR(191) NOT NULL UNIQUE, password TEXT NOT NULL, password_is_set BOOLEAN NOT NULL,
                password_must_change BOOLEAN NOT NULL, password_last_set TIMESTAMP NOT NULL, password_expiry TIMESTAMP NOT NULL,
                sign_up_status VARCHAR(191) NOT NULL, sign_up_time TIMESTAMP NOT NULL, sign_up_confirm_time TIMESTAMP,
                sign_up_confirm_token VARCHAR(191) NOT NULL UNIQUE, email TEXT, display_name VARCHAR(191), first_name VARCHAR(191),
                middle_name VARCHAR(191), last_name VARCHAR(191), display_name_upper VARCHAR(191), first_name_upper VARCHAR(191),
                middle_name_upper VARCHAR(191), last_name_upper VARCHAR(191), is_rate_limit_active BOOLEAN, rate_limit_type VARCHAR(40),
                rate_limit_def TEXT, rate_limit_check_parent_def BOOLEAN, is_totp_enabled BOOLEAN NOT NULL, totp_key TEXT,
                totp_label TEXT, opaque1 TEXT)",
        );
        site.sql(
            "CREATE TABLE zato_sso_attr (
                id INTEGER NOT NULL PRIMARY KEY, creation_time TIMESTAMP NOT NULL, last_modified TIMESTAMP NOT NULL,
                expiration_time TIMESTAMP, is_session_attr BOOLEAN NOT NULL, is_encrypted BOOLEAN NOT NULL,
                serial_method VARCHAR(191) NOT NULL, name VARCHAR(191) NOT NULL, value TEXT, _ust_string VARCHAR(191) NOT NULL,
                user_id VARCHAR(191) NOT NULL REFERENCES zato_sso_user (user_id), ust VARCHAR(191), opaque1 TEXT)",
        );
        site.sql(
            "CREATE TABLE zato_sso_linked_auth (
                id INTEGER NOT NULL PRIMARY KEY, is_active BOOLEAN NOT NULL, is_internal BOOLEAN NOT NULL,
                creation_time TIMESTAMP NOT NULL, last_modified TIMESTAMP NOT NULL, has_ext_principal BOOLEAN NOT NULL,
                auth_type VARCHAR(191) NOT NULL, auth_id INTEGER, auth_principal VARCHAR(191), auth_source VARCHAR(191) NOT NULL,
                user_id VARCHAR(191) NOT NULL REFERENCES zato_sso_user (user_id), opaque1 TEXT)",
        );
        let zato = Self { site, key: std::array::from_fn(|n| u8::try_from(n * 7 % 256).unwrap()) };
        zato.key_file("key", &zato.key);
        zato
    }

    fn key_file(&self, name: &str, key: &[u8; 32]) {
        fs::write(self.site.folder.path().join(name), format!("{}\n", url_safe(key))).unwrap();
    }

    fn add(&self, number: usize, Person { name, columns }: Person) {
        let secret = |text: &str| format!("'{}'", fernet(&self.key, text));
        let mut values = vec![
            ("id", number.to_string()),
            ("user_id", format!("'{}'", zusr(name))),
            ("is_active", "true".to_owned()),
            ("is_internal", "false".to_owned()),
            ("is_super_user", "false".to_owned()),
            ("is_locked", "false".to_owned()),
            ("creation_ctx", "'null'".to_owned()),
            ("approval_status", "'approved'".to_owned()),
            ("approval_status_mod_time", "'2024-01-02 03:04:05.000000'".to_owned()),
            ("approval_status_mod_by", "'auto'".to_owned()),
            ("username", format!("'{name}'")),
            ("password", secret(&passlib(OLD))),
            ("password_is_set", "true".to_owned()),
            ("password_must_change", "false".to_owned()),
            ("password_last_set", "'2024-01-02 03:04:05.000000'".to_owned()),
            ("password_expiry", "'2099-01-02 03:04:05.000007'".to_owned()),
            ("sign_up_status", "'final'".to_owned()),
            ("sign_up_time", "'2024-01-02 03:04:05.678901'".to_owned()),
            ("sign_up_confirm_token", format!("'cli.{name}'")),
            ("email", secret(&format!("{name}@example.com"))),
            ("first_name", format!("'{}'", name.to_uppercase())),
            ("is_totp_enabled", "false".to_owned()),
            ("totp_key", secret(TOTP_KEY)),
            ("totp_label", secret("<default-label>")),
        ];
        for (column, value) in columns {
            values.retain(|(known, _)| *known != column);
            values.push((column, value));
        }
        let (names, values): (Vec<&str>, Vec<String>) = values.into_iter().unzip();
        self.site.sql(&format!("INSERT INTO zato_sso_user ({}) VALUES ({})", names.join(", "), values.join(", ")));
    }

    /// Keeps something with someone, until this time.
    pub fn keep(&self, number: usize, name: &str, attribute: &str, value: &str, until: &str, is_encrypted: bool) {
        self.site.sql(&format!(
            "INSERT INTO zato_sso_attr VALUES ({number}, '2024-01-02 03:04:05', '2024-01-02 03:04:05', '{until}', false, {is_encrypted}, 'json', '{attribute}', '{value}', '', '{}', NULL, NULL)",
            zusr(name)
        ));
    }

    /// Moves them over, with the key in this file.
    fn move_with(&self, town: &Town, key: &str, options: &[&str]) -> Ran {
        let key = self.site.folder.path().join(key);
        let of_zato = ["--from", "zato", "--database", &self.site.url, "--fernet-key-file", key.to_str().unwrap()];
        let ran = usher(&town.site, &[&["user", "import"], &of_zato[..], options].concat(), "");
        town.hear();
        ran
    }

    fn move_to(&self, town: &Town, options: &[&str]) -> Ran {
        self.move_with(town, "key", options)
    }
}

/// A server with seven people.
pub fn zato(engine: Engine) -> Zato {
    let zato = Zato::new(engine);
    let label = format!("'{}'", fernet(&zato.key, "Phone"));
    let people = [
        person("ann").with("is_super_user", "true").with("display_name", "'Ann Lee'"),
        person("ben").with("is_totp_enabled", "true").with("totp_label", &label),
        person("cyd").with("is_locked", "true"),
        person("dan").with("approval_status", "'before_decision'"),
        person("eve").with("approval_status", "'rejected'"),
        // Neither hash nor address is encrypted.
        person("fay").with("password", &format!("'{}'", passlib(OLD))).with("email", "'fay@example.com'"),
        person("gwe").with("password_is_set", "false").with("sign_up_status", "'before_confirmation'").with("email", "NULL"),
    ];
    people.into_iter().enumerate().for_each(|(at, person)| zato.add(at + 1, person));
    zato
}

fn counts(ran: &Ran) -> &str {
    ran.err.lines().last().unwrap_or_default().trim_start_matches("usher: ")
}

both! {
    /// Who comes from Zato signs in with the old password and code, natively and in Zato's dialect, under the old id; S1: afterwards the
    /// hash is argon2id.
    fn people_move_with_their_passwords(engine) {
        let (zato, town) = (zato(engine), town_of_today(Site::new(engine)));
        let before = fs::read(zato.site.file()).ok();
        let dry = zato.move_to(&town, &["--dry-run"]).expect(0);
        assert_eq!(counts(&dry), "7 rows: 7 created, 0 updated, 0 unchanged, 0 refused; nothing was changed (dry run)");
        assert_eq!(town.root().get("/api/v1/users/count").json["total"], 1);
        let told = zato.move_to(&town, &["--json"]).expect(0);
        assert!(told.out.contains(&format!("\"external_id\":\"{}\"", zusr("ann"))), "{told:?}");
        // S30: nothing of the secrets is told.
        for secret in [OLD, TOTP_KEY, "pbkdf2", "gAAA"] {
            assert!(!told.out.contains(secret) && !told.err.contains(secret), "{secret}: {told:?}");
        }
        // What moves is only read.
        assert_eq!(fs::read(zato.site.file()).ok(), before);

        let hash = |name: &str| town.lines(&format!("SELECT coalesce(password_hash, 'none') AS line FROM users WHERE username = '{name}'"))[0].clone();
        assert!(["ann", "ben", "fay"].iter().all(|name| hash(name).starts_with("$pbkdf2-sha512$120000$")), "{}", hash("ann"));
        assert_eq!(hash("gwe"), "none");
        let ann = town.anon().sign_in("ann", OLD);
        let fay = town.stranger().sign_in("fay", OLD);
        assert_eq!(fay.see(None)["email"], "fay@example.com");
        town.anon().try_sign_in("ben", OLD).refused(401, "totp_required");
        town.anon().try_sign_in_with("ben", OLD, &town.code(TOTP_KEY)).expect(201);
        town.advance(std::time::Duration::from_secs(60));
        let with_code = |code: &str| town.stranger().say("POST", "user/login", json!({"username": "ben", "password": OLD, "totp_code": code}));
        with_code("000000").no("E005001");
        with_code(&town.code(TOTP_KEY)).done();
        assert!(["ann", "ben", "fay"].iter().all(|name| hash(name).starts_with("$argon2id$")), "{}", hash("ann"));
        for (name, code) in [("cyd", "account_locked"), ("dan", "approval_pending"), ("eve", "approval_pending"), ("gwe", "credentials_invalid")] {
            town.anon().try_sign_in(name, OLD).refused(401, code);
        }
        town.anon().try_sign_in("ann", "another password").refused(401, "credentials_invalid");

        let seen = |name: &str| town.root().get(&format!("/api/v1/users?username={name}")).expect(200).json["items"][0].clone();
        let facts: [(&str, &[(&str, Value)]); 6] = [
            ("ann", &[
                ("external_id", json!(zusr("ann"))), ("user_role", json!("administrator")), ("email", json!("ann@example.com")),
                ("display_name", json!("Ann Lee")), ("first_name", json!("ANN")), ("created_time", json!("2024-01-02T03:04:05.678901Z")),
                ("password_expiry", json!("2099-01-02T03:04:05.000007Z")), ("approval_status", json!("approved")),
            ]),
            ("ben", &[("totp_label", json!("Phone")), ("is_totp_enabled", json!(true)), ("user_role", json!("viewer"))]),
            ("cyd", &[("is_locked", json!(true)), ("lock_reason", json!("locked in Zato SSO"))]),
            ("eve", &[("approval_status", json!("rejected"))]),
            ("fay", &[("is_totp_enabled", json!(false)), ("totp_label", Value::Null), ("sign_up_status", json!("final"))]),
            ("gwe", &[("sign_up_status", json!("before_confirmation")), ("password_is_set", json!(false)), ("email", Value::Null)]),
        ];
        for (name, attributes) in facts {
            let user = seen(name);
            attributes.iter().for_each(|(attribute, value)| assert_eq!(&user[*attribute], value, "{name}: {attribute}"));
        }
        // Programs that know a person by the id of old find the person.
        assert_eq!(town.chief().see(Some(&zusr("ben")))["username"], "ben");
        assert_eq!(ann.get("/api/v1/users/me").json["user_id"], seen("ann")["user_id"]);

        // A second run changes nothing, and undoes nothing that has become of the passwords since.
        let own = json!({"old_password": OLD, "new_password": "marble cloud engine 77"});
        town.anon().sign_in("fay", OLD).put("/api/v1/users/me/password", &own).expect(200);
        let (was, hashes) = (seen("fay"), [hash("ann"), hash("fay")]);
        let again = zato.move_to(&town, &[]).expect(0);
        assert_eq!(counts(&again), "7 rows: 0 created, 0 updated, 7 unchanged, 0 refused");
        assert_eq!((seen("fay"), [hash("ann"), hash("fay")]), (was, hashes));

        // What has changed over there since is brought along.
        zato.site.sql("UPDATE zato_sso_user SET is_locked = true, last_name = 'Lee' WHERE username = 'fay'");
        let later = zato.move_to(&town, &[]).expect(0);
        assert_eq!(counts(&later), "7 rows: 0 created, 1 updated, 6 unchanged, 0 refused");
        assert_eq!((&seen("fay")["is_locked"], &seen("fay")["last_name"]), (&json!(true), &json!("Lee")));
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// The attributes of users come along, encrypted ones stay so; what does not fit is told and stops nothing, what has expired stays, as do
    /// those of sessions. What is not in Zato's tables, the passwords of linked accounts, is asked for.
    fn attributes_move(engine) {
        const END: &str = "9999-12-31 00:00:00";
        let (zato, town) = (zato(engine), town_of_today(Site::new(engine)));
        let secret = "wheelbarrow-4711";
        let token = fernet(&zato.key, &format!("{{\"deep\": \"{secret}\"}}"));
        let foreign = fernet(&[7; 32], "\"x\"");
        for (number, (name, attribute, value, until, is_encrypted)) in [
            ("ann", "colour", "{\"shade\": [1, 2.50]}", END, false),
            ("ann", "sealed", &token, END, true),
            ("ann", "wrapped", &format!("\"{}\"", fernet(&zato.key, secret)), END, true),
            ("ann", "brief", "\"x\"", "2098-01-02 03:04:05.000006", false),
            ("ann", "gone", "1", "2020-01-02 03:04:05", false),
            ("ann", "no name", "1", END, false),
            ("ann", "nan", "NaN", END, false),
            ("ann", "foreign", &foreign, END, true),
            ("ben", "colour", "5", END, false),
        ].into_iter().enumerate() {
            zato.keep(number + 1, name, attribute, value, until, is_encrypted);
        }
        zato.site.sql(&format!("INSERT INTO zato_sso_attr VALUES (90, '2024-01-02 03:04:05', '2024-01-02 03:04:05', '{END}', true, false, 'json', 'session', '1', 'zust1', '{}', 'zust1', NULL)", zusr("ann")));
        zato.site.sql(&format!("INSERT INTO zato_sso_linked_auth VALUES (1, true, false, '2024-01-02 03:04:05', '2024-01-02 03:04:05', false, 'zato.basic_auth', 17, 'reserved', 'reserved', '{}', NULL)", zusr("ben")));
        let complaints = ["line 1: attributes/no name: ", "line 1: attributes/nan: ", "line 1: attributes/foreign: The attribute has a value that does not open"];
        let told = |ran: &Ran, counts_so_far: &str, set: &str| {
            for part in complaints {
                assert!(ran.err.contains(part), "{part}: {ran:?}");
            }
            assert!(ran.err.contains(&format!("{counts_so_far}; {set} attributes set, 3 refused")), "{ran:?}");
            // S30: no value is told.
            assert!(!ran.err.contains(secret) && !ran.err.contains("gAAA"), "{ran:?}");
        };
        let dry = zato.move_to(&town, &["--dry-run"]).expect(1);
        told(&dry, "nothing was changed (dry run)", "5");
        assert_eq!(town.count("SELECT count(*) AS count FROM custom_attributes"), 0);
        let moved = zato.move_to(&town, &[]).expect(1);
        told(&moved, "7 created, 0 updated, 0 unchanged, 0 refused", "5");
        assert!(moved.err.contains("line 2: linked: Zato's accounts 17 act as this user"), "{moved:?}");
        let of = |name: &str| {
            let id = town.root().get(&format!("/api/v1/users?username={name}")).json["items"][0]["user_id"].as_str().unwrap().to_owned();
            town.root().get(&format!("/api/v1/users/{id}/attributes")).expect(200)
        };
        let (ann, ben) = (of("ann"), of("ben"));
        let facts: Vec<(String, String, bool, Value)> = ann.json["items"].as_array().unwrap().iter().map(|a| {
            (a["name"].as_str().unwrap().to_owned(), a["value"].to_string(), a["is_encrypted"] == true, a["expiry"].clone())
        }).collect();
        let expected = [
            ("brief", "\"x\"".to_owned(), false, json!("2098-01-02T03:04:05.000006Z")),
            ("colour", "{\"shade\":[1,2.5]}".to_owned(), false, Value::Null),
            ("sealed", format!("{{\"deep\":\"{secret}\"}}"), true, Value::Null),
            ("wrapped", format!("\"{secret}\""), true, Value::Null),
        ].map(|(name, value, is_encrypted, expiry)| (name.to_owned(), value, is_encrypted, expiry));
        assert_eq!(facts, expected);
        assert_eq!(ben.json["items"][0]["value"], 5);
        // A second run changes nothing, and leaves what was made here; what has changed over there since wins.
        let events = || town.count("SELECT count(*) AS count FROM audit_events WHERE action = 'user.set_attributes'");
        assert_eq!(events(), 2);
        let etags = of("ann").json["items"].clone();
        told(&zato.move_to(&town, &[]).expect(1), "0 created, 0 updated, 7 unchanged, 0 refused", "0");
        assert_eq!((of("ann").json["items"].clone(), events()), (etags, 2));
        usher(&town.site, &["linked", "create", "feed", "--user", "ben", "--password-stdin"], "copper window paper 31").expect(0);
        zato.site.sql("UPDATE zato_sso_attr SET value = '6' WHERE id = 9");
        zato.site.sql("DELETE FROM zato_sso_attr WHERE id IN (6, 7, 8)");
        let later = zato.move_to(&town, &["--json"]).expect(0);
        assert!(later.out.contains("\"attributes\":{\"set\":1,\"refused\":0}") && !later.out.contains("linked"), "{later:?}");
        assert_eq!(of("ben").json["items"][0]["value"], 6);
        // More than fits is refused for that user alone.
        for number in 100..170 {
            zato.keep(number, "cyd", &format!("a{number}"), "1", END, false);
        }
        zato.keep(200, "dan", "colour", "\"red\"", END, false);
        let full = zato.move_to(&town, &[]).expect(1);
        assert!(full.err.contains("line 3: attributes: ") && full.err.contains("1 attributes set, 70 refused"), "{full:?}");
        town.usher(&["audit", "verify"]).expect(0);
    }

    /// With the wrong key, or the wrong database, nothing is done; one value that does not open is its row's affair.
    fn what_is_wrong_is_told(engine) {
        let (zato, town) = (zato(engine), town_of_today(Site::new(engine)));
        let mut other = zato.key;
        other[3] ^= 1;
        zato.key_file("other", &other);
        zato.key_file("half", &zato.key);
        fs::write(zato.site.folder.path().join("half"), &url_safe(&zato.key)[..22]).unwrap();
        for (key, cause) in [("other", "not the one that Zato has encrypted with"), ("half", "is no Fernet key"), ("none", "cannot read the key file")] {
            let refused = zato.move_with(&town, key, &[]).expect(1);
            assert!(refused.complaint().contains(cause), "{refused:?}");
            assert!(!refused.err.contains(&url_safe(&other)) && !refused.err.contains(&url_safe(&zato.key)[..20]), "{refused:?}");
        }
        let key = zato.site.folder.path().join("key");
        let from = |options: &[&str]| usher(&town.site, &[&["user", "import", "--from", "zato"], options].concat(), "");
        let elsewhere = Site::new(engine);
        elsewhere.sql("CREATE TABLE other (id INTEGER)");
        let refused = from(&["--database", &elsewhere.url, "--fernet-key-file", key.to_str().unwrap()]).expect(1);
        assert!(refused.complaint().contains("Zato's database") && refused.err.contains("zato_sso_user"), "{refused:?}");
        let refused = from(&["--database", "mysql://x", "--fernet-key-file", key.to_str().unwrap()]).expect(1);
        assert!(refused.complaint().contains("begins with neither sqlite: nor postgres://"), "{refused:?}");
        from(&["--database", &zato.site.url]).expect(2);
        assert!(zato.move_to(&town, &["users.ndjson"]).expect(1).complaint().contains("FILE does not go with --from zato"));
        usher(&town.site, &["user", "import", "--database", "sqlite:x", "-"], "").expect(2);
        usher(&town.site, &["user", "import"], "").expect(2);
        assert_eq!(town.root().get("/api/v1/users/count").json["total"], 1);

        let foreign = format!("'{}'", fernet(&other, "$pbkdf2-sha512$1$a$b"));
        zato.site.sql(&format!("UPDATE zato_sso_user SET password = {foreign} WHERE username = 'ann'"));
        zato.add(8, person("root"));
        let some = zato.move_to(&town, &[]).expect(1);
        for part in ["line 1: password_hash: ", "line 8: username: ", "8 rows: 6 created, 0 updated, 0 unchanged, 2 refused"] {
            assert!(some.err.contains(part), "{part}: {some:?}");
        }
        assert!(!some.err.contains("gAAA"), "{some:?}");
    }
}
