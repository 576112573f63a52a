//! What the provider reads from a document against what the partner has in its books: spellings that mean the same, and real
//! differences.

use chrono::NaiveDate;
use fastrand::Rng;
use serde::Serialize;

use super::people::{self, Person};

/// One entry of `Mismatches`, in the provider's spelling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Difference {
    pub(super) field_name: &'static str,
    pub(super) value: String,
    pub(super) kyc_value: String,
}

/// The differences found for one person, one to four; `real` says whether they contain one that means something.
pub(super) fn find(person: &Person, real: bool, rng: &mut Rng) -> Vec<Difference> {
    let mut found = Vec::new();
    if real {
        found.extend(meaningful(person, rng));
    }
    // A harmless one comes along often, on a field that is not yet named.
    for _ in 0..if real { rng.usize(0..2) } else { rng.usize(1..3) } {
        let difference = harmless(person, rng);
        if found.iter().all(|known: &Difference| known.field_name != difference.field_name) {
            found.push(difference);
        }
    }
    found
}

fn meaningful(person: &Person, rng: &mut Rng) -> Vec<Difference> {
    let one = |name, value: &str, kyc_value: &str| vec![difference(name, value, kyc_value)];
    match rng.u32(0..100) {
        0..25 => {
            let other = people::other_nationality(rng, person.nationality).to_lowercase();
            one("Nationality", person.nationality, &other)
        }
        25..40 => one("BirthPlace", person.birth_place, people::other_place(rng, person.birth_place)),
        40..55 => one("SurName", person.sur_name, people::other_sur_name(rng, person.sur_name)),
        55..65 => one("ForeName", person.fore_name, &format!("{} Maria", person.fore_name)),
        65..80 => one("BirthDate", &iso(person.birth_date), &iso(people::slipped(person.birth_date))),
        80..95 => {
            let moved = people::address(rng);
            let here = &person.address;
            [
                ("Street", here.street.as_str(), moved.street.as_str()),
                ("Zip", here.zip, moved.zip),
                ("City", here.city, moved.city),
            ]
            .into_iter()
            .filter(|(_, value, kyc_value)| value != kyc_value)
            .map(|(name, value, kyc_value)| difference(name, value, kyc_value))
            .collect()
        }
        95..98 => one("Phone", &person.phone, "+49 171 3920 017"),
        _ => one("Email", &person.mail, &person.mail.replacen("kontakt", "post", 1)),
    }
}

fn harmless(person: &Person, rng: &mut Rng) -> Difference {
    match rng.u32(0..100) {
        0..40 => difference("Nationality", person.nationality, &person.nationality.to_lowercase()),
        40..60 => {
            let plain = transliterated(person.sur_name);
            let kyc = if plain == person.sur_name { person.sur_name.to_uppercase() } else { plain };
            difference("SurName", person.sur_name, &kyc)
        }
        60..75 => {
            let street = &person.address.street;
            let short = street.replace("straße", "str.");
            difference("Street", street, &if short == *street { street.to_uppercase() } else { short })
        }
        75..85 => difference("BirthDate", &iso(person.birth_date), &person.birth_date.format("%d.%m.%Y").to_string()),
        85..95 => difference("City", person.address.city, &transliterated(person.address.city).to_uppercase()),
        _ => difference("ForeName", person.fore_name, &format!(" {} ", transliterated(person.fore_name))),
    }
}

fn difference(field_name: &'static str, value: &str, kyc_value: &str) -> Difference {
    Difference { field_name, value: value.to_owned(), kyc_value: kyc_value.to_owned() }
}

fn iso(date: NaiveDate) -> String {
    date.format("%Y-%m-%d").to_string()
}

/// As the machine-readable zone of a document spells it: ü as ue, ß as ss; other marks are dropped.
pub(super) fn transliterated(name: &str) -> String {
    let mut plain = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        match letter {
            'ä' => plain.push_str("ae"),
            'ö' => plain.push_str("oe"),
            'ü' => plain.push_str("ue"),
            'Ä' => plain.push_str("Ae"),
            'Ö' => plain.push_str("Oe"),
            'Ü' => plain.push_str("Ue"),
            'ß' => plain.push_str("ss"),
            other => plain.push_str(deunicode::deunicode_char(other).unwrap_or("")),
        }
    }
    plain
}
