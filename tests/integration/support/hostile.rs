//! The hostile scripts, and one run of one of them: as a program with `event` in scope and, where that parses, as the body of
//! `fn when(event, settings)`. A script beyond the size cap also runs cut down to it, or only the cap would be tested.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use redflag::rules::{
    functions::Host,
    sandbox::{self, SOURCE_CAP},
};
use rhai::{CallFnOptions, Dynamic, Engine, Map, Scope};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

const SCRIPTS: &str = include_str!("../../fixtures/hostile_scripts.jsonl");

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

/// Every script, and those beyond the cap once more, cut: `ID` or `ID cut`.
pub fn cases() -> Vec<String> {
    let scripts = Hostile::all();
    assert_eq!(scripts.len(), 110);
    let long = scripts.iter().filter(|script| script.text(usize::MAX).len() > SOURCE_CAP);
    scripts.iter().map(|script| script.id.clone()).chain(long.map(|script| format!("{} cut", script.id))).collect()
}

/// A case's text.
pub fn text(case: &str) -> String {
    let (id, cut) = case.strip_suffix(" cut").map_or((case, false), |id| (id, true));
    let scripts = Hostile::all();
    let script = scripts.iter().find(|script| script.id == id).unwrap_or_else(|| panic!("there is no script {case}"));
    if cut { script.cut() } else { script.text(usize::MAX) }
}

/// One step of a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// `cap`, `compile`, `lint` or `evaluate`.
    pub step: String,
    pub form: String,
    /// Of the wall clock, and of the processor.
    pub wall: Duration,
    pub processor: Duration,
    pub outcome: String,
}

impl Run {
    fn at_once(step: &str, form: &str, outcome: impl Into<String>) -> Self {
        let (step, form) = (step.to_owned(), form.to_owned());
        Self { step, form, wall: Duration::ZERO, processor: Duration::ZERO, outcome: outcome.into() }
    }
}

/// Compiles and evaluates a script in both forms, and judges by a rule that is not hostile after each.
pub fn attack(text: &str) -> Vec<Run> {
    let mut runs = Vec::new();
    for (form, text) in [("program", text.to_owned()), ("function", format!("fn when(event, settings) {{\n{text}\n}}"))] {
        if text.len() > SOURCE_CAP {
            runs.push(Run::at_once("cap", form, "refused"));
            continue;
        }
        let mut unset = Scope::new();
        if form == "program" {
            // A variable, so that the compiler knows it and can't bake a value in.
            unset.push("event", ());
        }
        let (run, ast) = timed("compile", form, || sandbox::compiler().compile_with_scope(&unset, &text));
        runs.push(run);
        let Some(ast) = ast else { continue };
        if let Some((arguments, _)) = sandbox::widest_call(&ast) {
            runs.push(Run::at_once("lint", form, format!("refused: {arguments} arguments")));
            continue;
        }
        let engine = victim();
        let (run, _) = timed("evaluate", form, || {
            let mut scope = Scope::new();
            if form == "program" {
                scope.push_constant_dynamic("event", event());
                return engine.eval_ast_with_scope::<Dynamic>(&mut scope, &ast);
            }
            let options = CallFnOptions::new().eval_ast(false);
            engine.call_fn_with_options(options, &mut scope, &ast, "when", (event(), Map::new()))
        });
        runs.push(run);
        let neighbour = engine.compile(r#"fn when(event, settings) { event.status == "failed" && event.inner.x == 1 }"#).unwrap();
        let (mut run, answer) = timed("neighbour", form, || {
            let options = CallFnOptions::new().eval_ast(false);
            engine.call_fn_with_options::<bool>(options, &mut Scope::new(), &neighbour, "when", (event(), Map::new()))
        });
        if answer != Some(true) {
            run.outcome = format!("harmed: {}", run.outcome);
        }
        runs.push(run);
    }
    runs
}

fn timed<T, E: std::fmt::Display>(step: &str, form: &str, work: impl FnOnce() -> Result<T, E>) -> (Run, Option<T>) {
    let (before, start) = (processor(), Instant::now());
    let result = catch_unwind(AssertUnwindSafe(work));
    let (wall, processor) = (start.elapsed(), processor().saturating_sub(before));
    let outcome = match &result {
        Err(_) => "panic".to_owned(),
        Ok(Ok(_)) => "answer".to_owned(),
        Ok(Err(error)) => format!("error: {}", error.to_string().chars().take(80).collect::<String>().escape_debug()),
    };
    let run = Run { step: step.to_owned(), form: form.to_owned(), wall, processor, outcome };
    (run, result.ok().and_then(Result::ok))
}

/// What this thread has used of the processor.
pub fn processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A figure of /proc/self/status, in KiB: `VmRSS`, `VmHWM`.
pub fn memory(figure: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

pub fn event() -> Dynamic {
    let inner: Map = [("x".into(), 1_i64.into())].into_iter().collect();
    let event: Map = [("status".into(), "failed".into()), ("inner".into(), inner.into())].into_iter().collect();
    event.into()
}

/// The evaluating engine, and the one function that the scripts expect besides.
pub fn victim() -> Engine {
    let mut engine = sandbox::engine(&Host::new());
    engine.register_fn("re_match", |pattern: &str, text: &str| -> Result<bool, Box<rhai::EvalAltResult>> {
        let pattern = regex::RegexBuilder::new(pattern).size_limit(256 * 1024).dfa_size_limit(1024 * 1024).nest_limit(32).build();
        Ok(pattern.map_err(|_| "not a pattern")?.is_match(text))
    });
    engine
}
