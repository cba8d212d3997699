// SPDX-License-Identifier: GPL-2.0

//! What the guest's kernel knows of its own memory, read at the end mark.
//!
//! An address that had a transfer is to be told as a part of an object. What a
//! program in the guest could find out is not enough (`/proc/kpageflags` says that a
//! page is a slab's, not whose), and debug information would have to be built. But
//! the emulator can read the guest's memory, and two tables there say it:
//!
//! - `__per_cpu_offset[]`, to tell per-CPU data;
//! - `mem_section`, which leads to the `struct page` of each page in question, that to
//!   its slab's first page, and that to the `struct kmem_cache` with the size of the objects and a name.
//!
//! The hash tables of TCP, which are in no slab, are where `tcp_hashinfo` says.
//!
//! Symbols say where these are, without KASLR. The layout is that of x86-64 in 6.12, and
//! where it depends on the configuration it is found by what must be there: the cache
//! that `kmem_cache` points to has the name "kmem_cache". If anything is not as expected,
//! less is told, and never something wrong that could have been noticed.
//!
//! Two more are read when the guest begins to warm up: `softirq_vec` has the functions of
//! the softirqs, and `init_task` a name that shows where tasks have theirs.
//!
//! It is the state at the end of what was counted. A page that was given to another
//! cache in the meantime is taken for the later one's.

use crate::{
    hooks::SOFTIRQ_COUNT,
    raw::{Cache, Guest, Slab, Table, Transfer},
    symbols::Symbols,
};
use std::{
    array,
    collections::{BTreeMap, BTreeSet, HashMap},
};

/// Somewhere to read the guest's memory.
pub trait Memory {
    /// Fills `to` from a virtual address; false if that is not mapped.
    fn read(&self, address: u64, to: &mut [u8]) -> bool;
}

/// The processor that runs just now.
pub struct Current;

const PAGE_SHIFT: u32 = 12;

/// `struct mem_section`, as SPARSEMEM_EXTREME has it, with and without VMEMMAP, but
/// not with PAGE_EXTENSION. Roots of a page each lead to all of them.
mod section {
    pub(super) const FRAMES_SHIFT: u32 = 15;
    pub(super) const SIZE: u64 = 16;
    pub(super) const PER_ROOT: u64 = 256;
    /// In `section_mem_map`, which is where page 0 would have its `struct page`.
    pub(super) const HAS_MAP: u64 = 2;
    pub(super) const FLAGS: u64 = 0x3f;
}

/// `struct page`, and `struct slab` that lies over it.
mod page {
    pub(super) const SIZE: u64 = 64;
    /// `compound_head`, odd in pages that are not the first; in a slab's first
    /// page `slab_cache`.
    pub(super) const HEAD: u64 = 8;
    pub(super) const TYPE: u64 = 48;
    /// `PGTY_slab`, in the highest byte.
    pub(super) const TYPE_SLAB: u32 = 0xf5;
}

/// `struct kmem_cache` up to where the configuration decides.
mod cache {
    pub(super) const SIZE: u64 = 24;
    /// No further than here is a name looked for.
    pub(super) const NAME_BEFORE: u64 = 256;
    /// No object is larger.
    pub(super) const LARGEST: u32 = 1 << 23;
}

/// `struct task_struct`.
mod task {
    /// No further than here is the name looked for.
    pub(super) const SIZE: u64 = 8192;
}

/// A hash table that `tcp_hashinfo` leads to.
struct Known {
    name: &'static str,
    pointer: u64,
    /// Where the number of entries is, and what has to be added to it.
    entries: (u64, u64),
    size: u64,
}

/// `struct inet_hashinfo`, where a `spinlock_t` is four bytes.
const KNOWN: [Known; 5] = [
    Known {
        name: "ehash",
        pointer: 0,
        entries: (16, 1),
        size: 8,
    },
    Known {
        name: "ehash_locks",
        pointer: 8,
        entries: (20, 1),
        size: 4,
    },
    Known {
        name: "bhash",
        pointer: 32,
        entries: (56, 0),
        size: 16,
    },
    Known {
        name: "bhash2",
        pointer: 48,
        entries: (56, 0),
        size: 16,
    },
    Known {
        name: "lhash2",
        pointer: 64,
        entries: (60, 1),
        size: 16,
    },
];

/// The tables of TCP, and what connect() chooses ports by.
fn tables(memory: &impl Memory, symbols: &Symbols) -> Vec<Table> {
    let hashinfo = symbols.find("tcp_hashinfo");
    let known = KNOWN.iter().filter_map(|known| {
        let (at, more) = known.entries;
        let entries = u64::from(u32_at(memory, hashinfo? + at)?) + more;
        Some(Table {
            name: known.name.into(),
            address: u64_at(memory, hashinfo? + known.pointer)?,
            // Any other number is not a table's.
            entries: Some(entries).filter(|n| n.is_power_of_two())?,
            size: known.size,
        })
    });
    let perturb = symbols.find("table_perturb").and_then(|at| {
        Some(Table {
            name: "table_perturb".into(),
            address: u64_at(memory, at)?,
            // CONFIG_INET_TABLE_PERTURB_ORDER, unless somebody chose another.
            entries: 1 << 16,
            size: 4,
        })
    });
    known
        .chain(perturb)
        .filter(|table| table.address != 0)
        .collect()
}

/// The functions that `softirq_vec` has, as many as there are softirqs.
pub fn softirqs(memory: &impl Memory, symbols: &Symbols) -> Vec<u64> {
    let Some(table) = symbols.find("softirq_vec") else {
        return Vec::new();
    };
    (0..SOFTIRQ_COUNT as u64)
        .map_while(|number| u64_at(memory, table + 8 * number))
        .collect()
}

/// Where a `struct task_struct` has the name, by that of the first task, which is idle.
pub fn task_name_offset(memory: &impl Memory, symbols: &Symbols) -> Option<u64> {
    let first = symbols.find("init_task")?;
    (0..task::SIZE)
        .step_by(8)
        .find(|offset| text_at(memory, first + offset).is_some_and(|name| name == "swapper/0"))
}

/// The name of a task, without which one it is of several that are alike.
pub fn task_name(memory: &impl Memory, task: u64, offset: u64) -> Option<String> {
    let name = text_at(memory, task + offset)?;
    let (kind, _) = name.split_once('/').unwrap_or((&name, ""));
    Some(kind.to_owned())
}

struct Reader<'a, M> {
    memory: &'a M,
    /// Where the roots of the sections are.
    roots: u64,
    /// Where a cache has the pointer to its name.
    name: u64,
}

fn integers<const N: usize, M: Memory>(memory: &M, address: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    memory.read(address, &mut bytes).then_some(bytes)
}

fn u32_at(memory: &impl Memory, address: u64) -> Option<u32> {
    integers(memory, address).map(u32::from_le_bytes)
}

fn u64_at(memory: &impl Memory, address: u64) -> Option<u64> {
    integers(memory, address).map(u64::from_le_bytes)
}

/// A short text that ends with a zero.
fn text_at(memory: &impl Memory, address: u64) -> Option<String> {
    let mut text = String::new();
    // By bytes, since it may end where its page does.
    for at in address..address.checked_add(64)? {
        match integers::<1, _>(memory, at)? {
            [0] => return (!text.is_empty()).then_some(text),
            [byte] if byte.is_ascii_graphic() => text.push(char::from(byte)),
            _ => return None,
        }
    }
    None
}

impl<'a, M: Memory> Reader<'a, M> {
    fn new(memory: &'a M, symbols: &Symbols) -> Option<Self> {
        let own = u64_at(memory, symbols.find("kmem_cache")?)?;
        let name = (0..cache::NAME_BEFORE).step_by(8).find(|offset| {
            u64_at(memory, own + offset)
                .and_then(|pointer| text_at(memory, pointer))
                .is_some_and(|name| name == "kmem_cache")
        })?;
        let roots = u64_at(memory, symbols.find("mem_section")?)?;
        Some(Self {
            memory,
            roots,
            name,
        })
    }

    /// Where the `struct page` of a page is.
    fn page(&self, frame: u64) -> Option<u64> {
        let section = frame >> section::FRAMES_SHIFT;
        let root = u64_at(self.memory, self.roots + 8 * (section / section::PER_ROOT))?;
        let entry = root + section::SIZE * (section % section::PER_ROOT);
        let map = u64_at(self.memory, entry)?;
        (map & section::HAS_MAP != 0)
            .then(|| (map & !section::FLAGS).wrapping_add(frame * page::SIZE))
    }

    /// The first page of the slab that a page is in, and the slab's cache.
    fn slab(&self, frame: u64) -> Option<(u64, u64)> {
        let page = self.page(frame)?;
        let link = u64_at(self.memory, page + page::HEAD)?;
        let head = if link & 1 != 0 { link - 1 } else { page };
        let kind = u32_at(self.memory, head + page::TYPE)?;
        if kind >> 24 != page::TYPE_SLAB {
            return None;
        }
        let first = frame.checked_sub(page.checked_sub(head)? / page::SIZE)?;
        Some((first, u64_at(self.memory, head + page::HEAD)?))
    }

    fn cache(&self, address: u64) -> Option<Cache> {
        let [size, object] =
            array::from_fn(|i| u32_at(self.memory, address + cache::SIZE + 4 * i as u64));
        let (size, object) = (size?, object?);
        if size == 0 || object > size || size > cache::LARGEST {
            return None;
        }
        let name = text_at(self.memory, u64_at(self.memory, address + self.name)?)?;
        Some(Cache {
            name,
            size: u64::from(size),
        })
    }
}

/// Looks up what the addresses of `transfers` are parts of.
pub fn inspect(
    memory: &impl Memory,
    symbols: &Symbols,
    cpus: u32,
    transfers: &[Transfer],
) -> Guest {
    let mut guest = Guest::default();
    if let Some(offsets) = symbols.find("__per_cpu_offset") {
        guest.per_cpu_offset = (0..u64::from(cpus))
            .map_while(|cpu| u64_at(memory, offsets + 8 * cpu))
            .collect();
    }
    guest.tables = tables(memory, symbols);
    let Some(reader) = Reader::new(memory, symbols) else {
        return guest;
    };
    let frames: BTreeSet<_> = transfers.iter().map(|t| t.physical >> PAGE_SHIFT).collect();
    // Each slab by its first page: its cache, and the last page that is of interest.
    let mut slabs = BTreeMap::new();
    for frame in frames {
        if let Some((first, cache)) = reader.slab(frame) {
            slabs.insert(first, (cache, frame));
        }
    }
    let mut known = HashMap::new();
    for (first, (address, last)) in slabs {
        let place = *known.entry(address).or_insert_with(|| {
            let cache = reader.cache(address)?;
            guest.caches.push(cache);
            Some(guest.caches.len() - 1)
        });
        if let Some(cache) = place {
            guest.slabs.push(Slab {
                physical: first << PAGE_SHIFT,
                length: (last + 1 - first) << PAGE_SHIFT,
                cache,
            });
        }
    }
    guest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Access;

    /// Memory of a kernel that was made up.
    #[derive(Default)]
    struct Made(BTreeMap<u64, u8>);

    impl Made {
        fn put(&mut self, address: u64, bytes: &[u8]) {
            self.0.extend((address..).zip(bytes.iter().copied()));
        }
    }

    impl Memory for Made {
        fn read(&self, address: u64, to: &mut [u8]) -> bool {
            (address..).zip(to).all(|(at, to)| match self.0.get(&at) {
                Some(byte) => {
                    *to = *byte;
                    true
                }
                None => false,
            })
        }
    }

    const MAP: &str = "\
ffffffff82000000 D kmem_cache
ffffffff82000100 D __per_cpu_offset
ffffffff82000200 B mem_section
ffffffff82000300 B tcp_hashinfo
ffffffff82000400 d softirq_vec
ffffffff82001000 D init_task
";
    /// The `struct page` of page 0.
    const MAP0: u64 = 0xffff_ea00_0000_0000;
    const OWN: u64 = 0xffff_8880_0100_0000;
    const TCP: u64 = 0xffff_8880_0100_0200;

    fn cache(made: &mut Made, at: u64, size: u32, name: &str) {
        made.put(at, &[0; 256]);
        made.put(at + 24, &size.to_le_bytes());
        made.put(at + 28, &(size - 8).to_le_bytes());
        let text = at + 0x1_0000;
        made.put(text, name.as_bytes());
        made.put(text + name.len() as u64, &[0]);
        made.put(at + 88, &text.to_le_bytes());
    }

    fn page(made: &mut Made, frame: u64, word: u64, kind: u32) {
        let page = MAP0 + 64 * frame;
        made.put(page, &[0; 64]);
        made.put(page + 8, &word.to_le_bytes());
        made.put(page + 48, &kind.to_le_bytes());
    }

    fn kernel() -> Made {
        let mut made = Made::default();
        made.put(0xffff_ffff_8200_0000, &OWN.to_le_bytes());
        for (at, offset) in [(0x100u64, 0x1000u64), (0x108, 0x2000)] {
            made.put(0xffff_ffff_8200_0000 + at, &offset.to_le_bytes());
        }
        let (roots, root) = (OWN + 0x3000, OWN + 0x4000);
        made.put(0xffff_ffff_8200_0200, &u64::to_le_bytes(roots));
        made.put(roots, &u64::to_le_bytes(root));
        made.put(root, &(MAP0 | 0xf).to_le_bytes());
        // A section that has no pages.
        made.put(root + 16, &[0; 16]);
        cache(&mut made, OWN, 256, "kmem_cache");
        cache(&mut made, TCP, 2432, "TCP");
        page(&mut made, 0x40, TCP, 0xf500_0000);
        page(&mut made, 0x41, (MAP0 + 64 * 0x40) | 1, 0xffff_ffff);
        page(&mut made, 0x42, 0, 0xffff_ffff);
        made
    }

    #[test]
    fn tables_are_told() {
        let mut made = kernel();
        made.put(0xffff_ffff_8200_0300, &[0; 128]);
        made.put(
            0xffff_ffff_8200_0320,
            &0xffff_8880_0200_0000u64.to_le_bytes(),
        );
        made.put(0xffff_ffff_8200_0338, &512u32.to_le_bytes());
        let guest = inspect(&made, &Symbols::parse(MAP), 2, &[]);
        assert_eq!(
            guest.tables,
            [Table {
                name: "bhash".into(),
                address: 0xffff_8880_0200_0000,
                entries: 512,
                size: 16
            }]
        );
    }

    #[test]
    fn softirqs_are_told() {
        let (mut made, symbols) = (kernel(), Symbols::parse(MAP));
        assert!(softirqs(&made, &symbols).is_empty());
        made.put(0xffff_ffff_8200_0400, &[0; 80]);
        made.put(0xffff_ffff_8200_0418, &7u64.to_le_bytes());
        let told = softirqs(&made, &symbols);
        assert_eq!((told.len(), told[0], told[3]), (10, 0, 7));
        assert!(softirqs(&made, &Symbols::default()).is_empty());
    }

    #[test]
    fn tasks_have_names() {
        let (mut made, symbols) = (kernel(), Symbols::parse(MAP));
        assert_eq!(task_name_offset(&made, &symbols), None);
        made.put(0xffff_ffff_8200_1000, &[1; 64]);
        made.put(0xffff_ffff_8200_1010, b"swapper/0\0");
        let offset = task_name_offset(&made, &symbols).unwrap();
        assert_eq!(offset, 0x10);
        made.put(OWN + 0x10, b"rcu_preempt\0");
        let name = |task| task_name(&made, task, offset);
        assert_eq!(name(0xffff_ffff_8200_1000).unwrap(), "swapper");
        assert_eq!(name(OWN).unwrap(), "rcu_preempt");
        assert_eq!(name(0), None);
    }

    fn at(physical: u64) -> Transfer {
        Transfer {
            code: 0,
            caller: 0,
            physical,
            data: 0,
            access: Access::Load,
            count: 1,
        }
    }

    #[test]
    fn pages_of_slabs_are_told() {
        let transfers = [
            at(0x40_010),
            at(0x41_ff8),
            at(0x42_000),
            at(0x99_000),
            at(0x800_0000),
        ];
        let guest = inspect(&kernel(), &Symbols::parse(MAP), 2, &transfers);
        assert_eq!(guest.per_cpu_offset, [0x1000, 0x2000]);
        assert_eq!(
            guest.caches,
            [Cache {
                name: "TCP".into(),
                size: 2432
            }]
        );
        assert_eq!(
            guest.slabs,
            [Slab {
                physical: 0x40_000,
                length: 0x2000,
                cache: 0
            }]
        );
    }

    #[test]
    fn a_kernel_that_is_not_as_expected_tells_nothing() {
        let transfers = [at(0x40_010)];
        let guest = inspect(&Made::default(), &Symbols::parse(MAP), 2, &transfers);
        assert!(guest.per_cpu_offset.is_empty() && guest.slabs.is_empty());
        let mut made = kernel();
        cache(&mut made, OWN, 256, "another");
        let guest = inspect(&made, &Symbols::parse(MAP), 2, &transfers);
        assert!(guest.caches.is_empty() && guest.slabs.is_empty());
    }
}
