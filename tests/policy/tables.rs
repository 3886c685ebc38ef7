//! `policies/presets/<preset>/decisions.txt`: what each role may do, as the engine answers, for people to
//! review.
//!
//! When an answer changes, the test writes `decisions.txt.new` beside the file and fails. Read the
//! difference; if it is what was meant, move the new file over the old one.

use std::{fmt::Write as _, path::Path};

use muster::{
    model::{
        action::{Action, Verb},
        team::{Preset, Role},
    },
    policy::{Facts, Reach, Resource},
};

use crate::people::{
    POLICIES, account, colleague, facts_for, instance_of, machine_without_gpu, me, member, ours,
};

const HEAD: &str = "\
What each role may do, as the engine answers. A test keeps this page; people review its changes.

Nouns: v look, u enter or use, w change; a capital letter for whatever is in the team, a small one for one's
own only, a dash for not at all. Actions: `all`, `own`, `others` (but not one's own) or a dash; accounts are
those of members with the preset's lowest role, launches have money and no limits.
";

fn letter(reach: Reach, letter: char) -> char {
    match reach {
        Reach::None => '-',
        Reach::Own => letter,
        Reach::All => letter.to_ascii_uppercase(),
    }
}

/// The thing that the action is usually about.
fn thing(action: Action, preset: Preset, own: bool, role: Role) -> Resource {
    let owner = if own { me() } else { colleague() };
    match action {
        Action::ListCatalog => machine_without_gpu(),
        Action::CreateInstance | Action::CreateEstimate => instance_of(owner),
        Action::ListInstances => Resource::own(ours(), owner),
        _ if action.kind() == "instance" => instance_of(owner),
        Action::PutTeamQuota => Resource::team(ours()),
        _ if matches!(action.kind(), "member" | "permission") => {
            account(owner, if own { role } else { *preset.roles().last().unwrap() })
        }
        _ => Resource::own(ours(), owner),
    }
}

fn word(preset: Preset, role: Role, action: Action) -> &'static str {
    let facts = facts_for(action);
    let principal = member(preset, role);
    let may = |own| {
        let decision = POLICIES.decide(&principal, action, &thing(action, preset, own, role), &facts);
        assert!(decision.errors().is_empty(), "{action:?}: {:?}", decision.errors());
        decision.allowed()
    };
    match (may(true), may(false)) {
        (true, true) => "all",
        (true, false) => "own",
        (false, true) => "others",
        (false, false) => "-",
    }
}

fn line(page: &mut String, first: &str, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.map(|cell| format!("{cell:<13}")).collect();
    writeln!(page, "{}", format!("{first:<26}{}", cells.concat()).trim_end()).unwrap();
}

fn page(preset: Preset) -> String {
    let roles = preset.roles();
    let mut page = format!("{HEAD}\n");
    line(&mut page, "noun", roles.iter().map(ToString::to_string));
    let matrices: Vec<_> = roles.iter().map(|role| POLICIES.matrix(&member(preset, *role))).collect();
    for (at, row) in matrices[0].iter().enumerate() {
        let cells = matrices.iter().map(|rows| {
            let row = &rows[at];
            [letter(row.view, 'v'), letter(row.enter, 'u'), letter(row.write, 'w')].iter().collect()
        });
        line(&mut page, &row.kind, cells);
    }
    page.push('\n');
    line(&mut page, "action", roles.iter().map(ToString::to_string));
    for action in Action::ALL {
        let team_wide = matrices[0].iter().any(|row| row.kind == action.kind());
        if team_wide {
            line(
                &mut page,
                action.operation(),
                roles.iter().map(|role| word(preset, *role, *action).to_owned()),
            );
        }
    }
    page
}

#[test]
fn the_reviewed_tables_are_what_the_engine_answers() {
    let mut changed = Vec::new();
    for preset in Preset::ALL {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/presets").join(preset.word());
        let (file, new) = (folder.join("decisions.txt"), folder.join("decisions.txt.new"));
        let (was, is) = (std::fs::read_to_string(&file).unwrap_or_default(), page(*preset));
        if was == is {
            std::fs::remove_file(&new).ok();
            continue;
        }
        std::fs::write(&new, &is).unwrap();
        let gone = was.lines().filter(|line| !is.lines().any(|l| l == *line)).map(|line| format!("- {line}"));
        let came = is.lines().filter(|line| !was.lines().any(|l| l == *line)).map(|line| format!("+ {line}"));
        let lines: Vec<String> = gone.chain(came).collect();
        changed.push(format!("{}:\n{}", new.display(), lines.join("\n")));
    }
    assert!(changed.is_empty(), "decisions changed; review:\n{}", changed.join("\n\n"));
}

#[test]
fn a_row_whose_verbs_reach_differently_is_read_right() {
    let rows = POLICIES.matrix(&member(Preset::Grid, Role::Collaborator));
    let row = rows.iter().find(|row| row.kind == "instance").unwrap();
    assert_eq!((row.view, row.enter, row.write), (Reach::All, Reach::All, Reach::Own));
    let others = Resource::own(ours(), colleague());
    let principal = member(Preset::Grid, Role::Collaborator);
    assert!(POLICIES.decide_group(&principal, "instance", Verb::Use, &others, &Facts::default()).allowed());
}
