//! The server's settings as flags, and the commands that show and check them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    output::{self, Answer},
    problem::Failure,
};
use crate::config::{Config, SETTINGS, Sources};

/// The settings that have a flag, and `--set` for all others.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct Settings {
    /// Settings file; `muster.toml` in the data folder if there is one [env: MUSTER_CONFIG]
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Folder of the database, the sealing key and the plugin cache [default: ./muster-data]
    #[arg(long, value_name = "PATH")]
    data_dir: Option<String>,
    /// Where everything is stored: sqlite:PATH or postgres://… [default: SQLite in the data folder]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Where the server answers [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// How clients reach the server [default: http://<listen>]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Form of the log: text or json [default: text]
    #[arg(long, value_name = "FORM")]
    log_format: Option<String>,
    /// What is logged [default: info]
    #[arg(long, value_name = "DIRECTIVES")]
    log_filter: Option<String>,
    /// Any other setting by its key, such as metering.interval_seconds=10; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl Settings {
    /// The settings from all sources, checked.
    pub(crate) fn load(&self) -> Result<Config, Failure> {
        let named = [
            ("data_dir", &self.data_dir),
            ("database", &self.database),
            ("listen", &self.listen),
            ("public_url", &self.public_url),
            ("log.format", &self.log_format),
            ("log.filter", &self.log_filter),
        ];
        let mut flags = self.set.clone();
        flags.extend(named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))));
        let sources = Sources::read(flags, self.config.as_deref());
        let config = sources.and_then(|sources| Config::parse(&sources));
        config.map_err(|error| Failure::Invalid(error.to_string()))
    }
}

/// What can be done with the server's settings.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the settings in force, as a settings file
    Print {
        #[command(flatten)]
        settings: Settings,
        /// Star what is secret
        #[arg(long)]
        redact: bool,
    },
    /// Say whether the settings can be used, and every reason why not
    Check {
        #[command(flatten)]
        settings: Settings,
    },
    /// Print every setting with its unit, default and meaning
    Reference,
}

impl ConfigCommand {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self {
            Self::Print { settings, redact } => file(&settings.load()?.settings(redact)).map(Answer::Text),
            Self::Check { settings } => {
                settings.load()?;
                Ok(Answer::Done("The settings can be used.".into()))
            }
            Self::Reference => {
                let row = |s: &crate::config::Setting| {
                    [s.key, s.unit, s.default, s.about].map(str::to_owned).to_vec()
                };
                let rows = SETTINGS.iter().map(row).collect();
                Ok(Answer::Text(output::table(&["KEY", "UNIT", "DEFAULT", "MEANING"], rows) + "\n"))
            }
        }
    }
}

/// The settings as TOML: numbers bare, everything else quoted.
fn file(settings: &[(&'static str, String)]) -> Result<String, Failure> {
    let value = |text: &str| match text.parse::<i64>() {
        Ok(number) => toml::Value::Integer(number),
        Err(_) => toml::Value::String(text.to_owned()),
    };
    let mut plain = toml::Table::new();
    for (key, text) in settings {
        let (groups, name) = key.rsplit_once('.').unwrap_or(("", key));
        let mut table = &mut plain;
        for group in groups.split('.').filter(|group| !group.is_empty()) {
            let inner = table.entry(group).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let toml::Value::Table(inner) = inner else {
                return Err(Failure::here("the settings cannot be printed", format!("{group} is no group")));
            };
            table = inner;
        }
        table.insert(name.to_owned(), value(text));
    }
    toml::to_string(&plain).map_err(|error| Failure::here("the settings cannot be printed", error))
}
