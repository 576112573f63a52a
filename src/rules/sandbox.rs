//! The Rhai engine as a sandbox: what a rule's code may use, and how much of it.
//!
//! Owns every limit of the language. Promises that an evaluation ends, in bounded memory, with an answer or an error, whatever the script
//! says: operations and sizes are bounded by the engine, time by a [fuse](super::fuse) that is asked between operations, and nothing reaches a file, a
//! clock, the network or another event. What limits can't bound is refused at load (a call with many arguments resolves for seconds
//! inside a single operation, see [`widest_call`]). Whoever evaluates also needs [`STACK`] bytes of stack and `catch_unwind`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use rhai::{
    AST, ASTNode, Dynamic, Engine, EvalAltResult, Expr, ImmutableString, Module, ModuleResolver, OptimizationLevel, Position,
    Scope, Shared, Stmt,
    packages::{
        ArithmeticPackage, BasicArrayPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage, BasicMathPackage,
        BasicStringPackage, LogicPackage, MoreStringPackage, Package as _,
    },
};

use super::{
    functions::{self, Host},
    fuse::{FUSE, Fuse},
    set::Modules,
};

/// The largest rule file, in bytes: compiling takes quadratic time and knows no deadline.
pub const SOURCE_CAP: usize = 32 * 1024;

/// Operations of one function call.
pub const OPERATIONS: u64 = 200_000;

/// The most arguments that a call may have.
pub const WIDEST_CALL: usize = 8;

/// The stack that an evaluating thread needs, in bytes: text and equality of nested arrays recurse natively.
pub const STACK: usize = 16 * 1024 * 1024;

/// The longest text, in bytes.
pub const STRING_SIZE: usize = 32 * 1024;

/// The most entries of a list, those of lists inside counted. More than these, nested, overflow a 2 MiB stack when they are turned into text.
pub const ARRAY_SIZE: usize = 1024;

/// The most members of a map, those of maps inside counted.
pub const MAP_SIZE: usize = 512;

/// Modules that one evaluation may load.
const MODULES: usize = 8;

/// The fuse is asked at every 16th operation: asking costs as much as an operation does.
const EVERY: u64 = 16;

/// The modules that `import` finds: those that the rule was compiled with, and no file.
#[derive(Debug, Default)]
pub struct Mount(Mutex<Mounted>);

/// Evaluated modules by path.
type Ready = BTreeMap<String, Shared<Module>>;

#[derive(Debug, Default)]
struct Mounted {
    current: Arc<Modules>,
    /// Modules that were evaluated, by the set they belong to: what they import themselves is part of them.
    ready: Vec<(Arc<Modules>, Ready)>,
    /// What is being evaluated, to find circles.
    loading: Vec<String>,
}

impl Mount {
    /// For the evaluations that follow.
    pub fn switch(&self, modules: &Arc<Modules>) {
        let mut mounted = self.lock();
        mounted.current = modules.clone();
        mounted.loading.clear();
    }

    /// Lets go of what was evaluated, for a new generation.
    pub fn forget(&self) {
        self.lock().ready.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Mounted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mounted {
    fn set(&mut self) -> &mut Ready {
        let index = self.ready.iter().position(|(modules, _)| Arc::ptr_eq(modules, &self.current)).unwrap_or_else(|| {
            self.ready.push((self.current.clone(), Ready::new()));
            self.ready.len() - 1
        });
        &mut self.ready[index].1
    }
}

/// The resolver that an engine owns.
struct Resolver(Arc<Mount>);

impl ModuleResolver for Resolver {
    fn resolve(&self, engine: &Engine, _: Option<&str>, path: &str, pos: Position) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let missing = || Box::new(EvalAltResult::ErrorModuleNotFound(path.to_owned(), pos));
        let ast = {
            let mut mounted = self.0.lock();
            if let Some(ready) = mounted.set().get(path) {
                return Ok(ready.clone());
            }
            if mounted.loading.iter().any(|loading| loading == path) {
                return Err(missing());
            }
            let ast = mounted.current.get(path).ok_or_else(missing)?.ast.clone();
            mounted.loading.push(path.to_owned());
            ast
        };
        let module = Module::eval_ast_as_new(Scope::new(), &ast, engine).map(Shared::new);
        let mut mounted = self.0.lock();
        mounted.loading.retain(|loading| loading != path);
        let module = module.map_err(|error| EvalAltResult::ErrorInModule(path.to_owned(), error, pos))?;
        mounted.set().insert(path.to_owned(), module.clone());
        Ok(module)
    }
}

/// Variables that are handed out as copies.
///
/// In `event.mismatches.filter(|m| event.status == "x")` the callback captures the variable that the chain has locked, which Rhai refuses
/// as a data race. A copy needs no lock. Copying costs as much as the value is large, so it is for the variables that need it only; see
/// [`recaptured`].
#[derive(Debug, Default)]
pub struct Copied {
    /// Asked at every access to a variable, and almost always false.
    any: AtomicBool,
    names: ArcSwapOption<Names>,
}

/// Names of variables.
pub type Names = BTreeSet<ImmutableString>;

impl Copied {
    /// For the evaluations that follow.
    pub fn switch(&self, names: Option<Arc<Names>>) {
        let any = names.is_some();
        // Almost always nothing, in the place of nothing.
        if any || self.any.load(Ordering::Relaxed) {
            self.names.store(names);
            self.any.store(any, Ordering::Relaxed);
        }
    }

    fn contains(&self, name: &str) -> bool {
        self.any.load(Ordering::Relaxed) && self.names.load().as_ref().is_some_and(|names| names.contains(name))
    }
}

/// An engine with its fuse and its modules: what one evaluating thread owns.
pub struct Sandbox {
    pub engine: Engine,
    pub fuse: Arc<Fuse>,
    pub modules: Arc<Mount>,
    pub copied: Arc<Copied>,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("fuse", &self.fuse).field("modules", &self.modules).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Its fuse must be armed before each rule; unarmed it is blown.
    #[must_use]
    pub fn new(host: &Arc<Host>) -> Self {
        let fuse = Arc::new(Fuse::default());
        let modules = Arc::<Mount>::default();
        let mut engine = limited(host, modules.clone());
        let asked = fuse.clone();
        engine.on_progress(move |operations| (operations % EVERY == 0 && asked.is_blown()).then_some(Dynamic::UNIT));
        let copied = Arc::new(Copied::default());
        let asked = copied.clone();
        #[expect(deprecated, reason = "marked as volatile, not as deprecated; the version is pinned")]
        engine.on_var(move |name, _, context| {
            let copy = asked.contains(name).then(|| context.scope().get(name).map(Dynamic::flatten_clone));
            Ok(copy.flatten())
        });
        Self { engine, fuse, modules, copied }
    }
}

/// An evaluating engine whose fuse starts with the first operation of each evaluation. It knows no modules.
#[must_use]
pub fn engine(host: &Arc<Host>) -> Engine {
    let mut engine = limited(host, Arc::default());
    let fuse = Fuse::default();
    engine.on_progress(move |operations| {
        if operations <= 1 {
            fuse.arm(FUSE);
        }
        (operations % EVERY == 0 && fuse.is_blown()).then_some(Dynamic::UNIT)
    });
    engine
}

/// The engine to compile with: the limits and signatures of [`engine`].
#[must_use]
pub fn compiler() -> Engine {
    engine(&Host::new())
}

fn limited(host: &Arc<Host>, modules: Arc<Mount>) -> Engine {
    // Neither the core package (it holds `sleep`), nor time, blobs or bit fields.
    let mut engine = Engine::new_raw();
    for package in [
        ArithmeticPackage::new().as_shared_module(),
        BasicMathPackage::new().as_shared_module(),
        BasicStringPackage::new().as_shared_module(),
        MoreStringPackage::new().as_shared_module(),
        LogicPackage::new().as_shared_module(),
        BasicArrayPackage::new().as_shared_module(),
        BasicMapPackage::new().as_shared_module(),
        BasicIteratorPackage::new().as_shared_module(),
        BasicFnPackage::new().as_shared_module(),
    ] {
        engine.register_global_module(package);
    }
    functions::register(&mut engine, host);
    engine
        // The optimiser folds constants into the tree and panics on an assignment to one.
        .set_optimization_level(OptimizationLevel::None)
        .set_max_operations(OPERATIONS)
        .set_max_call_levels(16)
        .set_max_expr_depths(64, 32)
        .set_max_string_size(STRING_SIZE)
        .set_max_array_size(ARRAY_SIZE)
        .set_max_map_size(MAP_SIZE)
        .set_max_strings_interned(256)
        .set_max_variables(128)
        .set_max_functions(64)
        .set_max_modules(MODULES)
        .set_module_resolver(Resolver(modules))
        .set_strict_variables(true)
        .set_fail_on_invalid_map_property(true)
        .disable_symbol("eval")
        .on_print(|_| {})
        .on_debug(|_, _, _| {});
    engine
}

/// The variables that a callback captures while a chain that starts at them is under way; none if there are none.
#[must_use]
pub fn recaptured(ast: &AST) -> Option<Arc<Names>> {
    let mut names = Names::new();
    ast.walk(&mut |path: &[ASTNode]| {
        note_recaptured(path, &mut names);
        true
    });
    (!names.is_empty()).then(|| Arc::new(names))
}

/// Notes what a callback at the end of this path captures so.
pub(super) fn note_recaptured(path: &[ASTNode], names: &mut Names) {
    if let Some((ASTNode::Stmt(Stmt::Share(captured)), around)) = path.split_last() {
        let roots = around.iter().filter_map(|node| match node {
            ASTNode::Expr(Expr::Dot(chain, ..) | Expr::Index(chain, ..)) => root(&chain.lhs),
            _ => None,
        });
        names.extend(roots.filter(|root| captured.iter().any(|(variable, _)| variable.name == *root)).cloned());
    }
}

fn root(expression: &Expr) -> Option<&ImmutableString> {
    match expression {
        Expr::Variable(variable, ..) => Some(&variable.1),
        _ => None,
    }
}

/// The call with the most arguments, if it has more than [`WIDEST_CALL`]: such a call must be refused at load.
#[must_use]
pub fn widest_call(ast: &AST) -> Option<(usize, Position)> {
    let mut widest = None;
    ast.walk(&mut |path: &[ASTNode]| {
        let call = match path.last() {
            Some(ASTNode::Expr(Expr::FnCall(call, at) | Expr::MethodCall(call, at)) | ASTNode::Stmt(Stmt::FnCall(call, at))) => {
                Some((call.args.len(), *at))
            }
            _ => None,
        };
        if let Some((arguments, at)) = call
            && arguments > widest.map_or(WIDEST_CALL, |(most, _)| most)
        {
            widest = Some((arguments, at));
        }
        true
    });
    widest
}
