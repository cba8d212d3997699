// SPDX-License-Identifier: GPL-2.0

//! `libfsocket.so`: per-CPU accept queues for unmodified programs.
//!
//!     LD_PRELOAD=/usr/lib/libfsocket.so nginx
//!
//! # What is interposed, and what need not be
//!
//! The kernel does nearly everything on the ordinary file descriptor: the
//! listening *socket*, whoever holds it, gets the queues, and a task becomes
//! a queue's consumer when it first polls that socket or waits in accept.
//! A child or a thread does not inherit the CPU that such a task was bound to.
//! Only one thing is left that the kernel cannot see by itself: that a
//! listening socket is to be switched. [`hooks`] interposes `listen`; sockets
//! that already listen when the program starts (a graceful re-exec, socket
//! activation) are switched by the constructor in [`init`]. And `prctl` is, to know of seccomp filters: see below.
//!
//! Not interposed, and why:
//!
//! - `accept`, `accept4`, `poll`, `select`, `epoll_ctl`, io_uring: the socket's own
//!   operations find the queue. An ioctl in between costs and gains nothing.
//! - `socket`: whether a socket will listen is not known yet.
//! - `close`, `shutdown`, `dup`, SCM_RIGHTS, `exec`: state belongs to the
//!   socket and goes with its last holder; there is no table of descriptors
//!   here that could be wrong.
//! - `fork`, `pthread_create`: there is nothing to do.
//!
//! Not covered: programs that enter the kernel by themselves (Go without cgo,
//! static binaries), for which nothing changes. The command `fastsocket` is
//! for these: it has the kernel watch for their listen(2).
//!
//! # The device
//!
//! `/dev/fastsocket` is opened for each command and closed again. Commands
//! are rare (the start of the program, a listen), and no descriptor of ours
//! is then there to be counted, closed by a daemon's clean-up or confused
//! with a file of the program's.
//!
//! # When it cannot work
//!
//! `EPERM` (switched off by the administrator) and `EOPNOTSUPP` (not such a
//! socket) are answers, not failures: the program runs on plain sockets.
//! Without the device it does too, after one line on stderr at the first
//! `listen` of a TCP socket.
//!
//! # Under a seccomp filter
//!
//! A filter that allows what the program does need not allow what this library does, and may end the program for it.
//! So nothing is done any more once a program has put one on by prctl(2), or given up new privileges, as who does it by
//! libseccomp has first. Its sockets that begin to listen later are plain. A filter that is put on by seccomp(2) alone is
//! not noticed, nor is one from before exec(2); `fastsocket run` makes no call in the program, and serves these.
//!
//! # Environment
//!
//! Read once, in the constructor, and not in a set-user-ID program.
//!
//! - `FSOCKET_DISABLE=1`: this library does nothing.
//! - `FSOCKET_STRICT=1`: without the device, `listen` on a TCP socket fails
//!   with `ENODEV` and leaves the socket as it was, so that the server itself
//!   reports why it does not start; helper programs that never listen are not
//!   disturbed. A program that is given listening sockets by its service
//!   manager (`LISTEN_FDS`) calls no `listen`: it is ended at start with
//!   status 1.
//!
//! # Rules for the code
//!
//! `no_std`, no allocation, no lock, no thread-local state but `errno`, no
//! reachable panic (a test looks at the binary). System calls are raw
//! ([`sys`]): the C library's `open` and `close` are cancellation points,
//! `listen` is not, and the hook must not add one. It leaves `errno` as it was
//! unless it fails.

// Under `panic=unwind`, which only tests are built with, a `no_std` library
// cannot be linked.
#![cfg_attr(all(not(test), panic = "abort"), no_std)]
// In the test build, nothing refers to the hooks.
#![cfg_attr(test, allow(dead_code))]

mod config;
mod device;
mod hooks;
mod init;
mod sys;
mod warn;

#[cfg(all(not(test), panic = "abort"))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: takes nothing and does not return.
    unsafe { libc::abort() }
}
