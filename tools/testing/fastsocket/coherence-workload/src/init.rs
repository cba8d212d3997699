// SPDX-License-Identifier: GPL-2.0

//! What a guest needs before anything runs in it.

use crate::{
    net,
    sys::{self, check},
    Addresses, Args, Network,
};
use std::{
    ffi::CStr,
    fs::{self, File},
    io, iter, mem,
    net::UdpSocket,
    os::fd::AsRawFd,
    process::Command,
    ptr,
};

/// Where the module is.
const MODULE: &str = "/fastsocket.ko";

/// iproute2's command, if the guest is to have more than the loopback device.
const IP: &str = "/ip";
/// The network namespace of the clients, as that command has it.
pub(crate) const CLIENTS: &str = "/run/netns/clients";

/// Mounts, and brings up the loopback interface; the words of the command line.
pub(crate) fn set_up() -> io::Result<Vec<String>> {
    mount(c"/dev", c"devtmpfs")?;
    mount(c"/proc", c"proc")?;
    loopback_up()?;
    // What init is started with has the parameters that the kernel does not know, too.
    let line = fs::read_to_string("/proc/cmdline")?;
    let own = line.split_once(" -- ").map_or("", |(_, own)| own);
    let words = own.split_ascii_whitespace().map(str::to_owned);
    Ok(iter::once("init".to_owned()).chain(words).collect())
}

/// Loads the module.
pub(crate) fn load_module() -> io::Result<()> {
    let module = File::open(MODULE).map_err(|error| named(MODULE, error))?;
    // SAFETY: the arguments are a text.
    let result =
        unsafe { libc::syscall(libc::SYS_finit_module, module.as_raw_fd(), c"".as_ptr(), 0) };
    check(result as i32)?;
    Ok(())
}

fn named(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Two devices that are each other's wire, with the clients behind one of them.
pub(crate) fn set_up_network(args: &Args) -> io::Result<()> {
    if args.network == Network::Lo {
        return Ok(());
    }
    mount(c"/sys", c"sysfs")?;
    fs::create_dir_all("/run/netns")?;
    ip("netns add clients")?;
    ip("link add veth0 type veth peer name veth0 netns clients")?;
    ip(&format!(
        "addr add {}/16 dev veth0",
        net::server_address(args.network)
    ))?;
    let clients = match args.clients {
        Addresses::One => 1,
        Addresses::Many => sys::cpus()?,
    };
    for cpu in 0..clients {
        let address = net::client_address(args.network, cpu);
        ip(&format!("-n clients addr add {address}/16 dev veth0"))?;
    }
    for namespace in ["", "-n clients "] {
        // No address of IPv6: nobody is to send anything of itself.
        ip(&format!("{namespace}link set veth0 addrgenmode none up"))?;
    }
    if args.network == Network::VethRps {
        let cpus = sys::cpus()?;
        spread(c"/sys", cpus)?;
        sys::fork_and_wait(|| {
            sys::enter_network(CLIENTS)?;
            // It shows the devices of who mounts it.
            mount(c"/clients-sys", c"sysfs")?;
            spread(c"/clients-sys", cpus)
        })?;
    }
    Ok(())
}

fn ip(args: &str) -> io::Result<()> {
    let status = Command::new(IP)
        .args(args.split_ascii_whitespace())
        .status();
    match status.map_err(|error| named(IP, error))? {
        status if status.success() => Ok(()),
        _ => Err(io::Error::other(format!("ip {args}: failed"))),
    }
}

/// Has RPS put the flows that come in on CPUs by their hash.
fn spread(sys: &CStr, cpus: u32) -> io::Result<()> {
    let queues = format!("{}/class/net/veth0/queues", sys.to_str().expect("ASCII"));
    for queue in fs::read_dir(queues)? {
        let queue = queue?;
        if queue.file_name().as_encoded_bytes().starts_with(b"rx-") {
            fs::write(queue.path().join("rps_cpus"), mask(cpus))?;
        }
    }
    Ok(())
}

/// The first `cpus` CPUs as sysfs has them: 32 a word, the last word first.
fn mask(cpus: u32) -> String {
    let words = (0..cpus.div_ceil(32)).rev().map(|word| {
        let of_word = (cpus - 32 * word).min(32);
        format!("{:x}", u32::MAX >> (32 - of_word))
    });
    words.collect::<Vec<_>>().join(",")
}

fn mount(at: &CStr, kind: &CStr) -> io::Result<()> {
    fs::create_dir_all(at.to_str().expect("ASCII"))?;
    // SAFETY: texts, and no data.
    let result = unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, ptr::null()) };
    match check(result) {
        Err(error) if error.raw_os_error() != Some(libc::EBUSY) => Err(error),
        _ => Ok(()),
    }
}

fn loopback_up() -> io::Result<()> {
    // SAFETY: integers and pointers, for which zero is valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as _;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as _;
    // An address that does not exist yet cannot be bound to.
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the request is valid for the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) })?;
    Ok(())
}

/// Turns the machine off, or at least stops it.
pub(crate) fn power_off() {
    // SAFETY: ends everything.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_POWER_OFF);
    }
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn masks_of_cpus() {
        let expected = [
            (1, "1"),
            (4, "f"),
            (24, "ffffff"),
            (32, "ffffffff"),
            (33, "1,ffffffff"),
        ];
        for (cpus, text) in expected {
            assert_eq!(mask(cpus), text);
        }
    }
}
