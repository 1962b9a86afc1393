//! The pages that links lead to: what they are made of, and that they do nothing but call the API.

use crate::both;
use crate::harness::{Engine, Town};
use std::collections::BTreeSet;

const PAGES: [&str; 3] = ["/account/confirm", "/account/set-password", "/account/forgot-password"];

#[test]
fn pages_come_in_the_readers_language() {
    let town = Town::new(Engine::Sqlite);
    for path in PAGES {
        let page = |wishes: &str| town.anon().with("accept-language", wishes).get(path).expect(200);
        let (english, german) = (page("en"), page("de-AT, en;q=0.5"));
        assert!(english.text.contains("<html lang=\"en\">") && german.text.contains("<html lang=\"de\">"));
        assert_eq!(
            (english.headers["content-type"].as_str(), english.headers["vary"].as_str()),
            ("text/html; charset=utf-8", "accept-language")
        );
        assert_eq!(german.headers["content-language"], "de");
        // One page in two languages: the same elements, labels and sentences.
        let ids = |text: &str| -> BTreeSet<String> {
            text.split("id=\"").skip(1).map(|t| t.split('"').next().unwrap().to_owned()).collect()
        };
        assert_eq!(ids(&english.text), ids(&german.text), "{path}");
    }
}

/// S37: nothing inline, nothing from elsewhere; what can be referred to is there.
#[test]
fn pages_have_a_strict_policy() {
    let town = Town::new(Engine::Sqlite);
    for path in PAGES {
        for language in ["en", "de"] {
            let page = town.anon().with("accept-language", language).get(path).expect(200);
            let policy = &page.headers["content-security-policy"];
            assert!(
                policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"),
                "{policy}"
            );
            assert!(
                !policy.contains("unsafe") && policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'none'"),
                "{policy}"
            );
            for header in ["strict-transport-security", "x-content-type-options", "cross-origin-opener-policy"] {
                assert!(page.headers.contains_key(header), "{header}");
            }
            assert_eq!(
                (page.headers["referrer-policy"].as_str(), page.headers["cache-control"].as_str()),
                ("no-referrer", "no-store")
            );
            let text = page.text.to_lowercase();
            for inline in [" style=", "<style", " onclick", " onload", " onsubmit", "javascript:", "http:", "https:"] {
                assert!(!text.contains(inline), "{path} has {inline}");
            }
            assert_eq!(
                (text.matches("<script").count(), text.matches("<script src=\"account.js\" defer></script>").count()),
                (1, 1)
            );
            // Every field has a label of its own.
            for field in text.split("<input id=\"").skip(1).map(|t| t.split('"').next().unwrap()) {
                assert!(text.contains(&format!("<label for=\"{field}\">")), "{path}: {field} has no label");
            }
        }
    }
    for (file, kind) in [("account.js", "text/javascript; charset=utf-8"), ("account.css", "text/css; charset=utf-8")] {
        assert_eq!(town.anon().get(&format!("/account/{file}")).expect(200).headers["content-type"], kind);
    }
    for nothing in ["/account/other.js", "/account/%2e%2e", "/account/", "/account"] {
        town.anon().get(nothing).refused(404, "not_found");
    }
    // The script's sentences are in the pages.
    let script = town.anon().get("/account/account.js").text;
    for id in ["\"pending\"", "\"done\"", "\"differs\"", "\"totp_required\"", "\"link_invalid\""] {
        assert!(script.contains(id), "{id}");
    }
}

both! {
    /// Reading a page leaves no event and uses nothing up; the token is not for the server.
    fn reading_a_page_does_nothing(engine) {
        let town = Town::new(engine);
        let root = town.root();
        let count = || root.get("/api/v1/audit-events?action=unrouted").json["items"].as_array().unwrap().len();
        let before = count();
        for path in PAGES {
            town.anon().get(path).expect(200);
            town.anon().post(path, &serde_json::json!({"token": "x"})).refused(405, "method_not_allowed");
        }
        assert_eq!(count(), before + PAGES.len());
    }
}
