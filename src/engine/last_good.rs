//! What was live and is kept beside the rules, for a start that finds it broken: templates, and the configuration with the places of its secrets.

use std::path::{Path, PathBuf};

use super::ServiceError;
use crate::{
    model::{
        time::Timestamp,
        turn::{Kept, KeptSet},
    },
    render::{self, Templates},
    store::Reader,
};

/// The templates that were live last, else the shipped ones: what stands in should those of the folder be broken.
pub(super) fn templates(options: &render::Options, reader: &Reader) -> Result<Templates, ServiceError> {
    let text = |(name, content): (String, Vec<u8>)| Some((name, String::from_utf8(content).ok()?));
    let kept = reader.last_kept(Kept::Templates)?.map(|kept| kept.files.into_iter().filter_map(text).collect());
    let shipped = || {
        let told = |errors: Vec<render::TemplateError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        Templates::of(options, render::Files::new()).map_err(|errors| ServiceError::Templates(told(errors)))
    };
    kept.and_then(|files| Templates::of(options, files).ok()).map_or_else(shipped, Ok)
}

/// The configuration's files for the store.
pub(super) fn configuration(texts: Vec<(PathBuf, String)>, live_from: Timestamp) -> KeptSet {
    let file = |(number, (path, text)): (usize, (PathBuf, String))| {
        // In their order: later ones win.
        (format!("{number:03} {}", path.display()), text.into_bytes())
    };
    KeptSet { kind: Kept::Configuration, live_from, files: texts.into_iter().enumerate().map(file).collect() }
}

/// The configuration's files as [`configuration`] wrote them, if they are those of this main file.
#[must_use]
pub fn kept_configuration(set: KeptSet, main: &Path) -> Option<Vec<(PathBuf, String)>> {
    let file = |(name, content): (String, Vec<u8>)| {
        let (_, path) = name.split_once(' ')?;
        Some((PathBuf::from(path), String::from_utf8(content).ok()?))
    };
    let texts: Vec<(PathBuf, String)> = set.files.into_iter().map(file).collect::<Option<_>>()?;
    texts.first().is_some_and(|(path, _)| path == main).then_some(texts)
}
