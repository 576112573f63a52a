//! What happens to the people: each is asked to identify, succeeds or fails and tries again, may differ from what the partner's books
//! say, and is decided upon; payments and changes follow. The messages have the shapes of the provider's five topics.
//!
//! One step of one case is one frame. Cases are interleaved, so that what belongs together lies apart, as it does in the real feed.

use base64::Engine as _;
use fastrand::Rng;
use serde::Serialize;

use super::{
    differences::{self, Difference},
    frame::Frame,
    people::{self, Person, Provider},
};
use crate::model::time::Timestamp;

/// After so many failed identifications the provider gives no new link.
const ATTEMPTS: u8 = 3;

/// The people and their open cases.
#[derive(Debug)]
pub(super) struct World {
    rng: Rng,
    people: Vec<Person>,
    /// People without an open case.
    idle: Vec<usize>,
    cases: Vec<Case>,
    /// How many cases are open at a time.
    width: usize,
    next_ident: u64,
}

#[derive(Debug)]
struct Case {
    person: usize,
    ident: String,
    attempt: u8,
    next: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Link,
    Result,
    Attachments(Outcome),
    Mismatches,
    Decision(Decision),
}

/// How an identification ended: status and reason.
type Outcome = (&'static str, Option<&'static str>);

const SUCCESS: Outcome = ("success", None);

/// Which compliance record comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// The first, or the first after an inquiry.
    First {
        real_difference: bool,
    },
    AfterFailures,
    AfterInquiry,
    Payment,
    AfterPartialPayment,
    Overdue(u16),
    DataChange,
}

impl World {
    pub(super) fn new(seed: u64, people: usize) -> Self {
        let mut rng = Rng::with_seed(seed);
        let people = people::invent(people, &mut rng);
        let idle = (0..people.len()).collect();
        let width = (people.len() / 4).clamp(1, 48);
        Self { rng, people, idle, cases: Vec::new(), width, next_ident: 166_956_507 }
    }

    /// The next frame of the story, with `now` as its stamp where it has one.
    pub(super) fn next(&mut self, now: Timestamp) -> Frame {
        let open = !self.idle.is_empty() && self.cases.len() < self.width && (self.cases.is_empty() || self.rng.u32(0..100) < 35);
        if open {
            return self.open();
        }
        let at = self.rng.usize(0..self.cases.len());
        let mut case = self.cases.swap_remove(at);
        let (frame, next) = self.step(&mut case, now);
        if let Some(next) = next {
            case.next = next;
            self.cases.push(case);
        } else {
            self.idle.push(case.person);
        }
        frame
    }

    /// A customer import, or a company import with several people: one frame of links.
    fn open(&mut self) -> Frame {
        let number = if self.rng.u32(0..12) == 0 { self.rng.usize(2..4) } else { 1 }.min(self.idle.len());
        let mut links = Vec::with_capacity(number);
        for _ in 0..number {
            let at = self.rng.usize(0..self.idle.len());
            let person = self.idle.swap_remove(at);
            let mut case = Case { person, ident: String::new(), attempt: 0, next: Step::Result };
            links.push(self.link(&mut case));
            self.cases.push(case);
        }
        self.links(&links)
    }

    fn step(&mut self, case: &mut Case, now: Timestamp) -> (Frame, Option<Step>) {
        match case.next {
            Step::Link => {
                let link = self.link(case);
                (self.links(&[link]), Some(Step::Result))
            }
            Step::Result => self.result(case),
            Step::Attachments(outcome) => (self.attachments(case, outcome), self.after_result(case, outcome)),
            Step::Mismatches => {
                let real = self.rng.u32(0..100) < 45;
                (self.mismatches(case, real, now), Some(Step::Decision(Decision::First { real_difference: real })))
            }
            Step::Decision(decision) => self.decision(case, decision, now),
        }
    }

    fn link(&mut self, case: &mut Case) -> Link {
        self.next_ident += self.rng.u64(1..40);
        case.ident = self.next_ident.to_string();
        case.attempt += 1;
        let person = &self.people[case.person];
        let token = people::hex(&mut self.rng, 12);
        let (url, status, transaction_id) = match person.provider {
            Provider::WebId => (
                format!("https://ident.example.org/service/cn/000713/aid/{}?t={token}", case.ident),
                Some("pending"),
                Some(people::hex(&mut self.rng, 32)),
            ),
            Provider::IdNow => (format!("https://verify.example.org/demo/{}/{token}", case.ident), None, None),
        };
        Link { kyc: person.provider.name(), url, key: person.key.clone(), action_id: case.ident.clone(), status, transaction_id }
    }

    fn links(&mut self, links: &[Link]) -> Frame {
        // Both spellings of the topic occur.
        let topic = if self.rng.u32(0..10) == 0 { "identRequestCreated" } else { "identRequestsCreated" };
        Frame::json("identRequestsCreated", links.len(), &Links { topic, ident_links: links })
    }

    fn result(&mut self, case: &Case) -> (Frame, Option<Step>) {
        let person = &self.people[case.person];
        let outcome = if self.rng.f64() < person.clumsiness { failure(&mut self.rng) } else { SUCCESS };
        let message = ident_result("identResult", person, case, outcome);
        let frame = Frame::json("identResult", 1, &message);
        let next = if person.with_attachments { Some(Step::Attachments(outcome)) } else { self.after_result(case, outcome) };
        (frame, next)
    }

    fn attachments(&mut self, case: &Case, outcome: Outcome) -> Frame {
        let person = &self.people[case.person];
        let mut message = ident_result("identResultKYC", person, case, outcome);
        let names: &[&str] = if outcome == SUCCESS { &["front.jpg", "back.jpg", "selfie.jpg"] } else { &["front.jpg"] };
        let number = self.rng.usize(0..=names.len());
        message.attachments = Some(
            names[..number]
                .iter()
                .map(|name| {
                    let mut bytes = vec![0; self.rng.usize(1_500..9_000)];
                    self.rng.fill(&mut bytes);
                    Attachment { name, content: base64::engine::general_purpose::STANDARD.encode(bytes) }
                })
                .collect(),
        );
        Frame::json("identResultKYC", 1, &message)
    }

    fn after_result(&mut self, case: &Case, outcome: Outcome) -> Option<Step> {
        if outcome == SUCCESS {
            let differs = self.rng.u32(0..100) < 30;
            let first = Step::Decision(Decision::First { real_difference: false });
            return Some(if differs { Step::Mismatches } else { first });
        }
        if case.attempt < ATTEMPTS {
            return (self.rng.u32(0..100) < 85).then_some(Step::Link);
        }
        (self.rng.u32(0..100) < 60).then_some(Step::Decision(Decision::AfterFailures))
    }

    fn mismatches(&mut self, case: &Case, real: bool, now: Timestamp) -> Frame {
        let person = &self.people[case.person];
        let record = MismatchRecord {
            ident_id: &case.ident,
            person_key: &person.key,
            created: now.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            mismatches: differences::find(person, real, &mut self.rng),
        };
        Frame::json("mismatches", 1, &Mismatches { topic: "mismatches", mismatches: [record] })
    }

    fn decision(&mut self, case: &Case, decision: Decision, now: Timestamp) -> (Frame, Option<Step>) {
        let rng = &mut self.rng;
        let (status, next) = match decision {
            Decision::First { real_difference } => first_decision(real_difference, rng),
            Decision::AfterFailures => (weighted(rng, &[(302, 4), (303, 3), (401, 3)]), None),
            Decision::AfterInquiry => (weighted(rng, &[(100, 80), (403, 6), (301, 6), (303, 8)]), None),
            Decision::Payment => {
                let status = weighted(rng, &[(503, 78), (502, 10), (600, 6), (500, 3), (501, 3)]);
                let next = match status {
                    502 => Some(Decision::AfterPartialPayment),
                    600 => Some(Decision::Overdue(601)),
                    _ => None,
                };
                (status, next)
            }
            Decision::AfterPartialPayment => (weighted(rng, &[(503, 70), (600, 30)]), None),
            Decision::Overdue(601) => (601, Some(Decision::Overdue(602))),
            Decision::Overdue(602) => (602, Some(Decision::Overdue(700))),
            Decision::Overdue(_) => (weighted(rng, &[(700, 7), (701, 2), (702, 1)]), None),
            Decision::DataChange => (weighted(rng, &[(800, 80), (801, 12), (802, 8)]), None),
        };
        let person = &self.people[case.person];
        let contract = matches!(status, 500..800);
        let record = ComplianceRecord {
            status,
            key: &person.record_key,
            modified: now.format("%Y-%m-%dT%H:%M:%S").to_string(),
            customer_key: (!contract || self.rng.bool()).then_some(&person.customer_key),
            contract_key: contract.then_some(&person.contract_key),
            notes: note(status),
        };
        let message = Compliance { topic: "complianceRecord", compliance_record: [record] };
        (Frame::json("complianceRecord", 1, &message), next.map(Step::Decision))
    }
}

fn first_decision(real_difference: bool, rng: &mut Rng) -> (u16, Option<Decision>) {
    let status = if real_difference {
        weighted(rng, &[(100, 45), (402, 20), (401, 15), (302, 8), (200, 12)])
    } else {
        // 110 and 404 are no codes that the tables know.
        let codes = [(100, 810), (200, 45), (402, 35), (400, 25), (401, 20), (403, 15), (301, 12), (300, 12), (303, 8), (302, 8)];
        if rng.u32(0..100) == 0 { weighted(rng, &[(110, 1), (404, 1)]) } else { weighted(rng, &codes) }
    };
    let next = match status {
        100 if rng.u32(0..100) < 50 => Some(Decision::Payment),
        100 if rng.u32(0..100) < 12 => Some(Decision::DataChange),
        200 | 400..500 if rng.u32(0..100) < 85 => Some(Decision::AfterInquiry),
        _ => None,
    };
    (status, next)
}

/// A word and a reason for a failed identification. The provider documents neither.
fn failure(rng: &mut Rng) -> Outcome {
    let status = weighted(rng, &[("failed", 6), ("aborted", 2), ("canceled", 1), ("rejected", 1)]);
    let reason = weighted(
        rng,
        &[
            (Some("ID_BLURRY"), 3),
            (Some("ID_EXPIRED"), 2),
            (Some("USER_CANCELED"), 3),
            (Some("SELFIE_QUALITY"), 2),
            (Some("ID_SECURITY_FEATURE_VIDEO"), 1),
            (None, 3),
        ],
    );
    (status, reason)
}

fn note(status: u16) -> Option<&'static str> {
    match status {
        200 | 402 => Some("Bitte Meldebescheinigung nachreichen."),
        400 => Some("Rückfrage zur Vermögenslage."),
        401 => Some("Rückfrage zu den Angaben der Person."),
        302 => Some("Angaben passen nicht zum Ausweis."),
        _ => None,
    }
}

fn weighted<T: Copy>(rng: &mut Rng, choices: &[(T, u32)]) -> T {
    let mut at = rng.u32(0..choices.iter().map(|(_, weight)| weight).sum());
    for (choice, weight) in choices {
        if at < *weight {
            return *choice;
        }
        at -= weight;
    }
    choices[0].0
}

fn ident_result<'a>(topic: &'static str, person: &'a Person, case: &'a Case, (status, reason): Outcome) -> IdentResult<'a> {
    IdentResult {
        topic,
        kyc: person.provider.name(),
        ident_id: &case.ident,
        person_key: &person.key,
        reason,
        status,
        attachments: None,
    }
}

#[derive(Serialize)]
struct Links<'a> {
    topic: &'static str,
    #[serde(rename = "identLinks")]
    ident_links: &'a [Link],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    kyc: &'static str,
    url: String,
    key: String,
    action_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IdentResult<'a> {
    topic: &'static str,
    kyc: &'static str,
    ident_id: &'a str,
    person_key: &'a str,
    reason: Option<&'static str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attachments: Option<Vec<Attachment>>,
}

#[derive(Serialize)]
struct Attachment {
    name: &'static str,
    content: String,
}

#[derive(Serialize)]
struct Mismatches<'a> {
    topic: &'static str,
    mismatches: [MismatchRecord<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MismatchRecord<'a> {
    ident_id: &'a str,
    person_key: &'a str,
    created: String,
    mismatches: Vec<Difference>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Compliance<'a> {
    topic: &'static str,
    compliance_record: [ComplianceRecord<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ComplianceRecord<'a> {
    status: u16,
    key: &'a str,
    modified: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_key: Option<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contract_key: Option<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<&'static str>,
}
