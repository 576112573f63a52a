//! What an expression is, as far as the text tells, and the links of an access chain.

use rhai::{ASTFlags, Expr, FnCallExpr, Position, Stmt};

use crate::model::topic::{Field, Kind};

/// What is known of a value before anything runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Unknown,
    /// The event itself.
    Event,
    /// The card's `settings`.
    Settings,
    /// A known list of an event.
    List(&'static [Field]),
    /// One entry of a known list.
    Entry(&'static [Field]),
    Text,
    Number,
    Bool,
    Array,
    Map,
    Nothing,
}

impl Shape {
    /// Of a field's value.
    #[must_use]
    pub fn of(field: &Field) -> Self {
        match field.kind {
            Kind::Text => Self::Text,
            Kind::Number => Self::Number,
            Kind::List(fields) => Self::List(fields),
        }
    }

    /// In a rule author's words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Unknown => "something",
            Self::Event => "the event",
            Self::Settings => "the settings",
            Self::List(_) | Self::Array => "a list",
            Self::Entry(_) => "an entry of a list",
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Bool => "true or false",
            Self::Map => "a map",
            Self::Nothing => "nothing",
        }
    }

    /// Whether it is the event or a part that holds fields: changing it changes what is judged.
    #[must_use]
    pub fn is_of_event(self) -> bool {
        matches!(self, Self::Event | Self::Entry(_))
    }
}

/// One link of `root.name[index].call(…)`.
#[derive(Clone, Copy, Debug)]
pub enum Link<'a> {
    Name(&'a str, Position),
    Index(&'a Expr),
    Call(&'a FnCallExpr, Position),
}

/// A chain's root and links; an expression that is no chain is its own root.
#[must_use]
pub fn chain(expr: &Expr) -> (&Expr, Vec<Link<'_>>) {
    let mut links = Vec::new();
    let root = match expr {
        Expr::Dot(pair, flags, _) => {
            follow(&pair.rhs, false, *flags, &mut links);
            &pair.lhs
        }
        Expr::Index(pair, flags, _) => {
            follow(&pair.rhs, true, *flags, &mut links);
            &pair.lhs
        }
        _ => return (expr, links),
    };
    let (root, mut first) = chain(root);
    first.append(&mut links);
    (root, first)
}

fn follow<'a>(expr: &'a Expr, index: bool, flags: ASTFlags, links: &mut Vec<Link<'a>>) {
    match expr {
        Expr::Dot(pair, inner, _) if !flags.contains(ASTFlags::BREAK) => {
            link(&pair.lhs, index, links);
            follow(&pair.rhs, false, *inner, links);
        }
        Expr::Index(pair, inner, _) if !flags.contains(ASTFlags::BREAK) => {
            link(&pair.lhs, index, links);
            follow(&pair.rhs, true, *inner, links);
        }
        _ => link(expr, index, links),
    }
}

fn link<'a>(expr: &'a Expr, index: bool, links: &mut Vec<Link<'a>>) {
    match expr {
        _ if index => links.push(Link::Index(expr)),
        Expr::Property(name, position) => links.push(Link::Name(name.2.as_str(), *position)),
        Expr::MethodCall(call, position) | Expr::FnCall(call, position) => links.push(Link::Call(call, *position)),
        _ => {}
    }
}

/// An unqualified variable's name.
#[must_use]
pub fn variable(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Variable(variable, ..) if variable.2.is_empty() => Some(variable.1.as_str()),
        _ => None,
    }
}

/// A callback: the name of its function and the variables it captures.
#[must_use]
pub fn callback(expr: &Expr) -> Option<(String, Vec<&str>)> {
    match expr {
        Expr::DynamicConstant(value, _) => {
            value.as_ref().clone().try_cast::<rhai::FnPtr>().map(|pointer| (pointer.fn_name().to_owned(), Vec::new()))
        }
        Expr::Stmt(block) => match block.statements() {
            [Stmt::Share(_), Stmt::Expr(inner)] => match inner.as_ref() {
                Expr::FnCall(call, _) if call.name == "curry" => {
                    let (name, _) = callback(call.args.first()?)?;
                    Some((name, call.args.iter().skip(1).filter_map(variable).collect()))
                }
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// An expression as one writes it, as far as it is a plain path: `event.mismatches[0].value`.
#[must_use]
pub fn written(expr: &Expr) -> Option<String> {
    let (root, links) = chain(expr);
    let mut text = variable(root)?.to_owned();
    for link in links {
        match link {
            Link::Name(name, _) => {
                text.push('.');
                text.push_str(name);
            }
            Link::Index(Expr::IntegerConstant(number, _)) => text = format!("{text}[{number}]"),
            Link::Index(_) | Link::Call(..) => return None,
        }
    }
    Some(text)
}
