//! A private Postgres server in a temporary folder, on a socket of its own: no port, nothing shared, gone
//! when dropped.

use std::{
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// The running server.
pub(crate) struct Postgres {
    folder: TempDir,
    server: Child,
}

impl Postgres {
    /// Makes and starts one. Without an installed Postgres this fails loudly: both databases are promised.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        for path in [folder.path(), &data] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
            if is_root() {
                let user = Command::new("chown").arg("postgres").arg(path).status().unwrap();
                assert!(user.success(), "no user postgres to run the server as");
            }
        }
        let made = program("initdb")
            .args(["--auth=trust", "--username=muster", "--encoding=UTF8", "--no-locale", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let server = program("postgres")
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=60", "-k"])
            .arg(folder.path())
            .arg("-D")
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .expect("postgres runs");
        let started = Self { folder, server };
        started.wait_until_ready().await;
        started
    }

    /// The address of its database.
    pub(crate) async fn database(&self) -> String {
        let folder = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://muster@{folder}/postgres")
    }

    async fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let mut asked = Command::new(binary("pg_isready"));
            let answer = asked.arg("-q").arg("-h").arg(self.folder.path()).status().expect("pg_isready runs");
            if answer.success() {
                return;
            }
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "postgres does not start: {log}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT to the server itself; it takes its children along, and nobody needs the data any more.
        let pid = std::fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap_or_default();
        if let Some(pid) = pid.lines().next() {
            let _ = Command::new("kill").args(["-QUIT", pid]).status();
        }
        let _ = self.server.wait();
    }
}

/// A server program, run as a user that Postgres accepts: it refuses root.
fn program(name: &str) -> Command {
    let binary = binary(name);
    if !is_root() {
        return Command::new(binary);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(binary);
    command
}

fn binary(name: &str) -> PathBuf {
    let packaged = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = packaged.map(|version| version.path().join("bin").join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| PathBuf::from(name))
}

fn is_root() -> bool {
    let me = Command::new("id").arg("-u").output().expect("id runs");
    me.stdout == b"0\n"
}
