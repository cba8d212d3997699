// SPDX-License-Identifier: GPL-2.0

//! The plugin: feeds the model with what the guest does, and ends time slices.
//!
//! Until the guest says [`Mark::Warm`] nothing is done but to look for marks where
//! code is translated, so that it boots at its usual speed. Then all translated
//! code is thrown away, and what takes its place counts its instructions and shows
//! its memory accesses. After [`Mark::End`] it is thrown away again.
//!
//! The emulator must run all processors in one thread. That thread owns [`State`].
//!
//! Which processor runs is read from the emulator itself, and nothing is counted by
//! its inline operations: where processors share a thread, QEMU 10.0 translates
//! `cpu_index` to the number of the processor for which the code happened to be
//! translated, and the code is every processor's.

use crate::{
    guest,
    hooks::Hook,
    insn::Insn,
    model::{self, Access},
    state::{Block, State},
    symbols::Symbols,
    sys::{self, api},
};
use coherence_mark::Mark;
use std::{
    cell::RefCell,
    ffi::{c_char, c_int, c_uint, c_void, CStr},
    fs,
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
pub(crate) struct Config {
    id: sys::PluginId,
    pub(crate) cpus: u32,
    pub(crate) slice: u64,
    pub(crate) out: PathBuf,
    pub(crate) symbols: Option<Symbols>,
}

static CONFIG: OnceLock<Config> = OnceLock::new();
/// Whether code is to be translated with its counts and accesses.
static ARMED: AtomicBool = AtomicBool::new(false);
/// Regions that were written.
static WRITTEN: AtomicU32 = AtomicU32::new(0);

pub(crate) fn config() -> &'static Config {
    CONFIG.get().expect("set when the plugin was installed")
}

thread_local! {
    static STATE: RefCell<Option<Box<State>>> = const { RefCell::new(None) };
}

#[inline]
fn with_state<R>(what: impl FnOnce(&mut State) -> R) -> R {
    STATE.with_borrow_mut(|state| what(state.get_or_insert_with(State::new)))
}

extern "C" fn on_translate(_: sys::PluginId, tb: *mut sys::Tb) {
    let (api, armed) = (api(), ARMED.load(Ordering::Relaxed));
    // SAFETY: `tb` and its instructions are valid in this callback.
    unsafe {
        let n = (api.qemu_plugin_tb_n_insns)(tb);
        if armed {
            let data = ptr::without_provenance_mut(
                Block::new((api.qemu_plugin_tb_vaddr)(tb), n).0 as usize,
            );
            (api.qemu_plugin_register_vcpu_tb_exec_cb)(tb, on_block, sys::NO_REGS, data);
        }
        for i in 0..n {
            let insn = (api.qemu_plugin_tb_get_insn)(tb, i);
            let mut bytes = [0u8; LONGEST_INSN];
            let len = (api.qemu_plugin_insn_data)(insn, bytes.as_mut_ptr().cast(), bytes.len());
            let bytes = &bytes[..len.min(LONGEST_INSN)];
            if armed {
                instrument(insn, bytes, i == 0);
            }
            if let Some(mark) = Mark::decode(bytes) {
                let data = ptr::without_provenance_mut(mark as usize);
                (api.qemu_plugin_register_vcpu_insn_exec_cb)(insn, on_mark, sys::NO_REGS, data);
            }
        }
    }
}

/// Has `insn` counted, and its accesses shown. `first` says whether its block begins with it.
///
/// # Safety
///
/// `insn` is an instruction of the block that is being translated.
unsafe fn instrument(insn: *mut sys::Insn, bytes: &[u8], first: bool) {
    let (api, is) = (api(), Insn::decode(bytes));
    // SAFETY: by the caller.
    let code = unsafe { (api.qemu_plugin_insn_vaddr)(insn) };
    let on_exec = |callback, registers, data| {
        let data = ptr::without_provenance_mut(data);
        // SAFETY: by the caller.
        unsafe { (api.qemu_plugin_register_vcpu_insn_exec_cb)(insn, callback, registers, data) };
    };
    if code >= KERNEL {
        let (slot, hook) = with_state(|state| {
            let work = &mut state.work;
            (work.executed.slot(code), work.hooks.find(code, is, first))
        });
        let count = match is {
            _ if is.repeats => on_kernel_repeat,
            _ if is.pause => on_kernel_pause,
            _ => on_kernel,
        };
        // An instruction is of what begins with it, and of what ends with it.
        let ends = hook == Some(Hook::Leave);
        if ends {
            on_exec(count, sys::NO_REGS, slot);
        }
        if let Some(hook) = hook {
            let (callback, registers, data) = on_hook(hook, code);
            on_exec(callback, registers, data);
        }
        if !ends {
            on_exec(count, sys::NO_REGS, slot);
        }
    } else if is.repeats {
        on_exec(on_user_repeat, sys::NO_REGS, code as usize);
    } else {
        on_exec(on_user, sys::NO_REGS, 0);
    }
    let on_mem = if is.atomic { on_atomic } else { on_access };
    let data = ptr::without_provenance_mut(code as usize);
    // SAFETY: by the caller.
    unsafe {
        (api.qemu_plugin_register_vcpu_mem_cb)(insn, on_mem, sys::NO_REGS, sys::MEM_RW, data);
    }
}

/// What is called for a hook at the address `code`, whether it reads registers, and what
/// it is given.
fn on_hook(hook: Hook, code: u64) -> (sys::VcpuCb, c_int, usize) {
    let code = code as usize;
    match hook {
        Hook::Call => (on_call, sys::READ_REGS, 0),
        Hook::CallFunction => (on_call_function, sys::NO_REGS, code),
        Hook::Interrupt => (on_interrupt, sys::NO_REGS, code),
        Hook::Leave => (on_leave, sys::NO_REGS, 0),
        Hook::Softirq(number) => (on_softirq, sys::NO_REGS, number as usize),
        Hook::BetweenSoftirqs => (on_between_softirqs, sys::NO_REGS, 0),
        Hook::Switch => (on_switch, sys::READ_REGS, 0),
        Hook::BeginTask => (on_begin_task, sys::NO_REGS, 0),
    }
}

extern "C" fn on_call(_: c_uint, _: *mut c_void) {
    with_state(State::call);
}

extern "C" fn on_call_function(_: c_uint, code: *mut c_void) {
    with_state(|state| state.work.call_function(state.now, code.addr() as u64));
}

extern "C" fn on_interrupt(_: c_uint, code: *mut c_void) {
    with_state(|state| state.work.entries.interrupt(state.now, code.addr() as u64));
}

extern "C" fn on_leave(_: c_uint, _: *mut c_void) {
    with_state(|state| state.work.entries.leave(state.now));
}

extern "C" fn on_softirq(_: c_uint, number: *mut c_void) {
    with_state(|state| state.work.entries.softirq(state.now, number.addr() as u32));
}

extern "C" fn on_between_softirqs(_: c_uint, _: *mut c_void) {
    with_state(|state| state.work.entries.between_softirqs(state.now));
}

extern "C" fn on_switch(_: c_uint, _: *mut c_void) {
    with_state(State::switch_task);
}

extern "C" fn on_begin_task(_: c_uint, _: *mut c_void) {
    with_state(|state| state.work.begin_task(state.now, &guest::Current));
}

extern "C" fn on_block(_: c_uint, block: *mut c_void) {
    with_state(|state| state.block(Block(block.addr() as u64)));
}

extern "C" fn on_kernel(_: c_uint, slot: *mut c_void) {
    with_state(|state| state.kernel(slot.addr()));
}

extern "C" fn on_user(_: c_uint, _: *mut c_void) {
    with_state(State::user);
}

extern "C" fn on_kernel_pause(_: c_uint, slot: *mut c_void) {
    with_state(|state| state.pause(slot.addr()));
}

/// Under `-icount` each turn of a repeated instruction is an instruction of its own.
extern "C" fn on_kernel_repeat(_: c_uint, slot: *mut c_void) {
    with_state(|state| state.kernel_repeat(slot.addr()));
}

extern "C" fn on_user_repeat(_: c_uint, code: *mut c_void) {
    with_state(|state| state.user_repeat(code.addr() as u64));
}

extern "C" fn on_access(_: c_uint, info: sys::MemInfo, address: u64, code: *mut c_void) {
    // SAFETY: of the access that this callback is for.
    let store = unsafe { (api().qemu_plugin_mem_is_store)(info) };
    access(
        info,
        address,
        code,
        if store { Access::Store } else { Access::Load },
    );
}

/// The load takes the line at once; the store that follows finds it its own.
extern "C" fn on_atomic(_: c_uint, info: sys::MemInfo, address: u64, code: *mut c_void) {
    access(info, address, code, Access::Atomic);
}

#[inline]
fn access(info: sys::MemInfo, address: u64, code: *mut c_void, access: Access) {
    // SAFETY: of the access that this callback is for.
    let size = 1 << unsafe { (api().qemu_plugin_mem_size_shift)(info) };
    let code = code.addr() as u64;
    let Some(physical) = physical(info, address) else {
        return;
    };
    let (_, second) = model::split(address, size);
    with_state(|state| state.access(code, address, physical, access));
    let Some(second) = second else { return };
    let physical = if second % PAGE != 0 {
        Some(physical + (second - address))
    } else {
        self::physical(info, second)
    };
    if let Some(physical) = physical {
        with_state(|state| state.access(code, second, physical, access));
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
            WRITTEN.fetch_add(1, Ordering::Relaxed);
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

pub(crate) fn die(why: &str) -> ! {
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
    Ok(Config {
        id,
        cpus,
        slice,
        out: out.ok_or(USAGE)?,
        symbols,
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
    let arg = |i| {
        // SAFETY: by the caller.
        unsafe { CStr::from_ptr(*argv.add(i)) }
            .to_string_lossy()
            .into_owned()
    };
    let args: Vec<_> = (0..argc as usize).map(arg).collect();
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
