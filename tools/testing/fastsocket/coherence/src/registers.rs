// SPDX-License-Identifier: GPL-2.0

//! Registers of the processor that runs.

use crate::sys::{self, api};
use std::{ffi::CStr, ptr};

/// Those that are asked for.
pub(crate) struct Registers {
    /// The number of a system call, when it is made.
    pub(crate) rax: Register,
    /// The first argument of a function.
    pub(crate) rdi: Register,
    /// The second.
    pub(crate) rsi: Register,
}

/// The emulator's handle of one.
pub(crate) struct Register(*mut sys::Register);

impl Registers {
    /// Looks them up, in a callback of a processor. They are the same for all processors.
    pub(crate) fn find() -> Option<Self> {
        let api = api();
        // SAFETY: in a callback of a processor; the array is the caller's to free, and its
        // names live on.
        unsafe {
            let all = (api.qemu_plugin_get_registers)();
            let descriptors = std::slice::from_raw_parts((*all).data, (*all).len as usize);
            let find = |name: &CStr| {
                let found = descriptors.iter().find(|d| CStr::from_ptr(d.name) == name);
                found.map(|d| Register(d.handle))
            };
            let found = || {
                Some(Self {
                    rax: find(c"rax")?,
                    rdi: find(c"rdi")?,
                    rsi: find(c"rsi")?,
                })
            };
            let registers = found();
            (api.g_array_free)(all, 1);
            registers
        }
    }
}

impl Register {
    /// What is in it. The callback has to be one that may read registers.
    pub(crate) fn read(&self) -> u64 {
        let api = api();
        let mut bytes = [0; 8];
        // SAFETY: in a callback of a processor; the array is freed before its data is
        // used by anyone else.
        unsafe {
            let array = (api.g_byte_array_new)();
            let size = (api.qemu_plugin_read_register)(self.0, array);
            if size == 8 && (*array).len == 8 {
                ptr::copy_nonoverlapping((*array).data, bytes.as_mut_ptr(), 8);
            }
            (api.g_byte_array_free)(array, 1);
        }
        u64::from_le_bytes(bytes)
    }
}
