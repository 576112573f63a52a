//! A literal of a rule file (`RULE`, `TESTS`) with the place of each entry, read off the syntax tree without running anything.

use rhai::{Expr, Position};

use crate::model::value::Value;

/// A place in a source text, from 1. Columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// A literal and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Literal {
    pub place: Place,
    pub node: Node,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Unit,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Literal>),
    /// In source order.
    Map(Vec<Entry>),
}

/// One `name: value` of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: String,
    /// Of the name.
    pub place: Place,
    pub value: Literal,
}

impl Literal {
    /// The entry of that name, if this is a map that has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Entry> {
        if let Node::Map(entries) = &self.node { entries.iter().find(|entry| entry.name == name) } else { None }
    }

    /// What kind of thing it is, in a rule author's words.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.node {
            Node::Unit => "nothing, ()",
            Node::Bool(_) => "true or false",
            Node::Int(_) => "a whole number",
            Node::Float(_) => "a number",
            Node::Text(_) => "a text",
            Node::List(_) => "a list",
            Node::Map(_) => "a map",
        }
    }

    /// The same without places.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match &self.node {
            Node::Unit => Value::Null,
            Node::Bool(value) => Value::Bool(*value),
            Node::Int(number) => Value::Int(*number),
            Node::Float(number) => Value::Float(*number),
            Node::Text(text) => Value::from(text.as_str()),
            Node::List(list) => Value::List(list.iter().map(Self::to_value).collect()),
            Node::Map(entries) => Value::Map(entries.iter().map(|entry| (entry.name.clone(), entry.value.to_value())).collect()),
        }
    }

    /// Reads an expression that must be a literal; else the innermost place that is none.
    pub fn read(expr: &Expr) -> Result<Self, NotLiteral> {
        let place = Place::of(expr.start_position());
        let node = match expr {
            Expr::Unit(_) => Node::Unit,
            Expr::BoolConstant(value, _) => Node::Bool(*value),
            Expr::IntegerConstant(number, _) => Node::Int(*number),
            Expr::FloatConstant(number, _) => Node::Float(**number),
            Expr::StringConstant(text, _) => Node::Text(text.to_string()),
            Expr::Array(items, _) => Node::List(items.iter().map(Self::read).collect::<Result<_, _>>()?),
            Expr::Map(members, _) => Node::Map(
                members
                    .0
                    .iter()
                    .map(|(name, value)| {
                        Ok(Entry { name: name.name.to_string(), place: Place::of(name.pos), value: Self::read(value)? })
                    })
                    .collect::<Result<_, _>>()?,
            ),
            Expr::CharConstant(..) => return Err(NotLiteral { place, what: "a text is written in double quotes" }),
            Expr::InterpolatedString(..) => return Err(NotLiteral { place, what: "a text without ${…}" }),
            Expr::Variable(..) => return Err(NotLiteral { place, what: "a value, not a name; a text needs double quotes" }),
            _ => return Err(NotLiteral { place, what: "a plain value, not something to compute" }),
        };
        Ok(Self { place, node })
    }
}

/// Something that would have to be computed, where a literal must stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLiteral {
    pub place: Place,
    /// What belongs there.
    pub what: &'static str,
}

impl Place {
    /// The syntax tree's position as a place; none is line 0.
    #[must_use]
    pub fn of(position: Position) -> Self {
        Self { line: position.line().unwrap_or(0), column: position.position().unwrap_or(1) }
    }
}
