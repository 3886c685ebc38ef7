//! Where settings come from: flags over environment over file over default, and the refusal of keys nobody knows.
//!
//! Only [`Sources::read`] and [`environment`] look outside of the process's memory.

use std::{
    collections::BTreeMap,
    fmt,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use super::{SETTINGS, Setting};

/// Environment variables with our prefix that are no settings: where the settings file is, and the client's own.
const CLIENT_VARIABLES: [&str; 6] =
    ["MUSTER_CONFIG", "MUSTER_PROFILE", "MUSTER_SERVER", "MUSTER_TEAM", "MUSTER_TOKEN", "MUSTER_TOKEN_FILE"];

/// Where a value was found, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// On the command line.
    Flag,
    /// In an environment variable.
    Environment(String),
    /// In a settings file.
    File(PathBuf),
    /// Nowhere: the default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => f.write_str("from the command line"),
            Origin::Environment(name) => write!(f, "from {name}"),
            Origin::File(path) => write!(f, "from {}", path.display()),
            Origin::Default => f.write_str("by default"),
        }
    }
}

/// Settings that cannot be used, with every reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these settings cannot be used:\n  {}", .0.join("\n  "))]
pub struct Error(
    /// One line for each wrong setting: the key, where its value came from, and what would be right.
    pub Vec<String>,
);

/// What the settings are made of, before anything is understood.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Key and value pairs of the command line; the last of a key wins.
    pub flags: Vec<(String, String)>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Path and text of the settings file.
    pub file: Option<(PathBuf, String)>,
    /// Path and text of the file that `database_file` names.
    pub database_file: Option<(PathBuf, String)>,
}

/// The environment of this process, as far as it is Unicode.
pub fn environment() -> BTreeMap<String, String> {
    let text = |os: std::ffi::OsString| os.into_string().ok();
    std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

impl Sources {
    /// Gathers the sources: the environment, the settings file and the file with the database URL.
    ///
    /// # Errors
    /// When a file that was named cannot be read.
    pub fn read(flags: Vec<(String, String)>, file: Option<&Path>) -> Result<Self, Error> {
        let mut sources = Self { flags, environment: environment(), ..Self::default() };
        // What is wrong with the layers is told by the parse that follows; here only unreadable files count.
        let (mut problems, mut told_later) = (Vec::new(), Vec::new());
        let named =
            file.map(Path::to_owned).or_else(|| sources.environment.get("MUSTER_CONFIG").map(Into::into));
        sources.file = match named {
            Some(path) => text_read(path, &mut problems),
            None => {
                let data_dir = sources.layers(&mut told_later).get("data_dir").0;
                let path = Path::new(&data_dir).join("muster.toml");
                if path.exists() { text_read(path, &mut problems) } else { None }
            }
        };
        if let Some((path, _)) = sources.layers(&mut told_later).0.remove("database_file") {
            sources.database_file = text_read(path.into(), &mut problems);
        }
        if problems.is_empty() { Ok(sources) } else { Err(Error(problems)) }
    }

    /// All settings that were said, the strongest source of each.
    pub(super) fn layers(&self, problems: &mut Vec<String>) -> Layers {
        let mut said = Layers(BTreeMap::new());
        if let Some((path, text)) = &self.file {
            match text.parse::<toml::Table>() {
                Ok(table) => said.table(&table, "", path, problems),
                Err(error) => problems.push(format!("{}: {}", path.display(), error.to_string().trim_end())),
            }
        }
        for (name, value) in &self.environment {
            let Some(rest) = name.strip_prefix("MUSTER_") else { continue };
            if CLIENT_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            match SETTINGS.iter().find(|setting| variable(setting.key) == *name) {
                Some(setting) => said.say(setting.key, value.clone(), Origin::Environment(name.clone())),
                None => problems.push(unknown(name, rest, &|setting| variable(setting.key))),
            }
        }
        for (key, value) in &self.flags {
            match SETTINGS.iter().find(|setting| setting.key == key) {
                Some(setting) => said.say(setting.key, value.clone(), Origin::Flag),
                None => problems.push(unknown(key, key, &|setting| setting.key.to_owned())),
            }
        }
        said
    }
}

fn text_read(path: PathBuf, problems: &mut Vec<String>) -> Option<(PathBuf, String)> {
    match std::fs::read_to_string(&path) {
        Ok(text) => Some((path, text)),
        Err(error) => {
            problems.push(format!("{}: cannot be read: {error}", path.display()));
            None
        }
    }
}

/// The environment variable of a key.
fn variable(key: &str) -> String {
    format!("MUSTER_{}", key.replace('.', "_").to_uppercase())
}

/// The refusal of a key that does not exist, with the nearest one that does.
fn unknown(shown: &str, got: &str, name: &dyn Fn(&Setting) -> String) -> String {
    let plain = |text: &str| text.to_lowercase().replace('.', "_");
    let nearest = SETTINGS.iter().min_by_key(|setting| distance(&plain(got), &plain(setting.key)));
    match nearest.filter(|setting| distance(&plain(got), &plain(setting.key)) <= 3) {
        Some(setting) => format!("{shown}: there is no such setting; did you mean {}?", name(setting)),
        None => format!("{shown}: there is no such setting; `muster config reference` lists all"),
    }
}

/// How many letters must be added, dropped or changed to make one text the other (Levenshtein, 1966).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let (mut diagonal, mut left) = (i, i + 1);
        let mut next = vec![left];
        for (y, above) in b.iter().zip(row.iter().skip(1)) {
            left = (left + 1).min(above + 1).min(diagonal + usize::from(x != *y));
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// What was said, by key: the value and where it came from.
pub(super) struct Layers(BTreeMap<&'static str, (String, Origin)>);

impl Layers {
    fn say(&mut self, key: &'static str, value: String, origin: Origin) {
        self.0.insert(key, (value, origin));
    }

    fn table(&mut self, table: &toml::Table, prefix: &str, path: &Path, problems: &mut Vec<String>) {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            let text = match value {
                toml::Value::Table(inner) => {
                    self.table(inner, &format!("{key}."), path, problems);
                    continue;
                }
                toml::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            match SETTINGS.iter().find(|setting| setting.key == key) {
                Some(setting) => self.say(setting.key, text, Origin::File(path.to_owned())),
                None => problems.push(unknown(&key, &key, &|setting| setting.key.to_owned())),
            }
        }
    }

    /// Whether any source says something about `key`.
    pub(super) fn says(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The value of `key` and where it came from.
    pub(super) fn get(&self, key: &'static str) -> (String, Origin) {
        let default = || {
            let found = SETTINGS.iter().find(|setting| setting.key == key);
            (found.map(|setting| setting.default.to_owned()).unwrap_or_default(), Origin::Default)
        };
        self.0.get(key).cloned().unwrap_or_else(default)
    }

    /// The value of `key` as `read` understands it, or a line about what would be right.
    pub(super) fn parse<T>(
        &self,
        key: &'static str,
        problems: &mut Vec<String>,
        read: impl FnOnce(&str) -> Option<T>,
        wanted: &str,
        fallback: T,
    ) -> T {
        let (text, origin) = self.get(key);
        read(text.trim()).unwrap_or_else(|| {
            problems.push(format!("{key}: expected {wanted}, got {text:?} {origin}"));
            fallback
        })
    }

    /// A whole number within `range`.
    pub(super) fn number(
        &self,
        key: &'static str,
        range: RangeInclusive<u32>,
        problems: &mut Vec<String>,
    ) -> u32 {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let read = |text: &str| text.replace('_', "").parse().ok().filter(|n| range.contains(n));
        self.parse(key, problems, read, &wanted, *range.start())
    }
}
