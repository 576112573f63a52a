//! From a file's text to a compiled rule: every step's findings are diagnostics. Nothing of the file runs here, and a panic of the
//! engine is a finding like any other.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
};

use rhai::{AST, ASTFlags, Engine, Expr, Stmt};

use super::{
    card, codes,
    diagnostic::Diagnostic,
    fields::TopicFields,
    functions, lint,
    lists::Lists,
    literal::{Literal, Node, Place},
    native::Native,
    rehearsal,
    rule::{CompiledRule, Script},
    sandbox,
    set::{Declared, Module, Modules},
    source::{Source, did_you_mean, proposal},
    syntax,
};
use crate::model::{card::Stage, hash::Digest, names::TopicName};

/// The functions that redflag calls; all take `(event, settings)`.
pub const ENTRY_POINTS: [&str; 5] = ["when", "severity", "subject", "details", "send_to"];

/// Compiles rule files and modules; made once and used for many.
#[derive(Debug)]
pub struct Compiler {
    engine: Engine,
    /// Names and numbers of arguments of what rules may call.
    natives: BTreeMap<String, BTreeSet<usize>>,
}

/// A compiled file and what is worth telling about it.
#[derive(Clone, Debug)]
pub struct Compiled {
    pub rule: CompiledRule,
    pub id_place: Place,
    pub warnings: Vec<Diagnostic>,
}

/// What a file is compiled with.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    pub modules: &'a Modules,
    pub declared: &'a Declared,
    pub lists: &'a Lists,
}

/// `import "PATH" as ALIAS;`
#[derive(Clone, Debug)]
pub struct Import {
    pub alias: String,
    pub path: String,
    /// Of the path.
    pub place: Place,
}

/// A module that was parsed and waits for those that it imports.
#[derive(Clone, Debug)]
pub struct ParsedModule {
    ast: AST,
    pub imports: Vec<Import>,
}

/// A file's top level.
#[derive(Debug, Default)]
pub struct TopLevel {
    card: Option<Literal>,
    tests: Option<Literal>,
    imports: Vec<Import>,
}

impl Compiler {
    /// The one compiler of the process: it holds no state, and to make one takes a while.
    #[must_use]
    pub fn shared() -> &'static Self {
        static COMPILER: LazyLock<Compiler> = LazyLock::new(Compiler::new);
        &COMPILER
    }

    fn new() -> Self {
        let engine = sandbox::compiler();
        let mut natives: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for signature in engine.gen_fn_signatures(true) {
            if let Some((name, rest)) = signature.split_once('(') {
                let name = name.rsplit("::").next().unwrap_or(name).trim();
                natives.entry(name.to_owned()).or_default().insert(arity(rest));
            }
        }
        for (name, arities) in functions::NAMES {
            natives.entry((*name).to_owned()).or_default().extend(arities.iter().copied());
        }
        Self { engine, natives }
    }

    /// Compiles one rule file with the modules it may import.
    pub fn rule(&self, file: &str, bytes: &Arc<[u8]>, with: Surroundings<'_>) -> Result<Compiled, Vec<Diagnostic>> {
        let Surroundings { modules, declared, lists } = with;
        let source = Source::read(file, bytes)?;
        let ast = self.parse(source)?;
        let mut findings = Vec::new();
        let top = top_level(source, &ast, false, &mut findings);
        let aliases = resolve(source, &top.imports, modules, &mut findings);

        let mut closure = BTreeMap::new();
        for path in aliases.values() {
            modules.closure(path, &mut closure);
        }
        let mut sources: BTreeMap<String, Arc<[u8]>> =
            closure.iter().map(|(path, module)| (format!("{path}.rhai"), Arc::clone(&module.bytes))).collect();
        let imports: Vec<String> = sources.keys().cloned().collect();
        let hash = closure_hash(bytes, &sources);
        sources.insert(file.to_owned(), Arc::clone(bytes));

        findings.extend(comment_for_header(source, &ast));
        let parts = match &top.card {
            Some(literal) => card::read(source, literal, card::header(ast.doc()), hash, declared, &mut findings),
            None => None,
        };
        let cases = top.tests.as_ref().map(|tests| rehearsal::read(source, tests, &mut findings)).unwrap_or_default();

        for (parts, place) in parts.iter().zip(top.card.as_ref().and_then(|card| card.get("where")).map(|entry| entry.place)) {
            for name in parts.condition.lists().into_iter().filter(|name| lists.get(name).is_none()) {
                let place = source.find_word(name, place).unwrap_or(place);
                findings.push(lint::unknown_list(source, lists, name, place));
            }
        }

        for (parts, case) in parts.iter().flat_map(|parts| cases.iter().map(move |case| (parts, case))) {
            rehearsal::unfit_fields(source, case, &parts.card.on, declared, &mut findings);
        }

        let topics = parts.iter().flat_map(|parts| parts.card.on.iter().map(TopicName::as_str));
        let fields = TopicFields::new(topics, declared);
        let settings = top.card.as_ref().map(|card| match card.get("settings").map(|entry| &entry.value.node) {
            Some(Node::Map(entries)) => entries.iter().map(|entry| entry.name.clone()).collect(),
            _ => Vec::new(),
        });
        let world = lint::World {
            source,
            fields: &fields,
            natives: &self.natives,
            aliases: &aliases,
            modules,
            settings,
            declared,
            lists,
        };
        let functions = functions(source, &ast)?;
        lint::check(&world, &functions, true, &mut findings);

        let (errors, mut warnings): (Vec<_>, Vec<_>) = sorted(findings).into_iter().partition(Diagnostic::is_error);
        let Some(parts) = parts.filter(|_| errors.is_empty()) else {
            return Err(errors.into_iter().chain(warnings).collect());
        };
        let is_live = parts.card.stage == Stage::Live;
        if is_live && parts.card.header.what.is_empty() && warnings.iter().all(|finding| finding.code != codes::NO_HEADER) {
            let finding = source.warning(codes::NO_HEADER, Place { line: 1, column: 1 }, "the file has no header");
            warnings.push(
                finding
                    .label("begin with `//!` lines: what happened, `Why:` and `Do:`")
                    .help("whoever gets the alert reads the header; without it the mail has only the title"),
            );
        }
        let has = |name: &str| functions.iter().any(|function| function.name == name);
        let [when, severity, subject, details, send_to] = ENTRY_POINTS.map(has);
        let script = (!functions.is_empty()).then(|| Script {
            when,
            // Imports are statements of the file that run first, and may fail.
            native: if imports.is_empty() { Native::lower(&functions, &parts.settings).map(Arc::new) } else { None },
            severity,
            subject,
            details,
            send_to,
            imports,
            modules: Arc::new(Modules::of(closure)),
            ast,
        });
        let rule = CompiledRule {
            card: Arc::new(parts.card),
            condition: parts.condition,
            subject: parts.subject,
            masked_subject: parts.masked_subject,
            settings: parts.settings,
            script,
            cases,
            sources,
        };
        Ok(Compiled { rule, id_place: top.card.as_ref().map(card::id_place).unwrap_or_default(), warnings })
    }

    /// Parses a module; [`Self::module`] checks it once the modules that it imports are compiled.
    pub fn parse_module(&self, file: &str, bytes: &[u8]) -> Result<ParsedModule, Vec<Diagnostic>> {
        let source = Source::read(file, bytes)?;
        let ast = self.parse(source)?;
        let mut findings = Vec::new();
        let top = top_level(source, &ast, true, &mut findings);
        if findings.is_empty() { Ok(ParsedModule { ast, imports: top.imports }) } else { Err(findings) }
    }

    /// Checks a module's functions against the modules it imports.
    pub fn module(
        &self,
        file: &str,
        bytes: &Arc<[u8]>,
        parsed: ParsedModule,
        with: Surroundings<'_>,
    ) -> Result<Module, Vec<Diagnostic>> {
        let Surroundings { modules, declared, lists } = with;
        let ParsedModule { ast, imports } = parsed;
        let source = Source::read(file, bytes)?;
        let mut findings = Vec::new();
        let aliases = resolve(source, &imports, modules, &mut findings);
        let fields = TopicFields::new([], declared);
        let world = lint::World {
            source,
            fields: &fields,
            natives: &self.natives,
            aliases: &aliases,
            modules,
            settings: None,
            declared,
            lists,
        };
        let functions = functions(source, &ast)?;
        lint::check(&world, &functions, false, &mut findings);
        if findings.iter().any(Diagnostic::is_error) {
            return Err(sorted(findings));
        }
        let functions = functions
            .into_iter()
            .filter(|function| !function.is_callback())
            .map(|function| (function.name, function.parameters.len()))
            .collect();
        Ok(Module { ast, bytes: Arc::clone(bytes), imports: aliases.into_values().collect(), functions })
    }

    fn parse(&self, source: Source<'_>) -> Result<AST, Vec<Diagnostic>> {
        match catch_unwind(AssertUnwindSafe(|| self.engine.compile(source.text))) {
            Ok(Ok(ast)) => Ok(ast),
            Ok(Err(error)) => Err(vec![syntax::translate(source, &error)]),
            Err(_) => Err(vec![
                Diagnostic::error(codes::ENGINE, source.file, Place::default(), 1, "the rule engine gave up on this file")
                    .help("take out what was added last; please report the file, without personal data"),
            ]),
        }
    }
}

/// `//` at the file's top, where readers of the alert would want `//!`.
fn comment_for_header(source: Source<'_>, ast: &AST) -> Option<Diagnostic> {
    let (index, line) = source.text.lines().enumerate().find(|(_, line)| !line.trim().is_empty())?;
    if !ast.doc().is_empty() || !line.trim_start().starts_with("//") {
        return None;
    }
    let place = Place { line: index + 1, column: line.chars().take_while(|c| c.is_whitespace()).count() + 1 };
    let finding = source.warning(codes::NO_HEADER, place, "a comment stands where the header should be");
    Some(
        finding
            .label("write `//!`")
            .help("what stands behind `//!` goes into the alert: what happened, `Why:` it matters, what to `Do:`"),
    )
}

/// The hash of a file's bytes and, by file, those of its modules.
#[must_use]
pub fn closure_hash(bytes: &[u8], modules: &BTreeMap<String, Arc<[u8]>>) -> Digest {
    let parts = modules.iter().flat_map(|(file, bytes)| [file.as_bytes(), bytes]);
    Digest::of_parts(std::iter::once(bytes).chain(parts))
}

fn functions(source: Source<'_>, ast: &AST) -> Result<Vec<lint::Function>, Vec<Diagnostic>> {
    lint::functions_of(ast).ok_or_else(|| {
        let message = "the file has too many functions and callbacks";
        vec![Diagnostic::error(codes::TOO_LARGE, source.file, Place::default(), 1, message).help("at most 512")]
    })
}

/// In the order of the file, each said once.
fn sorted(mut findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
    findings.sort_by(|a, b| {
        let key = |finding: &Diagnostic| (finding.span.map(|span| (span.line, span.column)), finding.code);
        key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message))
    });
    findings.dedup();
    findings
}

/// How many parameters a native signature's list has: `x: int, y: Array) -> int`.
fn arity(rest: &str) -> usize {
    let mut depth = 0_i32;
    let mut count = 0;
    let mut any = false;
    for c in rest.chars() {
        match c {
            ')' if depth == 0 => break,
            '(' | '<' | '[' => depth += 1,
            ')' | '>' | ']' => depth -= 1,
            ',' if depth == 0 => count += 1,
            c if !c.is_whitespace() => any = true,
            _ => {}
        }
    }
    if any { count + 1 } else { 0 }
}

/// Reads the statements at the top level: a rule's `RULE`, `TESTS` and imports; a module has imports only.
fn top_level(source: Source<'_>, ast: &AST, module: bool, out: &mut Vec<Diagnostic>) -> TopLevel {
    let mut top = TopLevel::default();
    let mut broken_card = false;
    for statement in ast.statements() {
        let place = Place::of(statement.position());
        match statement {
            Stmt::Noop(_) => {}
            Stmt::Import(import, _) => match &import.0 {
                Expr::StringConstant(path, position) if !import.1.name.is_empty() => {
                    top.imports.push(Import {
                        alias: import.1.name.to_string(),
                        path: path.to_string(),
                        place: Place::of(*position),
                    });
                }
                _ => out.push(
                    source
                        .error(codes::IMPORT, place, "an import needs a module's name and a short name")
                        .label("not complete")
                        .help("write it like this: import \"shared/names\" as names;"),
                ),
            },
            Stmt::Var(variable, flags, _) if !module && matches!(variable.0.name.as_str(), "RULE" | "TESTS") => {
                let (name, place) = (variable.0.name.as_str(), Place::of(variable.0.pos));
                let slot = if name == "RULE" { &mut top.card } else { &mut top.tests };
                if slot.is_some() {
                    out.push(
                        source
                            .error(codes::CARD_MISSING, place, format!("a second `{name}` in one file"))
                            .label("one rule is one file"),
                    );
                    continue;
                }
                if !flags.contains(ASTFlags::CONSTANT) {
                    out.push(
                        source
                            .error(codes::CARD_MISSING, place, format!("`{name}` is a constant"))
                            .label("write `const` in front of it, not `let`"),
                    );
                }
                match Literal::read(&variable.1) {
                    Ok(literal) => *slot = Some(literal),
                    Err(wrong) => {
                        let what = if name == "RULE" { "the card" } else { "a test" };
                        broken_card |= name == "RULE";
                        let code =
                            if source.word(wrong.place).starts_with('\'') { codes::SINGLE_QUOTES } else { codes::NOT_LITERAL };
                        let message = format!("{what} must be literal, here: redflag reads it without running anything");
                        out.push(source.error(code, wrong.place, message).label(format!("expected {}", wrong.what)));
                    }
                }
            }
            _ => {
                let help = match statement {
                    Stmt::Var(variable, ..) if let Some(meant) = proposal(&variable.0.name, ["RULE", "TESTS"]) => {
                        if meant == "RULE" { "did you mean `const RULE`?" } else { "did you mean `const TESTS`?" }
                    }
                    Stmt::Var(..) => {
                        "functions can't see it: put values into `settings` on the card, functions get them handed in"
                    }
                    _ => "what a rule does stands in its functions: fn when(event, settings) { … }",
                };
                let expected =
                    if module { "functions and imports" } else { "`const RULE`, `const TESTS`, functions and imports" };
                let message = format!("at the top level of a file stand only {expected}");
                out.push(source.error(codes::TOP_LEVEL, place, message).label("this is something else").help(help));
            }
        }
    }
    if top.card.is_none() && !module && !broken_card {
        out.push(
            Diagnostic::error(codes::CARD_MISSING, source.file, Place::default(), 1, "the file has no card")
                .help("every rule starts with its card: const RULE = #{ id: \"…\", title: \"…\", on: [\"…\"], severity: \"…\", send_to: [\"…\"] };"),
        );
    }
    top
}

/// The modules behind imports, by alias.
fn resolve(source: Source<'_>, imports: &[Import], modules: &Modules, out: &mut Vec<Diagnostic>) -> BTreeMap<String, String> {
    let mut aliases = BTreeMap::new();
    for Import { alias, path, place } in imports {
        if modules.get(path).is_some() {
            aliases.insert(alias.clone(), path.clone());
        } else if modules.is_broken(path) {
            out.push(
                source
                    .error(codes::IMPORT, *place, format!("the module `{path}` has errors of its own"))
                    .label(format!("mend rules/{path}.rhai first")),
            );
        } else {
            let label = did_you_mean(path, modules.paths(), "there is no such module");
            let finding = source.error(codes::IMPORT, *place, format!("unknown module `{path}`")).label(label);
            out.push(
                finding.help(
                    "a module is a file of rules/shared/ and is named without its ending: import \"shared/names\" as names;",
                ),
            );
        }
    }
    aliases
}
