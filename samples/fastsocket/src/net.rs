// SPDX-License-Identifier: GPL-2.0

//! Non-blocking TCP sockets, where the standard library has only blocking
//! ones.

use crate::sys::check;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

/// As long as the system allows (net.core.somaxconn).
const BACKLOG: i32 = 1 << 16;

/// A listening socket.
pub(crate) fn listen(address: &SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1i32)?;
    if address.is_ipv6() {
        // So that 0.0.0.0:80 and [::]:80 can be given together.
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1i32)?;
    }
    let (storage, len) = raw(address);
    // SAFETY: `storage` holds an address of `len` bytes.
    unsafe {
        check(libc::bind(
            socket.as_raw_fd(),
            ptr::from_ref(&storage).cast(),
            len,
        ))?;
        check(libc::listen(socket.as_raw_fd(), BACKLOG))?;
    }
    Ok(socket.into())
}

/// The next connection.
pub(crate) fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    // SAFETY: no address is asked for; the new descriptor is owned by nobody
    // else.
    unsafe {
        let fd = check(libc::accept4(
            listener.as_raw_fd(),
            ptr::null_mut(),
            ptr::null_mut(),
            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        ))?;
        Ok(TcpStream::from_raw_fd(fd))
    }
}

/// A connection that is being made; it is writable when it is there, or has
/// failed.
pub(crate) fn connect(address: &SocketAddr) -> io::Result<TcpStream> {
    let socket = socket(address)?;
    let (storage, len) = raw(address);
    // SAFETY: as in `listen`.
    let result =
        check(unsafe { libc::connect(socket.as_raw_fd(), ptr::from_ref(&storage).cast(), len) });
    match result {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// Makes the coming close a reset, so that the peer does not take what it has
/// for all.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let _ = set_option(stream, libc::SOL_SOCKET, libc::SO_LINGER, linger);
}

fn socket(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the new descriptor is owned by nobody else.
    unsafe {
        let fd = check(libc::socket(family, kind, 0))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

fn set_option<T>(socket: &impl AsRawFd, level: i32, name: i32, value: T) -> io::Result<()> {
    // SAFETY: `value` is a whole `T`; the kernel checks that it is what the
    // option takes.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    })
    .map(|_| ())
}

/// The address as the system calls take it.
fn raw(address: &SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: zeros are valid, and a storage is large and aligned enough for
    // either kind.
    let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
    let place = &raw mut storage;
    let len = match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: see above.
            unsafe { place.cast::<libc::sockaddr_in>().write(raw) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: see above.
            unsafe { place.cast::<libc::sockaddr_in6>().write(raw) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, len as libc::socklen_t)
}
