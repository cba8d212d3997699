// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! TCP sockets among the files of a process, and what is attached to them.

use core::{
    mem::ManuallyDrop,
    ptr::{self, NonNull},
};
use kernel::{
    bindings,
    error::{from_err_ptr, to_result},
    prelude::*,
    sync::rcu,
    types::ARef,
};

use super::{
    group::Group,
    listener::{Listener, Locked},
};

/// A TCP socket that is open in the current process, and stays open until this is dropped.
///
/// # Invariants
///
/// `file` is a reference that this owns, and that of `sock`, which is a TCP socket.
pub(crate) struct SocketFile {
    file: NonNull<bindings::file>,
    sock: NonNull<bindings::socket>,
}

impl SocketFile {
    fn new(file: *mut bindings::file, sock: *mut bindings::socket) -> Option<Self> {
        // INVARIANT: The callers have it from a function that gives both.
        Some(Self {
            file: NonNull::new(file)?,
            sock: NonNull::new(sock)?,
        })
    }

    /// Returns the TCP socket of a descriptor.
    ///
    /// # Errors
    ///
    /// `EBADF`, `ENOTSOCK`, `EOPNOTSUPP` if it is of another kind.
    pub(crate) fn get(fd: u32) -> Result<Self> {
        let mut file = ptr::null_mut();
        // SAFETY: `file` is to be written.
        let sock = from_err_ptr(unsafe { bindings::fastsocket_from_fd(fd, &mut file) })?;
        Self::new(file, sock).ok_or(EBADF)
    }

    /// Makes one of a socket that the caller keeps open.
    ///
    /// # Safety
    ///
    /// `sock` must be a TCP socket that a program has, and stay open until the value is dropped.
    pub(crate) unsafe fn borrow(sock: *mut bindings::socket) -> Option<ManuallyDrop<Self>> {
        // SAFETY: By the safety requirements.
        let file = unsafe { (*sock).file };
        // INVARIANT: By the safety requirements; the reference is never given up.
        Self::new(file, sock).map(ManuallyDrop::new)
    }

    /// Returns the next listening TCP socket at or after a descriptor, which is moved there.
    pub(crate) fn next_listener(fd: &mut u32) -> Option<Self> {
        let mut file = ptr::null_mut();
        // SAFETY: Both are to be written.
        let sock = unsafe { bindings::fastsocket_next_listener(fd, &mut file) };
        Self::new(file, sock)
    }

    /// Returns the socket as one that listens, or may have.
    pub(crate) fn listener(&self) -> ARef<Listener> {
        // SAFETY: By the type invariants; a socket that is open has a `sk`.
        unsafe { Listener::from_raw((*self.sock.as_ptr()).sk) }.into()
    }

    /// Attaches a group to the socket, which is locked; it is destroyed with the socket.
    ///
    /// # Errors
    ///
    /// As `fastsocket_attach()`, or `EINVAL` if the lock is that of another; the group is dropped then.
    pub(crate) fn attach(&self, lock: &Locked<'_>, group: rcu::Unshared<Group>) -> Result {
        if !lock.is_of(&self.listener()) {
            return Err(EINVAL);
        }
        let group = rcu::Unshared::into_raw(group);
        // SAFETY: By the type invariants, and the lock. The group stays until the socket is destroyed.
        let res = unsafe { bindings::fastsocket_attach(self.sock.as_ptr(), group.as_ptr().cast()) };
        to_result(res).inspect_err(|_| {
            // SAFETY: It is not attached, so nobody else has it.
            drop(unsafe { rcu::Unshared::from_raw(group) });
        })
    }

    /// Returns the group that is attached, if the socket is spawned.
    pub(crate) fn group(&self) -> Option<&Group> {
        // SAFETY: By the type invariants; a socket that is open has a `sk`. What is attached to it stays
        // for as long as the file.
        unsafe {
            let listener = Listener::from_raw((*self.sock.as_ptr()).sk);
            Group::from_raw(listener.slots()).as_ref()
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the reference is ours to give up.
        unsafe { bindings::fput(self.file.as_ptr()) };
    }
}
