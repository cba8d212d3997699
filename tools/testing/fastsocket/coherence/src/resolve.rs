// SPDX-License-Identifier: GPL-2.0

//! Names for what the plugin counted, and sums by them.

use crate::{
    model::{Access, LINE},
    plugin::KERNEL,
    profile::Profile,
    raw::{self, Cpu, Guest, Slab},
    symbols::Symbols,
};
use serde::{de::Error, Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
};

/// x86-64's map of its address space.
mod space {
    pub(super) const VMALLOC: std::ops::Range<u64> = 0xffff_c900_0000_0000..0xffff_e900_0000_0000;
    pub(super) const VMEMMAP: std::ops::Range<u64> = 0xffff_ea00_0000_0000..0xffff_eb00_0000_0000;
    pub(super) const IMAGE: u64 = 0xffff_ffff_8000_0000;
    pub(super) const PAGE: u64 = 4096;
}

/// A part of something: its name, and how far the part is from its start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// A function, or what an object is: a slab cache, a per-CPU variable, ...
    pub object: String,
    /// In bytes.
    pub offset: u64,
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}", self.object, self.offset)
    }
}

impl Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        // An object's name may have such a mark as well: the last is the offset's.
        let parse = |text: &str| {
            let (object, offset) = text.rsplit_once("+0x")?;
            Some(place(object, u64::from_str_radix(offset, 16).ok()?))
        };
        parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no place")))
    }
}

fn place(object: impl Into<String>, offset: u64) -> Place {
    Place {
        object: object.into(),
        offset,
    }
}

/// What an instruction is a part of; a helper's with the caller's name before it.
pub fn code(symbols: &Symbols, address: u64, caller: u64) -> Place {
    let mut place = function(symbols, address);
    if caller != 0 {
        place.object = format!("{}/{}", function(symbols, caller).object, place.object);
    }
    place
}

fn function(symbols: &Symbols, address: u64) -> Place {
    if address < KERNEL {
        return place("program", address);
    }
    image(symbols, address).unwrap_or_else(|| place("kernel", address))
}

/// What of the kernel or of a module. Nothing if it is a module's that has no symbols.
fn image(symbols: &Symbols, address: u64) -> Option<Place> {
    let (name, offset) = symbols.lookup(address)?;
    let beyond = symbols.find("_end").is_some_and(|end| address >= end);
    (!beyond || name.ends_with(']')).then(|| place(name, offset))
}

/// Finds what addresses of data are parts of.
pub struct Data<'a> {
    symbols: &'a Symbols,
    guest: &'a Guest,
    /// Where per-CPU variables end, and where each processor's block does.
    per_cpu: Option<(u64, u64)>,
}

impl<'a> Data<'a> {
    /// With what the guest said at the end of the region.
    pub fn new(symbols: &'a Symbols, guest: &'a Guest) -> Self {
        let mut offsets = guest.per_cpu_offset.clone();
        offsets.sort_unstable();
        let distance = offsets
            .windows(2)
            .map(|w| w[1] - w[0])
            .filter(|d| *d > 0)
            .min();
        let per_cpu = symbols
            .find("__per_cpu_end")
            .filter(|_| symbols.find("__per_cpu_start") == Some(0))
            .map(|end| (end, distance.unwrap_or(end).max(end)));
        Self {
            symbols,
            guest,
            per_cpu,
        }
    }

    /// What an address is a part of.
    pub fn place(&self, address: u64, physical: u64) -> Place {
        if address < KERNEL {
            return place("program", address % space::PAGE);
        }
        if let Some(place) = self.per_cpu(address) {
            return place;
        }
        // A small table is in a slab, too.
        if let Some(place) = self.table(address) {
            return place;
        }
        if let Some((slab, cache)) = self.slab(physical) {
            return place(
                format!("slab {}", cache.name),
                (physical - slab.physical) % cache.size,
            );
        }
        if space::VMALLOC.contains(&address) {
            return place("vmalloc", address % space::PAGE);
        }
        if space::VMEMMAP.contains(&address) {
            return place("struct page", address % LINE);
        }
        if address < space::IMAGE {
            return place("page", address % space::PAGE);
        }
        image(self.symbols, address).unwrap_or_else(|| place("kernel", address))
    }

    fn per_cpu(&self, address: u64) -> Option<Place> {
        let (end, block) = self.per_cpu?;
        let inside = |base: &u64| address.checked_sub(*base).filter(|offset| *offset < block);
        let offset = self.guest.per_cpu_offset.iter().find_map(inside)?;
        if offset >= end {
            return Some(place("percpu (allocated)", offset - end));
        }
        let (name, offset) = self.symbols.lookup(offset)?;
        Some(place(format!("percpu {name}"), offset))
    }

    fn table(&self, address: u64) -> Option<Place> {
        self.guest.tables.iter().find_map(|table| {
            let offset = address.checked_sub(table.address)?;
            (offset / table.size < table.entries)
                .then(|| place(format!("table {}", table.name), offset % table.size))
        })
    }

    fn slab(&self, physical: u64) -> Option<(&Slab, &raw::Cache)> {
        let slabs = &self.guest.slabs;
        let after = slabs.partition_point(|slab| slab.physical <= physical);
        let slab = &slabs[after.checked_sub(1)?];
        (physical - slab.physical < slab.length)
            .then_some((slab, self.guest.caches.get(slab.cache)?))
    }
}

/// What was run, as the workload prints it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// How connections come to workers: single, reuseport, reuseport-cbpf, fastsocket or fastsocket-rfd.
    pub kind: String,
    /// Whether each request opens a connection to a backend; both are one unit then.
    pub proxy: bool,
    /// lo, veth or veth-rps.
    pub network: String,
    /// The addresses of the clients: one or many.
    pub clients: String,
    /// Whether TCP kept nothing of its peers.
    #[serde(default)]
    pub tcp_no_metrics_save: bool,
    /// Whether AppArmor was on.
    #[serde(default)]
    pub apparmor: bool,
    /// Connections that each client made between the marks.
    pub connections: u32,
    /// And before them.
    pub warm_up: u32,
    /// Connections accepted before the marks.
    pub accepted: u32,
    /// And those of them that came to the worker of the CPU that received them.
    pub accepted_local: u32,
}

/// A run with names.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The guest's kernel: stock or fastsocket.
    pub kernel: String,
    /// What it did.
    pub workload: Option<Workload>,
    /// As in [`raw::Run`].
    pub slice: u64,
    /// Each region.
    pub regions: Vec<Region>,
}

/// A region with names. The lists begin with those that have most transfers.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Region {
    /// As in [`raw::Region`].
    pub units: u64,
    /// How many processors there are.
    pub processors: usize,
    /// All processors together.
    pub total: Cpu,
    /// The most important totals, for each unit.
    pub per_unit: PerUnit,
    /// By function.
    pub functions: Vec<Sum<String>>,
    /// By instruction.
    pub code: Vec<Sum<Place>>,
    /// By what kind of object the data is in.
    pub objects: Vec<Sum<String>>,
    /// By the part of that object.
    pub data: Vec<Sum<Place>>,
    /// By all there is: instruction, data, access.
    pub pairs: Vec<Sum<(Place, Place, Access)>>,
    /// Turns of waiting loops in the kernel, by function: the caller and the lock's.
    pub waits: Vec<Sum<String>>,
    /// Instructions in the kernel.
    pub profile: Profile,
    /// By processor.
    pub cpus: Vec<Cpu>,
}

impl Region {
    /// Forgets what is beyond the first `top` of each list of transfers and waits. The
    /// instructions are kept whole, to be compared, unless nothing is to be kept.
    pub fn truncate(&mut self, top: usize) {
        if top == 0 {
            self.profile = Profile::default();
        }
        self.functions.truncate(top);
        self.code.truncate(top);
        self.objects.truncate(top);
        self.data.truncate(top);
        self.pairs.truncate(top);
        self.waits.truncate(top);
    }
}

/// For each unit.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PerUnit {
    /// Instructions in the kernel.
    pub kernel: f64,
    /// Instructions in programs.
    pub user: f64,
    /// Transfers in the kernel.
    pub kernel_transfers: f64,
    /// Transfers in programs.
    pub user_transfers: f64,
    /// Turns of waiting loops in the kernel.
    pub pauses: f64,
}

/// How often there was one thing: transfers, turns, or instructions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sum<K> {
    /// The thing.
    pub what: K,
    /// How many there were.
    pub count: u64,
    /// How many for each unit.
    pub per_unit: f64,
}

pub(crate) fn sums<K: Ord>(counts: impl Iterator<Item = (K, u64)>, units: u64) -> Vec<Sum<K>> {
    let mut by_key = BTreeMap::new();
    for (what, count) in counts {
        *by_key.entry(what).or_insert(0) += count;
    }
    let mut sums: Vec<_> = by_key
        .into_iter()
        .map(|(what, count)| Sum {
            what,
            count,
            per_unit: ratio(count, units),
        })
        .collect();
    // Stable, so that equals stay in the order of their names.
    sums.sort_by_key(|sum| std::cmp::Reverse(sum.count));
    sums
}

/// How many for each unit, [`rounded`].
pub(crate) fn ratio(count: u64, units: u64) -> f64 {
    if units == 0 {
        return 0.0;
    }
    rounded(count as f64 / units as f64)
}

/// Four digits are enough, and are the same everywhere.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// Resolves all regions of a run of `workload` on `kernel`. An error if what was counted in
/// one does not add up.
pub fn report(
    kernel: &str,
    workload: Option<Workload>,
    run: &raw::Run,
    symbols: &Symbols,
) -> Result<Report, String> {
    let regions = run.regions.iter().map(|r| region(r, symbols));
    Ok(Report {
        kernel: kernel.to_owned(),
        workload,
        slice: run.slice,
        regions: regions.collect::<Result<_, _>>()?,
    })
}

fn region(raw: &raw::Region, symbols: &Symbols) -> Result<Region, String> {
    let data = Data::new(symbols, &raw.guest);
    let named: Vec<_> = raw
        .transfers
        .iter()
        .map(|t| {
            let what = (
                code(symbols, t.code, t.caller),
                data.place(t.data, t.physical),
                t.access,
            );
            (what, t.count)
        })
        .collect();
    let (total, units) = (raw.total, raw.units);
    let by = || named.iter();
    Ok(Region {
        units,
        processors: raw.cpus.len(),
        total,
        per_unit: PerUnit {
            kernel: ratio(total.kernel, units),
            user: ratio(total.user, units),
            kernel_transfers: ratio(total.kernel_loads + total.kernel_stores, units),
            user_transfers: ratio(total.user_loads + total.user_stores, units),
            pauses: ratio(total.pauses, units),
        },
        functions: sums(by().map(|((code, ..), n)| (code.object.clone(), *n)), units),
        code: sums(by().map(|((code, ..), n)| (code.clone(), *n)), units),
        objects: sums(
            by().map(|((_, data, _), n)| (data.object.clone(), *n)),
            units,
        ),
        data: sums(by().map(|((_, data, _), n)| (data.clone(), *n)), units),
        pairs: sums(by().cloned(), units),
        waits: sums(
            raw.waits
                .iter()
                .map(|w| (code(symbols, w.code, w.caller).object, w.count)),
            units,
        ),
        profile: Profile::new(raw, symbols)?,
        cpus: raw.cpus.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::{Cache, Table, Transfer};

    const MAP: &str = "\
0000000000000000 D __per_cpu_start
0000000000001000 D softnet_data
0000000000002000 D __per_cpu_end
ffffffff81000110 T sk_alloc
ffffffff81000200 T sk_free
ffffffff82000000 D init_net
ffffffff82001000 D _end
";

    fn guest() -> Guest {
        Guest {
            per_cpu_offset: vec![0xffff_8880_1000_0000, 0xffff_8880_1000_8000],
            caches: vec![Cache {
                name: "TCP".into(),
                size: 0x980,
            }],
            slabs: vec![Slab {
                physical: 0x40_000,
                length: 0x8000,
                cache: 0,
            }],
            tables: vec![Table {
                name: "bhash".into(),
                address: 0xffff_8880_0200_0000,
                entries: 512,
                size: 16,
            }],
        }
    }

    #[test]
    fn data_is_named() {
        let (symbols, guest) = (Symbols::parse(MAP), guest());
        let data = Data::new(&symbols, &guest);
        let at = |address, physical| data.place(address, physical).to_string();
        assert_eq!(
            at(0xffff_8880_1000_9010, 0x1000_9010),
            "percpu softnet_data+0x10"
        );
        assert_eq!(
            at(0xffff_8880_1000_2008, 0x1000_2008),
            "percpu (allocated)+0x8"
        );
        assert_eq!(at(0xffff_8880_0004_0990, 0x40_990), "slab TCP+0x10");
        assert_eq!(at(0xffff_8880_0200_1ff8, 0x200_1ff8), "table bhash+0x8");
        assert_eq!(at(0xffff_8880_0200_2000, 0x200_2000), "page+0x0");
        assert_eq!(at(0xffff_8880_0200_0000, 0x40_990), "table bhash+0x0");
        assert_eq!(at(0xffff_8880_0004_8000, 0x48_000), "page+0x0");
        assert_eq!(at(0xffff_ffff_8200_0140, 0x200_0140), "init_net+0x140");
        assert_eq!(
            at(0xffff_ffff_c000_0010, 0x55_010),
            "kernel+0xffffffffc0000010"
        );
        assert_eq!(at(0xffff_c900_0001_3f40, 0x777_f40), "vmalloc+0xf40");
        assert_eq!(at(0xffff_ea00_0000_1074, 0x7_0074), "struct page+0x34");
        assert_eq!(at(0x7fff_0000_1234, 0x99_234), "program+0x234");
    }

    #[test]
    fn code_is_named() {
        let mut symbols = Symbols::parse(MAP);
        let at = |symbols: &_, low: u64| code(symbols, 0xffff_ffff_0000_0000 | low, 0).to_string();
        assert_eq!(at(&symbols, 0x8100_0114), "sk_alloc+0x4");
        assert_eq!(at(&symbols, 0xc000_0014), "kernel+0xffffffffc0000014");
        symbols.add("ffffffffc0000000 t pick\t[fastsocket]");
        assert_eq!(at(&symbols, 0xc000_0014), "pick [fastsocket]+0x14");
        assert_eq!(
            code(&symbols, 0x5555_1234, 0).to_string(),
            "program+0x55551234"
        );
    }

    #[test]
    fn sums_by_name() {
        let transfer = |code, physical, access, count| Transfer {
            code,
            caller: if code == 0xffff_ffff_8100_0118 {
                0xffff_ffff_8100_0210
            } else {
                0
            },
            physical,
            data: 0xffff_8880_0000_0000 + physical,
            access,
            count,
        };
        let run = raw::Run {
            format: raw::FORMAT,
            slice: 200,
            line: LINE,
            regions: vec![raw::Region {
                units: 2,
                transfers: vec![
                    transfer(0xffff_ffff_8100_0114, 0x40_010, Access::Load, 1),
                    transfer(0xffff_ffff_8100_0114, 0x40_990, Access::Load, 2),
                    transfer(0xffff_ffff_8100_0118, 0x40_990, Access::Atomic, 4),
                    transfer(0xffff_ffff_8100_0200, 0x40_018, Access::Store, 5),
                ],
                waits: vec![raw::Wait {
                    code: 0xffff_ffff_8100_0118,
                    caller: 0xffff_ffff_8100_0210,
                    count: 3,
                }],
                guest: guest(),
                ..Default::default()
            }],
        };
        let report = report("stock", None, &run, &Symbols::parse(MAP)).unwrap();
        let region = &report.regions[0];
        let of = |sums: &[Sum<Place>]| -> Vec<_> {
            sums.iter().map(|s| (s.what.to_string(), s.count)).collect()
        };
        let functions: Vec<_> = region
            .functions
            .iter()
            .map(|f| (&*f.what, f.count))
            .collect();
        assert_eq!(
            functions,
            [("sk_free", 5), ("sk_free/sk_alloc", 4), ("sk_alloc", 3)]
        );
        assert_eq!(region.functions[0].per_unit, 2.5);
        assert_eq!(region.objects.len(), 1);
        assert_eq!(
            of(&region.data),
            [("slab TCP+0x10".into(), 7), ("slab TCP+0x18".into(), 5)]
        );
        assert_eq!(
            of(&region.code),
            [
                ("sk_free+0x0".into(), 5),
                ("sk_free/sk_alloc+0x8".into(), 4),
                ("sk_alloc+0x4".into(), 3)
            ]
        );
        assert_eq!(region.pairs.len(), 3);
        assert_eq!(region.waits[0].what, "sk_free/sk_alloc");
        assert_eq!(region.waits[0].per_unit, 1.5);

        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }

    #[test]
    fn places_are_read_from_the_right() {
        let read = |text: &str| serde_json::from_value::<Place>(text.into());
        assert_eq!(read("slab TCP+0x10").unwrap(), place("slab TCP", 0x10));
        assert_eq!(read("a+0x1+b+0xff").unwrap(), place("a+0x1+b", 0xff));
        for wrong in ["slab TCP", "slab TCP+10", "slab TCP+0x", "slab TCP+0xg", ""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
