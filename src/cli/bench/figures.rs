//! What was measured, as a table, as JSON, and as plots. Owns the three forms.

use serde_json::json;
use std::fmt::Write;
use std::path::Path;

/// One figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The table it belongs to.
    pub table: String,
    /// What was asked for.
    pub case: String,
    /// Who did it.
    pub who: String,
    /// The value.
    pub value: f64,
}

/// A table's unit, and who the others are compared with.
#[derive(Clone, Debug)]
struct Kind {
    table: String,
    unit: &'static str,
    baseline: Option<String>,
    /// Whether more is better.
    rate: bool,
}

/// All of them, in the order of the measurements.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    kinds: Vec<Kind>,
    figures: Vec<Figure>,
}

impl Figures {
    /// Begins a table whose values are in `unit`; with `rate`, more is better. `baseline` is whom the others are
    /// compared with.
    pub fn table(&mut self, table: &str, unit: &'static str, rate: bool, baseline: Option<&str>) {
        let baseline = baseline.map(str::to_owned);
        self.kinds.push(Kind { table: table.into(), unit, baseline, rate });
    }

    /// Adds a figure to the last table.
    pub fn add(&mut self, case: &str, who: &str, value: f64) {
        let table = self.kinds.last().map_or(String::new(), |k| k.table.clone());
        self.figures.push(Figure { table, case: case.into(), who: who.into(), value });
    }

    /// How many times better a figure is than that of the baseline.
    fn times(&self, kind: &Kind, figure: &Figure) -> Option<f64> {
        let baseline = kind.baseline.as_ref().filter(|b| **b != figure.who)?;
        let base = self.of(kind).find(|f| f.case == figure.case && f.who == *baseline)?;
        let (a, b) = if kind.rate { (figure.value, base.value) } else { (base.value, figure.value) };
        (b > 0.0).then(|| a / b)
    }

    fn of<'a>(&'a self, kind: &'a Kind) -> impl Iterator<Item = &'a Figure> {
        self.figures.iter().filter(|f| f.table == kind.table)
    }

    fn cases<'a>(&'a self, kind: &'a Kind) -> Vec<&'a str> {
        let mut cases: Vec<&str> = Vec::new();
        for figure in self.of(kind) {
            if !cases.contains(&figure.case.as_str()) {
                cases.push(&figure.case);
            }
        }
        cases
    }

    /// As tables for people: who down, cases across.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for kind in &self.kinds {
            let cases = self.cases(kind);
            let mut rows: Vec<&str> = Vec::new();
            for figure in self.of(kind) {
                if !rows.contains(&figure.who.as_str()) {
                    rows.push(&figure.who);
                }
            }
            let _ = writeln!(text, "{} ({})\n", kind.table, kind.unit);
            let mut table =
                vec![std::iter::once("").chain(cases.iter().copied()).map(str::to_owned).collect()];
            for who in rows {
                let cell = |case: &&str| {
                    let found = self.of(kind).find(|f| f.who == who && f.case == **case);
                    found.map_or(String::new(), |f| match self.times(kind, f) {
                        Some(times) => format!("{} ({times:.1}x)", number(f.value)),
                        None => number(f.value),
                    })
                };
                table.push(std::iter::once(who.to_owned()).chain(cases.iter().map(cell)).collect());
            }
            push_table(&mut text, &table);
            text.push('\n');
        }
        text.push_str("Every byte was compared.\n");
        text
    }

    /// As JSON.
    pub fn json(&self) -> String {
        let all: Vec<_> = self
            .kinds
            .iter()
            .flat_map(|kind| {
                self.of(kind).map(|f| {
                    json!({"table": f.table, "case": f.case, "who": f.who, "value": f.value, "unit": kind.unit,
                           "times_baseline": self.times(kind, f), "baseline": kind.baseline})
                })
            })
            .collect();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        format!("{:#}\n", json!({"version": env!("CARGO_PKG_VERSION"), "processors": cores, "figures": all}))
    }

    /// As plots, one file a table.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn plots(&self, dir: &Path) -> std::io::Result<()> {
        for kind in &self.kinds {
            let name: String =
                kind.table.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
            std::fs::write(dir.join(format!("{}.svg", name.to_ascii_lowercase())), self.svg(kind))?;
        }
        Ok(())
    }

    /// Bars, in groups by case, each as long as its value is of the group's largest.
    fn svg(&self, kind: &Kind) -> String {
        const ROW: usize = 18;
        let (left, wide) = (220, 460);
        let mut body = String::new();
        let mut y = 48;
        for case in self.cases(kind) {
            let group: Vec<&Figure> = self.of(kind).filter(|f| f.case == case).collect();
            let most = group.iter().map(|f| f.value).fold(f64::MIN_POSITIVE, f64::max);
            let _ = writeln!(body, "<text x='8' y='{y}' font-weight='bold'>{}</text>", escaped(case));
            y += ROW;
            for figure in group {
                let long = (figure.value / most * f64::from(wide)).max(1.0);
                let times = self.times(kind, figure).map_or(String::new(), |t| format!(" ({t:.1}x)"));
                let _ = writeln!(
                    body,
                    "<text x='{}' y='{y}' text-anchor='end'>{}</text>\
                     <rect x='{left}' y='{}' width='{long:.1}' height='12' fill='#4878a8'/>\
                     <text x='{:.1}' y='{y}'>{}{times}</text>",
                    left - 8,
                    escaped(&figure.who),
                    y - 11,
                    f64::from(left) + long + 6.0,
                    number(figure.value)
                );
                y += ROW;
            }
            y += ROW / 2;
        }
        format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='860' height='{y}' font-family='sans-serif' font-size='12'>\n\
             <rect width='100%' height='100%' fill='white'/>\n\
             <text x='8' y='22' font-size='15'>{} ({})</text>\n{body}</svg>\n",
            escaped(&kind.table),
            kind.unit
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// With three digits that count.
fn number(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

fn push_table(text: &mut String, table: &[Vec<String>]) {
    let columns = table.first().map_or(0, Vec::len);
    let width = |i: usize| table.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in table {
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match i {
                0 => write!(text, "  {cell:width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let mut f = Figures::default();
        f.table("files <on> kv", "MiB/s", true, Some("naive"));
        f.add("write", "naive", 10.0);
        f.add("write", "balanced", 250.0);
        f.table("planning", "ns", false, Some("naive"));
        f.add("read", "naive", 4.0);
        f.add("read", "auto", 8.0);
        f
    }

    #[test]
    fn the_forms_say_the_same() {
        let f = figures();
        let text = f.text();
        assert!(text.contains("250 (25.0x)") && text.contains("8.00 (0.5x)"), "{text}");
        let value: serde_json::Value = serde_json::from_str(&f.json()).unwrap();
        assert_eq!(value["figures"][1]["times_baseline"], 25.0);
        assert_eq!(value["figures"][0]["times_baseline"], serde_json::Value::Null);
        let folder = tempfile::tempdir().unwrap();
        f.plots(folder.path()).unwrap();
        let svg = std::fs::read_to_string(folder.path().join("files--on--kv.svg")).unwrap();
        assert!(svg.contains("files &lt;on> kv") && svg.contains("250 (25.0x)") && svg.ends_with("</svg>\n"));
    }
}
