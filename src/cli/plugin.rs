//! Plugins: an author's work on them, which needs no server, and those that a team has.

use std::{fmt::Write as _, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{
    call::Call,
    output::{Answer, Column, table},
    price::json_argument,
    problem::Failure,
};
use crate::{
    chance::{Chance as _, SystemChance},
    config,
    money::NanoCredits,
    time::{Span, Timestamp},
    workshop::{self, Language, Project, Stand, Subject, TestOptions, TrialOptions},
};

const PLUGINS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("WORLD", "world"),
    ("SIZE BYTES", "size_bytes"),
    ("DIGEST", "digest"),
    ("CREATED", "created_at"),
];

/// Languages that a plugin can be begun in.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Lang {
    /// Rust, with the SDK
    Rust,
    /// C, with clang and nothing else
    C,
    /// Python, with componentize-py
    Python,
    /// JavaScript, with componentize-js
    Js,
}

/// What a command is about.
#[derive(Debug, Args)]
pub(crate) struct About {
    /// Folder of the plugin, or the file of a component
    #[arg(default_value = ".")]
    path: PathBuf,
}

/// Commands about plugins.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Begin a plugin in a folder of its own
    New {
        /// Name: letters, digits and hyphens
        name: String,
        /// Language
        #[arg(long, value_enum, default_value = "rust")]
        lang: Lang,
        /// Folder to make; one with the plugin's name if not given
        #[arg(long)]
        folder: Option<PathBuf>,
    },
    /// Build the component, as muster-plugin.toml says
    Build {
        /// Folder of the plugin
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Ask what a server would say to the component, and how much of each limit it uses
    Check {
        #[command(flatten)]
        about: About,
    },
    /// Ask the cases (cases/*.yaml), and try their properties
    Test {
        #[command(flatten)]
        about: About,
        /// Folder of the cases; the one in the plugin's folder if not given
        #[arg(long, value_name = "FOLDER")]
        cases: Option<PathBuf>,
        /// Only cases and properties with this in their names
        #[arg(long, value_name = "TEXT")]
        filter: Option<String>,
        /// Keep the answers of golden cases as they are now
        #[arg(long)]
        bless: bool,
        /// How often to try each property
        #[arg(long, value_name = "COUNT")]
        runs: Option<u32>,
        /// Where chance begins, as a failure told it
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Ask what one use costs
    Run {
        #[command(flatten)]
        about: About,
        /// List price of a unit for an hour, in credits
        #[arg(long, value_name = "CREDITS", default_value = "1")]
        price: NanoCredits,
        /// Units
        #[arg(long, default_value = "1")]
        quantity: u32,
        /// When it begins
        #[arg(long, value_name = "TIME", default_value = "2026-10-01T00:00:00Z")]
        from: Timestamp,
        /// How long it lasts, such as 90m or 36h
        #[arg(long = "for", value_name = "LENGTH", default_value = "1h")]
        length: Span,
        /// How long an interval of the meter is
        #[arg(long, value_name = "LENGTH", default_value = "1h")]
        every: Span,
        /// What is metered: instance, drive, stopped or another
        #[arg(long, default_value = "instance")]
        kind: String,
        /// Accelerator model
        #[arg(long, default_value = "none")]
        accelerator: String,
        /// Configuration: JSON text, or @PATH of a file with it; the plugin's default if not given
        #[arg(long)]
        config: Option<String>,
    },
    /// Measure fuel and time of calls, beside the list price's
    Bench {
        #[command(flatten)]
        about: About,
        /// Calls of each kind
        #[arg(long, value_name = "COUNT", default_value = "50")]
        rounds: u32,
        /// Configuration: JSON text, or @PATH of a file with it; the plugin's default if not given
        #[arg(long)]
        config: Option<String>,
    },
    /// Ask what real charges would have been
    Replay {
        #[command(flatten)]
        about: About,
        /// Folder of proofs, as `charge verify ID --save FOLDER` wrote them
        #[arg(long, value_name = "FOLDER")]
        proofs: PathBuf,
        /// Configuration: JSON text, or @PATH of a file with it; that of each charge if not given
        #[arg(long)]
        config: Option<String>,
    },
    /// Show what a component is, without running it
    Inspect {
        #[command(flatten)]
        about: About,
    },
    /// Upload the component to the team, under the name and with the words of its manifest
    Push {
        #[command(flatten)]
        about: About,
        /// Another name than the manifest's
        #[arg(long)]
        name: Option<String>,
    },
    /// Upload a component under a name
    Upload {
        /// Name
        name: String,
        /// The .wasm file
        file: PathBuf,
    },
    /// List plugins
    Ls,
}

impl PluginCommand {
    /// Whether the command needs no server.
    pub(crate) const fn is_at_home(&self) -> bool {
        !matches!(self, Self::Push { .. } | Self::Upload { .. } | Self::Ls)
    }

    /// Runs a command that needs no server.
    pub(crate) async fn run_at_home(self) -> Result<Answer, Failure> {
        match self {
            Self::New { name, lang, folder } => {
                let folder = folder.unwrap_or_else(|| PathBuf::from(&name));
                let language = match lang {
                    Lang::Rust => Language::Rust,
                    Lang::C => Language::C,
                    Lang::Python => Language::Python,
                    Lang::Js => Language::JavaScript,
                };
                workshop::project_new(&folder, &name, language)?;
                let shown = folder.display();
                Ok(Answer::Done(format!(
                    "{shown} holds the plugin {name}. `muster plugin build {shown}` and `muster plugin test {shown}` \
                     are next; {shown}/README.md says more."
                )))
            }
            Self::Build { folder } => {
                let built = Project::read(&folder)?.build()?;
                let (component, digest) = (built.component.display().to_string(), built.digest.to_string());
                let told = format!("{component}: {} bytes, digest {digest}\n", built.size_bytes);
                let built =
                    json!({ "component": component, "digest": digest, "size_bytes": built.size_bytes });
                Ok(Answer::Page(built, told))
            }
            Self::Check { about } => {
                let found = workshop::checkup(&stand()?, &about.subject()?).await?;
                let answer = Answer::Page(json!(found), checkup_page(&found));
                Ok(if found.is_fine() { answer } else { Answer::Alarm(Box::new(answer)) })
            }
            Self::Test { about, cases, filter, bless, runs, seed } => {
                let seed = seed.unwrap_or_else(|| {
                    let mut bytes = [0; 4];
                    SystemChance.fill(&mut bytes);
                    u64::from(u32::from_le_bytes(bytes))
                });
                let options = TestOptions { filter, bless, runs, seed };
                let subject = about.subject()?;
                let report = workshop::test(&stand()?, &subject, cases.as_deref(), &options).await?;
                let answer = Answer::Page(json!(report), report.page());
                Ok(if report.failed == 0 { answer } else { Answer::Alarm(Box::new(answer)) })
            }
            Self::Run { about, price, quantity, from, length, every, kind, accelerator, config } => {
                let options = TrialOptions {
                    config: config_text(config)?,
                    unit_price: price,
                    kind,
                    accelerator,
                    quantity,
                    from,
                    length,
                    every,
                };
                let trial = workshop::try_out(&stand()?, &about.subject()?, &options).await?;
                Ok(Answer::One(json!(trial)))
            }
            Self::Bench { about, rounds, config } => {
                let config = config_text(config)?;
                let measures = workshop::measure(&stand()?, &about.subject()?, config, rounds).await?;
                Ok(Answer::Page(json!(measures), bench_page(&measures)))
            }
            Self::Replay { about, proofs, config } => {
                let config = config_text(config)?;
                let replayed =
                    workshop::replay(&stand()?, &about.subject()?, &proofs, config.as_deref()).await?;
                let answer = Answer::Page(json!(replayed), replay_page(&replayed));
                Ok(if replayed.unusable == 0 { answer } else { Answer::Alarm(Box::new(answer)) })
            }
            Self::Inspect { about } => Ok(Answer::One(json!(workshop::inspect(&about.subject()?)?))),
            Self::Push { .. } | Self::Upload { .. } | Self::Ls => {
                Err(Failure::Invalid("this command asks a server".to_owned()))
            }
        }
    }

    /// Runs a command that asks the server.
    pub(crate) async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let plugins = &["teams", call.team()?, "plugins"];
        match self {
            Self::Upload { name, file } => {
                let wasm = std::fs::read(&file).map_err(|error| Failure::here(file.display(), error))?;
                call.client.post_bytes(plugins, &[("name", Some(name))], wasm).await.map(Answer::One)
            }
            Self::Push { about, name } => {
                let subject = about.subject()?;
                let manifest = workshop::inspect(&subject)?.manifest;
                let name = name.or_else(|| manifest.map(|manifest| manifest.name)).ok_or_else(|| {
                    Failure::Invalid("the component has no manifest: --name says what to call it".to_owned())
                })?;
                let wasm = subject.wasm.to_vec();
                let plugin = call.client.post_bytes(plugins, &[("name", Some(name))], wasm).await?;
                let told = pushed(&plugin);
                Ok(Answer::Page(plugin, told))
            }
            Self::Ls => Ok(Answer::List(call.client.list(plugins, &[], usize::MAX).await?, PLUGINS)),
            home => home.run_at_home().await,
        }
    }
}

impl About {
    fn subject(&self) -> Result<Subject, Failure> {
        Ok(Subject::read(&self.path)?)
    }
}

impl From<workshop::Error> for Failure {
    fn from(error: workshop::Error) -> Self {
        match error {
            workshop::Error::Input(text) | workshop::Error::Refused(text) => Self::Invalid(text),
            workshop::Error::Here(text) => Self::Here(text),
        }
    }
}

/// The engine; what it compiles is kept where the desktop keeps such things, as a large component takes many seconds.
fn stand() -> Result<Stand, Failure> {
    let environment = config::environment();
    let cache = environment.get("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| environment.get("HOME").map(|home| PathBuf::from(home).join(".cache")));
    Ok(Stand::open(cache.map(|folder| folder.join("muster").join("plugins")))?)
}

fn config_text(config: Option<String>) -> Result<Option<String>, Failure> {
    config.map(|text| json_argument(&text).map(|value| value.to_string())).transpose()
}

fn pushed(plugin: &Value) -> String {
    let said = |key: &str| plugin[key].as_str().unwrap_or_default();
    format!(
        "{} (digest {}) is {id}: it prices nothing yet. `muster price activate {id}` makes it the team's price.\n",
        said("name"),
        said("digest"),
        id = said("id")
    )
}

fn checkup_page(found: &workshop::Checkup) -> String {
    let mut page = String::new();
    let _ = writeln!(page, "digest   {}", found.digest);
    let _ = writeln!(page, "world    {}", found.world);
    let _ = writeln!(page, "imports  {}", found.imports.join(", "));
    let rows = found.limits.iter().map(|share| {
        let setting = share.setting.to_owned();
        vec![
            share.what.to_owned(),
            share.used.to_string(),
            share.limit.to_string(),
            format!("{} %", share.percent),
            setting,
        ]
    });
    let _ = writeln!(page, "\n{}\n", table(&["LIMIT", "USED", "OF", "SHARE", "SETTING"], rows.collect()));
    for finding in &found.findings {
        let word = if finding.ok { "ok  " } else { "FAIL" };
        let _ = writeln!(page, "{word}  {}: {}", finding.what, finding.found);
    }
    page
}

fn bench_page(measures: &[workshop::Measure]) -> String {
    let micros = |nanos: u64| format!("{}.{} µs", nanos / 1_000, nanos % 1_000 / 100);
    let rows = measures.iter().map(|measure| {
        vec![
            measure.call.to_owned(),
            measure.records.to_string(),
            measure.fuel.to_string(),
            format!("{} KiB", measure.memory_bytes / 1_024),
            micros(measure.median_nanos),
            micros(measure.list_price_nanos),
            micros(measure.native_nanos),
        ]
    });
    let heads = ["CALL", "RECORDS", "FUEL", "MEMORY", "TIME", "LIST PRICE", "NATIVE"];
    format!("{}\n", table(&heads, rows.collect()))
}

fn replay_page(replayed: &workshop::Replay) -> String {
    let rows = replayed.charges.iter().map(|charge| {
        let is = charge.is.clone().unwrap_or_else(|| "no answer".to_owned());
        let fault = charge.fault.clone().unwrap_or_default();
        vec![charge.charge.clone(), charge.from.clone(), charge.was.clone(), is, fault]
    });
    let table = table(&["CHARGE", "FROM", "WAS", "IS", "NOT TAKEN"], rows.collect());
    let workshop::Replay { charges, was, is, changed, unusable } = replayed;
    format!(
        "{table}\n\n{} charges: {was} credits then, {is} now; {changed} changed, {unusable} that would not be taken\n",
        charges.len()
    )
}
