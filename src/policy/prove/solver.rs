//! The solver: a process of its own, with little memory, little time, no environment and a low priority.

use std::{process::Stdio, time::Duration};

use cedar_policy_symcc::{CedarSymCompiler, err::Error as Trouble, solver::LocalSolver};
use tokio::{
    process::Command,
    time::{Instant, timeout},
};

use super::Unproven;
use crate::config::Prove;

/// The memory of a solver's process, in KiB.
const MEMORY_KIB: &str = "1048576";
/// How long a solver may take beyond the time that it was given to think: it reads, and prints examples.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Limits the memory, steps behind whatever serves requests, and becomes the solver. The first argument is the memory.
const SHELL: &str = "ulimit -v \"$1\" || exit 1; shift; exec nice -n 10 \"$@\" 2>/dev/null";

/// What is asked: questions in SMT-LIB, through the compiler of policies.
pub(super) type Asked = CedarSymCompiler<LocalSolver>;

/// A solver for the questions of one proof.
pub(super) struct Solver<'a> {
    settings: &'a Prove,
    deadline: Instant,
    compiler: Option<Asked>,
    /// What the solver calls itself.
    pub(super) version: String,
}

impl<'a> Solver<'a> {
    /// Finds the solver.
    ///
    /// # Errors
    /// When there is none, or none that can be started.
    pub(super) async fn find(settings: &'a Prove, deadline: Instant) -> Result<Self, Unproven> {
        let mut command = Command::new(&settings.solver);
        command.arg("--version").env_clear().env("PATH", PATH).stdin(Stdio::null()).kill_on_drop(true);
        let gone = |why: String| Unproven::NoSolver(format!("{}: {why}", settings.solver));
        let output = timeout(PATIENCE * 5, command.output()).await;
        let output =
            output.map_err(|_| gone("it does not answer".to_owned()))?.map_err(|e| gone(e.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let first = text.lines().next().unwrap_or_default();
        if !output.status.success() || first.is_empty() {
            return Err(gone("it is no solver: it does not tell its version".to_owned()));
        }
        // cvc5 begins with a sentence.
        let version = first.trim_start_matches("This is ").replace(" version ", " ");
        let version = version.split(" [").next().unwrap_or_default().trim().to_owned();
        Ok(Self { settings, deadline, compiler: None, version })
    }

    /// Whether the time for the whole proof is over.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Asks one question.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub(super) async fn ask<T>(
        &mut self,
        question: impl AsyncFnOnce(&mut Asked) -> Result<T, Trouble>,
    ) -> Result<T, String> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.over());
        }
        let mut compiler = match self.compiler.take() {
            Some(compiler) => compiler,
            None => self.start()?,
        };
        let thinking = Duration::from_millis(u64::from(self.settings.question_millis));
        // A process whose question is dropped is killed with it, and the next question starts another.
        let answer = match timeout(left.min(thinking + PATIENCE), question(&mut compiler)).await {
            Ok(answer) => answer,
            Err(_) if self.is_over() => return Err(self.over()),
            Err(_) => return Err(self.thought()),
        };
        match answer {
            Ok(answer) => {
                self.compiler = Some(compiler);
                Ok(answer)
            }
            Err(Trouble::SolverUnknown) => {
                self.compiler = Some(compiler);
                Err(self.thought())
            }
            Err(Trouble::SolverError(_) | Trouble::EncodeError(_)) => {
                Err("the solver stopped: it ran out of memory, or it was ended".to_owned())
            }
            Err(other) => Err(format!("this cannot be analysed: {other}")),
        }
    }

    fn start(&self) -> Result<Asked, String> {
        let mut command = Command::new("/bin/sh");
        let thinking = format!("--tlimit-per={}", self.settings.question_millis);
        command.args(["-c", SHELL, "sh", MEMORY_KIB, &self.settings.solver, "--lang", "smt", &thinking]);
        command.env_clear().env("PATH", PATH).kill_on_drop(true);
        let solver = LocalSolver::from_command(&mut command).map(CedarSymCompiler::new);
        match solver {
            Ok(Ok(compiler)) => Ok(compiler),
            Ok(Err(trouble)) => Err(format!("the solver does not start: {trouble}")),
            Err(trouble) => Err(format!("the solver does not start: {trouble}")),
        }
    }

    fn thought(&self) -> String {
        format!("the solver found no answer within {} ms", self.settings.question_millis)
    }

    /// What is said of whatever was not asked because the time was over.
    pub(super) fn over(&self) -> String {
        format!("the {} s for the whole proof were over", self.settings.total_seconds)
    }
}
