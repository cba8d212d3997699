// SPDX-License-Identifier: GPL-2.0

//! Names of addresses, by `System.map` and, for modules, `/proc/kallsyms`.

use std::{collections::HashMap, ops::Range};

/// An address that has a name.
struct Symbol {
    address: u64,
    name: String,
}

/// All names.
#[derive(Default)]
pub struct Symbols {
    /// By address, one for each.
    sorted: Vec<Symbol>,
    by_name: HashMap<String, u64>,
}

/// Functions outside the locks' own section of which the caller says more than they do.
const HELPERS: [&str; 12] = [
    "__memcpy",
    "__memset",
    "__rcu_read_lock",
    "__rcu_read_unlock",
    "memcpy_orig",
    "memset_orig",
    "native_queued_spin_lock_slowpath",
    "queued_read_lock_slowpath",
    "queued_spin_lock_slowpath",
    "queued_write_lock_slowpath",
    "rep_movs_alternative",
    "rep_stos_alternative",
];

/// Names that are no function's or variable's.
const DULL: [&str; 5] = ["__pfx_", "__cfi_", "__UNIQUE_ID", "__ksymtab", "$"];

/// A function of Rust as its source has it; other names as they are.
fn plain(name: &str) -> String {
    let (symbol, module) = name.split_once(' ').unwrap_or((name, ""));
    let Ok(path) = rustc_demangle::try_demangle(symbol) else {
        return name.to_owned();
    };
    match module {
        "" => format!("{path:#}"),
        module => format!("{path:#} {module}"),
    }
}

impl Symbols {
    /// Reads lines of `ADDRESS TYPE NAME [MODULE]`; others are passed over.
    pub fn parse(text: &str) -> Self {
        let mut symbols = Self::default();
        symbols.add(text);
        symbols
    }

    /// Adds lines of another file. A name that is there already stays where it is.
    pub fn add(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(address), Some(_), Some(name)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let Ok(address) = u64::from_str_radix(address, 16) else {
                continue;
            };
            let name = match words.next() {
                Some(module) => format!("{name} {module}"),
                None => name.to_owned(),
            };
            self.by_name.entry(name.clone()).or_insert(address);
            if !DULL.iter().any(|dull| name.starts_with(dull)) {
                let name = plain(&name);
                self.sorted.push(Symbol { address, name });
            }
        }
        // Of several names of an address, the first that is not a section's.
        let is_bound = |name: &str| {
            name.starts_with('_') && (name.ends_with("_start") || name.ends_with("_end"))
        };
        self.sorted
            .sort_by_key(|symbol| (symbol.address, is_bound(&symbol.name)));
        self.sorted.dedup_by_key(|symbol| symbol.address);
    }

    /// The address of a name.
    pub fn find(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).copied()
    }

    /// Every name and its address, by name.
    pub fn named(&self) -> impl Iterator<Item = (&str, u64)> {
        let mut all: Vec<_> = self
            .by_name
            .iter()
            .map(|(name, at)| (&**name, *at))
            .collect();
        all.sort_unstable();
        all.into_iter()
    }

    /// Where a name and the next one that is elsewhere are.
    pub fn extent(&self, name: &str) -> Option<Range<u64>> {
        let start = self.find(name)?;
        let after = self.sorted.partition_point(|s| s.address <= start);
        Some(start..self.sorted.get(after)?.address)
    }

    /// Whether an instruction is of a function that is better told with its caller.
    pub fn is_helper(&self, address: u64) -> bool {
        let bound = |name| self.find(name).unwrap_or(0);
        (bound("__lock_text_start")..bound("__lock_text_end")).contains(&address)
            || self
                .lookup(address)
                .is_some_and(|(name, _)| HELPERS.contains(&name))
    }

    /// The last name at or before an address, and how far that is away.
    pub fn lookup(&self, address: u64) -> Option<(&str, u64)> {
        let after = self.sorted.partition_point(|s| s.address <= address);
        let symbol = &self.sorted[after.checked_sub(1)?];
        Some((&symbol.name, address - symbol.address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "\
0000000000000000 A fixed_percpu_data
0000000000000000 A __per_cpu_start
ffffffff81000000 T _text
ffffffff81000100 t __pfx_sk_alloc
ffffffff81000110 T sk_alloc
ffffffff81000110 T alias
ffffffff81000200 T sk_free
ffffffff81000300 T __lock_text_start
ffffffff81000300 T _raw_spin_lock
ffffffff81000400 T __lock_text_end
ffffffff81000400 T __memset
ffffffff81000500 T last
not a line
";

    #[test]
    fn names_of_addresses() {
        let symbols = Symbols::parse(MAP);
        assert_eq!(symbols.lookup(0xffff_ffff_8100_0110), Some(("sk_alloc", 0)));
        assert_eq!(
            symbols.lookup(0xffff_ffff_8100_01ff),
            Some(("sk_alloc", 0xef))
        );
        assert_eq!(
            symbols.lookup(0xffff_ffff_8100_0100),
            Some(("_text", 0x100))
        );
        assert_eq!(
            symbols.lookup(0xffff_ffff_8100_0310),
            Some(("_raw_spin_lock", 0x10))
        );
        assert_eq!(symbols.lookup(8), Some(("fixed_percpu_data", 8)));
        assert_eq!(Symbols::default().lookup(8), None);
    }

    #[test]
    fn addresses_of_names() {
        let symbols = Symbols::parse(MAP);
        assert_eq!(symbols.find("alias"), Some(0xffff_ffff_8100_0110));
        assert_eq!(symbols.find("nothing"), None);
        let all: Vec<_> = symbols.named().collect();
        assert!(all.is_sorted() && all.contains(&("alias", 0xffff_ffff_8100_0110)));
    }

    #[test]
    fn a_name_reaches_to_the_next() {
        let symbols = Symbols::parse(MAP);
        let extent = 0xffff_ffff_8100_0110..0xffff_ffff_8100_0200;
        assert_eq!(symbols.extent("sk_alloc"), Some(extent.clone()));
        assert_eq!(symbols.extent("alias"), Some(extent));
        assert_eq!(symbols.extent("last"), None);
        assert_eq!(symbols.extent("nothing"), None);
    }

    #[test]
    fn helpers() {
        let symbols = Symbols::parse(MAP);
        let is = |low: u64| symbols.is_helper(0xffff_ffff_8100_0000 + low);
        assert!(is(0x300) && is(0x3ff) && is(0x404));
        assert!(!is(0x2ff) && !is(0x500) && !is(0x110));
        assert!(!Symbols::default().is_helper(0));
    }

    #[test]
    fn modules_are_named() {
        let mut symbols = Symbols::parse(MAP);
        symbols.add("ffffffffa0000000 t pick\t[fastsocket]\n");
        assert_eq!(
            symbols.lookup(0xffff_ffff_a000_0004),
            Some(("pick [fastsocket]", 4))
        );
        let mangled = "_RNvMNtCs9REpuSGn6io_10fastsocket6acceptNtB2_4View9take_from";
        symbols.add(&format!("ffffffffa0000100 t {mangled}\t[fastsocket]\n"));
        assert_eq!(
            symbols.lookup(0xffff_ffff_a000_0104),
            Some(("<fastsocket::accept::View>::take_from [fastsocket]", 4))
        );
        let found = symbols.find(&format!("{mangled} [fastsocket]"));
        assert_eq!(found, Some(0xffff_ffff_a000_0100));
    }
}
