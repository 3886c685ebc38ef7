//! A team's policies, from a folder that the team keeps in git: checked here, planned and published there.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    call::Call,
    output::{Answer, Column},
    policy_files::{Folder, samples_write},
    policy_proofs::{Required, proof_page},
    policy_shadow::ShadowCommand,
    problem::Failure,
};
use crate::{
    app::policy_plans::{files_check, preset_pages},
    model::team::Preset,
};

const VERSIONS: &[Column] = &[
    ("NUMBER", "number"),
    ("LIVE", "live"),
    ("POLICIES", "policies"),
    ("PUBLISHED", "created_at"),
    ("BY", "author"),
    ("REASON", "reason"),
];

const MATRIX: &[Column] = &[("NOUN", "kind"), ("VIEW", "view"), ("USE", "use"), ("WRITE", "write")];

const WHO: &[Column] = &[
    ("MEMBER", "member"),
    ("ACCOUNT", "account"),
    ("ROLE", "role"),
    ("MAY", "decision"),
    ("POLICY", "policy"),
    ("REASON", "reason"),
];

/// Questions that are sent at once.
const BATCH: usize = 200;

/// Where the team's files are.
#[derive(Debug, Args)]
pub(crate) struct At {
    /// Folder with the policies (*.cedar), cases.toml and policy.toml
    #[arg(long = "folder", value_name = "FOLDER", default_value = ".")]
    pub(super) folder: PathBuf,
}

/// What a question is about.
#[derive(Debug, Args)]
pub(crate) struct About {
    /// What for: an operation of the API, such as createInstance
    action: String,
    /// About this instance, by id
    #[arg(long)]
    instance: Option<String>,
    /// About a launch of this product
    #[arg(long)]
    product: Option<String>,
    /// With this image
    #[arg(long)]
    image: Option<String>,
    /// About what belongs to this member, by id
    #[arg(long)]
    owner: Option<String>,
    /// About this member's account, by id
    #[arg(long)]
    account: Option<String>,
    /// At this instant, such as 2026-11-25T19:00:00Z
    #[arg(long)]
    at: Option<String>,
}

/// Commands about a team's own policies.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Begin a folder for the team's policies
    Init {
        /// Set of role rules of the team
        #[arg(long, default_value = "glows")]
        preset: Preset,
        #[command(flatten)]
        at: At,
    },
    /// Bring the live policies and cases of the team into the folder
    Pull {
        #[command(flatten)]
        at: At,
    },
    /// Check the policies, without a server
    Validate {
        #[command(flatten)]
        at: At,
    },
    /// Ask the cases, without a server
    Test {
        #[command(flatten)]
        at: At,
    },
    /// Show what publishing the folder would change; ends with what `publish` needs
    Plan {
        #[command(flatten)]
        at: At,
        /// Recorded decisions to ask again
        #[arg(long, value_name = "COUNT")]
        replay: Option<u32>,
        /// Try to prove what the change cannot do, too
        #[arg(long)]
        prove: bool,
    },
    /// Try to prove what publishing the folder can and cannot change
    Prove {
        #[command(flatten)]
        at: At,
        /// Fail unless this is proved; can be given again
        #[arg(long, value_name = "CLAIM")]
        require: Vec<Required>,
    },
    /// Ask recorded decisions again of the folder's policies
    Replay {
        #[command(flatten)]
        at: At,
        /// The latest so many
        #[arg(long)]
        last: Option<u32>,
        /// Those from this instant on, such as 2026-11-18T00:00:00Z
        #[arg(long)]
        since: Option<String>,
        /// Those before this instant
        #[arg(long)]
        until: Option<String>,
    },
    /// Ask a candidate beside the live policies for a while
    #[command(subcommand)]
    Shadow(ShadowCommand),
    /// Publish the folder as it was planned
    Publish {
        #[command(flatten)]
        at: At,
        /// What the plan ended with
        #[arg(long)]
        plan: String,
        /// Why, for whoever reads the history
        #[arg(long)]
        reason: String,
    },
    /// Go back to a version that was live once; 0 takes all policies away
    Rollback {
        /// Number of the version
        version: i64,
        /// Why, for whoever reads the history
        #[arg(long)]
        reason: String,
    },
    /// Show the live policies, those of a version, or what a set of role rules means
    Show {
        /// Number of the version
        #[arg(conflicts_with = "preset")]
        version: Option<i64>,
        /// Show what the roles of this set may do, in words and as rules, without a server
        #[arg(long)]
        preset: Option<Preset>,
    },
    /// List the versions
    Versions,
    /// Show what is different between two versions, or between one and the live one
    Diff {
        /// Number of the one; 0 for none at all
        from: i64,
        /// Number of the other
        to: Option<i64>,
    },
    /// Ask whether something may be done, and why not
    Explain {
        #[command(flatten)]
        about: About,
        /// For this member, by id; you yourself unless told
        #[arg(long)]
        member: Option<String>,
    },
    /// Show all that a member may do
    Matrix {
        /// Member, by id
        member: String,
    },
    /// Ask for every member of the team whether something may be done
    Who {
        #[command(flatten)]
        about: About,
    },
}

impl PolicyCommand {
    /// Whether the command needs no server.
    pub(crate) const fn is_at_home(&self) -> bool {
        matches!(
            self,
            Self::Init { .. }
                | Self::Validate { .. }
                | Self::Test { .. }
                | Self::Show { preset: Some(_), .. }
        )
    }

    /// Runs a command that needs no server.
    pub(crate) fn run_at_home(&self) -> Result<Answer, Failure> {
        match self {
            Self::Init { preset, at } => {
                samples_write(&at.folder, *preset)?;
                let folder = at.folder.display();
                Ok(Answer::Done(format!(
                    "policy.toml, team.cedar and cases.toml are in {folder}, to be changed."
                )))
            }
            Self::Validate { at } => checked(&at.folder, false),
            Self::Test { at } => checked(&at.folder, true),
            Self::Show { preset: Some(preset), .. } => {
                let (words, rules) = preset_pages(*preset);
                let value = json!({ "preset": preset, "words": words, "rules": rules });
                Ok(Answer::Page(value, format!("{words}\n{rules}")))
            }
            _ => Err(Failure::Invalid("this command asks a server".to_owned())),
        }
    }

    /// Runs a command that asks the server.
    pub(crate) async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let (client, team) = (&call.client, call.team()?);
        let policies = &["teams", team, "policies"];
        match self {
            Self::Init { .. } | Self::Validate { .. } | Self::Test { .. } => self.run_at_home(),
            Self::Pull { at } => {
                let live = client.get(policies, &[]).await?;
                Folder::write(&at.folder, &live)?;
                Ok(Answer::Done(format!(
                    "{} holds what version {} is.",
                    at.folder.display(),
                    live["version"]
                )))
            }
            Self::Plan { at, replay, prove } => {
                checked(&at.folder, false)?;
                let folder = Folder::read(&at.folder)?;
                let body =
                    json!({ "text": folder.text, "cases": folder.cases, "replay": replay, "prove": prove });
                let plan = client.post(&["teams", team, "policies:plan"], body).await?;
                let page = plan_page(&plan);
                let answer = Answer::Page(plan.clone(), page);
                Ok(if plan["plan"].is_null() { Answer::Alarm(Box::new(answer)) } else { answer })
            }
            Self::Prove { at, require } => {
                checked(&at.folder, false)?;
                let folder = Folder::read(&at.folder)?;
                let proof =
                    client.post(&["teams", team, "policies:prove"], json!({ "text": folder.text })).await?;
                let page = proof_page(&proof);
                let proved = require.iter().all(|claim| claim.is_proved(&proof));
                let answer = Answer::Page(proof, page);
                Ok(if proved { answer } else { Answer::Alarm(Box::new(answer)) })
            }
            Self::Replay { at, last, since, until } => {
                let folder = Folder::read(&at.folder)?;
                let body = json!({ "text": folder.text, "last": last, "since": since, "until": until });
                let replayed = client.post(&["teams", team, "policies:replay"], body).await?;
                let page = replay_page(&replayed);
                Ok(Answer::Page(replayed, page))
            }
            Self::Shadow(command) => command.run(call).await,
            Self::Publish { at, plan, reason } => {
                let folder = Folder::read(&at.folder)?;
                let body =
                    json!({ "text": folder.text, "cases": folder.cases, "plan": plan, "reason": reason });
                published(call, team, body).await
            }
            Self::Rollback { version, reason } => {
                published(call, team, json!({ "version": version, "reason": reason })).await
            }
            Self::Show { preset: Some(_), .. } => self.run_at_home(),
            Self::Show { version, .. } => {
                let value = match version {
                    None => client.get(policies, &[]).await?,
                    Some(number) => {
                        client.get(&["teams", team, "policies", "versions", &number.to_string()], &[]).await?
                    }
                };
                let text = value["text"].as_str().unwrap_or_default().to_owned();
                let shown =
                    if text.is_empty() { "(no policies of the team's own)\n".to_owned() } else { text };
                Ok(Answer::Page(value, shown))
            }
            Self::Versions => {
                let list = client.list(&["teams", team, "policies", "versions"], &[], usize::MAX).await?;
                Ok(Answer::List(list, VERSIONS))
            }
            Self::Diff { from, to } => {
                let query = [("from", Some(from.to_string())), ("to", to.map(|to| to.to_string()))];
                let diff = client.get(&["teams", team, "policies", "diff"], &query).await?;
                let text = diff["diff"].as_str().unwrap_or_default().to_owned();
                let shown = if text.is_empty() { "(no difference)\n".to_owned() } else { text };
                Ok(Answer::Page(diff, shown))
            }
            Self::Explain { about, member } => {
                let body = json!({ "questions": [about.question(member.as_deref())] });
                let answers = client.post(&["teams", team, "authorize"], body).await?;
                let answer = answers["answers"][0].clone();
                let page = answer_page(&answer);
                Ok(Answer::Page(answer, page))
            }
            Self::Matrix { member } => {
                let seen = client.get(&["teams", team, "members", &member, "permissions"], &[]).await?;
                Ok(Answer::List(json!({ "items": seen["matrix"] }), MATRIX))
            }
            Self::Who { about } => who(call, team, &about).await,
        }
    }
}

impl About {
    fn question(&self, member: Option<&str>) -> Value {
        let mut question = json!({
            "action": self.action, "member": member, "instance": self.instance, "product": self.product,
            "image": self.image, "owner": self.owner, "account": self.account, "at": self.at,
        });
        if let Some(fields) = question.as_object_mut() {
            fields.retain(|_, field| !field.is_null());
        }
        question
    }
}

/// Why a decision was made, as it was recorded.
pub(crate) async fn why(call: &Call, decision: &str) -> Result<Answer, Failure> {
    let explained = call.client.get(&["teams", call.team()?, "decisions", decision], &[]).await?;
    let recorded = &explained["document"]["decision"];
    let mut page = format!(
        "{}: {} was {} {}\n",
        said(&explained["at"]),
        said(&explained["action"]),
        if explained["decision"] == "allow" { "allowed to" } else { "refused to" },
        said(&explained["actor"]),
    );
    reasons(&mut page, &recorded["determining"], &recorded["denials"]);
    let versions = &recorded["versions"];
    let _ = writeln!(page, "policies {}, preset {}", said(&versions["policies"]), said(&versions["preset"]));
    if let Some(team) = versions["team"].as_i64() {
        let _ = writeln!(page, "the team's own policies: version {team}");
    }
    if let Some(now) = explained["now"].as_str() {
        let same = if explained["now"] == explained["decision"] { "still" } else { "now" };
        let _ = writeln!(page, "the same question on the same facts is {same} answered: {now}");
    }
    Ok(Answer::Page(explained.clone(), page))
}

/// Checks a folder by the code that the server has.
pub(super) fn checked(folder: &Path, asks_cases: bool) -> Result<Answer, Failure> {
    let folder = Folder::read(folder)?;
    let cases = if asks_cases { folder.cases.as_slice() } else { &[] };
    let checked = files_check(folder.preset, &folder.text, cases)
        .map_err(|error| Failure::Invalid(format!("{}\n", error.detail)))?;
    if !checked.faults.is_empty() {
        let lines = checked.faults.iter().map(|fault| {
            let (file, line) = folder.place(fault.line);
            format!("{file}:{line}:{}: {}", fault.column, fault.detail)
        });
        return Err(Failure::Invalid(lines.collect::<Vec<_>>().join("\n")));
    }
    let mut page = String::new();
    for note in &checked.notes {
        let _ = writeln!(page, "note, {}: {}", note.policy.as_deref().unwrap_or_default(), note.detail);
    }
    for failed in &checked.failed {
        let _ = writeln!(page, "FAILED  {}: {}", failed.name, failed.detail);
    }
    let _ = match asks_cases {
        true => writeln!(page, "{} cases asked, {} failed.", checked.cases, checked.failed.len()),
        false => writeln!(page, "{}, nothing wrong.", counted(checked.policies.len())),
    };
    let failed = !checked.failed.is_empty();
    let value = serde_json::to_value(&checked).map_err(|error| Failure::here("the answer", error))?;
    let answer = Answer::Page(value, page);
    Ok(if failed { Answer::Alarm(Box::new(answer)) } else { answer })
}

async fn published(call: &Call, team: &str, body: Value) -> Result<Answer, Failure> {
    let live = call.client.get_versioned(&["teams", team, "policies"]).await?;
    let path = &["teams", team, "policies:publish"];
    let made = call.client.post_versioned(path, body, live.etag.as_deref()).await?;
    let policies =
        made["policies"].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
    let told = format!("Version {} is live, with {}.\n", made["number"], counted(policies));
    Ok(Answer::Page(made, told))
}

async fn who(call: &Call, team: &str, about: &About) -> Result<Answer, Failure> {
    let members = call.client.list(&["teams", team, "members"], &[], usize::MAX).await?;
    let members: Vec<Value> = members["items"].as_array().cloned().unwrap_or_default();
    let live: Vec<Value> = members.into_iter().filter(|member| member["state"] != "removed").collect();
    let mut rows = Vec::new();
    for batch in live.chunks(BATCH) {
        let questions: Vec<Value> =
            batch.iter().map(|member| about.question(member["id"].as_str())).collect();
        let answers =
            call.client.post(&["teams", team, "authorize"], json!({ "questions": questions })).await?;
        let answers = answers["answers"].as_array().cloned().unwrap_or_default();
        for (member, answer) in batch.iter().zip(answers) {
            let first = answer["denials"].get(0).cloned().unwrap_or_default();
            let decides = if first.is_null() { &answer["determining"][0]["id"] } else { &first["policy"] };
            rows.push(json!({
                "member": member["id"], "account": member["account"], "role": member["role"],
                "decision": answer["decision"], "policy": decides, "reason": first["advice"],
            }));
        }
    }
    Ok(Answer::List(json!({ "items": rows }), WHO))
}

fn plan_page(plan: &Value) -> String {
    let mut page = String::new();
    let diff = plan["diff"].as_str().unwrap_or_default();
    let _ = writeln!(page, "{}", if diff.is_empty() { "The text is the live one.\n" } else { diff });
    for note in list_of(&plan["notes"]) {
        let _ = writeln!(page, "note, {}: {}", said(&note["policy"]), said(&note["detail"]));
    }
    for failed in list_of(&plan["failed"]) {
        let _ = writeln!(page, "FAILED  {}: {}", said(&failed["name"]), said(&failed["detail"]));
    }
    let effects = &plan["effects"];
    let changes = list_of(&effects["changes"]);
    if changes.is_empty() {
        let _ = writeln!(page, "{} questions were asked: nobody gains and nobody loses.", effects["asked"]);
    }
    for change in changes {
        let label = match (change["account"].as_str(), change["label"].as_str()) {
            (Some(account), _) => format!(" {account}"),
            (None, Some(label)) => format!(" labelled {label}"),
            (None, None) => String::new(),
        };
        let _ = writeln!(
            page,
            "{}{label}, {}: gains {} and loses {} of {} questions\n  such as {}",
            said(&change["role"]),
            said(&change["action"]),
            change["gains"],
            change["loses"],
            change["asked"],
            said(&change["example"]).replace(", about ", ",\n    about "),
        );
    }
    if effects["cut"] == true {
        let _ = writeln!(
            page,
            "There was more to ask than is asked in a plan; what recorded decisions say matters more."
        );
    }
    page.push('\n');
    page += &replay_page(&plan["replay"]);
    match plan["proof"]["analysis"].as_str() {
        Some("done") => page += &format!("\n{}", proof_page(&plan["proof"])),
        Some(_) => {
            let _ = writeln!(page, "\nNothing is proved: {}.", said(&plan["proof"]["detail"]));
        }
        None => {}
    }
    let _ = match plan["plan"].as_str() {
        Some(digest) => {
            writeln!(page, "\nTo publish exactly this: muster policy publish --plan {digest} --reason …")
        }
        None => writeln!(page, "\nThis cannot be published: {}", said(&plan["blocked"])),
    };
    page
}

fn replay_page(replayed: &Value) -> String {
    let since = replayed["since"].as_str().map(|since| format!(", since {since}")).unwrap_or_default();
    let mut page = format!(
        "{} recorded decisions asked again{since}: {} would be refused, {} would be allowed.\n",
        replayed["asked"], replayed["refused"], replayed["allowed"]
    );
    for flip in list_of(&replayed["flips"]) {
        let by: Vec<&str> = list_of(&flip["by"]).iter().filter_map(Value::as_str).collect();
        let examples: Vec<&str> = list_of(&flip["examples"]).iter().filter_map(Value::as_str).collect();
        let _ = writeln!(
            page,
            "  {}: {} would be {} {} times by {}: {}",
            said(&flip["role"]),
            said(&flip["action"]),
            if flip["allows"] == true { "allowed" } else { "refused" },
            flip["count"],
            if by.is_empty() { "no policy".to_owned() } else { by.join(", ") },
            examples.join(", "),
        );
    }
    page
}

fn answer_page(answer: &Value) -> String {
    let mut page = format!(
        "{} for {}: {}\n",
        said(&answer["action"]),
        said(&answer["member"]),
        said(&answer["decision"])
    );
    reasons(&mut page, &answer["determining"], &answer["denials"]);
    page
}

fn reasons(page: &mut String, determining: &Value, denials: &Value) {
    for denial in list_of(denials) {
        let _ = writeln!(
            page,
            "  {}: {} (lifted by {})",
            said(&denial["policy"]),
            said(&denial["advice"]),
            said(&denial["lifted_by"])
        );
    }
    if list_of(denials).is_empty() {
        for policy in list_of(determining) {
            let _ = writeln!(page, "  {} {}", said(&policy["effect"]), said(&policy["id"]));
        }
    }
}

fn counted(policies: usize) -> String {
    match policies {
        0 => "no policies".to_owned(),
        1 => "1 policy".to_owned(),
        more => format!("{more} policies"),
    }
}

pub(super) fn list_of(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Text of an answer. Control characters would let a name rewrite the terminal.
pub(super) fn said(value: &Value) -> String {
    let text = value.as_str().unwrap_or("-");
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
