//! Waiting for an instance: a spinner for a person, a line for each change in a log.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{
    client::Client,
    output,
    problem::{Failure, code},
};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The instance runs.
    Running,
    /// The instance is stopped.
    Stopped,
    /// The instance is gone and settled.
    Released,
}

/// Where an instance stands with respect to a goal.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Reached,
    Lost,
    OnItsWay,
}

impl Goal {
    fn standing(self, state: &str) -> Standing {
        match (self, state) {
            (Self::Running, "running")
            | (Self::Stopped, "stopped" | "released" | "failed")
            | (Self::Released, "released" | "failed") => Standing::Reached,
            (Self::Running, "failed" | "stopped" | "releasing" | "released") => Standing::Lost,
            _ => Standing::OnItsWay,
        }
    }
}

/// Looks at the instance until `goal` is reached or can no longer be, for at most `seconds`.
pub(crate) async fn instance(
    client: &Client,
    team: &str,
    instance: &str,
    goal: Goal,
    seconds: u64,
) -> Result<Value, Failure> {
    let mut progress = Progress::new();
    let look = async {
        loop {
            let seen = match client.get(&["teams", team, "instances", instance], &[]).await {
                // The server may be restarting: the wait has its own end.
                Err(failure) if failure.exit_code() == code::UNAVAILABLE => {
                    progress.show("the server does not answer");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                answer => answer?,
            };
            let state = seen["state"].as_str().unwrap_or("unknown").to_owned();
            progress.show(&state);
            match goal.standing(&state) {
                Standing::Reached => return Ok(seen),
                Standing::Lost => return Err(lost(instance, &state, &seen)),
                Standing::OnItsWay => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    let outcome = tokio::time::timeout(Duration::from_secs(seconds), look).await;
    progress.end();
    outcome.unwrap_or_else(|_| {
        let way = format!("it goes on all the same; look with `muster instance show {instance}`");
        Err(Failure::Here(format!("after {seconds} s instance {instance} is still on its way; {way}")))
    })
}

fn lost(instance: &str, state: &str, seen: &Value) -> Failure {
    let said = ["reason", "reason_detail"].iter().filter_map(|name| seen[*name].as_str());
    let why: Vec<&str> = said.filter(|text| !text.is_empty()).collect();
    let why = if why.is_empty() { "the server gave no reason".to_owned() } else { why.join(": ") };
    Failure::Here(format!("instance {instance} is {state} and will not run: {why}"))
}

/// How it goes on, on standard error.
struct Progress {
    bar: Option<ProgressBar>,
    last: String,
}

impl Progress {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { bar, last: String::new() }
    }

    fn show(&mut self, state: &str) {
        if self.last != state {
            match &self.bar {
                Some(bar) => bar.set_message(state.to_owned()),
                None => output::tell(state),
            }
            state.clone_into(&mut self.last);
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::instance::State;

    #[test]
    fn every_final_state_ends_the_wait_for_every_goal() {
        for state in State::ALL.iter().filter(|state| state.is_final()) {
            for goal in [Goal::Running, Goal::Stopped, Goal::Released] {
                assert_ne!(goal.standing(state.word()), Standing::OnItsWay, "{state}");
            }
        }
        for word in ["running", "stopped", "releasing", "released", "failed"] {
            assert!(State::from_word(word).is_some(), "{word} is a state of the model");
        }
    }
}
