//! The card: from a rule file's literal `RULE` to a `model::card::Card` and what only evaluation needs.
