//! Finding users: filters, order, pages, and that no filter is an oracle.

use crate::both;
use crate::harness::{Client, Engine, Town};
use serde_json::json;
use std::time::Duration;
use usher::store::connection::Location;

fn find(client: &Client, query: &str) -> Vec<String> {
    let found = client.get(&format!("/api/v1/users?{query}")).expect(200).json;
    found["items"].as_array().unwrap().iter().map(|u| u["username"].as_str().unwrap().to_owned()).collect()
}

/// A page of a search by prefix, the first one or the one after a name, is no scan: the plan of the database says so.
pub fn is_served_by_an_index(engine: Engine, location: &Location, prefix: &str, after: Option<&str>) {
    let plan = usher::store::plan_of_prefix_search(location, prefix, after).unwrap();
    // A later page begins where the one before ended, not where the prefix does.
    let is_served = match engine {
        Engine::Sqlite => {
            let from = if after.is_some() { "(term,user_id)>(?,?)" } else { "term>?" };
            plan.contains("SEARCH s USING") && plan.contains(from) && !plan.contains("SCAN")
        }
        Engine::Postgres => {
            let begins = after.is_none() || plan.lines().any(|line| line.contains("Index Cond") && line.contains("ROW("));
            plan.contains("Index") && plan.contains("user_search_pkey") && begins && !plan.contains("Seq Scan on user_search s")
        }
    };
    assert!(is_served && !plan.contains("TEMP B-TREE") && !plan.contains("Sort"), "{plan}");
}

both! {
    /// Who is locked, awaits a decision, administers or has not confirmed is walked by an index of those alone, however many others there
    /// are: the plan of the database says so (S50).
    fn the_few_among_many_are_walked_by_an_index_of_their_own(engine) {
        use usher::domain::user::{AccountStatus, ApprovalStatus, SignUpStatus, UserRole};
        use usher::store::{Filter, Mark, Order, Page, plan_of_search};
        let town = Town::new(engine);
        let rows: String = (0..1500).map(|n| format!("{{\"external_id\":\"{n}\",\"username\":\"row-{n:04}\"}}\n")).collect();
        let root = town.root().with("content-type", "application/x-ndjson");
        root.call("POST", "/api/v1/users/import", Some(rows)).expect(200);
        if engine == Engine::Postgres {
            town.sql("ANALYZE users");
        }
        let few = [
            ("users_locked", Filter { account_statuses: vec![AccountStatus::Locked], ..Filter::default() }),
            ("users_awaiting", Filter { approval_status: Some(ApprovalStatus::BeforeDecision), ..Filter::default() }),
            ("users_administrators", Filter { roles: vec![UserRole::Administrator], ..Filter::default() }),
            ("users_unconfirmed", Filter { sign_up_status: Some(SignUpStatus::BeforeConfirmation), ..Filter::default() }),
        ];
        let page = |order, descending, after| Page { order, descending, after, limit: 50 };
        for (index, filter) in &few {
            for descending in [false, true] {
                let after = Mark::Name("row-0700".to_owned(), town.root_id.parse().unwrap());
                for after in [None, Some(after)] {
                    let plan = plan_of_search(&town.location(), filter, &page(Order::Username, descending, after)).unwrap();
                    assert!(plan.contains(index) && !plan.contains("TEMP B-TREE") && !plan.contains("Seq Scan"), "{index}: {plan}");
                }
            }
        }
        let plan = plan_of_search(&town.location(), &few[1].1, &page(Order::Number, false, None)).unwrap();
        assert!(plan.contains("users_awaiting"), "{plan}");
    }
}

/// A town with a handful of people.
fn people(engine: Engine) -> Town {
    let town = Town::new(engine);
    let root = town.root();
    for person in [
        json!({"username": "joanna", "first_name": "Joanna", "last_name": "Smith", "email": "jsmith@example.com"}),
        json!({"username": "bjones", "first_name": "Bob", "last_name": "Jones", "user_role": "publisher"}),
        json!({"username": "zoe", "login_name": "JOKER", "display_name": "Zoë van Dam"}),
        json!({"username": "carl", "middle_name": "Jolly", "display_name": "Carl"}),
        json!({"username": "Straße", "first_name": "Öde"}),
    ] {
        root.post("/api/v1/users", &person).expect(201);
    }
    town
}

both! {
    /// A prefix is looked for in five names, without regard to case; each user comes once, at the first name that matches.
    fn by_prefix(engine) {
        let town = people(engine);
        let root = town.root();
        assert_eq!(find(&root, "prefix=jo"), ["joanna", "zoe", "bjones"]);
        assert_eq!(find(&root, "prefix=JO&sort=username"), ["bjones", "joanna", "zoe"]);
        assert_eq!(find(&root, "prefix=STRASSE"), ["Straße"]);
        assert_eq!(find(&root, "prefix=%C3%96d"), ["Straße"]);
        assert_eq!(find(&root, "prefix=O%CC%88de"), ["Straße"]);
        assert_eq!(find(&root, "prefix=zo%C3%AB%20v"), ["zoe"]);
        assert_eq!(find(&root, "prefix=van"), [""; 0]);
        for harmless in ["prefix=%25", "prefix=_", "prefix=%27", "prefix=jo%00", "prefix=%F4%8F%BF%BF"] {
            assert_eq!(find(&root, harmless), [""; 0], "{harmless}");
        }
        assert_eq!(find(&root, "prefix=").len(), 6);
        // A changed name is found at once, and the old one no longer.
        let joanna = root.get("/api/v1/users?username=JOANNA").json["items"][0]["user_id"].as_str().unwrap().to_owned();
        root.patch(&format!("/api/v1/users/{joanna}"), &json!({"last_name": "Ypsilon"})).expect(200);
        assert_eq!(find(&root, "prefix=ypsi"), ["joanna"]);
        assert_eq!(find(&root, "prefix=smith"), [""; 0]);
        root.delete(&format!("/api/v1/users/{joanna}")).expect(204);
        assert_eq!(find(&root, "prefix=ypsi"), [""; 0]);
    }

    /// Words are looked for in every name and in the e-mail address.
    fn by_words(engine) {
        let town = people(engine);
        let root = town.root();
        assert_eq!(find(&root, "q=jol"), ["carl"]);
        assert_eq!(find(&root, "q=dam%20zo"), ["zoe"]);
        assert_eq!(find(&root, "q=example.com"), ["joanna"]);
        assert_eq!(find(&root, "q=dam%20bob"), [""; 0]);
        // Signs alone are no word of anyone's; a search that is blank looks for nothing.
        assert_eq!(find(&root, "q=%3F%21"), [""; 0]);
        assert_eq!(root.get("/api/v1/users/count?q=%2A").expect(200).json["total"], 0);
        assert_eq!(find(&root, "q=%20"), find(&root, "sort=username"));
    }

    /// Exact attributes, roles, statuses, groups, alone and together.
    fn by_attributes(engine) {
        let town = people(engine);
        let root = town.root();
        assert_eq!(find(&root, "user_role=publisher%7Cadministrator"), ["bjones", "root"]);
        assert_eq!(find(&root, "email=jsmith@example.com"), ["joanna"]);
        assert_eq!(find(&root, "account_status=licensed"), ["root"]);
        root.post(&format!("/api/v1/users/{}/lock", town.create("ann")), &json!({})).expect(200);
        assert_eq!(find(&root, "account_status=locked%7Clicensed"), ["ann", "root"]);
        assert_eq!(find(&root, "account_status=inactive&user_role=viewer&prefix=jo"), ["joanna", "zoe"]);
        assert_eq!(find(&root, "approval_status=rejected"), [""; 0]);
        assert_eq!(find(&root, "sign_up_status=final&username=zoe"), ["zoe"]);
        town.sql(&format!("INSERT INTO groups (group_id, name, name_key) VALUES ({}, 'Staff', 'staff')", match engine {
            Engine::Sqlite => "x'018f0000000070008000000000000001'",
            Engine::Postgres => "'018f0000-0000-7000-8000-000000000001'",
        }));
        town.sql("INSERT INTO group_members (group_id, user_id) SELECT group_id, user_id FROM groups, users WHERE username_key = 'zoe'");
        assert_eq!(find(&root, "group=STAFF"), ["zoe"]);
        assert_eq!(find(&root, "group=018f0000-0000-7000-8000-000000000001"), ["zoe"]);
        let zoe = root.get("/api/v1/users?group=staff").json;
        assert_eq!(zoe["items"][0]["groups"], json!([{"group_id": "018f0000-0000-7000-8000-000000000001", "name": "Staff"}]));
        // 365 days without a sign of life.
        town.advance(Duration::from_secs(366 * 24 * 60 * 60));
        let root = town.root();
        assert_eq!(root.get("/api/v1/users/count?account_status=inactive").json, json!({"total": 5}));
        let counted = root.get("/api/v1/users?with_total=true&limit=2&user_role=viewer").json;
        assert_eq!((&counted["total"], counted["items"].as_array().unwrap().len()), (&json!(5), 2));
        assert_eq!(root.get("/api/v1/users").json.get("total"), None);
        for bad in ["limit=0", "limit=501", "user_role=root", "user_role=", "account_status=x", "sort=password_hash", "sort=email", "password_hash=x",
            "is_locked=true", "with_total=maybe", "offset=3", "prefix=a&prefix=b", "username=%ff"]
        {
            root.get(&format!("/api/v1/users?{bad}")).refused(400, "bad_query");
        }
        for (bad, pointer) in [("limit=x", "/limit"), ("with_total=maybe", "/with_total"), ("offset=3", "/offset")] {
            let refused = root.get(&format!("/api/v1/users?{bad}")).refused(400, "bad_query");
            assert_eq!(refused.json["errors"][0]["pointer"], pointer, "{}", refused.text);
        }
        for bad in ["limit=5", "sort=number", "with_total=true", "cursor=x"] {
            root.get(&format!("/api/v1/users/count?{bad}")).refused(400, "bad_query");
        }
    }

    /// S40: pages in every order are complete and without repetition, and a cursor is good for its own search alone.
    fn pages(engine) {
        let town = Town::new(engine);
        let root = town.root();
        for number in 0..23 {
            let body = json!({"username": format!("user-{:02}", (number * 7) % 23), "last_name": "User", "first_name": format!("user{number}")});
            root.post("/api/v1/users", &body).expect(201);
        }
        for sort in ["", "&sort=username", "&sort=-username", "&sort=number", "&sort=-number"] {
            let (mut seen, mut names, mut cursor) = (Vec::new(), Vec::new(), String::new());
            loop {
                let page = root.get(&format!("/api/v1/users?prefix=user&limit=5{sort}{cursor}")).expect(200).json;
                let items = page["items"].as_array().unwrap();
                seen.extend(items.iter().map(|u| u["number"].as_i64().unwrap()));
                names.extend(items.iter().map(|u| u["username"].as_str().unwrap().to_owned()));
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            if sort.ends_with("username") {
                let mut by_name = names.clone();
                by_name.sort_unstable();
                if sort.contains('-') {
                    by_name.reverse();
                }
                assert_eq!(names, by_name, "{sort}");
            }
            let mut sorted = seen.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!((seen.len(), sorted.len()), (23, 23), "{sort}");
            if sort.ends_with("number") {
                sorted.reverse();
                let descending = seen == sorted;
                sorted.reverse();
                assert!(descending == sort.contains('-') && (descending || seen == sorted), "{sort} {seen:?}");
            }
        }
        let page = root.get("/api/v1/users?prefix=user&limit=5").json;
        let cursor = page["next_cursor"].as_str().unwrap();
        for other in ["prefix=user&sort=number", "prefix=use", "limit=5", "prefix=user&user_role=viewer"] {
            root.get(&format!("/api/v1/users?{other}&cursor={cursor}")).refused(400, "bad_query");
        }
        root.get(&format!("/api/v1/users?prefix=user&limit=5&cursor={}x", &cursor[1..])).refused(400, "bad_query");
    }

    /// R4, R6, S28: whoever may not look others up finds nothing and counts nothing, whatever the filter.
    fn finding_is_for_super_users(engine) {
        let town = people(engine);
        let ann = town.user("ann");
        for query in ["", "?prefix=a", "?username=ann", "?limit=0", "?email=a*", "/count", "/count?user_role=administrator"] {
            ann.get(&format!("/api/v1/users{query}")).refused(403, "forbidden");
            town.anon().get(&format!("/api/v1/users{query}")).refused(401, "session_invalid");
        }
    }

    /// Finding by prefix enters an index at the right place, on the first page and deep in the list.
    fn a_prefix_is_served_by_an_index(engine) {
        let town = people(engine);
        // Enough rows that a planner has a choice.
        let (zoe, yes) = ("(SELECT user_id FROM users WHERE username_key = 'zoe')", if engine == Engine::Sqlite { "1" } else { "true" });
        let names: Vec<String> = (0..3000).map(|n| format!("('term-{n:05}', {zoe}, {yes})")).collect();
        town.sql(&format!("INSERT INTO user_search (term, user_id, is_field) VALUES {}", names.join(", ")));
        town.sql("ANALYZE");
        for after in [None, Some("joh")] {
            is_served_by_an_index(engine, &town.location(), "jo", after);
        }
    }
}
