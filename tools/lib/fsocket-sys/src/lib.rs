// SPDX-License-Identifier: GPL-2.0

//! The UAPI of `/dev/fastsocket` for userspace Rust.
//!
//! The layout comes from the kernel's own header, so that the two cannot
//! drift apart; what is asserted here is the other half of the promise: that
//! the header still says what programs built long ago were compiled against.
//!
//! C header: `include/uapi/linux/fastsocket.h`

#![no_std]

use core::ffi::c_void;

#[allow(
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    unreachable_pub,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

/// The argument of every command.
pub use bindings::fsocket_ioctl_arg as IoctlArg;

/// `socket(2)`.
pub const SOCKET: u32 = bindings::FSOCKET_CMD_SOCKET;
/// `listen(2)`.
pub const LISTEN: u32 = bindings::FSOCKET_CMD_LISTEN;
/// `accept4(2)`.
pub const ACCEPT: u32 = bindings::FSOCKET_CMD_ACCEPT;
/// `close(2)`.
pub const CLOSE: u32 = bindings::FSOCKET_CMD_CLOSE;
/// `epoll_ctl(2)`.
pub const EPOLL_CTL: u32 = bindings::FSOCKET_CMD_EPOLL_CTL;
/// Gives a listening TCP socket an accept queue on every CPU.
pub const SPAWN_LISTEN: u32 = bindings::FSOCKET_CMD_SPAWN_LISTEN;
/// `shutdown(2)` of a listening socket.
pub const SHUTDOWN_LISTEN: u32 = bindings::FSOCKET_CMD_SHUTDOWN_LISTEN;
/// [`SPAWN_LISTEN`] for every listening TCP socket that the caller has open.
pub const SPAWN_ALL_LISTEN: u32 = bindings::FSOCKET_CMD_SPAWN_ALL_LISTEN;
/// Spawns the sockets that begin to listen at an address.
pub const MARK: u32 = bindings::FSOCKET_CMD_MARK;
/// Takes a [`MARK`] back.
pub const UNMARK: u32 = bindings::FSOCKET_CMD_UNMARK;
/// Spawns the sockets on which the caller and its descendants begin to listen.
pub const RUN: u32 = bindings::FSOCKET_CMD_RUN;

impl IoctlArg {
    /// An argument for `fd` with every other byte zero.
    pub fn new(fd: i32) -> Self {
        // SAFETY: integers and raw pointers alone, for which zero is valid.
        let mut arg: Self = unsafe { core::mem::zeroed() };
        arg.fd = fd as u32;
        arg
    }

    /// The argument of [`SPAWN_LISTEN`]; a negative `cpu` leaves the choice to
    /// the kernel.
    pub fn spawn(fd: i32, cpu: i32) -> Self {
        let mut arg = Self::new(fd);
        arg.op.spawn_op.cpu = cpu;
        arg
    }

    /// The argument of [`MARK`] and [`UNMARK`]: a `sockaddr_in` or
    /// `sockaddr_in6`, which must be there when the command is given.
    pub fn mark(address: *const c_void, len: u32) -> Self {
        let mut arg = Self::new(0);
        arg.op.mark_op.addr = address.cast_mut();
        arg.op.mark_op.addr_len = len;
        arg
    }
}

/// The ABI in numbers, most of them the original's: a change of the header
/// that breaks old binaries does not compile.
mod abi {
    use super::*;
    use core::mem::{offset_of, size_of};

    const POINTER: usize = size_of::<*const ()>();

    const _: () = assert!(SOCKET == 0xf501);
    const _: () = assert!(LISTEN == 0xf502);
    const _: () = assert!(ACCEPT == 0xf503);
    const _: () = assert!(CLOSE == 0xf504);
    const _: () = assert!(EPOLL_CTL == 0xf505);
    const _: () = assert!(SPAWN_LISTEN == 0xf506);
    const _: () = assert!(SHUTDOWN_LISTEN == 0xf507);
    const _: () = assert!(SPAWN_ALL_LISTEN == 0xf508);
    const _: () = assert!(MARK == 0xf509);
    const _: () = assert!(UNMARK == 0xf50a);
    const _: () = assert!(RUN == 0xf50b);

    const _: () = assert!(size_of::<IoctlArg>() == if POINTER == 8 { 32 } else { 28 });
    const _: () = assert!(offset_of!(IoctlArg, fd) == 0);
    const _: () = assert!(offset_of!(IoctlArg, backlog) == 4);
    const _: () = assert!(offset_of!(IoctlArg, op) == 8);

    macro_rules! at {
        ($($member:ident . $field:ident == $offset:expr;)*) => {$(
            const _: () = assert!(offset_of!(IoctlArg, op.$member.$field) == 8 + $offset);
        )*};
    }
    at! {
        accept_op.sockaddr == 0;
        accept_op.sockaddr_len == POINTER;
        accept_op.flags == 2 * POINTER;
        spawn_op.cpu == 0;
        io_op.buf == 0;
        io_op.buf_len == POINTER;
        socket_op.family == 0;
        socket_op.type_ == 4;
        socket_op.protocol == 8;
        shutdown_op.how == 0;
        epoll_op.epoll_fd == 0;
        epoll_op.size == 4;
        epoll_op.ep_ctl_cmd == 8;
        epoll_op.time_out == 12;
        epoll_op.ev == 16;
        mark_op.addr == 0;
        mark_op.addr_len == POINTER;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spawn_argument() {
        let arg = IoctlArg::spawn(7, -1);
        assert_eq!(arg.fd, 7);
        assert_eq!(arg.backlog, 0);
        // SAFETY: written by `spawn`, and any bytes are an integer.
        assert_eq!(unsafe { arg.op.spawn_op.cpu }, -1);
    }

    #[test]
    fn mark_argument() {
        let address = [0u8; 16];
        let arg = IoctlArg::mark(address.as_ptr().cast(), 16);
        // SAFETY: written by `mark`, and any bytes are a pointer or an integer.
        let (addr, len) = unsafe { (arg.op.mark_op.addr, arg.op.mark_op.addr_len) };
        assert_eq!((addr.cast_const().cast(), len), (address.as_ptr(), 16));
    }

    #[test]
    fn an_invalid_fd_stays_invalid() {
        assert_eq!(IoctlArg::new(-1).fd, u32::MAX);
    }
}
