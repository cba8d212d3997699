// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! The connections that wait at a slot, in order of their arrival.
//!
//! What is done with them, and in which order, is in [`protocol`].

use core::ptr::{self, addr_of_mut, NonNull};
use kernel::{
    bindings,
    cpu::CpuId,
    new_spinlock_bh,
    prelude::*,
    sync::{
        lock::Guard,
        spinlock_bh::{SpinLockBh, SpinLockBhBackend},
    },
};

use super::{
    listener::Listener,
    protocol::{self, Length, List as _, Queue as _},
    stamp::Stamp,
};

/// A connection that is complete, and that nobody has accepted yet: its request, with a reference to
/// both. Whoever has it puts it into a queue, or gives it to whom `accept(2)` is for.
///
/// # Invariants
///
/// `request` is a request that nobody else has, and whose child is set from when it is first in a queue.
pub(crate) struct Connection {
    request: NonNull<bindings::request_sock>,
}

impl Connection {
    /// # Safety
    ///
    /// The type invariants must hold.
    pub(crate) unsafe fn from_raw(request: NonNull<bindings::request_sock>) -> Self {
        // INVARIANT: By the safety requirements.
        Self { request }
    }

    /// Takes the oldest of a socket's own queue. Process context.
    pub(crate) fn take_own(socket: &Listener) -> Option<Self> {
        // SAFETY: By the type invariants of the socket.
        let request = NonNull::new(unsafe { bindings::fastsocket_take(socket.as_ptr()) })?;
        // SAFETY: It was just taken from the queue.
        Some(unsafe { Self::from_raw(request) })
    }

    pub(crate) fn into_raw(self) -> *mut bindings::request_sock {
        self.request.as_ptr()
    }

    /// How long ago did it come, in units of a [`Stamp`]? It was in a queue.
    #[inline]
    pub(crate) fn age(&self) -> u32 {
        // SAFETY: By the type invariants, it has a child.
        unsafe { stamp_of(self.request.as_ptr()) }.age()
    }

    /// Notes at a child that it comes now. Before it is in a queue.
    ///
    /// # Safety
    ///
    /// It must be as `inet_csk_reqsk_queue_add()` was given it.
    pub(crate) unsafe fn stamp(child: NonNull<bindings::sock>) {
        let child = child.cast::<bindings::inet_connection_sock>().as_ptr();
        // SAFETY: By the safety requirements, the field is ours until it waits.
        unsafe {
            ptr::write_volatile(
                addr_of_mut!((*child).icsk_accept_queue.fastsocket_stamp),
                Stamp::now().into(),
            );
        }
    }

    /// Gives it its child, and notes there at whose CPU's slot it waits.
    ///
    /// Not before it is sure to be queued: who fails takes a request with a child for one that waits to be
    /// accepted, as `reqsk_fastopen_remove()` does, and leaves its reference to whom would accept it.
    fn join(&self, child: NonNull<bindings::sock>, cpu: CpuId) {
        // CAST: The kernel has at most 8192 CPUs.
        let slot = cpu.as_u32().wrapping_add(1) as u16;
        // SAFETY: By the type invariants, the request is ours to write. The child is a
        // `struct inet_connection_sock`, whose field is ours while it waits.
        unsafe {
            (*self.request.as_ptr()).sk = child.as_ptr();
            let child = child.as_ptr().cast::<bindings::inet_connection_sock>();
            ptr::write_volatile(
                addr_of_mut!((*child).icsk_accept_queue.fastsocket_slot),
                slot,
            );
        }
    }
}

/// When did the child of a request come?
///
/// # Safety
///
/// It must wait to be accepted, or have waited until now.
unsafe fn stamp_of(request: *mut bindings::request_sock) -> Stamp {
    // SAFETY: By the safety requirements, it has a child.
    unsafe {
        let child = (*request).sk.cast::<bindings::inet_connection_sock>();
        (*child).icsk_accept_queue.fastsocket_stamp.into()
    }
}

/// A list by `dl_next`.
///
/// # Invariants
///
/// `first` is null, or the first of connections of which this has each, the last of which is `last`, and
/// whose `dl_next` is null. `length` is their number.
pub(crate) struct List {
    first: *mut bindings::request_sock,
    last: *mut bindings::request_sock,
    length: u32,
}

// SAFETY: Requests belong to no task.
unsafe impl Send for List {}

impl List {
    const fn new() -> Self {
        // INVARIANT: It is empty.
        Self {
            first: ptr::null_mut(),
            last: ptr::null_mut(),
            length: 0,
        }
    }
}

impl protocol::List for List {
    type Connection = Connection;

    fn push(&mut self, connection: Connection) {
        let request = connection.into_raw();
        // SAFETY: By the invariants of `Connection`, it is ours to write.
        unsafe { (*request).dl_next = ptr::null_mut() };
        if self.first.is_null() {
            self.first = request;
        } else {
            // SAFETY: By the type invariants.
            unsafe { (*self.last).dl_next = request };
        }
        self.last = request;
        self.length = self.length.wrapping_add(1);
    }

    fn pop(&mut self) -> Option<Connection> {
        let request = NonNull::new(self.first)?;
        // SAFETY: By the type invariants.
        self.first = unsafe { (*request.as_ptr()).dl_next };
        self.length = self.length.wrapping_sub(1);
        // SAFETY: By the type invariants, and as it is not in the list any more.
        Some(unsafe { Connection::from_raw(request) })
    }

    fn split(&mut self, most: u32) -> List {
        let first = self.first;
        let mut last = ptr::null_mut();
        let mut length = 0;
        while length < most && !self.first.is_null() {
            last = self.first;
            // SAFETY: By the type invariants.
            self.first = unsafe { (*last).dl_next };
            length += 1;
        }
        self.length = self.length.wrapping_sub(length);
        let Some(end) = NonNull::new(last) else {
            return List::new();
        };
        // SAFETY: It was in the list, and is the last of the other.
        unsafe { (*end.as_ptr()).dl_next = ptr::null_mut() };
        List {
            first,
            last,
            length,
        }
    }

    fn length(&self) -> u32 {
        self.length
    }
}

/// The connections that wait at a slot. Any context but hardirq; to look without the lock, any context.
#[pin_data]
pub(crate) struct Queue {
    #[pin]
    list: SpinLockBh<List>,
    length: Length,
}

impl Queue {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            list <- new_spinlock_bh!(List::new(), "fastsocket::queue"),
            length: Length::new(),
        })
    }

    /// When did the oldest come? Any context but hardirq.
    pub(crate) fn oldest(&self) -> Option<Stamp> {
        let list = self.list.lock();
        let first = NonNull::new(list.first)?;
        // SAFETY: It waits, and stays while the list is locked.
        Some(unsafe { stamp_of(first.as_ptr()) })
    }

    /// Adds the connection of a child to the queue of a CPU's slot, unless its socket has left `TCP_LISTEN`.
    ///
    /// # Safety
    ///
    /// Both must be as `inet_csk_reqsk_queue_add()` was given them.
    pub(crate) unsafe fn add(
        &self,
        socket: &Listener,
        cpu: CpuId,
        connection: Connection,
        child: NonNull<bindings::sock>,
    ) -> Result<(), Connection> {
        self.arrive(socket, connection, |connection| connection.join(child, cpu))
    }
}

impl protocol::Queue for Queue {
    type Socket = Listener;
    type Locked<'a> = Guard<'a, List, SpinLockBhBackend>;

    #[inline]
    fn lock(&self) -> Self::Locked<'_> {
        self.list.lock()
    }

    #[inline]
    fn published(&self) -> &Length {
        &self.length
    }
}

impl protocol::Socket for Listener {
    type List = List;

    #[inline]
    fn is_listening(&self) -> bool {
        Listener::is_listening(self)
    }

    fn append(&self, list: List) {
        // SAFETY: By the invariants of `List`, and as softirqs are off under the lock of a queue.
        unsafe { bindings::fastsocket_requeue(self.as_ptr(), list.first, list.last, list.length) };
    }

    fn wake(&self, number: u32) {
        Listener::wake(self, number);
    }
}

#[kernel::macros::kunit_tests(fastsocket_queue)]
mod tests {
    use super::*;
    use kernel::types::Opaque;

    /// Requests of which nothing is looked at but `dl_next`.
    struct Requests([KBox<Opaque<bindings::request_sock>>; 4]);

    impl Requests {
        fn new() -> Result<Self> {
            let new = || KBox::new(Opaque::uninit(), GFP_KERNEL);
            Ok(Self([new()?, new()?, new()?, new()?]))
        }

        fn list(&self) -> List {
            let mut list = List::new();
            for request in &self.0 {
                if let Some(request) = NonNull::new(request.get()) {
                    // SAFETY: A list does not look into it.
                    list.push(unsafe { Connection::from_raw(request) });
                }
            }
            list
        }

        fn has(&self, number: usize, connection: Option<Connection>) -> bool {
            let request = self.0.get(number).map(|request| request.get());
            request == connection.map(Connection::into_raw)
        }
    }

    #[test]
    fn the_oldest_comes_first() -> Result {
        let requests = Requests::new()?;
        let mut list = requests.list();
        for number in 0..4 {
            assert!(requests.has(number, list.pop()));
        }
        assert!(list.pop().is_none());
        Ok(())
    }

    #[test]
    fn the_oldest_are_split_off() -> Result {
        for most in [0, 1, 3, 4, u32::MAX] {
            let requests = Requests::new()?;
            let mut list = requests.list();
            let mut moved = list.split(most);
            assert_eq!(moved.length(), most.min(4));
            assert_eq!(moved.length() + list.length(), 4);
            for n in 0..4 {
                let from = if n < most { &mut moved } else { &mut list };
                assert!(requests.has(n as usize, from.pop()), "{} of {}", n, most);
            }
            assert!(moved.pop().is_none() && list.pop().is_none());
        }
        Ok(())
    }

    #[test]
    fn a_list_that_was_emptied_takes_again() -> Result {
        let requests = Requests::new()?;
        let mut list = requests.list();
        let mut moved = list.split(u32::MAX);
        if let Some(connection) = moved.pop() {
            list.push(connection);
        }
        assert!(requests.has(0, list.pop()));
        assert!(list.pop().is_none());
        Ok(())
    }
}
