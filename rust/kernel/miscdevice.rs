// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2025 The Fastsocket authors.

//! Miscellaneous character devices.
//!
//! A device is three things: a type that implements [`MiscDevice`], one static [`Fops`] of that
//! type, and a [`MiscDeviceRegistration`], which is the device being there: `/dev/name` exists for as
//! long as the registration does.
//!
//! An open file outlives the registration, and even an attempt to unload the module: it pins the
//! module that [`Fops::new`] was given, so `rmmod` says that it is in use.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)
//!
//! Reference: <https://docs.kernel.org/driver-api/misc_devices.html>

use crate::{
    bindings,
    error::{to_result, Error, Result, VTABLE_DEFAULT_ERROR},
    ffi::{c_int, c_long, c_uint, c_ulong},
    fs::File,
    prelude::*,
    str::CStr,
    types::{ForeignOwnable, FromBytes, Opaque},
    uaccess::{UserPtr, UserSlice},
};
use core::{marker::PhantomData, mem::size_of, mem::MaybeUninit};

/// What a device does.
///
/// All methods are called in the context of the process that makes the system call, and may sleep.
/// Only [`open`](MiscDevice::open) has to be implemented.
#[vtable]
pub trait MiscDevice: Sized + 'static {
    /// What belongs to one open file. `()` if there is no such thing.
    ///
    /// It may be used by several tasks at a time, and dropped by another than the one that made it.
    type Ptr: ForeignOwnable + Send + Sync;

    /// The device is opened. An error is what the `open` system call returns.
    ///
    /// No other open of a misc device runs meanwhile, so it should be quick.
    fn open(file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr>;

    /// The last reference to the open file went away.
    fn release(device: Self::Ptr, _file: &File) {
        drop(device);
    }

    /// The `ioctl` system call of a program of the kernel's own word size.
    ///
    /// `arg` is whatever the program gave: a number, or an address to use with [`UserSlice`]. A
    /// command that is not known is to be answered with `ENOTTY`, which is also what comes of a
    /// device without this method.
    fn ioctl(
        _device: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _cmd: u32,
        _arg: usize,
    ) -> Result<isize> {
        crate::build_error(VTABLE_DEFAULT_ERROR)
    }

    /// The `ioctl` system call of a 32-bit program on a 64-bit kernel.
    ///
    /// Without this method, every command is answered with `ENOTTY`. If the commands have the same
    /// numbers for both, let one function serve both methods, and tell them apart by a [`Layout`].
    fn compat_ioctl(
        _device: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _cmd: u32,
        _arg: usize,
    ) -> Result<isize> {
        crate::build_error(VTABLE_DEFAULT_ERROR)
    }
}

/// Which of the two layouts a structure in user space has.
///
/// Structures that contain pointers or `long`s differ between 32-bit and 64-bit programs.
///
/// # Examples
///
/// ```
/// use kernel::{miscdevice::Layout, types::FromBytes};
///
/// /// The argument of a 64-bit program.
/// #[repr(C)]
/// struct Arg {
///     len: u32,
///     buf: u64,
/// }
/// // SAFETY: Any bytes are valid integers.
/// unsafe impl FromBytes for Arg {}
///
/// /// The argument of a 32-bit program.
/// #[repr(C)]
/// struct CompatArg {
///     len: u32,
///     buf: u32,
/// }
/// // SAFETY: Any bytes are valid integers.
/// unsafe impl FromBytes for CompatArg {}
///
/// impl From<CompatArg> for Arg {
///     fn from(arg: CompatArg) -> Self {
///         Self { len: arg.len, buf: arg.buf.into() }
///     }
/// }
///
/// /// What both `ioctl` and `compat_ioctl` call.
/// fn ioctl(layout: Layout, arg: usize) -> Result<isize> {
///     let arg = layout.read::<Arg, CompatArg>(arg)?;
///     Ok(arg.len as isize)
/// }
///
/// // There is nothing of a user's at address 0.
/// assert_eq!(ioctl(Layout::Native, 0), Err(EFAULT));
/// assert_eq!(ioctl(Layout::Compat, 0), Err(EFAULT));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// That of the kernel itself.
    Native,
    /// That of a 32-bit program on a 64-bit kernel.
    Compat,
}

impl Layout {
    /// Returns the address that `arg` is in a program of this layout.
    #[inline]
    pub fn user_ptr(self, arg: usize) -> UserPtr {
        match self {
            Self::Native => arg,
            // A 32-bit address, whatever the upper half of the register had.
            Self::Compat => (arg as u32) as UserPtr,
        }
    }

    /// Reads the structure at `arg`: an `N`, or a `C` that is then made an `N`.
    ///
    /// Process context only; it may sleep.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it is not all readable.
    pub fn read<N, C>(self, arg: usize) -> Result<N>
    where
        N: FromBytes + From<C>,
        C: FromBytes,
    {
        let ptr = self.user_ptr(arg);
        match self {
            Self::Native => UserSlice::new(ptr, size_of::<N>()).reader().read::<N>(),
            Self::Compat => Ok(UserSlice::new(ptr, size_of::<C>())
                .reader()
                .read::<C>()?
                .into()),
        }
    }
}

/// The table of operations of a device, which the kernel calls.
///
/// It has to be a `static` of the module whose [`ThisModule`] it gets.
///
/// # Invariants
///
/// It is filled in for `T`.
#[repr(transparent)]
pub struct Fops<T: MiscDevice>(bindings::file_operations, PhantomData<fn() -> T>);

// SAFETY: Nothing of it ever changes.
unsafe impl<T: MiscDevice> Sync for Fops<T> {}

impl<T: MiscDevice> Fops<T> {
    /// Makes the table. Open files of the device pin `owner`.
    pub const fn new(owner: &'static ThisModule) -> Self {
        // SAFETY: All zeros is a valid `file_operations`: one that does nothing.
        let mut fops: bindings::file_operations = unsafe { MaybeUninit::zeroed().assume_init() };

        fops.owner = owner.as_ptr();
        fops.open = Some(Self::open);
        fops.release = Some(Self::release);
        if T::HAS_IOCTL {
            fops.unlocked_ioctl = Some(Self::ioctl);
        }
        #[cfg(CONFIG_COMPAT)]
        if T::HAS_COMPAT_IOCTL {
            fops.compat_ioctl = Some(Self::compat_ioctl);
        }
        // INVARIANT: Every operation is one of `Self`.
        Self(fops, PhantomData)
    }

    /// # Safety
    ///
    /// `file` must be a file that is being opened, and belong to a device with these operations.
    unsafe extern "C" fn open(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The core leaves there what was registered, and holds the lock that deregistering takes.
        // The type is transparent, and only devices of `T` have these operations.
        let misc = unsafe { &*(*file).private_data.cast::<MiscDeviceRegistration<T>>() };
        // SAFETY: The file is being opened until this returns.
        match T::open(unsafe { File::from_raw_file(file) }, misc) {
            Ok(data) => {
                // SAFETY: Nobody else knows of `file` yet.
                unsafe { (*file).private_data = data.into_foreign().cast_mut() };
                0
            }
            Err(e) => e.to_errno(),
        }
    }

    /// # Safety
    ///
    /// [`Self::open`] must have succeeded for `file`, and this be the last call for it.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `open` stored it, and nobody uses it any more.
        let data = unsafe { T::Ptr::from_foreign((*file).private_data) };
        // SAFETY: The file is being released until this returns.
        T::release(data, unsafe { File::from_raw_file(file) });
        0
    }

    /// # Safety
    ///
    /// [`Self::open`] must have succeeded for `file`, and it not be released before this returns.
    unsafe fn borrow<'a>(file: *mut bindings::file) -> <T::Ptr as ForeignOwnable>::Borrowed<'a> {
        // SAFETY: `open` stored it, and `release` takes it only after the last use of the file.
        unsafe { T::Ptr::borrow((*file).private_data) }
    }

    /// # Safety
    ///
    /// As [`Self::borrow`].
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: The system call holds a reference to the file.
        let (data, file) = unsafe { (Self::borrow(file), File::from_raw_file(file)) };
        T::ioctl(data, file, cmd, arg).unwrap_or_else(errno)
    }

    /// # Safety
    ///
    /// As [`Self::borrow`].
    #[cfg(CONFIG_COMPAT)]
    unsafe extern "C" fn compat_ioctl(
        file: *mut bindings::file,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_long {
        // SAFETY: The system call holds a reference to the file.
        let (data, file) = unsafe { (Self::borrow(file), File::from_raw_file(file)) };
        T::compat_ioctl(data, file, cmd, arg).unwrap_or_else(errno)
    }
}

fn errno(e: Error) -> c_long {
    // A 32-bit number always fits.
    e.to_errno() as c_long
}

/// What a device is registered with.
pub struct MiscDeviceOptions<T: MiscDevice> {
    /// Its name, in `/dev` as in `/proc/misc`.
    pub name: &'static CStr,
    /// The permissions of the node in `/dev` as devtmpfs makes it, such as `0o444`.
    ///
    /// 0 stands for `0o600`. udev rules may change it.
    pub mode: u16,
    /// Its operations.
    pub fops: &'static Fops<T>,
}

/// A device that is there; it goes away when this is dropped.
///
/// Files that are open then stay usable.
///
/// # Invariants
///
/// `inner` is a registered misc device, with a minor number of its own.
///
/// # Examples
///
/// In a real module, the [`ThisModule`] is the `THIS_MODULE` that `module!` defines.
///
/// ```
/// use kernel::{c_str, fs::File};
/// use kernel::miscdevice::{Fops, MiscDevice, MiscDeviceOptions, MiscDeviceRegistration};
///
/// # // SAFETY: The kernel itself is built in, where it is null.
/// # static THIS_MODULE: ThisModule = unsafe { ThisModule::from_ptr(core::ptr::null_mut()) };
/// struct Counter;
///
/// #[vtable]
/// impl MiscDevice for Counter {
///     type Ptr = KBox<u32>;
///
///     fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<u32>> {
///         Ok(KBox::new(1, GFP_KERNEL)?)
///     }
///
///     fn ioctl(device: &u32, _file: &File, cmd: u32, _arg: usize) -> Result<isize> {
///         match cmd {
///             0 => Ok(*device as isize),
///             _ => Err(ENOTTY),
///         }
///     }
/// }
///
/// static FOPS: Fops<Counter> = Fops::new(&THIS_MODULE);
///
/// let register = || {
///     let options = MiscDeviceOptions { name: c_str!("rust_doctest"), mode: 0o444, fops: &FOPS };
///     KBox::pin_init(MiscDeviceRegistration::register(options), GFP_KERNEL)
/// };
/// let device = register()?;
///
/// // The name is taken while it is there, and free again when it is gone.
/// # // The kernel complains loudly about a duplicate name, so this only tries the second half.
/// drop(device);
/// let _again = register()?;
/// # Ok::<(), Error>(())
/// ```
#[repr(transparent)]
#[pin_data(PinnedDrop)]
pub struct MiscDeviceRegistration<T: MiscDevice> {
    #[pin]
    inner: Opaque<bindings::miscdevice>,
    _device: PhantomData<fn() -> T>,
}

// SAFETY: A device can be deregistered by any task.
unsafe impl<T: MiscDevice> Send for MiscDeviceRegistration<T> {}

// SAFETY: There is nothing to do with a shared reference.
unsafe impl<T: MiscDevice> Sync for MiscDeviceRegistration<T> {}

impl<T: MiscDevice> MiscDeviceRegistration<T> {
    /// Registers a device. Programs may open it before this returns.
    ///
    /// Process context only; it may sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there are no minor numbers left, `EEXIST` if there is such a device already,
    /// `ENOMEM`.
    pub fn register(options: MiscDeviceOptions<T>) -> impl PinInit<Self, Error> {
        let init = move |slot: *mut Opaque<bindings::miscdevice>| {
            let misc = Opaque::raw_get(slot);
            // SAFETY: All zeros is a valid `miscdevice`, before the fields that matter are set.
            let mut value: bindings::miscdevice = unsafe { MaybeUninit::zeroed().assume_init() };

            value.minor = bindings::MISC_DYNAMIC_MINOR as c_int;
            value.name = options.name.as_char_ptr();
            value.fops = &options.fops.0;
            value.mode = options.mode;
            // SAFETY: `slot` is to be written.
            unsafe { misc.write(value) };
            // SAFETY: `misc` is pinned and stays until it is deregistered; the name and the
            // operations are `'static`.
            to_result(unsafe { bindings::misc_register(misc) })
        };
        // SAFETY: `slot` is initialised if the closure returns `Ok`, and need not be dropped otherwise.
        let inner = unsafe { crate::init::pin_init_from_closure(init) };
        try_pin_init!(Self {
            // INVARIANT: If it cannot be registered, no `Self` comes to be.
            inner <- inner,
            _device: PhantomData,
        })
    }
}

#[pinned_drop]
impl<T: MiscDevice> PinnedDrop for MiscDeviceRegistration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants, it is registered.
        unsafe { bindings::misc_deregister(self.inner.get()) };
    }
}
