//! The topics that the application wants, and which of them the present session has. Pure.

use std::collections::{BTreeMap, BTreeSet};

use realtime_proto::{ErrorCode, topic::MAIN};

use super::event::Refusal;
use super::wire;

/// Wanted topics and what has become of each in this session.
#[derive(Debug, Default)]
pub(super) struct Topics {
    /// Wanted; true once welcomed in this session.
    wanted: BTreeMap<String, bool>,
    left_main: bool,
    /// Requests that the server's rate limit refused: to be sent again.
    limited: BTreeSet<String>,
}

impl Topics {
    /// Notes a subscription; the frame to send where a session stands.
    pub(super) fn subscribe(&mut self, topic: &str) -> String {
        if topic == MAIN {
            self.left_main = false;
        } else {
            self.wanted.insert(topic.to_owned(), false);
        }
        wire::subscribe(topic)
    }

    /// Notes that the application wants no more of it.
    pub(super) fn unsubscribe(&mut self, topic: &str) -> String {
        if topic == MAIN {
            self.left_main = true;
        }
        self.wanted.remove(topic);
        wire::unsubscribe(topic)
    }

    /// What a new session has to send.
    pub(super) fn for_new_session(&mut self) -> Vec<String> {
        self.limited.clear();
        let leave = self.left_main.then(|| wire::unsubscribe(MAIN));
        let subscribe = self.wanted.iter_mut().map(|(topic, welcomed)| {
            *welcomed = false;
            wire::subscribe(topic)
        });
        leave.into_iter().chain(subscribe).collect()
    }

    /// The server has confirmed a subscription.
    pub(super) fn welcomed(&mut self, topic: &str) {
        if let Some(welcomed) = self.wanted.get_mut(topic) {
            *welcomed = true;
        }
    }

    /// Remembers a subscribe or unsubscribe that came too fast. Only these carry a topic and no id.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        let rate_limited = refusal.code == ErrorCode::RateLimited.name();
        if let (true, None, Some(topic)) = (rate_limited, &refusal.id, &refusal.topic) {
            self.limited.insert(topic.clone());
        }
    }

    /// Whether something is to be sent again.
    pub(super) fn has_limited(&self) -> bool {
        !self.limited.is_empty()
    }

    /// At most `most` requests that were refused for their rate, for what is still wanted.
    pub(super) fn retry_limited(&mut self, most: usize) -> Vec<String> {
        let mut frames = Vec::new();
        while frames.len() < most {
            let Some(topic) = self.limited.pop_first() else { break };
            let wanted = if topic == MAIN { !self.left_main } else { self.wanted.contains_key(&topic) };
            match (wanted, self.wanted.get(&topic)) {
                (true, Some(true)) => {}
                (true, _) => frames.push(wire::subscribe(&topic)),
                (false, _) => frames.push(wire::unsubscribe(&topic)),
            }
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(topic: &str) -> Refusal {
        Refusal { code: "rate_limited".into(), message: String::new(), id: None, topic: Some(topic.into()) }
    }

    #[test]
    fn a_new_session_gets_every_wanted_topic_and_leaves_main_where_asked() {
        let mut topics = Topics::default();
        topics.subscribe("a");
        topics.subscribe("b");
        topics.unsubscribe("a");
        topics.unsubscribe(MAIN);
        assert_eq!(topics.for_new_session(), [wire::unsubscribe(MAIN), wire::subscribe("b")]);
        topics.subscribe(MAIN);
        assert_eq!(topics.for_new_session(), [wire::subscribe("b")]);
    }

    #[test]
    fn requests_refused_for_their_rate_are_sent_again_as_now_wanted() {
        let mut topics = Topics::default();
        for topic in ["a", "b", "c"] {
            topics.subscribe(topic);
            topics.refused(&limited(topic));
        }
        topics.unsubscribe("b");
        topics.welcomed("c");
        assert!(topics.has_limited());
        assert_eq!(topics.retry_limited(9), [wire::subscribe("a"), wire::unsubscribe("b")]);
        assert!(!topics.has_limited());
    }

    #[test]
    fn refused_publishes_and_other_refusals_are_not_subscriptions() {
        let mut topics = Topics::default();
        topics.subscribe("a");
        topics.refused(&Refusal { id: Some("1".into()), ..limited("a") });
        topics.refused(&Refusal { code: "permission_denied".into(), ..limited("a") });
        assert!(!topics.has_limited());
    }
}
