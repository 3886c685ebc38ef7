//! Whom and what a team's text looks at, found by reading its letters: so a plan asks about the labels and accounts
//! that a rule names, at every hour if it looks at the clock, and with much running already if it looks at that.
//! Whatever is missed here is only not asked about in a plan; no decision hangs on it.

use std::collections::BTreeSet;

use crate::ids::MemberId;

/// Whom and what a text names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// Labels of members.
    pub labels: BTreeSet<String>,
    /// Accounts, by name.
    pub accounts: BTreeSet<String>,
    /// Accounts, by id.
    pub members: BTreeSet<MemberId>,
    /// Whether a policy looks at the clock.
    pub timed: bool,
    /// Whether a policy looks for API keys.
    pub keyed: bool,
    /// Whether a policy looks at what runs already.
    pub spending: bool,
}

const LABELS: &str = "principal.labels.contains";
const ACCOUNT: &str = "principal.account";
const MEMBER: &str = "Member::\"";

impl Named {
    /// Reads a text as the formatter lays it out.
    pub(super) fn of(text: &str) -> Self {
        let names = |word: &&str| text.contains(*word);
        let mut named = Self {
            timed: ["context.hour", "context.minute", "context.weekday", "context.now"].iter().any(names),
            keyed: text.contains("principal.key"),
            spending: text.contains("spend_per_hour"),
            ..Self::default()
        };
        for rest in text.split(LABELS).skip(1) {
            named.labels.extend(quoted(rest.split(')').next().unwrap_or_default()));
        }
        for (at, _) in text.match_indices(ACCOUNT) {
            named.accounts.extend(beside(&text[..at], &text[at + ACCOUNT.len()..]));
        }
        let ids: Vec<MemberId> =
            text.split(MEMBER).skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok()).collect();
        named.members.extend(ids);
        named
    }
}

/// What an account is compared with: `… == "ada"`, `"ada" == …`, `["ada", "bob"].contains(…)`, `… like "ada"`.
fn beside(before: &str, after: &str) -> Vec<String> {
    let after = after.trim_start();
    for word in ["==", "!=", "like"] {
        if let Some(rest) = after.strip_prefix(word)
            && rest.trim_start().starts_with('"')
        {
            return quoted(rest).into_iter().take(1).collect();
        }
    }
    let before = before.trim_end();
    if let Some(list) = before.strip_suffix(".contains(") {
        return list.rfind('[').map(|start| quoted(&list[start..])).unwrap_or_default();
    }
    let compared = before.strip_suffix("==").or_else(|| before.strip_suffix("!="));
    let word = compared.and_then(|compared| compared.trim_end().strip_suffix('"'));
    word.and_then(|word| Some(word[word.rfind('"')? + 1..].to_owned())).into_iter().collect()
}

/// The texts between quotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn labels_and_accounts_are_found_however_they_are_compared() {
        let named = Named::of(
            r#"permit (principal, action, resource) when { principal.labels.contains("intern") &&
               principal.labels.containsAny(["phd", "guest"]) && resource.product_labels.contains("spot") };
               forbid (principal == Member::"mem_01930f3c5e0a7c3db1d4a2f8e6c90b17", action, resource) when {
               principal.account == "ada" || "bob" == principal.account || ["cyn", "dan"].contains(principal.account)
               || principal.account like "eve*" || principal.account != "fay" || context.spend_per_hour > 3 };"#,
        );
        assert_eq!(named.labels, set(&["intern", "phd", "guest"]));
        assert_eq!(named.accounts, set(&["ada", "bob", "cyn", "dan", "eve*", "fay"]));
        assert_eq!(named.members.len(), 1);
        assert!(named.spending && !named.timed && !named.keyed);
    }

    #[test]
    fn a_text_that_names_nobody_names_nobody() {
        assert_eq!(Named::of("permit (principal, action, resource);"), Named::default());
        let compared = "forbid (principal, action, resource) when { principal.account == resource.image };";
        assert_eq!(Named::of(compared), Named::default());
    }
}
