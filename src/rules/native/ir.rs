//! The lowered form: a tree of expressions, in which names are slots and calls are known functions.

use crate::model::value::Value;

/// One expression. A statement is one too; its value is that of Rhai's statements.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Const(Value),
    /// `list("…")`, `1..5` and the like build on constants; a whole number's range.
    Range {
        from: i64,
        to: i64,
        inclusive: bool,
    },
    Event,
    Settings,
    Slot(u16),
    /// A field of every event.
    Common(Common),
    /// A field by its name: `of.name`.
    Field {
        of: Box<Node>,
        name: Box<str>,
    },
    Index(Box<[Node; 2]>),
    /// `of?.…`: `of` goes into a slot and, if it is something, `rest` starts from there. What `rest` hands to its calls is evaluated in any
    /// case, as Rhai does.
    Elvis {
        of: Box<Node>,
        slot: u16,
        arguments: Box<[Node]>,
        rest: Box<Node>,
    },
    Not(Box<Node>),
    Negate(Box<Node>),
    Compare(Comparison, Box<[Node; 2]>),
    Arithmetic(Operator, Box<[Node; 2]>),
    And(Box<[Node]>),
    Or(Box<[Node]>),
    Coalesce(Box<[Node]>),
    /// Condition, then, else.
    If(Box<[Node; 3]>),
    /// Statements; the last one's value.
    Block(Box<[Node]>),
    /// Sets a slot.
    Set(u16, Box<Node>),
    /// Changes the text or list in a slot.
    Mutate(u16, Mutator, Box<[Node]>),
    Return(Box<Node>),
    /// A function's body: where `Return` ends.
    Body(Box<Node>),
    For {
        slot: u16,
        counter: Option<u16>,
        list: Box<Node>,
        body: Box<Node>,
    },
    Break,
    Continue,
    /// A text with values in it.
    Text(Box<[Node]>),
    List(Box<[Node]>),
    Call(Call, Box<[Node]>),
    /// A callback run over a list: the list and the body.
    Each {
        what: Each,
        /// The element's slot.
        element: u16,
        index: Option<u16>,
        parts: Box<[Node; 2]>,
    },
    /// Left to Rhai.
    Unknown,
}

impl Node {
    pub(super) const UNIT: Self = Self::Const(Value::Null);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Common {
    Topic,
    ReceivedAt,
    At,
    Late,
}

impl Common {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "topic" => Some(Self::Topic),
            "receivedAt" => Some(Self::ReceivedAt),
            "at" => Some(Self::At),
            "late" => Some(Self::Late),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Comparison {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "==" => Some(Self::Equal),
            "!=" => Some(Self::NotEqual),
            "<" => Some(Self::Less),
            "<=" => Some(Self::AtMost),
            ">" => Some(Self::Greater),
            ">=" => Some(Self::AtLeast),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Plus,
    /// `+=`, for two of one type.
    Add,
    Minus,
    Times,
    Divide,
    Modulo,
}

impl Operator {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "+" => Some(Self::Plus),
            "-" => Some(Self::Minus),
            "*" => Some(Self::Times),
            "/" => Some(Self::Divide),
            "%" => Some(Self::Modulo),
            _ => None,
        }
    }
}

/// Methods that change what they are called on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutator {
    Trim,
    Lower,
    Upper,
    Replace,
    Push,
}

impl Mutator {
    pub(super) fn named(name: &str, arguments: usize) -> Option<Self> {
        match (name, arguments) {
            ("trim", 0) => Some(Self::Trim),
            ("make_lower", 0) => Some(Self::Lower),
            ("make_upper", 0) => Some(Self::Upper),
            ("replace", 2) => Some(Self::Replace),
            ("push", 1) => Some(Self::Push),
            _ => None,
        }
    }
}

/// Built-ins that call back for each entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Each {
    Some,
    All,
    Filter,
    Map,
    Find,
    IndexOf,
}

impl Each {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "some" => Some(Self::Some),
            "all" => Some(Self::All),
            "filter" => Some(Self::Filter),
            "map" => Some(Self::Map),
            "find" => Some(Self::Find),
            "index_of" => Some(Self::IndexOf),
            _ => None,
        }
    }
}

/// Functions without callbacks: Rhai's own and redflag's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// `x in y`, too: the container comes first.
    Contains,
    Len,
    IsEmpty,
    Bytes,
    StartsWith,
    EndsWith,
    IndexOf,
    ToUpper,
    ToLower,
    ToText,
    SubString,
    Split,
    Abs,
    Min,
    Max,
    ParseInt,
    Blank,
    Country,
    SameCountry,
    SameName,
    NameSimilarity,
    Fold,
    Matches,
    SameDate,
    DaysBetween,
    HoursBetween,
    AgeOn,
    Weekday,
    WorkingHours,
    ListNamed,
    ComplianceStatus,
}

impl Call {
    /// The function of this name and number of arguments, the receiver counted.
    pub(super) fn named(name: &str, arguments: usize) -> Option<Self> {
        Some(match (name, arguments) {
            ("contains", 2) => Self::Contains,
            ("len", 1) => Self::Len,
            ("is_empty", 1) => Self::IsEmpty,
            ("bytes", 1) => Self::Bytes,
            ("starts_with", 2) => Self::StartsWith,
            ("ends_with", 2) => Self::EndsWith,
            ("index_of", 2) => Self::IndexOf,
            ("to_upper", 1) => Self::ToUpper,
            ("to_lower", 1) => Self::ToLower,
            ("to_string", 1) => Self::ToText,
            ("sub_string", 2 | 3) => Self::SubString,
            ("split", 2) => Self::Split,
            ("abs", 1) => Self::Abs,
            ("min", 2) => Self::Min,
            ("max", 2) => Self::Max,
            ("parse_int", 1) => Self::ParseInt,
            ("blank", 1) => Self::Blank,
            ("country", 1) => Self::Country,
            ("same_country", 2) => Self::SameCountry,
            ("same_name", 2) => Self::SameName,
            ("name_similarity", 2) => Self::NameSimilarity,
            ("fold", 1) => Self::Fold,
            ("matches", 2) => Self::Matches,
            ("same_date", 2) => Self::SameDate,
            ("days_between", 2) => Self::DaysBetween,
            ("hours_between", 2) => Self::HoursBetween,
            ("age_on", 2) => Self::AgeOn,
            ("weekday", 1 | 2) => Self::Weekday,
            ("working_hours", 1 | 2) => Self::WorkingHours,
            ("list", 1) => Self::ListNamed,
            ("compliance_status", 1) => Self::ComplianceStatus,
            _ => return None,
        })
    }

    /// The getter of that name, which a text or a list has.
    pub(super) fn property(name: &str) -> Option<Self> {
        match name {
            "len" => Some(Self::Len),
            "is_empty" => Some(Self::IsEmpty),
            "bytes" => Some(Self::Bytes),
            _ => None,
        }
    }
}
