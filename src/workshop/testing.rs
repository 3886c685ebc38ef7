//! Running the cases: what a plugin answers against what its author expects.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    Error, Result, Stand, Subject,
    cases::{Amount, Case, CaseFile, Question, case_files},
    golden::{self, Golden},
    outcome::{self, Charges, shown},
    properties,
    stand::Admitted,
};
use crate::plugins::{self, LogLine, Spent};

/// The most differences of one case that are told.
const DIFFERENCES: usize = 5;

/// How to run the cases.
#[derive(Debug, Clone, Default)]
pub struct TestOptions {
    /// Only cases and properties that have this in their names.
    pub filter: Option<String>,
    /// Keep the answers of cases that are `golden`, and compare with nothing.
    pub bless: bool,
    /// How often properties are tried, whatever the files say.
    pub runs: Option<u32>,
    /// Where the chance of properties begins.
    pub seed: u64,
}

/// What all files of cases came to.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where the chance of properties began.
    pub seed: u64,
    /// Cases and properties that hold.
    pub passed: usize,
    /// Those that do not.
    pub failed: usize,
    /// The files, in the order of their names.
    pub files: Vec<FileReport>,
}

/// What one file came to.
#[derive(Debug, Serialize)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Its cases, then its properties.
    pub verdicts: Vec<Verdict>,
}

/// What a case or a property came to.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// Its name.
    pub name: String,
    /// What is wrong; nothing when it holds.
    pub faults: Vec<String>,
    /// What the plugin wrote to the log; told of a failure only.
    pub log: Vec<String>,
}

impl Verdict {
    pub(super) fn new(name: &str, faults: Vec<String>, log: &[LogLine]) -> Self {
        let log = if faults.is_empty() { &[] } else { log };
        let log = log.iter().map(|line| format!("{}: {}", line.level, line.text)).collect();
        Self { name: name.to_owned(), faults, log }
    }
}

impl Report {
    /// The report for people.
    pub fn page(&self) -> String {
        let mut page = String::new();
        for file in &self.files {
            let _ = writeln!(page, "{}", file.path.display());
            for verdict in &file.verdicts {
                let word = if verdict.faults.is_empty() { "ok  " } else { "FAIL" };
                let _ = writeln!(page, "  {word}  {}", verdict.name);
                for fault in &verdict.faults {
                    let _ = writeln!(page, "        {}", fault.replace('\n', "\n        "));
                }
                for line in &verdict.log {
                    let _ = writeln!(page, "        log {line}");
                }
            }
        }
        let _ = writeln!(page, "{} passed, {} failed", self.passed, self.failed);
        page
    }
}

/// Runs the cases in `folder`, or in the subject's own.
///
/// # Errors
/// [`Error::Input`] when there are none or a file cannot be meant, [`Error::Refused`] when the server would not take
/// the component at all.
pub async fn test(
    stand: &Stand,
    subject: &Subject,
    folder: Option<&Path>,
    options: &TestOptions,
) -> Result<Report> {
    let folder = folder.or(subject.cases.as_deref()).ok_or_else(|| {
        Error::Input(format!("{}: no folder of cases beside it; --cases names one", subject.path.display()))
    })?;
    let paths = case_files(folder)?;
    if paths.is_empty() {
        return Err(Error::Input(format!("{}: no file of cases (*.yaml)", folder.display())));
    }
    let admitted = stand.admit(subject).await?;
    let mut files = Vec::new();
    for path in paths {
        let verdicts = Run { stand, admitted: &admitted, options }.file(&path).await?;
        files.push(FileReport { path, verdicts });
    }
    let all = files.iter().flat_map(|file| &file.verdicts);
    let (mut passed, mut failed) = (0, 0);
    for verdict in all {
        *(if verdict.faults.is_empty() { &mut passed } else { &mut failed }) += 1;
    }
    if passed + failed == 0 {
        return Err(Error::Input("no case has such a name: nothing was tested".to_owned()));
    }
    Ok(Report { seed: options.seed, passed, failed, files })
}

struct Run<'a> {
    stand: &'a Stand,
    admitted: &'a Admitted,
    options: &'a TestOptions,
}

impl Run<'_> {
    fn wants(&self, name: &str) -> bool {
        self.options.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()))
    }

    async fn file(&self, path: &Path) -> Result<Vec<Verdict>> {
        let file = CaseFile::read(path)?;
        let golden_path = golden::path_of(path);
        let kept = golden::read(&golden_path)?;
        let (mut fresh, mut verdicts) = (kept.clone(), Vec::new());
        fresh.retain(|name, _| file.cases.iter().any(|case| case.golden && case.name == *name));
        for case in file.cases.iter().filter(|case| self.wants(&case.name)) {
            verdicts.push(self.case(&file, case, &kept, &mut fresh).await);
        }
        if self.options.bless && fresh != kept {
            golden::write(&golden_path, &fresh)?;
        }
        if let Some(asked) = &file.properties {
            let config = file.config.as_ref().map(serde_json::Value::to_string);
            let config = config.unwrap_or_else(|| self.admitted.default_config());
            let runs = self.options.runs.or(asked.runs).unwrap_or(properties::RUNS);
            let wanted: Vec<_> = properties::Property::ALL
                .into_iter()
                .filter(|property| !asked.except.contains(property) && self.wants(property.name()))
                .collect();
            let plugin = &self.admitted.plugin;
            let trial = properties::Trials { stand: self.stand, plugin, skus: file.sku_table(), config };
            verdicts.extend(trial.run(&wanted, runs, self.options.seed).await);
        }
        Ok(verdicts)
    }

    async fn case(&self, file: &CaseFile, case: &Case, kept: &Golden, fresh: &mut Golden) -> Verdict {
        let mut faults = Vec::new();
        let mut spent = Spent::default();
        match file.question(case, &self.admitted.default_config()) {
            Err(what) => faults.push(what),
            Ok(question) => {
                if let Err(error) = self.ask(case, &question, &mut faults, &mut spent, kept, fresh).await {
                    faults.push(error.to_string());
                }
            }
        }
        Verdict::new(&case.name, faults, &spent.log)
    }

    /// Asks what the case expects something of, and compares.
    async fn ask(
        &self,
        case: &Case,
        question: &Question,
        faults: &mut Vec<String>,
        spent: &mut Spent,
        kept: &Golden,
        fresh: &mut Golden,
    ) -> std::result::Result<(), plugins::Error> {
        let plugin = &self.admitted.plugin;
        let (rated, used) = outcome::charges(self.stand, plugin, &question.context, &question.records).await;
        spent.add(used);
        let (quoted, used) =
            self.stand.plugins.quote_watched(plugin, &question.context, &question.planned).await;
        spent.add(used);
        if let Some(expected) = &case.error {
            let answer = if question.records.is_empty() { quoted.map(drop) } else { rated.map(drop) };
            match answer {
                Err(plugins::Error::Plugin { code, message })
                    if code == expected.code && message.contains(&expected.message) => {}
                Err(error) => faults.push(format!("expected the error {}, got: {error}", expected.code)),
                Ok(()) => faults.push(format!("expected the error {}, got an answer", expected.code)),
            }
            return Ok(());
        }
        let (charges, per_hour) = (rated?, Amount(quoted?.per_hour));
        if let Some(expected) = case.per_hour
            && expected != per_hour
        {
            faults.push(format!("per_hour: expected {expected}, got {per_hour}"));
        }
        compare_all(case, &charges, faults).map_err(plugins::Error::BadOutput)?;
        if let Some(fault) = outcome::above_quote(self.stand, plugin, question, &charges).await? {
            faults.push(fault);
        }
        if case.golden {
            let answer = golden::Answer { per_hour, charges };
            if !self.options.bless {
                match kept.get(&case.name) {
                    None => {
                        faults.push("golden: nothing is kept yet; `--bless` keeps this answer".to_owned())
                    }
                    Some(kept) => {
                        if kept.per_hour != per_hour {
                            faults.push(format!("golden per_hour: kept {}, got {per_hour}", kept.per_hour));
                        }
                        compare("golden", &kept.charges, &answer.charges, faults);
                    }
                }
            }
            fresh.insert(case.name.clone(), answer);
        }
        Ok(())
    }
}

fn compare_all(case: &Case, charges: &Charges, faults: &mut Vec<String>) -> std::result::Result<(), String> {
    if let Some(expected) = &case.charges {
        compare("charges", expected, charges, faults);
    }
    if let Some(expected) = &case.lines {
        let mut expected = expected.clone();
        expected.retain(|_, amount| *amount != Amount::default());
        let found = outcome::by_line(charges)?;
        if expected != found {
            faults.push(format!("lines: expected {}, got {}", shown(&expected), shown(&found)));
        }
    }
    if let Some(expected) = case.total {
        let found = outcome::total(charges)?;
        if expected != found {
            faults.push(format!("total: expected {expected}, got {found}"));
        }
    }
    Ok(())
}

/// Compares the charges of each record; what costs nothing may be left out.
fn compare(what: &str, expected: &Charges, found: &Charges, faults: &mut Vec<String>) {
    if expected.len() != found.len() {
        faults.push(format!("{what}: expected {} records, got {}", expected.len(), found.len()));
        return;
    }
    let mut left = DIFFERENCES;
    for (number, (expected, found)) in expected.iter().zip(found).enumerate() {
        let mut expected = expected.clone();
        expected.retain(|_, amount| *amount != Amount::default());
        if expected == *found {
            continue;
        }
        if left == 0 {
            faults.push(format!("{what}: and more records that differ"));
            return;
        }
        left -= 1;
        faults.push(format!("{what}, record {number}: expected {}, got {}", shown(&expected), shown(found)));
    }
}
