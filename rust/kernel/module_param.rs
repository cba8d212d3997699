// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2025 The Fastsocket authors.

//! Module parameters.
//!
//! Parameters are declared in the `params` field of [`module!`], which makes one static
//! [`ModuleParamAccess`] of each in a module `module_parameters` next to the invocation. They are
//! integers with a default and, where wanted, a range, and they are read-only once the module runs:
//! given to `modprobe` or, for built-in code, on the kernel command line as `module.name=value`,
//! and shown in `/sys/module/<module>/parameters/` with mode 0444.
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
    ThisModule,
};
use core::{
    cell::UnsafeCell,
    fmt::{self, Write},
};

/// A type that a module parameter can have: [`i32`] or [`u32`].
pub trait ModuleParam: Copy + PartialOrd + TryFrom<i64> + fmt::Display + Sync + 'static {}

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
///     ModuleParamAccess::<i32>::new(c_str!("workers"), b"example\0", 2, 0, 4);
///
/// // SAFETY: Nobody else knows it.
/// let set = |text| unsafe { WORKERS.set(text) };
/// assert_eq!(*WORKERS.value(), 2);
/// assert_eq!(set(c_str!("4\n")), Ok(()));
/// assert_eq!(set(c_str!("5")), Err(EINVAL));
/// assert_eq!(set(c_str!("-1")), Err(EINVAL));
/// assert_eq!(set(c_str!("4294967296")), Err(EINVAL));
/// assert_eq!(set(c_str!("many")), Err(EINVAL));
/// assert_eq!(*WORKERS.value(), 4);
/// ```
pub struct ModuleParamAccess<T: ModuleParam> {
    value: UnsafeCell<T>,
    min: T,
    max: T,
    name: &'static CStr,
    log_prefix: &'static [u8],
}

// SAFETY: The value is written only while nobody else uses it, by the contract of `set`.
unsafe impl<T: ModuleParam> Sync for ModuleParamAccess<T> {}

impl<T: ModuleParam> ModuleParamAccess<T> {
    /// Returns the value.
    ///
    /// It does not change once the initialisation of the module has begun. Any context.
    #[inline]
    pub fn value(&self) -> &T {
        // SAFETY: By the contract of `set`, it is not written while there is the reference.
        unsafe { &*self.value.get() }
    }

    /// Sets the value from a string, as the module loader does.
    ///
    /// # Errors
    ///
    /// `EINVAL`, after a message in the log, if the string is not a number within the range.
    ///
    /// # Safety
    ///
    /// Nobody else may use the value meanwhile, nor have a reference to it.
    #[doc(hidden)]
    pub unsafe fn set(&self, text: &CStr) -> Result {
        match parse(text).map(T::try_from) {
            Ok(Ok(value)) if value >= self.min && value <= self.max => {
                // SAFETY: By the safety requirements.
                // INVARIANT: The value was just found to be within the range.
                unsafe { *self.value.get() = value };
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
        impl ModuleParam for $type {}

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
            ) -> Self {
                assert!(min <= default && default <= max, "the default is out of range");
                assert!(
                    matches!(log_prefix, [.., 0]),
                    "the log prefix is not null-terminated"
                );
                // INVARIANT: Just checked.
                Self { value: UnsafeCell::new(default), min, max, name, log_prefix }
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
    /// is built in.
    pub const fn new<T: ModuleParam>(
        name: &'static CStr,
        module: &'static ThisModule,
        param: &'static ModuleParamAccess<T>,
    ) -> Self {
        // INVARIANT: `param` is `'static`, and `Ops<T>` is for it.
        Self(bindings::kernel_param {
            name: name.as_char_ptr(),
            mod_: module.as_ptr(),
            ops: &Ops::<T>::TABLE,
            perm: 0o444,
            level: -1,
            flags: 0,
            __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
                // CAST: It is only ever used as a shared reference.
                arg: core::ptr::from_ref(param).cast_mut().cast(),
            },
        })
    }
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

    /// Called for `name=value` among the arguments of the module or of the kernel.
    ///
    /// # Safety
    ///
    /// `val` must be null or a C string, `kp` as [`Self::param`] wants it, and the module not run yet.
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
            // SAFETY: The kernel sets parameters one by one before the module runs and before sysfs shows
            // them; with mode 0444 nobody sets them later.
            unsafe { param.set(text) }?;
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
