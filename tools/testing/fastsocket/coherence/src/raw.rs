// SPDX-License-Identifier: GPL-2.0

//! What the plugin writes: counts by address, with no name resolved.

use crate::model::Access;
use serde::{Deserialize, Serialize};
use std::ops::AddAssign;

/// What [`Run::format`] is, as long as the fields mean what they mean now.
pub const FORMAT: u32 = 2;

/// One run of the emulator.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    /// [`FORMAT`].
    pub format: u32,
    /// The least number of instructions after which another processor runs.
    pub slice: u64,
    /// The size of a cache line in bytes.
    pub line: u64,
    /// What was counted from each begin mark to its end mark.
    pub regions: Vec<Region>,
}

/// What was counted between two marks.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Region {
    /// How many unit marks there were: connections.
    pub units: u64,
    /// The sums over all processors.
    pub total: Cpu,
    /// By processor.
    pub cpus: Vec<Cpu>,
    /// Every pair of instruction and datum that had a transfer, by address.
    pub transfers: Vec<Transfer>,
    /// Where the kernel waited for another processor, by address.
    pub waits: Vec<Wait>,
    /// Instructions in the kernel, by what it ran for. Without symbols all are of one.
    pub work: Vec<Work>,
    /// [`crate::entries::Entries::unpaired`].
    pub unpaired: u64,
    /// What the kernel's own tables said of the addresses at the end mark.
    pub guest: Guest,
}

/// What one processor did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Instructions in the kernel. One that repeats itself is one.
    pub kernel: u64,
    /// Instructions in programs.
    pub user: u64,
    /// How often instructions in the kernel repeated themselves.
    pub kernel_repeats: u64,
    /// And those in programs.
    pub user_repeats: u64,
    /// `pause` in the kernel: turns of loops that wait for another processor. The
    /// emulator goes to the next processor at each, so that this is a lower bound.
    pub pauses: u64,
    /// Transfers by loads in the kernel.
    pub kernel_loads: u64,
    /// Transfers by stores and atomics in the kernel.
    pub kernel_stores: u64,
    /// Transfers by loads in programs.
    pub user_loads: u64,
    /// Transfers by stores and atomics in programs.
    pub user_stores: u64,
}

impl Cpu {
    /// Of whatever kind.
    pub fn transfers(&self) -> u64 {
        self.kernel_loads + self.kernel_stores + self.user_loads + self.user_stores
    }
}

impl AddAssign for Cpu {
    fn add_assign(&mut self, other: Self) {
        self.kernel += other.kernel;
        self.user += other.user;
        self.kernel_repeats += other.kernel_repeats;
        self.user_repeats += other.user_repeats;
        self.pauses += other.pauses;
        self.kernel_loads += other.kernel_loads;
        self.kernel_stores += other.kernel_stores;
        self.user_loads += other.user_loads;
        self.user_stores += other.user_stores;
    }
}

/// The transfers of one instruction and one datum.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Transfer {
    /// The address of the instruction.
    #[serde(with = "hex")]
    pub code: u64,
    /// In a helper, such as one that takes a lock, what was executed before it;
    /// otherwise zero.
    #[serde(with = "hex")]
    pub caller: u64,
    /// The physical address of what it accessed in the line.
    #[serde(with = "hex")]
    pub physical: u64,
    /// The virtual address of that, when it first had a transfer.
    #[serde(with = "hex")]
    pub data: u64,
    /// What it did.
    pub access: Access,
    /// How often.
    pub count: u64,
}

/// The turns of one loop that waits for another processor: [`Cpu::pauses`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wait {
    /// The address of its `pause`.
    #[serde(with = "hex")]
    pub code: u64,
    /// As [`Transfer::caller`].
    #[serde(with = "hex")]
    pub caller: u64,
    /// How many there were.
    pub count: u64,
}

/// What was executed in the kernel on one path.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Work {
    /// The names of the entries, outermost first: a system call, an interrupt, a
    /// softirq, a thread. None if that is not known.
    pub path: Vec<String>,
    /// How often the last of them was entered from what is before it.
    pub entered: u64,
    /// The instructions, by address.
    pub executed: Vec<Executed>,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Executed {
    /// Its address.
    #[serde(with = "hex")]
    pub code: u64,
    /// How often it was executed.
    pub count: u64,
}

/// What is needed to say of which object an address is a part.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Guest {
    /// Where each processor's copy of per-CPU data is, relative to the symbols.
    #[serde(with = "hex_list")]
    pub per_cpu_offset: Vec<u64>,
    /// The slab caches that own a page of [`Self::slabs`].
    pub caches: Vec<Cache>,
    /// The slabs in which there were transfers, by address.
    pub slabs: Vec<Slab>,
    /// Tables that have pages of their own.
    pub tables: Vec<Table>,
}

/// Entries of one size, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// As the kernel's source calls it.
    pub name: String,
    /// Its virtual address.
    #[serde(with = "hex")]
    pub address: u64,
    /// How many entries it has.
    pub entries: u64,
    /// The size of an entry in bytes.
    pub size: u64,
}

/// A slab cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// As in `/proc/slabinfo`.
    pub name: String,
    /// From one object to the next, in bytes.
    pub size: u64,
}

/// A block of pages that is cut into objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slab {
    /// Its physical address, where the first object is.
    #[serde(with = "hex")]
    pub physical: u64,
    /// How many bytes of it the transfers lie in, at least: the end of the last page
    /// that had one.
    pub length: u64,
    /// Whose it is: a place in [`Guest::caches`].
    pub cache: usize,
}

/// Addresses are text, since most readers of JSON know no integer of 64 bits.
mod hex {
    use serde::{de::Error, Deserialize, Deserializer, Serializer};

    pub(super) fn text(value: u64) -> String {
        format!("{value:#x}")
    }

    pub(super) fn value(text: &str) -> Option<u64> {
        u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
    }

    pub(super) fn serialize<S: Serializer>(v: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&text(*v))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = String::deserialize(from)?;
        value(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no address")))
    }
}

mod hex_list {
    use super::hex;
    use serde::{de::Error, Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(v: &[u64], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(v.iter().map(|v| hex::text(*v)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
        Vec::<String>::deserialize(from)?
            .iter()
            .map(|text| hex::value(text).ok_or_else(|| D::Error::custom("no address")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive() {
        let one = Transfer {
            code: 0xffff_ffff_8100_0001,
            caller: 0,
            physical: 0x1040,
            data: u64::MAX,
            access: Access::Atomic,
            count: 3,
        };
        let text = serde_json::to_string(&one).unwrap();
        assert!(text.contains("\"code\":\"0xffffffff81000001\""), "{text}");
        assert!(text.contains("\"access\":\"atomic\""), "{text}");
        assert_eq!(serde_json::from_str::<Transfer>(&text).unwrap(), one);
        assert!(serde_json::from_str::<Transfer>(&text.replace("0x", "")).is_err());
    }
}
