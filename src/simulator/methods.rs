//! The socket's methods: `getAvailableTopics`, `getEnabledTopics` and `getLastMessages`, answered in the shape that was asked for.

use serde::Deserialize;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{feed::Feed, frame::Frame, options::Answers};
use crate::model::{time::Timestamp, topic};

#[derive(Debug, Deserialize)]
struct Request {
    topic: String,
    method: String,
    since: Option<String>,
    count: Option<usize>,
    #[serde(default)]
    topics: Vec<String>,
}

/// What a request is answered with, and how many past messages that holds.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) frames: Vec<Message>,
    pub(super) messages: u64,
}

/// Answers one frame of a client. What is no method request is answered with an error.
pub(super) fn answer(request: &[u8], feed: &Feed, shape: Answers, cap: Option<usize>) -> Answer {
    let request = match serde_json::from_slice::<Request>(request) {
        Ok(request) if request.topic == "method" => request,
        _ => return error("no method request"),
    };
    if shape == Answers::Nothing {
        return Answer::default();
    }
    match request.method.as_str() {
        "getAvailableTopics" => topics(&request.method, &topic::KNOWN.map(|topic| topic.name), shape),
        "getEnabledTopics" => topics(&request.method, &feed.enabled(), shape),
        "getLastMessages" => {
            let since = match request.since.as_deref().map(moment) {
                None => None,
                Some(Some(since)) => Some(since),
                Some(None) => return error("since is no ISO 8601 time"),
            };
            let count = request.count.into_iter().chain(cap).min();
            let names: Vec<String> =
                request.topics.into_iter().map(|name| topic::find(&name).map_or(name, |known| known.name.to_owned())).collect();
            messages(&feed.last(since, count, &names), shape)
        }
        _ => error("unknown method"),
    }
}

fn moment(text: &str) -> Option<Timestamp> {
    chrono::DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc())
}

fn topics(method: &str, names: &[&str], shape: Answers) -> Answer {
    let answer = match shape {
        Answers::Messages => json!({ "topic": "method", "method": method, "topics": names }),
        Answers::Data => {
            let objects: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
            json!({ "data": objects })
        }
        Answers::Array | Answers::Unwrapped | Answers::Nothing => json!(names),
    };
    Answer { frames: vec![Message::text(answer.to_string())], messages: 0 }
}

/// The messages are spliced in as they were sent, not read and written again: a back-filled message is the live one byte for byte.
fn messages(frames: &[Frame], shape: Answers) -> Answer {
    // A recorded frame that is no text can't stand inside JSON.
    let texts: Vec<&str> = frames
        .iter()
        .filter_map(|frame| match &frame.message {
            Message::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let number = texts.len() as u64;
    let list = || format!("[{}]", texts.join(","));
    let frames = match shape {
        Answers::Unwrapped => texts.iter().map(|text| Message::text(*text)).collect(),
        Answers::Array | Answers::Nothing => vec![Message::text(list())],
        Answers::Messages => {
            vec![Message::text(format!(r#"{{"topic":"method","method":"getLastMessages","messages":{}}}"#, list()))]
        }
        Answers::Data => vec![Message::text(format!(r#"{{"data":{}}}"#, list()))],
    };
    Answer { frames, messages: number }
}

fn error(reason: &str) -> Answer {
    let text = json!({ "error": "Invalid request", "reason": reason }).to_string();
    Answer { frames: vec![Message::text(text)], messages: 0 }
}
