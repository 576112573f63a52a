//! What the feeds say that they send, against what the rules wait for, and against what they sent before.

use std::collections::{BTreeSet, HashMap};

use crate::{
    alerts::Alarm,
    model::{names::FeedName, severity::Severity, topic},
};

/// The enabled topics of each feed that named them, by canonical names.
#[derive(Debug, Default)]
pub struct Topics(HashMap<FeedName, BTreeSet<String>>);

impl Topics {
    /// A feed named its topics; `before`: what it had named last, in this process or an earlier one. `wanted`: what rules wait for;
    /// `feeds`: how many there are. A topic that one feed does not send may come from another: nothing is said before all have spoken.
    pub fn named(
        &mut self,
        feed: &FeedName,
        enabled: &[String],
        before: Option<&[String]>,
        wanted: &BTreeSet<String>,
        feeds: usize,
    ) -> Vec<Alarm> {
        if enabled.is_empty() {
            return Vec::new();
        }
        let enabled = canonical(enabled);
        let mut alarms = Vec::new();
        alarms.extend(before.and_then(|before| changed(feed, &canonical(before), &enabled)));
        let unwatched: Vec<&str> = enabled.difference(wanted).map(String::as_str).collect();
        if !unwatched.is_empty() {
            tracing::warn!(%feed, topics = unwatched.join(", "), "the provider sends topics that no rule watches");
        }
        self.0.insert(feed.clone(), enabled);
        if self.0.len() < feeds {
            return alarms;
        }
        let unsent: Vec<&str> =
            wanted.iter().filter(|topic| !self.0.values().any(|enabled| enabled.contains(*topic))).map(String::as_str).collect();
        if !unsent.is_empty() {
            let topics = unsent.join(", ");
            tracing::warn!(%feed, topics, "rules wait for topics that the provider has not enabled");
            let subject = format!("Feed {feed}: rules wait for topics that are not enabled: {topics}");
            alarms.push(
                Alarm::new(format!("topics {feed} {topics}"), Severity::High, subject)
                    .note(
                        "The provider says that it does not send these topics to this account, so the rules on them can't alert.",
                    )
                    .note("Ask the provider to enable them, or retire the rules."),
            );
        }
        alarms
    }
}

/// Told once, since the next list is compared with this one; a topic that comes back is told so as well.
fn changed(feed: &FeedName, before: &BTreeSet<String>, enabled: &BTreeSet<String>) -> Option<Alarm> {
    let list = |topics: Vec<&String>| topics.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let (gone, new) = (list(before.difference(enabled).collect()), list(enabled.difference(before).collect()));
    let subject = match (gone.is_empty(), new.is_empty()) {
        (true, true) => return None,
        (false, true) => format!("Feed {feed}: the provider no longer sends {gone}"),
        (true, false) => format!("Feed {feed}: the provider now sends {new} as well"),
        (false, false) => format!("Feed {feed}: the provider no longer sends {gone}, and now sends {new}"),
    };
    tracing::warn!(%feed, gone, new, "the enabled topics have changed");
    let severity = if gone.is_empty() { Severity::Info } else { Severity::High };
    Some(
        Alarm::new(format!("topics changed {feed} {gone} {new}"), severity, subject)
            .note("So says its list of enabled topics after this connect, compared with the one before.")
            .note("Rules on a topic that is not sent can't alert. If nobody asked for this, ask the provider."),
    )
}

fn canonical(names: &[String]) -> BTreeSet<String> {
    names.iter().map(|name| topic::find(name).map_or_else(|| name.clone(), |topic| topic.name.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn subjects(topics: &mut Topics, feed: &str, enabled: &[&str], before: Option<&[&str]>, feeds: usize) -> Vec<String> {
        let wanted = canonical(&names(&["identResult", "mismatches"]));
        let before = before.map(names);
        let alarms = topics.named(&FeedName::new(feed), &names(enabled), before.as_deref(), &wanted, feeds);
        alarms.into_iter().map(|alarm| alarm.subject).collect()
    }

    #[test]
    fn a_topic_that_only_another_feed_sends_is_no_false_alarm() {
        let mut topics = Topics::default();
        assert!(subjects(&mut topics, "a", &["identResult"], None, 2).is_empty(), "the other has not spoken");
        assert!(subjects(&mut topics, "b", &["mismatches"], None, 2).is_empty());
        assert_eq!(
            subjects(&mut topics, "b", &["complianceRecord"], None, 2),
            ["Feed b: rules wait for topics that are not enabled: mismatches"]
        );
    }

    #[test]
    fn a_change_of_the_enabled_topics_is_told_and_its_end_as_well() {
        let mut topics = Topics::default();
        let all: &[&str] = &["identResult", "mismatches", "identRequestCreated"];
        assert!(subjects(&mut topics, "a", all, Some(&["identRequestsCreated", "mismatches", "identResult"]), 1).is_empty());
        let less: &[&str] = &["identResult", "mismatches"];
        assert_eq!(subjects(&mut topics, "a", less, Some(all), 1), ["Feed a: the provider no longer sends identRequestsCreated"]);
        assert!(subjects(&mut topics, "a", less, Some(less), 1).is_empty(), "once");
        assert_eq!(
            subjects(&mut topics, "a", all, Some(less), 1),
            ["Feed a: the provider now sends identRequestsCreated as well"]
        );
        assert!(subjects(&mut topics, "a", &[], Some(all), 1).is_empty(), "no answer is no list");
    }
}
