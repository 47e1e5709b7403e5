//! Figures of a bench: a table for people, a JSON list for comparisons.

use std::path::PathBuf;

use serde::Serialize;

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: String,
    bar: Option<String>,
    holds: Option<bool>,
    baseline: Option<f64>,
}

impl Figure {
    /// A figure without a bar.
    pub(crate) fn new(name: &str, value: f64, unit: &str) -> Self {
        let (name, unit) = (name.to_owned(), unit.to_owned());
        Self { name, value, unit, bar: None, holds: None, baseline: None }
    }

    /// With an upper bar.
    #[allow(dead_code, reason = "each bench uses the bars it needs")]
    pub(crate) fn at_most(self, bar: f64) -> Self {
        let holds = Some(self.value <= bar);
        Self { bar: Some(format!("<= {bar}")), holds, ..self }
    }

    /// With a lower bar.
    #[allow(dead_code, reason = "each bench uses the bars it needs")]
    pub(crate) fn at_least(self, bar: f64) -> Self {
        let holds = Some(self.value >= bar);
        Self { bar: Some(format!(">= {bar}")), holds, ..self }
    }
}

/// All figures of one bench.
#[derive(Debug)]
pub(crate) struct Report {
    name: &'static str,
    figures: Vec<Figure>,
}

impl Report {
    /// An empty report.
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, figures: Vec::new() }
    }

    /// Adds a figure and prints its line.
    #[allow(clippy::print_stdout, reason = "a bench prints its table")]
    pub(crate) fn add(&mut self, figure: Figure) {
        let bar = figure.bar.as_deref().unwrap_or("");
        let verdict = match figure.holds {
            Some(true) => "holds",
            Some(false) => "FAILS",
            None => "",
        };
        println!("{:40} {:12.5} {:6} {bar:12} {verdict}", figure.name, figure.value, figure.unit);
        self.figures.push(figure);
    }

    /// Prints something to know about the figures.
    #[allow(clippy::print_stdout, dead_code, reason = "a bench prints its table")]
    pub(crate) fn note(&self, text: &str) {
        println!("{}: {text}", self.name);
    }

    /// Writes `target/bench/NAME.json`; fails when a bar does not hold.
    pub(crate) fn finish(self) {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target"),
            PathBuf::from,
        );
        let dir = target.join("bench");
        std::fs::create_dir_all(&dir).expect("the target folder is writable");
        let json = serde_json::to_vec_pretty(&self.figures).expect("figures are plain data");
        std::fs::write(dir.join(format!("{}.json", self.name)), json).expect("as above");
        let failed = self.figures.iter().filter(|figure| figure.holds == Some(false)).count();
        assert_eq!(failed, 0, "{failed} bars do not hold");
    }
}
