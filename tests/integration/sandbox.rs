//! Hostile scripts: each in a process of its own, so that a hang or an abort is seen and costs nothing but itself.
//!
//! The bar is 0 hangs, 0 aborts, 0 panics. Times are printed, not asserted: they belong to the machine. Each script runs as a program with
//! `event` in scope and, where that parses, as the body of `fn when(event, settings)`; a script beyond the size cap also runs cut down to
//! it, or only the cap would be tested.

use std::{
    fmt::Write as _,
    io::Read as _,
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Command, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use redflag::rules::{
    evaluate,
    functions::Host,
    sandbox::{self, SOURCE_CAP},
};
use rhai::{CallFnOptions, Dynamic, Engine, Map, Scope};
use serde::Deserialize;

const SCRIPTS: &str = include_str!("../fixtures/hostile_scripts.jsonl");

/// Tells the child which script is its own.
const CASE: &str = "REDFLAG_HOSTILE_SCRIPT";

/// What a child may take. The slowest takes far below a second; only what hangs takes this long, even on a crowded machine.
const HANG: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Hostile {
    id: String,
    script: Option<String>,
    /// A text and how often it is repeated; `{i}` is the running number.
    #[serde(default)]
    parts: Vec<(String, usize)>,
}

impl Hostile {
    fn all() -> Vec<Self> {
        SCRIPTS.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// With every part repeated at most so often.
    fn text(&self, at_most: usize) -> String {
        if let Some(script) = &self.script {
            return script.clone();
        }
        let mut text = String::new();
        for (part, repetitions) in &self.parts {
            for index in 0..(*repetitions).min(at_most) {
                text.push_str(&part.replace("{i}", &index.to_string()));
            }
        }
        text
    }

    /// Repeated as often as the cap allows, with room for a function's head around it.
    fn cut(&self) -> String {
        let fits = |times: usize| self.text(times).len() + 64 < SOURCE_CAP;
        let (mut fitting, mut too_many) = (0, SOURCE_CAP);
        while fitting + 1 < too_many {
            let middle = usize::midpoint(fitting, too_many);
            if fits(middle) { fitting = middle } else { too_many = middle }
        }
        self.text(fitting)
    }
}

#[test]
fn no_hostile_script_hangs_aborts_or_panics() {
    let scripts = Hostile::all();
    assert_eq!(scripts.len(), 110);
    let mut cases: Vec<String> = scripts.iter().map(|script| script.id.clone()).collect();
    cases.extend(
        scripts.iter().filter(|script| script.text(usize::MAX).len() > SOURCE_CAP).map(|script| format!("{} cut", script.id)),
    );

    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(2, usize::from);
    let reports: Vec<Result<Vec<Run>, String>> = thread::scope(|scope| {
        let work = || {
            let mut reports = Vec::new();
            while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                reports.push(in_a_process(case));
            }
            reports
        };
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap()).collect()
    });

    let failures: Vec<&String> = reports.iter().filter_map(|report| report.as_ref().err()).collect();
    assert!(failures.is_empty(), "{failures:#?}");
    let runs: Vec<&Run> = reports.iter().flatten().flatten().collect();
    let evaluated = runs.iter().filter(|run| run.step == "evaluate").count();
    for step in ["compile", "evaluate"] {
        if let Some(worst) = runs.iter().filter(|run| run.step == step).max_by_key(|run| run.micros) {
            println!("worst to {step}: {} ms, {} ({})", worst.micros / 1_000, worst.case, worst.outcome);
        }
    }
    assert!(evaluated > 100, "only {evaluated} runs got as far as being evaluated: the scripts no longer test the sandbox");
}

/// The child of the test above. By itself it runs a script that is not hostile.
#[test]
fn one_hostile_script() {
    let case = std::env::var(CASE).unwrap_or_default();
    let text = match Hostile::all().iter().find(|script| case.strip_suffix(" cut").unwrap_or(&case) == script.id) {
        None if case.is_empty() => "event.status == \"failed\"".to_owned(),
        None => panic!("there is no script {case}"),
        Some(script) if case.ends_with(" cut") => script.cut(),
        Some(script) => script.text(usize::MAX),
    };
    let shown = evaluate::thread().spawn(move || attack(&case, &text)).unwrap().join().unwrap();
    print!("{shown}");
    assert!(!shown.contains("panic"), "{shown}");
    assert!(std::env::var(CASE).is_ok() || shown.contains("\tevaluate\t") && !shown.contains("error"), "{shown}");
}

struct Run {
    case: String,
    step: String,
    micros: u64,
    outcome: String,
}

/// Runs one case in a child, and reads what it printed. What went wrong is an error with the end of its output.
fn in_a_process(case: &str) -> Result<Vec<Run>, String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["sandbox::one_hostile_script", "--exact", "--nocapture"])
        .env(CASE, case)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{case}: {error}"))?;
    let (sender, printed) = mpsc::channel();
    let mut out = child.stdout.take().unwrap();
    let mut err = child.stderr.take().unwrap();
    thread::spawn(move || {
        let mut text = String::new();
        // An error to read ends the text early, and the missing lines are told below.
        let _ = out.read_to_string(&mut text);
        let mut complaint = Vec::new();
        let _ = err.read_to_end(&mut complaint);
        let _ = sender.send((text, String::from_utf8_lossy(&complaint).into_owned()));
    });
    let Ok((text, complaint)) = printed.recv_timeout(HANG) else {
        child.kill().map_err(|error| format!("{case}: {error}"))?;
        return Err(format!("{case}: hangs"));
    };
    let status = child.wait().map_err(|error| format!("{case}: {error}"))?;
    if !status.success() {
        return Err(format!("{case}: {status}\n{text}\n{complaint}"));
    }
    let runs: Vec<Run> = text
        .lines()
        // The test harness prints its own words before the first line.
        .filter_map(|line| line.split_once("hostile\t"))
        .filter_map(|(_, line)| {
            let mut columns = line.split('\t');
            Some(Run {
                case: case.to_owned(),
                step: columns.next()?.to_owned(),
                micros: columns.next()?.parse().ok()?,
                outcome: columns.next()?.to_owned(),
            })
        })
        .collect();
    if runs.is_empty() { Err(format!("{case}: said nothing\n{text}")) } else { Ok(runs) }
}

/// Compiles and evaluates a script in both forms; each step is a line `hostile`, step, microseconds, outcome.
fn attack(case: &str, text: &str) -> String {
    let mut shown = String::new();
    for (form, text) in [("program", text.to_owned()), ("function", format!("fn when(event, settings) {{\n{text}\n}}"))] {
        if text.len() > SOURCE_CAP {
            let _ = writeln!(shown, "hostile\tcap\t0\t{form} refused");
            continue;
        }
        let mut unset = Scope::new();
        if form == "program" {
            // A variable, so that the compiler knows it and can't bake a value in.
            unset.push("event", ());
        }
        let Some(Ok(ast)) = timed(&mut shown, "compile", form, || sandbox::compiler().compile_with_scope(&unset, &text)) else {
            continue;
        };
        if let Some((arguments, _)) = sandbox::widest_call(&ast) {
            let _ = writeln!(shown, "hostile\tlint\t0\t{form} refused: {arguments} arguments");
            continue;
        }
        let engine = victim();
        timed(&mut shown, "evaluate", form, || {
            let mut scope = Scope::new();
            if form == "program" {
                scope.push_constant_dynamic("event", event());
                return engine.eval_ast_with_scope::<Dynamic>(&mut scope, &ast);
            }
            let options = CallFnOptions::new().eval_ast(false);
            engine.call_fn_with_options(options, &mut scope, &ast, "when", (event(), Map::new()))
        });
    }
    assert!(!shown.is_empty(), "{case} did nothing");
    shown
}

fn timed<T, E: std::fmt::Display>(
    shown: &mut String,
    step: &str,
    form: &str,
    run: impl FnOnce() -> Result<T, E>,
) -> Option<Result<T, E>> {
    let start = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(run)).ok();
    let outcome = match &result {
        None => "panic".to_owned(),
        Some(Ok(_)) => "answer".to_owned(),
        Some(Err(error)) => format!("error: {}", error.to_string().chars().take(80).collect::<String>().escape_debug()),
    };
    let _ = writeln!(shown, "hostile\t{step}\t{}\t{form} {outcome}", start.elapsed().as_micros());
    result
}

fn event() -> Dynamic {
    let inner: Map = [("x".into(), 1_i64.into())].into_iter().collect();
    let event: Map = [("status".into(), "failed".into()), ("inner".into(), inner.into())].into_iter().collect();
    event.into()
}

/// The evaluating engine, and the one function that the scripts expect besides.
fn victim() -> Engine {
    let mut engine = sandbox::engine(&Host::new());
    engine.register_fn("re_match", |pattern: &str, text: &str| -> Result<bool, Box<rhai::EvalAltResult>> {
        let pattern = regex::RegexBuilder::new(pattern).size_limit(256 * 1024).dfa_size_limit(1024 * 1024).nest_limit(32).build();
        Ok(pattern.map_err(|_| "not a pattern")?.is_match(text))
    });
    engine
}
