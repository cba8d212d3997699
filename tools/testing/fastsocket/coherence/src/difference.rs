// SPDX-License-Identifier: GPL-2.0

//! What one run has more of than another.

use crate::{
    resolve::Sum,
    text::{self, names, numbers, Column},
};
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// How much there is of one thing in two runs, for each connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The thing.
    pub what: String,
    /// In the first run.
    pub a: f64,
    /// In the second.
    pub b: f64,
}

impl Difference {
    fn more(&self) -> f64 {
        self.b - self.a
    }
}

/// Counts of things, and how many connections they are for.
pub struct Counts<'a> {
    counts: Vec<(&'a str, u64)>,
    units: u64,
}

impl<'a> Counts<'a> {
    /// Of at least one connection.
    pub fn new(counts: impl IntoIterator<Item = (&'a str, u64)>, units: u64) -> Self {
        Self {
            counts: counts.into_iter().collect(),
            units,
        }
    }

    /// Of a list.
    pub fn of(sums: &'a [Sum<String>], units: u64) -> Self {
        Self::new(sums.iter().map(|sum| (&*sum.what, sum.count)), units)
    }
}

/// All that there is in either, what differs most first.
pub fn differences(a: &Counts<'_>, b: &Counts<'_>) -> Vec<Difference> {
    let mut by_name: BTreeMap<&str, [f64; 2]> = BTreeMap::new();
    for (place, counts) in [a, b].into_iter().enumerate() {
        for (what, count) in &counts.counts {
            by_name.entry(what).or_default()[place] += *count as f64 / counts.units as f64;
        }
    }
    let mut all: Vec<_> = by_name
        .into_iter()
        .map(|(what, [a, b])| Difference {
            what: what.to_owned(),
            a,
            b,
        })
        .collect();
    // Stable, so that equals stay in the order of their names.
    all.sort_by(|x, y| y.more().abs().total_cmp(&x.more().abs()));
    all
}

/// The first `top`, all others in one, and the sums.
pub fn print(
    to: &mut impl Write,
    title: &'static str,
    all: &[Difference],
    top: usize,
) -> io::Result<()> {
    let sum = |what: &str, of: &[Difference]| Difference {
        what: what.to_owned(),
        a: of.iter().map(|one| one.a).sum(),
        b: of.iter().map(|one| one.b).sum(),
    };
    let (first, rest) = all.split_at(top.min(all.len()));
    let mut rows = first.to_vec();
    if !rest.is_empty() {
        rows.push(sum("(all others)", rest));
    }
    rows.push(sum("(sum)", all));
    let cells = |one: &Difference| {
        vec![
            format!("{:+.1}", one.more()),
            format!("{:.1}", one.a),
            format!("{:.1}", one.b),
            one.what.clone(),
        ]
    };
    let columns: [Column; 4] = [
        numbers("", "B - A"),
        numbers("", "A"),
        numbers("", "B"),
        names(title),
    ];
    text::table(to, &columns, &rows.iter().map(cells).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> Vec<Difference> {
        let a = Counts::new([("same", 40), ("less", 30), ("gone", 4)], 2);
        let b = Counts::new([("same", 80), ("less", 20), ("new", 8), ("more", 4)], 4);
        differences(&a, &b)
    }

    #[test]
    fn what_differs_most_is_first() {
        let all: Vec<_> = both().into_iter().map(|d| (d.what, d.a, d.b)).collect();
        let is = |what: &str, a, b| (what.to_owned(), a, b);
        assert_eq!(
            all,
            [
                is("less", 15.0, 5.0),
                is("gone", 2.0, 0.0),
                is("new", 0.0, 2.0),
                is("more", 0.0, 1.0),
                is("same", 20.0, 20.0),
            ]
        );
    }

    #[test]
    fn what_is_not_shown_is_in_the_sum() {
        let printed = |top| {
            let mut to = Vec::new();
            print(&mut to, "function", &both(), top).unwrap();
            String::from_utf8(to).unwrap()
        };
        assert_eq!(
            printed(2),
            "B - A     A     B  function\n\
             -10.0  15.0   5.0  less\n \
             -2.0   2.0   0.0  gone\n \
             +3.0  20.0  23.0  (all others)\n \
             -9.0  37.0  28.0  (sum)\n"
        );
        assert!(!printed(5).contains("others"));
        assert!(printed(0).ends_with("-9.0  37.0  28.0  (sum)\n"));
    }
}
