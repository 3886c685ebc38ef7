//! What was proven about a team's policies, for people.

use std::fmt::Write as _;

use serde_json::Value;

use super::policy::{list_of, said};

/// A claim that has to be proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Required {
    NobodyGains,
    NobodyLoses,
    GuardrailsHold,
    OwnerCanMend,
    NeverErrors,
    NoDeadPermits,
}

impl Required {
    const fn name(self) -> &'static str {
        match self {
            Self::NobodyGains => "nobody_gains",
            Self::NobodyLoses => "nobody_loses",
            Self::GuardrailsHold => "guardrails_hold",
            Self::OwnerCanMend => "owner_can_mend",
            Self::NeverErrors => "never_errors",
            Self::NoDeadPermits => "no_dead_permits",
        }
    }

    /// Whether the proof proves it.
    pub(crate) fn is_proved(self, proof: &Value) -> bool {
        let proved = |one: &Value| one["claim"] == self.name() && one["verdict"] == "proved";
        list_of(&proof["claims"]).iter().any(proved)
    }
}

/// A proof as a page.
pub(super) fn proof_page(proof: &Value) -> String {
    let mut page = String::new();
    for one in list_of(&proof["claims"]) {
        let (claim, none, counted) = match said(&one["claim"]).as_str() {
            "nobody_gains" => ("nobody gains anything", "nothing is different", "situation"),
            "nobody_loses" => ("nobody loses anything", "nothing is different", "situation"),
            "guardrails_hold" => {
                ("what guardrails forbid stays forbidden", "no permit is different", "situation")
            }
            "owner_can_mend" => {
                ("the owner can always mend it", "the team's policies do not speak of that", "situation")
            }
            "never_errors" => ("no policy can fail", "there are none", "policy and situation"),
            "no_dead_permits" => ("every permit permits something", "there are none", "permit"),
            other => (&*other.to_owned(), "nothing to ask", "case"),
        };
        let (verdict, asked) = (said(&one["verdict"]), one["asked"].as_u64().unwrap_or_default());
        let scale = match (asked, verdict.as_str()) {
            (0, _) => none.to_owned(),
            (_, "proved") => format!("in all of {}", times(asked, counted)),
            _ => format!("holds in {} of {}", one["held"], times(asked, counted)),
        };
        let _ = writeln!(page, "{:<10} {claim}: {scale}", verdict.to_uppercase());
        for finding in list_of(&one["findings"]) {
            page += &finding_lines(finding);
        }
        if let Some(skipped) = one["skipped"].as_u64().filter(|skipped| *skipped > 0) {
            let _ = writeln!(page, "  {skipped} more were not tried: what is refuted stays refuted");
        }
    }
    let _ = writeln!(
        page,
        "{} untouched: there both versions are the same. Solver: {}.",
        times(proof["untouched"].as_u64().unwrap_or_default(), "situation"),
        said(&proof["solver"])
    );
    page
}

fn finding_lines(finding: &Value) -> String {
    let example = &finding["example"];
    if example.is_null() {
        let places: Vec<String> = ["policy", "action"]
            .iter()
            .filter(|key| !finding[**key].is_null())
            .map(|key| said(&finding[*key]))
            .collect();
        let about = finding["about"].as_str().map(|about| format!(" about {about}")).unwrap_or_default();
        return format!("  {}{about}: {}\n", places.join(", "), said(&finding["why"]));
    }
    let policy = finding["policy"].as_str().map(|policy| format!("{policy}: ")).unwrap_or_default();
    let words = said(&example["words"]).replace("; ", "\n    where ");
    format!("  {policy}{words}\n    now {}, then {}\n", answer(&example["before"]), answer(&example["after"]))
}

fn answer(answered: &Value) -> String {
    let by: Vec<String> = list_of(&answered["by"]).iter().map(said).collect();
    match (answered["allowed"] == true, by.is_empty()) {
        (true, _) => format!("allowed by {}", by.join(", ")),
        (false, true) => "refused: no policy permits it".to_owned(),
        (false, false) => format!("refused by {}", by.join(", ")),
    }
}

fn times(count: u64, what: &str) -> String {
    match (count, what) {
        (1, _) => format!("1 {what}"),
        (_, "policy and situation") => format!("{count} policies and situations"),
        _ => format!("{count} {what}s"),
    }
}
