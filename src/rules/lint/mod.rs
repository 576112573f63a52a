//! Findings in a rule's syntax tree: what plain Rhai would let pass.
