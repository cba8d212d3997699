// SPDX-License-Identifier: GPL-2.0

//! What the plugin keeps of the guest while it counts, and what it makes of it at the end.
//!
//! All of it belongs to the one thread that runs the processors.

use crate::{
    executed::Slot,
    guest,
    model::{self, Access, Model},
    plugin::{config, die, KERNEL},
    raw,
    registers::Registers,
    sys::{self, api},
    work::Work,
};
use std::{
    collections::{hash_map::Entry, HashMap},
    ffi::c_int,
    fs, mem, ptr,
    sync::atomic::{AtomicU32, Ordering},
};

/// Threads that ever ran a processor.
static THREADS: AtomicU32 = AtomicU32::new(0);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Site {
    code: u64,
    caller: u64,
    physical: u64,
    access: Access,
}

/// A transfer's first virtual address, and how many there were.
struct Seen {
    data: u64,
    count: u64,
}

/// A processor.
struct Cpu {
    emulated: *mut sys::CpuState,
    counts: raw::Cpu,
    /// The instruction that it executed last, if that repeats itself; otherwise zero.
    repeated: u64,
    /// The last block that was not of a helper, and whether one is being executed.
    caller: u64,
    in_helper: bool,
}

impl Cpu {
    /// Who called the helper that is being executed; zero if none is.
    fn caller_in_helper(&self) -> u64 {
        if self.in_helper {
            self.caller
        } else {
            0
        }
    }
}

/// What a block's callback is given: 16 bits of the number of its instructions, 48 of
/// its address, which are zero if it is a helper's.
#[derive(Clone, Copy)]
pub(crate) struct Block(pub(crate) u64);

impl Block {
    const ADDRESS_BITS: u32 = 48;

    pub(crate) fn new(address: u64, instructions: usize) -> Self {
        let helper = config()
            .symbols
            .as_ref()
            .is_some_and(|s| s.is_helper(address));
        let address = if helper { 0 } else { address };
        let below = u64::MAX >> (u64::BITS - Self::ADDRESS_BITS);
        Self((instructions as u64) << Self::ADDRESS_BITS | address & below)
    }

    fn instructions(self) -> u64 {
        self.0 >> Self::ADDRESS_BITS
    }

    fn is_helper(self) -> bool {
        self.address() == 0
    }

    /// With the sign that a canonical address has.
    fn address(self) -> u64 {
        let unused = u64::BITS - Self::ADDRESS_BITS;
        ((self.0 << unused) as i64 >> unused) as u64
    }
}

/// All that changes while the guest runs.
pub(crate) struct State {
    model: Model,
    pub(crate) work: Work,
    /// Looked up when they are first asked for.
    registers: Option<Registers>,
    counting: bool,
    cpus: Vec<Cpu>,
    /// Which of them runs.
    pub(crate) now: usize,
    /// How many instructions it has executed in its turn.
    turn: u64,
    /// Where the emulator has the processor that runs in this thread.
    current: *const *mut sys::CpuState,
    sites: HashMap<Site, Seen>,
    /// Turns of waiting loops in the kernel, by instruction and caller.
    waits: HashMap<(u64, u64), u64>,
    pub(crate) units: u64,
    regions: Vec<raw::Region>,
}

impl State {
    #[cold]
    pub(crate) fn new() -> Box<Self> {
        if THREADS.fetch_add(1, Ordering::Relaxed) != 0 {
            die("processors run in several threads; give -accel tcg,thread=single");
        }
        let cpus = (0..config().cpus).map(|n| Cpu {
            // SAFETY: no more than a search.
            emulated: unsafe { (api().qemu_get_cpu)(n as c_int) },
            counts: raw::Cpu::default(),
            repeated: 0,
            caller: 0,
            in_helper: false,
        });
        Box::new(Self {
            model: Model::new(),
            work: Work::default(),
            registers: None,
            counting: false,
            cpus: cpus.collect(),
            now: 0,
            turn: 0,
            current: sys::current_cpu(),
            sites: HashMap::new(),
            waits: HashMap::new(),
            units: 0,
            regions: Vec::new(),
        })
    }

    /// A block of translated code begins.
    #[inline]
    pub(crate) fn block(&mut self, block: Block) {
        // SAFETY: a variable of the thread that this state belongs to.
        let running = unsafe { *self.current };
        if running != self.cpus[self.now].emulated {
            self.switch(running);
        }
        let cpu = &mut self.cpus[self.now];
        cpu.in_helper = block.is_helper();
        if !cpu.in_helper {
            cpu.caller = block.address();
        }
        self.turn += block.instructions();
        if self.turn >= config().slice {
            self.turn = 0;
            // SAFETY: the processor that runs in this thread. Takes effect when the
            // block is at its end.
            unsafe { (api().cpu_exit)(running) };
        }
    }

    fn switch(&mut self, running: *mut sys::CpuState) {
        let found = self.cpus.iter().position(|cpu| cpu.emulated == running);
        self.now = found.unwrap_or_else(|| die("a processor that was not there at the start"));
        self.turn = 0;
    }

    /// An instruction of the kernel. All turns of one that repeats itself are one.
    #[inline]
    pub(crate) fn kernel(&mut self, slot: Slot) {
        let cpu = &mut self.cpus[self.now];
        cpu.repeated = 0;
        cpu.counts.kernel += 1;
        self.work.count(self.now, slot);
    }

    /// An instruction of a program.
    #[inline]
    pub(crate) fn user(&mut self) {
        let cpu = &mut self.cpus[self.now];
        cpu.repeated = 0;
        cpu.counts.user += 1;
        self.work.entries.program(self.now);
    }

    /// A turn of a loop in the kernel that waits.
    pub(crate) fn pause(&mut self, slot: Slot) {
        self.kernel(slot);
        let code = self.work.executed.address(slot);
        let cpu = &mut self.cpus[self.now];
        cpu.counts.pauses += 1;
        if self.counting {
            *self
                .waits
                .entry((code, cpu.caller_in_helper()))
                .or_insert(0) += 1;
        }
    }

    pub(crate) fn kernel_repeat(&mut self, slot: Slot) {
        let code = self.work.executed.address(slot);
        let cpu = &mut self.cpus[self.now];
        if cpu.repeated == code {
            cpu.counts.kernel_repeats += 1;
        } else {
            self.kernel(slot);
            self.cpus[self.now].repeated = code;
        }
    }

    pub(crate) fn user_repeat(&mut self, code: u64) {
        let cpu = &mut self.cpus[self.now];
        if cpu.repeated == code {
            cpu.counts.user_repeats += 1;
        } else {
            self.user();
            self.cpus[self.now].repeated = code;
        }
    }

    fn registers(&mut self) -> &Registers {
        self.registers.get_or_insert_with(|| {
            Registers::find().unwrap_or_else(|| die("this QEMU shows no rax, rdi and rsi"))
        })
    }

    /// A program makes the system call whose number is in a register.
    pub(crate) fn call(&mut self) {
        let number = self.registers().rax.read() as u32;
        self.work.entries.call(self.now, number);
    }

    /// The kernel goes from one task to another; registers have them.
    pub(crate) fn switch_task(&mut self) {
        let registers = self.registers();
        let (from, to) = (registers.rdi.read(), registers.rsi.read());
        self.work.switch(self.now, from, to, &guest::Current);
    }

    #[inline]
    pub(crate) fn access(&mut self, code: u64, data: u64, physical: u64, access: Access) {
        let line = physical >> model::LINE_SHIFT;
        if self.model.access(self.now as u32, line, access) && self.counting {
            self.transfer(code, data, physical, access);
        }
    }

    #[inline(never)]
    fn transfer(&mut self, code: u64, data: u64, physical: u64, access: Access) {
        let cpu = &mut self.cpus[self.now];
        let caller = cpu.caller_in_helper();
        let of = &mut cpu.counts;
        *match (code >= KERNEL, access) {
            (true, Access::Load) => &mut of.kernel_loads,
            (true, _) => &mut of.kernel_stores,
            (false, Access::Load) => &mut of.user_loads,
            (false, _) => &mut of.user_stores,
        } += 1;
        let site = Site {
            code,
            caller,
            physical,
            access,
        };
        match self.sites.entry(site) {
            Entry::Occupied(mut seen) => seen.get_mut().count += 1,
            Entry::Vacant(free) => {
                free.insert(Seen { data, count: 1 });
            }
        }
    }

    /// All caches empty, and nothing counted.
    pub(crate) fn warm(&mut self) {
        self.model = Model::new();
        self.work
            .follow(config().cpus, &guest::Current, config().symbols.as_ref());
        self.counting = false;
    }

    pub(crate) fn begin(&mut self) {
        self.counting = true;
        self.units = 0;
        self.sites.clear();
        self.waits.clear();
        self.work.clear();
        for cpu in &mut self.cpus {
            cpu.counts = raw::Cpu::default();
        }
    }

    /// The region that ends here, unless none began.
    pub(crate) fn end(&mut self) -> Option<raw::Region> {
        if !mem::replace(&mut self.counting, false) {
            return None;
        }
        let cpus: Vec<_> = self.cpus.iter().map(|cpu| cpu.counts).collect();
        let mut total = raw::Cpu::default();
        for cpu in &cpus {
            total += *cpu;
        }
        let mut transfers: Vec<_> = self
            .sites
            .drain()
            .map(|(site, seen)| raw::Transfer {
                code: site.code,
                caller: site.caller,
                physical: site.physical,
                data: seen.data,
                access: site.access,
                count: seen.count,
            })
            .collect();
        transfers.sort_unstable();
        let mut waits: Vec<_> = self
            .waits
            .drain()
            .map(|((code, caller), count)| raw::Wait {
                code,
                caller,
                count,
            })
            .collect();
        waits.sort_unstable();
        let guest = match &config().symbols {
            Some(symbols) => guest::inspect(&guest::Current, symbols, config().cpus, &transfers),
            None => raw::Guest::default(),
        };
        Some(raw::Region {
            units: self.units,
            total,
            cpus,
            transfers,
            waits,
            work: self.work.take(config().symbols.as_ref()),
            unpaired: self.work.entries.unpaired(),
            guest,
        })
    }

    pub(crate) fn write(&mut self, region: raw::Region) {
        self.regions.push(region);
        let run = raw::Run {
            format: raw::FORMAT,
            slice: config().slice,
            line: model::LINE,
            regions: mem::take(&mut self.regions),
        };
        let text = serde_json::to_vec(&run).expect("numbers and text");
        if let Err(error) = fs::write(&config().out, text) {
            die(&format!("{}: {error}", config().out.display()));
        }
        self.regions = run.regions;
    }
}

/// Reads memory of the guest as the processor that runs sees it.
impl guest::Memory for guest::Current {
    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        let api = api();
        // SAFETY: called from a callback of a processor, by `State::end`; the array is
        // freed before its data is used by anyone else.
        unsafe {
            let array = (api.g_byte_array_new)();
            let read = (api.qemu_plugin_read_memory_vaddr)(address, array, to.len())
                && (*array).len as usize == to.len();
            if read {
                ptr::copy_nonoverlapping((*array).data, to.as_mut_ptr(), to.len());
            }
            (api.g_byte_array_free)(array, 1);
            read
        }
    }
}
