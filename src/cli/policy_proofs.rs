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
            "never_errors" => ("no policy can fail", "there are no policies", "case"),
            "no_dead_permits" => ("every permit permits something", "there are no permits", "permit"),
            other => (&*other.to_owned(), "nothing to ask", "case"),
        };
        let (verdict, asked) = (said(&one["verdict"]), one["asked"].as_u64().unwrap_or_default());
        let held = one["held"].as_u64().unwrap_or_default();
        let scale = match (asked, verdict.as_str()) {
            (0, _) => none.to_owned(),
            (_, "proved") => format!("in {}", times(asked, counted)),
            (_, "refuted") => format!("not so in {} of {}", asked - held.min(asked), times(asked, counted)),
            _ => format!("known of {held} of {}", times(asked, counted)),
        };
        let _ = writeln!(page, "{:<10} {claim}: {scale}", verdict.to_uppercase());
        for finding in list_of(&one["findings"]) {
            page += &finding_lines(finding);
        }
        if let Some(skipped) = one["skipped"].as_u64().filter(|skipped| *skipped > 0) {
            let _ = writeln!(page, "  {skipped} more were not tried: what is refuted stays refuted");
        }
    }
    let others = times(proof["untouched"].as_u64().unwrap_or_default(), "situation");
    let solver = said(&proof["solver"]);
    let _ = writeln!(page, "Nothing is different in {others} of which no change speaks. Solver: {solver}.");
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
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_proof_is_a_page() {
        let example = json!({ "words": "getBill for the role member; context.hour is 18", "role": "member",
            "matters": { "context.hour": 18 }, "before": { "allowed": false, "by": [] },
            "after": { "allowed": true, "by": ["team/a"] } });
        let claim = |claim: &str, verdict: &str, asked: u32, held: u32, findings: Value| {
            json!({ "claim": claim, "verdict": verdict, "asked": asked, "held": held, "skipped": asked / 9,
                "findings": findings })
        };
        let proof = json!({ "solver": "cvc5 1.0.3", "situations": 9, "untouched": 1, "claims": [
            claim("nobody_gains", "refuted", 9, 8, json!([{ "verdict": "refuted", "action": "getBill",
                "about": "Record", "why": "there is one", "example": example }])),
            claim("nobody_loses", "proved", 1, 1, json!([])),
            claim("guardrails_hold", "proved", 0, 0, json!([])),
            claim("never_errors", "undecided", 2, 1, json!([{ "verdict": "undecided", "policy": "team/a",
                "action": "getBill", "about": "Record", "why": "the solver found no answer within 1 ms" }])),
            claim("no_dead_permits", "refuted", 2, 1, json!([{ "verdict": "refuted", "policy": "team/b",
                "why": "it is never the reason for a yes" }])),
        ] });
        insta::assert_snapshot!(proof_page(&proof), @r"
        REFUTED    nobody gains anything: not so in 1 of 9 situations
          getBill for the role member
            where context.hour is 18
            now refused: no policy permits it, then allowed by team/a
          1 more were not tried: what is refuted stays refuted
        PROVED     nobody loses anything: in 1 situation
        PROVED     what guardrails forbid stays forbidden: no permit is different
        UNDECIDED  no policy can fail: known of 1 of 2 cases
          team/a, getBill about Record: the solver found no answer within 1 ms
        REFUTED    every permit permits something: not so in 1 of 2 permits
          team/b: it is never the reason for a yes
        Nothing is different in 1 situation of which no change speaks. Solver: cvc5 1.0.3.
        ");
        assert!(Required::NobodyLoses.is_proved(&proof) && !Required::NobodyGains.is_proved(&proof));
        assert!(!Required::NeverErrors.is_proved(&proof) && !Required::OwnerCanMend.is_proved(&proof));
    }
}
