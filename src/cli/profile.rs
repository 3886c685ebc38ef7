//! Profiles: which server, which team, which token. One file that only its owner may read.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::problem::Failure;

/// The profile when none is named.
pub(crate) const DEFAULT: &str = "default";

/// Everything in the file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Profiles {
    /// The profile that is used when none is named.
    pub(crate) current: Option<String>,
    /// The profiles by name.
    pub(crate) profiles: BTreeMap<String, Profile>,
}

/// One way to a server.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Profile {
    /// Base URL of the server.
    pub(crate) server: Option<String>,
    /// The team that commands act in.
    pub(crate) team: Option<String>,
    /// Who signed in, for people to read.
    pub(crate) account: Option<String>,
    /// The session token.
    pub(crate) token: Option<String>,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Profile({:?}, {:?}, {:?})", self.server, self.team, self.account)
    }
}

/// Where the profiles are: in the folder that the XDG base directory specification names.
pub(crate) fn path(environment: &BTreeMap<String, String>) -> Result<PathBuf, Failure> {
    let absolute = |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    match folder {
        Some(folder) => Ok(folder.join("muster").join("profiles.toml")),
        None => Err(Failure::Here("no place for profiles: set HOME or XDG_CONFIG_HOME".into())),
    }
}

impl Profiles {
    /// Reads the file; one that does not exist is empty.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).map_err(|error| Failure::here(path.display(), error.message())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Failure::here(path.display(), error)),
        }
    }

    /// Writes the file whole or not at all, readable by its owner only.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let failed = |cause: &dyn std::fmt::Display| Failure::here(path.display(), cause);
        let text = toml::to_string(self).map_err(|error| failed(&error))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
        // Such a file is born with mode 0600 and moved over the old one.
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(&error))?;
        file.write_all(text.as_bytes()).map_err(|error| failed(&error))?;
        file.persist(path).map_err(|error| failed(&error.error))?;
        Ok(())
    }

    /// The name of the profile to use: the named one, else the current one, else the default.
    pub(crate) fn chosen(&self, named: Option<&str>) -> String {
        named.or(self.current.as_deref()).unwrap_or(DEFAULT).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn profiles_come_back_and_only_their_owner_can_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let home = [("XDG_CONFIG_HOME".to_owned(), folder.path().display().to_string())].into();
        let path = path(&home).unwrap();
        let mut profiles = Profiles::read(&path).unwrap();
        let profile = Profile { token: Some("t0ken".into()), ..Profile::default() };
        assert!(!format!("{profile:?}").contains("t0ken"));
        profiles.profiles.insert("lab".into(), profile);
        profiles.write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let token = Profiles::read(&path).unwrap().profiles.remove("lab").unwrap().token;
        assert_eq!(token.as_deref(), Some("t0ken"));
    }
}
