//! Preconditions of a change: what the resource must be like, by its entity tag (RFC 9110, section 13.1).
//!
//! A list of tags is read, and bounded, where headers are read. What asks afterwards hands over the tag of what is there, computed once: how
//! long a list somebody sends decides on nothing that is done within a transaction.

/// Tags at most in one condition: whoever has seen so many states of a resource reads it anew.
pub const MOST_TAGS: usize = 32;

/// The entity tags of a condition, as they were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tags(Listed);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Listed {
    /// `*`: whatever is there.
    Any,
    /// One of these, [`MOST_TAGS`] at most.
    These(Vec<String>),
}

impl Tags {
    /// Reads the value of `If-Match` or `If-None-Match`.
    ///
    /// # Errors
    /// What is wrong with it: it has more than [`MOST_TAGS`] tags.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Self(Listed::Any));
        }
        // Empty elements of a list count as nothing (RFC 9110, section 5.6.1.2), but are not gone through without end either.
        let tags: Vec<&str> = text.split(',').take(MOST_TAGS + 1).map(str::trim).collect();
        if tags.len() > MOST_TAGS {
            return Err(format!("has more than {MOST_TAGS} entity tags"));
        }
        Ok(Self(Listed::These(tags.into_iter().filter(|tag| !tag.is_empty()).map(str::to_owned).collect())))
    }

    /// Whether what is there, if anything, has one of these tags. Section 13.1.1 compares strongly: a weak tag matches nothing. Ours are
    /// strong.
    pub fn match_strongly(&self, current: Option<&str>) -> bool {
        match &self.0 {
            Listed::Any => current.is_some(),
            Listed::These(tags) => current.is_some_and(|current| tags.iter().any(|tag| tag == current)),
        }
    }

    /// The same by the weak comparison of section 13.1.2.
    pub fn match_weakly(&self, current: Option<&str>) -> bool {
        let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag) == current.unwrap_or_default();
        match &self.0 {
            Listed::Any => current.is_some(),
            Listed::These(tags) => current.is_some() && tags.iter().any(|tag| opaque(tag)),
        }
    }
}

/// What must hold of a resource for it to be changed. Neither header: anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    /// `If-Match`: it is there, and has one of these tags.
    pub if_match: Option<Tags>,
    /// `If-None-Match`: it has none of these tags, or (with `*`) is not there.
    pub if_none_match: Option<Tags>,
}

impl Precondition {
    /// Whether it holds of a resource of this entity tag, or of one that is not there.
    pub fn holds(&self, current: Option<&str>) -> bool {
        self.if_match.as_ref().is_none_or(|tags| tags.match_strongly(current))
            && self.if_none_match.as_ref().is_none_or(|tags| !tags.match_weakly(current))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn holds(if_match: Option<&str>, if_none_match: Option<&str>, current: Option<&str>) -> bool {
        let read = |text: Option<&str>| text.map(|text| Tags::read(text).unwrap());
        Precondition { if_match: read(if_match), if_none_match: read(if_none_match) }.holds(current)
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

    /// S50: a list has an end, also one of nothing but commas.
    #[test]
    fn a_list_has_an_end() {
        let list = |count: usize| vec!["\"a\""; count].join(",");
        assert!(Tags::read(&list(MOST_TAGS)).unwrap().match_strongly(Some("\"a\"")));
        assert!(Tags::read(&list(MOST_TAGS + 1)).is_err() && Tags::read(&",".repeat(15_500)).is_err());
    }

    proptest! {
        /// Whatever is sent, a condition on a tag that it does not have does not pass.
        #[test]
        fn any_text_is_a_condition(text in "(.{0,40}|[\"W/,a-c* ]{0,12})") {
            let tag = "\"0123456789abcdef.7\"";
            if let Ok(read) = Tags::read(&text) {
                prop_assert!(!read.match_strongly(Some(tag)) || text.trim() == "*" || text.contains(tag));
                prop_assert!(!read.match_strongly(None) && !read.match_weakly(None));
            } else {
                prop_assert!(text.split(',').count() > MOST_TAGS);
            }
        }
    }
}
