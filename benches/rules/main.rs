//! How fast rules are judged, whatever their number: against plain Rhai, against the limit, as cards and as functions. Writes
//! `target/bench/rules.json`.
//!
//! Everything is measured in one run, interleaved, on one processor, in the processor time of the thread (which neighbours disturb
//! little); each figure is the median of three rounds. Two rows are ours: the matcher on the raw shapes, which is what the peers get, and
//! the path of the product (guards, duplicate check, canonical events, the same rules as cards). Decoding is included in all of them.
//! Before anything is measured, every engine must find the same matches as all others do; plain Rhai in the events that it is measured with.

#[path = "../path/figures.rs"]
mod figures;
mod twister;
mod workload;

use std::{collections::BTreeMap, env, fs, path::Path, process::Command, sync::Arc, time::Instant};

use anyhow::{Context as _, ensure};
use figures::{Figure, median};
use redflag::{
    decode::{Decoder, Options},
    model::{
        card::{Card, Header, Stage},
        event::{Element, Event, Frame, Origin},
        hash::Digest,
        ids::{Ids, Seq},
        names::{FeedName, RuleId, TopicName},
        severity::Severity,
        time::Timestamp,
        value::{Map, Value},
        verdict::{Judgement, Verdict},
    },
    rules::{
        condition::Condition,
        evaluate::{self, Evaluator},
        lint,
        lists::Lists,
        native::Native,
        rule::{CompiledRule, Script},
        sandbox,
        set::{self, Declared, Generation, Modules},
        watch::Snapshot,
    },
};
use rhai::{Dynamic, Engine, Scope};

/// Numbers of rules, and how often they match over all events.
const SIZES: [(u32, usize); 4] = [(10, 115), (100, 127), (1_000, 329), (10_000, 1_600)];

const ROUNDS: usize = 3;

/// A measurement takes at least so much of the processor.
const AT_LEAST: f64 = 0.4;

const TOPICS: [&str; 5] = ["identResult", "identResultKYC", "mismatches", "complianceRecord", "identRequestCreated"];

fn main() -> anyhow::Result<()> {
    // Cargo asks every benchmark for its list with this flag.
    if env::args().any(|argument| argument == "--list") {
        return Ok(());
    }
    // One processor for the whole run, where there is a tool for it.
    if env::var_os("REDFLAG_PINNED").is_none() {
        let myself = env::current_exe()?;
        let status = Command::new("taskset").args(["-c", "1"]).arg(&myself).env("REDFLAG_PINNED", "1").status();
        if let Ok(status) = status {
            ensure!(status.success(), "the benchmark failed");
            return Ok(());
        }
    }
    evaluate::thread().spawn(measure)?.join().map_err(|_| anyhow::anyhow!("the benchmark panicked"))?
}

fn measure() -> anyhow::Result<()> {
    let lines = workload::events();
    let mut figures = Vec::new();
    let before = resident()?;
    load(&mut figures, before)?;

    let mut rates: BTreeMap<(&'static str, u32), Vec<f64>> = BTreeMap::new();
    let mut engines = Vec::new();
    for (size, matches) in SIZES {
        engines.push(Contender::new(size, matches, &lines)?);
    }
    for round in 1..=ROUNDS {
        for engine in &mut engines {
            for (name, rate) in engine.rates(&lines)? {
                rates.entry((name, engine.size)).or_default().push(rate);
            }
        }
        eprintln!("round {round} of {ROUNDS}");
    }
    let rate = |name: &'static str, size: u32| rates.get(&(name, size)).map(|rates| median(rates)).unwrap_or_default();

    println!("events/s on one processor, decoding included; median of {ROUNDS} interleaved rounds\n");
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN).set_header(["rules", "10", "100", "1,000", "10,000"]);
    for name in [PLAIN, RAW, LIMIT, CARDS, FUNCTIONS, SOME_RHAI] {
        let row = SIZES.map(|(size, _)| format!("{:.0}", rate(name, size)));
        table.add_row(std::iter::once(name.to_owned()).chain(row));
    }
    println!("{table}");

    for ((size, _), (figure, bar)) in SIZES.into_iter().zip([
        ("plain Rhai, 10 rules", 15.0),
        ("plain Rhai, 100 rules", 120.0),
        ("plain Rhai, 1,000 rules", 1_200.0),
        ("plain Rhai, 10,000 rules", 13_000.0),
    ]) {
        figures.push(Figure::at_least(figure, rate(RAW, size) / rate(PLAIN, size), "times", bar));
    }
    figures.push(Figure::at_least("10,000 rules against 10", rate(RAW, 10_000) / rate(RAW, 10), "times", 0.5));
    figures.push(Figure::at_least("the product's path, 10,000 against 10", rate(CARDS, 10_000) / rate(CARDS, 10), "times", 0.5));
    for ((size, _), (figure, bar)) in SIZES.into_iter().zip([
        ("share of the limit, 10 rules", 0.4),
        ("share of the limit, 100 rules", 0.4),
        ("share of the limit, 1,000 rules", 0.4),
        ("share of the limit, 10,000 rules", 0.25),
    ]) {
        figures.push(Figure::at_least(figure, rate(RAW, size) / rate(LIMIT, size), "times", bar));
    }
    figures.push(Figure::at_least(
        "cards against functions, 1,000 rules",
        rate(CARDS, 1_000) / rate(FUNCTIONS, 1_000),
        "times",
        0.95,
    ));
    figures.push(Figure::at_least("1 % need Rhai, 1,000 rules", rate(SOME_RHAI, 1_000) / rate(FUNCTIONS, 1_000), "times", 0.5));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&folder)?;
    figures::tell(&figures, &folder.join("rules.json"))
}

const PLAIN: &str = "plain Rhai, raw shapes";
const RAW: &str = "redflag, raw shapes";
const LIMIT: &str = "limit: candidates only";
const CARDS: &str = "redflag, canonical, cards";
const FUNCTIONS: &str = "redflag, canonical, functions";
const SOME_RHAI: &str = "the same, 1 % need Rhai";

/// Everything that one number of rules is measured with.
struct Contender {
    size: u32,
    raw: Generation,
    cards: Generation,
    functions: Generation,
    some_rhai: Generation,
    engine: Engine,
    scripts: Vec<rhai::AST>,
    decoder: Decoder,
    ids: Ids,
    evaluator: Evaluator,
    names: Names,
    out: Vec<Judgement>,
}

impl Contender {
    fn new(size: u32, matches: usize, lines: &[String]) -> anyhow::Result<Self> {
        let rules: Vec<workload::Rule> = (0..size).map(workload::rule).collect();
        let raw = Generation::new(
            rules.iter().enumerate().map(|(n, rule)| compiled(n, &rule.raw).map(Arc::new)).collect::<anyhow::Result<_>>()?,
            Arc::new(Lists::empty()),
            Arc::new(Modules::default()),
        );
        let files = |text: &dyn Fn(usize, &workload::Rule) -> String| {
            loaded(rules.iter().enumerate().map(|(n, rule)| text(n, rule)).collect())
        };
        let engine = Engine::new();
        let scripts = rules.iter().map(|rule| engine.compile(&rule.raw)).collect::<Result<_, _>>()?;
        let mut contender = Self {
            size,
            raw,
            cards: files(&|n, rule| file(n, rule.on, &rule.card, ""))?,
            functions: files(&|n, rule| file(n, rule.on, "", &rule.when))?,
            some_rhai: files(&|n, rule| {
                if n % 100 == 50 {
                    file(n, rule.on, "", "let kind = type_of(event.topic); kind == \"array\"")
                } else {
                    file(n, rule.on, "", &rule.when)
                }
            })?,
            engine,
            scripts,
            decoder: Decoder::new(FeedName::new("bench"), Options::default()),
            ids: Ids::seeded(1),
            evaluator: Evaluator::new(),
            names: Names { feed: FeedName::new("bench"), topics: TOPICS.map(TopicName::new) },
            out: Vec::new(),
        };
        let found = [
            lines.iter().map(|line| contender.judge_raw(line)).sum::<anyhow::Result<usize>>()?,
            lines.iter().map(|line| contender.judge(line, Form::Cards)).sum::<anyhow::Result<usize>>()?,
            lines.iter().map(|line| contender.judge(line, Form::Functions)).sum::<anyhow::Result<usize>>()?,
        ];
        ensure!(found == [matches; 3], "{size} rules match {found:?} times, not {matches}");
        let few = contender.few(lines);
        let found = [
            few.iter().map(|line| contender.plain(line)).sum::<anyhow::Result<usize>>()?,
            few.iter().map(|line| contender.judge_raw(line)).sum::<anyhow::Result<usize>>()?,
        ];
        ensure!(found[0] == found[1] && found[0] > 0, "{size} rules match {found:?} times in plain Rhai and in ours");
        Ok(contender)
    }

    /// The slow one gets as many events as it can do in a while.
    fn few<'l>(&self, lines: &'l [String]) -> &'l [String] {
        &lines[..(1_000_000 / self.size as usize / 10).clamp(20, 1_000)]
    }

    /// Events a second of each engine.
    fn rates(&mut self, lines: &[String]) -> anyhow::Result<Vec<(&'static str, f64)>> {
        let plain = rate(self.few(lines), |line| self.plain(line))?;
        Ok(vec![
            (PLAIN, plain),
            (RAW, rate(lines, |line| self.judge_raw(line))?),
            (LIMIT, rate(lines, |line| self.candidates(line))?),
            (CARDS, rate(lines, |line| self.judge(line, Form::Cards))?),
            (FUNCTIONS, rate(lines, |line| self.judge(line, Form::Functions))?),
            (SOME_RHAI, rate(lines, |line| self.judge(line, Form::SomeRhai))?),
        ])
    }

    /// All rules one after the other, the event one constant: the fastest form that plain Rhai has.
    fn plain(&mut self, line: &str) -> anyhow::Result<usize> {
        let event: Dynamic = serde_json::from_str(line)?;
        let mut scope = Scope::new();
        scope.push_constant_dynamic("event", event);
        let mut found = 0;
        for script in &self.scripts {
            let answer: bool = self.engine.eval_ast_with_scope(&mut scope, script).map_err(|error| anyhow::anyhow!("{error}"))?;
            found += usize::from(answer);
            scope.rewind(1);
        }
        Ok(found)
    }

    fn judge_raw(&mut self, line: &str) -> anyhow::Result<usize> {
        Ok(count(&mut self.evaluator, &self.raw, &raw(line, &self.names)?, &mut self.out))
    }

    fn candidates(&mut self, line: &str) -> anyhow::Result<usize> {
        let event = raw(line, &self.names)?;
        let mut found = Vec::new();
        self.raw.index(&event.topic).context("no rules on the topic")?.candidates(&event, &mut found);
        Ok(found.len())
    }

    /// The product's path: a frame, its entries, and what the rules say of them.
    fn judge(&mut self, line: &str, of: Form) -> anyhow::Result<usize> {
        let frame = Frame {
            feed: self.names.feed.clone(),
            received_at: Timestamp::default(),
            origin: Origin::Live,
            bytes: line.as_bytes().to_vec(),
            position: None,
        };
        let decoded = self.decoder.decode(&frame, &mut self.ids);
        ensure!(decoded.quarantined.is_empty(), "an event can't be read");
        let generation = match of {
            Form::Cards => &self.cards,
            Form::Functions => &self.functions,
            Form::SomeRhai => &self.some_rhai,
        };
        let events = decoded.elements.into_iter().map(|element| Event { seq: Seq(1), element });
        Ok(events.map(|event| count(&mut self.evaluator, generation, &event, &mut self.out)).sum())
    }
}

/// How the rules over canonical events are written.
#[derive(Clone, Copy)]
enum Form {
    Cards,
    Functions,
    SomeRhai,
}

/// What every event of the raw shapes shares.
struct Names {
    feed: FeedName,
    topics: [TopicName; 5],
}

/// Matches of one event.
fn count(evaluator: &mut Evaluator, generation: &Generation, event: &Event, out: &mut Vec<Judgement>) -> usize {
    out.clear();
    evaluator.judge(generation, event, out);
    out.iter().filter(|judgement| matches!(judgement.verdict, Verdict::Match(_))).count()
}

fn raw(line: &str, names: &Names) -> anyhow::Result<Event> {
    let body: Map = serde_json::from_str(line)?;
    let topic = body.get("topic").and_then(Value::as_str).context("no topic")?;
    let topic = names.topics.iter().find(|known| known.as_str() == topic).context("an unknown topic")?.clone();
    Ok(Event {
        seq: Seq(1),
        element: Element {
            feed: names.feed.clone(),
            topic,
            spelled: None,
            origin: Origin::Live,
            received_at: Timestamp::default(),
            own_time: None,
            zone_assumed: false,
            late: false,
            maybe_repeat: false,
            batch: None,
            body,
            raw: String::new(),
            hash: Digest::default(),
            warnings: Vec::new(),
        },
    })
}

/// A rule over raw shapes: the checks of real rule files would refuse fields that no canonical event has.
fn compiled(n: usize, when: &str) -> anyhow::Result<CompiledRule> {
    let settings = Value::Map(Map::new());
    let text = format!("fn when(event, settings) {{ {when} }}");
    let ast = sandbox::compiler().compile(&text).map_err(|error| anyhow::anyhow!("{error}"))?;
    let functions = lint::functions_of(&ast).context("too many functions")?;
    let card = Card {
        id: RuleId::new(format!("R-{n:05}")),
        title: format!("Rule {n}"),
        on: TOPICS.map(TopicName::new).to_vec(),
        severity: Severity::Low,
        send_to: vec!["somebody".to_owned()],
        quiet: None,
        stage: Stage::Live,
        template: "alert".to_owned(),
        personal: None,
        owner: None,
        review_by: None,
        basis: None,
        header: Header::default(),
        file: format!("r{n}.rhai"),
        hash: Digest::of(text.as_bytes()),
    };
    Ok(CompiledRule {
        card: Arc::new(card),
        condition: Condition::always(),
        subject: None,
        masked_subject: None,
        settings: settings.clone(),
        script: Some(Script {
            when: true,
            native: Native::lower(&functions, &settings).map(Arc::new),
            severity: false,
            subject: false,
            details: false,
            send_to: false,
            imports: Vec::new(),
            modules: Arc::default(),
            ast,
        }),
        cases: Vec::new(),
        sources: BTreeMap::new(),
    })
}

/// A rule file; a shadow needs no tests.
fn file(n: usize, on: &str, card: &str, when: &str) -> String {
    let table = if card.is_empty() { String::new() } else { format!("    where: #{{ {card} }},\n") };
    let functions = if when.is_empty() { String::new() } else { format!("\nfn when(event, settings) {{ {when} }}\n") };
    format!(
        "//! Rule {n}.\n\nconst RULE = #{{\n    id: \"R-{n:05}\", title: \"Rule {n}\", on: [{on}], severity: \"low\", \
         send_to: [\"somebody\"], stage: \"shadow\",\n{table}}};\n{functions}"
    )
}

fn snapshot(texts: Vec<String>) -> Snapshot {
    let files = texts.into_iter().enumerate().map(|(n, text)| (format!("bench/r{n}.rhai"), Arc::from(text.into_bytes())));
    Snapshot { files: files.collect(), ..Snapshot::default() }
}

fn loaded(texts: Vec<String>) -> anyhow::Result<Generation> {
    let loaded = set::load(&snapshot(texts), None, &Declared::default(), true, &|_| Vec::new());
    let errors: Vec<&str> =
        loaded.diagnostics.iter().filter(|finding| finding.is_error()).map(|finding| finding.message.as_str()).collect();
    ensure!(errors.is_empty(), "the rules can't be loaded: {errors:?}");
    Ok(loaded.generation)
}

/// Loading and reloading ten thousand files, and what they take.
fn load(figures: &mut Vec<Figure>, before: f64) -> anyhow::Result<()> {
    let texts: Vec<String> = (0..10_000)
        .map(|n| {
            let rule = workload::rule(n);
            file(n as usize, rule.on, "", &rule.when)
        })
        .collect();
    let folder = tempfile::tempdir()?;
    for (n, text) in texts.iter().enumerate() {
        fs::write(folder.path().join(format!("r{n}.rhai")), text)?;
    }
    let declared = Declared::default();
    let all = |_: &[Arc<CompiledRule>]| Vec::new();
    let started = Instant::now();
    let first = set::load(&Snapshot::read(folder.path())?, None, &declared, true, &all);
    let whole = started.elapsed().as_secs_f64();
    ensure!(first.generation.rules.len() == 10_000, "not all rules were loaded");
    let memory = resident()? - before;
    let mut changed = Vec::new();
    let mut generation = first.generation;
    for round in 0..5 {
        fs::write(folder.path().join("r7.rhai"), format!("{}// {round}\n", texts[7]))?;
        let snapshot = Snapshot::read(folder.path())?;
        let started = processor_time()?;
        generation = set::load(&snapshot, Some(&generation), &declared, true, &all).generation;
        changed.push((processor_time()? - started) * 1_000.0);
    }
    figures.push(Figure::at_most("10,000 rules: load from files", whole, "s", 1.0));
    figures.push(Figure::at_most("10,000 rules: one changed file", median(&changed), "ms", 20.0));
    figures.push(Figure::at_most("10,000 rules: resident memory", memory, "MiB", 120.0));
    Ok(())
}

/// Resident memory, in MiB.
fn resident() -> anyhow::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib / 1024.0)
}

/// Events a second of this thread's processor time.
fn rate(lines: &[String], mut judge: impl FnMut(&str) -> anyhow::Result<usize>) -> anyhow::Result<f64> {
    for line in lines {
        judge(line)?;
    }
    let mut events = 0;
    let start = processor_time()?;
    loop {
        for line in lines {
            std::hint::black_box(judge(line)?);
        }
        events += lines.len();
        let taken = processor_time()? - start;
        if taken >= AT_LEAST {
            return Ok(events as f64 / taken);
        }
    }
}

fn processor_time() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").context("the kernel keeps no statistics of threads")?;
    let nanoseconds: f64 = text.split_whitespace().next().context("no time")?.parse()?;
    Ok(nanoseconds / 1e9)
}
