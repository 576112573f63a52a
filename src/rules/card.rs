//! The card: from a rule file's literal `RULE` to a `model::card::Card` and what only evaluation needs.

use super::{
    codes,
    condition::Condition,
    diagnostic::Diagnostic,
    fields::{Step, TopicFields, steps},
    literal::{Entry, Literal, Node, Place},
    set::Declared,
    source::{Source, did_you_mean},
    subject::Subject,
};
use crate::model::{
    card::{Card, Header, Quiet, Stage},
    hash::Digest,
    names::{RuleId, TopicName},
    severity::Severity,
    time::Span,
    topic::{self, Field},
    value::Value,
};

/// Every entry of a card.
const ENTRIES: &[&str] = &[
    "id",
    "title",
    "on",
    "where",
    "severity",
    "send_to",
    "quiet",
    "stage",
    "masked_subject",
    "subject",
    "template",
    "personal",
    "owner",
    "review_by",
    "basis",
    "settings",
];

/// Entries that a later version has.
const LATER: &[&str] = &["count", "expect"];

/// What a card gives.
#[derive(Clone, Debug)]
pub struct CardParts {
    pub card: Card,
    pub condition: Condition,
    pub subject: Option<Subject>,
    pub masked_subject: Option<Subject>,
    pub settings: Value,
}

/// Reads a card. Adds every finding to `out`; answers nothing where an error is among them.
pub fn read(
    source: Source<'_>,
    literal: &Literal,
    header: Header,
    hash: Digest,
    declared: &Declared,
    out: &mut Vec<Diagnostic>,
) -> Option<CardParts> {
    let before = out.len();
    let mut reader = Reader { source, out };
    if !matches!(literal.node, Node::Map(_)) {
        reader.wrong(literal, "the card is a map", "const RULE = #{ id: …, title: …, on: […], severity: …, send_to: […] };");
        return None;
    }
    reader.known_entries(literal, ENTRIES, LATER, "the card");
    let id = reader.required(literal, "id").and_then(|entry| reader.id(entry));
    let title = reader.required(literal, "title").and_then(|entry| reader.line(entry));
    let on = reader.required(literal, "on").map(|entry| reader.topics(entry, declared)).unwrap_or_default();
    let severity = reader.required(literal, "severity").and_then(|entry| reader.severity(&entry.value));
    let send_to = reader.required(literal, "send_to").map(|entry| reader.recipients(&entry.value, declared)).unwrap_or_default();
    for (name, what) in LATER.iter().zip(["counting within a window", "waiting for what fails to happen"]) {
        if let Some(entry) = literal.get(name) {
            reader.later(entry.place, &format!("`{name}`, {what}, comes with a later version of redflag"));
        }
    }
    let fields = TopicFields::new(on.iter().map(TopicName::as_str), declared);
    let checked = !on.is_empty();
    let condition = match literal.get("where") {
        Some(entry) if checked => reader.condition(entry, &fields),
        _ => Condition::always(),
    };
    let quiet = literal.get("quiet").and_then(|entry| reader.quiet(entry, &fields, checked));
    let subject = literal.get("subject").and_then(|entry| reader.subject(entry, &fields, checked));
    let masked_subject = literal.get("masked_subject").and_then(|entry| reader.subject(entry, &fields, checked));
    let stage = literal.get("stage").and_then(|entry| {
        let names = Stage::ALL.map(Stage::as_str);
        let at = reader.choice(&entry.value, "stage", &names)?;
        Some(Stage::ALL[at])
    });
    let personal = literal.get("personal").map(|entry| reader.field_list("personal", &entry.value, &fields, checked));
    if let (Some(entry), Some(subject)) = (literal.get("masked_subject"), &masked_subject) {
        reader.masked(entry, subject, &on, personal.as_deref());
    }
    let template = literal.get("template").and_then(|entry| reader.template(entry));
    let owner = literal.get("owner").and_then(|entry| reader.line(entry));
    let basis = literal.get("basis").and_then(|entry| reader.line(entry));
    let review_by = literal.get("review_by").and_then(|entry| reader.date(entry));
    let settings = literal.get("settings").map_or_else(
        || Value::Map(crate::model::value::Map::new()),
        |entry| {
            if !matches!(entry.value.node, Node::Map(_)) {
                reader.wrong(&entry.value, "`settings` is a map of knobs", "settings: #{ limit: 3 }");
            }
            entry.value.to_value()
        },
    );

    if reader.out[before..].iter().any(Diagnostic::is_error) {
        return None;
    }
    let card = Card {
        id: RuleId::new(id?),
        title: title?,
        on,
        severity: severity?,
        send_to,
        quiet,
        stage: stage.unwrap_or_default(),
        template: template.unwrap_or_else(|| "alert".to_owned()),
        personal,
        owner,
        review_by,
        basis,
        header,
        file: source.file.to_owned(),
        hash,
    };
    Some(CardParts { card, condition, subject, masked_subject, settings })
}

/// An unknown field in `where` with its topic, as everywhere else; one that another topic of the rule has gets its own advice.
fn unknown_in_where(finding: Diagnostic, fields: &TopicFields<'_>) -> Diagnostic {
    let path =
        finding.message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()).unwrap_or_default().to_owned();
    let Some(missing) = fields.missing(&steps(&path)).filter(|_| finding.code == codes::UNKNOWN_FIELD && !path.is_empty()) else {
        return finding;
    };
    let finding = Diagnostic { message: format!("unknown field `{path}` on topic {}", missing.topic), ..finding };
    if missing.elsewhere {
        return finding
            .label("other topics of this rule have it, this one has not")
            .help("write one rule for each topic, or ask in `fn when`");
    }
    if missing.proposal.is_none() { finding.label("no such field") } else { finding }
}

/// The `id` and its place, for the check that no two files share one.
#[must_use]
pub fn id_place(literal: &Literal) -> Place {
    literal.get("id").map_or(literal.place, |entry| entry.value.place)
}

/// Reads typed entries off a literal and says what is wrong with them, in a rule author's words.
pub struct Reader<'s, 'o> {
    pub source: Source<'s>,
    pub out: &'o mut Vec<Diagnostic>,
}

impl Reader<'_, '_> {
    pub fn error(&mut self, code: &'static str, place: Place, message: impl Into<String>, label: impl Into<String>) {
        self.out.push(self.source.error(code, place, message).label(label));
    }

    /// A value of the wrong type; `example` shows a right line.
    pub fn wrong(&mut self, literal: &Literal, message: &str, example: &str) {
        let finding = self.source.error(codes::WRONG_VALUE, literal.place, message).label(format!("this is {}", literal.kind()));
        self.out.push(finding.help(format!("write it like this: {example}")));
    }

    pub fn later(&mut self, place: Place, message: &str) {
        let finding = self.source.error(codes::LATER, place, message).label("not yet");
        self.out.push(finding.help("until then, a rule sees one event at a time"));
    }

    /// Refuses entries that are neither among `names` nor among `unlisted`, which are not proposed.
    pub fn known_entries(&mut self, literal: &Literal, names: &[&str], unlisted: &[&str], of: &str) {
        let Node::Map(entries) = &literal.node else { return };
        for entry in entries {
            if !names.iter().chain(unlisted).any(|name| *name == entry.name) {
                let label = did_you_mean(&entry.name, names.iter().copied(), "not known here");
                let finding = self.source.error(codes::UNKNOWN_ENTRY, entry.place, format!("{of} has no entry `{}`", entry.name));
                self.out.push(finding.label(label).help(format!("it has: {}", names.join(", "))));
            }
        }
    }

    pub fn required<'l>(&mut self, literal: &'l Literal, name: &str) -> Option<&'l Entry> {
        let entry = literal.get(name);
        if entry.is_none() {
            self.error(codes::ENTRY_MISSING, literal.place, format!("the card lacks `{name}`"), format!("add `{name}: …` here"));
        }
        entry
    }

    pub fn text(&mut self, name: &str, literal: &Literal) -> Option<String> {
        if let Node::Text(text) = &literal.node {
            return Some(text.clone());
        }
        self.wrong(literal, &format!("`{name}` is a text"), &format!("{name}: \"…\""));
        None
    }

    /// A text of one line that says something.
    pub fn line(&mut self, entry: &Entry) -> Option<String> {
        let text = self.text(&entry.name, &entry.value)?;
        if text.trim().is_empty() || text.contains(['\n', '\r']) {
            self.error(
                codes::WRONG_VALUE,
                entry.value.place,
                format!("`{}` is one line of text", entry.name),
                "empty, or more than one line",
            );
            return None;
        }
        Some(text.trim().to_owned())
    }

    /// A list of texts with their places.
    pub fn texts(&mut self, name: &str, literal: &Literal) -> Vec<(String, Place)> {
        let example = format!("{name}: [\"…\", \"…\"]");
        let Node::List(items) = &literal.node else {
            self.wrong(literal, &format!("`{name}` is a list of texts"), &example);
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items {
            if let Node::Text(text) = &item.node {
                texts.push((text.clone(), item.place));
            } else {
                self.wrong(item, &format!("`{name}` is a list of texts"), &example);
            }
        }
        texts
    }

    pub fn span(&mut self, name: &str, literal: &Literal) -> Option<Span> {
        let example = format!("{name}: \"24h\"");
        let Node::Text(text) = &literal.node else {
            self.wrong(literal, &format!("`{name}` is a length of time: a whole number and a unit"), &example);
            return None;
        };
        match text.parse::<Span>() {
            Ok(span) => Some(span),
            Err(error) => {
                self.error(codes::WRONG_VALUE, literal.place, error.to_string(), "ms, s, m, h and d are the units");
                None
            }
        }
    }

    /// The index of one of the names.
    pub fn choice(&mut self, literal: &Literal, name: &str, names: &[&str]) -> Option<usize> {
        let text = self.text(name, literal)?;
        let found = names.iter().position(|known| *known == text);
        if found.is_none() {
            let label = did_you_mean(&text, names.iter().copied(), "none of them");
            let finding = self.source.error(codes::WRONG_VALUE, literal.place, format!("`{text}` is no {name}")).label(label);
            self.out.push(finding.help(format!("{name} is one of {}", names.join(", "))));
        }
        found
    }

    pub fn severity(&mut self, literal: &Literal) -> Option<Severity> {
        self.choice(literal, "severity", &Severity::ALL.map(Severity::as_str)).map(|at| Severity::ALL[at])
    }

    fn id(&mut self, entry: &Entry) -> Option<String> {
        let text = self.line(entry)?;
        let fits = text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if !fits {
            let message = format!("`{text}` is no id: letters, digits, `-`, `_` and `.`, at most 64");
            self.error(codes::WRONG_VALUE, entry.value.place, message, "such as \"KYC-012\"");
        }
        fits.then_some(text)
    }

    fn template(&mut self, entry: &Entry) -> Option<String> {
        let text = self.line(entry)?;
        let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        if !fits {
            let message = format!("`{text}` is no name of a template set");
            self.error(codes::WRONG_VALUE, entry.value.place, message, "letters, digits, `-` and `_`");
        }
        fits.then_some(text)
    }

    fn date(&mut self, entry: &Entry) -> Option<String> {
        let text = self.text(&entry.name, &entry.value)?;
        if text.len() != 10 || chrono::NaiveDate::parse_from_str(&text, "%Y-%m-%d").is_err() {
            let message = format!("`{text}` is no date");
            self.error(codes::WRONG_VALUE, entry.value.place, message, "year-month-day, such as \"2027-03-31\"");
            return None;
        }
        Some(text)
    }

    fn topics(&mut self, entry: &Entry, declared: &Declared) -> Vec<TopicName> {
        let before = self.out.len();
        let mut topics: Vec<TopicName> = Vec::new();
        for (name, place) in self.texts("on", &entry.value) {
            let canonical = topic::find(&name).map(|topic| topic.name).or_else(|| {
                declared
                    .topics
                    .iter()
                    .map(String::as_str)
                    .chain(declared.fields.keys().map(String::as_str))
                    .find(|known| *known == name)
            });
            let Some(canonical) = canonical else {
                let known = topic::KNOWN.iter().map(|topic| topic.name).chain(declared.topics.iter().map(String::as_str));
                let label = did_you_mean(&name, known, "the feed never sends it");
                let finding = self.source.error(codes::UNKNOWN_TOPIC, place, format!("unknown topic `{name}`")).label(label);
                self.out.push(
                    finding.help("a topic beyond the feed's documentation is declared in the configuration, with its fields"),
                );
                continue;
            };
            if topics.iter().any(|topic| topic.as_str() == canonical) {
                self.error(codes::WRONG_VALUE, place, format!("topic `{name}` stands twice in `on`"), "delete one of them");
            } else {
                topics.push(TopicName::new(canonical));
            }
        }
        if topics.is_empty() && self.out.len() == before {
            self.error(codes::WRONG_VALUE, entry.value.place, "`on` names no topic", "name at least one");
        }
        topics
    }

    pub fn recipients(&mut self, literal: &Literal, declared: &Declared) -> Vec<String> {
        let texts = self.texts("send_to", literal);
        if texts.is_empty() && matches!(&literal.node, Node::List(items) if items.is_empty()) {
            self.error(codes::WRONG_VALUE, literal.place, "`send_to` names nobody", "name at least one channel or group");
        }
        for (name, place) in &texts {
            if let Some(label) = unknown_recipient(name, declared) {
                self.error(
                    codes::UNKNOWN_RECIPIENT,
                    *place,
                    format!("`{name}` is neither a channel nor a group of the configuration"),
                    label,
                );
            }
        }
        texts.into_iter().map(|(name, _)| name).collect()
    }

    fn condition(&mut self, entry: &Entry, fields: &TopicFields<'_>) -> Condition {
        if !matches!(entry.value.node, Node::Map(_)) {
            self.wrong(&entry.value, "`where` is a map of fields and what they must be", "where: #{ status: \"failed\" }");
            return Condition::always();
        }
        let before = self.out.len();
        self.secrets(&entry.value, fields);
        match Condition::parse(&entry.value, self.source.file, fields) {
            Ok(condition) => condition,
            Err(findings) => {
                // A secret is told as such, not as an unknown field.
                if self.out.len() == before {
                    self.out.extend(findings.into_iter().map(|finding| unknown_in_where(finding, fields)));
                }
                Condition::always()
            }
        }
    }

    fn secrets(&mut self, literal: &Literal, fields: &TopicFields<'_>) {
        let Node::Map(entries) = &literal.node else { return };
        for entry in entries {
            if let (true, Node::List(items)) = (entry.name == "any", &entry.value.node) {
                for item in items {
                    self.secrets(item, fields);
                }
            } else if fields.is_secret(&steps(&entry.name)) {
                self.out.push(secret(self.source, &entry.name, entry.place));
            }
        }
    }

    /// Checks a field path written as a text; `place` is the text's.
    fn field(&mut self, name: &str, place: Place, fields: &TopicFields<'_>) {
        let steps = steps(name);
        if fields.is_secret(&steps) {
            self.out.push(secret(self.source, name, place));
        } else if let Some(missing) = fields.missing(&steps) {
            let message = format!("unknown field `{}` on topic {}", missing.name, missing.topic);
            let label = missing.proposal.map_or_else(
                || {
                    if missing.elsewhere { "other topics of this rule have it, this one has not" } else { "no such field" }
                        .to_owned()
                },
                |name| format!("did you mean `{name}`?"),
            );
            self.error(codes::UNKNOWN_FIELD, place, message, label);
        }
    }

    fn field_list(&mut self, name: &str, literal: &Literal, fields: &TopicFields<'_>, checked: bool) -> Vec<String> {
        let texts = self.texts(name, literal);
        for (name, place) in &texts {
            if super::condition::Path::parse(name).is_err() {
                self.error(codes::WRONG_VALUE, *place, format!("`{name}` is no path of a field"), "such as \"personKey\"");
            } else if checked {
                self.field(name, *place, fields);
            }
        }
        texts.into_iter().map(|(name, _)| name).collect()
    }

    fn quiet(&mut self, entry: &Entry, fields: &TopicFields<'_>, checked: bool) -> Option<Quiet> {
        const EXAMPLE: &str = "quiet: #{ same: [\"personKey\"], within: \"24h\" }";
        let table = &entry.value;
        if !matches!(table.node, Node::Map(_)) {
            self.wrong(table, "`quiet` is a map with `same` and `within`", EXAMPLE);
            return None;
        }
        self.known_entries(table, &["same", "within"], &[], "`quiet`");
        for name in ["same", "within"] {
            if table.get(name).is_none() {
                let finding = self.source.error(codes::ENTRY_MISSING, table.place, format!("`quiet` lacks `{name}`"));
                self.out.push(finding.label(format!("add `{name}: …` here")).help(format!("write it like this: {EXAMPLE}")));
            }
        }
        let same = self.field_list("same", &table.get("same")?.value, fields, checked);
        if same.is_empty() && matches!(&table.get("same")?.value.node, Node::List(items) if items.is_empty()) {
            self.error(
                codes::WRONG_VALUE,
                table.get("same")?.value.place,
                "`same` names no field",
                "name what repeats have in common",
            );
        }
        let within = table.get("within")?;
        let span = self.span("within", &within.value)?;
        if span.get().is_zero() {
            self.error(codes::WRONG_VALUE, within.value.place, "a quiet period needs some time", "more than 0");
        }
        Some(Quiet { same, within: span })
    }

    /// A masked subject goes to channels without clearance: nothing personal may stand in it.
    fn masked(&mut self, entry: &Entry, subject: &Subject, on: &[TopicName], personal: Option<&[String]>) {
        for placeholder in subject.placeholders() {
            let path = placeholder.path.to_string();
            if on.iter().any(|name| is_personal(name, &path, personal)) {
                let finding = self.source.error(
                    codes::MASKED_SHOWS_PERSONAL,
                    within(entry, placeholder.offset),
                    format!("`{path}` is personal, and a masked subject goes to channels that are not cleared"),
                );
                self.out.push(finding.label("name a key, or no field at all").help("cleared readers see `subject`"));
            }
        }
    }

    fn subject(&mut self, entry: &Entry, fields: &TopicFields<'_>, checked: bool) -> Option<Subject> {
        let text = self.line(entry)?;
        let within = |offset: usize| within(entry, offset);
        let subject = match Subject::parse(&text) {
            Ok(subject) => subject,
            Err(error) => {
                let finding = self.source.error(codes::TEMPLATE, within(error.offset), error.message);
                self.out.push(
                    finding
                        .label("here")
                        .help("fields stand as {field} or {field|text when absent}; a brace itself is doubled: {{"),
                );
                return None;
            }
        };
        for placeholder in subject.placeholders() {
            let (name, place) = (placeholder.path.to_string(), within(placeholder.offset));
            if name == "count" || name == "previous" {
                self.later(place, &format!("`{{{name}}}` in a subject comes with a later version of redflag"));
                continue;
            }
            if !checked {
                continue;
            }
            let elsewhere = fields.missing(&steps(&name)).is_some_and(|missing| missing.elsewhere);
            if elsewhere && placeholder.otherwise.is_some() {
                continue;
            }
            let before = self.out.len();
            self.field(&name, place, fields);
            if elsewhere && let Some(finding) = self.out.get_mut(before) {
                finding.help = Some(format!("say what to show there: {{{name}|…}}"));
            }
        }
        Some(subject)
    }
}

/// A place inside an entry's quotes. Escapes before it would shift the underline, and a subject hardly has any.
fn within(entry: &Entry, offset: usize) -> Place {
    Place { line: entry.value.place.line, column: entry.value.place.column + 1 + offset }
}

/// Whether a path of this topic leads to a personal field: by the card's own list if it has one, else by the topic's.
fn is_personal(topic: &str, path: &str, personal: Option<&[String]>) -> bool {
    let mut fields = topic::find(topic).map_or(&[][..], |topic| topic.fields);
    for step in steps(path) {
        let Step::Name(name) = step else { continue };
        let field = fields.iter().find(|field| field.name == name);
        let listed = personal.map(|names| names.iter().any(|personal| personal == name));
        if listed.unwrap_or_else(|| field.is_some_and(|field| field.personal)) {
            return true;
        }
        fields = field.map_or(&[][..], Field::entries);
    }
    false
}

/// "did you mean", if that is nobody the configuration knows.
#[must_use]
pub fn unknown_recipient(name: &str, declared: &Declared) -> Option<String> {
    let known = declared.recipients.as_ref()?;
    (!known.iter().any(|recipient| recipient == name)).then(|| {
        let otherwise = format!("the configuration has {}", super::source::enumerate(known.iter().map(String::as_str)));
        did_you_mean(name, known.iter().map(String::as_str), &otherwise)
    })
}

/// A rule that names a secret.
#[must_use]
pub fn secret(source: Source<'_>, name: &str, place: Place) -> Diagnostic {
    source
        .error(codes::SECRET_FIELD, place, format!("`{name}` is a secret: no rule reads it and no message shows it"))
        .label("redflag keeps a redaction mark in its place")
        .help("whoever holds the link could identify in the person's stead")
}

/// Reads the header: the file's `//!` text.
#[must_use]
pub fn header(doc: &str) -> Header {
    let mut header = Header::default();
    let mut what: Vec<String> = Vec::new();
    let mut part: Option<&str> = None;
    let (mut why, mut act, mut noise) = (Vec::new(), Vec::new(), Vec::new());
    for line in doc.lines() {
        let line = line.trim_start().strip_prefix("//!").unwrap_or(line).trim();
        let named = ["Why:", "Do:", "Noise:"].into_iter().find_map(|name| Some((name, line.strip_prefix(name)?)));
        let text = if let Some((name, rest)) = named {
            part = Some(name);
            rest.trim()
        } else {
            line
        };
        match part {
            None => &mut what,
            Some("Why:") => &mut why,
            Some("Do:") => &mut act,
            Some(_) => &mut noise,
        }
        .push(text.to_owned());
    }
    let joined = |lines: Vec<String>| {
        Some(lines.join(" ").split_whitespace().collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty())
    };
    header.what = joined(what).unwrap_or_default();
    header.why = joined(why);
    header.act = joined(act);
    header.noise = joined(noise);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_by_its_paragraphs() {
        let doc = "//! Nationality differs.\n//! Twice.\n//!\n//! Why:   it changes\n//!        the screening.\n//! Do: compare.\n//! Noise: \"lb\".";
        let header = header(doc);
        assert_eq!(header.what, "Nationality differs. Twice.");
        assert_eq!(header.why.as_deref(), Some("it changes the screening."));
        assert_eq!(header.act.as_deref(), Some("compare."));
        assert_eq!(header.noise.as_deref(), Some("\"lb\"."));
        assert_eq!(super::header(""), Header::default());
    }
}
