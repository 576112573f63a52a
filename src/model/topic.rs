//! The topics that redflag knows, and the canonical fields of each: one table that the decoder (names and types), the rules (field
//! lint) and the renderer (masking) share. Source: the feed's documentation and what integrators observed.

/// What a field holds in the canonical event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text; a number sent in its place becomes its exact digits.
    Text,
    /// A whole number; a text of digits sent in its place is read.
    Number,
    /// A list of entries with fields of their own. Absent reads as an empty list.
    List(&'static [Field]),
}

/// One canonical field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    /// Masked by default where a channel is not cleared for personal data.
    pub personal: bool,
    /// Never leaves redflag, cleared channel or not: the value in the event is a redaction mark.
    pub secret: bool,
}

/// One known topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The name in events; rules may use this or any of `also`.
    pub name: &'static str,
    pub also: &'static [&'static str],
    /// The member that holds the entries which become one event each; without it the message is the event.
    pub entries: Option<&'static str>,
    /// The field that holds the event's own time.
    pub own_time: Option<&'static str>,
    pub fields: &'static [Field],
}

/// Fields that exist on every event, beside those of its topic.
pub const COMMON: &[&str] = &["topic", "receivedAt", "at", "late"];

/// What stands in an event in the place of a secret.
pub const REDACTED: &str = "[redacted]";

const fn text(name: &'static str) -> Field {
    Field { name, kind: Kind::Text, personal: false, secret: false }
}

const fn number(name: &'static str) -> Field {
    Field { name, kind: Kind::Number, personal: false, secret: false }
}

const fn personal(field: Field) -> Field {
    Field { personal: true, ..field }
}

const fn secret(name: &'static str) -> Field {
    Field { name, kind: Kind::Text, personal: true, secret: true }
}

const fn list(name: &'static str, fields: &'static [Field]) -> Field {
    Field { name, kind: Kind::List(fields), personal: false, secret: false }
}

pub const IDENT_REQUESTS_CREATED: Topic = Topic {
    name: "identRequestsCreated",
    also: &["identRequestCreated"],
    entries: Some("identLinks"),
    own_time: None,
    fields: &[
        text("kyc"),
        text("key"),
        text("personKey"),
        text("actionId"),
        text("status"),
        text("transactionId"),
        secret("url"),
    ],
};

pub const IDENT_RESULT: Topic = Topic {
    name: "identResult",
    also: &[],
    entries: None,
    own_time: None,
    fields: &[text("kyc"), text("identId"), text("personKey"), text("status"), personal(text("reason"))],
};

pub const IDENT_RESULT_KYC: Topic = Topic {
    name: "identResultKYC",
    also: &[],
    entries: None,
    own_time: None,
    fields: &[
        text("kyc"),
        text("identId"),
        text("personKey"),
        text("status"),
        personal(text("reason")),
        personal(list("attachments", &[text("name"), number("size"), text("sha256")])),
    ],
};

pub const MISMATCHES: Topic = Topic {
    name: "mismatches",
    also: &[],
    entries: Some("mismatches"),
    own_time: Some("created"),
    fields: &[
        text("identId"),
        text("personKey"),
        text("created"),
        list("mismatches", &[text("fieldName"), personal(text("value")), personal(text("kycValue"))]),
    ],
};

pub const COMPLIANCE_RECORD: Topic = Topic {
    name: "complianceRecord",
    also: &[],
    entries: Some("complianceRecord"),
    own_time: Some("modified"),
    fields: &[number("status"), text("key"), text("modified"), text("customerKey"), text("contractKey"), personal(text("notes"))],
};

/// Every known topic.
pub const KNOWN: [&Topic; 5] = [&IDENT_REQUESTS_CREATED, &IDENT_RESULT, &IDENT_RESULT_KYC, &MISMATCHES, &COMPLIANCE_RECORD];

/// The topic of that name, whichever of its spellings is used. Exact in case.
#[must_use]
pub fn find(name: &str) -> Option<&'static Topic> {
    KNOWN.into_iter().find(|topic| topic.name == name || topic.also.contains(&name))
}

impl Topic {
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl Field {
    /// The fields of this list's entries; empty for what is no list.
    #[must_use]
    pub fn entries(&self) -> &'static [Field] {
        match self.kind {
            Kind::List(fields) => fields,
            Kind::Text | Kind::Number => &[],
        }
    }
}
