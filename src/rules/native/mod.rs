//! `fn when` in a form of our own, evaluated over the event itself: no Rhai map is built, no interpreter runs.
//!
//! The interpreter alone decides what a rule means. Two things keep it so: whatever lowering does not understand becomes
//! [`ir::Node::Unknown`], and whatever at run time could be an error, or whose meaning is not certain here (a type that does not fit, a
//! field that is not there, an overflow, a size near the sandbox's limits), ends the evaluation without an answer. Then Rhai is asked as
//! if nothing had happened, so that it words every error. The differential test holds the two against each other.
//!
//! Evaluating is bounded: there are no loops but those over lists, and every step is counted.

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod differential;
mod eval;
mod guards;
mod host;
mod ir;
mod lower;
#[cfg(test)]
pub(super) mod tests;
mod text;
mod value;

pub use eval::{Seen, World, settings_fit};
pub use lower::Opaque;

use super::lint::Function;
use crate::model::value::Value;

/// A rule's `fn when`, lowered.
#[derive(Clone, Debug, PartialEq)]
pub struct Native {
    body: ir::Node,
    /// How many local variables it needs.
    slots: usize,
    /// What is left to Rhai, in the order of the text.
    opaque: Vec<Opaque>,
}

impl Native {
    /// Lowers `fn when(event, settings)`; none where there is no such function.
    #[must_use]
    pub fn lower(functions: &[Function], settings: &Value) -> Option<Self> {
        lower::when(functions).filter(|_| settings_fit(settings))
    }

    /// What `when` answers; none: Rhai has to be asked.
    #[must_use]
    pub fn when(&self, seen: &Seen<'_>, world: &World<'_>) -> Option<bool> {
        eval::when(&self.body, self.slots, seen, world)
    }

    /// Whether nothing of it is native.
    #[must_use]
    pub fn is_interpreted(&self) -> bool {
        matches!(self.body, ir::Node::Unknown)
    }

    /// What is left to Rhai. Empty: all of it is native.
    #[must_use]
    pub fn opaque(&self) -> &[Opaque] {
        &self.opaque
    }
}
