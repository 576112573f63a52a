//! The workload of the comparison: a thousand events in the feed's shapes, and rules that cycle through eight templates, each with a
//! constant of its own. The same as the peers get in their languages; over all events 10 / 100 / 1,000 / 10,000 rules match
//! 115 / 127 / 329 / 1,600 times, in every engine.

use serde_json::{Value, json};

use crate::twister::Twister;

/// Constants of one kind.
const DOMAIN: u32 = 1_000;

const FIELDS: [&str; 8] = ["BirthPlace", "Nationality", "FirstName", "LastName", "Street", "City", "ZipCode", "DateOfBirth"];

fn hex(i: u32) -> String {
    format!("{:08x}", (u64::from(i) * 2_654_435_761) & 0xffff_ffff)
}

fn person(i: u32) -> String {
    format!("PERS_{}-bdef-4aa2-ab7f-VER{i:06}", hex(i))
}

fn customer(i: u32) -> String {
    format!("CUS_{}-bdef-4aa2-ab7f-VER{i:06}", hex(i + 7))
}

/// The events, as the feed sends them.
pub fn events() -> Vec<String> {
    let mut chance = Twister::new(42);
    (0..1_000_u32).map(|k| event(&mut chance, k).to_string()).collect()
}

fn event(chance: &mut Twister, k: u32) -> Value {
    let (kind, i) = (chance.random(), chance.below(DOMAIN));
    let ident = (166_956_507 + k).to_string();
    if kind < 0.40 {
        let fine = chance.random() < 0.8;
        let topic = if chance.random() < 0.9 { "identResult" } else { "identResultKYC" };
        let kyc = if chance.random() < 0.5 { "WEBID".to_owned() } else { format!("KYC{}", chance.below(DOMAIN)) };
        let reason = (!fine).then(|| format!("reason{}", chance.below(DOMAIN)));
        let status = if fine { "success" } else { chance.choice(&["failed", "aborted", "review"]) };
        json!({"topic": topic, "kyc": kyc, "identId": ident, "personKey": person(i), "reason": reason, "status": status})
    } else if kind < 0.70 {
        let many = chance.choice(&[1, 2, 2, 2, 3]);
        let entries: Vec<Value> = (0..many)
            .map(|_| {
                if chance.random() < 0.5 {
                    let field = chance.choice(&FIELDS);
                    json!({"FieldName": field, "Value": "DE", "KycValue": format!("cc{}", chance.below(DOMAIN))})
                } else {
                    json!({"FieldName": format!("Field{}", chance.below(DOMAIN)), "Value": "Frankfurt", "KycValue": "Beirut"})
                }
            })
            .collect();
        json!({"topic": "mismatches", "mismatches": [
            {"IdentId": ident, "PersonKey": person(i), "Created": "2023-06-01T13:23:17.706Z", "Mismatches": entries}]})
    } else if kind < 0.90 {
        let status = if chance.random() < 0.5 { chance.choice(&[100, 200, 300]) } else { 1_000 + chance.below(DOMAIN) };
        json!({"topic": "complianceRecord", "complianceRecord": [{"status": status, "key": "a8f8a836c84c4326ba0ac2727f09a2e6",
            "modified": "2023-06-01T13:23:17", "customerKey": customer(i)}]})
    } else {
        json!({"topic": "identRequestCreated", "kyc": "WEBID", "identId": ident, "personKey": person(i),
            "link": format!("https://webid-solutions.example/verify/8c1e2b7a-0b55-4a90-9b7c-000000{k:06}")})
    }
}

/// One rule in the forms that are measured.
pub struct Rule {
    /// Over the shapes that the feed sends.
    pub raw: String,
    /// Topics, `where` and `when` over canonical events.
    pub on: &'static str,
    pub card: String,
    pub when: String,
}

/// The nth rule; 0 and 1 are the two that everything began with.
pub fn rule(n: u32) -> Rule {
    let i = n / 8;
    match if n < 2 { n } else { 2 + n % 8 } {
        0 => result("event.status != \"success\"", "status: #{ not: \"success\" }"),
        1 => mismatch("f.FieldName == \"Nationality\"", "fieldName: \"Nationality\""),
        2 => result(
            &format!("event.kyc == \"KYC{i}\" && event.status != \"success\""),
            &format!("kyc: \"KYC{i}\", status: #{{ not: \"success\" }}"),
        ),
        3 => result(&format!("event.personKey == \"{}\"", person(i)), &format!("personKey: \"{}\"", person(i))),
        4 => mismatch(&format!("f.FieldName == \"Field{i}\""), &format!("fieldName: \"Field{i}\"")),
        5 => mismatch(
            &format!("f.FieldName == \"Nationality\" && f.KycValue == \"cc{i}\""),
            &format!("fieldName: \"Nationality\", kycValue: \"cc{i}\""),
        ),
        6 => record(&format!("customerKey == \"{}\"", customer(i)), &format!("customerKey: \"{}\"", customer(i))),
        7 => {
            let start = format!("PERS_{}", &hex(i)[..6]);
            result(&format!("event.personKey.starts_with(\"{start}\")"), &format!("personKey: #{{ starts_with: \"{start}\" }}"))
        }
        8 => Rule {
            raw: format!("event.topic in [\"identResult\", \"identResultKYC\"] && event.reason == \"reason{i}\""),
            on: "\"identResult\", \"identResultKYC\"",
            card: format!("reason: \"reason{i}\""),
            when: format!("event.reason == \"reason{i}\""),
        },
        _ => record(&format!("status == {}", 1_000 + i), &format!("status: {}", 1_000 + i)),
    }
}

fn result(when: &str, card: &str) -> Rule {
    Rule {
        raw: format!("event.topic == \"identResult\" && {when}"),
        on: "\"identResult\"",
        card: card.to_owned(),
        when: when.to_owned(),
    }
}

fn mismatch(test: &str, card: &str) -> Rule {
    let canonical = test.replace("f.FieldName", "m.fieldName").replace("f.KycValue", "m.kycValue");
    Rule {
        raw: format!("event.topic == \"mismatches\" && event.mismatches.some(|m| m.Mismatches.some(|f| {test}))"),
        on: "\"mismatches\"",
        card: format!("mismatches: #{{ some: #{{ {card} }} }}"),
        when: format!("event.mismatches.some(|m| {canonical})"),
    }
}

fn record(test: &str, card: &str) -> Rule {
    Rule {
        raw: format!("event.topic == \"complianceRecord\" && event.complianceRecord.some(|r| r.{test})"),
        on: "\"complianceRecord\"",
        card: card.to_owned(),
        when: format!("event.{test}"),
    }
}
