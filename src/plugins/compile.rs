//! Compiling in a child process, and the folder of compiled code.
//!
//! A few kilobytes of WebAssembly can keep a compiler busy for minutes and gigabytes, and a compile cannot be
//! interrupted. So a child with hard limits does it, one at a time. Code is loaded only from files that this
//! program wrote itself.

use std::{
    ffi::OsString,
    fs, hash,
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
};

use rustix::process::{Resource, Rlimit};
use tokio::{io::AsyncWriteExt as _, process::Command, sync::Mutex, time::timeout};
use wasmtime::{Engine, component::Component};

use super::{
    engine::{self, Rung},
    error::Error,
    limits::Limits,
};
use crate::digest::Digest;

/// The hidden subcommand that a compile child is started with.
const SUBCOMMAND: &str = "__compile";
/// How much of a child's complaint is kept, in bytes.
const COMPLAINT_BYTES: usize = 2_000;

/// Which program compiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// This program itself, started again.
    ThisProgram,
    /// The `muster` program at this path: for programs that are not `muster`, such as tests.
    Child(PathBuf),
}

impl Compiler {
    fn program(&self) -> io::Result<PathBuf> {
        match self {
            Self::Child(path) => Ok(path.clone()),
            // Unlike the path of the executable this still works after an upgrade replaced the file.
            Self::ThisProgram if cfg!(target_os = "linux") => Ok("/proc/self/exe".into()),
            Self::ThisProgram => std::env::current_exe(),
        }
    }
}

/// The folder of compiled code and the way to fill it.
pub(crate) struct Cache {
    folder: PathBuf,
    compiler: Compiler,
    engine: Engine,
    rung: Rung,
    limits: Limits,
    /// Held while a child compiles, so that uploads cannot starve quotes.
    one_at_a_time: Mutex<()>,
}

impl Cache {
    /// A cache in `folder`, which is made when missing and closed to others.
    pub(crate) fn open(
        folder: PathBuf,
        compiler: Compiler,
        (engine, rung): (Engine, Rung),
        limits: Limits,
    ) -> Result<Self, Error> {
        let private = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))
        };
        private().map_err(|error| Error::internal("the plugin cache folder cannot be made", error))?;
        Ok(Self { folder, compiler, engine, rung, limits, one_at_a_time: Mutex::new(()) })
    }

    /// The compiled component named `digest`, if its file is there and fits this engine.
    pub(crate) fn load(&self, digest: &Digest) -> Option<Component> {
        let path = self.path(digest);
        if !path.exists() {
            return None;
        }
        match load_file(&self.engine, &path) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(%digest, "compiled plugin is not readable and made anew: {error:#}");
                None
            }
        }
    }

    /// Compiles `wasm`, whose digest is `digest`, in a child process and loads the result.
    pub(crate) async fn compile(&self, digest: &Digest, wasm: &[u8]) -> Result<Component, Error> {
        let _turn = self.one_at_a_time.lock().await;
        if let Some(component) = self.load(digest) {
            return Ok(component);
        }
        let unstored = |error: io::Error| Error::internal("compiled code cannot be stored", error);
        let part = tempfile::Builder::new().suffix(".part").tempfile_in(&self.folder).map_err(unstored)?;
        let part = part.into_temp_path();
        self.run_child(wasm, &part).await?;
        let path = self.path(digest);
        part.persist(&path).map_err(|error| unstored(error.error))?;
        load_file(&self.engine, &path)
            .map_err(|error| Error::internal("compiled code does not load", format!("{error:#}")))
    }

    async fn run_child(&self, wasm: &[u8], part: &Path) -> Result<(), Error> {
        let failed = |error: io::Error| Error::internal("the compile process does not run", error);
        let mut child = Command::new(self.compiler.program().map_err(failed)?)
            .arg(SUBCOMMAND)
            .arg(self.rung.as_str())
            .arg(self.limits.compile_cpu_seconds.to_string())
            .arg(self.limits.compile_memory_bytes.to_string())
            .arg(part)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A child that died closes the pipe; its exit status says why.
                drop(stdin.write_all(wasm).await);
            }
        };
        let work = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = timeout(self.limits.compile_wall, work)
            .await
            .map_err(|_| too_slow("plugins.compile_wall"))?
            .map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        let complaint: String = complaint.trim().chars().take(COMPLAINT_BYTES).collect();
        Err(match output.status.code() {
            Some(code) if code == i32::from(INVALID) => {
                Error::Refused(format!("it does not compile: {complaint}"))
            }
            Some(_) => Error::internal("the compile process failed", complaint),
            None => too_slow("plugins.compile_cpu_seconds or plugins.compile_memory_bytes"),
        })
    }

    /// Where the code lives: named by its source, the engine's version and everything that the code depends
    /// on.
    fn path(&self, digest: &Digest) -> PathBuf {
        let mut key = HashedBytes(Vec::new());
        hash::Hash::hash(&self.engine.precompile_compatibility_hash(), &mut key);
        self.folder.join(format!("{digest}-{}.cwasm", Digest::of(&key.0)))
    }
}

fn too_slow(setting: &str) -> Error {
    Error::Refused(format!("compiling it needs more than {setting} allows: make the component smaller"))
}

/// Maps compiled code into memory.
#[expect(
    unsafe_code,
    reason = "the file was written by our own child into a folder that is closed to others"
)]
fn load_file(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the cache folder has mode 0700, and only finished output of the compile child is moved there.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Collects the bytes that a value hashes, so that file names stay the same from one start to the next.
struct HashedBytes(Vec<u8>);

impl hash::Hasher for HashedBytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    fn finish(&self) -> u64 {
        0
    }
}

/// The exit code of a child whose input is not valid.
const INVALID: u8 = 3;

/// The whole life of a compile child: `muster __compile RUNG CPU_SECONDS MEMORY_BYTES OUTPUT`, WebAssembly on
/// its standard input. `main` calls this when the first argument is `__compile`.
pub fn compile_child_main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(2).collect();
    match compile_here(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, complaint)) => {
            drop(writeln!(io::stderr(), "{complaint}"));
            ExitCode::from(code)
        }
    }
}

fn compile_here(arguments: &[OsString]) -> Result<(), (u8, String)> {
    let usage = || (2, format!("usage: muster {SUBCOMMAND} RUNG CPU_SECONDS MEMORY_BYTES OUTPUT"));
    let failed = |error: io::Error| (1, error.to_string());
    let [rung, seconds, bytes, output] = arguments else { return Err(usage()) };
    let rung = rung.to_str().and_then(Rung::from_name).ok_or_else(usage)?;
    let number = |text: &OsString| text.to_str().and_then(|text| text.parse().ok()).ok_or_else(usage);
    bound(Resource::Cpu, number(seconds)?).map_err(failed)?;
    bound(Resource::As, number(bytes)?).map_err(failed)?;
    bound(Resource::Core, 0).map_err(failed)?;
    rustix::process::nice(10).map_err(|error| failed(error.into()))?;

    let mut wasm = Vec::new();
    io::stdin().lock().read_to_end(&mut wasm).map_err(failed)?;
    let engine = Engine::new(&engine::config(rung)).map_err(|error| (1, format!("{error:#}")))?;
    let code = engine.precompile_component(&wasm).map_err(|error| (INVALID, format!("{error:#}")))?;
    let mut file = fs::File::create(output).map_err(failed)?;
    file.write_all(&code).map_err(failed)?;
    // A torn file would be mapped as code after a crash.
    file.sync_all().map_err(failed)
}

fn bound(resource: Resource, most: u64) -> io::Result<()> {
    Ok(rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}
