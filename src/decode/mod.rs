//! 2 · Bytes to canonical events; what can't be decoded is quarantined with its bytes.
//!
//! One strict parse of a frame ([`json`]), a look at its outer shape ([`shape`]), then every entry for itself: canonical names and
//! types ([`canonical`], [`attachments`], [`numbers`]), own time ([`times`]), hash ([`fingerprint`]). The decoder owns no state: the same bytes give the same
//! elements. Each entry of a frame ends as an element or in quarantine, and one bad entry never takes the others down.

mod attachments;
mod canonical;
mod fingerprint;
mod json;
mod numbers;
mod shape;
mod times;

#[cfg(test)]
mod tests;

use chrono_tz::Tz;

use self::{
    canonical::Canonical,
    json::{Data, Fault, Node},
    shape::{Entries, Shape},
};
use crate::model::{
    event::{Batch, Element, Frame, Origin, QuarantineReason, Quarantined},
    hash::Digest,
    ids::Ids,
    names::{FeedName, TopicName},
    topic::{IDENT_RESULT, IDENT_RESULT_KYC, KNOWN, Topic},
    value::{Map, Text, Value},
};

/// This many bad entries of one frame are set aside one by one; the others together, as one array.
const SINGLE_QUARANTINES: usize = 100;

/// What the members beside the entries of a message may cost when every entry keeps them, in bytes.
const ENVELOPE_LIMIT: usize = 16 << 20;

/// What every word for success becomes, so that rules need not know the provider's words. `raw` keeps the word that was sent.
pub const SUCCESS: &str = "success";

/// The settings of a feed that decide how its bytes are read.
#[derive(Clone, Debug)]
pub struct Options {
    /// The zone of stamps without one; None: their moment stays unknown.
    pub naive_zone: Option<Tz>,
    /// Longer texts (bytes) in unknown members of identResultKYC are attachments.
    pub attachment_limit: usize,
    /// `status` words of an identification's result that mean success: rules see the one word [`SUCCESS`].
    pub success_words: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { naive_zone: None, attachment_limit: 4096, success_words: vec![SUCCESS.to_owned()] }
    }
}

/// Reads the frames of one feed.
#[derive(Clone, Debug)]
pub struct Decoder {
    feed: FeedName,
    options: Options,
    /// In the order of [`KNOWN`]: an event of a known topic allocates no name.
    topics: [TopicName; KNOWN.len()],
}

/// What a frame held.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    pub elements: Vec<Element>,
    pub quarantined: Vec<Quarantined>,
    /// How many entries the frame held: `elements` and what is in `quarantined`, whose last item may stand for several.
    pub entries: u32,
    /// The frame was an array of messages, or an object with one: a reply, or the feed's array form.
    pub wrapped: bool,
    /// The frame answers a method of ours and holds no events.
    pub method_reply: bool,
}

impl Decoder {
    #[must_use]
    pub fn new(feed: FeedName, options: Options) -> Self {
        Self { feed, options, topics: KNOWN.map(|topic| TopicName::new(topic.name)) }
    }

    /// Reads one frame. Never fails: what can't be read is in [`Decoded::quarantined`].
    pub fn decode(&self, frame: &Frame, ids: &mut Ids) -> Decoded {
        let mut work =
            Work { decoder: self, frame, text: "", faults: &[], places: Vec::new(), folded: None, out: Decoded::default() };
        let text = match std::str::from_utf8(&frame.bytes) {
            Ok(text) => text,
            Err(error) => {
                let detail = format!("no UTF-8 from byte {} on", error.valid_up_to());
                work.refuse(QuarantineReason::InvalidUtf8, detail, frame.bytes.clone());
                return work.finish(ids);
            }
        };
        match json::parse(text) {
            Err(refusal) => work.refuse(refusal.reason, refusal.detail, frame.bytes.clone()),
            Ok(parsed) => {
                work.text = text;
                work.faults = &parsed.faults;
                work.root(&parsed.root);
                return work.finish(ids);
            }
        }
        work.finish(ids)
    }

    fn one_word_for_success(&self, topic: Option<&'static Topic>, body: &mut Map) {
        if topic != Some(&IDENT_RESULT) && topic != Some(&IDENT_RESULT_KYC) {
            return;
        }
        if let Some(Value::Text(status)) = body.get_mut("status")
            && status != SUCCESS
            && self.options.success_words.iter().any(|word| word == status)
        {
            *status = Text::const_new(SUCCESS);
        }
    }

    fn topic_name(&self, topic: &'static Topic) -> TopicName {
        let known = KNOWN.iter().position(|known| known.name == topic.name);
        known.map_or_else(|| TopicName::new(topic.name), |index| self.topics[index].clone())
    }
}

/// One frame under way.
struct Work<'w> {
    decoder: &'w Decoder,
    frame: &'w Frame,
    text: &'w str,
    faults: &'w [Fault],
    /// The place of each of `out.elements` among the frame's entries.
    places: Vec<u32>,
    /// Bad entries beyond [`SINGLE_QUARANTINES`], as an array that is still open, and their number.
    folded: Option<(Vec<u8>, usize)>,
    out: Decoded,
}

/// One message: its topic and the object that carries it.
struct Message<'n, 'a> {
    node: &'n Node<'a>,
    members: &'n [json::Member<'a>],
    spelled: &'n str,
}

impl<'w> Work<'w> {
    fn root(&mut self, root: &Node<'w>) {
        match shape::of(root) {
            Shape::Message => self.message(root),
            Shape::Messages(messages) => {
                self.out.wrapped = true;
                if let Some(fault) = json::outside(self.faults, root, messages) {
                    return self.refuse(fault.reason, fault.detail(), self.frame.bytes.clone());
                }
                for message in messages {
                    self.message(message);
                }
            }
            Shape::Reply => match json::inside(self.faults, root) {
                Some(fault) => self.refuse(fault.reason, fault.detail(), self.frame.bytes.clone()),
                None => self.out.method_reply = true,
            },
            Shape::Refused(reason, detail) => self.refuse(reason, detail.to_owned(), self.frame.bytes.clone()),
        }
    }

    fn message(&mut self, node: &Node<'w>) {
        let message = match shape::message(node) {
            Ok((members, spelled)) => Message { node, members, spelled },
            Err((reason, detail)) => return self.refuse_node(node, reason, detail.to_owned()),
        };
        let Some(topic) = shape::known_topic(message.spelled) else { return self.whole(&message, None) };
        match shape::entries(topic, message.members) {
            Entries::Flat => self.whole(&message, Some(topic)),
            Entries::Missing(detail) => self.refuse_node(node, QuarantineReason::WrongShape, detail),
            Entries::Member { index, entries } => self.split(&message, topic, index, entries),
        }
    }

    /// The message is the event.
    fn whole(&mut self, message: &Message<'_, 'w>, topic: Option<&'static Topic>) {
        if let Some(fault) = json::inside(self.faults, message.node) {
            return self.refuse_node(message.node, fault.reason, fault.detail());
        }
        let mut canonical = Canonical::new(topic, self.decoder.options.attachment_limit);
        match canonical.entry(message.members, true) {
            Err(detail) => self.refuse_node(message.node, QuarantineReason::WrongShape, detail),
            Ok(mut body) => {
                self.decoder.one_word_for_success(topic, &mut body);
                let raw = canonical.redact(self.text, message.node);
                let name = topic.map_or(message.spelled, |topic| topic.name);
                let hash = fingerprint::of(name, message.members, true, &[]);
                self.accept(message, topic, canonical, body, raw, hash);
            }
        }
    }

    /// Every entry of the message's list is an event.
    fn split(&mut self, message: &Message<'_, 'w>, topic: &'static Topic, index: usize, entries: &[Node<'w>]) {
        if let Some(fault) = json::outside(self.faults, message.node, entries) {
            return self.refuse_node(message.node, fault.reason, fault.detail());
        }
        let beside: Vec<&json::Member<'w>> = message
            .members
            .iter()
            .enumerate()
            .filter(|(at, member)| *at != index && !member.name.eq_ignore_ascii_case("topic"))
            .map(|(_, member)| member)
            .collect();
        let cost: usize = beside.iter().map(|member| member.name.len() + member.value.len()).sum();
        if cost.saturating_mul(entries.len()) > ENVELOPE_LIMIT {
            let detail = format!("{cost} bytes beside {} entries, which would each keep them", entries.len());
            return self.refuse_node(message.node, QuarantineReason::TooLarge, detail);
        }
        for entry in entries {
            if let Err((reason, detail)) = self.entry(message, topic, entry, &beside) {
                let bytes = alone(message, topic, &beside, |node| self.text[node.start..node.end].to_owned(), entry);
                self.refuse(reason, detail, bytes.into_bytes());
            }
        }
    }

    fn entry(
        &mut self,
        message: &Message<'_, 'w>,
        topic: &'static Topic,
        entry: &Node<'w>,
        beside: &[&json::Member<'w>],
    ) -> Result<(), (QuarantineReason, String)> {
        if let Some(fault) = json::inside(self.faults, entry) {
            return Err((fault.reason, fault.detail()));
        }
        let wrong = |detail| (QuarantineReason::WrongShape, detail);
        let Data::Map(members) = &entry.data else { return Err(wrong("an entry is no object".to_owned())) };
        let mut canonical = Canonical::new(Some(topic), self.decoder.options.attachment_limit);
        let mut body = canonical.entry(members, false).map_err(wrong)?;
        canonical.beside(&mut body, beside);
        let raw = if beside.is_empty() {
            canonical.redact(self.text, entry)
        } else {
            alone(message, topic, beside, |node| canonical.redact(self.text, node), entry)
        };
        let hash = fingerprint::of(topic.name, members, false, beside);
        self.accept(message, Some(topic), canonical, body, raw, hash);
        Ok(())
    }

    fn accept(
        &mut self,
        message: &Message<'_, 'w>,
        topic: Option<&'static Topic>,
        canonical: Canonical,
        body: Map,
        raw: String,
        hash: Digest,
    ) {
        let mut warnings = canonical.warnings;
        let own = topic.and_then(|topic| topic.own_time).and_then(|field| body.get(field)).and_then(Value::as_str);
        let own = own.filter(|text| !text.trim().is_empty()).map(|text| times::read(text, self.decoder.options.naive_zone));
        let own = own.unwrap_or_default();
        warnings.extend(own.warning.map(str::to_owned));
        let name = topic.map_or_else(|| TopicName::new(message.spelled), |topic| self.decoder.topic_name(topic));
        self.places.push(self.out.entries);
        self.out.entries += 1;
        self.out.elements.push(Element {
            feed: self.decoder.feed.clone(),
            spelled: (*name != *message.spelled).then(|| message.spelled.to_owned()),
            topic: name,
            origin: self.frame.origin,
            received_at: self.frame.received_at,
            own_time: own.at,
            zone_assumed: own.zone_assumed,
            late: matches!(self.frame.origin, Origin::BackFill | Origin::Rest),
            maybe_repeat: false,
            batch: None,
            body,
            raw,
            hash,
            warnings,
        });
    }

    fn refuse_node(&mut self, node: &Node<'_>, reason: QuarantineReason, detail: String) {
        // A message that is the whole frame is kept as it came, with whatever surrounds it.
        let bytes = if self.out.wrapped { self.text.as_bytes()[node.start..node.end].to_vec() } else { self.frame.bytes.clone() };
        self.refuse(reason, detail, bytes);
    }

    fn refuse(&mut self, reason: QuarantineReason, detail: String, bytes: Vec<u8>) {
        self.out.entries += 1;
        if self.out.quarantined.len() < SINGLE_QUARANTINES {
            let item = self.quarantined(reason, detail, bytes);
            self.out.quarantined.push(item);
            return;
        }
        let (folded, count) = self.folded.get_or_insert_default();
        folded.push(if *count == 0 { b'[' } else { b',' });
        folded.extend_from_slice(&bytes);
        *count += 1;
    }

    fn quarantined(&self, reason: QuarantineReason, detail: String, bytes: Vec<u8>) -> Quarantined {
        Quarantined {
            feed: self.decoder.feed.clone(),
            received_at: self.frame.received_at,
            origin: self.frame.origin,
            reason,
            detail,
            size: bytes.len() as u64,
            digest: Digest::of(&bytes),
            bytes,
        }
    }

    fn finish(mut self, ids: &mut Ids) -> Decoded {
        if let Some((mut bytes, count)) = self.folded.take() {
            bytes.push(b']');
            let reason = self.out.quarantined.last().map_or(QuarantineReason::WrongShape, |last| last.reason);
            let item = self.quarantined(reason, format!("{count} further bad entries of the frame, as one array"), bytes);
            self.out.quarantined.push(item);
        }
        if self.out.entries > 1 && !self.out.elements.is_empty() {
            let id = ids.batch(self.frame.received_at);
            let size = self.out.entries;
            for (element, position) in self.out.elements.iter_mut().zip(self.places) {
                element.batch = Some(Batch { id, position, size });
            }
        }
        self.out
    }
}

/// A message with this one entry and what stood beside its list: it can be decoded again on its own.
fn alone<'a>(
    message: &Message<'_, 'a>,
    topic: &'static Topic,
    beside: &[&json::Member<'a>],
    text: impl Fn(&Node<'a>) -> String,
    entry: &Node<'a>,
) -> String {
    let quoted = |name: &str| serde_json::Value::from(name).to_string();
    let mut out = format!("{{\"topic\":{}", quoted(message.spelled));
    for member in beside {
        out.extend([",", &quoted(&member.name), ":", &text(&member.value)]);
    }
    out.extend([",", &quoted(topic.entries.unwrap_or(topic.name)), ":[", &text(entry), "]}"]);
    out
}
