//! What owners are told by letter (S54), and that a moved address gets no link for a while.

use crate::both;
use crate::harness::{Engine, PASSWORD, Town};
use serde_json::{Value, json};
use std::time::Duration;

const OLD: &str = "ann@example.org";
const NEW: &str = "ann@example.net";
const RESETS: &str = "/api/v1/password-resets";
const KEYS: &str = "/api/v1/api-keys";

/// A town with mail and Ann, who has an address there. Root's sign-in stays fresh.
fn town(engine: Engine) -> (Town, String) {
    let town = Town::with_mail(engine);
    let body = json!({"username": "ann", "email": OLD, "password": PASSWORD});
    let ann = town.root().post("/api/v1/users", &body).expect(201).json["user_id"].as_str().unwrap().to_owned();
    town.forget_mail();
    (town, ann)
}

fn subjects(town: &Town, address: &str) -> Vec<String> {
    let mut subjects: Vec<String> = town.mails_to(address).into_iter().map(|mail| mail.subject).collect();
    subjects.sort();
    subjects
}

fn patch(town: &Town, user_id: &str, body: &Value) {
    town.root().patch(&format!("/api/v1/users/{user_id}"), body).expect(200);
}

const CHANGED: &str = "Your e-mail address at id.example.org was changed";
const MOVED: &str = "This is now the e-mail address of your account at id.example.org";
const NAMED: &str = "Your name at id.example.org was changed";

both! {
    /// S54: whoever moves an address, the old and the new mailbox are told, and the old one of what changes with it; a remark is no news.
    fn a_moved_address_and_name_are_told(engine) {
        let (town, ann) = town(engine);
        patch(&town, &ann, &json!({"remark": "tall"}));
        assert_eq!(subjects(&town, OLD), [""; 0]);
        patch(&town, &ann, &json!({"email": NEW, "username": "anna"}));
        assert_eq!(subjects(&town, OLD), [CHANGED, NAMED]);
        assert_eq!(subjects(&town, NEW), [MOVED, NAMED]);
        // In German where the person reads German.
        town.forget_mail();
        town.advance(Duration::from_secs(3601));
        patch(&town, &ann, &json!({"lang_id": 2, "login_name": "nan"}));
        assert_eq!(subjects(&town, NEW), ["Ihr Name bei id.example.org wurde geändert"]);
    }

    /// S54: one letter of a kind in an hour; what follows is told at its end, in one.
    fn further_letters_of_an_hour_are_joined(engine) {
        let (town, ann) = town(engine);
        for name in ["ann1", "ann2", "ann3", "ann4"] {
            patch(&town, &ann, &json!({"username": name}));
        }
        assert_eq!(town.mails_to(OLD).len(), 1);
        town.advance(Duration::from_secs(3601));
        town.settle();
        let mails = town.mails_to(OLD);
        assert_eq!(mails.len(), 2, "{mails:#?}");
    }

    /// S54: keys made and revoked are told to whom they act as, by whomever.
    fn keys_are_told(engine) {
        let (town, ann) = town(engine);
        let made = town.root().post(KEYS, &json!({"user_id": ann, "name": "robot", "scope": "read"})).expect(201);
        assert_eq!(town.mail_to(OLD).subject, "An API key was made for your account at id.example.org");
        let key_id = made.json["key_id"].as_str().unwrap();
        town.root().delete(&format!("{KEYS}/{key_id}")).expect(204);
        assert_eq!(town.mail_to(OLD).subject, "An API key of your account at id.example.org was revoked");
    }

    /// A super-user makes no key that acts as another one.
    fn no_key_for_another_super_user(engine) {
        let (town, ann) = town(engine);
        patch(&town, &ann, &json!({"user_role": "administrator"}));
        town.root().post(KEYS, &json!({"user_id": ann, "name": "robot", "scope": "manage"})).refused(403, "forbidden");
        town.root().post(KEYS, &json!({"user_id": town.root_id, "name": "own", "scope": "manage"})).expect(201);
    }

    /// S54: for 72 hours after somebody else moved an address nothing that anybody may ask for is mailed there, nor to the old one; the
    /// trail says why. A super-user's link goes to the new one.
    fn a_moved_address_gets_no_link_for_a_while(engine) {
        let (town, ann) = town(engine);
        patch(&town, &ann, &json!({"email": NEW}));
        town.forget_mail();
        town.anon().post(RESETS, &json!({"username": "ann"})).expect(202);
        assert!(town.mails_to(NEW).is_empty() && town.mails_to(OLD).is_empty());
        let sent = town.root().get(&format!("/api/v1/audit-events?action=password_reset.send&subject={ann}")).expect(200).json["items"][0].clone();
        assert_eq!((&sent["outcome"], &sent["reason"]), (&json!("refused"), &json!("email_changed_lately")));
        town.root().put(&format!("/api/v1/users/{ann}/password"), &json!({})).expect(200);
        assert_eq!((town.mails_to(NEW).len(), town.mails_to(OLD).len()), (1, 0));
        town.forget_mail();
        town.advance(Duration::from_secs(72 * 3600 + 1));
        town.anon().post(RESETS, &json!({"username": "ann"})).expect(202);
        assert_eq!(town.mails_to(NEW).len(), 1);
    }

    /// Once the owner has signed in, the address is the owner's.
    fn a_sign_in_of_the_owner_ends_the_wait(engine) {
        let (town, ann) = town(engine);
        patch(&town, &ann, &json!({"email": NEW}));
        town.forget_mail();
        town.advance(Duration::from_secs(60));
        town.anon().post("/api/v1/sessions", &json!({"username": "ann", "password": PASSWORD})).expect(201);
        town.anon().post(RESETS, &json!({"username": "ann"})).expect(202);
        assert_eq!(town.mails_to(NEW).len(), 1);
    }
}
