// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2025 The Fastsocket authors.

//! Network namespaces, and data of which each has its own.
//!
//! A type that implements [`PerNet`] is there once in every network namespace while there is a
//! [`Registration`] of it: made when that or the namespace comes into being, dropped when either
//! goes. It may have files in the `/proc/net` of each namespace, see [`proc`](super::proc).
//!
//! C header: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h),
//! [`include/net/netns/generic.h`](srctree/include/net/netns/generic.h)

use super::proc;
use crate::{
    bindings,
    error::{code::*, to_result, Error},
    ffi::{c_int, c_uint, c_void},
    init::PinInit,
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Release},
        rcu,
    },
    types::Opaque,
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::{size_of, MaybeUninit},
    ops::Deref,
    ptr::{addr_of, addr_of_mut, NonNull},
};

/// A network namespace.
///
/// # Invariants
///
/// For as long as there is a reference, the exit functions of the subsystems of the network stack
/// have not been called for the namespace.
#[repr(transparent)]
pub struct Namespace(Opaque<bindings::net>);

// SAFETY: Only atomic and immutable parts of it are used.
unsafe impl Send for Namespace {}

// SAFETY: Only atomic and immutable parts of it are used.
unsafe impl Sync for Namespace {}

impl Namespace {
    /// Makes a reference of a pointer.
    ///
    /// # Safety
    ///
    /// For the duration of `'a`, the namespace must not get as far as the exit functions of its
    /// subsystems. So it is if a counted reference to it, or a socket or device in it is held; or
    /// during the RCU read-side critical section in which such a socket or device was found.
    #[inline]
    pub unsafe fn from_raw<'a>(net: *mut bindings::net) -> &'a Self {
        // SAFETY: `Self` is transparent, and the rest is by the safety requirements.
        unsafe { &*net.cast() }
    }

    /// Returns the pointer.
    #[inline]
    pub fn as_ptr(&self) -> *mut bindings::net {
        self.0.get()
    }
}

/// A counted reference to a [`Namespace`], which keeps it.
///
/// # Invariants
///
/// The pointer is to a namespace to which a reference was counted for this.
pub struct NamespaceRef(NonNull<bindings::net>);

// SAFETY: References may be dropped by any task.
unsafe impl Send for NamespaceRef {}

// SAFETY: `Namespace` is `Sync`.
unsafe impl Sync for NamespaceRef {}

impl NamespaceRef {
    /// Takes a reference to the namespace of the current task.
    ///
    /// Process context only: of a task, not of an interrupt, and not while it exits.
    pub fn current() -> Result<Self> {
        // SAFETY: It can be called anywhere, and gives null for what has no namespaces any more.
        let net = unsafe { bindings::current_net_get() };
        // INVARIANT: The reference was counted if there is one.
        NonNull::new(net).map(Self).ok_or(ESRCH)
    }
}

impl Deref for NamespaceRef {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        // SAFETY: By the type invariants, since a counted reference keeps the namespace.
        unsafe { Namespace::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for NamespaceRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the reference is ours to give up.
        unsafe { bindings::put_net(self.0.as_ptr()) };
    }
}

/// A type that has a [`Key`]; [`per_net_key!`] implements it.
///
/// # Safety
///
/// [`key`](Self::key) must always return the same one.
pub unsafe trait Keyed: Sized + Send + Sync + 'static {
    /// Returns the `static` by which the data is found.
    fn key() -> &'static Key<Self>;
}

/// Gives a type the [`Key`] by which [`PerNet`] data is found.
#[macro_export]
macro_rules! per_net_key {
    ($type:ty) => {
        // SAFETY: It is not generic, so that there is one `static`.
        unsafe impl $crate::net::namespace::Keyed for $type {
            #[inline]
            fn key() -> &'static $crate::net::namespace::Key<Self> {
                static KEY: $crate::net::namespace::Key<$type> = $crate::net::namespace::Key::new();
                &KEY
            }
        }
    };
}
pub use per_net_key;

/// Data of which each network namespace has its own.
pub trait PerNet: Keyed {
    /// The files that each namespace has in its `/proc/net` to show the data.
    const PROC_FILES: &'static [proc::File<Self>] = &[];

    /// Makes the data of a namespace.
    ///
    /// Called in process context, for several namespaces at a time maybe. It may sleep. An error
    /// makes the registration fail, or, later, the system call that was to make a namespace.
    fn new(net: &Namespace) -> impl PinInit<Self, Error>;

    /// Returns the data of a namespace.
    ///
    /// Returns [`None`] if the type is not registered, or the namespace goes away. Any context. Not
    /// a call to C code.
    #[inline]
    fn get<'g>(net: &'g Namespace, guard: &'g rcu::Guard) -> Option<&'g Self> {
        let slot = Self::key().slot(net, guard)?;
        // SAFETY: The slot is that of a namespace and its id published. By the type invariants of
        // `Key` and of `Namespace` it stays until the guard is dropped.
        unsafe { Slot::live(slot) }
    }
}

/// What is stored in each namespace.
///
/// # Invariants
///
/// `value` is initialised while `live` is set, and a grace period passes between that being unset
/// and `value` being dropped.
struct Slot<T> {
    live: Atomic<bool>,
    value: MaybeUninit<T>,
}

impl<T> Slot<T> {
    /// Returns the value if there is one.
    ///
    /// # Safety
    ///
    /// `slot` must point to a slot, zeroed at least, and that must stay for `'a`, as must its
    /// value.
    #[inline]
    unsafe fn live<'a>(slot: NonNull<Self>) -> Option<&'a T> {
        // SAFETY: By the safety requirements.
        let slot = unsafe { slot.as_ref() };
        if !slot.live.load(Acquire) {
            return None;
        }
        // SAFETY: By the type invariants, it is initialised.
        Some(unsafe { slot.value.assume_init_ref() })
    }
}

/// Where the data of type `T` is in a namespace.
///
/// It is a `static` that [`per_net_key!`] makes.
///
/// # Invariants
///
/// - `id` is written only by `register_pernet_subsys`, while `used` is set by the [`Registration`]
///   that calls it.
/// - `published` is 0, or the id, and then every namespace has a [`Slot<T>`] there. A grace period
///   passes between its being zeroed and the slots being freed.
pub struct Key<T> {
    id: UnsafeCell<c_uint>,
    published: Atomic<u32>,
    used: Atomic<bool>,
    _data: PhantomData<fn() -> T>,
}

// SAFETY: `id` is written by one task at a time, and read only by what that calls.
unsafe impl<T> Sync for Key<T> {}

impl<T> Key<T> {
    /// Makes a key.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        // INVARIANT: Nothing is registered.
        Self {
            id: UnsafeCell::new(0),
            published: Atomic::new(0),
            used: Atomic::new(false),
            _data: PhantomData,
        }
    }

    /// Returns the slot of a namespace, if the id is published.
    #[inline]
    fn slot(&self, net: &Namespace, guard: &rcu::Guard) -> Option<NonNull<Slot<T>>> {
        match self.published.load(Acquire) {
            0 => None,
            id => generic(net, id, guard).map(NonNull::cast),
        }
    }

    /// Returns the slot of a namespace, from within the functions that are registered.
    ///
    /// # Safety
    ///
    /// Must only be called by what `register_pernet_subsys` causes to be called, until
    /// `unregister_pernet_subsys` returns.
    unsafe fn own_slot(&self, net: &Namespace) -> Option<NonNull<Slot<T>>> {
        // SAFETY: It was written before, and is not written meanwhile.
        let id = unsafe { *self.id.get() };
        generic(net, id, &rcu::Guard::new()).map(NonNull::cast)
    }
}

/// Returns what is stored in a namespace by this id: `net_generic()` of C, without the call.
#[inline]
fn generic(net: &Namespace, id: c_uint, _guard: &rcu::Guard) -> Option<NonNull<c_void>> {
    // CAST: That is where the pointer is; some versions of bindgen rename the field.
    let field = net
        .as_ptr()
        .wrapping_byte_add(bindings::NET_GEN_OFFSET)
        .cast();
    // SAFETY: The namespace is valid by its type invariants; C code replaces the pointer
    // atomically.
    let array: &Atomic<*mut bindings::net_generic> = unsafe { Atomic::from_ptr(field) };
    let array = array.load(Acquire);
    // SAFETY: There is an array for as long as there is the namespace, and the guard keeps this
    // one. Its first words are the header.
    let len = unsafe { (*array).__bindgen_anon_1.s.as_ref().len };
    if id >= len {
        return None;
    }
    // SAFETY: It is an array of `len` pointers that begins where the header does.
    NonNull::new(unsafe { *array.cast::<*mut c_void>().add(id as usize) })
}

/// The data of type `T` being there in each namespace, until this is dropped.
///
/// # Invariants
///
/// `ops` is registered, and `T::key()` is used for it.
///
/// # Examples
///
/// ```
/// use kernel::net::namespace::{per_net_key, Namespace, NamespaceRef, PerNet, Registration};
/// use kernel::sync::{atomic::{Atomic, Relaxed}, rcu};
/// use kernel::{c_str, net::proc, seq_file::{seq_print, SeqFile}};
///
/// struct Hits(Atomic<u32>);
///
/// per_net_key!(Hits);
///
/// impl PerNet for Hits {
///     const PROC_FILES: &'static [proc::File<Self>] =
///         &[proc::File::new(c_str!("rust_doctest_hits"), Hits::show)];
///
///     fn new(_net: &Namespace) -> impl PinInit<Self, Error> {
///         Self(Atomic::new(7))
///     }
/// }
///
/// impl Hits {
///     fn show(&self, _net: &Namespace, m: &SeqFile) -> Result {
///         seq_print!(m, "{}\n", self.0.load(Relaxed));
///         Ok(())
///     }
/// }
///
/// let net = &*NamespaceRef::current()?;
/// assert!(Hits::get(net, &rcu::Guard::new()).is_none());
///
/// let registration = KBox::pin_init(Registration::<Hits>::new(), GFP_KERNEL)?;
/// let guard = rcu::Guard::new();
/// let hits = Hits::get(net, &guard).ok_or(ENOENT)?;
/// assert_eq!(hits.0.fetch_add(1, Relaxed), 7);
/// drop(guard);
///
/// // It can only be registered once.
/// assert!(KBox::pin_init(Registration::<Hits>::new(), GFP_KERNEL).is_err());
/// assert!(Hits::get(net, &rcu::Guard::new()).is_some());
///
/// drop(registration);
/// assert!(Hits::get(net, &rcu::Guard::new()).is_none());
/// # Ok::<(), Error>(())
/// ```
#[pin_data(PinnedDrop)]
pub struct Registration<T: PerNet> {
    #[pin]
    ops: Opaque<bindings::pernet_operations>,
    _data: PhantomData<fn() -> T>,
}

// SAFETY: It may be unregistered by any task.
unsafe impl<T: PerNet> Send for Registration<T> {}

// SAFETY: A shared reference only gives shared references to a `T`, which is `Sync`.
unsafe impl<T: PerNet> Sync for Registration<T> {}

impl<T: PerNet> Registration<T> {
    /// Registers the type: makes the data of all namespaces that there are.
    ///
    /// Process context only; it sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the type is registered already, `ENOMEM`, or what making the data or a file fails
    /// with.
    #[allow(clippy::new_ret_no_self)]
    pub fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // INVARIANT: If it cannot be registered, no `Self` comes to be.
            ops <- Self::register(),
            _data: PhantomData,
        })
    }

    fn register() -> impl PinInit<Opaque<bindings::pernet_operations>, Error> {
        let init = |slot: *mut Opaque<bindings::pernet_operations>| {
            let key = T::key();
            if key.used.xchg(true, Acquire) {
                return Err(EBUSY);
            }

            let ops = Opaque::raw_get(slot);
            // SAFETY: `slot` is to be written.
            unsafe {
                ops.write(bindings::pernet_operations {
                    init: Some(Self::init_net),
                    pre_exit: Some(Self::pre_exit_net),
                    exit: Some(Self::exit_net),
                    id: key.id.get(),
                    size: size_of::<Slot<T>>(),
                    // All zeros is a valid rest: an unlinked list head, and no more functions.
                    ..MaybeUninit::zeroed().assume_init()
                })
            };
            // SAFETY: `ops` is pinned, and stays until it is unregistered.
            let result = to_result(unsafe { bindings::register_pernet_subsys(ops) });
            match result {
                // SAFETY: Nobody writes the id now that it is assigned.
                // INVARIANT: Every namespace has a slot now.
                Ok(()) => key.published.store(unsafe { *key.id.get() }, Release),
                Err(_) => key.used.store(false, Release),
            }
            result
        };
        // SAFETY: `slot` is initialised if the closure returns `Ok`, and need not be dropped
        // otherwise.
        unsafe { crate::init::pin_init_from_closure(init) }
    }

    /// Makes the data of a namespace that nobody else knows yet, or all know.
    ///
    /// # Safety
    ///
    /// Must only be called for the registered operations.
    unsafe extern "C" fn init_net(net: *mut bindings::net) -> c_int {
        // SAFETY: The namespace is being set up, or the lock against its going away is held.
        let net = unsafe { Namespace::from_raw(net) };
        // SAFETY: This is called by the registration.
        let Some(slot) = (unsafe { T::key().own_slot(net) }) else {
            return ENOMEM.to_errno();
        };
        // SAFETY: It is a zeroed slot, and nobody touches the value while it is not live.
        let value = unsafe { addr_of_mut!((*slot.as_ptr()).value) }.cast::<T>();

        // SAFETY: It is free to be written, and does not move until it is dropped in `exit_net`.
        if let Err(e) = unsafe { T::new(net).__pinned_init(value) } {
            return e.to_errno();
        }
        if let Err(e) = proc::create_all::<T>(net) {
            // SAFETY: It was just initialised, and no file that could show it is left.
            unsafe { value.drop_in_place() };
            return e.to_errno();
        }
        // SAFETY: It is a zeroed slot.
        let live = unsafe { &*addr_of!((*slot.as_ptr()).live) };
        // INVARIANT: The value is initialised.
        live.store(true, Release);
        0
    }

    /// Keeps new readers away. A grace period passes before `exit_net`.
    ///
    /// # Safety
    ///
    /// Must only be called for the registered operations.
    unsafe extern "C" fn pre_exit_net(net: *mut bindings::net) {
        // SAFETY: The exit function has not been called yet.
        let net = unsafe { Namespace::from_raw(net) };
        // SAFETY: This is called by the registration.
        if let Some(slot) = unsafe { T::key().own_slot(net) } {
            // SAFETY: The slot stays until after `exit_net`.
            let live = unsafe { &*addr_of!((*slot.as_ptr()).live) };
            live.store(false, Release);
        }
    }

    /// Removes the files, and drops the data.
    ///
    /// # Safety
    ///
    /// Must only be called for the registered operations, after `pre_exit_net`.
    unsafe extern "C" fn exit_net(net: *mut bindings::net) {
        // SAFETY: The exit functions are only about to be called.
        let net = unsafe { Namespace::from_raw(net) };
        // Waits for those who read them.
        proc::remove_all::<T>(net, T::PROC_FILES.len());
        // SAFETY: This is called by the registration.
        if let Some(slot) = unsafe { T::key().own_slot(net) } {
            // SAFETY: `init_net` initialised it; a grace period passed since it was no longer live,
            // and nobody shows it, so that this is the last use.
            unsafe {
                addr_of_mut!((*slot.as_ptr()).value)
                    .cast::<T>()
                    .drop_in_place()
            };
        }
    }
}

#[pinned_drop]
impl<T: PerNet> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        let key = T::key();
        // INVARIANT: A grace period passes in `unregister_pernet_subsys`, before slots are freed.
        key.published.store(0, Release);
        // SAFETY: By the type invariants, it is registered.
        unsafe { bindings::unregister_pernet_subsys(self.ops.get()) };
        key.used.store(false, Release);
    }
}

/// Returns the data of a namespace for a function that shows one of its files.
///
/// # Safety
///
/// One of the files of `T` in `net` must be being shown for `'a`.
#[cfg(CONFIG_PROC_FS)]
pub(super) unsafe fn shown<'a, T: PerNet>(net: &'a Namespace) -> Option<&'a T> {
    // SAFETY: Files are there only between `init_net` and `exit_net`.
    let slot = unsafe { T::key().own_slot(net) }?;
    // SAFETY: The value is initialised before the files are made, and `exit_net` waits for those
    // who read them before it drops it.
    Some(unsafe { (*slot.as_ptr()).value.assume_init_ref() })
}
