//! Every function with what it promises and examples that a test runs. docs/rules.md shows this table; a test compares them.

/// One function, as rule authors read it.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    pub name: &'static str,
    /// How many arguments it takes.
    pub arities: &'static [usize],
    /// `same_name(a, b)`
    pub signature: &'static str,
    /// What it answers, its neutral result for nothing, its errors.
    pub text: &'static str,
    /// Expression and result, both Rhai.
    pub examples: &'static [(&'static str, &'static str)],
}

/// Names and arities, for lints.
pub const NAMES: &[(&str, &[usize])] = &{
    let mut names = [("", &[] as &[usize]); FUNCTIONS.len()];
    let mut index = 0;
    while index < FUNCTIONS.len() {
        names[index] = (FUNCTIONS[index].name, FUNCTIONS[index].arities);
        index += 1;
    }
    names
};

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "country",
        arities: &[1],
        signature: "country(x)",
        text: "ISO 3166 code of a country's code or name, English or German, in any case. What it doesn't know comes back folded and is counted as a finding. `()` stays `()`.",
        examples: &[
            ("country(\"Deutschland\")", "\"DE\""),
            ("country(\"lbn\")", "\"LB\""),
            ("country(\"Atlantis \")", "\"atlantis\""),
            ("country(())", "()"),
        ],
    },
    Function {
        name: "same_country",
        arities: &[2],
        signature: "same_country(a, b)",
        text: "Whether both mean one country. Two blanks are the same, one blank is not.",
        examples: &[
            ("same_country(\"DE\", \"de\")", "true"),
            ("same_country(\"Germany\", \"lb\")", "false"),
            ("same_country((), \"DE\")", "false"),
        ],
    },
    Function {
        name: "same_name",
        arities: &[2],
        signature: "same_name(a, b)",
        text: "The same words in the same order, folded; hyphens and dots part words, apostrophes vanish. Müller is Mueller, and not Muller. Two blanks are the same, one blank is not.",
        examples: &[
            ("same_name(\"Müller\", \"MUELLER\")", "true"),
            ("same_name(\"Hans-Peter\", \"Hans Peter\")", "true"),
            ("same_name(\"Müller\", \"Muller\")", "false"),
        ],
    },
    Function {
        name: "name_similarity",
        arities: &[2],
        signature: "name_similarity(a, b)",
        text: "0.0 (nothing alike) to 1.0 (the same): Jaro–Winkler of the folded words, in order or sorted, whichever is nearer. 0.0 if one is blank.",
        examples: &[
            ("name_similarity(\"Weiß, Jörg\", \"Joerg Weiss\")", "1.0"),
            ("name_similarity(\"Katharina\", \"Katarina\") > 0.9", "true"),
            ("name_similarity(\"Anna\", ())", "0.0"),
        ],
    },
    Function {
        name: "fold",
        arities: &[1],
        signature: "fold(text)",
        text: "Text for comparison: lower-case, ä→ae ö→oe ü→ue ß→ss, then other letters in their ASCII form, white space as one blank. `()` becomes an empty text.",
        examples: &[
            ("fold(\"  Łódź  GROẞ \")", "\"lodz gross\""),
            ("fold(\"Müller\") == fold(\"MUELLER\")", "true"),
            ("fold(())", "\"\""),
        ],
    },
    Function {
        name: "blank",
        arities: &[1],
        signature: "blank(x)",
        text: "Nothing, an empty text, only white space, an empty list or map.",
        examples: &[("blank(\"  \")", "true"), ("blank([])", "true"), ("blank(0)", "false")],
    },
    Function {
        name: "matches",
        arities: &[2],
        signature: "matches(text, regex)",
        text: "Whether the pattern occurs in the text; `^` and `$` tie it to the ends, `(?i)` ignores case. No look-around or back references, at most 1,024 bytes; a pattern that can't be used is an error. `()` matches nothing.",
        examples: &[
            ("matches(\"AB12\", \"^[A-Z]{2}[0-9]+$\")", "true"),
            ("matches(\"Fraud\", \"(?i)FRAUD\")", "true"),
            ("matches((), \".*\")", "false"),
        ],
    },
    Function {
        name: "same_date",
        arities: &[2],
        signature: "same_date(a, b)",
        text: "The same day, ISO or German, times ignored. What is no date is compared as text. Two blanks are the same, one blank is not.",
        examples: &[
            ("same_date(\"1985-03-07\", \"07.03.1985\")", "true"),
            ("same_date(\"1985-03-07T00:00:00Z\", \"7.3.1985\")", "true"),
            ("same_date(\"1985-03-07\", \"03.07.1985\")", "false"),
        ],
    },
    Function {
        name: "days_between",
        arities: &[2],
        signature: "days_between(a, b)",
        text: "Whole days from `a` to `b`, negative if `b` is earlier. `()` if one is blank; an error if one is no date.",
        examples: &[("days_between(\"2023-06-01\", \"08.06.2023\")", "7"), ("days_between(\"2023-06-01\", ())", "()")],
    },
    Function {
        name: "hours_between",
        arities: &[2],
        signature: "hours_between(a, b)",
        text: "Hours from `a` to `b` with the fraction; a time without offset is UTC. `()` if one is blank; an error if one is no date.",
        examples: &[("hours_between(\"2023-06-01T12:00:00+02:00\", \"2023-06-01T11:30:00Z\")", "1.5")],
    },
    Function {
        name: "age_on",
        arities: &[2],
        signature: "age_on(birthDate, at)",
        text: "Full years on that day. `()` if one is blank; an error if one is no date or the birth lies behind.",
        examples: &[("age_on(\"02.06.2005\", \"2023-06-01T09:00:00Z\")", "17"), ("age_on(\"2004-02-29\", \"2022-03-01\")", "18")],
    },
    Function {
        name: "weekday",
        arities: &[1, 2],
        signature: "weekday(at)` or `weekday(at, zone)",
        text: "`\"monday\"` … `\"sunday\"` by the time's own offset (UTC if it has none, as `event.at`), or in a zone. `()` if blank; an error if it is no date.",
        examples: &[
            ("weekday(\"2023-06-04T23:30:00Z\")", "\"sunday\""),
            ("weekday(\"2023-06-04T23:30:00Z\", \"Europe/Berlin\")", "\"monday\""),
        ],
    },
    Function {
        name: "working_hours",
        arities: &[1, 2],
        signature: "working_hours(at)` or `working_hours(at, zone)",
        text: "Monday to Friday, 08:00 to before 18:00, by the time's own offset (UTC if it has none, as `event.at`), or in a zone. Holidays count as working days. `false` if blank; an error if it is no date.",
        examples: &[
            ("working_hours(\"2023-06-01T07:30:00Z\")", "false"),
            ("working_hours(\"2023-06-01T07:30:00Z\", \"Europe/Berlin\")", "true"),
        ],
    },
    Function {
        name: "list",
        arities: &[1],
        signature: "list(\"name\")",
        text: "The list `rules/lists/name.txt` or `.csv`, for `x in list(\"name\")`, `.len()`, `.is_empty()`. Entries and `x` are normalised alike; `()` and blanks are in no list. A list that doesn't exist is an error.",
        examples: &[("\"Libanon\" in list(\"high_risk_countries\")", "true"), ("() in list(\"high_risk_countries\")", "false")],
    },
    Function {
        name: "entries",
        arities: &[1],
        signature: "entries(list)",
        text: "The first 1,000 normalised entries of a list, to walk through.",
        examples: &[("entries(list(\"high_risk_countries\"))", "[\"LB\", \"atlantis\"]")],
    },
    Function {
        name: "compliance_status",
        arities: &[1],
        signature: "compliance_status(code)",
        text: "`#{ name, group }` of a compliance status; groups: `approved waiting rejected inquiry payment cancellation data_change`. `rules/lists/compliance_status.csv` (code,name,group) extends the table. A code that neither knows is its own name in the group `unknown`; `()` has no name.",
        examples: &[
            ("compliance_status(300).name", "\"REJECTED_AML_SANCTIONS_PEP\""),
            ("compliance_status(402).group", "\"inquiry\""),
            ("compliance_status(999).group", "\"unknown\""),
        ],
    },
];
