//! What can be had, what it would cost, and what runs.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    call::Call,
    credit::View,
    output::{self, Answer, Column},
    problem::Failure,
    wait::{self, Goal},
};

const CATALOG: &[Column] = &[
    ("PRODUCT", "id"),
    ("NAME", "name"),
    ("REGION", "region"),
    ("TYPE", "instance_type"),
    ("ACCELERATOR", "accelerator"),
    ("GPUS", "gpus_per_unit"),
    ("CPU MILLIS", "cpu_millis"),
    ("MEMORY BYTES", "memory_bytes"),
    ("CREDITS/H", "price_per_hour"),
    ("FREE", "units_available"),
];
const CATALOG_IMAGES: &[Column] =
    &[("IMAGE", "id"), ("NAME", "name"), ("PORTS", "ports"), ("DESCRIPTION", "description")];
const INSTANCES: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("STATE", "state"),
    ("REASON", "reason"),
    ("MEMBER", "member"),
    ("PRODUCT", "product_name"),
    ("IMAGE", "image_name"),
    ("UNITS", "unit_qty"),
    ("GPUS", "gpus"),
    ("CREATED", "created_at"),
];
const DRIVES: &[Column] = &[
    ("ID", "id"),
    ("MEMBER", "member"),
    ("HOST", "host"),
    ("TARGET", "target"),
    ("SIZE BYTES", "size_bytes"),
    ("CREATED", "created_at"),
];

/// Commands about instances.
#[derive(Debug, Subcommand)]
pub(crate) enum InstanceCommand {
    /// List what you can have
    Catalog {
        /// List the images instead of the products
        #[arg(long)]
        images: bool,
    },
    /// Tell what an instance would cost
    Estimate {
        /// Product, by id or name
        #[arg(long)]
        product: String,
        /// Image, by id or name
        #[arg(long)]
        image: String,
        /// Units of the product
        #[arg(long, default_value_t = 1)]
        units: u32,
    },
    /// Instances
    #[command(subcommand)]
    Instance(InstanceVerb),
}

/// What can be done with instances.
#[derive(Debug, Subcommand)]
pub(crate) enum InstanceVerb {
    /// Launch an instance
    Create(Create),
    /// List instances
    Ls {
        /// Whose instances: your own, or those of all members if you may
        #[arg(long, value_enum)]
        view: Option<View>,
    },
    /// Show an instance
    Show {
        /// Instance, by id
        instance: String,
    },
    /// Stop an instance; it keeps its disk, which costs storage
    Stop {
        /// Instance, by id
        instance: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Start what was stopped or paused: same host, same disk, same GPUs
    Start(Start),
    /// Stop an instance for good and give back what it holds
    Release {
        /// Instance, by id
        instance: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Show how to reach an instance
    Access {
        /// Instance, by id
        instance: String,
    },
    /// Print what an instance wrote
    Logs {
        /// Instance, by id
        instance: String,
        /// Last lines to print
        #[arg(long, default_value_t = 100)]
        tail: u32,
    },
    /// Show what an instance uses now
    Metrics {
        /// Instance, by id
        instance: String,
    },
    /// Show what an instance has cost
    Billing {
        /// Instance, by id
        instance: String,
    },
    /// Show how an instance is set up
    Config {
        /// Instance, by id
        instance: String,
    },
    /// Show the hardware of an instance
    Hardware {
        /// Instance, by id
        instance: String,
    },
    /// List drives
    Drives,
}

/// Which instances to start again.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Instance, by id
    #[arg(required_unless_present = "all_out_of_credits")]
    instance: Option<String>,
    /// Start all of your own that were stopped or paused because their credits ran out
    #[arg(long, conflicts_with_all = ["instance", "wait"])]
    all_out_of_credits: bool,
    #[command(flatten)]
    wait: Wait,
}

/// A new instance.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Name for people
    name: String,
    /// Product, by id or name
    #[arg(long)]
    product: String,
    /// Image, by id or name
    #[arg(long, required_unless_present = "snapshot")]
    image: Option<String>,
    /// Snapshot to launch from in place of an image, by id; it runs on the host that has it
    #[arg(long, conflicts_with = "image")]
    snapshot: Option<String>,
    /// Units of the product
    #[arg(long, default_value_t = 1)]
    units: u32,
    /// File with a public SSH key; may be repeated
    #[arg(long = "ssh-key", value_name = "PATH")]
    ssh_keys: Vec<PathBuf>,
    /// Do not mount the team's drive at /team_data
    #[arg(long)]
    no_team_drive: bool,
    /// Mount your own drive at /datadrive
    #[arg(long)]
    personal_drive: bool,
    /// Environment variable, NAME=VALUE; may be repeated
    #[arg(long = "env", value_name = "NAME=VALUE")]
    env: Vec<String>,
    #[command(flatten)]
    wait: Wait,
    /// Command in place of the image's own
    #[arg(last = true)]
    command: Vec<String>,
}

/// Whether to wait until the server has done what it took on.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Wait until it is done, and show how it goes on
    #[arg(long)]
    wait: bool,
    /// Longest wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 900, requires = "wait")]
    wait_seconds: u64,
}

impl InstanceCommand {
    pub(crate) async fn run(self, call: &mut Call) -> Result<Answer, Failure> {
        let team = call.team()?;
        match self {
            Self::Catalog { images } => {
                let (noun, columns) = if images { ("images", CATALOG_IMAGES) } else { ("products", CATALOG) };
                let mut catalog = call.client.get(&["teams", team, "catalog"], &[]).await?;
                Ok(Answer::List(json!({ "items": catalog[noun].take(), "next_cursor": null }), columns))
            }
            Self::Estimate { product, image, units } => {
                let body = json!({ "product": product, "image": image, "unit_qty": units });
                call.client.post(&["teams", team, "estimates"], body).await.map(Answer::One)
            }
            Self::Instance(verb) => verb.run(call, team).await,
        }
    }
}

impl InstanceVerb {
    async fn run(self, call: &Call, team: &str) -> Result<Answer, Failure> {
        let client = &call.client;
        let (instance, part) = match self {
            Self::Create(create) => return create.run(call, team).await,
            Self::Ls { view } => {
                let query = [("view", view.map(View::word))];
                let found = client.list(&["teams", team, "instances"], &query, usize::MAX).await?;
                return Ok(Answer::List(found, INSTANCES));
            }
            Self::Show { instance } => {
                return client.get(&["teams", team, "instances", &instance], &[]).await.map(Answer::One);
            }
            Self::Stop { instance, wait } => {
                let path = ["teams", team, "instances", &instance, "stop"];
                let answer = client.post(&path, json!({})).await?;
                return wait.follow(call, team, &instance, Goal::Stopped, answer).await;
            }
            Self::Start(start) => return start.run(call, team).await,
            Self::Release { instance, wait } => {
                let path = ["teams", team, "instances", &instance, "release"];
                let answer = client.post(&path, json!({})).await?;
                return wait.follow(call, team, &instance, Goal::Released, answer).await;
            }
            Self::Logs { instance, tail } => {
                let path = ["teams", team, "instances", &instance, "logs"];
                return client.get(&path, &[("tail", Some(tail.to_string()))]).await.map(logs);
            }
            Self::Drives => {
                let found = client.get(&["teams", team, "drives"], &[]).await?;
                return Ok(Answer::List(found, DRIVES));
            }
            Self::Access { instance } => (instance, "access"),
            Self::Metrics { instance } => (instance, "metrics"),
            Self::Billing { instance } => (instance, "billing"),
            Self::Config { instance } => (instance, "config"),
            Self::Hardware { instance } => (instance, "hardware"),
        };
        client.get(&["teams", team, "instances", &instance, part], &[]).await.map(Answer::One)
    }
}

impl Start {
    async fn run(self, call: &Call, team: &str) -> Result<Answer, Failure> {
        let client = &call.client;
        if let Some(instance) = &self.instance {
            let path = ["teams", team, "instances", instance, "start"];
            let answer = client.post(&path, json!({})).await?;
            return self.wait.follow(call, team, instance, Goal::Running, answer).await;
        }
        let found = client.list(&["teams", team, "instances"], &[], usize::MAX).await?;
        let found = found["items"].as_array().into_iter().flatten();
        let halted = |item: &Value| item["state"] == "stopped" || item["state"] == "paused";
        let broke = found.filter(|item| halted(item) && item["reason"] == "credit");
        let (mut started, mut refused) = (Vec::new(), 0);
        for id in broke.filter_map(|item| item["id"].as_str()) {
            match client.post(&["teams", team, "instances", id, "start"], json!({})).await {
                Ok(instance) => started.push(instance),
                // One that is refused says nothing about the others.
                Err(failure) => {
                    output::tell(&format!("{id}: {}", failure.render()));
                    refused += 1;
                }
            }
        }
        let list = Answer::List(json!({ "items": started, "next_cursor": null }), INSTANCES);
        Ok(if refused == 0 { list } else { Answer::Alarm(Box::new(list)) })
    }
}

impl Create {
    async fn run(self, call: &Call, team: &str) -> Result<Answer, Failure> {
        let mut keys = Vec::new();
        for path in &self.ssh_keys {
            let text = std::fs::read_to_string(path).map_err(|error| Failure::here(path.display(), error))?;
            keys.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        }
        let mut env = Map::new();
        for pair in &self.env {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| Failure::Invalid(format!("--env {pair}: expected NAME=VALUE")))?;
            env.insert(name.to_owned(), json!(value));
        }
        let body = json!({
            "name": self.name,
            "product": self.product,
            "image": self.image,
            "snapshot": self.snapshot,
            "unit_qty": self.units,
            "ssh_public_keys": keys,
            "mount_team_drive": !self.no_team_drive,
            "mount_personal_drive": self.personal_drive,
            "env": env,
            "command": (!self.command.is_empty()).then_some(self.command),
        });
        let answer = call.client.post(&["teams", team, "instances"], body).await?;
        let id = answer["id"].as_str().unwrap_or_default().to_owned();
        self.wait.follow(call, team, &id, Goal::Running, answer).await
    }
}

impl Wait {
    /// The answer at once, or the instance as it is when `goal` is reached.
    async fn follow(
        &self,
        call: &Call,
        team: &str,
        instance: &str,
        goal: Goal,
        answer: Value,
    ) -> Result<Answer, Failure> {
        if !self.wait {
            return Ok(Answer::One(answer));
        }
        wait::instance(&call.client, team, instance, goal, self.wait_seconds).await.map(Answer::One)
    }
}

/// Logs as text, whether they came bare or in a field.
fn logs(value: Value) -> Answer {
    let lines = value["lines"].as_array().map(|lines| {
        lines.iter().filter_map(Value::as_str).map(|line| format!("{line}\n")).collect::<String>()
    });
    let text = ["text", "logs"].iter().find_map(|name| value[*name].as_str().map(str::to_owned));
    match lines.or(text).or_else(|| value.as_str().map(str::to_owned)) {
        Some(text) => Answer::Text(text),
        None => Answer::One(value),
    }
}
