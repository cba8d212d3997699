// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! The connections that wait at a slot, in order of their arrival.

use core::ptr::{self, addr_of_mut, NonNull};
use kernel::{
    bindings,
    cpu::CpuId,
    new_spinlock_bh,
    prelude::*,
    sync::atomic::{Acquire, Atomic, Relaxed, Release},
    sync::spinlock_bh::SpinLockBh,
};

use crate::listener::Listener;

/// A connection that is complete, and that nobody has accepted yet: its request, with a reference to
/// both. Whoever has it puts it into a queue, or gives it to whom `accept(2)` is for.
///
/// # Invariants
///
/// `request` is a request whose child is set, and which nobody else has.
pub(crate) struct Connection {
    request: NonNull<bindings::request_sock>,
}

impl Connection {
    /// Takes over the request of a child.
    ///
    /// # Safety
    ///
    /// Both must be as `inet_csk_reqsk_queue_add()` was given them. If the value comes to nothing, it has to
    /// be given up by [`into_raw`](Self::into_raw).
    pub(crate) unsafe fn new(
        request: NonNull<bindings::request_sock>,
        child: NonNull<bindings::sock>,
    ) -> Self {
        // SAFETY: By the safety requirements, it is ours to write.
        unsafe { (*request.as_ptr()).sk = child.as_ptr() };
        // INVARIANT: By the safety requirements.
        Self { request }
    }

    /// # Safety
    ///
    /// The type invariants must hold.
    pub(crate) unsafe fn from_raw(request: NonNull<bindings::request_sock>) -> Self {
        // INVARIANT: By the safety requirements.
        Self { request }
    }

    pub(crate) fn into_raw(self) -> *mut bindings::request_sock {
        self.request.as_ptr()
    }

    /// Notes at the child at whose CPU's slot it waits.
    fn note(&self, cpu: CpuId) {
        // SAFETY: By the type invariants, the child is a `struct inet_connection_sock`, whose field is
        // ours while it waits.
        unsafe {
            let child = (*self.request.as_ptr()).sk;
            let child = child.cast::<bindings::inet_connection_sock>();
            // CAST: The kernel has at most 8192 CPUs.
            let slot = cpu.as_u32().wrapping_add(1) as u16;
            ptr::write_volatile(
                addr_of_mut!((*child).icsk_accept_queue.fastsocket_slot),
                slot,
            );
        }
    }
}

/// A list by `dl_next`.
///
/// # Invariants
///
/// `first` is null, or the first of connections of which this has each, the last of which is `last`, and
/// whose `dl_next` is null.
struct List {
    first: *mut bindings::request_sock,
    last: *mut bindings::request_sock,
}

// SAFETY: Requests belong to no task.
unsafe impl Send for List {}

impl List {
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
    }

    fn pop(&mut self) -> Option<Connection> {
        let request = NonNull::new(self.first)?;
        // SAFETY: By the type invariants.
        self.first = unsafe { (*request.as_ptr()).dl_next };
        // SAFETY: By the type invariants, and as it is not in the list any more.
        Some(unsafe { Connection::from_raw(request) })
    }

    /// Takes up to so many from the beginning: another list, and its length.
    fn split(&mut self, most: u32) -> (List, u32) {
        let first = self.first;
        let mut last = ptr::null_mut();
        let mut number = 0;
        while number < most && !self.first.is_null() {
            last = self.first;
            // SAFETY: By the type invariants.
            self.first = unsafe { (*last).dl_next };
            number += 1;
        }
        let first = if number == 0 { ptr::null_mut() } else { first };
        if let Some(last) = NonNull::new(last) {
            // SAFETY: It was in the list, and is the last of the other.
            unsafe { (*last.as_ptr()).dl_next = ptr::null_mut() };
        }
        (List { first, last }, number)
    }
}

/// The connections that wait at a slot.
///
/// Each of its functions says what it may miss of the others: who looks without the lock looks at one word.
#[pin_data]
pub(crate) struct Queue {
    #[pin]
    list: SpinLockBh<List>,
    /// The first of the list: is it empty?
    first: Atomic<*mut bindings::request_sock>,
    length: Atomic<u32>,
}

impl Queue {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: It is empty.
            list <- new_spinlock_bh!(
                List {
                    first: ptr::null_mut(),
                    last: ptr::null_mut(),
                },
                "fastsocket::queue"
            ),
            first: Atomic::new(ptr::null_mut()),
            length: Atomic::new(0),
        })
    }

    /// How many connections wait? Any context.
    #[inline]
    pub(crate) fn length(&self) -> u32 {
        self.length.load(Relaxed)
    }

    /// Does none wait? Any context.
    ///
    /// What is then looked at in the socket's own queue is what was moved there until now.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.load(Acquire).is_null()
    }

    /// Adds a connection of a socket, unless that has left `TCP_LISTEN`. Any context but hardirq.
    pub(crate) fn add(
        &self,
        socket: &Listener,
        cpu: CpuId,
        connection: Connection,
    ) -> Result<(), Connection> {
        let mut list = self.list.lock();
        // Who stops the socket looks here after that is to be seen.
        if !socket.is_listening() {
            return Err(connection);
        }
        connection.note(cpu);
        list.push(connection);
        self.note(&list, self.length().wrapping_add(1));
        Ok(())
    }

    /// Takes the oldest. Any context but hardirq.
    pub(crate) fn take(&self) -> Option<Connection> {
        if self.is_empty() {
            return None;
        }
        let mut list = self.list.lock();
        let connection = list.pop()?;
        self.note(&list, self.length().wrapping_sub(1));
        Some(connection)
    }

    /// Moves up to so many of the oldest to the socket's own queue, unless the socket has left `TCP_LISTEN`:
    /// then it is for who stops it to [`move_all`](Self::move_all). Any context but hardirq.
    ///
    /// Returns how many were moved.
    pub(crate) fn move_some(&self, socket: &Listener, most: u32) -> u32 {
        let mut list = self.list.lock();
        if !socket.is_listening() {
            return 0;
        }
        self.move_locked(&mut list, socket, most)
    }

    /// Moves what there is to the own queue of a socket that has left `TCP_LISTEN`. Any context but hardirq.
    pub(crate) fn move_all(&self, socket: &Listener) -> u32 {
        self.move_locked(&mut self.list.lock(), socket, u32::MAX)
    }

    fn move_locked(&self, list: &mut List, socket: &Listener, most: u32) -> u32 {
        let (moved, number) = list.split(most);
        if number > 0 {
            // SAFETY: By the invariants of `List`, and as softirqs are off.
            unsafe {
                bindings::fastsocket_requeue(socket.as_ptr(), moved.first, moved.last, number)
            };
            // Who sees that they are not here sees that they are there.
            self.note(list, self.length().wrapping_sub(number));
        }
        number
    }

    fn note(&self, list: &List, length: u32) {
        self.length.store(length, Relaxed);
        self.first.store(list.first, Release);
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
            let mut list = List {
                first: ptr::null_mut(),
                last: ptr::null_mut(),
            };
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
            let (mut moved, number) = list.split(most);
            assert_eq!(number, most.min(4));
            for n in 0..4 {
                let from = if n < number { &mut moved } else { &mut list };
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
        let (mut moved, _) = list.split(u32::MAX);
        if let Some(connection) = moved.pop() {
            list.push(connection);
        }
        assert!(requests.has(0, list.pop()));
        assert!(list.pop().is_none());
        Ok(())
    }
}
