//! Who asks: signing in and out, the first operator, passwords, profiles.

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    call::Call,
    output::{self, Answer},
    problem::Failure,
    secret::{self, PasswordSource},
};
use crate::config::Secret;

/// Commands about whoever asks.
#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Sign in, with --team by a team's issued account, and keep the token in the profile
    Login {
        /// Login of a user, or account in the team
        account: String,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Sign out and forget the token
    Logout,
    /// Show who is signed in
    Whoami,
    /// Set a new password; by --password-stdin the present one is the first line and the new one the second
    Password {
        #[command(flatten)]
        present: PasswordSource,
    },
    /// Named servers, teams and tokens of this machine
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// The first operator of a new server
    #[command(subcommand)]
    Operator(OperatorCommand),
}

/// Commands about profiles.
#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// List profiles
    Ls,
    /// Use a profile from now on; --server and --team are kept in it
    Use {
        /// Name of the profile; a new name makes a new one
        name: String,
    },
}

/// Commands about the first operator.
#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// Become the operator with the one-time token that `muster serve` printed
    Claim {
        /// The one-time token
        token: String,
        /// Login that the operator will have
        login: String,
        #[command(flatten)]
        password: PasswordSource,
    },
}

impl AccountCommand {
    pub(crate) async fn run(self, call: &mut Call) -> Result<Answer, Failure> {
        match self {
            Self::Login { account, password } => login(call, account, &password).await,
            Self::Logout => logout(call).await,
            Self::Whoami => call.client.get(&["me"], &[]).await.map(Answer::One),
            Self::Password { present } => {
                let current = present.read("Present password: ")?;
                password_change(call, &current, present.read_next("New password: ")?).await?;
                Ok(Answer::Done("The password is changed.".into()))
            }
            Self::Profile(ProfileCommand::Ls) => Ok(profile_list(call)),
            Self::Profile(ProfileCommand::Use { name }) => profile_use(call, name),
            Self::Operator(OperatorCommand::Claim { token, login, password }) => {
                let password = password.read("Password for the operator: ")?;
                let body = json!({ "token": token, "login": login, "password": password });
                call.client.speak_as(None);
                let answer = call.client.post(&["auth", "claim"], body).await?;
                keep(call, &answer, &login)
            }
        }
    }
}

async fn login(call: &mut Call, account: String, source: &PasswordSource) -> Result<Answer, Failure> {
    let password = source.read(&format!("Password for {account}: "))?;
    // An old token that is no longer good must not stand in the way of a new one.
    call.client.speak_as(None);
    let answer = match &call.team_named {
        Some(team) => {
            let body = json!({ "team": team, "account": account, "password": password });
            call.client.post(&["auth", "team-login"], body).await?
        }
        None => {
            let body = json!({ "login": account, "password": password });
            call.client.post(&["auth", "login"], body).await?
        }
    };
    let signed_in = keep(call, &answer, &account)?;
    let must = ["reset_only", "must_reset", "reset_required"].iter().any(|name| answer[*name] == json!(true));
    if !must {
        return Ok(signed_in);
    }
    if !secret::can_ask() {
        let told =
            format!("Signed in as {account}; the first password must be changed now: `muster password`.");
        return Ok(Answer::Done(told));
    }
    output::tell("The first password must be changed now.");
    password_change(call, &password, secret::ask_twice("New password: ")?).await?;
    Ok(Answer::Done(format!("Signed in as {account}; the password is changed.")))
}

/// Keeps the token that an answer carries, with the server that gave it.
fn keep(call: &mut Call, answer: &Value, account: &str) -> Result<Answer, Failure> {
    let Some(token) = answer["token"].as_str() else {
        return Err(Failure::Here("the server's answer carries no token".into()));
    };
    let (server, team) = (call.server.clone(), call.team_named.clone());
    let name = call.profile_name.clone();
    let profile = call.profile();
    profile.server = Some(server);
    profile.account = Some(account.to_owned());
    profile.token = Some(token.to_owned());
    profile.team = team.or(profile.team.take());
    call.profiles.current.get_or_insert(name);
    call.profiles_write()?;
    call.client.speak_as(Some(Secret::new(token)));
    Ok(Answer::Done(format!("Signed in as {account}.")))
}

async fn logout(call: &mut Call) -> Result<Answer, Failure> {
    let asked = call.client.post(&["auth", "logout"], json!({})).await;
    call.profile().token = None;
    call.profiles_write()?;
    match asked {
        // A token that is no longer good is signed out already.
        Err(failure) if failure.exit_code() != super::problem::code::SIGNED_OUT => Err(failure),
        _ => Ok(Answer::Done("Signed out.".into())),
    }
}

/// Changes the password; where that opens a new session, its token takes the old one's place.
async fn password_change(call: &mut Call, current: &str, new: String) -> Result<(), Failure> {
    let body = json!({ "current_password": current, "new_password": new });
    let answer = call.client.post(&["auth", "password"], body).await?;
    if let Some(token) = answer["token"].as_str() {
        call.profile().token = Some(token.to_owned());
        call.profiles_write()?;
    }
    Ok(())
}

fn profile_list(call: &Call) -> Answer {
    let item = |(name, profile): (&String, &super::profile::Profile)| {
        json!({
            "name": name,
            "current": *name == call.profile_name,
            "server": profile.server,
            "team": profile.team,
            "account": profile.account,
            "signed_in": profile.token.is_some(),
        })
    };
    let items: Vec<Value> = call.profiles.profiles.iter().map(item).collect();
    const COLUMNS: &[output::Column] = &[
        ("NAME", "name"),
        ("CURRENT", "current"),
        ("SERVER", "server"),
        ("TEAM", "team"),
        ("ACCOUNT", "account"),
        ("SIGNED IN", "signed_in"),
    ];
    Answer::List(json!({ "items": items }), COLUMNS)
}

fn profile_use(call: &mut Call, name: String) -> Result<Answer, Failure> {
    let (server, team) = (call.server_named.clone(), call.team_named.clone());
    let profile = call.profiles.profiles.entry(name.clone()).or_default();
    if server.is_some() && server != profile.server {
        // The token belongs to the server that gave it.
        profile.token = None;
        profile.server = server;
    }
    profile.team = team.or(profile.team.take());
    call.profiles.current = Some(name.clone());
    call.profiles_write()?;
    Ok(Answer::Done(format!("Profile {name} is in use.")))
}
