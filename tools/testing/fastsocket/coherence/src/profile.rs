// SPDX-License-Identifier: GPL-2.0

//! Names for the instructions that the kernel executed, and sums by them: by function, and
//! by what the kernel ran for.

use crate::{
    raw,
    resolve::{code, ratio, sums, Sum},
    symbols::Symbols,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Instructions in the kernel. Those of all functions, and of all paths, and what all
/// entries have themselves, have [`raw::Cpu::kernel`] as their sum.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// By function, without what it calls.
    pub functions: Vec<Sum<String>>,
    /// By entry.
    pub entries: Vec<Inclusive>,
    /// By all entries that were nested in each other.
    pub paths: Vec<Path>,
    /// How often an entry and its return were not told as a pair. Entries can be
    /// trusted as far as this is zero.
    pub unpaired: u64,
}

/// What was executed because of an entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inclusive {
    /// A system call, an interrupt, an exception, a softirq or a thread.
    pub what: String,
    /// How often it was entered. Threads are not.
    pub entered: u64,
    /// Instructions, without what came in between.
    pub own: u64,
    /// With interrupts, exceptions and softirqs that came while it had not ended.
    pub inclusive: u64,
    /// `entered` for each unit.
    pub entered_per_unit: f64,
    /// `own` for each unit.
    pub own_per_unit: f64,
    /// `inclusive` for each unit.
    pub inclusive_per_unit: f64,
}

/// What was executed within the same entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Path {
    /// The entries, outermost first.
    pub path: Vec<String>,
    /// How often the innermost was entered from there.
    pub entered: u64,
    /// Instructions.
    pub count: u64,
    /// Instructions for each unit.
    pub per_unit: f64,
    /// By function.
    pub functions: Vec<Sum<String>>,
}

/// What instructions are under that are under nothing known.
const UNKNOWN: &str = "unknown";

impl Profile {
    /// Names what was counted in a region. An error if it is not all there was.
    pub fn new(raw: &raw::Region, symbols: &Symbols) -> Result<Self, String> {
        let executed = raw.work.iter().flat_map(|work| &work.executed);
        let sum: u64 = executed.clone().map(|one| one.count).sum();
        if sum != raw.total.kernel {
            let total = raw.total.kernel;
            return Err(format!(
                "{total} instructions of the kernel were counted, and {sum} by address"
            ));
        }
        let by_function = |executed: &mut dyn Iterator<Item = &raw::Executed>| {
            let named = executed.map(|one| (code(symbols, one.code, 0).object, one.count));
            sums(named, raw.units)
        };
        let path = |work: &raw::Work| {
            let count = work.executed.iter().map(|one| one.count).sum();
            Path {
                path: match &work.path[..] {
                    [] => vec![UNKNOWN.to_owned()],
                    path => path.to_vec(),
                },
                entered: work.entered,
                count,
                per_unit: ratio(count, raw.units),
                functions: by_function(&mut work.executed.iter()),
            }
        };
        let mut paths: Vec<_> = raw.work.iter().map(path).collect();
        // Stable, so that equals stay in the order of their names.
        paths.sort_by_key(|path| std::cmp::Reverse(path.count));
        Ok(Self {
            functions: by_function(&mut executed.clone()),
            entries: inclusive(&paths, raw.units),
            paths,
            unpaired: raw.unpaired,
        })
    }
}

/// Sums by entry, those with most first.
fn inclusive(paths: &[Path], units: u64) -> Vec<Inclusive> {
    let mut by_name: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for path in paths {
        if let Some(last) = path.path.last() {
            let (entered, own, _) = by_name.entry(last).or_default();
            *entered += path.entered;
            *own += path.count;
        }
        // Of an entry that is in it twice there is no more than all of it.
        for name in path.path.iter().collect::<BTreeSet<_>>() {
            by_name.entry(name).or_default().2 += path.count;
        }
    }
    let entry = |(what, (entered, own, inclusive)): (&str, _)| Inclusive {
        what: what.to_owned(),
        entered,
        own,
        inclusive,
        entered_per_unit: ratio(entered, units),
        own_per_unit: ratio(own, units),
        inclusive_per_unit: ratio(inclusive, units),
    };
    let mut entries: Vec<_> = by_name.into_iter().map(entry).collect();
    entries.sort_by_key(|entry| std::cmp::Reverse((entry.inclusive, entry.own)));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "\
ffffffff81000100 T tcp_v4_rcv
ffffffff81000200 T ip_rcv
";
    const TEXT: u64 = 0xffff_ffff_8100_0000;

    fn work(path: &[&str], entered: u64, executed: &[(u64, u64)]) -> raw::Work {
        raw::Work {
            path: path.iter().map(|name| (*name).to_owned()).collect(),
            entered,
            executed: executed
                .iter()
                .map(|(low, count)| raw::Executed {
                    code: TEXT + low,
                    count: *count,
                })
                .collect(),
        }
    }

    fn region() -> raw::Region {
        let mut region = raw::Region {
            units: 2,
            unpaired: 1,
            work: vec![
                work(&[], 0, &[(0x200, 1)]),
                work(&["idle", "interrupt timer"], 4, &[(0x204, 8)]),
                work(&["interrupt timer"], 2, &[(0x204, 4)]),
                work(
                    &["syscall connect"],
                    2,
                    &[(0x100, 3), (0x104, 3), (0x204, 20)],
                ),
                work(
                    &["syscall connect", "softirq net_rx"],
                    6,
                    &[(0x100, 30), (0x104, 30)],
                ),
            ],
            ..Default::default()
        };
        region.total.kernel = 99;
        region
    }

    #[test]
    fn functions_are_without_what_they_call() {
        let profile = Profile::new(&region(), &Symbols::parse(MAP)).unwrap();
        let functions: Vec<_> = profile
            .functions
            .iter()
            .map(|sum| (&*sum.what, sum.count, sum.per_unit))
            .collect();
        assert_eq!(functions, [("tcp_v4_rcv", 66, 33.0), ("ip_rcv", 33, 16.5)]);
        assert_eq!(profile.unpaired, 1);
    }

    #[test]
    fn entries_are_with_and_without_what_came_in_between() {
        let profile = Profile::new(&region(), &Symbols::parse(MAP)).unwrap();
        let entries: Vec<_> = profile
            .entries
            .iter()
            .map(|e| (&*e.what, e.entered, e.own, e.inclusive))
            .collect();
        assert_eq!(
            entries,
            [
                ("syscall connect", 2, 26, 86),
                ("softirq net_rx", 6, 60, 60),
                ("interrupt timer", 6, 12, 12),
                ("idle", 0, 0, 8),
                ("unknown", 0, 1, 1),
            ]
        );
        let own: u64 = profile.entries.iter().map(|e| e.own).sum();
        let paths: u64 = profile.paths.iter().map(|path| path.count).sum();
        assert_eq!((own, paths), (99, 99));
        assert_eq!(profile.entries[0].inclusive_per_unit, 43.0);
    }

    #[test]
    fn paths_have_their_own_functions() {
        let profile = Profile::new(&region(), &Symbols::parse(MAP)).unwrap();
        let path = &profile.paths[1];
        assert_eq!(
            (&*path.path[0], path.count, path.per_unit),
            ("syscall connect", 26, 13.0)
        );
        let functions: Vec<_> = path.functions.iter().map(|f| (&*f.what, f.count)).collect();
        assert_eq!(functions, [("ip_rcv", 20), ("tcp_v4_rcv", 6)]);
    }

    #[test]
    fn what_is_not_all_is_an_error() {
        let mut region = region();
        region.total.kernel = 100;
        assert_eq!(
            Profile::new(&region, &Symbols::parse(MAP)).unwrap_err(),
            "100 instructions of the kernel were counted, and 99 by address"
        );
    }
}
