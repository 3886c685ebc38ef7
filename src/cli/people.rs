//! Teams, their members and quotas, API keys, and the site's users.

use clap::Subcommand;
use serde_json::json;

use super::{
    call::Call,
    output::{Answer, Column},
    problem::Failure,
    quota::QuotaCommand,
    secret::PasswordSource,
    terms::TermsCommand,
};

const TEAMS: &[Column] = &[
    ("ID", "id"),
    ("SLUG", "slug"),
    ("NAME", "name"),
    ("PRESET", "preset"),
    ("ROLE", "role"),
    ("STATE", "state"),
    ("MEMBERS", "members"),
    ("CREATED", "created_at"),
];
const MEMBERS: &[Column] = &[
    ("ID", "id"),
    ("ACCOUNT", "account"),
    ("ALIAS", "alias"),
    ("ROLE", "role"),
    ("STATE", "state"),
    ("BALANCE", "balance"),
    ("CREATED", "created_at"),
];
const USERS: &[Column] =
    &[("ID", "id"), ("LOGIN", "login"), ("OPERATOR", "operator"), ("CREATED", "created_at")];
const API_KEYS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("MEMBER", "member"),
    ("SCOPES", "scopes"),
    ("EXPIRES", "expires_at"),
    ("LAST USED", "last_used_at"),
    ("REVOKED", "revoked_at"),
];

/// Commands about people.
#[derive(Debug, Subcommand)]
pub(crate) enum PeopleCommand {
    /// Teams
    #[command(subcommand)]
    Team(TeamCommand),
    /// Members of a team
    #[command(subcommand)]
    Member(MemberCommand),
    /// What members may see and how much of it they may hold
    #[command(subcommand)]
    Quota(QuotaCommand),
    /// Keys that programs act with in a member's name
    #[command(subcommand)]
    ApiKey(ApiKeyCommand),
    /// Users of the site, for its operator
    #[command(subcommand)]
    User(UserCommand),
}

/// Commands about teams.
#[derive(Debug, Subcommand)]
pub(crate) enum TeamCommand {
    /// Create a team and become its owner
    Create {
        /// Short name in addresses and commands
        slug: String,
        /// Name for people; the slug if not given
        #[arg(long)]
        name: Option<String>,
        /// What the team is for
        #[arg(long, default_value = "")]
        description: String,
        /// Set of role rules: glows, grid or novita
        #[arg(long, default_value = "glows")]
        preset: String,
    },
    /// List your teams, or with --all every team of the site
    Ls {
        /// Every team of the site, for its operator
        #[arg(long)]
        all: bool,
    },
    /// Show the team
    Show,
    /// Change the team's name or description
    Set {
        /// Name for people
        #[arg(long)]
        name: Option<String>,
        /// What the team is for
        #[arg(long)]
        description: Option<String>,
    },
    /// Link an account that a team issued to you with your own login
    Link {
        /// The account that the team named by --team issued
        account: String,
        #[command(flatten)]
        password: PasswordSource,
    },
    #[command(flatten)]
    Terms(TermsCommand),
}

/// Commands about members.
#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Issue an account; without a password the server makes one and shows it once
    Add {
        /// Account name within the team
        account: String,
        /// Role, out of those of the team's preset
        #[arg(long)]
        role: Option<String>,
        /// Name for people
        #[arg(long)]
        alias: Option<String>,
        /// Note for those who run the team
        #[arg(long)]
        note: Option<String>,
        /// Words for the team's policies, such as intern
        #[arg(long = "label", value_name = "LABEL", value_delimiter = ',')]
        labels: Vec<String>,
        /// Credits to assign at once
        #[arg(long, value_name = "CREDITS")]
        initial_credits: Option<String>,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// List members
    Ls,
    /// Show a member
    Show {
        /// Member, by id
        member: String,
    },
    /// Change a member
    Set {
        /// Member, by id
        member: String,
        /// Role, out of those of the team's preset
        #[arg(long)]
        role: Option<String>,
        /// Name for people
        #[arg(long)]
        alias: Option<String>,
        /// Note for those who run the team
        #[arg(long)]
        note: Option<String>,
        /// Words for the team's policies, in the place of the present ones; an empty one takes all away
        #[arg(long = "label", value_name = "LABEL", value_delimiter = ',')]
        labels: Option<Vec<String>>,
        /// State: active or suspended
        #[arg(long)]
        state: Option<String>,
    },
    /// Remove a member
    Rm {
        /// Member, by id
        member: String,
    },
    /// Give a member a first password again; without one the server makes it and shows it once
    ResetPassword {
        /// Member, by id
        member: String,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Show what a member may do
    Permissions {
        /// Member, by id
        member: String,
    },
}

/// Commands about API keys.
#[derive(Debug, Subcommand)]
pub(crate) enum ApiKeyCommand {
    /// Create a key; it is shown once
    Create {
        /// Name for people
        name: String,
        /// Action that the key may ask for, such as createInstance; all of yours if none is given
        #[arg(long = "scope", value_name = "ACTION")]
        scopes: Vec<String>,
        /// When the key ends, such as 2027-01-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
    },
    /// List keys
    Ls,
    /// End a key at once
    Revoke {
        /// Key, by id
        key: String,
    },
}

/// Commands about users.
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Create a user; without a password the server makes one and shows it once
    Add {
        /// Login
        login: String,
        /// Whether the user runs the site
        #[arg(long)]
        operator: bool,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// List users
    Ls,
}

impl PeopleCommand {
    pub(crate) async fn run(self, call: &mut Call) -> Result<Answer, Failure> {
        match self {
            Self::Team(command) => command.run(call).await,
            Self::Member(command) => command.run(call).await,
            Self::Quota(command) => command.run(call).await,
            Self::ApiKey(command) => command.run(call).await,
            Self::User(command) => command.run(call).await,
        }
    }
}

impl TeamCommand {
    async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let client = &call.client;
        match self {
            Self::Create { slug, name, description, preset } => {
                let name = name.unwrap_or_else(|| slug.clone());
                let body =
                    json!({ "slug": slug, "name": name, "description": description, "preset": preset });
                client.post(&["teams"], body).await.map(Answer::One)
            }
            Self::Ls { all } => {
                let path: &[&str] = if all { &["teams"] } else { &["me", "teams"] };
                Ok(Answer::List(client.list(path, &[], usize::MAX).await?, TEAMS))
            }
            Self::Show => client.get(&["teams", call.team()?], &[]).await.map(Answer::One),
            Self::Set { name, description } => {
                let body = json!({ "name": name, "description": description });
                client.patch(&["teams", call.team()?], body).await.map(Answer::One)
            }
            Self::Link { account, password } => {
                let password = password.read(&format!("Password for {account}: "))?;
                let body = json!({ "team": call.team()?, "account": account, "password": password });
                client.post(&["me", "links"], body).await.map(Answer::One)
            }
            Self::Terms(command) => command.run(call).await,
        }
    }
}

impl MemberCommand {
    async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let (client, team) = (&call.client, call.team()?);
        let members = &["teams", team, "members"];
        match self {
            Self::Add { account, role, alias, note, labels, initial_credits, password } => {
                let body = json!({
                    "account": account,
                    "role": role,
                    "alias": alias,
                    "labels": labels,
                    "note": note,
                    "initial_credits": initial_credits,
                    "password": password.read_if_given()?,
                });
                client.post(members, body).await.map(Answer::One)
            }
            Self::Ls => Ok(Answer::List(client.list(members, &[], usize::MAX).await?, MEMBERS)),
            Self::Show { member } => {
                client.get(&["teams", team, "members", &member], &[]).await.map(Answer::One)
            }
            Self::Set { member, role, alias, note, labels, state } => {
                let labels: Option<Vec<String>> =
                    labels.map(|labels| labels.into_iter().filter(|label| !label.is_empty()).collect());
                let body = json!({
                    "role": role, "alias": alias, "note": note, "labels": labels, "state": state,
                });
                client.patch(&["teams", team, "members", &member], body).await.map(Answer::One)
            }
            Self::Rm { member } => {
                client.delete(&["teams", team, "members", &member]).await?;
                Ok(Answer::Done(format!("Member {member} is removed.")))
            }
            Self::ResetPassword { member, password } => {
                let body = json!({ "password": password.read_if_given()? });
                client.post(&["teams", team, "members", &member, "password"], body).await.map(Answer::One)
            }
            Self::Permissions { member } => {
                client.get(&["teams", team, "members", &member, "permissions"], &[]).await.map(Answer::One)
            }
        }
    }
}

impl ApiKeyCommand {
    async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let (client, team) = (&call.client, call.team()?);
        let keys = &["teams", team, "api-keys"];
        match self {
            Self::Create { name, scopes, expires_at } => {
                let body = json!({ "name": name, "scopes": scopes, "expires_at": expires_at });
                client.post(keys, body).await.map(Answer::One)
            }
            Self::Ls => Ok(Answer::List(client.list(keys, &[], usize::MAX).await?, API_KEYS)),
            Self::Revoke { key } => {
                client.delete(&["teams", team, "api-keys", &key]).await?;
                Ok(Answer::Done(format!("Key {key} is revoked.")))
            }
        }
    }
}

impl UserCommand {
    async fn run(self, call: &Call) -> Result<Answer, Failure> {
        match self {
            Self::Add { login, operator, password } => {
                let password = password.read_if_given()?;
                let body = json!({ "login": login, "operator": operator, "password": password });
                call.client.post(&["users"], body).await.map(Answer::One)
            }
            Self::Ls => Ok(Answer::List(call.client.list(&["users"], &[], usize::MAX).await?, USERS)),
        }
    }
}
