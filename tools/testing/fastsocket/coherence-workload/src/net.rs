// SPDX-License-Identifier: GPL-2.0

//! Sockets.

use crate::{sys::check, Network};
use libc::c_int;
use std::{
    io,
    mem::size_of_val,
    net::Ipv4Addr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

/// The size of a request in bytes.
pub(crate) const REQUEST: usize = 64;
/// The size of an answer in bytes.
pub(crate) const ANSWER: usize = 100;

const PORT: u16 = 8080;
/// A backend's, with the number of its CPU added.
const BACKEND_PORT: u16 = 9000;
const BACKLOG: c_int = 1024;

/// Where the client of a CPU finds the workers.
pub(crate) fn server_address(network: Network, cpu: u32) -> Ipv4Addr {
    match network {
        Network::Lo => Ipv4Addr::LOCALHOST,
        Network::Veth => Ipv4Addr::new(10, 0, 0, 1),
        Network::VethRps => Ipv4Addr::new(10, cpu as u8, 0, 1),
    }
}

/// The address of the client of a CPU, if each has its own; the least is everybody's if not.
pub(crate) fn client_address(network: Network, cpu: u32) -> Ipv4Addr {
    let first = match network {
        Network::Lo => Ipv4Addr::new(127, 1, 0, 1),
        Network::Veth => Ipv4Addr::new(10, 0, 0, 2),
        Network::VethRps => return Ipv4Addr::new(10, cpu as u8, 0, 2),
    };
    Ipv4Addr::from_bits(first.to_bits() + cpu)
}

fn address(ip: Ipv4Addr, port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as _,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: ip.to_bits().to_be(),
        },
        sin_zero: [0; 8],
    }
}

fn socket(flags: c_int) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed; a new descriptor is nobody else's.
    unsafe {
        let fd = check(libc::socket(
            libc::AF_INET,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags,
            0,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

fn set<T>(socket: &OwnedFd, level: c_int, option: c_int, value: &T) -> io::Result<()> {
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

fn with_address(call: Call, socket: &OwnedFd, ip: Ipv4Addr, port: u16) -> io::Result<()> {
    let address = address(ip, port);
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: `bind` or `connect`; the address is `len` bytes.
    check(unsafe { call(socket.as_raw_fd(), ptr::from_ref(&address).cast(), len) })?;
    Ok(())
}

/// A listening socket of workers that does not block.
pub(crate) fn listen(reuseport: bool) -> io::Result<OwnedFd> {
    listen_at(Ipv4Addr::UNSPECIFIED, PORT, reuseport)
}

/// The listening socket of a CPU's backend, which does not block.
pub(crate) fn listen_as_backend(cpu: u32) -> io::Result<OwnedFd> {
    listen_at(Ipv4Addr::LOCALHOST, backend_port(cpu), false)
}

fn backend_port(cpu: u32) -> u16 {
    BACKEND_PORT + cpu as u16
}

fn listen_at(ip: Ipv4Addr, port: u16, reuseport: bool) -> io::Result<OwnedFd> {
    let socket = socket(libc::SOCK_NONBLOCK)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, &1)?;
    if reuseport {
        set(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, &1)?;
    }
    with_address(libc::bind, &socket, ip, port)?;
    // SAFETY: no memory is passed.
    check(unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) })?;
    Ok(socket)
}

/// Has the sockets of a group chosen by the CPU, in the order in which they were bound.
pub(crate) fn steer_by_cpu(group: &OwnedFd) -> io::Result<()> {
    const fn insn(code: u32, k: u32) -> libc::sock_filter {
        libc::sock_filter {
            code: code as u16,
            jt: 0,
            jf: 0,
            k,
        }
    }
    let mut program = [
        insn(
            libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
            (libc::SKF_AD_OFF + libc::SKF_AD_CPU) as u32,
        ),
        insn(libc::BPF_RET | 0x10, 0), // BPF_A
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    set(
        group,
        libc::SOL_SOCKET,
        libc::SO_ATTACH_REUSEPORT_CBPF,
        &program,
    )
}

/// A connection to the workers, from an address of one's own if there is one.
pub(crate) fn connect(from: Option<Ipv4Addr>, to: Ipv4Addr) -> io::Result<OwnedFd> {
    let socket = socket(0)?;
    if let Some(ip) = from {
        // The port is chosen by connect(), for this destination alone.
        set(&socket, libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1)?;
        with_address(libc::bind, &socket, ip, 0)?;
    }
    with_address(libc::connect, &socket, to, PORT)?;
    Ok(socket)
}

/// The beginning of a connection to the backend of a CPU. It can be written to when there is one.
pub(crate) fn connect_to_backend(cpu: u32) -> io::Result<OwnedFd> {
    let socket = socket(libc::SOCK_NONBLOCK)?;
    match with_address(
        libc::connect,
        &socket,
        Ipv4Addr::LOCALHOST,
        backend_port(cpu),
    ) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// The CPU on which the connection's last packet came in.
pub(crate) fn incoming_cpu(socket: &OwnedFd) -> io::Result<u32> {
    let mut cpu: c_int = -1;
    let mut len = size_of_val(&cpu) as libc::socklen_t;
    // SAFETY: `cpu` is `len` bytes.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_INCOMING_CPU,
            ptr::from_mut(&mut cpu).cast(),
            &mut len,
        )
    })?;
    u32::try_from(cpu).map_err(|_| io::Error::other("a connection without packets"))
}

/// A connection that waits, if one does.
pub(crate) fn accept(listener: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no address is asked for.
    let fd = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            ptr::null_mut(),
            ptr::null_mut(),
            flags,
        )
    };
    // SAFETY: a new descriptor is nobody else's.
    Ok(unless_it_would_block(check(fd))?.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Sends all of `bytes`.
pub(crate) fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
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
pub(crate) fn receive(socket: &OwnedFd, to: &mut [u8]) -> io::Result<Option<usize>> {
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
