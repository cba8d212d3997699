// SPDX-License-Identifier: GPL-2.0

//! What guests printed, side by side: a row for each case, spawned as a ratio to plain.

use crate::{
    case::{self, Case, Shape},
    run::{Ran, DONE, RAN},
};
use serde::Serialize;
use std::{fs, io::Write, path::PathBuf};

/// Which guests, and where the table goes as well.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to write all of it as JSON, each seed's
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What guests printed
    #[arg(required = true, value_name = "FILE")]
    consoles: Vec<PathBuf>,
}

/// A case on both kinds of sockets. The ratios are the spawned socket's to the plain one's; none
/// if that has nothing.
#[derive(Clone, Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    case: Case,
    rate: Option<f64>,
    p50: Option<f64>,
    p99: Option<f64>,
    answer_p99: Option<f64>,
    /// Of what was accepted from spawned sockets, in percent.
    local: Option<f64>,
    stolen: u64,
    pushed: u64,
    failed: u32,
    runs: Runs,
}

#[derive(Clone, Debug, Serialize)]
struct Runs {
    plain: Ran,
    spawned: Ran,
}

fn ratio(spawned: Option<u64>, plain: Option<u64>) -> Option<f64> {
    let plain = plain.filter(|&plain| plain > 0)?;
    Some(spawned? as f64 / plain as f64)
}

impl Row {
    fn new(plain: &Ran, spawned: &Ran) -> Self {
        let stats = &spawned.stats;
        let accepted = stats.accepted();
        Self {
            case: spawned.case,
            rate: ratio(Some(spawned.answered.into()), Some(plain.answered.into())),
            p50: ratio(spawned.to_accept.p50, plain.to_accept.p50),
            p99: ratio(spawned.to_accept.p99, plain.to_accept.p99),
            answer_p99: ratio(spawned.to_answer.p99, plain.to_answer.p99),
            local: (accepted > 0).then(|| 100.0 * stats.accept_local as f64 / accepted as f64),
            stolen: stats.stolen,
            pushed: stats.pushed,
            failed: spawned.failed,
            runs: Runs {
                plain: plain.clone(),
                spawned: spawned.clone(),
            },
        }
    }

    fn cells(&self) -> Vec<String> {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let Case {
            cpus,
            shape,
            handler,
            clients,
            family,
            at_a_time,
        } = &self.case;
        vec![
            cpus.to_string(),
            case::name(shape),
            handler.to_string(),
            case::name(clients),
            case::name(family),
            at_a_time.to_string(),
            format!("{:.0}", self.runs.plain.rate),
            number(self.rate, 3),
            number(self.p50, 3),
            number(self.p99, 3),
            number(self.answer_p99, 3),
            number(self.local, 1),
            self.stolen.to_string(),
            self.pushed.to_string(),
            self.failed.to_string(),
            self.runs.plain.failed.to_string(),
        ]
    }
}

/// The middle one; of two, the lower.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len().checked_sub(1)? / 2;
    values.get(middle).copied()
}

/// A row for each case, whose ratios are the medians of all seeds that it was run with, and its numbers their sums.
fn over_seeds(rows: &[Row]) -> Vec<Row> {
    let mut cases: Vec<Vec<&Row>> = Vec::new();
    for row in rows {
        match cases.iter_mut().find(|rows| rows[0].case == row.case) {
            Some(rows) => rows.push(row),
            None => cases.push(vec![row]),
        }
    }
    let merged = |rows: Vec<&Row>| {
        let middle = |of: fn(&Row) -> Option<f64>| median(rows.iter().filter_map(|row| of(row)));
        let mut row = rows[0].clone();
        row.rate = middle(|row| row.rate);
        row.p50 = middle(|row| row.p50);
        row.p99 = middle(|row| row.p99);
        row.answer_p99 = middle(|row| row.answer_p99);
        row.local = middle(|row| row.local);
        row.stolen = rows.iter().map(|row| row.stolen).sum();
        row.pushed = rows.iter().map(|row| row.pushed).sum();
        row.failed = rows.iter().map(|row| row.failed).sum();
        let plain = &mut row.runs.plain;
        plain.rate = middle(|row| Some(row.runs.plain.rate)).unwrap_or(plain.rate);
        plain.failed = rows.iter().map(|row| row.runs.plain.failed).sum();
        row
    };
    cases.into_iter().map(merged).collect()
}

const TITLES: [&str; 16] = [
    "CPUs", "shape", "handler", "clients", "network", "open", "plain/s", "rate", "p50", "p99",
    "answer", "local %", "stolen", "pushed", "failed", "plain's",
];
/// Which of them are names: they begin at the left.
const NAMES: &[usize] = &[1, 2, 3, 4];

/// A row for each case.
fn text(rows: &[Row]) -> String {
    layout(&TITLES, NAMES, rows.iter().map(Row::cells).collect())
}

/// The worst of a shape's cases: its ratio, and which case that is.
fn worst(
    rows: &[&Row],
    is_worse: fn(f64, f64) -> bool,
    of: fn(&Row) -> Option<f64>,
) -> [String; 2] {
    let mut worst: Option<(f64, &Row)> = None;
    for row in rows {
        if let Some(ratio) = of(row).filter(|&ratio| worst.is_none_or(|(w, _)| is_worse(ratio, w)))
        {
            worst = Some((ratio, row));
        }
    }
    worst.map_or(["-".to_owned(), String::new()], |(ratio, row)| {
        let Case {
            handler,
            clients,
            family,
            at_a_time,
            ..
        } = &row.case;
        let [clients, family] = [case::name(clients), case::name(family)];
        let case = format!("{handler} {clients} {family} {at_a_time}");
        [format!("{ratio:.3}"), case]
    })
}

/// A row for each shape: the worst of its cases, and sums.
fn summary(rows: &[Row]) -> String {
    let mut shapes: Vec<(_, Vec<&Row>)> = Vec::new();
    for row in rows {
        match shapes
            .iter_mut()
            .find(|(shape, _)| *shape == row.case.shape)
        {
            Some((_, rows)) => rows.push(row),
            None => shapes.push((row.case.shape, vec![row])),
        }
    }
    let cells = |(shape, rows): &(Shape, Vec<&Row>)| {
        let mut cells = vec![case::name(shape), rows.len().to_string()];
        cells.extend(worst(rows, |a, b| a < b, |row| row.rate));
        cells.extend(worst(rows, |a, b| a > b, |row| row.p50));
        cells.extend(worst(rows, |a, b| a > b, |row| row.p99));
        let sums: [fn(&Row) -> u64; 3] =
            [|row| row.stolen, |row| row.pushed, |row| row.failed.into()];
        cells.extend(sums.map(|of| rows.iter().map(|row| of(row)).sum::<u64>().to_string()));
        cells
    };
    let titles = [
        "shape", "cases", "rate", "in", "p50", "in", "p99", "in", "stolen", "pushed", "failed",
    ];
    layout(&titles, &[0, 3, 5, 7], shapes.iter().map(cells).collect())
}

/// Columns that are as wide as what is in them. `names` begin at the left, numbers end at the right.
fn layout(titles: &[&str], names: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut lines = vec![titles.iter().map(|&title| title.to_owned()).collect()];
    lines.extend(rows);
    let widths: Vec<_> = (0..titles.len())
        .map(|n| lines.iter().map(|line| line[n].len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate();
        let cells = cells.map(|(n, (cell, &width))| match names.contains(&n) {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text += line.trim_end();
        text += "\n";
    }
    text
}

/// What a guest ran, if it came to its end.
fn runs(console: &str) -> Result<Vec<Ran>, String> {
    let lines = || console.lines().map(str::trim_end);
    if !lines().any(|line| line == DONE) {
        return Err("it did not come to its end".to_owned());
    }
    let ran = lines().filter_map(|line| line.strip_prefix(RAN));
    ran.map(|json| serde_json::from_str(json).map_err(|error| format!("{json}: {error}")))
        .collect()
}

/// Pairs of them.
fn rows(runs: &[Ran]) -> Result<Vec<Row>, String> {
    let row = |pair: &[Ran]| match pair {
        [plain, spawned] if plain.case == spawned.case && !plain.spawned && spawned.spawned => {
            Ok(Row::new(plain, spawned))
        }
        _ => Err(format!("not a run on each kind of socket: {pair:?}")),
    };
    match runs {
        [] => Err("it has run nothing".to_owned()),
        runs => runs.chunks(2).map(row).collect(),
    }
}

/// Prints the table.
pub(crate) fn print(args: &Args) -> Result<(), String> {
    let mut all = Vec::new();
    for path in &args.consoles {
        let named = |error: String| format!("{}: {error}", path.display());
        let console = fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
        all.extend(runs(&console).and_then(|runs| rows(&runs)).map_err(named)?);
    }
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&all).map_err(|error| error.to_string())?;
        fs::write(path, json + "\n").map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let all = over_seeds(&all);
    let mut out = std::io::stdout().lock();
    let text = format!(
        "{}\nThe worst of each shape:\n\n{}",
        text(&all),
        summary(&all)
    );
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::{over_seeds, rows, runs, summary, text};

    /// What a guest prints of a run, with a serial console's ends of lines.
    fn ran(spawned: bool, answered: u32, p99: &str, local: u32) -> String {
        format!(
            "shapes: ran {{\"cpus\":4,\"shape\":\"block16\",\
             \"handler\":{{\"work_us\":1000,\"sleep_us\":0}},\
             \"clients\":\"each\",\"family\":\"ipv6\",\"at_a_time\":16,\"spawned\":{spawned},\
             \"answered\":{answered},\"rate\":{answered},\
             \"to_accept\":{{\"count\":9,\"p50\":10,\"p99\":{p99},\"max\":100}},\
             \"to_answer\":{{\"count\":9,\"p50\":20,\"p99\":200,\"max\":200}},\"failed\":1,\
             \"stats\":{{\"listen\":1,\"accept_local\":{local},\"accept_global\":1,\
             \"accept_foreign\":0,\"stolen\":7,\"pushed\":8}}}}\r\n"
        )
    }

    #[test]
    fn spawned_is_a_ratio_to_plain() {
        let console = format!(
            "[    0.1] booted\r\n{}{}shapes: done\r\n",
            ran(false, 100, "50", 0),
            ran(true, 95, "60", 3)
        );
        let rows = rows(&runs(&console).expect("two runs")).expect("a pair");
        let [row] = &rows[..] else {
            panic!("{} rows", rows.len());
        };
        assert_eq!(
            (row.rate, row.p50, row.p99),
            (Some(0.95), Some(1.0), Some(1.2))
        );
        assert_eq!((row.local, row.stolen, row.pushed), (Some(75.0), 7, 8));
        let text = text(&rows);
        let last = text.lines().last().expect("a row");
        let cells: Vec<_> = last.split_whitespace().collect();
        assert_eq!(
            cells[..6],
            ["4", "block16", "work:1000", "each", "ipv6", "16"]
        );
        assert_eq!(cells[6..10], ["100", "0.950", "1.000", "1.200"]);
        assert_eq!(cells[11..], ["75.0", "7", "8", "1", "1"]);
    }

    #[test]
    fn the_worst_of_a_shape() {
        let console = ran(false, 100, "50", 0)
            + &ran(true, 95, "60", 3)
            + &ran(false, 100, "null", 0).replace("each", "one")
            + &ran(true, 90, "40", 3).replace("each", "one")
            + "shapes: done\n";
        let rows = rows(&runs(&console).expect("four runs")).expect("two pairs");
        let text = summary(&rows);
        let last = text.lines().last().expect("a row");
        let cells: Vec<_> = last.split_whitespace().collect();
        assert_eq!(cells[..3], ["block16", "2", "0.900"]);
        assert_eq!(cells[3..7], ["work:1000", "one", "ipv6", "16"]);
        assert_eq!(cells[12..17], ["1.200", "work:1000", "each", "ipv6", "16"]);
        assert_eq!(cells[17..], ["14", "16", "2"]);
    }

    #[test]
    fn of_several_seeds_it_is_the_median() {
        let mut all = Vec::new();
        for (answered, p99) in [(95, "60"), (90, "200"), (98, "30")] {
            let console = ran(false, 100, "50", 0) + &ran(true, answered, p99, 3);
            let other = console.replace("each", "one");
            for console in [console, other] {
                let runs = runs(&(console + "shapes: done\n")).expect("two runs");
                all.extend(rows(&runs).expect("a pair"));
            }
        }
        let rows = over_seeds(&all);
        assert_eq!(rows.len(), 2);
        for row in rows {
            assert_eq!((row.rate, row.p99), (Some(0.95), Some(1.2)));
            assert_eq!((row.stolen, row.pushed, row.failed), (21, 24, 3));
            assert_eq!((row.runs.plain.rate, row.runs.plain.failed), (100.0, 3));
        }
    }

    #[test]
    fn nothing_is_no_ratio() {
        let console = ran(false, 0, "null", 0) + &ran(true, 0, "60", 0) + "shapes: done\n";
        let rows = rows(&runs(&console).expect("two runs")).expect("a pair");
        assert_eq!((rows[0].rate, rows[0].p99), (None, None));
    }

    #[test]
    fn a_guest_that_did_not_end_is_an_error() {
        let pair = ran(false, 1, "1", 1) + &ran(true, 1, "1", 1);
        assert!(runs(&pair).is_err());
        assert!(runs("shapes: ran {}\nshapes: done\n").is_err());
        let broken = [
            String::new(),
            ran(false, 1, "1", 1),
            ran(true, 1, "1", 1) + &ran(false, 1, "1", 1),
            pair.replacen("block16", "block4", 1),
        ];
        for console in broken {
            let runs = runs(&(console + "shapes: done\n")).expect("runs");
            assert!(rows(&runs).is_err(), "{runs:?}");
        }
    }
}
