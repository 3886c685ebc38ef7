//! An author's desk: a folder, and the program with the tools that guests are built with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::sources::TARGET;

/// A folder to work in.
pub(crate) struct Desk {
    pub(crate) folder: PathBuf,
    _scratch: Option<tempfile::TempDir>,
}

impl Desk {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        Self { folder: scratch.path().to_owned(), _scratch: Some(scratch) }
    }

    /// Runs a line of the shell; the program is found by its name, and so are Debian's compilers for guests, in the
    /// place of those that an author gets from rustup.
    pub(crate) fn command(&self, line: &str) -> Command {
        let tools = self.folder.join(".tools");
        fs::create_dir_all(&tools).unwrap();
        let muster = Path::new(env!("CARGO_BIN_EXE_muster"));
        let found = [
            ("muster", muster),
            ("cargo", Path::new("/usr/bin/cargo")),
            ("rustc", Path::new("/usr/bin/rustc")),
        ];
        for (name, program) in found {
            if !tools.join(name).exists() {
                std::os::unix::fs::symlink(program, tools.join(name)).unwrap();
            }
        }
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).current_dir(&self.folder).stdin(Stdio::null());
        for name in ["RUSTUP_TOOLCHAIN", "CARGO", "LD_LIBRARY_PATH", "MUSTER_TOKEN", "MUSTER_TEAM"] {
            command.env_remove(name);
        }
        command.env("PATH", format!("{}:/usr/bin:/bin", tools.display()));
        command.env("XDG_CACHE_HOME", self.folder.join(".cache"));
        command.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1").env("CARGO_TERM_QUIET", "true");
        // What the compilers of `plugins/build-guests.sh` are told, so that the standard library is built once.
        command.env("RUSTFLAGS", "-Zlocation-detail=none -C link-arg=-zstack-size=65536");
        command.env("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort");
        command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-19");
        command
    }

    /// Exit code and both outputs of a line.
    pub(crate) fn run(&self, line: &str) -> String {
        let output = self.command(line).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!("exit {}\n{}{}", output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    /// A new Rust plugin, built where the examples were, with the versions of crates that they are built with.
    pub(crate) fn share_builds(&self, plugin: &str) {
        let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
        fs::copy(plugins.join("Cargo.lock"), self.folder.join(plugin).join("Cargo.lock")).unwrap();
        let target = self.folder.join(plugin).join("target");
        if !target.exists() {
            std::os::unix::fs::symlink(&*TARGET, target).unwrap();
        }
    }

    /// Writes a file.
    pub(crate) fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
}
