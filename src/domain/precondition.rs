//! Preconditions of a change: what the resource must be like, by its entity tag (RFC 9110, section 13.1).

/// What must hold of a resource for it to be changed. Neither header: anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    /// `If-Match`: it is there, and has one of these tags.
    pub if_match: Option<String>,
    /// `If-None-Match`: it has none of these tags, or (with `*`) is not there.
    pub if_none_match: Option<String>,
}

impl Precondition {
    /// Whether it holds of a resource of this entity tag, or of one that is not there.
    pub fn holds(&self, current: Option<&str>) -> bool {
        // Section 13.1.1 compares strongly: a weak tag matches nothing. Ours are strong.
        let matches = self.if_match.as_deref().is_none_or(|tags| match tags.trim() {
            "*" => current.is_some(),
            tags => tags.split(',').any(|tag| Some(tag.trim()) == current),
        });
        // Section 13.1.2 compares weakly.
        let opaque = |tag: &str| tag.trim().strip_prefix("W/").unwrap_or(tag.trim()).to_owned();
        let differs = self.if_none_match.as_deref().is_none_or(|tags| match tags.trim() {
            "*" => current.is_none(),
            tags => !tags.split(',').any(|tag| Some(opaque(tag).as_str()) == current),
        });
        matches && differs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn holds(if_match: Option<&str>, if_none_match: Option<&str>, current: Option<&str>) -> bool {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Precondition { if_match: owned(if_match), if_none_match: owned(if_none_match) }.holds(current)
    }

    #[test]
    fn preconditions() {
        assert!(holds(None, None, None) && holds(None, None, Some("\"a\"")));
        assert!(holds(Some("*"), None, Some("\"a\"")) && !holds(Some("*"), None, None));
        assert!(holds(Some("\"b\" , \"a\""), None, Some("\"a\"")) && !holds(Some("\"b\""), None, Some("\"a\"")));
        assert!(!holds(Some("W/\"a\""), None, Some("\"a\"")) && !holds(Some("\"a\""), None, None));
        assert!(holds(None, Some(" * "), None) && !holds(None, Some("*"), Some("\"a\"")));
        assert!(!holds(None, Some("W/\"a\""), Some("\"a\"")) && holds(None, Some("\"b\""), Some("\"a\"")));
        assert!(!holds(Some("\"a\""), Some("*"), Some("\"a\"")));
    }

    proptest! {
        /// Whatever is sent, a condition on a tag that it does not have does not pass.
        #[test]
        fn any_text_is_a_condition(text in "(.{0,40}|[\"W/,a-c* ]{0,12})") {
            let tag = "\"0123456789abcdef.7\"";
            prop_assert_eq!(holds(Some(&text), None, Some(tag)), text.trim() == "*" || text.contains(tag));
            prop_assert!(!holds(Some(&text), None, None));
            prop_assert_eq!(holds(None, Some(&text), None), true);
        }
    }
}
