//! Where the store may lie when the configuration that says so can't be used: for the last good one, which is in the store.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Lookup, load::drop_ins};

/// Folders to look in, the likeliest first. Nothing is made, and a wrong one does no harm: what is kept there names another file.
#[must_use]
pub fn data_dirs(lookup: &Lookup) -> Vec<PathBuf> {
    let variable = |(name, value): &(String, String)| (name == "REDFLAG__DATA_DIR").then(|| PathBuf::from(value));
    let mut found: Vec<PathBuf> = lookup.variables.iter().filter_map(variable).collect();
    if let Some(main) = lookup.main_file() {
        let drop_ins = drop_ins(&main).unwrap_or_default();
        found.extend(drop_ins.iter().rev().chain([&main]).filter_map(|file| written_in(file)));
    }
    let state = std::env::var("STATE_DIRECTORY").unwrap_or_default();
    found.extend(state.split(':').filter(|folder| !folder.is_empty()).map(PathBuf::from));
    found
}

/// What the file sets `data_dir` to, as far as one line tells: the rest may be no TOML at all.
fn written_in(file: &Path) -> Option<PathBuf> {
    let bytes = fs::read(file).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let above = text.lines().take_while(|line| !line.trim_start().starts_with('['));
    let folder =
        above.filter_map(|line| line.parse::<toml::Table>().ok()?.get("data_dir")?.as_str().map(str::to_owned)).last()?;
    Some(file.parent().unwrap_or(Path::new("")).join(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_found_in_a_file_that_is_no_toml() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("redflag.toml");
        fs::write(&main, b"environment = \"prod\ndata_dir = \"state\" # here\n\xff\n[http]\ndata_dir = \"not this\"\n").unwrap();
        let lookup = Lookup { file: Some(main.clone()), ..Lookup::default() };
        assert_eq!(data_dirs(&lookup), [folder.path().join("state")]);
        let variables = vec![("REDFLAG__DATA_DIR".to_owned(), "/elsewhere".to_owned())];
        assert_eq!(data_dirs(&Lookup { variables, ..lookup }), [PathBuf::from("/elsewhere"), folder.path().join("state")]);
        assert!(data_dirs(&Lookup { file: Some(folder.path().join("none.toml")), ..Lookup::default() }).is_empty());
    }
}
