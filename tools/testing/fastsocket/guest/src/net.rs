// SPDX-License-Identifier: GPL-2.0

//! Sockets.

use crate::sys::check;
use libc::c_int;
use std::{
    io,
    mem::{offset_of, size_of_val},
    net::IpAddr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

/// The size of a request in bytes.
pub const REQUEST: usize = 64;
/// The size of an answer in bytes.
pub const ANSWER: usize = 100;

const BACKLOG: c_int = 1024;

/// An address, of which the first field says what it is. The port is at the same place in both.
#[repr(C)]
union Address {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

const _: () =
    assert!(offset_of!(libc::sockaddr_in, sin_port) == offset_of!(libc::sockaddr_in6, sin6_port));

impl Address {
    fn new(ip: IpAddr, port: u16) -> Self {
        let port = port.to_be();
        match ip {
            IpAddr::V4(ip) => Self {
                v4: libc::sockaddr_in {
                    sin_family: libc::AF_INET as _,
                    sin_port: port,
                    sin_addr: libc::in_addr {
                        s_addr: ip.to_bits().to_be(),
                    },
                    sin_zero: [0; 8],
                },
            },
            IpAddr::V6(ip) => Self {
                v6: libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as _,
                    sin6_port: port,
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr {
                        s6_addr: ip.octets(),
                    },
                    sin6_scope_id: 0,
                },
            },
        }
    }

    /// Room for one.
    fn none() -> Self {
        Self {
            v6: libc::sockaddr_in6 {
                sin6_family: 0,
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
                sin6_scope_id: 0,
            },
        }
    }

    fn port(&self) -> u16 {
        // SAFETY: all of it has been written, whatever it is, and any number is a port.
        u16::from_be(unsafe { self.v4.sin_port })
    }
}

fn family(ip: IpAddr) -> (c_int, libc::socklen_t) {
    match ip {
        IpAddr::V4(_) => (libc::AF_INET, size_of::<libc::sockaddr_in>() as _),
        IpAddr::V6(_) => (libc::AF_INET6, size_of::<libc::sockaddr_in6>() as _),
    }
}

fn new(family: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed; a new descriptor is nobody else's.
    unsafe {
        let fd = check(libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// A TCP socket for addresses as this one, that is closed at exec.
pub fn socket(ip: impl Into<IpAddr>, flags: c_int) -> io::Result<OwnedFd> {
    new(family(ip.into()).0, libc::SOCK_STREAM | flags, 0)
}

/// A socket for packets with the header of IPv4, that gets none.
pub fn raw_socket() -> io::Result<OwnedFd> {
    new(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)
}

/// Sets an option, whose value is a C structure or an integer.
pub fn set<T: Copy>(socket: &OwnedFd, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let len = size_of_val(value) as libc::socklen_t;
    // SAFETY: `value` is `len` bytes.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(value).cast(),
            len,
        )
    })?;
    Ok(())
}

type Call = unsafe extern "C" fn(c_int, *const libc::sockaddr, libc::socklen_t) -> c_int;

fn with_address(call: Call, socket: &OwnedFd, ip: IpAddr, port: u16) -> io::Result<()> {
    let address = Address::new(ip, port);
    let len = family(ip).1;
    // SAFETY: `bind` or `connect`; the address is `len` bytes.
    check(unsafe { call(socket.as_raw_fd(), ptr::from_ref(&address).cast(), len) })?;
    Ok(())
}

/// Gives the socket an address of its own.
pub fn bind(socket: &OwnedFd, ip: impl Into<IpAddr>, port: u16) -> io::Result<()> {
    with_address(libc::bind, socket, ip.into(), port)
}

/// Connects; whether the connection is there, and not only begun.
pub fn connect(socket: &OwnedFd, ip: impl Into<IpAddr>, port: u16) -> io::Result<bool> {
    match with_address(libc::connect, socket, ip.into(), port) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A listening socket; `flags` as those of [`socket`].
pub fn listen(
    flags: c_int,
    ip: impl Into<IpAddr>,
    port: u16,
    reuseport: bool,
) -> io::Result<OwnedFd> {
    let ip = ip.into();
    let socket = socket(ip, flags)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, &1)?;
    if reuseport {
        set(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, &1)?;
    }
    bind(&socket, ip, port)?;
    // SAFETY: no memory is passed.
    check(unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) })?;
    Ok(socket)
}

/// A connection that waits, if one does; it does not block.
pub fn accept(listener: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    // SAFETY: no address is asked for.
    unsafe {
        accept_at(
            listener,
            libc::SOCK_NONBLOCK,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    }
}

/// The same, but it blocks, and with the port that the client has.
pub fn accept_from(listener: &OwnedFd) -> io::Result<Option<(OwnedFd, u16)>> {
    let mut from = Address::none();
    let mut len = size_of_val(&from) as libc::socklen_t;
    // SAFETY: the address is `len` bytes.
    let connection = unsafe { accept_at(listener, 0, ptr::from_mut(&mut from).cast(), &mut len) };
    Ok(connection?.map(|connection| (connection, from.port())))
}

/// # Safety
///
/// `address` is `len` bytes, or both are null.
unsafe fn accept_at(
    listener: &OwnedFd,
    flags: c_int,
    address: *mut libc::sockaddr,
    len: *mut libc::socklen_t,
) -> io::Result<Option<OwnedFd>> {
    let flags = flags | libc::SOCK_CLOEXEC;
    // SAFETY: as the caller says.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), address, len, flags) };
    // SAFETY: a new descriptor is nobody else's.
    Ok(unless_it_would_block(check(fd))?.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// The port that a socket has.
pub fn local_port(socket: &OwnedFd) -> io::Result<u16> {
    port_by(libc::getsockname, socket)
}

/// The port that it is connected to.
pub fn peer_port(socket: &OwnedFd) -> io::Result<u16> {
    port_by(libc::getpeername, socket)
}

type Ask = unsafe extern "C" fn(c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> c_int;

fn port_by(call: Ask, socket: &OwnedFd) -> io::Result<u16> {
    let mut address = Address::none();
    let mut len = size_of_val(&address) as libc::socklen_t;
    let to = ptr::from_mut(&mut address).cast();
    // SAFETY: `getsockname` or `getpeername`; the address is `len` bytes.
    check(unsafe { call(socket.as_raw_fd(), to, &mut len) })?;
    Ok(address.port())
}

/// Sends all of `bytes`.
pub fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: `bytes` are as many.
    let n = unsafe {
        libc::send(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
        )
    };
    if usize::try_from(n) == Ok(bytes.len()) {
        return Ok(());
    }
    Err(if n < 0 {
        io::Error::last_os_error()
    } else {
        io::ErrorKind::WriteZero.into()
    })
}

/// How much has come; nothing if that would block.
pub fn receive(socket: &OwnedFd, to: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: `to` has room for as many bytes.
    let n = unsafe { libc::recv(socket.as_raw_fd(), to.as_mut_ptr().cast(), to.len(), 0) };
    unless_it_would_block(usize::try_from(n).map_err(|_| io::Error::last_os_error()))
}

fn unless_it_would_block<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::{accept_from, connect, listen, local_port, peer_port, socket};
    use std::{
        fs,
        net::{IpAddr, Ipv4Addr, Ipv6Addr},
    };

    fn both_ends_know_the_ports(ip: IpAddr) {
        let listener = listen(0, ip, 0, false).expect("a listener");
        let client = socket(ip, 0).expect("a socket");
        let port = local_port(&listener).expect("a port");
        assert!(connect(&client, ip, port).expect("a connection"));
        let (server, from) = accept_from(&listener).expect("accept").expect("blocks");
        assert_eq!(local_port(&client).expect("a port"), from);
        assert_eq!(peer_port(&server).expect("a port"), from);
        assert_eq!(peer_port(&client).expect("a port"), port);
    }

    #[test]
    fn a_connection_by_ipv4() {
        both_ends_know_the_ports(Ipv4Addr::LOCALHOST.into());
    }

    #[test]
    fn a_connection_by_ipv6() {
        // A machine may be without.
        if fs::read_to_string("/proc/net/if_inet6").is_ok_and(|all| all.contains(" lo\n")) {
            both_ends_know_the_ports(Ipv6Addr::LOCALHOST.into());
        }
    }
}
