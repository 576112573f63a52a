//! The generation: an immutable snapshot of rules, modules and lists.
