//! What a client command has at hand: the profile, the server, the team.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    Globals,
    client::Client,
    problem::Failure,
    profile::{self, Profile, Profiles},
};
use crate::{chance::SystemChance, config};

/// The server when nothing names one.
const SERVER: &str = "http://127.0.0.1:7070";

/// One run of a client command.
pub(crate) struct Call {
    /// The server, asked in the name of whoever is signed in.
    pub(crate) client: Client,
    /// The name of the profile in use.
    pub(crate) profile_name: String,
    /// All profiles.
    pub(crate) profiles: Profiles,
    /// The server's URL.
    pub(crate) server: String,
    /// The server that the command line names.
    pub(crate) server_named: Option<String>,
    /// The team that the command line names, apart from what the environment or the profile say.
    pub(crate) team_named: Option<String>,
    team: Option<String>,
    file: PathBuf,
}

impl Call {
    /// Gathers flag over environment over profile over default.
    pub(crate) fn new(globals: Globals) -> Result<Self, Failure> {
        let environment = config::environment();
        let file = profile::path(&environment)?;
        let profiles = Profiles::read(&file)?;
        let said = |flag: Option<String>, name: &str| flag.or_else(|| environment.get(name).cloned());
        let named = said(globals.profile, "MUSTER_PROFILE");
        let profile_name = profiles.chosen(named.as_deref());
        let profile = profiles.profiles.get(&profile_name).cloned().unwrap_or_default();
        let server = said(globals.server.clone(), "MUSTER_SERVER").or(profile.server.clone());
        let server = server.unwrap_or_else(|| SERVER.to_owned());
        let token = token(&environment, &profile, &server)?;
        Ok(Self {
            client: Client::new(&server, token, globals.idempotency_key, &SystemChance)?,
            profile_name,
            profiles,
            server,
            server_named: globals.server,
            team_named: globals.team.clone(),
            team: said(globals.team, "MUSTER_TEAM").or(profile.team),
            file,
        })
    }

    /// The team to act in.
    pub(crate) fn team(&self) -> Result<&str, Failure> {
        let way = "which team? --team TEAM, MUSTER_TEAM, or `muster profile use NAME --team TEAM`";
        self.team.as_deref().ok_or_else(|| Failure::Invalid(way.to_owned()))
    }

    /// The profile in use, to be changed and then written by [`Call::profiles_write`].
    pub(crate) fn profile(&mut self) -> &mut Profile {
        self.profiles.profiles.entry(self.profile_name.clone()).or_default()
    }

    /// Keeps the profiles.
    pub(crate) fn profiles_write(&self) -> Result<(), Failure> {
        self.profiles.write(&self.file)
    }
}

/// The token: from the environment, or the profile's, which goes to the profile's own server and to no other.
fn token(
    environment: &BTreeMap<String, String>,
    profile: &Profile,
    server: &str,
) -> Result<Option<config::Secret>, Failure> {
    if let Some(token) = environment.get("MUSTER_TOKEN") {
        return Ok(Some(config::Secret::new(token)));
    }
    if let Some(path) = environment.get("MUSTER_TOKEN_FILE") {
        let text = std::fs::read_to_string(Path::new(path)).map_err(|error| Failure::here(path, error))?;
        return Ok(Some(config::Secret::new(text.trim())));
    }
    let same = profile.server.as_deref().unwrap_or(SERVER) == server;
    Ok(profile.token.as_ref().filter(|_| same).map(config::Secret::new))
}
