//! Puts a configuration together: defaults < file < drop-ins < environment < command line.
//!
//! Everything wrong is reported at once, each with its place. Secrets are not read here: whoever needs one reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    value::{Dict, Value},
};

use super::{
    Config, Language,
    feeds::zone::ZoneName,
    inspect::{Found, inspect},
    layers::{Layer, PREFIX},
    problem::{ConfigError, Key, Origin, Problem},
    service::{RulesConfig, TemplatesConfig},
    shape::{self, Shape},
    validate::{self, validate},
};

/// Where to look. [`Lookup::system`] is what the commands use; tests give their own.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    /// The file to use, from `--config` or `$REDFLAG_CONFIG`.
    pub file: Option<PathBuf>,
    /// Otherwise the first of these that exists.
    pub places: Vec<PathBuf>,
    /// The environment.
    pub variables: Vec<(String, String)>,
    /// Dotted keys and values from the command line.
    pub overrides: Vec<(String, String)>,
}

impl Lookup {
    /// This process' environment and the usual places.
    #[must_use]
    pub fn system(file: Option<PathBuf>) -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
            .collect();
        let places = vec![PathBuf::from("redflag.toml"), PathBuf::from("/etc/redflag/redflag.toml")];
        Self { file, places, variables, overrides: Vec::new() }
    }

    /// The main file; none when there is none and none was asked for.
    #[must_use]
    pub fn main_file(&self) -> Option<PathBuf> {
        self.file.clone().or_else(|| self.places.iter().find(|path| path.is_file()).cloned())
    }
}

/// A whole configuration, valid.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    pub config: Config,
    /// The main file, then its drop-ins.
    pub files: Vec<PathBuf>,
    /// These files as they were read: names with their whole path.
    pub texts: Vec<(PathBuf, String)>,
    /// What is allowed but unwise.
    pub warnings: Vec<String>,
    pub provenance: Provenance,
}

/// What the commands for rule authors need of a configuration; the rest may be missing or wrong.
#[derive(Clone, Debug)]
pub struct LoadedRules {
    pub rules: RulesConfig,
    pub templates: TemplatesConfig,
    pub language: Language,
    pub time_zone: ZoneName,
    /// Topics declared beyond the known ones, of all feeds.
    pub topics: Vec<String>,
    /// Fields declared beyond the known ones, by topic, of all feeds.
    pub fields: BTreeMap<String, Vec<String>>,
    /// Names of channels and groups; none without a configuration file.
    pub recipients: Option<Vec<String>>,
    pub files: Vec<PathBuf>,
}

/// What a command needs to find a running service; the rest may be wrong.
#[derive(Clone, Debug)]
pub struct LoadedPlace {
    pub data_dir: PathBuf,
    pub time_zone: ZoneName,
}

/// Where each value comes from.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    /// Later layers win.
    places: Vec<BTreeMap<Key, Origin>>,
}

impl Provenance {
    /// The origin of the value at a key; of the nearest table above it that was written down, when the key itself was not.
    #[must_use]
    pub fn nearest(&self, key: &[String]) -> Origin {
        (1..=key.len())
            .rev()
            .map(|length| self.of(&key[..length]))
            .find(|origin| *origin != Origin::Default)
            .unwrap_or(Origin::Default)
    }

    /// The origin of the value at exactly this key.
    #[must_use]
    pub fn of(&self, key: &[String]) -> Origin {
        self.places.iter().rev().find_map(|places| places.get(key)).cloned().unwrap_or(Origin::Default)
    }
}

/// Loads, merges, checks.
///
/// # Errors
/// There is no file, one can't be read, or what they say together can't be used.
pub fn load(lookup: &Lookup) -> Result<LoadedConfig, ConfigError> {
    finish(Merged::read(lookup)?, lookup)
}

/// As [`load`], of files that were read before: the environment and the command line are those of now.
///
/// # Errors
/// As [`load`].
pub fn load_texts(lookup: &Lookup, texts: Vec<(PathBuf, String)>) -> Result<LoadedConfig, ConfigError> {
    finish(Merged::of(lookup, texts)?, lookup)
}

fn finish(mut merged: Merged, lookup: &Lookup) -> Result<LoadedConfig, ConfigError> {
    if merged.files.is_empty() {
        return Err(ConfigError::NotFound { looked: lookup.places.clone() });
    }
    let (usable, guessed) = merged.inspect(shape::root());
    let config: Config = match usable.deserialize() {
        Ok(config) => config,
        Err(error) => {
            // With a mistake of form this may follow from it.
            if merged.problems.is_empty() {
                merged.problems.extend(error.into_iter().map(|error| Problem::at(error.path.clone(), error.kind.to_string())));
            }
            return Err(merged.failed());
        }
    };
    let findings = validate(&config);
    let follows = |problem: &Problem| guessed.iter().any(|key| problem.key.starts_with(key));
    merged.problems.extend(findings.problems.into_iter().filter(|problem| !follows(problem)));
    merged.done()?;
    let warnings = findings.warnings.into_iter().chain(validate::exposed(&config)).collect();
    let Merged { files, texts, provenance, .. } = merged;
    Ok(LoadedConfig { config, files, texts, warnings, provenance })
}

/// Loads where the store lies, whatever else is wrong.
///
/// # Errors
/// There is no file, one can't be read, or it does not even say that.
pub fn load_place(lookup: &Lookup) -> Result<LoadedPlace, ConfigError> {
    let mut merged = Merged::read(lookup)?;
    if merged.files.is_empty() {
        return Err(ConfigError::NotFound { looked: lookup.places.clone() });
    }
    merged.only(&["data_dir", "time_zone"])?;
    Ok(LoadedPlace { data_dir: section(&merged.values, "data_dir"), time_zone: zone(&merged.values) })
}

/// Loads what `check` and `test` need, with or without a file.
///
/// # Errors
/// A file that was asked for is missing, one can't be read, or the sections that matter can't be used.
pub fn load_rules(lookup: &Lookup) -> Result<LoadedRules, ConfigError> {
    const SECTIONS: &[&str] = &["rules", "templates", "language", "time_zone", "groups"];
    let mut merged = Merged::read(lookup)?;
    // Names first: a channel that is only half configured is still a name that rules may use.
    let names = |section: &str| match merged.values.get(section) {
        Some(Value::Dict(_, dict)) => dict.keys().cloned().collect(),
        _ => Vec::new(),
    };
    let recipients: BTreeSet<String> = names("channels").into_iter().chain(names("groups")).collect();
    let mut feeds = Vec::new();
    if let Some(Value::Dict(_, dict)) = merged.values.get("feeds") {
        feeds.extend(dict.values().filter_map(|feed| if let Value::Dict(_, feed) = feed { Some(feed.clone()) } else { None }));
    }
    merged.only(SECTIONS)?;

    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut topics = BTreeSet::new();
    for feed in &feeds {
        topics.extend(section::<Vec<String>>(feed, "topics"));
        for (topic, names) in section::<BTreeMap<String, Vec<String>>>(feed, "fields") {
            fields.entry(topic).or_default().extend(names);
        }
    }
    Ok(LoadedRules {
        rules: section(&merged.values, "rules"),
        templates: section(&merged.values, "templates"),
        language: section(&merged.values, "language"),
        time_zone: zone(&merged.values),
        topics: topics.into_iter().collect(),
        fields,
        recipients: (!merged.files.is_empty()).then(|| recipients.into_iter().collect()),
        files: merged.files,
    })
}

/// A section that was inspected before, or its default.
fn section<T: serde::de::DeserializeOwned + Default>(dict: &Dict, name: &str) -> T {
    dict.get(name).and_then(|value| value.deserialize().ok()).unwrap_or_default()
}

fn zone(dict: &Dict) -> ZoneName {
    section::<Option<ZoneName>>(dict, "time_zone").unwrap_or(ZoneName(chrono_tz::UTC))
}

/// All layers as one.
struct Merged {
    values: Dict,
    files: Vec<PathBuf>,
    texts: Vec<(PathBuf, String)>,
    provenance: Provenance,
    problems: Vec<Problem>,
}

impl Merged {
    fn read(lookup: &Lookup) -> Result<Self, ConfigError> {
        let files = match lookup.main_file() {
            Some(main) => {
                let drop_ins = drop_ins(&main)?;
                [vec![main], drop_ins].concat()
            }
            None => Vec::new(),
        };
        let read = |path: PathBuf| match fs::read_to_string(&path) {
            Ok(text) => Ok((path, text)),
            Err(source) => Err(ConfigError::Unreadable { path, source }),
        };
        Self::of(lookup, files.into_iter().map(read).collect::<Result<_, _>>()?)
    }

    /// The main file comes first.
    fn of(lookup: &Lookup, texts: Vec<(PathBuf, String)>) -> Result<Self, ConfigError> {
        let shape = shape::root();
        let files: Vec<PathBuf> = texts.iter().map(|(path, _)| path.clone()).collect();
        let folder = files.first().and_then(|main| main.parent()).unwrap_or(Path::new(""));
        let mut problems = Vec::new();
        let mut layers = vec![Layer::defaults(folder)];
        for (path, text) in &texts {
            match Layer::toml(path, text) {
                Ok(layer) => layers.push(layer),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            // A file that is missing from the picture would make everything else look wrong.
            return Err(ConfigError::Problems(problems));
        }
        layers.push(Layer::environment(&lookup.variables, &layers, shape, &mut problems));
        layers.push(Layer::command_line(&lookup.overrides));
        replace_secrets(&mut layers, shape);

        let provenance = Provenance { places: layers.iter().map(|layer| layer.places.clone()).collect() };
        let figment = layers.into_iter().fold(Figment::new(), Figment::merge);
        let values = figment.extract::<Dict>().map_err(|error| {
            ConfigError::Problems(
                error.into_iter().map(|error| Problem::at(error.path.clone(), error.kind.to_string())).collect(),
            )
        })?;
        let absolute = |(path, text): (PathBuf, String)| (std::path::absolute(&path).unwrap_or(path), text);
        let texts = texts.into_iter().map(absolute).collect();
        Ok(Self { values, files, texts, provenance, problems })
    }

    /// Forgets all other sections, and checks these.
    fn only(&mut self, sections: &[&str]) -> Result<(), ConfigError> {
        self.values.retain(|name, _| sections.contains(&name.as_str()));
        let shape = match shape::root() {
            Shape::Table(table) => Shape::Table(
                table.iter().filter(|(name, _)| sections.contains(&name.as_str())).map(|(n, f)| (n.clone(), f.clone())).collect(),
            ),
            other => other.clone(),
        };
        self.inspect(&shape);
        self.done()
    }

    /// Answers what can still be checked, and which of its keys stand in for others.
    fn inspect(&mut self, shape: &Shape) -> (Value, Vec<Key>) {
        let mut found = Found::default();
        let usable = inspect(&Value::from(self.values.clone()), shape, &mut Key::new(), &mut found);
        self.problems.append(&mut found.problems);
        (usable.unwrap_or_else(|| Value::from(Dict::new())), found.guessed)
    }

    /// Fails with all problems so far, if there are any.
    fn done(&mut self) -> Result<(), ConfigError> {
        if self.problems.is_empty() { Ok(()) } else { Err(self.failed()) }
    }

    fn failed(&mut self) -> ConfigError {
        let mut problems = std::mem::take(&mut self.problems);
        for problem in &mut problems {
            if problem.origin == Origin::Default {
                problem.origin = self.provenance.nearest(&problem.key);
            }
        }
        // In the order in which a person goes through the files.
        let file = |path: &PathBuf| self.files.iter().position(|file| file == path).unwrap_or(usize::MAX);
        problems.sort_by_key(|problem| match &problem.origin {
            Origin::File { path, line } => (0, file(path), *line),
            Origin::Environment(_) => (1, 0, 0),
            Origin::CommandLine => (2, 0, 0),
            Origin::Default => (3, 0, 0),
        });
        ConfigError::Problems(problems)
    }
}

/// `conf.d/*.toml` beside the main file, by name.
pub(super) fn drop_ins(main: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let folder = main.parent().unwrap_or(Path::new("")).join("conf.d");
    let unreadable = |source| ConfigError::Unreadable { path: folder.clone(), source };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|ending| ending == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A secret's place is replaced as a whole: `{ env = … }` over `{ file = … }` is not both.
fn replace_secrets(layers: &mut [Layer], shape: &Shape) {
    for upper in 1..layers.len() {
        for key in layers[upper].secrets(shape) {
            for lower in &mut layers[..upper] {
                lower.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests;
