//! The outer shape of a frame and of a message: where the events are. The provider documents single objects; arrays, wrappers and
//! replies to methods are believed in and read as well.

use super::json::{Data, Member, Node};
use crate::model::{
    event::QuarantineReason,
    topic::{KNOWN, Topic},
};

/// What may stand beside a topic's name in a list of topics.
const BESIDE_A_NAME: [&str; 8] = ["name", "topic", "id", "title", "description", "enabled", "available", "active"];

/// What a frame is.
#[derive(Debug)]
pub(super) enum Shape<'n, 'a> {
    Message,
    /// An array of messages, or an object that holds one.
    Messages(&'n [Node<'a>]),
    /// The answer to a method of ours: names of topics and nothing else, since its bytes are not kept.
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
        Data::List(items) if !items.is_empty() && items.iter().all(|item| names_a_topic(item, false)) => Shape::Reply,
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
    let held = ["messages", "data"].into_iter().filter_map(|name| member(members, name));
    let mut lists = held.filter_map(messages_in);
    if holds_only_names(members, method) {
        return match lists.next() {
            Some([]) => Shape::Messages(&[]),
            _ => Shape::Reply,
        };
    }
    // Of two members with messages one would be lost.
    let several = members.iter().filter(|member| holds_a_message(&member.value)).count() > 1;
    match lists.find(|items| items.iter().any(is_message)) {
        Some(_) if several => Shape::Refused(QuarantineReason::WrongShape, "messages in several members"),
        Some(items) => Shape::Messages(items),
        None if method => Shape::Refused(QuarantineReason::WrongShape, "a reply to a method that is no plain list of names"),
        None => Shape::Refused(QuarantineReason::NoTopic, "an object without a topic"),
    }
}

/// Whether an object without a topic of its own is a list of topics, or one of our methods, and nothing else at all: whatever stands
/// beside would vanish with it.
fn holds_only_names(members: &[Member<'_>], method: bool) -> bool {
    let is = |member: &Member<'_>, name: &str| member.name.eq_ignore_ascii_case(name);
    let asked = member(members, "method").and_then(text);
    let of_topics = method
        && asked.is_some_and(|asked| {
            asked.eq_ignore_ascii_case("getAvailableTopics") || asked.eq_ignore_ascii_case("getEnabledTopics")
        });
    let mut lists = 0;
    let plain = members.iter().all(|member| match &member.value.data {
        Data::Text(text) if method => ["topic", "method", "since"].iter().any(|name| is(member, name)) && is_name(text),
        Data::Number(_) => method && is(member, "count"),
        Data::List(_) | Data::Map(_) => {
            lists += 1;
            let believed = method || ["topics", "messages", "data"].iter().any(|name| is(member, name));
            believed && is_list_of_names(&member.value, of_topics)
        }
        _ => false,
    });
    plain && (method || lists > 0)
}

fn is_list_of_names(node: &Node<'_>, of_topics: bool) -> bool {
    match &node.data {
        Data::List(items) => items.iter().all(|item| names_a_topic(item, of_topics)),
        // `{"data":{"topics":[…]}}`
        Data::Map(members) if of_topics => {
            members.iter().all(|member| matches!(member.value.data, Data::List(_)) && is_list_of_names(&member.value, true))
        }
        _ => false,
    }
}

/// The entries of a member that may hold messages.
fn messages_in<'n, 'a>(node: &'n Node<'a>) -> Option<&'n [Node<'a>]> {
    match &node.data {
        Data::List(items) => Some(items),
        Data::Map(_) if is_message(node) => Some(std::slice::from_ref(node)),
        _ => None,
    }
}

fn holds_a_message(node: &Node<'_>) -> bool {
    messages_in(node).is_some_and(|items| items.iter().any(is_message))
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

/// An entry of a list of topics: a name, or an object with one and at most what describes a topic. Anything more may be an event.
fn names_a_topic(node: &Node<'_>, of_topics: bool) -> bool {
    match &node.data {
        Data::Text(name) => is_name(name),
        Data::Map(members) => {
            let small = members.iter().all(|member| {
                let described = BESIDE_A_NAME.iter().any(|name| name.eq_ignore_ascii_case(&member.name));
                described && !matches!(member.value.data, Data::List(_) | Data::Map(_))
            });
            let topic = member(members, "topic");
            let name = member(members, "name").or(topic).and_then(text);
            small && (of_topics || topic.is_none()) && name.is_some_and(is_name)
        }
        _ => false,
    }
}

/// A topic's or a method's name, or a stamp: never a sentence.
fn is_name(text: &str) -> bool {
    (1..=100).contains(&text.len()) && text.chars().all(|c| c.is_alphanumeric() || "_-.:/+".contains(c))
}
