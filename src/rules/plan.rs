//! How a rule is found and evaluated, for people who want it faster: `redflag rules --plan`.

use super::{native::Opaque, rule::CompiledRule, set::Generation};

/// One rule's plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub how: How,
    /// By topic, the key that an event must show; none: every event of the topic is looked at.
    pub keys: Vec<(String, Option<String>)>,
    /// The places of `when` that only the interpreter can answer.
    pub interpreted: Vec<Opaque>,
}

/// What answers whether a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// `where` alone.
    Card,
    /// `when` without the interpreter.
    Native,
    /// `when` without the interpreter up to a place that needs it.
    Partly,
    Interpreted,
}

impl How {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Native => "native",
            Self::Partly => "partly native",
            Self::Interpreted => "interpreted",
        }
    }
}

/// The plan of a rule of a generation.
#[must_use]
pub fn of(generation: &Generation, rule: &CompiledRule) -> Plan {
    let script = rule.script.as_ref().filter(|script| script.when);
    let native = script.and_then(|script| script.native.as_ref());
    let interpreted = match (script, native) {
        (_, Some(native)) => native.opaque().to_vec(),
        // Not lowered at all.
        (Some(_), None) => vec![Opaque { line: None, what: "a file that imports modules" }],
        (None, None) => Vec::new(),
    };
    let how = match native {
        _ if script.is_none() => How::Card,
        Some(_) if interpreted.is_empty() => How::Native,
        Some(native) if !native.is_interpreted() => How::Partly,
        _ => How::Interpreted,
    };
    let keys = rule.card.on.iter().map(|topic| (topic.to_string(), key(generation, rule, topic))).collect();
    Plan { how, keys, interpreted }
}

fn key(generation: &Generation, rule: &CompiledRule, topic: &str) -> Option<String> {
    let nth = generation
        .for_topic(topic)
        .iter()
        .position(|number| generation.rules.get(*number as usize).is_some_and(|other| other.card.id == rule.card.id))?;
    generation.index(topic)?.key(nth).map(ToString::to_string)
}
