//! The house's rules that no compiler checks: who may import whom, where outside crates, SQL and error codes live,
//! which files and words there may be. Each rule is a function from sources to complaints, and is shown to bite.
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Which floor a module of the crate is on: it sees its own, and lower floors.
fn floor(module: &str) -> Floor {
    match module {
        "main" | "lib" | "api" | "console" | "worker" | "cli" => Floor::Door,
        "app" | "workshop" => Floor::Service,
        "store" | "policy" | "plugins" | "docker" | "webhook" | "telemetry" => Floor::Room,
        _ => Floor::Ground,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Floor {
    Ground,
    Room,
    Service,
    Door,
}

/// The files that put the parts together, or run one part alone: they may see everything.
const BUILDERS: [&str; 5] =
    ["src/main.rs", "src/cli/mod.rs", "src/cli/serve.rs", "src/cli/doctor.rs", "src/cli/recompute.rs"];

/// Outside crates and the modules that they live in.
const HOMES: [(&str, &[&str]); 27] = [
    ("sqlx", &["store"]),
    ("cedar_policy", &["policy"]),
    ("cedar_policy_formatter", &["policy"]),
    ("cedar_policy_symcc", &["policy"]),
    ("miette", &["policy"]),
    ("wasmtime", &["plugins"]),
    ("wasmparser", &["plugins"]),
    ("wit_component", &["plugins"]),
    ("wit_parser", &["plugins"]),
    ("rustc_demangle", &["plugins"]),
    ("serde_saphyr", &["workshop"]),
    ("bollard", &["docker"]),
    ("hyperlocal", &["docker"]),
    ("hyper_rustls", &["docker"]),
    ("axum", &["api", "console"]),
    ("tower_http", &["api", "console"]),
    ("utoipa_axum", &["api", "console"]),
    ("metrics_exporter_prometheus", &["telemetry"]),
    ("tracing_subscriber", &["telemetry"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("comfy_table", &["cli"]),
    ("indicatif", &["cli"]),
    ("reqwest", &["cli", "webhook"]),
    ("hmac", &["webhook"]),
    ("base64", &["webhook"]),
    ("rpassword", &["cli"]),
];

/// Pages of errors that no code raises yet, because the part that will is not here.
const AWAITED_ERRORS: [&str; 25] = [
    "already-exists",
    "body-too-large",
    "database-busy",
    "host-certificate",
    "host-endpoint",
    "host-foreign",
    "host-refused",
    "host-thing-missing",
    "host-unreachable",
    "idempotency-mismatch",
    "image-unavailable",
    "malformed-json",
    "method-not-allowed",
    "no-capacity",
    "nothing-to-reverse",
    "precondition-required",
    "reset-required",
    "session-ended",
    "stale-version",
    "throttled",
    "timeout",
    "unauthenticated",
    "unavailable",
    "unknown-field",
    "unsupported-media-type",
];

/// rustfmt keeps code within 110 columns; what it leaves alone (comments, strings) may take a little more.
const WIDEST: usize = 120;
const LONGEST_FILE: usize = 600;
/// File names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["util", "utils", "helper", "helpers", "manager", "common", "misc"];
/// Words of unfinished work and of places that only one machine has. Split, so that this file may hold them.
const BANNED_WORDS: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("/wo", "rk/"),
    concat!("/tmp", "/w/"),
];

// The rules over the tree as it is ------------------------------------------------------------------------------

#[test]
fn imports_point_down() {
    settle(rust("src").iter().flat_map(imports_up).collect());
}

#[test]
fn an_outside_crate_has_one_home() {
    settle(rust("src").iter().flat_map(strangers).collect());
}

#[test]
fn sql_is_in_the_store() {
    settle(rust("src").iter().flat_map(stray_sql).collect());
}

#[test]
fn only_the_policy_and_the_system_give_warrants() {
    settle(rust("src").iter().flat_map(stray_warrants).collect());
}

#[test]
fn every_rust_file_is_reached() {
    let mut all = rust("src");
    all.extend(rust("tests"));
    all.extend(rust("benches"));
    settle(unreached(&all));
}

#[test]
fn every_error_has_a_page_and_every_page_an_error() {
    let raised: BTreeSet<String> = rust("src").iter().flat_map(error_codes).collect();
    let pages: BTreeSet<String> = files("docs/errors").iter().map(|path| stem(path)).collect();
    let missing = raised.difference(&pages);
    let mut complaints: Vec<String> =
        missing.map(|code| format!("error {code} has no page docs/errors/{code}.md")).collect();
    let idle = pages.difference(&raised).filter(|code| !AWAITED_ERRORS.contains(&code.as_str()));
    complaints.extend(idle.map(|code| format!("docs/errors/{code}.md: nothing raises this error")));
    settle(complaints);
}

#[test]
fn no_banned_crate_is_locked() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    settle(banned_crates(&read("deny.toml"), &read("Cargo.lock")));
}

#[test]
fn texts_are_narrow_finished_and_well_named() {
    let complaints = files("").into_iter().flat_map(|path| {
        let Ok(text) = fs::read_to_string(root().join(&path)) else { return Vec::new() };
        text_faults(&path, &text)
    });
    settle(complaints.collect());
}

fn settle(complaints: Vec<String>) {
    assert!(
        complaints.is_empty(),
        "{} breach(es) of the house's rules:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}

// The rules -----------------------------------------------------------------------------------------------------

fn imports_up(source: &Source) -> Vec<String> {
    if BUILDERS.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let own = source.module();
    let breach = |other: &String| {
        // A door answers for metrics and reads no other room; rooms never know each other.
        let fine = *other == own
            || floor(other) < floor(&own) && !(floor(&own) == Floor::Door && floor(other) == Floor::Room)
            || (floor(&own), floor(other)) == (Floor::Ground, Floor::Ground)
            || floor(&own) == Floor::Door && other == "telemetry";
        (!fine).then(|| format!("{}: `{own}` may not see `{other}` (floors: src/lib.rs)", source.path))
    };
    crate_modules(&source.code).iter().filter_map(breach).collect()
}

/// The top-level modules that `crate::…` paths name.
fn crate_modules(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = code[at + "crate::".len()..].trim_start();
        match rest.strip_prefix('{') {
            None => found.insert(identifier(rest)),
            Some(group) => {
                let (mut depth, mut fresh) = (0_usize, true);
                for (i, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => fresh = true,
                        c if fresh && !c.is_whitespace() => {
                            found.insert(identifier(&group[i..]));
                            fresh = false;
                        }
                        _ => {}
                    }
                }
                true
            }
        };
    }
    // Types and functions of the crate's root, and macros that name it, are no modules.
    found.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    found
}

fn strangers(source: &Source) -> Vec<String> {
    let own = source.module();
    let away = HOMES.iter().filter(|(_, homes)| !homes.contains(&own.as_str()));
    let here = away.filter(|(name, _)| names_crate(&source.code, name));
    here.map(|(name, homes)| format!("{}: `{name}` lives in {} only", source.path, homes.join(" and ")))
        .collect()
}

/// Whether a path begins with the crate's name.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].trim_end_matches("::");
        let inside = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.')
            || before.len() + 2 <= at && before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let after = &code[at + name.len()..];
        let used = code[..at].trim_end().ends_with("use") && after.trim_start().starts_with([';', ' ']);
        !inside && (after.starts_with("::") || used)
    })
}

fn stray_sql(source: &Source) -> Vec<String> {
    let statements =
        ["SELECT ", "INSERT INTO ", "DELETE FROM ", "CREATE TABLE ", "ALTER TABLE ", "DROP TABLE "];
    let is_sql = |text: &&(usize, String)| {
        let text = text.1.trim_start();
        statements.iter().any(|start| text.starts_with(start))
            || text.starts_with("UPDATE ") && text.contains(" SET ")
            || text.starts_with("PRAGMA ")
    };
    if source.module() == "store" {
        return Vec::new();
    }
    let stray = source.strings.iter().filter(is_sql);
    stray.map(|(line, _)| format!("{}:{line}: SQL belongs into src/store", source.path)).collect()
}

fn stray_warrants(source: &Source) -> Vec<String> {
    let home = source.path == "src/op.rs" || source.module() == "policy";
    let given = source.code.contains("Warrant for ");
    (given && !home)
        .then(|| format!("{}: only src/op.rs and src/policy implement Warrant", source.path))
        .into_iter()
        .collect()
}

/// Files that no `mod` declaration leads to from a root: the crate's two, and every test's and bench's.
fn unreached(all: &[Source]) -> Vec<String> {
    let by_path: BTreeMap<&str, &Source> = all.iter().map(|source| (source.path.as_str(), source)).collect();
    let is_root = |path: &str| {
        let parts: Vec<&str> = path.split('/').collect();
        matches!(
            parts.as_slice(),
            ["src", "lib.rs" | "main.rs"] | ["tests" | "benches", _] | ["tests" | "benches", _, "main.rs"]
        )
    };
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut next: Vec<String> =
        by_path.keys().filter(|path| is_root(path)).map(|path| (*path).to_owned()).collect();
    while let Some(path) = next.pop() {
        if let Some(source) = by_path.get(path.as_str()).filter(|_| reached.insert(path.clone())) {
            next.extend(declared(source));
        }
    }
    let lost = all.iter().filter(|source| !reached.contains(&source.path));
    lost.map(|source| format!("{}: no `mod` leads here", source.path)).collect()
}

/// The files that the `mod name;` declarations of a file may mean.
fn declared(source: &Source) -> Vec<String> {
    let path = Path::new(&source.path);
    let folder = path.parent().unwrap_or(Path::new(""));
    let stem = stem(path);
    let holds = matches!(stem.as_str(), "mod" | "main" | "lib") || folder == Path::new("tests");
    let inner = if holds { folder.to_owned() } else { folder.join(&stem) };
    let mut found = Vec::new();
    for line in source.text.lines() {
        let line = line.trim();
        if let Some(named) = line.strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]")) {
            found.push(plain(&folder.join(named)));
        }
        let bare =
            line.strip_prefix("pub ").or_else(|| line.split_once(") ").map(|(_, rest)| rest)).unwrap_or(line);
        if let Some(name) = bare.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            found.push(plain(&inner.join(format!("{name}.rs"))));
            found.push(plain(&inner.join(name).join("mod.rs")));
        }
    }
    found
}

/// The error codes that a file raises: the literal behind a kind, behind `conflict(`, or in a field `code`.
fn error_codes(source: &Source) -> BTreeSet<String> {
    let text = &source.text;
    let mut found = BTreeSet::new();
    let mut note = |rest: &str| {
        let code = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
        let is_code =
            |code: &&str| code.contains(|c: char| c.is_ascii_lowercase()) && !code.contains([' ', '{', '_']);
        found.extend(code.filter(is_code).map(str::to_owned));
    };
    for (at, _) in text.match_indices("Kind::") {
        let rest = &text[at + "Kind::".len()..];
        let rest = rest.trim_start_matches(|c: char| c.is_alphanumeric());
        if let Some(rest) = rest.strip_prefix(',') {
            note(rest);
        }
    }
    for (at, start) in text.match_indices("rror::conflict(").chain(text.match_indices("Self::conflict(")) {
        note(&text[at + start.len()..]);
    }
    found
}

/// The crates of deny.toml's bans that Cargo.lock has. Only licences need a tool; bans are names.
fn banned_crates(deny: &str, lock: &str) -> Vec<String> {
    let bans = deny.lines().filter_map(|line| line.trim().strip_prefix("{ name = \"")?.split_once('"'));
    let locked = bans.filter(|(name, _)| lock.contains(&format!("name = \"{name}\"\n")));
    locked.map(|(name, _)| format!("Cargo.lock: {name} is banned; deny.toml says why")).collect()
}

fn text_faults(path: &Path, text: &str) -> Vec<String> {
    let shown = path.display();
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let mut complaints = Vec::new();
    if EMPTY_NAMES.contains(&stem(path).as_str()) {
        complaints.push(format!("{shown}: the name says nothing about what is inside"));
    }
    let lines = text.lines().count();
    if extension == "rs" && lines > LONGEST_FILE {
        complaints
            .push(format!("{shown}: {lines} lines; above {LONGEST_FILE} a file holds more than one idea"));
    }
    let narrow = matches!(extension, "rs" | "cedar" | "cedarschema" | "wit");
    for (number, line) in (1..).zip(text.lines()) {
        let width = line.chars().count();
        if narrow && width > WIDEST {
            complaints.push(format!("{shown}:{number}: {width} columns, {WIDEST} at most"));
        }
        let banned = BANNED_WORDS.iter().filter(|word| line.contains(**word));
        complaints.extend(banned.map(|word| format!("{shown}:{number}: {word} does not belong here")));
    }
    complaints
}

// Reading sources -----------------------------------------------------------------------------------------------

/// A Rust file, read just far enough.
struct Source {
    /// Path from the project's root.
    path: String,
    /// Without comments.
    text: String,
    /// Without comments and without what is inside string literals.
    code: String,
    /// The string literals and their lines.
    strings: Vec<(usize, String)>,
}

impl Source {
    fn new(path: &str, source: &str) -> Self {
        let (mut text, mut code, mut strings) = (String::new(), String::new(), Vec::new());
        let (mut rest, mut line, mut seen) = (source, 1, 0);
        while let Some(c) = rest.chars().next() {
            let at = source.len() - rest.len();
            line += source[seen..at].matches('\n').count();
            seen = at;
            let in_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if rest.starts_with("//") {
                rest = rest.find('\n').map_or("", |end| &rest[end..]);
            } else if rest.starts_with("/*") {
                rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
            } else if let Some((literal, after)) = string_literal(rest, in_word) {
                strings.push((line, literal.to_owned()));
                text.push_str(&rest[..rest.len() - after.len()]);
                code.push_str("\"\"");
                rest = after;
            } else {
                // A quote in quotes must not open a string: '"' and '\"' are characters.
                let taken = ["'\"'", "'\\\"'"]
                    .into_iter()
                    .find(|quote| rest.starts_with(quote))
                    .map_or(c.len_utf8(), str::len);
                text.push_str(&rest[..taken]);
                code.push_str(if taken == c.len_utf8() { &rest[..taken] } else { "' '" });
                rest = &rest[taken..];
            }
        }
        Self { path: path.to_owned(), text, code, strings }
    }

    /// The top-level module that the file belongs to.
    fn module(&self) -> String {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        below.split(['/', '.']).next().unwrap_or_default().to_owned()
    }
}

/// The string literal that `rest` begins with, and what follows it.
fn string_literal(rest: &str, in_word: bool) -> Option<(&str, &str)> {
    let raw = rest.strip_prefix('r').filter(|_| !in_word);
    if let Some(behind) = raw.or_else(|| rest.strip_prefix("br").filter(|_| !in_word)) {
        let hashes = behind.len() - behind.trim_start_matches('#').len();
        if let Some(inner) = behind[hashes..].strip_prefix('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let end = inner.find(&close)?;
            return Some((&inner[..end], &inner[end + close.len()..]));
        }
    }
    let inner = rest.strip_prefix('"')?;
    let mut escaped = false;
    let end = inner.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    Some((&inner[..end], &inner[end + 1..]))
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A path without `..` in it.
fn plain(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(parts.pop()),
            part => parts.push(part.as_os_str().to_string_lossy().into_owned()),
        }
    }
    parts.join("/")
}

fn rust(folder: &str) -> Vec<Source> {
    let found =
        files(folder).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    found
        .map(|path| Source::new(&path.to_string_lossy(), &fs::read_to_string(root().join(&path)).unwrap()))
        .collect()
}

/// Every file of the project below a folder, by its path from the root; not what is built, fetched or run.
fn files(folder: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            let skipped = ["target", ".git", "muster-data", "node_modules", "Cargo.lock"];
            if skipped.iter().any(|skip| name == *skip) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

// The rules bite ------------------------------------------------------------------------------------------------

#[test]
fn a_breach_of_each_rule_is_found() {
    let bad = |path: &str, text: &str| Source::new(path, text);
    let imports = |path: &str, text: &str| imports_up(&bad(path, text)).len();
    assert_eq!(imports("src/store/db.rs", "use crate::{error::Error, policy::{Permit, x}, docker};"), 2);
    assert_eq!(imports("src/model/team.rs", "fn f() { crate::app::teams::x() }"), 1);
    assert_eq!(imports("src/api/instances.rs", "use crate::{app::App, telemetry::Handle, store::Db};"), 1);
    assert_eq!(imports("src/app/teams.rs", "use crate::{api::x, store::Db, policy::Permit, cli};"), 2);
    assert_eq!(
        imports("src/time.rs", "// crate::store\nconst X: &str = \"crate::store\"; use crate::ids::Id;"),
        0
    );
    assert_eq!(
        strangers(&bad("src/app/x.rs", "use sqlx::Row; fn f() { axum::serve() } use my::bollard::x;")).len(),
        2
    );
    assert_eq!(
        strangers(&bad("src/store/x.rs", "use sqlx::Row; let clap = 1; crate::policy::wasmtime::x;")).len(),
        0
    );
    assert_eq!(
        stray_sql(&bad("src/app/x.rs", "f(r#\"  SELECT 1\"#, \"UPDATE a SET b\", \"SELECTED\")")).len(),
        2
    );
    assert_eq!(stray_warrants(&bad("src/app/x.rs", "impl crate::op::Warrant for Mine {}")).len(), 1);
    let tree = [
        bad("src/lib.rs", "pub mod a;\npub(crate) mod b;"),
        bad("src/a.rs", "#[cfg(test)]\nmod tests;"),
        bad("src/a/tests.rs", ""),
        bad("src/b/mod.rs", "mod c;"),
        bad("src/b/c.rs", "// mod d;"),
        bad("src/b/d.rs", ""),
    ];
    assert_eq!(unreached(&tree), ["src/b/d.rs: no `mod` leads here"]);
    let codes = error_codes(&bad(
        "src/x.rs",
        "Error::new(\n Kind::Invalid,\n \"a-b\", x); Error::conflict(\"c\", y)",
    ));
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), ["a-b", "c"]);
    let deny = "deny = [\n    { name = \"a\", reason = \"x\" },\n    { name = \"b\" },\n]";
    assert_eq!(banned_crates(deny, "name = \"b\"\nversion").len(), 1);
    let text = format!("{}\n// {}\n", "x".repeat(WIDEST + 1), BANNED_WORDS[0]);
    assert_eq!(text_faults(Path::new("src/utils.rs"), &text).len(), 3);
}
