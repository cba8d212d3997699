// SPDX-License-Identifier: GPL-2.0

//! What is used of QEMU: its plugin API, and a little more.
//!
//! QEMU's packages have no header, and what a plugin calls is in the emulator's
//! own binary. It is looked up when the plugin is installed, so that an emulator
//! that lacks something is told so by name, and that tests and the command link
//! without one.
//!
//! [`qemu_plugin_version`] is 4, which QEMU 10.0 has, and later ones as long as they take
//! it. Tried with 10.0.2. Debian 12's own 7.2 is too old. `cpu_exit`, `qemu_get_cpu`
//! and `current_cpu` are not of the API; the binary exports them for its modules.

use std::{
    ffi::{c_char, c_int, c_uint, c_void, CStr},
    mem,
    sync::OnceLock,
};

/// The version of the API that the plugin is written for.
#[allow(non_upper_case_globals)]
#[no_mangle]
pub static qemu_plugin_version: c_int = 4;

pub(crate) type PluginId = u64;
pub(crate) type MemInfo = u32;

/// `qemu_info_t`.
#[repr(C)]
pub struct Info {
    pub(crate) target_name: *const c_char,
    pub(crate) version_min: c_int,
    pub(crate) version_cur: c_int,
    pub(crate) system_emulation: bool,
    pub(crate) smp_vcpus: c_int,
    pub(crate) max_vcpus: c_int,
}

macro_rules! opaque {
    ($($name:ident)*) => {$(
        #[repr(C)]
        pub(crate) struct $name {
            _opaque: [u8; 0],
        }
    )*};
}
opaque!(Tb Insn HwAddr CpuState Register);

/// `GByteArray`.
#[repr(C)]
pub(crate) struct ByteArray {
    pub(crate) data: *const u8,
    pub(crate) len: c_uint,
}

/// `GArray`.
#[repr(C)]
pub(crate) struct Array {
    pub(crate) data: *const RegisterDescriptor,
    pub(crate) len: c_uint,
}

/// `qemu_plugin_reg_descriptor`.
#[repr(C)]
pub(crate) struct RegisterDescriptor {
    pub(crate) handle: *mut Register,
    pub(crate) name: *const c_char,
    pub(crate) feature: *const c_char,
}

/// `QEMU_PLUGIN_CB_NO_REGS`.
pub(crate) const NO_REGS: c_int = 0;
/// `QEMU_PLUGIN_CB_R_REGS`.
pub(crate) const READ_REGS: c_int = 1;
/// `QEMU_PLUGIN_MEM_RW`.
pub(crate) const MEM_RW: c_int = 3;

pub(crate) type SimpleCb = extern "C" fn(PluginId);
pub(crate) type TransCb = extern "C" fn(PluginId, *mut Tb);
pub(crate) type UdataCb = extern "C" fn(PluginId, *mut c_void);
pub(crate) type VcpuCb = extern "C" fn(c_uint, *mut c_void);
pub(crate) type MemCb = extern "C" fn(c_uint, MemInfo, u64, *mut c_void);

macro_rules! functions {
    ($(fn $name:ident($($arg:ty),*) $(-> $ret:ty)?;)*) => {
        /// The functions, by the names that they have in the emulator.
        pub(crate) struct Api {
            $(pub(crate) $name: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)*
        }

        impl Api {
            fn load() -> Result<Self, String> {
                Ok(Self {
                    $($name: {
                        const NAME: &CStr =
                            match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                                Ok(name) => name,
                                Err(_) => panic!(),
                            };
                        let found = lookup(NAME)
                            .ok_or_else(|| format!("this QEMU has no {}", stringify!($name)))?;
                        // SAFETY: the function of that name, which has this type.
                        unsafe {
                            mem::transmute::<*mut c_void, unsafe extern "C" fn($($arg),*) $(-> $ret)?>(found)
                        }
                    },)*
                })
            }
        }
    };
}

functions! {
    fn qemu_plugin_register_vcpu_tb_trans_cb(PluginId, TransCb);
    fn qemu_plugin_register_atexit_cb(PluginId, UdataCb, *mut c_void);
    fn qemu_plugin_reset(PluginId, SimpleCb);

    fn qemu_plugin_tb_n_insns(*const Tb) -> usize;
    fn qemu_plugin_tb_vaddr(*const Tb) -> u64;
    fn qemu_plugin_tb_get_insn(*const Tb, usize) -> *mut Insn;
    fn qemu_plugin_insn_vaddr(*const Insn) -> u64;
    fn qemu_plugin_insn_data(*const Insn, *mut c_void, usize) -> usize;

    fn qemu_plugin_register_vcpu_tb_exec_cb(*mut Tb, VcpuCb, c_int, *mut c_void);
    fn qemu_plugin_register_vcpu_insn_exec_cb(*mut Insn, VcpuCb, c_int, *mut c_void);
    fn qemu_plugin_register_vcpu_mem_cb(*mut Insn, MemCb, c_int, c_int, *mut c_void);

    fn qemu_plugin_mem_size_shift(MemInfo) -> c_uint;
    fn qemu_plugin_mem_is_store(MemInfo) -> bool;
    fn qemu_plugin_get_hwaddr(MemInfo, u64) -> *mut HwAddr;
    fn qemu_plugin_hwaddr_is_io(*const HwAddr) -> bool;
    fn qemu_plugin_hwaddr_phys_addr(*const HwAddr) -> u64;

    fn qemu_plugin_get_registers() -> *mut Array;
    fn qemu_plugin_read_register(*mut Register, *mut ByteArray) -> c_int;
    fn g_array_free(*mut Array, c_int) -> *mut c_char;

    fn qemu_plugin_read_memory_vaddr(u64, *mut ByteArray, usize) -> bool;
    fn g_byte_array_new() -> *mut ByteArray;
    fn g_byte_array_free(*mut ByteArray, c_int) -> *mut u8;

    fn qemu_get_cpu(c_int) -> *mut CpuState;
    fn cpu_exit(*mut CpuState);
}

fn lookup(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: a string that ends with a zero.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

static API: OnceLock<Api> = OnceLock::new();

/// Where the emulator has the processor that runs in the calling thread.
pub(crate) fn current_cpu() -> *const *mut CpuState {
    lookup(CURRENT_CPU).map_or(std::ptr::null(), |at| at.cast_const().cast())
}

const CURRENT_CPU: &CStr = c"current_cpu";

/// Looks everything up; what is missing if something is.
pub(crate) fn load() -> Result<(), String> {
    let api = Api::load()?;
    lookup(CURRENT_CPU).ok_or("this QEMU has no current_cpu")?;
    let _ = API.set(api);
    Ok(())
}

/// What [`load`] found.
#[inline]
pub(crate) fn api() -> &'static Api {
    API.get().expect("looked up when the plugin was installed")
}
