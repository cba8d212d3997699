// SPDX-License-Identifier: GPL-2.0

//! The plugin: feeds the model with what the guest does, and ends time slices.
//!
//! Until the guest says [`Mark::Warm`] nothing is done but to look for marks where
//! code is translated, so that it boots at its usual speed. Then all translated
//! code is thrown away, and what takes its place counts its instructions and shows
//! its memory accesses. After [`Mark::End`] it is thrown away again.
//!
//! The emulator must run all processors in one thread. That thread owns [`State`].

use crate::{
    guest,
    insn::Insn,
    model::{self, Access, Model},
    raw,
    symbols::Symbols,
    sys::{self, api},
};
use coherence_mark::Mark;
use std::{
    cell::RefCell,
    collections::{hash_map::Entry, HashMap},
    ffi::{c_char, c_int, c_uint, c_void, CStr},
    fs, iter,
    mem::{self, offset_of},
    path::PathBuf,
    ptr,
    sync::{
        atomic::{AtomicBool, AtomicU32, Ordering},
        OnceLock,
    },
};

/// Addresses from here on are the kernel's.
pub(crate) const KERNEL: u64 = 1 << 63;
const PAGE: u64 = 4096;
const LONGEST_INSN: usize = 15;

/// What does not change once the plugin is installed.
struct Config {
    id: sys::PluginId,
    cpus: u32,
    slice: u64,
    out: PathBuf,
    symbols: Option<Symbols>,
    score: Score,
}

static CONFIG: OnceLock<Config> = OnceLock::new();
/// Whether code is to be translated with its counts and accesses.
static ARMED: AtomicBool = AtomicBool::new(false);
/// Threads that ever ran a processor.
static THREADS: AtomicU32 = AtomicU32::new(0);
/// Regions that were written.
static WRITTEN: AtomicU32 = AtomicU32::new(0);

fn config() -> &'static Config {
    CONFIG.get().expect("set when the plugin was installed")
}

/// What translated code counts itself, for each processor.
#[repr(C)]
struct Inline {
    kernel: u64,
    user: u64,
    pauses: u64,
    /// Since the processor's slice began.
    slice: u64,
}

struct Score(*mut sys::Scoreboard);

// SAFETY: the emulator's, which never goes away; what it has for a processor is only
// written by the thread that runs it.
unsafe impl Send for Score {}
// SAFETY: as above.
unsafe impl Sync for Score {}

impl Score {
    fn entry(&self, offset: usize) -> sys::Entry {
        sys::Entry {
            score: self.0,
            offset,
        }
    }

    fn get(&self, offset: usize, cpu: u32) -> u64 {
        // SAFETY: a member of the scoreboard's elements.
        unsafe { (api().qemu_plugin_u64_get)(self.entry(offset), cpu) }
    }

    fn set(&self, offset: usize, cpu: u32, value: u64) {
        // SAFETY: a member of the scoreboard's elements.
        unsafe { (api().qemu_plugin_u64_set)(self.entry(offset), cpu, value) }
    }
}

/// An instruction that repeats itself.
#[derive(Clone, Copy, Default)]
struct Repeat {
    code: u64,
    /// The processor's count of instructions when it last did so.
    at: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Site {
    code: u64,
    physical: u64,
    access: Access,
}

/// A transfer's first virtual address, and how many there were.
struct Seen {
    data: u64,
    count: u64,
}

/// What changes.
struct State {
    model: Model,
    counting: bool,
    cpus: Vec<raw::Cpu>,
    repeats: Vec<Repeat>,
    sites: HashMap<Site, Seen>,
    units: u64,
    regions: Vec<raw::Region>,
}

thread_local! {
    static STATE: RefCell<Option<Box<State>>> = const { RefCell::new(None) };
}

#[inline]
fn with_state<R>(what: impl FnOnce(&mut State) -> R) -> R {
    STATE.with_borrow_mut(|state| what(state.get_or_insert_with(State::new)))
}

impl State {
    #[cold]
    fn new() -> Box<Self> {
        if THREADS.fetch_add(1, Ordering::Relaxed) != 0 {
            die("processors run in several threads; give -accel tcg,thread=single");
        }
        let cpus = config().cpus as usize;
        Box::new(Self {
            model: Model::new(),
            counting: false,
            cpus: vec![raw::Cpu::default(); cpus],
            repeats: vec![Repeat::default(); cpus],
            sites: HashMap::new(),
            units: 0,
            regions: Vec::new(),
        })
    }

    #[inline]
    fn access(&mut self, cpu: u32, code: u64, data: u64, physical: u64, access: Access) {
        let line = physical >> model::LINE_SHIFT;
        if self.model.access(cpu, line, access) && self.counting {
            self.transfer(cpu, code, data, physical, access);
        }
    }

    #[inline(never)]
    fn transfer(&mut self, cpu: u32, code: u64, data: u64, physical: u64, access: Access) {
        let of = &mut self.cpus[cpu as usize];
        *match (code >= KERNEL, access) {
            (true, Access::Load) => &mut of.kernel_loads,
            (true, _) => &mut of.kernel_stores,
            (false, Access::Load) => &mut of.user_loads,
            (false, _) => &mut of.user_stores,
        } += 1;
        let site = Site {
            code,
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
    fn warm(&mut self) {
        self.model = Model::new();
        self.counting = false;
    }

    fn begin(&mut self) {
        self.counting = true;
        self.units = 0;
        self.sites.clear();
        for (n, cpu) in iter::zip(0.., &mut self.cpus) {
            *cpu = raw::Cpu::default();
            // What was counted so far is taken off at the end.
            (cpu.kernel, cpu.user, cpu.pauses) = inline_counts(n);
        }
    }

    /// The region that ends here, unless none began.
    fn end(&mut self) -> Option<raw::Region> {
        if !mem::replace(&mut self.counting, false) {
            return None;
        }
        let mut total = raw::Cpu::default();
        for (n, cpu) in iter::zip(0.., &mut self.cpus) {
            let (kernel, user, pauses) = inline_counts(n);
            cpu.kernel = kernel - cpu.kernel - cpu.kernel_repeats;
            cpu.user = user - cpu.user - cpu.user_repeats;
            cpu.pauses = pauses - cpu.pauses;
            total += *cpu;
        }
        let mut transfers: Vec<_> = self
            .sites
            .drain()
            .map(|(site, seen)| raw::Transfer {
                code: site.code,
                physical: site.physical,
                data: seen.data,
                access: site.access,
                count: seen.count,
            })
            .collect();
        transfers.sort_unstable();
        let guest = match &config().symbols {
            Some(symbols) => guest::inspect(&guest::Current, symbols, config().cpus, &transfers),
            None => raw::Guest::default(),
        };
        Some(raw::Region {
            units: self.units,
            total,
            cpus: self.cpus.clone(),
            transfers,
            guest,
        })
    }

    fn write(&mut self, region: raw::Region) {
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
        WRITTEN.fetch_add(1, Ordering::Relaxed);
        self.regions = run.regions;
    }
}

fn inline_counts(cpu: u32) -> (u64, u64, u64) {
    let score = &config().score;
    (
        score.get(offset_of!(Inline, kernel), cpu),
        score.get(offset_of!(Inline, user), cpu),
        score.get(offset_of!(Inline, pauses), cpu),
    )
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

extern "C" fn on_translate(_: sys::PluginId, tb: *mut sys::Tb) {
    let (api, armed) = (api(), ARMED.load(Ordering::Relaxed));
    let score = &config().score;
    // SAFETY: `tb` and its instructions are valid in this callback.
    unsafe {
        let n = (api.qemu_plugin_tb_n_insns)(tb);
        if armed {
            // In this order: the block at whose end the slice is over ends it.
            let slice = score.entry(offset_of!(Inline, slice));
            (api.qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu)(
                tb,
                sys::INLINE_ADD,
                slice,
                n as u64,
            );
            (api.qemu_plugin_register_vcpu_tb_exec_cond_cb)(
                tb,
                on_slice_over,
                sys::NO_REGS,
                sys::COND_GE,
                slice,
                config().slice,
                ptr::null_mut(),
            );
        }
        for i in 0..n {
            let insn = (api.qemu_plugin_tb_get_insn)(tb, i);
            let mut bytes = [0u8; LONGEST_INSN];
            let len = (api.qemu_plugin_insn_data)(insn, bytes.as_mut_ptr().cast(), bytes.len());
            let bytes = &bytes[..len.min(LONGEST_INSN)];
            if armed {
                instrument(insn, bytes);
            }
            if let Some(mark) = Mark::decode(bytes) {
                let data = ptr::without_provenance_mut(mark as usize);
                (api.qemu_plugin_register_vcpu_insn_exec_cb)(insn, on_mark, sys::NO_REGS, data);
            }
        }
    }
}

/// Has `insn` counted, and its accesses shown.
///
/// # Safety
///
/// `insn` is an instruction of the block that is being translated.
unsafe fn instrument(insn: *mut sys::Insn, bytes: &[u8]) {
    let (api, score) = (api(), &config().score);
    let is = Insn::decode(bytes);
    // SAFETY: by the caller.
    let code = unsafe { (api.qemu_plugin_insn_vaddr)(insn) };
    let data = ptr::without_provenance_mut(code as usize);
    let add = |offset| {
        // SAFETY: by the caller; and a member of the scoreboard's elements.
        unsafe {
            (api.qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu)(
                insn,
                sys::INLINE_ADD,
                score.entry(offset),
                1,
            );
        }
    };
    add(if code >= KERNEL {
        offset_of!(Inline, kernel)
    } else {
        offset_of!(Inline, user)
    });
    if is.pause && code >= KERNEL {
        add(offset_of!(Inline, pauses));
    }
    let on_mem = if is.atomic { on_atomic } else { on_access };
    // SAFETY: by the caller.
    unsafe {
        if is.repeats {
            (api.qemu_plugin_register_vcpu_insn_exec_cb)(insn, on_repeat, sys::NO_REGS, data);
        }
        (api.qemu_plugin_register_vcpu_mem_cb)(insn, on_mem, sys::NO_REGS, sys::MEM_RW, data);
    }
}

extern "C" fn on_access(cpu: c_uint, info: sys::MemInfo, address: u64, code: *mut c_void) {
    // SAFETY: of the access that this callback is for.
    let store = unsafe { (api().qemu_plugin_mem_is_store)(info) };
    access(
        cpu,
        info,
        address,
        code,
        if store { Access::Store } else { Access::Load },
    );
}

/// The load takes the line at once; the store that follows finds it its own.
extern "C" fn on_atomic(cpu: c_uint, info: sys::MemInfo, address: u64, code: *mut c_void) {
    access(cpu, info, address, code, Access::Atomic);
}

#[inline]
fn access(cpu: c_uint, info: sys::MemInfo, address: u64, code: *mut c_void, access: Access) {
    // SAFETY: of the access that this callback is for.
    let size = 1 << unsafe { (api().qemu_plugin_mem_size_shift)(info) };
    let code = code.addr() as u64;
    let Some(physical) = physical(info, address) else {
        return;
    };
    let (_, second) = model::split(address, size);
    with_state(|state| state.access(cpu, code, address, physical, access));
    let Some(second) = second else { return };
    let physical = if second % PAGE != 0 {
        Some(physical + (second - address))
    } else {
        self::physical(info, second)
    };
    if let Some(physical) = physical {
        with_state(|state| state.access(cpu, code, second, physical, access));
    }
}

/// Where the address is in memory; nowhere if it is a device's.
#[inline]
fn physical(info: sys::MemInfo, address: u64) -> Option<u64> {
    let api = api();
    // SAFETY: of the access that this callback is for, whose pages have just been
    // looked up; the result is valid until the next call.
    unsafe {
        let hw = (api.qemu_plugin_get_hwaddr)(info, address);
        if hw.is_null() || (api.qemu_plugin_hwaddr_is_io)(hw) {
            return None;
        }
        Some((api.qemu_plugin_hwaddr_phys_addr)(hw))
    }
}

/// Under `-icount` each turn of a repeated instruction is an instruction of its own.
extern "C" fn on_repeat(cpu: c_uint, code: *mut c_void) {
    let code = code.addr() as u64;
    let (kernel, user, _) = inline_counts(cpu);
    with_state(|state| {
        let now = Repeat {
            code,
            at: kernel + user,
        };
        let last = mem::replace(&mut state.repeats[cpu as usize], now);
        if state.counting && last.code == code && last.at + 1 == now.at {
            let of = &mut state.cpus[cpu as usize];
            *if code >= KERNEL {
                &mut of.kernel_repeats
            } else {
                &mut of.user_repeats
            } += 1;
        }
    });
}

/// Lets the next processor run, when the block that begins here is at its end.
extern "C" fn on_slice_over(cpu: c_uint, _: *mut c_void) {
    config().score.set(offset_of!(Inline, slice), cpu, 0);
    // SAFETY: a processor that exists, since it runs, and in the thread that runs it.
    unsafe { (api().cpu_exit)((api().qemu_get_cpu)(cpu as c_int)) };
}

extern "C" fn on_mark(_: c_uint, mark: *mut c_void) {
    let said = mark.addr();
    with_state(|state| {
        if said == Mark::Warm as usize {
            state.warm();
            arm(true);
        } else if said == Mark::Begin as usize {
            state.begin();
        } else if said == Mark::Unit as usize {
            state.units += 1;
        } else if let Some(region) = state.end() {
            state.write(region);
            arm(false);
        }
    });
}

/// Has all code translated anew, with or without counts.
fn arm(armed: bool) {
    if ARMED.swap(armed, Ordering::Relaxed) != armed {
        // SAFETY: in a callback of a processor. Takes effect a little later.
        unsafe { (api().qemu_plugin_reset)(config().id, on_reset) };
    }
}

extern "C" fn on_reset(id: sys::PluginId) {
    // SAFETY: the plugin's own id.
    unsafe {
        (api().qemu_plugin_register_vcpu_tb_trans_cb)(id, on_translate);
        (api().qemu_plugin_register_atexit_cb)(id, on_exit, ptr::null_mut());
    }
}

extern "C" fn on_exit(_: sys::PluginId, _: *mut c_void) {
    if WRITTEN.load(Ordering::Relaxed) == 0 {
        eprintln!("coherence: the guest made no end mark: nothing was counted");
    }
}

fn die(why: &str) -> ! {
    eprintln!("coherence: {why}");
    std::process::exit(1)
}

const USAGE: &str = "arguments: out=FILE [,slice=INSTRUCTIONS] [,map=System.map]";

fn configure(id: sys::PluginId, info: &sys::Info, args: &[String]) -> Result<Config, String> {
    let (mut out, mut slice, mut symbols) = (None, 200, None);
    for arg in args {
        match arg.split_once('=') {
            Some(("out", path)) => out = Some(PathBuf::from(path)),
            Some(("slice", n)) => {
                slice = n.parse().ok().filter(|n| *n > 0).ok_or(USAGE)?;
            }
            Some(("map", path)) => {
                let text = fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
                symbols = Some(Symbols::parse(&text));
            }
            _ => return Err(USAGE.into()),
        }
    }
    // SAFETY: the emulator's text.
    let target = unsafe { CStr::from_ptr(info.target_name) };
    if !info.system_emulation || target != c"x86_64" {
        return Err("made for qemu-system-x86_64".into());
    }
    let cpus = info.max_vcpus as u32;
    if cpus > model::MAX_CPUS {
        return Err(format!("more than {} processors", model::MAX_CPUS));
    }
    sys::load()?;
    // SAFETY: called once, when the plugin is installed.
    let score = Score(unsafe { (api().qemu_plugin_scoreboard_new)(mem::size_of::<Inline>()) });
    Ok(Config {
        id,
        cpus,
        slice,
        out: out.ok_or(USAGE)?,
        symbols,
        score,
    })
}

/// Called by QEMU when it loads the plugin.
///
/// # Safety
///
/// As QEMU calls it: `info` is valid, and `argv` has `argc` strings.
#[no_mangle]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    info: *const sys::Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let args: Vec<_> = (0..argc as usize)
        // SAFETY: by the caller.
        .map(|i| {
            unsafe { CStr::from_ptr(*argv.add(i)) }
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    // SAFETY: by the caller.
    match configure(id, unsafe { &*info }, &args) {
        Ok(config) => {
            let _ = CONFIG.set(config);
            on_reset(id);
            0
        }
        Err(why) => {
            eprintln!("coherence: {why}");
            1
        }
    }
}
