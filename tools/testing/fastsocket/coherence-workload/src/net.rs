// SPDX-License-Identifier: GPL-2.0

//! Sockets.

use crate::Network;
use fastsocket_guest::{
    net::{bind, connect as connect_at, listen as listen_at, set, socket},
    sys::check,
};
use libc::c_int;
use std::{
    io,
    mem::size_of_val,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
    ptr,
};

/// The workers'.
pub(crate) const PORT: u16 = 8080;
/// A backend's, with the number of its CPU added.
const BACKEND_PORT: u16 = 9000;

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

/// A listening socket of workers that does not block.
pub(crate) fn listen(reuseport: bool) -> io::Result<OwnedFd> {
    listen_at(libc::SOCK_NONBLOCK, Ipv4Addr::UNSPECIFIED, PORT, reuseport)
}

/// The listening socket of a CPU's backend, which does not block.
pub(crate) fn listen_as_backend(cpu: u32) -> io::Result<OwnedFd> {
    listen_at(
        libc::SOCK_NONBLOCK,
        Ipv4Addr::LOCALHOST,
        backend_port(cpu),
        false,
    )
}

fn backend_port(cpu: u32) -> u16 {
    BACKEND_PORT + cpu as u16
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
    let socket = socket(to, 0)?;
    if let Some(ip) = from {
        // The port is chosen by connect(), for this destination alone.
        set(&socket, libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1)?;
        bind(&socket, ip, 0)?;
    }
    connect_at(&socket, to, PORT)?;
    Ok(socket)
}

/// The beginning of a connection to the backend of a CPU. It can be written to when there is one.
pub(crate) fn connect_to_backend(cpu: u32) -> io::Result<OwnedFd> {
    let socket = socket(Ipv4Addr::LOCALHOST, libc::SOCK_NONBLOCK)?;
    connect_at(&socket, Ipv4Addr::LOCALHOST, backend_port(cpu))?;
    Ok(socket)
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
