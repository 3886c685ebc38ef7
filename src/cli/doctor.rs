//! `muster doctor`: whether this machine has what the server needs, and what to do where it has not.

use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    time::Duration,
};

use serde_json::json;

use super::{
    output::{Answer, Column},
    problem::Failure,
    settings::Settings,
};
use crate::{
    config::{Config, Database, Prove},
    policy::solver_version,
    time::{Clock, SystemClock, Timestamp},
};

const COLUMNS: &[Column] = &[("CHECK", "check"), ("RESULT", "result"), ("FOUND", "found"), ("DO", "way_out")];
/// Where a local Docker engine answers.
const DOCKER_SOCKET: &str = "/run/docker.sock";
/// Longest wait for the engine's answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A clock before this instant, 2026-01-01, was never set.
const OLDEST: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// The server runs, but not everything can be had.
    Weak,
    /// The server cannot run.
    Broken,
}

/// One check.
#[derive(Debug)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    way_out: &'static str,
}

impl Check {
    fn new(name: &'static str, verdict: Verdict, found: impl Into<String>, way_out: &'static str) -> Self {
        Self { name, verdict, found: found.into(), way_out }
    }
}

/// Looks at everything; the exit code tells whether anything is broken.
pub(crate) fn run(settings: &Settings) -> Result<Answer, Failure> {
    let (mut checks, mut prove) = (Vec::new(), Prove::default());
    match settings.load() {
        Ok(config) => {
            prove.clone_from(&config.prove);
            checks.push(Check::new("settings", Verdict::Fine, "they can be used", ""));
            checks.push(data_dir(&config.data_dir));
            checks.push(database(&config));
        }
        Err(failure) => checks.push(Check::new(
            "settings",
            Verdict::Broken,
            failure.render().trim_end().to_owned(),
            "`muster config reference` lists what can be set",
        )),
    }
    checks.push(docker(Path::new(DOCKER_SOCKET)));
    checks.push(solver(&prove));
    checks.push(clock(SystemClock.now()));
    let broken = checks.iter().any(|check| check.verdict == Verdict::Broken);
    let item = |check: &Check| {
        let result = match check.verdict {
            Verdict::Fine => "fine",
            Verdict::Weak => "weak",
            Verdict::Broken => "broken",
        };
        json!({ "check": check.name, "result": result, "found": check.found, "way_out": check.way_out })
    };
    let items: Vec<_> = checks.iter().map(item).collect();
    let answer = Answer::List(json!({ "items": items }), COLUMNS);
    Ok(if broken { Answer::Alarm(Box::new(answer)) } else { answer })
}

/// The data folder can be written, and nobody else can read it.
fn data_dir(path: &Path) -> Check {
    let shown = path.display();
    let Ok(found) = std::fs::metadata(path) else {
        return Check::new(
            "data folder",
            Verdict::Fine,
            format!("{shown} will be made at the first start"),
            "",
        );
    };
    if !found.is_dir() || tempfile::tempfile_in(path).is_err() {
        let way = "give the server's user the folder, or name another with --data-dir";
        return Check::new("data folder", Verdict::Broken, format!("{shown} cannot be written"), way);
    }
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let way = "chmod 700 on it: the sealing key and the database are inside";
        return Check::new("data folder", Verdict::Weak, format!("{shown} has mode {mode:o}"), way);
    }
    Check::new("data folder", Verdict::Fine, format!("{shown} is private and can be written"), "")
}

/// The database is where the settings say, as far as that can be told without opening it.
fn database(config: &Config) -> Check {
    let shown = config.database.to_string();
    match &config.database {
        Database::Sqlite(path) if path.exists() => {
            match std::fs::OpenOptions::new().append(true).open(path) {
                Ok(_) => Check::new("database", Verdict::Fine, shown, ""),
                Err(error) => {
                    let way = "give the server's user the file";
                    Check::new("database", Verdict::Broken, format!("{shown}: {error}"), way)
                }
            }
        }
        Database::Sqlite(_) => Check::new("database", Verdict::Fine, format!("{shown} will be made"), ""),
        Database::Postgres(_) => {
            Check::new("database", Verdict::Fine, format!("{shown}, asked at the start"), "")
        }
    }
}

/// A local engine answers a ping on its socket.
fn docker(socket: &Path) -> Check {
    let shown = socket.display();
    let ping = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
        let mut answer = [0; 256];
        let read = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(answer.get(..read).unwrap_or_default()).into_owned())
    };
    match ping() {
        Ok(answer) if answer.contains(" 200 ") => {
            Check::new("Docker", Verdict::Fine, format!("an engine answers on {shown}"), "")
        }
        Ok(_) => Check::new(
            "Docker",
            Verdict::Weak,
            format!("{shown} is no engine"),
            "name the engine's own socket",
        ),
        Err(error) => Check::new(
            "Docker",
            Verdict::Weak,
            format!("{shown}: {error}"),
            "start an engine here, or add hosts elsewhere; a host of endpoint simulated: needs none",
        ),
    }
}

/// There is a solver for proofs about policies.
fn solver(settings: &Prove) -> Check {
    match solver_version(settings) {
        Ok(version) => Check::new("solver", Verdict::Fine, version, ""),
        Err(why) => Check::new(
            "solver",
            Verdict::Weak,
            why.to_string(),
            "`apt-get install cvc5`, or name another place with policy.prove.solver; only proofs need it",
        ),
    }
}

/// The clock was set: every bill depends on it.
fn clock(now: Timestamp) -> Check {
    if now < OLDEST {
        let way = "set the clock and keep it set, for example by chrony";
        return Check::new("clock", Verdict::Broken, now.to_string(), way);
    }
    Check::new("clock", Verdict::Fine, now.to_string(), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_is_broken() {
        assert_eq!(clock(Timestamp::from_micros(0)).verdict, Verdict::Broken);
        assert_eq!(clock(OLDEST).verdict, Verdict::Fine);
    }

    #[test]
    fn a_folder_that_others_can_read_is_weak_and_a_file_in_its_place_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        let mode =
            |mode| std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o700);
        assert_eq!(data_dir(folder.path()).verdict, Verdict::Fine);
        mode(0o755);
        assert_eq!(data_dir(folder.path()).verdict, Verdict::Weak);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(data_dir(&file).verdict, Verdict::Broken);
        assert_eq!(data_dir(&folder.path().join("absent")).verdict, Verdict::Fine);
    }

    #[test]
    fn a_solver_tells_its_version_and_another_program_is_none() {
        let named = |solver: &str| Prove { solver: solver.to_owned(), ..Prove::default() };
        let found = solver(&named("cvc5"));
        assert!(found.verdict == Verdict::Fine && found.found.starts_with("cvc5 "), "{found:?}");
        for none in ["/usr/bin/no-such-solver", "false"] {
            assert_eq!(solver(&named(none)).verdict, Verdict::Weak, "{none}");
        }
    }

    #[test]
    fn an_engine_is_known_by_its_answer() {
        use std::os::unix::net::UnixListener;
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        assert_eq!(docker(&socket).verdict, Verdict::Weak);
        let listener = UnixListener::bind(&socket).unwrap();
        let engine = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 64];
            let read = stream.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /_ping"));
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nOK").unwrap();
        });
        assert_eq!(docker(&socket).verdict, Verdict::Fine);
        engine.join().unwrap();
    }
}
