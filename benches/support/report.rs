//! What was measured, next to what is wanted, for people and for machines.

use std::{fmt::Display, fs, io::Write, time::Instant};

use serde_json::{Value, json};

/// The marks around the figures in the document.
const BEGIN: &str = "<!-- figures -->";
const END: &str = "<!-- end of figures -->";

/// Writes of one look at the disk.
const SYNCS: usize = 101;

/// What is wanted of a bar: the goal, and what would be better still.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    /// No more than this.
    AtMost(f64, f64),
    /// No less than this.
    AtLeast(f64, f64),
    /// Nothing: it is shown because it explains another bar.
    Nothing,
}

/// One bar: the figure of each round, ours beside the yardstick's.
pub(crate) struct Bar {
    /// Its name in the table.
    pub(crate) id: &'static str,
    /// What is divided by what.
    pub(crate) what: &'static str,
    /// What is wanted of it.
    pub(crate) wanted: Wanted,
    /// The unit of both figures.
    pub(crate) unit: &'static str,
    /// Ours, one figure a round.
    pub(crate) ours: Vec<f64>,
    /// The yardstick's, one figure a round; empty when the bar is no ratio.
    pub(crate) yardstick: Vec<f64>,
    /// What was set, and how much was done.
    pub(crate) settings: String,
}

impl Bar {
    /// What is compared with the bar: the ratio of each round, or the figures themselves.
    fn values(&self) -> Vec<f64> {
        match self.yardstick.as_slice() {
            [] => self.ours.clone(),
            yardstick => self.ours.iter().zip(yardstick).map(|(ours, theirs)| ours / theirs).collect(),
        }
    }

    fn verdict(&self) -> &'static str {
        let value = median(&self.values());
        let (goal, stretch) = match self.wanted {
            Wanted::AtMost(goal, stretch) => (value <= goal, value <= stretch),
            Wanted::AtLeast(goal, stretch) => (value >= goal, value >= stretch),
            Wanted::Nothing => return "–",
        };
        match (goal, stretch) {
            (_, true) => "stretch",
            (true, false) => "goal",
            (false, false) => "**missed**",
        }
    }

    fn row(&self) -> String {
        let values = self.values();
        let unit = if self.yardstick.is_empty() { self.unit } else { "" };
        let spread = format!("{}–{}", short(least(&values)), short(most(&values)));
        let sides = match self.yardstick.as_slice() {
            [] => "–".to_owned(),
            yardstick => {
                format!("{} ÷ {} {}", short(median(&self.ours)), short(median(yardstick)), self.unit)
            }
        };
        let value = format!("{} {unit}", short(median(&values)));
        let (value, wanted) = (value.trim_end(), self.wanted);
        format!(
            "| {} | {} | {value} | {spread} | {wanted} | {} | {sides} |",
            self.id,
            self.what,
            self.verdict()
        )
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "what": self.what,
            "value": median(&self.values()),
            "least": least(&self.values()),
            "most": most(&self.values()),
            "wanted": self.wanted.to_string(),
            "verdict": self.verdict().trim_matches('*'),
            "unit": self.unit,
            "ours": self.ours,
            "yardstick": self.yardstick,
            "settings": self.settings,
        })
    }
}

impl Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(goal, stretch) => write!(f, "≤ {goal} (≤ {stretch})"),
            Self::AtLeast(goal, stretch) => write!(f, "≥ {goal} (≥ {stretch})"),
            Self::Nothing => f.write_str("–"),
        }
    }
}

/// A run: its bars, and how fast the disk was between them.
pub(crate) struct Report {
    bars: Vec<Bar>,
    fsync_micros: Vec<f64>,
}

impl Report {
    pub(crate) fn begin() -> Self {
        Self { bars: Vec::new(), fsync_micros: vec![fsync_micros()] }
    }

    pub(crate) fn add(&mut self, bars: Vec<Bar>) {
        self.bars.extend(bars);
        self.fsync_micros.push(fsync_micros());
    }

    /// Whether the disk was the same all along: a figure from a disk that changed says nothing.
    pub(crate) fn is_valid(&self) -> bool {
        most(&self.fsync_micros) <= 2.0 * least(&self.fsync_micros)
    }

    /// The table, the settings and the machine, as a page has them.
    pub(crate) fn page(&self) -> String {
        let mut page = "| Bar | What | Value | Spread | Goal (stretch) | Reached | Both sides |\n".to_owned();
        page += "|---|---|---|---|---|---|---|\n";
        page.extend(self.bars.iter().map(|bar| bar.row() + "\n"));
        page += "\nSettings:\n";
        page.extend(self.bars.iter().map(|bar| format!("- {}: {}\n", bar.id, bar.settings)));
        let looks: Vec<String> = self.fsync_micros.iter().map(|micros| short(*micros)).collect();
        page +=
            &format!("\n{}; fsync of 4 KiB between the bars, median µs: {}\n", machine(), looks.join(", "));
        page
    }

    /// Puts the page into the document, between its two marks.
    pub(crate) fn insert_into(&self, document: &str) {
        let text = fs::read_to_string(document).unwrap();
        let (before, rest) = text.split_once(BEGIN).expect("the mark before the figures");
        let (_, after) = rest.split_once(END).expect("the mark after the figures");
        fs::write(document, format!("{before}{BEGIN}\n{}{END}{after}", self.page())).unwrap();
    }

    /// Writes the same for machines.
    pub(crate) fn write(&self, path: &str) {
        let document = json!({
            "machine": machine(),
            "valid": self.is_valid(),
            "fsync_micros": self.fsync_micros,
            "bars": self.bars.iter().map(Bar::json).collect::<Vec<_>>(),
        });
        fs::write(path, serde_json::to_string_pretty(&document).unwrap() + "\n").unwrap();
        println!("the same for machines: {path}");
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

/// Three figures that mean something.
fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

/// The median time of writing 4 KiB and having them on the disk that the databases are on.
fn fsync_micros() -> f64 {
    let mut file = tempfile::tempfile().unwrap();
    let sync = |_| {
        let began = Instant::now();
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        began.elapsed().as_secs_f64() * 1e6
    };
    median(&(0..SYNCS).map(sync).collect::<Vec<_>>())
}

fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo");
    let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!("{cores} × {}, load {load}", model.trim_start_matches(['\t', ' ', ':']))
}
