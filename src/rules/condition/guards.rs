//! What an event must show for a `where` table to hold. Conditions are total, so every check is a condition by itself.

use super::{Check, Condition, Path, Scalar, Table, Test};
use crate::rules::index::{Guard, Key, Place, Test as Shown};

impl Condition {
    /// Each of these by itself must show, or the condition does not hold.
    #[must_use]
    pub fn guards(&self) -> Vec<Guard> {
        table(&self.0, &[])
    }
}

fn table(table_: &Table, within: &[Box<str>]) -> Vec<Guard> {
    let mut guards: Vec<Guard> = table_.checks.iter().flat_map(|check| of_check(check, within)).collect();
    if let Some(tables) = &table_.any {
        // Of each alternative one; without one for each there is none for all.
        let alternatives: Option<Vec<Guard>> =
            tables.iter().map(|alternative| table(alternative, within).into_iter().next()).collect();
        guards.extend(alternatives.and_then(|guards| guards.into_iter().reduce(Guard::or)));
    }
    guards
}

fn of_check(check: &Check, within: &[Box<str>]) -> Vec<Guard> {
    let Some(place) = place(&check.path, within) else { return Vec::new() };
    let one = |key: Option<Key>| key.map(|key| Guard(vec![shown(&place, key)])).into_iter().collect();
    match &check.test {
        Test::Is(scalar) => one(key(scalar)),
        Test::OneOf(scalars) => {
            let keys: Option<Vec<Key>> = scalars.iter().map(key).collect();
            keys.map(|keys| Guard(keys.into_iter().map(|key| shown(&place, key)).collect())).into_iter().collect()
        }
        Test::StartsWith(start) => one(Some(Key::Prefix(start.clone()))),
        Test::Some(inner) => table(inner, &place),
        _ => Vec::new(),
    }
}

fn shown(place: &[Box<str>], key: Key) -> Shown {
    Shown { place: Place(place.to_vec()), key }
}

/// A plain field; a path into maps or to one entry of a list is none.
fn place(path: &Path, within: &[Box<str>]) -> Option<Vec<Box<str>>> {
    let plain = path.plain()?;
    Some(within.iter().cloned().chain([plain.into()]).collect())
}

fn key(scalar: &Scalar) -> Option<Key> {
    Some(match scalar {
        Scalar::Nothing => Key::Nothing,
        Scalar::Bool(value) => Key::Bool(*value),
        Scalar::Int(number) => Key::Int(*number),
        Scalar::Text(text) => Key::Text(text.clone()),
        Scalar::Float(_) | Scalar::Time(_) => return None,
    })
}
