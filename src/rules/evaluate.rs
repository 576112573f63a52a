//! Verdicts: judging an event by a generation.
//!
//! Owns what one evaluating thread keeps between events: the engine, and each rule's settings in Rhai's form. Promises that every rule
//! owed a verdict gets one: no match, a match, or undecided with the reason; that no rule sees what another did to the event; and that
//! what goes wrong is told without a word of the event (Rhai's own messages quote values). The order is `on`, `where`, `when`; after a
//! match a function that fails leaves the card's value standing, and the finding says so.

mod failure;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use failure::Failure;
use rhai::{CallFnOptions, Dynamic, Scope};

use super::{
    condition::Path,
    convert,
    functions::Host,
    fuse::FUSE,
    lists::Lists,
    native,
    rule::{CompiledRule, Script},
    sandbox::{self, Sandbox},
    set::Generation,
    withheld::Withheld,
};
use crate::model::{
    event::Event,
    hash::Digest,
    severity::Severity,
    value::Value,
    verdict::{Finding, Judgement, Tally, UndecidedKind, Verdict},
};

/// The name of the evaluating thread.
const THREAD: &str = "evaluate";

/// A thread to evaluate on: named, and with the stack that the sandbox needs.
pub fn thread() -> thread::Builder {
    thread::Builder::new().name(THREAD.to_owned()).stack_size(sandbox::STACK)
}

/// Judges events, one at a time. It belongs on a thread of [`thread()`].
#[derive(Debug)]
pub struct Evaluator {
    host: Arc<Host>,
    sandbox: Sandbox,
    scope: Scope<'static>,
    /// What host functions see now.
    world: Option<World>,
    /// Settings and quiet paths by a rule's hash, for the generation in force.
    prepared: HashMap<Digest, Prepared>,
    /// Rules that the event at hand could concern; kept for its room.
    asked: Vec<u32>,
    /// What is not asked at all.
    pub withheld: Withheld,
}

/// What host functions may reach, and of which generation.
#[derive(Debug)]
struct World {
    /// Of the generation.
    hash: Digest,
    lists: Arc<Lists>,
}

#[derive(Debug)]
struct Prepared {
    settings: Dynamic,
    /// The card's `quiet.same`.
    quiet: Option<Vec<Path>>,
    /// See [`sandbox::recaptured`].
    copied: Option<Arc<sandbox::Names>>,
}

/// The event in Rhai's form, made when the first rule asks for it.
struct Lazy<'a> {
    event: &'a Event,
    /// For rules that need no interpreter.
    seen: native::Seen<'a>,
    converted: Option<Dynamic>,
}

impl<'a> Lazy<'a> {
    fn new(event: &'a Event) -> Self {
        Self { event, seen: native::Seen::new(event), converted: None }
    }

    fn converted(&mut self) -> &Dynamic {
        self.converted.get_or_insert_with(|| convert::event(self.event))
    }
}

impl Default for Evaluator {
    fn default() -> Self {
        Self::new()
    }
}

impl Evaluator {
    #[must_use]
    pub fn new() -> Self {
        let host = Host::new();
        let sandbox = Sandbox::new(&host);
        Self {
            host,
            sandbox,
            scope: Scope::new(),
            world: None,
            prepared: HashMap::new(),
            asked: Vec::new(),
            withheld: Withheld::default(),
        }
    }

    /// Judges an event by all running rules of its topic. Matches and undecided verdicts are appended to `out`, in the generation's order.
    pub fn judge(&mut self, generation: &Generation, event: &Event, out: &mut Vec<Judgement>) -> Tally {
        self.enter(generation.hash, &generation.lists);
        let event = Lazy::new(event);
        let all = generation.for_topic(&event.event.topic);
        let mut asked = std::mem::take(&mut self.asked);
        asked.clear();
        match generation.index(&event.event.topic).filter(|_| event.seen.fits()) {
            Some(index) => index.candidates(event.event, &mut asked),
            None => asked.extend_from_slice(all),
        }
        let rules = asked.iter().filter_map(|index| generation.rules.get(*index as usize));
        let mut tally = self.judge_all(rules, &generation.lists, event, out);
        // What the index leaves out could only say "no match".
        tally.decided += all.len().saturating_sub(asked.len()) as u64;
        self.asked = asked;
        tally
    }

    /// One rule's verdict, with other lists and settings where given; none: no match.
    pub fn judge_one(
        &mut self,
        generation: &Generation,
        rule: &CompiledRule,
        event: &Event,
        lists: Option<&Arc<Lists>>,
        settings: Option<&Value>,
    ) -> Option<Verdict> {
        if !rule.card.on.contains(&event.topic) {
            return None;
        }
        let lists = lists.unwrap_or(&generation.lists);
        self.enter(generation.hash, lists);
        self.verdict(rule, &mut Lazy::new(event), lists, settings)
    }

    fn judge_all<'a>(
        &mut self,
        rules: impl Iterator<Item = &'a Arc<CompiledRule>>,
        lists: &Lists,
        mut event: Lazy<'_>,
        out: &mut Vec<Judgement>,
    ) -> Tally {
        let mut tally = Tally::default();
        for rule in rules {
            let verdict = match self.withheld.reason(&rule.card, event.event.seq) {
                Some(why) => Some(Verdict::Undecided(why)),
                None => self.verdict(rule, &mut event, lists, None),
            };
            match &verdict {
                Some(Verdict::Undecided(why)) if why.kind == UndecidedKind::Parked => tally.parked += 1,
                Some(Verdict::Undecided(_)) => tally.undecided += 1,
                Some(Verdict::Match(_)) => {
                    tally.decided += 1;
                    tally.matched += 1;
                }
                None => tally.decided += 1,
            }
            out.extend(verdict.map(|verdict| Judgement { card: rule.card.clone(), verdict }));
        }
        tally
    }

    /// Switches what host functions see, if it is another than the last event's.
    fn enter(&mut self, hash: Digest, lists: &Arc<Lists>) {
        if self.world.as_ref().is_some_and(|world| world.hash == hash && Arc::ptr_eq(&world.lists, lists)) {
            return;
        }
        self.host.use_lists(lists.clone());
        // Every reload ends here, so what withdrawn rules left behind goes too.
        self.prepared.clear();
        self.sandbox.modules.forget();
        self.world = Some(World { hash, lists: lists.clone() });
    }

    fn verdict(&mut self, rule: &CompiledRule, event: &mut Lazy<'_>, lists: &Lists, settings: Option<&Value>) -> Option<Verdict> {
        #[cfg(debug_assertions)]
        super::fault::strike(&rule.card.id, event.event);
        if !rule.condition.holds(event.event, lists) {
            return None;
        }
        let native = self.native(rule, event, lists, settings);
        if native == Some(false) {
            self.withheld.note(&rule.card, None);
            return None;
        }
        let interpreted = rule.script.as_ref().is_some_and(|script| script.has_answers() || native.is_none() && script.when);
        if interpreted {
            // Before the fuse is lit: else the first rule that asks would pay for all.
            event.converted();
        }
        let converted = settings.map(convert::dynamic);
        if interpreted {
            self.sandbox.fuse.arm(FUSE);
        }
        let mut verdict = self.attempt(rule, event, converted.as_ref(), native);
        if interpreted && self.sandbox.fuse.only_waited() {
            tracing::warn!(rule = %rule.card.id, "a rule was held up by the machine; it is asked again");
            self.sandbox.fuse.arm(FUSE);
            let native = self.native(rule, event, lists, settings);
            verdict = self.attempt(rule, event, converted.as_ref(), native);
        }
        self.withheld.note(&rule.card, verdict.as_ref());
        verdict
    }

    /// What `when` answers without the interpreter; none: that has to be asked.
    fn native(&mut self, rule: &CompiledRule, event: &Lazy<'_>, lists: &Lists, settings: Option<&Value>) -> Option<bool> {
        let native = rule.script.as_ref()?.native.as_ref()?;
        if settings.is_some_and(|settings| !native::settings_fit(settings)) {
            return None;
        }
        // Left over from a rule that did not match.
        self.host.take_unknown_words();
        native.when(&event.seen, &native::World { settings: settings.unwrap_or(&rule.settings), lists, host: &self.host })
    }

    fn attempt(
        &mut self,
        rule: &CompiledRule,
        event: &mut Lazy<'_>,
        settings: Option<&Dynamic>,
        native: Option<bool>,
    ) -> Option<Verdict> {
        if native.is_none() {
            // Left over from a rule that did not match, or from half an answer.
            self.host.take_unknown_words();
        }
        if let Some(script) = rule.script.as_ref().filter(|script| script.when && native.is_none()) {
            match self.when(rule, script, event, settings) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(failure) => return Some(Verdict::Undecided(failure.undecided("when"))),
            }
        }
        Some(Verdict::Match(Box::new(self.finding(rule, event, settings))))
    }

    fn when(
        &mut self,
        rule: &CompiledRule,
        script: &Script,
        event: &mut Lazy<'_>,
        settings: Option<&Dynamic>,
    ) -> Result<bool, Failure> {
        let answer = self.call(rule, script, "when", event, settings)?;
        answer.as_bool().map_err(|kind| Failure::unusable(kind, "true or false"))
    }

    /// What a match says: each function's answer, else the card's.
    fn finding(&mut self, rule: &CompiledRule, event: &mut Lazy<'_>, settings: Option<&Dynamic>) -> Finding {
        let card = &rule.card;
        let mut asking = Asking { evaluator: self, rule, event, settings, fallbacks: Vec::new() };
        let severity = asking.ask("severity", |script| script.severity, "a severity", severity_of);
        let subject = asking.ask("subject", |script| script.subject, "a text that is not blank", text_of);
        let details = asking.ask("details", |script| script.details, "a map of plain values", details_of);
        let send_to = asking.ask("send_to", |script| script.send_to, "channel or group names", names_of);
        let fallbacks = asking.fallbacks;
        let event = event.event;
        Finding {
            severity: severity.unwrap_or(card.severity),
            subject: subject
                .unwrap_or_else(|| rule.subject.as_ref().map_or_else(|| card.title.clone(), |subject| subject.render(event))),
            masked_subject: rule.masked_subject.as_ref().map_or_else(|| card.title.clone(), |subject| subject.render(event)),
            details,
            send_to: send_to.unwrap_or_else(|| card.send_to.clone()),
            quiet_key: self.prepare(rule).quiet.as_ref().and_then(|paths| quiet_key(paths, event)),
            fallbacks,
            unknown_words: self.host.take_unknown_words(),
        }
    }

    fn call(
        &mut self,
        rule: &CompiledRule,
        script: &Script,
        name: &str,
        event: &mut Lazy<'_>,
        settings: Option<&Dynamic>,
    ) -> Result<Dynamic, Failure> {
        let prepared = self.prepare(rule);
        let settings = settings.unwrap_or(&prepared.settings).clone();
        let copied = prepared.copied.clone();
        // Copies: what a function does to them, no other sees.
        let arguments = (event.converted().clone(), settings);
        // Imports are statements at the file's top; without any there is nothing to run there.
        let imports = !script.imports.is_empty();
        if imports {
            self.sandbox.modules.switch(&script.modules);
        }
        let options = CallFnOptions::new().eval_ast(imports);
        let Self { sandbox, scope, .. } = self;
        sandbox.copied.switch(copied);
        scope.clear();
        let answer = catch_unwind(AssertUnwindSafe(|| {
            sandbox.engine.call_fn_with_options::<Dynamic>(options, scope, &script.ast, name, arguments)
        }));
        match answer {
            Ok(Ok(answer)) => Ok(answer.flatten()),
            Ok(Err(error)) => Err(Failure::of(&error, &script.ast)),
            Err(_) => {
                self.rebuild();
                Err(Failure::panic())
            }
        }
    }

    fn prepare(&mut self, rule: &CompiledRule) -> &mut Prepared {
        self.prepared.entry(rule.card.hash).or_insert_with(|| Prepared {
            settings: convert::dynamic(&rule.settings),
            // Refused at load; a key without one of its fields would group too much.
            quiet: rule.card.quiet.as_ref().and_then(|quiet| quiet.same.iter().map(|path| Path::parse(path).ok()).collect()),
            copied: rule.script.as_ref().and_then(|script| sandbox::recaptured(&script.ast)),
        })
    }

    /// A new engine in the place of one that panicked: nobody knows what state that left.
    fn rebuild(&mut self) {
        self.sandbox = Sandbox::new(&self.host);
        self.scope = Scope::new();
        self.sandbox.fuse.arm(FUSE);
    }
}

/// Asks a rule's functions after its match, and remembers which of them gave nothing usable.
struct Asking<'a, 'e> {
    evaluator: &'a mut Evaluator,
    rule: &'a CompiledRule,
    event: &'a mut Lazy<'e>,
    settings: Option<&'a Dynamic>,
    fallbacks: Vec<String>,
}

impl Asking<'_, '_> {
    fn ask<T>(&mut self, name: &str, has: fn(&Script) -> bool, wanted: &str, read: fn(&Dynamic) -> Option<T>) -> Option<T> {
        let script = self.rule.script.as_ref().filter(|script| has(script))?;
        let answer = self.evaluator.call(self.rule, script, name, self.event, self.settings);
        answer
            .and_then(|answer| read(&answer).ok_or_else(|| Failure::unusable(answer.type_name(), wanted)))
            .map_err(|failure| self.fallbacks.push(failure.fallback(name)))
            .ok()
    }
}

fn severity_of(answer: &Dynamic) -> Option<Severity> {
    answer.as_immutable_string_ref().ok()?.parse().ok()
}

fn text_of(answer: &Dynamic) -> Option<String> {
    let text = answer.as_immutable_string_ref().ok()?;
    (!text.trim().is_empty()).then(|| text.to_string())
}

fn details_of(answer: &Dynamic) -> Option<Value> {
    convert::value(answer).filter(|value| value.as_map().is_some())
}

/// One name or a list of them, without blanks.
fn names_of(answer: &Dynamic) -> Option<Vec<String>> {
    if let Some(name) = text_of(answer) {
        return Some(vec![name]);
    }
    let names: Vec<String> = answer.as_array_ref().ok()?.iter().map(text_of).collect::<Option<_>>()?;
    (!names.is_empty()).then_some(names)
}

/// The values of these paths; none if one of them is blank, since what is blank never groups.
fn quiet_key(paths: &[Path], event: &Event) -> Option<Vec<String>> {
    paths
        .iter()
        .map(|path| {
            let found = path.get(event);
            (!found.is_blank()).then(|| found.display().into_owned())
        })
        .collect()
}
