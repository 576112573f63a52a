//! The outer shape of a frame and of a message: where the events are. The provider documents single objects; arrays, wrappers and
//! replies to methods are believed in and read as well.

use super::json::{Data, Member, Node};
use crate::model::{
    event::QuarantineReason,
    topic::{KNOWN, Topic},
};

/// What a frame is.
#[derive(Debug)]
pub(super) enum Shape<'n, 'a> {
    Message,
    /// An array of messages, or an object that holds one.
    Messages(&'n [Node<'a>]),
    /// The answer to a method of ours, without events.
    Reply,
    Refused(QuarantineReason, &'static str),
}

/// Where a known message has its entries.
#[derive(Debug)]
pub(super) enum Entries<'n, 'a> {
    /// The message is the entry.
    Flat,
    Member {
        index: usize,
        entries: &'n [Node<'a>],
    },
    Missing(String),
}

/// The shape of a frame.
pub(super) fn of<'n, 'a>(root: &'n Node<'a>) -> Shape<'n, 'a> {
    match &root.data {
        Data::List(items) if !items.is_empty() && items.iter().all(names_a_topic) => Shape::Reply,
        Data::List(items) => Shape::Messages(items),
        Data::Map(members) => of_object(members),
        _ => Shape::Refused(QuarantineReason::NotAnObject, "neither an object nor an array"),
    }
}

fn of_object<'n, 'a>(members: &'n [Member<'a>]) -> Shape<'n, 'a> {
    let topic = member(members, "topic");
    let method = topic.and_then(text).is_some_and(|topic| topic.eq_ignore_ascii_case("method"));
    if topic.is_some() && !method {
        return Shape::Message;
    }
    let of_topics = member(members, "method").and_then(text).is_some_and(|method| {
        method.eq_ignore_ascii_case("getAvailableTopics") || method.eq_ignore_ascii_case("getEnabledTopics")
    });
    if method && of_topics {
        return Shape::Reply;
    }
    for name in ["messages", "data"] {
        let Some(held) = member(members, name) else { continue };
        let items = match &held.data {
            Data::List(items) => items.as_slice(),
            Data::Map(_) if is_message(held) => std::slice::from_ref(held),
            _ => continue,
        };
        let no_events = !items.is_empty() && !items.iter().any(is_message);
        if no_events && (method || items.iter().all(names_a_topic)) {
            return Shape::Reply;
        }
        return Shape::Messages(items);
    }
    if method || member(members, "topics").is_some_and(|topics| matches!(topics.data, Data::List(_))) {
        return Shape::Reply;
    }
    Shape::Refused(QuarantineReason::NoTopic, "an object without a topic")
}

/// The members and the topic, as spelled, of one message.
pub(super) fn message<'n, 'a>(node: &'n Node<'a>) -> Result<(&'n [Member<'a>], &'n str), (QuarantineReason, &'static str)> {
    let Data::Map(members) = &node.data else { return Err((QuarantineReason::NotAnObject, "a message is no object")) };
    match member(members, "topic") {
        None => Err((QuarantineReason::NoTopic, "an object without a topic")),
        Some(topic) => match text(topic) {
            None => Err((QuarantineReason::NoTopic, "the topic is no text")),
            Some(topic) if topic.trim().is_empty() => Err((QuarantineReason::NoTopic, "the topic is empty")),
            Some(topic) => Ok((members, topic)),
        },
    }
}

/// The known topic of this name, in either spelling and any case.
pub(super) fn known_topic(spelled: &str) -> Option<&'static Topic> {
    KNOWN.into_iter().find(|topic| {
        topic.name.eq_ignore_ascii_case(spelled) || topic.also.iter().any(|name| name.eq_ignore_ascii_case(spelled))
    })
}

/// Where the entries of a known message are.
pub(super) fn entries<'n, 'a>(topic: &'static Topic, members: &'n [Member<'a>]) -> Entries<'n, 'a> {
    let Some(name) = topic.entries else { return Entries::Flat };
    // The topic's own fields beside the list: `mismatches` is the name of the list of records and of the list in each record.
    let fields_beside = members
        .iter()
        .any(|member| topic.fields.iter().any(|field| field.name != name && field.name.eq_ignore_ascii_case(&member.name)));
    let Some(index) = position(members, name) else {
        return if fields_beside {
            Entries::Flat
        } else {
            Entries::Missing(format!("neither `{name}` nor a field of the topic"))
        };
    };
    if topic.field(name).is_some() && fields_beside {
        return Entries::Flat;
    }
    match &members[index].value.data {
        Data::List(entries) => Entries::Member { index, entries },
        Data::Map(_) => Entries::Member { index, entries: std::slice::from_ref(&members[index].value) },
        _ => Entries::Missing(format!("`{name}` is no list")),
    }
}

/// The member of that name; a spelling in other case counts where the exact one is missing.
pub(super) fn member<'n, 'a>(members: &'n [Member<'a>], name: &str) -> Option<&'n Node<'a>> {
    position(members, name).map(|index| &members[index].value)
}

fn position(members: &[Member<'_>], name: &str) -> Option<usize> {
    let exact = members.iter().position(|member| member.name == name);
    exact.or_else(|| members.iter().position(|member| member.name.eq_ignore_ascii_case(name)))
}

fn text<'n>(node: &'n Node<'_>) -> Option<&'n str> {
    if let Data::Text(text) = &node.data { Some(text) } else { None }
}

fn is_message(node: &Node<'_>) -> bool {
    message(node).is_ok()
}

/// An entry of a list of topics: a text, or an object with a name that is no message.
fn names_a_topic(node: &Node<'_>) -> bool {
    match &node.data {
        Data::Text(_) => true,
        Data::Map(members) => member(members, "topic").is_none() && member(members, "name").and_then(text).is_some(),
        _ => false,
    }
}
