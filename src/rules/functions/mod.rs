//! What rules may call: pure and bounded. (Stand-in.)

pub const NAMES: &[(&str, &[usize])] = &[
    ("country", &[1]),
    ("same_country", &[2]),
    ("same_name", &[2]),
    ("name_similarity", &[2]),
    ("fold", &[1]),
    ("blank", &[1]),
    ("matches", &[2]),
    ("days_between", &[2]),
    ("hours_between", &[2]),
    ("age_on", &[2]),
    ("weekday", &[1]),
    ("working_hours", &[1]),
    ("list", &[1]),
    ("compliance_status", &[1]),
];
