//! The people whom the simulator's feed is about. Nobody exists: names and places are drawn from lists, keys from the seed, telephone
//! numbers from the ranges that the regulator keeps free for fiction, mail addresses from a reserved domain.

use chrono::{Datelike, NaiveDate};
use fastrand::Rng;

/// One person as the partner's books have them.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) key: String,
    pub(super) customer_key: String,
    pub(super) contract_key: String,
    /// The provider's id of the compliance record.
    pub(super) record_key: String,
    pub(super) fore_name: &'static str,
    pub(super) sur_name: &'static str,
    pub(super) birth_date: NaiveDate,
    pub(super) birth_place: &'static str,
    /// Two letters, upper case.
    pub(super) nationality: &'static str,
    pub(super) address: Address,
    pub(super) phone: String,
    pub(super) mail: String,
    pub(super) provider: Provider,
    /// The contract includes identResultKYC.
    pub(super) with_attachments: bool,
    /// How likely an identification of theirs fails, 0 to 1.
    pub(super) clumsiness: f64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) street: String,
    pub(super) zip: &'static str,
    pub(super) city: &'static str,
    pub(super) country: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    WebId,
    IdNow,
}

impl Provider {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WebId => "WEBID",
            Self::IdNow => "IDNOW",
        }
    }
}

/// Names and birth places that go together.
struct Origin {
    nationality: &'static str,
    weight: u32,
    fore_names: &'static [&'static str],
    sur_names: &'static [&'static str],
    places: &'static [&'static str],
}

const ORIGINS: &[Origin] = &[
    Origin {
        nationality: "DE",
        weight: 68,
        fore_names: &[
            "Anna", "Jürgen", "Sabine", "Felix", "Katrin", "Björn", "Ulrike", "Moritz", "Heike", "Jörg", "Leonie", "Käthe",
            "Tobias", "Änne",
        ],
        sur_names: &[
            "Müller",
            "Schröder",
            "Weiß",
            "Krüger",
            "Bäcker",
            "Hofmann",
            "Schäfer",
            "Vogel",
            "Jäger",
            "Lindemann",
            "Groß",
            "Köhler",
            "von der Heide",
            "Meyer-Lüth",
        ],
        places: &["Köln", "Frankfurt", "Rostock", "Görlitz", "Würzburg", "Kassel", "Halle (Saale)"],
    },
    Origin {
        nationality: "AT",
        weight: 10,
        fore_names: &["Lukas", "Magdalena", "Florian", "Theresa"],
        sur_names: &["Gruber", "Pichler", "Höller", "Steinböck"],
        places: &["Wien", "Graz", "St. Pölten"],
    },
    Origin {
        nationality: "TR",
        weight: 6,
        fore_names: &["Ayşe", "Mehmet", "Elif", "Çağlar"],
        sur_names: &["Yıldız", "Öztürk", "Şahin", "Demirkaya"],
        places: &["İzmir", "Ankara", "Diyarbakır"],
    },
    Origin {
        nationality: "PL",
        weight: 5,
        fore_names: &["Łukasz", "Małgorzata", "Paweł", "Zofia"],
        sur_names: &["Wójcik", "Zieliński", "Dąbrowska", "Kaczmarek"],
        places: &["Gdańsk", "Łódź", "Kraków"],
    },
    Origin {
        nationality: "IT",
        weight: 4,
        fore_names: &["Chiara", "Niccolò", "Giulia", "Matteo"],
        sur_names: &["D'Amico", "Bellini", "Conti", "Ferrante"],
        places: &["Forlì", "Torino", "Bari"],
    },
    Origin {
        nationality: "LB",
        weight: 3,
        fore_names: &["Nadine", "Karim", "Rania", "Samir"],
        sur_names: &["Haddad", "El-Khoury", "Nasser", "Saab"],
        places: &["Beirut", "Tripoli", "Zahlé"],
    },
    Origin {
        nationality: "UA",
        weight: 2,
        fore_names: &["Olena", "Taras", "Iryna", "Bohdan"],
        sur_names: &["Kovalenko", "Shevchuk", "Melnyk", "Bondar"],
        places: &["Charkiw", "Lwiw", "Odessa"],
    },
    Origin {
        nationality: "IR",
        weight: 2,
        fore_names: &["Shirin", "Dariush", "Laleh", "Farhad"],
        sur_names: &["Rostami", "Karimi", "Tehrani", "Moradi"],
        places: &["Isfahan", "Schiras", "Teheran"],
    },
];

const STREETS: &[&str] =
    &["Hauptstraße", "Bahnhofstraße", "Lindenweg", "Am Mühlbach", "Schloßallee", "Bergstraße", "Gartenweg", "Königsplatz"];

const TOWNS: &[(&str, &str, &str)] = &[
    ("10115", "Berlin", "DE"),
    ("20095", "Hamburg", "DE"),
    ("50667", "Köln", "DE"),
    ("80331", "München", "DE"),
    ("04109", "Leipzig", "DE"),
    ("60311", "Frankfurt am Main", "DE"),
    ("1010", "Wien", "AT"),
    ("8010", "Graz", "AT"),
];

/// So many people, at least one. The same generator gives the same people.
pub(super) fn invent(number: usize, rng: &mut Rng) -> Vec<Person> {
    (0..number.max(1)).map(|_| person(rng)).collect()
}

fn person(rng: &mut Rng) -> Person {
    let origin = origin(rng);
    let fore_name = pick(rng, origin.fore_names);
    let sur_name = pick(rng, origin.sur_names);
    let id = uuid(rng);
    // Keys are the partner's choice: prefixed by habit, bare now and then, and related only by accident.
    let bare = rng.u32(0..8) == 0;
    let prefixed = |prefix: &str, id: &str| if bare { id.to_owned() } else { format!("{prefix}{id}") };
    Person {
        key: prefixed("PERS_", &id),
        customer_key: prefixed("CUS_", &uuid(rng)),
        contract_key: prefixed("CONTR_", &uuid(rng)),
        record_key: hex(rng, 32),
        fore_name,
        sur_name,
        birth_date: birth_date(rng),
        birth_place: pick(rng, origin.places),
        nationality: origin.nationality,
        address: address(rng),
        phone: format!("+49 30 23125 {:03}", rng.u32(0..1000)),
        mail: format!("kontakt.{:04}@example.org", rng.u32(0..10_000)),
        provider: if rng.u32(0..10) < 7 { Provider::WebId } else { Provider::IdNow },
        with_attachments: rng.u32(0..5) == 0,
        clumsiness: if rng.u32(0..12) == 0 { 0.8 } else { 0.08 },
    }
}

fn origin(rng: &mut Rng) -> &'static Origin {
    let mut at = rng.u32(0..ORIGINS.iter().map(|origin| origin.weight).sum());
    ORIGINS
        .iter()
        .find(|origin| {
            let here = at < origin.weight;
            at = at.saturating_sub(origin.weight);
            here
        })
        .unwrap_or(&ORIGINS[0])
}

/// Adults of all ages.
pub(super) fn birth_date(rng: &mut Rng) -> NaiveDate {
    let start = NaiveDate::from_ymd_opt(1945, 1, 1).unwrap_or_default();
    start + chrono::TimeDelta::days(i64::from(rng.u32(0..22_000)))
}

pub(super) fn address(rng: &mut Rng) -> Address {
    let (zip, city, country) = TOWNS[rng.usize(0..TOWNS.len())];
    Address { street: format!("{} {}", pick(rng, STREETS), rng.u32(1..120)), zip, city, country }
}

/// A nationality other than this one.
pub(super) fn other_nationality(rng: &mut Rng, than: &str) -> &'static str {
    let others: Vec<_> = ORIGINS.iter().map(|origin| origin.nationality).filter(|name| *name != than).collect();
    pick(rng, &others)
}

/// A birth place other than this one.
pub(super) fn other_place(rng: &mut Rng, than: &str) -> &'static str {
    let others: Vec<_> = ORIGINS.iter().flat_map(|origin| origin.places).copied().filter(|place| *place != than).collect();
    pick(rng, &others)
}

/// A surname other than this one.
pub(super) fn other_sur_name(rng: &mut Rng, than: &str) -> &'static str {
    let others: Vec<_> = ORIGINS.iter().flat_map(|origin| origin.sur_names).copied().filter(|name| *name != than).collect();
    pick(rng, &others)
}

/// The day and month changed over where that is a date, else the next year: the slips of those who type dates.
pub(super) fn slipped(date: NaiveDate) -> NaiveDate {
    NaiveDate::from_ymd_opt(date.year(), date.day(), date.month())
        .filter(|swapped| *swapped != date)
        .or_else(|| date.with_year(date.year() + 1))
        .unwrap_or(date)
}

pub(super) fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(0..from.len())]
}

pub(super) fn hex(rng: &mut Rng, digits: usize) -> String {
    (0..digits).map(|_| rng.digit(16)).collect()
}

fn uuid(rng: &mut Rng) -> String {
    uuid::Builder::from_random_bytes(rng.u128(..).to_be_bytes()).into_uuid().to_string()
}
