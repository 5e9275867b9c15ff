//! The printed table: a line a figure, as soon as it is known.

pub struct Table(());

/// One line.
#[derive(Default)]
pub struct Line<'a> {
    pub what: &'a str,
    pub ours: String,
    pub reference: String,
    /// Ours through the reference's.
    pub ratio: Option<f64>,
    pub aim: &'a str,
}

impl Table {
    pub fn begin() -> Self {
        let head = Line {
            what: "figure",
            ours: "watchkeeper".into(),
            reference: "reference".into(),
            ratio: None,
            aim: "aim",
        };
        print(&head, "ratio");
        println!("{}", "-".repeat(112));
        Self(())
    }

    pub fn line(&mut self, line: &Line<'_>) {
        let ratio = line.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        print(line, &ratio);
    }

    pub fn note(&mut self, note: &str) {
        println!("  {note}");
    }
}

fn print(line: &Line<'_>, ratio: &str) {
    let Line { what, ours, reference, aim, .. } = line;
    println!("{what:<52} {ours:>16} {reference:>16} {ratio:>6}   {aim}");
}

/// The middle value.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// The middle of the rounds' ratios: what disturbs a round disturbs both of its halves.
pub fn ratio(ours: &[f64], reference: &[f64]) -> f64 {
    let pairs = ours.iter().zip(reference);
    median(&pairs.map(|(ours, reference)| ours / reference).collect::<Vec<f64>>())
}
