//! 4 · Rule files: literal card, compile, lint, the live set, watching, evaluation, host functions, diagnostics.

pub mod card;
pub mod codes;
pub mod compile;
pub mod condition;
pub mod convert;
pub mod diagnostic;
pub mod evaluate;
#[cfg(debug_assertions)]
mod fault;
pub mod fields;
pub mod functions;
pub mod fuse;
pub mod index;
pub mod lint;
pub mod lists;
pub mod literal;
pub mod native;
pub mod plan;
pub mod rehearsal;
pub mod rule;
pub mod sandbox;
pub mod set;
pub mod source;
pub mod spread;
pub mod subject;
pub mod syntax;
pub mod watch;
pub mod withheld;

#[cfg(test)]
mod mistakes;
