// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! The argument of the device's commands, as 64-bit and as 32-bit programs lay it out.
//!
//! A command reads the fields that it uses, and no others: programs leave those uninitialised.
//!
//! C header: [`include/uapi/linux/fastsocket.h`](srctree/include/uapi/linux/fastsocket.h)

use core::mem::{offset_of, size_of};
use kernel::{
    bindings, ioctl, miscdevice::Layout, prelude::*, static_assert, types::FromBytes,
    uaccess::UserPtr,
};

/// The number of a command: none has a size or a direction.
const fn number(nr: u32) -> u32 {
    ioctl::_IO(bindings::FSOCKET_IOC_MAGIC, nr)
}

pub(crate) const SOCKET: u32 = number(1);
pub(crate) const LISTEN: u32 = number(2);
pub(crate) const ACCEPT: u32 = number(3);
pub(crate) const CLOSE: u32 = number(4);
pub(crate) const EPOLL_CTL: u32 = number(5);
pub(crate) const SPAWN_LISTEN: u32 = number(6);
pub(crate) const SHUTDOWN_LISTEN: u32 = number(7);
pub(crate) const SPAWN_ALL_LISTEN: u32 = number(8);
pub(crate) const MARK: u32 = number(9);
pub(crate) const UNMARK: u32 = number(10);
pub(crate) const RUN: u32 = number(11);

/// `struct fsocket_ioctl_arg`, with its union as words.
#[derive(Clone, Copy)]
#[repr(C)]
struct Arg<const WORDS: usize> {
    fd: u32,
    backlog: u32,
    op: [u32; WORDS],
}

// SAFETY: Any bytes are valid integers.
unsafe impl<const WORDS: usize> FromBytes for Arg<WORDS> {}

/// That of the kernel itself: three pointers fill the union.
type Native = Arg<6>;
/// That of a 32-bit program: four numbers and a pointer do.
type Compat = Arg<5>;

type Uapi = bindings::fsocket_ioctl_arg;

static_assert!(size_of::<Uapi>() == 32);
static_assert!(size_of::<Native>() == size_of::<Uapi>());
static_assert!(offset_of!(Native, fd) == offset_of!(Uapi, fd));
static_assert!(offset_of!(Native, backlog) == offset_of!(Uapi, backlog));
static_assert!(offset_of!(Native, op) == offset_of!(Uapi, op));
static_assert!(size_of::<Compat>() == 28);

impl From<Compat> for Native {
    fn from(arg: Compat) -> Self {
        let [a, b, c, d, e] = arg.op;
        Self {
            fd: arg.fd,
            backlog: arg.backlog,
            op: [a, b, c, d, e, 0],
        }
    }
}

/// What a command was given.
pub(crate) struct Command {
    layout: Layout,
    arg: Native,
}

impl Command {
    /// Reads the argument of a command.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it cannot be read.
    pub(crate) fn read(layout: Layout, arg: usize) -> Result<Self> {
        let arg = layout.read::<Native, Compat>(arg)?;
        Ok(Self { layout, arg })
    }

    /// The number at a word of the union that is the same in both layouts.
    fn int(&self, word: usize) -> i32 {
        self.arg.op.get(word).map_or(0, |value| *value as i32)
    }

    /// The pointer that comes after some numbers and pointers in the union.
    fn pointer(&self, ints: usize, pointers: usize) -> usize {
        let word = |word| self.int(word) as u32;
        match self.layout {
            Layout::Native => {
                let at = ints + 2 * pointers;
                let [a, b, c, d] = word(at).to_ne_bytes();
                let [e, f, g, h] = word(at + 1).to_ne_bytes();
                u64::from_ne_bytes([a, b, c, d, e, f, g, h]) as usize
            }
            Layout::Compat => word(ints + pointers) as usize,
        }
    }

    /// The descriptor that the command is about.
    pub(crate) fn fd(&self) -> u32 {
        self.arg.fd
    }

    /// The length of the accept queue.
    pub(crate) fn backlog(&self) -> i32 {
        self.arg.backlog as i32
    }

    /// `accept_op`: the addresses for the peer's address and its length, and the flags.
    pub(crate) fn accept(&self) -> (usize, usize, i32) {
        let flags = match self.layout {
            Layout::Native => self.int(4),
            Layout::Compat => self.int(2),
        };
        (self.pointer(0, 0), self.pointer(0, 1), flags)
    }

    /// `spawn_op`: the CPU, or a negative number.
    pub(crate) fn cpu(&self) -> i32 {
        self.int(0)
    }

    /// `socket_op`: the family, the type and the protocol.
    pub(crate) fn socket(&self) -> (i32, i32, i32) {
        (self.int(0), self.int(1), self.int(2))
    }

    /// `shutdown_op`: which half.
    pub(crate) fn how(&self) -> i32 {
        self.int(0)
    }

    /// `epoll_op`: the epoll descriptor, the operation, and the address of the event.
    pub(crate) fn epoll(&self) -> (i32, i32, usize) {
        (self.int(0), self.int(2), self.pointer(4, 0))
    }

    /// `mark_op`: where the address is, and how long.
    pub(crate) fn mark(&self) -> (UserPtr, usize) {
        let len = match self.layout {
            Layout::Native => self.int(2),
            Layout::Compat => self.int(1),
        };
        (
            self.layout.user_ptr(self.pointer(0, 0)),
            len as u32 as usize,
        )
    }
}

#[kernel::macros::kunit_tests(fastsocket_uapi)]
mod tests {
    use super::*;
    use core::mem::{transmute, zeroed};

    fn native(fill: impl FnOnce(&mut Uapi)) -> Command {
        // SAFETY: All zeros is a valid value of a structure of integers and pointers.
        let mut arg: Uapi = unsafe { zeroed() };
        fill(&mut arg);
        Command {
            layout: Layout::Native,
            // SAFETY: The layouts are the same by the assertions above; there is no padding in what
            // is read, since all was zeroed.
            arg: unsafe { transmute::<Uapi, Native>(arg) },
        }
    }

    #[test]
    fn reads_what_c_wrote() {
        let c = native(|a| {
            a.fd = 7;
            a.backlog = 128;
        });
        assert_eq!((c.fd(), c.backlog()), (7, 128));

        let c = native(|a| {
            a.op.accept_op.sockaddr = 0x7fff_1234_5678_9abc as *mut _;
            a.op.accept_op.sockaddr_len = 0x7ffe_0000_0000_0004 as *mut _;
            a.op.accept_op.flags = 0o2000000;
        });
        assert_eq!(
            c.accept(),
            (0x7fff_1234_5678_9abc, 0x7ffe_0000_0000_0004, 0o2000000)
        );

        let c = native(|a| a.op.spawn_op.cpu = -1);
        assert_eq!(c.cpu(), -1);

        let c = native(|a| {
            a.op.socket_op.family = 10;
            a.op.socket_op.type_ = 1;
            a.op.socket_op.protocol = 6;
        });
        assert_eq!(c.socket(), (10, 1, 6));

        let c = native(|a| a.op.shutdown_op.how = 2);
        assert_eq!(c.how(), 2);

        let c = native(|a| {
            a.op.epoll_op.epoll_fd = 5;
            a.op.epoll_op.ep_ctl_cmd = 3;
            a.op.epoll_op.ev = 0x7fff_0000_1111_2222 as *mut _;
        });
        assert_eq!(c.epoll(), (5, 3, 0x7fff_0000_1111_2222));

        let c = native(|a| {
            a.op.mark_op.addr = 0x7fff_0000_3333_4444 as *mut _;
            a.op.mark_op.addr_len = 28;
        });
        assert_eq!(c.mark(), (0x7fff_0000_3333_4444, 28));
    }

    #[test]
    fn reads_what_a_32_bit_program_wrote() {
        let compat = |op| Command {
            layout: Layout::Compat,
            arg: Compat {
                fd: 7,
                backlog: 128,
                op,
            }
            .into(),
        };
        let c = compat([0xffff_0010, 0xffff_0020, 0o4000, 0xa5a5_a5a5, 0xa5a5_a5a5]);
        assert_eq!((c.fd(), c.backlog()), (7, 128));
        assert_eq!(c.accept(), (0xffff_0010, 0xffff_0020, 0o4000));
        let c = compat([5, 0xa5a5_a5a5, 1, 0xa5a5_a5a5, 0xffff_0030]);
        assert_eq!(c.epoll(), (5, 1, 0xffff_0030));
        let c = compat([0xffff_0040, 16, 0xa5a5_a5a5, 0xa5a5_a5a5, 0xa5a5_a5a5]);
        assert_eq!(c.mark(), (0xffff_0040, 16));
    }
}
