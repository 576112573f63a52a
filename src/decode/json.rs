//! The strict parse: text to a tree that borrows from it, every value with its place in the frame.
//!
//! Stricter than most readers: a name that comes twice in one object, nesting beyond 127, a lone surrogate are faults. Where the
//! structure can still be walked past a fault it is noted with its place, so that only the entry around it is set aside; otherwise
//! the frame is refused. Numbers stay the digits that were sent.

use std::{borrow::Cow, collections::HashSet};

use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, Peek};

use crate::model::event::{MAX_VALUES, QuarantineReason};

/// Lists and objects within each other.
const MAX_DEPTH: u32 = 127;

/// Values in one list that are no objects: a list of events may be long, a list within an event that is longer costs many times its bytes.
const MAX_PLAIN: usize = 100_000;

/// Objects with more members than this look their names up in a set.
const SMALL: usize = 24;

/// One value and where it stands.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) data: Data<'a>,
}

#[derive(Debug)]
pub(super) enum Data<'a> {
    Null,
    Bool(bool),
    /// The digits as they were sent.
    Number(&'a str),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Map(Vec<Member<'a>>),
}

#[derive(Debug)]
pub(super) struct Member<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) value: Node<'a>,
}

impl Node<'_> {
    /// In bytes, as sent.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }
}

/// Something wrong in a place that the parse could walk past.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) reason: QuarantineReason,
    what: &'static str,
}

impl Fault {
    pub(super) fn detail(&self) -> String {
        format!("{} at byte {}", self.what, self.at)
    }
}

/// Why a frame can't be walked.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: QuarantineReason,
    pub(super) detail: String,
}

#[derive(Debug)]
pub(super) struct Parsed<'a> {
    pub(super) root: Node<'a>,
    /// In the order of their places.
    pub(super) faults: Vec<Fault>,
}

/// Parses one frame.
pub(super) fn parse(text: &str) -> Result<Parsed<'_>, Refusal> {
    if text.starts_with('\u{feff}') {
        return Err(Refusal { reason: QuarantineReason::InvalidJson, detail: "begins with a byte order mark".to_owned() });
    }
    let mut parser = Parser { text, base: 0, jiter: Jiter::new(text.as_bytes()), faults: Vec::new(), values: 0 };
    let peek = parser.jiter.peek().map_err(|error| parser.refusal(&error))?;
    let root = parser.value(peek, 1)?;
    parser.jiter.finish().map_err(|error| parser.refusal(&error))?;
    let mut faults = parser.faults;
    faults.sort_by_key(|fault| fault.at);
    Ok(Parsed { root, faults })
}

/// The first fault within a node.
pub(super) fn inside<'f>(faults: &'f [Fault], node: &Node<'_>) -> Option<&'f Fault> {
    let first = faults.partition_point(|fault| fault.at < node.start);
    faults.get(first).filter(|fault| fault.at < node.end)
}

/// The first fault within a node that is in none of these parts of it.
pub(super) fn outside<'f>(faults: &'f [Fault], node: &Node<'_>, parts: &[Node<'_>]) -> Option<&'f Fault> {
    let first = faults.partition_point(|fault| fault.at < node.start);
    faults[first..].iter().take_while(|fault| fault.at < node.end).find(|fault| {
        let behind = parts.partition_point(|part| part.start <= fault.at);
        behind.checked_sub(1).is_none_or(|index| fault.at >= parts[index].end)
    })
}

struct Parser<'a> {
    text: &'a str,
    /// Where `jiter` began: it is set up anew behind a fault.
    base: usize,
    jiter: Jiter<'a>,
    faults: Vec<Fault>,
    values: usize,
}

impl<'a> Parser<'a> {
    fn place(&self) -> usize {
        self.base + self.jiter.current_index()
    }

    fn value(&mut self, peek: Peek, depth: u32) -> Result<Node<'a>, Refusal> {
        self.values += 1;
        if self.values > MAX_VALUES {
            let detail = format!("more than {MAX_VALUES} values");
            return Err(Refusal { reason: QuarantineReason::TooLarge, detail });
        }
        let start = self.place();
        let data = match peek {
            Peek::String => self.string(start)?,
            Peek::Object | Peek::Array if depth > MAX_DEPTH => {
                self.skip_nest(start)?;
                Data::Null
            }
            Peek::Object => self.object(start, depth)?,
            Peek::Array => self.array(depth)?,
            Peek::Null => {
                self.jiter.known_null().map_err(|error| self.refusal(&error))?;
                Data::Null
            }
            Peek::True | Peek::False => Data::Bool(self.jiter.known_bool(peek).map_err(|error| self.refusal(&error))?),
            _ => {
                if let Err(error) = self.jiter.known_number_bytes(peek) {
                    return Err(self.refusal(&error));
                }
                Data::Number(&self.text[start..self.place()])
            }
        };
        Ok(Node { start, end: self.place(), data })
    }

    fn array(&mut self, depth: u32) -> Result<Data<'a>, Refusal> {
        let (mut items, mut plain) = (Vec::new(), 0);
        let mut next = self.jiter.known_array().map_err(|error| self.refusal(&error))?;
        while let Some(peek) = next {
            let item = self.value(peek, depth + 1)?;
            plain += usize::from(!matches!(item.data, Data::Map(_)));
            if plain <= MAX_PLAIN {
                items.push(item);
            } else if plain == MAX_PLAIN + 1 {
                let what = "a list of more than 100,000 values that are no objects";
                self.faults.push(Fault { at: item.start, reason: QuarantineReason::TooLarge, what });
            }
            next = self.jiter.array_step().map_err(|error| self.refusal(&error))?;
        }
        Ok(Data::List(items))
    }

    fn object(&mut self, start: usize, depth: u32) -> Result<Data<'a>, Refusal> {
        let mut members: Vec<Member<'a>> = Vec::with_capacity(8);
        let mut next = match self.jiter.known_object() {
            Ok(name) => name.map(|name| borrow(self.text, name)),
            Err(error) => return Err(self.refusal(&error)),
        };
        while let Some(name) = next {
            let peek = self.jiter.peek().map_err(|error| self.refusal(&error))?;
            let value = self.value(peek, depth + 1)?;
            members.push(Member { name, value });
            next = match self.jiter.next_key() {
                Ok(name) => name.map(|name| borrow(self.text, name)),
                Err(error) => return Err(self.refusal(&error)),
            };
        }
        if twice(&members) {
            self.faults.push(Fault {
                at: start,
                reason: QuarantineReason::DuplicateName,
                what: "a name comes twice in the object",
            });
        }
        Ok(Data::Map(members))
    }

    fn string(&mut self, start: usize) -> Result<Data<'a>, Refusal> {
        match self.jiter.known_str() {
            Ok(text) => Ok(Data::Text(borrow(self.text, text))),
            Err(error) if half_character(&error) => {
                let end = string_end(self.text.as_bytes(), start).ok_or_else(|| self.refusal(&error))?;
                let what = "an escape that is half a character";
                self.faults.push(Fault { at: start, reason: QuarantineReason::InvalidJson, what });
                self.go_on_at(end);
                Ok(Data::Null)
            }
            Err(error) => Err(self.refusal(&error)),
        }
    }

    /// Walks past a list or object that is nested too deep, without a stack.
    fn skip_nest(&mut self, start: usize) -> Result<(), Refusal> {
        let fault = Fault { at: start, reason: QuarantineReason::TooDeep, what: "nested deeper than 127" };
        let bytes = self.text.as_bytes();
        let mut open = 0_usize;
        let mut index = start;
        while let Some(byte) = bytes.get(index) {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open -= 1,
                b'"' => match string_end(bytes, index) {
                    Some(end) => index = end - 1,
                    None => break,
                },
                _ => {}
            }
            index += 1;
            if open == 0 {
                self.faults.push(fault);
                self.go_on_at(index);
                return Ok(());
            }
        }
        Err(Refusal { reason: QuarantineReason::TooDeep, detail: fault.detail() })
    }

    fn go_on_at(&mut self, place: usize) {
        self.base = place;
        self.jiter = Jiter::new(&self.text.as_bytes()[place..]);
    }

    fn refusal(&self, error: &JiterError) -> Refusal {
        let what = match &error.error_type {
            JiterErrorType::JsonError(error) => error.to_string(),
            JiterErrorType::WrongType { .. } => "unexpected value".to_owned(),
        };
        Refusal { reason: QuarantineReason::InvalidJson, detail: format!("{what} at byte {}", self.base + error.index) }
    }
}

/// Text that jiter read, borrowed from the frame where it stands there as it is (it had no escapes).
fn borrow<'a>(frame: &'a str, text: &str) -> Cow<'a, str> {
    let offset = (text.as_ptr() as usize).wrapping_sub(frame.as_ptr() as usize);
    match frame.get(offset..offset.wrapping_add(text.len())) {
        Some(same) if !text.is_empty() => Cow::Borrowed(same),
        _ => Cow::Owned(text.to_owned()),
    }
}

fn twice(members: &[Member<'_>]) -> bool {
    if members.len() <= SMALL {
        members.iter().enumerate().any(|(index, member)| members[..index].iter().any(|other| other.name == member.name))
    } else {
        let mut seen = HashSet::with_capacity(members.len());
        !members.iter().all(|member| seen.insert(&*member.name))
    }
}

fn half_character(error: &JiterError) -> bool {
    matches!(
        error.error_type,
        JiterErrorType::JsonError(
            JsonErrorType::LoneLeadingSurrogateInHexEscape
                | JsonErrorType::InvalidUnicodeCodePoint
                | JsonErrorType::UnexpectedEndOfHexEscape
        )
    )
}

/// The place behind the closing quote of the string that begins here.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut index = start + 1;
    loop {
        match bytes.get(index)? {
            b'"' => return Some(index + 1),
            b'\\' => index += 2,
            _ => index += 1,
        }
    }
}
