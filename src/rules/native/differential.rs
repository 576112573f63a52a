//! Native against plain Rhai: generated rules over generated events get the same verdict from both, errors and their wording included.
//!
//! Rules are written at random from everything that the language offers a rule, mostly sensibly typed, sometimes not; events hold wrong
//! types, absent fields, odd texts and numbers, and now and then more than the sandbox's sizes allow. `REDFLAG_PAIRS` says how many pairs
//! are tried, `REDFLAG_SEED` where chance starts; `make differential` tries ten million.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use super::{
    Seen, World,
    tests::{event, rule},
};
use crate::{
    model::{
        event::Event,
        topic,
        value::{Map, Value},
        verdict::{UndecidedKind, Verdict},
    },
    rules::{evaluate::Evaluator, functions::Host, index::TopicIndex, lists::Lists, rule::CompiledRule, set::Generation},
};

/// Events that each rule is tried on.
const EVENTS: usize = 12;

#[test]
fn native_and_interpreted_rules_reach_the_same_verdict() {
    reach_the_same_verdict(0);
}

/// The other half of the pairs, so that two processors share the work.
#[test]
fn native_and_interpreted_rules_reach_the_same_verdict_from_another_start() {
    reach_the_same_verdict(1);
}

fn reach_the_same_verdict(half: u64) {
    let pairs = setting("REDFLAG_PAIRS").unwrap_or(60_000_usize) / 2;
    let seed = setting("REDFLAG_SEED").unwrap_or(7_u64).wrapping_mul(2).wrapping_add(half);
    let mut tally = Compared::default();
    let mut round = 0;
    while tally.pairs < pairs {
        compare(seed.wrapping_mul(1_000_003).wrapping_add(round), &mut tally);
        round += 1;
    }
    // A test that compared errors with errors only, or nothing with nothing, would prove little.
    let decided = tally.pairs - tally.undecided;
    assert!(decided * 10 > tally.pairs * 4 && tally.undecided * 10 > tally.pairs, "{tally:?}");
    assert!(tally.matched * 20 > tally.pairs, "{tally:?}");
    assert!(tally.native * 10 > decided * 8, "{tally:?}");
    assert!(tally.uncompiled * 10 < tally.rules, "{tally:?}");
    println!("{tally:?}");
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[derive(Debug, Default)]
struct Compared {
    rules: usize,
    uncompiled: usize,
    pairs: usize,
    /// Pairs that the native form answered.
    native: usize,
    matched: usize,
    undecided: usize,
}

/// A few hundred rules with fresh evaluators, so that these keep little.
fn compare(seed: u64, tally: &mut Compared) {
    let mut chance = Chance::new(seed);
    let lists = Arc::new(Lists::of(BTreeMap::from([
        ("risky".to_owned(), vec!["Iran".to_owned(), "LB".to_owned(), "failed".to_owned()]),
        ("none".to_owned(), Vec::new()),
    ])));
    let generation = Generation::empty();
    let host = Host::new();
    let (mut native, mut plain) = (Evaluator::new(), Evaluator::new());
    for _ in 0..200 {
        let topic = chance.pick(TOPICS);
        let script = Writer::new(&mut chance, topic).script();
        tally.rules += 1;
        let Some(lowered) = rule(&script, &settings()) else {
            tally.uncompiled += 1;
            continue;
        };
        let mut interpreted: CompiledRule = lowered.clone();
        if let Some(script) = interpreted.script.as_mut() {
            script.native = None;
        }
        for _ in 0..EVENTS {
            let event = chance.event(topic);
            let mut lowered = lowered.clone();
            let mut interpreted = interpreted.clone();
            for rule in [&mut lowered, &mut interpreted] {
                Arc::make_mut(&mut rule.card).on = vec![event.topic.clone()];
            }
            let ours = native.judge_one(&generation, &lowered, &event, Some(&lists), None);
            let theirs = plain.judge_one(&generation, &interpreted, &event, Some(&lists), None);
            tally.pairs += 1;
            if theirs.is_some() {
                let left_out = TopicIndex::each(&event.topic, &lowered, &lists).iter().any(|index| {
                    let mut asked = Vec::new();
                    index.candidates(&event, &mut asked);
                    asked.is_empty() && Seen::new(&event).fits()
                });
                assert!(
                    !left_out,
                    "seed {seed}: the index left out\n{script}\non {}: {}",
                    event.topic,
                    Value::Map(event.body.clone()).json()
                );
            }
            let form = lowered.script.as_ref().and_then(|script| script.native.as_ref());
            let world = World { settings: &lowered.settings, lists: &lists, host: &host };
            tally.native += usize::from(form.is_some_and(|form| form.when(&Seen::new(&event), &world).is_some()));
            tally.matched += usize::from(matches!(theirs, Some(Verdict::Match(_))));
            tally.undecided += usize::from(matches!(theirs, Some(Verdict::Undecided(_))));
            let clock = |verdict: &Option<Verdict>| matches!(verdict, Some(Verdict::Undecided(undecided)) if undecided.kind == UndecidedKind::Fuse);
            // How long something took is no property of the rule.
            if !clock(&ours) && !clock(&theirs) {
                assert_eq!(
                    ours,
                    theirs,
                    "seed {seed}: native first\n{script}\non {}: {}",
                    event.topic,
                    Value::Map(event.body.clone()).json()
                );
            }
        }
    }
}

fn settings() -> Value {
    let words = ["failed", "Nationality", "DE", "größe", ""].map(Value::from);
    let mixed = vec![Value::Int(1), Value::from("failed"), Value::Null, Value::Bool(true), Value::Int(300), Value::Float(0.5)];
    Value::Map(
        [
            ("words", Value::List(words.to_vec())),
            ("numbers", Value::List(vec![Value::Int(300), Value::Int(1), Value::Int(-7)])),
            ("mixed", Value::List(mixed)),
            ("word", Value::from("failed")),
            ("number", Value::Int(300)),
            ("share", Value::Float(0.9)),
            ("on", Value::Bool(true)),
            ("none", Value::Null),
            ("signs", Value::from("(?i)fail|betrug")),
            ("broken", Value::from("(")),
        ]
        .into_iter()
        .collect(),
    )
}

const WORDS: &[&str] = &[
    "",
    " ",
    "failed",
    "success",
    "FAILED",
    "Nationality",
    "nationality",
    "DE",
    "de",
    "Germany",
    "lb",
    "Iran",
    "Atlantis",
    "größe",
    "GRÖSSE",
    "Müller",
    "mueller",
    "1985-03-07",
    "07.03.1985",
    "2023-06-01T13:23:17Z",
    "300",
    " 7 ",
    "-12",
    "a,b,c",
    "ß",
    "İ",
    "日本",
    "e\u{301}",
    "x\u{0}y",
    "PERS_1",
    "9007199254740993",
    "true",
    "Europe/Berlin",
    "12345678901234567890",
];

const NUMBERS: &[i64] = &[0, 1, 2, 3, -1, -7, 300, 1_000, i64::MAX, i64::MIN + 1, 9_007_199_254_740_992, 64];

const FLOATS: &[f64] = &[0.0, -0.0, 0.5, 0.9, 1.0, 300.0, 1e300, 1.000_000_000_000_000_1, -7.25];

const FIELDS: &[&str] =
    &["status", "reason", "kyc", "personKey", "identId", "key", "created", "notes", "custom", "mismatches", "attachments"];

const ENTRY: &[&str] = &["fieldName", "value", "kycValue", "name", "size"];

const TOPICS: &[&str] = &["identResult", "identResultKYC", "mismatches", "complianceRecord", "identRequestsCreated", "another"];

pub(super) struct Chance(fastrand::Rng);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub(super) fn any_event(&mut self) -> Event {
        let topic = self.pick(TOPICS);
        self.event(topic)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.0.usize(..from.len())]
    }

    /// One of so many.
    fn one_in(&mut self, many: usize) -> bool {
        self.0.usize(..many) == 0
    }

    /// Mostly of that topic.
    fn event(&mut self, topic: &'static str) -> Event {
        let topic = if self.one_in(12) { self.pick(TOPICS) } else { topic };
        let mut body = Map::new();
        for name in FIELDS {
            // What no table knows is an error where it is absent.
            if self.one_in(if topic == "another" { 30 } else { 3 }) {
                continue;
            }
            let value = match *name {
                "mismatches" | "attachments" if !self.one_in(20) => self.entries(),
                "status" if topic == "complianceRecord" && !self.one_in(4) => Value::Int(self.pick(NUMBERS)),
                _ if self.one_in(12) => self.value(2),
                _ => Value::from(self.pick(WORDS)),
            };
            body.set(*name, value);
        }
        if self.one_in(200) {
            body.set("reason", Value::from("x".repeat(self.0.usize(1..3) * 16_400)));
        }
        if self.one_in(200) {
            let many = self.pick(&[180, 600, 1_100]);
            let entries = (0..many).map(|at| Value::Map([("fieldName", Value::Int(at))].into_iter().collect()));
            body.set("mismatches", Value::List(entries.collect()));
        }
        let mut event = event(topic, body);
        event.element.late = self.one_in(4);
        event
    }

    fn entries(&mut self) -> Value {
        let many = self.0.usize(0..4);
        Value::List((0..many).map(|_| if self.one_in(40) { self.value(1) } else { self.entry() }).collect())
    }

    fn entry(&mut self) -> Value {
        let mut map = Map::new();
        for name in ENTRY {
            if !self.one_in(4) {
                let value = if self.one_in(16) { self.value(1) } else { Value::from(self.pick(WORDS)) };
                map.set(*name, value);
            }
        }
        Value::Map(map)
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.0.usize(0..if depth == 0 { 5 } else { 8 }) {
            0 => Value::Null,
            1 => Value::Bool(self.0.bool()),
            2 => Value::Int(self.pick(NUMBERS)),
            3 => Value::Float(self.pick(FLOATS)),
            4 | 5 => Value::from(self.pick(WORDS)),
            6 => Value::List((0..self.0.usize(0..3)).map(|_| self.value(depth - 1)).collect()),
            _ => Value::Map((0..self.0.usize(0..3)).map(|at| (format!("m{at}"), self.value(depth - 1))).collect()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Bool,
    Text,
    Number,
    List,
    Entry,
}

/// Writes one rule file's functions.
struct Writer<'c> {
    chance: &'c mut Chance,
    /// Fields of the topic, mostly.
    fields: Vec<&'static str>,
    /// The topic's list and the fields of its entries.
    list: Option<(&'static str, Vec<&'static str>)>,
    /// Variables in sight.
    names: Vec<(String, Type)>,
    /// How many names were given out.
    given: usize,
    /// Whether helpers may be called.
    helpers: bool,
}

impl<'c> Writer<'c> {
    fn new(chance: &'c mut Chance, topic: &str) -> Self {
        let known = topic::find(topic).map_or(&[][..], |topic| topic.fields);
        let plain = known.iter().filter(|field| field.entries().is_empty()).map(|field| field.name);
        let fields = if known.is_empty() { FIELDS.to_vec() } else { plain.collect() };
        let list = known.iter().find(|field| !field.entries().is_empty());
        let list = list.map(|field| (field.name, field.entries().iter().map(|field| field.name).collect()));
        Self { chance, fields, list, names: Vec::new(), given: 0, helpers: true }
    }

    fn script(mut self) -> String {
        let depth = self.chance.pick(&[1, 2, 2, 3, 3, 4]);
        let mut text = format!("fn when(event, settings) {{\n{}}}\n", self.body(depth, Type::Bool));
        self.helpers = false;
        for (name, answer) in [("wanted", Type::Bool), ("named", Type::Text), ("entries_of", Type::List)] {
            self.names.clear();
            let body = self.body(2, answer);
            let _ = write!(text, "fn {name}(event, settings) {{\n{body}}}\n");
        }
        self.names = vec![("x".to_owned(), Type::Text)];
        let body = self.body(2, Type::Text);
        let _ = write!(text, "fn shown(event, settings, x) {{\n{body}}}\n");
        text
    }

    fn body(&mut self, depth: usize, answer: Type) -> String {
        let mut text = String::new();
        let outer = self.names.len();
        for _ in 0..self.chance.pick(&[0, 0, 0, 1, 1, 2]) {
            let statement = self.statement(depth, answer);
            let _ = writeln!(text, "    {statement}");
        }
        let last = if self.chance.one_in(40) { Type::Number } else { answer };
        let last = self.expr(depth, last);
        let _ = writeln!(text, "    {last}{}", if self.chance.one_in(60) { ";" } else { "" });
        self.names.truncate(outer);
        text
    }

    fn name(&mut self, kind: Type) -> String {
        self.given += 1;
        // Now and then an earlier name again.
        let name = match self.names.last() {
            Some((name, _)) if self.chance.one_in(10) => name.clone(),
            _ => format!("v{}", self.given),
        };
        self.names.push((name.clone(), kind));
        name
    }

    fn statement(&mut self, depth: usize, answer: Type) -> String {
        let depth = depth.saturating_sub(1);
        match self.chance.0.usize(0..10) {
            0..=2 => {
                let kind = self.chance.pick(&[Type::Text, Type::Text, Type::Bool, Type::Number, Type::List]);
                let value = self.expr(depth, kind);
                let word = if self.chance.one_in(5) { "const" } else { "let" };
                let name = self.name(kind);
                format!("{word} {name} = {value};")
            }
            3 | 4 => format!("if {} {{ return {}; }}", self.expr(depth, Type::Bool), self.expr(depth, answer)),
            5 => {
                let (value, name) = (self.expr(depth, Type::Text), self.name(Type::Text));
                let change = match self.chance.0.usize(0..6) {
                    0 => "trim()".to_owned(),
                    1 => "make_lower()".to_owned(),
                    2 => "make_upper()".to_owned(),
                    3 => format!("replace({}, {})", self.literal(Type::Text), self.expr(0, Type::Text)),
                    4 => "replace(\"e\", \"\")".to_owned(),
                    _ => return format!("let {name} = {value}; {name} += {};", self.expr(0, Type::Text)),
                };
                format!("let {name} = {value}; {name}.{change};")
            }
            6 => {
                let (list, element) = match self.list.as_ref() {
                    Some((name, _)) => (format!("event.{name}"), Type::Entry),
                    None => (self.expr(depth, Type::List), Type::Text),
                };
                let count = self.name(Type::Number);
                let outer = self.names.len();
                let counted = self.chance.one_in(4);
                let counter = counted.then(|| self.name(Type::Number));
                let entry = self.name(element);
                let test = self.expr(depth, Type::Bool);
                let deed = match self.chance.0.usize(0..5) {
                    0 => format!("return {};", self.expr(0, answer)),
                    1 => "break;".to_owned(),
                    2 => "continue;".to_owned(),
                    _ => format!("{count} += 1;"),
                };
                let more = if self.chance.one_in(3) { format!("{count} = {count} + 1;") } else { String::new() };
                self.names.truncate(outer);
                let head = counter.map_or_else(|| entry.clone(), |counter| format!("({entry}, {counter})"));
                format!("let {count} = 0; for {head} in {list} {{ if {test} {{ {deed} }} {more} }}")
            }
            7 => {
                let (value, name) = (self.expr(depth, Type::List), self.name(Type::List));
                format!("let {name} = {value}; {name}.push({});", self.expr(0, Type::Text))
            }
            8 => format!("if {} {{ {} }}", self.expr(depth, Type::Bool), self.expr(depth, Type::Text)),
            _ => {
                let odd =
                    ["throw 1;", "switch event.topic { \"mismatches\" => 1, _ => 2 }", "let odd = #{ a: 1 };", "event.nope;"];
                if self.chance.one_in(3) { self.chance.pick(&odd).to_owned() } else { String::new() }
            }
        }
    }

    fn expr(&mut self, depth: usize, kind: Type) -> String {
        // Wrong types are part of life.
        let kind =
            if self.chance.one_in(30) { self.chance.pick(&[Type::Bool, Type::Text, Type::Number, Type::List]) } else { kind };
        if depth > 0 && self.chance.one_in(14) {
            let (test, then, other) = (self.expr(depth - 1, Type::Bool), self.expr(depth - 1, kind), self.expr(depth - 1, kind));
            return format!("(if {test} {{ {then} }} else {{ {other} }})");
        }
        if depth > 0 && self.chance.one_in(25) {
            let body = self.body(depth - 1, kind);
            return format!("({{ {body} }})");
        }
        match kind {
            Type::Bool => self.bool(depth),
            Type::Text => self.text(depth),
            Type::Number => self.number(depth),
            Type::List => self.list(depth),
            Type::Entry => self.entry(depth),
        }
    }

    fn variable(&mut self, kind: Type) -> Option<String> {
        let fitting: Vec<&String> = self.names.iter().filter(|(_, known)| *known == kind).map(|(name, _)| name).collect();
        if fitting.is_empty() {
            return None;
        }
        Some(fitting[self.chance.0.usize(..fitting.len())].clone())
    }

    fn literal(&mut self, kind: Type) -> String {
        match kind {
            Type::Bool => self.chance.pick(&["true", "false"]).to_owned(),
            Type::Text => format!("{:?}", self.chance.pick(WORDS)).replace("\\0", "\\x00").replace("\\u{301}", "\\u0301"),
            Type::Number if self.chance.one_in(3) => format!("{:?}", self.chance.pick(&[0.0, 0.5, 0.9, 1.0, 300.0, -7.25])),
            Type::Number => self.chance.pick(NUMBERS).to_string(),
            Type::List | Type::Entry => {
                let (a, b) = (self.chance.pick(&[Type::Text, Type::Text, Type::Number]), Type::Text);
                let items = [self.literal(a), self.literal(b), "()".to_owned(), "true".to_owned()];
                let many = self.chance.0.usize(0..4);
                format!("[{}]", items[..many].join(", "))
            }
        }
    }

    fn field(&mut self) -> String {
        if self.chance.one_in(150) {
            return "event.nope".to_owned();
        }
        let dot = if self.chance.one_in(10) { "?." } else { "." };
        let common = ["topic", "at", "receivedAt", "late"];
        let name = match self.chance.0.usize(0..40) {
            0 => self.chance.pick(FIELDS),
            1..=4 => self.chance.pick(&common),
            _ => self.chance.pick(&self.fields),
        };
        if self.chance.one_in(25) { format!("event[{name:?}]") } else { format!("event{dot}{name}") }
    }

    fn of_entry(&mut self) -> Option<String> {
        let entry = self.variable(Type::Entry)?;
        let name = self.entry_field();
        let dot = if self.chance.one_in(12) { "?." } else { "." };
        Some(format!("{entry}{dot}{name}"))
    }

    fn entry_field(&mut self) -> &'static str {
        match &self.list {
            Some((_, fields)) if !self.chance.one_in(40) => self.chance.pick(fields),
            _ => self.chance.pick(ENTRY),
        }
    }

    fn setting(&mut self) -> String {
        let names = ["word", "number", "share", "on", "none", "signs", "missing"];
        let known = if self.chance.one_in(20) { names.len() } else { 2 };
        format!("settings.{}", self.chance.pick(&names[..known]))
    }

    /// Anything.
    fn any(&mut self, depth: usize) -> String {
        let kind = self.chance.pick(&[Type::Text, Type::Text, Type::Text, Type::Number, Type::Bool, Type::List]);
        match self.chance.0.usize(0..8) {
            0 => "()".to_owned(),
            1 => self.setting(),
            2 | 3 => self.of_entry().unwrap_or_else(|| self.field()),
            4 => self.field(),
            _ => self.expr(depth, kind),
        }
    }

    fn bool(&mut self, depth: usize) -> String {
        if depth == 0 {
            return match self.chance.0.usize(0..8) {
                0 => self.literal(Type::Bool),
                1 => self.variable(Type::Bool).unwrap_or_else(|| "event.late".to_owned()),
                2 => format!("blank({})", self.any(0)),
                3 => format!("{} in {}", self.any(0), self.literal(Type::List)),
                _ => {
                    let op = self.chance.pick(&["==", "==", "!=", "<", "<=", ">", ">="]);
                    format!("{} {op} {}", self.any(0), self.any(0))
                }
            };
        }
        let depth = depth - 1;
        match self.chance.0.usize(0..24) {
            0..=2 => {
                let op = self.chance.pick(&["==", "==", "!=", "<", "<=", ">", ">="]);
                format!("{} {op} {}", self.any(depth), self.any(depth))
            }
            3 | 4 => format!("({} && {})", self.expr(depth, Type::Bool), self.expr(depth, Type::Bool)),
            5 | 6 => format!("({} || {})", self.expr(depth, Type::Bool), self.expr(depth, Type::Bool)),
            7 => format!("!{}", self.parenthesised(depth, Type::Bool)),
            8 => {
                let within = [
                    "settings.words",
                    "settings.numbers",
                    "settings.mixed",
                    "list(\"risky\")",
                    "list(\"none\")",
                    "event",
                    "1..300",
                    "0..=300",
                    "settings.word",
                    "event.mismatches",
                    "event.reason",
                    "settings",
                ];
                let within = self.chance.pick(&within);
                let not = if self.chance.one_in(3) { "!in" } else { "in" };
                format!("{} {not} {within}", self.any(depth))
            }
            9 => format!("{} in {}", self.any(depth), self.expr(depth, Type::List)),
            10 | 11 => {
                let method = self.chance.pick(&["starts_with", "ends_with", "contains"]);
                let (text, part) = (self.expr(depth, Type::Text), self.expr(depth, Type::Text));
                if self.chance.one_in(6) { format!("{method}({text}, {part})") } else { format!("{text}.{method}({part})") }
            }
            12..=14 => {
                let what = self.chance.pick(&["some", "some", "all"]);
                let (list, callback) = self.walked(depth, Type::Bool);
                format!("{list}.{what}({callback})")
            }
            15 => {
                let (list, callback) = self.walked(depth, Type::Bool);
                format!("{list}.filter({callback}).len() {} {}", self.chance.pick(&[">", "==", "<"]), self.chance.0.usize(0..3))
            }
            16 => format!("blank({})", self.any(depth)),
            17 => {
                let function = self.chance.pick(&["same_country", "same_name", "same_date"]);
                format!("{function}({}, {})", self.any(depth), self.any(depth))
            }
            18 => {
                let patterns = ["settings.signs", "\"(?i)fail|größe\"", "\"^[A-Z]+$\"", "settings.broken", "settings.none"];
                format!("matches({}, {})", self.any(depth), self.chance.pick(&patterns))
            }
            19 if self.helpers => "wanted(event, settings)".to_owned(),
            20 => format!("working_hours({})", self.chance.pick(&["event.at", "settings.none", "event.created"])),
            21 => format!("{}.is_empty{}", self.expr(depth, Type::Text), self.chance.pick(&["", "()"])),
            22 => format!("weekday({}, \"Europe/Berlin\") == \"thursday\"", self.chance.pick(&["event.at", "settings.none"])),
            _ => format!("({} ?? {})", self.any(depth), self.expr(depth, Type::Bool)),
        }
    }

    fn parenthesised(&mut self, depth: usize, kind: Type) -> String {
        format!("({})", self.expr(depth, kind))
    }

    /// A list and a callback that fits its entries.
    fn walked(&mut self, depth: usize, answer: Type) -> (String, String) {
        match self.list.as_ref().map(|(name, _)| *name) {
            Some(name) if !self.chance.one_in(3) => (format!("event.{name}"), self.callback(depth, answer, Type::Entry)),
            _ => {
                let list = self.expr(depth, Type::List);
                let element = if self.chance.one_in(8) { Type::Entry } else { Type::Text };
                (list, self.callback(depth, answer, element))
            }
        }
    }

    fn callback(&mut self, depth: usize, answer: Type, element: Type) -> String {
        let outer = self.names.len();
        let text = match self.chance.0.usize(0..8) {
            0 if element == Type::Entry => {
                // `this` is no variable: it can't be captured.
                let name = self.entry_field();
                format!("|| this.{name} == {}", self.any(0))
            }
            1 => {
                let entry = self.name(element);
                let index = self.name(Type::Number);
                format!("|{entry}, {index}| {}", self.expr(depth, answer))
            }
            _ => {
                let entry = self.name(element);
                if self.chance.one_in(6) {
                    format!("|{entry}| {{ {} }}", self.body(depth, answer))
                } else {
                    format!("|{entry}| {}", self.expr(depth, answer))
                }
            }
        };
        self.names.truncate(outer);
        text
    }

    fn text(&mut self, depth: usize) -> String {
        if depth == 0 || self.chance.one_in(3) {
            return match self.chance.0.usize(0..6) {
                0 | 1 => self.literal(Type::Text),
                2 => self.variable(Type::Text).unwrap_or_else(|| self.field()),
                3 => self.setting(),
                4 => self.of_entry().unwrap_or_else(|| self.field()),
                _ => self.field(),
            };
        }
        let depth = depth - 1;
        match self.chance.0.usize(0..16) {
            0 => format!("fold({})", self.any(depth)),
            1 => format!("country({})", self.any(depth)),
            2 => {
                let method = self.chance.pick(&["to_upper()", "to_lower()", "to_string()", "fold()"]);
                format!("{}.{method}", self.expr(depth, Type::Text))
            }
            3 => {
                format!("{}.sub_string({}, {})", self.expr(depth, Type::Text), self.chance.0.i64(-3..6), self.chance.0.i64(-1..9))
            }
            4 => format!("{}.sub_string({})", self.expr(depth, Type::Text), self.chance.0.i64(-9..6)),
            5 => format!("`<${{{}}}|${{{}}}>`", self.any(depth), self.any(depth)),
            6 => format!("({} + {})", self.expr(depth, Type::Text), self.expr(depth, Type::Text)),
            7 | 8 => format!("({} ?? {})", self.any(depth), self.expr(depth, Type::Text)),
            9 => format!("event?.{}?.{}", self.chance.pick(FIELDS), self.chance.pick(&["to_upper()", "sub_string(1)", "fold()"])),
            10 => format!("compliance_status({}).{}", self.any(depth), self.chance.pick(&["name", "group", "group", "other"])),
            11 => format!("event.mismatches[{}].{}", self.chance.0.i64(-3..3), self.entry_field()),
            12 if self.helpers => "named(event, settings)".to_owned(),
            13 if self.helpers => format!("shown(event, settings, {})", self.any(depth)),
            14 => format!("{}?.replace({}, \"x\")", self.field(), self.any(0)),
            _ => format!("`${{{}?.contains({})}}`", self.field(), self.expr(depth, Type::Text)),
        }
    }

    fn number(&mut self, depth: usize) -> String {
        if depth == 0 || self.chance.one_in(3) {
            return match self.chance.0.usize(0..4) {
                0 | 1 => self.literal(Type::Number),
                2 => self.variable(Type::Number).unwrap_or_else(|| "settings.number".to_owned()),
                _ => self.chance.pick(&["settings.number", "settings.number", "event.status", "settings.share"]).to_owned(),
            };
        }
        let depth = depth - 1;
        match self.chance.0.usize(0..13) {
            0 | 1 => {
                let op = self.chance.pick(&["+", "-", "*", "/", "%"]);
                format!("({} {op} {})", self.expr(depth, Type::Number), self.expr(depth, Type::Number))
            }
            2 | 3 => format!("{}.len()", self.expr(depth, Type::List)),
            4 => format!("{}.len", self.expr(depth, Type::Text)),
            5 => format!("{}.index_of({})", self.expr(depth, Type::Text), self.literal(Type::Text)),
            6 => format!(
                "days_between(event.at, {})",
                self.chance.pick(&["event.receivedAt", "\"01.06.2023\"", "()", "event.created"])
            ),
            7 => format!("hours_between(event.at, {})", self.chance.pick(&["event.receivedAt", "settings.none", "event.at"])),
            8 => format!("age_on(\"1985-03-07\", {})", self.chance.pick(&["event.at", "\"01.06.2023\"", "\"1980-01-01\""])),
            9 => format!("parse_int({})", self.chance.pick(&["\" 7 \"", "\"-12\"", "\"+3\"", "event.identId"])),
            10 => format!("-({})", self.expr(depth, Type::Number)),
            11 => format!("name_similarity({}, {})", self.any(depth), self.any(depth)),
            _ => format!(
                "{}({}, {})",
                self.chance.pick(&["min", "max"]),
                self.expr(depth, Type::Number),
                self.expr(depth, Type::Number)
            ),
        }
    }

    fn list(&mut self, depth: usize) -> String {
        if depth == 0 || self.chance.one_in(2) {
            return match self.chance.0.usize(0..8) {
                0 => self.literal(Type::List),
                1 => self.variable(Type::List).unwrap_or_else(|| "settings.words".to_owned()),
                2 => self.chance.pick(&["settings.mixed", "settings.numbers", "event.attachments"]).to_owned(),
                3 => self.setting(),
                _ => "settings.words".to_owned(),
            };
        }
        let depth = depth - 1;
        match self.chance.0.usize(0..7) {
            0 | 1 => {
                let (list, callback) = self.walked(depth, Type::Bool);
                format!("{list}.filter({callback})")
            }
            2 => {
                let (list, callback) = self.walked(depth, Type::Text);
                format!("{list}.map({callback})")
            }
            3 => format!("{}.split({})", self.expr(depth, Type::Text), self.literal(Type::Text)),
            4 => format!("[{}, {}]", self.any(depth), self.any(depth)),
            5 if self.helpers => "entries_of(event, settings)".to_owned(),
            _ => format!("({} ?? [])", self.any(depth)),
        }
    }

    fn entry(&mut self, depth: usize) -> String {
        match self.chance.0.usize(0..3) {
            0 => self.variable(Type::Entry).unwrap_or_else(|| "event.mismatches[0]".to_owned()),
            1 => {
                let (list, callback) = self.walked(depth.saturating_sub(1), Type::Bool);
                format!("{list}.find({callback})")
            }
            _ => "event".to_owned(),
        }
    }
}
