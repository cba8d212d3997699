// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2025 The Fastsocket authors.

//! Module parameters.
//!
//! Parameters are declared in the `params` field of [`module!`], which makes one static
//! [`ModuleParamAccess`] of each in a module `module_parameters` next to the invocation. They are
//! integers with a default and, where wanted, a range: given to `modprobe` or, for built-in code, on
//! the kernel command line as `module.name=value`, and shown in `/sys/module/<module>/parameters/`.
//! There they can be read, with mode 0444, and written, with mode 0644, if they say what is to be
//! done when they are.
//!
//! A value that is not a number, or is out of its range, is refused with `EINVAL` and a line in the
//! log that says what was wrong with it. The module loader then gives up loading the module. For
//! built-in code the kernel goes on booting, with the parameter left at its default.
//!
//! [`module!`]: crate::macros::module
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use crate::{
    bindings,
    error::{code::*, from_result, to_result, Result},
    ffi::{c_char, c_int},
    print::{call_printk, format_strings},
    str::{BStr, CStr, RawFormatter},
    sync::atomic::{Atomic, AtomicType, Relaxed},
    ThisModule,
};
use core::fmt::{self, Write};

/// A type that a module parameter can have: [`i32`] or [`u32`].
pub trait ModuleParam:
    AtomicType + PartialOrd + TryFrom<i64> + fmt::Display + Send + Sync + 'static
{
    #[doc(hidden)]
    fn load(from: &Atomic<Self>) -> Self;

    #[doc(hidden)]
    fn store(self, to: &Atomic<Self>);
}

/// What is done when a parameter has been written; in process context, without a lock. If it fails the
/// parameter has its old value again, and whoever wrote it gets the error.
///
/// It is also called for what `modprobe` is given, before the module is there, and may be called after
/// it has gone; for built-in code, at boot when nothing may sleep.
pub type Written = fn() -> Result;

/// A parameter of a module: its value and what it may be.
///
/// It is made by the `params` field of [`module!`](crate::macros::module).
///
/// # Invariants
///
/// The value is between `min` and `max`, both included.
///
/// # Examples
///
/// ```
/// use kernel::{c_str, module_param::ModuleParamAccess};
///
/// static WORKERS: ModuleParamAccess<i32> =
///     ModuleParamAccess::<i32>::new(c_str!("workers"), b"example\0", 2, 0, 4, None);
///
/// let set = |text| WORKERS.set(text);
/// assert_eq!(WORKERS.value(), 2);
/// assert_eq!(set(c_str!("4\n")), Ok(()));
/// assert_eq!(set(c_str!("5")), Err(EINVAL));
/// assert_eq!(set(c_str!("-1")), Err(EINVAL));
/// assert_eq!(set(c_str!("4294967296")), Err(EINVAL));
/// assert_eq!(set(c_str!("many")), Err(EINVAL));
/// assert_eq!(WORKERS.value(), 4);
/// ```
pub struct ModuleParamAccess<T: ModuleParam> {
    value: Atomic<T>,
    min: T,
    max: T,
    name: &'static CStr,
    log_prefix: &'static [u8],
    written: Option<Written>,
}

impl<T: ModuleParam> ModuleParamAccess<T> {
    /// Returns the value.
    ///
    /// Unless it can be written, it does not change once the initialisation of the module has begun. Any context.
    #[inline]
    pub fn value(&self) -> T {
        T::load(&self.value)
    }

    /// Sets the value from a string, as the module loader does.
    ///
    /// # Errors
    ///
    /// `EINVAL`, after a message in the log, if the string is not a number within the range.
    #[doc(hidden)]
    pub fn set(&self, text: &CStr) -> Result {
        match parse(text).map(T::try_from) {
            Ok(Ok(value)) if value >= self.min && value <= self.max => {
                // INVARIANT: The value was just found to be within the range.
                value.store(&self.value);
                Ok(())
            }
            Err(e) if e != ERANGE => {
                self.complain(format_args!(
                    "{}={} is not a number\n",
                    self.name,
                    trim(text)
                ));
                Err(EINVAL)
            }
            _ => {
                self.complain(format_args!(
                    "{}={} is out of range {}..{}\n",
                    self.name,
                    trim(text),
                    self.min,
                    self.max
                ));
                Err(EINVAL)
            }
        }
    }

    /// Prints an error as coming from the module that the parameter is of.
    fn complain(&self, args: fmt::Arguments<'_>) {
        // SAFETY: The format string is one of `format_strings`, and the constructors check that
        // the prefix is null-terminated.
        unsafe { call_printk(&format_strings::ERR, self.log_prefix, args) };
    }
}

/// Makes a number out of a string such as `12`, `-3`, `0x1f` or `017`; a newline at the end is
/// ignored.
///
/// # Errors
///
/// `EINVAL` if it is no number, `ERANGE` if it does not fit in 64 bits.
fn parse(text: &CStr) -> Result<i64> {
    let mut value = 0;
    // SAFETY: `text` is null-terminated, and `value` can be written.
    to_result(unsafe { bindings::kstrtoll(text.as_char_ptr(), 0, &mut value) })?;
    Ok(value)
}

/// Strips the newline that `echo` leaves behind.
fn trim(text: &CStr) -> &BStr {
    let bytes = text.as_bytes();
    BStr::from_bytes(bytes.strip_suffix(b"\n").unwrap_or(bytes))
}

macro_rules! impl_module_param {
    ($($type:ty),*) => {$(
        impl ModuleParam for $type {
            #[inline]
            fn load(from: &Atomic<Self>) -> Self {
                from.load(Relaxed)
            }

            fn store(self, to: &Atomic<Self>) {
                to.store(self, Relaxed);
            }
        }

        impl ModuleParamAccess<$type> {
            /// Makes a parameter. `log_prefix` is the null-terminated name of the module.
            ///
            /// Fails to compile if the default is out of range.
            #[doc(hidden)]
            pub const fn new(
                name: &'static CStr,
                log_prefix: &'static [u8],
                default: $type,
                min: $type,
                max: $type,
                written: Option<Written>,
            ) -> Self {
                assert!(min <= default && default <= max, "the default is out of range");
                assert!(
                    matches!(log_prefix, [.., 0]),
                    "the log prefix is not null-terminated"
                );
                // INVARIANT: Just checked.
                Self { value: Atomic::new(default), min, max, name, log_prefix, written }
            }
        }
    )*}
}

impl_module_param!(i32, u32);

/// An entry of the table in which the kernel finds the parameters of a module.
///
/// # Invariants
///
/// `arg` points to a [`ModuleParamAccess`] that lives forever, of the type that `ops` is for.
#[doc(hidden)]
#[repr(transparent)]
pub struct KernelParam(bindings::kernel_param);

// SAFETY: Nothing of it ever changes, and the parameter that it points to is `Sync`.
unsafe impl Sync for KernelParam {}

impl KernelParam {
    /// Makes the table entry of `param`, which is to be placed in the section `__param`.
    ///
    /// `name` is the name of the parameter, with the name of the module and a dot before it if that
    /// is built in; `mode` is that of its file in sysfs.
    pub const fn new<T: ModuleParam>(
        name: &'static CStr,
        module: &'static ThisModule,
        param: &'static ModuleParamAccess<T>,
        mode: u16,
    ) -> Self {
        // INVARIANT: `param` is `'static`, and `Ops<T>` is for it.
        Self(bindings::kernel_param {
            name: name.as_char_ptr(),
            mod_: module.as_ptr(),
            ops: &Ops::<T>::TABLE,
            perm: mode,
            level: -1,
            flags: 0,
            __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
                // CAST: It is only ever used as a shared reference.
                arg: core::ptr::from_ref(param).cast_mut().cast(),
            },
        })
    }
}

/// Calls a function without the lock of the parameters of a module, or of built-in code: what that may wait for,
/// others wait for who have the lock. Who writes in sysfs keeps the module there.
///
/// # Safety
///
/// The lock must be held, and `kp` be valid.
unsafe fn without_lock(kp: *const bindings::kernel_param, function: Written) -> Result {
    // SAFETY: By the safety requirements. Without sysfs there is no lock, and nobody writes.
    #[cfg(CONFIG_SYSFS)]
    unsafe {
        bindings::kernel_param_unlock((*kp).mod_)
    };
    let result = function();
    // SAFETY: As above.
    #[cfg(CONFIG_SYSFS)]
    unsafe {
        bindings::kernel_param_lock((*kp).mod_)
    };
    result
}

/// The operations on a parameter of type `T`.
struct Ops<T>(core::marker::PhantomData<T>);

impl<T: ModuleParam> Ops<T> {
    const TABLE: bindings::kernel_param_ops = bindings::kernel_param_ops {
        flags: 0,
        set: Some(Self::set),
        get: Some(Self::get),
        free: None,
    };

    /// # Safety
    ///
    /// `kp` must point to a [`KernelParam`] made for a parameter of type `T`.
    unsafe fn param<'a>(kp: *const bindings::kernel_param) -> &'a ModuleParamAccess<T> {
        // SAFETY: The caller gives a valid `kp`, of which `arg` is the member that was set.
        let arg = unsafe { (*kp).__bindgen_anon_1.arg };
        // SAFETY: By the type invariants of `KernelParam`.
        unsafe { &*arg.cast::<ModuleParamAccess<T>>() }
    }

    /// Called for `name=value` among the arguments of the module or of the kernel, and for what is written
    /// in sysfs: under the lock of the module's parameters.
    ///
    /// # Safety
    ///
    /// `val` must be null or a C string, `kp` as [`Self::param`] wants it, and the lock be held.
    unsafe extern "C" fn set(val: *const c_char, kp: *const bindings::kernel_param) -> c_int {
        // SAFETY: The kernel passes an entry that refers to this table.
        let param = unsafe { Self::param(kp) };
        from_result(|| {
            if val.is_null() {
                param.complain(format_args!("{} needs a value\n", param.name));
                return Err(EINVAL);
            }
            // SAFETY: It is a C string by the safety requirements.
            let text = unsafe { CStr::from_char_ptr(val) };
            let old = param.value();
            param.set(text)?;
            let Some(written) = param.written else {
                return Ok(0);
            };
            // SAFETY: The lock is held, by the safety requirements.
            let result = unsafe { without_lock(kp, written) };
            if result.is_err() {
                old.store(&param.value);
                // As it was.
                // SAFETY: As above.
                let _ = unsafe { without_lock(kp, written) };
            }
            result?;
            Ok(0)
        })
    }

    /// Called to show the value in sysfs. Returns the number of bytes.
    ///
    /// # Safety
    ///
    /// `buffer` must have space for a page, `kp` as [`Self::param`] wants it.
    unsafe extern "C" fn get(buffer: *mut c_char, kp: *const bindings::kernel_param) -> c_int {
        // SAFETY: The kernel passes an entry that refers to this table.
        let param = unsafe { Self::param(kp) };
        // SAFETY: The buffer is a page long by the safety requirements.
        let mut out = unsafe { RawFormatter::from_buffer(buffer, crate::page::PAGE_SIZE) };
        from_result(|| {
            writeln!(out, "{}", param.value())?;
            Ok(out.bytes_written().try_into()?)
        })
    }
}
