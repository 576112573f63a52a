//! What the operators are told of a store that is new: once it is expected, and any other time it is the only sign that the old one is gone.

use crate::{
    alerts::Alarm,
    config::{Config, FeedConfig, feeds::StartFrom},
    model::severity::Severity,
};

pub(super) fn alarm(config: &Config) -> Alarm {
    let folder = config.data_dir.display();
    tracing::warn!(%folder, "a first start: there was no store here, and an empty one was begun");
    let alarm = Alarm::new("first start", Severity::High, "A first start: there was no store, and an empty one was begun")
        .note(format!("The store lies in {folder}. It has no event, owes nothing, and knows of no alert that was ever raised."));
    let begins = config.feeds.iter().filter_map(|(name, feed)| match feed {
        FeedConfig::Concedus(feed) => Some(match feed.backfill.start_from {
            StartFrom::Now => format!("Feed {name} is watched from now on; nothing from before is asked for (start_from)."),
            StartFrom::At(at) => format!(
                "Feed {name} is watched from {} UTC on (start_from); nothing from before is asked for.",
                at.format("%Y-%m-%d %H:%M:%S")
            ),
        }),
        // Read from its beginning.
        FeedConfig::Jsonl(_) => None,
    });
    begins.fold(alarm, Alarm::note).note(
        "Right after the installation all is well, and this way to you works. If redflag ran here before, its store is lost: stop it, \
         put the folder or its backup back, or compare what was sent since with the provider's records.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_says_what_is_watched_since_when_and_what_to_do_if_nobody_expected_it() {
        let text = r#"
            data_dir = "/var/lib/redflag"
            feeds.live = { kind = "concedus", socket = "wss://feed.example/ws", auth = "https://feed.example/v2/auth", username = "u", password = { env = "P" } }
            feeds.old = { kind = "concedus", socket = "wss://feed.example/ws", auth = "https://feed.example/v2/auth", username = "u", password = { env = "P" }, backfill = { start_from = "2026-01-31T08:00:00+01:00" } }
            feeds.lines = { kind = "jsonl", path = "events.jsonl" }
        "#;
        let alarm = alarm(&toml::from_str(text).unwrap());
        insta::assert_snapshot!(format!("{}\n{}", alarm.subject, alarm.notes.join("\n")));
    }
}
