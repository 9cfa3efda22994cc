//! The rights of a token. Pure.

use std::sync::Arc;

use common::{Pattern, TopicName};

/// The rights of a token: the words of its `scope` (RFC 8693 section 4.2).
///
/// An unknown word gives no right. Neither does one whose pattern is malformed: a typing error must not allow
/// more than was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes(Arc<str>);

impl Scopes {
    /// Creates the rights of a space-separated list; an empty one gives none.
    pub fn new(list: &str) -> Self {
        Self(list.into())
    }

    /// Creates the rights of a list of words. A word with a blank in it is a name from elsewhere, such as the role
    /// `service desk`, and must not become two rights.
    pub(super) fn from_list(words: Vec<&str>) -> Self {
        let words: Vec<&str> =
            words.into_iter().filter(|word| !word.contains(|c: char| c.is_ascii_whitespace())).collect();
        Self(words.join(" ").into())
    }

    /// Returns the words, separated by spaces.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the topic may be followed and its history read: `subscribe:<pattern>`.
    pub(crate) fn may_subscribe(&self, topic: &TopicName) -> bool {
        self.allows("subscribe", topic)
    }

    /// Returns whether the topic may be published to: `publish:<pattern>`, or [`Scopes::is_service`].
    pub(crate) fn may_publish(&self, topic: &TopicName) -> bool {
        self.is_service() || self.names_for_publishing(topic)
    }

    /// Returns whether a word names the topic for publishing: `publish:<pattern>`. `service` does not.
    pub(super) fn names_for_publishing(&self, topic: &TopicName) -> bool {
        self.allows("publish", topic)
    }

    /// Returns whether the bearer is a backend, which may publish to every topic, to users and to all.
    pub fn is_service(&self) -> bool {
        self.has("service")
    }

    /// Returns whether the bearer is an operator, who may use the paths below `/v1/admin/`. Nothing else gives this
    /// right, and it gives no other.
    pub(crate) fn is_admin(&self) -> bool {
        self.has("admin")
    }

    /// Returns whether an operator may see what events carry.
    pub(crate) fn may_see_payloads(&self) -> bool {
        self.has("admin:payload")
    }

    fn has(&self, right: &str) -> bool {
        self.words().any(|word| word == right)
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.0.split_ascii_whitespace()
    }

    fn allows(&self, right: &str, topic: &TopicName) -> bool {
        self.words()
            .filter_map(|word| word.split_once(':'))
            .filter(|(word, _)| *word == right)
            .filter_map(|(_, pattern)| pattern.parse::<Pattern>().ok())
            .any(|pattern| pattern.matches(topic))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_right_is_for_what_its_pattern_names() {
        let scopes = Scopes::new("subscribe:match:* publish:match:1 subscribe:news");
        let topic = |name: &str| name.parse::<TopicName>().unwrap();
        let followed: Vec<_> = ["match:1", "match:2:chat", "news", "news2", "project:1", "subscribe:news"]
            .into_iter()
            .filter(|name| scopes.may_subscribe(&topic(name)))
            .collect();
        assert_eq!(followed, ["match:1", "match:2:chat", "news"]);
        assert!(scopes.may_publish(&topic("match:1")) && !scopes.may_publish(&topic("match:2")));
        assert!(!scopes.is_service());
        assert!(Scopes::new("service").may_publish(&topic("match:2")));
        assert!(!Scopes::new("service").may_subscribe(&topic("match:2")));
        let admin = Scopes::new("admin");
        assert!(admin.is_admin() && !admin.is_service() && !admin.may_publish(&topic("match:2")));
        assert!(
            ["service", "admin:*", "Admin", "subscribe:admin"]
                .iter()
                .all(|word| !Scopes::new(word).is_admin())
        );
    }

    #[test]
    fn a_malformed_word_gives_no_right() {
        let words = [
            "",
            "subscribe",
            "subscribe:",
            "Subscribe:*",
            "subscribe:**",
            "subscribe:m*1",
            "subscribe *",
            "subscribe:match:1,news",
            "subscribe:%6datch:1",
            "publish:*",
            "xsubscribe:*",
            "subscribe::match:1",
        ];
        for word in words {
            let scopes = Scopes::new(word);
            assert!(!scopes.may_subscribe(&"match:1".parse().unwrap()), "{word:?}");
        }
    }
}
