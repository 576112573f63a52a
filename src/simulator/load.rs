//! Frames for load: as small and cheap as the real ones get, every one different, a fixed share of them alerting.

use std::fmt::Write as _;

use fastrand::Rng;

use super::{
    frame::Frame,
    people::{self, Person},
};
use crate::model::time::Timestamp;

#[derive(Debug)]
pub(super) struct Load {
    people: Vec<Person>,
    alerting: f64,
    /// How many frames have alerted.
    alerted: u64,
    number: u64,
    /// The second that the stamps below were written for.
    second: i64,
    created: String,
    modified: String,
}

impl Load {
    pub(super) fn new(seed: u64, people: usize, alerting: f64) -> Self {
        let people = people::invent(people, &mut Rng::with_seed(seed));
        Self { people, alerting, alerted: 0, number: 0, second: i64::MIN, created: String::new(), modified: String::new() }
    }

    /// 7 in 10 identifications, 2 differences that mean nothing, 1 approval; the alerting share is taken from all alike.
    pub(super) fn next(&mut self, now: Timestamp) -> Frame {
        self.number += 1;
        let alerting = (self.number as f64 * self.alerting) as u64 > self.alerted;
        self.alerted += u64::from(alerting);
        self.stamp(now);
        let Self { people, number, created, modified, .. } = self;
        let person = &people[usize::try_from(*number).unwrap_or(0) % people.len()];
        let mut text = String::with_capacity(256);
        let (topic, written) = match *number % 10 {
            _ if alerting => ("identResult", ident(&mut text, *number, &person.key, "failed")),
            0 => (
                "complianceRecord",
                write!(
                    text,
                    r#"{{"topic":"complianceRecord","complianceRecord":[{{"status":100,"key":"{number:032x}","modified":"{modified}","customerKey":"{}"}}]}}"#,
                    person.customer_key
                ),
            ),
            1 | 2 => (
                "mismatches",
                write!(
                    text,
                    r#"{{"topic":"mismatches","mismatches":[{{"IdentId":"{number}","PersonKey":"{}","Created":"{created}","Mismatches":[{{"FieldName":"Nationality","Value":"DE","KycValue":"de"}}]}}]}}"#,
                    person.key
                ),
            ),
            _ => ("identResult", ident(&mut text, *number, &person.key, "success")),
        };
        // Writing to a text never fails.
        let _ = written;
        Frame::text(topic, 1, text)
    }

    fn stamp(&mut self, now: Timestamp) {
        if self.second != now.timestamp() {
            self.second = now.timestamp();
            self.modified = now.format("%Y-%m-%dT%H:%M:%S").to_string();
            self.created = now.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        }
    }
}

fn ident(text: &mut String, number: u64, key: &str, status: &str) -> std::fmt::Result {
    write!(
        text,
        r#"{{"topic":"identResult","kyc":"WEBID","identId":"{number}","personKey":"{key}","reason":null,"status":"{status}"}}"#
    )
}
