//! The `TESTS` of a rule file: what they say. Running them is the engine's part, because quiet periods, templates and recipients
//! belong to other stages.

use std::collections::BTreeMap;

use super::{
    card::Reader,
    codes,
    condition::Path,
    diagnostic::Diagnostic,
    fields::{TopicFields, steps as steps_of},
    literal::{Entry, Literal, Node, Place},
    set::Declared,
    source::{Source, did_you_mean, enumerate},
};
use crate::model::{
    names::TopicName,
    severity::Severity,
    time::Span,
    topic::{self, Kind},
    value::Value,
};

/// One test.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub place: Place,
    /// A shipped sample's name, a topic's, or a captured event's.
    pub like: Option<String>,
    pub set: Vec<(Path, Value)>,
    pub unset: Vec<Path>,
    /// In a test every list is empty unless named here.
    pub lists: BTreeMap<String, Vec<String>>,
    /// In the place of the card's; entries that are missing here keep the card's value.
    pub settings: Option<Value>,
    /// Empty: one event, at the start.
    pub feed: Vec<Step>,
    /// From the start.
    pub wait: Option<Span>,
    pub expect: Expect,
}

/// One event of a sequence.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its receive time, from the start.
    pub at: Span,
    pub like: Option<String>,
    pub set: Vec<(Path, Value)>,
    pub unset: Vec<Path>,
    pub late: bool,
    pub place: Place,
}

/// What a test expects.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    pub place: Place,
    /// How many alerts start a message.
    pub alerts: Option<u64>,
    /// When they do.
    pub at: Option<Vec<Span>>,
    pub severity: Option<Severity>,
    pub subject_has: Option<String>,
    pub sent_to: Option<Vec<String>>,
    pub body_has: Option<String>,
    pub body_lacks: Option<String>,
}

impl Case {
    /// Whether it wants an alert; none if it says nothing of it.
    #[must_use]
    pub fn alerts(&self) -> Option<bool> {
        self.expect.alerts.map(|count| count > 0).or_else(|| {
            let expect = &self.expect;
            let says = expect.severity.is_some()
                || expect.subject_has.is_some()
                || expect.sent_to.is_some()
                || expect.body_has.is_some();
            expect.at.as_ref().map(|at| !at.is_empty()).or(says.then_some(true))
        })
    }
}

/// Reads `TESTS`, adding every finding to `out`.
pub fn read(source: Source<'_>, literal: &Literal, out: &mut Vec<Diagnostic>) -> Vec<Case> {
    let mut reader = Reader { source, out };
    let Node::List(items) = &literal.node else {
        reader.wrong(
            literal,
            "`TESTS` is a list of tests",
            "const TESTS = [ #{ name: \"…\", like: \"…\", expect: #{ alerts: 1 } } ];",
        );
        return Vec::new();
    };
    let mut names: Vec<String> = Vec::new();
    let mut cases = Vec::new();
    for item in items {
        let Some(case) = reader.case(item) else { continue };
        if names.contains(&case.name) {
            let place = item.get("name").map_or(item.place, |entry| entry.value.place);
            reader.error(codes::WRONG_VALUE, place, format!("two tests are called `{}`", case.name), "give each its own name");
        }
        names.push(case.name.clone());
        cases.push(case);
    }
    cases
}

impl Reader<'_, '_> {
    fn case(&mut self, literal: &Literal) -> Option<Case> {
        if !matches!(literal.node, Node::Map(_)) {
            self.wrong(literal, "a test is a map", "#{ name: \"…\", like: \"…\", expect: #{ alerts: 1 } }");
            return None;
        }
        self.known_entries(
            literal,
            &["name", "like", "set", "unset", "lists", "settings", "feed", "wait", "expect"],
            &[],
            "a test",
        );
        let mut complete = true;
        for name in ["name", "expect"] {
            if literal.get(name).is_none() {
                let label = format!("add `{name}: …` here");
                self.error(codes::ENTRY_MISSING, literal.place, format!("the test lacks `{name}`"), label);
                complete = false;
            }
        }
        if literal.get("like").is_none() && literal.get("feed").is_none() {
            let message = "the test has no event: it needs `like` or `feed`";
            self.error(codes::ENTRY_MISSING, literal.place, message, "add `like: \"…\"`, a topic, here");
        }
        let common_like = literal.get("like").is_some();
        let name = literal.get("name").and_then(|entry| self.line(entry));
        let like = literal.get("like").and_then(|entry| self.line(entry));
        let set = self.set(literal);
        let unset = self.unset(literal);
        let lists = literal.get("lists").map(|entry| self.lists(entry)).unwrap_or_default();
        let settings = literal.get("settings").map(|entry| {
            if !matches!(entry.value.node, Node::Map(_)) {
                self.wrong(&entry.value, "`settings` is a map", "settings: #{ limit: 3 }");
            }
            entry.value.to_value()
        });
        let feed = literal.get("feed").map(|entry| self.feed(entry, common_like)).unwrap_or_default();
        let wait = literal.get("wait").and_then(|entry| self.span("wait", &entry.value));
        let expect = literal.get("expect").and_then(|entry| self.expect(entry));
        if !complete {
            return None;
        }
        Some(Case { name: name?, place: literal.place, like, set, unset, lists, settings, feed, wait, expect: expect? })
    }

    fn path(&mut self, text: &str, place: Place) -> Option<Path> {
        match Path::parse(text) {
            Ok(path) => Some(path),
            Err(message) => {
                self.error(codes::WRONG_VALUE, place, message, "a path such as \"mismatches[0].value\"");
                None
            }
        }
    }

    fn set(&mut self, literal: &Literal) -> Vec<(Path, Value)> {
        let Some(entry) = literal.get("set") else { return Vec::new() };
        let Node::Map(members) = &entry.value.node else {
            self.wrong(&entry.value, "`set` is a map of fields and their values", "set: #{ status: \"failed\" }");
            return Vec::new();
        };
        members.iter().filter_map(|member| Some((self.path(&member.name, member.place)?, member.value.to_value()))).collect()
    }

    fn unset(&mut self, literal: &Literal) -> Vec<Path> {
        let Some(entry) = literal.get("unset") else { return Vec::new() };
        self.texts("unset", &entry.value).into_iter().filter_map(|(text, place)| self.path(&text, place)).collect()
    }

    fn lists(&mut self, entry: &Entry) -> BTreeMap<String, Vec<String>> {
        let Node::Map(members) = &entry.value.node else {
            self.wrong(
                &entry.value,
                "`lists` is a map of list names and their entries",
                "lists: #{ high_risk_countries: [\"LB\"] }",
            );
            return BTreeMap::new();
        };
        members
            .iter()
            .map(|member| {
                let texts = self.texts(&member.name, &member.value);
                (member.name.clone(), texts.into_iter().map(|(text, _)| text).collect())
            })
            .collect()
    }

    fn feed(&mut self, entry: &Entry, common_like: bool) -> Vec<Step> {
        const EXAMPLE: &str = "feed: [ #{ at: \"0h\" }, #{ at: \"5h\" } ]";
        let Node::List(items) = &entry.value.node else {
            self.wrong(&entry.value, "`feed` is a list of events with their times", EXAMPLE);
            return Vec::new();
        };
        if items.is_empty() {
            self.error(codes::WRONG_VALUE, entry.value.place, "`feed` holds no event", "name at least one");
        }
        let mut steps = Vec::new();
        for item in items {
            if !matches!(item.node, Node::Map(_)) {
                self.wrong(item, "an event of `feed` is a map", EXAMPLE);
                continue;
            }
            self.known_entries(item, &["at", "like", "set", "unset", "late"], &[], "an event of `feed`");
            let Some(at) = item.get("at") else {
                self.error(codes::ENTRY_MISSING, item.place, "the event of `feed` lacks `at`", "add `at: \"0h\"` here");
                continue;
            };
            if !common_like && item.get("like").is_none() {
                self.error(codes::ENTRY_MISSING, item.place, "the event of `feed` lacks `like`", "add it here, or to the test");
            }
            let late = item.get("late").is_some_and(|entry| {
                if let Node::Bool(late) = entry.value.node {
                    return late;
                }
                self.wrong(&entry.value, "`late` is true or false", "late: true");
                false
            });
            let like = item.get("like").and_then(|entry| self.line(entry));
            let (set, unset) = (self.set(item), self.unset(item));
            if let Some(at) = self.span("at", &at.value) {
                steps.push(Step { at, like, set, unset, late, place: item.place });
            }
        }
        steps
    }

    fn expect(&mut self, entry: &Entry) -> Option<Expect> {
        const NAMES: &[&str] = &["alerts", "at", "severity", "subject_has", "sent_to", "body_has", "body_lacks"];
        let table = &entry.value;
        let Node::Map(members) = &table.node else {
            self.wrong(table, "`expect` is a map", "expect: #{ alerts: 1 }");
            return None;
        };
        self.known_entries(table, NAMES, &[], "`expect`");
        if members.is_empty() {
            self.error(codes::WRONG_VALUE, table.place, "`expect` expects nothing", "say `alerts: 1` or `alerts: 0`");
        }
        let text = |reader: &mut Self, name: &str| table.get(name).and_then(|entry| reader.text(name, &entry.value));
        let alerts = table.get("alerts").and_then(|entry| match entry.value.node {
            Node::Int(count) if count >= 0 => u64::try_from(count).ok(),
            _ => {
                self.wrong(&entry.value, "`alerts` is how many alerts start a message: 0, 1, 2, …", "alerts: 1");
                None
            }
        });
        let at = table.get("at").map(|entry| {
            let Node::List(items) = &entry.value.node else {
                self.wrong(&entry.value, "`at` is a list of times from the start", "at: [\"0h\", \"25h\"]");
                return Vec::new();
            };
            items.iter().filter_map(|item| self.span("at", item)).collect::<Vec<Span>>()
        });
        if let (Some(alerts), Some(at)) = (alerts, &at)
            && alerts != at.len() as u64
        {
            let message = format!("`alerts: {alerts}` and the {} times of `at` contradict each other", at.len());
            self.error(codes::NEVER_HOLDS, table.place, message, "the test can never pass");
        }
        if let (Some(0), Some(member)) = (
            alerts,
            members.iter().find(|member| ["severity", "subject_has", "sent_to", "body_has"].contains(&member.name.as_str())),
        ) {
            let message = format!("`alerts: 0` leaves nothing whose `{}` could be looked at", member.name);
            self.error(codes::NEVER_HOLDS, member.place, message, "the test can never pass");
        }
        let severity = table.get("severity").and_then(|entry| self.severity(&entry.value));
        let sent_to = table
            .get("sent_to")
            .map(|entry| self.texts("sent_to", &entry.value).into_iter().map(|(name, _)| name).collect::<Vec<String>>());
        Some(Expect {
            place: table.place,
            alerts,
            at,
            severity,
            subject_has: text(self, "subject_has"),
            sent_to,
            body_has: text(self, "body_has"),
            body_lacks: text(self, "body_lacks"),
        })
    }
}

/// What a test sets or unsets and its topic has not, or sets to something that the feed never brings there: such a test would prove nothing.
pub fn unfit_fields(source: Source<'_>, case: &Case, on: &[TopicName], declared: &Declared, out: &mut Vec<Diagnostic>) {
    let once = [(None, &case.set, &case.unset)];
    let steps = case.feed.iter().map(|step| (step.like.as_deref(), &step.set, &step.unset));
    for (like, set, unset) in once.into_iter().chain(steps) {
        let like = like.or(case.like.as_deref()).or_else(|| on.first().map(TopicName::as_str)).unwrap_or_default();
        let name = topic::find(like).map_or(like, |topic| topic.name);
        let fields = TopicFields::new([name], declared);
        for path in set.iter().map(|(path, _)| path).chain(unset) {
            let text = path.to_string();
            let Some(missing) = fields.missing(&steps_of(&text)) else { continue };
            let place = source.find_word(&missing.name, case.place).unwrap_or(case.place);
            let finding = source.error(codes::UNKNOWN_FIELD, place, format!("unknown field `{text}` on topic {}", missing.topic));
            let label = missing.proposal.map_or_else(|| "no such field".to_owned(), |name| format!("did you mean `{name}`?"));
            out.push(finding.label(label).help("a test that changes a field which does not exist proves nothing"));
        }
        for (path, value) in set {
            let text = path.to_string();
            let Some(field) = fields.field(&steps_of(&text)) else { continue };
            let Some((wanted, instead)) = unfit(field.kind, value) else { continue };
            let place = source.find_word(field.name, case.place).unwrap_or(case.place);
            let message = format!("`{text}` of topic {name} is {wanted}, and the test sets {}", value.json());
            let finding = source.error(codes::WRONG_VALUE, place, message).label(instead);
            out.push(
                finding
                    .help("a test on what the feed never brings proves nothing; redflag turns such values into the field's type"),
            );
        }
    }
}

/// What a field holds and how to write it, where a value is something else. Nothing, `()`, fits everywhere.
fn unfit(kind: Kind, value: &Value) -> Option<(&'static str, String)> {
    match (kind, value) {
        (_, Value::Null)
        | (Kind::Text, Value::Text(_))
        | (Kind::Number, Value::Int(_) | Value::Float(_))
        | (Kind::List(_), Value::List(_)) => None,
        (Kind::Text, Value::Int(_) | Value::Float(_) | Value::Bool(_)) => {
            Some(("a text", format!("write \"{}\"", value.display())))
        }
        (Kind::Text, _) => Some(("a text", "write a text".to_owned())),
        (Kind::Number, Value::Text(text)) if text.trim().parse::<i64>().is_ok() => {
            Some(("a number", format!("write {}", text.trim())))
        }
        (Kind::Number, _) => Some(("a number", "write a number".to_owned())),
        (Kind::List(_), _) => Some(("a list", "write a list: [ #{ … } ]".to_owned())),
    }
}

/// "did you mean" for a sample's name, for whoever runs the tests.
#[must_use]
pub fn unknown_sample(source: Source<'_>, case: &Case, name: &str, samples: &[&str]) -> Diagnostic {
    let place = source.find_word(name, case.place).unwrap_or(case.place);
    let label = did_you_mean(name, samples.iter().copied(), &format!("there are {}", enumerate(samples.iter().copied())));
    source.error(codes::TEST_FAILED, place, format!("there is no sample `{name}`")).label(label)
}
