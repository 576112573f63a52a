//! Rules as an officer's folder has them, a hundred or a multiple, of which the load breaks two: every failed identification alerts, and
//! once an hour and person a second rule groups them.

use std::{fmt::Write as _, fs, io, path::Path};

/// How many rules a set has.
pub const COUNT: usize = 100;

/// Where every rule sends to.
pub const CHANNEL: &str = "kyc-operations";

/// One rule's differing parts.
struct Rule {
    on: &'static str,
    /// Entries of the card.
    card: String,
    functions: String,
    /// A test that alerts, without its name.
    alerts: String,
}

/// Writes so many sets of rules and their lists into an empty folder. The load breaks rules of the first set alone.
pub fn write(folder: &Path, sets: usize) -> io::Result<()> {
    fs::create_dir_all(folder.join("lists"))?;
    fs::create_dir_all(folder.join("load"))?;
    let mut watched = String::from("# Persons that are looked at more closely.\n");
    for number in 0..500 {
        // Writing to a text never fails.
        let _ = writeln!(watched, "PERS_watched-{number:04}");
    }
    fs::write(folder.join("lists/watched_persons.txt"), watched)?;
    fs::write(folder.join("lists/risky_countries.txt"), "Iran\nNorth Korea\nMyanmar\nSyrien\nAfghanistan\n")?;
    for number in 0..sets * COUNT {
        fs::write(folder.join(format!("load/rule_{number:03}.rhai")), text(number, &rule(number)))?;
    }
    Ok(())
}

fn text(number: usize, rule: &Rule) -> String {
    let Rule { on, card, functions, alerts } = rule;
    let like = on.split('"').nth(1).unwrap_or_default();
    // Quiet periods on a third of them, as far as the rule does not bring its own.
    let field = if like == "complianceRecord" { "key" } else { "personKey" };
    let quiet = if number.is_multiple_of(3) && !card.contains("quiet:") && number != 0 {
        format!("    quiet: #{{ same: [\"{field}\"], within: \"24h\" }},\n")
    } else {
        String::new()
    };
    format!(
        "//! Rule {number} of the load.\n\n\
         const RULE = #{{\n    id: \"LOAD-{number:03}\", title: \"Rule {number} of the load\",\n    on: [{on}],\n    severity: \"medium\", \
         send_to: [\"{CHANNEL}\"],\n{quiet}{card}}};\n\n{functions}\n\
         const TESTS = [\n    #{{ name: \"it alerts\", like: \"{like}\", {alerts}, expect: #{{ alerts: 1 }} }},\n    \
         #{{ name: \"it stays quiet\", like: \"{like}\", expect: #{{ alerts: 0 }} }},\n];\n"
    )
}

fn rule(number: usize) -> Rule {
    match number % COUNT {
        _ if number == 0 => alerting(""),
        _ if number == 1 => alerting("    quiet: #{ same: [\"personKey\"], within: \"1h\" },\n"),
        0..30 => result(number),
        30..65 => mismatches(number),
        65..85 => record(number),
        _ => others(number),
    }
}

/// What the load breaks.
fn alerting(card: &str) -> Rule {
    Rule {
        on: r#""identResult""#,
        card: format!(
            "    where: #{{ status: \"failed\" }},\n    subject: \"Identification {{identId}} of {{personKey}} failed\",\n{card}"
        ),
        functions: String::new(),
        alerts: r#"set: #{ status: "failed" }"#.to_owned(),
    }
}

fn result(number: usize) -> Rule {
    let on = if number.is_multiple_of(4) { r#""identResult", "identResultKYC""# } else { r#""identResult""# };
    match number % 4 {
        0 => Rule {
            on,
            card: format!("    where: #{{ reason: #{{ contains: \"REASON_{number}\" }} }},\n"),
            functions: String::new(),
            alerts: format!("set: #{{ reason: \"REASON_{number}\" }}"),
        },
        1 => Rule {
            on,
            card: format!(
                "    where: #{{ status: #{{ not: \"success\" }} }},\n    settings: #{{ signs: \"(?i)sign_{number}|betrug_{number}\" }},\n"
            ),
            functions:
                "fn when(event, settings) { matches(event.status, settings.signs) || matches(event.reason, settings.signs) }\n"
                    .to_owned(),
            alerts: format!("set: #{{ status: \"pending\", reason: \"SIGN_{number}\" }}"),
        },
        2 => Rule {
            on,
            card: format!("    where: #{{ kyc: \"KYC{number}\", personKey: #{{ in_list: \"watched_persons\" }} }},\n"),
            functions: String::new(),
            alerts: format!(
                "set: #{{ kyc: \"KYC{number}\", personKey: \"PERS_watched-0001\" }}, lists: #{{ watched_persons: [\"PERS_watched-0001\"] }}"
            ),
        },
        _ => Rule {
            on,
            card: format!("    settings: #{{ kinds: [\"KIND{number}\", \"SORT{number}\"] }},\n"),
            functions: "fn when(event, settings) { event.kyc in settings.kinds && !blank(event.personKey) }\n".to_owned(),
            alerts: format!("set: #{{ kyc: \"SORT{number}\" }}"),
        },
    }
}

fn mismatches(number: usize) -> Rule {
    let on = r#""mismatches""#;
    let entry = format!(
        "set: #{{ \"mismatches[0].fieldName\": \"Field{number}\", \"mismatches[0].value\": \"DE\", \"mismatches[0].kycValue\": \"IR\" }}"
    );
    match number % 7 {
        0 | 1 => Rule {
            on,
            card: format!("    where: #{{ mismatches: #{{ some: #{{ fieldName: \"Field{number}\", kycValue: #{{ blank: false }} }} }} }},\n"),
            functions: String::new(),
            alerts: entry,
        },
        2 => Rule {
            on,
            card: format!("    where: #{{ mismatches: #{{ some: #{{ fieldName: \"Field{number}\" }} }} }},\n"),
            functions: "fn when(event, settings) { event.mismatches.some(|m| !same_country(m.value, m.kycValue)) }\n".to_owned(),
            alerts: entry,
        },
        3 => Rule {
            on,
            card: format!(
                "    where: #{{ mismatches: #{{ some: #{{ fieldName: \"Field{number}\" }} }} }},\n    settings: #{{ field: \"Field{number}\" }},\n"
            ),
            functions: "fn when(event, settings) {\n    let risky = list(\"risky_countries\");\n    \
                        event.mismatches.some(|m| m.fieldName == settings.field && country(m.kycValue) in risky)\n}\n"
                .to_owned(),
            alerts: format!("{entry}, lists: #{{ risky_countries: [\"Iran\"] }}"),
        },
        4 => Rule {
            on,
            card: format!("    settings: #{{ watched: [\"Field{number}\", \"Other{number}\"] }},\n"),
            functions: "fn when(event, settings) { differing(event, settings).len() > 0 }\n\n\
                        fn subject(event, settings) { `${differing(event, settings)[0].fieldName} differs` }\n\n\
                        fn differing(event, settings) {\n    event.mismatches.filter(|m| m.fieldName in settings.watched && \
                        country(m.value) != country(m.kycValue))\n}\n"
                .to_owned(),
            alerts: entry,
        },
        5 => Rule {
            on,
            card: format!("    settings: #{{ watched: [\"field{number}\", \"other{number}\"] }},\n"),
            functions: "fn when(event, settings) {\n    \
                        event.mismatches.some(|m| fold(m.fieldName) in settings.watched && !same_name(m.value, m.kycValue))\n}\n"
                .to_owned(),
            alerts: entry,
        },
        _ => Rule {
            on,
            card: format!("    settings: #{{ watched: \"Field{number}\" }},\n"),
            functions: "fn when(event, settings) { event.mismatches.some(|m| m.fieldName == settings.watched && m.value != m.kycValue) }\n"
                .to_owned(),
            alerts: entry,
        },
    }
}

fn record(number: usize) -> Rule {
    let on = r#""complianceRecord""#;
    let code = 1_000 + number;
    match number % 4 {
        0 | 1 => Rule {
            on,
            card: format!("    where: #{{ status: {code} }},\n    subject: \"Status {{status}} of {{customerKey|nobody}}\",\n"),
            functions: String::new(),
            alerts: format!("set: #{{ status: {code} }}"),
        },
        2 => Rule {
            on,
            card: format!(
                "    where: #{{ any: [ #{{ status: {code} }}, #{{ status: #{{ at_least: {}, at_most: {} }} }} ] }},\n",
                code * 10,
                code * 10 + 9
            ),
            functions: "fn subject(event, settings) { `Status ${event.status} ${compliance_status(event.status).name}` }\n"
                .to_owned(),
            alerts: format!("set: #{{ status: {} }}", code * 10 + 3),
        },
        _ => Rule {
            on,
            card: format!("    settings: #{{ codes: [{code}, {}] }},\n", code + 1_000),
            functions: "fn when(event, settings) { event.status in settings.codes && !blank(event.key) }\n".to_owned(),
            alerts: format!("set: #{{ status: {code} }}"),
        },
    }
}

/// The topics that the load does not bring.
fn others(number: usize) -> Rule {
    if number.is_multiple_of(2) {
        return Rule {
            on: r#""identResultKYC""#,
            card: format!("    where: #{{ status: \"success\", kyc: \"KYC{number}\", attachments: #{{ blank: true }} }},\n"),
            functions: String::new(),
            alerts: format!("set: #{{ status: \"success\", kyc: \"KYC{number}\" }}, unset: [\"attachments\"]"),
        };
    }
    Rule {
        on: r#""identRequestsCreated""#,
        card: format!("    where: #{{ status: #{{ one_of: [\"expired_{number}\", \"void_{number}\"] }} }},\n"),
        functions: String::new(),
        alerts: format!("set: #{{ status: \"void_{number}\" }}"),
    }
}
