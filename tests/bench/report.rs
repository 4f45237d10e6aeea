//! What was measured, as a table for people and as JSON for programs.
//!
//! A row is one contender at one size and parallelism, with the medians of its
//! rounds. A fact is a single figure. A mark holds a target of the project
//! against what came out: it informs and never fails a run, for a ratio measured
//! on a busy machine says little.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// One contender's figures in one round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Mails a second.
    pub rate: f64,
    /// Processor time of the server for each mail, in microseconds.
    pub cpu: f64,
    /// From the final dot to the 250, the median, in microseconds.
    pub p50: f64,
    /// The same, not exceeded by 99 of 100 mails.
    pub p99: f64,
    /// Private memory at the end of the round, in KiB; 0 where it means nothing.
    pub private: f64,
}

/// One contender's medians.
#[derive(Clone, Debug)]
pub struct Row {
    /// The scenario that measured it.
    pub scenario: String,
    /// Who.
    pub contender: String,
    /// Bytes in a mail.
    pub bytes: usize,
    /// Connections, or threads.
    pub connections: usize,
    /// The medians.
    pub median: Sample,
    /// The rate of each round.
    pub rates: Vec<f64>,
}

impl Row {
    /// The medians of these rounds.
    pub fn new(
        scenario: &str,
        contender: &str,
        bytes: usize,
        connections: usize,
        rounds: &[Sample],
    ) -> Self {
        let of = |figure: fn(&Sample) -> f64| median(rounds.iter().map(figure).collect());
        Self {
            scenario: scenario.to_owned(),
            contender: contender.to_owned(),
            bytes,
            connections,
            median: Sample {
                rate: of(|s| s.rate),
                cpu: of(|s| s.cpu),
                p50: of(|s| s.p50),
                p99: of(|s| s.p99),
                private: of(|s| s.private),
            },
            rates: rounds.iter().map(|s| s.rate).collect(),
        }
    }
}

/// The middle one; of an even number the upper of the two.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// All that one run found.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
    facts: Vec<(String, String, f64, String)>,
    marks: Vec<Mark>,
    notes: Vec<String>,
}

/// A target and what came of it.
struct Mark {
    target: String,
    wanted: String,
    measured: f64,
    met: bool,
}

impl Report {
    /// Prints the heading of a table.
    pub fn heading(&self, scenario: &str) {
        println!("\n## {scenario}\n");
        println!(
            "{:>9} {:>5}  {:<20} {:>9} {:>9} {:>9} {:>9} {:>9}  rounds",
            "bytes", "conns", "who", "mails/s", "cpu µs", "p50 µs", "p99 µs", "priv KiB"
        );
    }

    /// Takes a row and prints it.
    pub fn row(&mut self, row: Row) {
        let m = row.median;
        let rates: Vec<String> = row.rates.iter().map(|rate| format!("{rate:.0}")).collect();
        println!(
            "{:>9} {:>5}  {:<20} {:>9.0} {:>9.0} {:>9.0} {:>9.0} {:>9.0}  {}",
            row.bytes,
            row.connections,
            row.contender,
            m.rate,
            m.cpu,
            m.p50,
            m.p99,
            m.private,
            rates.join(" ")
        );
        self.rows.push(row);
    }

    /// Takes a single figure and prints it.
    pub fn fact(&mut self, scenario: &str, name: &str, figure: f64, unit: &str) {
        println!("{name}: {figure:.2} {unit}");
        self.facts
            .push((scenario.into(), name.into(), figure, unit.into()));
    }

    /// Says something that is no figure.
    pub fn note(&mut self, note: &str) {
        println!("note: {note}");
        self.notes.push(note.to_owned());
    }

    /// The median rate of the first row that fits.
    pub fn find(
        &self,
        scenario: &str,
        contender: &str,
        bytes: usize,
        connections: usize,
    ) -> Option<Sample> {
        self.rows
            .iter()
            .find(|row| {
                row.scenario == scenario
                    && row.contender == contender
                    && row.bytes == bytes
                    && row.connections == connections
            })
            .map(|row| row.median)
    }

    /// The best rate of those whose name begins so, and whose it is.
    pub fn best(
        &self,
        scenario: &str,
        prefix: &str,
        bytes: usize,
        connections: usize,
    ) -> Option<(&str, f64)> {
        self.rows
            .iter()
            .filter(|row| {
                row.scenario == scenario
                    && row.contender.starts_with(prefix)
                    && row.bytes == bytes
                    && row.connections == connections
            })
            .map(|row| (row.contender.as_str(), row.median.rate))
            .max_by(|one, other| one.1.total_cmp(&other.1))
    }

    /// A target that wants at least so much.
    pub fn at_least(&mut self, target: &str, wanted: f64, measured: f64) {
        self.mark(
            target,
            format!("at least {wanted}"),
            measured,
            measured >= wanted,
        );
    }

    /// A target that wants at most so much.
    pub fn at_most(&mut self, target: &str, wanted: f64, measured: f64) {
        self.mark(
            target,
            format!("at most {wanted}"),
            measured,
            measured <= wanted,
        );
    }

    fn mark(&mut self, target: &str, wanted: String, measured: f64, met: bool) {
        self.marks.push(Mark {
            target: target.to_owned(),
            wanted,
            measured,
            met,
        });
    }

    /// Prints every target and whether it was met.
    pub fn print_marks(&self) {
        if self.marks.is_empty() {
            return;
        }
        println!("\n## targets (information, not a test)\n");
        for mark in &self.marks {
            println!(
                "{:<8} {:<70} {:>14} {:>10.3}",
                if mark.met { "met" } else { "NOT MET" },
                mark.target,
                mark.wanted,
                mark.measured
            );
        }
    }

    /// Writes all of it as JSON.
    pub fn write_json(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, self.json())
    }

    fn json(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let m = row.median;
            let rates: Vec<String> = row.rates.iter().map(|&rate| number(rate)).collect();
            format!(
                r#"{{"scenario":{},"contender":{},"bytes":{},"connections":{},"mails_per_second":{},"cpu_us_per_mail":{},"p50_us":{},"p99_us":{},"private_kib":{},"rounds":[{}]}}"#,
                text(&row.scenario),
                text(&row.contender),
                row.bytes,
                row.connections,
                number(m.rate),
                number(m.cpu),
                number(m.p50),
                number(m.p99),
                number(m.private),
                rates.join(",")
            )
        });
        let facts = self.facts.iter().map(|(scenario, name, figure, unit)| {
            format!(
                r#"{{"scenario":{},"name":{},"figure":{},"unit":{}}}"#,
                text(scenario),
                text(name),
                number(*figure),
                text(unit)
            )
        });
        let marks = self.marks.iter().map(|mark| {
            format!(
                r#"{{"target":{},"wanted":{},"measured":{},"met":{}}}"#,
                text(&mark.target),
                text(&mark.wanted),
                number(mark.measured),
                mark.met
            )
        });
        let notes = self.notes.iter().map(|note| text(note));
        format!(
            "{{\"rows\":{},\n\"facts\":{},\n\"targets\":{},\n\"notes\":{}}}\n",
            list(rows),
            list(facts),
            list(marks),
            list(notes)
        )
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[\n{}\n]", items.collect::<Vec<_>>().join(",\n"))
}

/// JSON knows no infinity and no NaN.
fn number(figure: f64) -> String {
    if figure.is_finite() {
        format!("{figure:.3}")
    } else {
        "null".to_owned()
    }
}

fn text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            control if control.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
