//! A private Postgres for a test process: its own data folder and unix socket, gone when the process is.
//!
//! For every test binary that runs on both databases: `#[path = "../support/postgres.rs"] mod postgres;`.
//! Postgres refuses to run as root, so root runs it as the account that Debian's package makes.

use std::{
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

const MISSING: &str = "these tests need PostgreSQL: install the package `postgresql` (version 15 or newer)";

/// Runs the server, anew when it was killed, until standard input ends, which it does when the test process is gone, in
/// whatever way.
const WATCH: &str = r#"
    while [ ! -e "$0/ended" ]; do "$@" >/dev/null 2>>"$0/log" </dev/null; sleep 0.1; done &
    cat >/dev/null
    touch "$0/ended"
    while kill -0 $! 2>/dev/null; do kill -INT $(head -n 1 "$0/data/postmaster.pid"); sleep 0.1; done 2>/dev/null
    rm -rf "$0"
"#;

struct Server {
    folder: PathBuf,
    watch: Child,
}

static SERVER: OnceLock<Server> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The address of a fresh, empty database.
pub(crate) fn fresh_database() -> String {
    let folder = &SERVER.get_or_init(Server::start).folder;
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let create = format!("CREATE DATABASE {name} TEMPLATE template0");
    run(Command::new(program("psql")).args(["-qXU", "postgres", "-c", &create, "-h"]).arg(folder));
    format!("postgres://postgres@localhost/{name}?host={}", folder.display())
}

impl Server {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("muster-postgres-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for Postgres");
        let account = give_away(&folder);
        let data = folder.join("data");
        run(Command::new(&account[0])
            .args(&account[1..])
            .arg(program("initdb"))
            .args(["-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C", "-D"])
            .arg(&data));
        let watch = Command::new("sh")
            .args(["-c", WATCH])
            .arg(&folder)
            .args(&account)
            .arg(program("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(&folder)
            .args(["-c", "listen_addresses=", "-c", "max_connections=200", "-c", "fsync=on"])
            .stdin(Stdio::piped())
            // A signal for the whole group of the tests must not take the one who cleans up behind them.
            .process_group(0)
            .spawn()
            .expect("a shell");
        let server = Self { folder, watch };
        server.wait_until_ready();
        server
    }

    fn wait_until_ready(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        let ready =
            || Command::new(program("pg_isready")).arg("-qh").arg(&self.folder).status().expect(MISSING);
        while !ready().success() {
            if Instant::now() > end {
                let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                panic!("Postgres under {} is not ready after a minute:\n{log}", self.watch.id());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The newest installed program of that name.
pub(crate) fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect(MISSING);
    let number = |folder: &Path| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions
        .map(|version| version.expect("a readable folder").path())
        .filter(|version| version.join("bin/postgres").exists())
        .max_by_key(|version| number(version));
    newest.expect(MISSING).join("bin").join(name)
}

/// Gives the folder to the account that Postgres runs as, and says how to run something as it.
fn give_away(folder: &Path) -> Vec<String> {
    let own = std::fs::metadata("/proc/self").expect("a /proc").uid();
    if own != 0 {
        return vec!["env".to_owned()];
    }
    let id = |of: &str| {
        let output = Command::new("id").args([of, "postgres"]).output().expect("the program `id`");
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().expect(MISSING)
    };
    let (user, group) = (id("-u"), id("-g"));
    chown(folder, Some(user), Some(group)).expect("to give the folder away");
    let run_as = format!("setpriv --reuid={user} --regid={group} --clear-groups");
    run_as.split(' ').map(str::to_owned).collect()
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect(MISSING);
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}
