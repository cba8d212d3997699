// SPDX-License-Identifier: GPL-2.0

//! `errno`, which belongs to the program.

use crate::{errno, expect, reason, set_errno, Outcome};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;

/// A listen that fails gives the kernel's reason.
pub(crate) fn of_listen() -> Outcome {
    let udp = UdpSocket::bind("127.0.0.1:0").map_err(reason)?;
    let file = std::fs::File::open("/dev/null").map_err(reason)?;
    let connected = {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(reason)?;
        std::net::TcpStream::connect(listener.local_addr().map_err(reason)?).map_err(reason)?
    };
    for (what, fd, error) in [
        ("no descriptor", -1, libc::EBADF),
        ("far descriptor", i32::MAX, libc::EBADF),
        ("file", file.as_raw_fd(), libc::ENOTSOCK),
        ("datagrams", udp.as_raw_fd(), libc::EOPNOTSUPP),
        ("connected", connected.as_raw_fd(), libc::EINVAL),
    ] {
        set_errno(0);
        // SAFETY: any integer may be given.
        expect(what, unsafe { libc::listen(fd, 1) }, -1)?;
        expect(what, errno(), error)?;
    }
    Ok(())
}

/// A listen that succeeds leaves it alone.
pub(crate) fn preserved() -> Outcome {
    const MINE: i32 = 4711;
    let listener = TcpListener::bind("127.0.0.1:0").map_err(reason)?;
    set_errno(MINE);
    // SAFETY: an open socket.
    let result = unsafe { libc::listen(listener.as_raw_fd(), 7) };
    expect("listen", result, 0)?;
    expect("errno after listen", errno(), MINE)
}
