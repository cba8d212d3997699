// SPDX-License-Identifier: GPL-2.0

//! Text for a terminal: tables, and the lists of a region.

use crate::{
    profile::{Inclusive, Profile},
    resolve::{Region, Sum},
};
use std::io::{self, Write};

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Stands above neighbours that have it in common; may be empty.
    pub group: &'static str,
    /// Its own title.
    pub title: &'static str,
    /// Whether it has names. They begin at the left, numbers end at the right.
    pub names: bool,
}

/// A column of names.
pub const fn names(title: &'static str) -> Column {
    Column {
        group: "",
        title,
        names: true,
    }
}

/// A column of numbers.
pub const fn numbers(group: &'static str, title: &'static str) -> Column {
    Column {
        group,
        title,
        names: false,
    }
}

/// Between two columns.
const GAP: &str = "  ";

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Together, with the gaps between them.
fn span(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1)
}

/// Columns that are as wide as what is in them.
pub fn table(to: &mut impl Write, columns: &[Column], rows: &[Vec<String>]) -> io::Result<()> {
    let mut widths: Vec<_> = columns.iter().map(|column| width(column.title)).collect();
    for row in rows {
        for (column, cell) in widths.iter_mut().zip(row) {
            *column = width(cell).max(*column);
        }
    }
    let mut line = Vec::new();
    let mut start = 0;
    let same = |a: &Column, b: &Column| !a.group.is_empty() && a.group == b.group;
    for group in columns.chunk_by(same) {
        let own = &mut widths[start..start + group.len()];
        start += group.len();
        let title = group[0].group;
        let lacks = width(title).saturating_sub(span(own));
        if let Some(last) = own.last_mut() {
            *last += lacks;
        }
        line.push(format!("{title:>0$}", span(own)));
    }
    let line = line.join(GAP);
    if !line.trim().is_empty() {
        writeln!(to, "{}", line.trim_end())?;
    }
    let mut write = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<_> = cells
            .zip(columns.iter().zip(&widths))
            .map(|(cell, (column, width))| match column.names {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            })
            .collect();
        writeln!(to, "{}", cells.join(GAP).trim_end())
    };
    write(&mut columns.iter().map(|column| column.title))?;
    for row in rows {
        write(&mut row.iter().map(String::as_str))?;
    }
    Ok(())
}

/// One of the lists of a [`Region`].
#[derive(Clone, Copy, Debug)]
pub enum List {
    /// The entries of [`Region::profile`].
    Entries,
    /// The functions of it.
    Instructions,
    /// [`Region::functions`].
    Functions,
    /// [`Region::code`].
    Code,
    /// [`Region::objects`].
    Objects,
    /// [`Region::data`].
    Data,
    /// [`Region::pairs`].
    Pairs,
    /// [`Region::waits`].
    Waits,
}

impl List {
    /// All there are.
    pub const ALL: &[List] = &[
        List::Entries,
        List::Instructions,
        List::Functions,
        List::Code,
        List::Objects,
        List::Data,
        List::Pairs,
        List::Waits,
    ];
    /// Those that say enough of one of many runs.
    pub const BRIEF: &[List] = &[
        List::Entries,
        List::Instructions,
        List::Functions,
        List::Data,
        List::Pairs,
        List::Waits,
    ];
}

/// The totals of a region for each connection, and the first `top` of each list.
pub fn region(to: &mut impl Write, region: &Region, top: usize) -> io::Result<()> {
    let per = &region.per_unit;
    writeln!(
        to,
        "{} connections on {} CPUs; for each:",
        region.units, region.processors
    )?;
    writeln!(to, "{:>10.1}  instructions in the kernel", per.kernel)?;
    writeln!(to, "{:>10.1}  instructions in programs", per.user)?;
    writeln!(
        to,
        "{:>10.2}  transfers in the kernel",
        per.kernel_transfers
    )?;
    writeln!(to, "{:>10.2}  transfers in programs", per.user_transfers)?;
    writeln!(
        to,
        "{:>10.2}  turns of waiting loops in the kernel",
        per.pauses
    )?;
    lists(to, region, List::ALL, top)
}

/// The first `top` of some lists of a region.
pub fn lists(to: &mut impl Write, region: &Region, which: &[List], top: usize) -> io::Result<()> {
    for one in which {
        match one {
            List::Entries => entries(to, &region.profile)?,
            List::Instructions => {
                let functions = &region.profile.functions;
                list(to, "executed", "function", functions, top, name)?;
            }
            List::Functions => {
                list(to, TRANSFERS, "function", &region.functions, top, name)?;
            }
            List::Code => list(to, TRANSFERS, "instruction", &region.code, top, name)?,
            List::Objects => list(to, TRANSFERS, "object", &region.objects, top, name)?,
            List::Data => list(to, TRANSFERS, "part of object", &region.data, top, name)?,
            List::Pairs => {
                let title = "instruction, part of object";
                list(to, TRANSFERS, title, &region.pairs, top, |what| {
                    let (code, data, access) = what;
                    format!("{code}  {access:?}  {data}")
                })?;
            }
            List::Waits => {
                let title = "turns of waiting loops, by function";
                list(to, "turns", title, &region.waits, top, name)?;
            }
        }
    }
    writeln!(to)
}

const TRANSFERS: &str = "transfers";

/// All of them, since they are few.
fn entries(to: &mut impl Write, profile: &Profile) -> io::Result<()> {
    if profile.entries.is_empty() {
        return Ok(());
    }
    let cells = |entry: &Inclusive| {
        vec![
            format!("{:.2}", entry.entered_per_unit),
            format!("{:.1}", entry.own_per_unit),
            format!("{:.1}", entry.inclusive_per_unit),
            entry.what.clone(),
        ]
    };
    let rows: Vec<_> = profile.entries.iter().map(cells).collect();
    writeln!(to)?;
    table(to, &ENTRIES, &rows)
}

const ENTRIES: [Column; 4] = [
    numbers("", "entered"),
    numbers("kernel instructions", "own"),
    numbers("kernel instructions", "inclusive"),
    names("entry"),
];

fn name(what: &impl ToString) -> String {
    what.to_string()
}

fn list<K>(
    to: &mut impl Write,
    counted: &str,
    title: &str,
    sums: &[Sum<K>],
    top: usize,
    name: impl Fn(&K) -> String,
) -> io::Result<()> {
    if sums.is_empty() {
        return Ok(());
    }
    writeln!(to, "\n{counted:>10}  {title}")?;
    for sum in sums.iter().take(top) {
        writeln!(to, "{:>10.3}  {}", sum.per_unit, name(&sum.what))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Access, resolve::Place};

    fn text(columns: &[Column], rows: &[&[&str]]) -> String {
        let rows: Vec<Vec<_>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| (*cell).to_owned()).collect())
            .collect();
        let mut to = Vec::new();
        table(&mut to, columns, &rows).unwrap();
        String::from_utf8(to).unwrap()
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let columns = [
            numbers("", "n"),
            names("what"),
            numbers("both", "a"),
            numbers("both", "b"),
            numbers("", "last"),
        ];
        assert_eq!(
            text(
                &columns,
                &[
                    &["1", "é", "2", "3", "4"],
                    &["10", "longer", "2", "300", "4"]
                ]
            ),
            "              both\n \
              n  what    a    b  last\n \
              1  é       2    3     4\n\
             10  longer  2  300     4\n"
        );
    }

    #[test]
    fn a_group_may_be_wider_than_its_columns() {
        let columns = [names("a"), numbers("long group", "b"), names("c")];
        assert_eq!(
            text(&columns, &[&["x", "1", "y"]]),
            "   long group\na           b  c\nx           1  y\n"
        );
        assert_eq!(text(&columns[..1], &[]), "a\n");
    }

    #[test]
    fn all_entries_are_shown() {
        let entry = |what: &str, entered_per_unit| Inclusive {
            what: what.into(),
            entered: 4,
            own: 9,
            inclusive: 21,
            entered_per_unit,
            own_per_unit: 4.5,
            inclusive_per_unit: 10.5,
        };
        let region = Region {
            profile: Profile {
                entries: vec![entry("syscall connect", 2.0), entry("idle", 0.0)],
                ..Default::default()
            },
            ..Default::default()
        };
        let mut to = Vec::new();
        lists(&mut to, &region, &[List::Entries, List::Instructions], 1).unwrap();
        assert_eq!(
            String::from_utf8(to).unwrap(),
            "\n         kernel instructions\n\
             entered  own       inclusive  entry\n   \
             2.00  4.5            10.5  syscall connect\n   \
             0.00  4.5            10.5  idle\n\n"
        );
    }

    #[test]
    fn lists_end_after_their_first_and_empty_ones_are_left_out() {
        let place = |object: &str| Place {
            object: object.into(),
            offset: 16,
        };
        let sum = |count| Sum {
            what: (place("f"), place("slab TCP"), Access::Atomic),
            count,
            per_unit: count as f64 / 2.0,
        };
        let region = Region {
            pairs: vec![sum(4), sum(3)],
            ..Default::default()
        };
        let mut to = Vec::new();
        lists(&mut to, &region, &[List::Pairs, List::Waits], 1).unwrap();
        assert_eq!(
            String::from_utf8(to).unwrap(),
            "\n transfers  instruction, part of object\
             \n     2.000  f+0x10  Atomic  slab TCP+0x10\n\n"
        );
    }
}
